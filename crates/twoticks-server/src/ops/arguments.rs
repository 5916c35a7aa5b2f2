//! Reading the parameters of an operation. An empty text counts as absent.

use serde_json::{Map, Value};
use twoticks_wire::code::Refusal;
use twoticks_wire::params::Params;

/// The text of a parameter.
pub(crate) fn text<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params.get(name).filter(|text| !text.is_empty())
}

/// The text of a parameter that has to be there.
///
/// # Errors
/// `Missing` + name.
pub(crate) fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, Refusal> {
    text(params, name).ok_or_else(|| Refusal::missing(name))
}

/// A whole number: decimal digits, perhaps behind a `-`, and nothing else.
///
/// # Errors
/// `Invalid` + name if it is not one, or beyond 64 bits.
pub(crate) fn integer(params: &Params, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = text(params, name) else { return Ok(None) };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::invalid(name));
    }
    text.parse().map(Some).map_err(|_| Refusal::invalid(name))
}

/// A whole number that has to be there.
///
/// # Errors
/// `Missing` + name, and as [`integer`].
pub(crate) fn required_integer(params: &Params, name: &str) -> Result<i64, Refusal> {
    integer(params, name)?.ok_or_else(|| Refusal::missing(name))
}

/// A whole number between `least` and `most`.
///
/// # Errors
/// `Invalid` + name if it is outside, and as [`integer`].
pub(crate) fn integer_in(
    params: &Params,
    name: &str,
    least: i64,
    most: i64,
) -> Result<Option<i64>, Refusal> {
    match integer(params, name)? {
        Some(number) if !(least..=most).contains(&number) => Err(Refusal::invalid(name)),
        number => Ok(number),
    }
}

/// A text of at most `chars_max` characters.
///
/// # Errors
/// `Invalid` + name if it is longer.
pub(crate) fn bounded<'a>(
    params: &'a Params,
    name: &str,
    chars_max: usize,
) -> Result<Option<&'a str>, Refusal> {
    match text(params, name) {
        Some(text) if text.chars().nth(chars_max).is_some() => Err(Refusal::invalid(name)),
        text => Ok(text),
    }
}

/// A JSON object, from JSON text or from the flattened notation.
///
/// # Errors
/// `Invalid` + name if it is not JSON, or no object.
pub(crate) fn object(params: &Params, name: &str) -> Result<Option<Map<String, Value>>, Refusal> {
    match params.json(name)? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(Refusal::invalid(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_strictly() {
        for (given, number) in [
            ("0", Ok(Some(0))),
            ("-5", Ok(Some(-5))),
            ("1693107714687", Ok(Some(1_693_107_714_687))),
            ("9223372036854775807", Ok(Some(i64::MAX))),
            ("", Ok(None)),
            ("9223372036854775808", Err(())),
            ("%2B5", Err(())),
            ("+5", Err(())),
            ("5+", Err(())),
            ("5.0", Err(())),
            ("1e3", Err(())),
            ("0x10", Err(())),
            ("-", Err(())),
            ("abc", Err(())),
            ("%D9%A3", Err(())),
        ] {
            let params = Params::parse(format!("N={given}").as_bytes(), None).unwrap();
            let read = integer(&params, "N");
            assert_eq!(read.clone().map_err(|_| ()), number, "{given}");
            if let Err(refusal) = read {
                assert_eq!(refusal.name(), "InvalidN", "{given}");
            }
        }
    }

    #[test]
    fn bounds_hold_at_their_edges() {
        let params = Params::parse(b"A=59&B=60&C=43200&D=43201&T=%C3%A9%C3%A9", None).unwrap();
        for (name, fits) in [("A", false), ("B", true), ("C", true), ("D", false)] {
            assert_eq!(integer_in(&params, name, 60, 43_200).is_ok(), fits, "{name}");
        }
        assert!(bounded(&params, "T", 2).is_ok());
        assert!(bounded(&params, "T", 1).is_err());
    }
}
