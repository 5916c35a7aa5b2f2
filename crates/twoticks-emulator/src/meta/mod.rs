//! How WhatsApp words what happened: the bodies of its webhooks, and their signatures.
//!
//! [`body()`] writes what happened to messages, [`management`] what happened to templates and
//! numbers. The fields are those of Meta's pages as collected for the version that is chosen
//! ([`Version`]); docs/compatibility.md lists what is played. What always holds: the same updates
//! give the same bytes, ASCII only.

pub(crate) mod json;
pub mod management;

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use twoticks_core::clock::DAY;

use crate::dice::{Dice, mix, seed_of_name};
use crate::habits::{Failure, market_of};
use json::{comma, number, raw, text};

/// The most updates that one body has (Meta).
pub const UPDATES_MAX: usize = 1_000;

/// A version of the Graph API, as webhooks follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u8);

impl Version {
    /// The oldest that is played: per-message pricing began with it.
    pub const OLDEST: Self = Self(22);
    /// The newest that is played.
    pub const NEWEST: Self = Self(26);

    /// Reads `v24.0`, `v24` or `24`.
    ///
    /// # Errors
    /// What would do.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = text.trim_start_matches(['v', 'V']);
        let number = number.strip_suffix(".0").unwrap_or(number);
        let known = |version: &u8| (Self::OLDEST.0..=Self::NEWEST.0).contains(version);
        number.parse().ok().filter(known).map(Self).ok_or_else(|| {
            let (oldest, newest) = (Self::OLDEST, Self::NEWEST);
            format!("`{text}` is no version that is played; from {oldest} to {newest} would do")
        })
    }

    /// Up to 23 every status that is charged names a conversation.
    fn has_conversation(self) -> bool {
        self.0 <= 23
    }

    /// Since 2026 statuses come with `contacts` and with ids of users beside their numbers.
    fn has_users(self) -> bool {
        self.0 >= 25
    }
}

impl Default for Version {
    fn default() -> Self {
        Self::NEWEST
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.0", self.0)
    }
}

/// Who gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// A phone number, digits only.
    Number(&'a str),
    /// A user who is known by an id of the business only (BSUID).
    User(&'a str),
    /// A group.
    Group(&'a str),
}

impl<'a> Recipient<'a> {
    /// What `to` is, as a caller writes it.
    #[must_use]
    pub fn read(to: &'a str, is_group: bool) -> Self {
        let is_user = |it: &str| {
            let (country, rest) = it.split_once('.').unwrap_or_default();
            country.len() == 2
                && country.bytes().all(|b| b.is_ascii_uppercase())
                && !rest.is_empty()
        };
        if is_group {
            Self::Group(to)
        } else if is_user(to) {
            Self::User(to)
        } else {
            Self::Number(to.trim_start_matches('+'))
        }
    }
}

/// How many digits the id of a user has, as those that were seen; as many as a `u64` may have.
const USER_DIGITS: usize = 20;

/// The id that a business knows the user of a number by.
#[must_use]
pub fn user_id(number: &str) -> String {
    let country = match market_of(number).country {
        "XX" => "US",
        country => country,
    };
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(seed_of_name(0x75_7365_7273, number));
    let mut id = String::with_capacity(country.len() + 1 + USER_DIGITS);
    id.push_str(country);
    id.push('.');
    id.extend(std::iter::repeat_n('0', USER_DIGITS - digits.len()));
    id.push_str(digits);
    id
}

/// The words for statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// `sent`
    Sent,
    /// `delivered`
    Delivered,
    /// `read`
    Read,
    /// `failed`
    Failed,
}

impl Word {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
        }
    }
}

/// What a message is charged as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// `pricing.type`.
    pub kind: &'static str,
    /// `pricing.category`.
    pub category: &'static str,
    /// `pricing.cost`, in millionths of a US dollar; told on delivered or read only.
    pub cost_micros: Option<i64>,
}

/// A status of a message.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    /// The message.
    pub wamid: &'a str,
    /// What happened.
    pub word: Word,
    /// When, in seconds of Unix time.
    pub second: i64,
    /// To whom it went.
    pub recipient: Recipient<'a>,
    /// Of a group: which member this is about, by number.
    pub member: Option<&'a str>,
    /// `biz_opaque_callback_data`.
    pub callback_data: Option<&'a str>,
    /// What it is charged as, on `sent` and on one of `delivered` and `read`.
    pub price: Option<Price>,
    /// Why it failed.
    pub failure: Option<&'static Failure>,
}

/// A quick reply.
#[derive(Clone, Copy, Debug)]
pub struct Tap<'a> {
    /// The id of the inbound message.
    pub id: &'a str,
    /// When, in seconds of Unix time.
    pub second: i64,
    /// Who taps.
    pub from: Recipient<'a>,
    /// The text on the button.
    pub text: &'a str,
    /// What the sender put behind it; else its text is told.
    pub payload: Option<&'a str>,
    /// The message that it answers: its business number and wamid.
    pub context: Option<(&'a str, &'a str)>,
}

/// A link that was opened (Marketing Messages API).
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    /// `click_id`.
    pub id: &'a str,
    /// When, in seconds of Unix time.
    pub second: i64,
}

/// One update of the field `messages`.
#[derive(Clone, Copy, Debug)]
pub enum Update<'a> {
    /// A status.
    Status(Status<'a>),
    /// A quick reply.
    Tap(Tap<'a>),
    /// A link that was opened.
    Opened(Opened<'a>),
}

/// What is told of one business number.
#[derive(Clone, Copy, Debug)]
pub struct OfNumber<'a> {
    /// Meta's id of the business account.
    pub waba_id: &'a str,
    /// The number, digits only.
    pub phone_number: &'a str,
    /// Meta's id of the number.
    pub phone_number_id: &'a str,
    /// In the order in which they are told.
    pub updates: &'a [Update<'a>],
}

/// Whom `updates` are about: each is of the thing at its place in `all`, of which `name` says the
/// business account, the number and the number's id. Things of a number stand together.
pub(crate) fn by_number<'a, T>(
    all: &'a [T],
    updates: &'a [Update<'a>],
    name: impl for<'b> Fn(&'b T) -> [&'b str; 3],
) -> Vec<OfNumber<'a>> {
    let mut rest = updates;
    all.chunk_by(|a, b| name(a)[1] == name(b)[1])
        .filter_map(|of| {
            let (updates, others) = rest.split_at_checked(of.len())?;
            rest = others;
            let [waba_id, phone_number, phone_number_id] = name(of.first()?);
            Some(OfNumber { waba_id, phone_number, phone_number_id, updates })
        })
        .collect()
}

/// The header with the signature of a body: `X-Hub-Signature-256`.
#[must_use]
pub fn signature(app_secret: &[u8], body: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(app_secret).expect("HMAC takes a key of any length");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let mut header = String::with_capacity(7 + 64);
    header.push_str("sha256=");
    for byte in digest {
        for half in [byte >> 4, byte & 15] {
            header.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
    header
}

/// Writes a body that tells `numbers` behind what is in `out`.
pub fn body(out: &mut Vec<u8>, version: Version, numbers: &[OfNumber<'_>]) {
    raw(out, r#"{"object":"whatsapp_business_account","entry":["#);
    let mut is_first = true;
    for of in numbers {
        let mut change = |list: &str, wanted: fn(&Update<'_>) -> bool| {
            if !of.updates.iter().any(wanted) {
                return;
            }
            comma(out, &mut is_first);
            raw(out, r#"{"id":"#);
            text(out, of.waba_id);
            raw(
                out,
                r#","changes":[{"value":{"messaging_product":"whatsapp","metadata":{"display_phone_number":"#,
            );
            text(out, of.phone_number);
            raw(out, r#","phone_number_id":"#);
            text(out, of.phone_number_id);
            raw(out, "}");
            contacts(out, version, of.updates, wanted);
            raw(out, ",\"");
            raw(out, list);
            raw(out, "\":[");
            let mut is_first = true;
            for update in of.updates.iter().filter(|update| wanted(update)) {
                comma(out, &mut is_first);
                match update {
                    Update::Status(it) => status(out, version, it),
                    Update::Tap(it) => tap(out, version, it),
                    Update::Opened(it) => opened(out, it),
                }
            }
            raw(out, r#"]},"field":"messages"}]}"#);
        };
        change("statuses", |update| matches!(update, Update::Status(_)));
        change("messages", |update| matches!(update, Update::Tap(_)));
        change("user_actions", |update| matches!(update, Update::Opened(_)));
    }
    raw(out, "]}");
}

/// Who is spoken of. Failures come without; some people come without a profile.
fn contacts(
    out: &mut Vec<u8>,
    version: Version,
    updates: &[Update<'_>],
    wanted: impl Fn(&Update<'_>) -> bool,
) {
    let mut is_first = true;
    for update in updates.iter().filter(|update| wanted(update)) {
        let (who, always_has_profile) = match update {
            Update::Status(it) if version.has_users() && it.word != Word::Failed => {
                (it.member.map_or(it.recipient, Recipient::Number), false)
            }
            Update::Tap(it) => (it.from, true),
            Update::Status(_) | Update::Opened(_) => continue,
        };
        let begin = |out: &mut Vec<u8>, is_first: &mut bool| {
            raw(out, if std::mem::replace(is_first, false) { r#","contacts":["# } else { "," });
        };
        let (name, users) = match who {
            Recipient::Number(number) => (number, version.has_users()),
            Recipient::User(user) => (user, true),
            Recipient::Group(_) => continue,
        };
        begin(out, &mut is_first);
        let mut in_contact = true;
        raw(out, "{");
        let person = seed_of_name(0x6e_616d_6573, name);
        if always_has_profile || !person.is_multiple_of(3) {
            comma(out, &mut in_contact);
            raw(out, r#""profile":{"name":"#);
            text(out, &profile(name, person));
            raw(out, "}");
        }
        if let Recipient::Number(number) = who {
            comma(out, &mut in_contact);
            raw(out, r#""wa_id":"#);
            text(out, number);
        }
        if users {
            comma(out, &mut in_contact);
            raw(out, r#""user_id":"#);
            match who {
                Recipient::Number(number) => text(out, &user_id(number)),
                Recipient::User(user) | Recipient::Group(user) => text(out, user),
            }
        }
        raw(out, "}");
    }
    if !is_first {
        raw(out, "]");
    }
}

/// A name with characters that a receiver has to get right.
fn profile(of: &str, person: u64) -> String {
    let word = match market_of(of).country {
        "BR" => "Cliente nº",
        "DE" => "Größe",
        "ID" => "Pelanggan 😀",
        _ => "Customer / №",
    };
    let mut digits = itoa::Buffer::new();
    [word, " ", digits.format(person % 10_000)].concat()
}

fn seconds(out: &mut Vec<u8>, second: i64) {
    raw(out, r#","timestamp":""#);
    number(out, second);
    raw(out, "\"");
}

fn status(out: &mut Vec<u8>, version: Version, it: &Status<'_>) {
    raw(out, r#"{"id":"#);
    text(out, it.wamid);
    raw(out, r#","status":""#);
    raw(out, it.word.as_str());
    raw(out, "\"");
    seconds(out, it.second);
    recipient(out, version, it);
    if let Some(data) = it.callback_data {
        raw(out, r#","biz_opaque_callback_data":"#);
        text(out, data);
    }
    if let Some(price) = &it.price {
        if version.has_conversation() {
            conversation(out, it, price);
        }
        pricing(out, it.word, price);
    }
    if let Some(failure) = it.failure {
        errors(out, failure);
    }
    raw(out, "}");
}

fn recipient(out: &mut Vec<u8>, version: Version, it: &Status<'_>) {
    match it.recipient {
        Recipient::Number(number) => {
            raw(out, r#","recipient_id":"#);
            text(out, number);
            if version.has_users() {
                raw(out, r#","recipient_user_id":"#);
                text(out, &user_id(number));
            }
        }
        Recipient::User(user) => {
            raw(out, r#","recipient_user_id":"#);
            text(out, user);
        }
        Recipient::Group(group) => {
            raw(out, r#","recipient_id":"#);
            text(out, group);
            raw(out, r#","recipient_type":"group""#);
            if let Some(member) = it.member {
                raw(out, r#","recipient_participant_id":"#);
                text(out, member);
                if version.has_users() {
                    raw(out, r#","recipient_participant_user_id":"#);
                    text(out, &user_id(member));
                }
            }
        }
    }
}

/// Up to version 23: an id that every message has of its own; when it ends is told on `sent`.
fn conversation(out: &mut Vec<u8>, it: &Status<'_>, price: &Price) {
    let mut dice = Dice::new(seed_of_name(0x636f_6e76, it.wamid));
    raw(out, r#","conversation":{"id":""#);
    raw(out, &format!("{:016x}{:016x}", dice.roll(), dice.roll()));
    raw(out, "\"");
    if it.word == Word::Sent {
        raw(out, r#","expiration_timestamp":""#);
        number(out, it.second + DAY / 1_000);
        raw(out, "\"");
    }
    raw(out, r#","origin":{"type":"#);
    text(out, price.category);
    raw(out, "}}");
}

fn pricing(out: &mut Vec<u8>, word: Word, price: &Price) {
    raw(out, r#","pricing":{"billable":"#);
    raw(out, if price.kind == "regular" { "true" } else { "false" });
    raw(out, r#","pricing_model":"PMP","type":"#);
    text(out, price.kind);
    raw(out, r#","category":"#);
    text(out, price.category);
    if let Some(micros) = price.cost_micros.filter(|_| word != Word::Sent) {
        raw(out, r#","cost":{"amount":"#);
        raw(out, &format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
        raw(out, r#","currency":"USD"}"#);
    }
    raw(out, "}");
}

fn errors(out: &mut Vec<u8>, failure: &Failure) {
    raw(out, r#","errors":[{"code":"#);
    number(out, i64::from(failure.code));
    for name in ["title", "message"] {
        raw(out, ",\"");
        raw(out, name);
        raw(out, "\":");
        text(out, failure.title);
    }
    raw(out, r#","error_data":{"details":"#);
    text(out, failure.title);
    raw(out, r#"},"href":"#);
    text(out, "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/");
    raw(out, "}]");
}

fn tap(out: &mut Vec<u8>, version: Version, it: &Tap<'_>) {
    raw(out, "{");
    let mut is_first = true;
    if let Some((number, wamid)) = it.context {
        comma(out, &mut is_first);
        raw(out, r#""context":{"from":"#);
        text(out, number);
        raw(out, r#","id":"#);
        text(out, wamid);
        raw(out, "}");
    }
    comma(out, &mut is_first);
    match it.from {
        Recipient::Number(number) | Recipient::Group(number) => {
            raw(out, r#""from":"#);
            text(out, number);
            if version.has_users() {
                raw(out, r#","from_user_id":"#);
                text(out, &user_id(number));
            }
        }
        Recipient::User(user) => {
            raw(out, r#""from_user_id":"#);
            text(out, user);
        }
    }
    raw(out, r#","id":"#);
    text(out, it.id);
    seconds(out, it.second);
    raw(out, r#","type":"button","button":{"payload":"#);
    text(out, it.payload.unwrap_or(it.text));
    raw(out, r#","text":"#);
    text(out, it.text);
    raw(out, "}}");
}

fn opened(out: &mut Vec<u8>, it: &Opened<'_>) {
    raw(out, r#"{"action_type":"marketing_messages_link_click""#);
    seconds(out, it.second);
    raw(out, r#","marketing_messages_link_click_data":{"click_component":"cta","click_id":"#);
    text(out, it.id);
    raw(out, r#","tracking_token":"#);
    text(out, &format!("{:016x}", mix(seed_of_name(1, it.id))));
    raw(out, "}}");
}
