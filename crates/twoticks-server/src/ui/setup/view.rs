//! What the page shows: the account's channels, and one of them with what can be done to it.

use std::collections::BTreeMap;

use askama::Template as _;
use jiff::Timestamp;
use serde_json::Value;
use twoticks_core::clock::{SECOND, Time};
use twoticks_core::ids::Text;
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::{Channel, Connection, Number, StatusSource};
use twoticks_store::directory::names::Secret;

use super::address;
use super::desk::Work;
use super::form::{Action, Field, Sent, Wrong};
use crate::app::App;
use crate::ui::{Refusal, Visitor};

/// What is to be shown, and to whom.
pub(super) struct Shown<'a> {
    pub(super) app: &'a App,
    pub(super) snapshot: &'a Snapshot,
    pub(super) visitor: &'a Visitor,
    pub(super) chosen: Option<&'a Channel>,
    pub(super) asks_to_disconnect: bool,
    /// By what address the browser reaches this server.
    pub(super) seen: Option<String>,
    /// A form that was not taken, and what is wrong with it.
    pub(super) typed: Option<(Action, Typed, Vec<Wrong>)>,
}

/// What was typed and may be shown again: no secrets.
pub(super) struct Typed {
    waba_id: String,
    callback_url: String,
    marketing_messages: bool,
}

impl Typed {
    pub(super) fn of(sent: &Sent) -> Self {
        Self {
            waba_id: sent.waba_id.clone(),
            callback_url: sent.callback_url.clone(),
            marketing_messages: sent.marketing_messages.is_some(),
        }
    }
}

/// The page.
pub(super) fn render(shown: &Shown<'_>) -> Result<String, Refusal> {
    let Shown { app, snapshot, visitor, chosen, .. } = shown;
    let account = snapshot.account(visitor.account.as_str());
    let channels = snapshot.channels_of(&visitor.account);
    let listed = channels.iter().map(|channel| Listed {
        address: address(&channel.id),
        id: channel.id.as_str(),
        name: channel.name.as_str(),
        is_chosen: chosen.is_some_and(|chosen| chosen.id == channel.id),
        state: state(channel.connection.as_ref()),
        numbers: snapshot.numbers_of(&channel.id).len(),
        templates: snapshot.templates_of(&channel.id).count(),
    });
    let page = Page {
        label: app.rehearsal.as_ref().map(|rehearsal| rehearsal.label()),
        account: account.map_or("", |account| account.name.as_str()),
        channels: listed.collect(),
        may_set_up: visitor.session.is_some(),
        chosen: chosen.map(|channel| one(shown, channel)),
    };
    page.render().map_err(|_| Refusal::Unavailable)
}

/// How a channel is, in a few words.
fn state(connection: Option<&Connection>) -> String {
    match connection.map(|connection| connection.wrong().count()) {
        None => "not connected".to_owned(),
        Some(0) => "connected".to_owned(),
        Some(1) => "connected, 1 thing is missing".to_owned(),
        Some(count) => format!("connected, {count} things are missing"),
    }
}

fn one<'a>(shown: &'a Shown<'_>, channel: &'a Channel) -> One<'a> {
    let Shown { app, snapshot, asks_to_disconnect, typed, .. } = shown;
    let work = app.setup.work(&channel.id);
    let looked = Looked::of(channel.connection.as_ref(), work.as_ref());
    let mut templates: BTreeMap<&str, usize> = BTreeMap::new();
    for template in snapshot.templates_of(&channel.id) {
        let status = template.graph.as_ref().map_or(NOT_KNOWN, |graph| graph.status.as_str());
        *templates.entry(status).or_default() += 1;
    }
    let is_connected = channel.connection.is_some();
    One {
        id: channel.id.as_str(),
        name: channel.name.as_str(),
        address: address(&channel.id),
        told: told(work.as_ref(), typed.as_ref(), is_connected, app.clock.now()),
        is_connected,
        waba_id: channel.waba_id.as_ref().map_or(NONE, Text::as_str),
        app_id: channel
            .connection
            .as_ref()
            .and_then(|it| it.app_id.as_ref())
            .map_or(NONE, Text::as_str),
        marketing: channel.connection.as_ref().is_some_and(|it| it.marketing_messages),
        app_secrets: channel.app_secrets.len(),
        by_receipts: channel.status_source == StatusSource::Receipts,
        looked: looked.at.map_or_else(|| "never".to_owned(), format),
        token_ends: looked.token_ends.map(format),
        callback: looked.callback,
        missing: looked.missing,
        numbers: snapshot.numbers_of(&channel.id).iter().map(|it| NumberRow::of(it)).collect(),
        templates: templates.into_iter().collect(),
        asks_to_disconnect: *asks_to_disconnect && is_connected,
        forms: shown.visitor.session.as_ref().map(|session| {
            let token = session.form_token(&app.keys);
            forms(shown, channel, token)
        }),
    }
}

/// What is written where nothing is known.
const NONE: &str = "—";
/// For how long it is told what was done last, in milliseconds.
const TOLD_FOR: i64 = 60 * 60 * SECOND;
/// The status of a template that WhatsApp has not told of.
const NOT_KNOWN: &str = "not read from WhatsApp";

/// What is known of a connection by whoever looked last: the page, or a connect or a sync.
#[derive(Default)]
struct Looked {
    at: Option<Time>,
    token_ends: Option<Time>,
    callback: Option<String>,
    missing: Vec<String>,
}

impl Looked {
    fn of(connection: Option<&Connection>, work: Option<&Work>) -> Self {
        let Some(connection) = connection else { return Self::default() };
        let kept = Self {
            at: connection.checked,
            missing: connection.wrong().map(|it| it.as_str().to_owned()).collect(),
            ..Self::default()
        };
        let Some(Work { action, at, ended: Some(Ok(said)) }) = work else { return kept };
        let said = match action {
            Action::Look => said.pointer("/connections/0"),
            Action::Connect | Action::Sync => Some(&**said),
            Action::Disconnect => None,
        };
        let Some(said) = said.filter(|_| connection.checked.is_none_or(|kept| kept <= *at)) else {
            return kept;
        };
        let missing = match action {
            Action::Look => texts(said.get("problems")),
            // What was found then is kept, and what sends were told since as well.
            _ => kept.missing,
        };
        Self {
            at: Some(*at),
            token_ends: said.get("token_ends").and_then(Value::as_i64).map(Time),
            callback: said.get("callback").and_then(Value::as_str).map(str::to_owned),
            missing,
        }
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let values = value.and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What is said above everything: of a form that was not taken, or of what was done last.
fn told(
    work: Option<&Work>,
    typed: Option<&(Action, Typed, Vec<Wrong>)>,
    is_connected: bool,
    now: Time,
) -> Option<Told> {
    if let Some((action, _, wrong)) = typed {
        let about_all = wrong.iter().filter(|it| it.field.is_none()).map(|it| it.text.clone());
        let fields = wrong.iter().filter_map(|it| it.field.map(Field::place));
        let head = match action {
            Action::Connect if is_connected => "Not changed",
            Action::Connect => "Not connected",
            Action::Sync => "Not read",
            Action::Look => "Not looked at",
            Action::Disconnect => "Not disconnected",
        };
        return Some(Told {
            is_bad: true,
            head: head.to_owned(),
            texts: about_all.collect(),
            fields: fields.collect(),
        });
    }
    let Work { action, at, ended } = work?;
    if ended.is_some() && now.0.saturating_sub(at.0) > TOLD_FOR {
        return None;
    }
    let at = format(*at);
    let (is_bad, head, text) = match ended {
        None => (
            false,
            format!("Begun {at}, and not done yet"),
            "WhatsApp takes its time. It goes on here by itself: look again in a moment."
                .to_owned(),
        ),
        Some(Err(wrong)) => (true, format!("Not done, {at}"), wrong.text.clone()),
        Some(Ok(said)) => (false, format!("Done, {at}"), done(*action, said)),
    };
    Some(Told { is_bad, head, texts: vec![text], fields: Vec::new() })
}

fn done(action: Action, said: &Value) -> String {
    let count = |name: &str, one: &str, many: &str| match said
        .get(name)
        .and_then(Value::as_u64)
        .unwrap_or_default()
    {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    match action {
        Action::Connect | Action::Sync => format!(
            "{} and {} of the account `{}` were read.",
            count("numbers", "number", "numbers"),
            count("templates", "template", "templates"),
            said.get("name").and_then(Value::as_str).unwrap_or(NONE),
        ),
        Action::Look if said.pointer("/connections/0").is_none() => {
            "There is no connection to look at.".to_owned()
        }
        Action::Look => "WhatsApp was asked how the connection is.".to_owned(),
        Action::Disconnect => "The channel is disconnected, and its token forgotten.".to_owned(),
    }
}

fn forms(shown: &Shown<'_>, channel: &Channel, token: String) -> Forms {
    let typed = shown.typed.as_ref().filter(|(action, ..)| *action == Action::Connect);
    let error = |field: Field| {
        let mut wrong = typed.iter().flat_map(|(_, _, wrong)| wrong);
        wrong.find(|it| it.field == Some(field)).map(|it| it.text.clone())
    };
    let first = typed.and_then(|(_, _, wrong)| wrong.iter().find_map(|it| it.field));
    let input = |field: Field, value: String, is_required: bool| Input {
        id: field.place().0,
        label: field.place().1,
        value,
        is_required,
        error: error(field),
        is_first: first == Some(field),
    };
    let typed = typed.map(|(_, typed, _)| typed);
    let is_new = channel.connection.is_none();
    let seen = shown.seen.clone();
    // What is not reached over TLS is not reached by WhatsApp, and on a channel that is connected
    // the webhooks stay as they are.
    let offer = seen.clone().filter(|seen| seen.starts_with("https:") && is_new);
    let known = channel.waba_id.as_ref().map_or("", Text::as_str);
    Forms {
        token,
        waba_id: input(
            Field::WabaId,
            typed.map_or_else(|| known.to_owned(), |typed| typed.waba_id.clone()),
            true,
        ),
        access_token: input(Field::AccessToken, String::new(), is_new),
        app_secret: input(Field::AppSecret, String::new(), false),
        verify_token: input(Field::VerifyToken, String::new(), false),
        callback_url: input(
            Field::CallbackUrl,
            typed.map_or_else(|| offer.unwrap_or_default(), |typed| typed.callback_url.clone()),
            false,
        ),
        marketing_messages: typed.map_or_else(
            || channel.connection.as_ref().is_some_and(|it| it.marketing_messages),
            |typed| typed.marketing_messages,
        ),
        webhook: format!(
            "{}/webhooks/whatsapp/{}",
            seen.as_deref().unwrap_or("https://…"),
            channel.id
        ),
        shown_verify_token: Secret::expose(&channel.verify_token).to_owned(),
        seen,
    }
}

impl Field {
    /// The name of its input, and what people call it.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::WabaId => ("waba_id", "WhatsApp Business Account ID"),
            Self::AccessToken => ("access_token", "Access token"),
            Self::AppSecret => ("app_secret", "App secret"),
            Self::VerifyToken => ("verify_token", "Verify token"),
            Self::CallbackUrl => ("callback_url", "Public address of this server"),
        }
    }
}

fn format(instant: Time) -> String {
    let instant = Timestamp::from_millisecond(instant.0).unwrap_or(Timestamp::UNIX_EPOCH);
    instant.strftime("%-d %b %Y %H:%M:%S UTC").to_string()
}

#[derive(askama::Template)]
#[template(path = "setup.html")]
struct Page<'a> {
    label: Option<&'static str>,
    account: &'a str,
    channels: Vec<Listed<'a>>,
    may_set_up: bool,
    chosen: Option<One<'a>>,
}

/// A channel in the list of all.
struct Listed<'a> {
    address: String,
    id: &'a str,
    name: &'a str,
    is_chosen: bool,
    state: String,
    numbers: usize,
    templates: usize,
}

/// The channel that is chosen.
struct One<'a> {
    id: &'a str,
    name: &'a str,
    address: String,
    told: Option<Told>,
    is_connected: bool,
    waba_id: &'a str,
    app_id: &'a str,
    marketing: bool,
    app_secrets: usize,
    by_receipts: bool,
    looked: String,
    token_ends: Option<String>,
    callback: Option<String>,
    missing: Vec<String>,
    numbers: Vec<NumberRow<'a>>,
    /// How many are in each status.
    templates: Vec<(&'a str, usize)>,
    asks_to_disconnect: bool,
    /// For whoever may set up.
    forms: Option<Forms>,
}

struct Told {
    is_bad: bool,
    head: String,
    texts: Vec<String>,
    /// The fields with which something is wrong: name and label.
    fields: Vec<(&'static str, &'static str)>,
}

struct NumberRow<'a> {
    number: String,
    name: &'a str,
    quality: &'a str,
    limit: &'a str,
    status: &'a str,
}

impl<'a> NumberRow<'a> {
    fn of(number: &'a Number) -> Self {
        let said = |field: Option<&'a Text>| field.map_or(NONE, Text::as_str);
        let graph = number.graph.as_ref();
        Self {
            number: format!("+{}", number.phone_number),
            name: said(graph.and_then(|it| it.verified_name.as_ref())),
            quality: said(graph.and_then(|it| it.quality_rating.as_ref())),
            limit: said(graph.and_then(|it| it.messaging_limit.as_ref())),
            status: said(graph.and_then(|it| it.status.as_ref())),
        }
    }
}

struct Forms {
    token: String,
    waba_id: Input,
    access_token: Input,
    app_secret: Input,
    verify_token: Input,
    callback_url: Input,
    marketing_messages: bool,
    /// What is to be pasted at Meta's, if webhooks are set up there.
    webhook: String,
    shown_verify_token: String,
    seen: Option<String>,
}

struct Input {
    id: &'static str,
    label: &'static str,
    value: String,
    is_required: bool,
    error: Option<String>,
    /// The first one that something is wrong with: the page begins there.
    is_first: bool,
}
