//! Which folders are a demo's: a file that says so, so that invented data and real data never
//! meet in one folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// The name of the file in the data folder.
const NAME: &str = "demo.json";

/// What a demo's folder says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Marker {
    /// What the story was made from.
    pub(crate) seed: u64,
    /// Where the story begins and ends, in milliseconds; none while it is being told.
    pub(crate) story: Option<(i64, i64)>,
}

/// What a folder is to a demo.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Folder {
    /// It is not there, or empty.
    New,
    /// A demo's that was not finished; it can only be thrown away.
    Unfinished,
    /// A demo's.
    Told(Marker),
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Refuses a demo's folder.
///
/// # Errors
/// If it is one.
pub(crate) fn refuse_demo(folder: &Path) -> Result<()> {
    if path(folder).exists() {
        bail!(
            "`{}` is the folder of a demo; run `twoticks demo` on it, or use another folder",
            folder.display()
        );
    }
    Ok(())
}

/// Looks at the folder of a demo.
///
/// # Errors
/// If there is something in it that is not a demo's, or its marker cannot be read.
pub(crate) fn look(folder: &Path) -> Result<Folder> {
    let file = path(folder);
    if file.exists() {
        let reading = || format!("cannot read `{}`", file.display());
        let text = std::fs::read_to_string(&file).with_context(reading)?;
        let marker: Marker = serde_json::from_str(&text).with_context(reading)?;
        return Ok(if marker.story.is_some() { Folder::Told(marker) } else { Folder::Unfinished });
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
            "`{}` holds something that is not a demo's; give a new folder with --data-dir",
            folder.display()
        );
    }
    Ok(Folder::New)
}

/// Writes the marker, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(folder: &Path, marker: &Marker) -> Result<()> {
    let (file, new) = (path(folder), folder.join("demo.json.new"));
    let text = serde_json::to_string(marker).context("a marker is plain JSON")?;
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, &file))
        .with_context(|| format!("cannot write `{}`", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_and_real_data_never_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(look(&folder.join("none")).unwrap(), Folder::New);
        assert_eq!(look(folder).unwrap(), Folder::New);
        refuse_demo(folder).unwrap();
        std::fs::write(folder.join("directory.json"), "{}").unwrap();
        assert!(look(folder).is_err());
        let marker = Marker { seed: 1, story: None };
        write(folder, &marker).unwrap();
        assert_eq!(look(folder).unwrap(), Folder::Unfinished);
        let marker = Marker { story: Some((1, 2)), ..marker };
        write(folder, &marker).unwrap();
        assert_eq!(look(folder).unwrap(), Folder::Told(marker));
        assert!(refuse_demo(folder).is_err());
    }
}
