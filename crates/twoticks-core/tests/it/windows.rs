//! Rules 8 and 9: days and half hours of a zone, and when they are shown.

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::select;
use twoticks_core::clock::{DAY, EARLIEST, Time};
use twoticks_core::totals::ATOM;
use twoticks_core::window::{Freshness, Granularity, Window, windows};

const HALF_HOUR: i64 = 2 * ATOM;
const HOUR: i64 = 4 * ATOM;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn instant(text: &str) -> Time {
    Time(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// The instant at which the clocks of `zone` show that.
fn local(text: &str, zone: &TimeZone) -> Time {
    let shown: jiff::civil::DateTime = text.parse().unwrap();
    Time(shown.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond())
}

fn of_range(start: Time, end: Time, granularity: Granularity, zone: &TimeZone) -> Vec<Window> {
    windows(start, end, granularity, zone).unwrap()
}

#[test]
fn days_are_as_long_as_the_zone_has_them() {
    for (name, day, hours, halves) in [
        ("UTC", "2026-03-29", 24.0, 48),
        ("Europe/Berlin", "2026-03-29", 23.0, 46),
        ("Europe/Berlin", "2026-10-25", 25.0, 50),
        ("America/Sao_Paulo", "2018-11-04", 23.0, 46), // midnight does not exist
        ("America/Sao_Paulo", "2018-02-17", 25.0, 50), // 23:00 comes twice
        ("America/Sao_Paulo", "2026-11-01", 24.0, 48), // no more
        ("Australia/Lord_Howe", "2026-04-05", 24.5, 49),
        ("Australia/Lord_Howe", "2026-10-04", 23.5, 47),
        ("Asia/Kathmandu", "2026-06-01", 24.0, 48),
        ("Asia/Pyongyang", "2018-05-04", 23.5, 47), // the zone moved by half an hour
        ("America/Caracas", "2016-05-01", 23.5, 47),
        ("Africa/Cairo", "2026-04-24", 23.0, 46),
        ("Pacific/Apia", "2011-12-29", 24.0, 48), // and the day after it never was
    ] {
        let zone = zone(name);
        let noon = local(&format!("{day}T12:00"), &zone);
        let days = of_range(noon, noon, Granularity::Daily, &zone);
        let [whole] = days[..] else { panic!("{name} {day}: {days:?}") };
        let length = whole.end().0 - whole.start().0;
        #[expect(clippy::cast_precision_loss, reason = "hours are few")]
        let told = length as f64 / HOUR as f64;
        assert!((told - hours).abs() < 1e-9, "{name} {day}: {told} hours");
        let parts = of_range(whole.start(), whole.end(), Granularity::HalfHour, &zone);
        assert_eq!(parts.len(), halves, "{name} {day}");
        assert_eq!(parts[0].from, whole.from, "{name} {day}");
        assert_eq!(parts[halves - 1].to, whole.to, "{name} {day}");
        assert!(parts.iter().all(|part| part.end().0 - part.start().0 == HALF_HOUR));
    }
}

#[test]
fn days_begin_at_midnight_of_the_zone() {
    for (name, at, begin, end) in [
        ("UTC", "2026-10-01T16:00:00Z", "2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z"),
        (
            "Asia/Kathmandu",
            "2026-10-01T18:14:59.999Z",
            "2026-09-30T18:15:00Z",
            "2026-10-01T18:15:00Z",
        ),
        ("Asia/Kathmandu", "2026-10-01T18:15:00Z", "2026-10-01T18:15:00Z", "2026-10-02T18:15:00Z"),
        (
            "America/Sao_Paulo",
            "2018-11-04T03:00:00Z",
            "2018-11-04T03:00:00Z",
            "2018-11-05T02:00:00Z",
        ),
        (
            "America/Sao_Paulo",
            "2018-02-18T02:30:00Z",
            "2018-02-17T02:00:00Z",
            "2018-02-18T03:00:00Z",
        ),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
        (
            "America/St_Johns",
            "2010-11-07T02:45:00Z",
            "2010-11-07T02:30:00Z",
            "2010-11-08T03:30:00Z",
        ),
    ] {
        let at = instant(at);
        let expected = [(instant(begin), instant(end))];
        let days = of_range(at, at, Granularity::Daily, &zone(name));
        let days: Vec<_> = days.iter().map(|day| (day.start(), day.end())).collect();
        assert_eq!(days, expected, "{name}");
    }
}

#[test]
fn the_windows_of_a_range_begin_before_its_end_and_end_after_its_start() {
    let day = instant("2026-10-01T00:00:00Z").0;
    for (granularity, length) in [(Granularity::Daily, DAY), (Granularity::HalfHour, HALF_HOUR)] {
        for (start, end, first, count) in [
            (0, length, 0, 1),
            (0, length + 1, 0, 2),
            (1, length, 0, 1),
            (length - 1, length + 1, 0, 2),
            (length, length + 1, 1, 1),
            (-1, 0, -1, 1),
            (0, 3 * length, 0, 3),
            (0, 0, 0, 1),                   // equal, and on a boundary
            (length / 2, length / 2, 0, 1), // equal
            (length - 1, length - 1, 0, 1),
            (length, length, 1, 1),
            (1, 0, 0, 0), // the wrong way round
            (5 * length, 0, 0, 0),
        ] {
            let told = of_range(Time(day + start), Time(day + end), granularity, &TimeZone::UTC);
            let told: Vec<_> = told.iter().map(|w| (w.start().0 - day, w.end().0 - day)).collect();
            let expected: Vec<_> = (first..first + count)
                .map(|index| (index * length, (index + 1) * length))
                .collect();
            assert_eq!(told, expected, "{granularity:?} {start}..{end}");
        }
    }
}

#[test]
fn half_hours_begin_where_the_zone_has_them() {
    let zone = zone("Asia/Kathmandu");
    let at = instant("2026-10-01T00:00:00Z");
    let [half] = of_range(at, at, Granularity::HalfHour, &zone)[..] else { panic!("one") };
    assert_eq!(half.start(), instant("2026-09-30T23:45:00Z"));
}

#[test]
fn a_range_outside_of_the_calendar_is_an_error() {
    for (start, end) in [
        (Time(i64::MIN), Time(0)),
        (Time(i64::MAX), Time(i64::MAX)),
        (Time(253_402_000_000_000), Time(i64::MAX)),
    ] {
        assert!(windows(start, end, Granularity::Daily, &TimeZone::UTC).is_err(), "{start:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_touch_and_cover_the_range(
        name in select(vec![
            "UTC", "Europe/Berlin", "America/Sao_Paulo", "America/New_York", "America/St_Johns",
            "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "Pacific/Chatham",
            "Africa/Cairo", "Africa/Casablanca", "Asia/Gaza", "Asia/Pyongyang", "America/Caracas",
        ]),
        // From 2009 on: before that a few zones had offsets of odd minutes.
        start in EARLIEST.0..EARLIEST.0 + 20 * 365 * DAY,
        length in prop_oneof![0..3 * DAY, (0i64..200).prop_map(|halves| halves * HALF_HOUR)],
        aligned in any::<bool>(),
        granularity in select(vec![Granularity::Daily, Granularity::HalfHour]),
    ) {
        let start = Time(if aligned { start.div_euclid(HALF_HOUR) * HALF_HOUR } else { start });
        let end = start.plus(length);
        let told = of_range(start, end, granularity, &zone(name));
        let (first, last) = (told[0], told[told.len() - 1]);
        prop_assert!(first.start() <= start && start < first.end());
        prop_assert!(end <= last.end() && (last.start() < end || length == 0));
        prop_assert!(length > 0 || told.len() == 1);
        prop_assert!(told.windows(2).all(|pair| pair[0].to == pair[1].from));
        for window in told {
            let length = window.end().0 - window.start().0;
            match granularity {
                Granularity::HalfHour => prop_assert!(length == HALF_HOUR || length == ATOM),
                Granularity::Daily => prop_assert!((22 * HOUR..=26 * HOUR).contains(&length)),
            }
        }
    }
}

#[test]
fn live_figures_are_shown_at_once() {
    let today =
        Window { from: twoticks_core::totals::Atom(0), to: twoticks_core::totals::Atom(96) };
    assert!(Freshness::default().shows(today, None, Time(0), &TimeZone::UTC).unwrap());
}

#[test]
fn next_day_figures_are_shown_when_the_day_is_over_and_the_opt_in_a_day_old() {
    let zone = zone("Europe/Berlin");
    let noon = local("2026-10-25T12:00", &zone);
    let day = of_range(noon, noon, Granularity::Daily, &zone)[0];
    let early = of_range(day.start(), day.start(), Granularity::HalfHour, &zone)[0];
    let before = day.start().plus(-DAY);
    for (opt_in, now, shown) in [
        (Some(before), day.end(), true),
        (Some(before), day.end().plus(-1), false),
        (Some(before), noon, false),
        (Some(day.end().plus(-DAY)), day.end(), true),
        (Some(day.end().plus(1 - DAY)), day.end(), false),
        (Some(noon), noon.plus(DAY), true),
        (Some(noon), noon.plus(DAY - 1), false),
        (None, day.end().plus(DAY), false),
    ] {
        for window in [day, early] {
            let told = Freshness::NextDay.shows(window, opt_in, now, &zone).unwrap();
            assert_eq!(told, shown, "{window:?} opted in {opt_in:?}, now {now:?}");
        }
    }
}
