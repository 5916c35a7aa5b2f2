//! The ledger in memory: for demonstrations and tests. It is gone when the process is.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use twoticks_core::channel::Channel;
use twoticks_core::clock::Time;
use twoticks_core::event::Event;
use twoticks_core::fold::{self, Rows, Touched};
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Age, BACKDATED_MAX, Message, MessageKey};
use twoticks_core::query::{Point, Query, Series};
use twoticks_core::tap::{Tap, TapKey};
use twoticks_core::totals::{Cell, Totals};

use crate::digest::{Digester, Table};
use crate::error::Error;
use crate::journal::Position;
use crate::layout;
use crate::ledger::{
    Batch, Counters, Digest, ENTRIES_BYTES_MAX, ENTRIES_MAX, Entry, GROUP_ENTRIES_MAX, Kind,
    LOOKED_BYTES_MAX, LOOKED_ENTRIES_MAX, Ledger, Look, Looked, Receipt, TURNED_BACK_MAX, check,
    check_keys,
};
use crate::scan::{ROWS_MAX, Row, Scan, Scanned, What};

/// Everything in maps, behind one lock.
#[derive(Default)]
pub struct MemoryLedger {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    closed: bool,
    entries: Vec<Entry>,
    dead: BTreeSet<Position>,
    tables: Tables,
    counters: Counters,
}

#[derive(Default)]
struct Tables {
    messages: BTreeMap<MessageKey, Touched<Message>>,
    taps: BTreeMap<TapKey, Touched<Tap>>,
    channels: BTreeMap<ChannelId, Arc<Channel>>,
    cells: BTreeMap<Cell, Totals>,
    overflows: u64,
    /// The latest acceptance time of what is folded.
    latest: Time,
}

impl MemoryLedger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Every row as it would be stored, sorted.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        self.lock().tables.rows()
    }

    /// Every cell, sorted.
    #[cfg(test)]
    pub(crate) fn cells(&self) -> Vec<(Cell, Totals)> {
        let inner = self.lock();
        inner.tables.cells.iter().map(|(cell, totals)| (cell.clone(), totals.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn record(&self, batch: Batch) -> Result<Receipt, Error> {
        check(&batch)?;
        let mut inner = self.lock();
        if inner.closed {
            return Err(Error::Closed);
        }
        let Inner { entries, dead, tables, counters, .. } = &mut *inner;
        let position = entries.len() as u64 + 1;
        tables.latest = tables.latest.max(batch.accepted);
        for event in &batch.events {
            let accepted = batch.accepted.max(tables.latest.plus(-BACKDATED_MAX));
            let Ok(outcome) = fold::apply(tables, accepted, event);
            counters.count(outcome);
        }
        counters.entries += 1;
        counters.dead += batch.dead.len() as u64;
        counters.overflows = tables.overflows;
        if !batch.dead.is_empty() {
            dead.insert(position);
        }
        if let Some(resolved) = batch.resolves.filter(|resolved| *resolved != position) {
            dead.remove(&resolved);
        }
        entries.push(Entry { position, batch });
        Ok(Receipt { position })
    }

    async fn series(&self, query: Query) -> Result<Vec<Point>, Error> {
        let inner = self.lock();
        let mut series = Series::new(&query);
        for (cell, totals) in &inner.tables.cells {
            series
                .add(cell, totals)
                .map_err(|error| Error::Unavailable { doing: "adding up", source: error.into() })?;
        }
        Ok(series.finish())
    }

    async fn channel(&self, channel: &ChannelId) -> Result<Channel, Error> {
        let row = self.lock().tables.channels.get(channel).cloned();
        Ok(row.map(|row| Channel::clone(&row)).unwrap_or_default())
    }

    async fn entries(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error> {
        let inner = self.lock();
        let skip = usize::try_from(from.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(page(inner.entries.iter().skip(skip), most))
    }

    fn newest(&self) -> Position {
        self.lock().entries.len() as Position
    }

    async fn group(&self, channel: &ChannelId, group: &str) -> Result<Vec<Entry>, Error> {
        let inner = self.lock();
        let of_group = inner.entries.iter().filter(|entry| {
            entry.batch.channel.as_ref() == Some(channel)
                && entry.batch.group.as_deref() == Some(group)
        });
        Ok(of_group.take(GROUP_ENTRIES_MAX).cloned().collect())
    }

    async fn dead_letters(&self, from: Position, most: usize) -> Result<Vec<Entry>, Error> {
        let inner = self.lock();
        let dead = inner.dead.range(from..).filter_map(|position| {
            inner.entries.get(usize::try_from(position.checked_sub(1)?).ok()?)
        });
        Ok(page(dead, most))
    }

    async fn accepted(&self, look: Look) -> Result<Looked, Error> {
        let inner = self.lock();
        let mut found = Looked { entries: Vec::new(), is_whole: true };
        let (mut seen, mut bytes) = (0, 0);
        for entry in inner.entries.iter().filter(|entry| entry.batch.kind != Kind::Import) {
            let Batch { accepted, channel, events, body, .. } = &entry.batch;
            seen += usize::from((look.from..look.tail.plus(TURNED_BACK_MAX)).contains(accepted));
            let of_events = events.iter().map(Event::channel);
            let is_wanted = look.wants(*accepted, channel.iter().chain(of_events));
            bytes += if is_wanted { body.len() } else { 0 };
            if seen > LOOKED_ENTRIES_MAX || bytes > LOOKED_BYTES_MAX {
                found.is_whole = *accepted >= look.until;
                break;
            }
            found.entries.extend(is_wanted.then(|| entry.clone()));
        }
        Ok(found)
    }

    async fn messages(&self, keys: Vec<MessageKey>) -> Result<Vec<Option<Message>>, Error> {
        check_keys(&keys)?;
        let Inner { tables, .. } = &*self.lock();
        let is_live = |row: &&Touched<Message>| Age::of(row.accepted, tables.latest) == Age::Live;
        let row = |key| tables.messages.get(key).filter(is_live).map(|row| row.row.clone());
        Ok(keys.iter().map(row).collect())
    }

    async fn digest(&self) -> Result<Digest, Error> {
        let inner = self.lock();
        let mut digester = Digester::new(inner.entries.len() as u64);
        for (table, key, value) in inner.tables.rows() {
            digester.row(table, &key, &value);
        }
        Ok(digester.finish())
    }

    async fn scan(&self, scan: Scan) -> Result<Scanned, Error> {
        let inner = self.lock();
        let position = inner.entries.len() as u64;
        let rows = inner.tables.scan(&scan);
        drop(inner);
        let mut rows = rows.into_iter().peekable();
        let pages = std::iter::from_fn(move || {
            rows.peek()?;
            Some(Ok(rows.by_ref().take(ROWS_MAX).collect()))
        });
        Ok(Scanned { position, pages: Box::new(pages) })
    }

    async fn failed(&self) -> Error {
        std::future::pending().await
    }

    fn counters(&self) -> Counters {
        self.lock().counters
    }

    async fn close(&self) -> Result<(), Error> {
        self.lock().closed = true;
        Ok(())
    }
}

impl Tables {
    /// The rows that `scan` asks for, in the order in which they would be stored.
    fn scan(&self, scan: &Scan) -> Vec<Row> {
        let is_asked_for = |channel: &ChannelId| {
            scan.channels.as_ref().is_none_or(|channels| channels.contains(channel))
        };
        match scan.what {
            What::Nothing => Vec::new(),
            What::Messages => {
                let messages = self.messages.iter().filter(|(key, row)| {
                    is_asked_for(&key.channel) && Age::of(row.accepted, self.latest) == Age::Live
                });
                let row = |(key, row): (&MessageKey, &Touched<Message>)| {
                    let channel = self.channels.get(&key.channel).cloned().unwrap_or_default();
                    Row::Message(key.clone(), Box::new(row.clone()), channel)
                };
                messages.map(row).collect()
            }
            What::Cells(window) => {
                let cells = self.cells.iter().filter(|(cell, _)| {
                    is_asked_for(&cell.channel) && window.from <= cell.atom && cell.atom < window.to
                });
                let mut cells: Vec<_> = cells.collect();
                cells.sort_by_cached_key(|(cell, _)| {
                    let (table, key) = layout::cell(cell);
                    (Table::from(table), key)
                });
                cells
                    .into_iter()
                    .map(|(cell, sums)| Row::Cell(cell.clone(), sums.clone()))
                    .collect()
            }
        }
    }

    /// Every row whose state is kept, as it would be stored, sorted.
    fn rows(&self) -> Vec<(Table, Vec<u8>, Vec<u8>)> {
        let Self { messages, taps, channels, cells, overflows: _, latest } = self;
        let mut rows = Vec::with_capacity(messages.len() + taps.len() + cells.len());
        let is_live = |touched| Age::of(touched, *latest) == Age::Live;
        for (key, row) in messages.iter().filter(|(_, row)| is_live(row.accepted)) {
            rows.push((Table::Messages, layout::message(key), layout::value(row)));
        }
        for (key, row) in taps.iter().filter(|(_, row)| is_live(row.accepted)) {
            rows.push((Table::Taps, layout::tap(key), layout::value(row)));
        }
        for (key, row) in channels {
            rows.push((Table::Channels, layout::channel(key), layout::value(row.as_ref())));
        }
        for (key, row) in cells {
            let (table, key) = layout::cell(key);
            rows.push((table.into(), key, layout::value(row)));
        }
        rows.sort_unstable();
        rows
    }
}

/// At most `most` entries, and no more bytes than a list may have.
fn page<'a>(entries: impl Iterator<Item = &'a Entry>, most: usize) -> Vec<Entry> {
    let mut bytes = 0;
    let fitting = entries.take(most.min(ENTRIES_MAX)).take_while(|entry| {
        let fits = bytes == 0 || bytes + entry.batch.body.len() <= ENTRIES_BYTES_MAX;
        bytes += entry.batch.body.len();
        fits
    });
    fitting.cloned().collect()
}

impl Rows for Tables {
    type Error = Infallible;

    fn message(&mut self, key: &MessageKey) -> Result<Option<Touched<Message>>, Infallible> {
        Ok(self.messages.get(key).cloned())
    }

    fn put_message(&mut self, key: &MessageKey, row: Touched<Message>) {
        self.messages.insert(key.clone(), row);
    }

    fn tap(&mut self, key: &TapKey) -> Result<Option<Touched<Tap>>, Infallible> {
        Ok(self.taps.get(key).cloned())
    }

    fn put_tap(&mut self, key: &TapKey, row: Touched<Tap>) {
        self.taps.insert(key.clone(), row);
    }

    fn channel(&mut self, channel: &ChannelId) -> Result<Arc<Channel>, Infallible> {
        Ok(self.channels.get(channel).cloned().unwrap_or_default())
    }

    fn put_channel(&mut self, channel: &ChannelId, row: Channel) {
        self.channels.insert(channel.clone(), Arc::new(row));
    }

    fn add(&mut self, cell: Cell, change: &Totals) {
        let known = self.cells.get(&cell).cloned().unwrap_or_default();
        match known.checked_add(change) {
            None => self.overflows += 1,
            Some(sum) if sum.is_zero() => drop(self.cells.remove(&cell)),
            Some(sum) => drop(self.cells.insert(cell, sum)),
        }
    }

    fn each_message(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&MessageKey, &Touched<Message>),
    ) -> Result<(), Infallible> {
        let of_channel = self.messages.iter().filter(|(key, _)| key.channel == *channel);
        of_channel.for_each(|(key, row)| visit(key, row));
        Ok(())
    }

    fn each_tap(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&TapKey, &Touched<Tap>),
    ) -> Result<(), Infallible> {
        let of_channel = self.taps.iter().filter(|(key, _)| key.channel == *channel);
        of_channel.for_each(|(key, row)| visit(key, row));
        Ok(())
    }
}
