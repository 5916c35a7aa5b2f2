//! What went to and fro between a business number and people, as the journal still has it.
//!
//! Message states know recipients as keyed hashes only; who they are is in the sealed bytes of the
//! journal, and so is what was said. A group of sends is found by its name, anything else by reading
//! the journal of the time that is asked for (`Ledger::accepted`). How far a message is comes from
//! the ledger's state, at the time of the call. What always holds: of a webhook only those parts are
//! believed that its signature could speak for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;
use twoticks_core::channel::Channel;
use twoticks_core::clock::Time;
use twoticks_core::event::{Event, Status};
use twoticks_core::ids::{Hash, PhoneNumber, Template};
use twoticks_core::message::{Message, MessageKey};
use twoticks_store::directory::model::Number;
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::{Entry, Kind, Look, MESSAGES_MAX, TURNED_BACK_MAX};
use twoticks_wire::code::Refusal;

use super::Context;
use crate::api_error::ApiError;
use crate::sending::{self, Outcome, Sending};

/// How many messages are listed of one span of time, all pages together.
const ITEMS_MAX: usize = 20_000;
/// For how long after the span a first status is looked for, in milliseconds.
const TOLD_WITHIN: i64 = TURNED_BACK_MAX;

/// A message that was sent, is to be sent, or came in.
pub(super) struct Item {
    /// When it was asked for, sent or written.
    pub(super) time: Time,
    pub(super) is_inbound: bool,
    /// Whom it is for, or from: a number, a BSUID or a group.
    pub(super) user: String,
    /// WhatsApp's id of it.
    pub(super) wamid: Option<String>,
    /// The send that it belongs to, and its place there.
    pub(super) group: Option<(Arc<str>, usize)>,
    pub(super) template: Option<Template>,
    /// `text` and so on; of a template none.
    pub(super) kind: Option<String>,
    /// What it says, as far as that was told.
    pub(super) content: String,
    /// What became of it on its way to WhatsApp; `None` while it waits.
    pub(super) outcome: Option<Outcome>,
}

/// What is asked for.
pub(super) struct Asked<'a> {
    pub(super) number: &'a Number,
    /// `[from, until)`.
    pub(super) span: Option<(Time, Time)>,
    pub(super) group: Option<&'a str>,
}

/// The messages that are asked for, the newest first.
///
/// # Errors
/// `InvalidStartTime` if there are more than are listed, and what the ledger says.
pub(super) async fn gather(
    context: &Context<'_>,
    asked: &Asked<'_>,
) -> Result<Vec<Item>, ApiError> {
    let mut items = match (asked.group, asked.span) {
        (Some(group), _) => {
            let entries = context.app.ledger.group(context.channel(), group).await?;
            sent(group, &entries, &asked.number.phone_number)
        }
        (None, Some(span)) => of_span(context, asked.number, span).await?,
        (None, None) => Vec::new(),
    };
    items.retain(|item| asked.span.is_none_or(|(from, until)| (from..until).contains(&item.time)));
    if items.len() > ITEMS_MAX {
        return Err(too_many());
    }
    // The same order each time, so that pages fit together.
    items.sort_by(|one, other| {
        (other.time, &one.group, &one.wamid).cmp(&(one.time, &other.group, &other.wamid))
    });
    Ok(items)
}

async fn of_span(
    context: &Context<'_>,
    number: &Number,
    (from, until): (Time, Time),
) -> Result<Vec<Item>, ApiError> {
    let app = context.app;
    let channel = context.channel().clone();
    let look = Look { channel, from, until, tail: until.plus(TOLD_WITHIN) };
    let found = app.ledger.accepted(look).await?;
    if !found.is_whole {
        return Err(too_many());
    }
    let mut groups: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut told = Told::new(context, number);
    for entry in found.entries {
        match (entry.batch.kind, &entry.batch.group) {
            (Kind::Webhook, _) => told.read(&entry),
            (_, Some(group)) => groups.entry(group.clone()).or_default().push(entry),
            _ => {}
        }
    }
    let mut items = Vec::new();
    let mut known: HashSet<String> = HashSet::new();
    for (name, mut entries) in groups {
        // Also those of a send that is not of this time: it is listed where it was asked for.
        known.extend(sending::wamids(&entries));
        let asked = entries.iter().find(|entry| entry.batch.kind == Kind::Send);
        if asked.is_none_or(|asked| !(from..until).contains(&asked.batch.accepted)) {
            continue;
        }
        if sending::outcomes(&entries).iter().any(Option::is_none) {
            // What became of it may have come later.
            entries = app.ledger.group(context.channel(), &name).await?;
            known.extend(sending::wamids(&entries));
        }
        items.extend(sent(&name, &entries, &number.phone_number));
        if items.len() > ITEMS_MAX {
            return Err(too_many());
        }
    }
    let is_outside = |item: &Item| {
        // The ledger may know that it was earlier, and not that it was later.
        item.time >= from && item.wamid.as_ref().is_none_or(|wamid| !known.contains(wamid))
    };
    let mut outside: Vec<Item> = told.items.into_values().filter(is_outside).collect();
    let known = states(context, number, &outside).await?;
    for (item, state) in outside.iter_mut().zip(known) {
        let Some(state) = state.filter(|_| !item.is_inbound) else { continue };
        item.template = state.template().cloned();
        let times = Status::ALL.map(|status| state.earliest(status));
        item.time = times.into_iter().flatten().min().unwrap_or(item.time);
    }
    items.extend(outside);
    Ok(items)
}

fn too_many() -> ApiError {
    let said = "There is too much in that time to be read at once; bring StartTime and EndTime \
                closer together, or give GroupMessageId.";
    Refusal::invalid("StartTime").saying(said.to_owned()).into()
}

/// The messages of a group that were to go out from `number`.
fn sent(group: &str, entries: &[Entry], number: &PhoneNumber) -> Vec<Item> {
    let asked = entries.iter().find(|entry| entry.batch.kind == Kind::Send);
    let (Some(asked), Some(sending)) = (asked, sending::asked(entries)) else { return Vec::new() };
    let Sending { from, template, call, recipients, .. } = sending;
    if from != *number {
        return Vec::new();
    }
    let group: Arc<str> = group.into();
    let content = |value: Option<&Value>| value.map_or_else(String::new, Value::to_string);
    let kind = call.get("MessageType").and_then(Value::as_str).map(str::to_owned);
    let items = recipients.into_iter().zip(sending::outcomes(entries)).enumerate();
    items
        // What was done and is no message, such as showing that somebody is typing.
        .filter(|(_, (_, outcome))| *outcome != Some(Outcome::Done))
        .map(|(place, (recipient, outcome))| Item {
            time: asked.batch.accepted,
            is_inbound: false,
            content: match &template {
                Some(_) => content(recipient.parameters.get("TemplateParams")),
                None => content(call.get("Content")),
            },
            user: recipient.to,
            wamid: match &outcome {
                Some(Outcome::Taken(wamid)) => Some(wamid.clone()),
                _ => None,
            },
            group: Some((Arc::clone(&group), place)),
            template: template.clone(),
            kind: kind.clone(),
            outcome,
        })
        .collect()
}

/// What webhooks tell of a number.
struct Told<'a> {
    context: &'a Context<'a>,
    number: &'a Number,
    /// By WhatsApp's id.
    items: HashMap<String, Item>,
}

impl<'a> Told<'a> {
    fn new(context: &'a Context<'a>, number: &'a Number) -> Self {
        Self { context, number, items: HashMap::new() }
    }

    fn read(&mut self, entry: &Entry) {
        let Ok(body) = serde_json::from_slice::<Value>(&entry.batch.body) else { return };
        let believed = self.believed(entry);
        for change in list(&body, "entry").iter().flat_map(|entry| list(entry, "changes")) {
            let Some(value) = change.get("value") else { continue };
            let id = value.pointer("/metadata/phone_number_id").and_then(word);
            if id.as_deref() != Some(self.number.phone_number_id.as_str()) {
                continue;
            }
            for (told, is_inbound) in [("messages", true), ("statuses", false)] {
                for told in list(value, told) {
                    let Some(id) = told.get("id").and_then(word) else { continue };
                    let of = if is_inbound { HashOf::Inbound } else { HashOf::Message };
                    if believed.as_ref().is_none_or(|known| known.contains(&self.hash(of, &id))) {
                        self.take(told, id, is_inbound);
                    }
                }
            }
        }
    }

    fn hash(&self, of: HashOf, id: &str) -> Hash {
        self.context.app.keys.hash(of, self.context.channel(), id.as_bytes())
    }

    /// Which messages of an entry are believed to be the channel's: all of one that is of this
    /// channel; else those that were counted for it.
    fn believed(&self, entry: &Entry) -> Option<HashSet<Hash>> {
        let channel = self.context.channel();
        let counted = |event: &Event| match event {
            Event::Message(event) => Some(event.message),
            Event::Tap(event) => Some(event.id),
            Event::OptIn { .. } | Event::Category(_) => None,
        };
        (entry.batch.channel.as_ref() != Some(channel)).then(|| {
            let own = entry.batch.events.iter().filter(|event| event.channel() == channel);
            own.filter_map(counted).collect()
        })
    }

    fn take(&mut self, told: &Value, id: String, is_inbound: bool) {
        let text = |name: &str| told.get(name).and_then(word);
        let seconds = text("timestamp").and_then(|it| it.parse::<i64>().ok()).unwrap_or_default();
        let user = match is_inbound {
            true => text("from").or_else(|| text("from_user_id")),
            false => text("recipient_id").or_else(|| text("recipient_user_id")),
        };
        let kind = text("type").filter(|_| is_inbound);
        let said = kind.as_deref().and_then(|kind| told.get(kind));
        let plain = said.and_then(|said| said.get("body").or(said.get("text")));
        let content = plain.and_then(Value::as_str).map(str::to_owned);
        let item = Item {
            time: Time(seconds.saturating_mul(1_000)),
            is_inbound,
            user: user.unwrap_or_default(),
            wamid: Some(id.clone()),
            group: None,
            template: None,
            content: content.or_else(|| said.map(Value::to_string)).unwrap_or_default(),
            kind,
            outcome: (!is_inbound).then(|| Outcome::Taken(id.clone())),
        };
        self.items.entry(id).or_insert(item);
    }
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text, or a number where others have one.
fn word(value: &Value) -> Option<String> {
    crate::graph::check::text_or_number(value)
}

/// What the ledger knows of the messages, in their order.
pub(super) async fn states(
    context: &Context<'_>,
    number: &Number,
    items: &[Item],
) -> Result<Vec<Option<Message>>, ApiError> {
    let app = context.app;
    let mut states = Vec::with_capacity(items.len());
    for items in items.chunks(MESSAGES_MAX) {
        let key = |item: &Item| {
            let wamid = item.wamid.as_deref().filter(|_| !item.is_inbound)?;
            let message = app.keys.hash(HashOf::Message, context.channel(), wamid.as_bytes());
            let (channel, number) = (context.channel().clone(), number.phone_number.clone());
            Some(MessageKey { channel, number, message })
        };
        let keys: Vec<Option<MessageKey>> = items.iter().map(key).collect();
        let asked = keys.iter().flatten().cloned().collect();
        let mut found = app.ledger.messages(asked).await?.into_iter();
        states.extend(keys.iter().map(|key| key.as_ref().and_then(|_| found.next().flatten())));
    }
    Ok(states)
}

/// How far a message is, by the counting rules, and why it failed if it did.
pub(super) fn stands(item: &Item, state: Option<&Message>) -> (&'static str, Option<String>) {
    match &item.outcome {
        _ if item.is_inbound => return ("Received", None),
        None => return ("Waiting", None),
        Some(Outcome::Refused(why)) => return ("Failed", Some(why.to_string())),
        Some(Outcome::Unknown(why)) => return ("Unknown", Some(why.clone())),
        Some(Outcome::Taken(_) | Outcome::Done) => {}
    }
    let Some(state) = state else { return ("Accepted", None) };
    let is = |status| state.earliest(status).is_some();
    if is(Status::Read) {
        ("Read", None)
    } else if is(Status::Delivered) {
        ("Delivered", None)
    } else if is(Status::Failed) {
        let code = state.outcomes(&Channel::default()).iter().find_map(|outcome| outcome.error);
        ("Failed", code.map(|code| format!("Meta {code}")))
    } else if is(Status::Sent) {
        ("Sent", None)
    } else {
        ("Accepted", None)
    }
}
