//! The thread that writes: takes what is queued, one write, one sync, then answers.
//!
//! After a failure nothing of the page cache is trusted: the segment is cut back to what is known
//! to be on disk before anything else is written, and after a failed sync a new segment is begun.
//! Nothing is acknowledged meanwhile, and every append is a new attempt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use crate::error::Error;
use crate::journal::segment::{self, Files, HEADER_BYTES, RECORD_BYTES, Tail};
use crate::journal::{Deliver, Limits, Position, Shared};

/// A record that waits to be written.
pub(super) struct Append<N> {
    pub(super) payload: Vec<u8>,
    pub(super) note: N,
    pub(super) answer: oneshot::Sender<Result<Position, Error>>,
}

pub(super) struct Writer<N> {
    shared: Arc<Shared>,
    limits: Limits,
    files: Box<dyn Files>,
    deliver: Deliver<N>,
    /// The segment that is written to; `None` before the first one.
    tail: Option<Tail>,
    state: State,
    /// Whether the last write failed: what goes on for long is said once.
    failing: bool,
}

/// How far the tail can be trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It ends at its offset.
    Clean,
    /// A write failed: there may be something behind the offset, to be cut off.
    Torn,
    /// A sync failed: to be cut off, and the next record goes to a new segment.
    Distrusted,
}

impl<N> Writer<N> {
    pub(super) fn new(
        shared: Arc<Shared>,
        limits: Limits,
        files: Box<dyn Files>,
        deliver: Deliver<N>,
        tail: Option<Tail>,
    ) -> Self {
        Self { shared, limits, files, deliver, tail, state: State::Clean, failing: false }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(&mut self, queue: &Receiver<Append<N>>) {
        while let Ok(first) = queue.recv() {
            let mut bytes = first.payload.len();
            let mut batch = vec![first];
            while bytes < self.limits.write_bytes_max {
                let Ok(next) = queue.try_recv() else { break };
                bytes += next.payload.len();
                batch.push(next);
            }
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::SeqCst);
            self.commit(batch);
        }
        // What failed last may have left something behind the end.
        if self.settle().is_err() {
            tracing::warn!("the journal's tail could not be cut; the next start will");
        }
    }

    fn commit(&mut self, batch: Vec<Append<N>>) {
        let before = self.shared.acknowledged.load(Ordering::SeqCst);
        match self.write(&batch, before) {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
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
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
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
        }
    }

    fn write(&mut self, batch: &[Append<N>], before: Position) -> io::Result<()> {
        self.settle()?;
        let size: usize = batch.iter().map(|append| append.payload.len() + RECORD_BYTES).sum();
        let anew = self.shared.begins_anew.swap(false, Ordering::SeqCst);
        let full = self.tail.as_ref().is_none_or(|tail| {
            tail.offset > HEADER_BYTES as u64
                && (anew || tail.offset + size as u64 > self.limits.segment_bytes)
        });
        if full {
            self.begin_segment(before + 1)?;
        }
        let Some(tail) = self.tail.as_mut() else {
            return Err(io::Error::other("no segment"));
        };
        let mut buffer = Vec::with_capacity(size);
        let mut starts = Vec::with_capacity(batch.len());
        for ((back, position), append) in (0..).zip(before + 1..).zip(batch) {
            starts.push((position, tail.offset + buffer.len() as u64));
            segment::put_record(&mut buffer, position, back, &append.payload);
        }
        if let Err(error) = tail.handle.write_all(&buffer) {
            self.state = State::Torn;
            // At once, so that a full disk does not stay full of what nobody was promised.
            drop(self.settle());
            return Err(error);
        }
        if let Err(error) = tail.handle.sync() {
            self.state = State::Distrusted;
            drop(self.settle());
            return Err(error);
        }
        tail.offset += buffer.len() as u64;
        let first = tail.first;
        for (position, offset) in starts {
            self.shared.mark(first, position, offset);
        }
        Ok(())
    }

    /// Brings the tail back to what is known to be on disk, if there was a failure.
    fn settle(&mut self) -> io::Result<()> {
        let Some(tail) = self.tail.as_mut().filter(|_| self.state != State::Clean) else {
            return Ok(());
        };
        tail.handle.cut(tail.offset)?;
        if self.state == State::Distrusted {
            // The positions that are cut off here are given again in the next segment, so the cut
            // has to be on disk first.
            tail.handle.sync()?;
            if tail.offset == HEADER_BYTES as u64 {
                // An empty segment has the name that the next one will have.
                std::fs::remove_file(segment::path(&self.shared.folder, tail.first))?;
                self.shared.forget(tail.first);
            }
            self.tail = None;
        }
        self.state = State::Clean;
        Ok(())
    }

    fn begin_segment(&mut self, first: Position) -> io::Result<()> {
        let path = segment::path(&self.shared.folder, first);
        let made = self.files.create(&path).and_then(|mut handle| {
            handle.write_all(&segment::header(first))?;
            handle.sync()?;
            self.files.sync_folder(&self.shared.folder)?;
            Ok(handle)
        });
        match made {
            Ok(handle) => {
                let offset = HEADER_BYTES as u64;
                self.shared.mark(first, first, offset);
                self.tail = Some(Tail { first, offset, handle });
                Ok(())
            }
            Err(error) => {
                // So that the next attempt can make it afresh.
                match std::fs::remove_file(&path) {
                    Err(left) if left.kind() != io::ErrorKind::NotFound => Err(left),
                    _ => Err(error),
                }
            }
        }
    }
}
