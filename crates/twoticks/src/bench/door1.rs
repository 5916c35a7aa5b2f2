//! The door with bodies of one status over 256 connections: requests a second, against the lesser
//! of what the door and the disk can do; then half as many, arriving evenly, and how long they
//! wait.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::load::{self, Load, Loaded};
use super::meter::{self, Times};
use super::report::{Found, Taken};
use super::server::{self, Server};
use super::{Bench, median};

/// How many connections send.
pub(super) const CONNECTIONS: usize = 256;
/// What an acknowledgement may take beside three fsyncs, in milliseconds.
const WAIT_MS: f64 = 20.0;

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let count = bench.sizes.door1_bodies;
        bench.say("door1", &format!("making {count} bodies"));
        let load = Arc::new(tokio::task::block_in_place(|| load::make(count, 1)));
        let template = bench.set_up().await?;
        let (mut ours, mut handlers, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=bench.sizes.rounds {
            bench.say("door1", &format!("round {round}, ours"));
            let folder = bench.folder("door")?;
            server::copy(&template, &folder)?;
            ours.push(saturated(Server::ours(&folder).await?, &load, CONNECTIONS).await?);
            bench.say("door1", &format!("round {round}, limits"));
            let folder = bench.folder("limit")?;
            handlers.push(saturated(Server::handler(&folder).await?, &load, CONNECTIONS).await?);
            syncs.push(tokio::task::block_in_place(|| meter::fsync(&folder))?);
        }
        let rate = |it: &Loaded| it.requests_per_s;
        let (ours, handler) = (median(ours, rate)?, median(handlers, rate)?);
        let fsync = median(syncs.clone(), |it| it.p50_ms)?;
        let disk = CONNECTIONS as f64 * 1e3 / fsync.p50_ms;
        let ratio = ours.requests_per_s / handler.requests_per_s.min(disk);
        let sides = json!({
            "ours": ours, "handler": handler, "fsync": fsync, "disk_requests_per_s": disk,
        });
        let (evenly, fsync) = evenly(bench, &template, &load, ours.requests_per_s / 2.0).await?;
        let allowed = WAIT_MS + 3.0 * fsync.p99_ms;
        let waits = json!({ "ours": evenly, "fsync": fsync, "allowed_ms": allowed });
        Ok(Taken::Found(vec![
            Found::new("door1_rps_ratio", ratio, sides),
            Found::new("door1_p99_ratio", evenly.acknowledged.p99_ms / allowed, waits),
        ]))
    }
    .boxed()
}

/// Sends `load` as fast as it is taken, and ends the server.
pub(super) async fn saturated(
    server: Server,
    load: &Arc<Load>,
    connections: usize,
) -> Result<Loaded> {
    let loaded = load::send(&server.at, load, connections, None).await?;
    server.kill().await?;
    Ok(loaded)
}

/// As often as asked for; an fsync is measured right before each.
async fn evenly(
    bench: &Bench,
    template: &std::path::Path,
    load: &Arc<Load>,
    rate: f64,
) -> Result<(Loaded, Times)> {
    let mut runs = Vec::new();
    for round in 1..=bench.sizes.rounds {
        bench.say("door1", &format!("round {round}, {rate:.0} a second, evenly"));
        let folder = bench.folder("door")?;
        server::copy(template, &folder)?;
        let fsync = tokio::task::block_in_place(|| meter::fsync(&folder))?;
        let server = Server::ours(&folder).await?;
        let loaded = load::send(&server.at, load, CONNECTIONS, Some(rate)).await?;
        server.kill().await?;
        runs.push((loaded, fsync));
    }
    let middle = |it: &(Loaded, Times)| it.0.acknowledged.p99_ms / (WAIT_MS + 3.0 * it.1.p99_ms);
    median(runs, middle).context("there was no round")
}
