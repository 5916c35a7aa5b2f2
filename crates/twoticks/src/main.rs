//! The program: command line, configuration, start and stop.
//!
//! `args` says what there is, `commands` turns it into what is to be done to the data, `reach`
//! finds the data (a running server's, or the folder), and the commands that are more than that
//! have a file each. What always holds: data goes to standard output, all else to standard error;
//! the exit status is 0, 1 if it did not work, 2 for wrong usage, 3 if the disk has failed and
//! starting again is all that helps; the environment is read in `config`, the system's clock in
//! `clock`, and nowhere else.

mod args;
mod backup;
mod bench;
mod check;
mod clock;
mod commands;
mod config;
mod demo;
mod doctor;
mod emulate;
mod export;
mod import;
mod init;
mod marker;
mod output;
mod reach;
mod reconcile;
mod serve;
mod tour;
mod values;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use serde_json::Value;
use tracing_subscriber::EnvFilter;
use twoticks_core::clock::Clock;
use twoticks_server::control::{Command, feed};

use crate::args::Cli;
use crate::clock::SystemClock;
use crate::config::{Config, LogFormat, Overrides};
use crate::import::How;
use crate::output::Progress;
use crate::reach::Data;

/// Bodies and rows are freed by other threads than made them: what glibc's allocator keeps of that
/// grows with what goes through, this one's does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The exit status when the disk did not confirm a write: the next start goes on from what is there.
const START_AGAIN: u8 = 3;
/// What commands log that only do something to the data.
const QUIET: &str = "warn";
/// The data folder of a demo.
const DEMO_FOLDER: &str = "./twoticks-demo";
/// The data folder of an emulator.
const EMULATOR_FOLDER: &str = "./twoticks-emulator";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(Box::pin(run(cli))));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            output::note(&format!("twoticks: {error:#}"));
            if serve::has_failed(&error) { ExitCode::from(START_AGAIN) } else { ExitCode::FAILURE }
        }
    }
}

/// Does what the command line says; whether all was well.
async fn run(cli: Cli) -> Result<bool> {
    let Cli { global, command } = cli;
    let as_json = global.json;
    let mut overrides =
        Overrides { file: global.config, data_folder: global.data_dir, listen: None };
    match &command {
        args::Command::Serve(args) => overrides.listen.clone_from(&args.listen),
        args::Command::Demo(args) => {
            overrides.listen.clone_from(&args.listen);
            overrides.data_folder.get_or_insert_with(|| DEMO_FOLDER.into());
        }
        args::Command::Tour => {
            overrides.data_folder.get_or_insert_with(|| DEMO_FOLDER.into());
        }
        args::Command::Emulate(args) => {
            overrides.listen.clone_from(&args.listen);
            overrides.data_folder.get_or_insert_with(|| EMULATOR_FOLDER.into());
        }
        // It reads one file and needs no configuration.
        args::Command::Check(args) => return check::run(&args.file, as_json),
        // It has a folder and a configuration of its own.
        args::Command::Bench(args) => return Box::pin(bench::run(args, as_json)).await,
        _ => {}
    }
    let config = config::read(&overrides)?;
    serve::outlive_file_size_limit()?;
    let serves = matches!(
        command,
        args::Command::Serve(_) | args::Command::Demo(_) | args::Command::Emulate(_)
    );
    log(&config, serves)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match command {
        args::Command::Serve(_) => serve::run(&config, clock, as_json).await.map(|()| true),
        args::Command::Emulate(args) => {
            Box::pin(emulate::run(&config, &args, as_json)).await.map(|()| true)
        }
        args::Command::Demo(args) => demo::run(&config, &args, as_json).await.map(|()| true),
        args::Command::Tour => tour::run(&config.data.folder, as_json).await,
        args::Command::Init(args) => init::run(&config, clock, &args, as_json).await.map(|()| true),
        args::Command::Doctor => doctor::run(&config, clock, as_json).await,
        args::Command::Config => shown(&config, as_json).map(|()| true),
        // They were done above, without a configuration.
        args::Command::Check(args) => check::run(&args.file, as_json),
        args::Command::Bench(args) => Box::pin(bench::run(&args, as_json)).await,
        args::Command::Key(asked @ args::Key::Dashboard { .. }) => {
            dashboard(&config, asked, as_json).await
        }
        args::Command::Key(command) => simple(&config, commands::key(command)?, as_json).await,
        args::Command::Policy(command) => {
            simple(&config, commands::policy(command)?, as_json).await
        }
        args::Command::Channel(command) => {
            simple(&config, commands::channel(command)?, as_json).await
        }
        args::Command::Message(command) => {
            simple(&config, commands::message(command), as_json).await
        }
        args::Command::Import(args) => {
            let how = args.how(&config.data.folder);
            take_in(&config, &args.file, &how, as_json).await
        }
        args::Command::Replay(args::Replay { file: Some(file), dry_run }) => {
            take_in(&config, &file, &How { dry_run, ..How::default() }, as_json).await
        }
        args::Command::Replay(args::Replay { file: None, dry_run }) => {
            let command = Command::Data(feed::Command::ReplayDeadLetters { dry_run });
            judged(&config, command, as_json, "replaying", |answer| {
                answer.get("dead").and_then(Value::as_u64) == Some(0)
            })
            .await
        }
        args::Command::Export(args) => export::run(&config, args, as_json).await,
        args::Command::Verify => verify(&config, as_json).await,
        args::Command::Reconcile(args) => reconcile::run(&config, args, as_json).await,
        args::Command::Backup(args) => backup::take(&config, &args, as_json).await,
        args::Command::Restore(args) => backup::put_back(&config, args, as_json).await,
    }
}

/// Logs to standard error; commands that only do something to the data are quiet.
fn log(config: &Config, serves: bool) -> Result<()> {
    let filter = if serves { config.log.filter.as_str() } else { QUIET };
    let filter = EnvFilter::builder()
        .parse(filter)
        .with_context(|| format!("`log.filter` is `{filter}`; write a level such as `info`"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            log.with_ansi(is_terminal).init();
        }
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn shown(config: &Config, as_json: bool) -> Result<()> {
    let table = config.shown();
    if as_json {
        let value = serde_json::to_value(&table).context("TOML without dates is JSON")?;
        output::value(true, &value)
    } else {
        output::data(&table.to_string())
    }
}

/// Has a command done and prints its answer.
async fn simple(config: &Config, command: Command, as_json: bool) -> Result<bool> {
    judged(config, command, as_json, "working", |_| true).await
}

/// Prints a link to the dashboard, as it is reached from this machine.
async fn dashboard(config: &Config, asked: args::Key, as_json: bool) -> Result<bool> {
    let mut data = Data::reach(config, Arc::new(SystemClock)).await?;
    let answer = data.ask(commands::key(asked)?).await;
    data.close().await?;
    let answer = answer?;
    let path = answer.get("path").and_then(Value::as_str).unwrap_or_default();
    let link = format!("http://{}{path}", config.listen.address);
    output::value(as_json, &serde_json::json!({ "dashboard": link }))?;
    Ok(true)
}

/// Has a command done, prints its answer, and says whether that is good. What takes long says
/// for how long.
async fn judged(
    config: &Config,
    command: Command,
    as_json: bool,
    doing: &'static str,
    is_good: impl Fn(&Value) -> bool,
) -> Result<bool> {
    let mut data = Data::reach(config, Arc::new(SystemClock)).await?;
    let answer = with_patience(doing, data.ask(command)).await;
    data.close().await?;
    let answer = answer?;
    output::value(as_json, &answer)?;
    Ok(is_good(&answer))
}

/// Waits for long work and says that it goes on.
async fn with_patience<T>(doing: &'static str, work: impl Future<Output = T>) -> T {
    let mut progress = Progress::new(doing);
    let mut work = std::pin::pin!(work);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => progress.tick(),
        }
    }
}

async fn take_in(
    config: &Config,
    file: &std::path::Path,
    how: &How,
    as_json: bool,
) -> Result<bool> {
    if !how.dry_run {
        marker::refuse_to_mix(&config.data.folder)?;
    }
    let mut data = Data::reach(config, Arc::new(SystemClock)).await?;
    let taken = import::run(&mut data, file, how).await;
    data.close().await?;
    let taken = taken?;
    if how.dry_run {
        // Standard output has one object per line of the input and nothing else.
        output::note(&taken.told());
    } else {
        output::value(as_json, &taken.shown())?;
    }
    Ok(taken.dead == 0)
}

/// The second ledger is made beside the first, where there is room if anywhere.
async fn verify(config: &Config, as_json: bool) -> Result<bool> {
    let folder = &config.data.folder;
    let folder = folder
        .canonicalize()
        .with_context(|| format!("there is no data folder `{}`", folder.display()))?;
    let scratch = folder.join(format!("verify.{}", std::process::id()));
    let command = Command::Data(feed::Command::Verify { scratch });
    let mut data = Data::reach(config, Arc::new(SystemClock)).await?;
    let answer = data.ask_showing(command, |at| format!("verified up to entry {at}")).await;
    data.close().await?;
    let answer = answer?;
    output::value(as_json, &answer)?;
    Ok(answer.get("equal").and_then(Value::as_bool) == Some(true))
}
