//! Lines on their way into the journal: those that were accepted together make one entry.
//!
//! An entry costs a record and a share of a sync however much is in it, so a file of sends would
//! pay that for each of them. What always holds: a line is in one entry, whole; an entry has an
//! acceptance time that is that of each of its lines, and their bytes, one line each, as its body;
//! it stays within what the ledger takes.

use std::collections::BTreeMap;
use std::time::Duration;

use twoticks_core::clock::Time;
use twoticks_core::event::Event;
use twoticks_store::error::Error;
use twoticks_store::ledger::{Batch, EVENTS_MAX, Kind};

use super::Imported;
use crate::app::App;
use crate::ingest::one_channel;

/// How long an import waits for a ledger that is busy before it gives up: it goes at the ledger's
/// pace, where a webhook is told to come again.
const BUSY_PATIENCE: Duration = Duration::from_secs(60);
/// How many bytes of lines one entry has; a longer line has an entry of its own.
pub const ENTRY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Lines by the time at which they were accepted.
#[derive(Default)]
pub struct Gathered {
    full: Vec<Entry>,
    open: BTreeMap<Time, Entry>,
}

/// Lines that are journalled together.
#[derive(Debug)]
pub struct Entry {
    /// The number of its first line.
    pub first: u64,
    accepted: Time,
    events: Vec<Event>,
    body: Vec<u8>,
}

impl Gathered {
    /// Adds what counts of the line with the number `number`; one of which nothing counts is not
    /// kept.
    pub fn add(&mut self, number: u64, line: &[u8], imported: Imported) {
        let Imported { accepted, translated } = imported;
        if translated.events.is_empty() {
            return;
        }
        let new = || Entry { first: number, accepted, events: Vec::new(), body: Vec::new() };
        let mut entry = self.open.remove(&accepted).unwrap_or_else(new);
        if !entry.has_room(translated.events.len(), line.len()) {
            self.full.push(std::mem::replace(&mut entry, new()));
        }
        if !entry.body.is_empty() {
            entry.body.push(b'\n');
        }
        entry.body.extend_from_slice(line);
        entry.events.extend(translated.events);
        self.open.insert(accepted, entry);
    }

    /// The entries, in the order of their first lines: who puts sends before what became of them
    /// finds them counted in that order.
    #[must_use]
    pub fn into_entries(self) -> Vec<Entry> {
        let mut entries = self.full;
        entries.extend(self.open.into_values());
        entries.sort_by_key(|entry| entry.first);
        entries
    }
}

impl Entry {
    fn has_room(&self, events: usize, bytes: usize) -> bool {
        self.events.is_empty()
            || (self.events.len() + events <= EVENTS_MAX
                && self.body.len() + 1 + bytes <= ENTRY_BYTES_MAX)
    }

    /// Journals it; when it returns, it is counted for good.
    ///
    /// # Errors
    /// As [`twoticks_store::ledger::Ledger::record`]; nothing of it was kept.
    pub async fn record(self, app: &App) -> Result<(), Error> {
        let Self { first: _, accepted, events, body } = self;
        let batch = Batch {
            kind: Kind::Import,
            accepted,
            origin: "import".to_owned(),
            channel: one_channel(&events),
            group: None,
            events,
            dead: Vec::new(),
            resolves: None,
            body,
        };
        app.insist(batch, BUSY_PATIENCE).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use twoticks_core::ids::ChannelId;

    use super::*;
    use crate::ingest::translate::Translated;

    fn imported(accepted: i64, events: usize) -> Imported {
        let channel = ChannelId::new("a").unwrap();
        let event = Event::OptIn { channel, time: Time(1_790_000_000_000) };
        let translated = Translated { events: vec![event; events], ..Translated::default() };
        Imported { accepted: Time(accepted), translated }
    }

    /// Of each entry: its first line, acceptance time, events and bytes.
    fn shape(lines: &[(i64, usize, usize)]) -> Vec<(u64, i64, usize, usize)> {
        let mut gathered = Gathered::default();
        for (number, (accepted, events, bytes)) in (1..).zip(lines) {
            gathered.add(number, &vec![b'x'; *bytes], imported(*accepted, *events));
        }
        let entries = gathered.into_entries();
        entries.iter().map(|it| (it.first, it.accepted.0, it.events.len(), it.body.len())).collect()
    }

    #[test]
    fn lines_that_were_accepted_together_make_one_entry() {
        assert_eq!(
            shape(&[(9, 1, 10), (7, 1, 10), (9, 2, 10), (9, 0, 10), (7, 1, 10)]),
            [(1, 9, 3, 21), (2, 7, 2, 21)],
        );
        assert_eq!(shape(&[(9, 0, 10)]), []);
    }

    #[test]
    fn an_entry_stays_within_what_the_ledger_takes() {
        assert_eq!(shape(&[(9, EVENTS_MAX - 1, 1), (9, 1, 1)]), [(1, 9, EVENTS_MAX, 3)]);
        assert_eq!(
            shape(&[(9, EVENTS_MAX - 1, 1), (9, 2, 1), (9, 1, 1)]),
            [(1, 9, EVENTS_MAX - 1, 1), (2, 9, 3, 3)],
        );
        let half = ENTRY_BYTES_MAX / 2;
        assert_eq!(shape(&[(9, 1, half), (9, 1, half - 1)]), [(1, 9, 2, ENTRY_BYTES_MAX)]);
        assert_eq!(shape(&[(9, 1, half), (9, 1, half)]).len(), 2);
        // A line that is longer than that goes alone.
        assert_eq!(shape(&[(9, 1, 2 * ENTRY_BYTES_MAX), (9, 1, 1)]).len(), 2);
    }
}
