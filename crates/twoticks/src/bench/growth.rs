//! How the cost of an event grows with the number of messages: one long run, and what it costs
//! early and late in it. The ledger that it leaves is what the rows after it ask, kill and verify.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use twoticks_server::settings::Settings;
use twoticks_store::embedded::retention::Retention;
use twoticks_store::embedded::{Bounds, Embedded};
use twoticks_store::ledger::{Batch, Ledger as _};

use super::feed::{Feed, Spec};
use super::meter::{self, Memory, Whose};
use super::part::{self, Part};
use super::report::{Found, Taken};
use super::store::{self, IN_FLIGHT, Told};
use super::{Bench, load, server};
use crate::clock::SystemClock;
use crate::output;

/// At how many messages it is early, and over how many events cost is looked at then.
const EARLY_MESSAGES: u64 = 1_000_000;
const WINDOW_EVENTS: u64 = 1_000_000;
/// It is late in the last of so many parts of the run: fifteen of its ninety days, in which state is
/// sealed once and what is fifteen days old expires once.
const LATE_PARTS: u64 = 6;
/// How many times progress is told and looked at.
const STEPS: u64 = 50;

/// What an event cost at some point of the run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) events: u64,
    pub(super) cpu_us_per_event: f64,
    pub(super) memory: Memory,
}

/// A ledger that has grown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Grown {
    pub(super) messages: u64,
    pub(super) events: u64,
    pub(super) events_per_s: f64,
    pub(super) cpu_us_per_event: f64,
    pub(super) early: Step,
    pub(super) late: Step,
    /// On the way.
    pub(super) steps: Vec<Step>,
    /// With what feeds it; the peak is that of the whole run.
    pub(super) memory: Memory,
    /// What feeds it, in a process of its own: what is on its way at any time grows with the rate.
    pub(super) feeder: Memory,
    pub(super) journal_kept_mb: u64,
    pub(super) ledger_kept_per_message: f64,
}

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let Some(messages) = bench.sizes.growth_messages else {
            return Ok(Taken::Skipped("it does not fit into --quick".to_owned()));
        };
        let grown = grow(bench, messages).await?;
        let ratio = grown.late.cpu_us_per_event / grown.early.cpu_us_per_event;
        let peak = grown.memory.peak_mb.saturating_sub(grown.feeder.peak_mb) as f64;
        let sides = json!({ "late": grown.late, "early": grown.early, "run": grown });
        Ok(Taken::Found(vec![
            Found::new("growth_cpu_ratio", ratio, sides.clone()),
            Found::new(
                "growth_memory_ratio",
                peak / f64::from(bench.sizes.growth_memory_mb),
                sides,
            ),
        ]))
    }
    .boxed()
}

/// The ledger that the rows after growth look at: that of growth, or one as the store row has it.
pub(super) async fn grown(bench: &mut Bench) -> Result<Grown> {
    if let Some(grown) = &bench.grown {
        return Ok(grown.clone());
    }
    let messages = Spec::mixed(bench.sizes.grown_events).messages;
    grow(bench, messages).await
}

async fn grow(bench: &mut Bench, messages: u64) -> Result<Grown> {
    bench.say("growth", &format!("a ledger of {messages} messages"));
    let folder = bench.folder(FOLDER)?;
    server::make(&folder)?;
    let plan = load::plan(messages);
    let spec = Spec { messages, pulse: IN_FLIGHT, start: Some(plan.start), ..Spec::mixed(1) };
    let feeder: Memory = part::measure(&Part::Feeder { spec: spec.clone() }).await?;
    let memory_mb = bench.sizes.growth_memory_mb;
    let part = Part::Growth { spec, folder: folder.clone(), memory_mb };
    let grown = Grown { feeder, ..part::measure(&part).await? };
    // Afterwards, so that what was accepted later is behind what was accepted before. Templates
    // are told by the messages.
    server::set_up(&folder, &plan, false).await?;
    bench.grown = Some(grown.clone());
    Ok(grown)
}

/// The name of its folder.
pub(super) const FOLDER: &str = "grown";

/// What memory making the events of `spec` takes, with nobody who keeps them.
pub(super) fn measure_feeder(spec: &Spec) -> Result<Memory> {
    let feed = Feed::start(spec, store::batch, Some(Batch::clone))?;
    while let Some(pulse) = feed.next() {
        feed.done(pulse.batches);
        feed.done(pulse.spares);
    }
    feed.end()?;
    Whose::Own.memory()
}

/// As a server opens its ledger: the journal expires while the run goes on, as after so many days.
async fn open(folder: &Path, memory_mb: u32) -> Result<Embedded> {
    let memory_bytes = usize::try_from(memory_mb)? << 20;
    let ledger = store::open(folder, Bounds { memory_bytes, ..Bounds::default() }).await?;
    let journal_days = Settings::default().retention.journal_days;
    ledger.retain(Retention { journal_days, clock: Arc::new(SystemClock) })?;
    Ok(ledger)
}

/// How much has been told, and what it has cost so far.
#[derive(Clone, Copy)]
struct Mark {
    events: u64,
    cpu_seconds: f64,
    memory: Memory,
}

/// Feeds a ledger that grows.
pub(super) async fn measure(spec: &Spec, folder: &Path, memory_mb: u32) -> Result<Grown> {
    let ledger = Arc::new(open(folder, memory_mb).await?);
    let begun = Whose::Own.cpu_seconds()?;
    let feed = Feed::start(spec, store::batch, Some(Batch::clone))?;
    let (mut told, mut marks) = (Told::default(), Vec::new());
    let expected = Spec::events_of(spec.messages);
    let mut next_step = 0;
    while let Some(pulse) = store::next(&feed) {
        let spares = store::pulse_into(&ledger, pulse.batches, pulse.spares, &mut told).await?;
        feed.done(spares);
        told.waits.clear();
        let cpu_seconds = Whose::Own.cpu_seconds()? - begun - feed.spent_seconds();
        let memory = Whose::Own.memory()?;
        marks.push(Mark { events: told.events, cpu_seconds, memory });
        if told.events >= next_step {
            next_step += expected.div_ceil(STEPS);
            let rate = told.events as f64 / told.took.as_secs_f64().max(0.001);
            let cost = step(&marks, told.events, expected.div_ceil(STEPS))?.cpu_us_per_event;
            output::note(&format!(
                "growth: {} events, {rate:.0} a second, {cost:.2} µs each lately, {} MB",
                told.events, memory.anonymous_mb
            ));
        }
    }
    let closing = Instant::now();
    ledger.close().await.context("the ledger does not close")?;
    told.took += closing.elapsed();
    let memory = Whose::Own.memory()?;
    // On the bill of the whole, not on that of the last events: what they put off is as much as
    // what those before them did.
    let cpu = Whose::Own.cpu_seconds()? - begun - feed.end()?;
    let early = told.events.min(Spec::events_of(EARLY_MESSAGES)).min(told.events.div_ceil(10));
    let at = |events: u64, window: u64| step(&marks, events, window);
    let tenth = told.events / 10;
    Ok(Grown {
        messages: spec.messages,
        events: told.events,
        events_per_s: told.events as f64 / told.took.as_secs_f64(),
        cpu_us_per_event: cpu * 1e6 / told.events as f64,
        early: at(early, WINDOW_EVENTS.min(told.events.div_ceil(20)))?,
        late: at(told.events, told.events / LATE_PARTS)?,
        steps: (1..=10).map(|number| at(tenth * number, tenth)).collect::<Result<_>>()?,
        memory,
        feeder: Memory::default(),
        journal_kept_mb: meter::kept_bytes(&folder.join("journal"))? >> 20,
        ledger_kept_per_message: meter::kept_bytes(&folder.join("ledger"))? as f64
            / spec.messages as f64,
    })
}

/// What an event cost among the last `window` before `events`.
fn step(marks: &[Mark], events: u64, window: u64) -> Result<Step> {
    let reaches = |events: u64| {
        let index = marks.partition_point(|mark| mark.events < events);
        marks.get(index).or(marks.last()).context("nothing was told")
    };
    let to = reaches(events)?;
    let none = Mark { events: 0, cpu_seconds: 0.0, memory: Memory::default() };
    let from = match events.saturating_sub(window) {
        0 => &none,
        from => reaches(from)?,
    };
    let span = to.events.saturating_sub(from.events).max(1) as f64;
    let cpu_us_per_event = (to.cpu_seconds - from.cpu_seconds) * 1e6 / span;
    Ok(Step { events: to.events, cpu_us_per_event, memory: to.memory })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_looks_at_the_last_events_before_it() {
        let mark =
            |events: u64, cpu_seconds| Mark { events, cpu_seconds, memory: Memory::default() };
        let marks = [mark(100, 1.0), mark(200, 3.0), mark(300, 7.0)];
        let cost = |events, window| {
            let step = step(&marks, events, window).unwrap();
            (step.events, (step.cpu_us_per_event / 1e6 * 100.0).round().to_string())
        };
        assert_eq!(cost(200, 100), (200, "2".to_owned()));
        assert_eq!(cost(100, 100), (100, "1".to_owned()));
        assert_eq!(cost(300, 100), (300, "4".to_owned()));
    }
}
