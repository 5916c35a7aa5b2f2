//! From the Graph API's components to CAMS's.

use serde_json::{Map, Value, json};

use super::text::{self, CAMS, GRAPH, Piece};
use super::{CODE_LINK, button_variable, field, flag, integer, objects, put, string, word};

/// A template in CAMS's words.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cams {
    /// `Components`.
    pub components: Vec<Value>,
    /// `Example`: a text for each variable of which one is known.
    pub example: Map<String, Value>,
}

/// Puts the components of a template as CAMS does.
///
/// Components and buttons of unknown types keep their type and their text; what is no object is
/// left out. A number that stands for a variable of header and of body has the body's example.
#[must_use]
pub fn to_cams(components: &[Value]) -> Cams {
    let mut cams = Cams::default();
    for component in components.iter().filter_map(Value::as_object) {
        let component = cams.component(component);
        cams.components.push(component);
    }
    cams
}

impl Cams {
    fn component(&mut self, told: &Map<String, Value>) -> Value {
        let kind = word(told, "type").unwrap_or_default();
        let mut component = json!({"Type": kind});
        match kind.as_str() {
            "HEADER" => {
                let format = word(told, "format").unwrap_or_else(|| "TEXT".to_owned());
                if let Some(handle) = example(told, "header_handle").and_then(first_text) {
                    put(&mut component, "Url", json!(handle));
                }
                put(&mut component, "Format", json!(format));
                self.text(told, &mut component);
            }
            "BODY" => {
                self.text(told, &mut component);
                if let Some(advice) = flag(told, "add_security_recommendation") {
                    put(&mut component, "AddSecretRecommendation", json!(advice));
                }
            }
            "FOOTER" => {
                self.text(told, &mut component);
                if let Some(minutes) = integer(told, "code_expiration_minutes") {
                    put(&mut component, "CodeExpirationMinutes", json!(minutes));
                }
            }
            "BUTTONS" => put(&mut component, "Buttons", self.buttons(told, None)),
            "CAROUSEL" => {
                let cards = objects(told, "cards").enumerate();
                put(&mut component, "Cards", cards.map(|(at, card)| self.card(card, at)).collect());
            }
            "LIMITED_TIME_OFFER" => {
                let offer = field(told, "limited_time_offer").and_then(Value::as_object);
                if let Some(text) = offer.and_then(|offer| string(offer, "text")) {
                    put(&mut component, "Text", json!(text));
                }
                let expires = offer.and_then(|offer| flag(offer, "has_expiration"));
                put(&mut component, "HasExpiration", json!(expires.unwrap_or(false)));
            }
            _ => self.text(told, &mut component),
        }
        component
    }

    fn card(&mut self, card: &Map<String, Value>, at: usize) -> Value {
        let parts = objects(card, "components").map(|part| {
            if word(part, "type").as_deref() == Some("BUTTONS") {
                json!({"Type": "BUTTONS", "Buttons": self.buttons(part, Some(at))})
            } else {
                self.component(part)
            }
        });
        json!({"CardComponents": parts.collect::<Vec<_>>()})
    }

    /// The text of a component, and the examples for its variables.
    fn text(&mut self, told: &Map<String, Value>, component: &mut Value) {
        let Some(text) = string(told, "text") else { return };
        put(component, "Text", json!(text::rewritten(text, GRAPH, CAMS)));
        for list in ["header_text", "body_text"] {
            let Some(texts) = example(told, list).and_then(Value::as_array) else { continue };
            // That of a body is a list of lists.
            let texts = texts.first().and_then(Value::as_array).unwrap_or(texts);
            for (at, text) in texts.iter().enumerate().filter(|(_, text)| text.is_string()) {
                self.example.insert((at + 1).to_string(), text.clone());
            }
        }
        for list in ["header_text_named_params", "body_text_named_params"] {
            let named = example(told, list).and_then(Value::as_array).into_iter().flatten();
            for named in named.filter_map(Value::as_object) {
                if let (Some(name), Some(text)) =
                    (string(named, "param_name"), string(named, "example"))
                {
                    self.example.insert(name.to_owned(), json!(text));
                }
            }
        }
    }

    fn buttons(&mut self, told: &Map<String, Value>, card: Option<usize>) -> Value {
        let buttons = objects(told, "buttons").enumerate();
        buttons.map(|(at, button)| self.button(button, card, at)).collect()
    }

    fn button(&mut self, told: &Map<String, Value>, card: Option<usize>, at: usize) -> Value {
        let mut kind = word(told, "type").unwrap_or_default();
        let url = string(told, "url");
        if kind == "OTP" {
            kind = word(told, "otp_type").unwrap_or(kind);
        } else if let Some(otp_type) = url.and_then(otp_type) {
            // What was created as a button for a code is read back as a link.
            kind = otp_type;
        } else if kind == "URL" {
            return self.link(told, &button_variable(card, at));
        }
        let mut button = json!({"Type": kind});
        let coupon = (word(told, "type").as_deref() == Some("COPY_CODE"))
            .then(|| field(told, "example").and_then(first_text));
        if let Some(code) = coupon {
            let name = button_variable(card, at);
            put(&mut button, "CouponCode", json!(text::variable(&name, CAMS)));
            if let Some(code) = code {
                self.example.insert(name, json!(code));
            }
        }
        for (ours, name) in [
            ("text", "Text"),
            ("phone_number", "PhoneNumber"),
            ("autofill_text", "AutofillText"),
            ("navigate_screen", "NavigateScreen"),
        ] {
            if let Some(text) = string(told, ours) {
                put(&mut button, name, json!(text));
            }
        }
        if let Some(action) = word(told, "flow_action") {
            put(&mut button, "FlowAction", json!(action));
        }
        match field(told, "flow_id") {
            Some(Value::String(id)) => put(&mut button, "FlowId", json!(id)),
            Some(Value::Number(id)) => put(&mut button, "FlowId", json!(id.to_string())),
            _ => {}
        }
        let apps: Vec<_> = objects(told, "supported_apps").map(app).collect();
        if !apps.is_empty() {
            put(&mut button, "SupportedApps", json!(apps));
        } else if string(told, "package_name").is_some() {
            put(&mut button, "SupportedApps", json!([app(told)]));
        }
        button
    }

    fn link(&mut self, told: &Map<String, Value>, name: &str) -> Value {
        let mut button = json!({"Type": "URL"});
        if let Some(text) = string(told, "text") {
            put(&mut button, "Text", json!(text));
        }
        let Some(url) = string(told, "url") else { return button };
        let mut pieces = text::pieces(url, GRAPH);
        let variable = pieces.pop_if(|last| matches!(last, Piece::Variable(_)));
        put(&mut button, "UrlType", json!(if variable.is_some() { "dynamic" } else { "static" }));
        let Some(Piece::Variable(own)) = variable else {
            put(&mut button, "Url", json!(url));
            return button;
        };
        let fixed = url.trim_end().strip_suffix("}}").unwrap_or(url);
        let fixed = fixed.trim_end().strip_suffix(own).unwrap_or(fixed);
        let fixed = fixed.trim_end().strip_suffix("{{").unwrap_or(fixed);
        put(&mut button, "Url", json!(format!("{fixed}{}", text::variable(name, CAMS))));
        if let Some(text) = field(told, "example").and_then(first_text) {
            // Some give the whole link, some its end.
            let end = text.strip_prefix(fixed).filter(|end| !end.is_empty());
            self.example.insert(name.to_owned(), json!(end.unwrap_or(text)));
        }
        button
    }
}

fn app(told: &Map<String, Value>) -> Value {
    json!({
        "PackageName": string(told, "package_name").unwrap_or_default(),
        "SignatureHash": string(told, "signature_hash").unwrap_or_default(),
    })
}

/// The `otp_type` of a link that hands over a code.
fn otp_type(url: &str) -> Option<String> {
    let query = url.strip_prefix(CODE_LINK)?.strip_prefix('?')?;
    let told = query.split('&').find_map(|pair| pair.strip_prefix("otp_type="))?;
    (!told.is_empty()).then(|| told.to_ascii_uppercase())
}

/// One list of a component's `example`.
fn example<'v>(told: &'v Map<String, Value>, list: &str) -> Option<&'v Value> {
    field(told, "example")?.as_object().and_then(|example| field(example, list))
}

/// A text, or the first of a list of texts.
fn first_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.as_array()?.first()?.as_str()).filter(|text| !text.is_empty())
}
