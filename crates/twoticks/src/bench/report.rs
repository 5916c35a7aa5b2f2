//! The table: what was measured, against what, and the goal. As lines for people, or as one object.
//!
//! In the object each key of [`KEYS`] is a number, or null with the reason under `KEY_why`; beside
//! it are `KEY_goal` and, in `KEY_figures`, the absolute figures of both sides.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{Args, Sizes};
use crate::output;

/// What a number is to be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// It is only reported.
    None,
}

impl Goal {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
            Self::None => None,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtMost(most) => format!("at most {most}"),
            Self::AtLeast(least) => format!("at least {least}"),
            Self::None => "-".to_owned(),
        }
    }
}

/// A figure of the report.
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The row that measures it.
    pub(super) row: &'static str,
    /// What it is, for people.
    what: &'static str,
    goal: Goal,
}

const fn key(name: &'static str, row: &'static str, what: &'static str, goal: Goal) -> Key {
    Key { name, row, what, goal }
}

/// Every figure, in the order of the table.
pub(super) const KEYS: &[Key] = &[
    key("store_cpu_ratio", "store", "store: CPU per event ÷ limit", Goal::AtMost(2.5)),
    key("store_bytes_per_event", "store", "store: bytes written per event", Goal::AtMost(200.0)),
    key("store_hostile_cpu_ratio", "store", "store, hostile: CPU per event ÷ limit", Goal::None),
    key(
        "store_hostile_bytes_per_event",
        "store",
        "store, hostile: bytes written per event",
        Goal::None,
    ),
    key("disk_bytes_per_message", "store", "disk: bytes kept per message", Goal::AtMost(150.0)),
    key(
        "door100_cpu_ratio",
        "door100",
        "door, 100 a body: CPU per status ÷ limits",
        Goal::AtMost(2.0),
    ),
    key("door1_rps_ratio", "door1", "door, 1 a body: requests/s ÷ limit", Goal::AtLeast(0.5)),
    key("door1_p99_ratio", "door1", "door, evenly: p99 ÷ (20 ms + 3 fsyncs)", Goal::AtMost(1.0)),
    key("link_p99_ms", "links", "a link, opened: p99 until led on, ms", Goal::AtMost(5.0)),
    key("growth_cpu_ratio", "growth", "growth: CPU per event, late ÷ early", Goal::AtMost(1.5)),
    key(
        "growth_memory_ratio",
        "growth",
        "growth: peak memory without the feeder's ÷ 512 MB",
        Goal::AtMost(1.0),
    ),
    key("query_idle_p99_ms", "query", "query, idle: p99, ms", Goal::AtMost(1.0)),
    key(
        "query_half_p99_ms",
        "query",
        "query, ingesting half of what it can: p99, ms",
        Goal::AtMost(5.0),
    ),
    key("query_busy_p99_ms", "query", "query, ingesting what it can: p99, ms", Goal::AtMost(5.0)),
    key("start_after_kill_s", "start", "start after SIGKILL: ready, s", Goal::AtMost(3.0)),
    key("verify_ratio", "verify", "verify: events/s ÷ ingestion's", Goal::AtLeast(1.0)),
    key("postgres_ratio", "postgres", "events/s ÷ PostgreSQL's", Goal::AtLeast(8.0)),
    key("clickhouse_ratio", "clickhouse", "events/s ÷ ClickHouse's", Goal::AtLeast(20.0)),
    key(
        "receiver_ratio",
        "receiver",
        "door, 1 a body: requests/s ÷ receiver's",
        Goal::AtLeast(20.0),
    ),
    key("receiver_100_ratio", "receiver", "door, 100 a body: requests/s ÷ receiver's", Goal::None),
];

/// What a row came to.
pub(super) enum Taken {
    Found(Vec<Found>),
    /// It was not measured, and why.
    Skipped(String),
}

/// A figure that was measured.
pub(super) struct Found {
    key: &'static str,
    value: f64,
    figures: Value,
}

impl Found {
    /// The `value` under `key`, and the absolute figures of both sides.
    pub(super) fn new(key: &'static str, value: f64, figures: Value) -> Self {
        Self { key, value, figures }
    }
}

/// What is known so far.
pub(super) struct Report {
    found: Vec<Found>,
    /// Row and reason.
    missing: Vec<(&'static str, String)>,
    has_failed: bool,
    about: Value,
}

impl Report {
    pub(super) fn new(sizes: &Sizes, args: &Args) -> Self {
        let about = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "quick": args.quick,
            "rounds": sizes.rounds,
            "events": sizes.events,
            "hostile_events": sizes.hostile_events,
            "peer_events": sizes.peer_events,
            "door100_bodies": sizes.door100_bodies,
            "door1_bodies": sizes.door1_bodies,
            "receiver_bodies": sizes.receiver_bodies,
            "growth_messages": sizes.growth_messages,
            "growth_memory_mb": sizes.growth_memory_mb,
            "machine": machine(),
        });
        Self { found: Vec::new(), missing: Vec::new(), has_failed: false, about }
    }

    pub(super) fn take(&mut self, row: &'static str, found: Vec<Found>) {
        self.found.extend(found);
        self.missing.push((row, "the row did not measure it".to_owned()));
    }

    pub(super) fn skip(&mut self, row: &'static str, why: &str) {
        self.missing.push((row, why.to_owned()));
    }

    pub(super) fn fail(&mut self, row: &'static str, why: &str) {
        self.has_failed = true;
        self.skip(row, why);
    }

    /// Whether no row failed.
    pub(super) fn is_whole(&self) -> bool {
        !self.has_failed
    }

    pub(super) fn print(&self, as_json: bool) -> Result<()> {
        if as_json { output::value(true, &self.object()) } else { output::data(&self.table()) }
    }

    fn of(&self, key: &Key) -> Result<&Found, &str> {
        self.found.iter().find(|found| found.key == key.name).ok_or_else(|| {
            let missing = self.missing.iter().find(|(row, _)| *row == key.row);
            missing.map_or("it was not run", |(_, why)| why.as_str())
        })
    }

    fn object(&self) -> Value {
        let mut all = Map::new();
        all.insert("about".to_owned(), self.about.clone());
        for key in KEYS {
            let mut put = |suffix: &str, value| all.insert(format!("{}{suffix}", key.name), value);
            put("_goal", key.goal.shown().into());
            match self.of(key) {
                Ok(found) => {
                    put("", found.value.into());
                    put("_figures", found.figures.clone());
                    put("_met", key.goal.is_met(found.value).into());
                }
                Err(why) => {
                    put("", Value::Null);
                    put("_why", why.into());
                }
            }
        }
        Value::Object(all)
    }

    fn table(&self) -> String {
        let mut text = format!("{:<46} {:>12}  goal\n", "what", "measured");
        for key in KEYS {
            let goal = key.goal.shown();
            let line = match self.of(key) {
                Ok(found) => {
                    let met = match key.goal.is_met(found.value) {
                        Some(true) => "met",
                        Some(false) => "not met",
                        None => "",
                    };
                    format!("{:<46} {:>12.3}  {goal:<16} {met}", key.what, found.value)
                }
                Err(why) => format!("{:<46} {:>12}  {goal:<16} {why}", key.what, "-"),
            };
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for (name, figures) in self.sides() {
            text.push_str(&format!("\n{name}\n"));
            flat(&mut text, "", figures);
        }
        text
    }

    /// The figures, those that several keys share once.
    fn sides(&self) -> Vec<(&'static str, &Value)> {
        let mut sides: Vec<(&'static str, &Value)> = Vec::new();
        for found in &self.found {
            if !sides.iter().any(|(_, figures)| **figures == found.figures) {
                sides.push((found.key, &found.figures));
            }
        }
        sides
    }
}

/// A line for every number in `value`.
fn flat(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                flat(text, format!("{name} {field}").trim_start(), value);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                flat(text, &format!("{name} {}", index + 1), value);
            }
        }
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            text.push_str(&format!("  {name:<46} {number:>14.3}\n"));
        }
        other => text.push_str(&format!("  {name:<46} {other:>14}\n")),
    }
}

/// What it ran on: processor, cores, memory.
fn machine() -> Value {
    let first = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|line| line.trim_start_matches([' ', '\t', ':']).to_owned())
    };
    json!({
        "processor": first("/proc/cpuinfo", "model name"),
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "memory": first("/proc/meminfo", "MemTotal:"),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_name_of_its_own() {
        for (index, key) in KEYS.iter().enumerate() {
            assert!(KEYS.iter().skip(index + 1).all(|other| other.name != key.name));
        }
    }

    #[test]
    fn goals_are_inclusive() {
        assert_eq!(Goal::AtMost(2.5).is_met(2.5), Some(true));
        assert_eq!(Goal::AtMost(2.5).is_met(2.6), Some(false));
        assert_eq!(Goal::AtLeast(8.0).is_met(8.0), Some(true));
        assert_eq!(Goal::None.is_met(1.0), None);
    }
}
