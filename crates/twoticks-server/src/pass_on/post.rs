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

use crate::outside::guard::{Guard, Unfit};
use crate::outside::words;

/// How long a post may take, the answer included: what CAMS waits for.
pub const WITHIN: Duration = Duration::from_secs(3);
/// How long an answer that nothing depends on is read, so that its connection can be used again.
const DRAIN_WITHIN: Duration = Duration::from_millis(100);
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
    https: OnceLock<Client>,
    /// and without.
    http: OnceLock<Client>,
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
            "https" => made(&self.https, || self.client(true))?,
            _ => made(&self.http, || self.client(false))?,
        };
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
        if !needs_code {
            // It was taken, whatever comes now; a connection is used again when its answer was read.
            drop(tokio::time::timeout(DRAIN_WITHIN, read(&mut response)).await);
            return Ok(());
        }
        let answer: Value = serde_json::from_slice(&read(&mut response).await?).unwrap_or_default();
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

/// What is there, or is made now. What could not be made is made the next time: certificates that are
/// missing may be there then.
fn made<T>(kept: &OnceLock<T>, make: impl FnOnce() -> Result<T, Failed>) -> Result<&T, Failed> {
    match kept.get() {
        Some(known) => Ok(known),
        None => {
            let new = make()?;
            Ok(kept.get_or_init(|| new))
        }
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::sync::Mutex;

    use futures_util::future::BoxFuture;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::outside::NO_TLS;
    use crate::outside::guard::{Lookup, Networks};

    /// Names that lead somewhere else each time.
    struct Rebinding(Mutex<Vec<Vec<&'static str>>>);

    impl Lookup for Rebinding {
        fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
            assert_eq!(name, "hooks.example");
            let found = self.0.lock().unwrap().pop().unwrap();
            let found = found.into_iter().map(|address| address.parse().unwrap()).collect();
            Box::pin(std::future::ready(Ok(found)))
        }
    }

    /// Somebody on every address of this machine, who takes one post a connection; who was called.
    async fn everywhere() -> (u16, Arc<Mutex<Vec<IpAddr>>>, JoinSet<()>) {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (called, mut serving) = (Arc::<Mutex<Vec<IpAddr>>>::default(), JoinSet::new());
        let of = Arc::clone(&called);
        serving.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                of.lock().unwrap().push(stream.local_addr().unwrap().ip());
                let mut some = [0; 4096];
                drop(stream.read(&mut some).await);
                let answer = "HTTP/1.1 200 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        (port, called, serving)
    }

    #[tokio::test]
    async fn a_name_that_leads_elsewhere_a_moment_later_leads_nowhere() {
        let (port, called, _serving) = everywhere().await;
        let allowed = Networks::try_from("127.0.0.2/31".to_owned()).unwrap();
        // The last one is asked for first.
        let found = vec![
            vec!["::1", "127.0.0.1", "127.0.0.3"],
            vec!["::ffff:127.0.0.1", "::1"],
            vec!["127.0.0.1"],
            vec!["169.254.169.254"],
            vec!["127.0.0.2"],
        ];
        let lookup = Arc::new(Rebinding(Mutex::new(found)));
        let poster = Poster::new(Guard::new(allowed, true).looking_up(lookup));
        let url = Secret::new(&format!("http://hooks.example:{port}/")).unwrap();
        let parcel =
            || Parcel { body: Bytes::from_static(b"{}"), hub_signature: None, needs_code: false };
        assert_eq!(poster.post(&url, None, parcel()).await, Ok(()));
        for _ in 0..3 {
            let refused = poster.post(&url, None, parcel()).await;
            assert_eq!(refused, Err(Failed::Unfit(Unfit::Private)));
        }
        // Of several addresses those that are allowed are used.
        assert_eq!(poster.post(&url, None, parcel()).await, Ok(()));
        let allowed: Vec<IpAddr> =
            ["127.0.0.2", "127.0.0.3"].map(|address| address.parse().unwrap()).into();
        assert_eq!(*called.lock().unwrap(), allowed);
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_waited_for_only_where_something_depends_on_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut some = [0; 4096];
                drop(stream.read(&mut some).await);
                let answer = "HTTP/1.1 200 x\r\ncontent-length: 10\r\n\r\n{";
                drop(stream.write_all(answer.as_bytes()).await);
                open.push(stream);
            }
        });
        let poster = Poster::new(Guard::new(Networks::all(), true));
        let url = Secret::new(&url).unwrap();
        for needs_code in [false, true] {
            let parcel = Parcel { body: Bytes::new(), hub_signature: None, needs_code };
            let began = tokio::time::Instant::now();
            let taken = poster.post(&url, None, parcel).await;
            assert_eq!(taken.is_err(), needs_code, "{taken:?}");
            assert_eq!(began.elapsed() >= WITHIN, needs_code);
        }
    }

    #[test]
    fn what_could_not_be_made_is_made_the_next_time() {
        let kept = OnceLock::new();
        assert_eq!(made(&kept, || Err(Failed::NoCode)), Err::<&u8, _>(Failed::NoCode));
        assert_eq!(made(&kept, || Ok(1)), Ok(&1));
        assert_eq!(made(&kept, || Err(Failed::NoCode)), Ok(&1));
    }

    #[tokio::test]
    async fn an_answer_that_is_no_tls_is_said_in_fixed_words() {
        let (port, _called, _serving) = everywhere().await;
        let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
        let guard = Guard::new(Networks::all(), true);
        // The certificates of the system may be missing here; without any it fails as well.
        let poster = Poster::new(guard.clone());
        assert!(poster.https.set(poster.client(false).unwrap()).is_ok());
        let url = Secret::new(&format!("https://{address}/token")).unwrap();
        let parcel = Parcel { body: Bytes::new(), hub_signature: None, needs_code: true };
        let failed = poster.post(&url, None, parcel).await;
        assert_eq!(failed, Err(Failed::NoAnswer(NO_TLS.to_owned())));
    }

    #[tokio::test]
    async fn nobody_there_is_said_without_the_address() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = gone.local_addr().unwrap();
        drop(gone);
        let poster = Poster::new(Guard::new(Networks::all(), true));
        let url = Secret::new(&format!("http://{address}/token")).unwrap();
        let parcel = Parcel { body: Bytes::new(), hub_signature: None, needs_code: true };
        let failed = poster.post(&url, None, parcel).await.unwrap_err().to_string();
        assert!(failed.starts_with("it did not answer"), "{failed}");
        assert!(!failed.contains("token") && !failed.contains("127"), "{failed}");
    }
}
