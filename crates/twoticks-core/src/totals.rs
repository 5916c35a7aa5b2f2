//! What is kept: cells of a quarter of an hour, and the sums in them.
//!
//! Totals are a commutative group: they can be added in any order, and taken away again when a
//! message turns out to belong elsewhere. Rates and ROI are never stored (counting rule 11).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::channel::Side;
use crate::clock::Time;
use crate::event::{Button, Category, Pricing};
use crate::ids::{ChannelId, PhoneNumber, Template, Text};

/// A quarter of an hour, UTC, half-open: `[start, start + 15 min)`. The number counts quarters
/// since 1970-01-01T00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Atom(pub i32);

/// Milliseconds of one atom.
pub const ATOM: i64 = 15 * 60 * 1_000;

impl Atom {
    /// The atom in which `time` lies.
    #[must_use]
    pub fn of(time: Time) -> Self {
        let index = time.0.div_euclid(ATOM);
        Self(i32::try_from(index).unwrap_or(if index < 0 { i32::MIN } else { i32::MAX }))
    }

    /// The instant at which it begins.
    #[must_use]
    pub fn start(self) -> Time {
        Time(i64::from(self.0) * ATOM)
    }
}

/// Where a sum is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell {
    /// The tenant.
    pub channel: ChannelId,
    /// Of what: everything of a number, or everything of a template. Each message is in one cell
    /// of its number and, if its template is known, in one of its template.
    pub scope: Scope,
    /// Before or after the channel's opt-in.
    pub side: Side,
    /// When.
    pub atom: Atom,
}

/// What a cell is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// The messages of a business number.
    Number {
        /// The number.
        number: PhoneNumber,
        /// How much is known of their templates.
        attribution: Attribution,
    },
    /// The messages that used a template.
    Template {
        /// The template.
        template: Template,
        /// Its category when they were sent; `None` while it is not known.
        category: Option<Category>,
        /// Their campaign.
        campaign: Option<Text>,
    },
}

/// How much is known of a message's template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Attribution {
    /// It is known.
    Template,
    /// It is known that there is none.
    FreeForm,
    /// Nothing is known; counted for the number and shown as unattributed (counting rule 4).
    Unattributed,
}

/// The sums of a cell or of several. Absent entries of maps are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages that the carrier took.
    pub accepted: i64,
    /// Messages sent.
    pub sent: i64,
    /// Messages delivered.
    pub delivered: i64,
    /// Messages read.
    pub read: i64,
    /// Voice messages played.
    pub played: i64,
    /// Statuses that came after their message's state had been dropped.
    pub late: i64,
    /// Messages failed and not delivered, by error code; 0 where none was told.
    pub failures: BTreeMap<i64, i64>,
    /// Taps by button.
    pub clicks: BTreeMap<Button, Clicks>,
    /// Messages delivered, by what they were charged as (the cost left out).
    pub charged: BTreeMap<Charge, i64>,
    /// Cost as told by the provider, in millionths, by currency.
    pub cost: BTreeMap<Text, i64>,
}

/// Taps of one button.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clicks {
    /// Every tap.
    pub all: i64,
    /// The first tap of each message.
    pub unique: i64,
}

/// What a delivered message was charged as, in the provider's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Charge {
    /// `pricing.category`.
    pub category: Text,
    /// `pricing.type`.
    pub kind: Text,
    /// `pricing.pricing_model`.
    pub model: Text,
}

impl From<&Pricing> for Charge {
    fn from(pricing: &Pricing) -> Self {
        let Pricing { category, kind, model, cost: _ } = pricing;
        Self { category: category.clone(), kind: kind.clone(), model: model.clone() }
    }
}

impl Totals {
    /// Counts a tap of `button`, the first of its message and button or not.
    pub(crate) fn click(&mut self, button: &Button, is_first: bool) {
        let clicks = self.clicks.entry(button.clone()).or_default();
        clicks.all += 1;
        clicks.unique += i64::from(is_first);
    }

    /// Adds `other`; `None`, and nothing useful in `self`, if a sum leaves the range of `i64`.
    #[must_use]
    pub fn checked_add(self, other: &Self) -> Option<Self> {
        self.combine(other, i64::checked_add)
    }

    /// Takes `other` away; `None` as for [`Totals::checked_add`].
    #[must_use]
    pub fn checked_sub(self, other: &Self) -> Option<Self> {
        self.combine(other, i64::checked_sub)
    }

    /// Whether every sum is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Messages failed and not delivered.
    #[must_use]
    pub fn failed(&self) -> i64 {
        self.failures.values().sum()
    }

    /// All taps of template buttons and replies.
    #[must_use]
    pub fn all_clicks(&self) -> i64 {
        self.clicks.values().map(|clicks| clicks.all).sum()
    }

    /// Taps that were the first of their message and button.
    #[must_use]
    pub fn unique_clicks(&self) -> i64 {
        self.clicks.values().map(|clicks| clicks.unique).sum()
    }

    fn combine(self, other: &Self, op: fn(i64, i64) -> Option<i64>) -> Option<Self> {
        let Self { accepted, sent, delivered, read, played, late, failures, clicks, charged, cost } =
            other;
        let clicked = |a: Clicks, b: Clicks| {
            Some(Clicks { all: op(a.all, b.all)?, unique: op(a.unique, b.unique)? })
        };
        Some(Self {
            accepted: op(self.accepted, *accepted)?,
            sent: op(self.sent, *sent)?,
            delivered: op(self.delivered, *delivered)?,
            read: op(self.read, *read)?,
            played: op(self.played, *played)?,
            late: op(self.late, *late)?,
            failures: combine_maps(self.failures, failures, op)?,
            clicks: combine_maps(self.clicks, clicks, clicked)?,
            charged: combine_maps(self.charged, charged, op)?,
            cost: combine_maps(self.cost, cost, op)?,
        })
    }
}

/// Combines entry by entry; entries that become zero are left out, so that equal sums are equal.
fn combine_maps<K: Ord + Clone, V: Copy + Default + PartialEq>(
    mut left: BTreeMap<K, V>,
    right: &BTreeMap<K, V>,
    op: impl Fn(V, V) -> Option<V>,
) -> Option<BTreeMap<K, V>> {
    for (key, value) in right {
        let combined = op(left.get(key).copied().unwrap_or_default(), *value)?;
        if combined == V::default() {
            left.remove(key);
        } else {
            left.insert(key.clone(), combined);
        }
    }
    Some(left)
}
