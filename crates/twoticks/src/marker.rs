//! Which folders hold invented data: a file that says so, so that a demo's, an emulator's and real
//! data never meet in one folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// The name of the file in the data folder.
pub(crate) const NAME: &str = "invented.json";
/// The version that is written; every one up to it is read.
const VERSION: u64 = 1;

/// Whose invented data it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Whose {
    /// A demo's.
    Demo,
    /// An emulator's.
    Emulator,
}

impl Whose {
    fn command(self) -> &'static str {
        match self {
            Self::Demo => "twoticks demo",
            Self::Emulator => "twoticks emulate",
        }
    }
}

/// What such a folder says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Marker {
    /// Whose it is.
    pub(crate) whose: Whose,
    /// What everything in it was made from.
    pub(crate) seed: u64,
    /// Where a demo's story begins and ends, in milliseconds; none while it is being told.
    pub(crate) story: Option<(i64, i64)>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    /// The first ones did not say theirs.
    #[serde(default = "first")]
    version: u64,
    whose: String,
}

fn first() -> u64 {
    1
}

/// The marker as it is in the file.
#[derive(Serialize)]
struct File<'a> {
    version: u64,
    #[serde(flatten)]
    marker: &'a Marker,
}

fn text(folder: &Path) -> Result<Option<String>> {
    let file = path(folder);
    if !file.exists() {
        return Ok(None);
    }
    let reading = || format!("cannot read `{}`", file.display());
    std::fs::read_to_string(&file).map(Some).with_context(reading)
}

fn read(folder: &Path) -> Result<Option<Marker>> {
    let Some(text) = text(folder)? else { return Ok(None) };
    let file = path(folder);
    let reading = || format!("cannot read `{}`", file.display());
    let Head { version, whose: _ } = serde_json::from_str(&text).with_context(reading)?;
    if version > VERSION {
        bail!(
            "`{}` has version {version}, this program knows up to {VERSION}; use a newer twoticks",
            file.display()
        );
    }
    let mut fields: serde_json::Map<_, _> = serde_json::from_str(&text).with_context(reading)?;
    fields.remove("version");
    serde_json::from_value(fields.into()).map(Some).with_context(reading)
}

/// Refuses a folder with invented data.
///
/// # Errors
/// If it is one.
pub(crate) fn refuse(folder: &Path) -> Result<()> {
    if !path(folder).exists() {
        return Ok(());
    }
    // Also one whose marker cannot be read holds nothing that is real.
    let head = text(folder).ok().flatten().and_then(|it| serde_json::from_str::<Head>(&it).ok());
    let what = match head.as_ref().map(|head| head.whose.as_str()) {
        Some("demo") => format!("run `{}` on it, or use another folder", Whose::Demo.command()),
        Some("emulator") => {
            format!("run `{}` on it, or use another folder", Whose::Emulator.command())
        }
        _ => "use another folder".to_owned(),
    };
    bail!("`{}` holds invented data; {what}", folder.display())
}

/// Refuses a seed that the folder was not made from.
///
/// # Errors
/// If it is another.
pub(crate) fn check_seed(folder: &Path, marker: &Marker, seed: Option<u64>) -> Result<()> {
    if seed.is_some_and(|seed| seed != marker.seed) {
        bail!(
            "`{}` was made from the seed {}; leave --seed out, or remove the folder",
            folder.display(),
            marker.seed
        );
    }
    Ok(())
}

/// Whose invented data is in the folder, as a word; none if it is real.
///
/// # Errors
/// If the marker cannot be read.
pub(crate) fn invented(folder: &Path) -> Result<Option<String>> {
    let word = |whose| match whose {
        Whose::Demo => "demo".to_owned(),
        Whose::Emulator => "emulator".to_owned(),
    };
    Ok(read(folder)?.map(|marker| word(marker.whose)))
}

/// Refuses to take anything into a demo's folder: what is real and what is invented never mix.
///
/// # Errors
/// If it is one.
pub(crate) fn refuse_to_mix(folder: &Path) -> Result<()> {
    if read(folder)?.is_some_and(|marker| marker.whose == Whose::Demo) {
        bail!(
            "`{}` holds the invented data of a demo, and nothing else goes in there; import into \
             a folder of `twoticks init` or of `twoticks emulate`",
            folder.display()
        );
    }
    Ok(())
}

/// Looks at the folder of a demo or an emulator: `None` if it is not there, or empty.
///
/// # Errors
/// If there is something in it that is not of that kind, or its marker cannot be read.
pub(crate) fn look(folder: &Path, whose: Whose) -> Result<Option<Marker>> {
    if let Some(marker) = read(folder)? {
        if marker.whose != whose {
            bail!(
                "`{}` is a folder of `{}`; give another one with --data-dir",
                folder.display(),
                marker.whose.command()
            );
        }
        return Ok(Some(marker));
    }
    let is_empty = match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look into `{}`", folder.display()));
        }
    };
    if !is_empty {
        bail!(
            "`{}` holds something that is not of `{}`; give a new folder with --data-dir",
            folder.display(),
            whose.command()
        );
    }
    Ok(None)
}

/// Writes the marker, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(folder: &Path, marker: &Marker) -> Result<()> {
    let (file, new) = (path(folder), folder.join("invented.json.new"));
    let text = serde_json::to_string(&File { version: VERSION, marker });
    let text = text.context("a marker is plain JSON")?;
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, &file))
        .with_context(|| format!("cannot write `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_and_real_data_never_share_a_folder_nor_do_two_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for whose in [Whose::Demo, Whose::Emulator] {
            assert_eq!(look(&folder.join("none"), whose).unwrap(), None);
            assert_eq!(look(folder, whose).unwrap(), None);
        }
        refuse(folder).unwrap();
        std::fs::write(folder.join("directory.json"), "{}").unwrap();
        assert!(look(folder, Whose::Demo).is_err());
        let marker = Marker { whose: Whose::Demo, seed: 1, story: None };
        write(folder, &marker).unwrap();
        assert_eq!(look(folder, Whose::Demo).unwrap(), Some(marker.clone()));
        let told = Marker { story: Some((1, 2)), ..marker };
        write(folder, &told).unwrap();
        assert_eq!(look(folder, Whose::Demo).unwrap(), Some(told));
        let other = look(folder, Whose::Emulator).unwrap_err().to_string();
        assert!(other.contains("twoticks demo"), "{other}");
        assert!(refuse(folder).unwrap_err().to_string().contains("twoticks demo"));
        // The first markers had no version.
        std::fs::write(path(folder), r#"{"whose":"demo","seed":1,"story":[1,2]}"#).unwrap();
        assert_eq!(look(folder, Whose::Demo).unwrap().unwrap().story, Some((1, 2)));
        std::fs::write(path(folder), r#"{"version":2,"whose":"demo","colour":1}"#).unwrap();
        let newer = look(folder, Whose::Demo).unwrap_err().to_string();
        assert!(newer.contains("has version 2, this program knows up to 1"), "{newer}");
        assert!(refuse(folder).unwrap_err().to_string().contains("twoticks demo"));
        std::fs::write(path(folder), "{").unwrap();
        assert!(refuse(folder).is_err() && look(folder, Whose::Demo).is_err());
    }
}
