//! Signature vectors of our own, for what captures do not show, made with our own signer.
//!
//! `UPDATE=1` writes the files; otherwise they have to be what is made here. `tests/vectors.rs`
//! judges them like all others. A new one is a line in `vectors()` and a row in the README.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::PathBuf;

use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use twoticks_wire::signature::Algorithm;
use twoticks_wire::signature::sign::{Call, SecretKey, SignedCall, Signer, sign_v1, sign_v3};
use twoticks_wire::transcript::{self, Expected, KnownKey, Recorded, Transcript};

const NOW: i64 = 1_795_402_052;
const KEY_ID: &str = "LTAI5tExampleKey00000001";
const SECRET: &str = "exampleSecretForTests0000000001";
const TOKEN: &str = "CAISexampleSecurityToken+/=with~specials*and-more==";
const NONCE: &str = "7b8d40c69493a40993a3e2cffe18fa74";
const RSA_KEY: &str = include_str!("data/rsa_test_key.pem");

/// A vector while it is made: change the call, sign it, change what was signed.
struct Own {
    name: &'static str,
    description: &'static str,
    verdict: &'static str,
    call: Call,
    key: SecretKey,
    token: Option<&'static str>,
    credential: KnownKey,
    nonces: Vec<String>,
    expects_calculation: bool,
}

fn own(name: &'static str, verdict: &'static str, description: &'static str) -> Own {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Own {
        name,
        description,
        verdict,
        call: Call {
            method: "POST".into(),
            host: "127.0.0.1:18901".into(),
            action: "GetChatappTemplateMetric".into(),
            version: "2020-06-06".into(),
            query: vec![
                pair("CustSpaceId", "cams-8c8a1234"),
                pair("End", "1693407714687"),
                pair("Start", "1693107714687"),
                pair("TemplateCode", "模板 a+b*~"),
            ],
            form: Vec::new(),
        },
        key: SecretKey::secret(SECRET),
        token: None,
        credential: KnownKey {
            access_key_id: KEY_ID.into(),
            access_key_secret: SECRET.into(),
            public_key: None,
            security_token: None,
            security_token_expires: None,
            other_security_tokens: Vec::new(),
            disabled: false,
        },
        nonces: Vec::new(),
        expects_calculation: false,
    }
}

impl Own {
    fn form(mut self) -> Self {
        self.call.form = vec![("Tag".into(), "spring sale".into())];
        self
    }

    fn token(mut self, sent: Option<&'static str>, known: Option<&str>) -> Self {
        self.token = sent;
        self.credential.security_token = known.map(str::to_owned);
        self
    }

    fn credential(mut self, change: impl FnOnce(&mut KnownKey)) -> Self {
        change(&mut self.credential);
        self
    }

    fn used(mut self) -> Self {
        self.nonces = vec![NONCE.into()];
        self
    }

    fn rsa(mut self) -> Self {
        let key = rsa::PrivateKey::from_pkcs8_pem(RSA_KEY).unwrap();
        let public = rsa::PublicKey::from(&key);
        self.credential.public_key = Some(public.to_public_key_pem(Default::default()).unwrap());
        self.credential.access_key_secret = "(RSA private key, not needed to verify)".into();
        self.key = SecretKey::rsa(RSA_KEY).unwrap();
        self
    }

    /// The file also says what the caller calculated, so that the verdict can say where it parts.
    fn expects(mut self) -> Self {
        self.expects_calculation = true;
        self
    }

    fn signer(&self) -> Signer<'_> {
        Signer {
            access_key_id: KEY_ID,
            key: &self.key,
            security_token: self.token,
            now_ms: (NOW - 1) * 1000,
            nonce: NONCE,
        }
    }

    fn v3(self, algorithm: Algorithm, change: impl FnOnce(&mut SignedCall)) -> Transcript {
        let signed = sign_v3(&self.call, &self.signer(), algorithm).unwrap();
        self.finish(signed, change)
    }

    fn v1(self, change: impl FnOnce(&mut SignedCall)) -> Transcript {
        let signed = sign_v1(&self.call, &self.signer()).unwrap();
        self.finish(signed, change)
    }

    fn finish(self, signed: SignedCall, change: impl FnOnce(&mut SignedCall)) -> Transcript {
        let mut changed = signed.clone();
        change(&mut changed);
        let mut vector = Transcript {
            name: self.name.into(),
            kind: "own".into(),
            description: self.description.into(),
            credential: self.credential,
            now: NOW,
            nonces_already_used: self.nonces,
            request: recorded(&signed),
            expected: None,
        };
        let as_signed = transcript::verdict(&vector).unwrap().calculation;
        vector.request = recorded(&changed);
        // Scheme, action and parameters are read off the request; the verdict is what we say.
        let read = transcript::verdict(&vector).unwrap();
        let says = self.verdict == "OK" || self.expects_calculation;
        let calculation = as_signed.filter(|_| says);
        vector.expected = Some(Expected {
            verdict: self.verdict.into(),
            scheme: Some(read.scheme.name().into()),
            action: read.action,
            version: read.version,
            params: Some(read.params),
            canonical_request: calculation.as_ref().and_then(|c| c.canonical_request.clone()),
            string_to_sign: calculation.map(|c| c.string_to_sign),
        });
        vector
    }
}

fn recorded(signed: &SignedCall) -> Recorded {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Recorded {
        method: signed.method.clone(),
        target: signed.target.clone(),
        headers: signed.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        body: text(&signed.body),
        body_encoding: Some("utf-8".into()),
    }
}

fn header(signed: &mut SignedCall, name: &str, change: impl Fn(&str) -> String) {
    for (given, value) in &mut signed.headers {
        if given == name {
            *value = change(std::str::from_utf8(value).unwrap()).into_bytes();
        }
    }
}

fn without(signed: &mut SignedCall, name: &str) {
    signed.headers.retain(|(given, _)| given != name);
}

fn in_target(signed: &mut SignedCall, from: &str, to: &str) {
    assert!(signed.target.contains(from), "{} has no {from}", signed.target);
    signed.target = signed.target.replace(from, to);
}

fn nothing(_: &mut SignedCall) {}

fn vectors() -> Vec<Transcript> {
    let mut all = v3_request();
    all.extend(v3_malformed());
    all.extend(v3_caller());
    all.extend(v1());
    all
}

/// V3: what is signed.
fn v3_request() -> Vec<Transcript> {
    const HMAC: Algorithm = Algorithm::HmacSha256;
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let mismatch = "SignatureDoesNotMatch";
    vec![
        own("201_v3_form_ok", "OK", "parameters in query and form body").form().v3(HMAC, nothing),
        own("202_v3_sm3_form_ok", "OK", "ACS3-HMAC-SM3 with a body")
            .form()
            .v3(Algorithm::HmacSm3, nothing),
        own("203_v3_rsa_form_ok", "OK", "ACS3-RSA-SHA256 with a body")
            .form()
            .rsa()
            .v3(Algorithm::RsaSha256, nothing),
        own("204_v3_body_tampered", mismatch, "a form parameter changed after signing")
            .form()
            .expects()
            .v3(HMAC, |signed| signed.body = b"Tag=winter%20sale".to_vec()),
        own("205_v3_body_hash_wrong", mismatch, "the hash header is that of an empty body")
            .form()
            .v3(HMAC, |signed| header(signed, "x-acs-content-sha256", |_| empty.to_owned())),
        own("206_v3_body_added", mismatch, "a body was added to a request signed without one")
            .expects()
            .v3(HMAC, |signed| signed.body = b"Tag=x".to_vec()),
        own("207_v3_query_tampered", mismatch, "a query value changed; says where")
            .expects()
            .v3(HMAC, |signed| in_target(signed, "cams-8c8a1234", "cams-8c8a1235")),
        own("208_v3_host_changed", mismatch, "sent to another host than it was signed for")
            .expects()
            .v3(HMAC, |signed| header(signed, "host", |_| "elsewhere".to_owned())),
        own("209_v3_respelled_ok", "OK", "the same parameters percent-encoded another way").v3(
            HMAC,
            |signed| {
                in_target(signed, "%20a%2Bb%2A~", "+%61%2bb*%7E");
            },
        ),
        own("210_v3_bare_plus", mismatch, "a bare + is a blank, not the plus that was signed")
            .v3(HMAC, |signed| in_target(signed, "%2B", "+")),
    ]
}

/// V3: what is missing, doubled or garbled.
fn v3_malformed() -> Vec<Transcript> {
    const HMAC: Algorithm = Algorithm::HmacSha256;
    let incomplete = "IncompleteSignature";
    vec![
        own("211_v3_unsigned_acs_header", incomplete, "an x-acs header that nobody signed")
            .v3(HMAC, |signed| signed.headers.push(("x-acs-extra".into(), b"e".to_vec()))),
        own("212_v3_unsigned_host", incomplete, "host is not among the signed headers").v3(
            HMAC,
            |signed| {
                header(signed, "Authorization", |value| value.replace("host;", ""));
            },
        ),
        own("213_v3_two_authorizations", incomplete, "two Authorization headers")
            .v3(HMAC, |signed| signed.headers.extend(signed.headers.last().cloned())),
        own("214_v3_authorization_garbled", incomplete, "Authorization without a signature").v3(
            HMAC,
            |signed| {
                header(signed, "Authorization", |value| value.replace("Signature=", ""));
            },
        ),
        own("215_v3_unsupported_algorithm", "InvalidSignatureMethod", "ACS3-HMAC-MD5").v3(
            HMAC,
            |signed| {
                header(signed, "Authorization", |value| value.replace("SHA256", "MD5"));
            },
        ),
        own("216_v3_missing_nonce", "MissingSignatureNonce", "no x-acs-signature-nonce")
            .v3(HMAC, |signed| without(signed, "x-acs-signature-nonce")),
        own("217_v3_missing_version", "MissingVersion", "no x-acs-version")
            .v3(HMAC, |signed| without(signed, "x-acs-version")),
        own("218_v3_missing_action", "InvalidAction.NotFound", "no x-acs-action")
            .v3(HMAC, |signed| without(signed, "x-acs-action")),
        own("219_v3_missing_body_hash", "MissingParameter", "no x-acs-content-sha256")
            .v3(HMAC, |signed| without(signed, "x-acs-content-sha256")),
        own("220_v3_duplicate_parameter", "InvalidParameter", "a name twice in the query")
            .v3(HMAC, |signed| signed.target.push_str("&Start=1")),
        own("221_v3_query_and_body", "InvalidParameter", "a name in query and body")
            .form()
            .v3(HMAC, |signed| signed.body = b"Start=1".to_vec()),
        own("222_v3_not_utf8", "InvalidParameter", "a value that is not UTF-8")
            .v3(HMAC, |signed| signed.target.push_str("&Language=%FF")),
        own("223_v3_put", "UnsupportedHTTPMethod", "neither GET nor POST")
            .v3(HMAC, |signed| signed.method = "PUT".into()),
        own("224_v3_repeated_date", "InvalidTimeStamp.Format", "a second x-acs-date").v3(
            HMAC,
            |signed| {
                signed.headers.push(("x-acs-date".into(), b"2026-11-23T02:47:32Z".to_vec()));
            },
        ),
    ]
}

/// V3: who signed.
fn v3_caller() -> Vec<Transcript> {
    const HMAC: Algorithm = Algorithm::HmacSha256;
    let (malformed, of_another) =
        ("InvalidSecurityToken.Malformed", "InvalidSecurityToken.MismatchWithAccessKey");
    let others = |key: &mut KnownKey| key.other_security_tokens = vec![TOKEN.into()];
    vec![
        own("230_v3_nonce_used", "SignatureNonceUsed", "the same request a second time")
            .used()
            .v3(HMAC, nothing),
        own("231_v3_disabled_key", "InvalidAccessKeyId.Inactive", "the key is disabled")
            .credential(|key| key.disabled = true)
            .v3(HMAC, nothing),
        own("232_v3_token_ok", "OK", "a temporary key with its token, in time")
            .token(Some(TOKEN), Some(TOKEN))
            .credential(|key| key.security_token_expires = Some(NOW + 1))
            .v3(HMAC, nothing),
        own("233_v3_token_expired", "InvalidSecurityToken.Expired", "the session ends now")
            .token(Some(TOKEN), Some(TOKEN))
            .credential(|key| key.security_token_expires = Some(NOW))
            .v3(HMAC, nothing),
        own("234_v3_token_of_another_key", of_another, "a token that went with another key")
            .token(Some(TOKEN), Some("another token"))
            .credential(others)
            .v3(HMAC, nothing),
        own(
            "235_v3_token_unknown",
            of_another,
            "a temporary key with a token that was never given out",
        )
        .token(Some(TOKEN), Some("another token"))
        .v3(HMAC, nothing),
        own("236_v3_token_on_permanent_key", malformed, "a token where none belongs")
            .token(Some(TOKEN), None)
            .v3(HMAC, nothing),
        own("237_v3_foreign_token_on_permanent_key", of_another, "another key's token")
            .token(Some(TOKEN), None)
            .credential(others)
            .v3(HMAC, nothing),
        own("238_v3_token_stripped", "SignatureDoesNotMatch", "the signed token was taken away")
            .token(Some(TOKEN), Some(TOKEN))
            .v3(HMAC, |signed| without(signed, "x-acs-security-token")),
        own("239_v3_other_id_in_header", "IncompleteSignature", "two key ids in one request")
            .token(Some(TOKEN), Some(TOKEN))
            .v3(HMAC, |signed| header(signed, "x-acs-accesskey-id", |_| "LTAI-other".into())),
        own("240_v3_hmac_with_rsa_key", "InvalidSignatureMethod", "HMAC where RSA is registered")
            .credential(|key| key.public_key = own("", "", "").rsa().credential.public_key)
            .v3(HMAC, nothing),
        own("241_v3_wrong_rsa_signature", "SignatureDoesNotMatch", "RSA, a parameter changed")
            .rsa()
            .v3(Algorithm::RsaSha256, |signed| in_target(signed, "Start=1", "Start=2")),
        own("242_v3_empty_key_id", "MissingAccessKeyId", "Credential= is empty").v3(
            HMAC,
            |signed| {
                header(signed, "Authorization", |value| value.replace(KEY_ID, ""));
            },
        ),
        own("243_unsigned", "Unsigned", "neither Authorization nor Signature")
            .v3(HMAC, |signed| without(signed, "Authorization")),
    ]
}

fn v1() -> Vec<Transcript> {
    let mismatch = "SignatureDoesNotMatch";
    vec![
        own("250_v1_form_ok", "OK", "parameters in query and form body").form().v1(nothing),
        own("251_v1_nonce_used", "SignatureNonceUsed", "the same request a second time")
            .used()
            .v1(nothing),
        own("252_v1_query_tampered", mismatch, "a query value changed; says where")
            .expects()
            .v1(|signed| in_target(signed, "cams-8c8a1234", "cams-8c8a1235")),
        own("253_v1_body_tampered", mismatch, "a form parameter changed after signing")
            .form()
            .v1(|signed| signed.body = b"Tag=winter%20sale".to_vec()),
        own("254_v1_unsupported_method", "InvalidSignatureMethod", "HMAC-SHA256")
            .v1(|signed| in_target(signed, "HMAC-SHA1", "HMAC-SHA256")),
        own("255_v1_unsupported_version", "InvalidSignatureVersion", "SignatureVersion 2.0")
            .v1(|signed| in_target(signed, "SignatureVersion=1.0", "SignatureVersion=2.0")),
        own("256_v1_bearer_type", "InvalidSignatureType", "SignatureType=BEARERTOKEN")
            .v1(|signed| signed.target.push_str("&SignatureType=BEARERTOKEN")),
        own("257_v1_no_signature", "MissingSignature", "a key id and no signature")
            .v1(|signed| in_target(signed, "&Signature=", "&Unsigned=")),
        own("258_v1_no_key_id", "MissingAccessKeyId", "a signature and no key id")
            .v1(|signed| in_target(signed, "AccessKeyId=", "Unknown=")),
        own("259_v1_missing_timestamp", "MissingTimestamp", "no Timestamp")
            .v1(|signed| in_target(signed, "Timestamp=", "Time=")),
        own("260_v1_missing_nonce", "MissingSignatureNonce", "no SignatureNonce")
            .v1(|signed| in_target(signed, "SignatureNonce=", "Once=")),
        own("261_v1_duplicate_parameter", "InvalidParameter", "a name twice in the query")
            .v1(|signed| signed.target.push_str("&Start=1")),
        own("262_v1_disabled_key", "InvalidAccessKeyId.Inactive", "the key is disabled")
            .credential(|key| key.disabled = true)
            .v1(nothing),
        own("263_v1_token_expired", "InvalidSecurityToken.Expired", "the session has ended")
            .token(Some(TOKEN), Some(TOKEN))
            .credential(|key| key.security_token_expires = Some(NOW - 1))
            .v1(nothing),
        own("264_v1_key_without_token", "MissingSecurityToken", "a temporary key alone")
            .token(None, Some(TOKEN))
            .v1(nothing),
        own("265_v1_respelled_ok", "OK", "the same parameters percent-encoded another way")
            .v1(|signed| in_target(signed, "%20a%2Bb%2A~", "+%61%2bb*%7E")),
        own("266_v1_signature_garbled", mismatch, "a signature that is not base64")
            .v1(|signed| in_target(signed, "&Signature=", "&Signature=*")),
        own("267_v1_with_rsa_key", "InvalidSignatureMethod", "V1 with a key that has no secret")
            .credential(|key| key.public_key = own("", "", "").rsa().credential.public_key)
            .v1(nothing),
    ]
}

#[test]
fn the_files_are_what_our_signer_makes() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/signing");
    for vector in vectors() {
        let path = folder.join(format!("{}.json", vector.name));
        let made = serde_json::to_string_pretty(&vector).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
            std::fs::write(&path, &made).unwrap();
        }
        let there = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}; UPDATE=1 writes it", vector.name));
        assert!(made == there, "{} differs; UPDATE=1 writes it", vector.name);
    }
}
