//! The demo living on: what comes as it comes, in real time, for as long as the server runs.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::warn;
use twoticks_core::clock::Clock as _;
use twoticks_emulator::dice::{Dice, seed_of};
use twoticks_emulator::tenants::Tenants;

use super::story::as_they_come;
use super::tell::{self, Actor};
use crate::clock::SystemClock;
use crate::world::World;

/// How often something may be sent.
const EVERY: Duration = Duration::from_secs(20);

/// Sends what comes until the server stops.
pub(super) fn live_on(world: &World, address: SocketAddr, tenants: &Tenants, seed: u64) {
    let begun = SystemClock.now().0;
    let mut actors = tell::actors(tenants, address, &format!("live-{begun}"));
    let app = std::sync::Arc::clone(&world.app);
    world.app.tasks.spawn(|stop| async move {
        let mut dice = Dice::new(seed_of(seed, begun.unsigned_abs()));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
            let at = app.clock.now().0;
            for (business, actor) in actors.iter_mut().enumerate() {
                if let Err(error) = send(&mut dice, business, actor, at).await {
                    warn!("the demo could not send: {error:#}");
                }
            }
        }
    });
}

async fn send(
    dice: &mut Dice,
    business: usize,
    actor: &mut Actor<'_>,
    at: i64,
) -> anyhow::Result<()> {
    let length = i64::try_from(EVERY.as_millis()).unwrap_or(0);
    for template in 0..actor.business.templates.len() {
        let recipients = as_they_come(dice, business, template, at, length);
        if !recipients.is_empty() {
            actor.send(&[(template, &recipients)], SystemClock.now()).await?;
        }
    }
    Ok(())
}
