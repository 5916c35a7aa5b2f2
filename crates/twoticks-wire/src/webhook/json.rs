//! Reading JSON that others wrote: lists that came as objects, numbers that came as texts.
//!
//! A part stays a `RawValue`, its very bytes, until somebody asks for its [`members`], for its
//! [`elements`], or through [`Fields`] for what a leaf says. So a part that cannot be read spoils
//! nothing around it. What always holds: an optional field that cannot be read is named, not
//! passed over, and money is never a float.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Defect;

/// One member of an object: its key, and its value as its own bytes.
pub(crate) type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of an object, in order, repetitions included; `None` if it is not one.
pub(crate) fn members(raw: &RawValue) -> Option<Vec<Member<'_>>> {
    if !raw.get().starts_with('{') {
        return None;
    }
    let Members(members) = serde_json::from_str(raw.get()).ok()?;
    Some(members)
}

/// Gives the elements of a list to `take`, each as its own bytes, until that returns false.
///
/// Senders are not strict: an object whose keys are numbers is a list of its values, null is an
/// empty list, and anything else where a list is expected is a list of that one thing.
pub(crate) fn elements(raw: &RawValue, take: &mut dyn FnMut(&RawValue) -> bool) {
    match raw.get().as_bytes().first() {
        Some(b'[') => {
            let mut deserializer = serde_json::Deserializer::from_str(raw.get());
            // It fails only to say that `take` has enough: the bytes have been read before.
            drop(deserializer.deserialize_seq(Elements(take)));
        }
        Some(b'n') => {}
        _ => match members_of_a_list(raw) {
            Some(members) => {
                members.into_iter().all(|(_, raw)| take(raw));
            }
            None => {
                take(raw);
            }
        },
    }
}

/// The members of an object whose keys are all numbers; most objects say with their first key
/// that theirs are not.
fn members_of_a_list(raw: &RawValue) -> Option<Vec<Member<'_>>> {
    let first = raw.get().strip_prefix('{')?.trim_start().strip_prefix('"')?;
    if !first.starts_with(|first: char| first.is_ascii_digit() || first == '\\') {
        return None;
    }
    members(raw).filter(|members| members.iter().all(|(key, _)| is_index(key)))
}

/// As [`elements`], each as its members; `None` for one that is not an object.
pub(crate) fn objects(raw: &RawValue, take: &mut dyn FnMut(Option<Vec<Member<'_>>>) -> bool) {
    // As a rule they all are, and then the bytes are passed over once less.
    if let Ok(list) = serde_json::from_str::<Vec<Members<'_>>>(raw.get()) {
        list.into_iter().all(|Members(members)| take(Some(members)));
    } else {
        elements(raw, &mut |element| take(members(element)));
    }
}

struct Elements<'t>(&'t mut dyn FnMut(&RawValue) -> bool);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            if !(self.0)(raw) {
                return Err(serde::de::Error::custom("enough"));
            }
        }
        Ok(())
    }
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Lossy(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Whether a key numbers the elements of a list.
fn is_index(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads optional fields and remembers the names of those that were there, but could not be read.
#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) unread: Vec<&'static str>,
}

impl Fields {
    fn take<T>(
        &mut self,
        name: &'static str,
        raw: Option<&RawValue>,
        read: fn(&RawValue) -> Option<T>,
    ) -> Option<T> {
        let raw = raw?;
        let value = read(raw);
        if value.is_none() && !is_empty(raw) {
            self.unread.push(name);
        }
        value
    }

    /// An id or a word: see [`word`].
    pub(crate) fn word(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<String> {
        self.take(name, raw, word)
    }

    /// A text for people: see [`text`].
    pub(crate) fn text(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<String> {
        self.take(name, raw, text)
    }

    /// A whole number: see [`integer`].
    pub(crate) fn integer(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<i64> {
        self.take(name, raw, integer)
    }

    /// Whole seconds, as milliseconds.
    pub(crate) fn seconds(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<i64> {
        self.take(name, raw, seconds)
    }

    /// True or false, also as a text.
    pub(crate) fn flag(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<bool> {
        self.take(name, raw, |raw| match word_or_literal(raw).as_ref() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// An amount of money: see [`micros`].
    pub(crate) fn micros(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<i64> {
        self.take(name, raw, |raw| micros(&word_or_literal(raw)))
    }

    /// An object with fields of its own.
    pub(crate) fn object<'a, T: Deserialize<'a>>(
        &mut self,
        name: &'static str,
        raw: Option<&'a RawValue>,
    ) -> Option<T> {
        let raw = raw?;
        let object = object(raw).ok();
        if object.is_none() {
            self.unread.push(name);
        }
        object
    }
}

/// A field without which the element means nothing.
pub(crate) fn needed<T>(
    name: &'static str,
    raw: Option<&RawValue>,
    read: fn(&RawValue) -> Option<T>,
) -> Result<T, Defect> {
    let raw = raw.filter(|raw| !is_empty(raw)).ok_or(Defect::Missing(name))?;
    read(raw).ok_or(Defect::Unreadable(name))
}

/// An object, into a struct whose fields are raw.
pub(crate) fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Defect> {
    // A struct would be read from a list, too.
    if !raw.get().starts_with('{') {
        return Err(Defect::NotAnObject);
    }
    serde_json::from_str(raw.get()).map_err(|_| Defect::Keys)
}

fn is_empty(raw: &RawValue) -> bool {
    matches!(raw.get(), "\"\"" | "null")
}

/// A text without its quotes and escapes; `None` if it is none, or has half a surrogate pair.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(raw.get()).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

fn word_or_literal(raw: &RawValue) -> Cow<'_, str> {
    string(raw).unwrap_or(Cow::Borrowed(raw.get()))
}

/// An id or a word, exactly: a text, or the digits of a whole number; `None` if it is empty.
pub(crate) fn word(raw: &RawValue) -> Option<String> {
    if let Some(text) = string(raw) {
        return (!text.is_empty()).then(|| text.into_owned());
    }
    is_integer(raw.get()).then(|| raw.get().to_owned())
}

/// A text that people read: as [`word`], but half a surrogate pair (texts are cut to length)
/// becomes replacement characters instead of the loss of it all.
pub(crate) fn text(raw: &RawValue) -> Option<String> {
    if let Some(word) = word(raw) {
        return Some(word);
    }
    let Lossy(text) = serde_json::from_str(raw.get()).ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

/// A whole number, as one or as its digits in a text.
pub(crate) fn integer(raw: &RawValue) -> Option<i64> {
    let digits = word_or_literal(raw);
    if is_integer(&digits) { digits.parse().ok() } else { None }
}

/// Whole seconds, as milliseconds.
pub(crate) fn seconds(raw: &RawValue) -> Option<i64> {
    integer(raw)?.checked_mul(1_000)
}

fn is_integer(text: &str) -> bool {
    is_index(text.strip_prefix('-').unwrap_or(text))
}

/// How many digits of an amount are looked at, and how far its exponent may reach: no amount of
/// money has more, and the work stays bounded.
const AMOUNT_DIGITS_MAX: usize = 64;

/// A decimal number as millionths, exactly, from its text; a seventh decimal and what follows
/// rounds to the nearest millionth, half away from zero. `None` if it is no JSON number, has too
/// many digits or does not fit.
pub(crate) fn micros(number: &str) -> Option<i64> {
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix('+').unwrap_or(exponent);
            (mantissa, is_integer(digits).then(|| digits.parse::<i32>().ok())??)
        }
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if !is_index(whole) || !is_index(fraction) || whole.len() + fraction.len() > AMOUNT_DIGITS_MAX {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes()).map(|byte| i64::from(byte - b'0'));
    if digits.clone().all(|digit| digit == 0) {
        return Some(0);
    }
    // The micros are so many of the digits, the rest rounds.
    let kept = i64::try_from(whole.len()).ok()?.checked_add(i64::from(exponent))?.checked_add(6)?;
    let mut micros: i64 = 0;
    let mut position: i64 = 0;
    for digit in digits {
        if position < kept {
            micros = micros.checked_mul(10)?.checked_add(digit)?;
        } else if position == kept {
            micros = micros.checked_add(i64::from(digit >= 5))?;
        }
        position += 1;
    }
    // With a large exponent there are more places than digits; zeros stay zeros, all else ends.
    while position < kept && micros != 0 {
        micros = micros.checked_mul(10)?;
        position += 1;
    }
    Some(if negative { -micros } else { micros })
}

/// A text, or a key, in which half a surrogate pair became replacement characters.
struct Lossy<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Lossy<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Lossy<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Lossy<'de>, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes)))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy<'de>, E> {
                Ok(Lossy(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn money_is_exact_to_the_micro() {
        for (text, expected) in [
            ("0.035", Some(35_000)),
            ("0", Some(0)),
            ("-0.000001", Some(-1)),
            ("12", Some(12_000_000)),
            ("3.5e-2", Some(35_000)),
            ("35E+3", Some(35_000_000_000)),
            ("0.035000000000000003", Some(35_000)),
            ("0.0000005", Some(1)),
            ("0.0000004999", Some(0)),
            ("0.00000049", Some(0)),
            ("9.9999999", Some(10_000_000)),
            ("5e-7", Some(1)),
            ("5e-8", Some(0)),
            ("9223372036854.775807", Some(i64::MAX)),
            ("9223372036854.775808", None),
            ("1e999999999", None),
            ("0e999999999", Some(0)),
            ("1e-999999999", Some(0)),
            ("1e99999999999", None),
            ("", None),
            (".5", None),
            ("5.", None),
            ("1,5", None),
            ("NaN", None),
            ("--1", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }

    #[test]
    fn an_id_may_be_a_text_or_a_whole_number() {
        assert_eq!(word(&raw("\"1\"")).as_deref(), Some("1"));
        assert_eq!(word(&raw("18446744073709551617")).as_deref(), Some("18446744073709551617"));
        assert_eq!(word(&raw(r#""a\u0041\/""#)).as_deref(), Some("aA/"));
        for none in ["\"\"", "1.5", "1e3", "true", "{}", "[]", r#""\ud83d""#] {
            assert_eq!(word(&raw(none)), None, "{none}");
        }
    }

    #[test]
    fn a_text_that_was_cut_in_a_surrogate_pair_is_kept() {
        assert!(text(&raw(r#""Yes \ud83d""#)).unwrap().starts_with("Yes \u{fffd}"));
    }

    #[test]
    fn a_time_is_whole_seconds() {
        assert_eq!(seconds(&raw("\"1790900000\"")), Some(1_790_900_000_000));
        assert_eq!(seconds(&raw("1790900000")), Some(1_790_900_000_000));
        for none in ["1790900000.0", "1.79e9", "\" 1790900000\"", "\"+5\"", "9223372036854775807"] {
            assert_eq!(seconds(&raw(none)), None, "{none}");
        }
    }
}
