//! What the doors of the emulator take and refuse.

use serde_json::{Value, json};
use twoticks_core::clock::{Clock as _, DAY, SECOND};
use twoticks_emulator::caller::{CallError, Caller};
use twoticks_emulator::chaos::{Chaos, Profile};
use twoticks_emulator::emulator::AnyKey;
use twoticks_emulator::whatsapp::Config;
use twoticks_server::settings::Settings;
use twoticks_store::directory::names::Secret;

use crate::harness::{CHANNELS, Emulated, KEY, PROMO, START, channel};

async fn started() -> Emulated {
    Emulated::start(Config::default()).await
}

#[tokio::test]
async fn every_door_is_listed_and_any_other_path_says_which_there_are() {
    let mut emulated = started().await;
    let doors = emulated.get("").await;
    let paths: Vec<&str> =
        doors.as_array().unwrap().iter().map(|door| door["path"].as_str().unwrap()).collect();
    for path in ["health", "reset", "clock", "chaos", "config", "fixtures", "inspect/sends"] {
        assert!(paths.contains(&format!("/_twoticks/{path}").as_str()), "{path}");
    }
    for door in doors.as_array().unwrap() {
        let path = door["path"].as_str().unwrap().trim_start_matches("/_twoticks/");
        let takes = door["methods"].as_array().unwrap();
        for method in ["GET", "POST", "DELETE"] {
            let (status, answer) = emulated.ask(method, path, "").await;
            let is_taken = takes.contains(&json!(method));
            assert_eq!(status != 405, is_taken, "{method} {path}: {answer}");
        }
    }
    let (status, answer) = emulated.ask("GET", "clocks", "").await;
    assert_eq!(status, 404);
    assert_eq!(answer["doors"], doors);
    let health = emulated.get("health").await;
    assert_eq!(health["status"], "ok");
    emulated.stop().await;
}

#[tokio::test]
async fn the_clock_goes_on_and_what_is_due_on_the_way_is_told() {
    let mut emulated = started().await;
    emulated.send("cams-shop", 0, PROMO, 1, 50).await;
    let clock = emulated.get("clock").await;
    let now = emulated.whatsapp.clock().now().0;
    assert_eq!(clock["now"], now);
    assert!(clock["pending"].as_u64().unwrap() > 100);
    let turned = emulated.post("clock?advance=90m", "").await;
    assert_eq!(turned["now"], now + 90 * 60 * SECOND);
    assert_eq!(turned["time"], "2026-10-02T09:30:00.2Z");
    assert!(turned["delivered"]["updates"].as_u64().unwrap() > 80, "{turned}");
    let turned = emulated.post("clock", r#"{"now": "2026-10-03T00:00:00Z", "speed": 0}"#).await;
    assert_eq!((&turned["now"], &turned["speed"]), (&json!(1_790_985_600_000_i64), &json!(0)));
    let turned = emulated.post("clock?advance=1d%202h", "").await;
    assert_eq!(turned["now"], 1_790_985_600_000 + DAY + 2 * 3_600 * SECOND);
    let flushed = emulated.post("clock?flush=true", "").await;
    assert_eq!((&flushed["pending"], &flushed["next_due"]), (&json!(0), &Value::Null));
    emulated.compare("after a flush").await;
    emulated.stop().await;
}

#[tokio::test]
async fn whoever_turns_the_clock_at_the_same_time_gets_a_turn_from_where_it_is_then() {
    let mut emulated = started().await;
    emulated.send("cams-shop", 0, PROMO, 1, 50).await;
    let (before, address) = (emulated.whatsapp.clock().now(), emulated.lane.address());
    let turns = ["flush=1", "advance=1h", "flush=1", "advance=2h", "advance=30m"];
    let turning = turns.map(|turn| async move {
        let asked = twoticks_emulator::post::Asked {
            method: "POST".parse().unwrap(),
            target: format!("/_twoticks/clock?{turn}"),
            headers: Vec::new(),
            body: Vec::new().into(),
        };
        let answered = twoticks_emulator::post::Lane::new(address).ask(&asked).await.unwrap();
        (answered.status.as_u16(), String::from_utf8_lossy(&answered.body).into_owned())
    });
    for (status, answer) in futures_util::future::join_all(turning).await {
        assert_eq!(status, 200, "{answer}");
    }
    let passed = emulated.whatsapp.clock().now().0 - before.0;
    assert!(passed >= 12_600 * SECOND, "each is on top of the others: {passed}");
    assert_eq!(emulated.whatsapp.pending().0, 0);
    emulated.compare("after many turns").await;
    emulated.stop().await;
}

#[tokio::test]
async fn a_clock_is_not_turned_back_nor_beyond_its_bounds() {
    let mut emulated = started().await;
    let before = format!("clock?now={}", START.0 - 1);
    let (status, why) = emulated.refused(&before, "").await;
    assert_eq!(status, 409);
    assert!(why.contains("does not go back") && why.contains(&START.0.to_string()), "{why}");
    for (target, body, part) in [
        ("clock?advance=-1s", "", "does not go back"),
        ("clock?advance=1000000000000000", "", "2100"),
        ("clock?speed=100001", "", "100000"),
        ("clock?speed=fast", "", "whole number"),
        ("clock?advance=1d&now=5", "", "exclude each other"),
        ("clock?advance=soon", "", "`1d`"),
        ("clock?now=tomorrow", "", "2026-11-23T16:21:00Z"),
        ("clock?forward=1d", "", "`advance`"),
        ("clock?advance=1d&advance=2d", "", "there twice"),
        ("clock", "[1]", "no JSON object"),
        ("clock", "{", "no JSON"),
    ] {
        let (_, why) = emulated.refused(target, body).await;
        assert!(why.contains(part), "{target} {body}: {why}");
    }
    let (status, _) = emulated.ask("GET", "clock?advance=1d", "").await;
    assert_eq!(status, 400, "what turns it is a POST");
    assert_eq!(emulated.get("clock").await["now"], START.0, "nothing has turned it");
    emulated.stop().await;
}

#[tokio::test]
async fn chaos_is_ordered_by_name_for_all_or_for_one_channel() {
    let mut emulated = started().await;
    let (status, why) = emulated.refused("chaos?profiles=duplicate,riot", "").await;
    assert_eq!(status, 400);
    assert!(why.contains("`riot`") && why.contains("`silence`"), "{why}");
    let (_, why) = emulated.refused("chaos", "").await;
    assert!(why.contains("`profiles` is missing"), "{why}");
    let (_, why) = emulated.refused("chaos?profiles=none&channel=cams-none", "").await;
    assert!(why.contains("`cams-none`"), "{why}");
    let all = emulated.post("chaos", r#"{"profiles": "reorder, drop"}"#).await;
    assert_eq!(all["profiles"], "reorder,drop");
    emulated.post("chaos?profiles=none&channel=cams-bank", "").await;
    let whatsapp = emulated.whatsapp.clone();
    assert_eq!(whatsapp.chaos_of(&channel("cams-bank")), Chaos::NONE);
    let mixed = Chaos::of(&[Profile::Reorder, Profile::Drop]);
    assert_eq!(whatsapp.chaos_of(&channel("cams-shop")), mixed);
    assert_eq!(emulated.get("config").await["chaos"], "reorder,drop");
    emulated.stop().await;
}

#[tokio::test]
async fn how_lives_end_is_ordered_for_all_or_for_one_channel() {
    let mut emulated = started().await;
    emulated.post("config?outcome=sent", "").await;
    let one = emulated.post("config?outcome=failed:131026&channel=cams-bank", "").await;
    assert_eq!((&one["outcome"], &one["channel"]), (&json!("failed:131026"), &json!("cams-bank")));
    assert_eq!(emulated.get("config?channel=cams-shop").await["outcome"], "sent");
    assert_eq!(emulated.get("config").await["outcome"], "sent");
    let body = r#"{"channels": [{"id": "cams-outlet", "outcome": "read"}]}"#;
    emulated.post("fixtures", body).await;
    for (id, last) in [("cams-shop", "sent"), ("cams-bank", "failed"), ("cams-outlet", "read")] {
        emulated.send(id, 0, PROMO, 1, 3).await;
        let sends = emulated.get(&format!("inspect/sends?channel={id}")).await;
        for send in sends["sends"].as_array().unwrap() {
            assert_eq!(send["life"].as_array().unwrap().last().unwrap()["what"], last, "{id}");
        }
    }
    for (target, part) in [
        ("config?outcome=read&channel=cams-none", "`cams-none`"),
        ("config?api_version=v24.0&channel=cams-bank", "`api_version` is for all"),
    ] {
        let (_, why) = emulated.refused(target, "").await;
        assert!(why.contains(part), "{target}: {why}");
    }
    let (_, why) = emulated
        .refused("fixtures", r#"{"channels": [{"id": "cams-outlet", "outcome": "happy"}]}"#)
        .await;
    assert!(why.contains("`happy`") && why.contains("`tapped`"), "{why}");
    emulated.stop().await;
}

#[tokio::test]
async fn what_changes_something_is_a_post() {
    let mut emulated = started().await;
    for target in ["config?outcome=read", "chaos?profiles=drop", "clock?advance=1d"] {
        let (status, answer) = emulated.ask("GET", target, "").await;
        assert_eq!(status, 400, "{target}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains("is a POST"), "{target}: {answer}");
    }
    emulated.stop().await;
}

#[tokio::test]
async fn what_can_be_set_is_named() {
    let mut emulated = started().await;
    let set = emulated.post("config?outcome=failed:131026&api_version=v23.0", "").await;
    assert_eq!((&set["outcome"], &set["api_version"]), (&json!("failed:131026"), &json!("v23.0")));
    assert_eq!((&set["any_key"], &set["checks_signatures"]), (&json!(false), &json!(true)));
    for (target, part) in [
        ("config?outcome=happy", "`tapped`"),
        ("config?outcome=failed:1", "131026"),
        ("config?api_version=v9.0", "v22.0"),
        ("config?speed=1", "`outcome`"),
    ] {
        let (_, why) = emulated.refused(target, "").await;
        assert!(why.contains(part), "{target}: {why}");
    }
    emulated.stop().await;
}

const FIXTURE: &str = r#"{
    "channels": [{"id": "cams-extra", "links": true, "chaos": "duplicate"}],
    "numbers": [{"channel": "cams-extra"}, {"channel": "cams-extra", "phone_number": "+1 555 010 0077", "quality": "red"}],
    "templates": [{"channel": "cams-extra", "code": "hello", "language": "en", "category": "MARKETING",
                   "buttons": [{"type": "quick_reply", "text": "Hi"}], "appeal": 2000}],
    "opt_ins": [{"channel": "cams-extra", "time": "2026-10-01T00:00:00Z"}]
}"#;

#[tokio::test]
async fn fixtures_say_how_things_are_so_loading_them_twice_changes_nothing() {
    let mut emulated = started().await;
    let first = emulated.post("fixtures", FIXTURE).await;
    let second = emulated.post("fixtures", FIXTURE).await;
    assert_eq!(first, second);
    let numbers = first["numbers"].as_array().unwrap();
    let of_extra = numbers.iter().filter(|number| number["channel"] == "cams-extra");
    let of_extra: Vec<&str> = of_extra.map(|it| it["phone_number"].as_str().unwrap()).collect();
    assert_eq!(of_extra.len(), 2);
    assert!(of_extra.contains(&"15550100077"), "{of_extra:?}");
    let known = emulated.app.ledger.channel(&channel("cams-extra")).await.unwrap();
    assert_eq!(known.opted_in().unwrap().0, 1_790_812_800_000);
    assert_eq!(emulated.whatsapp.chaos_of(&channel("cams-extra")).to_string(), "duplicate");
    assert_eq!(emulated.get("fixtures").await, second);
    emulated.whatsapp.flush().await.unwrap();
    let webhooks = emulated.get("inspect/webhooks?channel=cams-extra").await;
    let body = webhooks["webhooks"][0]["body"].to_string();
    assert!(body.contains("phone_number_quality_update") && body.contains("FLAGGED"), "{body}");
    emulated.stop().await;
}

#[tokio::test]
async fn of_a_refused_fixture_nothing_is_loaded() {
    let mut emulated = started().await;
    let before = emulated.get("fixtures").await;
    for (body, parts) in [
        (r#"{"chanels": []}"#, ["`chanels`", "`channels`"]),
        (
            r#"{"templates": [{"code": "a", "language": "en", "category": "marketing", "channel": "cams-shop", "colour": 1}]}"#,
            ["`colour`", "`appeal`"],
        ),
        (
            r#"{"templates": [{"code": "a", "language": "en", "category": "spam", "channel": "cams-shop"}]}"#,
            ["`spam`", "`utility`"],
        ),
        (
            r#"{"templates": [{"code": "a", "language": "en", "category": "utility"}]}"#,
            ["template", "has 3"],
        ),
        (
            r#"{"templates": [{"code": "a", "language": "en", "category": "utility", "channel": "cams-shop", "status": "dead"}]}"#,
            ["`dead`", "`paused`"],
        ),
        (
            r#"{"templates": [{"code": "a", "language": "en", "category": "utility", "channel": "cams-shop", "appeal": 10001}]}"#,
            ["`appeal`", "10000"],
        ),
        (
            r#"{"templates": [{"code": "a", "language": "en", "category": "utility", "channel": "cams-shop", "buttons": [{"type": "flow", "text": "x"}]}]}"#,
            ["`flow`", "`quick_reply`"],
        ),
        (r#"{"numbers": [{"channel": "cams-none"}]}"#, ["`cams-none`", "channels"]),
        (r#"{"numbers": [{"channel": "cams-shop", "phone_number": "abc"}]}"#, ["`abc`", "digits"]),
        (r#"{"channels": [{"id": "a b"}]}"#, ["`a b`", "visible"]),
        (
            r#"{"channels": [{"id": "cams-new"}], "numbers": [{"channel": "cams-none"}]}"#,
            ["`cams-none`", "channels"],
        ),
        ("not JSON", ["cannot be read", "line 1"]),
        (r#"[{"id": "cams-new"}]"#, ["no object", "`channels`"]),
    ] {
        let (status, why) = emulated.refused("fixtures", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(parts.iter().all(|part| why.contains(part)), "{body}: {why}");
    }
    assert_eq!(emulated.get("fixtures").await, before);
    emulated.stop().await;
}

#[tokio::test]
async fn what_was_sent_posted_and_refused_can_be_looked_at() {
    let mut emulated = started().await;
    emulated.opt_in("cams-shop").await;
    emulated.send("cams-shop", 0, PROMO, 1, 3).await;
    emulated.send("cams-bank", 0, PROMO, 1, 2).await;
    let sends = emulated.get("inspect/sends?channel=cams-shop").await;
    let sends = sends["sends"].as_array().unwrap().clone();
    assert_eq!(sends.len(), 3);
    assert_eq!(sends[0]["to"], "62810000003", "the newest first");
    assert_eq!(sends[0]["template"], json!({"code": "promo", "language": "id"}));
    assert!(sends[0]["message_id"].as_str().unwrap().starts_with("wamid."));
    assert!(!sends[0]["life"].as_array().unwrap().is_empty());
    assert_eq!(emulated.get("inspect/sends?limit=1").await["sends"].as_array().unwrap().len(), 1);
    emulated.whatsapp.flush().await.unwrap();
    let webhooks = emulated.get("inspect/webhooks").await;
    let first = &webhooks["webhooks"][0];
    assert_eq!((&first["status"], &first["fault"]), (&json!(200), &Value::Null));
    assert_eq!(first["body"]["object"], "whatsapp_business_account");

    let mut stranger = Caller::new("LTAInobody", "x", "n");
    let now = emulated.source.now();
    let call = stranger.call(&mut emulated.lane, "EnableWhatsappROIMetric", &[], now).await;
    assert!(matches!(call, Err(CallError::Refused { status: 404, .. })), "{call:?}");
    let errors = emulated.get("inspect/errors").await;
    let error = &errors["errors"][0];
    assert_eq!(error["code"], "InvalidAccessKeyId.NotFound");
    assert_eq!(error["action"], "EnableWhatsappROIMetric");
    assert_eq!(error["access_key_id"], "LTAInobody");
    assert_eq!(emulated.get("inspect/errors?key=LTAIother").await["errors"], json!([]));

    let book = emulated.get("inspect/book?channel=cams-shop&by=half_hour").await;
    assert_eq!(book["messages"], 5);
    let rows = book["channels"][0]["rows"].as_array().unwrap();
    let sent: i64 = rows
        .iter()
        .filter(|row| row["phone_number"].is_string())
        .map(|row| row["sent"].as_i64().unwrap())
        .sum();
    assert!(sent > 0 && sent <= 3);
    for (target, part) in [
        ("inspect/sends?channel=cams-none", "`cams-none`"),
        ("inspect/sends?key=LTAInobody", "`LTAInobody`"),
        ("inspect/book?by=week", "`half_hour`"),
        ("inspect/sends?most=1", "`limit`"),
    ] {
        let (status, answer) = emulated.ask("GET", target, "").await;
        assert_eq!(status, 400, "{target}");
        assert!(answer["error"].as_str().unwrap().contains(part), "{target}: {answer}");
    }
    emulated.stop().await;
}

#[tokio::test]
async fn a_page_of_another_site_turns_nothing() {
    let mut emulated = started().await;
    for (name, value, is_foreign) in [
        ("origin", "https://evil.example", true),
        ("origin", "null", true),
        ("origin", &format!("http://{}", emulated.lane.host()), false),
        ("sec-fetch-site", "cross-site", true),
        ("sec-fetch-site", "none", false),
    ] {
        let asked = twoticks_emulator::post::Asked {
            method: "POST".parse().unwrap(),
            target: "/_twoticks/clock?advance=1s".to_owned(),
            headers: vec![(name.to_owned(), value.as_bytes().to_vec())],
            body: Vec::new().into(),
        };
        let status = emulated.lane.ask(&asked).await.unwrap().status;
        assert_eq!(status == 403, is_foreign, "{name}: {value}");
    }
    emulated.stop().await;
}

/// The bodies of everything that is told of a send, in order.
async fn bodies(emulated: &mut Emulated) -> Vec<Value> {
    emulated.put_templates().await;
    emulated.send("cams-shop", 0, PROMO, 1, 20).await;
    emulated.whatsapp.flush().await.unwrap();
    let webhooks = emulated.get("inspect/webhooks?limit=1000").await;
    webhooks["webhooks"].as_array().unwrap().iter().map(|it| it["body"].clone()).collect()
}

#[tokio::test]
async fn a_reset_forgets_everything_and_the_same_seed_gives_the_same_bytes() {
    let mut emulated = started().await;
    let answer = emulated.post("reset?seed=7", "").await;
    assert_eq!(answer, json!({"reset": true, "seed": 7, "key": null}));
    let first = bodies(&mut emulated).await;
    emulated.opt_in("cams-shop").await;
    assert!(first.len() > 5);
    // The clock behind begins where it was at first, so that times are the same.
    emulated.source.set(START);
    emulated.post("reset?seed=7", "").await;
    assert_eq!(emulated.get("inspect/sends").await["sends"], json!([]));
    assert_eq!(emulated.get("clock").await["pending"], 0);
    assert_eq!(emulated.app.ledger.counters().entries, 0);
    let row = emulated.app.ledger.channel(&channel("cams-shop")).await.unwrap();
    assert_eq!(row.opted_in(), None);
    assert_eq!(bodies(&mut emulated).await, first);
    emulated.source.set(START);
    emulated.post("reset?seed=8", "").await;
    assert_ne!(bodies(&mut emulated).await, first);
    emulated.source.set(START);
    emulated.post("reset", "").await;
    assert_eq!(emulated.get("config").await["seed"], 8, "it stays what it was");
    let (_, why) = emulated.refused("reset?seed=many", "").await;
    assert!(why.contains("whole number"), "{why}");
    emulated.stop().await;
}

#[tokio::test]
async fn a_reset_waits_for_webhooks_in_flight_and_none_of_them_counts_afterwards() {
    let mut emulated =
        Emulated::start(Config { chaos: Chaos::of(&Profile::ALL), ..Config::default() }).await;
    for round in 0..4 {
        for (id, ..) in CHANNELS {
            emulated.send(id, 0, PROMO, round * 100, 60).await;
        }
        let whatsapp = emulated.whatsapp.clone();
        let far = whatsapp.clock().now().plus(20 * DAY);
        let telling = async {
            whatsapp.advance(far).await.unwrap();
        };
        let resetting = async {
            // So that some of it is under way.
            while whatsapp.read_book(|book| book.cells(&channel("cams-shop"), None)).is_empty() {
                tokio::task::yield_now().await;
            }
            emulated.post("reset", "").await
        };
        tokio::join!(telling, resetting);
        let pending = emulated.whatsapp.pending().0;
        assert_eq!(pending, 0, "round {round}");
        emulated.compare("after a reset").await;
        assert_eq!(emulated.app.ledger.counters().events, 0, "round {round}");
        emulated.put_templates().await;
    }
    emulated.stop().await;
}

async fn any_key(secret: Option<&str>) -> Emulated {
    let any_key = AnyKey { secret: secret.map(|text| Secret::new(text).unwrap()) };
    Emulated::start_with(Config::default(), Settings::default(), Some(any_key)).await
}

#[tokio::test]
async fn any_key_is_an_account_of_its_own_that_sees_nothing_of_the_others() {
    let mut emulated = any_key(None).await;
    emulated.post("config?outcome=sent", "").await;
    let fixture = r#"{"templates": [{"code": "hi", "language": "en", "category": "marketing"}]}"#;
    let one = emulated.post("fixtures?key=test-one", fixture).await;
    let other = emulated.post("fixtures?key=test-two", fixture).await;
    assert_ne!(one["account"], other["account"]);
    assert_ne!(one["channel"], other["channel"]);
    assert_ne!(one["numbers"][0]["phone_number"], other["numbers"][0]["phone_number"]);
    let mut callers = ["test-one", "test-two"].map(|key| Caller::new(key, "whatever", key));
    let now = emulated.source.now();
    for caller in &mut callers {
        let enabled = caller.call(&mut emulated.lane, "EnableWhatsappROIMetric", &[], now).await;
        assert_eq!(enabled.unwrap()["Code"], "OK");
    }
    let from = one["numbers"][0]["phone_number"].as_str().unwrap();
    let send = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("TemplateCode", "hi"),
        ("From", from),
        ("To", "62811111111"),
    ];
    let sent = callers[0].call(&mut emulated.lane, "SendChatappMessage", &send, now).await;
    assert!(sent.unwrap()["MessageId"].is_string());
    let foreign = callers[1].call(&mut emulated.lane, "SendChatappMessage", &send, now).await;
    assert!(matches!(foreign, Err(CallError::Refused { .. })), "another's number");
    emulated.whatsapp.flush().await.unwrap();
    let (start, end) = (START.0.to_string(), (START.0 + DAY).to_string());
    let metric = [("Start", start.as_str()), ("End", end.as_str())];
    let mut rows = Vec::new();
    for caller in &mut callers {
        let action = "GetChatappPhoneNumberMetric";
        let answer = caller.call(&mut emulated.lane, action, &metric, now).await.unwrap();
        rows.push(answer["Data"].as_array().unwrap().len());
    }
    assert_eq!(rows, [1, 0]);
    assert_eq!(emulated.get("inspect/sends?key=test-two").await["sends"], json!([]));
    let sends = emulated.get("inspect/sends?key=test-one").await;
    assert_eq!(sends["sends"].as_array().unwrap().len(), 1);

    let (status, why) = emulated.refused("fixtures?key=t1", "{}").await;
    assert_eq!(status, 400);
    assert!(why.contains("`t1`") && why.contains("4 to 128"), "{why}");
    let (_, answer) = emulated.ask("GET", "inspect/sends?key=test-none", "").await;
    assert!(answer["error"].as_str().unwrap().contains("the first call with it"), "{answer}");
    let (status, why) = emulated
        .refused(
            "fixtures?key=test-two",
            &format!(r#"{{"numbers": [{{"phone_number": "{from}"}}]}}"#),
        )
        .await;
    assert_eq!(status, 409);
    assert!(why.contains("another account's"), "{why}");
    let (_, why) = emulated.refused("reset?key=test-nine", "").await;
    assert!(why.contains("`test-nine`"), "{why}");
    emulated.post("reset?key=test-one", "").await;
    assert_eq!(emulated.get("inspect/sends?key=test-one").await["sends"], json!([]));
    let fresh = emulated.get("fixtures?key=test-one").await;
    assert_eq!((&fresh["account"], &fresh["templates"]), (&one["account"], &json!([])));
    assert_ne!(fresh["channel"], one["channel"]);
    emulated.stop().await;
}

#[tokio::test]
async fn an_account_that_was_reset_gets_nothing_back_that_was_counted_before() {
    let mut emulated = any_key(None).await;
    emulated.post("config?outcome=read", "").await;
    let named = |id: &str, number: &str| {
        format!(
            r#"{{"channels": [{{"id": "{id}"}}],
                "numbers": [{{"channel": "{id}", "phone_number": "{number}"}}],
                "templates": [{{"channel": "{id}", "code": "hi", "language": "en",
                               "category": "marketing"}}]}}"#
        )
    };
    emulated.post("fixtures?key=test-one", &named("cams-own", "15550100091")).await;
    let first = emulated.get("fixtures?key=test-one").await;
    emulated.post("reset?key=test-one", "").await;
    let (status, why) =
        emulated.refused("fixtures?key=test-one", &named("cams-own", "15550100091")).await;
    assert_eq!(status, 409);
    assert!(why.contains("`cams-own`") && why.contains("reset without `key`"), "{why}");
    let second = emulated.get("fixtures?key=test-one").await;
    assert_eq!(second["channels"].as_array().unwrap().len(), 1, "nothing was loaded");
    assert_ne!(first["channels"], second["channels"]);
    emulated.post("fixtures?key=test-one", &named("cams-other", "15550100091")).await;
    emulated.post("reset", "").await;
    emulated.post("fixtures?key=test-one", &named("cams-own", "15550100091")).await;

    let (status, why) = emulated.refused(&format!("reset?key={}", KEY.0), "").await;
    assert_eq!(status, 409);
    assert!(why.contains("from the start"), "{why}");
    emulated.stop().await;
}

#[tokio::test]
async fn any_key_with_a_secret_still_has_to_sign_with_it() {
    let mut emulated = any_key(Some("the-secret")).await;
    let now = emulated.source.now();
    for (secret, is_good) in [("the-secret", true), ("another", false)] {
        let mut caller = Caller::new("test-three", secret, secret);
        let called = caller.call(&mut emulated.lane, "EnableWhatsappROIMetric", &[], now).await;
        assert_eq!(called.is_ok(), is_good, "{secret}: {called:?}");
    }
    // The account that was there keeps its own.
    emulated.opt_in("cams-shop").await;
    assert_eq!(emulated.get("config").await["checks_signatures"], true);
    emulated.stop().await;
}

#[tokio::test]
async fn two_first_calls_with_a_new_key_make_one_account() {
    let emulated = any_key(None).await;
    let address = emulated.lane.address();
    let now = emulated.source.now();
    let calls = (0..8).map(|index| async move {
        let mut lane = twoticks_emulator::post::Lane::new(address);
        let mut caller = Caller::new("test-new", "x", &index.to_string());
        let (start, end) = (START.0.to_string(), START.0.to_string());
        let form = [("Start", start.as_str()), ("End", end.as_str())];
        caller.call(&mut lane, "GetChatappPhoneNumberMetric", &form, now).await.unwrap()
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| answer["Code"] == "OK"));
    assert_eq!(emulated.app.directory.snapshot().accounts().count(), 2);
    emulated.stop().await;
}
