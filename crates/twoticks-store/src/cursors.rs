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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::ids::Hash;

use crate::error::Error;
use crate::journal::{Journal, Limits, Position};

/// The folder in a data folder.
pub const FOLDER: &str = "pass-on";
/// The most entries that are open for one destination.
pub const OPEN_MAX: usize = if cfg!(test) { 10 } else { 1_000 };
/// How many cursors are in a record.
const CURSORS_PER_RECORD: usize = if cfg!(test) { 2 } else { 64 };
/// How long a file becomes before the next one begins, in bytes.
const SEGMENT_BYTES: u64 = if cfg!(test) { 512 } else { 1 << 20 };
/// How many files there are before what is in the oldest is written anew.
const SEGMENTS_MAX: usize = 4;
/// What a record begins with.
const VERSION: u8 = 1;

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

type All = BTreeMap<Hash, Known>;

/// The cursors of all destinations.
pub struct Cursors {
    /// None: they live in memory, and are lost with it.
    journal: Option<Journal<Record>>,
    all: Arc<Mutex<All>>,
}

fn lock(all: &Mutex<All>) -> MutexGuard<'_, All> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cursors {
    /// Some that are not kept beyond the process, for tests and demonstrations.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { journal: None, all: Arc::default() }
    }

    /// Opens the cursors in `folder`, which is made if it is not there, and reads all of it. The
    /// caller holds the lock of the data folder. Blocks.
    ///
    /// # Errors
    /// As [`Journal::open`]; [`Error::Corrupt`], [`Error::NewerVersion`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let limits = Limits { segment_bytes: SEGMENT_BYTES, ..Limits::default() };
        let all = Arc::new(Mutex::new(All::new()));
        let taking = Arc::clone(&all);
        let deliver = move |position, step| take(&mut lock(&taking), position, step);
        let journal = Journal::open(folder, limits, Box::new(deliver))?;
        for record in journal.read(0) {
            let (position, payload) = record?;
            take(&mut lock(&all), position, decode(folder, position, &payload)?);
        }
        Ok(Self { journal: Some(journal), all })
    }

    /// Everything that is known.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Hash, Cursor> {
        lock(&self.all).iter().map(|(of, known)| (*of, known.cursor.clone())).collect()
    }

    /// These are so far now; durable when it returns.
    ///
    /// # Errors
    /// As [`Journal::append`]; some may be kept.
    pub async fn keep(&self, cursors: Vec<(Hash, Cursor)>) -> Result<(), Error> {
        for some in cursors.chunks(CURSORS_PER_RECORD) {
            self.step(Record::Reached(some.to_vec())).await?;
        }
        self.tidy().await
    }

    /// Nothing is passed on to these any more; durable when it returns.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub async fn forget(&self, destinations: Vec<Hash>) -> Result<(), Error> {
        if destinations.is_empty() {
            return Ok(());
        }
        self.step(Record::Forgotten(destinations)).await
    }

    async fn step(&self, step: Record) -> Result<(), Error> {
        let Some(journal) = &self.journal else {
            take(&mut lock(&self.all), 0, step);
            return Ok(());
        };
        journal.append(encode(&step), step).await.map(drop)
    }

    /// Lets go of files that nobody needs; what is known from an old one only is written anew.
    async fn tidy(&self) -> Result<(), Error> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let segments = journal.segments();
        if segments.len() > SEGMENTS_MAX
            && let Some(second) = segments.get(1)
        {
            let is_old = |known: &Known| known.record < second.first;
            let old: Vec<(Hash, Cursor)> = lock(&self.all)
                .iter()
                .filter(|(_, known)| is_old(known))
                .map(|(of, known)| (*of, known.cursor.clone()))
                .collect();
            for some in old.chunks(CURSORS_PER_RECORD) {
                self.step(Record::Reached(some.to_vec())).await?;
            }
        }
        let oldest = lock(&self.all).values().map(|known| known.record).min();
        journal.trim(oldest.unwrap_or_else(|| journal.acknowledged() + 1)).map(drop)
    }

    /// Returns when the disk has failed for good: nothing is kept any more, and the process has to
    /// restart.
    pub async fn failed(&self) -> Error {
        match &self.journal {
            Some(journal) => journal.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Keeps nothing any more. Blocks until what was to be kept is on disk.
    pub fn close(&self) {
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }
}

fn take(all: &mut All, record: Position, step: Record) {
    match step {
        Record::Reached(cursors) => {
            all.extend(cursors.into_iter().map(|(of, cursor)| (of, Known { record, cursor })));
        }
        Record::Forgotten(destinations) => {
            for of in destinations {
                all.remove(&of);
            }
        }
    }
}

fn encode(step: &Record) -> Vec<u8> {
    postcard::to_extend(step, vec![VERSION]).expect("a step is made of hashes and numbers")
}

fn decode(folder: &Path, position: Position, bytes: &[u8]) -> Result<Record, Error> {
    let damaged = |what: String| Error::Corrupt {
        what: format!("record {position}: {what}"),
        place: folder.to_owned(),
        remedy: "how far what is passed on has come is lost with it; move the folder away to begin \
                 with what comes now",
    };
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|error| damaged(error.to_string()))
        }
        Some((found, _)) => Err(Error::NewerVersion {
            what: format!("record {position} of `{}`", folder.display()),
            found: u64::from(*found),
            known: u64::from(VERSION),
        }),
        None => Err(damaged("it is empty".to_owned())),
    }
}
