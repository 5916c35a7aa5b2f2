//! Lists come in pages, with a cursor at each end.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Map, Value, json};
use twoticks_wire::params::encode_pairs;

use super::Asked;
use super::refusal::Refusal;

/// How many rows a page has if nobody says.
const ROWS: usize = 25;
/// How many rows a page has at the most, whoever asks for more.
pub(super) const ROWS_MAX: usize = 250;

/// The page of `rows` that is asked for, with the way to the next and to the one before.
///
/// # Errors
/// A limit or a cursor that will not do.
pub(super) fn page(asked: &Asked, rows: Vec<Value>) -> Result<Map<String, Value>, Refusal> {
    let limit = match asked.given.text("limit") {
        None => ROWS,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if limit > 0 => limit.min(ROWS_MAX),
            _ => return Err(Refusal::parameter("`limit` has to be a whole number from 1 on")),
        },
    };
    let place = |name: &str| asked.given.text(name).map(|cursor| place_of(&cursor)).transpose();
    let count = rows.len();
    let from = match (place("after")?, place("before")?) {
        (Some(last), _) => last + 1,
        (None, Some(first)) => first.saturating_sub(limit),
        (None, None) => 0,
    };
    let shown: Vec<Value> = rows.into_iter().skip(from).take(limit).collect();
    let mut page = Map::new();
    let (first, last) = (from, from + shown.len().saturating_sub(1));
    if !shown.is_empty() {
        let mut paging = Map::new();
        paging
            .insert("cursors".to_owned(), json!({"before": cursor(first), "after": cursor(last)}));
        if last + 1 < count {
            paging.insert("next".to_owned(), link(asked, limit, ("after", last)).into());
        }
        if first > 0 {
            paging.insert("previous".to_owned(), link(asked, limit, ("before", first)).into());
        }
        page.insert("paging".to_owned(), paging.into());
    }
    page.insert("data".to_owned(), shown.into());
    Ok(page)
}

fn cursor(place: usize) -> String {
    format!("{}ZD", STANDARD_NO_PAD.encode(place.to_string()))
}

fn place_of(cursor: &str) -> Result<usize, Refusal> {
    let read = || {
        let digits = STANDARD_NO_PAD.decode(cursor.strip_suffix("ZD")?).ok()?;
        // Far more than any list has, so that nothing is too large to count with.
        std::str::from_utf8(&digits).ok()?.parse::<u32>().ok().map(|place| place as usize)
    };
    read().ok_or_else(|| Refusal::parameter("Invalid cursors values"))
}

/// As Meta writes it: with everything that was asked, the token included.
fn link(asked: &Asked, limit: usize, (name, place): (&str, usize)) -> String {
    let kept = asked
        .given
        .0
        .iter()
        .filter(|(name, _)| !["limit", "after", "before"].contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), written(value)));
    let (limit, place) = (limit.to_string(), cursor(place));
    let mut pairs: Vec<(&str, String)> = kept.collect();
    pairs.push(("access_token", asked.token.clone()));
    pairs.push(("limit", limit));
    pairs.push((name, place));
    let query = encode_pairs(pairs.iter().map(|(name, value)| (*name, value.as_str())));
    format!("{}{}?{query}", asked.base, asked.path)
}

fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_nothing_else_is_one() {
        for place in [0, 24, 6_000] {
            assert_eq!(place_of(&cursor(place)).unwrap(), place);
        }
        for bad in ["", "ZD", "MAZ", "?ZD", "LTEZD"] {
            assert!(place_of(bad).is_err(), "{bad}");
        }
    }
}
