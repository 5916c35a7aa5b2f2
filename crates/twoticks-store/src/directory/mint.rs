//! Making ids and secrets, in the shapes that callers know.
//!
//! The bytes come from the operating system, or from whatever the caller gives: the demo's are
//! seeded, so that its keys are the same each time. Every character is equally likely.

use twoticks_core::ids::ChannelId;

use super::names::{AccessKeyId, Secret, Uid, UserId};

const DIGITS: &[u8] = b"0123456789";
const LOWER: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ALPHANUMERIC: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Fills a buffer with bytes that nobody can foretell (or, for a demo, that a seed foretells).
type Source = Box<dyn FnMut(&mut [u8]) + Send>;

/// Where new ids and secrets come from.
pub struct Mint {
    source: Source,
}

impl Mint {
    /// One that takes its bytes from the operating system.
    #[must_use]
    pub fn random() -> Self {
        Self::from_source(|buffer| {
            getrandom::fill(buffer).expect("the operating system gives random bytes");
        })
    }

    /// One that takes its bytes from `source`.
    #[must_use]
    pub fn from_source(source: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        Self { source: Box::new(source) }
    }

    /// The id of a permanent access key: `LTAI5t` and 18 letters and digits.
    pub fn access_key_id(&mut self) -> AccessKeyId {
        let text = self.text("LTAI5t", 18, ALPHANUMERIC);
        AccessKeyId::new(&text).expect("letters and digits make an access key id")
    }

    /// The id of a session: `STS.` and 25 letters and digits.
    pub fn session_id(&mut self) -> AccessKeyId {
        let text = self.text("STS.", 25, ALPHANUMERIC);
        AccessKeyId::new(&text).expect("letters and digits make an access key id")
    }

    /// The secret of a key: 30 letters and digits, 178 bits.
    pub fn key_secret(&mut self) -> Secret {
        self.secret("", 30)
    }

    /// A security token: `CAIS` and 124 letters and digits.
    pub fn security_token(&mut self) -> Secret {
        self.secret("CAIS", 124)
    }

    /// A secret of 40 letters and digits: for a webhook's path, a verify token, an `IsvCode`.
    pub fn path_secret(&mut self) -> Secret {
        self.secret("", 40)
    }

    /// An account's uid: 16 digits.
    pub fn uid(&mut self) -> Uid {
        let text = self.text("1", 15, DIGITS);
        Uid::new(&text).expect("a 1 and 15 digits make a uid")
    }

    /// A user's id: 18 digits.
    pub fn user_id(&mut self) -> UserId {
        let text = self.text("2", 17, DIGITS);
        UserId::new(&text).expect("digits make a user id")
    }

    /// A channel's id: `cams-` and 16 small letters and digits.
    pub fn channel_id(&mut self) -> ChannelId {
        let text = self.text("cams-", 16, LOWER);
        ChannelId::new(&text).expect("letters and digits make a channel id")
    }

    fn secret(&mut self, prefix: &str, length: usize) -> Secret {
        let text = self.text(prefix, length, ALPHANUMERIC);
        Secret::new(&text).expect("letters and digits make a secret")
    }

    /// `prefix` and `length` characters of `alphabet`. A byte beyond the last whole multiple of
    /// the alphabet is left out, else the first characters would be likelier.
    fn text(&mut self, prefix: &str, length: usize, alphabet: &[u8]) -> String {
        let fair = 256 - 256 % alphabet.len();
        let mut text = String::with_capacity(prefix.len() + length);
        text.push_str(prefix);
        let mut buffer = [0_u8; 64];
        while text.len() < prefix.len() + length {
            (self.source)(&mut buffer);
            let drawn = buffer.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
            let missing = prefix.len() + length - text.len();
            text.extend(
                drawn
                    .filter_map(|byte| alphabet.get(byte % alphabet.len()))
                    .map(|character| char::from(*character))
                    .take(missing),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> Mint {
        let mut next = 0_u8;
        Mint::from_source(move |buffer| {
            for byte in buffer {
                *byte = next;
                next = next.wrapping_add(97);
            }
        })
    }

    #[test]
    fn what_is_minted_has_the_shape_callers_know() {
        let mut mint = Mint::random();
        let id = mint.access_key_id();
        assert!(id.as_str().starts_with("LTAI5t") && id.as_str().len() == 24, "{id}");
        assert!(mint.session_id().as_str().starts_with("STS."));
        assert_eq!(mint.key_secret().expose().len(), 30);
        assert!(mint.security_token().expose().starts_with("CAIS"));
        assert_eq!(mint.uid().as_str().len(), 16);
        assert_eq!(mint.user_id().as_str().len(), 18);
        assert!(mint.channel_id().as_str().starts_with("cams-"));
        assert_ne!(mint.path_secret(), mint.path_secret());
    }

    #[test]
    fn the_same_seed_gives_the_same_keys() {
        let (mut one, mut other) = (counting(), counting());
        assert_eq!(one.access_key_id(), other.access_key_id());
        assert_eq!(one.key_secret(), other.key_secret());
        assert_ne!(one.key_secret(), one.key_secret());
    }

    #[test]
    fn every_character_is_equally_likely() {
        // All bytes once, again and again: each character comes four times in 248 fair bytes.
        let mut next = 0_u8;
        let mut mint = Mint::from_source(move |buffer| {
            for byte in buffer {
                *byte = next;
                next = next.wrapping_add(1);
            }
        });
        let text = mint.text("", 248, ALPHANUMERIC);
        for character in ALPHANUMERIC {
            let count = text.bytes().filter(|byte| byte == character).count();
            assert_eq!(count, 4, "{}", char::from(*character));
        }
    }
}
