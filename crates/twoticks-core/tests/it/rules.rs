//! Rules 1 to 4, 10, 11 and 14: messages and their statuses, templates, cost, groups.

use twoticks_core::clock::SECOND;
use twoticks_core::event::Source::{Import, Receipt, Send, Sign};
use twoticks_core::event::Status::{Accepted, Delivered, Failed, Played, Read, Sent};
use twoticks_core::event::{Cost, MessageEvent, Status};
use twoticks_core::fold::Outcome;
use twoticks_core::metric;
use twoticks_core::totals::{ATOM, Totals};

use crate::facts::{
    START, claim, failed, hash, number, priced, pricing, sign, tap, tap_on_message, text, told,
    told_by,
};
use crate::ledger::{Fact, Ledger};

/// Every order of a few facts.
fn orders<'a>(facts: &[&'a dyn Fact]) -> Vec<Vec<&'a dyn Fact>> {
    if facts.is_empty() {
        return vec![Vec::new()];
    }
    let first = |index: usize| {
        let mut rest = facts.to_vec();
        let fact = rest.remove(index);
        orders(&rest).into_iter().map(move |mut order| {
            order.insert(0, fact);
            order
        })
    };
    (0..facts.len()).flat_map(first).collect()
}

/// In whatever order the facts are told, that is counted.
fn assert_counted(facts: &[&dyn Fact], expected: &[&str]) {
    for order in orders(facts) {
        let told: Vec<_> = order.iter().map(|fact| fact.event()).collect();
        assert_eq!(Ledger::of(&order).counted(), expected, "told in this order: {told:#?}");
    }
}

// Rule 1

#[test]
fn an_earlier_time_that_is_told_late_moves_the_count() {
    let mut ledger = Ledger::of(&[&told(Sent, ATOM)]);
    assert_eq!(ledger.counted(), ["1 unattributed before +1: sent 1"]);
    let outcome = ledger.take(&told(Sent, 0));
    assert!(outcome.out_of_order && !outcome.duplicate);
    assert_eq!(ledger.counted(), ["1 unattributed before +0: sent 1"]);
}

#[test]
fn a_repeat_and_a_later_telling_change_nothing() {
    let mut ledger = Ledger::of(&[&told(Sent, 0)]);
    for again in [told(Sent, 0), told(Sent, 1), told(Sent, ATOM)] {
        assert!(ledger.take(&again).duplicate);
        assert_eq!(ledger.counted(), ["1 unattributed before +0: sent 1"]);
    }
}

#[test]
fn the_error_code_is_that_of_the_earliest_failure_that_has_one() {
    let count = |code: i64| format!("1 unattributed before +0: failed({code}) 1");
    for (failures, code) in [
        (vec![failed(0, Some(131_026)), failed(1, Some(1))], 131_026),
        (vec![failed(0, None), failed(1, Some(131_026)), failed(2, Some(1))], 131_026),
        (vec![failed(0, Some(2)), failed(0, Some(1))], 1), // a tie: the smaller
        (vec![failed(0, None), failed(5, None)], 0),
        (vec![failed(0, Some(-9)), failed(1, Some(i64::MAX))], -9), // codes are open
    ] {
        let facts: Vec<&dyn Fact> = failures.iter().map(|fact| fact as &dyn Fact).collect();
        assert_counted(&facts, &[&count(code)]);
    }
}

#[test]
fn an_error_on_another_status_is_not_counted() {
    assert_counted(
        &[&MessageEvent { error: Some(7), ..told(Sent, 0) }, &failed(1, None)],
        &["1 unattributed before +0: sent 1, failed(0) 1"],
    );
}

// Rule 2

#[test]
fn each_status_counts_in_the_atom_of_its_own_time() {
    assert_counted(
        &[&told(Sent, 0), &told(Delivered, ATOM - 1), &told(Read, ATOM), &told(Accepted, -1)],
        &[
            "1 unattributed before -1: accepted 1",
            "1 unattributed before +0: sent 1, delivered 1",
            "1 unattributed before +1: read 1",
        ],
    );
}

#[test]
fn a_message_is_known_by_its_channel_number_and_wamid() {
    let other_message = MessageEvent { message: hash(2), ..told(Sent, 0) };
    let other_number = MessageEvent { number: number("2"), ..told(Sent, 0) };
    assert_counted(
        &[&told(Sent, 0), &other_message, &other_number, &told(Sent, 0)],
        &["1 unattributed before +0: sent 2", "2 unattributed before +0: sent 1"],
    );
}

// Rule 3

#[test]
fn a_later_status_implies_the_earlier_ones() {
    let effective = |facts: &[(Status, i64)]| {
        let mut ledger = Ledger::default();
        for (status, time) in facts {
            ledger.take(&told(*status, *time));
        }
        ledger.counted();
        let message = &ledger.rows.messages.values().next().unwrap().row;
        let counted = |status| Some((status, message.earliest(status)?.0 - START.0));
        Status::ALL.into_iter().filter_map(counted).collect::<Vec<_>>()
    };
    for (facts, counted) in [
        (vec![(Accepted, 5)], vec![(Accepted, 5)]),
        (vec![(Sent, 5)], vec![(Sent, 5)]),
        (vec![(Delivered, 5)], vec![(Sent, 5), (Delivered, 5)]),
        (vec![(Read, 5)], vec![(Sent, 5), (Delivered, 5), (Read, 5)]),
        (vec![(Played, 5)], vec![(Sent, 5), (Delivered, 5), (Read, 5), (Played, 5)]),
        (vec![(Sent, 1), (Read, 5)], vec![(Sent, 1), (Delivered, 5), (Read, 5)]),
        (vec![(Sent, 9), (Read, 5)], vec![(Sent, 5), (Delivered, 5), (Read, 5)]),
        (
            vec![(Delivered, 9), (Played, 2), (Read, 5)],
            vec![(Sent, 2), (Delivered, 2), (Read, 2), (Played, 2)],
        ),
        (vec![(Failed, 5)], vec![(Failed, 5)]),
        (vec![(Sent, 1), (Failed, 5)], vec![(Sent, 1), (Failed, 5)]),
        (vec![(Failed, 1), (Delivered, 5)], vec![(Sent, 5), (Delivered, 5)]),
        (vec![(Read, 1), (Failed, 5)], vec![(Sent, 1), (Delivered, 1), (Read, 1)]),
    ] {
        assert_eq!(effective(&facts), counted, "{facts:?}");
    }
}

#[test]
fn what_failed_and_was_delivered_is_delivered() {
    assert_counted(
        &[&failed(0, Some(131_026)), &told(Delivered, ATOM)],
        &["1 unattributed before +1: sent 1, delivered 1"],
    );
}

#[test]
fn what_a_status_did_is_told_for_the_counters() {
    let mut ledger = Ledger::default();
    let unattributed = Outcome { unattributed: true, ..Outcome::default() };
    for (fact, expected) in [
        (told(Read, 5), Outcome { implied: true, ..unattributed }),
        (told(Delivered, 6), Outcome { out_of_order: true, ..unattributed }),
        (told(Sent, 1), Outcome { out_of_order: true, ..unattributed }),
        (told(Sent, 1), Outcome { duplicate: true, ..unattributed }),
        (claim(Send, 0, "t/en"), Outcome::default()),
        (told(Played, 9), Outcome::default()),
        (told(Failed, 9), Outcome::default()),
    ] {
        assert_eq!(ledger.take(&fact), expected, "{fact:?}");
    }
}

// Rule 4

#[test]
fn statuses_before_the_send_is_known_are_attributed_when_it_is() {
    let mut ledger = Ledger::of(&[&told(Delivered, ATOM)]);
    assert_eq!(ledger.counted(), ["1 unattributed before +1: sent 1, delivered 1"]);
    ledger.take(&claim(Send, 0, "t/en spring"));
    assert_eq!(
        ledger.counted(),
        [
            "1 attributed before +1: sent 1, delivered 1",
            "t/en ? spring before +1: sent 1, delivered 1",
        ]
    );
}

#[test]
fn the_better_source_says_whose_template_it_is() {
    let templates = [(Send, "a/en"), (Sign, "b/en"), (Receipt, "c/en"), (Import, "d/en")];
    for (better, (source, template)) in templates.iter().enumerate() {
        for (worse, other) in &templates[better..] {
            // The worse one is earlier and, here, the better one is not smaller.
            assert_counted(
                &[
                    &told(Sent, 9),
                    &claim(*source, 5, template),
                    &claim(*worse, 4 + i64::from(worse == source), other),
                ],
                &["1 attributed before +0: sent 1", &format!("{template} ? before +0: sent 1")],
            );
        }
    }
}

#[test]
fn within_a_source_the_earliest_then_the_smallest_claim_stands() {
    for (one, other, stands) in [
        ((1, "z/en"), (2, "a/en"), "z/en ?"),
        ((1, "b/en"), (1, "a/en"), "a/en ?"),
        ((1, "a/en"), (1, "a/de"), "a/de ?"),
        ((1, "a/en spring"), (1, "a/en autumn"), "a/en ? autumn"),
    ] {
        assert_counted(
            &[&told(Sent, 9), &claim(Receipt, one.0, one.1), &claim(Receipt, other.0, other.1)],
            &["1 attributed before +0: sent 1", &format!("{stands} before +0: sent 1")],
        );
    }
}

#[test]
fn a_free_form_message_counts_for_its_number_as_such() {
    assert_counted(&[&claim(Send, 0, ""), &told(Sent, 1)], &["1 free-form before +0: sent 1"]);
}

#[test]
fn a_claim_alone_counts_nothing() {
    assert_counted(&[&claim(Send, 0, "t/en")], &[]);
}

// Rule 10

#[test]
fn where_nothing_was_counted_there_is_nothing_and_no_share() {
    assert!(Ledger::default().counted().is_empty());
    let rate = metric::by_name("read_rate").unwrap();
    assert_eq!(rate.share(&Totals { sent: 1, ..Totals::default() }), None);
    assert_eq!(rate.share(&Totals { delivered: 4, ..Totals::default() }), Some(0.0));
}

// Rule 11

#[test]
fn cost_counts_once_in_the_atom_of_delivered() {
    let price = || pricing("marketing", Some(("USD", 35_000)));
    assert_counted(
        &[
            &priced(Sent, 0, pricing("utility", Some(("USD", 1)))), // a forecast
            &told(Delivered, ATOM),
            &priced(Read, 2 * ATOM, price()),
        ],
        &[
            "1 unattributed before +0: sent 1",
            "1 unattributed before +1: delivered 1, charged(marketing) 1, USD 35000",
            "1 unattributed before +2: read 1",
        ],
    );
}

#[test]
fn the_price_is_that_of_the_least_telling() {
    let usd = |micros| pricing("marketing", Some(("USD", micros)));
    for (delivered, read, counted) in [
        (usd(9), usd(1), "charged(marketing) 1, USD 9"),
        (pricing("utility", None), usd(1), "charged(utility) 1"),
        (usd(0), usd(1), "charged(marketing) 1"),
    ] {
        assert_counted(
            &[&priced(Delivered, 0, delivered), &priced(Read, 1, read)],
            &[&format!("1 unattributed before +0: sent 1, delivered 1, read 1, {counted}")],
        );
    }
    assert_counted(
        &[&priced(Delivered, 0, usd(9)), &priced(Delivered, 0, usd(1))],
        &["1 unattributed before +0: sent 1, delivered 1, charged(marketing) 1, USD 1"],
    );
}

#[test]
fn what_failed_costs_nothing() {
    assert_counted(
        &[&priced(Failed, 0, pricing("marketing", Some(("USD", 35_000))))],
        &["1 unattributed before +0: failed(0) 1"],
    );
}

#[test]
fn an_amount_is_bounded() {
    for (micros, possible) in
        [(-1, false), (0, true), (Cost::MICROS_MAX, true), (Cost::MICROS_MAX + 1, false)]
    {
        assert_eq!(Cost::new(text("USD"), micros).is_some(), possible, "{micros}");
    }
    assert!(Cost::MICROS_MAX.checked_mul(9_000_000).is_some());
}

// Rule 14

#[test]
fn every_participant_of_a_group_counts_and_pays_on_its_own() {
    let cost = || Some(pricing("group_marketing", Some(("USD", 5))));
    assert_counted(
        &[
            &MessageEvent { pricing: cost().map(Into::into), ..told_by(&[10], Delivered, 0) },
            &MessageEvent { pricing: cost().map(Into::into), ..told_by(&[20], Read, ATOM) },
            &told_by(&[30], Failed, 0),
        ],
        &[
            "1 unattributed before +0: sent 1, delivered 1, failed(0) 1, charged(group_marketing) 1, USD 5",
            "1 unattributed before +1: sent 1, delivered 1, read 1, charged(group_marketing) 1, USD 5",
        ],
    );
}

#[test]
fn a_status_without_participant_counts_only_while_no_participant_is_known() {
    assert_counted(&[&told(Sent, 0)], &["1 unattributed before +0: sent 1"]);
    assert_counted(
        &[&told(Sent, 0), &told(Delivered, 0), &told_by(&[10], Delivered, ATOM)],
        &["1 unattributed before +1: sent 1, delivered 1"],
    );
}

#[test]
fn a_number_and_a_bsuid_seen_together_are_one_participant() {
    assert_counted(
        &[&told_by(&[10], Sent, 0), &told_by(&[20], Read, ATOM)],
        &[
            "1 unattributed before +0: sent 1",
            "1 unattributed before +1: sent 1, delivered 1, read 1",
        ],
    );
    assert_counted(
        &[&told_by(&[10], Sent, 0), &told_by(&[20], Read, ATOM), &told_by(&[10, 20], Delivered, 1)],
        &["1 unattributed before +0: sent 1, delivered 1", "1 unattributed before +1: read 1"],
    );
    assert_counted(
        &[
            &told_by(&[10], Sent, 0),
            &told_by(&[20, 30], Sent, 1),
            &told_by(&[40], Sent, 2),
            &told_by(&[30, 10], Sent, 3),
        ],
        &["1 unattributed before +0: sent 2"],
    );
}

#[test]
fn a_template_is_that_of_the_whole_group_and_taps_are_of_the_message() {
    assert_counted(
        &[
            &claim(Sign, 0, "t/en"),
            &told_by(&[10], Sent, SECOND),
            &told_by(&[20], Sent, SECOND),
            &tap_on_message(30, ATOM),
        ],
        &[
            "1 attributed before +0: sent 2",
            "1 attributed before +1: quick_reply_button(Yes) 1/1",
            "t/en ? before +0: sent 2",
            "t/en ? before +1: quick_reply_button(Yes) 1/1",
        ],
    );
}

#[test]
fn the_sign_of_a_tap_attributes_the_tap_and_never_its_message() {
    let signed = twoticks_core::event::TapEvent { sign: Some(sign("t/en")), ..tap(30, 0) };
    assert_counted(
        &[&told(Sent, 0), &signed],
        &[
            "1 attributed before +0: quick_reply_button(Yes) 1/0",
            "1 unattributed before +0: sent 1",
            "t/en ? before +0: quick_reply_button(Yes) 1/0",
        ],
    );
}
