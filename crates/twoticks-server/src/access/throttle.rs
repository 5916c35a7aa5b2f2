//! How often a user may call an operation: so many calls in each second of the clock.
//!
//! Windows are fixed seconds, so an answer can say exactly when the next call is taken. Users and
//! operations are counted apart. Windows that are over are forgotten; should there be more users
//! within one second than [`WINDOWS_MAX`], new ones are turned away until it is over, so that
//! memory stays bounded and no limit is ever exceeded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use twoticks_core::clock::{SECOND, Time};
use twoticks_wire::envelope::Throttled;

/// How many windows (user × operation) are kept for one second.
pub const WINDOWS_MAX: usize = 65_536;

/// How a caller stands with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second.
    pub limit: u32,
    /// How many are left in this second.
    pub remaining: u32,
    /// Milliseconds until the next second begins: 1 to 1,000.
    pub left_ms: u64,
    /// When it begins.
    pub reset: Time,
}

impl From<Rate> for Throttled {
    fn from(rate: Rate) -> Self {
        Self { limit: rate.limit, time_left_ms: rate.left_ms, reset_ms: rate.reset.0 }
    }
}

/// The calls of each user to each operation in the present second.
#[derive(Default)]
pub struct Throttle {
    windows: Mutex<HashMap<(String, &'static str), Window>>,
}

struct Window {
    second: i64,
    calls: u32,
}

impl Throttle {
    /// Counts a call of `user` to `operation`, of which there may be `limit` a second.
    ///
    /// # Errors
    /// The rate, if it is one too many; it is then not counted.
    pub fn count(
        &self,
        user: &str,
        operation: &'static str,
        limit: u32,
        now: Time,
    ) -> Result<Rate, Rate> {
        let second = now.second();
        let reset = Time(second.saturating_add(1).saturating_mul(SECOND));
        let rate = |remaining| Rate { limit, remaining, left_ms: reset.0.abs_diff(now.0), reset };
        // Whatever panicked in between, each window is whole.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (user.to_owned(), operation);
        if !windows.contains_key(&key) && windows.len() >= WINDOWS_MAX {
            windows.retain(|_, window| window.second == second);
            if windows.len() >= WINDOWS_MAX {
                return Err(rate(0));
            }
        }
        let window = windows.entry(key).or_insert(Window { second, calls: 0 });
        // Another second, also an earlier one: a clock that was set back must not lock anybody out.
        if window.second != second {
            *window = Window { second, calls: 0 };
        }
        if window.calls >= limit {
            return Err(rate(0));
        }
        window.calls += 1;
        Ok(rate(limit - window.calls))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time(1_800_000_000_000);

    #[test]
    fn a_second_takes_so_many_calls_and_the_next_as_many_again() {
        let throttle = Throttle::default();
        let count = |at: i64| throttle.count("u", "Enable", 2, START.plus(at));
        let expected = Rate { limit: 2, remaining: 1, left_ms: 900, reset: START.plus(SECOND) };
        assert_eq!(count(100), Ok(expected));
        assert_eq!(count(200).unwrap().remaining, 0);
        let refused = count(999).unwrap_err();
        assert_eq!(refused.left_ms, 1);
        let told = Throttled { limit: 2, time_left_ms: 1, reset_ms: 1_800_000_001_000 };
        assert_eq!(Throttled::from(refused), told);
        assert_eq!(count(1_000).unwrap().remaining, 1);
        assert_eq!(count(1_000).unwrap().left_ms, 1_000);
        assert!(count(1_001).is_err());
        assert!(count(500).is_ok(), "a clock set back locks nobody out");
    }

    #[test]
    fn users_and_operations_are_counted_apart() {
        let throttle = Throttle::default();
        assert!(throttle.count("u", "Enable", 1, START).is_ok());
        assert!(throttle.count("u", "Enable", 1, START).is_err());
        assert!(throttle.count("u", "Send", 1, START).is_ok());
        assert!(throttle.count("v", "Enable", 1, START).is_ok());
        assert!(throttle.count("w", "Enable", 0, START).is_err());
    }

    #[test]
    fn more_users_than_fit_are_turned_away_until_the_second_is_over() {
        let throttle = Throttle::default();
        for user in 0..WINDOWS_MAX {
            assert!(throttle.count(&user.to_string(), "Enable", 5, START).is_ok());
        }
        assert!(throttle.count("one more", "Enable", 5, START).is_err());
        assert!(throttle.count("0", "Enable", 5, START).is_ok(), "those known are not");
        assert!(throttle.count("one more", "Enable", 5, START.plus(SECOND)).is_ok());
        assert_eq!(throttle.windows.lock().unwrap().len(), 1, "what is over is forgotten");
    }
}
