//! Rows of one moment, page by page, from the tables alone: what was acknowledged is committed
//! first.
//!
//! Between two pages only a snapshot is held, no lock and no table, so that neither the fold nor an
//! engine that has to be opened again waits for whoever reads slowly. The engine keeps what the
//! snapshot needs until it is dropped.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use fjall::{Readable as _, Snapshot};
use twoticks_core::channel::Channel;
use twoticks_core::clock::Time;
use twoticks_core::ids::ChannelId;
use twoticks_core::window::Window;

use crate::day::{Day, Place};
use crate::embedded::fold::Shared;
use crate::embedded::pieces::{Merged, Piece, PieceId};
use crate::embedded::tables::{engine_error, layout_error};
use crate::embedded::whole::is_live;
use crate::error::Error;
use crate::journal::Position;
use crate::layout::{self, CellTable, Subject};
use crate::scan::{BYTES_MAX, ROWS_MAX, Row, Scan, What};

/// The rest of a scan.
pub(crate) struct View {
    /// The position that the rows stand for.
    pub(crate) position: Position,
    shared: Arc<Shared>,
    /// The pieces that there were, the newest first. Holding them would hold the engine.
    pieces: Vec<PieceId>,
    snapshot: Snapshot,
    /// The time that ages are measured by.
    latest: Time,
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
    /// How many cells of the row at `from` have been read.
    done: usize,
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
        let (pieces, snapshot, position, latest, opened) = shared.slot.with(|tables| {
            let (pieces, snapshot, opened) = tables.hold();
            let (position, latest) = (tables.folded(&snapshot)?, tables.latest(&snapshot)?);
            let pieces = pieces.iter().map(Piece::id).collect();
            Ok((pieces, snapshot, position, latest, opened))
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
                done: 0,
                end: layout::behind(from),
            };
            prefixes.iter().map(run)
        });
        let runs = runs.collect();
        Ok(Self { position, shared, pieces, snapshot, latest, opened, runs, channel: None })
    }

    /// The next rows; empty if a page's worth was looked at and none of it was asked for.
    fn page(&mut self) -> Result<Vec<Row>, Error> {
        let shared = Arc::clone(&self.shared);
        shared.slot.with(|tables| {
            if !Arc::ptr_eq(&tables.opened, &self.opened) {
                return Err(lost("its engine was opened again"));
            }
            let mut page = Page::default();
            while let Some(run) = self.runs.front_mut() {
                let end = run.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
                let range = (Bound::Included(run.from.clone()), end);
                let folder = shared.slot.folder();
                let damaged = |error| layout_error(error, folder);
                match run.table {
                    Table::Messages => {
                        let pieces = tables.pieces();
                        let mut rows = Vec::new();
                        for id in &self.pieces {
                            let piece = pieces.iter().find(|piece| piece.id() == *id);
                            let piece = piece.ok_or_else(|| lost("messages expired"))?;
                            rows.push(self.snapshot.range(&piece.messages, range.clone()));
                        }
                        for row in Merged::new(rows) {
                            let (key, value) = row?;
                            if page.is_full() {
                                run.from = key.to_vec();
                                return Ok(page.rows);
                            }
                            page.looked_at(1, key.len() + value.len());
                            if !is_live(&value, self.latest)? {
                                continue;
                            }
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
                            page.rows.push(Row::Message(key, row, Arc::clone(&channel)));
                            self.channel = Some((id, channel));
                        }
                    }
                    Table::Cells(table, window) => {
                        for guard in self.snapshot.range(tables.cells(table), range) {
                            let (key, value) = guard.into_inner().map_err(engine_error)?;
                            if page.is_full() {
                                run.from = key.to_vec();
                                return Ok(page.rows);
                            }
                            let (subject, day) = layout::read_day(&key).map_err(damaged)?;
                            let subject = Subject::read(table, subject).map_err(damaged)?;
                            let row = layout::versioned(&value).and_then(Day::decode);
                            let row = row.map_err(damaged)?;
                            page.looked_at(0, key.len() + value.len());
                            for (index, (place, totals)) in row.cells().enumerate().skip(run.done) {
                                if page.looked_at >= ROWS_MAX {
                                    run.from = key.to_vec();
                                    run.done = index;
                                    return Ok(page.rows);
                                }
                                page.looked_at(1, 0);
                                let atom = place.atom(day);
                                if window.from <= atom && atom < window.to {
                                    let Place { quarter: _, side, what, campaign } = place;
                                    let cell = subject.cell(atom, *side, *what, campaign.clone());
                                    let cell = cell.map_err(damaged)?;
                                    page.rows.push(Row::Cell(cell, totals));
                                }
                            }
                            run.done = 0;
                        }
                    }
                }
                self.runs.pop_front();
            }
            Ok(page.rows)
        })
    }
}

/// The moment that is read has gone.
fn lost(why: &'static str) -> Error {
    let source = format!("{why} meanwhile").into();
    Error::Unavailable { doing: "reading the ledger to its end", source }
}

/// What is gathered for one page.
#[derive(Default)]
struct Page {
    rows: Vec<Row>,
    looked_at: usize,
    bytes: usize,
}

impl Page {
    fn looked_at(&mut self, rows: usize, bytes: usize) {
        self.looked_at += rows;
        self.bytes += bytes;
    }

    fn is_full(&self) -> bool {
        self.looked_at >= ROWS_MAX || self.bytes >= BYTES_MAX
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
