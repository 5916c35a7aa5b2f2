//! How a fact changes the ledger: a pure step over rows that somebody else keeps.
//!
//! Every backend that folds facts one by one gives its rows as [`Rows`] and calls [`apply`]. What
//! a row contributes is taken away before it changes and added after, so a count moves as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::channel::{Channel, Side};
use crate::clock::Time;
use crate::event::{Event, MessageFact, Status, TapEvent};
use crate::ids::{ChannelId, Hash, PhoneNumber, Template};
use crate::message::{Age, Message, MessageKey, MessageTap};
use crate::tap::{Tap, TapKey};
use crate::totals::{Atom, Attribution, Cell, Filing, Measure, Totals};

/// A row and the latest acceptance time of the facts in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Touched<T> {
    /// The latest acceptance time.
    pub accepted: Time,
    /// The row.
    pub row: T,
}

/// The rows of a ledger, as [`apply`] needs them. What was put is what is got next. Reading can
/// fail, writing cannot: a fact that could not be taken in has changed nothing.
pub trait Rows {
    /// What can go wrong below.
    type Error;

    /// The message's row.
    ///
    /// # Errors
    /// Whatever goes wrong below; so for all that read.
    fn message(&mut self, key: &MessageKey) -> Result<Option<Touched<Message>>, Self::Error>;
    /// Puts the message's row in place of what was there.
    fn put_message(&mut self, key: &MessageKey, row: Touched<Message>);
    /// The message's row, taken out without a copy where that can be done: it is put, changed or
    /// back, before anything else is asked for.
    ///
    /// # Errors
    /// As [`Rows::message`].
    fn take_message(&mut self, key: &MessageKey) -> Result<Option<Touched<Message>>, Self::Error> {
        self.message(key)
    }
    /// Puts back what [`Rows::take_message`] gave, unchanged.
    fn put_message_back(&mut self, _key: &MessageKey, _row: Touched<Message>) {}
    /// The tap's row.
    fn tap(&mut self, key: &TapKey) -> Result<Option<Touched<Tap>>, Self::Error>;
    /// Puts the tap's row in place of what was there.
    fn put_tap(&mut self, key: &TapKey, row: Touched<Tap>);
    /// The channel's row; an empty one if there is none.
    fn channel(&mut self, channel: &ChannelId) -> Result<Arc<Channel>, Self::Error>;
    /// Puts the channel's row in place of what was there.
    fn put_channel(&mut self, channel: &ChannelId, row: Channel);
    /// Adds `change` to a cell. A cell that becomes zero is as if it had never been. A change that
    /// would take a sum out of the range of `i64` is left out, and counted.
    fn add(&mut self, cell: Cell, change: &Totals);
    /// Counts `measure` so many `times` where it is filed, as [`Rows::add`] would.
    fn count(&mut self, filing: &Filing<'_>, measure: Measure<'_>, times: i64) {
        let mut change = Totals::default();
        if change.count(measure, times) {
            filing.cells().for_each(|cell| self.add(cell, &change));
        }
    }
    /// Calls `visit` with every message of a channel, in any order.
    ///
    /// # Errors
    /// Whatever goes wrong below.
    fn each_message(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&MessageKey, &Touched<Message>),
    ) -> Result<(), Self::Error>;
    /// Calls `visit` with every tap of a channel, in any order.
    ///
    /// # Errors
    /// Whatever goes wrong below.
    fn each_tap(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&TapKey, &Touched<Tap>),
    ) -> Result<(), Self::Error>;
}

/// What a fact did, for the operator's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// It said nothing new.
    pub duplicate: bool,
    /// Its status came after a later one of the same message, or with an earlier time than told.
    pub out_of_order: bool,
    /// Its message's state had been dropped: it is counted as late and nowhere else.
    pub late: bool,
    /// It made a status count that nobody told.
    pub implied: bool,
    /// It told a status, and its message's template is not known (yet).
    pub unattributed: bool,
}

/// Takes `event`, accepted at `accepted`, into the ledger.
///
/// The event must be possible ([`Event::is_possible`]).
///
/// # Errors
/// Whatever goes wrong with reading rows; nothing has been changed then.
pub fn apply<R: Rows>(rows: &mut R, accepted: Time, event: &Event) -> Result<Outcome, R::Error> {
    match event {
        Event::Message(event) => apply_message(rows, accepted, &event.key(), event.fact()),
        Event::Tap(event) => apply_tap(rows, accepted, event),
        Event::OptIn { channel, time } => {
            let old = rows.channel(channel)?;
            let mut new = Channel::clone(&old);
            let changed = new.opt_in(*time);
            if changed {
                refile(rows, accepted, channel, &old, &new, None)?;
                rows.put_channel(channel, new);
            }
            Ok(Outcome { duplicate: !changed, ..Outcome::default() })
        }
        Event::Category(event) => {
            let old = rows.channel(&event.channel)?;
            let mut new = Channel::clone(&old);
            let changed = new.categorise(event);
            if changed {
                refile(rows, accepted, &event.channel, &old, &new, Some(&event.template))?;
                rows.put_channel(&event.channel, new);
            }
            Ok(Outcome { duplicate: !changed, ..Outcome::default() })
        }
    }
}

/// Takes what is told of the message `key`, accepted at `accepted`, into the ledger.
///
/// It must be possible ([`Event::is_possible`]).
///
/// # Errors
/// Whatever goes wrong with reading rows; nothing has been changed then.
pub fn apply_message<R: Rows>(
    rows: &mut R,
    accepted: Time,
    key: &MessageKey,
    fact: MessageFact<'_>,
) -> Result<Outcome, R::Error> {
    let channel = rows.channel(&key.channel)?;
    let taken = rows.take_message(key)?;
    let (before, mut row) = match taken {
        None => (Time(i64::MIN), Message::default()),
        Some(taken) => match Age::of(taken.accepted, accepted) {
            Age::Live => (taken.accepted, taken.row),
            Age::Gone => (Time(i64::MIN), Message::default()),
            Age::Tombstone => {
                rows.put_message_back(key, taken);
                if fact.status.is_some() {
                    add_late(rows, &key.channel, &key.number, fact.time);
                }
                return Ok(Outcome { late: fact.status.is_some(), ..Outcome::default() });
            }
        },
    };
    let touched = before.max(accepted);
    let is_told = fact.status.is_some();
    let out_of_order = fact.status.is_some_and(|status| is_out_of_order(&row, status, fact.time));
    let unattributed = |row: &Message| is_told && row.attribution() == Attribution::Unattributed;
    if row.knows(fact) {
        let unattributed = unattributed(&row);
        let row = Touched { accepted: touched, row };
        // A repeat that comes with what it repeats has nothing to keep.
        if touched == before {
            rows.put_message_back(key, row);
        } else {
            rows.put_message(key, row);
        }
        return Ok(Outcome { duplicate: true, out_of_order, unattributed, ..Outcome::default() });
    }
    let old = row.clone();
    row.take(fact);
    old.contribute_change(&channel, &row, &channel, key, &mut |filing, measure, times| {
        rows.count(filing, measure, times);
    });
    let (implied, unattributed) = (row.implied() > old.implied(), unattributed(&row));
    rows.put_message(key, Touched { accepted: touched, row });
    Ok(Outcome { duplicate: false, out_of_order, late: false, implied, unattributed })
}

fn is_out_of_order(old: &Message, status: Status, time: Time) -> bool {
    let earlier = old.told(status).is_some_and(|known| time < known);
    let behind = status != Status::Failed
        && old.told(status).is_none()
        && Status::ALL
            .into_iter()
            .any(|later| later > status && later != Status::Failed && old.told(later).is_some());
    earlier || behind
}

fn apply_tap<R: Rows>(rows: &mut R, accepted: Time, event: &TapEvent) -> Result<Outcome, R::Error> {
    let key = TapKey { channel: event.channel.clone(), number: event.number.clone(), id: event.id };
    let late = Outcome { late: true, ..Outcome::default() };
    let Some(old) = live(rows.tap(&key)?, accepted) else {
        add_late(rows, &key.channel, &key.number, event.time);
        return Ok(late);
    };
    let mut new = Tap::told_by(event);
    if let Some(old) = &old {
        new.merge(old.row.clone());
    }
    let touched = old.as_ref().map_or(accepted, |old| old.accepted.max(accepted));
    let old = old.map(|old| old.row);
    let changed = old.as_ref() != Some(&new);
    let channel = rows.channel(&key.channel)?;
    // First its (new) message: if only a tombstone is left of that, nothing else changes. It is
    // touched by a repeated tap too, so that no message is forgotten before its taps are.
    let joined = match new.message().map(|message| key.of_message(message)) {
        None => None,
        Some(message) => {
            let Some(kept) = live(rows.message(&message)?, accepted) else {
                add_late(rows, &key.channel, &key.number, event.time);
                return Ok(late);
            };
            Some((message, kept))
        }
    };
    let left = old.as_ref().and_then(Tap::message).filter(|left| Some(*left) != new.message());
    let left = match left {
        None => None,
        Some(message) => leave_message(rows, &key, message, accepted)?,
    };
    if let Some((message, kept)) = joined {
        let tap = new.of_message(key.id);
        change_taps(rows, (message, kept), &channel, accepted, |row| row.put_tap(tap));
    }
    if let Some((message, kept, others)) = left {
        change_taps(rows, (message, kept), &channel, accepted, |row| {
            row.take_tap_away(key.id);
            others.into_iter().for_each(|other| row.put_tap(other));
        });
    }
    if changed {
        if let Some(old) = &old {
            old.contribute(&key, &channel, &mut |filing, measure| rows.count(filing, measure, -1));
        }
        new.contribute(&key, &channel, &mut |filing, measure| rows.count(filing, measure, 1));
    }
    rows.put_tap(&key, Touched { accepted: touched, row: new });
    Ok(Outcome { duplicate: !changed, ..Outcome::default() })
}

/// A message that a tap leaves, and the taps of it that find room then: where it had as many as
/// are kept, one that had found none has some now.
type Left = (MessageKey, Option<Touched<Message>>, Vec<MessageTap>);

/// The message that `tap` was thought to belong to; `None` if only a tombstone is left of it.
fn leave_message<R: Rows>(
    rows: &mut R,
    tap: &TapKey,
    message: Hash,
    accepted: Time,
) -> Result<Option<Left>, R::Error> {
    let key = tap.of_message(message);
    let Some(kept) = live(rows.message(&key)?, accepted) else { return Ok(None) };
    let mut others = Vec::new();
    if kept.as_ref().is_some_and(|kept| kept.row.is_full_of_taps()) {
        rows.each_tap(&tap.channel, &mut |other, Touched { accepted: touched, row }| {
            let is_other = other.number == tap.number && other.id != tap.id;
            let is_live = Age::of(*touched, accepted) == Age::Live;
            if is_other && is_live && row.message() == Some(message) {
                others.push(row.of_message(other.id));
            }
        })?;
    }
    Ok(Some((key, kept, others)))
}

fn change_taps<R: Rows>(
    rows: &mut R,
    (key, kept): (MessageKey, Option<Touched<Message>>),
    channel: &Channel,
    accepted: Time,
    change: impl FnOnce(&mut Message),
) {
    let touched = kept.as_ref().map_or(accepted, |kept| kept.accepted.max(accepted));
    let old = kept.map(|kept| kept.row).unwrap_or_default();
    let mut row = old.clone();
    change(&mut row);
    if row != old {
        old.contribute_change(channel, &row, channel, &key, &mut |filing, measure, times| {
            rows.count(filing, measure, times);
        });
    }
    rows.put_message(&key, Touched { accepted: touched, row });
}

/// Moves what changes when a channel's opt-in or one of its categories changes. What is older
/// than the horizon stays where it was counted.
fn refile<R: Rows>(
    rows: &mut R,
    accepted: Time,
    id: &ChannelId,
    old: &Channel,
    new: &Channel,
    only: Option<&Template>,
) -> Result<(), R::Error> {
    let mut tally = Tally::default();
    rows.each_message(id, &mut |key, Touched { accepted: touched, row }| {
        let concerned = only.is_none() || only == row.template();
        if concerned && Age::of(*touched, accepted) == Age::Live {
            row.contribute_change(old, row, new, key, &mut |filing, measure, times| {
                tally.count(filing, measure, times);
            });
        }
    })?;
    rows.each_tap(id, &mut |key, Touched { accepted: touched, row }| {
        if Age::of(*touched, accepted) == Age::Live {
            row.contribute(key, old, &mut |filing, measure| tally.count(filing, measure, -1));
            row.contribute(key, new, &mut |filing, measure| tally.count(filing, measure, 1));
        }
    })?;
    tally.commit(rows);
    Ok(())
}

/// The row, if its state is kept or there is none: `None` for a tombstone, `Some(None)` for
/// nothing known (or nothing any more).
#[expect(clippy::option_option, reason = "a tombstone, nothing and something are three answers")]
fn live<T>(row: Option<Touched<T>>, accepted: Time) -> Option<Option<Touched<T>>> {
    match row.as_ref().map(|row| Age::of(row.accepted, accepted)) {
        Some(Age::Tombstone) => None,
        Some(Age::Gone) | None => Some(None),
        Some(Age::Live) => Some(row),
    }
}

fn add_late<R: Rows>(rows: &mut R, channel: &ChannelId, number: &PhoneNumber, time: Time) {
    let filing = Filing {
        channel,
        number,
        attribution: Attribution::Unattributed,
        template: None,
        side: Side::Before,
        atom: Atom::of(time),
    };
    rows.count(&filing, Measure::Late, 1);
}

/// Changes of cells, gathered so that what moves within a cell costs nothing.
#[derive(Default)]
struct Tally(BTreeMap<Cell, Totals>);

impl Tally {
    fn count(&mut self, filing: &Filing<'_>, measure: Measure<'_>, times: i64) {
        for cell in filing.cells() {
            let fits = self.0.entry(cell).or_default().count(measure, times);
            assert!(fits, "the sums of one step are far below i64: amounts are bounded by Cost");
        }
    }

    fn commit<R: Rows>(self, rows: &mut R) {
        for (cell, change) in self.0.into_iter().filter(|(_, change)| !change.is_zero()) {
            rows.add(cell, &change);
        }
    }
}
