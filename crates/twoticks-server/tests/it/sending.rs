//! The sends: what is recorded, what the carrier gets, what the caller is told.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::Level;
use twoticks_core::event::{Event, Source, Status};
use twoticks_core::query::{Query, Select};
use twoticks_core::window::Window;
use twoticks_server::carrier::{Carrier, Outgoing, Refused};
use twoticks_server::settings::Settings;
use twoticks_store::ledger::{Entry, Kind};

use crate::harness::{How, Made, Reply, Server, Who};
use crate::tenants::{CHANNEL, NUMBER, OTHER_NUMBER, TEMPLATE, channel_id};

const SINGLE: &str = "SendChatappMessage";
const MASS: &str = "SendChatappMassMessage";
const TO: &str = "8613900000001";

/// Remembers what it is given and refuses recipients that end in 0.
#[derive(Default)]
struct Scripted(Mutex<Vec<Outgoing>>);

#[async_trait]
impl Carrier for Scripted {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<String, Refused>> {
        self.0.lock().unwrap().extend_from_slice(messages);
        messages
            .iter()
            .map(|message| match message.to.as_str() {
                to if to.ends_with("00") => Err(Refused::Unavailable("no line".to_owned())),
                to if to.ends_with('0') => Err(Refused::Rejected("not on WhatsApp".to_owned())),
                to => Ok(format!("wamid.{to}")),
            })
            .collect()
    }
}

async fn start() -> (Server, Arc<Scripted>) {
    let carrier = Arc::new(Scripted::default());
    let made = Made { carrier: carrier.clone(), ..Made::default() };
    (Server::start_with(made).await, carrier)
}

async fn single(server: &Server, to: &str) -> Reply {
    let params = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("From", NUMBER),
        ("To", to),
        ("TemplateCode", TEMPLATE),
        ("TemplateParams", r#"{"name":"王"}"#),
        ("TaskId", "task-1"),
    ];
    server.call(Who::Root, SINGLE, &params).await
}

async fn mass(server: &Server, list: &Value) -> Reply {
    let list = list.to_string();
    let params = [
        ("ChannelType", "whatsapp"),
        ("From", NUMBER),
        ("TemplateCode", TEMPLATE),
        ("Language", "en"),
        ("SenderList", list.as_str()),
    ];
    server.call(Who::Root, MASS, &params).await
}

async fn entries(server: &Server) -> Vec<Entry> {
    server.app.ledger.entries(1, 100).await.unwrap()
}

fn body(entry: &Entry) -> Value {
    serde_json::from_slice(&entry.batch.body).unwrap()
}

#[tokio::test]
async fn a_send_is_in_the_journal_before_the_carrier_has_it_and_again_behind() {
    let (server, carrier) = start().await;
    let reply = single(&server, TO).await;
    assert_eq!(reply.json()["MessageId"], format!("wamid.{TO}"), "{}", reply.text());
    let entries = entries(&server).await;
    let kinds: Vec<Kind> = entries.iter().map(|entry| entry.batch.kind).collect();
    assert_eq!(kinds, [Kind::Send, Kind::Accepted]);
    assert_eq!(entries[0].batch.group, entries[1].batch.group);
    assert!(!entries[0].batch.group.as_ref().unwrap().contains("wamid"), "it has a number inside");
    let wanted = body(&entries[0]);
    assert_eq!(wanted["recipients"][0]["to"], TO);
    assert_eq!(wanted["recipients"][0]["parameters"]["TemplateParams"], json!({"name": "王"}));
    assert_eq!(wanted["call"]["TaskId"], "task-1");
    let listing = body(&entries[1]);
    let told = json!([{"place": 0, "to": TO, "message_id": format!("wamid.{TO}")}]);
    assert_eq!(listing["recipients"], told);
    let [Event::Message(event)] = entries[1].batch.events.as_slice() else { panic!("one event") };
    assert_eq!(event.status, Some(Status::Accepted));
    let claim = event.claim.as_ref().unwrap();
    assert_eq!(claim.source, Source::Send);
    assert_eq!(claim.template.as_ref().unwrap().code.as_str(), TEMPLATE);

    let sent = carrier.0.lock().unwrap().clone();
    assert_eq!(sent[0].sign.as_deref(), Some("tt1:1100000000000001:en"));
    assert_eq!(sent[0].parameters["Payload"], json!(["tt1:1100000000000001:en"]));
    server.stop().await;
}

#[tokio::test]
async fn what_the_carrier_took_is_counted_at_once() {
    let (server, _) = start().await;
    single(&server, TO).await;
    let span =
        Window { from: twoticks_core::totals::Atom(0), to: twoticks_core::totals::Atom(i32::MAX) };
    let query = Query {
        channel: channel_id(CHANNEL),
        select: Select::Templates { code: None, language: None, category: None },
        side: None,
        windows: vec![span],
    };
    let points = server.app.ledger.series(query).await.unwrap();
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].totals.accepted, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_mass_send_lists_every_recipient_under_its_group() {
    let (server, carrier) = start().await;
    let list: Vec<Value> = (1..=1_000).map(|n| json!({"To": format!("86139{n:08}")})).collect();
    let reply = mass(&server, &json!(list)).await;
    let group = reply.json()["GroupMessageId"].as_str().unwrap().to_owned();
    let entries = server.app.ledger.group(&channel_id(CHANNEL), &group).await.unwrap();
    assert_eq!(entries.len(), 2);
    let listing = body(&entries[1]);
    let recipients = listing["recipients"].as_array().unwrap();
    assert_eq!(recipients.len(), 1_000);
    assert_eq!(recipients[0]["message_id"], "wamid.8613900000001");
    assert_eq!(recipients[9]["refused"], "the carrier refused the message: not on WhatsApp");
    assert_eq!(entries[1].batch.events.len(), 900);
    assert_eq!(carrier.0.lock().unwrap().len(), 1_000);
    let foreign = channel_id("cams-other");
    assert_eq!(server.app.ledger.group(&foreign, &group).await.unwrap(), []);
    server.stop().await;
}

#[tokio::test]
async fn a_list_has_one_to_a_thousand_recipients() {
    let (server, _) = start().await;
    let list = |n: usize| json!(vec![json!({"To": TO}); n]);
    for (given, code) in [
        (list(0), "InvalidSenderList"),
        (list(1), "OK"),
        (list(1_000), "OK"),
        (list(1_001), "InvalidSenderList"),
        (json!({"To": TO}), "InvalidSenderList"),
        (json!([TO]), "InvalidSenderList"),
        (json!([{}]), "MissingTo"),
        (json!("text"), "InvalidSenderList"),
        (json!(null), "MissingSenderList"),
    ] {
        let reply = mass(&server, &given).await;
        let shown: String = given.to_string().chars().take(40).collect();
        assert_eq!(reply.code(), code, "{shown}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_list_may_be_flattened_and_in_the_form() {
    let (server, carrier) = start().await;
    let params = [
        ("ChannelType", "whatsapp"),
        ("From", NUMBER),
        ("TemplateName", "template_1100000000000001"),
        ("Language", "en"),
        ("SenderList.1.To", TO),
        ("SenderList.1.Payload.1", "mine"),
        ("SenderList.2.To", "ID.abc123"),
        ("SenderList.2.RecipientType", "userId"),
        ("SenderList.2.TemplateParams.name", "Al"),
    ];
    let how = How { form: true, v1: true, ..How::default() };
    let reply = server.call_how(Who::Root, MASS, &params, &how).await;
    assert_eq!(reply.code(), "OK", "{}", reply.text());
    let sent = carrier.0.lock().unwrap().clone();
    assert_eq!(sent[0].parameters["Payload"], json!(["tt1:1100000000000001:en|mine"]));
    assert_eq!(sent[1].parameters["TemplateParams"], json!({"name": "Al"}));
    assert_eq!(sent[1].parameters["RecipientType"], "userId");
    server.stop().await;
}

#[tokio::test]
async fn what_the_carrier_refuses_is_refused() {
    let (mut server, _) = start().await;
    server.expect_errors();
    assert_eq!(single(&server, "8613900000010").await.code(), "InvalidParameter.MessageInvalid");
    let reply = single(&server, "8613900000100").await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "ServiceUnavailable"));
    assert!(!reply.text().contains("no line"), "the cause is for the log");
    assert!(server.log.of(Level::ERROR)[0].contains("no line"));
    let all = json!([{"To": "8613900000010"}, {"To": "8613900000020"}]);
    assert_eq!(mass(&server, &all).await.code(), "InvalidParameter.MessageInvalid");
    let some = json!([{"To": "8613900000010"}, {"To": TO}]);
    assert_eq!(mass(&server, &some).await.code(), "OK");
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_sent_that_cannot_be_recorded() {
    let (mut server, carrier) = start().await;
    server.expect_errors();
    server.app.ledger.close().await.unwrap();
    let reply = single(&server, TO).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "ServiceUnavailable"));
    assert!(carrier.0.lock().unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_number_of_another_tenant_is_as_unknown_as_one_that_is_not_there() {
    let (server, carrier) = start().await;
    let mut answers = Vec::new();
    for from in [OTHER_NUMBER, "999999999"] {
        let params = [
            ("ChannelType", "whatsapp"),
            ("Type", "message"),
            ("MessageType", "text"),
            ("Content", r#"{"text":"hello"}"#),
            ("From", from),
            ("To", TO),
        ];
        let reply = server.call(Who::Root, SINGLE, &params).await.json();
        answers.push((reply["Code"].clone(), reply["Message"].clone()));
    }
    assert_eq!(answers[0].0, "InvalidFrom");
    assert_eq!(answers[0], answers[1]);
    assert!(carrier.0.lock().unwrap().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_told_so_and_leaves_nothing_half_done() {
    /// Takes its time: until the test says so.
    struct Slow {
        begun: Semaphore,
        done: Semaphore,
    }
    #[async_trait]
    impl Carrier for Slow {
        async fn send(&self, messages: &[Outgoing]) -> Vec<Result<String, Refused>> {
            self.begun.add_permits(1);
            self.done.acquire().await.unwrap().forget();
            messages.iter().map(|message| Ok(format!("wamid.{}", message.to))).collect()
        }
    }
    let carrier = Arc::new(Slow { begun: Semaphore::new(0), done: Semaphore::new(0) });
    let mut settings = Settings::default();
    settings.limits.request_seconds_max = 0;
    let made = Made { settings, carrier: carrier.clone(), ..Made::default() };
    let mut server = Server::start_with(made).await;
    server.expect_errors();
    let reply = single(&server, TO).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "ServiceUnavailable"));
    carrier.begun.acquire().await.unwrap().forget();
    assert_eq!(entries(&server).await.len(), 1, "the carrier has not answered");
    carrier.done.add_permits(1);
    while entries(&server).await.len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(entries(&server).await[1].batch.kind, Kind::Accepted);
    server.stop().await;
}
