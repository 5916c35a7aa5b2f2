//! What the directory keeps: accounts, who acts for them, and what they send with.
//!
//! Plain values with public fields; what ties them together (references, uniqueness, limits) is
//! checked in `snapshot.rs`, for the directory as a whole. To add a field, add it here and in
//! `stored.rs`, with a default for files that were written before.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::event::{Button, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};

use super::history::Changed;
use super::names::{AccessKeyId, Name, Secret, Uid, UserId};

/// Who owns everything below; its own principal is called root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its number.
    pub uid: Uid,
    /// What people call it; not empty.
    pub name: Text,
    /// Whether it has subscribed to the product; if not, calls get `Product.Unsubscript`.
    pub subscribed: bool,
}

/// A RAM user of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Its number, unique over all accounts.
    pub id: UserId,
    /// Whose user it is.
    pub account: Uid,
    /// Its name, unique in the account.
    pub name: Name,
    /// Whether it needs an `IsvCode` for each channel that it works with.
    pub isv_scoped: bool,
    /// The names of the policies attached to it: built in, or of its account.
    pub policies: Vec<Name>,
}

/// Whose an access key is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The account itself.
    Root(Uid),
    /// A RAM user.
    User(UserId),
}

/// A permanent access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: AccessKeyId,
    /// Its secret.
    pub secret: Secret,
    /// Whose it is.
    pub owner: Owner,
    /// Whether it may be used; if not, calls get `InvalidAccessKeyId.Inactive`.
    pub active: bool,
    /// For callers that sign with RSA: their public key, PEM.
    pub rsa_public_key: Option<Arc<str>>,
    /// Whether signatures of version 1 (HMAC-SHA1) are taken.
    pub v1_allowed: bool,
}

/// A session of a role: temporary credentials (STS).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its access key id, `STS.…`.
    pub id: AccessKeyId,
    /// Its secret.
    pub secret: Secret,
    /// The token that goes with each of its requests.
    pub token: Secret,
    /// Whose role it is a session of.
    pub account: Uid,
    /// The role.
    pub role: Name,
    /// What whoever took the role calls this session.
    pub name: Name,
    /// The names of the policies of the role.
    pub policies: Vec<Name>,
    /// A policy document that narrows this session further.
    pub policy: Option<Arc<str>>,
    /// From this instant on it is refused.
    pub expires: Time,
}

/// A policy: its name and its document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whose it is; none for those that are built in.
    pub account: Option<Uid>,
    /// Its name, unique in the account and not that of a built-in one.
    pub name: Name,
    /// The document, JSON of RAM's version "1", at most [`super::POLICY_BYTES_MAX`] bytes. Whoever
    /// adds it has parsed it; one that does not parse refuses everything.
    pub document: Arc<str>,
}

/// A code that lets an ISV-scoped user work with one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsvCode {
    /// The user.
    pub user: UserId,
    /// The channel, of the user's account.
    pub channel: ChannelId,
    /// The code.
    pub code: Secret,
}

/// Where a channel's statuses come from: one source, so that no message is told under two ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusSource {
    /// Webhooks of WhatsApp's Cloud API.
    CloudApi,
    /// Receipts of CAMS.
    Receipts,
}

/// A channel of an account: the tenant boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id, `CustSpaceId` at the CAMS door.
    pub id: ChannelId,
    /// Whose it is; never changes.
    pub account: Uid,
    /// What people call it.
    pub name: Text,
    /// The WhatsApp Business account behind it.
    pub waba_id: Option<Text>,
    /// The app secrets whose signatures speak for it; several while one is being replaced.
    pub app_secrets: Vec<Secret>,
    /// The token of the webhook handshake.
    pub verify_token: Secret,
    /// The secret in the path of `/webhooks/cams/{secret}`: at least
    /// [`super::RECEIPTS_SECRET_MIN`] bytes, unlike any other channel's.
    pub receipts_secret: Secret,
    /// Where its statuses come from.
    pub status_source: StatusSource,
    /// How it is connected with WhatsApp; none while it is not.
    pub connection: Option<Connection>,
}

/// How we speak to the Graph API for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The access token; one of a system user, if it is to last.
    pub access_token: Secret,
    /// The app that the token is of.
    pub app_id: Option<Text>,
    /// Whether marketing templates go through the Marketing Messages API.
    pub marketing_messages: bool,
    /// When it was looked at last.
    pub checked: Option<Time>,
    /// What was found wrong then, in plain words, each with what would do.
    pub problems: Vec<Text>,
    /// What else was told is wrong since it was connected, by what was read and by sends: looking
    /// does not find it again.
    pub told: Vec<Text>,
}

impl Connection {
    /// All that is wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &Text> {
        self.problems.iter().chain(&self.told)
    }
}

/// A business phone number and the channel it is with now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// The digits.
    pub phone_number: PhoneNumber,
    /// Meta's id for it, unique over all numbers; not empty.
    pub phone_number_id: Text,
    /// Its channel.
    pub channel: ChannelId,
    /// What WhatsApp says of it; none while nobody asked.
    #[serde(default)]
    pub graph: Option<GraphNumber>,
}

/// What WhatsApp says of a phone number, in its own words (open lists).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphNumber {
    /// The name that recipients see.
    pub verified_name: Option<Text>,
    /// `GREEN`, `YELLOW`, `RED`, `UNKNOWN`.
    pub quality_rating: Option<Text>,
    /// `TIER_1K`, `TIER_10K` and so on.
    pub messaging_limit: Option<Text>,
    /// `CONNECTED`, `PENDING`, `FLAGGED` and so on.
    pub status: Option<Text>,
    /// When this was learned; 0 if a version before wrote it, which did not say.
    #[serde(default)]
    pub updated: Time,
    /// How it has changed; the directory keeps it, whatever is put.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Changed>,
}

/// A template in one language. Which category holds when is in the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateRecord {
    /// Its channel.
    pub channel: ChannelId,
    /// Its code, unique with the language in the channel; not empty.
    pub code: Text,
    /// Its language, as the provider spells it.
    pub language: Text,
    /// Its name, unique with the language in the channel; not empty.
    pub name: Text,
    /// Meta's id, where there is one; unique in the channel.
    pub meta_id: Option<Text>,
    /// What it was for when it was put here; WhatsApp may have changed that since, and the
    /// ledger's channel knows.
    pub category: Category,
    /// Its buttons in their order.
    pub buttons: Vec<Button>,
    /// What it says, and how it stands with WhatsApp; none while nobody asked.
    #[serde(default)]
    pub graph: Option<GraphTemplate>,
    /// Those of its links that lead over us. One stays when its button does not lead over us any
    /// more: messages that were sent have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
}

/// A link of a template that leads over us: WhatsApp has our address, we know where it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// By what the tokens of its messages name it; unique in the directory, and of no meaning.
    pub id: LinkId,
    /// The place of its button among all buttons of the template, from 0.
    pub button: u8,
    /// The text on the button.
    pub text: Text,
    /// What WhatsApp has in front of the variable: our address, as it was then.
    pub shown: Arc<str>,
    /// Where it leads: an address of http or https of at most [`super::TARGET_BYTES_MAX`] bytes.
    pub target: Arc<str>,
    /// An example of what follows `target`, for a target that ends in a variable.
    pub example: Option<Text>,
}

/// What tokens name a [`Link`] by: 48 random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinkId(pub [u8; 6]);

/// What WhatsApp says of a template, in its own words (open lists).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphTemplate {
    /// Its components as the Graph API has them: a JSON array of at most
    /// [`super::COMPONENTS_BYTES_MAX`] bytes.
    pub components: Arc<str>,
    /// Whether its variables have names instead of numbers.
    pub named: bool,
    /// What callers call the variables of its links and codes, by our names for them
    /// (`button_0`): the Graph API does not keep theirs.
    #[serde(default)]
    pub button_names: BTreeMap<Text, Text>,
    /// `APPROVED`, `PENDING`, `REJECTED`, `PAUSED`, `DISABLED` and so on.
    pub status: Text,
    /// Why it was rejected or paused.
    pub reason: Option<Text>,
    /// `GREEN`, `YELLOW`, `RED`, `UNKNOWN`.
    pub quality: Option<Text>,
    /// When this was learned.
    pub updated: Time,
    /// How it has changed; the directory keeps it, whatever is put.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Changed>,
}

impl TemplateRecord {
    /// The template as events name it.
    #[must_use]
    pub fn identity(&self) -> Template {
        Template { code: self.code.clone(), language: self.language.clone() }
    }
}

/// The built-in policy that allows everything of the product.
pub const FULL_ACCESS: &str = "AliyunCamsFullAccess";
/// The built-in policy that allows what reads.
pub const READ_ONLY_ACCESS: &str = "AliyunCamsReadOnlyAccess";

/// The policies that are built in.
pub static SYSTEM_POLICIES: LazyLock<[Arc<Policy>; 2]> = LazyLock::new(|| {
    let policy = |name, actions| {
        Arc::new(Policy {
            account: None,
            name: Name::new(name).expect("the names of built-in policies are letters"),
            document: format!(
                r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":[{actions}],"Resource":"*"}}]}}"#
            )
            .into(),
        })
    };
    [policy(FULL_ACCESS, r#""cams:*""#), policy(READ_ONLY_ACCESS, r#""cams:Get*","cams:List*""#)]
});
