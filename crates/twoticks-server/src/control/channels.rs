//! Channels with their secrets, phone numbers and templates.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twoticks_core::event::{Button, Category, CategoryEvent, Event};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_store::directory::mint::Mint;
use twoticks_store::directory::model::{Channel, Number, StatusSource, TemplateRecord};
use twoticks_store::directory::names::{Secret, Uid};
use twoticks_store::directory::{Change, Snapshot};

use super::{ControlError, SecretText, history, mint, people};
use crate::app::App;
use crate::graph::connect::{self, Connect};
use crate::graph::{check, figures};
use crate::links::wrap::{self, Wrap};

/// What can be done to channels.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Makes a channel.
    Add(NewChannel),
    /// Lists channels, without secrets.
    List { account: Option<Uid> },
    /// Takes a channel away; what it counted stays.
    Remove { channel: ChannelId },
    /// Connects a channel with WhatsApp, or changes how it is.
    Connect(Connect),
    /// Forgets the access token of a channel; nothing is sent for it any more.
    Disconnect { channel: ChannelId },
    /// Reads numbers and templates of a connected channel again.
    Sync { channel: ChannelId },
    /// Says what the connections of channels lack, and changes nothing.
    Check { channel: Option<ChannelId> },
    /// Puts a phone number with a channel.
    PutNumber { channel: ChannelId, phone_number: PhoneNumber, phone_number_id: Text },
    /// Lists phone numbers, or how what WhatsApp says of them has changed.
    ListNumbers {
        channel: Option<ChannelId>,
        #[serde(default)]
        history: bool,
    },
    /// Takes a phone number away.
    RemoveNumber { phone_number: PhoneNumber },
    /// Adds a template, or changes it; its category holds from now on.
    PutTemplate(NewTemplate),
    /// Lists templates, or how what WhatsApp says of them has changed.
    ListTemplates {
        channel: Option<ChannelId>,
        #[serde(default)]
        history: bool,
    },
    /// Has links of a template lead over us, so that who opens them is counted.
    WrapTemplate(Wrap),
    /// Takes a template away.
    RemoveTemplate { channel: ChannelId, code: Text, language: Text },
    /// Replaces a secret of a channel; an app secret is added beside those that are there.
    RotateSecret { channel: ChannelId, which: WhichSecret, value: Option<SecretText> },
    /// Drops all app secrets of a channel but the newest, when a rotation is over.
    DropOldAppSecrets { channel: ChannelId },
}

/// Which of a channel's secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichSecret {
    /// The secret of the WhatsApp app, which signs webhooks.
    App,
    /// The token of the webhook handshake.
    Verify,
    /// The path of the receipts door.
    Receipts,
}

/// A template to be put.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTemplate {
    /// Its channel.
    pub channel: ChannelId,
    /// Its code.
    pub code: Text,
    /// Its language.
    pub language: Text,
    /// Its name; else its code.
    pub name: Option<Text>,
    /// Meta's id, where there is one.
    pub meta_id: Option<Text>,
    /// What it is for.
    pub category: Category,
    /// Its buttons in their order.
    pub buttons: Vec<Button>,
}

/// A channel to be made. What is left out is made up.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewChannel {
    /// Whose it is.
    pub account: Option<Uid>,
    /// Its id, `CustSpaceId` at the CAMS door.
    pub id: Option<ChannelId>,
    /// What people call it; else its id.
    pub name: Option<Text>,
    /// The WhatsApp Business account behind it.
    pub waba_id: Option<Text>,
    /// The secret of the WhatsApp app.
    pub app_secret: Option<SecretText>,
    /// The token of the webhook handshake.
    pub verify_token: Option<SecretText>,
    /// Where its statuses come from.
    pub status_source: StatusSource,
}

pub(super) async fn execute(app: &App, command: Command) -> Result<Value, ControlError> {
    match command {
        Command::Add(new) => add(app, new).await,
        Command::List { account } => list(app, account.as_ref()),
        Command::Remove { channel } => remove(app, channel).await,
        Command::Connect(wanted) => Box::pin(connect::connect(app, wanted)).await,
        Command::Disconnect { channel } => disconnect(app, &channel).await,
        Command::Sync { channel } => {
            known(&app.directory.snapshot(), &channel)?;
            let wanted = Connect {
                channel,
                waba_id: None,
                access_token: None,
                app_secret: None,
                verify_token: None,
                callback_url: None,
                marketing_messages: None,
            };
            Box::pin(connect::connect(app, wanted)).await
        }
        Command::Check { channel } => check_connections(app, channel.as_ref()).await,
        Command::PutNumber { channel, phone_number, phone_number_id } => {
            put_number(app, channel, phone_number, phone_number_id).await
        }
        Command::ListNumbers { channel, history: false } => list_numbers(app, channel.as_ref()),
        Command::ListNumbers { channel, history: true } => {
            history::of_numbers(&app.directory.snapshot(), channel.as_ref())
        }
        Command::RemoveNumber { phone_number } => remove_number(app, phone_number).await,
        Command::PutTemplate(new) => put_template(app, new).await,
        Command::ListTemplates { channel, history: false } => {
            list_templates(app, channel.as_ref()).await
        }
        Command::ListTemplates { channel, history: true } => {
            history::of_templates(app, channel.as_ref()).await
        }
        Command::WrapTemplate(wanted) => Box::pin(wrap::execute(app, wanted)).await,
        Command::RemoveTemplate { channel, code, language } => {
            remove_template(app, channel, code, language).await
        }
        Command::RotateSecret { channel, which, value } => {
            rotate(app, &channel, which, value).await
        }
        Command::DropOldAppSecrets { channel } => drop_old(app, &channel).await,
    }
}

fn secret(given: Option<SecretText>) -> Result<Secret, ControlError> {
    match given {
        Some(SecretText(text)) => Ok(Secret::new(&text)?),
        None => Ok(mint(Mint::path_secret)),
    }
}

async fn add(app: &App, new: NewChannel) -> Result<Value, ControlError> {
    let NewChannel { account, id, name, waba_id, app_secret, verify_token, status_source } = new;
    let account = people::account(&app.directory.snapshot(), account.as_ref())?;
    let id = id.unwrap_or_else(|| mint(Mint::channel_id));
    let channel = Channel {
        name: name.unwrap_or_else(|| Text::lossy(id.as_str())),
        id,
        account: account.uid.clone(),
        waba_id,
        app_secrets: vec![secret(app_secret)?],
        verify_token: secret(verify_token)?,
        receipts_secret: secret(None)?,
        status_source,
        connection: None,
    };
    let shown = json!({
        "channel": channel.id, "name": channel.name, "account": channel.account,
        "app_secret": channel.app_secrets.first().map(Secret::expose),
        "verify_token": channel.verify_token.expose(),
        "receipts_secret": channel.receipts_secret.expose(),
        "webhook": format!("/webhooks/whatsapp/{}", channel.id),
        "receipts": format!("/webhooks/cams/{}", channel.receipts_secret.expose()),
    });
    app.directory.change(vec![Change::AddChannel(channel)]).await?;
    Ok(shown)
}

fn list(app: &App, given: Option<&Uid>) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let accounts = people::chosen_accounts(&snapshot, given)?;
    let channels = accounts.iter().flat_map(|account| snapshot.channels_of(&account.uid));
    Ok(channels
        .map(|channel| {
            json!({
                "channel": channel.id, "name": channel.name, "account": channel.account,
                "waba_id": channel.waba_id, "status_source": channel.status_source,
                "connected": channel.connection.is_some(),
                "problems": channel.connection.as_ref().map(|it| it.wrong().collect::<Vec<_>>()),
                "app_secrets": channel.app_secrets.len(),
                "numbers": snapshot.numbers_of(&channel.id).len(),
                "templates": snapshot.templates_of(&channel.id).count(),
            })
        })
        .collect())
}

async fn remove(app: &App, channel: ChannelId) -> Result<Value, ControlError> {
    figures::remove(app, &channel).await?;
    Ok(json!({"removed": channel}))
}

async fn disconnect(app: &App, id: &ChannelId) -> Result<Value, ControlError> {
    let was_connected = known(&app.directory.snapshot(), id)?.connection.is_some();
    app.directory.change(vec![Change::SetConnection(id.clone(), None)]).await?;
    app.dispatcher.connection_changed();
    Ok(json!({"channel": id, "was_connected": was_connected}))
}

/// What the connections lack, a row for each channel that has one.
async fn check_connections(app: &App, given: Option<&ChannelId>) -> Result<Value, ControlError> {
    let mut rows = Vec::new();
    for channel in chosen(&app.directory.snapshot(), given)? {
        let Some(connection) = &channel.connection else { continue };
        let row = match check::check(app, &channel).await {
            Ok(found) => {
                // What a send was told is wrong until somebody has connected it again.
                let told = connection.told.iter().map(|it| it.as_str().to_owned());
                let mut problems = found.problems;
                problems.extend(told);
                json!({
                    "channel": channel.id, "asked": true, "token_ends": found.token_ends,
                    "callback": found.callback, "problems": problems,
                })
            }
            Err(why) => {
                json!({"channel": channel.id, "asked": false, "problems": [why.to_string()]})
            }
        };
        rows.push(row);
    }
    Ok(json!({
        "connections": rows,
        "signatures_refused": app.telemetry.signatures_refused(),
    }))
}

pub(super) fn known(snapshot: &Snapshot, id: &ChannelId) -> Result<Arc<Channel>, ControlError> {
    snapshot.channel(id).cloned().ok_or_else(|| ControlError::Missing {
        what: "channel",
        name: id.to_string(),
        remedy: "`twoticks channel list` shows those there are",
    })
}

/// For lists: the given channel, or all.
pub(super) fn chosen(
    snapshot: &Snapshot,
    given: Option<&ChannelId>,
) -> Result<Vec<Arc<Channel>>, ControlError> {
    match given {
        Some(id) => Ok(vec![known(snapshot, id)?]),
        None => Ok(snapshot.channels().cloned().collect()),
    }
}

async fn put_number(
    app: &App,
    channel: ChannelId,
    phone_number: PhoneNumber,
    phone_number_id: Text,
) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    // What WhatsApp said of it holds as long as it is the same for WhatsApp.
    let known = snapshot.number(&phone_number).filter(|it| it.phone_number_id == phone_number_id);
    let graph = known.and_then(|known| known.graph.clone());
    let number = Number { phone_number, phone_number_id, channel, graph };
    let shown = shown_number(&number);
    app.directory.change(vec![Change::PutNumber(number)]).await?;
    app.pass_on.changed(app).await;
    Ok(shown)
}

fn shown_number(number: &Number) -> Value {
    let graph = number.graph.as_ref();
    json!({
        "phone_number": number.phone_number, "phone_number_id": number.phone_number_id,
        "channel": number.channel,
        "verified_name": graph.and_then(|graph| graph.verified_name.as_ref()),
        "quality_rating": graph.and_then(|graph| graph.quality_rating.as_ref()),
        "messaging_limit": graph.and_then(|graph| graph.messaging_limit.as_ref()),
        "status": graph.and_then(|graph| graph.status.as_ref()),
    })
}

fn list_numbers(app: &App, given: Option<&ChannelId>) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let channels = chosen(&snapshot, given)?;
    let numbers = channels.iter().flat_map(|channel| snapshot.numbers_of(&channel.id));
    Ok(numbers.map(|number| shown_number(number)).collect())
}

async fn remove_number(app: &App, phone_number: PhoneNumber) -> Result<Value, ControlError> {
    app.directory.change(vec![Change::RemoveNumber(phone_number.clone())]).await?;
    Ok(json!({"removed": phone_number}))
}

/// Puts the template, and its category from now on into the journal: a message counts under the
/// category that held when it was sent.
async fn put_template(app: &App, new: NewTemplate) -> Result<Value, ControlError> {
    let NewTemplate { channel, code, language, name, meta_id, category, buttons } = new;
    let snapshot = app.directory.snapshot();
    known(&snapshot, &channel)?;
    let template = Template { code: code.clone(), language: language.clone() };
    let now = app.clock.now();
    // What the journal says, not the directory: WhatsApp may have changed it since.
    let before = app.ledger.channel(&channel).await?.category(&template, now);
    let name = name.unwrap_or_else(|| code.clone());
    let known = snapshot.template(&channel, &code, &language);
    let graph = known.and_then(|it| it.graph.clone());
    let links = known.map_or_else(Vec::new, |it| it.links.clone());
    let record =
        TemplateRecord { channel, code, language, name, meta_id, category, buttons, graph, links };
    let event = CategoryEvent {
        channel: record.channel.clone(),
        template,
        effective: now,
        category,
        previous: before,
    };
    let shown = shown_template(&record, category);
    app.directory.change(vec![Change::PutTemplate(record)]).await?;
    if before != Some(category) {
        super::feed::record(app, Event::Category(event)).await?;
    }
    Ok(shown)
}

fn shown_template(template: &TemplateRecord, category: Category) -> Value {
    let buttons = template
        .buttons
        .iter()
        .map(|button| json!({"kind": button.kind.as_str(), "text": button.text}));
    json!({
        "code": template.code, "language": template.language, "name": template.name,
        "meta_id": template.meta_id, "category": category.as_str(),
        "buttons": buttons.collect::<Value>(), "channel": template.channel,
        "status": template.graph.as_ref().map(|graph| &graph.status),
        "quality": template.graph.as_ref().and_then(|graph| graph.quality.as_ref()),
    })
}

async fn list_templates(app: &App, given: Option<&ChannelId>) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let now = app.clock.now();
    let mut shown = Vec::new();
    for channel in chosen(&snapshot, given)? {
        let history = app.ledger.channel(&channel.id).await?;
        shown.extend(snapshot.templates_of(&channel.id).map(|template| {
            let category = history.category(&template.identity(), now);
            shown_template(template, category.unwrap_or(template.category))
        }));
    }
    Ok(shown.into())
}

async fn remove_template(
    app: &App,
    channel: ChannelId,
    code: Text,
    language: Text,
) -> Result<Value, ControlError> {
    let shown = json!({"removed": code, "language": language});
    app.directory.change(vec![Change::RemoveTemplate(channel, code, language)]).await?;
    Ok(shown)
}

async fn rotate(
    app: &App,
    id: &ChannelId,
    which: WhichSecret,
    value: Option<SecretText>,
) -> Result<Value, ControlError> {
    let mut channel = Channel::clone(&*known(&app.directory.snapshot(), id)?);
    let new = secret(value)?;
    let mut shown = json!({"channel": id});
    let name = match which {
        // The newest comes last, and all speak for the channel until the old ones are dropped.
        WhichSecret::App => {
            channel.app_secrets.push(new.clone());
            "app_secret"
        }
        WhichSecret::Verify => {
            channel.verify_token = new.clone();
            "verify_token"
        }
        WhichSecret::Receipts => {
            channel.receipts_secret = new.clone();
            "receipts_secret"
        }
    };
    if let Some(shown) = shown.as_object_mut() {
        shown.insert(name.to_owned(), new.expose().into());
    }
    app.directory.change(vec![Change::UpdateChannel(channel)]).await?;
    Ok(shown)
}

async fn drop_old(app: &App, id: &ChannelId) -> Result<Value, ControlError> {
    let mut channel = Channel::clone(&*known(&app.directory.snapshot(), id)?);
    let dropped = channel.app_secrets.len().saturating_sub(1);
    channel.app_secrets.drain(..dropped);
    app.directory.change(vec![Change::UpdateChannel(channel)]).await?;
    Ok(json!({"channel": id, "dropped": dropped}))
}
