//! Where in a segment some of its records begin, so that a reader need not begin at the first.

use std::collections::BTreeMap;

use crate::journal::Position;

/// How many bytes of a segment lie between two marks, at least.
pub(crate) const MARK_BYTES: u64 = 1 << 20;

/// Offsets by position. They are made by whoever passes: the writer, opening, readers.
#[derive(Debug, Default)]
pub(crate) struct Marks(BTreeMap<Position, u64>);

impl Marks {
    /// Notes that the record at `position` begins at `offset`, unless a mark is near before it.
    pub(crate) fn add(&mut self, position: Position, offset: u64) {
        let before = self.before(position).map_or(0, |(_, before)| before);
        if offset >= before + MARK_BYTES {
            self.0.insert(position, offset);
        }
    }

    /// The last mark that is not behind `position`.
    pub(crate) fn before(&self, position: Position) -> Option<(Position, u64)> {
        self.0.range(..=position).next_back().map(|(position, offset)| (*position, *offset))
    }
}
