//! A caller of the CAMS door: signed calls over a connection of its own.

use bytes::Bytes;
use serde_json::Value;
use twoticks_core::clock::Time;
use twoticks_server::ops::VERSION;
use twoticks_wire::signature::Algorithm;
use twoticks_wire::signature::sign::{Call, Pairs, SecretKey, SignError, Signer, sign_v3};

use crate::post::{Asked, Lane, NoAnswer};

/// Whose calls are signed.
pub struct Caller {
    /// The access key id.
    pub access_key_id: String,
    /// Its secret.
    pub key: SecretKey,
    /// What nonces begin with; no two callers with one key may share it.
    pub nonces: String,
    made: u64,
}

/// Why a call has no answer that is good.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It cannot be signed.
    #[error("the call of {action} cannot be signed: {source}")]
    Sign {
        /// The operation.
        action: String,
        /// Why not.
        source: SignError,
    },
    /// Nobody answered.
    #[error("the call of {action} was not answered: {source}")]
    NoAnswer {
        /// The operation.
        action: String,
        /// Why not.
        source: NoAnswer,
    },
    /// It was refused.
    #[error("the call of {action} was refused with {status}: {body}")]
    Refused {
        /// The operation.
        action: String,
        /// The status.
        status: u16,
        /// What was said.
        body: String,
    },
}

impl CallError {
    /// The code of the refusal, if it is one that can be read.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        let Self::Refused { body, .. } = self else { return None };
        let body: Value = serde_json::from_str(body).ok()?;
        body.get("Code").and_then(Value::as_str).map(str::to_owned)
    }
}

impl Caller {
    /// A caller with this key.
    #[must_use]
    pub fn new(access_key_id: &str, secret: &str, nonces: &str) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            key: SecretKey::secret(secret),
            nonces: nonces.to_owned(),
            made: 0,
        }
    }

    /// A signed call of `action` (V3, POST) with `form` in its body, as it would be sent to `host`
    /// at `now`.
    ///
    /// # Errors
    /// [`CallError::Sign`].
    pub fn sign(
        &mut self,
        host: &str,
        action: &str,
        form: Pairs,
        now: Time,
    ) -> Result<Asked, CallError> {
        self.made += 1;
        let call = Call {
            method: "POST".to_owned(),
            host: host.to_owned(),
            action: action.to_owned(),
            version: VERSION.to_owned(),
            query: Vec::new(),
            form,
        };
        let signer = Signer {
            access_key_id: &self.access_key_id,
            key: &self.key,
            security_token: None,
            now_ms: now.0,
            nonce: &format!("{}-{}", self.nonces, self.made),
        };
        let signed = sign_v3(&call, &signer, Algorithm::HmacSha256)
            .map_err(|source| CallError::Sign { action: action.to_owned(), source })?;
        Ok(Asked {
            method: http::Method::POST,
            target: signed.target,
            headers: signed
                .headers
                .into_iter()
                .filter(|(name, _)| !name.eq_ignore_ascii_case("host"))
                .collect(),
            body: Bytes::from(signed.body),
        })
    }

    /// Makes a call and gives its answer.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(
        &mut self,
        lane: &mut Lane,
        action: &str,
        form: &[(&str, &str)],
        now: Time,
    ) -> Result<Value, CallError> {
        let form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let asked = self.sign(&lane.host(), action, form.collect(), now)?;
        let answered = lane
            .ask(&asked)
            .await
            .map_err(|source| CallError::NoAnswer { action: action.to_owned(), source })?;
        let refused = || CallError::Refused {
            action: action.to_owned(),
            status: answered.status.as_u16(),
            body: String::from_utf8_lossy(&answered.body).into_owned(),
        };
        if answered.status != 200 {
            return Err(refused());
        }
        serde_json::from_slice(&answered.body).map_err(|_| refused())
    }
}
