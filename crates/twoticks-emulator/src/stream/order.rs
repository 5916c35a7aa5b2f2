//! In which order a stream comes, and when its messages are sent.

use std::collections::VecDeque;

use twoticks_core::clock::{DAY, SECOND, Time};

use super::{ARRIVALS_MAX, Arrival, Messages, Order, Plan};
use crate::dice::seed_of;

/// How many messages are sent in each hour of a day (UTC), of a thousand.
const HOURS: [u64; 24] = [
    14, 18, 30, 48, 58, 56, 50, 46, 52, 60, 62, 60, 62, 64, 58, 50, 44, 40, 36, 30, 24, 16, 12, 10,
];
const HOUR: i64 = 3_600 * SECOND;
/// How long a slot is: what arrives within it is sorted together.
const SLOT: i64 = 60 * SECOND;

/// When the message `index` of a plan is sent; later messages never earlier.
pub(super) fn instant(plan: &Plan, index: u64) -> Time {
    let scaled = u128::from(index) * u128::from(plan.days.max(1)) * 1_000_000_000;
    let position = scaled / u128::from(plan.messages.max(1));
    let day = i64::try_from(position / 1_000_000_000).unwrap_or(0);
    // Where in the day it is, in thousand-millionths, by the hours' weights.
    let mut rest = u64::try_from(position % 1_000_000_000).unwrap_or(0);
    let mut at = plan.start.plus(day * DAY);
    for weight in HOURS {
        let wide = weight * 1_000_000;
        if rest < wide {
            return at.plus(i64::try_from(rest * 3_600 * 1_000 / wide).unwrap_or(0));
        }
        rest -= wide;
        at = at.plus(HOUR);
    }
    at
}

/// What comes next.
pub(super) enum Arriving {
    OfArrival(Queue),
    Shuffled(Shuffle),
}

impl Arriving {
    pub(super) fn new(messages: &Messages) -> Self {
        match messages.plan.order {
            Order::OfArrival => Self::OfArrival(Queue::new(messages)),
            Order::Shuffled => Self::Shuffled(Shuffle::new(messages)),
        }
    }

    pub(super) fn next(&mut self, messages: &Messages) -> Option<Arrival> {
        match self {
            Self::OfArrival(queue) => queue.next(messages),
            Self::Shuffled(shuffle) => shuffle.next(messages),
        }
    }
}

/// What is under way, by slots of time.
pub(super) struct Queue {
    /// The first is the slot that is made next.
    slots: VecDeque<Vec<Arrival>>,
    /// When that slot begins.
    slot: Time,
    /// The next message to be sent, and when.
    message: u64,
    sends: Time,
    /// The slot that is being told, the last first.
    ready: Vec<Arrival>,
}

impl Queue {
    fn new(messages: &Messages) -> Self {
        let start = messages.plan.start;
        let slot = Time(start.0.div_euclid(SLOT) * SLOT);
        let sends = messages.sent(0);
        Self { slots: VecDeque::new(), slot, message: 0, sends, ready: Vec::new() }
    }

    fn next(&mut self, messages: &Messages) -> Option<Arrival> {
        loop {
            if let Some(arrival) = self.ready.pop() {
                return Some(arrival);
            }
            let is_sent = self.message >= messages.plan.messages;
            if is_sent && self.slots.is_empty() {
                return None;
            }
            let end = self.slot.plus(SLOT);
            while self.message < messages.plan.messages && self.sends < end {
                for arrival in messages.arrivals(self.message).all() {
                    self.put(*arrival);
                }
                self.message += 1;
                self.sends = messages.sent(self.message);
            }
            self.ready = self.slots.pop_front().unwrap_or_default();
            self.ready
                .sort_unstable_by_key(|it| std::cmp::Reverse((it.arrives, it.message, it.at)));
            self.slot = end;
        }
    }

    fn put(&mut self, arrival: Arrival) {
        let index = (arrival.arrives.0 - self.slot.0).div_euclid(SLOT);
        let index = usize::try_from(index).unwrap_or(0);
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Vec::new);
        }
        if let Some(slot) = self.slots.get_mut(index) {
            slot.push(arrival);
        }
    }
}

/// A permutation of everything that can be told, walked through.
pub(super) struct Shuffle {
    /// How many places there are: each message has as many as could be told of one.
    places: u64,
    next: u64,
    /// Half of the bits of a place, for the Feistel network.
    half_bits: u32,
    seed: u64,
}

impl Shuffle {
    fn new(messages: &Messages) -> Self {
        let places = messages.plan.messages.saturating_mul(ARRIVALS_MAX as u64);
        let bits = u64::BITS - places.saturating_sub(1).leading_zeros();
        let half_bits = bits.div_ceil(2).max(1);
        Self { places, next: 0, half_bits, seed: messages.seed }
    }

    fn next(&mut self, messages: &Messages) -> Option<Arrival> {
        while self.next < self.places {
            let at = self.next;
            self.next += 1;
            let place = self.permuted(at);
            let (message, which) = (place / ARRIVALS_MAX as u64, place % ARRIVALS_MAX as u64);
            let told = messages.arrivals(message);
            let which = usize::try_from(which).unwrap_or(usize::MAX);
            if let Some(arrival) = told.all().get(which) {
                let progress = u128::from(at) * u128::from(DAY.unsigned_abs());
                let since = i64::try_from(progress / u128::from(self.places)).unwrap_or(0);
                // Nothing is told before it happened: the last reads come days after the end.
                let over = messages.plan.end().plus(12 * DAY);
                return Some(Arrival { arrives: over.plus(since), ..*arrival });
            }
        }
        None
    }

    /// Where `place` goes: a Feistel network over the next power of four, walked until it is
    /// within.
    fn permuted(&self, place: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let mut value = place;
        loop {
            let (mut left, mut right) = (value >> self.half_bits, value & mask);
            for round in 0..4 {
                let mixed = seed_of(self.seed.wrapping_add(round), right) & mask;
                (left, right) = (right, left ^ mixed);
            }
            value = left << self.half_bits | right;
            if value < self.places {
                return value;
            }
        }
    }
}
