//! Rule 5: clicks.

use twoticks_core::channel::Side;
use twoticks_core::event::Source::Send;
use twoticks_core::event::Status::{Delivered, Sent};
use twoticks_core::event::{Button, ButtonKind, TapEvent};
use twoticks_core::ids::Hash;
use twoticks_core::message::TAPS_MAX;
use twoticks_core::totals::ATOM;

use crate::facts::{
    at, claim, hash, number, opt_in, quick_reply, sign, tap, tap_on_message, text, told,
};
use crate::ledger::{Fact, Ledger};

/// In both directions, so that no telling has the last word.
fn assert_counted(facts: &[&dyn Fact], expected: &[&str]) {
    let backwards: Vec<&dyn Fact> = facts.iter().rev().copied().collect();
    assert_eq!(Ledger::of(facts).counted(), expected, "forwards");
    assert_eq!(Ledger::of(&backwards).counted(), expected, "backwards");
}

#[test]
fn a_tap_counts_once_per_inbound_message_and_belongs_to_the_message_it_answers() {
    assert_counted(
        &[
            &claim(Send, 0, "t/en"),
            &told(Sent, 0),
            &tap_on_message(30, ATOM),
            &tap_on_message(30, ATOM),
            &tap_on_message(31, ATOM),
        ],
        &[
            "1 attributed before +0: sent 1",
            "1 attributed before +1: quick_reply_button(Yes) 2/1",
            "t/en ? before +0: sent 1",
            "t/en ? before +1: quick_reply_button(Yes) 2/1",
        ],
    );
}

#[test]
fn a_button_is_its_kind_and_its_text() {
    let link = Button { kind: ButtonKind::Url, text: text("Yes") };
    assert_counted(
        &[
            &tap_on_message(30, 0),
            &TapEvent { button: quick_reply("No"), ..tap_on_message(31, 0) },
            &TapEvent { button: link, ..tap_on_message(32, 0) },
        ],
        &[
            "1 unattributed before +0: quick_reply_button(No) 1/1, quick_reply_button(Yes) 1/1, url_button(Yes) 1/1",
        ],
    );
}

#[test]
fn the_unique_click_is_the_first_one_whenever_it_is_told() {
    assert_counted(
        &[&tap_on_message(31, ATOM), &tap_on_message(30, 0), &tap_on_message(32, 2 * ATOM)],
        &[
            "1 unattributed before +0: quick_reply_button(Yes) 1/1",
            "1 unattributed before +1: quick_reply_button(Yes) 1/0",
            "1 unattributed before +2: quick_reply_button(Yes) 1/0",
        ],
    );
}

#[test]
fn a_tap_without_message_counts_for_the_template_its_payload_names() {
    assert_counted(
        &[&TapEvent { sign: Some(sign("t/en spring")), ..tap(30, 0) }],
        &[
            "1 attributed before +0: quick_reply_button(Yes) 1/0",
            "t/en ? spring before +0: quick_reply_button(Yes) 1/0",
        ],
    );
}

#[test]
fn the_message_a_tap_answers_goes_before_what_its_payload_names() {
    let signed = TapEvent { sign: Some(sign("u/en")), ..tap(30, 0) };
    assert_counted(
        &[&claim(Send, 0, "t/en"), &told(Sent, 0), &signed, &tap_on_message(30, 5)],
        &[
            "1 attributed before +0: sent 1, quick_reply_button(Yes) 1/1",
            "t/en ? before +0: sent 1, quick_reply_button(Yes) 1/1",
        ],
    );
}

#[test]
fn a_tap_that_names_nothing_counts_for_the_number_unattributed() {
    assert_counted(&[&tap(30, 0)], &["1 unattributed before +0: quick_reply_button(Yes) 1/0"]);
}

#[test]
fn an_interactive_reply_counts_for_the_number_only() {
    let reply = Button { kind: ButtonKind::Interactive, text: text("Yes") };
    let count = ["1 free-form before +0: interactive_reply(Yes) 1/0"];
    assert_counted(&[&TapEvent { button: reply.clone(), ..tap(30, 0) }], &count);
    // Whatever else was told under its id.
    let named =
        TapEvent { message: Some(hash(1)), sign: Some(sign("t/en")), button: reply, ..tap(30, 0) };
    assert_counted(&[&named], &count);
    assert_counted(&[&named, &tap_on_message(30, 1)], &count);
}

#[test]
fn of_contradictory_tellings_of_a_tap_the_least_counts() {
    let of_other = |time| TapEvent { message: Some(hash(2)), ..tap(30, time) };
    let other = twoticks_core::event::MessageEvent { message: hash(2), ..claim(Send, 0, "u/en") };
    // The earlier one names message 1.
    assert_counted(
        &[&claim(Send, 0, "t/en"), &other, &tap_on_message(30, 0), &of_other(ATOM)],
        &[
            "1 attributed before +0: quick_reply_button(Yes) 1/1",
            "t/en ? before +0: quick_reply_button(Yes) 1/1",
        ],
    );
    // The earlier one names message 2.
    assert_counted(
        &[&claim(Send, 0, "t/en"), &other, &tap_on_message(30, ATOM), &of_other(0)],
        &[
            "1 attributed before +0: quick_reply_button(Yes) 1/1",
            "u/en ? before +0: quick_reply_button(Yes) 1/1",
        ],
    );
    // At once: the smaller message, the smaller button.
    let no = TapEvent { button: quick_reply("No"), ..of_other(0) };
    assert_counted(
        &[&claim(Send, 0, "t/en"), &other, &tap_on_message(30, 0), &no],
        &[
            "1 attributed before +0: quick_reply_button(No) 1/1",
            "t/en ? before +0: quick_reply_button(No) 1/1",
        ],
    );
}

#[test]
fn a_click_on_a_message_of_which_no_sending_is_known_stays_before_the_opt_in() {
    let mut ledger = Ledger::of(&[&opt_in(0), &claim(Send, 5, "t/en"), &tap_on_message(30, ATOM)]);
    let clicked = |side| {
        vec![
            format!("1 attributed {side} +1: quick_reply_button(Yes) 1/1"),
            format!("t/en ? {side} +1: quick_reply_button(Yes) 1/1"),
        ]
    };
    assert_eq!(ledger.counted(), clicked("before"));
    ledger.take(&told(Delivered, ATOM));
    assert!(ledger.rows.cells.keys().all(|cell| cell.side == Side::After));
    ledger.counted();
}

#[test]
fn a_tap_without_message_is_before_or_after_the_opt_in_by_its_own_time() {
    assert_counted(
        &[&opt_in(0), &tap(30, -1), &tap(31, 0)],
        &[
            "1 unattributed before -1: quick_reply_button(Yes) 1/0",
            "1 unattributed after +0: quick_reply_button(Yes) 1/0",
        ],
    );
}

fn many(index: usize) -> TapEvent {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&u64::try_from(index).unwrap().to_be_bytes());
    let time = i64::try_from(index).unwrap();
    TapEvent { id: Hash(id), ..tap_on_message(0, time) }
}

#[test]
fn of_one_message_the_first_thousand_taps_count() {
    let mut ledger = Ledger::default();
    for index in (1..=TAPS_MAX).rev() {
        ledger.take(&many(index));
    }
    let full = ["1 unattributed before +0: quick_reply_button(Yes) 1000/1"];
    assert_eq!(ledger.counted(), full);
    // A later one finds no room; an earlier one takes the place of the last.
    ledger.take(&TapEvent { time: at(ATOM), ..many(TAPS_MAX + 1) });
    assert_eq!(ledger.counted(), full);
    ledger.take(&TapEvent { time: at(-ATOM), ..many(TAPS_MAX + 2) });
    assert_eq!(
        ledger.counted(),
        [
            "1 unattributed before -1: quick_reply_button(Yes) 1/1",
            "1 unattributed before +0: quick_reply_button(Yes) 999/0",
        ]
    );
}

#[test]
fn a_tap_that_found_no_room_counts_when_another_leaves() {
    let mut ledger = Ledger::default();
    for index in 1..=TAPS_MAX {
        ledger.take(&many(index));
    }
    // One without room, and one on the same wamid of another number.
    ledger.take(&TapEvent { time: at(ATOM), ..many(TAPS_MAX + 1) });
    ledger.take(&TapEvent { number: number("2"), time: at(-2 * ATOM), ..many(TAPS_MAX + 2) });
    ledger.take(&TapEvent { message: Some(hash(2)), time: at(-ATOM), ..many(7) });
    assert_eq!(
        ledger.counted(),
        [
            "1 unattributed before -1: quick_reply_button(Yes) 1/1",
            "1 unattributed before +0: quick_reply_button(Yes) 999/1",
            "1 unattributed before +1: quick_reply_button(Yes) 1/0",
            "2 unattributed before -2: quick_reply_button(Yes) 1/1",
        ]
    );
}

#[test]
fn a_link_that_is_told_of_twice_is_the_button_that_whoever_knows_its_message_says() {
    let button = |kind, on: &str| Button { kind, text: text(on) };
    assert_counted(
        &[
            &claim(Send, 0, "t/en"),
            &told(Sent, 0),
            &TapEvent { button: button(ButtonKind::Url, "cta"), ..tap(30, 0) },
            &TapEvent { button: button(ButtonKind::Url, "Shop"), ..tap_on_message(30, ATOM) },
            &TapEvent { button: button(ButtonKind::UrlMachine, "Shop"), ..tap_on_message(31, 0) },
        ],
        &[
            "1 attributed before +0: sent 1, url_machine(Shop) 1/1",
            "1 attributed before +1: url_button(Shop) 1/1",
            "t/en ? before +0: sent 1, url_machine(Shop) 1/1",
            "t/en ? before +1: url_button(Shop) 1/1",
        ],
    );
}
