//! The old part of the ledger: tables in the embedded engine, changed by whole overlays only.
//!
//! Every commit is one atomic batch that also stores the position it reaches. What is in `meta`:
//! `format` (this layout's version), `rules` (the counting rules that made the totals), `folded`
//! (the position), `latest` (the latest acceptance time up to there), `key` (something sealed, to
//! tell another key file).
//!
//! Messages and taps lie in pieces by when they were touched last, [`PIECE`] each: a row that is
//! touched again is written into the newest piece, and what older pieces have of it no longer
//! counts. So the pieces that are written to stay small whatever is kept, and a piece whose time
//! is over is dropped as a whole, when its tombstones ([`crate::embedded::tombstones`]) are there.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Slice,
    Snapshot,
};
#[cfg(test)]
use serde::Serialize;
use twoticks_core::RULES_VERSION;
use twoticks_core::clock::{DAY, Time};
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Age, STATE_KEPT, TOMBSTONE_KEPT};

use crate::day::Day;
use crate::digest::{Digester, Table};
use crate::embedded::filter::Filter;
use crate::embedded::memory::Memory;
use crate::embedded::tombstones::{self, Fingerprint, StoneRows, Tombstones};
use crate::embedded::young::Overlay;
use crate::error::Error;
use crate::journal::Position;
use crate::keys::Keys;
use crate::layout::{self, CellTable, LayoutError};
use crate::ledger::Digest;
use crate::snapshot::{Header, Row};

/// The version of the tables' layout.
pub(crate) const FORMAT: u32 = 2;
/// Milliseconds of acceptance time that one piece covers.
pub(crate) const PIECE: i64 = 15 * DAY;
/// What the engine's own journals may grow to, in bytes.
const ENGINE_JOURNAL_BYTES: u64 = 256 << 20;
/// Threads of the engine: one flushes while the other compacts.
const ENGINE_THREADS: usize = 2;
/// How many bytes of messages are gathered before they are put into a fresh piece.
const FILL_BYTES: usize = 64 << 20;
/// How many messages are taken into a filter at a time.
const FILTER_STEP: usize = 65_536;
/// How many states become tombstones at a time.
const EXPIRE_STEP: usize = 1 << 20;
/// What is sealed in `meta`, and for which purpose.
const KEY_CHECK: (&str, &[u8]) = ("ledger-key-check", b"twoticks");
/// What a person does about damaged tables.
pub(super) const REMEDY: &str = "stop, remove this folder and start again: it is rebuilt from the \
    newest snapshot and the journal";

/// The tables of an open engine.
pub(crate) struct Tables {
    db: Database,
    pieces: RwLock<Pieces>,
    /// The most memory for filters.
    filter_bytes_max: usize,
    /// The newest first.
    tombstones: RwLock<Arc<[Tombstones]>>,
    pub(crate) channels: Keyspace,
    numbers: Keyspace,
    templates: Keyspace,
    pub(crate) groups: Keyspace,
    pub(crate) dead: Keyspace,
    meta: Keyspace,
    /// Tables that are opened again are others: what was read of the old ones goes no further.
    pub(crate) opened: Arc<()>,
}

/// Pieces, the newest first.
pub(crate) type Pieces = Arc<Vec<Piece>>;

/// What was touched last within one span of acceptance time.
#[derive(Clone)]
pub(crate) struct Piece {
    /// Which span: the time divided by [`PIECE`].
    pub(crate) epoch: i64,
    pub(crate) messages: Keyspace,
    pub(crate) taps: Keyspace,
    /// Which messages and taps it may have.
    pub(crate) filter: Arc<Filter>,
}

/// What the tables know of a message or a tap.
pub(crate) enum Found {
    Row(Slice),
    /// Only when it was touched last.
    Tombstone(Time),
}

/// Where to go on making tombstones: the epoch of the piece, its table, behind which key.
pub(crate) type ExpireAt = Option<(i64, Table, Option<Slice>)>;

/// Where to go on making filters: behind this key of the piece with this epoch.
pub(crate) type FillFrom = Option<(i64, Slice)>;

/// Keys and values that are to be put into the piece of an epoch.
type Waiting = BTreeMap<i64, Vec<(Vec<u8>, Vec<u8>)>>;

/// A row as it is stored.
pub(crate) type Stored = (Slice, Slice);

/// What the keyspaces of a piece are called, before its epoch.
const MESSAGES: &str = "messages-";
const TAPS: &str = "taps-";

impl Piece {
    fn open(db: &Database, epoch: i64, filter: Filter) -> fjall::Result<Self> {
        let keyspace =
            |name: &str| db.keyspace(&format!("{name}{epoch}"), KeyspaceCreateOptions::default);
        let (messages, taps) = (keyspace(MESSAGES)?, keyspace(TAPS)?);
        Ok(Self { epoch, messages, taps, filter: Arc::new(filter) })
    }
}

/// What the tables say about themselves.
pub(crate) struct Meta {
    /// The position that the rows stand for.
    pub(crate) folded: Position,
    /// The latest acceptance time up to there.
    pub(crate) latest: Time,
    /// Whether the counting rules of this program made them.
    pub(crate) same_rules: bool,
}

impl Tables {
    /// Opens the tables in `folder`, which are made if there are none.
    pub(crate) fn open(folder: &Path, memory: &Memory) -> Result<Self, Error> {
        // A process that died while it made the folder left one that the engine cannot open, and
        // nothing in it.
        let anew = |error| Error::io("making the ledger's folder anew", error);
        // A disk that does not answer is no reason to remove anything.
        if folder.try_exists().map_err(anew)?
            && !folder.join("version").try_exists().map_err(anew)?
        {
            std::fs::remove_dir_all(folder).map_err(anew)?;
        }
        let open = || {
            let db = Database::builder(folder)
                .cache_size(memory.blocks)
                .max_journaling_size(ENGINE_JOURNAL_BYTES)
                .worker_threads(ENGINE_THREADS)
                .open()?;
            let keyspace = |name| db.keyspace(name, KeyspaceCreateOptions::default);
            let (mut pieces, mut tombstones) = (Vec::new(), Vec::new());
            for name in db.list_keyspace_names() {
                let epoch = |prefix| name.strip_prefix(prefix).and_then(|it| it.parse().ok());
                if let Some(epoch) = epoch(MESSAGES) {
                    pieces.push(Piece::open(&db, epoch, Filter::default())?);
                }
                if let Some(epoch) = epoch(tombstones::NAME) {
                    tombstones.push(Tombstones::open(&db, epoch, Filter::default())?);
                }
            }
            pieces.sort_unstable_by_key(|piece| Reverse(piece.epoch));
            tombstones.sort_unstable_by_key(|tombstones| Reverse(tombstones.epoch));
            Ok(Self {
                pieces: RwLock::new(Arc::new(pieces)),
                filter_bytes_max: memory.filters,
                tombstones: RwLock::new(tombstones.into()),
                channels: keyspace("channels")?,
                numbers: keyspace("numbers")?,
                templates: keyspace("templates")?,
                groups: keyspace("groups")?,
                dead: keyspace("dead")?,
                meta: keyspace("meta")?,
                opened: Arc::default(),
                db,
            })
        };
        open().map_err(|error| open_error(error, folder))
    }

    /// Reads what the tables say about themselves; fresh ones are told who they are.
    pub(crate) fn meta(&self, folder: &Path, keys: Option<&Keys>) -> Result<Meta, Error> {
        let Some(format) = self.read_meta::<u32>("format", folder)? else {
            let check = keys.map(|keys| keys.seal(KEY_CHECK.0, b"", KEY_CHECK.1));
            let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
            batch.insert(&self.meta, "format", layout::value(&FORMAT));
            batch.insert(&self.meta, "rules", layout::value(&RULES_VERSION));
            batch.insert(&self.meta, "key", layout::value(&check.unwrap_or_default()));
            batch.insert(&self.meta, "folded", layout::value(&0_u64));
            batch.commit().map_err(engine_error)?;
            return Ok(Meta { folded: 0, latest: Time::default(), same_rules: true });
        };
        if format < FORMAT {
            // Made again, as if by other rules: what they hold is read by nobody.
            let latest = Time::default();
            return Ok(Meta { folded: 0, latest, same_rules: false });
        }
        if format > FORMAT {
            let what = format!("the ledger in `{}`", folder.display());
            return Err(Error::NewerVersion { what, found: format.into(), known: FORMAT.into() });
        }
        let check: Vec<u8> = self.read_meta("key", folder)?.unwrap_or_default();
        if keys.is_some_and(|keys| keys.open_sealed(KEY_CHECK.0, b"", &check).is_err()) {
            return Err(Error::WrongKey { folder: folder.to_owned() });
        }
        let rules: Option<String> = self.read_meta("rules", folder)?;
        let folded = self.folded(&self.db.snapshot())?;
        let latest = self.read_meta("latest", folder)?.unwrap_or_default();
        Ok(Meta { folded, latest, same_rules: rules.as_deref() == Some(RULES_VERSION) })
    }

    fn read_meta<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        folder: &Path,
    ) -> Result<Option<T>, Error> {
        let value = self.meta.get(name).map_err(engine_error)?;
        let row = value.map(|value| layout::row(&value)).transpose();
        row.map_err(|error| layout_error(error, folder))
    }

    #[cfg(test)]
    pub(crate) fn write_meta<T: Serialize>(&self, name: &str, row: &T) -> fjall::Result<()> {
        self.meta.insert(name, layout::value(row))?;
        self.db.persist(PersistMode::SyncAll)
    }

    /// The position that the rows in `snapshot` stand for.
    pub(crate) fn folded(&self, snapshot: &Snapshot) -> Result<Position, Error> {
        let value = snapshot.get(&self.meta, "folded").map_err(engine_error)?;
        match value.map(|value| layout::row(&value)) {
            Some(Ok(folded)) => Ok(folded),
            Some(Err(error)) => Err(layout_error(error, Path::new("meta"))),
            None => Ok(0),
        }
    }

    /// The latest acceptance time of what is in `snapshot`.
    pub(crate) fn latest(&self, snapshot: &Snapshot) -> Result<Time, Error> {
        let value = snapshot.get(&self.meta, "latest").map_err(engine_error)?;
        let latest = value.map(|value| layout::row(&value)).transpose();
        latest
            .map(Option::unwrap_or_default)
            .map_err(|error| layout_error(error, Path::new("meta")))
    }

    pub(crate) fn cells(&self, table: CellTable) -> &Keyspace {
        match table {
            CellTable::Numbers => &self.numbers,
            CellTable::Templates => &self.templates,
        }
    }

    /// The pieces that there are now.
    pub(crate) fn pieces(&self) -> Pieces {
        Arc::clone(&self.pieces.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest piece, made if there is none for `latest`.
    fn newest(&self, latest: Time) -> Result<Piece, Error> {
        let epoch = latest.0.div_euclid(PIECE);
        match self.pieces().first().filter(|piece| piece.epoch >= epoch) {
            Some(piece) => Ok(piece.clone()),
            None => self.piece(epoch),
        }
    }

    /// The piece with this epoch, made if it is not there.
    fn piece(&self, epoch: i64) -> Result<Piece, Error> {
        if let Some(piece) = self.pieces().iter().find(|piece| piece.epoch == epoch) {
            return Ok(piece.clone());
        }
        let piece = Piece::open(&self.db, epoch, Filter::complete()).map_err(engine_error)?;
        let mut pieces = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::clone(&pieces);
        all.push(piece.clone());
        all.sort_unstable_by_key(|piece| Reverse(piece.epoch));
        *pieces = Arc::new(all);
        Ok(piece)
    }

    /// The tables of tombstones that there are now, the newest first.
    pub(crate) fn tombstones(&self) -> Arc<[Tombstones]> {
        Arc::clone(&self.tombstones.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tombstones with this epoch, made if they are not there.
    fn tombstones_of(&self, epoch: i64) -> Result<Tombstones, Error> {
        if let Some(found) = self.tombstones().iter().find(|found| found.epoch == epoch) {
            return Ok(found.clone());
        }
        let made = Tombstones::open(&self.db, epoch, Filter::complete()).map_err(engine_error)?;
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
        self.tombstones_of(epoch)?.put(&self.db, stones)
    }

    /// Does a step of what is due when everything up to `latest` is committed: pieces whose states
    /// have expired become tombstones and are dropped, and so are tombstones whose time is over
    /// (counting rule 12). `at` is where it is. `false` when there is nothing left to do. Nothing
    /// that can be asked for changes by it.
    pub(crate) fn expire(&self, at: &mut ExpireAt, latest: Time) -> Result<bool, Error> {
        let is_over = |epoch: i64, kept: i64| (epoch + 1) * PIECE + kept < latest.0;
        let kept = STATE_KEPT + TOMBSTONE_KEPT;
        if let Some(old) = self.tombstones().iter().find(|old| is_over(old.epoch, kept)) {
            let mut tombstones = self.tombstones.write().unwrap_or_else(PoisonError::into_inner);
            let left = tombstones.iter().filter(|other| other.epoch != old.epoch).cloned();
            *tombstones = left.collect();
            drop(tombstones);
            self.db.delete_keyspace(old.rows.clone()).map_err(engine_error)?;
            return Ok(true);
        }
        let pieces = self.pieces();
        let Some(piece) = pieces.iter().rev().find(|piece| is_over(piece.epoch, STATE_KEPT)) else {
            return Ok(false);
        };
        let going_on = at.take().filter(|(epoch, ..)| *epoch == piece.epoch);
        let (_, table, from) = going_on.unwrap_or((piece.epoch, Table::Messages, None));
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
            self.tombstones_of(piece.epoch)?.put(&self.db, &stones)?;
        }
        if !is_end {
            *at = Some((piece.epoch, table, last));
        } else if table == Table::Messages {
            *at = Some((piece.epoch, Table::Taps, None));
        } else {
            let mut all = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
            let left = all.iter().filter(|other| other.epoch != piece.epoch).cloned();
            *all = Arc::new(left.collect());
            drop(all);
            for keyspace in [&piece.messages, &piece.taps] {
                self.db.delete_keyspace(keyspace.clone()).map_err(engine_error)?;
            }
            tracing::info!(ledger.epoch = piece.epoch, "states expired, their tombstones stay");
        }
        Ok(true)
    }

    /// What is known of a message.
    pub(crate) fn message(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        let fingerprint = Fingerprint::of(Table::Messages, key);
        for piece in self.pieces().iter().filter(|it| it.filter.may_have(fingerprint.hash())) {
            if let Some(value) = piece.messages.get(key).map_err(engine_error)? {
                return Ok(Some(Found::Row(value)));
            }
        }
        self.tombstone(fingerprint)
    }

    /// What is known of a tap.
    pub(crate) fn tap(&self, key: &[u8]) -> Result<Option<Found>, Error> {
        let fingerprint = Fingerprint::of(Table::Taps, key);
        for piece in self.pieces().iter().filter(|it| it.filter.may_have(fingerprint.hash())) {
            if let Some(value) = piece.taps.get(key).map_err(engine_error)? {
                return Ok(Some(Found::Row(value)));
            }
        }
        self.tombstone(fingerprint)
    }

    fn tombstone(&self, of: Fingerprint) -> Result<Option<Found>, Error> {
        for tombstones in self.tombstones().iter() {
            if let Some(touched) = tombstones.find(of)? {
                return Ok(Some(Found::Tombstone(touched)));
            }
        }
        Ok(None)
    }

    /// Goes on making the filters of what was in the tables when they were opened, from the
    /// message behind `from`; where to go on after that, if there is more to do.
    pub(crate) fn fill_filters(&self, from: &FillFrom) -> Result<Option<FillFrom>, Error> {
        let (pieces, tombstones) = (self.pieces(), self.tombstones());
        let filters = pieces.iter().map(|piece| &piece.filter);
        let filters = filters.chain(tombstones.iter().map(|tombstones| &tombstones.filter));
        // Beyond that the engine has to be asked for what the oldest have.
        if filters.map(|filter| filter.bytes()).sum::<usize>() > self.filter_bytes_max {
            return Ok(None);
        }
        let behind =
            |epoch| from.as_ref().filter(|(of, _)| *of == epoch).map(|(_, key)| key.clone());
        if let Some(piece) = pieces.iter().find(|piece| !piece.filter.is_complete()) {
            let start = behind(piece.epoch).map_or(Bound::Unbounded, Bound::Excluded);
            let (mut hashes, mut last) = (Vec::with_capacity(FILTER_STEP), None);
            let rows = piece.messages.range::<Slice, _>((start, Bound::Unbounded));
            for guard in rows.take(FILTER_STEP) {
                let key = guard.key().map_err(engine_error)?;
                hashes.push(Fingerprint::of(Table::Messages, &key).hash());
                last = Some((piece.epoch, key));
            }
            let is_end = hashes.len() < FILTER_STEP;
            if is_end {
                // Taps are few beside the messages.
                for guard in piece.taps.iter() {
                    let key = guard.key().map_err(engine_error)?;
                    hashes.push(Fingerprint::of(Table::Taps, &key).hash());
                }
            }
            piece.filter.insert(hashes.into_iter());
            if is_end {
                piece.filter.finish();
            }
            return Ok(Some(last.filter(|_| !is_end)));
        }
        let Some(tombstones) = tombstones.iter().find(|it| !it.filter.is_complete()) else {
            return Ok(None);
        };
        let from = behind(tombstones.epoch).and_then(|key| <[u8; 2]>::try_from(&*key).ok());
        let (hashes, next) = tombstones.hashes(&self.db, from, FILTER_STEP)?;
        tombstones.filter.insert(hashes.into_iter());
        if next.is_none() {
            tombstones.filter.finish();
        }
        Ok(Some(next.map(|bucket| (tombstones.epoch, Slice::from(bucket)))))
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

    /// The pieces and a snapshot of the same moment.
    pub(crate) fn moment(&self) -> (Pieces, Snapshot) {
        // A piece that is made between the two has nothing in it that the snapshot could see.
        let pieces = self.pieces();
        (pieces, self.db.snapshot())
    }

    /// Puts all rows of `overlay` and its position, at once and durably. Says how many changes
    /// were left out because a sum would have left its range.
    pub(crate) fn commit(&self, overlay: &Overlay, folder: &Path) -> Result<u64, Error> {
        let Overlay { messages, taps, channels, cells, groups, dead, position, latest, .. } =
            overlay;
        // What failed after it had been done is done: cells must not change twice.
        if self.folded(&self.db.snapshot())? >= *position {
            return Ok(0);
        }
        let messages = messages.sorted();
        let batch = OwnedWriteBatch::with_capacity(self.db.clone(), messages.len() + taps.len());
        let mut batch = batch.durability(Some(PersistMode::SyncAll));
        let piece = self.newest(*latest)?;
        // Before anybody could look for them there.
        let of_messages = messages.iter().map(|(key, _)| Fingerprint::of(Table::Messages, key));
        let of_taps = taps.keys().map(|key| Fingerprint::of(Table::Taps, key));
        piece.filter.insert(of_messages.chain(of_taps).map(Fingerprint::hash));
        for (key, value) in messages {
            batch.insert(&piece.messages, key, value);
        }
        for (key, row) in taps {
            batch.insert(&piece.taps, key.as_slice(), layout::value(row));
        }
        for (key, row) in channels {
            batch.insert(&self.channels, key.as_slice(), layout::value(row.as_ref()));
        }
        let mut overflows = 0;
        for table in [CellTable::Numbers, CellTable::Templates] {
            let rows = self.cells(table);
            for (subject, changes) in cells.by_key(table) {
                for changes in changes.chunk_by(|one, two| one.0 == two.0) {
                    let Some((day, ..)) = changes.first() else { continue };
                    let key = layout::day(subject, *day);
                    let value = rows.get(&key).map_err(engine_error)?;
                    let row = value.map(|value| layout::versioned(&value).and_then(Day::decode));
                    let row = row.transpose().map_err(|error| layout_error(error, folder))?;
                    let mut row = row.unwrap_or_default();
                    for (_, place, change) in changes {
                        overflows += u64::from(!row.add(place.clone(), change, cells.extras()));
                    }
                    if row.is_empty() {
                        batch.remove(rows, key);
                    } else {
                        batch.insert(rows, key, row.encode(layout::VALUE_VERSION));
                    }
                }
            }
        }
        for key in groups {
            batch.insert(&self.groups, key.as_slice(), []);
        }
        for (key, is_dead) in dead {
            if *is_dead {
                batch.insert(&self.dead, key.as_slice(), []);
            } else {
                batch.remove(&self.dead, key.as_slice());
            }
        }
        batch.insert(&self.meta, "folded", layout::value(position));
        batch.insert(&self.meta, "latest", layout::value(latest));
        batch.commit().map_err(engine_error)?;
        if overflows > 0 {
            tracing::error!(
                ledger.overflows = overflows,
                "sums would have left the range of 64 bits and were left as they are"
            );
        }
        Ok(overflows)
    }

    /// The state in `snapshot` and `pieces` in the order of tables and keys, from the row at `from`
    /// on. [`Error::Unavailable`] if a piece has gone.
    pub(crate) fn rows(
        &self,
        snapshot: &Snapshot,
        pieces: &[i64],
        (first, from): (Table, &[u8]),
    ) -> Result<impl Iterator<Item = Result<(Table, Slice, Slice), Error>>, Error> {
        let all = self.pieces();
        let mut kept = Vec::with_capacity(pieces.len());
        for epoch in pieces {
            let piece = all.iter().find(|piece| piece.epoch == *epoch).cloned();
            kept.push(piece.ok_or_else(|| Error::Unavailable {
                doing: "reading the ledger to its end",
                source: "messages expired meanwhile".into(),
            })?);
        }
        let tables = Table::ALL.into_iter().filter(move |table| *table >= first);
        let all = self.tombstones();
        Ok(tables.flat_map(move |table| {
            if table == Table::Tombstones {
                let from = if table == first { from } else { &[] };
                return Rows::Tombstones(StoneRows::new(snapshot, &all, from));
            }
            let start = if table == first { from } else { &[] };
            let iters = match table {
                Table::Messages => {
                    kept.iter().map(|piece| snapshot.range(&piece.messages, start..)).collect()
                }
                Table::Taps => {
                    kept.iter().map(|piece| snapshot.range(&piece.taps, start..)).collect()
                }
                _ => self
                    .table(table)
                    .map(|rows| snapshot.range(rows, start..))
                    .into_iter()
                    .collect(),
            };
            Rows::Of(table, Merged::new(iters))
        }))
    }

    /// Puts the state that `rows` are, in the order of tables and keys, into tables that have
    /// none, as the state of `header`. The position is written last, so that what is torn stands
    /// for nothing.
    pub(crate) fn fill(
        &self,
        rows: impl Iterator<Item = Result<Row, Error>>,
        header: &Header,
    ) -> Result<(), Error> {
        let mut rows = rows.peekable();
        for table in Table::ALL {
            if !matches!(rows.peek(), Some(Ok((next, ..))) if *next == table) {
                continue;
            }
            let is_of_table = |row: &Result<Row, _>| row.as_ref().is_ok_and(|row| row.0 == table);
            let rows = std::iter::from_fn(|| rows.next_if(is_of_table));
            match self.table(table) {
                Some(keyspace) => fill_one(keyspace, rows)?,
                None if table == Table::Tombstones => self.fill_tombstones(rows)?,
                None => self.fill_pieces(table, rows)?,
            }
        }
        rows.next().transpose()?;
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, "folded", layout::value(&header.position));
        batch.insert(&self.meta, "latest", layout::value(&header.horizon));
        batch.commit().map_err(engine_error)
    }

    /// Puts messages or taps each into the piece of when they were touched last.
    fn fill_pieces(
        &self,
        table: Table,
        rows: impl Iterator<Item = Result<Row, Error>>,
    ) -> Result<(), Error> {
        // Rows come sorted by key, not by time.
        let mut waiting = Waiting::new();
        let mut bytes = 0;
        for row in rows {
            let (_, key, value) = row?;
            let touched = layout::touched(&value)
                .map_err(|error| layout_error(error, Path::new("snapshot")))?;
            bytes += key.len() + value.len();
            waiting.entry(touched.0.div_euclid(PIECE)).or_default().push((key, value));
            if bytes >= FILL_BYTES {
                self.fill_now(table, &mut waiting)?;
                bytes = 0;
            }
        }
        self.fill_now(table, &mut waiting)
    }

    fn fill_now(&self, table: Table, waiting: &mut Waiting) -> Result<(), Error> {
        for (epoch, rows) in std::mem::take(waiting) {
            let piece = self.piece(epoch)?;
            let fingerprints = rows.iter().map(|(key, _)| Fingerprint::of(table, key));
            piece.filter.insert(fingerprints.map(Fingerprint::hash));
            let keyspace = if table == Table::Messages { &piece.messages } else { &piece.taps };
            let mut filling = keyspace.start_ingestion().map_err(engine_error)?;
            for (key, value) in rows {
                filling.write(key, value).map_err(engine_error)?;
            }
            filling.finish().map_err(engine_error)?;
        }
        Ok(())
    }

    /// Puts tombstones each into the table of its span; they come sorted by it.
    fn fill_tombstones(&self, rows: impl Iterator<Item = Result<Row, Error>>) -> Result<(), Error> {
        let damaged = |error| layout_error(error, Path::new("snapshot"));
        let rows = rows.map(|row| {
            let (table, key, value) = row?;
            let (epoch, bucket) = layout::read_tombstones(&key).map_err(damaged)?;
            Ok((epoch, (table, bucket.to_vec(), value)))
        });
        let mut rows = rows.peekable();
        while let Some(Ok((epoch, _))) = rows.peek() {
            let epoch = *epoch;
            let tombstones = self.tombstones_of(epoch)?;
            let of_epoch =
                |row: &Result<(i64, Row), Error>| row.as_ref().is_ok_and(|it| it.0 == epoch);
            let of_epoch = std::iter::from_fn(|| rows.next_if(of_epoch));
            fill_one(
                &tombstones.rows,
                of_epoch.map(|row| {
                    let (_, row) = row?;
                    tombstones.know(&row.1, &row.2)?;
                    Ok(row)
                }),
            )?;
        }
        rows.next().transpose().map(drop)
    }

    /// About how many messages are kept, and how many bytes all tables have on disk.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let (pieces, tombstones) = (self.pieces(), self.tombstones());
        let tables = Table::ALL.into_iter().filter_map(|table| self.table(table));
        let states = pieces.iter().flat_map(|piece| [&piece.messages, &piece.taps]);
        let stones = tombstones.iter().map(|tombstones| &tombstones.rows);
        let bytes = tables.chain(states).chain(stones).map(Keyspace::disk_space).sum();
        let messages = pieces.iter().map(|piece| piece.messages.approximate_len() as u64).sum();
        (messages, bytes)
    }

    /// The keyspace of a table; `None` for those that lie in pieces.
    fn table(&self, table: Table) -> Option<&Keyspace> {
        match table {
            Table::Messages | Table::Taps | Table::Tombstones => None,
            Table::Channels => Some(&self.channels),
            Table::Numbers => Some(&self.numbers),
            Table::Templates => Some(&self.templates),
            Table::Groups => Some(&self.groups),
            Table::Dead => Some(&self.dead),
        }
    }

    /// The digest of everything in the tables, as [`Digest`] has it.
    pub(crate) fn digest(&self) -> Result<Digest, Error> {
        let (pieces, snapshot) = self.moment();
        let epochs: Vec<i64> = pieces.iter().map(|piece| piece.epoch).collect();
        let mut digester = Digester::new(self.folded(&snapshot)?);
        let latest = self.latest(&snapshot)?;
        for row in self.rows(&snapshot, &epochs, (Table::Messages, &[]))? {
            let (table, key, value) = row?;
            if table == Table::Tombstones {
                break;
            }
            if !matches!(table, Table::Messages | Table::Taps) || is_live(&value, latest)? {
                digester.stored(table, &key, &value)?;
            }
        }
        Ok(digester.finish())
    }
}

/// Whether the state in the value of a message or a tap is still kept at `latest`.
pub(crate) fn is_live(value: &[u8], latest: Time) -> Result<bool, Error> {
    let touched = layout::touched(value);
    let touched = touched.map_err(|error| layout_error(error, Path::new("ledger")))?;
    Ok(Age::of(touched, latest) == Age::Live)
}

/// The rows of a table, or of all tombstones.
enum Rows {
    Of(Table, Merged),
    Tombstones(StoneRows),
}

impl Iterator for Rows {
    type Item = Result<(Table, Slice, Slice), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (table, row) = match self {
            Self::Of(table, rows) => (*table, rows.next()?),
            Self::Tombstones(rows) => (Table::Tombstones, rows.next()?),
        };
        Some(row.map(|(key, value)| (table, key, value)))
    }
}

/// What is sorted goes into files at once, and not through the engine's own journal.
fn fill_one(
    keyspace: &Keyspace,
    rows: impl Iterator<Item = Result<Row, Error>>,
) -> Result<(), Error> {
    let mut filling = keyspace.start_ingestion().map_err(engine_error)?;
    for row in rows {
        let (_, key, value) = row?;
        filling.write(key, value).map_err(engine_error)?;
    }
    filling.finish().map_err(engine_error)
}

/// The rows of several pieces, sorted by key; of several with the same key that of the newest.
pub(crate) struct Merged {
    /// The newest first.
    pieces: Vec<(fjall::Iter, Option<Stored>)>,
    started: bool,
}

impl Merged {
    /// `pieces`, the newest first.
    pub(crate) fn new(pieces: Vec<fjall::Iter>) -> Self {
        let pieces = pieces.into_iter().map(|piece| (piece, None)).collect();
        Self { pieces, started: false }
    }

    fn step(&mut self) -> Result<Option<Stored>, Error> {
        let next = |iter: &mut fjall::Iter| {
            iter.next().map(fjall::Guard::into_inner).transpose().map_err(engine_error)
        };
        if !std::mem::replace(&mut self.started, true) {
            for (iter, head) in &mut self.pieces {
                *head = next(iter)?;
            }
        }
        let heads = self.pieces.iter().filter_map(|(_, head)| head.as_ref());
        // Of equal keys `min_by` takes the first, which is the newest.
        let Some(key) = heads.map(|(key, _)| key).min().cloned() else { return Ok(None) };
        let mut found = None;
        for (iter, head) in &mut self.pieces {
            if let Some(row) = head.take_if(|(other, _)| *other == key) {
                found.get_or_insert(row);
                *head = next(iter)?;
            }
        }
        Ok(found)
    }
}

impl Iterator for Merged {
    type Item = Result<Stored, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if step.as_ref().is_some_and(Result::is_err) {
            self.pieces.clear();
        }
        step
    }
}

/// The tables, which are closed and opened again when the engine has failed.
pub(crate) struct Slot {
    folder: PathBuf,
    memory: Memory,
    tables: RwLock<Option<Tables>>,
}

impl Slot {
    pub(crate) fn new(folder: &Path, memory: &Memory, tables: Tables) -> Self {
        Self { folder: folder.to_owned(), memory: *memory, tables: RwLock::new(Some(tables)) }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Calls `work` with the tables, if they are open. Calls must not be nested.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&Tables) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let guard: RwLockReadGuard<'_, _> =
            self.tables.read().unwrap_or_else(PoisonError::into_inner);
        match guard.as_ref() {
            Some(tables) => work(tables),
            None => Err(Error::Unavailable {
                doing: "reading the ledger while it is opened again",
                source: "its engine failed before".into(),
            }),
        }
    }

    /// Leaves it as an engine that has failed and does not open.
    #[cfg(test)]
    pub(crate) fn shut(&self) {
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Closes the tables and opens them again; an engine that has failed does not go on otherwise.
    /// The position that they stand for.
    pub(crate) fn reopen(&self) -> Result<Position, Error> {
        let mut slot = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        let tables = Tables::open(&self.folder, &self.memory)?;
        let folded = tables.folded(&tables.db.snapshot())?;
        *slot = Some(tables);
        Ok(folded)
    }
}

/// What an error of the running engine means.
pub(crate) fn engine_error(error: fjall::Error) -> Error {
    let doing = "using the ledger's engine";
    if is_damage(&error) {
        let what = format!("the engine cannot read it ({error})");
        return Error::Corrupt { what, place: PathBuf::from("ledger"), remedy: REMEDY };
    }
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            Error::io(doing, error)
        }
        other => Error::Unavailable { doing, source: other.into() },
    }
}

/// Whether it says that a file is not as it was written.
fn is_damage(error: &fjall::Error) -> bool {
    use fjall::LsmError;
    use std::io::ErrorKind::{AlreadyExists, InvalidData, InvalidInput, NotFound, UnexpectedEof};
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
            let kind = error.kind();
            matches!(kind, AlreadyExists | InvalidData | InvalidInput | NotFound | UnexpectedEof)
        }
        fjall::Error::Poisoned | fjall::Error::Locked | fjall::Error::KeyspaceDeleted => false,
        _ => true,
    }
}

fn open_error(error: fjall::Error, folder: &Path) -> Error {
    match error {
        fjall::Error::Locked => Error::Locked { folder: folder.to_owned() },
        error if is_damage(&error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the engine does not open");
            let what = "the engine cannot open it".to_owned();
            Error::Corrupt { what, place: folder.to_owned(), remedy: REMEDY }
        }
        other => engine_error(other),
    }
}

/// What a key or value that is not as it should be means.
pub(crate) fn layout_error(error: LayoutError, folder: &Path) -> Error {
    if let LayoutError::Newer(found) = error {
        let what = format!("a value in `{}`", folder.display());
        let known = layout::VALUE_VERSION.into();
        return Error::NewerVersion { what, found: found.into(), known };
    }
    let what = error.to_string();
    Error::Corrupt { what, place: folder.to_owned(), remedy: REMEDY }
}
