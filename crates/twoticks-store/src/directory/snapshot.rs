//! The directory at one moment: every look-up a request needs, and the proof that it is whole.
//!
//! Building one is the only check of references, uniqueness and limits, so it cannot be got
//! around: there is no snapshot of a directory that is not whole. Secrets that come in from
//! strangers are looked up by a keyed hash under a key of this process, so that the time it takes
//! tells nothing about those that are known. To add a look-up, add an index and fill it in `build`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use twoticks_core::ids::{ChannelId, PhoneNumber, Text};

use super::change::Contents;
use super::model::{
    AccessKey, Account, Channel, IsvCode, Link, LinkId, Number, Owner, Policy, SYSTEM_POLICIES,
    Session, TemplateRecord, User,
};
use super::names::{Name, Secret, Uid, UserId};
use super::pass_on::PassOn;
use super::{
    ACCOUNTS_MAX, APP_SECRETS_MAX, APP_SECRETS_PER_CHANNEL_MAX, BUTTONS_MAX, CHANNELS_MAX,
    COMPONENTS_BYTES_MAX, KEYS_PER_PRINCIPAL_MAX, LINKS_PER_TEMPLATE_MAX, NUMBERS_PER_CHANNEL_MAX,
    POLICIES_ATTACHED_MAX, POLICIES_PER_ACCOUNT_MAX, POLICY_BYTES_MAX, PUBLIC_KEY_BYTES_MAX,
    RECEIPTS_SECRET_MIN, Refusal, SESSIONS_MAX, TARGET_BYTES_MAX, TEMPLATES_PER_CHANNEL_MAX,
    USERS_PER_ACCOUNT_MAX,
};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The account itself.
    Root(Arc<Account>),
    /// One of its users.
    User(Arc<Account>, Arc<User>),
    /// A session of one of its roles.
    Session(Arc<Account>, Arc<Session>),
}

impl Principal {
    /// The account that is acted for.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        match self {
            Self::Root(account) | Self::User(account, _) | Self::Session(account, _) => account,
        }
    }
}

/// The channel of an account that names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnlyChannel {
    /// It has none.
    None,
    /// It has this one.
    One(Arc<Channel>),
    /// It has several, so that one has to be named.
    Several,
}

/// An app secret, and the channels that a signature made with it speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSecret {
    /// The secret.
    pub secret: Secret,
    /// The channels that have it, sorted.
    pub channels: Vec<ChannelId>,
}

/// The key under which secrets are looked up; another one in each process.
#[derive(Clone)]
pub(crate) struct LookupKey(Hmac<Sha256>);

impl LookupKey {
    pub(crate) fn random() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        Self(Hmac::new_from_slice(&key).expect("HMAC takes a key of any length"))
    }

    fn hash(&self, secret: &str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(secret.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

#[derive(Default)]
struct Templates {
    by_code: BTreeMap<Text, Vec<Arc<TemplateRecord>>>,
    by_meta_id: HashMap<Text, Arc<TemplateRecord>>,
    by_name: HashMap<(Text, Text), Arc<TemplateRecord>>,
    count: usize,
}

/// The directory at one moment.
pub struct Snapshot {
    contents: Contents,
    lookup: LookupKey,
    users: HashMap<Uid, BTreeMap<Name, Arc<User>>>,
    keys: HashMap<Owner, Vec<Arc<AccessKey>>>,
    tokens: HashMap<[u8; 32], Arc<Session>>,
    channels: HashMap<Uid, Vec<Arc<Channel>>>,
    wabas: HashMap<Text, Vec<Arc<Channel>>>,
    app_secrets: Vec<AppSecret>,
    receipts: HashMap<[u8; 32], Arc<Channel>>,
    numbers: HashMap<Box<str>, Arc<Number>>,
    numbers_of: HashMap<ChannelId, Vec<Arc<Number>>>,
    templates: HashMap<ChannelId, Templates>,
    links: HashMap<LinkId, Arc<TemplateRecord>>,
}

impl Snapshot {
    pub(crate) fn build(contents: Contents, lookup: &LookupKey) -> Result<Self, Refusal> {
        let mut snapshot = Self {
            contents: Contents::default(),
            lookup: lookup.clone(),
            users: HashMap::new(),
            keys: HashMap::new(),
            tokens: HashMap::new(),
            channels: HashMap::new(),
            wabas: HashMap::new(),
            app_secrets: Vec::new(),
            receipts: HashMap::new(),
            numbers: HashMap::new(),
            numbers_of: HashMap::new(),
            templates: HashMap::new(),
            links: HashMap::new(),
        };
        snapshot.take_accounts(&contents)?;
        snapshot.take_users(&contents)?;
        snapshot.take_keys(&contents)?;
        snapshot.take_sessions(&contents)?;
        snapshot.take_channels(&contents)?;
        snapshot.take_numbers(&contents)?;
        snapshot.take_templates(&contents)?;
        contents.pass_on.values().try_for_each(|pass_on| pass_on.check())?;
        snapshot.contents = contents;
        Ok(snapshot)
    }

    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Every account, by uid.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.contents.accounts.values()
    }

    /// The account with this uid.
    #[must_use]
    pub fn account(&self, uid: &str) -> Option<&Arc<Account>> {
        self.contents.accounts.get(uid)
    }

    /// The user with this id.
    #[must_use]
    pub fn user(&self, id: &str) -> Option<&Arc<User>> {
        self.contents.users.get(id)
    }

    /// The user of this account with this name.
    #[must_use]
    pub fn user_by_name(&self, account: &Uid, name: &str) -> Option<&Arc<User>> {
        self.users.get(account)?.get(name)
    }

    /// The users of this account, by name.
    pub fn users_of(&self, account: &Uid) -> impl Iterator<Item = &Arc<User>> {
        self.users.get(account).into_iter().flat_map(BTreeMap::values)
    }

    /// The permanent access key with this id.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.contents.keys.get(id)
    }

    /// The permanent access keys of this principal.
    #[must_use]
    pub fn keys_of(&self, owner: &Owner) -> &[Arc<AccessKey>] {
        self.keys.get(owner).map_or(&[], Vec::as_slice)
    }

    /// The session with this access key id, expired or not.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<&Arc<Session>> {
        self.contents.sessions.get(id)
    }

    /// The session with this security token, expired or not; tells a token of another key from
    /// one that nobody has.
    #[must_use]
    pub fn session_by_token(&self, token: &str) -> Option<&Arc<Session>> {
        self.tokens.get(&self.lookup.hash(token))
    }

    /// Every session, by access key id.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.contents.sessions.values()
    }

    /// Who acts with this access key id, permanent or of a session. Says nothing about whether it
    /// is active or has expired.
    #[must_use]
    pub fn principal(&self, access_key_id: &str) -> Option<Principal> {
        if let Some(session) = self.session(access_key_id) {
            let account = self.account(session.account.as_str())?;
            return Some(Principal::Session(account.clone(), session.clone()));
        }
        match &self.key(access_key_id)?.owner {
            Owner::Root(uid) => self.account(uid.as_str()).cloned().map(Principal::Root),
            Owner::User(id) => {
                let user = self.user(id.as_str())?;
                let account = self.account(user.account.as_str())?;
                Some(Principal::User(account.clone(), user.clone()))
            }
        }
    }

    /// The policies attached to a principal, in their order; root has none and needs none. A
    /// session's own policy document is not among them.
    #[must_use]
    pub fn policies(&self, principal: &Principal) -> Vec<Arc<Policy>> {
        let names = match principal {
            Principal::Root(_) => return Vec::new(),
            Principal::User(_, user) => &user.policies,
            Principal::Session(_, session) => &session.policies,
        };
        let account = &principal.account().uid;
        names.iter().filter_map(|name| self.policy(account, name)).cloned().collect()
    }

    /// The policy that an account knows by this name: a built-in one or one of its own.
    #[must_use]
    pub fn policy(&self, account: &Uid, name: &Name) -> Option<&Arc<Policy>> {
        built_in(name).or_else(|| self.contents.policies.get(&(account.clone(), name.clone())))
    }

    /// The account's own policies, by name.
    pub fn policies_of(&self, account: &Uid) -> impl Iterator<Item = &Arc<Policy>> {
        self.contents.policies.values().filter(move |it| it.account.as_ref() == Some(account))
    }

    /// The code of this user for this channel.
    #[must_use]
    pub fn isv_code(&self, user: &UserId, channel: &ChannelId) -> Option<&Arc<IsvCode>> {
        self.contents.isv_codes.get(&(user.clone(), channel.clone()))
    }

    /// Every channel, by id.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.contents.channels.values()
    }

    /// The channel with this id, whosever it is.
    #[must_use]
    pub fn channel(&self, id: &ChannelId) -> Option<&Arc<Channel>> {
        self.contents.channels.get(id)
    }

    /// The channels of this account, by id.
    #[must_use]
    pub fn channels_of(&self, account: &Uid) -> &[Arc<Channel>] {
        self.channels.get(account).map_or(&[], Vec::as_slice)
    }

    /// Where what WhatsApp tells of a channel is passed on to, if it is.
    #[must_use]
    pub fn pass_on(&self, channel: &ChannelId) -> Option<&Arc<PassOn>> {
        self.contents.pass_on.get(channel)
    }

    /// Every channel of which something is passed on.
    pub fn all_pass_on(&self) -> impl Iterator<Item = (&ChannelId, &Arc<PassOn>)> {
        self.contents.pass_on.iter()
    }

    /// The only channel of this account, if it has exactly one.
    #[must_use]
    pub fn only_channel(&self, account: &Uid) -> OnlyChannel {
        match self.channels_of(account) {
            [] => OnlyChannel::None,
            [channel] => OnlyChannel::One(channel.clone()),
            _ => OnlyChannel::Several,
        }
    }

    /// The channels of this WhatsApp Business account.
    #[must_use]
    pub fn channels_of_waba(&self, waba_id: &Text) -> &[Arc<Channel>] {
        self.wabas.get(waba_id).map_or(&[], Vec::as_slice)
    }

    /// The different app secrets, at most [`APP_SECRETS_MAX`], each with the channels it speaks
    /// for.
    #[must_use]
    pub fn app_secrets(&self) -> &[AppSecret] {
        &self.app_secrets
    }

    /// The channel with this receipts secret.
    #[must_use]
    pub fn channel_by_receipts_secret(&self, secret: &str) -> Option<&Arc<Channel>> {
        self.receipts.get(&self.lookup.hash(secret))
    }

    /// The number with these digits.
    #[must_use]
    pub fn number(&self, phone_number: &PhoneNumber) -> Option<&Arc<Number>> {
        self.contents.numbers.get(phone_number)
    }

    /// The number with this id of Meta's.
    #[must_use]
    pub fn number_by_id(&self, phone_number_id: &str) -> Option<&Arc<Number>> {
        self.numbers.get(phone_number_id)
    }

    /// The numbers of this channel, by digits.
    #[must_use]
    pub fn numbers_of(&self, channel: &ChannelId) -> &[Arc<Number>] {
        self.numbers_of.get(channel).map_or(&[], Vec::as_slice)
    }

    /// The templates of this channel, by code and language.
    pub fn templates_of(&self, channel: &ChannelId) -> impl Iterator<Item = &Arc<TemplateRecord>> {
        self.templates.get(channel).into_iter().flat_map(|it| it.by_code.values().flatten())
    }

    /// The template of this channel with this code, in each of its languages.
    #[must_use]
    pub fn template_languages(&self, channel: &ChannelId, code: &Text) -> &[Arc<TemplateRecord>] {
        let found = self.templates.get(channel).and_then(|it| it.by_code.get(code));
        found.map_or(&[], Vec::as_slice)
    }

    /// The template of this channel with this code and language.
    #[must_use]
    pub fn template(
        &self,
        channel: &ChannelId,
        code: &Text,
        language: &Text,
    ) -> Option<&Arc<TemplateRecord>> {
        self.template_languages(channel, code).iter().find(|it| it.language == *language)
    }

    /// The template of this channel with this id of Meta's.
    #[must_use]
    pub fn template_by_meta_id(
        &self,
        channel: &ChannelId,
        meta_id: &Text,
    ) -> Option<&Arc<TemplateRecord>> {
        self.templates.get(channel)?.by_meta_id.get(meta_id)
    }

    /// The link of this id, and the template that has it.
    #[must_use]
    pub fn link(&self, id: LinkId) -> Option<(&Arc<TemplateRecord>, &Link)> {
        let record = self.links.get(&id)?;
        Some((record, record.links.iter().find(|link| link.id == id)?))
    }

    /// The template of this channel with this name and language.
    #[must_use]
    pub fn template_by_name(
        &self,
        channel: &ChannelId,
        name: &Text,
        language: &Text,
    ) -> Option<&Arc<TemplateRecord>> {
        self.templates.get(channel)?.by_name.get(&(name.clone(), language.clone()))
    }

    fn take_accounts(&mut self, contents: &Contents) -> Result<(), Refusal> {
        limit(contents.accounts.len(), ACCOUNTS_MAX, "accounts")?;
        for account in contents.accounts.values() {
            not_empty("account", &account.uid, &account.name)?;
        }
        let mut counts: HashMap<&Uid, usize> = HashMap::new();
        for ((uid, name), policy) in &contents.policies {
            known(contents.accounts.contains_key(uid), "account", uid)?;
            let count = counts.entry(uid).or_default();
            *count += 1;
            limit(*count, POLICIES_PER_ACCOUNT_MAX, "policies of an account")?;
            limit(policy.document.len(), POLICY_BYTES_MAX, "bytes of a policy document")?;
            if built_in(name).is_some() {
                return Err(Refusal::Exists { what: "policy", name: name.to_string() });
            }
        }
        Ok(())
    }

    fn take_users(&mut self, contents: &Contents) -> Result<(), Refusal> {
        for user in contents.users.values() {
            known(contents.accounts.contains_key(&user.account), "account", &user.account)?;
            attached(contents, &user.account, &user.policies)?;
            let names = self.users.entry(user.account.clone()).or_default();
            if names.insert(user.name.clone(), user.clone()).is_some() {
                return Err(Refusal::Exists { what: "user", name: user.name.to_string() });
            }
            limit(names.len(), USERS_PER_ACCOUNT_MAX, "users of an account")?;
        }
        for (user, channel) in contents.isv_codes.keys() {
            let Some(user) = contents.users.get(user) else {
                return Err(Refusal::Missing { what: "user", name: user.to_string() });
            };
            // A channel of somebody else is as unknown as one that is not there.
            let own = contents.channels.get(channel).is_some_and(|it| it.account == user.account);
            known(own, "channel", channel)?;
        }
        Ok(())
    }

    fn take_keys(&mut self, contents: &Contents) -> Result<(), Refusal> {
        for key in contents.keys.values() {
            match &key.owner {
                Owner::Root(uid) => known(contents.accounts.contains_key(uid), "account", uid)?,
                Owner::User(id) => known(contents.users.contains_key(id), "user", id)?,
            }
            if contents.sessions.contains_key(&key.id) {
                return Err(Refusal::Exists { what: "access key", name: key.id.to_string() });
            }
            let pem = key.rsa_public_key.as_ref().map_or(0, |pem| pem.len());
            limit(pem, PUBLIC_KEY_BYTES_MAX, "bytes of a public key")?;
            let keys = self.keys.entry(key.owner.clone()).or_default();
            keys.push(key.clone());
            limit(keys.len(), KEYS_PER_PRINCIPAL_MAX, "access keys of a principal")?;
        }
        Ok(())
    }

    fn take_sessions(&mut self, contents: &Contents) -> Result<(), Refusal> {
        limit(contents.sessions.len(), SESSIONS_MAX, "sessions")?;
        for session in contents.sessions.values() {
            known(contents.accounts.contains_key(&session.account), "account", &session.account)?;
            attached(contents, &session.account, &session.policies)?;
            let bytes = session.policy.as_ref().map_or(0, |document| document.len());
            limit(bytes, POLICY_BYTES_MAX, "bytes of a policy document")?;
            let token = self.lookup.hash(session.token.expose());
            if self.tokens.insert(token, session.clone()).is_some() {
                let rule = "its security token is that of another session";
                let name = session.id.to_string();
                return Err(Refusal::Invalid { what: "session", name, rule });
            }
        }
        Ok(())
    }

    fn take_channels(&mut self, contents: &Contents) -> Result<(), Refusal> {
        limit(contents.channels.len(), CHANNELS_MAX, "channels")?;
        let mut places: HashMap<[u8; 32], usize> = HashMap::new();
        for channel in contents.channels.values() {
            known(contents.accounts.contains_key(&channel.account), "account", &channel.account)?;
            not_empty("channel", &channel.id, &channel.name)?;
            limit(
                channel.app_secrets.len(),
                APP_SECRETS_PER_CHANNEL_MAX,
                "app secrets of a channel",
            )?;
            self.channels.entry(channel.account.clone()).or_default().push(channel.clone());
            if let Some(waba_id) = &channel.waba_id {
                not_empty("channel", &channel.id, waba_id)?;
                self.wabas.entry(waba_id.clone()).or_default().push(channel.clone());
            }
            for secret in &channel.app_secrets {
                let place = *places
                    .entry(self.lookup.hash(secret.expose()))
                    .or_insert(self.app_secrets.len());
                match self.app_secrets.get_mut(place) {
                    Some(known) if known.channels.last() == Some(&channel.id) => {}
                    Some(known) => known.channels.push(channel.id.clone()),
                    None => self.app_secrets.push(AppSecret {
                        secret: secret.clone(),
                        channels: vec![channel.id.clone()],
                    }),
                }
            }
            limit(self.app_secrets.len(), APP_SECRETS_MAX, "different app secrets")?;
            self.take_receipts_secret(channel)?;
        }
        Ok(())
    }

    fn take_receipts_secret(&mut self, channel: &Arc<Channel>) -> Result<(), Refusal> {
        let secret = channel.receipts_secret.expose();
        let rule = if secret.len() < RECEIPTS_SECRET_MIN {
            "its receipts secret has to have at least 16 bytes"
        } else if !secret.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)) {
            "its receipts secret goes into a URL: letters, digits, `-`, `.`, `_` and `~`"
        } else if self.receipts.insert(self.lookup.hash(secret), channel.clone()).is_some() {
            "its receipts secret is that of another channel"
        } else {
            return Ok(());
        };
        Err(Refusal::Invalid { what: "channel", name: channel.id.to_string(), rule })
    }

    fn take_numbers(&mut self, contents: &Contents) -> Result<(), Refusal> {
        for number in contents.numbers.values() {
            known(contents.channels.contains_key(&number.channel), "channel", &number.channel)?;
            not_empty("phone number", &number.phone_number, &number.phone_number_id)?;
            let id = number.phone_number_id.as_str();
            if self.numbers.insert(id.into(), number.clone()).is_some() {
                return Err(Refusal::Exists { what: "phone number id", name: id.to_owned() });
            }
            let numbers = self.numbers_of.entry(number.channel.clone()).or_default();
            numbers.push(number.clone());
            limit(numbers.len(), NUMBERS_PER_CHANNEL_MAX, "phone numbers of a channel")?;
        }
        Ok(())
    }

    fn take_templates(&mut self, contents: &Contents) -> Result<(), Refusal> {
        for template in contents.templates.values() {
            known(contents.channels.contains_key(&template.channel), "channel", &template.channel)?;
            for text in [&template.code, &template.language, &template.name] {
                not_empty("template", &template.code, text)?;
            }
            limit(template.buttons.len(), BUTTONS_MAX, "buttons of a template")?;
            let components = template.graph.as_ref().map_or(0, |graph| graph.components.len());
            limit(components, COMPONENTS_BYTES_MAX, "bytes of a template's components")?;
            limit(template.links.len(), LINKS_PER_TEMPLATE_MAX, "links of a template")?;
            for link in &template.links {
                limit(link.target.len(), TARGET_BYTES_MAX, "bytes of a link's target")?;
                if self.links.insert(link.id, template.clone()).is_some() {
                    return Err(Refusal::Exists {
                        what: "link id",
                        name: format!("{:?}", link.id.0),
                    });
                }
            }
            let of_channel = self.templates.entry(template.channel.clone()).or_default();
            of_channel.count += 1;
            limit(of_channel.count, TEMPLATES_PER_CHANNEL_MAX, "templates of a channel")?;
            of_channel.by_code.entry(template.code.clone()).or_default().push(template.clone());
            let name = (template.name.clone(), template.language.clone());
            if of_channel.by_name.insert(name, template.clone()).is_some() {
                let name = format!("{} {}", template.name, template.language);
                return Err(Refusal::Exists { what: "template", name });
            }
            if let Some(meta_id) = &template.meta_id
                && of_channel.by_meta_id.insert(meta_id.clone(), template.clone()).is_some()
            {
                return Err(Refusal::Exists { what: "template id", name: meta_id.to_string() });
            }
        }
        Ok(())
    }
}

fn built_in(name: &Name) -> Option<&'static Arc<Policy>> {
    SYSTEM_POLICIES.iter().find(|policy| policy.name == *name)
}

fn attached(contents: &Contents, account: &Uid, names: &[Name]) -> Result<(), Refusal> {
    limit(names.len(), POLICIES_ATTACHED_MAX, "policies attached")?;
    for name in names {
        let is_known = built_in(name).is_some()
            || contents.policies.contains_key(&(account.clone(), name.clone()));
        known(is_known, "policy", name)?;
    }
    Ok(())
}

fn limit(count: usize, max: usize, what: &'static str) -> Result<(), Refusal> {
    if count > max { Err(Refusal::Limit { what, max }) } else { Ok(()) }
}

fn known(is_known: bool, what: &'static str, name: &impl ToString) -> Result<(), Refusal> {
    if is_known { Ok(()) } else { Err(Refusal::Missing { what, name: name.to_string() }) }
}

fn not_empty(what: &'static str, name: &impl ToString, text: &Text) -> Result<(), Refusal> {
    if text.as_str().is_empty() {
        let rule = "its names and ids must not be empty";
        return Err(Refusal::Invalid { what, name: name.to_string(), rule });
    }
    Ok(())
}
