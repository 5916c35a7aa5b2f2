//! A ledger in memory that can be told to refuse, to be damaged, or to be slow.

use std::collections::BTreeSet;
use std::sync::{Mutex, mpsc};

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use twoticks_core::channel::Channel;
use twoticks_core::ids::ChannelId;
use twoticks_core::message::{Message, MessageKey};
use twoticks_core::query::{Point, Query};
use twoticks_store::error::Error;
use twoticks_store::ledger::{Batch, Counters, Digest, Entry, Ledger, Look, Looked, Receipt};
use twoticks_store::memory::MemoryLedger;
use twoticks_store::scan::{Scan, Scanned};

/// A ledger in memory that refuses, is damaged or waits while it is told to.
#[derive(Default)]
pub(crate) struct Moody {
    inner: MemoryLedger,
    refuse: Mutex<Option<fn() -> Error>>,
    damaged: Mutex<BTreeSet<u64>>,
    /// From where on pages of entries are held, and from where on single entries are.
    pages: watch::Sender<Option<u64>>,
    singles: watch::Sender<Option<u64>>,
    hold: Mutex<Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>>,
}

/// How entries are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Page,
    Single,
}

/// A scan that is held before its first page.
pub(crate) struct Held {
    /// Somebody asks for the page.
    pub(crate) asked: oneshot::Receiver<()>,
    /// Lets it go on.
    pub(crate) go_on: mpsc::Sender<()>,
}

impl Moody {
    /// Holds the next scan.
    pub(crate) fn hold(&self) -> Held {
        let ((ask, asked), (go_on, gate)) = (oneshot::channel(), mpsc::channel());
        *self.hold.lock().unwrap() = Some((ask, gate));
        Held { asked, go_on }
    }

    /// Has the entries at these positions be damaged.
    pub(crate) fn damage(&self, positions: impl IntoIterator<Item = u64>) {
        self.damaged.lock().unwrap().extend(positions);
    }

    /// Holds whoever asks for entries from `from` on, for a page or for one; none lets them go on.
    pub(crate) fn hold_entries(&self, kind: Asked, from: Option<u64>) {
        self.held(kind).send_replace(from);
    }

    /// Waits until somebody is held.
    pub(crate) async fn is_holding(&self, kind: Asked) {
        while self.held(kind).receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
    }

    fn held(&self, kind: Asked) -> &watch::Sender<Option<u64>> {
        match kind {
            Asked::Page => &self.pages,
            Asked::Single => &self.singles,
        }
    }

    /// Entries, if none of them is damaged.
    fn whole(&self, entries: Vec<Entry>) -> Result<Vec<Entry>, Error> {
        let damaged = self.damaged.lock().unwrap();
        match entries.iter().find(|entry| damaged.contains(&entry.position)) {
            None => Ok(entries),
            Some(entry) => Err(Error::Corrupt {
                what: format!("entry {}", entry.position),
                place: "memory".into(),
                remedy: "this is a test",
            }),
        }
    }

    pub(crate) fn refuse(&self, why: Option<fn() -> Error>) {
        *self.refuse.lock().unwrap() = why;
    }
}

#[async_trait]
impl Ledger for Moody {
    async fn record(&self, batch: Batch) -> Result<Receipt, Error> {
        let refuse = *self.refuse.lock().unwrap();
        match refuse {
            Some(why) => Err(why()),
            None => self.inner.record(batch).await,
        }
    }
    async fn series(&self, query: Query) -> Result<Vec<Point>, Error> {
        self.inner.series(query).await
    }
    async fn channel(&self, id: &ChannelId) -> Result<Channel, Error> {
        self.inner.channel(id).await
    }
    async fn entries(&self, from: u64, most: usize) -> Result<Vec<Entry>, Error> {
        let kind = if most > 1 { Asked::Page } else { Asked::Single };
        let mut held = self.held(kind).subscribe();
        held.wait_for(|held| held.is_none_or(|held| from < held)).await.unwrap();
        drop(held);
        self.whole(self.inner.entries(from, most).await?)
    }
    fn newest(&self) -> u64 {
        self.inner.newest()
    }
    async fn group(&self, channel: &ChannelId, group: &str) -> Result<Vec<Entry>, Error> {
        self.whole(self.inner.group(channel, group).await?)
    }
    async fn dead_letters(&self, from: u64, most: usize) -> Result<Vec<Entry>, Error> {
        self.inner.dead_letters(from, most).await
    }
    async fn accepted(&self, look: Look) -> Result<Looked, Error> {
        self.inner.accepted(look).await
    }
    async fn messages(&self, keys: Vec<MessageKey>) -> Result<Vec<Option<Message>>, Error> {
        self.inner.messages(keys).await
    }
    async fn digest(&self) -> Result<Digest, Error> {
        self.inner.digest().await
    }
    async fn scan(&self, scan: Scan) -> Result<Scanned, Error> {
        let Scanned { position, mut pages } = self.inner.scan(scan).await?;
        let mut hold = self.hold.lock().unwrap().take();
        let pages = std::iter::from_fn(move || {
            if let Some((ask, gate)) = hold.take() {
                ask.send(()).unwrap();
                gate.recv().unwrap();
            }
            pages.next()
        });
        Ok(Scanned { position, pages: Box::new(pages) })
    }
    async fn failed(&self) -> Error {
        self.inner.failed().await
    }
    fn counters(&self) -> Counters {
        self.inner.counters()
    }
    async fn close(&self) -> Result<(), Error> {
        self.inner.close().await
    }
}
