//! Two ledgers side by side: the fold over plain maps, and the model.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use twoticks_core::channel::{Channel, Side};
use twoticks_core::clock::Time;
use twoticks_core::event::{Event, MessageEvent, TapEvent};
use twoticks_core::fold::{self, Outcome, Rows, Touched};
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Message, MessageKey};
use twoticks_core::model::Model;
use twoticks_core::query::{Point, Query, Series};
use twoticks_core::tap::{Tap, TapKey};
use twoticks_core::totals::{ATOM, Attribution, Cell, Scope, Totals};

use crate::facts::{ACCEPTED, START};

/// Rows in maps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Maps {
    pub(crate) messages: BTreeMap<MessageKey, Touched<Message>>,
    pub(crate) taps: BTreeMap<TapKey, Touched<Tap>>,
    pub(crate) channels: BTreeMap<ChannelId, Arc<Channel>>,
    pub(crate) cells: BTreeMap<Cell, Totals>,
}

impl Rows for Maps {
    type Error = Infallible;

    fn message(&mut self, key: &MessageKey) -> Result<Option<Touched<Message>>, Infallible> {
        Ok(self.messages.get(key).cloned())
    }

    fn put_message(&mut self, key: &MessageKey, row: Touched<Message>) {
        self.messages.insert(key.clone(), row);
    }

    fn tap(&mut self, key: &TapKey) -> Result<Option<Touched<Tap>>, Infallible> {
        Ok(self.taps.get(key).cloned())
    }

    fn put_tap(&mut self, key: &TapKey, row: Touched<Tap>) {
        self.taps.insert(key.clone(), row);
    }

    fn channel(&mut self, channel: &ChannelId) -> Result<Arc<Channel>, Infallible> {
        Ok(self.channels.get(channel).cloned().unwrap_or_default())
    }

    fn put_channel(&mut self, channel: &ChannelId, row: Channel) {
        self.channels.insert(channel.clone(), Arc::new(row));
    }

    fn add(&mut self, cell: Cell, change: &Totals) {
        let known = self.cells.remove(&cell).unwrap_or_default();
        let sum = known.checked_add(change).expect("no test counts as far as that");
        if !sum.is_zero() {
            self.cells.insert(cell, sum);
        }
    }

    fn each_message(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&MessageKey, &Touched<Message>),
    ) -> Result<(), Infallible> {
        let of_channel = self.messages.iter().filter(|(key, _)| key.channel == *channel);
        of_channel.for_each(|(key, row)| visit(key, row));
        Ok(())
    }

    fn each_tap(
        &mut self,
        channel: &ChannelId,
        visit: &mut dyn FnMut(&TapKey, &Touched<Tap>),
    ) -> Result<(), Infallible> {
        let of_channel = self.taps.iter().filter(|(key, _)| key.channel == *channel);
        of_channel.for_each(|(key, row)| visit(key, row));
        Ok(())
    }
}

/// A fact in a test.
pub(crate) trait Fact {
    fn event(&self) -> Event;
}

impl Fact for Event {
    fn event(&self) -> Event {
        self.clone()
    }
}

impl Fact for MessageEvent {
    fn event(&self) -> Event {
        Event::Message(self.clone())
    }
}

impl Fact for TapEvent {
    fn event(&self) -> Event {
        Event::Tap(self.clone())
    }
}

/// The fold and the model, told the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) rows: Maps,
    pub(crate) model: Model,
}

impl Ledger {
    pub(crate) fn of(facts: &[&dyn Fact]) -> Self {
        let mut ledger = Self::default();
        for fact in facts {
            ledger.take(*fact);
        }
        ledger
    }

    pub(crate) fn take(&mut self, fact: &dyn Fact) -> Outcome {
        self.take_at(ACCEPTED, fact)
    }

    /// Takes a fact that was accepted then; one that cannot have happened changes nothing.
    pub(crate) fn take_at(&mut self, accepted: Time, fact: &dyn Fact) -> Outcome {
        let event = fact.event();
        if self.model.record(accepted, &event) {
            fold::apply(&mut self.rows, accepted, &event).unwrap()
        } else {
            Outcome::default()
        }
    }

    /// What the fold counts, a line per cell; the model counts the same.
    pub(crate) fn counted(&self) -> Vec<String> {
        assert_eq!(self.rows.cells, self.model.cells(), "the fold (left) and the model disagree");
        self.shown(&|_| true)
    }

    /// As [`Ledger::counted`], of the templates only.
    pub(crate) fn counted_for_templates(&self) -> Vec<String> {
        assert_eq!(self.rows.cells, self.model.cells(), "the fold (left) and the model disagree");
        self.shown(&|cell| matches!(cell.scope, Scope::Template { .. }))
    }

    /// As [`Ledger::counted`], beyond the horizon, which the model does not know.
    pub(crate) fn counted_beyond_the_horizon(&self) -> Vec<String> {
        self.shown(&|_| true)
    }

    pub(crate) fn series(&self, query: &Query) -> Vec<Point> {
        let mut series = Series::new(query);
        for (cell, totals) in &self.rows.cells {
            series.add(cell, totals).unwrap();
        }
        series.finish()
    }

    fn shown(&self, wanted: &dyn Fn(&Cell) -> bool) -> Vec<String> {
        let cells = self.rows.cells.iter().filter(|(cell, _)| wanted(cell));
        cells.map(|(cell, totals)| show(cell, totals)).collect()
    }
}

/// `1 unattributed before +0: sent 1`; atoms are counted from [`START`].
fn show(cell: &Cell, totals: &Totals) -> String {
    let of = match &cell.scope {
        Scope::Number { number, attribution } => {
            let attribution = match attribution {
                Attribution::Template => "attributed",
                Attribution::FreeForm => "free-form",
                Attribution::Unattributed => "unattributed",
            };
            format!("{number} {attribution}")
        }
        Scope::Template { template, category, campaign } => {
            let category = category.map_or("?", |category| category.as_str());
            let campaign = campaign.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            format!("{}/{} {category}{campaign}", template.code, template.language)
        }
    };
    let side = match cell.side {
        Side::Before => "before",
        Side::After => "after",
    };
    let atom = i64::from(cell.atom.0) - START.0 / ATOM;
    let Totals { accepted, sent, delivered, read, played, late, failures, clicks, charged, cost } =
        totals;
    let mut sums: Vec<String> = [
        ("accepted", accepted),
        ("sent", sent),
        ("delivered", delivered),
        ("read", read),
        ("played", played),
        ("late", late),
    ]
    .into_iter()
    .filter(|(_, sum)| **sum != 0)
    .map(|(name, sum)| format!("{name} {sum}"))
    .collect();
    sums.extend(failures.iter().map(|(code, sum)| format!("failed({code}) {sum}")));
    sums.extend(clicks.iter().map(|(button, clicks)| {
        format!("{}({}) {}/{}", button.kind.as_str(), button.text, clicks.all, clicks.unique)
    }));
    sums.extend(charged.iter().map(|(charge, sum)| format!("charged({}) {sum}", charge.category)));
    sums.extend(cost.iter().map(|(currency, micros)| format!("{currency} {micros}")));
    format!("{of} {side} {atom:+}: {}", sums.join(", "))
}
