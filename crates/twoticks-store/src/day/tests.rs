//! A row counts what totals count, and is read as it was written.

use proptest::prelude::*;
use twoticks_core::event::Cost;

use super::*;

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn pricing(n: u8) -> Pricing {
    Pricing {
        category: text(["marketing", "utility"][usize::from(n % 2)]),
        kind: text("regular"),
        model: text("PMP"),
        cost: Cost::new(text(["USD", "EUR"][usize::from(n / 2 % 2)]), i64::from(n)),
    }
}

fn button(n: u8) -> Button {
    let kind = [ButtonKind::QuickReply, ButtonKind::Interactive][usize::from(n % 2)];
    Button { kind, text: text(["Yes", "No"][usize::from(n / 2 % 2)]) }
}

/// A measure by its number, and a place.
fn counted() -> impl Strategy<Value = (Place, u8, u8, i64)> {
    let campaign = prop::option::of(prop::sample::select(vec!["", "x", "spring"]));
    let place = (prop::sample::select(vec![0_u8, 5, 95]), 0..2_u8, 0..4_u8, campaign).prop_map(
        |(quarter, side, what, campaign)| Place {
            quarter,
            side,
            what,
            campaign: campaign.map(text),
        },
    );
    (place, 0..9_u8, 0..4_u8, prop::sample::select(vec![1, -1, 3]))
}

fn with_measure(of: u8, n: u8, then: impl FnOnce(Measure<'_>)) {
    let (pricing, button) = (pricing(n), button(n));
    then(match of {
        0 => Measure::Accepted,
        1 => Measure::Sent,
        2 => Measure::Delivered(None),
        3 => Measure::Delivered(Some(&pricing)),
        4 => Measure::Read,
        5 => Measure::Played,
        6 => Measure::Failed(131_000 + i64::from(n)),
        7 => Measure::Clicked(&button, n == 0),
        _ => Measure::Late,
    });
}

proptest! {
    #[test]
    fn a_row_counts_what_totals_count_and_is_read_as_it_was_written(
        told in prop::collection::vec(counted(), 0..40),
        commits in 1..4_usize,
    ) {
        let mut model: BTreeMap<Place, Totals> = BTreeMap::new();
        let mut row = Day::default().encode(1);
        for part in told.chunks(told.len().div_ceil(commits).max(1)) {
            // As an overlay gathers it, with indices of its own.
            let mut extras = Vec::new();
            let mut changes: BTreeMap<Place, Sums> = BTreeMap::new();
            for (place, of, n, times) in part {
                with_measure(*of, *n, |measure| {
                    assert!(model.entry(place.clone()).or_default().count(measure, *times));
                    let indices: Vec<(u32, i64)> = extras_of(measure)
                        .into_iter()
                        .map(|(extra, by)| {
                            let known = extras.iter().position(|it| *it == extra);
                            let index = known.unwrap_or_else(|| {
                                extras.push(extra);
                                extras.len() - 1
                            });
                            (u32::try_from(index).unwrap(), by)
                        })
                        .collect();
                    changes.entry(place.clone()).or_default().count(measure, *times, &indices);
                });
            }
            let mut day = Day::decode(&row[1..]).unwrap();
            for (place, change) in changes {
                prop_assert!(day.add(place, &change, &extras));
            }
            row = day.encode(1);
        }
        model.retain(|_, totals| !totals.is_zero());
        let day = Day::decode(&row[1..]).unwrap();
        let cells: BTreeMap<Place, Totals> =
            day.cells().map(|(place, totals)| (place.clone(), totals)).collect();
        prop_assert_eq!(&cells, &model);
        prop_assert_eq!(day.is_empty(), model.is_empty());
        // Equal rows have equal bytes, however they came about.
        let mut anew = Day::default();
        for (place, totals) in model {
            let mut extras = Vec::new();
            let mut sums = Sums::default();
            sums.add(&totals, |extra| {
                extras.push(extra);
                u32::try_from(extras.len() - 1).unwrap()
            });
            prop_assert!(anew.add(place, &sums, &extras));
        }
        prop_assert_eq!(anew.encode(1), row);
    }

    #[test]
    fn rubbish_is_refused_without_a_panic(row: Vec<u8>) {
        drop(Day::decode(&row));
    }
}

#[test]
fn a_sum_beyond_the_range_is_left_as_it_was() {
    let place = Place { quarter: 0, side: 0, what: 1, campaign: None };
    let most = Sums { plain: [i64::MAX; PLAIN], extras: SmallVec::new() };
    let mut day = Day::default();
    assert!(day.add(place.clone(), &most, &[]));
    let before = day.encode(1);
    let mut one = Sums::default();
    one.count(Measure::Sent, 1, &[]);
    assert!(!day.add(place, &one, &[]));
    assert_eq!(day.encode(1), before);
}
