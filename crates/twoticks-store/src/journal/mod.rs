//! The journal: everything acknowledged, in the order acknowledged. Ours, and plain.
//!
//! A folder of segments, each a file of checksummed records ([`segment`]). One thread writes
//! ([`writer`]): it takes what is queued, writes it with one write, syncs once, and only then
//! answers all who wait. Any number of readers ([`reader`]) see what is acknowledged and nothing
//! else. The oldest segments can be removed ([`trim`]). What always holds: a record that was
//! acknowledged is on disk and stays as it is until it is trimmed; its position is one more than
//! that of the record before it; a damaged record is an error that names the place, never silently
//! skipped; after a failed sync nothing is acknowledged any more. To change the format, raise
//! [`segment::FORMAT`], keep reading the old one, and check in a fixture of the new one. To add an
//! operation on the disk, add it to [`files`] and to the disk of the tests, where it can fail.

pub(crate) mod files;
mod marks;
pub mod reader;
pub mod segment;
#[cfg(test)]
pub(crate) mod simulated;
mod tail;
pub mod trim;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use crate::error::Error;
use crate::journal::files::{Disk, Files};
use crate::journal::marks::Marks;
use crate::journal::reader::Reader;
use crate::journal::trim::Segment;
use crate::journal::writer::{Append, Writer};
use crate::threads;

/// Where an entry is in the journal: 1 for the first, one more for each that follows.
pub type Position = u64;

/// The journal's limits. The defaults are the documented ones; tests have smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most records that wait to be written; beyond them [`Error::Busy`].
    pub queue_records_max: usize,
    /// The most bytes that wait to be written; beyond them [`Error::Busy`].
    pub queue_bytes_max: usize,
    /// The most bytes that are written and synced together.
    pub write_bytes_max: usize,
    /// The largest payload of one record; beyond it [`Error::TooLarge`].
    pub record_bytes_max: usize,
    /// A segment that has this many bytes is followed by a new one.
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_records_max: 4_096,
            queue_bytes_max: 64 << 20,
            write_bytes_max: 8 << 20,
            record_bytes_max: segment::PAYLOAD_BYTES_MAX,
            segment_bytes: 64 << 20,
        }
    }
}

/// Takes what has just been acknowledged, in order of position.
pub type Deliver<N> = Box<dyn FnMut(Position, N) + Send>;

/// An open journal. `N` is what travels with a record to whoever takes what is acknowledged.
pub struct Journal<N> {
    queue: Mutex<Option<SyncSender<Append<N>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    files: Arc<dyn Files>,
    limits: Limits,
}

/// What the writer, the readers and the callers of a journal all know.
#[derive(Debug)]
pub(crate) struct Shared {
    folder: PathBuf,
    /// The last position that is on disk; 0 for none.
    acknowledged: AtomicU64,
    /// Bytes that wait to be written.
    queued_bytes: AtomicUsize,
    /// Whether the next record begins a segment, however short the last one is.
    begins_anew: AtomicBool,
    /// The segments by the position of their first record.
    segments: RwLock<BTreeMap<Position, Marks>>,
    /// Held while segments are removed.
    trimming: Mutex<()>,
    /// What the disk said when it failed for good.
    failed: watch::Sender<Option<(io::ErrorKind, String)>>,
}

impl Shared {
    fn new(folder: &Path, firsts: &[Position], acknowledged: Position) -> Self {
        let segments = firsts.iter().map(|first| (*first, Marks::default())).collect();
        Self {
            folder: folder.to_owned(),
            acknowledged: AtomicU64::new(acknowledged),
            queued_bytes: AtomicUsize::new(0),
            begins_anew: AtomicBool::new(false),
            segments: RwLock::new(segments),
            trimming: Mutex::new(()),
            failed: watch::Sender::new(None),
        }
    }

    fn remember(&self, segment: Position, marks: Marks) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).insert(segment, marks);
    }

    fn mark(&self, segment: Position, record: Position, offset: u64) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        // It may have been removed while it was read.
        if let Some(marks) = segments.get_mut(&segment) {
            marks.add(record, offset);
        }
    }

    /// From now on nothing is acknowledged; says so once.
    fn fail(&self, error: &io::Error) {
        let is_first = self.failed.send_if_modified(|failed| {
            let is_first = failed.is_none();
            failed.get_or_insert_with(|| (error.kind(), error.to_string()));
            is_first
        });
        if is_first {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the disk did not confirm what was written to the journal; nothing is taken any \
                more, the process has to restart from what is on disk"
            );
        }
    }

    /// The error of whoever comes after a failure for good.
    fn failure(&self) -> Option<Error> {
        let failed = self.failed.borrow();
        let (kind, words) = failed.as_ref()?;
        Some(Error::Failed { source: io::Error::new(*kind, words.clone()) })
    }
}

impl<N: Send + 'static> Journal<N> {
    /// Opens the journal in `folder`, which is made if it is not there. The records of the last
    /// segment are checked, those of the others when they are read, so that opening costs the same
    /// however much is kept. A tail that was never acknowledged is cut off, and what the last
    /// process may not have synced is written again. The caller holds the folder's lock. `deliver`
    /// runs on the writer's thread and must not wait for the journal.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the segment and the offset, [`Error::NewerVersion`],
    /// [`Error::Full`], [`Error::Unavailable`].
    pub fn open(folder: &Path, limits: Limits, deliver: Deliver<N>) -> Result<Self, Error> {
        Self::open_on(folder, limits, deliver, Arc::new(Disk))
    }

    /// As [`Journal::open`], on other files.
    pub(crate) fn open_on(
        folder: &Path,
        limits: Limits,
        deliver: Deliver<N>,
        files: Arc<dyn Files>,
    ) -> Result<Self, Error> {
        let (shared, tail) = tail::open(folder, files.as_ref())?;
        let shared = Arc::new(shared);
        let (queue, waiting) = sync_channel(limits.queue_records_max);
        let mut writer =
            Writer::new(Arc::clone(&shared), limits, Arc::clone(&files), deliver, tail);
        let thread = threads::start("twoticks-journal", move || writer.run(&waiting))
            .map_err(|error| Error::io("starting the journal's thread", error))?;
        Ok(Self {
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
            shared,
            files,
            limits,
        })
    }

    /// Appends `payload`. When this returns a position, the record is on disk and synced, and
    /// `note` has been delivered. A caller that goes away while waiting takes nothing back.
    ///
    /// # Errors
    /// [`Error::Busy`] if a queue is at its limit, [`Error::Full`], [`Error::TooLarge`],
    /// [`Error::Unavailable`], [`Error::Closed`]; nothing of it is kept, also after a power cut.
    /// [`Error::Failed`] if the disk has failed for good; the record is kept or not, which the next
    /// [`Journal::open`] finds out.
    pub async fn append(&self, payload: Vec<u8>, note: N) -> Result<Position, Error> {
        let bytes = payload.len();
        if bytes > self.limits.record_bytes_max {
            let what = "bytes in one entry";
            let limit = self.limits.record_bytes_max;
            return Err(Error::TooLarge { what, found: bytes, limit });
        }
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::SeqCst);
        let (answer, answered) = oneshot::channel();
        let sent = if queued > 0 && queued + bytes > self.limits.queue_bytes_max {
            Err(Error::Busy { what: "the journal's queue is", limit: self.limits.queue_bytes_max })
        } else {
            self.enqueue(Append { payload, note, answer })
        };
        if let Err(error) = sent {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::SeqCst);
            return Err(error);
        }
        answered.await.unwrap_or(Err(Error::Closed))
    }

    fn enqueue(&self, append: Append<N>) -> Result<(), Error> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match queue.as_ref().ok_or(Error::Closed)?.try_send(append) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Error::Busy {
                what: "the journal's queue is",
                limit: self.limits.queue_records_max,
            }),
            Err(TrySendError::Disconnected(_)) => Err(Error::Closed),
        }
    }

    /// The position of the last record that is acknowledged; 0 if there is none.
    pub fn acknowledged(&self) -> Position {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// The position of the first record that is kept (or will be, if there is none).
    pub fn first(&self) -> Position {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first_key_value().map_or(self.acknowledged() + 1, |(first, _)| *first)
    }

    /// Has the next record begin a segment, so that what is before it can be trimmed one day, also
    /// where a segment takes months to become full.
    pub fn begin_anew(&self) {
        self.shared.begins_anew.store(true, Ordering::SeqCst);
    }

    /// Reads from the record at `from` (or the first that is kept) to the last that is
    /// acknowledged now.
    pub fn read(&self, from: Position) -> Reader {
        Reader::new(Arc::clone(&self.shared), from)
    }

    /// The segments that are kept, the oldest first.
    pub fn segments(&self) -> Vec<Segment> {
        trim::segments(&self.shared)
    }

    /// Removes the oldest segments, but never the last one, as long as all their records are before
    /// `before`: nobody needs those any more. The bytes that are free now. What is removed does
    /// not come back; a crash meanwhile leaves any number of them removed. A [`Reader`] that comes
    /// to a removed record ends with an error, one that begins there begins with what is kept.
    /// Blocks.
    ///
    /// # Errors
    /// [`Error::Unavailable`], and [`Error::Failed`] if the disk has failed for good; some may be
    /// removed.
    pub fn trim(&self, before: Position) -> Result<u64, Error> {
        trim::trim(&self.shared, self.files.as_ref(), before)
    }

    /// Returns when the disk has failed for good: nothing is acknowledged any more, and the process
    /// has to restart. Reading goes on.
    pub async fn failed(&self) -> Error {
        let mut failed = self.shared.failed.subscribe();
        loop {
            if let Some(error) = self.shared.failure() {
                return error;
            }
            if failed.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Writes what is queued, then stops the writer. Appends are refused from now on. Blocks
    /// until the writer has ended.
    pub fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Its panic would have aborted the process.
            drop(thread.join());
        }
    }
}

impl<N> Drop for Journal<N> {
    fn drop(&mut self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(thread.join());
        }
    }
}
