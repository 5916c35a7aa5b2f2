//! One thing done to the directory, and the plain contents it is done to.
//!
//! [`Contents::apply`] answers only for itself: what is added is new, what is changed or removed
//! is there. Whether the outcome is whole is checked by [`super::Snapshot`], once for all changes
//! made together. To add a change, add a variant: the match in `apply` does not compile until it
//! is handled.

use std::collections::BTreeMap;
use std::sync::Arc;

use twoticks_core::clock::Time;
use twoticks_core::ids::{ChannelId, PhoneNumber, Text};

use super::Refusal;
use super::model::{
    AccessKey, Account, Channel, Connection, IsvCode, Number, Owner, Policy, Session,
    TemplateRecord, User,
};
use super::names::{AccessKeyId, Name, Uid, UserId};
use super::pass_on::{PassOn, Step};

/// One thing to do. `Add` is refused if there is one already, `Update` and `Remove` if there is
/// none; `Put` takes the place of what is there.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new account.
    AddAccount(Account),
    /// Another name, or whether it has subscribed.
    UpdateAccount(Account),
    /// Takes an account away; it must be empty.
    RemoveAccount(Uid),
    /// A new user.
    AddUser(User),
    /// Other policies, another name, or whether it is ISV-scoped. Its account never changes.
    UpdateUser(User),
    /// Takes a user away, with its keys and `IsvCode`s.
    RemoveUser(UserId),
    /// A new access key.
    AddKey(AccessKey),
    /// Lets a key be used, or not.
    SetKeyActive(AccessKeyId, bool),
    /// Lets a key sign with version 1, or not.
    SetKeyV1Allowed(AccessKeyId, bool),
    /// Takes a key away.
    RemoveKey(AccessKeyId),
    /// A new session.
    AddSession(Session),
    /// Ends a session.
    RemoveSession(AccessKeyId),
    /// Forgets all sessions that have expired by then. Until it is forgotten, a session is known
    /// to have expired.
    RemoveSessionsExpiredBy(Time),
    /// A new policy of an account.
    AddPolicy(Policy),
    /// Another document for a policy.
    UpdatePolicy(Policy),
    /// Takes a policy away; it must not be attached.
    RemovePolicy(Uid, Name),
    /// The code of a user for a channel.
    PutIsvCode(IsvCode),
    /// Takes the code of a user for a channel away.
    RemoveIsvCode(UserId, ChannelId),
    /// A new channel.
    AddChannel(Channel),
    /// Anything of a channel but its account.
    UpdateChannel(Channel),
    /// How a channel is connected, and nothing else of it.
    SetConnection(ChannelId, Option<Connection>),
    /// Where what WhatsApp tells of a channel is passed on to.
    PassOn(ChannelId, Step),
    /// Takes a channel away, with its numbers, templates and `IsvCode`s. What it counted stays.
    RemoveChannel(ChannelId),
    /// A number and the channel it is with from now on.
    PutNumber(Number),
    /// Takes a number away.
    RemoveNumber(PhoneNumber),
    /// A template as it is from now on.
    PutTemplate(TemplateRecord),
    /// Takes a template (channel, code, language) away.
    RemoveTemplate(ChannelId, Text, Text),
}

/// The contents, by their names; whole only once a snapshot was made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) accounts: BTreeMap<Uid, Arc<Account>>,
    pub(crate) users: BTreeMap<UserId, Arc<User>>,
    pub(crate) keys: BTreeMap<AccessKeyId, Arc<AccessKey>>,
    pub(crate) sessions: BTreeMap<AccessKeyId, Arc<Session>>,
    pub(crate) policies: BTreeMap<(Uid, Name), Arc<Policy>>,
    pub(crate) isv_codes: BTreeMap<(UserId, ChannelId), Arc<IsvCode>>,
    pub(crate) channels: BTreeMap<ChannelId, Arc<Channel>>,
    pub(crate) numbers: BTreeMap<PhoneNumber, Arc<Number>>,
    pub(crate) templates: BTreeMap<(ChannelId, Text, Text), Arc<TemplateRecord>>,
    pub(crate) pass_on: BTreeMap<ChannelId, Arc<PassOn>>,
}

impl Contents {
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), Refusal> {
        match change {
            Change::AddAccount(it) => add(&mut self.accounts, "account", it.uid.clone(), it),
            Change::UpdateAccount(it) => update(&mut self.accounts, "account", &it.uid.clone(), it),
            Change::RemoveAccount(uid) => self.remove_account(&uid),
            Change::AddUser(it) => add(&mut self.users, "user", it.id.clone(), it),
            Change::UpdateUser(it) => self.update_user(it),
            Change::RemoveUser(id) => self.remove_user(&id),
            Change::AddKey(it) => add(&mut self.keys, "access key", it.id.clone(), it),
            Change::SetKeyActive(id, active) => self.change_key(&id, |key| key.active = active),
            Change::SetKeyV1Allowed(id, allowed) => {
                self.change_key(&id, |key| key.v1_allowed = allowed)
            }
            Change::RemoveKey(id) => remove(&mut self.keys, "access key", &id),
            Change::AddSession(it) => add(&mut self.sessions, "session", it.id.clone(), it),
            Change::RemoveSession(id) => remove(&mut self.sessions, "session", &id),
            Change::RemoveSessionsExpiredBy(now) => {
                self.sessions.retain(|_, session| session.expires > now);
                Ok(())
            }
            Change::AddPolicy(it) => {
                let key = (policy_account(&it)?, it.name.clone());
                add_named(&mut self.policies, "policy", it.name.to_string(), key, it)
            }
            Change::UpdatePolicy(it) => {
                let key = (policy_account(&it)?, it.name.clone());
                let name = it.name.to_string();
                match self.policies.get_mut(&key) {
                    Some(known) => *known = Arc::new(it),
                    None => return Err(Refusal::Missing { what: "policy", name }),
                }
                Ok(())
            }
            Change::RemovePolicy(uid, name) => self.remove_policy(uid, name),
            Change::PutIsvCode(it) => {
                self.isv_codes.insert((it.user.clone(), it.channel.clone()), Arc::new(it));
                Ok(())
            }
            Change::RemoveIsvCode(user, channel) => {
                let name = format!("{user} for {channel}");
                found(self.isv_codes.remove(&(user, channel)), "`IsvCode`", name)
            }
            Change::AddChannel(it) => add(&mut self.channels, "channel", it.id.clone(), it),
            Change::UpdateChannel(it) => self.update_channel(it),
            Change::SetConnection(id, connection) => match self.channels.get_mut(&id) {
                Some(known) => {
                    Arc::make_mut(known).connection = connection;
                    Ok(())
                }
                None => Err(Refusal::Missing { what: "channel", name: id.to_string() }),
            },
            Change::PassOn(id, step) => self.pass_on(id, step),
            Change::RemoveChannel(id) => self.remove_channel(&id),
            Change::PutNumber(it) => self.put_number(it),
            Change::RemoveNumber(digits) => self.remove_number(&digits),
            Change::PutTemplate(it) => {
                let key = (it.channel.clone(), it.code.clone(), it.language.clone());
                let it = it.after(self.templates.get(&key));
                self.templates.insert(key, Arc::new(it));
                Ok(())
            }
            Change::RemoveTemplate(channel, code, language) => {
                let name = format!("{code} {language}");
                found(self.templates.remove(&(channel, code, language)), "template", name)
            }
        }
    }

    fn remove_account(&mut self, uid: &Uid) -> Result<(), Refusal> {
        let users = self.users.values().filter(|it| it.account == *uid).count();
        let keys = self.keys.values().filter(|it| it.owner == Owner::Root(uid.clone())).count();
        let sessions = self.sessions.values().filter(|it| it.account == *uid).count();
        let policies = self.policies.keys().filter(|(account, _)| account == uid).count();
        let channels = self.channels.values().filter(|it| it.account == *uid).count();
        for (count, what) in [
            (users, "users"),
            (keys, "access keys"),
            (sessions, "sessions"),
            (policies, "policies"),
            (channels, "channels"),
        ] {
            if count > 0 {
                let by = format!("{count} {what}");
                return Err(Refusal::InUse { what: "account", name: uid.to_string(), by });
            }
        }
        remove(&mut self.accounts, "account", uid)
    }

    fn update_user(&mut self, user: User) -> Result<(), Refusal> {
        if self.users.get(&user.id).is_some_and(|known| known.account != user.account) {
            let rule = "a user stays with its account; add a new one there";
            return Err(Refusal::Invalid { what: "user", name: user.id.to_string(), rule });
        }
        update(&mut self.users, "user", &user.id.clone(), user)
    }

    fn remove_user(&mut self, id: &UserId) -> Result<(), Refusal> {
        remove(&mut self.users, "user", id)?;
        self.keys.retain(|_, key| key.owner != Owner::User(id.clone()));
        self.isv_codes.retain(|(user, _), _| user != id);
        Ok(())
    }

    fn change_key(
        &mut self,
        id: &AccessKeyId,
        change: impl FnOnce(&mut AccessKey),
    ) -> Result<(), Refusal> {
        match self.keys.get_mut(id) {
            Some(key) => {
                change(Arc::make_mut(key));
                Ok(())
            }
            None => Err(Refusal::Missing { what: "access key", name: id.to_string() }),
        }
    }

    fn remove_policy(&mut self, uid: Uid, name: Name) -> Result<(), Refusal> {
        let text = name.to_string();
        let user = self.users.values().find(|it| it.account == uid && it.policies.contains(&name));
        let session =
            self.sessions.values().find(|it| it.account == uid && it.policies.contains(&name));
        let by = user
            .map(|it| format!("the user `{}`", it.name))
            .or_else(|| session.map(|it| format!("the session `{}`", it.id)));
        if let Some(by) = by {
            return Err(Refusal::InUse { what: "policy", name: text, by });
        }
        found(self.policies.remove(&(uid, name)), "policy", text)
    }

    fn update_channel(&mut self, channel: Channel) -> Result<(), Refusal> {
        if self.channels.get(&channel.id).is_some_and(|known| known.account != channel.account) {
            let rule = "a channel stays with its account; add a new one there";
            return Err(Refusal::Invalid { what: "channel", name: channel.id.to_string(), rule });
        }
        update(&mut self.channels, "channel", &channel.id.clone(), channel)
    }

    fn remove_channel(&mut self, id: &ChannelId) -> Result<(), Refusal> {
        remove(&mut self.channels, "channel", id)?;
        self.numbers.retain(|_, number| number.channel != *id);
        self.templates.retain(|(channel, _, _), _| channel != id);
        self.isv_codes.retain(|(_, channel), _| channel != id);
        self.pass_on.remove(id);
        Ok(())
    }

    fn put_number(&mut self, number: Number) -> Result<(), Refusal> {
        self.leave_callbacks(&number.phone_number, Some(&number.channel));
        let digits = number.phone_number.clone();
        let number = number.after(self.numbers.get(&digits));
        self.numbers.insert(digits, Arc::new(number));
        Ok(())
    }

    fn remove_number(&mut self, digits: &PhoneNumber) -> Result<(), Refusal> {
        self.leave_callbacks(digits, None);
        remove(&mut self.numbers, "phone number", digits)
    }

    fn pass_on(&mut self, id: ChannelId, step: Step) -> Result<(), Refusal> {
        if !self.channels.contains_key(&id) {
            return Err(Refusal::Missing { what: "channel", name: id.to_string() });
        }
        let mut pass_on = self.pass_on.remove(&id).map(Arc::unwrap_or_clone).unwrap_or_default();
        pass_on.take(step)?;
        if !pass_on.is_empty() {
            self.pass_on.insert(id, Arc::new(pass_on));
        }
        Ok(())
    }

    /// A number that is with `next` from now on has no callbacks of its own elsewhere.
    fn leave_callbacks(&mut self, number: &PhoneNumber, next: Option<&ChannelId>) {
        let Some(before) = self.numbers.get(number).map(|known| &known.channel) else { return };
        if Some(before) != next
            && let Some(pass_on) = self.pass_on.get_mut(before)
        {
            Arc::make_mut(pass_on).of_numbers.remove(number);
        }
    }
}

fn policy_account(policy: &Policy) -> Result<Uid, Refusal> {
    policy.account.clone().ok_or(Refusal::Invalid {
        what: "policy",
        name: policy.name.to_string(),
        rule: "one that is kept belongs to an account",
    })
}

fn add<K: Ord + ToString, V>(
    map: &mut BTreeMap<K, Arc<V>>,
    what: &'static str,
    key: K,
    value: V,
) -> Result<(), Refusal> {
    let name = key.to_string();
    add_named(map, what, name, key, value)
}

fn add_named<K: Ord, V>(
    map: &mut BTreeMap<K, Arc<V>>,
    what: &'static str,
    name: String,
    key: K,
    value: V,
) -> Result<(), Refusal> {
    if map.contains_key(&key) {
        return Err(Refusal::Exists { what, name });
    }
    map.insert(key, Arc::new(value));
    Ok(())
}

fn update<K: Ord + ToString, V>(
    map: &mut BTreeMap<K, Arc<V>>,
    what: &'static str,
    key: &K,
    value: V,
) -> Result<(), Refusal> {
    match map.get_mut(key) {
        Some(known) => {
            *known = Arc::new(value);
            Ok(())
        }
        None => Err(Refusal::Missing { what, name: key.to_string() }),
    }
}

fn remove<K: Ord + ToString, V>(
    map: &mut BTreeMap<K, V>,
    what: &'static str,
    key: &K,
) -> Result<(), Refusal> {
    found(map.remove(key), what, key.to_string())
}

fn found<V>(removed: Option<V>, what: &'static str, name: String) -> Result<(), Refusal> {
    removed.map(|_| ()).ok_or(Refusal::Missing { what, name })
}
