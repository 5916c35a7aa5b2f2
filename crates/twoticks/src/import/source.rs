//! The bytes of an import: from a file or from standard input, decompressed where they have to be.
//!
//! What is compressed says so with its first bytes, so names do not matter. To add a form: a line
//! in [`decoded`]. What always holds: nothing is read ahead beyond a buffer, and what follows the end
//! of a gzip member or a zstd frame is read on as the next one.

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Seek as _};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zstd::stream::read::Decoder;

/// How much is read at once.
const BUFFER_BYTES: usize = 128 * 1024;
/// A file is known again by its length and the hash of so many of its first bytes.
const IDENTITY_BYTES: u64 = 1024 * 1024;
/// How many of the first bytes say what it is.
const MAGIC_BYTES: u64 = 4;
/// The mark that some programs write before UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// What begins like this is not what its owner thinks.
const FOREIGN: [(&[u8], &str); 6] = [
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet; unpack it, or save the table as CSV"),
    (b"\xfd7zX", "compressed with xz; pipe it through `xz -dc`, or use gzip or zstd"),
    (b"BZh", "compressed with bzip2; pipe it through `bzip2 -dc`, or use gzip or zstd"),
    (b"PAR1", "Parquet; write it as NDJSON or CSV"),
    (b"\xff\xfe", "UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16; save it as UTF-8"),
];

/// Bytes to import.
pub(super) struct Source {
    /// In clear, without a byte order mark.
    pub(super) from: Box<dyn BufRead>,
    /// How many bytes have been read, as they are in the file.
    pub(super) read: Rc<Cell<u64>>,
    /// What it is known again by; standard input and pipes are not.
    pub(super) identity: Option<Identity>,
}

/// What a file is known again by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// How long it is.
    pub(super) bytes: u64,
    /// SHA-256 of its first MiB.
    pub(super) sha256: String,
}

/// Opens the file, or standard input for `-`.
///
/// # Errors
/// If it cannot be read, or is nothing that can be imported.
pub(super) fn open(path: &Path) -> Result<Source> {
    let reading = || format!("cannot read `{}`", path.display());
    let read = Rc::new(Cell::new(0));
    if path == Path::new("-") {
        let from = decoded(Box::new(Counted { from: std::io::stdin(), read: Rc::clone(&read) }))
            .context("cannot read standard input")?;
        return Ok(Source { from, read, identity: None });
    }
    let mut file = File::open(path).with_context(reading)?;
    let metadata = file.metadata().with_context(reading)?;
    if metadata.is_dir() {
        bail!("`{}` is a directory; name a file, or `-` for standard input", path.display());
    }
    let identity = if metadata.is_file() {
        let identity = identify(&mut file, metadata.len()).with_context(reading)?;
        file.rewind().with_context(reading)?;
        Some(identity)
    } else {
        None
    };
    let from =
        decoded(Box::new(Counted { from: file, read: Rc::clone(&read) })).with_context(reading)?;
    Ok(Source { from, read, identity })
}

fn identify(file: &mut File, bytes: u64) -> std::io::Result<Identity> {
    let mut first = Vec::new();
    file.take(IDENTITY_BYTES).read_to_end(&mut first)?;
    let sha256 = Sha256::digest(&first).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Identity { bytes, sha256 })
}

/// The bytes in clear.
pub(super) fn decoded(from: Box<dyn Read>) -> Result<Box<dyn BufRead>> {
    let mut from = BufReader::with_capacity(BUFFER_BYTES, from);
    let magic = first(&mut from, MAGIC_BYTES)?;
    let foreign = FOREIGN.iter().find(|(begins, _)| magic.starts_with(begins));
    if let Some((_, what)) = foreign {
        bail!("it is {what}");
    }
    let kind = magic.clone();
    let whole = Cursor::new(magic).chain(from);
    let mut clear: Box<dyn BufRead> = match kind.as_slice() {
        [0x1f, 0x8b, ..] => {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole)))
        }
        // A frame of data, or one that is passed over, as parallel compressors write first.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, Decoder::with_buffer(whole)?))
        }
        _ => Box::new(whole),
    };
    if clear.fill_buf()?.starts_with(BOM) {
        clear.consume(BOM.len());
    }
    Ok(clear)
}

/// The first bytes, fewer at the end.
fn first(from: &mut impl Read, bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut first = Vec::new();
    from.take(bytes).read_to_end(&mut first)?;
    Ok(first)
}

/// Counts what is read.
struct Counted<R> {
    from: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.from.read(buffer) {
                // A signal that did not end the program is no end of the file.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => {
                    let read = done?;
                    self.read.set(self.read.get() + read as u64);
                    return Ok(read);
                }
            }
        }
    }
}
