//! The one place that knows how a server is made: tests say what they call and what they expect.
//!
//! [`Server::start`] gives a server on a port of its own, on a clock that stands still, with two
//! tenants and callers of every kind ([`Who`]). What always holds: [`Server::stop`] finds nothing
//! in flight, no task left, no panic and no `error!` that the test did not expect, and a server
//! that is dropped without it fails the test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Level, Metadata, Subscriber};
use twoticks_core::clock::{Clock, ManualClock, Time};
use twoticks_server::app::{App, Surroundings};
use twoticks_server::carrier::{Carrier, LocalCarrier};
use twoticks_server::rehearsal::Rehearsal;
use twoticks_server::run;
use twoticks_server::settings::Settings;
use twoticks_store::cursors::Cursors;
use twoticks_store::directory::memory::MemoryDirectory;
use twoticks_store::directory::{Change, Directory};
use twoticks_store::error::Error;
use twoticks_store::figures::Figures;
use twoticks_store::keys::Keys;
use twoticks_store::ledger::Ledger;
use twoticks_store::memory::MemoryLedger;
use twoticks_store::outbox::Outbox;
use twoticks_wire::signature::Algorithm;
use twoticks_wire::signature::sign::{Call, SecretKey, SignedCall, Signer, sign_v1, sign_v3};

use crate::tenants;
pub(crate) use crate::tenants::Who;

/// What the clock shows at first: 2026-11-23T12:00:00Z, a Monday.
pub(crate) const NOON: Time = Time(1_795_435_200_000);
/// How long a server may take to stop.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running server.
pub(crate) struct Server {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) address: SocketAddr,
    pub(crate) log: Log,
    errors_expected: bool,
    nonce: AtomicU64,
    shutdown: Option<oneshot::Sender<()>>,
    serving: JoinSet<Result<usize, Error>>,
    _logging: tracing::subscriber::DefaultGuard,
}

/// What a server is made with, where a test wants it otherwise.
pub(crate) struct Made {
    pub(crate) settings: Settings,
    pub(crate) carrier: Arc<dyn Carrier>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) is_demo: bool,
    /// What waits to be sent; in memory if it is not given.
    pub(crate) outbox: Option<Outbox>,
    /// How far what is passed on has come; in memory if it is not given.
    pub(crate) cursors: Option<Cursors>,
    /// What WhatsApp counts by itself; in memory if it is not given.
    pub(crate) figures: Option<Figures>,
    /// Made to the directory before it serves.
    pub(crate) changes: Vec<Change>,
}

impl Default for Made {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            carrier: Arc::new(LocalCarrier),
            ledger: Arc::new(MemoryLedger::new()),
            is_demo: false,
            outbox: None,
            cursors: None,
            figures: None,
            changes: Vec::new(),
        }
    }
}

/// What a demo has around its server, as far as the server sees it.
struct Demo;

impl Rehearsal for Demo {
    fn label(&self) -> &'static str {
        "demo data"
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) bytes: Vec<u8>,
}

impl Reply {
    /// The body as JSON; an answer that is none fails the test.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| {
            panic!("not JSON ({error}): {}", String::from_utf8_lossy(&self.bytes))
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["Code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How a call is made, where it is not the usual way: V3, POST, parameters in the query.
#[derive(Clone, Debug, Default)]
pub(crate) struct How {
    pub(crate) get: bool,
    pub(crate) v1: bool,
    pub(crate) form: bool,
    pub(crate) nonce: Option<String>,
    pub(crate) without_token: bool,
    pub(crate) version: Option<String>,
    pub(crate) at: Option<Time>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Made::default()).await
    }

    pub(crate) async fn start_with(made: Made) -> Self {
        let log = Log::default();
        let logging = tracing::subscriber::set_default(log.clone());
        let Made { settings, carrier, ledger, is_demo, outbox, cursors, figures, changes } = made;
        let clock = Arc::new(ManualClock::new(NOON));
        let directory = Arc::new(MemoryDirectory::new());
        directory.change(tenants::everything()).await.unwrap();
        directory.change(changes).await.unwrap();
        let surroundings = Surroundings {
            clock: clock.clone(),
            keys: Arc::new(Keys::from_bytes([7; 32])),
            ledger,
            directory,
            carrier,
        };
        let rehearsal = is_demo.then(|| Arc::new(Demo) as Arc<dyn Rehearsal>);
        let app = App { rehearsal, ..App::new(settings, surroundings) };
        let app = match outbox {
            Some(outbox) => app.keeping(outbox),
            None => app,
        };
        let app = match figures {
            Some(figures) => app.comparing(figures),
            None => app,
        };
        let app = Arc::new(match cursors {
            Some(cursors) => app.passing_on(cursors),
            None => app,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, stopped) = oneshot::channel();
        let mut serving = JoinSet::new();
        serving.spawn(run::serve(app.clone(), listener, PATIENCE, async move {
            drop(stopped.await);
        }));
        Self {
            app,
            clock,
            address,
            log,
            errors_expected: false,
            nonce: AtomicU64::new(0),
            shutdown: Some(shutdown),
            serving,
            _logging: logging,
        }
    }

    /// This test makes the server log errors.
    pub(crate) fn expect_errors(&mut self) {
        self.errors_expected = true;
    }

    /// Stops it, and looks that nothing is left.
    pub(crate) async fn stop(mut self) {
        let shutdown = self.shutdown.take().unwrap();
        shutdown.send(()).unwrap();
        let left = self.serving.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(left, 0, "tasks were left");
        assert_eq!(self.app.gate.in_flight.count(), 0, "calls are in flight");
        assert_eq!(self.app.telemetry.calls_in_flight(), 0, "calls are in flight");
        let errors = self.log.of(Level::ERROR);
        if self.errors_expected {
            assert!(!errors.is_empty(), "the expected error was not logged");
        } else {
            assert_eq!(errors, Vec::<String>::new(), "errors were logged");
            assert_eq!(self.app.telemetry.panics(), 0, "a request panicked");
        }
    }

    /// Calls an operation the usual way.
    pub(crate) async fn call(&self, who: Who, action: &str, params: &[(&str, &str)]) -> Reply {
        self.call_how(who, action, params, &How::default()).await
    }

    pub(crate) async fn call_how(
        &self,
        who: Who,
        action: &str,
        params: &[(&str, &str)],
        how: &How,
    ) -> Reply {
        let signed = self.sign(who, action, params, how);
        self.send(&signed).await
    }

    /// Signs a call as an SDK does.
    pub(crate) fn sign(
        &self,
        who: Who,
        action: &str,
        params: &[(&str, &str)],
        how: &How,
    ) -> SignedCall {
        let params: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let (query, form) = if how.form { (Vec::new(), params) } else { (params, Vec::new()) };
        let call = Call {
            method: if how.get { "GET" } else { "POST" }.to_owned(),
            host: self.address.to_string(),
            action: action.to_owned(),
            version: how.version.clone().unwrap_or_else(|| "2020-06-06".to_owned()),
            query,
            form,
        };
        let number = self.nonce.fetch_add(1, Ordering::SeqCst);
        let nonce = how.nonce.clone().unwrap_or_else(|| format!("nonce-{number}"));
        let credentials = who.credentials();
        let signer = Signer {
            access_key_id: &credentials.id,
            key: &SecretKey::secret(credentials.secret),
            security_token: credentials.token.as_deref().filter(|_| !how.without_token),
            now_ms: how.at.unwrap_or(self.clock.now()).0,
            nonce: &nonce,
        };
        if how.v1 {
            sign_v1(&call, &signer).unwrap()
        } else {
            sign_v3(&call, &signer, Algorithm::HmacSha256).unwrap()
        }
    }

    /// Sends a signed call over a connection of its own.
    pub(crate) async fn send(&self, signed: &SignedCall) -> Reply {
        let mut replies = self.raw(&bytes_of(signed)).await;
        assert_eq!(replies.len(), 1, "one call, one answer");
        replies.remove(0)
    }

    /// Sends bytes over a connection of its own, says that nothing follows, and reads the answers
    /// to the end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<Reply> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let mut received = Vec::new();
        let write = async {
            // A server that has refused already need not take the rest.
            drop(writing.write_all(bytes).await);
            drop(writing.shutdown().await);
        };
        let read = reading.read_to_end(&mut received);
        let (read, ()) = tokio::join!(read, write);
        read.unwrap();
        replies(&received)
    }

    /// A `GET` without a signature.
    pub(crate) async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        let mut head = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let mut replies = self.raw(head.as_bytes()).await;
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let stopped = self.shutdown.is_none();
        assert!(stopped || std::thread::panicking(), "a test ends with `server.stop().await`");
    }
}

/// A signed call as it goes over the wire, with `content-length` where there is a body.
pub(crate) fn bytes_of(signed: &SignedCall) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", signed.method, signed.target).into_bytes();
    for (name, value) in &signed.headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    if !signed.body.is_empty() {
        bytes.extend_from_slice(format!("content-length: {}\r\n", signed.body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&signed.body);
    bytes
}

/// Answers, one behind the other; every one of ours has a `content-length`.
fn replies(mut bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines.map(|line| line.split_once(':').unwrap()) {
            // What comes several times, such as cookies, is one list.
            let known = headers.entry(name.to_ascii_lowercase()).or_default();
            known.push_str(if known.is_empty() { "" } else { ", " });
            known.push_str(value.trim());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let body = &bytes[end + 4..];
        // The answer to a HEAD has a length and no body.
        let length = length.min(body.len());
        replies.push(Reply { status, headers, bytes: body[..length].to_vec() });
        bytes = &body[length..];
    }
    replies
}

/// Everything that is logged on this thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl Log {
    /// The lines of one level.
    pub(crate) fn of(&self, level: Level) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|(of, _)| *of == level).map(|(_, line)| line.clone()).collect()
    }

    /// Everything of ours, in one text.
    pub(crate) fn all(&self) -> String {
        let lines = self.0.lock().unwrap();
        lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("twoticks")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push((*event.metadata().level(), line.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
