//! No room: what cannot be stored is refused, what was acknowledged stays, and when there is room
//! the same process goes on, or the next one, if this one is killed meanwhile. The disk is made full by the limit on the size of files, which
//! `prlimit` (util-linux) changes while the process runs.
#![expect(clippy::unwrap_used, reason = "these are tests")]

mod child;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command};

use tokio::signal::unix::{SignalKind, signal};
use twoticks_store::error::Error;
use twoticks_store::ledger::Ledger;
use twoticks_store::verify::verify;

/// SIGXFSZ, which ends a process that does not handle it; handled, the write fails with EFBIG.
const FILE_SIZE_EXCEEDED: i32 = 25;
/// Far below the 64 MiB that the engine allocates ahead, above what is written at the start.
const FILE_BYTES_MAX: u64 = 512 << 10;
/// How many messages one batch has.
const BATCH: u32 = 50;
const ROUNDS: u32 = 50;
/// How many batches are recorded when there is room again.
const AFTERWARDS: u32 = 5;

/// The child: records until it is refused, waits for a word, goes on.
fn records_until_there_is_no_room(folder: &Path, round: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let _handled = signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED)).unwrap();
        let ledger = child::open(folder);
        let before = child::sent(&ledger).await;
        let mut taken = 0;
        ledger.record(child::batch(round, 0, 0, BATCH)).await.unwrap();
        taken += BATCH;
        say(&format!("ready {before}"));
        heard();
        let refused = loop {
            match ledger.record(child::batch(round, 0, taken, BATCH)).await {
                Ok(_) => taken += BATCH,
                // The fold cannot write either, and falls behind.
                Err(Error::Busy { .. }) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, Error::Full { .. }), "{refused:?}");
        // Refused again, and nothing is acknowledged that is not stored.
        for _ in 0..3 {
            let again = ledger.record(child::batch(round, 0, taken, BATCH)).await;
            assert!(matches!(again, Err(Error::Full { .. } | Error::Busy { .. })), "{again:?}");
        }
        say(&format!("full {taken}"));
        heard();
        for _ in 0..AFTERWARDS {
            loop {
                match ledger.record(child::batch(round, 0, taken, BATCH)).await {
                    Ok(_) => break taken += BATCH,
                    Err(Error::Busy { .. }) => tokio::task::yield_now().await,
                    Err(error) => unreachable!("{error:?}"),
                }
            }
        }
        assert_eq!(child::sent(&ledger).await, before + i64::from(taken));
        if round.is_multiple_of(10) {
            let scratch = tempfile::tempdir().unwrap();
            let verdict =
                verify(&ledger, scratch.path(), std::sync::Arc::new(|_, _| {})).await.unwrap();
            assert!(verdict.equal);
        }
        say(&format!("done {taken}"));
        ledger.close().await.unwrap();
    });
}

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "child: {word}").unwrap();
    out.flush().unwrap();
}

fn heard() {
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Waits until the child says something that begins with `word`; the number behind it.
fn wait_for(out: &mut impl BufRead, word: &str) -> u32 {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(out.read_line(&mut line).unwrap() > 0, "the child ended before `{word}`");
        if let Some((_, said)) = line.trim_end().split_once("child: ") {
            let number = said.strip_prefix(word);
            let number = number.unwrap_or_else(|| unreachable!("`{said}` instead of `{word}`"));
            return number.trim().parse().unwrap_or(0);
        }
    }
}

fn limit_files(child: &Child, bytes: &str) -> bool {
    let pid = child.id().to_string();
    let soft = format!("--fsize={bytes}:unlimited");
    match Command::new("prlimit").args(["--pid", &pid, &soft]).status() {
        Ok(status) => status.success(),
        Err(_) => false,
    }
}

#[test]
fn a_full_disk_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    const NAME: &str = "a_full_disk_refuses_loses_nothing_and_goes_on_when_there_is_room";
    if let Some((folder, round)) = child::told() {
        return records_until_there_is_no_room(Path::new(&folder), round);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut taken = 0;
    for round in 0..ROUNDS {
        let mut child = child::start(NAME, folder.path(), round);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut talk = child.stdin.take().unwrap();
        assert_eq!(wait_for(&mut out, "ready"), taken, "round {round}");
        if !limit_files(&child, &FILE_BYTES_MAX.to_string()) {
            eprintln!("SKIPPED: `prlimit` of util-linux is not there or may not be used");
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        }
        writeln!(talk, "go").unwrap();
        let before = wait_for(&mut out, "full");
        assert!(before >= BATCH);
        if round % 3 == 2 {
            child.kill().unwrap();
            child.wait().unwrap();
            taken += before;
            continue;
        }
        assert!(limit_files(&child, "unlimited"));
        writeln!(talk, "go").unwrap();
        let after = wait_for(&mut out, "done");
        assert_eq!(after, before + AFTERWARDS * BATCH);
        assert!(child.wait().unwrap().success());
        taken += after;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ledger = child::open(folder.path());
    assert_eq!(runtime.block_on(child::sent(&ledger)), i64::from(taken));
    runtime.block_on(ledger.close()).unwrap();
}
