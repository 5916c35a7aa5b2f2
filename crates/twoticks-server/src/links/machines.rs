//! Whether a link was opened by a person or by a machine: link previews, prefetches, crawlers.
//!
//! To know another machine, add a line to `machines.txt`.

use std::sync::LazyLock;

use axum::http::{HeaderMap, Method, header};

/// How a program says that nobody has asked for the page yet.
const PURPOSES: [&str; 4] = ["sec-purpose", "purpose", "x-purpose", "x-moz"];
/// What such a header says then.
const AHEAD: [&str; 3] = ["prefetch", "prerender", "preview"];
/// The most of a User-Agent that is looked at, in bytes.
const AGENT_BYTES_MAX: usize = 1_024;

static PARTS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let lines = include_str!("machines.txt").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
});

/// Whether a request is a machine's. One that does not say what it is, is.
pub(crate) fn is_machine(method: &Method, headers: &HeaderMap) -> bool {
    let said = |name: &str| {
        let bytes = headers.get(name)?.as_bytes();
        let bytes = bytes.get(..bytes.len().min(AGENT_BYTES_MAX))?;
        Some(String::from_utf8_lossy(bytes).to_ascii_lowercase())
    };
    let is_ahead = |said: String| AHEAD.iter().any(|word| said.contains(word));
    if method == Method::HEAD || PURPOSES.iter().any(|name| said(name).is_some_and(is_ahead)) {
        return true;
    }
    let agent = said(header::USER_AGENT.as_str()).unwrap_or_default();
    agent.trim().is_empty()
        || PARTS.iter().any(|part| match part.strip_suffix('^') {
            Some(start) => agent.starts_with(start),
            None => agent.contains(part),
        })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn of(agent: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_str(agent).unwrap())])
    }

    #[test]
    fn people_are_people_also_within_an_app() {
        for agent in [
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, \
             like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/130.0.0.0 Mobile Safari/537.36",
            "Mozilla/5.0 (Linux; Android 14; SM-S911B; wv) AppleWebKit/537.36 (KHTML, like Gecko) \
             Version/4.0 Chrome/130.0.0.0 Mobile Safari/537.36 [FB_IAB/WhatsApp;FBAV/2.24.20.0;]",
            "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
            // A phone's name is no bot.
            "Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 Chrome/130 Safari/537.36",
        ] {
            assert!(!is_machine(&Method::GET, &of(agent)), "{agent}");
            assert!(is_machine(&Method::HEAD, &of(agent)), "{agent}");
        }
    }

    #[test]
    fn machines_are_known_by_their_names_and_by_what_they_say_they_want() {
        for agent in [
            "WhatsApp/2.24.20.89 A",
            "WhatsApp/2.2412.54 W",
            "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
            "Twitterbot/1.0",
            "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/130.0.0.0 Safari/537.36",
            "curl/8.9.1",
            "python-requests/2.32",
            "Go-http-client/2.0",
            " ",
        ] {
            assert!(is_machine(&Method::GET, &of(agent)), "{agent}");
        }
        assert!(is_machine(&Method::GET, &HeaderMap::new()));
        for (name, value, is) in [
            ("sec-purpose", "prefetch;prerender", true),
            ("purpose", "prefetch", true),
            ("x-moz", "prefetch", true),
            ("x-purpose", "preview", true),
            ("purpose", "other", false),
        ] {
            let mut headers = of("Mozilla/5.0 (X11; Linux x86_64) Firefox/132.0");
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            assert_eq!(is_machine(&Method::GET, &headers), is, "{name}: {value}");
        }
    }
}
