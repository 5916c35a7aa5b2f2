//! The engine's folder, damaged in copies: it is as before, or it is said and made again.
//!
//! What holds: damage that the engine sees when it opens has the tables made again at once. Damage
//! that it sees when it reads ends in [`Error::Corrupt`], and the next start makes them again.
//! What it does not see (its own journal cut so that tables of different moments are together)
//! `verify` finds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::keeping::{Told, open, verified};
use super::*;
use crate::digest::Table;
use crate::embedded::pieces::Piece;
use crate::snapshot::folder;

/// Does something to a folder.
type Harm<'a> = &'a dyn Fn(&Path);

/// The files below `folder`, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Up to where a file has anything else than zeros.
fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Cuts a file so many eighths behind its beginning.
fn cut(path: &Path, part: usize) {
    change(path, |bytes| bytes.truncate(used(bytes) * part / 8));
}

/// Turns a bit so many eighths behind its beginning.
fn turn(path: &Path, part: usize) {
    change(path, |bytes| {
        let at = used(bytes) * part / 8;
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << part;
        }
    });
}

/// What became of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    AsBefore,
    MadeAgain,
    /// Reading said so, and the next start made it again.
    Told,
    /// It said nothing, and verify found it.
    Found,
}

/// Opens the folder, reads all of it and compares with what it was.
async fn look(data: &Path, before: Digest) -> End {
    let ledger = open(data).unwrap();
    let again = data.join("ledger.damaged").exists();
    match ledger.digest().await {
        Ok(digest) if digest == before => {
            // A filter that is damaged hides no row from the fold.
            let found = ledger.kept.shared.slot.with(|tables| {
                let first = (Table::Messages, [].as_slice());
                let (pieces, moment) = tables.moment();
                let ids: Vec<_> = pieces.iter().map(Piece::id).collect();
                let rows = tables.rows(&moment, &ids, first)?;
                for row in rows.take_while(|row| row.as_ref().is_ok_and(|it| it.0 == first.0)) {
                    assert!(tables.message(&row?.1)?.is_some());
                }
                Ok(())
            });
            assert!(matches!(found, Ok(()) | Err(Error::Corrupt { .. })), "{found:?}");
            if again { End::MadeAgain } else { End::AsBefore }
        }
        Ok(_) => {
            assert!(!again, "what is made again is whole");
            assert!(!verified(&ledger).await.unwrap().equal);
            End::Found
        }
        Err(Error::Corrupt { .. }) => {
            drop(ledger);
            let ledger = open(data).unwrap();
            assert_eq!(ledger.digest().await.unwrap(), before);
            assert!(data.join("ledger.damaged").exists());
            End::Told
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Does `harm` to every file of an engine, each in a copy of its own: what becomes of them.
async fn harmed(parts: &[usize], harm: impl Fn(&Path, usize)) -> BTreeMap<End, Vec<String>> {
    let mut told = Told::trimmed().await;
    let before = told.ledger().digest().await.unwrap();
    told.close().await;
    // Made from a snapshot it has files of tables, and not only a journal of the engine's own.
    fs::remove_dir_all(told.folder.path().join("ledger")).unwrap();
    told.open();
    told.close().await;
    let data = told.folder.path();
    let mut ends = BTreeMap::<End, Vec<String>>::new();
    // One table with rows, one without, and the engine's own: the others are like them.
    let tables = ["keyspaces/0/", "keyspaces/1/", "keyspaces/2/"];
    for file in files(&data.join("ledger")) {
        let name = file.strip_prefix(data).unwrap();
        let text = name.to_str().unwrap();
        if text.contains("keyspaces/") && !tables.iter().any(|table| text.contains(table)) {
            continue;
        }
        for part in parts {
            let damaged = tempfile::tempdir().unwrap();
            copy(data, damaged.path());
            harm(&damaged.path().join(name), *part);
            let end = look(damaged.path(), before).await;
            ends.entry(end).or_default().push(format!("{} at {part}", name.display()));
        }
    }
    assert!(ends.contains_key(&End::MadeAgain), "{ends:?}");
    // Nothing of it goes unnoticed but by luck: two tables of different moments.
    assert!(!ends.contains_key(&End::Found), "{ends:?}");
    ends
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_misses_a_file_is_as_before_or_made_again() {
    harmed(&[0], |file, _| fs::remove_file(file).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_with_a_file_that_is_cut_is_as_before_or_made_again() {
    harmed(&[0, 5], cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_with_a_bit_turned_is_as_before_or_made_again_or_says_so() {
    let ends = harmed(&[0, 4, 7], turn).await;
    assert!(ends.contains_key(&End::Told), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_different_moments_are_found_by_verify() {
    let mut told = Told::trimmed().await;
    let before = told.ledger().digest().await.unwrap();
    told.close().await;
    // A table that is empty where the others are not: nothing in it is damaged.
    let tables = Tables::open(&told.folder.path().join("ledger"), &Memory::of(0)).unwrap();
    for piece in tables.pieces().iter() {
        piece.messages.clear().unwrap();
    }
    drop(tables);
    assert_eq!(look(told.folder.path(), before).await, End::Found);
    // And what is to be done about it does it.
    fs::remove_dir_all(told.folder.path().join("ledger")).unwrap();
    assert_eq!(look(told.folder.path(), before).await, End::AsBefore);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_is_missing_old_or_of_other_rules_is_made_again_from_a_snapshot() {
    let mut told = Told::new();
    let old = TempDir::new().unwrap();
    let (first, second) = (old.path().join("first"), old.path().join("second"));
    for day in 0..2 {
        for _ in 0..4 {
            told.day_and_round().await;
        }
        told.close().await;
        copy(&told.folder.path().join("ledger"), if day == 0 { &first } else { &second });
        told.open();
    }
    for _ in 0..5 {
        told.day_and_round().await;
    }
    let before = told.ledger().digest().await.unwrap();
    let positions = folder::positions(told.folder.path()).unwrap();
    told.close().await;
    let remove = |data: &Path| fs::remove_dir_all(data.join("ledger")).unwrap();
    let turn = |data: &Path, position: Position| {
        change(&folder::path(data, position), |bytes| {
            let at = bytes.len() - 60;
            bytes[at] ^= 1;
        });
    };
    let put_back = |data: &Path, old: &Path| {
        remove(data);
        copy(old, &data.join("ledger"));
    };
    let rules = |data: &Path| {
        let tables = Tables::open(&data.join("ledger"), &Memory::of(0)).unwrap();
        tables.write_meta("rules", &"rules@0").unwrap();
    };
    let (newest, oldest) = (*positions.last().unwrap(), positions[0]);
    let no_snapshot = |data: &Path| fs::remove_dir_all(data.join("snapshots")).unwrap();
    let cases: [(&str, Harm<'_>); 9] = [
        ("removed", &remove),
        ("of other rules", &rules),
        ("as it was before the journal's beginning", &|data| put_back(data, &first)),
        ("as it was some days ago", &|data| put_back(data, &second)),
        ("removed, and the newest snapshot damaged", &|data| {
            remove(data);
            turn(data, newest);
        }),
        ("removed, and all but the oldest snapshot removed", &|data| {
            remove(data);
            for position in positions.iter().filter(|position| **position > oldest) {
                fs::remove_file(folder::path(data, *position)).unwrap();
            }
        }),
        ("of other rules, and no snapshot", &|data| {
            rules(data);
            no_snapshot(data);
        }),
        ("as it was, and no snapshot", &no_snapshot),
        ("marked", &|data| fs::write(data.join("ledger.is-damaged"), "").unwrap()),
    ];
    for (what, harm) in cases {
        let copied = TempDir::new().unwrap();
        copy(told.folder.path(), copied.path());
        harm(copied.path());
        for _ in 0..2 {
            let ledger = open(copied.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(ledger.digest().await.unwrap(), before, "{what}");
            ledger.close().await.unwrap();
        }
    }
    let hopeless: [(&str, Harm<'_>, &str); 2] = [
        (
            "neither ledger nor snapshot",
            &|data| {
                remove(data);
                no_snapshot(data);
            },
            "its beginning is missing",
        ),
        (
            "no ledger, and no snapshot that is whole",
            &|data| {
                remove(data);
                positions.iter().for_each(|position| turn(data, *position));
            },
            "the block at byte",
        ),
    ];
    for (what, harm, said) in hopeless {
        let copied = TempDir::new().unwrap();
        copy(told.folder.path(), copied.path());
        harm(copied.path());
        for _ in 0..2 {
            let Err(error) = open(copied.path()) else { panic!("{what}: it was opened") };
            assert!(matches!(error, Error::Corrupt { .. }), "{what}: {error:?}");
            assert!(error.to_string().contains(said), "{what}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_is_met_while_the_journal_catches_up_has_the_tables_made_again() {
    let mut told = Told::trimmed().await;
    told.close().await;
    // Made from a snapshot the messages are in files, and the next days are in the journal only.
    fs::remove_dir_all(told.folder.path().join("ledger")).unwrap();
    told.open();
    let tables = told.ledger().kept.shared.slot.with(|tables| {
        let pieces = tables.pieces();
        Ok(pieces.iter().map(|piece| piece.messages.path().to_owned()).collect::<Vec<_>>())
    });
    told.close().await;
    let closed = tempfile::tempdir().unwrap();
    copy(told.folder.path(), closed.path());
    told.open();
    told.day().await;
    let before = told.ledger().digest().await.unwrap();
    told.close().await;
    let data = told.folder.path();
    fs::remove_dir_all(data.join("ledger")).unwrap();
    copy(&closed.path().join("ledger"), &data.join("ledger"));
    for file in tables.unwrap().iter().flat_map(|table| files(&table.join("tables"))) {
        turn(&file, 1);
    }
    let Err(error) = open(data) else { panic!("nothing of it was read") };
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let ledger = open(data).unwrap();
    assert_eq!(ledger.digest().await.unwrap(), before);
    assert!(data.join("ledger.damaged").exists());
}
