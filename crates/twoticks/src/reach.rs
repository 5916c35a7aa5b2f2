//! Reaching the data: through the server that runs on the folder, or by opening the folder.
//!
//! Either way the same commands do the same things. What always holds: a folder is opened by one
//! process at a time, nothing is made where there is nothing, and it is closed in order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use twoticks_core::clock::Clock;
use twoticks_server::app::{App, Surroundings};
use twoticks_server::carrier::NoCarrier;
use twoticks_server::control::socket::Remote;
use twoticks_server::control::{Command, execute_telling};
use twoticks_store::cursors::{self, Cursors};
use twoticks_store::directory::Directory;
use twoticks_store::directory::file::FileDirectory;
use twoticks_store::embedded::retention::Retention;
use twoticks_store::embedded::{Bounds, Embedded};
use twoticks_store::figures::Figures;
use twoticks_store::keys::Keys;
use twoticks_store::ledger::Ledger;
use twoticks_store::outbox::{self, Outbox};

use crate::config::Config;
use crate::output::Progress;

/// The data, one way or the other.
pub(crate) enum Data {
    /// A server has it.
    Running(Box<Remote>),
    /// This process has it.
    Opened(Arc<App>),
}

impl Data {
    /// Reaches the data that `config` names.
    ///
    /// # Errors
    /// If there is none, or it cannot be opened.
    pub(crate) async fn reach(config: &Config, clock: Arc<dyn Clock>) -> Result<Self> {
        if let Some(remote) = Remote::connect(&config.data.folder).await? {
            return Ok(Self::Running(Box::new(remote)));
        }
        Ok(Self::Opened(open(config, clock).await?))
    }

    /// Has `command` done.
    ///
    /// # Errors
    /// Why it was not.
    pub(crate) async fn ask(&mut self, command: Command) -> Result<Value> {
        self.ask_telling(command, &Arc::default()).await
    }

    /// As [`Data::ask`]; what takes long tells `progress` how far it is.
    ///
    /// # Errors
    /// Why it was not.
    pub(crate) async fn ask_telling(
        &mut self,
        command: Command,
        progress: &Arc<AtomicU64>,
    ) -> Result<Value> {
        Ok(match self {
            Self::Running(remote) => remote.ask(&command, progress).await?,
            Self::Opened(app) => Box::pin(execute_telling(app, command, progress)).await?,
        })
    }

    /// As [`Data::ask`]; a person is shown how far it is, in the words of `text`.
    ///
    /// # Errors
    /// Why it was not.
    pub(crate) async fn ask_showing(
        &mut self,
        command: Command,
        text: impl Fn(u64) -> String,
    ) -> Result<Value> {
        let at = Arc::new(AtomicU64::new(0));
        let mut progress = Progress::new("working");
        let mut work = Box::pin(self.ask_telling(command, &at));
        let mut ticks = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => progress.say(|_| text(at.load(Ordering::Relaxed))),
            }
        }
    }

    /// Lets go of it; what was acknowledged is kept either way.
    ///
    /// # Errors
    /// If the folder could not be closed in order.
    pub(crate) async fn close(self) -> Result<()> {
        match self {
            Self::Running(_) => Ok(()),
            Self::Opened(app) => {
                app.ledger.close().await.context("the data folder could not be closed in order")
            }
        }
    }
}

/// Opens the folder that `config` names, for as long as a command takes.
///
/// # Errors
/// If there is none, another process has it, or its key is not the right one.
pub(crate) async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<App>> {
    let stores = stores(config, None).await?;
    Ok(Arc::new(app(config, clock, stores)))
}

/// As [`open`], to serve from: the journal is kept for as long as is configured.
///
/// # Errors
/// As [`open`].
pub(crate) async fn open_to_serve(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<App>> {
    let stores = stores(config, Some(retention(config, Arc::clone(&clock)))).await?;
    let folder = config.data.folder.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let outbox =
            Outbox::open(&folder.join(outbox::FOLDER)).context("cannot open the outbox")?;
        let cursors = Cursors::open(&folder.join(cursors::FOLDER));
        anyhow::Ok((outbox, cursors.context("cannot open how far what is passed on has come")?))
    });
    let (outbox, cursors) = opened.await.context("opening the outbox panicked")??;
    Ok(Arc::new(app(config, clock, stores).keeping(outbox).passing_on(cursors)))
}

/// What the ledger may take of memory.
pub(crate) fn memory_bytes(config: &Config) -> usize {
    usize::try_from(config.server.limits.memory_mb).unwrap_or(usize::MAX).saturating_mul(1 << 20)
}

/// How long the journal is kept, by `clock`.
pub(crate) fn retention(config: &Config, clock: Arc<dyn Clock>) -> Retention {
    Retention { journal_days: config.server.retention.journal_days, clock }
}

fn app(config: &Config, clock: Arc<dyn Clock>, stores: Stores) -> App {
    let Stores { keys, ledger, directory } = stores;
    let carrier = Arc::new(NoCarrier);
    let surroundings = Surroundings { clock, keys, ledger, directory, carrier };
    let figures = Figures::in_folder(&config.data.folder);
    App::new(config.server.clone(), surroundings).comparing(figures)
}

/// What is kept in a data folder.
pub(crate) struct Stores {
    pub(crate) keys: Arc<Keys>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) directory: Arc<dyn Directory>,
}

/// Opens what is kept in the folder that `config` names; with a retention its journal is kept so.
///
/// # Errors
/// As [`open`].
pub(crate) async fn stores(config: &Config, retention: Option<Retention>) -> Result<Stores> {
    let folder = config.data.folder.clone();
    if !folder.is_dir() {
        bail!(
            "there is no data folder `{}`; `twoticks init` makes one, --data-dir names another",
            folder.display()
        );
    }
    let keys = Arc::new(keys(config)?);
    let opening = {
        let keys = Arc::clone(&keys);
        let memory_bytes = memory_bytes(config);
        move || open_folder(&folder, keys, memory_bytes, retention)
    };
    let (ledger, directory) = tokio::task::spawn_blocking(opening)
        .await
        .context("opening the data folder panicked")??;
    Ok(Stores { keys, ledger, directory })
}

/// Opens the ledger and the directory in `folder`. Blocks.
///
/// # Errors
/// If another process has it, or its key is not the right one.
pub(crate) fn open_folder(
    folder: &Path,
    keys: Arc<Keys>,
    memory_bytes: usize,
    retention: Option<Retention>,
) -> Result<(Arc<dyn Ledger>, Arc<dyn Directory>)> {
    let doing = || format!("cannot open the data folder `{}`", folder.display());
    let bounds = Bounds { memory_bytes, ..Bounds::default() };
    let ledger = Embedded::open_with(folder, Arc::clone(&keys), bounds).with_context(doing)?;
    let directory = FileDirectory::open(folder, keys).with_context(doing)?;
    if let Some(retention) = retention {
        ledger.retain(retention).with_context(doing)?;
    }
    Ok((Arc::new(ledger), Arc::new(directory)))
}

/// The key of the data folder.
///
/// # Errors
/// If it cannot be had.
pub(crate) fn keys(config: &Config) -> Result<Keys> {
    match config.key()? {
        Some(keys) => Ok(keys),
        None => Keys::open(&config.key_file())
            .context("`twoticks init` makes a key file, `keys.file` names another"),
    }
}
