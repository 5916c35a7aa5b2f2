//! The events of an entry, packed: what they share is written once.
//!
//! The events of a webhook are of few numbers, templates and prices. Those are listed first, each
//! once, and events name them by index:
//!
//! `senders: count, each channel and number | claims: count | prices: count | events: count, each`
//!
//! A message's event is `flags (1) | status (1) | sender | hash (16) | time | error | price | claim`
//! ` | participants`, of which the flags say what is there; times are differences to the one
//! before. Every other event is [`OTHER`], its length and postcard. Counts, indices and lengths are
//! LEB128, times and codes zigzag; claims and prices are postcard behind their length. Read back,
//! events that named the same share it in memory, too.

use std::hash::Hasher;
use std::sync::Arc;

use hashbrown::HashTable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use twoticks_core::clock::Time;
use twoticks_core::event::{Claim, Event, MessageEvent, Pricing, Status};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::varint::{get, get_signed, put, put_signed};

/// The sender is that of the message before.
const SAME_SENDER: u8 = 1;
const STATUS: u8 = 1 << 1;
const ERROR: u8 = 1 << 2;
const PRICE: u8 = 1 << 3;
const CLAIM: u8 = 1 << 4;
const PARTICIPANTS: u8 = 1 << 5;
/// Not about a message.
const OTHER: u8 = 1 << 7;

/// A number and its channel.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Sender {
    channel: ChannelId,
    number: PhoneNumber,
}

/// What several events name, in the order of their first use.
struct Names<T> {
    all: Vec<T>,
    by_hash: HashTable<u32>,
    last: u32,
}

impl<T: PartialEq + std::hash::Hash> Names<T> {
    fn new() -> Self {
        Self { all: Vec::new(), by_hash: HashTable::new(), last: 0 }
    }

    fn at(&self, index: u32) -> Option<&T> {
        self.all.get(usize::try_from(index).ok()?)
    }

    fn index(&mut self, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> u32 {
        // What comes together concerns the same.
        if self.at(self.last).is_some_and(&is) {
            return self.last;
        }
        let made = make();
        let hash = hash(&made);
        let found = self.by_hash.find(hash, |index| self.at(*index) == Some(&made)).copied();
        self.last = found.unwrap_or_else(|| {
            let index = u32::try_from(self.all.len()).expect("events of a batch are bounded");
            let all = &self.all;
            self.by_hash.insert_unique(hash, index, |index| {
                let known = usize::try_from(*index).ok().and_then(|index| all.get(index));
                known.map_or(0, self::hash)
            });
            self.all.push(made);
            index
        });
        self.last
    }
}

fn hash(of: &impl std::hash::Hash) -> u64 {
    let mut chain = Chain(0);
    of.hash(&mut chain);
    chain.finish()
}

/// Hashes each part on top of those before: parts are short, and there is no state to set up.
struct Chain(u64);

impl Hasher for Chain {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Puts `events` behind `out`.
pub(crate) fn put_events(out: &mut Vec<u8>, events: &[Event]) {
    let (mut senders, mut claims, mut prices) = (Names::new(), Names::new(), Names::new());
    let mut packed = Vec::with_capacity(events.len() * 32);
    let mut before = Before::default();
    for event in events {
        let Event::Message(event) = event else {
            packed.push(OTHER);
            put_row(&mut packed, event);
            continue;
        };
        let MessageEvent {
            channel,
            number,
            message,
            participant,
            time,
            status,
            error,
            pricing,
            claim,
        } = event;
        let sender = senders.index(
            |known: &Sender| known.number == *number && known.channel == *channel,
            || Sender { channel: channel.clone(), number: number.clone() },
        );
        let is_same = before.sender == Some(sender);
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        packed.push(
            flag(is_same, SAME_SENDER)
                | flag(status.is_some(), STATUS)
                | flag(error.is_some(), ERROR)
                | flag(pricing.is_some(), PRICE)
                | flag(claim.is_some(), CLAIM)
                | flag(!participant.is_empty(), PARTICIPANTS),
        );
        packed.extend(status.map(|status| status as u8));
        if !is_same {
            put(&mut packed, sender.into());
        }
        packed.extend_from_slice(&message.0);
        put_signed(&mut packed, time.0.wrapping_sub(before.time));
        before = Before { sender: Some(sender), time: time.0 };
        if let Some(error) = error {
            put_signed(&mut packed, *error);
        }
        if let Some(pricing) = pricing {
            put(
                &mut packed,
                prices.index(|known| same(known, pricing), || Arc::clone(pricing)).into(),
            );
        }
        if let Some(claim) = claim {
            put(&mut packed, claims.index(|known| same(known, claim), || Arc::clone(claim)).into());
        }
        if !participant.is_empty() {
            put(&mut packed, participant.len() as u64);
            participant.iter().for_each(|id| packed.extend_from_slice(&id.0));
        }
    }
    put(out, senders.all.len() as u64);
    for Sender { channel, number } in &senders.all {
        put_row(out, channel);
        put_row(out, number);
    }
    put_all(out, &claims.all);
    put_all(out, &prices.all);
    put(out, events.len() as u64);
    out.append(&mut packed);
}

fn same<T: PartialEq>(one: &Arc<T>, two: &Arc<T>) -> bool {
    Arc::ptr_eq(one, two) || one == two
}

/// What the event before told, of what the next one tells only the difference.
#[derive(Default)]
struct Before {
    sender: Option<u32>,
    time: i64,
}

fn put_all<T: Serialize>(out: &mut Vec<u8>, all: &[Arc<T>]) {
    put(out, all.len() as u64);
    all.iter().for_each(|one| put_row(out, one.as_ref()));
}

fn put_row(out: &mut Vec<u8>, row: &impl Serialize) {
    let row = postcard::to_stdvec(row).expect("every part of an event has a length that is known");
    put(out, row.len() as u64);
    out.extend_from_slice(&row);
}

/// Takes what [`put_events`] put from the beginning of `rest`; `None` if it is not that.
pub(crate) fn get_events(rest: &mut &[u8]) -> Option<Vec<Event>> {
    let senders = (0..get(rest)?)
        .map(|_| Some(Sender { channel: get_row(rest)?, number: get_row(rest)? }))
        .collect::<Option<Vec<_>>>()?;
    let claims: Vec<Arc<Claim>> = get_all(rest)?;
    let prices: Vec<Arc<Pricing>> = get_all(rest)?;
    let count = usize::try_from(get(rest)?).ok()?;
    // An event has two bytes at least: a count that is rubbish must not reserve memory.
    let mut events = Vec::with_capacity(count.min(rest.len() / 2));
    let mut before = Before::default();
    for _ in 0..count {
        let flags = byte(rest)?;
        if flags == OTHER {
            events.push(get_row(rest)?);
            continue;
        }
        let has = |flag: u8| flags & flag != 0;
        let status =
            if has(STATUS) { Some(*Status::ALL.get(usize::from(byte(rest)?))?) } else { None };
        let sender = match (has(SAME_SENDER), before.sender) {
            (true, Some(sender)) => sender,
            (true, None) => return None,
            (false, _) => u32::try_from(get(rest)?).ok()?,
        };
        let Sender { channel, number } = senders.get(usize::try_from(sender).ok()?)?;
        let message = get_hash(rest)?;
        let time = before.time.wrapping_add(get_signed(rest)?);
        before = Before { sender: Some(sender), time };
        let error = if has(ERROR) { Some(get_signed(rest)?) } else { None };
        let pricing = if has(PRICE) { Some(get_named(&prices, rest)?) } else { None };
        let claim = if has(CLAIM) { Some(get_named(&claims, rest)?) } else { None };
        let participants = if has(PARTICIPANTS) { get(rest)? } else { 0 };
        let participant = (0..participants).map(|_| get_hash(rest)).collect::<Option<Vec<_>>>()?;
        events.push(Event::Message(MessageEvent {
            channel: channel.clone(),
            number: number.clone(),
            message,
            participant,
            time: Time(time),
            status,
            error,
            pricing,
            claim,
        }));
    }
    Some(events)
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, behind) = rest.split_first()?;
    *rest = behind;
    Some(byte)
}

fn get_hash(rest: &mut &[u8]) -> Option<Hash> {
    let (hash, behind) = rest.split_first_chunk::<16>()?;
    *rest = behind;
    Some(Hash(*hash))
}

fn get_named<T>(names: &[Arc<T>], rest: &mut &[u8]) -> Option<Arc<T>> {
    names.get(usize::try_from(get(rest)?).ok()?).cloned()
}

fn get_all<T: DeserializeOwned>(rest: &mut &[u8]) -> Option<Vec<Arc<T>>> {
    (0..get(rest)?).map(|_| get_row(rest).map(Arc::new)).collect()
}

fn get_row<T: DeserializeOwned>(rest: &mut &[u8]) -> Option<T> {
    let length = usize::try_from(get(rest)?).ok()?;
    let (row, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    postcard::from_bytes(row).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::suite::model::any_event;

    proptest! {
        #[test]
        fn any_events_come_back_and_share_what_they_name(
            events in prop::collection::vec(any_event(), 0..40),
        ) {
            let mut out = Vec::new();
            put_events(&mut out, &events);
            out.push(7);
            let mut rest = out.as_slice();
            let read = get_events(&mut rest).unwrap();
            prop_assert_eq!(&read, &events);
            prop_assert_eq!(rest, &[7]);
            let claims: Vec<_> = read
                .iter()
                .filter_map(|event| match event {
                    Event::Message(event) => event.claim.as_ref(),
                    _ => None,
                })
                .collect();
            for one in &claims {
                prop_assert!(claims.iter().all(|two| Arc::ptr_eq(one, two) == (one == two)));
            }
        }

        #[test]
        fn rubbish_and_what_is_cut_are_refused_without_a_panic(
            events in prop::collection::vec(any_event(), 1..8),
            rubbish: Vec<u8>,
        ) {
            let mut out = Vec::new();
            put_events(&mut out, &events);
            for cut in 0..out.len() {
                let mut rest = &out[..cut];
                prop_assert!(get_events(&mut rest).is_none(), "cut at {}", cut);
            }
            let _ = get_events(&mut rubbish.as_slice());
        }
    }
}
