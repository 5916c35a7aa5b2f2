//! Instants, and where they come from: time is an argument, never read here.

use std::sync::atomic::{AtomicI64, Ordering};

use serde::{Deserialize, Serialize};

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Time(pub i64);

/// Milliseconds of one second.
pub const SECOND: i64 = 1_000;
/// Milliseconds of one day of 24 hours.
pub const DAY: i64 = 86_400 * SECOND;
/// 2009-01-01T00:00:00Z: WhatsApp did not exist before (counting rule 13).
pub const EARLIEST: Time = Time(1_230_768_000_000);
/// How far in the future of its acceptance an event may lie (counting rule 13).
pub const FUTURE_MAX: i64 = DAY;

impl Time {
    /// The whole second this instant lies in, rounded down (towards the past).
    #[must_use]
    pub fn second(self) -> i64 {
        self.0.div_euclid(SECOND)
    }

    /// The instant `milliseconds` later; at the end of the representable range it stays there.
    #[must_use]
    pub fn plus(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Whether an event of this time, accepted at `accepted`, can have happened (counting rule
    /// 13): not before [`EARLIEST`] and not more than [`FUTURE_MAX`] after its acceptance.
    #[must_use]
    pub fn is_possible(self, accepted: Self) -> bool {
        EARLIEST <= self && self <= accepted.plus(FUTURE_MAX)
    }
}

/// Where the present comes from. The program has a real one; tests and the demo turn theirs.
pub trait Clock: Send + Sync {
    /// The present instant.
    fn now(&self) -> Time;
}

/// A clock that stands still until it is set.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Time) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Makes the clock show `now`.
    pub fn set(&self, now: Time) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_times_are_told_at_the_edge() {
        let accepted = Time(1_800_000_000_000);
        assert!(EARLIEST.is_possible(accepted));
        assert!(!Time(EARLIEST.0 - 1).is_possible(accepted));
        assert!(accepted.plus(DAY).is_possible(accepted));
        assert!(!accepted.plus(DAY + 1).is_possible(accepted));
        assert!(!Time(i64::MAX).is_possible(accepted));
        assert!(!Time(i64::MIN).is_possible(accepted));
    }

    #[test]
    fn seconds_round_towards_the_past() {
        assert_eq!(Time(1_999).second(), 1);
        assert_eq!(Time(-1).second(), -1);
    }
}
