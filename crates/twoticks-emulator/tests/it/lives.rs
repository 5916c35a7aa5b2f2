//! What messages, templates and numbers live through, and what can be watched by turning the clock.

use serde_json::{Value, json};
use twoticks_core::clock::{Clock as _, DAY, SECOND, Time};
use twoticks_core::event::Category;
use twoticks_emulator::book::Book;
use twoticks_emulator::book::Subject;
use twoticks_emulator::chaos::{Chaos, Profile};
use twoticks_emulator::meta::Version;
use twoticks_emulator::whatsapp::{Config, Standing};
use twoticks_server::settings::{Freshness, Settings};

use crate::harness::{Emulated, MOVED, PROMO, START, channel, template};

const HOUR: i64 = 3_600 * SECOND;

async fn started() -> Emulated {
    Emulated::start(Config::default()).await
}

/// Sends one message; what the life of it is.
async fn send_one(emulated: &mut Emulated, to: &str, more: &[(&str, &str)]) -> Vec<Value> {
    let mut form = vec![
        ("ChannelType", "whatsapp"),
        ("CustSpaceId", "cams-shop"),
        ("From", "628110000001"),
        ("To", to),
    ];
    form.extend_from_slice(more);
    if !more.iter().any(|(name, _)| *name == "Type") {
        form.extend([("Type", "template"), ("TemplateCode", PROMO.0), ("Language", PROMO.1)]);
    }
    emulated.call("SendChatappMessage", &form).await;
    let sends = emulated.get("inspect/sends?limit=1").await;
    sends["sends"][0]["life"].as_array().unwrap().clone()
}

fn whats(life: &[Value]) -> Vec<String> {
    life.iter().map(|step| step["what"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn lives_end_as_they_are_told_to() {
    let mut emulated = started().await;
    for (outcome, expected) in [
        ("accepted", &[] as &[&str]),
        ("sent", &["sent"]),
        ("delivered", &["sent", "delivered"]),
        ("read", &["sent", "delivered", "read"]),
        ("tapped", &["sent", "delivered", "read", "tapped"]),
    ] {
        emulated.post(&format!("config?outcome={outcome}"), "").await;
        let life = send_one(&mut emulated, "62811111111", &[]).await;
        assert_eq!(whats(&life), expected, "{outcome}");
    }
    emulated.post("config?outcome=read", "").await;
    // A number that ends in a code of Meta's fails with it, whatever else is set.
    let life = send_one(&mut emulated, "62810131049", &[]).await;
    assert_eq!(life.last().unwrap()["code"], 131_049);
    emulated.post("config?outcome=failed:131026", "").await;
    let life = send_one(&mut emulated, "62811111111", &[]).await;
    assert_eq!(life.last().unwrap()["code"], 131_026);
    emulated.whatsapp.flush().await.unwrap();
    emulated.compare("lives that end as told").await;
    emulated.stop().await;
}

#[tokio::test]
async fn a_free_form_message_needs_a_window_that_a_tap_opens() {
    let mut emulated = started().await;
    let text = [("Type", "message"), ("MessageType", "text"), ("Content", r#"{"text":"hi"}"#)];
    let life = send_one(&mut emulated, "62811111111", &text).await;
    assert_eq!(life.last().unwrap()["code"], 131_047);
    emulated.post("config?outcome=tapped", "").await;
    send_one(&mut emulated, "62811111111", &[]).await;
    emulated.post("config?outcome=life", "").await;
    emulated.advance(12 * HOUR).await;
    let life = send_one(&mut emulated, "62811111111", &text).await;
    assert_ne!(life.last().unwrap()["code"], 131_047, "{life:?}");
    emulated.advance(6 * DAY).await;
    let life = send_one(&mut emulated, "62811111111", &text).await;
    assert_eq!(life.last().unwrap()["code"], 131_047, "the window is over");
    emulated.whatsapp.flush().await.unwrap();
    emulated.compare("free-form").await;
    emulated.stop().await;
}

/// The webhook bodies so far that have `part` in them, the oldest first.
async fn told(emulated: &mut Emulated, part: &str) -> Vec<Value> {
    let webhooks = emulated.get("inspect/webhooks?limit=1000").await;
    let all = webhooks["webhooks"].as_array().unwrap().clone();
    let bodies = all.into_iter().rev().map(|mut it| it["body"].take());
    bodies.filter(|body| body.to_string().contains(part)).collect()
}

/// A fixture with the template `new`, which has `more` in it.
fn fixture(more: &str) -> String {
    format!(
        r#"{{"templates": [{{"channel": "cams-shop", "code": "new", "language": "id", {more}}}]}}"#
    )
}

#[tokio::test]
async fn a_template_is_reviewed_paused_and_moved_and_each_is_told() {
    let mut emulated = started().await;
    let pending = fixture(r#""category": "utility", "status": "pending""#);
    emulated.post("fixtures", &pending).await;
    let send = [("TemplateCode", "new"), ("Language", "id"), ("Type", "template")];
    let form: Vec<(&str, &str)> = [
        ("ChannelType", "whatsapp"),
        ("CustSpaceId", "cams-shop"),
        ("From", "628110000001"),
        ("To", "62811111111"),
    ]
    .into_iter()
    .chain(send)
    .collect();
    let now = emulated.source.now();
    let call = emulated.caller.call(&mut emulated.lane, "SendChatappMessage", &form, now).await;
    assert!(call.unwrap_err().to_string().contains("MessageInvalid"), "it is not approved yet");
    let sends = emulated.get("inspect/sends?limit=1").await;
    assert!(sends["sends"][0]["refused"].as_str().unwrap().contains("#132001"));
    emulated.advance(DAY).await;
    let reviews = told(&mut emulated, "message_template_status_update").await;
    assert_eq!(reviews.len(), 1, "{reviews:?}");
    let event = &reviews[0]["entry"][0]["changes"][0]["value"]["event"];
    assert!(["APPROVED", "REJECTED"].contains(&event.as_str().unwrap()), "{event}");

    emulated.post("fixtures", &fixture(r#""category": "utility", "status": "approved""#)).await;
    emulated.call("SendChatappMessage", &form).await;
    emulated.post("fixtures", &fixture(r#""category": "utility", "status": "paused""#)).await;
    let now = emulated.source.now();
    let call = emulated.caller.call(&mut emulated.lane, "SendChatappMessage", &form, now).await;
    assert!(call.is_err(), "it is paused");
    emulated.advance(HOUR).await;
    let paused = told(&mut emulated, "PAUSED").await;
    assert_eq!(paused.len(), 1);
    assert_eq!(paused[0]["entry"][0]["changes"][0]["value"]["other_info"]["title"], "FIRST_PAUSE");
    let dropped = told(&mut emulated, "132015").await;
    assert_eq!(dropped.len(), 1, "what had not gone out yet never does");

    let later = (emulated.whatsapp.clock().now().0 + 2 * DAY).to_string();
    let moved =
        format!(r#""category": "marketing", "status": "approved", "category_from": {later}"#);
    emulated.post("fixtures", &fixture(&moved)).await;
    emulated.advance(HOUR).await;
    let changes = told(&mut emulated, "template_category_update").await;
    let announced = changes.last().unwrap()["entry"][0]["changes"][0]["value"].clone();
    assert_eq!(
        (&announced["new_category"], &announced["correct_category"]),
        (&json!("UTILITY"), &json!("MARKETING"))
    );
    emulated.advance(3 * DAY).await;
    let changes = told(&mut emulated, "previous_category").await;
    let done = changes.last().unwrap()["entry"][0]["changes"][0]["value"].clone();
    assert_eq!(
        (&done["previous_category"], &done["new_category"]),
        (&json!("UTILITY"), &json!("MARKETING"))
    );
    let history = emulated.app.ledger.channel(&channel("cams-shop")).await.unwrap();
    let now = emulated.whatsapp.clock().now();
    assert_eq!(history.category(&template(("new", "id")), now), Some(Category::Marketing));
    emulated.whatsapp.flush().await.unwrap();
    emulated.compare("templates that change").await;
    emulated.stop().await;
}

#[tokio::test]
async fn webhooks_follow_the_version_that_is_chosen() {
    for (version, conversation, users) in
        [("v22.0", true, false), ("v23", true, false), ("24", false, false), ("v26.0", false, true)]
    {
        let config = Config { version: Version::parse(version).unwrap(), ..Config::default() };
        let mut emulated = Emulated::start(config).await;
        emulated.post("config?outcome=tapped", "").await;
        send_one(&mut emulated, "62811111111", &[]).await;
        emulated.whatsapp.flush().await.unwrap();
        let all = told(&mut emulated, "statuses").await;
        let text = Value::from(all).to_string();
        assert_eq!(text.contains("\"conversation\""), conversation, "{version}");
        assert_eq!(text.contains("recipient_user_id"), users, "{version}");
        assert_eq!(text.contains("\"contacts\""), users, "{version}");
        assert!(text.contains("\"pricing\"") && text.contains("biz_opaque_callback_data"));
        emulated.stop().await;
    }
}

#[tokio::test]
async fn the_day_after_can_be_watched_coming() {
    let mut settings = Settings::default();
    settings.cams.freshness = Freshness::NextDay;
    let mut emulated = Emulated::start_with(Config::default(), settings, None).await;
    emulated.opt_in("cams-shop").await;
    emulated.post("config?outcome=sent", "").await;
    emulated.send("cams-shop", 0, PROMO, 1, 10).await;
    emulated.whatsapp.flush().await.unwrap();
    let (start, end) = ((START.0 - DAY).to_string(), (START.0 + 10 * DAY).to_string());
    let metric = [
        ("CustSpaceId", "cams-shop"),
        ("TemplateCode", PROMO.0),
        ("Start", start.as_str()),
        ("End", end.as_str()),
        ("Granularity", "DAILY"),
    ];
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = emulated.call("GetChatappTemplateMetric", &metric).await;
        let rows = answer["Data"].as_array().unwrap().clone();
        seen.push(rows.iter().map(|row| row["SentCount"].as_i64().unwrap()).sum::<i64>());
        emulated.post("clock?advance=12h", "").await;
    }
    assert_eq!(seen[0], 0, "not on the same day: {seen:?}");
    assert_eq!(seen[3], 10, "the day after: {seen:?}");
    emulated.stop().await;
}

#[tokio::test]
async fn what_is_told_when_its_message_is_long_forgotten_is_late_and_counts_nowhere_else() {
    let mut emulated = started().await;
    emulated.opt_in("cams-shop").await;
    emulated.post("config?outcome=read", "").await;
    emulated.send("cams-shop", 0, PROMO, 1, 30).await;
    // Nobody takes webhooks for the first days; then the rest of them is told after the horizon.
    emulated.advance(20 * SECOND).await;
    let told_at_first = emulated.counted("cams-shop").await;
    assert!(!told_at_first.is_empty());
    emulated.whatsapp.clock().set(START.plus(46 * DAY)).unwrap();
    emulated.whatsapp.flush().await.unwrap();
    let sent = emulated.compare("after the horizon").await;
    assert!(sent > 0);
    let late = emulated.app.ledger.counters().late;
    assert!(late > 20, "{late}");
    emulated.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_away_is_told_everything_when_it_is_back() {
    let mut emulated = started().await;
    let address = emulated.lane.address();
    emulated.opt_in("cams-bank").await;
    emulated.send("cams-bank", 0, PROMO, 1, 60).await;
    emulated.whatsapp.listen_at("127.0.0.1:1".parse().unwrap()).await;
    emulated.advance(6 * HOUR).await;
    assert_eq!(emulated.counted("cams-bank").await.len(), 0);
    let webhooks = emulated.get("inspect/webhooks?limit=1").await;
    assert!(webhooks["webhooks"][0]["no_answer"].as_str().unwrap().contains("failed"));
    emulated.whatsapp.listen_at(address).await;
    emulated.whatsapp.flush().await.unwrap();
    assert!(emulated.compare("after an outage").await > 50);
    let lost = emulated.whatsapp.read_book(Book::lost);
    assert_eq!(lost, 0);
    emulated.stop().await;
}

#[tokio::test]
async fn what_nobody_takes_for_a_week_is_given_up() {
    let mut emulated = started().await;
    let address = emulated.lane.address();
    emulated.post("config?outcome=sent", "").await;
    emulated.send("cams-bank", 0, PROMO, 1, 5).await;
    emulated.whatsapp.listen_at("127.0.0.1:1".parse().unwrap()).await;
    emulated.advance(9 * DAY).await;
    emulated.whatsapp.listen_at(address).await;
    emulated.whatsapp.flush().await.unwrap();
    assert_eq!(emulated.whatsapp.read_book(Book::lost), 5);
    assert_eq!(emulated.compare("given up").await, 0);
    emulated.stop().await;
}

#[tokio::test]
async fn in_real_time_webhooks_come_by_themselves() {
    let mut emulated =
        Emulated::start(Config { chaos: Chaos::of(&[Profile::Batch]), ..Config::default() }).await;
    emulated.post("config?outcome=sent", "").await;
    emulated.send("cams-shop", 0, PROMO, 1, 40).await;
    // The clock behind stands still, so it is told when that is moved.
    emulated.source.set(emulated.source.now().plus(DAY));
    let whatsapp = emulated.whatsapp.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let stopping = stop.clone();
    let running = async move { whatsapp.run(&stopping).await };
    let watching = async {
        while emulated.whatsapp.pending().0 > 0 {
            tokio::task::yield_now().await;
        }
        // Whoever delivers has the turn until it is entered.
        emulated.whatsapp.advance(emulated.whatsapp.clock().now()).await.unwrap();
        stop.cancel();
    };
    tokio::join!(running, watching);
    assert_eq!(emulated.compare("in real time").await, 40);
    emulated.stop().await;
}

#[tokio::test]
async fn a_template_moved_at_once_counts_in_its_new_category_from_then_on() {
    let mut emulated = started().await;
    emulated.opt_in("cams-bank").await;
    emulated.send("cams-bank", 0, MOVED, 1, 30).await;
    emulated.advance(HOUR).await;
    let of = (channel("cams-bank"), template(MOVED));
    emulated.whatsapp.put_template(&of.0, &of.1, Category::Marketing, Standing::Approved);
    emulated.advance(HOUR).await;
    emulated.send("cams-bank", 0, MOVED, 100, 30).await;
    emulated.whatsapp.flush().await.unwrap();
    emulated.compare("moved at once").await;
    let counted = emulated.counted("cams-bank").await;
    let categories: std::collections::BTreeSet<String> =
        counted.keys().map(|cell| format!("{:?}", cell.subject)).collect();
    assert_eq!(categories.len(), 3, "the number, and the template in both: {categories:?}");
    emulated.stop().await;
}

#[tokio::test]
async fn an_opt_in_of_the_past_counts_what_was_sent_since() {
    let mut emulated = started().await;
    emulated.post("config?outcome=tapped", "").await;
    emulated.send("cams-shop", 0, PROMO, 1, 20).await;
    emulated.advance(2 * HOUR).await;
    let middle = emulated.whatsapp.clock().now();
    emulated.send("cams-shop", 0, PROMO, 100, 30).await;
    emulated.whatsapp.flush().await.unwrap();
    // Of several the earliest stands.
    for (time, sent) in [(middle, 30), (START, 50), (middle.plus(HOUR), 50)] {
        let time = time.0;
        let fixture = format!(r#"{{"opt_ins": [{{"channel": "cams-shop", "time": {time}}}]}}"#);
        emulated.post("fixtures", &fixture).await;
        emulated.opted_in("cams-shop", Time(time));
        emulated.compare("an opt-in of the past").await;
        let counted = emulated.counted("cams-shop").await;
        let of_number = counted
            .iter()
            .filter(|(cell, _)| cell.counts && matches!(cell.subject, Subject::Number(_)));
        assert_eq!(of_number.map(|(_, sums)| sums.sent).sum::<i64>(), sent, "{time}");
    }
    emulated.stop().await;
}

#[tokio::test]
async fn a_window_is_open_however_its_number_is_written() {
    let mut emulated = started().await;
    let text = [("Type", "message"), ("MessageType", "text"), ("Content", r#"{"text":"hi"}"#)];
    emulated.post("config?outcome=tapped", "").await;
    send_one(&mut emulated, "+62811111111", &[]).await;
    emulated.whatsapp.flush().await.unwrap();
    emulated.post("config?outcome=life", "").await;
    for to in ["62811111111", "+62811111111"] {
        let life = send_one(&mut emulated, to, &text).await;
        assert_ne!(life.last().unwrap()["code"], 131_047, "{to}");
    }
    emulated.stop().await;
}

#[tokio::test]
async fn what_happens_to_a_template_in_the_meantime_is_not_undone() {
    let mut emulated = started().await;
    // Somebody approves it before its review: the review does not come any more.
    emulated.post("fixtures", &fixture(r#""category": "utility", "status": "pending""#)).await;
    emulated.post("fixtures", &fixture(r#""category": "utility", "status": "approved""#)).await;
    emulated.advance(3 * DAY).await;
    assert_eq!(told(&mut emulated, "message_template_status_update").await.len(), 1);
    // It is paused before it is moved: it stays paused.
    let later = emulated.whatsapp.clock().now().0 + DAY;
    let moved = format!(r#""category": "marketing", "category_from": {later}"#);
    emulated.post("fixtures", &fixture(&moved)).await;
    let of = (channel("cams-shop"), template(("new", "id")));
    emulated.whatsapp.stand(&of.0, &of.1, Standing::Paused);
    emulated.advance(2 * DAY).await;
    let history = emulated.app.ledger.channel(&of.0).await.unwrap();
    let now = emulated.whatsapp.clock().now();
    assert_eq!(history.category(&of.1, now), Some(Category::Marketing));
    let form = [
        ("ChannelType", "whatsapp"),
        ("CustSpaceId", "cams-shop"),
        ("From", "628110000001"),
        ("To", "62811111111"),
        ("Type", "template"),
        ("TemplateCode", "new"),
        ("Language", "id"),
    ];
    let now = emulated.source.now();
    let call = emulated.caller.call(&mut emulated.lane, "SendChatappMessage", &form, now).await;
    assert!(call.is_err(), "it is paused still");
    emulated.stop().await;
}

#[tokio::test]
async fn groups_are_charged_by_categories_of_their_own_and_have_the_same_members_each_time() {
    let mut emulated = started().await;
    emulated.post("config?outcome=delivered", "").await;
    let group = [
        ("Type", "template"),
        ("TemplateCode", PROMO.0),
        ("Language", PROMO.1),
        ("RecipientType", "group"),
    ];
    send_one(&mut emulated, "Y2FwaV9ncm91cDo", &group).await;
    send_one(&mut emulated, "Y2FwaV9ncm91cDo", &group).await;
    emulated.whatsapp.flush().await.unwrap();
    emulated.compare("groups").await;
    let statuses = told(&mut emulated, "statuses").await;
    let text = Value::from(statuses.clone()).to_string();
    assert!(text.contains("\"group_marketing\"") && !text.contains("\"marketing\""), "{text}");
    let mut members: Vec<String> = statuses
        .iter()
        .flat_map(|body| body["entry"].as_array().unwrap())
        .flat_map(|entry| entry["changes"][0]["value"]["statuses"].as_array().unwrap())
        .filter(|status| status["status"] == "delivered")
        .map(|status| status["recipient_participant_id"].as_str().unwrap().to_owned())
        .collect();
    let all = members.len();
    members.sort_unstable();
    members.dedup();
    assert_eq!(all, 2 * members.len());
    assert!((3..=8).contains(&members.len()));
    emulated.stop().await;
}
