//! The ledger on its own: processor time and bytes written per event, against the limit.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;
use twoticks_emulator::stream;
use twoticks_store::embedded::{Bounds, Embedded};
use twoticks_store::error::Error;
use twoticks_store::keys::Keys;
use twoticks_store::ledger::{Batch, Kind, Ledger};

use super::feed::{Feed, Spec};
use super::limit::Limit;
use super::meter::{self, Memory, Times, Whose};
use super::part::{self, Part};
use super::report::{Found, Taken};
use super::{Bench, median};

/// How many batches are on their way to being acknowledged.
pub(super) const IN_FLIGHT: usize = 16;
/// How long a batch waits that was told that the ledger is busy.
const PAUSE: Duration = Duration::from_millis(5);

/// What the ledger did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Ours {
    pub(super) events: u64,
    pub(super) messages: u64,
    pub(super) cpu_us_per_event: f64,
    /// While there was something to take, the last commit included.
    pub(super) events_per_s: f64,
    pub(super) bytes_written_per_event: f64,
    pub(super) bytes_to_disk_per_event: f64,
    pub(super) journal_kept_per_event: f64,
    pub(super) ledger_kept_per_message: f64,
    pub(super) acknowledged: Times,
    pub(super) busy: u64,
    /// Events that said something new, for comparing.
    pub(super) counted: u64,
    pub(super) memory: Memory,
}

/// The row.
pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let life_like = Spec::mixed(bench.sizes.events);
        let (ours, limit, plain) = rounds(bench, &life_like).await?;
        let hostile = Spec { hostile: true, ..Spec::mixed(bench.sizes.hostile_events) };
        let (hostile_ours, hostile_limit, _) = rounds(bench, &hostile).await?;
        let sides = json!({ "ours": ours, "limit": limit, "limit_without_compression": plain });
        let hostile_sides = json!({ "ours": hostile_ours, "limit": hostile_limit });
        let ratio = |ours: &Ours, limit: &Limit| ours.cpu_us_per_event / limit.cpu_us_per_event;
        Ok(Taken::Found(vec![
            Found::new("store_cpu_ratio", ratio(&ours, &limit), sides.clone()),
            Found::new("store_bytes_per_event", ours.bytes_written_per_event, sides.clone()),
            Found::new(
                "store_hostile_cpu_ratio",
                ratio(&hostile_ours, &hostile_limit),
                hostile_sides.clone(),
            ),
            Found::new(
                "store_hostile_bytes_per_event",
                hostile_ours.bytes_written_per_event,
                hostile_sides,
            ),
            Found::new("disk_bytes_per_message", ours.ledger_kept_per_message, sides),
        ]))
    }
    .boxed()
}

/// All sides in turn, as often as asked for; of each the run with the median of its cost.
async fn rounds(bench: &Bench, spec: &Spec) -> Result<(Ours, Limit, Limit)> {
    let (mut ours, mut limits, mut plain) = (Vec::new(), Vec::new(), Vec::new());
    let name = if spec.hostile { "hostile" } else { "life-like" };
    for round in 1..=bench.sizes.rounds {
        let say = |side: &str| bench.say("store", &format!("{name}, round {round}, {side}"));
        say("ours");
        let part = Part::Store { spec: spec.clone(), folder: bench.folder("store")? };
        ours.push(part::measure::<Ours>(&part).await?);
        for (compress, into) in [(true, &mut limits), (false, &mut plain)] {
            say(if compress { "limit" } else { "limit without compression" });
            let folder = bench.folder("limit")?;
            let part = Part::Limit { spec: spec.clone(), compress, folder };
            into.push(part::measure::<Limit>(&part).await?);
        }
    }
    let counted = |limit: &Limit| ours.iter().all(|ours| ours.counted == limit.counted);
    ensure!(limits.iter().all(counted), "ours and the limit did not count the same");
    let cost = |it: &Limit| it.cpu_us_per_event;
    Ok((median(ours, |it| it.cpu_us_per_event)?, median(limits, cost)?, median(plain, cost)?))
}

/// Feeds the events of `spec` to a new ledger in `folder`, and closes it.
pub(super) async fn measure(spec: &Spec, folder: &Path) -> Result<Ours> {
    let (cpu, written) = (Whose::Own.cpu_seconds()?, Whose::Own.written_bytes()?);
    let ledger = Arc::new(open(folder, Bounds::default()).await?);
    let feed = Feed::start(spec, batch, Some(Batch::clone))?;
    let mut told = Told::default();
    while let Some(pulse) = next(&feed) {
        let spares = pulse_into(&ledger, pulse.batches, pulse.spares, &mut told).await?;
        feed.done(spares);
    }
    let begun = Instant::now();
    ledger.close().await.context("the ledger does not close")?;
    told.took += begun.elapsed();
    let (memory, counters) = (Whose::Own.memory()?, ledger.counters());
    let cpu = Whose::Own.cpu_seconds()? - cpu - feed.end()?;
    let now = Whose::Own.written_bytes()?;
    let events = told.events as f64;
    let kept = |part: &str| meter::kept_bytes(&folder.join(part)).map(|bytes| bytes as f64);
    Ok(Ours {
        events: told.events,
        messages: spec.messages,
        cpu_us_per_event: cpu * 1e6 / events,
        events_per_s: events / told.took.as_secs_f64(),
        bytes_written_per_event: (now.0 - written.0) as f64 / events,
        bytes_to_disk_per_event: (now.1 - written.1) as f64 / events,
        journal_kept_per_event: kept("journal")? / events,
        ledger_kept_per_message: kept("ledger")? / spec.messages as f64,
        acknowledged: Times::of(told.waits),
        busy: told.busy,
        counted: counters.events - counters.duplicates,
        memory,
    })
}

/// Opens a ledger under the key in its folder, or else one that is always the same.
pub(super) async fn open(folder: &Path, bounds: Bounds) -> Result<Embedded> {
    let folder = folder.to_owned();
    let opening = move || {
        let key = folder.join("key");
        let keys = match key.exists() {
            true => Keys::open(&key)?,
            false => Keys::from_bytes([1; 32]),
        };
        anyhow::Ok(Embedded::open_with(&folder, Arc::new(keys), bounds)?)
    };
    tokio::task::spawn_blocking(opening).await?
}

/// The next pulse, without holding up what else the runtime does.
pub(super) fn next<T: Send + 'static>(feed: &Feed<T>) -> Option<super::feed::Pulse<T>> {
    tokio::task::block_in_place(|| feed.next())
}

/// As the webhook door records it.
pub(super) fn batch(told: stream::Batch) -> Batch {
    let stream::Batch { accepted, events, body } = told;
    Batch {
        kind: Kind::Webhook,
        accepted,
        origin: "/webhooks/whatsapp".to_owned(),
        channel: None,
        group: None,
        events,
        dead: Vec::new(),
        resolves: None,
        body,
    }
}

/// What was told to a ledger, and how it went.
#[derive(Default)]
pub(super) struct Told {
    pub(super) events: u64,
    /// How long it took, without what waited for the feeder.
    pub(super) took: Duration,
    pub(super) waits: Vec<Duration>,
    pub(super) busy: u64,
}

type Queue = Mutex<std::iter::Enumerate<std::vec::IntoIter<Batch>>>;

/// The copies of a pulse, shared by all who record it.
struct Spares(Vec<Batch>);

/// Records `batches`, [`IN_FLIGHT`] at a time; gives the copies back.
pub(super) async fn pulse_into(
    ledger: &Arc<Embedded>,
    batches: Vec<Batch>,
    spares: Vec<Batch>,
    told: &mut Told,
) -> Result<Vec<Batch>> {
    let begun = Instant::now();
    told.events += batches.iter().map(|batch| batch.events.len() as u64).sum::<u64>();
    let spares = Arc::new(Spares(spares));
    let queue: Arc<Queue> = Arc::new(Mutex::new(batches.into_iter().enumerate()));
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        tasks.spawn(record_all(Arc::clone(ledger), Arc::clone(&queue), Arc::clone(&spares)));
    }
    while let Some(ended) = tasks.join_next().await {
        let (waits, busy) = ended??;
        told.waits.extend(waits);
        told.busy += busy;
    }
    told.took += begun.elapsed();
    Ok(Arc::into_inner(spares).map(|it| it.0).unwrap_or_default())
}

async fn record_all(
    ledger: Arc<Embedded>,
    queue: Arc<Queue>,
    spares: Arc<Spares>,
) -> Result<(Vec<Duration>, u64), Error> {
    let (mut waits, mut busy) = (Vec::new(), 0);
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((index, mut batch)) = next else { return Ok((waits, busy)) };
        let begun = Instant::now();
        loop {
            match ledger.record(batch).await {
                Ok(_) => break,
                Err(Error::Busy { .. }) => busy += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
            let Some(spare) = spares.0.get(index) else { return Ok((waits, busy)) };
            batch = spare.clone();
        }
        waits.push(begun.elapsed());
    }
}
