//! What a template says, as far as a message and a click need it: its variables and its buttons.
//!
//! Read from the components that the Graph API gives. Lists are open: a component or a button of a
//! kind that is not known is no error.

use serde_json::Value;

/// How many variables one text may have; what is beyond is not looked for.
const VARIABLES_MAX: usize = 100;

/// What a message of the template has to fill in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Whether its variables have names instead of numbers.
    pub named: bool,
    /// What its header takes, if it has one.
    pub header: Option<Header>,
    /// The variables of its body, each once, in the order that values are given in: numbers by
    /// their size, names by where they stand first.
    pub body: Vec<String>,
    /// Its buttons, in their order.
    pub buttons: Vec<Button>,
}

/// What a header takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// A text, with one variable at most.
    Text(Option<String>),
    /// A picture, a video or a document: the format, such as `IMAGE`.
    Media(String),
    /// A place.
    Location,
}

/// A button of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    /// Its place among the buttons, from 0.
    pub index: usize,
    /// Its kind as the Graph API spells it, such as `URL`.
    pub kind: String,
    /// Its text.
    pub text: String,
    /// The address that it opens, with its variable as it stands there.
    pub url: Option<String>,
    /// The variable that its address ends in.
    pub variable: Option<String>,
}

/// The components are no JSON array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its components are no list: {0}")]
pub struct NoComponents(String);

impl Definition {
    /// Reads `components`, the JSON of a list as the Graph API gives it.
    ///
    /// # Errors
    /// [`NoComponents`].
    pub fn parse(components: &str, named: bool) -> Result<Self, NoComponents> {
        let parsed: Vec<Value> =
            serde_json::from_str(components).map_err(|why| NoComponents(why.to_string()))?;
        let mut definition = Self { named, ..Self::default() };
        for component in &parsed {
            let text = text(component, "text").unwrap_or_default();
            match kind(component, "type").as_str() {
                "HEADER" => definition.header = header(component, text, named),
                "BODY" => {
                    definition.body = variables(text, named);
                    // An authentication template has no text of its own, and takes its code.
                    let is_code = text.is_empty() && has(component, "add_security_recommendation");
                    if is_code {
                        definition.body = vec!["1".to_owned()];
                    }
                }
                "BUTTONS" => {
                    let buttons = component.get("buttons").and_then(Value::as_array);
                    let buttons = buttons.into_iter().flatten().enumerate();
                    definition.buttons =
                        buttons.map(|(index, button)| self::button(index, button, named)).collect();
                }
                _ => {}
            }
        }
        let has_code = definition.buttons.iter().any(|button| button.kind == "OTP");
        if has_code && definition.body.is_empty() {
            definition.body = vec!["1".to_owned()];
        }
        Ok(definition)
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn kind(value: &Value, name: &str) -> String {
    text(value, name).unwrap_or_default().to_ascii_uppercase()
}

fn has(value: &Value, name: &str) -> bool {
    value.get(name).is_some()
}

fn header(component: &Value, text: &str, named: bool) -> Option<Header> {
    match kind(component, "format").as_str() {
        "TEXT" => Some(Header::Text(variables(text, named).into_iter().next())),
        "LOCATION" => Some(Header::Location),
        format @ ("IMAGE" | "VIDEO" | "DOCUMENT" | "GIF") => Some(Header::Media(format.to_owned())),
        _ => None,
    }
}

fn button(index: usize, value: &Value, named: bool) -> Button {
    let url = text(value, "url").map(str::to_owned);
    let variable = url.as_deref().and_then(|url| variables(url, named).into_iter().next_back());
    Button {
        index,
        kind: kind(value, "type"),
        text: text(value, "text").unwrap_or_default().to_owned(),
        url,
        variable,
    }
}

/// The variables of a text, `{{1}}` or `{{name}}`.
fn variables(text: &str, named: bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for part in text.split("{{").skip(1) {
        let Some((name, _)) = part.split_once("}}") else { continue };
        let name = name.trim();
        if name.is_empty() || found.len() >= VARIABLES_MAX || found.iter().any(|it| it == name) {
            continue;
        }
        found.push(name.to_owned());
    }
    if !named {
        found.sort_by_key(|name| name.parse::<u32>().unwrap_or(u32::MAX));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn variables_stand_in_the_order_in_which_values_are_given() {
        let names = |text: &str, named: bool| variables(text, named).join(",");
        assert_eq!(names("{{2}} and {{1}}, {{2}} again", false), "1,2");
        assert_eq!(names("{{10}} {{9}}", false), "9,10");
        assert_eq!(names("{{last}} {{ first }}", true), "last,first");
        assert_eq!(names("{{}} {{open {1} }}", true), "open {1}");
        assert_eq!(names("nothing", false), "");
    }

    #[test]
    fn a_definition_has_what_a_message_fills_in() {
        let components = json!([
            {"type": "HEADER", "format": "TEXT", "text": "For {{1}}"},
            {"type": "BODY", "text": "Dear {{1}}, on {{2}}"},
            {"type": "FOOTER", "text": "bye"},
            {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "soon"}},
            {"type": "BUTTONS", "buttons": [
                {"type": "QUICK_REPLY", "text": "Yes"},
                {"type": "URL", "text": "Shop", "url": "https://shop.example/{{1}}"},
                {"type": "URL", "text": "Fixed", "url": "https://shop.example/"},
                {"type": "SOMETHING_NEW", "text": "?"},
            ]},
        ]);
        let definition = Definition::parse(&components.to_string(), false).unwrap();
        assert_eq!(definition.header, Some(Header::Text(Some("1".to_owned()))));
        assert_eq!(definition.body, ["1", "2"]);
        let kinds: Vec<&str> = definition.buttons.iter().map(|it| it.kind.as_str()).collect();
        assert_eq!(kinds, ["QUICK_REPLY", "URL", "URL", "SOMETHING_NEW"]);
        let variables: Vec<Option<&str>> =
            definition.buttons.iter().map(|it| it.variable.as_deref()).collect();
        assert_eq!(variables, [None, Some("1"), None, None]);

        let code = json!([
            {"type": "BODY", "add_security_recommendation": true},
            {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]},
        ]);
        assert_eq!(Definition::parse(&code.to_string(), false).unwrap().body, ["1"]);
        assert!(Definition::parse("{}", false).is_err());
        assert!(Definition::parse("[1, null, {\"type\": 3}]", false).is_ok());
    }
}
