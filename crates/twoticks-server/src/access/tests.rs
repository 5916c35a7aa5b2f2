//! Who may do what: tables of policies against calls.

mod callers;

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use twoticks_core::clock::{SECOND, Time};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory::memory::MemoryDirectory;
use twoticks_store::directory::model::*;
use twoticks_store::directory::names::{AccessKeyId, Name, Secret, Uid, UserId};
use twoticks_store::directory::{Change, Directory, Snapshot};
use twoticks_store::keys::Keys;

use super::decision::{Call, Decision, Verdict, decide, detail, diagnose};
use super::policy::{self, Documents};

const UID: &str = "1234567890123456";
const OTHER: &str = "6543210987654321";
/// 2026-11-23T00:00:00Z.
const NOW: Time = Time(1_795_392_000_000);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}
fn user_id(text: &str) -> UserId {
    UserId::new(text).unwrap()
}
fn account(uid: &str, subscribed: bool) -> Change {
    let uid = Uid::new(uid).unwrap();
    Change::AddAccount(Account { uid, name: Text::new("Example").unwrap(), subscribed })
}
fn key(id: &str, owner: Owner) -> AccessKey {
    AccessKey {
        id: AccessKeyId::new(id).unwrap(),
        secret: secret("secret-of-a-key"),
        owner,
        active: true,
        rsa_public_key: None,
        v1_allowed: true,
    }
}
fn user(id: &str, isv_scoped: bool, policies: Vec<Name>) -> [Change; 2] {
    let account = Uid::new(UID).unwrap();
    let of = User { id: user_id(id), account, name: name(&format!("u{id}")), isv_scoped, policies };
    let owner = Owner::User(user_id(id));
    [Change::AddUser(of), Change::AddKey(key(&format!("LTAI5t{id}"), owner))]
}
fn session(policies: Vec<Name>, policy: Option<&str>) -> Change {
    Change::AddSession(Session {
        id: AccessKeyId::new("STS.one").unwrap(),
        secret: secret("secret-of-a-session"),
        token: secret("token-one"),
        account: Uid::new(UID).unwrap(),
        role: name("reporter"),
        name: name("nightly"),
        policies,
        policy: policy.map(Into::into),
        expires: NOW.plus(900 * SECOND),
    })
}
fn channel(id: &str, uid: &str) -> Change {
    Change::AddChannel(Channel {
        id: ChannelId::new(id).unwrap(),
        account: Uid::new(uid).unwrap(),
        name: Text::new("Shop").unwrap(),
        waba_id: None,
        app_secrets: Vec::new(),
        verify_token: secret("verify"),
        receipts_secret: secret(&format!("receipts-secret-of-{id}")),
        status_source: StatusSource::CloudApi,
        connection: None,
    })
}
fn custom(place: usize, document: &str) -> Change {
    let account = Some(Uid::new(UID).unwrap());
    let document = document.into();
    Change::AddPolicy(Policy { account, name: name(&format!("p{place}")), document })
}
fn snapshot(changes: Vec<Change>) -> Arc<Snapshot> {
    let directory = MemoryDirectory::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(directory.change(changes)).unwrap();
    directory.snapshot()
}
fn call(operation: &str) -> Call<'_> {
    let source_ip = Some(IpAddr::from([203, 0, 113, 7]));
    Call { operation, resource: "*", source_ip, secure_transport: false, now: NOW }
}
fn document(statements: &str) -> String {
    format!(r#"{{"Version":"1","Statement":[{statements}]}}"#)
}

/// Decides for a user with these documents attached.
fn decided(documents: &[&str], call: &Call<'_>) -> Decision {
    let mut changes = vec![account(UID, true)];
    changes.extend(documents.iter().enumerate().map(|(place, text)| custom(place, text)));
    let names = (0..documents.len()).map(|place| name(&format!("p{place}"))).collect();
    changes.extend(user("1", false, names));
    let snapshot = snapshot(changes);
    let principal = snapshot.principal("LTAI5t1").unwrap();
    decide(&snapshot, &Documents::default(), &principal, call)
}

/// Decides for a session of a role with one document, and perhaps a policy of its own.
fn decided_for_session(role: &str, own: Option<&str>, call: &Call<'_>) -> Decision {
    let changes = vec![account(UID, true), custom(0, role), session(vec![name("p0")], own)];
    let snapshot = snapshot(changes);
    let principal = snapshot.principal("STS.one").unwrap();
    decide(&snapshot, &Documents::default(), &principal, call)
}

#[test]
fn a_statement_covers_what_it_names() {
    use Verdict::{Allowed as Yes, ExplicitDeny as Denied, ImplicitDeny as No};
    for (statements, operation, verdict) in [
        (r#""#, "GetX", No),
        (r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#, "GetX", Yes),
        (r#"{"Effect":"Allow","Action":"cams:*","Resource":"*"}"#, "GetX", Yes),
        (r#"{"Effect":"Allow","Action":"ecs:*","Resource":"*"}"#, "GetX", No),
        (r#"{"Effect":"Allow","Action":"cams:Get*","Resource":"*"}"#, "ListX", No),
        (r#"{"Effect":"Allow","Action":"CAMS:GETx","Resource":"*"}"#, "GetX", Yes),
        (r#"{"Effect":"Allow","Action":"cams:Get?","Resource":"*"}"#, "GetX", Yes),
        (r#"{"Effect":"Allow","Action":"cams:Get?","Resource":"*"}"#, "GetXY", No),
        (r#"{"Effect":"Allow","Action":["ecs:*","cams:GetX"],"Resource":["*"]}"#, "GetX", Yes),
        (r#"{"Effect":"Allow","NotAction":"cams:Send*","Resource":"*"}"#, "GetX", Yes),
        (r#"{"Effect":"Allow","NotAction":"cams:Send*","Resource":"*"}"#, "SendX", No),
        (r#"{"Effect":"Allow","NotAction":["ecs:*","cams:Get*"],"Resource":"*"}"#, "GetX", No),
        (r#"{"Effect":"Deny","NotAction":"cams:Get*","Resource":"*"}"#, "SendX", Denied),
        (r#"{"Effect":"Allow","Action":"*","Resource":"acs:cams:*:*:*"}"#, "GetX", Yes),
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"acs:cams::1234567890123456:*"}"#,
            "GetX",
            Yes,
        ),
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"acs:cams:eu-x:1234567890123456:*"}"#,
            "GetX",
            Yes,
        ),
        (
            r#"{"Effect":"Allow","Action":"*","Resource":"acs:cams:*:6543210987654321:*"}"#,
            "GetX",
            No,
        ),
        (r#"{"Effect":"Allow","Action":"*","Resource":"acs:cams:*:*:space/one"}"#, "GetX", No),
        (r#"{"Effect":"Allow","Action":"*","Resource":"acs:ecs:*:*:*"}"#, "GetX", No),
        (r#"{"Effect":"Allow","Action":"*","NotResource":"acs:ecs:*:*:*"}"#, "GetX", Yes),
        (r#"{"Effect":"Allow","Action":"*","NotResource":"*"}"#, "GetX", No),
        (r#"{"Effect":"Deny","Action":"*","NotResource":"acs:ecs:*:*:*"}"#, "GetX", Denied),
    ] {
        let decision = decided(&[&document(statements)], &call(operation));
        assert_eq!(decision.verdict, verdict, "{statements} {operation}: {decision}");
    }
    let single = r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    assert!(decided(&[single], &call("GetX")).is_allowed(), "a statement need not be in a list");
    let space = document(r#"{"Effect":"Allow","Action":"*","Resource":"acs:cams:*:*:space/o*"}"#);
    assert!(decided(&[&space], &Call { resource: "space/one", ..call("X") }).is_allowed());
    assert!(!decided(&[&space], &Call { resource: "Space/one", ..call("X") }).is_allowed());
}

#[test]
fn every_operator_holds_where_it_should() {
    for (operator, key, values, holds) in [
        ("StringEquals", "acs:PrincipalARN", r#""acs:ram::1234567890123456:user/u1""#, true),
        ("StringEquals", "acs:PrincipalARN", r#""acs:ram::1234567890123456:user/U1""#, false),
        ("StringEquals", "acs:principalarn", r#"["x","acs:ram::1234567890123456:user/u1"]"#, true),
        ("StringNotEquals", "acs:SourceIp", r#""203.0.113.7""#, false),
        ("StringNotEquals", "acs:SourceIp", r#"["203.0.113.8","203.0.113.7"]"#, false),
        ("StringNotEquals", "acs:SourceIp", r#"["203.0.113.8","203.0.113.9"]"#, true),
        (
            "StringEqualsIgnoreCase",
            "acs:PrincipalARN",
            r#""ACS:RAM::1234567890123456:User/U1""#,
            true,
        ),
        ("StringNotEqualsIgnoreCase", "acs:SecureTransport", r#""FALSE""#, false),
        ("StringNotEqualsIgnoreCase", "acs:SecureTransport", r#""TRUE""#, true),
        ("StringLike", "acs:SourceIp", r#""203.0.113.*""#, true),
        ("StringLike", "acs:CurrentTime", r#""2026-11-2?T*""#, true),
        ("StringLike", "acs:SourceIp", r#""10.*""#, false),
        ("StringNotLike", "acs:SourceIp", r#"["10.*","192.168.*"]"#, true),
        ("StringNotLike", "acs:SourceIp", r#"["10.*","203.*"]"#, false),
        ("NumericEquals", "acs:CurrentTime", "1795392000", true),
        ("NumericEquals", "acs:CurrentTime", r#""1795392001""#, false),
        ("NumericNotEquals", "acs:CurrentTime", r#"["1","1795392000"]"#, false),
        ("NumericLessThan", "acs:CurrentTime", "1795392000", false),
        ("NumericLessThan", "acs:CurrentTime", "1795392001", true),
        ("NumericLessThanEquals", "acs:CurrentTime", "1795392000", true),
        ("NumericGreaterThan", "acs:CurrentTime", "1795391999", true),
        ("NumericGreaterThan", "acs:CurrentTime", "1795392000", false),
        ("NumericGreaterThanEquals", "acs:CurrentTime", "1795392000", true),
        ("DateEquals", "acs:CurrentTime", r#""2026-11-23T00:00:00Z""#, true),
        ("DateEquals", "acs:CurrentTime", r#""2026-11-23T08:00:00+08:00""#, true),
        ("DateNotEquals", "acs:CurrentTime", r#""2026-11-23T00:00:00Z""#, false),
        ("DateLessThan", "acs:CurrentTime", r#""2026-11-23T00:00:01Z""#, true),
        ("DateLessThan", "acs:CurrentTime", r#""2026-11-23T00:00:00Z""#, false),
        ("DateLessThanEquals", "acs:CurrentTime", r#""2026-11-23T00:00:00Z""#, true),
        ("DateGreaterThan", "acs:CurrentTime", r#""2026-11-22T23:59:59Z""#, true),
        ("DateGreaterThan", "acs:CurrentTime", r#""2026-11-23T00:00:00Z""#, false),
        ("DateGreaterThanEquals", "acs:CurrentTime", r#""2026-11-23T00:00:00Z""#, true),
        ("Bool", "acs:SecureTransport", r#""false""#, true),
        ("Bool", "acs:SecureTransport", "true", false),
        ("IpAddress", "acs:SourceIp", r#""203.0.113.0/24""#, true),
        ("IpAddress", "acs:SourceIp", r#"["10.0.0.0/8","203.0.113.7"]"#, true),
        ("IpAddress", "acs:SourceIp", r#"["10.0.0.0/8","2001:db8::/32"]"#, false),
        ("NotIpAddress", "acs:SourceIp", r#"["10.0.0.0/8","203.0.113.7"]"#, false),
        ("NotIpAddress", "acs:SourceIp", r#"["10.0.0.0/8","2001:db8::/32"]"#, true),
    ] {
        let condition = format!(r#""Condition":{{"{operator}":{{"{key}":{values}}}}}"#);
        let statement =
            |effect| format!(r#"{{"Effect":"{effect}","Action":"*","Resource":"*",{condition}}}"#);
        let allow = document(&statement("Allow"));
        assert_eq!(decided(&[&allow], &call("GetX")).is_allowed(), holds, "{condition}");
        let deny = document(&statement("Deny"));
        let verdict = decided(&[&everything(), &deny], &call("GetX")).verdict;
        assert_eq!(verdict == Verdict::ExplicitDeny, holds, "{condition}");
    }
}

fn everything() -> String {
    document(r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#)
}

#[test]
fn all_conditions_of_a_statement_have_to_hold() {
    let of = |ip: &str, secure: &str| {
        let condition = format!(
            r#"{{"IpAddress":{{"acs:SourceIp":"{ip}"}},"Bool":{{"acs:SecureTransport":{secure}}}}}"#
        );
        let rest = r#""Effect":"Allow","Action":"*","Resource":"*""#;
        document(&format!(r#"{{{rest},"Condition":{condition}}}"#))
    };
    assert!(decided(&[&of("203.0.113.7", "false")], &call("X")).is_allowed());
    assert!(!decided(&[&of("203.0.113.7", "true")], &call("X")).is_allowed());
    assert!(!decided(&[&of("203.0.113.8", "false")], &call("X")).is_allowed());
}

#[test]
fn what_is_not_known_takes_the_side_of_refusing() {
    let unknown = Call { source_ip: None, ..call("GetX") };
    for operator in ["IpAddress", "NotIpAddress"] {
        let condition = format!(r#"{{"{operator}":{{"acs:SourceIp":"10.0.0.0/8"}}}}"#);
        for (effect, verdict) in [("Allow", Verdict::ImplicitDeny), ("Deny", Verdict::ExplicitDeny)]
        {
            let rest = format!(r#""Effect":"{effect}","Action":"*","Resource":"*""#);
            let conditional = document(&format!(r#"{{{rest},"Condition":{condition}}}"#));
            let mut documents = vec![conditional.as_str()];
            let all = everything();
            if effect == "Deny" {
                documents.push(&all);
            }
            assert_eq!(decided(&documents, &unknown).verdict, verdict, "{conditional}");
        }
    }
}

#[test]
fn a_decision_says_what_decided() {
    let allow = r#"{"Effect":"Allow","Action":"cams:Get*","Resource":"*"}"#;
    let deny = r#"{"Effect":"Deny","Action":"cams:GetX","Resource":"*"}"#;
    let unreadable = r#"{"Version":"2","Statement":[]}"#;
    let (one, two) = (document(allow), document(&format!("{allow},{deny}")));
    for (documents, operation, told) in [
        (vec![], "GetX", "denied (implicitly): nothing in the attached policies allows it"),
        (vec![&*one], "GetX", "allowed: statement 1 of the policy `p0`"),
        (vec![&*one, &*two], "GetX", "denied (explicitly): statement 2 of the policy `p1`"),
        (vec![&*one, &*two], "GetY", "allowed: statement 1 of the policy `p0`"),
        (
            vec![&*one, unreadable],
            "GetY",
            "denied (implicitly): in the attached policies, the policy `p1` cannot be read: \
             Version of the policy: the only version is the text `\"1\"`",
        ),
    ] {
        assert_eq!(decided(&documents, &call(operation)).to_string(), told);
    }
    let snapshot = snapshot(vec![
        account(UID, true),
        Change::AddKey(key("LTAI5troot", Owner::Root(Uid::new(UID).unwrap()))),
    ]);
    let root = snapshot.principal("LTAI5troot").unwrap();
    let decision = decide(&snapshot, &Documents::default(), &root, &call("GetX"));
    assert_eq!(decision.to_string(), "allowed: root may do everything");
}

#[test]
fn a_session_needs_its_role_and_its_own_policy() {
    let get = document(r#"{"Effect":"Allow","Action":"cams:Get*","Resource":"*"}"#);
    let send = document(r#"{"Effect":"Allow","Action":"cams:Send*","Resource":"*"}"#);
    let deny = document(r#"{"Effect":"Deny","Action":"cams:GetX","Resource":"*"}"#);
    for (role, own, told) in [
        (&get, None, "allowed: statement 1 of the policy `p0`"),
        (
            &get,
            Some(&*get),
            "allowed: statement 1 of the policy `p0`, and statement 1 of the session policy",
        ),
        (&get, Some(&*send), "denied (implicitly): nothing in the session policy allows it"),
        (&send, Some(&*get), "denied (implicitly): nothing in the attached policies allows it"),
        (&get, Some(&*deny), "denied (explicitly): statement 1 of the session policy"),
        (&deny, Some(&*get), "denied (explicitly): statement 1 of the policy `p0`"),
    ] {
        assert_eq!(decided_for_session(role, own, &call("GetX")).to_string(), told);
    }
    assert!(!decided_for_session(&get, Some("{"), &call("GetX")).is_allowed());
}

#[test]
fn built_in_policies_are_those_of_the_original() {
    for (attached, operation, allowed) in [
        (FULL_ACCESS, "EnableWhatsappROIMetric", true),
        (FULL_ACCESS, "GetChatappTemplateMetric", true),
        (READ_ONLY_ACCESS, "GetChatappTemplateMetric", true),
        (READ_ONLY_ACCESS, "ListChatappTemplate", true),
        (READ_ONLY_ACCESS, "EnableWhatsappROIMetric", false),
        (READ_ONLY_ACCESS, "SendChatappMessage", false),
        (READ_ONLY_ACCESS, "QueryChatappPhoneNumbers", false),
    ] {
        let mut changes = vec![account(UID, true)];
        changes.extend(user("1", false, vec![name(attached)]));
        let snapshot = snapshot(changes);
        let principal = snapshot.principal("LTAI5t1").unwrap();
        let decision = decide(&snapshot, &Documents::default(), &principal, &call(operation));
        assert_eq!(decision.is_allowed(), allowed, "{attached} {operation}");
    }
}

#[test]
fn what_is_no_policy_is_told_where_and_what_would_do() {
    let rest = r#""Effect":"Allow","Action":"*","Resource":"*""#;
    let with = |condition: &str| document(&format!(r#"{{{rest},"Condition":{condition}}}"#));
    for (text, told) in [
        ("".to_owned(), "EOF"),
        ("[]".to_owned(), "it is a list"),
        (r#"{"Statement":[]}"#.to_owned(), "Version of the policy: it is missing"),
        (r#"{"Version":1,"Statement":[]}"#.to_owned(), "the only version is the text `\"1\"`"),
        (r#"{"Version":"2012-10-17","Statement":[]}"#.to_owned(), "the only version"),
        (r#"{"Version":"1"}"#.to_owned(), "Statement of the policy: it is missing"),
        (r#"{"Version":"1","Statement":"x"}"#.to_owned(), "it is a text"),
        (r#"{"Version":"1","Statement":[],"Id":"x"}"#.to_owned(), "Id of the policy"),
        (r#"{"Version":"1","Version":"1","Statement":[]}"#.to_owned(), "`Version` is given twice"),
        (document("1"), "Statement[1] of the policy: it is a number"),
        (document(r#"{"Action":"*","Resource":"*"}"#), "`Effect` is missing"),
        (document(r#"{"Effect":"Permit","Action":"*","Resource":"*"}"#), "`Allow` or `Deny`"),
        (document(r#"{"Effect":"Allow","Resource":"*"}"#), "`Action` or `NotAction` is missing"),
        (document(r#"{"Effect":"Allow","Action":"*"}"#), "`Resource` is missing"),
        (document(&format!(r#"{{{rest},"NotAction":"*"}}"#)), "not both"),
        (document(&format!(r#"{{{rest},"NotResource":"*"}}"#)), "not both"),
        (document(&format!(r#"{{{rest},"Principal":"*"}}"#)), "leave it out"),
        (document(&format!(r#"{{{rest},"Sid":"x"}}"#)), "Statement[1].Sid"),
        (document(r#"{"Effect":"Allow","Action":"GetX","Resource":"*"}"#), "`GetX` is no action"),
        (document(r#"{"Effect":"Allow","Action":[],"Resource":"*"}"#), "it is empty"),
        (document(r#"{"Effect":"Allow","Action":[1],"Resource":"*"}"#), "one is a number"),
        (document(r#"{"Effect":"Allow","Action":"*","Resource":"cams"}"#), "`cams` is no resource"),
        (document(r#"{"Effect":"Allow","Action":"*","Resource":"acs:cams:*"}"#), "is no resource"),
        (with("1"), "Statement[1].Condition of the policy: it is a number"),
        (with(r#"{"IpAdress":{}}"#), "Statement[1].Condition.IpAdress of the policy: no such"),
        (with(r#"{"Bool":1}"#), "Statement[1].Condition.Bool"),
        (with(r#"{"Bool":{"acs:MFAPresent":"true"}}"#), "no such condition key here"),
        (with(r#"{"IpAddress":{"acs:SecureTransport":"10.0.0.1"}}"#), "cannot be asked"),
        (with(r#"{"IpAddress":{"acs:SourceIp":"10.0.0.0/33"}}"#), "is no address"),
        (with(r#"{"IpAddress":{"acs:SourceIp":[]}}"#), "at least one value"),
        (
            with(r#"{"IpAddress":{}}"#),
            "Statement[1].Condition.IpAddress of the policy: it is empty",
        ),
        (with(r#"{"IpAddress":{"acs:SourceIp":[null]}}"#), "a value is null"),
        (with(r#"{"Bool":{"acs:SecureTransport":["true","false"]}}"#), "write one boolean"),
        (with(r#"{"Bool":{"acs:SecureTransport":"yes"}}"#), "neither `true` nor `false`"),
        (with(r#"{"DateLessThan":{"acs:CurrentTime":"yesterday"}}"#), "is no date"),
        (with(r#"{"NumericEquals":{"acs:CurrentTime":"1.5"}}"#), "is no whole number"),
    ] {
        let refused = policy::parse(&text).unwrap_err().to_string();
        assert!(refused.contains(told), "{text}: {refused}");
    }
    let padded = |bytes: usize| format!("{:bytes$}", document(""));
    assert!(policy::parse(&padded(6_144)).is_ok());
    let refused = policy::parse(&padded(6_145)).unwrap_err().to_string();
    assert_eq!(refused, "the policy has 6145 bytes; at most 6144 are taken");
}

#[test]
fn a_refused_caller_is_told_what_only_the_operator_can_decode() {
    let keys = Keys::from_bytes([7; 32]);
    let own = document(r#"{"Effect":"Deny","Action":"cams:GetX","Resource":"*"}"#);
    let changes =
        vec![account(UID, true), custom(0, &everything()), session(vec![name("p0")], Some(&own))];
    let snapshot = snapshot(changes);
    let principal = snapshot.principal("STS.one").unwrap();
    let call = call("GetX");
    let decision = decide(&snapshot, &Documents::default(), &principal, &call);
    let told = detail(&keys, &principal, &call, &decision);
    assert_eq!(told.policy_type, "SessionPolicy");
    assert_eq!(told.no_permission_type, "ExplicitDeny");
    assert_eq!(told.auth_principal_type, "AssumedRoleUser");
    assert_eq!(told.auth_principal_display_name, "reporter:nightly");
    assert_eq!(told.auth_principal_owner_id, UID);
    assert_eq!(told.auth_action, "cams:GetX");
    let message = told.encoded_diagnostic_message.unwrap();
    let opened = diagnose(&keys, &message).unwrap();
    assert_eq!(opened.decision, decision);
    assert_eq!(opened.principal, "acs:ram::1234567890123456:assumed-role/reporter/nightly");
    assert!(diagnose(&Keys::from_bytes([8; 32]), &message).is_err());
    assert!(diagnose(&keys, "AQEAAAAA").is_err());
}

fn statement() -> impl Strategy<Value = String> {
    let effect = prop::sample::select(vec!["Allow", "Deny"]);
    let action = prop::sample::select(vec!["*", "cams:*", "cams:Get*", "cams:GetX", "ecs:*"]);
    let kind = prop::sample::select(vec!["Action", "NotAction"]);
    let condition = prop::sample::select(vec![
        "",
        r#","Condition":{"IpAddress":{"acs:SourceIp":"203.0.113.0/24"}}"#,
        r#","Condition":{"Bool":{"acs:SecureTransport":"true"}}"#,
    ]);
    (effect, kind, action, condition).prop_map(|(effect, kind, action, condition)| {
        format!(r#"{{"Effect":"{effect}","{kind}":"{action}","Resource":"*"{condition}}}"#)
    })
}

/// Any JSON, with the words of policies sprinkled in so that it gets far.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let words = vec![
        "Version",
        "1",
        "Statement",
        "Effect",
        "Allow",
        "Action",
        "*",
        "Resource",
        "Condition",
        "IpAddress",
        "acs:SourceIp",
        "10.0.0.0/8",
        "cams:Get*",
        "acs:cams:*:*:*",
        "Bool",
        "é",
    ];
    let word = prop::sample::select(words).prop_map(str::to_owned);
    let leaf = prop_oneof![
        word.clone().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map(word.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_deny_wins_and_an_allow_takes_nothing_away(
        statements in prop::collection::vec(statement(), 0..5),
        at in 0_usize..5,
    ) {
        let of = |added: Option<&str>| {
            let mut all = statements.clone();
            if let Some(added) = added {
                all.insert(at.min(all.len()), added.to_owned());
            }
            decided(&[&document(&all.join(","))], &call("GetX")).verdict
        };
        let without = of(None);
        let deny = of(Some(r#"{"Effect":"Deny","Action":"cams:GetX","Resource":"*"}"#));
        prop_assert_eq!(deny, Verdict::ExplicitDeny);
        let allow = of(Some(r#"{"Effect":"Allow","Action":"cams:GetX","Resource":"*"}"#));
        match without {
            Verdict::Allowed | Verdict::ImplicitDeny => prop_assert_eq!(allow, Verdict::Allowed),
            Verdict::ExplicitDeny => prop_assert_eq!(allow, Verdict::ExplicitDeny),
        }
    }

    #[test]
    fn nothing_that_is_given_as_a_policy_panics(json in any_json(), text in ".{0,64}") {
        drop(policy::parse(&text));
        drop(policy::parse(&json.to_string()));
        drop(policy::parse(&document(&json.to_string())));
    }
}
