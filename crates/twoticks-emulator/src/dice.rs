//! Numbers that a seed foretells: the one source of chance in the emulator.
//!
//! `SplitMix64` (Steele, Lea, Flood 2014) and integers only, so that the same seed gives the same
//! bytes on every machine and in every version: the generators of general libraries promise that
//! for one version of theirs, and floating point does not promise it at all.

/// A generator.
#[derive(Clone, Debug)]
pub struct Dice(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a number over all of its bits; no two numbers give the same.
#[must_use]
pub fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed of its own for the thing `number` of a kind, such as one message of a channel.
#[must_use]
pub fn seed_of(seed: u64, number: u64) -> u64 {
    mix(seed ^ mix(number.wrapping_add(STEP)))
}

/// A seed for a thing that is known by its name.
#[must_use]
pub fn seed_of_name(seed: u64, name: &str) -> u64 {
    // Eight bytes at a time; the length tells apart what ends in zeros.
    let begun = mix(seed ^ name.len() as u64);
    name.as_bytes().chunks(8).fold(begun, |seed, chunk| {
        seed_of(seed, chunk.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    })
}

impl Dice {
    /// One that `seed` foretells.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number of `0..count`, or 0 if there is none. The bias is below `count` in 2^64.
    pub fn below(&mut self, count: u64) -> u64 {
        let wide = u128::from(self.roll()) * u128::from(count);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number of `from..to`; `from` if there is none.
    pub fn between(&mut self, from: i64, to: i64) -> i64 {
        let width = u64::try_from(to.saturating_sub(from)).unwrap_or(0);
        from.saturating_add_unsigned(self.below(width))
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: i64) -> bool {
        self.between(0, 1_000) < permille
    }

    /// One of `items`.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let index = self.below(items.len() as u64);
        items.get(usize::try_from(index).unwrap_or(usize::MAX))
    }

    /// Puts `items` into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1);
            items.swap(last, usize::try_from(other).unwrap_or(last));
        }
    }

    /// Fills `bytes`, for ids and keys.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.roll().to_le_bytes()[0];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_sequence_of_split_mix_64() {
        let mut dice = Dice::new(1_234_567);
        let rolled: Vec<u64> = (0..3).map(|_| dice.roll()).collect();
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(rolled, published);
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut dice = Dice::new(1);
        let rolled: std::collections::BTreeSet<i64> =
            (0..1_000).map(|_| dice.between(-2, 3)).collect();
        assert_eq!(rolled.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2]);
        assert_eq!((dice.between(5, 5), dice.between(5, 4), dice.below(0)), (5, 5, 0));
        assert!(!(0..1_000).any(|_| dice.chance(0)));
        assert!((0..1_000).all(|_| dice.chance(1_000)));
        assert_eq!(dice.one_of::<u8>(&[]), None);
        let mut items: Vec<u8> = (0..100).collect();
        dice.shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn seeds_of_different_things_differ() {
        let seeds: std::collections::BTreeSet<u64> = (0..10_000)
            .flat_map(|number| [seed_of(1, number), seed_of(2, number)])
            .chain(["a", "b", "ab", "ba", ""].map(|name| seed_of_name(1, name)))
            .collect();
        assert_eq!(seeds.len(), 20_005);
    }
}
