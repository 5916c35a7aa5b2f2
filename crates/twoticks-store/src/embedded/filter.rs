//! Which messages and taps a piece may have: most messages that are told of for the first time are
//! in none, and to hear so from the engine costs more than all the rest of taking them in.
//!
//! A blocked Bloom filter in memory, about 12 bits a key, so that of a thousand keys that are not
//! there some five seem to be. It grows by layers, because how many keys a piece will have is not
//! known for sure. It is nowhere stored: for what the tables have at the start it is made again in the
//! background, and as long as it does not know all keys the engine is asked.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Bits of a block, which is one line of the processor's cache.
const BLOCK_BITS: u64 = 512;
const BLOCK_WORDS: usize = 8;
/// How many bits a key has.
const BITS_PER_KEY: usize = 12;
/// How many of them are set in its block.
const PROBES: u32 = 6;
/// How many keys the first layer is made for at least.
const FIRST_KEYS: usize = 1 << 18;
/// How many layers there can be: the last is for more keys than there is memory for.
const LAYERS: usize = 16;

/// Keys that may be there. Nobody waits for anybody: each is asked for every new message.
pub(crate) struct Filter {
    /// Made in order, each when the one before is full: the second has a quarter of the room of the
    /// first, and each after that twice as much as the one before.
    layers: [OnceLock<Layer>; LAYERS],
    /// For how many keys the first is made.
    first: usize,
    is_complete: AtomicBool,
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
        Self { layers: Default::default(), first, is_complete: AtomicBool::new(false) }
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
        !self.is_complete() || self.layers().any(|layer| layer.may_have(hash))
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.layers().map(|layer| size_of_val(layer.blocks.as_slice())).sum()
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
        layer.get_or_init(|| Layer::new(keys_max))
    }
}

impl Layer {
    fn new(keys_max: usize) -> Self {
        let blocks = (keys_max * BITS_PER_KEY).div_ceil(BLOCK_WORDS * 64);
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

/// Which bits of its block a key has: each from other bits of its hash.
fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (0..PROBES).map(move |probe| {
        let at = (mixed >> (probe * 9)) % BLOCK_BITS;
        (usize::try_from(at / 64).unwrap_or_default(), 1 << (at % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(from: u64, count: u64) -> impl Iterator<Item = u64> {
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
