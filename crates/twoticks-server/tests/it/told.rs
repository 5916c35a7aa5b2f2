//! `POST /api/v1/sends` and `/api/v1/clicks`: sends and clicks that went past us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use twoticks_core::clock::Time;
use twoticks_core::event::{Event, Source};

use crate::facts::{self, Fact};
use crate::graph::tell;
use crate::harness::{NOON, Reply, Server, Who};
use crate::tenants::{NUMBER, OTHER_NUMBER, TEMPLATE};

/// The longest body that is taken, in bytes.
const BODY_BYTES_MAX: usize = 2 << 20;

async fn post(server: &Server, list: &str, authorization: Option<String>, body: &str) -> Reply {
    let authorization =
        authorization.map_or_else(String::new, |it| format!("authorization: {it}\r\n"));
    let request = format!(
        "POST /api/v1/{list} HTTP/1.1\r\nhost: x\r\n{authorization}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    server.raw(request.as_bytes()).await.remove(0)
}

fn basic(who: Who, secret: Option<&str>) -> Option<String> {
    let known = who.credentials();
    let text = format!("{}:{}", known.id, secret.unwrap_or(&known.secret));
    Some(format!("Basic {}", STANDARD.encode(text)))
}

fn send(number: &str, wamid: &str) -> Value {
    json!({"phone_number_id": format!("id{number}"), "wamid": wamid, "template_code": TEMPLATE,
        "language": "en", "time": 1_795_435_100_000_i64})
}

#[tokio::test]
async fn what_is_told_is_in_the_journal_and_told_again_changes_nothing() {
    let server = Server::start().await;
    let body = json!({"sends": [send(NUMBER, "wamid.1"), send(OTHER_NUMBER, "wamid.2")]});
    for _ in 0..2 {
        let reply = post(&server, "sends", basic(Who::Root, None), &body.to_string()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        // A number of another account is none of the caller's.
        let told = reply.json();
        assert_eq!((&told["taken"], &told["dead"]), (&json!(1), &json!(1)), "{told}");
        assert_eq!(told["reports"][0]["line"], 2, "{told}");
    }
    let entries = server.app.ledger.entries(1, 10).await.unwrap();
    let [Event::Message(event)] = entries[0].batch.events.as_slice() else { panic!("one event") };
    let claim = event.claim.as_ref().unwrap();
    assert_eq!(
        (claim.source, claim.template.as_ref().unwrap().code.as_str()),
        (Source::Import, TEMPLATE)
    );
    // The second time it says nothing new.
    let counters = server.app.ledger.counters();
    assert_eq!((counters.events, counters.duplicates), (2, 1));
    server.stop().await;
}

#[tokio::test]
async fn strangers_and_what_will_not_do_are_refused() {
    let server = Server::start().await;
    for (list, one) in [("sends", send(NUMBER, "wamid.1")), ("clicks", click(json!({"id": "1"})))] {
        refuses(&server, list, one).await;
    }
    assert!(server.app.ledger.entries(1, 10).await.unwrap().is_empty());
    server.stop().await;
}

async fn refuses(server: &Server, list: &str, one: Value) {
    let body = json!({list: [one]}).to_string();
    let many = json!({list: vec![json!({}); 10_001]}).to_string();
    let long = format!("{body}{}", " ".repeat(BODY_BYTES_MAX + 1 - body.len()));
    for (authorization, body, status) in [
        (None, body.as_str(), 401),
        (Some("Bearer x".to_owned()), &body, 401),
        (Some("Basic !".to_owned()), &body, 401),
        (basic(Who::Root, Some("another secret")), &body, 401),
        (basic(Who::Denied, None), &body, 403),
        (basic(Who::Root, None), "{}", 400),
        (basic(Who::Root, None), "no json", 400),
        (basic(Who::Root, None), &many, 413),
        (basic(Who::Root, None), &long, 413),
    ] {
        let reply = post(server, list, authorization.clone(), body).await;
        assert_eq!(reply.status, status, "{list} {authorization:?} {}", reply.text());
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(matches!(status, 401 | 403) || error.contains(list), "{error}");
    }
}

#[tokio::test]
async fn as_much_as_may_be_told_at_once_is_taken() {
    let server = Server::start().await;
    for list in ["sends", "clicks"] {
        let body = json!({list: vec![json!({}); 10_000]}).to_string();
        let body = format!("{body}{}", " ".repeat(BODY_BYTES_MAX - body.len()));
        let reply = post(&server, list, basic(Who::Root, None), &body).await;
        assert_eq!(reply.status, 200, "{list}");
        assert_eq!(reply.json()["dead"], 10_000, "{list}");
    }
    server.stop().await;
}

/// A click on a link of the message `wamid.1`, a second before noon.
fn click(extra: Value) -> Value {
    let mut click = json!({"phone_number_id": format!("id{NUMBER}"), "wamid": "wamid.1",
        "button": "Shop", "time": NOON.0 - 1_000});
    click.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    click
}

/// What is answered to clicks that are told.
async fn tell_clicks(server: &Server, clicks: &[Value]) -> Value {
    let body = json!({"clicks": clicks}).to_string();
    let reply = post(server, "clicks", basic(Who::Root, None), &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// A server on which `wamid.1` was sent with the template, and read.
async fn sent() -> Server {
    let server = Server::start().await;
    let from = NOON.0 - 86_400_000;
    let template = (TEMPLATE.to_owned(), "en".to_owned());
    let category = "MARKETING".to_owned();
    let opt_in = Fact::OptIn { at: from, channel: None };
    let category = Fact::Category { template, category, from, channel: None };
    let read = Fact::Status {
        status: "read".to_owned(),
        message: "wamid.1".to_owned(),
        at: NOON.0 - 5_000,
        template: None,
        number: None,
        channel: None,
    };
    facts::record(&server, &[opt_in, category, read]).await;
    let body = json!({"sends": [send(NUMBER, "wamid.1")]}).to_string();
    let reply = post(&server, "sends", basic(Who::Root, None), &body).await;
    assert_eq!(reply.json()["taken"], 1, "{}", reply.text());
    server
}

/// What the metric of the template says was clicked.
async fn clicked(server: &Server) -> Value {
    let day = 86_400_000;
    let (start, end) = ((NOON.0 - day).to_string(), (NOON.0 + day).to_string());
    let asked = [("TemplateCode", TEMPLATE), ("Start", &start), ("End", &end)];
    let metric = server.call(Who::Root, "GetChatappTemplateMetric", &asked).await.json();
    metric["Data"][0]["Cliented"].clone()
}

fn shop(count: u32) -> Value {
    json!([{"Type": "url_button", "ButtonContent": "Shop", "Count": count}])
}

#[tokio::test]
async fn a_click_that_whatsapp_tells_of_as_well_is_one_whoever_says_it_first() {
    let user_action = json!({"messaging_product": "whatsapp",
        "metadata": {"display_phone_number": NUMBER, "phone_number_id": format!("id{NUMBER}")},
        "user_actions": [{"action_type": "marketing_messages_link_click",
            "timestamp": (NOON.0 / 1_000 - 2).to_string(),
            "marketing_messages_link_click_data": {"click_component": "cta", "click_id": "IwAR1"}}]});
    let mut digests = Vec::new();
    for is_page_first in [true, false] {
        let server = sent().await;
        if !is_page_first {
            tell(&server, "messages", &user_action).await;
        }
        let told = tell_clicks(&server, &[click(json!({"click_id": "IwAR1"}))]).await;
        assert_eq!(told, json!({"taken": 1, "dead": 0, "reports": []}));
        if is_page_first {
            tell(&server, "messages", &user_action).await;
        }
        assert_eq!(clicked(&server).await, shop(1), "{is_page_first}");
        let entries = server.app.ledger.entries(1, 10).await.unwrap();
        let events = entries.into_iter().flat_map(|entry| entry.batch.events);
        let ids: Vec<_> = events
            .filter_map(|event| match event {
                Event::Tap(tap) => Some(tap.id),
                _ => None,
            })
            .collect();
        assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
        digests.push(server.app.ledger.digest().await.unwrap().sha256);
        server.stop().await;
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn clicks_count_for_the_template_and_once_however_often_they_are_told() {
    let server = sent().await;
    let timeless = || {
        let mut it = click(json!({"id": "visit-2"}));
        it.as_object_mut().unwrap().remove("time");
        it
    };
    let by_digits = json!({"phone_number": format!("+{NUMBER}"), "wamid": "wamid.1",
        "click_id": "IwAR2", "button": "Shop"});
    let clicks = [
        click(json!({"id": "visit-1"})),
        click(json!({"phone_number_id": format!("id{OTHER_NUMBER}"), "id": "visit-3"})),
        timeless(),
        by_digits,
        click(json!({})),
    ];
    for round in 0..2 {
        let told = tell_clicks(&server, &clicks).await;
        assert_eq!((&told["taken"], &told["dead"]), (&json!(3), &json!(2)), "{told}");
        let why = |at: usize| told["reports"][at]["dead"][0]["why"].as_str().unwrap().to_owned();
        assert_eq!(
            (&told["reports"][0]["line"], &told["reports"][1]["line"]),
            (&json!(2), &json!(5))
        );
        assert!(why(0).contains("is of no channel"), "{told}");
        assert!(why(1).contains("`click_id` or `id` is missing"), "{told}");
        assert_eq!(clicked(&server).await, shop(3), "{round}");
        // A click without a time keeps that of its first telling.
        server.clock.set(Time(NOON.0 + 60_000 * (round + 1)));
    }
    assert_eq!(server.app.ledger.counters().duplicates, 3);
    // No log knows whose they are.
    let log = server.log.all();
    assert!(!log.contains("wamid.1") && !log.contains("IwAR2"), "{log}");
    server.stop().await;
}
