//! The files below the journal. Every operation of it that changes the disk goes through here, so
//! that a test has a disk that fails and forgets. What is read is read from the files themselves.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// Folders and names.
pub(crate) trait Files: Send + Sync {
    /// Makes an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// Opens a file to go on writing at `offset`.
    fn reopen(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Handle>>;
    /// Gives a file another name, which it takes from the file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns when the names that were given and taken in `folder` are on disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file that is written from some place on.
pub(crate) trait Handle: Send {
    /// Writes all of it, or fails with any part of it written.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written is on disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file at `offset` and goes on writing there.
    fn cut(&mut self, offset: u64) -> io::Result<()>;
}

/// Files of the operating system.
pub(crate) struct Disk;

impl Files for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(File::options().write(true).create(true).truncate(true).open(path)?))
    }

    fn reopen(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Handle>> {
        let mut file = File::options().write(true).open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

impl Handle for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, offset: u64) -> io::Result<()> {
        self.set_len(offset)?;
        self.seek(SeekFrom::Start(offset)).map(drop)
    }
}
