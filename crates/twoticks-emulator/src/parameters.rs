//! What the emulator's doors are asked with: parameters of the query and fields of a JSON body, of
//! the same names and meaning.

use jiff::{SpanRelativeTo, Timestamp};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use twoticks_core::clock::Time;
use twoticks_wire::params::Params;

/// The longest body of a question, in bytes.
pub(crate) const BODY_MAX: usize = 8 << 20;

/// Reads the parameters of `query` and the fields of `body` into one value; a field wins.
///
/// # Errors
/// Names what cannot be read, or an unknown parameter and those that there are.
pub(crate) fn read<T: DeserializeOwned>(query: Option<&str>, body: &[u8]) -> Result<T, String> {
    let mut fields = Map::new();
    let params = Params::parse(query.unwrap_or_default().as_bytes(), None).map_err(|_| {
        let why = "a parameter is there twice, or is not percent-encoded UTF-8";
        format!("the query cannot be read: {why}")
    })?;
    fields.extend(params.query().iter().map(|(name, text)| (name.clone(), text.as_str().into())));
    if !body.trim_ascii().is_empty() {
        let told: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the body is no JSON: {error}"))?;
        let Value::Object(told) = told else {
            return Err("the body is no JSON object".to_owned());
        };
        fields.extend(told);
    }
    T::deserialize(Value::Object(fields)).map_err(|error| error.to_string())
}

/// The value that `word` names.
///
/// # Errors
/// Names the words that there are.
pub(crate) fn by_word<T: Copy>(what: &str, all: &[(&str, T)], word: &str) -> Result<T, String> {
    let found = all.iter().find(|(known, _)| *known == word);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = all.iter().map(|(known, _)| format!("`{known}`")).collect();
        let word: String = word.chars().take(64).collect();
        format!("`{word}` is no {what}; there are {}", words.join(", "))
    })
}

/// A number, also written as a text.
///
/// # Errors
/// If it is none.
pub(crate) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(from)?;
    let number = match &value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let none = || D::Error::custom(format!("{value} is no whole number from 0 on"));
    number.map(Some).ok_or_else(none)
}

/// Whether, also written as a text.
///
/// # Errors
/// If it is neither.
pub(crate) fn whether<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    match Value::deserialize(from)? {
        Value::Bool(is) => Ok(is),
        Value::String(text) if text == "true" || text == "1" || text.is_empty() => Ok(true),
        Value::String(text) if text == "false" || text == "0" => Ok(false),
        _ => Err(D::Error::custom("`true` or `false` is wanted")),
    }
}

/// An instant: milliseconds of Unix time, or a time such as `2026-11-23T16:21:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant(pub(crate) Time);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let time = match &value {
            Value::Number(number) => number.as_i64().map(Time),
            Value::String(text) => text
                .parse()
                .ok()
                .map(Time)
                .or_else(|| text.parse::<Timestamp>().ok().map(|it| Time(it.as_millisecond()))),
            _ => None,
        };
        time.map(Self).ok_or_else(|| {
            let wanted = "milliseconds, or a time such as `2026-11-23T16:21:00Z`";
            D::Error::custom(format!("{value} is no instant; {wanted} would do"))
        })
    }
}

/// A while: milliseconds, or a text such as `1d`, `90m`, `2h 30m`. Days have 24 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct While(pub(crate) i64);

impl<'de> Deserialize<'de> for While {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(from)?;
        let read = |text: &str| {
            let span: jiff::Span = text.parse().ok()?;
            let whole = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
            i64::try_from(whole.as_millis()).ok()
        };
        let milliseconds = match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok().or_else(|| read(text)),
            _ => None,
        };
        milliseconds.map(Self).ok_or_else(|| {
            D::Error::custom(format!("{value} is no while; such as `1d`, `90m` or 5000 would do"))
        })
    }
}
