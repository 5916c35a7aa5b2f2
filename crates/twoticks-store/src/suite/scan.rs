//! Reading from one end to the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use twoticks_core::event::{Category, Event, MessageEvent, Status};
use twoticks_core::ids::ChannelId;
use twoticks_core::message::Message;
use twoticks_core::model::Model;
use twoticks_core::totals::{Atom, Cell, Totals};
use twoticks_core::window::Window;

use super::told::{
    LOOK_ALIKES, NOON, NOW, always, batch, category, channel, message, opt_in, record, send, status,
};
use super::{Home, Shared};
use crate::digest::Table;
use crate::layout;
use crate::scan::{ROWS_MAX, Row, Scan, What};

/// Everything, whenever it was.
pub(super) const EVER: What = What::Cells(Window { from: Atom(i32::MIN), to: Atom(i32::MAX) });

/// The position, and the pages.
async fn pages(ledger: &Shared, what: What, channels: Option<&[&str]>) -> (u64, Vec<Vec<Row>>) {
    let channels = channels.map(|ids| ids.iter().map(|id| channel(id)).collect());
    let scanned = ledger.scan(Scan { what, channels }).await.unwrap();
    let pages = tokio::task::spawn_blocking(move || scanned.pages.map(Result::unwrap).collect());
    (scanned.position, pages.await.unwrap())
}

pub(super) async fn rows(ledger: &Shared, what: What, channels: Option<&[&str]>) -> Vec<Row> {
    pages(ledger, what, channels).await.1.concat()
}

pub(super) fn cells(rows: &[Row]) -> BTreeMap<Cell, Totals> {
    let cells = rows.iter().map(|row| match row {
        Row::Cell(cell, totals) => (cell.clone(), totals.clone()),
        Row::Message(..) => unreachable!("only cells were asked for"),
    });
    cells.collect()
}

/// What the messages count for.
fn counted(rows: &[Row]) -> BTreeMap<Cell, Totals> {
    let mut cells: BTreeMap<Cell, Totals> = BTreeMap::new();
    for row in rows {
        let Row::Message(key, row, channel) = row else { unreachable!("a cell") };
        let nothing = Message::default();
        nothing.contribute_change(
            channel,
            &row.row,
            channel,
            key,
            &mut |filing, measure, times| {
                assert_eq!(times, 1, "nothing can be taken from nothing");
                for cell in filing.cells() {
                    assert!(cells.entry(cell).or_default().count(measure, times));
                }
            },
        );
    }
    cells
}

fn stored_keys(rows: &[Row]) -> Vec<(Table, Vec<u8>)> {
    let key = |row: &Row| match row {
        Row::Message(key, ..) => (Table::Messages, layout::message(key)),
        Row::Cell(cell, _) => {
            let (table, key) = layout::cell(cell);
            (table.into(), key)
        }
    };
    rows.iter().map(key).collect()
}

/// The lives of a few messages of a channel, some before and some after its opt-in.
fn lives(of: &str) -> Vec<Event> {
    let mut events = vec![opt_in(of, 4_000), category(of, Category::Utility, 3_000)];
    for id in 0..9 {
        let late = i64::from(id) * 1_000;
        events.extend([send(of, id, late), status(of, id, Status::Sent, late + 1)]);
        events.push(status(of, id, Status::Read, late + 700));
    }
    events
}

pub(super) async fn a_scan_gives_every_row_in_the_order_of_keys(home: &Home) {
    let mut ledger = home.open();
    let mut model = Model::default();
    for of in LOOK_ALIKES {
        record(&ledger, lives(of)).await;
        assert!(lives(of).iter().all(|event| model.record(NOW, event)));
    }
    for _ in 0..2 {
        let (position, all) = pages(&ledger, EVER, None).await;
        let (all, messages) = (all.concat(), rows(&ledger, What::Messages, None).await);
        assert_eq!(position, 6);
        assert_eq!(cells(&all), model.cells());
        assert_eq!((messages.len(), counted(&messages)), (6 * 9, model.cells()));
        for rows in [&all, &messages] {
            assert!(stored_keys(rows).is_sorted_by(|a, b| a < b));
        }
        assert_eq!(rows(&ledger, What::Nothing, None).await, []);
        ledger = home.reopen(ledger, true).await;
    }
}

pub(super) async fn a_scan_of_some_channels_gives_no_row_of_another(home: &Home) {
    let ledger = home.open();
    for of in LOOK_ALIKES {
        record(&ledger, lives(of)).await;
    }
    let of = |row: &Row| match row {
        Row::Message(key, ..) => key.channel.clone(),
        Row::Cell(cell, _) => cell.channel.clone(),
    };
    for what in [What::Messages, EVER] {
        let all = rows(&ledger, what, None).await;
        for wanted in [&[][..], &["none"], &["a"], &["aa", "a!"], &["~", "a", "~", "none"]] {
            let found = rows(&ledger, what, Some(wanted)).await;
            let mut expected = all.clone();
            let wanted: Vec<ChannelId> = wanted.iter().map(|id| channel(id)).collect();
            expected.retain(|row| wanted.contains(&of(row)));
            assert_eq!(found, expected, "{wanted:?}");
        }
    }
}

pub(super) async fn a_scan_of_a_window_gives_the_cells_that_begin_in_it(home: &Home) {
    let ledger = home.open();
    record(&ledger, lives("a")).await;
    let all = cells(&rows(&ledger, EVER, None).await);
    let noon = Atom::of(NOON).0;
    for (from, to) in [(noon, noon + 1), (noon + 2, noon + 7), (noon + 3, noon + 3)] {
        let window = Window { from: Atom(from), to: Atom(to) };
        let mut expected = all.clone();
        expected.retain(|cell, _| (from..to).contains(&cell.atom.0));
        assert_eq!(cells(&rows(&ledger, What::Cells(window), None).await), expected);
        assert_eq!(expected.is_empty(), from == to);
    }
    assert_eq!(cells(&rows(&ledger, What::Cells(always()[0]), None).await), all);
}

pub(super) async fn a_page_is_bounded(home: &Home) {
    let ledger = home.open();
    let count = |pages: &[Vec<Row>]| pages.iter().map(Vec::len).collect::<Vec<_>>();
    let most = u16::try_from(ROWS_MAX).unwrap();
    for (n, expected) in [
        (most - 1, vec![ROWS_MAX - 1]),
        (most, vec![ROWS_MAX]),
        (most + 1, vec![ROWS_MAX, 1]),
        (2 * most, vec![ROWS_MAX; 2]),
    ] {
        record(&ledger, (0..n).map(numbered).collect()).await;
        let (_, pages) = pages(&ledger, What::Messages, None).await;
        assert_eq!(count(&pages), expected, "{n}");
    }
}

/// A message of its own for every number.
fn numbered(n: u16) -> Event {
    let mut event = message("a", 0, i64::from(n), Some(Status::Sent));
    event.message.0[..2].copy_from_slice(&n.to_be_bytes());
    Event::Message(event)
}

pub(super) async fn a_scan_is_of_one_moment_whatever_is_recorded_meanwhile(home: &Home) {
    let ledger = home.open();
    let before = record(&ledger, (0..1_500).map(numbered).collect()).await;
    let scan = Scan { what: What::Messages, channels: None };
    let mut scanned = ledger.scan(scan).await.unwrap();
    assert_eq!(scanned.position, before);
    let next = move || {
        let page = scanned.pages.next();
        (page, scanned)
    };
    let (first, mut scanned) = tokio::task::spawn_blocking(next).await.unwrap();
    // Behind the page that was read, and before it: new messages, and what changes the old ones.
    let mut meanwhile: Vec<Event> = (1_500..3_000).map(numbered).collect();
    meanwhile.extend(lives("Z"));
    meanwhile.push(opt_in("a", 0));
    for n in [3, 1_400] {
        let Event::Message(event) = numbered(n) else { unreachable!() };
        let status = Some(Status::Read);
        meanwhile.push(Event::Message(MessageEvent { status, ..event }));
    }
    record(&ledger, meanwhile).await;
    ledger.digest().await.unwrap();
    let rest = tokio::task::spawn_blocking(move || {
        scanned.pages.next().into_iter().chain(scanned.pages).collect::<Vec<_>>()
    });
    let pages = std::iter::once(first.unwrap()).chain(rest.await.unwrap());
    let rows: Vec<Row> = pages.flat_map(Result::unwrap).collect();
    let mut model = Model::default();
    assert!((0..1_500).all(|n| model.record(NOW, &numbered(n))));
    assert_eq!((rows.len(), counted(&rows)), (1_500, model.cells()));
}

pub(super) async fn a_scan_while_others_record_has_what_its_position_says(home: &Home) {
    let ledger = home.open();
    let recording = Arc::clone(&ledger);
    // One message an entry, and each has its time from its position: nothing else is in between.
    let mut recorder = JoinSet::new();
    recorder.spawn(async move {
        for n in 1..=600 {
            recording.record(batch(vec![numbered(n)])).await.unwrap();
        }
    });
    let mut last = 0;
    while last < 600 {
        let (position, pages) = pages(&ledger, What::Messages, None).await;
        assert!(position >= last);
        last = position;
        let mut model = Model::default();
        for n in 1..=u16::try_from(position).unwrap() {
            model.record(NOW, &numbered(n));
        }
        assert_eq!(counted(&pages.concat()), model.cells());
        let (position, pages) = self::pages(&ledger, EVER, None).await;
        let sent: i64 = cells(&pages.concat()).values().map(|totals| totals.sent).sum();
        assert_eq!(u64::try_from(sent), Ok(position));
    }
    recorder.join_all().await;
}
