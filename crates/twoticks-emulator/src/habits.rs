//! How people and networks behave here: every assumption of the emulator, in one table each.
//!
//! They are ours, chosen so that the figures look like those of a business: 94 of 100 delivered,
//! about 70 of 100 of those read, taps by a few, most things at once and a few after days. Nobody
//! publishes such figures by message. What is documented is marked as Meta's. To add a market, add
//! a row to [`MARKETS`]; docs/emulator.md shows the table and is checked against it.

use twoticks_core::clock::{DAY, SECOND};
use twoticks_core::event::Category;

use crate::dice::Dice;

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// How long something takes, by its quantiles: (ten-thousandths, milliseconds).
///
/// **Invariant:** both grow, from 0 to 10,000 ten-thousandths. Between two quantiles everything is
/// equally likely, so it is whole numbers all through.
#[derive(Clone, Copy, Debug)]
pub struct Delay(&'static [(u64, i64)]);

impl Delay {
    /// Within which of its milliseconds that share lies, in ten-thousandths; for people to read.
    #[must_use]
    pub fn quantile(self, share: u64) -> i64 {
        let above = self.0.partition_point(|(up_to, _)| *up_to < share);
        let low = above.checked_sub(1).and_then(|below| self.0.get(below));
        match (low, self.0.get(above)) {
            (Some((from, low)), Some((to, high))) => {
                let part = i64::try_from(share - from).unwrap_or(0);
                let whole = i64::try_from(to - from).unwrap_or(1).max(1);
                low + (high - low) * part / whole
            }
            (_, Some((_, only))) | (Some((_, only)), None) => *only,
            (None, None) => 0,
        }
    }

    /// A delay, in milliseconds.
    pub fn draw(self, dice: &mut Dice) -> i64 {
        let roll = dice.below(10_000);
        let above = self.0.partition_point(|(share, _)| *share <= roll);
        let low = above.checked_sub(1).and_then(|below| self.0.get(below));
        match (low, self.0.get(above)) {
            (Some((_, low)), Some((_, high))) => dice.between(*low, high + 1),
            (Some((_, only)), None) | (None, Some((_, only))) => *only,
            (None, None) => 0,
        }
    }
}

/// From the carrier's yes to `sent`. (Meta: half of all webhooks within 250 ms, fewer than 1 in
/// 100 after a second.)
pub const SENDING: Delay =
    Delay(&[(0, 200), (5_000, 900), (9_000, 3_000), (9_900, 12 * SECOND), (10_000, MINUTE)]);
/// From `sent` to `delivered`: phones that are on at once, the others when they come back.
pub const DELIVERING: Delay = Delay(&[
    (0, 150),
    (5_000, 1_200),
    (8_000, 8 * SECOND),
    (9_000, 90 * SECOND),
    (9_500, 25 * MINUTE),
    (9_900, 9 * HOUR),
    (9_985, 40 * HOUR),
    (10_000, 6 * DAY),
]);
/// From `delivered` to `read`: close to log-normal, half within six minutes, 1 in 100 after days.
pub const READING: Delay = Delay(&[
    (0, 2 * SECOND),
    (1_000, 20 * SECOND),
    (2_500, 70 * SECOND),
    (5_000, 6 * MINUTE),
    (7_500, 45 * MINUTE),
    (9_000, 4 * HOUR),
    (9_700, 16 * HOUR),
    (9_900, 30 * HOUR),
    (10_000, 5 * DAY),
]);
/// From reading to tapping, and from one tap to the next.
pub const TAPPING: Delay =
    Delay(&[(0, 2 * SECOND), (5_000, 25 * SECOND), (9_000, 4 * MINUTE), (10_000, HOUR)]);
/// From `delivered` to `failed`, for the rare message of which both are told.
pub const CONTRADICTING: Delay = Delay(&[(0, SECOND), (10_000, 10 * MINUTE)]);
/// How long after a template is handed in it is reviewed.
pub const REVIEWING: Delay = Delay(&[(0, 20 * SECOND), (8_000, 3 * MINUTE), (10_000, 20 * HOUR)]);

/// Every delay, by what it is from and to.
pub const DELAYS: [(&str, Delay); 5] = [
    ("accepted to `sent`", SENDING),
    ("`sent` to `delivered`", DELIVERING),
    ("`delivered` to `read`", READING),
    ("read to tapped, and from tap to tap", TAPPING),
    ("a template handed in to its review", REVIEWING),
];

/// What a message is for; a free-form one is service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// A template of this category.
    Template(Category),
    /// No template.
    Service,
}

/// A country, by what its people do.
#[derive(Debug)]
pub struct Market {
    /// ISO 3166 code, as BSUIDs begin with; `XX` for everywhere else.
    pub country: &'static str,
    /// Calling code.
    pub calling: &'static str,
    /// Minutes east of Greenwich, winter: when people sleep.
    pub offset_minutes: i64,
    /// How many of a thousand messages cannot be delivered (131026).
    pub unreachable: i64,
    /// How many of a thousand people have their read receipts off.
    pub receipts_off: i64,
    /// How many of a thousand delivered messages are read: marketing, utility, authentication,
    /// service.
    pub read: [i64; 4],
    /// How many of a thousand who read marketing, or anything else, tap a button.
    pub tapped: [i64; 2],
    /// What a marketing message costs, in millionths of a US dollar: public copies of Meta's rate
    /// cards of January and July 2026. Told only where Meta tells a cost.
    pub marketing_micros: i64,
}

const fn market(
    (country, calling): (&'static str, &'static str),
    offset_minutes: i64,
    (unreachable, receipts_off): (i64, i64),
    read: [i64; 4],
    tapped: [i64; 2],
    marketing_micros: i64,
) -> Market {
    Market {
        country,
        calling,
        offset_minutes,
        unreachable,
        receipts_off,
        read,
        tapped,
        marketing_micros,
    }
}

/// Everywhere else.
pub const ELSEWHERE: Market =
    market(("XX", ""), 0, (22, 150), [760, 860, 880, 900], [120, 160], 60_400);

/// Every market that has habits of its own.
#[rustfmt::skip]
pub const MARKETS: &[Market] = &[
    market(("ID", "62"), 420, (24, 90), [800, 880, 900, 930], [150, 200], 41_100),
    market(("BR", "55"), -180, (16, 110), [830, 900, 920, 940], [140, 210], 62_500),
    market(("DE", "49"), 60, (12, 260), [720, 850, 900, 890], [80, 120], 136_500),
    market(("IN", "91"), 330, (28, 80), [780, 860, 900, 920], [130, 180], 11_800),
    market(("MX", "52"), -360, (20, 120), [790, 870, 900, 910], [130, 170], 30_500),
    market(("GB", "44"), 0, (10, 220), [740, 860, 900, 900], [90, 130], 52_900),
    market(("US", "1"), -360, (12, 180), [700, 840, 900, 880], [90, 130], 25_000),
];

/// The market of a recipient: by a BSUID's two letters, else by the longest calling code.
#[must_use]
pub fn market_of(recipient: &str) -> &'static Market {
    let digits = recipient.trim_start_matches('+');
    let by_country = |market: &&Market| {
        let rest = recipient.strip_prefix(market.country);
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    let by_code = MARKETS.iter().filter(|market| digits.starts_with(market.calling));
    MARKETS
        .iter()
        .find(by_country)
        .or_else(|| by_code.max_by_key(|market| market.calling.len()))
        .unwrap_or(&ELSEWHERE)
}

impl Market {
    /// How many of a thousand delivered messages are read.
    #[must_use]
    pub fn read(&self, purpose: Purpose) -> i64 {
        let [marketing, utility, authentication, service] = self.read;
        match purpose {
            Purpose::Template(Category::Marketing) => marketing,
            Purpose::Template(Category::Utility) => utility,
            Purpose::Template(Category::Authentication) => authentication,
            Purpose::Service => service,
        }
    }

    /// How many of a thousand who read tap.
    #[must_use]
    pub fn tapped(&self, purpose: Purpose) -> i64 {
        let [marketing, other] = self.tapped;
        if purpose == Purpose::Template(Category::Marketing) { marketing } else { other }
    }

    /// `at`, or the morning after if people here sleep then: four of five do from eleven to seven.
    pub fn awake(&self, at: i64, dice: &mut Dice) -> i64 {
        let local = at + self.offset_minutes * MINUTE;
        let of_day = local.rem_euclid(DAY);
        let morning = local - of_day + 7 * HOUR;
        let wakes = if of_day >= 23 * HOUR { morning + DAY } else { morning };
        let sleeps = !(7 * HOUR..23 * HOUR).contains(&of_day);
        let later = dice.between(0, 2 * HOUR);
        let is_early = dice.chance(800);
        if sleeps && is_early { wakes + later - self.offset_minutes * MINUTE } else { at }
    }
}

/// A reason for which messages fail.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Meta's code.
    pub code: u32,
    /// Meta's title for it.
    pub title: &'static str,
    /// Of a thousand marketing messages and of a thousand others; 131026 has a share by market,
    /// and what has none comes from circumstances (a paused template, no window).
    pub share: [i64; 2],
}

const fn failure(code: u32, title: &'static str, share: [i64; 2]) -> Failure {
    Failure { code, title, share }
}

/// Nobody can be reached there.
pub const UNDELIVERABLE: u32 = 131_026;
/// Meta keeps marketing from those who had much of it.
pub const LIMITED: u32 = 131_049;
/// Free-form more than a day after the recipient wrote.
pub const NO_WINDOW: u32 = 131_047;
/// The template is paused.
pub const PAUSED: u32 = 132_015;

/// Every reason: codes and titles are Meta's.
#[rustfmt::skip]
pub const FAILURES: &[Failure] = &[
    failure(UNDELIVERABLE, "Message undeliverable", [0, 0]),
    failure(LIMITED, "This message was not delivered to maintain healthy ecosystem engagement.", [31, 0]),
    failure(130_472, "User's number is part of an experiment", [9, 0]),
    failure(131_050, "Unable to deliver the message. This recipient has chosen to stop receiving marketing messages on WhatsApp from your business", [4, 0]),
    failure(131_000, "Something went wrong", [1, 1]),
    failure(131_053, "Media upload error", [0, 1]),
    failure(NO_WINDOW, "Re-engagement message", [0, 0]),
    failure(PAUSED, "Template is Paused", [0, 0]),
    failure(132_016, "Template is Disabled", [0, 0]),
    failure(131_048, "Spam rate limit hit", [0, 0]),
    failure(131_056, "(Business Account, Consumer Account) pair rate limit hit", [0, 0]),
    failure(131_042, "Business eligibility payment issue", [0, 0]),
    failure(131_062, "Authentication message to a business-scoped user id", [0, 0]),
    failure(130_429, "Rate limit hit", [0, 0]),
];

/// The failure with this code of Meta's.
#[must_use]
pub fn failure_of(code: u32) -> Option<&'static Failure> {
    FAILURES.iter().find(|failure| failure.code == code)
}

/// How many of a thousand messages that are neither failed nor delivered stay so for ever.
pub const NEVER_DELIVERED: i64 = 18;
/// How many of a thousand failures come after a `sent`.
pub const FAILED_AFTER_SENT: i64 = 200;
/// How many of a thousand messages that are read are never told as delivered: who has the chat
/// open reads at once, and WhatsApp leaves `delivered` out.
pub const READ_AT_ONCE: i64 = 50;
/// How many of a thousand who tap, tap twice.
pub const TAPPED_TWICE: i64 = 80;
/// How many of a thousand taps come without the message they answer (`context`).
pub const TAPPED_WITHOUT_CONTEXT: i64 = 10;
/// How many of a thousand delivered messages are told as failed as well.
pub const CONTRADICTED: i64 = 1;
/// How many of a thousand templates are rejected by their review, and how many utility templates
/// come out of it as marketing.
pub const REJECTED: i64 = 60;
/// See [`REJECTED`].
pub const RECATEGORISED: i64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_grow_from_nothing_to_all() {
        for Delay(table) in [SENDING, DELIVERING, READING, TAPPING, CONTRADICTING, REVIEWING] {
            assert_eq!(table.first().map(|it| it.0), Some(0), "{table:?}");
            assert_eq!(table.last().map(|it| it.0), Some(10_000), "{table:?}");
            assert!(table.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));
        }
    }

    #[test]
    fn a_delay_has_the_quantiles_of_its_table() {
        let mut dice = Dice::new(5);
        let mut drawn: Vec<i64> = (0..100_000).map(|_| READING.draw(&mut dice)).collect();
        drawn.sort_unstable();
        let Delay(table) = READING;
        for (share, expected) in &table[1..table.len() - 1] {
            let found = drawn[usize::try_from(share * 10).unwrap()];
            let off = (found - expected).abs() * 100 / expected;
            assert!(off <= 10, "{share}: {found} for {expected}");
        }
        assert!(drawn[99_999] <= 5 * DAY && drawn[0] >= 2 * SECOND);
    }

    #[test]
    fn a_recipient_is_of_the_market_with_the_longest_code() {
        for (recipient, country) in [
            ("+6281100000001", "ID"),
            ("5511900000001", "BR"),
            ("DE.13491208655302741918", "DE"),
            ("15550100011", "US"),
            ("8613900000001", "XX"),
            ("DEAR", "XX"),
            ("", "XX"),
        ] {
            assert_eq!(market_of(recipient).country, country, "{recipient}");
        }
    }

    #[test]
    fn nobody_is_woken_and_nobody_waits_for_longer_than_a_night() {
        let mut dice = Dice::new(3);
        for market in MARKETS {
            let mut slept = 0;
            for minute in 0..24 * 60 {
                let at = 1_790_000_000_000 + minute * MINUTE;
                let awake = market.awake(at, &mut dice);
                assert!((at..at + 11 * HOUR).contains(&awake), "{} {minute}", market.country);
                slept += i64::from(awake > at);
            }
            assert!((300..=480).contains(&slept), "{}: {slept}", market.country);
        }
    }

    #[test]
    fn codes_are_distinct_and_shares_leave_most_messages_alone() {
        for (index, failure) in FAILURES.iter().enumerate() {
            assert!(FAILURES.iter().skip(index + 1).all(|other| other.code != failure.code));
        }
        for of in [0, 1] {
            let all: i64 = FAILURES.iter().map(|failure| failure.share[of]).sum();
            assert!(all < 60, "{all}");
        }
    }
}
