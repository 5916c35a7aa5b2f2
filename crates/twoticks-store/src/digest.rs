//! Rows as 32 bytes, so that two ledgers can be compared without showing what is in them.

use sha2::{Digest as _, Sha256};

use crate::journal::Position;
use crate::layout::CellTable;
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
}

impl Table {
    /// Every table.
    pub(crate) const ALL: [Self; 7] = [
        Self::Messages,
        Self::Taps,
        Self::Channels,
        Self::Numbers,
        Self::Templates,
        Self::Groups,
        Self::Dead,
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

    /// A row: its key and its value, in the newest version.
    pub(crate) fn row(&mut self, table: Table, key: &[u8], value: &[u8]) {
        match table {
            Table::Messages => self.digest.messages += 1,
            Table::Taps => self.digest.taps += 1,
            Table::Channels => self.digest.channels += 1,
            Table::Numbers | Table::Templates => self.digest.cells += 1,
            Table::Groups | Table::Dead => return,
        }
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
