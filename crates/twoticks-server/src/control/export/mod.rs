//! Data out: totals, messages and events as CSV, NDJSON or Parquet, with a manifest.
//!
//! An export is written where the data is, by a thread of its own that reads a page of rows, turns
//! them into values by the list of columns (`totals`, `messages`, `events`) and writes them in a
//! format (`format`, `parquet`). To add a column, add a line to its list. What always holds:
//! memory does not grow with the rows; the rows are those of one journal position; the file gets
//! its name when it is whole and its manifest is written, or not at all; ratios are not exported,
//! and nobody is named.

mod columns;
mod events;
mod file;
pub mod format;
mod messages;
mod parquet;
pub mod span;
mod totals;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use twoticks_core::RULES_VERSION;
use twoticks_core::clock::Time;
use twoticks_core::ids::ChannelId;
use twoticks_store::directory::names::Uid;
use twoticks_store::journal::Position;
use twoticks_store::ledger::Ledger;
use twoticks_store::scan::{self, Row, Scan, Scanned};

use self::columns::{Column, Field, in_utc};
use self::file::{Hashing, Part};
use self::format::{Encoder, Format};
use self::span::{By, Span, Windows};
use self::totals::Sums;
use super::{ControlError, people};
use crate::app::App;
use crate::settings::Zone;

/// Who wrote the file.
const PROGRAM: &str = concat!("twoticks ", env!("CARGO_PKG_VERSION"));
/// What has to be known about money in any export.
const CURRENCY: &str = "costs are in millionths of the currency beside them, as the provider told \
                        them; no rate card and no exchange rate is applied";

/// What is to be exported, and where to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which rows.
    pub what: What,
    /// Of these channels; of all if there are none and no account.
    pub channels: Vec<ChannelId>,
    /// Of this account's channels.
    pub account: Option<Uid>,
    /// From when on, as given.
    pub from: Option<String>,
    /// Until when, as given.
    pub until: Option<String>,
    /// The format; else what the file's ending says.
    pub format: Option<Format>,
    /// The file, an absolute path.
    pub file: PathBuf,
    /// The manifest, an absolute path.
    pub manifest: Option<PathBuf>,
    /// Whether files that are there are replaced.
    pub overwrite: bool,
    /// Whose invented data it is, such as `demo`; none if it is real.
    pub invented: Option<String>,
}

/// What there is to export.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Sums.
    Totals {
        /// Of which windows.
        by: By,
        /// Of which zone; else of UTC.
        zone: Option<String>,
    },
    /// Messages.
    Messages,
    /// The journal's facts.
    Events,
}

impl What {
    fn word(&self) -> &'static str {
        match self {
            Self::Totals { .. } => "totals",
            Self::Messages => "messages",
            Self::Events => "events",
        }
    }
}

/// Takes rows, one after the other.
type Sink<'a, R> = dyn FnMut(&R) -> Result<(), ControlError> + 'a;

/// Where the manifest of `file` is, unless another place is named.
#[must_use]
pub fn manifest_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".manifest.json");
    file.with_file_name(name)
}

/// Writes the file; the answer is what the manifest says but for its columns. `rows` is told how
/// many there are so far. Whoever drops this, and a server that stops, leaves no file.
pub(super) async fn execute(
    app: &App,
    request: Request,
    rows: &Arc<AtomicU64>,
) -> Result<Value, ControlError> {
    let zone = match &request.what {
        What::Totals { zone: Some(name), .. } => {
            let unfit = |why| ControlError::Unfit { what: "--zone", why };
            Zone::try_from(name.clone()).map_err(unfit)?.0
        }
        _ => TimeZone::UTC,
    };
    let span = Span::parse(request.from.as_deref(), request.until.as_deref(), &zone)?;
    let format = request.format.or_else(|| Format::of(&request.file));
    let format = format.ok_or_else(|| ControlError::Unfit {
        what: "the format",
        why: format!(
            "`{}` does not end in .csv, .ndjson, .jsonl or .parquet; say it with --format",
            request.file.display()
        ),
    })?;
    let channels = channels(app, &request)?;
    // Files first: what cannot be written should not be read for an hour before that is told.
    let part = Part::begin(&request.file, request.overwrite)?;
    let manifest = request.manifest.as_deref();
    let manifest = manifest.map(|path| Part::begin(path, request.overwrite)).transpose()?;
    let what = match &request.what {
        What::Totals { by, .. } => {
            let mut windows = Windows::new(*by, zone.clone(), span);
            let atoms = windows.atoms()?;
            Rows::Totals(windows, scanned(app, scan::What::Cells(atoms), channels.as_ref()).await?)
        }
        What::Messages => {
            Rows::Messages(scanned(app, scan::What::Messages, channels.as_ref()).await?)
        }
        What::Events => {
            let position = scanned(app, scan::What::Nothing, channels.as_ref()).await?.position;
            Rows::Events(Arc::clone(&app.ledger), channels, position)
        }
    };
    let stop = app.tasks.stopping().child_token();
    let _dropped = stop.clone().drop_guard();
    let work = Work { zone, span, format, now: app.clock.now(), stop, rows: Arc::clone(rows) };
    let handle = Handle::current();
    let written = tokio::task::spawn_blocking(move || {
        let position = what.position();
        let summary = write(&work, what, &part, &handle)?;
        finish(&work, &request, position, summary, (part, manifest))
    });
    match written.await {
        Ok(written) => written,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(ControlError::Stopped),
    }
}

async fn scanned(
    app: &App,
    what: scan::What,
    channels: Option<&Vec<ChannelId>>,
) -> Result<Scanned, ControlError> {
    Ok(app.ledger.scan(Scan { what, channels: channels.cloned() }).await?)
}

/// The channels that are meant; `None` for all, those included that were removed.
fn channels(app: &App, request: &Request) -> Result<Option<Vec<ChannelId>>, ControlError> {
    let snapshot = app.directory.snapshot();
    if let Some(account) = &request.account {
        let account = people::account(&snapshot, Some(account))?;
        let channels = snapshot.channels_of(&account.uid);
        return Ok(Some(channels.iter().map(|channel| channel.id.clone()).collect()));
    }
    for id in &request.channels {
        super::channels::known(&snapshot, id)?;
    }
    Ok((!request.channels.is_empty()).then(|| request.channels.clone()))
}

/// How it is to be done.
struct Work {
    zone: TimeZone,
    span: Span,
    format: Format,
    now: Time,
    stop: CancellationToken,
    rows: Arc<AtomicU64>,
}

/// The rows, still to be read.
enum Rows {
    Totals(Windows, Scanned),
    Messages(Scanned),
    Events(Arc<dyn Ledger>, Option<Vec<ChannelId>>, Position),
}

impl Rows {
    fn position(&self) -> Position {
        match self {
            Self::Totals(_, scanned) | Self::Messages(scanned) => scanned.position,
            Self::Events(_, _, position) => *position,
        }
    }
}

/// What came of it.
struct Summary {
    fields: Vec<Field>,
    rows: u64,
    bytes: u64,
    sha256: String,
}

/// Reads and writes all rows. Blocks.
fn write(work: &Work, rows: Rows, part: &Part, handle: &Handle) -> Result<Summary, ControlError> {
    match rows {
        Rows::Totals(windows, scanned) => encode(work, totals::columns(&work.zone), part, |sink| {
            let mut sums = Sums::new(windows);
            for row in all(work, scanned) {
                if let Row::Cell(cell, totals) = row? {
                    sums.take(cell, &totals, sink)?;
                }
            }
            sums.give(sink)
        }),
        Rows::Messages(scanned) => encode(work, messages::columns(), part, |sink| {
            for row in all(work, scanned) {
                if let Row::Message(key, row, channel) = row? {
                    messages::rows((&key, &row), &channel, (work.span, work.now), sink)?;
                }
            }
            Ok(())
        }),
        Rows::Events(ledger, channels, until) => encode(work, events::columns(), part, |sink| {
            events::rows(work, &*ledger, channels, (until, handle), sink)
        }),
    }
}

impl Work {
    /// Whether anybody still wants it.
    fn go_on(&self) -> Result<(), ControlError> {
        if self.stop.is_cancelled() { Err(ControlError::Stopped) } else { Ok(()) }
    }
}

/// All rows of a scan, one by one.
fn all(work: &Work, scanned: Scanned) -> impl Iterator<Item = Result<Row, ControlError>> {
    scanned.pages.flat_map(|page| match work.go_on().and(page.map_err(ControlError::from)) {
        Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    })
}

/// Writes the rows that `give` gives.
fn encode<R>(
    work: &Work,
    columns: Vec<Column<R>>,
    part: &Part,
    give: impl FnOnce(&mut Sink<'_, R>) -> Result<(), ControlError>,
) -> Result<Summary, ControlError> {
    let (fields, gets): (Vec<Field>, Vec<_>) =
        columns.into_iter().map(|column| (column.field, column.get)).unzip();
    let writer: Hashing = part.writer()?;
    let mut encoder =
        Encoder::begin(work.format, fields.clone(), writer).map_err(|error| part.failed(error))?;
    let mut rows = 0;
    give(&mut |row| {
        let values: Vec<_> = gets.iter().map(|get| get(row)).collect();
        encoder.row(&values).map_err(|error| part.failed(error))?;
        rows += 1;
        work.rows.store(rows, Ordering::Relaxed);
        Ok(())
    })?;
    let finished = encoder.finish().and_then(Hashing::finish);
    let (bytes, sha256) = finished.map_err(|error| part.failed(error))?;
    Ok(Summary { fields, rows, bytes, sha256 })
}

/// Writes the manifest and gives both files their names.
fn finish(
    work: &Work,
    request: &Request,
    position: Position,
    summary: Summary,
    (part, manifest): (Part, Option<Part>),
) -> Result<Value, ControlError> {
    let Summary { fields, rows, bytes, sha256 } = summary;
    let Request { what, channels, account, from, until, file, manifest: beside, invented, .. } =
        request;
    let (by, zone) = match what {
        What::Totals { by, zone } => (Some(by), zone.as_deref().or(Some("UTC"))),
        What::Messages | What::Events => (None, None),
    };
    let is_kept = *beside == Some(manifest_of(file));
    let name = file.file_name().filter(|_| is_kept).map(|name| name.to_string_lossy());
    let answer = json!({
        "file": name,
        "what": what.word(),
        "query": {
            "channels": channels, "account": account, "from": from, "until": until, "by": by,
        },
        "zone": zone,
        "currency": CURRENCY,
        "as_of": {"position": position, "time": in_utc(work.now)},
        "rules": RULES_VERSION,
        "invented": invented,
        "program": PROGRAM,
        "format": work.format,
        "rows": rows,
        "bytes": bytes,
        "sha256": sha256,
    });
    part.sync()?;
    if let Some(manifest) = manifest {
        let mut told = answer.clone();
        if let Some(told) = told.as_object_mut() {
            told.insert("columns".to_owned(), json!(fields));
        }
        let mut writer = manifest.writer()?;
        let failed = |error: io::Error| manifest.failed(error);
        serde_json::to_writer_pretty(&mut writer, &told).map_err(|error| failed(error.into()))?;
        io::Write::write_all(&mut writer, b"\n").map_err(failed)?;
        writer.finish().map_err(failed)?;
        manifest.sync()?;
        // The last moment at which nothing has happened.
        work.go_on()?;
        manifest.rename()?;
    }
    part.rename()?;
    Ok(answer)
}
