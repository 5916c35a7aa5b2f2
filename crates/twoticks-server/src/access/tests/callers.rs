//! Callers against the verifier, and against the spaces they name.

use twoticks_wire::code::Code;
use twoticks_wire::signature::sign::{self, SecretKey, SignedCall, Signer};
use twoticks_wire::signature::{Algorithm, NONCE_KEPT_MS, Scheme};

use super::super::decision::Reason;
use super::super::isv::{self, About, IsvCodeUse, Named, Reach, Refusal};
use super::super::nonce::NonceMemory;
use super::super::principal::{self, authenticate};
use super::*;

const MISSING: Refusal = Refusal::SpaceMissing { parameter: "CustSpaceId" };

fn named<'a>(
    about: About,
    id: Option<&'a str>,
    isv_code: Option<&'a str>,
    code_use: IsvCodeUse,
) -> Named<'a> {
    Named { about, id, isv_code, code_use }
}

fn reached(reach: Reach) -> Vec<String> {
    let channels = match reach {
        Reach::Channel(channel) => vec![channel],
        Reach::Account(channels) => channels,
    };
    channels.iter().map(|channel| channel.id.to_string()).collect()
}

#[test]
fn a_space_is_its_accounts_and_no_others() {
    let mut changes = vec![
        account(UID, true),
        account(OTHER, false),
        channel("cams-one", UID),
        channel("cams-far", OTHER),
        Change::AddKey(key("LTAI5tfar", Owner::Root(Uid::new(OTHER).unwrap()))),
    ];
    changes.extend(user("1", false, Vec::new()));
    let one = snapshot(changes.clone());
    changes.push(channel("cams-two", UID));
    let two = snapshot(changes);
    for (snapshot, key, space, expected) in [
        (&one, "LTAI5t1", None, Ok("cams-one")),
        (&one, "LTAI5t1", Some(""), Ok("cams-one")),
        (&one, "LTAI5t1", Some("cams-one"), Ok("cams-one")),
        (&one, "LTAI5t1", Some("cams-far"), Err(Refusal::SpaceForeign)),
        (&one, "LTAI5t1", Some("cams-none"), Err(Refusal::SpaceForeign)),
        (&one, "LTAI5t1", Some("not a space"), Err(Refusal::SpaceForeign)),
        (&two, "LTAI5t1", None, Err(MISSING)),
        (&two, "LTAI5t1", Some("cams-two"), Ok("cams-two")),
        (&one, "LTAI5tfar", None, Err(Refusal::Unsubscribed)),
    ] {
        let principal = snapshot.principal(key).unwrap();
        let named = named(About::Space, space, None, IsvCodeUse::Checked);
        let entered = isv::enter(snapshot, &principal, &named).map(reached);
        assert_eq!(entered, expected.map(|id| vec![id.to_owned()]), "{key} {space:?}");
    }
    let told = |refusal: Refusal| refusal.told(Code::RamPermissionDeny).name().to_owned();
    assert_eq!(told(MISSING), "MissingCustSpaceId");
    assert_eq!(told(Refusal::SpaceForeign), "Unknown.ResourceOwnerId");
    assert_eq!(told(Refusal::Unsubscribed), "Product.Unsubscript");
}

#[test]
fn an_isv_scoped_user_needs_the_code_of_its_space() {
    let code = |channel: &str, code: &str| {
        let channel = ChannelId::new(channel).unwrap();
        Change::PutIsvCode(IsvCode { user: user_id("2"), channel, code: secret(code) })
    };
    let mut changes = vec![
        account(UID, true),
        account(OTHER, true),
        channel("cams-one", UID),
        channel("cams-two", UID),
        channel("cams-bare", UID),
        channel("cams-far", OTHER),
    ];
    changes.extend(user("1", false, Vec::new()));
    changes.extend(user("2", true, Vec::new()));
    changes.extend([code("cams-one", "code-one"), code("cams-two", "code-two")]);
    let snapshot = snapshot(changes);
    use IsvCodeUse::{Checked, Ignored, Issued};
    let wrong = |channel| Err(Refusal::CodeWrong { channel: ChannelId::new(channel).unwrap() });
    for (key, space, code, code_use, expected) in [
        ("LTAI5t2", "cams-one", Some("code-one"), Checked, Ok(())),
        ("LTAI5t2", "cams-one", None, Checked, wrong("cams-one")),
        ("LTAI5t2", "cams-one", Some(""), Checked, wrong("cams-one")),
        ("LTAI5t2", "cams-one", Some("code-two"), Checked, wrong("cams-one")),
        ("LTAI5t2", "cams-bare", Some("code-one"), Checked, wrong("cams-bare")),
        ("LTAI5t2", "cams-bare", None, Ignored, Ok(())),
        ("LTAI5t2", "cams-one", Some("nonsense"), Ignored, Ok(())),
        ("LTAI5t2", "cams-one", None, Issued, Ok(())),
        ("LTAI5t2", "cams-bare", Some("code-one"), Issued, wrong("cams-bare")),
        ("LTAI5t2", "cams-far", None, Issued, Err(Refusal::SpaceForeign)),
        ("LTAI5t2", "cams-far", Some("code-one"), Checked, Err(Refusal::SpaceForeign)),
        ("LTAI5t2", "cams-far", None, Ignored, Err(Refusal::SpaceForeign)),
        ("LTAI5t1", "cams-one", None, Checked, Ok(())),
        ("LTAI5t1", "cams-one", Some("nonsense"), Checked, Ok(())),
    ] {
        let principal = snapshot.principal(key).unwrap();
        let named = named(About::Space, Some(space), code, code_use);
        let entered = isv::enter(&snapshot, &principal, &named).map(|_| ());
        assert_eq!(entered, expected, "{key} {space} {code:?} {code_use:?}");
    }
    // Of the account everybody sees what is theirs; an instance has to be named.
    for (key, all) in [
        ("LTAI5t1", vec!["cams-bare", "cams-one", "cams-two"]),
        ("LTAI5t2", vec!["cams-one", "cams-two"]),
    ] {
        let principal = snapshot.principal(key).unwrap();
        let account = named(About::Account, None, None, Issued);
        let entered = isv::enter(&snapshot, &principal, &account).map(reached);
        assert_eq!(entered, Ok(all.into_iter().map(str::to_owned).collect()), "{key}");
        let unnamed = named(About::Instance, None, None, Issued);
        let missing = Err(Refusal::SpaceMissing { parameter: "InstanceId" });
        assert_eq!(isv::enter(&snapshot, &principal, &unnamed), missing);
    }
    let refused = Refusal::CodeWrong { channel: ChannelId::new("cams-one").unwrap() };
    let decision = refused.decision().unwrap();
    assert_eq!(decision.reasons, [Reason::IsvCode { channel: "cams-one".to_owned() }]);
    assert_eq!(refused.told(Code::NoPermission).name(), "NoPermission");
}

fn signed(id: &str, secret: &str, token: Option<&str>, nonce: &str, scheme: Scheme) -> SignedCall {
    let call = sign::Call {
        method: "POST".to_owned(),
        host: "127.0.0.1:8080".to_owned(),
        action: "EnableWhatsappROIMetric".to_owned(),
        version: "2020-06-06".to_owned(),
        query: Vec::new(),
        form: Vec::new(),
    };
    let key = SecretKey::secret(secret);
    let signer =
        Signer { access_key_id: id, key: &key, security_token: token, now_ms: NOW.0, nonce };
    match scheme {
        Scheme::V1 => sign::sign_v1(&call, &signer).unwrap(),
        Scheme::Acs3 | Scheme::None => {
            sign::sign_v3(&call, &signer, Algorithm::HmacSha256).unwrap()
        }
    }
}

#[test]
fn a_caller_is_who_signed_with_a_key_that_is_good_now() {
    let mut disabled = key("LTAI5tdisabled", Owner::Root(Uid::new(UID).unwrap()));
    disabled.active = false;
    let mut modern = key("LTAI5tmodern", Owner::Root(Uid::new(UID).unwrap()));
    modern.v1_allowed = false;
    let mut unreadable = key("LTAI5tunreadable", Owner::Root(Uid::new(UID).unwrap()));
    unreadable.rsa_public_key = Some("not a key".into());
    let mut changes = vec![account(UID, true), session(Vec::new(), None)];
    changes.extend([disabled, modern, unreadable].map(Change::AddKey));
    changes.extend(user("1", false, Vec::new()));
    let snapshot = snapshot(changes);
    let (key, temporary) = ("secret-of-a-key", "secret-of-a-session");
    use Scheme::{Acs3, V1};
    let end = 900 * SECOND;
    for (place, (id, secret, token, scheme, at, expected)) in [
        ("LTAI5t1", key, None, Acs3, 0, Ok("acs:ram::1234567890123456:user/u1")),
        ("LTAI5t1", key, None, V1, 0, Ok("acs:ram::1234567890123456:user/u1")),
        ("LTAI5tmodern", key, None, Acs3, 0, Ok("acs:ram::1234567890123456:root")),
        ("LTAI5tmodern", key, None, V1, 0, Err(Code::InvalidSignatureMethod)),
        ("LTAI5t1", "wrong", None, Acs3, 0, Err(Code::SignatureDoesNotMatch)),
        ("LTAI5tnobody", key, None, Acs3, 0, Err(Code::InvalidAccessKeyIdNotFound)),
        ("LTAI5tdisabled", key, None, Acs3, 0, Err(Code::InvalidAccessKeyIdInactive)),
        ("LTAI5tunreadable", key, None, Acs3, 0, Err(Code::InvalidAccessKeyIdInactive)),
        ("LTAI5t1", key, None, Acs3, end + 1, Err(Code::InvalidTimeStampExpired)),
        (
            "STS.one",
            temporary,
            Some("token-one"),
            Acs3,
            0,
            Ok("acs:ram::1234567890123456:assumed-role/reporter/nightly"),
        ),
        ("STS.one", temporary, Some("token-one"), V1, end, Err(Code::InvalidSecurityTokenExpired)),
        ("STS.one", temporary, None, Acs3, 0, Err(Code::MissingSecurityToken)),
        ("STS.one", temporary, Some("x"), Acs3, 0, Err(Code::InvalidSecurityTokenMismatch)),
        ("LTAI5t1", key, Some("x"), Acs3, 0, Err(Code::InvalidSecurityTokenMalformed)),
        ("LTAI5t1", key, Some("token-one"), Acs3, 0, Err(Code::InvalidSecurityTokenMismatch)),
    ]
    .into_iter()
    .enumerate()
    {
        let call = signed(id, secret, token, &format!("nonce-{place}"), scheme);
        let request = call.request();
        let params = request.params().unwrap();
        let nonces = NonceMemory::default();
        let caller = authenticate(&request, &params, NOW.plus(at), &snapshot, &nonces);
        let caller = caller.map(|caller| principal::arn(&caller.principal));
        assert_eq!(caller.map_err(|it| it.code), expected.map(str::to_owned), "{id} {scheme:?}");
    }
}

#[test]
fn a_call_cannot_be_repeated_and_a_stranger_burns_no_nonce() {
    let mut changes = vec![account(UID, true)];
    changes.extend(user("1", false, Vec::new()));
    let snapshot = snapshot(changes);
    let nonces = NonceMemory::with_limits(1, 10);
    let attempt = |secret: &str, nonce: &str, now: Time| {
        let call = signed("LTAI5t1", secret, None, nonce, Scheme::Acs3);
        let request = call.request();
        let params = request.params().unwrap();
        authenticate(&request, &params, now, &snapshot, &nonces).map(|_| ()).map_err(|it| it.code)
    };
    let key = "secret-of-a-key";
    assert_eq!(attempt("wrong", "n", NOW), Err(Code::SignatureDoesNotMatch));
    assert_eq!(attempt(key, "n", NOW), Ok(()));
    assert_eq!(attempt(key, "n", NOW), Err(Code::SignatureNonceUsed));
    assert_eq!(attempt(key, "m", NOW), Err(Code::SystemLimitControl), "no room for another");
    let last = NOW.plus(NONCE_KEPT_MS / 2);
    assert_eq!(attempt(key, "n", last), Err(Code::SignatureNonceUsed));
}
