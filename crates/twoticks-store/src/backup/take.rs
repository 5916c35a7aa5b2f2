//! Taking a backup of an open ledger, while it records.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backup::{
    FILES, FORMAT, KEY, Listed, MANIFEST, Manifest, copy, corrupt, make_folder, pass,
};
use crate::embedded::kept::Kept;
use crate::error::Error;
use crate::journal::Position;
use crate::journal::segment::{self, Next, Scan};
use crate::lock::FolderLock;
use crate::snapshot::folder::{self, Sealed};
use crate::snapshot::reader::Snapshot;
use crate::threads::blocking;

/// What is to be backed up, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// The folder of the backup; made if it is not there, gone on with if it has one.
    pub to: PathBuf,
    /// The names of files in the data folder that belong to it, if they are there.
    pub beside: Vec<String>,
    /// The key file, if it is to be in it.
    pub key: Option<PathBuf>,
    /// Seal the state anew, so that a restored folder has less to fold.
    pub fresh: bool,
    /// Who writes it.
    pub program: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What is in it.
    pub manifest: Manifest,
    /// How many files and bytes had to be copied.
    pub copied: (u64, u64),
}

/// A file on its way into a backup.
struct Part {
    path: String,
    source: PathBuf,
    /// How much of it.
    bytes: u64,
    check: Check,
}

/// How a file is known to be whole before it is copied.
enum Check {
    /// It is copied as it is.
    Nothing,
    Segment(Position, Position),
    Snapshot,
}

/// Takes a backup of `kept`; `read` hears how many bytes were read so far.
///
/// # Errors
/// [`Error::Locked`] if another backup is made in the same folder, [`Error::Corrupt`],
/// [`Error::Full`], [`Error::Unavailable`], [`Error::Closed`]. What was there before is as whole
/// as it was.
pub async fn take(kept: Arc<Kept>, request: Request, read: Arc<AtomicU64>) -> Result<Taken, Error> {
    if request.fresh || kept.usable()?.is_empty() {
        kept.flush().await?;
        let kept = Arc::clone(&kept);
        blocking(move || kept.seal()).await?;
    }
    blocking(move || {
        // What is copied must not be trimmed meanwhile.
        let _held = kept.hold();
        take_held(&kept, request, &read)
    })
    .await
}

fn take_held(kept: &Kept, request: Request, read: &AtomicU64) -> Result<Taken, Error> {
    let Request { to, beside, key, fresh: _, program } = request;
    let making = |error| Error::io("making the folder of a backup", error);
    make_folder(&to.join(FILES)).map_err(making)?;
    let _lock = FolderLock::take(&to)?;
    let sealed = kept.usable()?.pop().ok_or(Error::Closed)?;
    let position = kept.journal.acknowledged();
    let latest = kept.latest();
    let mut parts = segments(kept, sealed.header.position, position)?;
    parts.extend(snapshot(&sealed)?);
    // Last, so that everything is known in them that the journal speaks of.
    parts.extend(
        beside.iter().map(|name| (name.clone(), kept.folder().join(name))).filter_map(whole),
    );
    if let Some(key) = key {
        let missing = || corrupt(&key, "it is no file");
        parts.push(whole((KEY.to_owned(), key.clone())).ok_or_else(missing)?);
    }
    let mut go_on = |bytes| {
        read.fetch_add(bytes, Ordering::Relaxed);
        kept.go_on()
    };
    let (mut files, mut copied) = (Vec::new(), (0, 0));
    for part in parts {
        let listed = put(&to, &part, &mut copied, &mut go_on)?;
        files.push(listed);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    sync_folders(&to, &files).map_err(making)?;
    let (snapshot, rules) = (sealed.header.position, sealed.header.rules);
    let manifest = Manifest { format: FORMAT, program, position, snapshot, rules, latest, files };
    manifest.write(&to)?;
    sweep(&to, &manifest).map_err(|error| Error::io("removing an old backup", error))?;
    Ok(Taken { manifest, copied })
}

/// The segments that have anything behind the snapshot, and the last one in any case: it says how
/// far the journal is.
fn segments(kept: &Kept, snapshot: Position, until: Position) -> Result<Vec<Part>, Error> {
    let folder = kept.folder().join("journal");
    let segments = kept.journal.segments();
    let mut firsts: Vec<Position> = segments.iter().map(|segment| segment.first).collect();
    firsts.retain(|first| *first <= until);
    let ends = firsts.iter().skip(1).map(|next| next - 1).chain([until]);
    let needed = firsts.iter().zip(ends).filter(|(_, end)| *end > snapshot || *end == until);
    needed
        .map(|(&first, end)| {
            let source = segment::path(&folder, first);
            let name = source.file_name().unwrap_or_default().to_string_lossy();
            let path = format!("journal/{name}");
            Ok(Part { path, source, bytes: u64::MAX, check: Check::Segment(first, end) })
        })
        .collect()
}

/// The files of a snapshot.
fn snapshot(sealed: &Sealed) -> Result<Vec<Part>, Error> {
    let parts = Snapshot::parts(&sealed.path)?;
    let parts = parts.iter().map(|part| folder::part_beside(&sealed.path, part));
    let sources = parts.chain([sealed.path.clone()]);
    let listed = sources.map(|source| {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("{}/{name}", folder::FOLDER);
        Part { path, source, bytes: u64::MAX, check: Check::Snapshot }
    });
    Ok(listed.collect())
}

fn whole((path, source): (String, PathBuf)) -> Option<Part> {
    source.is_file().then_some(Part { path, source, bytes: u64::MAX, check: Check::Nothing })
}

/// Puts a file into the backup, unless it is there as it is.
fn put(
    to: &Path,
    part: &Part,
    copied: &mut (u64, u64),
    go_on: &mut dyn FnMut(u64) -> Result<(), Error>,
) -> Result<Listed, Error> {
    // Of the segment that is written to, only what is acknowledged.
    let length = match part.check {
        Check::Segment(first, end) => length_of(&part.source, first, end)?,
        Check::Nothing | Check::Snapshot => part.bytes,
    };
    let new = to.join(FILES).join("new");
    let making = |error| Error::io("making the folder of a backup", error);
    if let Check::Nothing = part.check {
        // It may be replaced at any time, so it is read once.
        let (bytes, sha256) = copy((&part.source, length), &new, go_on)?;
        let listed = Listed { path: part.path.clone(), bytes, sha256 };
        let place = listed.place(to);
        if let Some(folder) = place.parent() {
            make_folder(folder).map_err(making)?;
        }
        std::fs::rename(&new, &place).map_err(making)?;
        *copied = (copied.0 + 1, copied.1 + bytes);
        return Ok(listed);
    }
    let (bytes, sha256) = pass(&part.source, length, |_| Ok(()), go_on)?;
    let listed = Listed { path: part.path.clone(), bytes, sha256 };
    let place = listed.place(to);
    if place.is_file() {
        let there = pass(&place, u64::MAX, |_| Ok(()), go_on)?;
        if there == (listed.bytes, listed.sha256.clone()) {
            return Ok(listed);
        }
        tracing::warn!(backup.file = %place.display(), "damaged in the backup: copied again");
    }
    if let Check::Snapshot = part.check {
        Snapshot::check(&part.source, &mut || Ok(()))?;
    }
    if let Some(folder) = place.parent() {
        make_folder(folder).map_err(making)?;
    }
    let there = copy((&part.source, length), &new, go_on)?;
    if there != (listed.bytes, listed.sha256.clone()) {
        return Err(corrupt(&part.source, "it changed while it was copied"));
    }
    std::fs::rename(&new, &place).map_err(making)?;
    *copied = (copied.0 + 1, copied.1 + listed.bytes);
    Ok(listed)
}

/// How long a segment is up to and with the record at `end`; every record up to it is checked.
fn length_of(path: &Path, first: Position, end: Position) -> Result<u64, Error> {
    let file = File::open(path).map_err(|error| Error::io("reading a segment", error))?;
    let scan = Scan::new(path, file, first)?;
    let mut scan = scan.ok_or_else(|| segment::corrupt(path, "the header".to_owned()))?;
    while scan.expected <= end {
        match scan.next()? {
            Next::Record(_) => {}
            Next::End | Next::Bad => return Err(scan.corrupt()),
        }
    }
    Ok(scan.offset)
}

fn sync_folders(to: &Path, files: &[Listed]) -> std::io::Result<()> {
    let mut folders = BTreeSet::from([to.to_owned()]);
    for file in files {
        let place = file.place(to);
        folders.extend(place.ancestors().skip(1).take_while(|it| *it != to).map(Path::to_owned));
    }
    folders.iter().try_for_each(|folder| File::open(folder)?.sync_all())
}

/// Removes the files that the manifest does not name.
fn sweep(to: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let named: BTreeSet<PathBuf> = manifest.files.iter().map(|file| file.place(to)).collect();
    let mut folders = vec![to.join(FILES)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if !named.contains(&path) {
                std::fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

/// Whether a backup may be made in `to`: it is not there, empty, or has one.
///
/// # Errors
/// [`Error::Unavailable`].
pub fn is_fit(to: &Path) -> Result<bool, Error> {
    let mut entries = match std::fs::read_dir(to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        other => other.map_err(|error| Error::io("looking at the folder of a backup", error))?,
    };
    Ok(entries.next().is_none() || to.join(MANIFEST).exists() || to.join(FILES).is_dir())
}
