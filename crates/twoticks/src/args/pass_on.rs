//! What `channel pass-on` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use twoticks_core::ids::{ChannelId, PhoneNumber};

use crate::values::{channel_id, phone_number};

#[derive(Debug, Subcommand)]
pub(crate) enum PassOn {
    /// Says where receipts in the form of CAMS are posted to, as `UpdateAccountWebhook` and
    /// `UpdatePhoneWebhook` do. What is left out stays as it was; an address turns them on.
    Receipts(Receipts),
    /// Forgets where receipts are posted to.
    ForgetReceipts {
        /// The channel.
        #[arg(value_parser = channel_id)]
        channel: ChannelId,
        /// Only that this number has addresses of its own.
        #[arg(long, value_name = "DIGITS", value_parser = phone_number)]
        number: Option<PhoneNumber>,
    },
    /// Signs receipts with a key: the header `x-twoticks-signature-256`. A key that is made up is
    /// printed, once.
    Sign {
        /// The channel.
        #[arg(value_parser = channel_id)]
        channel: ChannelId,
        /// A file with the key; else it is made up.
        #[arg(long, value_name = "FILE", conflicts_with = "off")]
        key_file: Option<PathBuf>,
        /// Do not sign them any more.
        #[arg(long)]
        off: bool,
    },
    /// Posts the webhooks of WhatsApp, as they come, to a further address.
    Webhooks {
        /// The channel.
        #[arg(value_parser = channel_id)]
        channel: ChannelId,
        /// The address.
        url: String,
        /// Sign them with a key of its own, which is printed, once.
        #[arg(long, conflicts_with = "key_file")]
        sign: bool,
        /// Sign them with the key in this file.
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
    },
    /// Does not post webhooks to an address any more.
    Remove {
        /// The channel.
        #[arg(value_parser = channel_id)]
        channel: ChannelId,
        /// The address, or its id in the list.
        to: String,
    },
    /// Lists where something is passed on to, and how that goes. Of an address only the beginning
    /// is shown; what was counted is since the start.
    List {
        /// The channel; else all.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: Option<ChannelId>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Receipts {
    /// The channel.
    #[arg(value_parser = channel_id)]
    pub(crate) channel: ChannelId,
    /// Only those of this number.
    #[arg(long, value_name = "DIGITS", value_parser = phone_number)]
    pub(crate) number: Option<PhoneNumber>,
    /// Where receipts of statuses go.
    #[arg(long, value_name = "URL")]
    pub(crate) status_url: Option<String>,
    /// Where receipts of inbound messages go.
    #[arg(long, value_name = "URL")]
    pub(crate) inbound_url: Option<String>,
    /// Whether they are posted at all.
    #[arg(long, value_name = "BOOL")]
    pub(crate) enabled: Option<bool>,
}
