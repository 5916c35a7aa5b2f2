//! A directory in one file, `directory.json`, for one machine.
//!
//! The file is replaced, never edited: a new one is written beside it, synced, and renamed over
//! it, and the folder is synced. So a crash or a full disk leaves the old directory or the new
//! one, never half of one. A lock file beside it lets the command line change the directory while
//! the server runs: whoever changes it first takes in what others changed.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
const LOCK_NAME: &str = "directory.lock";

/// The directory in a file.
pub struct FileDirectory {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    keys: Arc<Keys>,
    present: Present,
    /// Which file the present snapshot was read from or written to; held while changing.
    seen: Mutex<Option<Seen>>,
}

/// What tells one written file from another: each is a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    inode: u64,
    changed: (i64, i64),
    bytes: u64,
}

impl FileDirectory {
    /// Opens the directory in `folder`, which must be there. Without a file it is empty.
    ///
    /// Blocks while it reads; call it before the server runs.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file is not one of ours or was sealed under another key,
    /// [`Error::Newer`], [`Error::Unavailable`].
    pub fn open(folder: &Path, keys: Arc<Keys>) -> Result<Self, Error> {
        let (contents, seen) = match read(folder, &keys)? {
            Some((contents, seen)) => (contents, Some(seen)),
            None => (Contents::default(), None),
        };
        let path = folder.join(FILE_NAME);
        let present = Present::new(contents)
            .map_err(|refusal| Error::Corrupt { path, why: refusal.to_string() })?;
        let seen = Mutex::new(seen);
        Ok(Self { inner: Arc::new(Inner { folder: folder.to_owned(), keys, present, seen }) })
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

    async fn refresh(&self) -> Result<bool, Error> {
        let inner = Arc::clone(&self.inner);
        off_the_runtime(move || {
            let mut seen = inner.seen.lock().unwrap_or_else(PoisonError::into_inner);
            inner.take_in(&mut seen)
        })
        .await
    }
}

impl Inner {
    fn change(&self, changes: Vec<Change>) -> Result<(), Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.join(LOCK_NAME);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(|source| Error::Unavailable { doing: "lock", path, source })?;
        self.take_in(&mut seen)?;
        let next = self.present.next(changes)?;
        *seen = Some(replace(&self.folder, &stored::write(next.contents(), &self.keys))?);
        self.present.swap(next);
        drop(lock);
        Ok(())
    }

    /// Reads the file if it is not the one that was seen last.
    fn take_in(&self, seen: &mut Option<Seen>) -> Result<bool, Error> {
        let path = self.folder.join(FILE_NAME);
        let now = match std::fs::metadata(&path) {
            Ok(metadata) => Some(Seen::of(&metadata)),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(Error::Unavailable { doing: "read", path, source }),
        };
        if now == *seen {
            return Ok(false);
        }
        let Some((contents, read)) = read(&self.folder, &self.keys)? else {
            let why = "it was there and is gone; put it back from a backup".to_owned();
            return Err(Error::Corrupt { path, why });
        };
        let next = self
            .present
            .build(contents)
            .map_err(|refusal| Error::Corrupt { path, why: refusal.to_string() })?;
        self.present.swap(next);
        *seen = Some(read);
        Ok(true)
    }
}

impl Seen {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            bytes: metadata.len(),
        }
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

fn read(folder: &Path, keys: &Keys) -> Result<Option<(Contents, Seen)>, Error> {
    let path = folder.join(FILE_NAME);
    let unavailable = |source| Error::Unavailable { doing: "read", path: path.clone(), source };
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(error)),
    };
    // Of the open file: the name may be another's by now.
    let seen = Seen::of(&file.metadata().map_err(unavailable)?);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(unavailable)?;
    match stored::read(&bytes, keys) {
        Ok(contents) => Ok(Some((contents, seen))),
        Err(Unreadable::Newer(found)) => Err(Error::Newer { path, found, known: stored::VERSION }),
        Err(Unreadable::Wrong(why)) => Err(Error::Corrupt { path, why }),
    }
}

fn replace(folder: &Path, bytes: &[u8]) -> Result<Seen, Error> {
    let new = folder.join(NEW_NAME);
    write_new(folder, &new, bytes).map_err(|source| {
        // What was begun is of no use; should it not go away now, the next change removes it.
        drop(std::fs::remove_file(&new));
        Error::Unavailable { doing: "write", path: folder.join(FILE_NAME), source }
    })
}

fn write_new(folder: &Path, new: &Path, bytes: &[u8]) -> std::io::Result<Seen> {
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(new, folder.join(FILE_NAME))?;
    File::open(folder)?.sync_all()?;
    // The rename touched the change time, so it is asked for last.
    file.metadata().map(|metadata| Seen::of(&metadata))
}
