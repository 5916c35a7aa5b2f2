//! Signs calls as an SDK does: for the command line, the demo and the tests.
//!
//! [`sign_v3`] and [`sign_v1`] turn a [`Call`] into a [`SignedCall`], ready to be sent. What always
//! holds: time and nonce are arguments, so the same call gives the same bytes.

use std::collections::BTreeSet;
use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::{SignatureEncoding as _, Signer as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::Sha256;
use sm3::Sm3;

use super::acs3::{self, Keys};
use super::{Algorithm, RsaKeyError, format_time, hex, rpc_v1};
use crate::params::encode_pairs;
use crate::request::Request;

/// Names and values, in the order in which they are sent.
pub type Pairs = Vec<(String, String)>;

/// A call that is to be signed. `Debug` shows the names of its parameters, not their values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// `GET` or `POST`.
    pub method: String,
    /// `Host`, as it will be sent.
    pub host: String,
    /// The operation.
    pub action: String,
    /// The version of the API.
    pub version: String,
    /// Parameters for the query.
    pub query: Pairs,
    /// Parameters for a form body; none means no body.
    pub form: Pairs,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pairs: &Pairs| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("action", &self.action)
            .field("query", &names(&self.query))
            .field("form", &names(&self.form))
            .finish_non_exhaustive()
    }
}

/// The caller's half of a credential.
pub enum SecretKey {
    /// The access key secret.
    Secret(SecretSlice<u8>),
    /// A private key; V3 with `ACS3-RSA-SHA256` only.
    Rsa(Box<rsa::PrivateKey>),
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

impl SecretKey {
    /// An access key secret.
    pub fn secret(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Secret(SecretSlice::from(bytes.into()))
    }

    /// A private key in PEM (PKCS#8).
    ///
    /// # Errors
    /// [`RsaKeyError::Unreadable`].
    pub fn rsa(pem: &str) -> Result<Self, RsaKeyError> {
        let key = rsa::PrivateKey::from_pkcs8_pem(pem).map_err(|_| RsaKeyError::Unreadable)?;
        Ok(Self::Rsa(Box::new(key)))
    }
}

/// Who signs, and when. `Debug` shows the key's id alone.
pub struct Signer<'a> {
    /// Id of the access key.
    pub access_key_id: &'a str,
    /// Its secret.
    pub key: &'a SecretKey,
    /// The token of a temporary key.
    pub security_token: Option<&'a str>,
    /// Epoch milliseconds; written in whole seconds.
    pub now_ms: i64,
    /// Must be fresh for each call.
    pub nonce: &'a str,
}

impl fmt::Debug for Signer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.access_key_id).finish()
    }
}

/// A call that is ready to be sent. Token, signature and recipients are in it: `Debug` shows only
/// how long its parts are.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedCall {
    /// As in the call.
    pub method: String,
    /// Request target, encoded.
    pub target: String,
    /// Headers, `host` among them; no `content-length`.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Form body, encoded; empty if there is none.
    pub body: Vec<u8>,
}

impl fmt::Debug for SignedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedCall")
            .field("method", &self.method)
            .field("target_bytes", &self.target.len())
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

impl SignedCall {
    /// The same call as a server receives it.
    pub fn request(&self) -> Request<'_> {
        Request {
            method: &self.method,
            target: &self.target,
            headers: &self.headers,
            body: &self.body,
        }
    }
}

/// A key that cannot sign with that algorithm.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// HMAC needs a secret, RSA a private key.
    #[error("`{algorithm}` does not go with this kind of key")]
    WrongKey {
        /// The algorithm asked for.
        algorithm: &'static str,
    },
    /// The private key refused, e.g. because it is too short.
    #[error("the RSA key cannot sign")]
    Rsa,
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Signs a call with V3.
///
/// # Errors
/// [`SignError`]: the key does not go with the algorithm.
pub fn sign_v3(
    call: &Call,
    signer: &Signer<'_>,
    algorithm: Algorithm,
) -> Result<SignedCall, SignError> {
    let body = encoded(&call.form).into_bytes();
    let date = format_time(signer.now_ms);
    let body_hash = acs3::digest_hex(algorithm, &body);
    let mut named = vec![
        ("accept", "application/json"),
        ("host", &call.host),
        ("x-acs-action", &call.action),
        ("x-acs-content-sha256", &body_hash),
        ("x-acs-date", &date),
        ("x-acs-signature-nonce", signer.nonce),
        ("x-acs-version", &call.version),
    ];
    if !body.is_empty() {
        named.push(("content-type", FORM));
    }
    if let Some(token) = signer.security_token {
        named.push(("x-acs-accesskey-id", signer.access_key_id));
        named.push(("x-acs-security-token", token));
    }
    let signed_headers: BTreeSet<String> = named.iter().map(|(n, _)| (*n).to_owned()).collect();
    let mut signed = SignedCall {
        method: call.method.clone(),
        target: target(&encoded(&call.query)),
        headers: headers(&named),
        body,
    };
    let query = acs3::canonical_query(&call.query, Keys::Encoded);
    let canonical = acs3::canonical_request(&signed.request(), &query, &signed_headers, &body_hash);
    let string_to_sign = acs3::string_to_sign(algorithm, &canonical);
    let signature = signature_v3(signer.key, algorithm, &string_to_sign)?;
    let authorization = format!(
        "{} Credential={},SignedHeaders={},Signature={signature}",
        algorithm.name(),
        signer.access_key_id,
        signed_headers.into_iter().collect::<Vec<_>>().join(";"),
    );
    signed.headers.push(("Authorization".to_owned(), authorization.into_bytes()));
    Ok(signed)
}

fn signature_v3(
    key: &SecretKey,
    algorithm: Algorithm,
    string_to_sign: &str,
) -> Result<String, SignError> {
    let text = string_to_sign.as_bytes();
    match (algorithm, key) {
        (Algorithm::HmacSha256, SecretKey::Secret(secret)) => {
            let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret())
                .expect("HMAC takes a key of any length");
            Ok(hex(&mac.chain_update(text).finalize().into_bytes()))
        }
        (Algorithm::HmacSm3, SecretKey::Secret(secret)) => {
            let mac = Hmac::<Sm3>::new_from_slice(secret.expose_secret())
                .expect("HMAC takes a key of any length");
            Ok(hex(&mac.chain_update(text).finalize().into_bytes()))
        }
        (Algorithm::RsaSha256, SecretKey::Rsa(key)) => {
            let signature = SigningKey::<Sha256>::new(key.as_ref().clone())
                .try_sign(text)
                .map_err(|_| SignError::Rsa)?;
            Ok(hex(&signature.to_bytes()))
        }
        _ => Err(SignError::WrongKey { algorithm: algorithm.name() }),
    }
}

/// Signs a call with V1; the protocol's parameters travel in the query.
///
/// # Errors
/// [`SignError`]: the key is not a secret.
pub fn sign_v1(call: &Call, signer: &Signer<'_>) -> Result<SignedCall, SignError> {
    let SecretKey::Secret(secret) = signer.key else {
        return Err(SignError::WrongKey { algorithm: rpc_v1::METHOD });
    };
    let date = format_time(signer.now_ms);
    let mut query: Vec<(&str, &str)> = vec![
        ("AccessKeyId", signer.access_key_id),
        ("Action", &call.action),
        ("Format", "JSON"),
        ("SignatureMethod", rpc_v1::METHOD),
        ("SignatureNonce", signer.nonce),
        ("SignatureVersion", rpc_v1::VERSION),
        ("Timestamp", &date),
        ("Version", &call.version),
    ];
    if let Some(token) = signer.security_token {
        query.push(("SecurityToken", token));
    }
    // What the caller gives wins: a format, for one.
    query.retain(|(name, _)| !call.query.iter().chain(&call.form).any(|(given, _)| given == name));
    query.extend(call.query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let form = call.form.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let string_to_sign = rpc_v1::string_to_sign(&call.method, query.iter().copied().chain(form));
    let signature = rpc_v1::signature(secret.expose_secret(), &string_to_sign);
    query.push(("Signature", &signature));
    let mut named = vec![("host", call.host.as_str())];
    if !call.form.is_empty() {
        named.push(("content-type", FORM));
    }
    Ok(SignedCall {
        method: call.method.clone(),
        target: target(&encode_pairs(query.iter().copied())),
        headers: headers(&named),
        body: encoded(&call.form).into_bytes(),
    })
}

fn encoded(pairs: &Pairs) -> String {
    encode_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

fn target(query: &str) -> String {
    if query.is_empty() { "/".to_owned() } else { format!("/?{query}") }
}

fn headers(named: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    named.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_who_signs_nor_what_is_signed_shows_a_secret_or_a_recipient() {
        let key = SecretKey::secret("hush-secret");
        let signer = Signer {
            access_key_id: "id",
            key: &key,
            security_token: Some("hush-token"),
            now_ms: 0,
            nonce: "n",
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let call = Call {
            method: "POST".into(),
            query: vec![pair("From", "15550100001")],
            form: vec![pair("To", "15550100042")],
            ..Call::default()
        };
        let v3 = sign_v3(&call, &signer, Algorithm::HmacSha256).unwrap();
        let v1 = sign_v1(&call, &signer).unwrap();
        let shown = format!("{signer:?} {call:?} {v3:?} {v1:?}");
        for hidden in ["hush", "1555", "Signature="] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }

    #[test]
    fn an_empty_secret_signs_for_nobody() {
        let key = SecretKey::secret("");
        let signer =
            Signer { access_key_id: "id", key: &key, security_token: None, now_ms: 0, nonce: "n" };
        let call = Call { method: "POST".into(), action: "A".into(), ..Call::default() };
        let signed = sign_v1(&call, &signer).unwrap();
        let params = signed.request().params().unwrap();
        let read = super::super::Signed::read(&signed.request(), &params).unwrap();
        let judged = read.verify(&signed.request(), &params, &super::super::Credential::secret(""));
        assert_eq!(judged.unwrap_err().code, crate::code::Code::SignatureDoesNotMatch);
    }
}
