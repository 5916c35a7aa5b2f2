//! The options of `backup` and `restore`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The folder of the backup; made if it is not there.
    #[arg(value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Put the key file in it, too. Whoever has such a backup can read everything in it.
    #[arg(long)]
    pub(crate) with_key: bool,
    /// Seal the state as it is now, so that starting from the backup takes less time.
    #[arg(long)]
    pub(crate) fresh: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder of the backup.
    #[arg(value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// The key file that the backup was made under; it is copied into the data folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}
