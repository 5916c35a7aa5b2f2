//! Looking for single messages, and for what was accepted in a span of time.
//!
//! The journal has no index by time: what is accepted is in order of time but for imports, so that
//! a segment whose first record was accepted before the span is where it begins.

use std::path::Path;

use twoticks_core::clock::Time;
use twoticks_core::fold::Touched;
use twoticks_core::message::{Age, Message, MessageKey};

use crate::embedded::fold::{Note, Shared};
use crate::embedded::pieces::Found;
use crate::embedded::tables::layout_error;
use crate::entry;
use crate::error::Error;
use crate::journal::{Journal, Position};
use crate::keys::Keys;
use crate::layout;
use crate::ledger::{LOOKED_BYTES_MAX, LOOKED_ENTRIES_MAX, Look, Looked, TURNED_BACK_MAX};

/// How many records of a segment are looked at for one that was not imported.
const FIRST_RECORDS: usize = 64;

/// What the tables have of messages of which `young` is what is young; `latest` is the time that
/// ages are measured by.
pub(crate) fn messages(
    shared: &Shared,
    keys: &[MessageKey],
    young: Vec<Option<Touched<Message>>>,
    latest: Time,
) -> Result<Vec<Option<Message>>, Error> {
    shared.slot.with(|tables| {
        let row = |(key, young): (&MessageKey, Option<Touched<Message>>)| {
            let row = match young {
                Some(row) => Some(row),
                None => match tables.message(&layout::message(key))? {
                    Some(Found::Row(value)) => {
                        let row = layout::row::<Touched<Message>>(&value);
                        Some(row.map_err(|error| layout_error(error, shared.slot.folder()))?)
                    }
                    Some(Found::Tombstone(_)) | None => None,
                },
            };
            let row = row.filter(|row| Age::of(row.accepted, latest) == Age::Live);
            Ok(row.map(|row| row.row))
        };
        keys.iter().zip(young).map(row).collect()
    })
}

/// What `look` finds in the journal in `folder`.
pub(crate) fn accepted(
    journal: &Journal<Note>,
    keys: &Keys,
    folder: &Path,
    look: &Look,
) -> Result<Looked, Error> {
    let mut found = Looked { entries: Vec::new(), is_whole: true };
    let (mut seen, mut bytes) = (0, 0);
    for record in journal.read(beginning(journal, folder, look.from)?) {
        let (position, payload) = record?;
        let (is_imported, work) = entry::decode_look(folder, position, &payload)?;
        if is_imported {
            continue;
        }
        if work.accepted >= look.tail.plus(TURNED_BACK_MAX) {
            break;
        }
        let is_tail = work.accepted >= look.until;
        seen += usize::from(work.accepted >= look.from);
        if seen > LOOKED_ENTRIES_MAX {
            found.is_whole = is_tail;
            break;
        }
        if !look.wants(work.accepted, work.channel.iter().chain(work.events.channels())) {
            continue;
        }
        let entry = entry::decode(keys, folder, position, &payload)?;
        bytes += entry.batch.body.len();
        if bytes > LOOKED_BYTES_MAX {
            found.is_whole = is_tail;
            break;
        }
        found.entries.push(entry);
    }
    Ok(found)
}

/// The beginning of the last segment that has nothing accepted at `from` or later before it.
fn beginning(journal: &Journal<Note>, folder: &Path, from: Time) -> Result<Position, Error> {
    for segment in journal.segments().into_iter().rev() {
        for record in journal.read(segment.first).take(FIRST_RECORDS) {
            let (position, payload) = record?;
            let (is_imported, work) = entry::decode_look(folder, position, &payload)?;
            if is_imported {
                continue;
            }
            if work.accepted.plus(TURNED_BACK_MAX) < from {
                return Ok(segment.first);
            }
            break;
        }
    }
    Ok(journal.first())
}
