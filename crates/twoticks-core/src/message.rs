//! The state of one message, and what it contributes to the totals.
//!
//! A state is the least upper bound of the facts told of a message: taking in facts is
//! commutative, associative and idempotent. What a message contributes is a pure function of its
//! state and of its [`Channel`], so a change of either moves the contribution as a whole.

use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Side};
use crate::clock::{DAY, Time};
use crate::event::{Button, Category, Claim, MessageEvent, Pricing, Status};
use crate::ids::{ChannelId, Hash, PhoneNumber, Template};
use crate::totals::{Atom, Attribution, Cell, Charge, Scope, Totals};

/// Milliseconds for which a state is kept after it was last touched, by acceptance time
/// (counting rule 12).
pub const STATE_KEPT: i64 = 45 * DAY;
/// Milliseconds for which a tombstone stays after that.
pub const TOMBSTONE_KEPT: i64 = 180 * DAY;
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
    claim: Option<Told<Claim>>,
    /// Whom it reached. One without ids stands for "nobody named"; it counts only while it is
    /// alone (counting rule 14).
    recipients: Vec<Recipient>,
    /// The first [`TAPS_MAX`] taps, sorted.
    taps: Vec<MessageTap>,
}

/// A fact and the time of the event that told it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Recipient {
    /// Hashes that were seen together, sorted; none outside groups.
    ids: Vec<Hash>,
    times: Times,
    error: Option<Told<i64>>,
    pricing: Option<Told<Pricing>>,
}

/// The earliest time told of each status.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Times {
    accepted: Option<Time>,
    sent: Option<Time>,
    delivered: Option<Time>,
    read: Option<Time>,
    played: Option<Time>,
    failed: Option<Time>,
}

impl Message {
    /// Takes in what `event` tells. The event must be of this message.
    pub fn take(&mut self, event: &MessageEvent) {
        let told = event.claim.clone().map(|fact| Told { time: event.time, fact });
        if let Some(told) = told
            && self.claim.as_ref().is_none_or(|known| claim_rank(&told) < claim_rank(known))
        {
            self.claim = Some(told);
        }
        if event.status.is_none() {
            return;
        }
        let mut recipient = Recipient::told_by(event);
        // Everybody who shares an id with somebody is the same participant.
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
    /// the same sums once for its number and, if its template is known, once for its template.
    /// What counts as before is not told, so that a repeat, or an opt-in that concerns few
    /// messages, is cheap.
    pub fn contribute_change(
        &self,
        channel: &Channel,
        new: &Self,
        new_channel: &Channel,
        key: &MessageKey,
        tally: &mut impl FnMut(Cell, Change<'_>),
    ) {
        let mut before = self.parts(channel);
        let mut after = new.parts(new_channel);
        if self.claim == new.claim {
            before.retain(|part| {
                let same = after.iter().position(|other| other == part);
                same.map(|index| after.swap_remove(index)).is_none()
            });
        }
        for Part { place, totals } in &before {
            self.cells(key, *place, &mut |cell| tally(cell, Change::TakeAway(totals)));
        }
        for Part { place, totals } in &after {
            new.cells(key, *place, &mut |cell| tally(cell, Change::Add(totals)));
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
                    pricing: pricing.as_ref().map(|told| &told.fact),
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
        self.claim.as_ref().map(|told| (&told.fact, told.time))
    }

    /// What the message counts for.
    fn parts(&self, channel: &Channel) -> Vec<Part> {
        let mut parts = Vec::new();
        for recipient in self.counted() {
            let times = &recipient.times;
            let (side, category) =
                self.filed(channel, times.effective(Status::Sent), times.first());
            for status in Status::ALL {
                if let Some(time) = times.effective(status) {
                    let place = Place { side, category, atom: Atom::of(time) };
                    recipient.count(status, part(&mut parts, place));
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
                part(&mut parts, place).click(&tap.button, is_first);
            }
        }
        parts
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

    /// The cells of `place`: that of its number and, if its template is known, that of its
    /// template.
    fn cells(&self, key: &MessageKey, place: Place, visit: &mut impl FnMut(Cell)) {
        let Place { side, category, atom } = place;
        let mut cell = |scope| visit(Cell { channel: key.channel.clone(), scope, side, atom });
        if let Some(Told { fact: Claim { template: Some(template), campaign, .. }, .. }) =
            &self.claim
        {
            let (template, campaign) = (template.clone(), campaign.clone());
            cell(Scope::Template { template, category, campaign });
        }
        let number = key.number.clone();
        cell(Scope::Number { number, attribution: self.attribution() });
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

/// What happens to the sums of a cell.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// They are added.
    Add(&'a Totals),
    /// They are taken away.
    TakeAway(&'a Totals),
}

/// Where a part of what a message counts for is filed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    side: Side,
    category: Option<Category>,
    atom: Atom,
}

/// What a message counts for in one place.
#[derive(PartialEq, Eq)]
struct Part {
    place: Place,
    totals: Totals,
}

/// The sums of `place`, in the one part there is of it.
fn part(parts: &mut Vec<Part>, place: Place) -> &mut Totals {
    let index = parts.iter().position(|part| part.place == place).unwrap_or(parts.len());
    if index == parts.len() {
        parts.push(Part { place, totals: Totals::default() });
    }
    &mut parts.get_mut(index).expect("it was found or has just been pushed").totals
}

/// Claims are ranked by source, then time, then template, then campaign (counting rule 4).
fn claim_rank(told: &Told<Claim>) -> impl Ord + '_ {
    let Claim { source, template, campaign } = &told.fact;
    (*source, told.time, template, campaign)
}

impl Recipient {
    fn told_by(event: &MessageEvent) -> Self {
        let time = event.time;
        let mut ids = event.participant.clone();
        ids.sort_unstable();
        ids.dedup();
        let mut times = Times::default();
        let slot = match event.status {
            None => None,
            Some(Status::Accepted) => Some(&mut times.accepted),
            Some(Status::Sent) => Some(&mut times.sent),
            Some(Status::Delivered) => Some(&mut times.delivered),
            Some(Status::Read) => Some(&mut times.read),
            Some(Status::Played) => Some(&mut times.played),
            Some(Status::Failed) => Some(&mut times.failed),
        };
        if let Some(slot) = slot {
            *slot = Some(time);
        }
        // The price of a message is that of its delivery; on `sent` it is a forecast (rule 11).
        let is_delivery =
            matches!(event.status, Some(Status::Delivered | Status::Read | Status::Played));
        let is_failure = event.status == Some(Status::Failed);
        Self {
            ids,
            times,
            error: event.error.filter(|_| is_failure).map(|fact| Told { time, fact }),
            pricing: event.pricing.clone().filter(|_| is_delivery).map(|fact| Told { time, fact }),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.ids.is_empty() && other.ids.is_empty())
            || self.ids.iter().any(|id| other.ids.contains(id))
    }

    fn merge(&mut self, other: Self) {
        let Self { ids, times, error, pricing } = other;
        self.ids.extend(ids);
        self.ids.sort_unstable();
        self.ids.dedup();
        let Times { accepted, sent, delivered, read, played, failed } = times;
        keep_least(&mut self.times.accepted, accepted);
        keep_least(&mut self.times.sent, sent);
        keep_least(&mut self.times.delivered, delivered);
        keep_least(&mut self.times.read, read);
        keep_least(&mut self.times.played, played);
        keep_least(&mut self.times.failed, failed);
        keep_least(&mut self.error, error);
        keep_least(&mut self.pricing, pricing);
    }

    /// Counts `status` once in `totals`.
    fn count(&self, status: Status, totals: &mut Totals) {
        match status {
            Status::Accepted => totals.accepted += 1,
            Status::Sent => totals.sent += 1,
            Status::Delivered => {
                totals.delivered += 1;
                if let Some(Told { fact: pricing, .. }) = &self.pricing {
                    *totals.charged.entry(Charge::from(pricing)).or_default() += 1;
                    if let Some(cost) = pricing.cost.as_ref().filter(|cost| cost.micros() != 0) {
                        *totals.cost.entry(cost.currency().clone()).or_default() += cost.micros();
                    }
                }
            }
            Status::Read => totals.read += 1,
            Status::Played => totals.played += 1,
            Status::Failed => {
                let code = self.error.as_ref().map_or(0, |told| told.fact);
                *totals.failures.entry(code).or_default() += 1;
            }
        }
    }
}

impl Times {
    fn told(&self, status: Status) -> Option<Time> {
        match status {
            Status::Accepted => self.accepted,
            Status::Sent => self.sent,
            Status::Delivered => self.delivered,
            Status::Read => self.read,
            Status::Played => self.played,
            Status::Failed => self.failed,
        }
    }

    /// The time at which `status` counts, implied ones included (counting rule 3).
    fn effective(&self, status: Status) -> Option<Time> {
        let earliest = |times: &[Option<Time>]| times.iter().copied().flatten().min();
        match status {
            Status::Accepted => self.accepted,
            Status::Sent => earliest(&[self.sent, self.delivered, self.read, self.played]),
            Status::Delivered => earliest(&[self.delivered, self.read, self.played]),
            Status::Read => earliest(&[self.read, self.played]),
            Status::Played => self.played,
            Status::Failed => self.failed.filter(|_| self.effective(Status::Delivered).is_none()),
        }
    }

    fn first(&self) -> Option<Time> {
        Status::ALL.into_iter().filter_map(|status| self.told(status)).min()
    }
}
