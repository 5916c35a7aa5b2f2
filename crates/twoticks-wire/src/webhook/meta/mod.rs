//! Webhooks of WhatsApp's Cloud API: one body in, one [`Update`] out for each thing that it tells.
//!
//! `walk` finds the elements in their envelopes, `status`, `message` and `field` read one of them
//! each, `plain` reads what is written as usual in one pass, `signature` proves who sent it. To add a field of Meta's: an arm or a word in
//! `field.rs`; a kind of message: in `message.rs`. What always holds: every enumeration is open,
//! every field optional but those without which an element means nothing, ids and times may be
//! texts or numbers; what is understood, what is unknown and what is broken are told apart.

mod field;
mod message;
mod plain;
mod signature;
mod status;
mod view;
mod walk;

use std::fmt;
use std::sync::Arc;

pub use signature::{
    CHALLENGE_MAX, HandshakeRefusal, SECRETS_MAX, SignatureRefusal, handshake, sign, verify,
};
pub use view::{PricingView, StatusView, Told};

use super::sign::Sign;
use super::{BODY_MAX, Defect, Unreadable};

/// How many statuses, messages and user actions one body may carry: Meta sends no more.
pub const UPDATES_MAX: usize = 1_000;

/// How many other things one body may tell, such as changes of templates.
pub const OTHERS_MAX: usize = 1_000;

/// One thing that a webhook tells, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Where in the body it stood.
    pub place: Place,
    /// The WhatsApp business account: `entry.id`.
    pub waba_id: Option<Arc<str>>,
    /// Meta's id of the business number: `metadata.phone_number_id`.
    pub phone_number_id: Option<Arc<str>>,
    /// The business number as told, perhaps with `+` and spaces: `metadata.display_phone_number`.
    pub display_phone_number: Option<Arc<str>>,
    /// `entry.time` in milliseconds; management fields have it.
    pub entry_time_ms: Option<i64>,
    /// What it tells.
    pub what: What,
}

/// Where in a body something stood. Shown as `entry 0, change 1, statuses 3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The entry, from 0; `None` if it stood outside of any.
    pub entry: Option<u32>,
    /// The change within the entry, from 0.
    pub change: Option<u32>,
    /// The list within the change's value, and the element within the list, from 0.
    pub element: Option<(&'static str, u32)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, change, element } = self;
        let mut comma = "";
        for (name, index) in [("entry", *entry), ("change", *change)] {
            if let Some(index) = index {
                write!(f, "{comma}{name} {index}")?;
                comma = ", ";
            }
        }
        match element {
            Some((list, index)) => write!(f, "{comma}{list} {index}"),
            None if comma.is_empty() => f.write_str("body"),
            None => Ok(()),
        }
    }
}

/// What an update tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Something happened to a message that the business sent.
    Status(Box<Status>),
    /// A quick reply of a template was tapped.
    Tap(Box<Tap>),
    /// An interactive message was answered: no template button.
    Reply(Box<Reply>),
    /// The link of a marketing message was opened.
    UrlClick(UrlClick),
    /// A template changed, or will change, its category.
    CategoryUpdate(Box<CategoryUpdate>),
    /// A template was approved, paused or the like.
    TemplateStatus(Box<TemplateStatus>),
    /// Understood, and there is nothing in it to count.
    Nothing {
        /// What it is: one of our own words.
        kind: &'static str,
    },
    /// Not known: kept, not counted.
    Unknown {
        /// What it calls itself, cut to [`KIND_MAX`] bytes.
        kind: String,
    },
    /// Broken: a dead letter.
    Bad {
        /// What is wrong with it.
        why: Defect,
    },
}

/// How long the name of something unknown may get, in bytes.
pub const KIND_MAX: usize = 64;

/// The status of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The message: `id`. Never empty.
    pub wamid: String,
    /// What happened.
    pub status: StatusWord,
    /// The word for it as told. Never empty.
    pub word: String,
    /// When it happened, in milliseconds of Unix time (Meta tells seconds).
    pub time_ms: i64,
    /// Whether `recipient_type` is `group`: only then do the participants mean anything.
    pub group: bool,
    /// Phone number or group id; absent for a recipient who is known by a BSUID only.
    pub recipient_id: Option<String>,
    /// The recipient's BSUID.
    pub recipient_user_id: Option<String>,
    /// In groups: the participant's phone number.
    pub recipient_participant_id: Option<String>,
    /// In groups: the participant's BSUID.
    pub recipient_participant_user_id: Option<String>,
    /// What the sender of the message attached to it; see [`Status::sign`].
    pub biz_opaque_callback_data: Option<String>,
    /// What the message is charged as.
    pub pricing: Option<Pricing>,
    /// The conversation, up to version 23 of the API.
    pub conversation: Option<Conversation>,
    /// The first of its errors.
    pub error: Option<StatusError>,
    /// How many errors it tells.
    pub errors: u32,
    /// Optional fields that are there but could not be read, and so are absent above.
    pub unread: Vec<&'static str>,
}

impl Status {
    /// Our sign, where `biz_opaque_callback_data` is one.
    #[must_use]
    pub fn sign(&self) -> Option<Sign> {
        Sign::parse(self.biz_opaque_callback_data.as_deref()?)
    }
}

/// The words for statuses that are known, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusWord {
    /// `sent`.
    Sent,
    /// `delivered`.
    Delivered,
    /// `read`.
    Read,
    /// `played`: the first time that a voice message is.
    Played,
    /// `failed`.
    Failed,
    /// `deleted`: by the recipient; seen in old versions.
    Deleted,
    /// `warning`: seen in old versions.
    Warning,
    /// Another word: see [`Status::word`].
    Other,
}

/// What a message is charged as; on `sent` it is a forecast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pricing {
    /// Whether it is charged; `kind` and `category` are to replace it.
    pub billable: Option<bool>,
    /// `pricing_model`: `CBP` until July 2025, then `PMP`.
    pub model: Option<String>,
    /// `type`, such as `regular` or `free_customer_service`.
    pub kind: Option<String>,
    /// `category`, such as `marketing` or `authentication-international`.
    pub category: Option<String>,
    /// `cost`, where a maximum price applies.
    pub cost: Option<Cost>,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Millionths of the currency, exact; more than six decimals round to the nearest.
    pub micros: i64,
    /// ISO 4217 code, as told. Never empty.
    pub currency: String,
}

/// A conversation, the unit that was charged before July 2025.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// Its id; one per message in some versions.
    pub id: Option<String>,
    /// `origin.type`.
    pub origin: Option<String>,
    /// `expiration_timestamp` in milliseconds, on `sent` only.
    pub expires_ms: Option<i64>,
}

/// Why a message failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusError {
    /// Meta's code.
    pub code: Option<i64>,
    /// Its name.
    pub title: Option<String>,
    /// What it means: `error_data.details`.
    pub details: Option<String>,
}

/// A quick reply of a template was tapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// The inbound message's id. Never empty.
    pub id: String,
    /// When, in milliseconds of Unix time.
    pub time_ms: i64,
    /// Who tapped: the phone number.
    pub from: Option<String>,
    /// Who tapped: the BSUID.
    pub from_user_id: Option<String>,
    /// The button's text; this or the payload is there.
    pub text: Option<String>,
    /// The button's payload; equal to the text if none was given at the send.
    pub payload: Option<String>,
    /// The message whose button it is: `context.id`. Missing in real traffic at times.
    pub context_id: Option<String>,
    /// Optional fields that are there but could not be read, and so are absent above.
    pub unread: Vec<&'static str>,
}

impl Tap {
    /// Our sign, where the payload carries one.
    #[must_use]
    pub fn sign(&self) -> Option<Sign> {
        Sign::parse_payload(self.payload.as_deref()?).map(|(sign, _)| sign)
    }
}

/// An interactive message was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The inbound message's id. Never empty.
    pub id: String,
    /// When, in milliseconds of Unix time.
    pub time_ms: i64,
    /// Who answered: the phone number.
    pub from: Option<String>,
    /// Who answered: the BSUID.
    pub from_user_id: Option<String>,
    /// How it was answered.
    pub kind: ReplyKind,
    /// What was chosen: the id of a button or of a row, the name of a form.
    pub choice: Option<String>,
    /// What was chosen, as people read it: the title, the form's text, the response to a request.
    pub title: Option<String>,
    /// The message that was answered: `context.id`.
    pub context_id: Option<String>,
    /// Optional fields that are there but could not be read, and so are absent above.
    pub unread: Vec<&'static str>,
}

/// The ways to answer an interactive message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplyKind {
    /// `button_reply`.
    Button,
    /// `list_reply`.
    List,
    /// `nfm_reply`: a flow was completed.
    Form,
    /// `call_permission_reply`.
    CallPermission,
}

/// The link of a marketing message was opened (Marketing Messages API only).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlClick {
    /// The click's id, also in the opened address as `fbclid`. Never empty.
    pub click_id: String,
    /// When, in milliseconds of Unix time.
    pub time_ms: i64,
    /// `tracking_token`.
    pub tracking_token: Option<String>,
    /// `click_component` in lower case: `cta` or `body`.
    pub component: Option<String>,
    /// `product_id`.
    pub product_id: Option<String>,
    /// Optional fields that are there but could not be read, and so are absent above.
    pub unread: Vec<&'static str>,
}

/// Which template is meant; its id, its name or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemplateRef {
    /// Meta's id, as digits.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its language.
    pub language: Option<String>,
}

/// A template changed, or will change, its category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CategoryUpdate {
    /// The template.
    pub template: TemplateRef,
    /// The change.
    pub change: CategoryChange,
}

/// The two forms of a change of category. Categories are as told, such as `MARKETING`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CategoryChange {
    /// It will change (Meta's `new_category` is the current one here, `correct_category` the
    /// future one).
    Impending {
        /// What it is now.
        current: Option<String>,
        /// What it will be.
        future: String,
        /// When, in milliseconds of Unix time: `category_update_timestamp`.
        effective_ms: Option<i64>,
    },
    /// It changed, at the entry's time.
    Done {
        /// What it was.
        previous: Option<String>,
        /// What it is.
        category: String,
    },
}

/// A template was approved, rejected, paused, disabled or the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateStatus {
    /// The template.
    pub template: TemplateRef,
    /// The event as told, such as `APPROVED`. Never empty.
    pub event: String,
    /// Its category as told, in newer versions.
    pub category: Option<String>,
    /// Why it was rejected, and the like.
    pub reason: Option<String>,
}

/// Everything that a body tells, in its order; never nothing.
///
/// # Errors
///
/// If the body as a whole is too long, no JSON, or has more than [`UPDATES_MAX`] statuses,
/// messages and user actions, or more than [`OTHERS_MAX`] other things. All that is wrong with
/// one element is an [`What::Bad`] in its place.
pub fn parse(raw: &[u8]) -> Result<Vec<Update>, Unreadable> {
    if raw.len() > BODY_MAX {
        return Err(Unreadable::TooLong { bytes: raw.len() });
    }
    walk::walk(raw)
}

/// The same as [`parse`] tells, without copies of what is written as usual: several times faster.
///
/// # Errors
///
/// As [`parse`].
pub fn read(raw: &[u8]) -> Result<Vec<Told<'_>>, Unreadable> {
    if raw.len() <= BODY_MAX
        && let Some(told) = plain::read(raw)
    {
        return Ok(told);
    }
    Ok(parse(raw)?.into_iter().map(Told::Update).collect())
}

/// The name of something unknown, cut to [`KIND_MAX`] bytes.
fn unknown(kind: &str) -> What {
    let mut end = kind.len().min(KIND_MAX);
    while !kind.is_char_boundary(end) {
        end -= 1;
    }
    What::Unknown { kind: kind.get(..end).unwrap_or_default().to_owned() }
}
