//! What a template consists of: composed where nobody said, checked where somebody does, and
//! counted where a message fills it.

use serde_json::{Value, json};
use twoticks_core::event::{Button, ButtonKind, Category};
use twoticks_core::ids::Text;
use twoticks_store::directory::model::TemplateRecord;
use twoticks_store::directory::{BUTTONS_MAX, COMPONENTS_BYTES_MAX};

use super::refusal::Refusal;

/// The longest text of a body, and of a button, in characters (Meta).
const BODY_CHARS_MAX: usize = 1_024;
const BUTTON_CHARS_MAX: usize = 25;
/// What components can be.
const TYPES: [&str; 6] = ["HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER"];

/// The components of a template: as they were given, else composed from its name and buttons.
pub(super) fn of(template: &TemplateRecord) -> Value {
    let given = template.graph.as_ref().and_then(|it| serde_json::from_str(&it.components).ok());
    given.unwrap_or_else(|| composed(template))
}

fn composed(template: &TemplateRecord) -> Value {
    let mut components = vec![json!({"type": "BODY", "text": template.name})];
    let buttons = template.buttons.iter().filter_map(|button| {
        let text = &button.text;
        Some(match button.kind {
            ButtonKind::QuickReply => json!({"type": "QUICK_REPLY", "text": text}),
            ButtonKind::Url => json!({"type": "URL", "text": text, "url": "https://example.com/"}),
            ButtonKind::PhoneNumber => {
                json!({"type": "PHONE_NUMBER", "text": text, "phone_number": "+15550100011"})
            }
            ButtonKind::Interactive | ButtonKind::UrlMachine => return None,
        })
    });
    let buttons: Vec<Value> = buttons.collect();
    if !buttons.is_empty() {
        components.push(json!({"type": "BUTTONS", "buttons": buttons}));
    }
    components.into()
}

/// The components of one type.
pub(super) fn one<'a>(components: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut all = components.as_array().into_iter().flatten();
    all.find(|it| word(it, "type").is_some_and(|word| word.eq_ignore_ascii_case(kind)))
}

/// The buttons in their order.
pub(super) fn buttons(components: &Value) -> &[Value] {
    let buttons = one(components, "BUTTONS").and_then(|it| it.get("buttons"));
    buttons.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn word<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

/// The variables of a text, `{{…}}`, each once and in their order.
pub(super) fn variables(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for part in text.split("{{").skip(1) {
        if let Some((name, _)) = part.split_once("}}")
            && !found.iter().any(|known| known == name.trim())
        {
            found.push(name.trim().to_owned());
        }
    }
    found
}

/// The buttons as the directory keeps them: those that WhatsApp counts the clicks of.
pub(super) fn counted(components: &Value) -> Vec<Button> {
    let counted = buttons(components).iter().filter_map(|button| {
        let kind = match word(button, "type")?.to_uppercase().as_str() {
            "QUICK_REPLY" => ButtonKind::QuickReply,
            "URL" => ButtonKind::Url,
            "PHONE_NUMBER" => ButtonKind::PhoneNumber,
            _ => return None,
        };
        Some(Button { kind, text: Text::lossy(word(button, "text")?) })
    });
    counted.collect()
}

/// Checks components that are handed in, as far as a review of Meta's would at once.
///
/// # Errors
/// What will not do.
pub(super) fn check(
    components: &Value,
    category: Category,
    is_handle: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    let bad = |details: String| Err(Refusal::parameter(details));
    let Some(all) = components.as_array() else {
        return bad("Param components must be an array.".to_owned());
    };
    if components.to_string().len() > COMPONENTS_BYTES_MAX {
        return bad(format!("Param components has more than {COMPONENTS_BYTES_MAX} bytes."));
    }
    for (index, component) in all.iter().enumerate() {
        let kind = word(component, "type").map(str::to_uppercase);
        if kind.is_none_or(|kind| !TYPES.contains(&kind.as_str())) {
            let types = TYPES.join(", ");
            return bad(format!("Param components[{index}]['type'] must be one of {{{types}}}."));
        }
    }
    if let Some(kind) = all.iter().find_map(|it| without_medium(it, &is_handle)) {
        return bad(format!(
            "components of type HEADER and format {kind} must have an example with the \
             header_handle of an upload."
        ));
    }
    let bodies = all.iter().filter(|it| word(it, "type").is_some_and(is_body)).count();
    if bodies != 1 {
        return bad(format!("Param components must have one component of type BODY, not {bodies}"));
    }
    let text = one(components, "BODY").and_then(|body| word(body, "text")).unwrap_or_default();
    // Meta writes the text of a code itself.
    if text.trim().is_empty() && category != Category::Authentication {
        return bad("components of type BODY must have the field text.".to_owned());
    }
    if text.chars().count() > BODY_CHARS_MAX {
        return bad(format!("The text of the BODY has more than {BODY_CHARS_MAX} characters."));
    }
    let buttons = buttons(components);
    if buttons.len() > BUTTONS_MAX {
        return bad(format!("At most {BUTTONS_MAX} buttons."));
    }
    for (index, button) in buttons.iter().enumerate() {
        let text = word(button, "text").unwrap_or_default();
        let needs_text = ["QUICK_REPLY", "URL", "PHONE_NUMBER"];
        let kind = word(button, "type").unwrap_or_default().to_uppercase();
        let is_textless = text.is_empty() && needs_text.contains(&kind.as_str());
        if kind.is_empty() || is_textless || text.chars().count() > BUTTON_CHARS_MAX {
            return bad(format!(
                "Button {index} needs a type and a text of 1 to {BUTTON_CHARS_MAX} characters."
            ));
        }
    }
    Ok(())
}

/// The format of a header that needs a medium and has none.
fn without_medium(component: &Value, is_handle: impl Fn(&str) -> bool) -> Option<String> {
    let kind = word(component, "type").filter(|kind| kind.eq_ignore_ascii_case("HEADER"));
    let format = kind.and(word(component, "format"))?.to_uppercase();
    let handle = component.pointer("/example/header_handle/0").and_then(Value::as_str);
    let needs = ["IMAGE", "VIDEO", "DOCUMENT"].contains(&format.as_str());
    (needs && !handle.is_some_and(is_handle)).then_some(format)
}

fn is_body(word: &str) -> bool {
    word.eq_ignore_ascii_case("BODY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_once_each() {
        assert_eq!(variables("Hi {{1}}, {{2}} and {{ 1 }}"), ["1", "2"]);
        assert_eq!(variables("Hi {{first_name}}"), ["first_name"]);
        assert!(variables("Hi {{ {1} }").is_empty());
    }

    #[test]
    fn components_are_refused_at_their_limits() {
        let body = |text: &str| json!([{"type": "BODY", "text": text}]);
        let with = |count: usize, text: &str| {
            let button = json!({"type": "QUICK_REPLY", "text": text});
            json!([{"type": "body", "text": "x"}, {"type": "buttons", "buttons": vec![button; count]}])
        };
        let headed = |example: Value| {
            json!([
                {"type": "HEADER", "format": "image", "example": example},
                {"type": "BODY", "text": "x"},
            ])
        };
        let is_handle = |handle: &str| handle == "4::good";
        for (components, is_good) in [
            (body("x"), true),
            (body(&"x".repeat(BODY_CHARS_MAX)), true),
            (body(&"x".repeat(BODY_CHARS_MAX + 1)), false),
            (body(" "), false),
            (json!([]), false),
            (json!("x"), false),
            (json!([{"type": "TAIL"}]), false),
            (json!([{"type": "BODY", "text": "x"}, {"type": "BODY", "text": "x"}]), false),
            (with(BUTTONS_MAX, "x"), true),
            (with(BUTTONS_MAX + 1, "x"), false),
            (with(1, &"x".repeat(BUTTON_CHARS_MAX)), true),
            (with(1, &"x".repeat(BUTTON_CHARS_MAX + 1)), false),
            (with(1, ""), false),
            (headed(json!({"header_handle": ["4::good"]})), true),
            (headed(json!({"header_handle": ["4::bad"]})), false),
            (headed(json!({"header_handle": []})), false),
            (headed(Value::Null), false),
        ] {
            assert_eq!(
                check(&components, Category::Marketing, is_handle).is_ok(),
                is_good,
                "{components}"
            );
        }
        assert!(check(&json!([{"type": "BODY"}]), Category::Authentication, is_handle).is_ok());
    }
}
