//! The directory as bytes: JSON with a version, and secrets sealed inside.
//!
//! A secret is sealed for the purpose [`PURPOSE`] with its place (`kind/id/field`) beside it, so
//! that one cannot be put in another's place. What is read goes through the same changes and
//! checks as what is added. Versions written once are read for ever: a fixture of each is in
//! `tests/data/directory`. A field that is added gets a default; anything else is a new version.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use twoticks_core::clock::Time;
use twoticks_core::ids::{ChannelId, Text};

use super::change::{Change, Contents};
use super::model::{
    AccessKey, Account, Channel, Connection, IsvCode, Number, Owner, Policy, Session, StatusSource,
    TemplateRecord, User,
};
use super::names::{AccessKeyId, Name, Secret, Uid, UserId};
use super::pass_on;
use crate::keys::Keys;

/// The version that is written.
pub(crate) const VERSION: u32 = 1;
/// What secrets of the directory are sealed for.
const PURPOSE: &str = "directory";

/// Why bytes are no directory.
pub(crate) enum Unreadable {
    /// A newer program wrote them.
    Newer(u32),
    /// They are wrong.
    Wrong(String),
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    accounts: Vec<Account>,
    policies: Vec<Policy>,
    users: Vec<User>,
    keys: Vec<Key>,
    sessions: Vec<TemporaryKey>,
    channels: Vec<Space>,
    isv_codes: Vec<Code>,
    numbers: Vec<Number>,
    templates: Vec<TemplateRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pass_on: Vec<pass_on::Stored>,
}

/// Base64 of sealed bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct Sealed(String);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    id: AccessKeyId,
    secret: Sealed,
    owner: Owner,
    active: bool,
    rsa_public_key: Option<Arc<str>>,
    v1_allowed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemporaryKey {
    id: AccessKeyId,
    secret: Sealed,
    token: Sealed,
    account: Uid,
    role: Name,
    name: Name,
    policies: Vec<Name>,
    policy: Option<Arc<str>>,
    expires: Time,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Space {
    id: ChannelId,
    account: Uid,
    name: Text,
    waba_id: Option<Text>,
    app_secrets: Vec<Sealed>,
    verify_token: Sealed,
    receipts_secret: Sealed,
    status_source: StatusSource,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection: Option<Connected>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Connected {
    access_token: Sealed,
    app_id: Option<Text>,
    marketing_messages: bool,
    checked: Option<Time>,
    problems: Vec<Text>,
    #[serde(default)]
    told: Vec<Text>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    user: UserId,
    channel: ChannelId,
    code: Sealed,
}

/// Where a secret is: seals it in, and opens it only there.
pub(super) struct Place<'a> {
    keys: &'a Keys,
    thing: String,
}

impl<'a> Place<'a> {
    pub(super) fn new(keys: &'a Keys, kind: &str, id: &str) -> Self {
        Self { keys, thing: format!("{kind}/{id}") }
    }

    pub(super) fn seal(&self, field: &str, secret: &Secret) -> Sealed {
        let place = format!("{}/{field}", self.thing);
        let sealed = self.keys.seal(PURPOSE, place.as_bytes(), secret.expose().as_bytes());
        Sealed(STANDARD.encode(sealed))
    }

    pub(super) fn open(&self, field: &str, sealed: &Sealed) -> Result<Secret, Unreadable> {
        let place = format!("{}/{field}", self.thing);
        let wrong = || {
            Unreadable::Wrong(format!(
                "the secret at `{place}` does not open; is the key file the one it was sealed with?"
            ))
        };
        let bytes = STANDARD.decode(&sealed.0).map_err(|_| wrong())?;
        let plain =
            self.keys.open_sealed(PURPOSE, place.as_bytes(), &bytes).map_err(|_| wrong())?;
        let text = std::str::from_utf8(&plain).map_err(|_| wrong())?;
        Secret::new(text).map_err(|_| wrong())
    }
}

pub(crate) fn write(contents: &Contents, keys: &Keys) -> Vec<u8> {
    let Contents {
        accounts,
        users,
        keys: access_keys,
        sessions,
        policies,
        isv_codes,
        channels,
        numbers,
        templates,
        pass_on,
    } = contents;
    let file = File {
        version: VERSION,
        accounts: accounts.values().map(|it| Account::clone(it)).collect(),
        policies: policies.values().map(|it| Policy::clone(it)).collect(),
        users: users.values().map(|it| User::clone(it)).collect(),
        keys: access_keys.values().map(|it| stored_key(it, keys)).collect(),
        sessions: sessions.values().map(|it| stored_session(it, keys)).collect(),
        channels: channels.values().map(|it| stored_channel(it, keys)).collect(),
        isv_codes: isv_codes.values().map(|it| stored_code(it, keys)).collect(),
        numbers: numbers.values().map(|it| Number::clone(it)).collect(),
        templates: templates.values().map(|it| TemplateRecord::clone(it)).collect(),
        pass_on: pass_on.iter().map(|(id, it)| pass_on::stored(id, it, keys)).collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&file).expect("texts and numbers make JSON");
    bytes.push(b'\n');
    bytes
}

pub(crate) fn read(bytes: &[u8], keys: &Keys) -> Result<Contents, Unreadable> {
    let wrong = |error: serde_json::Error| Unreadable::Wrong(error.to_string());
    let Head { version } = serde_json::from_slice(bytes).map_err(wrong)?;
    match version {
        VERSION => {}
        0 => return Err(Unreadable::Wrong("there is no format version 0".to_owned())),
        newer => return Err(Unreadable::Newer(newer)),
    }
    let file: File = serde_json::from_slice(bytes).map_err(wrong)?;
    let mut contents = Contents::default();
    for change in changes(file, keys)? {
        contents.apply(change).map_err(|refusal| Unreadable::Wrong(refusal.to_string()))?;
    }
    Ok(contents)
}

fn changes(file: File, keys: &Keys) -> Result<Vec<Change>, Unreadable> {
    let mut changes = Vec::new();
    changes.extend(file.accounts.into_iter().map(Change::AddAccount));
    changes.extend(file.policies.into_iter().map(Change::AddPolicy));
    changes.extend(file.users.into_iter().map(Change::AddUser));
    for key in file.keys {
        changes.push(Change::AddKey(opened_key(key, keys)?));
    }
    for session in file.sessions {
        changes.push(Change::AddSession(opened_session(session, keys)?));
    }
    for channel in file.channels {
        changes.push(Change::AddChannel(opened_channel(channel, keys)?));
    }
    for code in file.isv_codes {
        changes.push(Change::PutIsvCode(opened_code(code, keys)?));
    }
    changes.extend(file.numbers.into_iter().map(Change::PutNumber));
    changes.extend(file.templates.into_iter().map(Change::PutTemplate));
    for stored in file.pass_on {
        let (channel, all) = pass_on::opened(stored, keys)?;
        changes.push(Change::PassOn(channel, pass_on::Step::All(all)));
    }
    Ok(changes)
}

fn stored_key(key: &AccessKey, keys: &Keys) -> Key {
    let AccessKey { id, secret, owner, active, rsa_public_key, v1_allowed } = key;
    Key {
        id: id.clone(),
        secret: Place::new(keys, "key", id.as_str()).seal("secret", secret),
        owner: owner.clone(),
        active: *active,
        rsa_public_key: rsa_public_key.clone(),
        v1_allowed: *v1_allowed,
    }
}

fn opened_key(key: Key, keys: &Keys) -> Result<AccessKey, Unreadable> {
    let secret = Place::new(keys, "key", key.id.as_str()).open("secret", &key.secret)?;
    let Key { id, secret: _, owner, active, rsa_public_key, v1_allowed } = key;
    Ok(AccessKey { id, secret, owner, active, rsa_public_key, v1_allowed })
}

fn stored_session(session: &Session, keys: &Keys) -> TemporaryKey {
    let Session { id, secret, token, account, role, name, policies, policy, expires } = session;
    let place = Place::new(keys, "session", id.as_str());
    TemporaryKey {
        secret: place.seal("secret", secret),
        token: place.seal("token", token),
        id: id.clone(),
        account: account.clone(),
        role: role.clone(),
        name: name.clone(),
        policies: policies.clone(),
        policy: policy.clone(),
        expires: *expires,
    }
}

fn opened_session(session: TemporaryKey, keys: &Keys) -> Result<Session, Unreadable> {
    let place = Place::new(keys, "session", session.id.as_str());
    Ok(Session {
        secret: place.open("secret", &session.secret)?,
        token: place.open("token", &session.token)?,
        id: session.id,
        account: session.account,
        role: session.role,
        name: session.name,
        policies: session.policies,
        policy: session.policy,
        expires: session.expires,
    })
}

fn stored_channel(channel: &Channel, keys: &Keys) -> Space {
    let place = Place::new(keys, "channel", channel.id.as_str());
    let Channel {
        id,
        account,
        name,
        waba_id,
        app_secrets,
        verify_token,
        receipts_secret,
        status_source,
        connection,
    } = channel;
    Space {
        app_secrets: app_secrets.iter().map(|it| place.seal("app_secret", it)).collect(),
        verify_token: place.seal("verify_token", verify_token),
        receipts_secret: place.seal("receipts_secret", receipts_secret),
        id: id.clone(),
        account: account.clone(),
        name: name.clone(),
        waba_id: waba_id.clone(),
        status_source: *status_source,
        connection: connection.as_ref().map(|it| stored_connection(it, &place)),
    }
}

fn opened_channel(channel: Space, keys: &Keys) -> Result<Channel, Unreadable> {
    let place = Place::new(keys, "channel", channel.id.as_str());
    let app_secrets = channel.app_secrets.iter().map(|it| place.open("app_secret", it));
    let connection = channel.connection.map(|it| opened_connection(it, &place)).transpose()?;
    Ok(Channel {
        app_secrets: app_secrets.collect::<Result<_, _>>()?,
        verify_token: place.open("verify_token", &channel.verify_token)?,
        receipts_secret: place.open("receipts_secret", &channel.receipts_secret)?,
        id: channel.id,
        account: channel.account,
        name: channel.name,
        waba_id: channel.waba_id,
        status_source: channel.status_source,
        connection,
    })
}

fn stored_connection(connection: &Connection, place: &Place<'_>) -> Connected {
    let Connection { access_token, app_id, marketing_messages, checked, problems, told } =
        connection;
    Connected {
        access_token: place.seal("access_token", access_token),
        app_id: app_id.clone(),
        marketing_messages: *marketing_messages,
        checked: *checked,
        problems: problems.clone(),
        told: told.clone(),
    }
}

fn opened_connection(stored: Connected, place: &Place<'_>) -> Result<Connection, Unreadable> {
    Ok(Connection {
        access_token: place.open("access_token", &stored.access_token)?,
        app_id: stored.app_id,
        marketing_messages: stored.marketing_messages,
        checked: stored.checked,
        problems: stored.problems,
        told: stored.told,
    })
}

fn stored_code(code: &IsvCode, keys: &Keys) -> Code {
    let IsvCode { user, channel, code } = code;
    let place = Place::new(keys, "isv_code", &format!("{user}/{channel}"));
    Code { code: place.seal("code", code), user: user.clone(), channel: channel.clone() }
}

fn opened_code(code: Code, keys: &Keys) -> Result<IsvCode, Unreadable> {
    let place = Place::new(keys, "isv_code", &format!("{}/{}", code.user, code.channel));
    let opened = place.open("code", &code.code)?;
    Ok(IsvCode { code: opened, user: code.user, channel: code.channel })
}
