//! What becomes of a message: a pure function of its seed and its circumstances.
//!
//! Everything that anybody is told of a message later is decided here, at once, when it is
//! accepted; when and how it is told is somebody else's business. What always holds: the steps are
//! in the order of their times; the same seed and circumstances give the same life.

use twoticks_core::clock::Time;
use twoticks_core::event::{ButtonKind, Category};

use crate::dice::Dice;
use crate::habits::{
    CONTRADICTED, CONTRADICTING, DELIVERING, FAILED_AFTER_SENT, FAILURES, Failure, LIMITED, Market,
    NEVER_DELIVERED, Purpose, READ_AT_ONCE, READING, SENDING, TAPPED_TWICE, TAPPED_WITHOUT_CONTEXT,
    TAPPING, UNDELIVERABLE, failure_of,
};

/// What a message's life depends on.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// When the carrier took it.
    pub accepted: Time,
    /// What it is for.
    pub purpose: Purpose,
    /// Where its recipient lives.
    pub market: &'static Market,
    /// The buttons of its template.
    pub buttons: &'a [ButtonKind],
    /// How well it is liked: reads and taps are this many thousandths of what is usual.
    pub appeal: i64,
    /// How many of a thousand marketing messages Meta holds back (131049); usually
    /// [`limited_usually`].
    pub limited: i64,
    /// Whether opened links are told (Marketing Messages API).
    pub tells_links: bool,
    /// How it has to end.
    pub outcome: Outcome,
}

/// The usual share of [`Circumstances::limited`].
#[must_use]
pub fn limited_usually() -> i64 {
    failure_of(LIMITED).map_or(0, |failure| failure.share[0])
}

/// How a life has to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// As it does: by chance.
    #[default]
    Life,
    /// Nothing is ever told.
    Accepted,
    /// `sent` and no more.
    Sent,
    /// `delivered` and no more.
    Delivered,
    /// `read`, with nothing tapped.
    Read,
    /// Read, and the first button tapped if there is one.
    Tapped,
    /// `failed` with this code.
    Failed(&'static Failure),
}

/// One thing that happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It went out.
    Sent,
    /// It reached a phone.
    Delivered,
    /// It was read, and the recipient lets others know.
    Read,
    /// It failed.
    Failed(&'static Failure),
    /// A quick reply was tapped.
    Tapped {
        /// Which of the buttons.
        button: u8,
        /// Whether the webhook says which message is answered.
        has_context: bool,
    },
    /// A link was opened, and Meta tells it.
    Opened {
        /// Which of the buttons.
        button: u8,
    },
}

/// Something that happens, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, in milliseconds; webhooks say the second.
    pub at: Time,
    /// What.
    pub what: What,
}

/// The most steps that a life has.
pub const STEPS_MAX: usize = 7;

/// A life: its steps, in the order of their times.
#[derive(Clone, Debug)]
pub struct Life {
    steps: [Step; STEPS_MAX],
    length: usize,
}

impl Life {
    fn new() -> Self {
        Self { steps: [Step { at: Time(0), what: What::Sent }; STEPS_MAX], length: 0 }
    }

    fn push(&mut self, at: i64, what: What) {
        if let Some(step) = self.steps.get_mut(self.length) {
            *step = Step { at: Time(at), what };
            self.length += 1;
        }
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..self.length).unwrap_or_default()
    }

    fn sorted(mut self) -> Self {
        if let Some(steps) = self.steps.get_mut(..self.length) {
            steps.sort_by_key(|step| step.at);
        }
        self
    }
}

/// The life of the message with this seed.
#[must_use]
pub fn life(seed: u64, it: &Circumstances<'_>) -> Life {
    let dice = &mut Dice::new(seed);
    let mut life = Life::new();
    let sent = it.accepted.0 + SENDING.draw(dice);
    let failed = match it.outcome {
        Outcome::Accepted => return life,
        Outcome::Failed(failure) => Some(failure),
        Outcome::Life => by_chance(dice, it),
        Outcome::Sent | Outcome::Delivered | Outcome::Read | Outcome::Tapped => None,
    };
    if let Some(failure) = failed {
        if dice.chance(FAILED_AFTER_SENT) {
            life.push(sent, What::Sent);
            life.push(sent + DELIVERING.draw(dice), What::Failed(failure));
        } else {
            life.push(sent, What::Failed(failure));
        }
        return life;
    }
    life.push(sent, What::Sent);
    let is_by_chance = it.outcome == Outcome::Life;
    if it.outcome == Outcome::Sent || (is_by_chance && dice.chance(NEVER_DELIVERED)) {
        return life;
    }
    let delivered = sent + DELIVERING.draw(dice);
    let is_read = match it.outcome {
        Outcome::Life => dice.chance((it.market.read(it.purpose) * it.appeal / 1_000).min(985)),
        Outcome::Read | Outcome::Tapped => true,
        _ => false,
    };
    let is_told = !is_by_chance || !dice.chance(it.market.receipts_off);
    let at_once = is_by_chance && is_read && is_told && dice.chance(READ_AT_ONCE);
    if !at_once {
        life.push(delivered, What::Delivered);
    }
    if is_by_chance
        && dice.chance(CONTRADICTED)
        && let Some(failure) = failure_of(UNDELIVERABLE)
    {
        life.push(delivered + CONTRADICTING.draw(dice), What::Failed(failure));
    }
    if is_read {
        let read = delivered + if at_once { 0 } else { READING.draw(dice) };
        let read = if is_by_chance { it.market.awake(read, dice) } else { read };
        if is_told {
            life.push(read, What::Read);
        }
        taps(dice, it, read, &mut life);
    }
    life.sorted()
}

/// Why it fails, if it does.
fn by_chance(dice: &mut Dice, it: &Circumstances<'_>) -> Option<&'static Failure> {
    let is_marketing = it.purpose == Purpose::Template(Category::Marketing);
    let of = usize::from(!is_marketing);
    let mut roll = dice.between(0, 1_000);
    FAILURES.iter().find(|failure| {
        roll -= match failure.code {
            UNDELIVERABLE => it.market.unreachable,
            LIMITED if is_marketing => it.limited,
            _ => failure.share.get(of).copied().unwrap_or(0),
        };
        roll < 0
    })
}

fn taps(dice: &mut Dice, it: &Circumstances<'_>, read: i64, life: &mut Life) {
    let taps = match it.outcome {
        Outcome::Life => {
            let willing = (it.market.tapped(it.purpose) * it.appeal / 1_000).min(950);
            if !dice.chance(willing) {
                0
            } else if dice.chance(TAPPED_TWICE) {
                2
            } else {
                1
            }
        }
        Outcome::Tapped => 1,
        _ => 0,
    };
    let mut at = read;
    for _ in 0..taps {
        at += TAPPING.draw(dice);
        // Two of three tap the first button.
        let is_first = it.outcome == Outcome::Tapped || dice.chance(660);
        let chosen = if is_first { 0 } else { dice.below(it.buttons.len() as u64) };
        let has_context = it.outcome == Outcome::Tapped || !dice.chance(TAPPED_WITHOUT_CONTEXT);
        let button = u8::try_from(chosen).unwrap_or(0);
        match it.buttons.get(usize::from(button)) {
            Some(ButtonKind::QuickReply) => life.push(at, What::Tapped { button, has_context }),
            Some(ButtonKind::Url) if it.tells_links => life.push(at, What::Opened { button }),
            // Nobody tells of calls, copied codes and links that are not followed (whatsapp.md).
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::habits::{MARKETS, market_of};

    const MARKETING: Purpose = Purpose::Template(Category::Marketing);

    fn usual(outcome: Outcome) -> Circumstances<'static> {
        Circumstances {
            accepted: Time(1_790_000_000_000),
            purpose: MARKETING,
            market: market_of("628"),
            buttons: &[ButtonKind::QuickReply, ButtonKind::Url],
            appeal: 1_000,
            limited: limited_usually(),
            tells_links: true,
            outcome,
        }
    }

    /// Of a hundred thousand, how many have a step like that.
    fn share(it: &Circumstances<'_>, has: impl Fn(&What) -> bool) -> i64 {
        (0..100_000)
            .map(|seed| {
                let life = life(crate::dice::seed_of(9, seed), it);
                i64::from(life.steps().iter().any(|step| has(&step.what)))
            })
            .sum()
    }

    #[test]
    fn the_same_seed_lives_the_same_life_in_the_order_of_time() {
        let it = usual(Outcome::Life);
        for seed in 0..20_000 {
            let (one, other) = (life(seed, &it), life(seed, &it));
            assert_eq!(one.steps(), other.steps());
            assert!(one.steps().is_sorted_by_key(|step| step.at), "{one:?}");
            assert!(one.steps().iter().all(|step| step.at > it.accepted));
            assert!(!one.steps().is_empty());
        }
    }

    #[test]
    fn lives_have_the_shares_that_the_habits_say() {
        for market in MARKETS {
            let it = Circumstances { market, ..usual(Outcome::Life) };
            let failed = share(&it, |what| matches!(what, What::Failed(_)));
            let expected = (market.unreachable + 31 + 9 + 4 + 1) * 100 + CONTRADICTED * 100;
            assert!((failed - expected).abs() < 300, "{}: {failed} {expected}", market.country);
            let arrived = share(&it, |what| matches!(what, What::Delivered | What::Read));
            let read = share(&it, |what| *what == What::Read);
            let told = (1_000 - market.receipts_off) * market.read(it.purpose) / 1_000;
            assert!((read - arrived * told / 1_000).abs() < 600, "{}: {read}", market.country);
        }
    }

    #[test]
    fn taps_follow_appeal_and_need_a_button_that_tells() {
        let tapped = |what: &What| matches!(what, What::Tapped { .. });
        let opened = |what: &What| matches!(what, What::Opened { .. });
        let it = usual(Outcome::Life);
        let (usually, liked) =
            (share(&it, tapped), share(&Circumstances { appeal: 2_000, ..it }, tapped));
        assert!(usually > 5_000 && liked > usually * 2 && liked < usually * 3, "{usually} {liked}");
        assert!(share(&it, opened) > 1_000);
        assert_eq!(share(&Circumstances { tells_links: false, ..it }, opened), 0);
        assert_eq!(share(&Circumstances { buttons: &[], ..it }, tapped), 0);
        let silent = Circumstances { buttons: &[ButtonKind::PhoneNumber], ..it };
        assert_eq!(share(&silent, |what| tapped(what) || opened(what)), 0);
    }

    #[test]
    fn only_marketing_is_held_back_and_only_as_much_as_is_asked() {
        let held = |what: &What| matches!(what, What::Failed(failure) if failure.code == LIMITED);
        let it = usual(Outcome::Life);
        assert!((share(&it, held) - 3_100).abs() < 300);
        assert!((share(&Circumstances { limited: 400, ..it }, held) - 40_000).abs() < 900);
        let utility = Purpose::Template(Category::Utility);
        assert_eq!(share(&Circumstances { purpose: utility, limited: 400, ..it }, held), 0);
    }

    #[test]
    fn a_life_ends_as_it_has_to() {
        let no_window = failure_of(crate::habits::NO_WINDOW).unwrap();
        for seed in 0..2_000 {
            let whats = |outcome| -> Vec<What> {
                life(seed, &usual(outcome)).steps().iter().map(|step| step.what).collect()
            };
            assert_eq!(whats(Outcome::Accepted), []);
            assert_eq!(whats(Outcome::Sent), [What::Sent]);
            assert_eq!(whats(Outcome::Delivered), [What::Sent, What::Delivered]);
            assert_eq!(whats(Outcome::Read), [What::Sent, What::Delivered, What::Read]);
            let tapped = What::Tapped { button: 0, has_context: true };
            assert_eq!(whats(Outcome::Tapped), [What::Sent, What::Delivered, What::Read, tapped]);
            assert_eq!(whats(Outcome::Failed(no_window)).last(), Some(&What::Failed(no_window)));
        }
    }
}
