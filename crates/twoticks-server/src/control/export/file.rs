//! The file of an export: written beside its name and renamed when it is whole, so that nobody
//! ever finds half of one.

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::ControlError;

/// Bytes that are written together.
const BUFFER_BYTES: usize = 256 << 10;

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ControlError {
    move |source| ControlError::File { doing, path: path.to_owned(), source }
}

/// A file that is not whole yet; it is gone when this is dropped.
pub(super) struct Part {
    path: PathBuf,
    target: PathBuf,
    overwrite: bool,
    /// Its lock says that somebody is writing it.
    file: File,
    renamed: bool,
}

impl Part {
    /// Begins what will be `target`.
    pub(super) fn begin(target: &Path, overwrite: bool) -> Result<Self, ControlError> {
        refuse(target, overwrite)?;
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = target.with_file_name(name);
        let making = || io_error("make", &path);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(making())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(making()(error)),
            Err(TryLockError::WouldBlock) => {
                let why = format!(
                    "`{}` is being written by another export; wait for it, or name another file",
                    target.display()
                );
                return Err(ControlError::Unfit { what: "the file", why });
            }
        }
        // Between opening and locking it another export may have made it whole.
        let (ours, theirs) = (file.metadata(), path.symlink_metadata());
        let is_ours = matches!((&ours, &theirs), (Ok(ours), Ok(theirs))
            if (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()));
        if !is_ours {
            let why = format!("`{}` has just been made by another export", target.display());
            return Err(ControlError::Unfit { what: "the file", why });
        }
        let part = Self { path, target: target.to_owned(), overwrite, file, renamed: false };
        // What an export that was killed has left.
        part.file.set_len(0).map_err(io_error("empty", &part.path))?;
        Ok(part)
    }

    /// Where to write it.
    pub(super) fn writer(&self) -> Result<Hashing, ControlError> {
        let file = self.file.try_clone().map_err(io_error("write", &self.path))?;
        let to = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Hashing { to, sha256: Sha256::new(), bytes: 0 })
    }

    /// What an error of writing it means.
    pub(super) fn failed(&self, error: io::Error) -> ControlError {
        io_error("write", &self.target)(error)
    }

    /// Has everything on the disk.
    pub(super) fn sync(&self) -> Result<(), ControlError> {
        self.file.sync_all().map_err(|error| self.failed(error))
    }

    /// Gives it its name.
    pub(super) fn rename(mut self) -> Result<(), ControlError> {
        refuse(&self.target, self.overwrite)?;
        let naming = || io_error("make", &self.target);
        std::fs::rename(&self.path, &self.target).map_err(naming())?;
        self.renamed = true;
        let folder = self.target.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(naming())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.renamed
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(
                export.path = %self.path.display(), error = %error,
                "what there was of an export could not be removed; the next one replaces it"
            );
        }
    }
}

/// Refuses what cannot become the file.
fn refuse(target: &Path, overwrite: bool) -> Result<(), ControlError> {
    let unfit = |why| ControlError::Unfit { what: "the file", why };
    let shown = target.display();
    match target.symlink_metadata() {
        Ok(found) if !found.is_file() => {
            Err(unfit(format!("`{shown}` is there and is no file; name another")))
        }
        Ok(_) if !overwrite => Err(unfit(format!(
            "`{shown}` is there already; name another, or replace it with --overwrite"
        ))),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = target.parent().unwrap_or(Path::new("/"));
            if folder.is_dir() {
                return Ok(());
            }
            let folder = folder.display();
            Err(unfit(format!("there is no folder `{folder}`; make it, or name another file")))
        }
        Err(error) => Err(io_error("look for", target)(error)),
    }
}

/// Writes to a file and takes note of what was written.
pub(super) struct Hashing {
    to: BufWriter<File>,
    sha256: Sha256,
    bytes: u64,
}

impl Hashing {
    /// Writes out what waits; how many bytes there are, and their SHA-256.
    pub(super) fn finish(mut self) -> io::Result<(u64, String)> {
        self.to.flush()?;
        let hash = self.sha256.finalize();
        Ok((self.bytes, hash.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write_all(bytes)?;
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
