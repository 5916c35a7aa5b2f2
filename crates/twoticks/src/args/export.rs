//! What `export` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use twoticks_core::ids::ChannelId;
use twoticks_store::directory::names::Uid;

use crate::values::{channel_id, uid};

#[derive(Debug, Subcommand)]
pub(crate) enum Export {
    /// Sums by number and by template: every count, no ratio.
    Totals {
        #[command(flatten)]
        of: Exported,
        /// By what to add up.
        #[arg(long, value_enum, default_value = "day")]
        by: By,
        /// The zone of half hours, of days and of dates without an offset; else UTC.
        #[arg(long, value_name = "IANA")]
        zone: Option<String>,
    },
    /// Messages of the last 45 days, whose state is kept: without recipients, ids as keyed hashes.
    Messages(Exported),
    /// The facts in the journal, in the order in which they were acknowledged.
    Events(Exported),
}

#[derive(Debug, Args)]
pub(crate) struct Exported {
    /// The file, which gets its name when it is whole; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
    /// The format; else what FILE ends in: .csv, .ndjson (or .jsonl), .parquet.
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// The channel; may be given several times. Else all.
    #[arg(long = "channel", value_name = "ID", value_parser = channel_id)]
    pub(crate) channels: Vec<ChannelId>,
    /// The channels of this account.
    #[arg(long, value_name = "UID", value_parser = uid, conflicts_with = "channels")]
    pub(crate) account: Option<Uid>,
    /// From when on: a date, an instant (RFC 3339), or milliseconds. Totals: windows that end later.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Until when, itself left out. Totals: windows that begin earlier.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Where the manifest goes; else beside FILE, and with `--to -` nowhere.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Replace files that are there.
    #[arg(long)]
    pub(crate) overwrite: bool,
}

/// By what totals are added up.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum By {
    /// Quarters of an hour, UTC, as they are kept.
    Atom,
    /// Half hours of the zone.
    HalfHour,
    /// Days of the zone.
    Day,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// RFC 4180 with a header.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}
