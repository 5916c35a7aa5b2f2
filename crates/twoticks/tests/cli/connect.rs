//! From `init` to a metric with WhatsApp connected: the real program against the emulator's Graph
//! API, also when it is killed while it sends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use twoticks_core::clock::Time;
use twoticks_emulator::caller::Caller;
use twoticks_emulator::post::Lane;

use super::emulate::{Emulated, FIXTURES, address};
use super::{Place, Running};

const CHANNEL: &str = "cams-1";

/// A business: its place, the WhatsApp that it is connected with, and its server while that runs.
pub(super) struct Business {
    pub(super) place: Place,
    pub(super) emulated: Emulated,
    key: (String, String),
    calls: u64,
    pub(super) server: Option<(Running, Value)>,
}

impl Business {
    pub(super) fn new() -> Self {
        let place = Place::new();
        place.write("whatsapp.json", FIXTURES);
        // The seed says how long a recipient takes to read; some take days.
        let args = ["--fixtures", "whatsapp.json", "--memory", "--seed", "7"];
        let emulated = Emulated::start(&place, &args);
        let made = place.ask(&["init", "--channel", CHANNEL]);
        let text = |name: &str| made[name].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        let key = (text("access_key_id"), text("access_key_secret"));
        Self { place, emulated, key, calls: 0, server: None }
    }

    pub(super) fn serve(&mut self) {
        let graph = self.emulated.ready["graph"]["url"].as_str().unwrap();
        let rate = Path::new("200");
        let variables = [
            ("TWOTICKS__GRAPH__URL", Path::new(graph)),
            ("TWOTICKS__GRAPH__MESSAGES_PER_SECOND", rate),
            ("TWOTICKS__LINKS__URL", Path::new("https://l.example.com")),
        ];
        let args = ["serve", "--listen", "127.0.0.1:0", "--json"];
        let mut running = self.place.start_with(&args, &variables);
        let mut line = String::new();
        running.out().read_line(&mut line).unwrap();
        self.server = Some((running, serde_json::from_str(&line).unwrap()));
    }

    fn ready(&self) -> &Value {
        &self.server.as_ref().unwrap().1
    }

    /// Connects the channel; what is missing.
    pub(super) fn connect(&self) -> Value {
        let graph = &self.emulated.ready["graph"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.place.write("token", text(&graph["access_token"]));
        self.place.write("app-secret", text(&self.emulated.ready["app_secret"]));
        let waba = text(&graph["waba_id"]);
        let callback = text(&self.ready()["endpoint"]);
        let mut args = vec!["channel", "connect", CHANNEL, "--waba-id", waba.as_str()];
        args.extend(["--access-token-file", "token", "--app-secret-file", "app-secret"]);
        args.extend(["--callback-url", callback.as_str()]);
        self.place.ask(&args)
    }

    #[expect(clippy::disallowed_methods, reason = "the server judges when a call was signed")]
    pub(super) fn call(&mut self, action: &str, form: &[(&str, &str)]) -> Value {
        self.calls += 1;
        let mut caller = Caller::new(&self.key.0, &self.key.1, &self.calls.to_string());
        let address = address(self.ready());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(async {
                let mut lane = Lane::new(address);
                caller.call(&mut lane, action, form, Time(i64::try_from(now).unwrap())).await
            })
            .unwrap()
    }

    pub(super) fn number(&self) -> String {
        self.emulated.ready["numbers"][0]["phone_number"].as_str().unwrap().to_owned()
    }

    /// Sends a template to somebody.
    fn send(&mut self, code: &str) {
        let number = self.number();
        let form = [
            ("ChannelType", "whatsapp"),
            ("Type", "template"),
            ("TemplateCode", code),
            ("Language", "en"),
            ("From", number.as_str()),
            ("To", "15550109999"),
        ];
        let sent = self.call("SendChatappMessage", &form);
        assert!(sent["MessageId"].as_str().unwrap().starts_with("wamid."), "{sent}");
    }

    /// Whether the server has taken a webhook that says that a message was read.
    fn has_told_read(&self) -> bool {
        let posted = self.emulated.get("inspect/webhooks?limit=1000");
        let posted = posted["webhooks"].as_array().unwrap();
        let mut taken =
            posted.iter().filter(|it| it["callback"].is_string() && it["status"] == 200);
        taken.any(|it| it["body"].to_string().contains(r#""status":"read""#))
    }

    fn listed(&self, group: &str) -> Vec<Value> {
        let listed = self.place.ask(&["message", "list", "--group", group]);
        listed.as_array().unwrap().clone()
    }
}

#[test]
fn from_init_to_a_metric_with_whatsapp_connected() {
    let mut business = Business::new();
    business.serve();
    let connected = business.connect();
    assert_eq!(connected["missing"], json!([]), "{connected}");
    assert_eq!((&connected["numbers"], &connected["templates"]), (&json!(1), &json!(1)));
    let endpoint = business.ready()["endpoint"].as_str().unwrap();
    assert_eq!(connected["callback"], format!("{endpoint}/webhooks/whatsapp/{CHANNEL}"));
    let doctor = business.place.ask(&["doctor"]).to_string();
    assert!(doctor.contains("cams-1 is connected with WhatsApp"), "{doctor}");

    business.call("EnableWhatsappROIMetric", &[]);
    business.emulated.post("config?outcome=read", "");
    let templates = business.call("ListChatappTemplate", &[]);
    let code = templates["ListTemplate"][0]["TemplateCode"].as_str().unwrap().to_owned();
    business.send(&code);
    // A template that is made here is reviewed there, and a webhook tells what came of it.
    let components = r#"[{"Type": "BODY", "Text": "Hello $(name)"}]"#;
    let made = business.call(
        "CreateChatappTemplate",
        &[
            ("Name", "spring_sale"),
            ("Language", "en"),
            ("Category", "MARKETING"),
            ("TemplateType", "WHATSAPP"),
            ("Components", components),
            ("Example", r#"{"name": "Ada"}"#),
        ],
    );
    let made = made["Data"]["TemplateCode"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    business.emulated.post("clock?advance=12h", "");
    let reviewed = || {
        let listed = business.place.ask(&["channel", "template", "list"]);
        let known = listed.as_array().unwrap().iter().find(|it| it["code"] == made.as_str());
        known.is_some_and(|known| known["status"] != "PENDING")
    };
    // The statuses are posted beside the review, in no order.
    let mut asked = 0;
    while !(reviewed() && business.has_told_read()) {
        asked += 1;
        assert!(asked < 100, "it is still under review, or the reading is not told");
    }
    let history = business.place.ask(&["channel", "template", "list", "--history"]);
    let is_review = |it: &&Value| it["code"] == made.as_str() && it["field"] == "status";
    let review = history.as_array().unwrap().iter().find(is_review);
    assert_eq!(review.unwrap()["from"], "PENDING", "{history}");
    let numbers = business.place.ask(&["channel", "number", "list"]);
    assert_eq!(numbers[0]["quality_rating"], "GREEN", "{numbers}");
    let now = business.emulated.get("clock")["now"].as_i64().unwrap();
    let day = 86_400_000;
    let (start, end) = ((now - 2 * day).to_string(), (now + day).to_string());
    let form = [("TemplateCode", code.as_str()), ("Start", &start), ("End", &end)];
    let metric = business.call("GetChatappTemplateMetric", &form);
    let sum = |name: &str| -> i64 {
        let rows = metric["Data"].as_array().unwrap_or_else(|| panic!("{metric}"));
        rows.iter().map(|row| row[name].as_i64().unwrap()).sum()
    };
    let counts = ["SentCount", "DeliveredCount", "ReadCount"].map(sum);
    assert_eq!(counts, [1, 1, 1], "{metric}");
    let (server, _) = business.server.take().unwrap();
    assert_eq!(server.stop(), 0);
    business.emulated.stop();
}

/// Opens an address as a phone does, through whatever stands in front of the server; where it is
/// led to.
fn open(ready: &Value, url: &str) -> String {
    let path = url.strip_prefix("https://l.example.com").unwrap_or_else(|| panic!("{url}"));
    let mut stream = std::net::TcpStream::connect(address(ready)).unwrap();
    let agent = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/130.0 Mobile";
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nuser-agent: {agent}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    let to = answer.lines().find_map(|line| line.strip_prefix("location: "));
    to.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn a_link_is_wrapped_sent_opened_and_shown_as_clicked() {
    let mut business = Business::new();
    business.serve();
    assert_eq!(business.connect()["missing"], json!([]));
    business.call("EnableWhatsappROIMetric", &[]);
    business.emulated.post("config?outcome=read", "");
    let components = r#"[{"Type": "BODY", "Text": "Hello"}, {"Type": "BUTTONS", "Buttons": [
        {"Type": "URL", "Text": "Shop", "Url": "https://shop.example/spring"}]}]"#;
    let made = business.call(
        "CreateChatappTemplate",
        &[
            ("Name", "spring_links"),
            ("Language", "en"),
            ("Category", "MARKETING"),
            ("TemplateType", "WHATSAPP"),
            ("Components", components),
        ],
    );
    let code = made["Data"]["TemplateCode"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let synced = business.place.ask(&["channel", "sync", CHANNEL]);
    assert_eq!(synced["links_to_wrap"], 1, "{synced}");
    let wrapped = business.place.ask(&["channel", "template", "wrap", &code, "en"]);
    assert_eq!(wrapped["links"][0]["target"], "https://shop.example/spring", "{wrapped}");
    business.emulated.post("clock?advance=12h", "");
    let status = || {
        let listed = business.place.ask(&["channel", "template", "list"]);
        let known = listed.as_array().unwrap().iter().find(|it| it["code"] == code.as_str());
        known.unwrap()["status"].clone()
    };
    let mut asked = 0;
    while status() != "APPROVED" {
        asked += 1;
        assert!(asked < 100, "it is still under review");
    }
    business.send(&code);
    let sends = business.emulated.get("inspect/sends?limit=1000");
    let url = sends["sends"][0]["parameters"]["Addresses"][0].as_str();
    let url = url.unwrap_or_else(|| panic!("{sends}")).to_owned();
    // The message says that it was sent before its click is one of a message after the opt-in.
    business.emulated.post("clock?advance=12h", "");
    while !business.has_told_read() {}
    for _ in 0..2 {
        assert_eq!(open(business.ready(), &url), "https://shop.example/spring");
    }
    // A server that begins anew knows the link, and has counted what was opened before.
    let (server, _) = business.server.take().unwrap();
    assert_eq!(server.stop(), 0);
    business.serve();
    assert_eq!(open(business.ready(), &url), "https://shop.example/spring");
    let day = 86_400_000;
    let now = business.emulated.get("clock")["now"].as_i64().unwrap();
    let (start, end) = ((now - 3 * day).to_string(), (now + day).to_string());
    let form = [("TemplateCode", code.as_str()), ("Start", &start), ("End", &end)];
    let clicked = |metric: &Value| -> i64 {
        let rows = metric["Data"].as_array().unwrap_or_else(|| panic!("{metric}")).iter();
        let shown = rows.flat_map(|row| row["Cliented"].as_array().unwrap());
        shown
            .map(|it| {
                assert_eq!(
                    (&it["Type"], &it["ButtonContent"]),
                    (&json!("url_button"), &json!("Shop"))
                );
                it["Count"].as_i64().unwrap()
            })
            .sum()
    };
    let mut counted = 0;
    for _ in 0..100 {
        counted = clicked(&business.call("GetChatappTemplateMetric", &form));
        if counted == 3 {
            break;
        }
    }
    assert_eq!(counted, 3);
    let (server, _) = business.server.take().unwrap();
    assert_eq!(server.stop(), 0);
    business.emulated.stop();
}

#[test]
fn a_server_that_is_killed_while_it_sends_goes_on_and_sends_nothing_twice() {
    let mut business = Business::new();
    business.serve();
    assert_eq!(business.connect()["missing"], json!([]));
    let number = business.number();
    let templates = business.call("ListChatappTemplate", &[]);
    let code = templates["ListTemplate"][0]["TemplateCode"].as_str().unwrap().to_owned();
    let one = |place: usize| json!({"To": format!("1555020{place:04}")});
    let list: Value = (0..300).map(one).collect();
    let list = list.to_string();
    let form = [
        ("ChannelType", "whatsapp"),
        ("TemplateCode", code.as_str()),
        ("Language", "en"),
        ("From", number.as_str()),
        ("SenderList", list.as_str()),
    ];
    let asked = business.call("SendChatappMassMessage", &form);
    let group = asked["GroupMessageId"].as_str().unwrap_or_else(|| panic!("{asked}")).to_owned();
    for kills in 1..=3 {
        // Until the WhatsApp has seen some more of them.
        while sent(&business).len() < kills * 60 {
            std::thread::yield_now();
        }
        let (server, _) = business.server.take().unwrap();
        server.kill();
        business.serve();
    }
    let waits = |listed: &[Value]| listed.iter().any(|it| it.get("waits").is_some());
    let mut listed = business.listed(&group);
    while waits(&listed) {
        listed = business.listed(&group);
    }
    assert_eq!(listed.len(), 300);
    // Neither recipients nor tokens are readable on disk, in whatever file.
    let token = business.emulated.ready["graph"]["access_token"].as_str().unwrap().to_owned();
    let folder = business.place.path().join("twoticks-data");
    let files = everything_below(&folder);
    assert!(files.iter().any(|file| file.starts_with(folder.join("outbox"))), "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for secret in [b"1555020".as_slice(), token.as_bytes()] {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!is_there, "{}", file.display());
        }
    }
    let sent = sent(&business);
    for (to, times) in &sent {
        assert_eq!(*times, 1, "{to} got it {times} times");
    }
    let (mut taken, mut unknown) = (0, 0);
    for recipient in &listed {
        let to = recipient["to"].as_str().unwrap();
        if recipient.get("message_id").is_some() {
            taken += 1;
            assert!(sent.contains_key(to), "{to} was not sent");
        } else {
            assert!(recipient.get("unknown").is_some(), "{recipient}");
            unknown += 1;
        }
    }
    // What was with WhatsApp at a kill: at most a lane's worth each time.
    assert!(taken + unknown == 300 && unknown <= 3 * 64, "{taken} taken, {unknown} unknown");
    let (server, _) = business.server.take().unwrap();
    assert_eq!(server.stop(), 0);
    business.emulated.stop();
}

pub(super) fn everything_below(folder: &Path) -> Vec<PathBuf> {
    let found = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    found
        .flat_map(|path| if path.is_dir() { everything_below(&path) } else { vec![path] })
        .collect()
}

/// How many times each recipient was sent to, by the WhatsApp that was asked.
fn sent(business: &Business) -> BTreeMap<String, usize> {
    let sends = business.emulated.get("inspect/sends?limit=1000");
    let mut times = BTreeMap::new();
    for send in sends["sends"].as_array().unwrap_or_else(|| panic!("{sends}")) {
        *times.entry(send["to"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    times
}
