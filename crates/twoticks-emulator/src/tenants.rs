//! Who is in an emulated world from the start: an account, a user who may do everything, one who
//! may do nothing, a session of a role, and channels. Made once; found again afterwards.

use std::sync::Arc;

use twoticks_core::clock::{SECOND, Time};
use twoticks_core::ids::{InvalidId, PhoneNumber, Text};
use twoticks_server::access::sessions::{self, SessionError};
use twoticks_server::app::App;
use twoticks_store::directory::mint::Mint;
use twoticks_store::directory::model::{
    AccessKey, Account, Channel, FULL_ACCESS, Number, Owner, Session, StatusSource, User,
};
use twoticks_store::directory::names::Name;
use twoticks_store::directory::{self, Change, Snapshot};

/// A session with less than this left is replaced, in milliseconds.
const SESSION_LEFT_MIN: i64 = 6 * 60 * 60 * SECOND;

/// The user who may do everything, and the one who may do nothing.
const USERS: [&str; 2] = ["admin", "denied"];

/// A channel that is to be there.
#[derive(Clone, Copy, Debug)]
pub struct ChannelPlan<'a> {
    /// What people call it.
    pub name: &'a str,
    /// Meta's id of the business account; by it the channel is found again.
    pub waba_id: &'a str,
    /// Its numbers: the digits, and Meta's ids.
    pub numbers: &'a [(&'a str, &'a str)],
}

/// Who is there.
#[derive(Clone, Debug)]
pub struct Tenants {
    /// The account.
    pub account: Arc<Account>,
    /// The key of the user who may do everything.
    pub admin: Arc<AccessKey>,
    /// The key of the user who may do nothing.
    pub denied: Arc<AccessKey>,
    /// A session that may do everything.
    pub session: Arc<Session>,
    /// The channels, in the order of their plans.
    pub channels: Vec<Arc<Channel>>,
}

/// Why they are not there.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// Something of what should be there was taken away.
    #[error("the folder's {0} is not there any more; remove the folder and begin anew")]
    Gone(&'static str),
    /// A name in a plan will not do.
    #[error(transparent)]
    Name(#[from] InvalidId),
    /// The directory does not take them.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// The session cannot be made.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// The account that was there from the start. Keys that name accounts of their own, and people,
/// may have added others.
pub(crate) fn first_account(snapshot: &Snapshot) -> Option<&Arc<Account>> {
    let has = |account: &Account, user| snapshot.user_by_name(&account.uid, user).is_some();
    let founded = |account: &&Arc<Account>| USERS.into_iter().all(|user| has(account, user));
    snapshot.accounts().find(founded).or_else(|| snapshot.accounts().next())
}

/// Finds them, or makes those who are missing.
///
/// # Errors
/// [`TenantError`].
pub async fn ready(
    app: &App,
    mint: &mut Mint,
    account: &str,
    plans: &[ChannelPlan<'_>],
) -> Result<Tenants, TenantError> {
    let now = app.callers_clock.now();
    if app.directory.snapshot().accounts().next().is_none() {
        app.directory.change(founding(mint, account, plans)?).await?;
    }
    let snapshot = app.directory.snapshot();
    let account = first_account(&snapshot).ok_or(TenantError::Gone("account"))?;
    if session(&snapshot, account, now).is_none() {
        let wanted = sessions::Wanted {
            account: account.uid.clone(),
            role: Name::new("visitor")?,
            name: Name::new("visit")?,
            policies: vec![Name::new(FULL_ACCESS)?],
            policy: None,
            seconds: sessions::SECONDS_MAX,
        };
        let session = sessions::mint(mint, wanted, now)?;
        let changes = vec![Change::RemoveSessionsExpiredBy(now), Change::AddSession(session)];
        app.directory.change(changes).await?;
    }
    find(&app.directory.snapshot(), now, plans)
}

impl Tenants {
    /// The changes that make them in an empty directory, with the same keys and secrets.
    #[must_use]
    pub fn founding(&self, snapshot: &Snapshot) -> Vec<Change> {
        let Self { account, admin, denied, session, channels } = self;
        let users = [admin, denied].into_iter().filter_map(|key| match &key.owner {
            Owner::User(user) => snapshot.user(user.as_str()),
            Owner::Root(_) => None,
        });
        let mut changes = vec![Change::AddAccount(Account::clone(account))];
        changes.extend(users.map(|user| Change::AddUser(User::clone(user))));
        changes.extend([admin, denied].map(|key| Change::AddKey(AccessKey::clone(key))));
        changes.push(Change::AddSession(Session::clone(session)));
        for channel in channels {
            changes.push(Change::AddChannel(Channel::clone(channel)));
        }
        changes
    }
}

/// The newest session, if it is good for a while.
fn session(snapshot: &Snapshot, account: &Account, now: Time) -> Option<Arc<Session>> {
    let sessions = snapshot.sessions().filter(|session| session.account == account.uid);
    let newest = sessions.max_by_key(|session| session.expires)?;
    (newest.expires >= now.plus(SESSION_LEFT_MIN)).then(|| Arc::clone(newest))
}

fn find(snapshot: &Snapshot, now: Time, plans: &[ChannelPlan<'_>]) -> Result<Tenants, TenantError> {
    let account = first_account(snapshot).ok_or(TenantError::Gone("account"))?;
    let key = |user: &str| {
        let user = snapshot.user_by_name(&account.uid, user)?;
        snapshot.keys_of(&Owner::User(user.id.clone())).first().cloned()
    };
    let channel = |plan: &ChannelPlan<'_>| {
        let waba_id = Text::new(plan.waba_id)?;
        let found = snapshot.channels_of_waba(&waba_id).first().cloned();
        found.ok_or(TenantError::Gone("channel"))
    };
    Ok(Tenants {
        account: Arc::clone(account),
        admin: key("admin").ok_or(TenantError::Gone("user `admin`"))?,
        denied: key("denied").ok_or(TenantError::Gone("user `denied`"))?,
        session: session(snapshot, account, now).ok_or(TenantError::Gone("session"))?,
        channels: plans.iter().map(channel).collect::<Result<_, _>>()?,
    })
}

fn founding(
    mint: &mut Mint,
    name: &str,
    plans: &[ChannelPlan<'_>],
) -> Result<Vec<Change>, TenantError> {
    let account = Account { uid: mint.uid(), name: Text::new(name)?, subscribed: true };
    let mut changes = vec![Change::AddAccount(account.clone())];
    for (user, policies) in USERS.into_iter().zip([vec![Name::new(FULL_ACCESS)?], Vec::new()]) {
        let user = User {
            id: mint.user_id(),
            account: account.uid.clone(),
            name: Name::new(user)?,
            isv_scoped: false,
            policies,
        };
        let key = AccessKey {
            id: mint.access_key_id(),
            secret: mint.key_secret(),
            owner: Owner::User(user.id.clone()),
            active: true,
            rsa_public_key: None,
            v1_allowed: true,
        };
        changes.extend([Change::AddUser(user), Change::AddKey(key)]);
    }
    // One app serves them all, as one app of a provider does.
    let (app_secret, verify_token) = (mint.path_secret(), mint.path_secret());
    for plan in plans {
        let channel = Channel {
            id: mint.channel_id(),
            account: account.uid.clone(),
            name: Text::new(plan.name)?,
            waba_id: Some(Text::new(plan.waba_id)?),
            app_secrets: vec![app_secret.clone()],
            verify_token: verify_token.clone(),
            receipts_secret: mint.path_secret(),
            status_source: StatusSource::CloudApi,
            connection: None,
        };
        let id = channel.id.clone();
        changes.push(Change::AddChannel(channel));
        for (phone_number, phone_number_id) in plan.numbers {
            changes.push(Change::PutNumber(Number {
                phone_number: PhoneNumber::new(phone_number)?,
                phone_number_id: Text::new(phone_number_id)?,
                channel: id.clone(),
                graph: None,
            }));
        }
    }
    Ok(changes)
}
