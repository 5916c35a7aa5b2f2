//! A directory in one file, `directory.json`, for one machine.
//!
//! The file is replaced, never edited: a new one is written beside it, synced, and renamed over
//! it, and the folder is synced. So a crash or a full disk leaves the old directory or the new
//! one, never half of one. What always holds: one process has the folder (the ledger's lock sees
//! to that), so what is in memory is what is in the file.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::change::{Change, Contents};
use super::memory::Present;
use super::snapshot::Snapshot;
use super::stored::{self, Unreadable};
use super::{Directory, Error};
use crate::keys::Keys;

/// The name of the file in the data folder.
pub const FILE_NAME: &str = "directory.json";
const NEW_NAME: &str = "directory.json.new";

/// The directory in a file.
pub struct FileDirectory {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    keys: Arc<Keys>,
    present: Present,
    /// Held while a change is made, so that two made at once both count.
    changing: Mutex<()>,
}

impl FileDirectory {
    /// Opens the directory in `folder`, which must be there and this process's alone. Without a
    /// file it is empty.
    ///
    /// Blocks while it reads; call it before the server runs.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is not one of ours or was sealed under another key,
    /// [`Error::Newer`], [`Error::Unavailable`].
    pub fn open(folder: &Path, keys: Arc<Keys>) -> Result<Self, Error> {
        let contents = read(folder, &keys)?.unwrap_or_default();
        let path = folder.join(FILE_NAME);
        let present = Present::new(contents)
            .map_err(|refusal| Error::Corrupt { path, why: refusal.to_string() })?;
        let (folder, changing) = (folder.to_owned(), Mutex::new(()));
        Ok(Self { inner: Arc::new(Inner { folder, keys, present, changing }) })
    }
}

#[async_trait]
impl Directory for FileDirectory {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.inner.present.snapshot()
    }

    async fn change(&self, changes: Vec<Change>) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        off_the_runtime(move || inner.change(changes)).await
    }
}

impl Inner {
    fn change(&self, changes: Vec<Change>) -> Result<(), Error> {
        // The lock guards nothing that a panic could leave half done.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.present.next(changes)?;
        replace(&self.folder, &stored::write(next.contents(), &self.keys))?;
        self.present.swap(next);
        Ok(())
    }
}

/// Runs what blocks where blocking is allowed, to its end even if nobody waits for it any more.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being stopped and did not begin with it.
            Err(_) => Err(Error::Unavailable {
                doing: "change",
                path: FILE_NAME.into(),
                source: ErrorKind::Interrupted.into(),
            }),
        },
    }
}

fn read(folder: &Path, keys: &Keys) -> Result<Option<Contents>, Error> {
    let path = folder.join(FILE_NAME);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Unavailable { doing: "read", path, source }),
    };
    match stored::read(&bytes, keys) {
        Ok(contents) => Ok(Some(contents)),
        Err(Unreadable::Newer(found)) => Err(Error::Newer { path, found, known: stored::VERSION }),
        Err(Unreadable::Wrong(why)) => Err(Error::Corrupt { path, why }),
    }
}

fn replace(folder: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = folder.join(NEW_NAME);
    write_new(folder, &new, bytes).map_err(|source| {
        // What was begun is of no use; should it not go away now, the next change removes it.
        drop(std::fs::remove_file(&new));
        Error::Unavailable { doing: "write", path: folder.join(FILE_NAME), source }
    })
}

fn write_new(folder: &Path, new: &Path, bytes: &[u8]) -> std::io::Result<()> {
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(new, folder.join(FILE_NAME))?;
    File::open(folder)?.sync_all()
}
