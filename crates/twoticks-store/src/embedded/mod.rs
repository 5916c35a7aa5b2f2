//! The ledger of one machine: our journal in front, an embedded engine behind, one folder.
//!
//! `lock`, `journal/` and `ledger/`. An acknowledgement waits for the journal's sync and for
//! nothing else. One thread folds what is acknowledged into an overlay in memory ([`fold`]), and
//! overlays are committed whole, with the position they reach ([`tables`]). A question waits until
//! the overlay has what was acknowledged when it was asked, and reads overlay and tables together
//! ([`query`]). `ledger/` can be removed at any time while nobody uses the folder: it is a fold of
//! the journal, and the next start makes it again.

mod cells;
mod filter;
pub mod fold;
mod query;
mod recent;
mod scan;
pub mod scratch;
mod tables;
#[cfg(test)]
mod tests;
mod young;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use twoticks_core::channel::Channel;
use twoticks_core::ids::ChannelId;
use twoticks_core::query::{Point, Query};

use crate::embedded::fold::{LEAD_EVENTS_MAX, Note, OVERLAY_ROWS_MAX, Order, Permit, Shared};
use crate::embedded::query::Moment;
use crate::embedded::scan::View;
use crate::embedded::tables::{Slot, Tables};
use crate::embedded::young::Young;
use crate::entry;
use crate::error::Error;
use crate::journal::files::{Disk, Files};
use crate::journal::{Journal, Limits, Position};
use crate::keys::Keys;
use crate::ledger::{
    Batch, Counters, Digest, ENTRIES_BYTES_MAX, ENTRIES_MAX, Entry, GROUP_ENTRIES_MAX, Ledger,
    Receipt, check,
};
use crate::lock::FolderLock;
use crate::scan::{Scan, Scanned};
use crate::threads::{self, blocking};

/// How long a question waits for the fold to catch up.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// A body above this many bytes is compressed and sealed off the runtime's threads; so is one
/// with more events than this.
const INLINE_BYTES_MAX: usize = 16 << 10;
const INLINE_EVENTS_MAX: usize = 256;
/// Memory for the messages that were touched last, in bytes, about.
const MEMORY_BYTES: usize = 256 << 20;
/// How many entries are looked at for one with a body that says under which key it was sealed.
const KEY_CHECK_ENTRIES: usize = 100;

/// An open folder.
pub struct Embedded {
    journal: Arc<Journal<Note>>,
    folder: PathBuf,
    keys: Arc<Keys>,
    shared: Arc<Shared>,
    lead: Arc<AtomicUsize>,
    orders: Mutex<Option<SyncSender<Order>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: FolderLock,
}

impl Embedded {
    /// Opens the ledger in `folder`, which is made if it is not there, and folds what the journal
    /// has and the tables do not. Blocks, for long if much is to be folded.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::WrongKey`], [`Error::Corrupt`], [`Error::NewerVersion`],
    /// [`Error::Full`], [`Error::Unavailable`].
    pub fn open(folder: &Path, keys: Arc<Keys>) -> Result<Self, Error> {
        Self::open_with(folder, keys, Limits::default())
    }

    /// As [`Embedded::open`], with other limits of the journal.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_with(folder: &Path, keys: Arc<Keys>, limits: Limits) -> Result<Self, Error> {
        Self::open_on(folder, keys, limits, Arc::new(Disk))
    }

    /// As [`Embedded::open_with`], with the journal on other files.
    pub(crate) fn open_on(
        folder: &Path,
        keys: Arc<Keys>,
        limits: Limits,
        files: Arc<dyn Files>,
    ) -> Result<Self, Error> {
        let making = |error| Error::io("making the data folder", error);
        std::fs::create_dir_all(folder).map_err(making)?;
        // So that a power cut cannot take the folder itself away.
        File::open(folder.join("..")).and_then(|above| above.sync_all()).map_err(making)?;
        let lock = FolderLock::take(folder)?;
        // Every entry weighs at least one event, so the bounded lead always fits.
        let (orders, ordered) = sync_channel(LEAD_EVENTS_MAX + 16);
        let to_fold = orders.clone();
        let deliver = Box::new(move |position, note| {
            // The fold ends before the journal does only when the ledger closes.
            drop(to_fold.send(Order::Fold(position, note)));
        });
        let journal: Arc<Journal<Note>> =
            Arc::new(Journal::open_on(&folder.join("journal"), limits, deliver, files)?);
        check_key(folder, &keys, &journal)?;
        let (shared, mut young) = open_tables(folder, &keys, &journal)?;
        let shared = Arc::new(shared);
        replay(&shared, &mut young, &journal, folder)?;
        let (commits, committing) = sync_channel(1);
        let [folds, commit, fills] = [(); 3].map(|()| Arc::clone(&shared));
        let started = [
            threads::start("twoticks-fold", move || fold::run(&folds, young, &ordered, &commits)),
            threads::start("twoticks-commit", move || fold::commit(&commit, &committing)),
            threads::start("twoticks-filter", move || fold::fill_filters(&fills)),
        ];
        let started: Result<_, _> = started.into_iter().collect();
        let threads = started.map_err(|error| Error::io("starting the ledger's threads", error))?;
        Ok(Self {
            journal,
            folder: folder.to_owned(),
            keys,
            shared,
            lead: Arc::default(),
            orders: Mutex::new(Some(orders)),
            threads: Mutex::new(threads),
            _lock: lock,
        })
    }

    /// Asks the fold. It answers when everything is folded that is acknowledged now.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Young, &Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let question = Order::Ask(Box::new(move |young, shared| {
            // Whoever asked may have gone.
            drop(answer.send(question(young, shared)));
        }));
        self.order(question).await?;
        match tokio::time::timeout(CATCH_UP_MAX, answered).await {
            Ok(answer) => answer.unwrap_or(Err(Error::Closed)),
            Err(late) => Err(behind(late)),
        }
    }

    async fn order(&self, order: Order) -> Result<(), Error> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let orders = orders.ok_or(Error::Closed)?;
        match orders.try_send(order) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Error::Closed),
            Err(TrySendError::Full(order)) => {
                blocking(move || orders.send(order).map_err(|_| Error::Closed)).await
            }
        }
    }

    /// The entries at `positions`, as many as a list may have.
    async fn read(&self, positions: Positions, most: usize) -> Result<Vec<Entry>, Error> {
        let (journal, keys) = (Arc::clone(&self.journal), Arc::clone(&self.keys));
        let folder = self.folder.join("journal");
        blocking(move || {
            let mut entries = Vec::new();
            let mut bytes = 0;
            let mut take = |record: Result<(Position, Vec<u8>), Error>| {
                let (position, payload) = record?;
                let entry = entry::decode(&keys, &folder, position, &payload)?;
                let size = entry.batch.body.len();
                let fits = entries.is_empty() || bytes + size <= ENTRIES_BYTES_MAX;
                bytes += size;
                if fits {
                    entries.push(entry);
                }
                Ok::<_, Error>(fits && entries.len() < most)
            };
            match positions {
                Positions::From(from) => {
                    for record in journal.read(from) {
                        if !take(record)? {
                            break;
                        }
                    }
                }
                Positions::These(positions) => {
                    let mut records = journal.read(1);
                    for position in positions {
                        // One that is no longer kept is left out.
                        let Some(payload) = records.at(position)? else { continue };
                        if !take(Ok((position, payload)))? {
                            break;
                        }
                    }
                }
            }
            Ok(entries)
        })
        .await
    }

    /// Has everything that is acknowledged now committed to the tables.
    async fn flush(&self) -> Result<(), Error> {
        let target = self.ask(|young, _| Ok(young.position)).await?;
        self.order(Order::Flush).await?;
        wait(&self.shared.committed, target).await
    }

    /// Stops the threads and waits for them.
    fn end(&self) {
        self.journal.close();
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.stop();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // Its panic would have aborted the process.
            drop(thread.join());
        }
    }
}

/// Which entries to read.
enum Positions {
    From(Position),
    /// In order.
    These(Vec<Position>),
}

async fn wait(reached: &watch::Sender<Position>, target: Position) -> Result<(), Error> {
    let mut reached = reached.subscribe();
    let waiting = reached.wait_for(|position| *position >= target);
    match tokio::time::timeout(CATCH_UP_MAX, waiting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Error::Closed),
        Err(late) => Err(behind(late)),
    }
}

fn behind(late: tokio::time::error::Elapsed) -> Error {
    let doing = "waiting for the ledger to catch up with the journal";
    Error::Unavailable { doing, source: late.into() }
}

/// Makes sure that the journal was written under `keys`: hashes under another key would count
/// everything once more. The tables know their key as well, but they may be gone.
fn check_key(folder: &Path, keys: &Keys, journal: &Journal<Note>) -> Result<(), Error> {
    for record in journal.read(1).take(KEY_CHECK_ENTRIES) {
        match entry::opens(keys, &record?.1) {
            Some(true) => break,
            Some(false) => return Err(Error::WrongKey { folder: folder.to_owned() }),
            None => {}
        }
    }
    Ok(())
}

/// Opens the tables and makes sure that they belong to the journal.
fn open_tables(
    folder: &Path,
    keys: &Keys,
    journal: &Journal<Note>,
) -> Result<(Shared, Young), Error> {
    let ledger = folder.join("ledger");
    let mut tables = open_or_set_aside(&ledger, journal)?;
    let mut meta = tables.meta(&ledger, Some(keys))?;
    if !meta.same_rules && journal.first() == 1 {
        tracing::warn!("the counting rules have changed: the ledger is made again");
        drop(tables);
        std::fs::remove_dir_all(&ledger)
            .map_err(|error| Error::io("removing the old ledger", error))?;
        tables = Tables::open(&ledger)?;
        meta = tables.meta(&ledger, Some(keys))?;
    }
    if meta.folded > journal.acknowledged() {
        return Err(Error::Corrupt {
            what: format!(
                "its end is missing: it has {} entries, and {} have been counted",
                journal.acknowledged(),
                meta.folded
            ),
            place: folder.join("journal"),
            remedy: "restore the journal's last file from a backup, or remove the folder `ledger` \
                beside it and accept the loss",
        });
    }
    if meta.folded + 1 < journal.first() {
        return Err(Error::Corrupt {
            what: format!(
                "its beginning is missing: {} entries have been counted, and it begins at {}",
                meta.folded,
                journal.first()
            ),
            place: folder.join("journal"),
            remedy: "restore the folder from a backup",
        });
    }
    let young = fold::young(MEMORY_BYTES, meta.folded, meta.latest);
    Ok((Shared::new(Slot::new(&ledger, tables), meta.folded), young))
}

/// Opens the tables. Those that a power cut has left damaged are set aside, as `ledger.damaged`, if
/// the journal has all that is needed to make them again.
fn open_or_set_aside(ledger: &Path, journal: &Journal<Note>) -> Result<Tables, Error> {
    match Tables::open(ledger) {
        Err(error @ Error::Corrupt { .. }) if journal.first() == 1 => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the ledger is damaged and is made again from the journal; the old one is kept as \
                `ledger.damaged`"
            );
            let aside = ledger.with_extension("damaged");
            let moving = |error| Error::io("setting the damaged ledger aside", error);
            if aside.exists() {
                std::fs::remove_dir_all(&aside).map_err(moving)?;
            }
            std::fs::rename(ledger, &aside).map_err(moving)?;
            Tables::open(ledger)
        }
        other => other,
    }
}

/// Folds what the journal has and the tables do not.
fn replay(
    shared: &Shared,
    young: &mut Young,
    journal: &Journal<Note>,
    folder: &Path,
) -> Result<(), Error> {
    let folder = folder.join("journal");
    for record in journal.read(young.position + 1) {
        let (position, payload) = record?;
        let work = entry::decode_work(&folder, position, &payload)?;
        shared.fold(young, position, &work)?;
        if young.rows() >= OVERLAY_ROWS_MAX {
            shared.commit_all(young)?;
            tracing::info!(ledger.position = position, "the ledger catches up: {position}");
        }
    }
    // What happened before the start is not counted as happening now.
    young.counters = Counters::default();
    *shared.counters.lock().unwrap_or_else(PoisonError::into_inner) = Counters::default();
    Ok(())
}

#[async_trait]
impl Ledger for Embedded {
    async fn record(&self, batch: Batch) -> Result<Receipt, Error> {
        check(&batch)?;
        let permit = Permit::take(&self.lead, batch.events.len().max(1))?;
        let is_small =
            batch.body.len() <= INLINE_BYTES_MAX && batch.events.len() <= INLINE_EVENTS_MAX;
        let (payload, work) = if is_small {
            entry::encode(&self.keys, batch)
        } else {
            let keys = Arc::clone(&self.keys);
            blocking(move || Ok(entry::encode(&keys, batch))).await?
        };
        let position = self.journal.append(payload, Note { work, _permit: permit }).await?;
        Ok(Receipt { position })
    }

    async fn series(&self, query: Query) -> Result<Vec<Point>, Error> {
        let Some(span) = query.span() else { return Ok(Vec::new()) };
        let query = Arc::new(query);
        let asked = Arc::clone(&query);
        let moment = self
            .ask(move |young, shared| {
                shared.slot.with(|tables| Ok(Moment::of(young, tables, &asked, span)))
            })
            .await?;
        let shared = Arc::clone(&self.shared);
        blocking(move || query::series(&shared, &query, span, &moment)).await
    }

    async fn channel(&self, channel: &ChannelId) -> Result<Channel, Error> {
        let channel = channel.clone();
        self.ask(move |young, shared| {
            let folder = shared.slot.folder();
            let row = shared.slot.with(|tables| young.channel(tables, folder, &channel))?;
            Ok(Channel::clone(&row))
        })
        .await
    }

    async fn entries(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error> {
        match most.min(ENTRIES_MAX) {
            0 => Ok(Vec::new()),
            most => self.read(Positions::From(from), most).await,
        }
    }

    async fn group(&self, channel: &ChannelId, group: &str) -> Result<Vec<Entry>, Error> {
        if group.len() > crate::ledger::GROUP_BYTES_MAX {
            return Ok(Vec::new());
        }
        let (channel, group) = (channel.clone(), group.to_owned());
        let positions = self.ask(move |young, shared| {
            query::group(young, shared, &channel, &group, GROUP_ENTRIES_MAX)
        });
        self.read(Positions::These(positions.await?), GROUP_ENTRIES_MAX).await
    }

    async fn dead_letters(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error> {
        let most = most.min(ENTRIES_MAX);
        if most == 0 {
            return Ok(Vec::new());
        }
        let positions =
            self.ask(move |young, shared| query::dead(young, shared, from, most)).await?;
        self.read(Positions::These(positions), most).await
    }

    async fn digest(&self) -> Result<Digest, Error> {
        self.flush().await?;
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.slot.with(|tables| tables.digest(shared.slot.folder()))).await
    }

    async fn scan(&self, scan: Scan) -> Result<Scanned, Error> {
        self.flush().await?;
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let view = View::new(shared, &scan)?;
            Ok(Scanned { position: view.position, pages: Box::new(view) })
        })
        .await
    }

    async fn failed(&self) -> Error {
        self.journal.failed().await
    }

    fn counters(&self) -> Counters {
        *self.shared.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn close(&self) -> Result<(), Error> {
        let journal = Arc::clone(&self.journal);
        blocking(move || {
            journal.close();
            Ok(())
        })
        .await?;
        let flushed = match self.flush().await {
            // It has been closed before.
            Err(Error::Closed) => Ok(()),
            other => other,
        };
        // The threads have nothing left to do, or have been told not to try any longer.
        self.end();
        flushed
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.end();
    }
}
