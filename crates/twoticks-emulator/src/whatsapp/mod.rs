//! The WhatsApp that runs: takes messages, keeps what is to be told until it is due, tells it.
//!
//! [`WhatsApp`] is the carrier behind the server and the sender of its webhooks. `state` is what
//! it knows, `plan` turns a message into what is going to be told of it, `parcels` what is due
//! into bodies, `receivers` is where they go, `known` what the Graph doors ask. Whoever turns the clock ([`WhatsApp::advance`]) delivers on the way, so that
//! everything arrives at its time; otherwise [`WhatsApp::run`] does, as time goes by. What always
//! holds: everything that happens comes from the seed and the order of the calls; what nobody took
//! is told again for seven days.

mod known;
mod parcels;
mod plan;
mod receivers;
mod state;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio_util::sync::CancellationToken;
use twoticks_core::clock::{Clock as _, DAY, SECOND, Time};
use twoticks_core::event::Category;
use twoticks_core::ids::{ChannelId, PhoneNumber, Template};
use twoticks_server::carrier::{Carrier, Outgoing, Refused};
use twoticks_store::directory::Directory;

pub use self::plan::template_id;
pub use self::receivers::{CALLBACK_CHARS_MAX, Callback};
pub use self::state::{Config, Liking, Quality, SendRecord, Standing, WebhookRecord};

use self::parcels::{Parcel, Taken};
use self::receivers::Lanes;
use self::state::{State, Way};
use crate::book::Book;
use crate::chaos::Chaos;
use crate::clock::{NotTurned, TurnedClock};
use crate::life::Outcome;

/// How long one turn of the clock goes on without looking, at the least: what is due within it
/// arrives together.
const TOGETHER_MIN: i64 = SECOND;
/// Into how many parts a long turn of the clock is cut at the most.
const PARTS: i64 = 2_000;
/// After what time without anything to do [`WhatsApp::run`] looks again.
const IDLE: Duration = Duration::from_secs(3_600);
/// The longest call that is remembered with what it says of all its recipients, in bytes.
const CALL_REMEMBERED_MAX: usize = 16 << 10;
/// How far a flush goes, in days: the longest delay, and all repeats.
pub const FLUSH_DAYS: i64 = 30;

/// The emulated WhatsApp.
pub struct WhatsApp {
    clock: Arc<TurnedClock>,
    directory: Arc<dyn Directory>,
    state: Mutex<State>,
    /// Something new may be due.
    woken: Notify,
    /// Held by whoever delivers or turns the clock; empty until somebody listens.
    lanes: AsyncMutex<Lanes>,
}

/// What a delivery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Bodies that were posted.
    pub bodies: u64,
    /// Updates in those that were taken.
    pub updates: u64,
    /// Bodies that were not taken, on purpose or not.
    pub refused: u64,
}

impl Delivered {
    fn add(&mut self, other: Self) {
        self.bodies += other.bodies;
        self.updates += other.updates;
        self.refused += other.refused;
    }
}

impl WhatsApp {
    /// One that has heard of nothing; it looks numbers and templates up in `directory`.
    #[must_use]
    pub fn new(clock: Arc<TurnedClock>, directory: Arc<dyn Directory>, config: Config) -> Self {
        Self {
            clock,
            directory,
            state: Mutex::new(State::new(config)),
            woken: Notify::new(),
            lanes: AsyncMutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in between may have lost something that was to be told, nothing worse.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The clock that everything goes by.
    #[must_use]
    pub fn clock(&self) -> &Arc<TurnedClock> {
        &self.clock
    }

    /// Posts its webhooks to the server on `address` from now on.
    pub async fn listen_at(&self, address: SocketAddr) {
        *self.lanes.lock().await = Lanes::to(address);
        self.woken.notify_one();
    }

    /// Tells what is due, when it is due, until `stop`; then it hangs up, since a server that
    /// stops waits for those who are connected to it.
    pub async fn run(&self, stop: &CancellationToken) {
        self.run_until(stop).await;
        *self.lanes.lock().await = Lanes::default();
    }

    async fn run_until(&self, stop: &CancellationToken) {
        loop {
            let wait = self.state().next_due().and_then(|due| self.clock.until(due));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.woken.notified() => continue,
                () = tokio::time::sleep(wait.unwrap_or(IDLE)) => {}
            }
            let mut lanes = self.lanes.lock().await;
            if lanes.is_empty() {
                // Nobody listens yet.
                drop(lanes);
                self.woken.notified().await;
                continue;
            }
            let is_live = true;
            tokio::select! {
                () = stop.cancelled() => return,
                _ = self.deliver(&mut lanes, is_live) => {}
            }
        }
    }

    /// Turns the clock to `target` and tells everything that is due on the way, each at its time
    /// (what is due within `together` milliseconds at once).
    ///
    /// # Errors
    /// [`NotTurned`]; nothing has happened then.
    pub async fn advance_by_steps(
        &self,
        target: Time,
        together: i64,
    ) -> Result<Delivered, NotTurned> {
        let mut lanes = self.lanes.lock().await;
        self.go_on(&mut lanes, self.clock.now(), target, together).await
    }

    /// Turns the clock from `now`, which it has just shown, to `target`, for whoever has the turn.
    async fn go_on(
        &self,
        lanes: &mut Lanes,
        now: Time,
        target: Time,
        together: i64,
    ) -> Result<Delivered, NotTurned> {
        if target < now {
            return Err(NotTurned::Back { now: now.0, asked: target.0 });
        }
        if target > crate::clock::LATEST {
            return Err(NotTurned::TooFar { asked: target.0 });
        }
        // It goes on by itself as well, so it may be beyond where it is to be set.
        let set = |time: Time| match self.clock.set(time) {
            Ok(()) | Err(NotTurned::Back { .. }) => Ok(()),
            Err(why) => Err(why),
        };
        let mut delivered = Delivered::default();
        loop {
            let next = self.state().next_due().filter(|due| *due <= target);
            let now = self.clock.now();
            let Some(due) = next else {
                set(target)?;
                return Ok(delivered);
            };
            set(due.max(now).plus(together).min(target.max(now)))?;
            delivered.add(self.deliver(lanes, false).await);
        }
    }

    /// As [`WhatsApp::advance_by_steps`], in steps that suit the way.
    ///
    /// # Errors
    /// [`NotTurned`].
    pub async fn advance(&self, target: Time) -> Result<Delivered, NotTurned> {
        let way = target.0.saturating_sub(self.clock.now().0);
        self.advance_by_steps(target, together(way)).await
    }

    /// Turns the clock on by so many milliseconds from where it is when it is this call's turn.
    ///
    /// # Errors
    /// [`NotTurned`].
    pub async fn advance_by(&self, milliseconds: i64) -> Result<Delivered, NotTurned> {
        let mut lanes = self.lanes.lock().await;
        let now = self.clock.now();
        self.go_on(&mut lanes, now, now.plus(milliseconds), together(milliseconds)).await
    }

    /// Turns the clock until nothing is left to be told, at most [`FLUSH_DAYS`] days.
    ///
    /// # Errors
    /// [`NotTurned`].
    pub async fn flush(&self) -> Result<Delivered, NotTurned> {
        let mut lanes = self.lanes.lock().await;
        let mut delivered = Delivered::default();
        let last = self.clock.now().plus(FLUSH_DAYS * DAY);
        loop {
            let due = self.state().last_due();
            let now = self.clock.now();
            let Some(due) = due.filter(|_| now <= last) else { return Ok(delivered) };
            let target = due.max(now).min(last.max(now));
            let way = target.0.saturating_sub(now.0);
            delivered.add(self.go_on(&mut lanes, now, target, together(way)).await?);
        }
    }

    /// Lets the clock go `speed` times as fast.
    ///
    /// # Errors
    /// [`NotTurned::TooFast`].
    pub fn speed_up(&self, speed: u32) -> Result<(), NotTurned> {
        self.clock.speed_up(speed)?;
        self.woken.notify_one();
        Ok(())
    }

    /// Posts everything that is due now, until nothing is.
    async fn deliver(&self, lanes: &mut Lanes, is_live: bool) -> Delivered {
        let mut delivered = Delivered::default();
        loop {
            let now = self.clock.now();
            let parcels = self.state().parcels(&self.directory.snapshot(), now);
            if parcels.is_empty() {
                return delivered;
            }
            let mut shares: BTreeMap<(SocketAddr, usize), Vec<Parcel>> = BTreeMap::new();
            for (index, parcel) in parcels.into_iter().enumerate() {
                // Before anybody listens nothing is told, and what was due is gone.
                let Some(address) = lanes.address(parcel.callback()) else { continue };
                let count = lanes.reach(address).max(1);
                let lane = parcel.lane(count).unwrap_or(index % count);
                shares.entry((address, lane)).or_default().push(parcel);
            }
            let mut busy = Vec::new();
            for (address, of_address) in lanes.each() {
                for (index, lane) in of_address.iter_mut().enumerate() {
                    busy.extend(shares.remove(&(address, index)).map(|share| (lane, share)));
                }
            }
            let posting = busy.into_iter().map(|(lane, share)| async move {
                let mut taken = Vec::with_capacity(share.len());
                for parcel in share {
                    taken.push(parcel.post(lane, is_live).await);
                }
                taken
            });
            let all: Vec<Taken> = join_all(posting).await.into_iter().flatten().collect();
            let now = self.clock.now();
            delivered.add(self.state().settle(all, now));
        }
    }

    /// Forgets everything; the clock shows what the one behind it does again, and goes `speed`
    /// times as fast. `then` is done before
    /// anything can happen anew, and after everything that was under way.
    pub async fn reset<T>(&self, config: Config, speed: u32, then: impl Future<Output = T>) -> T {
        let lanes = self.lanes.lock().await;
        self.clock.go_live(speed);
        let done = then.await;
        *self.state() = State::new(config);
        drop(lanes);
        self.woken.notify_one();
        done
    }

    /// What it is set to.
    #[must_use]
    pub fn config(&self) -> Config {
        self.state().config
    }

    /// Changes what it is set to; what is planned already stays.
    pub fn change_config(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.state().config);
        self.woken.notify_one();
    }

    /// Lets something go wrong for one channel, or for all that have nothing of their own.
    pub fn set_chaos(&self, channel: Option<&ChannelId>, chaos: Option<Chaos>) {
        let mut state = self.state();
        match channel {
            Some(channel) => state.line(channel).chaos = chaos,
            None => state.config.chaos = chaos.unwrap_or_default(),
        }
    }

    /// What goes wrong for a channel.
    #[must_use]
    pub fn chaos_of(&self, channel: &ChannelId) -> Chaos {
        self.state().chaos_of(channel)
    }

    /// How lives of one channel have to end, whatever holds for the others.
    pub fn set_outcome(&self, channel: &ChannelId, outcome: Outcome) {
        self.state().line(channel).outcome = Some(outcome);
    }

    /// How lives of a channel have to end.
    #[must_use]
    pub fn outcome_of(&self, channel: &ChannelId) -> Outcome {
        self.state().outcome_of(channel)
    }

    /// Whether opened links of a channel are told (Marketing Messages API).
    pub fn tell_links(&self, channel: &ChannelId, tells: bool) {
        self.state().line(channel).tells_links = tells;
    }

    /// A template is known to WhatsApp from now on, in this standing; one that was known before
    /// and changes is told by webhook. A pending one is reviewed after a while.
    pub fn put_template(
        &self,
        channel: &ChannelId,
        template: &Template,
        category: Category,
        standing: Standing,
    ) {
        let now = self.clock.now();
        let snapshot = self.directory.snapshot();
        self.state().put_template(&snapshot, (channel, template), category, standing, now);
        self.woken.notify_one();
    }

    /// A template is in this standing from now on; its category stays.
    pub fn stand(&self, channel: &ChannelId, template: &Template, standing: Standing) {
        let now = self.clock.now();
        let snapshot = self.directory.snapshot();
        self.state().stand(&snapshot, (channel, template), standing, now);
        self.woken.notify_one();
    }

    /// How much a template is liked.
    pub fn like(&self, channel: &ChannelId, template: &Template, liking: Liking) {
        self.state().line(channel).likings.insert(template.clone(), liking);
    }

    /// Announces that a template has another category from `effective` on, and tells it again when
    /// that has come.
    pub fn recategorise(
        &self,
        channel: &ChannelId,
        template: &Template,
        category: Category,
        effective: Time,
    ) {
        let now = self.clock.now();
        let snapshot = self.directory.snapshot();
        self.state().recategorise(&snapshot, (channel, template), category, effective, now);
        self.woken.notify_one();
    }

    /// What WhatsApp thinks of a number; a change is told by webhook.
    pub fn set_quality(&self, channel: &ChannelId, number: &PhoneNumber, quality: Quality) {
        let now = self.clock.now();
        let snapshot = self.directory.snapshot();
        self.state().set_quality(&snapshot, channel, number, quality, now);
        self.woken.notify_one();
    }

    /// The last sends, the newest first, at most `most`; of one channel if it is given.
    #[must_use]
    pub fn sends(&self, channels: &dyn Fn(&ChannelId) -> bool, most: usize) -> Vec<SendRecord> {
        let state = self.state();
        let wanted = state.sends.iter().rev().filter(|record| channels(&record.channel));
        wanted.take(most).cloned().collect()
    }

    /// The last bodies that were posted, the newest first, at most `most`.
    #[must_use]
    pub fn webhooks(
        &self,
        channels: &dyn Fn(&ChannelId) -> bool,
        most: usize,
    ) -> Vec<WebhookRecord> {
        let state = self.state();
        let wanted = state.webhooks.iter().rev();
        let wanted = wanted.filter(|record| record.channels.iter().any(channels));
        wanted.take(most).cloned().collect()
    }

    /// How many things are still to be told, and when the next and the last are due.
    #[must_use]
    pub fn pending(&self) -> (usize, Option<Time>, Option<Time>) {
        let state = self.state();
        (state.pending(), state.next_due(), state.last_due())
    }

    /// Reads its book.
    pub fn read_book<T>(&self, read: impl FnOnce(&Book) -> T) -> T {
        read(&self.state().book)
    }

    /// Forgets a channel: what was to be told of it is not.
    pub fn forget(&self, channel: &ChannelId) {
        self.state().forget(channel);
    }
}

/// What is due within so many milliseconds is told at once on a way of that length.
fn together(way: i64) -> i64 {
    (way / PARTS).max(TOGETHER_MIN)
}

#[async_trait]
impl Carrier for WhatsApp {
    async fn send(&self, messages: &[Outgoing]) -> Vec<Result<String, Refused>> {
        let now = self.clock.now();
        let snapshot = self.directory.snapshot();
        let answers = {
            let mut state = self.state();
            let is_long = |call: &Map<String, Value>| {
                serde_json::to_vec(call).is_ok_and(|text| text.len() > CALL_REMEMBERED_MAX)
            };
            let call = messages.first().map(|first| &first.call).filter(|call| !is_long(call));
            let call = call.map(Arc::clone).unwrap_or_default();
            let take = |message| state.take(&snapshot, message, &call, Way::Server, now);
            messages.iter().map(take).collect()
        };
        self.woken.notify_one();
        answers
    }
}

#[cfg(test)]
mod tests {
    use twoticks_core::clock::ManualClock;
    use twoticks_core::ids::Text;
    use twoticks_store::directory::Change;
    use twoticks_store::directory::memory::MemoryDirectory;
    use twoticks_store::directory::model::{Account, Channel, Number, StatusSource};
    use twoticks_store::directory::names::{Secret, Uid};

    use super::*;
    use crate::life::Outcome;

    #[tokio::test]
    async fn when_too_much_waits_to_be_told_nothing_more_is_taken_until_some_of_it_is() {
        let clock = Arc::new(ManualClock::new(Time(1_790_000_000_000)));
        let clock = Arc::new(TurnedClock::new(clock));
        let directory = Arc::new(MemoryDirectory::new());
        let (account, channel) =
            (Uid::new("1000000000000001").unwrap(), ChannelId::new("cams-1").unwrap());
        let text = |text: &str| Text::new(text).unwrap();
        let secret = |text: &str| Secret::new(text).unwrap();
        let number = PhoneNumber::new("15550100011").unwrap();
        directory
            .change(vec![
                Change::AddAccount(Account {
                    uid: account.clone(),
                    name: text("x"),
                    subscribed: true,
                }),
                Change::AddChannel(Channel {
                    id: channel.clone(),
                    account,
                    name: text("x"),
                    waba_id: Some(text("1")),
                    app_secrets: vec![secret("app")],
                    verify_token: secret("verify"),
                    receipts_secret: secret("receipts-secret-1"),
                    status_source: StatusSource::CloudApi,
                    connection: None,
                }),
                Change::PutNumber(Number {
                    phone_number: number.clone(),
                    phone_number_id: text("1"),
                    channel: channel.clone(),
                    graph: None,
                }),
            ])
            .await
            .unwrap();
        let config = Config { outcome: Outcome::Sent, ..Config::default() };
        let whatsapp = WhatsApp::new(clock, directory, config);
        whatsapp.state().pending_max = 2;
        let message = Outgoing {
            channel,
            from: number,
            to: "15550190000".to_owned(),
            template: None,
            sign: None,
            parameters: Map::new(),
            call: Arc::default(),
        };
        let answers = whatsapp.send(&vec![message.clone(); 3]).await;
        let is_taken: Vec<bool> = answers.iter().map(Result::is_ok).collect();
        assert_eq!(is_taken, [true, true, false]);
        assert!(
            matches!(answers.last(), Some(Err(Refused::Unavailable(why))) if why.contains("clock"))
        );
        drop(whatsapp.state().take_due(Time(i64::MAX), 1));
        assert!(whatsapp.send(&[message]).await.iter().all(Result::is_ok));
    }
}
