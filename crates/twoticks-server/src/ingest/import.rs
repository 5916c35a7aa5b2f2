//! Importing: sends, statuses, clicks, webhooks and receipts from a file, one JSON object a line.
//!
//! `{"send": {"phone_number_id", "wamid", "to", "template_code", "language", "time"}}`,
//! `{"status": {"phone_number_id", "wamid", "status", "time", …}}`,
//! `{"click": {"phone_number_id", "wamid", "click_id", …}}` ([`record`](mod@record) reads these),
//! `{"webhook": {…Meta's body…}, "accepted": ms}`, `{"receipts": [ … ], "accepted": ms}`;
//! an exported journal is such a file. To add a kind of line: a field of `Line` and an arm in
//! [`line()`]. What always holds: a bad line leaves the others alone; lines that were accepted
//! together are journalled together ([`gather`]); importing twice changes nothing, so what is dead
//! in a line is told to whoever imports and not kept: mend the line, import the file again.

pub mod gather;
pub mod record;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use twoticks_core::clock::{EARLIEST, Time};
use twoticks_core::event::{Event, Status};
use twoticks_core::ids::{Hash, Template};
use twoticks_store::error::Error;

use super::translate::{self, Context, Refused, Speaks, Translated};
use crate::app::App;
use gather::Gathered;

/// The longest line, in bytes: the longest body and room for what is around it.
pub const LINE_BYTES_MAX: usize = twoticks_wire::webhook::BODY_MAX + 64 * 1024;

/// What a line is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The acceptance time it counts with: as told, but never later than now.
    pub accepted: Time,
    /// What it means.
    pub translated: Translated,
}

#[derive(Deserialize)]
struct Line<'a> {
    send: Option<Map<String, Value>>,
    status: Option<Map<String, Value>>,
    click: Option<Map<String, Value>>,
    #[serde(borrow)]
    webhook: Option<&'a RawValue>,
    #[serde(borrow)]
    receipts: Option<&'a RawValue>,
    accepted: Option<Value>,
}

/// Why a line means nothing.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("the line has more than `{LINE_BYTES_MAX}` bytes")]
    TooLong,
    #[error("the line is no JSON object that can be imported: see column `{0}`")]
    NotJson(usize),
    #[error(
        "the line must have exactly one of `send`, `status`, `click`, `webhook` and `receipts`"
    )]
    Kind,
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{0}` must be milliseconds of Unix time, or a time such as `2026-11-23T16:21:00Z`")]
    Time(&'static str),
    #[error("`{found}` is no field of a {of}; there are {}", known.join(", "))]
    Field { found: String, of: &'static str, known: &'static [&'static str] },
    #[error("`{0}` is no status; write accepted, sent, delivered, read, played or failed")]
    Status(String),
    #[error("`button` must be the text that stands on it")]
    Button,
    #[error("`error` must be a code of the provider, a whole number")]
    Code,
    #[error("`participant` must be a number or BSUID, or a list of one of each")]
    Participant,
    #[error("`pricing` must be an object with some of {}", record::PRICING_FIELDS.join(", "))]
    Pricing,
    #[error(
        "`pricing.cost` must be an amount from 0 to 10000, such as 0.0525, with a `currency`, such \
         as EUR"
    )]
    Cost,
    #[error("`campaign` needs `template_code` and `language` beside it")]
    Campaign,
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What a line means, read now against the directory as it is now.
#[must_use]
pub fn line(app: &App, speaks: Speaks<'_>, line: &[u8], now: Time) -> Imported {
    let snapshot = app.directory.snapshot();
    let context =
        Context { snapshot: &snapshot, keys: &app.keys, speaks, accepted: now, only: None };
    read(&context, line)
        .unwrap_or_else(|bad| Imported { accepted: now, translated: Translated::unreadable(bad) })
}

/// Reads a line; `context.accepted` is the present.
fn read(context: &Context<'_>, line: &[u8]) -> Result<Imported, Bad> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Bad::TooLong);
    }
    let told: Line<'_> =
        serde_json::from_slice(line).map_err(|error| Bad::NotJson(error.column()))?;
    let now = context.accepted;
    let accepted = match &told.accepted {
        None | Some(Value::Null) => now,
        Some(value) => time(value).filter(|it| *it >= EARLIEST).ok_or(Bad::Time("accepted"))?,
    };
    let accepted = accepted.min(now);
    let context = Context { accepted, ..*context };
    let Line { send, status, click, webhook, receipts, accepted: _ } = &told;
    let translated = match (send, status, click, webhook, receipts) {
        (Some(send), None, None, None, None) => record::send(&context, send)?,
        (None, Some(status), None, None, None) => record::status(&context, status)?,
        (None, None, Some(click), None, None) => record::click(&context, click)?,
        (None, None, None, Some(body), None) => translate::meta(&context, body.get().as_bytes()),
        (None, None, None, None, Some(body)) => {
            translate::receipts(&context, body.get().as_bytes())
        }
        _ => return Err(Bad::Kind),
    };
    Ok(Imported { accepted, translated })
}

/// Milliseconds, as a number or its digits, or a time of RFC 3339.
fn time(value: &Value) -> Option<Time> {
    match value {
        Value::Number(number) => number.as_i64().map(Time),
        Value::String(text) => match text.parse::<i64>() {
            Ok(milliseconds) => Some(Time(milliseconds)),
            Err(_) => text.parse::<Timestamp>().ok().map(|it| Time(it.as_millisecond())),
        },
        _ => None,
    }
}

/// Journals what counts of a line; when it returns, it is counted for good. A line of which
/// nothing counts is not kept.
///
/// # Errors
/// As [`twoticks_store::ledger::Ledger::record`]; nothing of the line was kept.
pub async fn record(app: &App, line: &[u8], imported: Imported) -> Result<(), Error> {
    let mut gathered = Gathered::default();
    gathered.add(1, line, imported);
    for entry in gathered.into_entries() {
        entry.record(app).await?;
    }
    Ok(())
}

/// What a dry run says of a line; one JSON object.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The line, from 1.
    pub line: u64,
    /// What would be counted.
    pub events: Vec<Counted>,
    /// What is understood, or unknown, and would not be counted.
    pub nothing: Vec<Aside>,
    /// What could not be counted, and why.
    pub dead: Vec<Dead>,
}

/// One event of a [`Report`].
#[derive(Debug, Serialize)]
pub struct Counted {
    /// `status`, `click`, `opt_in` or `category`.
    pub kind: &'static str,
    /// The word for the status; none for the other kinds.
    pub status: Option<&'static str>,
    /// The message, as its keyed hash.
    pub wamid_hash: Option<String>,
    /// When, in milliseconds.
    pub time: i64,
    /// The business number.
    pub number: Option<String>,
    /// The template that the event itself names.
    pub template: Option<Template>,
}

/// Something of a [`Report`] that is not counted.
#[derive(Debug, Serialize)]
pub struct Aside {
    /// Where in the body it stood.
    pub path: String,
    /// What it is.
    pub kind: String,
}

/// Something of a [`Report`] that could not be counted.
#[derive(Debug, Serialize)]
pub struct Dead {
    /// Where it stood, and what is wrong with it.
    pub why: String,
}

/// What a dry run says of the line with the number `line`, from 1.
#[must_use]
pub fn report(line: u64, translated: &Translated) -> Report {
    let Translated { events, dead, nothing, unknown, notices: _, partly } = translated;
    let aside = |it: &translate::Aside, before: &str| Aside {
        path: it.path.clone(),
        kind: format!("{before}{}", it.kind),
    };
    let nothing = nothing.iter().map(|it| aside(it, ""));
    let unknown = unknown.iter().map(|it| aside(it, "unknown: "));
    let partly = partly.iter().map(|it| aside(it, "counted without: "));
    Report {
        line,
        events: events.iter().map(counted).collect(),
        nothing: nothing.chain(unknown).chain(partly).collect(),
        dead: dead.iter().map(|it| Dead { why: format!("{}: {}", it.path, it.why) }).collect(),
    }
}

fn counted(event: &Event) -> Counted {
    let hash = |hash: Hash| hash.to_string();
    match event {
        Event::Message(it) => Counted {
            kind: "status",
            status: it.status.map(Status::as_str),
            wamid_hash: Some(hash(it.message)),
            time: it.time.0,
            number: Some(it.number.to_string()),
            template: it.claim.as_ref().and_then(|claim| claim.template.clone()),
        },
        Event::Tap(it) => Counted {
            kind: "click",
            status: None,
            wamid_hash: it.message.map(hash),
            time: it.time.0,
            number: Some(it.number.to_string()),
            template: it.sign.as_ref().map(|sign| sign.template.clone()),
        },
        Event::OptIn { channel: _, time } => Counted {
            kind: "opt_in",
            status: None,
            wamid_hash: None,
            time: time.0,
            number: None,
            template: None,
        },
        Event::Category(it) => Counted {
            kind: "category",
            status: None,
            wamid_hash: None,
            time: it.effective.0,
            number: None,
            template: Some(it.template.clone()),
        },
    }
}
