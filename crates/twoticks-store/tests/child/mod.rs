//! A process of its own that records: this test binary, run again with one test and a folder.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use twoticks_core::clock::Time;
use twoticks_core::event::{Event, MessageEvent, Status};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber};
use twoticks_core::query::{Query, Select};
use twoticks_core::totals::Atom;
use twoticks_core::window::Window;
use twoticks_store::embedded::Embedded;
use twoticks_store::keys::Keys;
use twoticks_store::ledger::{Batch, Kind, Ledger};

const NOW: Time = Time(1_800_000_000_000);
const FOLDER: &str = "TWOTICKS_TEST_FOLDER";

/// Runs the test `name` of this binary again as a child that works in `folder`; there [`told`]
/// says so, and the test plays the child's part.
pub(crate) fn start(name: &str, folder: &Path, round: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(FOLDER, folder)
        .env("TWOTICKS_TEST_ROUND", round.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The folder and the round, if this process is a child.
pub(crate) fn told() -> Option<(OsString, u32)> {
    let round = std::env::var_os("TWOTICKS_TEST_ROUND")?;
    Some((std::env::var_os(FOLDER)?, round.to_str()?.parse().ok()?))
}

pub(crate) fn open(folder: &Path) -> Embedded {
    Embedded::open(folder, Arc::new(Keys::from_bytes([5; 32]))).unwrap()
}

/// `sent` of messages of their own: `round`, `task` and `first..first + count` name them.
pub(crate) fn batch(round: u32, task: u32, first: u32, count: u32) -> Batch {
    let event = |n: u32| {
        let mut id = [0; 16];
        for (part, number) in id.chunks_exact_mut(4).zip([round, task, n, 0]) {
            part.copy_from_slice(&number.to_be_bytes());
        }
        Event::Message(MessageEvent {
            channel: ChannelId::new("cams-1").unwrap(),
            number: PhoneNumber::new("15550001").unwrap(),
            message: Hash(id),
            participant: vec![],
            time: Time(NOW.0 - i64::from(n % 1_000) * 60_000),
            status: Some(Status::Sent),
            error: None,
            pricing: None,
            claim: None,
        })
    };
    Batch {
        kind: Kind::Webhook,
        accepted: NOW,
        origin: "/webhooks/whatsapp".to_owned(),
        channel: None,
        group: None,
        events: (first..first + count).map(event).collect(),
        dead: vec![],
        resolves: None,
        body: format!("{round} {task} {first} {count}").into_bytes(),
    }
}

/// How many messages the totals say were sent.
pub(crate) async fn sent(ledger: &dyn Ledger) -> i64 {
    let windows = vec![Window { from: Atom(0), to: Atom(i32::MAX) }];
    let select = Select::Numbers { number: None, attribution: None };
    let channel = ChannelId::new("cams-1").unwrap();
    let points = ledger.series(Query { channel, select, side: None, windows }).await.unwrap();
    points.iter().map(|point| point.totals.sent).sum()
}
