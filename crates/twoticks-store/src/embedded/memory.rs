//! How the memory that a ledger may take is shared out.
//!
//! What is left of it is for what cannot be given: the engine's own tables of what is not on its
//! disk yet, and what is being written and answered.

use std::sync::Arc;

use crate::embedded::filter::Seen;
use crate::embedded::pieces::{Piece, keys};
use crate::embedded::recent::MESSAGE_BYTES;

/// What a ledger may take if nothing else is said, in bytes.
pub const MEMORY_BYTES: usize = 512 << 20;
/// The least that it can do with, in bytes.
pub const MEMORY_BYTES_MIN: usize = 128 << 20;

/// How many messages a piece has at most. Merging its files costs the more the larger it is, and a
/// new message is looked for in the filters of all pieces; in tests there are to be several.
const PIECE_MESSAGES: usize = if cfg!(test) { 40 } else { 1 << 21 };

/// What making a filter takes for each key: its hash, and what is made of it.
const FILLING_BYTES: usize = 10;

/// The shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// For blocks of the tables, in bytes.
    pub(crate) blocks: u64,
    /// What the engine gathers of a table before it writes it into a file, in bytes of keys and
    /// values; in memory it takes about three times as much, and twice while it is being written.
    /// Most of the time there is so much of one table only, the newest piece's messages.
    pub(crate) unwritten: u64,
    /// For filters, in bytes: 2.8 for each message that is kept. Where there is no room for so much
    /// they get by with less, down to 1.4, and the engine is asked more often.
    pub(crate) filters: usize,
    /// Of how many keys a filter is made at a time.
    pub(crate) filling: usize,
    /// The messages of a piece.
    pub(crate) piece: usize,
    /// How many messages are kept in memory.
    pub(crate) messages: usize,
    /// What is young is committed when it has this many rows.
    pub(crate) rows: usize,
}

/// So many full pieces have a filter together at most.
const TOGETHER_MAX: usize = 8;

impl Memory {
    /// What a piece that comes to `pieces` has seen, together with the newest of them if there is
    /// room: else `new`, for as many keys as there are, so that there are few of them, and small
    /// ones in a small ledger.
    pub(super) fn seen_with(&self, pieces: &[Piece], new: fn(usize) -> Seen) -> Arc<Seen> {
        let keys = |of: &Piece| keys(&of.messages, &of.taps);
        if let Some(Piece { seen, .. }) = pieces.first() {
            let together = pieces.iter().filter(|of| Arc::ptr_eq(&of.seen, seen));
            // It may become somewhat fuller than it is meant for.
            if together.map(keys).sum::<usize>() + self.piece / 2 <= seen.keys_max() {
                return Arc::clone(seen);
            }
        }
        let all = pieces.iter().map(keys).sum::<usize>();
        Arc::new(new(all.clamp(self.piece, self.piece * TOGETHER_MAX)))
    }

    /// The shares of `bytes`, or of the least that will do.
    pub(crate) fn of(bytes: usize) -> Self {
        let bytes = bytes.max(MEMORY_BYTES_MIN);
        let messages = bytes / 6 / MESSAGE_BYTES;
        // What is being committed, what waits for it, and as much again has to find room.
        let (blocks, unwritten) = (bytes as u64 / 16, bytes as u64 / 32);
        let (filters, piece) = (bytes / 25 * 8, PIECE_MESSAGES);
        let filling = if cfg!(test) { 30 } else { bytes / 20 / FILLING_BYTES };
        Self { blocks, unwritten, filters, filling, piece, messages, rows: messages / 3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_something_and_hold_what_is_being_committed() {
        for bytes in [0, MEMORY_BYTES_MIN, MEMORY_BYTES, 8 << 30] {
            let Memory { blocks, unwritten, filters, messages, rows, .. } = Memory::of(bytes);
            let engine = usize::try_from(blocks + unwritten * 6).unwrap();
            let given = engine + filters + messages * MESSAGE_BYTES;
            assert!(given <= bytes.max(MEMORY_BYTES_MIN) * 4 / 5, "{bytes}");
            assert!(rows > 10_000 && rows * 3 <= messages, "{bytes}");
        }
    }
}
