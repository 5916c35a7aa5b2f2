//! Facts as they are journalled: what happened to messages, buttons, channels and templates.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use crate::message::MessageKey;

/// One fact. Facts form a set: order, repetition and batching mean nothing (counting rule 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event {
    /// Something about one message.
    Message(MessageEvent),
    /// A button was tapped.
    Tap(TapEvent),
    /// ROI statistics were enabled for a channel; of several the earliest stands.
    OptIn {
        /// The channel.
        channel: ChannelId,
        /// When.
        time: Time,
    },
    /// A template has, or will have, a category from some instant on.
    Category(CategoryEvent),
}

impl Event {
    /// The channel it concerns.
    #[must_use]
    pub fn channel(&self) -> &ChannelId {
        match self {
            Self::Message(event) => &event.channel,
            Self::Tap(event) => &event.channel,
            Self::OptIn { channel, .. } => channel,
            Self::Category(event) => &event.channel,
        }
    }

    /// Whether it can have happened, accepted at `accepted` (counting rule 13). A category may
    /// take effect at any time.
    #[must_use]
    pub fn is_possible(&self, accepted: Time) -> bool {
        match self {
            Self::Message(event) => event.time.is_possible(accepted),
            Self::Tap(event) => event.time.is_possible(accepted),
            Self::OptIn { time, .. } => time.is_possible(accepted),
            Self::Category(_) => true,
        }
    }
}

/// What is told of one message: a status, whose template it used, or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageEvent {
    /// The channel that had the number when the event was accepted.
    pub channel: ChannelId,
    /// The business number that sent.
    pub number: PhoneNumber,
    /// The message's wamid, hashed.
    pub message: Hash,
    /// Whom it reached, in groups only: one or two hashes (number, BSUID) of one participant,
    /// sorted; empty for a message to one recipient.
    pub participant: Vec<Hash>,
    /// When it happened, by its own words.
    pub time: Time,
    /// The status, if one is told.
    pub status: Option<Status>,
    /// The first of its error codes, on `failed`.
    pub error: Option<i64>,
    /// The pricing, on `delivered`, `read` and `played`. Shared, as claims are: millions of events
    /// say the same.
    pub pricing: Option<Arc<Pricing>>,
    /// Whose template it says the message used.
    pub claim: Option<Arc<Claim>>,
}

impl MessageEvent {
    /// Which message it is about.
    #[must_use]
    pub fn key(&self) -> MessageKey {
        let Self { channel, number, message, .. } = self;
        MessageKey { channel: channel.clone(), number: number.clone(), message: *message }
    }

    /// What it tells of that.
    #[must_use]
    pub fn fact(&self) -> MessageFact<'_> {
        let Self { participant, time, status, error, pricing, claim, .. } = self;
        MessageFact {
            participant,
            time: *time,
            status: *status,
            error: *error,
            pricing: pricing.as_ref(),
            claim: claim.as_ref(),
        }
    }
}

/// What a [`MessageEvent`] tells of its message, borrowed: who has many of them has what they share
/// once.
#[derive(Clone, Copy, Debug)]
pub struct MessageFact<'a> {
    /// As in [`MessageEvent::participant`].
    pub participant: &'a [Hash],
    /// When it happened.
    pub time: Time,
    /// The status, if one is told.
    pub status: Option<Status>,
    /// The error code, on `failed`.
    pub error: Option<i64>,
    /// The pricing, where it is told.
    pub pricing: Option<&'a Arc<Pricing>>,
    /// Whose template the message used.
    pub claim: Option<&'a Arc<Claim>>,
}

/// What can happen to a message. The order is that of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Status {
    /// The carrier took it.
    Accepted,
    /// It was sent to the recipient.
    Sent,
    /// It reached a device.
    Delivered,
    /// It was read.
    Read,
    /// A voice message was played.
    Played,
    /// It failed.
    Failed,
}

impl Status {
    /// Every status, in the order of a life.
    pub const ALL: [Self; 6] =
        [Self::Accepted, Self::Sent, Self::Delivered, Self::Read, Self::Played, Self::Failed];

    /// The word for it, as used in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Played => "played",
            Self::Failed => "failed",
        }
    }
}

/// What a message was charged as, in the provider's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pricing {
    /// `pricing.category`, such as `marketing` or `marketing_lite`.
    pub category: Text,
    /// `pricing.type`, such as `regular` or `free_customer_service`.
    pub kind: Text,
    /// `pricing.pricing_model`, `PMP` since July 2025.
    pub model: Text,
    /// `pricing.cost`, where it is told.
    pub cost: Option<Cost>,
}

/// An amount of money.
///
/// **Invariant:** the amount is between 0 and [`Cost::MICROS_MAX`], so that nine hundred million of them
/// fit into a sum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cost {
    currency: Text,
    micros: i64,
}

impl Cost {
    /// The largest amount of one message: ten thousand units of its currency.
    pub const MICROS_MAX: i64 = 10_000_000_000;

    /// An amount in millionths of `currency`; `None` if it is negative or above
    /// [`Cost::MICROS_MAX`].
    #[must_use]
    pub fn new(currency: Text, micros: i64) -> Option<Self> {
        (0..=Self::MICROS_MAX).contains(&micros).then_some(Self { currency, micros })
    }

    /// ISO 4217 code, as told.
    #[must_use]
    pub fn currency(&self) -> &Text {
        &self.currency
    }

    /// Millionths of the currency.
    #[must_use]
    pub fn micros(&self) -> i64 {
        self.micros
    }
}

/// Where the knowledge of a message's template comes from, the best first (counting rule 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The send that went through us.
    Send,
    /// Our sign in `biz_opaque_callback_data`.
    Sign,
    /// A CAMS receipt.
    Receipt,
    /// An import.
    Import,
}

/// Whose template a message used, by one source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// Who says so.
    pub source: Source,
    /// The template; `None` for a free-form message.
    pub template: Option<Template>,
    /// The campaign, where one is named.
    pub campaign: Option<Text>,
}

/// A button was tapped, or a reply chosen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TapEvent {
    /// The channel that had the number when the event was accepted.
    pub channel: ChannelId,
    /// The business number that was answered.
    pub number: PhoneNumber,
    /// The inbound message's id, hashed: one tap is one inbound message.
    pub id: Hash,
    /// When it happened, by its own words.
    pub time: Time,
    /// Which button.
    pub button: Button,
    /// The message that `context.id` names, hashed. Never set for interactive replies.
    pub message: Option<Hash>,
    /// What the payload names, where it carries our sign. Never set for interactive replies.
    pub sign: Option<Sign>,
}

/// What our sign says: a template and perhaps a campaign.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Sign {
    /// The template.
    pub template: Template,
    /// The campaign.
    pub campaign: Option<Text>,
}

/// A button is its kind and its text (counting rule 5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Button {
    /// The kind.
    pub kind: ButtonKind,
    /// The text on it.
    pub text: Text,
}

/// The kinds of buttons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ButtonKind {
    /// A quick reply of a template.
    QuickReply,
    /// A link of a template.
    Url,
    /// A phone call button of a template.
    PhoneNumber,
    /// A reply to an interactive message: no template button, counts for the number only.
    Interactive,
    /// A link of a template, opened by a machine: a preview, a prefetch, a crawler. Kept apart from
    /// what people opened. (The order is stored: what is added comes last.)
    UrlMachine,
}

impl ButtonKind {
    /// The word for it, as CAMS spells it; `interactive_reply` and `url_machine` are ours.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuickReply => "quick_reply_button",
            Self::Url => "url_button",
            Self::PhoneNumber => "phone_number_button",
            Self::Interactive => "interactive_reply",
            Self::UrlMachine => "url_machine",
        }
    }

    /// Whether a click on it is one that a person made on a button of a template: what `Cliented`
    /// shows (counting rule 5).
    #[must_use]
    pub fn is_clicked(self) -> bool {
        match self {
            Self::QuickReply | Self::Url | Self::PhoneNumber => true,
            Self::Interactive | Self::UrlMachine => false,
        }
    }
}

/// A template's category from an instant on (counting rule 7).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CategoryEvent {
    /// The channel whose template it is.
    pub channel: ChannelId,
    /// The template.
    pub template: Template,
    /// From when on.
    pub effective: Time,
    /// The category from then on.
    pub category: Category,
    /// The category before, where it is told.
    pub previous: Option<Category>,
}

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// Marketing: the only one that `GetChatappTemplateMetric` answers for.
    Marketing,
    /// Utility.
    Utility,
    /// Authentication.
    Authentication,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 3] = [Self::Marketing, Self::Utility, Self::Authentication];

    /// The word for it, in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Marketing => "marketing",
            Self::Utility => "utility",
            Self::Authentication => "authentication",
        }
    }

    /// The category that `text` names, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str().eq_ignore_ascii_case(text))
    }
}
