//! What is young and the tables together are one ledger, wherever a row happens to be.

use twoticks_core::event::{Button, ButtonKind, Category, Status, TapEvent};
use twoticks_core::ids::Hash;
use twoticks_core::message::MessageKey;

use super::*;
use crate::digest::Table;
use crate::embedded::pieces::{Piece, PieceId};
use crate::embedded::tables::Slot;
use crate::embedded::tombstones::Fingerprint;
use crate::embedded::young::Overlay;
use crate::layout;
use crate::ledger::Dead;
use crate::memory::MemoryLedger;
use crate::scan::{BYTES_MAX, Row, Scan, What};
use crate::suite::told::{
    at, batch, category, channel, message, opt_in, questions, send, status, text,
};

/// A ledger whose threads are the test.
pub(super) struct Still {
    pub(super) shared: Shared,
    pub(super) young: Young,
    pub(super) model: MemoryLedger,
    _folder: TempDir,
}

impl Still {
    pub(super) fn new() -> Self {
        Self::within(Memory::of(0))
    }

    pub(super) fn within(memory: Memory) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(folder.path(), &memory).unwrap();
        tables.meta(folder.path(), None).unwrap();
        let shared = Shared::new(Slot::new(folder.path(), &memory, tables), 0);
        let (young, model) = (Young::new(&memory, 0, Time::default()), MemoryLedger::new());
        Self { shared, young, model, _folder: folder }
    }

    pub(super) fn fold(&mut self, batch: &Batch) -> Result<(), Error> {
        let (_, work) = entry::encode(&Keys::from_bytes([1; 32]), batch.clone());
        let position = self.young.position + 1;
        self.shared.fold(&mut self.young, position, &work)
    }

    pub(super) fn freeze(&mut self) -> Option<Arc<Overlay>> {
        self.young.thaw(*self.shared.committed.borrow());
        self.young.freeze()
    }

    fn series(&self, query: &Query) -> Result<Vec<Point>, Error> {
        let Some(span) = query.span() else { return Ok(Vec::new()) };
        let moment =
            self.shared.slot.with(|tables| Ok(Moment::of(&self.young, tables, query, span)))?;
        query::series(&self.shared, query, span, Some(moment))
    }

    /// As after a start: nothing is young, and the engine is opened again.
    pub(super) fn forget(&mut self) {
        assert_eq!(self.young.active.position, 0, "everything is committed");
        let Young { position, latest, .. } = self.young;
        self.young = Young::new(&Memory::of(0), position, latest);
        assert_eq!(self.shared.slot.reopen().unwrap(), position);
    }

    pub(super) fn digest(&self) -> Digest {
        self.shared.slot.with(Tables::digest).unwrap()
    }

    pub(super) async fn take(&mut self, batch: Batch) {
        self.fold(&batch).unwrap();
        self.model.record(batch).await.unwrap();
    }

    pub(super) async fn agrees(&self, when: &str) {
        let (young, shared) = (&self.young, &self.shared);
        for query in questions("a") {
            let found = self.series(&query).unwrap();
            assert_eq!(found, self.model.series(query).await.unwrap(), "{when}");
        }
        let (a, most) = (channel("a"), 100);
        let row =
            shared.slot.with(|tables| young.channel(tables, shared.slot.folder(), &a)).unwrap();
        assert_eq!(*row, self.model.channel(&a).await.unwrap());
        let positions =
            |entries: Vec<Entry>| entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
        let group = positions(self.model.group(&a, "g").await.unwrap());
        assert_eq!(query::group(young, shared, &a, "g", most).unwrap(), group, "{when}");
        let dead = positions(self.model.dead_letters(1, most).await.unwrap());
        assert_eq!(query::dead(young, shared, 1, most).unwrap(), dead, "{when}");
    }
}

/// What changes rows of every kind, and at a later turn those that the turns before have made.
fn turn(turn: u8) -> Batch {
    let late = i64::from(10 - turn) * 1_000;
    let ids = 1..=turn + 1;
    let told = ids.flat_map(|id| {
        let read = status("a", id, Status::Read, late + 2);
        let tap = Event::Tap(TapEvent {
            channel: channel("a"),
            number: message("a", 0, 0, None).number,
            id: Hash([id; 16]),
            time: at(late + 3),
            button: Button { kind: ButtonKind::QuickReply, text: text("Yes") },
            message: Some(Hash([id; 16])),
            sign: None,
        });
        [send("a", id, late), status("a", id, Status::Sent, late), read, tap]
    });
    let mut events: Vec<Event> = told.collect();
    // Later turns move the opt-in, and the category, and with them everything told before.
    events.push(opt_in("a", late + 500));
    let is_even = turn.is_multiple_of(2);
    let word = if is_even { Category::Marketing } else { Category::Utility };
    events.push(category("a", word, i64::from(turn)));
    Batch {
        channel: Some(channel("a")),
        group: Some("g".to_owned()),
        dead: vec![Dead { path: String::new(), why: String::new() }],
        resolves: (turn > 1).then(|| Position::from(turn) - 1),
        ..batch(events)
    }
}

#[tokio::test]
async fn what_is_in_the_tables_in_the_commit_and_in_the_fold_is_one_ledger() {
    let mut still = Still::new();
    for n in (1..9).step_by(2) {
        still.take(turn(n)).await;
        still.agrees("folded").await;
        let frozen = still.freeze().unwrap();
        still.agrees("frozen").await;
        still.take(turn(n + 1)).await;
        assert!(still.freeze().is_none(), "there is one already");
        still.agrees("folded beside a commit").await;
        still.shared.commit(&frozen).unwrap();
        still.agrees("committed beside the fold").await;
        // Done again, as after a failure that came too late, it changes nothing.
        still.shared.commit(&frozen).unwrap();
        still.agrees("committed twice").await;
        let frozen = still.freeze().unwrap();
        still.shared.commit(&frozen).unwrap();
        still.agrees("committed").await;
        assert_eq!(still.digest(), still.model.digest().await.unwrap());
    }
}

#[tokio::test]
async fn what_is_frozen_is_what_was_there_when_it_began() {
    let mut once = Still::new();
    once.take(turn(5)).await;
    let frozen = once.freeze().unwrap();
    once.shared.commit(&frozen).unwrap();
    for step in 0..2 {
        let mut still = Still::new();
        still.take(turn(5)).await;
        assert!(still.young.begin_freezing());
        for n in 6..9 {
            // The same messages, which change, and others.
            assert!(still.young.go_on_freezing(step).is_none() && still.young.is_freezing());
            still.take(turn(n)).await;
            still.agrees("freezing").await;
        }
        let frozen = still.young.go_on_freezing(usize::MAX).unwrap();
        assert!(!still.young.is_freezing() && still.young.go_on_freezing(1).is_none());
        still.shared.commit(&frozen).unwrap();
        assert_eq!(states(&still, None), states(&once, None), "{step}");
        still.agrees("committed").await;
        let frozen = still.freeze().unwrap();
        still.shared.commit(&frozen).unwrap();
        assert_eq!(still.digest(), still.model.digest().await.unwrap());
    }
}

/// The messages and taps that the tables have now, of these pieces or of all.
fn states(still: &Still, pieces: Option<&[PieceId]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let read = still.shared.slot.with(|tables| {
        let (all, snapshot) = tables.moment();
        let all: Vec<_> = all.iter().map(Piece::id).collect();
        let rows =
            tables.rows(&snapshot, pieces.unwrap_or(&all), (Table::Messages, [].as_slice()))?;
        rows.map(|row| row.map(|(table, key, value)| (table, key.to_vec(), value.to_vec())))
            .take_while(|row| row.as_ref().is_ok_and(|(table, ..)| *table <= Table::Taps))
            .map(|row| row.map(|(_, key, value)| (key, value)))
            .collect::<Result<Vec<_>, _>>()
    });
    read.unwrap()
}

#[tokio::test]
async fn what_a_cut_has_of_messages_and_taps_does_not_change() {
    let mut still = Still::new();
    let commit = |still: &mut Still| {
        let frozen = still.freeze().unwrap();
        still.shared.commit(&frozen).unwrap();
    };
    still.take(turn(1)).await;
    commit(&mut still);
    for n in 2..6 {
        let cut = still.shared.slot.with(Tables::cut).unwrap();
        let again = still.shared.slot.with(Tables::cut).unwrap();
        assert_eq!(again.pieces, cut.pieces, "what was begun has nothing yet");
        assert_eq!((again.position, again.latest), (cut.position, cut.latest));
        let before = states(&still, Some(&cut.pieces));
        assert_eq!(states(&still, None), before);
        // It touches what the turn before has made.
        still.take(turn(n)).await;
        commit(&mut still);
        assert_eq!(states(&still, Some(&cut.pieces)), before);
        assert_ne!(states(&still, None), before);
        assert_eq!(still.digest(), still.model.digest().await.unwrap());
        drop((cut, again));
        still.forget();
        still.agrees("opened again").await;
        assert_eq!(still.digest(), still.model.digest().await.unwrap());
    }
    let pieces = still.shared.slot.with(|tables| Ok(tables.pieces().len())).unwrap();
    assert_eq!(pieces, 5, "one for every cut that had something");
}

#[tokio::test]
async fn an_entry_that_fails_in_the_middle_goes_on_where_it_failed() {
    let mut still = Still::new();
    still.take(turn(1)).await;
    let frozen = still.freeze().unwrap();
    still.shared.commit(&frozen).unwrap();
    let damaged = message("b", 9, 0, None);
    let key = MessageKey {
        channel: damaged.channel.clone(),
        number: damaged.number,
        message: damaged.message,
    };
    let key = layout::message(&key);
    let put = |still: &Still, row: &[u8]| {
        let put = still.shared.slot.with(|tables| {
            let piece = &tables.pieces()[0];
            let fingerprint = Fingerprint::of(Table::Messages, &key);
            piece.know(&[fingerprint.hash()]);
            let messages = &piece.messages;
            if row.is_empty() {
                return messages.remove(&key).map_err(tables::engine_error);
            }
            messages.insert(&key, row).map_err(tables::engine_error)
        });
        put.unwrap();
    };
    put(&still, b"\x01rubbish");
    // The earlier opt-in is taken in before the row that is damaged is read.
    let batch = batch(vec![opt_in("a", -100), status("b", 9, Status::Sent, 7)]);
    for _ in 0..2 {
        assert!(matches!(still.fold(&batch), Err(Error::Corrupt { .. })));
    }
    put(&still, b"");
    still.take(batch).await;
    still.agrees("after it went on").await;
    still.take(turn(2)).await;
    still.agrees("after another one").await;
}

#[tokio::test]
async fn a_commit_that_fails_keeps_what_is_folded_until_it_is_done_again() {
    let mut still = Still::new();
    still.take(turn(1)).await;
    let frozen = still.freeze().unwrap();
    still.take(turn(2)).await;
    still.shared.slot.shut();
    assert!(matches!(still.shared.commit(&frozen), Err(Error::Unavailable { .. })));
    assert!(still.fold(&turn(3)).is_err());
    assert!(still.series(&questions("a")[0]).is_err());
    assert_eq!(still.shared.slot.reopen().unwrap(), 0);
    still.agrees("opened again").await;
    still.take(turn(3)).await;
    still.shared.commit(&frozen).unwrap();
    still.agrees("committed").await;
}

#[tokio::test]
async fn a_commit_whose_engine_has_failed_is_done_when_it_opens_again() {
    let mut still = Still::new();
    still.take(turn(1)).await;
    let (commits, committing) = sync_channel(1);
    commits.send(still.freeze().unwrap()).unwrap();
    drop(commits);
    still.shared.slot.shut();
    fold::commit(&still.shared, &committing, (&sync_channel(1).0, &sync_channel(1).0));
    assert_eq!(*still.shared.committed.borrow(), 1);
    assert_eq!(still.digest(), still.model.digest().await.unwrap());
}

#[tokio::test]
async fn a_fold_whose_engine_has_failed_goes_on_when_it_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let (ledger, model) = (open_as(&folder, 1).unwrap(), MemoryLedger::new());
    for n in 1..4 {
        // Nothing can be folded or asked for until it is opened again.
        ledger.kept.shared.slot.shut();
        for ledger in [&ledger as &dyn Ledger, &model] {
            ledger.record(turn(n)).await.unwrap();
        }
        assert_eq!(ledger.digest().await.unwrap(), model.digest().await.unwrap());
    }
    ledger.kept.shared.slot.shut();
    ledger.record(turn(4)).await.unwrap();
    // Closed meanwhile, and nothing waits for ever.
    drop(ledger);
    model.record(turn(4)).await.unwrap();
    assert_eq!(digest(&folder).await, model.digest().await.unwrap());
}

#[tokio::test]
async fn a_scan_ends_with_an_error_when_the_engine_is_opened_again() {
    let mut still = Still::new();
    for n in 0..=9 {
        still.take(turn(n)).await;
    }
    let frozen = still.freeze().unwrap();
    still.shared.commit(&frozen).unwrap();
    let (position, shared) = (still.young.position, Arc::new(still.shared));
    let scan = Scan { what: What::Messages, channels: None };
    let whole = View::new(Arc::clone(&shared), &scan).unwrap();
    assert_eq!(whole.position, position);
    assert!(whole.flat_map(Result::unwrap).count() > 9);
    let mut cut = View::new(Arc::clone(&shared), &scan).unwrap();
    // The view holds nothing that keeps the engine from being opened again.
    shared.slot.reopen().unwrap();
    assert!(matches!(cut.next(), Some(Err(Error::Unavailable { .. }))));
    assert!(cut.next().is_none());
}

#[tokio::test]
async fn a_page_of_large_rows_ends_when_it_has_its_bytes() {
    let mut still = Still::new();
    let label = "y".repeat(200);
    for id in 0..30 {
        let taps = (0..500_u16).map(|n| {
            let mut tap = [id; 16];
            tap[..2].copy_from_slice(&n.to_be_bytes());
            Event::Tap(TapEvent {
                channel: channel("a"),
                number: message("a", 0, 0, None).number,
                id: Hash(tap),
                time: at(i64::from(n)),
                button: Button { kind: ButtonKind::QuickReply, text: text(&label) },
                message: Some(Hash([id; 16])),
                sign: None,
            })
        });
        still.fold(&batch(taps.collect())).unwrap();
    }
    let frozen = still.freeze().unwrap();
    still.shared.commit(&frozen).unwrap();
    let scan = Scan { what: What::Messages, channels: None };
    let pages: Vec<_> =
        View::new(Arc::new(still.shared), &scan).unwrap().map(Result::unwrap).collect();
    let bytes = |page: &Vec<Row>| -> usize {
        let stored = page.iter().map(|row| match row {
            Row::Message(key, row, _) => layout::message(key).len() + layout::value(row).len(),
            Row::Cell(..) => 0,
        });
        stored.sum()
    };
    let largest = pages.iter().map(bytes).max().unwrap();
    assert!((BYTES_MAX..BYTES_MAX + 150_000).contains(&largest), "{largest}");
    assert_eq!(pages.iter().map(Vec::len).sum::<usize>(), 30);
    assert!(pages.len() > 2);
}
