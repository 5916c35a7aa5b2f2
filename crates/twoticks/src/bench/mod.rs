//! `bench`: how near the ledger and the doors are to what the machine can do at all.
//!
//! A file per row of the table ([`ROWS`]); each measures ours and a yardstick in the same run, in
//! turn, every side in a process of its own ([`part`]), and gives figures under the keys that
//! `report.rs` lists with their goals. To add a row: a file with a function like
//! [`store::run`], a line in [`ROWS`], its keys in `report::KEYS`, a section in `bench/README.md`.
//! What always holds: all sides are fed the same events from the same seed; what makes the events
//! is on nobody's bill; what was not measured is said, with the reason, and never guessed.
#![expect(clippy::cast_precision_loss, reason = "figures are for reading")]

mod clickhouse;
mod door1;
mod door100;
mod feed;
mod growth;
mod handler;
mod http;
mod limit;
mod links;
mod load;
mod meter;
mod part;
mod peers;
mod postgres;
mod query;
mod receiver;
mod report;
mod server;
mod start;
mod store;
mod verify;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use futures_util::future::BoxFuture;
use twoticks_server::settings::Settings;

use self::report::{Report, Taken};
use crate::output;

/// The options of `bench`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what fits into a minute on two cores, at smaller sizes.
    #[arg(long)]
    quick: bool,
    /// Only these rows of the table; several with commas.
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = row_name())]
    only: Vec<String>,
    /// How many events the store is fed; else ten million, with `--quick` 300,000.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// How many messages the ledger of the rows about growth has; else a hundred million.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    growth_messages: Option<u64>,
    /// How much memory it may take while it grows, in mebibytes; else 512, as by default.
    #[arg(long, value_name = "MEBIBYTES", value_parser = clap::value_parser!(u32).range(128..))]
    growth_memory_mb: Option<u32>,
    /// How often each side has its turn, the median counts; else 3, with `--quick` 1.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: Option<u32>,
    /// Where the folder with everything that is written is made, and removed again: on the disk
    /// that is meant, not in memory.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// A ClickHouse to compare with, such as `http://127.0.0.1:8123`.
    #[arg(long, value_name = "URL")]
    clickhouse: Option<String>,
    /// A PostgreSQL to compare with, such as `host=127.0.0.1 user=postgres`; its tables
    /// `bench_…` are made anew.
    #[arg(long, value_name = "DSN")]
    postgres: Option<String>,
    /// A Python that has `fastapi`, `uvicorn` and `asyncpg`, to compare with `bench/receiver.py`, which
    /// writes to the PostgreSQL.
    #[arg(long, value_name = "INTERPRETER")]
    python: Option<PathBuf>,
    /// One side of one row, in this process; `bench` starts itself so.
    #[arg(long, hide = true, value_name = "JSON")]
    part: Option<String>,
}

/// A row of the table.
struct Row {
    name: &'static str,
    run: for<'a> fn(&'a mut Bench) -> BoxFuture<'a, Result<Taken>>,
}

/// All rows, in the order in which they run. Those behind growth use its ledger in this order, so
/// that what is accepted later comes later.
const ROWS: &[Row] = &[
    Row { name: "store", run: store::run },
    Row { name: "door100", run: door100::run },
    Row { name: "door1", run: door1::run },
    Row { name: "links", run: links::run },
    Row { name: "postgres", run: peers::postgres },
    Row { name: "clickhouse", run: peers::clickhouse },
    Row { name: "receiver", run: receiver::run },
    Row { name: "growth", run: growth::run },
    Row { name: "verify", run: verify::run },
    Row { name: "start", run: start::run },
    Row { name: "query", run: query::run },
];

fn row_name() -> clap::builder::PossibleValuesParser {
    ROWS.iter().map(|row| row.name).collect::<Vec<_>>().into()
}

/// How much of everything.
#[derive(Clone, Debug)]
struct Sizes {
    rounds: u32,
    events: u64,
    hostile_events: u64,
    /// What ours and a peer are fed, from memory.
    peer_events: u64,
    door100_bodies: u64,
    door1_bodies: u64,
    receiver_bodies: u64,
    opened_links: usize,
    /// None if it is left out.
    growth_messages: Option<u64>,
    growth_memory_mb: u32,
    /// What the rows after growth have if there was no growth.
    grown_events: u64,
    /// What is taken in while questions are asked.
    busy_events: u64,
    start_bodies: u64,
}

impl Sizes {
    fn of(args: &Args) -> Self {
        let or = |given: Option<u64>, usual, quick| {
            given.unwrap_or(if args.quick { quick } else { usual })
        };
        let events = or(args.events, 10_000_000, 300_000);
        Self {
            rounds: args.rounds.unwrap_or(if args.quick { 1 } else { 3 }),
            events,
            // It costs several times as much.
            hostile_events: events.div_ceil(if args.quick { 3 } else { 5 }),
            peer_events: events.min(if args.quick { 60_000 } else { 3_000_000 }),
            door100_bodies: (events / 100).min(if args.quick { 2_000 } else { 20_000 }).max(16),
            door1_bodies: events.min(if args.quick { 15_000 } else { 200_000 }),
            receiver_bodies: events.min(if args.quick { 3_000 } else { 20_000 }),
            opened_links: if args.quick { 3_000 } else { 20_000 },
            growth_messages: args.growth_messages.or((!args.quick).then_some(100_000_000)),
            growth_memory_mb: args
                .growth_memory_mb
                .unwrap_or_else(|| Settings::default().limits.memory_mb),
            grown_events: events.min(if args.quick { 100_000 } else { u64::MAX }),
            busy_events: events.min(if args.quick { 60_000 } else { 1_000_000 }),
            start_bodies: (events / 100).min(if args.quick { 1_000 } else { 10_000 }).max(16),
        }
    }
}

/// What to compare with, as far as it was given.
struct Peers {
    postgres: Option<String>,
    clickhouse: Option<String>,
    python: Option<PathBuf>,
}

/// A run of the benchmark.
struct Bench {
    sizes: Sizes,
    peers: Peers,
    /// The ledger that has grown, in its folder.
    grown: Option<growth::Grown>,
    /// Everything that is written is in it.
    folder: PathBuf,
}

impl Bench {
    /// A new, empty folder.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).context("cannot remove what was measured last")?;
        }
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder `{}`", path.display()))?;
        Ok(path)
    }

    /// A data folder with everything a server needs, made once, to be copied.
    async fn set_up(&self) -> Result<PathBuf> {
        let path = self.folder.join("set-up");
        if !path.exists() {
            self.say("doors", "setting up channels, numbers and templates");
            server::make(&path)?;
            server::set_up(&path, &load::plan(1), true).await?;
        }
        Ok(path)
    }

    fn say(&self, row: &str, what: &str) {
        output::note(&format!("{row}: {what}"));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // What cannot be removed is seen where it lies.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Measures and prints.
///
/// # Errors
/// If nothing could be measured at all. A row that fails is told in the report.
pub(crate) async fn run(args: &Args, as_json: bool) -> Result<bool> {
    if let Some(part) = &args.part {
        return part::run(part).await.map(|()| true);
    }
    let folder = args.dir.join(format!("twoticks-bench.{}", std::process::id()));
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let folder = folder.canonicalize().context("the folder is gone")?;
    let peers = Peers {
        postgres: args.postgres.clone(),
        clickhouse: args.clickhouse.clone(),
        python: args.python.clone(),
    };
    let bench = Bench { sizes: Sizes::of(args), peers, grown: None, folder };
    let report = tokio::select! {
        report = rows(bench, args) => report,
        // The folder goes with the rows.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    };
    report.print(as_json)?;
    Ok(report.is_whole())
}

/// Measures the rows that are asked for.
async fn rows(mut bench: Bench, args: &Args) -> Report {
    let mut report = Report::new(&bench.sizes, args);
    for row in ROWS {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == row.name) {
            report.skip(row.name, "not asked for with --only");
            continue;
        }
        match (row.run)(&mut bench).await {
            Ok(Taken::Found(found)) => report.take(row.name, found),
            Ok(Taken::Skipped(why)) => report.skip(row.name, &why),
            Err(error) => {
                output::note(&format!("{}: {error:#}", row.name));
                report.fail(row.name, &format!("failed: {error:#}"));
            }
        }
    }
    report
}

/// Of the runs of one side the one with the median of `cost`.
///
/// # Errors
/// If there is none.
fn median<T>(mut runs: Vec<T>, cost: impl Fn(&T) -> f64) -> Result<T> {
    runs.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    let middle = runs.len().saturating_sub(1) / 2;
    runs.into_iter().nth(middle).context("nothing was measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |runs: &[f64]| median(runs.to_vec(), |run| *run).unwrap().to_string();
        assert_eq!([of(&[3.0]), of(&[3.0, 1.0, 2.0]), of(&[4.0, 1.0])], ["3", "2", "1"]);
        assert!(median(Vec::<f64>::new(), |run| *run).is_err());
    }

    #[test]
    fn every_row_has_a_name_of_its_own_and_keys() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS.iter().skip(index + 1).all(|other| other.name != row.name));
            assert!(report::KEYS.iter().any(|key| key.row == row.name), "{}", row.name);
        }
        for key in report::KEYS {
            assert!(ROWS.iter().any(|row| row.name == key.row), "{}", key.name);
        }
    }
}
