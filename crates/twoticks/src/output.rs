//! The one place that writes to standard output and, beside the log, to standard error.
//!
//! Data is a JSON value: printed as it is with `--json`, else as lines or a table. A reader that
//! goes away early (`| head`) is no failure.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Fields that are a time in milliseconds; people are shown a date.
const TIMES: [&str; 4] = ["accepted", "expires", "meta_read", "time"];

/// Prints a value: as one line of JSON, or for people.
///
/// # Errors
/// If standard output cannot be written to.
pub(crate) fn value(json: bool, value: &Value) -> Result<()> {
    let text = if json { format!("{value}\n") } else { for_people(value) };
    data(&text)
}

/// Writes data as it is.
///
/// # Errors
/// If standard output cannot be written to, other than because its reader went away.
pub(crate) fn data(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Copies data as it is.
///
/// # Errors
/// If it cannot be read, or standard output cannot be written to, other than because its reader
/// went away.
pub(crate) fn copy(mut from: impl std::io::Read) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match std::io::copy(&mut from, &mut out).and_then(|_| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot copy to standard output")
        }
        _ => Ok(()),
    }
}

/// Whether the terminal's last line is that of [`Progress`], which a note takes the place of.
static PROGRESS_SHOWN: AtomicBool = AtomicBool::new(false);

/// Tells the person a line; it is lost if there is nobody.
pub(crate) fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    let clear = if PROGRESS_SHOWN.swap(false, Ordering::Relaxed) { "\r\x1b[K" } else { "" };
    // Where a note cannot be written there is nowhere to say so.
    drop(writeln!(err, "{clear}{text}"));
}

fn for_people(value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.is_empty() => "(none)\n".to_owned(),
        Value::Array(rows) => table(rows),
        Value::Object(fields) => {
            let (lists, plain): (Vec<_>, Vec<_>) = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .partition(|(_, value)| rows(value).is_some());
            let lines =
                plain.iter().map(|(name, value)| format!("{name:<18} {}\n", field(name, value)));
            let tables = lists
                .iter()
                .filter_map(|(name, value)| Some(format!("\n{name}\n{}", table(rows(value)?))));
            lines.chain(tables).collect()
        }
        other => format!("{}\n", cell(other)),
    }
}

/// A list of objects with at least one in it, which is a table of its own below the lines.
fn rows(value: &Value) -> Option<&[Value]> {
    value.as_array().filter(|rows| rows.first().is_some_and(Value::is_object)).map(Vec::as_slice)
}

fn field(name: &str, value: &Value) -> String {
    let time = value.as_i64().filter(|_| TIMES.contains(&name));
    let time = time.and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
    time.map_or_else(|| cell(value), |time| time.to_string())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{name}={}", cell(value)))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}

/// Columns by the names of all rows, in the order in which they appear.
fn table(rows: &[Value]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    table_of(&names, rows)
}

/// These columns of rows, in this order.
pub(crate) fn table_of(names: &[&str], rows: &[Value]) -> String {
    let mut lines = vec![names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| {
        names
            .iter()
            .map(|name| row.get(*name).map_or_else(|| "-".to_owned(), |it| field(name, it)))
            .collect()
    }));
    let widths: Vec<usize> = (0..names.len())
        .map(|column| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let padded: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}", width = *width))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Tells how far long work is, on a terminal, a few times a second.
pub(crate) struct Progress {
    what: &'static str,
    last: Option<Instant>,
    begun: Instant,
}

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        let begun = Instant::now();
        Self { what, last: std::io::stderr().is_terminal().then_some(begun), begun }
    }

    /// It goes on.
    pub(crate) fn tick(&mut self) {
        let what = self.what;
        self.say(|_| what.to_owned());
    }

    /// It is as far as `text` says, which is given the time since it began.
    pub(crate) fn say(&mut self, text: impl FnOnce(Duration) -> String) {
        if self.last.is_some_and(|last| last.elapsed() >= PROGRESS_EVERY) {
            self.last = Some(Instant::now());
            let elapsed = self.begun.elapsed();
            let (text, seconds) = (text(elapsed), elapsed.as_secs());
            let mut err = std::io::stderr().lock();
            drop(write!(err, "\r{text}, {seconds} s ").and_then(|()| err.flush()));
            PROGRESS_SHOWN.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if PROGRESS_SHOWN.swap(false, Ordering::Relaxed) {
            note("");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_tables_and_objects_are_lines() {
        let rows = json!([{"a": 1, "b": null}, {"a": "long", "c": ["x", "y"]}]);
        assert_eq!(for_people(&rows), "a     b  c\n1     -  -\nlong  -  x, y\n");
        assert_eq!(for_people(&json!([])), "(none)\n");
        assert_eq!(for_people(&json!({"a": {"b": 1}})), "a                  b=1\n");
        let time = json!([{"expires": 1_795_459_750_000_i64}]);
        assert_eq!(for_people(&time), "expires\n2026-11-23T18:49:10Z\n");
        let both = json!({"a": [{"b": 1}, {"b": 2}], "c": 3});
        assert_eq!(for_people(&both), "c                  3\n\na\nb\n1\n2\n");
    }
}
