//! The pages: HTML made here, one file per page, one stylesheet, no script.
//!
//! To add a page, add its file and a line to [`PAGES`]. Every page is for one account, which the
//! visitor's ticket names; nothing on it is another account's. Nothing is loaded from elsewhere.

mod chart;
mod overview;
mod reconcile;
mod ticket;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use twoticks_store::directory::names::Uid;

use crate::access::nonce::Used;
use crate::app::App;

pub use ticket::link;

/// A page: its path and what answers there.
struct Page {
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// Every page.
const PAGES: &[Page] = &[
    Page { path: "/ui/", handler: || get(overview::page) },
    Page { path: "/ui/reconcile", handler: || get(reconcile::page) },
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
}

/// A page that could not be made.
enum Refusal {
    /// Nobody we know.
    NoTicket,
    /// The address asks for what there is not; says what would do.
    Address(String),
    /// Nothing is wrong with the question.
    Unavailable,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let back = matches!(self, Self::Address(_));
        let (status, text) = match self {
            Self::NoTicket => (
                StatusCode::FORBIDDEN,
                "This page needs a link of its own: `twoticks key dashboard` prints one."
                    .to_owned(),
            ),
            Self::Address(text) => (StatusCode::BAD_REQUEST, text),
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
/// its first account.
fn visitor(
    State(app): State<&App>,
    query: Option<&str>,
    cookies: Option<&str>,
) -> Result<Visitor, Refusal> {
    let now = app.clock.now();
    let directory = app.directory.snapshot();
    let is_there = |account: &Uid| directory.account(account.as_str()).is_some();
    // A link lets in once; whoever it let in has a cookie.
    let is_first = |given: &str| app.gate.nonces.use_once(LINKS, given, now) == Used::First;
    let by_link =
        query.and_then(|given| ticket::of_link(&app.keys, now, given).filter(|_| is_first(given)));
    if let Some(account) = by_link.filter(is_there) {
        return Ok(Visitor { cookie: Some(ticket::cookie(&app.keys, now, &account)), account });
    }
    let by_cookie = cookies.and_then(|cookies| ticket::of_cookies(&app.keys, now, cookies));
    if let Some(account) = by_cookie.filter(is_there) {
        return Ok(Visitor { account, cookie: None });
    }
    if app.rehearsal.is_some()
        && let Some(account) = directory.accounts().next()
    {
        return Ok(Visitor { account: account.uid.clone(), cookie: None });
    }
    Err(Refusal::NoTicket)
}
