//! The state of one tap on a button, and what it counts for when no message is named.

use serde::{Deserialize, Serialize};

use crate::channel::Channel;
use crate::clock::Time;
use crate::event::{Button, ButtonKind, Sign, TapEvent};
use crate::ids::{ChannelId, Hash, PhoneNumber};
use crate::message::{MessageKey, MessageTap, Told, keep_least};
use crate::totals::{Atom, Attribution, Filing, FilingTemplate, Measure};

/// Which tap: one per inbound message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TapKey {
    /// The tenant.
    pub channel: ChannelId,
    /// The business number that was answered.
    pub number: PhoneNumber,
    /// The inbound message's id, hashed.
    pub id: Hash,
}

impl TapKey {
    /// The message of that hash, of the number that was answered.
    #[must_use]
    pub fn of_message(&self, message: Hash) -> MessageKey {
        let (channel, number) = (self.channel.clone(), self.number.clone());
        MessageKey { channel, number, message }
    }
}

/// Everything known of a tap; facts beside the time come from the least event that tells them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tap {
    button: Told<Button>,
    message: Option<Told<Hash>>,
    sign: Option<Told<Sign>>,
}

impl Tap {
    /// What `event` tells.
    #[must_use]
    pub fn told_by(event: &TapEvent) -> Self {
        let time = event.time;
        Self {
            button: Told { time, fact: event.button.clone() },
            message: event.message.map(|fact| Told { time, fact }),
            sign: event.sign.clone().map(|fact| Told { time, fact }),
        }
    }

    /// Takes in what another event told of the same tap. Which button it was, and when, comes from
    /// the least event of those that say whose it is, if there are any: where Meta tells of a click
    /// on a link it does not say what stood on the button.
    pub fn merge(&mut self, other: Self) {
        let rank = |tap: &Self| tap.message.is_none() && tap.sign.is_none();
        let is_less = (rank(&other), &other.button) < (rank(self), &self.button);
        let Self { button, message, sign } = other;
        if is_less {
            self.button = button;
        }
        keep_least(&mut self.message, message);
        keep_least(&mut self.sign, sign);
    }

    /// The message it belongs to, where one is named. An interactive reply belongs to none,
    /// whatever else was told under its id.
    #[must_use]
    pub fn message(&self) -> Option<Hash> {
        self.message.as_ref().filter(|_| self.is_of_template()).map(|told| told.fact)
    }

    /// When it happened.
    #[must_use]
    pub fn time(&self) -> Time {
        self.button.time
    }

    fn is_of_template(&self) -> bool {
        self.button.fact.kind != ButtonKind::Interactive
    }

    pub(crate) fn of_message(&self, id: Hash) -> MessageTap {
        MessageTap { time: self.button.time, id, button: self.button.fact.clone() }
    }

    /// Tells `tally` what a tap without a message counts for: one of all clicks of its number and,
    /// if its payload carries our sign, of that template (counting rule 5). On which side of the
    /// opt-in it lies is decided by its own time: there is no message whose sending could.
    pub fn contribute(
        &self,
        key: &TapKey,
        channel: &Channel,
        tally: &mut impl FnMut(&Filing<'_>, Measure<'_>),
    ) {
        if self.message().is_some() {
            return;
        }
        let sign = self.sign.as_ref().filter(|_| self.is_of_template());
        let Told { time, fact: button } = &self.button;
        let attribution = match sign {
            Some(_) => Attribution::Template,
            None if self.is_of_template() => Attribution::Unattributed,
            None => Attribution::FreeForm,
        };
        let template = sign.map(|Told { fact: Sign { template, campaign }, .. }| FilingTemplate {
            template,
            category: channel.category(template, *time),
            campaign: campaign.as_ref(),
        });
        let filing = Filing {
            channel: &key.channel,
            number: &key.number,
            attribution,
            template,
            side: channel.side(Some(*time)),
            atom: Atom::of(*time),
        };
        tally(&filing, Measure::Clicked(button, false));
    }
}
