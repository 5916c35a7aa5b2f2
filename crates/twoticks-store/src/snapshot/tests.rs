//! A snapshot is read as it was written, or it is said where it is not.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::reader::Snapshot;
use super::writer::{Writer, put_header};
use super::*;

/// Where the fixture of a format is.
fn fixture(format: u32) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    data.join(format!("snapshot-v{format}.snapshot"))
}

fn keys() -> Keys {
    Keys::from_bytes([6; 32])
}

fn header() -> Header {
    let times = (Time(1_800_000_000_000), Time(1_799_000_000_000));
    Header::new(7, times, ("rules@1", 1), &keys())
}

/// A row of every table and more of some, of all lengths.
fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = Table::ALL
        .into_iter()
        .flat_map(|table| {
            let row = move |n: u8| (table, vec![n; usize::from(n)], vec![n; 3 * usize::from(n)]);
            (0..=table as u8).map(row)
        })
        .collect();
    rows.sort_unstable();
    rows
}

fn write(folder: &TempDir, header: &Header, rows: &[Row]) -> (PathBuf, Trailer) {
    let path = folder.path().join("it");
    let mut writer = Writer::create(&path, header).unwrap();
    for (table, key, value) in rows {
        writer.row(*table, key, value).unwrap();
    }
    let trailer = writer.finish(parts()).unwrap();
    (path, trailer)
}

fn parts() -> Vec<Part> {
    vec![Part { piece: (3, 1), sha256: [9; 32] }, Part { piece: (-2, 0), sha256: [7; 32] }]
}

/// The rows and what they turned out to be; or what is said of the file.
fn read(path: &Path) -> Result<(Header, Vec<Row>, Trailer), Error> {
    let mut snapshot = Snapshot::open(path)?;
    let header = snapshot.header.clone();
    let rows = snapshot.by_ref().collect::<Result<_, _>>()?;
    Ok((header, rows, snapshot.trailer().expect("its rows have ended")))
}

#[test]
fn what_was_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut large = rows();
    // More than a block each, and more than a block together.
    for n in 0..5_u8 {
        large.push((Table::Tombstones, vec![200 + n; 9], vec![n; BLOCK_BYTES + 1]));
    }
    for rows in [vec![], rows(), large] {
        let (path, trailer) = write(&folder, &header(), &rows);
        let (header, found, said) = read(&path).unwrap();
        assert_eq!(said, trailer);
        assert_eq!(Snapshot::check(&path, &mut || Ok(())).unwrap(), trailer);
        assert_eq!(Snapshot::compare(&path, &mut || Ok(())).unwrap(), trailer);
        assert_eq!(Snapshot::parts(&path).unwrap(), parts());
        assert!(header.is_under(&keys()) && !header.is_under(&Keys::from_bytes([5; 32])));
        assert_eq!((header.position, header.latest.0), (7, 1_800_000_000_000));
        assert!(found == rows);
        assert_eq!(trailer.rows.iter().sum::<u64>(), rows.len() as u64);
    }
}

#[test]
fn a_byte_that_is_turned_or_missing_anywhere_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = write(&folder, &header(), &rows());
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str, at: usize| {
        fs::write(&path, bytes).unwrap();
        let checked = Snapshot::check(&path, &mut || Ok(())).map(drop);
        let compared = Snapshot::compare(&path, &mut || Ok(())).map(drop);
        for said in [read(&path).map(drop), checked, compared] {
            match said {
                Err(Error::Corrupt { place, .. }) => assert_eq!(place, path, "{what} {at}"),
                other => panic!("{what} {at}: {other:?}"),
            }
        }
    };
    for at in 0..whole.len() {
        let mut turned = whole.clone();
        turned[at] ^= 1 << (at % 8);
        refused(&turned, "turned", at);
        refused(&whole[..at], "cut", at);
    }
    let mut longer = whole.clone();
    longer.push(0);
    refused(&longer, "longer", whole.len());
}

#[test]
fn rows_that_are_not_in_order_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let rows = rows();
    let repeated = [rows.as_slice(), rows.last().map(std::slice::from_ref).unwrap()].concat();
    let (path, _) = write(&folder, &header(), &repeated);
    assert!(matches!(read(&path), Err(Error::Corrupt { .. })));
}

#[test]
fn a_newer_format_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it");
    let mut bytes = put_header(&header());
    bytes[8] = 3;
    let end = bytes.len() - 8;
    let sum = checksum(&bytes[..end], &[]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(b"of another form");
    fs::write(&path, bytes).unwrap();
    assert!(matches!(read(&path), Err(Error::NewerVersion { found: 3, known: 2, .. })));
}

#[test]
fn what_was_written_in_any_format_is_read_for_ever() {
    for (format, parts) in [(1, vec![]), (2, parts())] {
        let fixture = fixture(format);
        if !fixture.exists() {
            let folder = tempfile::tempdir().unwrap();
            fs::copy(write(&folder, &header(), &rows()).0, &fixture).unwrap();
            panic!("`{}` was not there and is made now: check it in", fixture.display());
        }
        let (header, found, trailer) = read(&fixture).unwrap();
        assert!(header.is_under(&keys()));
        let Header { position, latest, horizon, rules, layout, key: _ } = header;
        assert_eq!((position, rules.as_str(), layout), (7, "rules@1", 1));
        assert_eq!((latest.0, horizon.0), (1_800_000_000_000, 1_799_000_000_000));
        assert_eq!(found, rows());
        assert_eq!(trailer.parts, parts);
        assert_eq!(Snapshot::parts(&fixture).unwrap(), parts);
    }
}

proptest! {
    #[test]
    fn any_rubbish_is_refused_without_a_panic(rubbish: Vec<u8>, with_header: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        let mut bytes = if with_header { put_header(&header()) } else { Vec::new() };
        bytes.extend_from_slice(&rubbish);
        fs::write(&path, bytes).unwrap();
        prop_assert!(read(&path).is_err());
    }
}
