//! Proof that the totals are what the journal says: it is folded again and compared.
//!
//! Works with any [`Ledger`], while it is being written as well: the ledger says up to which
//! position its digest is, and exactly that many entries are folded again. A ledger in a folder
//! whose journal no longer begins at 1 is folded from the sealed snapshot that it goes on from.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::embedded::kept::Again;
use crate::embedded::scratch::Scratch;
use crate::error::Error;
use crate::journal::Position;
use crate::ledger::{Digest, ENTRIES_MAX, Ledger};
use crate::threads::blocking;

/// What came of comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the ledger is what its journal says.
    pub equal: bool,
    /// What the ledger has.
    pub ledger: Digest,
    /// What its journal says.
    pub journal: Digest,
    /// The position of the snapshot that the fold began with; 0 if it began with nothing.
    pub from: Position,
    /// How many entries were folded again.
    pub entries: u64,
    /// How many events they had.
    pub events: u64,
}

/// Hears how far it is: the position reached, and the last one.
pub type Told = Arc<dyn Fn(Position, Position) + Send + Sync>;

/// Folds the journal of `ledger` again, in `scratch` (an empty folder that the caller removes),
/// and compares.
///
/// # Errors
/// Those of the ledger, and those of the folder.
pub async fn verify(ledger: &dyn Ledger, scratch: &Path, told: Told) -> Result<Verdict, Error> {
    let (left, again) = match ledger.kept() {
        Some(kept) => kept.compare(scratch, told).await?,
        None => {
            let left = ledger.digest().await?;
            (left, fold_again(ledger, left.position, scratch, told).await?)
        }
    };
    let Again { from, digest, entries, events } = again;
    Ok(Verdict { equal: left == digest, ledger: left, journal: digest, from, entries, events })
}

/// Folds all entries of any ledger again.
async fn fold_again(
    ledger: &dyn Ledger,
    until: Position,
    scratch: &Path,
    told: Told,
) -> Result<Again, Error> {
    let folder = scratch.to_owned();
    let made = blocking(move || Scratch::create(&folder)).await?;
    let made = Arc::new(Mutex::new(made));
    let (mut entries, mut events) = (0, 0);
    let mut next = 1;
    while next <= until {
        let left_over = usize::try_from(until - next + 1).unwrap_or(usize::MAX);
        let page = ledger.entries(next, left_over.min(ENTRIES_MAX)).await?;
        let Some(last) = page.last().map(|entry| entry.position) else { break };
        entries += page.len() as u64;
        events += page.iter().map(|entry| entry.batch.events.len() as u64).sum::<u64>();
        let made = Arc::clone(&made);
        blocking(move || made.lock().unwrap_or_else(PoisonError::into_inner).fold(page)).await?;
        next = last + 1;
        told(last, until);
    }
    let digest =
        blocking(move || made.lock().unwrap_or_else(PoisonError::into_inner).digest()).await?;
    Ok(Again { from: 0, digest, entries, events })
}
