//! The door with bodies of 100 statuses: processor time per status, from the socket to the disk,
//! against the limits of the door and of the store together.

use std::sync::Arc;

use anyhow::Result;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;

use super::feed::Spec;
use super::limit::Limit;
use super::load::{self, Load, Loaded};
use super::meter::Memory;
use super::part::{self, Part};
use super::report::{Found, Taken};
use super::server::{self, Server};
use super::{Bench, median};

/// How many statuses a body has.
const SIZE: usize = 100;
/// How many connections send.
const CONNECTIONS: usize = 16;

/// What a server did.
#[derive(Clone, Copy, Debug, Serialize)]
struct Side {
    cpu_us_per_status: f64,
    statuses_per_s: f64,
    #[serde(flatten)]
    loaded: Loaded,
    memory: Memory,
}

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let count = bench.sizes.door100_bodies;
        bench.say("door100", &format!("making {count} bodies"));
        let load = Arc::new(tokio::task::block_in_place(|| load::make(count, SIZE)));
        let template = bench.set_up().await?;
        let spec = Spec { sizes: (SIZE, SIZE), ..Spec::mixed(load.updates) };
        let (mut ours, mut handlers, mut limits) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=bench.sizes.rounds {
            bench.say("door100", &format!("round {round}, ours"));
            let folder = bench.folder("door")?;
            server::copy(&template, &folder)?;
            ours.push(measure(Server::ours(&folder).await?, &load).await?);
            bench.say("door100", &format!("round {round}, limits"));
            let folder = bench.folder("limit")?;
            handlers.push(measure(Server::handler(&folder).await?, &load).await?);
            let part = Part::Limit { spec: spec.clone(), compress: true, folder };
            limits.push(part::measure::<Limit>(&part).await?);
        }
        let ours = median(ours, |it| it.cpu_us_per_status)?;
        let handler = median(handlers, |it| it.cpu_us_per_status)?;
        let limit = median(limits, |it| it.cpu_us_per_event)?;
        let ratio = ours.cpu_us_per_status / (handler.cpu_us_per_status + limit.cpu_us_per_event);
        let sides = json!({ "ours": ours, "handler": handler, "limit": limit });
        Ok(Taken::Found(vec![Found::new("door100_cpu_ratio", ratio, sides)]))
    }
    .boxed()
}

async fn measure(server: Server, load: &Arc<Load>) -> Result<Side> {
    let cpu = server.cpu_seconds()?;
    let loaded = load::send(&server.at, load, CONNECTIONS, None).await?;
    let cpu = server.rest().await? - cpu;
    let memory = server.memory()?;
    server.kill().await?;
    Ok(Side {
        cpu_us_per_status: cpu * 1e6 / load.updates as f64,
        statuses_per_s: loaded.requests_per_s * SIZE as f64,
        loaded,
        memory,
    })
}
