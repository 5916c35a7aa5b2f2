//! `demo`: a server that is full of invented data: thirty days until now of three businesses, and
//! then whatever comes, in real time.
//!
//! `cast` is who is in it, `story` what they did, `tell` tells it to the server through its own
//! doors with the emulated WhatsApp behind it, `live` goes on. What always holds: a demo's folder
//! says that it is one, and nothing but a demo uses it; the same seed tells the same story.

mod cast;
mod live;
mod ready;
mod story;
mod tell;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::oneshot;
use twoticks_core::clock::{Clock as _, DAY, Time};
use twoticks_emulator::tenants;
use twoticks_emulator::whatsapp;
use twoticks_store::directory::mint::Mint;
use twoticks_store::lock::FolderLock;

use self::cast::BUSINESSES;
use self::story::LENGTH;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::marker::{self, Marker, Whose};
use crate::world::{self, World};
use crate::{args, reach, serve};

/// What the story is made from if nobody says.
const SEED: u64 = 42;
/// The end of the story is rounded down to this, in milliseconds: half an hour, one bucket.
const ROUND: i64 = 30 * 60 * 1_000;
/// Zones in which clocks are turned, at different times of the year; the businesses' own first.
const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",
    "Australia/Sydney",
    "Africa/Cairo",
    "Asia/Jerusalem",
];

/// What a demo begins with.
struct Begun<'a> {
    config: &'a Config,
    address: SocketAddr,
    marker: &'a Marker,
    days: i64,
    as_json: bool,
}

/// A story that was told.
struct Told {
    start: i64,
    end: i64,
    /// How many messages were sent, if it was told now.
    messages: Option<usize>,
    seconds: f64,
    /// A zone in which a day of the story had 23 or 25 hours, and that day.
    turned: Option<(&'static str, String)>,
}

/// Runs the demo until it is told to stop.
///
/// # Errors
/// If it cannot start, the story cannot be told, or it did not stop in order.
pub(crate) async fn run(config: &Config, args: &args::Demo, as_json: bool) -> Result<()> {
    let seed = args.seed;
    let listener = serve::listen(config.listen_address()?).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let folder = &config.data.folder;
    let known = match marker::look(folder, Whose::Demo)? {
        Some(marker) if marker.story.is_none() => {
            // A story that was broken off is worth nothing, and its folder is a demo's for sure;
            // but another demo may be telling it right now.
            let _alone = FolderLock::take(folder)?;
            std::fs::remove_dir_all(folder)
                .with_context(|| format!("cannot remove `{}`", folder.display()))?;
            None
        }
        known => known,
    };
    if let Some(known) = &known {
        marker::check_seed(folder, known, seed)?;
    }
    let fresh = Marker { whose: Whose::Demo, seed: seed.unwrap_or(SEED), story: None };
    let marker = known.clone().unwrap_or(fresh);
    if known.is_none() {
        let key_file = config.key()?.is_none().then(|| config.key_file());
        world::make_folder(folder, key_file.as_deref(), &marker)?;
    }
    let kept = reach::retention(config, Arc::new(SystemClock));
    let stores = reach::stores(config, Some(kept)).await?;
    let (after, _) = world::last_recorded(&*stores.ledger).await?;
    let emulated = whatsapp::Config { seed: marker.seed, after, ..whatsapp::Config::default() };
    let world = World::new(config.server.clone(), stores, "demo data", emulated, None);
    // Keys that a number foretells are for whoever asks for them; otherwise nobody can guess them.
    let mut mint = seed.map_or_else(Mint::random, |seed| Mint::from_source(world::bytes(seed)));
    let (failed, failure) = oneshot::channel::<()>();
    let telling = async {
        let begun = Begun { config, address, marker: &marker, days: args.days, as_json };
        let outcome = begin(&world, &mut mint, &begun).await;
        if outcome.is_err() && failed.send(()).is_err() {
            tracing::debug!("the server had stopped before the story was told");
        }
        outcome
    };
    let also = async {
        if failure.await.is_err() {
            // The story was told: from here on only a signal stops it.
            std::future::pending::<()>().await;
        }
    };
    let signals = serve::Signals::listen()?;
    let app = Arc::clone(&world.app);
    let serving = serve::until_stopped(app, listener, Some(folder), signals, also);
    let (served, told) = tokio::join!(Box::pin(serving), Box::pin(telling));
    told.and(served)
}

/// Tells the story, if it was not, and lives on.
async fn begin(world: &World, mint: &mut Mint, begun: &Begun<'_>) -> Result<()> {
    let Begun { config, address, marker, days, as_json } = *begun;
    let folder = &config.data.folder;
    let plans: Vec<_> = BUSINESSES.iter().map(|business| business.channel).collect();
    world.emulator.whatsapp.listen_at(address).await;
    let clock = Instant::now();
    let (start, end, messages) = match marker.story {
        Some((start, end)) => (start, end, None),
        None => {
            let end = SystemClock.now().0.div_euclid(ROUND) * ROUND;
            let start = end - days * DAY;
            world.clock.begin(Time(start), 0);
            world.callers.tell();
            let tenants = tenants::ready(&world.app, mint, "Demo", &plans).await?;
            tell::templates(world, &tenants).await?;
            let turned = turned(end - LENGTH, end).map(|it| it.2);
            let story = story::story(marker.seed, turned, days);
            let from_to = (Time(start), Time(end));
            let sent = tell::tell(world, address, &tenants, from_to, story).await?;
            let told = Marker { story: Some((start, end)), ..marker.clone() };
            marker::write(folder, &told)?;
            (start, end, Some(sent))
        }
    };
    world.clock.go_live(1);
    world.callers.go_live();
    // The session of the story has ended long ago.
    let tenants = tenants::ready(&world.app, mint, "Demo", &plans).await?;
    tell::templates(world, &tenants).await?;
    world.run();
    live::live_on(world, address, &tenants, marker.seed);
    let turned = turned(start, end).map(|(zone, day, _)| (zone, day));
    let seconds = clock.elapsed().as_secs_f64();
    let told = Told { start, end, messages, seconds, turned };
    ready::print(world, address, &tenants, &told, folder, as_json)
}

/// Where clocks were turned within the story: a zone, the day, and when, in milliseconds after the
/// beginning.
fn turned(start: i64, end: i64) -> Option<(&'static str, String, i64)> {
    let (from, to) =
        (Timestamp::from_millisecond(start).ok()?, Timestamp::from_millisecond(end).ok()?);
    ZONES.into_iter().find_map(|name| {
        let zone = TimeZone::get(name).ok()?;
        let at = zone.following(from).next()?.timestamp();
        let day = zone.to_datetime(at).date().to_string();
        (at < to).then(|| (name, day, at.as_millisecond() - start))
    })
}
