//! What a ledger in a folder can do besides: seal its state, be folded again, be copied.
//!
//! Everything here reads; it goes on while entries are recorded and neither waits for the other.
//! What always holds: a snapshot gets its name when it is whole and on disk; while somebody holds
//! the folder ([`Kept::hold`]) no file of it is removed; what takes long ends early when the ledger
//! closes.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{oneshot, watch};
use twoticks_core::clock::Time;

use crate::embedded::fold::{Note, Order, Shared};
use crate::embedded::opening::usable;
use crate::embedded::refold::{Refolded, refold};
use crate::embedded::retention::Ages;
use crate::embedded::scratch::Scratch;
use crate::embedded::young::Young;
use crate::embedded::{CATCH_UP_MAX, noted};
use crate::error::Error;
use crate::journal::{Journal, Position};
use crate::keys::Keys;
use crate::ledger::Digest;
use crate::snapshot::folder::{self, Sealed};
use crate::threads::blocking;

/// The inner parts of a ledger in a folder.
pub struct Kept {
    pub(crate) journal: Arc<Journal<Note>>,
    pub(super) folder: PathBuf,
    pub(super) keys: Arc<Keys>,
    pub(super) shared: Arc<Shared>,
    pub(super) orders: Mutex<Option<SyncSender<Order>>>,
    pub(super) ages: Arc<Ages>,
    /// One snapshot is sealed at a time, and no part is removed meanwhile.
    pub(super) sealing: Mutex<()>,
    /// How many hold the folder.
    holders: Mutex<usize>,
    ending: AtomicBool,
}

/// As long as it is there no file of the folder is removed.
pub(crate) struct Hold<'a>(&'a Kept);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        *self.0.holders() -= 1;
    }
}

/// The journal, folded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Again {
    /// The position of the snapshot that it began with; 0 if it began with nothing.
    pub(crate) from: Position,
    pub(crate) digest: Digest,
    pub(crate) entries: u64,
    pub(crate) events: u64,
}

/// How many bytes a folder has on disk, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// About how many messages are kept.
    pub messages: u64,
    /// State and totals.
    pub tables: u64,
    /// What the engine keeps besides, its own journals most of all; bounded.
    pub engine: u64,
    /// The journal.
    pub journal: u64,
    /// Sealed snapshots.
    pub snapshots: u64,
}

impl Kept {
    pub(super) fn new(
        (journal, shared): (Arc<Journal<Note>>, Arc<Shared>),
        (folder, keys): (&Path, Arc<Keys>),
        orders: SyncSender<Order>,
        ages: Arc<Ages>,
    ) -> Self {
        Self {
            journal,
            folder: folder.to_owned(),
            keys,
            shared,
            orders: Mutex::new(Some(orders)),
            ages,
            sealing: Mutex::default(),
            holders: Mutex::default(),
            ending: AtomicBool::new(false),
        }
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether everything that has a receipt is in the tables.
    pub(super) fn is_committed(&self) -> bool {
        let acknowledged = self.journal.acknowledged();
        *self.shared.committed.borrow() >= acknowledged
    }

    /// Asks the fold. It answers when everything is folded that had a receipt before.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Young, &Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let question = move |young: &Young, shared: &Shared| {
            // Whoever asked may have gone.
            drop(answer.send(noted(shared, question(young, shared))));
        };
        self.order(Order::Ask(Box::new(question))).await?;
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

    /// Has everything that had a receipt before committed to the tables.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let target = self.ask(|young, _| Ok(young.position)).await?;
        self.order(Order::Flush).await?;
        wait(&self.shared.committed, target).await
    }

    /// The digest of everything that had a receipt before, and the journal folded again up to there,
    /// as [`Kept::fold_again`] does, both at the same time.
    pub(crate) async fn compare(
        self: &Arc<Self>,
        scratch: &Path,
        told: Arc<dyn Fn(Position, Position) + Send + Sync>,
    ) -> Result<(Digest, Again), Error> {
        // What is folded again must not be trimmed meanwhile.
        let _held = self.hold();
        self.flush().await?;
        let (tell, until) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let digested = blocking(move || {
            // Whoever wants to know may have gone.
            let told = |position| tell.send(position).unwrap_or_default();
            noted(&shared, shared.slot.with(|tables| tables.digest_telling(told)))
        });
        let folded = async {
            let until = until.await.map_err(|_| Error::Closed)?;
            let (kept, scratch) = (Arc::clone(self), scratch.to_owned());
            blocking(move || kept.fold_again(until, &scratch, &|position| told(position, until)))
                .await
        };
        let (digested, folded) = tokio::join!(digested, folded);
        Ok((digested?, folded?))
    }

    /// Has whatever takes long end.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.ages.end();
    }

    /// Whether the ledger is still open.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        if self.ending.load(Ordering::SeqCst) { Err(Error::Closed) } else { Ok(()) }
    }

    fn holders(&self) -> MutexGuard<'_, usize> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on no file is removed.
    pub(crate) fn hold(&self) -> Hold<'_> {
        *self.holders() += 1;
        Hold(self)
    }

    /// Calls `remove` if nobody holds the folder, and keeps them waiting meanwhile; whether it was
    /// called.
    pub(super) fn if_not_held(
        &self,
        remove: impl FnOnce() -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let holders = self.holders();
        if *holders > 0 {
            return Ok(false);
        }
        remove().map(|()| true)
    }

    /// The latest acceptance time; `None` if there is no entry.
    pub(crate) fn latest(&self) -> Option<Time> {
        Some(self.ages.latest()).filter(|latest| latest.0 != i64::MIN)
    }

    /// The snapshots that the journal goes on from, in order.
    pub(crate) fn usable(&self) -> Result<Vec<Sealed>, Error> {
        usable(&self.folder, &self.journal)
    }

    /// Folds the journal up to `until` again, in `scratch` (an empty folder that the caller
    /// removes): from its beginning, or from the snapshot that its beginning goes on from. `told`
    /// hears of the positions that are reached. Blocks. The caller holds the folder.
    fn fold_again(
        &self,
        until: Position,
        scratch: &Path,
        told: &dyn Fn(Position),
    ) -> Result<Again, Error> {
        let mut scratch = Scratch::create(scratch)?;
        let mut from = 0;
        if self.journal.first() > 1 {
            let oldest = self.usable()?.into_iter().next().ok_or_else(|| Error::Corrupt {
                what: "there is no snapshot that the journal goes on from".to_owned(),
                place: self.folder.clone(),
                remedy: "restore the folder from a backup",
            })?;
            from = oldest.header.position;
            scratch.fill(&oldest.path)?;
        }
        let mut told = |position| {
            told(position);
            self.go_on().is_ok()
        };
        let records = self.journal.read(from + 1);
        let journal = self.folder.join("journal");
        let (shared, young) = scratch.parts();
        let refolded = refold(shared, young, records, (&journal, until), &mut told)?;
        let Refolded { entries, events } = refolded;
        Ok(Again { from, digest: scratch.digest()?, entries, events })
    }

    /// How much the folder has on disk. Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub fn disk(&self) -> Result<Disk, Error> {
        let size = |name: &str| {
            let size = bytes_below(&self.folder.join(name));
            size.map_err(|error| Error::io("looking at the data folder", error))
        };
        let (messages, tables) = self.shared.slot.with(|tables| Ok(tables.sizes()))?;
        Ok(Disk {
            messages,
            tables,
            engine: size("ledger")?.saturating_sub(tables),
            journal: size("journal")?,
            snapshots: size(folder::FOLDER)?,
        })
    }
}

/// The bytes that the files in `folder` and below have on disk; what goes away meanwhile has none.
fn bytes_below(folder: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if gone(&error) => return Ok(0),
        other => other?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += match entry.metadata() {
            Err(error) if gone(&error) => 0,
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path())?,
            // Files are made longer than what is in them; what counts is what they take.
            Ok(metadata) => metadata.len().min(metadata.blocks() * 512),
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
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
