//! What was sent, posted, refused, and what has to be counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use twoticks_core::clock::{DAY, Time};
use twoticks_core::event::Category;
use twoticks_core::ids::ChannelId;

use super::{Answer, Around, NotDone, Question};
use crate::book::{Subject, Sums};
use crate::emulator::Refused;
use crate::life::{Step, What};
use crate::parameters::{by_word, number};
use crate::whatsapp::{SendRecord, WebhookRecord, WhatsApp};

/// How much is told if nobody says, and at the most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    channel: Option<String>,
    key: Option<String>,
    #[serde(default, deserialize_with = "number")]
    limit: Option<u64>,
}

impl Wanted {
    fn limit(&self) -> usize {
        let limit = self.limit.map_or(LIMIT, |it| usize::try_from(it).unwrap_or(LIMIT_MAX));
        limit.min(LIMIT_MAX)
    }
}

pub(super) async fn sends(around: Around, question: Question) -> Answer {
    let wanted: Wanted = question.read()?;
    let chosen = around.chosen(wanted.channel.as_deref(), wanted.key.as_deref())?;
    let records = around.emulator.whatsapp.sends(&*chosen, wanted.limit());
    Ok(json!({"sends": records.iter().map(send).collect::<Value>()}))
}

fn send(record: &SendRecord) -> Value {
    let SendRecord { at, channel, from, to, template, parameters, call, answer, life } = record;
    json!({
        "at": at.0, "channel": channel, "from": from, "to": to, "template": template,
        "parameters": parameters, "call": **call,
        "message_id": answer.as_ref().ok(), "refused": answer.as_ref().err(),
        "life": life.iter().map(step).collect::<Value>(),
    })
}

fn step(step: &Step) -> Value {
    let mut fields = Map::new();
    fields.insert("at".to_owned(), step.at.0.into());
    let (word, more) = match step.what {
        What::Sent => ("sent", None),
        What::Delivered => ("delivered", None),
        What::Read => ("read", None),
        What::Failed(failure) => ("failed", Some(("code", Value::from(failure.code)))),
        What::Tapped { button, .. } => ("tapped", Some(("button", button.into()))),
        What::Opened { button } => ("opened", Some(("button", button.into()))),
    };
    fields.insert("what".to_owned(), word.into());
    fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    fields.into()
}

pub(super) async fn webhooks(around: Around, question: Question) -> Answer {
    let wanted: Wanted = question.read()?;
    let chosen = around.chosen(wanted.channel.as_deref(), wanted.key.as_deref())?;
    let records = around.emulator.whatsapp.webhooks(&*chosen, wanted.limit());
    Ok(json!({"webhooks": records.iter().map(webhook).collect::<Value>()}))
}

fn webhook(record: &WebhookRecord) -> Value {
    let WebhookRecord { at, channels, updates, attempt, fault, callback, answer, bytes, body } =
        record;
    let told: Option<Value> = body.as_deref().and_then(|body| serde_json::from_str(body).ok());
    json!({
        "at": at.0, "channels": channels, "updates": updates, "attempt": attempt, "fault": fault,
        "callback": callback,
        "status": answer.as_ref().ok(), "no_answer": answer.as_ref().err(), "bytes": bytes,
        "body": told,
    })
}

pub(super) async fn errors(around: Around, question: Question) -> Answer {
    let wanted: Wanted = question.read()?;
    if wanted.channel.is_some() {
        let why = "errors are known by `key`, not by `channel`";
        return Err(NotDone::Asked(why.to_owned()));
    }
    let errors = around.emulator.errors();
    let is_wanted = |refused: &&Refused| {
        wanted.key.as_ref().is_none_or(|key| refused.access_key_id.as_ref() == Some(key))
    };
    let told = errors.iter().rev().filter(is_wanted).take(wanted.limit()).map(|refused| {
        let Refused { at, method, path, action, access_key_id, status, code, message, request_id } =
            refused;
        json!({
            "at": at.0, "method": method, "path": path, "action": action,
            "access_key_id": access_key_id, "status": status, "code": code, "message": message,
            "request_id": request_id,
        })
    });
    Ok(json!({"errors": told.collect::<Value>()}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sought {
    channel: Option<String>,
    key: Option<String>,
    by: Option<String>,
}

/// Days and half hours are UTC's.
const BY: [(&str, i64); 2] = [("day", DAY), ("half_hour", DAY / 48)];

/// What the metric operations have to answer, and beyond them what the dashboard shows.
pub(super) async fn book(around: Around, question: Question) -> Answer {
    let sought: Sought = question.read()?;
    let by = match &sought.by {
        None => DAY,
        Some(word) => by_word("`by`", &BY, word).map_err(NotDone::Asked)?,
    };
    let chosen = around.chosen(sought.channel.as_deref(), sought.key.as_deref())?;
    let snapshot = around.app.directory.snapshot();
    let mut channels = Vec::new();
    for channel in snapshot.channels().filter(|channel| chosen(&channel.id)) {
        let row = around.app.ledger.channel(&channel.id).await;
        let opt_in = row.map_err(|error| NotDone::Failed(error.to_string()))?.opted_in();
        let (whatsapp, id) = (Arc::clone(&around.emulator.whatsapp), channel.id.clone());
        // A long book takes a while to be added up.
        let rows = tokio::task::spawn_blocking(move || rows_of(&whatsapp, &id, opt_in, by)).await;
        let rows = rows.map_err(|error| NotDone::Failed(error.to_string()))?;
        let opt_in = opt_in.map(|time| time.0);
        channels.push(json!({"channel": channel.id, "opt_in": opt_in, "rows": rows}));
    }
    let (messages, missed, lost, forgeries) = around
        .emulator
        .whatsapp
        .read_book(|book| (book.len(), book.missed(), book.lost(), book.forgeries()));
    Ok(json!({
        "messages": messages, "not_entered": missed, "given_up": lost,
        "forgeries_believed": forgeries, "channels": channels,
    }))
}

fn rows_of(whatsapp: &WhatsApp, channel: &ChannelId, opt_in: Option<Time>, by: i64) -> Value {
    let cells = whatsapp.read_book(|book| book.cells(channel, opt_in));
    let mut rows: BTreeMap<(i64, Subject, bool), Sums> = BTreeMap::new();
    for (cell, sums) in cells {
        let start = cell.atom.0.div_euclid(by) * by;
        rows.entry((start, cell.subject, cell.counts)).or_default().add(&sums);
    }
    let row = |((start, subject, counts), sums): ((i64, Subject, bool), Sums)| {
        row_of(start, start + by, &subject, counts, &sums)
    };
    rows.into_iter().map(row).collect()
}

fn row_of(start: i64, end: i64, subject: &Subject, counts: bool, sums: &Sums) -> Value {
    let Sums { sent, delivered, read, failed, clicks, charged, cost_micros, late } = sums;
    let (number, template, category) = match subject {
        Subject::Number(number) => (Some(number), None, None),
        Subject::Template(template, category) => {
            (None, Some(template), category.map(Category::as_str))
        }
    };
    let clicks = clicks.iter().map(|(button, (all, unique))| {
        json!({
            "type": button.kind.as_str(), "text": button.text, "all": all, "unique": unique,
        })
    });
    let failed = failed.iter().map(|(code, count)| (code.to_string(), (*count).into()));
    let charged = charged.iter().map(
        |((category, kind), count)| json!({"category": category, "type": kind, "count": count}),
    );
    json!({
        "start": start, "end": end, "phone_number": number, "template": template,
        "category": category, "counts": counts, "sent": sent, "delivered": delivered,
        "read": read, "failed": failed.collect::<Map<String, Value>>(),
        "clicks": clicks.collect::<Value>(), "charged": charged.collect::<Value>(),
        "cost_micros": cost_micros, "late": late,
    })
}
