//! What a file brings in, and what a dry run says of it.

use serde_json::{Value, json};
use twoticks_core::clock::{DAY, Time};
use twoticks_core::event::{ButtonKind, Event, MessageEvent, Source};
use twoticks_server::control::feed::{self, Lines, SpeaksFor};
use twoticks_server::control::{Command, execute};
use twoticks_server::ingest::import::{self, LINE_BYTES_MAX};
use twoticks_server::ingest::translate::Speaks;
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::{Kind, Ledger as _};

use crate::ingest::harness::{NOW, SECONDS, Server, body, channel, status, uid};

fn send(extra: Value) -> Value {
    let mut send = json!({"phone_number_id": "id-a", "wamid": "M1", "to": "4915112345678",
        "template_code": "promo", "language": "en", "time": NOW.0});
    for (name, value) in extra.as_object().unwrap() {
        send[name] = value.clone();
    }
    json!({"send": send})
}

fn told(extra: Value) -> Value {
    let mut told = json!({"phone_number_id": "id-a", "wamid": "M1", "status": "delivered",
        "time": NOW.0});
    for (name, value) in extra.as_object().unwrap() {
        told[name] = value.clone();
    }
    json!({"status": told})
}

fn click(extra: Value) -> Value {
    let mut click = json!({"phone_number_id": "id-a", "wamid": "M1", "click_id": "C1",
        "button": "Shop", "time": NOW.0});
    for (name, value) in extra.as_object().unwrap() {
        click[name] = value.clone();
    }
    json!({"click": click})
}

fn price(amount: &str) -> Value {
    json!({"pricing": {"cost": amount, "currency": "EUR"}})
}

/// Takes the lines in as the command line does.
async fn take(server: &Server, lines: &[String], speaks_for: SpeaksFor) -> Value {
    let lines = (1..).zip(lines.iter().cloned()).collect();
    let lines = Lines { lines, dry_run: false, speaks_for };
    execute(&server.app, Command::Data(feed::Command::Import(lines))).await.unwrap()
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
        ("{}".to_owned(), "exactly one of `send`, `status`, `click`, `webhook` and `receipts`"),
        (r#"{"send":{},"webhook":{}}"#.to_owned(), "exactly one of"),
        (r#"{"send":{},"status":{}}"#.to_owned(), "exactly one of"),
        (r#"{"click":{},"status":{}}"#.to_owned(), "exactly one of"),
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
        (click(json!({"wamid": ""})).to_string(), "`wamid` is missing"),
        (click(json!({"click_id": null})).to_string(), "`click_id` or `id` is missing"),
        (click(json!({"click_id": "x".repeat(513)})).to_string(), "`click_id` is too long"),
        (click(json!({"click_id": null, "id": "x".repeat(513)})).to_string(), "`id` is too long"),
        (click(json!({"click_id": "a\nb"})).to_string(), "control characters"),
        (click(json!({"button": 1})).to_string(), "`button` must be the text"),
        (click(json!({"time": "now"})).to_string(), "`time` must be milliseconds"),
        (click(json!({"time": NOW.0 + 86_400_001})).to_string(), "a day after it was accepted"),
        (click(json!({"phone_number_id": "id-q"})).to_string(), "is of no channel"),
        (
            click(json!({"phone_number_id": null})).to_string(),
            "`phone_number_id` or `phone_number` is missing",
        ),
        (
            click(json!({"phone_number_id": null, "phone_number": "4915112345678"})).to_string(),
            "the phone_number `…78` is of no channel",
        ),
        (click(json!({"clickid": 1})).to_string(), "`clickid` is no field of a click; there are"),
        (told(json!({"wamid": null})).to_string(), "`wamid` is missing"),
        (told(json!({"status": ""})).to_string(), "`status` is missing"),
        (told(json!({"status": "seen"})).to_string(), "`seen` is no status; write accepted, sent,"),
        (told(json!({"time": "yesterday"})).to_string(), "`time` must be milliseconds"),
        (told(json!({"time": 1_230_767_999_999_i64})).to_string(), "before 2009"),
        (told(json!({"time": NOW.0 + 86_400_001})).to_string(), "a day after it was accepted"),
        (told(json!({"phone_number_id": "id-q"})).to_string(), "is of no channel"),
        (told(json!({"colour": 1})).to_string(), "`colour` is no field of a status; there are"),
        (told(json!({"error": "x"})).to_string(), "`error` must be a code"),
        (told(json!({"error": 1.5})).to_string(), "`error` must be a code"),
        (told(json!({"language": "en"})).to_string(), "go together"),
        (told(json!({"campaign": "c"})).to_string(), "`campaign` needs"),
        (told(json!({"participant": []})).to_string(), "`participant` must be"),
        (told(json!({"participant": ["1", "2", "3"]})).to_string(), "`participant` must be"),
        (told(json!({"participant": {}})).to_string(), "`participant` must be"),
        (told(json!({"pricing": 1})).to_string(), "`pricing` must be an object with some of"),
        (told(json!({"pricing": {"price": 1}})).to_string(), "with some of category, type,"),
        (told(json!({"pricing": {"cost": 1}})).to_string(), "with a `currency`"),
        (told(json!({"pricing": {"currency": "EUR"}})).to_string(), "`pricing.cost` must be"),
        (
            told(json!({"pricing": {"cost": 1, "currency": "x".repeat(17)}})).to_string(),
            "from 0 to",
        ),
        (told(price("-0.1")).to_string(), "from 0 to 10000"),
        (told(price("10000.000001")).to_string(), "from 0 to 10000"),
        (told(price("1,5")).to_string(), "from 0 to 10000"),
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

/// What a status says, in short: word, error, price, template, participants.
fn short(event: &Event) -> String {
    let Event::Message(event) = event else { return format!("no message: {event:?}") };
    let MessageEvent { status, error, pricing, claim, participant, .. } = event;
    let mut text = status.unwrap().as_str().to_owned();
    if let Some(code) = error {
        text += &format!(" error {code}");
    }
    if let Some(it) = pricing {
        let cost = it.cost.as_ref().map(|cost| format!(" {}{}", cost.micros(), cost.currency()));
        text += &format!(" {}/{}/{}{}", it.category, it.kind, it.model, cost.unwrap_or_default());
    }
    if let Some(claim) = claim {
        assert_eq!(claim.source, Source::Import);
        let template = claim.template.as_ref().unwrap();
        text += &format!(" {}/{}", template.code, template.language);
        text += &claim.campaign.as_ref().map(|it| format!("/{it}")).unwrap_or_default();
    }
    text + &" person".repeat(participant.len())
}

#[tokio::test]
async fn a_status_says_what_its_fields_say() {
    let server = Server::new().await;
    let pricing = json!({"category": "marketing", "type": "regular", "model": "PMP",
        "cost": 0.0525, "currency": "EUR"});
    let whole = "marketing/regular/PMP 52500EUR";
    for (extra, expected) in [
        (json!({}), "delivered".to_owned()),
        (json!({"to": "4915112345678", "error": null, "pricing": null}), "delivered".to_owned()),
        (json!({"status": "READ", "time": "2026-10-02T00:00:00Z"}), "read".to_owned()),
        (json!({"status": "accepted"}), "accepted".to_owned()),
        (json!({"status": "sent", "pricing": pricing}), "sent".to_owned()),
        (json!({"status": "played", "pricing": pricing}), format!("played {whole}")),
        (json!({"pricing": pricing}), format!("delivered {whole}")),
        (json!({"pricing": {"category": "utility"}}), "delivered utility//".to_owned()),
        (json!({"pricing": {}}), "delivered".to_owned()),
        (price("0"), "delivered // 0EUR".to_owned()),
        (price("10000"), "delivered // 10000000000EUR".to_owned()),
        (json!({"status": "failed", "error": 131026}), "failed error 131026".to_owned()),
        (json!({"status": "failed", "error": "131026"}), "failed error 131026".to_owned()),
        (json!({"error": 0}), "delivered".to_owned()),
        (json!({"template_code": "promo", "language": "en"}), "delivered promo/en".to_owned()),
        (
            json!({"template_code": "promo", "language": "en", "campaign": "spring"}),
            "delivered promo/en/spring".to_owned(),
        ),
        (json!({"participant": "4915112345678"}), "delivered person".to_owned()),
        (json!({"participant": ["+49 151 12345678"]}), "delivered person".to_owned()),
        (json!({"participant": ["4915112345678", "DE.1"]}), "delivered person person".to_owned()),
        (json!({"participant": ["DE.1", "DE.1"]}), "delivered person".to_owned()),
    ] {
        let line = told(extra).to_string();
        let translated = import::line(&server.app, Speaks::All, line.as_bytes(), NOW).translated;
        assert_eq!((translated.events.len(), &translated.dead), (1, &vec![]), "{line}");
        assert_eq!(short(&translated.events[0]), expected, "{line}");
    }
}

#[tokio::test]
async fn a_click_is_known_by_metas_click_id_else_by_its_own() {
    let server = Server::new().await;
    let inbound = |text: &str| server.hash(HashOf::Inbound, "a", text);
    let metas = inbound("C1 marketing_messages_link_click");
    let longest = "x".repeat(512);
    for (extra, id, text, time) in [
        (json!({}), metas, "Shop", NOW),
        (json!({"id": "V1"}), metas, "Shop", NOW),
        (json!({"button": null, "time": NOW.0 - 5}), metas, "", Time(NOW.0 - 5)),
        (json!({"button": "a\tb", "time": null}), metas, "a b", NOW),
        (json!({"click_id": null, "id": "V1"}), inbound("V1 landing_page"), "Shop", NOW),
        (json!({"click_id": "", "id": 7}), inbound("7 landing_page"), "Shop", NOW),
        (json!({"phone_number_id": null, "phone_number": "+1 555 000 0000"}), metas, "Shop", NOW),
        (
            json!({"click_id": longest}),
            inbound(&format!("{longest} marketing_messages_link_click")),
            "Shop",
            NOW,
        ),
    ] {
        let line = click(extra).to_string();
        let translated = import::line(&server.app, Speaks::All, line.as_bytes(), NOW).translated;
        let [Event::Tap(tap)] = translated.events.as_slice() else { panic!("{translated:?}") };
        assert_eq!((tap.id, tap.button.text.as_str(), tap.time), (id, text, time), "{line}");
        assert_eq!((tap.button.kind, &tap.sign), (ButtonKind::Url, &None));
        assert_eq!(tap.message, Some(server.hash(HashOf::Message, "a", "M1")));
        assert_eq!((&tap.channel, tap.number.as_str()), (&channel("a"), "15550000000"));
    }
}

#[tokio::test]
async fn lines_that_were_accepted_together_are_journalled_together_and_count_the_same() {
    let (together, alone) = (Server::new().await, Server::new().await);
    let mut lines: Vec<String> = (0..2_000)
        .flat_map(|n| {
            let wamid = format!("M{n}");
            let send = send(json!({"wamid": wamid, "time": NOW.0 - 60_000}));
            let status = told(json!({"wamid": wamid, "time": NOW.0 - n}));
            [send.to_string(), status.to_string()]
        })
        .collect();
    lines.push("nonsense".to_owned());
    lines.push(json!({"status": told(json!({}))["status"], "accepted": NOW.0 - 7}).to_string());
    let answer = take(&together, &lines, SpeaksFor::All).await;
    assert_eq!((&answer["lines"], &answer["events"]), (&json!(4_002), &json!(4_001)));
    assert_eq!((&answer["dead"], &answer["reports"][0]["line"]), (&json!(1), &json!(4_001)));
    let entries = together.entries().await;
    let shape: Vec<_> =
        entries.iter().map(|it| (it.batch.accepted.0 - NOW.0, it.batch.events.len())).collect();
    assert_eq!(shape, [(0, 4_000), (-7, 1)]);
    assert_eq!(entries[0].batch.body, lines[..4_000].join("\n").into_bytes());
    for line in &lines {
        let imported = import::line(&alone.app, Speaks::All, line.as_bytes(), NOW);
        import::record(&alone.app, line.as_bytes(), imported).await.unwrap();
    }
    let digest = |server: &Server| {
        let ledger = server.ledger.clone();
        async move { ledger.digest().await.unwrap().sha256 }
    };
    assert_eq!(digest(&together).await, digest(&alone).await);
    take(&together, &lines, SpeaksFor::All).await;
    assert_eq!(digest(&together).await, digest(&alone).await, "twice changes nothing");
}

#[tokio::test]
async fn an_import_speaks_for_those_it_is_told_to() {
    let server = Server::new().await;
    let lines: Vec<String> = ["id-a", "id-b", "id-z"]
        .iter()
        .map(|id| told(json!({"phone_number_id": id})).to_string())
        .collect();
    for (speaks_for, events, dead) in [
        (SpeaksFor::All, 3, vec![]),
        (SpeaksFor::Account(uid(1)), 2, vec![3]),
        (SpeaksFor::Channels(vec![channel("a")]), 1, vec![2, 3]),
        (SpeaksFor::Channels(vec![channel("a"), channel("z")]), 2, vec![2]),
    ] {
        let answer = take(&server, &lines, speaks_for.clone()).await;
        assert_eq!(answer["events"], events, "{speaks_for:?}");
        let reports = answer["reports"].as_array().unwrap();
        let told: Vec<u64> = reports.iter().map(|it| it["line"].as_u64().unwrap()).collect();
        assert_eq!(told, dead, "{speaks_for:?}");
        for report in reports {
            let why = report["dead"][0]["why"].as_str().unwrap();
            assert!(why.contains("is of no channel that this body may speak for"), "{why}");
        }
    }
    for nobody in [SpeaksFor::Account(uid(9)), SpeaksFor::Channels(vec![channel("q")])] {
        let lines = Lines { lines: Vec::new(), dry_run: false, speaks_for: nobody };
        let import = Command::Data(feed::Command::Import(lines));
        let error = execute(&server.app, import).await.unwrap_err().to_string();
        assert!(error.contains("there is no "), "{error}");
    }
}

#[tokio::test]
async fn old_history_counts_and_is_told_from_late_statuses_by_its_acceptance_time() {
    let years = 3 * 365 * DAY;
    // What is accepted now counts, however old it is.
    let server = Server::new().await;
    let old = |extra: Value| told(json!({"time": NOW.0 - years, "status": extra})).to_string();
    take(&server, &[old(json!("sent")), old(json!("read"))], SpeaksFor::All).await;
    assert_eq!((server.ledger.counters().late, server.ledger.counters().events), (0, 2));
    // Of a journal that says when it accepted what, a status is late behind the horizon: 45 days
    // by acceptance, whatever the times of the statuses themselves are.
    let accepted = |mut line: Value, at: i64| {
        line["accepted"] = json!(at);
        line.to_string()
    };
    let (first, then) =
        (send(json!({"time": NOW.0 - years})), told(json!({"time": NOW.0 - years + 5})));
    for (idle, late) in [(0, 0), (45 * DAY, 0), (45 * DAY + 1, 1), (225 * DAY, 1)] {
        let server = Server::new().await;
        let lines =
            [accepted(first.clone(), NOW.0 - years), accepted(then.clone(), NOW.0 - years + idle)];
        take(&server, &lines, SpeaksFor::All).await;
        assert_eq!(server.ledger.counters().late, late, "{idle}");
        assert_eq!(server.entries().await.len(), if idle == 0 { 1 } else { 2 });
    }
    // Where only one of them says when it was accepted, lines count in the order they stand in.
    let old = accepted(then, NOW.0 - 60 * DAY);
    for (lines, late) in [([first.to_string(), old.clone()], 0), ([old, first.to_string()], 1)] {
        let server = Server::new().await;
        take(&server, &lines, SpeaksFor::All).await;
        assert_eq!(server.ledger.counters().late, late, "{lines:?}");
    }
}
