//! Tickets: who may look at an account's pages, and who may change its channels. A link is good
//! once, for a quarter of an hour, and gives a cookie for a week; one that may set up gives a second
//! cookie, for an hour ([`Session`]). All are sealed under the key file, each kind for itself, so
//! nothing about them is stored but which links were used, until they would have expired.

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
/// How long the right to set up lasts, in milliseconds.
const SESSION_KEPT: i64 = 60 * 60 * SECOND;
const COOKIE: &str = "twoticks";
const SESSION_COOKIE: &str = "twoticks-setup";
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

/// The query of a link to the page that sets up the channels of `account`, good as long.
#[must_use]
pub fn setup_link(keys: &Keys, now: Time, account: &Uid) -> String {
    format!("t={}", seal(keys, "setup link", account, now.plus(LINK_KEPT)))
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

/// The right to change the channels of an account: what the second cookie holds.
pub(super) struct Session {
    pub(super) account: Uid,
    /// The cookie's value.
    value: String,
}

/// A new session for whoever comes with the query `t=…` of a link that may set up.
pub(super) fn session_of_link(keys: &Keys, now: Time, given: &str) -> Option<Session> {
    let account = open(keys, "setup link", given, now)?;
    let value = seal(keys, "setup cookie", &account, now.plus(SESSION_KEPT));
    Some(Session { account, value })
}

/// The session that one of a request's cookies is.
pub(super) fn session_of(keys: &Keys, now: Time, cookies: &str) -> Option<Session> {
    cookies
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == SESSION_COOKIE)
        .find_map(|(_, value)| {
            let account = open(keys, "setup cookie", value, now)?;
            Some(Session { account, value: value.to_owned() })
        })
}

impl Session {
    /// What to set as a cookie; over TLS it is for TLS only.
    pub(super) fn cookie(&self, over_tls: bool) -> String {
        let (value, seconds) = (&self.value, SESSION_KEPT / SECOND);
        let secure = if over_tls { "; Secure" } else { "" };
        format!(
            "{SESSION_COOKIE}={value}; Path=/ui/; Max-Age={seconds}; HttpOnly; SameSite=Strict\
             {secure}"
        )
    }

    /// What every form shown in this session carries, so that no other page can make one.
    pub(super) fn form_token(&self, keys: &Keys) -> String {
        URL_SAFE_NO_PAD.encode(keys.seal("setup form", self.value.as_bytes(), b""))
    }

    /// Whether a form with `token` was shown in this session.
    pub(super) fn has_shown(&self, keys: &Keys, token: &str) -> bool {
        token.len() <= TICKET_MAX
            && URL_SAFE_NO_PAD.decode(token).is_ok_and(|sealed| {
                keys.open_sealed("setup form", self.value.as_bytes(), &sealed).is_ok()
            })
    }
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

    #[test]
    fn the_right_to_set_up_is_another_and_a_form_is_of_one_session() {
        let keys = Keys::from_bytes([7; 32]);
        let account = Uid::new("1000000000000001").unwrap();
        let now = Time(1_795_000_000_000);
        let given = setup_link(&keys, now, &account);
        let given = given.strip_prefix("t=").unwrap();
        assert_eq!(of_link(&keys, now, given), None, "it is no link to look");
        let look = link(&keys, now, &account);
        assert!(session_of_link(&keys, now, look.strip_prefix("t=").unwrap()).is_none());
        assert!(session_of_link(&keys, now.plus(LINK_KEPT), given).is_none());
        let session = session_of_link(&keys, now, given).unwrap();
        let set = session.cookie(true);
        let pair = set.split(';').next().unwrap();
        assert!(set.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{set}");
        assert!(!session.cookie(false).contains("Secure"));
        let again = session_of(&keys, now.plus(SESSION_KEPT - 1), pair).unwrap();
        assert_eq!(again.account, account);
        assert!(session_of(&keys, now.plus(SESSION_KEPT), pair).is_none());
        assert!(session_of(&keys, now, &pair.replace("-setup", "")).is_none());
        let looking = cookie(&keys, now, &account).replacen(COOKIE, SESSION_COOKIE, 1);
        assert!(session_of(&keys, now, &looking).is_none(), "looking is not setting up");

        let token = session.form_token(&keys);
        assert!(again.has_shown(&keys, &token));
        let other = session_of_link(&keys, now, given).unwrap();
        assert!(!other.has_shown(&keys, &token));
        for wrong in ["", "AAAA", "not base64!", &"A".repeat(TICKET_MAX + 1)] {
            assert!(!again.has_shown(&keys, wrong), "{wrong:.20}");
        }
    }
}
