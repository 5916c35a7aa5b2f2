//! Tickets: who may look at an account's pages. A link is good once, for a quarter of an hour, and
//! gives a cookie for a week; both are sealed under the key file, so nothing about them is stored
//! but which links were used, until they would have expired.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_store::directory::names::Uid;
use twoticks_store::keys::Keys;

/// How long a link is good for, in milliseconds.
pub(super) const LINK_KEPT: i64 = 15 * 60 * SECOND;
/// How long a cookie is good for, in milliseconds.
const COOKIE_KEPT: i64 = 7 * DAY;
const COOKIE: &str = "twoticks";
/// Longer tickets are not looked at.
const TICKET_MAX: usize = 512;

#[derive(Serialize, Deserialize)]
struct Ticket {
    account: Uid,
    expires: Time,
}

/// The query of a link to the pages of `account`, good for a quarter of an hour from `now` on.
#[must_use]
pub fn link(keys: &Keys, now: Time, account: &Uid) -> String {
    format!("t={}", seal(keys, "dashboard link", account, now.plus(LINK_KEPT)))
}

/// The account that the query `t=…` of a link is for.
pub(super) fn of_link(keys: &Keys, now: Time, given: &str) -> Option<Uid> {
    open(keys, "dashboard link", given, now)
}

/// What to set as a cookie.
pub(super) fn cookie(keys: &Keys, now: Time, account: &Uid) -> String {
    let sealed = seal(keys, "dashboard cookie", account, now.plus(COOKIE_KEPT));
    let seconds = COOKIE_KEPT / SECOND;
    format!("{COOKIE}={sealed}; Path=/ui/; Max-Age={seconds}; HttpOnly; SameSite=Lax")
}

/// The account that one of a request's cookies is for.
pub(super) fn of_cookies(keys: &Keys, now: Time, cookies: &str) -> Option<Uid> {
    cookies
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .find_map(|(_, value)| open(keys, "dashboard cookie", value, now))
}

fn seal(keys: &Keys, purpose: &str, account: &Uid, expires: Time) -> String {
    let ticket = Ticket { account: account.clone(), expires };
    let plain = serde_json::to_vec(&ticket).expect("a ticket is two plain fields");
    URL_SAFE_NO_PAD.encode(keys.seal(purpose, b"", &plain))
}

fn open(keys: &Keys, purpose: &str, given: &str, now: Time) -> Option<Uid> {
    if given.len() > TICKET_MAX {
        return None;
    }
    let plain = keys.open_sealed(purpose, b"", &URL_SAFE_NO_PAD.decode(given).ok()?).ok()?;
    let ticket: Ticket = serde_json::from_slice(&plain).ok()?;
    (now < ticket.expires).then_some(ticket.account)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_good_for_a_quarter_of_an_hour_and_is_no_cookie() {
        let keys = Keys::from_bytes([7; 32]);
        let account = Uid::new("1000000000000001").unwrap();
        let now = Time(1_795_000_000_000);
        let link = link(&keys, now, &account);
        let given = link.strip_prefix("t=").unwrap();
        assert_eq!(of_link(&keys, now, given).as_ref(), Some(&account));
        assert_eq!(of_link(&keys, now.plus(LINK_KEPT), given), None);
        assert_eq!(of_cookies(&keys, now, &format!("twoticks={given}")), None);
        let cookie = cookie(&keys, now, &account);
        let pair = cookie.split(';').next().unwrap();
        assert_eq!(of_cookies(&keys, now, &format!("a=b; {pair}")), Some(account));
        assert_eq!(of_link(&Keys::from_bytes([8; 32]), now, given), None);
        assert_eq!(of_link(&keys, now, "not base64!"), None);
    }
}
