//! How fast a number may send: so many messages a second in all, and to one recipient so many at
//! once and then one every few seconds (whatsapp.md section 4).
//!
//! Pure: the time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// To one recipient a number may send one message in so much time…
const PAIR_PERIOD: Duration = Duration::from_secs(6);
/// …and so many at once.
const PAIR_BURST: u32 = 45;
/// How many recipients are remembered before those who may get their whole burst are forgotten.
const PAIRS_MAX: usize = 100_000;

/// A rate: one in each `period`, and up to `burst` at once after a pause.
#[derive(Clone, Copy, Debug)]
struct Rate {
    period: Duration,
    burst: u32,
}

impl Rate {
    /// When the next one may go, where the whole burst may go again from `full_at` on.
    fn ready(self, full_at: Instant, now: Instant) -> Instant {
        let lead = self.period * self.burst.saturating_sub(1);
        full_at.checked_sub(lead).map_or(now, |ready| ready.max(now))
    }

    /// From when on the whole burst may go again, once one has gone now.
    fn taken(self, full_at: Instant, now: Instant) -> Instant {
        full_at.max(now) + self.period
    }
}

/// The pace of one number.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Rate,
    full_at: Option<Instant>,
    pairs: HashMap<u64, Instant>,
    /// Nothing goes before.
    paused_until: Option<Instant>,
}

impl Pace {
    /// `per_second` messages a second, at least one.
    pub(super) fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let period = Duration::from_secs(1) / per_second;
        // A tenth of a second at once, so that waking up late costs nothing.
        let rate = Rate { period, burst: per_second.div_ceil(10) };
        Self { rate, full_at: None, pairs: HashMap::new(), paused_until: None }
    }

    /// When the number may send next.
    pub(super) fn ready(&self, now: Instant) -> Instant {
        let ready = self.full_at.map_or(now, |full_at| self.rate.ready(full_at, now));
        self.paused_until.map_or(ready, |until| until.max(ready))
    }

    /// When the number may send to `to` next, as far as it is about this pair.
    pub(super) fn pair_ready(&self, to: &str, now: Instant) -> Instant {
        let full_at = self.pairs.get(&xxh3_64(to.as_bytes()));
        full_at.map_or(now, |full_at| PAIR.ready(*full_at, now))
    }

    /// One goes to `to` now.
    pub(super) fn take(&mut self, to: &str, now: Instant) {
        self.full_at = Some(self.rate.taken(self.full_at.unwrap_or(now), now));
        if self.pairs.len() >= PAIRS_MAX {
            self.pairs.retain(|_, full_at| *full_at > now);
        }
        let full_at = self.pairs.entry(xxh3_64(to.as_bytes())).or_insert(now);
        *full_at = PAIR.taken(*full_at, now);
    }

    /// Nothing goes before `until`.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |known| known.max(until)));
    }
}

const PAIR: Rate = Rate { period: PAIR_PERIOD, burst: PAIR_BURST };

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `count` messages from `begun` on, as fast as it may; how long it takes.
    fn send(pace: &mut Pace, begun: Instant, to: impl Fn(u32) -> String, count: u32) -> Duration {
        let mut now = begun;
        for index in 0..count {
            let to = to(index);
            now = pace.ready(now).max(pace.pair_ready(&to, now));
            pace.take(&to, now);
        }
        now - begun
    }

    #[test]
    fn a_number_keeps_its_rate() {
        let took = send(&mut Pace::new(80), Instant::now(), |index| index.to_string(), 801);
        // The first eight go at once.
        assert_eq!(took, Duration::from_micros(12_500) * 793);
    }

    #[test]
    fn a_pair_has_its_burst_and_then_one_every_six_seconds() {
        let (mut pace, begun) = (Pace::new(1_000), Instant::now());
        let to = |_| "15550001".to_owned();
        let took = send(&mut pace, begun, to, PAIR_BURST);
        assert!(took < Duration::from_secs(1), "{took:?}");
        let now = begun + took;
        let wait = pace.pair_ready("15550001", now) - now;
        assert!(wait > Duration::from_secs(5) && wait <= PAIR_PERIOD, "{wait:?}");
        assert_eq!(pace.pair_ready("15550002", now), now);
        let later = now + PAIR_PERIOD * (PAIR_BURST + 1);
        assert!(send(&mut pace, later, to, PAIR_BURST) < Duration::from_secs(1));
    }

    #[test]
    fn a_pause_holds_everything() {
        let (mut pace, now) = (Pace::new(80), Instant::now());
        pace.pause(now + Duration::from_secs(4));
        pace.pause(now + Duration::from_secs(2));
        assert_eq!(pace.ready(now), now + Duration::from_secs(4));
    }

    #[test]
    fn recipients_are_forgotten_when_nothing_is_left_to_wait_for() {
        let (mut pace, begun) = (Pace::new(1_000_000), Instant::now());
        let count = u32::try_from(PAIRS_MAX).unwrap();
        let took = send(&mut pace, begun, |index| index.to_string(), count);
        pace.take("one more", begun + took + Duration::from_secs(60));
        assert_eq!(pace.pairs.len(), 1);
    }
}
