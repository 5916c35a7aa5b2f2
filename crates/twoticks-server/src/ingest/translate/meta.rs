//! The webhooks of the Cloud API.
//!
//! A number is known by its `phone_number_id` alone: `display_phone_number` is written in many
//! ways and proves nothing. Statuses, taps and replies count only for a channel that takes its
//! statuses from here. Opened links and changes of categories are told here only, so they count
//! whatever the source of the statuses is.

use twoticks_core::clock::Time;
use twoticks_core::event::{
    Button, ButtonKind, Category, CategoryEvent, Claim, Cost, Event, MessageEvent, Pricing, Source,
    Status, TapEvent,
};
use twoticks_core::ids::{ChannelId, Hash, Template, Text};
use twoticks_store::directory::model::{Channel, StatusSource, TemplateRecord};
use twoticks_wire::webhook::meta::{self as wire, CategoryChange, Place, Update, What};

use super::{Context, Refused, Sender, Translated, core_sign, lossy};

/// Translates a webhook of the Cloud API; `body` are the bytes as they came.
#[must_use]
pub fn meta(context: &Context<'_>, body: &[u8]) -> Translated {
    let updates = match wire::parse(body) {
        Ok(updates) => updates,
        Err(why) => return Translated::unreadable(why),
    };
    let mut out = Translated::default();
    for update in &updates {
        if context.only.is_some() && !context.takes(&update.place.to_string()) {
            continue;
        }
        if let Err(why) = translate(context, update, &mut out) {
            out.dead(update.place, why);
        }
    }
    out
}

fn translate(context: &Context<'_>, update: &Update, out: &mut Translated) -> Result<(), Refused> {
    let place = update.place;
    let sender = || context.sender_by_id(update.phone_number_id.as_deref());
    let own = || {
        let sender = sender()?;
        sender.takes(StatusSource::CloudApi).map(|()| sender)
    };
    match &update.what {
        What::Status(told) => status(context, own()?, place, told, out),
        What::Tap(told) => tap(context, own()?, place, told, out),
        What::Reply(told) => reply(context, own()?, place, told, out),
        What::UrlClick(told) => url_click(context, sender()?, place, told, out),
        What::CategoryUpdate(told) => category(context, update, told, out)?,
        What::TemplateStatus(_) => out.nothing(place, "message_template_status_update"),
        What::Nothing { kind } => out.nothing(place, kind),
        What::Unknown { kind } => out.unknown(place, kind),
        What::Bad { why } => out.dead(place, why),
    }
    Ok(())
}

fn status(
    context: &Context<'_>,
    sender: Sender<'_>,
    place: Place,
    told: &wire::Status,
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
    out.unread(place, &told.unread);
    let channel = &sender.channel.id;
    let is_delivery = matches!(status, Status::Delivered | Status::Read | Status::Played);
    let event = MessageEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        message: context.message_hash(channel, &told.wamid),
        participant: participant(context, channel, told),
        time: Time(told.time_ms),
        status: Some(status),
        error: told.error.as_ref().and_then(|e| e.code).filter(|_| status == Status::Failed),
        pricing: match &told.pricing {
            Some(pricing) if is_delivery => priced(place, pricing, out).map(Into::into),
            _ => None,
        },
        claim: claim(place, told, out).map(Into::into),
    };
    out.count(context, place, Event::Message(event));
}

/// Whom a status of a group is about: one participant, by number, BSUID or both.
fn participant(context: &Context<'_>, channel: &ChannelId, told: &wire::Status) -> Vec<Hash> {
    if !told.group {
        return Vec::new();
    }
    let ids = [&told.recipient_participant_id, &told.recipient_participant_user_id];
    let mut hashes: Vec<Hash> =
        ids.into_iter().flatten().map(|who| context.person_hash(channel, who)).collect();
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

fn priced(place: Place, told: &wire::Pricing, out: &mut Translated) -> Option<Pricing> {
    let wire::Pricing { billable: _, model, kind, category, cost } = told;
    let cost = cost.as_ref().and_then(|wire::Cost { micros, currency }| {
        let currency = Text::new(currency).ok().filter(|currency| currency.as_str().len() <= 16);
        let cost = currency.and_then(|currency| Cost::new(currency, *micros));
        if cost.is_none() {
            out.partly(place, "`pricing.cost` is out of bounds");
        }
        cost
    });
    if model.is_none() && kind.is_none() && category.is_none() && cost.is_none() {
        return None;
    }
    Some(Pricing {
        category: lossy(category.as_deref()),
        kind: lossy(kind.as_deref()),
        model: lossy(model.as_deref()),
        cost,
    })
}

fn claim(place: Place, told: &wire::Status, out: &mut Translated) -> Option<Claim> {
    let sign = told.sign()?;
    let Some(sign) = core_sign(&sign) else {
        out.partly(place, "the sign in `biz_opaque_callback_data` cannot be read");
        return None;
    };
    Some(Claim { source: Source::Sign, template: Some(sign.template), campaign: sign.campaign })
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
        sign: told.sign().as_ref().and_then(core_sign),
    };
    out.count(context, place, Event::Tap(event));
}

/// A button is its kind and its text; without a text, what the sender gave as its payload.
pub(super) fn quick_reply(text: Option<&str>, payload: Option<&str>) -> Button {
    let own = || {
        let payload = payload?;
        match wire_sign(payload) {
            Some((_, own)) => own,
            None => Some(payload),
        }
    };
    Button { kind: ButtonKind::QuickReply, text: lossy(text.or_else(own)) }
}

fn wire_sign(payload: &str) -> Option<(twoticks_wire::webhook::sign::Sign, Option<&str>)> {
    twoticks_wire::webhook::sign::Sign::parse_payload(payload)
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
    // A blank is in no id, so the three cannot be confused with another three or with a wamid.
    let id = format!("{} marketing_messages_link_click {}", told.click_id, told.time_ms);
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
    let waba_id = update.waba_id.as_deref().and_then(|id| Text::new(id).ok());
    let channels: Vec<&Channel> = waba_id
        .iter()
        .flat_map(|id| context.snapshot.channels_of_waba(id))
        .map(AsRef::as_ref)
        .filter(|channel| context.may_speak_for(channel))
        .collect();
    if channels.is_empty() {
        return Err(Refused::Waba);
    }
    let mut found = false;
    for channel in channels {
        let Some(template) = template(context, channel, &told.template) else { continue };
        found = true;
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
