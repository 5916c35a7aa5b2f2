//! Our sign: the mark on a message by which its statuses and taps name their template.
//!
//! `tt1:` + template code + `:` + language [+ `:` + campaign], each percent-encoded. It travels in
//! `biz_opaque_callback_data`, where it stands alone, and in the payload of a quick reply, where
//! `|` and the caller's own payload may follow. A field to add is a new version, `tt2:`. What
//! always holds: what `encode` wrote, `parse` reads, and anything else is no sign of ours.

use std::borrow::Cow;

use crate::params::encode_into;

/// The longest sign, in characters: `biz_opaque_callback_data` takes no more.
pub const SIGN_MAX: usize = 512;

/// How a sign begins.
const PREFIX: &str = "tt1:";

/// What parts a sign from the caller's own payload; inside a sign it is percent-encoded.
const OWN: char = '|';

/// Whose template a message uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sign {
    /// The template's code; not empty.
    pub code: String,
    /// The template's language, such as `en_US`; not empty.
    pub language: String,
    /// The campaign, where there is one; not empty.
    pub campaign: Option<String>,
}

/// Why a sign could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A part of it is empty.
    #[error("`{0}` of a sign must not be empty")]
    Empty(&'static str),
    /// Longer than [`SIGN_MAX`].
    #[error("the sign has `{length}` characters, at most `{SIGN_MAX}` fit: shorten the campaign")]
    TooLong {
        /// Its length, percent-encoded.
        length: usize,
    },
}

impl Sign {
    /// The sign as `biz_opaque_callback_data` carries it: at most [`SIGN_MAX`] characters of
    /// visible ASCII.
    ///
    /// # Errors
    ///
    /// If a part is empty, or the whole too long.
    pub fn encode(&self) -> Result<String, SignError> {
        let Self { code, language, campaign } = self;
        let mut out = String::from(PREFIX);
        let parts = [("code", Some(code)), ("language", Some(language))];
        for (name, part) in parts.into_iter().chain([("campaign", campaign.as_ref())]) {
            let Some(part) = part else { continue };
            if part.is_empty() {
                return Err(SignError::Empty(name));
            }
            if out.len() > PREFIX.len() {
                out.push(':');
            }
            encode_into(part, &mut out);
        }
        if out.len() > SIGN_MAX {
            return Err(SignError::TooLong { length: out.len() });
        }
        Ok(out)
    }

    /// The sign as the payload of a quick reply carries it, with the caller's own payload behind.
    ///
    /// # Errors
    ///
    /// As [`Sign::encode`]; the caller's own payload does not count towards the length.
    pub fn encode_payload(&self, own: Option<&str>) -> Result<String, SignError> {
        let mut out = self.encode()?;
        if let Some(own) = own {
            out.push(OWN);
            out.push_str(own);
        }
        Ok(out)
    }

    /// Reads what [`Sign::encode`] wrote; `None` if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        SignView::parse(text).map(SignView::into_sign)
    }

    /// Reads what [`Sign::encode_payload`] wrote, and the caller's own payload where there is
    /// one; `None` if it carries no sign.
    #[must_use]
    pub fn parse_payload(payload: &str) -> Option<(Self, Option<&str>)> {
        let (sign, own) = SignView::parse_payload(payload)?;
        Some((sign.into_sign(), own))
    }
}

/// A [`Sign`], borrowed from the text that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignView<'a> {
    /// The template's code; not empty.
    pub code: Cow<'a, str>,
    /// The template's language; not empty.
    pub language: Cow<'a, str>,
    /// The campaign, where there is one; not empty.
    pub campaign: Option<Cow<'a, str>>,
}

impl<'a> SignView<'a> {
    /// As [`Sign::parse`].
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > SIGN_MAX {
            return None;
        }
        let mut parts = text.strip_prefix(PREFIX)?.split(':');
        let code = percent_decode(parts.next()?)?;
        let language = percent_decode(parts.next()?)?;
        let campaign = match parts.next() {
            Some(part) => Some(percent_decode(part)?),
            None => None,
        };
        parts.next().is_none().then_some(Self { code, language, campaign })
    }

    /// As [`Sign::parse_payload`].
    #[must_use]
    pub fn parse_payload(payload: &'a str) -> Option<(Self, Option<&'a str>)> {
        match payload.split_once(OWN) {
            Some((sign, own)) => Some((Self::parse(sign)?, Some(own))),
            None => Some((Self::parse(payload)?, None)),
        }
    }

    fn into_sign(self) -> Sign {
        let Self { code, language, campaign } = self;
        let campaign = campaign.map(Cow::into_owned);
        Sign { code: code.into_owned(), language: language.into_owned(), campaign }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Undoes [`encode_into`]; `None` if it is empty, not UTF-8, or has a character that would
/// have been encoded.
fn percent_decode(text: &str) -> Option<Cow<'_, str>> {
    if text.bytes().all(is_unreserved) {
        return (!text.is_empty()).then_some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? * 16 + hex(bytes.next()?)?,
            byte if is_unreserved(byte) => byte,
            _ => return None,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The value of one hexadecimal digit, in either case.
pub(super) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
