//! The page that connects channels with WhatsApp: how each of an account's channels is connected,
//! what is missing, and forms to connect it, to read and to look again, and to disconnect it.
//!
//! Whoever may look sees how things are; the forms and the verify token are for whoever came with a
//! link that may set up (`docs/decisions/0018-who-may-set-up.md`). A form is taken if it was shown
//! in the session that sends it ([`super::ticket::Session`]) and sent from a page of ours
//! ([`super::origin`]), and does what the command line does, by the same commands. What always
//! holds: a secret that was typed is on no page but the verify token, which is to be pasted at
//! Meta's, in no address and in no log.

pub(super) mod desk;
mod form;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Query as Address, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, Html, IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;
use tracing::info;
use twoticks_core::ids::ChannelId;
use twoticks_wire::params::encode;

use self::desk::TRIES_PER_MINUTE;
use self::form::{Action, FORM_BYTES_MAX, Wrong};
use self::view::Typed;
use super::{Refusal, Visitor, channels, cookies, is_first_use, origin, ticket, visitor};
use crate::app::App;
use crate::control::channels::Command;
use crate::control::{self, ControlError};

/// The path of the page.
pub(super) const PATH: &str = "/ui/setup";

/// What answers at [`PATH`].
pub(super) fn route() -> MethodRouter<Arc<App>> {
    get(page).post(act).layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
}

/// What the address of the page can say.
#[derive(Deserialize)]
pub(super) struct Choice {
    t: Option<String>,
    channel: Option<String>,
    /// Whether to ask once more before the channel is disconnected.
    disconnect: Option<String>,
}

/// The page with the channel `id`.
pub(super) fn address(id: &ChannelId) -> String {
    format!("{PATH}?channel={}", encode(id.as_str()))
}

async fn page(
    State(app): State<Arc<App>>,
    choice: Result<Address<Choice>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Address(choice) = choice.map_err(|_| {
        Refusal::Address("Each of channel and disconnect can be given once.".to_owned())
    })?;
    let (visitor, set) = let_in(&app, choice.t.as_deref(), &headers)?;
    let snapshot = app.directory.snapshot();
    let chosen = channels::chosen(&snapshot, &visitor.account, choice.channel.as_deref())?;
    let shown = view::Shown {
        app: &app,
        snapshot: &snapshot,
        visitor: &visitor,
        chosen: chosen.as_deref(),
        asks_to_disconnect: choice.disconnect.is_some(),
        seen: origin::seen(&headers),
        typed: None,
    };
    let set = set.into_iter().map(|cookie| (header::SET_COOKIE, cookie)).collect::<Vec<_>>();
    Ok((AppendHeaders(set), html(&shown, StatusCode::OK)?).into_response())
}

/// Finds who is looking, also by a link that may set up; and the cookies to be set.
fn let_in(
    app: &App,
    link: Option<&str>,
    headers: &HeaderMap,
) -> Result<(Visitor, Vec<String>), Refusal> {
    let now = app.clock.now();
    let session = link.and_then(|given| {
        ticket::session_of_link(&app.keys, now, given).filter(|_| is_first_use(app, given))
    });
    let directory = app.directory.snapshot();
    if let Some(session) = session
        && directory.account(session.account.as_str()).is_some()
    {
        let account = session.account.clone();
        let looks = ticket::cookie(&app.keys, now, &account);
        let set = vec![looks, session.cookie(origin::is_over_tls(headers))];
        return Ok((Visitor { account, cookie: None, session: Some(session) }, set));
    }
    let mut visitor = visitor(State(app), link, cookies(headers))?;
    let set = visitor.cookie.take().into_iter().collect();
    Ok((visitor, set))
}

fn html(shown: &view::Shown<'_>, status: StatusCode) -> Result<Response, Refusal> {
    let html = view::render(shown)?;
    // Without it a browser does not say where a form comes from; nothing is told to others.
    let policy = HeaderValue::from_static("same-origin");
    Ok((status, [(header::REFERRER_POLICY, policy)], Html(html)).into_response())
}

async fn act(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    let visitor = visitor(State(&app), None, cookies(&headers))?;
    let Some(session) = &visitor.session else { return Err(Refusal::LooksOnly) };
    if !origin::is_own(&headers) {
        return Err(Refusal::Foreign);
    }
    let sent = form::read(request).await?;
    if !session.has_shown(&app.keys, &sent.token) {
        return Err(Refusal::Foreign);
    }
    let snapshot = app.directory.snapshot();
    let channel = channels::own(&snapshot, &visitor.account, &sent.channel)?;
    if !app.setup.try_once(&visitor.account, app.clock.now()) {
        return Err(Refusal::TooSoon(format!(
            "These were more than {TRIES_PER_MINUTE} changes in a minute; go on in the next one."
        )));
    }
    let action = sent.action;
    let typed = Typed::of(&sent);
    let done = match sent.command(&channel) {
        Ok(command) => run(&app, &channel.id, action, command).await?,
        Err(wrong) => Err(wrong),
    };
    let Err(wrong) = done else {
        return Ok(Redirect::to(&address(&channel.id)).into_response());
    };
    let snapshot = app.directory.snapshot();
    let channel = channels::own(&snapshot, &visitor.account, channel.id.as_str())?;
    let shown = view::Shown {
        app: &app,
        snapshot: &snapshot,
        visitor: &visitor,
        chosen: Some(&channel),
        asks_to_disconnect: false,
        seen: origin::seen(&headers),
        typed: Some((action, typed, wrong)),
    };
    html(&shown, StatusCode::UNPROCESSABLE_ENTITY)
}

/// Has it done, to its end, and waits for that as long as one call to the Graph API may take; what
/// takes longer goes on, and the page shows what became of it. What is wrong is told here, once.
async fn run(
    app: &Arc<App>,
    channel: &ChannelId,
    action: Action,
    command: Command,
) -> Result<Result<(), Vec<Wrong>>, Refusal> {
    let (snapshot, now) = (app.directory.snapshot(), app.clock.now());
    let Some((begun, is_over)) = app.setup.begin(&snapshot, channel, action, now) else {
        return Err(Refusal::TooSoon(
            "Something is being done to this channel already; look again in a moment.".to_owned(),
        ));
    };
    info!(channel.id = %channel, setup.action = action.as_str(), "set up from the dashboard");
    let (of, id) = (Arc::clone(app), channel.clone());
    app.tasks.spawn(move |stop| async move {
        let command = control::Command::Channels(command);
        let done: Result<_, ControlError> = tokio::select! {
            done = control::execute(&of, command) => done,
            // What is dropped here is told as broken off.
            () = stop.cancelled() => return,
        };
        let done = match done {
            Ok(said) => Wrong::with(&said).map_or(Ok(said), Err),
            Err(failed) => Err(Wrong::of(&failed, action, &id)),
        };
        begun.end(of.clock.now(), done);
    });
    let is_over = tokio::time::timeout(patience(app), is_over).await.is_ok();
    let work = app.setup.work(channel).filter(|_| is_over);
    if let Some(Err(wrong)) = work.and_then(|work| work.ended) {
        app.setup.forget(channel);
        return Ok(Err(vec![wrong]));
    }
    Ok(Ok(()))
}

/// How long a form waits: until a call to the Graph API would have been given up, and not so long
/// that the request itself is.
fn patience(app: &App) -> Duration {
    let call = app.settings.graph.timeout_seconds.saturating_add(1);
    let request = app.settings.limits.request_seconds_max.saturating_sub(1);
    Duration::from_secs(u64::from(call.min(request)))
}
