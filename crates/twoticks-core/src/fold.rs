//! How a fact changes the ledger: a pure step over rows that somebody else keeps.
//!
//! Every backend that folds facts one by one gives its rows as [`Rows`] and calls [`apply`]. What
//! a row contributes is taken away before it changes and added after, so a count moves as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::channel::{Channel, Side};
use crate::clock::Time;
use crate::event::{Event, MessageEvent, Status, TapEvent};
use crate::ids::{ChannelId, Hash, PhoneNumber, Template};
use crate::message::{Age, Change, Message, MessageKey};
use crate::tap::{Tap, TapKey};
use crate::totals::{Atom, Attribution, Cell, Scope, Totals};

/// A row and the latest acceptance time of the facts in it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Touched<T> {
    /// The latest acceptance time.
    pub accepted: Time,
    /// The row.
    pub row: T,
}

/// The rows of a ledger, as [`apply`] needs them. What was put is what is got next.
pub trait Rows {
    /// What can go wrong below.
    type Error;

    /// The message's row.
    ///
    /// # Errors
    /// Whatever goes wrong below; so for all that follow.
    fn message(&mut self, key: &MessageKey) -> Result<Option<Touched<Message>>, Self::Error>;
    /// Puts the message's row in place of what was there.
    fn put_message(&mut self, key: MessageKey, row: Touched<Message>) -> Result<(), Self::Error>;
    /// The tap's row.
    fn tap(&mut self, key: &TapKey) -> Result<Option<Touched<Tap>>, Self::Error>;
    /// Puts the tap's row in place of what was there.
    fn put_tap(&mut self, key: TapKey, row: Touched<Tap>) -> Result<(), Self::Error>;
    /// The channel's row; an empty one if there is none.
    fn channel(&mut self, channel: &ChannelId) -> Result<Arc<Channel>, Self::Error>;
    /// Puts the channel's row in place of what was there.
    fn put_channel(&mut self, channel: ChannelId, row: Channel) -> Result<(), Self::Error>;
    /// Adds `change` to a cell. A cell that becomes zero is as if it had never been.
    ///
    /// # Errors
    /// Also when a sum leaves the range of `i64`.
    fn add(&mut self, cell: Cell, change: &Totals) -> Result<(), Self::Error>;
    /// Calls `visit` with every message of a channel, in any order.
    fn each_message(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&MessageKey, &Touched<Message>),
    ) -> Result<(), Self::Error>;
    /// Calls `visit` with every tap of a channel, in any order.
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
/// Whatever goes wrong with the rows; they are then in between and must be dropped or rolled back.
pub fn apply<R: Rows>(rows: &mut R, accepted: Time, event: &Event) -> Result<Outcome, R::Error> {
    match event {
        Event::Message(event) => apply_message(rows, accepted, event),
        Event::Tap(event) => apply_tap(rows, accepted, event),
        Event::OptIn { channel, time } => {
            let old = rows.channel(channel)?;
            let mut new = Channel::clone(&old);
            let changed = new.opt_in(*time);
            if changed {
                refile(rows, accepted, channel, &old, &new, None)?;
                rows.put_channel(channel.clone(), new)?;
            }
            Ok(Outcome { duplicate: !changed, ..Outcome::default() })
        }
        Event::Category(event) => {
            let old = rows.channel(&event.channel)?;
            let mut new = Channel::clone(&old);
            let changed = new.categorise(event);
            if changed {
                refile(rows, accepted, &event.channel, &old, &new, Some(&event.template))?;
                rows.put_channel(event.channel.clone(), new)?;
            }
            Ok(Outcome { duplicate: !changed, ..Outcome::default() })
        }
    }
}

fn apply_message<R: Rows>(
    rows: &mut R,
    accepted: Time,
    event: &MessageEvent,
) -> Result<Outcome, R::Error> {
    let key = MessageKey {
        channel: event.channel.clone(),
        number: event.number.clone(),
        message: event.message,
    };
    let Some(old) = live(rows.message(&key)?, accepted) else {
        if event.status.is_some() {
            add_late(rows, &key.channel, &key.number, event.time)?;
        }
        return Ok(Outcome { late: event.status.is_some(), ..Outcome::default() });
    };
    let channel = rows.channel(&event.channel)?;
    let touched = old.as_ref().map_or(accepted, |old| old.accepted.max(accepted));
    let old = old.map(|old| old.row).unwrap_or_default();
    let mut new = old.clone();
    new.take(event);
    let outcome = Outcome {
        duplicate: new == old,
        out_of_order: event.status.is_some_and(|status| is_out_of_order(&old, status, event.time)),
        late: false,
        implied: new.implied() > old.implied(),
        unattributed: event.status.is_some() && new.attribution() == Attribution::Unattributed,
    };
    if new != old {
        let mut tally = Tally::default();
        old.contribute_change(&channel, &new, &channel, &key, &mut |cell, change| {
            tally.change(cell, change);
        });
        tally.commit(rows)?;
    }
    rows.put_message(key, Touched { accepted: touched, row: new })?;
    Ok(outcome)
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
        add_late(rows, &key.channel, &key.number, event.time)?;
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
    let mut tally = Tally::default();
    // First its (new) message: if only a tombstone is left of that, nothing else changes. It is
    // touched by a repeated tap too, so that no message is forgotten before its taps are.
    if let Some(message) = new.message() {
        let message = key.of_message(message);
        let tap = new.of_message(key.id);
        let Some(kept) = live(rows.message(&message)?, accepted) else {
            add_late(rows, &key.channel, &key.number, event.time)?;
            return Ok(late);
        };
        change_taps(rows, &mut tally, (message, kept), &channel, accepted, |row| row.put_tap(tap))?;
    }
    if changed {
        if let Some(old) = &old {
            old.contribute(&key, &channel, &mut |cell, totals| {
                tally.change(cell, Change::TakeAway(totals));
            });
            if let Some(message) = old.message().filter(|old| Some(*old) != new.message()) {
                leave_message(rows, &mut tally, &key, message, &channel, accepted)?;
            }
        }
        new.contribute(&key, &channel, &mut |cell, totals| {
            tally.change(cell, Change::Add(totals));
        });
    }
    tally.commit(rows)?;
    rows.put_tap(key, Touched { accepted: touched, row: new })?;
    Ok(Outcome { duplicate: !changed, ..Outcome::default() })
}

/// Takes the tap from the message it was thought to belong to. Where that had as many taps as are
/// kept, one that had found no room has some now.
fn leave_message<R: Rows>(
    rows: &mut R,
    tally: &mut Tally,
    tap: &TapKey,
    message: Hash,
    channel: &Channel,
    accepted: Time,
) -> Result<(), R::Error> {
    let key = tap.of_message(message);
    let Some(kept) = live(rows.message(&key)?, accepted) else { return Ok(()) };
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
    change_taps(rows, tally, (key, kept), channel, accepted, |row| {
        row.take_tap_away(tap.id);
        others.into_iter().for_each(|other| row.put_tap(other));
    })
}

fn change_taps<R: Rows>(
    rows: &mut R,
    tally: &mut Tally,
    (key, kept): (MessageKey, Option<Touched<Message>>),
    channel: &Channel,
    accepted: Time,
    change: impl FnOnce(&mut Message),
) -> Result<(), R::Error> {
    let touched = kept.as_ref().map_or(accepted, |kept| kept.accepted.max(accepted));
    let old = kept.map(|kept| kept.row).unwrap_or_default();
    let mut row = old.clone();
    change(&mut row);
    if row != old {
        old.contribute_change(channel, &row, channel, &key, &mut |cell, change| {
            tally.change(cell, change);
        });
    }
    rows.put_message(key, Touched { accepted: touched, row })
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
            row.contribute_change(old, row, new, key, &mut |cell, change| {
                tally.change(cell, change);
            });
        }
    })?;
    rows.each_tap(id, &mut |key, Touched { accepted: touched, row }| {
        if Age::of(*touched, accepted) == Age::Live {
            row.contribute(key, old, &mut |cell, totals| {
                tally.change(cell, Change::TakeAway(totals));
            });
            row.contribute(key, new, &mut |cell, totals| {
                tally.change(cell, Change::Add(totals));
            });
        }
    })?;
    tally.commit(rows)
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

fn add_late<R: Rows>(
    rows: &mut R,
    channel: &ChannelId,
    number: &PhoneNumber,
    time: Time,
) -> Result<(), R::Error> {
    let scope = Scope::Number { number: number.clone(), attribution: Attribution::Unattributed };
    let cell = Cell { channel: channel.clone(), scope, side: Side::Before, atom: Atom::of(time) };
    rows.add(cell, &Totals { late: 1, ..Totals::default() })
}

/// Changes of cells, gathered so that what moves within a cell costs nothing.
#[derive(Default)]
struct Tally(BTreeMap<Cell, Totals>);

impl Tally {
    fn change(&mut self, cell: Cell, change: Change<'_>) {
        let known = self.0.entry(cell).or_default();
        let sum = std::mem::take(known);
        *known = match change {
            Change::Add(totals) => sum.checked_add(totals),
            Change::TakeAway(totals) => sum.checked_sub(totals),
        }
        .expect("the sums of one step are far below i64: amounts are bounded by Cost");
    }

    fn commit<R: Rows>(self, rows: &mut R) -> Result<(), R::Error> {
        self.0
            .into_iter()
            .filter(|(_, change)| !change.is_zero())
            .try_for_each(|(cell, change)| rows.add(cell, &change))
    }
}
