//! What is being done to channels from the page, one thing at a time for each, and what became of
//! the last. A page that does not wait any longer finds it here later. It lives in the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::oneshot;
use twoticks_core::clock::{SECOND, Time};
use twoticks_core::ids::ChannelId;
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::names::Uid;

use super::form::{Action, Wrong};

/// How many changes an account may ask for in a minute of the clock.
pub(crate) const TRIES_PER_MINUTE: u32 = 20;
/// A minute, in milliseconds.
const MINUTE: i64 = 60 * SECOND;

/// Where changes of channels are written down while they are made, and when they are.
#[derive(Default)]
pub struct Desk(Mutex<Books>);

#[derive(Default)]
struct Books {
    /// At most one for each channel there is.
    works: HashMap<ChannelId, Work>,
    /// The minute that each account asked in last, and how often.
    tries: HashMap<Uid, (i64, u32)>,
}

/// Something that is done to a channel.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) action: Action,
    /// When it began, or ended.
    pub(super) at: Time,
    /// What became of it; nothing while it goes on.
    pub(super) ended: Option<Result<Arc<Value>, Wrong>>,
}

impl Desk {
    /// Counts a try of `account`; whether it may have it.
    pub(super) fn try_once(&self, account: &Uid, now: Time) -> bool {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.0.div_euclid(MINUTE);
        // What is of another minute counts no more; so there is one for each account at the most.
        books.tries.retain(|_, (of, _)| *of == minute);
        let (_, tries) = books.tries.entry(account.clone()).or_insert((minute, 0));
        let may = *tries < TRIES_PER_MINUTE;
        *tries += u32::from(may);
        may
    }

    /// Begins `action`, unless something is being done to the channel already; with what is
    /// closed when it has ended.
    pub(super) fn begin(
        self: &Arc<Self>,
        snapshot: &Snapshot,
        channel: &ChannelId,
        action: Action,
        now: Time,
    ) -> Option<(Begun, oneshot::Receiver<()>)> {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.works.retain(|known, _| snapshot.channel(known).is_some());
        if books.works.get(channel).is_some_and(|work| work.ended.is_none()) {
            return None;
        }
        books.works.insert(channel.clone(), Work { action, at: now, ended: None });
        let (over, is_over) = oneshot::channel();
        let desk = Arc::clone(self);
        Some((Begun { desk, channel: channel.clone(), is_over: false, _over: over }, is_over))
    }

    /// What is being done to a channel, or was done last.
    pub(super) fn work(&self, channel: &ChannelId) -> Option<Work> {
        let books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.works.get(channel).cloned()
    }

    /// What was done is told, and need not be told again.
    pub(super) fn forget(&self, channel: &ChannelId) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.works.remove(channel);
    }

    fn end(&self, channel: &ChannelId, at: Option<Time>, result: Result<Arc<Value>, Wrong>) {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = books.works.get_mut(channel) {
            work.at = at.unwrap_or(work.at);
            work.ended = Some(result);
        }
    }
}

/// Something that has begun and ends, also by being dropped.
pub(super) struct Begun {
    desk: Arc<Desk>,
    channel: ChannelId,
    is_over: bool,
    /// Dropped last: whoever waits finds the end written down.
    _over: oneshot::Sender<()>,
}

impl Begun {
    pub(super) fn end(mut self, at: Time, result: Result<Value, Wrong>) {
        self.is_over = true;
        self.desk.end(&self.channel, Some(at), result.map(Arc::new));
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.is_over {
            let text = "it was broken off, and the log may say why; look what is there now";
            self.desk.end(&self.channel, None, Err(Wrong::all(text)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;
    use twoticks_store::directory::Directory as _;
    use twoticks_store::directory::memory::MemoryDirectory;

    use super::*;

    #[test]
    fn an_account_has_so_many_tries_in_a_minute() {
        let desk = Desk::default();
        let [one, other] = ["1000000000000001", "1000000000000002"].map(|it| Uid::new(it).unwrap());
        let now = Time(1_795_000_000_000 / MINUTE * MINUTE);
        for _ in 0..TRIES_PER_MINUTE {
            assert!(desk.try_once(&one, now));
        }
        assert!(!desk.try_once(&one, now.plus(MINUTE - 1)));
        assert!(desk.try_once(&other, now.plus(MINUTE - 1)));
        assert!(desk.try_once(&one, now.plus(MINUTE)));
    }

    #[test]
    fn one_thing_is_done_at_a_time_and_what_is_broken_off_has_ended() {
        let desk = Arc::new(Desk::default());
        let snapshot = MemoryDirectory::new().snapshot();
        let (channel, now) = (ChannelId::new("cams-1").unwrap(), Time(1));
        let begin = |at| desk.begin(&snapshot, &channel, Action::Sync, at);
        let (begun, mut is_over) = begin(now).unwrap();
        assert!(is_over.try_recv().is_err_and(|why| why == TryRecvError::Empty));
        assert!(desk.work(&channel).unwrap().ended.is_none());
        begun.end(Time(2), Ok(Value::Null));
        assert!(is_over.try_recv().is_err_and(|why| why == TryRecvError::Closed));
        let ended = desk.work(&channel).unwrap();
        assert!(ended.at == Time(2) && ended.ended.unwrap().is_ok());
        drop(begin(now));
        assert!(desk.work(&channel).unwrap().ended.unwrap().is_err());
        // A channel that is not there any more takes no room.
        drop(desk.begin(&snapshot, &ChannelId::new("cams-2").unwrap(), Action::Sync, now));
        assert!(desk.work(&channel).is_none());
    }
}
