//! The whole state, a row at a time: read for a snapshot, filled from one, digested.

use std::collections::BTreeMap;
use std::path::Path;

use fjall::{Keyspace, PersistMode, Readable as _, Slice, Snapshot};
use twoticks_core::clock::Time;
use twoticks_core::message::Age;

use crate::digest::{Digester, Table};
use crate::embedded::filter::{Filter, parts, parts_for};
use crate::embedded::pieces::{Merged, PIECE, Piece, PieceId};
use crate::embedded::tables::{Tables, engine_error, layout_error};
use crate::embedded::tombstones::{Fingerprint, StoneRows};
use crate::error::Error;
use crate::journal::Position;
use crate::layout;
use crate::ledger::Digest;
use crate::snapshot::{Header, Part, Row, folder, reader};

/// How many bytes of messages are gathered before they are put into a fresh piece.
const FILL_BYTES: usize = 64 << 20;

/// Keys and values that are to be put into the piece of an epoch.
type Waiting = BTreeMap<i64, Vec<(Vec<u8>, Vec<u8>)>>;

impl Tables {
    /// The state in `snapshot` and `pieces` in the order of tables and keys, from the row at `from`
    /// on. [`Error::Unavailable`] if a piece has gone.
    pub(crate) fn rows(
        &self,
        snapshot: &Snapshot,
        pieces: &[PieceId],
        (first, from): (Table, &[u8]),
    ) -> Result<impl Iterator<Item = Result<(Table, Slice, Slice), Error>>, Error> {
        let all = self.pieces();
        let mut kept = Vec::with_capacity(pieces.len());
        for id in pieces {
            let piece = all.iter().find(|piece| piece.id() == *id).cloned();
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

    /// Puts the state of the snapshot in `path` into tables that have none. The position is written
    /// last, so that what is torn stands for nothing.
    pub(crate) fn fill(&self, path: &Path) -> Result<Header, Error> {
        let mut rows = reader::Snapshot::open(path)?;
        let header = rows.header.clone();
        self.fill_rows(&mut rows)?;
        let parts = rows.trailer().map(|trailer| trailer.parts).unwrap_or_default();
        for part in &parts {
            let path = folder::part_beside(path, part);
            if !path.exists() {
                let what = "it is missing, and a snapshot needs it".to_owned();
                let remedy = "restore it from a backup";
                return Err(Error::Corrupt { what, place: path, remedy });
            }
            let mut rows = reader::Snapshot::open(&path)?;
            self.fill_part(part, &mut rows)?;
            if let Some(trailer) = rows.trailer() {
                folder::is_named(&path, part, &trailer)?;
            }
        }
        self.stand_for(&header)?;
        Ok(header)
    }

    /// Makes them the state of `header`, which they have all rows of.
    pub(super) fn stand_for(&self, header: &Header) -> Result<(), Error> {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, "folded", layout::value(&header.position));
        batch.insert(&self.meta, "latest", layout::value(&header.horizon));
        batch.commit().map_err(engine_error)
    }

    /// Puts rows, in the order of tables and keys, into tables that have none.
    pub(super) fn fill_rows(
        &self,
        rows: &mut dyn Iterator<Item = Result<Row, Error>>,
    ) -> Result<(), Error> {
        by_table(rows, |table, rows| match self.table(table) {
            Some(keyspace) => fill_one(keyspace, rows),
            None if table == Table::Tombstones => self.fill_tombstones(rows),
            None => self.fill_pieces(table, rows),
        })
    }

    /// Puts the rows of `part` into its piece.
    fn fill_part(
        &self,
        part: &Part,
        rows: &mut dyn Iterator<Item = Result<Row, Error>>,
    ) -> Result<(), Error> {
        let piece = self.piece(part.piece)?;
        let mut hashes = Vec::new();
        by_table(rows, |table, rows| {
            let keyspace = if table == Table::Messages { &piece.messages } else { &piece.taps };
            let known = rows.inspect(|row| {
                let Ok((_, key, _)) = row else { return };
                hashes.push(Fingerprint::of(table, key).hash());
                // Of a large piece, as there were once, there is no memory for all at a time.
                if hashes.len() > self.memory.filling {
                    piece.know(&std::mem::take(&mut hashes));
                }
            });
            fill_one(keyspace, known)
        })?;
        if piece.filter.bytes() == 0 {
            // Nothing is put into it any more.
            piece.seen.insert(hashes.iter().copied());
            let count = parts_for(hashes.len());
            self.know(part.piece, Filter::closed(parts(hashes, count).collect()));
        } else {
            piece.know(&hashes);
        }
        self.note_sealed(part)
    }

    /// Puts messages or taps each into the piece of when they were touched last.
    pub(super) fn fill_pieces(
        &self,
        table: Table,
        rows: &mut dyn Iterator<Item = Result<Row, Error>>,
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

    pub(super) fn fill_now(&self, table: Table, waiting: &mut Waiting) -> Result<(), Error> {
        for (epoch, rows) in std::mem::take(waiting) {
            let piece = self.piece((epoch, 0))?;
            let fingerprints = rows.iter().map(|(key, _)| Fingerprint::of(table, key));
            piece.know(&fingerprints.map(Fingerprint::hash).collect::<Vec<_>>());
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
    pub(super) fn fill_tombstones(
        &self,
        rows: &mut dyn Iterator<Item = Result<Row, Error>>,
    ) -> Result<(), Error> {
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
    pub(super) fn table(&self, table: Table) -> Option<&Keyspace> {
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
        self.digest_telling(|_| ())
    }

    /// As [`Tables::digest`]; `told` hears of the position as soon as it stands.
    pub(crate) fn digest_telling(&self, told: impl FnOnce(Position)) -> Result<Digest, Error> {
        let (pieces, snapshot, _held) = self.hold();
        let ids: Vec<PieceId> = pieces.iter().map(Piece::id).collect();
        let position = self.folded(&snapshot)?;
        told(position);
        let mut digester = Digester::new(position);
        let latest = self.latest(&snapshot)?;
        for row in self.rows(&snapshot, &ids, (Table::Messages, &[]))? {
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

/// Has `fill` take the rows of each table in turn.
fn by_table(
    rows: &mut dyn Iterator<Item = Result<Row, Error>>,
    mut fill: impl FnMut(Table, &mut dyn Iterator<Item = Result<Row, Error>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut rows = rows.peekable();
    while let Some(Ok((table, ..))) = rows.peek() {
        let table = *table;
        let is_of_table = |row: &Result<Row, _>| row.as_ref().is_ok_and(|row| row.0 == table);
        fill(table, &mut std::iter::from_fn(|| rows.next_if(is_of_table)))?;
    }
    rows.next().transpose().map(drop)
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
