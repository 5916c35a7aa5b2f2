//! Webhooks, receipts and imported records, from values of the wire to facts of the core.
//!
//! Pure: the directory and the key are arguments ([`Context`]), so the doors, the import, its dry
//! run and the replay of dead letters all say the same of the same bytes. [`meta()`] reads the
//! webhooks of the Cloud API, [`receipts()`] those of CAMS. To add a kind: an arm in the one that
//! reads it. What always holds: each update stands alone, so what cannot be counted never takes
//! its neighbours with it; whatever is not counted is named with its place ([`Translated::dead`],
//! [`Translated::nothing`], [`Translated::unknown`]); a recipient or a wamid leaves as a keyed
//! hash only.

mod meta;
mod receipts;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use twoticks_core::clock::Time;
use twoticks_core::event::{Event, Sign};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::{Channel, StatusSource};
use twoticks_store::directory::names::Uid;
use twoticks_store::keys::{HashOf, Keys};
use twoticks_store::ledger::Dead;
use twoticks_wire::webhook::sign::SignView;

use crate::graph::notices::Notice;

pub(crate) use meta::link_click;
pub use meta::meta;
pub use receipts::receipts;

/// Which channels a body may speak for.
#[derive(Clone, Copy, Debug)]
pub enum Speaks<'a> {
    /// All of them: an import by the operator.
    All,
    /// Those of an account.
    Account(&'a Uid),
    /// These: the channels that have the secret of its signature, or of its path.
    Channels(&'a [ChannelId]),
}

/// What a body is read against.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The directory.
    pub snapshot: &'a Snapshot,
    /// Hashes of messages and recipients.
    pub keys: &'a Keys,
    /// Which channels the body may speak for.
    pub speaks: Speaks<'a>,
    /// When it was accepted: what is later by more than a day cannot have happened (rule 13).
    pub accepted: Time,
    /// Only the parts of the body that are named here, if this is given: what else is in the body
    /// has been counted, perhaps for another channel than its number has today.
    pub only: Option<&'a [Dead]>,
}

/// The place of what concerns a body as a whole.
const WHOLE: &str = "body";

/// What becomes of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translated {
    /// What counts.
    pub events: Vec<Event>,
    /// What could not be counted, and why: dead letters, to be inspected and replayed.
    pub dead: Vec<Dead>,
    /// What was understood, and there is nothing in it to count.
    pub nothing: Vec<Aside>,
    /// What is not known: kept with the body, not counted.
    pub unknown: Vec<Aside>,
    /// What changes no count and is to be seen elsewhere: templates and numbers.
    pub notices: Vec<Notice>,
    /// What is counted without something beside the point that could not be read, such as a cost
    /// that is out of bounds.
    pub partly: Vec<Aside>,
}

/// Something that is not counted, and no dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Where in the body it stood.
    pub path: String,
    /// What it is.
    pub kind: String,
}

impl Translated {
    /// A body of which nothing can be counted, kept whole.
    #[must_use]
    pub fn unreadable(why: impl Display) -> Self {
        let mut out = Self::default();
        out.dead(WHOLE, why);
        out
    }

    fn dead(&mut self, path: impl Display, why: impl Display) {
        self.dead.push(Dead { path: path.to_string(), why: why.to_string() });
    }

    fn nothing(&mut self, path: impl Display, kind: impl Display) {
        self.nothing.push(aside(path, kind));
    }

    fn unknown(&mut self, path: impl Display, kind: impl Display) {
        self.unknown.push(aside(path, kind));
    }

    fn partly(&mut self, path: impl Display, kind: impl Display) {
        self.partly.push(aside(path, kind));
    }

    /// Names the optional fields that could not be read.
    fn unread(&mut self, path: impl Display + Copy, fields: &[&'static str]) {
        for field in fields {
            self.partly(path, format_args!("`{field}` cannot be read"));
        }
    }

    /// Counts `event` if it can have happened (counting rule 13).
    pub(super) fn count(&mut self, context: &Context<'_>, path: impl Display, event: Event) {
        if event.is_possible(context.accepted) {
            self.events.push(event);
        } else {
            self.dead(path, Refused::Impossible);
        }
    }
}

/// The last two characters of what should be a business number, and may be a recipient's.
fn masked(number: &str) -> String {
    let last = number.char_indices().rev().nth(1).map_or(0, |(index, _)| index);
    format!("…{}", number.get(last..).unwrap_or_default())
}

fn aside(path: impl Display, kind: impl Display) -> Aside {
    Aside { path: path.to_string(), kind: kind.to_string() }
}

/// Why an update that can be read is not counted. The first two are one, so that a tenant does
/// not learn which numbers others have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The number is unknown, or of a channel that the body may not speak for.
    #[error(
        "the {what} `{value}` is of no channel that this body may speak for; add the number, or \
         sign with a secret of its channel"
    )]
    Number {
        /// `phone_number_id`, or a number.
        what: &'static str,
        /// As told: an id cut to 64 characters, of a number the last two.
        value: String,
    },
    /// It names no number at all.
    #[error("`{0}` is missing, so that it belongs to no number")]
    NoNumber(&'static str),
    /// It comes from the source that the channel does not take its statuses from.
    #[error("the channel `{channel}` takes its statuses from {takes}, not from {told}")]
    Source {
        /// The channel.
        channel: ChannelId,
        /// Where it takes them from.
        takes: &'static str,
        /// Where this came from.
        told: &'static str,
    },
    /// It cannot have happened (counting rule 13).
    #[error("its time is before 2009 or more than a day after it was accepted")]
    Impossible,
    /// The template is not in the directory (yet).
    #[error("the template is not known; add it, then replay")]
    Template,
    /// The WhatsApp Business account is of no channel that the body may speak for.
    #[error("its WhatsApp Business account is of no channel that this body may speak for")]
    Waba,
    /// It names a category that we do not know.
    #[error("`{0}` is no category; `MARKETING`, `UTILITY` or `AUTHENTICATION` would do")]
    Category(String),
    /// It does not say from when on.
    #[error("neither `category_update_timestamp` nor `entry.time` says from when on")]
    NoTime,
    /// A field that is needed has a text that will not do.
    #[error("`{0}` is too long or has control characters")]
    Text(&'static str),
    /// A template's code without its language, or the other way round.
    #[error("`template_code` and `language` go together; leave out both for a free-form message")]
    HalfTemplate,
}

/// A business number and the channel that has it now.
#[derive(Clone, Copy)]
pub(super) struct Sender<'a> {
    pub(super) channel: &'a Channel,
    pub(super) number: &'a PhoneNumber,
}

impl<'a> Context<'a> {
    /// Whether the part of the body at `path` is to be read.
    fn takes(&self, path: &str) -> bool {
        self.only.is_none_or(|only| only.iter().any(|it| it.path == path || it.path == WHOLE))
    }

    fn may_speak_for(&self, channel: &Channel) -> bool {
        match self.speaks {
            Speaks::All => true,
            Speaks::Account(uid) => channel.account == *uid,
            Speaks::Channels(channels) => channels.contains(&channel.id),
        }
    }

    /// The number with this id of Meta's, if the body may speak for its channel.
    pub(super) fn sender_by_id(
        &self,
        phone_number_id: Option<&str>,
    ) -> Result<Sender<'a>, Refused> {
        let what = "phone_number_id";
        let id = phone_number_id.ok_or(Refused::NoNumber(what))?;
        let number = self.snapshot.number_by_id(id);
        number
            .and_then(|number| self.sender(&number.phone_number, &number.channel))
            .ok_or_else(|| Refused::Number { what, value: id.chars().take(64).collect() })
    }

    /// The number with these digits, if the body may speak for its channel.
    pub(super) fn sender_by_digits(
        &self,
        field: &'static str,
        digits: Option<&str>,
    ) -> Result<Sender<'a>, Refused> {
        let digits = digits.ok_or(Refused::NoNumber(field))?;
        let known = PhoneNumber::new(digits).ok();
        known
            .and_then(|number| self.snapshot.number(&number))
            .and_then(|number| self.sender(&number.phone_number, &number.channel))
            .ok_or_else(|| Refused::Number { what: field, value: masked(digits) })
    }

    fn sender(&self, number: &'a PhoneNumber, channel: &ChannelId) -> Option<Sender<'a>> {
        let channel = self.snapshot.channel(channel)?;
        self.may_speak_for(channel).then_some(Sender { channel, number })
    }

    pub(super) fn message_hash(&self, channel: &ChannelId, id: &str) -> Hash {
        self.keys.hash(HashOf::Message, channel, id.as_bytes())
    }

    pub(super) fn inbound_hash(&self, channel: &ChannelId, id: &str) -> Hash {
        self.keys.hash(HashOf::Inbound, channel, id.as_bytes())
    }

    /// The hash of a person, known by a number (however it is written) or by a BSUID.
    pub(super) fn person_hash(&self, channel: &ChannelId, who: &str) -> Hash {
        let number = PhoneNumber::new(who).ok();
        let who = number.as_ref().map_or(who, PhoneNumber::as_str);
        self.keys.hash(HashOf::Recipient, channel, who.as_bytes())
    }
}

impl Sender<'_> {
    /// Messages and taps have ids of their own in each source, so a channel has one: what the
    /// other tells would count a second time.
    fn takes(self, from: StatusSource) -> Result<(), Refused> {
        if self.channel.status_source == from {
            return Ok(());
        }
        let name = |source| match source {
            StatusSource::CloudApi => "webhooks of the Cloud API",
            StatusSource::Receipts => "CAMS receipts",
        };
        Err(Refused::Source {
            channel: self.channel.id.clone(),
            takes: name(self.channel.status_source),
            told: name(from),
        })
    }
}

/// A sign of ours, as the core keeps it; `None` if a part of it can be none of ours.
fn core_sign(sign: &SignView<'_>) -> Option<Sign> {
    let SignView { code, language, campaign } = sign;
    Some(Sign {
        template: Template { code: Text::new(code).ok()?, language: Text::new(language).ok()? },
        campaign: match campaign {
            Some(campaign) => Some(Text::new(campaign).ok()?),
            None => None,
        },
    })
}

/// What the payload of a quick reply names, where it carries our sign.
fn payload_sign(payload: Option<&str>) -> Option<Sign> {
    SignView::parse_payload(payload?).and_then(|(sign, _)| core_sign(&sign))
}

/// The text of an optional field, kept as far as it can be.
fn lossy(text: Option<&str>) -> Text {
    Text::lossy(text.unwrap_or_default())
}
