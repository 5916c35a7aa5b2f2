//! `emulate`: an empty CAMS with a whole WhatsApp behind it, for tests and for writing code.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use twoticks_core::clock::Clock as _;
use twoticks_emulator::chaos::Chaos;
use twoticks_emulator::clock::SPEED_MAX;
use twoticks_emulator::emulator::{AnyKey, Fresh, Renewal};
use twoticks_emulator::fixtures::Fixtures;
use twoticks_emulator::meta::Version;
use twoticks_emulator::tenants::{self, ChannelPlan, Tenants};
use twoticks_emulator::whatsapp;
use twoticks_store::directory::memory::MemoryDirectory;
use twoticks_store::directory::mint::Mint;
use twoticks_store::directory::names::Secret;
use twoticks_store::embedded::retention::Retention;
use twoticks_store::keys::{KEY_BYTES, Keys};
use twoticks_store::memory::MemoryLedger;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::marker::{self, Marker, Whose};
use crate::reach::{self, Stores};
use crate::world::{self, World};
use crate::{output, serve};

/// What everything comes from if nobody says.
const SEED: u64 = 42;
/// The channel that is there from the start.
const CHANNEL: ChannelPlan<'_> =
    ChannelPlan { name: "Emulated channel", waba_id: "200000000000001", numbers: &[] };

/// What kind of emulator is wanted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Keep everything in memory and nothing on disk.
    #[arg(long, conflicts_with = "data_dir")]
    pub(crate) memory: bool,
    /// Take any access key id: each names an account of its own, so that tests do not see each
    /// other. No signature is checked, unless --secret is given.
    #[arg(long)]
    pub(crate) any_key: bool,
    /// The secret that all access keys sign with.
    #[arg(long, value_name = "SECRET", requires = "any_key")]
    pub(crate) secret: Option<String>,
    /// The same number gives the same ids, keys and lives. Without it, keys are random.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// How many times as fast its clock goes; 0 makes it stand still.
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(..=i64::from(SPEED_MAX)))]
    pub(crate) speed: Option<u32>,
    /// What goes wrong from the start, such as `duplicate,reorder`.
    #[arg(long, value_name = "PROFILES")]
    pub(crate) chaos: Option<String>,
    /// The version of the Graph API that webhooks follow, such as v24.0; else the newest.
    #[arg(long, value_name = "VERSION")]
    pub(crate) api_version: Option<String>,
    /// A file with channels, numbers, templates and opt-ins (JSON), loaded at the start and after
    /// each reset.
    #[arg(long, value_name = "FILE")]
    pub(crate) fixtures: Option<PathBuf>,
}

/// Runs an emulator until it is told to stop.
///
/// # Errors
/// If it cannot start, its fixtures will not do, or it did not stop in order.
pub(crate) async fn run(config: &Config, args: &Args, as_json: bool) -> Result<()> {
    let chaos = args.chaos.as_deref().map(Chaos::parse).transpose()?.unwrap_or_default();
    let version = args.api_version.as_deref().map(Version::parse).transpose();
    let version = version.map_err(|why| anyhow!(why))?.unwrap_or_default();
    let fixtures = args.fixtures.as_deref().map(read_fixtures).transpose()?;
    let secret = args.secret.as_deref().map(Secret::new).transpose()?;
    let any_key = args.any_key.then_some(AnyKey { secret });
    let listener = serve::listen(config.listen_address()?).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let folder = (!args.memory).then_some(config.data.folder.as_path());
    let known = match folder {
        None => None,
        Some(folder) => marker::look(folder, Whose::Emulator)?,
    };
    if let (Some(folder), Some(known)) = (folder, &known) {
        marker::check_seed(folder, known, args.seed)?;
    }
    let seed = known.as_ref().map(|known| known.seed).or(args.seed).unwrap_or(SEED);
    let retention = reach::retention(config, Arc::new(SystemClock));
    let stores = match folder {
        None => in_memory(seed),
        Some(folder) => {
            if known.is_none() {
                let marker = Marker { whose: Whose::Emulator, seed, story: None };
                let key_file = config.key()?.is_none().then(|| config.key_file());
                world::make_folder(folder, key_file.as_deref(), &marker)?;
            }
            reach::stores(config, Some(retention.clone())).await?
        }
    };
    let keys = Arc::clone(&stores.keys);
    let (after, last) = world::last_recorded(&*stores.ledger).await?;
    let emulated = whatsapp::Config { seed, after, version, chaos, ..whatsapp::Config::default() };
    let world = World::new(config.server.clone(), stores, "emulator", emulated, any_key);
    if let Some(last) = last.filter(|last| *last > world.clock.now()) {
        // It had been turned, and does not go back.
        world.clock.set(last)?;
    }
    if let Some(speed) = args.speed {
        world.clock.speed_up(speed)?;
    }
    // Keys that a number foretells are for whoever asks for them; otherwise nobody can guess them.
    let mut mint =
        args.seed.map_or_else(Mint::random, |seed| Mint::from_source(world::bytes(seed)));
    let tenants = tenants::ready(&world.app, &mut mint, "Emulator", &[CHANNEL]).await?;
    if let Some(fixtures) = &fixtures {
        let whatsapp = &world.emulator.whatsapp;
        fixtures
            .load(&world.app, whatsapp, &tenants.account.uid)
            .await
            .with_context(|| format!("`{}` will not do", shown(args.fixtures.as_deref())))?;
    }
    world.emulator.can_renew(Renewal {
        ledger: Arc::clone(&world.ledger),
        directory: Arc::clone(&world.directory),
        fresh: fresh(folder.map(Path::to_owned), keys, (reach::memory_bytes(config), retention)),
        config: emulated,
        speed: args.speed.unwrap_or(1),
        founding: tenants.founding(&world.app.directory.snapshot()),
        fixtures,
    });
    world.emulator.whatsapp.listen_at(address).await;
    world.run();
    let now = world.app.clock.now().0;
    let line = world::ready_line(&world, address, &tenants, &[], (now, now));
    if let Some(folder) = folder {
        world::keep_ready_line(folder, &line)?;
    }
    let signals = serve::Signals::listen()?;
    if as_json {
        output::value(true, &line)?;
    } else {
        output::data(&for_people(&world, &tenants, &address.to_string(), args))?;
    }
    let app = Arc::clone(&world.app);
    serve::until_stopped(app, listener, folder, signals, std::future::pending()).await
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

fn read_fixtures(path: &Path) -> Result<Fixtures> {
    let text = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Fixtures::read(&text).with_context(|| format!("`{}` will not do", path.display()))
}

/// Everything in memory, under a key that a seed foretells: nothing of it outlives the process.
fn in_memory(seed: u64) -> Stores {
    let mut key = [0; KEY_BYTES];
    world::bytes(seed)(&mut key);
    Stores {
        keys: Arc::new(Keys::from_bytes(key)),
        ledger: Arc::new(MemoryLedger::new()),
        directory: Arc::new(MemoryDirectory::new()),
    }
}

/// How an emulator begins anew: in memory with something empty, in a folder by emptying it.
fn fresh(
    folder: Option<PathBuf>,
    keys: Arc<Keys>,
    (memory_bytes, retention): (usize, Retention),
) -> Arc<dyn Fn() -> Result<Fresh, String> + Send + Sync> {
    Arc::new(move || {
        let Some(folder) = &folder else {
            return Ok((Arc::new(MemoryLedger::new()), Arc::new(MemoryDirectory::new())));
        };
        empty(folder).map_err(|error| format!("cannot empty `{}`: {error}", folder.display()))?;
        reach::open_folder(folder, Arc::clone(&keys), memory_bytes, Some(retention.clone()))
            .map_err(|error| format!("{error:#}"))
    })
}

/// Removes what is kept; the marker, the key and the socket of the running server stay.
fn empty(folder: &Path) -> std::io::Result<()> {
    twoticks_store::embedded::remove(folder)?;
    let directory = folder.join(twoticks_store::directory::file::FILE_NAME);
    if directory.exists() { std::fs::remove_file(directory) } else { Ok(()) }
}

fn for_people(world: &World, tenants: &Tenants, address: &str, args: &Args) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let graph = world.emulator.whatsapp.config().version;
    let Tenants { admin, channels, .. } = tenants;
    let channel = channels.first().map(|channel| channel.id.as_str()).unwrap_or_default();
    let keys = match (args.any_key, &args.secret) {
        (false, _) => format!(
            "  access key       {}\n  secret           {}\n  channel          {channel}\n",
            admin.id,
            admin.secret.expose()
        ),
        (true, None) => {
            "  access key       any id, each an account of its own; signatures are not checked\n"
                .to_owned()
        }
        (true, Some(_)) => {
            "  access key       any id, each an account of its own; the secret is the one given\n"
                .to_owned()
        }
    };
    let dashboard = match address.parse() {
        Ok(address) => world::dashboard(&world.app, address, tenants),
        Err(_) => String::new(),
    };
    format!(
        r#"twoticks {version}: an emulator; nothing it counts is real

  CAMS endpoint    http://{address}
{keys}  dashboard        {dashboard}
  Graph API        http://{address}/{graph}/, tokens at http://{address}/_twoticks/graph
  doors            http://{address}/_twoticks/

  curl -X POST http://{address}/_twoticks/fixtures -d '{{"numbers": [{{}}], "templates":
    [{{"code": "promo", "language": "en", "category": "marketing"}}]}}'
  curl -X POST 'http://{address}/_twoticks/clock?advance=1d'
  curl -X POST 'http://{address}/_twoticks/chaos?profiles=duplicate,reorder'

Ctrl-C stops it.
"#
    )
}
