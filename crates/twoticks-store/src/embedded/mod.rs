//! The ledger of one machine: our journal in front, an embedded engine behind, one folder.
//!
//! `lock`, `journal/`, `ledger/` and `snapshots/`. An acknowledgement waits for the journal's sync
//! and for nothing else. One thread folds what is acknowledged into what is young, in memory
//! ([`fold`], [`young`]), and what is young is committed whole, with the position it reaches
//! ([`tables`]). A question is put to the fold behind what was acknowledged when it was asked, and
//! is answered from what is young and the tables together ([`query`]). `ledger/` can be removed at
//! any time while nobody uses the folder: it is a fold of the journal, or of a snapshot and the
//! journal behind it, and the next start makes it again ([`opening`]). What a folder can do besides is in [`kept`] and [`sealing`], how long it keeps its
//! journal in [`retention`].

mod cells;
mod filling;
mod filter;
pub mod fold;
pub mod kept;
mod leaving;
mod look;
pub mod memory;
mod opening;
pub(crate) mod pieces;
mod query;
mod recalled;
mod recent;
mod refold;
pub mod retention;
mod ribbon;
mod roll;
mod scan;
pub mod scratch;
mod sealing;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod tombstones;
mod whole;
mod young;

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use twoticks_core::channel::Channel;
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Message, MessageKey};
use twoticks_core::query::{Point, Query};

use crate::embedded::fold::{Backlog, LEAD_EVENTS_MAX, Note, Order, Permit, Shared};
use crate::embedded::kept::Kept;
use crate::embedded::memory::Memory;
use crate::embedded::query::Moment;
use crate::embedded::retention::{Ages, Retention};
use crate::embedded::scan::View;
use crate::embedded::tables::Tables;
pub(crate) use crate::embedded::tables::layout_error;
use crate::embedded::young::Young;
use crate::entry;
use crate::error::Error;
use crate::journal::files::{Disk, Files};
use crate::journal::{Journal, Limits, Position};
use crate::keys::Keys;
use crate::ledger::{
    Batch, Counters, Digest, ENTRIES_BYTES_MAX, ENTRIES_MAX, Entry, GROUP_ENTRIES_MAX, Ledger,
    Look, Looked, Receipt, check, check_keys,
};
use crate::lock::FolderLock;
use crate::scan::{Scan, Scanned};
use crate::threads::{self, at_once, blocking};

/// How long a question waits for the fold to catch up.
pub const CATCH_UP_MAX: Duration = Duration::from_secs(25);
/// A body above this many bytes is compressed and sealed off the runtime's threads; so is one
/// with more events than this.
const INLINE_BYTES_MAX: usize = 16 << 10;
const INLINE_EVENTS_MAX: usize = 256;

/// Removes the ledger that is in `data`, all of it, while nobody uses the folder.
///
/// # Errors
/// What the operating system says; some of it may be left then.
pub fn remove(data: &Path) -> std::io::Result<()> {
    for part in ["journal", "ledger", "ledger.new", "ledger.damaged", "snapshots"] {
        let path = data.join(part);
        if path.exists() {
            std::fs::remove_dir_all(path)?;
        }
    }
    let mark = data.join(opening::DAMAGED_MARK);
    if mark.exists() { std::fs::remove_file(mark) } else { Ok(()) }
}

/// What an open folder may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The journal's limits.
    pub journal: Limits,
    /// Memory, in bytes, about, however much is kept; at least [`memory::MEMORY_BYTES_MIN`].
    pub memory_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Limits::default().into()
    }
}

impl From<Limits> for Bounds {
    fn from(journal: Limits) -> Self {
        Self { journal, memory_bytes: memory::MEMORY_BYTES }
    }
}

/// An open folder.
pub struct Embedded {
    kept: Arc<Kept>,
    lead: Arc<Semaphore>,
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
        Self::open_with(folder, keys, Bounds::default())
    }

    /// As [`Embedded::open`], with other bounds, or other limits of the journal.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn open_with(
        folder: &Path,
        keys: Arc<Keys>,
        bounds: impl Into<Bounds>,
    ) -> Result<Self, Error> {
        Self::open_on(folder, keys, bounds, Arc::new(Disk))
    }

    /// As [`Embedded::open_with`], with the journal on other files.
    pub(crate) fn open_on(
        folder: &Path,
        keys: Arc<Keys>,
        bounds: impl Into<Bounds>,
        files: Arc<dyn Files>,
    ) -> Result<Self, Error> {
        let Bounds { journal: limits, memory_bytes } = bounds.into();
        let making = |error| Error::io("making the data folder", error);
        std::fs::create_dir_all(folder).map_err(making)?;
        // So that a power cut cannot take the folder itself away.
        File::open(folder.join("..")).and_then(|above| above.sync_all()).map_err(making)?;
        let lock = FolderLock::take(folder)?;
        // Every entry weighs at least one event, so the bounded lead always fits.
        let (orders, ordered) = sync_channel(LEAD_EVENTS_MAX + 16);
        let to_fold = orders.clone();
        let ages = Arc::new(Ages::default());
        let to_tell = Arc::clone(&ages);
        let backlog = Arc::new(Backlog::default());
        let to_wait = Arc::clone(&backlog);
        let deliver = Box::new(move |position, note: Note| {
            to_tell.tell(note.work.accepted);
            to_wait.add(note.work.events.len());
            // The fold ends before the journal does only when the ledger closes.
            drop(to_fold.send(Order::Fold(position, Box::new(note))));
        });
        let journal: Arc<Journal<Note>> =
            Arc::new(Journal::open_on(&folder.join("journal"), limits, deliver, files)?);
        opening::check_key(folder, &keys, &journal)?;
        let (shared, mut young) =
            opening::open_tables(folder, &keys, &journal, &Memory::of(memory_bytes))?;
        let shared = Arc::new(shared);
        // What is replayed may not be committed yet, and what expires by it would be missing if it
        // had to be replayed once more.
        let committed = young.latest;
        opening::replay(&shared, &mut young, &journal, folder)?;
        if let Some(latest) = retention::latest_of(folder, &journal)? {
            ages.tell(latest);
        }
        let (commits, committing) = sync_channel(1);
        let [folds, commit, fills, expires] = [(); 4].map(|()| Arc::clone(&shared));
        let (due, to_expire) = sync_channel(1);
        let (fill, to_fill) = sync_channel(1);
        // What has expired while nobody was there.
        due.try_send(committed).expect("there is room in a fresh channel");
        let started = [
            threads::start("twoticks-fold", move || {
                fold::run(&folds, young, (&ordered, &backlog), &commits);
            }),
            threads::start("twoticks-commit", move || {
                fold::commit(&commit, &committing, (&due, &fill));
            }),
            threads::start("twoticks-expiry", move || {
                threads::stand_back();
                fold::expire(&expires, &to_expire);
            }),
            threads::start("twoticks-filter", move || {
                threads::stand_back();
                fold::fill_filters(&fills, &to_fill);
            }),
        ];
        let started: Result<_, _> = started.into_iter().collect();
        let threads = started.map_err(|error| Error::io("starting the ledger's threads", error))?;
        Ok(Self {
            kept: Arc::new(Kept::new((journal, shared), (folder, keys), orders, ages)),
            lead: Arc::new(Semaphore::new(LEAD_EVENTS_MAX)),
            threads: Mutex::new(threads),
            _lock: lock,
        })
    }

    /// Keeps the journal as `retention` says from now on, until it is closed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no thread to be had.
    pub fn retain(&self, retention: Retention) -> Result<(), Error> {
        self.kept.ages.believe(Arc::clone(&retention.clock));
        let kept = Arc::clone(&self.kept);
        let thread = threads::start("twoticks-retain", move || {
            threads::stand_back();
            retention::run(&kept, &retention);
        });
        let thread = thread.map_err(|error| Error::io("starting the ledger's threads", error))?;
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Ok(())
    }

    /// Asks the fold; [`Kept::ask`].
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Young, &Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.kept.ask(question).await
    }

    /// Reads the tables, away from the runtime's threads.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = Arc::clone(&self.kept.shared);
        blocking(move || noted(&shared, look(&shared))).await
    }

    /// The entries at `positions`, as many as a list may have.
    async fn read(&self, positions: Positions, most: usize) -> Result<Vec<Entry>, Error> {
        let (journal, keys) = (Arc::clone(&self.kept.journal), Arc::clone(&self.kept.keys));
        let folder = self.kept.folder.join("journal");
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
                        // Some are no longer kept.
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

    /// Stops the threads and waits for them.
    fn end(&self) {
        self.kept.end();
        self.kept.journal.close();
        drop(self.kept.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.kept.shared.stop();
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

/// `answer`; that the tables are damaged is noted for the next start.
pub(crate) fn noted<T>(shared: &Shared, answer: Result<T, Error>) -> Result<T, Error> {
    if let Err(Error::Corrupt { .. }) = &answer {
        opening::mark_damaged(shared.slot.folder());
    }
    answer
}

#[async_trait]
impl Ledger for Embedded {
    async fn record(&self, batch: Batch) -> Result<Receipt, Error> {
        check(&batch)?;
        let permit = Permit::take(&self.lead, batch.events.len().max(1)).await?;
        let is_small =
            batch.body.len() <= INLINE_BYTES_MAX && batch.events.len() <= INLINE_EVENTS_MAX;
        let (payload, work) = if is_small {
            entry::encode(&self.kept.keys, batch)
        } else {
            let keys = Arc::clone(&self.kept.keys);
            blocking(move || Ok(entry::encode(&keys, batch))).await?
        };
        let position = self.kept.journal.append(payload, Note { work, _permit: permit }).await?;
        Ok(Receipt { position })
    }

    async fn series(&self, query: Query) -> Result<Vec<Point>, Error> {
        let Some(span) = query.span() else { return Ok(Vec::new()) };
        let query = Arc::new(query);
        let asked = Arc::clone(&query);
        // What had a receipt may be in the tables as a whole: then the fold need not wake up.
        let moment = if self.kept.is_committed() {
            None
        } else {
            let moment = move |young: &Young, shared: &Shared| {
                shared.slot.with(|tables| Ok(Moment::of(young, tables, &asked, span)))
            };
            Some(self.ask(moment).await?)
        };
        let shared = Arc::clone(&self.kept.shared);
        at_once(move || noted(&shared, query::series(&shared, &query, span, moment))).await
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

    fn newest(&self) -> Position {
        self.kept.journal.acknowledged()
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

    async fn accepted(&self, look: Look) -> Result<Looked, Error> {
        let (journal, keys) = (Arc::clone(&self.kept.journal), Arc::clone(&self.kept.keys));
        let folder = self.kept.folder.join("journal");
        blocking(move || look::accepted(&journal, &keys, &folder, &look)).await
    }

    async fn messages(&self, keys: Vec<MessageKey>) -> Result<Vec<Option<Message>>, Error> {
        check_keys(&keys)?;
        let keys = Arc::new(keys);
        let asked = Arc::clone(&keys);
        let young = self.ask(move |young, _| {
            let rows = asked.iter().map(|key| young.message(key).cloned());
            Ok((rows.collect(), young.latest))
        });
        let (young, latest) = young.await?;
        self.look(move |shared| look::messages(shared, &keys, young, latest)).await
    }

    async fn digest(&self) -> Result<Digest, Error> {
        self.kept.flush().await?;
        self.look(|shared| shared.slot.with(Tables::digest)).await
    }

    async fn scan(&self, scan: Scan) -> Result<Scanned, Error> {
        self.kept.flush().await?;
        let shared = Arc::clone(&self.kept.shared);
        blocking(move || {
            let view = View::new(shared, &scan)?;
            Ok(Scanned { position: view.position, pages: Box::new(view) })
        })
        .await
    }

    async fn failed(&self) -> Error {
        self.kept.journal.failed().await
    }

    fn counters(&self) -> Counters {
        *self.kept.shared.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        Some(Arc::clone(&self.kept))
    }

    async fn close(&self) -> Result<(), Error> {
        self.kept.end();
        let journal = Arc::clone(&self.kept.journal);
        blocking(move || {
            journal.close();
            Ok(())
        })
        .await?;
        let flushed = match self.kept.flush().await {
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
