//! Reading the journal in order, also while it is being written.

use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::error::Error;
use crate::journal::segment::{self, Next, Scan};
use crate::journal::{Position, Shared};

/// Up to so many records are read over rather than looked for.
const NEAR: u64 = 64;

/// The records from a position to the last that was acknowledged when the reader was made.
/// After an error it ends.
pub struct Reader {
    shared: Arc<Shared>,
    next: Position,
    until: Position,
    scan: Option<Scan>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: Position) -> Self {
        let until = shared.acknowledged.load(Ordering::SeqCst);
        Self { shared, next: from, until, scan: None }
    }

    /// Leaves out what is before `position`; what has been read does not come again.
    pub(crate) fn skip_to(&mut self, position: Position) {
        if position > self.next.saturating_add(NEAR) {
            // It is found by the marks.
            self.scan = None;
        }
        self.next = self.next.max(position);
    }

    /// Opens the segment that has the next record, as near to it as the marks lead.
    fn open(&mut self) -> Result<Scan, Error> {
        let (first, mark) = {
            let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
            let holds = segments.range(..=self.next).next_back();
            let Some((&first, marks)) = holds.or_else(|| segments.first_key_value()) else {
                return Err(self.missing());
            };
            self.next = self.next.max(first);
            let near = marks.range((Bound::Unbounded, Bound::Included(self.next))).next_back();
            (first, near.map(|(&position, &offset)| (position, offset)))
        };
        let path = segment::path(&self.shared.folder, first);
        let mut scan = Scan::open(&path, first)?
            .ok_or_else(|| segment::corrupt(&path, "the header".to_owned()))?;
        if let Some((position, offset)) = mark {
            scan.seek(position, offset)?;
        }
        Ok(scan)
    }

    fn missing(&self) -> Error {
        segment::corrupt(&self.shared.folder, format!("the record {} is missing", self.next))
    }

    fn step(&mut self) -> Result<(Position, Vec<u8>), Error> {
        let mut fresh = false;
        loop {
            let mut scan = match self.scan.take() {
                Some(scan) => scan,
                None if fresh => return Err(self.missing()),
                None => {
                    fresh = true;
                    self.open()?
                }
            };
            match scan.next()? {
                Next::Record(record) if record.position < self.next => self.scan = Some(scan),
                Next::Record(record) => {
                    self.next = record.position + 1;
                    self.scan = Some(scan);
                    return Ok((record.position, record.payload));
                }
                // Continued in the next segment.
                Next::End => {}
                Next::Bad => return Err(scan.corrupt()),
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Result<(Position, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.until {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.next = Position::MAX;
        }
        Some(step)
    }
}
