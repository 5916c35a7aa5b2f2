//! Every version ever written is read for ever: rows and entries as they were stored once.
//!
//! A fixture that is missing is made, and the test fails once, so that it is checked in. One that
//! no longer fits means that stored data would not be understood: raise the version instead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twoticks_core::channel::Channel;
use twoticks_core::event::{
    Button, ButtonKind, Category, Claim, Cost, Event, MessageEvent, Pricing, Sign, Source, Status,
    TapEvent,
};
use twoticks_core::fold::Touched;
use twoticks_core::ids::Hash;
use twoticks_core::message::Message;
use twoticks_core::tap::Tap;
use twoticks_core::totals::Totals;

use super::full_batch;
use super::told::{at, batch, category, channel, message, opt_in, send, status, template, text};
use crate::day::{self, Day, Sums};
use crate::entry;
use crate::keys::Keys;
use crate::layout::{self, CellTable};
use crate::ledger::{Batch, Entry, Ledger};
use crate::memory::MemoryLedger;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The bytes of a fixture; those that `make` gives are kept if there is none.
fn fixture(name: &str, make: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = data(name);
    if !path.exists() {
        std::fs::write(&path, make()).unwrap();
        panic!("`{}` was not there and is made now: check it in", path.display());
    }
    std::fs::read(path).unwrap()
}

/// Facts that leave nothing out.
fn events() -> Vec<Event> {
    let pricing = |micros| Pricing {
        category: text("marketing"),
        kind: text("regular"),
        model: text("PMP"),
        cost: Cost::new(text("USD"), micros),
    };
    let tap = |id, message, sign| {
        Event::Tap(TapEvent {
            channel: channel("cams-1"),
            number: super::told::message("cams-1", 0, 0, None).number,
            id: Hash([id; 16]),
            time: at(9),
            button: Button { kind: ButtonKind::QuickReply, text: text("Yes") },
            message,
            sign,
        })
    };
    let claim = |source, campaign| Some(Claim { source, template: Some(template()), campaign });
    let priced = MessageEvent {
        pricing: Some(pricing(45_000).into()),
        claim: claim(Source::Sign, Some(text("spring"))).map(Into::into),
        ..message("cams-1", 2, 2, Some(Status::Delivered))
    };
    let failed = MessageEvent {
        error: Some(131_049),
        claim: claim(Source::Receipt, None).map(Into::into),
        ..message("cams-1", 3, 3, Some(Status::Failed))
    };
    let in_group = MessageEvent {
        participant: vec![Hash([1; 16]), Hash([2; 16])],
        claim: Some(Claim { source: Source::Import, template: None, campaign: None }.into()),
        ..message("cams-1", 4, 4, Some(Status::Read))
    };
    let sign = Sign { template: template(), campaign: Some(text("autumn")) };
    let mut events = vec![
        opt_in("cams-1", 1),
        category("cams-1", Category::Marketing, 0),
        category("cams-1", Category::Utility, 5),
        send("cams-1", 1, 0),
        Event::Message(priced),
        Event::Message(failed),
        Event::Message(in_group),
        tap(1, Some(Hash([2; 16])), None),
        tap(2, None, Some(sign)),
        tap(3, None, None),
    ];
    events.extend(Status::ALL.map(|told| status("cams-1", 1, told, 1)));
    events
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

#[tokio::test]
async fn rows_of_version_1_are_read_for_ever() {
    let ledger = MemoryLedger::new();
    ledger.record(batch(events())).await.unwrap();
    let now: Vec<String> = ledger
        .rows()
        .iter()
        .map(|(table, key, value)| format!("{table:?} {} {}\n", hex(key), hex(value)))
        .collect();
    let stored = fixture("rows-v1.txt", || now.concat().into_bytes());
    let stored = String::from_utf8(stored).unwrap();
    for line in stored.lines() {
        let [table, key, value] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let (key, value) = (unhex(key), unhex(value));
        let again = match table {
            "Messages" => {
                let row: Touched<Message> = layout::row(&value).unwrap();
                (layout::message(&layout::read_message(&key).unwrap()), layout::value(&row))
            }
            "Taps" => {
                let row: Touched<Tap> = layout::row(&value).unwrap();
                (layout::tap(&layout::read_tap(&key).unwrap()), layout::value(&row))
            }
            "Channels" => {
                let row: Channel = layout::row(&value).unwrap();
                (layout::channel(&layout::read_channel(&key).unwrap().0), layout::value(&row))
            }
            // Cells are stored by days (`day`) and stand for themselves in digests only.
            "Numbers" | "Templates" => {
                let row: Totals = layout::row(&value).unwrap();
                (key.clone(), layout::value(&row))
            }
            other => panic!("`{other}` is no table"),
        };
        assert_eq!(again, (key, value), "{line}");
    }
    // And what is written today is what was written then.
    assert_eq!(now.concat(), stored);
}

#[test]
fn entries_of_every_version_are_read_for_ever() {
    let keys = Arc::new(Keys::from_bytes([7; 32]));
    let given = Batch { events: events(), ..full_batch() };
    for name in ["entry-v1.bin", "entry-v2.bin", "entry-v3.bin"] {
        let stored = fixture(name, || entry::encode(&keys, given.clone()).0);
        let entry = entry::decode(&keys, Path::new("journal"), 9, &stored).unwrap();
        assert_eq!(entry, Entry { position: 9, batch: given.clone() }, "{name}");
    }
}

#[tokio::test]
async fn rows_of_days_of_version_1_are_read_for_ever() {
    let ledger = MemoryLedger::new();
    ledger.record(batch(events())).await.unwrap();
    let mut days: BTreeMap<(CellTable, Vec<u8>), Day> = BTreeMap::new();
    for (cell, totals) in ledger.cells() {
        let (table, subject, place) = layout::place(&cell);
        let (mut sums, mut extras) = (Sums::default(), Vec::new());
        sums.add(&totals, |extra| {
            extras.push(extra);
            u32::try_from(extras.len() - 1).unwrap()
        });
        let key = layout::day(&subject, day::of(cell.atom));
        assert!(days.entry((table, key)).or_default().add(place, &sums, &extras));
    }
    let now: Vec<String> = days
        .iter()
        .map(|((table, key), row)| {
            format!("{table:?} {} {}\n", hex(key), hex(&row.encode(layout::VALUE_VERSION)))
        })
        .collect();
    let stored = fixture("days-v1.txt", || now.concat().into_bytes());
    let stored = String::from_utf8(stored).unwrap();
    for line in stored.lines() {
        let [_, _, value] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let value = unhex(value);
        let row = Day::decode(layout::versioned(&value).unwrap()).unwrap();
        assert_eq!(row.encode(layout::VALUE_VERSION), value, "{line}");
    }
    // And what is written today is what was written then.
    assert_eq!(now.concat(), stored);
}
