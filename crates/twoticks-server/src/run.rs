//! Starting and stopping: the caller gives the listener and the signal.
//!
//! [`router`] puts all doors on one port. [`serve`] accepts until the signal comes, then lets
//! open requests finish and closes the ledger. A ledger that has failed for good is a signal as
//! well. What always holds: nothing that was acknowledged is lost by stopping, however impatient
//! it is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tracing::{error, info, warn};
use twoticks_store::error::Error;

use crate::app::App;
use crate::graph::{figures, notices, pass};
use crate::reconcile::door;
use crate::{edge, http, ingest, links, pass_on, sending, telemetry, ui};

/// All doors, ready to be served.
pub fn router(app: &Arc<App>) -> Router {
    let doors = edge::routes()
        .merge(ingest::routes())
        .merge(telemetry::routes())
        .merge(ui::routes())
        .merge(pass::routes())
        .merge(door::routes())
        .merge(links::routes())
        .with_state(Arc::clone(app));
    match &app.rehearsal {
        Some(rehearsal) => Arc::clone(rehearsal).doors(app, doors),
        None => doors,
    }
}

/// Serves on `listener` until `shutdown`, and says how many tasks were left unfinished.
///
/// Once told to stop, it accepts no connection any more; open ones finish the request they are at,
/// at most for `patience`, and the ledger is closed.
///
/// # Errors
/// What the ledger says when it is closed; nothing that was acknowledged is lost by it.
/// [`Error::Failed`] if the ledger had failed for good and it stopped by itself: the process has to
/// restart.
pub async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    patience: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<usize, Error> {
    let router = router(&app);
    let stop = app.tasks.stopping();
    {
        // Before anybody can ask for a send: what is accepted from now on is not resumed as well.
        let (resumed, waiting) = (Arc::clone(&app), app.dispatcher.outbox().waiting());
        app.tasks.spawn(move |stop| async move { sending::resume(&resumed, waiting, &stop).await });
        let reading = Arc::clone(&app);
        app.tasks.spawn(move |stop| notices::keep_reading(reading, stop));
        let comparing = Arc::clone(&app);
        app.tasks.spawn(move |stop| figures::keep_reading(comparing, stop));
        let passing = Arc::clone(&app);
        app.tasks.spawn(move |stop| Box::pin(pass_on::run(passing, stop)));
        let counting = Arc::clone(&app);
        app.tasks.spawn(move |stop| async move { links::count(&counting, &stop).await });
    }
    let failed = tokio::select! {
        () = http::accept(&app, &router, &listener, &stop) => None,
        () = shutdown => None,
        failed = app.ledger.failed() => {
            error!(
                error = &failed as &dyn std::error::Error,
                "the ledger has failed for good, nothing acknowledged is lost; the server stops"
            );
            Some(failed)
        }
        failed = app.dispatcher.outbox().failed() => {
            error!(
                error = &failed as &dyn std::error::Error,
                "the outbox has failed for good, nothing acknowledged is lost; the server stops"
            );
            Some(failed)
        }
        failed = app.pass_on.failed() => {
            error!(
                error = &failed as &dyn std::error::Error,
                "how far what is passed on has come cannot be kept for good, nothing acknowledged \
                is lost; the server stops"
            );
            Some(failed)
        }
    };
    drop(listener);
    info!("stopping: no new connections, open requests finish");
    let left = app.tasks.drain(patience).await;
    if left > 0 {
        warn!(run.tasks_left = left, "stopped with {left} tasks unfinished");
    }
    // Nobody opens a link any more.
    links::count_rest(&app, patience).await;
    app.dispatcher.close().await;
    app.pass_on.close().await;
    let closed = app.ledger.close().await;
    match failed {
        Some(failed) => Err(failed),
        None => closed.map(|()| left),
    }
}
