//! Lanes over a journal that is only numbers.

use twoticks_store::directory::names::Secret;

use super::*;
use crate::pass_on::parcels::Form;

fn hash(of: u8) -> Hash {
    Hash([of; 16])
}

fn to(of: u8) -> Destination {
    let url = Secret::new(&format!("https://{of}.example/")).unwrap();
    // Eight destinations of each channel.
    let channel = ChannelId::new(&format!("cams-{}", of / 8)).unwrap();
    Destination { channel, form: Form::Webhooks, url, key: None }
}

fn taken() -> End {
    End::Taken { is_slow: false }
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
    let found: Vec<_> = (from..=until).map(|position| (position, Time(0), ids.clone())).collect();
    assert_eq!(book.offer((from, from, until), &found, Time(0)), []);
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
    assert_eq!(book.read_from(most + 50, Time(0)), None);
    assert_eq!(book.read_from(most + 51, Time(0)), Some(most + 51));
    let due = book.due(Time(0));
    assert_eq!(due.len(), LANE_IN_FLIGHT_MAX);
    let ended = book.end(hash(0), 1, taken(), Time(0)).unwrap();
    assert_eq!(ended, (to(0), false, None));
    assert_eq!(book.read_from(most + 50, Time(0)), Some(most + 1));
    offer(&mut book, most + 1, most + 50, &[0]);
    assert_eq!((stand(&book, 0, most + 50).open, stand(&book, 0, most + 50).behind), (most, 49));
}

#[test]
fn those_who_are_behind_take_turns_with_those_who_are_not() {
    let mut book = Book::default();
    let known = BTreeMap::from([(hash(0), Cursor { next: 5, open: Vec::new() })]);
    let wanted = (0..2).map(|of| (hash(of), to(of))).collect();
    book.settle(wanted, &known, 1_000);
    let mut read = Vec::new();
    for newest in [1_001, 1_002, 1_003, 1_004] {
        let from = book.read_from(newest, Time(0)).unwrap();
        read.push(from);
        let until = if from < 1_000 { from + 99 } else { newest };
        offer(&mut book, from, until, &[]);
    }
    assert_eq!(read, [5, 1_001, 105, 1_003]);
}

/// Has everything that is due end as `how` says, until all of `lanes` have ended some.
fn all_end(book: &mut Book, lanes: u8, now: Time, how: impl Fn(u8) -> End) {
    let mut ended = HashSet::new();
    while ended.len() < usize::from(lanes) {
        let due = book.due(now);
        assert!(!due.is_empty(), "only {ended:?} had a turn");
        for Due { id, position, .. } in due {
            ended.insert(id);
            assert!(book.end(id, position, how(id.0[0]), now).is_some());
        }
    }
}

fn of_lanes(due: &[Due]) -> HashSet<u8> {
    due.iter().map(|due| due.id.0[0]).collect()
}

#[test]
fn what_is_in_trouble_leaves_places_to_others_and_each_has_its_turn() {
    let slow = || End::Taken { is_slow: true };
    let (fails, takes_long) = (failed as fn() -> End, slow as fn() -> End);
    // All of the lanes have something to post all the time, and only the last one is well.
    for (troubled, in_trouble) in [(fails, 100), (takes_long, 100), (fails, 33), (takes_long, 9)] {
        let mut book = book(in_trouble + 1);
        let all: Vec<u8> = (0..=in_trouble).collect();
        offer(&mut book, 1, OPEN_MAX as Position, &all);
        let how = |of: u8| if of == in_trouble { taken() } else { troubled() };
        all_end(&mut book, in_trouble + 1, Time(0), how);
        let mut asked = HashSet::new();
        for turn in 1..=20 {
            let due = book.due(Time(turn * RETRIES[0]));
            let well = due.iter().filter(|due| due.id == hash(in_trouble)).count();
            assert_eq!(well, LANE_IN_FLIGHT_MAX, "{in_trouble}");
            assert!(due.len() - well <= TROUBLED_IN_FLIGHT_MAX, "{in_trouble}");
            asked.extend(of_lanes(&due));
            for Due { id, position, .. } in due {
                let ended = book.end(id, position, how(id.0[0]), Time(turn * RETRIES[0]));
                assert!(ended.is_some());
            }
        }
        assert_eq!(asked.len(), usize::from(in_trouble) + 1, "{in_trouble}");
    }
}

#[test]
fn no_channel_has_all_places() {
    let mut book = book(64);
    let all: Vec<u8> = (0..64).collect();
    offer(&mut book, 1, 8, &all);
    let due = book.due(Time(0));
    assert_eq!(due.len(), IN_FLIGHT_MAX);
    assert_eq!(due.iter().filter(|due| due.to.channel == to(0).channel).count(), 16);
    assert_eq!(of_lanes(&due).len(), IN_FLIGHT_MAX / LANE_IN_FLIGHT_MAX);
}

/// Where the entries are of what is due for the only lane.
fn positions(due: &[Due]) -> Vec<Position> {
    due.iter().map(|due| due.position).collect()
}

/// A lane of which `end` says how a post of a position ends, for so many minutes; what was tried
/// at which minute.
fn live(book: &mut Book, minutes: i64, end: impl Fn(Position, i64) -> End) -> Vec<(i64, Position)> {
    let mut tried = Vec::new();
    for minute in 0..minutes {
        let now = Time(minute * 60_000);
        loop {
            let due = book.due(now);
            if due.is_empty() {
                break;
            }
            for Due { id, position, .. } in due {
                tried.push((minute, position));
                book.end(id, position, end(position, minute), now).unwrap();
            }
        }
    }
    tried
}

#[test]
fn whoever_was_away_for_hours_gets_what_came_meanwhile() {
    let mut book = book(1);
    offer(&mut book, 1, OPEN_MAX as Position, &[0]);
    let back = 8 * 60;
    let end = |_, minute| if minute < back { failed() } else { taken() };
    let tried = live(&mut book, back + 11, end);
    let stand = stand(&book, 0, OPEN_MAX as Position);
    // Of what is oldest one is given up for each time that all tries take.
    let lost = ((back - 1) / 16).unsigned_abs();
    assert_eq!((stand.open, stand.counts.given_up), (0, lost));
    assert_eq!(stand.counts.taken, OPEN_MAX as u64 - lost);
    let of_first: Vec<i64> = tried.iter().filter(|it| it.1 == 1).map(|it| it.0).collect();
    assert_eq!(of_first, [0, 1, 6, 16]);
    // Not more than one a minute, besides the oldest.
    assert!(stand.counts.failed < 2 * back.unsigned_abs(), "{}", stand.counts.failed);
    // And within a minute it is found that it is back.
    assert!(tried.iter().filter(|it| it.0 == back).count() > 1);
}

#[test]
fn something_that_is_never_taken_holds_up_nothing_else() {
    let mut book = book(1);
    offer(&mut book, 1, 200, &[0]);
    // One in ten.
    let end = |position, _| if position % 10 == 1 { failed() } else { taken() };
    let tried = live(&mut book, 1, end);
    assert_eq!(tried.len(), 200);
    let stand_then = stand(&book, 0, 200);
    assert_eq!((stand_then.open, stand_then.counts.taken), (20, 180));
    live(&mut book, 24 * 60, end);
    assert_eq!((stand(&book, 0, 200).open, stand(&book, 0, 200).counts.given_up), (0, 20));
}

#[test]
fn what_has_waited_goes_before_what_is_new_and_no_longer_than_it_may() {
    let mut book = book(1);
    offer(&mut book, 1, 1, &[0]);
    assert_eq!(positions(&book.due(Time(0))), [1]);
    book.end(hash(0), 1, End::Hindered, Time(0)).unwrap();
    let ids = HashSet::from([hash(0)]);
    let found: Vec<_> = (2..=9).map(|position| (position, Time(0), ids.clone())).collect();
    book.offer((2, 2, 9), &found, Time(REST + 1));
    assert_eq!(positions(&book.due(Time(REST + 1))), [1, 2, 3, 4]);
    // The clock was an hour ahead, and is corrected.
    let ahead = Time(3_600_000);
    for position in 1..=4 {
        book.end(hash(0), position, End::Hindered, ahead).unwrap();
    }
    assert_eq!(positions(&book.due(Time(REST + 2))), [5, 6, 7, 8]);
    for position in 5..=8 {
        book.end(hash(0), position, taken(), Time(REST + 2)).unwrap();
    }
    assert_eq!(positions(&book.due(Time(REST + 2))), [9, 1, 2, 3]);
}

#[test]
fn a_destination_that_is_instead_of_another_goes_on_where_that_one_was() {
    let of = |lanes: &[u8]| lanes.iter().map(|of| (hash(*of), to(*of))).collect();
    let (none, cursor) = (BTreeMap::new(), |book: &Book, of| book.lanes[&hash(of)].cursor());
    let gone = |of, open, behind| Gone { id: hash(of), to: to(of), open, behind };
    // Those of a channel that there are, those that there are then, what goes, and who takes over.
    for (before, then, lost, takes_over) in [
        (&[1, 2][..], &[2, 3][..], vec![gone(1, 0, 0)], Some(3)),
        (&[1, 2], &[2], vec![gone(1, 4, 5)], None),
        // Which one is instead of which cannot be said.
        (&[1, 2], &[3], vec![gone(1, 4, 5), gone(2, 4, 5)], None),
        (&[1], &[2, 3], vec![gone(1, 4, 5)], None),
        // Of another channel.
        (&[1], &[8], vec![gone(1, 4, 5)], None),
    ] {
        let mut book = Book::default();
        book.settle(of(before), &none, 0);
        offer(&mut book, 1, 4, before);
        let first = cursor(&book, 1);
        assert_eq!(book.settle(of(then), &none, 9), lost);
        for new in then.iter().filter(|new| !before.contains(*new)) {
            let begins = Cursor { next: 10, open: Vec::new() };
            let expected = if takes_over == Some(*new) { &first } else { &begins };
            assert_eq!(cursor(&book, *new), *expected);
        }
    }
}

#[test]
fn those_where_the_journal_cannot_be_read_wait_and_nobody_else() {
    let mut book = Book::default();
    let known = BTreeMap::from([(hash(0), Cursor { next: 5, open: Vec::new() })]);
    let wanted = (0..2).map(|of| (hash(of), to(of))).collect();
    book.settle(wanted, &known, 999);
    assert_eq!(book.read_from(1_000, Time(0)), Some(5));
    book.unread(5, Time(0));
    assert_eq!(book.read_from(1_000, Time(0)), Some(1_000));
    offer(&mut book, 1_000, 1_000, &[]);
    assert_eq!(book.read_from(1_000, Time(READ_REST - 1)), None);
    assert!(book.is_restless());
    assert_eq!(book.read_from(1_000, Time(READ_REST)), Some(5));
    book.unread(5, Time(READ_REST));
    // The clock is corrected: it does not wait until the clock is there again.
    assert_eq!(book.read_from(1_000, Time(READ_REST - 1)), Some(5));
}

#[test]
fn whoever_is_late_is_seen_to_be_late() {
    let mut book = Book::default();
    let tried = Time(7_000_000);
    let open = vec![
        Open { position: 2, tries: 0, at: tried.plus(1) },
        Open { position: 3, tries: 2, at: tried.plus(RETRIES[1]) },
        // As it was kept at first.
        Open { position: 4, tries: 0, at: Time(i64::MIN) },
    ];
    let known = BTreeMap::from([(hash(0), Cursor { next: 5, open })]);
    book.settle((0..2).map(|of| (hash(of), to(of))).collect(), &known, 9);
    assert_eq!(stand(&book, 0, 9).oldest, Some(tried));
    assert_eq!(stand(&book, 1, 9).oldest, None);
    // It is behind, and reading stands still.
    assert!(book.read_from(10, Time(1)).is_some());
    assert!(book.read_from(11, Time(2)).is_some());
    assert_eq!(stand(&book, 1, 11).oldest, Some(Time(1)));
    offer(&mut book, 10, 10, &[]);
    assert_eq!(stand(&book, 1, 11).oldest, None);
    assert!(book.read_from(11, Time(3)).is_some());
    assert_eq!(stand(&book, 1, 11).oldest, Some(Time(3)));
}

#[test]
fn what_the_journal_has_not_any_more_is_counted() {
    let mut book = book(1);
    assert_eq!(book.offer((1, 40, 50), &[], Time(0)), [(to(0), 39)]);
    assert_eq!(stand(&book, 0, 50).counts.skipped, 39);
    offer(&mut book, 51, 51, &[0]);
    assert_eq!(book.due(Time(0)).len(), 1);
    book.end(hash(0), 51, End::Gone, Time(0)).unwrap();
    assert_eq!(stand(&book, 0, 51).counts.skipped, 40);
    // Another journal altogether: it begins behind it.
    book.begin_anew_behind(3);
    assert_eq!((book.read_from(3, Time(0)), book.read_from(4, Time(0))), (None, Some(4)));
}

#[test]
fn a_cursor_says_what_is_open_and_how_often_it_was_tried() {
    let mut book = book(1);
    offer(&mut book, 1, 3, &[0]);
    book.due(Time(0));
    book.end(hash(0), 1, taken(), Time(0)).unwrap();
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
    // Unless the server stops.
    offer(&mut book, KEPT_EVERY + 4, KEPT_EVERY + 4, &[]);
    book.soil();
    assert_eq!(book.dirty()[0].1.next, KEPT_EVERY + 5);
    book.soil();
    assert_eq!(book.dirty(), []);
    // As it was kept, it goes on.
    let known = BTreeMap::from([dirty.into_iter().next().unwrap()]);
    let mut again = Book::default();
    again.settle(BTreeMap::from([(hash(0), to(0))]), &known, 9);
    assert_eq!(again.due(at.plus(-1)), []);
    assert_eq!(again.due(at).len(), 2);
    assert_eq!(again.read_from(9, Time(0)), Some(4));
    again.end(hash(0), 3, End::Nothing, at).unwrap();
    for after in &RETRIES[1..] {
        let (_, given_up, _) = again.end(hash(0), 2, failed(), at).unwrap();
        assert!(!given_up);
        assert_eq!(again.due(at.plus(after - 1)), []);
        assert_eq!(again.due(at.plus(*after)).len(), 1);
    }
    let (_, given_up, turn) = again.end(hash(0), 2, failed(), at).unwrap();
    assert!(given_up && matches!(turn, Some(Turn::GivesUp(_))));
    assert_eq!(stand(&again, 0, 9).counts, Counts { failed: 3, given_up: 1, ..Counts::default() });
    assert_eq!(again.settle(BTreeMap::new(), &BTreeMap::new(), 9).len(), 1);
    assert!(again.is_empty());
}
