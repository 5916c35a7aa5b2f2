//! Who is let in, what is kept, and what is answered.

use std::io;
use std::task::Poll;

use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use twoticks_core::event::Event;
use twoticks_core::ids::ChannelId;
use twoticks_store::error::Error;
use twoticks_store::ledger::{Kind, Ledger as _};
use twoticks_wire::webhook::BODY_MAX;

use crate::ingest::harness::{Server, body, change, channel, signature, signed, status};

const DOOR: &str = "/webhooks/whatsapp";

#[tokio::test]
async fn a_handshake_is_answered_with_the_challenge_to_who_knows_a_verify_token() {
    let server = Server::new().await;
    let query = |token: &str| {
        format!("?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}")
    };
    for (path, token, status) in [
        ("", "verify-token-a", 200),
        ("", "verify-token-z", 200),
        ("", "verify-token-q", 403),
        ("", "", 403),
        ("/a", "verify-token-a", 200),
        ("/a", "verify-token-z", 403),
        ("/unknown", "verify-token-a", 403),
        ("/%FF", "verify-token-a", 403),
    ] {
        let answer = server.get(&format!("{DOOR}{path}{}", query(token))).await;
        assert_eq!(answer.status, status, "{path} {token}");
        if status == 200 {
            assert_eq!(answer.body, "1158201444");
            assert_eq!(answer.headers["content-type"], "text/plain");
        } else {
            assert!(!answer.body.contains("1158201444"), "{path} {token}");
        }
    }
    assert_eq!(server.get(DOOR).await.status, 403);
    assert!(server.entries().await.is_empty());
}

#[tokio::test]
async fn a_signature_opens_the_door_and_speaks_for_the_channels_that_have_its_secret() {
    let server = Server::new().await;
    // (path, secret, whose number, whether it is let in, whether it counts)
    for (path, secret, whose, status, counts) in [
        ("", "shared-secret", "a", 200, true),
        ("", "shared-secret", "b", 200, true),
        ("/a", "shared-secret", "a", 200, true),
        // The path says whose secrets are tried, the secret for whom it speaks.
        ("/a", "shared-secret", "b", 200, true),
        ("", "shared-secret", "c", 200, false),
        ("", "shared-secret", "z", 200, false),
        ("/a", "shared-secret", "z", 200, false),
        // While a secret is being replaced both speak.
        ("", "old-secret", "c", 200, true),
        ("/c", "new-secret", "c", 200, true),
        ("/c", "shared-secret", "c", 401, false),
        ("/z", "shared-secret", "z", 401, false),
        ("/z", "secret-z", "z", 200, true),
        ("", "secret-z", "a", 200, false),
        ("", "guessed", "a", 401, false),
        ("", "", "a", 401, false),
        ("/unknown", "shared-secret", "a", 401, false),
        ("/unknown", "nobody has this secret", "a", 401, false),
        ("/a%20b", "shared-secret", "a", 401, false),
        ("/%FF", "shared-secret", "a", 401, false),
        ("", "secret-r", "r", 200, false),
    ] {
        let row = format!("{path} {secret} {whose}");
        let before = server.entries().await.len();
        let body = body(whose, "statuses", &[self::status("M", "sent")]).to_string();
        let answered = server.webhook(&format!("{DOOR}{path}"), secret, &body).await;
        assert_eq!(answered, status, "{row}");
        let entries = server.entries().await;
        assert_eq!(entries.len() - before, usize::from(status == 200), "{row}");
        if status == 200 {
            let batch = &entries.last().unwrap().batch;
            assert_eq!(
                (batch.events.len() == 1, batch.dead.len() == 1),
                (counts, !counts),
                "{row}"
            );
            assert_eq!((batch.kind, batch.body.as_slice()), (Kind::Webhook, body.as_bytes()));
            let channels: Vec<&ChannelId> = batch.events.iter().map(Event::channel).collect();
            assert!(channels.iter().all(|known| **known == channel(whose)), "{row}");
        }
    }
}

#[tokio::test]
async fn a_number_of_another_tenant_is_a_dead_letter_and_its_neighbours_count() {
    let server = Server::new().await;
    let told = json!({"entry": [
        change("a", "statuses", &[status("M1", "sent"), json!({"id": 7}), status("M2", "read")]),
        change("z", "statuses", &[status("M3", "sent")]),
        change("nobody", "statuses", &[status("M4", "sent")]),
        change("b", "messages", &[json!({"id": "I", "type": "text", "timestamp": "1790899200"})]),
        change("b", "statuses", &[status("M5", "sent")]),
    ]});
    server.tell("shared-secret", &told).await;
    let (events, dead) = server.last().await;
    assert_eq!((events, dead.len()), (3, 3));
    // What is another's and what is nobody's is told alike.
    assert_eq!(dead[1].replace("id-z", "id-nobody"), dead[2]);
}

#[tokio::test]
async fn a_header_that_is_no_signature_of_the_very_bytes_is_refused() {
    let server = Server::new().await;
    let body = body("a", "statuses", &[status("M", "sent")]).to_string();
    let right = signature("shared-secret", body.as_bytes());
    let other = signature("shared-secret", b"other bytes");
    for (header, status) in [
        (Some(right.clone()), 200),
        (Some(right.to_uppercase().replace("SHA256", "sha256")), 200),
        (None, 401),
        (Some(other), 401),
        (Some(right.replace("sha256=", "sha1=")), 401),
        (Some(right.replace("sha256=", "")), 401),
        (Some(right.get(..70).unwrap().to_owned()), 401),
        (Some(String::new()), 401),
    ] {
        let mut request = Request::post(DOOR);
        if let Some(header) = &header {
            request = request.header("x-hub-signature-256", header);
        }
        let answer = server.answer(request.body(Body::from(body.clone())).unwrap()).await;
        assert_eq!(answer.status, status, "{header:?}");
    }
    let changed = body.replace("sent", "read");
    let request = Request::post(DOOR)
        .header("x-hub-signature-256", &right)
        .body(Body::from(changed))
        .unwrap();
    assert_eq!(server.answer(request).await.status, 401);
    assert_eq!(server.entries().await.len(), 2);
}

#[tokio::test]
async fn everything_that_is_acknowledged_is_journalled_also_what_means_nothing() {
    let server = Server::new().await;
    for (body, events, dead) in [
        (json!({"entry": []}).to_string(), 0, 0),
        (json!({"hello": 1}).to_string(), 0, 0),
        (body("a", "statuses", &[]).to_string(), 0, 0),
        ("this is no JSON".to_owned(), 0, 1),
        (String::new(), 0, 1),
        (body("a", "statuses", &[status("M", "in_orbit")]).to_string(), 0, 0),
        (body("a", "statuses", &[status("M", "sent")]).to_string(), 1, 0),
    ] {
        assert_eq!(server.webhook(DOOR, "shared-secret", &body).await, 200, "{body}");
        let last = server.entries().await.pop().unwrap().batch;
        assert_eq!((last.events.len(), last.dead.len()), (events, dead), "{body}");
        assert_eq!(last.body, body.as_bytes());
    }
    assert_eq!(server.entries().await.len(), 7);
}

#[tokio::test]
async fn a_body_up_to_the_limit_is_taken_and_a_longer_one_is_not() {
    let server = Server::new().await;
    let told = body("a", "statuses", &[status("M", "sent")]).to_string();
    for (length, status) in [(BODY_MAX, 200), (BODY_MAX + 1, 413)] {
        let body = told.clone() + &" ".repeat(length - told.len());
        assert_eq!(server.webhook(DOOR, "shared-secret", &body).await, status, "{length}");
        // Told in pieces, so that nobody knows the length before.
        let pieces: Vec<Result<Vec<u8>, io::Error>> =
            body.as_bytes().chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
        let request = Request::post(DOOR)
            .header("x-hub-signature-256", signature("shared-secret", body.as_bytes()))
            .body(Body::from_stream(futures_util::stream::iter(pieces)))
            .unwrap();
        assert_eq!(server.answer(request).await.status, status, "{length} in pieces");
        let receipts = "[]".to_owned() + &" ".repeat(length - 2);
        let answer = server.post("/webhooks/cams/receipts-secret-r", receipts).await;
        assert_eq!(answer.status, status, "{length} of receipts");
    }
    assert_eq!(server.entries().await.len(), 3);
}

#[tokio::test]
async fn a_thousand_updates_count_and_one_more_is_kept_as_a_dead_letter() {
    let server = Server::new().await;
    for (count, expected) in [(1_000, (1_000, 0)), (1_001, (0, 1))] {
        let told: Vec<Value> = (0..count).map(|n| status(&format!("M{n}"), "sent")).collect();
        server.tell("shared-secret", &body("a", "statuses", &told)).await;
        let (events, dead) = server.last().await;
        assert_eq!((events, dead.len()), expected);
    }
}

/// Why the ledger refuses, what is answered, and when another try is worth it.
type Refusal = (fn() -> Error, u16, Option<&'static str>);

#[tokio::test]
async fn nothing_is_acknowledged_that_the_ledger_does_not_keep() {
    let server = Server::new().await;
    let told = body("a", "statuses", &[status("M", "sent")]).to_string();
    let refusals: [Refusal; 6] = [
        (|| Error::Busy { what: "the queue is", limit: 1 }, 503, Some("1")),
        (|| Error::Full { source: io::ErrorKind::StorageFull.into() }, 503, Some("30")),
        (|| Error::Unavailable { doing: "writing", source: "secret words".into() }, 503, Some("5")),
        (|| Error::Closed, 503, Some("5")),
        (|| Error::Failed { source: io::Error::other("secret words") }, 503, Some("5")),
        (|| Error::TooLarge { what: "bytes", found: 2, limit: 1 }, 413, None),
    ];
    for (why, status, retry_after) in refusals {
        server.ledger.refuse(Some(why));
        let answers = [
            server.answer(signed(DOOR, "shared-secret", &told)).await,
            server.post("/webhooks/cams/receipts-secret-r", "[]").await,
        ];
        for answer in answers {
            assert_eq!(answer.status, status, "{}", why());
            let told = answer.headers.get("retry-after").map(|value| value.to_str().unwrap());
            assert_eq!(told, retry_after, "{}", why());
            assert!(!answer.body.contains("secret words"), "{}", answer.body);
            assert!(!answer.body.contains(r#""code":0"#), "{}", answer.body);
        }
    }
    assert!(server.entries().await.is_empty());
    server.ledger.refuse(None);
    assert_eq!(server.webhook(DOOR, "shared-secret", &told).await, 200);
    assert_eq!(server.entries().await.len(), 1);
    assert_eq!(server.ledger.counters().events, 1);
    let shown = server.app.telemetry.render(server.ledger.counters());
    for (door, outcome, count) in [
        ("whatsapp", "busy", 1),
        ("whatsapp", "full", 1),
        ("whatsapp", "unavailable", 3),
        ("whatsapp", "too_large", 1),
        ("whatsapp", "taken", 1),
        ("cams", "busy", 1),
    ] {
        let series = format!(r#"twoticks_webhooks_total{{door="{door}",outcome="{outcome}"}}"#);
        assert!(shown.contains(&format!("{series} {count}\n")), "{series} {count}: {shown}");
    }
    assert!(shown.contains("twoticks_webhook_parts_total{door=\"whatsapp\",part=\"event\"} 1\n"));
}

#[tokio::test]
async fn a_webhook_too_many_at_a_time_is_refused_until_another_is_done() {
    let server = Server::with(|settings| settings.limits.webhooks_in_flight_max = 1).await;
    let told = body("a", "statuses", &[status("M", "sent")]).to_string();
    let never =
        futures_util::stream::poll_fn(|_| Poll::<Option<Result<Vec<u8>, io::Error>>>::Pending);
    let slow = Request::post(DOOR)
        .header("x-hub-signature-256", "sha256=")
        .body(Body::from_stream(never))
        .unwrap();
    let mut slow = Box::pin(server.request(slow));
    assert!(slow.as_mut().now_or_never().is_none());
    let refused = server.answer(signed(DOOR, "shared-secret", &told)).await;
    assert_eq!((refused.status, &refused.headers["retry-after"]), (503, &"1".parse().unwrap()));
    assert_eq!(server.post("/webhooks/cams/receipts-secret-r", "[]").await.status, 503);
    drop(slow);
    assert_eq!(server.webhook(DOOR, "shared-secret", &told).await, 200);
}

fn receipt(number: &str, word: &str) -> Value {
    json!({"MessageId": "M1", "From": number, "To": "4915112345678", "Status": word,
        "Timestamp": 1_790_899_200_000_i64})
}

#[tokio::test]
async fn receipts_are_let_in_by_the_secret_in_the_path_and_speak_for_its_channel_alone() {
    let server = Server::new().await;
    let mine = json!([receipt("15550000003", "Sent"), receipt("15550000004", "Sent"), 7]);
    for (path, status) in [
        ("receipts-secret-r", 200),
        ("receipts-secret-q", 404),
        ("receipts-secret-", 404),
        ("%FF", 404),
        ("receipts-secret-rr", 404),
    ] {
        let answer = server.post(&format!("/webhooks/cams/{path}"), mine.to_string()).await;
        assert_eq!(answer.status, status, "{path}");
        let code = json!(i32::from(status != 200));
        assert_eq!(serde_json::from_str::<Value>(&answer.body).unwrap()["code"], code, "{path}");
    }
    let entries = server.entries().await;
    assert_eq!(entries.len(), 1);
    let batch = &entries[0].batch;
    assert_eq!((batch.kind, batch.channel.as_ref()), (Kind::Receipts, Some(&channel("r"))));
    assert_eq!((batch.events.len(), batch.dead.len()), (1, 2));
    assert!(!batch.origin.contains("secret"), "{}", batch.origin);
    let broken = server.post("/webhooks/cams/receipts-secret-r", "[{]").await;
    assert_eq!((broken.status, broken.body.as_str()), (200, r#"{"code":0,"msg":"ok"}"#));
    assert_eq!(server.last().await.1.len(), 1);
}
