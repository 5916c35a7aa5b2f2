//! The story: what three businesses did in thirty days, made from a seed.
//!
//! Everything is relative to the beginning, so the same seed gives the same story whenever it is
//! told. What becomes of the messages is the emulator's business, but for what the story wants of
//! a campaign ([`Turn::Like`]).

use std::collections::BTreeMap;

use twoticks_core::clock::{DAY, SECOND};
use twoticks_core::event::Category;
use twoticks_emulator::dice::Dice;
use twoticks_emulator::whatsapp::{Liking, Quality, Standing};

use super::cast::{self, BUSINESSES};

/// How long the story is, in milliseconds.
pub(super) const LENGTH: i64 = 30 * DAY;
/// Everything begins at the begin of one of these, in milliseconds: three hours.
pub(super) const SLOT: i64 = 3 * HOUR;

const HOUR: i64 = 3_600 * SECOND;
/// How long the receiver is out of order, in slots.
const OUTAGE: i64 = 2;
/// The largest send.
const RECIPIENTS_MAX: i64 = 1_000;

const SHOP: usize = 0;
const BANK: usize = 1;
const OUTLET: usize = 2;

/// Something that happens in the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// A business enables ROI statistics.
    OptIn,
    /// It sends a template (which of its own) to these.
    Send { template: usize, recipients: Vec<String> },
    /// From now on a template is liked that much.
    Like { template: usize, liking: Liking },
    /// Meta announces that a template is in another category from `after` milliseconds later on.
    Recategorise { template: usize, category: Category, after: i64 },
    /// Meta pauses a template, or lets it be sent again.
    Stand { template: usize, standing: Standing },
    /// Meta thinks otherwise of a number.
    Quality { number: usize, quality: Quality },
    /// Nobody takes webhooks any more, or they do again.
    Outage { is_over: bool },
}

/// The turns of all businesses: by when, in milliseconds after the beginning, then by business.
pub(super) type Story = BTreeMap<i64, Vec<(usize, Turn)>>;

/// A campaign: whose, which template, on which day and at which local hour, to how many, and how
/// it is liked.
struct Campaign {
    business: usize,
    template: usize,
    day: i64,
    hour: i64,
    recipients: i64,
    appeal: i64,
    limited: i64,
}

/// The usual share of marketing that is held back.
const LIMITED: i64 = 31;

fn campaigns() -> Vec<Campaign> {
    let campaign = |business, template, day, hour, recipients, appeal| Campaign {
        business,
        template,
        day,
        hour,
        recipients,
        appeal,
        limited: LIMITED,
    };
    let mut all = Vec::new();
    // The great one.
    for day in [3, 10, 17, 24, 28] {
        all.push(campaign(SHOP, 0, day, 18, 850, 1_250));
    }
    // The one that tires people: every day, liked less each time.
    for day in 0..10 {
        all.push(campaign(SHOP, 1, 14 + day, 12, 520, 1_150 - 105 * day));
    }
    // The one that Meta holds back (131049).
    for day in [5, 12, 19, 26] {
        all.push(Campaign { limited: 380, ..campaign(BANK, 0, day, 10, 900, 1_000) });
    }
    for day in [8, 22] {
        all.push(campaign(BANK, 1, day, 16, 700, 900));
    }
    // The re-categorised one.
    for day in [9, 20, 27] {
        all.push(campaign(BANK, 2, day, 8, 800, 1_000));
    }
    for day in [4, 13, 27] {
        all.push(campaign(OUTLET, 0, day, 10, 650, 1_050));
    }
    // The one that is paused on the way.
    for day in [6, 11, 16, 25] {
        all.push(campaign(OUTLET, 1, day, 18, 550, 700));
    }
    all
}

/// The last `days` of the story, from their own beginning on. `turned` is when, after the
/// beginning of the whole story, the clocks are turned in a zone of the demo, if they are: a
/// campaign goes out around it.
pub(super) fn story(seed: u64, turned: Option<i64>, days: i64) -> Story {
    let cut = LENGTH - days * DAY;
    let mut last = Story::new();
    for (at, turns) in whole(seed, turned) {
        for (business, turn) in turns {
            // What was sent before is left out; what had happened by then has.
            if at >= cut || !matches!(turn, Turn::Send { .. }) {
                last.entry((at - cut).max(0)).or_default().push((business, turn));
            }
        }
    }
    last
}

fn whole(seed: u64, turned: Option<i64>) -> Story {
    let mut dice = Dice::new(seed);
    let mut story = Story::new();
    let mut put = |at: i64, business: usize, turn: Turn| {
        story.entry(at).or_default().push((business, turn));
    };
    for (business, day) in [(SHOP, 1), (BANK, 2), (OUTLET, 4)] {
        put(day * DAY, business, Turn::OptIn);
    }
    let category = Category::Marketing;
    put(15 * DAY, BANK, Turn::Recategorise { template: 2, category, after: 3 * DAY });
    put(17 * DAY, OUTLET, Turn::Stand { template: 1, standing: Standing::Paused });
    put(21 * DAY, OUTLET, Turn::Stand { template: 1, standing: Standing::Approved });
    put(17 * DAY, OUTLET, Turn::Quality { number: 0, quality: Quality::Yellow });
    put(25 * DAY, OUTLET, Turn::Quality { number: 0, quality: Quality::Green });
    put(22 * DAY, SHOP, Turn::Outage { is_over: false });
    put(22 * DAY + OUTAGE * SLOT, SHOP, Turn::Outage { is_over: true });
    let around = turned.into_iter().flat_map(|at| [at - SLOT, at]).map(|at| {
        let (business, template, recipients) = (OUTLET, 0, 300);
        (at.div_euclid(SLOT) * SLOT, business, template, recipients, 1_050, LIMITED)
    });
    let planned = campaigns().into_iter().map(|it| {
        let east = BUSINESSES.get(it.business).map_or(0, |business| business.hours_east);
        let at = it.day * DAY + (it.hour - east) * HOUR;
        (at.div_euclid(SLOT) * SLOT, it.business, it.template, it.recipients, it.appeal, it.limited)
    });
    for (at, business, template, recipients, appeal, limited) in around.chain(planned) {
        if (0..LENGTH).contains(&at) {
            put(at, business, Turn::Like { template, liking: Liking { appeal, limited } });
            let count = recipients + dice.between(-recipients / 10, recipients / 10);
            let recipients = people(&mut dice, business, count.min(RECIPIENTS_MAX));
            put(at, business, Turn::Send { template, recipients });
        }
    }
    for at in (0..LENGTH).step_by(usize::try_from(SLOT).unwrap_or(1)) {
        for (business, it) in BUSINESSES.iter().enumerate() {
            for template in 0..it.templates.len() {
                let recipients = as_they_come(&mut dice, business, template, at, SLOT);
                if !recipients.is_empty() {
                    put(at, business, Turn::Send { template, recipients });
                }
            }
        }
    }
    story
}

/// Who gets a template in the `length` milliseconds from `at` on, without a campaign.
pub(super) fn as_they_come(
    dice: &mut Dice,
    business: usize,
    template: usize,
    at: i64,
    length: i64,
) -> Vec<String> {
    let Some(it) = BUSINESSES.get(business) else { return Vec::new() };
    let per_day = it.templates.get(template).map_or(0, |template| template.per_day);
    let local = (at + it.hours_east * HOUR).rem_euclid(DAY) / SLOT;
    let weight = usize::try_from(local).ok().and_then(|slot| cast::DAY.get(slot)).copied();
    // In millionths of a message, so that short whiles are not rounded away.
    let expected = per_day * weight.unwrap_or(0) * 1_000 * length / SLOT;
    let spread = expected * dice.between(600, 1_400) / 1_000;
    let count = spread / 1_000_000 + i64::from(dice.between(0, 1_000_000) < spread % 1_000_000);
    people(dice, business, count.min(RECIPIENTS_MAX))
}

/// Some of a business's customers; each may be there more than once.
fn people(dice: &mut Dice, business: usize, count: i64) -> Vec<String> {
    let Some(it) = BUSINESSES.get(business) else { return Vec::new() };
    let (prefix, customers) = it.customers;
    (0..count).map(|_| format!("{prefix}{:09}", dice.between(0, customers))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(story: &Story, business: usize, template: usize) -> usize {
        let turns = story.values().flatten();
        turns
            .filter_map(|(of, turn)| match turn {
                Turn::Send { template: it, recipients } if (*of, *it) == (business, template) => {
                    Some(recipients.len())
                }
                _ => None,
            })
            .sum()
    }

    #[test]
    fn the_same_seed_tells_the_same_story_and_another_one_another() {
        assert_eq!(story(1, None, 30), story(1, None, 30));
        assert_ne!(story(1, None, 30), story(2, None, 30));
        assert_ne!(story(1, None, 30), story(1, Some(9 * DAY), 30));
    }

    #[test]
    fn every_template_is_sent_and_every_turn_is_within_the_story() {
        for seed in 0..10 {
            let story = story(seed, Some(12 * DAY + 1), 30);
            let mut all = 0;
            for (business, it) in BUSINESSES.iter().enumerate() {
                for template in 0..it.templates.len() {
                    let sent = sent(&story, business, template);
                    assert!(sent > 400, "{seed}: {business} {template}: {sent}");
                    all += sent;
                }
            }
            assert!((30_000..45_000).contains(&all), "{seed}: {all}");
            assert!(story.keys().all(|at| (0..LENGTH).contains(at) && at % SLOT == 0));
            let sends = story.values().flatten().filter_map(|(_, turn)| match turn {
                Turn::Send { recipients, .. } => Some(recipients.len()),
                _ => None,
            });
            assert!(sends.max().unwrap_or(0) <= 1_000);
        }
    }

    #[test]
    fn a_short_story_has_the_last_days_and_whatever_had_happened_before() {
        let (short, long) = (story(1, None, 2), story(1, None, 30));
        assert!(short.keys().all(|at| (0..2 * DAY).contains(at)));
        let turns = |story: &Story, is_send: bool| {
            let all = story.values().flatten();
            all.filter(|(_, turn)| matches!(turn, Turn::Send { .. }) == is_send).count()
        };
        assert_eq!(turns(&short, false), turns(&long, false));
        assert!(turns(&short, true) * 10 < turns(&long, true));
    }

    #[test]
    fn a_day_of_what_comes_is_about_what_the_cast_says_however_it_is_cut() {
        for length in [SLOT, 20 * SECOND] {
            let mut dice = Dice::new(3);
            let step = usize::try_from(length).unwrap();
            let came: usize = (0..3 * DAY)
                .step_by(step)
                .map(|at| as_they_come(&mut dice, SHOP, 3, at, length).len())
                .sum();
            assert!((290..430).contains(&came), "{length}: {came}");
        }
    }
}
