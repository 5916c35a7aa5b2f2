//! Looking for what was accepted in a span, and for single messages.

use super::*;
use crate::ledger::{LOOKED_ENTRIES_MAX, Look, Looked, MESSAGES_MAX};
use twoticks_core::clock::Time;
use twoticks_core::message::MessageKey;

async fn look(ledger: &Shared, of: &str, from: Time, until: Time) -> Looked {
    look_on(ledger, of, from, until, until).await
}

async fn look_on(ledger: &Shared, of: &str, from: Time, until: Time, tail: Time) -> Looked {
    ledger.accepted(Look { channel: channel(of), from, until, tail }).await.unwrap()
}

pub(super) async fn a_look_finds_what_was_accepted_in_a_span(home: &Home) {
    let mut ledger = home.open();
    let step = |n: i64| NOW.plus(n * 1_000);
    for n in 0..4 {
        // Named, by its events, of somebody else, and imported long ago.
        let named = Batch { channel: Some(channel("a")), ..batch(vec![]) };
        let by_events = batch(vec![status("a", 1, Status::Sent, 0)]);
        let foreign = batch(vec![status("b", 1, Status::Sent, 0)]);
        for known in [named, by_events, foreign] {
            ledger.record(Batch { accepted: step(n), ..known }).await.unwrap();
        }
        let old = Batch { kind: Kind::Import, accepted: at(n), ..batch(vec![]) };
        ledger.record(Batch { channel: Some(channel("a")), ..old }).await.unwrap();
    }
    for _ in 0..2 {
        for (from, until, expected) in [
            (step(0), step(4), vec![1, 2, 5, 6, 9, 10, 13, 14]),
            (step(1), step(2), vec![5, 6]),
            (step(1), step(1), vec![]),
            (step(4), step(9), vec![]),
            (at(1), at(3), vec![]),
        ] {
            let found = look(&ledger, "a", from, until).await;
            assert!(found.is_whole);
            let positions: Vec<_> = found.entries.iter().map(|entry| entry.position).collect();
            assert_eq!(positions, expected, "{from:?} {until:?}");
        }
        assert_eq!(look(&ledger, "c", step(0), step(9)).await.entries, []);
        ledger = home.reopen(ledger, true).await;
    }
    // Of anybody: at the edge, and beyond it.
    let later = NOW.plus(DAY);
    for n in 0..=LOOKED_ENTRIES_MAX {
        let is_whole = look(&ledger, "a", later, later.plus(1)).await.is_whole;
        assert!(is_whole, "{n}");
        let more = Batch { accepted: later, ..batch(vec![status("b", 2, Status::Sent, 0)]) };
        ledger.record(more).await.unwrap();
    }
    assert!(!look(&ledger, "a", later, later.plus(1)).await.is_whole);
    // What comes behind the span never makes it less than whole.
    for (from, tail, expected) in [
        (step(1), step(3), vec![5, 6, 9, 10]),
        (step(1), later.plus(1), vec![5, 6, 9, 10, 13, 14]),
        (step(2), later.plus(DAY), vec![9, 10, 13, 14]),
    ] {
        let found = look_on(&ledger, "a", from, from.plus(1), tail).await;
        let positions: Vec<_> = found.entries.iter().map(|entry| entry.position).collect();
        assert_eq!((found.is_whole, positions), (true, expected), "{from:?} {tail:?}");
    }
}

pub(super) async fn messages_are_found_by_their_keys(home: &Home) {
    let mut ledger = home.open();
    record(&ledger, vec![send("a", 1, 0), status("a", 1, Status::Delivered, 60)]).await;
    record(&ledger, vec![send("b", 2, 0)]).await;
    let key = |of: &str, id: u8| {
        let MessageEvent { channel, number, message, .. } = message(of, id, 0, None);
        MessageKey { channel, number, message }
    };
    for _ in 0..2 {
        let keys = vec![key("a", 1), key("a", 2), key("b", 2), key("b", 1)];
        let found = ledger.messages(keys).await.unwrap();
        let told: Vec<_> = found
            .iter()
            .map(|row| row.as_ref().map(|row| row.earliest(Status::Delivered)))
            .collect();
        assert_eq!(told, [Some(Some(at(60))), None, Some(None), None]);
        ledger = home.reopen(ledger, true).await;
    }
    let later = Batch { accepted: NOW.plus(STATE_KEPT + 1), ..batch(vec![]) };
    ledger.record(later).await.unwrap();
    assert_eq!(ledger.messages(vec![key("a", 1)]).await.unwrap(), [None], "its state is over");
    assert!(ledger.messages(vec![key("a", 1); MESSAGES_MAX]).await.is_ok());
    let beyond = ledger.messages(vec![key("a", 1); MESSAGES_MAX + 1]).await;
    assert!(matches!(beyond, Err(Error::TooLarge { .. })));
}
