//! The old part of the ledger: tables in the embedded engine, changed by whole overlays only.
//!
//! Every commit is one atomic batch that also stores the position it reaches. What is in `meta`:
//! `format` (this layout's version), `rules` (the counting rules that made the totals), `folded`
//! (the position), `latest` (the latest acceptance time up to there), `key` (something sealed, to
//! tell another key file).
//!
//! Messages and taps lie in [`pieces`](crate::embedded::pieces).

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    Readable, Snapshot,
};
#[cfg(test)]
use serde::Serialize;
use twoticks_core::RULES_VERSION;
use twoticks_core::clock::Time;

use crate::day::Day;
use crate::digest::Table;
use crate::embedded::filter::{Filter, Seen};
use crate::embedded::memory::Memory;
use crate::embedded::pieces::{Piece, Pieces};
use crate::embedded::roll::Roll;
use crate::embedded::tombstones::{self, Fingerprint, Tombstones};
use crate::embedded::young::Overlay;
use crate::error::Error;
use crate::journal::Position;
use crate::keys::Keys;
use crate::layout::{self, CellTable, LayoutError};
use crate::threads;

/// The version of the tables' layout.
pub(crate) const FORMAT: u32 = 2;
/// What the engine's own journals may grow to, in bytes, besides the one that is written; they are
/// read at every start.
const ENGINE_JOURNAL_BYTES: u64 = 64 << 20;
/// Threads of the engine. Of two, one does not compact, so that it can flush, and spins while the
/// other compacts.
const ENGINE_THREADS: usize = 1;
/// What is sealed in `meta`, and for which purpose.
const KEY_CHECK: (&str, &[u8]) = ("ledger-key-check", b"twoticks");
/// What a person does about damaged tables.
pub(super) const REMEDY: &str = "stop, remove this folder and start again: it is rebuilt from the \
    newest snapshot and the journal";

/// The tables of an open engine.
pub(crate) struct Tables {
    pub(super) db: Database,
    pub(super) pieces: RwLock<Pieces>,
    /// Held while an overlay is committed.
    pub(super) committing: Mutex<()>,
    pub(super) memory: Memory,
    /// The newest first.
    pub(super) tombstones: RwLock<Arc<[Tombstones]>>,
    pub(crate) channels: Keyspace,
    pub(super) numbers: Keyspace,
    pub(super) templates: Keyspace,
    pub(crate) groups: Keyspace,
    pub(crate) dead: Keyspace,
    pub(super) meta: Keyspace,
    pub(super) folder: PathBuf,
    /// Which tables there are; held while one is made or let go of.
    pub(super) roll: Mutex<Roll>,
    /// Where the tables were when something was dropped from them; see [`Tables::note_dropping`].
    pub(super) dropped: Keyspace,
    /// Tables that are opened again are others: what was read of the old ones goes no further.
    pub(crate) opened: Arc<()>,
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
        let named = Roll::of(folder).read()?.unwrap_or_default();
        let open = || {
            let db = Database::builder(folder)
                .cache_size(memory.blocks)
                .max_journaling_size(ENGINE_JOURNAL_BYTES)
                .worker_threads(ENGINE_THREADS)
                .open()?;
            let is_missing = |name: &&String| !db.keyspace_exists(name);
            if let Some(missing) = named.iter().find(is_missing) {
                return Ok(Err(missing.clone()));
            }
            let keyspace = |name| db.keyspace(name, || gathering(memory.unwritten));
            let (mut pieces, mut tombstones) = (Vec::new(), Vec::new());
            for name in db.list_keyspace_names() {
                let epoch = |prefix| name.strip_prefix(prefix).and_then(|it| it.parse().ok());
                if let Some(id) = Piece::of_messages(&name) {
                    pieces.push(Piece::open(&db, memory.unwritten, id)?);
                }
                if let Some(epoch) = epoch(tombstones::NAME) {
                    tombstones.push(Tombstones::open(&db, epoch, Filter::unknowing(0))?);
                }
            }
            pieces.sort_unstable_by_key(|piece| Reverse(piece.id()));
            // From the oldest on, as they were made.
            for index in (0..pieces.len()).rev() {
                let older = pieces.get(index + 1..).unwrap_or_default();
                let seen = memory.seen_with(older, Seen::unknowing);
                if let Some(piece) = pieces.get_mut(index) {
                    piece.seen = seen;
                }
            }
            tombstones.sort_unstable_by_key(|tombstones| Reverse(tombstones.epoch));
            Ok(Ok(Self {
                pieces: RwLock::new(Arc::new(pieces)),
                folder: folder.to_owned(),
                roll: Mutex::new(Roll::of(folder)),
                committing: Mutex::default(),
                memory: *memory,
                tombstones: RwLock::new(tombstones.into()),
                channels: keyspace("channels")?,
                numbers: keyspace("numbers")?,
                templates: keyspace("templates")?,
                groups: keyspace("groups")?,
                dead: keyspace("dead")?,
                meta: keyspace("meta")?,
                dropped: keyspace("dropped")?,
                opened: Arc::default(),
                db,
            }))
        };
        // The engine's thread stands back as the one does that starts it.
        let opened = std::thread::scope(|scope| {
            let opening = scope.spawn(|| {
                threads::stand_back();
                open()
            });
            opening.join()
        });
        let opened = opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let opened = opened.map_err(|error| open_error(error, folder))?;
        let tables = opened.map_err(|name| Error::Corrupt {
            what: format!("the table `{name}` is missing in it"),
            place: folder.to_owned(),
            remedy: REMEDY,
        })?;
        tables.enrol()?;
        tables.recall();
        Ok(tables)
    }

    /// Notes which tables there are, after one was made.
    pub(super) fn enrol(&self) -> Result<(), Error> {
        let roll = self.roll.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.db.list_keyspace_names();
        roll.write(&names.iter().map(ToString::to_string).collect())
    }

    /// Reads what the tables say about themselves; fresh ones are told who they are.
    pub(crate) fn meta(&self, folder: &Path, keys: Option<&Keys>) -> Result<Meta, Error> {
        let Some(format) = self.read_meta::<u32>("format", folder)? else {
            if !self.is_fresh()? {
                let what = "it does not say what it is, and there is something in it".to_owned();
                return Err(Error::Corrupt { what, place: folder.to_owned(), remedy: REMEDY });
            }
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
        let dropped = self.dropped.get("folded").map_err(engine_error)?;
        let dropped = dropped.map(|value| layout::row::<Position>(&value)).transpose();
        let dropped = dropped.map_err(|error| layout_error(error, folder))?.unwrap_or_default();
        if folded < dropped {
            let what = format!(
                "its engine has lost what it had committed (it is at {folded}, and was at {dropped})"
            );
            return Err(Error::Corrupt { what, place: folder.to_owned(), remedy: REMEDY });
        }
        Ok(Meta { folded, latest, same_rules: rules.as_deref() == Some(RULES_VERSION) })
    }

    /// Whether nothing was ever put into them. An engine whose own journal is gone opens as well,
    /// with what it had in files.
    fn is_fresh(&self) -> Result<bool, Error> {
        let fixed = Table::ALL.into_iter().filter_map(|table| self.table(table));
        let mut is_fresh = self.pieces().is_empty() && self.tombstones().is_empty();
        for rows in fixed.chain([&self.dropped]) {
            is_fresh &= rows.is_empty().map_err(engine_error)?;
        }
        Ok(is_fresh)
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

    /// Puts all rows of `overlay` and its position, at once and durably. Says how many changes
    /// were left out because a sum would have left its range.
    pub(crate) fn commit(&self, overlay: &Overlay, folder: &Path) -> Result<u64, Error> {
        let Overlay { messages, taps, channels, cells, groups, dead, position, latest, .. } =
            overlay;
        let _alone = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
        // What failed after it had been done is done: cells must not change twice.
        if self.folded(&self.db.snapshot())? >= *position {
            return Ok(0);
        }
        let messages = messages.get().expect("what is committed was frozen as a whole").sorted();
        let batch = OwnedWriteBatch::with_capacity(self.db.clone(), messages.len() + taps.len());
        let mut batch = batch.durability(Some(PersistMode::SyncAll));
        let piece = self.newest(*latest, messages.len())?;
        // Before anybody could look for them there.
        let of_messages = messages.iter().map(|(key, _)| Fingerprint::of(Table::Messages, key));
        let of_taps = taps.keys().map(|key| Fingerprint::of(Table::Taps, key));
        let hashes: Vec<u64> = of_messages.chain(of_taps).map(Fingerprint::hash).collect();
        piece.know(&hashes);
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
}

/// How a table is made of which the engine gathers so many bytes before it writes them into a file.
pub(super) fn gathering(unwritten: u64) -> KeyspaceCreateOptions {
    // Half of a row says what the rows around it say.
    let compression = CompressionPolicy::all(CompressionType::Lz4);
    KeyspaceCreateOptions::default()
        .max_memtable_size(unwritten)
        .data_block_compression_policy(compression)
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
