//! Folding a stretch of the journal: at the start, and to prove that the totals are what it says.
//!
//! One thread reads and decodes, the caller's folds, one commits. Nothing is opened that is sealed:
//! a fold needs no body. What always holds: no more than a few steps are read ahead, and no more
//! than three overlays are in memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use crate::embedded::fold::Shared;
use crate::embedded::noted;
use crate::embedded::young::{Overlay, Young};
use crate::entry::{self, Work};
use crate::error::Error;
use crate::journal::Position;
use crate::journal::reader::Reader;

/// How many entries are folded in one step, and how many events about.
const STEP: usize = 256;
const STEP_EVENTS: usize = 16_384;
/// How many steps are read ahead.
const AHEAD: usize = 4;

type Step = Vec<(Position, Work)>;

/// What was folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refolded {
    pub(crate) entries: u64,
    pub(crate) events: u64,
}

/// Folds `records` up to `until`. `told` hears of every position that was reached, and says
/// whether to go on. What is left of the last overlay is not committed. Blocks.
pub(crate) fn refold(
    shared: &Shared,
    young: &mut Young,
    records: Reader,
    (folder, until): (&Path, Position),
    told: &mut dyn FnMut(Position) -> bool,
) -> Result<Refolded, Error> {
    std::thread::scope(|scope| {
        let (steps, read) = sync_channel(AHEAD);
        start(scope, "twoticks-reread", move || {
            if let Err(error) = read_steps(records, (folder, until), &steps) {
                // Whoever has gone away does not want to know.
                drop(steps.send(Err(error)));
            }
        })?;
        let (commits, frozen) = sync_channel::<Arc<Overlay>>(1);
        let (committed, done) = sync_channel(1);
        start(scope, "twoticks-recommit", move || {
            while let Ok(overlay) = frozen.recv() {
                if committed.send(noted(shared, shared.commit(&overlay))).is_err() {
                    return;
                }
            }
        })?;
        fold_steps(shared, young, &read, (&commits, &done), told)
    })
}

fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> Result<(), Error> {
    let started = Builder::new().name(name.to_owned()).spawn_scoped(scope, work);
    started.map(drop).map_err(|error| Error::io("starting a thread", error))
}

fn read_steps(
    records: Reader,
    (folder, until): (&Path, Position),
    steps: &SyncSender<Result<Step, Error>>,
) -> Result<(), Error> {
    let (mut step, mut events) = (Vec::with_capacity(STEP), 0);
    for record in records {
        let (position, payload) = record?;
        if position > until {
            break;
        }
        let work = entry::decode_work(folder, position, &payload)?;
        events += work.events.len();
        step.push((position, work));
        if step.len() >= STEP || events >= STEP_EVENTS {
            if steps.send(Ok(std::mem::take(&mut step))).is_err() {
                return Ok(());
            }
            events = 0;
        }
    }
    // Whoever has gone away does not want the rest.
    drop(steps.send(Ok(step)));
    Ok(())
}

fn fold_steps(
    shared: &Shared,
    young: &mut Young,
    steps: &Receiver<Result<Step, Error>>,
    (commits, done): (&SyncSender<Arc<Overlay>>, &Receiver<Result<(), Error>>),
    told: &mut dyn FnMut(Position) -> bool,
) -> Result<Refolded, Error> {
    let mut refolded = Refolded::default();
    let mut is_committing = false;
    while let Ok(step) = steps.recv() {
        let step = step?;
        for (position, work) in &step {
            noted(shared, shared.fold(young, *position, work))?;
            refolded.entries += 1;
            refolded.events += work.events.len() as u64;
        }
        if !step.is_empty() && !told(young.position) {
            return Err(Error::Closed);
        }
        let rows = young.rows();
        if rows < young.rows_max {
            continue;
        }
        if is_committing {
            // A commit that falls behind is waited for: what is in memory stays bounded.
            let committed = if rows >= young.rows_max + young.rows_max / 2 {
                done.recv().ok()
            } else {
                done.try_recv().ok()
            };
            match committed {
                Some(committed) => committed?,
                None => continue,
            }
            is_committing = false;
        }
        young.thaw(*shared.committed.borrow());
        if let Some(frozen) = young.freeze() {
            is_committing = commits.send(frozen).is_ok();
        }
    }
    if is_committing && let Ok(committed) = done.recv() {
        committed?;
    }
    young.thaw(*shared.committed.borrow());
    Ok(refolded)
}
