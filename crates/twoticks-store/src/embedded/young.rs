//! The young part of the ledger, in memory, owned by the fold: what has changed and is not in the
//! tables yet, and the messages that were touched last.
//!
//! What changed since the last commit is the active [`Overlay`]; what is being committed just now
//! is the frozen one. Messages, taps and channels are whole rows: what is found first is what
//! holds, and committing twice changes nothing. Cells are changes, to be added to what the tables
//! have; whether the tables have the frozen ones already is told by the position that they stand
//! for.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use hashbrown::HashMap;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;
use twoticks_core::channel::Channel;
use twoticks_core::clock::Time;
use twoticks_core::event::{Button, ButtonKind, TapEvent};
use twoticks_core::fold::{self, Rows, Touched};
use twoticks_core::ids::{ChannelId, Hash, Text};
use twoticks_core::message::{BACKDATED_MAX, Message, MessageKey};
use twoticks_core::tap::{Tap, TapKey};
use twoticks_core::totals::{Cell, Filing, Measure, Totals};

use crate::embedded::cells::Cells;
use crate::embedded::filling::Filters;
use crate::embedded::leaving::Encoded;
use crate::embedded::memory::Memory;
use crate::embedded::pieces::Found;
use crate::embedded::recent::{At, Recent};
use crate::embedded::tables::{Tables, engine_error, layout_error};
use crate::entry::Work;
use crate::error::Error;
use crate::facts::{Facts, Sender, Told};
use crate::journal::Position;
use crate::layout;
use crate::ledger::Counters;

/// How many channels the fold remembers; beyond them it forgets all and reads them again.
const CHANNELS_MAX: usize = 10_000;
/// How many events are looked at before they are taken in.
const AHEAD: usize = 32;

/// What has changed between two commits.
#[derive(Default)]
pub(crate) struct Overlay {
    /// Keys and values of messages, when it is frozen as a whole.
    pub(crate) messages: OnceLock<Encoded>,
    pub(crate) taps: HashMap<Vec<u8>, Touched<Tap>>,
    pub(crate) channels: BTreeMap<Vec<u8>, Arc<Channel>>,
    pub(crate) cells: Cells,
    pub(crate) groups: BTreeSet<Vec<u8>>,
    /// Dead letters: `true` to be put, `false` to be removed.
    pub(crate) dead: BTreeMap<Vec<u8>, bool>,
    /// The position that it reaches; 0 while there is nothing in it.
    pub(crate) position: Position,
    /// The latest acceptance time up to there.
    pub(crate) latest: Time,
    /// Its number among the commits of messages.
    commit: u32,
}

/// Everything that the fold keeps in memory.
pub(crate) struct Young {
    recent: Recent,
    pub(crate) active: Overlay,
    pub(crate) frozen: Option<Arc<Overlay>>,
    /// A key, for a moment.
    key: Vec<u8>,
    /// Cells of the overlay that was committed last, without its changes.
    spare: Cells,
    channels: HashMap<ChannelId, Arc<Channel>>,
    /// The position up to which everything is folded.
    pub(crate) position: Position,
    /// The latest acceptance time of what is folded: what a row's age is measured by, so that it
    /// does not depend on which rows have been dropped already (counting rule 12).
    pub(crate) latest: Time,
    /// How many events of the entry behind `position` are folded: where to go on after a failure.
    folded: usize,
    pub(crate) counters: Counters,
    /// It is to be committed when it has this many rows.
    pub(crate) rows_max: usize,
}

impl Young {
    /// Nothing young, over tables that stand for `position` and `latest`.
    pub(crate) fn new(memory: &Memory, position: Position, latest: Time) -> Self {
        Self {
            recent: Recent::new(memory.messages),
            rows_max: memory.rows,
            active: Overlay::default(),
            frozen: None,
            key: Vec::new(),
            spare: Cells::default(),
            channels: HashMap::new(),
            position,
            latest,
            folded: 0,
            counters: Counters::default(),
        }
    }

    /// Folds an entry, which has to be the next one. After an error it has to be called again with
    /// the same entry, and goes on where it failed.
    pub(crate) fn fold(
        &mut self,
        tables: &Tables,
        folder: &Path,
        position: Position,
        work: &Work,
    ) -> Result<(), Error> {
        self.latest = self.latest.max(work.accepted);
        if self.channels.len() > CHANNELS_MAX {
            self.channels.clear();
        }
        let accepted = work.accepted.max(self.latest.plus(-BACKDATED_MAX));
        let mut senders = Senders::of(&work.events, &mut self.recent);
        let mut ahead = Ahead::new();
        while let Some(event) = work.events.get(self.folded) {
            if ahead.is_empty() {
                let next = (self.folded..work.events.len()).take(AHEAD);
                let next = next.filter_map(|index| work.events.get(index));
                self.look_ahead(&tables.filters(), &senders, next, &mut ahead);
            }
            let at = ahead.pop().flatten();
            let mut rows = Fold { young: self, tables, folder, at };
            let outcome = match event {
                Told::Other(event) => fold::apply(&mut rows, accepted, event)?,
                Told::Message(sender, message, fact) => {
                    let key = senders.key(sender, message);
                    fold::apply_message(&mut rows, accepted, key, fact)?
                }
            };
            self.folded += 1;
            self.counters.count(outcome);
        }
        self.folded = 0;
        self.counters.entries += 1;
        self.counters.dead += work.dead as u64;
        let active = &mut self.active;
        if let (Some(channel), Some(group)) = (&work.channel, &work.group) {
            active.groups.insert(layout::positioned(&layout::group(channel, group), position));
        }
        if work.dead > 0 {
            active.dead.insert(layout::positioned(&[], position), true);
        }
        if let Some(resolved) = work.resolves.filter(|resolved| *resolved != position) {
            active.dead.insert(layout::positioned(&[], resolved), false);
        }
        active.position = position;
        self.position = position;
        Ok(())
    }

    /// What is young of a message; if nothing is, the tables have all of it.
    pub(crate) fn message(&self, key: &MessageKey) -> Option<&Touched<Message>> {
        self.recent.find(key)
    }

    /// Looks at what is known of the next messages, [`AHEAD`] at most: memory is slow to answer
    /// and can be asked for all of them at once. What is found goes to the end of `ahead`, the last
    /// one first.
    fn look_ahead<'a>(
        &mut self,
        filters: &Filters,
        senders: &Senders,
        events: impl Iterator<Item = Told<'a>>,
        ahead: &mut Ahead,
    ) {
        let Self { recent, key, .. } = self;
        let mut new = 0;
        ahead.extend(events.map(|event| {
            let Told::Message(sender, message, fact) = event else { return None };
            black_box(fact.claim.map(|claim| claim.source));
            let at = senders.at(sender, message);
            if recent.touch(at) {
                return Some((at, true));
            }
            new += 1;
            key.clear();
            recent.put_key(at, key);
            Some((at, filters.may_have(key)))
        }));
        ahead.reverse();
        recent.touch_next(new);
    }

    /// How many rows are to be committed.
    pub(crate) fn rows(&self) -> usize {
        let Overlay { taps, channels, cells, groups, dead, .. } = &self.active;
        let few = taps.len() + channels.len() + groups.len() + dead.len();
        self.recent.changed() + cells.count + few
    }

    /// Makes the active overlay the frozen one; `None` if there is one already, or nothing to do.
    pub(crate) fn freeze(&mut self) -> Option<Arc<Overlay>> {
        self.begin_freezing().then(|| self.go_on_freezing(usize::MAX)).flatten()
    }

    /// As [`Young::freeze`], but for its messages, which [`Young::go_on_freezing`] encodes; `false`
    /// where that says `None`.
    pub(crate) fn begin_freezing(&mut self) -> bool {
        if self.frozen.is_some() || self.active.position == 0 {
            return false;
        }
        let next = Overlay { cells: std::mem::take(&mut self.spare), ..Overlay::default() };
        let overlay = std::mem::replace(&mut self.active, next);
        let (commit, latest) = (self.recent.begin_commit(), self.latest);
        self.frozen = Some(Arc::new(Overlay { commit, latest, ..overlay }));
        true
    }

    /// Whether [`Young::go_on_freezing`] has something to do.
    pub(crate) fn is_freezing(&self) -> bool {
        self.recent.is_committing()
    }

    /// Freezes so many messages more. What is frozen, once, when it is that as a whole.
    pub(crate) fn go_on_freezing(&mut self, messages: usize) -> Option<Arc<Overlay>> {
        let messages = self.recent.go_on_committing(messages)?;
        let frozen = self.frozen.as_ref()?;
        frozen.messages.set(messages).ok()?;
        Some(Arc::clone(frozen))
    }

    /// The frozen overlay is in the tables if they stand for `committed`.
    pub(crate) fn thaw(&mut self, committed: Position) {
        if let Some(frozen) = self.frozen.take_if(|frozen| frozen.position <= committed) {
            self.recent.end_commit(frozen.commit);
            // Unless somebody reads it still.
            if let Some(overlay) = Arc::into_inner(frozen) {
                self.spare = overlay.cells;
                self.spare.clear();
            }
        }
    }

    /// What is not in the tables, the youngest first.
    pub(crate) fn overlays(&self) -> impl DoubleEndedIterator<Item = &Overlay> {
        std::iter::once(&self.active).chain(self.frozen.as_deref())
    }

    /// Opt-in and categories of a channel.
    pub(crate) fn channel(
        &self,
        tables: &Tables,
        folder: &Path,
        channel: &ChannelId,
    ) -> Result<Arc<Channel>, Error> {
        if let Some(row) = self.channels.get(channel) {
            return Ok(Arc::clone(row));
        }
        let key = layout::channel(channel);
        if let Some(row) = self.overlays().find_map(|overlay| overlay.channels.get(&key)) {
            return Ok(Arc::clone(row));
        }
        let value = tables.channels.get(&key).map_err(engine_error)?;
        Ok(Arc::new(decoded(value.as_deref(), folder)?.unwrap_or_default()))
    }
}

fn decoded<T: DeserializeOwned>(value: Option<&[u8]>, folder: &Path) -> Result<Option<T>, Error> {
    value.map(layout::row).transpose().map_err(|error| layout_error(error, folder))
}

/// Where the next messages are, the last one first, and whether something may be known of them
/// that is not young; `None` for what is not told of a message.
type Ahead = SmallVec<[Option<(At, bool)>; AHEAD]>;

/// The senders of an entry: what is looked up for each of them and not for each event.
struct Senders(SmallVec<[(u32, MessageKey); 1]>);

impl Senders {
    fn of(events: &Facts, recent: &mut Recent) -> Self {
        let all = events.senders().iter().map(|Sender { channel, number }| {
            let (channel, number) = (channel.clone(), number.clone());
            let line = recent.line(&channel, &number);
            (line, MessageKey { channel, number, message: Hash([0; 16]) })
        });
        Self(all.collect())
    }

    fn at(&self, sender: u32, message: Hash) -> At {
        let line = usize::try_from(sender).ok().and_then(|sender| self.0.get(sender));
        At { line: line.expect("an event names a sender of its entry").0, hash: message }
    }

    /// The key of a message, until the next one is asked for.
    fn key(&mut self, sender: u32, message: Hash) -> &MessageKey {
        let sender = usize::try_from(sender).ok().and_then(|sender| self.0.get_mut(sender));
        let (_, key) = sender.expect("an event names a sender of its entry");
        key.message = message;
        key
    }
}

/// The rows, young and old, while an event is taken in.
struct Fold<'a> {
    young: &'a mut Young,
    tables: &'a Tables,
    folder: &'a Path,
    /// What was found out ahead of the message that the event is told of, if it is.
    at: Option<(At, bool)>,
}

impl Fold<'_> {
    /// Where a message is, and whether something may be known of it that is not young.
    fn at(&mut self, key: &MessageKey) -> (At, bool) {
        self.at.unwrap_or_else(|| (self.young.recent.at(key), true))
    }

    /// What the tables have of a message.
    fn stored(&self, key: &MessageKey) -> Result<Option<Touched<Message>>, Error> {
        Ok(match self.tables.message(&layout::message(key))? {
            None => None,
            // How old it is is all that matters of it.
            Some(Found::Tombstone(accepted)) => Some(Touched { accepted, row: Message::default() }),
            Some(Found::Row(value)) => decoded(Some(&value), self.folder)?,
        })
    }
}

impl Rows for Fold<'_> {
    type Error = Error;

    fn message(&mut self, key: &MessageKey) -> Result<Option<Touched<Message>>, Error> {
        let (at, may_be_known) = self.at(key);
        if let Some(row) = self.young.recent.get(at) {
            return Ok(Some(row.clone()));
        }
        let row = if may_be_known { self.stored(key)? } else { None };
        if let Some(row) = &row {
            self.young.recent.keep(at, row.clone());
        }
        Ok(row)
    }

    fn put_message(&mut self, key: &MessageKey, row: Touched<Message>) {
        let (at, _) = self.at(key);
        self.young.recent.put(at, row);
    }

    fn take_message(&mut self, key: &MessageKey) -> Result<Option<Touched<Message>>, Error> {
        let (at, may_be_known) = self.at(key);
        if let Some(row) = self.young.recent.take(at) {
            return Ok(Some(row));
        }
        if may_be_known { self.stored(key) } else { Ok(None) }
    }

    fn put_message_back(&mut self, key: &MessageKey, row: Touched<Message>) {
        let (at, _) = self.at(key);
        self.young.recent.keep(at, row);
    }

    fn tap(&mut self, key: &TapKey) -> Result<Option<Touched<Tap>>, Error> {
        let stored = layout::tap(key);
        if let Some(row) = self.young.overlays().find_map(|overlay| overlay.taps.get(&stored)) {
            return Ok(Some(row.clone()));
        }
        match self.tables.tap(&stored)? {
            None => Ok(None),
            Some(Found::Row(value)) => decoded(Some(&value), self.folder),
            // How old it is is all that matters of it.
            Some(Found::Tombstone(accepted)) => {
                let TapKey { channel, number, id } = key.clone();
                let button = Button { kind: ButtonKind::QuickReply, text: Text::lossy("") };
                let (time, message, sign) = (accepted, None, None);
                let event = TapEvent { channel, number, id, time, button, message, sign };
                Ok(Some(Touched { accepted, row: Tap::told_by(&event) }))
            }
        }
    }

    fn put_tap(&mut self, key: &TapKey, row: Touched<Tap>) {
        self.young.active.taps.insert(layout::tap(key), row);
    }

    fn channel(&mut self, channel: &ChannelId) -> Result<Arc<Channel>, Error> {
        if let Some(row) = self.young.channels.get(channel) {
            return Ok(Arc::clone(row));
        }
        let row = self.young.channel(self.tables, self.folder, channel)?;
        self.young.channels.insert(channel.clone(), Arc::clone(&row));
        Ok(row)
    }

    fn put_channel(&mut self, channel: &ChannelId, row: Channel) {
        let row = Arc::new(row);
        self.young.active.channels.insert(layout::channel(channel), Arc::clone(&row));
        self.young.channels.insert(channel.clone(), row);
    }

    fn add(&mut self, cell: Cell, change: &Totals) {
        self.young.active.cells.add(&cell, change);
    }

    fn count(&mut self, filing: &Filing<'_>, measure: Measure<'_>, times: i64) {
        self.young.active.cells.count(filing, measure, times);
    }

    fn each_message(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&MessageKey, &Touched<Message>),
    ) -> Result<(), Error> {
        self.young.recent.each_newer(channel, visit);
        for row in self.tables.messages_of(channel) {
            let (key, value) = row?;
            let key =
                layout::read_message(&key).map_err(|error| layout_error(error, self.folder))?;
            let at = self.young.recent.at(&key);
            if !self.young.recent.is_newer(at)
                && let Some(row) = decoded(Some(&value), self.folder)?
            {
                visit(&key, &row);
            }
        }
        Ok(())
    }

    fn each_tap(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&TapKey, &Touched<Tap>),
    ) -> Result<(), Error> {
        let damaged = |error| layout_error(error, self.folder);
        let prefix = layout::channel(channel);
        let young: Vec<&Overlay> = self.young.overlays().collect();
        for (age, overlay) in young.iter().enumerate() {
            for (key, row) in overlay.taps.iter().filter(|(key, _)| key.starts_with(&prefix)) {
                if !young.iter().take(age).any(|younger| younger.taps.contains_key(key)) {
                    visit(&layout::read_tap(key).map_err(damaged)?, row);
                }
            }
        }
        for row in self.tables.taps_of(channel) {
            let (key, value) = row?;
            if !young.iter().any(|overlay| overlay.taps.contains_key(&*key))
                && let Some(row) = decoded(Some(&value), self.folder)?
            {
                visit(&layout::read_tap(&key).map_err(damaged)?, &row);
            }
        }
        Ok(())
    }
}
