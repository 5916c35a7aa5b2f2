//! Making a data folder of a backup.
//!
//! It is made beside the folder, as `….restoring`, every checksum is compared, and it gets its name
//! when it is whole and on disk: what is damaged leaves nothing that looks like a data folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backup::{KEY, Manifest, copy, corrupt, make_folder};
use crate::error::Error;
use crate::keys::{KEY_BYTES, KeyError, Keys};
use crate::snapshot::folder;
use crate::snapshot::reader::Snapshot;

/// Why a backup was not restored; nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is no backup.
    #[error("there is no backup in `{folder}`; it would have a `manifest.json`")]
    None {
        /// The folder.
        folder: PathBuf,
    },
    /// Something would be overwritten.
    #[error("`{folder}` is not empty; restore into another folder, or move it away")]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// The key file is not in it, and none was given.
    #[error("the key file is not in the backup; give it with --key FILE")]
    NoKey,
    /// The key file cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It was made under another key.
    #[error("the backup in `{folder}` was made under another key file; give that one")]
    OtherKey {
        /// The folder.
        folder: PathBuf,
    },
    /// It is damaged, or files cannot be used.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Where the key comes from.
#[derive(Clone, Debug)]
pub enum KeyFrom {
    /// A file, which is copied into the data folder.
    File(PathBuf),
    /// The backup; if it is not in it, the one that is configured, if there is one.
    Backup(Option<Arc<Keys>>),
}

/// Makes the data folder `to` of the backup in `from`; `copied` hears how many bytes were.
/// Blocks.
///
/// # Errors
/// [`RestoreError`]; `to` is as it was.
pub fn restore(
    from: &Path,
    to: &Path,
    key: &KeyFrom,
    copied: &AtomicU64,
) -> Result<Manifest, RestoreError> {
    let none = || RestoreError::None { folder: from.to_owned() };
    let manifest = Manifest::read(from)?.ok_or_else(none)?;
    let io = |error| Error::io("making the data folder", error);
    let there = match std::fs::read_dir(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        other => other.map_err(io)?.next(),
    };
    if there.is_some() {
        return Err(RestoreError::NotEmpty { folder: to.to_owned() });
    }
    let to = std::path::absolute(to).map_err(io)?;
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    let new = to.with_file_name(name);
    match std::fs::remove_dir_all(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error).into()),
        _ => {}
    }
    make_folder(&new).map_err(io)?;
    let made = fill(from, &new, &manifest, (key, copied)).and_then(|()| {
        std::fs::rename(&new, &to).map_err(io)?;
        let above = to.parent().unwrap_or(Path::new("/"));
        File::open(above).and_then(|above| above.sync_all()).map_err(io)?;
        Ok(())
    });
    if made.is_err() {
        // What is left of it would only take room.
        drop(std::fs::remove_dir_all(&new));
    }
    made.map(|()| manifest)
}

/// Copies what the manifest names into `new`.
fn fill(
    from: &Path,
    new: &Path,
    manifest: &Manifest,
    (key, copied): (&KeyFrom, &AtomicU64),
) -> Result<(), RestoreError> {
    let io = |error| Error::io("making the data folder", error);
    let mut count = |bytes| {
        copied.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    };
    check_key(from, new, manifest, key)?;
    for file in &manifest.files {
        // The one that was given has its place already.
        if file.path == KEY && matches!(key, KeyFrom::File(_)) {
            continue;
        }
        let (place, to) = (file.place(from), new.join(&file.path));
        if let Some(folder) = to.parent() {
            make_folder(folder).map_err(io)?;
        }
        if !place.is_file() {
            return Err(corrupt(&place, "it is missing in the backup").into());
        }
        let found = copy((&place, u64::MAX), &to, &mut count)?;
        if found != (file.bytes, file.sha256.clone()) {
            return Err(corrupt(&place, "its checksum is not that of the manifest").into());
        }
    }
    sync(new).map_err(io)?;
    Ok(())
}

/// Makes sure that the key is that of the backup, before anything is copied; one that was given
/// gets its place.
fn check_key(
    from: &Path,
    new: &Path,
    manifest: &Manifest,
    key: &KeyFrom,
) -> Result<(), RestoreError> {
    let of_backup = manifest.files.iter().find(|file| file.path == KEY);
    let keys = match (key, of_backup) {
        (KeyFrom::File(file), _) => {
            let keys = Arc::new(Keys::open(file)?);
            copy((file, KEY_BYTES as u64), &new.join(KEY), &mut |_| Ok(()))?;
            keys
        }
        (KeyFrom::Backup(_), Some(listed)) => {
            let place = listed.place(from);
            if !place.is_file() {
                return Err(corrupt(&place, "it is missing in the backup").into());
            }
            Arc::new(Keys::open(&place)?)
        }
        (KeyFrom::Backup(Some(keys)), None) => Arc::clone(keys),
        (KeyFrom::Backup(None), None) => return Err(RestoreError::NoKey),
    };
    let path = folder::path(Path::new(""), manifest.snapshot);
    let listed = manifest.files.iter().find(|file| Path::new(&file.path) == path);
    let listed = listed.ok_or_else(|| corrupt(from, "its manifest names no snapshot"))?;
    let place = listed.place(from);
    if !place.is_file() {
        return Err(corrupt(&place, "it is missing in the backup").into());
    }
    if Snapshot::open(&place)?.header.is_under(&keys) {
        Ok(())
    } else {
        Err(RestoreError::OtherKey { folder: from.to_owned() })
    }
}

/// Has all folders below `folder` on disk; the files are.
fn sync(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync(&path)?;
        }
    }
    File::open(folder)?.sync_all()
}
