//! What was opened, on its way into the ledger: a bounded queue, and one task that empties it.
//!
//! Whoever opens a link has been led on before. What always holds: a click keeps its id while it
//! waits, so that writing it a second time changes nothing; what does not fit, or cannot be written
//! until the server has stopped, is counted as lost and said once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use twoticks_core::clock::{SECOND, Time};
use twoticks_core::event::{Button, ButtonKind, Event, Sign, TapEvent};
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber};
use twoticks_store::error::Error;
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::{Batch, Kind};

use super::token::Token;
use crate::app::App;
use crate::ingest::translate;
use crate::sending::{self, Outcome};
use crate::telemetry::Telemetry;

/// The most clicks that wait to be counted: what comes beyond them is led on and lost.
pub(super) const WAITING_MAX: usize = 65_536;
/// The most clicks that are written at once.
const BATCH_MAX: usize = 1_000;
/// How often in a minute a link that one message has is counted: whoever has it could otherwise
/// fill the disk. A template's own link is everybody's and has no such bound.
pub(super) const COUNTED_PER_MINUTE_MAX: u32 = 30;
/// Of how many links it is remembered how often they were opened in this minute; beyond them it is
/// forgotten of all.
const REMEMBERED_MAX: usize = 65_536;
/// After which time a ledger that refuses is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// The most groups of sends whose messages are remembered.
const GROUPS_MAX: usize = 64;
/// After which time a group is read again for a message that was not known, in ms.
const AGAIN_AFTER: i64 = 10 * SECOND;

/// A link that was opened.
#[derive(Clone, Debug)]
pub(super) struct Click {
    token: Token,
    time: Time,
    is_machine: bool,
    /// Meta's click id; without one a click is known by random bytes.
    click_id: Option<String>,
    random: [u8; 16],
}

impl Click {
    pub(super) fn new(token: Token, time: Time, is_machine: bool, click_id: Option<&str>) -> Self {
        // A machine that comes with a click id is not the person who clicked.
        let click_id = click_id.filter(|_| !is_machine).map(str::to_owned);
        let random = *uuid::Uuid::new_v4().as_bytes();
        Self { token, time, is_machine, click_id, random }
    }
}

/// Links that were opened and are not counted yet.
#[derive(Debug, Default)]
pub struct Clicks {
    waiting: Mutex<VecDeque<Click>>,
    /// How many are being written.
    in_hand: AtomicUsize,
    arrived: Notify,
    /// Whether it was said that some are lost, and nothing was written since.
    is_loss_said: AtomicBool,
    lately: Mutex<Lately>,
}

/// How often links of messages were opened in the minute with that number.
#[derive(Debug, Default)]
struct Lately {
    minute: i64,
    opened: HashMap<Token, u32>,
}

impl Lately {
    /// Whether it may be counted once more.
    fn may_count(&mut self, token: &Token, now: Time) -> bool {
        if token.message.is_none() {
            return true;
        }
        let minute = now.0.div_euclid(60 * SECOND);
        if self.minute != minute || self.opened.len() >= REMEMBERED_MAX {
            *self = Self { minute, opened: HashMap::new() };
        }
        let opened = self.opened.entry(token.clone()).or_default();
        *opened = opened.saturating_add(1);
        *opened <= COUNTED_PER_MINUTE_MAX
    }
}

impl Clicks {
    /// How many are not counted yet.
    pub fn waiting(&self) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.len() + self.in_hand.load(Ordering::SeqCst)
    }

    pub(super) fn push(&self, telemetry: &Telemetry, click: Click) {
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let may_count = lately.may_count(&click.token, click.time);
        drop(lately);
        if !may_count {
            telemetry.links("repeated", 1);
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push_back(click);
            drop(waiting);
            self.arrived.notify_one();
        } else {
            drop(waiting);
            self.lose(telemetry, 1, "as many wait already as there may be");
        }
    }

    fn take(&self) -> Vec<Click> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(BATCH_MAX);
        self.in_hand.store(count, Ordering::SeqCst);
        waiting.drain(..count).collect()
    }

    /// The clicks in hand wait again, first of all.
    fn put_back(&self, clicks: Vec<Click>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for click in clicks.into_iter().rev() {
            waiting.push_front(click);
        }
        self.in_hand.store(0, Ordering::SeqCst);
    }

    fn lose(&self, telemetry: &Telemetry, count: usize, why: &str) {
        telemetry.links("lost", u64::try_from(count).unwrap_or(u64::MAX));
        if !self.is_loss_said.swap(true, Ordering::SeqCst) {
            error!("links that were opened are not counted: {why}; /metrics counts how many");
        }
    }
}

/// Counts what is opened until the server stops.
pub(crate) async fn count(app: &App, stop: &CancellationToken) {
    let mut groups = Groups::default();
    let mut is_refusal_said = false;
    while !stop.is_cancelled() {
        match write_some(app, &mut groups).await {
            Ok(true) => is_refusal_said = false,
            Ok(false) => tokio::select! {
                () = app.clicks.arrived.notified() => {}
                () = stop.cancelled() => {}
            },
            Err(why) => {
                if !is_refusal_said {
                    let error = &why as &dyn std::error::Error;
                    warn!(error, "links that were opened wait to be counted");
                }
                is_refusal_said = true;
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }
}

/// Counts what is left when nobody can open a link any more; what the ledger does not take within
/// `patience` is lost.
pub(crate) async fn count_rest(app: &App, patience: Duration) {
    let mut groups = Groups::default();
    let all = async {
        loop {
            match write_some(app, &mut groups).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(Error::Busy { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(_) => return,
            }
        }
    };
    let is_over = tokio::time::timeout(patience, all).await.is_ok();
    let left = app.clicks.waiting();
    if left > 0 || !is_over {
        app.clicks.lose(&app.telemetry, left, "the ledger did not take them before the stop");
    }
}

/// Writes what waits, or a part of it. Says whether there was any; what the ledger did not take for
/// now waits again.
async fn write_some(app: &App, groups: &mut Groups) -> Result<bool, Error> {
    let clicks = app.clicks.take();
    if clicks.is_empty() {
        return Ok(false);
    }
    let mut events = Vec::with_capacity(clicks.len());
    for click in &clicks {
        match event(app, groups, click).await {
            Ok(event) => events.extend(event),
            Err(why) => {
                app.clicks.put_back(clicks);
                return Err(why);
            }
        }
    }
    let gone = clicks.len() - events.len();
    if gone > 0 {
        let why = "their template is gone, or which of its numbers sent them is not known";
        app.clicks.lose(&app.telemetry, gone, why);
    }
    if !events.is_empty() {
        match app.ledger.record(batch(app, events)).await {
            Ok(_) => app.clicks.is_loss_said.store(gone > 0, Ordering::SeqCst),
            Err(why @ (Error::TooLarge { .. } | Error::Impossible { .. })) => {
                app.clicks.lose(&app.telemetry, clicks.len() - gone, &why.to_string());
            }
            Err(why) => {
                app.clicks.put_back(clicks);
                return Err(why);
            }
        }
    }
    app.clicks.in_hand.store(0, Ordering::SeqCst);
    Ok(true)
}

fn batch(app: &App, events: Vec<Event>) -> Batch {
    let first = events.first().map(Event::channel);
    let is_one = events.iter().all(|event| Some(event.channel()) == first);
    Batch {
        kind: Kind::Opened,
        accepted: app.clock.now(),
        origin: "links".to_owned(),
        channel: first.filter(|_| is_one).cloned(),
        group: None,
        events,
        dead: Vec::new(),
        resolves: None,
        body: Vec::new(),
    }
}

/// What a click means; `None` if its template or its number is not there any more.
async fn event(app: &App, groups: &mut Groups, click: &Click) -> Result<Option<Event>, Error> {
    let snapshot = app.directory.snapshot();
    let Some((template, link)) = snapshot.link(click.token.link) else { return Ok(None) };
    let channel = &template.channel;
    let of_group = groups.of(app, channel, &click.token, click.time).await?;
    let (sender, message) = of_group.map_or((None, None), |(from, message)| (Some(from), message));
    let by_tag = || {
        let numbers = snapshot.numbers_of(channel).iter().map(|number| &number.phone_number);
        let mut fit = numbers.filter(|it| click.token.may_be_of(&app.keys, channel, it));
        // A click is rather lost than another number's.
        fit.next().filter(|_| fit.next().is_none()).cloned()
    };
    let Some(number) = sender.or_else(by_tag) else { return Ok(None) };
    let id = match &click.click_id {
        Some(id) => app.keys.hash(HashOf::Inbound, channel, translate::link_click(id).as_bytes()),
        None => Hash(click.random),
    };
    let kind = if click.is_machine { ButtonKind::UrlMachine } else { ButtonKind::Url };
    Ok(Some(Event::Tap(TapEvent {
        channel: channel.clone(),
        number,
        id,
        time: click.time,
        button: Button { kind, text: link.text.clone() },
        message,
        sign: Some(Sign { template: template.identity(), campaign: None }),
    })))
}

/// The messages of groups of sends, as far as they are known.
#[derive(Default)]
struct Groups {
    known: HashMap<(ChannelId, String), Known>,
    /// The names in the order in which they were read, the oldest first.
    order: VecDeque<(ChannelId, String)>,
}

struct Known {
    read: Time,
    from: Option<PhoneNumber>,
    /// The message at each place, once WhatsApp has taken it.
    messages: Vec<Option<Hash>>,
}

impl Groups {
    /// Who sent the message of a token, and which it is if WhatsApp has taken it.
    async fn of(
        &mut self,
        app: &App,
        channel: &ChannelId,
        token: &Token,
        now: Time,
    ) -> Result<Option<(PhoneNumber, Option<Hash>)>, Error> {
        let Some((group, place)) = token.group() else { return Ok(None) };
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let name = (channel.clone(), group);
        let at = |known: &Known| known.messages.get(place).copied().flatten();
        let is_fresh = |known: &&Known| at(known).is_some() || now.0 - known.read.0 < AGAIN_AFTER;
        let known = match self.known.get(&name).filter(is_fresh) {
            Some(known) => known,
            None => self.read(app, name, now).await?,
        };
        Ok(known.from.clone().map(|from| (from, at(known))))
    }

    async fn read(
        &mut self,
        app: &App,
        name: (ChannelId, String),
        now: Time,
    ) -> Result<&Known, Error> {
        let entries = match app.ledger.group(&name.0, &name.1).await {
            // It will not be read later either, and others wait: the template has the click.
            Err(why @ Error::Corrupt { .. }) => {
                let error = &why as &dyn std::error::Error;
                warn!(error, "the send that a link is of cannot be read");
                Vec::new()
            }
            found => found?,
        };
        let taken = |outcome: Option<Outcome>| match outcome? {
            Outcome::Taken(wamid) => {
                Some(app.keys.hash(HashOf::Message, &name.0, wamid.as_bytes()))
            }
            Outcome::Refused(_) | Outcome::Unknown(_) | Outcome::Done => None,
        };
        let messages = sending::outcomes(&entries).into_iter().map(taken).collect();
        let from = sending::asked(&entries).map(|asked| asked.from);
        if !self.known.contains_key(&name) {
            self.order.push_back(name.clone());
            if self.order.len() > GROUPS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        let known = Known { read: now, from, messages };
        Ok(self.known.entry(name).insert_entry(known).into_mut())
    }
}
