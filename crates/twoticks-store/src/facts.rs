//! The events of an entry, with what they share once: in memory for the fold, and packed.
//!
//! The events of a webhook are of few numbers, templates and prices. Those are listed first, each
//! once, and events name them by index, so that taking an entry in touches each of them once and
//! not once for each event. Packed:
//!
//! `senders: count, each channel and number | claims: count | prices: count | events: count, each`
//!
//! A message's event is `flags (1) | status (1) | sender | hash (16) | time | error | price | claim`
//! ` | participants`, of which the flags say what is there; times are differences to the one
//! before. Every other event is [`OTHER`], its length and postcard. Counts, indices and lengths are
//! LEB128, times and codes zigzag; claims and prices are postcard behind their length.

use std::hash::Hasher;
use std::sync::Arc;

use hashbrown::HashTable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use twoticks_core::clock::Time;
use twoticks_core::event::{Claim, Event, MessageEvent, MessageFact, Pricing, Status};
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
pub(crate) struct Sender {
    pub(crate) channel: ChannelId,
    pub(crate) number: PhoneNumber,
}

/// The events of an entry, in their order.
#[derive(Default)]
pub(crate) struct Facts {
    senders: Vec<Sender>,
    claims: Vec<Arc<Claim>>,
    prices: Vec<Arc<Pricing>>,
    participants: Vec<Hash>,
    others: Vec<Event>,
    all: Vec<Fact>,
}

/// An event: of a message, or the index of one of the others.
enum Fact {
    Message(Row),
    Other(u32),
}

/// An event of a message, what it names by indices.
struct Row {
    sender: u32,
    message: Hash,
    /// Where those of its participant begin and end.
    participant: (u32, u32),
    time: Time,
    status: Option<Status>,
    error: Option<i64>,
    price: Option<u32>,
    claim: Option<u32>,
}

/// An event as [`Facts`] have it.
pub(crate) enum Told<'a> {
    /// Of which message, by the index of its sender, and what.
    Message(u32, Hash, MessageFact<'a>),
    /// Whatever else.
    Other(&'a Event),
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

    fn index(&mut self, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> u32 {
        let Self { all, by_hash, last } = self;
        // What comes together concerns the same.
        if all.get(at(*last)).is_some_and(&is) {
            return *last;
        }
        let made = make();
        let hash = hash(&made);
        *last = match by_hash.find(hash, |known| all.get(at(*known)) == Some(&made)) {
            Some(known) => *known,
            None => {
                let hash_of = |known: &u32| all.get(at(*known)).map_or(0, self::hash);
                by_hash.insert_unique(hash, index(all.len()), hash_of);
                all.push(made);
                index(all.len() - 1)
            }
        };
        *last
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

impl Facts {
    /// Those of `events`.
    pub(crate) fn of(events: Vec<Event>) -> Self {
        let (mut senders, mut claims, mut prices) = (Names::new(), Names::new(), Names::new());
        let (mut participants, mut others) = (Vec::new(), Vec::new());
        let mut all = Vec::with_capacity(events.len());
        for event in events {
            let event = match event {
                Event::Message(event) => event,
                other => {
                    all.push(Fact::Other(index(others.len())));
                    others.push(other);
                    continue;
                }
            };
            let MessageEvent { channel, number, message, participant, time, status, error, .. } =
                event;
            let sender = senders.index(
                |known: &Sender| known.number == number && known.channel == channel,
                || Sender { channel: channel.clone(), number: number.clone() },
            );
            let first = index(participants.len());
            participants.extend(participant);
            let participant = (first, index(participants.len()));
            let price =
                event.pricing.map(|it| prices.index(|known| same(known, &it), || Arc::clone(&it)));
            let claim =
                event.claim.map(|it| claims.index(|known| same(known, &it), || Arc::clone(&it)));
            all.push(Fact::Message(Row {
                sender,
                message,
                participant,
                time,
                status,
                error,
                price,
                claim,
            }));
        }
        let (senders, claims, prices) = (senders.all, claims.all, prices.all);
        Self { senders, claims, prices, participants, others, all }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Who sends, by index.
    pub(crate) fn senders(&self) -> &[Sender] {
        &self.senders
    }

    /// The event at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<Told<'_>> {
        let row = match self.all.get(index)? {
            Fact::Other(other) => return self.others.get(at(*other)).map(Told::Other),
            Fact::Message(row) => row,
        };
        let &Row { sender, message, time, status, error, .. } = row;
        let participant = self.participant(row);
        let pricing = row.price.and_then(|price| self.prices.get(at(price)));
        let claim = row.claim.and_then(|claim| self.claims.get(at(claim)));
        let fact = MessageFact { participant, time, status, error, pricing, claim };
        Some(Told::Message(sender, message, fact))
    }

    fn participant(&self, row: &Row) -> &[Hash] {
        let (first, end) = row.participant;
        self.participants.get(at(first)..at(end)).unwrap_or_default()
    }

    /// The channels that they are of; one may be said more than once.
    pub(crate) fn channels(&self) -> impl Iterator<Item = &ChannelId> {
        let of_messages = self.senders.iter().map(|sender| &sender.channel);
        of_messages.chain(self.others.iter().map(Event::channel))
    }

    /// Each as it was told.
    pub(crate) fn events(&self) -> impl Iterator<Item = Event> {
        (0..self.len()).filter_map(|index| {
            Some(match self.get(index)? {
                Told::Other(event) => event.clone(),
                Told::Message(sender, message, fact) => {
                    let Sender { channel, number } = self.senders.get(at(sender))?;
                    let MessageFact { participant, time, status, error, pricing, claim } = fact;
                    Event::Message(MessageEvent {
                        channel: channel.clone(),
                        number: number.clone(),
                        message,
                        participant: participant.to_vec(),
                        time,
                        status,
                        error,
                        pricing: pricing.cloned(),
                        claim: claim.cloned(),
                    })
                }
            })
        })
    }

    /// Puts them behind `out`.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let count = |out: &mut Vec<u8>, length: usize| put(out, length as u64);
        count(out, self.senders.len());
        for Sender { channel, number } in &self.senders {
            put_row(out, channel);
            put_row(out, number);
        }
        put_all(out, &self.claims);
        put_all(out, &self.prices);
        count(out, self.len());
        out.reserve(self.len() * 32);
        let mut before = Before::default();
        for fact in &self.all {
            let row = match fact {
                Fact::Message(row) => row,
                Fact::Other(other) => {
                    out.push(OTHER);
                    if let Some(event) = self.others.get(at(*other)) {
                        put_row(out, event);
                    }
                    continue;
                }
            };
            let &Row { sender, message, time: Time(time), status, error, price, claim, .. } = row;
            let participant = self.participant(row);
            let is_same = before.sender == Some(sender);
            let flag = |is: bool, flag: u8| if is { flag } else { 0 };
            out.push(
                flag(is_same, SAME_SENDER)
                    | flag(status.is_some(), STATUS)
                    | flag(error.is_some(), ERROR)
                    | flag(price.is_some(), PRICE)
                    | flag(claim.is_some(), CLAIM)
                    | flag(!participant.is_empty(), PARTICIPANTS),
            );
            out.extend(status.map(|status| status as u8));
            if !is_same {
                put(out, sender.into());
            }
            out.extend_from_slice(&message.0);
            put_signed(out, time.wrapping_sub(before.time));
            before = Before { sender: Some(sender), time };
            if let Some(error) = error {
                put_signed(out, error);
            }
            for named in [price, claim].into_iter().flatten() {
                put(out, named.into());
            }
            if !participant.is_empty() {
                count(out, participant.len());
                participant.iter().for_each(|id| out.extend_from_slice(&id.0));
            }
        }
    }

    /// Takes what [`Facts::put`] put from the beginning of `rest`; `None` if it is not that.
    pub(crate) fn take(rest: &mut &[u8]) -> Option<Self> {
        let senders = (0..get(rest)?)
            .map(|_| Some(Sender { channel: get_row(rest)?, number: get_row(rest)? }))
            .collect::<Option<Vec<_>>>()?;
        let (claims, prices) = (get_all(rest)?, get_all(rest)?);
        let mut facts = Self { senders, claims, prices, ..Self::default() };
        let count = usize::try_from(get(rest)?).ok()?;
        // An event has two bytes at least: a count that is rubbish must not reserve memory.
        facts.all.reserve(count.min(rest.len() / 2));
        let mut before = Before::default();
        for _ in 0..count {
            let flags = byte(rest)?;
            if flags == OTHER {
                facts.all.push(Fact::Other(index(facts.others.len())));
                facts.others.push(get_row(rest)?);
                continue;
            }
            let has = |flag: u8| flags & flag != 0;
            let status =
                if has(STATUS) { Some(*Status::ALL.get(usize::from(byte(rest)?))?) } else { None };
            let sender = match (has(SAME_SENDER), before.sender) {
                (true, Some(sender)) => sender,
                (true, None) => return None,
                (false, _) => get_index(rest, facts.senders.len())?,
            };
            let message = get_hash(rest)?;
            let time = before.time.wrapping_add(get_signed(rest)?);
            before = Before { sender: Some(sender), time };
            let error = if has(ERROR) { Some(get_signed(rest)?) } else { None };
            let price = if has(PRICE) { Some(get_index(rest, facts.prices.len())?) } else { None };
            let claim = if has(CLAIM) { Some(get_index(rest, facts.claims.len())?) } else { None };
            let first = index(facts.participants.len());
            for _ in 0..if has(PARTICIPANTS) { get(rest)? } else { 0 } {
                facts.participants.push(get_hash(rest)?);
            }
            let participant = (first, index(facts.participants.len()));
            let time = Time(time);
            facts.all.push(Fact::Message(Row {
                sender,
                message,
                participant,
                time,
                status,
                error,
                price,
                claim,
            }));
        }
        Some(facts)
    }
}

/// An index into a list of an entry.
fn index(length: usize) -> u32 {
    u32::try_from(length).expect("what an entry has is bounded")
}

/// What an index is to a list.
fn at(index: u32) -> usize {
    usize::try_from(index).unwrap_or(usize::MAX)
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

/// An index of a list that is so long.
fn get_index(rest: &mut &[u8], length: usize) -> Option<u32> {
    let index = u32::try_from(get(rest)?).ok()?;
    (at(index) < length).then_some(index)
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
            let facts = Facts::of(events.clone());
            prop_assert_eq!(&facts.events().collect::<Vec<_>>(), &events);
            facts.put(&mut out);
            out.push(7);
            let mut rest = out.as_slice();
            let read: Vec<_> = Facts::take(&mut rest).unwrap().events().collect();
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
            Facts::of(events).put(&mut out);
            for cut in 0..out.len() {
                let mut rest = &out[..cut];
                prop_assert!(Facts::take(&mut rest).is_none(), "cut at {}", cut);
            }
            drop(Facts::take(&mut rubbish.as_slice()));
        }
    }
}
