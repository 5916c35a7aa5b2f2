//! What WhatsApp tells, passed on to real receivers on good and on bad days.

mod shared;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tracing::Level;
use twoticks_core::clock::Clock as _;
use twoticks_core::event::Event;
use twoticks_server::control::pass_on::{Command as PassOn, Receipts, SigningKey};
use twoticks_server::control::{Command, SecretText, execute};
use twoticks_server::outside::guard::Networks;
use twoticks_server::settings::Settings;
use twoticks_store::cursors::Cursors;
use twoticks_store::directory::Change;
use twoticks_store::directory::model::{Channel, StatusSource};
use twoticks_store::directory::names::Secret;
use twoticks_store::directory::pass_on::{Callbacks, Step, Webhooks};
use twoticks_store::embedded::Embedded;
use twoticks_store::keys::Keys;
use twoticks_store::ledger::Ledger;
use twoticks_wire::webhook::cams;
use twoticks_wire::webhook::meta::{sign, verify};

use crate::harness::{Made, Server, Who};
use crate::moody::{Asked, Moody};
use crate::receiver::{Answer, Receiver, TAKEN};
use crate::tenants::{
    self, CHANNEL, NUMBER, OTHER_CHANNEL, OTHER_NUMBER, SECOND_NUMBER, channel_id,
};

const MINUTE: i64 = 60_000;
/// The time of what is told: 2026-11-23T12:00:00Z, in seconds.
const AT: &str = "1795435200";

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.outside.networks = Networks::try_from("127.0.0.0/8".to_owned()).unwrap();
    settings.outside.http = true;
    settings
}

fn secret(text: &str) -> Secret {
    Secret::new(text).unwrap()
}

/// Receipts of both kinds of a channel go to `receiver`.
fn receipts(channel: &str, receiver: &Receiver) -> Change {
    let callbacks = Callbacks {
        enabled: true,
        status_url: Some(secret(&receiver.url("/status"))),
        inbound_url: Some(secret(&receiver.url("/inbound"))),
    };
    Change::PassOn(channel_id(channel), Step::Callbacks(None, Some(callbacks)))
}

fn webhooks(channel: &str, receiver: &Receiver, key: Option<&str>) -> Change {
    let webhooks = Webhooks { url: secret(&receiver.url("/raw")), key: key.map(secret) };
    Change::PassOn(channel_id(channel), Step::PutWebhooks(webhooks))
}

async fn start(changes: Vec<Change>) -> Server {
    Server::start_with(Made { settings: settings(), changes, ..Made::default() }).await
}

/// A server over a ledger that has its moods.
async fn moody(changes: Vec<Change>) -> (Arc<Moody>, Server) {
    let ledger = Arc::new(Moody::default());
    let made = Arc::clone(&ledger) as Arc<dyn Ledger>;
    let made = Made { settings: settings(), changes, ledger: made, ..Made::default() };
    (ledger, Server::start_with(made).await)
}

fn change_of(number: &str, value: Value) -> Value {
    let mut value = value;
    value["messaging_product"] = "whatsapp".into();
    value["metadata"] =
        json!({"display_phone_number": number, "phone_number_id": format!("id{number}")});
    json!({"field": "messages", "value": value})
}

fn status(number: &str, wamid: &str, said: &str) -> Value {
    change_of(
        number,
        json!({"statuses": [{"id": wamid, "status": said, "timestamp": AT,
            "recipient_id": "8613900000001", "biz_opaque_callback_data": "tt1:1100000000000001:en",
            "pricing": {"category": "marketing"}}]}),
    )
}

fn text(number: &str, body: &str) -> Value {
    change_of(
        number,
        json!({"messages": [{"id": "wamid.in", "from": "8613900000001", "timestamp": AT,
            "type": "text", "text": {"body": body}}],
            "contacts": [{"wa_id": "8613900000001", "profile": {"name": "Ada"}}]}),
    )
}

fn body_of(changes: &[Value]) -> String {
    // Written as nobody would write it again, so that its bytes are its own.
    let entry = json!([{"id": "3000", "changes": changes}]);
    format!("{{ \"object\":\"whatsapp_business_account\",  \"entry\":{entry} }}\n")
}

async fn post(server: &Server, channel: &str, body: &str) {
    let signature = sign(format!("app-secret-of-{channel}").as_bytes(), body.as_bytes());
    let head = format!(
        "POST /webhooks/whatsapp HTTP/1.1\r\nhost: x\r\nx-hub-signature-256: {signature}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let reply = server.raw(format!("{head}{body}").as_bytes()).await.remove(0);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

async fn tell(server: &Server, changes: &[Value]) {
    post(server, CHANNEL, &body_of(changes)).await;
}

/// Waits until the first of `what` of all destinations together is so many, and nothing is behind.
async fn until(server: &Server, what: &str, count: u64) -> Vec<Value> {
    loop {
        let rows = listed(server).await;
        let sum: u64 = rows.iter().map(|row| row[what].as_u64().unwrap()).sum();
        if sum == count && rows.iter().all(|row| row["behind"] == 0) {
            return rows;
        }
        tokio::task::yield_now().await;
    }
}

async fn listed(server: &Server) -> Vec<Value> {
    let list = Command::PassOn(PassOn::List { channel: None });
    execute(&server.app, list).await.unwrap().as_array().unwrap().clone()
}

fn turn(server: &Server, milliseconds: i64) {
    server.clock.set(server.clock.now().plus(milliseconds));
    server.app.pass_on.ring();
}

#[tokio::test]
async fn receipts_and_webhooks_are_passed_on_once_and_signed() {
    let mut receiver = Receiver::start([TAKEN]).await;
    let key = Step::ReceiptsKey(Some(secret("the key of receipts")));
    let server = start(vec![
        receipts(CHANNEL, &receiver),
        webhooks(CHANNEL, &receiver, Some("another key")),
        Change::PassOn(channel_id(CHANNEL), key),
    ])
    .await;
    let body = body_of(&[
        status(NUMBER, "wamid.1", "delivered"),
        status(SECOND_NUMBER, "wamid.2", "sent"),
        text(NUMBER, "hello"),
    ]);
    post(&server, CHANNEL, &body).await;
    receiver.wait_for(3).await;
    let rows = until(&server, "taken", 3).await;
    assert!(rows.iter().all(|row| row["open"] == 0 && row["failing"].is_null()), "{rows:?}");
    let posts = receiver.posts();
    assert_eq!(posts.len(), 3);
    for post in &posts {
        assert_eq!(post.header("content-type"), Some("application/json; charset=utf-8"));
        let own = post.header("x-twoticks-signature-256").map(str::as_bytes);
        let hub = post.header("x-hub-signature-256").map(str::as_bytes);
        let keys: &[&[u8]] = &[b"the key of receipts", b"another key"];
        match post.path.as_str() {
            "/raw" => {
                assert_eq!(post.body, body.as_bytes(), "byte for byte");
                let app = format!("app-secret-of-{CHANNEL}");
                assert_eq!(verify(&[app.as_bytes()], &post.body, hub), Ok(0));
                assert_eq!(verify(keys, &post.body, own), Ok(1));
            }
            "/status" => {
                assert_eq!((verify(keys, &post.body, own), hub), (Ok(0), None));
                let told = post.json();
                assert_eq!(told.as_array().unwrap().len(), 2);
                assert_eq!(
                    told[0],
                    json!({"MessageId": "wamid.1", "Status": "Delivered",
                        "Timestamp": 1_795_435_200_000_i64, "From": NUMBER, "To": "8613900000001",
                        "MsgFrameType": "template", "TaskId": "wamid.1",
                        "ConversationType": "marketing", "TemplateCode": "1100000000000001",
                        "TemplateName": "template_1100000000000001", "Language": "en"})
                );
                assert_eq!(
                    (&told[1]["From"], &told[1]["Status"]),
                    (&json!(SECOND_NUMBER), &json!("Sent"))
                );
                assert_eq!(cams::parse(&post.body).unwrap().len(), 2);
            }
            "/inbound" => {
                assert_eq!(verify(keys, &post.body, own), Ok(0));
                assert_eq!(
                    post.json(),
                    json!([{"MessageId": "wamid.in", "CustSpaceId": CHANNEL, "WabaId": "3000",
                        "From": "8613900000001", "To": NUMBER, "Name": "Ada", "DisplayName": "Ada",
                        "Timestamp": 1_795_435_200_000_i64, "NoticeType": "inbound",
                        "Type": "TEXT", "Message": "hello"}])
                );
            }
            other => panic!("{other}"),
        }
    }
    let metrics = server.get("/metrics", &[]).await.text();
    for line in [
        r#"twoticks_pass_on_total{form="webhooks",outcome="taken"} 1"#,
        r#"twoticks_pass_on_waiting{channel="cams-one"} 0"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_after_1_5_and_10_minutes_and_given_up() {
    let mut receiver = Receiver::start([Answer::Say(500, "")]).await;
    let server = start(vec![receipts(CHANNEL, &receiver)]).await;
    tell(&server, &[status(NUMBER, "wamid.1", "sent")]).await;
    for (tries, minutes) in [(1, 1), (2, 5), (3, 10)] {
        receiver.wait_for(tries).await;
        until(&server, "failed", tries as u64).await;
        turn(&server, minutes * MINUTE - 1);
        // Whatever is due has been seen to when this one was taken in and looked at.
        tell(&server, &[]).await;
        until(&server, "failed", tries as u64).await;
        assert_eq!(receiver.posts().len(), tries, "not before {minutes} minutes");
        turn(&server, 1);
    }
    receiver.wait_for(4).await;
    let rows = until(&server, "given_up", 1).await;
    let row = rows.iter().find(|row| row["form"] == "status").unwrap();
    assert_eq!((&row["open"], &row["failed"], &row["taken"]), (&json!(0), &json!(4), &json!(0)));
    assert_eq!(row["failing"], "it answered with status 500");
    assert_eq!(row["to"], format!("http://{}/…", receiver.address));
    // The next one is taken at the second try.
    receiver.say([Answer::Say(500, ""), TAKEN]);
    tell(&server, &[status(NUMBER, "wamid.2", "sent")]).await;
    until(&server, "failed", 5).await;
    turn(&server, MINUTE);
    let rows = until(&server, "taken", 1).await;
    assert!(rows.iter().all(|row| row["failing"].is_null()), "{rows:?}");
    assert_eq!(receiver.posts().len(), 6);
    let warnings = server.log.of(Level::WARN).join("\n");
    assert_eq!(warnings.matches("given up").count(), 1, "{warnings}");
    let log = server.log.all();
    for private in ["8613900000001", "wamid", "/status", NUMBER] {
        assert!(!log.contains(private), "{private} in {log}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_receipt_is_taken_when_the_answer_has_code_0() {
    for answer in [
        Answer::Say(200, ""),
        Answer::Say(200, "ok"),
        Answer::Say(200, r#"{"code":1}"#),
        Answer::Say(200, r#"{"code":"0"}"#),
        Answer::Say(204, ""),
        Answer::Flood,
    ] {
        let mut receiver = Receiver::start([answer]).await;
        let changes = vec![receipts(CHANNEL, &receiver), webhooks(CHANNEL, &receiver, None)];
        let server = start(changes).await;
        tell(&server, &[status(NUMBER, "wamid.1", "sent")]).await;
        receiver.wait_for(2).await;
        until(&server, "taken", 1).await;
        let rows = until(&server, "failed", 1).await;
        let failed: Vec<_> = rows.iter().filter(|row| row["failed"] == 1).collect();
        assert_eq!(failed[0]["form"], "status", "{answer:?}");
        assert_eq!(failed[0]["failing"], "it answered without `\"code\":0`", "{answer:?}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_post_does_not_wait_for_what_is_read_next() {
    let mut receiver = Receiver::start([TAKEN]).await;
    let (ledger, server) = moody(vec![webhooks(CHANNEL, &receiver, None)]).await;
    ledger.hold_entries(Asked::Single, Some(1));
    ledger.hold_entries(Asked::Page, Some(2));
    tell(&server, &[text(NUMBER, "hello")]).await;
    ledger.is_holding(Asked::Single).await;
    tell(&server, &[text(NUMBER, "hello")]).await;
    ledger.is_holding(Asked::Page).await;
    ledger.hold_entries(Asked::Single, None);
    receiver.wait_for(1).await;
    ledger.hold_entries(Asked::Page, None);
    receiver.wait_for(2).await;
    until(&server, "taken", 2).await;
    server.stop().await;
}

#[tokio::test]
async fn what_is_damaged_in_the_journal_is_passed_over_and_counted() {
    let mut receiver = Receiver::start([TAKEN]).await;
    let (ledger, mut server) = moody(vec![webhooks(CHANNEL, &receiver, None)]).await;
    server.expect_errors();
    // More than are passed over at once.
    ledger.damage(2..=203);
    for _ in 1..=204 {
        tell(&server, &[text(NUMBER, "hello")]).await;
    }
    until(&server, "skipped", 202).await;
    let rows = until(&server, "taken", 2).await;
    assert_eq!((&rows[0]["open"], &rows[0]["failing"]), (&json!(0), &Value::Null));
    // One that is damaged before it could be tried again.
    receiver.say([Answer::Say(500, ""), TAKEN]);
    tell(&server, &[text(NUMBER, "hello")]).await;
    until(&server, "failed", 1).await;
    ledger.damage([205]);
    turn(&server, MINUTE);
    until(&server, "skipped", 203).await;
    assert_eq!(receiver.wait_for(3).await.len(), 3);
    assert!(server.log.of(Level::ERROR).join("\n").contains("is not passed on"));
    server.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_nobody() {
    let hanging = Receiver::start([Answer::Hang]).await;
    let mut other = Receiver::start([TAKEN]).await;
    let server =
        start(vec![webhooks(CHANNEL, &hanging, None), webhooks(CHANNEL, &other, None)]).await;
    for _ in 0..20 {
        tell(&server, &[text(NUMBER, "hello")]).await;
    }
    other.wait_for(20).await;
    // The one that hangs has no more connections than it may have, and the rest waits.
    let rows = listed(&server).await;
    assert!(hanging.posts().len() <= 4, "{}", hanging.posts().len());
    assert!(rows.iter().any(|row| row["open"].as_u64() >= Some(16)), "{rows:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_number_has_callbacks_of_its_own() {
    let (mut of_channel, mut of_number) =
        (Receiver::start([TAKEN]).await, Receiver::start([TAKEN]).await);
    let server = start(vec![receipts(CHANNEL, &of_channel)]).await;
    let own = of_number.url("/own");
    let params = [("PhoneNumber", SECOND_NUMBER), ("StatusCallbackUrl", own.as_str())];
    let reply = server.call(Who::Root, "UpdatePhoneWebhook", &params).await;
    assert_eq!(reply.code(), "OK");
    let numbers = server.call(Who::Root, "QueryChatappPhoneNumbers", &[]).await.json();
    let numbers = numbers["PhoneNumbers"].as_array().unwrap();
    let of = |number: &str| numbers.iter().find(|it| it["PhoneNumber"] == number).unwrap();
    assert_eq!(of(SECOND_NUMBER)["StatusCallbackUrl"], own);
    assert_eq!(of(SECOND_NUMBER)["UpCallbackUrl"], of_channel.url("/inbound"));
    assert_eq!(of(NUMBER)["StatusCallbackUrl"], of_channel.url("/status"));
    let told = [status(NUMBER, "wamid.1", "sent"), status(SECOND_NUMBER, "wamid.2", "sent")];
    tell(&server, &told).await;
    let posts = of_number.wait_for(1).await;
    assert_eq!(posts[0].json()[0]["MessageId"], "wamid.2");
    assert_eq!(posts[0].json().as_array().unwrap().len(), 1);
    let posts = of_channel.wait_for(1).await;
    assert_eq!(posts[0].json()[0]["MessageId"], "wamid.1");
    assert_eq!(posts[0].json().as_array().unwrap().len(), 1);
    // A call that says nothing changes nothing, also of a number without callbacks of its own.
    for (number, status) in [(SECOND_NUMBER, own.clone()), (NUMBER, of_channel.url("/status"))] {
        let params = [("PhoneNumber", number)];
        assert_eq!(server.call(Who::Root, "UpdatePhoneWebhook", &params).await.code(), "OK");
        let numbers = server.call(Who::Root, "QueryChatappPhoneNumbers", &[]).await.json();
        let numbers = numbers["PhoneNumbers"].as_array().unwrap();
        let known = numbers.iter().find(|it| it["PhoneNumber"] == number).unwrap();
        assert_eq!(known["StatusCallbackUrl"], status);
    }
    // Turned off for the number alone.
    let params = [("PhoneNumber", SECOND_NUMBER), ("HttpFlag", "N")];
    assert_eq!(server.call(Who::Root, "UpdatePhoneWebhook", &params).await.code(), "OK");
    tell(&server, &told).await;
    until(&server, "taken", 2).await;
    assert_eq!(of_channel.wait_for(2).await[1].json().as_array().unwrap().len(), 1);
    assert_eq!(of_number.posts().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_changes_takes_over_and_one_that_goes_is_said() {
    let away = Receiver::start([Answer::Say(500, "")]).await;
    let mut new = Receiver::start([TAKEN]).await;
    let server = start(vec![receipts(CHANNEL, &away)]).await;
    for wamid in ["wamid.1", "wamid.2"] {
        tell(&server, &[status(NUMBER, wamid, "sent")]).await;
    }
    until(&server, "failed", 2).await;
    let url = new.url("/status");
    let params = [("StatusCallbackUrl", url.as_str())];
    assert_eq!(server.call(Who::Root, "UpdateAccountWebhook", &params).await.code(), "OK");
    turn(&server, MINUTE);
    until(&server, "taken", 2).await;
    assert_eq!(new.wait_for(2).await.len(), 2);
    assert!(!server.log.all().contains("goes with it"));
    tell(&server, &[text(NUMBER, "hello")]).await;
    until(&server, "failed", 1).await;
    let forget = PassOn::ForgetReceipts { channel: channel_id(CHANNEL), number: None };
    execute(&server.app, Command::PassOn(forget)).await.unwrap();
    let warnings = server.log.of(Level::WARN).join("\n");
    assert_eq!(warnings.matches("goes with it").count(), 1, "{warnings}");
    server.stop().await;
}

/// The channel as it is in the tests.
fn channel_of(id: &str) -> Channel {
    let everything = tenants::everything().into_iter();
    let mut known = everything.filter_map(|change| match change {
        Change::AddChannel(known) if known.id == channel_id(id) => Some(known),
        _ => None,
    });
    known.next().unwrap()
}

#[tokio::test]
async fn another_twoticks_counts_the_receipts() {
    let status_source = StatusSource::Receipts;
    let taking = Change::UpdateChannel(Channel { status_source, ..channel_of(CHANNEL) });
    let other = start(vec![taking]).await;
    let server = start(Vec::new()).await;
    let url = format!("http://{}/webhooks/cams/receipts-secret-of-{CHANNEL}", other.address);
    let params = [("StatusCallbackUrl", url.as_str()), ("UpCallbackUrl", url.as_str())];
    assert_eq!(server.call(Who::Root, "UpdateAccountWebhook", &params).await.code(), "OK");
    let failed = change_of(
        NUMBER,
        json!({"statuses": [{"id": "wamid.2", "status": "failed", "timestamp": AT,
            "recipient_id": "8613900000002", "errors": [{"code": 131_026, "title": "undeliverable"}]}]}),
    );
    let media = change_of(
        NUMBER,
        json!({"messages": [{"id": "wamid.3", "from": "8613900000001", "timestamp": AT,
            "type": "image", "image": {"id": "4711", "mime_type": "image/jpeg", "caption": "look"}}]}),
    );
    let tap = change_of(
        NUMBER,
        json!({"messages": [{"id": "wamid.4", "from": "8613900000001", "timestamp": AT,
            "type": "button", "button": {"text": "Yes", "payload": "more"},
            "context": {"id": "wamid.1"}}]}),
    );
    tell(&server, &[status(NUMBER, "wamid.1", "delivered"), failed, media, tap]).await;
    until(&server, "taken", 2).await;
    let entries = other.app.ledger.entries(1, 10).await.unwrap();
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.batch.dead.is_empty()), "{entries:?}");
    let events: Vec<Event> = entries.into_iter().flat_map(|entry| entry.batch.events).collect();
    let said = |event: &Event| match event {
        Event::Message(it) => format!("{:?} {:?} {}", it.status, it.error, it.claim.is_some()),
        Event::Tap(it) => format!("tap {}", it.button.text),
        other => format!("{other:?}"),
    };
    let mut said: Vec<String> = events.iter().map(said).collect();
    said.sort();
    assert_eq!(said, ["Some(Delivered) None true", "Some(Failed) Some(131026) false", "tap Yes"]);
    server.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn of_a_channel_whose_statuses_come_from_cams_inbound_messages_are_posted() {
    let mut receiver = Receiver::start([TAKEN]).await;
    let status_source = StatusSource::Receipts;
    let taking = Change::UpdateChannel(Channel { status_source, ..channel_of(CHANNEL) });
    let server = start(vec![taking, receipts(CHANNEL, &receiver)]).await;
    tell(&server, &[status(NUMBER, "wamid.1", "delivered"), text(NUMBER, "hello")]).await;
    until(&server, "taken", 1).await;
    assert_eq!(receiver.wait_for(1).await[0].path, "/inbound");
    server.stop().await;
}

#[tokio::test]
async fn a_destination_begins_when_it_was_put_there() {
    let mut receiver = Receiver::start([TAKEN]).await;
    let server = start(Vec::new()).await;
    tell(&server, &[text(NUMBER, "before")]).await;
    let url = SecretText(receiver.url("/raw"));
    let add = |key| {
        let (channel, url) = (channel_id(CHANNEL), url.clone());
        Command::PassOn(PassOn::AddWebhooks { channel, url, key })
    };
    let added = execute(&server.app, add(SigningKey::New)).await.unwrap();
    let key = added["key"].as_str().unwrap().to_owned();
    assert!(!added.to_string().contains("/raw"), "{added}");
    tell(&server, &[text(NUMBER, "after")]).await;
    let posts = receiver.wait_for(1).await;
    assert!(String::from_utf8_lossy(&posts[0].body).contains("after"));
    let own = posts[0].header("x-twoticks-signature-256").map(str::as_bytes);
    assert_eq!(verify(&[key.as_bytes()], &posts[0].body, own), Ok(0));
    until(&server, "taken", 1).await;
    // Not signed any more; then not passed on any more.
    execute(&server.app, add(SigningKey::None)).await.unwrap();
    tell(&server, &[text(NUMBER, "unsigned")]).await;
    assert_eq!(receiver.wait_for(2).await[1].header("x-twoticks-signature-256"), None);
    let id = until(&server, "taken", 2).await[0]["id"].as_str().unwrap().to_owned();
    let to = SecretText(id);
    let remove = Command::PassOn(PassOn::RemoveWebhooks { channel: channel_id(CHANNEL), to });
    execute(&server.app, remove.clone()).await.unwrap();
    let refused = execute(&server.app, remove).await.unwrap_err().to_string();
    assert!(refused.contains("pass-on list"), "{refused}");
    tell(&server, &[text(NUMBER, "to nobody")]).await;
    assert_eq!(listed(&server).await, Vec::<Value>::new());
    assert_eq!(receiver.posts().len(), 2);
    server.stop().await;
}

/// A server on what was there before.
async fn again(folder: &Path, changes: Vec<Change>) -> Server {
    let keys = Arc::new(Keys::from_bytes([7; 32]));
    let ledger = Arc::new(Embedded::open(folder, keys).unwrap());
    let cursors = Some(Cursors::open(&folder.join("pass-on")).unwrap());
    let settings = settings();
    Server::start_with(Made { settings, ledger, changes, cursors, ..Made::default() }).await
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start([TAKEN]).await;
    let changes = || vec![webhooks(CHANNEL, &receiver, None)];
    let server = again(folder.path(), changes()).await;
    tell(&server, &[text(NUMBER, "one")]).await;
    until(&server, "taken", 1).await;
    receiver.say([Answer::Say(503, "")]);
    tell(&server, &[text(NUMBER, "two")]).await;
    until(&server, "failed", 1).await;
    server.stop().await;
    receiver.say([TAKEN]);
    let server = again(folder.path(), changes()).await;
    tell(&server, &[text(NUMBER, "three")]).await;
    let rows = until(&server, "taken", 1).await;
    assert_eq!(rows[0]["open"], 1, "the second one waits for its minute");
    turn(&server, MINUTE);
    until(&server, "taken", 2).await;
    let posts = receiver.wait_for(4).await;
    let told = |post: &crate::receiver::Post| {
        post.json()["entry"][0]["changes"][0]["value"]["messages"][0]["text"]["body"].clone()
    };
    assert_eq!(posts.iter().map(told).collect::<Vec<_>>(), ["one", "two", "three", "two"]);
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_posted_into_the_operators_network() {
    let mut receiver = Receiver::start([TAKEN]).await;
    let url = receiver.url("/status");
    // Put there while it was allowed.
    let changes = vec![webhooks(CHANNEL, &receiver, None)];
    let mut settings = settings();
    settings.outside.networks = Networks::default();
    let server = Server::start_with(Made { settings, changes, ..Made::default() }).await;
    let private = "http://169.254.169.254/latest/meta-data/iam";
    for given in [url.as_str(), private, "http://[::ffff:127.0.0.1]/", "file:///etc/passwd"] {
        let params = [("StatusCallbackUrl", given)];
        let reply = server.call(Who::Root, "UpdateAccountWebhook", &params).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidStatusCallbackUrl"));
        assert!(!reply.text().contains(given), "{}", reply.text());
        let receipts = Receipts {
            channel: channel_id(CHANNEL),
            number: None,
            status_url: Some(SecretText(given.to_owned())),
            inbound_url: None,
            enabled: None,
        };
        let command = Command::PassOn(PassOn::Receipts(receipts));
        let refused = execute(&server.app, command).await.unwrap_err().to_string();
        assert!(refused.contains("will not do") && !refused.contains(given), "{refused}");
    }
    // A name may lead anywhere; where it leads is looked at when something is posted.
    let named = format!("http://localhost:{}/", receiver.address.port());
    let params = [("StatusCallbackUrl", named.as_str())];
    assert_eq!(server.call(Who::Root, "UpdateAccountWebhook", &params).await.code(), "OK");
    tell(&server, &[status(NUMBER, "wamid.1", "sent")]).await;
    let rows = until(&server, "failed", 2).await;
    for row in rows {
        let why = row["failing"].as_str().unwrap();
        assert!(why.contains("a network that is not public"), "{why}");
    }
    assert_eq!(receiver.posts().len(), 0);
    server.stop().await;
    // A redirect is not followed, wherever it leads.
    let redirecting = Receiver::start([Answer::Redirect(receiver.address)]).await;
    let server = start(vec![webhooks(CHANNEL, &redirecting, None)]).await;
    tell(&server, &[status(NUMBER, "wamid.1", "sent")]).await;
    let rows = until(&server, "failed", 1).await;
    assert_eq!(rows[0]["failing"], "it answered with status 307");
    assert_eq!((redirecting.posts().len(), receiver.posts().len()), (1, 0));
    server.stop().await;
    receiver.say([TAKEN]);
    receiver.wait_for(0).await;
}
