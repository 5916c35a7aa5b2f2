//! Rows of one moment, page by page, from the tables alone: what was acknowledged is committed
//! first.
//!
//! Between two pages only a snapshot is held, no lock and no table, so that neither the fold nor an
//! engine that has to be opened again waits for whoever reads slowly. The engine keeps what the
//! snapshot needs until it is dropped.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use fjall::{Keyspace, Readable as _, Snapshot};
use twoticks_core::channel::Channel;
use twoticks_core::ids::ChannelId;
use twoticks_core::window::Window;

use crate::embedded::fold::Shared;
use crate::embedded::tables::{Tables, engine_error, layout_error};
use crate::error::Error;
use crate::journal::Position;
use crate::layout::{self, CellTable, LayoutError};
use crate::scan::{BYTES_MAX, ROWS_MAX, Row, Scan, What};

/// The rest of a scan.
pub(crate) struct View {
    /// The position that the rows stand for.
    pub(crate) position: Position,
    shared: Arc<Shared>,
    snapshot: Snapshot,
    /// Of which tables the snapshot is.
    opened: Arc<()>,
    /// What is still to be read.
    runs: VecDeque<Run>,
    /// The channel of the last message.
    channel: Option<(ChannelId, Arc<Channel>)>,
}

/// Keys of one table from `from` up to `end`, or to the last one.
struct Run {
    table: Table,
    from: Vec<u8>,
    end: Option<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Table {
    Messages,
    Cells(CellTable, Window),
}

impl View {
    /// A view of what the tables have now.
    pub(crate) fn new(shared: Arc<Shared>, scan: &Scan) -> Result<Self, Error> {
        let (snapshot, position, opened) = shared.slot.with(|tables| {
            let snapshot = tables.snapshot();
            let position = tables.folded(&snapshot)?;
            Ok((snapshot, position, Arc::clone(&tables.opened)))
        })?;
        let tables = match scan.what {
            What::Nothing => vec![],
            What::Messages => vec![Table::Messages],
            What::Cells(window) => vec![
                Table::Cells(CellTable::Numbers, window),
                Table::Cells(CellTable::Templates, window),
            ],
        };
        let prefixes = match &scan.channels {
            None => vec![Vec::new()],
            Some(channels) => {
                let mut prefixes: Vec<_> = channels.iter().map(layout::channel).collect();
                prefixes.sort_unstable();
                prefixes.dedup();
                prefixes
            }
        };
        let runs = tables.iter().flat_map(|table| {
            let run = |from: &Vec<u8>| Run {
                table: *table,
                from: from.clone(),
                end: layout::behind(from),
            };
            prefixes.iter().map(run)
        });
        let runs = runs.collect();
        Ok(Self { position, shared, snapshot, opened, runs, channel: None })
    }

    /// The next rows; empty if a page's worth was looked at and none of it was asked for.
    fn page(&mut self) -> Result<Vec<Row>, Error> {
        let shared = Arc::clone(&self.shared);
        shared.slot.with(|tables| {
            if !Arc::ptr_eq(&tables.opened, &self.opened) {
                return Err(Error::Unavailable {
                    doing: "reading the ledger to its end",
                    source: "its engine was opened again meanwhile".into(),
                });
            }
            let (mut rows, mut looked_at, mut bytes) = (Vec::new(), 0, 0);
            while let Some(run) = self.runs.front_mut() {
                let keyspace = run.table.keyspace(tables);
                let end = run.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
                let range = (Bound::Included(run.from.clone()), end);
                for guard in self.snapshot.range(keyspace, range) {
                    let (key, value) = guard.into_inner().map_err(engine_error)?;
                    if looked_at == ROWS_MAX || bytes >= BYTES_MAX {
                        run.from = key.to_vec();
                        return Ok(rows);
                    }
                    looked_at += 1;
                    bytes += key.len() + value.len();
                    let folder = shared.slot.folder();
                    let damaged = |error| layout_error(error, folder);
                    match run.table {
                        Table::Messages => {
                            let key = layout::read_message(&key).map_err(damaged)?;
                            let row = layout::row(&value).map_err(damaged)?;
                            let known = self.channel.take().filter(|known| known.0 == key.channel);
                            let (id, channel) = match known {
                                Some(known) => known,
                                None => {
                                    let channel = &key.channel;
                                    let key = layout::channel(channel);
                                    let value = self.snapshot.get(&tables.channels, key);
                                    let value = value.map_err(engine_error)?;
                                    let row = value.map(|value| layout::row(&value)).transpose();
                                    let row: Option<Channel> = row.map_err(damaged)?;
                                    (channel.clone(), Arc::new(row.unwrap_or_default()))
                                }
                            };
                            rows.push(Row::Message(key, row, Arc::clone(&channel)));
                            self.channel = Some((id, channel));
                        }
                        Table::Cells(table, window) => {
                            rows.extend(cell(table, window, &key, &value).map_err(damaged)?);
                        }
                    }
                }
                self.runs.pop_front();
            }
            Ok(rows)
        })
    }
}

/// The cell, if it lies in the window.
fn cell(
    table: CellTable,
    window: Window,
    key: &[u8],
    value: &[u8],
) -> Result<Option<Row>, LayoutError> {
    let cell = layout::read_cell(table, key)?;
    if cell.atom < window.from || window.to <= cell.atom {
        return Ok(None);
    }
    Ok(Some(Row::Cell(cell, layout::row(value)?)))
}

impl Table {
    fn keyspace(self, tables: &Tables) -> &Keyspace {
        match self {
            Self::Messages => &tables.messages,
            Self::Cells(table, _) => tables.cells(table),
        }
    }
}

impl Iterator for View {
    type Item = Result<Vec<Row>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.runs.is_empty() {
            match self.page() {
                Ok(rows) if rows.is_empty() => {}
                Ok(rows) => return Some(Ok(rows)),
                Err(error) => {
                    self.runs.clear();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
