//! `POST /api/v1/sends`: whoever sends on their own tells which template each message has.
//! `POST /api/v1/clicks`: a page whose link does not lead over us tells who opened it.
//!
//! A JSON object with `sends`, each as `{"send": …}` of an import has it, or with `clicks`, each as
//! `{"click": …}` has it. The caller is an access key, by HTTP's Basic scheme, that may call
//! `SendChatappMessage`; it speaks for the numbers of its account. To add a list: a [`List`], its
//! handler, a line in [`super::routes`]. What always holds: what is answered with 200 is in the
//! synced journal, and telling it again changes nothing.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};
use tracing::info;

use crate::api::{self, answer};
use crate::app::App;
use crate::control::feed::{Command as Data, Lines, SpeaksFor};
use crate::control::{self, Command, ControlError};
use crate::http::Peer;

/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 2 << 20;
/// The most sends or clicks in one body.
const RECORDS_MAX: usize = 10_000;
/// What the caller has to be allowed to do.
const ACTION: &str = "SendChatappMessage";

/// What a door takes a list of.
struct List {
    /// Its name in the body.
    name: &'static str,
    /// What a line of an import calls one of them.
    one: &'static str,
    /// How one of them looks.
    shape: &'static str,
}

const SENDS: List = List {
    name: "sends",
    one: "send",
    shape: r#"{"phone_number_id", "wamid", "template_code", "language", "time"}"#,
};
const CLICKS: List = List {
    name: "clicks",
    one: "click",
    shape: r#"{"phone_number_id", "wamid", "click_id" or "id", "button", "time"}"#,
};

/// Why nothing was taken.
enum Refused {
    /// The caller may not.
    Caller(api::Refused),
    /// The body will not do; says what would.
    Unfit(String),
    /// It is longer than it may be.
    TooLong,
    /// Not now.
    Later(ControlError),
}

impl Refused {
    fn answer(self, list: &List) -> Response {
        let (status, error) = match self {
            Self::Caller(refused) => return refused.answer(),
            Self::Unfit(why) => (StatusCode::BAD_REQUEST, why),
            Self::TooLong => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "at most {RECORDS_MAX} {} and {BODY_BYTES_MAX} bytes are taken at once",
                    list.name
                ),
            ),
            Self::Later(why) => (StatusCode::SERVICE_UNAVAILABLE, why.to_string()),
        };
        let mut response = answer(status, &json!({ "error": error }));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<api::Refused> for Refused {
    fn from(refused: api::Refused) -> Self {
        Self::Caller(refused)
    }
}

pub(super) async fn sends(State(app): State<Arc<App>>, request: Request) -> Response {
    take(&app, request, &SENDS).await
}

pub(super) async fn clicks(State(app): State<Arc<App>>, request: Request) -> Response {
    take(&app, request, &CLICKS).await
}

async fn take(app: &App, request: Request, list: &List) -> Response {
    match take_in(app, request, list).await {
        Ok(taken) => answer(StatusCode::OK, &taken),
        Err(refused) => {
            let response = refused.answer(list);
            info!(http.status = response.status().as_u16(), "{} refused", list.name);
            response
        }
    }
}

async fn take_in(app: &App, request: Request, list: &List) -> Result<Value, Refused> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let principal = api::caller(app, &parts.headers, peer, ACTION)?;
    let account = principal.account().uid.clone();
    let lines = read(body, list).await?;
    let lines = Lines { lines, dry_run: false, speaks_for: SpeaksFor::Account(account) };
    match control::execute(app, Command::Data(Data::Import(lines))).await {
        Ok(taken) => Ok(json!({
            "taken": taken.get("events"), "dead": taken.get("dead"),
            "reports": taken.get("reports"),
        })),
        Err(why) => Err(Refused::Later(why)),
    }
}

/// The records of a body, as lines of an import, numbered from 1.
async fn read(body: Body, list: &List) -> Result<Vec<(u64, String)>, Refused> {
    let bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Refused::TooLong),
        Err(_) => return Err(Refused::Unfit("the body broke off".to_owned())),
    };
    let List { name, one, shape } = list;
    let unfit = || Refused::Unfit(format!("the body is to be {{\"{name}\": [{shape}, …]}}"));
    let body: Value = serde_json::from_slice(&bytes).map_err(|_| unfit())?;
    let records = body.get(name).and_then(Value::as_array).ok_or_else(unfit)?;
    if records.len() > RECORDS_MAX {
        return Err(Refused::TooLong);
    }
    Ok((1..).zip(records.iter().map(|record| json!({ *one: record }).to_string())).collect())
}
