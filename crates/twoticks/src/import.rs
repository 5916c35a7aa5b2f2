//! `import`, and `replay` of a file: lines to the data in chunks, so that memory stays bounded.
//!
//! [`source`] gives the bytes, [`lines`] and [`rows`] cut them into lines, here they are sent and
//! what came of them is told, and [`checkpoint`] keeps how far it is. What always holds: what is
//! wrong with a line is told with its number, and the others are taken in.

mod checkpoint;
mod lines;
mod rows;
mod source;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twoticks_core::ids::ChannelId;
use twoticks_server::control::Command;
use twoticks_server::control::feed::{self, LINES_BYTES_MAX, LINES_MAX, SpeaksFor};
use twoticks_store::directory::names::Uid;

use crate::output::{self, Progress};
use crate::reach::Data;
use crate::values::{channel_id, uid};
use checkpoint::{Keeper, Reached, What};
use lines::{Line, Lines};
use source::Source;

/// What the command line says of an import.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file; `-` is standard input.
    pub(crate) file: PathBuf,
    /// How it is written; else CSV if it is called `.csv`, `.csv.gz` or `.csv.zst`, else NDJSON.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Only the numbers of this channel may be spoken of; may be given several times.
    #[arg(long = "channel", value_name = "ID", value_parser = channel_id)]
    channels: Vec<ChannelId>,
    /// Only the numbers of this account may be spoken of.
    #[arg(long, value_name = "UID", value_parser = uid, conflicts_with = "channels")]
    account: Option<Uid>,
    /// Begin anew, even if the import of this file was interrupted.
    #[arg(long)]
    again: bool,
    /// Only say, as JSON and per line, what would be counted.
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// How the file is imported; `folder` is that of the data.
    pub(crate) fn how(&self, folder: &Path) -> How {
        let Self { file: _, format, channels, account, again, dry_run } = self;
        let speaks_for = match account {
            Some(uid) => SpeaksFor::Account(uid.clone()),
            None if channels.is_empty() => SpeaksFor::All,
            None => SpeaksFor::Channels(channels.clone()),
        };
        How {
            format: *format,
            dry_run: *dry_run,
            speaks_for,
            resume_in: Some(folder.to_owned()),
            again: *again,
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// One JSON object a line.
    Ndjson,
    /// A table of sends or of statuses, with a header.
    Csv,
}

impl Format {
    /// What the name of a file says.
    fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let is_csv = [".csv", ".csv.gz", ".csv.zst"].iter().any(|end| name.ends_with(end));
        if is_csv { Self::Csv } else { Self::Ndjson }
    }
}

/// How a file is imported.
#[derive(Debug, Default)]
pub(crate) struct How {
    /// How it is written; else its name says so.
    pub(crate) format: Option<Format>,
    /// Only say what would be counted.
    pub(crate) dry_run: bool,
    /// Whose numbers it may speak of.
    pub(crate) speaks_for: SpeaksFor,
    /// The folder that keeps how far it is; none if it is always taken in from its beginning.
    pub(crate) resume_in: Option<PathBuf>,
    /// From the beginning, even if it was interrupted.
    pub(crate) again: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Taken {
    pub(crate) lines: u64,
    pub(crate) events: u64,
    pub(crate) dead: u64,
}

impl Taken {
    pub(crate) fn shown(&self) -> Value {
        json!({"lines": self.lines, "events": self.events, "dead": self.dead})
    }

    /// For people.
    pub(crate) fn told(&self) -> String {
        let Self { lines, events, dead } = self;
        format!("{lines} lines, {events} events, {dead} dead")
    }
}

/// Takes in the lines of `path`, or says what would be counted.
///
/// # Errors
/// If the file cannot be read to its end or the data cannot be reached; what is wrong with a line
/// is told and counted in [`Taken::dead`].
pub(crate) async fn run(data: &mut Data, path: &Path, how: &How) -> Result<Taken> {
    let reading = || format!("cannot read `{}`", path.display());
    let Source { from, read, identity } = source::open(path)?;
    let total = identity.as_ref().map(|it| it.bytes);
    let format = how.format.unwrap_or_else(|| Format::of(path));
    let mut lines = match format {
        Format::Ndjson => Lines::ndjson(from),
        Format::Csv => Lines::csv(from).with_context(reading)?,
    };
    let (keeper, before) = match (identity, &how.resume_in) {
        (Some(file), Some(folder)) if !how.dry_run => {
            let what = What { file, format, speaks_for: how.speaks_for.clone() };
            Keeper::open(folder, what, how.again)
        }
        _ => (Keeper::none(), None),
    };
    let mut import = Import::new(how, keeper, before.unwrap_or_default());
    let Reached { line, taken } = import.reached;
    if line > 0 {
        output::note(&format!(
            "this import was interrupted: going on behind line {line} ({} before it); --again \
             begins anew",
            taken.told()
        ));
        lines.skip_to(line).with_context(|| broken(path, line))?;
    }
    let mut progress = Progress::new("lines");
    loop {
        match lines.next() {
            Ok(None) => break,
            Ok(Some((number, line))) => {
                if number == 1 && how.format.is_none() {
                    hint(&lines, &line);
                }
                import.take(data, number, line).await?;
                let done = number - import.begun;
                progress.say(|elapsed| speed(number, done, read.get(), total, elapsed));
            }
            Err(error) => {
                import.send(data).await?;
                let Reached { line, taken } = import.reached;
                output::note(&format!("taken in before it broke off: {}", taken.told()));
                return Err(error).with_context(|| broken(path, line));
            }
        }
    }
    import.send(data).await?;
    import.keeper.finish();
    Ok(import.reached.taken)
}

/// What is said of a file that ends before its end.
fn broken(path: &Path, line: u64) -> String {
    format!(
        "`{}` breaks off behind line {line}; import it again when it is whole, what was taken in \
         counts once",
        path.display()
    )
}

/// Says so where a table is read as JSON.
fn hint(lines: &Lines, first: &Line) {
    if let Line::Text(text) = first
        && !lines.is_csv()
        && !text.starts_with('{')
        && text.contains("wamid")
        && text.contains(',')
    {
        output::note("this looks like CSV; `--format csv` reads it as that");
    }
}

/// How far it is, for people.
fn speed(line: u64, done: u64, read: u64, total: Option<u64>, elapsed: Duration) -> String {
    let megabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10);
    let of = total.map(|total| format!(" of {}", megabytes(total))).unwrap_or_default();
    let rate = u128::from(done) * 1_000 / elapsed.as_millis().max(1);
    format!("{line} lines, {}{of} MB, {rate} lines/s", megabytes(read))
}

/// An import under way.
struct Import<'a> {
    how: &'a How,
    keeper: Keeper,
    /// The line behind which it was begun.
    begun: u64,
    /// The last line that was acknowledged.
    reached: Reached,
    chunk: Chunk,
}

/// Lines on their way.
#[derive(Default)]
struct Chunk {
    lines: Vec<(u64, String)>,
    bytes: usize,
    /// Those that cannot even be sent, and why.
    bad: Vec<(u64, String)>,
    /// The last line that has been read.
    last: u64,
}

impl Chunk {
    fn has_room(&self, bytes: usize) -> bool {
        let lines = self.lines.len() + self.bad.len();
        lines == 0 || (lines < LINES_MAX && self.bytes + bytes <= LINES_BYTES_MAX)
    }
}

impl<'a> Import<'a> {
    fn new(how: &'a How, keeper: Keeper, reached: Reached) -> Self {
        Self { how, keeper, begun: reached.line, reached, chunk: Chunk::default() }
    }

    /// Takes a line, and sends those before it if there is no room for it.
    async fn take(&mut self, data: &mut Data, number: u64, line: Line) -> Result<()> {
        let (Line::Text(text) | Line::Bad(text)) = &line;
        if !self.chunk.has_room(text.len()) {
            self.send(data).await?;
        }
        self.chunk.last = number;
        match line {
            Line::Text(text) if text.trim().is_empty() => {}
            Line::Text(text) => {
                self.chunk.bytes += text.len();
                self.chunk.lines.push((number, text));
            }
            Line::Bad(why) => self.chunk.bad.push((number, why)),
        }
        Ok(())
    }

    /// Sends what is there and tells what came of it.
    async fn send(&mut self, data: &mut Data) -> Result<()> {
        let Chunk { lines, bytes: _, bad, last } = std::mem::take(&mut self.chunk);
        if last == 0 {
            return Ok(());
        }
        let mut reports = Vec::new();
        let Reached { line, taken } = &mut self.reached;
        if !lines.is_empty() {
            let (dry_run, speaks_for) = (self.how.dry_run, self.how.speaks_for.clone());
            let lines = feed::Lines { lines, dry_run, speaks_for };
            let asked = data.ask(Command::Data(feed::Command::Import(lines))).await;
            let mut answer = asked.with_context(|| format!("stopped behind line {line}"))?;
            let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
            taken.lines += count("lines");
            taken.events += count("events");
            taken.dead += count("dead");
            if let Some(Value::Array(told)) = answer.get_mut("reports").map(Value::take) {
                reports = told;
            }
        }
        for (number, why) in bad {
            taken.lines += 1;
            taken.dead += 1;
            reports
                .push(json!({"line": number, "events": [], "nothing": [], "dead": [{"why": why}]}));
        }
        reports.sort_by_key(|report| report.get("line").and_then(Value::as_u64));
        *line = last;
        for report in &reports {
            tell(report, self.how.dry_run)?;
        }
        self.keeper.keep(self.reached.clone());
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_says_how_it_is_written() {
        for (name, format) in [
            ("a.csv", Format::Csv),
            ("folder.x/A.CSV.GZ", Format::Csv),
            ("a.csv.zst", Format::Csv),
            ("a.csv.bz2", Format::Ndjson),
            ("a.ndjson.gz", Format::Ndjson),
            ("-", Format::Ndjson),
            ("csv", Format::Ndjson),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn progress_says_how_far_and_how_fast() {
        let second = Duration::from_secs(1);
        assert_eq!(
            speed(1_500, 500, 1_240_000, Some(9_990_000), 2 * second),
            "1500 lines, 1.2 of 9.9 MB, 250 lines/s"
        );
        assert_eq!(speed(1, 1, 0, None, Duration::ZERO), "1 lines, 0.0 MB, 1000 lines/s");
    }

    #[test]
    fn a_chunk_has_room_for_so_many_lines_and_bytes() {
        let mut chunk = Chunk { bytes: LINES_BYTES_MAX - 1, ..Chunk::default() };
        assert!(chunk.has_room(2), "whatever comes first goes");
        chunk.bad.push((1, String::new()));
        assert!(chunk.has_room(1) && !chunk.has_room(2));
        chunk.bytes = 0;
        chunk.lines = vec![(1, String::new()); LINES_MAX - 2];
        assert!(chunk.has_room(1));
        chunk.bad.push((1, String::new()));
        assert!(!chunk.has_room(0));
    }
}
