//! The layout of keys and values: what the embedded engine keeps, and what digests are made of.
//!
//! Keys, with `0` for a zero byte. Texts in keys have no zero byte (channel ids are visible
//! ASCII, numbers are digits, texts have no control characters), so that a text with its zero is
//! never the beginning of another with its zero: tenants cannot meet.
//!
//! | table | key | value |
//! |---|---|---|
//! | messages | channel 0 number 0 hash (16) | `Touched<Message>` |
//! | taps | channel 0 number 0 hash (16) | `Touched<Tap>` |
//! | channels | channel 0 | `Channel` |
//! | numbers | channel 0 number 0 atom (4) side (1) attribution (1) | `Totals` |
//! | templates | channel 0 code 0 language 0 atom (4) side (1) category (1) campaign | `Totals` |
//! | groups | channel 0 length (2) group position (8) | empty |
//! | dead | position (8) | empty |
//! | meta | a word | see `embedded::tables` |
//!
//! Numbers in keys are big-endian, atoms shifted so that they sort by time. A campaign is 0, or 1
//! and its text up to the end. A value is a version byte, now 1, and postcard. Codes and versions
//! are never reused; every version ever written has a fixture and is read for ever.

use serde::Serialize;
use serde::de::DeserializeOwned;
use twoticks_core::channel::Side;
use twoticks_core::event::Category;
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use twoticks_core::message::MessageKey;
use twoticks_core::tap::TapKey;
use twoticks_core::totals::{Atom, Attribution, Cell, Scope};

use crate::journal::Position;

/// The version of the values that are written.
pub(crate) const VALUE_VERSION: u8 = 1;

/// Why a key or a value is not what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("a key of the table is not of its form")]
    Key,
    #[error("a value has version {0}, this program knows up to {VALUE_VERSION}")]
    Newer(u8),
    #[error("a value does not decode")]
    Value(#[source] postcard::Error),
    #[error("a value is empty")]
    Empty,
}

/// The value of a row.
pub(crate) fn value<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![VALUE_VERSION])
        .expect("every collection of a row has a length that is known")
}

/// The row of a value.
pub(crate) fn row<T: DeserializeOwned>(value: &[u8]) -> Result<T, LayoutError> {
    match value.split_first() {
        Some((&VALUE_VERSION, rest)) => postcard::from_bytes(rest).map_err(LayoutError::Value),
        Some((&version, _)) => Err(LayoutError::Newer(version)),
        None => Err(LayoutError::Empty),
    }
}

fn text(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(text.as_bytes());
    key.push(0);
}

/// What every key of a channel begins with, and no key of another.
pub(crate) fn channel(channel: &ChannelId) -> Vec<u8> {
    let mut key = Vec::with_capacity(96);
    text(&mut key, channel.as_str());
    key
}

pub(crate) fn message(of: &MessageKey) -> Vec<u8> {
    hashed(&of.channel, &of.number, of.message)
}

pub(crate) fn tap(of: &TapKey) -> Vec<u8> {
    hashed(&of.channel, &of.number, of.id)
}

fn hashed(of: &ChannelId, number: &PhoneNumber, hash: Hash) -> Vec<u8> {
    let mut key = channel(of);
    text(&mut key, number.as_str());
    key.extend_from_slice(&hash.0);
    key
}

pub(crate) fn read_message(key: &[u8]) -> Result<MessageKey, LayoutError> {
    read_hashed(key).map(|(channel, number, message)| MessageKey { channel, number, message })
}

pub(crate) fn read_tap(key: &[u8]) -> Result<TapKey, LayoutError> {
    read_hashed(key).map(|(channel, number, id)| TapKey { channel, number, id })
}

fn read_hashed(key: &[u8]) -> Result<(ChannelId, PhoneNumber, Hash), LayoutError> {
    let (channel, rest) = read_channel(key)?;
    let (number, rest) = read_text(rest)?;
    let number = PhoneNumber::new(number).map_err(|_| LayoutError::Key)?;
    let hash = <[u8; 16]>::try_from(rest).map_err(|_| LayoutError::Key)?;
    Ok((channel, number, Hash(hash)))
}

fn read_text(key: &[u8]) -> Result<(&str, &[u8]), LayoutError> {
    let end = key.iter().position(|byte| *byte == 0).ok_or(LayoutError::Key)?;
    let (text, rest) = key.split_at_checked(end).ok_or(LayoutError::Key)?;
    let rest = rest.get(1..).ok_or(LayoutError::Key)?;
    Ok((std::str::from_utf8(text).map_err(|_| LayoutError::Key)?, rest))
}

pub(crate) fn read_channel(key: &[u8]) -> Result<(ChannelId, &[u8]), LayoutError> {
    let (channel, rest) = read_text(key)?;
    Ok((ChannelId::new(channel).map_err(|_| LayoutError::Key)?, rest))
}

/// Which table a cell is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellTable {
    Numbers,
    Templates,
}

/// What the keys of all cells of one subject (number, or template) begin with.
pub(crate) fn number(of: &ChannelId, number: &PhoneNumber) -> Vec<u8> {
    let mut key = channel(of);
    text(&mut key, number.as_str());
    key
}

/// As [`number`]; without a language the beginning of all templates with this code.
pub(crate) fn template(of: &ChannelId, code: &Text, language: Option<&Text>) -> Vec<u8> {
    let mut key = channel(of);
    text(&mut key, code.as_str());
    if let Some(language) = language {
        text(&mut key, language.as_str());
    }
    key
}

/// `subject` with the atom behind it: where its cells of that time begin.
pub(crate) fn at(subject: &[u8], atom: Atom) -> Vec<u8> {
    let mut key = subject.to_vec();
    key.extend_from_slice(&(atom.0.cast_unsigned() ^ (1 << 31)).to_be_bytes());
    key
}

/// The length of the subject in a cell's key: up to and with its last zero before the atom.
pub(crate) fn subject_length(table: CellTable, key: &[u8]) -> Option<usize> {
    let zeros = match table {
        CellTable::Numbers => 2,
        CellTable::Templates => 3,
    };
    let mut at = key.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(index, _)| index + 1);
    at.nth(zeros - 1)
}

pub(crate) fn cell(of: &Cell) -> (CellTable, Vec<u8>) {
    let side = match of.side {
        Side::Before => 0,
        Side::After => 1,
    };
    match &of.scope {
        Scope::Number { number: phone, attribution } => {
            let mut key = at(&number(&of.channel, phone), of.atom);
            let attribution = match attribution {
                Attribution::Template => 1,
                Attribution::FreeForm => 2,
                Attribution::Unattributed => 3,
            };
            key.extend_from_slice(&[side, attribution]);
            (CellTable::Numbers, key)
        }
        Scope::Template { template: Template { code, language }, category, campaign } => {
            let mut key = at(&template(&of.channel, code, Some(language)), of.atom);
            let category = match category {
                None => 0,
                Some(Category::Marketing) => 1,
                Some(Category::Utility) => 2,
                Some(Category::Authentication) => 3,
            };
            key.extend_from_slice(&[side, category, u8::from(campaign.is_some())]);
            key.extend_from_slice(campaign.as_ref().map_or("", Text::as_str).as_bytes());
            (CellTable::Templates, key)
        }
    }
}

pub(crate) fn read_cell(table: CellTable, key: &[u8]) -> Result<Cell, LayoutError> {
    let damaged = |_| LayoutError::Key;
    let (channel, rest) = read_channel(key)?;
    let (first, rest) = read_text(rest)?;
    let (second, rest) = match table {
        CellTable::Numbers => ("", rest),
        CellTable::Templates => read_text(rest)?,
    };
    let (atom, rest) = rest.split_first_chunk::<4>().ok_or(LayoutError::Key)?;
    let atom = Atom((u32::from_be_bytes(*atom) ^ (1 << 31)).cast_signed());
    let (&[side, what], rest) = rest.split_first_chunk::<2>().ok_or(LayoutError::Key)?;
    let side = match side {
        0 => Side::Before,
        1 => Side::After,
        _ => return Err(LayoutError::Key),
    };
    let scope = match table {
        CellTable::Numbers => Scope::Number {
            number: PhoneNumber::new(first).map_err(damaged)?,
            attribution: match (what, rest) {
                (1, []) => Attribution::Template,
                (2, []) => Attribution::FreeForm,
                (3, []) => Attribution::Unattributed,
                _ => return Err(LayoutError::Key),
            },
        },
        CellTable::Templates => Scope::Template {
            template: Template {
                code: Text::new(first).map_err(damaged)?,
                language: Text::new(second).map_err(damaged)?,
            },
            category: match what {
                0 => None,
                1 => Some(Category::Marketing),
                2 => Some(Category::Utility),
                3 => Some(Category::Authentication),
                _ => return Err(LayoutError::Key),
            },
            campaign: match rest.split_first() {
                Some((0, [])) => None,
                Some((1, text)) => {
                    let text = std::str::from_utf8(text).map_err(|_| LayoutError::Key)?;
                    Some(Text::new(text).map_err(damaged)?)
                }
                _ => return Err(LayoutError::Key),
            },
        },
    };
    Ok(Cell { channel, scope, side, atom })
}

/// What the keys of all entries of a group begin with.
pub(crate) fn group(of: &ChannelId, group: &str) -> Vec<u8> {
    let length = u16::try_from(group.len()).expect("names of groups have at most 512 bytes");
    let mut key = channel(of);
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(group.as_bytes());
    key
}

/// `prefix` with the position behind it.
pub(crate) fn positioned(prefix: &[u8], position: Position) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.extend_from_slice(&position.to_be_bytes());
    key
}

/// The position at the end of a key.
pub(crate) fn read_position(key: &[u8]) -> Result<Position, LayoutError> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or(LayoutError::Key)
}

/// The first key behind all that begin with `prefix`; `None` if there is none.
pub(crate) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts() -> impl Strategy<Value = Text> {
        prop::sample::select(vec!["", "a", "a!", "en", "en_US", "zażółć", "😀"])
            .prop_map(|text| Text::new(text).unwrap())
    }

    fn channels() -> impl Strategy<Value = ChannelId> {
        prop::sample::select(vec!["a", "a!", "cams-1", "cams-11", "~"])
            .prop_map(|id| ChannelId::new(id).unwrap())
    }

    fn cells() -> impl Strategy<Value = Cell> {
        let numbers = ("[0-9]{1,3}", 0..3_usize).prop_map(|(number, known)| Scope::Number {
            number: PhoneNumber::new(&number).unwrap(),
            attribution: [Attribution::Template, Attribution::FreeForm, Attribution::Unattributed]
                [known],
        });
        let categories = prop::option::of(prop::sample::select(Category::ALL.to_vec()));
        let templates = (texts(), texts(), categories, prop::option::of(texts())).prop_map(
            |(code, language, category, campaign)| Scope::Template {
                template: Template { code, language },
                category,
                campaign,
            },
        );
        (channels(), prop_oneof![numbers, templates], any::<bool>(), any::<i32>()).prop_map(
            |(channel, scope, after, atom)| Cell {
                channel,
                scope,
                side: if after { Side::After } else { Side::Before },
                atom: Atom(atom),
            },
        )
    }

    proptest! {
        #[test]
        fn a_cell_is_read_from_its_key_and_lies_behind_its_subject(one in cells(), two in cells()) {
            let (table, key) = cell(&one);
            prop_assert_eq!(&read_cell(table, &key).unwrap(), &one);
            let subject = &key[..subject_length(table, &key).unwrap()];
            let expected = match &one.scope {
                Scope::Number { number: phone, .. } => number(&one.channel, phone),
                Scope::Template { template: Template { code, language }, .. } => {
                    template(&one.channel, code, Some(language))
                }
            };
            prop_assert_eq!(subject, expected.as_slice());
            prop_assert!(key.starts_with(&at(subject, one.atom)));
            let (other_table, other) = cell(&two);
            prop_assert_eq!((table, &key) == (other_table, &other), one == two);
            prop_assert_eq!(other.starts_with(&channel(&one.channel)), one.channel == two.channel);
            let same = subject == &other[..subject_length(other_table, &other).unwrap()];
            if same && table == other_table && one.atom < two.atom {
                prop_assert!(key < other);
            }
        }

        #[test]
        fn rubbish_is_no_key(key: Vec<u8>) {
            for table in [CellTable::Numbers, CellTable::Templates] {
                if let Ok(read) = read_cell(table, &key) {
                    prop_assert_eq!(cell(&read), (table, key.clone()));
                }
            }
        }

        #[test]
        fn behind_is_behind_every_key_with_the_prefix(prefix: Vec<u8>, more: Vec<u8>) {
            let key = [prefix.clone(), more].concat();
            prop_assert!(behind(&prefix).is_none_or(|end| key < end && prefix < end));
        }
    }

    #[test]
    fn values_of_a_newer_version_are_told() {
        assert_eq!(value(&7_u32), [1, 7]);
        assert_eq!(row::<u32>(&[1, 7]).unwrap(), 7);
        assert!(matches!(row::<u32>(&[2, 7]), Err(LayoutError::Newer(2))));
        assert!(matches!(row::<u32>(&[]), Err(LayoutError::Empty)));
    }
}
