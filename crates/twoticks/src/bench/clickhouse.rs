//! ClickHouse as a user would use it (P2): an insert per batch, synced, and exact distinct counts
//! when asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

use super::feed::{Fact, Names, Spec};
use super::http::{Connection, authority};
use super::meter::Times;
use super::peers::{self, Peer, Queue};

/// How often the query is asked.
const QUERIES: usize = 20;

/// Keyed by what is counted, so that a query of one template reads few rows; rows that are told
/// again fall together when parts merge, and the counts are exact before that, too.
const TABLE: &str = "
create table bench_events (
    channel LowCardinality(String), number LowCardinality(String), code LowCardinality(String),
    language LowCardinality(String), atom Int32, id FixedString(16), what UInt8
) engine = ReplacingMergeTree partition by intDiv(atom, 2880)
order by (channel, code, language, atom, id, what)
settings fsync_after_insert = 1, fsync_part_directory = 1";

const NO_TABLE: &str = "drop table if exists bench_events sync";

const COUNTED: &str = "select uniqExact(id, what) from bench_events";

/// Makes the table and feeds it.
pub(super) async fn measure(spec: &Spec, url: &str, connections: usize) -> Result<Peer> {
    let at = authority(url)?;
    let (names, batches) = peers::batches(spec)?;
    let events = batches.iter().map(|batch| batch.len() as u64).sum();
    let mut one = Connection::open(at).await?;
    for statement in [NO_TABLE, TABLE] {
        send(&mut one, at, "", statement.to_owned().into_bytes()).await?;
    }
    let (waits, took) = peers::drive(batches, connections, |queue| {
        let (names, at) = (Arc::clone(&names), at.to_owned());
        async move { take(&at, &names, &queue).await }
    })
    .await?;
    // It closes a connection that nothing was sent on for some seconds.
    let mut one = Connection::open(at).await?;
    let counted = send(&mut one, at, "", COUNTED.as_bytes().to_vec()).await?;
    let query = ask(&mut one, at, &names).await?;
    send(&mut one, at, "", NO_TABLE.as_bytes().to_vec()).await?;
    Ok(Peer {
        connections,
        events,
        events_per_s: events as f64 / took.as_secs_f64(),
        acknowledged: waits,
        counted: String::from_utf8_lossy(&counted).trim().parse().context("no count came back")?,
        query,
    })
}

async fn send(connection: &mut Connection, at: &str, query: &str, body: Vec<u8>) -> Result<Bytes> {
    let request =
        Request::post(format!("/{query}")).header("host", at).body(Full::new(Bytes::from(body)))?;
    let (status, body) = connection.send(request).await?;
    if !status.is_success() {
        bail!("ClickHouse answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}

async fn take(at: &str, names: &Names, queue: &Queue) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(at).await?;
    let mut waits = Vec::new();
    while let Some(facts) = peers::next(queue) {
        let begun = Instant::now();
        let query = "?query=insert%20into%20bench_events%20format%20RowBinary";
        send(&mut connection, at, query, rows(names, &facts)).await?;
        waits.push(begun.elapsed());
    }
    Ok(waits)
}

/// The facts in `RowBinary`.
fn rows(names: &Names, facts: &[Fact]) -> Vec<u8> {
    let mut out = Vec::with_capacity(facts.len() * 80);
    for fact in facts {
        let (channel, number) = names.number(fact);
        let (code, language) =
            names.template(fact).map_or(("", ""), |(_, code, language)| (code, language));
        for text in [channel, number, code, language] {
            // None is longer than the first byte of a length can say.
            out.push(u8::try_from(text.len().min(127)).unwrap_or(127));
            out.extend(text.bytes().take(127));
        }
        out.extend_from_slice(&fact.atom().to_le_bytes());
        fact.id.iter().for_each(|half| out.extend_from_slice(&half.to_le_bytes()));
        out.push(fact.what);
    }
    out
}

async fn ask(connection: &mut Connection, at: &str, names: &Names) -> Result<Times> {
    let (channel, code, language) = names.templates.first().context("a stream has templates")?;
    let query = format!(
        "select intDiv(atom, 96) as day, uniqExactIf(id, what = 1), uniqExactIf(id, what = 2), \
         uniqExactIf(id, what = 3) from bench_events where channel = '{channel}' and \
         code = '{code}' and language = '{language}' group by day order by day"
    );
    let mut waits = Vec::new();
    for _ in 0..QUERIES {
        let begun = Instant::now();
        send(connection, at, "", query.clone().into_bytes()).await?;
        waits.push(begun.elapsed());
    }
    Ok(Times::of(waits))
}
