//! Writing a file of a snapshot, row by row: memory does not grow with them.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::digest::{Digester, Table};
use crate::error::Error;
use crate::snapshot::{
    BLOCK_BYTES, BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, FORMAT, Header, MAGIC, Part, ROW_HEAD_BYTES,
    Trailer, checksum,
};

/// After so many bytes what was written is synced: all of it at once would have the journal, which
/// shares the disk, wait for it.
const SYNC_BYTES: usize = 16 << 20;
/// The fastest level finds most of it: half of a row is hashes.
const ZSTD_LEVEL: i32 = 1;

/// A file of a snapshot that is being written.
pub(crate) struct Writer {
    file: File,
    compressor: zstd::bulk::Compressor<'static>,
    block: Vec<u8>,
    unsynced: usize,
    rows: [u64; Table::ALL.len()],
    digester: Digester,
}

fn failed(error: std::io::Error) -> Error {
    Error::io("writing a snapshot", error)
}

impl Writer {
    /// Begins one in `path`, which is made or replaced.
    pub(crate) fn create(path: &Path, header: &Header) -> Result<Self, Error> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        file.write_all(&put_header(header)).map_err(failed)?;
        Ok(Self {
            file,
            compressor: zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(failed)?,
            block: Vec::with_capacity(BLOCK_BYTES + (64 << 10)),
            unsynced: 0,
            rows: Default::default(),
            digester: Digester::new(header.position),
        })
    }

    /// Takes a row, which comes behind all before it.
    pub(crate) fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let whole = ROW_HEAD_BYTES + key.len() + value.len();
        let lengths = u16::try_from(key.len()).ok().zip(u32::try_from(value.len()).ok());
        let Some((key_length, value_length)) = lengths.filter(|_| whole <= BLOCK_BYTES_MAX / 2)
        else {
            let what = "bytes in a row of a snapshot";
            return Err(Error::TooLarge { what, found: whole, limit: BLOCK_BYTES_MAX / 2 });
        };
        self.block.push(table as u8);
        self.block.extend_from_slice(&key_length.to_le_bytes());
        self.block.extend_from_slice(&value_length.to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value);
        self.digester.bytes(table, key, value);
        if let Some(rows) = self.rows.get_mut(table.index()) {
            *rows += 1;
        }
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    /// Writes what is left, and which parts belong to it. When this returns, all of it is on disk.
    pub(crate) fn finish(mut self, parts: Vec<Part>) -> Result<Trailer, Error> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        let trailer = Trailer { rows: self.rows, sha256: self.digester.finish().sha256, parts };
        let bytes = postcard::to_stdvec(&trailer).expect("a trailer has a length that is known");
        put_block(&mut self.file, 0, &bytes).map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        Ok(trailer)
    }

    fn close_block(&mut self) -> Result<(), Error> {
        let compressed = self.compressor.compress(&self.block).map_err(failed)?;
        let length = u32::try_from(self.block.len()).expect("blocks are bounded by 256 MiB");
        put_block(&mut self.file, length, &compressed).map_err(failed)?;
        self.block.clear();
        self.unsynced += compressed.len();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync_data().map_err(failed)?;
            self.unsynced = 0;
        }
        Ok(())
    }
}

/// The bytes of a header.
pub(super) fn put_header(header: &Header) -> Vec<u8> {
    let fields = postcard::to_stdvec(header).expect("a header has a length that is known");
    let length = u32::try_from(fields.len()).expect("rules and a key check are short");
    let mut out = Vec::with_capacity(fields.len() + 24);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&fields);
    let sum = checksum(&out, &[]);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

fn put_block(file: &mut File, length: u32, bytes: &[u8]) -> std::io::Result<()> {
    let stored = u32::try_from(bytes.len()).map_err(std::io::Error::other)?;
    let mut head = Vec::with_capacity(BLOCK_HEAD_BYTES);
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&stored.to_le_bytes());
    let sum = checksum(&head, bytes);
    head.extend_from_slice(&sum.to_le_bytes());
    file.write_all(&head)?;
    file.write_all(bytes)
}
