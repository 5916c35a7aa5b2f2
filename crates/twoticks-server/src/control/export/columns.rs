//! A column of an export: its name, its type, what it means, and where its value comes from.
//!
//! Every format is driven by the same list, so that a new column is one line of `totals`,
//! `messages` or `events`.

use std::borrow::Cow;

use serde::Serialize;
use twoticks_core::clock::Time;

/// A value of one row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// Not there: missing is not zero.
    Missing,
    /// A whole number.
    Integer(i64),
    /// A text.
    Text(Cow<'a, str>),
    /// An instant.
    Time(Time),
    /// JSON, as text where the format has no JSON of its own.
    Json(String),
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// 64 bits, signed.
    Integer,
    /// UTF-8.
    Text,
    /// Milliseconds, UTC.
    Time,
    /// JSON.
    Json,
}

/// What a reader has to know of a column.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Field {
    /// Its name, distinct among those of the export.
    pub(super) name: Cow<'static, str>,
    /// What its values are.
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// Whether a value can be missing.
    pub(super) optional: bool,
    /// What one of it is, where it is a quantity.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) unit: &'static str,
    /// What it says.
    pub(super) meaning: Cow<'static, str>,
}

type Get<R> = dyn for<'a> Fn(&'a R) -> Value<'a> + Send;

/// A column of rows `R`.
pub(super) struct Column<R> {
    pub(super) field: Field,
    pub(super) get: Box<Get<R>>,
}

impl<R> Column<R> {
    fn new(
        kind: Kind,
        optional: bool,
        name: impl Into<Cow<'static, str>>,
        meaning: impl Into<Cow<'static, str>>,
        get: impl for<'a> Fn(&'a R) -> Value<'a> + Send + 'static,
    ) -> Self {
        let (name, meaning) = (name.into(), meaning.into());
        Self { field: Field { name, kind, optional, unit: "", meaning }, get: Box::new(get) }
    }

    /// The unit of its values.
    pub(super) fn in_unit(mut self, unit: &'static str) -> Self {
        self.field.unit = unit;
        self
    }
}

/// A text that every row has.
pub(super) fn text<R>(
    name: &'static str,
    meaning: &'static str,
    get: impl for<'a> Fn(&'a R) -> &'a str + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Text, false, name, meaning, move |row| Value::Text(get(row).into()))
}

/// A text that every row has, made for the export.
pub(super) fn made<R>(
    name: &'static str,
    meaning: &'static str,
    get: impl Fn(&R) -> String + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Text, false, name, meaning, move |row| Value::Text(get(row).into()))
}

/// A text that some rows have.
pub(super) fn text_if<R>(
    name: &'static str,
    meaning: &'static str,
    get: impl for<'a> Fn(&'a R) -> Option<&'a str> + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Text, true, name, meaning, move |row| match get(row) {
        Some(text) => Value::Text(text.into()),
        None => Value::Missing,
    })
}

/// A text that some rows have, made for the export.
pub(super) fn made_if<R>(
    name: &'static str,
    meaning: &'static str,
    get: impl Fn(&R) -> Option<String> + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Text, true, name, meaning, move |row| match get(row) {
        Some(text) => Value::Text(text.into()),
        None => Value::Missing,
    })
}

/// A number that every row has.
pub(super) fn integer<R>(
    name: impl Into<Cow<'static, str>>,
    meaning: impl Into<Cow<'static, str>>,
    get: impl Fn(&R) -> i64 + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Integer, false, name, meaning, move |row| Value::Integer(get(row)))
}

/// A number that some rows have.
pub(super) fn integer_if<R>(
    name: &'static str,
    meaning: &'static str,
    get: impl Fn(&R) -> Option<i64> + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Integer, true, name, meaning, move |row| {
        get(row).map_or(Value::Missing, Value::Integer)
    })
}

/// An instant that every row has.
pub(super) fn time<R>(
    name: &'static str,
    meaning: &'static str,
    get: impl Fn(&R) -> Time + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Time, false, name, meaning, move |row| Value::Time(get(row)))
}

/// An instant that some rows have.
pub(super) fn time_if<R>(
    name: impl Into<Cow<'static, str>>,
    meaning: impl Into<Cow<'static, str>>,
    get: impl Fn(&R) -> Option<Time> + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Time, true, name, meaning, move |row| {
        get(row).map_or(Value::Missing, Value::Time)
    })
}

/// JSON that every row has, `[]` or `{}` where there is nothing.
pub(super) fn json<R>(
    name: &'static str,
    meaning: &'static str,
    get: impl Fn(&R) -> serde_json::Value + Send + 'static,
) -> Column<R> {
    Column::new(Kind::Json, false, name, meaning, move |row| Value::Json(get(row).to_string()))
}

/// An instant as text: RFC 3339, UTC, always to the millisecond, so that texts sort as instants do.
pub(super) fn in_utc(time: Time) -> String {
    // What no calendar holds (rule 13 lets none through) is still told, as milliseconds.
    jiff::Timestamp::from_millisecond(time.0)
        .map_or_else(|_| time.0.to_string(), |instant| format!("{instant:.3}"))
}
