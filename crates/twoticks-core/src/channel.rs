//! What is known of a channel that changes how its messages count: opt-in and categories.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::event::{Category, CategoryEvent};
use crate::ids::Template;

/// A channel's opt-in and its templates' categories over time: a set of facts, folded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    opt_in: Option<Time>,
    categories: BTreeMap<Template, History>,
}

/// A template's categories by the time from which they hold.
type History = BTreeMap<Time, Step>;

/// One change of category.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Step {
    category: Category,
    previous: Option<Category>,
}

/// Whether a message counts in the answers of the CAMS operations (counting rule 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Sent before the opt-in, or not known to be sent, or there is no opt-in: it does not.
    Before,
    /// Sent at or after the opt-in: it does.
    After,
}

impl Channel {
    /// Takes in an opt-in; of several the earliest stands. Says whether anything changed.
    pub fn opt_in(&mut self, time: Time) -> bool {
        let changed = self.opt_in.is_none_or(|known| time < known);
        if changed {
            self.opt_in = Some(time);
        }
        changed
    }

    /// The opt-in that stands.
    #[must_use]
    pub fn opted_in(&self) -> Option<Time> {
        self.opt_in
    }

    /// Takes in a category; of several with the same effective time the least stands, and of
    /// several previous ones the least that is told. Says whether anything changed.
    pub fn categorise(&mut self, event: &CategoryEvent) -> bool {
        let told = Step { category: event.category, previous: event.previous };
        let history = self.categories.entry(event.template.clone()).or_default();
        let merged = match history.get(&event.effective) {
            None => told,
            Some(known) => Step {
                category: known.category.min(told.category),
                previous: match (known.previous, told.previous) {
                    (Some(a), Some(b)) => Some(a.min(b)),
                    (a, b) => a.or(b),
                },
            },
        };
        history.insert(event.effective, merged) != Some(merged)
    }

    /// The category of `template` at `time`: that of the last change at or before it; before the
    /// first known change, what that change says was before, else what it changed to. `None` if
    /// nothing is known of the template.
    #[must_use]
    pub fn category(&self, template: &Template, time: Time) -> Option<Category> {
        let history = self.categories.get(template)?;
        if let Some((_, step)) = history.range(..=time).next_back() {
            return Some(step.category);
        }
        history.values().next().map(|first| first.previous.unwrap_or(first.category))
    }

    /// Every template with a known category, and its changes: (from when on, category), sorted.
    pub fn categories(
        &self,
    ) -> impl Iterator<Item = (&Template, impl Iterator<Item = (Time, Category)>)> {
        self.categories.iter().map(|(template, history)| {
            (template, history.iter().map(|(time, step)| (*time, step.category)))
        })
    }

    /// On which side of the opt-in something sent at `sent` lies, compared in whole seconds with
    /// the opt-in rounded down.
    #[must_use]
    pub fn side(&self, sent: Option<Time>) -> Side {
        match (self.opt_in, sent) {
            (Some(opt_in), Some(sent)) if sent.second() >= opt_in.second() => Side::After,
            _ => Side::Before,
        }
    }
}
