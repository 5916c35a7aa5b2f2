//! Background work, started in one place and waited for at the end.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of a running server.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// A task that panicked: it gave no result. The panic was logged where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a background task panicked")]
pub struct Panicked;

impl Tasks {
    /// Starts the task that `make` gives; it gets the token that is cancelled when the server
    /// stops.
    pub fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        make: impl FnOnce(CancellationToken) -> F,
    ) {
        self.tracker.spawn(make(self.stop.clone()));
    }

    /// Does `work` to its end, even if whoever waits for it goes away: a caller that hangs up
    /// must not leave half of it done.
    ///
    /// # Errors
    /// [`Panicked`] if it panicked.
    pub async fn complete<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Panicked> {
        self.tracker.spawn(work).await.map_err(|_| Panicked)
    }

    /// How many are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// The token that is cancelled when the server stops.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells all tasks to stop and waits for them, at most `patience`. Says how many were left.
    pub async fn drain(&self, patience: Duration) -> usize {
        self.stop.cancel();
        self.tracker.close();
        match tokio::time::timeout(patience, self.tracker.wait()).await {
            Ok(()) => 0,
            Err(_) => self.tracker.len(),
        }
    }
}
