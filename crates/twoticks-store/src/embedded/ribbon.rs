//! Which keys a set has that never changes: a homogeneous ribbon filter (Dillinger,
//! Hübschle-Schneider, Sanders and Walzer, "Fast Succinct Retrieval and Approximate Membership
//! Using Ribbon", 2022).
//!
//! A key is an equation over 64 bits in a row of a table: some of them, added up, are zero. The
//! table is a solution of all keys' equations, by chance otherwise, in several columns; of a key
//! that is not there the sum is zero in half of the columns. So each column takes a bit and an
//! eighth of a key and halves how many keys seem to be there, and any of them can be left out
//! later.

/// How many bits an equation is over.
const WIDTH: usize = 64;
/// So many columns are looked at before it is decided: to guess wrong costs more than to add up.
const AT_ONCE: usize = 4;

/// A set of keys.
pub(crate) struct Ribbon {
    /// For each 64 positions a word of each column; behind them one that no equation needs.
    words: Vec<u64>,
    columns: usize,
    /// The equations begin at a position below this one.
    starts: usize,
}

impl Ribbon {
    /// That of keys with these hashes, which are evenly spread. Takes nine bytes a key meanwhile.
    pub(crate) fn of(hashes: &[u64], columns: usize) -> Self {
        // With less room equations depend on each other, and more keys seem to be there.
        let positions = (hashes.len() + hashes.len() / 8 + WIDTH).next_multiple_of(WIDTH);
        let starts = positions - WIDTH + 1;
        let mut equations = vec![0; positions];
        for hash in hashes {
            let (start, bits) = equation(*hash, starts);
            add(&mut equations, start, bits);
        }
        Self { words: solve(&equations, columns), columns, starts }
    }

    /// Whether a key with this hash may be there.
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        let (start, bits) = equation(hash, self.starts);
        let (block, offset) = (start / WIDTH, start % WIDTH);
        let (near, far) = (bits << offset, bits >> 1 >> (WIDTH - 1 - offset));
        let begin = block * self.columns;
        let words = self.words.get(begin..begin + 2 * self.columns).unwrap_or_default();
        let (these, next) = words.split_at(words.len() / 2);
        these.chunks(AT_ONCE).zip(next.chunks(AT_ONCE)).all(|(these, next)| {
            // Sixteen bits are left of each column, and then one.
            let mut sums = these.iter().zip(next).fold(0_u64, |sums, (this, next)| {
                let sum = (this & near) ^ (next & far);
                let sum = sum ^ (sum >> 32);
                sums << 16 | (sum ^ (sum >> 16)) & 0xffff
            });
            for shift in [8, 4, 2, 1] {
                sums ^= sums >> shift;
            }
            sums & 0x0001_0001_0001_0001 == 0
        })
    }

    /// Its words, how many columns they are of, and below which position equations begin.
    pub(super) fn raw(&self) -> (&[u64], usize, usize) {
        (&self.words, self.columns, self.starts)
    }

    /// What [`Ribbon::raw`] gave; `None` if it cannot have been that.
    pub(super) fn from_raw(words: Vec<u64>, columns: usize, starts: usize) -> Option<Self> {
        let blocks = starts.checked_add(WIDTH - 1)?.div_ceil(WIDTH);
        let is_fit = starts > 0 && blocks.checked_add(1)?.checked_mul(columns)? == words.len();
        is_fit.then_some(Self { words, columns, starts })
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The same keys with a column less.
    pub(crate) fn narrower(&self) -> Self {
        let columns = self.columns.saturating_sub(1);
        let blocks = self.words.chunks(self.columns.max(1));
        let words = blocks.flat_map(|block| block.iter().take(columns)).copied();
        // Not by collecting, which would ask for more than it needs.
        let mut left = Vec::with_capacity(self.words.len() / self.columns.max(1) * columns);
        left.extend(words);
        Self { words: left, columns, starts: self.starts }
    }

    /// What it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.words.as_slice())
    }
}

/// Where the equation of a key begins, and which bits from there on it adds up: the first one, and
/// half of the others.
fn equation(hash: u64, starts: usize) -> (usize, u64) {
    // The upper half of the product spreads over all of them.
    let start = (u128::from(hash) * starts as u128) >> 64;
    (usize::try_from(start).unwrap_or_default(), mixed(hash) | 1)
}

/// Adds an equation to others, of which each begins at another position: what it says beyond them.
fn add(equations: &mut [u64], mut start: usize, mut bits: u64) {
    while let Some(there) = equations.get_mut(start) {
        if *there == 0 {
            *there = bits;
            return;
        }
        bits ^= *there;
        if bits == 0 {
            return;
        }
        let skipped = bits.trailing_zeros();
        bits >>= skipped;
        start += usize::try_from(skipped).unwrap_or_default();
    }
}

/// A solution in each of so many columns, from the last position to the first.
fn solve(equations: &[u64], columns: usize) -> Vec<u64> {
    let blocks = equations.len() / WIDTH;
    let mut words = vec![0; (blocks + 1) * columns];
    // Of each column the 64 bits behind the position.
    let mut behind = vec![0_u64; columns];
    for (position, equation) in equations.iter().enumerate().rev() {
        // Where no equation begins anything is right, and chance excludes most.
        let mut chance = mixed(!(position as u64));
        for behind in &mut behind {
            let bit = match equation >> 1 & *behind {
                _ if *equation == 0 => chance & 1,
                sum => u64::from(sum.count_ones() & 1),
            };
            chance >>= 1;
            *behind = *behind << 1 | bit;
        }
        if position % WIDTH == 0 {
            let block = position / WIDTH * columns;
            let block = words.iter_mut().skip(block).take(columns);
            block.zip(&behind).for_each(|(word, behind)| *word = *behind);
        }
    }
    words
}

/// All bits of it in each bit.
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::embedded::filter::tests::hashes;

    proptest! {
        #[test]
        fn what_is_there_is_never_excluded(
            keys in prop::collection::vec(any::<u64>(), 0..500),
            close in prop::collection::vec(0_u64..5_000, 0..100),
            columns in 1_usize..=14,
        ) {
            // Also of hashes that are not spread at all.
            let keys: Vec<u64> = keys.into_iter().chain(close).collect();
            let mut ribbon = Ribbon::of(&keys, columns);
            for left in (0..=columns).rev() {
                prop_assert_eq!(ribbon.columns(), left);
                prop_assert!(keys.iter().all(|hash| ribbon.may_have(*hash)));
                ribbon = ribbon.narrower();
            }
        }
    }

    #[test]
    fn each_column_halves_what_seems_to_be_there() {
        let keys: Vec<u64> = hashes(0, 20_000).collect();
        let mut ribbon = Ribbon::of(&keys, 12);
        assert!(ribbon.bytes() * 8 < keys.len() * 12 * 114 / 100);
        for columns in (1..=12).rev() {
            assert!(keys.iter().all(|hash| ribbon.may_have(*hash)));
            let asked = 100_000;
            let seem = hashes(1 << 40, asked).filter(|hash| ribbon.may_have(*hash)).count();
            let expected = usize::try_from(asked).unwrap() >> columns;
            let about = expected * 3 / 4..expected * 5 / 4 + 30;
            assert!(about.contains(&seem), "{columns} columns: {seem}, not {expected}");
            ribbon = ribbon.narrower();
        }
        assert_eq!((ribbon.columns(), ribbon.bytes()), (0, 0));
    }
}
