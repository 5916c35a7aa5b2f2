//! Sealed snapshots: the whole state of a ledger at one position, in files that never change.
//!
//! Where the journal no longer begins at 1, a snapshot is what its fold begins with. Messages and
//! taps, which are most of it, lie in pieces that do not change either: each is in a file of its
//! own, a *part*, which all snapshots share that have the piece. A file of either kind is written by
//! [`writer`], read by [`reader`] and found by [`folder`]. It is, in order, with all numbers
//! little-endian:
//!
//! | header | bytes | | block | bytes |
//! |---|---|---|---|---|
//! | magic `twotickn` | 8 | | length of the rows, not 0 | 4 |
//! | format, 2 | 4 | | length of what follows the checksum | 4 |
//! | length of the fields | 4 | | xxh3 of the 8 bytes above and of what follows | 8 |
//! | the fields ([`Header`]) in postcard | length | | the rows, compressed by zstd | length |
//! | xxh3 of the above | 8 | | | |
//!
//! Any number of blocks; then, in the form of a block whose first length is 0, the trailer
//! ([`Trailer`]) in postcard, not compressed; then the end of the file. A row is its table's code
//! (1), the length of its key (2), the length of its value (4), key, value. Rows are sorted by
//! table and key, and keys and values are those of the tables of the header's layout. The trailer
//! names the parts. In format 1 there are none, and messages and taps are in the one file.
//!
//! What always holds: a file has its name when it is whole and on disk, a snapshot when all of its
//! parts have theirs; what is read is what was written, or an error that names the place. The header keeps its form in every format, so that a
//! newer one can be told. To change the format, raise [`FORMAT`], keep the old one readable, and
//! check in a fixture of the new one.

pub(crate) mod folder;
pub(crate) mod reader;
pub(crate) mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use xxhash_rust::xxh3::Xxh3;

use crate::digest::Table;
use crate::embedded::pieces::PieceId;
use crate::error::Error;
use crate::journal::Position;
use crate::keys::Keys;

/// The format that is written; every one up to it is read.
pub(crate) const FORMAT: u32 = 2;
/// A block is closed when its rows have this many bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// The most bytes that a block may have, compressed or not: a row goes into one whole.
const BLOCK_BYTES_MAX: usize = 256 << 20;
/// The most bytes that the fields of a header may have.
const FIELDS_BYTES_MAX: usize = 64 << 10;
/// What stands before the rows of a block.
const BLOCK_HEAD_BYTES: usize = 16;
/// What stands before a row's key.
const ROW_HEAD_BYTES: usize = 7;
/// What stands before a header's fields.
const HEAD_BYTES: usize = 16;

const MAGIC: [u8; 8] = *b"twotickn";
/// What is sealed in the header, and for which purpose.
const KEY_CHECK: (&str, &[u8]) = ("snapshot-key-check", b"twoticks");

/// What a person does about a damaged snapshot.
const REMEDY: &str = "remove this file if there is another one or the journal begins at 1, or \
    restore it from a backup";

/// A row of the state: its table, its key and its value, as they are in the tables.
pub(crate) type Row = (Table, Vec<u8>, Vec<u8>);

/// What a snapshot says of itself. New fields come with a new format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The position that the rows stand for.
    pub(crate) position: Position,
    /// The latest acceptance time up to then, or a little later.
    pub(crate) latest: Time,
    /// The time that the ages of rows are measured by: the latest acceptance time in the entries.
    pub(crate) horizon: Time,
    /// The counting rules that made the rows.
    pub(crate) rules: String,
    /// The layout of keys and values.
    pub(crate) layout: u32,
    /// Something sealed, to tell another key file.
    key: Vec<u8>,
}

impl Header {
    pub(crate) fn new(
        position: Position,
        (latest, horizon): (Time, Time),
        (rules, layout): (&str, u32),
        keys: &Keys,
    ) -> Self {
        let key = keys.seal(KEY_CHECK.0, b"", KEY_CHECK.1);
        Self { position, latest, horizon, rules: rules.to_owned(), layout, key }
    }

    /// Whether it was written under `keys`.
    pub(crate) fn is_under(&self, keys: &Keys) -> bool {
        keys.open_sealed(KEY_CHECK.0, b"", &self.key).is_ok()
    }
}

/// What a file turned out to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trailer {
    /// How many rows, by table in the order of their codes.
    pub(crate) rows: [u64; Table::ALL.len()],
    /// SHA-256 over the rows as they are.
    pub(crate) sha256: [u8; 32],
    /// The pieces that belong to it, the newest first: of rows with the same key, that in the
    /// newest piece counts.
    pub(crate) parts: Vec<Part>,
}

/// The file that has the messages and taps of one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) piece: PieceId,
    /// As [`Trailer::sha256`] of the file has it, which is named by it.
    pub(crate) sha256: [u8; 32],
}

fn corrupt(path: &Path, what: impl Into<String>) -> Error {
    Error::Corrupt { what: what.into(), place: path.to_owned(), remedy: REMEDY }
}

fn checksum(head: &[u8], rest: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(head);
    hasher.update(rest);
    hasher.digest()
}
