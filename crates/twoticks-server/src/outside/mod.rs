//! What others have us reach: the internet, and nothing else.
//!
//! A caller names an address, and this machine may reach what the caller cannot: so [`guard`]
//! looks at the address and at what its name leads to. What always holds: no redirect is followed,
//! no proxy is used (it would look the name up itself), what is read and how long it takes is
//! bounded, and no log has an address.

pub mod guard;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;

use self::guard::{Guard, Unfit};

/// How long fetching something may take. A call may take 30 s as a whole.
const FETCH_WITHIN: Duration = Duration::from_secs(20);
/// How long opening a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Why something was not fetched. The words do not repeat the address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfetched {
    /// It may not be asked.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Nobody answered.
    #[error("it cannot be reached: {0}")]
    Unreached(String),
    /// The answer is none.
    #[error("it answers with the status {0}; only 200 will do, and redirects are not followed")]
    Status(u16),
    /// It is longer than is read.
    #[error("it has more than {max} bytes")]
    TooLarge {
        /// How many are read.
        max: usize,
    },
}

/// The bytes at an address, at most `bytes_max`.
///
/// # Errors
/// [`Unfetched`].
pub(crate) async fn fetch(
    guard: &Guard,
    address: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, Unfetched> {
    let url = guard.url(address)?;
    let unreached = |error: &reqwest::Error| Unfetched::Unreached(words(error));
    // Whoever came first has installed the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut client = Client::builder()
        .dns_resolver(Arc::new(guard.clone()))
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_WITHIN)
        .timeout(FETCH_WITHIN)
        .user_agent(concat!("twoticks/", env!("CARGO_PKG_VERSION")));
    if url.scheme() == "http" {
        // The system's certificates may be missing, and are not needed.
        client = client.tls_certs_only([]);
    }
    let client = client.build().map_err(|error| unreached(&error))?;
    let mut response = client.get(url).send().await.map_err(|error| unreached(&error))?;
    if response.status().as_u16() != 200 {
        return Err(Unfetched::Status(response.status().as_u16()));
    }
    let too_large = || Unfetched::TooLarge { max: bytes_max };
    let told = response.content_length().unwrap_or_default();
    if usize::try_from(told).map_or(true, |told| told > bytes_max) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreached(&error))? {
        if bytes.len() + chunk.len() > bytes_max {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// What failed, without the address.
pub(crate) fn words(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let mut causes = causes.collect::<Vec<_>>().into_iter();
    // What a name leads to is refused within the client, which wraps it.
    if let Some(unfit) = causes.clone().find_map(|cause| cause.downcast_ref::<Unfit>()) {
        return unfit.to_string();
    }
    match (error.is_timeout(), causes.clone().any(is_tls), causes.next_back()) {
        (true, _, _) => "it took too long".to_owned(),
        // Its own words for it have the name in them.
        (false, true, _) => NO_TLS.to_owned(),
        (false, false, Some(cause)) => cause.to_string(),
        (false, false, None) => "the request failed".to_owned(),
    }
}

/// What is said of a connection that is not to be trusted.
pub(crate) const NO_TLS: &str =
    "its certificate is not one for it that the system trusts, or it does not speak TLS";

fn is_tls(mut cause: &(dyn std::error::Error + 'static)) -> bool {
    // An error of I/O may be one of TLS, within another one.
    while let Some(within) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        cause = within;
    }
    cause.is::<rustls::Error>()
}
