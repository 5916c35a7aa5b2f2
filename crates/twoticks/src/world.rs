//! A server with the emulated WhatsApp behind it, as `emulate` and `demo` run one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use twoticks_core::clock::{Clock, Time};
use twoticks_emulator::clock::TurnedClock;
use twoticks_emulator::emulator::{AnyKey, Emulator};
use twoticks_emulator::fixtures;
use twoticks_emulator::graph;
use twoticks_emulator::renewable::Renewable;
use twoticks_emulator::tenants::Tenants;
use twoticks_emulator::whatsapp::{self, WhatsApp};
use twoticks_server::app::{App, Surroundings};
use twoticks_server::outside::guard::Networks;
use twoticks_server::settings::{Outside, Settings};
use twoticks_server::ui;
use twoticks_store::directory::Directory;
use twoticks_store::directory::names::Secret;
use twoticks_store::journal::Position;
use twoticks_store::keys::Keys;
use twoticks_store::ledger::Ledger;

use crate::clock::SystemClock;
use crate::init;
use crate::marker::{self, Marker};
use crate::reach::Stores;

/// How long a request may take where the clock can be turned, in seconds.
const TURN_SECONDS_MAX: u32 = 600;

/// The server, and what stands around it.
pub(crate) struct World {
    pub(crate) app: Arc<App>,
    pub(crate) emulator: Arc<Emulator>,
    pub(crate) clock: Arc<TurnedClock>,
    pub(crate) callers: Arc<CallersClock>,
    pub(crate) ledger: Arc<Renewable<dyn Ledger>>,
    pub(crate) directory: Arc<Renewable<dyn Directory>>,
}

/// The clock by which callers sign: their own, but while a story is told, when the teller is the
/// only caller, the story's.
pub(crate) struct CallersClock {
    told: Arc<TurnedClock>,
    is_live: AtomicBool,
}

impl CallersClock {
    /// Callers sign by the story's clock until [`CallersClock::go_live`].
    pub(crate) fn tell(&self) {
        self.is_live.store(false, Ordering::SeqCst);
    }

    pub(crate) fn go_live(&self) {
        self.is_live.store(true, Ordering::SeqCst);
    }
}

impl Clock for CallersClock {
    fn now(&self) -> Time {
        if self.is_live.load(Ordering::SeqCst) { SystemClock.now() } else { self.told.now() }
    }
}

impl World {
    /// A world on `stores`.
    pub(crate) fn new(
        mut settings: Settings,
        stores: Stores,
        label: &'static str,
        config: whatsapp::Config,
        any_key: Option<AnyKey>,
    ) -> Self {
        let Stores { keys, ledger, directory } = stores;
        // A turn of the clock by weeks is one request.
        settings.limits.request_seconds_max =
            settings.limits.request_seconds_max.max(TURN_SECONDS_MAX);
        // Whoever tries it has their receivers on this machine.
        settings.outside = Outside { networks: Networks::all(), http: true };
        let (ledger, directory) =
            (Arc::new(Renewable::new(ledger)), Arc::new(Renewable::new(directory)));
        let clock = Arc::new(TurnedClock::new(Arc::new(SystemClock)));
        let callers =
            Arc::new(CallersClock { told: Arc::clone(&clock), is_live: AtomicBool::new(true) });
        let whatsapp =
            WhatsApp::new(Arc::clone(&clock), Arc::clone(&directory) as Arc<dyn Directory>, config);
        let whatsapp = Arc::new(whatsapp);
        let mut emulator = Emulator::new(label, Arc::clone(&whatsapp));
        emulator.any_key = any_key;
        let emulator = Arc::new(emulator);
        let surroundings = Surroundings {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            keys,
            ledger: Arc::clone(&ledger) as Arc<dyn Ledger>,
            directory: Arc::clone(&directory) as Arc<dyn Directory>,
            carrier: whatsapp,
        };
        let app = Arc::new(App {
            callers_clock: Arc::clone(&callers) as Arc<dyn Clock>,
            rehearsal: Some(Arc::clone(&emulator) as _),
            ..App::new(settings, surroundings)
        });
        Self { app, emulator, clock, callers, ledger, directory }
    }

    /// Tells what is due when it is due, for as long as the server runs.
    pub(crate) fn run(&self) {
        let whatsapp = Arc::clone(&self.emulator.whatsapp);
        self.app.tasks.spawn(|stop| async move { whatsapp.run(&stop).await });
    }
}

/// The position of the last entry that was recorded, and when that was accepted: 0 and nothing if
/// there is none.
///
/// # Errors
/// If the journal cannot be read.
pub(crate) async fn last_recorded(ledger: &dyn Ledger) -> Result<(Position, Option<Time>)> {
    let reading = "cannot read the journal";
    // Nobody keeps its length, but every position up to the last one has an entry.
    let (mut known, mut accepted, mut step) = (0, None, 1);
    while step > 0 {
        let entry = ledger.entries(known + step, 1).await.context(reading)?.pop();
        match entry {
            Some(entry) => {
                (known, accepted) = (entry.position, Some(entry.batch.accepted));
                step *= 2;
            }
            None => step /= 2,
        }
    }
    Ok((known, accepted))
}

/// Makes a folder for invented data, if it is new.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn make_folder(folder: &Path, key_file: Option<&Path>, marker: &Marker) -> Result<()> {
    init::make_folder(folder)?;
    marker::write(folder, marker)?;
    if let Some(file) = key_file.filter(|file| !file.exists()) {
        Keys::create(file)?;
    }
    Ok(())
}

/// What a script needs of a world that is ready, in one line. What is of the first channel comes
/// first in each list, and of its templates those in `first`.
pub(crate) fn ready_line(
    world: &World,
    address: SocketAddr,
    tenants: &Tenants,
    first: &[&str],
    (start, end): (i64, i64),
) -> Value {
    let Tenants { account, admin, denied, session, channels } = tenants;
    let snapshot = world.app.directory.snapshot();
    let shown = fixtures::shown(&snapshot, &account.uid);
    let field = |row: &Value, name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
    let sorted = |name: &str, id: &str| {
        let mut rows = shown.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let place = |row: &Value| {
            let of = field(row, id);
            let channel = channels.iter().position(|it| Some(it.id.as_str()) == of.as_deref());
            let code = field(row, "code");
            let template = first.iter().position(|it| Some(*it) == code.as_deref());
            (channel.unwrap_or(usize::MAX), template.unwrap_or(usize::MAX))
        };
        rows.sort_by_key(place);
        rows
    };
    let one = channels.first();
    json!({
        "endpoint": format!("http://{address}"),
        "dashboard": dashboard(&world.app, address, tenants),
        "control": format!("http://{address}/_twoticks/"),
        "admin": {
            "access_key_id": admin.id, "access_key_secret": admin.secret.expose(),
        },
        "denied": {
            "access_key_id": denied.id, "access_key_secret": denied.secret.expose(),
        },
        "session": {
            "access_key_id": session.id, "access_key_secret": session.secret.expose(),
            "security_token": session.token.expose(),
        },
        "app_secret": one.and_then(|it| it.app_secrets.last()).map(Secret::expose),
        "verify_token": one.map(|it| it.verify_token.expose()),
        "receipts_secret": one.map(|it| it.receipts_secret.expose()),
        "channel": one.map(|it| &it.id),
        "channels": sorted("channels", "id"),
        "numbers": sorted("numbers", "channel"),
        "templates": sorted("templates", "channel"),
        "graph": one.map(|it| {
            let version = world.emulator.whatsapp.config().version;
            graph::shown(it, &format!("http://{address}"), version)
        }),
        "data": {"start": start, "end": end},
    })
}

/// A link to the dashboard that lets whoever opens it in, for a quarter of an hour.
pub(crate) fn dashboard(app: &App, address: SocketAddr, tenants: &Tenants) -> String {
    let query = ui::link(&app.keys, app.clock.now(), &tenants.account.uid);
    format!("http://{address}/ui/?{query}")
}

/// Bytes that `seed` foretells, for ids and keys.
pub(crate) fn bytes(seed: u64) -> impl FnMut(&mut [u8]) + Send + 'static {
    let mut dice = twoticks_emulator::dice::Dice::new(seed ^ 0x6b65_7973);
    move |buffer| dice.fill(buffer)
}

/// Keeps the ready line in the folder, for `twoticks tour`; only its owner may read it.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn keep_ready_line(folder: &Path, line: &Value) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = folder.join(READY);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// The name of the file with the ready line.
pub(crate) const READY: &str = "ready.json";
