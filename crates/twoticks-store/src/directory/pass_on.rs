//! Where what WhatsApp tells of a channel is passed on to: addresses, and what signs.
//!
//! Addresses may have secrets in them, so they are sealed as secrets are. Whether one may be posted
//! to is not asked here, but when it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use twoticks_core::ids::{ChannelId, PhoneNumber};

use super::names::Secret;
use super::stored::{Place, Sealed, Unreadable};
use super::{NUMBERS_PER_CHANNEL_MAX, Refusal, WEBHOOKS_PER_CHANNEL_MAX};
use crate::keys::Keys;

/// Where what WhatsApp tells of a channel is passed on to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassOn {
    /// Where receipts go.
    pub callbacks: Callbacks,
    /// Those of numbers that have callbacks of their own. A number that leaves the channel, or the
    /// directory, leaves them behind.
    pub of_numbers: BTreeMap<PhoneNumber, Callbacks>,
    /// What receipts are signed with; none: they are not.
    pub receipts_key: Option<Secret>,
    /// Who gets the webhooks as they come; each address once.
    pub webhooks: Vec<Webhooks>,
}

/// Where receipts go, in the form of CAMS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callbacks {
    /// Whether they are posted at all.
    pub enabled: bool,
    /// Where statuses go.
    pub status_url: Option<Secret>,
    /// Where inbound messages go.
    pub inbound_url: Option<Secret>,
}

impl Callbacks {
    fn has_url(&self) -> bool {
        self.status_url.is_some() || self.inbound_url.is_some()
    }
}

/// What is to be different about callbacks; what is left out stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Whether they are posted at all; an address alone turns them on.
    pub enabled: Option<bool>,
    /// Where statuses go.
    pub status_url: Option<Secret>,
    /// Where inbound messages go.
    pub inbound_url: Option<Secret>,
}

/// Somebody who gets the webhooks as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// Where to.
    pub url: Secret,
    /// What they are signed with besides; none: they are not.
    pub key: Option<Secret>,
}

/// One thing to do to it.
#[derive(Clone, Debug)]
pub enum Step {
    /// All of it.
    All(PassOn),
    /// The callbacks of the channel, or those of a number; none takes them away.
    Callbacks(Option<PhoneNumber>, Option<Callbacks>),
    /// The callbacks of the channel, or those of a number, in part.
    Change(Option<PhoneNumber>, Wanted),
    /// What receipts are signed with.
    ReceiptsKey(Option<Secret>),
    /// The webhooks go there too, or with another key.
    PutWebhooks(Webhooks),
    /// The webhooks do not go there any more.
    RemoveWebhooks(Secret),
}

impl PassOn {
    /// Where the receipts of a number go: what it does not have of its own it has of the channel.
    #[must_use]
    pub fn callbacks_of(&self, number: &PhoneNumber) -> Callbacks {
        let Some(own) = self.of_numbers.get(number) else { return self.callbacks.clone() };
        let Callbacks { enabled, status_url, inbound_url } = own.clone();
        Callbacks {
            enabled,
            status_url: status_url.or_else(|| self.callbacks.status_url.clone()),
            inbound_url: inbound_url.or_else(|| self.callbacks.inbound_url.clone()),
        }
    }

    /// The callbacks of the channel, or of a number, as they are when they are `wanted` so; `None` if
    /// they are to be on and there is no address.
    #[must_use]
    pub fn wanted(&self, number: Option<&PhoneNumber>, wanted: Wanted) -> Option<Callbacks> {
        let Wanted { enabled, status_url, inbound_url } = wanted;
        let known = match number {
            None => self.callbacks.clone(),
            // Without callbacks of its own it is as its channel is, and its addresses stay that one's.
            Some(number) => self.of_numbers.get(number).cloned().unwrap_or_else(|| Callbacks {
                enabled: self.callbacks.enabled,
                ..Callbacks::default()
            }),
        };
        let is_given = status_url.is_some() || inbound_url.is_some();
        let callbacks = Callbacks {
            enabled: enabled.unwrap_or(known.enabled || is_given),
            status_url: status_url.or(known.status_url),
            inbound_url: inbound_url.or(known.inbound_url),
        };
        // A number without an address of its own has the channel's.
        let has_url = callbacks.has_url() || (number.is_some() && self.callbacks.has_url());
        (!callbacks.enabled || has_url).then_some(callbacks)
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes a step.
    pub(super) fn take(&mut self, step: Step) -> Result<(), Refusal> {
        match step {
            Step::All(all) => *self = all,
            Step::Callbacks(None, callbacks) => self.callbacks = callbacks.unwrap_or_default(),
            Step::Callbacks(Some(number), Some(callbacks)) => {
                self.of_numbers.insert(number, callbacks);
            }
            Step::Callbacks(Some(number), None) => {
                let name = number.to_string();
                let removed = self.of_numbers.remove(&number);
                removed.ok_or(Refusal::Missing { what: "callback of a number", name })?;
            }
            // Nothing is to be different: a number gets no callbacks of its own by that.
            Step::Change(_, wanted) if wanted == Wanted::default() => {}
            Step::Change(number, wanted) => {
                let (what, name) = ("callback", "(not shown)".to_owned());
                let rule = "to be on it needs an address";
                let callbacks = self.wanted(number.as_ref(), wanted);
                let callbacks = callbacks.ok_or(Refusal::Invalid { what, name, rule })?;
                match number {
                    None => self.callbacks = callbacks,
                    Some(number) => drop(self.of_numbers.insert(number, callbacks)),
                }
            }
            Step::ReceiptsKey(key) => self.receipts_key = key,
            Step::PutWebhooks(new) => {
                match self.webhooks.iter_mut().find(|known| known.url == new.url) {
                    Some(known) => known.key = new.key,
                    None => self.webhooks.push(new),
                }
            }
            Step::RemoveWebhooks(url) => {
                let before = self.webhooks.len();
                self.webhooks.retain(|known| known.url != url);
                if self.webhooks.len() == before {
                    let name = "(not shown)".to_owned();
                    return Err(Refusal::Missing { what: "address for webhooks", name });
                }
            }
        }
        Ok(())
    }

    /// Refuses what is beyond a limit.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let (what, max) = ("addresses for the webhooks of a channel", WEBHOOKS_PER_CHANNEL_MAX);
        if self.webhooks.len() > max {
            return Err(Refusal::Limit { what, max });
        }
        let (what, max) = ("callbacks of numbers of a channel", NUMBERS_PER_CHANNEL_MAX);
        if self.of_numbers.len() > max {
            return Err(Refusal::Limit { what, max });
        }
        Ok(())
    }
}

/// As it is in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    channel: ChannelId,
    callbacks: StoredCallbacks,
    of_numbers: BTreeMap<PhoneNumber, StoredCallbacks>,
    receipts_key: Option<Sealed>,
    webhooks: Vec<StoredWebhooks>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredCallbacks {
    enabled: bool,
    status_url: Option<Sealed>,
    inbound_url: Option<Sealed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredWebhooks {
    url: Sealed,
    key: Option<Sealed>,
}

pub(super) fn stored(channel: &ChannelId, pass_on: &PassOn, keys: &Keys) -> Stored {
    let place = Place::new(keys, "pass_on", channel.as_str());
    let PassOn { callbacks, of_numbers, receipts_key, webhooks } = pass_on;
    let seal = |field, secret: &Option<Secret>| secret.as_ref().map(|it| place.seal(field, it));
    let put = |callbacks: &Callbacks| {
        let Callbacks { enabled, status_url, inbound_url } = callbacks;
        StoredCallbacks {
            enabled: *enabled,
            status_url: seal("status_url", status_url),
            inbound_url: seal("inbound_url", inbound_url),
        }
    };
    let further = webhooks.iter().map(|Webhooks { url, key }| StoredWebhooks {
        url: place.seal("webhooks_url", url),
        key: seal("webhooks_key", key),
    });
    Stored {
        channel: channel.clone(),
        callbacks: put(callbacks),
        of_numbers: of_numbers.iter().map(|(number, of)| (number.clone(), put(of))).collect(),
        receipts_key: seal("receipts_key", receipts_key),
        webhooks: further.collect(),
    }
}

pub(super) fn opened(stored: Stored, keys: &Keys) -> Result<(ChannelId, PassOn), Unreadable> {
    let Stored { channel, callbacks, of_numbers, receipts_key, webhooks } = stored;
    let place = Place::new(keys, "pass_on", channel.as_str());
    let open =
        |field, sealed: Option<Sealed>| sealed.map(|sealed| place.open(field, &sealed)).transpose();
    let get = |stored: StoredCallbacks| {
        let StoredCallbacks { enabled, status_url, inbound_url } = stored;
        Ok(Callbacks {
            enabled,
            status_url: open("status_url", status_url)?,
            inbound_url: open("inbound_url", inbound_url)?,
        })
    };
    let numbers = of_numbers.into_iter().map(|(number, of)| Ok((number, get(of)?)));
    let webhooks = webhooks.into_iter().map(|StoredWebhooks { url, key }| {
        Ok(Webhooks { url: place.open("webhooks_url", &url)?, key: open("webhooks_key", key)? })
    });
    let pass_on = PassOn {
        callbacks: get(callbacks)?,
        of_numbers: numbers.collect::<Result<_, Unreadable>>()?,
        receipts_key: open("receipts_key", receipts_key)?,
        webhooks: webhooks.collect::<Result<_, Unreadable>>()?,
    };
    Ok((channel, pass_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text).unwrap())
    }

    fn refused(of: &mut PassOn, number: Option<&PhoneNumber>, wanted: Wanted) -> bool {
        let before = of.clone();
        let refused = of.take(Step::Change(number.cloned(), wanted)).is_err();
        assert!(!refused || *of == before);
        refused
    }

    #[test]
    fn what_is_left_out_stays_as_it_was() {
        let nothing = Wanted::default;
        let on = |enabled| Wanted { enabled: Some(enabled), ..nothing() };
        let number = PhoneNumber::new("15550783881").unwrap();
        let (mut of, number) = (PassOn::default(), Some(&number));
        assert!(refused(&mut of, None, on(true)) && refused(&mut of, number, on(true)));
        let mut take = |number: Option<&PhoneNumber>, wanted| {
            of.take(Step::Change(number.cloned(), wanted)).unwrap();
            of.clone()
        };
        for number in [None, number] {
            assert_eq!(take(number, nothing()), PassOn::default());
        }
        let first = take(None, Wanted { status_url: secret("s"), ..nothing() }).callbacks;
        assert!(first.enabled && first.inbound_url.is_none());
        let of_number = |of: &PassOn| of.callbacks_of(number.unwrap());
        // A number whose channel's callbacks are on stays on.
        let same = take(number, nothing());
        assert_eq!((of_number(&same), same.of_numbers.len()), (first.clone(), 0));
        let inbound = take(number, Wanted { inbound_url: secret("n"), ..on(true) });
        assert_eq!(of_number(&inbound).status_url, secret("s"));
        take(number, on(false));
        let second = take(None, Wanted { inbound_url: secret("i"), ..on(false) }).callbacks;
        assert_eq!((second.enabled, &second.status_url), (false, &secret("s")));
        assert_eq!(take(None, nothing()).callbacks, second);
        // A number has its own, or turns those of the channel on and off.
        let own = take(number, on(true));
        let expected = Callbacks { enabled: true, inbound_url: secret("n"), ..second };
        assert_eq!(of_number(&own), expected);
    }
}
