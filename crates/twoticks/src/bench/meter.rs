//! What a process and the disk have done so far, from `/proc`, and how long an fsync takes.
//!
//! Processor time is that of all threads, those that have ended included, in steps of 10 ms; that
//! of one thread is in nanoseconds. What always holds: a value that cannot be read is an error,
//! never a zero.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// `USER_HZ`, which is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// How many times an fsync is measured.
const SYNCS: usize = 400;
/// What is written before each.
const SYNC_BYTES: usize = 4_096;

/// Where a process is looked up.
pub(super) enum Whose {
    Own,
    Of(u32),
}

impl Whose {
    fn read(&self, file: &str) -> Result<String> {
        let path = match self {
            Self::Own => format!("/proc/self/{file}"),
            Self::Of(id) => format!("/proc/{id}/{file}"),
        };
        std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))
    }

    /// Seconds of processor time of all its threads.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The name in front may have blanks; it ends with the last bracket.
        let (_, fields) = stat.rsplit_once(')').context("`stat` is not as documented")?;
        let ticks: Vec<f64> =
            fields.split_whitespace().skip(11).take(2).filter_map(|it| it.parse().ok()).collect();
        match ticks.as_slice() {
            [user, system] => Ok((user + system) / TICKS_PER_SECOND),
            _ => anyhow::bail!("`stat` is not as documented"),
        }
    }

    /// Bytes that it has given to `write` and its kin, and those that went to the disk.
    pub(super) fn written_bytes(&self) -> Result<(u64, u64)> {
        let io = self.read("io")?;
        Ok((field(&io, "wchar:")?, field(&io, "write_bytes:")?))
    }

    pub(super) fn memory(&self) -> Result<Memory> {
        let status = self.read("status")?;
        Ok(Memory {
            peak_mb: field(&status, "VmHWM:")? / 1_024,
            anonymous_mb: field(&status, "RssAnon:")? / 1_024,
        })
    }
}

/// What a process holds in memory.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The most that was resident at once (`VmHWM`), pages of files included.
    pub(super) peak_mb: u64,
    /// What is resident now and is no page of a file (`RssAnon`).
    pub(super) anonymous_mb: u64,
}

fn field(text: &str, name: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).with_context(|| format!("there is no `{name}`"))
}

/// Nanoseconds of processor time of the thread that asks.
pub(super) fn thread_nanoseconds() -> Result<u64> {
    let path = "/proc/thread-self/schedstat";
    let stat = std::fs::read_to_string(path).with_context(|| format!("cannot read `{path}`"))?;
    let first = stat.split_whitespace().next().and_then(|it| it.parse().ok());
    first.context("`schedstat` is not as documented")
}

/// What the files in `folder` take on the disk; nothing if it is not there.
pub(super) fn kept_bytes(folder: &Path) -> Result<u64> {
    let mut kept = 0;
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).context("cannot look through what was written"),
    };
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        kept +=
            if metadata.is_dir() { kept_bytes(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(kept)
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Times {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Times {
    pub(super) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |permille: usize| {
            let index = (all.len() * permille / 1_000).min(all.len().saturating_sub(1));
            all.get(index).map_or(0.0, |it| it.as_secs_f64() * 1e3)
        };
        Self { p50_ms: at(500), p99_ms: at(990), max_ms: at(1_000) }
    }
}

/// How long it takes until 4 KiB more of a file in `folder` are on the disk. Blocks.
pub(super) fn fsync(folder: &Path) -> Result<Times> {
    let path = folder.join("fsync");
    let mut file = File::create(&path)?;
    let block = [7; SYNC_BYTES];
    let mut all = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&block)?;
        let begun = Instant::now();
        file.sync_data()?;
        all.push(begun.elapsed());
    }
    std::fs::remove_file(&path)?;
    Ok(Times::of(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_what_it_has_done() {
        let before = thread_nanoseconds().unwrap();
        let spent: u64 = (0..1_000_000_u64).fold(0, |all, it| all ^ it.wrapping_mul(all | 1));
        assert!(std::hint::black_box(spent) != 1);
        assert!(thread_nanoseconds().unwrap() > before);
        assert!(Whose::Own.cpu_seconds().unwrap() >= 0.0);
        assert!(Whose::Own.memory().unwrap().peak_mb > 0);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), [1; 5_000]).unwrap();
        assert!(kept_bytes(folder.path()).unwrap() >= 5_000);
        assert_eq!(kept_bytes(&folder.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted() {
        let times = Times::of((1..=1_000).rev().map(Duration::from_millis).collect());
        assert_eq!((times.p50_ms, times.p99_ms, times.max_ms), (501.0, 991.0, 1_000.0));
    }
}
