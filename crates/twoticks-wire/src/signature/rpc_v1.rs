//! Signature V1 (RPC): HMAC-SHA1 over the sorted parameters of query and form body.
//!
//! A body that is not a form is covered by no signature, so [`crate::params`] reads parameters
//! from query and form only. What always holds: `Signature` is the only parameter left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret as _;
use sha1::Sha1;

use super::Credential;
use crate::code::{Calculation, Code, Refusal};
use crate::params::{Params, encode, encode_pairs};
use crate::request::Request;

/// The only algorithm.
pub(super) const METHOD: &str = "HMAC-SHA1";

/// The only version.
pub(super) const VERSION: &str = "1.0";

/// What a request claims about its V1 signature.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Claim {
    method: Option<String>,
    version: Option<String>,
    kind: Option<String>,
    signature: String,
}

impl Claim {
    pub(super) fn read(params: &Params) -> Result<Self, Refusal> {
        let param = |name| params.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Self {
            method: param("SignatureMethod"),
            version: param("SignatureVersion"),
            kind: param("SignatureType"),
            signature: param("Signature").ok_or_else(|| Refusal::missing("Signature"))?,
        })
    }
}

pub(super) fn verify(
    claim: &Claim,
    request: &Request<'_>,
    params: &Params,
    credential: &Credential,
) -> Result<Calculation, Refusal> {
    match claim.method.as_deref() {
        Some(METHOD) => {}
        Some(_) => return Err(Code::InvalidSignatureMethod.into()),
        None => return Err(Refusal::missing("SignatureMethod")),
    }
    match claim.version.as_deref() {
        Some(VERSION) => {}
        Some(_) => return Err(Refusal::invalid("SignatureVersion")),
        None => return Err(Refusal::missing("SignatureVersion")),
    }
    if claim.kind.is_some() {
        return Err(Refusal::invalid("SignatureType"));
    }
    if params.get("SignatureNonce").is_none_or(str::is_empty) {
        return Err(Code::MissingSignatureNonce.into());
    }
    let Credential::Secret(secret) = credential else {
        return Err(Code::InvalidSignatureMethod.into());
    };
    let pairs = params.all().iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let string_to_sign = string_to_sign(request.method, pairs);
    let signature = BASE64.decode(claim.signature.as_bytes()).unwrap_or_default();
    let calculation = Calculation { string_to_sign, canonical_request: None };
    let secret = secret.expose_secret();
    // Everybody has the empty secret.
    let fits = mac(secret, &calculation.string_to_sign).verify_slice(&signature).is_ok();
    if secret.is_empty() || !fits {
        return Err(Refusal::mismatch(calculation));
    }
    Ok(calculation)
}

/// The text that is signed: everything but `Signature`, sorted by name.
pub(super) fn string_to_sign<'a>(
    method: &str,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut sorted: Vec<(&str, &str)> = pairs.filter(|(name, _)| *name != "Signature").collect();
    sorted.sort_unstable();
    format!("{method}&%2F&{}", encode(&encode_pairs(sorted)))
}

/// The key is the secret with an `&` behind it.
fn mac(secret: &[u8], string_to_sign: &str) -> Hmac<Sha1> {
    let mut key = secret.to_vec();
    key.push(b'&');
    let mac = Hmac::<Sha1>::new_from_slice(&key).expect("HMAC takes a key of any length");
    mac.chain_update(string_to_sign.as_bytes())
}

/// The signature, in base64.
pub(super) fn signature(secret: &[u8], string_to_sign: &str) -> String {
    BASE64.encode(mac(secret, string_to_sign).finalize().into_bytes())
}
