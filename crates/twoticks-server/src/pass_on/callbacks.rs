//! How callbacks change: what is left out stays as it was, and an address alone turns them on.

use twoticks_core::ids::PhoneNumber;
use twoticks_store::directory::names::Secret;
use twoticks_store::directory::pass_on::{Callbacks, PassOn};

/// What is to be different.
pub(crate) struct Wanted {
    pub(crate) enabled: Option<bool>,
    pub(crate) status_url: Option<Secret>,
    pub(crate) inbound_url: Option<Secret>,
}

/// The callbacks of a channel, or of a number, as they are from now on; `None` if they are to be on
/// and there is no address.
pub(crate) fn change(
    of: Option<&PassOn>,
    number: Option<&PhoneNumber>,
    wanted: Wanted,
) -> Option<Callbacks> {
    let Wanted { enabled, status_url, inbound_url } = wanted;
    let of_channel = of.map(|of| of.callbacks.clone()).unwrap_or_default();
    let known = match number {
        Some(number) => of.and_then(|of| of.of_numbers.get(number).cloned()).unwrap_or_default(),
        None => of_channel.clone(),
    };
    let is_given = status_url.is_some() || inbound_url.is_some();
    let callbacks = Callbacks {
        enabled: enabled.unwrap_or(known.enabled || is_given),
        status_url: status_url.or(known.status_url),
        inbound_url: inbound_url.or(known.inbound_url),
    };
    let has_url = |it: &Callbacks| it.status_url.is_some() || it.inbound_url.is_some();
    // A number without an address of its own has the channel's.
    let is_fit = !callbacks.enabled || has_url(&callbacks) || has_url(&of_channel);
    is_fit.then_some(callbacks)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn secret(text: &str) -> Option<Secret> {
        Some(Secret::new(text).unwrap())
    }

    #[test]
    fn what_is_left_out_stays_as_it_was() {
        let nothing = || Wanted { enabled: None, status_url: None, inbound_url: None };
        let on = |enabled| Wanted { enabled: Some(enabled), ..nothing() };
        let number = PhoneNumber::new("15550783881").unwrap();
        assert_eq!(change(None, None, on(true)), None);
        assert_eq!(change(None, Some(&number), on(true)), None);
        assert_eq!(change(None, None, nothing()), Some(Callbacks::default()));
        let first = Wanted { status_url: secret("s"), ..nothing() };
        let first = change(None, None, first).unwrap();
        assert!(first.enabled && first.inbound_url.is_none());
        let mut of = PassOn { callbacks: first, ..PassOn::default() };
        let second = Wanted { inbound_url: secret("i"), ..on(false) };
        of.callbacks = change(Some(&of), None, second).unwrap();
        assert_eq!((of.callbacks.enabled, &of.callbacks.status_url), (false, &secret("s")));
        let third = change(Some(&of), None, nothing()).unwrap();
        assert_eq!(third, of.callbacks);
        // A number has its own, or turns those of the channel on and off.
        let own = change(Some(&of), Some(&number), on(true)).unwrap();
        assert_eq!((own.enabled, &own.status_url), (true, &None));
        of.of_numbers = BTreeMap::from([(number.clone(), own)]);
        assert_eq!(of.callbacks_of(&number).status_url, secret("s"));
    }
}
