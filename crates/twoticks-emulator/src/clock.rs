//! The clock that can be turned: set, moved, sped up, made to stand still.
//!
//! The server follows it in everything but its callers' signatures, which are made by their own
//! clocks. What always holds: nobody turns it back, but when everything is forgotten
//! ([`TurnedClock::begin`], [`TurnedClock::go_live`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use twoticks_core::clock::{Clock, Time};

/// The most times that it goes as fast as the clock behind it: a day in less than a second.
pub const SPEED_MAX: u32 = 100_000;
/// The latest that it can be set to: 2100-01-01T00:00:00Z.
pub const LATEST: Time = Time(4_102_444_800_000);

/// A clock behind which there is another.
pub struct TurnedClock {
    source: Arc<dyn Clock>,
    hands: Mutex<Hands>,
}

#[derive(Clone, Copy, Debug)]
struct Hands {
    /// What it showed when the source showed `since`.
    shown: Time,
    since: Time,
    speed: u32,
}

/// Why a clock was not turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTurned {
    /// What was counted would lie in the future.
    #[error("the clock shows {now} ms and does not go back to {asked} ms; reset begins anew")]
    Back {
        /// What it shows.
        now: i64,
        /// What it should have shown.
        asked: i64,
    },
    /// Beyond [`LATEST`].
    #[error("{asked} ms is too far ahead; up to {latest} ms (the year 2100) would do", latest = LATEST.0)]
    TooFar {
        /// What it should have shown.
        asked: i64,
    },
    /// Beyond [`SPEED_MAX`].
    #[error("a speed of {asked} is too much; 0 (it stands still) to {SPEED_MAX} would do")]
    TooFast {
        /// The speed.
        asked: u32,
    },
}

impl Hands {
    fn at(&self, source: Time) -> Time {
        let passed = source.0.saturating_sub(self.since.0).max(0);
        self.shown.plus(passed.saturating_mul(i64::from(self.speed)))
    }
}

impl TurnedClock {
    /// A clock that shows what `source` does, as fast.
    #[must_use]
    pub fn new(source: Arc<dyn Clock>) -> Self {
        let now = source.now();
        Self { source, hands: Mutex::new(Hands { shown: now, since: now, speed: 1 }) }
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        // Hands are replaced whole, so whatever panicked in between, they are right.
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew: shows `now` and goes at `speed`, whatever it showed before.
    pub fn begin(&self, now: Time, speed: u32) {
        *self.hands() = Hands { shown: now, since: self.source.now(), speed: speed.min(SPEED_MAX) };
    }

    /// Begins anew with what the clock behind it shows, `speed` times as fast.
    pub fn go_live(&self, speed: u32) {
        let now = self.source.now();
        *self.hands() = Hands { shown: now, since: now, speed: speed.min(SPEED_MAX) };
    }

    /// Shows `now` from now on.
    ///
    /// # Errors
    /// [`NotTurned::Back`], [`NotTurned::TooFar`].
    pub fn set(&self, now: Time) -> Result<(), NotTurned> {
        let since = self.source.now();
        let mut hands = self.hands();
        let shown = hands.at(since);
        if now < shown {
            return Err(NotTurned::Back { now: shown.0, asked: now.0 });
        }
        if now > LATEST {
            return Err(NotTurned::TooFar { asked: now.0 });
        }
        *hands = Hands { shown: now, since, speed: hands.speed };
        Ok(())
    }

    /// Goes `speed` times as fast as the clock behind it; 0 stands still.
    ///
    /// # Errors
    /// [`NotTurned::TooFast`].
    pub fn speed_up(&self, speed: u32) -> Result<(), NotTurned> {
        if speed > SPEED_MAX {
            return Err(NotTurned::TooFast { asked: speed });
        }
        let since = self.source.now();
        let mut hands = self.hands();
        *hands = Hands { shown: hands.at(since), since, speed };
        Ok(())
    }

    /// How many times as fast it goes.
    #[must_use]
    pub fn speed(&self) -> u32 {
        self.hands().speed
    }

    /// How long it takes, by the clock behind it, until `time` is shown; `None` while it stands
    /// still.
    #[must_use]
    pub fn until(&self, time: Time) -> Option<Duration> {
        let now = self.source.now();
        let hands = self.hands();
        let left = u64::try_from(time.0.saturating_sub(hands.at(now).0)).unwrap_or(0);
        let speed = u64::from(hands.speed);
        (left == 0 || speed > 0).then(|| Duration::from_millis(left.div_ceil(speed.max(1))))
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Time {
        let source = self.source.now();
        self.hands().at(source)
    }
}

#[cfg(test)]
mod tests {
    use twoticks_core::clock::{DAY, ManualClock};

    use super::*;

    const START: Time = Time(1_800_000_000_000);

    #[test]
    fn it_goes_as_it_is_turned_and_never_back() {
        let source = Arc::new(ManualClock::new(START));
        let clock = TurnedClock::new(source.clone());
        source.set(START.plus(10));
        assert_eq!(clock.now(), START.plus(10));
        clock.speed_up(60).unwrap();
        source.set(START.plus(20));
        assert_eq!(clock.now(), START.plus(610));
        assert_eq!(clock.until(START.plus(670)), Some(Duration::from_millis(1)));
        clock.set(START.plus(DAY)).unwrap();
        assert_eq!(clock.now(), START.plus(DAY));
        let back = clock.set(START.plus(DAY - 1));
        assert_eq!(back, Err(NotTurned::Back { now: START.0 + DAY, asked: START.0 + DAY - 1 }));
        clock.speed_up(0).unwrap();
        source.set(START.plus(1_000_000));
        assert_eq!(clock.now(), START.plus(DAY));
        assert_eq!(clock.until(START.plus(DAY + 1)), None);
        assert_eq!(clock.until(START), Some(Duration::ZERO));
        source.set(START);
        assert_eq!(clock.now(), START.plus(DAY), "the clock behind may go back");
        clock.go_live(1);
        assert_eq!(clock.now(), START);
    }

    #[test]
    fn bounds_are_named() {
        let clock = TurnedClock::new(Arc::new(ManualClock::new(START)));
        assert_eq!(clock.set(LATEST), Ok(()));
        let beyond = LATEST.plus(1);
        assert_eq!(clock.set(beyond), Err(NotTurned::TooFar { asked: beyond.0 }));
        assert_eq!(clock.speed_up(SPEED_MAX), Ok(()));
        let asked = SPEED_MAX + 1;
        assert_eq!(clock.speed_up(asked), Err(NotTurned::TooFast { asked }));
    }
}
