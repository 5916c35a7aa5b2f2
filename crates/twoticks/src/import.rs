//! `import`, and `replay` of a file: lines to the data in chunks, so that memory stays bounded.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use twoticks_server::control::Command;
use twoticks_server::control::feed::{self, LINES_BYTES_MAX, LINES_MAX, Lines};
use twoticks_server::ingest::import::LINE_BYTES_MAX;

use crate::output::{self, Progress};
use crate::reach::Data;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) lines: u64,
    pub(crate) events: u64,
    pub(crate) dead: u64,
}

impl Taken {
    pub(crate) fn shown(&self) -> Value {
        json!({"lines": self.lines, "events": self.events, "dead": self.dead})
    }
}

/// Takes in the lines of `path`, or says what would be counted.
///
/// # Errors
/// If the file cannot be read or the data cannot be reached; what is wrong with a line is told
/// and counted in [`Taken::dead`].
pub(crate) async fn run(data: &mut Data, path: &Path, dry_run: bool) -> Result<Taken> {
    let mut from: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        Box::new(BufReader::new(file))
    };
    let mut taken = Taken::default();
    let mut progress = Progress::new("lines");
    let mut chunk = Chunk::default();
    let mut number = 0;
    while let Some(line) = read_line(&mut from).context("cannot read on")? {
        number += 1;
        match line {
            Line::Text(line) if line.trim().is_empty() => continue,
            Line::Text(line) => {
                if !chunk.has_room(&line) {
                    send(data, &mut chunk, dry_run, &mut taken).await?;
                }
                chunk.push(number, line);
            }
            Line::Bad(why) => {
                send(data, &mut chunk, dry_run, &mut taken).await?;
                taken.lines += 1;
                taken.dead += 1;
                let dead = json!([{"why": why}]);
                tell(&json!({"line": number, "events": [], "nothing": [], "dead": dead}), dry_run)?;
            }
        }
        progress.at(number);
    }
    send(data, &mut chunk, dry_run, &mut taken).await?;
    Ok(taken)
}

/// Lines on their way.
#[derive(Default)]
struct Chunk {
    lines: Vec<(u64, String)>,
    bytes: usize,
}

impl Chunk {
    fn has_room(&self, line: &str) -> bool {
        self.lines.is_empty()
            || (self.lines.len() < LINES_MAX && self.bytes + line.len() <= LINES_BYTES_MAX)
    }

    fn push(&mut self, number: u64, line: String) {
        self.bytes += line.len();
        self.lines.push((number, line));
    }
}

async fn send(data: &mut Data, chunk: &mut Chunk, dry_run: bool, taken: &mut Taken) -> Result<()> {
    let Chunk { lines, .. } = std::mem::take(chunk);
    if lines.is_empty() {
        return Ok(());
    }
    let answer = data.ask(Command::Data(feed::Command::Import(Lines { lines, dry_run }))).await?;
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    taken.lines += count("lines");
    taken.events += count("events");
    taken.dead += count("dead");
    for report in answer.get("reports").and_then(Value::as_array).into_iter().flatten() {
        tell(report, dry_run)?;
    }
    Ok(())
}

/// A dry run's reports are data; else what is dead in a line is told to the person.
fn tell(report: &Value, dry_run: bool) -> Result<()> {
    if dry_run {
        return output::data(&format!("{report}\n"));
    }
    let line = report.get("line").and_then(Value::as_u64).unwrap_or_default();
    for dead in report.get("dead").and_then(Value::as_array).into_iter().flatten() {
        let why = dead.get("why").and_then(Value::as_str).unwrap_or_default();
        output::note(&format!("line {line}: {why}"));
    }
    Ok(())
}

enum Line {
    Text(String),
    Bad(String),
}

/// The next line without its end; what is too long is passed over, not kept.
fn read_line(from: &mut dyn BufRead) -> std::io::Result<Option<Line>> {
    let limit = u64::try_from(LINE_BYTES_MAX + 1).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    if (&mut *from).take(limit + 1).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    let ended = bytes.last() == Some(&b'\n');
    if ended {
        bytes.pop();
    }
    if bytes.len() > LINE_BYTES_MAX {
        if !ended {
            from.skip_until(b'\n')?;
        }
        return Ok(Some(Line::Bad(format!("the line has more than {LINE_BYTES_MAX} bytes"))));
    }
    Ok(Some(
        String::from_utf8(bytes)
            .map_or_else(|_| Line::Bad("the line is not UTF-8".to_owned()), Line::Text),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(bytes: &[u8]) -> Vec<String> {
        let mut from = bytes;
        std::iter::from_fn(|| read_line(&mut from).unwrap())
            .map(|line| match line {
                Line::Text(text) if text.len() > 20 => format!("{} bytes", text.len()),
                Line::Text(text) => text,
                Line::Bad(why) => format!("bad: {why}"),
            })
            .collect()
    }

    #[test]
    fn lines_are_read_one_by_one_with_or_without_a_last_end() {
        assert_eq!(kinds(b"a\nb\n\nc"), ["a", "b", "", "c"]);
        assert_eq!(kinds(b"a\xff\nb\n"), ["bad: the line is not UTF-8", "b"]);
    }

    #[test]
    fn a_line_has_a_limit_and_the_next_one_is_read_all_the_same() {
        for (over, first) in [
            (0, format!("{LINE_BYTES_MAX} bytes")),
            (1, format!("bad: the line has more than {LINE_BYTES_MAX} bytes")),
            (100_000, format!("bad: the line has more than {LINE_BYTES_MAX} bytes")),
        ] {
            let mut bytes = vec![b'x'; LINE_BYTES_MAX + over];
            bytes.extend_from_slice(b"\nnext\n");
            assert_eq!(kinds(&bytes), [first, "next".to_owned()], "{over}");
        }
    }
}
