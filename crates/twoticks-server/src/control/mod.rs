//! What the command line does to data: a value ([`Command`]) and one function ([`execute`]).
//!
//! While a server runs, the command line sends such values through the socket in the data folder
//! ([`socket`]); where none runs, it opens the folder and calls the same function. To add a
//! command, add a variant to the enum of its subject (a module each) and its arm in the `execute`
//! beside it. What always holds: a secret is in an answer only when it was made by that command,
//! and nothing here asks who is calling, because whoever may open the folder may do everything.

pub mod backup;
pub mod channels;
pub mod export;
pub mod feed;
mod history;
pub mod pass_on;
pub mod people;
pub mod policies;
pub mod reconcile;
pub mod socket;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use twoticks_core::ids::InvalidId;
use twoticks_store::directory;
use twoticks_store::directory::mint::Mint;

use crate::app::App;
use crate::graph::CallError;

/// One thing to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Accounts, users, keys, sessions, `IsvCode`s.
    People(people::Command),
    /// Policies.
    Policies(policies::Command),
    /// Channels, phone numbers, templates.
    Channels(channels::Command),
    /// What is passed on of what WhatsApp tells.
    PassOn(pass_on::Command),
    /// Messages, import, replay, verify.
    Data(feed::Command),
    /// Export.
    Export(export::Request),
    /// Backup.
    Backup(backup::Request),
    /// Ours beside Meta's.
    Reconcile(reconcile::Request),
}

/// A secret on its way to the server; `Debug` does not show it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Why a command was not done. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// What it needs is not there.
    #[error("there is no {what} `{name}`; {remedy}")]
    Missing {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What would do.
        remedy: &'static str,
    },
    /// There is nothing to choose from.
    #[error("there is no account yet; `twoticks init` or `twoticks key account add` makes one")]
    NoAccount,
    /// One of several has to be named.
    #[error("there are several accounts; name one with --account: {0}")]
    SeveralAccounts(String),
    /// A value will not do.
    #[error(transparent)]
    Invalid(#[from] InvalidId),
    /// A value will not do.
    #[error("{what} will not do: {why}")]
    Unfit {
        /// Which value.
        what: &'static str,
        /// What is wrong with it and what would do.
        why: String,
    },
    /// The directory refused.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// A line of an import, and those that were accepted with it, could not be kept; importing
    /// the file again does no harm.
    #[error(
        "line {line} and those with it could not be kept; import the file again, what was taken in \
         counts once"
    )]
    Line {
        /// The first of the lines, from 1.
        line: u64,
        /// Why not.
        source: twoticks_store::error::Error,
    },
    /// The folder for the second ledger cannot be used.
    #[error("cannot {doing} the folder `{path}`")]
    Scratch {
        /// What was being done.
        doing: &'static str,
        /// The folder.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot {doing} `{path}`")]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// What the ledger is kept in does not do.
    #[error("the ledger is in memory and cannot be backed up; serve a data folder")]
    InMemory,
    /// It was not wanted to its end.
    #[error("it was stopped before it was done, and left nothing; start it again")]
    Stopped,
    /// WhatsApp's Graph API did not do as asked.
    #[error("{what} could not be had: {why}")]
    Graph {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        why: CallError,
    },
    /// Not all of what Meta counts could be read; what could be is kept.
    #[error("all of Meta's figures could not be had: {0}")]
    Figures(String),
    /// The ledger refused.
    #[error(transparent)]
    Ledger(#[from] twoticks_store::error::Error),
    /// The server that runs on the folder cannot be talked to.
    #[error(transparent)]
    Socket(#[from] socket::SocketError),
    /// The server that runs on the folder refused, in these words.
    #[error("{0}")]
    Told(String),
}

/// Does `command`.
///
/// # Errors
/// [`ControlError`]; nothing has changed then, except that of an import the lines before stay.
pub async fn execute(app: &App, command: Command) -> Result<Value, ControlError> {
    execute_telling(app, command, &Arc::default()).await
}

/// As [`execute`]; what takes long tells `progress` how far it is: an export its
/// rows, verification its entries, a backup the bytes it has read.
///
/// # Errors
/// As [`execute`].
pub async fn execute_telling(
    app: &App,
    command: Command,
    progress: &Arc<AtomicU64>,
) -> Result<Value, ControlError> {
    match command {
        Command::People(command) => people::execute(app, command).await,
        Command::Policies(command) => policies::execute(app, command).await,
        Command::Channels(command) => channels::execute(app, command).await,
        Command::PassOn(command) => pass_on::execute(app, command).await,
        Command::Data(command) => feed::execute(app, command, progress).await,
        Command::Export(request) => export::execute(app, request, progress).await,
        Command::Backup(request) => backup::execute(app, request, progress).await,
        Command::Reconcile(request) => Box::pin(reconcile::execute(app, request)).await,
    }
}

/// Runs `with` with a source of new ids and secrets.
fn mint<T>(with: impl FnOnce(&mut Mint) -> T) -> T {
    with(&mut Mint::random())
}
