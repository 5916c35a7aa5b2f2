//! The program as a person and a script use it, with and without a running server.

#![expect(clippy::unwrap_used, reason = "these are tests")]
#![expect(clippy::panic, clippy::indexing_slicing, reason = "these are tests")]

#[path = "cli/backup.rs"]
mod backup;
#[path = "cli/bench.rs"]
mod bench;
#[path = "cli/connect.rs"]
mod connect;
#[path = "cli/emulate.rs"]
mod emulate;
#[path = "cli/export.rs"]
mod export;
#[path = "cli/failed_sync.rs"]
mod failed_sync;
#[path = "cli/import.rs"]
mod import;
#[path = "cli/pass_on.rs"]
mod pass_on;
#[path = "cli/ready.rs"]
mod ready;
#[path = "cli/reconcile.rs"]
mod reconcile;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use assert_cmd::Command;
use assert_cmd::cargo::CommandCargoExt as _;
use serde_json::{Value, json};

/// A folder to run in, and what the program says there.
struct Place(tempfile::TempDir);

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    fn text(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_else(|| panic!("no `{name}` in {}", self.out)).into()
    }

    fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn command(&self) -> Command {
        let mut command = Command::cargo_bin("twoticks").unwrap();
        command.current_dir(self.path());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        self.with_input(args, "")
    }

    fn with_input(&self, args: &[&str], input: impl AsRef<[u8]>) -> Said {
        let output = self.command().args(args).write_stdin(input.as_ref()).output().unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// As [`Place::run`], with `--json`; gives the answer.
    fn ask(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        self.run(&args).json()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// A place that is set up: a channel `cams-1` with a number and two templates.
    fn set_up() -> Self {
        let place = Self::new();
        place.ask(&["init", "--channel", "cams-1"]);
        let number = ["channel", "number", "add", "15550100011", "--channel", "cams-1"];
        place.ask(&[&number[..], &["--phone-number-id", "1001"]].concat());
        for (code, category) in [("promo", "marketing"), ("order", "utility")] {
            let template = ["channel", "template", "add", code, "--channel", "cams-1"];
            let rest = ["--language", "en", "--category", category, "--button", "quick_reply:Yes"];
            place.ask(&[&template[..], &rest].concat());
        }
        place
    }

    /// Starts the program; what it says is waited for with [`Running::wait_for`].
    fn start(&self, args: &[&str]) -> Running {
        self.start_with(args, &[])
    }

    /// As [`Place::start`], with variables in its environment.
    fn start_with(&self, args: &[&str], variables: &[(&str, &Path)]) -> Running {
        let mut command = std::process::Command::cargo_bin("twoticks").unwrap();
        command.current_dir(self.path()).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(variables.iter().copied());
        Running(command.spawn().unwrap())
    }
}

/// A process that is ended with the test.
struct Running(Child);

impl Running {
    fn out(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.stdout.take().unwrap())
    }

    /// Waits for a line on standard error that has `part` in it.
    fn wait_for(&mut self, part: &str) -> String {
        let err = self.0.stderr.as_mut().unwrap();
        let mut lines: Vec<String> = Vec::new();
        loop {
            let line = read_line(err);
            if line.is_empty() {
                break;
            }
            if line.contains(part) {
                return line;
            }
            lines.push(line);
        }
        panic!("it ended without saying `{part}`: {lines:?}")
    }

    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    fn stop(mut self) -> i32 {
        self.signal("TERM");
        self.0.wait().unwrap().code().unwrap()
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A line, byte by byte, so that nothing behind it is lost.
fn read_line(from: &mut impl std::io::Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while from.read(&mut byte).unwrap() == 1 {
        line.extend(byte);
        if byte == *b"\n" {
            break;
        }
    }
    String::from_utf8(line).unwrap()
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn import_lines() -> String {
    let status = |status: &str, time: i64| {
        json!({"id": "wamid.A", "status": status, "timestamp": time.to_string(),
               "recipient_id": "15550109999"})
    };
    let value = json!({
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550100011", "phone_number_id": "1001"},
        "statuses": [status("read", 1_790_000_020), status("delivered", 1_790_000_010),
                     status("sent", 1_790_000_001)],
    });
    let webhook = json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}],
    });
    let send = json!({
        "phone_number_id": "1001", "wamid": "wamid.A", "to": "15550109999",
        "template_code": "promo", "language": "en", "time": 1_790_000_000_000_i64,
    });
    format!(
        "{}\n{}\n",
        json!({"send": send}),
        json!({"webhook": webhook, "accepted": 1_790_000_030_000_i64})
    )
}

#[test]
fn wrong_usage_is_told_with_what_would_do() {
    let place = Place::new();
    for (args, code, part) in [
        (&["servee"][..], 2, "serve"),
        (&["key", "add", "--nope"], 2, "--nope"),
        (&["key", "enable", "x y"], 2, "4 to 128 letters"),
        (&["channel", "template", "add", "a"], 2, "--channel"),
        (&["key", "session", "--role", "r", "--expires", "soon"], 2, "such as `30m`"),
        (&["key", "list"], 1, "`twoticks init` makes one"),
        (&["serve"], 1, "`twoticks init` makes one"),
        (&["serve", "--listen", "0.0.0.0:0"], 1, "listen.public = true"),
        (&["serve", "--listen", "nowhere"], 1, "`listen`"),
        (&["config", "--config", "none.toml"], 1, "`none.toml`"),
        (&["import", "none.ndjson"], 1, "`twoticks init` makes one"),
        (&["check", "none.json"], 1, "`none.json`"),
        (&["verify"], 1, "no data folder"),
    ] {
        let said = place.run(args);
        assert_eq!(said.code, code, "{args:?}: {}", said.err);
        assert!(said.err.contains(part), "{args:?}: {}", said.err);
        assert_eq!(said.out, "", "{args:?}: data only on standard output");
    }
    assert!(!place.path().join("twoticks-data").exists(), "nothing was made");
}

#[test]
fn the_configuration_that_holds_is_printed_without_secrets() {
    let place = Place::new();
    place.write("twoticks.toml", "[cams]\nfreshness = \"next-day\"\n");
    assert_eq!(place.ask(&["config"])["cams"]["freshness"], "next-day");
    let key = "ab".repeat(32);
    let output = place
        .command()
        .args(["config"])
        .env("TWOTICKS__CAMS__FRESHNESS", "live")
        .env("TWOTICKS__KEYS__KEY", &key)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("freshness = \"live\"") && !text.contains(&key), "{text}");
    place.write("twoticks.toml", "[cams]\nfresh = 1\n");
    let said = place.run(&["config"]);
    assert!(said.code == 1 && said.err.contains("unknown key `cams.fresh`"), "{}", said.err);
    let said = place.run(&["config", "--data-dir", "elsewhere", "--config", "/dev/null"]);
    assert!(said.out.contains("folder = \"elsewhere\""), "{}", said.out);
}

#[test]
fn from_init_to_verify() {
    let place = Place::set_up();
    let again = place.run(&["init"]);
    assert!(again.code == 1 && again.err.contains("set up already"), "{}", again.err);
    let file = place.write("import.ndjson", import_lines());
    let file = file.to_str().unwrap();

    let dry = place.run(&["import", "--dry-run", file]);
    assert_eq!(dry.code, 0, "{}", dry.err);
    let reports = dry.lines();
    assert_eq!(reports.len(), 2, "one object a line");
    let words: Vec<&Value> =
        reports[1]["events"].as_array().unwrap().iter().map(|it| &it["status"]).collect();
    assert_eq!(words, ["read", "delivered", "sent"]);
    assert_eq!(reports[0]["events"][0]["template"]["code"], "promo");
    assert_eq!(reports[0]["line"], 1);
    assert_eq!((&reports[1]["dead"], &reports[1]["nothing"]), (&json!([]), &json!([])));
    assert!(!dry.out.contains("wamid.A") && !dry.out.contains("15550109999"), "{}", dry.out);

    for _ in 0..2 {
        let taken = place.ask(&["import", file]);
        assert_eq!(taken, json!({"lines": 2, "events": 4, "dead": 0}));
    }
    let verdict = place.ask(&["verify"]);
    assert_eq!(verdict["equal"], true, "{verdict}");
    assert_eq!(verdict["ledger"], verdict["journal"]);
    assert_eq!(verdict["ledger"]["messages"], 1, "imported twice, counted once");
    let left: Vec<_> = std::fs::read_dir(place.path().join("twoticks-data")).unwrap().collect();
    assert!(left.iter().all(|it| !format!("{it:?}").contains("verify.")), "{left:?}");
}

#[test]
fn a_line_that_will_not_do_is_told_and_its_neighbours_count() {
    let place = Place::set_up();
    let lines = format!("not json\n\n{}", import_lines().replace("\"1001\"", "1001"));
    let said = place.with_input(&["import", "-", "--json"], &lines);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("line 1:"), "{}", said.err);
    assert!(said.out.contains("\"dead\":1"), "{}", said.out);
    let unknown = import_lines().replace("1001", "2002");
    let said = place.with_input(&["import", "-", "--dry-run"], &unknown);
    assert_eq!(said.code, 1);
    assert!(said.lines().iter().all(|it| it["dead"][0]["why"].is_string()), "{}", said.out);
    // A dead letter of an import is not kept, so there is nothing to replay.
    assert_eq!(place.ask(&["replay"])["letters"], json!([]));
}

#[test]
fn keys_users_and_policies_come_and_go() {
    let place = Place::set_up();
    place.ask(&["key", "user", "add", "reporter", "--attach", "AliyunCamsReadOnlyAccess"]);
    let key = place.run(&["key", "add", "--user", "reporter", "--json"]);
    let (id, secret) = (key.text("access_key_id"), key.text("access_key_secret"));
    let kept = std::fs::read_to_string(place.path().join("twoticks-data/directory.json")).unwrap();
    assert!(kept.contains(&id) && !kept.contains(&secret), "secrets are sealed at rest");
    let listed = place.run(&["key", "list", "--json"]);
    assert!(listed.out.contains(&id) && !listed.out.contains(&secret), "shown once");
    place.ask(&["key", "disable", &id]);
    let key = |list: Value| {
        list.as_array().unwrap().iter().find(|it| it["access_key_id"] == *id).cloned()
    };
    assert_eq!(key(place.ask(&["key", "list"])).unwrap()["active"], false);
    place.ask(&["key", "enable", &id]);
    place.ask(&["key", "disable", "--v1", &id]);
    let only_v3 = key(place.ask(&["key", "list"])).unwrap();
    assert_eq!((&only_v3["active"], &only_v3["v1_allowed"]), (&true.into(), &false.into()));
    place.ask(&["key", "enable", "--v1", &id]);
    assert_eq!(key(place.ask(&["key", "list"])).unwrap()["v1_allowed"], true);
    let simulate = ["policy", "simulate", "--key", &id, "--action"];
    let ask = |action| place.ask(&[&simulate[..], &[action]].concat());
    assert_eq!(ask("cams:GetChatappTemplateMetric")["allowed"], true);
    assert_eq!(ask("cams:SendChatappMessage")["allowed"], false);
    let document = r#"{"Version":"1","Statement":[
        {"Effect":"Allow","Action":"cams:Send*","Resource":"*"},
        {"Effect":"Deny","Action":"cams:SendChatappMassMessage","Resource":"*"}]}"#;
    let file = place.write("policy.json", document);
    place.ask(&["policy", "add", "senders", file.to_str().unwrap()]);
    place.ask(&["policy", "attach", "senders", "--user", "reporter"]);
    let denied = ask("SendChatappMassMessage");
    assert!(denied["decision"].as_str().unwrap().contains("statement 2"), "{denied}");
    assert_eq!(ask("SendChatappMessage")["allowed"], true);
    let in_use = place.run(&["policy", "remove", "senders"]);
    assert!(in_use.code == 1 && in_use.err.contains("in use"), "{}", in_use.err);
    place.ask(&["policy", "detach", "senders", "--user", "reporter"]);
    place.ask(&["policy", "remove", "senders"]);
    let system = place.run(&["policy", "remove", "AliyunCamsReadOnlyAccess"]);
    assert!(system.code == 1 && system.err.contains("a system policy"), "{}", system.err);
    place.write("policy.json", r#"{"Version":"2"}"#);
    let bad = place.run(&["policy", "add", "bad", "policy.json"]);
    assert!(bad.code == 1 && bad.err.contains("the policy will not do"), "{}", bad.err);
    let session = place.run(&["key", "session", "--role", "r", "--expires", "2h", "--json"]);
    assert!(session.text("security_token").len() > 100);
    let long = place.run(&["key", "session", "--role", "r", "--expires", "13h"]);
    assert!(long.code == 1 && long.err.contains("43200"), "{}", long.err);
    let code = place.ask(&["key", "isv-code", "--user", "reporter", "--channel", "cams-1"]);
    assert!(code["isv_code"].is_string());
    place.ask(&["key", "remove", &id]);
    assert!(key(place.ask(&["key", "list"])).is_none());
}

#[test]
fn a_link_to_the_dashboard_is_made_for_an_account() {
    let place = Place::set_up();
    let link = place.ask(&["key", "dashboard"])["dashboard"].as_str().unwrap().to_owned();
    assert!(link.starts_with("http://127.0.0.1:8080/ui/?t="), "{link}");
    let link = place.ask(&["key", "dashboard", "--setup"])["dashboard"].clone();
    let link = link.as_str().unwrap();
    assert!(link.starts_with("http://127.0.0.1:8080/ui/setup?t="), "{link}");
    place.ask(&["key", "account", "add", "second"]);
    let several = place.run(&["key", "dashboard"]);
    assert!(several.code == 1 && several.err.contains("--account"), "{}", several.err);
}

#[test]
fn an_account_goes_once_it_is_empty() {
    let place = Place::set_up();
    let second = place.run(&["key", "account", "add", "second", "--json"]).text("account");
    place.ask(&["key", "account", "remove", &second]);
    let left = place.ask(&["key", "account", "list"]);
    assert_eq!(left.as_array().unwrap().len(), 1);
    let in_use = ["key", "account", "remove", left[0]["account"].as_str().unwrap()];
    let in_use = place.run(&in_use);
    assert!(in_use.code == 1 && in_use.err.contains("in use"), "{}", in_use.err);
}

#[test]
fn secrets_of_a_channel_are_rotated_with_an_overlap() {
    let place = Place::set_up();
    let rotate = ["channel", "secret", "rotate", "cams-1", "--which"];
    let new = place.ask(&[&rotate[..], &["app"]].concat());
    assert!(new["app_secret"].is_string());
    assert_eq!(place.ask(&["channel", "list"])[0]["app_secrets"], 2);
    assert_eq!(place.ask(&["channel", "secret", "drop-old", "cams-1"])["dropped"], 1);
    let given = place.write("token", "my own token\n");
    let new = place.ask(&[&rotate[..], &["verify", "--file", given.to_str().unwrap()]].concat());
    assert_eq!(new["verify_token"], "my own token");
}

#[test]
fn the_same_commands_work_while_the_server_runs_and_when_it_does_not() {
    let place = Place::set_up();
    let mut server = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    server.wait_for("listening on");
    let socket = place.path().join("twoticks-data/control.sock");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let file = place.write("import.ndjson", import_lines());
    let taken = place.ask(&["import", file.to_str().unwrap()]);
    assert_eq!(taken["events"], 4);
    assert_eq!(place.ask(&["verify"])["equal"], true);
    place.ask(&["key", "user", "add", "while-it-runs"]);
    let refused = place.run(&["key", "user", "add", "while-it-runs"]);
    assert!(refused.code == 1 && refused.err.contains("already"), "{}", refused.err);
    let second = place.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(second.code == 1 && second.err.contains("another process"), "{}", second.err);
    assert_eq!(server.stop(), 0, "a signal stops it in order");
    assert!(!socket.exists(), "the socket goes with the server");
    let users = place.run(&["key", "user", "list", "--json"]);
    assert!(users.out.contains("while-it-runs"));
    assert_eq!(place.ask(&["verify"])["ledger"]["messages"], 1);
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let place = Place::set_up();
    let mut server = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let line = server.wait_for("listening on");
    let address = line.split("listening on ").nth(1).unwrap().split(' ').next().unwrap();
    // A request that never ends keeps the server from stopping in order.
    let mut request = std::net::TcpStream::connect(address).unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx";
    std::io::Write::write_all(&mut request, head).unwrap();
    place.ask(&["key", "list"]);
    server.signal("TERM");
    server.wait_for("open requests finish");
    server.signal("INT");
    assert_eq!(server.0.wait().unwrap().code(), Some(1));
    assert_eq!(place.ask(&["verify"])["equal"], true);
}

#[test]
fn a_socket_that_a_dead_server_left_is_no_obstacle() {
    let place = Place::set_up();
    let mut server = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    server.wait_for("listening on");
    server.kill();
    assert!(place.path().join("twoticks-data/control.sock").exists());
    place.ask(&["key", "user", "list"]);
    let mut server = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    server.wait_for("listening on");
    place.ask(&["key", "user", "list"]);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_folder_with_a_very_long_path_is_refused_with_what_would_do() {
    let place = Place::new();
    let long = format!("{}/data", "x".repeat(120));
    place.ask(&["init", "--data-dir", &long]);
    let said = place.run(&["serve", "--data-dir", &long, "--listen", "127.0.0.1:0"]);
    assert!(said.code == 1 && said.err.contains("a shorter path"), "{}", said.err);
    place.ask(&["key", "list", "--data-dir", &long]);
}

#[test]
fn every_vector_of_signatures_is_judged_as_it_expects() {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../twoticks-wire/tests/data/signing");
    for (name, verdict) in [
        ("001_py_cams_531_enable_min", "OK"),
        ("017_py_cams_531_template_v2_specials", "OK"),
        ("019_py_cams_531_enable_bearer", "Unsigned"),
        ("086_derived_v3_tampered_query", "SignatureDoesNotMatch"),
        ("092_derived_v3_stale_16min", "InvalidTimeStamp.Expired"),
    ] {
        let path = folder.join(format!("{name}.json"));
        let said = place.run(&["check", path.to_str().unwrap()]);
        assert_eq!((said.code, said.out.trim_end()), (0, verdict), "{name}: {}", said.err);
    }
    let tampered = std::fs::read_to_string(folder.join("001_py_cams_531_enable_min.json")).unwrap();
    let tampered = tampered.replace("\"target\": \"/\"", "\"target\": \"/?IsvCode=x\"");
    let said = place.with_input(&["check", "-"], &tampered);
    assert_eq!((said.code, said.out.trim_end()), (1, "SignatureDoesNotMatch"));
    assert!(said.err.contains("first difference"), "{}", said.err);
    assert!(said.err.contains("expected   \""), "line ends are seen: {}", said.err);
    let canonical = said.err.matches("x-acs-signature-nonce").count();
    assert!(canonical <= 2, "the texts are shown where they part, not whole: {}", said.err);
    let other = tampered.replace("/?IsvCode=x", "/").replace("\"exampleSecret", "\"another");
    let said = place.with_input(&["check", "-"], &other);
    assert!(said.code == 1 && said.err.contains("the secret is another one"), "{}", said.err);
    let said = place.with_input(&["check", "-"], "nonsense");
    assert_eq!(said.err.matches("at line 1").count(), 1, "{}", said.err);
    let said = place.with_input(&["check", "-", "--json"], &tampered);
    let answer: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(answer["scheme"], "ACS3");
    assert_eq!(answer["expected"], "OK");
    assert!(answer["difference"]["line"].is_u64(), "{answer}");
}

#[test]
fn init_says_the_next_commands_as_they_work() {
    let place = Place::new();
    let said = place.run(&["init", "--channel", "cams-1"]);
    assert!(said.err.contains("--phone-number-id ID --channel cams-1\n"), "{}", said.err);
    assert!(said.err.contains("next: twoticks serve\n"), "{}", said.err);
    assert!(said.err.contains("then: twoticks key dashboard --setup\n"), "{}", said.err);
    let said = place.run(&["init", "--data-dir", "second"]);
    assert!(said.err.contains("next: twoticks serve --data-dir second\n"), "{}", said.err);
    let link = "then: twoticks key dashboard --setup --data-dir second\n";
    assert!(said.err.contains(link), "{}", said.err);
    assert!(said.err.contains("`twoticks.toml` was left as it was"), "{}", said.err);
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_would_do() {
    let place = Place::new();
    let ill = place.run(&["doctor", "--json"]);
    assert_eq!(ill.code, 1);
    assert!(ill.out.contains("`twoticks init` makes"), "{}", ill.out);
    let place = Place::set_up();
    let listen = |said: &Said| {
        let rows: Value = serde_json::from_str(&said.out).unwrap();
        let failed = rows.as_array().unwrap().iter().filter(|it| it["state"] == "fail");
        failed.map(|it| it["check"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    place.write("free.toml", "[listen]\naddress = \"127.0.0.1:0\"\n");
    let well = place.run(&["doctor", "--json", "--config", "free.toml"]);
    assert_eq!((well.code, listen(&well)), (0, vec![]), "{}", well.out);
    assert!(
        well.out.contains("state and totals ") && well.out.contains("; snapshots "),
        "{}",
        well.out
    );
    let key = place.path().join("twoticks-data/key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let ill = place.run(&["doctor", "--json", "--config", "free.toml"]);
    assert_eq!((ill.code, listen(&ill)), (1, vec!["key".to_owned(), "contents".to_owned()]));
}

#[test]
fn a_demo_prints_one_line_and_is_the_same_for_the_same_seed() {
    let place = Place::new();
    let tell = |folder: &str| {
        let args = ["demo", "--listen", "127.0.0.1:0", "--data-dir", folder, "--json"];
        let mut demo = place.start(&[&args[..], &["--seed", "7", "--days", "1"]].concat());
        let mut line = String::new();
        demo.out().read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let digest = place.ask(&["verify", "--data-dir", folder]);
        assert_eq!(digest["equal"], true);
        assert_eq!(demo.stop(), 0);
        (ready, digest["ledger"]["messages"].clone())
    };
    let (one, other) = (tell("one"), tell("other"));
    for field in ["admin", "denied", "session", "channel", "app_secret", "numbers", "templates"] {
        assert!(!one.0[field].is_null() && one.0[field] == other.0[field], "{field}");
    }
    for field in ["endpoint", "dashboard", "control", "verify_token", "receipts_secret", "data"] {
        assert!(!one.0[field].is_null(), "{field}");
    }
    assert_eq!(one.1, other.1, "the same sends");
    assert!(one.1.as_u64().unwrap() > 500);
    assert_eq!(one.0["channels"].as_array().unwrap().len(), 3);
    assert_eq!(one.0["numbers"].as_array().unwrap().len(), 6);
    assert_eq!(one.0["templates"].as_array().unwrap().len(), 16);
    assert_eq!(one.0["templates"][0]["code"], "demo_promo");
    for list in ["numbers", "templates", "channels"] {
        let first = &one.0[list][0];
        let of = if list == "channels" { &first["id"] } else { &first["channel"] };
        assert_eq!(*of, one.0["channel"], "{list}: what is of the first channel comes first");
    }

    let again = tell("one");
    assert_eq!(again.0["admin"], one.0["admin"], "kept for a second run");
    assert_eq!(again.0["data"], one.0["data"]);
    assert!(again.1.as_u64() >= one.1.as_u64());
    let mode = std::fs::metadata(place.path().join("one/ready.json")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    let sends = place.write("sends.ndjson", "{}\n");
    let mixed = place.run(&["import", sends.to_str().unwrap(), "--data-dir", "one"]);
    assert!(mixed.code == 1 && mixed.err.contains("invented data of a demo"), "{}", mixed.err);
    let totals = ["export", "totals", "--to", "totals.csv", "--data-dir", "one"];
    assert_eq!(place.ask(&totals)["invented"], "demo", "its exports say so");
    let real = place.run(&["serve", "--data-dir", "one", "--listen", "127.0.0.1:0"]);
    assert!(real.code == 1 && real.err.contains("holds invented data"), "{}", real.err);
    let seed = place.run(&["demo", "--data-dir", "one", "--listen", "127.0.0.1:0", "--seed", "8"]);
    assert!(seed.code == 1 && seed.err.contains("from the seed 7"), "{}", seed.err);
    place.ask(&["init", "--data-dir", "real"]);
    let demo = place.run(&["demo", "--data-dir", "real", "--listen", "127.0.0.1:0"]);
    assert!(demo.code == 1 && demo.err.contains("not of `twoticks demo`"), "{}", demo.err);
}
