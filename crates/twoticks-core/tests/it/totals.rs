//! Totals are a commutative group, as far as `i64` goes.

use litemap::LiteMap;
use proptest::prelude::*;
use proptest::sample::select;
use twoticks_core::event::{Button, ButtonKind};
use twoticks_core::totals::{Charge, Clicks, Totals};

use crate::facts::{quick_reply, text};

fn sums() -> impl Strategy<Value = i64> {
    prop_oneof![4 => -3i64..4, 1 => any::<i32>().prop_map(i64::from)]
}

fn totals() -> impl Strategy<Value = Totals> {
    let counts = prop::array::uniform6(sums());
    let failures = prop::collection::btree_map(select(vec![0, 131_026]), sums(), 0..2);
    let buttons =
        select(vec![quick_reply("Yes"), Button { kind: ButtonKind::Url, text: text("Yes") }]);
    let clicks = (sums(), sums()).prop_map(|(all, unique)| Clicks { all, unique });
    let clicks = prop::collection::btree_map(buttons, clicks, 0..2);
    let charges = select(vec!["marketing", "utility"]).prop_map(|category| Charge {
        category: text(category),
        kind: text("regular"),
        model: text("PMP"),
    });
    let charged = prop::collection::btree_map(charges, sums(), 0..2);
    let cost = prop::collection::btree_map(select(vec!["USD", "EUR"]).prop_map(text), sums(), 0..2);
    (counts, failures, clicks, charged, cost).prop_map(
        |([accepted, sent, delivered, read, played, late], failures, clicks, charged, cost)| {
            let told = Totals {
                accepted,
                sent,
                delivered,
                read,
                played,
                late,
                failures: failures.into_iter().collect(),
                clicks: clicks.into_iter().collect(),
                charged: charged.into_iter().collect(),
                cost: cost.into_iter().collect(),
            };
            // What is absent is zero: adding brings it into that form.
            Totals::default().checked_add(&told).unwrap()
        },
    )
}

fn sum(left: &Totals, right: &Totals) -> Totals {
    left.clone().checked_add(right).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_do_not_depend_on_order_or_grouping(a in totals(), b in totals(), c in totals()) {
        prop_assert_eq!(sum(&a, &b), sum(&b, &a));
        prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
    }

    #[test]
    fn nothing_changes_nothing_and_everything_can_be_taken_away(a in totals(), b in totals()) {
        prop_assert_eq!(&sum(&a, &Totals::default()), &a);
        prop_assert!(a.clone().checked_sub(&a).unwrap().is_zero());
        prop_assert_eq!(&sum(&a, &b).checked_sub(&b).unwrap(), &a);
    }

    #[test]
    fn sums_of_parts_add_up(a in totals(), b in totals()) {
        let both = sum(&a, &b);
        prop_assert_eq!(both.failed(), a.failed() + b.failed());
        prop_assert_eq!(both.all_clicks(), a.all_clicks() + b.all_clicks());
        prop_assert_eq!(both.unique_clicks(), a.unique_clicks() + b.unique_clicks());
    }
}

#[test]
fn a_sum_beyond_the_range_is_none_for_every_quantity() {
    let charge = Charge { category: text("c"), kind: text("k"), model: text("m") };
    let of = |sum: i64| {
        let clicks = Clicks { all: sum, unique: 0 };
        let unique = Clicks { all: 0, unique: sum };
        [
            Totals { accepted: sum, ..Totals::default() },
            Totals { sent: sum, ..Totals::default() },
            Totals { delivered: sum, ..Totals::default() },
            Totals { read: sum, ..Totals::default() },
            Totals { played: sum, ..Totals::default() },
            Totals { late: sum, ..Totals::default() },
            Totals { failures: LiteMap::from_iter([(1, sum)]), ..Totals::default() },
            Totals {
                clicks: LiteMap::from_iter([(quick_reply("Yes"), clicks)]),
                ..Totals::default()
            },
            Totals {
                clicks: LiteMap::from_iter([(quick_reply("Yes"), unique)]),
                ..Totals::default()
            },
            Totals { charged: LiteMap::from_iter([(charge.clone(), sum)]), ..Totals::default() },
            Totals { cost: LiteMap::from_iter([(text("USD"), sum)]), ..Totals::default() },
        ]
    };
    for ((most, least), one) in of(i64::MAX).into_iter().zip(of(i64::MIN)).zip(of(1)) {
        assert_eq!(most.clone().checked_add(&one), None, "{one:?}");
        assert_eq!(least.clone().checked_sub(&one), None, "{one:?}");
        assert!(most.checked_sub(&one).is_some(), "{one:?}");
        assert!(least.checked_add(&one).is_some(), "{one:?}");
    }
}
