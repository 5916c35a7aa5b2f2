//! `twoticks verify` on the grown ledger: events a second, against what it took in.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::report::{Found, Taken};
use super::{Bench, growth};

pub(super) fn run(bench: &mut Bench) -> BoxFuture<'_, Result<Taken>> {
    async move {
        let grown = growth::grown(bench).await?;
        let folder = bench.folder.join(growth::FOLDER);
        bench.say("verify", &format!("{} messages", grown.messages));
        let program = std::env::current_exe().context("the program does not know where it is")?;
        let mut command = tokio::process::Command::new(program);
        command.args(["verify", "--json", "--data-dir"]).arg(&folder);
        command.arg("--config").arg(folder.with_extension("toml"));
        let begun = Instant::now();
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = child.wait_with_output().await?;
        let seconds = begun.elapsed().as_secs_f64();
        let verdict: Value =
            serde_json::from_slice(&output.stdout).context("it gave no verdict")?;
        let is_equal = verdict.get("equal").and_then(Value::as_bool) == Some(true);
        ensure!(is_equal, "the ledger is not what its journal says: {verdict}");
        let events = verdict.get("events").and_then(Value::as_u64).context("how many events?")?;
        let rate = events as f64 / seconds;
        let sides = json!({
            "verify": { "events": events, "seconds": seconds, "events_per_s": rate },
            "ingestion": { "events": grown.events, "events_per_s": grown.events_per_s },
        });
        Ok(Taken::Found(vec![Found::new("verify_ratio", rate / grown.events_per_s, sides)]))
    }
    .boxed()
}
