//! Links of templates that lead over us: `GET /r/{token}`.
//!
//! [`wrap`] puts our address into a template and remembers where its button led to, [`token`] says
//! what stands behind that address in each message, [`machines`] tells machines from people, and
//! [`counting`] puts what was opened into the ledger. What always holds: an address leads only to
//! the target that its template has registered, with what we sent behind it; whoever opens one is
//! led on at once, whatever the ledger says; what cannot be counted is counted as lost.

mod counting;
mod machines;
pub(crate) mod token;
pub mod wrap;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

use self::counting::Click;
pub use self::counting::Clicks;
pub(crate) use self::counting::{count, count_rest};
pub(crate) use self::wrap::named;
use crate::app::App;

/// The longest click id of Meta's that is handed on, in bytes.
const CLICK_ID_BYTES_MAX: usize = 512;
/// What Meta calls it in an address.
const CLICK_ID: &str = "fbclid";
/// The variable that a target ends in, if it takes something.
pub(crate) const VARIABLE: &str = "{{1}}";

/// The route of the links.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/r/{token}", get(open))
}

async fn open(
    State(app): State<Arc<App>>,
    token: Result<Path<String>, PathRejection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let token = token.map(|Path(text)| text).unwrap_or_default();
    let snapshot = app.directory.snapshot();
    let opened = token::open(&app.keys, &snapshot, &token);
    let click_id = click_id(uri.query().unwrap_or_default());
    let to = opened.as_ref().map(|it| leads(&it.link.target, &it.suffix, click_id));
    let location = to.and_then(|to| HeaderValue::from_str(&to).ok());
    let (Some(opened), Some(location)) = (opened, location) else {
        app.telemetry.links("unknown", 1);
        return apart(nowhere());
    };
    let is_machine = machines::is_machine(&method, &headers);
    app.telemetry.links(if is_machine { "machine" } else { "person" }, 1);
    let click = Click::new(opened.token, app.clock.now(), is_machine, click_id);
    app.clicks.push(&app.telemetry, click);
    apart((StatusCode::FOUND, [(header::LOCATION, location)]).into_response())
}

/// What nobody is to keep, to find or to hand on.
fn apart(mut response: Response) -> Response {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex, nofollow"),
        ("x-content-type-options", "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn nowhere() -> Response {
    let said = "This link leads nowhere. It was not sent like this, or its template is gone.\n";
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], said)
        .into_response()
}

/// The click id that Meta has put into the address.
fn click_id(query: &str) -> Option<&str> {
    let id = query.split('&').find_map(|pair| pair.strip_prefix(CLICK_ID)?.strip_prefix('='))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    (!id.is_empty() && id.len() <= CLICK_ID_BYTES_MAX && id.bytes().all(is_plain)).then_some(id)
}

/// Where a link leads: the target, what was sent behind it, and Meta's click id, which the page
/// may want to report.
fn leads(target: &str, suffix: &str, click_id: Option<&str>) -> String {
    let mut to = String::with_capacity(target.len() + suffix.len());
    let fixed = target.strip_suffix(VARIABLE);
    let suffix = if fixed.is_some() { suffix } else { "" };
    for byte in fixed.unwrap_or(target).bytes().chain(suffix.bytes()) {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push_str(&format!("%{byte:02X}"));
        }
    }
    if let Some(id) = click_id {
        let at = to.find('#').unwrap_or(to.len());
        let joint = if to.get(..at).is_some_and(|it| it.contains('?')) { '&' } else { '?' };
        to.insert_str(at, &format!("{joint}{CLICK_ID}={id}"));
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_its_target_and_nowhere_else() {
        for (target, suffix, click_id, to) in [
            ("https://x.example/a", "", None, "https://x.example/a"),
            // A target that takes nothing gets nothing.
            ("https://x.example/a", "b", None, "https://x.example/a"),
            ("https://x.example/{{1}}", "b?c=d&e#f", None, "https://x.example/b?c=d&e#f"),
            (
                "https://x.example/{{1}}",
                "é \r\nx: y",
                None,
                "https://x.example/%C3%A9%20%0D%0Ax:%20y",
            ),
            ("https://x.example/{{1}}", "", None, "https://x.example/"),
            ("https://x.example/a", "", Some("Iw.1"), "https://x.example/a?fbclid=Iw.1"),
            ("https://x.example/a?b#c", "", Some("Iw"), "https://x.example/a?b&fbclid=Iw#c"),
        ] {
            assert_eq!(leads(target, suffix, click_id), to);
        }
    }

    #[test]
    fn a_click_id_is_taken_only_if_it_is_plain() {
        let longest = "a".repeat(CLICK_ID_BYTES_MAX);
        for (query, id) in [
            ("fbclid=IwAR-1_x", Some("IwAR-1_x")),
            ("a=b&fbclid=x&c", Some("x")),
            ("fbclid=", None),
            ("xfbclid=1", None),
            ("fbclid=a%0d", None),
            (&format!("fbclid={longest}"), Some(longest.as_str())),
            (&format!("fbclid={longest}a"), None),
            ("", None),
        ] {
            assert_eq!(click_id(query), id, "{query}");
        }
    }
}
