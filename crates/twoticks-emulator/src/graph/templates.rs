//! Templates: listed, handed in, changed, taken away. What is handed in is reviewed, and a webhook
//! tells what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use twoticks_core::event::Category;
use twoticks_core::ids::Text;
use twoticks_store::directory::model::{GraphTemplate, TemplateRecord};
use twoticks_store::directory::{self, Change, TEMPLATES_PER_CHANNEL_MAX};

use super::account::wanted;
use super::components;
use super::fields::Kind;
use super::paging::page;
use super::refusal::Refusal;
use super::{Asked, Here, uploads};
use crate::fixtures::categorise;
use crate::whatsapp::{Standing, template_id};

/// The longest name of a template (Meta).
const NAME_CHARS_MAX: usize = 512;
/// Beside 100: there is one of that name and language.
const EXISTS: u32 = 2_388_024;
/// Beside 100: there is none of that name.
const NOT_FOUND: u32 = 2_593_002;

pub(super) const KIND: Kind = Kind {
    name: "WhatsAppBusinessHSM",
    known: &[
        "correct_category",
        "cta_url_link_tracking_opted_out",
        "degrees_of_freedom_spec",
        "is_primary_device_delivery_only",
        "last_updated_time",
        "library_template_name",
        "message_send_ttl_seconds",
        "previous_category",
        "specific_rejection_reason",
        "sub_category",
    ],
    usual: &["id", "name", "parameter_format", "components", "language", "status", "category"],
};

fn standing(here: &Here, template: &TemplateRecord) -> (Category, Standing) {
    let known = here.whatsapp.template(&here.channel.id, &template.identity());
    known.unwrap_or((template.category, Standing::Approved))
}

fn all(here: &Here, template: &TemplateRecord) -> Map<String, Value> {
    let (category, standing) = standing(here, template);
    let graph = template.graph.as_ref();
    let format = if graph.is_some_and(|it| it.named) { "NAMED" } else { "POSITIONAL" };
    let quality = graph.and_then(|it| it.quality.as_ref()).map_or("UNKNOWN", Text::as_str);
    let reason = if standing == Standing::Rejected { "INCORRECT_CATEGORY" } else { "NONE" };
    Map::from_iter(
        [
            ("id", template_id(template).into()),
            ("name", json!(template.name)),
            ("language", json!(template.language)),
            ("status", standing.event().into()),
            ("category", category.as_str().to_uppercase().into()),
            ("components", components::of(template)),
            ("parameter_format", format.into()),
            ("quality_score", json!({"score": quality, "date": here.now.second()})),
            ("rejected_reason", reason.into()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    )
}

/// The templates, those alone that fit `name`, `status`, `language` and `category`.
pub(super) fn list(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    let wanted = wanted(asked)?;
    let filters: Vec<(&str, Vec<String>)> = ["name", "status", "language", "category"]
        .into_iter()
        .filter_map(|name| Some((name, asked.given.list(name)?)))
        .collect();
    let mut rows = Vec::new();
    for template in here.snapshot.templates_of(&here.channel.id) {
        let all = all(here, template);
        let fits = |(name, words): &(&str, Vec<String>)| {
            let is = all.get(*name).and_then(Value::as_str).unwrap_or_default();
            words.iter().any(|word| word.eq_ignore_ascii_case(is))
        };
        if filters.iter().all(fits) {
            rows.push(KIND.pick(&all, &wanted)?.into());
        }
    }
    let count = rows.len();
    let mut page = page(asked, rows)?;
    if let Some(names) = asked.given.list("summary") {
        page.insert("summary".to_owned(), summary(here, &names, count)?.into());
    }
    Ok(page.into())
}

/// What `summary=…` wants to know of all templates, `count` of which fit.
fn summary(here: &Here, names: &[String], count: usize) -> Result<Map<String, Value>, Refusal> {
    let all = here.snapshot.templates_of(&here.channel.id).count();
    let told = names.iter().filter(|name| *name != "false").map(|name| {
        // Who only wants one gets the count.
        let name = if name == "true" { "total_count" } else { name };
        let value = match name {
            "total_count" => count.into(),
            "message_template_count" => all.into(),
            "message_template_limit" => TEMPLATES_PER_CHANNEL_MAX.into(),
            "are_translations_complete" => true.into(),
            other => return Err(Refusal::no_field(other, "summary")),
        };
        Ok((name.to_owned(), value))
    });
    told.collect()
}

pub(super) fn node(here: &Here, asked: &Asked, of: &TemplateRecord) -> Result<Value, Refusal> {
    KIND.pick(&all(here, of), &wanted(asked)?).map(Value::Object)
}

/// What somebody wants a template to be.
struct Wanted {
    name: Text,
    language: Text,
    category: Category,
    components: Value,
    named: bool,
}

impl Wanted {
    fn read(here: &Here, asked: &Asked) -> Result<Self, Refusal> {
        let given = &asked.given;
        let name = given.text("name").ok_or_else(|| Refusal::missing("name"))?;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
            let rule = "Message template name can only have lowercase letters, digits and \
                        underscores, at most 512";
            return Err(Refusal::parameter(rule));
        }
        let language = given.text("language").ok_or_else(|| Refusal::missing("language"))?;
        if !is_language(&language) {
            return Err(Refusal::parameter("Param language must be a locale such as en or en_US."));
        }
        let category = category(asked)?.ok_or_else(|| Refusal::missing("category"))?;
        let components = given.json("components")?;
        let components = components.ok_or_else(|| Refusal::missing("components"))?;
        components::check(&components, category, |it| uploads::is_handle(&here.channel, it))?;
        let named = match given.text("parameter_format").map(|it| it.to_uppercase()).as_deref() {
            None | Some("POSITIONAL") => false,
            Some("NAMED") => true,
            Some(_) => {
                let rule = "Param parameter_format must be one of {POSITIONAL, NAMED}.";
                return Err(Refusal::parameter(rule));
            }
        };
        let (name, language) = (Text::lossy(&name), Text::lossy(&language));
        Ok(Self { name, language, category, components, named })
    }
}

fn is_language(text: &str) -> bool {
    let (language, country) = text.split_once('_').map_or((text, None), |(a, b)| (a, Some(b)));
    (2..=3).contains(&language.len())
        && language.bytes().all(|byte| byte.is_ascii_lowercase())
        && country.is_none_or(|it| {
            (2..=4).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

fn category(asked: &Asked) -> Result<Option<Category>, Refusal> {
    asked
        .given
        .text("category")
        .map(|text| {
            Category::parse(&text).ok_or_else(|| {
                let rule = "Param category must be one of {UTILITY, MARKETING, AUTHENTICATION}";
                Refusal::parameter(rule)
            })
        })
        .transpose()
}

fn content(here: &Here, components: &Value, named: bool) -> GraphTemplate {
    GraphTemplate {
        components: components.to_string().into(),
        named,
        button_names: BTreeMap::new(),
        status: Text::lossy(Standing::Pending.event()),
        reason: None,
        quality: None,
        updated: here.now,
        history: Vec::new(),
    }
}

/// Hands a template in.
pub(super) async fn create(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    let Wanted { name, language, category, components, named } = Wanted::read(here, asked)?;
    let (snapshot, channel) = (&here.snapshot, &here.channel.id);
    if snapshot.template_by_name(channel, &name, &language).is_some() {
        let text = "Content in this language already exists";
        let details = format!("There is already {language} content for this template.");
        let refusal = Refusal { subcode: Some(EXISTS), ..Refusal::parameter(details) };
        return Err(Refusal { message: text.to_owned(), ..refusal });
    }
    let mut record = TemplateRecord {
        channel: channel.clone(),
        code: name.clone(),
        language: language.clone(),
        buttons: components::counted(&components),
        graph: Some(content(here, &components, named)),
        links: Vec::new(),
        meta_id: None,
        name,
        category,
    };
    let id = template_id(&record);
    if snapshot.template(channel, &record.code, &language).is_some() {
        // The name is another template's code.
        record.code = Text::lossy(&id);
    }
    record.meta_id = Some(Text::lossy(&id));
    let template = record.identity();
    here.app.directory.change(vec![Change::PutTemplate(record)]).await.map_err(unkept)?;
    let told = categorise(&here.app, (channel, &template), category, here.now).await;
    told.map_err(|error| Refusal::of(2, error.to_string()))?;
    here.whatsapp.put_template(channel, &template, category, Standing::Pending);
    let (category, pending) = (category.as_str().to_uppercase(), Standing::Pending.event());
    Ok(json!({"id": id, "status": pending, "category": category}))
}

/// Changes what a template says or is for; what changes is reviewed again.
pub(super) async fn edit(
    here: &Here,
    asked: &Asked,
    of: &Arc<TemplateRecord>,
) -> Result<Value, Refusal> {
    let (before, _) = standing(here, of);
    let category = category(asked)?.unwrap_or(before);
    let given = asked.given.json("components")?;
    if given.is_none() && category == before {
        // What else can be said of a template changes nothing that is played.
        return Ok(json!({"success": true}));
    }
    let components = given.unwrap_or_else(|| components::of(of));
    // What it has already is as good as a new one.
    let known = components::of(of).to_string();
    let is_known = |it: &str| !it.is_empty() && known.contains(it);
    let is_handle = |it: &str| uploads::is_handle(&here.channel, it) || is_known(it);
    components::check(&components, category, is_handle)?;
    let named = of.graph.as_ref().is_some_and(|it| it.named);
    let record = TemplateRecord {
        buttons: components::counted(&components),
        graph: Some(content(here, &components, named)),
        ..TemplateRecord::clone(of)
    };
    let template = record.identity();
    here.app.directory.change(vec![Change::PutTemplate(record)]).await.map_err(unkept)?;
    // It may be in use already without having been said to WhatsApp: then it is known from now on.
    if here.whatsapp.template(&here.channel.id, &template).is_none() {
        here.whatsapp.put_template(&here.channel.id, &template, before, Standing::Approved);
    }
    here.whatsapp.put_template(&here.channel.id, &template, category, Standing::Pending);
    Ok(json!({"success": true}))
}

/// `DELETE …?name=` takes it away in every language, with `hsm_id` in one.
pub(super) async fn delete(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    let name = asked.given.text("name").ok_or_else(|| Refusal::missing("name"))?;
    let id = asked.given.text("hsm_id");
    let named = here.snapshot.templates_of(&here.channel.id).filter(|template| {
        template.name.as_str() == name && id.as_ref().is_none_or(|id| template_id(template) == *id)
    });
    let found: Vec<Arc<TemplateRecord>> = named.cloned().collect();
    if found.is_empty() {
        let refusal = Refusal::parameter("There is no message template of that name or id.");
        let message = "Message template not found".to_owned();
        return Err(Refusal { subcode: Some(NOT_FOUND), message, ..refusal });
    }
    let gone = found
        .iter()
        .map(|it| Change::RemoveTemplate(it.channel.clone(), it.code.clone(), it.language.clone()));
    here.app.directory.change(gone.collect()).await.map_err(unkept)?;
    for template in &found {
        here.whatsapp.drop_template(&here.channel.id, &template.identity());
    }
    Ok(json!({"success": true}))
}

/// What the directory does not keep.
fn unkept(error: directory::Error) -> Refusal {
    match error {
        directory::Error::Refused(why) => Refusal::parameter(why.to_string()),
        other => Refusal::of(2, other.to_string()),
    }
}
