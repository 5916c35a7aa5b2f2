//! One post: the bytes there, and whether they were taken.
//!
//! What always holds: a post ends within [`WITHIN`], reads little of the answer, follows no
//! redirect and goes through no proxy, so that nobody else decides where it ends up; no log has the
//! address.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use twoticks_store::directory::names::Secret;
use twoticks_wire::webhook::meta;

use super::guard::{Guard, Unfit};
use crate::graph::client::words;

/// How long a post may take, the answer included: what CAMS waits for.
pub const WITHIN: Duration = Duration::from_secs(3);
/// How much of an answer is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How many connections to one destination stay open.
const IDLE_MAX: usize = 4;
/// The signature by the destination's own key.
const OWN_SIGNATURE: HeaderName = HeaderName::from_static("x-twoticks-signature-256");
/// The signature by the app secret, as WhatsApp makes it.
const HUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The body.
    pub body: Bytes,
    /// `X-Hub-Signature-256`, if it has one.
    pub hub_signature: Option<String>,
    /// Whether it was taken only if the answer has `"code":0`.
    pub needs_code: bool,
}

/// Why a post was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// It may not be posted to.
    #[error("it may not be posted to: {0}")]
    Unfit(#[from] Unfit),
    /// No answer came.
    #[error("it did not answer: {0}")]
    NoAnswer(String),
    /// Another status than 2xx.
    #[error("it answered with status {0}")]
    Status(u16),
    /// 2xx, and not what CAMS takes for an acknowledgement.
    #[error("it answered without `\"code\":0`")]
    NoCode,
}

/// Posts.
pub struct Poster {
    guard: Guard,
    /// With the certificates of the system, which may be missing;
    https: OnceLock<Result<Client, Failed>>,
    /// and without.
    http: OnceLock<Result<Client, Failed>>,
}

impl Poster {
    /// Posts where `guard` allows it.
    #[must_use]
    pub fn new(guard: Guard) -> Self {
        Self { guard, https: OnceLock::new(), http: OnceLock::new() }
    }

    /// Says which URLs may be posted to.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Posts `parcel` to `url`, signed with `key`.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn post(
        &self,
        url: &Secret,
        key: Option<&Secret>,
        parcel: Parcel,
    ) -> Result<(), Failed> {
        let url = self.guard.url(url.expose())?;
        let client = match url.scheme() {
            "https" => self.https.get_or_init(|| self.client(true)),
            _ => self.http.get_or_init(|| self.client(false)),
        };
        let client = client.as_ref().map_err(Clone::clone)?;
        let Parcel { body, hub_signature, needs_code } = parcel;
        let own = key.map(|key| meta::sign(key.expose().as_bytes(), &body));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        for (name, value) in [(OWN_SIGNATURE, own), (HUB_SIGNATURE, hub_signature)] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        let mut response =
            client.post(url).headers(headers).body(body).send().await.map_err(no_answer)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Failed::Status(status.as_u16()));
        }
        // Also where nothing depends on it: a connection is used again when its answer was read.
        let answer = read(&mut response).await;
        if !needs_code {
            return Ok(());
        }
        let answer: Value = serde_json::from_slice(&answer?).unwrap_or_default();
        match answer.get("code").and_then(Value::as_i64) {
            Some(0) => Ok(()),
            _ => Err(Failed::NoCode),
        }
    }

    fn client(&self, with_certificates: bool) -> Result<Client, Failed> {
        // Whoever came first has installed the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut client = Client::builder()
            .dns_resolver(Arc::new(self.guard.clone()))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(WITHIN)
            .pool_max_idle_per_host(IDLE_MAX)
            .user_agent(concat!("twoticks/", env!("CARGO_PKG_VERSION")));
        if !with_certificates {
            client = client.tls_certs_only([]);
        }
        client.build().map_err(no_answer)
    }
}

async fn read(response: &mut reqwest::Response) -> Result<Vec<u8>, Failed> {
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        answer.extend_from_slice(&chunk);
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(Failed::NoCode);
        }
    }
    Ok(answer)
}

fn no_answer(error: reqwest::Error) -> Failed {
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    for cause in causes {
        if let Some(unfit) = cause.downcast_ref::<Unfit>() {
            return Failed::Unfit(*unfit);
        }
    }
    Failed::NoAnswer(words(&error))
}
