//! Making sessions of roles (STS): temporary credentials, as the command line hands them out.
//!
//! A session has the policies of its role and perhaps one of its own that narrows them; its policy
//! is parsed here, so that no session is ever kept that nobody could use. Durations are those of
//! the original.

use twoticks_core::clock::{SECOND, Time};
use twoticks_store::directory::mint::Mint;
use twoticks_store::directory::model::Session;
use twoticks_store::directory::names::{Name, Uid};

use super::policy::{self, PolicyError};

/// The shortest session, in seconds.
pub const SECONDS_MIN: i64 = 900;
/// The longest session, in seconds: twelve hours.
pub const SECONDS_MAX: i64 = 43_200;

/// What session is wanted.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whose role it is.
    pub account: Uid,
    /// The role.
    pub role: Name,
    /// What to call the session.
    pub name: Name,
    /// The names of the policies of the role.
    pub policies: Vec<Name>,
    /// A policy document that narrows the session.
    pub policy: Option<&'a str>,
    /// How long it lasts, in seconds.
    pub seconds: i64,
}

/// Why there is no such session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// It would be too short or too long.
    #[error("a session of `{seconds}` seconds; it lasts {SECONDS_MIN} to {SECONDS_MAX} seconds")]
    Duration {
        /// How long it was to be.
        seconds: i64,
    },
    /// Its policy cannot be read.
    #[error("its session policy will not do")]
    Policy(#[from] PolicyError),
}

/// Makes a session with new credentials. It is known once it is added to the directory.
///
/// # Errors
/// [`SessionError`].
pub fn mint(mint: &mut Mint, wanted: Wanted<'_>, now: Time) -> Result<Session, SessionError> {
    let Wanted { account, role, name, policies, policy, seconds } = wanted;
    if !(SECONDS_MIN..=SECONDS_MAX).contains(&seconds) {
        return Err(SessionError::Duration { seconds });
    }
    if let Some(document) = policy {
        policy::parse(document)?;
    }
    Ok(Session {
        id: mint.session_id(),
        secret: mint.key_secret(),
        token: mint.security_token(),
        account,
        role,
        name,
        policies,
        policy: policy.map(Into::into),
        expires: now.plus(seconds * SECOND),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(seconds: i64, policy: Option<&str>) -> Wanted<'_> {
        Wanted {
            account: Uid::new("1234567890123456").unwrap(),
            role: Name::new("reporter").unwrap(),
            name: Name::new("nightly").unwrap(),
            policies: Vec::new(),
            policy,
            seconds,
        }
    }

    #[test]
    fn a_session_lasts_as_long_as_wanted_within_bounds() {
        let make = |seconds| mint(&mut Mint::random(), wanted(seconds, None), Time(1_000));
        assert_eq!(make(900).unwrap().expires, Time(901_000));
        assert!(make(43_200).is_ok());
        for seconds in [899, 43_201, 0, -1, i64::MIN, i64::MAX] {
            assert_eq!(make(seconds).unwrap_err(), SessionError::Duration { seconds });
        }
    }

    #[test]
    fn a_session_policy_has_to_be_a_policy() {
        let make = |policy| mint(&mut Mint::random(), wanted(900, Some(policy)), Time(0));
        assert!(make(r#"{"Version":"1","Statement":[]}"#).is_ok());
        assert!(matches!(make("{}"), Err(SessionError::Policy(_))));
    }
}
