//! From a validated send to the carrier and back, with a journal entry before and one behind.
//!
//! What is to be sent is durable before the carrier sees it; who got which wamid is durable before
//! the caller is answered. Once begun it runs to its end, whether or not the caller still waits.
//! A channel that is connected with WhatsApp has its messages wait in the outbox
//! ([`crate::sending`]); those of another are handed to the [`crate::carrier::Carrier`] at once.
//! There, if the second entry cannot be kept, the call fails although messages are out: their
//! statuses are still attributed by their sign, and nothing that was acknowledged is missing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::sync::oneshot;
use twoticks_core::clock::Time;
use twoticks_core::ids::{ChannelId, PhoneNumber, Template};
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::Kind;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::graph::error::Remedy;

use super::{Context, message};
use crate::api_error::ApiError;
use crate::app::App;
use crate::carrier::Refused;
use crate::sending::{self, Group, Outcome, Recipient, Sending};

/// How long the second entry waits for a ledger that is busy: the messages are out, and a caller
/// who is told to come again would send them a second time.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
/// How long a caller waits for what WhatsApp says of one message: an official SDK waits 3 s for
/// its answer (cams-wire.md 0). Afterwards the message goes on by itself, under our id.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The longest idempotency key, in bytes of visible ASCII.
const KEY_BYTES_MAX: usize = 128;

/// A send, validated.
pub(super) struct Asked {
    pub(super) operation: &'static str,
    pub(super) from: PhoneNumber,
    pub(super) template: Option<Template>,
    pub(super) recipients: Vec<Recipient>,
    /// What the call says of all recipients.
    pub(super) call: Arc<Map<String, Value>>,
    /// Whether the caller waits for what becomes of it, if that takes a moment.
    pub(super) waits: bool,
}

/// What became of it.
pub(super) struct Dispatched {
    /// Our id of the send, under which its recipients are listed.
    pub(super) group: String,
    /// For each recipient what became of it; `None` while it waits.
    pub(super) outcomes: Vec<Option<Outcome>>,
}

/// Records, sends, records. With an idempotency key only the first time: afterwards it says what
/// became of that, for as long as the journal has it.
///
/// # Errors
/// What the ledger or the outbox says; carrier refusals are in the outcomes.
pub(super) async fn dispatch(context: &Context<'_>, asked: Asked) -> Result<Dispatched, ApiError> {
    let (app, channel) = (Arc::clone(context.app), context.channel().clone());
    let (now, request_id) = (context.now, context.request_id.to_owned());
    let Some(key) = context.idempotency_key else {
        let name = uuid::Uuid::new_v4().simple().to_string();
        let work =
            async move { deliver(&app, channel, (name, false), now, request_id, asked).await };
        return context.app.tasks.complete(work).await?;
    };
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|it| it.is_ascii_graphic()) {
        return Err(Refusal::invalid("IdempotencyKey").into());
    }
    let of_call = format!("{}\n{key}", asked.operation);
    let hash = app.keys.hash(HashOf::Idempotency, &channel, of_call.as_bytes());
    let name: String = hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
    // The same call twice at the same moment: one of them is told to come again.
    let Some(alone) = app.dispatcher.begin(&channel, &name) else {
        return Err(Code::SystemLimitControl.into());
    };
    let entries = app.ledger.group(&channel, &name).await?;
    if entries.iter().any(|entry| entry.batch.kind == Kind::Send) {
        let outcomes = sending::outcomes(&entries);
        let is_open = outcomes.iter().all(Option::is_none);
        let sending = sending::asked(&entries).filter(|_| is_open && is_connected(&app, &channel));
        let Some(sending) = sending.filter(|_| !app.dispatcher.outbox().has(&channel, &name))
        else {
            return Ok(Dispatched { outcomes, group: name });
        };
        // It was asked for, and the outbox never had it: nobody was told that it was accepted.
        let operation = sending.operation.clone();
        let (group, waits) = (Group { channel, name, operation, at: now }, asked.waits);
        let work = async move {
            let done = wait_for_turn(&app, group, sending, waits, true).await;
            drop(alone);
            done
        };
        return context.app.tasks.complete(work).await?;
    }
    let work = async move {
        let done = deliver(&app, channel, (name, true), now, request_id, asked).await;
        // Also when the caller has gone away meanwhile.
        drop(alone);
        done
    };
    context.app.tasks.complete(work).await?
}

async fn deliver(
    app: &Arc<App>,
    channel: ChannelId,
    (name, is_known): (String, bool),
    now: Time,
    request_id: String,
    asked: Asked,
) -> Result<Dispatched, ApiError> {
    let Asked { operation, from, template, recipients, call, waits } = asked;
    let sign = template.as_ref().and_then(message::sign).and_then(|sign| sign.encode().ok());
    let is_connected = is_connected(app, &channel);
    let sending = Sending {
        operation: operation.to_owned(),
        request_id,
        channel: channel.clone(),
        from,
        template,
        sign,
        call,
        recipients,
    };
    let group = Group { channel, name, operation: operation.to_owned(), at: now };
    let wanted = serde_json::to_vec(&sending).map_err(|error| {
        // Texts and numbers make JSON.
        ApiError::caused(Code::InternalError, error)
    })?;
    app.ledger.record(group.entry(Kind::Send, now, wanted)).await?;
    if is_connected {
        wait_for_turn(app, group, sending, waits, is_known).await
    } else {
        hand_over(app, &group, sending).await
    }
}

fn is_connected(app: &App, channel: &ChannelId) -> bool {
    app.directory.snapshot().channel(channel).is_some_and(|it| it.connection.is_some())
}

/// Has the messages wait in the outbox; a caller who waits hears of the first what became of it.
async fn wait_for_turn(
    app: &Arc<App>,
    group: Group,
    sending: Sending,
    waits: bool,
    is_known: bool,
) -> Result<Dispatched, ApiError> {
    let (group, count) = (Arc::new(group), sending.recipients.len());
    let queued = app.dispatcher.outbox().queue(&group.channel, &group.name, count, group.at).await;
    if let Err(why) = queued {
        // With a key it can be asked for again; else it is over, and the listing says so.
        if !is_known {
            let refused = Outcome::Refused(Refused::Unavailable("it was not accepted".to_owned()));
            let messages = sending.messages();
            let over = (0..).zip(&messages).map(|(place, message)| (place, message, &refused));
            let over = group.told(app, over);
            // The caller is told either way.
            drop(app.ledger.record(over).await);
        }
        return Err(why.into());
    }
    let mut tickets = sending::tickets(&group, sending.messages());
    let answered = tickets.first_mut().filter(|_| waits).map(|first| {
        let (answer, answered) = oneshot::channel();
        first.answer = Some(answer);
        answered
    });
    app.dispatcher.hand_over(app, tickets);
    let mut outcomes = vec![None; count];
    if let Some(answered) = answered
        && let Ok(Ok(outcome)) = tokio::time::timeout(ANSWER_WITHIN, answered).await
        && let Some(first) = outcomes.first_mut()
    {
        *first = Some(outcome);
    }
    Ok(Dispatched { group: group.name.clone(), outcomes })
}

/// Hands the messages to the carrier, and keeps what it says.
async fn hand_over(
    app: &Arc<App>,
    group: &Group,
    sending: Sending,
) -> Result<Dispatched, ApiError> {
    let messages = sending.messages();
    let answers = app.carrier.send(&messages).await;
    if answers.len() != messages.len() {
        let cause = "the carrier did not answer for every message";
        return Err(ApiError::caused(Code::InternalError, cause));
    }
    let outcomes = answers.into_iter().map(|answer| match answer {
        Ok(wamid) => Outcome::Taken(wamid),
        Err(why) => Outcome::Refused(why),
    });
    let outcomes: Vec<Outcome> = outcomes.collect();
    let told = (0..).zip(messages.iter().zip(&outcomes));
    let answered =
        group.told(app, told.map(|(place, (message, outcome))| (place, message, outcome)));
    app.insist(answered, BUSY_PATIENCE).await?;
    Ok(Dispatched { group: group.name.clone(), outcomes: outcomes.into_iter().map(Some).collect() })
}

/// What the caller is told when a message was not taken.
///
/// Which code the original has for a message that WhatsApp refuses at once is not known; Meta's
/// own code and words are in the message.
pub(super) fn refused(why: Refused) -> ApiError {
    let code = match &why {
        Refused::Unavailable(_) => Code::ServiceUnavailable,
        Refused::Rejected(_) | Refused::NotConnected => Code::MessageInvalid,
        Refused::Graph(error) => match error.remedy() {
            Remedy::Never => Code::MessageInvalid,
            Remedy::SlowerNumber | Remedy::SlowerPair => Code::SystemLimitControl,
            Remedy::Later | Remedy::Connection => Code::ServiceUnavailable,
        },
    };
    match &why {
        Refused::Graph(error) => {
            let said = format!("{} ({})", code.message(), error.said());
            ApiError::caused(Refusal::from(code).saying(said), why)
        }
        Refused::NotConnected => {
            let said = format!("{} The channel is not connected with WhatsApp.", code.message());
            ApiError::caused(Refusal::from(code).saying(said), why)
        }
        Refused::Unavailable(_) | Refused::Rejected(_) => ApiError::caused(code, why),
    }
}
