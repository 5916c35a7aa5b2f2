//! Channels that are connected with WhatsApp: what the Graph API is asked, and what comes of its
//! answers on good and on bad days.
//!
//! [`Double`] is a Graph API that answers what a test has it answer. A faithful one is the
//! emulator's; its tests are there.

mod account;
mod bad_days;
mod figures;
mod history;
mod links;
mod listing;
mod media;
mod sends;
mod setup;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
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
    /// It takes the message, and says so when it is let go.
    Hold,
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
    /// A header of every answer, with its line end.
    date: String,
    /// What is not about messages: a part of the request line or of the authorization, and what is
    /// answered.
    fixed: Vec<(&'static str, Answer)>,
}

/// A Graph API that answers what it was told to; what it was not told about it takes.
struct Double {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    count: watch::Receiver<usize>,
    /// Lets go of as many answers as it has permits.
    held: Arc<Semaphore>,
    _serving: JoinSet<()>,
}

impl Double {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let (counted, count) = watch::channel(0);
        let (of, counted) = (Arc::clone(&script), Arc::new(counted));
        let held = Arc::new(Semaphore::new(0));
        let holding = Arc::clone(&held);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (of, counted) = (Arc::clone(&of), Arc::clone(&counted));
                connections.spawn(serve(stream, of, counted, Arc::clone(&holding)));
            }
        });
        Self { address, script, count, held, _serving: serving }
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
    held: Arc<Semaphore>,
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
        let (answer, is_held) = {
            let mut script = script.lock().unwrap();
            let number = script.got.len();
            let sought = format!("{line} {authorization}");
            script.got.push(Got { line, authorization, body });
            let fixed = script.fixed.iter().find(|(part, _)| sought.contains(part));
            let fixed = fixed.map(|(_, answer)| answer.clone());
            let answer = fixed.or_else(|| script.answers.pop_front()).unwrap_or(Answer::Take);
            let is_held = matches!(answer, Answer::Hold);
            let answer = match answer {
                Answer::Take | Answer::Hold => {
                    let id = format!("wamid.{number}");
                    let taken = json!({"messaging_product": "whatsapp", "messages": [{"id": id}]});
                    Some((200, taken.to_string()))
                }
                Answer::Say(status, body) => Some((status, body)),
                Answer::HangUp => None,
            };
            (answer, is_held)
        };
        counted.send_modify(|count| *count += 1);
        let Some((status, body)) = answer else { return };
        if is_held {
            held.acquire().await.unwrap().forget();
        }
        let date = script.lock().unwrap().date.clone();
        let head = format!("HTTP/1.1 {status} x\r\n{date}content-length: {}\r\n\r\n", body.len());
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
    // A test that wants to ask for Meta's figures says so.
    settings.graph.figures_hours = 0;
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
        told: Vec::new(),
    };
    Change::UpdateChannel(Channel { connection: Some(connection), ..known.unwrap() })
}

async fn start() -> (Server, Double) {
    start_with(|_| ()).await
}

async fn start_with(change: impl FnOnce(&mut Settings)) -> (Server, Double) {
    let double = Double::start().await;
    let mut settings = settings(&double);
    change(&mut settings);
    let made = Made { settings, changes: vec![connected()], ..Made::default() };
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

/// An entry of the channel, of the group `g`.
fn entry(kind: Kind, events: Vec<Event>, body: &Value) -> Batch {
    Batch {
        kind,
        accepted: NOON,
        origin: "test".to_owned(),
        channel: Some(channel_id(CHANNEL)),
        group: Some("g".to_owned()),
        events,
        dead: Vec::new(),
        resolves: None,
        body: body.to_string().into_bytes(),
    }
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

/// A signed webhook of the channel's account with one change.
pub(crate) async fn tell(server: &Server, field: &str, value: &Value) {
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
