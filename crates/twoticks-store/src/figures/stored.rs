//! Files of figures: a version, a checksum, and what is in it; replaced, never edited. To change
//! what is in one: another version of it ([`Kept`]), which still reads those before.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::ids::Text;
use xxhash_rust::xxh3::xxh3_64;

use super::{Days, Standing};
use crate::error::Error;

/// What a person does about a damaged file.
const REMEDY: &str = "restore it from a backup, or remove it: WhatsApp is asked again for what it \
                      still tells";
const NEW: &str = "new";

/// What is in a file of its own.
pub(super) trait Kept: Serialize + Sized {
    /// What the file begins with.
    const VERSION: u8;

    /// Reads it as a version, of those up to this one, has written it.
    fn read(version: u8, payload: &[u8]) -> postcard::Result<Self>;
}

impl Kept for Days {
    const VERSION: u8 = 1;

    fn read(_version: u8, payload: &[u8]) -> postcard::Result<Self> {
        postcard::from_bytes(payload)
    }
}

impl Kept for Standing {
    const VERSION: u8 = 2;

    fn read(version: u8, payload: &[u8]) -> postcard::Result<Self> {
        match version {
            0 | 1 => postcard::from_bytes(payload).map(StandingOne::into_standing),
            _ => postcard::from_bytes(payload),
        }
    }
}

/// Version 1.
#[derive(Deserialize)]
struct StandingOne {
    tried: Time,
    read: Option<Time>,
    failures: u32,
    insights: Option<bool>,
    is_unsupported: bool,
    currency: Option<Text>,
    /// The template behind which the next run was to begin; the days of that round were not kept,
    /// so that it begins anew.
    _after: Option<Text>,
    unknown: Vec<Text>,
    problems: Vec<Text>,
}

impl StandingOne {
    fn into_standing(self) -> Standing {
        Standing {
            tried: self.tried,
            read: self.read,
            failures: self.failures,
            insights: self.insights,
            is_unsupported: self.is_unsupported,
            currency: self.currency,
            round: None,
            unknown: self.unknown,
            problems: self.problems,
        }
    }
}

pub(super) fn encode<T: Kept>(value: &T) -> Vec<u8> {
    let payload = postcard::to_stdvec(value).expect("figures are made of texts and numbers");
    let mut bytes = vec![T::VERSION];
    bytes.extend(xxh3_64(&payload).to_le_bytes());
    bytes.extend(payload);
    bytes
}

pub(super) fn decode<T: Kept>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    let damaged = |what: &str| Error::Corrupt {
        what: what.to_owned(),
        place: path.to_owned(),
        remedy: REMEDY,
    };
    let (version, rest) = bytes.split_first().ok_or_else(|| damaged("it is empty"))?;
    if *version > T::VERSION {
        return Err(Error::NewerVersion {
            what: format!("`{}`", path.display()),
            found: u64::from(*version),
            known: u64::from(T::VERSION),
        });
    }
    let (checksum, payload) = rest.split_first_chunk().ok_or_else(|| damaged("it is cut off"))?;
    if u64::from_le_bytes(*checksum) != xxh3_64(payload) {
        return Err(damaged("it is not as it was written"));
    }
    T::read(*version, payload).map_err(|_| damaged("it cannot be read"))
}

/// What is in a file; `None` if there is none.
pub(super) fn read<T: Kept>(path: &Path) -> Result<Option<T>, Error> {
    match std::fs::read(path) {
        Ok(bytes) => decode(path, &bytes).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("reading Meta's figures", error)),
    }
}

/// Puts a file into `folder` in the place of the one that is there; on disk when it returns.
pub(super) fn replace<T: Kept>(folder: &Path, name: &str, value: &T) -> Result<(), Error> {
    let put = || {
        let is_new = !folder.is_dir();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let new = folder.join(NEW);
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&encode(value))?;
        file.sync_all()?;
        std::fs::rename(new, folder.join(name))?;
        File::open(folder)?.sync_all()?;
        // The folders that may be new are those of the account, of the channel and of all.
        for above in folder.ancestors().skip(1).take(if is_new { 3 } else { 0 }) {
            File::open(above)?.sync_all()?;
        }
        Ok(())
    };
    put().map_err(|error| Error::io("writing Meta's figures", error))
}

/// What is in a folder; nothing if there is none.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let reading = |error| Error::io("looking for Meta's figures", error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(reading)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // Ours are ASCII; what is not was put there by somebody else.
        names.extend(entry.map_err(reading)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// All files of figures below `below`, a path in `folder`.
pub(super) fn files(folder: &Path, below: &str) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for name in names(&folder.join(below))? {
        let path = format!("{below}/{name}");
        if folder.join(&path).is_dir() {
            found.extend(files(folder, &path)?);
        } else if name != NEW {
            found.push(path);
        }
    }
    Ok(found)
}
