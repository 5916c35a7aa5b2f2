//! A ledger and a directory that can be replaced while a server uses them: an emulator begins anew.
//!
//! What always holds: a call ends with what it began with, and nobody uses any more what was
//! replaced. So a folder can be let go of, emptied and opened again in between.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::{RwLock as AsyncRwLock, RwLockWriteGuard};
use twoticks_core::channel::Channel;
use twoticks_core::ids::ChannelId;
use twoticks_core::query::{Point, Query};
use twoticks_store::directory::{self, Change, Directory, Snapshot};
use twoticks_store::error::Error;
use twoticks_store::journal::Position;
use twoticks_store::ledger::{Batch, Counters, Digest, Entry, Ledger, Receipt};

/// Something that can be replaced.
pub struct Renewable<T: ?Sized> {
    used: RwLock<Arc<T>>,
    /// Read by calls for as long as they take, written by whoever replaces.
    calls: AsyncRwLock<()>,
}

/// The turn to replace what is used: no call is under way, and those that come wait.
pub struct Turn<'a, T: ?Sized> {
    of: &'a Renewable<T>,
    _alone: RwLockWriteGuard<'a, ()>,
}

impl<T: ?Sized> Renewable<T> {
    /// Begins with `first`.
    pub fn new(first: Arc<T>) -> Self {
        Self { used: RwLock::new(first), calls: AsyncRwLock::new(()) }
    }

    /// Waits until the calls that have begun have ended.
    pub async fn turn(&self) -> Turn<'_, T> {
        Turn { of: self, _alone: self.calls.write().await }
    }

    /// Looks at what is used now.
    fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.used.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Arc<T> {
        Arc::clone(&self.used.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: ?Sized> Turn<'_, T> {
    /// What is used until it is replaced.
    #[must_use]
    pub fn used(&self) -> Arc<T> {
        self.of.now()
    }

    /// Uses `next` from now on, and gives back what was used; nobody else has it any more.
    #[must_use]
    pub fn replace(&self, next: Arc<T>) -> Arc<T> {
        let mut used = self.of.used.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *used, next)
    }
}

/// Makes a call, during which what it is made to is not replaced.
macro_rules! call {
    ($renewable:ident.$name:ident($($argument:expr),*)) => {{
        let _during = $renewable.calls.read().await;
        let used = $renewable.now();
        used.$name($($argument),*).await
    }};
}

#[async_trait]
impl Ledger for Renewable<dyn Ledger> {
    async fn record(&self, batch: Batch) -> Result<Receipt, Error> {
        call!(self.record(batch))
    }
    async fn series(&self, query: Query) -> Result<Vec<Point>, Error> {
        call!(self.series(query))
    }
    async fn channel(&self, channel: &ChannelId) -> Result<Channel, Error> {
        call!(self.channel(channel))
    }
    async fn entries(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error> {
        call!(self.entries(from, most))
    }
    async fn group(&self, channel: &ChannelId, group: &str) -> Result<Vec<Entry>, Error> {
        call!(self.group(channel, group))
    }
    async fn dead_letters(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error> {
        call!(self.dead_letters(from, most))
    }
    async fn digest(&self) -> Result<Digest, Error> {
        call!(self.digest())
    }
    fn counters(&self) -> Counters {
        self.look(Ledger::counters)
    }
    async fn close(&self) -> Result<(), Error> {
        call!(self.close())
    }
}

#[async_trait]
impl Directory for Renewable<dyn Directory> {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.look(Directory::snapshot)
    }
    async fn change(&self, changes: Vec<Change>) -> Result<(), directory::Error> {
        call!(self.change(changes))
    }
}
