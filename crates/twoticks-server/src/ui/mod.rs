//! The pages: HTML made here, one file per page, one stylesheet, no script.
//!
//! To add a page, add its file and a line to [`PAGES`], and have its header call the macro
//! `pages` of `templates/parts.html`. Every page is for one account, which the visitor's ticket
//! names; nothing on it is another account's. Nothing is loaded from elsewhere. A page that
//! changes something asks for a [`ticket::Session`] (`docs/decisions/0018-who-may-set-up.md`).

mod channels;
mod chart;
mod origin;
mod overview;
mod reconcile;
mod setup;
mod ticket;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use twoticks_store::directory::names::Uid;

use crate::access::nonce::Used;
use crate::app::App;

pub use setup::desk::Desk;
pub use ticket::{link, setup_link};

/// A page: its path, what the navigation calls it, and what answers there.
struct Page {
    path: &'static str,
    title: &'static str,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// Every page, in the order of the navigation.
const PAGES: &[Page] = &[
    Page { path: "/ui/", title: "Overview", handler: || get(overview::page) },
    Page { path: "/ui/reconcile", title: "Compare with Meta", handler: || get(reconcile::page) },
    Page { path: setup::PATH, title: "Setup", handler: setup::route },
];

/// What the pages load: path, type, content.
const FILES: [(&str, &str, &str); 2] = [
    ("/ui/style.css", "text/css; charset=utf-8", include_str!("../../static/style.css")),
    ("/ui/icon.svg", "image/svg+xml", include_str!("../../static/icon.svg")),
];

/// The routes of all pages.
pub(crate) fn routes() -> Router<Arc<App>> {
    let pages =
        PAGES.iter().fold(Router::new(), |router, page| router.route(page.path, (page.handler)()));
    FILES
        .into_iter()
        .fold(pages, |router, (path, kind, content)| {
            router
                .route(path, get(move || async move { ([(header::CONTENT_TYPE, kind)], content) }))
        })
        .route("/ui", get(|| async { axum::response::Redirect::permanent("/ui/") }))
        .layer(from_fn(harden))
}

/// Says to the browser that nothing on a page comes from, or goes to, anywhere else.
async fn harden(request: Request, next: Next) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Who is looking.
struct Visitor {
    account: Uid,
    /// The cookie to set, when they came with a link.
    cookie: Option<String>,
    /// By what they may change the account's channels, if they may.
    session: Option<ticket::Session>,
}

/// A page that could not be made, or a form that was not taken.
enum Refusal {
    /// Nobody we know.
    NoTicket,
    /// They may look, and wanted to change something.
    LooksOnly,
    /// The form is not one that was shown to whoever sends it.
    Foreign,
    /// The address or the form asks for what there is not; says what would do.
    Address(String),
    /// The body is no form of ours; says what would do.
    Form(StatusCode, String),
    /// Nothing is wrong with it, but it came too soon; says when to come again.
    TooSoon(String),
    /// Nothing is wrong with the question.
    Unavailable,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let back = !matches!(self, Self::NoTicket | Self::Unavailable);
        let (status, text) = match self {
            Self::NoTicket => (
                StatusCode::FORBIDDEN,
                "This page needs a link of its own: `twoticks key dashboard` prints one."
                    .to_owned(),
            ),
            Self::LooksOnly => (
                StatusCode::FORBIDDEN,
                "You may look, and not change anything: `twoticks key dashboard --setup` prints a \
                 link that may, for an hour."
                    .to_owned(),
            ),
            Self::Foreign => (
                StatusCode::FORBIDDEN,
                "Nothing was changed: the form was sent by another page, or before you were let \
                 in anew. Open the page again, and behind a proxy have it hand on the header \
                 `Host`."
                    .to_owned(),
            ),
            Self::Address(text) => (StatusCode::BAD_REQUEST, text),
            Self::Form(status, text) => (status, text),
            Self::TooSoon(text) => (StatusCode::TOO_MANY_REQUESTS, text),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The ledger does not answer just now; the log says why.".to_owned(),
            ),
        };
        match overview::notice(status, &text, back) {
            Ok(page) => (status, Html(page)).into_response(),
            Err(_) => (status, text).into_response(),
        }
    }
}

/// Whose nonces used links are: no access key has such a name.
const LINKS: &str = "dashboard link";

/// Finds who is looking: by the link they came with, else by their cookie, else, in a rehearsal,
/// its first account. Whoever may change something says so with a cookie of its own.
fn visitor(
    State(app): State<&App>,
    query: Option<&str>,
    cookies: Option<&str>,
) -> Result<Visitor, Refusal> {
    let now = app.clock.now();
    let directory = app.directory.snapshot();
    let is_there = |account: &Uid| directory.account(account.as_str()).is_some();
    let found = |account: Uid, cookie| {
        let session = cookies.and_then(|cookies| ticket::session_of(&app.keys, now, cookies));
        let session = session.filter(|session| session.account == account);
        Visitor { account, cookie, session }
    };
    // A link lets in once; whoever it let in has a cookie.
    let by_link = query.and_then(|given| {
        ticket::of_link(&app.keys, now, given).filter(|_| is_first_use(app, given))
    });
    if let Some(account) = by_link.filter(is_there) {
        let cookie = ticket::cookie(&app.keys, now, &account);
        return Ok(found(account, Some(cookie)));
    }
    let by_cookie = cookies.and_then(|cookies| ticket::of_cookies(&app.keys, now, cookies));
    if let Some(account) = by_cookie.filter(is_there) {
        return Ok(found(account, None));
    }
    if app.rehearsal.is_some()
        && let Some(account) = directory.accounts().next()
    {
        return Ok(found(account.uid.clone(), None));
    }
    Err(Refusal::NoTicket)
}

/// Whether nobody has come with this link yet.
fn is_first_use(app: &App, given: &str) -> bool {
    app.gate.nonces.use_once(LINKS, given, app.clock.now()) == Used::First
}

/// The cookies of a request, as the browser wrote them.
fn cookies(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::COOKIE).and_then(|value| value.to_str().ok())
}

/// A page as the navigation shows it.
struct Link {
    path: &'static str,
    title: &'static str,
    is_here: bool,
}

/// The navigation on the page with the path `here`.
fn navigation(here: &str) -> Vec<Link> {
    let link =
        |page: &Page| Link { path: page.path, title: page.title, is_here: page.path == here };
    PAGES.iter().map(link).collect()
}

/// Text with code in backticks: text and code by turns.
fn pieces(text: &str) -> Vec<&str> {
    text.split('`').collect()
}
