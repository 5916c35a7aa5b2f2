//! What only the ledger in a folder can do: be locked, be damaged, be made again.

mod damage;
mod expiry;
mod filters;
mod generations;
pub(crate) mod keeping;
mod machine;

use std::fs;

use tempfile::TempDir;
use twoticks_core::clock::Time;
use twoticks_core::event::Event;
use twoticks_core::ids::ChannelId;

use super::*;
use crate::journal::simulated::{Op, Simulated};
use crate::ledger::{Dead, Kind};

fn opt_in(n: i64) -> Batch {
    let time = Time(1_700_000_000_000 - n);
    Batch {
        kind: Kind::OptIn,
        accepted: time,
        origin: String::new(),
        channel: None,
        group: None,
        events: vec![Event::OptIn { channel: ChannelId::new("a").unwrap(), time }],
        dead: vec![],
        resolves: None,
        body: b"opted in".to_vec(),
    }
}

fn open_as(folder: &TempDir, key: u8) -> Result<Embedded, Error> {
    Embedded::open(folder.path(), Arc::new(Keys::from_bytes([key; 32])))
}

/// A folder with three entries, committed, and the digest of it.
async fn filled() -> (TempDir, Digest) {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open_as(&folder, 1).unwrap();
    for n in 0..3 {
        ledger.record(opt_in(n)).await.unwrap();
    }
    let digest = ledger.digest().await.unwrap();
    ledger.close().await.unwrap();
    (folder, digest)
}

async fn digest(folder: &TempDir) -> Digest {
    open_as(folder, 1).unwrap().digest().await.unwrap()
}

#[tokio::test]
async fn a_folder_in_use_or_under_another_key_is_refused() {
    let (folder, before) = filled().await;
    assert!(matches!(open_as(&folder, 2), Err(Error::WrongKey { .. })));
    let ledger = open_as(&folder, 1).unwrap();
    assert!(matches!(open_as(&folder, 1), Err(Error::Locked { .. })));
    drop(ledger);
    assert_eq!(digest(&folder).await, before);
    // Also when the tables, which know their key, are gone.
    fs::remove_dir_all(folder.path().join("ledger")).unwrap();
    assert!(matches!(open_as(&folder, 2), Err(Error::WrongKey { .. })));
    assert_eq!(digest(&folder).await, before);
}

#[tokio::test]
async fn a_ledger_that_was_removed_or_half_made_is_made_again_from_the_journal() {
    let (folder, before) = filled().await;
    let ledger = folder.path().join("ledger");
    fs::remove_dir_all(&ledger).unwrap();
    assert_eq!(digest(&folder).await, before);
    // As a process leaves it that dies while it makes it.
    fs::remove_file(ledger.join("version")).unwrap();
    assert_eq!(digest(&folder).await, before);
}

#[tokio::test]
async fn a_damaged_ledger_is_set_aside_and_made_again_from_the_journal() {
    let (folder, before) = filled().await;
    let ledger = folder.path().join("ledger");
    // A byte within the engine's only journal, as a power cut may lose it.
    let engine_journal = ledger.join("0.jnl");
    let mut bytes = fs::read(&engine_journal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[used / 2] ^= 1;
    fs::write(&engine_journal, bytes).unwrap();
    for _ in 0..2 {
        assert_eq!(digest(&folder).await, before);
    }
}

#[tokio::test]
async fn a_commit_that_is_torn_anywhere_is_whole_or_not_there() {
    let (folder, before) = filled().await;
    let ledger = folder.path().join("ledger");
    let engine_journal = ledger.join("0.jnl");
    let bytes = fs::read(&engine_journal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = TempDir::new().unwrap();
    copy(folder.path(), torn.path());
    for cut in (0..used).rev().step_by(used / 24) {
        let mut bytes = bytes.clone();
        bytes[cut..].fill(0);
        fs::remove_dir_all(torn.path().join("ledger")).unwrap();
        copy(&ledger, &torn.path().join("ledger"));
        fs::write(torn.path().join("ledger/0.jnl"), bytes).unwrap();
        assert_eq!(digest(&torn).await, before, "cut at {cut} of {used}");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[tokio::test]
async fn tables_that_do_not_open_are_set_aside_and_made_again() {
    let (folder, before) = filled().await;
    let ledger = folder.path().join("ledger");
    fs::write(ledger.join("version"), b"rubbish").unwrap();
    assert_eq!(digest(&folder).await, before);
    assert!(folder.path().join("ledger.damaged/version").exists());
}

#[tokio::test]
async fn a_table_that_was_being_made_or_removed_is_nothing() {
    let (folder, before) = filled().await;
    let tables = folder.path().join("ledger/keyspaces");
    // As a process leaves them that is killed there.
    fs::create_dir_all(tables.join("98/tables")).unwrap();
    fs::create_dir_all(tables.join("99/tables")).unwrap();
    fs::copy(tables.join("1/v0"), tables.join("99/v0")).unwrap();
    fs::write(tables.join("99/.tmpr1UBiZ"), b"current").unwrap();
    assert_eq!(digest(&folder).await, before);
    assert!(!folder.path().join("ledger.damaged").exists());
    assert!(!tables.join("98").exists() && !tables.join("99").exists());
}

#[tokio::test]
async fn a_table_that_has_lost_what_is_in_it_has_all_made_again() {
    let (folder, before) = filled().await;
    let names = fs::read_dir(folder.path().join("ledger/keyspaces")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.len() > 7, "{names:?}");
    for name in names {
        let ledger = folder.path().join("ledger");
        fs::remove_file(ledger.join("keyspaces").join(&name).join("current")).unwrap();
        assert_eq!(digest(&folder).await, before, "{name:?}");
        fs::remove_dir_all(folder.path().join("ledger.damaged")).unwrap();
    }
    // Also where it is not known which tables there have to be.
    let ledger = folder.path().join("ledger");
    fs::remove_file(ledger.join("tables")).unwrap();
    fs::remove_file(ledger.join("keyspaces/1/current")).unwrap();
    assert_eq!(digest(&folder).await, before);
    assert!(folder.path().join("ledger.damaged").exists());
}

#[tokio::test]
async fn a_ledger_made_by_other_counting_rules_is_made_again() {
    let (folder, before) = filled().await;
    let ledger = folder.path().join("ledger");
    let tables = Tables::open(&ledger, &Memory::of(0)).unwrap();
    tables.write_meta("rules", &"rules@0").unwrap();
    drop(tables);
    assert_eq!(digest(&folder).await, before);
    let tables = Tables::open(&ledger, &Memory::of(0)).unwrap();
    assert!(tables.meta(&ledger, None).unwrap().same_rules);
}

#[tokio::test]
async fn a_newer_layout_is_told_and_left_alone() {
    let (folder, _) = filled().await;
    let ledger = folder.path().join("ledger");
    let tables = Tables::open(&ledger, &Memory::of(0)).unwrap();
    tables.write_meta("format", &3_u32).unwrap();
    drop(tables);
    for _ in 0..2 {
        let refused = open_as(&folder, 1);
        assert!(matches!(refused, Err(Error::NewerVersion { found: 3, known: 2, .. })));
    }
}

#[tokio::test]
async fn a_journal_that_is_shorter_than_what_was_counted_is_corrupt() {
    let (folder, _) = filled().await;
    let segment = folder.path().join("journal/00000000000000000001.journal");
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() - 1]).unwrap();
    let Err(error) = open_as(&folder, 1) else { panic!("it was opened") };
    assert!(matches!(error, Error::Corrupt { .. }));
    assert!(error.to_string().contains("2 entries, and 3 have been counted"), "{error}");
}

#[tokio::test]
async fn what_happened_before_the_start_is_not_counted_as_happening_now() {
    let (folder, _) = filled().await;
    fs::remove_dir_all(folder.path().join("ledger")).unwrap();
    let ledger = open_as(&folder, 1).unwrap();
    assert_eq!(ledger.counters(), Counters::default());
    ledger.record(opt_in(0)).await.unwrap();
    ledger.ask(|_, _| Ok(())).await.unwrap();
    let counters = ledger.counters();
    assert_eq!((counters.entries, counters.events, counters.duplicates), (1, 1, 1));
}

#[tokio::test]
async fn a_ledger_whose_disk_fails_records_nothing_more_says_so_and_still_answers() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(Keys::from_bytes([1; 32]));
    let disk = Simulated::new(1);
    let open = || {
        let files = Arc::new(disk.clone());
        Embedded::open_on(folder.path(), Arc::clone(&keys), Limits::default(), files).unwrap()
    };
    let ledger = open();
    ledger.record(opt_in(0)).await.unwrap();
    let before = ledger.digest().await.unwrap();
    disk.break_down(&[(Op::Sync, std::io::ErrorKind::Other)]);
    assert!(matches!(ledger.record(opt_in(1)).await, Err(Error::Failed { .. })));
    disk.break_down(&[]);
    assert!(matches!(ledger.record(opt_in(2)).await, Err(Error::Failed { .. })));
    assert!(matches!(ledger.failed().await, Error::Failed { .. }));
    assert_eq!(ledger.digest().await.unwrap(), before);
    ledger.close().await.unwrap();
    drop(ledger);
    let ledger = open();
    // The cut worked, although the sync had not.
    assert_eq!(ledger.digest().await.unwrap(), before);
    assert_eq!(ledger.record(opt_in(3)).await.unwrap().position, 2);
}

#[tokio::test]
async fn entries_that_were_trimmed_are_left_out_of_every_list() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(Keys::from_bytes([1; 32]));
    // An entry a segment.
    let limits = Limits { segment_bytes: 1, ..Limits::default() };
    let channel = ChannelId::new("a").unwrap();
    let mut ledger = Embedded::open_with(folder.path(), Arc::clone(&keys), limits).unwrap();
    for n in 0..6 {
        let of_group = n % 2 == 1;
        let dead = Dead { path: "entry[0]".to_owned(), why: "it is of no kind".to_owned() };
        let batch = Batch {
            channel: of_group.then(|| channel.clone()),
            group: of_group.then(|| "g".to_owned()),
            dead: if of_group { vec![] } else { vec![dead] },
            ..opt_in(n)
        };
        ledger.record(batch).await.unwrap();
    }
    let before = ledger.digest().await.unwrap();
    ledger.kept.journal.trim(3).unwrap();
    for _ in 0..2 {
        let positions = |entries: Result<Vec<Entry>, Error>| {
            entries.unwrap().iter().map(|entry| entry.position).collect::<Vec<_>>()
        };
        assert_eq!(positions(ledger.entries(1, 9).await), [3, 4, 5, 6]);
        assert_eq!(positions(ledger.group(&channel, "g").await), [4, 6]);
        assert_eq!(positions(ledger.dead_letters(1, 9).await), [3, 5]);
        assert_eq!(ledger.digest().await.unwrap(), before);
        ledger.close().await.unwrap();
        drop(ledger);
        ledger = Embedded::open_with(folder.path(), Arc::clone(&keys), limits).unwrap();
    }
}
