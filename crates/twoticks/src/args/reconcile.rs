//! What `reconcile` takes.

use clap::Args;
use twoticks_core::ids::ChannelId;

use crate::values::channel_id;

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// The channel, where there are several.
    #[arg(long, value_name = "ID", value_parser = channel_id)]
    pub(crate) channel: Option<ChannelId>,
    /// The first day of UTC, such as 2026-11-03; else eight days before the last.
    #[arg(long, value_name = "DAY")]
    pub(crate) start: Option<String>,
    /// The last day of UTC, itself included; else today.
    #[arg(long, value_name = "DAY")]
    pub(crate) end: Option<String>,
    /// Ask Meta first; else what was read last is shown.
    #[arg(long)]
    pub(crate) sync: bool,
    /// Show only where the two differ or one is unknown.
    #[arg(long)]
    pub(crate) differences: bool,
}
