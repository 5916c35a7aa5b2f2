//! Nonces that were used: each once per access key, for as long as its request could be repeated.
//!
//! A request is believed for 15 minutes either way of its time, so a nonce is kept 30 minutes from
//! when it was seen. None is ever forgotten earlier: when a limit is reached, further calls are
//! turned away ([`Used::Full`]) until old ones expire, so that nothing can be repeated by filling
//! the memory. It is asked after the signature is verified, so strangers cannot fill it, and one
//! key cannot fill it for all. It lives in the process: a restart forgets.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use twoticks_core::clock::Time;
use twoticks_wire::signature::NONCE_KEPT_MS;

/// How many nonces of one access key are kept: 277 calls a second for half an hour.
pub const PER_KEY_MAX: usize = 500_000;
/// How many nonces are kept in all; about 100 bytes each, so 200 MB when full.
pub const IN_ALL_MAX: usize = 2_000_000;

/// What became of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// It is new and is kept from now on.
    First,
    /// The key has used it before.
    Again,
    /// There is no room for it; the call has to be turned away as if throttled.
    Full,
}

/// The nonces that were used.
pub struct NonceMemory {
    kept: Mutex<Kept>,
    per_key_max: usize,
    in_all_max: usize,
}

#[derive(Default)]
struct Kept {
    /// Hashes of key id and nonce together.
    nonces: HashSet<[u8; 16]>,
    /// The same in the order they came, with when they were seen and whose they are.
    order: VecDeque<(Time, [u8; 16], [u8; 16])>,
    /// How many each key has, by a hash of its id.
    counts: HashMap<[u8; 16], usize>,
}

impl Default for NonceMemory {
    fn default() -> Self {
        Self::with_limits(PER_KEY_MAX, IN_ALL_MAX)
    }
}

impl NonceMemory {
    /// A memory with limits of its own.
    #[must_use]
    pub fn with_limits(per_key_max: usize, in_all_max: usize) -> Self {
        Self { kept: Mutex::default(), per_key_max, in_all_max }
    }

    /// Uses a nonce of an access key.
    #[must_use]
    pub fn use_once(&self, access_key_id: &str, nonce: &str, now: Time) -> Used {
        let key = hash(&[access_key_id]);
        let both = hash(&[access_key_id, nonce]);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.forget_expired(now);
        if kept.nonces.contains(&both) {
            return Used::Again;
        }
        let count = kept.counts.get(&key).copied().unwrap_or(0);
        if count >= self.per_key_max || kept.nonces.len() >= self.in_all_max {
            return Used::Full;
        }
        kept.nonces.insert(both);
        kept.order.push_back((now, both, key));
        kept.counts.insert(key, count + 1);
        Used::First
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).nonces.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Kept {
    /// Forgets what was seen longer ago than a request can be repeated. Should the clock have been
    /// set back, what was seen before that is kept longer, never shorter.
    fn forget_expired(&mut self, now: Time) {
        while let Some((seen, both, key)) = self.order.front().copied() {
            if seen.plus(NONCE_KEPT_MS) >= now {
                break;
            }
            self.order.pop_front();
            self.nonces.remove(&both);
            if let Some(count) = self.counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&key);
                }
            }
        }
    }
}

/// 128 bits of SHA-256 over the texts with their lengths, so that no two lists give the same.
fn hash(texts: &[&str]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update(text.len().to_le_bytes());
        hasher.update(text.as_bytes());
    }
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(hasher.finalize()) {
        *to = from;
    }
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_800_000_000_000);

    #[test]
    fn a_nonce_is_taken_once_per_key() {
        let nonces = NonceMemory::default();
        assert_eq!(nonces.use_once("LTAI1", "n", START), Used::First);
        assert_eq!(nonces.use_once("LTAI1", "n", START), Used::Again);
        assert_eq!(nonces.use_once("LTAI2", "n", START), Used::First);
        assert_eq!(nonces.use_once("LTAI", "1n", START), Used::First, "no two pairs are alike");
    }

    #[test]
    fn a_nonce_is_kept_for_the_whole_window() {
        let nonces = NonceMemory::default();
        assert_eq!(nonces.use_once("LTAI1", "n", START), Used::First);
        let last = START.plus(NONCE_KEPT_MS);
        assert_eq!(nonces.use_once("LTAI1", "n", last), Used::Again);
        assert_eq!(nonces.use_once("LTAI1", "n", last.plus(1)), Used::First);
        assert_eq!(nonces.len(), 1, "what has expired takes no room");
    }

    #[test]
    fn a_clock_set_back_forgets_nothing() {
        let nonces = NonceMemory::default();
        assert_eq!(nonces.use_once("LTAI1", "n", START), Used::First);
        assert_eq!(nonces.use_once("LTAI1", "m", START.plus(-NONCE_KEPT_MS)), Used::First);
        assert_eq!(nonces.use_once("LTAI1", "m", START.plus(1)), Used::Again);
        assert_eq!(nonces.use_once("LTAI1", "n", START.plus(1)), Used::Again);
    }

    #[test]
    fn a_full_memory_turns_away_and_never_forgets_early() {
        let nonces = NonceMemory::with_limits(2, 3);
        assert_eq!(nonces.use_once("LTAI1", "1", START), Used::First);
        assert_eq!(nonces.use_once("LTAI1", "2", START.plus(1)), Used::First);
        assert_eq!(nonces.use_once("LTAI1", "3", START.plus(2)), Used::Full, "per key");
        assert_eq!(nonces.use_once("LTAI1", "1", START.plus(2)), Used::Again);
        assert_eq!(nonces.use_once("LTAI2", "1", START.plus(3)), Used::First);
        assert_eq!(nonces.use_once("LTAI3", "1", START.plus(3)), Used::Full, "in all");
        let later = START.plus(NONCE_KEPT_MS + 1);
        assert_eq!(nonces.use_once("LTAI1", "3", later), Used::First, "room again");
    }
}
