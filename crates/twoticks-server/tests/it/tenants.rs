//! Who there is in tests: two tenants side by side, and callers of every kind.

use twoticks_core::event::{Button, ButtonKind, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Text};
use twoticks_store::directory::Change;
use twoticks_store::directory::model::{
    AccessKey, Account, Channel, FULL_ACCESS, IsvCode, Number, Owner, Policy, READ_ONLY_ACCESS,
    Session, StatusSource, TemplateRecord, User,
};
use twoticks_store::directory::names::{AccessKeyId, Name, Secret, Uid, UserId};

use crate::harness::NOON;

/// The channel of most tests.
pub(crate) const CHANNEL: &str = "cams-one";
/// The channel of the other tenant.
pub(crate) const OTHER_CHANNEL: &str = "cams-other";
/// The number of [`CHANNEL`].
pub(crate) const NUMBER: &str = "8613800001234";
/// Another number of [`CHANNEL`].
pub(crate) const SECOND_NUMBER: &str = "8613800005678";
/// The number of [`OTHER_CHANNEL`].
pub(crate) const OTHER_NUMBER: &str = "6281200001234";
/// A marketing template of both tenants, in English only.
pub(crate) const TEMPLATE: &str = "1100000000000001";
/// A marketing template in English and German.
pub(crate) const TWO_LANGUAGES: &str = "1100000000000002";
/// A utility template.
pub(crate) const UTILITY: &str = "1100000000000003";
/// The code of [`Who::Scoped`] for [`CHANNEL`].
pub(crate) const ISV_CODE: &str = "isv-code-of-the-scoped-user";

pub(crate) const ONE: &str = "1000000000000001";
pub(crate) const OTHER: &str = "1000000000000002";
const UNSUBSCRIBED: &str = "1000000000000003";
pub(crate) const SEVERAL: &str = "1000000000000004";

/// A caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The root of the tenant of [`CHANNEL`].
    Root,
    /// The root of the other tenant.
    Other,
    /// A user without any policy.
    Denied,
    /// A user whom a policy denies one operation.
    Refused,
    /// A user who may only read.
    Reader,
    /// A user who needs an `IsvCode`.
    Scoped,
    /// A session of a role.
    Session,
    /// A session that is over.
    Expired,
    /// A user whose key is disabled.
    Inactive,
    /// The root of an account that has not subscribed.
    Unsubscribed,
    /// The root of an account with two channels.
    Several,
    /// Nobody.
    Unknown,
    /// The root's key id with another secret.
    Forger,
}

/// What a caller signs with.
pub(crate) struct Credentials {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

impl Who {
    pub(crate) const ALL: [Self; 13] = [
        Self::Root,
        Self::Other,
        Self::Denied,
        Self::Refused,
        Self::Reader,
        Self::Scoped,
        Self::Session,
        Self::Expired,
        Self::Inactive,
        Self::Unsubscribed,
        Self::Several,
        Self::Unknown,
        Self::Forger,
    ];

    /// The caller by its name in recorded calls.
    pub(crate) fn named(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|who| format!("{who:?}").to_lowercase() == name);
        found.unwrap_or_else(|| panic!("nobody is called `{name}`"))
    }

    pub(crate) fn credentials(self) -> Credentials {
        let name = match self {
            Self::Forger => "Root".to_owned(),
            who => format!("{who:?}"),
        };
        let is_session = matches!(self, Self::Session | Self::Expired);
        Credentials {
            id: format!("{}{name}", if is_session { "STS.test" } else { "LTAI5t" }),
            secret: format!("secret-of-{self:?}"),
            token: is_session.then(|| format!("CAIS-token-of-{self:?}")),
        }
    }
}

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

pub(crate) fn channel_id(text: &str) -> ChannelId {
    ChannelId::new(text).unwrap()
}

pub(crate) fn number(text: &str) -> PhoneNumber {
    PhoneNumber::new(text).unwrap()
}

fn key(who: Who, owner: Owner) -> Change {
    let Credentials { id, secret: text, .. } = who.credentials();
    Change::AddKey(AccessKey {
        id: AccessKeyId::new(&id).unwrap(),
        secret: secret(&text),
        owner,
        active: who != Who::Inactive,
        rsa_public_key: None,
        v1_allowed: true,
    })
}

fn account(number: &str, subscribed: bool) -> Change {
    Change::AddAccount(Account { uid: uid(number), name: text("an account"), subscribed })
}

fn user(number: u32, called: &str, policies: &[&str]) -> (UserId, Change) {
    let id = UserId::new(&format!("20000000000000000{number}")).unwrap();
    let user = User {
        id: id.clone(),
        account: uid(ONE),
        name: name(called),
        isv_scoped: called == "scoped",
        policies: policies.iter().copied().map(name).collect(),
    };
    (id, Change::AddUser(user))
}

fn session(who: Who, expires: twoticks_core::clock::Time) -> Change {
    let Credentials { id, secret: text, token } = who.credentials();
    Change::AddSession(Session {
        id: AccessKeyId::new(&id).unwrap(),
        secret: secret(&text),
        token: secret(&token.unwrap()),
        account: uid(ONE),
        role: name("reporting"),
        name: name("nightly"),
        policies: vec![name(FULL_ACCESS)],
        policy: None,
        expires,
    })
}

fn channel(id: &str, account: &str) -> Change {
    Change::AddChannel(Channel {
        id: channel_id(id),
        account: uid(account),
        name: text("a channel"),
        waba_id: None,
        app_secrets: vec![secret(&format!("app-secret-of-{id}"))],
        verify_token: secret(&format!("verify-token-of-{id}")),
        receipts_secret: secret(&format!("receipts-secret-of-{id}")),
        status_source: StatusSource::CloudApi,
        connection: None,
    })
}

pub(crate) fn phone_number(digits: &str, channel: &str) -> Change {
    Change::PutNumber(Number {
        phone_number: number(digits),
        phone_number_id: text(&format!("id{digits}")),
        channel: channel_id(channel),
        graph: None,
    })
}

fn template(channel: &str, code: &str, language: &str, category: Category) -> Change {
    let button = Button { kind: ButtonKind::QuickReply, text: text("Yes") };
    Change::PutTemplate(TemplateRecord {
        channel: channel_id(channel),
        code: text(code),
        language: text(language),
        name: text(&format!("template_{code}")),
        meta_id: None,
        category,
        buttons: vec![button],
        graph: None,
        links: Vec::new(),
    })
}

/// The whole directory.
pub(crate) fn everything() -> Vec<Change> {
    let mut changes = vec![
        account(ONE, true),
        account(OTHER, true),
        account(UNSUBSCRIBED, false),
        account(SEVERAL, true),
        Change::AddPolicy(Policy {
            account: Some(uid(ONE)),
            name: name("no-enabling"),
            document: r#"{"Version":"1","Statement":[
                {"Effect":"Allow","Action":"cams:*","Resource":"*"},
                {"Effect":"Deny","Action":"cams:EnableWhatsappROIMetric","Resource":"*"}]}"#
                .into(),
        }),
        channel(CHANNEL, ONE),
        channel(OTHER_CHANNEL, OTHER),
        channel("cams-unsubscribed", UNSUBSCRIBED),
        channel("cams-several-1", SEVERAL),
        channel("cams-several-2", SEVERAL),
        phone_number(NUMBER, CHANNEL),
        phone_number(SECOND_NUMBER, CHANNEL),
        phone_number(OTHER_NUMBER, OTHER_CHANNEL),
        template(CHANNEL, TEMPLATE, "en", Category::Marketing),
        template(CHANNEL, TWO_LANGUAGES, "en", Category::Marketing),
        template(CHANNEL, TWO_LANGUAGES, "de", Category::Marketing),
        template(CHANNEL, UTILITY, "en", Category::Utility),
        template(OTHER_CHANNEL, TEMPLATE, "en", Category::Marketing),
        session(Who::Session, NOON.plus(3_600_000)),
        session(Who::Expired, NOON.plus(-1)),
    ];
    for (who, account) in [
        (Who::Root, ONE),
        (Who::Other, OTHER),
        (Who::Unsubscribed, UNSUBSCRIBED),
        (Who::Several, SEVERAL),
    ] {
        changes.push(key(who, Owner::Root(uid(account))));
    }
    for (index, who, policies) in [
        (1, Who::Denied, &[][..]),
        (2, Who::Refused, &["no-enabling"]),
        (3, Who::Reader, &[READ_ONLY_ACCESS]),
        (4, Who::Scoped, &[FULL_ACCESS]),
        (5, Who::Inactive, &[FULL_ACCESS]),
    ] {
        let (id, added) = user(index, &format!("{who:?}").to_lowercase(), policies);
        changes.push(added);
        changes.push(key(who, Owner::User(id.clone())));
        if who == Who::Scoped {
            let channel = channel_id(CHANNEL);
            changes.push(Change::PutIsvCode(IsvCode { user: id, channel, code: secret(ISV_CODE) }));
        }
    }
    changes
}
