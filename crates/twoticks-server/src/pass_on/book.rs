//! Who is told what next: a lane for each destination, over the one journal.
//!
//! Pure: time and positions are arguments. A lane knows the first entry that was not looked at for
//! it, and those before that are open: of interest to it, and not taken yet. What always holds:
//! every entry behind a lane's beginning is looked at once, in order, and is open until it was
//! taken or given up; while nothing is taken only the oldest uses up its tries; a lane that is full is looked at later and holds up no other; what a crash
//! forgets is at most looked at, and posted, again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use twoticks_core::clock::Time;
use twoticks_core::ids::{ChannelId, Hash};
use twoticks_store::cursors::{Cursor, OPEN_MAX, Open};
use twoticks_store::journal::Position;

use super::parcels::Destination;

/// After how many milliseconds what was not taken is tried again, each time; then it is given up.
pub const RETRIES: [i64; 3] = [60_000, 300_000, LONGEST];
/// After so many in a row that were not taken, a destination rests: of what is not the oldest, one
/// is tried for each [`REST`], to see whether it takes again.
pub const FAILURES_MAX: u32 = 4;
/// How long, in milliseconds.
pub const REST: i64 = RETRIES[0];
/// How long, in milliseconds, nothing is read for a lane after the journal could not be read where
/// it is.
pub const READ_REST: i64 = 60_000;
/// How many posts are on their way at the same time, over all destinations;
pub const IN_FLIGHT_MAX: usize = 64;
/// of them to destinations that took nothing the last time, or took their time;
pub const TROUBLED_IN_FLIGHT_MAX: usize = 32;
/// to those of one channel, which may have a thousand;
pub const CHANNEL_IN_FLIGHT_MAX: usize = 16;
/// of them to those in trouble;
pub const CHANNEL_TROUBLED_MAX: usize = 8;
/// and to one destination; one that took nothing the last time has one.
pub const LANE_IN_FLIGHT_MAX: usize = 4;

/// After how many entries a cursor is kept, also if nothing in them is of interest: so many are
/// looked at again after a crash.
const KEPT_EVERY: u64 = 4_096;
/// The longest of [`RETRIES`].
const LONGEST: i64 = 600_000;

/// What became of posts to one destination since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken.
    pub taken: u64,
    /// Not taken, each try counted.
    pub failed: u64,
    /// Given up after the last try.
    pub given_up: u64,
    /// Entries, of whomever, that the journal did not have any more when it was their turn, or that
    /// are damaged there.
    pub skipped: u64,
}

/// A post that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// To whom.
    pub id: Hash,
    /// The same, with the address.
    pub to: Destination,
    /// Of which entry.
    pub position: Position,
}

/// How a post ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It was taken.
    Taken {
        /// Whether that took so long that others are better served first.
        is_slow: bool,
    },
    /// There is nothing to post any more.
    Nothing,
    /// The journal does not have the entry any more, or it is damaged there.
    Gone,
    /// It was not taken, and why.
    Failed(String),
    /// It was not posted for a reason of our own; it is tried again without counting as a try.
    Hindered,
}

/// What is worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A destination that took what it was given takes nothing any more.
    Fails(String),
    /// The first that was given up since it took something.
    GivesUp(String),
    /// It takes again.
    Takes,
}

/// A destination and how far it is.
struct Lane {
    to: Destination,
    next: Position,
    open: BTreeMap<Position, Pending>,
    /// Those that are not on their way, by when they may go.
    waiting: BTreeSet<(Time, Position)>,
    /// Why the last post was not taken,
    failing: Option<String>,
    /// and how many in a row were not.
    failures: u32,
    /// Until when only the oldest is tried.
    rests_until: Time,
    /// Whether the last one took long to be taken.
    is_slow: bool,
    gives_up: bool,
    counts: Counts,
    is_dirty: bool,
    /// Where it was when it was kept.
    kept: Position,
    /// When it was read for, by counting.
    served: u64,
    /// When it got a place, in the same way.
    given: u64,
    /// Until when nothing is read for it.
    unread_until: Option<Time>,
    /// Since when there is something that was not looked at, and nothing is.
    behind_since: Option<Time>,
}

#[derive(Clone, Copy)]
struct Pending {
    tries: u8,
    at: Time,
    accepted: Option<Time>,
}

impl Lane {
    fn new(to: Destination, cursor: Cursor) -> Self {
        let Cursor { next, open } = cursor;
        let pending = |it: Open| {
            // It was accepted before it was tried for the last time, which says that it is late.
            let after = usize::from(it.tries).checked_sub(1).and_then(|last| RETRIES.get(last));
            let tried = it.at.plus(-after.copied().unwrap_or_default());
            let accepted = (it.at > Time(0)).then_some(tried);
            (it.position, Pending { tries: it.tries, at: it.at, accepted })
        };
        let open: BTreeMap<Position, Pending> = open.into_iter().map(pending).collect();
        let waiting = open.iter().map(|(position, pending)| (pending.at, *position)).collect();
        let counts = Counts::default();
        Self {
            to,
            next,
            open,
            waiting,
            failing: None,
            failures: 0,
            rests_until: Time(i64::MIN),
            is_slow: false,
            gives_up: false,
            counts,
            is_dirty: true,
            kept: 0,
            served: 0,
            given: 0,
            unread_until: None,
            behind_since: None,
        }
    }

    fn cursor(&self) -> Cursor {
        let open = |(position, pending): (&Position, &Pending)| Open {
            position: *position,
            tries: pending.tries,
            at: pending.at,
        };
        Cursor { next: self.next, open: self.open.iter().map(open).collect() }
    }

    fn flying(&self) -> usize {
        self.open.len() - self.waiting.len()
    }

    /// What may be posted now: in the order in which it may, and while nothing is taken the oldest
    /// first, since that uses up the tries.
    fn next_due(&self, now: Time) -> Option<(Time, Position)> {
        let is_due = |it: &(Time, Position)| it.0 <= now;
        let first = self.waiting.first().copied().filter(is_due);
        if self.failing.is_none() {
            return first;
        }
        let oldest = self.open.first_key_value().map(|(position, it)| (it.at, *position));
        let oldest = oldest.filter(|it| is_due(it) && self.waiting.contains(it));
        oldest.or(first.filter(|_| self.rests_until <= now))
    }

    /// Nothing waits for longer than it ever would, also after a clock was corrected.
    fn hold_to(&mut self, now: Time) {
        let latest = now.plus(LONGEST);
        while let Some((at, position)) = self.waiting.last().copied().filter(|it| it.0 > latest) {
            self.waiting.remove(&(at, position));
            if let Some(pending) = self.open.get(&position).copied() {
                self.wait(position, Pending { at: now, ..pending });
            }
        }
        if self.rests_until > now.plus(REST) {
            self.rests_until = now;
        }
    }

    fn is_troubled(&self) -> bool {
        self.failing.is_some() || self.is_slow
    }

    fn wait(&mut self, position: Position, pending: Pending) {
        self.open.insert(position, pending);
        self.waiting.insert((pending.at, position));
    }
}

/// A destination that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// What it was known by.
    pub id: Hash,
    /// Whose and where.
    pub to: Destination,
    /// How many entries of its own it had not taken, which go with it; none if another one took over.
    pub open: u64,
    /// How many entries, of whomever, were not looked at for it.
    pub behind: u64,
}

/// How a destination stands, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// What it is known by.
    pub id: Hash,
    /// Whose and where.
    pub to: Destination,
    /// How many entries of its own are open.
    pub open: u64,
    /// How many entries, of whomever, were not looked at for it.
    pub behind: u64,
    /// When the oldest that is open was accepted, as far as that is known, or since when nothing was
    /// looked at although there is something.
    pub oldest: Option<Time>,
    /// Why it does not take what it is given.
    pub failing: Option<String>,
    /// What became of what it was given.
    pub counts: Counts,
}

/// Every lane.
#[derive(Default)]
pub struct Book {
    lanes: BTreeMap<Hash, Lane>,
    served: u64,
    given: u64,
}

/// The places that are taken, and how many of them by lanes in trouble.
#[derive(Default)]
struct Places {
    all: Taken,
    by_channel: HashMap<ChannelId, Taken>,
}

#[derive(Clone, Copy, Default)]
struct Taken {
    all: usize,
    troubled: usize,
}

impl Places {
    fn take(&mut self, lane: &Lane, count: usize) {
        if count == 0 {
            return;
        }
        let of_channel = self.by_channel.entry(lane.to.channel.clone()).or_default();
        for taken in [&mut self.all, of_channel] {
            taken.all += count;
            taken.troubled += if lane.is_troubled() { count } else { 0 };
        }
    }

    fn has_one_for(&self, lane: &Lane) -> bool {
        let of_lane = if lane.failing.is_some() { 1 } else { LANE_IN_FLIGHT_MAX };
        let of_channel = self.by_channel.get(&lane.to.channel).copied().unwrap_or_default();
        let has_room = |taken: Taken, most, of_troubled| {
            taken.all < most && (!lane.is_troubled() || taken.troubled < of_troubled)
        };
        lane.flying() < of_lane
            && has_room(self.all, IN_FLIGHT_MAX, TROUBLED_IN_FLIGHT_MAX)
            && has_room(of_channel, CHANNEL_IN_FLIGHT_MAX, CHANNEL_TROUBLED_MAX)
    }
}

impl Book {
    /// Whether anything is passed on at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// From now on these are the destinations. A new one begins where `known` says, else where the
    /// one is that it is instead of, else with what comes after `newest`. Those that are not there any
    /// more, which are forgotten.
    pub fn settle(
        &mut self,
        wanted: BTreeMap<Hash, Destination>,
        known: &BTreeMap<Hash, Cursor>,
        newest: Position,
    ) -> Vec<Gone> {
        let lanes = std::mem::take(&mut self.lanes);
        let (stay, mut gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            lanes.into_iter().partition(|(id, _)| wanted.contains_key(id));
        self.lanes = stay;
        let is_new = |id: &Hash| !self.lanes.contains_key(id) && !known.contains_key(id);
        let new: Vec<Hash> = wanted.keys().filter(|id| is_new(id)).copied().collect();
        let mut followed = BTreeMap::new();
        for id in &new {
            // One that went and one that came, of the same channel and form: its address has changed.
            let Some(to) = wanted.get(id) else { continue };
            let is_like =
                |other: &Destination| other.channel == to.channel && other.form == to.form;
            let mut came = new.iter().filter_map(|id| wanted.get(id)).filter(|it| is_like(it));
            let mut went = gone.iter().filter(|(_, lane)| is_like(&lane.to));
            if let (Some(_), None) = (came.next(), came.next())
                && let (Some((old, _)), None) = (went.next(), went.next())
            {
                followed.insert(*id, *old);
            }
        }
        let mut all_gone = Vec::new();
        for (id, to) in wanted {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.to = to;
                continue;
            }
            let begins = || Cursor { next: newest.saturating_add(1), open: Vec::new() };
            let before = followed.get(&id).and_then(|old| Some((old, gone.remove(old)?)));
            let lane = match before {
                Some((old, before)) => {
                    all_gone.push(Gone { id: *old, to: before.to.clone(), open: 0, behind: 0 });
                    Lane::new(to, before.cursor())
                }
                None => Lane::new(to, known.get(&id).cloned().unwrap_or_else(begins)),
            };
            self.lanes.insert(id, lane);
        }
        all_gone.extend(gone.into_iter().map(|(id, lane)| Gone {
            id,
            open: lane.open.len() as u64,
            behind: newest.saturating_add(1).saturating_sub(lane.next),
            to: lane.to,
        }));
        all_gone
    }

    /// A journal that is shorter than it was is another one: an emulator has begun anew.
    pub fn begin_anew_behind(&mut self, newest: Position) {
        for lane in self.lanes.values_mut().filter(|lane| lane.next > newest.saturating_add(1)) {
            *lane = Lane::new(lane.to.clone(), Cursor { next: newest + 1, open: Vec::new() });
        }
    }

    /// From where to read next, if there is somebody to read for: who waits longest, whatever the
    /// others wait for.
    pub fn read_from(&mut self, newest: Position, now: Time) -> Option<Position> {
        for lane in self.lanes.values_mut().filter(|lane| lane.next <= newest) {
            lane.behind_since.get_or_insert(now);
        }
        // Also after a clock was corrected it is not longer than it ever would be.
        let rests = |until: Time| until > now && until <= now.plus(READ_REST);
        let has_room = |lane: &&mut Lane| {
            let is_behind = lane.next <= newest && lane.open.len() < OPEN_MAX;
            is_behind && !lane.unread_until.is_some_and(rests)
        };
        let lane = self.lanes.values_mut().filter(has_room).min_by_key(|lane| lane.served)?;
        self.served += 1;
        lane.served = self.served;
        Some(lane.next)
    }

    /// The journal could not be read from `from` on: those who are there wait, and nobody else.
    pub fn unread(&mut self, from: Position, now: Time) {
        for lane in self.lanes.values_mut().filter(|lane| lane.next == from) {
            lane.unread_until = Some(now.plus(READ_REST));
        }
    }

    /// The entries from `from` up to `until` were read, and those `found` are of interest to some.
    /// The first one that the journal has of them is `first`. They are due from `now` on, behind what
    /// has waited since before. Those who have missed entries that the journal does not have any
    /// more, or that are damaged there, and how many.
    pub fn offer(
        &mut self,
        (from, first, until): (Position, Position, Position),
        found: &[(Position, Time, HashSet<Hash>)],
        now: Time,
    ) -> Vec<(Destination, u64)> {
        let mut missed = Vec::new();
        for (id, lane) in &mut self.lanes {
            if lane.next < from || lane.next > until {
                continue;
            }
            let skipped = first.saturating_sub(lane.next);
            if skipped > 0 {
                lane.counts.skipped += skipped;
                missed.push((lane.to.clone(), skipped));
            }
            let mut reached = until + 1;
            for (position, accepted, ids) in found {
                if *position < lane.next || !ids.contains(id) {
                    continue;
                }
                if lane.open.len() >= OPEN_MAX {
                    reached = *position;
                    break;
                }
                lane.wait(*position, Pending { tries: 0, at: now, accepted: Some(*accepted) });
                lane.is_dirty = true;
            }
            lane.next = reached;
            (lane.unread_until, lane.behind_since) = (None, None);
            lane.is_dirty |= lane.next.saturating_sub(lane.kept) >= KEPT_EVERY;
        }
        missed
    }

    /// What may be posted now, and is on its way from now on.
    pub fn due(&mut self, now: Time) -> Vec<Due> {
        let mut places = Places::default();
        for lane in self.lanes.values() {
            places.take(lane, lane.flying());
        }
        let mut due = Vec::new();
        for id in self.in_turn() {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.hold_to(now);
            while places.has_one_for(lane) {
                let Some(next @ (_, position)) = lane.next_due(now) else { break };
                lane.waiting.remove(&next);
                places.take(lane, 1);
                self.given += 1;
                lane.given = self.given;
                due.push(Due { id, to: lane.to.clone(), position });
            }
        }
        due
    }

    /// The lanes that have something waiting. Those in trouble first: there are places that they never
    /// get, and none that the others do not. Of each kind whoever had a place longest ago.
    fn in_turn(&self) -> Vec<Hash> {
        let waiting = self.lanes.iter().filter(|(_, lane)| !lane.waiting.is_empty());
        let mut all: Vec<_> =
            waiting.map(|(id, lane)| (!lane.is_troubled(), lane.given, *id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, _, id)| id).collect()
    }

    /// How a post ended. Whom it is about, whether it was given up by that, and what is worth saying.
    pub fn end(
        &mut self,
        id: Hash,
        position: Position,
        end: End,
        now: Time,
    ) -> Option<(Destination, bool, Option<Turn>)> {
        let lane = self.lanes.get_mut(&id)?;
        let pending = *lane.open.get(&position)?;
        lane.is_dirty = true;
        let given_up = lane.counts.given_up;
        let turn = match end {
            End::Taken { is_slow } => {
                lane.open.remove(&position);
                lane.is_slow = is_slow;
                lane.counts.taken += 1;
                lane.gives_up = false;
                (lane.failures, lane.rests_until) = (0, Time(i64::MIN));
                lane.failing.take().map(|_| Turn::Takes)
            }
            End::Nothing => {
                lane.open.remove(&position);
                None
            }
            End::Gone => {
                lane.open.remove(&position);
                lane.counts.skipped += 1;
                None
            }
            End::Hindered => {
                let at = now.plus(RETRIES.first().copied().unwrap_or_default());
                lane.wait(position, Pending { at, ..pending });
                None
            }
            End::Failed(why) => {
                lane.counts.failed += 1;
                lane.failures = lane.failures.saturating_add(1);
                if lane.failures >= FAILURES_MAX {
                    lane.rests_until = now.plus(REST);
                }
                let was_failing = lane.failing.replace(why.clone()).is_some();
                // That nothing is taken is known already; whoever is away for an hour is to lose
                // what is oldest, and not all that came meanwhile.
                let is_oldest = lane.open.first_key_value().is_some_and(|it| *it.0 == position);
                let uses_up = is_oldest || !was_failing;
                let after = RETRIES.get(usize::from(pending.tries)).copied();
                if let Some(after) = after.or((!uses_up).then_some(LONGEST)) {
                    let tries = pending.tries + u8::from(uses_up);
                    lane.wait(position, Pending { tries, at: now.plus(after), ..pending });
                    (!was_failing).then_some(Turn::Fails(why))
                } else {
                    lane.open.remove(&position);
                    lane.counts.given_up += 1;
                    let is_first = !std::mem::replace(&mut lane.gives_up, true);
                    is_first.then_some(Turn::GivesUp(why))
                }
            }
        };
        Some((lane.to.clone(), lane.counts.given_up > given_up, turn))
    }

    /// The cursors that have changed since they were asked for.
    pub fn dirty(&mut self) -> Vec<(Hash, Cursor)> {
        let dirty = self.lanes.iter_mut().filter(|(_, lane)| lane.is_dirty);
        dirty
            .map(|(id, lane)| {
                lane.is_dirty = false;
                lane.kept = lane.next;
                (*id, lane.cursor())
            })
            .collect()
    }

    /// Have every lane be kept that is not where it was kept: at a stop, so that nothing is looked at
    /// again, or is not in the journal any more when the next start looks.
    pub fn soil(&mut self) {
        for lane in self.lanes.values_mut() {
            lane.is_dirty |= lane.next != lane.kept;
        }
    }

    /// These were not kept after all.
    pub fn still_dirty(&mut self, cursors: &[(Hash, Cursor)]) {
        for (id, _) in cursors {
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.is_dirty = true;
            }
        }
    }

    /// Whether something waits for a later time, or is to be kept.
    #[must_use]
    pub fn is_restless(&self) -> bool {
        let waits = |lane: &Lane| !lane.waiting.is_empty() || lane.unread_until.is_some();
        self.lanes.values().any(|lane| waits(lane) || lane.is_dirty)
    }

    /// How every destination stands.
    #[must_use]
    pub fn stands(&self, newest: Position) -> Vec<Stand> {
        let stand = |(id, lane): (&Hash, &Lane)| Stand {
            id: *id,
            to: lane.to.clone(),
            open: lane.open.len() as u64,
            behind: newest.saturating_add(1).saturating_sub(lane.next),
            oldest: {
                let open = lane.open.values().filter_map(|pending| pending.accepted);
                let behind = lane.behind_since.filter(|_| lane.next <= newest);
                open.chain(behind).min()
            },
            failing: lane.failing.clone(),
            counts: lane.counts,
        };
        self.lanes.iter().map(stand).collect()
    }
}
