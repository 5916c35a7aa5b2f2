//! The overlays and the tables together are one ledger, wherever a row happens to be.

use twoticks_core::event::{Button, ButtonKind, Category, Status, TapEvent};
use twoticks_core::ids::Hash;
use twoticks_core::message::MessageKey;

use super::*;
use crate::embedded::rows::ChannelCache;
use crate::embedded::tables::Slot;
use crate::layout;
use crate::ledger::Dead;
use crate::memory::MemoryLedger;
use crate::scan::{BYTES_MAX, Row, Scan, What};
use crate::suite::told::{
    at, batch, category, channel, message, opt_in, questions, send, status, text,
};

/// A ledger whose threads are the test.
struct Still {
    shared: Shared,
    channels: ChannelCache,
    model: MemoryLedger,
    position: Position,
    _folder: TempDir,
}

impl Still {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tables = Tables::open(folder.path()).unwrap();
        tables.meta(folder.path(), None).unwrap();
        let shared = Shared::new(Slot::new(folder.path(), tables), 0);
        let (channels, model) = (ChannelCache::new(), MemoryLedger::new());
        Self { shared, channels, model, position: 0, _folder: folder }
    }

    fn fold(&mut self, batch: &Batch) -> Result<(), Error> {
        let (_, work) = entry::encode(&Keys::from_bytes([1; 32]), batch.clone());
        let position = self.shared.fold(&mut self.channels, &[(self.position + 1, Box::new(work))]);
        self.position = position?;
        Ok(())
    }

    async fn take(&mut self, batch: Batch) {
        self.fold(&batch).unwrap();
        self.model.record(batch).await.unwrap();
    }

    async fn agrees(&self, when: &str) {
        let shared = &self.shared;
        for query in questions("a") {
            let found = query::series(shared, &query).unwrap();
            assert_eq!(found, self.model.series(query).await.unwrap(), "{when}");
        }
        let (a, most) = (channel("a"), 100);
        assert_eq!(query::channel(shared, &a).unwrap(), self.model.channel(&a).await.unwrap());
        let positions =
            |entries: Vec<Entry>| entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
        let group = positions(self.model.group(&a, "g").await.unwrap());
        assert_eq!(query::group(shared, &a, "g", most).unwrap(), group, "{when}");
        let dead = positions(self.model.dead_letters(1, most).await.unwrap());
        assert_eq!(query::dead(shared, 1, most).unwrap(), dead, "{when}");
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
        let frozen = still.shared.freeze().unwrap();
        still.agrees("frozen").await;
        still.take(turn(n + 1)).await;
        assert!(still.shared.freeze().is_none(), "there is one already");
        still.agrees("folded beside a commit").await;
        still.shared.commit(&frozen).unwrap();
        still.agrees("committed beside the fold").await;
        // Done again, as after a failure that came too late, it changes nothing.
        still.shared.commit(&frozen).unwrap();
        still.agrees("committed twice").await;
        let frozen = still.shared.freeze().unwrap();
        still.shared.commit(&frozen).unwrap();
        still.agrees("committed").await;
        let digest = still.shared.slot.with(Tables::digest).unwrap();
        assert_eq!(digest, still.model.digest().await.unwrap());
    }
}

#[tokio::test]
async fn a_step_that_fails_in_the_middle_leaves_nothing_and_can_be_done_again() {
    let mut still = Still::new();
    still.take(turn(1)).await;
    let damaged = message("b", 9, 0, None);
    let key = MessageKey {
        channel: damaged.channel.clone(),
        number: damaged.number,
        message: damaged.message,
    };
    let key = layout::message(&key);
    let put = |still: &Still, row: &[u8]| {
        still
            .shared
            .slot
            .with(|tables| {
                if row.is_empty() {
                    return tables.messages.remove(&key).map_err(tables::engine_error);
                }
                tables.messages.insert(&key, row).map_err(tables::engine_error)
            })
            .unwrap();
    };
    put(&still, b"\x01rubbish");
    // The earlier opt-in is taken in before the row that is damaged is read.
    let batch = batch(vec![opt_in("a", -100), status("b", 9, Status::Sent, 7)]);
    assert!(matches!(still.fold(&batch), Err(Error::Corrupt { .. })));
    still.agrees("after the failure").await;
    put(&still, b"");
    still.take(turn(2)).await;
    still.agrees("after another step").await;
    still.take(batch).await;
    still.agrees("done again").await;
}

#[tokio::test]
async fn a_commit_that_fails_keeps_what_is_folded_until_it_is_done_again() {
    let mut still = Still::new();
    still.take(turn(1)).await;
    let frozen = still.shared.freeze().unwrap();
    still.take(turn(2)).await;
    still.shared.slot.shut();
    assert!(matches!(still.shared.commit(&frozen), Err(Error::Unavailable { .. })));
    assert!(still.fold(&turn(3)).is_err());
    assert!(query::series(&still.shared, &questions("a")[0]).is_err());
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
    commits.send(still.shared.freeze().unwrap()).unwrap();
    drop(commits);
    still.shared.slot.shut();
    fold::commit(&still.shared, &committing);
    assert_eq!(*still.shared.committed.borrow(), 1);
    let digest = still.shared.slot.with(Tables::digest).unwrap();
    assert_eq!(digest, still.model.digest().await.unwrap());
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
    let frozen = still.shared.freeze().unwrap();
    still.shared.commit(&frozen).unwrap();
    let shared = Arc::new(still.shared);
    let scan = Scan { what: What::Messages, channels: None };
    let whole = View::new(Arc::clone(&shared), &scan).unwrap();
    assert_eq!(whole.position, still.position);
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
    let frozen = still.shared.freeze().unwrap();
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
