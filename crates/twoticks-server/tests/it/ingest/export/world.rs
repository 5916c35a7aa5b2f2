//! A server with something of everything in it.

use twoticks_core::clock::{DAY, Time};
use twoticks_core::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Cost, Event, MessageEvent, Pricing, Source,
    Status, TapEvent,
};
use twoticks_core::ids::{Hash, Template};
use twoticks_store::ledger::{Batch, Kind, Ledger as _};

use crate::ingest::harness::{Server, channel, number, text};

/// 2026-10-23T22:00:00Z: two days later Berlin turns its clocks back.
pub(super) const START: Time = Time(1_792_792_800_000);
const DAYS: i64 = 5;

/// A server with messages of four days, taps, failures, costs, an opt-in in the middle.
pub(super) async fn filled(seed: u64) -> Server {
    let server = Server::new().await;
    server.clock.set(START.plus(DAYS * DAY));
    let mut state = seed;
    let mut roll = move |sides: i64| {
        // Knuth's generator, its upper half: the same numbers for the same seed.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(state >> 33).unwrap() % sides
    };
    let ids = ["a", "b", "z"];
    let mut events = Vec::new();
    for id in ids {
        let time = START.plus(2 * DAY + 500);
        events.push(Event::OptIn { channel: channel(id), time });
        events.push(Event::Category(CategoryEvent {
            channel: channel(id),
            template: template(0),
            effective: START.plus(DAY),
            category: Category::Marketing,
            previous: Some(Category::Utility),
        }));
    }
    for n in 0..300_u16 {
        let id = ids[usize::try_from(roll(3)).unwrap()];
        let mut hash = [7; 16];
        hash[..2].copy_from_slice(&n.to_be_bytes());
        let sent = START.plus(roll(4 * DAY));
        let told = |status, time| MessageEvent {
            channel: channel(id),
            number: number(id),
            message: Hash(hash),
            participant: vec![],
            time,
            status,
            error: None,
            pricing: None,
            claim: None,
        };
        let participant = if roll(10) == 0 { 1 + roll(3) } else { 0 };
        if roll(5) > 0 {
            let campaign = (roll(2) == 0).then(|| text("spring"));
            let template = (roll(6) > 0).then(|| template(roll(2)));
            let campaign = campaign.filter(|_| template.is_some());
            let claim = Some(Claim { source: Source::Send, template, campaign }.into());
            events.push(Event::Message(MessageEvent { claim, ..told(None, sent) }));
        }
        for person in 0..participant.max(1) {
            let participant = if participant == 0 {
                vec![]
            } else {
                vec![Hash([u8::try_from(person).unwrap(); 16])]
            };
            let mut tell = |status, time, error, pricing| {
                let participant = participant.clone();
                let event =
                    MessageEvent { participant, error, pricing, ..told(Some(status), time) };
                events.push(Event::Message(event));
            };
            tell(Status::Accepted, sent.plus(-10), None, None);
            match roll(4) {
                0 => tell(Status::Failed, sent.plus(99), Some(131_000 + roll(2)), None),
                1 => tell(Status::Sent, sent, None, None),
                _ => {
                    let cost = Cost::new(text(if roll(2) == 0 { "USD" } else { "EUR" }), roll(9));
                    let pricing = Pricing {
                        category: text("marketing"),
                        kind: text("regular"),
                        model: text("PMP"),
                        cost,
                    };
                    let delivered = sent.plus(roll(3_600_000));
                    tell(Status::Delivered, delivered, None, Some(pricing.into()));
                    if roll(2) == 0 {
                        tell(Status::Read, delivered.plus(roll(3 * 3_600_000)), None, None);
                    }
                }
            }
        }
        if roll(4) == 0 {
            let message = Some(Hash(hash)).filter(|_| roll(3) > 0);
            let button = Button {
                kind: ButtonKind::QuickReply,
                text: text(["Yes", "a \"b\",\u{e9}"][usize::from(n % 2)]),
            };
            events.push(Event::Tap(TapEvent {
                channel: channel(id),
                number: number(id),
                id: Hash(hash),
                time: sent.plus(roll(DAY)),
                button,
                message,
                sign: None,
            }));
        }
    }
    for (index, events) in events.chunks(100).enumerate() {
        // The last one is accepted later than all others.
        let accepted = START.plus(4 * DAY + i64::try_from(index).unwrap());
        record(&server, accepted, events.to_vec()).await;
    }
    server
}

async fn record(server: &Server, accepted: Time, events: Vec<Event>) {
    let batch = Batch {
        kind: Kind::Webhook,
        accepted,
        origin: String::new(),
        channel: None,
        group: None,
        events,
        dead: vec![],
        resolves: None,
        body: b"a body that is not exported".to_vec(),
    };
    server.ledger.record(batch).await.unwrap();
}

fn template(n: i64) -> Template {
    Template { code: text(["promo", "order"][usize::try_from(n).unwrap()]), language: text("en") }
}
