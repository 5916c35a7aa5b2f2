//! `/graph/…`: a Cloud API client that points here keeps sending on its own, and we learn which
//! template each message has.
//!
//! Whatever comes is handed to the Graph API as it is, and what that answers is handed back as it
//! is. Of a message that was taken, template and wamid are put into the journal; nothing else
//! happens. What always holds: a request goes to the configured Graph API and nowhere else; only
//! what the Graph API took, for a number that is known here, is recorded, so that nobody makes
//! up sends without a token of that number; how slow it is concerns nobody but the caller.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Frame;
use reqwest::Url;
use serde_json::{Value, json};
use tracing::warn;
use twoticks_core::ids::Template;
use twoticks_store::ledger::{Batch, Kind};
use twoticks_wire::graph::message::{is_done, wamid};

use super::client::words;
use crate::app::App;
use crate::carrier::Outgoing;
use crate::sending::accepted;

/// The longest message that is looked into, and the longest answer to one, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How many requests are on their way at the same time; beyond them 503.
const IN_FLIGHT_MAX: usize = 512;
/// How long what was learned waits for a ledger that is busy, in the background.
const BUSY_PATIENCE: Duration = Duration::from_secs(600);
/// What is between here and there only (RFC 9110 7.6.1), and what each side says itself.
const HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

type Answer = Response<reqwest::Body>;

/// The routes of the pass-through.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/graph/{*path}", any(pass))
}

/// A body on its way; the lock, which nobody waits for, makes it what the client asks for.
struct Passed(Mutex<Body>);

impl HttpBody for Passed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let body = self.get_mut().0.get_mut().unwrap_or_else(PoisonError::into_inner);
        Pin::new(body).poll_frame(context)
    }
}

/// A place among the requests that are on their way.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why a request did not get through. The envelope is the Graph API's, which its clients can read.
fn failed(status: StatusCode, code: i64, message: &str) -> Response {
    let envelope = json!({"error": {"message": message, "type": "OAuthException", "code": code}});
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, envelope.to_string()).into_response()
}

/// The request left, and no answer came: a code that no client takes for "try again".
fn not_known(why: &str) -> Response {
    let message =
        format!("the Graph API did not answer ({why}): what was asked may have been done");
    failed(StatusCode::GATEWAY_TIMEOUT, 504, &message)
}

async fn pass(State(app): State<Arc<App>>, request: Request) -> Response {
    let of = Arc::clone(&app);
    let work = async move {
        let in_flight = of.dispatcher.passing();
        let place = Place(in_flight);
        if in_flight.fetch_add(1, Ordering::SeqCst) >= IN_FLIGHT_MAX {
            let message =
                "too many requests are on their way to the Graph API; try again in a moment";
            return failed(StatusCode::SERVICE_UNAVAILABLE, 2, message);
        }
        let response = hand_on(&of, request).await;
        drop(place);
        response
    };
    // Also when the caller hangs up: what was taken meanwhile is known afterwards.
    let done = app.tasks.complete(work).await;
    done.unwrap_or_else(|panicked| failed(StatusCode::BAD_GATEWAY, 504, &panicked.to_string()))
}

async fn hand_on(app: &Arc<App>, request: Request) -> Response {
    let graph = match app.dispatcher.graph(app) {
        Ok(graph) => graph,
        Err(why) => return failed(StatusCode::BAD_GATEWAY, 2, &why.to_string()),
    };
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let target = target.strip_prefix("/graph/").unwrap_or(target);
    let Ok(address) = graph.root().join(target) else {
        return failed(StatusCode::BAD_REQUEST, 100, "the path is not one of the Graph API");
    };
    // A path may read like an address.
    let is_below = address.path().starts_with(graph.root().path());
    if address.origin() != graph.root().origin() || !is_below {
        return failed(StatusCode::BAD_REQUEST, 100, "the path is not one of the Graph API");
    }
    let number = sends(&parts.method, parts.uri.path());
    let mut asked = None;
    let body: reqwest::Body = if number.is_some() {
        match Limited::new(body, MESSAGE_BYTES_MAX).collect().await {
            Ok(collected) => {
                let bytes = collected.to_bytes();
                asked = Some(bytes.clone());
                bytes.into()
            }
            Err(_) => {
                let message = "the message is longer than a mebibyte, or did not arrive whole";
                return failed(StatusCode::PAYLOAD_TOO_LARGE, 100, message);
            }
        }
    } else {
        reqwest::Body::wrap(Passed(Mutex::new(body)))
    };
    let mut headers = passing(&parts.headers);
    if number.is_some() {
        // Its answer is looked into.
        headers.remove(header::ACCEPT_ENCODING);
    }
    let sent = graph.http().request(parts.method, address).headers(headers);
    let answer = match sent.body(body).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_connect() => {
            let message = format!("the Graph API cannot be reached: {}", words(&error));
            return failed(StatusCode::BAD_GATEWAY, 2, &message);
        }
        Err(error) => return not_known(&words(&error)),
    };
    let (mut head, body) = Answer::from(answer).into_parts();
    head.headers = passing(&head.headers);
    let (Some(number), Some(asked), true) = (number, asked, head.status.is_success()) else {
        return Response::from_parts(head, Body::new(body));
    };
    let bytes = match Limited::new(body, MESSAGE_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return not_known("its answer broke off"),
    };
    learn(app, number, &asked, &bytes).await;
    Response::from_parts(head, Body::from(bytes))
}

/// The headers without those that are each connection's own.
fn passing(headers: &HeaderMap) -> HeaderMap {
    let mut passing = headers.clone();
    for name in HOP {
        passing.remove(name);
    }
    passing
}

/// The id of the number that a request sends from: `POST [/version]/{id}/messages` and
/// `…/marketing_messages`.
fn sends(method: &Method, path: &str) -> Option<String> {
    let mut parts = path.trim_end_matches('/').rsplit('/');
    let edge = parts.next().filter(|edge| matches!(*edge, "messages" | "marketing_messages"));
    let number = edge.and_then(|_| parts.next()).filter(|id| !id.is_empty());
    number.filter(|_| *method == Method::POST).map(str::to_owned)
}

/// A message as it was asked for: JSON, or a form whose fields may be JSON, as Meta's own SDKs
/// write it.
fn message(asked: &[u8]) -> Value {
    if let Ok(message) = serde_json::from_slice(asked) {
        return message;
    }
    let (Ok(form), Ok(mut address)) = (std::str::from_utf8(asked), Url::parse("form:/")) else {
        return Value::Null;
    };
    address.set_query(Some(form));
    let field = |text: &str| match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => value,
        _ => text.into(),
    };
    address.query_pairs().map(|(name, text)| (name.into_owned(), field(&text))).collect()
}

/// Puts into the journal what a message that was taken says of itself.
async fn learn(app: &Arc<App>, number: String, asked: &Bytes, answered: &Bytes) {
    let read = |bytes: &Bytes| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (asked, answered) = (message(asked), read(answered));
    let snapshot = app.directory.snapshot();
    // A number that is not ours is nobody's here.
    let Some(number) = snapshot.number_by_id(&number) else { return };
    let Some(wamid) = wamid(&answered) else {
        if !is_done(&answered) {
            warn!(channel.id = %number.channel, "an answer that went past names no message");
        }
        return;
    };
    let text = |path: &str| asked.pointer(path).and_then(Value::as_str);
    let named = text("/template/name").zip(text("/template/language/code"));
    let template = named.and_then(|(name, language)| {
        let mut of_channel = snapshot.templates_of(&number.channel);
        of_channel.find(|it| it.name.as_str() == name && it.language.as_str() == language)
    });
    let is_free_form = text("/type").is_some_and(|kind| kind != "template");
    let template: Option<Template> = template.map(|record| record.identity());
    let now = app.clock.now();
    let message = Outgoing {
        channel: number.channel.clone(),
        from: number.phone_number.clone(),
        to: String::new(),
        template: template.clone(),
        sign: None,
        parameters: serde_json::Map::new(),
        call: Arc::default(),
    };
    // What is not known is not claimed: a sign, or a later import, may say it.
    let is_known = template.is_some() || is_free_form;
    let events = is_known.then(|| accepted(app, &message, wamid, now)).into_iter().collect();
    let body = json!({
        "operation": "graph", "number": number.phone_number_id,
        "template": {"name": text("/template/name"), "language": text("/template/language/code")},
        "wamid": wamid,
    });
    let batch = Batch {
        kind: Kind::Accepted,
        accepted: now,
        origin: "graph".to_owned(),
        channel: Some(number.channel.clone()),
        group: None,
        events,
        dead: Vec::new(),
        resolves: None,
        body: body.to_string().into_bytes(),
    };
    if app.ledger.record(batch.clone()).await.is_ok() {
        return;
    }
    // The message is out and its sender waits for the answer: what was learned can come later.
    let later = Arc::clone(app);
    app.tasks.spawn(move |_| async move {
        if let Err(why) = later.insist(batch, BUSY_PATIENCE).await {
            warn!(
                error = &why as &dyn std::error::Error,
                "which template a message has, that went past, is not kept"
            );
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sends_is_told_by_its_path() {
        for (method, path, number) in [
            ("POST", "/graph/v24.0/106540352242922/messages", Some("106540352242922")),
            ("POST", "/graph/106540352242922/marketing_messages/", Some("106540352242922")),
            ("GET", "/graph/v24.0/1065/messages", None),
            ("POST", "/graph/v24.0/1065/message_templates", None),
            ("POST", "/graph/v24.0/1065/media", None),
            ("POST", "/messages", None),
        ] {
            let method = method.parse().unwrap();
            assert_eq!(sends(&method, path).as_deref(), number, "{path}");
        }
    }

    #[test]
    fn a_message_is_json_or_a_form() {
        let want = json!({"type": "template", "to": "1555",
            "template": {"name": "spring sale", "language": {"code": "en"}}});
        assert_eq!(message(want.to_string().as_bytes()), want);
        let form = "type=template&to=1555&template=%7B%22name%22%3A+%22spring+sale%22%2C%22language\
            %22%3A%7B%22code%22%3A%22en%22%7D%7D";
        assert_eq!(message(form.as_bytes()), want);
        assert_eq!(message(b"\xff"), Value::Null);
    }
}
