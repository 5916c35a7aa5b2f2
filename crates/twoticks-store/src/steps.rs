//! Something small that is the fold of its steps, which are kept in a journal of their own.
//!
//! What waits to be sent ([`crate::outbox`]) and how far what is passed on has come
//! ([`crate::cursors`]) are kept so: read whole at a start, and as small on disk as what is known.
//! What always holds: a step that was taken is on disk; it is known here in the order of the
//! journal and before whoever took it is answered, so that its file is not let go of.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::journal::{Journal, Limits, Position};

/// What is kept so.
pub(crate) trait Folded: Default + Send + 'static {
    /// What changes it, as it is stored: a new kind comes last.
    type Step: Serialize + DeserializeOwned + Send + 'static;
    /// What a record begins with.
    const VERSION: u8;
    /// How long a file becomes before the next one begins, in bytes.
    const SEGMENT_BYTES: u64;
    /// What a damaged folder loses, and what would do.
    const REMEDY: &'static str;

    /// Takes a step; `record` is where it stands in the journal.
    fn take(&mut self, record: Position, step: Self::Step);

    /// The first record that is still needed.
    fn oldest(&self) -> Option<Position>;
}

/// A [`Folded`] and its journal.
pub(crate) struct Steps<T: Folded> {
    /// None: it lives in memory, and is lost with it.
    journal: Option<Journal<T::Step>>,
    state: Arc<Mutex<T>>,
}

impl<T: Folded> Steps<T> {
    /// Kept as long as the process.
    pub(crate) fn in_memory() -> Self {
        Self { journal: None, state: Arc::default() }
    }

    /// Opens what is in `folder`, which is made if it is not there, and reads all of it. The caller
    /// holds the lock of the data folder. Blocks.
    ///
    /// # Errors
    /// As [`Journal::open`]; [`Error::Corrupt`], [`Error::NewerVersion`].
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let limits = Limits { segment_bytes: T::SEGMENT_BYTES, ..Limits::default() };
        let state = Arc::new(Mutex::new(T::default()));
        let taking = Arc::clone(&state);
        let deliver = move |record, step| lock(&taking).take(record, step);
        let journal = Journal::open(folder, limits, Box::new(deliver))?;
        for record in journal.read(0) {
            let (position, payload) = record?;
            lock(&state).take(position, decode::<T>(folder, position, &payload)?);
        }
        Ok(Self { journal: Some(journal), state })
    }

    /// What is known.
    pub(crate) fn state(&self) -> MutexGuard<'_, T> {
        lock(&self.state)
    }

    /// Takes a step; durable when it returns.
    ///
    /// # Errors
    /// As [`Journal::append`]; it was not taken then.
    pub(crate) async fn take(&self, step: T::Step) -> Result<(), Error> {
        let Some(journal) = &self.journal else {
            self.state().take(0, step);
            return Ok(());
        };
        let record = postcard::to_extend(&step, vec![T::VERSION]);
        let record = record.expect("a step is made of texts, hashes and numbers");
        journal.append(record, step).await.map(drop)
    }

    /// The first record of the second of more than `most` files.
    pub(crate) fn second_of_more_than(&self, most: usize) -> Option<Position> {
        let segments = self.journal.as_ref()?.segments();
        segments.get(1).filter(|_| segments.len() > most).map(|second| second.first)
    }

    /// Lets go of the files that nobody needs.
    ///
    /// # Errors
    /// As [`Journal::trim`].
    pub(crate) fn trim(&self) -> Result<(), Error> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let oldest = self.state().oldest();
        journal.trim(oldest.unwrap_or_else(|| journal.acknowledged() + 1)).map(drop)
    }

    /// Returns when the disk has failed for good: no step is taken any more, and the process has
    /// to restart.
    pub(crate) async fn failed(&self) -> Error {
        match &self.journal {
            Some(journal) => journal.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Takes no step any more. Blocks until those that were taken are on disk.
    pub(crate) fn close(&self) {
        if let Some(journal) = &self.journal {
            journal.close();
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The step in a record.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::NewerVersion`].
pub(crate) fn decode<T: Folded>(
    folder: &Path,
    position: Position,
    bytes: &[u8],
) -> Result<T::Step, Error> {
    let damaged = |what: String| Error::Corrupt {
        what: format!("record {position}: {what}"),
        place: folder.to_owned(),
        remedy: T::REMEDY,
    };
    match bytes.split_first() {
        Some((version, rest)) if *version == T::VERSION => {
            postcard::from_bytes(rest).map_err(|error| damaged(error.to_string()))
        }
        Some((found, _)) => Err(Error::NewerVersion {
            what: format!("record {position} of `{}`", folder.display()),
            found: u64::from(*found),
            known: u64::from(T::VERSION),
        }),
        None => Err(damaged("it is empty".to_owned())),
    }
}
