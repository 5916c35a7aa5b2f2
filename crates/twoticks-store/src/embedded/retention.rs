//! How long the journal is kept: a thread that seals snapshots and lets go of what is too old.
//!
//! Ages are counted by acceptance times, from the latest in the journal: a journal that does not
//! grow does not shrink either, and ninety days that are told in minutes are ninety days. The clock
//! only bounds them: a time in the future makes nothing older. The thread sleeps until an entry
//! comes that makes something due.
//!
//! What always holds: the journal begins at 1 or at a sealed snapshot that was read to its end
//! before anything behind it was removed; at least the retention is kept; a crash between any two
//! steps leaves a folder that opens, and the next round goes on.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use twoticks_core::clock::{Clock, DAY, SECOND, Time};

use crate::embedded::fold::Note;
use crate::embedded::kept::Kept;
use crate::embedded::opening::usable;
use crate::entry;
use crate::error::Error;
use crate::journal::{Journal, Position};
use crate::snapshot::folder::{self, Sealed};
use crate::snapshot::reader::Snapshot;

/// How many snapshots there are in a retention, about: a new one is due when the newest is older
/// than this part of it,
pub const SNAPSHOTS_IN_RETENTION: i64 = 2;
/// but than this at least, in milliseconds.
pub const SNAPSHOT_AGE_MIN: i64 = DAY;
/// What failed, or had to wait for whoever reads the folder, is tried again when so much time has
/// been recorded, in milliseconds.
const RETRY_AFTER: i64 = 3_600 * SECOND;

/// How long to keep the journal.
#[derive(Clone)]
pub struct Retention {
    /// So many days at least, and at most half or a day more, by acceptance times.
    pub journal_days: u32,
    /// The present, which no acceptance time exceeds.
    pub clock: Arc<dyn Clock>,
}

impl Retention {
    fn keep(&self) -> i64 {
        i64::from(self.journal_days) * DAY
    }

    /// The age of the newest snapshot at which another one is due.
    fn snapshot_age(&self) -> i64 {
        (self.keep() / SNAPSHOTS_IN_RETENTION).max(SNAPSHOT_AGE_MIN)
    }
}

/// The latest acceptance time, and who waits for a later one.
pub(crate) struct Ages {
    /// Of those that were not in the future when they were told.
    latest: AtomicI64,
    clock: OnceLock<Arc<dyn Clock>>,
    due: AtomicI64,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Default)]
struct State {
    is_due: bool,
    ended: bool,
}

impl Default for Ages {
    fn default() -> Self {
        Self {
            latest: AtomicI64::new(i64::MIN),
            clock: OnceLock::new(),
            // Nobody waits yet.
            due: AtomicI64::new(i64::MAX),
            state: Mutex::default(),
            bell: Condvar::new(),
        }
    }
}

impl Ages {
    /// Hears of an entry that was accepted then.
    pub(super) fn tell(&self, accepted: Time) {
        let now = self.clock.get().map_or(i64::MAX, |clock| clock.now().0);
        let accepted = accepted.0.min(now);
        // A clock that was wrong for a while must not make everything old for ever.
        let later = |latest: i64| latest.min(now).max(accepted);
        let told = |latest| Some(later(latest));
        let before = self.latest.fetch_update(Ordering::SeqCst, Ordering::SeqCst, told);
        if before.is_ok_and(|before| later(before) >= self.due.load(Ordering::SeqCst)) {
            self.ring(|state| state.is_due = true);
        }
    }

    /// From now on no time after what `clock` shows is believed.
    pub(super) fn believe(&self, clock: Arc<dyn Clock>) {
        // The first one stands.
        drop(self.clock.set(clock));
        self.tell(Time(i64::MIN));
    }

    /// The latest acceptance time so far.
    pub(super) fn latest(&self) -> Time {
        let now = self.clock.get().map_or(i64::MAX, |clock| clock.now().0);
        Time(self.latest.load(Ordering::SeqCst).min(now))
    }

    pub(super) fn end(&self) {
        self.ring(|state| state.ended = true);
    }

    fn ring(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_all();
    }

    /// Waits for an entry that was accepted at `due` or later; `false` if the ledger ends.
    fn wait(&self, due: Time) -> bool {
        self.due.store(due.0, Ordering::SeqCst);
        if self.latest.load(Ordering::SeqCst) >= due.0 {
            self.ring(|state| state.is_due = true);
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.bell.wait_while(state, |state| !state.is_due && !state.ended);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        self.due.store(i64::MAX, Ordering::SeqCst);
        state.is_due = false;
        !state.ended
    }
}

/// Keeps the journal as `retention` says until the ledger ends.
pub(super) fn run(kept: &Kept, retention: &Retention) {
    let mut due = Time(i64::MIN);
    while kept.ages.wait(due) {
        due = match round(kept, retention) {
            Ok(due) => due,
            Err(Error::Closed) => return,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    cause = std::error::Error::source(&error),
                    "the journal could not be trimmed, nothing is lost; it is tried again"
                );
                kept.ages.latest().plus(RETRY_AFTER)
            }
        };
        // What is due now has to wait for a later entry: there is nothing more to do for this one.
        due = due.max(kept.ages.latest().plus(1));
    }
}

/// Does what is due; until when there is nothing more to do.
pub(super) fn round(kept: &Kept, retention: &Retention) -> Result<Time, Error> {
    let now = || kept.ages.latest();
    let mut sealed = kept.usable()?;
    let Some(begun) = newest(kept, &sealed)? else { return Ok(Time(i64::MIN)) };
    let mut due = begun.plus(retention.snapshot_age());
    if now() >= due {
        let made = kept.seal()?;
        kept.journal.begin_anew();
        due = made.header.latest.plus(retention.snapshot_age());
        if sealed.last().is_none_or(|last| last.header.position < made.header.position) {
            sealed.push(made);
        }
    }
    let Some(left) = let_go(kept, sealed, now().plus(-retention.keep()))? else {
        return Ok(due.min(now().plus(RETRY_AFTER)));
    };
    thin(kept, &left, retention.snapshot_age())?;
    let too_old = left.iter().map(|sealed| sealed.header.latest.plus(retention.keep()));
    Ok(too_old.filter(|time| *time > now()).fold(due, Time::min))
}

/// The time of the newest snapshot, or of the journal's beginning; `None` without either.
fn newest(kept: &Kept, sealed: &[Sealed]) -> Result<Option<Time>, Error> {
    if let Some(newest) = sealed.last() {
        return Ok(Some(newest.header.latest));
    }
    match kept.journal.read(1).next() {
        None => Ok(None),
        Some(record) => accepted(&kept.folder, record?).map(Some),
    }
}

/// Removes the snapshots and the journal before the newest snapshot that is not younger than
/// `until`. What is left, or `None` if somebody stood in the way.
fn let_go(kept: &Kept, mut sealed: Vec<Sealed>, until: Time) -> Result<Option<Vec<Sealed>>, Error> {
    let positions = folder::positions(&kept.folder)?;
    let second = kept.journal.segments().get(1).map(|segment| segment.first);
    for index in (0..sealed.len()).rev() {
        let Some(base) = sealed.get(index).filter(|base| base.header.latest <= until) else {
            continue;
        };
        let position = base.header.position;
        let before: Vec<_> = positions.iter().copied().filter(|it| *it < position).collect();
        if before.is_empty() && second.is_none_or(|second| second > position + 1) {
            break;
        }
        // From now on everything that is kept hangs on it.
        if let Err(error) = check(kept, base) {
            kept.go_on()?;
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a snapshot is damaged; what comes before it is kept"
            );
            continue;
        }
        let is_done = kept.if_not_held(|| {
            // First, because the journal then begins before the oldest snapshot, which does no
            // harm, whatever happens in between.
            remove(kept, &before)?;
            kept.journal.trim(position + 1).map(drop)
        })?;
        if !is_done {
            return Ok(None);
        }
        tracing::info!(
            journal.first = kept.journal.first(),
            "what comes before the snapshot at {position} is no longer kept"
        );
        return Ok(Some(sealed.split_off(index)));
    }
    Ok(Some(sealed))
}

/// Reads all of a snapshot and its parts, unless the ledger ends.
fn check(kept: &Kept, sealed: &Sealed) -> Result<(), Error> {
    let mut go_on = || kept.go_on();
    for part in Snapshot::check(&sealed.path, &mut go_on)?.parts {
        let path = folder::part(&kept.folder, &part);
        folder::is_named(&path, &part, &Snapshot::check(&path, &mut go_on)?)?;
    }
    Ok(())
}

/// Removes snapshots that stand closer together than they need, as those do that a backup asks
/// for; never the oldest and the newest.
fn thin(kept: &Kept, sealed: &[Sealed], age: i64) -> Result<(), Error> {
    let Some((_newest, rest)) = sealed.split_last() else { return Ok(()) };
    let Some(oldest) = rest.first() else { return Ok(()) };
    let mut last = oldest.header.latest;
    let mut close = Vec::new();
    for sealed in rest.iter().skip(1) {
        if sealed.header.latest < last.plus(age) {
            close.push(sealed.header.position);
        } else {
            last = sealed.header.latest;
        }
    }
    if !close.is_empty() {
        kept.if_not_held(|| remove(kept, &close))?;
    }
    Ok(())
}

/// Removes the snapshots at `positions`, and the parts that only they have.
fn remove(kept: &Kept, positions: &[Position]) -> Result<(), Error> {
    for position in positions {
        let removed = std::fs::remove_file(folder::path(&kept.folder, *position));
        removed.map_err(|error| Error::io("removing a snapshot", error))?;
    }
    folder::sync(&kept.folder)?;
    // What is being sealed has parts that no snapshot names yet; they are looked at the next time.
    match kept.sealing.try_lock() {
        Ok(_nothing_is_sealed) => folder::sweep(&kept.folder),
        Err(_) => Ok(()),
    }
}

/// What the journal's end and the snapshots say of the latest acceptance time.
pub(super) fn latest_of(data: &Path, journal: &Journal<Note>) -> Result<Option<Time>, Error> {
    let last = match journal.read(journal.acknowledged().max(1)).next() {
        None => None,
        Some(record) => Some(accepted(data, record?)?),
    };
    let sealed = usable(data, journal)?;
    Ok(last.max(sealed.last().map(|sealed| sealed.header.latest)))
}

fn accepted(data: &Path, (position, payload): (Position, Vec<u8>)) -> Result<Time, Error> {
    let work = entry::decode_work(&data.join("journal"), position, &payload)?;
    Ok(work.accepted)
}
