//! What was and what is to be counted: messages of a group, imports, replays, verification.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use twoticks_core::event::Event;
use twoticks_core::ids::ChannelId;
use twoticks_store::directory::names::Uid;
use twoticks_store::embedded::kept::Disk;
use twoticks_store::ledger::{Batch, Digest, Kind};
use twoticks_store::verify::{self, Verdict};

use super::{ControlError, channels, people};
use crate::app::App;
use crate::ingest::import::gather::Gathered;
use crate::ingest::import::{self, Report};
use crate::ingest::replay::{self, Replayed};
use crate::ingest::translate::Speaks;
use crate::sending;

/// What can be done with the journal and what it counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Lists the recipients of a mass send.
    ListMessages { group: String, channel: Option<ChannelId> },
    /// Takes in lines of an import.
    Import(Lines),
    /// Takes dead letters in again.
    ReplayDeadLetters { dry_run: bool },
    /// Rebuilds the ledger from the journal and compares.
    Verify {
        /// A folder that is not there yet, for the second ledger; it is removed in the end.
        scratch: PathBuf,
    },
    /// Says what the folder takes on disk, and for what.
    Disk,
}

/// Some lines of an import.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// Each with its number, from 1.
    pub lines: Vec<(u64, String)>,
    /// Only say what would be counted.
    pub dry_run: bool,
    /// Whose numbers the lines may speak of.
    #[serde(default)]
    pub speaks_for: SpeaksFor,
}

/// Whose numbers an import may speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeaksFor {
    /// Everybody's.
    #[default]
    All,
    /// Those of an account.
    Account(Uid),
    /// Those of these channels.
    Channels(Vec<ChannelId>),
}

/// How many bytes of lines are sent in one command; a longer line goes alone. What is said of
/// each part of them, if each is dead, fits into an answer.
pub const LINES_BYTES_MAX: usize = 1024 * 1024;
/// How many lines are sent in one command.
pub const LINES_MAX: usize = 16_384;
/// How many dead letters an answer tells of one by one; beyond them only their sums.
pub const REPLAYED_SHOWN_MAX: usize = 10_000;
/// How many entries are recorded at the same time, so that they share a sync.
const RECORDING_MAX: usize = 128;
/// After so many bytes of lines others have their turn.
const TURN_BYTES: usize = 64 * 1024;

pub(super) async fn execute(
    app: &App,
    command: Command,
    progress: &Arc<AtomicU64>,
) -> Result<Value, ControlError> {
    match command {
        Command::ListMessages { group, channel } => {
            list_messages(app, &group, channel.as_ref()).await
        }
        Command::Import(lines) => import(app, &lines).await,
        Command::ReplayDeadLetters { dry_run } => replay_dead(app, dry_run).await,
        Command::Verify { scratch } => verify(app, &scratch, progress).await,
        Command::Disk => disk(app).await,
    }
}

/// Journals a fact that the command line makes known.
pub(crate) async fn record(app: &App, event: Event) -> Result<(), ControlError> {
    let kind = match &event {
        Event::OptIn { .. } => Kind::OptIn,
        Event::Category(_) => Kind::Category,
        Event::Message(_) | Event::Tap(_) => Kind::Import,
    };
    let batch = Batch {
        kind,
        accepted: app.clock.now(),
        origin: "command line".to_owned(),
        channel: Some(event.channel().clone()),
        group: None,
        events: vec![event],
        dead: Vec::new(),
        resolves: None,
        body: Vec::new(),
    };
    app.ledger.record(batch).await?;
    Ok(())
}

/// Takes the lines in; with `dry_run` it only says of each what would be counted. The answer has
/// `lines`, `events`, `dead` and, of the lines that have something to say, `reports`.
async fn import(app: &App, lines: &Lines) -> Result<Value, ControlError> {
    let Lines { lines, dry_run, speaks_for } = lines;
    let speaks = speaks(app, speaks_for)?;
    let now = app.clock.now();
    let (mut events, mut dead, mut turn) = (0, 0, 0);
    let mut reports: Vec<Report> = Vec::new();
    let mut gathered = Gathered::default();
    for (number, line) in lines {
        let imported = import::line(app, speaks, line.as_bytes(), now);
        events += imported.translated.events.len();
        dead += imported.translated.dead.len();
        if *dry_run || !imported.translated.dead.is_empty() {
            reports.push(import::report(*number, &imported.translated));
        }
        if !dry_run {
            gathered.add(*number, line.as_bytes(), imported);
        }
        turn += line.len();
        if turn >= TURN_BYTES {
            turn = 0;
            tokio::task::yield_now().await;
        }
    }
    let mut entries = gathered.into_entries().into_iter();
    loop {
        let together = entries.by_ref().take(RECORDING_MAX).map(|entry| async {
            let line = entry.first;
            entry.record(app).await.map_err(|source| ControlError::Line { line, source })
        });
        if try_join_all(together).await?.is_empty() {
            break;
        }
    }
    Ok(json!({"lines": lines.len(), "events": events, "dead": dead, "reports": reports}))
}

/// For which channels an import may speak; they have to be there.
fn speaks<'a>(app: &App, given: &'a SpeaksFor) -> Result<Speaks<'a>, ControlError> {
    let snapshot = app.directory.snapshot();
    match given {
        SpeaksFor::All => Ok(Speaks::All),
        SpeaksFor::Account(uid) => {
            people::account(&snapshot, Some(uid))?;
            Ok(Speaks::Account(uid))
        }
        SpeaksFor::Channels(given) => {
            for id in given {
                channels::known(&snapshot, id)?;
            }
            Ok(Speaks::Channels(given))
        }
    }
}

/// Takes dead letters in again and tells of each.
async fn replay_dead(app: &App, dry_run: bool) -> Result<Value, ControlError> {
    let (mut told, mut events, mut resolved, mut dead) = (Vec::new(), 0, 0, 0);
    let mut tell = |replayed: Replayed| {
        events += replayed.events;
        resolved += usize::from(replayed.resolved);
        dead += replayed.dead.len();
        if told.len() < REPLAYED_SHOWN_MAX {
            told.push(replayed);
        }
    };
    replay::dead_letters(app, None, 1, dry_run, &mut tell).await?;
    Ok(json!({"events": events, "resolved": resolved, "dead": dead, "letters": told}))
}

/// The recipients of a group with their message ids, or why they got none, or that they wait.
async fn list_messages(
    app: &App,
    group: &str,
    given: Option<&ChannelId>,
) -> Result<Value, ControlError> {
    let channels: Vec<ChannelId> = match given {
        Some(channel) => vec![channel.clone()],
        None => app.directory.snapshot().channels().map(|channel| channel.id.clone()).collect(),
    };
    for channel in channels {
        let entries = app.ledger.group(&channel, group).await?;
        if !entries.is_empty() {
            return Ok(sending::recipients(&channel, &entries).into());
        }
    }
    Err(ControlError::Missing {
        what: "group of messages",
        name: group.to_owned(),
        remedy: "it is the `GroupMessageId` that the mass send answered",
    })
}

/// Folds the journal again in `scratch` and compares; `progress` hears the positions reached.
async fn verify(
    app: &App,
    scratch: &Path,
    progress: &Arc<AtomicU64>,
) -> Result<Value, ControlError> {
    let folder =
        |doing| move |source| ControlError::Scratch { doing, path: scratch.into(), source };
    tokio::fs::create_dir(scratch).await.map_err(folder("make"))?;
    let reached = Arc::clone(progress);
    let told = Arc::new(move |at, _| reached.store(at, Ordering::Relaxed));
    let verdict = verify::verify(app.ledger.as_ref(), scratch, told).await;
    tokio::fs::remove_dir_all(scratch).await.map_err(folder("remove"))?;
    let Verdict { equal, ledger, journal, from, entries, events } = verdict?;
    Ok(json!({
        "equal": equal, "from": from, "entries": entries, "events": events,
        "ledger": shown(&ledger), "journal": shown(&journal),
    }))
}

/// What the data folder takes, in bytes.
async fn disk(app: &App) -> Result<Value, ControlError> {
    let kept = app.ledger.kept().ok_or(ControlError::InMemory)?;
    let looked = tokio::task::spawn_blocking(move || kept.disk()).await;
    let Disk { messages, tables, engine, journal, snapshots } = match looked {
        Ok(disk) => disk?,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => return Err(ControlError::Stopped),
    };
    Ok(json!({
        "messages": messages, "state_and_totals": tables, "engine": engine, "journal": journal,
        "snapshots": snapshots,
    }))
}

fn shown(digest: &Digest) -> Value {
    let Digest { position, sha256, messages, taps, channels, cells } = digest;
    let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "sha256": sha256, "position": position, "messages": messages, "taps": taps,
        "channels": channels, "cells": cells,
    })
}
