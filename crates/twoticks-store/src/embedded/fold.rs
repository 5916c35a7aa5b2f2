//! From the journal to the tables: one thread folds, one commits, neither stops for the other.
//!
//! What always holds: entries are folded in the order of their positions, each event whole or not
//! at all; what is folded can be asked for until it can be read from the tables; a question is
//! answered between two entries, by the thread that folds, so that nothing is locked. When the
//! engine fails nothing is lost: what is young is kept, the engine is opened again, and what failed
//! is done again after a pause that grows. Meanwhile the bounded lead of the journal makes
//! `record` wait, and then answer that it is busy.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use twoticks_core::clock::Time;

use crate::embedded::filling::Filling;
use crate::embedded::opening;
use crate::embedded::pieces::PIECE;
use crate::embedded::tables::Slot;
use crate::embedded::young::{Overlay, Young};
use crate::entry::Work;
use crate::error::Error;
use crate::journal::Position;
use crate::ledger::Counters;

/// How many events may be on their way to being acknowledged and folded; beyond them `record`
/// waits.
///
/// A batch that is larger by itself is taken when there are no others.
pub const LEAD_EVENTS_MAX: usize = 16_384;
/// When so many events are acknowledged and not folded, the next are not acknowledged at once.
///
/// A question waits for them, so that this is how long it takes while the fold is busy; and what
/// has to wait meanwhile is synced together.
pub const BACKLOG_EVENTS_MAX: usize = 2_048;
/// How long an acknowledgement waits for the fold at most: it is on disk, whether that goes on or
/// not.
const BACKLOG_WAIT_MAX: Duration = Duration::from_millis(50);
/// How long `record` waits for its turn before it says that the ledger is busy.
pub const LEAD_WAIT_MAX: Duration = Duration::from_secs(1);
/// What is young is committed when its oldest row is this old.
pub const OVERLAY_AGE_MAX: Duration = Duration::from_secs(2);
/// How many messages are frozen before the next order is looked at,
const FREEZE_STEP: usize = if cfg!(test) { 1 } else { 256 };
/// and how many more for each event that was taken in, so that freezing comes to its end. In tests
/// entries come in between.
const FREEZE_PER_EVENT: usize = if cfg!(test) { 0 } else { 4 };
/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));

/// What the fold shares with those who ask.
pub(crate) struct Shared {
    pub(crate) slot: Slot,
    /// The position up to which everything is in the tables.
    pub(crate) committed: watch::Sender<Position>,
    /// What has been counted; apart, so that asking never waits for the fold.
    pub(crate) counters: Mutex<Counters>,
    /// Set when the ledger closes, so that nobody goes on trying.
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Shared {
    pub(crate) fn new(slot: Slot, folded: Position) -> Self {
        Self {
            slot,
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

    /// Folds the next entry into `young`; after an error, again with the same one.
    pub(crate) fn fold(
        &self,
        young: &mut Young,
        position: Position,
        work: &Work,
    ) -> Result<(), Error> {
        self.slot.with(|tables| young.fold(tables, self.slot.folder(), position, work))
    }

    /// Puts the frozen overlay into the tables.
    pub(crate) fn commit(&self, frozen: &Overlay) -> Result<(), Error> {
        let overflows = self.slot.with(|tables| tables.commit(frozen, self.slot.folder()))?;
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).overflows += overflows;
        self.committed.send_replace(frozen.position);
        Ok(())
    }

    /// Commits what is young at once, on this thread.
    pub(crate) fn commit_all(&self, young: &mut Young) -> Result<(), Error> {
        young.go_on_freezing(usize::MAX);
        young.thaw(*self.committed.borrow());
        if let Some(frozen) = young.frozen.clone().or_else(|| young.freeze()) {
            self.commit(&frozen)?;
            young.thaw(frozen.position);
        }
        if young.active.position > 0 { self.commit_all(young) } else { Ok(()) }
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
            // What was committed is gone: what is young no longer fits on it. The next start folds
            // from where the tables are.
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
    _share: OwnedSemaphorePermit,
}

impl Permit {
    /// Takes room for `events`, in the order of who asked for it.
    pub(crate) async fn take(lead: &Arc<Semaphore>, events: usize) -> Result<Self, Error> {
        let share = u32::try_from(events.min(LEAD_EVENTS_MAX)).unwrap_or(u32::MAX);
        let lead = Arc::clone(lead);
        match tokio::time::timeout(LEAD_WAIT_MAX, lead.acquire_many_owned(share)).await {
            Ok(Ok(share)) => Ok(Self { _share: share }),
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Busy { what: "the fold is", limit: LEAD_EVENTS_MAX }),
        }
    }
}

/// How many events are acknowledged and not folded.
#[derive(Default)]
pub(crate) struct Backlog {
    waiting: Mutex<Waiting>,
    room: Condvar,
}

#[derive(Default)]
struct Waiting {
    events: usize,
    /// The fold has not gone on for so long that nobody waits for it, until it does.
    is_stuck: bool,
}

impl Backlog {
    /// Takes events in, when there is room for them or it was waited for long enough.
    pub(crate) fn add(&self, events: usize) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |waiting: &mut Waiting| {
            let is_alone = waiting.events == 0;
            !is_alone && !waiting.is_stuck && waiting.events + events > BACKLOG_EVENTS_MAX
        };
        let waited = self.room.wait_timeout_while(waiting, BACKLOG_WAIT_MAX, is_full);
        let (mut waiting, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.is_stuck |= timeout.timed_out();
        waiting.events += events;
    }

    fn folded(&self, events: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.events -= events;
        waiting.is_stuck = false;
        self.room.notify_one();
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

/// A question to the fold: asked between two entries, of what is young and of the tables.
pub(crate) type Question = Box<dyn FnOnce(&Young, &Shared) + Send>;

/// What the fold is told.
pub(crate) enum Order {
    /// An entry was acknowledged.
    Fold(Position, Box<Note>),
    /// Everything folded so far is to be committed.
    Flush,
    /// Somebody asks.
    Ask(Question),
}

/// Folds until all who can send are gone.
pub(crate) fn run(
    shared: &Shared,
    mut young: Young,
    (orders, backlog): (&Receiver<Order>, &Backlog),
    commits: &SyncSender<Arc<Overlay>>,
) {
    // What was folded at the start waits to be committed, too.
    let mut oldest = (young.active.position > 0).then(Instant::now);
    loop {
        let age = oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed());
        let order = if young.is_freezing() {
            orders.try_recv().map_err(|empty| match empty {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            })
        } else if oldest.is_some() {
            // While the last overlay is still being committed it is not this one's turn.
            let left = OVERLAY_AGE_MAX.saturating_sub(age).max(Duration::from_millis(5));
            orders.recv_timeout(left)
        } else {
            orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let (mut flush, mut freezes) = (false, FREEZE_STEP);
        match order {
            Ok(Order::Fold(position, note)) => {
                if !fold_until_done(shared, &mut young, position, &note.work) {
                    return;
                }
                let events = note.work.events.len();
                backlog.folded(events);
                freezes += events * FREEZE_PER_EVENT;
                let counted = std::mem::take(&mut young.counters);
                shared.counters.lock().unwrap_or_else(PoisonError::into_inner).add(counted);
                oldest = oldest.or_else(|| Some(Instant::now()));
            }
            Ok(Order::Ask(question)) => {
                young.thaw(*shared.committed.borrow());
                question(&young, shared);
            }
            Ok(Order::Flush) => flush = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let rows = young.rows();
        let due = flush || rows >= young.rows_max || age >= OVERLAY_AGE_MAX;
        // A commit that falls behind is waited for: what is in memory stays bounded.
        let waits = due && (flush || rows >= young.rows_max + young.rows_max / 2);
        let step = if waits { usize::MAX } else { freezes };
        if !go_on_freezing(&mut young, step, commits) {
            return;
        }
        if due && oldest.is_some() && begin_freezing(shared, &mut young, waits) {
            oldest = None;
            if flush && !go_on_freezing(&mut young, usize::MAX, commits) {
                return;
            }
        }
    }
}

/// Freezes so many messages more, and has all committed when it is all of it; `false` if nobody
/// commits any more.
fn go_on_freezing(young: &mut Young, messages: usize, commits: &SyncSender<Arc<Overlay>>) -> bool {
    young.go_on_freezing(messages).is_none_or(|frozen| commits.send(frozen).is_ok())
}

/// Begins to freeze the active overlay; if `waits`, waits until the last one has been committed.
fn begin_freezing(shared: &Shared, young: &mut Young, waits: bool) -> bool {
    loop {
        young.thaw(*shared.committed.borrow());
        let has_begun = young.begin_freezing();
        if has_begun || !waits || shared.pause(Duration::from_millis(1)) {
            return has_begun;
        }
    }
}

fn fold_until_done(shared: &Shared, young: &mut Young, position: Position, work: &Work) -> bool {
    let mut attempt = 0;
    while let Err(error) = shared.fold(young, position, work) {
        if !shared.recover("folding the journal", &error, attempt) {
            return false;
        }
        attempt += 1;
    }
    true
}

/// Makes filters: of what was in the tables when they were opened, and then after every commit of
/// what is not written to any more, until nobody tells of any.
pub(crate) fn fill_filters(shared: &Shared, committed: &Receiver<()>) {
    let mut filling = Filling::default();
    loop {
        let more = shared.slot.with(|tables| tables.fill_filters(&mut filling));
        // The engine is asked instead until the next commit.
        let more = more.unwrap_or_else(|error| {
            filling = Filling::default();
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "the filters of the ledger are not made");
            false
        });
        if shared.pause(Duration::ZERO) || (!more && committed.recv().is_err()) {
            return;
        }
    }
}

/// Commits frozen overlays until all who can send are gone.
/// `due` hears of the time reached whenever a span of it is over, `fill` of every commit.
pub(crate) fn commit(
    shared: &Shared,
    commits: &Receiver<Arc<Overlay>>,
    (due, fill): (&SyncSender<Time>, &SyncSender<()>),
) {
    let mut span = None;
    while let Ok(frozen) = commits.recv() {
        let mut attempt = 0;
        while let Err(error) = shared.commit(&frozen) {
            if !shared.recover("committing the ledger", &error, attempt) {
                return;
            }
            attempt += 1;
        }
        // Nothing is lost if it has not done yet what it was told before.
        fill.try_send(()).unwrap_or_default();
        let now = Some(frozen.latest.0.div_euclid(PIECE));
        if span != now && due.try_send(frozen.latest).is_ok() {
            span = now;
        }
    }
}

/// Lets go of what has expired by the times that are `due`, until nobody tells of any more.
pub(crate) fn expire(shared: &Shared, due: &Receiver<Time>) {
    while let Ok(latest) = due.recv() {
        let mut at = None;
        loop {
            match shared.slot.with(|tables| tables.expire(&mut at, latest)) {
                Ok(true) => {}
                Ok(false) => break,
                // Nothing is lost by it: it is tried again when the next span is over.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "what has expired could not be let go of");
                    break;
                }
            }
            if shared.pause(Duration::ZERO) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_waits_for_room_and_not_for_a_fold_that_is_stuck() {
        let backlog = Backlog::default();
        let begun = Instant::now();
        backlog.add(BACKLOG_EVENTS_MAX + 1);
        std::thread::scope(|scope| {
            scope.spawn(|| backlog.folded(BACKLOG_EVENTS_MAX));
            backlog.add(BACKLOG_EVENTS_MAX - 1);
        });
        assert!(!backlog.waiting.lock().unwrap().is_stuck);
        backlog.add(1);
        assert!(begun.elapsed() >= BACKLOG_WAIT_MAX);
        assert!(backlog.waiting.lock().unwrap().is_stuck);
        for _ in 0..10_000 {
            backlog.add(1);
        }
        backlog.folded(1);
        let waiting = backlog.waiting.lock().unwrap();
        assert_eq!((waiting.events, waiting.is_stuck), (BACKLOG_EVENTS_MAX + 10_000, false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lead_is_bounded_at_the_edge() {
        let lead = Arc::new(Semaphore::new(LEAD_EVENTS_MAX));
        let most = Permit::take(&lead, LEAD_EVENTS_MAX - 1).await.unwrap();
        let last = Permit::take(&lead, 1).await.unwrap();
        let before = tokio::time::Instant::now();
        let refused = Permit::take(&lead, 1).await;
        assert!(matches!(refused, Err(Error::Busy { limit: LEAD_EVENTS_MAX, .. })));
        assert_eq!(before.elapsed(), LEAD_WAIT_MAX);
        drop(last);
        assert!(Permit::take(&lead, 2).await.is_err());
        // Whoever waits has it when it is there, also one that is larger than all together may be.
        let freed = async {
            tokio::task::yield_now().await;
            drop(most);
        };
        let (large, ()) = tokio::join!(Permit::take(&lead, LEAD_EVENTS_MAX + 1), freed);
        let large = large.unwrap();
        assert!(Permit::take(&lead, 1).await.is_err());
        drop(large);
        assert_eq!(lead.available_permits(), LEAD_EVENTS_MAX);
    }
}
