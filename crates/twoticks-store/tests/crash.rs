//! A process that records under load is killed at any moment, over and over, on the same folder:
//! what it acknowledged is there, once.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod child;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use twoticks_core::event::Event;
use twoticks_store::ledger::Ledger;
use twoticks_store::verify::verify;

const ROUNDS: u32 = 10;
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

/// Runs the child until it has acknowledged `lines` times, and kills it. What it acknowledged.
fn killed_after(lines: usize, folder: &Path, round: u32) -> Vec<(u64, String)> {
    let mut child =
        child::start("what_was_acknowledged_is_there_once_after_any_kill", folder, round);
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
        // Some die in the first moments, some with overlays being committed.
        let lines =
            1 + usize::from(u16::from_le_bytes(random)) % if round % 3 == 0 { 20 } else { 400 };
        for (position, body) in killed_after(lines, folder.path(), round) {
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
        let scratch = tempfile::tempdir().unwrap();
        let verdict = verify(&ledger, scratch.path(), Arc::new(|_, _| {})).await.unwrap();
        assert!(verdict.equal, "round {round}: {verdict:?}");
        assert_eq!(verdict.entries, next - 1);
        if round % 2 == 0 {
            ledger.close().await.unwrap();
        }
    }
}
