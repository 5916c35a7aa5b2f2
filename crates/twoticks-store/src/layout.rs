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
//! | numbers | channel 0 number 0 day (4) | the cells of that day, as `day` has them |
//! | templates | channel 0 code 0 language 0 day (4) | as above |
//! | groups | channel 0 length (2) group position (8) | empty |
//! | dead | position (8) | empty |
//! | tombstones | fingerprint (2) | the rest of each, as `embedded::tombstones` has it |
//! | meta, dropped | a word | see `embedded::tables` |
//!
//! A cell by itself (in digests) has the key of its row with, in place of the day, `atom (4) side
//! (1)` and then the attribution (1), or the category (1) and the campaign: 0, or 1 and its text up
//! to the end. Its value is its `Totals`.
//!
//! Numbers in keys are big-endian, atoms and days shifted so that they sort by time. A value is a
//! version byte, now 1, and postcard (or what `day` says). Codes and versions are never reused;
//! every version ever written has a fixture and is read for ever.

use serde::Serialize;
use serde::de::DeserializeOwned;
use twoticks_core::channel::Side;
use twoticks_core::clock::Time;
use twoticks_core::event::Category;
use twoticks_core::ids::{ChannelId, Hash, PhoneNumber, Template, Text};
use twoticks_core::message::MessageKey;
use twoticks_core::tap::TapKey;
use twoticks_core::totals::{Atom, Attribution, Cell, Scope};

use crate::day::Place;
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
    #[error("a day's cells do not decode")]
    Row,
    #[error("a value is empty")]
    Empty,
}

/// The value of a row.
pub(crate) fn value<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![VALUE_VERSION])
        .expect("every collection of a row has a length that is known")
}

/// Puts the value of a row behind `out`.
pub(crate) fn put_value<T: Serialize>(out: &mut Vec<u8>, row: &T) {
    out.push(VALUE_VERSION);
    let before = std::mem::take(out);
    *out = postcard::to_extend(row, before)
        .expect("every collection of a row has a length that is known");
}

/// The row of a value.
pub(crate) fn row<T: DeserializeOwned>(value: &[u8]) -> Result<T, LayoutError> {
    postcard::from_bytes(versioned(value)?).map_err(LayoutError::Value)
}

/// What stands behind the version byte and the acceptance time in the value of a `Touched`.
pub(crate) fn untouched(value: &[u8]) -> &[u8] {
    // A time is a varint: its last byte is the first without the highest bit.
    let end = value.iter().skip(1).position(|byte| *byte < 0x80);
    end.and_then(|end| value.get(end + 2..)).unwrap_or(value)
}

/// The acceptance time in the value of a `Touched`.
pub(crate) fn touched(value: &[u8]) -> Result<Time, LayoutError> {
    let rest = versioned(value)?;
    postcard::take_from_bytes(rest).map(|(time, _)| time).map_err(LayoutError::Value)
}

/// What stands behind the version byte of a value.
pub(crate) fn versioned(value: &[u8]) -> Result<&[u8], LayoutError> {
    match value.split_first() {
        Some((&VALUE_VERSION, rest)) => Ok(rest),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// `subject` with the atom behind it.
fn at(subject: &[u8], atom: Atom) -> Vec<u8> {
    timed(subject, atom.0)
}

/// The key of the row that has the cells of `subject` and `day`.
pub(crate) fn day(subject: &[u8], day: i32) -> Vec<u8> {
    timed(subject, day)
}

fn timed(subject: &[u8], time: i32) -> Vec<u8> {
    let mut key = Vec::with_capacity(subject.len() + 16);
    key.extend_from_slice(subject);
    key.extend_from_slice(&(time.cast_unsigned() ^ (1 << 31)).to_be_bytes());
    key
}

/// The subject and the day of a row's key.
pub(crate) fn read_day(key: &[u8]) -> Result<(&[u8], i32), LayoutError> {
    let (subject, day) = key.split_last_chunk::<4>().ok_or(LayoutError::Key)?;
    Ok((subject, (u32::from_be_bytes(*day) ^ (1 << 31)).cast_signed()))
}

/// The key of a cell of `subject` in a digest, and nowhere else.
pub(crate) fn cell_key(table: CellTable, subject: &[u8], atom: Atom, place: &Place) -> Vec<u8> {
    let Place { quarter: _, side, what, campaign } = place;
    let mut key = at(subject, atom);
    key.extend_from_slice(&[*side, *what]);
    if table == CellTable::Templates {
        key.push(u8::from(campaign.is_some()));
        key.extend_from_slice(campaign.as_ref().map_or("", Text::as_str).as_bytes());
    }
    key
}

/// The code of a side.
pub(crate) fn side(side: Side) -> u8 {
    match side {
        Side::Before => 0,
        Side::After => 1,
    }
}

/// The code of an attribution.
pub(crate) fn attribution(attribution: Attribution) -> u8 {
    match attribution {
        Attribution::Template => 1,
        Attribution::FreeForm => 2,
        Attribution::Unattributed => 3,
    }
}

/// The code of a category.
pub(crate) fn category(category: Option<Category>) -> u8 {
    match category {
        None => 0,
        Some(Category::Marketing) => 1,
        Some(Category::Utility) => 2,
        Some(Category::Authentication) => 3,
    }
}

/// Where a cell is: its table, its subject, and its place in the row of its day.
pub(crate) fn place(of: &Cell) -> (CellTable, Vec<u8>, Place) {
    let quarter = u8::try_from(of.atom.0.rem_euclid(crate::day::ATOMS)).unwrap_or_default();
    let side = side(of.side);
    match &of.scope {
        Scope::Number { number: phone, attribution: known } => {
            let place = Place { quarter, side, what: attribution(*known), campaign: None };
            (CellTable::Numbers, number(&of.channel, phone), place)
        }
        Scope::Template { template: Template { code, language }, category: known, campaign } => {
            let campaign = campaign.clone();
            let place = Place { quarter, side, what: category(*known), campaign };
            (CellTable::Templates, template(&of.channel, code, Some(language)), place)
        }
    }
}

/// The key of a cell in a digest.
pub(crate) fn cell(of: &Cell) -> (CellTable, Vec<u8>) {
    let (table, subject, place) = place(of);
    (table, cell_key(table, &subject, of.atom, &place))
}

/// A number or a template, from what its keys begin with.
pub(crate) enum Subject {
    Number(ChannelId, PhoneNumber),
    Template(ChannelId, Template),
}

impl Subject {
    pub(crate) fn read(table: CellTable, key: &[u8]) -> Result<Self, LayoutError> {
        let damaged = |_| LayoutError::Key;
        let (channel, rest) = read_channel(key)?;
        let (first, rest) = read_text(rest)?;
        match table {
            CellTable::Numbers if rest.is_empty() => {
                Ok(Self::Number(channel, PhoneNumber::new(first).map_err(damaged)?))
            }
            CellTable::Numbers => Err(LayoutError::Key),
            CellTable::Templates => {
                let (second, rest) = read_text(rest)?;
                if !rest.is_empty() {
                    return Err(LayoutError::Key);
                }
                let code = Text::new(first).map_err(damaged)?;
                let language = Text::new(second).map_err(damaged)?;
                Ok(Self::Template(channel, Template { code, language }))
            }
        }
    }

    /// Its cell at `atom` with these codes.
    pub(crate) fn cell(
        &self,
        atom: Atom,
        side: u8,
        what: u8,
        campaign: Option<Text>,
    ) -> Result<Cell, LayoutError> {
        let side = match side {
            0 => Side::Before,
            1 => Side::After,
            _ => return Err(LayoutError::Key),
        };
        let (channel, scope) = match self {
            Self::Number(channel, number) => {
                let attribution = match what {
                    1 => Attribution::Template,
                    2 => Attribution::FreeForm,
                    3 => Attribution::Unattributed,
                    _ => return Err(LayoutError::Key),
                };
                (channel, Scope::Number { number: number.clone(), attribution })
            }
            Self::Template(channel, template) => {
                let category = match what {
                    0 => None,
                    1 => Some(Category::Marketing),
                    2 => Some(Category::Utility),
                    3 => Some(Category::Authentication),
                    _ => return Err(LayoutError::Key),
                };
                (channel, Scope::Template { template: template.clone(), category, campaign })
            }
        };
        Ok(Cell { channel: channel.clone(), scope, side, atom })
    }
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

/// The key of a row of tombstones in snapshots: its span, so that they sort by it, and its bucket.
pub(crate) fn tombstones(epoch: i64, bucket: &[u8]) -> Vec<u8> {
    let mut key = (epoch.cast_unsigned() ^ (1 << 63)).to_be_bytes().to_vec();
    key.extend_from_slice(bucket);
    key
}

/// What [`tombstones`] made a key of.
pub(crate) fn read_tombstones(key: &[u8]) -> Result<(i64, [u8; 2]), LayoutError> {
    let (epoch, bucket) = key.split_first_chunk::<8>().ok_or(LayoutError::Key)?;
    let bucket = <[u8; 2]>::try_from(bucket).map_err(|_| LayoutError::Key)?;
    Ok(((u64::from_be_bytes(*epoch) ^ (1 << 63)).cast_signed(), bucket))
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
        fn a_cell_is_read_from_its_row_and_no_two_have_the_same_key(one in cells(), two in cells()) {
            let (table, key) = cell(&one);
            let (expected, side, what, campaign) = match &one.scope {
                Scope::Number { number: phone, attribution: known } => {
                    (number(&one.channel, phone), side(one.side), attribution(*known), None)
                }
                Scope::Template { template: Template { code, language }, category: known, campaign } => (
                    template(&one.channel, code, Some(language)),
                    side(one.side),
                    category(*known),
                    campaign.clone(),
                ),
            };
            let row = day(&expected, crate::day::of(one.atom));
            let (subject, read) = read_day(&row).unwrap();
            prop_assert_eq!(read, crate::day::of(one.atom));
            prop_assert_eq!(subject, expected.as_slice());
            let read = Subject::read(table, subject).unwrap();
            prop_assert_eq!(&read.cell(one.atom, side, what, campaign).unwrap(), &one);
            prop_assert!(key.starts_with(subject));
            let (other_table, other) = cell(&two);
            prop_assert_eq!((table, &key) == (other_table, &other), one == two);
            prop_assert_eq!(other.starts_with(&channel(&one.channel)), one.channel == two.channel);
            if table == other_table && other.starts_with(subject) && one.atom < two.atom {
                prop_assert!(key < other);
            }
        }

        #[test]
        fn rubbish_is_no_subject(key: Vec<u8>) {
            for table in [CellTable::Numbers, CellTable::Templates] {
                match Subject::read(table, &key) {
                    Ok(Subject::Number(channel, phone)) => {
                        prop_assert_eq!(number(&channel, &phone), key.clone());
                    }
                    Ok(Subject::Template(channel, Template { code, language })) => {
                        prop_assert_eq!(template(&channel, &code, Some(&language)), key.clone());
                    }
                    Err(_) => {}
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
