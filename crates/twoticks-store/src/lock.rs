//! One process for one folder: a lock that the operating system releases when the process ends.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::Error;

/// The lock of a folder; it is free again when this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock of `folder`, which has to exist.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process, or another part of this one, has it.
    pub fn take(folder: &Path) -> Result<Self, Error> {
        let doing = "taking the lock of the data folder";
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(|error| Error::io(doing, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { folder: folder.to_owned() }),
            Err(TryLockError::Error(error)) => Err(Error::io(doing, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        let refused = FolderLock::take(folder.path());
        assert!(matches!(refused, Err(Error::Locked { folder: named }) if named == folder.path()));
        drop(first);
        FolderLock::take(folder.path()).unwrap();
    }
}
