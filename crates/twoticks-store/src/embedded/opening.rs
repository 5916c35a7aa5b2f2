//! Opening a folder: whether key, journal and tables belong together, and what becomes of tables
//! that do not.
//!
//! Tables are a fold of the journal. Those that are missing, damaged, too old or of other counting
//! rules are made again: from the journal alone if it begins at 1, else from a sealed snapshot and
//! the journal behind it. They are made beside the old ones, as `ledger.new`, and get their name
//! when they are whole, so that a process that dies meanwhile leaves nothing that looks like tables.

use std::fs::{File, remove_dir_all, rename};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use twoticks_core::RULES_VERSION;

use crate::embedded::fold::{Note, Shared};
use crate::embedded::memory::Memory;
use crate::embedded::refold::refold;
use crate::embedded::roll::Roll;
use crate::embedded::tables::{self, Meta, Slot, Tables};
use crate::embedded::young::Young;
use crate::entry;
use crate::error::Error;
use crate::journal::{Journal, Position};
use crate::keys::Keys;
use crate::ledger::Counters;
use crate::snapshot::folder::{self, Sealed};

/// How many entries are looked at for one with a body that says under which key it was sealed.
const KEY_CHECK_ENTRIES: usize = 100;
/// How often it is told how far making tables is, in entries.
const TOLD_EVERY: Position = 100_000;
/// Tables that were found damaged while they were used have this beside them.
pub(super) const DAMAGED_MARK: &str = "ledger.is-damaged";

/// Makes sure that the journal was written under `keys`: hashes under another key would count
/// everything once more. The tables know their key as well, but they may be gone.
pub(super) fn check_key(data: &Path, keys: &Keys, journal: &Journal<Note>) -> Result<(), Error> {
    for record in journal.read(1).take(KEY_CHECK_ENTRIES) {
        match entry::opens(keys, &record?.1) {
            Some(true) => break,
            Some(false) => return Err(Error::WrongKey { folder: data.to_owned() }),
            None => {}
        }
    }
    match folder::list(data)?.iter().all(|sealed| sealed.header.is_under(keys)) {
        true => Ok(()),
        false => Err(Error::WrongKey { folder: data.to_owned() }),
    }
}

/// Notes that the tables were found damaged: the next start makes them again.
pub(super) fn mark_damaged(ledger: &Path) {
    let marked = File::create(ledger.with_file_name(DAMAGED_MARK)).and_then(|it| it.sync_all());
    if let Err(error) = marked {
        tracing::error!(error = %error, "the damage to the ledger could not be noted");
    }
}

/// Ends the process if `error` says that the tables are damaged, which goes away by no repetition:
/// the next start makes them again.
pub(super) fn end_if_damaged(ledger: &Path, error: &Error) {
    let is_damaged = matches!(error, Error::Corrupt { .. });
    if is_damaged {
        mark_damaged(ledger);
    }
    assert!(!is_damaged, "the tables are damaged: {error}");
}

/// The snapshots that the journal goes on from, in order.
pub(super) fn usable(data: &Path, journal: &Journal<Note>) -> Result<Vec<Sealed>, Error> {
    let mut found = folder::list(data)?;
    let kept = journal.first().saturating_sub(1)..=journal.acknowledged();
    found.retain(|sealed| {
        kept.contains(&sealed.header.position) && sealed.header.layout == tables::FORMAT
    });
    Ok(found)
}

/// Why tables are not used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfit {
    Damaged,
    OtherRules,
    /// The journal begins behind them.
    Behind,
}

/// Opens the tables, made again if need be, and makes sure that they belong to the journal.
pub(super) fn open_tables(
    data: &Path,
    keys: &Keys,
    journal: &Journal<Note>,
    memory: &Memory,
) -> Result<(Shared, Young), Error> {
    let ledger = data.join("ledger");
    // Of a process that died while it made them.
    remove(&ledger.with_extension("new"))?;
    let begin = match journal.first() {
        1 => Vec::new(),
        _ => begin_with(usable(data, journal)?),
    };
    let can_be_made = journal.first() == 1 || !begin.is_empty();
    let (unfit, error) = match open_marked(&ledger, keys, memory) {
        Ok((tables, meta)) => match unfit(data, journal, &meta)? {
            Some(Unfit::OtherRules) if !can_be_made => {
                return Ok(opened(&ledger, memory, tables, &meta));
            }
            Some(unfit) => (unfit, None),
            None => return Ok(opened(&ledger, memory, tables, &meta)),
        },
        Err(error @ Error::Corrupt { .. }) => (Unfit::Damaged, Some(error)),
        Err(error) => return Err(error),
    };
    if !can_be_made {
        return Err(error.unwrap_or_else(|| beginning_is_missing(data, journal)));
    }
    let (tables, meta) = make_again((data, &ledger), (keys, memory), begin, (unfit, error))?;
    if let Some(unfit) = self::unfit(data, journal, &meta)? {
        let what = "it was made again and does not fit its journal".to_owned();
        debug_assert!(unfit != Unfit::Damaged, "damage is found by opening");
        return Err(Error::Corrupt { what, place: ledger, remedy: "restore it from a backup" });
    }
    Ok(opened(&ledger, memory, tables, &meta))
}

fn opened(ledger: &Path, memory: &Memory, tables: Tables, meta: &Meta) -> (Shared, Young) {
    let young = Young::new(memory, meta.folded, meta.latest);
    (Shared::new(Slot::new(ledger, memory, tables), meta.folded), young)
}

/// With which snapshots to begin, the best first: the newest that these counting rules made; then,
/// of those that others made, the oldest, so that as much as can be is counted by these.
fn begin_with(usable: Vec<Sealed>) -> Vec<Sealed> {
    let is_ours = |sealed: &Sealed| sealed.header.rules == RULES_VERSION;
    let (ours, others): (Vec<_>, Vec<_>) = usable.into_iter().partition(is_ours);
    ours.into_iter().rev().chain(others).collect()
}

/// Opens the tables and reads what they say about themselves.
fn open(ledger: &Path, keys: &Keys, memory: &Memory) -> Result<(Tables, Meta), Error> {
    if let Some(place) = headless(ledger)? {
        let what = "the file `current` is missing in it".to_owned();
        return Err(Error::Corrupt { what, place, remedy: tables::REMEDY });
    }
    let tables = Tables::open(ledger, memory)?;
    let meta = tables.meta(ledger, Some(keys))?;
    Ok((tables, meta))
}

/// A table that has lost the file that says what is in it: the engine would let go of it. Where it
/// is known which tables there have to be ([`Roll`]), only the one that says so to the engine: of
/// others there may be halves, of one that was being made or removed.
fn headless(ledger: &Path) -> Result<Option<PathBuf>, Error> {
    let is_known = Roll::of(ledger).read()?.is_some();
    let looking = |error| Error::io("looking at the ledger's tables", error);
    let folders = match std::fs::read_dir(ledger.join("keyspaces")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(looking)?,
    };
    for folder in folders {
        let folder = folder.map_err(looking)?.path();
        let matters = !is_known || folder.ends_with("0");
        if matters && folder.is_dir() && !folder.join("current").exists() {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// As [`open`]; those that were found damaged while they were used are not opened.
fn open_marked(ledger: &Path, keys: &Keys, memory: &Memory) -> Result<(Tables, Meta), Error> {
    if ledger.with_file_name(DAMAGED_MARK).exists() {
        return Err(Error::Corrupt {
            what: "it was found while it was used".to_owned(),
            place: ledger.to_owned(),
            remedy: "restore the folder from a backup",
        });
    }
    open(ledger, keys, memory)
}

/// Why tables that open are not used, if so.
fn unfit(data: &Path, journal: &Journal<Note>, meta: &Meta) -> Result<Option<Unfit>, Error> {
    if meta.folded > journal.acknowledged() {
        return Err(Error::Corrupt {
            what: format!(
                "its end is missing: it has {} entries, and {} have been counted",
                journal.acknowledged(),
                meta.folded
            ),
            place: data.join("journal"),
            remedy: "restore the journal's last file from a backup, or remove the folder `ledger` \
                beside it and accept the loss",
        });
    }
    if meta.folded + 1 < journal.first() {
        return Ok(Some(Unfit::Behind));
    }
    Ok((!meta.same_rules).then_some(Unfit::OtherRules))
}

fn beginning_is_missing(data: &Path, journal: &Journal<Note>) -> Error {
    Error::Corrupt {
        what: format!(
            "its beginning is missing: it begins at {}, and there is neither a ledger nor a \
            snapshot that it goes on from",
            journal.first()
        ),
        place: data.join("journal"),
        remedy: "restore the folder from a backup",
    }
}

/// Makes tables beside the old ones and puts them in their place.
fn make_again(
    (data, ledger): (&Path, &Path),
    (keys, memory): (&Keys, &Memory),
    begin: Vec<Sealed>,
    (unfit, error): (Unfit, Option<Error>),
) -> Result<(Tables, Meta), Error> {
    let making = |error| Error::io("making the ledger again", error);
    match unfit {
        Unfit::Damaged => tracing::error!(
            error = error.as_ref().map(|error| error as &dyn std::error::Error),
            "the ledger is damaged and is made again; the old one is kept as `ledger.damaged`"
        ),
        Unfit::OtherRules => {
            tracing::warn!("the counting rules have changed: the ledger is made again");
        }
        Unfit::Behind => tracing::warn!(
            "the ledger is missing or older than the journal's beginning: it is made again"
        ),
    }
    let new = ledger.with_extension("new");
    fill(data, &new, (keys, memory), begin)?;
    let aside = ledger.with_extension("damaged");
    if unfit == Unfit::Damaged && ledger.exists() {
        remove(&aside)?;
        rename(ledger, &aside).map_err(making)?;
    } else {
        remove(ledger)?;
    }
    rename(&new, ledger).map_err(making)?;
    File::open(data).and_then(|data| data.sync_all()).map_err(making)?;
    match std::fs::remove_file(ledger.with_file_name(DAMAGED_MARK)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(making(error)),
        _ => {}
    }
    open(ledger, keys, memory)
}

/// Makes tables in `new` from the first of the snapshots that is whole; without any, empty ones.
fn fill(
    data: &Path,
    new: &Path,
    (keys, memory): (&Keys, &Memory),
    begin: Vec<Sealed>,
) -> Result<(), Error> {
    if begin.is_empty() {
        remove(new)?;
        return open(new, keys, memory).map(drop);
    }
    let mut last = None;
    for Sealed { path, header } in begin {
        remove(new)?;
        tracing::info!(
            snapshot.path = %path.display(),
            "the ledger begins with the snapshot at {}, by {}", header.position, header.rules
        );
        let (tables, _) = open(new, keys, memory)?;
        match tables.fill(&path) {
            Ok(_) => return Ok(()),
            Err(error @ (Error::Corrupt { .. } | Error::NewerVersion { .. })) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a snapshot is damaged");
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    remove(new)?;
    Err(last.unwrap_or_else(|| Error::Corrupt {
        what: "there is no snapshot to begin with".to_owned(),
        place: data.to_owned(),
        remedy: "restore the folder from a backup",
    }))
}

fn remove(folder: &Path) -> Result<(), Error> {
    match remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("removing an old ledger", error))
        }
        _ => Ok(()),
    }
}

/// Folds what the journal has and the tables do not.
pub(super) fn replay(
    shared: &Shared,
    young: &mut Young,
    journal: &Journal<Note>,
    data: &Path,
) -> Result<(), Error> {
    let folded = young.position;
    let until = journal.acknowledged();
    let mut said = folded;
    let mut told = |position| {
        if position >= said + TOLD_EVERY {
            said = position;
            tracing::info!(
                ledger.position = position,
                "the ledger catches up: {position} of {until}"
            );
        }
        true
    };
    let records = journal.read(folded + 1);
    refold(shared, young, records, (&data.join("journal"), until), &mut told)?;
    young.counters = Counters::default();
    // What happened before the start is not counted as happening now.
    *shared.counters.lock().unwrap_or_else(PoisonError::into_inner) = Counters::default();
    Ok(())
}
