//! Names of things: channels, numbers, templates, and the keyed hashes that stand for people.

use std::fmt;
use std::hash::{self, Hasher};
use std::sync::Arc;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A text that cannot be an identifier, with what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no {what}: {rule}")]
pub struct InvalidId {
    /// What it was meant to be.
    pub what: &'static str,
    /// The text as given, cut to 64 characters.
    pub value: String,
    /// What would do.
    pub rule: &'static str,
}

fn invalid(what: &'static str, value: &str, rule: &'static str) -> InvalidId {
    InvalidId { what, value: value.chars().take(64).collect(), rule }
}

/// A channel: the tenant boundary; `CustSpaceId` in CAMS, a WABA at Meta.
///
/// **Invariant:** 1 to 128 characters of visible ASCII, so that it can be part of a key (no byte
/// below 0x21), a log field and part of a URL.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct ChannelId(Arc<str>);

impl ChannelId {
    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`InvalidId`] unless it is 1 to 128 characters of visible ASCII.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(invalid("channel id", text, "1 to 128 visible ASCII characters"))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A business phone number, the one that sends.
///
/// **Invariant:** 1 to 32 ASCII digits, no `+`.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct PhoneNumber(Arc<str>);

impl PhoneNumber {
    /// Takes a number as people and providers write it: `+`, blanks, `-`, `.`, `(` and `)` are
    /// left out, everything else has to be a digit.
    ///
    /// # Errors
    /// [`InvalidId`] unless 1 to 32 digits remain.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        let rule = "1 to 32 digits";
        let mut digits = String::with_capacity(text.len().min(40));
        for c in text.chars() {
            match c {
                '0'..='9' if digits.len() < 32 => digits.push(c),
                '+' | ' ' | '-' | '.' | '(' | ')' | '\u{a0}' => {}
                _ => return Err(invalid("phone number", text, rule)),
            }
        }
        if digits.is_empty() {
            return Err(invalid("phone number", text, rule));
        }
        Ok(Self(digits.into()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text of bounded length without control characters: template codes, languages, campaigns,
/// button texts, error and pricing words.
///
/// **Invariant:** at most [`Text::BYTES_MAX`] bytes, no control character, so that it can end in
/// a key.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Text(Arc<str>);

impl Text {
    /// The longest text that is kept, in bytes of UTF-8.
    pub const BYTES_MAX: usize = 512;

    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`InvalidId`] if it is longer than [`Text::BYTES_MAX`] or has a control character.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        if text.len() <= Self::BYTES_MAX && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(invalid("text", text, "at most 512 bytes without control characters"))
        }
    }

    /// Takes what can be taken of `text`: control characters become blanks, and it is cut at the
    /// last character that fits. For texts that people wrote, such as those on buttons.
    #[must_use]
    pub fn lossy(text: &str) -> Self {
        let mut kept = String::with_capacity(text.len().min(Self::BYTES_MAX));
        for c in text.chars() {
            let c = if c.is_control() { ' ' } else { c };
            if kept.len() + c.len_utf8() > Self::BYTES_MAX {
                break;
            }
            kept.push(c);
        }
        Self(kept.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_like {
    ($($name:ident),*) => {$(
        // By hand, because what is shared need not be read to be equal.
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
            }
        }
        impl hash::Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                hash::Hash::hash(&self.0, state);
            }
        }
        // By hand, because every row has some: the ways of serde's attributes copy each text once
        // more, both in and out.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Checked;
                impl Visitor<'_> for Checked {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a string")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::new(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Checked)
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
    )*};
}
text_like!(ChannelId, PhoneNumber, Text);

/// A template: its code (ours to give) and its language.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Template {
    /// `TemplateCode`.
    pub code: Text,
    /// The language as the provider spells it, such as `en` or `pt_BR`.
    pub language: Text,
}

/// A keyed 128-bit hash: of a wamid, of an inbound message id, or of a recipient.
///
/// 128 bits of HMAC-SHA-256 under a key of the tenant. Among 10^12 messages of one channel the
/// odds that any two share a hash are below 2 in 10^15.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hash(pub [u8; 16]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_as_digits() {
        for (text, digits) in [
            ("+1 (555) 078-3881", Some("15550783881")),
            ("15550783881", Some("15550783881")),
            ("", None),
            ("+", None),
            ("1555x", None),
            ("٣", None),
            ("123456789012345678901234567890123", None),
        ] {
            let number = PhoneNumber::new(text).ok();
            assert_eq!(number.as_ref().map(PhoneNumber::as_str), digits, "{text}");
        }
    }

    #[test]
    fn texts_are_bounded_and_plain() {
        assert!(Text::new(&"x".repeat(512)).is_ok());
        assert!(Text::new(&"x".repeat(513)).is_err());
        assert!(Text::new("a\nb").is_err());
        assert_eq!(Text::lossy("a\nb").as_str(), "a b");
        assert_eq!(Text::lossy(&"é".repeat(300)).as_str().len(), 512);
    }

    #[test]
    fn channel_ids_are_visible_ascii() {
        assert!(ChannelId::new("cams-8c8a1234").is_ok());
        for bad in ["", "a b", "é", &"x".repeat(129)] {
            assert!(ChannelId::new(bad).is_err(), "{bad}");
        }
    }
}
