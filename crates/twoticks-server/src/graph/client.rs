//! Calls to the Graph API: HTTP there, a value or a reason back.
//!
//! What always holds: the token that a call is made with travels in a header (asking about a token
//! names it in the query, as the Graph API wants it), and no log has an address; an
//! answer is read up to [`ANSWER_BYTES_MAX`]; whether a request that failed may have been done is
//! told apart from whether it was not.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Url};
use serde_json::Value;
use twoticks_core::clock::Time;
use twoticks_store::directory::names::Secret;
use twoticks_wire::graph::error::GraphError;

use crate::settings;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long opening a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long uploading a medium may take; a call of which it is a part ends before.
const UPLOAD_WITHIN: Duration = Duration::from_secs(60);
/// How many pages of a list are read, at the most.
const PAGES_MAX: usize = 200;

/// Calls the Graph API.
#[derive(Clone, Debug)]
pub struct Graph {
    http: Client,
    root: Url,
    /// With the version.
    base: Url,
    /// When the last answer was made by its own words, in seconds of Unix time; 0 before one.
    answered_at: Arc<AtomicI64>,
}

/// Why a call has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request never left: nothing was done.
    #[error("the Graph API cannot be reached: {0}")]
    NotSent(String),
    /// The request left and no answer of Graph's own came: it is not known whether it was done.
    #[error("the Graph API did not answer: {0}")]
    NoAnswer(String),
    /// It was not done.
    #[error("{error}")]
    Refused {
        /// The status.
        status: u16,
        /// What it said.
        error: GraphError,
    },
}

impl CallError {
    /// What was said, if Graph said something.
    #[must_use]
    pub fn graph(&self) -> Option<&GraphError> {
        match self {
            Self::Refused { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("no calls to the Graph API can be made: {0}")]
pub struct Unusable(String);

/// HTTP to `root`, without redirects; past a proxy of the environment if that is on this machine.
///
/// # Errors
/// If it needs TLS and the certificates of the system cannot be had.
fn http(root: &Url, within: Duration) -> Result<Client, Unusable> {
    // Whoever came first has installed the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut client = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_WITHIN.min(within))
        .timeout(within)
        .user_agent(concat!("twoticks/", env!("CARGO_PKG_VERSION")));
    if root.scheme() == "http" {
        // The system's certificates may be missing, and are not needed.
        client = client.tls_certs_only([]);
    }
    if is_this_machine(root) {
        client = client.no_proxy();
    }
    client.build().map_err(|error| Unusable(words(&error)))
}

fn is_this_machine(address: &Url) -> bool {
    let host = address.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What failed, without the address, which may have a secret in it.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let last = causes.last().map(ToString::to_string);
    match (error.is_timeout(), last) {
        (true, _) => "it took too long".to_owned(),
        (false, Some(cause)) => cause,
        (false, None) => "the request failed".to_owned(),
    }
}

impl Graph {
    /// Calls where `settings` say.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(settings: &settings::Graph) -> Result<Self, Unusable> {
        let address = |text: String| {
            let parsed = Url::parse(&text);
            parsed.map_err(|why| Unusable(format!("`{text}` is no address: {why}")))
        };
        let root = settings.url.trim_end_matches('/');
        let base = address(format!("{root}/{}/", settings.version))?;
        let root = address(format!("{root}/"))?;
        let http = http(&root, Duration::from_secs(u64::from(settings.timeout_seconds)))?;
        Ok(Self { http, root, base, answered_at: Arc::default() })
    }

    /// HTTP, for whoever hands on a request as it is.
    pub(crate) fn http(&self) -> &Client {
        &self.http
    }

    /// Where the API begins, before its version.
    pub(crate) fn root(&self) -> &Url {
        &self.root
    }

    /// The address of `path`, such as `1234/messages`: one of this API's, whatever an id that was
    /// typed has in it.
    pub(crate) fn address(&self, path: &str) -> Result<Url, CallError> {
        let unfit = |why: &str| CallError::NotSent(format!("`{path}`: {why}"));
        let address = self.base.join(path).map_err(|why| unfit(&why.to_string()))?;
        if address.as_str().starts_with(self.base.as_str()) {
            Ok(address)
        } else {
            Err(unfit("that is no path of the Graph API"))
        }
    }

    /// When the last answer was made, by the clock of who made it; `None` before one.
    #[must_use]
    pub fn answered_at(&self) -> Option<Time> {
        let seconds = self.answered_at.load(Ordering::Relaxed);
        (seconds != 0).then(|| Time(seconds.saturating_mul(1_000)))
    }

    /// The answer to a GET.
    ///
    /// # Errors
    /// [`CallError`]; so for all calls.
    pub async fn get(
        &self,
        token: &Secret,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, CallError> {
        self.call(Method::GET, token, self.address(path)?, query, None).await
    }

    /// As [`Graph::get`], the answer as it came: for those that are long, and for amounts to the
    /// last digit.
    ///
    /// # Errors
    /// See [`Graph::get`].
    pub(crate) async fn get_bytes(
        &self,
        token: &Secret,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<u8>, CallError> {
        let (status, body) = self.ask(Method::GET, token, self.address(path)?, query, None).await?;
        judge(status, &body)?;
        Ok(body)
    }

    /// The answer to a POST with a JSON body.
    ///
    /// # Errors
    /// See [`Graph::get`].
    pub async fn post(
        &self,
        token: &Secret,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        self.call(Method::POST, token, self.address(path)?, query, body).await
    }

    /// The answer to a DELETE.
    ///
    /// # Errors
    /// See [`Graph::get`].
    pub async fn delete(
        &self,
        token: &Secret,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Value, CallError> {
        self.call(Method::DELETE, token, self.address(path)?, query, None).await
    }

    /// The answer to a POST of bytes to the session of an upload, such as `upload:…?sig=…`.
    ///
    /// # Errors
    /// See [`Graph::get`].
    pub(crate) async fn put(
        &self,
        token: &Secret,
        session: &str,
        mime: &str,
        bytes: Vec<u8>,
    ) -> Result<Value, CallError> {
        // Joined as a text: it looks like an address of its own.
        let address = Url::parse(&format!("{}{session}", self.base));
        let address = address.map_err(|why| CallError::NotSent(format!("an upload: {why}")))?;
        let mut authorization = HeaderValue::try_from(format!("OAuth {}", token.expose()))
            .map_err(|why| CallError::NotSent(format!("the access token: {why}")))?;
        authorization.set_sensitive(true);
        let request = self.http.post(address).timeout(UPLOAD_WITHIN);
        let request = request.header(AUTHORIZATION, authorization).header("file_offset", "0");
        let request = request.header(CONTENT_TYPE, mime).body(bytes);
        let (status, body) = self.answer(request).await?;
        judge(status, &body)
    }

    /// Everything in a list of several pages, in its order.
    ///
    /// # Errors
    /// See [`Graph::get`]; also if there are more than [`PAGES_MAX`] pages, or one leads back.
    pub async fn list(
        &self,
        token: &Secret,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<Value>, CallError> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            query.extend(after.as_deref().map(|after| ("after", after)));
            let mut page = self.get(token, path, &query).await?;
            let next = page.pointer("/paging/next").is_some_and(Value::is_string);
            let cursor = page.pointer("/paging/cursors/after").and_then(Value::as_str);
            let cursor = cursor.map(str::to_owned);
            if let Some(Value::Array(data)) = page.get_mut("data").map(Value::take) {
                all.extend(data);
            }
            if !next || cursor.is_none() || cursor == after {
                return Ok(all);
            }
            after = cursor;
        }
        Err(CallError::NoAnswer(format!("`{path}` has more than {PAGES_MAX} pages")))
    }

    async fn call(
        &self,
        method: Method,
        token: &Secret,
        address: Url,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, CallError> {
        let (status, body) = self.ask(method, token, address, query, body).await?;
        judge(status, &body)
    }

    /// The status and the body of what answers.
    async fn ask(
        &self,
        method: Method,
        token: &Secret,
        address: Url,
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<(u16, Vec<u8>), CallError> {
        let mut request = self.http.request(method, address).bearer_auth(token.expose());
        if !query.is_empty() {
            request = request.query(query);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    async fn answer(&self, request: RequestBuilder) -> Result<(u16, Vec<u8>), CallError> {
        let response = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                CallError::NotSent(words(&error))
            } else {
                CallError::NoAnswer(words(&error))
            }
        })?;
        if let Some(date) = response.headers().get(reqwest::header::DATE).and_then(date) {
            self.answered_at.store(date, Ordering::Relaxed);
        }
        let status = response.status().as_u16();
        Ok((status, read(response).await?))
    }
}

/// The seconds of Unix time that a `Date` header says.
fn date(value: &HeaderValue) -> Option<i64> {
    let parsed = jiff::fmt::rfc2822::parse(value.to_str().ok()?).ok()?;
    Some(parsed.timestamp().as_second())
}

/// The body of an answer.
async fn read(mut response: reqwest::Response) -> Result<Vec<u8>, CallError> {
    let status = response.status().as_u16();
    let broken = |why: String| CallError::NoAnswer(format!("the answer (status {status}) {why}"));
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|error| broken(format!("broke off: {}", words(&error))))?
    {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(broken(format!("is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an answer says: by its body before its status.
fn judge(status: u16, body: &[u8]) -> Result<Value, CallError> {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    if let Some(error) = parsed.as_ref().and_then(GraphError::of)
        // A gateway on the way may word its own failures in the same form.
        && (status < 500 || error.is_known())
    {
        return Err(CallError::Refused { status, error });
    }
    match parsed {
        Some(value) if (200..300).contains(&status) => Ok(value),
        // Who answers like this is not Graph: something on the way, before or behind it.
        _ => Err(CallError::NoAnswer(format!("status {status} without an answer of its own"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told_by_its_names() {
        for (address, is_here) in [
            ("http://127.0.0.1:1/", true),
            ("http://[::1]:1/", true),
            ("http://localhost/", true),
            ("https://graph.facebook.com/", false),
            ("http://127.0.0.1.example.com/", false),
        ] {
            assert_eq!(is_this_machine(&Url::parse(address).unwrap()), is_here, "{address}");
        }
    }

    #[test]
    fn no_path_leads_elsewhere() {
        let graph = Graph::new(&settings::Settings::default().graph).unwrap();
        for path in ["//evil.example/1", "https://evil.example/1", "/v1.0/1", "../1", "1/../../1"] {
            assert!(graph.address(path).is_err(), "{path}");
        }
        let address = graph.address("1234/messages").unwrap();
        assert_eq!(address.as_str(), "https://graph.facebook.com/v24.0/1234/messages");
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let read = |text: &'static str| date(&HeaderValue::from_static(text));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(read("yesterday"), None);
    }

    #[test]
    fn an_answer_is_judged_by_its_body_first() {
        let code = |status, body: &str| match judge(status, body.as_bytes()) {
            Ok(value) => value.to_string(),
            Err(CallError::Refused { status, error }) => format!("{status} {}", error.code),
            Err(other) => other.to_string(),
        };
        assert_eq!(code(200, r#"{"success":true}"#), r#"{"success":true}"#);
        assert_eq!(code(200, r#"{"error":{"code":131000}}"#), "200 131000");
        assert_eq!(code(500, r#"{"error":{"code":2}}"#), "500 2");
        for (status, body) in [
            (502, "<html>"),
            (200, "<html>"),
            (500, "{}"),
            (204, ""),
            (502, r#"{"error":{"message":"upstream timeout"}}"#),
            (504, r#"{"error":{"code":504}}"#),
        ] {
            let said = code(status, body);
            assert!(said.contains(&format!("status {status} without")), "{said}");
        }
    }
}
