//! Reading a file of a snapshot: a block at a time, every checksum checked, every row in its order.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::{Digester, Table};
use crate::error::Error;
use crate::snapshot::{
    BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, FIELDS_BYTES_MAX, FORMAT, HEAD_BYTES, Header, MAGIC, Part,
    Row, Trailer, checksum, corrupt,
};

/// A file of a snapshot that is being read. Its rows end without an error only if all of it was as it was
/// written; after an error they end.
pub(crate) struct Snapshot {
    /// What it says of itself.
    pub(crate) header: Header,
    path: PathBuf,
    file: BufReader<File>,
    /// Where in the file the next block begins.
    offset: u64,
    block: Vec<u8>,
    /// Where in the block the next row begins.
    at: usize,
    last: Option<(Table, Vec<u8>)>,
    rows: [u64; Table::ALL.len()],
    digester: Option<Digester>,
    /// What it turned out to have, as soon as its rows have ended.
    trailer: Option<Trailer>,
    format: u32,
}

/// After so many rows it is asked whether to go on.
const ROWS_BETWEEN_LOOKS: usize = 10_000;

/// What stands before the rows of a block, or before the trailer.
struct Head {
    /// The lengths as they are in the file, which the checksum covers.
    covered: [u8; 8],
    /// How long the rows are; 0 before the trailer.
    length: usize,
    /// How much there is of it in the file.
    stored: usize,
    sum: u64,
}

/// The trailer of format 1.
#[derive(Deserialize)]
struct TrailerV1 {
    rows: [u64; Table::ALL.len()],
    sha256: [u8; 32],
}

fn failed(error: io::Error) -> Error {
    Error::io("reading a snapshot", error)
}

impl Snapshot {
    /// Opens one and checks its header.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerVersion`], [`Error::Unavailable`].
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let mut file = BufReader::with_capacity(256 << 10, File::open(path).map_err(failed)?);
        let damaged = || corrupt(path, "the header");
        let mut bytes = vec![0; HEAD_BYTES];
        fill(&mut file, &mut bytes)?.ok_or_else(damaged)?;
        let number = |at: usize| {
            let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map(|bytes| u32::from_le_bytes(*bytes))
        };
        let (format, length) = number(8).zip(number(12)).ok_or_else(damaged)?;
        let length = usize::try_from(length).map_err(|_| damaged())?;
        if !bytes.starts_with(&MAGIC) || length > FIELDS_BYTES_MAX {
            return Err(damaged());
        }
        let mut fields = vec![0; length];
        let mut sum = [0; 8];
        fill(&mut file, &mut fields)?.ok_or_else(damaged)?;
        fill(&mut file, &mut sum)?.ok_or_else(damaged)?;
        if checksum(&bytes, &fields) != u64::from_le_bytes(sum) {
            return Err(damaged());
        }
        if format > FORMAT {
            let what = format!("the snapshot `{}`", path.display());
            return Err(Error::NewerVersion { what, found: format.into(), known: FORMAT.into() });
        }
        let header: Header = postcard::from_bytes(&fields).map_err(|_| damaged())?;
        let digester = Some(Digester::new(header.position));
        Ok(Self {
            header,
            path: path.to_owned(),
            file,
            offset: (HEAD_BYTES + length + sum.len()) as u64,
            block: Vec::new(),
            at: 0,
            last: None,
            rows: Default::default(),
            digester,
            trailer: None,
            format,
        })
    }

    /// Reads all of the file, row by row. `go_on` is asked now and then and may end it.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub(crate) fn check(
        path: &Path,
        go_on: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Trailer, Error> {
        let mut file = Self::open(path)?;
        for (index, row) in file.by_ref().enumerate() {
            row?;
            if index.is_multiple_of(ROWS_BETWEEN_LOOKS) {
                go_on()?;
            }
        }
        file.trailer.ok_or_else(|| corrupt(path, "its end"))
    }

    /// Reads all of the file and compares every checksum, but opens no row, which takes a fraction
    /// of the time. `go_on` is asked between two blocks and may end it.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub(crate) fn compare(
        path: &Path,
        go_on: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Trailer, Error> {
        let mut file = Self::open(path)?;
        let mut bytes = Vec::new();
        loop {
            go_on()?;
            let head = file.head()?;
            file.read_block(&head, &mut bytes)?;
            if head.length == 0 {
                return file.read_trailer(&bytes);
            }
        }
    }

    /// The parts that belong to the snapshot in `path`; nothing else of it is read.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub(crate) fn parts(path: &Path) -> Result<Vec<Part>, Error> {
        let mut file = Self::open(path)?;
        loop {
            let head = file.head()?;
            if head.length == 0 {
                let mut bytes = Vec::new();
                file.read_block(&head, &mut bytes)?;
                return Ok(file.read_trailer(&bytes)?.parts);
            }
            let stored = i64::try_from(head.stored).map_err(|_| file.damaged())?;
            file.file.seek_relative(stored).map_err(failed)?;
            file.offset += (BLOCK_HEAD_BYTES + head.stored) as u64;
        }
    }

    /// The trailer, if its rows have ended without an error.
    pub(crate) fn trailer(self) -> Option<Trailer> {
        self.trailer
    }

    fn damaged(&self) -> Error {
        corrupt(&self.path, format!("the block at byte {}", self.offset))
    }

    fn head(&mut self) -> Result<Head, Error> {
        let mut head = [0; BLOCK_HEAD_BYTES];
        fill(&mut self.file, &mut head)?.ok_or_else(|| self.damaged())?;
        let (covered, sum) = head.split_first_chunk::<8>().ok_or_else(|| self.damaged())?;
        let number = |at: usize| {
            let bytes = covered.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
            bytes.and_then(|bytes| usize::try_from(u32::from_le_bytes(*bytes)).ok())
        };
        let sum = sum.first_chunk::<8>().map(|sum| u64::from_le_bytes(*sum));
        let lengths = number(0).zip(number(4)).zip(sum);
        let ((length, stored), sum) = lengths.ok_or_else(|| self.damaged())?;
        if length > BLOCK_BYTES_MAX || stored > BLOCK_BYTES_MAX {
            return Err(self.damaged());
        }
        Ok(Head { covered: *covered, length, stored, sum })
    }

    /// Reads what stands behind `head`, as it is in the file, into `bytes`.
    fn read_block(&mut self, head: &Head, bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.clear();
        bytes.resize(head.stored, 0);
        fill(&mut self.file, bytes)?.ok_or_else(|| self.damaged())?;
        if checksum(&head.covered, bytes) != head.sum {
            return Err(self.damaged());
        }
        if head.length > 0 {
            self.offset += (BLOCK_HEAD_BYTES + head.stored) as u64;
        }
        Ok(())
    }

    /// Reads the next block, or the trailer and the end; whether there is a block.
    fn next_block(&mut self) -> Result<bool, Error> {
        let head = self.head()?;
        let begins = self.offset;
        let mut bytes = Vec::new();
        self.read_block(&head, &mut bytes)?;
        if head.length == 0 {
            self.end(&bytes)?;
            return Ok(false);
        }
        let damaged = || corrupt(&self.path, format!("the block at byte {begins}"));
        let block = zstd::bulk::decompress(&bytes, head.length).map_err(|_| damaged())?;
        if block.len() != head.length {
            return Err(damaged());
        }
        self.block = block;
        self.at = 0;
        Ok(true)
    }

    /// The trailer, behind which the file has to end.
    fn read_trailer(&mut self, bytes: &[u8]) -> Result<Trailer, Error> {
        let trailer: Trailer = match self.format {
            1 => {
                let v1 = postcard::from_bytes(bytes).map_err(|_| self.damaged())?;
                let TrailerV1 { rows, sha256 } = v1;
                Trailer { rows, sha256, parts: Vec::new() }
            }
            _ => postcard::from_bytes(bytes).map_err(|_| self.damaged())?,
        };
        match self.file.read(&mut [0]).map_err(failed)? {
            0 => Ok(trailer),
            _ => Err(corrupt(&self.path, "there is something behind its end")),
        }
    }

    /// Compares the trailer with what was read.
    fn end(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let trailer = self.read_trailer(bytes)?;
        let digester = self.digester.take().ok_or_else(|| self.damaged())?;
        if (trailer.rows, trailer.sha256) != (self.rows, digester.finish().sha256) {
            return Err(corrupt(&self.path, "its rows are not those that its end tells of"));
        }
        self.trailer = Some(trailer);
        Ok(())
    }

    /// The next row of the block.
    fn row(&mut self) -> Option<Row> {
        let rest = self.block.get(self.at..)?;
        let (&code, rest) = rest.split_first()?;
        let (key_length, rest) = rest.split_first_chunk::<2>()?;
        let (value_length, rest) = rest.split_first_chunk::<4>()?;
        let value_length = usize::try_from(u32::from_le_bytes(*value_length)).ok()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_length).into())?;
        let (value, rest) = rest.split_at_checked(value_length)?;
        let table = Table::ALL.into_iter().find(|table| *table as u8 == code)?;
        let row = (table, key.to_vec(), value.to_vec());
        self.at = self.block.len() - rest.len();
        let last = self.last.as_ref();
        let is_next =
            last.is_none_or(|last| (last.0, last.1.as_slice()) < (row.0, row.1.as_slice()));
        is_next.then_some(row)
    }

    fn step(&mut self) -> Result<Option<Row>, Error> {
        if self.at == self.block.len() && !self.next_block()? {
            return Ok(None);
        }
        let (table, key, value) = self.row().ok_or_else(|| self.damaged())?;
        match &mut self.last {
            Some(last) => {
                last.0 = table;
                last.1.clone_from(&key);
            }
            none => *none = Some((table, key.clone())),
        }
        if let Some(rows) = self.rows.get_mut(table.index()) {
            *rows += 1;
        }
        if let Some(digester) = &mut self.digester {
            digester.bytes(table, &key, &value);
        }
        Ok(Some((table, key, value)))
    }
}

/// Fills `bytes`; `None` if the file ends before.
fn fill(file: &mut BufReader<File>, bytes: &mut [u8]) -> Result<Option<()>, Error> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

impl Iterator for Snapshot {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.digester.as_ref()?;
        let step = self.step();
        if step.is_err() {
            self.digester = None;
        }
        step.transpose()
    }
}
