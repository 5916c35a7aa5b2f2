//! A ledger that is folded from entries for comparing, and thrown away: tables without a journal.

use std::path::Path;

use crate::embedded::fold::{OVERLAY_ROWS_MAX, Shared};
use crate::embedded::rows::ChannelCache;
use crate::embedded::tables::{Slot, Tables};
use crate::entry::Work;
use crate::error::Error;
use crate::ledger::{Batch, Digest, Entry};
use crate::snapshot::reader::Snapshot;

/// Tables in a folder of their own.
pub struct Scratch {
    shared: Shared,
    channels: ChannelCache,
}

impl Scratch {
    /// Makes one in a folder `scratch-ledger` in `folder`, which the caller removes. Blocks.
    ///
    /// # Errors
    /// [`crate::error::Error::Full`], [`crate::error::Error::Unavailable`].
    pub fn create(folder: &Path) -> Result<Self, Error> {
        let folder = folder.join("scratch-ledger");
        std::fs::create_dir(&folder).map_err(|error| Error::io("making a folder", error))?;
        let tables = Tables::open(&folder)?;
        let meta = tables.meta(&folder, None)?;
        let shared = Shared::new(Slot::new(&folder, tables), meta.folded);
        Ok(Self { shared, channels: ChannelCache::new() })
    }

    /// Folds entries, which have to be the next ones in order. Blocks.
    ///
    /// # Errors
    /// As [`Scratch::create`].
    pub fn fold(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let step: Vec<_> = entries
            .into_iter()
            .map(|Entry { position, batch }| (position, Box::new(work(batch))))
            .collect();
        if step.is_empty() {
            return Ok(());
        }
        self.shared.fold(&mut self.channels, &step)?;
        if self.shared.active_rows() >= OVERLAY_ROWS_MAX {
            self.commit()?;
        }
        Ok(())
    }

    /// Puts the state of the snapshot in `path` into it, as long as nothing was folded. Blocks.
    pub(crate) fn fill(&mut self, path: &Path) -> Result<(), Error> {
        let rows = Snapshot::open(path)?;
        let position = rows.header.position;
        self.shared.slot.with(|tables| tables.fill(rows, position))
    }

    /// What is folded into, besides [`Scratch::fold`].
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The digest of what has been folded. Blocks.
    ///
    /// # Errors
    /// As [`Scratch::create`].
    pub fn digest(&mut self) -> Result<Digest, Error> {
        self.commit()?;
        self.shared.slot.with(Tables::digest)
    }

    fn commit(&self) -> Result<(), Error> {
        self.shared.freeze().map_or(Ok(()), |frozen| self.shared.commit(&frozen))
    }
}

fn work(batch: Batch) -> Work {
    let Batch { kind: _, accepted, origin: _, channel, group, events, dead, resolves, body: _ } =
        batch;
    Work { accepted, channel, group, events, dead: dead.len(), resolves }
}
