//! Reading the journal in order, also while it is being written.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::error::Error;
use crate::journal::marks::MARK_BYTES;
use crate::journal::segment::{self, Next, READING, Record, Scan};
use crate::journal::{Position, Shared};

/// Up to so many records are read over rather than looked for.
const NEAR: u64 = 64;

/// The records from a position to the last that was acknowledged when the reader was made.
///
/// Each is checked. It begins with the first that is kept; if what comes next is removed while it reads,
/// that is an error ([`Error::Unavailable`]). After an error it ends.
pub struct Reader {
    shared: Arc<Shared>,
    next: Position,
    until: Position,
    scan: Option<(Position, Scan)>,
    /// The record before `next` was read: there must be no gap.
    goes_on: bool,
    /// Where in the segment the next mark is due.
    mark_at: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, from: Position) -> Self {
        let until = shared.acknowledged.load(Ordering::SeqCst);
        Self { shared, next: from.max(1), until, scan: None, goes_on: false, mark_at: 0 }
    }

    /// The record at `position`; `None` if it is no longer kept, or is behind the reader's end or
    /// what it has read.
    ///
    /// # Errors
    /// As reading in order.
    pub(crate) fn at(&mut self, position: Position) -> Result<Option<Vec<u8>>, Error> {
        if position < self.next || position > self.until {
            return Ok(None);
        }
        if position > self.next.saturating_add(NEAR) {
            // It is found by the marks.
            self.scan = None;
        }
        if position > self.next {
            self.next = position;
            self.goes_on = false;
        }
        let scan = self.scan()?;
        self.scan = Some(scan);
        if self.next > position {
            return Ok(None);
        }
        self.goes_on = true;
        Ok(self.step()?.map(|(_, payload)| payload))
    }

    /// The open segment, or that which has the next record, as near to it as the marks lead.
    fn scan(&mut self) -> Result<(Position, Scan), Error> {
        if let Some(open) = self.scan.take() {
            return Ok(open);
        }
        loop {
            let (first, mark) = self.find()?;
            let path = segment::path(&self.shared.folder, first);
            let file = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_kept(first) => {
                    continue;
                }
                other => other.map_err(|error| Error::io(READING, error))?,
            };
            let mut scan = Scan::new(&path, file, first)?
                .ok_or_else(|| segment::corrupt(&path, "the header".to_owned()))?;
            if let Some((position, offset)) = mark {
                scan.seek(position, offset)?;
            }
            self.mark_at = scan.offset + MARK_BYTES;
            return Ok((first, scan));
        }
    }

    /// The segment that has the next record, and a mark before it.
    fn find(&mut self) -> Result<(Position, Option<(Position, u64)>), Error> {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        let holds = segments.range(..=self.next).next_back();
        let Some((&first, marks)) = holds.or_else(|| segments.first_key_value()) else {
            return Err(self.missing(self.next));
        };
        if first > self.next && self.goes_on {
            return Err(Error::Unavailable {
                doing: "reading the journal",
                source: format!("the entry {} has been removed meanwhile", self.next).into(),
            });
        }
        self.next = self.next.max(first);
        Ok((first, marks.before(self.next)))
    }

    fn is_kept(&self, first: Position) -> bool {
        let segments = self.shared.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.contains_key(&first)
    }

    fn missing(&self, position: Position) -> Error {
        segment::corrupt(&self.shared.folder, format!("the record {position} is missing"))
    }

    fn step(&mut self) -> Result<Option<(Position, Vec<u8>)>, Error> {
        loop {
            let (first, mut scan) = self.scan()?;
            if self.next > self.until {
                return Ok(None);
            }
            match scan.next()? {
                Next::Record(Record { position, offset, payload, .. }) => {
                    if offset >= self.mark_at {
                        self.shared.mark(first, position, offset);
                        self.mark_at = offset + MARK_BYTES;
                    }
                    self.scan = Some((first, scan));
                    if position == self.next {
                        self.next += 1;
                        self.goes_on = true;
                        return Ok(Some((position, payload)));
                    }
                }
                // It goes on in another segment, or not at all.
                Next::End => {
                    if self.find()?.0 == first {
                        return Err(self.missing(scan.expected));
                    }
                }
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
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.next = Position::MAX;
        }
        step
    }
}
