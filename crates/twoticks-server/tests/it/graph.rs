//! Channels that are connected with WhatsApp: what the Graph API is asked, and what comes of its
//! answers on good and on bad days.
//!
//! [`Double`] is a Graph API that answers what a test has it answer. A faithful one is the
//! emulator's; its tests are there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Level;
use twoticks_core::event::{Event, Source};
use twoticks_core::ids::Text;
use twoticks_server::control::channels::Command as Channels;
use twoticks_server::control::feed::Command as Data;
use twoticks_server::control::{Command, SecretText, execute};
use twoticks_server::graph::connect::Connect;
use twoticks_server::settings::Settings;
use twoticks_store::directory::Change;
use twoticks_store::directory::model::{Channel, Connection};
use twoticks_store::directory::names::Secret;
use twoticks_store::ledger::{Batch, Kind, Ledger as _};
use twoticks_store::memory::MemoryLedger;
use twoticks_store::outbox::Outbox;

use crate::harness::{Made, NOON, Reply, Server, Who};
use crate::tenants::{CHANNEL, NUMBER, TEMPLATE, channel_id};

const TOKEN: &str = "EAAB-a-token";

/// What a double answers.
#[derive(Clone, Debug)]
enum Answer {
    /// It takes the message, under a wamid of its own.
    Take,
    /// A status and a body.
    Say(u16, String),
    /// It reads the request and hangs up.
    HangUp,
}

fn error(code: i64, message: &str) -> String {
    json!({"error": {"code": code, "message": message, "error_data": {"details": message}}})
        .to_string()
}

/// A request as a double got it.
#[derive(Clone, Debug)]
struct Got {
    line: String,
    authorization: String,
    body: Value,
}

#[derive(Default)]
struct Script {
    answers: VecDeque<Answer>,
    got: Vec<Got>,
    /// What is not about messages: a part of the path, and what is answered.
    fixed: Vec<(&'static str, Answer)>,
}

/// A Graph API that answers what it was told to; what it was not told about it takes.
struct Double {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    count: watch::Receiver<usize>,
    _serving: JoinSet<()>,
}

impl Double {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let (counted, count) = watch::channel(0);
        let (of, counted) = (Arc::clone(&script), Arc::new(counted));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&of), Arc::clone(&counted)));
            }
        });
        Self { address, script, count, _serving: serving }
    }

    fn say(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().answers.extend(answers);
    }

    fn fix(&self, path: &'static str, status: u16, body: &Value) {
        let answer = Answer::Say(status, body.to_string());
        // What is fixed later goes first.
        self.script.lock().unwrap().fixed.insert(0, (path, answer));
    }

    fn got(&self) -> Vec<Got> {
        self.script.lock().unwrap().got.clone()
    }

    /// Waits until it got so many requests.
    async fn wait_for(&mut self, count: usize) {
        self.count.wait_for(|known| *known >= count).await.unwrap();
    }
}

/// One request after the other on a connection.
async fn serve(
    mut stream: TcpStream,
    script: Arc<Mutex<Script>>,
    counted: Arc<watch::Sender<usize>>,
) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = head {
                let text = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let length = text.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
                if bytes.len() >= end + 4 + length.unwrap_or(0) {
                    break (end, end + 4 + length.unwrap_or(0));
                }
            }
            let mut more = [0; 4096];
            match stream.read(&mut more).await {
                Ok(count) if count > 0 => bytes.extend_from_slice(&more[..count]),
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end.0]).into_owned();
        let line = head.lines().next().unwrap().to_owned();
        let authorization = head
            .lines()
            .find_map(|line| line.strip_prefix("authorization: "))
            .unwrap_or_default()
            .to_owned();
        let body = serde_json::from_slice(&bytes[end.0 + 4..end.1]).unwrap_or_default();
        bytes.drain(..end.1);
        let answer = {
            let mut script = script.lock().unwrap();
            let number = script.got.len();
            script.got.push(Got { line: line.clone(), authorization, body });
            let fixed = script.fixed.iter().find(|(path, _)| line.contains(path));
            let fixed = fixed.map(|(_, answer)| answer.clone());
            let answer = fixed.or_else(|| script.answers.pop_front()).unwrap_or(Answer::Take);
            match answer {
                Answer::Take => {
                    let id = format!("wamid.{number}");
                    let taken = json!({"messaging_product": "whatsapp", "messages": [{"id": id}]});
                    Some((200, taken.to_string()))
                }
                Answer::Say(status, body) => Some((status, body)),
                Answer::HangUp => None,
            }
        };
        counted.send_modify(|count| *count += 1);
        let Some((status, body)) = answer else { return };
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn settings(double: &Double) -> Settings {
    let mut settings = Settings::default();
    settings.graph.url = format!("http://{}", double.address);
    settings.graph.messages_per_second = 1_000;
    settings.graph.retry_ms = 1;
    settings
}

/// The channel, connected.
fn connected() -> Change {
    let everything = crate::tenants::everything();
    let known = everything.into_iter().find_map(|change| match change {
        Change::AddChannel(channel) if channel.id == channel_id(CHANNEL) => Some(channel),
        _ => None,
    });
    let connection = Connection {
        access_token: Secret::new(TOKEN).unwrap(),
        app_id: None,
        marketing_messages: false,
        checked: None,
        problems: Vec::new(),
    };
    Change::UpdateChannel(Channel { connection: Some(connection), ..known.unwrap() })
}

async fn start() -> (Server, Double) {
    let double = Double::start().await;
    let made = Made { settings: settings(&double), changes: vec![connected()], ..Made::default() };
    (Server::start_with(made).await, double)
}

async fn single(server: &Server, to: &str) -> Reply {
    let params = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("From", NUMBER),
        ("To", to),
        ("TemplateCode", TEMPLATE),
        ("TemplateParams", r#"{"1":"Ada","2":"Friday"}"#),
        ("Payload", r#"["more"]"#),
    ];
    server.call(Who::Root, "SendChatappMessage", &params).await
}

async fn mass(server: &Server, count: usize) -> String {
    let one = |place| json!({"To": format!("861390000{place:04}"), "TemplateParams": {"1": "Ada"}});
    let list: Value = (0..count).map(one).collect();
    let list = list.to_string();
    let params = [
        ("ChannelType", "whatsapp"),
        ("From", NUMBER),
        ("TemplateCode", TEMPLATE),
        ("Language", "en"),
        ("SenderList", list.as_str()),
    ];
    let reply = server.call(Who::Root, "SendChatappMassMessage", &params).await;
    reply.json()["GroupMessageId"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
}

/// What is said of the recipients of a group, without what is the same for all.
async fn listed(server: &Server, group: &str) -> Vec<Value> {
    let list = Data::ListMessages { group: group.to_owned(), channel: None };
    let listed = execute(&server.app, Command::Data(list)).await.unwrap();
    let mut listed = listed.as_array().unwrap().clone();
    for recipient in &mut listed {
        let fields = recipient.as_object_mut().unwrap();
        fields.remove("channel");
        fields.remove("accepted");
    }
    listed
}

/// The group of the last send.
async fn last_group(server: &Server) -> String {
    let entries = server.app.ledger.entries(1, 1_000).await.unwrap();
    entries.into_iter().rev().find_map(|entry| entry.batch.group).unwrap()
}

/// Waits until nothing waits in the outbox.
async fn settled(server: &Server) {
    while !server.app.dispatcher.outbox().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_send_is_what_the_graph_api_asks_for_and_its_wamid_is_the_answer() {
    let (server, double) = start().await;
    let reply = single(&server, "8613900000001").await;
    assert_eq!(reply.json()["MessageId"], "wamid.0", "{}", reply.text());
    let got = double.got();
    assert_eq!(got.len(), 1);
    let id = format!("id{NUMBER}");
    assert_eq!(got[0].line, format!("POST /v24.0/{id}/messages HTTP/1.1"));
    assert_eq!(got[0].authorization, format!("Bearer {TOKEN}"));
    let parameters = json!([{"type": "text", "text": "Ada"}, {"type": "text", "text": "Friday"}]);
    let sign = "tt1:1100000000000001:en";
    let expected = json!({
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": "8613900000001",
        "biz_opaque_callback_data": sign, "type": "template",
        "template": {
            "name": "template_1100000000000001",
            "language": {"code": "en", "policy": "deterministic"},
            "components": [
                {"type": "body", "parameters": parameters},
                {"type": "button", "sub_type": "quick_reply", "index": "0",
                 "parameters": [{"type": "payload", "payload": format!("{sign}|more")}]},
            ],
        },
    });
    assert_eq!(got[0].body, expected);
    let entries = server.app.ledger.entries(1, 10).await.unwrap();
    let kinds: Vec<Kind> = entries.iter().map(|entry| entry.batch.kind).collect();
    assert_eq!(kinds, [Kind::Send, Kind::Accepted]);
    let [Event::Message(event)] = entries[1].batch.events.as_slice() else { panic!("one event") };
    assert_eq!(event.claim.as_ref().unwrap().source, Source::Send);
    settled(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn what_meta_refuses_is_refused_with_its_code_and_not_repeated() {
    let (server, double) = start().await;
    for (status, code, answer, name) in [
        (400, 131_026, error(131_026, "Message undeliverable"), "InvalidParameter.MessageInvalid"),
        (400, 131_049, error(131_049, "declined"), "InvalidParameter.MessageInvalid"),
        // An envelope under a 200 is one nevertheless.
        (200, 132_001, error(132_001, "no such template"), "InvalidParameter.MessageInvalid"),
        (400, 999_999, error(999_999, "something new"), "InvalidParameter.MessageInvalid"),
    ] {
        double.say([Answer::Say(status, answer)]);
        let reply = single(&server, "8613900000001").await;
        assert_eq!((reply.status, reply.code()), (400, name.to_owned()), "{code}");
        let message = reply.json()["Message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("Meta {code}")), "{message}");
        settled(&server).await;
        let listed = listed(&server, &last_group(&server).await).await;
        assert_eq!(listed[0]["code"], code);
    }
    assert_eq!(double.got().len(), 4);
    server.stop().await;
}

#[tokio::test]
async fn what_may_work_later_is_tried_again() {
    let (server, double) = start().await;
    for (status, code) in [(500, 2), (400, 131_016), (400, 80_007), (400, 130_429), (400, 131_056)]
    {
        double.say([Answer::Say(status, error(code, "later")), Answer::Take]);
        let before = double.got().len();
        let reply = single(&server, "8613900000001").await;
        assert_eq!(reply.json()["MessageId"], format!("wamid.{}", before + 1), "{code}");
        assert_eq!(double.got().len(), before + 2, "{code}");
    }
    settled(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn what_became_of_it_is_not_known_and_it_is_not_sent_twice() {
    let (server, double) = start().await;
    for answer in [
        Answer::HangUp,
        Answer::Say(502, "<html>bad gateway</html>".to_owned()),
        Answer::Say(200, "{}".to_owned()),
    ] {
        let before = double.got().len();
        double.say([answer]);
        let reply = single(&server, "8613900000001").await;
        settled(&server).await;
        let group = last_group(&server).await;
        // Whoever asked gets our id: the message may be out.
        assert_eq!(reply.json()["MessageId"], group, "{}", reply.text());
        let listed = listed(&server, &group).await;
        assert!(listed[0]["unknown"].is_string(), "{listed:?}");
        assert_eq!(double.got().len(), before + 1);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_mass_send_goes_on_by_itself_and_each_recipient_is_listed() {
    let (server, mut double) = start().await;
    double.say([Answer::Take, Answer::Say(400, error(131_050, "opted out"))]);
    let group = mass(&server, 200).await;
    double.wait_for(200).await;
    settled(&server).await;
    let listed = listed(&server, &group).await;
    assert_eq!(listed.len(), 200);
    let refused = listed.iter().filter(|it| it["code"] == 131_050).count();
    let taken = listed.iter().filter(|it| it["message_id"].is_string()).count();
    assert_eq!((refused, taken), (1, 199));
    let to: Vec<String> = listed.iter().map(|it| it["to"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..200).map(|place| format!("861390000{place:04}")).collect();
    assert_eq!(to, expected);
    server.stop().await;
}

/// What a connect asks besides messages.
fn answer_connect(double: &Double) {
    let app = json!({"whatsapp_business_api_data": {"id": "4711", "name": "Shop"}});
    let scopes = ["whatsapp_business_management", "whatsapp_business_messaging"];
    let token = json!({"data": {"app_id": "4711", "is_valid": true, "expires_at": 0,
        "scopes": scopes}});
    let number = json!({"id": format!("id{NUMBER}"), "display_phone_number": format!("+{NUMBER}"),
        "quality_rating": "GREEN", "status": "CONNECTED"});
    let buttons = json!([{"type": "QUICK_REPLY", "text": "Yes"}]);
    let components = json!([
        {"type": "BODY", "text": "Hello {{1}}"}, {"type": "BUTTONS", "buttons": buttons},
    ]);
    let template = |id: &str, name: &str, language: &str| {
        json!({"id": id, "name": name, "language": language, "status": "APPROVED",
            "category": "MARKETING", "components": components})
    };
    let templates = json!([
        template("9001", "template_1100000000000001", "en"),
        template("9002", "spring", "en"),
        template("9003", "spring", "de"),
    ]);
    double.fix("/debug_token", 200, &token);
    double.fix("/phone_numbers", 200, &json!({"data": [number]}));
    double.fix("/message_templates", 200, &json!({"data": templates}));
    double.fix("/subscribed_apps", 200, &json!({"data": [app]}));
    double.fix("/v24.0/3000?", 200, &json!({"id": "3000", "name": "Shop", "currency": "USD"}));
}

fn connect(token: &str) -> Command {
    Command::Channels(Channels::Connect(Connect {
        channel: channel_id(CHANNEL),
        waba_id: Some(Text::new("3000").unwrap()),
        access_token: Some(SecretText(token.to_owned())),
        app_secret: None,
        verify_token: None,
        callback_url: None,
        marketing_messages: None,
    }))
}

#[tokio::test]
async fn sends_wait_while_the_token_is_revoked_and_go_on_with_a_new_one() {
    let (server, mut double) = start().await;
    double.say([Answer::Take, Answer::Say(401, error(190, "Session has expired"))]);
    // What is with the Graph API at the same time meets the same token.
    double.say((0..62).map(|_| Answer::Say(401, error(190, "Session has expired"))));
    let group = mass(&server, 30).await;
    double.wait_for(2).await;
    let problems = || {
        let snapshot = server.app.directory.snapshot();
        let channel = snapshot.channel(&channel_id(CHANNEL)).unwrap();
        channel.connection.as_ref().unwrap().problems.clone()
    };
    while problems().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(problems()[0].as_str().contains("Meta 190"), "{:?}", problems());
    let waits = listed(&server, &group).await.iter().filter(|it| it["waits"] == true).count();
    assert!(waits >= 14, "{waits} wait");
    {
        let mut script = double.script.lock().unwrap();
        script.answers.clear();
    }
    answer_connect(&double);
    execute(&server.app, connect("EAAB-another")).await.unwrap();
    settled(&server).await;
    let listed = listed(&server, &group).await;
    assert!(listed.iter().all(|it| it["message_id"].is_string()), "{listed:?}");
    assert!(problems().is_empty());
    let warned = server.log.of(Level::WARN).join("\n");
    assert!(warned.contains("wait until its connection"), "{warned}");
    server.stop().await;
}

#[tokio::test]
async fn connecting_reads_numbers_and_templates_and_says_what_is_missing() {
    let (server, double) = start().await;
    answer_connect(&double);
    let connected = execute(&server.app, connect(TOKEN)).await.unwrap();
    assert_eq!(connected["missing"], json!([]), "{connected}");
    assert_eq!((&connected["numbers"], &connected["templates"]), (&json!(1), &json!(3)));
    let snapshot = server.app.directory.snapshot();
    let (channel, english) = (channel_id(CHANNEL), Text::new("en").unwrap());
    // One that is known keeps its code; languages of one name share theirs.
    let known = snapshot.template(&channel, &Text::new(TEMPLATE).unwrap(), &english).unwrap();
    assert_eq!(known.meta_id, Some(Text::new("9001").unwrap()));
    let spring = snapshot.template_languages(&channel, &Text::new("9002").unwrap());
    assert_eq!(spring.len(), 2);
    let history = server.app.ledger.channel(&channel).await.unwrap();
    assert!(history.category(&spring[0].identity(), NOON).is_some());
    let found = double
        .got()
        .iter()
        .any(|got| got.line.contains(TOKEN) && !got.line.contains("input_token"));
    assert!(!found, "a token in an address");
    server.stop().await;
}

#[tokio::test]
async fn what_waited_goes_on_after_a_restart_and_what_was_begun_is_not_sent_twice() {
    let double = Double::start().await;
    let (folder, ledger) = (tempfile::tempdir().unwrap(), Arc::new(MemoryLedger::new()));
    let channel = channel_id(CHANNEL);
    let asked = json!({
        "operation": "SendChatappMassMessage", "request_id": "r", "channel": CHANNEL,
        "from": NUMBER, "template": {"code": TEMPLATE, "language": "en"}, "sign": null, "call": {},
        "recipients": [
            {"to": "8613900000001", "parameters": {}}, {"to": "8613900000002", "parameters": {}},
            {"to": "8613900000003", "parameters": {}}, {"to": "8613900000004", "parameters": {}},
        ],
    });
    let batch = |kind, body: &Value| Batch {
        kind,
        accepted: NOON,
        origin: "test".to_owned(),
        channel: Some(channel.clone()),
        group: Some("g".to_owned()),
        events: Vec::new(),
        dead: Vec::new(),
        resolves: None,
        body: body.to_string().into_bytes(),
    };
    ledger.record(batch(Kind::Send, &asked)).await.unwrap();
    let told =
        json!({"recipients": [{"place": 2, "to": "8613900000003", "message_id": "wamid.x"}]});
    ledger.record(batch(Kind::Accepted, &told)).await.unwrap();
    {
        let outbox = Outbox::open(folder.path()).unwrap();
        outbox.queue(&channel, "g", 4, NOON).await.unwrap();
        // The first was with the Graph API when the process ended; what became of the third is in
        // the journal already.
        outbox.begin(&channel, "g", vec![0, 2]).await.unwrap();
    }
    let outbox = Some(Outbox::open(folder.path()).unwrap());
    let (settings, changes) = (settings(&double), vec![connected()]);
    let made = Made { settings, ledger, outbox, changes, ..Made::default() };
    let server = Server::start_with(made).await;
    settled(&server).await;
    let listed = listed(&server, "g").await;
    assert!(listed[0]["unknown"].is_string(), "{listed:?}");
    assert_eq!(listed[2]["message_id"], "wamid.x");
    assert!(listed[1]["message_id"].is_string() && listed[3]["message_id"].is_string());
    let to: Vec<Value> = double.got().iter().map(|got| got.body["to"].clone()).collect();
    assert_eq!(to.len(), 2);
    assert!(to.contains(&json!("8613900000002")) && to.contains(&json!("8613900000004")));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_points_here_sends_as_before_and_its_template_is_known() {
    let (server, double) = start().await;
    let body = json!({
        "messaging_product": "whatsapp", "to": "8613900000001", "type": "template",
        "template": {"name": "template_1100000000000001", "language": {"code": "en"}},
    });
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer own\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let path = format!("/graph/v23.0/id{NUMBER}/messages?x=1");
    let reply = server.raw(post(&path, &body.to_string()).as_bytes()).await.remove(0);
    assert_eq!(reply.json()["messages"][0]["id"], "wamid.0", "{}", reply.text());
    let got = double.got();
    assert_eq!(got[0].line, format!("POST /v23.0/id{NUMBER}/messages?x=1 HTTP/1.1"));
    assert_eq!((got[0].authorization.as_str(), &got[0].body), ("Bearer own", &body));
    let entries = server.app.ledger.entries(1, 10).await.unwrap();
    let [Event::Message(event)] = entries[0].batch.events.as_slice() else { panic!("one event") };
    let claim = event.claim.as_ref().unwrap();
    assert_eq!(claim.template.as_ref().unwrap().code.as_str(), TEMPLATE);

    // A refusal, and a number that is not ours, go past and are nobody's.
    double.say([Answer::Say(400, error(131_026, "no")), Answer::Take]);
    let reply = server.raw(post(&path, &body.to_string()).as_bytes()).await.remove(0);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!(131_026)));
    let foreign = "/graph/v23.0/999/messages";
    let reply = server.raw(post(foreign, &body.to_string()).as_bytes()).await.remove(0);
    assert_eq!(reply.status, 200);
    // What reads is handed on as well; another host is not.
    double.fix("/v23.0/3000", 200, &json!({"id": "3000"}));
    let reply = server.get("/graph/v23.0/3000?fields=id", &[]).await;
    assert_eq!(reply.json()["id"], "3000");
    let reply = server.get("/graph/http://127.0.0.1:1/x", &[]).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(server.app.ledger.entries(1, 10).await.unwrap().len(), 1);
    server.stop().await;
}

/// A signed webhook of the channel's account with one change.
async fn tell(server: &Server, field: &str, value: &Value) {
    let change = json!({"field": field, "value": value});
    let body = json!({"object": "whatsapp_business_account",
        "entry": [{"id": "3000", "time": 1_795_435_200, "changes": [change]}]})
    .to_string();
    let secret = format!("app-secret-of-{CHANNEL}");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let length = body.len();
    let request = format!(
        "POST /webhooks/whatsapp HTTP/1.1\r\nhost: x\r\nx-hub-signature-256: sha256={signature}\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    let reply = server.raw(request.as_bytes()).await.remove(0);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn what_whatsapp_tells_of_templates_is_seen_in_the_directory() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let status = || {
        let (channel, english) = (channel_id(CHANNEL), Text::new("en").unwrap());
        let snapshot = server.app.directory.snapshot();
        let known = snapshot.template(&channel, &Text::new(TEMPLATE).unwrap(), &english).unwrap();
        known.graph.as_ref().unwrap().status.as_str().to_owned()
    };
    for (event, seen) in [("PAUSED", "PAUSED"), ("FLAGGED", "PAUSED"), ("REINSTATED", "APPROVED")] {
        let told = json!({"event": event, "message_template_id": 9001, "reason": "NONE"});
        tell(&server, "message_template_status_update", &told).await;
        while status() != seen {
            tokio::task::yield_now().await;
        }
    }
    // What a notice does not say, WhatsApp is asked.
    let asked = || double.got().iter().filter(|it| it.line.contains("/message_templates")).count();
    let before = asked();
    let quality = json!({"message_template_id": 9001, "previous_quality_score": "GREEN",
        "new_quality_score": "RED"});
    tell(&server, "message_template_quality_update", &quality).await;
    while asked() == before {
        tokio::task::yield_now().await;
    }
    // A template that is not there any more is not listed any more; what it counted stays.
    {
        let mut script = double.script.lock().unwrap();
        for (path, answer) in &mut script.fixed {
            if *path == "/message_templates" {
                *answer = Answer::Say(200, json!({"data": []}).to_string());
            }
        }
    }
    let unknown = json!({"event": "APPROVED", "message_template_id": 77, "reason": "NONE"});
    tell(&server, "message_template_status_update", &unknown).await;
    while status() != "DELETED" {
        tokio::task::yield_now().await;
    }
    let listed = server.call(Who::Root, "ListChatappTemplate", &[("Code", TEMPLATE)]).await;
    assert_eq!(listed.json()["Total"], 0, "{}", listed.text());
    server.stop().await;
}

#[tokio::test]
async fn enabling_our_statistics_enables_metas_and_says_if_that_fails() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let problems = || {
        let snapshot = server.app.directory.snapshot();
        let channel = snapshot.channel(&channel_id(CHANNEL)).unwrap();
        channel.connection.as_ref().unwrap().problems.clone()
    };
    let refused: Value = serde_json::from_str(&error(200_005, "not in your country")).unwrap();
    double.fix("is_enabled_for_insights", 400, &refused);
    let reply = server.call(Who::Root, "EnableWhatsappROIMetric", &[]).await;
    assert_eq!(reply.code(), "OK", "{}", reply.text());
    while problems().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(problems()[0].as_str().contains("Meta 200005"), "{:?}", problems());
    let opted_in = server.app.ledger.channel(&channel_id(CHANNEL)).await.unwrap().opted_in();
    assert_eq!(opted_in, Some(NOON));
    double.script.lock().unwrap().fixed.retain(|(path, _)| *path != "is_enabled_for_insights");
    double.fix("is_enabled_for_insights", 200, &json!({"id": 3000}));
    server.call(Who::Root, "EnableWhatsappROIMetric", &[]).await;
    while !problems().is_empty() {
        tokio::task::yield_now().await;
    }
    let asked = double.got().into_iter().rev().find(|got| got.line.contains("insights")).unwrap();
    assert_eq!(asked.line, "POST /v24.0/3000?is_enabled_for_insights=true HTTP/1.1");
    server.stop().await;
}

#[tokio::test]
async fn templates_are_made_changed_and_taken_away_at_whatsapp() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let made = json!({"id": "7001", "status": "PENDING", "category": "UTILITY"});
    double.fix("POST /v24.0/3000/message_templates", 200, &made);
    double.fix("POST /v24.0/7001", 200, &json!({"success": true}));
    double.fix("DELETE /v24.0/3000/message_templates", 200, &json!({"success": true}));
    let components = json!([
        {"Type": "BODY", "Text": "Hello $(name)"},
        {"Type": "BUTTONS", "Buttons": [{"Type": "URL", "Text": "Shop", "UrlType": "dynamic",
            "Url": "https://shop.example/$(path)"}]},
    ])
    .to_string();
    let example = r#"{"name": "Ada", "path": "https://shop.example/x"}"#;
    let create = [
        ("Name", "spring_sale"),
        ("Language", "en"),
        ("Category", "MARKETING"),
        ("TemplateType", "WHATSAPP"),
        ("Components", components.as_str()),
        ("Example", example),
        ("AllowCategoryChange", "true"),
    ];
    let reply = server.call(Who::Root, "CreateChatappTemplate", &create).await;
    assert_eq!(reply.json()["Data"]["TemplateCode"], "7001", "{}", reply.text());
    let asked = double.got().into_iter().next_back().unwrap();
    assert_eq!(asked.line, "POST /v24.0/3000/message_templates HTTP/1.1");
    let body = &asked.body;
    assert_eq!((&body["name"], &body["category"]), (&json!("spring_sale"), &json!("MARKETING")));
    assert_eq!(body["parameter_format"], "NAMED");
    assert_eq!(body["components"][0]["text"], "Hello {{name}}");
    assert_eq!(body["components"][1]["buttons"][0]["url"], "https://shop.example/{{1}}");

    let listed = [("Code", "7001")];
    let listed = server.call(Who::Root, "ListChatappTemplate", &listed).await.json();
    let row = &listed["ListTemplate"][0];
    assert_eq!((&row["AuditStatus"], &row["Category"]), (&json!("auditing"), &json!("UTILITY")));
    let detail = [("TemplateCode", "7001"), ("Language", "en")];
    let detail = server.call(Who::Root, "GetChatappTemplateDetail", &detail).await.json();
    assert_eq!(detail["Data"]["Components"][0]["Text"], "Hello $(name)", "{detail}");
    // The caller's own name of the link's variable is the one to be filled in.
    let send = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("From", NUMBER),
        ("To", "8613900000001"),
        ("TemplateCode", "7001"),
        ("Language", "en"),
        ("TemplateParams", r#"{"name": "Ada", "path": "a/b"}"#),
    ];
    let reply = server.call(Who::Root, "SendChatappMessage", &send).await;
    assert!(reply.json()["MessageId"].as_str().unwrap().starts_with("wamid."), "{}", reply.text());
    let asked = double.got().into_iter().next_back().unwrap();
    let button = &asked.body["template"]["components"][1];
    assert_eq!(button["parameters"][0]["text"], "a/b", "{}", asked.body);

    let components = r#"[{"Type": "BODY", "Text": "Bye $(name)"}]"#;
    let modify = [
        ("TemplateCode", "7001"),
        ("Language", "en"),
        ("Components", components),
        ("Example", example),
    ];
    let reply = server.call(Who::Root, "ModifyChatappTemplate", &modify).await;
    assert_eq!(reply.code(), "OK", "{}", reply.text());
    let asked = double.got().into_iter().next_back().unwrap();
    assert_eq!(asked.line, "POST /v24.0/7001 HTTP/1.1");
    assert_eq!(asked.body["components"][0]["text"], "Bye {{name}}");
    let gone = server.call(Who::Root, "DeleteChatappTemplate", &[("TemplateCode", "7001")]).await;
    assert_eq!(gone.code(), "OK", "{}", gone.text());
    let asked = double.got().into_iter().next_back().unwrap();
    let line = "DELETE /v24.0/3000/message_templates?name=spring_sale HTTP/1.1";
    assert_eq!(asked.line, line);
    let listed = server.call(Who::Root, "ListChatappTemplate", &[("Code", "7001")]).await;
    assert_eq!(listed.json()["Total"], 0);
    // What Meta says no to is told with its code, and nothing has changed here.
    double.fix(
        "POST /v24.0/3000/message_templates",
        400,
        &serde_json::from_str(&error(100, "no")).unwrap(),
    );
    let reply = server.call(Who::Root, "CreateChatappTemplate", &create).await;
    assert_eq!(reply.code(), "InvalidParameter.CreateError");
    assert!(reply.json()["Message"].as_str().unwrap().contains("Meta 100: no"), "{}", reply.text());
    settled(&server).await;
    server.stop().await;
}
