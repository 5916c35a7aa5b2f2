//! A process that records under load is killed at any moment, over and over, on the same folder:
//! what it acknowledged is there, once.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod child;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use twoticks_core::clock::{ManualClock, SECOND, Time};
use twoticks_core::event::Event;
use twoticks_store::embedded::Embedded;
use twoticks_store::embedded::retention::Retention;
use twoticks_store::journal::Limits;
use twoticks_store::keys::Keys;
use twoticks_store::ledger::{Batch, Ledger};
use twoticks_store::verify::verify;

const ROUNDS: u32 = 50;
const TASKS: u32 = 6;

/// The child: acknowledges on standard output until it is killed.
async fn records_until_it_is_killed(folder: &Path, round: u32) {
    let ledger = Arc::new(child::open(folder));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let ledger = Arc::clone(&ledger);
        tasks.spawn(async move {
            let mut first = 0;
            for count in (1..40).cycle() {
                let batch = child::batch(round, task, first, count);
                let body = String::from_utf8(batch.body.clone()).unwrap();
                let position = ledger.record(batch.clone()).await.unwrap().position;
                say(&format!("acknowledged {position} {body}"));
                // Told again at times, as webhooks are, and asked for.
                if count % 13 == 0 {
                    ledger.record(batch).await.unwrap();
                    assert!(child::sent(ledger.as_ref()).await > 0);
                }
                first += count;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Runs the child of the test `name` until it has acknowledged `lines` times, and kills it. What
/// it acknowledged.
fn killed_after(lines: usize, name: &str, folder: &Path, round: u32) -> Vec<(u64, String)> {
    let mut child = child::start(name, folder, round);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut told = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        // What was in the pipe when it was killed was acknowledged, too; a line without an end
        // was not told whole.
        if out.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        if let Some((_, words)) = line.trim_end().split_once("acknowledged ") {
            let (position, body) = words.split_once(' ').unwrap();
            told.push((position.parse().unwrap(), body.to_owned()));
            if told.len() == lines {
                child.kill().unwrap();
            }
        }
    }
    let status = child.wait().unwrap();
    assert!(told.len() >= lines, "the child ended by itself: {status}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_once_after_any_kill() {
    if let Some((folder, round)) = child::told() {
        return records_until_it_is_killed(Path::new(&folder), round).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut random = [0; 2];
        getrandom::fill(&mut random).unwrap();
        // Most die in the first moments, some with overlays being committed.
        let most = if round % 10 == 9 { 250 } else { 25 };
        let lines = 1 + usize::from(u16::from_le_bytes(random)) % most;
        let name = "what_was_acknowledged_is_there_once_after_any_kill";
        for (position, body) in killed_after(lines, name, folder.path(), round) {
            assert_eq!(acknowledged.insert(position, body), None, "position {position} twice");
        }
        let ledger = child::open(folder.path());
        let mut messages = BTreeSet::new();
        let mut bodies = BTreeMap::new();
        let mut next = 1;
        loop {
            let page = ledger.entries(next, usize::MAX).await.unwrap();
            let Some(last) = page.last() else { break };
            next = last.position + 1;
            for entry in page {
                for event in &entry.batch.events {
                    let Event::Message(event) = event else { unreachable!() };
                    messages.insert(event.message);
                }
                bodies.insert(entry.position, String::from_utf8(entry.batch.body).unwrap());
            }
        }
        for (position, body) in &acknowledged {
            assert_eq!(bodies.get(position), Some(body), "round {round}, position {position}");
        }
        let counted = child::sent(&ledger).await;
        assert_eq!(usize::try_from(counted), Ok(messages.len()), "round {round}");
        if round % 10 == 9 {
            let scratch = tempfile::tempdir().unwrap();
            let verdict = verify(&ledger, scratch.path(), Arc::new(|_, _| {})).await.unwrap();
            assert!(verdict.equal, "round {round}: {verdict:?}");
            assert_eq!(verdict.entries, next - 1);
        }
        if round % 2 == 0 {
            ledger.close().await.unwrap();
        }
    }
}

/// Small segments, and days that are told in moments: it seals and trims all the time.
fn open_expiring(folder: &Path) -> Embedded {
    let limits = Limits { segment_bytes: 4_096, ..Limits::default() };
    let ledger = Embedded::open_with(folder, Arc::new(Keys::from_bytes([5; 32])), limits).unwrap();
    let clock = Arc::new(ManualClock::new(Time(i64::MAX)));
    ledger.retain(Retention { journal_days: 4, clock }).unwrap();
    ledger
}

async fn records_days_until_it_is_killed(folder: &Path, round: u32) {
    let ledger = open_expiring(folder);
    for n in 0.. {
        let batch = child::batch(round, 0, n * 10, 10);
        let hours = i64::from(round * ROUND_HOURS + n);
        let accepted = batch.accepted.plus(hours * 3_600 * SECOND);
        let body = String::from_utf8(batch.body.clone()).unwrap();
        let position = ledger.record(Batch { accepted, ..batch }).await.unwrap().position;
        say(&format!("acknowledged {position} {body}"));
        if n % 7 == 0 {
            // So that there is something to seal.
            ledger.digest().await.unwrap();
        }
    }
}

/// After so many hours the next round begins, whether all of them were told or not.
const ROUND_HOURS: u32 = 250;

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_whose_journal_expires_is_whole_after_any_kill() {
    let name = "a_ledger_whose_journal_expires_is_whole_after_any_kill";
    if let Some((folder, round)) = child::told() {
        return records_days_until_it_is_killed(Path::new(&folder), round).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut before, mut from) = (0, BTreeSet::new());
    for round in 0..ROUNDS {
        let mut random = [0; 1];
        getrandom::fill(&mut random).unwrap();
        let lines = 20 + usize::from(random[0]) / 2;
        let acknowledged = killed_after(lines, name, folder.path(), round).len() * 10;
        if round % 3 == 2 {
            std::fs::remove_dir_all(folder.path().join("ledger")).unwrap();
        }
        let ledger = open_expiring(folder.path());
        let scratch = tempfile::tempdir().unwrap();
        let verdict = verify(&ledger, scratch.path(), Arc::new(|_, _| {})).await.unwrap();
        assert!(verdict.equal, "round {round}: {verdict:?}");
        let counted = usize::try_from(child::sent(&ledger).await).unwrap();
        // What was recorded and not yet told when it died counts, too: one batch at most.
        let added = counted - before;
        assert!(added >= acknowledged, "round {round}: {added} of {acknowledged}");
        assert!(added <= acknowledged + 10, "round {round}: {added} of {acknowledged}");
        before = counted;
        from.insert(verdict.from);
    }
    assert!(from.len() > 2, "it began at {from:?}");
}
