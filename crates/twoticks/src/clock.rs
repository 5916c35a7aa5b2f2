//! The present: the one place where the system's clock is read.

use std::sync::atomic::{AtomicI64, Ordering};

use twoticks_core::clock::{Clock, Time};

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        #[expect(clippy::disallowed_methods, reason = "the one place; all else takes a `Clock`")]
        let now = jiff::Timestamp::now();
        Time(now.as_millisecond())
    }
}

/// A clock that shows the past while the demo's story is told, and the present afterwards.
#[derive(Debug, Default)]
pub(crate) struct StoryClock {
    /// What it shows, in milliseconds; 0 for the present.
    told: AtomicI64,
}

impl StoryClock {
    /// Shows `time`.
    pub(crate) fn show(&self, time: Time) {
        self.told.store(time.0, Ordering::SeqCst);
    }

    /// Shows the present from now on.
    pub(crate) fn go_live(&self) {
        self.told.store(0, Ordering::SeqCst);
    }
}

impl Clock for StoryClock {
    fn now(&self) -> Time {
        match self.told.load(Ordering::SeqCst) {
            0 => SystemClock.now(),
            told => Time(told),
        }
    }
}
