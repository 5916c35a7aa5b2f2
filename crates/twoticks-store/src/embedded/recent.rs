//! The messages that were touched last, in memory: most of what is told of a message comes within
//! hours, so that most of it is taken in without asking the engine.
//!
//! Bounded: when it is full, what came first and is in the tables makes room. What is not there
//! yet is never dropped, and how much of that there is, is bounded by who commits it.

use std::hint::black_box;

use hashbrown::HashTable;
use twoticks_core::clock::Time;
use twoticks_core::fold::Touched;
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber};
use twoticks_core::message::{Message, MessageKey};
use twoticks_core::share::Shared;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::embedded::leaving::{Encoded, Leaving};
use crate::layout;

/// What a message takes here, in bytes, about: its state and its share of the index.
pub(crate) const MESSAGE_BYTES: usize = 256;
/// How many messages are looked at for one that can make room.
const STEPS: usize = 64;
/// In tests there is room for so few that they come to the bound.
#[cfg(test)]
const TEST_CAPACITY: usize = 4;

/// Messages by number and hash.
pub(crate) struct Recent {
    slots: Vec<Slot>,
    by_key: HashTable<u32>,
    lines: Vec<Line>,
    by_line: HashTable<u32>,
    /// The line that was used last: what comes together concerns the same.
    last_line: u32,
    /// The message that was found last, and its slot: it is put next.
    found: Option<(At, u32)>,
    /// What rows have in common.
    shared: Shared,
    /// The slot that has to make room next.
    hand: usize,
    capacity: usize,
    /// Slots that changed since the last commit began.
    changed: Vec<u32>,
    /// What had changed when it began.
    leaving: Leaving,
    /// Counts the commits that have begun, from 1.
    generation: u32,
    /// How many of them have ended.
    committed: u32,
}

struct Slot {
    hash: Hash,
    line: u32,
    /// In which generation it changed last; 0 if it is as it was read.
    generation: u32,
    row: Touched<Message>,
}

/// A number of a channel.
struct Line {
    channel: ChannelId,
    number: PhoneNumber,
    /// What the keys of its messages begin with.
    key: Vec<u8>,
}

/// A message's place here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The number's, by [`Recent::line`].
    pub(crate) line: u32,
    pub(crate) hash: Hash,
}

impl Recent {
    /// Room for so many messages, and for those that are not in the tables yet.
    pub(crate) fn new(capacity: usize) -> Self {
        #[cfg(test)]
        let capacity = capacity.min(TEST_CAPACITY);
        Self {
            // The system gives memory when it is used: nothing is copied as it grows, or kept unused.
            slots: Vec::with_capacity(capacity),
            by_key: HashTable::new(),
            lines: Vec::new(),
            by_line: HashTable::new(),
            last_line: 0,
            found: None,
            shared: Shared::default(),
            hand: 0,
            capacity,
            changed: Vec::new(),
            leaving: Leaving::default(),
            generation: 1,
            committed: 0,
        }
    }

    /// Where `key` is or would be.
    pub(crate) fn at(&mut self, key: &MessageKey) -> At {
        let MessageKey { channel, number, message } = key;
        At { line: self.line(channel, number), hash: *message }
    }

    /// The place of a number, which stays as it is.
    pub(crate) fn line(&mut self, channel: &ChannelId, number: &PhoneNumber) -> u32 {
        let is = |line: &Line| line.number == *number && line.channel == *channel;
        if at(&self.lines, self.last_line).is_some_and(is) {
            return self.last_line;
        }
        let Self { lines, by_line, .. } = self;
        let hash = hash_of_line(channel, number);
        let found = by_line.find(hash, |index| at(lines, *index).is_some_and(is)).copied();
        let index = found.unwrap_or_else(|| {
            let index = u32::try_from(lines.len()).expect("there are not that many numbers");
            by_line.insert_unique(hash, index, |index| {
                at(lines, *index).map_or(0, |line| hash_of_line(&line.channel, &line.number))
            });
            let key = layout::number(channel, number);
            lines.push(Line { channel: channel.clone(), number: number.clone(), key });
            index
        });
        self.last_line = index;
        index
    }

    /// The message's row, if it is here.
    pub(crate) fn get(&mut self, of: At) -> Option<&Touched<Message>> {
        let slots = &self.slots;
        let found = *self.by_key.find(hash_of(of), |index| is_of(slots, *index, of))?;
        self.found = Some((of, found));
        at(slots, found).map(|slot| &slot.row)
    }

    /// The message's row, if it is here; makes no room for it.
    pub(crate) fn find(&self, key: &MessageKey) -> Option<&Touched<Message>> {
        let MessageKey { channel, number, message } = key;
        let is = |line: &Line| line.number == *number && line.channel == *channel;
        let hash = hash_of_line(channel, number);
        let line = *self.by_line.find(hash, |index| at(&self.lines, *index).is_some_and(is))?;
        let of = At { line, hash: *message };
        let found = *self.by_key.find(hash_of(of), |index| is_of(&self.slots, *index, of))?;
        at(&self.slots, found).map(|slot| &slot.row)
    }

    /// Whether the message is here. Reads as much of it as it takes to have all of it at hand.
    pub(crate) fn touch(&self, of: At) -> bool {
        let found = self.by_key.find(hash_of(of), |index| is_of(&self.slots, *index, of));
        let slot = found.and_then(|index| at(&self.slots, *index));
        black_box(slot.map(|slot| (slot.row.accepted, slot.row.row.template().is_some())));
        slot.is_some()
    }

    /// Reads what it takes to have room for so many messages more.
    pub(crate) fn touch_next(&self, messages: usize) {
        let Self { slots, by_key, hand, capacity, .. } = self;
        if slots.len() < *capacity {
            return;
        }
        for hand in (*hand + 1..slots.len()).take(messages) {
            let Some(Slot { line, hash, .. }) = slots.get(hand) else { return };
            let of = At { line: *line, hash: *hash };
            black_box(by_key.find(hash_of(of), |index| usize::try_from(*index) == Ok(hand)));
        }
    }

    /// Puts the key of a message behind `key`.
    pub(crate) fn put_key(&self, of: At, key: &mut Vec<u8>) {
        if let Some(line) = at(&self.lines, of.line) {
            key.extend_from_slice(&line.key);
            key.extend_from_slice(&of.hash.0);
        }
    }

    /// Takes the message's row out, if it is here, until it is kept or put.
    pub(crate) fn take(&mut self, of: At) -> Option<Touched<Message>> {
        let slots = &self.slots;
        let found = *self.by_key.find(hash_of(of), |index| is_of(slots, *index, of))?;
        self.found = Some((of, found));
        self.leave(found);
        let nothing = Touched { accepted: Time::default(), row: Message::default() };
        at_mut(&mut self.slots, found).map(|slot| std::mem::replace(&mut slot.row, nothing))
    }

    /// Keeps what was read from the tables, or taken from here and has not changed.
    pub(crate) fn keep(&mut self, of: At, mut row: Touched<Message>) {
        if let Some((_, index)) = self.found.take_if(|(last, _)| *last == of) {
            if let Some(slot) = at_mut(&mut self.slots, index) {
                slot.row = row;
            }
            return;
        }
        self.shared.share(&mut row.row);
        self.insert(of, row, 0);
    }

    /// Puts a row that is to be committed.
    pub(crate) fn put(&mut self, of: At, mut row: Touched<Message>) {
        self.shared.share(&mut row.row);
        let slots = &self.slots;
        let found = match self.found.take_if(|(last, _)| *last == of) {
            Some((_, index)) => Some(index),
            None => self.by_key.find(hash_of(of), |index| is_of(slots, *index, of)).copied(),
        };
        let Some(index) = found else {
            let index = self.insert(of, row, self.generation);
            self.changed.push(index);
            return;
        };
        self.leave(index);
        let Some(slot) = at_mut(&mut self.slots, index) else { return };
        slot.row = row;
        if slot.generation != self.generation {
            slot.generation = self.generation;
            self.changed.push(index);
        }
    }

    fn insert(&mut self, of: At, row: Touched<Message>, generation: u32) -> u32 {
        // What was found may have to make room.
        self.found = None;
        let slot = Slot { hash: of.hash, line: of.line, generation, row };
        let index = match self.make_room() {
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("memory for messages is bounded")
            }
            Some(index) => {
                if let Some(place) = at_mut(&mut self.slots, index) {
                    *place = slot;
                }
                index
            }
        };
        let slots = &self.slots;
        self.by_key.insert_unique(hash_of(of), index, |index| {
            at(slots, *index).map_or(0, |slot| hash_of(At { line: slot.line, hash: slot.hash }))
        });
        index
    }

    /// A slot that can be used again, if there is no room for more.
    fn make_room(&mut self) -> Option<u32> {
        if self.slots.len() < self.capacity {
            return None;
        }
        for _ in 0..STEPS {
            self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
            let slot = self.slots.get(self.hand)?;
            if slot.generation <= self.committed {
                let index = u32::try_from(self.hand).ok()?;
                let of = At { line: slot.line, hash: slot.hash };
                if let Ok(entry) = self.by_key.find_entry(hash_of(of), |other| *other == index) {
                    entry.remove();
                }
                return Some(index);
            }
        }
        None
    }

    /// How many messages are to be committed.
    pub(crate) fn changed(&self) -> usize {
        self.changed.len()
    }

    /// Begins a commit of what has changed since the last one began; says its number.
    pub(crate) fn begin_commit(&mut self) -> u32 {
        self.leaving.begin(&mut self.changed);
        self.generation += 1;
        self.generation - 1
    }

    /// Whether a commit has begun whose messages are not all encoded.
    pub(crate) fn is_committing(&self) -> bool {
        self.leaving.is_under_way()
    }

    /// Encodes about so many messages more of a commit that has begun, each as it was then. All of
    /// them, in any order, when there are no more; once.
    pub(crate) fn go_on_committing(&mut self, messages: usize) -> Option<Encoded> {
        if !self.leaving.is_under_way() {
            return None;
        }
        for _ in 0..messages {
            let Some(index) = self.leaving.next() else { return Some(self.leaving.end()) };
            self.leave(index);
        }
        None
    }

    /// Encodes the message of a slot, which may change after that, if a commit has still to.
    fn leave(&mut self, index: u32) {
        if self.leaving.takes(index)
            && let Some(slot) = at(&self.slots, index)
            && let Some(line) = at(&self.lines, slot.line)
        {
            self.leaving.put(&line.key, &slot.hash, &slot.row);
        }
    }

    /// The commit `number` and all before it have ended.
    pub(crate) fn end_commit(&mut self, number: u32) {
        self.committed = self.committed.max(number);
    }

    /// Whether the message is here and newer than in the tables, or may be.
    pub(crate) fn is_newer(&self, of: At) -> bool {
        let slots = &self.slots;
        let found = self.by_key.find(hash_of(of), |index| is_of(slots, *index, of));
        let slot = found.and_then(|index| at(slots, *index));
        slot.is_some_and(|slot| slot.generation > self.committed)
    }

    /// Calls `visit` with every message of a channel that is newer than in the tables, or may be.
    pub(crate) fn each_newer(
        &self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&MessageKey, &Touched<Message>),
    ) {
        for slot in self.slots.iter().filter(|slot| slot.generation > self.committed) {
            let line = at(&self.lines, slot.line).filter(|line| line.channel == *channel);
            if let Some(Line { channel, number, key: _ }) = line {
                let (channel, number) = (channel.clone(), number.clone());
                visit(&MessageKey { channel, number, message: slot.hash }, &slot.row);
            }
        }
    }
}

fn at<T>(all: &[T], index: u32) -> Option<&T> {
    all.get(usize::try_from(index).ok()?)
}

fn at_mut<T>(all: &mut [T], index: u32) -> Option<&mut T> {
    all.get_mut(usize::try_from(index).ok()?)
}

fn is_of(slots: &[Slot], index: u32, of: At) -> bool {
    at(slots, index).is_some_and(|slot| slot.hash == of.hash && slot.line == of.line)
}

/// Hashes of messages are keyed and evenly spread: there is little left to do.
fn hash_of(of: At) -> u64 {
    let [low, high] = halves(of.hash.0);
    let mixed = u128::from(low ^ u64::from(of.line)) * u128::from(high | 1 << 63);
    let [one, two] = halves(mixed.to_le_bytes());
    one ^ two ^ high.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn halves([a, b, c, d, e, f, g, h, rest @ ..]: [u8; 16]) -> [u64; 2] {
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest)]
}

fn hash_of_line(channel: &ChannelId, number: &PhoneNumber) -> u64 {
    let seed = xxh3_64_with_seed(channel.as_str().as_bytes(), 0);
    xxh3_64_with_seed(number.as_str().as_bytes(), seed)
}
