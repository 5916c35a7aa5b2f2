//! What is kept: cells of a quarter of an hour, and the sums in them.
//!
//! Totals are a commutative group: they can be added in any order, and taken away again when a
//! message turns out to belong elsewhere. Rates and ROI are never stored (counting rule 11).

use litemap::LiteMap;
use serde::{Deserialize, Serialize};

use crate::channel::Side;
use crate::clock::Time;
use crate::event::{Button, ButtonKind, Category, Cost, Pricing};
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
    pub failures: LiteMap<i64, i64>,
    /// Taps by button.
    pub clicks: LiteMap<Button, Clicks>,
    /// Messages delivered, by what they were charged as (the cost left out).
    pub charged: LiteMap<Charge, i64>,
    /// Cost as told by the provider, in millionths, by currency.
    pub cost: LiteMap<Text, i64>,
}

/// One thing that counts, in the cells where it is filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure<'a> {
    /// A message that the carrier took.
    Accepted,
    /// A message sent.
    Sent,
    /// A message delivered, with what it was charged as where that is told.
    Delivered(Option<&'a Pricing>),
    /// A message read.
    Read,
    /// A voice message played.
    Played,
    /// A message failed with this error code and not delivered.
    Failed(i64),
    /// A tap of this button, the first of its message or not.
    Clicked(&'a Button, bool),
    /// A status that came after its message's state had been dropped.
    Late,
}

/// Where a measure is filed: in the cell of its number and, if the template is known, in that of
/// the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filing<'a> {
    /// The tenant.
    pub channel: &'a ChannelId,
    /// The business number.
    pub number: &'a PhoneNumber,
    /// How much is known of the template.
    pub attribution: Attribution,
    /// The template with its category and campaign.
    pub template: Option<FilingTemplate<'a>>,
    /// Before or after the channel's opt-in.
    pub side: Side,
    /// When.
    pub atom: Atom,
}

/// The template of a [`Filing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilingTemplate<'a> {
    /// The template.
    pub template: &'a Template,
    /// Its category then; `None` while it is not known.
    pub category: Option<Category>,
    /// The campaign.
    pub campaign: Option<&'a Text>,
}

impl Filing<'_> {
    /// The cells: that of the number, and that of the template if it is known.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        let Self { channel, number, attribution, template, side, atom } = *self;
        let cell = move |scope| Cell { channel: channel.clone(), scope, side, atom };
        let of_template = template.map(|FilingTemplate { template, category, campaign }| {
            let (template, campaign) = (template.clone(), campaign.cloned());
            cell(Scope::Template { template, category, campaign })
        });
        let of_number = cell(Scope::Number { number: number.clone(), attribution });
        std::iter::once(of_number).chain(of_template)
    }
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

impl Charge {
    fn is_of(&self, pricing: &Pricing) -> bool {
        let Pricing { category, kind, model, cost: _ } = pricing;
        self.category == *category && self.kind == *kind && self.model == *model
    }
}

impl Totals {
    /// Counts `measure` so many `times`; with -1 what was counted is taken back. Entries that
    /// become zero are left out, so that equal sums are equal. `false`, and nothing is changed, if
    /// a sum would leave the range of `i64`.
    #[must_use]
    pub fn count(&mut self, measure: Measure<'_>, times: i64) -> bool {
        let simple = match measure {
            Measure::Accepted => &mut self.accepted,
            Measure::Sent => &mut self.sent,
            Measure::Delivered(None) => &mut self.delivered,
            Measure::Read => &mut self.read,
            Measure::Played => &mut self.played,
            Measure::Late => &mut self.late,
            Measure::Delivered(Some(pricing)) => return self.charge(pricing, times),
            Measure::Failed(code) => return bump(&mut self.failures, &code, times),
            Measure::Clicked(button, is_first) => return self.click(button, is_first, times),
        };
        let sum = simple.checked_add(times);
        sum.is_some_and(|sum| {
            *simple = sum;
            true
        })
    }

    fn charge(&mut self, pricing: &Pricing, times: i64) -> bool {
        let Some(delivered) = self.delivered.checked_add(times) else { return false };
        let cost = pricing.cost.as_ref().filter(|cost| cost.micros() != 0);
        let Some(micros) = cost.map_or(0, Cost::micros).checked_mul(times) else { return false };
        // The cost first: it is the only one that can leave the range before `delivered` does.
        if cost.is_some_and(|cost| !bump(&mut self.cost, cost.currency(), micros)) {
            return false;
        }
        self.delivered = delivered;
        // By what is there already, so that most of the time nothing is copied.
        let known = self.charged.iter_mut().find(|(charge, _)| charge.is_of(pricing));
        match known {
            Some((_, count)) if *count + times != 0 => {
                *count += times;
                true
            }
            _ => bump(&mut self.charged, &Charge::from(pricing), times),
        }
    }

    fn click(&mut self, button: &Button, is_first: bool, times: i64) -> bool {
        let clicks = self.clicks.get(button).copied().unwrap_or_default();
        let unique = if is_first { times } else { 0 };
        let sums = clicks.all.checked_add(times).zip(clicks.unique.checked_add(unique));
        let Some((all, unique)) = sums else { return false };
        if (all, unique) == (0, 0) {
            self.clicks.remove(button);
        } else {
            self.clicks.insert(button.clone(), Clicks { all, unique });
        }
        true
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

    /// All taps of template buttons and replies; those of machines are left out.
    #[must_use]
    pub fn all_clicks(&self) -> i64 {
        self.by_people().map(|clicks| clicks.all).sum()
    }

    /// Taps that were the first of their message and button; those of machines are left out.
    #[must_use]
    pub fn unique_clicks(&self) -> i64 {
        self.by_people().map(|clicks| clicks.unique).sum()
    }

    fn by_people(&self) -> impl Iterator<Item = &Clicks> {
        let by_people = self.clicks.iter().filter(|(it, _)| it.kind != ButtonKind::UrlMachine);
        by_people.map(|(_, clicks)| clicks)
    }

    /// Times that machines opened links.
    #[must_use]
    pub fn machine_clicks(&self) -> i64 {
        let by_machines =
            self.clicks.iter().filter(|(button, _)| button.kind == ButtonKind::UrlMachine);
        by_machines.map(|(_, clicks)| clicks.all).sum()
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

/// Adds `by` to the entry `key`; `false`, and nothing is changed, if that leaves the range.
fn bump<K: Ord + Clone>(map: &mut LiteMap<K, i64>, key: &K, by: i64) -> bool {
    match map.get_mut(key) {
        None if by == 0 => {}
        None => drop(map.insert(key.clone(), by)),
        Some(known) => match known.checked_add(by) {
            None => return false,
            Some(0) => drop(map.remove(key)),
            Some(sum) => *known = sum,
        },
    }
    true
}

/// Combines entry by entry; entries that become zero are left out, so that equal sums are equal.
fn combine_maps<K: Ord + Clone, V: Copy + Default + PartialEq>(
    mut left: LiteMap<K, V>,
    right: &LiteMap<K, V>,
    op: impl Fn(V, V) -> Option<V>,
) -> Option<LiteMap<K, V>> {
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
