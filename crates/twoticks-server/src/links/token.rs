//! What stands in a link behind our address: which link of which template, of which message, and
//! what follows the target.
//!
//! 36 bytes in base64 for addresses, 48 characters; behind them, if the target takes something, a
//! full stop and that, in base64 as well, so that no phone and no proxy can read it differently.
//! What always holds: the tag covers every byte and what follows, under the key file, so that an
//! address that we did not make leads nowhere; no byte says anything to anybody else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use twoticks_core::ids::{ChannelId, PhoneNumber};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::{Link, LinkId};
use twoticks_store::keys::{HashOf, Keys};

/// The layout below.
const VERSION: u8 = 1;
/// What the tag covers, without what follows: version, link, number, group and place.
const BODY_BYTES: usize = 1 + 6 + 2 + 16 + 3;
const TAG_BYTES: usize = 8;
/// The length of a token without what follows.
const CHARS: usize = (BODY_BYTES + TAG_BYTES) / 3 * 4;
/// The longest text that may follow the target of a link, in bytes.
pub(crate) const SUFFIX_BYTES_MAX: usize = 1_400;
/// The group of a token that is for all messages of a template.
const NO_GROUP: [u8; 16] = [0; 16];

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) link: LinkId,
    /// Which number sends: a part of a keyed hash of it.
    number: [u8; 2],
    /// More of that, where no message is named and there is room for it; zeros in the links that
    /// were made before there was.
    more: [u8; 3],
    /// The message: its group and its place there. None for all messages of the template.
    pub(crate) message: Option<([u8; 16], u32)>,
}

/// A token that is ours, and where it leads.
pub(crate) struct Opened<'a> {
    pub(crate) token: Token,
    pub(crate) link: &'a Link,
    pub(crate) suffix: String,
}

impl Token {
    /// The token of the message at `place` of the group of that name, or of the template if the
    /// message cannot be named.
    pub(crate) fn of(
        keys: &Keys,
        (channel, number): (&ChannelId, &PhoneNumber),
        link: LinkId,
        message: Option<(&str, u32)>,
    ) -> Self {
        let message = message.and_then(|(group, place)| {
            let group = group_bytes(group).filter(|group| *group != NO_GROUP)?;
            (place < 1 << 24).then_some((group, place))
        });
        let (number, more) = number_tag(keys, channel, number);
        Self { link, number, more: if message.is_none() { more } else { [0; 3] }, message }
    }

    /// Whether a number may be the one that sends. Of a channel with many there may be several.
    pub(crate) fn may_be_of(&self, keys: &Keys, channel: &ChannelId, sender: &PhoneNumber) -> bool {
        let (number, more) = number_tag(keys, channel, sender);
        self.number == number && (self.more == [0; 3] || self.more == more)
    }

    /// The token as it is written, with what follows the target.
    pub(crate) fn write(&self, keys: &Keys, channel: &ChannelId, suffix: &str) -> String {
        let body = self.body();
        let mut bytes = body.to_vec();
        bytes.extend_from_slice(&tag(keys, channel, &body, suffix));
        let mut text = URL_SAFE_NO_PAD.encode(bytes);
        if !suffix.is_empty() {
            text.push('.');
            URL_SAFE_NO_PAD.encode_string(suffix, &mut text);
        }
        text
    }

    fn body(&self) -> [u8; BODY_BYTES] {
        let (group, place) = match self.message {
            Some((group, place)) => {
                let [_, place @ ..] = place.to_be_bytes();
                (group, place)
            }
            None => (NO_GROUP, self.more),
        };
        let mut body = [0; BODY_BYTES];
        let parts = [&[VERSION][..], &self.link.0, &self.number, &group, &place];
        for (to, from) in body.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        body
    }

    fn read(body: &[u8; BODY_BYTES]) -> Option<Self> {
        let (version, rest) = body.split_first()?;
        let (link, rest) = rest.split_first_chunk::<6>()?;
        let (number, rest) = rest.split_first_chunk::<2>()?;
        let (group, rest) = rest.split_first_chunk::<16>()?;
        let last @ [high, middle, low] = <[u8; 3]>::try_from(rest).ok()?;
        let place = u32::from_be_bytes([0, high, middle, low]);
        let message = (*group != NO_GROUP).then_some((*group, place));
        let more = if message.is_none() { last } else { [0; 3] };
        let (link, number) = (LinkId(*link), *number);
        (*version == VERSION).then_some(Self { link, number, more, message })
    }

    /// The name of the group that its message is of.
    pub(crate) fn group(&self) -> Option<(String, u32)> {
        let (group, place) = self.message?;
        Some((group.iter().map(|byte| format!("{byte:02x}")).collect(), place))
    }
}

/// Reads a token; `None` if it is not one that we made for a link that there is.
pub(crate) fn open<'a>(keys: &Keys, snapshot: &'a Snapshot, text: &str) -> Option<Opened<'a>> {
    let (token, suffix) = match text.split_once('.') {
        Some((token, suffix)) if !suffix.is_empty() => (token, suffix),
        Some(_) => return None,
        None => (text, ""),
    };
    if token.len() != CHARS || suffix.len() > SUFFIX_BYTES_MAX.div_ceil(3) * 4 {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (body, given) = bytes.split_first_chunk::<BODY_BYTES>()?;
    let suffix = String::from_utf8(URL_SAFE_NO_PAD.decode(suffix).ok()?).ok()?;
    let token = Token::read(body)?;
    let (template, link) = snapshot.link(token.link)?;
    let made = tag(keys, &template.channel, body, &suffix);
    // As long for a tag that is nearly right as for any other.
    let differs = made.iter().zip(given).fold(0, |differs, (made, given)| differs | (made ^ given));
    let is_ours = given.len() == TAG_BYTES && differs == 0;
    is_ours.then_some(Opened { token, link, suffix })
}

/// By what a token names a number of a channel.
fn number_tag(keys: &Keys, channel: &ChannelId, number: &PhoneNumber) -> ([u8; 2], [u8; 3]) {
    // Begins with another byte than a token.
    let hash = keys.hash(HashOf::Link, channel, format!("n{number}").as_bytes());
    let [a, b, c, d, e, ..] = hash.0;
    ([a, b], [c, d, e])
}

fn tag(keys: &Keys, channel: &ChannelId, body: &[u8], suffix: &str) -> [u8; TAG_BYTES] {
    let covered = [body, suffix.as_bytes()].concat();
    let hash = keys.hash(HashOf::Link, channel, &covered);
    let (tag, _) = hash.0.split_first_chunk().expect("a hash has 16 bytes");
    *tag
}

/// The bytes of a group's name, if it is one that was given here: 32 digits, hexadecimal.
fn group_bytes(name: &str) -> Option<[u8; 16]> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let number = (name.len() == 32 && name.bytes().all(is_hex)).then_some(name)?;
    u128::from_str_radix(number, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_was_made_of_and_has_48_characters() {
        let keys = Keys::from_bytes([7; 32]);
        let channel = ChannelId::new("cams-1").unwrap();
        let number = PhoneNumber::new("15550001111").unwrap();
        let link = LinkId([1, 2, 3, 4, 5, 6]);
        let group = "00112233445566778899aabbccddeeff";
        let largest = (1 << 24) - 1;
        for (message, is_named) in [
            (Some((group, 0)), true),
            (Some((group, largest)), true),
            (Some((group, largest + 1)), false),
            (Some(("00000000000000000000000000000000", 0)), false),
            (Some(("an older group", 0)), false),
            (None, false),
        ] {
            let token = Token::of(&keys, (&channel, &number), link, message);
            assert_eq!(token.message.is_some(), is_named, "{message:?}");
            assert_eq!(Token::read(&token.body()).as_ref(), Some(&token));
            assert_eq!(token.write(&keys, &channel, "").len(), CHARS);
            let named = token.group();
            assert_eq!(named, message.filter(|_| is_named).map(|(it, at)| (it.to_owned(), at)));
        }
    }

    #[test]
    fn a_number_is_told_from_others_unless_its_message_takes_the_room() {
        let keys = Keys::from_bytes([7; 32]);
        let channel = ChannelId::new("cams-1").unwrap();
        let numbers = (0..1_000).map(|n| PhoneNumber::new(&format!("1555{n:07}")).unwrap());
        let mut first = std::collections::HashMap::new();
        let alike = numbers.into_iter().find_map(|number| {
            let (short, _) = number_tag(&keys, &channel, &number);
            first.insert(short, number.clone()).map(|other| (other, number))
        });
        let (one, other) = alike.unwrap();
        let group = "00112233445566778899aabbccddeeff";
        for (message, is_told_apart) in [(None, true), (Some((group, 1)), false)] {
            let token = Token::of(&keys, (&channel, &one), LinkId([1; 6]), message);
            assert!(token.may_be_of(&keys, &channel, &one));
            assert_eq!(!token.may_be_of(&keys, &channel, &other), is_told_apart, "{message:?}");
            let before = Token { more: [0; 3], ..token };
            assert!(before.may_be_of(&keys, &channel, &one), "made before there was more");
        }
    }
}
