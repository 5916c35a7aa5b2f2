//! What a send has to fill in, read from a template as the Graph API has it.

use serde_json::{Map, Value};

use super::{CODE_LINK, button_variable, flag, objects, string, text, word};

/// The longest components that are read, in bytes of JSON.
pub const COMPONENTS_BYTES_MAX: usize = 64 * 1024;

/// What a template takes: variables, a medium, and buttons with their links.
///
/// The names of variables are as written in the template: `1`, `2` and so on, or names. Lists that
/// Meta may lengthen are open: what is not known is told by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Its header.
    pub header: Option<Header>,
    /// The variables of its body, each once, in the order in which they come.
    pub body: Vec<String>,
    /// Its buttons in order.
    pub buttons: Vec<Button>,
    /// The cards of a carousel in order.
    pub cards: Vec<Card>,
    /// Whether a limited-time offer says when it ends; `None` if it is no such offer.
    pub offer_expires: Option<bool>,
    /// Types of components that are not known, in capitals.
    pub unknown: Vec<String>,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// A text, and its variables.
    Text(Vec<String>),
    /// `IMAGE`: a send brings one.
    Image,
    /// `VIDEO`: a send brings one.
    Video,
    /// `DOCUMENT`: a send brings one.
    Document,
    /// `LOCATION`: a send brings one.
    Location,
    /// Another format, in capitals.
    Other(String),
}

/// One card of a carousel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Its header.
    pub header: Option<Header>,
    /// The variables of its body.
    pub body: Vec<String>,
    /// Its buttons in order.
    pub buttons: Vec<Button>,
}

/// A button.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// Its place, from 0: the `index` of a send.
    pub index: usize,
    /// What it does.
    pub kind: ButtonKind,
    /// What it says; empty where WhatsApp says it by itself.
    pub text: String,
    /// Where it leads, if it opens a link.
    pub link: Option<Link>,
    /// Our name for what a send has to fill in (see [`button_variable`]): the end of the link, or
    /// the code. `None` if it takes nothing, or needs nothing.
    pub variable: Option<String>,
}

/// What a button does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ButtonKind {
    /// `QUICK_REPLY`.
    QuickReply,
    /// `URL`.
    Url,
    /// `PHONE_NUMBER`.
    PhoneNumber,
    /// `COPY_CODE`: copies the code of an offer.
    CopyCode,
    /// `OTP`: hands over the code that proves an identity; a send fills it in as with `URL`.
    Otp,
    /// `FLOW`.
    Flow,
    /// Another kind, in capitals.
    Other(String),
}

/// Where a button leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The link, without its variable.
    pub fixed: String,
    /// Whether a variable follows.
    pub ends_in_variable: bool,
}

/// Why components cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unparsed {
    /// Longer than [`COMPONENTS_BYTES_MAX`].
    #[error("the components have `{bytes}` bytes, at most `{COMPONENTS_BYTES_MAX}` are read")]
    TooLong {
        /// Their length.
        bytes: usize,
    },
    /// Not a list in JSON.
    #[error("the components are not a list in JSON")]
    NotAList,
}

impl Definition {
    /// Reads `components` as the Graph API answers them: a list in JSON.
    ///
    /// # Errors
    ///
    /// If it is no list or too long. A component that cannot be read says nothing.
    pub fn parse(components: &str) -> Result<Self, Unparsed> {
        let bytes = components.len();
        if bytes > COMPONENTS_BYTES_MAX {
            return Err(Unparsed::TooLong { bytes });
        }
        let list: Vec<Value> = serde_json::from_str(components).map_err(|_| Unparsed::NotAList)?;
        Ok(Self::of(&list))
    }

    /// Reads components that are values already.
    #[must_use]
    pub fn of(components: &[Value]) -> Self {
        let mut definition = Self::default();
        for component in components.iter().filter_map(Value::as_object) {
            match word(component, "type").unwrap_or_default().as_str() {
                "HEADER" => definition.header = Some(header(component)),
                "BODY" => definition.body = variables(component),
                "FOOTER" => {}
                "BUTTONS" => definition.buttons = buttons(component, None),
                "CAROUSEL" => {
                    let cards = objects(component, "cards").enumerate();
                    definition.cards = cards.map(|(at, it)| card(it, at)).collect();
                }
                "LIMITED_TIME_OFFER" => {
                    let offer = component.get("limited_time_offer").and_then(Value::as_object);
                    let expires = offer.and_then(|offer| flag(offer, "has_expiration"));
                    definition.offer_expires = Some(expires.unwrap_or(false));
                }
                other => definition.unknown.push(other.to_owned()),
            }
        }
        definition
    }
}

fn card(card: &Map<String, Value>, at: usize) -> Card {
    let mut read = Card::default();
    for component in objects(card, "components") {
        match word(component, "type").unwrap_or_default().as_str() {
            "HEADER" => read.header = Some(header(component)),
            "BODY" => read.body = variables(component),
            "BUTTONS" => read.buttons = buttons(component, Some(at)),
            _ => {}
        }
    }
    read
}

fn header(component: &Map<String, Value>) -> Header {
    let format = word(component, "format").unwrap_or_else(|| "TEXT".to_owned());
    match format.as_str() {
        "TEXT" => Header::Text(variables(component)),
        "IMAGE" => Header::Image,
        "VIDEO" => Header::Video,
        "DOCUMENT" => Header::Document,
        "LOCATION" => Header::Location,
        _ => Header::Other(format),
    }
}

fn variables(component: &Map<String, Value>) -> Vec<String> {
    let text = string(component, "text").unwrap_or_default();
    text::variables(text, text::GRAPH).into_iter().map(str::to_owned).collect()
}

fn buttons(component: &Map<String, Value>, card: Option<usize>) -> Vec<Button> {
    let buttons = objects(component, "buttons").enumerate();
    buttons.map(|(index, told)| button(told, card, index)).collect()
}

fn button(told: &Map<String, Value>, card: Option<usize>, index: usize) -> Button {
    let kind = word(told, "type").unwrap_or_default();
    let link = string(told, "url").map(link);
    let is_code = link.as_ref().is_some_and(|link| link.fixed.starts_with(CODE_LINK));
    let kind = match kind.as_str() {
        "URL" if is_code => ButtonKind::Otp,
        "URL" => ButtonKind::Url,
        "QUICK_REPLY" => ButtonKind::QuickReply,
        "PHONE_NUMBER" => ButtonKind::PhoneNumber,
        "COPY_CODE" => ButtonKind::CopyCode,
        "OTP" => ButtonKind::Otp,
        "FLOW" => ButtonKind::Flow,
        _ => ButtonKind::Other(kind),
    };
    let takes = match kind {
        ButtonKind::CopyCode | ButtonKind::Otp => true,
        ButtonKind::Url => link.as_ref().is_some_and(|link| link.ends_in_variable),
        ButtonKind::QuickReply
        | ButtonKind::PhoneNumber
        | ButtonKind::Flow
        | ButtonKind::Other(_) => false,
    };
    let text = string(told, "text").unwrap_or_default().to_owned();
    let variable = takes.then(|| button_variable(card, index));
    Button { index, kind, text, link, variable }
}

fn link(url: &str) -> Link {
    let mut pieces = text::pieces(url, text::GRAPH);
    let ends_in_variable = matches!(pieces.last(), Some(text::Piece::Variable(_)));
    if ends_in_variable {
        pieces.pop();
    }
    let fixed = pieces
        .into_iter()
        .map(|piece| match piece {
            text::Piece::Fixed(fixed) => fixed.to_owned(),
            // Not at the end: nothing that can be filled in, so as it is.
            text::Piece::Variable(name) => text::variable(name, text::GRAPH),
        })
        .collect();
    Link { fixed, ends_in_variable }
}
