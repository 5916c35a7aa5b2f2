//! Numbers and templates of a channel, as WhatsApp has them.

use std::collections::BTreeMap;

use serde_json::Value;
use twoticks_core::clock::Time;
use twoticks_core::event::{Button, ButtonKind, Category, CategoryEvent, Event};
use twoticks_core::ids::{ChannelId, PhoneNumber, Template, Text};
use twoticks_store::directory::model::{GraphNumber, GraphTemplate, Number, TemplateRecord};
use twoticks_store::directory::names::Secret;
use twoticks_store::directory::{BUTTONS_MAX, COMPONENTS_BYTES_MAX, Change, Snapshot};
use twoticks_wire::graph::template::{self, Definition};

use super::check::text_or_number;
use super::{CallError, Graph};
use crate::app::App;
use crate::control::{ControlError, feed};
use crate::links;

/// What is asked of numbers.
const NUMBER_FIELDS: &str =
    "id,display_phone_number,verified_name,quality_rating,messaging_limit_tier,status";
/// What is asked of templates.
const TEMPLATE_FIELDS: &str = "id,name,language,status,category,components,parameter_format,\
                               quality_score,rejected_reason";
/// How many are asked for at once.
const PAGE: &str = "100";
/// What a template is said to be that WhatsApp does not have any more.
pub(crate) const DELETED: &str = "DELETED";

/// What was read, and what changes by it.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) changes: Vec<Change>,
    /// Categories that WhatsApp says and the journal does not know.
    pub(crate) categories: Vec<(Template, Category)>,
    pub(crate) numbers: usize,
    pub(crate) templates: usize,
    /// What could not be taken over, and why.
    pub(crate) problems: Vec<String>,
}

/// Reads numbers and templates of the account `waba_id` for `channel`.
///
/// # Errors
/// [`CallError`].
pub(crate) async fn read(
    graph: &Graph,
    token: &Secret,
    (channel, waba_id): (&ChannelId, &str),
    snapshot: &Snapshot,
    now: Time,
) -> Result<Read, CallError> {
    let fields = [("fields", NUMBER_FIELDS), ("limit", PAGE)];
    let numbers = graph.list(token, &format!("{waba_id}/phone_numbers"), &fields).await?;
    let fields = [("fields", TEMPLATE_FIELDS), ("limit", PAGE)];
    let templates = graph.list(token, &format!("{waba_id}/message_templates"), &fields).await?;
    let mut read = Read { numbers: numbers.len(), templates: templates.len(), ..Read::default() };
    for number in &numbers {
        match number_of(number, channel, snapshot, now) {
            Ok(number) => read.changes.push(Change::PutNumber(number)),
            Err(why) => read.problems.push(why),
        }
    }
    let mut codes = BTreeMap::new();
    let mut seen = Vec::new();
    for template in &templates {
        match template_of(template, channel, snapshot, &mut codes, now) {
            Ok(record) => {
                seen.push((record.code.clone(), record.language.clone()));
                read.categories.push((record.identity(), record.category));
                read.changes.push(Change::PutTemplate(record));
            }
            Err(why) => read.problems.push(why),
        }
    }
    for known in snapshot.templates_of(channel) {
        let is_gone = !seen.contains(&(known.code.clone(), known.language.clone()));
        if let Some(gone) = is_gone.then(|| deleted(known, now)).flatten() {
            read.changes.push(Change::PutTemplate(gone));
        }
    }
    Ok(read)
}

/// A template that WhatsApp does not have any more: what it counted is still asked for. `None` if
/// it is that already, or WhatsApp never had it.
pub(crate) fn deleted(known: &TemplateRecord, now: Time) -> Option<TemplateRecord> {
    let graph = known.graph.as_ref().filter(|graph| graph.status.as_str() != DELETED)?;
    let graph = GraphTemplate { status: word(DELETED), updated: now, ..graph.clone() };
    Some(TemplateRecord { graph: Some(graph), ..known.clone() })
}

fn word(text: &str) -> Text {
    Text::lossy(text)
}

/// Takes over what was read.
///
/// # Errors
/// What the directory or the ledger says; what was taken over before stays.
pub(crate) async fn take_over(
    app: &App,
    channel: &ChannelId,
    read: Read,
) -> Result<(), ControlError> {
    app.directory.change(read.changes).await?;
    app.pass_on.changed(app).await;
    let now = app.clock.now();
    let known = app.ledger.channel(channel).await?;
    for (template, category) in read.categories {
        let previous = known.category(&template, now);
        if previous != Some(category) {
            let event = CategoryEvent {
                channel: channel.clone(),
                template,
                effective: now,
                category,
                previous,
            };
            feed::record(app, Event::Category(event)).await?;
        }
    }
    Ok(())
}

fn text(value: &Value, name: &str) -> Option<Text> {
    let text = value.get(name).and_then(text_or_number)?;
    Some(word(&text))
}

fn number_of(
    said: &Value,
    channel: &ChannelId,
    snapshot: &Snapshot,
    now: Time,
) -> Result<Number, String> {
    let id = text(said, "id").ok_or("a phone number without an id was left out")?;
    let shown = text(said, "display_phone_number").unwrap_or_else(|| id.clone());
    let digits: String = shown.as_str().chars().filter(char::is_ascii_digit).collect();
    let phone_number = PhoneNumber::new(&digits)
        .map_err(|why| format!("the phone number with the id `{id}` was left out: {why}"))?;
    let holder = snapshot.number(&phone_number).map(|known| &known.channel);
    if let Some(holder) = holder.filter(|holder| *holder != channel) {
        let account = |id| snapshot.channel(id).map(|channel| &channel.account);
        // Nobody hears of another account's channels.
        let with = match account(holder) == account(channel) {
            true => format!("the channel `{holder}`"),
            false => "another channel".to_owned(),
        };
        return Err(format!(
            "the number {phone_number} is with {with} and stays there; move it with \
             `twoticks channel number add`"
        ));
    }
    Ok(Number {
        phone_number,
        phone_number_id: id,
        channel: channel.clone(),
        graph: Some(GraphNumber {
            verified_name: text(said, "verified_name"),
            quality_rating: text(said, "quality_rating"),
            messaging_limit: text(said, "messaging_limit_tier"),
            status: text(said, "status"),
            updated: now,
            history: Vec::new(),
        }),
    })
}

/// A template as WhatsApp has it. Its code is the one that it has here already, else that of the
/// same name in another language, else Meta's id of the first language.
fn template_of(
    said: &Value,
    channel: &ChannelId,
    snapshot: &Snapshot,
    codes: &mut BTreeMap<Text, Text>,
    now: Time,
) -> Result<TemplateRecord, String> {
    let id = text(said, "id").ok_or("a template without an id was left out")?;
    let left_out = |why: &str| format!("the template with the id `{id}` was left out: {why}");
    let name = text(said, "name").ok_or_else(|| left_out("it has no name"))?;
    let language = text(said, "language").ok_or_else(|| left_out("it has no language"))?;
    let category = said.get("category").and_then(Value::as_str).and_then(Category::parse);
    let category = category.ok_or_else(|| left_out("its category is not one that is known"))?;
    let known = snapshot
        .template_by_meta_id(channel, &id)
        .or_else(|| snapshot.template_by_name(channel, &name, &language))
        .cloned();
    let sibling = || {
        let mut of_channel = snapshot.templates_of(channel);
        of_channel.find(|other| other.name == name).map(|other| other.code.clone())
    };
    let code = known.as_ref().map(|known| known.code.clone());
    let code = code.or_else(|| codes.get(&name).cloned()).or_else(sibling);
    let code = code.unwrap_or_else(|| id.clone());
    codes.insert(name.clone(), code.clone());
    let components = said.get("components").map_or_else(|| "[]".to_owned(), Value::to_string);
    if components.len() > COMPONENTS_BYTES_MAX {
        return Err(left_out(&format!(
            "its components have more than {COMPONENTS_BYTES_MAX} bytes"
        )));
    }
    let format = said.get("parameter_format").and_then(Value::as_str).unwrap_or_default();
    let named = format.eq_ignore_ascii_case("named");
    let definition = Definition::parse(&components);
    let definition = definition.map_err(|why| left_out(&why.to_string()))?;
    Ok(TemplateRecord {
        channel: channel.clone(),
        code,
        language,
        name,
        meta_id: Some(id),
        category,
        buttons: buttons(&definition),
        links: links::named(known.as_ref().map_or(&[], |known| &known.links), &definition),
        graph: Some(GraphTemplate {
            components: components.into(),
            named,
            button_names: known
                .and_then(|known| known.graph.as_ref().map(|graph| graph.button_names.clone()))
                .unwrap_or_default(),
            status: text(said, "status").unwrap_or_else(|| word("UNKNOWN")),
            // `NONE` is no reason.
            reason: text(said, "rejected_reason").filter(|reason| reason.as_str() != "NONE"),
            quality: said.get("quality_score").and_then(|quality| text(quality, "score")),
            updated: now,
            history: Vec::new(),
        }),
    })
}

/// The buttons that are counted.
pub(crate) fn buttons(definition: &Definition) -> Vec<Button> {
    let counted = definition.buttons.iter().filter_map(|button| {
        let kind = match button.kind {
            template::ButtonKind::QuickReply => ButtonKind::QuickReply,
            template::ButtonKind::Url => ButtonKind::Url,
            template::ButtonKind::PhoneNumber => ButtonKind::PhoneNumber,
            template::ButtonKind::CopyCode
            | template::ButtonKind::Otp
            | template::ButtonKind::Flow
            | template::ButtonKind::Other(_) => return None,
        };
        Some(Button { kind, text: Text::lossy(&button.text) })
    });
    counted.take(BUTTONS_MAX).collect()
}
