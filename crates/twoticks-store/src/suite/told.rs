//! What the cases tell, and what they ask.

use twoticks_core::channel::Side;
use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::event::{Category, CategoryEvent, Claim, Event, MessageEvent, Source, Status};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use twoticks_core::query::{Point, Query, Select};
use twoticks_core::totals::{Atom, Totals};
use twoticks_core::window::Window;

use super::Shared;
use crate::ledger::{Batch, Kind};

// What happens: one message a hash, times in seconds after `NOON`.

pub(super) const NOON: Time = Time(1_799_971_200_000);
pub(crate) const NOW: Time = Time(NOON.0 + 2 * DAY);

pub(crate) fn channel(id: &str) -> ChannelId {
    ChannelId::new(id).unwrap()
}

pub(crate) fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

pub(crate) fn template() -> Template {
    Template { code: text("SALE"), language: text("en_US") }
}

pub(crate) fn at(seconds: i64) -> Time {
    NOON.plus(seconds * SECOND)
}

pub(crate) fn message(of: &str, id: u8, seconds: i64, status: Option<Status>) -> MessageEvent {
    MessageEvent {
        channel: channel(of),
        number: PhoneNumber::new("15550001").unwrap(),
        message: Hash([id; 16]),
        participant: vec![],
        time: at(seconds),
        status,
        error: None,
        pricing: None,
        claim: None,
    }
}

pub(crate) fn status(of: &str, id: u8, status: Status, seconds: i64) -> Event {
    Event::Message(message(of, id, seconds, Some(status)))
}

pub(crate) fn send(of: &str, id: u8, seconds: i64) -> Event {
    let claim = Claim { source: Source::Send, template: Some(template()), campaign: None };
    Event::Message(MessageEvent { claim: Some(claim.into()), ..message(of, id, seconds, None) })
}

pub(crate) fn opt_in(of: &str, seconds: i64) -> Event {
    Event::OptIn { channel: channel(of), time: at(seconds) }
}

pub(crate) fn category(of: &str, category: Category, seconds: i64) -> Event {
    Event::Category(CategoryEvent {
        channel: channel(of),
        template: template(),
        effective: at(seconds),
        category,
        previous: None,
    })
}

pub(crate) fn batch(events: Vec<Event>) -> Batch {
    Batch {
        kind: Kind::Webhook,
        accepted: NOW,
        origin: "/webhooks/whatsapp".to_owned(),
        channel: None,
        group: None,
        events,
        dead: vec![],
        resolves: None,
        body: vec![],
    }
}

pub(super) async fn record(ledger: &Shared, events: Vec<Event>) -> u64 {
    ledger.record(batch(events)).await.unwrap().position
}

/// All of five days around `NOON`, in one window.
pub(super) fn always() -> Vec<Window> {
    let (from, to) = (Atom::of(NOON.plus(-2 * DAY)), Atom::of(NOON.plus(3 * DAY)));
    vec![Window { from, to }]
}

pub(super) fn of_numbers(of: &str, side: Option<Side>) -> Query {
    let select = Select::Numbers { number: None, attribution: None };
    Query { channel: channel(of), select, side, windows: always() }
}

pub(super) fn of_templates(of: &str, category: Option<Category>) -> Query {
    let select = Select::Templates { code: None, language: None, category };
    Query { channel: channel(of), select, side: None, windows: always() }
}

/// The sums of all points.
pub(super) async fn sum(ledger: &Shared, query: Query) -> Totals {
    let points = ledger.series(query).await.unwrap();
    points.iter().fold(Totals::default(), |sum, point| sum.checked_add(&point.totals).unwrap())
}

/// Every kind of question, in days and in atoms.
pub(super) async fn everything(ledger: &Shared, of: &str) -> Vec<Vec<Point>> {
    let mut answers = Vec::new();
    for query in questions(of) {
        answers.push(ledger.series(query).await.unwrap());
    }
    answers
}

pub(crate) fn questions(of: &str) -> Vec<Query> {
    let start = Atom::of(NOON.plus(-2 * DAY)).0;
    let atoms = (start..start + 480).map(|n| Window { from: Atom(n), to: Atom(n + 1) }).collect();
    let gaps = vec![
        Window { from: Atom(start), to: Atom(start + 193) },
        Window { from: Atom(start + 195), to: Atom(start + 290) },
    ];
    let number = |number: &str| Some(PhoneNumber::new(number).unwrap());
    let templates = |code: Option<&str>, language: Option<&str>, category| Select::Templates {
        code: code.map(text),
        language: language.map(text),
        category,
    };
    let mut questions = Vec::new();
    for (windows, side) in [
        (always(), None),
        (always(), Some(Side::After)),
        (atoms, Some(Side::Before)),
        (gaps, None),
        (vec![], None),
    ] {
        for select in [
            Select::Numbers { number: None, attribution: None },
            Select::Numbers { number: number("1"), attribution: None },
            templates(None, None, None),
            templates(None, Some("en"), Some(Category::Marketing)),
            templates(Some("SALE"), None, None),
            templates(Some("SALE"), Some("en_US"), None),
        ] {
            let windows = windows.clone();
            questions.push(Query { channel: channel(of), select, side, windows });
        }
    }
    questions
}

/// Channels whose names begin like each other.
pub(super) const LOOK_ALIKES: [&str; 6] = ["a", "a!", "aa", "cams-1", "cams-11", "~"];
