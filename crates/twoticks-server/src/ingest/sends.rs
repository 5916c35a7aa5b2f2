//! `POST /api/v1/sends`: whoever sends on their own tells which template each message has.
//!
//! A JSON object with `sends`, each as `{"send": …}` of an import has it. The caller is an access
//! key, by HTTP's Basic scheme, that may call `SendChatappMessage`; it speaks for the numbers of
//! its account. What always holds: what is answered with 200 is in the synced journal, and telling
//! it again changes nothing.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use tracing::info;
use twoticks_store::directory::names::Uid;

use crate::access::decision::{self, Call};
use crate::app::App;
use crate::control::feed::{Command as Data, Lines, SpeaksFor};
use crate::control::{self, Command, ControlError};
use crate::http::Peer;

/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 2 << 20;
/// The most sends in one body.
const SENDS_MAX: usize = 10_000;
/// What the caller has to be allowed to do.
const ACTION: &str = "SendChatappMessage";

/// Why nothing was taken.
enum Refused {
    /// No key, a wrong one, or one that is not used any more.
    Unknown,
    /// The key may not send.
    Denied,
    /// The body will not do; says what would.
    Unfit(String),
    /// It is longer than it may be.
    TooLong,
    /// Not now.
    Later(ControlError),
}

impl Refused {
    fn answer(self) -> Response {
        let (status, error) = match self {
            Self::Unknown => (
                StatusCode::UNAUTHORIZED,
                "an access key and its secret are needed, by the Basic scheme".to_owned(),
            ),
            Self::Denied => {
                (StatusCode::FORBIDDEN, format!("the access key may not call cams:{ACTION}"))
            }
            Self::Unfit(why) => (StatusCode::BAD_REQUEST, why),
            Self::TooLong => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("at most {SENDS_MAX} sends and {BODY_BYTES_MAX} bytes are taken at once"),
            ),
            Self::Later(why) => (StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
        };
        let mut response = answer(status, &json!({ "error": error }));
        let (name, value) = match status {
            StatusCode::UNAUTHORIZED => (header::WWW_AUTHENTICATE, "Basic realm=\"twoticks\""),
            StatusCode::SERVICE_UNAVAILABLE => (header::RETRY_AFTER, "1"),
            _ => return response,
        };
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}

fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

pub(super) async fn take(State(app): State<Arc<App>>, request: Request) -> Response {
    match take_in(&app, request).await {
        Ok(taken) => answer(StatusCode::OK, &taken),
        Err(refused) => {
            let response = refused.answer();
            info!(http.status = response.status().as_u16(), "sends refused");
            response
        }
    }
}

async fn take_in(app: &App, request: Request) -> Result<Value, Refused> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let account = caller(app, &parts.headers, peer)?;
    let lines = read(body).await?;
    let lines = Lines { lines, dry_run: false, speaks_for: SpeaksFor::Account(account) };
    match control::execute(app, Command::Data(Data::Import(lines))).await {
        Ok(taken) => Ok(json!({
            "taken": taken.get("events"), "dead": taken.get("dead"),
            "reports": taken.get("reports"),
        })),
        Err(why) => Err(Refused::Later(why)),
    }
}

/// The account of the key that the request has.
fn caller(
    app: &App,
    headers: &HeaderMap,
    source_ip: Option<std::net::IpAddr>,
) -> Result<Uid, Refused> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let basic = basic.and_then(|value| value.strip_prefix("Basic "));
    let decoded = basic.and_then(|text| STANDARD.decode(text.trim()).ok());
    let decoded =
        decoded.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(Refused::Unknown)?;
    let (id, secret) = decoded.split_once(':').ok_or(Refused::Unknown)?;
    let snapshot = app.directory.snapshot();
    let key = snapshot.key(id).filter(|key| key.active && key.secret.is(secret));
    let key = key.ok_or(Refused::Unknown)?;
    let principal = snapshot.principal(key.id.as_str()).ok_or(Refused::Unknown)?;
    let call = Call {
        operation: ACTION,
        resource: "*",
        source_ip,
        secure_transport: false,
        now: app.callers_clock.now(),
    };
    let decided = decision::decide(&snapshot, &app.gate.documents, &principal, &call);
    if !decided.is_allowed() || !principal.account().subscribed {
        return Err(Refused::Denied);
    }
    Ok(principal.account().uid.clone())
}

/// The sends of a body, as lines of an import, numbered from 1.
async fn read(body: Body) -> Result<Vec<(u64, String)>, Refused> {
    let bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(_) => return Err(Refused::TooLong),
    };
    let unfit = || {
        let send = r#"{"phone_number_id", "wamid", "template_code", "language", "time"}"#;
        Refused::Unfit(format!("the body is to be {{\"sends\": [{send}, …]}}"))
    };
    let body: Value = serde_json::from_slice(&bytes).map_err(|_| unfit())?;
    let sends = body.get("sends").and_then(Value::as_array).ok_or_else(unfit)?;
    if sends.len() > SENDS_MAX {
        return Err(Refused::TooLong);
    }
    Ok((1..).zip(sends.iter().map(|send| json!({ "send": send }).to_string())).collect())
}
