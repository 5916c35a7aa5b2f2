//! The format of a segment, and what opening makes of the segments that are there.
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
//! But a valid record of a *later* write proves that what is damaged before it was acknowledged.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::error::Error;
use crate::journal::{Position, Shared};

/// The format that is written; every one up to it is read.
pub const FORMAT: u32 = 1;
/// Length of a segment's header.
pub const HEADER_BYTES: usize = 32;
/// Length of what stands before each payload.
pub const RECORD_BYTES: usize = 24;
/// The largest payload that a record can have.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

const MAGIC: [u8; 8] = *b"twotickj";
const SUFFIX: &str = ".journal";

/// What a person does about a damaged journal.
const REMEDY: &str = "restore this file from a backup, or move it and what follows away and accept \
    the loss";

/// The files below the writer; a test has ones that fail.
pub(crate) trait Files: Send {
    /// Makes a new file.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>>;
    /// Opens a file to go on writing at `offset`.
    fn reopen(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Handle>>;
    /// Makes what was created in or removed from `folder` last.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file that is written at its end.
pub(crate) trait Handle: Send {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns when everything written is on disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file at `offset` and goes on writing there.
    fn cut(&mut self, offset: u64) -> io::Result<()>;
}

/// Files of the operating system.
pub(crate) struct Disk;

impl Files for Disk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(File::options().read(true).write(true).create_new(true).open(path)?))
    }

    fn reopen(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Handle>> {
        let mut file = File::options().read(true).write(true).open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

impl Handle for File {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        Write::write_all(self, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, offset: u64) -> io::Result<()> {
        self.set_len(offset)?;
        self.seek(SeekFrom::Start(offset)).map(drop)
    }
}

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
    /// Where in the segment it begins.
    pub(crate) offset: u64,
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
    length: u64,
}

impl Scan {
    /// Opens a segment and checks its header; `None` if the header is not whole.
    pub(crate) fn open(path: &Path, first: Position) -> Result<Option<Self>, Error> {
        let doing = "reading a segment of the journal";
        let io = |error| Error::io(doing, error);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut file = BufReader::with_capacity(256 << 10, file);
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
        self.file
            .seek(SeekFrom::Start(offset))
            .map_err(|error| Error::io("reading a segment of the journal", error))?;
        self.offset = offset;
        self.expected = position;
        Ok(())
    }

    pub(crate) fn next(&mut self) -> Result<Next, Error> {
        let io = |error| Error::io("reading a segment of the journal", error);
        let left = self.length.saturating_sub(self.offset);
        if left == 0 {
            return Ok(Next::End);
        }
        if left < RECORD_BYTES as u64 {
            return Ok(Next::Bad);
        }
        let mut head = [0; RECORD_BYTES];
        self.file.read_exact(&mut head).map_err(io)?;
        let Some(head) = Head::parse(&head) else { return Ok(Next::Bad) };
        let whole = (RECORD_BYTES + head.length) as u64;
        if head.length > PAYLOAD_BYTES_MAX || whole > left || head.position != self.expected {
            return Ok(Next::Bad);
        }
        let mut payload = vec![0; head.length];
        self.file.read_exact(&mut payload).map_err(io)?;
        if checksum(&head.covered, &payload) != head.sum {
            return Ok(Next::Bad);
        }
        let record = Record { position: head.position, offset: self.offset, payload };
        self.offset += whole;
        self.expected += 1;
        Ok(Next::Record(record))
    }

    /// Whether anything behind the bad place at `offset` proves that it was acknowledged: a valid
    /// record whose write began after the position that is bad.
    fn is_followed(&mut self) -> Result<bool, Error> {
        let io = |error| Error::io("reading a segment of the journal", error);
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

/// The segment that is written to.
pub(crate) struct Tail {
    pub(crate) first: Position,
    /// Where the next record goes; everything before is on disk.
    pub(crate) offset: u64,
    pub(crate) handle: Box<dyn Handle>,
}

/// Reads and checks what is in `folder`, cuts off what was never acknowledged, and opens the last
/// segment for writing, if there is one.
pub(crate) fn recover(folder: &Path, files: &dyn Files) -> Result<(Shared, Option<Tail>), Error> {
    let io = |error| Error::io("opening the journal's folder", error);
    std::fs::create_dir_all(folder).map_err(io)?;
    // So that a power cut cannot take the folder itself away.
    files.sync_folder(&folder.join("..")).map_err(io)?;
    let firsts = list(folder)?;
    let shared = Shared {
        folder: folder.to_owned(),
        acknowledged: AtomicU64::new(0),
        queued_bytes: AtomicUsize::new(0),
        begins_anew: AtomicBool::new(false),
        segments: RwLock::default(),
    };
    let mut last = 0;
    let mut tail = None;
    for (index, &first) in firsts.iter().enumerate() {
        let path = path(folder, first);
        if index > 0 && first != last + 1 {
            let what = format!("it begins at {first}, behind {last}");
            return Err(corrupt(&path, what));
        }
        let is_last = index + 1 == firsts.len();
        let Some(mut scan) = Scan::open(&path, first)? else {
            // A segment gets records only after its header is on disk.
            let length = std::fs::metadata(&path).map_err(io)?.len();
            if is_last && length <= HEADER_BYTES as u64 {
                std::fs::remove_file(&path).map_err(io)?;
                files.sync_folder(folder).map_err(io)?;
                break;
            }
            return Err(corrupt(&path, "the header".to_owned()));
        };
        let end = check(&shared, &mut scan, first, is_last)?;
        last = scan.expected - 1;
        if is_last {
            let mut handle = files.reopen(&path, end).map_err(io)?;
            if end < scan.length {
                tracing::warn!(
                    journal.segment = %path.display(),
                    journal.cut_bytes = scan.length - end,
                    "the journal's tail was not whole and was never acknowledged: cut off"
                );
                handle.cut(end).map_err(io)?;
            }
            // What was read may be in the page cache only, if a process died before its sync; and
            // so may the file's name.
            handle.sync().map_err(io)?;
            files.sync_folder(folder).map_err(io)?;
            tail = Some(Tail { first, offset: end, handle });
        }
    }
    if tail.is_none() {
        // The next segment has to go on where the last one ended, removed ones included.
        last = last.max(firsts.last().map_or(0, |first| first - 1));
    }
    shared.acknowledged.store(last, std::sync::atomic::Ordering::SeqCst);
    Ok((shared, tail))
}

/// Goes through a whole segment; returns where its valid part ends.
fn check(shared: &Shared, scan: &mut Scan, first: Position, is_last: bool) -> Result<u64, Error> {
    shared.mark(first, first, scan.offset);
    loop {
        match scan.next()? {
            Next::Record(record) => shared.mark(first, record.position, record.offset),
            Next::End => return Ok(scan.offset),
            Next::Bad if is_last && !scan.is_followed()? => return Ok(scan.offset),
            Next::Bad => return Err(scan.corrupt()),
        }
    }
}

/// The first positions of the segments in `folder`, sorted; other files are left alone.
fn list(folder: &Path) -> Result<Vec<Position>, Error> {
    let io = |error| Error::io("listing the journal's folder", error);
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let first = digits.filter(|digits| digits.len() == 20).map(str::parse::<Position>);
        firsts.extend(first.and_then(Result::ok));
    }
    firsts.sort_unstable();
    Ok(firsts)
}
