//! Facts about one small world, to be changed by struct update. Times are milliseconds after
//! [`START`], the beginning of an atom.

use twoticks_core::clock::Time;
use twoticks_core::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Cost, Event, MessageEvent, Pricing, Sign,
    Source, Status, TapEvent,
};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Template, Text};

/// 2026-10-01T16:00:00Z, a whole atom, hour and second.
pub(crate) const START: Time = Time(1_790_870_400_000);
/// When facts are accepted unless a test says otherwise.
pub(crate) const ACCEPTED: Time = Time(START.0 + 3_600_000);

pub(crate) fn at(milliseconds: i64) -> Time {
    START.plus(milliseconds)
}

pub(crate) fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

pub(crate) fn hash(byte: u8) -> Hash {
    Hash([byte; 16])
}

pub(crate) fn channel(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

pub(crate) fn number(digits: &str) -> PhoneNumber {
    PhoneNumber::new(digits).unwrap()
}

/// `code/language`.
pub(crate) fn template(name: &str) -> Template {
    let (code, language) = name.split_once('/').unwrap();
    Template { code: text(code), language: text(language) }
}

/// A status of message 1 of number 1 of channel `a`, to a single recipient.
pub(crate) fn told(status: Status, time: i64) -> MessageEvent {
    MessageEvent {
        channel: channel("a"),
        number: number("1"),
        message: hash(1),
        participant: Vec::new(),
        time: at(time),
        status: Some(status),
        error: None,
        pricing: None,
        claim: None,
    }
}

/// A status of one participant of a group.
pub(crate) fn told_by(ids: &[u8], status: Status, time: i64) -> MessageEvent {
    MessageEvent { participant: ids.iter().copied().map(hash).collect(), ..told(status, time) }
}

pub(crate) fn failed(time: i64, error: Option<i64>) -> MessageEvent {
    MessageEvent { error, ..told(Status::Failed, time) }
}

pub(crate) fn priced(status: Status, time: i64, pricing: Pricing) -> MessageEvent {
    MessageEvent { pricing: Some(pricing.into()), ..told(status, time) }
}

/// Who says which template message 1 used: `code/language`, with ` campaign` behind it if there
/// is one; nothing for a free-form message.
pub(crate) fn claim(source: Source, time: i64, words: &str) -> MessageEvent {
    let mut words = words.split_whitespace();
    let template = words.next().map(template);
    let claim = Some(Claim { source, template, campaign: words.next().map(text) }.into());
    MessageEvent { status: None, claim, ..told(Status::Sent, time) }
}

pub(crate) fn pricing(category: &str, cost: Option<(&str, i64)>) -> Pricing {
    Pricing {
        category: text(category),
        kind: text("regular"),
        model: text("PMP"),
        cost: cost.map(|(currency, micros)| Cost::new(text(currency), micros).unwrap()),
    }
}

pub(crate) fn quick_reply(words: &str) -> Button {
    Button { kind: ButtonKind::QuickReply, text: text(words) }
}

/// The tap with that id on `Yes`, which names no message.
pub(crate) fn tap(id: u8, time: i64) -> TapEvent {
    TapEvent {
        channel: channel("a"),
        number: number("1"),
        id: hash(id),
        time: at(time),
        button: quick_reply("Yes"),
        message: None,
        sign: None,
    }
}

/// The tap with that id on `Yes` below message 1.
pub(crate) fn tap_on_message(id: u8, time: i64) -> TapEvent {
    TapEvent { message: Some(hash(1)), ..tap(id, time) }
}

pub(crate) fn sign(words: &str) -> Sign {
    let mut words = words.split_whitespace();
    Sign { template: template(words.next().unwrap()), campaign: words.next().map(text) }
}

pub(crate) fn opt_in(time: i64) -> Event {
    Event::OptIn { channel: channel("a"), time: at(time) }
}

/// Template `t/en` has that category from `time` on.
pub(crate) fn category(time: i64, category: Category, previous: Option<Category>) -> Event {
    Event::Category(CategoryEvent {
        channel: channel("a"),
        template: template("t/en"),
        effective: at(time),
        category,
        previous,
    })
}
