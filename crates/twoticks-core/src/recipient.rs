//! One recipient of a message: what was told of them, and when each status counts.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Time;
use crate::event::{MessageFact, Pricing, Status};
use crate::ids::Hash;
use crate::message::{Told, keep_least};
use crate::totals::Measure;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Recipient {
    /// Hashes that were seen together, sorted; none outside groups.
    pub(crate) ids: Vec<Hash>,
    pub(crate) times: Times,
    pub(crate) error: Option<Told<i64>>,
    pub(crate) pricing: Option<Told<Arc<Pricing>>>,
}

/// Nobody named, of whom nothing was told.
pub(crate) static NOBODY: Recipient = Recipient {
    ids: Vec::new(),
    times: Times([Earliest::NONE; Status::ALL.len()]),
    error: None,
    pricing: None,
};

/// The earliest time told of each status, in the order of [`Status::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Times([Earliest; Status::ALL.len()]);

/// A time, or none: in half of the memory that an `Option` takes, of which millions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Earliest(i64);

impl Earliest {
    const NONE: Self = Self(i64::MAX);

    fn get(self) -> Option<Time> {
        (self != Self::NONE).then_some(Time(self.0))
    }
}

impl Default for Earliest {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<Option<Time>> for Earliest {
    fn from(time: Option<Time>) -> Self {
        time.map_or(Self::NONE, |time| Self(time.0))
    }
}

impl Serialize for Earliest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Earliest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Time>::deserialize(deserializer).map(Self::from)
    }
}

impl Recipient {
    /// The first thing told of them.
    pub(crate) fn first(&self) -> Option<Time> {
        self.times.first()
    }

    /// When it was sent to them.
    pub(crate) fn sent(&self) -> Option<Time> {
        self.times.effective(Status::Sent)
    }

    pub(crate) fn told_by(fact: MessageFact<'_>) -> Self {
        let mut ids = fact.participant.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut recipient = Self { ids, ..Self::default() };
        recipient.take(fact);
        recipient
    }

    /// Takes in what is told of them.
    pub(crate) fn take(&mut self, fact: MessageFact<'_>) {
        let Some(status) = fact.status else { return };
        self.times.put(status, fact.time);
        if let Some(told) = error_of(fact)
            && self.error.is_none_or(|known| told < known)
        {
            self.error = Some(told);
        }
        if let Some(pricing) = price_of(fact).filter(|price| is_earlier(*price, &self.pricing)) {
            self.pricing = Some(Told { time: fact.time, fact: Arc::clone(pricing.fact) });
        }
    }

    /// Whether [`Recipient::take`] would change nothing.
    pub(crate) fn knows(&self, fact: MessageFact<'_>) -> bool {
        let knows_time = |status| self.times.told(status).is_some_and(|known| known <= fact.time);
        fact.status.is_none_or(knows_time)
            && error_of(fact).is_none_or(|told| self.error.is_some_and(|known| known <= told))
            && price_of(fact).is_none_or(|told| !is_earlier(told, &self.pricing))
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.ids.is_empty() && other.ids.is_empty())
            || self.ids.iter().any(|id| other.ids.contains(id))
    }

    pub(crate) fn merge(&mut self, other: Self) {
        let Self { ids, times, error, pricing } = other;
        self.ids.extend(ids);
        self.ids.sort_unstable();
        self.ids.dedup();
        for (known, told) in self.times.0.iter_mut().zip(times.0) {
            *known = told.min(*known);
        }
        keep_least(&mut self.error, error);
        keep_least(&mut self.pricing, pricing);
    }

    /// What `status` counts as.
    pub(crate) fn measure(&self, status: Status) -> Measure<'_> {
        match status {
            Status::Accepted => Measure::Accepted,
            Status::Sent => Measure::Sent,
            Status::Delivered => {
                Measure::Delivered(self.pricing.as_ref().map(|told| told.fact.as_ref()))
            }
            Status::Read => Measure::Read,
            Status::Played => Measure::Played,
            Status::Failed => Measure::Failed(self.error.as_ref().map_or(0, |told| told.fact)),
        }
    }
}

/// The error that is told, which is that of a failure.
fn error_of(fact: MessageFact<'_>) -> Option<Told<i64>> {
    let code = fact.error.filter(|_| fact.status == Some(Status::Failed))?;
    Some(Told { time: fact.time, fact: code })
}

/// The price that is told. That of a message is that of its delivery; on `sent` it is a forecast
/// (counting rule 11).
fn price_of(fact: MessageFact<'_>) -> Option<Told<&Arc<Pricing>>> {
    let is_delivery =
        matches!(fact.status, Some(Status::Delivered | Status::Read | Status::Played));
    Some(Told { time: fact.time, fact: fact.pricing.filter(|_| is_delivery)? })
}

fn is_earlier(told: Told<&Arc<Pricing>>, known: &Option<Told<Arc<Pricing>>>) -> bool {
    let known = known.as_ref().map(|Told { time, fact }| Told { time: *time, fact });
    known.is_none_or(|known| told < known)
}

impl Times {
    fn slot(status: Status) -> usize {
        status as usize
    }

    fn put(&mut self, status: Status, time: Time) {
        if let Some(slot) = self.0.get_mut(Self::slot(status)) {
            *slot = (*slot).min(Earliest(time.0));
        }
    }

    pub(crate) fn told(&self, status: Status) -> Option<Time> {
        self.0.get(Self::slot(status)).and_then(|time| time.get())
    }

    /// The time at which `status` counts, implied ones included (counting rule 3).
    pub(crate) fn effective(&self, status: Status) -> Option<Time> {
        let Self([accepted, sent, delivered, read, played, failed]) = *self;
        let read = read.min(played);
        let delivered = delivered.min(read);
        match status {
            Status::Accepted => accepted.get(),
            Status::Sent => sent.min(delivered).get(),
            Status::Delivered => delivered.get(),
            Status::Read => read.get(),
            Status::Played => played.get(),
            Status::Failed => failed.get().filter(|_| delivered == Earliest::NONE),
        }
    }

    pub(crate) fn first(&self) -> Option<Time> {
        self.0.iter().min().and_then(|time| time.get())
    }
}
