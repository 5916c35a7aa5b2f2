//! Which addresses may be reached: none inside the operator's network, unless it is allowed.
//!
//! A URL is looked at when it is put here and before each use, an address when a connection to it
//! is opened: the client resolves names through this and has no other way to, so that a name that
//! leads elsewhere a moment later leads nowhere. What always holds: what is not known to be the
//! public internet is not.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::{Deserialize, Serialize};

/// The longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_000;

/// Networks, by their first address and the bits that count: `10.1.0.0/16, fd00::/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![(Ipv4Addr::UNSPECIFIED.into(), 0), (Ipv6Addr::UNSPECIFIED.into(), 0)])
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(first, bits)| match (first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let shift = 32_u32.saturating_sub(u32::from(*bits));
                let differ = u32::from(*first) ^ u32::from(address);
                differ.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let shift = 128_u32.saturating_sub(u32::from(*bits));
                let differ = u128::from(*first) ^ u128::from(address);
                differ.checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        })
    }
}

impl TryFrom<String> for Networks {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let network = |part: &str| {
            let (first, bits) = part.split_once('/')?;
            let first: IpAddr = first.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            let most = if first.is_ipv4() { 32 } else { 128 };
            (bits <= most).then_some((first, bits))
        };
        let read = |part: &str| {
            network(part).ok_or_else(|| {
                format!("`{part}` is no network; write such as `10.1.0.0/16` or `fd00::/8`")
            })
        };
        parts.map(read).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Networks> for String {
    fn from(Networks(all): Networks) -> Self {
        let shown: Vec<String> =
            all.iter().map(|(first, bits)| format!("{first}/{bits}")).collect();
        shown.join(", ")
    }
}

/// Why a URL is not used. The words are for whoever gave it; they do not repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is none.
    #[error("it is no URL; write such as `https://example.com/receipts`")]
    NoUrl,
    /// It is too long.
    #[error("it is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Its scheme.
    #[error("it has to begin with `https://`; `outside.http = true` allows `http://`")]
    Scheme,
    /// A user or a password.
    #[error("it must have no user and no password in it")]
    User,
    /// Where it leads.
    #[error("it leads into a network that is not public; `outside.networks` allows some of them")]
    Private,
}

/// Looks names up.
pub trait Lookup: Send + Sync {
    /// The addresses of `name`.
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>>;
}

/// As the operating system does.
struct System;

impl Lookup for System {
    fn lookup(&self, name: String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Says which URLs and which addresses may be reached.
#[derive(Clone)]
pub struct Guard {
    networks: Networks,
    http: bool,
    lookup: Arc<dyn Lookup>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("networks", &self.networks).finish_non_exhaustive()
    }
}

impl Guard {
    /// The public internet and `networks`, over https, and over http if that is allowed.
    #[must_use]
    pub fn new(networks: Networks, http: bool) -> Self {
        Self { networks, http, lookup: Arc::new(System) }
    }

    /// The same, with names looked up otherwise.
    #[must_use]
    pub fn looking_up(self, lookup: Arc<dyn Lookup>) -> Self {
        Self { lookup, ..self }
    }

    fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.networks.contains(address)
    }

    /// The URL, if it may be reached as far as can be seen by looking at it. Any port will do.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn url(&self, text: &str) -> Result<Url, Unfit> {
        if text.len() > URL_BYTES_MAX {
            return Err(Unfit::TooLong);
        }
        let url = Url::parse(text).map_err(|_| Unfit::NoUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.http => {}
            _ => return Err(Unfit::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Unfit::User);
        }
        let host = url.host_str().ok_or(Unfit::NoUrl)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // A client connects to an address without asking anybody for it.
        match host.parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(Unfit::Private),
            _ => Ok(url),
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, found) = (self.clone(), self.lookup.lookup(name.as_str().to_owned()));
        Box::pin(async move {
            let found = found.await?;
            let mut allowed = found.into_iter().filter(|address| guard.allows(*address)).peekable();
            if allowed.peek().is_none() {
                return Err(Unfit::Private.into());
            }
            let addresses: Vec<SocketAddr> =
                allowed.map(|address| SocketAddr::new(address, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// What is not the public internet (the registries of special addresses of IANA).
const PRIVATE_V4: [(Ipv4Addr, u8); 16] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // Where a large cloud answers with the secrets of its machines, in public addresses.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// Where the public addresses of version 6 are,
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// and what among them is not: protocols, tunnels and examples.
const PRIVATE_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// What a gateway makes an address of version 4 of (NAT64): it is as public as that.
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

fn is_public(address: IpAddr) -> bool {
    let is_in = |(first, bits): (IpAddr, u8)| Networks(vec![(first, bits)]).contains(address);
    match address {
        IpAddr::V4(_) => !PRIVATE_V4.iter().any(|(first, bits)| is_in(((*first).into(), *bits))),
        IpAddr::V6(six) if is_in((NAT64.0.into(), NAT64.1)) => {
            let [.., a, b, c, d] = six.octets();
            is_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(_) => {
            let is_private = |(first, bits): &(Ipv6Addr, u8)| is_in(((*first).into(), *bits));
            is_in((GLOBAL_V6.0.into(), GLOBAL_V6.1)) && !PRIVATE_V6.iter().any(is_private)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("1.1.1.1", true),
            ("9.255.255.255", true),
            ("10.0.0.0", false),
            ("10.255.255.255", false),
            ("11.0.0.0", true),
            ("0.0.0.0", false),
            ("100.63.255.255", true),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("127.0.0.1", false),
            ("127.8.8.8", false),
            ("168.63.129.16", false),
            ("168.63.129.17", true),
            ("169.254.169.254", false),
            ("172.15.255.255", true),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("172.32.0.0", true),
            ("192.0.0.170", false),
            ("192.168.0.1", false),
            ("198.18.0.1", false),
            ("198.19.255.255", false),
            ("198.20.0.0", true),
            ("203.0.113.9", false),
            ("224.0.0.1", false),
            ("239.255.255.250", false),
            ("255.255.255.255", false),
            ("2606:4700:4700::1111", true),
            ("2a00:1450:4001::", true),
            ("::", false),
            ("::1", false),
            ("::8.8.8.8", false),
            ("::ffff:8.8.8.8", true),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::8.8.8.8", true),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b:1::8.8.8.8", false),
            ("100::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("3fff::1", false),
            ("5f00::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            let guard = Guard::new(Networks::default(), false);
            assert_eq!(guard.allows(address.parse().unwrap()), expected, "{address}");
            assert!(Guard::new(Networks::all(), false).allows(address.parse().unwrap()));
        }
    }

    #[test]
    fn networks_are_read_and_hold_at_their_edges() {
        let read = |text: &str| Networks::try_from(text.to_owned());
        let networks = read("10.1.0.0/16, fd00::/8,127.0.0.2/32").unwrap();
        assert_eq!(String::from(networks.clone()), "10.1.0.0/16, fd00::/8, 127.0.0.2/32");
        let guard = Guard::new(networks, false);
        for (address, expected) in [
            ("10.0.255.255", false),
            ("10.1.0.0", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("::ffff:10.1.0.1", true),
            ("127.0.0.1", false),
            ("127.0.0.2", true),
            ("fcff::1", false),
            ("fdff::1", true),
        ] {
            assert_eq!(guard.allows(address.parse().unwrap()), expected, "{address}");
        }
        assert_eq!(read("").unwrap(), Networks::default());
        for wrong in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "ten/8", "10.0.0.0/x"] {
            assert!(read(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_url_is_looked_at_before_it_is_used() {
        let long = format!("https://a.example/{}", "x".repeat(URL_BYTES_MAX - 18));
        let too_long = format!("{long}x");
        for (url, expected) in [
            ("https://hooks.example.com:8443/a?b=c", Ok(())),
            ("https://[2606:4700:4700::1111]/", Ok(())),
            (long.as_str(), Ok(())),
            (too_long.as_str(), Err(Unfit::TooLong)),
            ("http://hooks.example.com/", Err(Unfit::Scheme)),
            ("file:///etc/passwd", Err(Unfit::Scheme)),
            ("gopher://hooks.example.com/", Err(Unfit::Scheme)),
            ("hooks.example.com", Err(Unfit::NoUrl)),
            ("https://", Err(Unfit::NoUrl)),
            ("https://user@hooks.example.com/", Err(Unfit::User)),
            ("https://:secret@hooks.example.com/", Err(Unfit::User)),
            ("https://127.0.0.1/", Err(Unfit::Private)),
            ("https://127.1/", Err(Unfit::Private)),
            ("https://2130706433/", Err(Unfit::Private)),
            ("https://0x7f.0.0.1/", Err(Unfit::Private)),
            ("https://0177.0.0.1/", Err(Unfit::Private)),
            ("https://169.254.169.254/latest/meta-data", Err(Unfit::Private)),
            ("https://[::1]/", Err(Unfit::Private)),
            ("https://[::ffff:7f00:1]/", Err(Unfit::Private)),
            ("https://[fd00:ec2::254]/", Err(Unfit::Private)),
        ] {
            let guard = Guard::new(Networks::default(), false);
            assert_eq!(guard.url(url).map(drop), expected, "{url}");
        }
        let guard = Guard::new(Networks::all(), true);
        assert!(guard.url("http://127.0.0.1:1/").is_ok());
    }
}
