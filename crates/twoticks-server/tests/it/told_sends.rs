//! `POST /api/v1/sends`: sends that went past us.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use twoticks_core::event::{Event, Source};

use crate::harness::{Reply, Server, Who};
use crate::tenants::{NUMBER, OTHER_NUMBER, TEMPLATE};

async fn post(server: &Server, authorization: Option<String>, body: &str) -> Reply {
    let authorization =
        authorization.map_or_else(String::new, |it| format!("authorization: {it}\r\n"));
    let request = format!(
        "POST /api/v1/sends HTTP/1.1\r\nhost: x\r\n{authorization}content-length: {}\r\n\r\n{body}",
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
        let reply = post(&server, basic(Who::Root, None), &body.to_string()).await;
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
    let body = json!({"sends": [send(NUMBER, "wamid.1")]}).to_string();
    let many = json!({"sends": vec![json!({}); 10_001]}).to_string();
    for (authorization, body, status) in [
        (None, body.as_str(), 401),
        (Some("Bearer x".to_owned()), &body, 401),
        (Some("Basic !".to_owned()), &body, 401),
        (basic(Who::Root, Some("another secret")), &body, 401),
        (basic(Who::Denied, None), &body, 403),
        (basic(Who::Root, None), "{}", 400),
        (basic(Who::Root, None), "no json", 400),
        (basic(Who::Root, None), &many, 413),
    ] {
        let reply = post(&server, authorization.clone(), body).await;
        assert_eq!(reply.status, status, "{authorization:?} {}", reply.text());
        assert!(reply.json()["error"].is_string());
    }
    assert!(server.app.ledger.entries(1, 10).await.unwrap().is_empty());
    server.stop().await;
}
