//! From CAMS's `Components` to what the Graph API takes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::text::{self, CAMS, GRAPH, Piece};
use super::{
    BODY_MAX, BUTTON_TEXT_MAX, BUTTONS_MAX, CARD_BODY_MAX, CARD_BUTTONS_MAX, CARDS_MAX,
    CODE_MINUTES_MAX, FOOTER_MAX, HEADER_MAX, HEADER_VARIABLES_MAX, PHONE_BUTTONS_MAX,
    ParameterFormat, URL_BUTTONS_MAX, URL_MAX, Unfit, field, flag, integer, objects, put, shown,
    string, word,
};

/// A template in CAMS's words.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `Category`: `MARKETING`, `UTILITY` or `AUTHENTICATION`, in any case.
    pub category: &'a str,
    /// `Components`.
    pub components: &'a [Value],
    /// `Example`: a text for each variable, by its name.
    pub example: &'a Map<String, Value>,
    /// The handles of uploaded media, by the addresses that [`media`] gives.
    pub handles: &'a BTreeMap<String, String>,
}

/// A template in the Graph API's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The value of `components`.
    pub components: Vec<Value>,
    /// The value of `parameter_format`.
    pub format: ParameterFormat,
    /// What CAMS calls the variables of links and codes: the Graph API does not keep these names.
    pub button_variables: Vec<ButtonVariable>,
}

/// The variable of a link or a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ButtonVariable {
    /// On which card of a carousel, from 0; `None` for the template's own buttons.
    pub card: Option<usize>,
    /// Which button, from 0.
    pub button: usize,
    /// Its name in CAMS's words.
    pub name: String,
}

/// A medium of a header, which has to be uploaded before a template can have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium<'a> {
    /// What it is.
    pub kind: MediumKind,
    /// Where it is.
    pub url: &'a str,
}

/// The kinds of media that a header can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediumKind {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// A document.
    Document,
}

impl MediumKind {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "IMAGE" => Some(Self::Image),
            "VIDEO" => Some(Self::Video),
            "DOCUMENT" => Some(Self::Document),
            _ => None,
        }
    }
}

/// The media of headers, in order: each has to be uploaded, and its handle handed to [`to_graph`].
#[must_use]
pub fn media(components: &[Value]) -> Vec<Medium<'_>> {
    let components = components.iter().filter_map(Value::as_object);
    let with_cards = components.flat_map(|component| {
        let of_cards = objects(component, "Cards").flat_map(|card| objects(card, "CardComponents"));
        std::iter::once(component).chain(of_cards)
    });
    with_cards
        .filter(|component| is_type(component, "HEADER"))
        .filter_map(|component| {
            let kind = MediumKind::parse(&word(component, "Format")?)?;
            Some(Medium { kind, url: string(component, "Url")? })
        })
        .collect()
}

/// Makes what `POST /{waba}/message_templates` takes.
///
/// What the Graph API has no word for is left out: `IsOptOut`, `Caption`, `FileName`. A template
/// with `ZERO_TAP` says that its terms are accepted, as CAMS does.
///
/// # Errors
///
/// Whatever in it cannot be a template: see [`Unfit`].
pub fn to_graph(request: &Request<'_>) -> Result<Graph, Unfit> {
    let authentication = request.category.eq_ignore_ascii_case("AUTHENTICATION");
    let format = if authentication {
        ParameterFormat::Positional
    } else {
        format(&texts(request.components))?
    };
    let mut write = Write { request, authentication, format, button_variables: Vec::new() };
    let mut components = Vec::new();
    for (at, component) in request.components.iter().enumerate() {
        let place = format!("Components[{at}]");
        let object = component.as_object().ok_or_else(|| missing(&place, "Type"))?;
        components.push(write.component(object, &place)?);
    }
    let is_body = |component: &Value| component.get("type") == Some(&json!("BODY"));
    if !components.iter().any(is_body) {
        return Err(missing("Components", "BODY"));
    }
    Ok(Graph { components, format, button_variables: write.button_variables })
}

fn missing(place: &str, field: &'static str) -> Unfit {
    Unfit::Missing { place: place.to_owned(), field }
}

fn bad_value(place: &str, field: &'static str, value: &str, allowed: &'static str) -> Unfit {
    Unfit::Value { place: place.to_owned(), field, value: shown(value), allowed }
}

fn too_many(place: &str, what: &'static str, count: usize, max: usize) -> Result<(), Unfit> {
    if count <= max {
        return Ok(());
    }
    Err(Unfit::TooMany { place: place.to_owned(), what, count, max })
}

fn too_long(place: &str, text: &str, max: usize) -> Result<(), Unfit> {
    let chars = text.chars().count();
    if chars <= max {
        return Ok(());
    }
    Err(Unfit::TooLong { place: place.to_owned(), chars, max })
}

fn needed<'v>(
    object: &'v Map<String, Value>,
    name: &'static str,
    place: &str,
) -> Result<&'v str, Unfit> {
    string(object, name).ok_or_else(|| missing(place, name))
}

fn is_type(component: &Map<String, Value>, kind: &str) -> bool {
    string(component, "Type").is_some_and(|told| told.eq_ignore_ascii_case(kind))
}

/// The texts of headers and bodies, those of cards included, and where they stand.
fn texts(components: &[Value]) -> Vec<(String, &str)> {
    let mut texts = Vec::new();
    for (at, component) in components.iter().enumerate() {
        let Some(component) = component.as_object() else { continue };
        let mut take = |component, place| match string(component, "Text") {
            Some(text) if is_type(component, "HEADER") || is_type(component, "BODY") => {
                texts.push((place, text));
            }
            _ => {}
        };
        take(component, format!("Components[{at}]"));
        for (card_at, card) in objects(component, "Cards").enumerate() {
            for part in objects(card, "CardComponents") {
                take(part, format!("Components[{at}].Cards[{card_at}]"));
            }
        }
    }
    texts
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// Whether variables are numbers or names, of the texts of a whole template.
fn format(texts: &[(String, &str)]) -> Result<ParameterFormat, Unfit> {
    let (mut number, mut name) = (None, None);
    for (place, text) in texts {
        let variables = text::variables(text, CAMS);
        for variable in &variables {
            match *variable {
                it if is_number(it) => number = number.or(Some(it)),
                it if is_name(it) => name = name.or(Some(it)),
                it => return Err(Unfit::Variable(shown(it))),
            }
        }
        if let (Some(number), Some(name)) = (number, name) {
            return Err(Unfit::Mixed { number: shown(number), name: shown(name) });
        }
        if number.is_some() {
            let gap = (1..=variables.len())
                .find(|wanted| !variables.contains(&wanted.to_string().as_str()));
            if let Some(missing) = gap {
                return Err(Unfit::Numbers { place: place.clone(), missing });
            }
        }
    }
    Ok(if name.is_some() { ParameterFormat::Named } else { ParameterFormat::Positional })
}

struct Write<'r> {
    request: &'r Request<'r>,
    authentication: bool,
    format: ParameterFormat,
    button_variables: Vec<ButtonVariable>,
}

impl Write<'_> {
    fn component(&mut self, told: &Map<String, Value>, place: &str) -> Result<Value, Unfit> {
        let kind = word(told, "Type").ok_or_else(|| missing(place, "Type"))?;
        match kind.as_str() {
            "HEADER" | "CAROUSEL" | "LIMITED_TIME_OFFER" if self.authentication => Err(bad_value(
                place,
                "Type",
                &kind,
                "BODY, FOOTER or BUTTONS in an authentication template",
            )),
            "HEADER" => self.header(told, place),
            "BODY" if self.authentication => {
                let mut body = json!({"type": "BODY"});
                if let Some(advice) = flag(told, "AddSecretRecommendation") {
                    put(&mut body, "add_security_recommendation", json!(advice));
                }
                Ok(body)
            }
            "BODY" => self.body(told, place, BODY_MAX),
            "FOOTER" if self.authentication => code_footer(told, place),
            "FOOTER" => footer(told, place),
            "BUTTONS" => self.buttons(told, place, None),
            "CAROUSEL" => self.carousel(told, place),
            "LIMITED_TIME_OFFER" => {
                let text = needed(told, "Text", place)?;
                let expires = flag(told, "HasExpiration").unwrap_or(false);
                Ok(json!({
                    "type": "LIMITED_TIME_OFFER",
                    "limited_time_offer": {"text": text, "has_expiration": expires},
                }))
            }
            _ => Err(bad_value(
                place,
                "Type",
                &kind,
                "BODY, HEADER, FOOTER, BUTTONS, CAROUSEL or LIMITED_TIME_OFFER",
            )),
        }
    }

    fn header(&self, told: &Map<String, Value>, place: &str) -> Result<Value, Unfit> {
        let format = word(told, "Format").unwrap_or_else(|| "TEXT".to_owned());
        match format.as_str() {
            "TEXT" => {
                let text = needed(told, "Text", place)?;
                let count = text::variables(text, CAMS).len();
                too_many(place, "variables", count, HEADER_VARIABLES_MAX)?;
                let mut header = json!({"type": "HEADER", "format": "TEXT"});
                self.text(&mut header, text, place, HEADER_MAX)?;
                Ok(header)
            }
            "LOCATION" => Ok(json!({"type": "HEADER", "format": "LOCATION"})),
            "IMAGE" | "VIDEO" | "DOCUMENT" => {
                let url = needed(told, "Url", place)?;
                let handle = self.request.handles.get(url);
                let handle = handle.ok_or_else(|| Unfit::Medium(shown(url)))?;
                Ok(json!({
                    "type": "HEADER", "format": format, "example": {"header_handle": [handle]},
                }))
            }
            _ => {
                Err(bad_value(place, "Format", &format, "TEXT, IMAGE, VIDEO, DOCUMENT or LOCATION"))
            }
        }
    }

    fn body(&self, told: &Map<String, Value>, place: &str, max: usize) -> Result<Value, Unfit> {
        let mut body = json!({"type": "BODY"});
        self.text(&mut body, needed(told, "Text", place)?, place, max)?;
        Ok(body)
    }

    /// The text of a header or a body, and its examples.
    fn text(&self, into: &mut Value, told: &str, place: &str, max: usize) -> Result<(), Unfit> {
        let text = text::rewritten(told, CAMS, GRAPH);
        let same = text::pieces(&text, GRAPH) == text::pieces(told, CAMS);
        if told.contains("{{") || !same {
            return Err(Unfit::Braces { place: place.to_owned() });
        }
        too_long(place, &text, max)?;
        put(into, "text", json!(text));
        let mut names = text::variables(told, CAMS);
        if names.is_empty() {
            return Ok(());
        }
        let is_header = into.get("type").is_some_and(|kind| kind == "HEADER");
        let example = match self.format {
            ParameterFormat::Positional => {
                // Numbers without leading zeros: the shorter is the smaller.
                names.sort_by_key(|name| (name.len(), *name));
                let texts = names.into_iter().map(|name| self.example(name));
                let texts = texts.collect::<Result<Vec<_>, _>>()?;
                if is_header {
                    json!({"header_text": texts})
                } else {
                    json!({"body_text": [texts]})
                }
            }
            ParameterFormat::Named => {
                let named = names
                    .into_iter()
                    .map(|name| Ok(json!({"param_name": name, "example": self.example(name)?})));
                let named = named.collect::<Result<Vec<_>, Unfit>>()?;
                if is_header {
                    json!({"header_text_named_params": named})
                } else {
                    json!({"body_text_named_params": named})
                }
            }
        };
        put(into, "example", example);
        Ok(())
    }

    fn example(&self, name: &str) -> Result<String, Unfit> {
        match self.request.example.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(Unfit::Example(shown(name))),
        }
    }

    fn carousel(&mut self, told: &Map<String, Value>, place: &str) -> Result<Value, Unfit> {
        let mut cards = Vec::new();
        for (card_at, card) in objects(told, "Cards").enumerate() {
            let place = format!("{place}.Cards[{card_at}]");
            let mut components = Vec::new();
            for part in objects(card, "CardComponents") {
                let kind = word(part, "Type").ok_or_else(|| missing(&place, "Type"))?;
                components.push(match kind.as_str() {
                    "HEADER" => self.header(part, &place)?,
                    "BODY" => self.body(part, &place, CARD_BODY_MAX)?,
                    "BUTTONS" => self.buttons(part, &place, Some(card_at))?,
                    _ => {
                        let allowed = "BODY, HEADER or BUTTONS on a card";
                        return Err(bad_value(&place, "Type", &kind, allowed));
                    }
                });
            }
            cards.push(json!({"components": components}));
        }
        if cards.is_empty() {
            return Err(missing(place, "Cards"));
        }
        too_many(place, "cards", cards.len(), CARDS_MAX)?;
        Ok(json!({"type": "CAROUSEL", "cards": cards}))
    }

    fn buttons(
        &mut self,
        told: &Map<String, Value>,
        place: &str,
        card: Option<usize>,
    ) -> Result<Value, Unfit> {
        let mut buttons = Vec::new();
        for (at, button) in objects(told, "Buttons").enumerate() {
            buttons.push(self.button(button, &format!("{place}.Buttons[{at}]"), card, at)?);
        }
        if buttons.is_empty() {
            return Err(missing(place, "Buttons"));
        }
        let max = if card.is_some() { CARD_BUTTONS_MAX } else { BUTTONS_MAX };
        too_many(place, "buttons", buttons.len(), max)?;
        let count = |kind: &str| {
            buttons.iter().filter(|it| it.get("type").is_some_and(|told| told == kind)).count()
        };
        let phones = count("PHONE_NUMBER");
        too_many(place, "buttons of type `PHONE_NUMBER`", phones, PHONE_BUTTONS_MAX)?;
        too_many(place, "buttons of type `URL`", count("URL"), URL_BUTTONS_MAX)?;
        Ok(json!({"type": "BUTTONS", "buttons": buttons}))
    }

    fn button(
        &mut self,
        told: &Map<String, Value>,
        place: &str,
        card: Option<usize>,
        at: usize,
    ) -> Result<Value, Unfit> {
        let kind = word(told, "Type").ok_or_else(|| missing(place, "Type"))?;
        if self.authentication {
            return code_button(told, place, &kind);
        }
        if kind == "COPY_CODE" {
            let code = needed(told, "CouponCode", place)?;
            let code = match text::pieces(code, CAMS).as_slice() {
                [Piece::Variable(name)] => {
                    self.remember(card, at, name);
                    self.example(name)?
                }
                _ => code.to_owned(),
            };
            return Ok(json!({"type": "COPY_CODE", "example": code}));
        }
        let text = needed(told, "Text", place)?;
        too_long(&format!("{place}.Text"), text, BUTTON_TEXT_MAX)?;
        let mut button = json!({"type": kind, "text": text});
        match kind.as_str() {
            "QUICK_REPLY" | "CATALOG" | "MPM" | "SPM" | "VOICE_CALL" => {}
            "PHONE_NUMBER" => {
                put(&mut button, "phone_number", json!(needed(told, "PhoneNumber", place)?));
            }
            "URL" => self.link(&mut button, told, place, (card, at))?,
            "FLOW" => {
                put(&mut button, "flow_id", json!(needed(told, "FlowId", place)?));
                if let Some(action) = string(told, "FlowAction") {
                    put(&mut button, "flow_action", json!(action.to_ascii_lowercase()));
                }
                if let Some(screen) = string(told, "NavigateScreen") {
                    put(&mut button, "navigate_screen", json!(screen));
                }
            }
            _ => {
                let allowed = "QUICK_REPLY, URL, PHONE_NUMBER, COPY_CODE, FLOW, CATALOG, MPM, SPM \
                               or VOICE_CALL";
                return Err(bad_value(place, "Type", &kind, allowed));
            }
        }
        Ok(button)
    }

    fn link(
        &mut self,
        button: &mut Value,
        told: &Map<String, Value>,
        place: &str,
        (card, at): (Option<usize>, usize),
    ) -> Result<(), Unfit> {
        let told_url = needed(told, "Url", place)?;
        let unfit = || Unfit::Link { place: place.to_owned(), url: shown(told_url) };
        if told_url.contains("{{") {
            return Err(Unfit::Braces { place: place.to_owned() });
        }
        let (url, name) = match text::pieces(told_url, CAMS).as_slice() {
            [Piece::Fixed(fixed)] => ((*fixed).to_owned(), None),
            // A brace before the variable would become part of it.
            [Piece::Fixed(fixed), Piece::Variable(name)] if !fixed.ends_with('{') => {
                (format!("{fixed}{}", text::variable("1", GRAPH)), Some(*name))
            }
            _ => return Err(unfit()),
        };
        let url_type = string(told, "UrlType").unwrap_or_default();
        let said = if name.is_some() { "dynamic" } else { "static" };
        if !url_type.is_empty() && !url_type.eq_ignore_ascii_case(said) {
            let allowed = "`dynamic` with a variable at the end of `Url`, `static` without";
            return Err(bad_value(place, "UrlType", url_type, allowed));
        }
        too_long(&format!("{place}.Url"), &url, URL_MAX)?;
        put(button, "url", json!(url));
        if let Some(name) = name {
            put(button, "example", json!([self.example(name)?]));
            self.remember(card, at, name);
        }
        Ok(())
    }

    fn remember(&mut self, card: Option<usize>, button: usize, name: &str) {
        self.button_variables.push(ButtonVariable { card, button, name: name.to_owned() });
    }
}

fn footer(told: &Map<String, Value>, place: &str) -> Result<Value, Unfit> {
    let text = needed(told, "Text", place)?;
    if text.contains("{{") {
        return Err(Unfit::Braces { place: place.to_owned() });
    }
    too_many(place, "variables", text::variables(text, CAMS).len(), 0)?;
    too_long(place, text, FOOTER_MAX)?;
    Ok(json!({"type": "FOOTER", "text": text}))
}

/// The footer of an authentication template: WhatsApp words it.
fn code_footer(told: &Map<String, Value>, place: &str) -> Result<Value, Unfit> {
    let minutes =
        integer(told, "CodeExpirationMinutes").filter(|it| (1..=CODE_MINUTES_MAX).contains(it));
    match (minutes, field(told, "CodeExpirationMinutes")) {
        (Some(minutes), _) => Ok(json!({"type": "FOOTER", "code_expiration_minutes": minutes})),
        (None, None) => Err(missing(place, "CodeExpirationMinutes")),
        (None, Some(other)) => {
            let other = other.to_string();
            Err(bad_value(place, "CodeExpirationMinutes", &other, "1 to 90 minutes"))
        }
    }
}

/// The button of an authentication template.
fn code_button(told: &Map<String, Value>, place: &str, kind: &str) -> Result<Value, Unfit> {
    if !matches!(kind, "COPY_CODE" | "ONE_TAP" | "ZERO_TAP") {
        let allowed = "COPY_CODE, ONE_TAP or ZERO_TAP in an authentication template";
        return Err(bad_value(place, "Type", kind, allowed));
    }
    let mut button = json!({"type": "OTP", "otp_type": kind});
    for (name, ours) in [("Text", "text"), ("AutofillText", "autofill_text")] {
        if let Some(text) = string(told, name) {
            too_long(&format!("{place}.{name}"), text, BUTTON_TEXT_MAX)?;
            put(&mut button, ours, json!(text));
        }
    }
    if kind == "COPY_CODE" {
        return Ok(button);
    }
    // Two fields of the button itself are the older form of a list of one.
    let listed = field(told, "SupportedApps").is_some();
    let told_apps: Vec<_> =
        if listed { objects(told, "SupportedApps").collect() } else { vec![told] };
    let apps = told_apps.into_iter().map(|app| {
        let package = needed(app, "PackageName", place)?;
        let hash = needed(app, "SignatureHash", place)?;
        Ok(json!({"package_name": package, "signature_hash": hash}))
    });
    let apps = apps.collect::<Result<Vec<_>, Unfit>>()?;
    put(&mut button, "supported_apps", json!(apps));
    if kind == "ZERO_TAP" {
        put(&mut button, "zero_tap_terms_accepted", json!(true));
    }
    Ok(button)
}
