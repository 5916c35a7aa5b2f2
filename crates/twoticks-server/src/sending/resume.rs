//! Going on with what waited when the process ended.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use twoticks_store::error::Error;
use twoticks_store::ledger::Kind;
use twoticks_store::outbox::Waiting;

use super::attempt::keep;
use super::{Group, Outcome, listing, tickets};
use crate::app::App;

/// How long it waits before it tries again to go on with a group.
const PAUSE: Duration = Duration::from_secs(5);

/// Hands over what was `waiting` in the outbox. What was begun, and of which the journal does not
/// know what became, is marked so and not handed over again. A group that cannot be gone on with
/// is tried again until it can, or the server stops.
pub(crate) async fn resume(app: &Arc<App>, waiting: Vec<Waiting>, stop: &CancellationToken) {
    for group in waiting {
        while let Err(why) = go_on(app, &group).await {
            error!(
                error = &why as &dyn std::error::Error,
                channel.id = %group.channel,
                send.group = group.group,
                "sends that waited cannot be gone on with; it is tried again"
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

async fn go_on(app: &Arc<App>, waits: &Waiting) -> Result<(), Error> {
    let Waiting { channel, group, at, waiting, begun } = waits;
    let entries = app.ledger.group(channel, group).await?;
    if !entries.iter().any(|entry| entry.batch.kind == Kind::Send) {
        error!(send.group = group, "what was to be sent is not in the journal any more");
        let all = waiting.iter().chain(begun).copied().collect();
        return app.dispatcher.outbox().end(channel, group, all).await;
    }
    let Some(sending) = listing::asked(&entries) else {
        // Another version wrote it: it waits for that one.
        error!(send.group = group, "what was to be sent cannot be read; it waits");
        return Ok(());
    };
    let known: BTreeSet<u32> = entries
        .iter()
        .flat_map(|entry| listing::of(entry).into_iter().enumerate())
        .filter_map(|(index, told)| u32::try_from(listing::place(index, &told)?).ok())
        .collect();
    let ended: Vec<u32> =
        waiting.iter().chain(begun).copied().filter(|place| known.contains(place)).collect();
    if !ended.is_empty() {
        app.dispatcher.outbox().end(channel, group, ended).await?;
    }
    let operation = sending.operation.clone();
    let of = Arc::new(Group { channel: channel.clone(), name: group.clone(), operation, at: *at });
    let (mut unknown, mut again) = (0, Vec::new());
    for ticket in tickets(&of, sending.messages()) {
        if known.contains(&ticket.place) {
            continue;
        }
        if begun.contains(&ticket.place) {
            let outcome = Outcome::Unknown("the process ended while it was sent".to_owned());
            keep(app, &of, ticket.place, &ticket.message, &outcome).await?;
            unknown += 1;
        } else if waiting.contains(&ticket.place) {
            again.push(ticket);
        }
    }
    info!(
        send.group = of.name,
        send.waiting = again.len(),
        send.unknown = unknown,
        "going on with a send"
    );
    app.dispatcher.hand_over(app, again);
    Ok(())
}
