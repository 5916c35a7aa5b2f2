//! From a validated send to the carrier and back, with a journal entry before and one behind.
//!
//! What is to be sent is durable before the carrier sees it; who got which wamid is durable before
//! the caller is answered. Once begun it runs to its end, whether or not the caller still waits.
//! If the second entry cannot be kept, the call fails although messages are out: their statuses
//! are still attributed by their sign, and nothing that was acknowledged is missing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use twoticks_core::clock::Time;
use twoticks_core::event::{Claim, Event, MessageEvent, Source, Status};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template};
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::{Batch, Kind};
use twoticks_wire::code::Code;

use super::Context;
use super::message::{self, Recipient};
use crate::api_error::ApiError;
use crate::app::App;
use crate::carrier::{Outgoing, Refused};

/// How long the second entry waits for a ledger that is busy: the messages are out, and a caller
/// who is told to come again would send them a second time.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);

/// A send, validated.
pub(super) struct Sending {
    pub(super) operation: &'static str,
    pub(super) from: PhoneNumber,
    pub(super) template: Option<Template>,
    pub(super) recipients: Vec<Recipient>,
    /// What the call says of all recipients.
    pub(super) call: Arc<Map<String, Value>>,
}

/// What became of it.
pub(super) struct Dispatched {
    /// Our id of the send, under which its recipients are listed.
    pub(super) group: String,
    /// For each recipient its wamid, or why it was not taken.
    pub(super) answers: Vec<Result<String, Refused>>,
}

/// Records, sends, records.
///
/// # Errors
/// What the ledger says; carrier refusals are in the answers.
pub(super) async fn dispatch(
    context: &Context<'_>,
    sending: Sending,
) -> Result<Dispatched, ApiError> {
    let (app, channel) = (Arc::clone(context.app), context.channel.clone());
    let (now, request_id) = (context.now, context.request_id.to_owned());
    let work = async move { deliver(&app, channel, now, &request_id, sending).await };
    context.app.tasks.complete(work).await?
}

async fn deliver(
    app: &App,
    channel: ChannelId,
    now: Time,
    request_id: &str,
    sending: Sending,
) -> Result<Dispatched, ApiError> {
    let group = uuid::Uuid::new_v4().simple().to_string();
    let operation = sending.operation;
    let sign = sending.template.as_ref().and_then(message::sign);
    let sign = sign.and_then(|sign| sign.encode().ok());
    let batch = |kind: Kind, accepted: Time, events: Vec<Event>, body: &Value| Batch {
        kind,
        accepted,
        origin: operation.to_owned(),
        channel: Some(channel.clone()),
        group: Some(group.clone()),
        events,
        dead: Vec::new(),
        resolves: None,
        body: body.to_string().into_bytes(),
    };
    let wanted = wanted(&sending, &channel, request_id, sign.as_deref());
    app.ledger.record(batch(Kind::Send, now, Vec::new(), &wanted)).await?;

    let messages = outgoing(sending, &channel, sign.as_ref());
    let answers = app.carrier.send(&messages).await;
    if answers.len() != messages.len() {
        let cause = "the carrier did not answer for every message";
        return Err(ApiError::caused(Code::InternalError, cause));
    }

    let time = app.clock.now();
    let told = |(message, answer): (&Outgoing, &Result<String, Refused>)| match answer {
        Ok(wamid) => json!({"to": message.to, "message_id": wamid}),
        Err(why) => json!({"to": message.to, "refused": why.to_string()}),
    };
    let recipients: Vec<Value> = messages.iter().zip(&answers).map(told).collect();
    let listing = json!({"operation": operation, "group": group, "recipients": recipients});
    let taken = messages.iter().zip(&answers).filter_map(|(message, answer)| {
        answer.as_ref().ok().map(|wamid| accepted(app, message, wamid, time))
    });
    let answered = batch(Kind::Accepted, time, taken.collect(), &listing);
    app.insist(answered, BUSY_PATIENCE).await?;
    Ok(Dispatched { group, answers })
}

/// What is to be sent, as the journal keeps it.
fn wanted(sending: &Sending, channel: &ChannelId, request_id: &str, sign: Option<&str>) -> Value {
    let Sending { operation, from, template, recipients, call } = sending;
    let recipients: Vec<Value> = recipients
        .iter()
        .map(|recipient| json!({"to": recipient.to, "parameters": recipient.parameters}))
        .collect();
    json!({
        "operation": operation,
        "request_id": request_id,
        "channel": channel,
        "from": from,
        "template": template,
        "sign": sign,
        "call": **call,
        "recipients": recipients,
    })
}

/// What the carrier gets, one message for each recipient.
fn outgoing(sending: Sending, channel: &ChannelId, sign: Option<&String>) -> Vec<Outgoing> {
    let Sending { operation: _, from, template, recipients, call } = sending;
    recipients
        .into_iter()
        .map(|recipient| Outgoing {
            channel: channel.clone(),
            from: from.clone(),
            to: recipient.to,
            template: template.clone(),
            sign: sign.cloned(),
            parameters: recipient.parameters,
            call: Arc::clone(&call),
        })
        .collect()
}

/// The carrier took a message: that, and whose template it used.
fn accepted(app: &App, message: &Outgoing, wamid: &str, time: Time) -> Event {
    let channel = message.channel.clone();
    Event::Message(MessageEvent {
        number: message.from.clone(),
        message: app.keys.hash(HashOf::Message, &channel, wamid.as_bytes()),
        channel,
        participant: Vec::new(),
        time,
        status: Some(Status::Accepted),
        error: None,
        pricing: None,
        claim: Some(
            Claim { source: Source::Send, template: message.template.clone(), campaign: None }
                .into(),
        ),
    })
}

/// What the caller is told when the carrier took nothing.
///
/// Which code the original has for a message that WhatsApp refuses at once is not known.
pub(super) fn refused(why: Refused) -> ApiError {
    let code = match why {
        Refused::Unavailable(_) => Code::ServiceUnavailable,
        Refused::Rejected(_) => Code::MessageInvalid,
    };
    ApiError::caused(code, why)
}
