//! What arrives at the webhook doors, as bytes, and leaves as values.
//!
//! [`meta`] reads the webhooks of WhatsApp's Cloud API, [`cams`] the receipts of CAMS, and
//! [`sign`] is the mark by which we know our own templates again. To add a door: one file with
//! `parse(&[u8])` that gives wire values of its own, a folder in `tests/data/webhook/` and an arm
//! in `tests/webhook.rs`. What always holds: each element stands alone, so a bad one never takes
//! its neighbours with it; nothing is dropped without a word; no input makes it panic.

pub mod cams;
mod cursor;
pub(crate) mod json;
pub mod meta;
pub mod sign;

/// The longest body of a webhook, in bytes: the Cloud API sends up to 3 MB.
pub const BODY_MAX: usize = 3 * 1024 * 1024;

/// A decimal number, as JSON writes it, in exact millionths: an amount of money is never a float.
///
/// A seventh decimal and what follows rounds to the nearest millionth; `None` if it is no number
/// or does not fit.
#[must_use]
pub fn micros(number: &str) -> Option<i64> {
    json::micros(number)
}

/// Why a body as a whole could not be read. Nothing of it was counted; keep it as a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Longer than [`BODY_MAX`].
    #[error("the body has `{bytes}` bytes, at most `{BODY_MAX}` are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not one JSON text, or nested beyond what is read.
    #[error("the body is not JSON: see line `{line}`, column `{column}`")]
    NotJson {
        /// The line of the first defect, from 1.
        line: usize,
        /// The column of the first defect, from 1; 0 at a line's very beginning.
        column: usize,
    },
    /// More updates than one body may carry.
    #[error("the body has more than `{max}` updates")]
    TooMany {
        /// How many are read.
        max: usize,
    },
}

/// Why one element could not be read. Its neighbours were; keep this one as a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Defect {
    /// A number, a text or a list stands where an object is expected.
    #[error("it is not an object")]
    NotAnObject,
    /// A field without which it means nothing is not there, is null or is empty.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field without which it means nothing is there, but not in a form that we read.
    #[error("`{0}` cannot be read")]
    Unreadable(&'static str),
    /// A key is told twice, or is no text.
    #[error("its keys cannot be read, or one is told twice")]
    Keys,
    /// Some of its bytes are not UTF-8.
    #[error("it is not UTF-8")]
    NotUtf8,
}
