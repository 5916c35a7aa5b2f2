//! What was told, as it is kept: in days of UTC, whatever it was told in.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use twoticks_core::clock::Time;
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

/// An answer, and what it is to.
pub(super) struct Answer<T> {
    pub(super) points: Vec<T>,
    /// All that was told could be read. Else nothing can be said of what is not in it.
    pub(super) is_whole: bool,
    /// The days that were asked for.
    pub(super) days: RangeInclusive<Day>,
    /// When it came.
    pub(super) read: Time,
}

/// The day of UTC in which all of a span lies.
fn day_of(start_seconds: i64, end_seconds: i64) -> Option<Day> {
    let end_seconds = end_seconds.saturating_sub(1);
    let (first, last) = (analytics::Day::of(start_seconds), analytics::Day::of(end_seconds));
    (start_seconds <= end_seconds && first == last).then_some(Day(first.0))
}

fn all(days: &RangeInclusive<Day>) -> impl Iterator<Item = Day> + use<> {
    (days.start().0..=days.end().0).map(Day)
}

/// Sums up the half hours of a number; a day without any had nothing. How many could not be filed.
pub(super) fn number(
    told: &mut Days,
    number: &PhoneNumber,
    Answer { points, is_whole, days, read }: Answer<MessagesPoint>,
) -> usize {
    let mut sums: BTreeMap<Day, (u64, u64)> = all(&days).map(|day| (day, (0, 0))).collect();
    let mut odd = 0;
    for point in points {
        match day_of(point.start_seconds, point.end_seconds) {
            Some(day) if point.unread.is_empty() => {
                // A day at the edge of what was asked for is not told whole.
                if let Some((sent, delivered)) = sums.get_mut(&day) {
                    *sent = sent.saturating_add(point.sent.unwrap_or(0));
                    *delivered = delivered.saturating_add(point.delivered.unwrap_or(0));
                }
            }
            _ => odd += 1,
        }
    }
    // Nothing at all can be said of days that may be in what could not be filed.
    if odd > 0 || !is_whole {
        sums.retain(|_, sum| *sum != (0, 0));
    }
    for (day, (sent, delivered)) in sums {
        let figures = NumberFigures { sent, delivered, read: Read::at(read) };
        told.entry(day).or_default().numbers.insert(number.clone(), figures);
    }
    odd
}

/// Sums up the half hours of prices of `numbers`, which are not all of the account's; how many could
/// not be filed. A cost of which a part is not told is not known.
pub(super) fn prices(
    told: &mut Days,
    numbers: &[PhoneNumber],
    Answer { points, is_whole, days, read }: Answer<PricingPoint>,
) -> usize {
    type Sums = (Option<u64>, Option<i64>);
    let mut sums: BTreeMap<(Day, PriceKey), Sums> = BTreeMap::new();
    let mut odd = 0;
    for point in points {
        let number = point.phone_number.as_deref().map(PhoneNumber::new);
        let day = day_of(point.start_seconds, point.end_seconds).filter(|day| days.contains(day));
        let (Some(Ok(number)), Some(day), true) = (number, day, point.unread.is_empty()) else {
            odd += 1;
            continue;
        };
        if !numbers.contains(&number) {
            continue;
        }
        let word = |word: &Option<String>| Text::lossy(word.as_deref().unwrap_or(UNSAID));
        let key =
            PriceKey { category: word(&point.pricing_category), kind: word(&point.pricing_type) };
        let (volume, cost) = sums.entry((day, key)).or_insert((None, Some(0)));
        if let Some(count) = point.volume {
            *volume = Some(volume.unwrap_or(0).saturating_add(count));
        }
        *cost = cost.zip(point.cost_micros).map(|(sum, micros)| sum.saturating_add(micros));
    }
    let is_whole = is_whole && odd == 0;
    for ((day, key), (volume, micros)) in sums {
        // A part of a count is less than it; a part of a cost would be taken for a correction.
        let cost = micros.filter(|_| is_whole).map(|micros| Cost { read, micros });
        let figures = PriceFigures { volume, cost };
        told.entry(day).or_default().prices.insert(key, figures);
    }
    for day in all(&days).filter(|_| is_whole) {
        told.entry(day).or_default().prices_read = Some(Read::at(read));
    }
    odd
}

/// Takes in the days of templates; how many are none that were asked for.
pub(super) fn templates(
    told: &mut Days,
    Answer { points, is_whole: _, days, read }: Answer<TemplateDay>,
    asked: Product,
) -> usize {
    let mut odd = 0;
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
        let day = Day(analytics::Day::of(start_seconds).0);
        if !days.contains(&day) {
            odd += 1;
            continue;
        }
        let product = product.unwrap_or_else(|| asked.word().to_lowercase());
        let key = TemplateKey {
            id: Text::lossy(&template_id),
            product: Text::lossy(analytics::same_product(&product)),
        };
        let cost = cost.and_then(|cost| cost.spent_micros).map(|micros| Cost { read, micros });
        let clicks = clicks.map(buttons);
        let figures = TemplateFigures { sent, delivered, read: read_by, clicks, cost };
        let known = told.entry(day).or_default().templates.entry(key).or_default();
        known.merge(figures);
    }
    odd
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

    /// To a question about the second and the third day of 1970.
    fn answer<T: Clone>(points: &[T], is_whole: bool) -> Answer<T> {
        Answer { points: points.to_vec(), is_whole, days: Day(1)..=Day(2), read: Time(5) }
    }

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
            let odd = number(&mut told, &phone, answer(points, true));
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
        assert_eq!(sums(&[messages(i64::MIN, 1, 1), messages(i64::MAX - 1, 1, 1)]).0, 0);
        let from_the_end = MessagesPoint { end_seconds: i64::MIN, ..messages(DAY, 0, 1) };
        assert_eq!(sums(&[from_the_end]), (1, [None; 4]));
        // Nothing is made up of what could not be read.
        let unread = MessagesPoint { sent: None, unread: vec!["sent"], ..messages(DAY, half, 0) };
        assert_eq!(sums(&[unread, messages(2 * DAY, half, 2)]), (1, [None, None, Some(2), None]));
        let mut told = Days::new();
        number(&mut told, &phone, answer(&[messages(DAY, half, 1)], false));
        assert_eq!(told.keys().collect::<Vec<_>>(), [&Day(1)]);
    }

    /// Half an hour of a number, at the beginning of a day and so many half hours on.
    fn price(number: &str, day: i64, volume: Option<u64>, cost: Option<i64>) -> PricingPoint {
        PricingPoint {
            start_seconds: day * DAY,
            end_seconds: day * DAY + 1_800,
            country: None,
            phone_number: (!number.is_empty()).then(|| number.to_owned()),
            tier: None,
            pricing_type: Some("REGULAR".to_owned()),
            pricing_category: None,
            volume,
            cost_micros: cost,
            unread: Vec::new(),
        }
    }

    #[test]
    fn prices_are_those_of_the_channels_numbers_and_a_part_of_a_cost_is_none() {
        let ours = ["4915".to_owned(), "4916".to_owned()].map(|it| PhoneNumber::new(&it).unwrap());
        type Told = Option<(Option<u64>, Option<i64>)>;
        let sums = |points: &[PricingPoint], is_whole| -> (usize, [Told; 4], [bool; 4]) {
            let mut told = Days::new();
            let odd = prices(&mut told, &ours, answer(points, is_whole));
            let key = PriceKey { category: Text::lossy("UNKNOWN"), kind: Text::lossy("REGULAR") };
            let of = |day: i64| {
                let known = told.get(&Day(day))?.prices.get(&key)?;
                Some((known.volume, known.cost.map(|cost| cost.micros)))
            };
            let is_read = |day| told.get(&Day(day)).is_some_and(|it| it.prices_read.is_some());
            (odd, [0, 1, 2, 3].map(of), [0, 1, 2, 3].map(is_read))
        };
        let read = [false, true, true, false];
        let good = [
            price("4915", 1, Some(1), Some(7)),
            price("+49 16", 1, Some(2), Some(8)),
            price("4917", 1, Some(64), Some(64)),
            price("4915", 2, Some(3), Some(9)),
            price("4915", 2, None, None),
        ];
        let told = [None, Some((Some(3), Some(15))), Some((Some(3), None)), None];
        assert_eq!(sums(&good, true), (0, told, read));
        assert_eq!(sums(&[], true), (0, [None; 4], read));
        let counts = [None, Some((Some(3), None)), Some((Some(3), None)), None];
        assert_eq!(sums(&good, false), (0, counts, [false; 4]));
        // Of no number, of days that were not asked for, of no day, of nobody knows what.
        let two_days = PricingPoint { end_seconds: 3 * DAY, ..price("4915", 1, Some(1), None) };
        let unread = PricingPoint { unread: vec!["cost"], ..price("4915", 1, Some(1), None) };
        for odd in [
            price("", 1, Some(1), None),
            price("4915", 0, Some(1), None),
            price("4915", 3, None, None),
            two_days,
            unread,
        ] {
            let [first, ..] = &good;
            let counts = [None, Some((Some(1), None)), None, None];
            assert_eq!(sums(&[odd, first.clone()], true), (1, counts, [false; 4]));
        }
    }

    #[test]
    fn both_names_of_the_marketing_messages_api_are_one_product_and_other_days_are_left_out() {
        let point = |product: Option<&str>, day: i64| TemplateDay {
            template_id: "1".to_owned(),
            start_seconds: day * DAY,
            product: product.map(ToOwned::to_owned),
            sent: Some(3),
            delivered: None,
            read: None,
            clicks: None,
            cost: None,
            unread: Vec::new(),
        };
        let mut told = Days::new();
        let names = ["marketing_messages_api_for_whatsapp", "marketing_messages_lite_api"];
        let points = names.map(|name| point(Some(name), 1));
        assert_eq!(templates(&mut told, answer(&points, true), Product::MarketingMessages), 0);
        let unnamed = [point(None, 1), point(None, 0), point(None, 3)];
        let asked = Product::MarketingMessagesLite;
        assert_eq!(templates(&mut told, answer(&unnamed, true), asked), 2);
        assert_eq!(templates(&mut told, answer(&[point(None, 1)], true), Product::CloudApi), 0);
        assert_eq!(told.keys().collect::<Vec<_>>(), [&Day(1)]);
        let products: Vec<&str> =
            told[&Day(1)].templates.keys().map(|key| key.product.as_str()).collect();
        assert_eq!(products, ["cloud_api", "marketing_messages_api_for_whatsapp"]);
    }
}
