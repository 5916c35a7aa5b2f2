//! The metrics: every figure that API, command line and dashboard show, in one list.
//!
//! To add one, add an entry to [`METRICS`]; the reference page and the dashboard read the list.

use crate::totals::Totals;

/// A figure with a name.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, in lower case with underscores.
    pub name: &'static str,
    /// What it says, as a sentence.
    pub help: &'static str,
    /// How it comes from totals.
    pub value: Value,
}

/// How a metric comes from totals.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// A count.
    Count(fn(&Totals) -> i64),
    /// A share of one count in another; absent when the other is zero.
    Share {
        /// Of these.
        of: fn(&Totals) -> i64,
        /// Among those.
        among: fn(&Totals) -> i64,
    },
}

impl Metric {
    /// The share, between 0 and, usually, 1; `None` for counts and where there is nothing to
    /// divide by: missing is not zero (counting rule 10).
    #[must_use]
    pub fn share(&self, totals: &Totals) -> Option<f64> {
        match self.value {
            Value::Count(_) => None,
            Value::Share { of, among } => {
                let among = among(totals);
                #[expect(clippy::cast_precision_loss, reason = "a share is read to a few digits")]
                (among != 0).then(|| of(totals) as f64 / among as f64)
            }
        }
    }

    /// The count; `None` for shares.
    #[must_use]
    pub fn count(&self, totals: &Totals) -> Option<i64> {
        match self.value {
            Value::Count(count) => Some(count(totals)),
            Value::Share { .. } => None,
        }
    }
}

/// The metric of that name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

const fn count(name: &'static str, help: &'static str, count: fn(&Totals) -> i64) -> Metric {
    Metric { name, help, value: Value::Count(count) }
}

const fn share(
    name: &'static str,
    help: &'static str,
    of: fn(&Totals) -> i64,
    among: fn(&Totals) -> i64,
) -> Metric {
    Metric { name, help, value: Value::Share { of, among } }
}

/// Every metric, in the order in which they are shown.
pub const METRICS: &[Metric] = &[
    count("accepted", "Messages that the carrier took.", |t| t.accepted),
    count("sent", "Messages sent, told or implied by a later status.", |t| t.sent),
    count("delivered", "Messages delivered, told or implied by a later status.", |t| t.delivered),
    count("read", "Messages read, as far as recipients send read receipts.", |t| t.read),
    count("played", "Voice messages played.", |t| t.played),
    count("failed", "Messages that failed and were never delivered.", Totals::failed),
    count("clicks", "All taps of buttons and replies.", Totals::all_clicks),
    count("unique_clicks", "The first tap of each button of each message.", Totals::unique_clicks),
    count(
        "machine_clicks",
        "Times that machines opened links of templates.",
        Totals::machine_clicks,
    ),
    count("late", "Statuses that came after their message's state had been dropped.", |t| t.late),
    share("delivery_rate", "Delivered messages among those sent.", |t| t.delivered, |t| t.sent),
    share("read_rate", "Read messages among those delivered.", |t| t.read, |t| t.delivered),
    share("click_rate", "Unique clicks among delivered messages.", Totals::unique_clicks, |t| {
        t.delivered
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_help_is_a_sentence() {
        for (index, metric) in METRICS.iter().enumerate() {
            assert!(METRICS.iter().skip(index + 1).all(|other| other.name != metric.name));
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            assert!(metric.help.starts_with(char::is_uppercase), "{}", metric.name);
            assert!(metric.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        for metric in METRICS {
            assert!(metric.share(&Totals::default()).is_none(), "{}", metric.name);
        }
    }
}
