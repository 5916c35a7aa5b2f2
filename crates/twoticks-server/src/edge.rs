//! The CAMS door: one path, `/`, and one function that turns every failure into a response.
//!
//! The checks run in one documented order: method, action and version known, format, credential,
//! access key, timestamp, signature, token, nonce, throttle, calls in flight, policies,
//! subscription, ownership of the space, `IsvCode`, parameters. Throttle and nonce come behind
//! the signature, so that strangers burn nobody's quota. What always holds: [`refuse`] is the only
//! place where a failure of a call becomes a response and the only place where it is logged; no
//! log line has a parameter, a recipient or a secret in it.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tracing::{debug, error, info};
use twoticks_core::clock::Time;
use twoticks_store::directory::Snapshot;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::envelope::{self, Circumstances, Format};
use twoticks_wire::params::Params;
use twoticks_wire::request::Request as Received;
use twoticks_wire::signature::{Signed, route};

use crate::access::decision::{self, Call as Asked, Decision};
use crate::access::isv;
use crate::access::principal::{self, Caller};
use crate::api_error::ApiError;
use crate::app::App;
use crate::http::{Peer, Target};
use crate::ops::{self, Answer, Context, Entry, IDEMPOTENCY_KEY, arguments};
use crate::settings::{DenyCode, ThrottleCode};
use crate::telemetry::NO_OPERATION;

/// The longest body of a call, in bytes.
pub(crate) const BODY_MAX: usize = 2 * 1024 * 1024;

/// A request up to this long is verified where it arrives; a longer one on a thread that may
/// block, because decoding and hashing it takes longer than the runtime should wait.
const INLINE_BYTES_MAX: usize = 32 * 1024;

/// Where a browser is sent.
const PAGES: &str = "/ui/";

/// The routes of the CAMS door, and the answer of paths that nobody has.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/", any(door)).fallback(nowhere)
}

/// What an answer needs to know of its call.
struct About {
    request_id: String,
    host: String,
    format: Format,
    operation: &'static str,
    begun: Instant,
}

impl About {
    fn new(host: String) -> Self {
        Self {
            request_id: uuid::Uuid::new_v4().hyphenated().to_string().to_uppercase(),
            host,
            format: Format::Json,
            operation: NO_OPERATION,
            begun: Instant::now(),
        }
    }
}

/// A request with its body, as it was received.
struct Whole {
    method: String,
    target: Arc<str>,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

impl Whole {
    fn as_received(&self) -> Received<'_> {
        let Self { method, target, headers, body } = self;
        Received { method, target, headers, body }
    }
}

/// A call whose caller is known.
struct Known {
    entry: &'static Entry,
    params: Params,
    caller: Caller,
    snapshot: Arc<Snapshot>,
}

/// The `Host` header of a request, as answers repeat it.
pub(crate) fn host(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(host).into_owned()
}

async fn door(State(app): State<Arc<App>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if is_browser(&parts) {
        return Redirect::to(PAGES).into_response();
    }
    let mut about = About::new(host(&parts.headers));
    match answer(&app, &mut about, parts, body).await {
        Ok(fields) => succeed(&app, &about, &fields),
        Err(error) => refuse(&app, &about, &error),
    }
}

async fn nowhere(State(app): State<Arc<App>>, request: Request) -> Response {
    let host = host(request.headers());
    refuse_unrouted(&app, &host, &Code::InvalidActionNotFound.into())
}

/// A person who typed the address: nothing that the API could mean.
fn is_browser(parts: &Parts) -> bool {
    let accepts_html = || {
        let mut accepted = parts.headers.get_all(header::ACCEPT).iter();
        accepted.any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
    };
    let asks_for_nothing = || {
        let query = parts.uri.query().unwrap_or_default();
        Params::parse(query.as_bytes(), None)
            .is_ok_and(|it| it.get("Action").or(it.get("Signature")).is_none())
    };
    parts.method == Method::GET
        && !parts.headers.contains_key(header::AUTHORIZATION)
        && accepts_html()
        && asks_for_nothing()
}

/// Every check, then the operation.
async fn answer(
    app: &Arc<App>,
    about: &mut About,
    parts: Parts,
    body: Body,
) -> Result<Answer, ApiError> {
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    let whole = Arc::new(receive(parts, body).await?);
    let (now, signed) = (app.clock.now(), app.callers_clock.now());
    introduce(app, &whole).await;
    let known = identified(app, about, Arc::clone(&whole), signed).await?;
    let Known { entry, params, caller, snapshot } = known;

    let user = principal::throttled_as(&caller.principal);
    app.gate.throttle.count(&user, entry.name, entry.qps, signed).map_err(|rate| {
        let code = match app.settings.cams.throttle_code {
            ThrottleCode::User => Code::ThrottlingUser,
            ThrottleCode::Api => Code::ThrottlingApi,
            ThrottleCode::Plain => Code::Throttling,
        };
        ApiError::throttled(code, rate.into())
    })?;
    let at_once = usize::try_from(app.settings.limits.in_flight_max).unwrap_or(usize::MAX);
    let _guard = app
        .gate
        .in_flight
        .enter(entry.name, at_once)
        .ok_or_else(|| ApiError::from(Code::SystemLimitControl))?;
    let _held = app.telemetry.call_in_flight();

    let asked = Asked {
        operation: entry.name,
        resource: "*",
        source_ip: peer,
        // Nobody in front of us is trusted to say that it was.
        secure_transport: false,
        now: signed,
    };
    let decided = decision::decide(&snapshot, &app.gate.documents, &caller.principal, &asked);
    if !decided.is_allowed() {
        return Err(denied(app, &caller, &asked, &decided));
    }
    let named = isv::Named {
        about: entry.about,
        id: entry.about.parameter().and_then(|name| params.get(name)),
        isv_code: params.get("IsvCode"),
        code_use: entry.isv_code,
    };
    let reach = isv::enter(&snapshot, &caller.principal, &named).map_err(|refusal| {
        // The space may be left out where there is one, so what is required is missed first.
        let missing = entry.parameters.iter().find(|parameter| {
            parameter.required && arguments::text(&params, parameter.name).is_none()
        });
        match (refusal.decision(), &refusal, missing) {
            (Some(decision), ..) => denied(app, &caller, &asked, &decision),
            (None, isv::Refusal::SpaceMissing { .. }, Some(missing)) => {
                Refusal::missing(missing.name).into()
            }
            (None, ..) => refusal.told(deny_code(app)).into(),
        }
    })?;
    let header = whole.headers.iter().find(|(name, _)| name == IDEMPOTENCY_KEY);
    let header = header.and_then(|(_, value)| std::str::from_utf8(value).ok());
    let context = Context {
        app,
        of: &reach,
        params: &params,
        request_id: &about.request_id,
        now,
        idempotency_key: header.or_else(|| arguments::text(&params, "ClientToken")),
    };
    (entry.run)(&context).await
}

/// Reads the body, once the method is one that has an answer.
async fn receive(parts: Parts, body: Body) -> Result<Whole, ApiError> {
    let method = parts.method.as_str().to_owned();
    Received { method: &method, target: "/", headers: &[], body: b"" }.check_method()?;
    if axum::body::HttpBody::size_hint(&body).lower() > BODY_MAX as u64 {
        return Err(Code::RequestBodyTooLarge.into());
    }
    let body = match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(Code::RequestBodyTooLarge.into());
        }
        Err(error) => return Err(ApiError::caused(Code::ContentLengthDoesNotMatch, error)),
    };
    let target = match parts.extensions.get::<Target>() {
        Some(target) => Arc::clone(&target.0),
        None => parts.uri.to_string().into(),
    };
    let header = |(name, value): (&header::HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    Ok(Whole { method, target, headers: parts.headers.iter().map(header).collect(), body })
}

/// Lets a rehearsal make the caller known, if there is one.
async fn introduce(app: &App, whole: &Whole) {
    let Some(rehearsal) = &app.rehearsal else { return };
    let received = whole.as_received();
    let claimed = received.params().and_then(|params| Signed::read(&received, &params));
    if let Ok(claimed) = claimed {
        rehearsal.introduce(app, &claimed.access_key_id).await;
    }
}

/// Runs [`identify`] where it may take its time.
async fn identified(
    app: &Arc<App>,
    about: &mut About,
    whole: Arc<Whole>,
    now: Time,
) -> Result<Known, ApiError> {
    let (format, operation, known) = if whole.target.len() + whole.body.len() <= INLINE_BYTES_MAX {
        identify(app, &whole, now)
    } else {
        let app = Arc::clone(app);
        tokio::task::spawn_blocking(move || identify(&app, &whole, now))
            .await
            .map_err(|error| ApiError::caused(Code::InternalError, error))?
    };
    (about.format, about.operation) = (format, operation);
    Ok(known?)
}

/// What is asked for, and by whom. The format and the operation are known to a refusal too.
fn identify(app: &App, whole: &Whole, now: Time) -> (Format, &'static str, Result<Known, Refusal>) {
    let received = whole.as_received();
    let params = match received.params() {
        Ok(params) => params,
        Err(refusal) => return (Format::Json, NO_OPERATION, Err(refusal)),
    };
    let asked = route(&received, &params);
    let format = Format::parse(asked.format.as_deref());
    let entry = asked.action.as_deref().and_then(ops::by_name);
    let operation = entry.map_or(NO_OPERATION, |entry| entry.name);
    let checked = || {
        let entry = entry.ok_or(Code::InvalidActionNotFound)?;
        match asked.version.as_deref() {
            Some(ops::VERSION) => {}
            Some(_) => return Err(Code::InvalidVersion.into()),
            None => return Err(Code::MissingVersion.into()),
        }
        format.clone()?;
        let snapshot = app.directory.snapshot();
        let nonces = &app.gate.nonces;
        let is_believed = app.rehearsal.as_ref().is_some_and(|it| it.believes_callers());
        let caller = if is_believed {
            principal::believe(&received, &params, &snapshot)?
        } else {
            principal::authenticate(&received, &params, now, &snapshot, nonces)?
        };
        Ok((entry, caller, snapshot))
    };
    let known =
        checked().map(|(entry, caller, snapshot)| Known { entry, params, caller, snapshot });
    (format.unwrap_or_default(), operation, known)
}

fn deny_code(app: &App) -> Code {
    match app.settings.cams.deny_code {
        DenyCode::RamPermissionDeny => Code::RamPermissionDeny,
        DenyCode::NoPermission => Code::NoPermission,
    }
}

fn denied(app: &App, caller: &Caller, asked: &Asked<'_>, decision: &Decision) -> ApiError {
    let detail = decision::detail(&app.keys, &caller.principal, asked, decision);
    ApiError::denied(deny_code(app), detail)
}

fn succeed(app: &App, about: &About, fields: &Answer) -> Response {
    let About { request_id, format, operation, begun, .. } = about;
    let message = app.settings.cams.success_message.as_str();
    let seconds = begun.elapsed().as_secs_f64();
    app.telemetry.call(operation, "OK", seconds);
    debug!(
        api.operation = operation,
        api.request_id = request_id,
        api.seconds = seconds,
        "{operation} answered"
    );
    response(envelope::success(*format, operation, request_id, message, Some(message), fields))
}

/// Turns a failure into a response, and logs it, here and nowhere else: 5xx for somebody to act
/// on, with the cause, 4xx for the record.
fn refuse(app: &App, about: &About, error: &ApiError) -> Response {
    let About { request_id, host, format, operation, begun } = about;
    let failure = error.failure();
    let refusal = &failure.refusal;
    let (code, status) = (refusal.name(), refusal.status());
    let seconds = begun.elapsed().as_secs_f64();
    app.telemetry.call(operation, refusal.code.template(), seconds);
    let cause = failure.cause.as_deref().map(chain).unwrap_or_default();
    if status >= 500 {
        error!(
            api.operation = operation,
            api.code = code,
            api.status = status,
            api.request_id = request_id,
            api.seconds = seconds,
            api.cause = cause,
            "call of {operation} failed"
        );
    } else {
        info!(
            api.operation = operation,
            api.code = code,
            api.status = status,
            api.request_id = request_id,
            api.seconds = seconds,
            api.cause = cause,
            "call of {operation} refused: {code}"
        );
    }
    let circumstances = Circumstances {
        format: *format,
        request_id,
        host_id: host,
        access_denied_detail: failure.access_denied_detail.as_ref(),
        throttled: failure.throttled,
    };
    response(envelope::failure(refusal, &circumstances))
}

/// Refuses a request that never got to the door: a head that cannot be read, a path that nobody
/// has, a handler that panicked or took too long.
pub(crate) fn refuse_unrouted(app: &App, host: &str, error: &ApiError) -> Response {
    refuse(app, &About::new(host.to_owned()), error)
}

/// What failed, outermost first.
fn chain(error: &(dyn std::error::Error + Send + Sync + 'static)) -> String {
    let error: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn response(answer: envelope::Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(header::HeaderName::from_static(name), value);
        }
    }
    response
}
