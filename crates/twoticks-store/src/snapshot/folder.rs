//! The snapshots of a data folder: `snapshots/`, each file named by its position.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::journal::Position;
use crate::snapshot::Header;
use crate::snapshot::reader::Snapshot;

/// The name of the folder in the data folder.
pub(crate) const FOLDER: &str = "snapshots";
const SUFFIX: &str = ".snapshot";
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

/// Where a part of it is until then.
pub(crate) fn partial_rest(data: &Path, position: Position) -> PathBuf {
    data.join(FOLDER).join(format!("{position:020}.rest.{PARTIAL}"))
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

/// Makes what was created in, renamed in or removed from the folder last.
pub(crate) fn sync(data: &Path) -> Result<(), Error> {
    let synced = File::open(data.join(FOLDER)).and_then(|folder| folder.sync_all());
    synced.map_err(|error| Error::io("syncing the folder of snapshots", error))
}
