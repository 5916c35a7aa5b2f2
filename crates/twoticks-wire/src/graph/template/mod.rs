//! Templates between CAMS's words and the Graph API's.
//!
//! [`to_graph()`] makes what `POST /{waba}/message_templates` takes out of CAMS's `Components`,
//! [`to_cams()`] the other way, and a [`Definition`] says what a send has to fill in. To add a kind
//! of button: an arm in `to_graph.rs` and in `to_cams.rs`, and a row in `definition.rs`. What
//! always holds: a variable is never lost without a word, what cannot be a template is refused
//! with its value and the limit, and what is read back may hold anything.
//!
//! CAMS names every variable, `$(name)`; the Graph API numbers them, `{{1}}`, or names those of
//! header and body, `{{name}}`. Links and codes have one variable at most, whose name the Graph
//! API does not keep: it comes back as [`button_variable`].

mod definition;
#[cfg(test)]
mod tests;
mod text;
mod to_cams;
mod to_graph;

pub use definition::{
    Button, ButtonKind, COMPONENTS_BYTES_MAX, Card, Definition, Header, Link, Unparsed,
};
pub use to_cams::{Cams, to_cams};
pub use to_graph::{ButtonVariable, Graph, Medium, MediumKind, Request, media, to_graph};

use serde_json::{Map, Value};

/// The longest name of a template, in characters.
pub const NAME_MAX: usize = 512;
/// The longest text of a body, in characters, with its variables as the Graph API writes them.
pub const BODY_MAX: usize = 1_024;
/// The longest text of a card's body, in characters.
pub const CARD_BODY_MAX: usize = 160;
/// The longest text of a header, in characters.
pub const HEADER_MAX: usize = 60;
/// How many variables the text of a header may have.
pub const HEADER_VARIABLES_MAX: usize = 1;
/// The longest text of a footer, in characters.
pub const FOOTER_MAX: usize = 60;
/// How many buttons a template may have.
pub const BUTTONS_MAX: usize = 10;
/// How many of its buttons may call a phone number.
pub const PHONE_BUTTONS_MAX: usize = 1;
/// How many of its buttons may open a link.
pub const URL_BUTTONS_MAX: usize = 2;
/// The longest text of a button, in characters.
pub const BUTTON_TEXT_MAX: usize = 25;
/// The longest link of a button, in characters.
pub const URL_MAX: usize = 2_000;
/// How many cards a carousel may have.
pub const CARDS_MAX: usize = 10;
/// How many buttons a card may have.
pub const CARD_BUTTONS_MAX: usize = 2;
/// How long a code may be valid at most, in minutes.
pub const CODE_MINUTES_MAX: i64 = 90;

/// Where links of buttons lead that hand over a code, as they are read back.
const CODE_LINK: &str = "https://www.whatsapp.com/otp/code/";

/// Why something cannot be a template of WhatsApp's: for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A name that is none.
    #[error("the name `{0}` is not of 1 to {NAME_MAX} lower-case letters, digits and underscores")]
    Name(String),
    /// Something that has to be there is not.
    #[error("`{place}` has no `{field}`")]
    Missing {
        /// Of what, such as `Buttons[0]`.
        place: String,
        /// The field.
        field: &'static str,
    },
    /// A value that is not among those that are known there.
    #[error("`{place}`: `{field}` is `{value}`; use {allowed}")]
    Value {
        /// Of what.
        place: String,
        /// The field.
        field: &'static str,
        /// What it says, cut.
        value: String,
        /// What would do.
        allowed: &'static str,
    },
    /// A text that is too long.
    #[error("`{place}` has `{chars}` characters, at most `{max}` fit")]
    TooLong {
        /// Of what.
        place: String,
        /// How many it has.
        chars: usize,
        /// How many it may have.
        max: usize,
    },
    /// More of something than there may be.
    #[error("`{place}` has `{count}` {what}, at most `{max}` fit")]
    TooMany {
        /// Where.
        place: String,
        /// Of what: a plural.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A variable whose name the Graph API would not take.
    #[error(
        "the variable `{0}` is neither a number nor of lower-case letters, digits and underscores \
         with a letter first"
    )]
    Variable(String),
    /// Numbered variables that do not count up.
    #[error("`{place}`: numbered variables count up from 1 in each text; `{missing}` is missing")]
    Numbers {
        /// Where.
        place: String,
        /// The first number that is not there.
        missing: usize,
    },
    /// Some variables are numbers and some are names.
    #[error("variables are all numbers or all names, not `{number}` and `{name}`")]
    Mixed {
        /// One of the numbers.
        number: String,
        /// One of the names.
        name: String,
    },
    /// `{{` in a text of CAMS's, which the Graph API would take for a variable.
    #[error("`{place}` has `{{{{`; write a variable as `$(name)`")]
    Braces {
        /// Where.
        place: String,
    },
    /// A link whose variable is not at its end.
    #[error("`{place}`: the variable of the link `{url}` has to be its end, after a fixed part")]
    Link {
        /// Where.
        place: String,
        /// The link, cut.
        url: String,
    },
    /// A variable without an example.
    #[error("`Example` has no text for the variable `{0}`")]
    Example(String),
    /// A medium that was not uploaded.
    #[error("there is no uploaded medium for `{0}`")]
    Medium(String),
}

/// Checks the name of a template.
///
/// # Errors
///
/// [`Unfit::Name`] unless it is of 1 to [`NAME_MAX`] lower-case letters, digits and underscores.
pub fn check_name(name: &str) -> Result<(), Unfit> {
    let of_these = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(of_these) {
        Ok(())
    } else {
        Err(Unfit::Name(shown(name)))
    }
}

/// How the variables of header and body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterFormat {
    /// `{{1}}`, `{{2}}` and so on, from 1 in each text.
    Positional,
    /// `{{name}}`.
    Named,
}

impl ParameterFormat {
    /// The value of `parameter_format`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Positional => "POSITIONAL",
            Self::Named => "NAMED",
        }
    }
}

/// The name for the variable of a button in CAMS's words, where no other is known: `button_0`, or
/// `card_1_button_0` on a card. Both count from 0.
#[must_use]
pub fn button_variable(card: Option<usize>, button: usize) -> String {
    match card {
        Some(card) => format!("card_{card}_button_{button}"),
        None => format!("button_{button}"),
    }
}

/// A value of an object, whatever the case of its key; null is absent.
fn field<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let value = object.get(name).or_else(|| {
        object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    });
    value.filter(|value| !value.is_null())
}

/// A text of an object; empty is absent.
fn string<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    field(object, name)?.as_str().filter(|text| !text.is_empty())
}

/// A word of an object, in capitals.
fn word(object: &Map<String, Value>, name: &str) -> Option<String> {
    string(object, name).map(str::to_ascii_uppercase)
}

/// A flag of an object, also as a text.
fn flag(object: &Map<String, Value>, name: &str) -> Option<bool> {
    match field(object, name)? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A whole number of an object, also as a text.
fn integer(object: &Map<String, Value>, name: &str) -> Option<i64> {
    match field(object, name)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// The objects of a list; what is no object is passed over.
fn objects<'v>(
    object: &'v Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'v Map<String, Value>> {
    field(object, name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

/// Sets a field of an object that is being made.
fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

/// A text for an error: cut.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
