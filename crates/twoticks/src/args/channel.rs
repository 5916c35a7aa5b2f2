//! What `channel` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use twoticks_core::event::{Button, Category};
use twoticks_core::ids::{ChannelId, PhoneNumber, Text};

use super::{ChannelSecrets, OfAccount, PassOn};
use crate::values::{button, category, channel_id, phone_number, text};

#[derive(Debug, Subcommand)]
pub(crate) enum Channel {
    /// Makes a channel and prints its secrets, once.
    Add {
        #[command(flatten)]
        of: OfAccount,
        /// Its id, `CustSpaceId` at the CAMS door; else one is made up.
        #[arg(value_parser = channel_id)]
        id: Option<ChannelId>,
        /// What people call it.
        #[arg(long, value_parser = text)]
        name: Option<Text>,
        /// The WhatsApp Business account behind it.
        #[arg(long, value_name = "ID", value_parser = text)]
        waba_id: Option<Text>,
        #[command(flatten)]
        secrets: ChannelSecrets,
        /// Where its statuses come from.
        #[arg(long, value_enum, default_value = "cloud-api")]
        statuses: Statuses,
    },
    /// Lists channels, without secrets.
    List(OfAccount),
    /// Takes a channel away; what it counted stays.
    Remove {
        /// The channel.
        #[arg(value_parser = channel_id)]
        id: ChannelId,
    },
    /// Connects a channel with WhatsApp, reads its numbers and templates, and says what is still
    /// missing. What is left out stays as it was.
    Connect(Connect),
    /// Forgets the access token of a channel: nothing is sent for it any more.
    Disconnect {
        /// The channel.
        #[arg(value_parser = channel_id)]
        id: ChannelId,
    },
    /// Reads the numbers and templates of a connected channel again.
    Sync {
        /// The channel.
        #[arg(value_parser = channel_id)]
        id: ChannelId,
    },
    /// Passes on what WhatsApp tells: receipts in the form of CAMS, and webhooks as they come.
    #[command(subcommand)]
    PassOn(PassOn),
    /// Phone numbers.
    #[command(subcommand)]
    Number(Number),
    /// Templates.
    #[command(subcommand)]
    Template(Template),
    /// Secrets of a channel.
    #[command(subcommand)]
    Secret(Secret),
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The channel.
    #[arg(value_parser = channel_id)]
    pub(crate) id: ChannelId,
    /// The WhatsApp Business account behind it.
    #[arg(long, value_name = "ID", value_parser = text)]
    pub(crate) waba_id: Option<Text>,
    /// A file with the access token, best of a system user.
    #[arg(long, value_name = "FILE")]
    pub(crate) access_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) secrets: ChannelSecrets,
    /// Where the internet sees this server, such as `https://metrics.example.com`: webhooks of the
    /// account are sent there from now on.
    #[arg(long, value_name = "URL")]
    pub(crate) callback_url: Option<String>,
    /// Whether marketing templates go through the Marketing Messages API.
    #[arg(long, value_name = "BOOL")]
    pub(crate) marketing_messages: Option<bool>,
}

/// Where statuses come from.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Statuses {
    /// Webhooks of WhatsApp's Cloud API.
    CloudApi,
    /// Receipts of CAMS.
    Receipts,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Number {
    /// Puts a phone number with a channel.
    Add {
        /// The number, digits.
        #[arg(value_parser = phone_number)]
        number: PhoneNumber,
        /// Meta's id for it.
        #[arg(long, value_name = "ID", value_parser = text)]
        phone_number_id: Text,
        /// The channel.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: ChannelId,
    },
    /// Lists phone numbers.
    List {
        /// The channel; else all.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: Option<ChannelId>,
        /// Instead, how what WhatsApp says of them has changed: the newest 50 changes of each.
        #[arg(long)]
        history: bool,
    },
    /// Takes a phone number away.
    Remove {
        /// The number, digits.
        #[arg(value_parser = phone_number)]
        number: PhoneNumber,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Template {
    /// Has links of a template lead over this server, so that who opens them is counted.
    Wrap {
        /// Its code.
        #[arg(value_parser = text)]
        code: Text,
        /// Its language.
        #[arg(value_parser = text)]
        language: Text,
        /// The channel, if several have such a template.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: Option<ChannelId>,
        /// Which button, from 0; else all that open a link.
        #[arg(long, value_name = "N")]
        button: Option<u8>,
        /// Where the button is to lead; else where it leads. May end in `{{1}}`.
        #[arg(long, value_name = "URL")]
        target: Option<String>,
    },
    /// Adds a template, or changes it.
    Add {
        /// Its code, `TemplateCode` at the CAMS door.
        #[arg(value_parser = text)]
        code: Text,
        /// The channel.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: ChannelId,
        /// Its language, as the provider spells it, such as `en` or `pt_BR`.
        #[arg(long, value_parser = text)]
        language: Text,
        /// What it is for: `marketing`, `utility` or `authentication`.
        #[arg(long, value_parser = category)]
        category: Category,
        /// Its name at Meta; else its code.
        #[arg(long, value_parser = text)]
        name: Option<Text>,
        /// Its id at Meta.
        #[arg(long, value_name = "ID", value_parser = text)]
        meta_id: Option<Text>,
        /// A button: `quick_reply:TEXT`, `url:TEXT` or `phone_number:TEXT`; several in order.
        #[arg(long = "button", value_parser = button)]
        buttons: Vec<Button>,
    },
    /// Lists templates.
    List {
        /// The channel; else all.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: Option<ChannelId>,
        /// Instead, how what WhatsApp says of them has changed: the newest 50 changes of each,
        /// and every change of its category.
        #[arg(long)]
        history: bool,
    },
    /// Takes a template away.
    Remove {
        /// Its code.
        #[arg(value_parser = text)]
        code: Text,
        /// The channel.
        #[arg(long, value_name = "ID", value_parser = channel_id)]
        channel: ChannelId,
        /// Its language.
        #[arg(long, value_parser = text)]
        language: Text,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Replaces a secret and prints the new one, once. An app secret is added: until the old one
    /// is dropped, both are good.
    Rotate {
        /// The channel.
        #[arg(value_parser = channel_id)]
        channel: ChannelId,
        /// Which one.
        #[arg(long, value_enum)]
        which: Which,
        /// A file with the new one; else it is made up.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Drops all app secrets but the newest.
    DropOld {
        /// The channel.
        #[arg(value_parser = channel_id)]
        channel: ChannelId,
    },
}

/// A secret of a channel.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Which {
    /// The secret of the WhatsApp app, which signs webhooks.
    App,
    /// The token of the webhook handshake.
    Verify,
    /// The path of the receipts door.
    Receipts,
}
