//! How what WhatsApp says of numbers and templates has changed, kept with them.
//!
//! Whoever puts a number or a template says how it is now; what differs from what is kept is found
//! here, when the change is made, so that it is found whoever puts it and however long that took.
//! A template's category is not here: it changes counts, so its history is in the journal. To keep
//! track of something else, add a [`Field`] and a line in `after`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::ids::Text;

use super::HISTORY_MAX;
use super::model::{GraphNumber, GraphTemplate, Link, LinkId, Number, TemplateRecord};

/// What of a number or a template has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// [`GraphNumber::verified_name`].
    VerifiedName,
    /// [`GraphNumber::quality_rating`].
    QualityRating,
    /// [`GraphNumber::messaging_limit`].
    MessagingLimit,
    /// [`GraphNumber::status`] or [`GraphTemplate::status`].
    Status,
    /// [`GraphTemplate::quality`].
    Quality,
}

/// One thing that WhatsApp says otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Changed {
    /// What.
    pub field: Field,
    /// What it said before; none if it said nothing.
    pub from: Option<Text>,
    /// What it says since.
    pub to: Text,
    /// Why, as far as it is said; for a template's status only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Text>,
    /// When this was learned, which is after it happened.
    pub learned: Time,
}

/// What is kept, and what is added to it.
struct History(Vec<Changed>);

impl History {
    /// Compares; what is not said any more has not changed.
    fn compare(
        &mut self,
        (field, learned): (Field, Time),
        [from, to]: [Option<&Text>; 2],
        reason: Option<&Text>,
    ) {
        if let Some(to) = to.filter(|_| from != to) {
            let (from, to, reason) = (from.cloned(), to.clone(), reason.cloned());
            self.0.push(Changed { field, from, to, reason, learned });
        }
    }

    /// The newest [`HISTORY_MAX`], the newest last.
    fn bounded(mut self) -> Vec<Changed> {
        let surplus = self.0.len().saturating_sub(HISTORY_MAX);
        self.0.drain(..surplus);
        self.0
    }
}

impl Number {
    /// This number with the history of `known`, whose place it takes, and what differs from it.
    /// One that another channel had, or that is another one for WhatsApp, begins anew.
    pub(super) fn after(mut self, known: Option<&Arc<Self>>) -> Self {
        let (Some(now), Some(known)) = (&mut self.graph, known) else { return self };
        let is_same =
            known.channel == self.channel && known.phone_number_id == self.phone_number_id;
        now.history = match known.graph.as_ref().filter(|_| is_same) {
            Some(before) => now.since(before),
            None => Vec::new(),
        };
        self
    }
}

impl GraphNumber {
    fn since(&self, before: &Self) -> Vec<Changed> {
        let mut history = History(before.history.clone());
        for (field, of) in [
            (Field::VerifiedName, [&before.verified_name, &self.verified_name]),
            (Field::QualityRating, [&before.quality_rating, &self.quality_rating]),
            (Field::MessagingLimit, [&before.messaging_limit, &self.messaging_limit]),
            (Field::Status, [&before.status, &self.status]),
        ] {
            history.compare((field, self.updated), of.map(Option::as_ref), None);
        }
        history.bounded()
    }
}

impl TemplateRecord {
    /// This template with the history of `known`, whose place it takes, and what differs from it;
    /// and with its links, also those that whoever puts it does not know of: what was sent goes on
    /// leading somewhere.
    pub(super) fn after(mut self, known: Option<&Arc<Self>>) -> Self {
        let Some(known) = known else { return self };
        if let Some(now) = &mut self.graph {
            now.history = known.graph.as_ref().map_or_else(Vec::new, |before| now.since(before));
        }
        self.links = with_known(std::mem::take(&mut self.links), &known.links);
        self
    }
}

/// Links in the order in which they count, the newest last, and those of `known` that are not
/// among them: at their places if nothing is new or was moved, else before all.
fn with_known(links: Vec<Link>, known: &[Link]) -> Vec<Link> {
    let told = |id: LinkId| links.iter().find(|link| link.id == id);
    let kept: Vec<&Link> = known.iter().map(|link| told(link.id).unwrap_or(link)).collect();
    let still = kept.iter().filter(|link| told(link.id).is_some());
    if still.map(|link| link.id).eq(links.iter().map(|link| link.id)) {
        return kept.into_iter().cloned().collect();
    }
    let unknown = kept.into_iter().filter(|link| told(link.id).is_none());
    unknown.chain(&links).cloned().collect()
}

impl GraphTemplate {
    fn since(&self, before: &Self) -> Vec<Changed> {
        let mut history = History(before.history.clone());
        let status = [Some(&before.status), Some(&self.status)];
        history.compare((Field::Status, self.updated), status, self.reason.as_ref());
        let quality = [before.quality.as_ref(), self.quality.as_ref()];
        history.compare((Field::Quality, self.updated), quality, None);
        history.bounded()
    }
}
