//! Where webhooks go: to the emulator's own server, or where somebody has asked to be called back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Uri};
use twoticks_wire::params::encode_pairs;

use crate::post::{Asked, Lane};

/// How many connections webhooks come over, to each receiver.
const LANES: usize = 4;
/// To how many receivers connections are kept open; beyond that, only to the own server.
const RECEIVERS_MAX: usize = 64;
/// The longest address to be called back at, in characters (Meta).
pub const CALLBACK_CHARS_MAX: usize = 200;
/// Where the own server takes webhooks.
pub(super) const OWN_PATH: &str = "/webhooks/whatsapp";

/// Where a channel's webhooks go instead of to the emulator's own server.
///
/// **Invariant:** it is on this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Callback {
    url: String,
    address: SocketAddr,
    /// Path and query.
    target: String,
}

impl Callback {
    /// Finds where `url` is.
    ///
    /// # Errors
    /// What would do.
    pub async fn find(url: &str) -> Result<Self, String> {
        if url.chars().count() > CALLBACK_CHARS_MAX {
            return Err(format!("it is longer than {CALLBACK_CHARS_MAX} characters"));
        }
        let uri: Uri = url.parse().map_err(|_| "it is no URL".to_owned())?;
        let plain = "an emulator calls back over http to this machine only: \
                     http://127.0.0.1:PORT/PATH would do";
        if uri.scheme_str() != Some("http") {
            return Err(plain.to_owned());
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(80);
        let found = tokio::net::lookup_host((host, port)).await;
        let mut addresses: Vec<SocketAddr> =
            found.map_err(|_| format!("nobody knows the host `{host}`"))?.collect();
        // A name may stand for both; receivers in tests mostly listen on the older kind.
        addresses.sort_by_key(|address| !address.is_ipv4());
        let address = addresses.into_iter().find(|address| address.ip().is_loopback());
        let address = address.ok_or_else(|| plain.to_owned())?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { url: url.to_owned(), address, target })
    }

    /// The URL as it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Asks the receiver to say `challenge` back, as a proof that it wants to be called.
    ///
    /// # Errors
    /// What it did instead.
    pub async fn verify(&self, verify_token: &str, challenge: &str) -> Result<(), String> {
        let query = encode_pairs([
            ("hub.mode", "subscribe"),
            ("hub.challenge", challenge),
            ("hub.verify_token", verify_token),
        ]);
        let separator = if self.target.contains('?') { '&' } else { '?' };
        let asked = Asked {
            method: Method::GET,
            target: format!("{}{separator}{query}", self.target),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        let answered = Lane::new(self.address).ask(&asked).await.map_err(|why| why.to_string())?;
        if answered.status != 200 {
            return Err(format!("HTTP Status Code = {}", answered.status.as_u16()));
        }
        if answered.body.trim_ascii() != challenge.as_bytes() {
            return Err("hub.challenge was not echoed".to_owned());
        }
        Ok(())
    }
}

/// The connections to receivers.
#[derive(Default)]
pub(super) struct Lanes {
    own: Option<SocketAddr>,
    open: BTreeMap<SocketAddr, Vec<Lane>>,
}

impl Lanes {
    /// To a server on `own`.
    pub(super) fn to(own: SocketAddr) -> Self {
        Self { own: Some(own), open: BTreeMap::new() }
    }

    /// Whether nobody listens yet.
    pub(super) fn is_empty(&self) -> bool {
        self.own.is_none()
    }

    /// Where a parcel goes: to whoever wants to be called back, else to the own server.
    pub(super) fn address(&self, callback: Option<&Callback>) -> Option<SocketAddr> {
        callback.map(Callback::address).or(self.own)
    }

    /// Makes sure that there are connections to `address`; how many.
    pub(super) fn reach(&mut self, address: SocketAddr) -> usize {
        if self.open.len() >= RECEIVERS_MAX && !self.open.contains_key(&address) {
            let own = self.own;
            self.open.retain(|known, _| Some(*known) == own);
        }
        let lanes = || (0..LANES).map(|_| Lane::new(address)).collect();
        self.open.entry(address).or_insert_with(lanes).len()
    }

    /// Every connection, by address.
    pub(super) fn each(&mut self) -> impl Iterator<Item = (SocketAddr, &mut [Lane])> {
        self.open.iter_mut().map(|(address, lanes)| (*address, lanes.as_mut_slice()))
    }
}
