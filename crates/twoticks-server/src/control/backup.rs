//! A backup of the data folder, while the server runs or when it does not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twoticks_store::backup::Manifest;
use twoticks_store::backup::take::{self, Taken, is_fit, take};

use super::ControlError;
use crate::app::App;

/// Who writes it.
const PROGRAM: &str = concat!("twoticks ", env!("CARGO_PKG_VERSION"));

/// Where a backup goes, and what belongs to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The folder, an absolute path.
    pub to: PathBuf,
    /// The names of files in the data folder that belong to it, if they are there.
    pub beside: Vec<String>,
    /// The key file, an absolute path, if it is to be in it.
    pub key: Option<PathBuf>,
    /// Seal the state anew.
    pub fresh: bool,
}

/// Makes the backup; `read` hears how many bytes were read so far.
pub(super) async fn execute(
    app: &App,
    request: Request,
    read: &Arc<AtomicU64>,
) -> Result<Value, ControlError> {
    let Request { to, mut beside, key, fresh } = request;
    let kept = app.ledger.kept().ok_or(ControlError::InMemory)?;
    if to.starts_with(std::path::absolute(kept.folder()).unwrap_or_default()) {
        let why = format!("`{}` is in the data folder; name one outside", to.display());
        return Err(ControlError::Unfit { what: "the folder of the backup", why });
    }
    if !is_fit(&to)? {
        let why = format!("`{}` is not empty and has no backup in it; name another", to.display());
        return Err(ControlError::Unfit { what: "the folder of the backup", why });
    }
    beside.extend(app.figures.kept().files().await?);
    let folder = to.clone();
    let request = take::Request { to, beside, key, fresh, program: PROGRAM.to_owned() };
    let Taken { manifest, copied } = take(kept, request, Arc::clone(read)).await?;
    let has_key = manifest.has_key();
    let Manifest { format: _, program: _, position, snapshot, rules, latest, files } = manifest;
    Ok(json!({
        "backup": folder, "position": position, "snapshot": snapshot, "rules": rules,
        "accepted": latest.map(|latest| latest.0), "files": files.len(),
        "bytes": files.iter().map(|file| file.bytes).sum::<u64>(),
        "copied_files": copied.0, "copied_bytes": copied.1, "key": has_key,
    }))
}
