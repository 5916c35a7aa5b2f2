//! The webhook doors: bytes, verified, translated, in the synced journal, and only then a 200.
//!
//! [`whatsapp`] and [`receipts`] are the doors, [`told`] those of who sends or is opened on their own,
//! [`translate`] says what their bytes mean, [`import`] takes the same from a file, [`replay`] gives dead letters a second chance. To add a
//! door: a file with its handlers, a line in [`routes`], a reader in [`translate`]. What always
//! holds: a body is believed before it is read; everything that is acknowledged is journalled
//! with the bytes it came in, also when there is nothing to count; what cannot be kept is refused,
//! so that the sender repeats it; no log line has a number, a wamid or a part of a body.

pub mod import;
mod receipts;
pub mod replay;
mod told;
pub mod translate;
mod whatsapp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tracing::{error, info, warn};
use twoticks_core::clock::Time;
use twoticks_core::event::Event;
use twoticks_core::ids::ChannelId;
use twoticks_store::directory::Snapshot;
use twoticks_store::error::Error;
use twoticks_store::ledger::{Batch, Kind};
use twoticks_wire::webhook::BODY_MAX;

use crate::app::App;
use crate::graph::notices;
use translate::{Context, Speaks, Translated};

/// A body up to this long is verified and read where it arrives; a longer one on a thread that
/// may block, because hashing it takes longer than the runtime should wait. This many take about
/// 0.3 ms, and handing them over would cost a tenth of that.
const INLINE_BYTES_MAX: usize = 128 * 1024;

/// The routes of the webhook doors.
pub(crate) fn routes() -> Router<Arc<App>> {
    let whatsapp = get(whatsapp::handshake).post(whatsapp::take);
    let of_channel = get(whatsapp::handshake_of).post(whatsapp::take_of);
    Router::new()
        .route("/webhooks/whatsapp", whatsapp)
        .route("/webhooks/whatsapp/{channel}", of_channel)
        .route("/webhooks/cams/{secret}", post(receipts::take))
        .route("/api/v1/sends", post(told::sends))
        .route("/api/v1/clicks", post(told::clicks))
}

/// The part of a path that names a channel or is a secret.
type Named = Result<Path<String>, PathRejection>;

/// Its text; what is not even UTF-8 is nobody's.
fn named(path: Named) -> String {
    path.map(|Path(text)| text).unwrap_or_default()
}

/// How many webhooks are being taken in, over all doors.
#[derive(Debug, Default)]
pub struct InFlight(AtomicU32);

/// A place among the webhooks that are being taken in, given back when it is dropped.
struct Place<'a>(&'a AtomicU32);

impl InFlight {
    /// A place, if there are fewer than `max`.
    fn enter(&self, max: u32) -> Result<Place<'_>, Refusal> {
        let place = Place(&self.0);
        if self.0.fetch_add(1, Ordering::SeqCst) < max { Ok(place) } else { Err(Refusal::Crowded) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why a webhook is not taken in.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The handshake has another token, or is none.
    #[error("the handshake is refused: {0}")]
    Handshake(twoticks_wire::webhook::meta::HandshakeRefusal),
    /// The signature is missing or that of something else.
    #[error("{0}")]
    Signature(twoticks_wire::webhook::meta::SignatureRefusal),
    /// Nobody has this path.
    #[error("no channel has the receipts secret in the path")]
    Path,
    /// Longer than [`BODY_MAX`].
    #[error("the body is longer than `{BODY_MAX}` bytes")]
    TooLong,
    /// The body ended before its end.
    #[error("the body did not arrive whole")]
    Broken,
    /// As many as there may be are being taken in already.
    #[error("`limits.webhooks_in_flight_max` webhooks are being taken in already")]
    Crowded,
    /// The ledger did not keep it.
    #[error("the ledger did not keep it: {0}")]
    Ledger(Error),
    /// Reading it panicked; the panic was logged where it happened.
    #[error("reading the body panicked")]
    Panicked,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Handshake(_) => StatusCode::FORBIDDEN,
            Self::Signature(_) => StatusCode::UNAUTHORIZED,
            Self::Path => StatusCode::NOT_FOUND,
            Self::TooLong | Self::Ledger(Error::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken => StatusCode::BAD_REQUEST,
            Self::Crowded | Self::Ledger(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// In how many seconds it is worth another try.
    fn retry_after(&self) -> Option<&'static str> {
        match self {
            Self::Crowded | Self::Ledger(Error::Busy { .. }) => Some("1"),
            Self::Ledger(Error::TooLarge { .. }) => None,
            Self::Ledger(Error::Full { .. }) => Some("30"),
            Self::Ledger(_) => Some("5"),
            _ => None,
        }
    }

    /// The word for it in logs and counters.
    fn reason(&self) -> &'static str {
        match self {
            Self::Handshake(_) => "handshake",
            Self::Signature(_) => "signature",
            Self::Path => "path",
            Self::TooLong => "too_long",
            Self::Broken => "broken",
            Self::Crowded => "crowded",
            Self::Ledger(Error::Busy { .. }) => "busy",
            Self::Ledger(Error::Full { .. }) => "full",
            Self::Ledger(Error::TooLarge { .. }) => "too_large",
            Self::Ledger(_) => "unavailable",
            Self::Panicked => "panicked",
        }
    }

    /// Logs it, counts it, and answers without saying more than its status does. Here and nowhere
    /// else a webhook that is not taken in becomes a response.
    fn answer(self, app: &App, door: Door) -> Response {
        let (reason, door) = (self.reason(), door.as_str());
        match &self {
            Self::Ledger(Error::Busy { .. }) | Self::Crowded => {
                warn!(webhook.door = door, webhook.reason = reason, "webhook refused: {self}");
            }
            Self::Ledger(cause) => error!(
                webhook.door = door,
                webhook.reason = reason,
                webhook.cause = chain(cause),
                "webhook refused: {self}"
            ),
            Self::Panicked => {
                error!(webhook.door = door, webhook.reason = reason, "webhook refused: {self}");
            }
            _ => info!(webhook.door = door, webhook.reason = reason, "webhook refused: {self}"),
        }
        app.telemetry.webhook_refused(door, reason);
        let status = self.status();
        let mut response = match door {
            "cams" => {
                (status, [(header::CONTENT_TYPE, "application/json")], CAMS_REFUSED).into_response()
            }
            _ => status.into_response(),
        };
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        response
    }
}

/// What a CAMS sender is told when a body was not taken in; only the number matters to it.
const CAMS_REFUSED: &str = r#"{"code":1,"msg":"not taken"}"#;

/// What failed below, outermost first.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The doors, by the names that counters have.
#[derive(Clone, Copy, Debug)]
enum Door {
    WhatsApp,
    Cams,
}

impl Door {
    fn as_str(self) -> &'static str {
        match self {
            Self::WhatsApp => "whatsapp",
            Self::Cams => "cams",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::WhatsApp => Kind::Webhook,
            Self::Cams => Kind::Receipts,
        }
    }
}

/// Reads a body of at most [`BODY_MAX`] bytes.
async fn read(body: Body) -> Result<Bytes, Refusal> {
    if axum::body::HttpBody::size_hint(&body).lower() > BODY_MAX as u64 {
        return Err(Refusal::TooLong);
    }
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLong),
        Err(_) => Err(Refusal::Broken),
    }
}

/// A body that is believed: what it means, and for which channels it may speak.
struct Believed {
    translated: Translated,
    /// The channel it may speak for, if that is one.
    channel: Option<ChannelId>,
    /// Which door and which secret let it in: a replay finds the channels again by it.
    origin: String,
}

/// Does `work`, which verifies and reads a body of `bytes` bytes, where it may take its time.
async fn off_the_runtime<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if bytes <= INLINE_BYTES_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Panicked)
}

/// Translates a believed body.
fn translated(
    app: &App,
    snapshot: &Snapshot,
    door: Door,
    channels: &[ChannelId],
    accepted: Time,
    body: &[u8],
) -> Translated {
    let speaks = Speaks::Channels(channels);
    let context = Context { snapshot, keys: &app.keys, speaks, accepted, only: None };
    match door {
        Door::WhatsApp => translate::meta(&context, body),
        Door::Cams => translate::receipts(&context, body),
    }
}

/// Puts a believed body into the journal. When it returns, it may be acknowledged.
async fn record(
    app: &Arc<App>,
    door: Door,
    accepted: Time,
    believed: Believed,
    body: Bytes,
) -> Result<(), Refusal> {
    let Believed { translated, channel, origin } = believed;
    let Translated { events, dead, nothing, unknown, notices, partly } = translated;
    let parts = [events.len(), dead.len(), nothing.len(), unknown.len(), partly.len()];
    let batch = Batch {
        kind: door.kind(),
        accepted,
        origin,
        channel: channel.or_else(|| one_channel(&events)),
        group: None,
        events,
        dead,
        resolves: None,
        body: body.into(),
    };
    app.ledger.record(batch).await.map_err(Refusal::Ledger)?;
    app.pass_on.ring();
    notices::hear(app, notices);
    app.telemetry.webhook_taken(door.as_str());
    app.telemetry.webhook_translated(door.as_str(), parts);
    Ok(())
}

/// The channel of all the events, if it is one.
fn one_channel(events: &[Event]) -> Option<ChannelId> {
    let first = events.first()?.channel();
    events.iter().all(|event| event.channel() == first).then(|| first.clone())
}
