//! A recorded request and what the server knew when it came: the signature debugger and the form
//! of every signature vector.
//!
//! [`parse`] reads the file, [`verdict`] judges it by running the checks of
//! [`crate::signature::authenticate`], the server's own. A new field of the file is a field of
//! [`Transcript`]. What always holds: a file of the documented form needs nothing but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::SecretSlice;
use serde::{Deserialize, Serialize};

use crate::code::{Calculation, Code, Refusal};
use crate::params::Params;
use crate::request::Request;
use crate::signature::{self, Authenticated, Credential, KeyState, Keyring, Scheme, TokenState};

/// A file is at most this long, in bytes: a request of the largest size, recorded in JSON.
pub const TRANSCRIPT_MAX: usize = 16 * 1024 * 1024;

/// How much of the text is shown on either side of a difference, in characters.
const EXCERPT: usize = 40;

/// A recorded request; see `tests/data/signing/README.md` for the form.
#[derive(Clone, Deserialize, Serialize)]
pub struct Transcript {
    /// Name of the vector.
    #[serde(default)]
    pub name: String,
    /// `captured`, `derived`, `published` or `own`.
    #[serde(default)]
    pub kind: String,
    /// What it shows.
    #[serde(default)]
    pub description: String,
    /// What the server knows about the key.
    pub credential: KnownKey,
    /// The server's clock, epoch seconds.
    pub now: i64,
    /// Nonces that the key has used before.
    #[serde(default)]
    pub nonces_already_used: Vec<String>,
    /// The request.
    pub request: Recorded,
    /// What should come out; only compared with, never believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

/// What the server knows about one access key.
#[derive(Clone, Deserialize, Serialize)]
pub struct KnownKey {
    /// Its id.
    pub access_key_id: String,
    /// Its secret; ignored if there is a public key.
    #[serde(default)]
    pub access_key_secret: String,
    /// A public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The security token, for a temporary key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_token: Option<String>,
    /// When the session ends, epoch seconds; absent means that it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_token_expires: Option<i64>,
    /// Tokens that were given out with other keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_security_tokens: Vec<String>,
    /// Whether the key is disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// A request as it was received.
#[derive(Clone, Deserialize, Serialize)]
pub struct Recorded {
    /// Method.
    pub method: String,
    /// Raw request target.
    pub target: String,
    /// Names and values in the order received.
    pub headers: Vec<(String, String)>,
    /// Body.
    #[serde(default)]
    pub body: String,
    /// `utf-8` (default) or `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_encoding: Option<String>,
}

/// What should come out.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Expected {
    /// Name of the verdict.
    #[serde(default)]
    pub verdict: String,
    /// `ACS3`, `V1` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The operation's parameters, decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<BTreeMap<String, String>>,
    /// The canonical request; V3 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical_request: Option<String>,
    /// The text that is signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_to_sign: Option<String>,
}

/// A file that cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    /// Longer than [`TRANSCRIPT_MAX`].
    #[error("the transcript is longer than {TRANSCRIPT_MAX} bytes")]
    TooLong,
    /// Not JSON of the documented form.
    #[error("the transcript is not of the documented form: {0}")]
    Form(#[from] serde_json::Error),
    /// The body cannot be decoded.
    #[error("`body_encoding` is `{encoding}` and the body is not; write `utf-8` or `base64`")]
    Body {
        /// As given.
        encoding: String,
    },
    /// The public key cannot be used.
    #[error("`public_key`: {0}")]
    PublicKey(#[from] signature::RsaKeyError),
}

/// What the server would say.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// `OK`, `Unsigned`, or the code of the refusal.
    pub name: String,
    /// What the caller would be told, if it is refused.
    pub refusal: Option<Refusal>,
    /// How it is signed.
    pub scheme: Scheme,
    /// The action it claims.
    pub action: Option<String>,
    /// The version it claims.
    pub version: Option<String>,
    /// The operation's parameters, decoded.
    pub params: BTreeMap<String, String>,
    /// What the server calculated, if it came so far.
    pub calculation: Option<Calculation>,
    /// For a mismatch, if the file says what was expected: where the two texts part.
    pub difference: Option<Difference>,
}

/// The first place where two texts differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `canonical_request` or `string_to_sign`.
    pub of: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What the file expects there, with some text around it.
    pub expected: String,
    /// What the server has there.
    pub calculated: String,
}

/// Reads a file.
///
/// # Errors
/// [`TranscriptError`]: too long, or not of the documented form.
pub fn parse(bytes: &[u8]) -> Result<Transcript, TranscriptError> {
    if bytes.len() > TRANSCRIPT_MAX {
        return Err(TranscriptError::TooLong);
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Says what the server would say.
///
/// The actions and versions that a server knows are not part of the file: any is taken, none is
/// refused.
///
/// # Errors
/// [`TranscriptError`]: the body or the public key cannot be decoded.
pub fn verdict(transcript: &Transcript) -> Result<Verdict, TranscriptError> {
    let recorded = &transcript.request;
    let body = match recorded.body_encoding.as_deref().unwrap_or("utf-8") {
        "utf-8" => recorded.body.clone().into_bytes(),
        "base64" => BASE64
            .decode(&recorded.body)
            .map_err(|_| TranscriptError::Body { encoding: "base64".into() })?,
        other => return Err(TranscriptError::Body { encoding: other.to_owned() }),
    };
    let headers: Vec<(String, Vec<u8>)> = recorded
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
        .collect();
    let request = Request {
        method: &recorded.method,
        target: &recorded.target,
        headers: &headers,
        body: &body,
    };
    let keyring = OneKey::new(transcript)?;
    let now_ms = transcript.now.saturating_mul(1000);
    let params = request.params();
    let route = signature::route(&request, params.as_ref().unwrap_or(&Params::default()));
    let outcome = request
        .check_method()
        .and_then(|()| params.clone())
        .and_then(|params| judge(&request, &params, &route, now_ms, &keyring));
    let (refusal, calculation) = match outcome {
        Ok(authenticated) => (None, Some(authenticated.calculation)),
        Err(refusal) => {
            let calculation = refusal.calculation().cloned();
            (Some(refusal), calculation)
        }
    };
    let name = match &refusal {
        None => "OK".to_owned(),
        Some(refusal) if refusal.code == Code::MissingAccessKeyId => match route.scheme {
            Scheme::None => "Unsigned".to_owned(),
            Scheme::Acs3 | Scheme::V1 => refusal.name().to_owned(),
        },
        Some(refusal) => refusal.name().to_owned(),
    };
    let expected = transcript.expected.as_ref().filter(|_| refusal.is_some());
    Ok(Verdict {
        difference: expected.zip(calculation.as_ref()).and_then(|(e, c)| difference(e, c)),
        name,
        refusal,
        scheme: route.scheme,
        action: route.action,
        version: route.version,
        params: params
            .map(|params| params.business().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
            .unwrap_or_default(),
        calculation,
    })
}

fn judge(
    request: &Request<'_>,
    params: &Params,
    route: &signature::Route,
    now_ms: i64,
    keyring: &OneKey<'_>,
) -> Result<Authenticated, Refusal> {
    route.action.as_ref().ok_or(Code::InvalidActionNotFound)?;
    route.version.as_ref().ok_or(Code::MissingVersion)?;
    signature::authenticate(request, params, now_ms, keyring)
}

/// The keys of a server that knows one.
struct OneKey<'a> {
    id: &'a str,
    state: KeyState,
    tokens: &'a [String],
    nonces: BTreeSet<&'a str>,
}

impl<'a> OneKey<'a> {
    fn new(transcript: &'a Transcript) -> Result<Self, TranscriptError> {
        let KnownKey {
            access_key_id,
            access_key_secret,
            public_key,
            security_token,
            security_token_expires,
            other_security_tokens,
            disabled,
        } = &transcript.credential;
        let credential = match public_key {
            Some(pem) => Credential::rsa_public_key(pem)?,
            None => Credential::secret(access_key_secret.as_bytes()),
        };
        let token = match security_token {
            Some(token) => TokenState::Temporary {
                token: Arc::new(SecretSlice::from(token.clone().into_bytes())),
                expires_ms: security_token_expires.map_or(i64::MAX, |s| s.saturating_mul(1000)),
            },
            None => TokenState::Permanent,
        };
        Ok(Self {
            id: access_key_id,
            state: KeyState { credential: Arc::new(credential), active: !disabled, token },
            tokens: other_security_tokens,
            nonces: transcript.nonces_already_used.iter().map(String::as_str).collect(),
        })
    }
}

impl Keyring for OneKey<'_> {
    fn key(&self, access_key_id: &str) -> Option<KeyState> {
        (access_key_id == self.id).then(|| self.state.clone())
    }

    fn has_token(&self, token: &str) -> bool {
        self.tokens.iter().any(|other| other == token)
    }

    fn use_nonce(&self, _access_key_id: &str, nonce: &str) -> bool {
        !self.nonces.contains(nonce)
    }
}

/// The canonical request tells more than its hash, so it is looked at first.
fn difference(expected: &Expected, calculation: &Calculation) -> Option<Difference> {
    let canonical = expected.canonical_request.as_ref().zip(calculation.canonical_request.as_ref());
    let to_sign = expected.string_to_sign.as_ref().map(|text| (text, &calculation.string_to_sign));
    canonical
        .and_then(|(expected, ours)| first_difference("canonical_request", expected, ours))
        .or_else(|| {
            to_sign.and_then(|(expected, ours)| first_difference("string_to_sign", expected, ours))
        })
}

fn first_difference(of: &'static str, expected: &str, calculated: &str) -> Option<Difference> {
    if expected == calculated {
        return None;
    }
    let same = expected.chars().zip(calculated.chars()).take_while(|(ours, theirs)| ours == theirs);
    let before: Vec<char> = same.map(|(c, _)| c).collect();
    let around = |text: &str| {
        let skip = before.len().saturating_sub(EXCERPT);
        text.chars().skip(skip).take(before.len() - skip + EXCERPT).collect()
    };
    Some(Difference {
        of,
        line: before.iter().filter(|&&c| c == '\n').count() + 1,
        column: before.iter().rev().take_while(|&&c| c != '\n').count() + 1,
        expected: around(expected),
        calculated: around(calculated),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_difference_is_told_by_line_and_column() {
        let difference = first_difference("string_to_sign", "a\nbcd", "a\nbxd").unwrap();
        assert_eq!((difference.line, difference.column), (2, 2));
        assert_eq!(
            (difference.expected.as_str(), difference.calculated.as_str()),
            ("a\nbcd", "a\nbxd")
        );
        assert_eq!(first_difference("string_to_sign", "same", "same"), None);
        let longer = first_difference("string_to_sign", "same", "same+").unwrap();
        assert_eq!((longer.line, longer.column), (1, 5));
    }

    #[test]
    fn a_file_that_is_not_of_the_form_says_so() {
        assert!(matches!(parse(b"{}"), Err(TranscriptError::Form(_))));
        let long = vec![b' '; TRANSCRIPT_MAX + 1];
        assert!(matches!(parse(&long), Err(TranscriptError::TooLong)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            drop(parse(&bytes));
        }

        #[test]
        fn no_request_makes_the_verdict_panic(
            method in "GET|POST|PUT|",
            target in "[/?&=%+A-Za-z0-9.é]{0,60}",
            name in "Authorization|host|x-acs-date|content-type",
            value in "(ACS3-HMAC-SHA256 )?[ -~]{0,60}",
            body in any::<String>(),
        ) {
            let transcript: Transcript = serde_json::from_value(serde_json::json!({
                "credential": {"access_key_id": "id"},
                "now": 0,
                "request": {
                    "method": method, "target": target, "headers": [[name, value]], "body": body,
                },
            })).unwrap();
            prop_assert!(verdict(&transcript).unwrap().name != "OK");
        }
    }
}
