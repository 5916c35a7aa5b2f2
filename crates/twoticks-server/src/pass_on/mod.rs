//! What WhatsApp tells, passed on: receipts in the form of CAMS, and the webhooks as they come.
//!
//! The journal is the queue: every acknowledged webhook is in it, and each destination has a cursor
//! ([`book`], kept by `twoticks_store::cursors`). [`run`] reads forward once for all who are equally
//! far, [`parcels`] says what of an entry goes where, [`post`] posts it, and [`guard`](crate::outside::guard) says where
//! nothing is posted to. What always holds: ingestion waits for none of it and the journal is kept
//! for none of it; what was accepted while a destination is configured is posted at least once, or
//! was tried [`book::RETRIES`] and given up, or the journal was trimmed past it, and each of these
//! is counted; one destination does not wait for another; no log has an address, a number or a part
//! of a body.

pub mod book;
pub mod parcels;
pub mod post;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use twoticks_core::ids::Hash;
use twoticks_store::cursors::{Cursor, Cursors};
use twoticks_store::directory::Snapshot;
use twoticks_store::error::Error;
use twoticks_store::journal::Position;
use twoticks_store::ledger::Entry;

use self::book::{Book, Due, End, Stand, Turn};
use self::parcels::{Context, Destination, Since, cut};
use self::post::{Parcel, Poster};
use crate::app::App;
use crate::outside::guard::Guard;
use crate::settings;

/// How many entries are read at once.
const PAGE: usize = 100;
/// How often it is looked whether something is due again, and what has changed is kept.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many damaged entries are passed over at once.
const DAMAGED_MAX: u64 = 100;
/// Whoever takes longer than this to take something gives way to others.
const SLOW: Duration = Duration::from_secs(1);
/// An entry with a longer body is cut on a thread that may block.
const INLINE_BYTES_MAX: usize = 32 * 1024;

/// What is passed on, and how far it is.
pub struct PassOn {
    cursors: Arc<Cursors>,
    book: Mutex<Settled>,
    poster: Poster,
    bell: Notify,
    /// Held while cursors are kept, so that an older one does not come behind a newer one.
    keeping: tokio::sync::Mutex<()>,
}

/// The book, and the directory that it was settled by.
#[derive(Default)]
struct Settled {
    book: Book,
    by: Option<Arc<Snapshot>>,
    /// From which entry on numbers are with their channels,
    since: Arc<Since>,
    /// and what is known by that.
    numbers: BTreeMap<Hash, Position>,
    /// Those of them that are new, until that is kept.
    begun: Vec<(Hash, Cursor)>,
    /// Those that are not there any more, until that is kept.
    forgotten: Vec<Hash>,
}

/// A post that has ended.
struct Landed {
    id: Hash,
    position: Position,
    end: End,
}

impl PassOn {
    /// Passes on as `settings` allow, going on where `cursors` say.
    #[must_use]
    pub fn new(settings: &settings::Outside, cursors: Cursors) -> Self {
        Self {
            cursors: Arc::new(cursors),
            book: Mutex::default(),
            poster: Poster::new(Guard::new(settings.networks.clone(), settings.http)),
            bell: Notify::new(),
            keeping: tokio::sync::Mutex::new(()),
        }
    }

    /// Says which URLs may be posted to.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        self.poster.guard()
    }

    /// Something was acknowledged, or the clock was turned.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// The directory has changed: new destinations begin now. Durable when it returns, unless the
    /// disk does not do it, which is logged and tried again.
    pub async fn changed(&self, app: &App) {
        self.settle(app);
        self.keep().await;
        self.ring();
    }

    /// How every destination stands.
    #[must_use]
    pub fn stands(&self, app: &App) -> Vec<Stand> {
        self.settle(app);
        self.lock().book.stands(app.ledger.newest())
    }

    /// Returns when the disk has failed for good.
    pub(crate) async fn failed(&self) -> Error {
        self.cursors.failed().await
    }

    /// Lets go of the cursors.
    pub(crate) async fn close(&self) {
        let cursors = Arc::clone(&self.cursors);
        // It panics only with the process.
        drop(tokio::task::spawn_blocking(move || cursors.close()).await);
    }

    fn lock(&self) -> MutexGuard<'_, Settled> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory, and from which entry on its numbers are with their channels.
    fn settled_by(&self, app: &App) -> (Arc<Snapshot>, Arc<Since>) {
        self.settle(app);
        let settled = self.lock();
        let by = settled.by.clone().unwrap_or_else(|| app.directory.snapshot());
        (by, Arc::clone(&settled.since))
    }

    /// Has the book's destinations be those of the directory.
    fn settle(&self, app: &App) {
        let mut settled = self.lock();
        let newest = app.ledger.newest();
        settled.book.begin_anew_behind(newest);
        let snapshot = app.directory.snapshot();
        if settled.by.as_ref().is_some_and(|by| Arc::ptr_eq(by, &snapshot)) {
            return;
        }
        let known = if settled.by.is_none() { self.cursors.all() } else { BTreeMap::new() };
        let mut wanted: BTreeMap<Hash, Destination> = BTreeMap::new();
        let (mut since, mut numbers) = (Since::new(), BTreeMap::new());
        for (channel, of) in snapshot.all_pass_on() {
            let all = parcels::destinations(channel, of);
            wanted.extend(all.into_iter().map(|to| (to.id(&app.keys), to)));
            for number in snapshot.numbers_of(channel) {
                let id = parcels::number_id(&app.keys, number);
                let before = settled.numbers.get(&id).copied();
                let before = before.or_else(|| known.get(&id).map(|cursor| cursor.next));
                let before = before.filter(|from| *from <= newest + 1);
                let from = before.unwrap_or(newest + 1);
                if before.is_none() {
                    settled.begun.push((id, Cursor { next: from, open: Vec::new() }));
                }
                numbers.insert(id, from);
                since.insert(number.phone_number_id.clone(), from);
            }
        }
        let is_gone = |id: &Hash| !wanted.contains_key(id) && !numbers.contains_key(id);
        let gone: Vec<Hash> =
            known.keys().chain(settled.numbers.keys()).filter(|id| is_gone(id)).copied().collect();
        settled.forgotten.extend(gone);
        let gone = settled.book.settle(wanted, &known, newest);
        settled.forgotten.extend(gone.iter().map(|gone| gone.id));
        for gone in gone.iter().filter(|gone| gone.open + gone.behind > 0) {
            app.telemetry.passed_on(gone.to.form.as_str(), "skipped", gone.open);
            warn!(
                channel.id = %gone.to.channel,
                pass_on.to = %gone.id,
                pass_on.form = gone.to.form.as_str(),
                pass_on.open = gone.open,
                pass_on.behind = gone.behind,
                "a destination is not there any more, and what it had not taken goes with it"
            );
        }
        settled.numbers = numbers;
        settled.since = Arc::new(since);
        settled.by = Some(snapshot);
    }

    /// Has what has changed be on disk.
    async fn keep(&self) {
        let _alone = self.keeping.lock().await;
        let (forgotten, dirty) = {
            let mut settled = self.lock();
            let mut dirty = settled.book.dirty();
            dirty.append(&mut settled.begun);
            let mut forgotten = std::mem::take(&mut settled.forgotten);
            // One that went and is there again is not forgotten.
            let is_there: HashSet<Hash> = dirty.iter().map(|(id, _)| *id).collect();
            forgotten.retain(|id| !is_there.contains(id));
            (forgotten, dirty)
        };
        let kept = async {
            // In this order: whoever is instead of another one must not be forgotten with it.
            if !dirty.is_empty() {
                self.cursors.keep(dirty.clone()).await?;
            }
            self.cursors.forget(forgotten.clone()).await
        };
        if let Err(why) = kept.await {
            let mut settled = self.lock();
            settled.forgotten.extend(forgotten);
            settled.book.still_dirty(&dirty);
            let numbers = settled.numbers.clone();
            settled.begun.extend(dirty.into_iter().filter(|(id, _)| numbers.contains_key(id)));
            warn!(
                error = &why as &dyn std::error::Error,
                "how far what is passed on has come cannot be kept; it is tried again"
            );
        }
    }
}

/// Passes on until the server stops.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    let pass_on = &app.pass_on;
    // Tasks of their own: a post that waited for this loop would seem to take too long.
    let mut flying: JoinSet<Landed> = JoinSet::new();
    let mut kept = Instant::now();
    while !stop.is_cancelled() {
        let rung = pass_on.bell.notified();
        pass_on.settle(&app);
        let is_behind = read(&app).await;
        while let Some(landed) = flying.try_join_next() {
            land(&app, whole(landed));
        }
        let due = pass_on.lock().book.due(app.clock.now());
        for due in due {
            flying.spawn(deliver(Arc::clone(&app), due));
        }
        if kept.elapsed() >= LOOK_EVERY {
            pass_on.keep().await;
            kept = Instant::now();
        }
        let is_restless = pass_on.lock().book.is_restless();
        tokio::select! {
            () = stop.cancelled() => {}
            Some(landed) = flying.join_next() => land(&app, whole(landed)),
            () = rung => {}
            () = tokio::task::yield_now(), if is_behind => {}
            () = tokio::time::sleep(LOOK_EVERY), if is_restless => {}
        }
    }
    // They come back soon, and whoever took something need not get it twice.
    while let Some(landed) = flying.join_next().await {
        land(&app, whole(landed));
    }
    pass_on.lock().book.soil();
    pass_on.keep().await;
}

/// What a task found; its panic is this one's.
fn whole(landed: Result<Landed, JoinError>) -> Landed {
    landed.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Reads on for whoever waits longest, and for all who are there as well; whether there is more.
async fn read(app: &Arc<App>) -> bool {
    let (newest, now) = (app.ledger.newest(), app.clock.now());
    let Some(from) = app.pass_on.lock().book.read_from(newest, now) else { return false };
    let (entries, looked) = match legible(app, from, newest).await {
        Ok(read) => read,
        Err(why) => {
            app.pass_on.lock().book.unread(from, now);
            error!(
                error = &why as &dyn std::error::Error,
                "the journal cannot be read; what is to be passed on waits"
            );
            return true;
        }
    };
    // What was there a moment ago and is not any more was trimmed or is damaged: all of it.
    let first = entries.first().map_or(looked + 1, |entry| entry.position);
    let until = entries.last().map_or(looked, |entry| entry.position);
    let bytes = entries.iter().map(|entry| entry.batch.body.len()).sum();
    let of = Arc::clone(app);
    let found = off_the_runtime(bytes, move || {
        let (snapshot, since) = of.pass_on.settled_by(&of);
        let context = Context { snapshot: &snapshot, keys: &of.keys, since: &since };
        let ids = |entry: &Entry| {
            let ids: HashSet<Hash> = cut(context, entry).into_keys().collect();
            (!ids.is_empty()).then_some((entry.position, entry.batch.accepted, ids))
        };
        entries.iter().filter_map(ids).collect::<Vec<_>>()
    });
    let found = found.await.unwrap_or_default();
    for (to, missed) in app.pass_on.lock().book.offer((from, first, until), &found, now) {
        app.telemetry.passed_on(to.form.as_str(), "skipped", missed);
        warn!(
            channel.id = %to.channel,
            pass_on.form = to.form.as_str(),
            pass_on.skipped = missed,
            "the journal does not have what is next for a destination: it was too far behind, or what \
             is there is damaged"
        );
    }
    true
}

/// The next entries that can be read; if there are none, up to where it was looked. Damaged ones are
/// passed over, since they would hold up all that come behind them for ever.
async fn legible(
    app: &App,
    from: Position,
    newest: Position,
) -> Result<(Vec<Entry>, Position), Error> {
    let (mut next, mut most, mut damage) = (from, PAGE, None);
    let read = loop {
        match app.ledger.entries(next, most).await {
            // A page fails as a whole, whichever of its entries is damaged.
            Err(why) if most > 1 && is_damage(&why) => most = 1,
            Err(why) if is_damage(&why) => {
                damage = Some(why);
                next += 1;
                if next >= from.saturating_add(DAMAGED_MAX) {
                    break (Vec::new(), next - 1);
                }
            }
            read => break (read?, newest),
        }
    };
    if let Some(why) = damage {
        error!(
            error = &why as &dyn std::error::Error,
            journal.position = from,
            journal.damaged = next - from,
            "the journal cannot be read here, and what is in it is not passed on"
        );
    }
    Ok(read)
}

/// Whether it will be as unreadable later.
fn is_damage(why: &Error) -> bool {
    matches!(why, Error::Corrupt { .. } | Error::NewerVersion { .. })
}

/// Does `work` where it may take its time; `None` if it panicked, which was logged.
async fn off_the_runtime<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if bytes <= INLINE_BYTES_MAX {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

async fn deliver(app: Arc<App>, due: Due) -> Landed {
    let Due { id, to, position } = due;
    let end = match parcel(&app, id, position).await {
        Err(end) => end,
        Ok(parcel) => {
            let began = Instant::now();
            match app.pass_on.poster.post(&to.url, to.key.as_ref(), parcel).await {
                Ok(()) => End::Taken { is_slow: began.elapsed() > SLOW },
                Err(why) => End::Failed(why.to_string()),
            }
        }
    };
    Landed { id, position, end }
}

/// What the destination gets of an entry; else how it ends without a post.
async fn parcel(app: &Arc<App>, id: Hash, position: Position) -> Result<Parcel, End> {
    let entry = match app.ledger.entries(position, 1).await {
        Ok(mut entries) => entries.pop().filter(|entry| entry.position == position),
        Err(why) => {
            let error = &why as &dyn std::error::Error;
            if is_damage(&why) {
                error!(error, "an entry of the journal cannot be read, and is not passed on");
                return Err(End::Gone);
            }
            warn!(error, "the journal cannot be read; what is to be passed on is tried again");
            return Err(End::Hindered);
        }
    };
    let Some(entry) = entry else { return Err(End::Gone) };
    let of = Arc::clone(app);
    let cut = off_the_runtime(entry.batch.body.len(), move || {
        let (snapshot, since) = of.pass_on.settled_by(&of);
        cut(Context { snapshot: &snapshot, keys: &of.keys, since: &since }, &entry).remove(&id)
    });
    cut.await.flatten().ok_or(End::Nothing)
}

/// Counts how a post ended, and says what is worth saying.
fn land(app: &App, landed: Landed) {
    let Landed { id, position, end } = landed;
    let outcome = match &end {
        End::Taken { .. } => Some("taken"),
        End::Failed(_) => Some("failed"),
        End::Gone => Some("skipped"),
        End::Nothing | End::Hindered => None,
    };
    let ended = app.pass_on.lock().book.end(id, position, end, app.clock.now());
    let Some((to, given_up, turn)) = ended else { return };
    let form = to.form.as_str();
    if let Some(outcome) = outcome {
        app.telemetry.passed_on(form, outcome, 1);
    }
    if given_up {
        app.telemetry.passed_on(form, "given_up", 1);
    }
    let (channel, to) = (to.channel.as_str(), id.to_string());
    match turn {
        None => {}
        Some(Turn::Takes) => info!(
            channel.id = channel,
            pass_on.to = to,
            pass_on.form = form,
            "a destination takes again what is passed on"
        ),
        Some(Turn::Fails(why)) => warn!(
            channel.id = channel,
            pass_on.to = to,
            pass_on.form = form,
            "a destination does not take what is passed on, it is tried again: {why}"
        ),
        Some(Turn::GivesUp(why)) => warn!(
            channel.id = channel,
            pass_on.to = to,
            pass_on.form = form,
            "something that a destination did not take is given up, more may follow: {why}"
        ),
    }
}
