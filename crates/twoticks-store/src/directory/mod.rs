//! The directory: accounts, principals, keys, policies, channels, numbers, templates.
//!
//! The second seam of the store. It is small and read by every request, so it is a value in
//! memory, [`Snapshot`], swapped whole when something changes. Opt-ins and the history of
//! categories are not here: they change counts, so they are in the journal.
//!
//! What always holds: a snapshot is whole (references exist, names are unique, limits are kept),
//! a change is durable when [`Directory::change`] returns, and several changes given together
//! happen all or not at all. To add a backend, implement [`Directory`] and add a line to
//! `suite.rs`; to add a thing to keep, see `model.rs`.

pub mod change;
pub mod file;
pub mod history;
pub mod memory;
pub mod mint;
pub mod model;
pub mod names;
pub mod pass_on;
pub mod snapshot;
mod stored;
#[cfg(test)]
mod suite;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use change::Change;
pub use snapshot::Snapshot;

/// How many accounts there may be.
pub const ACCOUNTS_MAX: usize = 10_000;
/// How many users an account may have.
pub const USERS_PER_ACCOUNT_MAX: usize = 1_000;
/// How many permanent access keys a principal may have, so that one can be replaced with overlap.
pub const KEYS_PER_PRINCIPAL_MAX: usize = 5;
/// How many sessions there may be, expired ones that are not yet removed included.
pub const SESSIONS_MAX: usize = 10_000;
/// How many policies of its own an account may have.
pub const POLICIES_PER_ACCOUNT_MAX: usize = 1_500;
/// How many policies may be attached to a user, or to the role of a session.
pub const POLICIES_ATTACHED_MAX: usize = 20;
/// The longest policy document, in bytes.
pub const POLICY_BYTES_MAX: usize = 6_144;
/// The longest RSA public key, in bytes of PEM: RSA-8192, the longest there is, with room to spare.
pub const PUBLIC_KEY_BYTES_MAX: usize = 4_096;
/// How many channels there may be.
pub const CHANNELS_MAX: usize = 10_000;
/// How many app secrets may speak for one channel.
pub const APP_SECRETS_PER_CHANNEL_MAX: usize = 4;
/// How many different app secrets there may be: a webhook without a channel tries them all.
pub const APP_SECRETS_MAX: usize = 64;
/// The shortest receipts secret, in bytes: it is all that protects that door.
pub const RECEIPTS_SECRET_MIN: usize = 16;
/// How many phone numbers a channel may have.
pub const NUMBERS_PER_CHANNEL_MAX: usize = 1_000;
/// How many further addresses the webhooks of a channel may be passed on to.
pub const WEBHOOKS_PER_CHANNEL_MAX: usize = 8;
/// How many templates (in one language each) a channel may have.
pub const TEMPLATES_PER_CHANNEL_MAX: usize = 6_000;
/// The longest components of a template, in bytes of JSON.
pub const COMPONENTS_BYTES_MAX: usize = 64 * 1024;
/// How many links a template may have, those that its buttons do not lead over any more included.
pub const LINKS_PER_TEMPLATE_MAX: usize = 100;
/// The longest target of a link, in bytes; WhatsApp takes 2,000 characters.
pub const TARGET_BYTES_MAX: usize = 2_000;
/// How many problems of a connection are kept: the first ones.
pub const PROBLEMS_MAX: usize = 20;
/// How many changes of a number or a template are kept, in what WhatsApp says of it: the newest.
pub const HISTORY_MAX: usize = 50;
/// How many buttons a template may have.
pub const BUTTONS_MAX: usize = 10;

/// Who may do what, and with what: the seam.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The directory as it is now. Costs next to nothing; what it gives never changes.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// Makes all of `changes`, in their order, or none. Durable when it returns, and every
    /// snapshot taken from then on has them. Once begun it runs to its end, also if the future is
    /// dropped.
    ///
    /// # Errors
    /// [`Error::Refused`] if the changes do not fit the directory as it is; [`Error::Unavailable`]
    /// if they cannot be kept just now, for instance because the disk is full, and then nothing
    /// has changed.
    async fn change(&self, changes: Vec<Change>) -> Result<(), Error>;
}

/// Why the directory does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The change does not fit; another one would do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It cannot be read or written just now; nothing has changed, again later.
    #[error("cannot {doing} `{path}`")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// What is kept is not what this program wrote, or the key file is not the one it was sealed
    /// with; a person has to look.
    #[error("`{path}` cannot be understood: {why}")]
    Corrupt {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer version of this program wrote it.
    #[error(
        "`{path}` has format version {found}, this program knows {known}; use a newer twoticks"
    )]
    Newer {
        /// Where.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
}

/// Why a change does not fit. Names are shown, secrets never.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It refers to something that is not there.
    #[error("there is no {what} `{name}`")]
    Missing {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There is one already.
    #[error("there is a {what} `{name}` already; names are unique")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Something else still needs it.
    #[error("the {what} `{name}` is in use by {by}; remove that first")]
    InUse {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What needs it.
        by: String,
    },
    /// It would be one too many.
    #[error("at most {max} {what}; remove one first")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// It is not as it has to be.
    #[error("the {what} `{name}` will not do: {rule}")]
    Invalid {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What would do.
        rule: &'static str,
    },
}
