//! The thread that writes: takes what is queued, one write, one sync, then answers.
//!
//! A write that fails is cut back, and the next one is a new attempt. After a failed sync (or a cut
//! that fails) what is on disk is not known: nothing is acknowledged any more, every append is
//! refused with [`Error::Failed`], and the process has to restart from what is there.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::Error;
use crate::journal::files::Files;
use crate::journal::marks::Marks;
use crate::journal::segment::{self, HEADER_BYTES, RECORD_BYTES};
use crate::journal::tail::{Fault, Tail};
use crate::journal::{Deliver, Limits, Position, Shared};

/// How long what comes is gathered when many small records come one by one: a sync for a few of
/// them, and waking up for each, costs more than all the rest of writing them.
const GATHER: Duration = Duration::from_micros(500);
/// They come so when the last write had so many records,
const GATHER_RECORDS: usize = 4;
/// and so few bytes wait to be written.
const GATHER_BYTES: usize = 32 << 10;

/// A record that waits to be written.
pub(super) struct Append<N> {
    pub(super) payload: Vec<u8>,
    pub(super) note: N,
    pub(super) answer: oneshot::Sender<Result<Position, Error>>,
}

pub(super) struct Writer<N> {
    shared: Arc<Shared>,
    limits: Limits,
    files: Arc<dyn Files>,
    deliver: Deliver<N>,
    /// The segment that is written to; `None` before the first one.
    tail: Option<Tail>,
    /// What is written together; kept, so that its memory is asked for once.
    buffer: Vec<u8>,
    /// Whether the last write was refused: what goes on for long is said once.
    refusing: bool,
}

impl<N> Writer<N> {
    pub(super) fn new(
        shared: Arc<Shared>,
        limits: Limits,
        files: Arc<dyn Files>,
        deliver: Deliver<N>,
        tail: Option<Tail>,
    ) -> Self {
        Self { shared, limits, files, deliver, tail, buffer: Vec::new(), refusing: false }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(&mut self, queue: &Receiver<Append<N>>) {
        let mut is_crowded = false;
        while let Ok(first) = queue.recv() {
            let mut bytes = first.payload.len();
            let mut batch = vec![first];
            let mut gather = |bytes: &mut usize| {
                while *bytes < self.limits.write_bytes_max {
                    let Ok(next) = queue.try_recv() else { break };
                    *bytes += next.payload.len();
                    batch.push(next);
                }
            };
            gather(&mut bytes);
            if is_crowded && bytes < GATHER_BYTES {
                // Nobody wakes it: that is what is saved.
                std::thread::park_timeout(GATHER);
                gather(&mut bytes);
            }
            is_crowded = batch.len() >= GATHER_RECORDS;
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::SeqCst);
            self.commit(batch);
        }
    }

    fn commit(&mut self, batch: Vec<Append<N>>) {
        if self.shared.failure().is_some() {
            return self.refuse_for_good(batch);
        }
        let before = self.shared.acknowledged.load(Ordering::SeqCst);
        match self.write(&batch, before) {
            Ok(()) => {
                if std::mem::take(&mut self.refusing) {
                    tracing::info!("the journal can be written again");
                }
                let last = before + batch.len() as u64;
                self.shared.acknowledged.store(last, Ordering::SeqCst);
                for (position, append) in (before + 1..).zip(batch) {
                    (self.deliver)(position, append.note);
                    // A caller that no longer waits loses nothing by it.
                    drop(append.answer.send(Ok(position)));
                }
            }
            Err(Fault::Refused(error)) => {
                if !std::mem::replace(&mut self.refusing, true) {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the journal cannot be written; what comes is refused until it can be"
                    );
                }
                for append in batch {
                    let error = io::Error::new(error.kind(), error.to_string());
                    drop(append.answer.send(Err(Error::io("writing to the journal", error))));
                }
            }
            Err(Fault::Failed(error)) => {
                self.shared.fail(&error);
                self.refuse_for_good(batch);
            }
        }
    }

    fn refuse_for_good(&self, batch: Vec<Append<N>>) {
        for append in batch {
            drop(append.answer.send(Err(self.shared.failure().unwrap_or(Error::Closed))));
        }
    }

    fn write(&mut self, batch: &[Append<N>], before: Position) -> Result<(), Fault> {
        let size: usize = batch.iter().map(|append| append.payload.len() + RECORD_BYTES).sum();
        let anew = self.shared.begins_anew.swap(false, Ordering::SeqCst);
        let full = |tail: &mut Tail| {
            tail.offset > HEADER_BYTES as u64
                && (anew || tail.offset + size as u64 > self.limits.segment_bytes)
        };
        let tail = match self.tail.take_if(|tail| !full(tail)) {
            Some(tail) => self.tail.insert(tail),
            None => {
                let begun = Tail::begin(&self.shared.folder, before + 1, self.files.as_ref())?;
                self.shared.remember(before + 1, Marks::default());
                self.tail.insert(begun)
            }
        };
        self.buffer.clear();
        self.buffer.reserve(size);
        for ((back, position), append) in (0..).zip(before + 1..).zip(batch) {
            segment::put_record(&mut self.buffer, position, back, &append.payload);
        }
        let offset = tail.offset;
        tail.put(&self.buffer)?;
        self.shared.mark(tail.first, before + 1, offset);
        Ok(())
    }
}
