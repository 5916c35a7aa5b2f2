//! `serve`: bind, open, run, stop in order.
//!
//! Ports are bound before any work. The first SIGINT or SIGTERM stops in order, a second one exits
//! at once. A write beyond the limit of a file's size (SIGXFSZ) is an error that the journal
//! treats as a full disk, not the end of the process. When the ledger has failed for good, `serve`
//! stops in order and the process begins anew, as the same program with the same arguments: what
//! the disk did not confirm can only be found out by reading it again.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info, warn};
use twoticks_core::clock::Clock;
use twoticks_server::app::App;
use twoticks_server::control::socket;
use twoticks_server::run;
use twoticks_store::error::Error;

use crate::config::Config;
use crate::{marker, output, reach};

/// How long open requests may take to finish when the server stops.
const PATIENCE: Duration = Duration::from_secs(20);
/// SIGXFSZ, which has no name in tokio; 25 on Linux (but for MIPS), macOS and the BSDs.
const FILE_SIZE_EXCEEDED: i32 = 25;

/// Runs the server until it is told to stop. With `as_json` it prints one line when callers can
/// connect: `{"endpoint": "http://HOST:PORT"}`. If the ledger fails for good, the process begins
/// anew, and this does not return.
///
/// # Errors
/// If it cannot start, did not stop in order, or cannot begin anew.
pub(crate) async fn run(config: &Config, clock: Arc<dyn Clock>, as_json: bool) -> Result<()> {
    let listener = listen(config.listen_address()?).await?;
    marker::refuse(&config.data.folder)?;
    let app = reach::open_to_serve(config, clock).await?;
    let signals = Signals::listen()?;
    if as_json {
        let address = listener.local_addr().context("the listener has no address")?;
        output::value(true, &json!({"endpoint": format!("http://{address}")}))?;
    }
    let folder = Some(config.data.folder.as_path());
    let stopped = until_stopped(app, listener, folder, signals, std::future::pending()).await;
    match stopped {
        Err(failed) if has_failed(&failed) => Err(begin_anew(failed)),
        stopped => stopped,
    }
}

/// Whether it is that the ledger has failed for good.
pub(crate) fn has_failed(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::Failed { .. })))
}

/// Puts the same program with the same arguments in the place of this process, which lets go of
/// everything: port, folder, lock. The error if that does not work, with `failed`.
fn begin_anew(failed: anyhow::Error) -> anyhow::Error {
    warn!("beginning anew from what is on disk");
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed.context(format!("cannot begin anew: {error}")),
    };
    let error = Command::new(program).args(std::env::args_os().skip(1)).exec();
    error!(error = &error as &dyn std::error::Error, "cannot begin anew");
    failed.context(format!("cannot begin anew: {error}"))
}

/// Binds `address`.
///
/// # Errors
/// With what would do.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address}; stop what does, or choose another with --listen")
    })
}

/// Serves until one of `signals` comes or `also` is done, then stops in order. Whoever says that
/// it is ready listens to signals before, so that it can be stopped in order as soon as it said so. Where there is a data
/// `folder`, the command line reaches the server through it.
///
/// # Errors
/// If the control socket cannot be had, or the data folder could not be closed.
pub(crate) async fn until_stopped(
    app: Arc<App>,
    listener: TcpListener,
    folder: Option<&Path>,
    mut signals: Signals,
    also: impl Future<Output = ()>,
) -> Result<()> {
    if let Some(folder) = folder {
        socket::serve(socket::bind(folder)?, &app);
    }
    let address = listener.local_addr().context("the listener has no address")?;
    let shown = folder.map_or_else(|| "(memory)".into(), Path::to_string_lossy);
    info!(server.address = %address, data.folder = %shown, "listening on {address}");
    let (first, stop) = oneshot::channel::<()>();
    let impatience = async move {
        signals.next().await;
        info!("told to stop; a second signal exits at once");
        drop(first);
        signals.next().await;
    };
    let stop = async {
        tokio::select! {
            // Dropping the other half is the signal.
            _ = stop => {}
            () = also => {}
        }
    };
    tokio::select! {
        served = Box::pin(run::serve(app, listener, PATIENCE, stop)) => {
            served.context(
                "the data folder could not be closed in order; nothing acknowledged is lost, the \
                 next start catches up",
            )?;
            info!("stopped");
            Ok(())
        }
        () = impatience => {
            warn!("told to stop a second time: exiting at once; nothing acknowledged is lost");
            #[expect(clippy::exit, reason = "at once means without waiting for anything")]
            std::process::exit(1)
        }
    }
}

/// Makes a write beyond the limit of a file's size an error instead of the end of the process:
/// once somebody has listened to the signal, it does nothing else any more.
///
/// # Errors
/// If the signal cannot be listened to.
pub(crate) fn outlive_file_size_limit() -> Result<()> {
    listen_to(SignalKind::from_raw(FILE_SIZE_EXCEEDED)).map(drop)
}

fn listen_to(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("cannot listen to signals")
}

/// SIGINT and SIGTERM; from the moment that somebody listens they end nothing by themselves.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Listens to them from now on.
    ///
    /// # Errors
    /// If they cannot be listened to.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: listen_to(SignalKind::interrupt())?,
            terminate: listen_to(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
