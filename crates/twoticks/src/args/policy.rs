//! What `policy` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use twoticks_store::directory::names::{AccessKeyId, Name};

use super::OfAccount;
use crate::values::{access_key_id, name};

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Adds a policy, or gives it another document.
    Add {
        #[command(flatten)]
        of: OfAccount,
        /// Its name.
        #[arg(value_parser = name)]
        name: Name,
        /// A file with the document: JSON of RAM's version "1".
        file: PathBuf,
    },
    /// Lists policies with their documents and whom they are attached to.
    List(OfAccount),
    /// Takes a policy away; it must not be attached.
    Remove {
        #[command(flatten)]
        of: OfAccount,
        /// Its name.
        #[arg(value_parser = name)]
        name: Name,
    },
    /// Attaches a policy to a user.
    Attach {
        #[command(flatten)]
        of: OfAccount,
        /// Its name.
        #[arg(value_parser = name)]
        name: Name,
        /// The user.
        #[arg(long, value_parser = name)]
        user: Name,
    },
    /// Detaches a policy from a user.
    Detach {
        #[command(flatten)]
        of: OfAccount,
        /// Its name.
        #[arg(value_parser = name)]
        name: Name,
        /// The user.
        #[arg(long, value_parser = name)]
        user: Name,
    },
    /// Says whether a call would be allowed, and which statement decides.
    Simulate(Simulate),
    /// Opens the `EncodedDiagnosticMessage` of a denial.
    Decode {
        /// The message, as the caller got it.
        message: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Simulate {
    #[command(flatten)]
    pub(crate) of: OfAccount,
    /// The user who would call.
    #[arg(long, value_parser = name, conflicts_with = "key")]
    pub(crate) user: Option<Name>,
    /// The access key or session that would call; without user and key it is the account itself.
    #[arg(long, value_name = "ID", value_parser = access_key_id)]
    pub(crate) key: Option<AccessKeyId>,
    /// What would be called, such as `cams:SendChatappMessage`.
    #[arg(long)]
    pub(crate) action: String,
    /// The last part of the resource's name; `*` for operations that are about none.
    #[arg(long, default_value = "*")]
    pub(crate) resource: String,
    /// The address it would come from.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) source_ip: Option<std::net::IpAddr>,
    /// It would come over TLS.
    #[arg(long)]
    pub(crate) secure_transport: bool,
}
