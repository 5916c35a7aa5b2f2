//! What is left of messages and taps whose state has expired: that they were there, and until when.
//!
//! A tombstone takes 15 bytes: ten of the fingerprint of its key, and five of its last touch, in
//! milliseconds since before its span begins. They lie in a table for each span of acceptance
//! time ([`PIECE`]), by the first two bytes of the fingerprint: a row has all that begin
//! with them, sorted. A fingerprint is 96 bits of xxh3: that two of a thousand million keys share
//! one has odds of one in 10^11, and what it would do is to count a status as late.
//!
//! What always holds: a table of states is dropped after all its tombstones are on disk; a process
//! that dies in between has both, which say the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable as _};
use twoticks_core::clock::Time;
use twoticks_core::message::BACKDATED_MAX;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::digest::Table;
use crate::embedded::filter::Filter;
use crate::embedded::pieces::{PIECE, Stored};
use crate::embedded::tables::{engine_error, layout_error};
use crate::error::Error;
use crate::layout::{self, LayoutError, VALUE_VERSION};

/// What a tombstone takes in its row.
const BYTES: usize = 15;
/// A row may have been touched so long before its span, in milliseconds: it was back-dated.
const BEFORE: i64 = 2 * BACKDATED_MAX;
/// The latest touch that can be told.
const SINCE_MAX: i64 = (1 << 40) - 1;
/// What these tables are called, before their epoch.
pub(crate) const NAME: &str = "tombstones-";

/// A key, in 96 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 12]);

impl Fingerprint {
    /// That of a key in a table of messages or taps.
    pub(crate) fn of(table: Table, key: &[u8]) -> Self {
        let [bytes @ .., _, _, _, _] = xxh3_128_with_seed(key, table as u64).to_be_bytes();
        Self(bytes)
    }

    /// By what filters know it.
    pub(crate) fn hash(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn split(self) -> ([u8; 2], [u8; 10]) {
        let [a, b, rest @ ..] = self.0;
        ([a, b], rest)
    }
}

/// The tombstones of one span of acceptance time.
#[derive(Clone)]
pub(crate) struct Tombstones {
    /// Which span: the time divided by [`PIECE`].
    pub(crate) epoch: i64,
    pub(crate) rows: Keyspace,
    /// Which keys it may have.
    pub(crate) filter: Arc<Filter>,
}

impl Tombstones {
    pub(crate) fn open(db: &Database, epoch: i64, filter: Filter) -> fjall::Result<Self> {
        let name = format!("{NAME}{epoch}");
        let rows = db.keyspace(&name, KeyspaceCreateOptions::default)?;
        Ok(Self { epoch, rows, filter: Arc::new(filter) })
    }

    /// When the key was touched last, if it has a tombstone here.
    pub(crate) fn find(&self, of: Fingerprint) -> Result<Option<Time>, Error> {
        if !self.filter.may_have(of.hash()) {
            return Ok(None);
        }
        let (bucket, rest) = of.split();
        let Some(row) = self.rows.get(bucket).map_err(engine_error)? else { return Ok(None) };
        let stones = read(&row).map_err(|error| layout_error(error, Path::new("tombstones")))?;
        let found = stones.binary_search_by(|stone| key_of(stone).cmp(&rest)).ok();
        Ok(found.and_then(|index| stones.get(index)).map(|stone| touched_of(stone, self.epoch)))
    }

    /// Puts tombstones beside those that are there, in one step that is on disk when it returns.
    ///
    /// They go into a file at once and not through the engine's own journal: the states are dropped
    /// next, and of a journal that has been cut off nobody would notice that they had been in it.
    pub(crate) fn put(&self, stones: &[(Fingerprint, Time)]) -> Result<(), Error> {
        let mut buckets: BTreeMap<[u8; 2], Vec<[u8; BYTES]>> = BTreeMap::new();
        for (of, touched) in stones {
            let (bucket, rest) = of.split();
            let since = (touched.0 - self.epoch * PIECE + BEFORE).clamp(0, SINCE_MAX);
            let [_, _, _, since @ ..] = since.to_be_bytes();
            let mut stone = [0; BYTES];
            let parts = rest.into_iter().chain(since);
            stone.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
            buckets.entry(bucket).or_default().push(stone);
        }
        // Before anybody could look for them here.
        self.filter.insert(stones.iter().map(|(of, _)| of.hash()));
        let mut filling = self.rows.start_ingestion().map_err(engine_error)?;
        for (bucket, mut stones) in buckets {
            if let Some(row) = self.rows.get(bucket).map_err(engine_error)? {
                let known =
                    read(&row).map_err(|error| layout_error(error, Path::new("tombstones")))?;
                stones.extend_from_slice(known);
            }
            // Of one key the later touch stands; it comes second.
            stones.sort_unstable();
            stones.reverse();
            stones.dedup_by(|one, two| key_of(one) == key_of(two));
            stones.reverse();
            let mut row = vec![VALUE_VERSION];
            row.extend(stones.iter().flatten());
            filling.write(bucket, row).map_err(engine_error)?;
        }
        filling.finish().map_err(engine_error)
    }

    /// How many there are at most, about.
    pub(crate) fn about(&self) -> usize {
        // They are on disk before anything else is done with them.
        usize::try_from(self.rows.disk_space()).unwrap_or(usize::MAX) / BYTES
    }

    /// What its keys and rows take, before the engine's own.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> Result<usize, Error> {
        let mut bytes = 0;
        for guard in self.rows.iter() {
            let (key, row) = guard.into_inner().map_err(engine_error)?;
            bytes += key.len() + row.len();
        }
        Ok(bytes)
    }

    /// Takes the tombstones of a row that is about to be put here into the filter.
    pub(crate) fn know(&self, bucket: &[u8], row: &[u8]) -> Result<(), Error> {
        let damaged = |error| layout_error(error, Path::new("snapshot"));
        let bucket = <[u8; 2]>::try_from(bucket).map_err(|_| damaged(LayoutError::Key))?;
        let stones = read(row).map_err(damaged)?;
        self.filter.insert(stones.iter().map(|stone| hash_of(bucket, stone)));
        Ok(())
    }

    /// What filters know its keys by, of the rows behind `from`, about `most`; where to go on.
    pub(crate) fn hashes(
        &self,
        db: &Database,
        from: Option<[u8; 2]>,
        most: usize,
    ) -> Result<(Vec<u64>, Option<[u8; 2]>), Error> {
        let mut hashes = Vec::new();
        let start = from.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        for guard in db.snapshot().range(&self.rows, (start, std::ops::Bound::Unbounded)) {
            let (key, row) = guard.into_inner().map_err(engine_error)?;
            let damaged = |error| layout_error(error, Path::new("tombstones"));
            let bucket = <[u8; 2]>::try_from(&*key).map_err(|_| damaged(LayoutError::Key))?;
            hashes.extend(read(&row).map_err(damaged)?.iter().map(|stone| hash_of(bucket, stone)));
            if hashes.len() >= most {
                return Ok((hashes, Some(bucket)));
            }
        }
        Ok((hashes, None))
    }
}

/// The rows of several tables of tombstones, as snapshots have them: sorted by span, then bucket.
pub(crate) struct StoneRows {
    /// The last one first.
    tables: Vec<(i64, fjall::Iter)>,
}

impl StoneRows {
    /// Those of `all` in `snapshot`, from the one with the key `from` on.
    pub(crate) fn new(snapshot: &fjall::Snapshot, all: &[Tombstones], from: &[u8]) -> Self {
        let first = layout::read_tombstones(from).ok();
        // The newest come first in `all`, and last here.
        let tables = all.iter().filter_map(|tombstones| {
            let start = match first {
                Some((epoch, _)) if tombstones.epoch < epoch => return None,
                Some((epoch, bucket)) if tombstones.epoch == epoch => bucket.to_vec(),
                _ => Vec::new(),
            };
            Some((tombstones.epoch, snapshot.range(&tombstones.rows, start..)))
        });
        Self { tables: tables.collect() }
    }
}

impl Iterator for StoneRows {
    type Item = Result<Stored, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (epoch, rows) = self.tables.last_mut()?;
            match rows.next().map(fjall::Guard::into_inner) {
                Some(Err(error)) => return Some(Err(engine_error(error))),
                Some(Ok((bucket, row))) => {
                    let key = layout::tombstones(*epoch, &bucket);
                    return Some(Ok((key.into(), row)));
                }
                None => drop(self.tables.pop()),
            }
        }
    }
}

/// The tombstones of a row.
fn read(row: &[u8]) -> Result<&[[u8; BYTES]], LayoutError> {
    match layout::versioned(row)?.as_chunks() {
        (stones, []) => Ok(stones),
        _ => Err(LayoutError::Row),
    }
}

fn hash_of([a, b]: [u8; 2], stone: &[u8; BYTES]) -> u64 {
    let [c, d, e, f, g, h, ..] = key_of(stone);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn key_of(stone: &[u8; BYTES]) -> [u8; 10] {
    let [key @ .., _, _, _, _, _] = *stone;
    key
}

fn touched_of(stone: &[u8; BYTES], epoch: i64) -> Time {
    let [.., a, b, c, d, e] = *stone;
    Time(epoch * PIECE - BEFORE + i64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
}
