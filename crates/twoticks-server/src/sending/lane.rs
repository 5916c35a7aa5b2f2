//! The lane of one business number: what waits, in which order it goes, and what holds it up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use twoticks_store::directory::names::Secret;

use super::attempt::{DISK_PAUSE, Landed, attempt, is_expired, put_back};
use super::pace::Pace;
use super::{Group, Ticket};
use crate::app::App;

/// How many messages of a number are with the Graph API at the same time.
const IN_FLIGHT_MAX: usize = 64;
/// How many are begun together, so that they share a sync.
const TOGETHER_MAX: usize = 16;
/// How long it waits for a connection to be put right before it tries again.
const CONNECTION_PAUSE: Duration = Duration::from_secs(300);
/// After which time it looks whether the token is another one, if nobody says so.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The longest pause of a number that sends too fast.
const SLOWER_MAX: Duration = Duration::from_secs(64);

/// Starts a lane; it ends when the server stops.
pub(super) fn start(app: &Arc<App>) -> mpsc::UnboundedSender<Ticket> {
    let (sender, tickets) = mpsc::unbounded_channel();
    let of = Arc::clone(app);
    app.tasks.spawn(move |stop| Box::pin(run(of, tickets, stop)));
    sender
}

/// What waits, by what it waits for.
#[derive(Default)]
struct Queue {
    /// Somebody waits for the answer.
    urgent: VecDeque<Ticket>,
    ready: VecDeque<Ticket>,
    /// Not before some time; equal times in the order they came in.
    later: BinaryHeap<Reverse<Later>>,
    count: u64,
}

struct Later {
    at: Instant,
    number: u64,
    ticket: Ticket,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl Queue {
    fn push(&mut self, ticket: Ticket) {
        let queue = if ticket.answer.is_some() { &mut self.urgent } else { &mut self.ready };
        queue.push_back(ticket);
    }

    fn push_later(&mut self, ticket: Ticket, at: Instant) {
        self.count += 1;
        self.later.push(Reverse(Later { at, number: self.count, ticket }));
    }

    /// Those that are given up, at most `most` of those that wait for nothing else.
    fn expired(&mut self, is_expired: impl Fn(&Ticket) -> bool, most: usize) -> Vec<Ticket> {
        let mut expired = Vec::new();
        for queue in [&mut self.urgent, &mut self.ready] {
            // The oldest come first.
            while expired.len() < most && queue.front().is_some_and(&is_expired) {
                expired.extend(queue.pop_front());
            }
        }
        expired
    }

    /// Those that may go now, at most `most`; then when to look again, if anything waits.
    fn due(
        &mut self,
        pace: &mut Pace,
        now: Instant,
        most: usize,
    ) -> (Vec<Ticket>, Option<Instant>) {
        while self.later.peek().is_some_and(|Reverse(later)| later.at <= now) {
            if let Some(Reverse(Later { ticket, .. })) = self.later.pop() {
                self.push(ticket);
            }
        }
        let mut due = Vec::new();
        while due.len() < most {
            let ready = pace.ready(now);
            let waits = !self.urgent.is_empty() || !self.ready.is_empty();
            if ready > now && waits {
                return (due, Some(ready));
            }
            let Some(ticket) = self.urgent.pop_front().or_else(|| self.ready.pop_front()) else {
                break;
            };
            let pair_ready = pace.pair_ready(&ticket.message.to, now);
            if pair_ready > now {
                self.push_later(ticket, pair_ready);
                continue;
            }
            pace.take(&ticket.message.to, now);
            due.push(ticket);
        }
        (due, self.later.peek().map(|Reverse(later)| later.at))
    }
}

/// Why nothing of the number goes.
struct Halt {
    /// The token that was refused; with another one it goes on at once.
    token: Option<Secret>,
    until: Instant,
}

type Flight = BoxFuture<'static, Landed>;

async fn run(app: Arc<App>, mut tickets: mpsc::UnboundedReceiver<Ticket>, stop: CancellationToken) {
    let mut queue = Queue::default();
    let mut pace = Pace::new(app.settings.graph.messages_per_second);
    let mut flying: FuturesUnordered<Flight> = FuturesUnordered::new();
    let (mut halt, mut slower): (Option<Halt>, u32) = (None, 0);
    let connected = Arc::clone(&app.dispatcher.connected);
    loop {
        let changed = connected.notified();
        if halt.as_ref().is_some_and(|halt| is_over(&app, &queue, halt)) {
            halt = None;
        }
        let now = Instant::now();
        let room = IN_FLIGHT_MAX.saturating_sub(flying.len()).min(TOGETHER_MAX);
        let (due, next) = match &halt {
            // What is given up meanwhile needs no connection.
            Some(halt) => {
                let expired = queue.expired(|ticket| is_expired(&app, ticket), room);
                (expired, Some(halt.until.min(now + LOOK_AGAIN)))
            }
            None if room == 0 => (Vec::new(), None),
            None => queue.due(&mut pace, now, room),
        };
        if !due.is_empty() {
            match begin(&app, &due).await {
                Ok(()) => {
                    for ticket in due {
                        flying.push(Box::pin(attempt(Arc::clone(&app), ticket)));
                    }
                }
                Err(why) => {
                    error!(
                        error = &why as &dyn std::error::Error,
                        "the outbox cannot be written to; sends wait"
                    );
                    let later = now + DISK_PAUSE;
                    due.into_iter().for_each(|ticket| queue.push_later(ticket, later));
                }
            }
            continue;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            ticket = tickets.recv() => match ticket {
                Some(ticket) => queue.push(ticket),
                None => break,
            },
            Some(landed) = flying.next() => match landed {
                Landed::Over => slower = 0,
                Landed::Again { ticket, after } => queue.push_later(ticket, Instant::now() + after),
                Landed::Slower { ticket } => {
                    // Of all that were with the Graph API together, the first one says it.
                    if pace.ready(Instant::now()) <= Instant::now() || slower == 0 {
                        slower += 1;
                    }
                    let first = Duration::from_millis(u64::from(app.settings.graph.retry_ms));
                    let pause = first.saturating_mul(2_u32.saturating_pow(slower.min(16)));
                    let until = Instant::now() + pause.min(SLOWER_MAX);
                    pace.pause(until);
                    queue.push_later(ticket, until);
                }
                Landed::Halted { ticket, token } => {
                    let until = Instant::now() + CONNECTION_PAUSE;
                    warn!(
                        channel.id = %ticket.group.channel,
                        "sends of a channel wait until its connection is put right"
                    );
                    halt = Some(Halt { token, until });
                    queue.push(ticket);
                }
            },
            // Somebody has looked after a connection: perhaps this one.
            () = changed => halt = None,
            () = tokio::time::sleep_until(next.unwrap_or(now)), if next.is_some() => {}
        }
    }
    // What is with the Graph API comes back: what became of it is worth waiting for.
    while flying.next().await.is_some() {}
}

/// Whether a halt is over: the channel has another token, or it was long enough.
fn is_over(app: &App, queue: &Queue, halt: &Halt) -> bool {
    let waits = queue.urgent.front().or_else(|| queue.ready.front());
    let snapshot = app.directory.snapshot();
    let channel = waits.and_then(|ticket| snapshot.channel(&ticket.group.channel));
    let connection = channel.and_then(|channel| channel.connection.as_ref());
    match (&halt.token, connection) {
        (Some(token), Some(connection)) => {
            connection.access_token != *token || halt.until <= Instant::now()
        }
        // Not connected any more, which each message is told.
        (Some(_), None) => true,
        (None, _) => halt.until <= Instant::now(),
    }
}

/// Writes down that these are handed over now.
async fn begin(app: &App, due: &[Ticket]) -> Result<(), twoticks_store::error::Error> {
    let mut begun: Vec<(&Arc<Group>, Vec<u32>)> = Vec::new();
    for ticket in due {
        match begun.iter_mut().find(|(group, _)| Arc::ptr_eq(group, &ticket.group)) {
            Some((_, places)) => places.push(ticket.place),
            None => begun.push((&ticket.group, vec![ticket.place])),
        }
    }
    let outbox = app.dispatcher.outbox();
    let written =
        begun.into_iter().map(|(group, places)| outbox.begin(&group.channel, &group.name, places));
    let written = futures_util::future::join_all(written).await;
    let failed = written.into_iter().find_map(Result::err);
    let Some(failed) = failed else { return Ok(()) };
    // Those that were written are not handed over either: they wait, on disk too.
    for ticket in due {
        put_back(app, ticket).await;
    }
    Err(failed)
}
