//! What was told, as it is kept: in days of UTC, whatever it was told in.

use std::collections::BTreeMap;

use twoticks_core::clock::{SECOND, Time};
use twoticks_core::ids::{PhoneNumber, Text};
use twoticks_store::figures::{
    ButtonKey, Cost, Day, NumberFigures, OfDay, PriceFigures, PriceKey, Read, TemplateFigures,
    TemplateKey,
};
use twoticks_wire::graph::analytics::{
    self, ButtonClicked, Clicks, MessagesPoint, PricingPoint, Product, TemplateDay,
};

type Days = BTreeMap<Day, OfDay>;

/// What a button is called of which nothing but the number of clicks is told.
const ALL_BUTTONS: &str = "all_buttons";
/// The key of such clicks.
pub(crate) fn of_all() -> ButtonKey {
    ButtonKey { kind: Text::lossy(ALL_BUTTONS), text: Text::lossy("") }
}

/// What a word is called that is not told.
const UNSAID: &str = "UNKNOWN";

/// The day of UTC in which all of a span lies.
fn day_of(start_seconds: i64, end_seconds: i64) -> Option<Day> {
    let (first, last) = (analytics::Day::of(start_seconds), analytics::Day::of(end_seconds - 1));
    (start_seconds < end_seconds && first == last).then_some(Day(first.0))
}

/// Sums up the half hours of a number; one of `days` without any had nothing. How many spans lie in
/// no single day.
pub(super) fn number(
    told: &mut Days,
    (number, days): (&PhoneNumber, &[Day]),
    points: &[MessagesPoint],
    read: Read,
) -> usize {
    let mut sums: BTreeMap<Day, (u64, u64)> = days.iter().map(|day| (*day, (0, 0))).collect();
    let mut odd = 0;
    for point in points {
        match day_of(point.start_seconds, point.end_seconds) {
            // A day at the edge of what was asked for is not told whole.
            Some(day) => {
                if let Some((sent, delivered)) = sums.get_mut(&day) {
                    *sent = sent.saturating_add(point.sent.unwrap_or(0));
                    *delivered = delivered.saturating_add(point.delivered.unwrap_or(0));
                }
            }
            None => odd += 1,
        }
    }
    // Nothing at all can be said of days that may be in what could not be filed.
    if odd > 0 {
        sums.retain(|_, sum| *sum != (0, 0));
    }
    for (day, (sent, delivered)) in sums {
        let figures = NumberFigures { sent, delivered, read };
        told.entry(day).or_default().numbers.insert(number.clone(), figures);
    }
    odd
}

/// Sums up the half hours of prices; how many spans lie in no single day. A cost of which a part is
/// not told is not known.
pub(super) fn prices(told: &mut Days, points: &[PricingPoint], read: Time) -> usize {
    type Sums = (Option<u64>, Option<i64>);
    let mut sums: BTreeMap<(Day, PriceKey), Sums> = BTreeMap::new();
    let mut odd = 0;
    for point in points {
        let Some(day) = day_of(point.start_seconds, point.end_seconds) else {
            odd += 1;
            continue;
        };
        let word = |word: &Option<String>| Text::lossy(word.as_deref().unwrap_or(UNSAID));
        let key =
            PriceKey { category: word(&point.pricing_category), kind: word(&point.pricing_type) };
        let (volume, cost) = sums.entry((day, key)).or_insert((None, Some(0)));
        if let Some(count) = point.volume {
            *volume = Some(volume.unwrap_or(0).saturating_add(count));
        }
        *cost = cost.zip(point.cost_micros).map(|(sum, micros)| sum.saturating_add(micros));
    }
    for ((day, key), (volume, micros)) in sums {
        let cost = micros.map(|micros| Cost { read, micros });
        let figures = PriceFigures { volume, cost };
        told.entry(day).or_default().prices.insert(key, figures);
    }
    odd
}

/// Takes in the days of templates.
pub(super) fn templates(told: &mut Days, points: Vec<TemplateDay>, asked: Product, read: Time) {
    for point in points {
        let TemplateDay {
            template_id,
            start_seconds,
            product,
            sent,
            delivered,
            read: read_by,
            clicks,
            cost,
            unread: _,
        } = point;
        let product = product.unwrap_or_else(|| asked.word().to_lowercase());
        let key = TemplateKey { id: Text::lossy(&template_id), product: Text::lossy(&product) };
        let cost = cost.and_then(|cost| cost.spent_micros).map(|micros| Cost { read, micros });
        let clicks = clicks.map(buttons);
        let figures = TemplateFigures { sent, delivered, read: read_by, clicks, cost };
        let day = Day::of(Time(start_seconds.saturating_mul(SECOND)));
        let known = told.entry(day).or_default().templates.entry(key).or_default();
        known.merge(figures);
    }
}

fn buttons(Clicks { buttons, total }: Clicks) -> BTreeMap<ButtonKey, u64> {
    let mut kept = BTreeMap::new();
    for (ButtonClicked { kind, content }, count) in buttons {
        let key = ButtonKey { kind: Text::lossy(&kind), text: Text::lossy(&content) };
        // Texts that differ only beyond what is kept are one button here.
        let known: &mut u64 = kept.entry(key).or_default();
        *known = known.saturating_add(count);
    }
    if let Some(total) = total {
        kept.insert(of_all(), total);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn messages(start_seconds: i64, seconds: i64, sent: u64) -> MessagesPoint {
        MessagesPoint {
            start_seconds,
            end_seconds: start_seconds + seconds,
            sent: Some(sent),
            delivered: None,
            unread: Vec::new(),
        }
    }

    #[test]
    fn half_hours_are_summed_in_days_of_utc_and_days_of_another_zone_are_left_out() {
        let phone = PhoneNumber::new("4915").unwrap();
        let sums = |points: &[MessagesPoint]| {
            let mut told = Days::new();
            let days = [Day(1), Day(2)];
            let odd = number(&mut told, (&phone, &days), points, Read::at(Time(5)));
            let sent = |day: &i64| Some(told.get(&Day(*day))?.numbers.get(&phone)?.sent);
            (odd, [0, 1, 2, 3].map(|day: i64| sent(&day)))
        };
        let half = 1_800;
        // The last of a day and the first of the next; those outside were not asked for.
        let points = [
            messages(2 * DAY - half, half, 1),
            messages(2 * DAY, half, 2),
            messages(DAY, half, 4),
            messages(DAY - half, half, 8),
            messages(3 * DAY, half, 16),
        ];
        assert_eq!(sums(&points), (0, [None, Some(5), Some(2), None]));
        assert_eq!(sums(&[]), (0, [None, Some(0), Some(0), None]));
        // Pacific days begin at 07:00 or 08:00: such an answer says nothing of days of UTC.
        let pacific = [messages(DAY + 7 * 3_600, DAY, 3), messages(DAY, half, 1)];
        assert_eq!(sums(&pacific), (1, [None, Some(1), None, None]));
        assert_eq!(sums(&[messages(DAY, 0, 1)]), (1, [None; 4]));
    }

    #[test]
    fn a_cost_of_which_a_part_is_not_told_is_unknown() {
        let point = |start_seconds, volume, cost_micros| PricingPoint {
            start_seconds,
            end_seconds: start_seconds + 1_800,
            country: None,
            phone_number: None,
            tier: None,
            pricing_type: Some("REGULAR".to_owned()),
            pricing_category: None,
            volume,
            cost_micros,
            unread: Vec::new(),
        };
        let mut told = Days::new();
        let points = [
            point(0, Some(1), Some(7)),
            point(1_800, Some(2), Some(8)),
            point(DAY, Some(3), Some(9)),
            point(DAY + 1_800, None, None),
        ];
        assert_eq!(prices(&mut told, &points, Time(5)), 0);
        let found: Vec<_> = told.values().flat_map(|day| &day.prices).collect();
        let key = |at: usize| (found[at].0.category.as_str(), found[at].0.kind.as_str());
        assert_eq!([key(0), key(1)], [("UNKNOWN", "REGULAR"); 2]);
        let cost = Some(Cost { read: Time(5), micros: 15 });
        assert_eq!(*found[0].1, PriceFigures { volume: Some(3), cost });
        assert_eq!(*found[1].1, PriceFigures { volume: Some(3), cost: None });
    }
}
