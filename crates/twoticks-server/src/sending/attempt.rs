//! One message, handed to the Graph API once: what is asked, and what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tracing::{error, warn};
use twoticks_core::clock::SECOND;
use twoticks_core::event::{ButtonKind, Category};
use twoticks_core::ids::Text;
use twoticks_store::directory::PROBLEMS_MAX;
use twoticks_store::directory::model::{Connection, Link, TemplateRecord};
use twoticks_store::directory::names::Secret;
use twoticks_store::error::Error;
use twoticks_wire::graph::error::{GraphError, Remedy};
use twoticks_wire::graph::message;
use twoticks_wire::graph::template::Definition;

use super::{Group, Outcome, Ticket};
use crate::app::App;
use crate::carrier::{Outgoing, Refused};
use crate::graph::{CallError, connect};
use crate::links::token::{SUFFIX_BYTES_MAX, Token};
use crate::links::wrap;

/// How many times what may work later is tried, at the most.
const TRIES_MAX: u32 = 12;
/// How many times a pair that is too fast is tried: the last time after 4^5 s.
const PAIR_TRIES_MAX: u32 = 5;
/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1_024);
/// How long what became of a message waits for a ledger that is busy: nobody tells it again.
const BUSY_PATIENCE: Duration = Duration::from_secs(600);

/// After which time what could not be written is tried again.
pub(super) const DISK_PAUSE: Duration = Duration::from_secs(1);

/// What came of an attempt.
pub(super) enum Landed {
    /// It has ended, and the journal knows how.
    Over,
    /// It waits again.
    Again { ticket: Ticket, after: Duration },
    /// It waits again, and the number has to slow down.
    Slower { ticket: Ticket },
    /// It waits again, and nothing of the channel goes until its connection was put right: until
    /// it has another token than this, if it is that.
    Halted { ticket: Ticket, token: Option<Secret> },
}

/// What a message is asked with.
struct Asked {
    token: Secret,
    path: String,
    body: Value,
}

/// Hands a message over. It is begun in the outbox already.
pub(super) async fn attempt(app: Arc<App>, mut ticket: Ticket) -> Landed {
    ticket.tries += 1;
    if is_expired(&app, &ticket) {
        let hours = app.settings.graph.waiting_hours;
        let why = format!("it has waited for more than {hours} hours (graph.waiting_hours)");
        return over(&app, ticket, Outcome::Refused(Refused::Rejected(why))).await;
    }
    let asked = match asked(&app, &ticket) {
        Ok(asked) => asked,
        Err(why) => {
            return over(&app, ticket, Outcome::Refused(Refused::Rejected(why))).await;
        }
    };
    let graph = match app.dispatcher.graph(&app) {
        Ok(graph) => graph,
        Err(error) => return again(&app, ticket, &error.to_string(), TRIES_MAX, 2).await,
    };
    let answer = graph.post(&asked.token, &asked.path, &[], Some(&asked.body)).await;
    match answer {
        Ok(answer) => {
            let outcome = match message::wamid(&answer) {
                Some(wamid) => Outcome::Taken(wamid.to_owned()),
                None if message::is_done(&answer) => Outcome::Done,
                None => Outcome::Unknown("the answer names no message".to_owned()),
            };
            over(&app, ticket, outcome).await
        }
        // It never left: as often as the time it may wait allows.
        Err(CallError::NotSent(why)) => again(&app, ticket, &why, u32::MAX, 2).await,
        Err(CallError::NoAnswer(why)) => over(&app, ticket, Outcome::Unknown(why)).await,
        Err(CallError::Refused { error, .. }) => {
            let refused = |ticket, error| async {
                over(&app, ticket, Outcome::Refused(Refused::Graph(error))).await
            };
            match error.remedy() {
                Remedy::Never => refused(ticket, error).await,
                Remedy::Later if ticket.tries >= TRIES_MAX => refused(ticket, error).await,
                Remedy::Later => again(&app, ticket, &error.to_string(), TRIES_MAX, 2).await,
                Remedy::SlowerPair if ticket.tries >= PAIR_TRIES_MAX => {
                    refused(ticket, error).await
                }
                Remedy::SlowerPair => {
                    again(&app, ticket, &error.to_string(), PAIR_TRIES_MAX, 4).await
                }
                Remedy::SlowerNumber => {
                    put_back(&app, &ticket).await;
                    Landed::Slower { ticket }
                }
                Remedy::Connection => {
                    put_back(&app, &ticket).await;
                    note_problem(&app, &ticket, &asked.token, &error).await;
                    let is_token = matches!(error.code, 0 | 190);
                    Landed::Halted { ticket, token: is_token.then_some(asked.token) }
                }
            }
        }
    }
}

/// Whether it has waited for so long that it is given up.
pub(super) fn is_expired(app: &App, ticket: &Ticket) -> bool {
    let waited = app.clock.now().0.saturating_sub(ticket.group.at.0);
    waited > i64::from(app.settings.graph.waiting_hours) * 3_600 * SECOND
}

/// Where to, with what, under whose token.
fn asked(app: &App, ticket: &Ticket) -> Result<Asked, String> {
    let outgoing = &ticket.message;
    let snapshot = app.directory.snapshot();
    let channel = snapshot.channel(&outgoing.channel);
    let connection = channel.and_then(|channel| channel.connection.as_ref());
    let connection = connection.ok_or("the channel is not connected any more")?;
    let number = snapshot.number(&outgoing.from);
    let number = number.filter(|number| number.channel == outgoing.channel);
    let number = number.ok_or("the channel does not have the number any more")?;
    let template = match &outgoing.template {
        None => None,
        Some(template) => {
            let known = snapshot.template(&outgoing.channel, &template.code, &template.language);
            let record = known.ok_or("the template is not there any more")?;
            Some(record)
        }
    };
    let definition = match template.and_then(|record| record.graph.as_ref()) {
        Some(graph) => {
            let read = Definition::parse(&graph.components);
            Some(read.map_err(|why| format!("what is known of the template: {why}"))?)
        }
        None => None,
    };
    let buttons = template.iter().flat_map(|record| record.buttons.iter().enumerate());
    let quick_replies = buttons.filter(|(_, button)| button.kind == ButtonKind::QuickReply);
    let quick_replies: Vec<usize> = quick_replies.map(|(index, _)| index).collect();
    let names: BTreeMap<&str, &str> = template
        .and_then(|record| record.graph.as_ref())
        .into_iter()
        .flat_map(|graph| graph.button_names.iter())
        .map(|(ours, theirs)| (ours.as_str(), theirs.as_str()))
        .collect();
    let values = template.zip(definition.as_ref());
    let values = values.map(|(record, definition)| link_values(app, ticket, record, definition));
    let links: Vec<message::Link<'_>> = values
        .iter()
        .flatten()
        .map(|(link, value)| message::Link {
            button: usize::from(link.button),
            takes_suffix: wrap::takes_suffix(link),
            value,
        })
        .collect();
    let message = message::Message {
        to: &outgoing.to,
        template: template.map(|record| message::Template {
            name: record.name.as_str(),
            language: record.language.as_str(),
            definition: definition.as_ref(),
            button_names: &names,
            named: record.graph.as_ref().is_some_and(|graph| graph.named),
            quick_replies: &quick_replies,
            links: &links,
        }),
        sign: outgoing.sign.as_deref(),
        parameters: &outgoing.parameters,
        call: &outgoing.call,
    };
    let body = message.body().map_err(|unfit| unfit.to_string())?;
    let is_marketing = template.is_some_and(|record| record.category == Category::Marketing);
    let edge = match connection.marketing_messages && is_marketing {
        true => "marketing_messages",
        false => "messages",
    };
    let path = format!("{}/{edge}", number.phone_number_id);
    Ok(Asked { token: connection.access_token.clone(), path, body })
}

/// The links of a template that lead over us, and what the variable of each takes.
fn link_values<'a>(
    app: &'a App,
    ticket: &'a Ticket,
    record: &'a TemplateRecord,
    definition: &Definition,
) -> Vec<(&'a Link, impl Fn(&str) -> Result<String, String> + use<'a>)> {
    let channel = &ticket.message.channel;
    let links = definition.buttons.iter();
    let links = links.filter_map(|button| wrap::link_of(&record.links, button));
    let made = links.map(|link| {
        let message = Some((ticket.group.name.as_str(), ticket.place));
        let token = Token::of(&app.keys, (channel, &ticket.message.from), link.id, message);
        let value = move |suffix: &str| match suffix.len() {
            0..=SUFFIX_BYTES_MAX => Ok(token.write(&app.keys, channel, suffix)),
            bytes => Err(format!("has {bytes} bytes, at most {SUFFIX_BYTES_MAX} do")),
        };
        (link, value)
    });
    made.collect()
}

/// It waits again, each time `base` times as long, unless it was tried `most` times.
async fn again(app: &Arc<App>, ticket: Ticket, why: &str, most: u32, base: u32) -> Landed {
    if ticket.tries >= most {
        let refused = Refused::Unavailable(why.to_owned());
        return over(app, ticket, Outcome::Refused(refused)).await;
    }
    put_back(app, &ticket).await;
    let first = Duration::from_millis(u64::from(app.settings.graph.retry_ms));
    let times = base.saturating_pow(ticket.tries.saturating_sub(1).min(10));
    Landed::Again { ticket, after: first.saturating_mul(times).min(PAUSE_MAX) }
}

pub(super) async fn put_back(app: &App, ticket: &Ticket) {
    let group = &ticket.group;
    let outbox = app.dispatcher.outbox();
    if let Err(why) = outbox.put_back(&group.channel, &group.name, vec![ticket.place]).await {
        // After a crash it would be taken for one whose outcome is not known: it is not sent twice.
        warn!(error = &why as &dyn std::error::Error, "a send that waits again is not noted");
    }
}

/// Writes down what became of it, in the journal and then in the outbox; then says so.
async fn over(app: &Arc<App>, ticket: Ticket, outcome: Outcome) -> Landed {
    let Ticket { group, place, message, tries: _, answer } = ticket;
    while let Err(why) = keep(app, &group, place, &message, &outcome).await {
        let passes =
            matches!(why, Error::Busy { .. } | Error::Full { .. } | Error::Unavailable { .. });
        error!(
            error = &why as &dyn std::error::Error,
            channel.id = %group.channel,
            "what became of a message is not kept yet"
        );
        if !passes {
            // The next start marks it as not known. Nobody is told what is not on disk.
            return Landed::Over;
        }
        tokio::time::sleep(DISK_PAUSE).await;
    }
    // Whoever has gone away does not wait for it.
    drop(answer.map(|answer| answer.send(outcome)));
    Landed::Over
}

/// What became of a message, in the journal and then in the outbox.
///
/// # Errors
/// What the ledger or the outbox says.
pub(super) async fn keep(
    app: &App,
    group: &Group,
    place: u32,
    message: &Outgoing,
    outcome: &Outcome,
) -> Result<(), Error> {
    let batch = group.told(app, [(place, message, outcome)]);
    app.insist(batch, BUSY_PATIENCE).await?;
    app.dispatcher.outbox().end(&group.channel, &group.name, vec![place]).await
}

/// Puts what is wrong with a connection where people look: into the channel.
async fn note_problem(app: &App, ticket: &Ticket, token: &Secret, error: &GraphError) {
    let problem = Text::lossy(&error.to_string());
    let now = app.clock.now();
    let note = |connection: &mut Connection| {
        let is_known = connection.told.contains(&problem);
        if !is_known && connection.told.len() < PROBLEMS_MAX {
            connection.told.push(problem.clone());
            connection.checked = Some(now);
        }
    };
    connect::change(app, &ticket.group.channel, token, note).await;
}
