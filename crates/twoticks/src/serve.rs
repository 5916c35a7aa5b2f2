//! `serve`: bind, open, run, stop in order.
//!
//! Ports are bound before any work. The first SIGINT or SIGTERM stops in order, a second one exits
//! at once. A write beyond the limit of a file's size (SIGXFSZ) is an error that the journal
//! treats as a full disk, not the end of the process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{info, warn};
use twoticks_core::clock::Clock;
use twoticks_server::app::App;
use twoticks_server::control::socket;
use twoticks_server::run;

use crate::config::Config;
use crate::{marker, reach};

/// How long open requests may take to finish when the server stops.
const PATIENCE: Duration = Duration::from_secs(20);
/// SIGXFSZ, which has no name in tokio; 25 on Linux (but for MIPS), macOS and the BSDs.
const FILE_SIZE_EXCEEDED: i32 = 25;

/// Runs the server until it is told to stop.
///
/// # Errors
/// If it cannot start, or did not stop in order.
pub(crate) async fn run(config: &Config, clock: Arc<dyn Clock>) -> Result<()> {
    let listener = listen(config.listen_address()?).await?;
    let address = listener.local_addr().context("the listener has no address")?;
    marker::refuse_demo(&config.data.folder)?;
    let app = reach::open(config, clock, false).await?;
    info!(
        server.address = %address, data.folder = %config.data.folder.display(),
        "listening on {address}"
    );
    until_stopped(app, listener, config, std::future::pending()).await
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

/// Serves until a signal comes or `also` is done, then stops in order.
///
/// # Errors
/// If the signals or the control socket cannot be had, or the data folder could not be closed.
pub(crate) async fn until_stopped(
    app: Arc<App>,
    listener: TcpListener,
    config: &Config,
    also: impl Future<Output = ()>,
) -> Result<()> {
    // Once somebody listens to it, the signal does not end the process any more.
    drop(listen_to(SignalKind::from_raw(FILE_SIZE_EXCEEDED))?);
    let mut signals = Signals {
        interrupt: listen_to(SignalKind::interrupt())?,
        terminate: listen_to(SignalKind::terminate())?,
    };
    socket::serve(socket::bind(&config.data.folder)?, &app);
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
            served.context("the data folder could not be closed in order")?;
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

fn listen_to(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("cannot listen to signals")
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
