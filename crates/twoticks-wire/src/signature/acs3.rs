//! Signature V3: `Authorization: ACS3-… Credential=…,SignedHeaders=…,Signature=…`.
//!
//! The canonical request is built from the decoded query, the headers that the caller names
//! exactly as received, and the hash of the body as received. What always holds: `host` and every
//! `x-acs-…` header has to be signed, so has the content type of a form, and
//! `x-acs-content-sha256` has to be the hash of the body.

use std::collections::BTreeSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rsa::pkcs1v15::{Signature as RsaSignature, VerifyingKey};
use rsa::signature::Verifier as _;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use sm3::Sm3;
use subtle::ConstantTimeEq as _;

use super::{Algorithm, Credential, hex, unhex};
use crate::code::{Calculation, Code, Refusal};
use crate::head::HEADERS_COUNT_MAX;
use crate::params::{Params, encode_into};
use crate::request::Request;

/// Headers without which a signature says too little.
const REQUIRED: [(&str, Code); 6] = [
    ("x-acs-action", Code::InvalidActionNotFound),
    ("x-acs-version", Code::MissingVersion),
    ("x-acs-date", Code::MissingTimestamp),
    ("x-acs-signature-nonce", Code::MissingSignatureNonce),
    ("x-acs-content-sha256", Code::MissingParameter),
    ("host", Code::IncompleteSignature),
];

/// Whether a request is signed with V3, well or badly.
pub(super) fn is_signed(request: &Request<'_>) -> bool {
    request
        .header_values("authorization")
        .any(|value| value.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"ACS3-")))
}

/// `Authorization`, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Name of the algorithm as given; it need not be one that exists.
    algorithm: String,
    /// Whose key.
    pub(super) access_key_id: String,
    /// Lower case, sorted, each once.
    signed_headers: BTreeSet<String>,
    signature: String,
}

impl Authorization {
    pub(super) fn read(request: &Request<'_>) -> Result<Self, Refusal> {
        let incomplete = || Refusal::from(Code::IncompleteSignature);
        let mut values = request.header_values("authorization");
        let (Some(value), None) = (values.next(), values.next()) else { return Err(incomplete()) };
        let value = std::str::from_utf8(value).map_err(|_| incomplete())?;
        let (algorithm, fields) = value.split_once(' ').ok_or_else(incomplete)?;
        let [mut credential, mut signed_headers, mut signature] = [None, None, None];
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').ok_or_else(incomplete)?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete()),
            };
            if slot.replace(value).is_some() {
                return Err(incomplete());
            }
        }
        let access_key_id = credential.ok_or_else(incomplete)?.to_owned();
        if access_key_id.is_empty() {
            return Err(Code::MissingAccessKeyId.into());
        }
        // A session repeats its key id in a header of its own; it must not name another.
        if request.header("x-acs-accesskey-id").is_some_and(|id| id != access_key_id) {
            return Err(incomplete());
        }
        let signed_headers: BTreeSet<String> = signed_headers
            .ok_or_else(incomplete)?
            .split(';')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        // Each is looked for among all headers: no more names than there can be headers.
        if signed_headers.len() > HEADERS_COUNT_MAX {
            return Err(incomplete());
        }
        Ok(Self {
            algorithm: algorithm.to_owned(),
            access_key_id,
            signed_headers,
            signature: signature.ok_or_else(incomplete)?.to_owned(),
        })
    }

    /// Absent is tested before unsigned, so that each has its own answer.
    fn check_signed_headers(&self, request: &Request<'_>) -> Result<(), Refusal> {
        for (name, code) in REQUIRED {
            if request.header(name).is_none_or(|value| value.is_empty()) {
                return Err(Refusal::naming(code, name));
            }
        }
        let unsigned = |name: &str| !self.signed_headers.contains(name);
        let acs = request.headers.iter().map(|(name, _)| name.to_ascii_lowercase());
        if unsigned("host") || acs.filter(|name| name.starts_with("x-acs-")).any(|n| unsigned(&n)) {
            return Err(Code::IncompleteSignature.into());
        }
        // The body is signed as bytes: that they are parameters has to be signed besides.
        if request.is_form() && !request.body.is_empty() && unsigned("content-type") {
            return Err(Code::IncompleteSignature.into());
        }
        Ok(())
    }
}

/// Verifies the signature; the calculation is that of the spelling that fits, or of the documented
/// one if none does.
pub(super) fn verify(
    authorization: &Authorization,
    request: &Request<'_>,
    params: &Params,
    credential: &Credential,
) -> Result<Calculation, Refusal> {
    let algorithm =
        Algorithm::by_name(&authorization.algorithm).ok_or(Code::InvalidSignatureMethod)?;
    // A public key is public: it must never serve as the secret of an HMAC.
    let fits = matches!(credential, Credential::RsaPublicKey(_))
        == matches!(algorithm, Algorithm::RsaSha256);
    if !fits {
        return Err(Code::InvalidSignatureMethod.into());
    }
    authorization.check_signed_headers(request)?;

    let body_hash = digest_hex(algorithm, request.body);
    let declared = request.header("x-acs-content-sha256").unwrap_or_default().to_ascii_lowercase();
    let body_is_signed = bool::from(declared.as_bytes().ct_eq(body_hash.as_bytes()));
    let signature = unhex(&authorization.signature).unwrap_or_default();
    let fits = |query: &str| {
        let canonical =
            canonical_request(request, query, &authorization.signed_headers, &body_hash);
        let string_to_sign = string_to_sign(algorithm, &canonical);
        let valid = is_signature(algorithm, credential, string_to_sign.as_bytes(), &signature);
        let canonical_request = Some(String::from_utf8_lossy(&canonical).into_owned());
        (valid && body_is_signed, Calculation { string_to_sign, canonical_request })
    };
    let (valid, documented) = fits(&canonical_query(params.query(), Keys::Encoded));
    if valid {
        return Ok(documented);
    }
    if raw_keys_are_safe(params.query()) {
        let (valid, as_clients_do) = fits(&canonical_query(params.query(), Keys::Raw));
        if valid {
            return Ok(as_clients_do);
        }
    }
    Err(Refusal::mismatch(documented))
}

/// How names are written in the canonical query: as documented, or as the clients really do it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    Encoded,
    Raw,
}

/// Whether the raw spelling differs from the documented one and still can be read in one way only:
/// otherwise `?A%3D1%26B=2` would verify with the signature of `?A=1&B=2`.
fn raw_keys_are_safe(pairs: &[(String, String)]) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    let mut names = pairs.iter().map(|(name, _)| name);
    let ambiguous = |name: &String| name.contains(['&', '=', '%', '\r', '\n']);
    names.clone().any(|name| !name.bytes().all(is_plain)) && !names.any(ambiguous)
}

/// The canonical query: sorted by name, then value; the names in the spelling asked for.
pub(super) fn canonical_query(pairs: &[(String, String)], keys: Keys) -> String {
    let mut sorted: Vec<&(String, String)> = pairs.iter().collect();
    sorted.sort();
    let mut out = String::new();
    for (name, value) in sorted {
        if !out.is_empty() {
            out.push('&');
        }
        match keys {
            Keys::Encoded => encode_into(name, &mut out),
            Keys::Raw => out.push_str(name),
        }
        out.push('=');
        encode_into(value, &mut out);
    }
    out
}

/// The canonical request: bytes, since header values need not be UTF-8.
pub(super) fn canonical_request(
    request: &Request<'_>,
    query: &str,
    signed_headers: &BTreeSet<String>,
    body_hash: &str,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(query.len() + 1024);
    let mut line = |parts: &[&[u8]]| {
        for part in parts {
            out.extend_from_slice(part);
        }
    };
    line(&[request.method.as_bytes(), b"\n"]);
    line(&[request.path().as_bytes(), b"\n"]);
    line(&[query.as_bytes(), b"\n"]);
    for name in signed_headers {
        let value = request.header_bytes(name).unwrap_or_default();
        line(&[name.as_bytes(), b":", &value, b"\n"]);
    }
    let names: Vec<&str> = signed_headers.iter().map(String::as_str).collect();
    line(&[b"\n", names.join(";").as_bytes(), b"\n", body_hash.as_bytes()]);
    out
}

/// The text that is signed.
pub(super) fn string_to_sign(algorithm: Algorithm, canonical_request: &[u8]) -> String {
    format!("{}\n{}", algorithm.name(), digest_hex(algorithm, canonical_request))
}

/// Hash of a body or canonical request, lower-case hexadecimal.
pub(super) fn digest_hex(algorithm: Algorithm, bytes: &[u8]) -> String {
    match algorithm {
        Algorithm::HmacSha256 | Algorithm::RsaSha256 => hex(&Sha256::digest(bytes)),
        Algorithm::HmacSm3 => hex(&Sm3::digest(bytes)),
    }
}

/// Constant-time; false for a pair of algorithm and credential that do not go together, and for an
/// empty secret, which everybody has.
fn is_signature(
    algorithm: Algorithm,
    credential: &Credential,
    string_to_sign: &[u8],
    signature: &[u8],
) -> bool {
    match (algorithm, credential) {
        (_, Credential::Secret(secret)) if secret.expose_secret().is_empty() => false,
        (Algorithm::HmacSha256, Credential::Secret(secret)) => {
            Hmac::<Sha256>::new_from_slice(secret.expose_secret())
                .is_ok_and(|mac| mac.chain_update(string_to_sign).verify_slice(signature).is_ok())
        }
        (Algorithm::HmacSm3, Credential::Secret(secret)) => {
            Hmac::<Sm3>::new_from_slice(secret.expose_secret())
                .is_ok_and(|mac| mac.chain_update(string_to_sign).verify_slice(signature).is_ok())
        }
        (Algorithm::RsaSha256, Credential::RsaPublicKey(key)) => {
            let key = VerifyingKey::<Sha256>::new(key.as_ref().clone());
            RsaSignature::try_from(signature).is_ok_and(|s| key.verify(string_to_sign, &s).is_ok())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"secret";
    const FORM: &str = "application/x-www-form-urlencoded";

    /// A request that signs exactly the headers named, whether that is wise or not.
    fn signed(names: &[&str], kind: &str, body: &[u8], secret: &[u8]) -> Vec<(String, Vec<u8>)> {
        let hash = digest_hex(Algorithm::HmacSha256, body);
        let mut headers: Vec<(String, Vec<u8>)> = [
            ("host", "h"),
            ("content-type", kind),
            ("x-acs-action", "SendChatappMessage"),
            ("x-acs-version", "2020-06-06"),
            ("x-acs-date", "2026-11-23T02:47:31Z"),
            ("x-acs-signature-nonce", "n"),
            ("x-acs-content-sha256", &hash),
        ]
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect();
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let request = Request { method: "POST", target: "/", headers: &headers, body };
        let canonical = canonical_request(&request, "", &names, &hash);
        let text = string_to_sign(Algorithm::HmacSha256, &canonical);
        let mac = Hmac::<Sha256>::new_from_slice(secret).unwrap().chain_update(text.as_bytes());
        let value = format!(
            "ACS3-HMAC-SHA256 Credential=id,SignedHeaders={},Signature={}",
            names.into_iter().collect::<Vec<_>>().join(";"),
            hex(&mac.finalize().into_bytes()),
        );
        headers.push(("Authorization".to_owned(), value.into_bytes()));
        headers
    }

    fn judged(headers: &[(String, Vec<u8>)], body: &[u8], secret: &[u8]) -> Result<(), Code> {
        let request = Request { method: "POST", target: "/", headers, body };
        let params = request.params().unwrap();
        Authorization::read(&request)
            .and_then(|it| verify(&it, &request, &params, &Credential::secret(secret)))
            .map(|_| ())
            .map_err(|refusal| refusal.code)
    }

    const NAMES: [&str; 6] = [
        "host",
        "x-acs-action",
        "x-acs-content-sha256",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-version",
    ];

    #[test]
    fn a_body_is_a_form_only_if_that_was_signed() {
        let with_type = [&NAMES[..], &["content-type"]].concat();
        let incomplete = Err(Code::IncompleteSignature);
        for (names, kind, body, expected) in [
            (&with_type[..], FORM, "To=1", Ok(())),
            (&NAMES[..], FORM, "To=1", incomplete),
            (&NAMES[..], FORM, "", Ok(())),
            (&NAMES[..], "application/octet-stream", "", Ok(())),
            (&NAMES[..], "application/json", "To=1", Ok(())),
        ] {
            let headers = signed(names, kind, body.as_bytes(), SECRET);
            assert_eq!(judged(&headers, body.as_bytes(), SECRET), expected, "{kind} {body}");
        }
        // Signed as text, told to be a form on the way.
        let mut headers = signed(&NAMES, "text/plain", b"To=1", SECRET);
        headers[1].1 = FORM.into();
        assert_eq!(judged(&headers, b"To=1", SECRET), incomplete);
    }

    #[test]
    fn an_empty_secret_signs_for_nobody() {
        let headers = signed(&NAMES, "text/plain", b"", b"");
        assert_eq!(judged(&headers, b"", b""), Err(Code::SignatureDoesNotMatch));
    }

    #[test]
    fn no_more_headers_are_signed_than_a_request_may_have() {
        let extra: Vec<String> =
            (NAMES.len()..=HEADERS_COUNT_MAX).map(|n| format!("a{n}")).collect();
        let all: Vec<&str> =
            NAMES.iter().copied().chain(extra.iter().map(String::as_str)).collect();
        let most = signed(all.get(..HEADERS_COUNT_MAX).unwrap(), "text/plain", b"", SECRET);
        assert_eq!(judged(&most, b"", SECRET), Ok(()));
        let beyond = signed(&all, "text/plain", b"", SECRET);
        assert_eq!(judged(&beyond, b"", SECRET), Err(Code::IncompleteSignature));
    }
}
