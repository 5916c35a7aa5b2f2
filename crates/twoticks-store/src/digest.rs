//! Rows as 32 bytes, so that two ledgers can be compared without showing what is in them.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::day::Day;
use crate::embedded::layout_error;
use crate::error::Error;
use crate::journal::Position;
use crate::layout::{self, CellTable};
use crate::ledger::Digest;

/// The tables of the state, in the order in which they are digested. The codes are stored in
/// snapshots and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Table {
    Messages = 1,
    Taps = 2,
    Channels = 3,
    Numbers = 4,
    Templates = 5,
    /// Not digested: where entries are, not what they count.
    Groups = 6,
    /// Not digested, for the same reason.
    Dead = 7,
    /// Not digested: which of them there are yet is a matter of when it was tidied up.
    Tombstones = 8,
}

impl Table {
    /// Every table.
    pub(crate) const ALL: [Self; 8] = [
        Self::Messages,
        Self::Taps,
        Self::Channels,
        Self::Numbers,
        Self::Templates,
        Self::Groups,
        Self::Dead,
        Self::Tombstones,
    ];

    /// Where it is in [`Table::ALL`].
    pub(crate) fn index(self) -> usize {
        usize::from(self as u8) - 1
    }
}

/// Takes rows in, table by table, each sorted by key.
pub(crate) struct Digester {
    hash: Sha256,
    digest: Digest,
}

impl Digester {
    pub(crate) fn new(position: Position) -> Self {
        let digest =
            Digest { position, sha256: [0; 32], messages: 0, taps: 0, channels: 0, cells: 0 };
        Self { hash: Sha256::new(), digest }
    }

    /// A row of the tables: its key and its value, as they are stored.
    pub(crate) fn stored(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let cells = match table {
            Table::Numbers => CellTable::Numbers,
            Table::Templates => CellTable::Templates,
            _ => {
                // There is one version of values so far: what is stored is in the newest one.
                self.row(table, key, value);
                return Ok(());
            }
        };
        let damaged = |error| layout_error(error, Path::new("ledger"));
        let (subject, day) = layout::read_day(key).map_err(damaged)?;
        let row = layout::versioned(value).and_then(Day::decode).map_err(damaged)?;
        for (place, totals) in row.cells() {
            let key = layout::cell_key(cells, subject, place.atom(day), place);
            self.row(table, &key, &layout::value(&totals));
        }
        Ok(())
    }

    /// A row: its key and its value, in the newest version, a cell by itself. When a message or a
    /// tap was touched last is left out: it depends on the order in which facts were told, and
    /// nothing that counts does.
    pub(crate) fn row(&mut self, table: Table, key: &[u8], value: &[u8]) {
        match table {
            Table::Messages => self.digest.messages += 1,
            Table::Taps => self.digest.taps += 1,
            Table::Channels => self.digest.channels += 1,
            Table::Numbers | Table::Templates => self.digest.cells += 1,
            Table::Groups | Table::Dead | Table::Tombstones => return,
        }
        let value = match table {
            Table::Messages | Table::Taps => layout::untouched(value),
            _ => value,
        };
        self.bytes(table, key, value);
    }

    /// A row as it is, whatever it stands for.
    pub(crate) fn bytes(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.hash.update([table as u8]);
        for part in [key, value] {
            self.hash.update((part.len() as u64).to_be_bytes());
            self.hash.update(part);
        }
    }

    pub(crate) fn finish(self) -> Digest {
        Digest { sha256: self.hash.finalize().into(), ..self.digest }
    }
}

impl From<CellTable> for Table {
    fn from(table: CellTable) -> Self {
        match table {
            CellTable::Numbers => Self::Numbers,
            CellTable::Templates => Self::Templates,
        }
    }
}
