//! Messages: checked as the Cloud API does, and handed to the emulated WhatsApp.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use twoticks_core::event::Category;
use twoticks_core::ids::Text;
use twoticks_server::carrier::{self, Outgoing};
use twoticks_store::directory::model::{Number, TemplateRecord};

use super::given::Given;
use super::refusal::Refusal;
use super::{Asked, Here, components};
use crate::dice::{Dice, seed_of, seed_of_name};
use crate::meta::{Recipient, user_id};
use crate::wamid::wamid;

/// The longest `biz_opaque_callback_data`, in characters (Meta).
const CALLBACK_DATA_CHARS_MAX: usize = 512;
/// How many digits a recipient has.
const TO_DIGITS: std::ops::RangeInclusive<usize> = 5..=20;
/// The longest name of a recipient that is no number, in characters.
const TO_CHARS_MAX: usize = 140;
/// The highest place of a button.
const BUTTON_INDEX_MAX: usize = 9;

const TEMPLATE: &str = "template";
/// What a message can be, and which member of its object it cannot do without.
const TYPES: [(&str, Option<&str>); 11] = [
    (TEMPLATE, Some("name")),
    ("text", Some("body")),
    ("audio", None),
    ("contacts", None),
    ("document", None),
    ("image", None),
    ("interactive", Some("type")),
    ("location", Some("latitude")),
    ("reaction", Some("message_id")),
    ("sticker", None),
    ("video", None),
];

/// Does not match the template as it was approved.
const PARAMETER_COUNT: u32 = 132_000;
const NO_TEMPLATE: u32 = 132_001;
const PARAMETER_FORMAT: u32 = 132_012;
/// Only marketing goes through the Marketing Messages API.
const NOT_MARKETING: u32 = 134_100;
const VALUE: u32 = 131_009;

/// To whom a message goes.
struct To {
    text: String,
    /// Whether it was named as an id of a user (`recipient`).
    is_user: bool,
    is_group: bool,
}

/// Takes a message, or says what Meta would.
pub(super) fn send(
    here: &Here,
    asked: &Asked,
    from: &Number,
    is_lite: bool,
) -> Result<Value, Refusal> {
    let given = &asked.given;
    if given.text("messaging_product").as_deref() != Some("whatsapp") {
        return Err(Refusal::missing("messaging_product"));
    }
    if given.text("status").as_deref() == Some("read") {
        // Somebody has seen what came in; nobody is told.
        let seen = given.text("message_id").ok_or_else(|| Refusal::missing("message_id"));
        return seen.map(|_| json!({"success": true}));
    }
    let to = recipient(given)?;
    let sign = given.text("biz_opaque_callback_data");
    if sign.as_ref().is_some_and(|it| it.chars().count() > CALLBACK_DATA_CHARS_MAX) {
        let rule = "Param biz_opaque_callback_data must be at most 512 characters long.";
        return Err(Refusal::parameter(rule));
    }
    let kind = kind(given)?;
    if is_lite && kind != TEMPLATE {
        return Err(Refusal::parameter("Param type must be TEMPLATE for marketing messages."));
    }
    let mut parameters = Map::new();
    if to.is_group {
        parameters.insert("RecipientType".to_owned(), "group".into());
    }
    let record = match given.json(TEMPLATE)? {
        Some(template) if kind == TEMPLATE => {
            let record = known(here, &template)?;
            let payloads = fill(&record, &template)?;
            parameters.insert("Payload".to_owned(), payloads.into());
            let opened = addresses(&record, &template);
            if !opened.is_empty() {
                parameters.insert("Addresses".to_owned(), opened.into());
            }
            Some(record)
        }
        _ => None,
    };
    if let Some(record) = record.as_ref().filter(|_| is_lite) {
        only_marketing(here, record)?;
    }
    if !to.is_user && matches!(Recipient::read(&to.text, to.is_group), Recipient::User(_)) {
        // As was seen: `to` takes it, and nothing ever comes of it.
        let seed =
            seed_of(seed_of_name(here.whatsapp.config().seed, &to.text), here.now.0.unsigned_abs());
        return Ok(accepted(&to, &wamid(&mut Dice::new(seed), &to.text)));
    }
    let outgoing = Outgoing {
        channel: here.channel.id.clone(),
        from: from.phone_number.clone(),
        to: digits(&to),
        template: record.map(|record| record.identity()),
        sign,
        parameters,
        call: Arc::new(given.0.clone()),
    };
    let sent = here.whatsapp.send_by_graph(&outgoing, is_lite);
    sent.map(|wamid| accepted(&to, &wamid)).map_err(refused)
}

/// A number without what people write into it; anything else as it is.
fn digits(to: &To) -> String {
    match Recipient::read(&to.text, to.is_group) {
        Recipient::Number(_) => to.text.chars().filter(char::is_ascii_digit).collect(),
        Recipient::User(text) | Recipient::Group(text) => text.to_owned(),
    }
}

fn accepted(to: &To, wamid: &str) -> Value {
    let mut contact = Map::from_iter([("input".to_owned(), json!(to.text))]);
    match Recipient::read(&to.text, to.is_group) {
        Recipient::Number(_) => {
            let digits = digits(to);
            contact.insert("user_id".to_owned(), user_id(&digits).into());
            contact.insert("wa_id".to_owned(), digits.into());
        }
        Recipient::User(user) => {
            contact.insert("user_id".to_owned(), user.into());
        }
        Recipient::Group(group) => {
            contact.insert("group_id".to_owned(), group.into());
        }
    }
    json!({
        "messaging_product": "whatsapp", "contacts": [contact],
        "messages": [{"id": wamid, "message_status": "accepted"}],
    })
}

fn recipient(given: &Given) -> Result<To, Refusal> {
    let is_group = match given.text("recipient_type").as_deref() {
        None | Some("individual") => false,
        Some("group") => true,
        Some(_) => {
            let rule = "Param recipient_type must be one of {INDIVIDUAL, GROUP}.";
            return Err(Refusal::parameter(rule));
        }
    };
    let (text, is_user) = match (given.text("to"), given.text("recipient")) {
        (Some(to), _) => (to, false),
        (None, Some(user)) => (user, true),
        (None, None) => return Err(Refusal::missing("to")),
    };
    let will_not_do = |name: &str| {
        Err(Refusal::of(VALUE, "Parameter value is not valid")
            .with(format!("Parameter {name} is not a valid recipient.")))
    };
    if text.chars().count() > TO_CHARS_MAX {
        return will_not_do("to");
    }
    match Recipient::read(&text, is_group) {
        Recipient::Number(_) if is_user => return will_not_do("recipient"),
        Recipient::Number(number) => {
            let written = |c: char| c.is_ascii_digit() || " -().".contains(c);
            let digits = number.chars().filter(char::is_ascii_digit).count();
            if !number.chars().all(written) || !TO_DIGITS.contains(&digits) {
                return will_not_do("to");
            }
        }
        Recipient::User(_) | Recipient::Group(_) => {}
    }
    Ok(To { text, is_user, is_group })
}

/// What kind of message it is: a text if nothing is said; what it says has to be there.
fn kind(given: &Given) -> Result<&'static str, Refusal> {
    let word = given.text("type").unwrap_or_else(|| "text".to_owned()).to_lowercase();
    let Some((kind, needs)) = TYPES.into_iter().find(|(kind, _)| *kind == word) else {
        let all: Vec<String> = TYPES.iter().map(|(kind, _)| kind.to_uppercase()).collect();
        let word: String = word.chars().take(64).collect();
        let rule = format!("Param type must be one of {{{}}} - got \"{word}\".", all.join(", "));
        return Err(Refusal::parameter(rule));
    };
    let Some(content) = given.json(kind)? else { return Err(Refusal::missing(kind)) };
    if let Some(member) = needs {
        let told = content.get(member);
        if told.is_none_or(|it| it.is_null() || it.as_str().is_some_and(|it| it.trim().is_empty()))
        {
            return Err(Refusal::missing(&format!("{kind}['{member}']")));
        }
    }
    Ok(kind)
}

/// The template that is named, in its language.
fn known(here: &Here, template: &Value) -> Result<Arc<TemplateRecord>, Refusal> {
    let name = components::word(template, "name").unwrap_or_default();
    let language = template.get("language").and_then(|it| components::word(it, "code"));
    let language = language.ok_or_else(|| Refusal::missing("template['language']['code']"))?;
    let texts = Text::new(name).ok().zip(Text::new(language).ok());
    let found = texts.and_then(|(name, language)| {
        here.snapshot.template_by_name(&here.channel.id, &name, &language)
    });
    found.cloned().ok_or_else(|| {
        let [name, language] = [name, language].map(|it| it.chars().take(64).collect::<String>());
        Refusal::of(NO_TEMPLATE, "Template name does not exist in the translation")
            .with(format!("template name ({name}) does not exist in {language}"))
    })
}

fn only_marketing(here: &Here, record: &TemplateRecord) -> Result<(), Refusal> {
    let known = here.whatsapp.template(&here.channel.id, &record.identity());
    let category = known.map_or(record.category, |(category, _)| category);
    if category == Category::Marketing {
        return Ok(());
    }
    Err(Refusal::of(NOT_MARKETING, "Only marketing messages are supported")
        .with("Only templates of category MARKETING can be sent with this endpoint."))
}

/// Fills a template with what a message says; the payloads of its quick replies in their order.
///
/// # Errors
/// If the numbers of parameters differ, or a button is none of the template's.
fn fill(record: &TemplateRecord, template: &Value) -> Result<Vec<String>, Refusal> {
    let known = components::of(record);
    let given = template.get("components").and_then(Value::as_array);
    let given = given.map_or(&[][..], Vec::as_slice);
    // What nobody has said of a template cannot be counted.
    if let Some(graph) = &record.graph {
        for kind in ["HEADER", "BODY"] {
            count(&known, given, kind, graph.named)?;
        }
    }
    let buttons = components::buttons(&known);
    let is_reply = |button: &Value| {
        components::word(button, "type").is_some_and(|it| it.eq_ignore_ascii_case("QUICK_REPLY"))
    };
    let mut payloads: Vec<Option<String>> = vec![None; buttons.len()];
    for component in given.iter().filter(|it| is(it, "button")) {
        let index = component.get("index").and_then(|index| match index {
            Value::String(text) => text.parse::<usize>().ok(),
            number => number.as_u64().and_then(|it| usize::try_from(it).ok()),
        });
        let Some(index) = index.filter(|index| *index <= BUTTON_INDEX_MAX) else {
            return Err(Refusal::missing("template['components']['index']"));
        };
        let kind = components::word(component, "sub_type").unwrap_or_default().to_lowercase();
        let button = buttons.get(index);
        if button.is_none_or(|button| is_reply(button) != (kind == "quick_reply")) {
            return Err(Refusal::of(
                PARAMETER_FORMAT,
                "Parameter format does not match format in the created template",
            )
            .with(format!("button at index {index} is no {kind} button of the template")));
        }
        let first = component.get("parameters").and_then(|it| it.get(0));
        let payload = first.and_then(|it| components::word(it, "payload"));
        if let Some(place) = payloads.get_mut(index) {
            *place = payload.map(str::to_owned);
        }
    }
    // What has no payload says its text.
    let replies = buttons.iter().zip(payloads).filter(|(button, _)| is_reply(button));
    let text = |button: &Value| components::word(button, "text").unwrap_or_default().to_owned();
    Ok(replies.map(|(button, payload)| payload.unwrap_or_else(|| text(button))).collect())
}

/// What the recipient's phone opens for each link of a template, in their order.
fn addresses(record: &TemplateRecord, template: &Value) -> Vec<String> {
    let known = components::of(record);
    let given = template.get("components").and_then(Value::as_array);
    let given = given.map_or(&[][..], Vec::as_slice);
    let text = |place: usize| {
        let place = place.to_string();
        let its = given
            .iter()
            .find(|it| is(it, "button") && it.get("index").is_some_and(|it| *it == *place));
        its.and_then(|it| components::word(it.pointer("/parameters/0")?, "text"))
    };
    let links = components::buttons(&known).iter().enumerate();
    let links = links.filter_map(|(place, button)| Some((place, components::word(button, "url")?)));
    links.map(|(place, url)| url.replace("{{1}}", text(place).unwrap_or_default())).collect()
}

fn is(component: &Value, kind: &str) -> bool {
    components::word(component, "type").is_some_and(|word| word.eq_ignore_ascii_case(kind))
}

/// Whether a component is given as many texts as it has variables, by their names if they have any.
fn count(known: &Value, given: &[Value], kind: &str, named: bool) -> Result<(), Refusal> {
    let text = components::one(known, kind).and_then(|it| components::word(it, "text"));
    // A header of another kind has its picture or file, which is not looked at.
    let Some(text) = text else { return Ok(()) };
    let wanted = components::variables(text);
    let component = given.iter().find(|component| is(component, kind));
    let parameters = component.and_then(|it| it.get("parameters")).and_then(Value::as_array);
    let parameters = parameters.map_or(&[][..], Vec::as_slice);
    let part = kind.to_lowercase();
    if wanted.len() != parameters.len() {
        let text = "Number of parameters does not match the expected number of params";
        return Err(Refusal::of(PARAMETER_COUNT, text).with(format!(
            "{part}: number of localizable_params ({}) does not match the expected number of \
             params ({})",
            parameters.len(),
            wanted.len()
        )));
    }
    let is_known = |parameter: &Value| {
        let name = components::word(parameter, "parameter_name");
        name.is_some_and(|name| wanted.iter().any(|known| known == name))
    };
    if named && !parameters.iter().all(is_known) {
        let details = format!("{part}: parameter_name is missing or is no variable");
        return Err(Refusal::parameter(details));
    }
    Ok(())
}

/// What WhatsApp itself says: its code stands in front of the words.
fn refused(why: carrier::Refused) -> Refusal {
    match why {
        carrier::Refused::Unavailable(why) => Refusal::of(131_016, "Service unavailable").with(why),
        carrier::Refused::Rejected(why) => {
            let code = why.strip_prefix("(#").and_then(|rest| rest.split_once(") "));
            match code.and_then(|(code, rest)| Some((code.parse().ok()?, rest))) {
                Some((code, rest)) => Refusal::of(code, rest).with(rest),
                None => Refusal::parameter(why),
            }
        }
        // An emulator is no client of another one.
        why @ (carrier::Refused::NotConnected | carrier::Refused::Graph(_)) => {
            Refusal::parameter(why.to_string())
        }
    }
}
