//! What a file brings in, and what a dry run says of it.

use serde_json::{Value, json};
use twoticks_core::clock::Time;
use twoticks_server::ingest::import::{self, LINE_BYTES_MAX};
use twoticks_server::ingest::translate::Speaks;
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::{Kind, Ledger as _};

use crate::harness::{NOW, SECONDS, Server, body, status, uid};

fn send(extra: Value) -> Value {
    let mut send = json!({"phone_number_id": "id-a", "wamid": "M1", "to": "4915112345678",
        "template_code": "promo", "language": "en", "time": NOW.0});
    for (name, value) in extra.as_object().unwrap() {
        send[name] = value.clone();
    }
    json!({"send": send})
}

async fn dry(server: &Server, speaks: Speaks<'_>, line: &str) -> Value {
    let imported = import::line(&server.app, speaks, line.as_bytes(), NOW);
    serde_json::to_value(import::report(1, &imported.translated)).unwrap()
}

#[tokio::test]
async fn a_dry_run_says_of_each_line_what_would_be_counted() {
    let server = Server::new().await;
    let message = server.hash(HashOf::Message, "a", "M1").to_string();
    let template = json!({"code": "promo", "language": "en"});
    let event = |status: &str, template: &Value| {
        json!({"kind": "status", "status": status, "wamid_hash": message, "time": NOW.0,
            "number": "15550000000", "template": template})
    };
    for (line, events, nothing, dead) in [
        (send(json!({})), vec![event("accepted", &template)], 0, 0),
        (send(json!({"time": "2026-10-02T00:00:00Z"})), vec![event("accepted", &template)], 0, 0),
        (send(json!({"time": NOW.0.to_string()})), vec![event("accepted", &template)], 0, 0),
        (
            send(json!({"template_code": null, "language": null})),
            vec![event("accepted", &Value::Null)],
            0,
            0,
        ),
        (
            json!({"webhook": body("a", "statuses", &[status("M1", "read"), status("M", "deleted"),
                json!(1)]), "accepted": NOW.0}),
            vec![event("read", &Value::Null)],
            1,
            1,
        ),
        (
            json!({"webhook": body("a", "messages", &[json!({"id": "I", "type": "button",
                "timestamp": SECONDS, "button": {"text": "Yes", "payload": "tt1:promo:en"},
                "context": {"id": "M1"}})])}),
            vec![json!({"kind": "click", "status": null, "wamid_hash": message, "time": NOW.0,
                "number": "15550000000", "template": template})],
            0,
            0,
        ),
        (json!({"receipts": [{"WabaId": "1", "AuditStatus": "pass"}]}), vec![], 1, 0),
    ] {
        let report = dry(&server, Speaks::All, &line.to_string()).await;
        assert_eq!(report["line"], 1);
        assert_eq!(report["events"], json!(events), "{line}");
        assert_eq!(report["nothing"].as_array().unwrap().len(), nothing, "{line}");
        assert_eq!(report["dead"].as_array().unwrap().len(), dead, "{line}");
        assert_eq!(report.as_object().unwrap().len(), 4);
    }
    assert!(server.entries().await.is_empty());
}

#[tokio::test]
async fn a_line_that_cannot_be_counted_says_why() {
    let server = Server::new().await;
    let long = format!("{{\"webhook\":{{}}}}{}", " ".repeat(LINE_BYTES_MAX));
    for (line, why) in [
        ("{".to_owned(), "line is no JSON object"),
        ("7".to_owned(), "line is no JSON object"),
        ("{}".to_owned(), "exactly one of `send`, `webhook` and `receipts`"),
        (r#"{"send":{},"webhook":{}}"#.to_owned(), "exactly one of"),
        (r#"{"webhook":{},"accepted":"x"}"#.to_owned(), "`accepted` must be milliseconds"),
        (r#"{"webhook":{},"accepted":12}"#.to_owned(), "`accepted` must be milliseconds"),
        (long, "more than"),
        (send(json!({"wamid": ""})).to_string(), "`wamid` is missing"),
        (send(json!({"time": null})).to_string(), "`time` must be milliseconds"),
        (send(json!({"time": 1.5})).to_string(), "`time` must be milliseconds"),
        (send(json!({"time": SECONDS})).to_string(), "before 2009"),
        (send(json!({"language": null})).to_string(), "go together"),
        (send(json!({"phone_number_id": null})).to_string(), "`phone_number_id` is missing"),
        (send(json!({"phone_number_id": "id-q"})).to_string(), "is of no channel"),
        (send(json!({"template_code": "a\nb"})).to_string(), "control characters"),
    ] {
        let report = dry(&server, Speaks::All, &line).await;
        let cut: String = line.chars().take(80).collect();
        let told = report["dead"][0]["why"].as_str().unwrap_or_default();
        assert!(told.contains(why), "{cut}: {told}");
        assert_eq!(report["events"], json!([]), "{cut}");
    }
    // Within an account's reach, another's number is unknown.
    let line = send(json!({"phone_number_id": "id-z"})).to_string();
    assert_eq!(dry(&server, Speaks::All, &line).await["dead"], json!([]));
    assert_ne!(dry(&server, Speaks::Account(&uid(1)), &line).await["dead"], json!([]));
}

#[tokio::test]
async fn importing_twice_changes_nothing() {
    let server = Server::new().await;
    let lines = [
        send(json!({})).to_string(),
        json!({"webhook": body("a", "statuses", &[status("M1", "read"), json!(1)])}).to_string(),
        "nonsense".to_owned(),
        json!({"webhook": body("a", "statuses", &[json!(1)])}).to_string(),
    ];
    let mut digests = Vec::new();
    for _ in 0..2 {
        for line in &lines {
            let imported = import::line(&server.app, Speaks::All, line.as_bytes(), NOW);
            import::record(&server.app, line.as_bytes(), imported).await.unwrap();
        }
        let digest = server.ledger.digest().await.unwrap();
        digests.push((digest.sha256, server.ledger.dead_letters(1, 9).await.unwrap().len()));
    }
    assert_eq!(digests[0], digests[1]);
    let entries = server.entries().await;
    // What counts is kept with its line; what is dead was told to whoever imports.
    assert_eq!(entries.len(), 4);
    assert!(entries.iter().all(|entry| entry.batch.kind == Kind::Import));
    assert_eq!(entries[0].batch.body, lines[0].as_bytes());
}

#[tokio::test]
async fn an_exported_journal_counts_with_the_acceptance_times_it_had() {
    let server = Server::new().await;
    let hour = 3_600_000;
    for (accepted, expected) in [(NOW.0 - hour, NOW.0 - hour), (NOW.0 + hour, NOW.0)] {
        let line = json!({"webhook": body("a", "statuses", &[status("M1", "read")]),
            "accepted": accepted})
        .to_string();
        let imported = import::line(&server.app, Speaks::All, line.as_bytes(), NOW);
        assert_eq!(imported.accepted, Time(expected));
        import::record(&server.app, line.as_bytes(), imported).await.unwrap();
        assert_eq!(server.entries().await.pop().unwrap().batch.accepted, Time(expected));
    }
    // More than a day before what it tells: it cannot have happened.
    let line = json!({"webhook": body("a", "statuses", &[status("M1", "read")]),
        "accepted": NOW.0 - 25 * hour});
    let report = dry(&server, Speaks::All, &line.to_string()).await;
    assert_eq!(report["dead"].as_array().unwrap().len(), 1);
}
