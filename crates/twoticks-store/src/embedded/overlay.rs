//! The young part of the ledger, in memory: rows that changed and are not in the tables yet.
//!
//! Three generations lie over the tables, the youngest first: what one step of the fold is
//! changing ([`crate::embedded::rows::Working`]), what has been folded since the last commit
//! ([`State::active`]), and what is being committed just now ([`State::frozen`]). Rows are whole,
//! not changes: what is found first is what holds, and committing twice changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use twoticks_core::channel::Channel;
use twoticks_core::fold::Touched;
use twoticks_core::message::Message;
use twoticks_core::tap::Tap;
use twoticks_core::totals::Totals;

use crate::journal::Position;
use crate::layout::CellTable;

/// Rows by key, as `layout` has it.
pub(crate) type Map<V> = BTreeMap<Vec<u8>, V>;

/// As [`Map`], for the tables that are found by whole keys, once or more for each event.
pub(crate) type Hashed<V> = HashMap<Vec<u8>, V>;

/// Rows that changed.
#[derive(Default)]
pub(crate) struct Overlay {
    pub(crate) messages: Hashed<Touched<Message>>,
    pub(crate) taps: Hashed<Touched<Tap>>,
    pub(crate) channels: Map<Arc<Channel>>,
    /// Cells; those that are zero are to be removed.
    pub(crate) numbers: Map<Totals>,
    pub(crate) templates: Map<Totals>,
    pub(crate) groups: Map<()>,
    /// Dead letters: `true` to be put, `false` to be removed.
    pub(crate) dead: Map<bool>,
    /// The position that the rows stand for; 0 while there are none.
    pub(crate) position: Position,
}

impl Overlay {
    pub(crate) fn cells(&self, table: CellTable) -> &Map<Totals> {
        match table {
            CellTable::Numbers => &self.numbers,
            CellTable::Templates => &self.templates,
        }
    }

    pub(crate) fn cells_mut(&mut self, table: CellTable) -> &mut Map<Totals> {
        match table {
            CellTable::Numbers => &mut self.numbers,
            CellTable::Templates => &mut self.templates,
        }
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> usize {
        let Self { messages, taps, channels, numbers, templates, groups, dead, position: _ } = self;
        messages.len()
            + taps.len()
            + channels.len()
            + numbers.len()
            + templates.len()
            + groups.len()
            + dead.len()
    }

    /// Takes over what is younger.
    pub(crate) fn extend(&mut self, younger: Self) {
        let Self { messages, taps, channels, numbers, templates, groups, dead, position } = younger;
        self.messages.extend(messages);
        self.taps.extend(taps);
        self.channels.extend(channels);
        self.numbers.extend(numbers);
        self.templates.extend(templates);
        self.groups.extend(groups);
        self.dead.extend(dead);
        self.position = position;
    }
}

/// The two older generations.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) active: Overlay,
    pub(crate) frozen: Option<Arc<Overlay>>,
}

impl State {
    /// The generations, the youngest first.
    pub(crate) fn generations(&self) -> impl DoubleEndedIterator<Item = &Overlay> {
        std::iter::once(&self.active).chain(self.frozen.as_deref())
    }
}

/// The rows of a map from `from` on, as long as their keys begin with `prefix`.
pub(crate) fn prefixed<'a, V>(
    map: &'a Map<V>,
    prefix: &'a [u8],
    from: &[u8],
) -> impl Iterator<Item = (&'a Vec<u8>, &'a V)> {
    map.range::<[u8], _>((Bound::Included(from.max(prefix)), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}
