//! The present: the one place where the system's clock is read.

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
