//! The rows `postgres` and `clickhouse`: events per second of ours and of a peer, fed the same
//! batches from memory, each acknowledged when it is on disk.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use super::feed::{Fact, Feed, Names, Spec};
use super::meter::Times;
use super::part::{self, Part};
use super::report::{Found, Taken};
use super::store::{self, Ours};
use super::{Bench, median};

/// With how many connections a peer is tried; its best counts.
const CONNECTIONS: [usize; 2] = [1, 4];

/// What a peer did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Peer {
    pub(super) connections: usize,
    pub(super) events: u64,
    pub(super) events_per_s: f64,
    pub(super) acknowledged: Times,
    /// The sum of its totals by number, for comparing.
    pub(super) counted: u64,
    /// How long it takes to ask for one template by day.
    pub(super) query: Times,
}

/// The row of PostgreSQL.
pub(super) fn postgres(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let Some(dsn) = bench.peers.postgres.clone() else {
            return Ok(Taken::Skipped("no --postgres was given".to_owned()));
        };
        let part = |spec, connections| Part::Postgres { spec, dsn: dsn.clone(), connections };
        against(bench, "postgres_ratio", "postgres", part).await
    }
    .boxed()
}

/// The row of ClickHouse.
pub(super) fn clickhouse(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let Some(url) = bench.peers.clickhouse.clone() else {
            return Ok(Taken::Skipped("no --clickhouse was given".to_owned()));
        };
        let part = |spec, connections| Part::ClickHouse { spec, url: url.clone(), connections };
        against(bench, "clickhouse_ratio", "clickhouse", part).await
    }
    .boxed()
}

async fn against(
    bench: &Bench,
    key: &'static str,
    row: &'static str,
    part: impl Fn(Spec, usize) -> Part,
) -> Result<Taken> {
    let spec = Spec { in_memory: true, ..Spec::mixed(bench.sizes.peer_events) };
    let mut ours = Vec::new();
    let mut theirs: Vec<Vec<Peer>> = vec![Vec::new(); CONNECTIONS.len()];
    for round in 1..=bench.sizes.rounds {
        bench.say(row, &format!("round {round}, ours"));
        let folder = bench.folder("store")?;
        let store = Part::Store { spec: spec.clone(), folder };
        ours.push(part::measure::<Ours>(&store).await?);
        for (connections, runs) in CONNECTIONS.into_iter().zip(&mut theirs) {
            bench.say(row, &format!("round {round}, {row} with {connections} connections"));
            runs.push(part::measure::<Peer>(&part(spec.clone(), connections)).await?);
        }
    }
    let mut counted: BTreeSet<u64> = theirs.iter().flatten().map(|it| it.counted).collect();
    counted.extend(ours.iter().map(|it| it.counted));
    ensure!(counted.len() == 1, "ours and {row} did not count the same: {counted:?}");
    let ours = median(ours, |it| it.events_per_s)?;
    let rate = |it: &Peer| it.events_per_s;
    let theirs: Vec<Peer> =
        theirs.into_iter().map(|runs| median(runs, rate)).collect::<Result<_>>()?;
    let best = theirs.iter().map(rate).fold(0.0, f64::max);
    let ratio = ours.events_per_s / best;
    let sides = json!({ "ours": ours, row: theirs });
    Ok(Taken::Found(vec![Found::new(key, ratio, sides)]))
}

/// Batches that several connections take from.
pub(super) type Queue = Arc<Mutex<std::vec::IntoIter<Vec<Fact>>>>;

/// All batches of `spec` in memory.
pub(super) fn batches(spec: &Spec) -> Result<(Arc<Names>, Vec<Vec<Fact>>)> {
    let names = Arc::new(Names::of(spec));
    let of = Arc::clone(&names);
    let feed = Feed::start(spec, move |batch| of.facts(batch).facts, None)?;
    let mut all = Vec::new();
    while let Some(pulse) = store::next(&feed) {
        all.extend(pulse.batches);
    }
    feed.end()?;
    Ok((names, all))
}

/// The next batch of a queue.
pub(super) fn next(queue: &Queue) -> Option<Vec<Fact>> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).next()
}

/// Has `connections` of what `work` makes of a queue take `batches`; how long each waited, and all
/// together.
pub(super) async fn drive<F>(
    batches: Vec<Vec<Fact>>,
    connections: usize,
    work: impl Fn(Queue) -> F,
) -> Result<(Times, Duration)>
where
    F: Future<Output = Result<Vec<Duration>>> + Send + 'static,
{
    let queue: Queue = Arc::new(Mutex::new(batches.into_iter()));
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..connections {
        tasks.spawn(work(Arc::clone(&queue)));
    }
    let mut waits = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        waits.extend(ended??);
    }
    Ok((Times::of(waits), begun.elapsed()))
}
