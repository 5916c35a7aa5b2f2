//! Removing the oldest part of the journal, in whole segments.

use std::sync::PoisonError;

use crate::error::Error;
use crate::journal::files::Files;
use crate::journal::marks::Marks;
use crate::journal::{Position, Shared, segment};

/// A file of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The position of its first record, or of the next one if it is empty.
    pub first: Position,
    /// What it takes on disk.
    pub bytes: u64,
}

/// The segments that are kept, the oldest first.
pub(super) fn segments(shared: &Shared) -> Vec<Segment> {
    let bytes = |first| std::fs::metadata(segment::path(&shared.folder, first));
    // One that is not there has been removed meanwhile.
    let found = |first| bytes(first).ok().map(|found| Segment { first, bytes: found.len() });
    shared.firsts().into_iter().filter_map(found).collect()
}

/// Removes the segments, but for the last one, that have no record at or behind `before`.
pub(super) fn trim(shared: &Shared, files: &dyn Files, before: Position) -> Result<u64, Error> {
    let _one_at_a_time = shared.trimming.lock().unwrap_or_else(PoisonError::into_inner);
    let mut removed = 0;
    for (first, next) in shared.firsts().into_iter().zip(shared.firsts().into_iter().skip(1)) {
        if next > before {
            break;
        }
        if let Some(error) = shared.failure() {
            return Err(error);
        }
        let path = segment::path(&shared.folder, first);
        let bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        // Nobody begins to read it from now on; who has it open can go on.
        let marks = shared.forget(first);
        if let Err(error) = files.remove(&path) {
            shared.remember(first, marks);
            return Err(Error::io("removing a segment of the journal", error));
        }
        // Before the next one goes, so that a power cut never leaves a gap.
        if let Err(error) = files.sync_folder(&shared.folder) {
            shared.fail(&error);
            return Err(shared.failure().unwrap_or(Error::Closed));
        }
        removed += bytes;
    }
    Ok(removed)
}

impl Shared {
    fn firsts(&self) -> Vec<Position> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn forget(&self, first: Position) -> Marks {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.remove(&first).unwrap_or_default()
    }
}
