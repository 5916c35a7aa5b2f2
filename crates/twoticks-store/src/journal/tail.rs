//! The end of the journal: the segment that is written to, how it begins and how it is opened.
//!
//! What always holds: what is before [`Tail::offset`] is on disk. A sync that fails says nothing
//! about what is there, and the page cache may call clean what never reached the disk; so nobody
//! goes on after one, and opening writes again whatever the last process may not have synced. That
//! is the last write and no more (see [`segment`]); it is written over itself, with the same bytes,
//! so that a crash within it changes nothing and a full disk is no obstacle.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::error::Error;
use crate::journal::files::{Files, Handle};
use crate::journal::marks::Marks;
use crate::journal::segment::{self, HEADER_BYTES, Next, SUFFIX, Scan};
use crate::journal::{Position, Shared};

/// The name of a segment until its header is on disk.
const UNFINISHED: &str = "next.new";

/// The segment that is written to.
pub(crate) struct Tail {
    pub(crate) first: Position,
    /// Where the next record goes; everything before is on disk.
    pub(crate) offset: u64,
    handle: Box<dyn Handle>,
}

/// Why something is not on disk.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It could not be written, and nothing is left of it: the next one is a new attempt.
    Refused(io::Error),
    /// What is on disk is not known any more.
    Failed(io::Error),
}

impl Tail {
    /// Begins the segment of the record `first`. It has its name only with its header on disk, and
    /// takes the name from a segment without records.
    pub(crate) fn begin(folder: &Path, first: Position, files: &dyn Files) -> Result<Self, Fault> {
        let unfinished = folder.join(UNFINISHED);
        let mut handle = files.create(&unfinished).map_err(Fault::Refused)?;
        handle.write_all(&segment::header(first)).map_err(Fault::Refused)?;
        handle.sync().map_err(Fault::Failed)?;
        files.rename(&unfinished, &segment::path(folder, first)).map_err(Fault::Refused)?;
        files.sync_folder(folder).map_err(Fault::Failed)?;
        Ok(Self { first, offset: HEADER_BYTES as u64, handle })
    }

    /// Puts `bytes` behind what is there, on disk.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if let Err(error) = self.handle.write_all(bytes) {
            // At once, so that a full disk does not stay full of what nobody was promised; and
            // synced, so that no power cut brings back what is refused now.
            let cut = self.handle.cut(self.offset).and_then(|()| self.handle.sync());
            return Err(match cut {
                Ok(()) => Fault::Refused(error),
                Err(worse) => Fault::Failed(worse),
            });
        }
        if let Err(error) = self.handle.sync() {
            // Whatever comes of it: the next start looks at what is there.
            drop(self.handle.cut(self.offset));
            return Err(Fault::Failed(error));
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// Finds the segments in `folder` by their names, checks the last one, cuts off what was never
/// acknowledged, and opens it for writing, if there is one. Records of the other segments are
/// checked when they are read.
pub(crate) fn open(folder: &Path, files: &dyn Files) -> Result<(Shared, Option<Tail>), Error> {
    let io = |error| Error::io("opening the journal's folder", error);
    std::fs::create_dir_all(folder).map_err(io)?;
    // So that a power cut cannot take the folder itself away.
    files.sync_folder(&folder.join("..")).map_err(io)?;
    let firsts = list(folder)?;
    let Some(&first) = firsts.last() else {
        return Ok((Shared::new(folder, &firsts, 0), None));
    };
    let path = segment::path(folder, first);
    let file = File::open(&path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let scan = Scan::new(&path, file, first)?;
    // Before it was renamed into place, a segment could have a header that is not whole.
    if scan.is_none() && length > HEADER_BYTES as u64 {
        return Err(segment::corrupt(&path, "the header".to_owned()));
    }
    let mut marks = Marks::default();
    let checked = scan.map(|mut scan| check(&mut scan, &mut marks)).transpose()?;
    let (tail, last) = match checked {
        Some(checked) if checked.last >= first => {
            let tail = write_again(&path, first, &checked, length, files).map_err(io)?;
            files.sync_folder(folder).map_err(io)?;
            (tail, checked.last)
        }
        _ => {
            let begun = Tail::begin(folder, first, files).map_err(|fault| match fault {
                Fault::Refused(error) | Fault::Failed(error) => io(error),
            });
            (begun?, first.saturating_sub(1))
        }
    };
    let shared = Shared::new(folder, &firsts, last);
    shared.remember(first, marks);
    Ok((shared, Some(tail)))
}

/// What is in the last segment.
struct Checked {
    /// The last record, or the one before the segment.
    last: Position,
    /// Where the last write begins.
    offset: u64,
    /// The whole records of the last write.
    bytes: Vec<u8>,
}

/// Goes through the whole segment, as far as it is whole.
fn check(scan: &mut Scan, marks: &mut Marks) -> Result<Checked, Error> {
    let mut offset = scan.offset;
    let mut bytes = Vec::new();
    loop {
        match scan.next()? {
            Next::Record(record) => {
                if record.back == 0 {
                    offset = record.offset;
                    bytes.clear();
                }
                bytes.extend_from_slice(&record.head);
                bytes.extend_from_slice(&record.payload);
                marks.add(record.position, record.offset);
            }
            Next::Bad if scan.is_followed()? => return Err(scan.corrupt()),
            Next::Bad | Next::End => return Ok(Checked { last: scan.expected - 1, offset, bytes }),
        }
    }
}

/// Writes the last write over itself and cuts off what stands behind it.
fn write_again(
    path: &Path,
    first: Position,
    checked: &Checked,
    length: u64,
    files: &dyn Files,
) -> io::Result<Tail> {
    let mut handle = files.reopen(path, checked.offset)?;
    handle.write_all(&checked.bytes)?;
    let offset = checked.offset + checked.bytes.len() as u64;
    if offset < length {
        tracing::warn!(
            journal.segment = %path.display(),
            journal.cut_bytes = length - offset,
            "the journal's tail was not whole and was never acknowledged: cut off"
        );
    }
    // Also where nothing is seen behind it: the last process may have cut it and not synced that.
    handle.cut(offset)?;
    handle.sync()?;
    Ok(Tail { first, offset, handle })
}

/// The first positions of the segments in `folder`, sorted; other files are left alone.
fn list(folder: &Path) -> Result<Vec<Position>, Error> {
    let io = |error| Error::io("listing the journal's folder", error);
    let mut firsts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        let first = digits.filter(|digits| digits.len() == 20).map(str::parse::<Position>);
        firsts.extend(first.and_then(Result::ok));
    }
    firsts.sort_unstable();
    Ok(firsts)
}
