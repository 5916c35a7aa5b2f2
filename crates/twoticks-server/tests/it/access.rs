//! Who gets in, in which order it is found out, and how often.

use serde_json::Value;
use twoticks_core::clock::SECOND;
use twoticks_server::settings::{DenyCode, Settings, ThrottleCode};

use crate::harness::{How, Made, NOON, Server, Who};
use crate::tenants::{CHANNEL, ISV_CODE, OTHER_CHANNEL};

const ENABLE: &str = "EnableWhatsappROIMetric";
const NUMBERS: &str = "GetChatappPhoneNumberMetric";

#[tokio::test]
async fn every_caller_is_answered_as_what_it_is() {
    let server = Server::start().await;
    for (who, code) in [
        (Who::Root, "OK"),
        (Who::Other, "OK"),
        (Who::Session, "OK"),
        (Who::Denied, "Ram.PermissionDeny"),
        (Who::Refused, "Ram.PermissionDeny"),
        (Who::Reader, "Ram.PermissionDeny"),
        (Who::Expired, "InvalidSecurityToken.Expired"),
        (Who::Inactive, "InvalidAccessKeyId.Inactive"),
        (Who::Unsubscribed, "Product.Unsubscript"),
        (Who::Several, "MissingCustSpaceId"),
        (Who::Unknown, "InvalidAccessKeyId.NotFound"),
        (Who::Forger, "SignatureDoesNotMatch"),
        (Who::Scoped, "Ram.PermissionDeny"),
    ] {
        for v1 in [false, true] {
            let how = How { v1, ..How::default() };
            let reply = server.call_how(who, ENABLE, &[], &how).await;
            assert_eq!(reply.code(), code, "{who:?} {v1}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_denial_says_why_and_what_may_be_told() {
    let server = Server::start().await;
    for (who, kind) in [(Who::Denied, "ImplicitDeny"), (Who::Refused, "ExplicitDeny")] {
        let reply = server.call(who, ENABLE, &[]).await;
        assert_eq!(reply.status, 400);
        let body = reply.json();
        assert_eq!(body["Message"], "You are not authorized to perform the operation.");
        let detail = &body["AccessDeniedDetail"];
        assert_eq!(detail["NoPermissionType"], kind);
        assert_eq!(detail["AuthAction"], "cams:EnableWhatsappROIMetric");
        assert_eq!(detail["AuthPrincipalType"], "SubUser");
        assert_eq!(detail["AuthPrincipalOwnerId"], "1000000000000001");
        for field in ["PolicyType", "AuthPrincipalDisplayName", "EncodedDiagnosticMessage"] {
            assert!(detail[field].is_string(), "{field}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn newer_gateways_deny_with_403() {
    let mut settings = Settings::default();
    settings.cams.deny_code = DenyCode::NoPermission;
    let server = Server::start_with(Made { settings, ..Made::default() }).await;
    for (who, params) in [(Who::Denied, &[][..]), (Who::Scoped, &[("CustSpaceId", CHANNEL)])] {
        let reply = server.call(who, NUMBERS, params).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "NoPermission"), "{who:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_scoped_user_needs_the_code_of_the_channel_except_on_the_sends() {
    let server = Server::start().await;
    for (code, answer) in [
        (None, "Ram.PermissionDeny"),
        (Some(""), "Ram.PermissionDeny"),
        (Some("wrong"), "Ram.PermissionDeny"),
        (Some(ISV_CODE), "OK"),
    ] {
        let mut params = vec![("CustSpaceId", CHANNEL)];
        params.extend(code.map(|code| ("IsvCode", code)));
        let reply = server.call(Who::Scoped, ENABLE, &params).await;
        assert_eq!(reply.code(), answer, "{code:?}");
        assert_eq!(reply.json()["AccessDeniedDetail"].is_object(), answer != "OK");
    }
    let reply = server.call(Who::Scoped, "SendChatappMessage", &[("IsvCode", "wrong")]).await;
    assert_eq!(reply.code(), "MissingChannelType");
    let reply = server.call(Who::Root, ENABLE, &[("IsvCode", "wrong")]).await;
    assert_eq!(reply.code(), "OK", "who is not scoped needs none");
    server.stop().await;
}

#[tokio::test]
async fn a_channel_of_somebody_else_is_as_unknown_as_one_that_is_not_there() {
    let server = Server::start().await;
    let mut answers = Vec::new();
    for space in [OTHER_CHANNEL, "cams-nowhere", "sp ace 空间", &"x".repeat(200)] {
        let reply = server.call(Who::Root, NUMBERS, &[("CustSpaceId", space)]).await;
        let mut body = reply.json();
        body.as_object_mut().unwrap().retain(|name, _| name != "RequestId" && name != "Recommend");
        answers.push(body);
    }
    assert_eq!(answers[0]["Code"], "Unknown.ResourceOwnerId");
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    server.stop().await;
}

#[tokio::test]
async fn where_there_are_several_channels_what_is_required_is_missed_before_the_space() {
    let server = Server::start().await;
    let (start, end) = (("Start", "0"), ("End", "1"));
    for (params, code) in [
        (&[end] as &[_], "MissingStart"),
        (&[start, ("End", "")], "MissingEnd"),
        (&[start, end], "MissingCustSpaceId"),
        (&[end, ("CustSpaceId", OTHER_CHANNEL)], "Unknown.ResourceOwnerId"),
    ] {
        let reply = server.call(Who::Several, NUMBERS, params).await;
        assert_eq!(reply.code(), code, "{params:?}");
    }
    server.stop().await;
}

/// What is wrong, who calls what and how, and the code of the check that comes first.
type WrongTwice = (&'static str, Who, &'static str, How, &'static str);

/// Calls that are wrong in two ways; [`NUMBERS`] lacks its parameters besides.
fn wrong_twice() -> Vec<WrongTwice> {
    let plain = How::default;
    let late = || How { at: Some(NOON.plus(-16 * 60 * SECOND)), ..How::default() };
    let old = || How { version: Some("1999-01-01".to_owned()), ..How::default() };
    let used = || How { nonce: Some("used".to_owned()), ..How::default() };
    let bare = || How { without_token: true, ..used() };
    let (key, inactive) = ("InvalidAccessKeyId.NotFound", "InvalidAccessKeyId.Inactive");
    let (signature, denied) = ("SignatureDoesNotMatch", "Ram.PermissionDeny");
    vec![
        ("action before version", Who::Root, "Nothing", old(), "InvalidAction.NotFound"),
        ("version before key", Who::Unknown, ENABLE, old(), "InvalidVersion"),
        ("key before time", Who::Unknown, ENABLE, late(), key),
        ("active before time", Who::Inactive, ENABLE, late(), inactive),
        ("time before signature", Who::Forger, ENABLE, late(), "InvalidTimeStamp.Expired"),
        ("signature before nonce", Who::Forger, ENABLE, used(), signature),
        ("token before nonce", Who::Session, ENABLE, bare(), "MissingSecurityToken"),
        ("nonce before policy", Who::Denied, ENABLE, used(), "SignatureNonceUsed"),
        ("policy before space", Who::Denied, ENABLE, plain(), denied),
        ("subscription before space", Who::Unsubscribed, ENABLE, plain(), "Product.Unsubscript"),
        ("space before isv code", Who::Scoped, NUMBERS, plain(), "Unknown.ResourceOwnerId"),
        ("space before parameters", Who::Root, NUMBERS, plain(), "Unknown.ResourceOwnerId"),
    ]
}

#[tokio::test]
async fn the_checks_run_in_their_order() {
    let server = Server::start().await;
    for who in [Who::Root, Who::Denied, Who::Session] {
        let used = How { nonce: Some("used".to_owned()), ..How::default() };
        server.call_how(who, NUMBERS, &[], &used).await;
    }
    let foreign = [("CustSpaceId", OTHER_CHANNEL)];
    for (what, who, action, how, code) in wrong_twice() {
        let reply = server.call_how(who, action, &foreign, &how).await;
        assert_eq!(reply.code(), code, "{what}");
    }
    let reply = server.call(Who::Scoped, NUMBERS, &[("CustSpaceId", CHANNEL)]).await;
    assert_eq!(reply.code(), "Ram.PermissionDeny", "isv code before parameters");
    server.clock.set(NOON.plus(SECOND));
    for _ in 0..5 {
        assert_eq!(server.call(Who::Denied, ENABLE, &[]).await.code(), "Ram.PermissionDeny");
    }
    let reply = server.call(Who::Denied, ENABLE, &[]).await;
    assert_eq!(reply.code(), "Throttling.User", "throttle before policy");
    let used = How { nonce: Some("used".to_owned()), ..How::default() };
    let reply = server.call_how(Who::Denied, ENABLE, &[], &used).await;
    assert_eq!(reply.code(), "SignatureNonceUsed", "nonce before throttle");
    server.stop().await;
}

#[tokio::test]
async fn a_user_over_the_limit_is_told_when_to_come_back_by_both_headers() {
    let server = Server::start().await;
    server.clock.set(NOON.plus(400));
    for _ in 0..5 {
        assert_eq!(server.call(Who::Root, ENABLE, &[]).await.code(), "OK");
    }
    let reply = server.call(Who::Root, ENABLE, &[]).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "Throttling.User"));
    assert_eq!(reply.header("x-acs-retry-after"), Some("600"));
    let reset = NOON.plus(SECOND).0;
    let expected = format!("Limit:5,Remain:0,TimeLeft:600,Reset:{reset}");
    assert_eq!(reply.header("x-ratelimit-user-api"), Some(expected.as_str()));
    assert_eq!(server.call(Who::Session, ENABLE, &[]).await.code(), "OK", "others are not");
    server.clock.set(NOON.plus(SECOND));
    assert_eq!(server.call(Who::Root, ENABLE, &[]).await.code(), "OK", "a retry is taken");
    server.stop().await;
}

#[tokio::test]
async fn strangers_burn_nobodys_quota_and_nobodys_nonce() {
    let server = Server::start().await;
    let how = How { nonce: Some("mine".to_owned()), ..How::default() };
    for _ in 0..20 {
        let reply = server.call_how(Who::Forger, ENABLE, &[], &how).await;
        assert_eq!(reply.code(), "SignatureDoesNotMatch");
    }
    assert_eq!(server.call_how(Who::Root, ENABLE, &[], &how).await.code(), "OK");
    assert_eq!(server.call_how(Who::Root, ENABLE, &[], &how).await.code(), "SignatureNonceUsed");
    server.stop().await;
}

#[tokio::test]
async fn throttling_has_the_code_that_is_set() {
    for (setting, code) in
        [(ThrottleCode::Api, "Throttling.Api"), (ThrottleCode::Plain, "Throttling")]
    {
        let mut settings = Settings::default();
        settings.cams.throttle_code = setting;
        let server = Server::start_with(Made { settings, ..Made::default() }).await;
        let mut last = Value::Null;
        for _ in 0..6 {
            last = server.call(Who::Root, ENABLE, &[]).await.json();
        }
        assert_eq!(last["Code"], code);
        server.stop().await;
    }
}

#[tokio::test]
async fn beyond_the_calls_in_flight_the_system_is_under_flow_control() {
    let mut settings = Settings::default();
    settings.limits.in_flight_max = 0;
    let server = Server::start_with(Made { settings, ..Made::default() }).await;
    let reply = server.call(Who::Root, ENABLE, &[]).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "System.LimitControl"));
    assert_eq!(reply.json()["Message"], "The system is under flow control.");
    assert_eq!(reply.header("x-acs-retry-after"), None, "clients take it for throttling");
    server.stop().await;
}

#[tokio::test]
async fn an_unsigned_call_misses_its_access_key() {
    let server = Server::start().await;
    let reply = server.get("/?Action=EnableWhatsappROIMetric&Version=2020-06-06", &[]).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MissingAccessKeyId"));
    let reply = server.get("/?Action=EnableWhatsappROIMetric", &[]).await;
    assert_eq!(reply.code(), "MissingVersion");
    server.stop().await;
}
