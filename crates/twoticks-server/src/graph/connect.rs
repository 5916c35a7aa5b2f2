//! Connecting a channel with WhatsApp: what has to be known, what is read, what is still missing.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{info, warn};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory::Change;
use twoticks_store::directory::PROBLEMS_MAX;
use twoticks_store::directory::model::{Channel, Connection};
use twoticks_store::directory::names::Secret;

use super::check::{Found, Subject};
use super::{CallError, sync};
use crate::app::App;
use crate::control::{ControlError, SecretText};
use crate::links::wrap;

/// The longest address that WhatsApp takes for webhooks, in characters (whatsapp.md 1).
const CALLBACK_CHARS_MAX: usize = 200;

/// How a channel is to be connected. What is left out stays as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connect {
    /// The channel.
    pub channel: ChannelId,
    /// The WhatsApp Business account behind it.
    pub waba_id: Option<Text>,
    /// The access token.
    pub access_token: Option<SecretText>,
    /// The secret of the app, which signs webhooks; it is added beside those that are there.
    pub app_secret: Option<SecretText>,
    /// The token of the webhook handshake.
    pub verify_token: Option<SecretText>,
    /// Where webhooks are to go: the address of this server as the internet sees it, without a
    /// path.
    pub callback_url: Option<String>,
    /// Whether marketing templates go through the Marketing Messages API.
    pub marketing_messages: Option<bool>,
}

/// What is unfit where a secret is not that of the app.
pub(crate) const APP_SECRET: &str = "the app secret";

/// Connects a channel, or changes how it is connected, and reads its numbers and templates. Says
/// what it found and what is still missing.
///
/// # Errors
/// [`ControlError`]; nothing has changed then, but for the connection itself if the Graph API
/// stopped answering in the middle.
pub async fn connect(app: &App, wanted: Connect) -> Result<Value, ControlError> {
    let snapshot = app.directory.snapshot();
    let known =
        snapshot.channel(&wanted.channel).cloned().ok_or_else(|| ControlError::Missing {
            what: "channel",
            name: wanted.channel.to_string(),
            remedy: "`twoticks channel add` makes one",
        })?;
    let mut channel = Channel::clone(&known);
    let given = wanted.clone();
    let callback =
        wanted.callback_url.as_deref().map(|url| callback(url, &channel.id)).transpose()?;
    apply(&mut channel, wanted)?;
    let unfit = |what, why: &str| ControlError::Unfit { what, why: why.to_owned() };
    let waba_id = channel.waba_id.clone();
    let waba_id = waba_id.ok_or_else(|| unfit("--waba-id", "the account has to be named once"))?;
    let Some(connection) = &mut channel.connection else {
        let why = "the first time it has to be given (--access-token-file)";
        return Err(unfit("the access token", why));
    };
    let token = connection.access_token.clone();
    let graph = app.dispatcher.graph(app).map_err(|why| refused("the Graph API", &why))?;
    let fields = [("fields", "id,name,currency,timezone_id,is_enabled_for_insights")];
    let account = graph.get(&token, waba_id.as_str(), &fields).await;
    let account = account.map_err(|why| refused("the WhatsApp Business account", &why))?;
    let now = app.clock.now();
    let of = (&channel.id, waba_id.as_str());
    let read = sync::read(graph, &token, of, &snapshot, now).await;
    let read = read.map_err(|why| refused("numbers and templates", &why))?;
    if given.app_secret.is_some() {
        let app_secret = channel.app_secrets.last();
        let subject = Subject { graph, waba_id: waba_id.as_str(), token: &token, app_secret, now };
        let wrong = subject.wrong_app_secret().await;
        if let Some(why) = wrong.map_err(|why| refused(APP_SECRET, &why))? {
            return Err(unfit(APP_SECRET, &why));
        }
    }
    let mut told = read.problems.clone();
    // Somebody else may have changed it meanwhile: only what was given is put in. The handshake
    // comes in while the Graph API is asked, and the token has to be known by then.
    let snapshot = app.directory.snapshot();
    let present = snapshot.channel(&channel.id).ok_or_else(|| unfit("the channel", "is gone"))?;
    let mut channel = Channel::clone(present);
    apply(&mut channel, given)?;
    app.directory.change(vec![Change::UpdateChannel(channel.clone())]).await?;
    if let Some(address) = &callback {
        let asked = json!({
            "override_callback_uri": address, "verify_token": channel.verify_token.expose(),
        });
        let path = format!("{waba_id}/subscribed_apps");
        if let Err(why) = graph.post(&token, &path, &[], Some(&asked)).await {
            let said = why.graph().map_or_else(|| why.to_string(), said_of_callback);
            told.push(format!(
                "webhooks are not sent to `{address}`: {said}; it has to be reachable from the \
                 internet over https with a certificate that is valid"
            ));
        }
    }
    let subject = Subject {
        graph,
        waba_id: waba_id.as_str(),
        token: &token,
        app_secret: channel.app_secrets.last(),
        now,
    };
    let found = subject.look().await.map_err(|why| refused("the connection", &why))?;
    let Found { app_id, token_ends, callback, problems } = found;
    if read.numbers == 0 {
        told.push("the account has no phone number yet; add one in the WhatsApp manager".into());
    }
    let (numbers, templates) = (read.numbers, read.templates);
    let note = |connection: &mut Connection| {
        connection.app_id = app_id.as_deref().map(Text::lossy);
        connection.checked = Some(now);
        let kept =
            |all: &[String]| all.iter().take(PROBLEMS_MAX).map(|it| Text::lossy(it)).collect();
        (connection.problems, connection.told) = (kept(&problems), kept(&told));
    };
    change(app, &channel.id, &token, note).await;
    sync::take_over(app, &channel.id, read).await?;
    app.dispatcher.connection_changed();
    let missing: Vec<&String> = problems.iter().chain(&told).collect();
    info!(channel.id = %channel.id, connection.problems = missing.len(), "channel connected");
    Ok(json!({
        "channel": channel.id, "waba_id": waba_id, "name": account.get("name"),
        "currency": account.get("currency"),
        "insights": account.get("is_enabled_for_insights"),
        "app_id": app_id, "token_ends": token_ends, "numbers": numbers, "templates": templates,
        "callback": callback, "missing": missing,
        "links_to_wrap": wrap::could_be_wrapped(&app.directory.snapshot(), &channel.id),
    }))
}

/// Changes what is known of a connection, if it still has that token; what cannot be kept is
/// logged, since whoever notes something has done what it is about.
pub(crate) async fn change(
    app: &App,
    channel: &ChannelId,
    token: &Secret,
    note: impl FnOnce(&mut Connection),
) {
    let snapshot = app.directory.snapshot();
    let known = snapshot.channel(channel).and_then(|known| known.connection.as_ref());
    let Some(known) = known.filter(|known| known.access_token == *token) else { return };
    let mut connection = known.clone();
    note(&mut connection);
    if connection == *known {
        return;
    }
    let changes = vec![Change::SetConnection(channel.clone(), Some(connection))];
    if let Err(why) = app.directory.change(changes).await {
        let error = &why as &dyn std::error::Error;
        warn!(error, channel.id = %channel, "what is known of a connection is not kept");
    }
}

/// What Meta says of an address that does not answer the handshake has the address in it, which
/// the operator gave.
fn said_of_callback(error: &twoticks_wire::graph::error::GraphError) -> String {
    match error.code {
        2200 => format!("Meta 2200: {}", error.message),
        _ => error.said(),
    }
}

fn refused(what: &'static str, why: &CallError) -> ControlError {
    ControlError::Graph { what, why: why.clone() }
}

/// Puts what is wanted into the channel.
fn apply(channel: &mut Channel, wanted: Connect) -> Result<(), ControlError> {
    let Connect {
        channel: _,
        waba_id,
        access_token,
        app_secret,
        verify_token,
        callback_url: _,
        marketing_messages,
    } = wanted;
    channel.waba_id = waba_id.or_else(|| channel.waba_id.take());
    if let Some(SecretText(text)) = app_secret {
        let secret = Secret::new(&text)?;
        if channel.app_secrets.last() != Some(&secret) {
            channel.app_secrets.push(secret);
        }
    }
    if let Some(SecretText(text)) = verify_token {
        channel.verify_token = Secret::new(&text)?;
    }
    if let Some(SecretText(text)) = access_token {
        let access_token = Secret::new(&text)?;
        match &mut channel.connection {
            Some(connection) => connection.access_token = access_token,
            None => {
                channel.connection = Some(Connection {
                    access_token,
                    app_id: None,
                    marketing_messages: false,
                    checked: None,
                    problems: Vec::new(),
                    told: Vec::new(),
                });
            }
        }
    }
    if let (Some(connection), Some(wanted)) = (&mut channel.connection, marketing_messages) {
        connection.marketing_messages = wanted;
    }
    Ok(())
}

/// Where a channel's webhooks go, on a server that others reach at `url`.
///
/// # Errors
/// [`ControlError::Unfit`].
pub(crate) fn callback(url: &str, channel: &ChannelId) -> Result<String, ControlError> {
    let unfit = |why: String| ControlError::Unfit { what: "--callback-url", why };
    let parsed = reqwest::Url::parse(url).map_err(|why| unfit(format!("`{url}`: {why}")))?;
    let is_bare = parsed.path() == "/" && parsed.query().is_none() && parsed.host().is_some();
    if !matches!(parsed.scheme(), "https" | "http") || !is_bare {
        return Err(unfit(format!("`{url}` is not like `https://metrics.example.com`")));
    }
    let address = format!("{}/webhooks/whatsapp/{channel}", url.trim_end_matches('/'));
    if address.chars().count() > CALLBACK_CHARS_MAX {
        let why = format!("`{address}` is longer than {CALLBACK_CHARS_MAX} characters");
        return Err(unfit(why));
    }
    Ok(address)
}
