//! What can be set about the server. The defaults stand, commented, in the program's
//! `default.toml`; a key that is unknown here is an error there.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::outside::guard::Networks;

/// Everything that can be set about the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The CAMS door.
    pub cams: Cams,
    /// Bounds.
    pub limits: Limits,
    /// How long things are kept.
    pub retention: Retention,
    /// WhatsApp's Graph API.
    pub graph: Graph,
    /// What others have the server reach.
    pub outside: Outside,
    /// Links of templates that lead over us.
    pub links: Links,
}

/// What the original leaves open, or does in two ways (docs/compatibility.md).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cams {
    /// The zone of DAILY buckets, an IANA name.
    pub day_zone: Zone,
    /// When counts become visible.
    pub freshness: Freshness,
    /// Whether empty buckets are answered too, from the opt-in on.
    pub fill_empty: bool,
    /// The longest range of DAILY, in days.
    pub daily_days_max: u32,
    /// The longest range of `HALF_HOUR`, in days.
    pub half_hour_days_max: u32,
    /// Spell the button type `quick_relpy_button`, as the original's documentation does.
    pub quick_reply_typo: bool,
    /// `Message` and `AccessDeniedDetail` of a success.
    pub success_message: String,
    /// The code of an answer to a user who is over an operation's limit.
    pub throttle_code: ThrottleCode,
    /// The code of an answer to a caller without permission.
    pub deny_code: DenyCode,
}

/// A time zone by its IANA name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(pub TimeZone);

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        TimeZone::get(&name).map(Self).map_err(|_| {
            format!("`{name}` is no time zone; write an IANA name such as `Asia/Jakarta`")
        })
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.0.iana_name().unwrap_or("UTC").to_owned()
    }
}

/// When counts become visible in the answers of the CAMS door (counting rule 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Freshness {
    /// What is counted is visible.
    Live,
    /// A day's figures appear once the day is over and a day has passed since the opt-in.
    NextDay,
}

/// The code of an answer to a user who is over an operation's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ThrottleCode {
    /// As the gateway answers and every SDK recognises.
    #[serde(rename = "Throttling.User")]
    User,
    /// As the gateway answers when all callers together are over the limit.
    #[serde(rename = "Throttling.Api")]
    Api,
    /// As older gateways answer.
    #[serde(rename = "Throttling")]
    Plain,
}

/// The code of an answer to a caller without permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DenyCode {
    /// 400, as the operations' own table of errors has it.
    #[serde(rename = "Ram.PermissionDeny")]
    RamPermissionDeny,
    /// 403, as newer gateways answer.
    #[serde(rename = "NoPermission")]
    NoPermission,
}

/// Bounds on what is taken in at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Calls answered at the same time, in all; beyond it `System.LimitControl`.
    pub in_flight_max: u32,
    /// Webhooks taken in at the same time; beyond it 503.
    pub webhooks_in_flight_max: u32,
    /// Connections open at the same time; beyond it new ones wait.
    pub connections_max: u32,
    /// Seconds a request head may take to arrive.
    pub head_seconds_max: u32,
    /// Seconds a request may take as a whole.
    pub request_seconds_max: u32,
    /// Memory that the ledger may take, in mebibytes, about, however much is kept.
    pub memory_mb: u32,
}

/// How long things are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Days that the journal goes back, at least.
    pub journal_days: u32,
}

/// WhatsApp's Graph API, for channels that are connected with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Graph {
    /// Where it is.
    pub url: String,
    /// Which version of it is spoken.
    pub version: String,
    /// Seconds that a call may take.
    pub timeout_seconds: u32,
    /// Messages that each number sends in a second, at the most.
    pub messages_per_second: u32,
    /// Milliseconds before what may work later is tried again; each time twice as long.
    pub retry_ms: u32,
    /// Hours that a message waits at the most before it is given up.
    pub waiting_hours: u32,
    /// Hours between two readings of what WhatsApp counts by itself; 0 for never.
    pub figures_hours: u32,
}

/// What others have the server reach: where receipts and webhooks are passed on to, media of
/// templates.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outside {
    /// Networks that may be reached although they are not public.
    pub networks: Networks,
    /// Whether something is passed on over `http://`.
    pub http: bool,
}

/// Links of templates that lead over us, so that who opens them is counted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// Under which address people reach this server; empty if no link is to lead over it.
    pub url: LinksUrl,
    /// Whether links of templates that are made here lead over us by themselves.
    pub wrap: bool,
}

/// An address of http or https without a query, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinksUrl(String);

impl LinksUrl {
    /// The longest address, in bytes.
    pub const BYTES_MAX: usize = 200;

    /// What stands in front of a token.
    #[must_use]
    pub fn prefix(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| format!("{}/r/", self.0))
    }
}

impl TryFrom<String> for LinksUrl {
    type Error = String;
    fn try_from(url: String) -> Result<Self, String> {
        let is_plain = |rest: &str| {
            let host = rest.split('/').next().unwrap_or_default();
            !host.is_empty()
                && rest.bytes().all(|it| it.is_ascii_graphic() && !b"?#{}<>\"@".contains(&it))
        };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if url.is_empty() || (rest.is_some_and(is_plain) && url.len() <= Self::BYTES_MAX) {
            return Ok(Self(url.trim_end_matches('/').to_owned()));
        }
        Err(format!("`{url}` is no address; write one such as `https://l.example.com`"))
    }
}

impl From<LinksUrl> for String {
    fn from(url: LinksUrl) -> Self {
        url.0
    }
}

/// A number with which a server could not work, or could be brought down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is `{found}`; from {least} to {most} would do")]
pub struct OutOfBounds {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub found: u32,
    /// The least that will do.
    pub least: u32,
    /// The most that will do.
    pub most: u32,
}

/// The longest range that a query may be allowed to have, in days: ten years.
const DAYS_MAX: u32 = 3_660;
/// The most calls, webhooks or connections that may be allowed at the same time.
const AT_ONCE_MAX: u32 = 1_000_000;
/// The longest that a request may be allowed to take, in seconds: an hour.
const SECONDS_MAX: u32 = 3_600;
/// The most messages a second that a number may send: what WhatsApp gives at the most.
const RATE_MAX: u32 = 1_000;
/// The longest that a message may wait, in hours: a day, as the journal is kept for one at least.
const WAITING_HOURS_MAX: u32 = 24;
/// The longest time between two readings of Meta's figures, in hours: what is read may be set back
/// to zero after seven days, and a run that fails has to be made up for.
const FIGURES_HOURS_MAX: u32 = 72;

/// The least and the most memory that a ledger may be given, in mebibytes.
const MEMORY_MB_MIN: u32 = 128;
const MEMORY_MB_MAX: u32 = 1 << 20;

impl Settings {
    /// Whether a server can work with them.
    ///
    /// # Errors
    /// The first number that is out of its bounds.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        let Self { cams, limits, retention, graph, outside: _, links: _ } = self;
        for (key, found, most) in [
            ("cams.daily_days_max", cams.daily_days_max, DAYS_MAX),
            ("cams.half_hour_days_max", cams.half_hour_days_max, DAYS_MAX),
            ("limits.in_flight_max", limits.in_flight_max, AT_ONCE_MAX),
            ("limits.webhooks_in_flight_max", limits.webhooks_in_flight_max, AT_ONCE_MAX),
            ("limits.connections_max", limits.connections_max, AT_ONCE_MAX),
            ("limits.head_seconds_max", limits.head_seconds_max, SECONDS_MAX),
            ("limits.request_seconds_max", limits.request_seconds_max, SECONDS_MAX),
            ("retention.journal_days", retention.journal_days, DAYS_MAX),
            ("graph.timeout_seconds", graph.timeout_seconds, SECONDS_MAX),
            ("graph.messages_per_second", graph.messages_per_second, RATE_MAX),
            ("graph.retry_ms", graph.retry_ms, SECONDS_MAX * 1_000),
            ("graph.waiting_hours", graph.waiting_hours, WAITING_HOURS_MAX),
        ] {
            if !(1..=most).contains(&found) {
                return Err(OutOfBounds { key, found, least: 1, most });
            }
        }
        for (key, found, (least, most)) in [
            ("limits.memory_mb", limits.memory_mb, (MEMORY_MB_MIN, MEMORY_MB_MAX)),
            ("graph.figures_hours", graph.figures_hours, (0, FIGURES_HOURS_MAX)),
        ] {
            if !(least..=most).contains(&found) {
                return Err(OutOfBounds { key, found, least, most });
            }
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cams: Cams {
                day_zone: Zone(TimeZone::UTC),
                freshness: Freshness::Live,
                fill_empty: false,
                daily_days_max: 366,
                half_hour_days_max: 31,
                quick_reply_typo: false,
                success_message: "None".to_owned(),
                throttle_code: ThrottleCode::User,
                deny_code: DenyCode::RamPermissionDeny,
            },
            limits: Limits {
                in_flight_max: 1_024,
                webhooks_in_flight_max: 1_024,
                connections_max: 1_024,
                head_seconds_max: 30,
                request_seconds_max: 30,
                memory_mb: 512,
            },
            retention: Retention { journal_days: 30 },
            graph: Graph {
                url: "https://graph.facebook.com".to_owned(),
                version: "v24.0".to_owned(),
                timeout_seconds: 15,
                messages_per_second: 80,
                retry_ms: 1_000,
                waiting_hours: 24,
                figures_hours: 6,
            },
            outside: Outside { networks: Networks::default(), http: false },
            links: Links::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_at_least_one_and_has_a_limit_itself() {
        assert_eq!(Settings::default().check(), Ok(()));
        let with = |found| {
            let mut settings = Settings::default();
            settings.limits.connections_max = found;
            settings.check()
        };
        let refused = |found| {
            Err(OutOfBounds { key: "limits.connections_max", found, least: 1, most: AT_ONCE_MAX })
        };
        assert_eq!(with(0), refused(0));
        assert_eq!(with(1), Ok(()));
        assert_eq!(with(AT_ONCE_MAX), Ok(()));
        assert_eq!(with(AT_ONCE_MAX + 1), refused(AT_ONCE_MAX + 1));
        let with = |found| {
            let mut settings = Settings::default();
            settings.graph.figures_hours = found;
            settings.check().is_ok()
        };
        assert_eq!(
            [0, 1, FIGURES_HOURS_MAX, FIGURES_HOURS_MAX + 1].map(with),
            [true, true, true, false]
        );
    }
}
