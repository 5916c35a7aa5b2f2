//! Answers from the overlays and the tables together, as of one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use fjall::{Keyspace, Readable, Snapshot};
use twoticks_core::channel::Channel;
use twoticks_core::ids::ChannelId;
use twoticks_core::query::{Point, Query, Select, Series};
use twoticks_core::totals::Totals;

use crate::embedded::fold::Shared;
use crate::embedded::overlay::{Map, prefixed};
use crate::embedded::tables::{Tables, engine_error, layout_error};
use crate::error::Error;
use crate::journal::Position;
use crate::layout::{self, CellTable};

/// The sums that `query` asks for.
pub(crate) fn series(shared: &Shared, query: &Query) -> Result<Vec<Point>, Error> {
    let mut series = Series::new(query);
    let Some(span) = query.span() else { return Ok(series.finish()) };
    let (table, prefix) = prefix(query);
    shared.slot.with(|tables| {
        let (young, snapshot) = moment(shared, tables, table, &prefix);
        let cells = tables.cells(table);
        let mut add = |key: &[u8], totals: &Totals| {
            let cell = layout::read_cell(table, key);
            let cell = cell.map_err(|error| layout_error(error, shared.slot.folder()))?;
            series
                .add(&cell, totals)
                .map_err(|error| Error::Unavailable { doing: "adding up", source: error.into() })
        };
        for (key, totals) in &young {
            add(key, totals)?;
        }
        for subject in subjects(&snapshot, cells, table, &prefix)? {
            let range = layout::at(&subject, span.from)..layout::at(&subject, span.to);
            for guard in snapshot.range(cells, range) {
                let (key, value) = guard.into_inner().map_err(engine_error)?;
                if !young.contains_key(&*key) {
                    let totals = layout::row(&value);
                    let totals =
                        totals.map_err(|error| layout_error(error, shared.slot.folder()))?;
                    add(&key, &totals)?;
                }
            }
        }
        Ok(())
    })?;
    Ok(series.finish())
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

/// The young cells below `prefix`, and the old ones of the same moment: what is being committed
/// is in both, and the same.
fn moment(
    shared: &Shared,
    tables: &Tables,
    table: CellTable,
    prefix: &[u8],
) -> (Map<Totals>, Snapshot) {
    let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
    let mut young = BTreeMap::new();
    for overlay in state.generations().rev() {
        let rows = prefixed(overlay.cells(table), prefix, prefix);
        young.extend(rows.map(|(key, totals)| (key.clone(), totals.clone())));
    }
    (young, tables.snapshot())
}

/// The subjects that have old cells below `prefix`, each found with one step.
fn subjects(
    snapshot: &Snapshot,
    cells: &Keyspace,
    table: CellTable,
    prefix: &[u8],
) -> Result<Vec<Vec<u8>>, Error> {
    let mut found = Vec::new();
    let mut from = prefix.to_vec();
    let Some(end) = layout::behind(prefix) else { return Ok(found) };
    while let Some(guard) = snapshot.range(cells, from.clone()..end.clone()).next() {
        let key = guard.key().map_err(engine_error)?;
        let subject = layout::subject_length(table, &key).and_then(|length| key.get(..length));
        let Some(subject) = subject.map(<[u8]>::to_vec) else { break };
        let Some(behind) = layout::behind(&subject) else { break };
        found.push(subject);
        from = behind;
    }
    Ok(found)
}

/// Opt-in and categories of a channel.
pub(crate) fn channel(shared: &Shared, channel: &ChannelId) -> Result<Channel, Error> {
    let key = layout::channel(channel);
    shared.slot.with(|tables| {
        let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
        let young = state.generations().find_map(|overlay| overlay.channels.get(&key));
        if let Some(row) = young {
            return Ok(Channel::clone(row));
        }
        let value = tables.channels.get(&key).map_err(engine_error)?;
        let row = value.map(|value| layout::row(&value)).transpose();
        let row = row.map_err(|error| layout_error(error, shared.slot.folder()))?;
        Ok(row.unwrap_or_default())
    })
}

/// The positions of the entries of a group, in order, the first `most`.
pub(crate) fn group(
    shared: &Shared,
    channel: &ChannelId,
    group: &str,
    most: usize,
) -> Result<Vec<Position>, Error> {
    let prefix = layout::group(channel, group);
    shared.slot.with(|tables| {
        let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut keys = BTreeSet::new();
        for overlay in state.generations() {
            keys.extend(prefixed(&overlay.groups, &prefix, &prefix).map(|(key, ())| key.clone()));
        }
        let snapshot = tables.snapshot();
        drop(state);
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
pub(crate) fn dead(shared: &Shared, from: Position, most: usize) -> Result<Vec<Position>, Error> {
    let start = layout::positioned(&[], from);
    shared.slot.with(|tables| {
        let state = shared.state.read().unwrap_or_else(PoisonError::into_inner);
        let mut young = BTreeMap::new();
        for overlay in state.generations().rev() {
            let rows = prefixed(&overlay.dead, &[], &start);
            young.extend(rows.map(|(key, is_dead)| (key.clone(), *is_dead)));
        }
        let snapshot = tables.snapshot();
        drop(state);
        let mut keys: BTreeSet<Vec<u8>> =
            young.iter().filter(|(_, is_dead)| **is_dead).map(|(key, _)| key.clone()).collect();
        for guard in snapshot.range(&tables.dead, start..).take(most + young.len()) {
            let key = guard.key().map_err(engine_error)?;
            if !young.contains_key(&*key) {
                keys.insert(key.to_vec());
            }
        }
        let folder = shared.slot.folder();
        let positions = keys.iter().take(most).map(|key| layout::read_position(key));
        positions.collect::<Result<_, _>>().map_err(|error| layout_error(error, folder))
    })
}
