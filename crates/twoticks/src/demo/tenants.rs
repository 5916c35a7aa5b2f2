//! Who is in the demo: an account, a user who may do everything, one who may do nothing, a session
//! of a role, and a channel with its numbers and templates. Made once; found again on a second run.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use twoticks_core::clock::{SECOND, Time};
use twoticks_core::event::{Button, ButtonKind};
use twoticks_core::ids::{PhoneNumber, Text};
use twoticks_server::access::sessions;
use twoticks_server::app::App;
use twoticks_server::control::channels::NewTemplate;
use twoticks_server::control::{Command, channels, execute};
use twoticks_store::directory::mint::Mint;
use twoticks_store::directory::model::{
    AccessKey, Account, Channel, FULL_ACCESS, Number, Owner, Session, StatusSource, User,
};
use twoticks_store::directory::names::Name;
use twoticks_store::directory::{Change, Snapshot};

use super::story::{NUMBERS, TEMPLATES};

/// A session with less than this left is replaced when the demo starts, in milliseconds.
const SESSION_LEFT_MIN: i64 = 6 * 60 * 60 * SECOND;

/// Who is in the demo.
pub(super) struct Tenants {
    pub(super) account: Arc<Account>,
    pub(super) admin: Arc<AccessKey>,
    pub(super) denied: Arc<AccessKey>,
    pub(super) session: Arc<Session>,
    pub(super) channel: Arc<Channel>,
}

fn name(text: &str) -> Result<Name> {
    Ok(Name::new(text)?)
}

/// Finds them, or makes those who are missing.
pub(super) async fn make(app: &App, mint: &mut Mint) -> Result<Tenants> {
    let now = app.clock.now();
    if app.directory.snapshot().accounts().next().is_none() {
        found(app, mint).await?;
    }
    if session(&app.directory.snapshot(), now).is_none() {
        let snapshot = app.directory.snapshot();
        let account = snapshot.accounts().next().context("the demo has no account")?;
        let wanted = sessions::Wanted {
            account: account.uid.clone(),
            role: name("demo")?,
            name: name("visitor")?,
            policies: vec![name(FULL_ACCESS)?],
            policy: None,
            seconds: sessions::SECONDS_MAX,
        };
        let session = sessions::mint(mint, wanted, now)?;
        app.directory
            .change(vec![Change::RemoveSessionsExpiredBy(now), Change::AddSession(session)])
            .await?;
    }
    find(&app.directory.snapshot(), now)
}

/// The newest session, if it is good for a while.
fn session(snapshot: &Snapshot, now: Time) -> Option<Arc<Session>> {
    let newest = snapshot.sessions().max_by_key(|session| session.expires)?;
    (newest.expires >= now.plus(SESSION_LEFT_MIN)).then(|| Arc::clone(newest))
}

fn find(snapshot: &Snapshot, now: Time) -> Result<Tenants> {
    let account = snapshot.accounts().next().context("the demo has no account")?;
    let key = |user: &str| {
        let user = snapshot.user_by_name(&account.uid, user)?;
        snapshot.keys_of(&Owner::User(user.id.clone())).first().cloned()
    };
    // Somebody may have added channels of their own: the demo's is the one with its numbers.
    let [(phone_number, _), ..] = NUMBERS;
    let number = snapshot.number(&PhoneNumber::new(phone_number)?);
    let channel = number.and_then(|number| snapshot.channel(&number.channel));
    Ok(Tenants {
        account: Arc::clone(account),
        admin: key("admin").context("the demo's user `admin` has no key")?,
        denied: key("denied").context("the demo's user `denied` has no key")?,
        session: session(snapshot, now).context("the demo has no session")?,
        channel: channel.cloned().context("the demo has no channel")?,
    })
}

async fn found(app: &App, mint: &mut Mint) -> Result<()> {
    let account = Account { uid: mint.uid(), name: Text::new("Demo")?, subscribed: true };
    let mut changes = Vec::new();
    for (user, policies) in [("admin", vec![name(FULL_ACCESS)?]), ("denied", Vec::new())] {
        let user = User {
            id: mint.user_id(),
            account: account.uid.clone(),
            name: name(user)?,
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
    let channel = Channel {
        id: mint.channel_id(),
        account: account.uid.clone(),
        name: Text::new("Demo shop")?,
        waba_id: Some(Text::new("100000000000001")?),
        app_secrets: vec![mint.path_secret()],
        verify_token: mint.path_secret(),
        receipts_secret: mint.path_secret(),
        status_source: StatusSource::CloudApi,
    };
    let id = channel.id.clone();
    changes.push(Change::AddChannel(channel));
    for (phone_number, phone_number_id) in NUMBERS {
        changes.push(Change::PutNumber(Number {
            phone_number: PhoneNumber::new(phone_number)?,
            phone_number_id: Text::new(phone_number_id)?,
            channel: id.clone(),
        }));
    }
    changes.insert(0, Change::AddAccount(account));
    app.directory.change(changes).await?;
    for template in &TEMPLATES {
        let buttons = template
            .quick_replies
            .iter()
            .map(|text| Ok(Button { kind: ButtonKind::QuickReply, text: Text::new(text)? }));
        let new = NewTemplate {
            channel: id.clone(),
            code: Text::new(template.code)?,
            language: Text::new(template.language)?,
            name: None,
            meta_id: None,
            category: template.category,
            buttons: buttons.collect::<Result<_>>()?,
        };
        let command = Command::Channels(channels::Command::PutTemplate(new));
        Box::pin(execute(app, command)).await?;
    }
    Ok(())
}
