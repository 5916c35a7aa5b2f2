//! Anything that can be told, against the simplest model.

use proptest::prelude::*;
use twoticks_core::clock::Time;
use twoticks_core::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Cost, Event, MessageEvent, Pricing, Sign,
    Source, Status, TapEvent,
};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use twoticks_core::model::Model;
use twoticks_core::query::{Point, Select, Subject};
use twoticks_core::totals::ATOM;

use super::told::{LOOK_ALIKES, NOON, NOW, channel, questions, record, text};
use super::{Backend, Home, scan};
use crate::verify::verify;

// Anything that can be told, from few enough names that it concerns the same things.

fn any_time() -> impl Strategy<Value = Time> {
    (0_i64..200).prop_map(|n| NOON.plus(n * ATOM / 3))
}

fn any_channel() -> impl Strategy<Value = ChannelId> {
    prop::sample::select(LOOK_ALIKES[..3].to_vec()).prop_map(channel)
}

fn any_number() -> impl Strategy<Value = PhoneNumber> {
    prop::sample::select(vec!["1", "11"]).prop_map(|number| PhoneNumber::new(number).unwrap())
}

fn any_hash() -> impl Strategy<Value = Hash> {
    (0_u8..5).prop_map(|n| Hash([n; 16]))
}

fn any_template() -> impl Strategy<Value = Template> {
    prop::sample::select(vec![("SALE", "en"), ("SALE", "en_US"), ("SALE!", "en"), ("S", "en")])
        .prop_map(|(code, language)| Template { code: text(code), language: text(language) })
}

fn any_campaign() -> impl Strategy<Value = Option<Text>> {
    prop::option::of(prop::sample::select(vec!["", "x", "xy"]).prop_map(text))
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let sources = vec![Source::Send, Source::Sign, Source::Receipt, Source::Import];
    let template = prop::option::of(any_template());
    (prop::sample::select(sources), template, any_campaign())
        .prop_map(|(source, template, campaign)| Claim { source, template, campaign })
}

fn any_pricing() -> impl Strategy<Value = Pricing> {
    (0_i64..3, prop::bool::ANY).prop_map(|(micros, told)| Pricing {
        category: text("marketing"),
        kind: text("regular"),
        model: text("PMP"),
        cost: Cost::new(text("USD"), micros).filter(|_| told),
    })
}

fn any_message() -> impl Strategy<Value = Event> {
    let participant = prop::collection::btree_set(any_hash(), 0..=2)
        .prop_map(|ids| ids.into_iter().collect::<Vec<_>>());
    let status = prop::option::of(prop::sample::select(Status::ALL.to_vec()));
    let beside = (
        prop::option::of(0_i64..3),
        prop::option::of(any_pricing()),
        prop::option::of(any_claim()),
    );
    let names = (any_channel(), any_number(), any_hash());
    (names, participant, any_time(), status, beside).prop_map(
        |((channel, number, message), participant, time, status, (error, pricing, claim))| {
            Event::Message(MessageEvent {
                channel,
                number,
                message,
                participant,
                time,
                status,
                error,
                pricing: pricing.map(Into::into),
                claim: claim.map(Into::into),
            })
        },
    )
}

fn any_tap() -> impl Strategy<Value = Event> {
    let kinds = vec![
        ButtonKind::QuickReply,
        ButtonKind::Url,
        ButtonKind::Interactive,
        ButtonKind::UrlMachine,
    ];
    let button = (prop::sample::select(kinds), prop::sample::select(vec!["Yes", "No"]))
        .prop_map(|(kind, label)| Button { kind, text: text(label) });
    let sign = (any_template(), any_campaign())
        .prop_map(|(template, campaign)| Sign { template, campaign });
    let beside = (prop::option::of(any_hash()), prop::option::of(sign));
    let names = (any_channel(), any_number(), any_hash());
    (names, any_time(), button, beside).prop_map(
        |((channel, number, id), time, button, (message, sign))| {
            // Never set for interactive replies.
            let is_template = button.kind != ButtonKind::Interactive;
            Event::Tap(TapEvent {
                channel,
                number,
                id,
                time,
                button,
                message: message.filter(|_| is_template),
                sign: sign.filter(|_| is_template),
            })
        },
    )
}

fn any_category() -> impl Strategy<Value = Event> {
    let category = prop::sample::select(Category::ALL.to_vec());
    (any_channel(), any_template(), any_time(), category.clone(), prop::option::of(category))
        .prop_map(|(channel, template, effective, category, previous)| {
            let event = CategoryEvent { channel, template, effective, category, previous };
            Event::Category(event)
        })
}

pub(crate) fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => any_message(),
        4 => any_tap(),
        1 => (any_channel(), any_time()).prop_map(|(channel, time)| Event::OptIn { channel, time }),
        1 => any_category(),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Record(Vec<Event>),
    /// Everything so far, told again.
    Repeat,
    Reopen(bool),
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        prop_oneof![
            10 => prop::collection::vec(any_event(), 0..6).prop_map(Step::Record),
            1 => Just(Step::Repeat),
            1 => any::<bool>().prop_map(Step::Reopen),
        ],
        1..30,
    )
}

pub(super) async fn equals_the_simplest_model(home: &Home) {
    let cases = match home.backend {
        Backend::Memory => 32,
        Backend::Embedded => 12,
    };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let backend = home.backend;
    let handle = tokio::runtime::Handle::current();
    let run = move || {
        let mut runner = proptest::test_runner::TestRunner::new(config);
        runner.run(&any_steps(), |steps| {
            handle.block_on(follow(&Home::new(backend), &steps));
            Ok(())
        })
    };
    // Away from the runtime's threads, because each case blocks until it is through.
    tokio::task::spawn_blocking(run).await.unwrap().unwrap();
}

async fn follow(home: &Home, steps: &[Step]) {
    let mut model = Model::default();
    let mut told = Vec::new();
    let mut ledger = home.open();
    for step in steps {
        match step {
            Step::Record(events) => {
                for event in events {
                    assert!(model.record(NOW, event));
                }
                told.extend(events.iter().cloned());
                record(&ledger, events.clone()).await;
            }
            Step::Repeat => drop(record(&ledger, told.iter().rev().cloned().collect()).await),
            Step::Reopen(in_good_order) => ledger = home.reopen(ledger, *in_good_order).await,
        }
    }
    for of in &LOOK_ALIKES[..4] {
        for query in questions(of) {
            let points = ledger.series(query.clone()).await.unwrap();
            assert_eq!(points, model.points(&query), "{query:?}");
            let mine = |point: &Point| match &point.subject {
                Subject::Number(_) => matches!(query.select, Select::Numbers { .. }),
                Subject::Template(_) => matches!(query.select, Select::Templates { .. }),
            };
            assert!(points.iter().all(mine));
        }
    }
    let rows = scan::rows(&ledger, scan::EVER, None).await;
    assert_eq!(scan::cells(&rows), model.cells());
    let scratch = tempfile::tempdir().unwrap();
    let verdict =
        verify(ledger.as_ref(), scratch.path(), std::sync::Arc::new(|_, _| {})).await.unwrap();
    assert!(verdict.equal, "{verdict:?}");
}
