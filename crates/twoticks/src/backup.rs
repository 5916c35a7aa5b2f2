//! `backup` and `restore`: a data folder elsewhere, and back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use twoticks_server::control::{Command, backup};
use twoticks_store::backup::restore::{KeyFrom, restore};
use twoticks_store::directory::file::FILE_NAME as DIRECTORY;
use twoticks_store::keys::Keys;

use crate::args::backup as args;
use crate::clock::SystemClock;
use crate::config::{Config, FILE_NAME};
use crate::reach::Data;
use crate::{marker, output};

/// Makes a backup and says what is in it.
///
/// # Errors
/// If it cannot be made; what was there before is as whole as it was.
pub(crate) async fn take(config: &Config, args: &args::Backup, as_json: bool) -> Result<bool> {
    let absolute = |path: &Path| {
        std::path::absolute(path).with_context(|| format!("`{}` is no path", path.display()))
    };
    let key_file = config.key_file();
    let key = match args.with_key {
        true if config.key()?.is_some() => {
            bail!("the key is in the configuration (`keys.key`) and in no file; keep it there")
        }
        true => Some(absolute(&key_file)?),
        false => None,
    };
    let request = backup::Request {
        to: absolute(&args.to)?,
        beside: [DIRECTORY, FILE_NAME, marker::NAME].map(str::to_owned).to_vec(),
        key,
        fresh: args.fresh,
    };
    let mut data = Data::reach(config, Arc::new(SystemClock)).await?;
    let taken =
        data.ask_showing(Command::Backup(request), |bytes| format!("{} MiB read", bytes >> 20));
    let taken = taken.await;
    data.close().await?;
    output::value(as_json, &taken?)?;
    if !args.with_key {
        output::note(
            "The key file is not in the backup, and without it the backup opens nothing: keep a \
             copy of it somewhere else, or say --with-key.",
        );
    }
    Ok(true)
}

/// Makes a data folder of a backup and says what to do next.
///
/// # Errors
/// If the backup is damaged or under another key, or the folder is not empty; nothing was made.
pub(crate) async fn put_back(config: &Config, args: args::Restore, as_json: bool) -> Result<bool> {
    let key = match args.key {
        Some(file) => KeyFrom::File(file),
        None => KeyFrom::Backup(configured(config)?.map(Arc::new)),
    };
    let (from, to) = (args.from, config.data.folder.clone());
    let shown = to.display().to_string();
    let work = tokio::task::spawn_blocking(move || restore(&from, &to, &key, &AtomicU64::new(0)));
    let manifest = crate::with_patience("restoring", work).await;
    let manifest = manifest.context("restoring panicked")??;
    output::value(
        as_json,
        &json!({
            "data": shown, "position": manifest.position,
            "accepted": manifest.latest.map(|latest| latest.0), "files": manifest.files.len(),
            "bytes": manifest.files.iter().map(|file| file.bytes).sum::<u64>(),
        }),
    )?;
    output::note(&format!(
        "next: twoticks verify --data-dir {shown}\nthen: twoticks serve --data-dir {shown}\n\
         What was acknowledged after the backup is not in it; what senders repeat counts once."
    ));
    Ok(true)
}

/// The key that is configured, if it is not in the data folder that is to be made.
fn configured(config: &Config) -> Result<Option<Keys>> {
    if let Some(keys) = config.key()? {
        return Ok(Some(keys));
    }
    let file = config.key_file();
    let is_elsewhere = !file.starts_with(&config.data.folder);
    Ok(if is_elsewhere && file.exists() { Some(Keys::open(&file)?) } else { None })
}
