//! What the operations on templates have in common: which one is meant, what it says, and how
//! WhatsApp is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use twoticks_core::event::Category;
use twoticks_core::ids::Text;
use twoticks_store::directory::model::{GraphTemplate, Link, TemplateRecord};
use twoticks_store::directory::names::Secret;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::graph::template::{self, Definition, Medium, Unfit};
use twoticks_wire::params::Params;

use super::arguments::{object, text};
use super::{Context, Parameter, message, optional};
use crate::api_error::ApiError;
use crate::app::App;
use crate::graph::{CallError, Graph, sync, upload};
use crate::links::{VARIABLE, wrap};
use crate::outside;
use crate::outside::guard::Guard;

/// How many calls have media fetched and uploaded at the same time: each holds one in memory.
const MEDIA_AT_ONCE_MAX: usize = 2;
/// How many characters of an address are repeated to whoever named it.
const SHOWN_CHARS_MAX: usize = 200;
/// How long a message of a template may be tried, in seconds, whatever its category.
const TTL_SECONDS: (i64, i64) = (30, 43_200);

pub(super) const TEMPLATE_TYPE: Parameter = optional("TemplateType", "string", "`WHATSAPP`.");
pub(super) const EXAMPLE: Parameter =
    optional("Example", "object", "A text for each variable of the template, by its name.");
pub(super) const TTL: Parameter =
    optional("MessageSendTtlSeconds", "integer", "How long a message of it is tried, in seconds.");
pub(super) const CODE: Parameter =
    optional("TemplateCode", "string", "The template; it or `TemplateName` is needed.");
pub(super) const NAME: Parameter = optional("TemplateName", "string", "The template by its name.");
pub(super) const COMPONENTS: &str =
    "What it says: `Type`, `Format`, `Text`, `Buttons` and so on, as in the original.";
pub(super) const CATEGORY: &str = "`MARKETING`, `UTILITY` or `AUTHENTICATION`.";

/// How a channel's templates are told to WhatsApp.
pub(super) struct Connected<'a> {
    pub(super) graph: &'a Graph,
    pub(super) waba_id: Text,
    pub(super) token: Secret,
    pub(super) app_id: Option<Text>,
}

/// The channel's connection; `None` where nothing is meant in earnest and templates are made here.
pub(super) fn connected<'a>(context: &Context<'a>) -> Result<Option<Connected<'a>>, ApiError> {
    let app = context.app;
    let snapshot = app.directory.snapshot();
    let channel = snapshot.channel(context.channel());
    let connection = channel.and_then(|channel| channel.connection.as_ref());
    let waba_id = channel.and_then(|channel| channel.waba_id.clone());
    match (connection, waba_id) {
        (Some(connection), Some(waba_id)) => {
            let graph = app.dispatcher.graph(app);
            let graph = graph.map_err(|why| ApiError::caused(Code::ServiceUnavailable, why))?;
            let (token, app_id) = (connection.access_token.clone(), connection.app_id.clone());
            Ok(Some(Connected { graph, waba_id, token, app_id }))
        }
        _ if app.rehearsal.is_some() => Ok(None),
        _ => {
            let said = "The channel is not connected with WhatsApp.".to_owned();
            Err(Refusal::from(Code::CreateError).saying(said).into())
        }
    }
}

/// What WhatsApp said no to, in the words of `code`.
pub(super) fn refused(code: Code, why: CallError) -> ApiError {
    match why.graph() {
        // A template of that name and language is there (Meta's subcodes).
        Some(error) if matches!(error.subcode, Some(2_388_023 | 2_388_024)) => {
            ApiError::caused(Code::TemplateNameExist, why)
        }
        Some(error) => {
            let said = format!("{} ({})", code.message(), error.said());
            ApiError::caused(Refusal::from(code).saying(said), why)
        }
        None => ApiError::caused(Code::ServiceUnavailable, why),
    }
}

/// What a template is to say.
pub(super) struct Wanted {
    /// As the Graph API has them, with the addresses of media in place of their handles.
    pub(super) components: Vec<Value>,
    /// As the caller has them, and the examples.
    given: (Vec<Value>, Map<String, Value>),
    category: Category,
    /// Whether it has a medium that has to be uploaded.
    has_media: bool,
    pub(super) named: bool,
    /// What a caller calls the variables of links and codes.
    pub(super) button_names: BTreeMap<Text, Text>,
    pub(super) ttl_seconds: Option<i64>,
}

impl Wanted {
    /// Reads `Components`, `Example` and `MessageSendTtlSeconds`.
    pub(super) fn decode(app: &App, params: &Params, category: Category) -> Result<Self, ApiError> {
        let given = match params.json("Components")? {
            None | Some(Value::Null) => return Err(Refusal::missing("Components").into()),
            Some(Value::Array(given)) => given,
            Some(_) => return Err(Refusal::invalid("Components").into()),
        };
        let example = object(params, "Example")?.unwrap_or_default();
        let media = template::media(&given);
        let guard = guard(app);
        for medium in &media {
            guard.url(medium.url).map_err(|why| refused_medium(medium, &why.to_string()))?;
        }
        let addresses = media.iter().map(|it| (it.url.to_owned(), it.url.to_owned())).collect();
        let made = to_graph(category, &given, &example, &addresses)?;
        let names = made.button_variables.iter().map(|variable| {
            let ours = template::button_variable(variable.card, variable.button);
            (Text::lossy(&ours), Text::lossy(&variable.name))
        });
        let (least, most) = TTL_SECONDS;
        Ok(Self {
            named: made.format == template::ParameterFormat::Named,
            button_names: names.collect(),
            ttl_seconds: super::arguments::integer_in(
                params,
                "MessageSendTtlSeconds",
                least,
                most,
            )?,
            components: made.components,
            has_media: !media.is_empty(),
            given: (given, example),
            category,
        })
    }

    /// The template as the directory has it, under review.
    pub(super) fn stands(&self, status: &str, now: twoticks_core::clock::Time) -> GraphTemplate {
        GraphTemplate {
            components: Value::from(self.components.clone()).to_string().into(),
            named: self.named,
            button_names: self.button_names.clone(),
            status: Text::lossy(status),
            reason: None,
            quality: None,
            updated: now,
            history: Vec::new(),
        }
    }

    /// What WhatsApp is asked with, besides what else there is; its media are there before it.
    pub(super) async fn body(
        &self,
        app: &App,
        connected: &Connected<'_>,
    ) -> Result<Map<String, Value>, ApiError> {
        let mut components = self.components.clone();
        if self.has_media {
            let uploaded = self.with_media(app, connected).await?;
            for (component, uploaded) in components.iter_mut().zip(uploaded) {
                // Buttons have no media, and links that lead over us.
                if component.get("type").is_none_or(|kind| *kind != "BUTTONS") {
                    *component = uploaded;
                }
            }
        }
        let mut body = Map::new();
        body.insert("components".to_owned(), components.into());
        if let Some(seconds) = self.ttl_seconds {
            body.insert("message_send_ttl_seconds".to_owned(), seconds.into());
        }
        Ok(body)
    }

    /// Has the media of headers fetched and uploaded, one after the other.
    async fn with_media(
        &self,
        app: &App,
        connected: &Connected<'_>,
    ) -> Result<Vec<Value>, ApiError> {
        let app_id = connected.app_id.as_ref().ok_or_else(|| {
            let said = "The app behind the access token is not known, and media are uploaded to \
                        it; `twoticks channel connect` asks for it once more.";
            Refusal::from(Code::CreateError).saying(said.to_owned())
        })?;
        let _held = app
            .gate
            .in_flight
            .enter("media of templates", MEDIA_AT_ONCE_MAX)
            .ok_or_else(|| ApiError::from(Code::SystemLimitControl))?;
        let (given, example) = &self.given;
        let mut handles = BTreeMap::new();
        for medium in template::media(given) {
            if handles.contains_key(medium.url) {
                continue;
            }
            let most = upload::bytes_max(medium.kind);
            let bytes = outside::fetch(&guard(app), medium.url, most).await;
            let bytes = bytes.map_err(|why| refused_medium(&medium, &why.to_string()))?;
            let format = upload::format(medium.kind, &bytes).ok_or_else(|| {
                let formats = upload::formats(medium.kind);
                refused_medium(&medium, &format!("what is there is not {formats}"))
            })?;
            let of = (app_id.as_str(), &connected.token);
            let handle = upload::upload(connected.graph, of, format, bytes).await;
            let handle = handle.map_err(|why| refused(Code::CreateError, why))?;
            handles.insert(medium.url.to_owned(), handle);
        }
        Ok(to_graph(self.category, given, example, &handles)?.components)
    }

    /// Has links lead over us: all of them if that is wanted, else those that do so already. The
    /// template's links from then on.
    pub(super) fn wrap(
        &mut self,
        context: &Context<'_>,
        known: Option<&TemplateRecord>,
    ) -> Result<Vec<Link>, ApiError> {
        let links = known.map_or(&[][..], |known| &known.links);
        let settings = &context.app.settings.links;
        let Some(prefix) = settings.url.prefix() else { return Ok(links.to_vec()) };
        let graph = known.and_then(|known| known.graph.as_ref());
        let before = graph.and_then(|graph| Definition::parse(&graph.components).ok());
        let before = before.unwrap_or_default();
        let targets: Vec<&str> = before
            .buttons
            .iter()
            .filter_map(|button| Some(&*wrap::link_of(links, button)?.target))
            .collect();
        let is_over_us = |button: &template::Button| {
            let link = button.link.as_ref();
            let target = link.map(|link| link.fixed.as_str());
            let known = |of: &&str| Some(of.trim_end_matches(VARIABLE)) == target;
            targets.iter().any(known)
        };
        let wrapped = wrap::wrap(&prefix, &mut self.components, links, |button| {
            settings.wrap || is_over_us(button)
        });
        wrapped.map_err(|why| {
            let said = format!("{} ({why})", Code::MessageInvalid.message());
            Refusal::from(Code::MessageInvalid).saying(said).into()
        })
    }

    pub(super) fn buttons(&self) -> Vec<twoticks_core::event::Button> {
        sync::buttons(&Definition::of(&self.components))
    }
}

fn to_graph(
    category: Category,
    components: &[Value],
    example: &Map<String, Value>,
    handles: &BTreeMap<String, String>,
) -> Result<template::Graph, Refusal> {
    let category = category.as_str();
    let request = template::Request { category, components, example, handles };
    template::to_graph(&request).map_err(|unfit| unfit_refusal(&unfit))
}

/// Which addresses of media may be asked.
fn guard(app: &App) -> Guard {
    Guard::new(app.settings.outside.networks.clone(), true)
}

/// A medium that cannot be had, in words for whoever named it.
fn refused_medium(medium: &Medium<'_>, why: &str) -> Refusal {
    let url: String = medium.url.chars().take(SHOWN_CHARS_MAX).collect();
    let said = format!("{} (`{url}`: {why})", Code::HeaderTypeNotSupport.message());
    Refusal::from(Code::HeaderTypeNotSupport).saying(said)
}

/// What in a template WhatsApp would not take, by the code that fits best.
pub(super) fn unfit_refusal(unfit: &Unfit) -> Refusal {
    let code = match unfit {
        Unfit::TooMany { place, .. } if place.starts_with("HEADER") => Code::HeaderMoreVarable,
        Unfit::Link { .. } => Code::UrlMoreVarable,
        _ => Code::MessageInvalid,
    };
    Refusal::from(code).saying(format!("{} ({unfit})", code.message()))
}

/// The templates that are meant: of a code or a name, of one language or, without one, of all.
pub(super) fn meant(context: &Context<'_>) -> Result<Vec<Arc<TemplateRecord>>, Refusal> {
    let params = context.params;
    let (code, name) = (text(params, "TemplateCode"), text(params, "TemplateName"));
    if code.is_none() && name.is_none() {
        return Err(Code::TemplateCodeNotEmpty.into());
    }
    let language = text(params, "Language");
    let snapshot = context.app.directory.snapshot();
    let is_meant = |record: &&Arc<TemplateRecord>| {
        code.is_none_or(|code| record.code.as_str() == code)
            && name.is_none_or(|name| record.name.as_str() == name)
            && language.is_none_or(|language| record.language.as_str() == language)
            && !super::list_chatapp_template::is_deleted(record)
    };
    Ok(snapshot.templates_of(context.channel()).filter(is_meant).cloned().collect())
}

/// Puts what WhatsApp has taken into the directory.
pub(super) async fn take_over(context: &Context<'_>, read: sync::Read) -> Result<(), ApiError> {
    let taken = sync::take_over(context.app, context.channel(), read).await;
    // WhatsApp has it: the next reading takes it over.
    taken.map_err(|why| ApiError::caused(Code::InternalError, why))
}

/// What both ways of making a template answer.
pub(super) fn answer(record: &TemplateRecord) -> super::Answer {
    super::Answer::from_iter([
        ("Success".to_owned(), true.into()),
        ("Data".to_owned(), json!({"TemplateCode": record.code, "TemplateName": record.name})),
    ])
}

/// The parameters that every operation on templates takes besides its own.
pub(super) const CUST_WABA_ID: Parameter = message::CUST_WABA_ID;
