//! The webhooks of the Cloud API.
//!
//! A number is known by its `phone_number_id` alone: `display_phone_number` is written in many
//! ways and proves nothing. Statuses, taps and replies count only for a channel that takes its
//! statuses from here. Opened links and changes of categories are told here only, so they count
//! whatever the source of the statuses is.

use std::sync::Arc;

use twoticks_core::clock::Time;
use twoticks_core::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Cost, Event, MessageEvent, Pricing, Source,
    Status, TapEvent,
};
use twoticks_core::ids::{ChannelId, Hash, Template, Text};
use twoticks_store::directory::model::{Channel, StatusSource, TemplateRecord};
use twoticks_wire::webhook::meta::{
    self as wire, CategoryChange, Place, PricingView, StatusView, Told, Update, What,
};
use twoticks_wire::webhook::sign::SignView;

use super::{Context, Refused, Sender, Translated, core_sign, lossy, payload_sign};
use crate::graph::notices::Notice;

/// What tells that something about numbers or templates has changed, and not all of it.
const CHANGING: &[&str] = &[
    "account_update",
    "business_capability_update",
    "message_template_components_update",
    "message_template_quality_update",
    "phone_number_name_update",
    "phone_number_quality_update",
];

/// Translates a webhook of the Cloud API; `body` are the bytes as they came.
#[must_use]
pub fn meta(context: &Context<'_>, body: &[u8]) -> Translated {
    let told = match wire::read(body) {
        Ok(told) => told,
        Err(why) => return Translated::unreadable(why),
    };
    let mut out = Translated { events: Vec::with_capacity(told.len()), ..Translated::default() };
    let mut recent = Recent::default();
    for told in &told {
        let place = match told {
            Told::Status { place, .. } | Told::Update(Update { place, .. }) => *place,
        };
        if context.only.is_some() && !context.takes(&place.to_string()) {
            continue;
        }
        if let Err(why) = translate(context, told, &mut recent, &mut out) {
            out.dead(place, why);
        }
    }
    out
}

/// What was made for the last updates of a body: most of the next ones need the same.
#[derive(Default)]
struct Recent<'a> {
    sender: Option<(&'a str, Sender<'a>)>,
    /// By what is told.
    pricings: Vec<(PricingView<'a>, Arc<Pricing>)>,
    /// By `biz_opaque_callback_data`.
    claims: Vec<(&'a str, Arc<Claim>)>,
}

/// How many are remembered of each: as many as are found faster than made again.
const RECENT_MAX: usize = 16;

/// What `recent` has for `told`; else what `make` makes, which is remembered.
fn recent<K: Copy + PartialEq, V>(
    recent: &mut Vec<(K, Arc<V>)>,
    told: K,
    make: impl FnOnce() -> Option<V>,
) -> Option<Arc<V>> {
    if let Some((_, known)) = recent.iter().find(|(known, _)| *known == told) {
        return Some(Arc::clone(known));
    }
    let made = Arc::new(make()?);
    if recent.len() == RECENT_MAX {
        recent.clear();
    }
    recent.push((told, Arc::clone(&made)));
    Some(made)
}

impl<'a> Recent<'a> {
    /// The number with this id of Meta's, of a channel that takes its statuses from here.
    fn own(&mut self, context: &Context<'a>, id: Option<&'a str>) -> Result<Sender<'a>, Refused> {
        match self.sender {
            Some((known, sender)) if Some(known) == id => Ok(sender),
            _ => {
                let sender = context.sender_by_id(id)?;
                sender.takes(StatusSource::CloudApi)?;
                self.sender = id.map(|id| (id, sender));
                Ok(sender)
            }
        }
    }
}

fn translate<'a>(
    context: &Context<'a>,
    told: &'a Told<'a>,
    recent: &mut Recent<'a>,
    out: &mut Translated,
) -> Result<(), Refused> {
    let update = match told {
        Told::Status { place, phone_number_id, status: told } => {
            let sender = recent.own(context, *phone_number_id)?;
            status(context, sender, *place, told, recent, out);
            return Ok(());
        }
        Told::Update(update) => update,
    };
    let place = update.place;
    let id = update.phone_number_id.as_deref();
    match &update.what {
        What::Status(told) => {
            let sender = recent.own(context, id)?;
            status(context, sender, place, &told.view(), &mut Recent::default(), out);
        }
        What::Tap(told) => tap(context, recent.own(context, id)?, place, told, out),
        What::Reply(told) => reply(context, recent.own(context, id)?, place, told, out),
        What::UrlClick(told) => url_click(context, context.sender_by_id(id)?, place, told, out),
        What::CategoryUpdate(told) => category(context, update, told, out)?,
        What::TemplateStatus(told) => template_status(context, update, told, out),
        What::Nothing { kind } => {
            if CHANGING.contains(kind) {
                let stale = channels(context, update).into_iter();
                out.notices.extend(stale.map(|channel| Notice::Stale(channel.id.clone())));
            }
            out.nothing(place, kind);
        }
        What::Unknown { kind } => out.unknown(place, kind),
        What::Bad { why } => out.dead(place, why),
    }
    Ok(())
}

fn status<'a>(
    context: &Context<'_>,
    sender: Sender<'_>,
    place: Place,
    told: &'a StatusView<'a>,
    recent: &mut Recent<'a>,
    out: &mut Translated,
) {
    let status = match told.status {
        wire::StatusWord::Sent => Status::Sent,
        wire::StatusWord::Delivered => Status::Delivered,
        wire::StatusWord::Read => Status::Read,
        wire::StatusWord::Played => Status::Played,
        wire::StatusWord::Failed => Status::Failed,
        wire::StatusWord::Deleted => return out.nothing(place, "status deleted"),
        wire::StatusWord::Warning => return out.nothing(place, "status warning"),
        wire::StatusWord::Other => {
            let word: String = told.word.chars().take(64).collect();
            return out.unknown(place, format_args!("status {word}"));
        }
    };
    out.unread(place, told.unread);
    let channel = &sender.channel.id;
    let is_delivery = matches!(status, Status::Delivered | Status::Read | Status::Played);
    let event = MessageEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        message: context.message_hash(channel, &told.wamid),
        participant: participant(context, channel, told),
        time: Time(told.time_ms),
        status: Some(status),
        error: told.error_code.filter(|_| status == Status::Failed),
        pricing: told
            .pricing
            .filter(|_| is_delivery)
            .and_then(|told| priced(place, told, recent, out)),
        claim: claim(place, told, recent, out),
    };
    out.count(context, place, Event::Message(event));
}

/// Whom a status of a group is about: one participant, by number, BSUID or both.
fn participant(context: &Context<'_>, channel: &ChannelId, told: &StatusView<'_>) -> Vec<Hash> {
    if !told.group {
        return Vec::new();
    }
    let ids = [told.participant_id, told.participant_user_id];
    let mut hashes: Vec<Hash> =
        ids.into_iter().flatten().map(|who| context.person_hash(channel, who)).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

fn priced<'a>(
    place: Place,
    told: PricingView<'a>,
    known: &mut Recent<'a>,
    out: &mut Translated,
) -> Option<Arc<Pricing>> {
    let PricingView { model, kind, category, cost } = told;
    let cost_of = |(micros, currency): (i64, &str)| {
        let currency = Text::new(currency).ok().filter(|currency| currency.as_str().len() <= 16);
        currency.and_then(|currency| Cost::new(currency, micros))
    };
    let pricing = recent(&mut known.pricings, told, || {
        let cost = cost.and_then(cost_of);
        if model.is_none() && kind.is_none() && category.is_none() && cost.is_none() {
            return None;
        }
        Some(Pricing { category: lossy(category), kind: lossy(kind), model: lossy(model), cost })
    });
    if cost.is_some() && pricing.as_ref().is_none_or(|pricing| pricing.cost.is_none()) {
        out.partly(place, "`pricing.cost` is out of bounds");
    }
    pricing
}

fn claim<'a>(
    place: Place,
    told: &'a StatusView<'a>,
    known: &mut Recent<'a>,
    out: &mut Translated,
) -> Option<Arc<Claim>> {
    let data = told.biz_opaque_callback_data.as_deref()?;
    recent(&mut known.claims, data, || {
        let sign = told.sign()?;
        let Some(sign) = core_sign(&sign) else {
            out.partly(place, "the sign in `biz_opaque_callback_data` cannot be read");
            return None;
        };
        let (source, template) = (Source::Sign, Some(sign.template));
        Some(Claim { source, template, campaign: sign.campaign })
    })
}

fn tap(
    context: &Context<'_>,
    sender: Sender<'_>,
    place: Place,
    told: &wire::Tap,
    out: &mut Translated,
) {
    out.unread(place, &told.unread);
    let channel = &sender.channel.id;
    let event = TapEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        id: context.inbound_hash(channel, &told.id),
        time: Time(told.time_ms),
        button: quick_reply(told.text.as_deref(), told.payload.as_deref()),
        message: told.context_id.as_deref().map(|id| context.message_hash(channel, id)),
        sign: payload_sign(told.payload.as_deref()),
    };
    out.count(context, place, Event::Tap(event));
}

/// A button is its kind and its text; without a text, what the sender gave as its payload.
pub(super) fn quick_reply(text: Option<&str>, payload: Option<&str>) -> Button {
    let own = || {
        let payload = payload?;
        match SignView::parse_payload(payload) {
            Some((_, own)) => own,
            None => Some(payload),
        }
    };
    Button { kind: ButtonKind::QuickReply, text: lossy(text.or_else(own)) }
}

fn reply(
    context: &Context<'_>,
    sender: Sender<'_>,
    place: Place,
    told: &wire::Reply,
    out: &mut Translated,
) {
    out.unread(place, &told.unread);
    let channel = &sender.channel.id;
    let event = TapEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        id: context.inbound_hash(channel, &told.id),
        time: Time(told.time_ms),
        button: Button {
            kind: ButtonKind::Interactive,
            text: lossy(told.title.as_deref().or(told.choice.as_deref())),
        },
        message: None,
        sign: None,
    };
    out.count(context, place, Event::Tap(event));
}

/// Names neither the message nor the template: it counts for the number. The button's text is
/// what was clicked, `cta` or `body`: the text on it is not told.
fn url_click(
    context: &Context<'_>,
    sender: Sender<'_>,
    place: Place,
    told: &wire::UrlClick,
    out: &mut Translated,
) {
    out.unread(place, &told.unread);
    let channel = &sender.channel.id;
    let id = link_click(&told.click_id);
    let event = TapEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        id: context.inbound_hash(channel, &id),
        time: Time(told.time_ms),
        button: Button { kind: ButtonKind::Url, text: lossy(told.component.as_deref()) },
        message: None,
        sign: None,
    };
    out.count(context, place, Event::Tap(event));
}

/// By what a click on a link is known: Meta's click id, however we hear of it. A blank is in no id,
/// so it cannot be confused with a wamid.
pub(crate) fn link_click(click_id: &str) -> String {
    format!("{click_id} marketing_messages_link_click")
}

fn category(
    context: &Context<'_>,
    update: &Update,
    told: &wire::CategoryUpdate,
    out: &mut Translated,
) -> Result<(), Refused> {
    let place = update.place;
    let (category, previous, effective) = match &told.change {
        CategoryChange::Impending { current, future, effective_ms } => {
            (future, current, effective_ms.or(update.entry_time_ms))
        }
        CategoryChange::Done { previous, category } => (category, previous, update.entry_time_ms),
    };
    let named = |word: &str| Refused::Category(word.chars().take(64).collect());
    let category = Category::parse(category).ok_or_else(|| named(category))?;
    let previous = previous.as_deref().and_then(|word| {
        let known = Category::parse(word);
        if known.is_none() {
            out.partly(place, named(word));
        }
        known
    });
    let effective = Time(effective.ok_or(Refused::NoTime)?);
    let channels = channels(context, update);
    if channels.is_empty() {
        return Err(Refused::Waba);
    }
    let mut found = false;
    for channel in channels {
        let Some(template) = template(context, channel, &told.template) else { continue };
        found = true;
        out.notices.push(Notice::Stale(channel.id.clone()));
        let event = CategoryEvent {
            channel: channel.id.clone(),
            template: Template { code: template.code.clone(), language: template.language.clone() },
            effective,
            category,
            previous,
        };
        out.count(context, place, Event::Category(event));
    }
    if found { Ok(()) } else { Err(Refused::Template) }
}

/// The channels of the account that an update is of, as far as the body may speak for them.
fn channels<'a>(context: &Context<'a>, update: &Update) -> Vec<&'a Channel> {
    let waba_id = update.waba_id.as_deref().and_then(|id| Text::new(id).ok());
    waba_id
        .iter()
        .flat_map(|id| context.snapshot.channels_of_waba(id))
        .map(AsRef::as_ref)
        .filter(|channel| context.may_speak_for(channel))
        .collect()
}

/// A template was approved, paused or the like: nothing is counted by it. One that is not known
/// here was made elsewhere.
fn template_status(
    context: &Context<'_>,
    update: &Update,
    told: &wire::TemplateStatus,
    out: &mut Translated,
) {
    for channel in channels(context, update) {
        out.notices.push(match template(context, channel, &told.template) {
            Some(known) => Notice::Template {
                channel: channel.id.clone(),
                template: known.identity(),
                status: Text::lossy(&told.event),
                reason: told.reason.as_deref().filter(|why| *why != "NONE").map(Text::lossy),
            },
            None => Notice::Stale(channel.id.clone()),
        });
    }
    out.nothing(update.place, "message_template_status_update");
}

/// The template that is meant: by Meta's id, else by its name and language.
fn template<'a>(
    context: &Context<'a>,
    channel: &Channel,
    told: &wire::TemplateRef,
) -> Option<&'a TemplateRecord> {
    let text = |text: &Option<String>| Text::new(text.as_deref()?).ok();
    let by_id =
        text(&told.id).and_then(|id| context.snapshot.template_by_meta_id(&channel.id, &id));
    let found = match by_id {
        Some(found) => Some(found),
        None => context.snapshot.template_by_name(
            &channel.id,
            &text(&told.name)?,
            &text(&told.language)?,
        ),
    };
    found.map(AsRef::as_ref)
}
