//! The life of many messages as one stream, without a server: for benchmarks and for tests.
//!
//! [`events()`] gives facts as the ledger takes them, [`bodies()`] the webhooks that carry them,
//! [`batches()`] webhooks together with the facts in them. All come from a seed and a [`Plan`]; who is in it says [`Cast`]. Memory holds what is under
//! way, never the whole: with [`Order::OfArrival`] a few days of statuses, with
//! [`Order::Shuffled`] nothing. What always holds: the same seed and plan give the same stream,
//! and both orders hold the same facts.

mod cast;
mod order;

use std::sync::Arc;

use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::event::{
    Button, ButtonKind, Category, Event, MessageEvent, Status as Happened, TapEvent,
};
use twoticks_core::ids::{Hash, Text};

pub use cast::{Cast, CastNumber, CastTemplate};

use crate::dice::{Dice, seed_of};
use crate::habits::{Purpose, market_of};
use crate::life::{Circumstances, Outcome, STEPS_MAX, What, life, limited_usually};
use crate::meta::{self, Opened, Price, Recipient, Status, Tap, Update, Version, Word};
use crate::wamid::wamid;

/// What a stream is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How many messages.
    pub messages: u64,
    /// Over how many days they are sent.
    pub days: u32,
    /// When the first is sent.
    pub start: Time,
    /// How many channels there are.
    pub channels: u32,
    /// How many business numbers, shared out over the channels.
    pub numbers: u32,
    /// How many templates, shared out over the channels; the first is sent most (Zipf).
    pub templates: u32,
    /// How many of a thousand facts are told twice; every tenth of those days later.
    pub repeated: i64,
    /// In which order facts come.
    pub order: Order,
}

/// The order of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they would arrive.
    OfArrival,
    /// In any order, all of them within one day, after the last of them has happened.
    Shuffled,
}

/// 2026-07-01T00:00:00Z
const START: Time = Time(1_782_864_000_000);

impl Plan {
    /// 90 days of 20 channels with 50 numbers and 1,000 templates, in the order of arrival.
    #[must_use]
    pub fn life_like(messages: u64) -> Self {
        Self {
            messages,
            days: 90,
            start: START,
            channels: 20,
            numbers: 50,
            templates: 1_000,
            repeated: 100,
            order: Order::OfArrival,
        }
    }

    /// The same facts in any order.
    #[must_use]
    pub fn hostile(messages: u64) -> Self {
        Self { order: Order::Shuffled, ..Self::life_like(messages) }
    }

    /// When the last message has been sent.
    #[must_use]
    pub fn end(&self) -> Time {
        self.start.plus(i64::from(self.days) * DAY)
    }
}

/// Something that is told of a message of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Arrival {
    /// When it arrives.
    arrives: Time,
    /// Which message of the plan.
    message: u64,
    /// When it happened, to the second.
    at: Time,
    what: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The carrier took it: known from the send, not from a webhook.
    Accepted,
    Step {
        what: What,
        /// Whether it says what the message is charged as.
        is_priced: bool,
    },
}

/// The most that is told of one message: all of its life, twice.
const ARRIVALS_MAX: usize = 2 * (STEPS_MAX + 1);

/// Everything that is told of one message.
struct Arrivals {
    all: [Arrival; ARRIVALS_MAX],
    length: usize,
}

impl Arrivals {
    fn push(&mut self, arrival: Arrival) {
        if let Some(place) = self.all.get_mut(self.length) {
            *place = arrival;
            self.length += 1;
        }
    }

    fn all(&self) -> &[Arrival] {
        self.all.get(..self.length).unwrap_or_default()
    }
}

/// The messages of a plan.
#[derive(Debug)]
struct Messages {
    seed: u64,
    plan: Plan,
    cast: Cast,
}

/// What a message of the plan is.
struct Draft<'a> {
    number: &'a CastNumber,
    template: &'a CastTemplate,
    recipient: String,
    seed: u64,
}

impl Messages {
    fn new(seed: u64, plan: &Plan) -> Self {
        Self { seed, plan: *plan, cast: Cast::of(plan) }
    }

    /// When the message `index` is sent: in the order of indices.
    fn sent(&self, index: u64) -> Time {
        order::instant(&self.plan, index)
    }

    fn draft(&self, index: u64) -> Draft<'_> {
        let seed = seed_of(self.seed, index);
        let mut dice = Dice::new(seed);
        let template = self.cast.template(&mut dice);
        let number = self.cast.number(&mut dice, template);
        // Three of five live where the number's customers live, the others next door.
        let calling = if dice.chance(600) { "62" } else { number.calling };
        let recipient = format!("{calling}8{:09}", dice.below(1_000_000_000));
        Draft { number, template, recipient, seed }
    }

    fn arrivals(&self, index: u64) -> Arrivals {
        let draft = self.draft(index);
        let accepted = self.sent(index);
        let circumstances = Circumstances {
            accepted,
            purpose: Purpose::Template(draft.template.category),
            market: market_of(&draft.recipient),
            buttons: &draft.template.kinds,
            appeal: draft.template.appeal,
            limited: limited_usually(),
            tells_links: draft.template.category == Category::Marketing,
            outcome: Outcome::Life,
        };
        let dice = &mut Dice::new(seed_of(draft.seed, 1));
        let first =
            Arrival { arrives: accepted, message: index, at: accepted, what: Told::Accepted };
        let mut told = Arrivals { all: [first; ARRIVALS_MAX], length: 0 };
        self.repeat(dice, first, &mut told);
        let mut is_priced = false;
        for step in life(seed_of(draft.seed, 2), &circumstances).steps() {
            let prices = matches!(step.what, What::Delivered | What::Read) && !is_priced;
            is_priced |= prices;
            let arrival = Arrival {
                arrives: step.at.plus(dice.between(60, 700)),
                message: index,
                at: Time(step.at.second() * SECOND),
                what: Told::Step { what: step.what, is_priced: prices },
            };
            self.repeat(dice, arrival, &mut told);
        }
        told
    }

    fn repeat(&self, dice: &mut Dice, arrival: Arrival, told: &mut Arrivals) {
        told.push(arrival);
        if dice.chance(self.plan.repeated) {
            let later = match dice.chance(100) {
                true => dice.between(DAY, 6 * DAY),
                false => dice.between(SECOND, 60 * SECOND),
            };
            told.push(Arrival { arrives: arrival.arrives.plus(later), ..arrival });
        }
    }

    fn hash(&self, of: u64, index: u64) -> Hash {
        let mut dice = Dice::new(seed_of(seed_of(self.seed, of), index));
        let mut bytes = [0; 16];
        let rolls = [dice.roll(), dice.roll()].map(u64::to_le_bytes).concat();
        bytes.iter_mut().zip(rolls).for_each(|(to, from)| *to = from);
        Hash(bytes)
    }

    /// The fact, as the ledger takes it. With `signed` it is as a webhook tells it, whose statuses
    /// name their template by our sign.
    fn event(&self, arrival: &Arrival, draft: &Draft<'_>, signed: bool) -> Event {
        let (channel, number) = (draft.number.channel.clone(), draft.number.phone_number.clone());
        let message = self.hash(1, arrival.message);
        let status = |status, error, pricing, claim| {
            Event::Message(MessageEvent {
                channel: channel.clone(),
                number: number.clone(),
                message,
                participant: Vec::new(),
                time: arrival.at,
                status: Some(status),
                error,
                pricing,
                claim,
            })
        };
        let sign = signed.then(|| Arc::clone(&draft.template.signed));
        let (what, is_priced) = match arrival.what {
            Told::Accepted => {
                let claim = Arc::clone(&draft.template.sent);
                return status(Happened::Accepted, None, None, Some(claim));
            }
            Told::Step { what, is_priced } => (what, is_priced),
        };
        let pricing = || is_priced.then(|| Arc::clone(&draft.template.pricing));
        let tap = |button: Button, message: Option<Hash>| {
            Event::Tap(TapEvent {
                channel: channel.clone(),
                number: number.clone(),
                id: self.hash(2, arrival.message ^ arrival.at.second().unsigned_abs() << 32),
                time: arrival.at,
                button,
                message,
                sign: None,
            })
        };
        match what {
            What::Sent => status(Happened::Sent, None, None, sign),
            What::Delivered => status(Happened::Delivered, None, pricing(), sign),
            What::Read => status(Happened::Read, None, pricing(), sign),
            What::Failed(failure) => {
                status(Happened::Failed, Some(i64::from(failure.code)), None, sign)
            }
            What::Tapped { button, has_context } => {
                tap(draft.template.button(button), has_context.then_some(message))
            }
            What::Opened { .. } => {
                tap(Button { kind: ButtonKind::Url, text: Text::lossy("cta") }, None)
            }
        }
    }
}

/// The stream of a plan as facts, each with when it is accepted: never earlier than the one before.
pub fn events(seed: u64, plan: &Plan) -> impl Iterator<Item = (Time, Event)> + use<> {
    let messages = Messages::new(seed, plan);
    let mut arrivals = order::Arriving::new(&messages);
    std::iter::from_fn(move || {
        let arrival = arrivals.next(&messages)?;
        let draft = messages.draft(arrival.message);
        Some((arrival.arrives, messages.event(&arrival, &draft, false)))
    })
}

/// A webhook of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// When it arrives.
    pub accepted: Time,
    /// How many updates it has.
    pub updates: usize,
    /// Its bytes, to be signed as they are.
    pub bytes: Vec<u8>,
}

/// The stream of a plan as webhooks of at least `least` and at most `most` updates each (fewer in
/// the last). Templates are told by our sign in `biz_opaque_callback_data`.
pub fn bodies(seed: u64, plan: &Plan, sizes: (usize, usize)) -> impl Iterator<Item = Body> + use<> {
    gathered(seed, plan, sizes, |messages, told, accepted| {
        let bytes = written(&named(messages, told));
        Body { accepted, updates: told.len(), bytes }
    })
}

/// A webhook of a stream and what it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// When it arrives.
    pub accepted: Time,
    /// The facts in it, number by number.
    pub events: Vec<Event>,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// The same webhooks as [`bodies()`], with the facts in them as they are read from the bytes; only
/// that ids are hashed with the seed, not under a key.
pub fn batches(
    seed: u64,
    plan: &Plan,
    sizes: (usize, usize),
) -> impl Iterator<Item = Batch> + use<> {
    gathered(seed, plan, sizes, |messages, told, accepted| {
        let names = named(messages, told);
        let events = names.iter().map(|it| messages.event(it.arrival, &it.draft, true)).collect();
        Batch { accepted, events, body: written(&names) }
    })
}

/// What `make` makes of as many updates as a webhook of the stream has, and when they arrive.
fn gathered<T>(
    seed: u64,
    plan: &Plan,
    (least, most): (usize, usize),
    make: fn(&Messages, &[Arrival], Time) -> T,
) -> impl Iterator<Item = T> + use<T> {
    let messages = Messages::new(seed, plan);
    let mut arrivals = order::Arriving::new(&messages);
    let most = most.clamp(1, meta::UPDATES_MAX);
    let least = least.clamp(1, most);
    let mut dice = Dice::new(seed_of(seed, u64::MAX));
    let mut told: Vec<Arrival> = Vec::with_capacity(most);
    std::iter::from_fn(move || {
        let size = least + usize::try_from(dice.below((most - least + 1) as u64)).unwrap_or(0);
        told.clear();
        while told.len() < size {
            let Some(arrival) = arrivals.next(&messages) else { break };
            if arrival.what != Told::Accepted {
                told.push(arrival);
            }
        }
        let accepted = told.last()?.arrives;
        Some(make(&messages, &told, accepted))
    })
}

/// What the writer borrows from.
struct Names<'a> {
    arrival: &'a Arrival,
    draft: Draft<'a>,
    wamid: String,
    id: String,
}

/// What is told, number by number.
fn named<'a>(messages: &'a Messages, told: &'a [Arrival]) -> Vec<Names<'a>> {
    let mut names: Vec<Names<'_>> = told
        .iter()
        .map(|arrival| {
            let draft = messages.draft(arrival.message);
            let wamid = wamid(&mut Dice::new(seed_of(draft.seed, 3)), &draft.recipient);
            let id = match arrival.what {
                Told::Step { what: What::Tapped { .. } | What::Opened { .. }, .. } => {
                    let second = arrival.at.second().unsigned_abs();
                    crate::wamid::wamid(&mut Dice::new(seed_of(draft.seed, second)), "in")
                }
                _ => String::new(),
            };
            Names { arrival, draft, wamid, id }
        })
        .collect();
    names.sort_by(|a, b| a.draft.number.phone_number.cmp(&b.draft.number.phone_number));
    names
}

fn written(names: &[Names<'_>]) -> Vec<u8> {
    let updates: Vec<Update<'_>> = names.iter().map(update).collect();
    let numbers = meta::by_number(names, &updates, |it| {
        let number = it.draft.number;
        [number.waba_id.as_str(), number.phone_number.as_str(), number.phone_number_id.as_str()]
    });
    let mut out = Vec::with_capacity(64 + names.len() * 700);
    meta::body(&mut out, Version::NEWEST, &numbers);
    out
}

fn update<'a>(names: &'a Names<'a>) -> Update<'a> {
    let Names { arrival, draft, wamid, id } = names;
    let second = arrival.at.second();
    let recipient = Recipient::Number(&draft.recipient);
    let Told::Step { what, is_priced } = arrival.what else {
        // Left out by `bodies`: a carrier's yes is no webhook.
        return Update::Opened(Opened { id, second });
    };
    let price =
        Price { kind: "regular", category: draft.template.category.as_str(), cost_micros: None };
    let status = |word, failure| {
        Update::Status(Status {
            wamid,
            word,
            second,
            recipient,
            member: None,
            callback_data: Some(&draft.template.sign),
            price: (is_priced || word == Word::Sent).then_some(price),
            failure,
        })
    };
    match what {
        What::Sent => status(Word::Sent, None),
        What::Delivered => status(Word::Delivered, None),
        What::Read => status(Word::Read, None),
        What::Failed(failure) => status(Word::Failed, Some(failure)),
        What::Tapped { button, has_context } => Update::Tap(Tap {
            id,
            second,
            from: recipient,
            text: draft.template.text(button),
            payload: None,
            context: has_context.then_some((draft.number.phone_number.as_str(), wamid.as_str())),
        }),
        What::Opened { .. } => Update::Opened(Opened { id, second }),
    }
}

#[cfg(test)]
mod tests;
