//! Reading JSON that others wrote: lists that came as objects, numbers that came as texts.
//!
//! [`Lenient`] walks the containers of a payload in one pass; a leaf stays a `RawValue`, the very
//! bytes, until [`Fields`] reads it as what is wanted. What always holds: an optional field that
//! cannot be read is named, not passed over, and money is never a float.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Defect;

/// What takes the objects found where one object, or a list of them, was expected.
pub(super) trait Objects {
    /// One object. `keys` gives its keys, from the first.
    fn object<'de, A: MapAccess<'de>>(
        &mut self,
        keys: &mut Keys,
        map: &mut A,
    ) -> Result<(), A::Error>;

    /// Something that is neither an object nor a list of them.
    fn odd(&mut self);
}

/// Finds the objects in a list, in an object that is one, or in an object whose keys are numbers
/// (as some senders write a list). Null is an empty list.
pub(super) struct Lenient<'t, T>(pub(super) &'t mut T);

/// The keys of an object, the first of which has been read already.
pub(super) struct Keys(Option<String>);

impl Keys {
    /// The next key.
    pub(super) fn next<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
    ) -> Result<Option<String>, A::Error> {
        match self.0.take() {
            Some(key) => Ok(Some(key)),
            None => map.next_key(),
        }
    }
}

impl<'de, T: Objects> DeserializeSeed<'de> for Lenient<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Objects> Visitor<'de> for Lenient<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let first: Option<String> = map.next_key()?;
        if !first.as_deref().is_some_and(is_index) {
            self.0.object(&mut Keys(first), &mut map)?;
            // An object may be left early, a deserializer must reach its end.
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        map.next_value_seed(Lenient(self.0))?;
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Lenient(self.0))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Lenient(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.odd();
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.odd();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.odd();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.odd();
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.0.odd();
        Ok(())
    }
}

/// Whether a key numbers the elements of a list.
fn is_index(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

/// The elements of `list`, each as its own bytes, whatever they are, given to `take` until it
/// says that it has enough by returning false. A list may come as an object: see [`Lenient`].
pub(super) fn elements(
    list: &RawValue,
    take: &mut dyn FnMut(&RawValue) -> bool,
) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(list.get());
    (&mut deserializer).deserialize_any(Elements(take))
}

/// As [`elements`], while the list is being walked.
pub(super) struct Elements<'t>(pub(super) &'t mut dyn FnMut(&RawValue) -> bool);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Elements<'_> {
    /// A lone value where a list is expected is a list of it.
    fn lone<E: serde::de::Error>(self, json: String) -> Result<(), E> {
        let raw = RawValue::from_string(json).map_err(E::custom)?;
        enough((self.0)(&raw))
    }
}

/// Stops the walk; who stopped it knows why.
fn enough<E: serde::de::Error>(more: bool) -> Result<(), E> {
    if more { Ok(()) } else { Err(E::custom("enough")) }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            enough((self.0)(raw))?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut members: Vec<(String, &RawValue)> = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        if !members.is_empty() && members.iter().all(|(key, _)| is_index(key)) {
            return members.iter().try_for_each(|(_, raw)| enough((self.0)(raw)));
        }
        let members: Vec<String> = members
            .iter()
            .map(|(key, raw)| format!("{}:{}", serde_json::Value::from(key.as_str()), raw.get()))
            .collect();
        self.lone(format!("{{{}}}", members.join(",")))
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.lone(value.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.lone(value.to_string())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.lone(value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.lone(serde_json::Value::from(value).to_string())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.lone(serde_json::Value::from(value).to_string())
    }
}

/// Reads optional fields and remembers the names of those that were there, but could not be read.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) unread: Vec<&'static str>,
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
    pub(super) fn word(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<String> {
        self.take(name, raw, word)
    }

    /// A text for people: see [`text`].
    pub(super) fn text(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<String> {
        self.take(name, raw, text)
    }

    /// A whole number: see [`integer`].
    pub(super) fn integer(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<i64> {
        self.take(name, raw, integer)
    }

    /// Whole seconds, as milliseconds.
    pub(super) fn seconds(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<i64> {
        self.take(name, raw, seconds)
    }

    /// True or false, also as a text.
    pub(super) fn flag(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<bool> {
        self.take(name, raw, |raw| match word_or_literal(raw).as_ref() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        })
    }

    /// An amount of money: see [`micros`].
    pub(super) fn micros(&mut self, name: &'static str, raw: Option<&RawValue>) -> Option<i64> {
        self.take(name, raw, |raw| micros(&word_or_literal(raw)))
    }

    /// An object with fields of its own.
    pub(super) fn object<'a, T: serde::Deserialize<'a>>(
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
pub(super) fn needed<T>(
    name: &'static str,
    raw: Option<&RawValue>,
    read: fn(&RawValue) -> Option<T>,
) -> Result<T, Defect> {
    let raw = raw.filter(|raw| !is_empty(raw)).ok_or(Defect::Missing(name))?;
    read(raw).ok_or(Defect::Unreadable(name))
}

/// An object, into a struct whose fields are raw.
pub(super) fn object<'a, T: serde::Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Defect> {
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
pub(super) fn word(raw: &RawValue) -> Option<String> {
    if let Some(text) = string(raw) {
        return (!text.is_empty()).then(|| text.into_owned());
    }
    is_integer(raw.get()).then(|| raw.get().to_owned())
}

/// A text that people read: as [`word`], but half a surrogate pair (texts are cut to length)
/// becomes replacement characters instead of the loss of it all.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    if let Some(word) = word(raw) {
        return Some(word);
    }
    let Lossy(text) = serde_json::from_str(raw.get()).ok()?;
    (!text.is_empty()).then_some(text)
}

/// A whole number, as one or as its digits in a text.
pub(super) fn integer(raw: &RawValue) -> Option<i64> {
    let digits = word_or_literal(raw);
    if is_integer(&digits) { digits.parse().ok() } else { None }
}

/// Whole seconds, as milliseconds.
pub(super) fn seconds(raw: &RawValue) -> Option<i64> {
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
pub(super) fn micros(number: &str) -> Option<i64> {
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

/// A text in which half a surrogate pair became replacement characters.
struct Lossy(String);

impl<'de> serde::Deserialize<'de> for Lossy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Lossy;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Lossy, E> {
                Ok(Lossy(String::from_utf8_lossy(bytes).into_owned()))
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
