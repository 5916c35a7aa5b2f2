//! Links of templates, opened: how long people wait until they are led on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{HOST, USER_AGENT};
use http_body_util::Full;
use hyper::{Request, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

use super::http::Connection;
use super::meter::Times;
use super::report::{Found, Taken};
use super::server::{self, Server};
use super::{Bench, load, median};

/// How many phones ask.
const CONNECTIONS: usize = 64;
/// How many links are opened in a second, evenly.
const PER_SECOND: f64 = 1_000.0;
/// A browser of people.
const BROWSER: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/130.0 Mobile";

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let template = bench.set_up().await?;
        let mut runs = Vec::new();
        for round in 1..=bench.sizes.rounds {
            bench.say("links", &format!("round {round}, {PER_SECOND:.0} a second, evenly"));
            let folder = bench.folder("links")?;
            server::copy(&template, &folder)?;
            runs.push(measure(&folder, bench.sizes.opened_links).await?);
        }
        let times = median(runs, |it| it.p99_ms)?;
        let sides = json!({ "ours": times, "opened": bench.sizes.opened_links });
        Ok(Taken::Found(vec![Found::new("link_p99_ms", times.p99_ms, sides)]))
    }
    .boxed()
}

async fn measure(folder: &Path, count: usize) -> Result<Times> {
    let token = server::link(folder, &load::plan(1)).await?;
    let server = Server::ours(folder).await?;
    let mut open = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        open.push(Connection::open(&server.at).await?);
    }
    let (next, target) = (Arc::new(AtomicUsize::new(0)), Arc::new(format!("/r/{token}")));
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in open {
        let (at, target) = (server.at.clone(), Arc::clone(&target));
        let next = Arc::clone(&next);
        tasks.spawn(async move { ask(connection, &at, &target, &next, count, begun).await });
    }
    let mut waits = Vec::with_capacity(count);
    while let Some(ended) = tasks.join_next().await {
        waits.extend(ended??);
    }
    server.rest().await?;
    let mut connection = Connection::open(&server.at).await?;
    let request = Request::get("/metrics").header(HOST, &server.at).body(Full::default())?;
    let (_, metrics) = connection.send(request).await?;
    let metrics = String::from_utf8_lossy(&metrics);
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse::<usize>().ok()).unwrap_or(0)
    };
    let (folded, people) =
        (value("twoticks_events_total"), value(r#"twoticks_links_total{outcome="person"}"#));
    ensure!(people == count && folded >= count, "of {count} clicks {folded} were counted");
    server.kill().await.context("it does not end")?;
    Ok(Times::of(waits))
}

/// Opens the link as long as it is due. What is asked later than it should waits from when it
/// should have been.
async fn ask(
    mut connection: Connection,
    at: &str,
    target: &str,
    next: &AtomicUsize,
    count: usize,
    begun: Instant,
) -> Result<Vec<Duration>> {
    let mut waits = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= count {
            return Ok(waits);
        }
        let due = begun + Duration::from_secs_f64(index as f64 / PER_SECOND);
        tokio::time::sleep_until(due.into()).await;
        let request = Request::get(target).header(HOST, at).header(USER_AGENT, BROWSER);
        let (status, _) = connection.send(request.body(Full::<Bytes>::default())?).await?;
        ensure!(status == StatusCode::FOUND, "a link was answered {status}");
        waits.push(due.elapsed());
    }
}
