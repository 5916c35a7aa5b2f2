//! Messages on their way to WhatsApp, for channels that are connected.
//!
//! A send that was accepted waits in the outbox, each recipient a [`Ticket`]; a [`lane`] per
//! business number hands them to the Graph API at the pace that the number may have ([`pace`]),
//! one [`attempt`] at a time. What always holds: what is to be said is in the journal and waits in
//! the outbox before anybody is told that it was accepted; a recipient is begun on disk before the
//! Graph API hears of it, and what became of it is in the journal before it has ended; nothing is
//! handed over a second time unless the Graph API said that it did not take it: where that is not
//! known, the message is marked so and left alone.

mod attempt;
mod lane;
mod listing;
mod pace;
mod resume;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::error;
use twoticks_core::clock::Time;
use twoticks_core::event::{Claim, Event, MessageEvent, Source, Status};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template};
use twoticks_store::keys::HashOf;
use twoticks_store::ledger::{Batch, Kind};
use twoticks_store::outbox::Outbox;

pub(crate) use self::listing::{asked, outcomes, recipients, wamids};
pub(crate) use self::resume::resume;

use crate::app::App;
use crate::carrier::{Outgoing, Refused};
use crate::graph::notices::Reading;
use crate::graph::{CallError, Graph};

/// A send, as the journal keeps it: what is to be said, and to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sending {
    /// The operation that it came by.
    pub(crate) operation: String,
    /// The id of the request.
    pub(crate) request_id: String,
    /// The channel that sends.
    pub(crate) channel: ChannelId,
    /// The business number that sends.
    pub(crate) from: PhoneNumber,
    /// The template; `None` for a free-form message.
    pub(crate) template: Option<Template>,
    /// The sign of the template.
    pub(crate) sign: Option<String>,
    /// What the call says of all recipients, by the names of the CAMS door.
    pub(crate) call: Arc<Map<String, Value>>,
    /// To whom, and what the call says of each alone.
    pub(crate) recipients: Vec<Recipient>,
}

/// A recipient of a [`Sending`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Recipient {
    /// A phone number, a BSUID or a group, as the caller wrote it.
    pub(crate) to: String,
    /// What the call says of it alone.
    pub(crate) parameters: Map<String, Value>,
}

impl Sending {
    /// A message for each recipient, in their order.
    pub(crate) fn messages(self) -> Vec<Outgoing> {
        let Self { operation: _, request_id: _, channel, from, template, sign, call, recipients } =
            self;
        recipients
            .into_iter()
            .map(|Recipient { to, parameters }| Outgoing {
                channel: channel.clone(),
                from: from.clone(),
                to,
                template: template.clone(),
                sign: sign.clone(),
                parameters,
                call: Arc::clone(&call),
            })
            .collect()
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// WhatsApp took it, under this id.
    Taken(String),
    /// It was not taken, and is not tried again.
    Refused(Refused),
    /// Whether it was taken is not known; it is not tried again.
    Unknown(String),
    /// It was done and is no message, such as showing that somebody is typing.
    Done,
}

/// A group of messages that were asked for together.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) channel: ChannelId,
    pub(crate) name: String,
    pub(crate) operation: String,
    /// When it was accepted.
    pub(crate) at: Time,
}

impl Group {
    /// An entry of the journal about the group.
    pub(crate) fn entry(&self, kind: Kind, accepted: Time, body: Vec<u8>) -> Batch {
        Batch {
            kind,
            accepted,
            origin: self.operation.clone(),
            channel: Some(self.channel.clone()),
            group: Some(self.name.clone()),
            events: Vec::new(),
            dead: Vec::new(),
            resolves: None,
            body,
        }
    }

    /// The entry that says what became of some of its recipients: each by its place, the message
    /// and the outcome.
    pub(crate) fn told<'a>(
        &self,
        app: &App,
        outcomes: impl IntoIterator<Item = (u32, &'a Outgoing, &'a Outcome)>,
    ) -> Batch {
        let now = app.clock.now();
        let (mut recipients, mut events) = (Vec::new(), Vec::new());
        for (place, message, outcome) in outcomes {
            recipients.push(listing::told(place, &message.to, outcome));
            if let Outcome::Taken(wamid) = outcome {
                events.push(accepted(app, message, wamid, now));
            }
        }
        let listing = json!({
            "operation": self.operation, "group": self.name, "recipients": recipients,
        });
        let body = listing.to_string().into_bytes();
        Batch { events, ..self.entry(Kind::Accepted, now, body) }
    }
}

/// A message that waits.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) group: Arc<Group>,
    /// Its place in the group.
    pub(crate) place: u32,
    pub(crate) message: Outgoing,
    /// How many times it was tried.
    pub(crate) tries: u32,
    /// Who waits for what becomes of it.
    pub(crate) answer: Option<oneshot::Sender<Outcome>>,
}

/// What is on its way, and the lanes it goes by.
pub struct Dispatcher {
    outbox: Arc<Outbox>,
    graph: OnceLock<Result<Graph, CallError>>,
    lanes: Mutex<HashMap<(ChannelId, PhoneNumber), mpsc::UnboundedSender<Ticket>>>,
    /// How many requests go past on their way to the Graph API.
    passing: AtomicUsize,
    /// Which channels' numbers and templates are being read again.
    reading: Reading,
    /// Groups that are being asked for with a key of the caller's.
    beginning: Arc<Mutex<HashSet<(ChannelId, String)>>>,
    /// A connection has changed: who waits for that looks again.
    connected: Arc<Notify>,
}

impl Dispatcher {
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self {
            outbox,
            graph: OnceLock::new(),
            lanes: Mutex::default(),
            passing: AtomicUsize::new(0),
            reading: Reading::default(),
            beginning: Arc::default(),
            connected: Arc::new(Notify::new()),
        }
    }

    /// What waits.
    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The client of the Graph API.
    ///
    /// # Errors
    /// [`CallError::NotSent`] if none can be made.
    pub(crate) fn graph(&self, app: &App) -> Result<&Graph, CallError> {
        let made = self.graph.get_or_init(|| {
            Graph::new(&app.settings.graph).map_err(|why| {
                error!("{why}; sends wait");
                CallError::NotSent(why.to_string())
            })
        });
        made.as_ref().map_err(Clone::clone)
    }

    /// How many requests go past on their way to the Graph API.
    pub(crate) fn passing(&self) -> &AtomicUsize {
        &self.passing
    }

    /// Which channels' numbers and templates are being read again.
    pub(crate) fn reading(&self) -> &Reading {
        &self.reading
    }

    /// Whoever begins a group of that name; `None` if somebody is at it just now.
    pub(crate) fn begin(&self, channel: &ChannelId, group: &str) -> Option<Beginning> {
        let key = (channel.clone(), group.to_owned());
        let mut all = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone()).then(|| Beginning { of: Arc::clone(&self.beginning), key })
    }

    /// Says that a channel's connection has changed.
    pub(crate) fn connection_changed(&self) {
        self.connected.notify_waiters();
    }

    /// Lets go of the outbox, once nothing is on its way any more.
    pub(crate) async fn close(&self) {
        let outbox = Arc::clone(&self.outbox);
        // It panics only with the process.
        drop(tokio::task::spawn_blocking(move || outbox.close()).await);
    }

    /// Has the tickets go when their number may send. They wait in the outbox already.
    pub(crate) fn hand_over(&self, app: &Arc<App>, tickets: Vec<Ticket>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        for ticket in tickets {
            let key = (ticket.message.channel.clone(), ticket.message.from.clone());
            let lane = lanes.entry(key).or_insert_with(|| lane::start(app));
            // A lane that has ended belongs to a server that stops: the next one goes on with it.
            drop(lane.send(ticket));
        }
    }
}

/// Held by whoever begins a group with a key of the caller's.
pub(crate) struct Beginning {
    of: Arc<Mutex<HashSet<(ChannelId, String)>>>,
    key: (ChannelId, String),
}

impl Drop for Beginning {
    fn drop(&mut self) {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.key);
    }
}

/// What a carrier that took a message makes known: that, and whose template it used.
pub(crate) fn accepted(app: &App, message: &Outgoing, wamid: &str, time: Time) -> Event {
    let channel = message.channel.clone();
    let (source, template) = (Source::Send, message.template.clone());
    Event::Message(MessageEvent {
        number: message.from.clone(),
        message: app.keys.hash(HashOf::Message, &channel, wamid.as_bytes()),
        channel,
        participant: Vec::new(),
        time,
        status: Some(Status::Accepted),
        error: None,
        pricing: None,
        claim: Some(Claim { source, template, campaign: None }.into()),
    })
}

/// A message for each recipient of a group, from the first place on.
pub(crate) fn tickets(group: &Arc<Group>, messages: Vec<Outgoing>) -> Vec<Ticket> {
    (0..)
        .zip(messages)
        .map(|(place, message)| Ticket {
            group: Arc::clone(group),
            place,
            message,
            tries: 0,
            answer: None,
        })
        .collect()
}
