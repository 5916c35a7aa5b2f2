//! The format of a segment, and going through one.
//!
//! A segment is a file named by the position of its first record (twenty digits, `.journal`): a
//! header of [`HEADER_BYTES`], then records. All numbers are little-endian.
//!
//! | header | bytes | | record | bytes |
//! |---|---|---|---|---|
//! | magic `twotickj` | 8 | | length of the payload | 4 |
//! | format, 1 | 4 | | records before it in the same write | 4 |
//! | 0 | 4 | | position | 8 |
//! | first position | 8 | | xxh3 of the 16 bytes above and the payload | 8 |
//! | xxh3 of the above | 8 | | payload | length |
//!
//! "Records before it in the same write" tells a torn write from damage: after a power cut any
//! part of the last write may be missing, also from its middle, and none of it was acknowledged.
//! But a valid record of a *later* write proves that what is before it was synced: the writer
//! begins no write before the last one was. So what is damaged before it was acknowledged, and only
//! the last write of the last segment can be in the page cache and not on disk.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::Error;
use crate::journal::Position;

/// The format that is written; every one up to it is read.
pub const FORMAT: u32 = 1;
/// Length of a segment's header.
pub const HEADER_BYTES: usize = 32;
/// Length of what stands before each payload.
pub const RECORD_BYTES: usize = 24;
/// The largest payload that a record can have.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// How much of a segment is read at once.
const READ_BYTES: usize = 64 << 10;
const MAGIC: [u8; 8] = *b"twotickj";
pub(crate) const SUFFIX: &str = ".journal";

/// What is done when a segment is read.
pub(crate) const READING: &str = "reading a segment of the journal";

/// What a person does about a damaged journal.
const REMEDY: &str = "restore this file from a backup, or move it and what follows away and accept \
    the loss";

/// The name of the segment whose first record is at `first`.
pub(crate) fn path(folder: &Path, first: Position) -> PathBuf {
    folder.join(format!("{first:020}{SUFFIX}"))
}

pub(crate) fn header(first: Position) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&first.to_le_bytes());
    let sum = xxh3_64(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// Puts a record behind `out`; `back` is how many stand before it in the same write.
pub(crate) fn put_record(out: &mut Vec<u8>, position: Position, back: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("payloads are bounded by 16 MiB");
    let start = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&back.to_le_bytes());
    out.extend_from_slice(&position.to_le_bytes());
    let sum = checksum(out.get(start..).unwrap_or_default(), payload);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(payload);
}

fn checksum(head: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.digest()
}

/// What stands before a payload.
struct Head {
    length: usize,
    back: u32,
    position: Position,
    sum: u64,
    /// The bytes that the checksum covers.
    covered: [u8; 16],
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (covered, rest) = bytes.split_first_chunk::<16>()?;
        let (length, after) = covered.split_first_chunk::<4>()?;
        let (back, after) = after.split_first_chunk::<4>()?;
        Some(Self {
            length: usize::try_from(u32::from_le_bytes(*length)).ok()?,
            back: u32::from_le_bytes(*back),
            position: u64::from_le_bytes(*after.first_chunk::<8>()?),
            sum: u64::from_le_bytes(*rest.first_chunk::<8>()?),
            covered: *covered,
        })
    }
}

/// A record as it was found.
pub(crate) struct Record {
    pub(crate) position: Position,
    /// How many records stand before it in the same write.
    pub(crate) back: u32,
    /// Where in the segment it begins.
    pub(crate) offset: u64,
    /// What stands before the payload, as it was found.
    pub(crate) head: [u8; RECORD_BYTES],
    pub(crate) payload: Vec<u8>,
}

/// What is next in a segment.
pub(crate) enum Next {
    Record(Record),
    /// The end of the file, behind a whole record.
    End,
    /// Something that is no valid record with the expected position.
    Bad,
}

/// Goes through the records of one segment.
pub(crate) struct Scan {
    pub(crate) path: PathBuf,
    file: BufReader<File>,
    /// Where the next record begins.
    pub(crate) offset: u64,
    /// The position it has to have.
    pub(crate) expected: Position,
    pub(crate) length: u64,
}

impl Scan {
    /// Goes through an open segment whose header it checks; `None` if that is not whole.
    pub(crate) fn new(path: &Path, file: File, first: Position) -> Result<Option<Self>, Error> {
        let io = |error| Error::io(READING, error);
        let length = file.metadata().map_err(io)?.len();
        let mut file = BufReader::with_capacity(READ_BYTES, file);
        let mut head = [0; HEADER_BYTES];
        match file.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other.map_err(io)?,
        }
        let ours = header(first);
        if head.as_slice() != ours {
            let format = head.get(8..12).and_then(|bytes| bytes.first_chunk::<4>());
            let format = format.map_or(0, |bytes| u32::from_le_bytes(*bytes));
            let sum = head.last_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
            let whole = sum == head.get(..24).map(xxh3_64);
            if head.starts_with(&MAGIC) && whole && format > FORMAT {
                return Err(Error::NewerVersion {
                    what: format!("the journal's segment `{}`", path.display()),
                    found: format.into(),
                    known: FORMAT.into(),
                });
            }
            return Ok(None);
        }
        let offset = HEADER_BYTES as u64;
        Ok(Some(Self { path: path.to_owned(), file, offset, expected: first, length }))
    }

    /// Goes to the record at `position`, known to begin at `offset`.
    pub(crate) fn seek(&mut self, position: Position, offset: u64) -> Result<(), Error> {
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| Error::io(READING, error))?;
        self.offset = offset;
        self.expected = position;
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Next, Error> {
        let io = |error| Error::io(READING, error);
        let left = self.length.saturating_sub(self.offset);
        if left == 0 {
            return Ok(Next::End);
        }
        if left < RECORD_BYTES as u64 {
            return Ok(Next::Bad);
        }
        let mut found = [0; RECORD_BYTES];
        self.file.read_exact(&mut found).map_err(io)?;
        let Some(head) = Head::parse(&found) else { return Ok(Next::Bad) };
        let whole = (RECORD_BYTES + head.length) as u64;
        if head.length > PAYLOAD_BYTES_MAX || whole > left || head.position != self.expected {
            return Ok(Next::Bad);
        }
        let mut payload = vec![0; head.length];
        self.file.read_exact(&mut payload).map_err(io)?;
        if checksum(&head.covered, &payload) != head.sum {
            return Ok(Next::Bad);
        }
        let Head { position, back, .. } = head;
        let record = Record { position, back, offset: self.offset, head: found, payload };
        self.offset += whole;
        self.expected += 1;
        Ok(Next::Record(record))
    }

    /// Whether anything behind the bad place at `offset` proves that it was acknowledged: a valid
    /// record whose write began after the position that is bad.
    pub(crate) fn is_followed(&mut self) -> Result<bool, Error> {
        let io = |error| Error::io(READING, error);
        self.file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let mut rest = Vec::new();
        self.file.read_to_end(&mut rest).map_err(io)?;
        let plausible = self.expected + (rest.len() / RECORD_BYTES) as u64;
        for at in 1..rest.len() {
            let Some(here) = rest.get(at..) else { break };
            let Some(head) = Head::parse(here) else { break };
            let began = head.position.saturating_sub(head.back.into());
            if began <= self.expected || head.position > plausible {
                continue;
            }
            let payload = here.get(RECORD_BYTES..RECORD_BYTES + head.length);
            if payload.is_some_and(|payload| checksum(&head.covered, payload) == head.sum) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn corrupt(&self) -> Error {
        corrupt(&self.path, format!("the record {} at byte {}", self.expected, self.offset))
    }
}

pub(crate) fn corrupt(path: &Path, what: String) -> Error {
    Error::Corrupt { what, place: path.to_owned(), remedy: REMEDY }
}
