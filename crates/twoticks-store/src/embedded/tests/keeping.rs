//! The journal is kept for as long as is said, and the ledger is whole with what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use twoticks_core::clock::{DAY, ManualClock};
use twoticks_core::event::Status;
use twoticks_core::ids::Hash;

use super::*;
use crate::embedded::retention::round;
use crate::snapshot::reader::Snapshot;
use crate::snapshot::writer::Writer;
use crate::snapshot::{self, folder};
use crate::suite::told::{at, batch, message, send};
use crate::verify::{Verdict, verify};

/// Eight days are kept, so a snapshot is due every two.
const KEPT_DAYS: u32 = 8;
/// Small segments, so that there are some to remove, in bytes.
const SMALL: u64 = 700;
/// How many entries a day has.
const PER_DAY: i64 = 4;

/// A ledger whose days are told as fast as can be.
pub(crate) struct Told {
    pub(crate) folder: TempDir,
    pub(crate) ledger: Option<Embedded>,
    clock: Arc<ManualClock>,
    retention: Retention,
    day: i64,
    /// Where a segment is full.
    segment_bytes: u64,
}

impl Told {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(at(0)));
        let retention = Retention { journal_days: KEPT_DAYS, clock: Arc::clone(&clock) as Arc<_> };
        let mut told =
            Self { folder, ledger: None, clock, retention, day: 0, segment_bytes: SMALL };
        told.open();
        told
    }

    /// Twenty-one days, after which the journal does not begin at 1 any more.
    pub(crate) async fn trimmed() -> Self {
        let mut told = Self::new();
        for _ in 0..21 {
            told.day_and_round().await;
        }
        assert!(told.first() > 1);
        told
    }

    pub(crate) fn open(&mut self) {
        self.ledger = Some(open_sized(self.folder.path(), self.segment_bytes).unwrap());
    }

    pub(crate) fn ledger(&self) -> &Embedded {
        self.ledger.as_ref().unwrap()
    }

    fn first(&self) -> Position {
        self.ledger().kept.journal.first()
    }

    fn snapshots(&self) -> Vec<Position> {
        folder::positions(self.folder.path()).unwrap()
    }

    /// Entries of one more day: messages of that day, and something about those of days before.
    pub(crate) async fn day(&mut self) {
        self.day += 1;
        for n in 0..PER_DAY {
            let time = at(0).plus(self.day * DAY + n * DAY / PER_DAY);
            self.clock.set(time);
            self.ledger().record(told_at(time, self.day * PER_DAY + n)).await.unwrap();
        }
    }

    /// What the thread does when something is due.
    async fn round(&self) {
        self.ledger().kept.flush().await.unwrap();
        round(&self.ledger().kept, &self.retention).unwrap();
    }

    pub(crate) async fn day_and_round(&mut self) {
        self.day().await;
        self.round().await;
    }

    pub(crate) async fn close(&mut self) {
        self.ledger.take().unwrap().close().await.unwrap();
    }

    pub(crate) async fn verified(&self) -> Verdict {
        verified(self.ledger()).await.unwrap()
    }
}

pub(crate) async fn verified(ledger: &Embedded) -> Result<Verdict, Error> {
    let scratch = tempfile::tempdir().unwrap();
    verify(ledger, scratch.path(), Arc::new(|_, _| {})).await
}

/// Opens what was told in small segments.
pub(crate) fn open(folder: &Path) -> Result<Embedded, Error> {
    open_sized(folder, SMALL)
}

fn open_sized(folder: &Path, segment_bytes: u64) -> Result<Embedded, Error> {
    let limits = Limits { segment_bytes, ..Limits::default() };
    Embedded::open_with(folder, Arc::new(Keys::from_bytes([1; 32])), limits)
}

/// A message, and a status of one that was told a few entries before.
fn told_at(time: Time, n: i64) -> Batch {
    let of = |n: i64, status| {
        let hash = Hash(u128::try_from(n).unwrap().to_be_bytes());
        Event::Message(twoticks_core::event::MessageEvent {
            message: hash,
            time,
            ..message("a", 0, 0, status)
        })
    };
    let mut events = vec![of(n, Some(Status::Sent)), send("a", 1, 0)];
    if n > 9 {
        events.push(of(n - 9, Some(Status::Read)));
    }
    let dead = vec![Dead { path: String::new(), why: String::new() }];
    let (channel, group) = (ChannelId::new("a").unwrap(), format!("{}", n % 7));
    Batch {
        accepted: time,
        dead,
        channel: Some(channel),
        group: Some(group),
        body: vec![7; 30],
        ..batch(events)
    }
}

#[tokio::test]
async fn the_journal_is_kept_for_as_long_as_is_said_and_begins_at_a_snapshot() {
    let mut told = Told::new();
    let (kept, slack) = (i64::from(KEPT_DAYS), 3);
    for day in 1..40 {
        told.day_and_round().await;
        let snapshots = told.snapshots();
        // The first entry of the day `d` is at (d - 1) * PER_DAY + 1.
        let first_day = i64::try_from(told.first() - 1).unwrap() / PER_DAY + 1;
        if day <= kept {
            assert_eq!(told.first(), 1, "day {day}");
        } else {
            assert!(first_day <= day - kept + 1, "day {day}: {first_day}");
        }
        assert!(first_day >= day - kept - slack, "day {day}: {first_day}");
        assert!(snapshots.len() <= 6, "day {day}: {snapshots:?}");
        if told.first() > 1 {
            let oldest = *snapshots.first().unwrap();
            assert!(told.first() <= oldest + 1, "day {day}: {} {oldest}", told.first());
            let second = told.ledger().kept.journal.segments()[1];
            assert!(second.first > oldest + 1, "day {day}: what comes before is gone");
        }
        if day % 7 == 0 {
            let verdict = told.verified().await;
            assert!(verdict.equal, "day {day}: {verdict:?}");
            let from = if told.first() > 1 { *snapshots.first().unwrap() } else { 0 };
            assert_eq!(verdict.from, from, "day {day}");
        }
    }
}

#[tokio::test]
async fn what_is_no_longer_kept_is_not_listed() {
    let told = Told::trimmed().await;
    let (ledger, first) = (told.ledger(), told.first());
    let positions = |entries: Vec<Entry>| entries.iter().map(|it| it.position).collect::<Vec<_>>();
    let dead = positions(ledger.dead_letters(1, 1_000).await.unwrap());
    let until = ledger.kept.journal.acknowledged();
    assert_eq!(dead, (first..=until).collect::<Vec<_>>());
    let channel = ChannelId::new("a").unwrap();
    let group = positions(ledger.group(&channel, "3").await.unwrap());
    assert!(group.len() > 2 && group.iter().all(|position| *position >= first), "{group:?}");
    let entries = positions(ledger.entries(1, 1_000).await.unwrap());
    assert_eq!(entries, dead);
}

#[tokio::test]
async fn what_a_crash_leaves_between_two_steps_opens_and_goes_on() {
    let mut told = Told::trimmed().await;
    let before = told.ledger().digest().await.unwrap();
    told.close().await;
    let data = told.folder.path().to_owned();
    let segments = || {
        let mut names: Vec<_> =
            fs::read_dir(data.join("journal")).unwrap().map(|it| it.unwrap().path()).collect();
        names.sort();
        names
    };
    let oldest = folder::path(&data, told.snapshots()[0]);
    let second = folder::path(&data, told.snapshots()[1]);
    let partial = data.join("snapshots/00000000000000000999.partial");
    let steps: [(&str, &dyn Fn()); 6] = [
        ("a snapshot that is not whole", &|| fs::write(&partial, "half").unwrap()),
        ("tables that are not whole", &|| {
            copy(&data.join("ledger"), &data.join("ledger.new"));
            fs::remove_file(data.join("ledger.new/version")).unwrap();
        }),
        ("tables that are whole and have no name", &|| {
            fs::rename(data.join("ledger"), data.join("ledger.new")).unwrap();
        }),
        ("a snapshot removed, the journal before it not", &|| fs::remove_file(&oldest).unwrap()),
        ("a segment removed, another not", &|| fs::remove_file(&segments()[0]).unwrap()),
        ("the tables with that", &|| {
            assert!(second.exists());
            fs::remove_dir_all(data.join("ledger")).unwrap();
        }),
    ];
    for (what, step) in steps {
        step();
        told.open();
        assert_eq!(told.ledger().digest().await.unwrap(), before, "{what}");
        round(&told.ledger().kept, &told.retention).unwrap();
        let verdict = told.verified().await;
        assert!(verdict.equal && verdict.from > 0, "{what}: {verdict:?}");
        told.close().await;
    }
    folder::make(&data).unwrap();
    assert!(!partial.exists());
    assert!(!data.join("ledger.new").exists());
    for _ in 0..10 {
        told.open();
        told.day_and_round().await;
        told.close().await;
    }
    told.open();
    assert!(told.snapshots().len() <= 6 && told.verified().await.equal);
}

#[tokio::test]
async fn nothing_is_removed_while_somebody_reads_or_hangs_on_a_damaged_snapshot() {
    let mut told = Told::new();
    for _ in 0..9 {
        told.day_and_round().await;
    }
    let first = told.first();
    let hold = Arc::clone(&told.ledger().kept);
    let held = hold.hold();
    for _ in 0..4 {
        told.day_and_round().await;
    }
    assert_eq!(told.first(), first);
    drop(held);
    told.round().await;
    assert!(told.first() > first);
    // Damage in the middle, where only reading all of it finds it.
    let first = told.first();
    for position in told.snapshots() {
        let path = folder::path(told.folder.path(), position);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() - 60;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    for _ in 0..KEPT_DAYS {
        told.day_and_round().await;
    }
    assert_eq!(told.first(), first);
    // Those that are sealed since are whole, and one of them becomes old enough.
    for _ in 0..6 {
        told.day_and_round().await;
    }
    assert!(told.first() > first);
}

/// The parts that are there, and those that belong to a snapshot.
fn parts(data: &Path) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
    let files = fs::read_dir(data.join(folder::FOLDER)).unwrap().map(|it| it.unwrap().path());
    let there = files.filter(|path| path.extension().is_some_and(|it| it == "part")).collect();
    let positions = folder::positions(data).unwrap();
    let named = positions.iter().flat_map(|position| {
        let parts = Snapshot::parts(&folder::path(data, *position)).unwrap();
        parts.into_iter().map(|part| folder::part(data, &part))
    });
    (there, named.collect())
}

#[tokio::test]
async fn what_does_not_change_is_sealed_once_and_kept_as_long_as_a_snapshot_needs_it() {
    use std::os::unix::fs::MetadataExt as _;
    let mut told = Told::new();
    let data = told.folder.path().to_owned();
    let mut written = BTreeMap::<PathBuf, u64>::new();
    let (mut shared, mut swept, mut day) = (0, 0, 0);
    // What expires while a moment is read goes a span later.
    while day < 160 || swept <= 5 {
        day += 1;
        assert!(day < 320, "{swept} are gone after two hundred days in which states expire");
        told.day_and_round().await;
        if day % 40 == 20 {
            // As after a start: what was sealed is still known.
            told.close().await;
            told.open();
        }
        if told.snapshots().is_empty() {
            continue;
        }
        let (there, named) = parts(&data);
        assert_eq!(there, named, "day {day}");
        let now: BTreeMap<_, _> =
            there.iter().map(|part| (part.clone(), fs::metadata(part).unwrap().ino())).collect();
        for (part, file) in &written {
            match now.get(part) {
                Some(same) => assert_eq!(same, file, "day {day}: {} again", part.display()),
                None => swept += 1,
            }
        }
        shared += now.keys().filter(|part| written.contains_key(*part)).count();
        written = now;
    }
    assert!(shared > 500, "{shared}");
    assert!(told.verified().await.equal);
    // A ledger that is made again goes on with the parts that it was made of.
    told.close().await;
    fs::remove_dir_all(data.join("ledger")).unwrap();
    told.open();
    for _ in 0..3 {
        told.day_and_round().await;
    }
    let (now, named) = parts(&data);
    assert_eq!(now, named);
    let (before, since): (Vec<_>, Vec<_>) =
        now.iter().partition(|part| written.contains_key(*part));
    for part in &before {
        let file = fs::metadata(part).unwrap().ino();
        assert_eq!(written.get(*part), Some(&file), "{} again", part.display());
    }
    assert!(before.len() > 20 && since.len() <= 3, "{} {}", before.len(), since.len());
    assert!(told.verified().await.equal);
}

/// All that is in a part, which is whole.
fn rows(part: &Path) -> Vec<snapshot::Row> {
    Snapshot::open(part).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_part_that_is_damaged_or_missing_is_written_anew() {
    let mut told = Told::trimmed().await;
    let data = told.folder.path().to_owned();
    let newest = *told.snapshots().last().unwrap();
    let harms: [&dyn Fn(&Path); 3] = [
        &|part| fs::remove_file(part).unwrap(),
        &|part| {
            let mut bytes = fs::read(part).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(part, bytes).unwrap();
        },
        // Whole, but another's: a snapshot without anything.
        &|part| {
            let header = Snapshot::open(part).unwrap().header;
            Writer::create(part, &header).unwrap().finish(Vec::new()).unwrap();
        },
    ];
    for harm in harms {
        let (there, _) = parts(&data);
        let before: Vec<_> = there.iter().map(|part| rows(part)).collect();
        there.iter().for_each(|part| harm(part));
        for _ in 0..4 {
            told.day_and_round().await;
        }
        assert!(*told.snapshots().last().unwrap() > newest);
        let (now, named) = parts(&data);
        assert_eq!(now, named);
        let mended = there.iter().zip(before).filter(|(part, _)| now.contains(*part));
        let mended = mended.inspect(|(part, before)| assert!(rows(part) == *before));
        assert!(mended.count() > 1);
        assert!(told.verified().await.equal);
    }
}

#[tokio::test]
async fn snapshots_that_were_asked_for_are_thinned_out() {
    let mut told = Told::new();
    for _ in 0..20 {
        told.day().await;
        told.ledger().kept.flush().await.unwrap();
        told.ledger().kept.seal().unwrap();
        told.round().await;
    }
    assert!(told.snapshots().len() <= 6, "{:?}", told.snapshots());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_thread_goes_by_what_is_recorded() {
    let mut told = Told::new();
    told.ledger().retain(told.retention.clone()).unwrap();
    while told.first() == 1 {
        told.day().await;
        told.ledger().kept.flush().await.unwrap();
    }
    assert!(told.day > i64::from(KEPT_DAYS));
    assert!(told.verified().await.equal);
    told.close().await;
}

#[tokio::test]
async fn a_time_in_the_future_makes_nothing_older() {
    let told = Told::new();
    let kept = &told.ledger().kept;
    kept.ages.believe(Arc::clone(&told.clock) as Arc<_>);
    told.ledger().record(told_at(at(0).plus(900 * DAY), 1)).await.unwrap();
    assert_eq!(kept.ages.latest(), at(0));
    // And a clock that was wrong is forgotten when it is set right.
    told.clock.set(at(0).plus(900 * DAY));
    told.ledger().record(told_at(at(0).plus(900 * DAY), 2)).await.unwrap();
    told.clock.set(at(0).plus(DAY));
    told.ledger().record(told_at(at(0).plus(DAY), 3)).await.unwrap();
    told.clock.set(at(0).plus(2 * DAY));
    assert_eq!(kept.ages.latest(), at(0).plus(DAY));
}

#[tokio::test]
async fn a_journal_that_never_fills_a_segment_expires_as_well() {
    let mut told = Told::new();
    told.close().await;
    told.segment_bytes = Limits::default().segment_bytes;
    told.open();
    for _ in 0..30 {
        told.day_and_round().await;
    }
    let first_day = i64::try_from(told.first() - 1).unwrap() / PER_DAY + 1;
    assert!(first_day > 30 - i64::from(KEPT_DAYS) - 5, "{first_day}");
    assert!(told.verified().await.equal);
}
