//! The whole ledger in a folder as a state machine, against the simplest model.
//!
//! The journal is on a disk that fails, dies and loses power at any operation; the engine's folder
//! is left as it is, put back as it was at some moment before, or damaged. What holds, whatever
//! happens:
//! - An entry that had a receipt is there after every restart, at its position, until it is
//!   trimmed; and so is one that has been there after a restart.
//! - An entry that was refused is not there, unless it was refused for good ([`Error::Failed`]) or
//!   the process died before it answered: then those may be there that were told first, without a
//!   gap. The journal says how many, and from then on they count like those that had a receipt.
//! - What counts is what those entries say, each fact once: cells and answers are those of
//!   [`Model`] as long as nothing is older than a state is kept, those of [`MemoryLedger`] in any
//!   case; so are digest, groups, dead letters and counters.
//! - Tables that are missing, damaged or older than the journal are made again, at the second start
//!   at the latest; the folder opens after every restart, unless the disk refuses it just then.
//! - `verify` agrees.

mod images;
mod world;

use proptest::prelude::*;
use proptest::sample::Index;

use self::images::{Damage, any_damage};
use self::world::World;
use super::*;
use crate::journal::simulated::Fault;
use crate::suite::model::any_event;

/// How many cases each test has, if `TWOTICKS_FAULT_CASES` does not say so.
const CASES: u32 = 400;
/// How often a case that fails is made smaller: each try is some openings of the engine.
const SHRINKS_MAX: u32 = 400;

#[expect(clippy::disallowed_methods, reason = "how long a run is to be is said from outside")]
fn cases() -> u32 {
    std::env::var("TWOTICKS_FAULT_CASES").map_or(CASES, |cases| cases.parse().unwrap())
}

/// A batch.
#[derive(Clone, Debug)]
struct Told {
    events: Vec<Event>,
    /// How many days before the present it was accepted: entries do not come in order of that.
    days_ago: i64,
    is_of_group: bool,
    is_dead: bool,
    resolves: Option<Index>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Batches that are told at once, so that some share a write.
    Record(Vec<Told>),
    /// So many events that were told before, from one of them on, in batches of another size.
    Repeat {
        from: Index,
        events: usize,
        in_batches_of: usize,
        backwards: bool,
    },
    /// So many days pass.
    Later(i64),
    Flush(Flush),
    /// The engine's folder is remembered as it is.
    Remember,
    /// The engine fails, and has to be opened again.
    EngineFails(Told),
    /// The state is sealed, that of the last entry or an older one.
    Seal {
        flushed: bool,
    },
    /// What the retention does when something is due.
    Retain,
    /// The journal before a snapshot is removed.
    Trim(Index),
    /// After so many operations on the journal's disk one goes wrong.
    Fault(u32, Fault),
    End {
        how: How,
        power_cut: bool,
        tables: Left,
    },
}

/// Written a step a line, whatever somebody asks for: a case has hundreds of facts.
struct Steps(Vec<Step>);

impl std::fmt::Debug for Steps {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.0 {
            let line = format!("{step:?}");
            write!(out, "\n    {line}")?;
        }
        Ok(())
    }
}

/// How what is young gets into the tables.
#[derive(Clone, Copy, Debug)]
enum Flush {
    Done,
    /// It is asked while it is being committed.
    Asked,
    /// As after a failure that came when all was done.
    Twice,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Closed,
    Dropped,
    Killed,
}

/// What the next process finds of the tables.
#[derive(Clone, Debug)]
enum Left {
    /// What the last one left.
    All,
    /// What was there at a moment while it worked, and committed just then or not.
    AtSomeMoment {
        committing: bool,
    },
    /// What was remembered: the journal is newer.
    Old(Index),
    Damaged(Damage),
    Nothing,
}

fn told() -> impl Strategy<Value = Told> {
    let days_ago = prop_oneof![2 => Just(0), 1 => 1..60_i64];
    let is_rare = || prop::bool::weighted(0.2);
    let resolves = prop::option::weighted(0.2, any::<Index>());
    (prop::collection::vec(any_event(), 0..6), days_ago, is_rare(), is_rare(), resolves).prop_map(
        |(events, days_ago, is_of_group, is_dead, resolves)| Told {
            events,
            days_ago,
            is_of_group,
            is_dead,
            resolves,
        },
    )
}

fn record() -> impl Strategy<Value = Step> {
    prop::collection::vec(told(), 1..5).prop_map(Step::Record)
}

fn repeat() -> impl Strategy<Value = Step> {
    (any::<Index>(), 1..12_usize, 1..5_usize, any::<bool>()).prop_map(
        |(from, events, in_batches_of, backwards)| Step::Repeat {
            from,
            events,
            in_batches_of,
            backwards,
        },
    )
}

fn flush() -> impl Strategy<Value = Step> {
    prop::sample::select(&[Flush::Done, Flush::Asked, Flush::Twice]).prop_map(Step::Flush)
}

fn fault() -> impl Strategy<Value = Step> {
    let kinds = &[std::io::ErrorKind::Other, std::io::ErrorKind::StorageFull];
    let fault = prop_oneof![
        2 => prop::sample::select(kinds).prop_map(Fault::Fails),
        1 => Just(Fault::Dies),
    ];
    (0..8_u32, fault).prop_map(|(operations, fault)| Step::Fault(operations, fault))
}

fn end(left: impl Strategy<Value = Left>) -> impl Strategy<Value = Step> {
    let how = prop::sample::select(&[How::Closed, How::Dropped, How::Killed]);
    (how, any::<bool>(), left).prop_map(|(how, power_cut, tables)| Step::End {
        how,
        power_cut,
        tables,
    })
}

/// Every way the disk has to go wrong, and every moment to die.
fn crashing() -> impl Strategy<Value = Steps> {
    let left = prop_oneof![
        2 => Just(Left::All),
        3 => any::<bool>().prop_map(|committing| Left::AtSomeMoment { committing }),
        2 => any::<Index>().prop_map(Left::Old),
    ];
    let step = prop_oneof![
        10 => record(),
        3 => repeat(),
        4 => flush(),
        1 => Just(Step::Remember),
        1 => told().prop_map(Step::EngineFails),
        4 => fault(),
        2 => end(left),
    ];
    prop::collection::vec(step, 1..24).prop_map(Steps)
}

/// Months of entries whose journal expires, and tables that are lost and damaged.
fn ageing() -> impl Strategy<Value = Steps> {
    let left = prop_oneof![
        1 => Just(Left::All),
        1 => any::<bool>().prop_map(|committing| Left::AtSomeMoment { committing }),
        2 => any::<Index>().prop_map(Left::Old),
        3 => Just(Left::Nothing),
        4 => any_damage().prop_map(Left::Damaged),
    ];
    let days = prop::sample::select(&[1, 9, 16, 31, 40, 46, 50, 180_i64]);
    let step = prop_oneof![
        10 => record(),
        2 => repeat(),
        2 => flush(),
        1 => Just(Step::Remember),
        4 => days.prop_map(Step::Later),
        3 => prop::bool::weighted(0.7).prop_map(|flushed| Step::Seal { flushed }),
        2 => Just(Step::Retain),
        3 => any::<Index>().prop_map(Step::Trim),
        1 => fault(),
        3 => end(left),
    ];
    prop::collection::vec(step, 1..24).prop_map(Steps)
}

fn follow(seed: u64, segment_bytes: u64, steps: &Steps) {
    world::note(&format!("seed {seed}, segments of {segment_bytes} bytes: {steps:?}"));
    let mut world = World::new(seed, segment_bytes);
    for step in &steps.0 {
        world.step(step);
    }
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: SHRINKS_MAX,
        ..ProptestConfig::with_cases(cases())
    })]

    #[test]
    fn what_had_a_receipt_counts_once_whatever_crashes(
        seed in any::<u64>(),
        segment_bytes in prop::sample::select(&[1, 1_000, 100_000_u64]),
        steps in crashing(),
    ) {
        follow(seed, segment_bytes, &steps);
    }

    #[test]
    fn what_had_a_receipt_counts_once_however_old_and_damaged(
        seed in any::<u64>(),
        segment_bytes in prop::sample::select(&[1, 1_000, 100_000_u64]),
        steps in ageing(),
    ) {
        follow(seed, segment_bytes, &steps);
    }
}
