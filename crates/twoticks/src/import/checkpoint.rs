//! How far the import of a file is: a small file in the data folder, so that one that was
//! interrupted is gone on with.
//!
//! It is written after what it says was acknowledged, never before, so it may be behind but not
//! ahead: what is read again counts once. It is found by what is imported and for whom, so that
//! another file, or the same one for another channel, begins at its beginning. Where it cannot be
//! kept, the import goes on without. What always holds: when an import has reached its end, its
//! checkpoint is gone.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use twoticks_server::control::feed::SpeaksFor;

use super::source::Identity;
use super::{Format, Taken};
use crate::output;

/// The folder of checkpoints in the data folder.
const FOLDER: &str = "imports";
/// The version that is written.
const VERSION: u32 = 1;
/// How many checkpoints are kept: those of files that are never imported to their end are not
/// kept for ever.
const CHECKPOINTS_MAX: usize = 64;

/// How far an import is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    version: u32,
    #[serde(flatten)]
    reached: Reached,
    what: What,
}

/// How far an import is, and what has come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// The last line that was taken in.
    pub(super) line: u64,
    /// What came of the lines up to it.
    pub(super) taken: Taken,
}

/// What is imported, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct What {
    pub(super) file: Identity,
    pub(super) format: Format,
    pub(super) speaks_for: SpeaksFor,
}

/// Keeps the checkpoint of one import, if it can be kept.
pub(super) struct Keeper {
    /// Where, and of what.
    place: Option<(PathBuf, What)>,
}

impl Keeper {
    /// Keeps nothing.
    pub(super) fn none() -> Self {
        Self { place: None }
    }

    /// Keeps the checkpoint of `what` in the data folder `data`, and says how far that import was
    /// when it was interrupted; with `again` it was not.
    pub(super) fn open(data: &Path, what: What, again: bool) -> (Self, Option<Reached>) {
        let folder = data.join(FOLDER);
        let path = folder.join(name(&what));
        if let Err(error) = make(&folder) {
            warn(&error);
            return (Self::none(), None);
        }
        let keeper = Self { place: Some((path.clone(), what)) };
        if again {
            remove(&path);
            return (keeper, None);
        }
        let reached = read(&path, keeper.place.as_ref().map(|(_, what)| what));
        (keeper, reached)
    }

    /// Keeps how far it is. If that fails it is said, and not tried again.
    pub(super) fn keep(&mut self, reached: Reached) {
        let Some((path, what)) = &self.place else { return };
        let checkpoint = Checkpoint { version: VERSION, reached, what: what.clone() };
        if let Err(error) = write(path, &checkpoint) {
            warn(&error);
            self.place = None;
        }
    }

    /// The import has reached its end.
    pub(super) fn finish(&self) {
        let Some((path, _)) = &self.place else { return };
        remove(path);
        // It stays if other imports wait to be gone on with.
        drop(path.parent().map(fs::remove_dir));
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            let path = path.display();
            output::note(&format!("cannot remove `{path}` ({error}); remove it by hand"));
        }
        _ => {}
    }
}

fn warn(error: &anyhow::Error) {
    output::note(&format!(
        "{error:#}; if this import is interrupted it begins anew, and what was taken in counts once"
    ));
}

/// The name of the checkpoint of `what`.
fn name(what: &What) -> String {
    let text = serde_json::to_vec(what).unwrap_or_default();
    let hash: String =
        Sha256::digest(&text).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{hash}.json")
}

/// Makes the folder and takes the oldest out of it, if there are too many.
fn make(folder: &Path) -> Result<()> {
    let making = || format!("cannot keep how far the import is in `{}`", folder.display());
    make_folder(folder).with_context(making)?;
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder).with_context(making)? {
        let entry = entry.with_context(making)?;
        kept.push((entry.metadata().and_then(|it| it.modified()).ok(), entry.path()));
    }
    kept.sort();
    for (_, path) in kept.iter().take((kept.len() + 1).saturating_sub(CHECKPOINTS_MAX)) {
        // Another import may have come to its end meanwhile.
        drop(fs::remove_file(path));
    }
    Ok(())
}

fn make_folder(folder: &Path) -> std::io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => Err(error),
        _ => Ok(()),
    }
}

/// How far the import of `what` was; one that cannot be read is as good as none.
fn read(path: &Path, what: Option<&What>) -> Option<Reached> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            output::note(&format!("cannot read `{}` ({error}); beginning anew", path.display()));
            return None;
        }
    };
    let checkpoint = serde_json::from_slice::<Checkpoint>(&text).ok();
    let known = checkpoint.filter(|it| it.version == VERSION && Some(&it.what) == what);
    if known.is_none() {
        output::note(&format!("`{}` cannot be understood; beginning anew", path.display()));
    }
    known.map(|it| it.reached)
}

/// Writes it whole or not at all.
fn write(path: &Path, checkpoint: &Checkpoint) -> Result<()> {
    let writing = || format!("cannot keep how far the import is in `{}`", path.display());
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let text = serde_json::to_vec(checkpoint).with_context(writing)?;
    // Another import that came to its end may have taken the folder away.
    path.parent().map_or(Ok(()), make_folder).with_context(writing)?;
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).with_context(writing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(bytes: u64) -> What {
        let file = Identity { bytes, sha256: "ab".to_owned() };
        What { file, format: Format::Ndjson, speaks_for: SpeaksFor::All }
    }

    fn reached(line: u64) -> Reached {
        Reached { line, taken: Taken { lines: line, events: 2, dead: 1 } }
    }

    #[test]
    fn what_was_kept_is_found_by_what_is_imported_and_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (mut keeper, before) = Keeper::open(folder, what(1), false);
        assert_eq!(before, None);
        keeper.keep(reached(7));
        keeper.keep(reached(9));
        assert_eq!(Keeper::open(folder, what(1), false).1, Some(reached(9)));
        let channels = vec![twoticks_core::ids::ChannelId::new("a").unwrap()];
        for other in [
            what(2),
            What { format: Format::Csv, ..what(1) },
            What { speaks_for: SpeaksFor::Channels(channels), ..what(1) },
        ] {
            assert_eq!(Keeper::open(folder, other.clone(), false).1, None, "{other:?}");
        }
        assert_eq!(Keeper::open(folder, what(1), true).1, None, "it is begun anew");
        assert_eq!(Keeper::open(folder, what(1), false).1, None);
        keeper.keep(reached(9));
        keeper.finish();
        assert!(!folder.join(FOLDER).exists(), "nothing is left");
    }

    #[test]
    fn one_that_cannot_be_read_or_kept_is_as_good_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (mut keeper, _) = Keeper::open(folder, what(1), false);
        keeper.keep(reached(7));
        let path = folder.join(FOLDER).join(name(&what(1)));
        // Every version that was ever written.
        let first = r#"{"version":1,"line":7,"taken":{"lines":7,"events":2,"dead":1},"what":{"file":{"bytes":1,"sha256":"ab"},"format":"ndjson","speaks_for":"all"}}"#;
        assert_eq!(fs::read_to_string(&path).unwrap(), first);
        for bad in ["", "{", &first.replace(":1,\"line", ":2,\"line"), &first.replace("ab", "cd")] {
            fs::write(&path, bad).unwrap();
            assert_eq!(Keeper::open(folder, what(1), false).1, None, "{bad}");
        }
        fs::remove_dir_all(folder.join(FOLDER)).unwrap();
        keeper.keep(reached(8));
        assert_eq!(Keeper::open(folder, what(1), false).1, Some(reached(8)));
        fs::remove_dir_all(folder.join(FOLDER)).unwrap();
        fs::write(folder.join(FOLDER), "").unwrap();
        keeper.keep(reached(9));
        assert!(keeper.place.is_none(), "it is said once");
        let (mut keeper, before) = Keeper::open(folder, what(1), false);
        assert_eq!(before, None);
        keeper.keep(reached(8));
        keeper.finish();
        assert!(folder.join(FOLDER).is_file());
    }

    #[test]
    fn only_so_many_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for bytes in 0..70 {
            Keeper::open(folder, what(bytes), false).0.keep(reached(bytes));
        }
        assert_eq!(fs::read_dir(folder.join(FOLDER)).unwrap().count(), CHECKPOINTS_MAX);
        assert_eq!(Keeper::open(folder, what(69), false).1, Some(reached(69)));
    }
}
