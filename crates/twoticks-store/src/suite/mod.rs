//! What every ledger does. A case is a private function here and a name in the list of
//! [`store_suite`]; one that is missing there is dead code, and clippy fails.

mod fixtures;
mod look;
pub(crate) mod model;
mod scan;
pub(crate) mod told;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use twoticks_core::channel::Side;
use twoticks_core::clock::DAY;
use twoticks_core::event::{Category, Event, MessageEvent, Status};
use twoticks_core::message::STATE_KEPT;
use twoticks_core::query::Query;
use twoticks_core::totals::{Atom, Totals};
use twoticks_core::window::Window;

use self::look::{a_look_finds_what_was_accepted_in_a_span, messages_are_found_by_their_keys};
use self::model::equals_the_simplest_model;
use self::scan::{
    a_page_is_bounded, a_scan_gives_every_row_in_the_order_of_keys,
    a_scan_is_of_one_moment_whatever_is_recorded_meanwhile,
    a_scan_of_a_window_gives_the_cells_that_begin_in_it,
    a_scan_of_some_channels_gives_no_row_of_another,
    a_scan_while_others_record_has_what_its_position_says,
};
use self::told::{
    LOOK_ALIKES, NOON, NOW, at, batch, category, channel, everything, message, of_numbers,
    of_templates, opt_in, record, send, status, sum,
};
use crate::embedded::Embedded;
use crate::error::Error;
use crate::keys::Keys;
use crate::ledger::{
    BODY_BYTES_MAX, Batch, Dead, ENTRIES_BYTES_MAX, ENTRIES_MAX, EVENTS_MAX, Entry,
    GROUP_BYTES_MAX, Kind, Ledger,
};
use crate::memory::MemoryLedger;
use crate::verify::verify;

macro_rules! store_suite {
    ($home:expr) => {
        store_suite! { @each $home;
            a_receipt_is_seen_by_the_next_question
            repeats_count_once
            any_order_and_any_cut_give_the_same_totals
            an_opt_in_moves_what_was_counted
            a_category_that_is_learned_late_moves_what_was_counted
            tenants_see_nothing_of_each_other
            entries_come_back_byte_for_byte
            a_list_is_bounded_and_can_be_continued
            a_group_lists_its_entries
            dead_letters_are_listed_until_they_are_resolved
            a_look_finds_what_was_accepted_in_a_span
            messages_are_found_by_their_keys
            bodies_are_sealed
            everything_is_there_after_reopening
            a_replayed_journal_has_the_same_digest
            limits_hold_at_the_edge
            what_cannot_have_happened_is_refused
            a_closed_ledger_records_nothing
            many_at_once_are_all_counted
            states_older_than_the_horizon_are_late
            equals_the_simplest_model
            a_scan_gives_every_row_in_the_order_of_keys
            a_scan_of_some_channels_gives_no_row_of_another
            a_scan_of_a_window_gives_the_cells_that_begin_in_it
            a_page_is_bounded
            a_scan_is_of_one_moment_whatever_is_recorded_meanwhile
            a_scan_while_others_record_has_what_its_position_says
        }
    };
    (@each $home:expr; $($case:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            super::$case(&$home).await;
        }
    )*};
}

mod in_memory {
    store_suite!(super::Home::new(super::Backend::Memory));
}

mod embedded {
    store_suite!(super::Home::new(super::Backend::Embedded));
}

#[derive(Clone, Copy)]
enum Backend {
    Memory,
    Embedded,
}

/// Where a ledger lives.
struct Home {
    backend: Backend,
    folder: TempDir,
}

type Shared = Arc<dyn Ledger>;

impl Home {
    fn new(backend: Backend) -> Self {
        Self { backend, folder: tempfile::tempdir().unwrap() }
    }

    fn fresh(&self) -> Self {
        Self::new(self.backend)
    }

    fn open(&self) -> Shared {
        match self.backend {
            Backend::Memory => Arc::new(MemoryLedger::new()),
            Backend::Embedded => {
                let keys = Arc::new(Keys::from_bytes([3; 32]));
                Arc::new(Embedded::open(self.folder.path(), keys).unwrap())
            }
        }
    }

    /// Leaves the ledger (in good order, or as a crash would) and opens it again.
    async fn reopen(&self, ledger: Shared, in_good_order: bool) -> Shared {
        if let Backend::Memory = self.backend {
            // Its journal is all that there is of it.
            let again = self.open();
            replay(&ledger, &again).await;
            return again;
        }
        if in_good_order {
            ledger.close().await.unwrap();
        }
        drop(ledger);
        self.open()
    }
}

async fn all_entries(ledger: &Shared) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let next = entries.last().map_or(1, |entry| entry.position + 1);
        let page = ledger.entries(next, usize::MAX).await.unwrap();
        if page.is_empty() {
            return entries;
        }
        entries.extend(page);
    }
}

async fn replay(from: &Shared, to: &Shared) {
    for entry in all_entries(from).await {
        assert_eq!(to.record(entry.batch).await.unwrap().position, entry.position);
    }
}

async fn a_receipt_is_seen_by_the_next_question(home: &Home) {
    let ledger = home.open();
    assert_eq!(sum(&ledger, of_numbers("a", None)).await, Totals::default());
    for id in 1..=20 {
        assert_eq!(record(&ledger, vec![status("a", id, Status::Sent, 0)]).await, u64::from(id));
        assert_eq!(sum(&ledger, of_numbers("a", None)).await.sent, i64::from(id));
    }
    let counters = ledger.counters();
    assert_eq!((counters.entries, counters.events, counters.unattributed), (20, 20, 20));
    // Another window has nothing of it.
    let windows = vec![Window { from: Atom(0), to: Atom::of(NOON) }];
    let query = Query { windows, ..of_numbers("a", None) };
    assert_eq!(ledger.series(query).await.unwrap(), []);
}

async fn repeats_count_once(home: &Home) {
    let ledger = home.open();
    let events = vec![
        send("a", 1, 0),
        status("a", 1, Status::Sent, 1),
        status("a", 1, Status::Delivered, 2),
        status("a", 1, Status::Read, 3),
    ];
    record(&ledger, events.clone()).await;
    let once = everything(&ledger, "a").await;
    for _ in 0..3 {
        record(&ledger, events.clone()).await;
        record(&ledger, events.iter().rev().cloned().collect()).await;
    }
    assert_eq!(everything(&ledger, "a").await, once);
    let totals = sum(&ledger, of_templates("a", None)).await;
    assert_eq!((totals.sent, totals.delivered, totals.read), (1, 1, 1));
    assert_eq!(ledger.counters().duplicates, 24);
}

async fn any_order_and_any_cut_give_the_same_totals(home: &Home) {
    let mut events = vec![opt_in("a", 50), opt_in("a", 40), category("a", Category::Marketing, 0)];
    for id in 0..8 {
        let late = i64::from(id) * 20;
        events.push(send("a", id, late));
        events.push(status("a", id, Status::Read, late + 3));
        events.push(status("a", id, Status::Delivered, late + 2));
        events.push(status("a", id, Status::Sent, late + 1));
    }
    let mut answers = Vec::new();
    for cut in [1, 3, 100] {
        for turned in [false, true] {
            let fresh = home.fresh();
            let ledger = fresh.open();
            let mut events = events.clone();
            if turned {
                events.reverse();
            }
            for part in events.chunks(cut) {
                record(&ledger, part.to_vec()).await;
            }
            answers.push(everything(&ledger, "a").await);
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert!(!answers[0][0].is_empty());
}

async fn an_opt_in_moves_what_was_counted(home: &Home) {
    let ledger = home.open();
    let after = || of_numbers("a", Some(Side::After));
    for id in 1..=4 {
        record(&ledger, vec![status("a", id, Status::Sent, i64::from(id) * 100)]).await;
    }
    assert_eq!(sum(&ledger, after()).await.sent, 0);
    record(&ledger, vec![opt_in("a", 300)]).await;
    assert_eq!(sum(&ledger, after()).await.sent, 2);
    let ledger = home.reopen(ledger, true).await;
    assert_eq!(ledger.channel(&channel("a")).await.unwrap().opted_in(), Some(at(300)));
    record(&ledger, vec![opt_in("a", 200), opt_in("a", 400)]).await;
    assert_eq!(sum(&ledger, after()).await.sent, 3);
    assert_eq!(ledger.channel(&channel("a")).await.unwrap().opted_in(), Some(at(200)));
    assert_eq!(ledger.channel(&channel("b")).await.unwrap().opted_in(), None);
    // An earlier time of `sent` moves the message with all its counts.
    record(&ledger, vec![status("a", 4, Status::Sent, 100)]).await;
    assert_eq!(sum(&ledger, after()).await.sent, 2);
    assert_eq!(sum(&ledger, of_numbers("a", None)).await.sent, 4);
}

async fn a_category_that_is_learned_late_moves_what_was_counted(home: &Home) {
    let ledger = home.open();
    for id in 1..=3 {
        let seconds = i64::from(id) * 100;
        let events = vec![send("a", id, seconds), status("a", id, Status::Sent, seconds)];
        record(&ledger, events).await;
    }
    let marketing = || of_templates("a", Some(Category::Marketing));
    assert_eq!(sum(&ledger, marketing()).await.sent, 0);
    record(&ledger, vec![category("a", Category::Marketing, 0)]).await;
    assert_eq!(sum(&ledger, marketing()).await.sent, 3);
    let ledger = home.reopen(ledger, false).await;
    record(&ledger, vec![category("a", Category::Utility, 150)]).await;
    assert_eq!(sum(&ledger, marketing()).await.sent, 1);
    assert_eq!(sum(&ledger, of_templates("a", Some(Category::Utility))).await.sent, 2);
    assert_eq!(ledger.channel(&channel("a")).await.unwrap().categories().count(), 1);
}

async fn tenants_see_nothing_of_each_other(home: &Home) {
    let mut ledger = home.open();
    for (index, of) in (0_i64..).zip(LOOK_ALIKES) {
        // The same ids, groups and templates everywhere; each tenant has one more than the last.
        for id in 0..=index {
            let id = u8::try_from(id).unwrap();
            let events = vec![send(of, id, 0), status(of, id, Status::Sent, 1)];
            let (channel, group) = (Some(channel(of)), Some("g".to_owned()));
            ledger.record(Batch { channel, group, ..batch(events) }).await.unwrap();
        }
        record(&ledger, vec![opt_in(of, index), category(of, Category::Marketing, 0)]).await;
    }
    for _ in 0..2 {
        for (index, of) in (0_i64..).zip(LOOK_ALIKES) {
            let sent = index + 1;
            assert_eq!(sum(&ledger, of_numbers(of, None)).await.sent, sent, "{of}");
            assert_eq!(sum(&ledger, of_templates(of, None)).await.sent, sent, "{of}");
            let known = ledger.channel(&channel(of)).await.unwrap();
            assert_eq!(known.opted_in(), Some(at(index)), "{of}");
            let group = ledger.group(&channel(of), "g").await.unwrap();
            assert_eq!(i64::try_from(group.len()), Ok(sent), "{of}");
            assert!(group.iter().all(|entry| entry.batch.channel == Some(channel(of))), "{of}");
        }
        ledger = home.reopen(ledger, true).await;
    }
}

/// A batch with something in every field.
fn full_batch() -> Batch {
    Batch {
        kind: Kind::Receipts,
        accepted: NOW,
        origin: "/webhooks/cams/…".to_owned(),
        channel: Some(channel("cams-1")),
        group: Some("group 1".to_owned()),
        events: vec![status("a", 1, Status::Sent, 0), send("a", 1, 0), opt_in("a", 0)],
        dead: vec![Dead { path: "[1].x".to_owned(), why: "no `x`; give one".to_owned() }],
        resolves: Some(1),
        body: (0..=255).cycle().take(5_000).collect(),
    }
}

async fn entries_come_back_byte_for_byte(home: &Home) {
    let mut ledger = home.open();
    let mut given = vec![full_batch()];
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        given.push(Batch { kind, body: vec![b'x'; index], ..batch(vec![]) });
    }
    // One above and one below what is worth compressing and sealing elsewhere.
    given.push(Batch { body: b"{\"a\": 1}".repeat(50_000), ..full_batch() });
    for batch in &given {
        ledger.record(batch.clone()).await.unwrap();
    }
    for _ in 0..2 {
        let entries = all_entries(&ledger).await;
        let expected =
            (1..).zip(&given).map(|(position, batch)| Entry { position, batch: batch.clone() });
        assert!(entries.into_iter().eq(expected));
        ledger = home.reopen(ledger, true).await;
    }
}

async fn a_list_is_bounded_and_can_be_continued(home: &Home) {
    let ledger = home.open();
    let dead = vec![Dead { path: String::new(), why: String::new() }];
    for _ in 0..5 {
        ledger.record(Batch { dead: dead.clone(), ..batch(vec![]) }).await.unwrap();
    }
    let positions =
        |entries: Vec<Entry>| entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
    for (from, most, expected) in [
        (0, 2, vec![1, 2]),
        (1, 2, vec![1, 2]),
        (3, 2, vec![3, 4]),
        (5, 2, vec![5]),
        (6, 2, vec![]),
        (u64::MAX, 2, vec![]),
        (1, 0, vec![]),
        (1, usize::MAX, vec![1, 2, 3, 4, 5]),
    ] {
        let entries = ledger.entries(from, most).await.unwrap();
        assert_eq!(positions(entries), expected, "entries from {from}, {most}");
        let dead = ledger.dead_letters(from, most).await.unwrap();
        assert_eq!(positions(dead), expected, "dead letters from {from}, {most}");
    }
    // Bodies that reach the limit together; the next begins another list.
    let half = vec![0; ENTRIES_BYTES_MAX / 2];
    let fresh = home.fresh();
    let ledger = fresh.open();
    for _ in 0..3 {
        ledger.record(Batch { body: half.clone(), ..batch(vec![]) }).await.unwrap();
    }
    assert_eq!(positions(ledger.entries(1, 3).await.unwrap()), [1, 2]);
    assert_eq!(positions(ledger.entries(3, 3).await.unwrap()), [3]);
    for _ in 0..ENTRIES_MAX {
        let (ledger, batch) = (Arc::clone(&ledger), batch(vec![]));
        ledger.record(batch).await.unwrap();
    }
    assert_eq!(ledger.entries(4, usize::MAX).await.unwrap().len(), ENTRIES_MAX);
}

async fn a_group_lists_its_entries(home: &Home) {
    let mut ledger = home.open();
    let groups = ["g", "g1", "", "g\0", "\0"];
    for round in 0..3 {
        for group in groups {
            let (channel, group) = (Some(channel("a")), Some(group.to_owned()));
            let body = vec![round];
            ledger.record(Batch { channel, group, body, ..batch(vec![]) }).await.unwrap();
        }
    }
    for _ in 0..2 {
        for group in groups {
            let entries = ledger.group(&channel("a"), group).await.unwrap();
            let bodies: Vec<_> = entries.iter().map(|entry| entry.batch.body.clone()).collect();
            assert_eq!(bodies, [[0], [1], [2]], "{group:?}");
            let mine = |entry: &Entry| entry.batch.group.as_deref() == Some(group);
            assert!(entries.iter().all(mine), "{group:?}");
            assert_eq!(ledger.group(&channel("b"), group).await.unwrap(), [], "{group:?}");
        }
        let none = ledger.group(&channel("a"), &"g".repeat(GROUP_BYTES_MAX + 1)).await.unwrap();
        assert_eq!(none, []);
        ledger = home.reopen(ledger, true).await;
    }
}

async fn dead_letters_are_listed_until_they_are_resolved(home: &Home) {
    let mut ledger = home.open();
    let dead = vec![Dead { path: "entry[0]".to_owned(), why: "no time; give one".to_owned() }];
    let with = |dead: &[Dead], resolves| Batch { dead: dead.to_vec(), resolves, ..batch(vec![]) };
    for batch in [
        with(&dead, None),
        with(&[], None),
        with(&dead, None),
        // Replayed, and still dead in part: it is a dead letter of its own.
        with(&dead, Some(1)),
        with(&[], Some(99)),
    ] {
        ledger.record(batch).await.unwrap();
    }
    for resolved in [4, 3] {
        let listed = ledger.dead_letters(1, 10).await.unwrap();
        let positions: Vec<_> = listed.iter().map(|entry| entry.position).collect();
        assert_eq!(positions, [3, 4].into_iter().filter(|at| *at <= resolved).collect::<Vec<_>>());
        assert!(listed.iter().all(|entry| entry.batch.dead == dead));
        ledger = home.reopen(ledger, resolved == 3).await;
        ledger.record(with(&[], Some(resolved))).await.unwrap();
    }
    assert_eq!(ledger.dead_letters(1, 10).await.unwrap(), []);
    let ledger = home.reopen(ledger, true).await;
    assert_eq!(ledger.dead_letters(1, 10).await.unwrap(), []);
}

/// Every file below `folder`, without the zeros at the end that the engine allocates ahead.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let mut bytes = std::fs::read(path).unwrap();
            bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            found.push(bytes);
        }
    }
    found
}

async fn bodies_are_sealed(home: &Home) {
    let mut random = [0; 24];
    getrandom::fill(&mut random).unwrap();
    let marker: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = format!("{{\"wa_id\": \"{marker}\"}}").into_bytes();
    let compressed = zstd::bulk::compress(&body, 1).unwrap();
    let origin = format!("not secret {marker:.16}");
    let ledger = home.open();
    let mut batch = batch(vec![status("a", 1, Status::Sent, 0)]);
    batch.origin.clone_from(&origin);
    batch.body.clone_from(&body);
    ledger.record(batch).await.unwrap();
    ledger.close().await.unwrap();
    let files = files(home.folder.path());
    let finds = |needle: &[u8]| {
        files.iter().any(|file| file.windows(needle.len()).any(|window| window == needle))
    };
    if let Backend::Embedded = home.backend {
        assert!(finds(origin.as_bytes()), "the search finds what is in clear");
    }
    assert!(!finds(marker.as_bytes()));
    assert!(!finds(&random));
    assert!(!finds(&compressed[compressed.len() / 2..]));
}

async fn everything_is_there_after_reopening(home: &Home) {
    let mut ledger = home.open();
    let mut seen = None;
    for (round, in_good_order) in [true, false, true, false].into_iter().enumerate() {
        if let Some(seen) = seen {
            assert_eq!(everything(&ledger, "a").await, seen);
        }
        let id = u8::try_from(round).unwrap();
        record(&ledger, vec![send("a", id, 0), status("a", id, Status::Read, 60)]).await;
        assert_eq!(sum(&ledger, of_numbers("a", None)).await.read, i64::from(id) + 1);
        seen = Some(everything(&ledger, "a").await);
        ledger = home.reopen(ledger, in_good_order).await;
    }
    assert_eq!(Some(everything(&ledger, "a").await), seen);
    // Told again after the reopening, it still counts once.
    record(&ledger, vec![status("a", 0, Status::Read, 60)]).await;
    assert_eq!(Some(everything(&ledger, "a").await), seen);
}

async fn a_replayed_journal_has_the_same_digest(home: &Home) {
    let ledger = home.open();
    let empty = ledger.digest().await.unwrap();
    for id in 1..=9 {
        let of = LOOK_ALIKES[usize::from(id) % 3];
        record(&ledger, vec![send(of, id, 0), status(of, id, Status::Delivered, 9)]).await;
    }
    record(&ledger, vec![opt_in("a", 0), category("a", Category::Marketing, 0)]).await;
    let digest = ledger.digest().await.unwrap();
    assert_eq!((digest.position, digest.messages, digest.channels), (10, 9, 1));
    assert_ne!(digest.sha256, empty.sha256);
    let fresh = home.fresh();
    let again = fresh.open();
    replay(&ledger, &again).await;
    assert_eq!(again.digest().await.unwrap(), digest);
    // The backends agree.
    let memory: Shared = Arc::new(MemoryLedger::new());
    replay(&ledger, &memory).await;
    assert_eq!(memory.digest().await.unwrap(), digest);
    let scratch = tempfile::tempdir().unwrap();
    let verdict = verify(ledger.as_ref(), scratch.path(), Arc::new(|_, _| {})).await.unwrap();
    assert!(verdict.equal);
    assert_eq!((verdict.ledger, verdict.journal), (digest, digest));
    assert_eq!((verdict.entries, verdict.events), (10, 20));
    // One event more, and they differ.
    record(&again, vec![status("a", 200, Status::Sent, 0)]).await;
    assert_ne!(again.digest().await.unwrap().sha256, digest.sha256);
}

async fn limits_hold_at_the_edge(home: &Home) {
    let ledger = home.open();
    let events = |count| vec![status("a", 1, Status::Sent, 0); count];
    let refused = ledger.record(batch(events(EVENTS_MAX + 1))).await;
    assert!(matches!(refused, Err(Error::TooLarge { limit: EVENTS_MAX, .. })));
    record(&ledger, events(EVENTS_MAX)).await;
    assert_eq!(sum(&ledger, of_numbers("a", None)).await.sent, 1);
    let named = |length| Batch {
        channel: Some(channel("a")),
        group: Some("g".repeat(length)),
        ..batch(vec![])
    };
    let refused = ledger.record(named(GROUP_BYTES_MAX + 1)).await;
    assert!(matches!(refused, Err(Error::TooLarge { limit: GROUP_BYTES_MAX, .. })));
    ledger.record(named(GROUP_BYTES_MAX)).await.unwrap();
    let group = ledger.group(&channel("a"), &"g".repeat(GROUP_BYTES_MAX)).await.unwrap();
    assert_eq!(group.len(), 1);
    assert_eq!(all_entries(&ledger).await.len(), 2);
    let sized = |length| Batch { body: vec![b'x'; length], ..batch(vec![]) };
    let refused = ledger.record(sized(BODY_BYTES_MAX + 1)).await;
    assert!(matches!(refused, Err(Error::TooLarge { limit: BODY_BYTES_MAX, .. })));
    let position = ledger.record(sized(BODY_BYTES_MAX)).await.unwrap().position;
    let entries = ledger.entries(position, 1).await.unwrap();
    assert!(entries[0].batch == sized(BODY_BYTES_MAX));
}

async fn what_cannot_have_happened_is_refused(home: &Home) {
    let ledger = home.open();
    let tomorrow = |late| {
        let time = NOW.plus(DAY + late);
        Event::Message(MessageEvent { time, ..message("a", 1, 0, Some(Status::Sent)) })
    };
    let refused = ledger.record(batch(vec![opt_in("a", 0), tomorrow(1)])).await;
    assert!(matches!(refused, Err(Error::Impossible { index: 1 })));
    assert_eq!(ledger.channel(&channel("a")).await.unwrap().opted_in(), None);
    record(&ledger, vec![tomorrow(0)]).await;
    assert_eq!(all_entries(&ledger).await.len(), 1);
}

async fn a_closed_ledger_records_nothing(home: &Home) {
    let ledger = home.open();
    record(&ledger, vec![status("a", 1, Status::Sent, 0)]).await;
    ledger.close().await.unwrap();
    assert!(matches!(ledger.record(batch(vec![])).await, Err(Error::Closed)));
    ledger.close().await.unwrap();
}

async fn many_at_once_are_all_counted(home: &Home) {
    let ledger = home.open();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16_u8 {
        let ledger = Arc::clone(&ledger);
        tasks.spawn(async move {
            let mut positions = Vec::new();
            for n in 0..25_u8 {
                let mut event = message("a", task, 0, Some(Status::Sent));
                event.message.0[1] = n;
                let batch = batch(vec![Event::Message(event)]);
                positions.push(ledger.record(batch).await.unwrap().position);
                if n % 5 == 0 {
                    assert!(sum(&ledger, of_numbers("a", None)).await.sent > i64::from(n));
                }
            }
            positions
        });
    }
    let positions: BTreeSet<u64> = tasks.join_all().await.into_iter().flatten().collect();
    assert!(positions.into_iter().eq(1..=400));
    assert_eq!(sum(&ledger, of_numbers("a", None)).await.sent, 400);
    assert_eq!(ledger.digest().await.unwrap().messages, 400);
}

async fn states_older_than_the_horizon_are_late(home: &Home) {
    let ledger = home.open();
    record(&ledger, vec![status("a", 1, Status::Sent, 0)]).await;
    let later = Batch {
        accepted: NOW.plus(STATE_KEPT + 1),
        ..batch(vec![status("a", 1, Status::Read, 60)])
    };
    ledger.record(later).await.unwrap();
    let totals = sum(&ledger, of_numbers("a", None)).await;
    assert_eq!((totals.sent, totals.read, totals.late), (1, 0, 1));
    assert_eq!(ledger.counters().late, 1);
}
