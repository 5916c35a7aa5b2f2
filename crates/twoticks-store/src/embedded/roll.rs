//! Which tables of the engine there have to be, in a file beside them.
//!
//! The engine lets go of a table that lacks the file saying what is in it: one that a process was
//! killed while making or removing, and just as well one that has lost that file, and its rows with
//! it. What always holds: a table is named here only while the engine knows it, so that one which
//! is named and is not there was damaged.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::embedded::tables::REMEDY;
use crate::error::Error;

const NAME: &str = "tables";
const NEW: &str = "tables.new";

/// The names, in a folder of the engine.
pub(super) struct Roll {
    path: PathBuf,
}

impl Roll {
    pub(super) fn of(ledger: &Path) -> Self {
        Self { path: ledger.join(NAME) }
    }

    /// The names; `None` for tables of before there was such a file.
    ///
    /// # Errors
    /// [`Error::Corrupt`], and what the disk says.
    pub(super) fn read(&self) -> Result<Option<BTreeSet<String>>, Error> {
        let text = match std::fs::read(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::io("reading which tables there are", error))?,
        };
        let text = String::from_utf8_lossy(&text);
        match text.split_once('\n').filter(|(sum, names)| *sum == checksum(names)) {
            Some((_, names)) => Ok(Some(names.lines().map(str::to_owned).collect())),
            None => Err(Error::Corrupt {
                what: "its checksum does not fit".to_owned(),
                place: self.path.clone(),
                remedy: REMEDY,
            }),
        }
    }

    /// Puts `names` in the place of those that are there; on disk when it returns.
    pub(super) fn write(&self, names: &BTreeSet<String>) -> Result<(), Error> {
        let put = || {
            let names: String = names.iter().map(|name| format!("{name}\n")).collect();
            let new = self.path.with_file_name(NEW);
            let mut file = File::create(&new)?;
            file.write_all(format!("{}\n{names}", checksum(&names)).as_bytes())?;
            file.sync_all()?;
            std::fs::rename(new, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        put().map_err(|error| Error::io("writing which tables there are", error))
    }
}

fn checksum(names: &str) -> String {
    format!("{:016x}", xxh3_64(names.as_bytes()))
}
