//! From what is due to bodies on their way, and what comes of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::event::{Button, ButtonKind};
use twoticks_core::ids::{ChannelId, PhoneNumber, Text};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::names::{Secret, Uid};
use twoticks_wire::webhook::BODY_MAX;
use twoticks_wire::webhook::sign::SignView;

use super::Delivered;
use super::receivers::{Callback, OWN_PATH};
use super::state::{BODY_REMEMBERED_MAX, Due, Message, State, Thing, WebhookRecord};
use crate::book::Entry;
use crate::chaos::{BURST_PER_SECOND, Chaos, Fault, Profile};
use crate::dice::{Dice, seed_of, seed_of_name};
use crate::life::{Step, What};
use crate::meta::{self, Opened, Recipient, Status, Tap, Update, Version, Word};
use crate::post::{Asked, Lane};
use crate::wamid::wamid;

/// How many things are made into bodies at once, at the most.
const TAKEN_MAX: usize = 5_000;
/// For how long something is tried, in milliseconds (Meta: seven days).
const TRIED_FOR: i64 = 7 * DAY;
/// How long after each attempt the next one comes, in seconds; the last one holds on.
const PAUSES: [i64; 9] = [1, 5, 30, 120, 600, 1_800, 3_600, 4 * 3_600, 8 * 3_600];
/// How many updates a body of a burst has.
const BURST_BODY: usize = 100;

/// What goes into bodies together: what has one secret, one account, one chaos and one receiver, of
/// a burst one number. (One app may serve several accounts; here they see nothing of each other.)
type Together<'a> = (&'a str, Option<Uid>, String, Option<PhoneNumber>, Option<Arc<Callback>>);

/// A body on its way.
pub(super) struct Parcel {
    asked: Asked,
    due: Vec<Due>,
    channels: Vec<ChannelId>,
    attempt: u32,
    fault: Option<Fault>,
    /// Of a burst: the number that it is all about, so that one number's rate can be kept.
    burst_of: Option<PhoneNumber>,
    /// Where it goes; else to the own server.
    callback: Option<Arc<Callback>>,
}

/// What came of a body.
pub(super) struct Taken {
    parcel: Parcel,
    answer: Result<u16, String>,
    /// A believer has it.
    is_believed: bool,
    /// A forgery was believed.
    is_fooled: bool,
}

impl State {
    /// Makes bodies of what is due at `now`.
    pub(super) fn parcels(&mut self, snapshot: &Snapshot, now: Time) -> Vec<Parcel> {
        self.catch_up(now);
        let due = self.take_due(now, TAKEN_MAX);
        if due.is_empty() {
            return Vec::new();
        }
        self.rounds += 1;
        let mut dice = Dice::new(seed_of(self.config.seed, self.rounds));
        let version = self.config.version;
        let mut parcels = Vec::new();
        // One body speaks for all channels that share a secret, as one app's does.
        let mut together: BTreeMap<Together<'_>, (Chaos, Vec<Due>)> = BTreeMap::new();
        for due in due {
            let channel = due.thing.channel();
            // What is not there any more says nothing.
            let Some(known) = snapshot.channel(channel) else { continue };
            let Some(secret) = known.app_secrets.last().map(Secret::expose) else { continue };
            let chaos = self.chaos_of(channel);
            let callback = self.callback_of(channel);
            match &*due.thing {
                Thing::Notice { body, .. } => {
                    let bytes = body.clone();
                    let to = (None, callback);
                    parcels.push(wrap(secret, bytes, vec![due], chaos, to, &mut dice));
                }
                Thing::Step { message, step, .. } => {
                    if let What::Tapped { .. } = step.what {
                        self.open_window(&message.phone_number, &message.to, step.at, now);
                    }
                    let number = Some(message.phone_number.clone());
                    let number = number.filter(|_| chaos.has(Profile::Burst));
                    let account = message.account.clone();
                    let key = (secret, account, chaos.to_string(), number, callback);
                    together.entry(key).or_insert_with(|| (chaos, Vec::new())).1.push(due);
                }
            }
        }
        for ((secret, _, _, number, callback), (chaos, mut due)) in together {
            if chaos.has(Profile::Reorder) {
                dice.shuffle(&mut due);
            }
            let mut rest = due.into_iter().peekable();
            while rest.peek().is_some() {
                let size = chaos.body_size(&mut dice);
                let size = if number.is_some() { size.min(BURST_BODY) } else { size };
                let of_body: Vec<Due> = rest.by_ref().take(size).collect();
                for (of_body, bytes) in fitting(version, of_body) {
                    let to = (number.clone(), callback.clone());
                    parcels.push(wrap(secret, bytes, of_body, chaos, to, &mut dice));
                }
            }
        }
        parcels
    }

    /// Enters what was taken into the book, and puts what was not to be told again.
    pub(super) fn settle(&mut self, all: Vec<Taken>, now: Time) -> Delivered {
        let mut delivered = Delivered::default();
        for Taken { parcel, answer, is_believed, is_fooled } in all {
            let Parcel { asked, due, channels, attempt, fault, burst_of: _, callback } = parcel;
            delivered.bodies += 1;
            if is_fooled {
                self.book.believed_a_forgery();
            }
            if is_believed {
                delivered.updates += due.len() as u64;
                due.iter().for_each(|due| self.enter(due, now));
            } else {
                delivered.refused += 1;
            }
            let is_short = asked.body.len() <= BODY_REMEMBERED_MAX;
            let record = WebhookRecord {
                at: now,
                channels,
                updates: due.len(),
                attempt,
                fault: fault.map(word),
                callback: callback.map(|callback| callback.url().to_owned()),
                answer,
                bytes: asked.body.len(),
                body: is_short.then(|| String::from_utf8_lossy(&asked.body).into_owned()),
            };
            Self::remember(&mut self.webhooks, record);
            if !is_believed || fault == Some(Fault::Unheard) {
                for mut due in due {
                    due.attempt += 1;
                    self.again(due, now);
                }
            }
        }
        delivered
    }

    fn again(&mut self, due: Due, now: Time) {
        if now.0.saturating_sub(due.since.0) > TRIED_FOR {
            self.book.lose();
            return;
        }
        let index = usize::try_from(due.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let pause = PAUSES.get(index).or(PAUSES.last()).copied().unwrap_or(1);
        self.put(now.plus(pause * SECOND), due);
    }

    fn enter(&mut self, due: &Due, accepted: Time) {
        let Thing::Step { message, step, member, is_priced } = &*due.thing else { return };
        let price = is_priced.then_some(message.price);
        let Some(page) = message.page else { return };
        let entry = match step.what {
            What::Sent => Entry::Sent,
            What::Delivered => Entry::Delivered(price),
            What::Read => Entry::Read(price),
            What::Failed(failure) => Entry::Failed(failure.code),
            What::Tapped { button, has_context } => {
                let is_signed = payload_of(message, button)
                    .is_some_and(|payload| SignView::parse_payload(payload).is_some());
                let button = button_of(message, button);
                match (has_context, is_signed) {
                    (true, _) => Entry::Tapped(button),
                    (false, true) => Entry::TappedBySign(button),
                    (false, false) => Entry::TappedByNobody(button),
                }
            }
            What::Opened { button } => Entry::Opened {
                told: Button { kind: ButtonKind::Url, text: Text::lossy("cta") },
                button: button_of(message, button),
            },
        };
        // Outside of groups it is always the same person.
        let who = if message.is_group { *member + 1 } else { 0 };
        let id = tap_seed(message, step, *member);
        self.book.enter(page, accepted, step.at.second(), who, id, &entry);
    }
}

fn word(fault: Fault) -> &'static str {
    match fault {
        Fault::Lost => "lost",
        Fault::Unheard => "answer lost",
        Fault::Repeated => "repeated",
        Fault::CutShort => "cut short",
        Fault::BrokenOff => "broken off",
        Fault::Forged => "forged",
    }
}

fn wrap(
    secret: &str,
    bytes: Vec<u8>,
    due: Vec<Due>,
    chaos: Chaos,
    (burst_of, callback): (Option<PhoneNumber>, Option<Arc<Callback>>),
    dice: &mut Dice,
) -> Parcel {
    let attempt = due.iter().map(|due| due.attempt).max().unwrap_or(0);
    let fault = chaos.fault(dice, attempt);
    let mut channels: Vec<ChannelId> = due.iter().map(|due| due.thing.channel().clone()).collect();
    channels.sort_unstable();
    channels.dedup();
    let signature = if fault == Some(Fault::Forged) {
        meta::signature(b"somebody else's secret", &bytes)
    } else {
        meta::signature(secret.as_bytes(), &bytes)
    };
    let asked = Asked {
        method: Method::POST,
        target: callback.as_ref().map_or(OWN_PATH, |callback| callback.target()).to_owned(),
        headers: vec![
            ("content-type".to_owned(), b"application/json".to_vec()),
            ("x-hub-signature-256".to_owned(), signature.into_bytes()),
        ],
        body: Bytes::from(bytes),
    };
    Parcel { asked, due, channels, attempt, fault, burst_of, callback }
}

impl Parcel {
    /// Where it goes; to the own server if nowhere else.
    pub(super) fn callback(&self) -> Option<&Callback> {
        self.callback.as_deref()
    }

    /// Over which of `lanes` it has to go; over any, if it is not of a burst.
    pub(super) fn lane(&self, lanes: usize) -> Option<usize> {
        let number = self.burst_of.as_ref()?;
        let spread = seed_of_name(0, number.as_str()) % lanes.max(1) as u64;
        usize::try_from(spread).ok()
    }

    /// Posts it, with what goes wrong on the way.
    pub(super) async fn post(self, lane: &mut Lane, is_live: bool) -> Taken {
        if is_live && self.burst_of.is_some() {
            // A number's bodies all come over one lane, so its rate is kept by waiting there.
            let milliseconds = self.due.len() as u64 * 1_000 / BURST_PER_SECOND;
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        let failed = |error: crate::post::NoAnswer| error.to_string();
        let (mut is_believed, mut is_fooled) = (false, false);
        let answer = match self.fault {
            Some(Fault::Lost) => Err("it never left".to_owned()),
            Some(Fault::BrokenOff) => {
                let broken = lane.break_off(&self.asked).await;
                Err(broken.err().map_or("broken off".to_owned(), failed))
            }
            Some(Fault::CutShort) => {
                let half = self.asked.body.len() / 2;
                let cut = Asked { body: self.asked.body.slice(..half), ..self.asked.clone() };
                let answer = lane.ask(&cut).await.map(|it| it.status.as_u16()).map_err(failed);
                is_fooled = answer == Ok(200);
                answer
            }
            fault => {
                let mut answer = lane.ask(&self.asked).await;
                if fault == Some(Fault::Repeated) && answer.is_ok() {
                    answer = lane.ask(&self.asked).await;
                }
                let answer = answer.map(|it| it.status.as_u16()).map_err(failed);
                let is_taken = answer == Ok(200);
                is_fooled = is_taken && fault == Some(Fault::Forged);
                is_believed = is_taken && fault != Some(Fault::Forged);
                answer
            }
        };
        Taken { parcel: self, answer, is_believed, is_fooled }
    }
}

/// What tells the taps of one message apart.
fn tap_seed(message: &Message, step: &Step, member: u16) -> u64 {
    seed_of(seed_of(message.seed, 7 + u64::from(member)), step.at.0.unsigned_abs())
}

fn button_of(message: &Message, index: u8) -> Button {
    let button = message.buttons.get(usize::from(index)).cloned();
    button.unwrap_or(Button { kind: ButtonKind::QuickReply, text: Text::lossy("") })
}

/// The payload of the quick reply with this place among all buttons.
fn payload_of(message: &Message, index: u8) -> Option<&str> {
    let before = message.buttons.iter().take(usize::from(index));
    let quick_replies = before.filter(|button| button.kind == ButtonKind::QuickReply).count();
    message.payloads.get(quick_replies).map(String::as_str)
}

/// What the writer borrows from: what happened, and the ids of taps and clicks.
struct Words<'a> {
    message: &'a Message,
    step: &'a Step,
    member: u16,
    is_priced: bool,
    id: String,
}

/// Writes a body, or several where it would be longer than WhatsApp's are.
fn fitting(version: Version, mut due: Vec<Due>) -> Vec<(Vec<Due>, Vec<u8>)> {
    let bytes = written(version, &due);
    if bytes.len() <= BODY_MAX || due.len() < 2 {
        return vec![(due, bytes)];
    }
    let rest = due.split_off(due.len() / 2);
    let mut bodies = fitting(version, due);
    bodies.extend(fitting(version, rest));
    bodies
}

fn written(version: Version, due: &[Due]) -> Vec<u8> {
    let mut words: Vec<Words<'_>> = due
        .iter()
        .filter_map(|due| {
            let Thing::Step { message, step, member, is_priced } = &*due.thing else {
                return None;
            };
            let id = match step.what {
                What::Tapped { .. } | What::Opened { .. } => {
                    let seed = tap_seed(message, step, *member);
                    wamid(&mut Dice::new(seed), &message.to)
                }
                _ => String::new(),
            };
            let member = *member;
            Some(Words { message: message.as_ref(), step, member, is_priced: *is_priced, id })
        })
        .collect();
    // Those of a number stand together, in the order in which they came.
    words.sort_by(|a, b| a.message.phone_number.cmp(&b.message.phone_number));
    let updates: Vec<Update<'_>> = words.iter().map(update).collect();
    let numbers = meta::by_number(&words, &updates, |it| {
        let it = it.message;
        [it.waba_id.as_str(), it.phone_number.as_str(), it.phone_number_id.as_str()]
    });
    let mut out = Vec::with_capacity(128 + due.len() * 600);
    meta::body(&mut out, version, &numbers);
    out
}

fn update<'a>(words: &'a Words<'a>) -> Update<'a> {
    let Words { message, step, member, is_priced, id } = words;
    let second = step.at.second();
    let recipient = Recipient::read(&message.to, message.is_group);
    let person = message.members.get(usize::from(*member)).map(String::as_str);
    let status = |word, failure| {
        Update::Status(Status {
            wamid: &message.wamid,
            word,
            second,
            recipient,
            member: person.filter(|_| message.is_group),
            callback_data: message.sign.as_deref(),
            price: is_priced.then_some(message.price),
            failure,
        })
    };
    match step.what {
        What::Sent => status(Word::Sent, None),
        What::Delivered => status(Word::Delivered, None),
        What::Read => status(Word::Read, None),
        What::Failed(failure) => status(Word::Failed, Some(failure)),
        What::Tapped { button, has_context } => Update::Tap(Tap {
            id,
            second,
            from: match person {
                Some(person) if message.is_group => Recipient::Number(person),
                _ => recipient,
            },
            text: message.buttons.get(usize::from(button)).map_or("", |it| it.text.as_str()),
            payload: payload_of(message, button),
            context: has_context.then_some((message.phone_number.as_str(), message.wamid.as_str())),
        }),
        What::Opened { .. } => Update::Opened(Opened { id, second }),
    }
}
