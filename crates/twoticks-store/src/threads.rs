//! Threads of the store: named, and none of them survives a panic of its own.
//!
//! A panic in the writer or the fold is a bug, and what it leaves is half-known: which records
//! are on disk, which rows are changed. Counting on from there could lose or double counts, so
//! the process ends and the next one starts from what is committed.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::error::Error;

/// What a thread of the background adds to its niceness: three of them weigh as much as another.
/// Not more, because what the engine has not written yet is in memory.
const NICE: i32 = 5;

/// Starts a thread; a panic in it aborts the process.
pub(crate) fn start(
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let bomb = Bomb(name);
        work();
        std::mem::forget(bomb);
    })
}

/// Lets threads that somebody waits for go first: this one, and those that it starts, get what
/// processor time is left, or a third of what they would get.
pub(crate) fn stand_back() {
    if let Err(error) = rustix::process::nice(NICE) {
        // They only take longer then.
        tracing::debug!(error = %error, "a thread of the background could not stand back");
    }
}

/// Does what blocks where it stands, and has the runtime do the rest of its work elsewhere meanwhile:
/// nobody has to wake up for it. A runtime that has nowhere else has it done as [`blocking`] does.
pub(crate) async fn at_once<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => blocking(work).await,
    }
}

/// Does what blocks away from the runtime's threads. A panic in it is one of the caller.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_cancelled() => Err(Error::Closed),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// Aborts the process when it is dropped, which happens on a panic only.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        tracing::error!(thread.name = self.0, "thread {} panicked, the process ends", self.0);
        std::process::abort();
    }
}
