//! Our own doors below `/api/v1`: who calls (an access key and its secret, by HTTP's Basic scheme)
//! and how they answer. Each stands where its subject is: `ingest::told`, `reconcile::door`.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use twoticks_store::directory::snapshot::Principal;

use crate::access::decision::{self, Call};
use crate::app::App;

/// Why a caller is not let in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// No key, a wrong one, or one that is not used any more.
    Unknown,
    /// The key may not do this.
    Denied(&'static str),
}

impl Refused {
    /// What the caller is told.
    pub(crate) fn answer(self) -> Response {
        let (status, error) = match self {
            Self::Unknown => (
                StatusCode::UNAUTHORIZED,
                "an access key and its secret are needed, by the Basic scheme".to_owned(),
            ),
            Self::Denied(action) => {
                (StatusCode::FORBIDDEN, format!("the access key may not call cams:{action}"))
            }
        };
        let mut response = answer(status, &json!({ "error": error }));
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Basic realm=\"twoticks\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// An answer in JSON.
pub(crate) fn answer(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Whose key the request has, if it may call `action`.
///
/// # Errors
/// [`Refused`].
pub(crate) fn caller(
    app: &App,
    headers: &HeaderMap,
    source_ip: Option<IpAddr>,
    action: &'static str,
) -> Result<Principal, Refused> {
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
        operation: action,
        resource: "*",
        source_ip,
        secure_transport: false,
        now: app.callers_clock.now(),
    };
    let decided = decision::decide(&snapshot, &app.gate.documents, &principal, &call);
    if !decided.is_allowed() || !principal.account().subscribed {
        return Err(Refused::Denied(action));
    }
    Ok(principal)
}
