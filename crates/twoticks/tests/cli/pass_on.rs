//! Webhooks and receipts that are passed on by the real program, also when it is killed meanwhile.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use twoticks_wire::webhook::meta::{sign, verify};

use super::connect::everything_below;
use super::emulate::{Emulated, FIXTURES, address};
use super::{Place, Running};

const APP_SECRET: &str = "an-app-secret-of-the-test";

/// The headers of a post in lower case, and its body.
type Post = (String, Vec<u8>);

/// What somebody got.
#[derive(Clone, Default)]
struct Got(Arc<Mutex<Vec<Post>>>);

impl Got {
    /// How many posts there were with each body.
    fn bodies(&self) -> HashMap<String, usize> {
        let mut bodies = HashMap::new();
        for (_, body) in self.0.lock().unwrap().iter() {
            *bodies.entry(String::from_utf8_lossy(body).into_owned()).or_default() += 1;
        }
        bodies
    }
}

/// Somebody who takes everything.
fn receiver() -> (SocketAddr, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, got) = (listener.local_addr().unwrap(), Got::default());
    let of = got.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let of = of.clone();
            std::thread::spawn(move || take(stream.unwrap(), &of));
        }
    });
    (address, got)
}

fn take(stream: TcpStream, got: &Got) {
    let mut reading = BufReader::new(stream.try_clone().unwrap());
    let mut writing = stream;
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while reading.read_line(&mut line).is_ok_and(|length| length > 2) {
            head.push_str(&line.to_ascii_lowercase());
            line.clear();
        }
        let Some(length) = head.split("content-length: ").nth(1) else { return };
        let mut body = vec![0; length.lines().next().unwrap().parse().unwrap()];
        if reading.read_exact(&mut body).is_err() {
            return;
        }
        got.0.lock().unwrap().push((head, body));
        let answer = r#"{"code":0,"msg":"ok"}"#;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
        if writing.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

fn serve(place: &Place) -> (Running, SocketAddr) {
    let variables = [
        ("TWOTICKS__OUTSIDE__NETWORKS", Path::new("127.0.0.0/8")),
        ("TWOTICKS__OUTSIDE__HTTP", Path::new("true")),
    ];
    let args = ["serve", "--listen", "127.0.0.1:0", "--json"];
    let mut running = place.start_with(&args, &variables);
    let mut line = String::new();
    running.out().read_line(&mut line).unwrap();
    let ready = serde_json::from_str(&line).unwrap();
    (running, address(&ready))
}

fn post(server: SocketAddr, body: &str) {
    let signature = sign(APP_SECRET.as_bytes(), body.as_bytes());
    let mut stream = TcpStream::connect(server).unwrap();
    let head = format!(
        "POST /webhooks/whatsapp HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         x-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn webhook(number: usize) -> String {
    let message = json!({"id": format!("wamid.{number}"), "from": "15550107777", "type": "text",
        "timestamp": "1790900000", "text": {"body": format!("message {number}")}});
    let value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1001"},
        "messages": [message]});
    json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [
        {"field": "messages", "value": value}]}]})
    .to_string()
}

/// A place with a channel that has [`APP_SECRET`].
fn set_up() -> Place {
    let place = Place::new();
    place.write("app-secret", APP_SECRET);
    place.ask(&["init", "--channel", "cams-1", "--app-secret-file", "app-secret"]);
    let number = ["channel", "number", "add", "15550100011", "--channel", "cams-1"];
    place.ask(&[&number[..], &["--phone-number-id", "1001"]].concat());
    place
}

#[test]
fn a_server_that_is_killed_while_it_passes_on_loses_nothing() {
    let place = set_up();
    let (mut running, mut server) = serve(&place);
    let (to, got) = receiver();
    let url = format!("http://{to}/inbox?token=a-token-in-the-address");
    let added = place.ask(&["channel", "pass-on", "webhooks", "cams-1", &url, "--sign"]);
    let key = added["key"].as_str().unwrap().to_owned();
    assert_eq!(added["to"], format!("http://{to}/…"));
    let each = 100;
    for kills in 0..3 {
        for number in kills * each..(kills + 1) * each {
            post(server, &webhook(number));
        }
        // In the middle of it.
        while got.bodies().len() < kills * each + each / 4 {
            std::thread::yield_now();
        }
        running.kill();
        (running, server) = serve(&place);
    }
    while got.bodies().len() < 3 * each {
        std::thread::yield_now();
    }
    let bodies = got.bodies();
    for number in 0..3 * each {
        assert!(bodies.contains_key(&webhook(number)), "{number} is lost");
    }
    for (head, body) in got.0.lock().unwrap().iter() {
        let header = |name: &str| head.split(&format!("{name}: ")).nth(1)?.lines().next();
        let own = header("x-twoticks-signature-256").map(str::as_bytes);
        assert_eq!(verify(&[key.as_bytes()], body, own), Ok(0));
        let hub = header("x-hub-signature-256").map(str::as_bytes);
        assert_eq!(verify(&[APP_SECRET.as_bytes()], body, hub), Ok(0));
    }
    let doctor = place.run(&["doctor"]).out;
    assert!(doctor.contains("webhooks of cams-1 to http://127.0.0.1"), "{doctor}");
    // Neither the address nor the key is readable, on disk or in lists.
    let listed = place.ask(&["channel", "pass-on", "list"]).to_string();
    let folder = place.path().join("twoticks-data");
    let files = everything_below(&folder);
    assert!(files.iter().any(|file| file.starts_with(folder.join("pass-on"))), "{files:?}");
    for secret in ["a-token-in-the-address", key.as_str()] {
        assert!(!listed.contains(secret) && !doctor.contains(secret));
        for file in &files {
            let bytes = std::fs::read(file).unwrap_or_default();
            let is_there = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!is_there, "{}", file.display());
        }
    }
    assert_eq!(running.stop(), 0);
}

#[test]
fn what_is_passed_on_is_set_without_a_server_and_refused_where_it_must_not_go() {
    let place = set_up();
    let pass_on = |args: &[&str]| {
        let args: Vec<&str> = ["channel", "pass-on"].iter().chain(args).copied().collect();
        place.run(&[&args[..], &["--json"]].concat())
    };
    for (url, why) in [
        ("https://10.0.0.1/", "outside.networks"),
        ("http://hooks.example.com/", "outside.http"),
        ("hooks.example.com", "it is no URL"),
    ] {
        let said = pass_on(&["webhooks", "cams-1", url]);
        assert!(said.code == 1 && said.err.contains(why), "{}", said.err);
        let said = pass_on(&["receipts", "cams-1", "--status-url", url]);
        assert!(said.code == 1 && said.err.contains(why), "{}", said.err);
    }
    let said = pass_on(&["receipts", "cams-1", "--enabled", "true"]);
    assert!(said.err.contains("--status-url"), "{}", said.err);
    let said = pass_on(&["receipts", "cams-1", "--number", "15550109999", "--enabled", "false"]);
    assert!(said.err.contains("number list"), "{}", said.err);
    let url = ["--status-url", "https://crm.example.com/s?token=1"];
    let set = pass_on(&[&["receipts", "cams-1"], &url[..]].concat()).json();
    assert_eq!(
        (&set["enabled"], &set["status"]),
        (&json!(true), &json!("https://crm.example.com/…"))
    );
    let inbound = ["receipts", "cams-1", "--number", "15550100011", "--inbound-url"];
    pass_on(&[&inbound[..], &["https://own.example.com:8443/i"]].concat()).json();
    place.write("key", "a-key-of-my-own");
    assert_eq!(pass_on(&["sign", "cams-1", "--key-file", "key"]).json()["key"], Value::Null);
    let listed = pass_on(&["list"]).json();
    let of = |form: &str| {
        let rows = listed.as_array().unwrap().iter().filter(|row| row["form"] == form);
        rows.map(|row| (row["to"].clone(), row["signed"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(of("status"), [(json!("https://crm.example.com/…"), json!(true))]);
    assert_eq!(of("inbound"), [(json!("https://own.example.com:8443/…"), json!(true))]);
    pass_on(&["sign", "cams-1", "--off"]).json();
    pass_on(&["forget-receipts", "cams-1", "--number", "15550100011"]).json();
    pass_on(&["forget-receipts", "cams-1"]).json();
    assert_eq!(pass_on(&["list", "--channel", "cams-1"]).json(), json!([]));
    assert_eq!(pass_on(&["list", "--channel", "cams-2"]).code, 1);
}

#[test]
fn an_emulator_posts_receipts_to_this_machine() {
    let place = Place::new();
    place.write("fixtures.json", FIXTURES);
    let mut emulated =
        Emulated::start(&place, &["--memory", "--any-key", "--fixtures", "fixtures.json"]);
    let (to, got) = receiver();
    let url = format!("http://localhost:{}/receipts", to.port());
    let form = [("HttpFlag", "Y"), ("QueueFlag", "N"), ("StatusCallbackUrl", url.as_str())];
    assert_eq!(emulated.call("UpdateAccountWebhook", &form)["Code"], "OK");
    let sent = emulated.send();
    emulated.post("clock?advance=3d", "");
    let told = || {
        let posts = got.0.lock().unwrap().clone();
        let reports = posts.into_iter().flat_map(|(_, body)| {
            let reports: Value = serde_json::from_slice(&body).unwrap();
            reports.as_array().unwrap().clone()
        });
        let statuses = reports.filter(|report| report["MessageId"] == sent.as_str());
        let mut said: Vec<_> =
            statuses.map(|it| it["Status"].as_str().unwrap().to_owned()).collect();
        said.sort();
        said.dedup();
        said
    };
    while told().len() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(told(), ["Delivered", "Read", "Sent"]);
    emulated.stop();
}
