//! What our signer signs, our verifier takes, and nothing that was changed afterwards.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use twoticks_wire::code::Code;
use twoticks_wire::signature::sign::{Call, SecretKey, SignedCall, Signer, sign_v1, sign_v3};
use twoticks_wire::signature::{
    Algorithm, Credential, KeyState, Keyring, NONCE_MAX, SKEW_MS, TokenState, authenticate,
};

const NOW_MS: i64 = 1_795_402_052_000;
const RSA_KEY: &str = include_str!("data/rsa_test_key.pem");

/// One key, and the nonces it has used.
struct OneKey {
    credential: Arc<Credential>,
    nonces: RefCell<BTreeSet<String>>,
}

impl OneKey {
    fn new(credential: Credential) -> Self {
        Self { credential: Arc::new(credential), nonces: RefCell::default() }
    }
}

impl Keyring for OneKey {
    fn key(&self, access_key_id: &str) -> Option<KeyState> {
        (access_key_id == "id").then(|| KeyState {
            credential: Arc::clone(&self.credential),
            active: true,
            token: TokenState::Permanent,
        })
    }

    fn has_token(&self, _token: &str) -> bool {
        false
    }

    fn use_nonce(&self, _access_key_id: &str, nonce: &str) -> bool {
        self.nonces.borrow_mut().insert(nonce.to_owned())
    }
}

fn signer<'a>(key: &'a SecretKey, nonce: &'a str) -> Signer<'a> {
    Signer { access_key_id: "id", key, security_token: None, now_ms: NOW_MS, nonce }
}

fn answer(signed: &SignedCall, keyring: &OneKey) -> Option<Code> {
    let request = signed.request();
    let params = match request.params() {
        Ok(params) => params,
        Err(refusal) => return Some(refusal.code),
    };
    authenticate(&request, &params, NOW_MS, keyring).err().map(|refusal| refusal.code)
}

fn call() -> impl Strategy<Value = Call> {
    let pairs = |prefix: &'static str| {
        let values = proptest::collection::vec(("[A-Za-z.]{0,5}", any::<String>()), 0..5);
        values.prop_map(move |pairs| {
            let numbered = pairs.into_iter().enumerate();
            numbered.map(|(n, (name, value))| (format!("{prefix}{name}{n}"), value)).collect()
        })
    };
    ("GET|POST", "[a-z.]{1,10}(:[0-9]{1,4})?", pairs("Q"), pairs("F")).prop_map(
        |(method, host, query, form)| Call {
            method,
            host,
            action: "SendChatappMessage".into(),
            version: "2020-06-06".into(),
            query,
            form,
        },
    )
}

proptest! {
    #[test]
    fn what_is_signed_verifies_once_and_under_its_own_secret_only(
        call in call(),
        secret in "[ -~]{1,40}",
        v1 in any::<bool>(),
        sm3 in any::<bool>(),
    ) {
        let key = SecretKey::secret(secret.as_bytes());
        let algorithm = if sm3 { Algorithm::HmacSm3 } else { Algorithm::HmacSha256 };
        let signed = if v1 {
            sign_v1(&call, &signer(&key, "n")).unwrap()
        } else {
            sign_v3(&call, &signer(&key, "n"), algorithm).unwrap()
        };
        let keyring = OneKey::new(Credential::secret(secret.as_bytes()));
        prop_assert_eq!(answer(&signed, &keyring), None);
        prop_assert_eq!(answer(&signed, &keyring), Some(Code::SignatureNonceUsed));
        let other = OneKey::new(Credential::secret(format!("{secret}x")));
        prop_assert_eq!(answer(&signed, &other), Some(Code::SignatureDoesNotMatch));
    }

    #[test]
    fn what_is_changed_after_signing_is_refused(
        call in call(),
        v1 in any::<bool>(),
        extra in "[A-Z][a-z]{1,8}=[a-z]{0,4}",
        where_to in 0_usize..3,
    ) {
        let key = SecretKey::secret("secret");
        let sign = |call: &Call| if v1 {
            sign_v1(call, &signer(&key, "n")).unwrap()
        } else {
            sign_v3(call, &signer(&key, "n"), Algorithm::HmacSha256).unwrap()
        };
        let mut signed = sign(&call);
        match where_to {
            0 => {
                let glue = if signed.target.contains('?') { "&" } else { "?" };
                signed.target = format!("{}{glue}Z{extra}", signed.target);
            }
            1 if signed.body.is_empty() => signed.method = "GETPOST".replace(&signed.method, ""),
            1 => signed.body.extend(format!("&Z{extra}").bytes()),
            _ => signed.method = "GETPOST".replace(&signed.method, ""),
        }
        let keyring = OneKey::new(Credential::secret("secret"));
        prop_assert_eq!(answer(&signed, &keyring), Some(Code::SignatureDoesNotMatch));
    }
}

#[test]
fn rsa_signs_and_verifies_and_goes_with_nothing_else() {
    let key = SecretKey::rsa(RSA_KEY).unwrap();
    let call = Call {
        method: "POST".into(),
        host: "x".into(),
        action: "A".into(),
        version: "1".into(),
        ..Call::default()
    };
    let private = rsa::PrivateKey::from_pkcs8_pem(RSA_KEY).unwrap();
    let pem = rsa::PublicKey::from(&private).to_public_key_pem(Default::default()).unwrap();
    let keyring = OneKey::new(Credential::rsa_public_key(&pem).unwrap());
    let signed = sign_v3(&call, &signer(&key, "n"), Algorithm::RsaSha256).unwrap();
    assert_eq!(answer(&signed, &keyring), None);
    assert!(sign_v3(&call, &signer(&key, "n"), Algorithm::HmacSha256).is_err());
    assert!(sign_v1(&call, &signer(&key, "n")).is_err());
    // The public key as the secret of an HMAC is the classic forgery.
    let forger = SecretKey::secret(pem);
    let forged = sign_v3(&call, &signer(&forger, "m"), Algorithm::HmacSha256).unwrap();
    assert_eq!(answer(&forged, &keyring), Some(Code::InvalidSignatureMethod));
    let forged = sign_v1(&call, &signer(&forger, "m")).unwrap();
    assert_eq!(answer(&forged, &keyring), Some(Code::InvalidSignatureMethod));
}

#[test]
fn a_nonce_is_taken_up_to_its_limit_and_a_time_up_to_its_edge() {
    let key = SecretKey::secret("secret");
    let call = Call { method: "GET".into(), host: "x".into(), ..Call::default() };
    let keyring = OneKey::new(Credential::secret("secret"));
    for (length, code) in [(NONCE_MAX, None), (NONCE_MAX + 1, Some(Code::InvalidNamed))] {
        let nonce = "n".repeat(length);
        let signed = sign_v1(&call, &signer(&key, &nonce)).unwrap();
        assert_eq!(answer(&signed, &keyring), code, "{length}");
    }
    for (skew_ms, code) in [
        (SKEW_MS, None),
        (-SKEW_MS, None),
        (SKEW_MS + 1000, Some(Code::InvalidTimeStampExpired)),
        (-SKEW_MS - 1000, Some(Code::InvalidTimeStampExpired)),
    ] {
        let nonce = skew_ms.to_string();
        let signer = Signer { now_ms: NOW_MS + skew_ms, ..signer(&key, &nonce) };
        assert_eq!(answer(&sign_v1(&call, &signer).unwrap(), &keyring), code, "{skew_ms}");
    }
}
