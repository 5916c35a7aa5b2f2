//! What of a webhook goes where: an entry of the journal, cut into what each destination may see.
//!
//! Pure, so that an entry can be cut again for each try. What always holds: a destination gets what
//! is of its channel and nothing else, whatever else a body speaks of; of a number it gets what its
//! channel is told while it has that number; what cannot be said whose it is goes nowhere, unless
//! the entry shows that the secret that signed it was one channel's alone when it was accepted: who
//! has that secret today says nothing about then.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Text};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::{Channel, Number, StatusSource};
use twoticks_store::directory::names::Secret;
use twoticks_store::directory::pass_on::PassOn;
use twoticks_store::journal::Position;
use twoticks_store::keys::{HashOf, Keys};
use twoticks_store::ledger::{Batch, Entry, Kind};
use twoticks_wire::webhook::cams::tell;
use twoticks_wire::webhook::meta;

use super::post::Parcel;
use crate::ingest::replay::{self, Signed};

/// What a destination gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Receipts of statuses.
    Status,
    /// Receipts of inbound messages.
    Inbound,
    /// The webhooks as they come.
    Webhooks,
}

impl Form {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Inbound => "inbound",
            Self::Webhooks => "webhooks",
        }
    }
}

/// Somewhere that something is passed on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Whose it is.
    pub channel: ChannelId,
    /// What it gets.
    pub form: Form,
    /// Where it is.
    pub url: Secret,
    /// What posts are signed with.
    pub key: Option<Secret>,
}

impl Destination {
    /// What it is known by where its address must not be: in cursors, in lists.
    #[must_use]
    pub fn id(&self, keys: &Keys) -> Hash {
        id(keys, &self.channel, self.form, &self.url)
    }
}

fn id(keys: &Keys, channel: &ChannelId, form: Form, url: &Secret) -> Hash {
    let text = format!("{} {}", form.as_str(), url.expose());
    keys.hash(HashOf::Destination, channel, text.as_bytes())
}

/// What is known by it that a number is with a channel.
#[must_use]
pub fn number_id(keys: &Keys, number: &Number) -> Hash {
    let text = format!("number {}", number.phone_number_id);
    keys.hash(HashOf::Destination, &number.channel, text.as_bytes())
}

/// Everywhere that something of `channel` is passed on to, also of numbers that it does not have yet.
#[must_use]
pub fn destinations(channel: &ChannelId, of: &PassOn) -> Vec<Destination> {
    let to = |form, url: &Secret, key: &Option<Secret>| Destination {
        channel: channel.clone(),
        form,
        url: url.clone(),
        key: key.clone(),
    };
    let mut all: Vec<Destination> = Vec::new();
    let of_numbers = of.of_numbers.keys().map(|number| of.callbacks_of(number));
    for callbacks in std::iter::once(of.callbacks.clone()).chain(of_numbers) {
        if !callbacks.enabled {
            continue;
        }
        let (status, inbound) = (&callbacks.status_url, &callbacks.inbound_url);
        for (form, url) in [(Form::Status, status), (Form::Inbound, inbound)] {
            let new = url.as_ref().map(|url| to(form, url, &of.receipts_key));
            all.extend(new.filter(|new| !all.contains(new)));
        }
    }
    all.extend(of.webhooks.iter().map(|it| to(Form::Webhooks, &it.url, &it.key)));
    all
}

/// What an entry is cut by.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The directory.
    pub snapshot: &'a Snapshot,
    /// What destinations are known by.
    pub keys: &'a Keys,
    /// From which entry on a number is with the channel that it is with, by Meta's id for it.
    pub since: &'a Since,
}

/// Positions by `phone_number_id`; of a number that is not in it nothing is passed on.
pub type Since = HashMap<Text, Position>;

/// A change of a body, and whose it is.
struct Part<'a> {
    entry: usize,
    change: usize,
    waba_id: &'a str,
    value: Option<&'a Value>,
    number: Option<PhoneNumber>,
    of: Vec<ChannelId>,
    /// If nobody here has its number: who has the account that it names.
    of_nobody_but: Option<Vec<ChannelId>>,
}

impl Part<'_> {
    /// Whether it can be of this channel, if no other one was told it.
    fn may_be_of(&self, channel: &ChannelId) -> bool {
        let is_nobodys = |but: &Vec<ChannelId>| but.is_empty() || but.contains(channel);
        self.of.contains(channel) || self.of_nobody_but.as_ref().is_some_and(is_nobodys)
    }
}

/// What of an entry goes where, by what the destinations are known by. Nothing of most entries.
#[must_use]
pub fn cut(context: Context<'_>, entry: &Entry) -> HashMap<Hash, Parcel> {
    let batch = &entry.batch;
    let mut out = HashMap::new();
    if batch.kind != Kind::Webhook {
        return out;
    }
    let snapshot = context.snapshot;
    let signed = replay::signed(snapshot, context.keys, batch);
    let is_told = |channel: &&ChannelId| snapshot.pass_on(channel).is_some();
    if !signed.channels.iter().any(|channel| is_told(&channel)) {
        return out;
    }
    let body: Option<Value> = serde_json::from_slice(&batch.body).ok();
    let parts = body.as_ref().map(|body| parts(context, entry.position, &signed, body));
    let parts = parts.unwrap_or_default();
    let mut by_channel: BTreeMap<&ChannelId, Vec<&Part<'_>>> = BTreeMap::new();
    for part in &parts {
        for channel in part.of.iter().filter(is_told) {
            by_channel.entry(channel).or_default().push(part);
        }
    }
    if let Some(channel) = alone(batch).filter(is_told) {
        let of = by_channel.entry(channel).or_default();
        *of = parts.iter().filter(|part| part.may_be_of(channel)).collect();
    }
    for (channel, of) in by_channel {
        let known = snapshot.channel(channel).zip(snapshot.pass_on(channel));
        let Some((known, pass_on)) = known else { continue };
        if !pass_on.webhooks.is_empty() {
            let parcel = match &body {
                Some(_) if of.is_empty() && !parts.is_empty() => None,
                Some(body) if of.len() < parts.len() => Some(piece(&signed, known, body, &of)),
                _ => Some(webhook(&signed, known, Bytes::copy_from_slice(&batch.body))),
            };
            for to in &pass_on.webhooks {
                let id = id(context.keys, channel, Form::Webhooks, &to.url);
                out.extend(parcel.clone().map(|parcel| (id, parcel)));
            }
        }
        receipts(context, known, pass_on, &of, &mut out);
    }
    out
}

/// The channel that the secret of an entry was of alone when the entry was accepted, as far as the
/// entry shows it. It names a channel for that, or because all its events are that channel's, so
/// only without events it is known which.
fn alone(batch: &Batch) -> Option<&ChannelId> {
    batch.channel.as_ref().filter(|_| batch.events.is_empty())
}

/// The changes of a body in its usual form.
fn parts<'a>(
    context: Context<'_>,
    position: Position,
    signed: &Signed,
    body: &'a Value,
) -> Vec<Part<'a>> {
    let snapshot = context.snapshot;
    // What it was told before it came to its channel is not that channel's.
    let is_here = |number: &&Arc<Number>| {
        context.since.get(&number.phone_number_id).is_some_and(|since| *since <= position)
    };
    let list = |value: &'a Value, name: &str| {
        value.get(name).and_then(Value::as_array).into_iter().flatten().enumerate()
    };
    let mut parts = Vec::new();
    for (at, entry) in list(body, "entry") {
        let waba_id = entry.get("id").and_then(Value::as_str).unwrap_or_default();
        for (change, told) in list(entry, "changes") {
            let value = told.get("value");
            let id = value.and_then(|value| value.pointer("/metadata/phone_number_id"));
            let known = id.and_then(Value::as_str).and_then(|id| snapshot.number_by_id(id));
            let number = known.filter(is_here);
            let of_waba = of_waba(snapshot, waba_id);
            let of = match id {
                Some(_) => number.map(|number| number.channel.clone()).into_iter().collect(),
                None => of_waba.clone(),
            };
            let of_nobody_but = known.is_none().then_some(of_waba);
            let may = |channel: &ChannelId| signed.channels.contains(channel);
            let of = of.into_iter().filter(may).collect();
            let number = number.map(|number| number.phone_number.clone());
            parts.push(Part { entry: at, change, waba_id, value, number, of, of_nobody_but });
        }
    }
    parts
}

fn of_waba(snapshot: &Snapshot, waba_id: &str) -> Vec<ChannelId> {
    let waba_id = Text::new(waba_id).ok().filter(|id| !id.as_str().is_empty());
    let channels = waba_id.iter().flat_map(|id| snapshot.channels_of_waba(id));
    channels.map(|channel| channel.id.clone()).collect()
}

/// The changes of a body that are the channel's, signed anew.
fn piece(signed: &Signed, channel: &Channel, body: &Value, of: &[&Part<'_>]) -> Parcel {
    let mut entries: Vec<(usize, Value)> = Vec::new();
    for part in of {
        let Some(entry) = body.pointer(&format!("/entry/{}", part.entry)) else { continue };
        let Some(change) = entry.pointer(&format!("/changes/{}", part.change)) else { continue };
        if entries.last().map(|(at, _)| *at) != Some(part.entry) {
            let mut head = json!({"id": entry.get("id"), "changes": []});
            if let (Some(time), Some(head)) = (entry.get("time"), head.as_object_mut()) {
                head.insert("time".to_owned(), time.clone());
            }
            entries.push((part.entry, head));
        }
        let changes = entries.last_mut().and_then(|(_, entry)| entry.get_mut("changes"));
        if let Some(changes) = changes.and_then(Value::as_array_mut) {
            changes.push(change.clone());
        }
    }
    let entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
    let cut = json!({"object": body.get("object"), "entry": entries});
    webhook(signed, channel, cut.to_string().into())
}

/// Signed with the secret it came with; if that is not there any more, with the newest.
fn webhook(signed: &Signed, channel: &Channel, body: Bytes) -> Parcel {
    let secret = signed.secret.as_ref().or(channel.app_secrets.last());
    let hub_signature = secret.map(|secret| meta::sign(secret.expose().as_bytes(), &body));
    Parcel { body, hub_signature, needs_code: false }
}

/// The receipts of a channel's changes, an array for each address.
fn receipts(
    context: Context<'_>,
    channel: &Channel,
    pass_on: &PassOn,
    of: &[&Part<'_>],
    out: &mut HashMap<Hash, Parcel>,
) {
    let name_of = |code: &str, language: &str| {
        let (code, language) = (Text::new(code).ok()?, Text::new(language).ok()?);
        let template = context.snapshot.template(&channel.id, &code, &language)?;
        Some(template.name.as_str().to_owned())
    };
    let mut told: BTreeMap<Hash, Vec<Value>> = BTreeMap::new();
    for part in of {
        let (Some(value), Some(number)) = (part.value, &part.number) else { continue };
        let callbacks = pass_on.callbacks_of(number);
        if !callbacks.enabled {
            continue;
        }
        let of = tell::Number {
            channel: channel.id.as_str(),
            waba_id: part.waba_id,
            number: number.as_str(),
        };
        let mut tell = |form, url: Option<&Secret>, reports: &dyn Fn() -> Vec<Value>| {
            let Some(url) = url else { return };
            let reports = reports();
            if !reports.is_empty() {
                told.entry(id(context.keys, &channel.id, form, url)).or_default().extend(reports);
            }
        };
        // Else CAMS tells the statuses, under other ids; inbound messages are told by nobody else.
        if channel.status_source == StatusSource::CloudApi {
            let statuses = || tell::statuses(value, of, name_of);
            tell(Form::Status, callbacks.status_url.as_ref(), &statuses);
        }
        tell(Form::Inbound, callbacks.inbound_url.as_ref(), &|| tell::inbound(value, of));
    }
    out.extend(told.into_iter().map(|(id, reports)| {
        let body = Value::from(reports).to_string().into();
        (id, Parcel { body, hub_signature: None, needs_code: true })
    }));
}
