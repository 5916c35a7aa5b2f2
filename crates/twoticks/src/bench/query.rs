//! Questions to the grown ledger, while nothing happens and while it takes in what it can: one
//! template by days, one number by half hours.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
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
use twoticks_store::embedded::Embedded;
use twoticks_store::ledger::{Batch, Ledger as _};

use super::feed::{Feed, Spec};
use super::meter::Times;
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
/// How often is asked while nothing happens.
const IDLE_QUERIES: usize = 2_000;
/// The pause between two questions while it takes in.
const PAUSE: Duration = Duration::from_millis(2);

/// What asking came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) idle_template: Times,
    pub(super) idle_number: Times,
    pub(super) busy_template: Times,
    pub(super) busy_number: Times,
    pub(super) busy_queries: u64,
    /// What it took in meanwhile.
    pub(super) busy_events_per_s: f64,
}

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let grown = growth::grown(bench).await?;
        bench.say("query", &format!("of {} messages", grown.messages));
        let spec = Spec {
            seed: 43,
            in_memory: true,
            // The stream of the grown ledger has ended.
            start: Some(SystemClock.now()),
            ..Spec::mixed(bench.sizes.busy_events)
        };
        let folder = bench.folder.join(growth::FOLDER);
        let asked: Asked = part::measure(&Part::Query { spec, folder }).await?;
        let worse = |a: Times, b: Times| a.p99_ms.max(b.p99_ms);
        let sides = json!({ "messages": grown.messages, "ours": asked });
        let idle = worse(asked.idle_template, asked.idle_number);
        let busy = worse(asked.busy_template, asked.busy_number);
        Ok(Taken::Found(vec![
            Found::new("query_idle_p99_ms", idle, sides.clone()),
            Found::new("query_busy_p99_ms", busy, sides),
        ]))
    }
    .boxed()
}

/// Asks the ledger in `folder`, then feeds it `spec` and asks again.
pub(super) async fn measure(spec: &Spec, folder: &Path) -> Result<Asked> {
    let ledger = Arc::new(store::open(folder).await?);
    let (templates, numbers) = queries(&load::plan(1));
    let (idle_template, idle_number) = {
        let done = AtomicBool::new(false);
        let asked = ask(&ledger, &templates, &numbers, Duration::ZERO, &done).await?;
        ensure!(asked.points > 0, "nobody had anything to answer");
        (Times::of(asked.templates), Times::of(asked.numbers))
    };
    let feed = Feed::start(spec, store::batch, Some(Batch::clone))?;
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let (asking, over) = (Arc::clone(&ledger), Arc::clone(&done));
    tasks.spawn(async move { ask(&asking, &templates, &numbers, PAUSE, &over).await });
    let mut told = Told::default();
    while let Some(pulse) = store::next(&feed) {
        let spares = store::pulse_into(&ledger, pulse.batches, pulse.spares, &mut told).await?;
        feed.done(spares);
    }
    done.store(true, Ordering::Relaxed);
    let mut busy = Answered::default();
    while let Some(ended) = tasks.join_next().await {
        busy = ended??;
    }
    feed.end()?;
    ledger.close().await?;
    Ok(Asked {
        idle_template,
        idle_number,
        busy_queries: (busy.templates.len() + busy.numbers.len()) as u64,
        busy_template: Times::of(busy.templates),
        busy_number: Times::of(busy.numbers),
        busy_events_per_s: told.events as f64 / told.took.as_secs_f64(),
    })
}

/// What is asked: of templates by day, of numbers by half hour, up to the end of `plan`.
fn queries(plan: &Plan) -> (Vec<Query>, Vec<Query>) {
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
    (templates.collect(), numbers.collect())
}

/// How long answers took.
#[derive(Default)]
struct Answered {
    templates: Vec<Duration>,
    numbers: Vec<Duration>,
    points: usize,
}

/// Asks in turn; without a pause as often as [`IDLE_QUERIES`], else until `done`.
async fn ask(
    ledger: &Embedded,
    templates: &[Query],
    numbers: &[Query],
    pause: Duration,
    done: &AtomicBool,
) -> Result<Answered> {
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
        let is_enough = pause.is_zero() && answered.templates.len() * 2 >= IDLE_QUERIES;
        if is_enough || done.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(answered)
}
