//! A backup: a folder from which a data folder can be made again, on this machine or another.
//!
//! `manifest.json` says what there is; `files/` has it, each file under its name in the data folder
//! with the beginning of its SHA-256 behind it, so that nothing that a manifest names is ever
//! replaced. A backup has the newest sealed snapshot, the journal from its position on up to what
//! was acknowledged, and files beside them such as the directory; the key file only if it is asked
//! for. [`take`] makes one while the ledger records, [`restore`](restore::restore) makes a data
//! folder of one. What always holds: a manifest gets its name when all that it names is on disk,
//! and what no manifest names any more is removed after that, so that there is a whole backup at
//! any time; what is damaged is neither copied nor restored but told, with the file's name.

pub mod restore;
pub mod take;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use twoticks_core::clock::Time;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::Error;
use crate::journal::Position;

/// The format that is written; every one up to it is read.
pub const FORMAT: u32 = 1;
/// The name of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// The name of the folder with the files.
const FILES: &str = "files";
/// The name of the key file, in the data folder and in a backup that has it.
pub const KEY: &str = "key";
/// How many digits of its SHA-256 are in a file's name.
const NAME_DIGITS: usize = 16;
/// The largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// How many bytes are copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// What a person does about a damaged backup.
const REMEDY: &str = "restore another backup; a new one replaces what is damaged in this one";

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its format.
    pub format: u32,
    /// Who wrote it.
    pub program: String,
    /// Up to where the journal is in it.
    pub position: Position,
    /// The position of its snapshot.
    pub snapshot: Position,
    /// The counting rules of its snapshot.
    pub rules: String,
    /// The latest acceptance time when it was made.
    pub latest: Option<Time>,
    /// What is in it, by path.
    pub files: Vec<Listed>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Where in the data folder it belongs, with `/`.
    pub path: String,
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// A manifest as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    manifest: Manifest,
    /// xxh3 of the manifest in JSON without blanks, in hexadecimal digits.
    checksum: String,
}

impl Listed {
    /// Where in the backup `folder` it is.
    fn place(&self, folder: &Path) -> PathBuf {
        let digits: String = self.sha256.chars().take(NAME_DIGITS).collect();
        folder.join(FILES).join(format!("{}.{digits}", self.path))
    }
}

impl Manifest {
    /// Whether the key file is in it.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.files.iter().any(|file| file.path == KEY)
    }

    /// Reads that of the backup in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::NewerVersion`], [`Error::Unavailable`].
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(MANIFEST);
        let reading = |error| Error::io("reading the manifest of a backup", error);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(reading)?,
        };
        let mut bytes = Vec::new();
        file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes).map_err(reading)?;
        let damaged = |what: &str| corrupt(&path, what);
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|_| damaged("it is not JSON"))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        if let Some(found) = format.filter(|format| *format > FORMAT.into()) {
            let what = format!("the backup in `{}`", folder.display());
            return Err(Error::NewerVersion { what, found, known: FORMAT.into() });
        }
        let stored: Stored =
            serde_json::from_value(value).map_err(|_| damaged("it is no manifest"))?;
        if stored.checksum != stored.manifest.checksum() {
            return Err(damaged("it is not as it was written"));
        }
        let is_inside = |file: &Listed| {
            let mut parts = file.path.split('/');
            parts.all(|part| !part.is_empty() && part != "." && part != "..")
        };
        match stored.manifest.files.iter().find(|file| !is_inside(file)) {
            Some(file) => Err(damaged(&format!("`{}` is not in a data folder", file.path))),
            None => Ok(Some(stored.manifest)),
        }
    }

    /// Puts it into `folder`, in the place of the one that is there.
    fn write(&self, folder: &Path) -> Result<(), Error> {
        let writing = |error| Error::io("writing the manifest of a backup", error);
        let stored = Stored { manifest: self.clone(), checksum: self.checksum() };
        let mut bytes = serde_json::to_vec_pretty(&stored).expect("a manifest is JSON");
        bytes.push(b'\n');
        let new = folder.join("manifest.json.new");
        let mut file = create(&new).map_err(writing)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(writing)?;
        std::fs::rename(new, folder.join(MANIFEST)).map_err(writing)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(writing)
    }

    fn checksum(&self) -> String {
        let bytes = serde_json::to_vec(self).expect("a manifest is JSON");
        format!("{:016x}", xxh3_64(&bytes))
    }
}

fn corrupt(path: &Path, what: impl Into<String>) -> Error {
    Error::Corrupt { what: what.into(), place: path.to_owned(), remedy: REMEDY }
}

/// Makes or empties a file that only its owner may read.
fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes a folder that only its owner may look into, with those above it.
fn make_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads the first `bytes` of `from` and gives them to `to`; how many there were, and their
/// SHA-256. `go_on` is asked now and then and may end it.
fn pass(
    from: &Path,
    bytes: u64,
    mut to: impl FnMut(&[u8]) -> std::io::Result<()>,
    go_on: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<(u64, String), Error> {
    let reading = |error| Error::io("reading a file to copy", error);
    let mut file = File::open(from).map_err(reading)?.take(bytes);
    let mut buffer = vec![0; COPY_BYTES];
    let mut hash = Sha256::new();
    let mut passed = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(reading(error)),
        };
        let part = buffer.get(..count).unwrap_or_default();
        hash.update(part);
        to(part).map_err(|error| Error::io("writing a copy", error))?;
        passed += count as u64;
        go_on(count as u64)?;
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((passed, sha256))
}

/// Copies `from` into the new file `to`, which is on disk when this returns.
fn copy(
    (from, bytes): (&Path, u64),
    to: &Path,
    go_on: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<(u64, String), Error> {
    let writing = |error| Error::io("writing a copy", error);
    let mut file = create(to).map_err(writing)?;
    let passed = pass(from, bytes, |part| file.write_all(part), go_on)?;
    file.sync_all().map_err(writing)?;
    Ok(passed)
}
