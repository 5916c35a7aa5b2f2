//! Questions and their answers: sides, filters, tenants, edges of windows.

use twoticks_core::channel::Side;
use twoticks_core::event::Category::{Marketing, Utility};
use twoticks_core::event::Source::Send;
use twoticks_core::event::Status::Sent;
use twoticks_core::event::{Category, Event, MessageEvent};
use twoticks_core::query::{Overflow, Query, Select, Series, Subject};
use twoticks_core::totals::{ATOM, Atom, Attribution, Cell, Scope, Totals};
use twoticks_core::window::Window;

use crate::facts::{at, category, channel, claim, hash, number, opt_in, text, told};
use crate::ledger::Ledger;

fn window(from: i32, to: i32) -> Window {
    let start = Atom::of(at(0)).0;
    Window { from: Atom(start + from), to: Atom(start + to) }
}

fn sent(message: u8, time: i64, words: Option<&str>) -> Event {
    Event::Message(MessageEvent {
        message: hash(message),
        claim: words.and_then(|words| claim(Send, time, words).claim),
        ..told(Sent, time)
    })
}

/// Seven messages of channel `a` and one of `b` around an opt-in at the start.
fn ledger() -> Ledger {
    let of_two = MessageEvent { number: number("2"), message: hash(6), ..told(Sent, 0) };
    let of_b = MessageEvent { channel: channel("b"), ..told(Sent, 0) };
    Ledger::of(&[
        &opt_in(0),
        &category(-ATOM, Marketing, None),
        &sent(1, -1, Some("t/en")),
        &sent(2, 0, Some("t/en")),
        &sent(3, ATOM, Some("t/de spring")),
        &sent(4, ATOM, Some("t/de")),
        &sent(5, 2 * ATOM - 1, None),
        &of_two,
        &sent(7, 0, Some("")),
        &of_b,
    ])
}

/// `window subject: sent`, of all windows of two quarters.
fn answer(of: &str, select: Select, side: Option<Side>) -> Vec<String> {
    let windows = vec![window(-2, 0), window(0, 2), window(2, 4)];
    let query = Query { channel: channel(of), select, side, windows };
    let ledger = ledger();
    let points = ledger.series(&query);
    assert_eq!(points, ledger.model.points(&query));
    points
        .iter()
        .map(|point| {
            let subject = match &point.subject {
                Subject::Number(number) => number.to_string(),
                Subject::Template(template) => format!("{}/{}", template.code, template.language),
            };
            let start = point.window.from.0 - Atom::of(at(0)).0;
            format!("{start:+} {subject}: {}", point.totals.sent)
        })
        .collect()
}

fn numbers() -> Select {
    Select::Numbers { number: None, attribution: None }
}

fn templates(code: Option<&str>, language: Option<&str>, category: Option<Category>) -> Select {
    Select::Templates { code: code.map(text), language: language.map(text), category }
}

#[test]
fn numbers_count_every_message_of_one_tenant() {
    assert_eq!(answer("a", numbers(), None), ["-2 1: 1", "+0 1: 5", "+0 2: 1"]);
    assert_eq!(answer("b", numbers(), None), ["+0 1: 1"]);
    assert!(answer("c", numbers(), None).is_empty());
}

#[test]
fn a_side_of_the_opt_in_leaves_the_other_out() {
    assert_eq!(answer("a", numbers(), Some(Side::After)), ["+0 1: 5", "+0 2: 1"]);
    assert_eq!(answer("a", numbers(), Some(Side::Before)), ["-2 1: 1"]);
    assert!(answer("b", numbers(), Some(Side::After)).is_empty());
}

#[test]
fn numbers_can_be_asked_for_one_and_by_what_is_known() {
    for (attribution, expected) in [
        (None, vec!["-2 1: 1", "+0 1: 5"]),
        (Some(Attribution::Template), vec!["-2 1: 1", "+0 1: 3"]),
        (Some(Attribution::FreeForm), vec!["+0 1: 1"]),
        (Some(Attribution::Unattributed), vec!["+0 1: 1"]),
    ] {
        let select = Select::Numbers { number: Some(number("1")), attribution };
        assert_eq!(answer("a", select, None), expected, "{attribution:?}");
    }
    let select = Select::Numbers { number: Some(number("3")), attribution: None };
    assert!(answer("a", select, None).is_empty());
}

#[test]
fn templates_can_be_asked_for_by_code_language_and_category() {
    for (code, language, category, expected) in [
        (None, None, None, vec!["-2 t/en: 1", "+0 t/de: 2", "+0 t/en: 1"]),
        (Some("t"), Some("de"), None, vec!["+0 t/de: 2"]),
        (Some("t"), None, Some(Marketing), vec!["-2 t/en: 1", "+0 t/en: 1"]),
        (None, Some("en"), None, vec!["-2 t/en: 1", "+0 t/en: 1"]),
        (None, None, Some(Utility), vec![]),
        (Some("u"), None, None, vec![]),
    ] {
        let told = answer("a", templates(code, language, category), None);
        assert_eq!(told, expected, "{code:?} {language:?} {category:?}");
    }
    assert!(answer("b", templates(None, None, None), None).is_empty());
}

#[test]
fn a_window_holds_its_first_atom_and_not_the_one_behind_it() {
    let query = |windows| Query { channel: channel("a"), select: numbers(), side: None, windows };
    let asked = query(vec![window(0, 2), window(4, 5), window(5, 6)]);
    for (atom, index) in [
        (-1, None),
        (0, Some(0)),
        (1, Some(0)),
        (2, None),
        (3, None),
        (4, Some(1)),
        (5, Some(2)),
        (6, None),
    ] {
        assert_eq!(asked.window(window(atom, atom).from), index, "{atom}");
    }
    assert_eq!(asked.span(), Some(window(0, 6)));
    let nothing = query(Vec::new());
    assert_eq!((nothing.span(), nothing.window(window(0, 0).from)), (None, None));
}

#[test]
fn a_sum_beyond_the_range_is_an_error() {
    let windows = vec![window(0, 1)];
    let query = Query { channel: channel("a"), select: numbers(), side: None, windows };
    let mut series = Series::new(&query);
    let scope = Scope::Number { number: number("1"), attribution: Attribution::FreeForm };
    let cell = Cell { channel: channel("a"), scope, side: Side::After, atom: window(0, 1).from };
    series.add(&cell, &Totals { sent: i64::MAX, ..Totals::default() }).unwrap();
    let one = Totals { sent: 1, ..Totals::default() };
    assert_eq!(series.add(&cell, &one), Err(Overflow));
}

#[test]
fn what_adds_up_to_nothing_is_no_point() {
    let windows = vec![window(0, 1)];
    let query = Query { channel: channel("a"), select: numbers(), side: None, windows };
    let mut series = Series::new(&query);
    let scope = Scope::Number { number: number("1"), attribution: Attribution::FreeForm };
    let cell = Cell { channel: channel("a"), scope, side: Side::After, atom: window(0, 1).from };
    series.add(&cell, &Totals { sent: 1, ..Totals::default() }).unwrap();
    series.add(&cell, &Totals { sent: -1, ..Totals::default() }).unwrap();
    assert!(series.finish().is_empty());
}
