//! The snapshots of a data folder: `snapshots/`, each named by its position, and the parts that
//! they share, named by what is in them.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::journal::Position;
use crate::snapshot::reader::Snapshot;
use crate::snapshot::{Header, Part, Trailer, corrupt};

/// The name of the folder in the data folder.
pub(crate) const FOLDER: &str = "snapshots";
const SUFFIX: &str = ".snapshot";
const PART_SUFFIX: &str = ".part";
/// How many bytes of its hash are in a part's name.
const PART_NAME_BYTES: usize = 16;
/// What a file is called until it is whole.
const PARTIAL: &str = "partial";

/// A snapshot that is there.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
}

/// Where the snapshot at `position` is, in the data folder `data`.
pub(crate) fn path(data: &Path, position: Position) -> PathBuf {
    data.join(FOLDER).join(format!("{position:020}{SUFFIX}"))
}

/// Where it is until it is whole.
pub(crate) fn partial(data: &Path, position: Position) -> PathBuf {
    path(data, position).with_extension(PARTIAL)
}

/// Where `part` is, in the data folder `data`.
pub(crate) fn part(data: &Path, part: &Part) -> PathBuf {
    data.join(FOLDER).join(name_of(part))
}

/// Where `part` is, beside the snapshot in `path` that it belongs to.
pub(crate) fn part_beside(path: &Path, part: &Part) -> PathBuf {
    path.with_file_name(name_of(part))
}

/// Makes sure that the file in `path` is `part`, going by its trailer.
pub(crate) fn is_named(path: &Path, part: &Part, trailer: &Trailer) -> Result<(), Error> {
    match part.sha256 == trailer.sha256 {
        true => Ok(()),
        false => Err(corrupt(path, "it has another's name")),
    }
}

/// The file name of `part`: enough of its hash to tell it from all others.
fn name_of(part: &Part) -> String {
    let digits = part.sha256.iter().take(PART_NAME_BYTES).map(|byte| format!("{byte:02x}"));
    digits.chain([PART_SUFFIX.to_owned()]).collect()
}

/// Where a part is until it is whole.
pub(crate) fn partial_part(data: &Path) -> PathBuf {
    data.join(FOLDER).join("part").with_extension(PARTIAL)
}

/// The positions of the snapshots in `data`, in order; other files are left alone.
pub(crate) fn positions(data: &Path) -> Result<Vec<Position>, Error> {
    let io = |error| Error::io("listing the snapshots", error);
    let entries = match std::fs::read_dir(data.join(FOLDER)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io)?,
    };
    let mut positions = Vec::new();
    for entry in entries {
        let name = entry.map_err(io)?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let position = digits.filter(|digits| digits.len() == 20).map(str::parse::<Position>);
        positions.extend(position.and_then(Result::ok));
    }
    positions.sort_unstable();
    Ok(positions)
}

/// The snapshots in `data` whose headers are whole, in order; of the others it says so.
pub(crate) fn list(data: &Path) -> Result<Vec<Sealed>, Error> {
    let mut found = Vec::new();
    for position in positions(data)? {
        let path = path(data, position);
        match Snapshot::open(&path) {
            Ok(Snapshot { header, .. }) if header.position == position => {
                found.push(Sealed { path, header });
            }
            Ok(_) => tracing::error!(
                snapshot.path = %path.display(), "a snapshot has another's name and is not used"
            ),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                snapshot.path = %path.display(), "a snapshot is not used"
            ),
        }
    }
    Ok(found)
}

/// Makes the folder in `data`, and removes what a process left that died while it wrote.
pub(crate) fn make(data: &Path) -> Result<(), Error> {
    let io = |error| Error::io("making the folder of snapshots", error);
    let folder = data.join(FOLDER);
    std::fs::create_dir_all(&folder).map_err(io)?;
    File::open(data).and_then(|data| data.sync_all()).map_err(io)?;
    for entry in std::fs::read_dir(&folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == PARTIAL) {
            std::fs::remove_file(path).map_err(io)?;
        }
    }
    Ok(())
}

/// Removes the parts that belong to no snapshot any more; if there is a snapshot of which it cannot
/// be told what belongs to it, none.
pub(crate) fn sweep(data: &Path) -> Result<(), Error> {
    let io = |error| Error::io("removing parts of snapshots", error);
    let mut named = BTreeSet::new();
    for position in positions(data)? {
        match Snapshot::parts(&path(data, position)) {
            Ok(parts) => named.extend(parts.iter().map(name_of)),
            Err(Error::Corrupt { .. } | Error::NewerVersion { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    for entry in std::fs::read_dir(data.join(FOLDER)).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|it| it.ends_with(PART_SUFFIX) && !named.contains(it)) {
            std::fs::remove_file(entry.path()).map_err(io)?;
        }
    }
    Ok(())
}

/// Makes what was created in, renamed in or removed from the folder last.
pub(crate) fn sync(data: &Path) -> Result<(), Error> {
    let synced = File::open(data.join(FOLDER)).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::io("syncing the folder of snapshots", error))
}
