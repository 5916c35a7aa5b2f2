//! Records of sends, statuses and clicks: what somebody's own books say of a message.
//!
//! An optional field that is null counts as absent. A send without a template is a free-form
//! message; a status without one says nothing of the template. What always holds: a field of a
//! status or a click that is not known is refused by its name, because a misspelt one would be
//! lost without a word.

use std::borrow::Cow;

use serde_json::{Map, Value};
use twoticks_core::clock::Time;
use twoticks_core::event::{
    Button, ButtonKind, Claim, Cost, Event, MessageEvent, Pricing, Source, Status, TapEvent,
};
use twoticks_core::ids::{ChannelId, Hash, Template, Text};
use twoticks_wire::webhook::micros;

use super::{Bad, time};
use crate::ingest::translate::{Context, Refused, Sender, Translated, link_click};

/// What a send can say; whatever else it says is passed over.
pub const SEND_FIELDS: [&str; 7] =
    ["phone_number_id", "wamid", "to", "time", "template_code", "language", "campaign"];
/// What a status can say.
pub const STATUS_FIELDS: [&str; 11] = [
    "phone_number_id",
    "wamid",
    "to",
    "status",
    "time",
    "error",
    "template_code",
    "language",
    "campaign",
    "participant",
    "pricing",
];
/// What a click can say.
pub const CLICK_FIELDS: [&str; 7] =
    ["phone_number_id", "phone_number", "wamid", "click_id", "id", "button", "time"];
/// What the `pricing` of a status can say.
pub const PRICING_FIELDS: [&str; 5] = ["category", "type", "model", "cost", "currency"];
/// The longest code of a currency, in bytes; ISO 4217 has three.
const CURRENCY_BYTES_MAX: usize = 16;
/// A participant of a group has a number and a BSUID.
const PARTICIPANT_IDS_MAX: usize = 2;

/// The fields of a record.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A text that is not empty, or a whole number as its digits.
    fn word(self, name: &str) -> Option<Cow<'a, str>> {
        self.value(name).and_then(word)
    }

    fn text(self, name: &'static str) -> Result<Option<Text>, Refused> {
        self.word(name).map(|it| Text::new(&it).map_err(|_| Refused::Text(name))).transpose()
    }

    fn time(self) -> Result<Time, Bad> {
        time(self.0.get("time").ok_or(Bad::Missing("time"))?).ok_or(Bad::Time("time"))
    }

    fn template(self) -> Result<Option<Template>, Refused> {
        match (self.text("template_code")?, self.text("language")?) {
            (Some(code), Some(language)) => Ok(Some(Template { code, language })),
            (None, None) => Ok(None),
            _ => Err(Refused::HalfTemplate),
        }
    }

    /// The first name that is not one of `known`.
    fn unknown(self, known: &[&str]) -> Option<&'a str> {
        self.0.keys().map(String::as_str).find(|name| !known.contains(name))
    }

    /// Refuses a name that is not one of `known`, the fields of a `what`.
    fn only(self, what: &'static str, known: &'static [&'static str]) -> Result<(), Bad> {
        match self.unknown(known) {
            None => Ok(()),
            Some(found) => Err(Bad::Field { found: cut(found), of: what, known }),
        }
    }
}

fn word(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) if !text.is_empty() => Some(Cow::Borrowed(text.as_str())),
        Value::Number(number) if !number.is_f64() => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// A record of a send: the message was accepted, and this is its template.
pub(super) fn send(context: &Context<'_>, told: &Map<String, Value>) -> Result<Translated, Bad> {
    let fields = Fields(told);
    let wamid = fields.word("wamid").ok_or(Bad::Missing("wamid"))?;
    let time = fields.time()?;
    let template = fields.template()?;
    let sender = context.sender_by_id(fields.word("phone_number_id").as_deref())?;
    let claim = Claim { source: Source::Import, template, campaign: fields.text("campaign")? };
    let event = MessageEvent {
        status: Some(Status::Accepted),
        claim: Some(claim.into()),
        ..bare(context, sender, &wamid, time)
    };
    let mut out = Translated::default();
    out.count(context, "send", Event::Message(event));
    Ok(out)
}

/// A record of a status, which may know the template and the price as well.
pub(super) fn status(context: &Context<'_>, told: &Map<String, Value>) -> Result<Translated, Bad> {
    let fields = Fields(told);
    fields.only("status", &STATUS_FIELDS)?;
    let wamid = fields.word("wamid").ok_or(Bad::Missing("wamid"))?;
    let given = fields.word("status").ok_or(Bad::Missing("status"))?;
    let known = Status::ALL.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(&given));
    let status = known.ok_or_else(|| Bad::Status(cut(&given)))?;
    let time = fields.time()?;
    let error = fields.value("error").map(|code| number(code).ok_or(Bad::Code)).transpose()?;
    let pricing = fields.value("pricing").map(pricing).transpose()?.flatten();
    let campaign = fields.text("campaign")?;
    let claim = match (fields.template()?, campaign) {
        (None, None) => None,
        (None, Some(_)) => return Err(Bad::Campaign),
        (template, campaign) => Some(Claim { source: Source::Import, template, campaign }),
    };
    let sender = context.sender_by_id(fields.word("phone_number_id").as_deref())?;
    let is_delivery = matches!(status, Status::Delivered | Status::Read | Status::Played);
    let event = MessageEvent {
        participant: participant(context, &sender.channel.id, fields.value("participant"))?,
        status: Some(status),
        error: error.filter(|_| status == Status::Failed),
        // On `sent` a price is a forecast.
        pricing: pricing.filter(|_| is_delivery).map(Into::into),
        claim: claim.map(Into::into),
        ..bare(context, sender, &wamid, time)
    };
    let mut out = Translated::default();
    out.count(context, "status", Event::Message(event));
    Ok(out)
}

/// A record of a click: a page was opened from a link of this message. Meta's click id makes it one
/// with what WhatsApp and our own links tell under it; without one it has an id of the page's own.
/// Without a time it happened when it was accepted: of two tellings the first stands.
pub(super) fn click(context: &Context<'_>, told: &Map<String, Value>) -> Result<Translated, Bad> {
    let fields = Fields(told);
    fields.only("click", &CLICK_FIELDS)?;
    let wamid = fields.word("wamid").ok_or(Bad::Missing("wamid"))?;
    let id = match (fields.text("click_id")?, fields.text("id")?) {
        (Some(click_id), _) => link_click(click_id.as_str()),
        // The word behind the blank keeps it apart from click ids and from wamids.
        (None, Some(own)) => format!("{own} landing_page"),
        (None, None) => return Err(Bad::Missing("click_id` or `id")),
    };
    let time = match fields.value("time") {
        Some(value) => time(value).ok_or(Bad::Time("time"))?,
        None => context.accepted,
    };
    let button = fields.value("button").map(|text| text.as_str().ok_or(Bad::Button)).transpose()?;
    let sender = match (fields.word("phone_number_id"), fields.word("phone_number")) {
        (Some(id), _) => context.sender_by_id(Some(&id))?,
        (None, Some(digits)) => context.sender_by_digits("phone_number", Some(&digits))?,
        (None, None) => return Err(Bad::Missing("phone_number_id` or `phone_number")),
    };
    let channel = &sender.channel.id;
    let event = TapEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        id: context.inbound_hash(channel, &id),
        time,
        button: Button { kind: ButtonKind::Url, text: Text::lossy(button.unwrap_or_default()) },
        message: Some(context.message_hash(channel, &wamid)),
        sign: None,
    };
    let mut out = Translated::default();
    out.count(context, "click", Event::Tap(event));
    Ok(out)
}

/// An event that says nothing yet.
fn bare(context: &Context<'_>, sender: Sender<'_>, wamid: &str, time: Time) -> MessageEvent {
    let channel = &sender.channel.id;
    MessageEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        message: context.message_hash(channel, wamid),
        participant: Vec::new(),
        time,
        status: None,
        error: None,
        pricing: None,
        claim: None,
    }
}

/// Whom a status of a group is about: one participant, by number, BSUID or both.
fn participant(
    context: &Context<'_>,
    channel: &ChannelId,
    told: Option<&Value>,
) -> Result<Vec<Hash>, Bad> {
    let ids: &[Value] = match told {
        None => return Ok(Vec::new()),
        Some(Value::Array(ids)) if (1..=PARTICIPANT_IDS_MAX).contains(&ids.len()) => ids,
        Some(Value::Array(_)) => return Err(Bad::Participant),
        Some(one) => std::slice::from_ref(one),
    };
    let hash = |id| Some(context.person_hash(channel, &word(id)?));
    let mut hashes: Vec<Hash> =
        ids.iter().map(hash).collect::<Option<_>>().ok_or(Bad::Participant)?;
    hashes.sort_unstable();
    hashes.dedup();
    Ok(hashes)
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn pricing(told: &Value) -> Result<Option<Pricing>, Bad> {
    let fields = Fields(told.as_object().ok_or(Bad::Pricing)?);
    if fields.unknown(&PRICING_FIELDS).is_some() {
        return Err(Bad::Pricing);
    }
    let (category, kind, model) =
        (fields.text("category")?, fields.text("type")?, fields.text("model")?);
    let cost = match (fields.value("cost"), fields.text("currency")?) {
        (None, None) => None,
        (Some(amount), Some(currency)) => Some(cost(amount, currency).ok_or(Bad::Cost)?),
        _ => return Err(Bad::Cost),
    };
    if category.is_none() && kind.is_none() && model.is_none() && cost.is_none() {
        return Ok(None);
    }
    let or_empty = |text: Option<Text>| text.unwrap_or_else(|| Text::lossy(""));
    Ok(Some(Pricing {
        category: or_empty(category),
        kind: or_empty(kind),
        model: or_empty(model),
        cost,
    }))
}

fn cost(amount: &Value, currency: Text) -> Option<Cost> {
    let amount = match amount {
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::String(text) => Cow::Borrowed(text.as_str()),
        _ => return None,
    };
    let currency = Some(currency).filter(|it| it.as_str().len() <= CURRENCY_BYTES_MAX)?;
    Cost::new(currency, micros(&amount)?)
}

/// As much of a text as a message shows.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
