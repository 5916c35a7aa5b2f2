//! Rules 6, 7, 12 and 13: opt-in, categories, the horizon, impossible times.

use twoticks_core::clock::{DAY, EARLIEST, SECOND, Time};
use twoticks_core::event::Category::{Authentication, Marketing, Utility};
use twoticks_core::event::Source::{Receipt, Send};
use twoticks_core::event::Status::{Delivered, Failed, Read, Sent};
use twoticks_core::event::{Category, CategoryEvent, Event, MessageEvent, TapEvent};
use twoticks_core::fold::Outcome;
use twoticks_core::message::{Age, STATE_KEPT, TOMBSTONE_KEPT};
use twoticks_core::totals::ATOM;

use crate::facts::{
    ACCEPTED, at, category, channel, claim, opt_in, sign, tap, tap_on_message, template, told,
    told_by,
};
use crate::ledger::{Fact, Ledger};

/// In both directions, so that no telling has the last word.
fn assert_counted(facts: &[&dyn Fact], expected: &[&str]) {
    let backwards: Vec<&dyn Fact> = facts.iter().rev().copied().collect();
    assert_eq!(Ledger::of(facts).counted(), expected, "forwards");
    assert_eq!(Ledger::of(&backwards).counted(), expected, "backwards");
}

// Rule 6

#[test]
fn sent_and_opt_in_are_compared_in_whole_seconds() {
    for (opted_in, sent, side) in [
        (0, 0, "after"),
        (0, -1, "before"),
        (999, 0, "after"), // the opt-in is rounded down
        (SECOND + 1, SECOND, "after"),
        (SECOND + 999, SECOND - 1, "before"),
        (SECOND, 999, "before"),
        (SECOND, 2 * SECOND, "after"),
        (-1, -1000, "after"),
        (-1, -1001, "before"),
    ] {
        let atom = sent.div_euclid(ATOM);
        assert_counted(
            &[&opt_in(opted_in), &told(Sent, sent)],
            &[&format!("1 unattributed {side} {atom:+}: sent 1")],
        );
    }
}

#[test]
fn of_several_opt_ins_the_earliest_stands() {
    let mut ledger = Ledger::of(&[&opt_in(ATOM), &told(Sent, 0)]);
    assert_eq!(ledger.counted(), ["1 unattributed before +0: sent 1"]);
    assert!(ledger.take(&opt_in(2 * ATOM)).duplicate);
    assert_eq!(ledger.counted(), ["1 unattributed before +0: sent 1"]);
    assert!(!ledger.take(&opt_in(0)).duplicate);
    assert_eq!(ledger.counted(), ["1 unattributed after +0: sent 1"]);
}

#[test]
fn an_opt_in_is_of_one_channel() {
    let elsewhere = Event::OptIn { channel: channel("b"), time: at(-DAY) };
    assert_counted(&[&elsewhere, &told(Sent, 0)], &["1 unattributed before +0: sent 1"]);
}

#[test]
fn a_message_whose_earlier_sending_becomes_known_moves_with_all_its_counts() {
    let mut ledger = Ledger::of(&[
        &opt_in(0),
        &told(Read, ATOM),
        &tap_on_message(30, ATOM),
        &claim(Send, -2, "t/en"),
    ]);
    let counted = |side| {
        let sums = "sent 1, delivered 1, read 1, quick_reply_button(Yes) 1/1";
        vec![format!("1 attributed {side} +1: {sums}"), format!("t/en ? {side} +1: {sums}")]
    };
    assert_eq!(ledger.counted(), counted("after"));
    ledger.take(&told(Sent, -1));
    assert_eq!(
        ledger.counted(),
        [
            "1 attributed before -1: sent 1",
            "1 attributed before +1: delivered 1, read 1, quick_reply_button(Yes) 1/1",
            "t/en ? before -1: sent 1",
            "t/en ? before +1: delivered 1, read 1, quick_reply_button(Yes) 1/1",
        ]
    );
}

#[test]
fn what_was_never_sent_stays_out_of_the_answers() {
    assert_counted(&[&opt_in(0), &told(Failed, ATOM)], &["1 unattributed before +1: failed(0) 1"]);
}

#[test]
fn participants_of_a_group_lie_each_on_their_own_side() {
    assert_counted(
        &[&opt_in(ATOM), &told_by(&[10], Sent, 0), &told_by(&[20], Sent, ATOM)],
        &["1 unattributed before +0: sent 1", "1 unattributed after +1: sent 1"],
    );
}

// Rule 7

#[test]
fn the_category_is_that_of_when_the_message_was_sent() {
    let history: [&dyn Fact; 3] = [
        &category(0, Marketing, Some(Utility)),
        &category(2 * ATOM, Utility, Some(Marketing)),
        &category(ATOM, Authentication, None),
    ];
    for (sent, expected) in [
        (-1, "utility"),
        (0, "marketing"),
        (ATOM - 1, "marketing"),
        (ATOM, "authentication"),
        (2 * ATOM, "utility"),
    ] {
        let mut facts = history.to_vec();
        let (send, status) = (claim(Send, sent, "t/en"), told(Sent, sent));
        facts.extend([&send as &dyn Fact, &status]);
        let atom = sent.div_euclid(ATOM);
        assert_counted(
            &facts,
            &[
                &format!("1 attributed before {atom:+}: sent 1"),
                &format!("t/en {expected} before {atom:+}: sent 1"),
            ],
        );
    }
}

#[test]
fn a_category_that_is_learned_late_files_again_what_it_concerns_and_nothing_else() {
    let other = MessageEvent {
        message: crate::facts::hash(2),
        claim: claim(Send, 0, "u/en").claim,
        ..told(Sent, 0)
    };
    let signed = TapEvent { sign: Some(sign("t/en")), ..tap(30, 0) };
    let mut ledger = Ledger::of(&[&claim(Send, 0, "t/en"), &told(Sent, 0), &other, &signed]);
    for (fact, known) in [
        (category(-ATOM, Marketing, None), "marketing"),
        (category(-ATOM, Utility, None), "marketing"), // at the same instant: the least
        (category(-SECOND, Utility, None), "utility"),
        (category(1, Authentication, None), "utility"), // later than the sending
    ] {
        ledger.take(&fact);
        assert_eq!(
            ledger.counted_for_templates(),
            [
                &format!("t/en {known} before +0: sent 1, quick_reply_button(Yes) 1/0"),
                "u/en ? before +0: sent 1",
            ]
        );
    }
}

#[test]
fn before_the_first_change_of_category_that_holds_which_it_tells_as_previous() {
    for (changes, before) in [
        (vec![category(0, Marketing, Some(Utility))], Some(Utility)),
        (vec![category(0, Marketing, None)], Some(Marketing)),
        (
            vec![category(0, Marketing, None), category(0, Utility, Some(Authentication))],
            Some(Authentication),
        ),
        (
            vec![category(0, Marketing, None), category(ATOM, Marketing, Some(Utility))],
            Some(Marketing),
        ),
        (vec![], None),
    ] {
        let facts: Vec<&dyn Fact> = changes.iter().map(|fact| fact as &dyn Fact).collect();
        let ledger = Ledger::of(&facts);
        let row = ledger.rows.channels.get(&channel("a")).cloned().unwrap_or_default();
        assert_eq!(row.category(&template("t/en"), at(-1)), before, "{changes:?}");
    }
}

#[test]
fn a_category_is_of_one_language_of_one_channel() {
    let change = |of: &str, name: &str| {
        Event::Category(CategoryEvent {
            channel: channel(of),
            template: template(name),
            effective: at(-DAY),
            category: Marketing,
            previous: None,
        })
    };
    assert_counted(
        &[&change("a", "t/de"), &change("b", "t/en"), &claim(Send, 0, "t/en"), &told(Sent, 0)],
        &["1 attributed before +0: sent 1", "t/en ? before +0: sent 1"],
    );
}

#[test]
fn the_price_does_not_decide_the_category_of_a_template() {
    let priced = crate::facts::priced(Delivered, 0, crate::facts::pricing("marketing", None));
    let mut ledger =
        Ledger::of(&[&category(-DAY, Utility, None), &claim(Receipt, 0, "t/en"), &priced]);
    ledger.take(&told(Sent, 0));
    assert_eq!(
        ledger.counted_for_templates(),
        ["t/en utility before +0: sent 1, delivered 1, charged(marketing) 1"]
    );
}

#[test]
fn categories_are_read_in_any_case() {
    for (word, is) in
        [("MARKETING", Some(Marketing)), ("Utility", Some(Utility)), ("service", None), ("", None)]
    {
        assert_eq!(Category::parse(word), is, "{word}");
    }
}

// Rule 12

const SENT: &str = "1 unattributed before +0: sent 1";

#[test]
fn a_message_is_known_45_days_then_a_tombstone_for_180_then_forgotten() {
    assert_eq!((STATE_KEPT, TOMBSTONE_KEPT), (45 * DAY, 180 * DAY));
    for (idle, age) in [
        (-DAY, Age::Live),
        (0, Age::Live),
        (STATE_KEPT, Age::Live),
        (STATE_KEPT + 1, Age::Tombstone),
        (STATE_KEPT + TOMBSTONE_KEPT, Age::Tombstone),
        (STATE_KEPT + TOMBSTONE_KEPT + 1, Age::Gone),
        (i64::MAX, Age::Gone),
    ] {
        assert_eq!(Age::of(ACCEPTED, ACCEPTED.plus(idle)), age, "{idle}");
    }
}

#[test]
fn a_status_for_a_tombstone_is_counted_as_late_and_nowhere_else() {
    let delivered = told(Delivered, ATOM);
    for (idle, late, expected) in [
        (STATE_KEPT, false, vec![SENT, "1 unattributed before +1: delivered 1"]),
        (STATE_KEPT + 1, true, vec![SENT, "1 unattributed before +1: late 1"]),
        (STATE_KEPT + TOMBSTONE_KEPT, true, vec![SENT, "1 unattributed before +1: late 1"]),
        // Forgotten: it counts afresh.
        (
            STATE_KEPT + TOMBSTONE_KEPT + 1,
            false,
            vec![SENT, "1 unattributed before +1: sent 1, delivered 1"],
        ),
    ] {
        let mut ledger = Ledger::of(&[&opt_in(DAY), &told(Sent, 0)]);
        let outcome = ledger.take_at(ACCEPTED.plus(idle), &delivered);
        assert_eq!(outcome.late, late, "{idle}");
        assert_eq!(ledger.counted_beyond_the_horizon(), expected, "{idle}");
    }
}

#[test]
fn a_late_tap_is_late_and_a_late_claim_is_nothing() {
    let late = Outcome { late: true, ..Outcome::default() };
    let later = ACCEPTED.plus(STATE_KEPT + 1);
    for (first, then, outcome, count) in [
        (told(Sent, 0).event(), tap_on_message(30, 0).event(), late, "sent 1, late 1"),
        (told(Sent, 0).event(), claim(Send, 0, "t/en").event(), Outcome::default(), "sent 1"),
        (tap(30, 0).event(), tap(30, 0).event(), late, "late 1, quick_reply_button(Yes) 1/0"),
    ] {
        let mut ledger = Ledger::of(&[&first]);
        assert_eq!(ledger.take_at(later, &then), outcome, "{then:?}");
        let expected = [format!("1 unattributed before +0: {count}")];
        assert_eq!(ledger.counted_beyond_the_horizon(), expected, "{then:?}");
    }
}

#[test]
fn whatever_is_told_of_a_message_keeps_it_known() {
    let touches: [&dyn Fact; 4] =
        [&told(Sent, 0), &claim(Send, 0, "t/en"), &tap_on_message(30, 0), &tap_on_message(30, 0)];
    let mut ledger = Ledger::of(&[&told(Sent, 0)]);
    let mut accepted = ACCEPTED;
    for touch in touches {
        accepted = accepted.plus(STATE_KEPT);
        assert!(!ledger.take_at(accepted, touch).late);
    }
    assert!(!ledger.take_at(accepted.plus(STATE_KEPT), &told(Read, 0)).late);
    ledger.counted();
}

#[test]
fn a_late_status_does_not_keep_a_tombstone() {
    let mut ledger = Ledger::of(&[&told(Sent, 0)]);
    let gone = ACCEPTED.plus(STATE_KEPT + TOMBSTONE_KEPT + 1);
    assert!(ledger.take_at(gone.plus(-1), &told(Sent, 0)).late);
    assert!(!ledger.take_at(gone, &told(Sent, 0)).late);
    assert_eq!(ledger.counted_beyond_the_horizon(), ["1 unattributed before +0: sent 2, late 1"]);
}

#[test]
fn an_earlier_acceptance_does_not_age_a_message() {
    let mut ledger = Ledger::default();
    ledger.take_at(ACCEPTED.plus(STATE_KEPT), &told(Sent, 0));
    ledger.take_at(ACCEPTED, &told(Sent, 0));
    assert!(!ledger.take_at(ACCEPTED.plus(2 * STATE_KEPT), &told(Delivered, 0)).late);
}

#[test]
fn what_is_beyond_the_horizon_stays_where_it_was_counted() {
    let signed = TapEvent { sign: Some(sign("t/en")), ..tap(30, 0) };
    let facts: [&dyn Fact; 3] = [&claim(Send, 0, "t/en"), &told(Sent, 0), &signed];
    let later = |idle: i64| {
        let mut ledger = Ledger::of(&facts);
        ledger.take_at(ACCEPTED.plus(idle), &opt_in(0));
        ledger.take_at(ACCEPTED.plus(idle), &category(0, Marketing, None));
        ledger.counted_beyond_the_horizon()
    };
    let counted = |side, category| {
        let sums = "sent 1, quick_reply_button(Yes) 1/0";
        vec![
            format!("1 attributed {side} +0: {sums}"),
            format!("t/en {category} {side} +0: {sums}"),
        ]
    };
    assert_eq!(later(STATE_KEPT), counted("after", "marketing"));
    assert_eq!(later(STATE_KEPT + 1), counted("before", "?"));
}

// Rule 13

#[test]
fn impossible_times_are_not_counted() {
    for (time, possible) in [
        (EARLIEST, true),
        (Time(EARLIEST.0 - 1), false),
        (ACCEPTED.plus(DAY), true),
        (ACCEPTED.plus(DAY + 1), false),
        (Time(0), false),
        (Time(i64::MIN), false),
        (Time(i64::MAX), false),
    ] {
        for fact in [
            Event::Message(MessageEvent { time, ..told(Sent, 0) }),
            Event::Tap(TapEvent { time, ..tap(30, 0) }),
            Event::OptIn { channel: channel("a"), time },
        ] {
            assert_eq!(fact.is_possible(ACCEPTED), possible, "{fact:?}");
        }
    }
}

#[test]
fn a_category_may_take_effect_at_any_time() {
    for time in [i64::MIN, 0, i64::MAX] {
        let change = Event::Category(CategoryEvent {
            channel: channel("a"),
            template: template("t/en"),
            effective: Time(time),
            category: Marketing,
            previous: None,
        });
        assert!(change.is_possible(ACCEPTED), "{time}");
        Ledger::of(&[&change, &claim(Send, 0, "t/en"), &told(Sent, 0)]).counted();
    }
}
