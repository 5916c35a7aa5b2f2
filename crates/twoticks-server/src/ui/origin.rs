//! Where a browser thinks that it is, and whether a form was sent by a page of ours.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};

/// The address by which a browser reaches this server, without a path: `https` if a proxy says so
/// (`X-Forwarded-Proto`), and the name that it asked for. Whoever asks can write anything there:
/// it is for showing, to them.
pub(super) fn seen(headers: &HeaderMap) -> Option<String> {
    let scheme = if is_over_tls(headers) { "https" } else { "http" };
    Some(format!("{scheme}://{}", host(headers)?))
}

/// Whether the browser's connection is TLS, by the word of the proxy that ends it.
pub(super) fn is_over_tls(headers: &HeaderMap) -> bool {
    text(headers, "x-forwarded-proto") == Some("https")
}

/// Whether a browser says that a page of this server sends what comes. Browsers of today say it
/// outright where they reach it over TLS or on this machine; else its own name has to be the one
/// that was asked for.
pub(super) fn is_own(headers: &HeaderMap) -> bool {
    let from = text(headers, header::ORIGIN.as_str());
    match text(headers, "sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => {
            let authority = from.and_then(|from| from.split_once("://")).map(|(_, name)| name);
            authority.is_some_and(|name| host(headers).is_some_and(|host| host.as_str() == name))
        }
    }
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    text(headers, header::HOST.as_str())?.parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn a_form_is_own_if_the_browser_says_so_or_names_this_server() {
        for (pairs, is) in [
            (&[("host", "m.example"), ("origin", "https://m.example")][..], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], true),
            (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8081")], false),
            (&[("host", "m.example"), ("origin", "https://evil.example")], false),
            (&[("host", "m.example"), ("origin", "null")], false),
            (&[("host", "m.example")], false),
            // Behind a proxy that hands on another name.
            (&[("host", "127.0.0.1"), ("sec-fetch-site", "same-origin")], true),
            (&[("host", "m.example"), ("sec-fetch-site", "none")], false),
            (
                &[
                    ("host", "m.example"),
                    ("origin", "https://m.example"),
                    ("sec-fetch-site", "same-site"),
                ],
                false,
            ),
        ] {
            assert_eq!(is_own(&headers(pairs)), is, "{pairs:?}");
        }
    }

    #[test]
    fn the_address_that_is_seen_is_that_of_the_proxy() {
        let seen_at = |pairs| seen(&headers(pairs));
        let local = Some("http://127.0.0.1:8080".to_owned());
        assert_eq!(seen_at(&[("host", "127.0.0.1:8080")]), local);
        let behind = [("host", "m.example"), ("x-forwarded-proto", "https")];
        assert_eq!(seen_at(&behind), Some("https://m.example".to_owned()));
        assert_eq!(seen_at(&[("host", "a b<c>")]), None);
    }
}
