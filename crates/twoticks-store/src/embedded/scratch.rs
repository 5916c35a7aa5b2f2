//! A ledger that is folded from entries for comparing, and thrown away: tables without a journal.

use std::path::Path;

use crate::embedded::fold::Shared;
use crate::embedded::memory::{MEMORY_BYTES, Memory};
use crate::embedded::tables::{Slot, Tables};
use crate::embedded::young::Young;
use crate::entry::Work;
use crate::error::Error;
use crate::facts::Facts;
use crate::ledger::{Batch, Digest, Entry};

/// Tables in a folder of their own.
pub struct Scratch {
    shared: Shared,
    memory: Memory,
    young: Young,
}

impl Scratch {
    /// Makes one in a folder `scratch-ledger` in `folder`, which the caller removes. Blocks.
    ///
    /// # Errors
    /// [`crate::error::Error::Full`], [`crate::error::Error::Unavailable`].
    pub fn create(folder: &Path) -> Result<Self, Error> {
        let memory = Memory::of(MEMORY_BYTES / 2);
        let folder = folder.join("scratch-ledger");
        std::fs::create_dir(&folder).map_err(|error| Error::io("making a folder", error))?;
        let tables = Tables::open(&folder, &memory)?;
        let meta = tables.meta(&folder, None)?;
        let shared = Shared::new(Slot::new(&folder, &memory, tables), meta.folded);
        Ok(Self { shared, memory, young: Young::new(&memory, meta.folded, meta.latest) })
    }

    /// Folds entries, which have to be the next ones in order. Blocks.
    ///
    /// # Errors
    /// As [`Scratch::create`].
    pub fn fold(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        for Entry { position, batch } in entries {
            self.shared.fold(&mut self.young, position, &work(batch))?;
            if self.young.rows() >= self.young.rows_max {
                self.shared.commit_all(&mut self.young)?;
            }
        }
        Ok(())
    }

    /// Puts the state of the snapshot in `path` into it, as long as nothing was folded. Blocks.
    pub(crate) fn fill(&mut self, path: &Path) -> Result<(), Error> {
        let header = self.shared.slot.with(|tables| tables.fill(path))?;
        self.young = Young::new(&self.memory, header.position, header.horizon);
        Ok(())
    }

    /// What is folded into, besides [`Scratch::fold`].
    pub(crate) fn parts(&mut self) -> (&Shared, &mut Young) {
        (&self.shared, &mut self.young)
    }

    /// The digest of what has been folded. Blocks.
    ///
    /// # Errors
    /// As [`Scratch::create`].
    pub fn digest(&mut self) -> Result<Digest, Error> {
        self.shared.commit_all(&mut self.young)?;
        self.shared.slot.with(Tables::digest)
    }
}

fn work(batch: Batch) -> Work {
    let Batch { kind: _, accepted, origin: _, channel, group, events, dead, resolves, body: _ } =
        batch;
    let events = Facts::of(events);
    Work { accepted, channel, group, events, dead: dead.len(), resolves }
}
