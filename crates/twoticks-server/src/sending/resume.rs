//! Going on with what waited when the process ended.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{error, info};
use twoticks_store::error::Error;
use twoticks_store::ledger::Kind;
use twoticks_store::outbox::Waiting;

use super::attempt::keep;
use super::{Group, Outcome, Sending, listing, tickets};
use crate::app::App;

/// Hands over what waits in the outbox. What was begun, and of which the journal does not know
/// what became, is marked so and not handed over again.
pub(crate) async fn resume(app: &Arc<App>) {
    for waiting in app.dispatcher.outbox().waiting() {
        let (channel, group) = (waiting.channel.clone(), waiting.group.clone());
        if let Err(why) = go_on(app, waiting).await {
            error!(
                error = &why as &dyn std::error::Error,
                channel.id = %channel,
                send.group = group,
                "sends that waited could not be gone on with; the next start tries again"
            );
        }
    }
}

async fn go_on(app: &Arc<App>, waits: Waiting) -> Result<(), Error> {
    let Waiting { channel, group, at, waiting, begun } = waits;
    let entries = app.ledger.group(&channel, &group).await?;
    let asked = entries.iter().find(|entry| entry.batch.kind == Kind::Send);
    let sending: Option<Sending> =
        asked.and_then(|entry| serde_json::from_slice(&entry.batch.body).ok());
    let Some(sending) = sending else {
        error!(send.group = group, "what was to be sent is not in the journal any more");
        let all = waiting.into_iter().chain(begun).collect();
        return app.dispatcher.outbox().end(&channel, &group, all).await;
    };
    let known: BTreeSet<u32> = entries
        .iter()
        .flat_map(|entry| listing::of(entry).into_iter().enumerate())
        .filter_map(|(index, told)| u32::try_from(listing::place(index, &told)?).ok())
        .collect();
    let ended: Vec<u32> =
        waiting.iter().chain(&begun).copied().filter(|place| known.contains(place)).collect();
    if !ended.is_empty() {
        app.dispatcher.outbox().end(&channel, &group, ended).await?;
    }
    let operation = sending.operation.clone();
    let of = Arc::new(Group { channel, name: group, operation, at });
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
