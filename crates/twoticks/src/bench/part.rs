//! One side of one row, in a process of its own: what it did before is on nobody's bill.
//!
//! `bench` starts itself with `--part` and what is to be measured, and reads one line of JSON.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::feed::Spec;
use super::{clickhouse, growth, handler, limit, postgres, query, store};
use crate::output;

/// What one process measures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Part {
    /// Our ledger.
    Store { spec: Spec, folder: PathBuf },
    /// The limit of the store.
    Limit { spec: Spec, compress: bool, folder: PathBuf },
    /// PostgreSQL.
    Postgres { spec: Spec, dsn: String, connections: usize },
    /// ClickHouse.
    ClickHouse { spec: Spec, url: String, connections: usize },
    /// What makes the events of a ledger that grows.
    Feeder { spec: Spec },
    /// Our ledger as it grows.
    Growth { spec: Spec, folder: PathBuf, memory_mb: u32 },
    /// Questions to a ledger that has grown.
    Query { spec: Spec, folder: PathBuf },
    /// The limit of the door; it serves until it is ended.
    Handler,
}

/// Has `part` measured by another process.
///
/// # Errors
/// If that fails; it has then said why on standard error.
pub(super) async fn measure<T: DeserializeOwned>(part: &Part) -> Result<T> {
    let part = serde_json::to_string(part)?;
    let child = command(&part)?.stdout(Stdio::piped()).spawn().context("cannot start a part")?;
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("the part {part} ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("of the part {part}"))
}

/// The program again, with `part` to do. It ends with us.
pub(super) fn command(part: &str) -> Result<tokio::process::Command> {
    let program = std::env::current_exe().context("the program does not know where it is")?;
    let mut command = tokio::process::Command::new(program);
    command.args(["bench", "--part", part]).stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// Measures `part` and prints what came of it.
///
/// # Errors
/// If it cannot be measured.
pub(super) async fn run(part: &str) -> Result<()> {
    let measured = match serde_json::from_str(part).context("this is no part of a benchmark")? {
        Part::Store { spec, folder } => {
            serde_json::to_value(store::measure(&spec, &folder).await?)?
        }
        Part::Limit { spec, compress, folder } => {
            let limit = move || limit::run(&spec, compress, &folder);
            serde_json::to_value(tokio::task::spawn_blocking(limit).await??)?
        }
        Part::Postgres { spec, dsn, connections } => {
            serde_json::to_value(postgres::measure(&spec, &dsn, connections).await?)?
        }
        Part::ClickHouse { spec, url, connections } => {
            serde_json::to_value(clickhouse::measure(&spec, &url, connections).await?)?
        }
        Part::Feeder { spec } => {
            let measure = move || growth::measure_feeder(&spec);
            serde_json::to_value(tokio::task::spawn_blocking(measure).await??)?
        }
        Part::Growth { spec, folder, memory_mb } => {
            serde_json::to_value(growth::measure(&spec, &folder, memory_mb).await?)?
        }
        Part::Query { spec, folder } => {
            serde_json::to_value(query::measure(&spec, &folder).await?)?
        }
        Part::Handler => return handler::run().await,
    };
    output::value(true, &measured)
}
