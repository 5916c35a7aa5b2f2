//! What can go wrong between WhatsApp and a receiver, alone or mixed.
//!
//! A profile decides when something is told ([`Chaos::arrivals`]), how much together
//! ([`Chaos::body_size`]) and what becomes of a body on its way ([`Chaos::fault`]). Whatever
//! happens, everything is told in the end, as WhatsApp repeats what nobody took: what is counted
//! must not depend on any of it. To add a profile: a variant, its word, its arm.

use std::fmt;

use twoticks_core::clock::{DAY, SECOND, Time};

use crate::dice::Dice;
use crate::meta::UPDATES_MAX;

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// One thing that goes wrong; [`Profile::help`] says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Things are told again, and bodies repeated.
    Duplicate,
    /// What happened later is told earlier.
    Reorder,
    /// Some things come days late.
    Delay,
    /// Bodies or their answers are lost.
    Drop,
    /// Bodies are of any size.
    Batch,
    /// Bodies are cut short.
    Truncate,
    /// Somebody else signs.
    Forge,
    /// Much comes at once.
    Burst,
    /// Nothing comes, and then all of it.
    Silence,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 9] = [
        Self::Duplicate,
        Self::Reorder,
        Self::Delay,
        Self::Drop,
        Self::Batch,
        Self::Truncate,
        Self::Forge,
        Self::Burst,
        Self::Silence,
    ];

    /// What happens, in a sentence.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Duplicate => {
                "Every third thing is told again, up to three times, every tenth of those days \
                 later; every tenth body is repeated whole."
            }
            Self::Reorder => "Everything comes up to six hours late, and shuffled.",
            Self::Delay => "Every fifth thing comes one to six days late.",
            Self::Drop => "Every fourth body is lost, or the answer to it is, and repeated.",
            Self::Batch => {
                "Bodies have 1 to 1,000 updates, every size from a power of two to the next as likely."
            }
            Self::Truncate => {
                "Every fourth body arrives cut short at first, or breaks off in its midst."
            }
            Self::Forge => "Every fourth body comes with the signature of another secret at first.",
            Self::Burst => {
                "Everything of ten minutes comes at once: 3,000 statuses a second where time goes \
                 by, as fast as they are taken where the clock is turned."
            }
            Self::Silence => {
                "Nothing comes for the first hour and a half of every six, and then all of it."
            }
        }
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Delay => "delay",
            Self::Drop => "drop",
            Self::Batch => "batch",
            Self::Truncate => "truncate",
            Self::Forge => "forge",
            Self::Burst => "burst",
            Self::Silence => "silence",
        }
    }
}

/// A profile that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no chaos profile `{named}`; there are {}, or `none`", Chaos::all())]
pub struct UnknownProfile {
    /// What was named, cut to 64 characters.
    pub named: String,
}

/// The profiles that hold at the same time.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Chaos(u16);

/// What becomes of a body on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never leaves.
    Lost,
    /// It arrives; the answer does not.
    Unheard,
    /// It arrives twice, one after the other.
    Repeated,
    /// Its second half is missing.
    CutShort,
    /// The connection breaks in its midst.
    BrokenOff,
    /// It has the signature of another secret.
    Forged,
}

/// The most times that one thing is told, repeats included.
pub const TOLD_MAX: usize = 4;
/// How many statuses of one number a burst sends within a second.
pub const BURST_PER_SECOND: u64 = 3_000;

impl Chaos {
    /// Nothing goes wrong.
    pub const NONE: Self = Self(0);

    /// These profiles, mixed.
    #[must_use]
    pub fn of(profiles: &[Profile]) -> Self {
        Self(profiles.iter().fold(0, |all, profile| all | bit(*profile)))
    }

    /// Reads `duplicate,reorder`; `none` and nothing are calm.
    ///
    /// # Errors
    /// Names the first that there is not, and those that there are.
    pub fn parse(text: &str) -> Result<Self, UnknownProfile> {
        let named = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        named.filter(|word| *word != "none").try_fold(Self::NONE, |all, word| {
            let profile = Profile::ALL.into_iter().find(|profile| profile.as_str() == word);
            let unknown = || UnknownProfile { named: word.chars().take(64).collect() };
            profile.map(|profile| Self(all.0 | bit(profile))).ok_or_else(unknown)
        })
    }

    /// The words for all profiles.
    #[must_use]
    pub fn all() -> String {
        Profile::ALL.map(|profile| format!("`{}`", profile.as_str())).join(", ")
    }

    /// Whether this goes wrong.
    #[must_use]
    pub fn has(self, profile: Profile) -> bool {
        self.0 & bit(profile) != 0
    }

    /// The profiles that hold.
    pub fn profiles(self) -> impl Iterator<Item = Profile> {
        Profile::ALL.into_iter().filter(move |profile| self.has(*profile))
    }

    /// When something that would arrive at `at` does arrive: once or several times, never earlier.
    pub fn arrivals(self, dice: &mut Dice, at: Time) -> impl Iterator<Item = Time> + use<> {
        let mut arrivals = [None; TOLD_MAX];
        let again = if self.has(Profile::Duplicate) && dice.chance(330) {
            usize::try_from(dice.between(1, 4)).unwrap_or(1)
        } else {
            0
        };
        for (index, arrival) in arrivals.iter_mut().take(1 + again).enumerate() {
            let mut later = 0;
            if self.has(Profile::Reorder) {
                later += dice.between(0, 6 * HOUR);
            }
            if self.has(Profile::Delay) && dice.chance(200) {
                later += dice.between(DAY, 6 * DAY);
            }
            if index > 0 {
                let days = dice.chance(100);
                later += if days { dice.between(DAY, 3 * DAY) } else { dice.between(0, MINUTE) };
            }
            *arrival = Some(self.held_back(at.plus(later)));
        }
        arrivals.into_iter().flatten()
    }

    fn held_back(self, at: Time) -> Time {
        let up_to = |at: i64, step: i64| at.div_euclid(step) * step + step;
        let mut at = at.0;
        if self.has(Profile::Silence) && at.rem_euclid(6 * HOUR) < HOUR + 30 * MINUTE {
            at = at.div_euclid(6 * HOUR) * 6 * HOUR + HOUR + 30 * MINUTE;
        }
        if self.has(Profile::Burst) {
            at = up_to(at, 10 * MINUTE);
        }
        Time(at)
    }

    /// How many updates the next body has at most.
    pub fn body_size(self, dice: &mut Dice) -> usize {
        if !self.has(Profile::Batch) {
            return UPDATES_MAX;
        }
        // Every power of two is as likely as the next.
        let up_to = 1_u64 << dice.below(11);
        usize::try_from(1 + dice.below(up_to.min(UPDATES_MAX as u64))).unwrap_or(1)
    }

    /// What becomes of a body that is sent for the `attempt`-th time, from 0. From the third on it
    /// arrives.
    pub fn fault(self, dice: &mut Dice, attempt: u32) -> Option<Fault> {
        if attempt >= 2 {
            return None;
        }
        let mut faults = [None; 6];
        let mut place = faults.iter_mut();
        let mut may = |fault, permille| {
            if dice.chance(permille)
                && let Some(place) = place.next()
            {
                *place = Some(fault);
            }
        };
        if self.has(Profile::Drop) {
            may(Fault::Lost, 125);
            may(Fault::Unheard, 125);
        }
        if self.has(Profile::Duplicate) {
            may(Fault::Repeated, 100);
        }
        if self.has(Profile::Truncate) {
            may(Fault::CutShort, 125);
            may(Fault::BrokenOff, 125);
        }
        if self.has(Profile::Forge) {
            may(Fault::Forged, 250);
        }
        faults.into_iter().flatten().next()
    }
}

fn bit(profile: Profile) -> u16 {
    1 << profile as u16
}

impl fmt::Display for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (index, profile) in self.profiles().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}", profile.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chaos({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_named_alone_or_mixed_and_an_unknown_one_is_told_what_there_is() {
        assert_eq!(Chaos::parse("").unwrap(), Chaos::NONE);
        assert_eq!(Chaos::parse(" none ").unwrap(), Chaos::NONE);
        let mixed = Chaos::parse("silence, duplicate").unwrap();
        assert_eq!(mixed, Chaos::of(&[Profile::Duplicate, Profile::Silence]));
        assert_eq!(mixed.to_string(), "duplicate,silence");
        let unknown = Chaos::parse("duplicate,riot").unwrap_err().to_string();
        assert!(unknown.contains("`riot`"), "{unknown}");
        for profile in Profile::ALL {
            assert!(unknown.contains(profile.as_str()));
            assert_eq!(Chaos::parse(profile.as_str()).unwrap(), Chaos::of(&[profile]));
        }
    }

    #[test]
    fn everything_is_told_at_least_once_and_never_early() {
        let at = Time(1_790_000_000_000);
        let everything = Chaos::of(&Profile::ALL);
        let singles = Profile::ALL.map(|profile| Chaos::of(&[profile]));
        for chaos in singles.into_iter().chain([Chaos::NONE, everything]) {
            let mut dice = Dice::new(4);
            let mut again = 0;
            for _ in 0..2_000 {
                let arrivals: Vec<Time> = chaos.arrivals(&mut dice, at).collect();
                assert!((1..=TOLD_MAX).contains(&arrivals.len()));
                assert!(arrivals.iter().all(|it| (at..=at.plus(12 * DAY)).contains(it)));
                again += arrivals.len() - 1;
                assert!((1..=UPDATES_MAX).contains(&chaos.body_size(&mut dice)));
                assert_eq!(chaos.fault(&mut dice, 2), None);
            }
            assert_eq!(again > 0, chaos.has(Profile::Duplicate), "{chaos}");
        }
    }

    #[test]
    fn nothing_comes_while_there_is_silence() {
        let chaos = Chaos::of(&[Profile::Silence]);
        for minute in 0..12 * 60 {
            let at = Time(1_790_000_000_000 + minute * MINUTE);
            let mut dice = Dice::new(1);
            let told = chaos.arrivals(&mut dice, at).next().unwrap();
            assert!(told.0.rem_euclid(6 * HOUR) >= 90 * MINUTE);
            assert!(told.0 - at.0 <= 90 * MINUTE);
        }
    }

    #[test]
    fn every_fault_happens_under_its_profile_only() {
        let faults = |chaos: Chaos| {
            let mut dice = Dice::new(2);
            let mut seen: Vec<Fault> = (0..500).filter_map(|_| chaos.fault(&mut dice, 0)).collect();
            seen.sort_by_key(|fault| *fault as u8);
            seen.dedup();
            seen
        };
        assert_eq!(faults(Chaos::NONE), []);
        assert_eq!(faults(Chaos::of(&[Profile::Forge])), [Fault::Forged]);
        assert_eq!(faults(Chaos::of(&[Profile::Drop])), [Fault::Lost, Fault::Unheard]);
        assert_eq!(faults(Chaos::of(&Profile::ALL)).len(), 6);
    }
}
