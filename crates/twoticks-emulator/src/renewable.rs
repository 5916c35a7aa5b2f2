//! A ledger and a directory that can be replaced while a server uses them: an emulator begins anew.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::watch;
use twoticks_core::channel::Channel;
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Message, MessageKey};
use twoticks_core::query::{Point, Query};
use twoticks_store::directory::{self, Change, Directory, Snapshot};
use twoticks_store::embedded::kept::Kept;
use twoticks_store::error::Error;
use twoticks_store::journal::Position;
use twoticks_store::ledger::{Batch, Counters, Digest, Entry, Ledger, Look, Looked, Receipt};
use twoticks_store::scan::{Scan, Scanned};

/// What is used now. A call that has begun ends with what it began with.
pub struct Renewable<T: ?Sized> {
    now: RwLock<Arc<T>>,
    replaced: watch::Sender<()>,
}

impl<T: ?Sized> Renewable<T> {
    /// Begins with `first`.
    pub fn new(first: Arc<T>) -> Self {
        Self { now: RwLock::new(first), replaced: watch::Sender::new(()) }
    }

    /// What is used now.
    pub fn now(&self) -> Arc<T> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses `next` from now on and gives back what was used.
    pub fn replace(&self, next: Arc<T>) -> Arc<T> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *now, next);
        drop(now);
        self.replaced.send_replace(());
        before
    }
}

#[async_trait]
impl Ledger for Renewable<dyn Ledger> {
    async fn record(&self, batch: Batch) -> Result<Receipt, Error> {
        self.now().record(batch).await
    }
    async fn series(&self, query: Query) -> Result<Vec<Point>, Error> {
        self.now().series(query).await
    }
    async fn channel(&self, channel: &ChannelId) -> Result<Channel, Error> {
        self.now().channel(channel).await
    }
    async fn entries(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error> {
        self.now().entries(from, most).await
    }
    fn newest(&self) -> Position {
        self.now().newest()
    }
    async fn group(&self, channel: &ChannelId, group: &str) -> Result<Vec<Entry>, Error> {
        self.now().group(channel, group).await
    }
    async fn dead_letters(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error> {
        self.now().dead_letters(from, most).await
    }
    async fn accepted(&self, look: Look) -> Result<Looked, Error> {
        self.now().accepted(look).await
    }
    async fn messages(&self, keys: Vec<MessageKey>) -> Result<Vec<Option<Message>>, Error> {
        self.now().messages(keys).await
    }
    async fn digest(&self) -> Result<Digest, Error> {
        self.now().digest().await
    }
    async fn scan(&self, scan: Scan) -> Result<Scanned, Error> {
        self.now().scan(scan).await
    }
    async fn failed(&self) -> Error {
        let mut replaced = self.replaced.subscribe();
        loop {
            let now = self.now();
            tokio::select! {
                error = now.failed() => return error,
                // The sender is ours: it is never gone.
                _ = replaced.changed() => {}
            }
        }
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        self.now().kept()
    }
    fn counters(&self) -> Counters {
        self.now().counters()
    }
    async fn close(&self) -> Result<(), Error> {
        self.now().close().await
    }
}

#[async_trait]
impl Directory for Renewable<dyn Directory> {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.now().snapshot()
    }
    async fn change(&self, changes: Vec<Change>) -> Result<(), directory::Error> {
        self.now().change(changes).await
    }
}
