//! `/_twoticks/…`: what a test turns, orders and asks. Never there under `serve`.
//!
//! Every door takes its parameters in the query or as a JSON object in the body, by the same names;
//! what changes something is a POST. To add a door: a file, a row in [`DOORS`]. What always holds:
//! an answer is JSON; what cannot be done says what would do (`{"error": …}`); a page of another
//! site cannot ask anything.

mod clock;
pub(crate) mod config;
mod graph;
mod inspect;
mod things;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use twoticks_core::ids::ChannelId;
use twoticks_server::app::App;

use crate::emulator::Emulator;
use crate::parameters;

/// What a door works on.
#[derive(Clone)]
pub(crate) struct Around {
    app: Arc<App>,
    emulator: Arc<Emulator>,
}

/// Whether a channel is one of those that are meant.
type Chosen = Box<dyn Fn(&ChannelId) -> bool + Send + Sync>;

/// What a door is asked.
struct Question {
    is_post: bool,
    query: Option<String>,
    body: Bytes,
    /// What the caller calls this server.
    host: String,
}

impl Question {
    fn read<T: DeserializeOwned>(&self) -> Result<T, NotDone> {
        parameters::read(self.query.as_deref(), &self.body).map_err(NotDone::Asked)
    }
}

/// Why a door does not do what it is asked.
enum NotDone {
    /// The question will not do; says what would.
    Asked(String),
    /// It does not take this method; says which it takes.
    Method(String),
    /// It does not fit how things are.
    Conflict(String),
    /// Nothing is wrong with the question.
    Failed(String),
}

impl IntoResponse for NotDone {
    fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::Asked(error) => (StatusCode::BAD_REQUEST, error),
            Self::Method(error) => (StatusCode::METHOD_NOT_ALLOWED, error),
            Self::Conflict(error) => (StatusCode::CONFLICT, error),
            Self::Failed(error) => (StatusCode::INTERNAL_SERVER_ERROR, error),
        };
        answer(status, &json!({ "error": error }))
    }
}

type Answer = Result<Value, NotDone>;
type Handler = fn(Around, Question) -> BoxFuture<'static, Answer>;

/// A door: its path below `/_twoticks/`, whether it takes GET and POST, what it is for, and what
/// answers.
struct Door {
    path: &'static str,
    methods: (bool, bool),
    help: &'static str,
    handler: Handler,
}

const GET: (bool, bool) = (true, false);
const POST: (bool, bool) = (false, true);
const BOTH: (bool, bool) = (true, true);

macro_rules! door {
    ($path:literal, $methods:expr, $handler:path, $help:literal) => {
        Door {
            path: $path,
            methods: $methods,
            help: $help,
            handler: |around, question| $handler(around, question).boxed(),
        }
    };
}

/// Every door.
const DOORS: &[Door] = &[
    door!(
        "health",
        GET,
        config::health,
        "Whether it is there: the version, the clock, what is still to be told."
    ),
    door!(
        "reset",
        POST,
        config::reset,
        "Begins anew, with `seed` if it is given; with `key` only the account of that access key."
    ),
    door!(
        "clock",
        BOTH,
        clock::clock,
        "The clock: `now` sets it, `advance` moves it on, `speed` speeds it up, `flush` moves it until everything is told. What is due on the way is told at its time."
    ),
    door!(
        "chaos",
        BOTH,
        config::chaos,
        "What goes wrong: `profiles`, a list such as `duplicate,reorder` or `none`; for one `channel` or for all."
    ),
    door!(
        "config",
        BOTH,
        config::config,
        "How lives end (`outcome`), for one `channel` or for all; which version of the Graph API is spoken (`api_version`)."
    ),
    door!(
        "fixtures",
        BOTH,
        things::fixtures,
        "Loads channels, numbers, templates and opt-ins (the body); tells what there is. `key` names the account."
    ),
    door!(
        "graph",
        BOTH,
        graph::graph,
        "The Graph API beside it: its address and access tokens (`channel` or `key`). `fault` orders a bad answer, `times`, of one `edge`, for one `channel`; `faults` with an empty list clears."
    ),
    door!(
        "inspect/sends",
        GET,
        inspect::sends,
        "The last sends and what becomes of them; `channel`, `key`, `limit`."
    ),
    door!(
        "inspect/webhooks",
        GET,
        inspect::webhooks,
        "The last webhooks that were posted, with their answers; `channel`, `key`, `limit`."
    ),
    door!(
        "inspect/errors",
        GET,
        inspect::errors,
        "The last calls and webhooks that the server refused; `key`, `limit`."
    ),
    door!(
        "inspect/book",
        GET,
        inspect::book,
        "What has to be counted, by the emulator's own book; `channel`, `by` (`day` or `half_hour`)."
    ),
];

/// The doors.
pub(crate) fn routes(app: Arc<App>, emulator: Arc<Emulator>) -> Router {
    let around = Around { app, emulator };
    let index = || async { answer(StatusCode::OK, &listed()) };
    let router = DOORS.iter().fold(Router::new(), |router, door| {
        let path = format!("/_twoticks/{}", door.path);
        router.route(
            &path,
            any(move |State(around): State<Around>, request: Request| async move {
                match ask(door, around, request).await {
                    Ok(value) => answer(StatusCode::OK, &value),
                    Err(not_done) => not_done.into_response(),
                }
            }),
        )
    });
    router
        .route("/_twoticks", any(index))
        .route("/_twoticks/", any(index))
        .route(
            "/_twoticks/{*rest}",
            any(|| async {
                let error = json!({"error": "there is no such door", "doors": listed()});
                answer(StatusCode::NOT_FOUND, &error)
            }),
        )
        .layer(from_fn(own_site_only))
        .with_state(around)
}

fn methods(door: &Door) -> String {
    let words = match door.methods {
        (true, true) => "GET and POST",
        (false, _) => "POST",
        (true, false) => "GET",
    };
    format!("`/_twoticks/{}` takes {words}", door.path)
}

async fn ask(door: &Door, around: Around, request: Request) -> Answer {
    let (takes_get, takes_post) = door.methods;
    let is_post = match *request.method() {
        Method::GET if takes_get => false,
        Method::POST if takes_post => true,
        _ => return Err(NotDone::Method(methods(door))),
    };
    let query = request.uri().query().map(str::to_owned);
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or_default().to_owned();
    let body = axum::body::to_bytes(request.into_body(), parameters::BODY_MAX).await;
    let body = body.map_err(|_| {
        NotDone::Asked(format!("the body is longer than {} bytes", parameters::BODY_MAX))
    })?;
    // What has begun goes on to its end, also when nobody waits for it any more: half a turn of
    // the clock would lose what was on its way.
    let tasks = around.app.tasks.clone();
    let done =
        tasks.complete((door.handler)(around, Question { is_post, query, body, host })).await;
    done.unwrap_or_else(|panicked| Err(NotDone::Failed(panicked.to_string())))
}

fn listed() -> Value {
    let doors = DOORS.iter().map(|door| {
        let (get, post) = door.methods;
        let methods: Vec<&str> =
            [("GET", get), ("POST", post)].into_iter().filter(|it| it.1).map(|it| it.0).collect();
        json!({"path": format!("/_twoticks/{}", door.path), "methods": methods, "help": door.help})
    });
    doors.collect()
}

fn answer(status: StatusCode, value: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, json, format!("{value}\n")).into_response()
}

/// A page of another site, opened in a browser on this machine, must neither turn nor read
/// anything here.
async fn own_site_only(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        let error = "asked by a page of another site";
        return answer(StatusCode::FORBIDDEN, &json!({ "error": error }));
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").unwrap_or_default();
    let origin = text("origin");
    let is_another =
        |origin: &str| origin.split_once("://").is_none_or(|(_, authority)| authority != host);
    if origin.is_some_and(is_another)
        || matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"))
    {
        return true;
    }
    // Any other name can be made to point here by whoever owns it, and then its pages are of the
    // same site; test clients are no browsers and may use the names of their own network.
    let is_browser = origin.is_some()
        || text("sec-fetch-site").is_some()
        || text("user-agent").is_some_and(|agent| agent.starts_with("Mozilla/"));
    is_browser && !is_this_machine(host)
}

/// Whether a page under that name can only come from here.
fn is_this_machine(authority: &str) -> bool {
    let is_address = authority.parse::<std::net::SocketAddr>().is_ok()
        || authority.parse::<std::net::IpAddr>().is_ok();
    is_address || authority.split(':').next() == Some("localhost")
}

impl Around {
    /// The channel that is named, if one is.
    fn named(&self, channel: Option<&str>) -> Result<Option<ChannelId>, NotDone> {
        let Some(text) = channel else { return Ok(None) };
        let snapshot = self.app.directory.snapshot();
        let known = ChannelId::new(text).ok().filter(|id| snapshot.channel(id).is_some());
        known.map(Some).ok_or_else(|| NotDone::Asked(format!("there is no channel `{text}`")))
    }

    /// Which channels are meant: one, those of a key's account, or all.
    fn chosen(&self, channel: Option<&str>, key: Option<&str>) -> Result<Chosen, NotDone> {
        let snapshot = self.app.directory.snapshot();
        if let Some(id) = self.named(channel)? {
            return Ok(Box::new(move |other| *other == id));
        }
        let Some(key) = key else { return Ok(Box::new(|_| true)) };
        let uid = self.emulator.account_of(&self.app, key);
        let uid = uid.ok_or_else(|| NotDone::Asked(self.emulator.no_account(key)))?;
        let ids: Vec<ChannelId> =
            snapshot.channels_of(&uid).iter().map(|channel| channel.id.clone()).collect();
        Ok(Box::new(move |other| ids.contains(other)))
    }
}
