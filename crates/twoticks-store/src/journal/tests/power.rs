//! The journal on a disk that fails, dies and loses power at any operation, against a list.
//!
//! What holds, whatever happens:
//! - A record that was acknowledged is there after every restart, at its position, unchanged, until
//!   it is trimmed; and so is a record that has been there after a restart.
//! - A record that was refused is not there, unless it was refused for good
//!   ([`Error::Failed`]) or the process died before it answered: then those of one write may be
//!   there, the first of them without a gap.
//! - Only a sync, a cut or a death fails for good; then nothing is acknowledged until the restart.
//! - What a finished trim removed does not come back; a trim that did not finish has removed any
//!   number of the segments, from the oldest on.
//! - The journal opens after every restart, unless the disk refuses it at that moment.

use super::*;

/// How many cases, if `TWOTICKS_FAULT_CASES` does not say so.
const CASES: u32 = 3_000;

#[expect(clippy::disallowed_methods, reason = "how long a run is to be is said from outside")]
fn cases() -> u32 {
    std::env::var("TWOTICKS_FAULT_CASES").map_or(CASES, |cases| cases.parse().unwrap())
}

#[derive(Clone, Debug)]
enum Step {
    /// Records of these lengths, queued at once.
    Append(Vec<usize>),
    /// Everything before this part of what there is.
    Trim(prop::sample::Index),
    /// The process ends in order, or is killed, with or without power.
    End { killed: bool, power_cut: bool },
    /// After so many operations one goes wrong.
    Fault(u32, Fault),
}

fn step() -> impl Strategy<Value = Step> {
    let fault = prop_oneof![
        4 => prop::sample::select(&[BROKEN, NO_ROOM]).prop_map(Fault::Fails),
        1 => Just(Fault::Dies),
    ];
    prop_oneof![
        8 => prop::collection::vec(0..200_usize, 1..6).prop_map(Step::Append),
        2 => any::<prop::sample::Index>().prop_map(Step::Trim),
        2 => any::<[bool; 2]>()
            .prop_map(|[killed, power_cut]| Step::End { killed, power_cut }),
        6 => (0..8_u32, fault).prop_map(|(operations, fault)| Step::Fault(operations, fault)),
    ]
}

/// A journal, the list that it has to be equal to, and what may be there as well.
struct World {
    folder: tempfile::TempDir,
    limits: Limits,
    disk: Simulated,
    journal: Option<(Journal<u32>, Delivered)>,
    /// All that was ever acknowledged or found, from position 1 on.
    list: Vec<Vec<u8>>,
    /// What was refused for good since the start.
    unknown: Vec<Vec<u8>>,
    /// What has been delivered since the start.
    delivered: Vec<(Position, u32)>,
    /// The first position is at least the one and at most the other.
    first: (Position, Position),
    /// So that no two records are equal.
    made: u32,
}

impl World {
    fn new(seed: u64, segment_bytes: u64) -> Self {
        let mut world = Self {
            folder: in_memory(),
            limits: Limits { segment_bytes, queue_records_max: 8, ..Limits::default() },
            disk: Simulated::new(seed),
            journal: None,
            list: vec![],
            unknown: vec![],
            delivered: vec![],
            first: (1, 1),
            made: 0,
        };
        world.start();
        world
    }

    /// Opens the journal, if need be after further restarts, and looks at what is there.
    fn start(&mut self) {
        self.disk.met();
        loop {
            match open_on(self.folder.path(), self.limits, &self.disk) {
                Ok(opened) => break self.journal = Some(opened),
                Err(error) => {
                    assert!(!self.disk.met().is_empty(), "it does not open: {error}");
                    assert!(is_for_now(&error), "{error}");
                    self.disk.restart(self.disk.chance());
                }
            }
        }
        let (journal, _) = self.journal.as_ref().unwrap();
        let last = usize::try_from(journal.acknowledged()).unwrap();
        self.list.append(&mut self.unknown);
        assert!(last <= self.list.len(), "{last} records, of at most {}", self.list.len());
        self.list.truncate(last);
        self.delivered.clear();
        self.look(0);
    }

    /// Whether what is there from `from` on is what has to be there.
    fn look(&mut self, from: Position) {
        let (journal, delivered) = self.journal.as_ref().unwrap();
        assert_eq!(journal.acknowledged(), self.list.len() as u64);
        let first = journal.first();
        assert!(self.first.0 <= first && first <= self.first.1, "{first}: {:?}", self.first);
        self.first.0 = first;
        assert_eq!(journal.segments().first().map_or(first, |segment| segment.first), first);
        let read: Vec<_> = journal.read(from).collect::<Result<_, _>>().unwrap();
        let from = from.max(first);
        let expected = (1_u64..).zip(self.list.iter().cloned()).skip(at(from) - 1);
        assert!(read.iter().cloned().eq(expected), "from {from}: {read:?} of {:?}", self.list);
        assert_eq!(*delivered.lock().unwrap(), self.delivered);
    }

    /// Ends the process and starts another.
    fn restart(&mut self, killed: bool, power_cut: bool) {
        // What the last one did not acknowledge before it failed may be there: the fewest are those
        // that were acknowledged.
        let known = self.list.len();
        if killed {
            self.disk.kill();
        }
        self.journal = None;
        self.disk.restart(power_cut);
        self.start();
        assert!(self.list.len() >= known, "{} of {known} records are left", self.list.len());
    }

    fn append(&mut self, lengths: &[usize]) {
        let (journal, _) = self.journal.as_ref().unwrap();
        let made: Vec<_> = lengths
            .iter()
            .map(|length| {
                self.made += 1;
                let mut payload = self.made.to_le_bytes().to_vec();
                payload.resize(4 + length, self.made.to_le_bytes()[0]);
                (self.made, payload)
            })
            .collect();
        let answers = append_at_once(journal, made.clone());
        let met = self.disk.met();
        let broke = met.iter().any(|op| matches!(op, Op::Sync | Op::SyncFolder | Op::Cut));
        for ((note, payload), answer) in made.into_iter().zip(answers) {
            match answer {
                Ok(position) => {
                    assert!(self.unknown.is_empty(), "{position} was acknowledged after a failure");
                    self.list.push(payload);
                    assert_eq!(position, self.list.len() as u64);
                    self.delivered.push((position, note));
                }
                Err(Error::Failed { .. }) => {
                    assert!(broke || self.disk.is_dead(), "failed for good by {met:?}");
                    self.unknown.push(payload);
                }
                Err(error) => {
                    assert!(!met.is_empty(), "refused without a fault: {error}");
                    assert!(is_for_now(&error), "{error}");
                }
            }
        }
        let failed = !self.unknown.is_empty();
        assert!(failed || !broke, "not failed for good by {met:?}");
        // Those before are looked at after the next start.
        self.look((self.list.len() as u64).saturating_sub(8));
        self.after(failed);
    }

    fn trim(&mut self, before: Position) {
        let (journal, _) = self.journal.as_ref().unwrap();
        let old: Vec<_> = journal.segments().into_iter().collect();
        let last = old.last().map_or(1, |segment| segment.first);
        let kept = old.iter().rfind(|segment| segment.first <= before.min(last));
        let target = kept.map_or(1, |segment| segment.first).max(self.first.0);
        self.first.1 = self.first.1.max(target);
        let trimmed = journal.trim(before);
        let met = self.disk.met();
        let failed = matches!(trimmed, Err(Error::Failed { .. }));
        match trimmed {
            Ok(bytes) => {
                let removed = old.iter().filter(|segment| segment.first < target);
                assert_eq!(bytes, removed.map(|segment| segment.bytes).sum::<u64>());
                self.first = (target, target);
            }
            // What is removed and not synced may come back.
            Err(_) if failed || self.disk.is_dead() => {
                assert!(!met.is_empty());
                return self.restart(self.disk.is_dead(), self.disk.chance());
            }
            Err(error) => assert!(!met.is_empty(), "not trimmed: {error}"),
        }
        self.look(self.first.1);
    }

    /// After a failure for good nothing is taken any more, and everybody is told so.
    fn after(&mut self, failed: bool) {
        let (journal, _) = self.journal.as_ref().unwrap();
        let told = block_on(async { poll_once(&mut Box::pin(journal.failed())).await });
        assert_eq!(told.is_some(), failed);
        if failed {
            let again = block_on(journal.append(vec![0; 9], 0));
            assert!(matches!(again, Err(Error::Failed { .. })), "{again:?}");
            assert!(matches!(journal.trim(Position::MAX), Ok(0) | Err(Error::Failed { .. })));
        }
        if failed || self.disk.is_dead() {
            self.restart(self.disk.is_dead(), self.disk.chance());
        }
    }
}

/// A folder in memory where the system has such: what the disk keeps is simulated anyway.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn is_for_now(error: &Error) -> bool {
    matches!(error, Error::Full { .. } | Error::Unavailable { .. })
}

fn at(position: Position) -> usize {
    usize::try_from(position).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn what_was_acknowledged_is_there_whatever_the_disk_does(
        seed in any::<u64>(),
        segment_bytes in prop::sample::select(&[1, 300, 1_000, 10_000_u64]),
        steps in prop::collection::vec(step(), 1..30),
    ) {
        let mut world = World::new(seed, segment_bytes);
        for step in steps {
            match step {
                Step::Append(lengths) => world.append(&lengths),
                Step::Trim(part) => world.trim(part.index(world.list.len() + 2) as u64),
                Step::End { killed, power_cut } => world.restart(killed, power_cut),
                Step::Fault(operations, fault) => world.disk.plan(operations, fault),
            }
        }
        world.restart(true, true);
    }
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_written_again_at_the_start() {
    for seed in 1..40 {
        let mut world = World::new(seed, 10_000);
        world.append(&[90]);
        // It stays in the page cache, and no later sync would write it.
        world.disk.break_down(&[(Op::Sync, BROKEN), (Op::Cut, BROKEN)]);
        let (journal, _) = world.journal.as_ref().unwrap();
        let payload = vec![7; 200];
        block_on(journal.append(payload.clone(), 0)).unwrap_err();
        world.unknown.push(payload);
        world.disk.break_down(&[]);
        world.restart(false, false);
        assert_eq!(world.list.len(), 2);
        world.restart(true, true);
    }
}
