//! The door of a typical receiver (P3): `FastAPI` in front of PostgreSQL, sent the same webhooks.

use std::sync::Arc;

use anyhow::Result;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;

use super::door1::{CONNECTIONS, saturated};
use super::load::{self, Loaded};
use super::report::{Found, Taken};
use super::server::{self, Server};
use super::{Bench, median};

/// What a body has, how many connections send, and by how much fewer bodies there are than with
/// one status.
const SIZES: [(usize, usize, u64); 2] = [(1, CONNECTIONS, 1), (100, 16, 20)];

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let Some(python) = bench.peers.python.clone() else {
            return Ok(Taken::Skipped("no --python was given".to_owned()));
        };
        let Some(dsn) = bench.peers.postgres.clone() else {
            return Ok(Taken::Skipped("the receiver needs --postgres".to_owned()));
        };
        let template = bench.set_up().await?;
        let mut sides = Vec::new();
        for (size, connections, fewer) in SIZES {
            let count = bench.sizes.receiver_bodies.div_ceil(fewer);
            let load = Arc::new(tokio::task::block_in_place(|| load::make(count, size)));
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for round in 1..=bench.sizes.rounds {
                bench.say("receiver", &format!("bodies of {size}, round {round}, ours"));
                let folder = bench.folder("door")?;
                server::copy(&template, &folder)?;
                ours.push(saturated(Server::ours(&folder).await?, &load, connections).await?);
                bench.say("receiver", &format!("bodies of {size}, round {round}, receiver"));
                let folder = bench.folder("receiver")?;
                let server = Server::receiver(&python, &dsn, &folder).await?;
                theirs.push(saturated(server, &load, connections).await?);
            }
            let rate = |it: &Loaded| it.requests_per_s;
            sides.push((median(ours, rate)?, median(theirs, rate)?));
        }
        let ratios: Vec<f64> = sides
            .iter()
            .map(|(ours, theirs)| ours.requests_per_s / theirs.requests_per_s)
            .collect();
        let shown = |of: &(Loaded, Loaded)| json!({ "ours": of.0, "receiver": of.1 });
        let names = ["receiver_ratio", "receiver_100_ratio"];
        let found = names.into_iter().zip(ratios).zip(&sides);
        Ok(Taken::Found(found.map(|((key, it), of)| Found::new(key, it, shown(of))).collect()))
    }
    .boxed()
}
