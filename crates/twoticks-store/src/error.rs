//! What can go wrong with the ledger: one variant for each thing that a caller can do about it.
//!
//! The backend's own words are the `source`; nobody decides by their text.

use std::path::PathBuf;

/// The backend's own words.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the ledger did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not now, whoever asks; the same call may work later. Nothing was acknowledged.
    #[error("{doing} failed; the same call may work later")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What failed.
        source: Cause,
    },
    /// A queue is at its limit; the same call will work when it has drained.
    #[error("{what} at its limit of {limit}; try again in a moment")]
    Busy {
        /// Which queue.
        what: &'static str,
        /// Its limit, in records, bytes or events.
        limit: usize,
    },
    /// There is no room on the disk, or no more is allowed. Nothing was acknowledged, and it goes
    /// on by itself when there is room.
    #[error("there is no room to store it; free some, or raise the quota or file size limit")]
    Full {
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It is larger than any may be; it never works.
    #[error("{found} {what} are too many; at most {limit} are taken")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        limit: usize,
    },
    /// An event cannot have happened (counting rule 13); it belongs to the dead parts.
    #[error("the event {index} of the batch cannot have happened; it has to be a dead part")]
    Impossible {
        /// Which event of the batch.
        index: usize,
    },
    /// What is stored is not what was stored; a person has to look.
    #[error("`{place}` is damaged: {what}; {remedy}")]
    Corrupt {
        /// What is damaged, with the offset where there is one.
        what: String,
        /// The file or folder.
        place: PathBuf,
        /// What would do.
        remedy: &'static str,
    },
    /// Another process has the folder.
    #[error("the folder `{folder}` is in use by another process; stop that one first")]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// A newer version of the program wrote it; nothing was touched.
    #[error("{what} has format {found}, this program knows up to {known}; use a newer program")]
    NewerVersion {
        /// What was written.
        what: String,
        /// Its version.
        found: u64,
        /// The newest version known here.
        known: u64,
    },
    /// The folder was written under another key file.
    #[error("the folder `{folder}` was written under another key file; configure that one")]
    WrongKey {
        /// The folder.
        folder: PathBuf,
    },
    /// The disk did not confirm what was written, so that what is on it is not known. Nothing is
    /// acknowledged any more; the process has to restart from what is on disk.
    #[error("the disk did not confirm a write; nothing is taken until the process has restarted")]
    Failed {
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The ledger has been closed.
    #[error("the ledger is closed")]
    Closed,
}

impl Error {
    /// What an I/O error means to a caller: no room, or not now.
    pub(crate) fn io(doing: &'static str, source: std::io::Error) -> Self {
        if is_full(&source) {
            Self::Full { source }
        } else {
            Self::Unavailable { doing, source: source.into() }
        }
    }
}

/// Whether it says that there is no room: disk full, quota used up, file size limit reached.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
