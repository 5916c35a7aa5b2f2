//! Which messages and taps a piece may have: most messages that are told of for the first time are
//! in none, and to hear so from the engine costs more than all the rest of taking them in.
//!
//! Of a piece that is written to it is a blocked Bloom filter, about 12 bits a key, so that of a
//! thousand keys that are not there some five seem to be. It grows by layers, because how many keys
//! a piece will have is not known for sure. When nothing is put into the piece any more, it is made
//! anew from the keys, as a [`Ribbon`]: 13.5 bits a key, so that one of 4,096 seems to be there, and
//! a bit of these can be given back at any time, for twice as many. Several pieces have one before
//! theirs ([`Seen`]). Of what is not put into any more they are stored
//! ([`recalled`](super::recalled)); else they are made again in the background for what the tables
//! have at the start, and as long as one does not know all keys the engine is asked.
//!
//! What always holds: a key that was put in is never excluded, whichever of both it was put into.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::embedded::ribbon::Ribbon;

/// Bits of a block, which is one line of the processor's cache.
const BLOCK_BITS: u64 = 512;
const BLOCK_WORDS: usize = 8;
/// How many bits a key has.
const BITS_PER_KEY: usize = 12;
/// How many it has of what several pieces have together.
const SEEN_BITS_PER_KEY: usize = 7;
/// How many of them are set in its block.
const PROBES: u32 = 6;
/// How many keys the first layer is made for at least.
const FIRST_KEYS: usize = 1 << 18;
/// How many layers there can be: the last is for more keys than there is memory for.
const LAYERS: usize = 16;
/// How many columns what is closed is made with,
const COLUMNS: usize = 12;
/// and how many are left of them at least: with fewer, most of what is asked for seems to be there.
const COLUMNS_MIN: usize = 3;
/// Of how many keys a part of what is closed is made: it takes 17 bytes a key meanwhile.
const PART_KEYS: usize = if cfg!(test) { 16 } else { 1 << 18 };

/// Keys that may be there. Nobody waits for anybody: each is asked for every new message.
pub(crate) struct Filter {
    /// Made in order, each when the one before is full: the second has a quarter of the room of the
    /// first, and each after that twice as much as the one before.
    layers: [OnceLock<Layer>; LAYERS],
    /// For how many keys the first is made.
    first: usize,
    /// Keys that were there when it was closed, in parts by their hashes.
    closed: Vec<Ribbon>,
    is_complete: AtomicBool,
    is_forgotten: bool,
    is_recalled: AtomicBool,
}

struct Layer {
    blocks: Vec<[AtomicU64; BLOCK_WORDS]>,
    keys: AtomicUsize,
    keys_max: usize,
}

impl Filter {
    /// One that knows all keys, because there are none yet, for about `keys`.
    pub(crate) fn complete(keys: usize) -> Self {
        let filter = Self::unknowing(keys);
        filter.finish();
        filter
    }

    /// One that does not know the keys that are there, of which there are about `keys`.
    pub(crate) fn unknowing(keys: usize) -> Self {
        let first = keys.max(FIRST_KEYS);
        Self {
            layers: Default::default(),
            first,
            closed: Vec::new(),
            is_complete: AtomicBool::new(false),
            is_forgotten: false,
            is_recalled: AtomicBool::new(false),
        }
    }

    /// One that knows no keys and never will, because there is no memory for them.
    pub(crate) fn forgotten() -> Self {
        Self { is_forgotten: true, ..Self::unknowing(0) }
    }

    /// One that knows all keys, which are in `parts` by [`part_of`].
    pub(crate) fn closed(parts: Vec<Ribbon>) -> Self {
        Self { closed: parts, ..Self::complete(0) }
    }

    /// This one, of which nobody has told the [`Seen`] of its piece which keys it has.
    pub(crate) fn recalled(self) -> Self {
        Self { is_recalled: AtomicBool::new(true), ..self }
    }

    /// Whether it is such a one.
    pub(crate) fn is_recalled(&self) -> bool {
        self.is_recalled.load(Ordering::Acquire)
    }

    /// From now on the [`Seen`] of its piece has its keys.
    pub(crate) fn tell(&self) {
        self.is_recalled.store(false, Ordering::Release);
    }

    /// What it was closed with.
    pub(super) fn ribbons(&self) -> &[Ribbon] {
        &self.closed
    }

    /// Whether it does not know all keys and is to learn them.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.is_complete() && !self.is_forgotten
    }

    /// Whether it was made by [`Filter::closed`], or never will be.
    pub(crate) fn is_closed(&self) -> bool {
        !self.closed.is_empty() || self.is_forgotten
    }

    /// How many columns it could do without.
    pub(crate) fn spare_columns(&self) -> usize {
        let columns = self.closed.first().map_or(0, Ribbon::columns);
        // What was put in since then would have to be copied.
        if self.layers().next().is_some() { 0 } else { columns.saturating_sub(COLUMNS_MIN) }
    }

    /// The same keys with a column less.
    pub(crate) fn narrower(&self) -> Self {
        let closed = self.closed.iter().map(Ribbon::narrower).collect();
        Self { is_recalled: AtomicBool::new(self.is_recalled()), ..Self::closed(closed) }
    }

    /// From now on it knows all keys.
    pub(crate) fn finish(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// Whether it knows all keys.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// Takes keys in, by their hashes.
    pub(crate) fn insert(&self, hashes: impl Iterator<Item = u64>) {
        if self.is_forgotten {
            return;
        }
        let mut newest = self.layers().count().saturating_sub(1);
        for hash in hashes {
            while self.layer(newest).is_full() && newest + 1 < LAYERS {
                newest += 1;
            }
            self.layer(newest).insert(hash);
        }
    }

    /// Whether a key with this hash may be there.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        if !self.is_complete() {
            return true;
        }
        let (part, rest) = part_of(hash, self.closed.len());
        self.closed.get(part).is_some_and(|part| part.may_have(rest))
            || self.layers().any(|layer| layer.may_have(hash))
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.layers().map(|layer| size_of_val(layer.blocks.as_slice())).sum::<usize>()
            + self.closed.iter().map(Ribbon::bytes).sum::<usize>()
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().map_while(OnceLock::get)
    }

    /// The layer with this number, which is made if it is the next one.
    fn layer(&self, number: usize) -> &Layer {
        let keys_max = match number {
            0 => self.first,
            number => (self.first / 4) << (number - 1),
        };
        let layer = self.layers.get(number).expect("there is no number beyond the last layer's");
        layer.get_or_init(|| Layer::new(keys_max, BITS_PER_KEY))
    }
}

/// What several pieces have, all together: looked at first, because memory is slow, and to look at
/// one place is much faster than at one for each of them. Of a hundred keys that no piece has some
/// four seem to be in one of them.
pub(crate) struct Seen {
    /// Made when the first key is put in: until then others have the memory.
    layer: OnceLock<Layer>,
    keys_max: usize,
    is_complete: AtomicBool,
}

impl Seen {
    /// One that knows all keys, because there are none yet, for about `keys`.
    pub(crate) fn complete(keys: usize) -> Self {
        let seen = Self::unknowing(keys);
        seen.finish();
        seen
    }

    /// One that does not know the keys that are there, of which there will be about `keys`.
    pub(crate) fn unknowing(keys: usize) -> Self {
        let is_complete = AtomicBool::new(false);
        Self { layer: OnceLock::new(), keys_max: keys.max(1), is_complete }
    }

    /// From now on it knows all keys.
    pub(crate) fn finish(&self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// Takes keys in, by their hashes; one that it has takes no room.
    pub(crate) fn insert(&self, hashes: impl Iterator<Item = u64>) {
        for hash in hashes {
            let layer = || Layer::new(self.keys_max, SEEN_BITS_PER_KEY);
            self.layer.get_or_init(layer).insert(hash);
        }
    }

    /// Whether a key with this hash may be there.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        !self.is_complete.load(Ordering::Acquire)
            || self.layer.get().is_some_and(|layer| layer.may_have(hash))
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.layer.get().map_or(0, |layer| size_of_val(layer.blocks.as_slice()))
    }

    /// For how many keys it is.
    pub(crate) fn keys_max(&self) -> usize {
        self.keys_max
    }
}

impl Layer {
    fn new(keys_max: usize, bits_per_key: usize) -> Self {
        let blocks = (keys_max * bits_per_key).div_ceil(BLOCK_WORDS * 64);
        let mut all = Vec::new();
        all.resize_with(blocks, Default::default);
        Self { blocks: all, keys: AtomicUsize::new(0), keys_max }
    }

    /// Takes room for a key; whether there was none.
    fn is_full(&self) -> bool {
        self.keys.fetch_add(1, Ordering::Relaxed) >= self.keys_max
    }

    fn block(&self, hash: u64) -> &[AtomicU64; BLOCK_WORDS] {
        // The upper half of the product spreads over all blocks.
        let index = (u128::from(hash) * self.blocks.len() as u128) >> 64;
        let index = usize::try_from(index).unwrap_or_default();
        self.blocks.get(index).expect("a layer has blocks, and this is one of them")
    }

    fn insert(&self, hash: u64) {
        let block = self.block(hash);
        for (word, bit) in probes(hash) {
            if let Some(word) = block.get(word) {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        let block = self.block(hash);
        probes(hash).all(|(word, bit)| {
            block.get(word).is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
        })
    }
}

/// In how many parts so many keys are.
pub(super) fn parts_for(keys: usize) -> usize {
    keys.div_ceil(PART_KEYS).max(1)
}

/// So many parts of keys with these hashes, for [`Filter::closed`].
pub(super) fn parts(mut hashes: Vec<u64>, parts: usize) -> impl Iterator<Item = Ribbon> {
    hashes.sort_unstable();
    let mut begin = 0;
    (0..parts).map(move |part| {
        let left = hashes.get(begin..).unwrap_or_default();
        let of = left.partition_point(|hash| part_of(*hash, parts).0 <= part);
        begin += of;
        let rests = left.iter().take(of).map(|hash| part_of(*hash, parts).1);
        Ribbon::of(&rests.collect::<Vec<_>>(), COLUMNS)
    })
}

/// Which of so many parts has a key, and what is left of its hash there, of which the same can be
/// asked again. Hashes that are sorted are sorted by their part.
pub(super) fn part_of(hash: u64, parts: usize) -> (usize, u64) {
    let product = u128::from(hash) * parts as u128;
    let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
    (usize::try_from(high).unwrap_or_default(), u64::try_from(low).unwrap_or_default())
}

/// Which bits of its block a key has: each from other bits of its hash.
fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |probe| {
        let at = (mixed >> (probe * 9)) % BLOCK_BITS;
        (usize::try_from(at / 64).unwrap_or_default(), 1 << (at % 64))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn hashes(from: u64, count: u64) -> impl Iterator<Item = u64> {
        (from..from + count).map(|n| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes()))
    }

    #[test]
    fn what_is_there_may_be_there_and_little_else() {
        let filter = Filter::complete(1);
        assert!(!hashes(0, 1_000).any(|hash| filter.may_have(hash)));
        // Over the edges of three layers.
        let count = FIRST_KEYS as u64 * 5 / 4 + 1;
        filter.insert(hashes(0, count));
        assert!(hashes(0, count).all(|hash| filter.may_have(hash)));
        let seem = hashes(count, 100_000).filter(|hash| filter.may_have(*hash)).count();
        assert!(seem < 2_500, "{seem} of 100,000 seem to be there");
        let bits = filter.bytes() * 8;
        let keys_max = FIRST_KEYS * 7 / 4;
        assert!((keys_max * BITS_PER_KEY..keys_max * (BITS_PER_KEY + 1)).contains(&bits));
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_never_excluded(
            keys in prop::collection::vec(any::<u64>(), 0..1_000),
            later in prop::collection::vec(any::<u64>(), 0..100),
            passes in 1_usize..4,
            parts in 1_usize..5,
        ) {
            // First some of the keys, then these in parts, as they are read.
            let mut ribbons = Vec::new();
            for pass in 0..passes {
                let of_pass = keys.iter().map(|hash| part_of(*hash, passes));
                let of_pass = of_pass.filter(|(of, _)| *of == pass).map(|(_, rest)| rest);
                ribbons.extend(super::parts(of_pass.collect(), parts));
            }
            let mut filter = Filter::closed(ribbons);
            for _ in COLUMNS_MIN..COLUMNS {
                prop_assert!(filter.spare_columns() > 0);
                prop_assert!(keys.iter().all(|hash| filter.may_have(*hash)));
                let bytes = filter.bytes();
                filter = filter.narrower();
                prop_assert!(filter.bytes() < bytes && filter.is_closed());
            }
            filter.insert(later.iter().copied());
            prop_assert_eq!(filter.spare_columns(), 0);
            prop_assert!(keys.iter().chain(&later).all(|hash| filter.may_have(*hash)));
        }
    }

    #[test]
    fn one_that_is_forgotten_excludes_nothing_and_takes_nothing() {
        let filter = Filter::forgotten();
        filter.insert(hashes(0, 10));
        assert!(hashes(0, 20).all(|hash| filter.may_have(hash)));
        assert_eq!((filter.bytes(), filter.is_closed(), filter.spare_columns()), (0, true, 0));
    }

    #[test]
    fn one_that_does_not_know_all_keys_excludes_none() {
        let filter = Filter::unknowing(3 * FIRST_KEYS);
        filter.insert(hashes(0, 10));
        assert!(hashes(10, 10).all(|hash| filter.may_have(hash)));
        filter.finish();
        assert!(!hashes(10, 10).all(|hash| filter.may_have(hash)));
        // One layer for as many as were said to come.
        filter.insert(hashes(20, 3 * FIRST_KEYS as u64 - 10));
        assert_eq!(filter.bytes() * 8, 3 * FIRST_KEYS * BITS_PER_KEY);
    }
}
