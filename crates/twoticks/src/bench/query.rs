//! Questions to the grown ledger, while nothing happens and while it takes in what it can: one
//! template by days, one number by half hours.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;
use twoticks_core::clock::Clock as _;
use twoticks_core::query::{Query, Select};
use twoticks_core::totals::Atom;
use twoticks_core::window::Window;
use twoticks_emulator::stream::{Cast, Plan};
use twoticks_store::embedded::{Bounds, Embedded};
use twoticks_store::ledger::{Batch, Ledger as _};

use super::feed::{Feed, Spec};
use super::meter::{Times, Whose};
use super::part::{self, Part};
use super::report::{Found, Taken};
use super::store::{self, Told};
use super::{Bench, growth, load};
use crate::clock::SystemClock;

/// How many atoms a half hour and a day have.
const HALF_HOUR: i32 = 2;
const DAY: i32 = 96;
/// The ranges that are asked for, in days.
const DAILY_DAYS: i32 = 90;
const HALF_HOUR_DAYS: i32 = 31;
/// How many templates and how many numbers are asked for in turn, those with most messages.
const SUBJECTS: usize = 10;
/// How often is asked while nothing happens, after what is asked first.
const IDLE_QUERIES: usize = 4_000;
/// How often is asked before that, so that what a start leaves to be done is done.
const FIRST_QUERIES: usize = 1_000;
/// Nothing happens if it has done next to nothing for so long.
const SETTLED_FOR: Duration = Duration::from_millis(500);
/// The pause between two questions while it takes in.
const PAUSE: Duration = Duration::from_millis(2);

/// What asking came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) idle: Latency,
    pub(super) busy: Latency,
    /// What it took in meanwhile.
    pub(super) busy_events_per_s: f64,
    /// While it took in half of that.
    pub(super) half: Latency,
}

/// How long answers took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) template: Times,
    pub(super) number: Times,
    pub(super) queries: u64,
}

impl Latency {
    fn p99_ms(self) -> f64 {
        self.template.p99_ms.max(self.number.p99_ms)
    }
}

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let grown = growth::grown(bench).await?;
        bench.say("query", &format!("of {} messages", grown.messages));
        let stream = Spec::mixed(bench.sizes.busy_events);
        // As dense as that of the grown ledger: one that had to expire in moments what was grown in
        // months would measure that.
        let days = u64::from(stream.plan().days) * stream.messages / grown.messages.max(1);
        let spec = Spec {
            seed: 43,
            in_memory: true,
            // The stream of the grown ledger has ended.
            start: Some(SystemClock.now()),
            days: Some(u32::try_from(days)?.max(1)),
            ..stream
        };
        let folder = bench.folder.join(growth::FOLDER);
        let asked: Asked = part::measure(&Part::Query { spec, folder }).await?;
        let sides = json!({ "messages": grown.messages, "ours": asked });
        Ok(Taken::Found(vec![
            Found::new("query_idle_p99_ms", asked.idle.p99_ms(), sides.clone()),
            Found::new("query_half_p99_ms", asked.half.p99_ms(), sides.clone()),
            Found::new("query_busy_p99_ms", asked.busy.p99_ms(), sides),
        ]))
    }
    .boxed()
}

/// Asks the ledger in `folder`, then while it takes in `spec` as fast as it can, then while it takes
/// in as much again evenly at half of that rate.
pub(super) async fn measure(spec: &Spec, folder: &Path) -> Result<Asked> {
    let ledger = Arc::new(store::open(folder, Bounds::default()).await?);
    let questions = Arc::new(Questions::of(&load::plan(1)));
    let never = AtomicBool::new(false);
    let first = ask(&ledger, &questions, (FIRST_QUERIES, Duration::ZERO), &never).await?;
    ensure!(first.points > 0, "nobody had anything to answer");
    settle().await?;
    let idle = ask(&ledger, &questions, (IDLE_QUERIES, Duration::ZERO), &never).await?;
    let feed = Feed::start(spec, store::batch, Some(Batch::clone))?;
    let asking = Asking::start(&ledger, &questions);
    let mut told = Told::default();
    while let Some(pulse) = store::next(&feed) {
        let spares = store::pulse_into(&ledger, pulse.batches, pulse.spares, &mut told).await?;
        feed.done(spares);
    }
    let busy = asking.end().await?;
    feed.end()?;
    let events_per_s = told.events as f64 / told.took.as_secs_f64();
    // Where the first stream ends.
    let next = Spec { seed: spec.seed + 1, start: Some(spec.plan().end()), ..spec.clone() };
    let feed = Feed::start(&next, store::batch, None)?;
    let asking = Asking::start(&ledger, &questions);
    while let Some(pulse) = store::next(&feed) {
        evenly(&ledger, pulse.batches, events_per_s / 2.0).await?;
        feed.done(pulse.spares);
    }
    let half = asking.end().await?;
    feed.end()?;
    ledger.close().await?;
    Ok(Asked {
        idle: idle.times(),
        busy: busy.times(),
        busy_events_per_s: events_per_s,
        half: half.times(),
    })
}

/// Waits until nothing is left to be done of what a start leaves: filters of what is in the tables
/// are made in the background.
async fn settle() -> Result<()> {
    let mut before = Whose::Own.cpu_seconds()?;
    loop {
        tokio::time::sleep(SETTLED_FOR).await;
        let now = Whose::Own.cpu_seconds()?;
        if now - before < SETTLED_FOR.as_secs_f64() / 20.0 {
            return Ok(());
        }
        before = now;
    }
}

/// Records `batches`, each when it is due at this rate, whether those before are acknowledged or not.
async fn evenly(ledger: &Arc<Embedded>, batches: Vec<Batch>, events_per_s: f64) -> Result<()> {
    let begun = tokio::time::Instant::now();
    let (mut events, mut tasks) = (0, JoinSet::new());
    for batch in batches {
        tokio::time::sleep_until(begun + Duration::from_secs_f64(events as f64 / events_per_s))
            .await;
        events += batch.events.len();
        let ledger = Arc::clone(ledger);
        tasks.spawn(async move { ledger.record(batch).await.map(drop) });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// What is asked: of templates by day, of numbers by half hour.
struct Questions {
    templates: Vec<Query>,
    numbers: Vec<Query>,
}

impl Questions {
    /// Up to the end of `plan`.
    fn of(plan: &Plan) -> Self {
        let cast = Cast::of(plan);
        let end = Atom::of(plan.end()).0;
        let windows = |days: i32, width: i32| -> Vec<Window> {
            (0..days * DAY / width)
                .map(|index| end - days * DAY + index * width)
                .map(|from| Window { from: Atom(from), to: Atom(from + width) })
                .collect()
        };
        let templates = cast.templates.iter().take(SUBJECTS).map(|it| Query {
            channel: it.channel.clone(),
            select: Select::Templates {
                code: Some(it.template.code.clone()),
                language: Some(it.template.language.clone()),
                category: None,
            },
            side: None,
            windows: windows(DAILY_DAYS, DAY),
        });
        let numbers = cast.numbers.iter().take(SUBJECTS).map(|it| Query {
            channel: it.channel.clone(),
            select: Select::Numbers { number: Some(it.phone_number.clone()), attribution: None },
            side: None,
            windows: windows(HALF_HOUR_DAYS, HALF_HOUR),
        });
        Self { templates: templates.collect(), numbers: numbers.collect() }
    }
}

/// How long answers took.
#[derive(Default)]
struct Answered {
    templates: Vec<Duration>,
    numbers: Vec<Duration>,
    points: usize,
}

impl Answered {
    fn times(self) -> Latency {
        let queries = self.templates.len() + self.numbers.len();
        let (template, number) = (Times::of(self.templates), Times::of(self.numbers));
        Latency { template, number, queries: queries as u64 }
    }
}

/// Somebody who asks until told to end.
struct Asking {
    is_over: Arc<AtomicBool>,
    task: JoinSet<Result<Answered>>,
}

impl Asking {
    fn start(ledger: &Arc<Embedded>, questions: &Arc<Questions>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (ledger, questions) = (Arc::clone(ledger), Arc::clone(questions));
        let (mut task, over) = (JoinSet::new(), Arc::clone(&is_over));
        task.spawn(async move { ask(&ledger, &questions, (usize::MAX, PAUSE), &over).await });
        Self { is_over, task }
    }

    async fn end(mut self) -> Result<Answered> {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.join_next().await.context("nobody asked")??
    }
}

/// Asks in turn, with pauses, at most so many questions or until it is over.
async fn ask(
    ledger: &Embedded,
    questions: &Questions,
    (most, pause): (usize, Duration),
    is_over: &AtomicBool,
) -> Result<Answered> {
    let Questions { templates, numbers } = questions;
    let mut answered = Answered::default();
    for (template, number) in templates.iter().cycle().zip(numbers.iter().cycle()) {
        for (query, into) in [(template, &mut answered.templates), (number, &mut answered.numbers)]
        {
            let begun = Instant::now();
            let points = ledger.series(query.clone()).await?;
            into.push(begun.elapsed());
            answered.points += points.len();
            tokio::time::sleep(pause).await;
        }
        if answered.templates.len() * 2 >= most || is_over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(answered)
}
