//! Making what says which messages and taps there may be, and keeping it within its share of
//! memory.
//!
//! At the start those that were kept of what does not change any more are taken, and the filters of
//! all else in the tables are made; whenever nothing is put into a
//! piece any more, its filter is made anew from its keys: smaller, and with fewer that seem to be
//! there. What always holds: a key is known before anybody could look for it; a filter takes the
//! place of another when it has all keys of that, which do not change any more; what several
//! pieces have seen excludes nothing until it has all keys of all of them; what has no room is made
//! narrower or let go of, and then the engine is asked.

use std::ops::Bound;
use std::sync::{Arc, PoisonError, Weak};

use fjall::Slice;

use crate::digest::Table;
use crate::embedded::filter::{Filter, part_of, parts, parts_for};
use crate::embedded::pieces::{Piece, PieceId, Pieces, keys};
use crate::embedded::recalled;
use crate::embedded::ribbon::Ribbon;
use crate::embedded::tables::{Tables, engine_error};
use crate::embedded::tombstones::{Fingerprint, Tombstones};
use crate::error::Error;

/// How many keys are read at a time: meanwhile the engine lets go of nothing that is written.
const STEP: usize = if cfg!(test) { 8 } else { 16_384 };

/// What is known without asking the engine, at some moment.
pub(crate) struct Filters {
    pieces: Pieces,
    tombstones: Arc<[Tombstones]>,
}

impl Filters {
    /// Whether something can be known of the message with this key.
    pub(crate) fn may_have(&self, key: &[u8]) -> bool {
        let hash = Fingerprint::of(Table::Messages, key).hash();
        asked(&self.pieces, hash).next().is_some()
            || self.tombstones.iter().any(|tombstones| tombstones.filter.may_have(hash))
    }
}

/// Those of `pieces` that may have a key with this hash.
pub(super) fn asked(pieces: &[Piece], hash: u64) -> impl Iterator<Item = &Piece> {
    let together = pieces.chunk_by(|one, two| Arc::ptr_eq(&one.seen, &two.seen));
    let together =
        together.filter(move |these| these.iter().take(1).all(|it| it.seen.may_have(hash)));
    together.flatten().filter(move |piece| piece.filter.may_have(hash))
}

/// A filter that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// That of the piece that is written to, which goes on growing.
    Newest(PieceId),
    /// That of a piece that nothing is put into any more.
    Piece(PieceId),
    /// That of the tombstones of an epoch which has pieces, so that more can come.
    Growing(i64),
    /// That of the tombstones of an epoch which has no pieces any more.
    Tombstones(i64),
}

/// Where the making of filters is.
#[derive(Default)]
pub(crate) struct Filling {
    /// Of which tables; those that were opened again know nothing.
    opened: Weak<()>,
    task: Option<Task>,
    /// Behind which key it goes on.
    from: Option<Slice>,
    /// How often all keys are read, each time to make some parts of the filter, and how many.
    passes: usize,
    parts_each: usize,
    parts: Vec<Ribbon>,
    /// The keys that the parts have which are made now.
    hashes: Vec<u64>,
}

impl Filling {
    fn begin(&mut self, task: Task, keys: usize, at_a_time: usize) {
        let passes = keys.div_ceil(at_a_time.max(1)).max(1);
        let parts_each = parts_for(keys.div_ceil(passes));
        let opened = std::mem::take(&mut self.opened);
        *self = Self { opened, task: Some(task), passes, parts_each, ..Self::default() };
    }

    /// How many passes there have been.
    fn passed(&self) -> usize {
        self.parts.len() / self.parts_each
    }

    /// Takes a key if it is of this pass.
    fn take(&mut self, hash: u64) {
        let (pass, rest) = part_of(hash, self.passes);
        if pass == self.passed() {
            self.hashes.push(rest);
        }
    }

    fn end_pass(&mut self) {
        self.parts.extend(parts(std::mem::take(&mut self.hashes), self.parts_each));
        self.from = None;
    }

    /// The filter, if all its parts are made.
    fn end(&mut self) -> Option<Filter> {
        let is_whole = self.passed() == self.passes;
        is_whole.then(|| Filter::closed(std::mem::take(self).parts))
    }
}

impl Tables {
    /// The filters that there are now.
    pub(crate) fn filters(&self) -> Filters {
        Filters { pieces: self.pieces(), tombstones: self.tombstones() }
    }

    /// Goes on making filters; whether there is more to do.
    pub(crate) fn fill_filters(&self, filling: &mut Filling) -> Result<bool, Error> {
        let opened = Arc::downgrade(&self.opened);
        if !opened.ptr_eq(&filling.opened) {
            *filling = Filling { opened, ..Filling::default() };
        }
        let tasks = self.tasks();
        // What has been begun is made to its end if it is still wanted.
        let begun = tasks.iter().find(|task| filling.task == Some(**task));
        let Some(task) = begun.or(tasks.first()).copied() else {
            *filling = Filling::default();
            return Ok(false);
        };
        let (pieces, tombstones) = (self.pieces(), self.tombstones());
        match task {
            Task::Newest(id) | Task::Piece(id) => {
                if let Some(piece) = pieces.iter().find(|piece| piece.id() == id) {
                    self.fill_piece(filling, task, piece)?;
                }
            }
            Task::Growing(epoch) | Task::Tombstones(epoch) => {
                if let Some(of) = tombstones.iter().find(|of| of.epoch == epoch) {
                    self.fill_tombstones_of(filling, task, of)?;
                }
            }
        }
        Ok(true)
    }

    /// The filters that are to be made, the most wanted first.
    fn tasks(&self) -> Vec<Task> {
        let (pieces, tombstones) = (self.pieces(), self.tombstones());
        let of_pieces = pieces.iter().enumerate().filter_map(|(age, piece)| match age {
            // Only the newest is written to.
            0 => piece.filter.is_wanted().then(|| Task::Newest(piece.id())),
            _ => {
                let is_done = piece.filter.is_closed() && !piece.filter.is_recalled();
                (!is_done).then(|| Task::Piece(piece.id()))
            }
        });
        let of_tombstones = tombstones.iter().filter_map(|of| {
            let (epoch, filter) = (of.epoch, &of.filter);
            if pieces.iter().any(|piece| piece.epoch <= epoch) {
                return filter.is_wanted().then_some(Task::Growing(epoch));
            }
            (!filter.is_closed()).then_some(Task::Tombstones(epoch))
        });
        of_pieces.chain(of_tombstones).collect()
    }

    fn fill_piece(&self, filling: &mut Filling, task: Task, piece: &Piece) -> Result<(), Error> {
        if filling.task != Some(task) {
            filling.begin(task, keys(&piece.messages, &piece.taps), self.memory.filling);
        }
        let start = filling.from.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut read = 0;
        let mut hashes = Vec::with_capacity(STEP);
        for guard in piece.messages.range::<Slice, _>((start, Bound::Unbounded)).take(STEP) {
            let key = guard.key().map_err(engine_error)?;
            hashes.push(Fingerprint::of(Table::Messages, &key).hash());
            filling.from = Some(key);
            read += 1;
        }
        let is_end = read < STEP;
        if is_end {
            // Taps are few beside the messages.
            for guard in piece.taps.iter() {
                let key = guard.key().map_err(engine_error)?;
                hashes.push(Fingerprint::of(Table::Taps, &key).hash());
            }
        }
        if let Task::Newest(_) = task {
            piece.know(&hashes);
            if is_end {
                piece.filter.finish();
                finish_seen(&self.pieces());
            }
            return Ok(());
        }
        piece.seen.insert(hashes.iter().copied());
        if piece.filter.is_recalled() {
            if is_end {
                self.change(piece.id(), |piece| piece.filter.tell());
            }
            return Ok(());
        }
        hashes.into_iter().for_each(|hash| filling.take(hash));
        if is_end {
            filling.end_pass();
            if let Some(filter) = filling.end() {
                self.know(piece.id(), filter);
            }
        }
        Ok(())
    }

    fn fill_tombstones_of(
        &self,
        filling: &mut Filling,
        task: Task,
        of: &Tombstones,
    ) -> Result<(), Error> {
        if filling.task != Some(task) {
            filling.begin(task, of.about(), self.memory.filling);
        }
        let from = filling.from.take().and_then(|key| <[u8; 2]>::try_from(&*key).ok());
        let (hashes, next) = of.hashes(&self.db, from, STEP)?;
        if let Task::Growing(_) = task {
            of.filter.insert(hashes.into_iter());
            if next.is_none() {
                of.filter.finish();
            }
        } else {
            for hash in hashes {
                // They come sorted, so that they are read once.
                while part_of(hash, filling.passes).0 > filling.passed() {
                    filling.end_pass();
                }
                filling.take(hash);
            }
            while next.is_none() && filling.passed() < filling.passes {
                filling.end_pass();
            }
            if let Some(filter) = filling.end() {
                recalled::keep(&self.folder, &name_of_stones(of.epoch), &filter);
                self.know_tombstones(of.epoch, filter);
                return Ok(());
            }
        }
        filling.from = next.map(Slice::from);
        Ok(())
    }

    /// Takes the filters that were kept: what is to be taken in at a start asks for them first of
    /// all. They do not say what several pieces have seen: that is told by the keys later.
    pub(super) fn recall(&self) {
        let (pieces, tombstones) = (self.pieces(), self.tombstones());
        // The newest is written to.
        let closed = pieces.iter().skip(1).map(Piece::id);
        let closed: Vec<(PieceId, String)> = closed.map(|id| (id, name_of(id))).collect();
        let over = tombstones.iter().map(|of| of.epoch);
        let over = over.filter(|epoch| !pieces.iter().any(|piece| piece.epoch <= *epoch));
        let over: Vec<(i64, String)> = over.map(|epoch| (epoch, name_of_stones(epoch))).collect();
        for (id, name) in &closed {
            if let Some(filter) = recalled::read(&self.folder, name) {
                self.take_in(*id, filter.recalled());
            }
        }
        for (epoch, name) in &over {
            if let Some(filter) = recalled::read(&self.folder, name) {
                self.know_tombstones(*epoch, filter);
            }
        }
        let closed = closed.into_iter().map(|(_, name)| name);
        let names: Vec<String> = closed.chain(over.into_iter().map(|(_, name)| name)).collect();
        recalled::keep_only(&self.folder, &names);
    }

    /// From now on `filter`, which was made of the keys of a piece that nothing is put into any
    /// more, says what it has.
    pub(super) fn know(&self, id: PieceId, filter: Filter) {
        recalled::keep(&self.folder, &name_of(id), &filter);
        self.take_in(id, filter);
    }

    fn take_in(&self, id: PieceId, filter: Filter) {
        self.change(id, |piece| piece.filter = Arc::new(filter));
    }

    /// Changes what is known of a piece, and has it fit into memory.
    fn change(&self, id: PieceId, change: impl FnOnce(&mut Piece)) {
        let mut pieces = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::clone(&pieces);
        if let Some(piece) = all.iter_mut().find(|piece| piece.id() == id) {
            change(piece);
            finish_seen(&all);
            self.fit_filters(&mut all);
            *pieces = Arc::new(all);
        }
    }

    fn know_tombstones(&self, epoch: i64, filter: Filter) {
        let mut pieces = self.pieces.write().unwrap_or_else(PoisonError::into_inner);
        let mut tombstones = self.tombstones.write().unwrap_or_else(PoisonError::into_inner);
        let mut known = tombstones.to_vec();
        if let Some(of) = known.iter_mut().find(|of| of.epoch == epoch) {
            of.filter = Arc::new(filter);
        }
        *tombstones = known.into();
        drop(tombstones);
        let mut all = Vec::clone(&pieces);
        self.fit_filters(&mut all);
        *pieces = Arc::new(all);
    }

    /// Makes filters narrower, the widest first, and lets go of those of what is oldest when that
    /// does not help, until there is memory for all.
    pub(super) fn fit_filters(&self, pieces: &mut [Piece]) {
        let mut tombstones = self.tombstones.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = tombstones.to_vec();
        let seen: usize = pieces
            .chunk_by(|one, two| Arc::ptr_eq(&one.seen, &two.seen))
            .filter_map(|these| these.first().map(|piece| piece.seen.bytes()))
            .sum();
        let pieces = pieces.iter_mut().map(|of| (of.epoch, &mut of.filter));
        let old = all.iter_mut().map(|of| (of.epoch, &mut of.filter));
        // The newest first.
        let mut filters: Vec<_> = pieces.chain(old).collect();
        let mut bytes = seen + filters.iter().map(|(_, filter)| filter.bytes()).sum::<usize>();
        while bytes > self.memory.filters {
            let wide = filters.iter_mut().filter(|(_, filter)| filter.spare_columns() > 0);
            if let Some((_, filter)) = wide.max_by_key(|(_, filter)| filter.spare_columns()) {
                bytes -= filter.bytes();
                **filter = Arc::new(filter.narrower());
                bytes += filter.bytes();
                continue;
            }
            let Some((epoch, filter)) = filters.iter_mut().rfind(|(_, it)| it.bytes() > 0) else {
                break;
            };
            bytes -= filter.bytes();
            **filter = Arc::new(Filter::forgotten());
            tracing::warn!(
                ledger.epoch = epoch,
                "there is no memory left to know which messages of that time there are: the tables \
                are asked, which takes longer; a larger `limits.memory_mb` helps"
            );
        }
        *tombstones = all.into();
    }
}

/// Under which name the filter of a piece is kept.
fn name_of((epoch, part): PieceId) -> String {
    format!("{epoch}.{part}")
}

/// And that of tombstones.
fn name_of_stones(epoch: i64) -> String {
    format!("tombstones-{epoch}")
}

/// What several pieces have seen together is known when all of them have all their keys in it.
fn finish_seen(pieces: &[Piece]) {
    for these in pieces.chunk_by(|one, two| Arc::ptr_eq(&one.seen, &two.seen)) {
        let is_same = |one: &&Piece| these.iter().any(|two| Arc::ptr_eq(&one.seen, &two.seen));
        let knows = |piece: &Piece| piece.filter.is_complete() && !piece.filter.is_recalled();
        if pieces.iter().filter(is_same).all(knows) {
            these.iter().for_each(|piece| piece.seen.finish());
        }
    }
}
