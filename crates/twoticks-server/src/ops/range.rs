//! `Granularity`, `Start` and `End` of the metric operations, and what of it may be shown.

use twoticks_core::clock::{DAY, Time};
use twoticks_core::window::{Granularity, Window, windows};
use twoticks_wire::code::Refusal;

use super::arguments::{required_integer, text};
use super::{Context, Field, Parameter, field, optional, required};
use crate::settings::{Cams, Freshness};

pub(super) const GRANULARITY: Parameter = optional(
    "Granularity",
    "string",
    "`DAILY` (default) or `HALF_HOUR`. Days are those of `cams.day_zone`.",
);
pub(super) const START: Parameter = required(
    "Start",
    "integer",
    "Milliseconds since 1970-01-01 UTC. Buckets that end after it are answered.",
);
pub(super) const END: Parameter = required(
    "End",
    "integer",
    "Milliseconds since 1970-01-01 UTC. Buckets that begin before it are answered; if it equals \
     `Start`, the one bucket that holds both.",
);
pub(super) const ROW_START: Field =
    field("Data[].Start", "integer", "When the bucket begins, in milliseconds since 1970.");
pub(super) const ROW_END: Field =
    field("Data[].End", "integer", "When the bucket is over, in milliseconds since 1970.");

/// The buckets that are asked for.
///
/// **Invariant:** their number is bounded by `cams.daily_days_max` and `cams.half_hour_days_max`.
pub(super) struct Range {
    pub(super) granularity: Granularity,
    windows: Vec<Window>,
}

impl Range {
    /// Reads the three parameters.
    ///
    /// # Errors
    /// `MissingStart`, `MissingEnd`, `InvalidGranularity`, `InvalidEnd` if it is before `Start`,
    /// `InvalidStart` if the two are further apart than the settings allow, and each if it is no
    /// instant of the calendar.
    pub(super) fn decode(context: &Context<'_>) -> Result<Self, Refusal> {
        let cams = &context.app.settings.cams;
        let start = required_integer(context.params, "Start")?;
        let end = required_integer(context.params, "End")?;
        let (granularity, days_max) = match text(context.params, "Granularity") {
            None | Some("DAILY") => (Granularity::Daily, cams.daily_days_max),
            Some("HALF_HOUR") => (Granularity::HalfHour, cams.half_hour_days_max),
            Some(_) => return Err(Refusal::invalid("Granularity")),
        };
        if jiff::Timestamp::from_millisecond(start).is_err() {
            return Err(Refusal::invalid("Start"));
        }
        if end < start || jiff::Timestamp::from_millisecond(end).is_err() {
            return Err(Refusal::invalid("End"));
        }
        if end - start > i64::from(days_max) * DAY {
            return Err(Refusal::invalid("Start"));
        }
        let windows = windows(Time(start), Time(end), granularity, &cams.day_zone.0)
            .map_err(|_| Refusal::invalid("End"))?;
        Ok(Self { granularity, windows })
    }

    /// The buckets of which counts may be shown at `now` to a channel that opted in at `opt_in`
    /// (counting rule 9).
    pub(super) fn visible(&self, cams: &Cams, opt_in: Time, now: Time) -> Vec<Window> {
        match cams.freshness {
            Freshness::Live => self.windows.clone(),
            Freshness::NextDay if now < opt_in.plus(DAY) => Vec::new(),
            Freshness::NextDay => {
                let today = windows(now, now, Granularity::Daily, &cams.day_zone.0)
                    .ok()
                    .and_then(|today| today.first().copied());
                let over = |window: &&Window| today.is_some_and(|today| window.to <= today.from);
                self.windows.iter().filter(over).copied().collect()
            }
        }
    }
}

/// The buckets that are answered even if they are empty: those that have begun and were not over
/// at the opt-in. What was not collected is absent, not zero.
pub(super) fn filled(visible: &[Window], opt_in: Time, now: Time) -> Vec<Window> {
    let collected = |window: &&Window| window.end() > opt_in && window.start() <= now;
    visible.iter().filter(collected).copied().collect()
}
