//! A server on the grown ledger that is killed while it takes in what it can: how long it then
//! takes until it is ready again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::Request;
use serde_json::json;

use super::http::Connection;
use super::load::{self, Load};
use super::report::{Found, Taken};
use super::server::Server;
use super::{Bench, growth};

/// How many statuses a body has, and how many connections send.
const SIZE: usize = 100;
const CONNECTIONS: usize = 16;
/// How long it is loaded before it is killed.
const LOADED: Duration = Duration::from_secs(3);
/// How often it is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(5);

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let grown = growth::grown(bench).await?;
        let folder = bench.folder.join(growth::FOLDER);
        let count = bench.sizes.start_bodies;
        let load = Arc::new(tokio::task::block_in_place(|| load::make(count, SIZE)));
        let mut all = Vec::new();
        for round in 1..=bench.sizes.rounds {
            bench.say("start", &format!("round {round}, {} messages", grown.messages));
            let (server, in_order) = ready(&folder).await?;
            kill_under_load(server, &load).await?;
            let (server, after_kill) = ready(&folder).await?;
            server.kill().await?;
            all.push((in_order.as_secs_f64(), after_kill.as_secs_f64()));
        }
        let longest = all.iter().map(|(_, it)| *it).fold(0.0, f64::max);
        let sides = json!({
            "messages": grown.messages,
            "after_kill_s": all.iter().map(|(_, it)| *it).collect::<Vec<_>>(),
            // The first of them after it was closed in order, the others after the kill of an
            // idle one.
            "before_s": all.iter().map(|(it, _)| *it).collect::<Vec<_>>(),
        });
        Ok(Taken::Found(vec![Found::new("start_after_kill_s", longest, sides)]))
    }
    .boxed()
}

/// A server on `folder`, and how long it took until it said that it is ready at its door.
async fn ready(folder: &Path) -> Result<(Server, Duration)> {
    let begun = Instant::now();
    let server = Server::ours(folder).await?;
    let mut connection = Connection::open(&server.at).await?;
    loop {
        let request = Request::get("/health/ready")
            .header("host", &server.at)
            .body(Full::new(Bytes::new()))?;
        if connection.send(request).await?.0.is_success() {
            return Ok((server, begun.elapsed()));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn kill_under_load(server: Server, load: &Arc<Load>) -> Result<()> {
    let at = server.at.clone();
    let sending = load::send(&at, load, CONNECTIONS, None);
    // If everything was taken before it was over, it is killed with all of it just acknowledged.
    if let Ok(sent) = tokio::time::timeout(LOADED, sending).await {
        sent.context("it did not take the load")?;
    }
    server.kill().await
}
