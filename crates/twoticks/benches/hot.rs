//! The hot functions on their own: the signature of a webhook, its reading with care and in one
//! pass, what it means, and the fold of what it tells.
//!
//! `cargo bench -p twoticks --bench hot` prints nanoseconds per status, the least of some rounds.
//! On a machine that others use, count instructions instead: with a name and a number it does that
//! one so often and reads no clock, for `valgrind --tool=callgrind` (bench/README.md). To add one,
//! add a line to [`HOT`].

#![expect(clippy::print_stdout, reason = "it measures and prints")]
#![expect(clippy::cast_precision_loss, reason = "figures are for reading")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use twoticks_core::ids::{ChannelId, Text};
use twoticks_emulator::meta::signature;
use twoticks_emulator::stream::{self, Cast, Plan};
use twoticks_server::ingest::translate::{self, Context, Speaks};
use twoticks_store::directory::memory::MemoryDirectory;
use twoticks_store::directory::model::{Account, Channel, Number, StatusSource};
use twoticks_store::directory::names::{Secret, Uid};
use twoticks_store::directory::{Change, Directory as _, Snapshot};
use twoticks_store::keys::{KEY_BYTES, Keys};
use twoticks_store::ledger::{Batch, Kind, Ledger};
use twoticks_store::memory::MemoryLedger;
use twoticks_wire::webhook::meta;

const SECRET: &[u8] = b"the app secret of a benchmark";
/// How many bodies there are, and how many updates each has.
const BODIES: usize = 200;
const SIZE: usize = 100;
const ROUNDS: usize = 15;

type Outcome = Result<(), Box<dyn Error>>;

/// What is measured, by name.
const HOT: &[(&str, Hot)] = &[
    ("verify", verify),
    ("parse", parse),
    ("read", read),
    ("translate", translate),
    ("apply", apply),
];

/// Goes over the world once.
type Hot = fn(&World) -> Outcome;

struct World {
    /// Bodies with their signatures.
    bodies: Vec<(Vec<u8>, String)>,
    batches: Vec<Batch>,
    snapshot: Arc<Snapshot>,
    keys: Keys,
    runtime: tokio::runtime::Runtime,
}

fn main() -> Outcome {
    let world = World::new()?;
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    if let Some(name) = args.next() {
        let times: usize = args.next().map_or(Ok(1), |text| text.parse())?;
        let (_, hot) = HOT.iter().find(|(known, _)| *known == name).ok_or("there is none such")?;
        return (0..times).try_for_each(|_| hot(&world));
    }
    for (name, hot) in HOT {
        let mut least = f64::MAX;
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            hot(&world)?;
            least = least.min(begun.elapsed().as_secs_f64());
        }
        println!("{name:<8} {:>8.0} ns per status", least * 1e9 / (BODIES * SIZE) as f64);
    }
    Ok(())
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let plan = Plan::life_like(20_000);
        let told = || stream::batches(1, &plan, (SIZE, SIZE)).take(BODIES);
        let signed = |body: Vec<u8>| {
            let signature = signature(SECRET, &body);
            (body, signature)
        };
        let batch = |told: stream::Batch| Batch {
            kind: Kind::Webhook,
            accepted: told.accepted,
            origin: String::new(),
            channel: None,
            group: None,
            events: told.events,
            dead: Vec::new(),
            resolves: None,
            // What is measured is the fold, not the keeping.
            body: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let directory = MemoryDirectory::new();
        runtime.block_on(directory.change(changes(&plan)?))?;
        Ok(Self {
            bodies: told().map(|it| signed(it.body)).collect(),
            batches: told().map(batch).collect(),
            snapshot: directory.snapshot(),
            keys: Keys::from_bytes([7; KEY_BYTES]),
            runtime,
        })
    }
}

/// The channels and numbers of a plan.
fn changes(plan: &Plan) -> Result<Vec<Change>, Box<dyn Error>> {
    let uid = Uid::new("1000000000000001")?;
    let account = Account { uid: uid.clone(), name: Text::lossy("hot"), subscribed: true };
    let mut changes = vec![Change::AddAccount(account)];
    let mut known: Vec<ChannelId> = Vec::new();
    for number in Cast::of(plan).numbers {
        if !known.contains(&number.channel) {
            known.push(number.channel.clone());
            let secret = |what: &str| Secret::new(&format!("{what}-of-{}", number.channel));
            changes.push(Change::AddChannel(Channel {
                id: number.channel.clone(),
                account: uid.clone(),
                name: Text::lossy(number.channel.as_str()),
                waba_id: Some(number.waba_id.clone()),
                app_secrets: vec![secret("app-secret")?],
                verify_token: secret("verify-token")?,
                receipts_secret: secret("receipts-secret")?,
                status_source: StatusSource::CloudApi,
                connection: None,
            }));
        }
        changes.push(Change::PutNumber(Number {
            phone_number: number.phone_number.clone(),
            phone_number_id: number.phone_number_id.clone(),
            channel: number.channel.clone(),
            graph: None,
        }));
    }
    Ok(changes)
}

fn verify(world: &World) -> Outcome {
    for (body, signature) in &world.bodies {
        black_box(meta::verify(&[SECRET], body, Some(signature.as_bytes()))?);
    }
    Ok(())
}

fn parse(world: &World) -> Outcome {
    for (body, _) in &world.bodies {
        black_box(meta::parse(body).map_err(|why| format!("{why:?}"))?);
    }
    Ok(())
}

fn read(world: &World) -> Outcome {
    for (body, _) in &world.bodies {
        black_box(meta::read(body).map_err(|why| format!("{why:?}"))?);
    }
    Ok(())
}

/// From bytes to events, the reading included.
fn translate(world: &World) -> Outcome {
    for ((body, _), batch) in world.bodies.iter().zip(&world.batches) {
        let translated = translate::meta(
            &Context {
                snapshot: &world.snapshot,
                keys: &world.keys,
                speaks: Speaks::All,
                accepted: batch.accepted,
                only: None,
            },
            body,
        );
        if black_box(translated).events.len() != batch.events.len() {
            return Err("not everything counts".into());
        }
    }
    Ok(())
}

/// On the ledger in memory, which folds and does nothing else.
fn apply(world: &World) -> Outcome {
    let ledger = MemoryLedger::new();
    world.runtime.block_on(async {
        for batch in &world.batches {
            ledger.record(batch.clone()).await?;
        }
        Ok(())
    })
}
