//! Windows of time: half hours and days in a zone, as runs of atoms.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::clock::{DAY, Time};
use crate::totals::{ATOM, Atom};

/// A run of atoms, half-open: `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first atom in it.
    pub from: Atom,
    /// The first atom behind it.
    pub to: Atom,
}

impl Window {
    /// The instant at which it begins.
    #[must_use]
    pub fn start(self) -> Time {
        self.from.start()
    }

    /// The instant at which it is over.
    #[must_use]
    pub fn end(self) -> Time {
        self.to.start()
    }
}

/// How fine a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Granularity {
    /// Days of the zone, of 23 or 25 hours where the clock is turned.
    Daily,
    /// Half hours of the zone.
    HalfHour,
}

impl Granularity {
    /// The word for it in CAMS.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "DAILY",
            Self::HalfHour => "HALF_HOUR",
        }
    }
}

/// How soon figures appear (counting rule 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// Counted is visible.
    #[default]
    Live,
    /// A day's figures appear once that day is over and at least one day has passed since the
    /// opt-in.
    NextDay,
}

impl Freshness {
    /// Whether the figures of `window`, a day of `zone` or a part of one, are shown at `now` for a
    /// channel that has opted in at `opt_in`.
    ///
    /// # Errors
    /// [`OutsideOfCalendar`] for a present beyond the years -9999 to 9999.
    pub fn shows(
        self,
        window: Window,
        opt_in: Option<Time>,
        now: Time,
        zone: &TimeZone,
    ) -> Result<bool, OutsideOfCalendar> {
        match self {
            Self::Live => Ok(true),
            Self::NextDay => {
                let today = day_start(day_of(now, zone)?, zone)?;
                Ok(window.to <= today && opt_in.is_some_and(|opt_in| opt_in.plus(DAY) <= now))
            }
        }
    }
}

/// A range that the calendar does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is outside of the calendar, which holds the years -9999 to 9999")]
pub struct OutsideOfCalendar(pub i64);

/// The windows of `zone` that begin before `end` and end after `start`, sorted.
///
/// If the two are equal it is the one window that holds them; if `end` is before `start`, none.
/// Their number is not bounded here: the caller bounds the range.
///
/// Zones whose offset is no multiple of 15 minutes do not exist since 2009, which is as far as
/// counts go back; in an older window bounds are rounded down to an atom.
///
/// # Errors
/// [`OutsideOfCalendar`] for instants beyond the years -9999 to 9999.
pub fn windows(
    start: Time,
    end: Time,
    granularity: Granularity,
    zone: &TimeZone,
) -> Result<Vec<Window>, OutsideOfCalendar> {
    let mut windows = Vec::new();
    if end < start {
        return Ok(windows);
    }
    let step = match granularity {
        Granularity::Daily => None,
        Granularity::HalfHour => Some(2),
    };
    let mut day = day_of(start, zone)?;
    let mut from = day_start(day, zone)?;
    loop {
        day = day.checked_add(1.day()).map_err(|_| OutsideOfCalendar(end.0))?;
        let next = day_start(day, zone)?;
        while from < next {
            let to = step.map_or(next, |atoms| Atom(from.0.saturating_add(atoms)).min(next));
            if from.start() >= end && start != end {
                return Ok(windows);
            }
            if to.start() > start {
                windows.push(Window { from, to });
                if start == end {
                    return Ok(windows);
                }
            }
            from = to;
        }
    }
}

fn day_of(time: Time, zone: &TimeZone) -> Result<jiff::civil::Date, OutsideOfCalendar> {
    let instant = Timestamp::from_millisecond(time.0).map_err(|_| OutsideOfCalendar(time.0))?;
    Ok(zone.to_datetime(instant).date())
}

fn day_start(day: jiff::civil::Date, zone: &TimeZone) -> Result<Atom, OutsideOfCalendar> {
    let start = day
        .to_zoned(zone.clone())
        .map_err(|_| OutsideOfCalendar(i64::from(day.year())))?
        .timestamp()
        .as_millisecond();
    Ok(Atom::of(Time(start.div_euclid(ATOM) * ATOM)))
}
