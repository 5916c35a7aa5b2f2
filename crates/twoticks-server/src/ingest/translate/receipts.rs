//! The receipts of CAMS.
//!
//! A receipt names its template itself. Statuses and taps count only for a channel that takes its
//! statuses from receipts, and only for the numbers of channels that the body may speak for;
//! which space or WhatsApp account it says it is from proves nothing.

use twoticks_core::clock::Time;
use twoticks_core::event::{Claim, Event, MessageEvent, Source, Status, TapEvent};
use twoticks_core::ids::{Template, Text};
use twoticks_store::directory::model::StatusSource;
use twoticks_wire::webhook::cams as wire;

use super::meta::quick_reply;
use super::{Context, Refused, Sender, Translated, payload_sign};

/// Translates receipts of CAMS; `body` are the bytes as they came.
#[must_use]
pub fn receipts(context: &Context<'_>, body: &[u8]) -> Translated {
    let receipts = match wire::parse(body) {
        Ok(receipts) => receipts,
        Err(why) => return Translated::unreadable(why),
    };
    let mut out = Translated::default();
    for receipt in &receipts {
        let place = format!("receipt {}", receipt.index);
        if !context.takes(&place) {
            continue;
        }
        let translated = match &receipt.what {
            wire::What::Status(told) => status(context, &place, told, &mut out),
            wire::What::Inbound(told) => inbound(context, &place, told, &mut out),
            wire::What::Audit(_) => {
                out.nothing(&place, "ChatAppAudit");
                Ok(())
            }
            wire::What::Unknown => {
                out.unknown(&place, "receipt");
                Ok(())
            }
            wire::What::Bad { why } => {
                out.dead(&place, why);
                Ok(())
            }
        };
        if let Err(why) = translated {
            out.dead(&place, why);
        }
    }
    out
}

fn own<'a>(
    context: &Context<'a>,
    field: &'static str,
    number: Option<&str>,
) -> Result<Sender<'a>, Refused> {
    let sender = context.sender_by_digits(field, number)?;
    sender.takes(StatusSource::Receipts).map(|()| sender)
}

fn status(
    context: &Context<'_>,
    place: &str,
    told: &wire::Status,
    out: &mut Translated,
) -> Result<(), Refused> {
    let sender = own(context, "From", told.from.as_deref())?;
    let status = match told.status {
        wire::StatusWord::Sent => Status::Sent,
        wire::StatusWord::Delivered => Status::Delivered,
        wire::StatusWord::Read => Status::Read,
        wire::StatusWord::Failed => Status::Failed,
        wire::StatusWord::Deleted => {
            out.nothing(place, "status Deleted");
            return Ok(());
        }
        wire::StatusWord::Subscribe | wire::StatusWord::Unsubscribe => {
            out.nothing(place, "status of a subscription");
            return Ok(());
        }
        wire::StatusWord::Other => {
            let word: String = told.word.chars().take(64).collect();
            out.unknown(place, format_args!("status {word}"));
            return Ok(());
        }
    };
    out.unread(place, &told.unread);
    let error = told.error_code.as_deref().filter(|_| status == Status::Failed).and_then(|code| {
        let number = code.trim().parse().ok();
        if number.is_none() && !code.trim().is_empty() {
            out.partly(place, "`ErrorCode` is no number");
        }
        number
    });
    let channel = &sender.channel.id;
    let event = MessageEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        message: context.message_hash(channel, &told.message_id),
        participant: Vec::new(),
        time: Time(told.time_ms),
        status: Some(status),
        error,
        pricing: None,
        claim: claim(context, sender, place, told, out).map(Into::into),
    };
    out.count(context, place, Event::Message(event));
    Ok(())
}

/// Whose template it says the message used. A template without a code is found by its name; half
/// a name is not guessed from.
fn claim(
    context: &Context<'_>,
    sender: Sender<'_>,
    place: &str,
    told: &wire::Status,
    out: &mut Translated,
) -> Option<Claim> {
    let text = |text: &Option<String>| text.as_deref().filter(|t| !t.is_empty()).map(Text::new);
    let is = |word: &str| {
        told.msg_frame_type.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case(word))
    };
    let free_form = Claim { source: Source::Receipt, template: None, campaign: None };
    if is("message") {
        return Some(free_form);
    }
    let template =
        match (text(&told.template_code), text(&told.template_name), text(&told.language)) {
            (Some(Ok(code)), _, Some(Ok(language))) => Some(Template { code, language }),
            (None, Some(Ok(name)), Some(Ok(language))) => context
                .snapshot
                .template_by_name(&sender.channel.id, &name, &language)
                .map(|it| Template { code: it.code.clone(), language: it.language.clone() }),
            _ => None,
        };
    if template.is_none() && is("template") {
        out.partly(place, "`TemplateCode` and `Language` do not name a template");
    }
    template.map(|template| Claim { template: Some(template), ..free_form })
}

fn inbound(
    context: &Context<'_>,
    place: &str,
    told: &wire::Inbound,
    out: &mut Translated,
) -> Result<(), Refused> {
    let Some(reply) = &told.reply else {
        out.nothing(place, "ChatAppInbound");
        return Ok(());
    };
    let sender = own(context, "To", told.to.as_deref())?;
    out.unread(place, &told.unread);
    let channel = &sender.channel.id;
    let event = TapEvent {
        channel: channel.clone(),
        number: sender.number.clone(),
        id: context.inbound_hash(channel, &told.message_id),
        time: Time(told.time_ms),
        button: quick_reply(reply.text.as_deref(), reply.payload.as_deref()),
        // CAMS does not say which message was answered.
        message: None,
        sign: payload_sign(reply.payload.as_deref()),
    };
    out.count(context, place, Event::Tap(event));
    Ok(())
}
