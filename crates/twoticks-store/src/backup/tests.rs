//! A backup gives back what was acknowledged when it was taken, or says which file is damaged.

use std::fs;
use std::sync::atomic::AtomicU64;

use tempfile::TempDir;

use super::restore::{KeyFrom, RestoreError, restore};
use super::take::{Request, Taken, is_fit, take};
use super::*;
use crate::embedded::Embedded;
use crate::embedded::tests::keeping::{Told, open, verified};
use crate::keys::Keys;
use crate::ledger::{Digest, Ledger};
use crate::memory::MemoryLedger;

/// Does something to a file.
type Harm = fn(&Path);

/// The key of [`Told`].
const BYTES: [u8; 32] = [1; 32];

fn request(to: &Path) -> Request {
    Request {
        to: to.to_owned(),
        beside: vec!["directory.json".to_owned(), "none.json".to_owned()],
        key: None,
        fresh: false,
        program: "twoticks".to_owned(),
    }
}

async fn back_up(ledger: &Embedded, request: Request) -> Result<Taken, Error> {
    take(ledger.kept().unwrap(), request, std::sync::Arc::default()).await
}

/// The key in a file; the folder goes away with the first.
fn key_file(bytes: [u8; 32]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a-key");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    (folder, path)
}

fn put_back(from: &Path, to: &Path) -> Result<Manifest, RestoreError> {
    let keys = std::sync::Arc::new(Keys::from_bytes(BYTES));
    restore(from, to, &KeyFrom::Backup(Some(keys)), &AtomicU64::new(0))
}

/// The digest of the first `until` entries that `ledger` was told.
async fn model(ledger: &Embedded, until: Position) -> Digest {
    let model = MemoryLedger::new();
    let mut next = 1;
    while next <= until {
        for entry in ledger.entries(next, 1_000).await.unwrap() {
            next = entry.position + 1;
            if entry.position <= until {
                model.record(entry.batch).await.unwrap();
            }
        }
    }
    model.digest().await.unwrap()
}

/// A told folder with a directory, and a backup of it.
async fn backed_up() -> (Told, TempDir, Taken) {
    let mut told = Told::trimmed().await;
    for _ in 0..2 {
        // Behind the newest snapshot.
        told.day().await;
    }
    fs::write(told.folder.path().join("directory.json"), "{}").unwrap();
    let backup = tempfile::tempdir().unwrap();
    let taken = back_up(told.ledger(), request(backup.path())).await.unwrap();
    (told, backup, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_has_what_was_acknowledged_while_it_was_recorded() {
    let mut told = Told::new();
    let backup = tempfile::tempdir().unwrap();
    for turn in 0..6_u32 {
        let kept = told.ledger().kept().unwrap();
        let fresh = turn % 2 == 1;
        let before = kept.journal.acknowledged();
        let taking =
            take(kept, Request { fresh, ..request(backup.path()) }, std::sync::Arc::default());
        let recording = async {
            for _ in 0..4 {
                told.day().await;
            }
        };
        let (taken, ()) = tokio::join!(taking, recording);
        let manifest = taken.unwrap().manifest;
        assert!(manifest.position >= before && manifest.snapshot <= manifest.position);
        let restored = tempfile::tempdir().unwrap();
        assert_eq!(put_back(backup.path(), restored.path()).unwrap(), manifest);
        let ledger = open(restored.path()).unwrap();
        let digest = ledger.digest().await.unwrap();
        assert_eq!(digest, model(told.ledger(), manifest.position).await, "turn {turn}");
        assert!(verified(&ledger).await.unwrap().equal);
    }
}

#[tokio::test]
async fn what_is_there_is_not_copied_again_and_what_is_not_needed_goes() {
    let (mut told, backup, first) = backed_up().await;
    assert!(first.copied.0 > 5);
    let names = |manifest: &Manifest| {
        let places = manifest.files.iter().map(|file| file.place(backup.path()));
        places.collect::<std::collections::BTreeSet<_>>()
    };
    let there = || {
        let mut found = std::collections::BTreeSet::new();
        let mut folders = vec![backup.path().join(FILES)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { assert!(found.insert(path)) }
            }
        }
        found
    };
    assert_eq!(there(), names(&first.manifest));
    let again = back_up(told.ledger(), request(backup.path())).await.unwrap();
    assert_eq!(again.manifest, first.manifest);
    assert_eq!(again.copied.0, 1, "the directory, which is read once");
    told.day().await;
    let more = back_up(told.ledger(), request(backup.path())).await.unwrap();
    assert!(more.copied.0 > 1 && more.copied.0 < first.copied.0, "{:?}", more.copied);
    for _ in 0..9 {
        told.day_and_round().await;
    }
    let later = back_up(told.ledger(), request(backup.path())).await.unwrap();
    assert_eq!(there(), names(&later.manifest));
    // One that is damaged in the backup is copied again.
    let file = later.manifest.files.iter().find(|file| file.path.starts_with("journal/")).unwrap();
    fs::write(file.place(backup.path()), "rubbish").unwrap();
    let mended = back_up(told.ledger(), request(backup.path())).await.unwrap();
    assert_eq!((mended.manifest, mended.copied.0), (later.manifest, 2));
}

#[tokio::test]
async fn a_backup_that_fails_leaves_the_one_before() {
    let (mut told, backup, first) = backed_up().await;
    told.day().await;
    // The manifest cannot be written.
    fs::create_dir(backup.path().join("manifest.json.new")).unwrap();
    assert!(back_up(told.ledger(), request(backup.path())).await.is_err());
    let restored = tempfile::tempdir().unwrap();
    assert_eq!(put_back(backup.path(), restored.path()).unwrap(), first.manifest);
    fs::remove_dir(backup.path().join("manifest.json.new")).unwrap();
    // A segment is damaged since it was opened: it is not copied over a whole one.
    let journal = told.folder.path().join("journal");
    let mut segments: Vec<_> =
        fs::read_dir(&journal).unwrap().map(|it| it.unwrap().path()).collect();
    segments.sort();
    let segment = &segments[segments.len() - 2];
    let mut bytes = fs::read(segment).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(segment, bytes).unwrap();
    let refused = back_up(told.ledger(), request(backup.path())).await;
    assert!(matches!(refused, Err(Error::Corrupt { place, .. }) if place == *segment));
    let restored = tempfile::tempdir().unwrap();
    assert_eq!(put_back(backup.path(), restored.path()).unwrap(), first.manifest);
}

#[tokio::test]
async fn a_damaged_backup_is_refused_with_the_file_named() {
    let (_told, backup, taken) = backed_up().await;
    let harms: [(&str, Harm); 4] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("emptied", |path| fs::write(path, "").unwrap()),
        ("longer", |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes.push(0);
            fs::write(path, bytes).unwrap();
        }),
        ("turned", |path| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
    ];
    let target = tempfile::tempdir().unwrap();
    let target = target.path().join("data");
    for file in &taken.manifest.files {
        let place = file.place(backup.path());
        let whole = fs::read(&place).unwrap();
        for (what, harm) in harms {
            harm(&place);
            match put_back(backup.path(), &target) {
                Err(RestoreError::Store(Error::Corrupt { place: named, .. })) => {
                    assert_eq!(named, place, "{what}");
                }
                other => panic!("{what} {}: {other:?}", file.path),
            }
            assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 0, "{what}");
            fs::write(&place, &whole).unwrap();
        }
    }
    let path = backup.path().join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    for (what, changed) in [
        ("no JSON", text.replacen("\n}\n", "\n", 1)),
        ("another number", text.replacen("\"position\": ", "\"position\": 1", 1)),
        ("a file less", text.replacen("directory.json", "directory.jsom", 1)),
        ("outside", text.replacen("directory.json", "../../y.json", 1)),
    ] {
        fs::write(&path, changed).unwrap();
        let refused = put_back(backup.path(), &target);
        assert!(
            matches!(&refused, Err(RestoreError::Store(Error::Corrupt { place, .. })) if *place == path),
            "{what}: {refused:?}"
        );
    }
    fs::write(&path, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
    let refused = put_back(backup.path(), &target);
    assert!(matches!(refused, Err(RestoreError::Store(Error::NewerVersion { found: 2, .. }))));
    fs::remove_file(&path).unwrap();
    assert!(matches!(put_back(backup.path(), &target), Err(RestoreError::None { .. })));
    assert!(!target.exists());
}

#[tokio::test]
async fn the_key_has_to_be_that_of_the_backup() {
    let (told, backup, _) = backed_up().await;
    let (_ours, ours) = key_file(BYTES);
    let (_other, other) = key_file([2; 32]);
    let target = tempfile::tempdir().unwrap();
    let restored = |name: &str, key: KeyFrom| {
        let to = target.path().join(name);
        restore(backup.path(), &to, &key, &AtomicU64::new(0)).map(|_| to)
    };
    let configured = |bytes| KeyFrom::Backup(Some(std::sync::Arc::new(Keys::from_bytes(bytes))));
    assert!(matches!(restored("a", KeyFrom::Backup(None)), Err(RestoreError::NoKey)));
    for key in [KeyFrom::File(other), configured([2; 32])] {
        assert!(matches!(restored("a", key), Err(RestoreError::OtherKey { .. })));
    }
    let none = KeyFrom::File(target.path().join("none"));
    assert!(matches!(restored("a", none), Err(RestoreError::Key(_))));
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0, "nothing is made");
    let to = restored("a", KeyFrom::File(ours.clone())).unwrap();
    assert_eq!(fs::read(to.join(KEY)).unwrap(), BYTES);
    assert!(matches!(restored("a", configured(BYTES)), Err(RestoreError::NotEmpty { .. })));
    assert!(!restored("b", configured(BYTES)).unwrap().join(KEY).exists());
    let with_key = Request { key: Some(ours), ..request(backup.path()) };
    assert!(back_up(told.ledger(), with_key).await.unwrap().manifest.has_key());
    let to = restored("c", KeyFrom::Backup(None)).unwrap();
    assert_eq!(fs::read(to.join(KEY)).unwrap(), BYTES);
    assert_eq!(fs::read_to_string(to.join("directory.json")).unwrap(), "{}");
    // Without asking for it again it is there no longer.
    let taken = back_up(told.ledger(), request(backup.path())).await.unwrap();
    assert!(!taken.manifest.has_key());
}

#[tokio::test]
async fn an_empty_ledger_can_be_backed_up_and_one_backup_at_a_time_is_made() {
    let told = Told::new();
    let backup = tempfile::tempdir().unwrap();
    assert!(is_fit(backup.path()).unwrap() && is_fit(&backup.path().join("none")).unwrap());
    assert!(!is_fit(told.folder.path()).unwrap());
    let to = backup.path().join("below/it");
    let taken = back_up(told.ledger(), request(&to)).await.unwrap();
    assert_eq!((taken.manifest.position, taken.manifest.latest), (0, None));
    let restored = tempfile::tempdir().unwrap();
    put_back(&to, restored.path()).unwrap();
    let digest = open(restored.path()).unwrap().digest().await.unwrap();
    assert_eq!(digest, told.ledger().digest().await.unwrap());
    let _locked = crate::lock::FolderLock::take(&to).unwrap();
    let refused = back_up(told.ledger(), request(&to)).await;
    assert!(matches!(refused, Err(Error::Locked { folder }) if folder == to));
}
