//! The old part of the ledger: tables in the embedded engine, changed by whole overlays only.
//!
//! Every commit is one atomic batch that also stores the position it reaches. What is in `meta`:
//! `format` (this layout's version), `rules` (the counting rules that made the totals), `folded`
//! (the position), `key` (something sealed, to tell another key file).

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable};
use serde::Serialize;
use twoticks_core::RULES_VERSION;

use crate::digest::{Digester, Table};
use crate::embedded::overlay::{Hashed, Overlay};
use crate::error::Error;
use crate::journal::Position;
use crate::keys::Keys;
use crate::layout::{self, CellTable, LayoutError};
use crate::ledger::Digest;
use crate::snapshot::Row;

/// The version of the tables' layout.
pub(crate) const FORMAT: u32 = 1;
/// Memory for blocks of the tables, in bytes.
const CACHE_BYTES: u64 = 64 << 20;
/// What the engine's own journals may grow to, in bytes.
const ENGINE_JOURNAL_BYTES: u64 = 256 << 20;
/// Threads of the engine: one flushes while the other compacts.
const ENGINE_THREADS: usize = 2;
/// What is sealed in `meta`, and for which purpose.
const KEY_CHECK: (&str, &[u8]) = ("ledger-key-check", b"twoticks");
/// What a person does about damaged tables.
pub(super) const REMEDY: &str = "stop, remove this folder and start again: it is rebuilt from the newest \
    snapshot and the journal";

/// The tables of an open engine.
pub(crate) struct Tables {
    db: Database,
    pub(crate) messages: Keyspace,
    pub(crate) taps: Keyspace,
    pub(crate) channels: Keyspace,
    numbers: Keyspace,
    templates: Keyspace,
    pub(crate) groups: Keyspace,
    pub(crate) dead: Keyspace,
    meta: Keyspace,
    /// Tables that are opened again are others: what was read of the old ones goes no further.
    pub(crate) opened: Arc<()>,
}

/// What the tables say about themselves.
pub(crate) struct Meta {
    /// The position that the rows stand for.
    pub(crate) folded: Position,
    /// Whether the counting rules of this program made them.
    pub(crate) same_rules: bool,
}

impl Tables {
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
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
                .cache_size(CACHE_BYTES)
                .max_journaling_size(ENGINE_JOURNAL_BYTES)
                .worker_threads(ENGINE_THREADS)
                .open()?;
            let keyspace = |name| db.keyspace(name, KeyspaceCreateOptions::default);
            Ok(Self {
                messages: keyspace("messages")?,
                taps: keyspace("taps")?,
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
            return Ok(Meta { folded: 0, same_rules: true });
        };
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
        Ok(Meta { folded, same_rules: rules.as_deref() == Some(RULES_VERSION) })
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

    pub(crate) fn snapshot(&self) -> fjall::Snapshot {
        self.db.snapshot()
    }

    /// The position that the rows in `snapshot` stand for.
    pub(crate) fn folded(&self, snapshot: &fjall::Snapshot) -> Result<Position, Error> {
        let value = snapshot.get(&self.meta, "folded").map_err(engine_error)?;
        match value.map(|value| layout::row(&value)) {
            Some(Ok(folded)) => Ok(folded),
            Some(Err(error)) => Err(layout_error(error, Path::new("meta"))),
            None => Ok(0),
        }
    }

    pub(crate) fn cells(&self, table: CellTable) -> &Keyspace {
        match table {
            CellTable::Numbers => &self.numbers,
            CellTable::Templates => &self.templates,
        }
    }

    /// Puts all rows of `overlay` and its position, at once and durably.
    pub(crate) fn commit(&self, overlay: &Overlay) -> Result<(), Error> {
        let Overlay { messages, taps, channels, numbers, templates, groups, dead, position } =
            overlay;
        let batch = OwnedWriteBatch::with_capacity(self.db.clone(), overlay.rows() + 1);
        let mut batch = batch.durability(Some(PersistMode::SyncAll));
        put_all(&mut batch, &self.messages, messages);
        put_all(&mut batch, &self.taps, taps);
        for (key, row) in channels {
            batch.insert(&self.channels, key.as_slice(), layout::value(row.as_ref()));
        }
        for (keyspace, cells) in [(&self.numbers, numbers), (&self.templates, templates)] {
            for (key, totals) in cells {
                if totals.is_zero() {
                    batch.remove(keyspace, key.as_slice());
                } else {
                    batch.insert(keyspace, key.as_slice(), layout::value(totals));
                }
            }
        }
        for key in groups.keys() {
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
        batch.commit().map_err(engine_error)
    }

    /// The state in `snapshot` in the order of tables and keys, from the row at `from` on.
    pub(crate) fn rows(
        &self,
        snapshot: &fjall::Snapshot,
        from: (Table, &[u8]),
    ) -> impl Iterator<Item = Result<(Table, fjall::Slice, fjall::Slice), Error>> {
        let tables = Table::ALL.into_iter().filter(move |table| *table >= from.0);
        tables.flat_map(move |table| {
            let start = if table == from.0 { from.1 } else { &[] };
            snapshot.range(self.table(table), start..).map(move |guard| {
                let (key, value) = guard.into_inner().map_err(engine_error)?;
                Ok((table, key, value))
            })
        })
    }

    /// Puts the state that `rows` are, in the order of tables and keys, into tables that have
    /// none. The position is written last, so that what is torn stands for nothing.
    pub(crate) fn fill(
        &self,
        rows: impl Iterator<Item = Result<Row, Error>>,
        position: Position,
    ) -> Result<(), Error> {
        let mut rows = rows.peekable();
        for table in Table::ALL {
            if !matches!(rows.peek(), Some(Ok((next, ..))) if *next == table) {
                continue;
            }
            // What is sorted goes into files at once, and not through the engine's own journal.
            let mut filling = self.table(table).start_ingestion().map_err(engine_error)?;
            let is_of_table = |row: &Result<Row, _>| row.as_ref().is_ok_and(|row| row.0 == table);
            while let Some(row) = rows.next_if(is_of_table) {
                let (_, key, value) = row?;
                filling.write(key, value).map_err(engine_error)?;
            }
            filling.finish().map_err(engine_error)?;
        }
        rows.next().transpose()?;
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, "folded", layout::value(&position));
        batch.commit().map_err(engine_error)
    }

    /// About how many messages are kept, and how many bytes all tables have on disk.
    pub(crate) fn sizes(&self) -> (u64, u64) {
        let bytes = Table::ALL.into_iter().map(|table| self.table(table).disk_space()).sum();
        (self.messages.approximate_len() as u64, bytes)
    }

    fn table(&self, table: Table) -> &Keyspace {
        match table {
            Table::Messages => &self.messages,
            Table::Taps => &self.taps,
            Table::Channels => &self.channels,
            Table::Numbers => &self.numbers,
            Table::Templates => &self.templates,
            Table::Groups => &self.groups,
            Table::Dead => &self.dead,
        }
    }

    /// The digest of everything in the tables.
    pub(crate) fn digest(&self) -> Result<Digest, Error> {
        let snapshot = self.db.snapshot();
        let mut digester = Digester::new(self.folded(&snapshot)?);
        for (table, keyspace) in [
            (Table::Messages, &self.messages),
            (Table::Taps, &self.taps),
            (Table::Channels, &self.channels),
            (Table::Numbers, &self.numbers),
            (Table::Templates, &self.templates),
        ] {
            for guard in snapshot.iter(keyspace) {
                let (key, value) = guard.into_inner().map_err(engine_error)?;
                // There is one version of values so far: what is stored is in the newest one.
                digester.row(table, &key, &value);
            }
        }
        Ok(digester.finish())
    }
}

/// Puts the rows in the order of their keys, which is what the engine likes best.
fn put_all<T: Serialize>(batch: &mut OwnedWriteBatch, keyspace: &Keyspace, rows: &Hashed<T>) {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    for (key, row) in rows {
        batch.insert(keyspace, key.as_slice(), layout::value(row));
    }
}

/// The tables, which are closed and opened again when the engine has failed.
pub(crate) struct Slot {
    folder: PathBuf,
    tables: RwLock<Option<Tables>>,
}

impl Slot {
    pub(crate) fn new(folder: &Path, tables: Tables) -> Self {
        Self { folder: folder.to_owned(), tables: RwLock::new(Some(tables)) }
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
        let tables = Tables::open(&self.folder)?;
        let folded = tables.folded(&tables.snapshot())?;
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
