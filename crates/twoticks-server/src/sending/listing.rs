//! What is said of the recipients of a group: to people, and to a start that goes on with it.

use serde_json::{Value, json};
use twoticks_core::ids::ChannelId;
use twoticks_store::ledger::{Entry, Kind};

use super::{Outcome, Sending};
use crate::carrier::Refused;

/// What became of one recipient, as the journal keeps it.
pub(super) fn told(place: u32, to: &str, outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Taken(wamid) => json!({"place": place, "to": to, "message_id": wamid}),
        Outcome::Refused(why) => {
            let mut told = json!({"place": place, "to": to, "refused": why.to_string()});
            if let (Refused::Graph(error), Some(fields)) = (why, told.as_object_mut()) {
                fields.insert("refused".to_owned(), error.said().into());
                fields.insert("code".to_owned(), error.code.into());
            }
            told
        }
        Outcome::Unknown(why) => json!({"place": place, "to": to, "unknown": why}),
        Outcome::Done => json!({"place": place, "to": to, "done": true}),
    }
}

/// The recipients that an entry says what became of: each as it was told.
pub(super) fn of(entry: &Entry) -> Vec<Value> {
    if entry.batch.kind != Kind::Accepted {
        return Vec::new();
    }
    let body: Value = serde_json::from_slice(&entry.batch.body).unwrap_or_default();
    body.get("recipients").and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The place of a recipient in its group. Entries of before there were places have all recipients
/// in their order.
pub(super) fn place(index: usize, told: &Value) -> Option<usize> {
    match told.get("place") {
        Some(place) => place.as_u64().and_then(|place| usize::try_from(place).ok()),
        None => Some(index),
    }
}

/// What became of each recipient of a group, by their places; `None` while it waits.
pub(crate) fn outcomes(entries: &[Entry]) -> Vec<Option<Outcome>> {
    let text = |told: &Value, name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
    let outcome = |told: &Value| {
        let unknown = || text(told, "unknown").map(Outcome::Unknown);
        let refused = || text(told, "refused").map(|why| Outcome::Refused(Refused::Rejected(why)));
        let done = || told.get("done").map(|_| Outcome::Done);
        text(told, "message_id").map(Outcome::Taken).or_else(unknown).or_else(refused).or_else(done)
    };
    let mut outcomes = vec![None; asked(entries).map_or(0, |asked| asked.recipients.len())];
    for entry in entries {
        for (index, told) in of(entry).iter().enumerate() {
            let slot = place(index, told).and_then(|place| outcomes.get_mut(place));
            if let Some(slot) = slot {
                *slot = outcome(told);
            }
        }
    }
    outcomes
}

/// WhatsApp's ids of what it has taken.
pub(crate) fn wamids(entries: &[Entry]) -> impl Iterator<Item = String> {
    let wamid = |told: Value| told.get("message_id").and_then(Value::as_str).map(str::to_owned);
    entries.iter().flat_map(of).filter_map(wamid)
}

/// What was asked for, if the journal still has it.
pub(crate) fn asked(entries: &[Entry]) -> Option<Sending> {
    let asked = entries.iter().find(|entry| entry.batch.kind == Kind::Send);
    serde_json::from_slice(&asked?.batch.body).ok()
}

/// Every recipient of a group, in their order: what became of it, or that it waits.
pub(crate) fn recipients(channel: &ChannelId, entries: &[Entry]) -> Vec<Value> {
    let mut listed: Vec<Option<Value>> = Vec::new();
    for entry in entries {
        for (index, mut told) in of(entry).into_iter().enumerate() {
            let Some(place) = place(index, &told) else { continue };
            if let Some(fields) = told.as_object_mut() {
                fields.remove("place");
                fields.insert("channel".to_owned(), channel.as_str().into());
                fields.insert("accepted".to_owned(), entry.batch.accepted.0.into());
            }
            listed.resize(listed.len().max(place.saturating_add(1)), None);
            if let Some(slot) = listed.get_mut(place) {
                *slot = Some(told);
            }
        }
    }
    let waiting = asked(entries).map(|asked| asked.recipients).unwrap_or_default();
    listed.resize(listed.len().max(waiting.len()), None);
    let mut waiting = waiting.into_iter();
    listed
        .into_iter()
        .filter_map(|told| {
            let waits = waiting.next();
            told.or_else(|| Some(json!({"to": waits?.to, "waits": true, "channel": channel})))
        })
        .collect()
}
