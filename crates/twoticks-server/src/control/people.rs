//! Accounts, RAM users, access keys, sessions and `IsvCode`s.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory::mint::Mint;
use twoticks_store::directory::model::{AccessKey, Account, IsvCode, Owner, Session, User};
use twoticks_store::directory::names::{AccessKeyId, Name, Uid};
use twoticks_store::directory::{Change, Snapshot};
use twoticks_wire::signature::Credential;

use super::{ControlError, mint};
use crate::access::sessions;
use crate::app::App;
use crate::ui;

/// What can be done to people. `account` may be left out where there is only one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Makes an account.
    AddAccount { name: Text },
    /// Lists accounts.
    ListAccounts,
    /// Takes an account away; it must be empty. What its channels counted stays.
    RemoveAccount { account: Uid },
    /// Says whether an account has subscribed to the product.
    SetSubscribed { account: Option<Uid>, subscribed: bool },
    /// Makes a RAM user.
    AddUser { account: Option<Uid>, name: Name, isv_scoped: bool, policies: Vec<Name> },
    /// Lists RAM users.
    ListUsers { account: Option<Uid> },
    /// Takes a RAM user away, with its keys.
    RemoveUser { account: Option<Uid>, name: Name },
    /// Makes an access key, of a user or of the account itself.
    AddKey {
        account: Option<Uid>,
        user: Option<Name>,
        rsa_public_key: Option<String>,
        v1_allowed: bool,
    },
    /// Lists access keys and sessions, without secrets.
    ListKeys { account: Option<Uid> },
    /// Lets a key be used, or not.
    SetKeyActive { id: AccessKeyId, active: bool },
    /// Lets a key sign with version 1, or not.
    SetKeyV1Allowed { id: AccessKeyId, allowed: bool },
    /// Takes a key away, or ends a session.
    RemoveKey { id: AccessKeyId },
    /// Mints temporary credentials.
    AddSession { account: Option<Uid>, session: NewSession },
    /// Gives a user a code for a channel; an older one is replaced.
    PutIsvCode { account: Option<Uid>, user: Name, channel: ChannelId },
    /// Takes the code of a user for a channel away.
    RemoveIsvCode { account: Option<Uid>, user: Name, channel: ChannelId },
    /// Makes a link to an account's dashboard, or to the page there that sets up its channels.
    DashboardLink {
        account: Option<Uid>,
        #[serde(default)]
        setup: bool,
    },
}

/// A session to be minted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// The role.
    pub role: Name,
    /// What whoever took the role calls this session.
    pub name: Name,
    /// The policies of the role.
    pub policies: Vec<Name>,
    /// A policy document that narrows the session further.
    pub policy: Option<String>,
    /// How long it lasts, in seconds.
    pub seconds: i64,
}

pub(super) async fn execute(app: &App, command: Command) -> Result<Value, ControlError> {
    match command {
        Command::AddAccount { name } => add_account(app, name).await,
        Command::ListAccounts => Ok(list_accounts(app)),
        Command::RemoveAccount { account } => {
            app.directory.change(vec![Change::RemoveAccount(account.clone())]).await?;
            Ok(json!({"removed": account}))
        }
        Command::SetSubscribed { account, subscribed } => {
            set_subscribed(app, account.as_ref(), subscribed).await
        }
        Command::AddUser { account, name, isv_scoped, policies } => {
            add_user(app, account.as_ref(), name, isv_scoped, policies).await
        }
        Command::ListUsers { account } => list_users(app, account.as_ref()),
        Command::RemoveUser { account, name } => remove_user(app, account.as_ref(), &name).await,
        Command::AddKey { account, user, rsa_public_key, v1_allowed } => {
            add_key(app, account.as_ref(), user, rsa_public_key, v1_allowed).await
        }
        Command::ListKeys { account } => list_keys(app, account.as_ref()),
        Command::SetKeyActive { id, active } => {
            let shown = json!({"access_key_id": id, "active": active});
            change_key(app, Change::SetKeyActive(id, active), shown).await
        }
        Command::SetKeyV1Allowed { id, allowed } => {
            let shown = json!({"access_key_id": id, "v1_allowed": allowed});
            change_key(app, Change::SetKeyV1Allowed(id, allowed), shown).await
        }
        Command::RemoveKey { id } => remove_key(app, id).await,
        Command::AddSession { account, session } => {
            add_session(app, account.as_ref(), session).await
        }
        Command::PutIsvCode { account, user, channel } => {
            put_isv_code(app, account.as_ref(), &user, channel).await
        }
        Command::RemoveIsvCode { account, user, channel } => {
            remove_isv_code(app, account.as_ref(), &user, channel).await
        }
        Command::DashboardLink { account, setup } => dashboard_link(app, account.as_ref(), setup),
    }
}

/// The account that is meant: the given one, or the only one.
pub(super) fn account(
    snapshot: &Snapshot,
    given: Option<&Uid>,
) -> Result<Arc<Account>, ControlError> {
    if let Some(uid) = given {
        return snapshot.account(uid.as_str()).cloned().ok_or_else(|| ControlError::Missing {
            what: "account",
            name: uid.to_string(),
            remedy: "`twoticks key account list` shows those there are",
        });
    }
    let mut accounts = snapshot.accounts();
    match (accounts.next(), accounts.next()) {
        (None, _) => Err(ControlError::NoAccount),
        (Some(only), None) => Ok(only.clone()),
        _ => {
            let names: Vec<String> = snapshot
                .accounts()
                .take(5)
                .map(|account| format!("`{}` ({})", account.uid, account.name))
                .collect();
            Err(ControlError::SeveralAccounts(names.join(", ")))
        }
    }
}

/// The user of that name.
pub(super) fn user(
    snapshot: &Snapshot,
    account: &Account,
    name: &Name,
) -> Result<Arc<User>, ControlError> {
    snapshot.user_by_name(&account.uid, name.as_str()).cloned().ok_or_else(|| {
        ControlError::Missing {
            what: "user",
            name: name.to_string(),
            remedy: "`twoticks key user list` shows those there are",
        }
    })
}

async fn add_account(app: &App, name: Text) -> Result<Value, ControlError> {
    if name.as_str().is_empty() {
        return Err(ControlError::Unfit { what: "the name", why: "it must not be empty".into() });
    }
    let account = Account { uid: mint(Mint::uid), name, subscribed: true };
    let shown = shown_account(&account);
    app.directory.change(vec![Change::AddAccount(account)]).await?;
    Ok(shown)
}

fn shown_account(account: &Account) -> Value {
    json!({"account": account.uid, "name": account.name, "subscribed": account.subscribed})
}

fn list_accounts(app: &App) -> Value {
    app.directory.snapshot().accounts().map(|account| shown_account(account)).collect()
}

async fn set_subscribed(
    app: &App,
    given: Option<&Uid>,
    subscribed: bool,
) -> Result<Value, ControlError> {
    let account = account(&app.directory.snapshot(), given)?;
    let changed = Account { subscribed, ..Account::clone(&account) };
    let shown = shown_account(&changed);
    app.directory.change(vec![Change::UpdateAccount(changed)]).await?;
    Ok(shown)
}

async fn add_user(
    app: &App,
    given: Option<&Uid>,
    name: Name,
    isv_scoped: bool,
    policies: Vec<Name>,
) -> Result<Value, ControlError> {
    let account = account(&app.directory.snapshot(), given)?;
    let id = mint(Mint::user_id);
    let user = User { id, account: account.uid.clone(), name, isv_scoped, policies };
    let shown = shown_user(&user);
    app.directory.change(vec![Change::AddUser(user)]).await?;
    Ok(shown)
}

pub(super) fn shown_user(user: &User) -> Value {
    json!({
        "user": user.name, "user_id": user.id, "account": user.account,
        "isv_scoped": user.isv_scoped, "policies": user.policies,
    })
}

fn list_users(app: &App, given: Option<&Uid>) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let accounts = chosen_accounts(&snapshot, given)?;
    let users = accounts.iter().flat_map(|account| snapshot.users_of(&account.uid));
    Ok(users.map(|user| shown_user(user)).collect())
}

/// For lists: the given account, or all.
pub(super) fn chosen_accounts(
    snapshot: &Snapshot,
    given: Option<&Uid>,
) -> Result<Vec<Arc<Account>>, ControlError> {
    match given {
        Some(_) => Ok(vec![account(snapshot, given)?]),
        None => Ok(snapshot.accounts().cloned().collect()),
    }
}

async fn remove_user(app: &App, given: Option<&Uid>, name: &Name) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let user = user(&snapshot, &*account(&snapshot, given)?, name)?;
    app.directory.change(vec![Change::RemoveUser(user.id.clone())]).await?;
    Ok(json!({"removed": name}))
}

async fn add_key(
    app: &App,
    given: Option<&Uid>,
    user_name: Option<Name>,
    rsa_public_key: Option<String>,
    v1_allowed: bool,
) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let account = account(&snapshot, given)?;
    let owner = match &user_name {
        Some(name) => Owner::User(user(&snapshot, &account, name)?.id.clone()),
        None => Owner::Root(account.uid.clone()),
    };
    if let Some(pem) = &rsa_public_key {
        Credential::rsa_public_key(pem)
            .map_err(|error| ControlError::Unfit { what: "the key", why: error.to_string() })?;
    }
    let (id, secret) = mint(|mint| (mint.access_key_id(), mint.key_secret()));
    let mut shown = json!({"access_key_id": id, "account": account.uid, "user": user_name});
    if rsa_public_key.is_none()
        && let Some(shown) = shown.as_object_mut()
    {
        shown.insert("access_key_secret".to_owned(), secret.expose().into());
    }
    let key = AccessKey {
        id,
        secret,
        owner,
        active: true,
        rsa_public_key: rsa_public_key.map(Into::into),
        v1_allowed,
    };
    app.directory.change(vec![Change::AddKey(key)]).await?;
    Ok(shown)
}

fn list_keys(app: &App, given: Option<&Uid>) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let mut keys = Vec::new();
    for account in chosen_accounts(&snapshot, given)? {
        let root = (Owner::Root(account.uid.clone()), None);
        let users = snapshot
            .users_of(&account.uid)
            .map(|user| (Owner::User(user.id.clone()), Some(user.name.clone())));
        for (owner, user) in std::iter::once(root).chain(users) {
            keys.extend(snapshot.keys_of(&owner).iter().map(|key| {
                json!({
                    "access_key_id": key.id, "account": account.uid, "user": user,
                    "active": key.active, "v1_allowed": key.v1_allowed,
                    "rsa": key.rsa_public_key.is_some(),
                })
            }));
        }
        let sessions = snapshot.sessions().filter(|session| session.account == account.uid);
        keys.extend(sessions.map(|session| {
            json!({
                "access_key_id": session.id, "account": account.uid, "role": session.role,
                "session": session.name, "active": session.expires > app.callers_clock.now(),
                "expires": session.expires,
            })
        }));
    }
    Ok(keys.into())
}

async fn change_key(app: &App, change: Change, shown: Value) -> Result<Value, ControlError> {
    app.directory.change(vec![change]).await?;
    Ok(shown)
}

async fn remove_key(app: &App, id: AccessKeyId) -> Result<Value, ControlError> {
    let is_session = app.directory.snapshot().session(id.as_str()).is_some();
    let change =
        if is_session { Change::RemoveSession(id.clone()) } else { Change::RemoveKey(id.clone()) };
    app.directory.change(vec![change]).await?;
    Ok(json!({"removed": id}))
}

async fn add_session(
    app: &App,
    given: Option<&Uid>,
    new: NewSession,
) -> Result<Value, ControlError> {
    let account = account(&app.directory.snapshot(), given)?;
    let NewSession { role, name, policies, policy, seconds } = new;
    let now = app.callers_clock.now();
    let wanted = sessions::Wanted {
        account: account.uid.clone(),
        role,
        name,
        policies,
        policy: policy.as_deref(),
        seconds,
    };
    let session = mint(|mint| sessions::mint(mint, wanted, now))
        .map_err(|error| ControlError::Unfit { what: "the session", why: error.to_string() })?;
    let shown = shown_session(&session);
    let changes = vec![Change::RemoveSessionsExpiredBy(now), Change::AddSession(session)];
    app.directory.change(changes).await?;
    Ok(shown)
}

fn shown_session(session: &Session) -> Value {
    json!({
        "access_key_id": session.id, "access_key_secret": session.secret.expose(),
        "security_token": session.token.expose(), "expires": session.expires,
        "account": session.account, "role": session.role, "session": session.name,
    })
}

async fn put_isv_code(
    app: &App,
    given: Option<&Uid>,
    user_name: &Name,
    channel: ChannelId,
) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let user = user(&snapshot, &*account(&snapshot, given)?, user_name)?;
    let code = mint(Mint::path_secret);
    let shown = json!({"user": user.name, "channel": channel, "isv_code": code.expose()});
    let isv_code = IsvCode { user: user.id.clone(), channel, code };
    app.directory.change(vec![Change::PutIsvCode(isv_code)]).await?;
    Ok(shown)
}

async fn remove_isv_code(
    app: &App,
    given: Option<&Uid>,
    user_name: &Name,
    channel: ChannelId,
) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let user = user(&snapshot, &*account(&snapshot, given)?, user_name)?;
    app.directory.change(vec![Change::RemoveIsvCode(user.id.clone(), channel.clone())]).await?;
    Ok(json!({"removed": channel, "user": user_name}))
}

/// A path that lets whoever opens it see the account's pages, for a while, and with `setup` change
/// its channels as well.
fn dashboard_link(app: &App, given: Option<&Uid>, setup: bool) -> Result<Value, ControlError> {
    let account = account(&app.directory.snapshot(), given)?;
    let now = app.callers_clock.now();
    let path = if setup {
        format!("/ui/setup?{}", ui::setup_link(&app.keys, now, &account.uid))
    } else {
        format!("/ui/?{}", ui::link(&app.keys, now, &account.uid))
    };
    Ok(json!({"path": path, "account": account.uid}))
}
