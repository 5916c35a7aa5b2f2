//! `export`: asks for the file, tells how far it is, and copies it where it goes to standard output.
//!
//! The file is written where the data is, so paths are made absolute here. An interrupted export
//! leaves no file: a signal drops the work, or the connection to the server that does it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use twoticks_server::control::Command;
use twoticks_server::control::export::format::Format;
use twoticks_server::control::export::span::By;
use twoticks_server::control::export::{Request, What, manifest_of};

use crate::args::export as args;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::reach::Data;
use crate::{marker, output};

/// A server may have been done just before it heard of it.
const INTERRUPTED: &str = "interrupted; unless it was done already there is no file";

/// Writes what is asked for.
///
/// # Errors
/// If it cannot be written; there is no file then.
pub(crate) async fn run(config: &Config, args: args::Export, as_json: bool) -> Result<bool> {
    let (what, of) = match args {
        args::Export::Totals { of, by, zone } => {
            let by = match by {
                args::By::Atom => By::Atom,
                args::By::HalfHour => By::HalfHour,
                args::By::Day => By::Day,
            };
            (What::Totals { by, zone }, of)
        }
        args::Export::Messages(of) => (What::Messages, of),
        args::Export::Events(of) => (What::Events, of),
    };
    let args::Exported { to, format, channels, account, from, until, manifest, overwrite } = of;
    let format = format.map(|format| match format {
        args::Format::Csv => Format::Csv,
        args::Format::Ndjson => Format::Ndjson,
        args::Format::Parquet => Format::Parquet,
    });
    let to_standard_output = to == Path::new("-");
    if to_standard_output && format.is_none() {
        bail!("`--to -` has no ending that says the format; say it with --format");
    }
    let (file, beside) = if to_standard_output {
        (temporary(&config.data.folder)?, None)
    } else {
        let file = absolute(&to)?;
        (file.clone(), Some(manifest_of(&file)))
    };
    let manifest = manifest.as_deref().map(absolute).transpose()?.or(beside);
    let place = file.clone();
    let invented = marker::invented(&config.data.folder)?;
    let request = Request {
        what,
        channels,
        account,
        from,
        until,
        format,
        file,
        manifest,
        overwrite,
        invented,
    };
    let listen = |kind| signal(kind).context("cannot listen to signals");
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut data = Data::reach(config, Arc::new(SystemClock)).await?;
    let exported = tokio::select! {
        exported = data.ask_showing(Command::Export(request), |rows| format!("{rows} rows")) => {
            exported
        }
        _ = interrupt.recv() => Err(anyhow!(INTERRUPTED)),
        _ = terminate.recv() => Err(anyhow!(INTERRUPTED)),
    };
    data.close().await?;
    let exported = exported?;
    if !to_standard_output {
        output::value(as_json, &exported)?;
        return Ok(true);
    }
    let whole = File::open(&place).context("the export cannot be read");
    // Opened, it can be read without a name: nothing is left behind, whatever happens now.
    std::fs::remove_file(&place)
        .with_context(|| format!("cannot remove `{}`; do so", place.display()))?;
    output::copy(whole?)?;
    output::note(&format!("{} rows", exported.get("rows").unwrap_or(&Value::Null)));
    Ok(true)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("`{}` is no path", path.display()))
}

/// Where an export waits that goes to standard output.
fn temporary(folder: &Path) -> Result<PathBuf> {
    Ok(absolute(folder)?.join(format!("export.{}", std::process::id())))
}
