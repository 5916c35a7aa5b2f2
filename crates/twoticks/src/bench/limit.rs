//! The limit of the store (Y1): append, sync, count in memory. What no ledger can be faster than.
//!
//! The same batches, the same compression of the same bodies, the same policy of syncing: what is
//! waiting, at most as many batches as are in flight, is written at once and synced once, then
//! counted. Nothing can be asked, nothing is recovered, memory has no bound. It gets its facts in
//! the smallest form there is, with names as numbers, and its maps are made as large as they will
//! become: it is to be as fast as we can make it.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::feed::{Fact, Facts, Feed, NO_TEMPLATE, Names, Spec};
use super::meter::{Memory, Whose};
use super::store::IN_FLIGHT;

/// As the ledger's journal has it.
const ZSTD_LEVEL: i32 = 1;
/// What an event takes in the file.
const FACT_BYTES: usize = 32;

/// What the limit did.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Limit {
    pub(super) events: u64,
    pub(super) messages: u64,
    pub(super) cpu_us_per_event: f64,
    pub(super) events_per_s: f64,
    pub(super) bytes_written_per_event: f64,
    /// The sum of its totals by number, for comparing.
    pub(super) counted: u64,
    pub(super) memory: Memory,
}

/// Feeds the events of `spec` to the limit, in `folder`. Blocks.
pub(super) fn run(spec: &Spec, compress: bool, folder: &Path) -> Result<Limit> {
    let path = folder.join("limit");
    let mut file = File::create(&path).context("cannot make the limit's file")?;
    let names = Names::of(spec);
    let (cpu, written) = (Whose::Own.cpu_seconds()?, Whose::Own.written_bytes()?.0);
    let mut counts = Counts::with_room_for(spec.messages);
    let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
    let feed = Feed::start(spec, move |batch| names.facts(batch), None)?;
    let (mut events, mut busy) = (0, Duration::ZERO);
    let (mut out, mut packed) = (Vec::new(), Vec::new());
    while let Some(pulse) = feed.next() {
        let begun = Instant::now();
        for group in pulse.batches.chunks(IN_FLIGHT) {
            out.clear();
            for Facts { facts, body } in group {
                append(&mut out, facts);
                if compress {
                    packed.clear();
                    packed.reserve(zstd::zstd_safe::compress_bound(body.len()));
                    compressor.compress_to_buffer(body, &mut packed)?;
                    out.extend_from_slice(&packed);
                }
            }
            file.write_all(&out)?;
            file.sync_data()?;
            for Facts { facts, body: _ } in group {
                events += facts.len() as u64;
                facts.iter().for_each(|fact| counts.count(fact));
            }
        }
        busy += begun.elapsed();
        feed.done(pulse.batches);
    }
    let cpu = Whose::Own.cpu_seconds()? - cpu;
    let written = Whose::Own.written_bytes()?.0 - written;
    // The feeder has nothing to do but to free what is given back from here on.
    let cpu = cpu - feed.end()?;
    std::fs::remove_file(&path)?;
    let per_event = |value: f64| value / (events as f64).max(1.0);
    Ok(Limit {
        events,
        messages: spec.messages,
        cpu_us_per_event: per_event(cpu * 1e6),
        events_per_s: events as f64 / busy.as_secs_f64(),
        bytes_written_per_event: per_event(written as f64),
        counted: counts.sum(),
        memory: Whose::Own.memory()?,
    })
}

/// The events, as plain as can be.
fn append(out: &mut Vec<u8>, facts: &[Fact]) {
    out.reserve(facts.len() * FACT_BYTES);
    for fact in facts {
        let [low, high] = fact.id;
        let rest =
            u64::from(fact.number) << 32 | u64::from(fact.template) << 8 | u64::from(fact.what);
        let mut bytes = [0; FACT_BYTES];
        let words = [low, high, fact.time.0.cast_unsigned(), rest];
        let (places, _) = bytes.as_chunks_mut();
        for (place, word) in places.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        out.extend_from_slice(&bytes);
    }
}

type Fast<K, V> = HashMap<K, V, BuildHasherDefault<Mixed>>;

/// What is known of every message, and the totals.
struct Counts {
    /// Which statuses of a message, or tap, have been counted: one bit each.
    seen: Fast<[u64; 2], u8>,
    /// By number and quarter of an hour.
    numbers: Fast<u64, [u32; 8]>,
    /// By template and quarter of an hour. (A code has one language and one channel.)
    templates: Fast<u64, [u32; 8]>,
}

impl Counts {
    fn with_room_for(messages: u64) -> Self {
        // A sixth more for taps, which have ids of their own.
        let room = usize::try_from(messages + messages / 6).unwrap_or(0);
        Self {
            seen: Fast::with_capacity_and_hasher(room, BuildHasherDefault::default()),
            numbers: Fast::default(),
            templates: Fast::default(),
        }
    }

    fn count(&mut self, fact: &Fact) {
        let seen = self.seen.entry(fact.id).or_default();
        let bit = 1 << fact.what;
        if *seen & bit != 0 {
            return;
        }
        *seen |= bit;
        let atom = u64::from(fact.atom().cast_unsigned());
        let add = |totals: &mut Fast<u64, [u32; 8]>, whose: u16| {
            let sums = totals.entry(u64::from(whose) << 32 | atom).or_default();
            if let Some(sum) = sums.get_mut(usize::from(fact.what)) {
                *sum += 1;
            }
        };
        add(&mut self.numbers, fact.number);
        if fact.template != NO_TEMPLATE {
            add(&mut self.templates, fact.template);
        }
    }

    fn sum(&self) -> u64 {
        self.numbers.values().flatten().map(|sum| u64::from(*sum)).sum()
    }
}

/// Ids are hashes already, and the rest are small numbers: one multiplication mixes them.
#[derive(Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    // The length of an array of a fixed length says nothing.
    fn write_usize(&mut self, _: usize) {}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_limit_counts_each_status_of_a_message_once() {
        let spec = Spec::mixed(20_000);
        let names = Names::of(&spec);
        let feed = Feed::start(&spec, move |batch| names.facts(batch), None).unwrap();
        let (mut model, mut counted, mut events) = (BTreeSet::new(), 0, 0);
        while let Some(pulse) = feed.next() {
            for fact in pulse.batches.iter().flat_map(|it| &it.facts) {
                events += 1;
                counted += u64::from(model.insert((fact.id, fact.what)));
            }
        }
        feed.end().unwrap();
        let folder = tempfile::tempdir().unwrap();
        for compress in [true, false] {
            let limit = run(&spec, compress, folder.path()).unwrap();
            assert_eq!((limit.events, limit.counted), (events, counted));
            assert!(limit.bytes_written_per_event >= FACT_BYTES as f64);
        }
    }
}
