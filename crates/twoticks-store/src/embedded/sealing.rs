//! Sealing the state: a snapshot of now, of which most is in parts that are there already.
//!
//! What always holds: a piece that is noted as sealed does not change any more; a snapshot gets its
//! name when all that belongs to it is whole and on disk, also what was sealed before.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use twoticks_core::RULES_VERSION;

use crate::digest::Table;
use crate::embedded::kept::Kept;
use crate::embedded::opening::mark_damaged;
use crate::embedded::pieces::{Cut, PieceId};
use crate::embedded::tables::{self, Tables};
use crate::error::Error;
use crate::snapshot::folder::{self, Sealed};
use crate::snapshot::reader::Snapshot;
use crate::snapshot::writer::Writer;
use crate::snapshot::{Header, Part};

/// So many bytes of rows are read from the tables at a time.
const PAGE_BYTES: usize = 4 << 20;

/// Which pieces, and the tables that they are of.
type Of<'a> = (&'a [PieceId], &'a Arc<()>);

impl Kept {
    /// Seals what the tables have now, unless there is a snapshot of it already. Blocks, for long
    /// if there is much that is new.
    pub(crate) fn seal(&self) -> Result<Sealed, Error> {
        let _one = self.sealing.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = |position| {
            let path = folder::path(&self.folder, position);
            let opened = Snapshot::open(&path);
            opened.ok().map(|Snapshot { header, .. }| Sealed { path, header })
        };
        if let Some(sealed) = sealed(*self.shared.committed.borrow()) {
            return Ok(sealed);
        }
        let cut = self.shared.slot.with(Tables::cut)?;
        let position = cut.position;
        if let Some(sealed) = sealed(position) {
            return Ok(sealed);
        }
        folder::make(&self.folder)?;
        let made_by = (RULES_VERSION, tables::FORMAT);
        let times = (self.ages.latest(), cut.latest);
        let header = Header::new(position, times, made_by, &self.keys);
        let path = folder::path(&self.folder, position);
        let partial = folder::partial(&self.folder, position);
        if let Err(error) = self.write(cut, &header, &partial) {
            // At once, so that a full disk does not stay full of it.
            drop(std::fs::remove_file(&partial));
            if let Error::Corrupt { .. } = &error {
                // A part that is damaged is written anew, so this is said of the tables.
                mark_damaged(self.shared.slot.folder());
            }
            return Err(error);
        }
        give_name(&partial, &path)?;
        folder::sync(&self.folder)?;
        tracing::info!(snapshot.path = %path.display(), "the state at {position} is sealed");
        Ok(Sealed { path, header })
    }

    /// Writes what is in `cut` into `partial` and into parts: first what changes, because of what is
    /// written while somebody holds a snapshot of the engine it keeps all in memory.
    fn write(&self, cut: Cut, header: &Header, partial: &Path) -> Result<(), Error> {
        let Cut { pieces, snapshot, opened, .. } = cut;
        let of: Of<'_> = (&pieces, &opened);
        let mut writer = Writer::create(partial, header)?;
        self.pages(of, (Table::Channels, Table::Dead), Some(&snapshot), &mut writer)?;
        drop(snapshot);
        // Nothing expires as long as the cut is held.
        self.pages(of, (Table::Tombstones, Table::Tombstones), None, &mut writer)?;
        let parts = pieces.iter().map(|piece| self.part(*piece, &opened, header));
        writer.finish(parts.collect::<Result<_, _>>()?).map(drop)
    }

    /// The part that has `piece`, in which nothing changes any more: the one that is there, if it
    /// is whole, or one that is written now.
    fn part(&self, piece: PieceId, opened: &Arc<()>, header: &Header) -> Result<Part, Error> {
        if let Some(part) = self.shared.slot.with(|tables| tables.sealed_as(piece))? {
            let path = folder::part(&self.folder, &part);
            if path.exists() {
                let trailer = Snapshot::compare(&path, &mut || self.go_on());
                match trailer.and_then(|trailer| folder::is_named(&path, &part, &trailer)) {
                    Ok(()) => return Ok(part),
                    Err(error @ Error::Corrupt { .. }) => tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a part of a snapshot is damaged and is written anew"
                    ),
                    Err(error) => return Err(error),
                }
            }
        }
        let partial = folder::partial_part(&self.folder);
        let written = self.write_part(piece, opened, (header, &partial));
        if written.is_err() {
            drop(std::fs::remove_file(&partial));
        }
        let part = written?;
        give_name(&partial, &folder::part(&self.folder, &part))?;
        folder::sync(&self.folder)?;
        self.shared.slot.with(|tables| {
            is_same(tables, opened)?;
            tables.note_sealed(&part)
        })?;
        Ok(part)
    }

    fn write_part(
        &self,
        piece: PieceId,
        opened: &Arc<()>,
        (header, partial): (&Header, &Path),
    ) -> Result<Part, Error> {
        let mut writer = Writer::create(partial, header)?;
        let states = (Table::Messages, Table::Taps);
        self.pages((&[piece], opened), states, None, &mut writer)?;
        Ok(Part { piece, sha256: writer.finish(Vec::new())?.sha256 })
    }

    /// Writes the rows of the tables from `first` to `last`, as of `snapshot`, or as they are where
    /// they do not change. Between two pages nothing is locked, so that an engine that has to be
    /// opened again does not wait.
    fn pages(
        &self,
        (pieces, opened): Of<'_>,
        (first, last): (Table, Table),
        snapshot: Option<&fjall::Snapshot>,
        writer: &mut Writer,
    ) -> Result<(), Error> {
        let mut next = Some((first, Vec::new()));
        while let Some((table, key)) = next.take() {
            self.go_on()?;
            next = self.shared.slot.with(|tables| {
                is_same(tables, opened)?;
                let now = tables.db.snapshot();
                let mut bytes = 0;
                for row in tables.rows(snapshot.unwrap_or(&now), pieces, (table, &key))? {
                    let (table, key, value) = row?;
                    if table > last {
                        break;
                    }
                    if bytes >= PAGE_BYTES {
                        return Ok(Some((table, key.to_vec())));
                    }
                    bytes += key.len() + value.len();
                    writer.row(table, &key, &value)?;
                }
                Ok(None)
            })?;
        }
        Ok(())
    }
}

fn is_same(tables: &Tables, opened: &Arc<()>) -> Result<(), Error> {
    if Arc::ptr_eq(&tables.opened, opened) {
        return Ok(());
    }
    Err(Error::Unavailable {
        doing: "sealing the state of the ledger",
        source: "its engine was opened again meanwhile".into(),
    })
}

fn give_name(partial: &Path, path: &Path) -> Result<(), Error> {
    let renamed = std::fs::rename(partial, path);
    renamed.map_err(|error| Error::io("giving a snapshot its name", error))
}
