//! Messages on their way into the tables: as they were when a commit began, encoded a few at a time,
//! so that neither an entry nor a question waits for all of them.
//!
//! What always holds: whoever changes a message has it encoded before, if it is on its way.

use twoticks_core::fold::Touched;
use twoticks_core::ids::Hash;
use twoticks_core::message::Message;

use crate::layout;

/// Keys and values, end to end.
#[derive(Default)]
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    /// Where each key and each value ends.
    ends: Vec<(u32, u32)>,
}

impl Encoded {
    fn push(&mut self, key: [&[u8]; 2], row: &impl serde::Serialize) {
        for part in key {
            self.bytes.extend_from_slice(part);
        }
        let end_of_key = self.bytes.len();
        layout::put_value(&mut self.bytes, row);
        let end = |length| u32::try_from(length).expect("an overlay is committed long before that");
        self.ends.push((end(end_of_key), end(self.bytes.len())));
    }

    /// Keys and values in the order of the keys.
    pub(crate) fn sorted(&self) -> Vec<(&[u8], &[u8])> {
        let mut begin = 0;
        let mut rows: Vec<_> = self
            .ends
            .iter()
            .filter_map(|(key, value)| {
                let (key, value) = (usize::try_from(*key).ok()?, usize::try_from(*value).ok()?);
                let row = Some((self.bytes.get(begin..key)?, self.bytes.get(key..value)?));
                begin = value;
                row
            })
            .collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows
    }
}

/// The messages of one commit, by the slots that they are in.
#[derive(Default)]
pub(super) struct Leaving {
    /// Slots, of which some may have been encoded already.
    slots: Vec<u32>,
    /// A bit for each slot that has not been.
    waiting: Vec<u64>,
    encoded: Encoded,
    is_under_way: bool,
}

impl Leaving {
    /// Begins with `slots`, which it takes, and gives an empty list for them.
    pub(super) fn begin(&mut self, slots: &mut Vec<u32>) {
        std::mem::swap(&mut self.slots, slots);
        for slot in &self.slots {
            let (word, bit) = place(*slot);
            if self.waiting.len() <= word {
                self.waiting.resize(word + 1, 0);
            }
            if let Some(word) = self.waiting.get_mut(word) {
                *word |= bit;
            }
        }
        self.is_under_way = true;
    }

    /// Whether there may be more to encode.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// The next slot to look at; `None` at the end.
    pub(super) fn next(&mut self) -> Option<u32> {
        self.slots.pop()
    }

    /// Whether this slot has still to be encoded; it is, from now on.
    pub(super) fn takes(&mut self, slot: u32) -> bool {
        let (word, bit) = place(slot);
        let Some(word) = self.waiting.get_mut(word) else { return false };
        let is_waiting = *word & bit != 0;
        *word &= !bit;
        is_waiting
    }

    /// Encodes what was in such a slot, whose key is `line` and `hash`.
    pub(super) fn put(&mut self, line: &[u8], hash: &Hash, row: &Touched<Message>) {
        self.encoded.push([line, &hash.0], row);
    }

    /// All that was encoded; there is nothing more.
    pub(super) fn end(&mut self) -> Encoded {
        self.is_under_way = false;
        std::mem::take(&mut self.encoded)
    }
}

/// In which word a slot has its bit, and which bit.
fn place(slot: u32) -> (usize, u64) {
    (usize::try_from(slot / 64).unwrap_or(usize::MAX), 1 << (slot % 64))
}
