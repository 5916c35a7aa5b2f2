//! The ledger, what it has to be equal to, and what may be there as well.

use std::io::Write as _;
use std::sync::{Once, OnceLock};

use tokio::runtime::Runtime;
use twoticks_core::clock::{DAY, ManualClock};
use twoticks_core::message::{STATE_KEPT, TOMBSTONE_KEPT};
use twoticks_core::model::Model;
use twoticks_core::totals::{Atom, Totals};
use twoticks_core::window::Window;

use super::*;
use crate::embedded::retention::round;
use crate::memory::MemoryLedger;
use crate::scan::{Row, What};
use crate::snapshot::folder;
use crate::suite::told::{NOW, channel, questions};
use crate::verify::verify;

/// The channels of [`any_event`].
const CHANNELS: [&str; 3] = ["a", "a!", "aa"];
/// How many folders of the engine are remembered.
const REMEMBERED_MAX: usize = 3;
/// So many days of the journal are kept.
const JOURNAL_DAYS: u32 = 8;
const GROUP: &str = "g";

pub(super) struct World {
    home: TempDir,
    runtime: Runtime,
    disk: Simulated,
    limits: Limits,
    ledger: Option<Embedded>,
    /// All that had a receipt or was found, from position 1 on.
    list: Vec<Batch>,
    model: Model,
    memory: MemoryLedger,
    /// What it had counted when the ledger was opened.
    counted_before: Counters,
    /// What was refused for good since the start, in the order in which it was told.
    unknown: Vec<Batch>,
    now: Time,
    /// The acceptance times told: the earliest and the latest.
    accepted: Option<(Time, Time)>,
    /// How many faults are still to come.
    faults: usize,
    remembered: Vec<TempDir>,
    /// Counts what is asked: in many cases all of it.
    asked: usize,
}

/// The case under way, which is told if it ends the process.
static CASE: Mutex<String> = Mutex::new(String::new());

/// Notes which case begins. A thread of the ledger that panics takes the process with it, and what
/// the test would have said.
pub(super) fn note(case: &str) {
    static HOOK: Once = Once::new();
    case.clone_into(&mut CASE.lock().unwrap_or_else(PoisonError::into_inner));
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("twoticks-")) {
                let case = CASE.lock().unwrap_or_else(PoisonError::into_inner);
                // Past what the harness captures, which is lost with the process.
                drop(writeln!(std::io::stderr(), "{panic}\nin the case {case}"));
            }
        }));
    });
}

/// A folder in memory where the system has such: what a disk keeps is simulated anyway.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn is_for_now(error: &Error) -> bool {
    matches!(error, Error::Full { .. } | Error::Unavailable { .. })
}

fn at(position: Position) -> usize {
    usize::try_from(position).unwrap()
}

fn all_questions() -> &'static [Query] {
    static ALL: OnceLock<Vec<Query>> = OnceLock::new();
    ALL.get_or_init(|| CHANNELS.iter().flat_map(|of| questions(of)).collect())
}

impl World {
    pub(super) fn new(seed: u64, segment_bytes: u64) -> Self {
        let mut world = Self {
            home: in_memory(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            disk: Simulated::new(seed),
            // Room for a queue takes a while to be made.
            limits: Limits { segment_bytes, queue_records_max: 64, ..Limits::default() },
            ledger: None,
            list: vec![],
            model: Model::default(),
            memory: MemoryLedger::new(),
            counted_before: Counters::default(),
            unknown: vec![],
            now: NOW,
            accepted: None,
            faults: 0,
            remembered: vec![],
            asked: usize::try_from(seed % 1_000).unwrap(),
        };
        world.start(false);
        world
    }

    fn ledger(&self) -> &Embedded {
        self.ledger.as_ref().unwrap()
    }

    fn folder(&self) -> std::path::PathBuf {
        self.home.path().join("data")
    }

    fn tables(&self) -> std::path::PathBuf {
        self.folder().join("ledger")
    }

    /// What went wrong since this was asked last.
    fn met(&mut self) -> Vec<Op> {
        let met = self.disk.met();
        self.faults -= met.len();
        met
    }

    pub(super) fn step(&mut self, step: &Step) {
        match step {
            Step::Record(told) => {
                let batches = told.iter().map(|told| self.batch(told)).collect();
                self.record(batches);
            }
            Step::Repeat { from, events, in_batches_of, backwards } => {
                self.repeat((*from, *events), *in_batches_of, *backwards);
            }
            Step::Later(days) => self.now = self.now.plus(days * DAY),
            Step::Flush(how) => self.flush(*how),
            Step::Remember => self.remember(),
            // Only what is folded has it opened again.
            Step::EngineFails(told) if self.faults == 0 => {
                self.ledger().kept.shared.slot.shut();
                let batch = self.batch(told);
                self.record(vec![batch]);
            }
            Step::EngineFails(_) => {}
            Step::Seal { flushed } => {
                if *flushed {
                    self.runtime.block_on(self.ledger().kept.flush()).unwrap();
                }
                self.ledger().kept.seal().unwrap();
                // So that what is before it can be trimmed.
                self.ledger().kept.journal.begin_anew();
            }
            Step::Retain => self.retain(),
            Step::Trim(which) => self.trim(*which),
            Step::Fault(operations, fault) => {
                self.disk.plan(*operations, *fault);
                self.faults += 1;
            }
            Step::End { how, power_cut, tables } => self.end(*how, *power_cut, tables),
        }
    }

    /// Once more from what is on disk, and everything is looked at.
    pub(super) fn finish(&mut self) {
        self.end(How::Killed, true, &Left::All);
        self.ask_next(20);
        let scratch = in_memory();
        let verified = verify(self.ledger(), scratch.path(), Arc::new(|_, _| {}));
        let verdict = self.runtime.block_on(verified).unwrap();
        assert!(verdict.equal, "{verdict:?}");
    }

    fn batch(&self, told: &Told) -> Batch {
        let Told { events, days_ago, is_of_group, is_dead, resolves } = told;
        let dead = Dead { path: String::new(), why: "it is of no kind".to_owned() };
        // No event is more than a day after it.
        let accepted = self.now.plus(-days_ago * DAY).max(NOW.plus(-DAY));
        let position = resolves.map(|which| which.index(self.list.len() + 1) as u64 + 1);
        Batch {
            accepted,
            channel: is_of_group.then(|| channel(CHANNELS[0])),
            group: is_of_group.then(|| GROUP.to_owned()),
            dead: if *is_dead { vec![dead] } else { vec![] },
            resolves: position,
            body: vec![7; 20],
            ..crate::suite::told::batch(events.clone())
        }
    }

    /// Told at once. If nothing goes wrong, the first is written alone and all others share a
    /// write; else, whatever shares one.
    fn record(&mut self, batches: Vec<Batch>) {
        let gate = (self.faults == 0).then(|| self.disk.close_gate());
        let ledger = self.ledger.as_ref().unwrap();
        let answers: Vec<_> = self.runtime.block_on(async {
            let mut gate = gate;
            let mut waiting = Vec::new();
            for batch in &batches {
                let mut record = ledger.record(batch.clone());
                let answer = std::future::poll_fn(|context| {
                    std::task::Poll::Ready(record.as_mut().poll(context))
                });
                let answer = answer.await;
                if let Some((_, arrivals)) = gate.as_ref().filter(|_| waiting.is_empty()) {
                    arrivals.recv().unwrap();
                }
                waiting.push((record, answer));
            }
            drop(gate.take());
            let mut answers = Vec::new();
            for (record, answer) in waiting {
                answers.push(match answer {
                    std::task::Poll::Ready(answer) => answer,
                    std::task::Poll::Pending => record.await,
                });
            }
            answers
        });
        let met = self.met();
        let broke = met.iter().any(|op| matches!(op, Op::Sync | Op::SyncFolder | Op::Cut));
        for (batch, answer) in batches.into_iter().zip(answers) {
            match answer {
                Ok(Receipt { position }) => {
                    assert!(self.unknown.is_empty(), "{position} had a receipt after a failure");
                    self.know(batch);
                    assert_eq!(position, self.list.len() as u64);
                }
                Err(Error::Failed { .. }) => {
                    assert!(broke || self.disk.is_dead(), "failed for good by {met:?}");
                    self.unknown.push(batch);
                }
                Err(error) => {
                    assert!(!met.is_empty(), "refused without a fault: {error}");
                    assert!(is_for_now(&error), "{error}");
                }
            }
        }
        assert!(!self.unknown.is_empty() || !broke, "not failed for good by {met:?}");
        self.after_faults();
    }

    /// What failed for good, or died, starts again; else what was told is seen.
    fn after_faults(&mut self) {
        let kept = &self.ledger().kept;
        let failed = kept.journal.failed();
        let has_failed = self.runtime.block_on(async {
            let mut failed = std::pin::pin!(failed);
            std::future::poll_fn(|context| {
                std::task::Poll::Ready(failed.as_mut().poll(context).is_ready())
            })
            .await
        });
        if self.disk.is_dead() {
            self.end(How::Killed, self.disk.chance(), &Left::All);
        } else if has_failed {
            let again = self.runtime.block_on(self.ledger().record(opt_in(0)));
            assert!(matches!(again, Err(Error::Failed { .. })), "{again:?}");
            self.end(How::Dropped, self.disk.chance(), &Left::All);
        } else {
            self.ask_next(1);
        }
    }

    /// Takes in what is in the journal.
    fn know(&mut self, batch: Batch) {
        for event in &batch.events {
            assert!(self.model.record(batch.accepted, event));
        }
        let (earliest, latest) = self.accepted.unwrap_or((batch.accepted, batch.accepted));
        self.accepted = Some((earliest.min(batch.accepted), latest.max(batch.accepted)));
        self.runtime.block_on(self.memory.record(batch.clone())).unwrap();
        self.list.push(batch);
    }

    /// How far apart acceptance times are.
    fn reach(&self) -> i64 {
        self.accepted.map_or(0, |(earliest, latest)| latest.0 - earliest.0)
    }

    fn repeat(&mut self, (from, count): (Index, usize), in_batches_of: usize, backwards: bool) {
        let told: Vec<Event> = self.list.iter().flat_map(|it| it.events.clone()).collect();
        if told.is_empty() {
            return;
        }
        let from = from.index(told.len());
        let mut told: Vec<Event> = told.into_iter().skip(from).take(count).collect();
        if backwards {
            told.reverse();
        }
        let batches = told.chunks(in_batches_of).map(|events| Batch {
            accepted: self.now,
            ..crate::suite::told::batch(events.to_vec())
        });
        let batches = batches.collect();
        self.record(batches);
    }

    fn flush(&mut self, how: Flush) {
        if let Flush::Asked | Flush::Twice = how {
            self.order_flush();
            let asked = self.ledger().ask(|young, _| Ok(young.frozen.clone()));
            let frozen = self.runtime.block_on(asked).unwrap();
            self.ask_next(2);
            if let (Some(frozen), Flush::Twice) = (frozen, how) {
                self.runtime.block_on(self.ledger().kept.flush()).unwrap();
                self.ledger().kept.shared.commit(&frozen).unwrap();
            }
        }
        self.runtime.block_on(self.ledger().kept.flush()).unwrap();
        self.ask_next(1);
    }

    /// Has what is young committed, and does not wait for it.
    fn order_flush(&self) {
        let orders = self.ledger().kept.orders.lock().unwrap();
        drop(orders.as_ref().unwrap().send(Order::Flush));
    }

    /// As long as it is held nothing expires: a copy is no moment, and of what is dropped while it
    /// is made it would have one half.
    fn hold(&self) -> Option<Arc<()>> {
        let held = self.ledger().kept.shared.slot.with(|tables| Ok(tables.hold().2));
        held.ok()
    }

    fn remember(&mut self) {
        self.runtime.block_on(self.ledger().kept.flush()).unwrap();
        let image = in_memory();
        let _held = self.hold();
        images::copy(&self.tables(), image.path()).unwrap();
        if self.remembered.len() == REMEMBERED_MAX {
            self.remembered.remove(0);
        }
        self.remembered.push(image);
    }

    fn retain(&mut self) {
        let clock = Arc::new(ManualClock::new(self.now));
        let retention = Retention { journal_days: JOURNAL_DAYS, clock };
        let done = round(&self.ledger().kept, &retention).map(drop);
        self.trimmed(done);
    }

    fn trim(&mut self, which: Index) {
        let sealed = self.ledger().kept.usable().unwrap();
        if !sealed.is_empty() {
            let position = which.get(&sealed).header.position;
            let done = self.ledger().kept.journal.trim(position + 1).map(drop);
            self.trimmed(done);
        }
    }

    fn trimmed(&mut self, done: Result<(), Error>) {
        let met = self.met();
        if let Err(error) = done {
            assert!(!met.is_empty(), "not trimmed: {error}");
            assert!(is_for_now(&error) || matches!(error, Error::Failed { .. }), "{error}");
        }
        self.after_faults();
    }

    /// Ends the process and starts another.
    fn end(&mut self, how: How, power_cut: bool, left: &Left) {
        // Damage to tables that the engine sees only when it reads them ends a process that is
        // folding: here they are read first.
        let first_read = matches!(left, Left::Damaged(Damage { files: images::Files::Tables, .. }));
        if how == How::Closed || first_read {
            let closed = self.runtime.block_on(self.ledger().close());
            closed.unwrap();
        }
        let mut image = None;
        if let Left::AtSomeMoment { committing } = left
            && how != How::Closed
        {
            if *committing {
                self.order_flush();
            }
            let copied = tempfile::tempdir_in(self.home.path()).unwrap();
            let _held = self.hold();
            images::copy(&self.tables(), copied.path()).unwrap();
            image = Some(copied);
        }
        if how == How::Killed {
            self.disk.kill();
        }
        self.ledger = None;
        if let Left::Old(which) = left
            && !self.remembered.is_empty()
        {
            let copied = tempfile::tempdir_in(self.home.path()).unwrap();
            images::copy(which.get(&self.remembered).path(), copied.path()).unwrap();
            image = Some(copied);
        }
        if let Some(image) = image {
            fs::remove_dir_all(self.tables()).unwrap();
            fs::rename(image.keep(), self.tables()).unwrap();
        }
        match left {
            Left::Nothing => fs::remove_dir_all(self.tables()).unwrap(),
            Left::Damaged(damage) => images::damage(&self.tables(), damage).unwrap(),
            Left::All | Left::AtSomeMoment { .. } | Left::Old(_) => {}
        }
        self.disk.restart(power_cut);
        self.start(matches!(left, Left::Damaged(_)));
    }

    /// Opens the ledger, if need be after further restarts, and looks at what is there.
    fn start(&mut self, is_damaged: bool) {
        self.met();
        let mut may_say_so = is_damaged;
        loop {
            let keys = Arc::new(Keys::from_bytes([1; 32]));
            let files = Arc::new(self.disk.clone());
            match Embedded::open_on(&self.folder(), keys, self.limits, files) {
                Ok(opened) => {
                    let digest = if may_say_so {
                        self.runtime.block_on(opened.digest()).map(drop)
                    } else {
                        Ok(())
                    };
                    match digest {
                        Ok(()) => break self.ledger = Some(opened),
                        Err(error) => {
                            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
                            may_say_so = false;
                        }
                    }
                }
                Err(Error::Corrupt { .. }) if may_say_so => may_say_so = false,
                Err(error) => {
                    assert!(!self.met().is_empty(), "it does not open: {error}");
                    assert!(is_for_now(&error), "{error}");
                    self.disk.restart(self.disk.chance());
                }
            }
        }
        let known = self.list.len();
        let last = at(self.ledger().kept.journal.acknowledged());
        let unknown = std::mem::take(&mut self.unknown);
        let most = known + unknown.len();
        assert!(known <= last && last <= most, "{last} entries, not {known} to {most}");
        unknown.into_iter().take(last - known).for_each(|batch| self.know(batch));
        self.counted_before = self.memory.counters();
        self.look();
    }

    /// Whether what is there is what has to be there.
    fn look(&mut self) {
        let ledger = self.ledger();
        let first = ledger.kept.journal.first();
        let sealed = folder::positions(&self.folder()).unwrap();
        assert!(first == 1 || sealed.last().is_some_and(|sealed| first <= sealed + 1), "{first}");
        let entries = self.runtime.block_on(ledger.entries(1, usize::MAX)).unwrap();
        let told = self.list.iter().zip(1..).skip(at(first) - 1);
        let told = told.map(|(batch, position)| Entry { position, batch: batch.clone() });
        assert!(entries.into_iter().eq(told), "the entries from {first} on");
        self.ask_next(3);
        let (ledger, memory) = (self.ledger(), &self.memory);
        self.runtime.block_on(async {
            let of = channel(CHANNELS[0]);
            let kept = |entries: Vec<Entry>| {
                entries.into_iter().filter(|it| it.position >= first).collect::<Vec<_>>()
            };
            let group = kept(memory.group(&of, GROUP).await.unwrap());
            assert_eq!(ledger.group(&of, GROUP).await.unwrap(), group);
            let dead = kept(memory.dead_letters(1, usize::MAX).await.unwrap());
            assert_eq!(ledger.dead_letters(1, usize::MAX).await.unwrap(), dead);
            for of in CHANNELS.map(channel) {
                let found = ledger.channel(&of).await.unwrap();
                assert_eq!(found, memory.channel(&of).await.unwrap());
            }
        });
        self.look_at_all_rows();
    }

    /// Everything in the tables: what was forgotten there is still in memory.
    fn look_at_all_rows(&self) {
        let (ledger, memory) = (self.ledger(), &self.memory);
        self.runtime.block_on(async {
            let digest = ledger.digest().await.unwrap();
            let expected = memory.digest().await.unwrap();
            if self.reach() <= STATE_KEPT + TOMBSTONE_KEPT {
                assert_eq!(digest, expected);
            } else {
                assert_eq!(digest.position, expected.position);
            }
            let ever = What::Cells(Window { from: Atom(i32::MIN), to: Atom(i32::MAX) });
            let scan = Scan { what: ever, channels: None };
            let scanned = ledger.scan(scan.clone()).await.unwrap();
            let rows: Vec<Row> = scanned.pages.flat_map(Result::unwrap).collect();
            let scanned = memory.scan(scan).await.unwrap();
            let expected: Vec<Row> = scanned.pages.flat_map(Result::unwrap).collect();
            assert_eq!(rows, expected);
            if self.reach() <= STATE_KEPT {
                let cells = rows.into_iter().map(|row| match row {
                    Row::Cell(cell, totals) => (cell, totals),
                    Row::Message(..) => unreachable!("only cells were asked for"),
                });
                let cells: std::collections::BTreeMap<_, Totals> = cells.collect();
                assert_eq!(cells, self.model.cells());
            }
        });
    }

    /// Asks some of the questions: the next ones.
    fn ask_next(&mut self, questions: usize) {
        for _ in 0..questions {
            // Prime to their number, so that every question comes once in a while.
            self.asked += 37;
            self.ask(self.asked % all_questions().len());
        }
    }

    /// The answer to a question, and what was counted since the start.
    fn ask(&self, index: usize) {
        let query = &all_questions()[index];
        let (ledger, memory) = (self.ledger(), &self.memory);
        let (found, expected) = self.runtime.block_on(async {
            (ledger.series(query.clone()).await, memory.series(query.clone()).await.unwrap())
        });
        let found = found.unwrap();
        assert_eq!(found, expected, "{query:?}");
        if self.reach() <= STATE_KEPT {
            assert_eq!(found, self.model.points(query), "{query:?}");
        }
        // One about no time at all does not wait for the fold.
        if query.span().is_some() {
            let mut counted = self.counted_before;
            counted.add(ledger.counters());
            assert_eq!(counted, memory.counters());
        }
    }
}
