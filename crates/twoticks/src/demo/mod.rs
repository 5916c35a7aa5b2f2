//! `demo`: a server full of invented data, told to it through its own doors.
//!
//! The story (`story`) is a list of what a business sent and what became of it, made from a seed.
//! It is told by a client (`client`) over loopback while the server's clock shows the past: signed
//! sends come in at the CAMS door, signed webhooks at the webhook door, and are accepted, stored
//! and counted as any others. Then the clock shows the present. What always holds: a demo's folder
//! says that it is one, and nothing but a demo uses it; the same seed tells the same story.

mod client;
mod ready;
mod story;
mod tell;
mod tenants;

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::sync::oneshot;
use twoticks_core::clock::{Clock, Time};
use twoticks_store::directory::mint::Mint;
use twoticks_store::keys::Keys;

use crate::clock::StoryClock;
use crate::config::Config;
use crate::marker::{self, Folder, Marker};
use crate::{init, reach, serve};

/// What the story is made from if nobody says.
const SEED: u64 = 42;
/// The end of the story is rounded down to this, in milliseconds: half an hour, one bucket.
const ROUND: i64 = 30 * 60 * 1_000;

/// Runs the demo until it is told to stop.
///
/// # Errors
/// If it cannot start, the story cannot be told, or it did not stop in order.
pub(crate) async fn run(config: &Config, seed: Option<u64>, as_json: bool) -> Result<()> {
    let listener = serve::listen(config.listen_address()?).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    let folder = &config.data.folder;
    let clock = Arc::new(StoryClock::default());
    let known = match marker::look(folder)? {
        Folder::Told(marker) => Some(marker),
        Folder::Unfinished => {
            // A story that was broken off is worth nothing, and its folder is a demo's for sure.
            std::fs::remove_dir_all(folder)
                .with_context(|| format!("cannot remove `{}`", folder.display()))?;
            None
        }
        Folder::New => None,
    };
    if let (Some(known), Some(seed)) = (&known, seed)
        && known.seed != seed
    {
        bail!(
            "`{}` was made from the seed {}; leave --seed out, or remove the folder",
            folder.display(),
            known.seed
        );
    }
    let marker = known.clone().unwrap_or(Marker { seed: seed.unwrap_or(SEED), story: None });
    if known.is_none() {
        init::make_folder(folder)?;
        marker::write(folder, &marker)?;
        if config.key()?.is_none() && !config.key_file().exists() {
            Keys::create(&config.key_file())?;
        }
    }
    let app = reach::open(config, Arc::clone(&clock) as Arc<dyn Clock>, true).await?;
    // Keys that a number foretells are for whoever asks for them; otherwise nobody can guess them.
    let mut mint = seed.map_or_else(Mint::random, |seed| Mint::from_source(story::bytes(seed)));
    let (failed, failure) = oneshot::channel::<()>();
    let telling = async {
        let outcome = async {
            let tenants = tenants::make(&app, &mut mint).await?;
            let told = match marker.story {
                Some(told) => told,
                None => {
                    let end = clock.now().0.div_euclid(ROUND) * ROUND;
                    let start = end - story::LENGTH;
                    tell::tell(&app, &clock, address, &tenants, Time(start), marker.seed).await?;
                    marker::write(folder, &Marker { story: Some((start, end)), ..marker })?;
                    (start, end)
                }
            };
            ready::print(&app, address, &tenants, told, as_json)
        };
        let outcome = outcome.await;
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
    let serving = serve::until_stopped(Arc::clone(&app), listener, config, also);
    let (served, told) = tokio::join!(Box::pin(serving), Box::pin(telling));
    told.and(served)
}
