//! The state of one message, and what it contributes to the totals.
//!
//! A state is the least upper bound of the facts told of a message: taking in facts is
//! commutative, associative and idempotent. What a message contributes is a pure function of its
//! state and of its [`Channel`], so a change of either moves the contribution as a whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::channel::{Channel, Side};
use crate::clock::{DAY, Time};
use crate::event::{Button, Category, Claim, MessageFact, Pricing, Status};
use crate::ids::{ChannelId, Hash, PhoneNumber, Template};
use crate::recipient::{NOBODY, Recipient, Times};
use crate::totals::{Atom, Attribution, Filing, FilingTemplate, Measure};

/// Milliseconds for which a state is kept after it was last touched, by acceptance time
/// (counting rule 12).
pub const STATE_KEPT: i64 = 45 * DAY;
/// Milliseconds for which a tombstone stays after that.
pub const TOMBSTONE_KEPT: i64 = 180 * DAY;
/// How long before the latest acceptance time, in milliseconds, an entry can count as accepted.
///
/// What says that it was accepted earlier counts as accepted then: what comes in any order may be
/// so far apart, and what is older than that and than what is kept can be let go of.
pub const BACKDATED_MAX: i64 = 45 * DAY;
/// How many taps of one message are kept and counted: the first ones, by (time, id).
pub const TAPS_MAX: usize = 1_000;

/// Which message. In a group all participants share it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageKey {
    /// The tenant.
    pub channel: ChannelId,
    /// The business number that sent it.
    pub number: PhoneNumber,
    /// The wamid, hashed.
    pub message: Hash,
}

/// What a row is at some instant, by when it was last touched (counting rule 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Its state is kept.
    Live,
    /// Only that it was there is known; a status for it is late.
    Tombstone,
    /// Forgotten.
    Gone,
}

impl Age {
    /// The age, at the acceptance time `accepted`, of what was last touched at `touched`.
    #[must_use]
    pub fn of(touched: Time, accepted: Time) -> Self {
        let idle = accepted.0.saturating_sub(touched.0);
        if idle <= STATE_KEPT {
            Self::Live
        } else if idle <= STATE_KEPT + TOMBSTONE_KEPT {
            Self::Tombstone
        } else {
            Self::Gone
        }
    }
}

/// Everything known of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The best claim of a template: by source, then time, then template, then campaign.
    claim: Option<Told<Arc<Claim>>>,
    /// Whom it reached. One without ids stands for "nobody named"; it counts only while it is
    /// alone (counting rule 14). Outside groups there is one at most, so that no list is needed.
    recipients: SmallVec<[Recipient; 1]>,
    /// The first [`TAPS_MAX`] taps, sorted.
    taps: Vec<MessageTap>,
}

/// A fact and the time of the event that told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Told<T> {
    pub(crate) time: Time,
    pub(crate) fact: T,
}

/// Keeps the least of two tellings (counting rule 1: by time, then by what is told).
pub(crate) fn keep_least<T: Ord>(known: &mut Option<T>, told: Option<T>) {
    if let Some(told) = told
        && known.as_ref().is_none_or(|known| told < *known)
    {
        *known = Some(told);
    }
}

/// A tap as its message keeps it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct MessageTap {
    pub(crate) time: Time,
    pub(crate) id: Hash,
    pub(crate) button: Button,
}

impl Message {
    /// Takes in what is told of this message.
    pub fn take(&mut self, fact: MessageFact<'_>) {
        if let Some(claim) = fact.claim.filter(|claim| self.is_outranked(fact.time, claim)) {
            self.claim = Some(Told { time: fact.time, fact: Arc::clone(claim) });
        }
        if fact.status.is_none() {
            return;
        }
        if let [known] = self.recipients.as_mut_slice()
            && known.ids.is_empty()
            && fact.participant.is_empty()
        {
            known.take(fact);
            return;
        }
        // Everybody who shares an id with somebody is the same participant.
        let mut recipient = Recipient::told_by(fact);
        let mut index = 0;
        while let Some(known) = self.recipients.get(index) {
            if known.is_same(&recipient) {
                recipient.merge(self.recipients.swap_remove(index));
                index = 0;
            } else {
                index += 1;
            }
        }
        self.recipients.push(recipient);
        self.recipients.sort_unstable();
    }

    /// Whether [`Message::take`] would change nothing.
    #[must_use]
    pub fn knows(&self, fact: MessageFact<'_>) -> bool {
        if fact.claim.is_some_and(|claim| self.is_outranked(fact.time, claim)) {
            return false;
        }
        match self.recipients.as_slice() {
            _ if fact.status.is_none() => true,
            [] => false,
            [known] if known.ids.is_empty() && fact.participant.is_empty() => known.knows(fact),
            _ => {
                let mut taken = self.clone();
                taken.take(fact);
                taken == *self
            }
        }
    }

    /// Whether `claim`, told at `time`, takes the place of what is claimed already.
    fn is_outranked(&self, time: Time, claim: &Claim) -> bool {
        let known = self.claim.as_ref();
        known.is_none_or(|known| claim_rank(time, claim) < claim_rank(known.time, &known.fact))
    }

    /// What it has in common with others.
    pub(crate) fn parts(
        &mut self,
    ) -> (Option<&mut Arc<Claim>>, impl Iterator<Item = &mut Arc<Pricing>>) {
        let pricings = self.recipients.iter_mut().filter_map(|it| it.pricing.as_mut());
        (self.claim.as_mut().map(|told| &mut told.fact), pricings.map(|told| &mut told.fact))
    }

    pub(crate) fn put_tap(&mut self, tap: MessageTap) {
        self.take_tap_away(tap.id);
        let index = self.taps.partition_point(|known| *known < tap);
        self.taps.insert(index, tap);
        self.taps.truncate(TAPS_MAX);
    }

    pub(crate) fn is_full_of_taps(&self) -> bool {
        self.taps.len() >= TAPS_MAX
    }

    pub(crate) fn take_tap_away(&mut self, id: Hash) {
        self.taps.retain(|known| known.id != id);
    }

    /// The template it used, where that is known.
    #[must_use]
    pub fn template(&self) -> Option<&Template> {
        self.claim.as_ref()?.fact.template.as_ref()
    }

    /// How much is known of its template.
    #[must_use]
    pub fn attribution(&self) -> Attribution {
        match &self.claim {
            None => Attribution::Unattributed,
            Some(claim) if claim.fact.template.is_none() => Attribution::FreeForm,
            Some(_) => Attribution::Template,
        }
    }

    /// The earliest time at which `status` counts for any of its recipients, implied ones
    /// included (counting rule 3).
    #[must_use]
    pub fn earliest(&self, status: Status) -> Option<Time> {
        self.counted().filter_map(|recipient| recipient.times.effective(status)).min()
    }

    /// The earliest time that was told of `status` for any of its recipients.
    #[must_use]
    pub fn told(&self, status: Status) -> Option<Time> {
        self.counted().filter_map(|recipient| recipient.times.told(status)).min()
    }

    /// How many statuses of its recipients count although nobody told them.
    #[must_use]
    pub fn implied(&self) -> usize {
        self.counted()
            .flat_map(|recipient| Status::ALL.map(|status| (recipient, status)))
            .filter(|(recipient, status)| {
                recipient.times.told(*status).is_none()
                    && recipient.times.effective(*status).is_some()
            })
            .count()
    }

    /// Tells `tally` what changes when the message becomes `new` and its channel `new_channel`:
    /// each measure, where it is filed, and 1 if it counts from now on or -1 if no longer. What
    /// counts as before is not told, so that a repeat, or an opt-in that concerns few messages, is
    /// cheap.
    pub fn contribute_change(
        &self,
        channel: &Channel,
        new: &Self,
        new_channel: &Channel,
        key: &MessageKey,
        tally: &mut impl FnMut(&Filing<'_>, Measure<'_>, i64),
    ) {
        let is_same = self.claim == new.claim;
        if let (Some(before), Some(after)) = (self.lone(), new.lone())
            && (is_same || before.times == Times::default())
        {
            return Self::change_lone(
                (self, before, channel),
                (new, after, new_channel),
                key,
                tally,
            );
        }
        let mut before = self.units(channel);
        let mut after = new.units(new_channel);
        if is_same {
            before.retain(|unit| {
                let same = after.iter().position(|other| other == unit);
                same.map(|index| after.swap_remove(index)).is_none()
            });
        }
        for Unit { place, measure } in before {
            tally(&self.filing(key, place), measure, -1);
        }
        for Unit { place, measure } in after {
            tally(&new.filing(key, place), measure, 1);
        }
    }

    /// Its recipient, if it has one that is not named, or none, and no taps: as nearly all have.
    fn lone(&self) -> Option<&Recipient> {
        match self.recipients.as_slice() {
            _ if !self.taps.is_empty() => None,
            [] => Some(&NOBODY),
            [lone] => lone.ids.is_empty().then_some(lone),
            _ => None,
        }
    }

    /// As [`Message::contribute_change`], for what is [`Message::lone`], status by status.
    fn change_lone(
        (old, before, channel): (&Self, &Recipient, &Channel),
        (new, after, new_channel): (&Self, &Recipient, &Channel),
        key: &MessageKey,
        tally: &mut impl FnMut(&Filing<'_>, Measure<'_>, i64),
    ) {
        let was = before.first().map(|first| old.filed(channel, before.sent(), Some(first)));
        let is = after.first().map(|first| new.filed(new_channel, after.sent(), Some(first)));
        for status in Status::ALL {
            let unit = |recipient: &Recipient, filed: Option<(Side, Option<Category>)>| {
                let ((side, category), time) = filed.zip(recipient.times.effective(status))?;
                Some(Place { side, category, atom: Atom::of(time) })
            };
            let (was, is) = (unit(before, was), unit(after, is));
            if was == is && (was.is_none() || before.measure(status) == after.measure(status)) {
                continue;
            }
            if let Some(place) = was {
                tally(&old.filing(key, place), before.measure(status), -1);
            }
            if let Some(place) = is {
                tally(&new.filing(key, place), after.measure(status), 1);
            }
        }
    }

    /// What is known of the message, once for each recipient that counts: in groups one for each
    /// participant, else one; one as well while nothing but its template or its taps is known.
    /// Summed over these, what counts is what the totals count.
    #[must_use]
    pub fn outcomes(&self, channel: &Channel) -> Vec<Outcome<'_>> {
        let mut outcomes: Vec<Outcome<'_>> = self
            .counted()
            .map(|recipient| {
                let Recipient { ids, times, error, pricing } = recipient;
                let (side, category) =
                    self.filed(channel, times.effective(Status::Sent), times.first());
                Outcome {
                    is_participant: !ids.is_empty(),
                    side,
                    category,
                    told: Status::ALL.map(|status| times.told(status)),
                    counted: Status::ALL.map(|status| times.effective(status)),
                    error: error.as_ref().map(|told| told.fact),
                    pricing: pricing.as_ref().map(|told| told.fact.as_ref()),
                    taps: 0,
                    first_tap: None,
                }
            })
            .collect();
        if outcomes.is_empty() {
            let first = self.taps.first().map(|tap| tap.time);
            let first = first.or(self.claim.as_ref().map(|claim| claim.time));
            let (side, category) = self.filed(channel, None, first);
            let (told, counted) = ([None; Status::ALL.len()], [None; Status::ALL.len()]);
            outcomes.push(Outcome {
                is_participant: false,
                side,
                category,
                told,
                counted,
                error: None,
                pricing: None,
                taps: 0,
                first_tap: None,
            });
        }
        if let Some(outcome) = outcomes.first_mut() {
            outcome.taps = self.taps.len();
            outcome.first_tap = self.taps.first().map(|tap| tap.time);
        }
        outcomes
    }

    /// Whose template it used, by the best claim there is, and when that was told.
    #[must_use]
    pub fn claim(&self) -> Option<(&Claim, Time)> {
        self.claim.as_ref().map(|told| (told.fact.as_ref(), told.time))
    }

    /// What the message counts for.
    fn units(&self, channel: &Channel) -> Units<'_> {
        let mut units = Units::new();
        for recipient in self.counted() {
            let times = &recipient.times;
            let (side, category) =
                self.filed(channel, times.effective(Status::Sent), times.first());
            for status in Status::ALL {
                if let Some(time) = times.effective(status) {
                    let place = Place { side, category, atom: Atom::of(time) };
                    units.push(Unit { place, measure: recipient.measure(status) });
                }
            }
        }
        if let Some(first) = self.taps.first() {
            let told = self.counted().filter_map(|recipient| recipient.times.first()).min();
            let told = told.or(Some(first.time));
            let (side, category) = self.filed(channel, self.earliest(Status::Sent), told);
            let mut seen = Vec::new();
            for tap in &self.taps {
                let is_first = !seen.contains(&&tap.button);
                if is_first {
                    seen.push(&tap.button);
                }
                let place = Place { side, category, atom: Atom::of(tap.time) };
                units.push(Unit { place, measure: Measure::Clicked(&tap.button, is_first) });
            }
        }
        units
    }

    /// On which side of the opt-in it counts, and in which category. The category is that of when
    /// it was sent, or, as long as that is not known, of the first thing known of it.
    fn filed(
        &self,
        channel: &Channel,
        sent: Option<Time>,
        first: Option<Time>,
    ) -> (Side, Option<Category>) {
        let category = self
            .template()
            .zip(sent.or(first))
            .and_then(|(template, time)| channel.category(template, time));
        (channel.side(sent), category)
    }

    /// Where `place` is.
    fn filing<'a>(&'a self, key: &'a MessageKey, place: Place) -> Filing<'a> {
        let Place { side, category, atom } = place;
        let template = self.claim.as_ref().and_then(|told| {
            let Claim { source: _, template, campaign } = told.fact.as_ref();
            let (template, campaign) = (template.as_ref()?, campaign.as_ref());
            Some(FilingTemplate { template, category, campaign })
        });
        let MessageKey { channel, number, message: _ } = key;
        Filing { channel, number, attribution: self.attribution(), template, side, atom }
    }

    /// The recipients that count: those who are named, or nobody named while there is nobody else.
    fn counted(&self) -> impl Iterator<Item = &Recipient> {
        let named = self.recipients.iter().any(|recipient| !recipient.ids.is_empty());
        self.recipients.iter().filter(move |recipient| recipient.ids.is_empty() != named)
    }
}

/// What is known of a message and one of its recipients, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// Whether the recipient is a named participant of a group.
    pub is_participant: bool,
    /// On which side of the opt-in it counts.
    pub side: Side,
    /// The category of its template when it was sent.
    pub category: Option<Category>,
    /// The earliest time told of each status, in the order of [`Status::ALL`].
    pub told: [Option<Time>; Status::ALL.len()],
    /// The time at which each status counts, implied ones included (counting rule 3).
    pub counted: [Option<Time>; Status::ALL.len()],
    /// The error code of its failure, counted or not.
    pub error: Option<i64>,
    /// The pricing of its delivery.
    pub pricing: Option<&'a Pricing>,
    /// How many taps of the message are kept; on the first of its outcomes only.
    pub taps: usize,
    /// The first of these taps.
    pub first_tap: Option<Time>,
}

/// Where a part of what a message counts for is filed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    side: Side,
    category: Option<Category>,
    atom: Atom,
}

/// One thing that a message counts for. A message of one recipient has five at most, taps aside.
#[derive(PartialEq, Eq)]
struct Unit<'a> {
    place: Place,
    measure: Measure<'a>,
}

type Units<'a> = SmallVec<[Unit<'a>; 6]>;

/// Claims are ranked by source, then time, then template, then campaign (counting rule 4).
fn claim_rank(time: Time, claim: &Claim) -> impl Ord + '_ {
    let Claim { source, template, campaign } = claim;
    (*source, time, template, campaign)
}
