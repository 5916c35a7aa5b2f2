//! The CAMS door as HTTP: methods, lengths, heads, connections, formats.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tracing::Level;
use twoticks_server::settings::Settings;
use twoticks_wire::head::TARGET_MAX;

use crate::harness::{How, Made, Server, Who, bytes_of};
use crate::tenants::{CHANNEL, NUMBER, TEMPLATE};

const ENABLE: &str = "EnableWhatsappROIMetric";
const NUMBERS: &str = "GetChatappPhoneNumberMetric";
const BODY_MAX: usize = 2 * 1024 * 1024;

/// `n` recipients with one parameter each, as the newest SDK sends them.
fn sender_list(n: usize) -> String {
    let recipient = |index: usize| {
        format!(r#"{{"To":"8613900{index:06}","TemplateParams":{{"name":"Alice {index}"}}}}"#)
    };
    format!("[{}]", (0..n).map(recipient).collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn answers_are_json_with_the_request_id_in_body_and_header() {
    let server = Server::start().await;
    let reply = server.call(Who::Root, ENABLE, &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json;charset=utf-8"));
    assert_eq!(reply.header("content-encoding"), None);
    let body = reply.json();
    let id = body["RequestId"].as_str().unwrap();
    assert_eq!(reply.header("x-acs-request-id"), Some(id));
    assert!(id.len() == 36 && id.to_uppercase() == id, "{id}");
    assert_eq!((&body["Code"], &body["Message"]), (&"OK".into(), &"None".into()));
    assert_eq!(body["AccessDeniedDetail"], "None");
    assert_eq!(reply.header("x-acs-retry-after"), None);
    server.stop().await;
}

#[tokio::test]
async fn every_way_to_send_parameters_is_read() {
    let server = Server::start().await;
    let params = [("CustSpaceId", CHANNEL), ("Start", "0"), ("End", "0"), ("PhoneNumber", NUMBER)];
    for how in [
        How::default(),
        How { get: true, ..How::default() },
        How { form: true, ..How::default() },
        How { v1: true, ..How::default() },
        How { v1: true, get: true, ..How::default() },
        How { v1: true, form: true, ..How::default() },
    ] {
        let reply = server.call_how(Who::Root, NUMBERS, &params, &how).await;
        assert_eq!(reply.status, 200, "{how:?} {}", reply.text());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_may_come_in_chunks_with_a_zero_length_or_not_at_all() {
    let server = Server::start().await;
    let how = How { form: true, ..How::default() };
    let signed = server.sign(Who::Root, ENABLE, &[("CustSpaceId", CHANNEL)], &how);
    let (one, two) = signed.body.split_at(5);
    let chunk = |bytes: &[u8]| {
        format!("{:x}\r\n{}\r\n", bytes.len(), std::str::from_utf8(bytes).unwrap()).into_bytes()
    };
    let mut headless = signed.clone();
    headless.body.clear();
    headless.headers.push(("transfer-encoding".to_owned(), b"chunked".to_vec()));
    let mut bytes = bytes_of(&headless);
    for part in [chunk(one), chunk(two), b"0\r\n\r\n".to_vec()] {
        bytes.extend_from_slice(&part);
    }
    assert_eq!(server.raw(&bytes).await[0].status, 200, "chunked");

    let empty = server.sign(Who::Root, ENABLE, &[], &How::default());
    assert_eq!(server.send(&empty).await.status, 200, "neither body nor length");
    let mut zero = server.sign(Who::Root, ENABLE, &[], &How::default());
    zero.headers.push(("content-length".to_owned(), b"0".to_vec()));
    assert_eq!(server.send(&zero).await.status, 200, "length 0");
    server.stop().await;
}

#[tokio::test]
async fn a_mass_message_to_1000_recipients_fits_into_the_request_line() {
    let server = Server::start().await;
    let list = sender_list(1_000);
    let params = [
        ("ChannelType", "whatsapp"),
        ("CustSpaceId", CHANNEL),
        ("From", NUMBER),
        ("TemplateCode", TEMPLATE),
        ("Language", "en"),
        ("SenderList", &list),
    ];
    for v1 in [false, true] {
        let how = How { v1, ..How::default() };
        let signed = server.sign(Who::Root, "SendChatappMassMessage", &params, &how);
        assert!(signed.target.len() > 95_000, "{}", signed.target.len());
        let reply = server.send(&signed).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_target_of_a_mebibyte_is_read_and_one_byte_more_is_not() {
    let server = Server::start().await;
    for (length, status, code) in
        [(TARGET_MAX, 404, "InvalidAction.NotFound"), (TARGET_MAX + 1, 414, "RequestTargetTooLong")]
    {
        let mut target = String::from("/?Action=Nothing&Filler=");
        target.push_str(&"x".repeat(length - target.len()));
        let reply = server.get(&target, &[]).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{length}");
        assert_eq!(reply.header("content-type"), Some("application/json;charset=utf-8"));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_answered_in_json() {
    let server = Server::start().await;
    let many: String = (0..200).map(|index| format!("h{index}: x\r\n")).collect();
    for (head, status, code) in [
        ("NONSENSE\r\n\r\n".to_owned(), 400, "MalformedRequest"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400, "MalformedRequest"),
        (
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".into(),
            400,
            "MalformedRequest",
        ),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431, "RequestHeadersTooLarge"),
        (
            format!("GET / HTTP/1.1\r\nlong: {}\r\n\r\n", "x".repeat(70_000)),
            431,
            "RequestHeadersTooLarge",
        ),
    ] {
        let replies = server.raw(head.as_bytes()).await;
        let shown: String = head.chars().take(60).collect();
        assert_eq!(replies.len(), 1, "{shown}");
        assert_eq!((replies[0].status, replies[0].code().as_str()), (status, code), "{shown}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_of_two_mebibytes_is_read_and_one_byte_more_is_not() {
    let server = Server::start().await;
    for (length, status, code) in
        [(BODY_MAX, 404, "InvalidAction.NotFound"), (BODY_MAX + 1, 413, "RequestBodyTooLarge")]
    {
        let body = "x".repeat(length);
        let sized = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
        let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunked = format!("{head}{length:x}\r\n{body}\r\n0\r\n\r\n");
        for (kind, bytes) in [("sized", sized), ("chunked", chunked)] {
            let reply = &server.raw(bytes.as_bytes()).await[0];
            assert_eq!((reply.status, reply.code().as_str()), (status, code), "{kind} {length}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_ends_too_soon_is_told_so() {
    let server = Server::start().await;
    let replies = server.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nA=1").await;
    assert_eq!(replies[0].code(), "ContentLengthDoesNotMatch");
    server.stop().await;
}

#[tokio::test]
async fn a_target_of_odd_characters_or_with_a_host_in_it_is_read() {
    let server = Server::start().await;
    for target in [
        r#"/?Action=Nothing&List=[{"To":"1|2"}]&Back=\"#,
        "http://127.0.0.1:8080/?Action=Nothing",
        "/?Action=Nothing?&B=?",
    ] {
        let reply = server.get(target, &[]).await;
        assert_eq!(reply.code(), "InvalidAction.NotFound", "{target}");
    }
    let reply = server.get("/?A=1&A=2", &[]).await;
    assert_eq!(reply.code(), "InvalidParameter");
    assert_eq!(reply.json()["Message"], "Specified parameter A is not valid.");
    server.stop().await;
}

#[tokio::test]
async fn beyond_the_connections_that_may_be_open_new_ones_wait() {
    let mut settings = Settings::default();
    settings.limits.connections_max = 1;
    let server = Server::start_with(Made { settings, ..Made::default() }).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    first.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(first.read(&mut [0; 512]).await.unwrap() > 0);
    let waiting = server.get("/metrics", &[]);
    let (reply, ()) = tokio::join!(waiting, async { drop(first) });
    assert!(reply.text().contains("\ntwoticks_connections 1\n"), "{}", reply.text());
    server.stop().await;
}

#[tokio::test]
async fn a_connection_whose_head_does_not_come_in_time_is_closed() {
    let mut settings = Settings::default();
    settings.limits.head_seconds_max = 0;
    let server = Server::start_with(Made { settings, ..Made::default() }).await;
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n"] {
        let mut slow = TcpStream::connect(server.address).await.unwrap();
        slow.write_all(begun.as_bytes()).await.unwrap();
        let mut answered = Vec::new();
        slow.read_to_end(&mut answered).await.unwrap();
        assert!(answered.is_empty(), "{begun:?}: {}", String::from_utf8_lossy(&answered));
    }
    server.stop().await;
}

#[tokio::test]
async fn other_methods_are_refused() {
    let server = Server::start().await;
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"] {
        let head = format!("{method} /?Action={ENABLE} HTTP/1.1\r\nhost: x\r\n\r\n");
        let reply = &server.raw(head.as_bytes()).await[0];
        assert_eq!(reply.status, 400, "{method}");
        if method != "HEAD" {
            assert_eq!(reply.code(), "UnsupportedHTTPMethod", "{method}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order_on_one_connection() {
    let server = Server::start().await;
    let list = sender_list(700);
    let long = [("SenderList", list.as_str()), ("CustSpaceId", CHANNEL)];
    let enable = server.sign(Who::Root, ENABLE, &[], &How::default());
    let mass = server.sign(Who::Root, "SendChatappMassMessage", &long, &How::default());
    let unknown = server.sign(Who::Root, "Nothing", &[], &How::default());
    let bytes = [bytes_of(&enable), bytes_of(&mass), bytes_of(&unknown)].concat();
    let replies = server.raw(&bytes).await;
    let codes: Vec<String> = replies.iter().map(crate::harness::Reply::code).collect();
    assert_eq!(codes, ["OK", "MissingChannelType", "InvalidAction.NotFound"]);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_call_and_closed_when_the_server_stops() {
    let server = Server::start().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..2 {
        let signed = server.sign(Who::Root, ENABLE, &[], &How::default());
        stream.write_all(&bytes_of(&signed)).await.unwrap();
        let mut received = vec![0; 4096];
        let count = stream.read(&mut received).await.unwrap();
        assert!(received[..count].starts_with(b"HTTP/1.1 200"), "kept");
    }
    let stopping = server.stop();
    let mut rest = Vec::new();
    let (read, ()) = tokio::join!(stream.read_to_end(&mut rest), stopping);
    assert_eq!(read.unwrap(), 0, "closed without another byte");
}

#[tokio::test]
async fn xml_is_answered_when_it_is_asked_for() {
    let server = Server::start().await;
    let how = How { v1: true, ..How::default() };
    let reply = server.call_how(Who::Root, ENABLE, &[("Format", "XML")], &how).await;
    assert_eq!(reply.header("content-type"), Some("text/xml;charset=utf-8"));
    assert!(reply.text().contains("<EnableWhatsappROIMetricResponse>"), "{}", reply.text());
    let reply = server.call_how(Who::Root, NUMBERS, &[("Format", "xml")], &how).await;
    assert_eq!((reply.status, reply.header("content-type")), (400, Some("text/xml;charset=utf-8")));
    assert!(reply.text().contains("<Code>MissingStart</Code>"), "{}", reply.text());
    let reply = server.call_how(Who::Root, ENABLE, &[("Format", "YAML")], &how).await;
    assert_eq!(reply.code(), "InvalidParameter.Format");
    server.stop().await;
}

#[tokio::test]
async fn a_browser_is_sent_to_the_pages_and_nobody_else_is() {
    let server = Server::start().await;
    let html = ("accept", "text/html,application/xhtml+xml;q=0.9");
    let reply = server.get("/", &[html]).await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/ui/")));
    for (target, headers) in [
        ("/", vec![("accept", "application/json")]),
        ("/?Action=EnableWhatsappROIMetric", vec![html]),
        ("/?Signature=x", vec![html]),
        ("/", vec![html, ("authorization", "ACS3-HMAC-SHA256 x")]),
    ] {
        let reply = server.get(target, &headers).await;
        assert!(reply.status >= 400, "{target} {headers:?}");
        assert!(!reply.code().is_empty());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_path_that_nobody_has_is_answered_in_json() {
    let server = Server::start().await;
    let reply = server.get("/nowhere", &[]).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "InvalidAction.NotFound"));
    let body = reply.json();
    assert_eq!(body["HostId"], server.address.to_string());
    assert!(body["Recommend"].as_str().unwrap().contains("InvalidAction.NotFound"));
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_panics_is_answered_logged_and_counted() {
    use twoticks_server::carrier::{Carrier, Outgoing, Refused};
    struct Panics;
    #[async_trait::async_trait]
    impl Carrier for Panics {
        async fn send(&self, _: &[Outgoing]) -> Vec<Result<String, Refused>> {
            panic!("on purpose");
        }
    }
    let made = Made { carrier: std::sync::Arc::new(Panics), ..Made::default() };
    let mut server = Server::start_with(made).await;
    server.expect_errors();
    let params = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("From", NUMBER),
        ("To", "8613900000001"),
        ("TemplateCode", TEMPLATE),
    ];
    let reply = server.call(Who::Root, "SendChatappMessage", &params).await;
    assert_eq!((reply.status, reply.code().as_str()), (500, "InternalError"));
    assert!(!reply.text().contains("on purpose"), "a caller is not told");
    assert_eq!(server.log.of(Level::ERROR).len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn what_is_logged_of_a_call_names_no_number_and_no_secret() {
    let server = Server::start().await;
    let params = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("From", NUMBER),
        ("To", "8613900000001"),
        ("TemplateCode", TEMPLATE),
    ];
    for who in Who::ALL {
        for v1 in [false, true] {
            let how = How { v1, ..How::default() };
            server.call_how(who, "SendChatappMessage", &params, &how).await;
        }
    }
    let log = server.log.all();
    assert!(log.contains("SignatureDoesNotMatch") && log.contains("SendChatappMessage"), "{log}");
    for secret in ["8613900000001", NUMBER, "secret-of", "CAIS", "tt1:", "ACS3-HMAC"] {
        assert!(!log.contains(secret), "`{secret}` is in the log: {log}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_operator_is_answered() {
    let server = Server::start().await;
    server.call(Who::Root, ENABLE, &[]).await;
    server.get("/?Action=Nothing", &[]).await;
    assert_eq!(server.get("/health/live", &[]).await.status, 200);
    assert_eq!(server.get("/health/ready", &[]).await.status, 200);
    let metrics = server.get("/metrics", &[]).await;
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text();
    for line in [
        r#"twoticks_calls_total{operation="EnableWhatsappROIMetric",code="OK"} 1"#,
        r#"twoticks_calls_total{operation="none",code="InvalidAction.NotFound"} 1"#,
        "twoticks_events_total 1",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    server.stop().await;
}
