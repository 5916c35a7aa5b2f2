//! Which time an export covers, and into which windows it falls.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::totals::Atom;
use twoticks_core::window::{Granularity, Window, windows};

use super::ControlError;

/// By what totals are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Not at all: quarters of an hour, UTC.
    Atom,
    /// Half hours of the zone.
    HalfHour,
    /// Days of the zone, of 23 or 25 hours where the clock is turned.
    Day,
}

/// Numbers with fewer digits are no milliseconds but somebody's way to write a date.
const MILLISECONDS_DIGITS_MIN: usize = 11;

/// `[from, until)`; either end can be open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Option<Time>,
    pub(super) until: Option<Time>,
}

impl Span {
    /// The span that two texts name; dates without an offset are `zone`'s.
    pub(super) fn parse(
        from: Option<&str>,
        until: Option<&str>,
        zone: &TimeZone,
    ) -> Result<Self, ControlError> {
        let span = Self {
            from: from.map(|text| time(text, zone)).transpose()?,
            until: until.map(|text| time(text, zone)).transpose()?,
        };
        if let (Some(start), Some(end), Some(from), Some(until)) =
            (span.from, span.until, from, until)
            && end <= start
        {
            let why = format!("`{until}` is not after `{from}`; give a later one, or leave it out");
            return Err(ControlError::Unfit { what: "--until", why });
        }
        Ok(span)
    }

    pub(super) fn contains(self, time: Time) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }
}

/// A time as people write it.
fn time(text: &str, zone: &TimeZone) -> Result<Time, ControlError> {
    let unfit = || ControlError::Unfit {
        what: "a time",
        why: format!(
            "`{text}` is none; write a date such as `2026-11-01`, an instant such as \
             `2026-11-01T08:00:00Z`, or milliseconds since 1970"
        ),
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_long = text.len() >= MILLISECONDS_DIGITS_MIN;
        let milliseconds = text.parse().ok().filter(|_| is_long).ok_or_else(unfit)?;
        // The calendar has to hold it.
        jiff::Timestamp::from_millisecond(milliseconds).map_err(|_| unfit())?;
        return Ok(Time(milliseconds));
    }
    if let Ok(instant) = text.parse::<jiff::Timestamp>() {
        return Ok(Time(instant.as_millisecond()));
    }
    let civil: DateTime = text.parse().map_err(|_| unfit())?;
    let instant = civil.to_zoned(zone.clone()).map_err(|_| unfit())?;
    Ok(Time(instant.timestamp().as_millisecond()))
}

/// The windows of a zone, found one by one.
pub(super) struct Windows {
    by: By,
    zone: TimeZone,
    span: Span,
    /// The last one found: atoms come in order, so the next one mostly lies in it.
    last: Option<Window>,
}

impl Windows {
    pub(super) fn new(by: By, zone: TimeZone, span: Span) -> Self {
        Self { by, zone, span, last: None }
    }

    /// The window in which `atom` lies.
    pub(super) fn of(&mut self, atom: Atom) -> Result<Window, ControlError> {
        if let Some(last) = self.last.filter(|last| last.from <= atom && atom < last.to) {
            return Ok(last);
        }
        let granularity = match self.by {
            By::Atom => return Ok(Window { from: atom, to: Atom(atom.0.saturating_add(1)) }),
            By::HalfHour => Granularity::HalfHour,
            By::Day => Granularity::Daily,
        };
        let found = windows(atom.start(), atom.start(), granularity, &self.zone);
        let found = found.ok().and_then(|found| found.first().copied());
        let window = found.ok_or_else(|| ControlError::Unfit {
            what: "a cell",
            why: format!("the calendar does not hold its time, {} ms", atom.start().0),
        })?;
        self.last = Some(window);
        Ok(window)
    }

    /// Whether rows of the window are wanted: as in the answers of the API, windows are whole, and
    /// one that the span touches is in.
    pub(super) fn asks_for(&self, window: Window) -> bool {
        self.span.from.is_none_or(|from| from < window.end())
            && self.span.until.is_none_or(|until| window.start() < until)
    }

    /// All atoms that can matter.
    pub(super) fn atoms(&mut self) -> Result<Window, ControlError> {
        let from = match self.span.from {
            Some(from) => self.of(Atom::of(from))?.from,
            None => Atom(i32::MIN),
        };
        let to = match self.span.until {
            Some(until) => self.of(Atom::of(until.plus(-1)))?.to,
            None => Atom(i32::MAX),
        };
        Ok(Window { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[test]
    fn times_are_dates_instants_or_milliseconds() {
        let berlin = zone("Europe/Berlin");
        for (text, expected) in [
            ("2026-10-01T16:00:00Z", Some(1_790_870_400_000)),
            ("2026-10-01T18:00:00+02:00", Some(1_790_870_400_000)),
            ("2026-10-01T18:00:00", Some(1_790_870_400_000)),
            ("2026-10-01T18:00", Some(1_790_870_400_000)),
            ("2026-10-01", Some(1_790_805_600_000)),
            ("1790870400000", Some(1_790_870_400_000)),
            ("20261001", None),
            ("99999999999999999", None),
            ("", None),
            ("-5", None),
            ("yesterday", None),
            ("2026-13-01", None),
            ("99999999999999999999999", None),
        ] {
            let found = time(text, &berlin);
            assert_eq!(found.as_ref().ok().map(|time| time.0), expected, "{text}");
            if let Err(error) = found {
                assert!(error.to_string().contains(&format!("`{text}` is none; write")), "{error}");
            }
        }
    }

    #[test]
    fn an_end_that_is_not_after_the_start_is_refused() {
        for (until, fits) in [("2026-10-02", true), ("2026-10-01", false), ("2026-09-30", false)] {
            let span = Span::parse(Some("2026-10-01"), Some(until), &TimeZone::UTC);
            assert_eq!(span.is_ok(), fits, "{until}");
            assert!(span.err().is_none_or(|error| error.to_string().contains(until)));
        }
    }

    #[test]
    fn windows_are_those_of_the_api() {
        for (name, by, granularity) in [
            ("UTC", By::Day, Granularity::Daily),
            ("Asia/Kathmandu", By::Day, Granularity::Daily),
            ("Asia/Kathmandu", By::HalfHour, Granularity::HalfHour),
            // The clock is turned back on 25 October.
            ("Europe/Berlin", By::Day, Granularity::Daily),
            ("Europe/Berlin", By::HalfHour, Granularity::HalfHour),
            ("Australia/Lord_Howe", By::HalfHour, Granularity::HalfHour),
        ] {
            let zone = zone(name);
            let span = Span::parse(Some("2026-10-24T10:10"), Some("2026-10-27T03:01"), &zone);
            let span = span.unwrap();
            let (start, end) = (span.from.unwrap(), span.until.unwrap());
            let expected = windows(start, end, granularity, &zone).unwrap();
            let mut made = Windows::new(by, zone, span);
            let atoms = made.atoms().unwrap();
            let mut found = Vec::new();
            for atom in atoms.from.0 - 200..atoms.to.0 + 200 {
                let window = made.of(Atom(atom)).unwrap();
                assert!(window.from.0 <= atom && atom < window.to.0);
                if made.asks_for(window) && found.last() != Some(&window) {
                    assert!((atoms.from.0..atoms.to.0).contains(&atom), "{name}");
                    found.push(window);
                }
            }
            assert_eq!(found, expected, "{name} {by:?}");
        }
    }
}
