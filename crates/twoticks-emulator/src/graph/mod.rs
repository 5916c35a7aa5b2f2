//! The Graph API beside the emulated server: what a WhatsApp Business account, its numbers and its
//! templates can be asked and told, so that clients of the real one can talk to it.
//!
//! A call is told from the server's own by its path ([`Place`]): a version in front, or digits. One
//! access token for each channel ([`tokens`]) sees that channel and nothing else. To add a door: a
//! line in [`account()`], [`number()`] or [`template()`], and its function in the file of its subject. A
//! fault: `faults`. What always holds: every answer is ASCII-escaped JSON, a refusal is in Meta's
//! envelope, and what is refused has changed nothing.

mod account;
mod analytics;
mod components;
pub(crate) mod faults;
mod fields;
mod given;
mod messages;
mod numbers;
mod paging;
mod refusal;
mod subscriptions;
mod templates;
mod tokens;
mod uploads;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value};
use twoticks_core::clock::{Clock as _, Time};
use twoticks_server::app::App;
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::{Channel, Number, TemplateRecord};
use twoticks_wire::params::Params;

use self::faults::Faults;
use self::given::Given;
use self::refusal::Refusal;
use crate::dice::seed_of;
use crate::emulator::{Emulator, Refused};
use crate::meta::{Version, json};
use crate::whatsapp::{WhatsApp, template_id};

pub use self::faults::Fault;
pub(crate) use self::tokens::{access_token, app_id};

/// The longest body of a call, in bytes.
const BODY_MAX: usize = 1 << 20;
/// A node without an edge, as faults name it.
const NODE: &str = "node";
const DEBUG_TOKEN: &str = "debug_token";

/// What whoever calls the Graph doors at `url` for a channel needs, as the ready line says it.
#[must_use]
pub fn shown(channel: &Channel, url: &str, version: Version) -> Value {
    tokens::shown(channel, url, version)
}

/// What the Graph doors remember.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) faults: Faults,
    calls: AtomicU64,
}

/// Puts the Graph doors beside those of `router`.
pub(crate) fn beside(router: Router, app: Arc<App>, emulator: Arc<Emulator>) -> Router {
    router.layer(from_fn_with_state(Graph { app, emulator }, door))
}

#[derive(Clone)]
struct Graph {
    app: Arc<App>,
    emulator: Arc<Emulator>,
}

/// What a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    id: String,
    edge: Option<String>,
}

impl Place {
    /// Reads a path; `None` if it is not of the Graph API. The server's own paths begin with a
    /// word, so they can be neither a version nor digits.
    fn read(path: &str) -> Option<Self> {
        let mut parts = path.trim_start_matches('/').trim_end_matches('/').split('/');
        let is_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_version = |text: &str| {
            let number = text.strip_prefix('v').unwrap_or_default();
            let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
            is_digits(major) && is_digits(minor)
        };
        let first = parts.next().unwrap_or_default();
        let (is_versioned, id) = if is_version(first) {
            (true, parts.next().unwrap_or_default())
        } else {
            (false, first)
        };
        let edge = parts.next().map(str::to_owned);
        let is_whole = parts.next().is_none();
        let is_known = is_digits(id) || (id == DEBUG_TOKEN && edge.is_none());
        (is_versioned || (is_known && is_whole)).then(|| Self {
            id: id.to_owned(),
            // A longer path is no edge that there is.
            edge: if is_whole { edge } else { Some(path.chars().take(64).collect()) },
        })
    }
}

/// A call, as it was received.
struct Asked {
    method: Method,
    /// Where this was called: `http://HOST:PORT`, and the path.
    base: String,
    path: String,
    place: Place,
    given: Given,
    /// The bytes of an upload, and what the header `file_offset` says.
    upload: Option<(Bytes, Option<String>)>,
    token: String,
}

/// What a call works on.
struct Here {
    app: Arc<App>,
    whatsapp: Arc<WhatsApp>,
    snapshot: Arc<Snapshot>,
    channel: Arc<Channel>,
    now: Time,
}

async fn door(State(graph): State<Graph>, request: Request, next: Next) -> Response {
    let Some(place) = Place::read(request.uri().path()) else { return next.run(request).await };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut answered = graph.call(place, request).await;
    if let Err(refusal) = &answered {
        // An operator sees what went wrong on purpose as well.
        let trace = graph.trace();
        graph.emulator.remember(Refused {
            at: graph.emulator.whatsapp.clock().now(),
            method: method.to_string(),
            path: path.chars().take(256).collect(),
            action: None,
            access_key_id: None,
            status: refusal.status.as_u16(),
            code: Some(refusal.code.to_string()),
            message: Some(refusal.details.clone().unwrap_or_else(|| refusal.message.clone())),
            request_id: Some(trace.clone()),
        });
        answered = Ok(written(refusal.status, &refusal.envelope(&trace)));
    }
    answered.unwrap_or_else(|refusal| refusal.status.into_response())
}

impl Graph {
    async fn call(&self, place: Place, request: Request) -> Result<Response, Refusal> {
        let asked = Asked::read(place, request).await?;
        let channel = self.authenticate(&asked)?;
        let faults = &self.emulator.desk.faults;
        let edge = asked.place.edge.as_deref().unwrap_or(NODE);
        let fault = channel.as_ref().and_then(|channel| faults.next(&channel.id, edge));
        if let Some(refusal) = fault.and_then(Fault::refusal) {
            return Err(refusal);
        }
        // What has begun goes on to its end, also when nobody waits for it any more.
        let graph = self.clone();
        let done = self.app.tasks.complete(async move { graph.done(&asked, channel).await }).await;
        let done = done.unwrap_or_else(|panicked| Err(Refusal::of(2, panicked.to_string())));
        match fault {
            Some(Fault::Timeout) => return Ok(hung_up()),
            Some(Fault::Slow) => faults.hold(&self.app.tasks.stopping()).await,
            _ => {}
        }
        done.map(|value| written(StatusCode::OK, &value))
    }

    /// The channel whose token a call has; none for an app's, which may only look at tokens.
    fn authenticate(&self, asked: &Asked) -> Result<Option<Arc<Channel>>, Refusal> {
        let snapshot = self.app.directory.snapshot();
        if asked.place.id == DEBUG_TOKEN && tokens::is_of_app(&snapshot, &asked.token) {
            return Ok(None);
        }
        let channel = tokens::channel_of(&snapshot, &asked.token).ok_or_else(Refusal::token)?;
        self.emulator.desk.faults.check(&channel.id)?;
        Ok(Some(channel))
    }

    async fn done(&self, asked: &Asked, channel: Option<Arc<Channel>>) -> Result<Value, Refusal> {
        let snapshot = self.app.directory.snapshot();
        let Place { id, edge } = &asked.place;
        let unknown = || Refusal::no_object(asked.method.as_str(), id);
        if id == DEBUG_TOKEN && edge.is_none() && asked.method == Method::GET {
            let faults = &self.emulator.desk.faults;
            return tokens::debug(&snapshot, asked, |channel| faults.is_revoked(&channel.id));
        }
        let channel = channel.ok_or_else(unknown)?;
        let whatsapp = Arc::clone(&self.emulator.whatsapp);
        let now = whatsapp.clock().now();
        let here = Here { app: Arc::clone(&self.app), whatsapp, snapshot, channel, now };
        if asked.method == Method::POST && id.starts_with(uploads::SESSION) {
            return uploads::take(&here, asked);
        }
        if *id == app_id(&here.channel) {
            return app(&here, asked);
        }
        if here.channel.waba_id.as_ref().is_some_and(|waba_id| waba_id.as_str() == id) {
            return account(&here, asked).await;
        }
        if let Some(of) = here.snapshot.number_by_id(id)
            && of.channel == here.channel.id
        {
            return number(&here, asked, of);
        }
        let mut templates = here.snapshot.templates_of(&here.channel.id);
        let found = templates.find(|template| template_id(template) == *id).cloned();
        drop(templates);
        match found {
            Some(found) => template(&here, asked, &found).await,
            None => Err(unknown()),
        }
    }

    /// An id of an answer, the same for the same seed and the same calls before it.
    fn trace(&self) -> String {
        let number = self.emulator.desk.calls.fetch_add(1, Ordering::Relaxed);
        format!("A{:016x}", seed_of(self.emulator.whatsapp.config().seed, number))
    }
}

/// The doors of a business account.
async fn account(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    match (asked.method.as_str(), asked.place.edge.as_deref()) {
        ("GET", None) => account::node(here, asked).await,
        ("POST", None) => account::change(here, asked),
        ("GET", Some("phone_numbers")) => numbers::list(here, asked),
        ("GET", Some("message_templates")) => templates::list(here, asked),
        ("POST", Some("message_templates")) => templates::create(here, asked).await,
        ("DELETE", Some("message_templates")) => templates::delete(here, asked).await,
        ("GET", Some("subscribed_apps")) => Ok(subscriptions::list(here)),
        ("POST", Some("subscribed_apps")) => subscriptions::subscribe(here, asked).await,
        ("DELETE", Some("subscribed_apps")) => Ok(subscriptions::unsubscribe(here)),
        ("GET", Some("analytics")) => analytics::messaging_edge(here, asked).await,
        ("GET", Some("template_analytics")) => analytics::templates(here, &asked.given).await,
        ("GET", Some("pricing_analytics")) => analytics::pricing(here, &asked.given).await,
        _ => Err(no_door(asked, account::KIND.name)),
    }
}

/// The doors of an app.
fn app(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    match (asked.method.as_str(), asked.place.edge.as_deref()) {
        ("POST", Some("uploads")) => uploads::begin(here, asked),
        _ => Err(no_door(asked, "Application")),
    }
}

/// The doors of a phone number.
fn number(here: &Here, asked: &Asked, of: &Arc<Number>) -> Result<Value, Refusal> {
    match (asked.method.as_str(), asked.place.edge.as_deref()) {
        ("GET", None) => numbers::node(here, asked, of),
        ("POST", Some("messages")) => messages::send(here, asked, of, false),
        ("POST", Some("marketing_messages")) => messages::send(here, asked, of, true),
        _ => Err(no_door(asked, numbers::KIND.name)),
    }
}

/// The doors of a template.
async fn template(here: &Here, asked: &Asked, of: &Arc<TemplateRecord>) -> Result<Value, Refusal> {
    match (asked.method.as_str(), asked.place.edge.as_deref()) {
        ("GET", None) => templates::node(here, asked, of),
        ("POST", None) => templates::edit(here, asked, of).await,
        _ => Err(no_door(asked, templates::KIND.name)),
    }
}

/// What is said where a node has no such edge, or does not take the method.
fn no_door(asked: &Asked, kind: &str) -> Refusal {
    match &asked.place.edge {
        Some(edge) if asked.method == Method::GET => Refusal::no_field(edge, kind),
        _ => Refusal::no_object(asked.method.as_str(), &asked.place.id),
    }
}

impl Asked {
    async fn read(place: Place, request: Request) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let host = text_of(&parts.headers, "host").unwrap_or_default().to_owned();
        let kind = text_of(&parts.headers, "content-type").unwrap_or_default().to_owned();
        let is_upload = place.id.starts_with(uploads::SESSION);
        let most = if is_upload { uploads::BYTES_MAX } else { BODY_MAX };
        let body = axum::body::to_bytes(body, most).await;
        let body =
            body.map_err(|_| Refusal::parameter(format!("at most {most} bytes of a body")))?;
        let offset = text_of(&parts.headers, "file_offset").map(str::to_owned);
        let (read, upload) = match is_upload {
            true => (Bytes::new(), Some((body, offset))),
            false => (body, None),
        };
        let mut given = given(parts.uri.query().unwrap_or_default(), &kind, &read)?;
        let bearer = text_of(&parts.headers, "authorization").and_then(|it| {
            let (scheme, token) = it.split_once(' ')?;
            let is_bearer = scheme.eq_ignore_ascii_case("bearer") || scheme == "OAuth";
            is_bearer.then(|| token.trim().to_owned())
        });
        let written = given.text("access_token");
        given.0.remove("access_token");
        Ok(Self {
            method: parts.method,
            base: format!("http://{host}"),
            path: parts.uri.path().to_owned(),
            place,
            given,
            upload,
            token: bearer.or(written).unwrap_or_default(),
        })
    }
}

fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The parameters of the query and of the body; the body wins.
fn given(query: &str, kind: &str, body: &Bytes) -> Result<Given, Refusal> {
    let text = body.trim_ascii();
    let is_json = kind.starts_with("application/json") || text.first() == Some(&b'{');
    if kind.starts_with("multipart/") {
        return Err(Refusal::parameter("a form of several parts is not played; JSON would do"));
    }
    let form = (!is_json && !text.is_empty()).then_some(text);
    let params = Params::parse(query.as_bytes(), form).map_err(|_| {
        Refusal::parameter("a parameter is there twice, or is not percent-encoded UTF-8")
    })?;
    let pairs = params.all().iter().map(|(name, text)| (name.clone(), text.as_str().into()));
    let mut given: Map<String, Value> = pairs.collect();
    if is_json && !text.is_empty() {
        match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => given.extend(fields),
            Ok(_) | Err(_) => {
                return Err(Refusal::parameter("the body is no JSON object"));
            }
        }
    }
    Ok(Given(given))
}

fn written(status: StatusCode, value: &Value) -> Response {
    let mut body = Vec::new();
    json::value(&mut body, value);
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=UTF-8"),
        (header::CACHE_CONTROL, "private, no-cache, no-store, must-revalidate"),
    ];
    (status, headers, body).into_response()
}

/// The connection breaks before a byte of the answer is out.
fn hung_up() -> Response {
    let broken: Result<Bytes, io::Error> = Err(io::ErrorKind::ConnectionAborted.into());
    Response::new(Body::from_stream(futures_util::stream::iter([broken])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_graph_api_are_told_from_those_of_the_server() {
        let place = |id: &str, edge: Option<&str>| {
            Some(Place { id: id.to_owned(), edge: edge.map(str::to_owned) })
        };
        for (path, expected) in [
            ("/v24.0/102290129340398", place("102290129340398", None)),
            ("/v24.0/id-1/messages", place("id-1", Some("messages"))),
            ("/v24/1/", place("1", None)),
            ("/102290129340398/messages", place("102290129340398", Some("messages"))),
            ("/debug_token", place("debug_token", None)),
            ("/v24.0/debug_token", place("debug_token", None)),
            ("/v24.0", place("", None)),
            ("/v24.0/1/a/b", place("1", Some("/v24.0/1/a/b"))),
            ("/", None),
            ("/ui/", None),
            ("/vx/1", None),
            ("/v.0/1", None),
            ("/webhooks/whatsapp/1", None),
            ("/r/12345", None),
            ("/graph/1", None),
            ("/api/v1/1", None),
            ("/_twoticks/graph", None),
            ("/1/2/3", None),
            ("/debug_token/1", None),
            ("/metrics", None),
        ] {
            assert_eq!(Place::read(path), expected, "{path}");
        }
    }
}
