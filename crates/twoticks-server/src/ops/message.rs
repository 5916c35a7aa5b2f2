//! What the two sending operations take in common: channel type, sender, template, recipients.
//!
//! Which code answers which mistake is a guess in places: the original's page of codes names them
//! without saying when they come (docs/compatibility.md). What always holds: an unknown number and
//! a number of another channel get the same answer, so that nothing is told of other tenants.

use std::sync::Arc;

use serde_json::{Map, Value};
use twoticks_core::event::ButtonKind;
use twoticks_core::ids::{PhoneNumber, Template, Text};
use twoticks_store::directory::BUTTONS_MAX;
use twoticks_store::directory::model::TemplateRecord;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::params::Params;
use twoticks_wire::webhook::sign::Sign;

use super::arguments::{bounded, integer_in, required, text};
use super::{Context, Parameter, optional};
use crate::sending::Recipient;

/// The longest text that a call hands on for all its recipients, in characters.
pub(super) const TEXT_CHARS_MAX: usize = 4_096;
/// How many digits a recipient's number has.
const TO_DIGITS: std::ops::RangeInclusive<usize> = 5..=20;
/// The longest name of a group or BSUID, in characters.
const TO_CHARS_MAX: usize = 140;
/// The longest own payload of a button, in characters.
const PAYLOAD_CHARS_MAX: usize = 1_024;
/// How many sections of products a message may have.
const SECTIONS_MAX: usize = 10;
/// How many products a message may have.
const PRODUCTS_MAX: usize = 30;
/// How long a fallback may wait, in seconds.
const FALL_BACK_SECONDS: (i64, i64) = (60, 43_200);
/// How long a Viber message may be tried, in seconds.
const TTL_SECONDS: (i64, i64) = (30, 1_209_600);

/// The texts that are handed on as they are, for all recipients of a call.
const HANDED_ON: &[&str] =
    &["TaskId", "Tag", "Label", "TrackingData", "FallBackId", "FallBackContent"];

pub(super) const CHANNEL_TYPE: &str =
    "The kind of channel. `whatsapp` is carried; the others of the original are refused.";
pub(super) const FROM: &str = "The business number that sends; a number of the channel.";
pub(super) const TEMPLATE_CODE: Parameter =
    optional("TemplateCode", "string", "The template; it or `TemplateName` is needed.");
pub(super) const TEMPLATE_NAME: Parameter =
    optional("TemplateName", "string", "The template by its name, together with `Language`.");
pub(super) const TASK_ID: Parameter =
    optional("TaskId", "string", "An id of the caller's own, handed on.");
pub(super) const TAG: Parameter = optional("Tag", "string", "For Viber; handed on.");
pub(super) const LABEL: Parameter = optional("Label", "string", "For Viber; handed on.");
pub(super) const TTL: Parameter =
    optional("Ttl", "integer", "For Viber: 30 to 1209600 seconds; handed on.");
pub(super) const FALL_BACK_ID: Parameter =
    optional("FallBackId", "string", "The fallback strategy; handed on.");
pub(super) const FALL_BACK_CONTENT: Parameter =
    optional("FallBackContent", "string", "The fallback's text; handed on.");
pub(super) const FALL_BACK_RULE: Parameter =
    optional("FallBackRule", "string", "`undelivered` (default) or `sentFailed`; handed on.");
pub(super) const FALL_BACK_DURATION: Parameter = optional(
    "FallBackDuration",
    "integer",
    "How long to wait for a receipt, 60 to 43200 seconds; handed on.",
);
pub(super) const CUST_WABA_ID: Parameter =
    optional("CustWabaId", "string", "Deprecated; ignored, `CustSpaceId` counts.");
pub(super) const IGNORED_ISV_CODE: Parameter =
    optional("IsvCode", "string", "Deprecated on the sends; ignored.");

/// Whether a value has the shape that its parameter asks for.
type Fits = fn(&Value) -> bool;

/// The structured parameters of a recipient.
const SHAPES: [(&str, Fits); 3] = [
    ("TemplateParams", is_map_of_texts),
    ("ProductAction", is_product_action),
    ("FlowAction", is_flow_action),
];

/// Only WhatsApp is carried.
pub(super) fn check_channel_type(params: &Params) -> Result<(), Refusal> {
    if required(params, "ChannelType")?.eq_ignore_ascii_case("whatsapp") {
        Ok(())
    } else {
        Err(Code::ChannelTypeNotSupport.into())
    }
}

/// The number that sends.
pub(super) fn sender(context: &Context<'_>) -> Result<PhoneNumber, Refusal> {
    let from = required(context.params, "From")?;
    if !is_number(from) {
        return Err(Code::FromOnlyNumeric.into());
    }
    let number = PhoneNumber::new(from).map_err(|_| Refusal::from(Code::FromOnlyNumeric))?;
    match context.app.directory.snapshot().number(&number) {
        Some(known) if known.channel == *context.channel() => Ok(number),
        _ => Err(Refusal::invalid("From")),
    }
}

/// The template, by code or by name. Without a language it has to have exactly one.
pub(super) fn template(context: &Context<'_>) -> Result<Arc<TemplateRecord>, Refusal> {
    let (params, directory) = (context.params, context.app.directory.snapshot());
    let language = known_text(params, "Language")?;
    let name = known_text(params, "TemplateName")?;
    let Some(code) = known_text(params, "TemplateCode")? else {
        let name = name.ok_or(Code::TemplateCodeNotEmpty)?;
        let named = |it: &&Arc<TemplateRecord>| it.name == name;
        let found: Vec<_> =
            directory.templates_of(context.channel()).filter(named).cloned().collect();
        return in_language(&found, language.as_ref(), "TemplateName");
    };
    let found = directory.template_languages(context.channel(), &code);
    let template = in_language(found, language.as_ref(), "TemplateCode")?;
    if name.is_some_and(|name| name != template.name) {
        return Err(Refusal::invalid("TemplateName"));
    }
    Ok(template)
}

fn in_language(
    found: &[Arc<TemplateRecord>],
    language: Option<&Text>,
    parameter: &str,
) -> Result<Arc<TemplateRecord>, Refusal> {
    match (found, language) {
        ([], _) => Err(Refusal::invalid(parameter)),
        ([only], None) => Ok(only.clone()),
        (_, None) => Err(Code::LanguageNotEmpty.into()),
        (several, Some(language)) => several
            .iter()
            .find(|template| template.language == *language)
            .cloned()
            .ok_or_else(|| Code::LanguageNotSupport.into()),
    }
}

fn known_text(params: &Params, name: &str) -> Result<Option<Text>, Refusal> {
    text(params, name).map(Text::new).transpose().map_err(|_| Refusal::invalid(name))
}

/// What the call says of all its recipients.
pub(super) fn handed_on(params: &Params) -> Result<Map<String, Value>, Refusal> {
    let mut call = Map::new();
    for name in HANDED_ON {
        if let Some(text) = bounded(params, name, TEXT_CHARS_MAX)? {
            call.insert((*name).to_owned(), text.into());
        }
    }
    match text(params, "FallBackRule") {
        None => {}
        Some(rule @ ("undelivered" | "sentFailed")) => {
            call.insert("FallBackRule".to_owned(), rule.into());
        }
        Some(_) => return Err(Refusal::invalid("FallBackRule")),
    }
    for (name, (least, most)) in [("FallBackDuration", FALL_BACK_SECONDS), ("Ttl", TTL_SECONDS)] {
        if let Some(seconds) = integer_in(params, name, least, most)? {
            call.insert(name.to_owned(), seconds.into());
        }
    }
    Ok(call)
}

/// The sign of a template; none if its code and language are too long for one.
pub(super) fn sign(template: &Template) -> Option<Sign> {
    let sign = Sign {
        code: template.code.as_str().to_owned(),
        language: template.language.as_str().to_owned(),
        campaign: None,
    };
    sign.encode().is_ok().then_some(sign)
}

/// Reads a recipient: `To`, `RecipientType`, `TemplateParams`, `Payload`, `ProductAction`,
/// `FlowAction`. The payload of each quick reply of the template gets its sign, so that a tap
/// without `context` still names its template (counting rule 5).
///
/// # Errors
/// `MissingTo`, `InvalidParameter.ToOnlyNumeric`, `Invalid` + the name of what is wrong.
pub(super) fn recipient(
    given: &Map<String, Value>,
    template: Option<&TemplateRecord>,
) -> Result<Recipient, Refusal> {
    let mut parameters = Map::new();
    let to = match given.get("To") {
        Some(Value::String(to)) if !to.is_empty() => to.clone(),
        // A caller's list may hold numbers where the documentation has texts.
        Some(Value::Number(to)) => to.to_string(),
        None | Some(Value::Null | Value::String(_)) => return Err(Refusal::missing("To")),
        Some(_) => return Err(Refusal::invalid("To")),
    };
    match given.get("RecipientType") {
        None | Some(Value::Null) => check_to(&to, "")?,
        Some(Value::String(kind)) => {
            check_to(&to, kind)?;
            if !kind.is_empty() {
                parameters.insert("RecipientType".to_owned(), kind.as_str().into());
            }
        }
        Some(_) => return Err(Refusal::invalid("RecipientType")),
    }
    for (name, fits) in SHAPES {
        match given.get(name) {
            None | Some(Value::Null) => {}
            Some(value) if fits(value) => {
                parameters.insert(name.to_owned(), value.clone());
            }
            Some(_) => return Err(Refusal::invalid(name)),
        }
    }
    let payloads = payloads(given.get("Payload"), template)?;
    if !payloads.is_empty() {
        parameters.insert("Payload".to_owned(), payloads.into());
    }
    Ok(Recipient { to, parameters })
}

/// Digits, perhaps behind a `+`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Two letters for the country, a dot, and letters, digits and dots.
fn is_bsuid(text: &str) -> bool {
    text.len() <= TO_CHARS_MAX
        && text.split_once('.').is_some_and(|(country, rest)| {
            country.len() == 2
                && country.bytes().all(|byte| byte.is_ascii_uppercase())
                && !rest.is_empty()
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        })
}

fn check_to(to: &str, kind: &str) -> Result<(), Refusal> {
    let digits = to.strip_prefix('+').unwrap_or(to).len();
    let number = is_number(to) && TO_DIGITS.contains(&digits);
    match kind {
        "" if number || is_bsuid(to) => Ok(()),
        "individual" if number => Ok(()),
        "" | "individual" => Err(Code::ToOnlyNumeric.into()),
        "userId" if is_bsuid(to) => Ok(()),
        "group" if to.len() <= TO_CHARS_MAX && to.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(())
        }
        "userId" | "group" => Err(Refusal::invalid("To")),
        _ => Err(Refusal::invalid("RecipientType")),
    }
}

/// Nested empty values are values: `{"name":""}` is handed on.
fn is_map_of_texts(value: &Value) -> bool {
    let is_text = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    value.as_object().is_some_and(|members| members.values().all(is_text))
}

fn is_product_action(value: &Value) -> bool {
    let Some(action) = value.as_object() else { return false };
    let is_text = |value: Option<&Value>| value.is_none_or(Value::is_string);
    let Some(sections) = action.get("Sections") else {
        return is_text(action.get("ThumbnailProductRetailerId"));
    };
    let Some(sections) = sections.as_array() else { return false };
    let products: Option<usize> = sections
        .iter()
        .map(|section| match section.as_object()?.get("ProductItems") {
            None => Some(0),
            Some(items) => items.as_array().map(Vec::len),
        })
        .sum();
    is_text(action.get("ThumbnailProductRetailerId"))
        && sections.len() <= SECTIONS_MAX
        && products.is_some_and(|products| products <= PRODUCTS_MAX)
}

fn is_flow_action(value: &Value) -> bool {
    value.as_object().is_some_and(|action| {
        action.get("FlowToken").is_none_or(Value::is_string)
            && action.get("FlowActionData").is_none_or(Value::is_object)
    })
}

/// The payloads of the template's quick replies, signed; of a free-form message, as given.
fn payloads(
    given: Option<&Value>,
    template: Option<&TemplateRecord>,
) -> Result<Vec<Value>, Refusal> {
    let invalid = || Refusal::invalid("Payload");
    let own = match given {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(given)) => {
            let own: Option<Vec<&str>> = given.iter().map(Value::as_str).collect();
            own.ok_or_else(invalid)?
        }
        Some(_) => return Err(invalid()),
    };
    let too_long = |payload: &&str| payload.chars().nth(PAYLOAD_CHARS_MAX).is_some();
    if own.len() > BUTTONS_MAX || own.iter().any(too_long) {
        return Err(invalid());
    }
    let as_given = || own.iter().map(|payload| Value::from(*payload)).collect();
    let Some(template) = template else { return Ok(as_given()) };
    let Some(sign) = sign(&template.identity()) else { return Ok(as_given()) };
    let is_quick_reply = |kind: ButtonKind| kind == ButtonKind::QuickReply;
    let quick_replies = template.buttons.iter().filter(|it| is_quick_reply(it.kind)).count();
    (0..quick_replies.max(own.len()))
        .map(|index| {
            let own = own.get(index).copied();
            sign.encode_payload(own).map(Value::from).map_err(|_| invalid())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use twoticks_core::event::{Button, Category};
    use twoticks_core::ids::ChannelId;

    use super::*;

    fn read(given: &Value) -> Result<Recipient, Refusal> {
        recipient(given.as_object().unwrap(), None)
    }

    fn template(quick_replies: usize) -> TemplateRecord {
        let text = |text: &str| Text::new(text).unwrap();
        let button = Button { kind: ButtonKind::QuickReply, text: text("Yes") };
        TemplateRecord {
            channel: ChannelId::new("cams-1").unwrap(),
            code: text("1100"),
            language: text("en"),
            name: text("hello"),
            meta_id: None,
            category: Category::Marketing,
            buttons: vec![button; quick_replies],
            graph: None,
            links: Vec::new(),
        }
    }

    #[test]
    fn a_recipient_is_a_number_a_bsuid_or_a_group() {
        for (to, kind, code) in [
            ("8613900005678", "", None),
            ("+8613900005678", "", None),
            ("12345", "individual", None),
            ("1234", "", Some("InvalidParameter.ToOnlyNumeric")),
            ("12345678901234567890", "", None),
            ("123456789012345678901", "", Some("InvalidParameter.ToOnlyNumeric")),
            ("+", "", Some("InvalidParameter.ToOnlyNumeric")),
            ("86 139", "", Some("InvalidParameter.ToOnlyNumeric")),
            ("ID.abc123", "", None),
            ("ID.ENT.abc123", "userId", None),
            ("ID.abc123", "individual", Some("InvalidParameter.ToOnlyNumeric")),
            ("8613900005678", "userId", Some("InvalidTo")),
            ("Y2FwaV9ncm91cDo", "group", None),
            ("a group", "group", Some("InvalidTo")),
            ("8613900005678", "everybody", Some("InvalidRecipientType")),
            ("", "", Some("MissingTo")),
        ] {
            let refused = read(&json!({"To": to, "RecipientType": kind})).err();
            let name = refused.as_ref().map(Refusal::name);
            assert_eq!(name, code, "{to} {kind}");
        }
        assert_eq!(read(&json!({"To": 8_613_900_005_678_i64})).unwrap().to, "8613900005678");
        assert_eq!(read(&json!({})).unwrap_err().name(), "MissingTo");
    }

    #[test]
    fn structured_parameters_have_their_shape() {
        let products = |sections: usize, products: usize| {
            let items = vec![json!({"ProductRetailerId": "1"}); products];
            json!({"Sections": vec![json!({"Title": "t", "ProductItems": items}); sections]})
        };
        for (name, value, fits) in [
            ("TemplateParams", json!({"name": ""}), true),
            ("TemplateParams", json!({"name": 1}), true),
            ("TemplateParams", json!(["name"]), false),
            ("TemplateParams", json!({"name": {}}), false),
            ("Payload", json!(["a"]), true),
            ("Payload", json!(vec!["a"; BUTTONS_MAX]), true),
            ("Payload", json!(vec!["a"; BUTTONS_MAX + 1]), false),
            ("Payload", json!(["a".repeat(PAYLOAD_CHARS_MAX)]), true),
            ("Payload", json!(["a".repeat(PAYLOAD_CHARS_MAX + 1)]), false),
            ("Payload", json!([1]), false),
            ("Payload", json!("a"), false),
            ("ProductAction", products(SECTIONS_MAX, 3), true),
            ("ProductAction", products(SECTIONS_MAX + 1, 1), false),
            ("ProductAction", products(1, PRODUCTS_MAX), true),
            ("ProductAction", products(1, PRODUCTS_MAX + 1), false),
            ("ProductAction", json!("x"), false),
            ("FlowAction", json!({"FlowToken": "t", "FlowActionData": {"a": 1}}), true),
            ("FlowAction", json!({"FlowActionData": "x"}), false),
        ] {
            let refused = read(&json!({"To": "8613900005678", name: value})).err();
            assert_eq!(refused.is_none(), fits, "{name}");
            if let Some(refusal) = refused {
                assert_eq!(refusal.name(), format!("Invalid{name}"));
            }
        }
    }

    #[test]
    fn every_quick_reply_carries_the_sign_and_the_callers_own_payload() {
        let given = json!({"To": "8613900005678", "Payload": ["mine"]});
        let signed = recipient(given.as_object().unwrap(), Some(&template(2))).unwrap();
        assert_eq!(signed.parameters["Payload"], json!(["tt1:1100:en|mine", "tt1:1100:en"]));
        let plain = read(&given).unwrap();
        assert_eq!(plain.parameters["Payload"], json!(["mine"]));
    }

    #[test]
    fn a_template_is_told_by_its_language_unless_it_has_only_one() {
        let one = [Arc::new(template(0))];
        let two = [
            Arc::new(template(0)),
            Arc::new(TemplateRecord { language: Text::new("de").unwrap(), ..template(0) }),
        ];
        let de = Text::new("de").unwrap();
        let code = |found: &[Arc<TemplateRecord>], language: Option<&Text>| {
            in_language(found, language, "TemplateCode").err().map(|it| it.name().to_owned())
        };
        assert_eq!(code(&[], None).unwrap(), "InvalidTemplateCode");
        assert_eq!(code(&one, None), None);
        assert_eq!(code(&two, None).unwrap(), "InvalidParameter.LanguageNotEmpty");
        assert_eq!(code(&two, Some(&de)), None);
        assert_eq!(code(&one, Some(&de)).unwrap(), "InvalidParameter.LanguageNotSupport");
    }
}
