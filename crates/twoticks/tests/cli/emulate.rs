//! `emulate` as a person starts it: what will not do, whose folder is whose, and going on.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use serde_json::{Value, json};
use twoticks_core::clock::Time;
use twoticks_emulator::caller::Caller;
use twoticks_emulator::post::Lane;
use twoticks_store::lock::FolderLock;

use super::{Place, Running};

const ANY_PORT: &str = "127.0.0.1:0";
pub(super) const FIXTURES: &str = r#"{"numbers": [{"phone_number": "15550100011"}], "templates":
    [{"code": "promo", "language": "en", "category": "marketing"}]}"#;

/// An emulator that runs, and what it said when it was ready.
pub(super) struct Emulated {
    running: Running,
    pub(super) ready: Value,
    calls: u64,
}

impl Emulated {
    pub(super) fn start(place: &Place, args: &[&str]) -> Self {
        let mut running =
            place.start(&[&["emulate", "--listen", ANY_PORT, "--json"], args].concat());
        let mut line = String::new();
        running.out().read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut why = String::new();
            running.0.stderr.as_mut().unwrap().read_to_string(&mut why).unwrap();
            panic!("it did not start: {why}");
        }
        Self { running, ready: serde_json::from_str(&line).unwrap(), calls: 0 }
    }

    /// On the folder `data`, taking whatever signature.
    fn on_folder(place: &Place, args: &[&str]) -> Self {
        Self::start(place, &[&["--data-dir", "data", "--any-key"], args].concat())
    }

    pub(super) fn post(&self, door: &str, body: &str) -> Value {
        let (status, answer) = ask(&self.ready, "POST", &format!("/_twoticks/{door}"), body);
        assert_eq!(status, 200, "{door}: {answer}");
        answer
    }

    pub(super) fn get(&self, door: &str) -> Value {
        let (status, answer) = ask(&self.ready, "GET", &format!("/_twoticks/{door}"), "");
        assert_eq!(status, 200, "{door}: {answer}");
        answer
    }

    fn key(&self) -> (String, String) {
        let text = |name: &str| self.ready["admin"][name].as_str().unwrap().to_owned();
        (text("access_key_id"), text("access_key_secret"))
    }

    pub(super) fn call(&mut self, action: &str, form: &[(&str, &str)]) -> Value {
        self.calls += 1;
        let (id, secret) = self.key();
        let mut caller = Caller::new(&id, &secret, &self.calls.to_string());
        let address = address(&self.ready);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let called = runtime.block_on(async {
            let mut lane = Lane::new(address);
            // Nobody checks when it was signed.
            caller.call(&mut lane, action, form, Time(0)).await
        });
        called.unwrap()
    }

    /// Sends a message that is read; its id.
    pub(super) fn send(&mut self) -> String {
        self.post("config?outcome=read", "");
        let form = [
            ("ChannelType", "whatsapp"),
            ("Type", "template"),
            ("TemplateCode", "promo"),
            ("Language", "en"),
            ("From", "15550100011"),
            ("To", "15550109999"),
        ];
        self.call("SendChatappMessage", &form)["MessageId"].as_str().unwrap().to_owned()
    }

    fn opt_in(&mut self) {
        self.call("EnableWhatsappROIMetric", &[]);
    }

    /// How many messages of the number were sent, by the metric.
    fn sent(&mut self) -> i64 {
        let now = self.get("clock")["now"].as_i64().unwrap();
        let day = 86_400_000;
        let (start, end) = ((now - 30 * day).to_string(), (now + day).to_string());
        let form = [("Start", start.as_str()), ("End", end.as_str())];
        let answer = self.call("GetChatappPhoneNumberMetric", &form);
        answer["Data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["SentCount"].as_i64().unwrap())
            .sum()
    }

    pub(super) fn stop(self) {
        assert_eq!(self.running.stop(), 0);
    }

    fn kill(self) {
        self.running.kill();
    }
}

pub(super) fn address(ready: &Value) -> SocketAddr {
    ready["endpoint"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap()
}

/// Asks a server; the status, and the answer if it is JSON.
fn ask(ready: &Value, method: &str, target: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address(ready)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// Starts what has to be refused, on whatever port is free; why it was.
fn refused(place: &Place, args: &[&str]) -> String {
    let mut running = place.start(&[args, &["--listen", ANY_PORT, "--json"]].concat());
    let mut line = String::new();
    running.out().read_line(&mut line).unwrap();
    // A server that is ready would go on for ever.
    assert_eq!(line, "", "{args:?} was not refused");
    let mut why = String::new();
    running.0.stderr.as_mut().unwrap().read_to_string(&mut why).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(1), "{args:?}: {why}");
    why
}

/// Everything in a folder, by path.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string(), fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_port_that_is_taken_is_named_with_what_would_do_and_nothing_is_made() {
    let place = Place::new();
    let taken = TcpListener::bind(ANY_PORT).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for args in [
        &["serve"][..],
        &["demo"],
        &["demo", "--data-dir", "data"],
        &["emulate"],
        &["emulate", "--memory"],
    ] {
        let said = place.run(&[args, &["--listen", &address]].concat());
        assert_eq!((said.code, said.out.as_str()), (1, ""), "{args:?}: {}", said.err);
        let named = said.err.contains(&format!("cannot listen on {address}"));
        assert!(named && said.err.contains("--listen"), "{args:?}: {}", said.err);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{args:?}");
    }
}

#[test]
fn arguments_that_will_not_do_are_named_with_those_that_would() {
    let place = Place::new();
    let fixture = |name: &str, text: &str| drop(place.write(name, text));
    fixture("field.json", r#"{"numbers": [{"phone": "15550100011"}]}"#);
    fixture(
        "kind.json",
        r#"{"templates": [{"code": "a", "language": "en", "category": "sales"}]}"#,
    );
    fixture("half.json", r#"{"numbers": ["#);
    for (args, code, parts) in [
        (&["--chaos", "riot"][..], 1, &["`riot`", "`duplicate`", "`silence`"][..]),
        (&["--chaos", "drop,,Drop"], 1, &["`Drop`"]),
        (&["--api-version", "v9.0"], 1, &["`v9.0`", "from v22.0 to v26.0"]),
        (&["--fixtures", "none.json"], 1, &["cannot read `none.json`"]),
        (&["--fixtures", "."], 1, &["cannot read `.`"]),
        (
            &["--fixtures", "field.json"],
            1,
            &["`field.json`", "`phone`", "`phone_number`", "line 1"],
        ),
        (&["--fixtures", "kind.json"], 1, &["`kind.json`", "`sales`", "`marketing`, `utility`"]),
        (&["--fixtures", "half.json"], 1, &["`half.json`", "EOF"]),
        (&["--secret", "s3cret"], 2, &["--any-key"]),
        (&["--any-key", "--secret", ""], 1, &["secret"]),
        (&["--data-dir", "data"], 2, &["--data-dir"]),
        (&["--seed", "-1"], 2, &["'-1'"]),
        (&["--speed", "100001"], 2, &["100001", "0..=100000"]),
        (&["--listen", "0.0.0.0:0"], 1, &["listen.public = true"]),
    ] {
        let listen = if args[0] == "--listen" { &[][..] } else { &["--listen", ANY_PORT] };
        let said = place.run(&[&["emulate", "--memory"], listen, args].concat());
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{args:?}: {}", said.err);
        for part in parts {
            assert!(said.err.contains(part), "{args:?} {part}: {}", said.err);
        }
    }
    assert!(
        !place.path().join("data").exists() && !place.path().join("twoticks-emulator").exists()
    );
}

#[test]
fn a_folder_of_a_newer_version_is_named_and_left_alone() {
    // A segment of the journal in format 2: its header, with its checksum.
    let segment = [
        &b"twotickj"[..],
        &2_u32.to_le_bytes(),
        &[0; 4],
        &1_u64.to_le_bytes(),
        &0x0474_c299_e245_3870_u64.to_le_bytes(),
    ]
    .concat();
    let (journal, demo) = ("journal/00000000000000000001.journal", r#""whose":"demo""#);
    for (file, old, new, part) in [
        ("directory.json", r#""version": 1"#, &br#""version": 2"#[..], "has format version 2"),
        ("invented.json", r#""version":1"#, br#""version":2,"colour":1"#, "has version 2"),
        (journal, "", &segment, "has format 2"),
    ] {
        for command in ["emulate", "demo"] {
            let place = Place::new();
            Emulated::start(&place, &["--data-dir", "data"]).stop();
            let folder = place.path().join("data");
            let marker = folder.join("invented.json");
            if command == "demo" {
                let text = fs::read_to_string(&marker).unwrap();
                let text = text.replace(r#""whose":"emulator""#, demo);
                fs::write(&marker, text.replace("\"story\":null", "\"story\":[1,2]")).unwrap();
            }
            let path = folder.join(file);
            if old.is_empty() {
                fs::write(&path, new).unwrap();
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.replacen(old, str::from_utf8(new).unwrap(), 1);
                fs::write(&path, text).unwrap();
            }
            let kept = |folder: &Path| {
                let mut kept = contents(folder);
                // The engine's own; it is made from the journal.
                kept.retain(|path, _| !path.contains("/ledger/"));
                kept
            };
            let before = kept(&folder);
            let why = refused(&place, &[command, "--data-dir", "data"]);
            let named = why.contains(file.rsplit('/').next().unwrap());
            assert!(named && why.contains(part) && why.contains("use a newer"), "{file}: {why}");
            assert_eq!(kept(&folder), before, "{file}");
        }
    }
}

#[test]
fn a_folder_has_one_process_and_the_second_does_the_first_no_harm() {
    let place = Place::new();
    let mut first = Emulated::on_folder(&place, &[]);
    let why = refused(&place, &["emulate", "--data-dir", "data"]);
    assert!(why.contains("`data` is in use by another process"), "{why}");
    first.post("fixtures", FIXTURES);
    first.opt_in();
    first.send();
    first.post("clock?flush=true", "");
    assert_eq!(first.sent(), 1);
    first.stop();
    Emulated::on_folder(&place, &[]).stop();

    place.ask(&["init", "--data-dir", "real"]);
    let real = FolderLock::take(&place.path().join("real")).unwrap();
    let why = refused(&place, &["serve", "--data-dir", "real"]);
    assert!(why.contains("another process"), "{why}");
    drop(real);

    // While another demo tells its story, its folder looks like one whose story was broken off.
    let telling = place.path().join("telling");
    fs::create_dir(&telling).unwrap();
    let marker = r#"{"version":1,"whose":"demo","seed":42,"story":null}"#;
    fs::write(telling.join("invented.json"), marker).unwrap();
    let lock = FolderLock::take(&telling).unwrap();
    let why = refused(&place, &["demo", "--data-dir", "telling", "--days", "1"]);
    assert!(why.contains("another process"), "{why}");
    assert_eq!(fs::read_to_string(telling.join("invented.json")).unwrap(), marker);
    drop(lock);
}

#[test]
fn no_two_kinds_of_data_share_a_folder() {
    let place = Place::new();
    Emulated::start(&place, &["--data-dir", "emulated"]).stop();
    place.ask(&["init", "--data-dir", "real"]);
    fs::create_dir(place.path().join("told")).unwrap();
    place.write("told/invented.json", r#"{"version":1,"whose":"demo","seed":42,"story":[1,2]}"#);
    fs::create_dir(place.path().join("else")).unwrap();
    place.write("else/thesis.txt", "mine");
    place.write("file", "no folder");
    for (command, folder, part) in [
        ("emulate", "told", "is a folder of `twoticks demo`"),
        ("emulate", "real", "not of `twoticks emulate`"),
        ("emulate", "else", "not of `twoticks emulate`"),
        ("emulate", "file", "`file`"),
        ("demo", "emulated", "is a folder of `twoticks emulate`"),
        ("demo", "real", "not of `twoticks demo`"),
        ("demo", "else", "not of `twoticks demo`"),
        ("serve", "emulated", "run `twoticks emulate` on it"),
        ("serve", "told", "run `twoticks demo` on it"),
    ] {
        let before = contents(place.path());
        let why = refused(&place, &[command, "--data-dir", folder]);
        let named = why.contains(&format!("`{folder}`"));
        assert!(named && why.contains(part), "{command} {folder}: {why}");
        assert!(contents(place.path()) == before, "{command} {folder}: something was touched");
    }
}

#[test]
fn a_server_has_none_of_the_emulators_doors() {
    let place = Place::set_up();
    let mut server = place.start(&["serve", "--listen", ANY_PORT, "--json"]);
    let mut line = String::new();
    server.out().read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let doors = ["", "health", "reset", "clock", "chaos", "config", "fixtures", "inspect/book"];
    for (method, door) in doors.iter().flat_map(|door| [("GET", door), ("POST", door)]) {
        for end in ["", "?advance=1d"] {
            let (status, answer) = ask(&ready, method, &format!("/_twoticks/{door}{end}"), "");
            assert_eq!(
                (status, &answer["Code"]),
                (404, &json!("InvalidAction.NotFound")),
                "{door}"
            );
        }
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn an_emulator_goes_on_in_its_folder_after_it_was_stopped_or_killed() {
    let place = Place::new();
    let mut emulated = Emulated::on_folder(&place, &[]);
    let ready = emulated.ready.clone();
    emulated.post("fixtures", FIXTURES);
    emulated.opt_in();
    let (mut ids, mut channels) = (Vec::new(), Vec::new());
    for round in 1..4 {
        ids.push(emulated.send());
        emulated.post("clock?flush=true", "");
        // Accounts beside its own, which must not be taken for it; one is made anew over and over.
        emulated.post(&format!("fixtures?key=test-{round}"), "{}");
        for _ in 0..2 {
            let template =
                r#"{"templates": [{"code": "hi", "language": "en", "category": "utility"}]}"#;
            let made = emulated.post("fixtures?key=test-anew", template);
            channels.push(made["channel"].as_str().unwrap().to_owned());
            emulated.post("reset?key=test-anew", "");
        }
        assert_eq!(emulated.sent(), 2 * round - 1);
        let clock = emulated.post("clock?advance=2d", "")["now"].as_i64().unwrap();
        // What the clock shows is known from what was recorded.
        ids.push(emulated.send());
        emulated.post("clock?flush=true", "");
        let sent = emulated.sent();
        if round == 2 {
            emulated.kill();
        } else {
            emulated.stop();
        }
        emulated = Emulated::on_folder(&place, &[]);
        for field in ["admin", "denied", "channel", "app_secret", "verify_token"] {
            assert_eq!(emulated.ready[field], ready[field], "{field}");
        }
        assert_eq!(emulated.ready["numbers"][0]["phone_number"], "15550100011");
        assert_eq!(emulated.ready["templates"][0]["code"], "promo");
        assert_eq!(emulated.sent(), sent, "round {round}");
        assert!(emulated.get("clock")["now"].as_i64().unwrap() >= clock, "it does not go back");
        ids.sort();
        ids.dedup();
        channels.sort();
        channels.dedup();
        let each = usize::try_from(2 * round).unwrap();
        assert_eq!((ids.len(), channels.len()), (each, each), "an id was given out twice");
    }
    emulated.stop();
    assert_eq!(place.ask(&["verify", "--data-dir", "data"])["equal"], true);
    let why = refused(&place, &["emulate", "--data-dir", "data", "--seed", "7"]);
    assert!(why.contains("from the seed 42"), "{why}");
}

#[test]
fn a_reset_empties_the_folder_and_it_works_afterwards_and_after_a_restart() {
    let place = Place::new();
    place.write("fixtures.json", FIXTURES);
    let args = ["--fixtures", "fixtures.json"];
    let mut emulated = Emulated::on_folder(&place, &args);
    let ready = emulated.ready.clone();
    for round in 0..3 {
        let added = r#"{"templates": [{"code": "x", "language": "en", "category": "utility"}]}"#;
        emulated.post("fixtures", added);
        emulated.post("fixtures?key=somebody", FIXTURES.replace("11", "22").as_str());
        emulated.opt_in();
        emulated.send();
        emulated.post("clock?flush=true", "");
        assert_eq!(emulated.sent(), 1, "round {round}");
        let kept = place.path().join("data/journal");
        assert!(fs::read_dir(&kept).unwrap().count() > 0);
        emulated.post("reset", "");
        assert_eq!(emulated.sent(), 0, "round {round}: not even opted in");
        let there = emulated.get("fixtures");
        assert_eq!(there["templates"].as_array().unwrap().len(), 1, "{there}");
        assert_eq!(there["channel"], ready["channel"]);
        emulated.send();
        emulated.post("clock?flush=true", "");
        assert_eq!(emulated.sent(), 0, "what came before the opt-in");
        emulated.opt_in();
        emulated.send();
        emulated.post("clock?flush=true", "");
        assert_eq!(emulated.sent(), 1);
        if round == 1 {
            emulated.kill();
        } else {
            emulated.stop();
        }
        emulated = Emulated::on_folder(&place, &args);
        assert_eq!(emulated.sent(), 1, "round {round}");
        assert_eq!(emulated.ready["admin"], ready["admin"]);
        emulated.post("reset", "");
    }
    emulated.stop();
    let mut emulated = Emulated::on_folder(&place, &[]);
    assert_eq!(emulated.sent(), 0);
    emulated.stop();
    assert_eq!(place.ask(&["verify", "--data-dir", "data"])["equal"], true);
}

#[test]
fn a_seed_gives_the_same_keys_ids_and_messages_and_no_seed_gives_others() {
    let place = Place::new();
    let fields = ["admin", "denied", "session", "channel", "app_secret", "receipts_secret"];
    let start = |args: &[&str]| {
        let mut emulated = Emulated::start(&place, &[&["--any-key"], args].concat());
        emulated.post("fixtures", FIXTURES);
        let wamid = emulated.send();
        let ready = emulated.ready.clone();
        emulated.stop();
        let mut kept: Vec<Value> = fields.iter().map(|field| ready[field].clone()).collect();
        kept.push(wamid.into());
        kept
    };
    let one = start(&["--memory", "--seed", "7"]);
    assert_eq!(one, start(&["--memory", "--seed", "7"]));
    assert_eq!(one, start(&["--data-dir", "seven", "--seed", "7"]));
    for other in [&["--memory", "--seed", "8"][..], &["--memory"], &["--data-dir", "random"]] {
        let other_keys = start(other);
        for (index, field) in fields.iter().enumerate() {
            assert_ne!(one[index], other_keys[index], "{other:?} {field}");
        }
    }
}
