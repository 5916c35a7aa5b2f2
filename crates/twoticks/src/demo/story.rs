//! The story: what a business sent in two weeks and what became of it, made from a seed.
//!
//! Everything is relative to the beginning, so the same seed gives the same counts whenever it is
//! told. It has what real webhooks have: failures, reads that were never told as delivered, taps,
//! statuses that come late and out of order.

use twoticks_core::clock::{DAY, SECOND};
use twoticks_core::event::Category;

/// How long the story is, in milliseconds.
pub(super) const LENGTH: i64 = 14 * DAY;
/// When the channel opts in, after the beginning: what came before does not count for CAMS.
pub(super) const OPT_IN: i64 = DAY;

/// The day on which every template is sent.
const FIRST_OF_ALL: i64 = 1;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A generator of numbers that a seed foretells (`SplitMix64`).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `from..to`; the bias for such small ranges is below 1 in 10^12.
    pub(super) fn between(&mut self, from: i64, to: i64) -> i64 {
        let width = u64::try_from(to - from).unwrap_or(1).max(1);
        from + i64::try_from(self.next() % width).unwrap_or(0)
    }

    /// True `permille` times in a thousand.
    pub(super) fn chance(&mut self, permille: i64) -> bool {
        self.between(0, 1_000) < permille
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.next() % (last as u64 + 1)).unwrap_or(last);
            items.swap(last, other);
        }
    }
}

/// Bytes that `seed` foretells, for ids and keys.
pub(super) fn bytes(seed: u64) -> impl FnMut(&mut [u8]) + std::marker::Send {
    let mut dice = Dice::new(seed ^ 0x6b65_7973);
    move |buffer| {
        for byte in buffer {
            *byte = dice.next().to_le_bytes()[0];
        }
    }
}

/// A template of the demo.
pub(super) struct Template {
    pub(super) code: &'static str,
    pub(super) language: &'static str,
    pub(super) category: Category,
    /// The texts of its quick replies.
    pub(super) quick_replies: &'static [&'static str],
    /// Which of the numbers sends it.
    pub(super) number: usize,
    /// How many times a day it is sent on average, in thousandths, and to how many.
    pub(super) often: i64,
    pub(super) recipients: (i64, i64),
    /// How many of those delivered are read, in thousandths.
    pub(super) read: i64,
    /// How many of those who read tap, in thousandths.
    pub(super) tapped: i64,
}

/// The business numbers: of the range that is kept free for stories.
pub(super) const NUMBERS: [(&str, &str); 3] = [
    ("15550100011", "100000000000011"),
    ("15550100012", "100000000000012"),
    ("15550100013", "100000000000013"),
];

const M: Category = Category::Marketing;
const U: Category = Category::Utility;
const A: Category = Category::Authentication;

/// The nine templates; the first is one of marketing.
#[rustfmt::skip]
pub(super) const TEMPLATES: [Template; 9] = [
    Template { code: "demo_promo", language: "en", category: M, quick_replies: &["Show me", "Not now"], number: 0, often: 900, recipients: (35, 70), read: 720, tapped: 190 },
    Template { code: "demo_promo", language: "id", category: M, quick_replies: &["Lihat", "Nanti saja"], number: 1, often: 800, recipients: (30, 60), read: 760, tapped: 230 },
    Template { code: "demo_launch", language: "en", category: M, quick_replies: &["Tell me more"], number: 0, often: 350, recipients: (40, 80), read: 690, tapped: 150 },
    Template { code: "demo_winback", language: "es", category: M, quick_replies: &["Volver", "Basta"], number: 2, often: 400, recipients: (20, 45), read: 520, tapped: 90 },
    Template { code: "demo_cart", language: "pt_BR", category: M, quick_replies: &["Comprar"], number: 2, often: 700, recipients: (10, 25), read: 700, tapped: 260 },
    Template { code: "demo_order", language: "en", category: U, quick_replies: &[], number: 0, often: 2_500, recipients: (8, 18), read: 830, tapped: 0 },
    Template { code: "demo_delivery", language: "en", category: U, quick_replies: &["Reschedule"], number: 0, often: 1_500, recipients: (6, 14), read: 800, tapped: 60 },
    Template { code: "demo_appointment", language: "id", category: U, quick_replies: &["Confirm", "Cancel"], number: 1, often: 900, recipients: (6, 14), read: 810, tapped: 430 },
    Template { code: "demo_code", language: "en", category: A, quick_replies: &[], number: 2, often: 2_000, recipients: (3, 9), read: 600, tapped: 0 },
];

/// One mass send.
#[derive(Debug)]
pub(super) struct Send {
    /// When, after the beginning, in milliseconds.
    pub(super) at: i64,
    /// Which of [`TEMPLATES`].
    pub(super) template: usize,
    /// To whom: digits of the range that is kept free for stories.
    pub(super) recipients: Vec<String>,
}

/// All sends, in the order of their times.
pub(super) fn sends(dice: &mut Dice) -> Vec<Send> {
    let mut sends = Vec::new();
    for day in 0..LENGTH / DAY {
        for (template, it) in TEMPLATES.iter().enumerate() {
            // Each is sent at least once after the opt-in.
            let mut left = if day == FIRST_OF_ALL { it.often.max(1_000) } else { it.often };
            while left > 0 && dice.chance(left.min(1_000)) {
                left -= 1_000;
                let count = dice.between(it.recipients.0, it.recipients.1);
                let recipients =
                    (0..count).map(|_| format!("155501{:05}", dice.between(0, 100_000))).collect();
                // So early that the last day's statuses are mostly in before the end.
                let at = day * DAY + dice.between(HOUR, 20 * HOUR);
                sends.push(Send { at, template, recipients });
            }
        }
    }
    sends.sort_by_key(|send| (send.at, send.template));
    sends
}

/// What is told of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Sent,
    Delivered,
    Read,
    /// With its error code and title.
    Failed(i64, &'static str),
    /// A quick reply, by its text.
    Tapped(&'static str),
}

/// Something that is told, with when it happened and when the webhook brings it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) what: What,
    /// After the beginning, in milliseconds.
    pub(super) at: i64,
    pub(super) comes: i64,
}

/// Why messages fail, and how often among failures, in thousandths.
const FAILURES: [(i64, &str, i64); 3] = [
    (131_049, "This message was not delivered to maintain healthy ecosystem engagement.", 600),
    (131_026, "Message undeliverable", 900),
    (130_472, "User's number is part of an experiment", 1_000),
];

/// What becomes of a message that was sent at `at`.
pub(super) fn fate(dice: &mut Dice, template: &Template, at: i64) -> Vec<Told> {
    let mut told = Vec::new();
    let mut tell = |dice: &mut Dice, what, at: i64| {
        // Most webhooks come at once; some come hours later, behind those that happened later.
        let lag =
            if dice.chance(30) { dice.between(HOUR, 6 * HOUR) } else { dice.between(0, 4_000) };
        told.push(Told { what, at, comes: at + lag });
    };
    let sent = at + dice.between(1_000, 6_000);
    if dice.chance(30) {
        let roll = dice.between(0, 1_000);
        let (code, title, _) =
            FAILURES.iter().find(|(_, _, up_to)| roll < *up_to).unwrap_or(&FAILURES[0]);
        tell(dice, What::Failed(*code, title), sent);
        return told;
    }
    tell(dice, What::Sent, sent);
    if dice.chance(45) {
        return told;
    }
    let wait = if dice.chance(850) { 60 * SECOND } else { 9 * HOUR };
    let delivered = sent + dice.between(1_000, wait);
    let is_read = dice.chance(template.read);
    // WhatsApp does not say `delivered` when somebody reads at once.
    if !(is_read && dice.chance(50)) {
        tell(dice, What::Delivered, delivered);
    }
    if !is_read {
        return told;
    }
    let wait = if dice.chance(700) { 30 * MINUTE } else { 12 * HOUR };
    let read = delivered + dice.between(2_000, wait);
    tell(dice, What::Read, read);
    if !template.quick_replies.is_empty() && dice.chance(template.tapped) {
        let taps = if dice.chance(80) { 2 } else { 1 };
        let mut tapped = read;
        for _ in 0..taps {
            let last = i64::try_from(template.quick_replies.len()).unwrap_or(1);
            // Two of three tap the first button.
            let button = if dice.chance(660) { 0 } else { dice.between(0, last) };
            let text = usize::try_from(button).ok().and_then(|it| template.quick_replies.get(it));
            tapped += dice.between(2_000, 3 * MINUTE);
            tell(dice, What::Tapped(text.copied().unwrap_or_default()), tapped);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_tells_the_same_story_and_another_one_another() {
        let made = |seed| format!("{:?}", sends(&mut Dice::new(seed)));
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
    }

    #[test]
    fn a_story_has_a_few_thousand_messages_of_every_template() {
        for seed in 0..20 {
            let sends = sends(&mut Dice::new(seed));
            let messages: usize = sends.iter().map(|send| send.recipients.len()).sum();
            assert!((2_000..4_000).contains(&messages), "seed {seed}: {messages}");
            for template in 0..TEMPLATES.len() {
                assert!(sends.iter().any(|send| send.template == template), "{seed} {template}");
            }
        }
    }

    #[test]
    fn fates_keep_to_the_order_of_a_life() {
        let mut dice = Dice::new(7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5_000 {
            let told = fate(&mut dice, &TEMPLATES[0], 0);
            assert!(told.windows(2).all(|pair| pair[0].at <= pair[1].at), "{told:?}");
            assert!(told.iter().all(|it| it.comes >= it.at), "{told:?}");
            seen.extend(told.iter().map(|it| format!("{:?}", std::mem::discriminant(&it.what))));
        }
        assert_eq!(seen.len(), 5, "every kind of thing happens");
    }
}
