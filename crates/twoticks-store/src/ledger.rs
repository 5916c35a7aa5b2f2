//! The seam behind which events and totals are kept: a journal of entries and its fold.
//!
//! A backend implements [`Ledger`] and joins `suite.rs`, which is what every backend does. What
//! always holds: an entry is durable before its [`Receipt`] is given; messages, totals and the
//! position that they stand for change together; a question asked after a receipt sees its entry.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use twoticks_core::channel::Channel;
use twoticks_core::clock::Time;
use twoticks_core::event::Event;
use twoticks_core::fold::Outcome;
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Message, MessageKey};
use twoticks_core::query::{Point, Query};

use crate::embedded::kept::Kept;
use crate::error::Error;
use crate::journal::Position;
use crate::scan::{Scan, Scanned};

/// The most events that one batch can have.
pub const EVENTS_MAX: usize = 65_536;
/// The longest name of a group of sends, in bytes.
pub const GROUP_BYTES_MAX: usize = 512;
/// The largest body of one batch, in bytes in clear. (What is left of it when it is compressed and
/// sealed has to fit into a record of the journal, too.)
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// The most entries that one call lists, whatever is asked for.
pub const ENTRIES_MAX: usize = 1_000;
/// A list ends when its bodies have this many bytes together, even if there are more entries.
pub const ENTRIES_BYTES_MAX: usize = 16 << 20;
/// The most entries of one group that are listed: the first ones.
pub const GROUP_ENTRIES_MAX: usize = 10_000;

/// The most messages that are asked for at once.
pub const MESSAGES_MAX: usize = 1_000;
/// The most entries that one look at a span of time goes through, whosever they are.
pub const LOOKED_ENTRIES_MAX: usize = if cfg!(test) { 100 } else { 200_000 };
/// The most bytes that the bodies of what such a look finds have together.
pub const LOOKED_BYTES_MAX: usize = if cfg!(test) { 1 << 20 } else { 64 << 20 };
/// How far the clock by which entries are accepted may have been turned back, in milliseconds.
pub const TURNED_BACK_MAX: i64 = 3_600_000;

/// Keeps events and totals exactly once.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Keeps `batch` as one entry, with its body sealed. When this returns a receipt, the entry
    /// survives a crash and a power cut, and the next [`Ledger::series`] sees its events. The
    /// same events told again change nothing (but make an entry of their own). A caller that
    /// goes away while waiting takes nothing back.
    ///
    /// # Errors
    /// [`Error::Busy`] and [`Error::Full`] when it can be tried again, [`Error::TooLarge`] and
    /// [`Error::Impossible`] when it never works, [`Error::Unavailable`], [`Error::Closed`].
    /// There is then no entry, now or after a restart. [`Error::Failed`] when nothing is recorded
    /// until the process has restarted; there may then be an entry or not.
    async fn record(&self, batch: Batch) -> Result<Receipt, Error>;

    /// The sums that `query` asks for, everything included that had a receipt before the call.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Corrupt`]; so for all that follow.
    async fn series(&self, query: Query) -> Result<Vec<Point>, Error>;

    /// Opt-in and categories of `channel`; empty for one that is not known.
    async fn channel(&self, channel: &ChannelId) -> Result<Channel, Error>;

    /// The entries from position `from` on that are kept, in order: at most `most`, at most [`ENTRIES_MAX`],
    /// and no more than [`ENTRIES_BYTES_MAX`] allows (but at least one, if there is one). An
    /// empty list is the end; otherwise go on behind the last.
    async fn entries(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error>;

    /// The position of the last entry that has a receipt; 0 if there is none.
    fn newest(&self) -> Position;

    /// The entries of a channel that belong to the group of sends `group` and are kept, in order;
    /// of the first [`GROUP_ENTRIES_MAX`].
    async fn group(&self, channel: &ChannelId, group: &str) -> Result<Vec<Entry>, Error>;

    /// The entries from position `from` on that have dead parts and are resolved by no later
    /// entry; listed as by [`Ledger::entries`].
    async fn dead_letters(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error>;

    /// The entries that are kept, were accepted from `from` to before `tail`, and name that channel
    /// or have an event of it, in order; what was imported is left out. Not whole beyond
    /// [`LOOKED_ENTRIES_MAX`] entries of anybody from `from` to before `until`, or
    /// [`LOOKED_BYTES_MAX`]; the tail ends there and is whole all the same. Something may be missed
    /// after the clock was turned back by more than [`TURNED_BACK_MAX`], or where a tail has ended.
    async fn accepted(&self, look: Look) -> Result<Looked, Error>;

    /// The states of messages, in the order of `keys`, at most [`MESSAGES_MAX`]; `None` for one of
    /// which nothing is known (any more). Everything is included that had a receipt before.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and as the others.
    async fn messages(&self, keys: Vec<MessageKey>) -> Result<Vec<Option<Message>>, Error>;

    /// What the fold of all entries up to [`Digest::position`] is, in 32 bytes. Equal rows have
    /// equal digests, whatever the backend and the order of events. Of messages and taps it has
    /// those whose state is kept (counting rule 12), whether the others are still there or not.
    async fn digest(&self) -> Result<Digest, Error>;

    /// The rows that `scan` asks for, all as of one moment, everything included that had a receipt
    /// before the call. They are read while they are asked for, whatever is recorded meanwhile; a
    /// page fails with [`Error::Unavailable`] if the moment is lost, and none comes behind it.
    async fn scan(&self, scan: Scan) -> Result<Scanned, Error>;

    /// Returns when the ledger has failed for good ([`Error::Failed`]): it records nothing any more,
    /// and the process has to restart from what is on disk. Questions are still answered.
    async fn failed(&self) -> Error;
    /// What a ledger in a folder can do besides; `None` if it is in none.
    fn kept(&self) -> Option<Arc<Kept>> {
        None
    }

    /// What happened to the events recorded since this ledger was opened.
    fn counters(&self) -> Counters;

    /// Folds and flushes what has been recorded and records nothing from now on. Nothing is
    /// lost without it, or if it fails; the next start has less to do.
    async fn close(&self) -> Result<(), Error>;
}

/// What is recorded together: kept whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What the entry is.
    pub kind: Kind,
    /// When it was accepted.
    pub accepted: Time,
    /// Which door it came through, for people: such as the path of the webhook, or the action.
    pub origin: String,
    /// The channel that it concerns, where it is one.
    pub channel: Option<ChannelId>,
    /// The group of sends that it belongs to; at most [`GROUP_BYTES_MAX`].
    pub group: Option<String>,
    /// The facts in it, each possible at `accepted`; at most [`EVENTS_MAX`].
    pub events: Vec<Event>,
    /// What in the body could not be counted.
    pub dead: Vec<Dead>,
    /// The dead letter that this entry takes care of.
    pub resolves: Option<Position>,
    /// The bytes that it came from, in clear; the ledger seals them. At most [`BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

/// What an entry is. The codes are stored and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A webhook of WhatsApp's Cloud API.
    Webhook = 1,
    /// Receipts that CAMS pushed.
    Receipts = 2,
    /// A send that was asked for.
    Send = 3,
    /// The carrier's answer to a send.
    Accepted = 4,
    /// ROI statistics were enabled.
    OptIn = 5,
    /// A template's category became known.
    Category = 6,
    /// Something imported.
    Import = 7,
    /// A dead letter, replayed.
    Replay = 8,
    /// Links of templates, opened.
    Opened = 9,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Webhook,
        Self::Receipts,
        Self::Send,
        Self::Accepted,
        Self::OptIn,
        Self::Category,
        Self::Import,
        Self::Replay,
        Self::Opened,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Receipts => "receipts",
            Self::Send => "send",
            Self::Accepted => "accepted",
            Self::OptIn => "opt-in",
            Self::Category => "category",
            Self::Import => "import",
            Self::Replay => "replay",
            Self::Opened => "opened",
        }
    }
}

/// A part of a body that could not be counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Where in the body it is.
    pub path: String,
    /// Why, and what would do.
    pub why: String,
}

/// A span of time in which entries of a channel are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whose.
    pub channel: ChannelId,
    /// From when on.
    pub from: Time,
    /// Until before when.
    pub until: Time,
    /// Until before when more is looked for, as far as the bounds reach; not before `until`.
    pub tail: Time,
}

impl Look {
    /// Whether something accepted then, of one of these channels, is looked for.
    pub(crate) fn wants<'a>(
        &self,
        accepted: Time,
        mut channels: impl Iterator<Item = &'a ChannelId>,
    ) -> bool {
        (self.from..self.tail).contains(&accepted)
            && channels.any(|channel| *channel == self.channel)
    }
}

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether these are all; else there are too many in that time.
    pub is_whole: bool,
}

/// The promise that an entry is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where the entry is.
    pub position: Position,
}

/// What was recorded, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub position: Position,
    /// What was recorded, the body in clear.
    pub batch: Batch,
}

/// A fold of the journal, for comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The position that the rows stand for.
    pub position: Position,
    /// SHA-256 over all rows, sorted by key.
    pub sha256: [u8; 32],
    /// How many messages whose state is kept.
    pub messages: u64,
    /// How many taps, as above.
    pub taps: u64,
    /// How many channels with an opt-in or a category.
    pub channels: u64,
    /// How many cells.
    pub cells: u64,
}

/// What happened to events, since the ledger was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries folded.
    pub entries: u64,
    /// Events folded.
    pub events: u64,
    /// Events that said nothing new.
    pub duplicates: u64,
    /// Statuses that came after a later one, or with an earlier time than told before.
    pub out_of_order: u64,
    /// Statuses for messages whose state had been dropped.
    pub late: u64,
    /// Statuses that made another one count that nobody told.
    pub implied: u64,
    /// Statuses whose message's template was not known when they came.
    pub unattributed: u64,
    /// Parts of bodies that could not be counted.
    pub dead: u64,
    /// Changes that were left out because a sum would have left the range of `i64`: somebody has
    /// to look where such amounts come from.
    pub overflows: u64,
}

impl Counters {
    pub(crate) fn count(&mut self, outcome: Outcome) {
        let Outcome { duplicate, out_of_order, late, implied, unattributed } = outcome;
        self.events += 1;
        self.duplicates += u64::from(duplicate);
        self.out_of_order += u64::from(out_of_order);
        self.late += u64::from(late);
        self.implied += u64::from(implied);
        self.unattributed += u64::from(unattributed);
    }

    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            entries,
            events,
            duplicates,
            out_of_order,
            late,
            implied,
            unattributed,
            dead,
            overflows,
        } = other;
        self.entries += entries;
        self.events += events;
        self.duplicates += duplicates;
        self.out_of_order += out_of_order;
        self.late += late;
        self.implied += implied;
        self.unattributed += unattributed;
        self.dead += dead;
        self.overflows += overflows;
    }
}

/// Refuses to look for more messages than are looked for at once.
pub(crate) fn check_keys(keys: &[MessageKey]) -> Result<(), Error> {
    if keys.len() > MESSAGES_MAX {
        let what = "messages in one question";
        return Err(Error::TooLarge { what, found: keys.len(), limit: MESSAGES_MAX });
    }
    Ok(())
}

/// Refuses what no ledger takes.
pub(crate) fn check(batch: &Batch) -> Result<(), Error> {
    if batch.events.len() > EVENTS_MAX {
        let what = "events in one batch";
        return Err(Error::TooLarge { what, found: batch.events.len(), limit: EVENTS_MAX });
    }
    let group = batch.group.as_ref().map_or(0, String::len);
    if group > GROUP_BYTES_MAX {
        let what = "bytes in the name of a group";
        return Err(Error::TooLarge { what, found: group, limit: GROUP_BYTES_MAX });
    }
    if batch.body.len() > BODY_BYTES_MAX {
        let what = "bytes in the body of one batch";
        return Err(Error::TooLarge { what, found: batch.body.len(), limit: BODY_BYTES_MAX });
    }
    match batch.events.iter().position(|event| !event.is_possible(batch.accepted)) {
        Some(index) => Err(Error::Impossible { index }),
        None => Ok(()),
    }
}
