//! For any facts in any order the fold counts what the model counts. The world is small, so that
//! facts collide.

use std::sync::Arc;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use twoticks_core::channel::Side;
use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Event, MessageEvent, Pricing, Sign, Source,
    Status, TapEvent,
};
use twoticks_core::fold;
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use twoticks_core::message::{STATE_KEPT, TOMBSTONE_KEPT};
use twoticks_core::model::Model;
use twoticks_core::query::{Query, Select};
use twoticks_core::totals::{ATOM, Atom, Attribution, Cell, Scope, Totals};
use twoticks_core::window::Window;

use crate::facts::{at, channel, hash, number, pricing, template, text};
use crate::ledger::{Ledger, Maps};

/// Facts and when they were accepted.
type Facts = Vec<(Time, Event)>;

const CASES: u32 = 400;
/// Opt-ins lie around this instant, which is no whole second.
const OPT_IN: i64 = ATOM + 500;

fn times() -> impl Strategy<Value = Time> {
    let around = |middle: i64| {
        select(vec![-1001, -1000, -501, -500, -1, 0, 1, 499, 500, 1000])
            .prop_map(move |by: i64| at(middle + by))
    };
    prop_oneof![
        4 => around(OPT_IN),
        2 => around(ATOM),
        1 => around(2 * ATOM),
        1 => (0..4 * ATOM).prop_map(at),
        1 => select(vec![-30 * DAY, -DAY, DAY, DAY + SECOND]).prop_map(at),
    ]
}

fn channels() -> impl Strategy<Value = ChannelId> {
    prop_oneof![4 => Just(channel("a")), 1 => Just(channel("b"))]
}

fn numbers() -> impl Strategy<Value = PhoneNumber> {
    prop_oneof![4 => Just(number("1")), 1 => Just(number("2"))]
}

fn messages() -> impl Strategy<Value = Hash> {
    prop_oneof![4 => Just(hash(1)), 1 => Just(hash(2)), 1 => (3u8..5).prop_map(hash)]
}

/// Nobody; or one of three people by number, BSUID or both; now and then ids of two people, which
/// makes them one.
fn participants() -> impl Strategy<Value = Vec<Hash>> {
    let person = (0u8..3).prop_flat_map(|person| {
        let (number, bsuid) = (hash(10 + person), hash(20 + person));
        select(vec![vec![number], vec![bsuid], vec![number, bsuid]])
    });
    prop_oneof![
        6 => Just(Vec::new()),
        8 => person,
        1 => (0u8..3, 0u8..3).prop_map(|(a, b)| vec![hash(10 + a), hash(20 + b)]),
    ]
}

fn templates() -> impl Strategy<Value = Template> {
    select(vec!["t/en", "t/de", "u/en", "u/de", "v/en", "v/de"]).prop_map(template)
}

fn campaigns() -> impl Strategy<Value = Option<Text>> {
    proptest::option::weighted(0.3, select(vec!["spring", "autumn"]).prop_map(text))
}

fn claims() -> impl Strategy<Value = Claim> {
    let sources = select(vec![Source::Send, Source::Sign, Source::Receipt, Source::Import]);
    (sources, proptest::option::weighted(0.8, templates()), campaigns())
        .prop_map(|(source, template, campaign)| Claim { source, template, campaign })
}

fn prices() -> impl Strategy<Value = Pricing> {
    let costs = select(vec![None, Some(("USD", 0)), Some(("USD", 35_000)), Some(("EUR", 1))]);
    (select(vec!["marketing", "marketing_lite", "utility"]), costs)
        .prop_map(|(category, cost)| pricing(category, cost))
}

fn statuses() -> impl Strategy<Value = Event> {
    let status = proptest::option::weighted(0.9, select(Status::ALL.to_vec()));
    let error = proptest::option::of(select(vec![0, 131_026, 131_047, -7, i64::MAX]));
    let told =
        (status, error, proptest::option::of(prices()), proptest::option::weighted(0.3, claims()));
    (channels(), numbers(), messages(), participants(), times(), told).prop_map(
        |(channel, number, message, participant, time, (status, error, pricing, claim))| {
            Event::Message(MessageEvent {
                channel,
                number,
                message,
                participant,
                time,
                status,
                error,
                pricing: pricing.map(Arc::new),
                claim: claim.map(Arc::new),
            })
        },
    )
}

fn taps() -> impl Strategy<Value = Event> {
    let kinds = select(vec![
        ButtonKind::QuickReply,
        ButtonKind::QuickReply,
        ButtonKind::Url,
        ButtonKind::Interactive,
    ]);
    let button = (kinds, select(vec!["Yes", "No"]))
        .prop_map(|(kind, words)| Button { kind, text: text(words) });
    let sign =
        (templates(), campaigns()).prop_map(|(template, campaign)| Sign { template, campaign });
    let named = (proptest::option::weighted(0.6, messages()), proptest::option::of(sign));
    (channels(), numbers(), (30u8..33).prop_map(hash), times(), button, named).prop_map(
        |(channel, number, id, time, button, (message, sign))| {
            Event::Tap(TapEvent { channel, number, id, time, button, message, sign })
        },
    )
}

fn opt_ins() -> impl Strategy<Value = Event> {
    (channels(), times()).prop_map(|(channel, time)| Event::OptIn { channel, time })
}

fn categories() -> impl Strategy<Value = Event> {
    let category = || select(Category::ALL.to_vec());
    (channels(), templates(), times(), category(), proptest::option::of(category())).prop_map(
        |(channel, template, effective, category, previous)| {
            Event::Category(CategoryEvent { channel, template, effective, category, previous })
        },
    )
}

fn facts() -> impl Strategy<Value = Event> {
    prop_oneof![8 => statuses(), 4 => taps(), 1 => opt_ins(), 2 => categories()]
}

/// Facts with the times of their acceptance, all within the horizon.
fn accepted_facts(most: usize) -> impl Strategy<Value = Facts> {
    let accepted = prop_oneof![0..=STATE_KEPT, Just(0), Just(STATE_KEPT)]
        .prop_map(|after| at(3 * DAY + after));
    prop::collection::vec((accepted, facts()), 1..most)
}

/// The facts, some of them twice, in another order.
fn repeated_and_shuffled(facts: Facts) -> impl Strategy<Value = (Facts, Facts)> {
    let repeats = prop::collection::vec(any::<prop::sample::Index>(), 0..10);
    (Just(facts), repeats).prop_flat_map(|(facts, repeats)| {
        let again = repeats.iter().map(|index| index.get(&facts).clone());
        let told: Vec<_> = facts.iter().cloned().chain(again).collect();
        (Just(facts), Just(told).prop_shuffle())
    })
}

fn queries() -> impl Strategy<Value = Query> {
    let codes = proptest::option::of(select(vec!["t", "u"]).prop_map(text));
    let languages = proptest::option::of(select(vec!["en", "de"]).prop_map(text));
    let known =
        select(vec![Attribution::Template, Attribution::FreeForm, Attribution::Unattributed]);
    let selects = prop_oneof![
        (proptest::option::of(numbers()), proptest::option::of(known))
            .prop_map(|(number, attribution)| Select::Numbers { number, attribution }),
        (codes, languages, proptest::option::of(select(Category::ALL.to_vec())))
            .prop_map(|(code, language, category)| Select::Templates { code, language, category }),
    ];
    let bounds = prop::collection::btree_set(-2i32..5, 2..5);
    // Windows that touch, or windows with gaps between them.
    let windows = (bounds, 1usize..3).prop_map(|(bounds, step)| {
        let start = Atom::of(at(0)).0;
        let bounds: Vec<_> = bounds.into_iter().map(|bound| Atom(start + bound)).collect();
        let pairs = bounds.windows(2).step_by(step);
        pairs.map(|pair| Window { from: pair[0], to: pair[1] }).collect()
    });
    let sides = proptest::option::of(select(vec![Side::Before, Side::After]));
    (channels(), selects, sides, windows).prop_map(|(channel, select, side, windows)| Query {
        channel,
        select,
        side,
        windows,
    })
}

/// Statuses of one message in the order of their acceptance, with gaps at the edges of the horizon.
fn statuses_over_years() -> impl Strategy<Value = Facts> {
    let gone = STATE_KEPT + TOMBSTONE_KEPT;
    let gaps = select(vec![0, 1, STATE_KEPT, STATE_KEPT + 1, TOMBSTONE_KEPT, gone, gone + 1]);
    prop::collection::vec((gaps, statuses()), 1..15).prop_map(|told| {
        let mut accepted = at(3 * DAY);
        let of_one = told.into_iter().filter_map(|(gap, event)| {
            accepted = accepted.plus(gap);
            let Event::Message(event) = event else { return None };
            let event = MessageEvent {
                channel: channel("a"),
                number: number("1"),
                message: hash(1),
                ..event
            };
            Some((accepted, Event::Message(event)))
        });
        of_one.collect()
    })
}

fn model_of(facts: &[(Time, Event)]) -> Model {
    let mut model = Model::default();
    for (accepted, event) in facts {
        model.record(*accepted, event);
    }
    model
}

fn fold_of(facts: &[(Time, Event)]) -> Maps {
    let mut rows = Maps::default();
    for (accepted, event) in facts {
        fold::apply(&mut rows, *accepted, event).unwrap();
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_every_fact_the_fold_counts_what_the_model_counts(facts in accepted_facts(40)) {
        let mut ledger = Ledger::default();
        for (accepted, event) in &facts {
            ledger.take_at(*accepted, event);
            prop_assert_eq!(&ledger.rows.cells, &ledger.model.cells());
        }
    }

    #[test]
    fn any_order_and_any_repeats_make_the_same_cells(
        (facts, told) in accepted_facts(40).prop_flat_map(repeated_and_shuffled),
    ) {
        let cells = model_of(&facts).cells();
        prop_assert_eq!(&fold_of(&told).cells, &cells);
        prop_assert_eq!(&fold_of(&facts).cells, &cells);
    }

    #[test]
    fn a_fact_that_was_just_told_is_a_duplicate(facts in accepted_facts(20), (accepted, last) in accepted_facts(2).prop_map(|facts| facts[0].clone())) {
        let mut rows = fold_of(&facts);
        fold::apply(&mut rows, accepted, &last).unwrap();
        let before = rows.clone();
        let outcome = fold::apply(&mut rows, accepted, &last).unwrap();
        prop_assert!(outcome.duplicate && !outcome.implied && !outcome.late, "{outcome:?}");
        prop_assert_eq!(rows, before);
    }

    #[test]
    fn a_channel_counts_as_if_it_were_alone(facts in accepted_facts(40)) {
        let of = |name: &str| {
            let channel = channel(name);
            let own: Vec<_> = facts.iter().filter(|(_, event)| *event.channel() == channel).cloned().collect();
            fold_of(&own).cells
        };
        let mut cells = of("a");
        cells.extend(of("b"));
        prop_assert_eq!(fold_of(&facts).cells, cells);
    }

    #[test]
    fn a_series_is_what_the_model_answers(facts in accepted_facts(40), query in queries()) {
        let mut ledger = Ledger::default();
        for (accepted, event) in &facts {
            ledger.take_at(*accepted, event);
        }
        prop_assert_eq!(ledger.series(&query), ledger.model.points(&query));
    }

    #[test]
    fn a_message_counts_once_in_each_of_its_lives_and_is_late_between_them(told in statuses_over_years()) {
        let mut expected = BTreeMap::new();
        let mut add = |cells: BTreeMap<Cell, Totals>| {
            for (cell, totals) in cells {
                let sum: &mut Totals = expected.entry(cell).or_default();
                *sum = std::mem::take(sum).checked_add(&totals).unwrap();
            }
        };
        let mut life: Facts = Vec::new();
        for (accepted, event) in &told {
            let idle = life.last().map_or(0, |(touched, _)| accepted.0 - touched.0);
            let Event::Message(MessageEvent { status, time, number, channel, .. }) = event else { continue };
            if idle > STATE_KEPT + TOMBSTONE_KEPT {
                add(model_of(&std::mem::take(&mut life)).cells());
            }
            if (STATE_KEPT + 1..=STATE_KEPT + TOMBSTONE_KEPT).contains(&idle) {
                let scope = Scope::Number { number: number.clone(), attribution: Attribution::Unattributed };
                let cell = Cell { channel: channel.clone(), scope, side: Side::Before, atom: Atom::of(*time) };
                let late = Totals { late: i64::from(status.is_some()), ..Totals::default() };
                add([(cell, late)].into());
            } else {
                life.push((*accepted, event.clone()));
            }
        }
        add(model_of(&life).cells());
        expected.retain(|_, totals| !totals.is_zero());
        prop_assert_eq!(fold_of(&told).cells, expected);
    }

    #[test]
    fn the_outcomes_of_all_messages_add_up_to_what_their_numbers_count(facts in accepted_facts(40)) {
        let rows = fold_of(&facts);
        let mut counted: BTreeMap<_, i64> = BTreeMap::new();
        for (key, row) in &rows.messages {
            let channel = rows.channels.get(&key.channel).cloned().unwrap_or_default();
            let outcomes = row.row.outcomes(&channel);
            prop_assert!(outcomes.len() == 1 || outcomes.iter().all(|outcome| outcome.is_participant));
            for outcome in outcomes {
                for (status, time) in Status::ALL.into_iter().zip(outcome.counted) {
                    let Some(time) = time else { continue };
                    let place = (key.channel.clone(), key.number.clone(), outcome.side);
                    *counted.entry((place, Atom::of(time), status)).or_default() += 1;
                }
            }
        }
        let mut expected: BTreeMap<_, i64> = BTreeMap::new();
        for (cell, totals) in &rows.cells {
            let Scope::Number { number, .. } = &cell.scope else { continue };
            for (status, count) in [
                (Status::Accepted, totals.accepted),
                (Status::Sent, totals.sent),
                (Status::Delivered, totals.delivered),
                (Status::Read, totals.read),
                (Status::Played, totals.played),
                (Status::Failed, totals.failed()),
            ] {
                let place = (cell.channel.clone(), number.clone(), cell.side);
                *expected.entry((place, cell.atom, status)).or_default() += count;
            }
        }
        expected.retain(|_, count| *count != 0);
        prop_assert_eq!(counted, expected);
    }

    #[test]
    fn no_sum_is_negative_and_no_later_status_exceeds_an_earlier_one(facts in accepted_facts(40)) {
        let cells = fold_of(&facts).cells;
        for totals in cells.values() {
            let counts = [totals.accepted, totals.sent, totals.delivered, totals.read, totals.played];
            prop_assert!(counts.into_iter().chain(totals.failures.values().copied()).all(|sum| sum >= 0));
            prop_assert!(totals.clicks.values().all(|clicks| (0..=clicks.all).contains(&clicks.unique)));
            prop_assert!(totals.charged.values().sum::<i64>() <= totals.delivered);
        }
        let sum = |of: fn(&Totals) -> i64| cells.values().map(of).sum::<i64>();
        prop_assert!(sum(|t| t.played) <= sum(|t| t.read));
        prop_assert!(sum(|t| t.read) <= sum(|t| t.delivered));
        prop_assert!(sum(|t| t.delivered) <= sum(|t| t.sent));
    }
}
