//! Signed webhooks, made beforehand, and how they are sent: as fast as they are taken, or evenly.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use twoticks_core::clock::{Clock as _, DAY};
use twoticks_emulator::meta::signature;
use twoticks_emulator::stream::{Plan, bodies};

use super::http::Connection;
use super::meter::Times;
use super::server::SECRET;
use crate::clock::SystemClock;

/// How long a webhook waits that was told to come again: at first, and at most, which is what
/// `Retry-After` says. Each time twice as long as before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How many days a stream has, and those in which its last messages are read.
const DAYS: i64 = 90 + 13;

/// A webhook, ready to be sent.
pub(super) struct Shot {
    body: Bytes,
    signature: String,
}

/// Webhooks to be sent.
pub(super) struct Load {
    pub(super) shots: Vec<Shot>,
    /// How many updates they have together.
    pub(super) updates: u64,
}

/// The plan of a stream of `messages` that ended just now: nothing of it is in the future.
pub(super) fn plan(messages: u64) -> Plan {
    let start = SystemClock.now().plus(-DAYS * DAY);
    Plan { start, ..Plan::life_like(messages) }
}

/// The first `count` webhooks of `size` updates each of a stream. Blocks.
pub(super) fn make(count: u64, size: usize) -> Load {
    // More messages than are told of: the stream goes on where the webhooks end.
    let plan = plan((count * size as u64).div_ceil(2).max(1_000));
    let mut load = Load { shots: Vec::new(), updates: 0 };
    let take = usize::try_from(count).unwrap_or(usize::MAX);
    for body in bodies(7, &plan, (size, size)).take(take) {
        let signature = signature(SECRET.as_bytes(), &body.bytes);
        load.updates += body.updates as u64;
        load.shots.push(Shot { body: Bytes::from(body.bytes), signature });
    }
    load
}

/// How a server did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Loaded {
    pub(super) requests: u64,
    pub(super) requests_per_s: f64,
    /// Until it was taken, repeats included.
    pub(super) acknowledged: Times,
    /// How often a webhook was told to come again.
    pub(super) refused: u64,
}

/// Sends `load` to the server `at` over `connections`: at `rate` requests a second, arriving
/// evenly, or else as fast as they are taken. What arrives later than it should waits from when
/// it should have arrived.
pub(super) async fn send(
    at: &str,
    load: &Arc<Load>,
    connections: usize,
    rate: Option<f64>,
) -> Result<Loaded> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(at).await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let begun = Instant::now();
    for connection in open {
        let (at, load, next) = (at.to_owned(), Arc::clone(load), Arc::clone(&next));
        tasks.spawn(async move { shoot(connection, &at, &load, &next, rate, begun).await });
    }
    let (mut waits, mut refused) = (Vec::new(), 0);
    while let Some(ended) = tasks.join_next().await {
        let (waited, was_refused) = ended??;
        waits.extend(waited);
        refused += was_refused;
    }
    let requests = waits.len() as u64;
    let requests_per_s = requests as f64 / begun.elapsed().as_secs_f64();
    Ok(Loaded { requests, requests_per_s, acknowledged: Times::of(waits), refused })
}

async fn shoot(
    mut connection: Connection,
    at: &str,
    load: &Load,
    next: &AtomicUsize,
    rate: Option<f64>,
    begun: Instant,
) -> Result<(Vec<Duration>, u64)> {
    let (mut waits, mut refused) = (Vec::new(), 0);
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(shot) = load.shots.get(index) else { return Ok((waits, refused)) };
        let due = match rate {
            Some(rate) => begun + Duration::from_secs_f64(index as f64 / rate),
            None => Instant::now(),
        };
        tokio::time::sleep_until(due.into()).await;
        let mut pause = PAUSES.0;
        loop {
            let request = Request::post("/webhooks/whatsapp")
                .header(HOST, at)
                .header(CONTENT_TYPE, "application/json")
                .header("x-hub-signature-256", &shot.signature)
                .body(Full::new(shot.body.clone()))?;
            match connection.send(request).await?.0 {
                StatusCode::OK => break,
                StatusCode::SERVICE_UNAVAILABLE => refused += 1,
                other => bail!("a webhook was answered {other}"),
            }
            tokio::time::sleep(pause).await;
            pause = PAUSES.1.min(pause * 2);
        }
        waits.push(due.elapsed());
    }
}
