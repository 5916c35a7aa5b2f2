//! Filters of what does not change any more, in files beside the tables, so that they are there at
//! once after a start: what was acknowledged and not committed is taken in then, and without them
//! every piece of the engine is asked for each of these messages.
//!
//! A file says which keys were in a piece or in tombstones when nothing was put into it any more.
//! What cannot be read is made again from the keys, and what is not on disk yet may be lost.

use std::io::Write as _;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::embedded::filter::Filter;
use crate::embedded::ribbon::Ribbon;

/// The folder, in that of the tables.
const FOLDER: &str = "filters";
/// What a file begins with.
const MAGIC: [u8; 8] = *b"ttfilt\x00\x01";
const CHECKSUM_BYTES: usize = 16;

/// Keeps a filter that was made by [`Filter::closed`]. That it cannot be kept is no error: it is
/// made again.
pub(super) fn keep(ledger: &Path, name: &str, filter: &Filter) {
    let write = || {
        let folder = ledger.join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        let new = folder.join(format!("{name}.new"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&new)?);
        let mut sum = Xxh3::new();
        let mut put = |bytes: &[u8]| {
            sum.update(bytes);
            file.write_all(bytes)
        };
        put(&MAGIC)?;
        for ribbon in filter.ribbons() {
            let (words, columns, starts) = ribbon.raw();
            for number in [columns as u64, starts as u64, words.len() as u64] {
                put(&number.to_le_bytes())?;
            }
            for word in words {
                put(&word.to_le_bytes())?;
            }
        }
        file.write_all(&sum.digest128().to_le_bytes())?;
        file.into_inner()?;
        std::fs::rename(new, folder.join(name))
    };
    if let Err(error) = write() {
        let error = &error as &dyn std::error::Error;
        tracing::debug!(error, "a filter of the ledger is not kept");
    }
}

/// The filter of that name; `None` if there is none that can be read.
pub(super) fn read(ledger: &Path, name: &str) -> Option<Filter> {
    let bytes = std::fs::read(ledger.join(FOLDER).join(name)).ok()?;
    let (content, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if xxh3_128(content).to_le_bytes() != *sum {
        return None;
    }
    let mut rest = content.strip_prefix(&MAGIC)?;
    let mut ribbons = Vec::new();
    while !rest.is_empty() {
        let mut number = || {
            let (bytes, behind) = rest.split_first_chunk::<8>()?;
            rest = behind;
            usize::try_from(u64::from_le_bytes(*bytes)).ok()
        };
        let (columns, starts, length) = (number()?, number()?, number()?);
        let (words, behind) = rest.split_at_checked(length.checked_mul(8)?)?;
        rest = behind;
        let (words, _) = words.as_chunks::<8>();
        let words = words.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
        ribbons.push(Ribbon::from_raw(words, columns, starts)?);
    }
    (!ribbons.is_empty()).then(|| Filter::closed(ribbons))
}

/// Lets go of those whose names are not among `names`.
pub(super) fn keep_only(ledger: &Path, names: &[String]) {
    let files = std::fs::read_dir(ledger.join(FOLDER)).into_iter().flatten().flatten();
    for file in files {
        if !names.iter().any(|name| file.file_name() == **name) {
            drop(std::fs::remove_file(file.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::filter::parts;
    use crate::embedded::filter::tests::hashes;

    #[test]
    fn what_is_read_is_what_was_kept_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let filter = Filter::closed(parts(hashes(0, 100).collect(), 7).collect());
        keep(folder.path(), "1.0", &filter);
        let path = folder.path().join(FOLDER).join("1.0");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(folder.path(), "1.0")
        };
        let whole = std::fs::read(&path).unwrap();
        let known = read(&whole).unwrap();
        assert_eq!(known.bytes(), filter.bytes());
        for hash in hashes(0, 10_000) {
            assert_eq!(known.may_have(hash), filter.may_have(hash));
        }
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_none(), "{cut}");
        }
        for at in 0..whole.len() {
            let mut turned = whole.clone();
            turned[at] ^= 1;
            assert!(read(&turned).is_none(), "{at}");
        }
        keep_only(folder.path(), &["1.1".to_owned()]);
        assert!(!path.exists());
    }
}
