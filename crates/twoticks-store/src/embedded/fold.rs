//! From the journal to the tables: one thread folds, one commits, neither stops for the other.
//!
//! What always holds: entries are folded in the order of their positions; a step is seen whole or
//! not at all; what is folded can be read until it can be read from the tables. When the engine
//! fails nothing is lost: the overlay is kept, the engine is opened again, and the step or the
//! commit is done again after a pause that grows. Meanwhile the bounded lead of the journal makes
//! `record` answer that it is busy.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::embedded::opening;
use crate::embedded::overlay::{Overlay, State};
use crate::embedded::rows::{ChannelCache, Working};
use crate::embedded::tables::Slot;
use crate::entry::Work;
use crate::error::Error;
use crate::journal::Position;
use crate::ledger::Counters;

/// How many events may be acknowledged and not folded yet; beyond them `record` is busy. (A batch
/// that is larger by itself is taken when there are no others.)
pub const LEAD_EVENTS_MAX: usize = 65_536;
/// An overlay with this many rows is committed.
pub const OVERLAY_ROWS_MAX: usize = 100_000;
/// An overlay is committed when its oldest row is this old.
pub const OVERLAY_AGE_MAX: Duration = Duration::from_millis(500);
/// How many events are folded in one step, about.
const STEP_EVENTS: usize = 1_024;
/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// What the fold shares with those who ask.
pub(crate) struct Shared {
    pub(crate) slot: Slot,
    pub(crate) state: RwLock<State>,
    /// The position up to which everything can be asked for.
    pub(crate) applied: watch::Sender<Position>,
    /// The position up to which everything is in the tables.
    pub(crate) committed: watch::Sender<Position>,
    /// What has been counted; apart from the state, so that asking never waits for it.
    pub(crate) counters: Mutex<Counters>,
    /// Set when the ledger closes, so that nobody goes on trying.
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Shared {
    pub(crate) fn new(slot: Slot, folded: Position) -> Self {
        Self {
            slot,
            state: RwLock::default(),
            applied: watch::Sender::new(folded),
            committed: watch::Sender::new(folded),
            counters: Mutex::default(),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        }
    }

    pub(crate) fn stop(&self) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }

    /// Waits for `pause` or until the ledger closes, which it then says.
    fn pause(&self, pause: Duration) -> bool {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.stopped.wait_timeout_while(stop, pause, |stop| !*stop);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Folds entries in one step, all of them or none. They can be asked for once the position
    /// that this returns is announced as applied.
    pub(crate) fn fold(
        &self,
        channels: &mut ChannelCache,
        entries: &[(Position, impl AsRef<Work>)],
    ) -> Result<Position, Error> {
        let folded = self.slot.with(|tables| {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            let mut working = Working::new(&state, tables, channels, self.slot.folder());
            for (position, work) in entries {
                working.apply(*position, work.as_ref())?;
            }
            let Working { delta, counters, .. } = working;
            Ok((delta, counters))
        });
        let (delta, counters) = match folded {
            Ok(folded) => folded,
            Err(error) => {
                // It may know of channels what has just been dropped.
                channels.clear();
                return Err(error);
            }
        };
        let position = delta.position;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.active.extend(delta);
        drop(state);
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).add(counters);
        Ok(position)
    }

    /// Makes the active overlay the frozen one; `None` if there is one already, or nothing to do.
    pub(crate) fn freeze(&self) -> Option<Arc<Overlay>> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.frozen.is_some() || state.active.position == 0 {
            return None;
        }
        let frozen = Arc::new(std::mem::take(&mut state.active));
        state.frozen = Some(Arc::clone(&frozen));
        Some(frozen)
    }

    /// Puts the frozen overlay into the tables.
    pub(crate) fn commit(&self, frozen: &Overlay) -> Result<(), Error> {
        self.slot.with(|tables| tables.commit(frozen))?;
        self.state.write().unwrap_or_else(PoisonError::into_inner).frozen = None;
        self.committed.send_replace(frozen.position);
        Ok(())
    }

    fn has_active(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).active.position > 0
    }

    pub(crate) fn active_rows(&self) -> usize {
        self.state.read().unwrap_or_else(PoisonError::into_inner).active.rows()
    }

    /// After a failure: says so, waits, opens the engine again. `false` if the ledger closes.
    fn recover(&self, doing: &'static str, error: &Error, attempt: u32) -> bool {
        opening::end_if_damaged(self.slot.folder(), error);
        let pause = PAUSES.0.saturating_mul(2_u32.saturating_pow(attempt)).min(PAUSES.1);
        tracing::error!(
            error = error as &dyn std::error::Error,
            cause = std::error::Error::source(error),
            ledger.attempt = attempt,
            "{doing} failed, nothing is lost; it is tried again"
        );
        if self.pause(pause) {
            return false;
        }
        let before = *self.committed.borrow();
        let reopened = self.slot.reopen();
        // The next start sets them aside and makes them again from the journal.
        assert!(!matches!(reopened, Err(Error::Corrupt { .. })), "the tables are damaged");
        match reopened {
            // What was committed is gone: what the overlays hold no longer fits on it. The next
            // start folds from where the tables are.
            Ok(folded) => assert!(folded >= before, "tables at {folded} were at {before} before"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the ledger's engine does not open yet"
            ),
        }
        true
    }
}

/// A share of the journal's lead; free again when it is dropped.
pub(crate) struct Permit {
    lead: Arc<AtomicUsize>,
    events: usize,
}

impl Permit {
    /// Takes room for `events`.
    pub(crate) fn take(lead: &Arc<AtomicUsize>, events: usize) -> Result<Self, Error> {
        let taken = lead.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |lead| {
            (lead == 0 || lead + events <= LEAD_EVENTS_MAX).then_some(lead + events)
        });
        match taken {
            Ok(_) => Ok(Self { lead: Arc::clone(lead), events }),
            Err(_) => Err(Error::Busy { what: "the fold is", limit: LEAD_EVENTS_MAX }),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.lead.fetch_sub(self.events, Ordering::SeqCst);
    }
}

/// An entry on its way from the journal to the fold.
pub(crate) struct Note {
    pub(crate) work: Work,
    /// Kept until the entry is folded.
    pub(crate) _permit: Permit,
}

impl AsRef<Work> for Note {
    fn as_ref(&self) -> &Work {
        &self.work
    }
}

/// What the fold is told.
pub(crate) enum Order {
    /// An entry was acknowledged.
    Fold(Position, Note),
    /// Everything folded so far is to be committed.
    Flush,
}

/// Folds until all who can send are gone.
pub(crate) fn run(shared: &Shared, orders: &Receiver<Order>, commits: &SyncSender<Arc<Overlay>>) {
    let mut channels = ChannelCache::new();
    // What was folded at the start waits to be committed, too.
    let mut oldest = shared.has_active().then(Instant::now);
    let mut flush = false;
    loop {
        let age = oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed());
        let order = if oldest.is_some() {
            // While the last overlay is still being committed it is not this one's turn.
            let left = OVERLAY_AGE_MAX.saturating_sub(age).max(Duration::from_millis(5));
            orders.recv_timeout(left)
        } else {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let mut step = Vec::new();
        let mut next = match order {
            Ok(order) => Some(order),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut events = 0;
        while let Some(order) = next {
            match order {
                Order::Fold(position, note) => {
                    events += note.work.events.len().max(1);
                    step.push((position, note));
                }
                Order::Flush => flush = true,
            }
            next = if flush || events >= STEP_EVENTS { None } else { orders.try_recv().ok() };
        }
        if !step.is_empty() {
            let Some(position) = fold_until_done(shared, &mut channels, &step) else { return };
            // Whoever sees what was folded finds room for more.
            drop(step);
            shared.applied.send_replace(position);
            oldest = oldest.or_else(|| Some(Instant::now()));
        }
        let rows = shared.active_rows();
        let due = flush || rows >= OVERLAY_ROWS_MAX || age >= OVERLAY_AGE_MAX;
        if due && oldest.is_some() {
            // A commit that falls behind is waited for: what is in memory stays bounded.
            let waits = flush || rows >= 2 * OVERLAY_ROWS_MAX;
            if let Some(frozen) = freeze(shared, waits) {
                if commits.send(frozen).is_err() {
                    return;
                }
                oldest = None;
            }
        }
        flush = false;
    }
}

/// Freezes the active overlay; if `waits`, waits until the last one has been committed.
fn freeze(shared: &Shared, waits: bool) -> Option<Arc<Overlay>> {
    loop {
        let frozen = shared.freeze();
        if frozen.is_some() || !waits || shared.pause(Duration::from_millis(1)) {
            return frozen;
        }
    }
}

fn fold_until_done(
    shared: &Shared,
    channels: &mut ChannelCache,
    step: &[(Position, Note)],
) -> Option<Position> {
    let mut attempt = 0;
    loop {
        match shared.fold(channels, step) {
            Ok(position) => return Some(position),
            Err(error) if shared.recover("folding the journal", &error, attempt) => attempt += 1,
            Err(_) => return None,
        }
    }
}

/// Commits frozen overlays until all who can send are gone.
pub(crate) fn commit(shared: &Shared, commits: &Receiver<Arc<Overlay>>) {
    while let Ok(frozen) = commits.recv() {
        let mut attempt = 0;
        while let Err(error) = shared.commit(&frozen) {
            if !shared.recover("committing the ledger", &error, attempt) {
                return;
            }
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lead_is_bounded_at_the_edge() {
        let lead = Arc::default();
        let most = Permit::take(&lead, LEAD_EVENTS_MAX - 1).unwrap();
        let last = Permit::take(&lead, 1).unwrap();
        let refused = Permit::take(&lead, 1);
        assert!(matches!(refused, Err(Error::Busy { limit: LEAD_EVENTS_MAX, .. })));
        drop(last);
        assert!(Permit::take(&lead, 2).is_err());
        drop(most);
        // Alone, also one that is larger than all together may be.
        let large = Permit::take(&lead, LEAD_EVENTS_MAX + 1).unwrap();
        assert!(Permit::take(&lead, 1).is_err());
        drop(large);
        assert_eq!(lead.load(Ordering::SeqCst), 0);
    }
}
