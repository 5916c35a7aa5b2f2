//! A directory that lasts as long as the process: for tests, and for a demo without a folder.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_trait::async_trait;

use super::change::{Change, Contents};
use super::snapshot::{LookupKey, Snapshot};
use super::{Directory, Error, Refusal};

/// The present snapshot, and how the next one is made of it. Both backends have one.
pub(crate) struct Present {
    lookup: LookupKey,
    snapshot: ArcSwap<Snapshot>,
}

impl Present {
    pub(crate) fn new(contents: Contents) -> Result<Self, Refusal> {
        let lookup = LookupKey::random();
        let snapshot = Snapshot::build(contents, &lookup)?;
        Ok(Self { lookup, snapshot: ArcSwap::from_pointee(snapshot) })
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// What the directory would be: whole, or refused. Nothing changes yet.
    pub(crate) fn next(&self, changes: Vec<Change>) -> Result<Snapshot, Refusal> {
        let mut contents = self.snapshot.load().contents().clone();
        for change in changes {
            contents.apply(change)?;
        }
        Snapshot::build(contents, &self.lookup)
    }

    pub(crate) fn swap(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }
}

/// The directory in memory.
pub struct MemoryDirectory {
    present: Present,
    /// Held while a change is made, so that two made at once both count.
    changing: Mutex<()>,
}

impl MemoryDirectory {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let present = Present::new(Contents::default());
        Self { present: present.expect("an empty directory is whole"), changing: Mutex::new(()) }
    }
}

impl Default for MemoryDirectory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.present.snapshot()
    }

    async fn change(&self, changes: Vec<Change>) -> Result<(), Error> {
        // The lock guards nothing that a panic could leave half done.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.present.swap(self.present.next(changes)?);
        Ok(())
    }
}
