//! Who is told what next: a lane for each destination, over the one journal.
//!
//! Pure: time and positions are arguments. A lane knows the first entry that was not looked at for
//! it, and those before that are open: of interest to it, and not taken yet. What always holds:
//! every entry behind a lane's beginning is looked at once, in order, and is open until it was
//! taken or given up; a lane that is full is looked at later and holds up no other; what a crash
//! forgets is at most looked at, and posted, again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Bound;

use twoticks_core::clock::Time;
use twoticks_core::ids::Hash;
use twoticks_store::cursors::{Cursor, OPEN_MAX, Open};
use twoticks_store::journal::Position;

use super::parcels::Destination;

/// After how many milliseconds what was not taken is tried again, each time; then it is given up.
pub const RETRIES: [i64; 3] = [60_000, 300_000, 600_000];
/// How many posts are on their way at the same time, over all destinations;
pub const IN_FLIGHT_MAX: usize = 64;
/// of them to destinations that took nothing the last time;
pub const FAILING_IN_FLIGHT_MAX: usize = 32;
/// and to one destination; one that took nothing the last time has one.
pub const LANE_IN_FLIGHT_MAX: usize = 4;

/// After how many entries a cursor is kept, also if nothing in them is of interest: so many are
/// looked at again after a crash.
const KEPT_EVERY: u64 = 4_096;

/// What became of posts to one destination since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken.
    pub taken: u64,
    /// Not taken, each try counted.
    pub failed: u64,
    /// Given up after the last try.
    pub given_up: u64,
    /// Entries, of whomever, that the journal did not have any more when it was their turn.
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
    Taken,
    /// There is nothing to post any more.
    Nothing,
    /// The journal does not have the entry any more.
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
    /// Why the last post was not taken.
    failing: Option<String>,
    gives_up: bool,
    counts: Counts,
    is_dirty: bool,
    /// Where it was when it was kept.
    kept: Position,
    /// When it was read for, by counting.
    served: u64,
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
        let pending =
            |it: Open| (it.position, Pending { tries: it.tries, at: it.at, accepted: None });
        let open: BTreeMap<Position, Pending> = open.into_iter().map(pending).collect();
        let waiting = open.iter().map(|(position, pending)| (pending.at, *position)).collect();
        let counts = Counts::default();
        Self {
            to,
            next,
            open,
            waiting,
            failing: None,
            gives_up: false,
            counts,
            is_dirty: true,
            kept: 0,
            served: 0,
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

    fn wait(&mut self, position: Position, pending: Pending) {
        self.open.insert(position, pending);
        self.waiting.insert((pending.at, position));
    }
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
    /// When the oldest that is open was accepted, if that is known.
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
    /// The lane that is asked first whether something is due.
    turn: Option<Hash>,
}

impl Book {
    /// Whether anything is passed on at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// From now on these are the destinations. A new one begins where `known` says, else with what
    /// comes after `newest`. Those that are not there any more, which are forgotten.
    pub fn settle(
        &mut self,
        wanted: BTreeMap<Hash, Destination>,
        known: &BTreeMap<Hash, Cursor>,
        newest: Position,
    ) -> Vec<Hash> {
        let gone: Vec<Hash> =
            self.lanes.keys().filter(|id| !wanted.contains_key(*id)).copied().collect();
        self.lanes.retain(|id, _| wanted.contains_key(id));
        for (id, to) in wanted {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.to = to;
            } else {
                let begins = || Cursor { next: newest.saturating_add(1), open: Vec::new() };
                let lane = Lane::new(to, known.get(&id).cloned().unwrap_or_else(begins));
                self.lanes.insert(id, lane);
            }
        }
        gone
    }

    /// A journal that is shorter than it was is another one: an emulator has begun anew.
    pub fn begin_anew_behind(&mut self, newest: Position) {
        for lane in self.lanes.values_mut().filter(|lane| lane.next > newest.saturating_add(1)) {
            *lane = Lane::new(lane.to.clone(), Cursor { next: newest + 1, open: Vec::new() });
        }
    }

    /// From where to read next, if there is somebody to read for: who waits longest, whatever the
    /// others wait for.
    pub fn read_from(&mut self, newest: Position) -> Option<Position> {
        let has_room = |lane: &&mut Lane| lane.next <= newest && lane.open.len() < OPEN_MAX;
        let lane = self.lanes.values_mut().filter(has_room).min_by_key(|lane| lane.served)?;
        self.served += 1;
        lane.served = self.served;
        Some(lane.next)
    }

    /// The entries from `from` up to `until` were read, and those `found` are of interest to some.
    /// The first one that the journal has of them is `first`. Those who have missed entries that the
    /// journal has not any more, and how many.
    pub fn offer(
        &mut self,
        (from, first, until): (Position, Position, Position),
        found: &[(Position, Time, HashSet<Hash>)],
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
                let at = Time(i64::MIN);
                lane.wait(*position, Pending { tries: 0, at, accepted: Some(*accepted) });
                lane.is_dirty = true;
            }
            lane.next = reached;
            lane.is_dirty |= lane.next.saturating_sub(lane.kept) >= KEPT_EVERY;
        }
        missed
    }

    /// What may be posted now, and is on its way from now on.
    pub fn due(&mut self, now: Time) -> Vec<Due> {
        let (mut flying, mut failing) = (0, 0);
        for lane in self.lanes.values() {
            flying += lane.flying();
            failing += if lane.failing.is_some() { lane.flying() } else { 0 };
        }
        let mut due = Vec::new();
        // Whoever comes behind the one that was asked last is asked first.
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let mut ids: Vec<Hash> =
            self.lanes.range((after, Bound::Unbounded)).map(|it| *it.0).collect();
        ids.extend(self.turn.iter().flat_map(|turn| self.lanes.range(..=*turn)).map(|it| *it.0));
        for id in ids {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let is_failing = lane.failing.is_some();
            let most = if is_failing { 1 } else { LANE_IN_FLIGHT_MAX };
            while lane.flying() < most {
                if flying >= IN_FLIGHT_MAX || (is_failing && failing >= FAILING_IN_FLIGHT_MAX) {
                    break;
                }
                let Some((_, position)) = lane.waiting.first().copied().filter(|it| it.0 <= now)
                else {
                    break;
                };
                lane.waiting.pop_first();
                flying += 1;
                failing += usize::from(is_failing);
                due.push(Due { id, to: lane.to.clone(), position });
                self.turn = Some(id);
            }
        }
        due
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
            End::Taken => {
                lane.open.remove(&position);
                lane.counts.taken += 1;
                lane.gives_up = false;
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
                let was_failing = lane.failing.replace(why.clone()).is_some();
                if let Some(after) = RETRIES.get(usize::from(pending.tries)) {
                    let tries = pending.tries + 1;
                    lane.wait(position, Pending { tries, at: now.plus(*after), ..pending });
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
        self.lanes.values().any(|lane| !lane.waiting.is_empty() || lane.is_dirty)
    }

    /// How every destination stands.
    #[must_use]
    pub fn stands(&self, newest: Position) -> Vec<Stand> {
        let stand = |(id, lane): (&Hash, &Lane)| Stand {
            id: *id,
            to: lane.to.clone(),
            open: lane.open.len() as u64,
            behind: newest.saturating_add(1).saturating_sub(lane.next),
            oldest: lane.open.values().filter_map(|pending| pending.accepted).min(),
            failing: lane.failing.clone(),
            counts: lane.counts,
        };
        self.lanes.iter().map(stand).collect()
    }
}

#[cfg(test)]
mod tests {
    use twoticks_core::ids::ChannelId;
    use twoticks_store::directory::names::Secret;

    use super::super::parcels::Form;
    use super::*;

    fn hash(of: u8) -> Hash {
        Hash([of; 16])
    }

    fn to(of: u8) -> Destination {
        let url = Secret::new(&format!("https://{of}.example/")).unwrap();
        let channel = ChannelId::new("cams-one").unwrap();
        Destination { channel, form: Form::Webhooks, url, key: None }
    }

    /// A book with so many lanes that begin at 1.
    fn book(lanes: u8) -> Book {
        let mut book = Book::default();
        let wanted = (0..lanes).map(|of| (hash(of), to(of))).collect();
        assert_eq!(book.settle(wanted, &BTreeMap::new(), 0), []);
        book
    }

    /// Every entry from `from` to `until` is of interest to these lanes.
    fn offer(book: &mut Book, from: Position, until: Position, lanes: &[u8]) {
        let ids: HashSet<Hash> = lanes.iter().copied().map(hash).collect();
        let found: Vec<_> =
            (from..=until).map(|position| (position, Time(0), ids.clone())).collect();
        assert_eq!(book.offer((from, from, until), &found), []);
    }

    fn stand(book: &Book, of: u8, newest: Position) -> Stand {
        book.stands(newest).into_iter().find(|stand| stand.id == hash(of)).unwrap()
    }

    fn failed() -> End {
        End::Failed("it answered with status 500".to_owned())
    }

    #[test]
    fn a_lane_that_is_full_is_looked_at_later_and_holds_up_no_other() {
        let (mut book, most) = (book(2), OPEN_MAX as Position);
        offer(&mut book, 1, most + 50, &[0]);
        assert_eq!(stand(&book, 0, most + 50).open, most);
        assert_eq!((stand(&book, 0, most + 50).behind, stand(&book, 1, most + 50).behind), (50, 0));
        // Nothing is read for it until it has room; then from where it is.
        assert_eq!(book.read_from(most + 50), None);
        assert_eq!(book.read_from(most + 51), Some(most + 51));
        let due = book.due(Time(0));
        assert_eq!(due.len(), LANE_IN_FLIGHT_MAX);
        let ended = book.end(hash(0), 1, End::Taken, Time(0)).unwrap();
        assert_eq!(ended, (to(0), false, None));
        assert_eq!(book.read_from(most + 50), Some(most + 1));
        offer(&mut book, most + 1, most + 50, &[0]);
        assert_eq!(
            (stand(&book, 0, most + 50).open, stand(&book, 0, most + 50).behind),
            (most, 49)
        );
    }

    #[test]
    fn those_who_are_behind_take_turns_with_those_who_are_not() {
        let mut book = Book::default();
        let known = BTreeMap::from([(hash(0), Cursor { next: 5, open: Vec::new() })]);
        let wanted = (0..2).map(|of| (hash(of), to(of))).collect();
        book.settle(wanted, &known, 1_000);
        let mut read = Vec::new();
        for newest in [1_001, 1_002, 1_003, 1_004] {
            let from = book.read_from(newest).unwrap();
            read.push(from);
            let until = if from < 1_000 { from + 99 } else { newest };
            offer(&mut book, from, until, &[]);
        }
        assert_eq!(read, [5, 1_001, 105, 1_003]);
    }

    #[test]
    fn what_fails_has_fewer_places_and_leaves_some_to_others() {
        let lanes = 100;
        let mut book = book(lanes);
        let all: Vec<u8> = (0..lanes).collect();
        offer(&mut book, 1, 8, &all);
        assert_eq!(book.due(Time(0)).len(), IN_FLIGHT_MAX);
        // Whoever was not asked comes first, so that all have had their turn.
        let mut failing = HashSet::new();
        for _ in 0..20 {
            for due in book.due(Time(0)) {
                failing.insert(due.id);
                let ended = book.end(due.id, due.position, failed(), Time(0));
                assert!(ended.is_some());
            }
            let stands = book.stands(8);
            let flying: Vec<_> = stands.iter().filter(|it| it.failing.is_none()).collect();
            for stand in flying {
                for position in 1..=8 {
                    if book.lanes[&stand.id].open.contains_key(&position)
                        && !book.lanes[&stand.id].waiting.iter().any(|it| it.1 == position)
                    {
                        failing.insert(stand.id);
                        drop(book.end(stand.id, position, failed(), Time(0)));
                    }
                }
            }
        }
        assert_eq!(failing.len(), usize::from(lanes));
        for lane in book.lanes.values_mut() {
            lane.waiting = lane.open.keys().map(|position| (Time(0), *position)).collect();
        }
        let due = book.due(Time(0));
        assert_eq!(due.len(), FAILING_IN_FLIGHT_MAX);
        let one_each: HashSet<Hash> = due.iter().map(|due| due.id).collect();
        assert_eq!(one_each.len(), FAILING_IN_FLIGHT_MAX);
    }

    #[test]
    fn what_the_journal_has_not_any_more_is_counted() {
        let mut book = book(1);
        assert_eq!(book.offer((1, 40, 50), &[]), [(to(0), 39)]);
        assert_eq!(stand(&book, 0, 50).counts.skipped, 39);
        offer(&mut book, 51, 51, &[0]);
        assert_eq!(book.due(Time(0)).len(), 1);
        book.end(hash(0), 51, End::Gone, Time(0)).unwrap();
        assert_eq!(stand(&book, 0, 51).counts.skipped, 40);
        // Another journal altogether: it begins behind it.
        book.begin_anew_behind(3);
        assert_eq!((book.read_from(3), book.read_from(4)), (None, Some(4)));
    }

    #[test]
    fn a_cursor_says_what_is_open_and_how_often_it_was_tried() {
        let mut book = book(1);
        offer(&mut book, 1, 3, &[0]);
        book.due(Time(0));
        book.end(hash(0), 1, End::Taken, Time(0)).unwrap();
        let (_, given_up, turn) = book.end(hash(0), 2, failed(), Time(7)).unwrap();
        assert!(!given_up && matches!(turn, Some(Turn::Fails(_))));
        book.end(hash(0), 3, End::Hindered, Time(7)).unwrap();
        let dirty = book.dirty();
        let at = Time(7 + RETRIES[0]);
        let open = vec![Open { position: 2, tries: 1, at }, Open { position: 3, tries: 0, at }];
        assert_eq!(dirty, [(hash(0), Cursor { next: 4, open })]);
        assert_eq!(book.dirty(), []);
        // Nothing of interest is nothing to keep, for a while.
        offer(&mut book, 4, KEPT_EVERY + 2, &[]);
        assert_eq!(book.dirty(), []);
        offer(&mut book, KEPT_EVERY + 3, KEPT_EVERY + 3, &[]);
        assert_eq!(book.dirty().len(), 1);
        // As it was kept, it goes on.
        let known = BTreeMap::from([dirty.into_iter().next().unwrap()]);
        let mut again = Book::default();
        again.settle(BTreeMap::from([(hash(0), to(0))]), &known, 9);
        assert_eq!(again.due(at.plus(-1)), []);
        assert_eq!(again.due(at).len(), 2);
        assert_eq!(again.read_from(9), Some(4));
        for _ in 1..RETRIES.len() {
            let (_, given_up, _) = again.end(hash(0), 2, failed(), at).unwrap();
            assert!(!given_up);
            again.lanes.get_mut(&hash(0)).unwrap().waiting.clear();
        }
        let (_, given_up, turn) = again.end(hash(0), 2, failed(), at).unwrap();
        assert!(given_up && matches!(turn, Some(Turn::GivesUp(_))));
        assert_eq!(
            stand(&again, 0, 9).counts,
            Counts { failed: 3, given_up: 1, ..Counts::default() }
        );
        assert_eq!(again.settle(BTreeMap::new(), &BTreeMap::new(), 9), [hash(0)]);
        assert!(again.is_empty());
    }
}
