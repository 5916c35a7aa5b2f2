//! Who a call is from: the directory's keys as the wire's verifier wants to see them.
//!
//! [`authenticate`] is every check up to and including the nonce; what follows it (throttle,
//! policies, spaces) knows the caller. A key with an RSA public key verifies with that only; a key
//! that may not sign with version 1 is refused if it does, after everything else held.

use std::cell::Cell;
use std::sync::Arc;

use secrecy::SecretSlice;
use tracing::warn;
use twoticks_core::clock::Time;
use twoticks_store::directory::model::AccessKey;
use twoticks_store::directory::snapshot::{Principal, Snapshot};
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::params::Params;
use twoticks_wire::request::Request;
use twoticks_wire::signature::{self, Credential, KeyState, Keyring, Scheme, Signed, TokenState};

use super::nonce::{NonceMemory, Used};

/// A caller who is known.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub principal: Principal,
}

/// Runs every check that concerns the caller, in the order of [`signature::authenticate`].
///
/// # Errors
/// The first check that fails; `System.LimitControl` while there is no room for another nonce;
/// `InvalidSignatureMethod` for version 1 with a key that may not use it.
pub fn authenticate(
    request: &Request<'_>,
    params: &Params,
    now: Time,
    snapshot: &Snapshot,
    nonces: &NonceMemory,
) -> Result<Caller, Refusal> {
    let ring = Ring { snapshot, nonces, now, is_full: Cell::new(false) };
    let done = match signature::authenticate(request, params, now.0, &ring) {
        Ok(done) => done,
        Err(_) if ring.is_full.get() => return Err(Code::SystemLimitControl.into()),
        Err(refusal) => return Err(refusal),
    };
    let key = snapshot.key(&done.access_key_id);
    if done.scheme == Scheme::V1 && key.is_some_and(|key| !key.v1_allowed) {
        return Err(Code::InvalidSignatureMethod.into());
    }
    let principal =
        snapshot.principal(&done.access_key_id).ok_or(Code::InvalidAccessKeyIdNotFound)?;
    Ok(Caller { principal })
}

/// Takes a caller's word for who they are: for emulators only.
///
/// # Errors
/// If no signature can be read at all, or the key is not known.
pub fn believe(
    request: &Request<'_>,
    params: &Params,
    snapshot: &Snapshot,
) -> Result<Caller, Refusal> {
    let claimed = Signed::read(request, params)?;
    let principal =
        snapshot.principal(&claimed.access_key_id).ok_or(Code::InvalidAccessKeyIdNotFound)?;
    Ok(Caller { principal })
}

/// The directory's keys and the nonces, as the verifier asks for them.
struct Ring<'a> {
    snapshot: &'a Snapshot,
    nonces: &'a NonceMemory,
    now: Time,
    is_full: Cell<bool>,
}

impl Keyring for Ring<'_> {
    fn key(&self, access_key_id: &str) -> Option<KeyState> {
        if let Some(session) = self.snapshot.session(access_key_id) {
            let token = SecretSlice::from(session.token.expose().as_bytes().to_vec());
            return Some(KeyState {
                credential: Arc::new(Credential::secret(session.secret.expose())),
                active: true,
                token: TokenState::Temporary {
                    token: Arc::new(token),
                    expires_ms: session.expires.0,
                },
            });
        }
        let key = self.snapshot.key(access_key_id)?;
        let credential = credential(key);
        Some(KeyState {
            active: key.active && credential.is_some(),
            credential: Arc::new(credential.unwrap_or(Credential::secret(key.secret.expose()))),
            token: TokenState::Permanent,
        })
    }

    fn has_token(&self, token: &str) -> bool {
        self.snapshot.session_by_token(token).is_some()
    }

    fn use_nonce(&self, access_key_id: &str, nonce: &str) -> bool {
        let used = self.nonces.use_once(access_key_id, nonce, self.now);
        self.is_full.set(used == Used::Full);
        used == Used::First
    }
}

/// What a permanent key verifies with; `None` if its public key cannot be read, which whoever added
/// it should have found out.
fn credential(key: &AccessKey) -> Option<Credential> {
    let Some(pem) = &key.rsa_public_key else {
        return Some(Credential::secret(key.secret.expose()));
    };
    match Credential::rsa_public_key(pem) {
        Ok(credential) => Some(credential),
        Err(error) => {
            let id = key.id.as_str();
            warn!(key.id = id, %error, "the public key of `{id}` cannot be used: {error}");
            None
        }
    }
}

/// Who a principal is, as policies and logs name it.
#[must_use]
pub fn arn(principal: &Principal) -> String {
    let uid = &principal.account().uid;
    match principal {
        Principal::Root(_) => format!("acs:ram::{uid}:root"),
        Principal::User(_, user) => format!("acs:ram::{uid}:user/{}", user.name),
        Principal::Session(_, session) => {
            format!("acs:ram::{uid}:assumed-role/{}/{}", session.role, session.name)
        }
    }
}

/// Whose calls are counted together by the throttle: the account's own, a user's, or those of all
/// sessions of a role, since whoever may take a role may take it again and again.
#[must_use]
pub fn throttled_as(principal: &Principal) -> String {
    match principal {
        Principal::Root(account) => account.uid.to_string(),
        Principal::User(_, user) => format!("user/{}", user.id),
        Principal::Session(account, session) => format!("{}/role/{}", account.uid, session.role),
    }
}
