//! Names in the directory: account uids, user ids, access key ids, names, and secrets.
//!
//! Each is checked once, when it is made, and is then what its rule says. To add one, add a line
//! to `ident!`. A [`Secret`] never shows itself: not in `Debug`, not in an error, not in JSON.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use twoticks_core::ids::InvalidId;

fn invalid(what: &'static str, value: &str, rule: &'static str) -> InvalidId {
    InvalidId { what, value: value.chars().take(64).collect(), rule }
}

macro_rules! ident {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes `text`.
            ///
            /// # Errors
            /// [`InvalidId`] unless it is as the type's invariant says.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) { Ok(Self(text.into())) } else { Err(invalid($what, text, $rule)) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(&text)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.as_str().to_owned()
            }
        }
        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}

ident!(
    /// The uid of an account.
    ///
    /// **Invariant:** 16 ASCII digits, the first of them not 0.
    Uid,
    "account uid",
    "16 digits that do not begin with 0",
    |text| text.len() == 16 && is_digits(text) && !text.starts_with('0')
);

ident!(
    /// The id of a RAM user, unique over all accounts.
    ///
    /// **Invariant:** 1 to 32 ASCII digits.
    UserId,
    "user id",
    "1 to 32 digits",
    |text| (1..=32).contains(&text.len()) && is_digits(text)
);

ident!(
    /// The id of an access key (`LTAI…`) or of a session (`STS.…`).
    ///
    /// **Invariant:** 4 to 128 ASCII letters, digits, `.`, `-` and `_`.
    AccessKeyId,
    "access key id",
    "4 to 128 letters, digits, `.`, `-` or `_`",
    |text| (4..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
);

ident!(
    /// The name of a user, a policy, a role or a session.
    ///
    /// **Invariant:** 1 to 128 ASCII letters, digits, `.`, `-`, `_` and `@`.
    Name,
    "name",
    "1 to 128 letters, digits, `.`, `-`, `_` or `@`",
    |text| (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_@".contains(&b))
);

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// What only its owner and this program know: a key's secret, a token, an app secret.
///
/// **Invariant:** 1 to [`Secret::BYTES_MAX`] bytes without control characters. `Debug` shows
/// nothing, comparing takes the same time wherever the difference is, and on disk it is sealed.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// The longest secret, in bytes: security tokens are the longest there are.
    pub const BYTES_MAX: usize = 4_096;

    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`InvalidId`], which does not show the text, unless it is as the invariant says.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        if (1..=Self::BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned().into()))
        } else {
            Err(invalid("secret", "(not shown)", "1 to 4096 bytes without control characters"))
        }
    }

    /// The text, for signing and verifying; never for a log or an error.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether it is `text`, compared in constant time.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.expose().as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.expose())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let secret = Secret::new("correct horse").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(secret.is("correct horse"));
        assert!(!secret.is("correct horsf"));
        assert!(!secret.is("correct hors"));
        let refused = Secret::new("tab\there").unwrap_err();
        assert!(!refused.to_string().contains("here"), "{refused}");
        assert!(Secret::new("").is_err());
        assert!(Secret::new(&"x".repeat(Secret::BYTES_MAX)).is_ok());
        assert!(Secret::new(&"x".repeat(Secret::BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn names_are_what_their_rules_say() {
        assert!(Uid::new("1234567890123456").is_ok());
        for bad in ["", "0234567890123456", "123456789012345", "12345678901234567", "x"] {
            assert!(Uid::new(bad).is_err(), "{bad}");
        }
        assert!(AccessKeyId::new("STS.NUgYrLnoC37mZZCNnAbez").is_ok());
        for bad in ["abc", "LTAI 5t", "LTAI/5t", &"x".repeat(129)] {
            assert!(AccessKeyId::new(bad).is_err(), "{bad}");
        }
        assert!(Name::new("reporting@example.onaliyun").is_ok());
        assert!(Name::new("a b").is_err());
        assert!(UserId::new("288774427437").is_ok());
        assert!(UserId::new("").is_err());
    }
}
