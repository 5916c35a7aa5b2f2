//! Answers from what is young and the tables together, as of one moment.
//!
//! What is young is asked of the fold, which copies what matters and takes the snapshot of the
//! tables that belongs to it; the tables are read by whoever asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fjall::{Keyspace, Readable, Snapshot};
use twoticks_core::ids::ChannelId;
use twoticks_core::query::{self, Overflow, Point, Query, Select, Series};
use twoticks_core::totals::{Atom, Cell, Totals};
use twoticks_core::window::Window;

use crate::day::{self, Adder, Names};
use crate::embedded::fold::Shared;
use crate::embedded::tables::{Tables, engine_error, layout_error};
use crate::embedded::young::{Overlay, Young};
use crate::error::Error;
use crate::journal::Position;
use crate::layout::{self, CellTable, LayoutError, Subject};

/// What is young of the cells that a query asks for, and the tables of the same moment.
pub(crate) struct Moment {
    cells: Vec<(Cell, Totals)>,
    /// To be counted as well, unless the snapshot has it already.
    frozen: Option<Arc<Overlay>>,
    snapshot: Snapshot,
}

/// What the keys of all cells that matter begin with.
fn prefix(query: &Query) -> (CellTable, Vec<u8>) {
    let channel = &query.channel;
    match &query.select {
        Select::Numbers { number: Some(number), .. } => {
            (CellTable::Numbers, layout::number(channel, number))
        }
        Select::Numbers { number: None, .. } => (CellTable::Numbers, layout::channel(channel)),
        Select::Templates { code: Some(code), language, .. } => {
            (CellTable::Templates, layout::template(channel, code, language.as_ref()))
        }
        Select::Templates { code: None, .. } => (CellTable::Templates, layout::channel(channel)),
    }
}

impl Moment {
    /// Now. Called by the fold, so it does as little as it can.
    pub(crate) fn of(young: &Young, tables: &Tables, query: &Query, span: Window) -> Self {
        let (table, prefix) = prefix(query);
        let cells = changed(&young.active, table, &prefix, span);
        Self { cells, frozen: young.frozen.clone(), snapshot: tables.db.snapshot() }
    }
}

/// What `overlay` changes of the cells below `prefix`.
fn changed(
    overlay: &Overlay,
    table: CellTable,
    prefix: &[u8],
    span: Window,
) -> Vec<(Cell, Totals)> {
    let mut cells = Vec::new();
    for (subject, changes) in overlay.cells.below(table, prefix) {
        // The fold has made the key from what it names.
        let Ok(named) = Subject::read(table, &subject.key) else { continue };
        for (atom, side, what, totals) in changes.between(span.from, span.to) {
            let cell = named.cell(atom, side, what, subject.campaign.clone());
            cells.extend(cell.ok().map(|cell| (cell, totals)));
        }
    }
    cells
}

/// The sums that `query` asks for, as of `moment`; if there is none, as the tables have them now.
pub(crate) fn series(
    shared: &Shared,
    query: &Query,
    span: Window,
    moment: Option<Moment>,
) -> Result<Vec<Point>, Error> {
    let (table, prefix) = prefix(query);
    let mut series = Series::new(query);
    let overflow = || Error::Unavailable { doing: "adding up", source: Overflow.into() };
    shared.slot.with(|tables| {
        let now = || Moment { cells: Vec::new(), frozen: None, snapshot: tables.db.snapshot() };
        let Moment { cells, frozen, snapshot } = &moment.unwrap_or_else(now);
        for (cell, totals) in cells {
            series.add(cell, totals).map_err(|_| overflow())?;
        }
        let folded = tables.folded(snapshot)?;
        if let Some(frozen) = frozen.as_ref().filter(|frozen| frozen.position > folded) {
            for (cell, totals) in changed(frozen, table, &prefix, span) {
                series.add(&cell, &totals).map_err(|_| overflow())?;
            }
        }
        let damaged = |error| layout_error(error, shared.slot.folder());
        let rows = tables.cells(table);
        for key in subjects(snapshot, rows, (query, &prefix))? {
            let mut sums = Sums::of(query, Subject::read(table, &key).map_err(damaged)?);
            let (from, to) = (day::of(span.from), day::of(span.to));
            let range = layout::day(&key, from)..=layout::day(&key, to);
            for guard in snapshot.range(rows, range) {
                let (key, value) = guard.into_inner().map_err(engine_error)?;
                let (_, day) = layout::read_day(&key).map_err(damaged)?;
                let row = layout::versioned(&value).map_err(damaged)?;
                if !sums.add(&mut series, day, row).map_err(damaged)? {
                    return Err(overflow());
                }
            }
            sums.flush(&mut series).map_err(|_| overflow())?;
        }
        Ok(())
    })?;
    Ok(series.finish())
}

/// What a query sums up of the rows of one subject, which come in their order.
struct Sums<'a> {
    query: &'a Query,
    of: Subject,
    /// Whether cells with this side and what are asked for; most rows have one or two kinds.
    kinds: Vec<((u8, u8), bool)>,
    /// Whose points those are that are asked for.
    subject: Option<query::Subject>,
    names: Names,
    /// What belongs to the window of `at`, which is there with its index.
    adder: Adder,
    at: Option<(usize, Window)>,
}

impl<'a> Sums<'a> {
    fn of(query: &'a Query, of: Subject) -> Self {
        Self {
            query,
            of,
            kinds: Vec::new(),
            subject: None,
            adder: Adder::of(&Names::default()),
            names: Names::default(),
            at: None,
        }
    }

    /// Adds the cells of a row; `false` if a sum leaves its range.
    fn add(&mut self, series: &mut Series<'_>, day: i32, row: &[u8]) -> Result<bool, LayoutError> {
        if !self.names.are_of(row) {
            if self.flush(series).is_err() {
                return Ok(false);
            }
            self.names = Names::of(row)?;
            self.adder = Adder::of(&self.names);
        }
        let mut cells = self.names.cells(row)?;
        while let Some(day::Cell { quarter, side, what, .. }) = cells.next()? {
            let atom = day::atom(day, quarter);
            if !self.is_asked_for(atom, (side, what))? {
                cells.skip()?;
                continue;
            }
            if !self.at.is_some_and(|(_, window)| window.from <= atom && atom < window.to) {
                if self.flush(series).is_err() {
                    return Ok(false);
                }
                let index = self.query.window(atom);
                self.at = index.zip(index.and_then(|index| self.query.windows.get(index).copied()));
            }
            if self.at.is_none() {
                cells.skip()?;
            } else if !cells.add_to(&mut self.adder)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_asked_for(&mut self, atom: Atom, kind: (u8, u8)) -> Result<bool, LayoutError> {
        if let Some((_, is_asked_for)) = self.kinds.iter().find(|(known, _)| *known == kind) {
            return Ok(*is_asked_for);
        }
        let (side, what) = kind;
        let subject = self.query.subject(&self.of.cell(atom, side, what, None)?);
        let is_asked_for = subject.is_some();
        self.kinds.push((kind, is_asked_for));
        self.subject = self.subject.take().or(subject);
        Ok(is_asked_for)
    }

    /// Gives what has been added to `series`.
    fn flush(&mut self, series: &mut Series<'_>) -> Result<(), Overflow> {
        match self.at.take().zip(self.subject.clone()) {
            Some(((window, _), subject)) => {
                series.add_to(window, subject, self.adder.take(&self.names))
            }
            None => Ok(()),
        }
    }
}

/// The subjects that have rows below `prefix`, each found with one step; the only one that is asked
/// for, with none.
fn subjects(
    snapshot: &Snapshot,
    rows: &Keyspace,
    (query, prefix): (&Query, &[u8]),
) -> Result<Vec<Vec<u8>>, Error> {
    if let Select::Numbers { number: Some(_), .. }
    | Select::Templates { code: Some(_), language: Some(_), .. } = &query.select
    {
        return Ok(vec![prefix.to_vec()]);
    }
    let mut found = Vec::new();
    let mut from = prefix.to_vec();
    let Some(end) = layout::behind(prefix) else { return Ok(found) };
    while let Some(guard) = snapshot.range(rows, from.clone()..end.clone()).next() {
        let key = guard.key().map_err(engine_error)?;
        let Ok((subject, _)) = layout::read_day(&key) else { break };
        let Some(behind) = layout::behind(subject) else { break };
        found.push(subject.to_vec());
        from = behind;
    }
    Ok(found)
}

/// The positions of the entries of a group, in order, the first `most`.
pub(crate) fn group(
    young: &Young,
    shared: &Shared,
    channel: &ChannelId,
    group: &str,
    most: usize,
) -> Result<Vec<Position>, Error> {
    let prefix = layout::group(channel, group);
    shared.slot.with(|tables| {
        let mut keys = BTreeSet::new();
        for overlay in young.overlays() {
            let rows = overlay.groups.range(prefix.clone()..);
            keys.extend(rows.take_while(|key| key.starts_with(&prefix)).cloned());
        }
        let (_, snapshot) = tables.moment();
        for guard in snapshot.prefix(&tables.groups, &prefix).take(most) {
            keys.insert(guard.key().map_err(engine_error)?.to_vec());
        }
        let folder = shared.slot.folder();
        keys.iter()
            .take(most)
            .map(|key| layout::read_position(key).map_err(|error| layout_error(error, folder)))
            .collect()
    })
}

/// The positions of unresolved dead letters from `from` on, in order, the first `most`.
pub(crate) fn dead(
    young: &Young,
    shared: &Shared,
    from: Position,
    most: usize,
) -> Result<Vec<Position>, Error> {
    let start = layout::positioned(&[], from);
    shared.slot.with(|tables| {
        let mut changed = BTreeMap::new();
        for overlay in young.overlays().rev() {
            let rows = overlay.dead.range(start.clone()..);
            changed.extend(rows.map(|(key, is_dead)| (key.clone(), *is_dead)));
        }
        let (_, snapshot) = tables.moment();
        let mut keys: BTreeSet<Vec<u8>> =
            changed.iter().filter(|(_, is_dead)| **is_dead).map(|(key, _)| key.clone()).collect();
        for guard in snapshot.range(&tables.dead, start..).take(most + changed.len()) {
            let key = guard.key().map_err(engine_error)?;
            if !changed.contains_key(&*key) {
                keys.insert(key.to_vec());
            }
        }
        let folder = shared.slot.folder();
        let positions = keys.iter().take(most).map(|key| layout::read_position(key));
        positions.collect::<Result<_, _>>().map_err(|error| layout_error(error, folder))
    })
}
