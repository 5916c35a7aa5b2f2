//! Messages and taps in pieces by when they were touched last: found, merged, expired.
//!
//! A row that is touched again is written into the newest piece, and what older pieces have of it
//! no longer counts: so that older pieces never change, and whoever reads the whole state for long
//! has a new piece begun ([`Tables::cut`]) and lets the engine let go of the rest. A piece that is
//! full is followed by another of the same span, so that the engine never merges much at a time.
//! What always holds: what is over is dropped as a whole, after its tombstones are on disk and by
//! nothing that is not committed, and not while somebody reads a moment that has it
//! ([`Tables::hold`]).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use fjall::compaction::Leveled;
use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable as _, Slice, Snapshot};
use twoticks_core::clock::{DAY, Time};
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{BACKDATED_MAX, STATE_KEPT, TOMBSTONE_KEPT};

use crate::digest::Table;
use crate::embedded::filling::asked;
use crate::embedded::filter::{Filter, Seen};
use crate::embedded::tables::{Tables, engine_error, gathering, layout_error};
use crate::embedded::tombstones::{Fingerprint, Tombstones};
use crate::error::Error;
use crate::journal::Position;
use crate::layout;
use crate::snapshot::Part;

/// Milliseconds of acceptance time that one piece covers.
pub(crate) const PIECE: i64 = 15 * DAY;
/// How many states become tombstones at a time.
const EXPIRE_STEP: usize = 1 << 19;
/// How many files of a piece's messages there are before they are merged.
const FILES_MAX: u8 = 8;

/// What the guard is called, before its number; nothing is in it.
const GUARD: &str = "guard-";

/// Pieces, the newest first.
pub(crate) type Pieces = Arc<Vec<Piece>>;

/// Which piece: its epoch, and which of the parts of that it is, from 0.
pub(crate) type PieceId = (i64, u32);

/// What was touched last within one span of acceptance time, or within a part of one.
#[derive(Clone)]
pub(crate) struct Piece {
    /// Which span: the time divided by [`PIECE`].
    pub(crate) epoch: i64,
    /// Which part of it, from 0; a later one is newer.
    part: u32,
    pub(crate) messages: Keyspace,
    pub(crate) taps: Keyspace,
    /// Which messages and taps it may have.
    pub(crate) filter: Arc<Filter>,
    /// Which it and others may have: those next to it, as a rule.
    pub(crate) seen: Arc<Seen>,
}

/// What the tables know of a message or a tap.
pub(crate) enum Found {
    Row(Slice),
    /// Only when it was touched last.
    Tombstone(Time),
}

/// Where to go on making tombstones: the piece, its table, behind which key.
pub(crate) type ExpireAt = Option<(PieceId, Table, Option<Slice>)>;

/// The whole state as of one position, which is read piece by piece.
pub(crate) struct Cut {
    /// The pieces that it has, the newest first; nothing in them changes any more.
    pub(crate) pieces: Vec<PieceId>,
    /// All other tables. What it keeps the engine from letting go of is everything that is written
    /// meanwhile, so it is not kept for long.
    pub(crate) snapshot: Snapshot,
    pub(crate) position: Position,
    /// The latest acceptance time up to there.
    pub(crate) latest: Time,
    /// As long as it is held no piece is dropped.
    pub(crate) opened: Arc<()>,
}

/// A row as it is stored.
pub(crate) type Stored = (Slice, Slice);

/// What the keyspaces of a piece are called, before its epoch and, behind a point, its part.
const MESSAGES: &str = "messages-";
const TAPS: &str = "taps-";

impl Piece {
    /// `unwritten`: [`Memory::unwritten`](crate::embedded::memory::Memory).
    pub(super) fn open(
        db: &Database,
        unwritten: u64,
        (epoch, part): PieceId,
    ) -> fjall::Result<Self> {
        let name = match part {
            0 => epoch.to_string(),
            part => format!("{epoch}.{part}"),
        };
        let messages = || {
            // Files are small, so there may be more before they are merged: a message that is
            // asked for is mostly in none of them, and what they say so with is in memory.
            let merging = Leveled::default().with_l0_threshold(FILES_MAX);
            // Whether it is in the piece is known already. What is in memory for each block would
            // grow with what is kept.
            let told_apart = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(8.0));
            gathering(unwritten)
                .compaction_strategy(Arc::new(merging))
                .filter_policy(FilterPolicy::new([told_apart, FilterPolicyEntry::None]))
                .index_block_partitioning_policy(PartitioningPolicy::all(true))
        };
        let messages = db.keyspace(&format!("{MESSAGES}{name}"), messages)?;
        let taps = db.keyspace(&format!("{TAPS}{name}"), || gathering(unwritten))?;
        let filter = Arc::new(Filter::unknowing(keys(&messages, &taps)));
        let seen = Arc::new(Seen::unknowing(0));
        Ok(Self { epoch, part, messages, taps, filter, seen })
    }

    /// Takes in what is about to be put into it, by its hashes.
    pub(crate) fn know(&self, hashes: &[u64]) {
        self.seen.insert(hashes.iter().copied());
        self.filter.insert(hashes.iter().copied());
    }

    pub(crate) fn id(&self) -> PieceId {
        (self.epoch, self.part)
    }

    fn is_empty(&self) -> bool {
        self.messages.approximate_len() + self.taps.approximate_len() == 0
    }

    /// Which piece a keyspace has the messages of.
    pub(super) fn of_messages(name: &str) -> Option<PieceId> {
        let name = name.strip_prefix(MESSAGES)?;
        let (epoch, part) = name.split_once('.').unwrap_or((name, "0"));
        Some((epoch.parse().ok()?, part.parse().ok()?))
    }
}

/// About how many keys a piece has, and a few more.
pub(super) fn keys(messages: &Keyspace, taps: &Keyspace) -> usize {
    (messages.approximate_len() + taps.approximate_len()) * 17 / 16
}

/// Under which name it is noted that a piece was sealed.
fn sealed((epoch, part): PieceId) -> String {
    format!("sealed-{epoch}.{part}")
}

impl Tables {
    /// The pieces that there are now.
    pub(crate) fn pieces(&self) -> Pieces {
        Arc::clone(&self.pieces.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The piece that `messages` of them are written to, made if there is none for `latest` that
    /// has room for them.
    pub(super) fn newest(&self, latest: Time, messages: usize) -> Result<Piece, Error> {
        let epoch = latest.0.div_euclid(PIECE);
        let pieces = self.pieces();
        let Some(piece) = pieces.first().filter(|piece| piece.epoch >= epoch) else {
            return self.piece((epoch, 0));
        };
        let is_full =
            !piece.is_empty() && piece.messages.approximate_len() + messages > self.memory.piece;
        if is_full || self.sealed_as(piece.id())?.is_some() {
            return self.piece((piece.epoch, piece.part + 1));
        }
        Ok(piece.clone())
    }

    /// The part of a snapshot that has the same rows as a piece.
    pub(crate) fn sealed_as(&self, piece: PieceId) -> Result<Option<Part>, Error> {
        let value = self.meta.get(sealed(piece)).map_err(engine_error)?;
        let part = value.map(|value| layout::row(&value)).transpose();
        part.map_err(|error| layout_error(error, Path::new("meta")))
    }

    /// Notes that `part` has the same rows as its piece, to which nothing is written from now on.
    pub(crate) fn note_sealed(&self, part: &Part) -> Result<(), Error> {
        self.meta.insert(sealed(part.piece), layout::value(part)).map_err(engine_error)
    }

    /// The piece with this id, made if it is not there.
    pub(super) fn piece(&self, id: PieceId) -> Result<Piece, Error> {
        if let Some(piece) = self.pieces().iter().find(|piece| piece.id() == id) {
            return Ok(piece.clone());
        }
        let piece = Piece::open(&self.db, self.memory.unwritten, id).map_err(engine_error)?;
        self.enrol()?;
        let mut pieces = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::clone(&pieces);
        // In a large ledger all pieces of a span but the last are full.
        let keys = all.first().map_or(0, |last| keys(&last.messages, &last.taps));
        let filter = Arc::new(Filter::complete(keys));
        let seen = self.memory.seen_with(&all, Seen::complete);
        let piece = Piece { filter, seen, ..piece };
        all.push(piece.clone());
        all.sort_unstable_by_key(|piece| Reverse(piece.id()));
        self.fit_filters(&mut all);
        *pieces = Arc::new(all);
        Ok(piece)
    }

    /// The whole state as of now: what is committed from now on goes into a piece of its own.
    pub(crate) fn cut(&self) -> Result<Cut, Error> {
        let _nothing_is_committed = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        let (pieces, snapshot, opened) = self.hold();
        if let Some(newest) = pieces.first().filter(|newest| !newest.is_empty()) {
            self.piece((newest.epoch, newest.part + 1))?;
        }
        let (position, latest) = (self.folded(&snapshot)?, self.latest(&snapshot)?);
        // What is written from now on is put into the newest, also if that was there and empty.
        let pieces = pieces.iter().filter(|piece| !piece.is_empty()).map(Piece::id).collect();
        Ok(Cut { pieces, snapshot, position, latest, opened })
    }

    /// Notes where the tables are before something is dropped from them, in a file and not in the
    /// engine's own journal: of that the engine takes what is left when it was cut off, and tables
    /// that went back behind a drop are of two moments. They are made again then.
    fn note_dropping(&self) -> Result<(), Error> {
        let folded = self.folded(&self.db.snapshot())?;
        let mut noting = self.dropped.start_ingestion().map_err(engine_error)?;
        noting.write("folded", layout::value(&folded)).map_err(engine_error)?;
        noting.finish().map_err(engine_error)
    }

    /// Drops tables of the engine. It numbers them, gives the number above the highest that it finds
    /// when it is opened, and after a kill its sequence numbers can be lower than those under which
    /// it noted a removal: of a table with a number for the second time half of the settings are
    /// gone then, and nothing opens any more. So a guard is made first, which has a number above all
    /// others, and the last guard goes as well.
    fn delete(&self, keyspaces: &[&Keyspace]) -> Result<(), Error> {
        let number = |name: &str| name.strip_prefix(GUARD).and_then(|it| it.parse::<u64>().ok());
        let names = self.db.list_keyspace_names();
        let guards: Vec<u64> = names.iter().filter_map(|name| number(name)).collect();
        let open = |guard: u64| {
            let name = format!("{GUARD}{guard}");
            self.db.keyspace(&name, KeyspaceCreateOptions::default).map_err(engine_error)
        };
        self.note_dropping()?;
        let roll = self.roll.lock().unwrap_or_else(PoisonError::into_inner);
        open(guards.iter().max().map_or(0, |last| last + 1))?;
        let old = guards.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let gone: Vec<&Keyspace> = keyspaces.iter().copied().chain(&old).collect();
        let stays = |name: &&str| gone.iter().all(|gone| **gone.name() != **name);
        let names = self.db.list_keyspace_names();
        let names = names.iter().map(|name| &**name).filter(stays).map(str::to_owned);
        roll.write(&names.collect())?;
        for keyspace in gone {
            self.db.delete_keyspace(keyspace.clone()).map_err(engine_error)?;
        }
        Ok(())
    }

    /// The tables of tombstones that there are now, the newest first.
    pub(crate) fn tombstones(&self) -> Arc<[Tombstones]> {
        Arc::clone(&self.tombstones.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tombstones with this epoch, made if they are not there.
    pub(super) fn tombstones_of(&self, epoch: i64) -> Result<Tombstones, Error> {
        if let Some(found) = self.tombstones().iter().find(|found| found.epoch == epoch) {
            return Ok(found.clone());
        }
        let made = Tombstones::open(&self.db, epoch, Filter::complete(0)).map_err(engine_error)?;
        self.enrol()?;
        let mut tombstones = self.tombstones.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = tombstones.to_vec();
        all.push(made.clone());
        all.sort_unstable_by_key(|tombstones| Reverse(tombstones.epoch));
        *tombstones = all.into();
        Ok(made)
    }

    /// Puts tombstones, as if their states had expired.
    #[cfg(test)]
    pub(crate) fn bury(&self, epoch: i64, stones: &[(Fingerprint, Time)]) -> Result<(), Error> {
        self.tombstones_of(epoch)?.put(stones)
    }

    /// Does a step of what is due when everything up to `latest` is committed: pieces whose states
    /// have expired become tombstones and are dropped, and so are tombstones whose time is over
    /// (counting rule 12). `at` is where it is. `false` when there is nothing left to do. Nothing
    /// that can be asked for changes by it.
    pub(crate) fn expire(&self, at: &mut ExpireAt, latest: Time) -> Result<bool, Error> {
        let is_over = |epoch: i64, kept: i64| (epoch + 1) * PIECE + kept + BACKDATED_MAX < latest.0;
        if Arc::strong_count(&self.opened) > 1 {
            // Somebody is reading a moment: what is over goes when the next span is.
            return Ok(false);
        }
        let kept = STATE_KEPT + TOMBSTONE_KEPT;
        if let Some(old) = self.tombstones().iter().find(|old| is_over(old.epoch, kept)) {
            let mut tombstones = self.tombstones.write().unwrap_or_else(PoisonError::into_inner);
            let left = tombstones.iter().filter(|other| other.epoch != old.epoch).cloned();
            *tombstones = left.collect();
            drop(tombstones);
            self.delete(&[&old.rows])?;
            return Ok(true);
        }
        let pieces = self.pieces();
        let Some(piece) = pieces.iter().rev().find(|piece| is_over(piece.epoch, STATE_KEPT)) else {
            return Ok(false);
        };
        let going_on = at.take().filter(|(id, ..)| *id == piece.id());
        let (_, table, from) = going_on.unwrap_or((piece.id(), Table::Messages, None));
        let rows = if table == Table::Messages { &piece.messages } else { &piece.taps };
        let start = from.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut stones, mut last) = (Vec::new(), None);
        for guard in rows.range::<Slice, _>((start, Bound::Unbounded)).take(EXPIRE_STEP) {
            let (key, value) = guard.into_inner().map_err(engine_error)?;
            let touched = layout::touched(&value);
            let touched = touched.map_err(|error| layout_error(error, Path::new("ledger")))?;
            stones.push((Fingerprint::of(table, &key), touched));
            last = Some(key);
        }
        let is_end = stones.len() < EXPIRE_STEP;
        if !stones.is_empty() {
            self.tombstones_of(piece.epoch)?.put(&stones)?;
        }
        if !is_end {
            *at = Some((piece.id(), table, last));
        } else if table == Table::Messages {
            *at = Some((piece.id(), Table::Taps, None));
        } else {
            let mut all = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
            if Arc::strong_count(&self.opened) > 1 {
                // Somebody is reading a moment that has it: it goes when the next span is over.
                return Ok(false);
            }
            let (id, epoch) = (piece.id(), piece.epoch);
            let left = all.iter().filter(|other| other.id() != id).cloned();
            *all = Arc::new(left.collect());
            // From now on nobody can hold a moment that has it, and nobody waits for the disk.
            drop(all);
            self.delete(&[&piece.messages, &piece.taps])?;
            self.meta.remove(sealed(id)).map_err(engine_error)?;
            drop(pieces);
            tracing::info!(ledger.epoch = epoch, "states expired, their tombstones stay");
        }
        Ok(true)
    }

    /// What is known of a message.
    pub(crate) fn message(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        let fingerprint = Fingerprint::of(Table::Messages, key);
        for piece in asked(&self.pieces(), fingerprint.hash()) {
            if let Some(value) = piece.messages.get(key).map_err(engine_error)? {
                return Ok(Some(Found::Row(value)));
            }
        }
        self.tombstone(fingerprint)
    }

    /// What is known of a tap.
    pub(crate) fn tap(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        let fingerprint = Fingerprint::of(Table::Taps, key);
        for piece in asked(&self.pieces(), fingerprint.hash()) {
            if let Some(value) = piece.taps.get(key).map_err(engine_error)? {
                return Ok(Some(Found::Row(value)));
            }
        }
        self.tombstone(fingerprint)
    }

    pub(super) fn tombstone(&self, of: Fingerprint) -> Result<Option<Found>, Error> {
        for tombstones in self.tombstones().iter() {
            if let Some(touched) = tombstones.find(of)? {
                return Ok(Some(Found::Tombstone(touched)));
            }
        }
        Ok(None)
    }

    /// The messages of a channel, sorted by key.
    pub(crate) fn messages_of(&self, channel: &ChannelId) -> Merged {
        let prefix = layout::channel(channel);
        let (pieces, snapshot) = self.moment();
        Merged::new(pieces.iter().map(|piece| snapshot.prefix(&piece.messages, &prefix)).collect())
    }

    /// The taps of a channel, sorted by key.
    pub(crate) fn taps_of(&self, channel: &ChannelId) -> Merged {
        let prefix = layout::channel(channel);
        let (pieces, snapshot) = self.moment();
        Merged::new(pieces.iter().map(|piece| snapshot.prefix(&piece.taps, &prefix)).collect())
    }

    /// As [`Tables::moment`]; as long as the third is held, no piece is dropped.
    pub(crate) fn hold(&self) -> (Pieces, Snapshot, Arc<()>) {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let (held, pieces) = (Arc::clone(&self.opened), Arc::clone(&pieces));
        (pieces, self.db.snapshot(), held)
    }

    /// The pieces and a snapshot of the same moment.
    pub(crate) fn moment(&self) -> (Pieces, Snapshot) {
        // A piece that is made between the two has nothing in it that the snapshot could see.
        let pieces = self.pieces();
        (pieces, self.db.snapshot())
    }
}

/// The rows of several pieces, sorted by key; of several with the same key that of the newest.
pub(crate) struct Merged {
    /// The newest first.
    pieces: Vec<fjall::Iter>,
    /// The next row of each that has one, the least key first.
    heads: BinaryHeap<Reverse<Head>>,
    started: bool,
}

/// A row of the piece with this index. Of equal keys that of the newest piece comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: Slice,
    piece: usize,
    value: Slice,
}

impl Merged {
    /// `pieces`, the newest first.
    pub(crate) fn new(pieces: Vec<fjall::Iter>) -> Self {
        Self { pieces, heads: BinaryHeap::new(), started: false }
    }

    /// Has the next row of a piece among the heads, if there is one.
    fn advance(&mut self, piece: usize) -> Result<(), Error> {
        let next = self.pieces.get_mut(piece).and_then(Iterator::next);
        if let Some((key, value)) =
            next.map(fjall::Guard::into_inner).transpose().map_err(engine_error)?
        {
            self.heads.push(Reverse(Head { key, piece, value }));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Option<Stored>, Error> {
        if !std::mem::replace(&mut self.started, true) {
            (0..self.pieces.len()).try_for_each(|piece| self.advance(piece))?;
        }
        let Some(Reverse(found)) = self.heads.pop() else { return Ok(None) };
        self.advance(found.piece)?;
        while self.heads.peek().is_some_and(|Reverse(older)| older.key == found.key) {
            if let Some(Reverse(older)) = self.heads.pop() {
                self.advance(older.piece)?;
            }
        }
        Ok(Some((found.key, found.value)))
    }
}

impl Iterator for Merged {
    type Item = Result<Stored, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if step.as_ref().is_some_and(Result::is_err) {
            self.heads.clear();
            self.pieces.clear();
        }
        step
    }
}
