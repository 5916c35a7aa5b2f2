//! The two proofs of the Cloud API: `X-Hub-Signature-256` on a POST, the token on the handshake.
//!
//! What always holds: the signature is that of the bytes as they came, compared in constant time;
//! an empty secret or token fits nothing, so that an unset one opens no door.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::super::sign::hex;
use crate::params::decode;

/// How the header's value begins.
const PREFIX: &[u8] = b"sha256=";

/// How many secrets a caller may try on one webhook: each costs a hash of the whole body.
pub const SECRETS_MAX: usize = 64;

/// The longest challenge that is echoed, in bytes.
pub const CHALLENGE_MAX: usize = 256;

/// Why a webhook is not believed. Answer 401 to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRefusal {
    /// There is no `X-Hub-Signature-256`.
    #[error("the header `X-Hub-Signature-256` is missing")]
    Missing,
    /// The header is not `sha256=` and 64 hexadecimal digits.
    #[error("the header `X-Hub-Signature-256` must be `sha256=` and 64 hexadecimal digits")]
    Malformed,
    /// It is the signature of other bytes, or by another secret.
    #[error("the signature fits none of the app secrets")]
    NoneFits,
}

/// Whether `header`, the value of `X-Hub-Signature-256`, signs exactly the bytes `raw_body`;
/// which of the `secrets` it is by, the first that fits. At most [`SECRETS_MAX`] are tried.
///
/// # Errors
///
/// If the header is missing or malformed, or fits no secret.
pub fn verify(
    secrets: &[&[u8]],
    raw_body: &[u8],
    header: Option<&[u8]>,
) -> Result<usize, SignatureRefusal> {
    let header = header.ok_or(SignatureRefusal::Missing)?;
    let digest = digest(header.trim_ascii()).ok_or(SignatureRefusal::Malformed)?;
    secrets
        .iter()
        .take(SECRETS_MAX)
        .position(|secret| !secret.is_empty() && fits(secret, raw_body, &digest))
        .ok_or(SignatureRefusal::NoneFits)
}

/// What `X-Hub-Signature-256` is for these bytes and this secret.
#[must_use]
pub fn sign(secret: &[u8], raw_body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(raw_body);
    let digest = mac.finalize().into_bytes();
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = digits.map(|half| char::from_digit(u32::from(half), 16).unwrap_or('0'));
    "sha256=".chars().chain(digits).collect()
}

fn fits(secret: &[u8], raw_body: &[u8], digest: &[u8; 32]) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(raw_body);
    mac.verify_slice(digest).is_ok()
}

fn digest(header: &[u8]) -> Option<[u8; 32]> {
    let digits = header.strip_prefix(PREFIX)?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let mut digest = [0; 32];
    if pairs.len() != digest.len() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        *byte = hex(*high)? * 16 + hex(*low)?;
    }
    Some(digest)
}

/// Why a handshake is refused. Answer 403 to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeRefusal {
    /// `hub.mode` is not `subscribe`.
    #[error("`hub.mode` must be `subscribe`")]
    Mode,
    /// `hub.verify_token` is missing or fits no token.
    #[error("`hub.verify_token` fits none of the verify tokens")]
    Token,
    /// `hub.challenge` is missing, too long, or has characters that are not echoed.
    #[error(
        "`hub.challenge` must be 1 to `{CHALLENGE_MAX}` letters, digits or any of `-`, `.`, `_`, `~`"
    )]
    Challenge,
}

/// The handshake by which a callback address is confirmed: the body to answer with, `200`, as
/// plain text. `query` is the query as it came, without the `?`.
///
/// # Errors
///
/// If the mode or the challenge is not as it should be, or the token is none of `tokens`.
pub fn handshake(query: &str, tokens: &[&[u8]]) -> Result<String, HandshakeRefusal> {
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| decode(key.as_bytes()) == name.as_bytes())
            .map(|(_, value)| decode(value.as_bytes()))
    };
    if value("hub.mode").as_deref() != Some(b"subscribe") {
        return Err(HandshakeRefusal::Mode);
    }
    let told = value("hub.verify_token").unwrap_or_default();
    // Every token is compared, so that the time taken does not tell which one was close.
    let fits = tokens.iter().filter(|token| !token.is_empty() && bool::from(told.ct_eq(token)));
    if fits.count() == 0 {
        return Err(HandshakeRefusal::Token);
    }
    value("hub.challenge")
        .filter(|challenge| (1..=CHALLENGE_MAX).contains(&challenge.len()))
        .and_then(|challenge| String::from_utf8(challenge).ok())
        .filter(|text| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)))
        .ok_or(HandshakeRefusal::Challenge)
}
