//! Where what WhatsApp tells of a channel is passed on to. Addresses are not shown: they may have
//! secrets in them.

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twoticks_core::ids::{ChannelId, PhoneNumber};
use twoticks_store::directory::Change;
use twoticks_store::directory::mint::Mint;
use twoticks_store::directory::names::Secret;
use twoticks_store::directory::pass_on::{Callbacks, PassOn, Step, Wanted, Webhooks};

use super::channels::known;
use super::{ControlError, SecretText, mint};
use crate::app::App;
use crate::pass_on::book::{Counts, Stand};
use crate::pass_on::parcels::Form;

/// What can be done to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Says where receipts go; what is left out stays as it was.
    Receipts(Receipts),
    /// Forgets where receipts go: of the channel, or of a number, which then has the channel's.
    ForgetReceipts { channel: ChannelId, number: Option<PhoneNumber> },
    /// Has receipts signed, with a key that is made up if none is given; or not any more.
    Sign { channel: ChannelId, key: SigningKey },
    /// The webhooks go there too.
    AddWebhooks { channel: ChannelId, url: SecretText, key: SigningKey },
    /// The webhooks do not go there any more; by its address, or its id in the list.
    RemoveWebhooks { channel: ChannelId, to: SecretText },
    /// How all destinations stand.
    List { channel: Option<ChannelId> },
}

/// Where receipts are to go.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipts {
    /// Of which channel.
    pub channel: ChannelId,
    /// Of one of its numbers only.
    pub number: Option<PhoneNumber>,
    /// Where statuses go.
    pub status_url: Option<SecretText>,
    /// Where inbound messages go.
    pub inbound_url: Option<SecretText>,
    /// Whether they are posted at all.
    pub enabled: Option<bool>,
}

/// What is signed with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SigningKey {
    /// Nothing: it is not signed.
    None,
    /// A new one, which is shown once.
    New,
    /// This one.
    This(SecretText),
}

pub(super) async fn execute(app: &App, command: Command) -> Result<Value, ControlError> {
    match command {
        Command::Receipts(wanted) => receipts(app, wanted).await,
        Command::ForgetReceipts { channel, number } => {
            change(app, &channel, Step::Callbacks(number.clone(), None)).await?;
            Ok(json!({"channel": channel, "number": number, "forgotten": "receipts"}))
        }
        Command::Sign { channel, key } => {
            let (key, shown) = made(key)?;
            change(app, &channel, Step::ReceiptsKey(key)).await?;
            Ok(json!({"channel": channel, "key": shown}))
        }
        Command::AddWebhooks { channel, url, key } => {
            let url = fit(app, &url)?;
            let (key, shown) = made(key)?;
            let to = at(&url);
            change(app, &channel, Step::PutWebhooks(Webhooks { url, key })).await?;
            Ok(json!({"channel": channel, "to": to, "key": shown}))
        }
        Command::RemoveWebhooks { channel, to } => remove(app, &channel, &to).await,
        Command::List { channel } => list(app, channel.as_ref()),
    }
}

/// Makes a change of a channel that is there, and has it hold from now on.
async fn change(app: &App, channel: &ChannelId, step: Step) -> Result<(), ControlError> {
    known(&app.directory.snapshot(), channel)?;
    app.directory.change(vec![Change::PassOn(channel.clone(), step)]).await?;
    app.pass_on.changed(app).await;
    Ok(())
}

fn fit(app: &App, SecretText(url): &SecretText) -> Result<Secret, ControlError> {
    let why = app.pass_on.guard().url(url).err();
    match why {
        None => Ok(Secret::new(url)?),
        Some(why) => Err(ControlError::Unfit { what: "the address", why: why.to_string() }),
    }
}

/// The key, and how it is shown: only if it is new.
fn made(key: SigningKey) -> Result<(Option<Secret>, Value), ControlError> {
    match key {
        SigningKey::None => Ok((None, Value::Null)),
        SigningKey::This(SecretText(key)) => Ok((Some(Secret::new(&key)?), Value::Null)),
        SigningKey::New => {
            let key = mint(Mint::path_secret);
            let shown = key.expose().into();
            Ok((Some(key), shown))
        }
    }
}

async fn receipts(app: &App, wanted: Receipts) -> Result<Value, ControlError> {
    let Receipts { channel, number, status_url, inbound_url, enabled } = wanted;
    let snapshot = app.directory.snapshot();
    known(&snapshot, &channel)?;
    let of_channel =
        |of: &PhoneNumber| snapshot.number(of).is_some_and(|number| number.channel == channel);
    if let Some(missing) = number.as_ref().filter(|number| !of_channel(number)) {
        return Err(ControlError::Missing {
            what: "phone number of the channel",
            name: missing.to_string(),
            remedy: "`twoticks channel number list` shows those there are",
        });
    }
    let url = |url: Option<SecretText>| url.map(|url| fit(app, &url)).transpose();
    let (status_url, inbound_url) = (url(status_url)?, url(inbound_url)?);
    let wanted = Wanted { enabled, status_url, inbound_url };
    let none = PassOn::default();
    let known = snapshot.pass_on(&channel).map_or(&none, AsRef::as_ref);
    known.wanted(number.as_ref(), wanted.clone()).ok_or_else(|| {
        let why = "there is no address; --status-url or --inbound-url names one".to_owned();
        ControlError::Unfit { what: "turning receipts on", why }
    })?;
    change(app, &channel, Step::Change(number.clone(), wanted)).await?;
    let now = app.directory.snapshot();
    let now = now.pass_on(&channel).map_or(&none, AsRef::as_ref);
    let Callbacks { enabled, status_url, inbound_url } = match &number {
        Some(own) => now.of_numbers.get(own).unwrap_or(&now.callbacks),
        None => &now.callbacks,
    };
    Ok(json!({
        "channel": channel, "number": number, "enabled": enabled,
        "status": status_url.as_ref().map(at), "inbound": inbound_url.as_ref().map(at),
    }))
}

async fn remove(
    app: &App,
    channel: &ChannelId,
    SecretText(to): &SecretText,
) -> Result<Value, ControlError> {
    let stands = app.pass_on.stands(app);
    let is_meant = |stand: &&Stand| {
        let is_here = stand.to.channel == *channel && stand.to.form == Form::Webhooks;
        is_here && (stand.to.url.is(to) || stand.id.to_string() == *to)
    };
    let found = stands.iter().find(is_meant).ok_or_else(|| ControlError::Missing {
        what: "such destination of webhooks",
        name: channel.to_string(),
        remedy: "`twoticks channel pass-on list` shows those there are",
    })?;
    change(app, channel, Step::RemoveWebhooks(found.to.url.clone())).await?;
    Ok(json!({"channel": channel, "removed": found.id.to_string()}))
}

/// Where an address leads, without what may be secret in it.
fn at(url: &Secret) -> String {
    let origin = Url::parse(url.expose()).map(|url| url.origin().ascii_serialization());
    origin.map_or_else(|_| "…".to_owned(), |origin| format!("{origin}/…"))
}

fn list(app: &App, given: Option<&ChannelId>) -> Result<Value, ControlError> {
    if let Some(channel) = given {
        known(&app.directory.snapshot(), channel)?;
    }
    let now = app.clock.now();
    let stands = app.pass_on.stands(app).into_iter();
    let wanted = stands.filter(|stand| given.is_none_or(|channel| stand.to.channel == *channel));
    Ok(wanted
        .map(|stand| {
            let Counts { taken, failed, given_up, skipped } = stand.counts;
            let late = stand.oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0).max(0));
            json!({
                "channel": stand.to.channel, "form": stand.to.form.as_str(),
                "to": at(&stand.to.url), "id": stand.id.to_string(),
                "signed": stand.to.key.is_some(),
                "open": stand.open, "behind": stand.behind, "late_seconds": late / 1_000,
                "failing": stand.failing,
                "taken": taken, "failed": failed, "given_up": given_up, "skipped": skipped,
            })
        })
        .collect())
}
