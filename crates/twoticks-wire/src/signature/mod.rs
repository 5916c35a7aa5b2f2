//! Who signed a request, and whether it is true: signatures V3 (`ACS3-…`) and V1 (RPC).
//!
//! [`route`] says what a request asks for, credentials or not; [`authenticate`] runs every check
//! that concerns the caller in the one documented order, for the server, the transcripts and the
//! tests alike. [`sign`] makes what these verify. A new algorithm is a variant of
//! [`Algorithm`] and its arms in [`acs3`].
//! What always holds: comparisons are constant-time, an expected signature leaves this module in
//! no form, and nothing that was not signed is believed.

pub mod acs3;
pub mod rpc_v1;
pub mod sign;

use std::sync::Arc;

use jiff::Timestamp;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use secrecy::{ExposeSecret as _, SecretSlice};
use subtle::ConstantTimeEq as _;

use crate::code::{Calculation, Code, Refusal};
use crate::params::Params;
use crate::request::Request;

/// How far a request's time may be from the server's, in milliseconds, either way, inclusive.
pub const SKEW_MS: i64 = 15 * 60 * 1000;

/// How long a nonce has to be remembered, in milliseconds: the whole width of the window.
pub const NONCE_KEPT_MS: i64 = 2 * SKEW_MS;

/// An RSA key is at least this long, in bits.
pub const RSA_BITS_MIN: u32 = 2048;

/// A nonce is at most this long, in bytes; clients send 32 to 64.
pub const NONCE_MAX: usize = 256;

/// How a request is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// V3: `Authorization: ACS3-…`.
    Acs3,
    /// V1: parameters `AccessKeyId`, `Signature` and others.
    V1,
    /// Not signed with an access key (nothing at all, a bearer token, …).
    None,
}

impl Scheme {
    /// Name in transcripts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acs3 => "ACS3",
            Self::V1 => "V1",
            Self::None => "none",
        }
    }
}

/// What a request claims to ask for, before anything of it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// How it is signed.
    pub scheme: Scheme,
    /// The action: V3 from `x-acs-action`, V1 from the parameter `Action`, unsigned from either.
    pub action: Option<String>,
    /// The version, from the same place as the action.
    pub version: Option<String>,
    /// The parameter `Format` as given; [`crate::envelope::Format::parse`] reads it.
    pub format: Option<String>,
}

/// Reads what a request claims to ask for; empty texts count as absent.
pub fn route(request: &Request<'_>, params: &Params) -> Route {
    let scheme = if acs3::is_signed(request) {
        Scheme::Acs3
    } else if params.get("Signature").or(params.get("AccessKeyId")).is_some() {
        Scheme::V1
    } else {
        Scheme::None
    };
    let header = |name| request.header(name).filter(|text| !text.is_empty());
    let param = |name| params.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let (action, version) = match scheme {
        Scheme::Acs3 => (header("x-acs-action"), header("x-acs-version")),
        Scheme::V1 => (param("Action"), param("Version")),
        Scheme::None => (
            header("x-acs-action").or_else(|| param("Action")),
            header("x-acs-version").or_else(|| param("Version")),
        ),
    };
    Route { scheme, action, version, format: param("Format") }
}

/// Algorithms of V3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `ACS3-HMAC-SHA256`, what every client uses by default.
    HmacSha256,
    /// `ACS3-HMAC-SM3`.
    HmacSm3,
    /// `ACS3-RSA-SHA256`: RSASSA-PKCS1-v1_5; the server holds the public key only.
    RsaSha256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: &[Self] = &[Self::HmacSha256, Self::HmacSm3, Self::RsaSha256];

    /// Name in `Authorization`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "ACS3-HMAC-SHA256",
            Self::HmacSm3 => "ACS3-HMAC-SM3",
            Self::RsaSha256 => "ACS3-RSA-SHA256",
        }
    }

    /// The algorithm of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|algorithm| algorithm.name() == name)
    }
}

/// What the server verifies signatures of an access key with.
pub enum Credential {
    /// The access key secret, as is.
    Secret(SecretSlice<u8>),
    /// The public half of a key pair; V3 with `ACS3-RSA-SHA256` only.
    RsaPublicKey(Box<rsa::PublicKey>),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(…)",
            Self::RsaPublicKey(_) => "RsaPublicKey(…)",
        })
    }
}

/// A public key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RsaKeyError {
    /// Not PEM, not RSA, or out of the supported sizes.
    #[error("not an RSA public key in PEM (`-----BEGIN PUBLIC KEY-----`)")]
    Unreadable,
    /// Too short to be safe.
    #[error("the RSA key has `{bits}` bits; at least 2048 are needed")]
    Short {
        /// Its length.
        bits: u32,
    },
}

impl Credential {
    /// A credential from an access key secret.
    pub fn secret(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Secret(SecretSlice::from(bytes.into()))
    }

    /// A credential from a public key in PEM (`SubjectPublicKeyInfo`).
    ///
    /// # Errors
    /// [`RsaKeyError`]: not such a key, or shorter than [`RSA_BITS_MIN`].
    pub fn rsa_public_key(pem: &str) -> Result<Self, RsaKeyError> {
        let key = rsa::PublicKey::from_public_key_pem(pem).map_err(|_| RsaKeyError::Unreadable)?;
        let bits = key.n().bit_width();
        if bits < RSA_BITS_MIN {
            return Err(RsaKeyError::Short { bits });
        }
        Ok(Self::RsaPublicKey(Box::new(key)))
    }
}

/// Whether an access key needs a security token, and which.
#[derive(Clone, Debug)]
pub enum TokenState {
    /// A permanent key: it has none.
    Permanent,
    /// A temporary key (a session of STS).
    Temporary {
        /// The token that was given out with the key.
        token: Arc<SecretSlice<u8>>,
        /// End of the session, epoch milliseconds, exclusive.
        expires_ms: i64,
    },
}

/// What is known about an access key.
#[derive(Clone, Debug)]
pub struct KeyState {
    /// What its signatures are verified with.
    pub credential: Arc<Credential>,
    /// False if the key is disabled.
    pub active: bool,
    /// Its security token.
    pub token: TokenState,
}

/// What [`authenticate`] has to ask of whoever keeps the keys.
pub trait Keyring {
    /// The key of that id, `None` if there is none.
    fn key(&self, access_key_id: &str) -> Option<KeyState>;

    /// Whether a security token was given out, with any key; tells a token of another key from
    /// one that never existed.
    fn has_token(&self, token: &str) -> bool;

    /// Remembers that the key used the nonce, for [`NONCE_KEPT_MS`]; false if it had used it
    /// before. Asked once per request, after everything else about the caller is known to hold.
    fn use_nonce(&self, access_key_id: &str, nonce: &str) -> bool;
}

/// A request whose signature has been read, but not verified: all of it is a claim.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// V3 or V1.
    pub scheme: Scheme,
    /// Whose key it claims to be signed with; not empty.
    pub access_key_id: String,
    /// The security token that came along; an empty one counts as none.
    pub security_token: Option<String>,
    /// The time as written.
    pub timestamp: Option<String>,
    /// The nonce.
    pub nonce: Option<String>,
    proof: Proof,
}

impl std::fmt::Debug for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signed")
            .field("scheme", &self.scheme)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// What the two schemes read for themselves.
#[derive(Clone, PartialEq, Eq)]
enum Proof {
    Acs3(acs3::Authorization),
    V1(rpc_v1::Claim),
}

impl Signed {
    /// Reads what a request claims about its signature.
    ///
    /// # Errors
    /// `MissingAccessKeyId` for an unsigned request, `IncompleteSignature` for an `Authorization`
    /// that cannot be read, `MissingSignature` for V1 without one.
    pub fn read(request: &Request<'_>, params: &Params) -> Result<Self, Refusal> {
        match route(request, params).scheme {
            Scheme::Acs3 => {
                let authorization = acs3::Authorization::read(request)?;
                let header = |name| request.header(name).filter(|text| !text.is_empty());
                Ok(Self {
                    scheme: Scheme::Acs3,
                    access_key_id: authorization.access_key_id.clone(),
                    security_token: header("x-acs-security-token"),
                    timestamp: header("x-acs-date"),
                    nonce: header("x-acs-signature-nonce"),
                    proof: Proof::Acs3(authorization),
                })
            }
            Scheme::V1 => {
                let param =
                    |name| params.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
                let access_key_id = param("AccessKeyId").ok_or(Code::MissingAccessKeyId)?;
                Ok(Self {
                    scheme: Scheme::V1,
                    access_key_id,
                    security_token: param("SecurityToken"),
                    timestamp: param("Timestamp"),
                    nonce: param("SignatureNonce"),
                    proof: Proof::V1(rpc_v1::Claim::read(params)?),
                })
            }
            Scheme::None => Err(Code::MissingAccessKeyId.into()),
        }
    }

    /// Checks the request's time against the server's (epoch milliseconds).
    ///
    /// # Errors
    /// `MissingTimestamp`, `InvalidTimeStamp.Format`, or `InvalidTimeStamp.Expired` beyond
    /// [`SKEW_MS`] either way.
    pub fn check_time(&self, now_ms: i64) -> Result<(), Refusal> {
        let text = self.timestamp.as_deref().ok_or(Code::MissingTimestamp)?;
        let at_ms = parse_time(text).ok_or(Code::InvalidTimeStampFormat)?;
        if at_ms.abs_diff(now_ms) > SKEW_MS.unsigned_abs() {
            return Err(Code::InvalidTimeStampExpired.into());
        }
        Ok(())
    }

    /// Verifies the signature of the request it was read from.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch` with the server's calculation; before that `InvalidSignatureMethod`
    /// for an algorithm that is unknown or does not go with the credential, `MissingSignatureNonce`
    /// and its like for what has to be signed and is absent, `IncompleteSignature` for what is
    /// there and not signed.
    pub fn verify(
        &self,
        request: &Request<'_>,
        params: &Params,
        credential: &Credential,
    ) -> Result<Calculation, Refusal> {
        match &self.proof {
            Proof::Acs3(authorization) => acs3::verify(authorization, request, params, credential),
            Proof::V1(claim) => rpc_v1::verify(claim, request, params, credential),
        }
    }
}

/// Checks the security token that came with a request, after its signature has been verified.
///
/// `is_known` is asked, for a permanent key, whether the token was given out with another.
///
/// # Errors
/// `MissingSecurityToken`, or `InvalidSecurityToken.` with `Expired`, `MismatchWithAccessKey` (a
/// temporary key with another token than its own, or a permanent key with the token of a
/// temporary one) or `Malformed` (a permanent key with a token that nobody gave out). A permanent
/// key with a token is refused: what was signed as a session must not count as more than one.
pub fn check_token(
    presented: Option<&str>,
    state: &TokenState,
    now_ms: i64,
    is_known: impl FnOnce(&str) -> bool,
) -> Result<(), Refusal> {
    match (presented, state) {
        (None, TokenState::Permanent) => Ok(()),
        (None, TokenState::Temporary { .. }) => Err(Code::MissingSecurityToken.into()),
        (Some(presented), TokenState::Permanent) if is_known(presented) => {
            Err(Code::InvalidSecurityTokenMismatch.into())
        }
        (Some(_), TokenState::Permanent) => Err(Code::InvalidSecurityTokenMalformed.into()),
        (Some(presented), TokenState::Temporary { token, expires_ms }) => {
            if !bool::from(presented.as_bytes().ct_eq(token.expose_secret())) {
                Err(Code::InvalidSecurityTokenMismatch.into())
            } else if now_ms >= *expires_ms {
                Err(Code::InvalidSecurityTokenExpired.into())
            } else {
                Ok(())
            }
        }
    }
}

/// A caller whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// V3 or V1.
    pub scheme: Scheme,
    /// Whose key.
    pub access_key_id: String,
    /// What was calculated, for the signature debugger.
    pub calculation: Calculation,
}

/// Runs every check that concerns the caller: credential present → access key known → active →
/// time → signature → security token → nonce.
///
/// Method, action and version come before ([`Request::check_method`], [`route`]); throttle, policy
/// and parameters after.
///
/// # Errors
/// The first check that fails.
pub fn authenticate(
    request: &Request<'_>,
    params: &Params,
    now_ms: i64,
    keyring: &dyn Keyring,
) -> Result<Authenticated, Refusal> {
    let signed = Signed::read(request, params)?;
    let id = signed.access_key_id.as_str();
    let key = keyring.key(id).ok_or(Code::InvalidAccessKeyIdNotFound)?;
    if !key.active {
        return Err(Code::InvalidAccessKeyIdInactive.into());
    }
    signed.check_time(now_ms)?;
    let calculation = signed.verify(request, params, &key.credential)?;
    let token = signed.security_token.as_deref();
    check_token(token, &key.token, now_ms, |token| keyring.has_token(token))?;
    let nonce = signed.nonce.as_deref().ok_or(Code::MissingSignatureNonce)?;
    if nonce.len() > NONCE_MAX {
        return Err(Refusal::invalid("SignatureNonce"));
    }
    if !keyring.use_nonce(id, nonce) {
        return Err(Code::SignatureNonceUsed.into());
    }
    Ok(Authenticated { scheme: signed.scheme, access_key_id: signed.access_key_id, calculation })
}

/// Epoch milliseconds of `YYYY-MM-DDThh:mm:ssZ` or `YYYY-MM-DDThh:mm:ss.fffZ` with 1 to 9 digits;
/// `None` for anything else.
pub fn parse_time(text: &str) -> Option<i64> {
    let (whole, fraction) = text.strip_suffix('Z').map(|rest| match rest.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (rest, None),
    })?;
    let digit_or = |(given, shape): (u8, u8)| match shape {
        b'0' => given.is_ascii_digit(),
        _ => given == shape,
    };
    let shape = b"0000-00-00T00:00:00";
    let shaped = whole.len() == shape.len()
        && whole.bytes().zip(shape.iter().copied()).all(digit_or)
        && fraction.is_none_or(|digits| {
            (1..=9).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
    if !shaped {
        return None;
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// A time as clients write it; a time that cannot be written is the epoch.
pub fn format_time(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

/// The bytes of an even number of hexadecimal digits, either case.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_read_in_utc_with_or_without_a_fraction() {
        for (text, at_ms) in [
            ("2026-11-23T02:47:31Z", Some(1_795_402_051_000)),
            ("2026-11-23T02:47:31.5Z", Some(1_795_402_051_500)),
            ("2026-11-23T02:47:49.972741337Z", Some(1_795_402_069_972)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-23T02:47:31", None),
            ("2026-11-23 02:47:31Z", None),
            ("2026-11-23T02:47:31z", None),
            ("2026-11-23T02:47:31+00:00", None),
            ("2026-11-23T02:47:31.Z", None),
            ("2026-11-23T02:47:31.1234567890Z", None),
            ("2026-13-23T02:47:31Z", None),
            ("1700000000", None),
            ("", None),
            ("Z", None),
        ] {
            assert_eq!(parse_time(text), at_ms, "{text}");
        }
    }

    #[test]
    fn a_quarter_of_an_hour_is_the_edge_of_the_window() {
        let now_ms = 1_795_402_051_000;
        let at = |at_ms| Signed {
            scheme: Scheme::V1,
            access_key_id: "id".into(),
            security_token: None,
            timestamp: Some(format_time(at_ms)),
            nonce: None,
            proof: Proof::V1(rpc_v1::Claim::default()),
        };
        for edge in [-SKEW_MS, SKEW_MS] {
            assert!(at(now_ms + edge).check_time(now_ms).is_ok());
            let beyond = at(now_ms + edge + edge.signum() * 1000).check_time(now_ms);
            assert_eq!(beyond.unwrap_err().code, Code::InvalidTimeStampExpired);
        }
        assert!(at(0).check_time(i64::MIN).is_err(), "no overflow");
    }

    #[test]
    fn a_token_is_checked_against_its_own_key() {
        let temporary = TokenState::Temporary {
            token: Arc::new(SecretSlice::from(b"mine".to_vec())),
            expires_ms: 1000,
        };
        let permanent = TokenState::Permanent;
        for (presented, state, now_ms, code) in [
            (None, &permanent, 0, None),
            (Some("mine"), &temporary, 999, None),
            (Some("mine"), &temporary, 1000, Some(Code::InvalidSecurityTokenExpired)),
            (None, &temporary, 0, Some(Code::MissingSecurityToken)),
            (Some("theirs"), &temporary, 0, Some(Code::InvalidSecurityTokenMismatch)),
            (Some("nobody's"), &temporary, 0, Some(Code::InvalidSecurityTokenMismatch)),
            (Some("theirs"), &permanent, 0, Some(Code::InvalidSecurityTokenMismatch)),
            (Some("nobody's"), &permanent, 0, Some(Code::InvalidSecurityTokenMalformed)),
        ] {
            let answer = check_token(presented, state, now_ms, |token| token == "theirs");
            assert_eq!(answer.err().map(|refusal| refusal.code), code, "{presented:?} {now_ms}");
        }
    }

    #[test]
    fn a_credential_shows_nothing_of_itself() {
        assert_eq!(format!("{:?}", Credential::secret("hush")), "Secret(…)");
        assert!(matches!(
            Credential::rsa_public_key("no key").unwrap_err(),
            RsaKeyError::Unreadable
        ));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_time_panic(text in any::<String>()) {
            parse_time(&text);
        }

        #[test]
        fn no_head_makes_reading_panic(
            authorization in "(ACS3-HMAC-SHA256 |ACS3-)?[ -~é]{0,80}",
            query in "(Signature|AccessKeyId|Timestamp|[a-z&=%+]){0,20}",
            date in any::<String>(),
        ) {
            let headers = vec![
                ("Authorization".to_owned(), authorization.into_bytes()),
                ("x-acs-date".to_owned(), date.into_bytes()),
            ];
            let target = format!("/?{query}");
            let request =
                Request { method: "POST", target: &target, headers: &headers, body: b"" };
            if let Ok(params) = request.params()
                && let Ok(signed) = Signed::read(&request, &params)
            {
                drop(signed.check_time(0));
                let credential = Credential::secret("s");
                prop_assert!(signed.verify(&request, &params, &credential).is_err());
            }
        }

        #[test]
        fn hexadecimal_goes_there_and_back(bytes in any::<Vec<u8>>()) {
            prop_assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }
    }
}
