//! How far what is passed on has come: for each destination, in a journal of its own.
//!
//! The ledger's journal is the queue; here is only which entries of it are next for a destination,
//! and which of those before are still open. What always holds: a cursor that was kept is there
//! after a crash, as it was or as it was kept later; one that was forgotten is gone; the folder is
//! as small as what is known. To add a step, add a variant to [`Record`], at the end: records are
//! stored.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::ids::Hash;

use crate::error::Error;
use crate::journal::Position;
use crate::steps::{Folded, Steps};

/// The folder in a data folder.
pub const FOLDER: &str = "pass-on";
/// The most entries that are open for one destination.
pub const OPEN_MAX: usize = if cfg!(test) { 10 } else { 1_000 };
/// How many cursors are in a record.
const CURSORS_PER_RECORD: usize = if cfg!(test) { 2 } else { 64 };
/// How many files there are before what is in the oldest is written anew.
const SEGMENTS_MAX: usize = 4;

/// How far a destination is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The first entry of the journal that was not looked at for it.
    pub next: Position,
    /// Those before that it has not taken, by their positions; at most [`OPEN_MAX`].
    pub open: Vec<Open>,
}

/// An entry that a destination has not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Where it is.
    pub position: Position,
    /// How many times it was tried.
    pub tries: u8,
    /// When it may be tried again.
    pub at: Time,
}

/// A step, as it is stored.
#[derive(Serialize, Deserialize)]
enum Record {
    /// So far are these.
    Reached(Vec<(Hash, Cursor)>),
    /// Nothing is passed on to these any more.
    Forgotten(Vec<Hash>),
}

/// A cursor, and the last record that has it.
struct Known {
    record: Position,
    cursor: Cursor,
}

#[derive(Default)]
struct All(BTreeMap<Hash, Known>);

impl Folded for All {
    type Step = Record;
    const VERSION: u8 = 1;
    const SEGMENT_BYTES: u64 = if cfg!(test) { 512 } else { 1 << 20 };
    const REMEDY: &'static str = "how far what is passed on has come is lost with it; move the \
                                  folder away to begin with what comes now";

    fn take(&mut self, record: Position, step: Record) {
        match step {
            Record::Reached(cursors) => {
                let known = cursors.into_iter();
                self.0.extend(known.map(|(of, cursor)| (of, Known { record, cursor })));
            }
            Record::Forgotten(destinations) => {
                for of in destinations {
                    self.0.remove(&of);
                }
            }
        }
    }

    fn oldest(&self) -> Option<Position> {
        self.0.values().map(|known| known.record).min()
    }
}

/// The cursors of all destinations.
pub struct Cursors(Steps<All>);

impl Cursors {
    /// Some that are not kept beyond the process, for tests and demonstrations.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(Steps::in_memory())
    }

    /// Opens the cursors in `folder`, which is made if it is not there, and reads all of it. The
    /// caller holds the lock of the data folder. Blocks.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerVersion`], and what the disk says.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Steps::open(folder).map(Self)
    }

    /// Everything that is known.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Hash, Cursor> {
        self.0.state().0.iter().map(|(of, known)| (*of, known.cursor.clone())).collect()
    }

    /// These are so far now; durable when it returns.
    ///
    /// # Errors
    /// What the disk says; some may be kept.
    pub async fn keep(&self, cursors: Vec<(Hash, Cursor)>) -> Result<(), Error> {
        for some in cursors.chunks(CURSORS_PER_RECORD) {
            self.0.take(Record::Reached(some.to_vec())).await?;
        }
        self.tidy().await
    }

    /// Nothing is passed on to these any more; durable when it returns.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn forget(&self, destinations: Vec<Hash>) -> Result<(), Error> {
        if destinations.is_empty() {
            return Ok(());
        }
        self.0.take(Record::Forgotten(destinations)).await
    }

    /// Lets go of files that nobody needs; what is known from an old one only is written anew.
    async fn tidy(&self) -> Result<(), Error> {
        if let Some(second) = self.0.second_of_more_than(SEGMENTS_MAX) {
            let old: Vec<(Hash, Cursor)> = {
                let all = self.0.state();
                let old = all.0.iter().filter(|(_, known)| known.record < second);
                old.map(|(of, known)| (*of, known.cursor.clone())).collect()
            };
            for some in old.chunks(CURSORS_PER_RECORD) {
                self.0.take(Record::Reached(some.to_vec())).await?;
            }
        }
        self.0.trim()
    }

    /// Returns when the disk has failed for good: nothing is kept any more, and the process has to
    /// restart.
    pub async fn failed(&self) -> Error {
        self.0.failed().await
    }

    /// Keeps nothing any more. Blocks until what was to be kept is on disk.
    pub fn close(&self) {
        self.0.close();
    }
}
