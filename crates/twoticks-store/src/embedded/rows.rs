//! The rows that a step of the fold changes: on top of everything, dropped as a whole if it fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use fjall::Keyspace;
use serde::de::DeserializeOwned;
use twoticks_core::channel::Channel;
use twoticks_core::fold::{self, Rows, Touched};
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Message, MessageKey};
use twoticks_core::tap::{Tap, TapKey};
use twoticks_core::totals::{Cell, Totals};

use crate::embedded::overlay::{Hashed, Overlay, State};
use crate::embedded::tables::{Tables, engine_error, layout_error};
use crate::entry::Work;
use crate::error::Error;
use crate::journal::Position;
use crate::layout;
use crate::ledger::Counters;

/// How many channels the fold remembers; beyond them it forgets all and reads them again.
const CHANNELS_MAX: usize = 10_000;

/// Channels that have been read, as they are with everything folded: each event needs one.
pub(crate) type ChannelCache = BTreeMap<ChannelId, Arc<Channel>>;

/// A step of the fold.
pub(crate) struct Working<'a> {
    pub(crate) delta: Overlay,
    pub(crate) counters: Counters,
    state: &'a State,
    tables: &'a Tables,
    channels: &'a mut ChannelCache,
    folder: &'a std::path::Path,
}

impl<'a> Working<'a> {
    pub(crate) fn new(
        state: &'a State,
        tables: &'a Tables,
        channels: &'a mut ChannelCache,
        folder: &'a std::path::Path,
    ) -> Self {
        if channels.len() > CHANNELS_MAX {
            channels.clear();
        }
        let (delta, counters) = (Overlay::default(), Counters::default());
        Self { delta, counters, state, tables, channels, folder }
    }

    /// Takes an entry in.
    pub(crate) fn apply(&mut self, position: Position, work: &Work) -> Result<(), Error> {
        for event in &work.events {
            let outcome = fold::apply(self, work.accepted, event)?;
            self.counters.count(outcome);
        }
        self.counters.entries += 1;
        self.counters.dead += work.dead as u64;
        if let (Some(channel), Some(group)) = (&work.channel, &work.group) {
            let key = layout::positioned(&layout::group(channel, group), position);
            self.delta.groups.insert(key, ());
        }
        if work.dead > 0 {
            self.delta.dead.insert(layout::positioned(&[], position), true);
        }
        if let Some(resolved) = work.resolves.filter(|resolved| *resolved != position) {
            self.delta.dead.insert(layout::positioned(&[], resolved), false);
        }
        self.delta.position = position;
        Ok(())
    }

    /// The row at `key`, from the youngest generation that has it.
    fn find<T: Clone + DeserializeOwned>(
        &self,
        key: &[u8],
        young: impl Fn(&Overlay) -> Option<&T>,
        keyspace: &Keyspace,
    ) -> Result<Option<T>, Error> {
        let row = young(&self.delta).or_else(|| self.state.generations().find_map(&young));
        if let Some(row) = row {
            return Ok(Some(row.clone()));
        }
        let value = keyspace.get(key).map_err(engine_error)?;
        let row = value.map(|value| layout::row(&value)).transpose();
        row.map_err(|error| layout_error(error, self.folder))
    }

    /// Calls `visit` with every row of a channel, each from the youngest generation that has it.
    fn each<T: DeserializeOwned>(
        &self,
        channel: &ChannelId,
        of: impl Fn(&Overlay) -> &Hashed<T>,
        keyspace: &Keyspace,
        mut visit: impl FnMut(&[u8], &T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let prefix = layout::channel(channel);
        let young: Vec<&Overlay> =
            std::iter::once(&self.delta).chain(self.state.generations()).collect();
        for (age, overlay) in young.iter().enumerate() {
            for (key, row) in of(overlay).iter().filter(|(key, _)| key.starts_with(&prefix)) {
                let younger = young.iter().take(age);
                if !younger.into_iter().any(|younger| of(younger).contains_key(key)) {
                    visit(key, row)?;
                }
            }
        }
        for guard in keyspace.prefix(&prefix) {
            let (key, value) = guard.into_inner().map_err(engine_error)?;
            if !young.iter().any(|overlay| of(overlay).contains_key(&*key)) {
                let row = layout::row(&value).map_err(|error| layout_error(error, self.folder))?;
                visit(&key, &row)?;
            }
        }
        Ok(())
    }
}

impl Rows for Working<'_> {
    type Error = Error;

    fn message(&mut self, key: &MessageKey) -> Result<Option<Touched<Message>>, Error> {
        let key = layout::message(key);
        self.find(&key, |overlay| overlay.messages.get(&key), &self.tables.messages)
    }

    fn put_message(&mut self, key: MessageKey, row: Touched<Message>) -> Result<(), Error> {
        self.delta.messages.insert(layout::message(&key), row);
        Ok(())
    }

    fn tap(&mut self, key: &TapKey) -> Result<Option<Touched<Tap>>, Error> {
        let key = layout::tap(key);
        self.find(&key, |overlay| overlay.taps.get(&key), &self.tables.taps)
    }

    fn put_tap(&mut self, key: TapKey, row: Touched<Tap>) -> Result<(), Error> {
        self.delta.taps.insert(layout::tap(&key), row);
        Ok(())
    }

    fn channel(&mut self, channel: &ChannelId) -> Result<Arc<Channel>, Error> {
        if let Some(row) = self.channels.get(channel) {
            return Ok(Arc::clone(row));
        }
        let key = layout::channel(channel);
        let young = self.state.generations().find_map(|overlay| overlay.channels.get(&key));
        let row = match young {
            Some(row) => Arc::clone(row),
            None => {
                let value = self.tables.channels.get(&key).map_err(engine_error)?;
                let row = value.map(|value| layout::row::<Channel>(&value)).transpose();
                let row = row.map_err(|error| layout_error(error, self.folder))?;
                Arc::new(row.unwrap_or_default())
            }
        };
        self.channels.insert(channel.clone(), Arc::clone(&row));
        Ok(row)
    }

    fn put_channel(&mut self, channel: ChannelId, row: Channel) -> Result<(), Error> {
        let row = Arc::new(row);
        self.delta.channels.insert(layout::channel(&channel), Arc::clone(&row));
        self.channels.insert(channel, row);
        Ok(())
    }

    fn add(&mut self, cell: Cell, change: &Totals) -> Result<(), Error> {
        let (table, key) = layout::cell(&cell);
        let cells = self.tables.cells(table);
        let known = self.find(&key, |overlay| overlay.cells(table).get(&key), cells)?;
        match known.unwrap_or_default().checked_add(change) {
            Some(sum) => {
                self.delta.cells_mut(table).insert(key, sum);
            }
            None => {
                self.counters.overflows += 1;
                tracing::error!("a sum would have left the range of 64 bits and was left as it is");
            }
        }
        Ok(())
    }

    fn each_message(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&MessageKey, &Touched<Message>),
    ) -> Result<(), Error> {
        let keyspace = &self.tables.messages;
        self.each(
            channel,
            |overlay| &overlay.messages,
            keyspace,
            |key, row| {
                let key = layout::read_message(key).map_err(|e| layout_error(e, self.folder))?;
                visit(&key, row);
                Ok(())
            },
        )
    }

    fn each_tap(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&TapKey, &Touched<Tap>),
    ) -> Result<(), Error> {
        let keyspace = &self.tables.taps;
        self.each(
            channel,
            |overlay| &overlay.taps,
            keyspace,
            |key, row| {
                let key = layout::read_tap(key).map_err(|e| layout_error(e, self.folder))?;
                visit(&key, row);
                Ok(())
            },
        )
    }
}
