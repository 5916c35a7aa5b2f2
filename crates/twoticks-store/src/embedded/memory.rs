//! How the memory that a ledger may take is shared out.
//!
//! What is left of it is for what cannot be given: the engine's own tables of what is not on its
//! disk yet, and what is being written and answered.

use crate::embedded::recent::MESSAGE_BYTES;

/// What a ledger may take if nothing else is said, in bytes.
pub const MEMORY_BYTES: usize = 512 << 20;
/// The least that it can do with, in bytes.
pub const MEMORY_BYTES_MIN: usize = 128 << 20;

/// How many messages a piece has at most. Merging its files costs the more the larger it is, and a
/// new message is looked for in the filters of all pieces; in tests there are to be several.
const PIECE_MESSAGES: usize = if cfg!(test) { 40 } else { 1 << 21 };

/// The shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// For blocks of the tables, in bytes.
    pub(crate) blocks: u64,
    /// What the engine gathers of a table before it writes it into a file, in bytes of keys and
    /// values; in memory it takes about three times as much, and twice while it is being written.
    /// Most of the time there is so much of one table only, the newest piece's messages.
    pub(crate) unwritten: u64,
    /// For filters, in bytes: 1.5 for each message that is kept. Of what there is no room for the
    /// engine is asked.
    pub(crate) filters: usize,
    /// The messages of a piece.
    pub(crate) piece: usize,
    /// How many messages are kept in memory.
    pub(crate) messages: usize,
    /// What is young is committed when it has this many rows.
    pub(crate) rows: usize,
}

impl Memory {
    /// The shares of `bytes`, or of the least that will do.
    pub(crate) fn of(bytes: usize) -> Self {
        let bytes = bytes.max(MEMORY_BYTES_MIN);
        let messages = bytes / 6 / MESSAGE_BYTES;
        // What is being committed, what waits for it, and as much again has to find room.
        let (blocks, unwritten) = (bytes as u64 / 12, bytes as u64 / 32);
        let (filters, piece) = (bytes / 10 * 3, PIECE_MESSAGES);
        Self { blocks, unwritten, filters, piece, messages, rows: messages / 3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_something_and_hold_what_is_being_committed() {
        for bytes in [0, MEMORY_BYTES_MIN, MEMORY_BYTES, 8 << 30] {
            let Memory { blocks, unwritten, filters, piece: _, messages, rows } = Memory::of(bytes);
            let engine = usize::try_from(blocks + unwritten * 6).unwrap();
            let given = engine + filters + messages * MESSAGE_BYTES;
            assert!(given <= bytes.max(MEMORY_BYTES_MIN) * 3 / 4, "{bytes}");
            assert!(rows > 10_000 && rows * 3 <= messages, "{bytes}");
        }
    }
}
