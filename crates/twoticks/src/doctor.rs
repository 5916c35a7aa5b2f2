//! `doctor`: what may be wrong, each with what would do. To add a check, add a function that gives
//! a [`Finding`], and its line in [`run`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Result;
use serde_json::{Value, json};
use twoticks_core::clock::Clock;
use twoticks_server::control::socket::Remote;
use twoticks_server::control::{Command, execute};
use twoticks_server::control::{channels, feed, pass_on};
use twoticks_store::keys::Keys;
use twoticks_wire::signature::Algorithm;
use twoticks_wire::signature::sign::{Call, SecretKey, Signer, sign_v1, sign_v3};
use twoticks_wire::transcript;

use crate::config::Config;
use crate::{output, reach};

/// Less free space than this is a warning, in KiB: the journal of a busy week.
const FREE_KIB_WARN: u64 = 1 << 20;
/// Less free space than this is a failure, in KiB: a few segments of the journal.
const FREE_KIB_FAIL: u64 = 256 << 10;
/// Whatever waits longer to be passed on is a warning, in seconds.
const LATE_SECONDS: u64 = 60;
/// A clock before this was never set: 2026-01-01T00:00:00Z, in milliseconds.
const CLOCK_SET: i64 = 1_767_225_600_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Warn,
    Fail,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

struct Finding {
    check: &'static str,
    state: State,
    detail: String,
}

fn found(check: &'static str, state: State, detail: impl Into<String>) -> Finding {
    Finding { check, state, detail: detail.into() }
}

/// Looks at everything; whether nothing is wrong.
///
/// # Errors
/// If standard output cannot be written to.
pub(crate) async fn run(config: &Config, clock: Arc<dyn Clock>, as_json: bool) -> Result<bool> {
    let folder = &config.data.folder;
    let is_running = matches!(Remote::connect(folder).await, Ok(Some(_)));
    let [contents, sizes] = opens(config, Arc::clone(&clock), is_running).await;
    let findings = [
        configuration(config),
        the_clock(clock.as_ref(), folder),
        writable(folder),
        free_space(folder),
        key_file(config),
        contents,
        sizes,
        signatures(clock.as_ref()),
        port(config, is_running).await,
    ];
    let mut findings: Vec<Finding> =
        findings.into_iter().chain(connections(config, clock, is_running).await).collect();
    findings.extend(destinations(folder).await);
    let rows: Vec<_> = findings
        .iter()
        .map(|it| json!({"state": it.state.as_str(), "check": it.check, "detail": it.detail}))
        .collect();
    output::value(as_json, &rows.into())?;
    Ok(findings.iter().all(|it| it.state != State::Fail))
}

fn configuration(config: &Config) -> Finding {
    let file = config.file.as_ref().map_or("defaults".to_owned(), |it| it.display().to_string());
    let summary = format!("{file}; data in {}", config.data.folder.display());
    match config.listen_address() {
        Ok(address) if address.ip().is_loopback() => found("configuration", State::Ok, summary),
        Ok(address) => {
            let detail = format!("{address} is open to others; TLS has to be a proxy's; {summary}");
            found("configuration", State::Warn, detail)
        }
        Err(error) => found("configuration", State::Fail, error.to_string()),
    }
}

/// Callers are refused when their clock and ours are a quarter of an hour apart.
fn the_clock(clock: &dyn Clock, folder: &Path) -> Finding {
    let now = clock.now().0;
    let newest = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let modified = entry.metadata().ok()?.modified().ok()?;
        let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    });
    let ahead = newest.max().unwrap_or(now) - now;
    if now < CLOCK_SET {
        let detail = "the clock was never set; callers more than 15 minutes off are refused";
        found("clock", State::Fail, detail)
    } else if ahead > 60_000 {
        let detail = format!("the data folder was written {} s in the future", ahead / 1_000);
        found("clock", State::Warn, format!("{detail}; set the clock, for instance with NTP"))
    } else {
        let time = jiff::Timestamp::from_millisecond(now).map(|it| it.to_string());
        found("clock", State::Ok, time.unwrap_or_default())
    }
}

fn writable(folder: &Path) -> Finding {
    if !folder.is_dir() {
        let detail = format!("there is no folder `{}`; `twoticks init` makes it", folder.display());
        return found("data folder", State::Fail, detail);
    }
    match tempfile_in(folder) {
        Ok(()) => found("data folder", State::Ok, format!("`{}` can be written", folder.display())),
        Err(error) => {
            let detail = format!("`{}` cannot be written: {error}; chown it", folder.display());
            found("data folder", State::Fail, detail)
        }
    }
}

fn tempfile_in(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!("doctor.{}", std::process::id()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?.sync_all()?;
    std::fs::remove_file(path)
}

/// Asks `df`, because the standard library does not know.
fn free_space(folder: &Path) -> Finding {
    let asked = std::process::Command::new("df").arg("-Pk").arg(folder).output();
    let text = asked.map(|it| String::from_utf8_lossy(&it.stdout).into_owned()).unwrap_or_default();
    let free = text.lines().nth(1).and_then(|line| line.split_whitespace().nth(3));
    match free.and_then(|it| it.parse::<u64>().ok()) {
        None => found("disk", State::Warn, "the free space is not known; look at it with `df`"),
        Some(kib) => {
            let detail = format!("{} MiB free", kib >> 10);
            if kib < FREE_KIB_FAIL {
                found("disk", State::Fail, format!("{detail}; webhooks will be refused: make room"))
            } else if kib < FREE_KIB_WARN {
                found("disk", State::Warn, format!("{detail}; make room soon"))
            } else {
                found("disk", State::Ok, detail)
            }
        }
    }
}

fn key_file(config: &Config) -> Finding {
    match config.key() {
        Ok(Some(_)) => return found("key", State::Ok, "from `keys.key`"),
        Err(error) => return found("key", State::Fail, error.to_string()),
        Ok(None) => {}
    }
    let path = config.key_file();
    match Keys::open(&path) {
        Ok(_) => {
            let detail = format!("`{}`; keep a copy of it somewhere else", path.display());
            found("key", State::Ok, detail)
        }
        Err(error) => found("key", State::Fail, error.to_string()),
    }
}

/// Opens the folder, which checks its version, its lock and every record of the journal, and says
/// what it takes on disk. A server that runs on it says so itself.
async fn opens(config: &Config, clock: Arc<dyn Clock>, is_running: bool) -> [Finding; 2] {
    let disk = Command::Data(feed::Command::Disk);
    let not_known = |why: String| found("sizes", State::Warn, format!("not known: {why}"));
    if is_running {
        let asked = match Remote::connect(&config.data.folder).await {
            Ok(Some(mut remote)) => remote.ask(&disk, &AtomicU64::new(0)).await,
            Ok(None) => return [running(), not_known("the server has stopped".to_owned())],
            Err(error) => Err(error.into()),
        };
        let sizes = asked.map_or_else(|error| not_known(error.to_string()), |it| sizes(&it));
        return [running(), sizes];
    }
    match reach::open(config, clock).await {
        Ok(app) => {
            let asked = execute(&app, disk).await;
            let sizes = asked.map_or_else(|error| not_known(error.to_string()), |it| sizes(&it));
            let contents = match app.ledger.close().await {
                Ok(()) => found("contents", State::Ok, "the folder opens and closes"),
                Err(error) => found("contents", State::Fail, error.to_string()),
            };
            [contents, sizes]
        }
        Err(error) => [
            found("contents", State::Fail, format!("{error:#}")),
            not_known("the folder does not open".to_owned()),
        ],
    }
}

/// Asks WhatsApp about each channel that is connected with it.
async fn connections(config: &Config, clock: Arc<dyn Clock>, is_running: bool) -> Vec<Finding> {
    let check = Command::Channels(channels::Command::Check { channel: None });
    let asked = match reach::Data::reach(config, clock).await {
        Ok(mut data) => {
            let asked = data.ask(check).await;
            // What cannot be closed in order is told by the check of the contents.
            drop(data.close().await);
            asked
        }
        Err(error) => Err(error),
    };
    let Ok(asked) = asked else { return Vec::new() };
    let rows = asked.get("connections").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut findings: Vec<Finding> = rows.iter().map(connection).collect();
    let refused = asked.get("signatures_refused").and_then(Value::as_u64).unwrap_or_default();
    if is_running && refused > 0 {
        let detail = format!(
            "{refused} webhooks since the start had a signature that fits no app secret; if they \
             are WhatsApp's, the app secret is wrong: `twoticks channel connect` takes another"
        );
        findings.push(found("webhook signatures", State::Warn, detail));
    }
    findings
}

/// What a channel's connection lacks.
fn connection(row: &Value) -> Finding {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let channel = row.get("channel").and_then(text).unwrap_or_default();
    let problems = row.get("problems").and_then(Value::as_array);
    let problems: Vec<String> = problems.into_iter().flatten().filter_map(text).collect();
    if problems.is_empty() {
        let callback = row.get("callback").and_then(text);
        let callback = callback.map_or_else(String::new, |it| format!("; webhooks go to {it}"));
        let detail = format!("{channel} is connected with WhatsApp{callback}");
        return found("connection", State::Ok, detail);
    }
    found("connection", State::Fail, format!("{channel}: {}", problems.join("; ")))
}

/// Asks a running server how passing on goes: nobody else knows.
async fn destinations(folder: &Path) -> Vec<Finding> {
    let Ok(Some(mut remote)) = Remote::connect(folder).await else { return Vec::new() };
    let list = Command::PassOn(pass_on::Command::List { channel: None });
    let Ok(rows) = remote.ask(&list, &AtomicU64::new(0)).await else { return Vec::new() };
    rows.as_array().into_iter().flatten().map(destination).collect()
}

/// How a destination stands.
fn destination(row: &Value) -> Finding {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or_default();
    let to = format!("{} of {} to {}", text("form"), text("channel"), text("to"));
    let (open, late) = (number("open") + number("behind"), number("late_seconds"));
    let lost = number("given_up") + number("skipped");
    let mut wrong = Vec::new();
    if row.get("failing").is_some_and(Value::is_string) {
        wrong.push(format!("{}, {open} entries wait", text("failing")));
    } else if late > LATE_SECONDS {
        wrong.push(format!("{open} entries wait, the oldest for {late} s"));
    }
    if lost > 0 {
        wrong.push(format!("{lost} entries since the start were given up or came too late"));
    }
    if wrong.is_empty() {
        return found("passing on", State::Ok, format!("{to}: {} taken", number("taken")));
    }
    found("passing on", State::Warn, format!("{to}: {}", wrong.join("; ")))
}

fn running() -> Finding {
    found("contents", State::Ok, "a server is running on the folder")
}

/// What the folder takes on disk, each kind apart.
fn sizes(disk: &Value) -> Finding {
    let number = |name: &str| disk.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (messages, state) = (number("messages"), number("state_and_totals"));
    let each = state.checked_div(messages).map_or(String::new(), |bytes| {
        format!(", {bytes} bytes for each of about {messages} messages kept")
    });
    let detail = format!(
        "state and totals {}{each}; engine {}; journal {}; snapshots {}",
        size(state),
        size(number("engine")),
        size(number("journal")),
        size(number("snapshots")),
    );
    found("sizes", State::Ok, detail)
}

/// So many bytes, for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240..10_485_760 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Signs a call both ways and has the server's own checks judge it.
fn signatures(clock: &dyn Clock) -> Finding {
    let (id, secret) = ("LTAIdoctor", "doctor-secret");
    let key = SecretKey::secret(secret);
    let now_ms = clock.now().0;
    let signer =
        Signer { access_key_id: id, key: &key, security_token: None, now_ms, nonce: "doctor" };
    let call = Call {
        method: "POST".to_owned(),
        host: "localhost".to_owned(),
        action: "GetChatappPhoneNumberMetric".to_owned(),
        version: "2020-06-06".to_owned(),
        query: vec![("CustSpaceId".to_owned(), "a b+*~é".to_owned())],
        form: Vec::new(),
    };
    let signed = [
        sign_v3(&call, &signer, Algorithm::HmacSha256),
        sign_v3(&call, &signer, Algorithm::HmacSm3),
        sign_v1(&call, &signer),
    ];
    for signed in signed {
        let verdict = signed.map_err(|error| error.to_string()).and_then(|signed| {
            let headers: Vec<(String, String)> = signed
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
                .collect();
            let transcript = json!({
                "credential": {"access_key_id": id, "access_key_secret": secret},
                "now": now_ms.div_euclid(1_000),
                "request": {"method": signed.method, "target": signed.target, "headers": headers},
            });
            let transcript = transcript::parse(transcript.to_string().as_bytes());
            let verdict = transcript.and_then(|it| transcript::verdict(&it));
            verdict.map(|it| it.name).map_err(|error| error.to_string())
        });
        if verdict.as_deref() != Ok("OK") {
            let said = verdict.unwrap_or_else(|error| error);
            let detail = format!("a call signed here is judged `{said}`; this build is broken");
            return found("signatures", State::Fail, detail);
        }
    }
    found("signatures", State::Ok, "a call signed here is accepted, V3 and V1")
}

async fn port(config: &Config, is_running: bool) -> Finding {
    let address = config.listen.address;
    match tokio::net::TcpListener::bind(address).await {
        Ok(_) => found("port", State::Ok, format!("{address} is free")),
        Err(_) if is_running => found("port", State::Ok, format!("{address} is in use")),
        Err(error) => {
            let detail = format!("cannot listen on {address}: {error}; choose another address");
            found("port", State::Fail, detail)
        }
    }
}
