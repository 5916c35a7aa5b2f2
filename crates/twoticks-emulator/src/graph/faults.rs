//! Bad days of the Graph API, ordered one by one. To add one: a variant, its word and its line.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twoticks_core::ids::ChannelId;

use super::refusal::{REVOKED, Refusal, TOKEN};

/// How many orders may wait to be carried out.
pub(crate) const ORDERS_MAX: usize = 100;

/// Something that goes wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Done, and nobody hears of it.
    Timeout,
    /// A refusal that looks like a success.
    ErrorIn200,
    /// Something is wrong on the other side.
    Internal,
    /// Too many calls for this account.
    AccountRate,
    /// Too many messages from this number.
    NumberRate,
    /// Too many messages to this recipient.
    PairRate,
    /// The token is not good any more.
    Revoked,
    /// Done, and the answer comes when it is let go.
    Slow,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::ErrorIn200,
        Self::Internal,
        Self::AccountRate,
        Self::NumberRate,
        Self::PairRate,
        Self::Revoked,
        Self::Slow,
    ];

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ErrorIn200 => "error-in-200",
            Self::Internal => "500",
            Self::AccountRate => "80007",
            Self::NumberRate => "130429",
            Self::PairRate => "131056",
            Self::Revoked => "190",
            Self::Slow => "slow",
        }
    }

    /// What happens.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Timeout => "What is asked is done, and the connection breaks without an answer.",
            Self::ErrorIn200 => "Nothing is done; status 200 with an error in the body.",
            Self::Internal => "Nothing is done; status 500 with code 2.",
            Self::AccountRate => "Nothing is done; too many calls for this business account.",
            Self::NumberRate => "Nothing is done; the number has reached its throughput.",
            Self::PairRate => "Nothing is done; too many messages to this recipient.",
            Self::Revoked => "The channel's token is revoked until the faults are cleared.",
            Self::Slow => {
                "What is asked is done, and the answer comes when the faults are cleared."
            }
        }
    }

    /// What is said instead of doing what is asked; `None` if it is done.
    pub(super) fn refusal(self) -> Option<Refusal> {
        let refusal = match self {
            Self::Timeout | Self::Slow => return None,
            Self::ErrorIn200 => {
                Refusal { status: StatusCode::OK, ..Refusal::of(131_000, "Something went wrong") }
            }
            Self::Internal => {
                Refusal::of(2, "An unexpected error has occurred. Please retry your request later.")
            }
            Self::AccountRate => {
                let text = "There have been too many calls to this WhatsApp Business account. Wait \
                            a bit and try again";
                Refusal::of(80_007, text)
            }
            Self::NumberRate => Refusal::of(130_429, "Rate limit hit")
                .with("Cloud API message throughput has been reached."),
            Self::PairRate => {
                let text = "(Business Account, Consumer Account) pair rate limit hit";
                Refusal::of(131_056, text)
                    .with("Too many messages sent from this phone number to the same recipient.")
            }
            Self::Revoked => revoked(),
        };
        Some(refusal)
    }
}

fn revoked() -> Refusal {
    let text = "Error validating access token: The session has been invalidated";
    Refusal { subcode: Some(REVOKED), ..Refusal::of(TOKEN, text) }
}

/// A fault that is wanted.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) fault: Fault,
    /// How many more times.
    pub(crate) times: u64,
    /// Only of this edge, such as `messages`; `node` is a node without one.
    pub(crate) edge: Option<String>,
    /// Only of this channel.
    pub(crate) channel: Option<ChannelId>,
}

#[derive(Debug, Default)]
struct Ordered {
    orders: VecDeque<Order>,
    revoked: BTreeSet<ChannelId>,
}

/// The faults that are wanted.
#[derive(Debug)]
pub(crate) struct Faults {
    ordered: Mutex<Ordered>,
    /// How many times they were cleared; whoever is held waits for the next time.
    cleared: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { ordered: Mutex::default(), cleared: watch::Sender::new(0) }
    }
}

impl Faults {
    fn ordered(&self) -> MutexGuard<'_, Ordered> {
        self.ordered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders one more; whether there was room for it.
    pub(crate) fn order(&self, order: Order) -> bool {
        let mut ordered = self.ordered();
        let has_room = ordered.orders.len() < ORDERS_MAX;
        if has_room {
            ordered.orders.push_back(order);
        }
        has_room
    }

    /// Nothing goes wrong any more: tokens are good again, and what is held is let go.
    pub(crate) fn clear(&self) {
        *self.ordered() = Ordered::default();
        self.cleared.send_modify(|times| *times += 1);
    }

    /// What goes wrong with this call: of those that are wanted the first that fits.
    pub(super) fn next(&self, channel: &ChannelId, edge: &str) -> Option<Fault> {
        let mut ordered = self.ordered();
        let fits = |order: &Order| {
            order.edge.as_deref().is_none_or(|it| it == edge)
                && order.channel.as_ref().is_none_or(|it| it == channel)
        };
        let place = ordered.orders.iter().position(fits)?;
        let order = ordered.orders.get_mut(place)?;
        let fault = order.fault;
        order.times = order.times.saturating_sub(1);
        if order.times == 0 {
            ordered.orders.remove(place);
        }
        if fault == Fault::Revoked {
            ordered.revoked.insert(channel.clone());
        }
        Some(fault)
    }

    /// Refuses the token of a channel if it was revoked.
    pub(super) fn check(&self, channel: &ChannelId) -> Result<(), Refusal> {
        if self.is_revoked(channel) { Err(revoked()) } else { Ok(()) }
    }

    pub(super) fn is_revoked(&self, channel: &ChannelId) -> bool {
        self.ordered().revoked.contains(channel)
    }

    /// Waits until the faults are cleared or the server stops.
    pub(super) async fn hold(&self, stop: &CancellationToken) {
        let mut cleared = self.cleared.subscribe();
        tokio::select! {
            _ = cleared.changed() => {}
            () = stop.cancelled() => {}
        }
    }

    /// What is wanted, and how many answers are held.
    pub(crate) fn shown(&self) -> Value {
        let ordered = self.ordered();
        let orders = ordered.orders.iter().map(|order| {
            let Order { fault, times, edge, channel } = order;
            json!({"fault": fault.as_str(), "times": times, "edge": edge, "channel": channel})
        });
        json!({
            "orders": orders.collect::<Value>(), "revoked": ordered.revoked,
            "held": self.cleared.receiver_count(),
        })
    }
}
