//! `messages[]` and `user_actions[]`: what people did.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Defect;
use super::super::json::{self, Fields, needed};
use super::{Reply, ReplyKind, Tap, UrlClick, What, unknown};

/// Kinds of messages in which there is nothing to count.
const KINDS: &[&str] = &[
    "audio",
    "contacts",
    "document",
    "edit",
    "ephemeral",
    "group_invite",
    "image",
    "location",
    "order",
    "poll",
    "reaction",
    "request_welcome",
    "revoke",
    "sticker",
    "system",
    "text",
    "unknown",
    "unsupported",
    "video",
    "voice",
];

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(rename = "type")]
    kind: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    from: Option<&'a RawValue>,
    from_user_id: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
    button: Option<&'a RawValue>,
    interactive: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawContext<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawButton<'a> {
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawInteractive<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    button_reply: Option<&'a RawValue>,
    list_reply: Option<&'a RawValue>,
    nfm_reply: Option<&'a RawValue>,
    call_permission_reply: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChoice<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    title: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    body: Option<&'a RawValue>,
    response: Option<&'a RawValue>,
}

/// Reads one element of `messages`.
pub(super) fn read(raw: &RawValue) -> Result<What, Defect> {
    let told: RawMessage<'_> = json::object(raw)?;
    let Some(kind) = told.kind.and_then(json::word) else {
        // A button's text can stand in no other kind of message.
        return if told.button.is_some() { tap(&told) } else { Ok(unknown("message")) };
    };
    match kind.as_str() {
        "button" => tap(&told),
        "interactive" => interactive(&told),
        _ => Ok(nothing(KINDS, &kind, "message")),
    }
}

/// Nothing, if `kind` is one of those; else unknown, named with its family.
fn nothing(kinds: &[&'static str], kind: &str, family: &str) -> What {
    match kinds.iter().find(|known| **known == kind) {
        Some(&kind) => What::Nothing { kind },
        None => unknown(&format!("{family} {kind}")),
    }
}

fn context_id(fields: &mut Fields, told: &RawMessage<'_>) -> Option<String> {
    let context: RawContext<'_> = fields.object("context", told.context)?;
    fields.word("context.id", context.id)
}

fn tap(told: &RawMessage<'_>) -> Result<What, Defect> {
    let mut fields = Fields::default();
    let id = needed("id", told.id, json::word)?;
    let time_ms = needed("timestamp", told.timestamp, json::seconds)?;
    let button: RawButton<'_> = json::object(told.button.ok_or(Defect::Missing("button"))?)
        .map_err(|_| Defect::Unreadable("button"))?;
    let text = fields.text("button.text", button.text);
    let payload = fields.text("button.payload", button.payload);
    if text.is_none() && payload.is_none() {
        return Err(Defect::Missing("button.text"));
    }
    Ok(What::Tap(Box::new(Tap {
        id,
        time_ms,
        from: fields.word("from", told.from),
        from_user_id: fields.word("from_user_id", told.from_user_id),
        text,
        payload,
        context_id: context_id(&mut fields, told),
        unread: fields.unread,
    })))
}

fn interactive(told: &RawMessage<'_>) -> Result<What, Defect> {
    let Some(raw) = told.interactive else { return Ok(unknown("interactive")) };
    let answer: RawInteractive<'_> =
        json::object(raw).map_err(|_| Defect::Unreadable("interactive"))?;
    let Some(word) = answer.kind.and_then(json::word) else { return Ok(unknown("interactive")) };
    let (kind, raw) = match word.as_str() {
        "button_reply" => (ReplyKind::Button, answer.button_reply),
        "list_reply" => (ReplyKind::List, answer.list_reply),
        "nfm_reply" => (ReplyKind::Form, answer.nfm_reply),
        "call_permission_reply" => (ReplyKind::CallPermission, answer.call_permission_reply),
        _ => return Ok(nothing(&["payment_method", "payment_notification"], &word, "interactive")),
    };
    let mut fields = Fields::default();
    let choice: Option<RawChoice<'_>> = fields.object("interactive", raw);
    let (choice, title) = match (kind, choice) {
        (_, None) => (None, None),
        (ReplyKind::Button | ReplyKind::List, Some(choice)) => (
            fields.text("interactive.id", choice.id),
            fields.text("interactive.title", choice.title),
        ),
        (ReplyKind::Form, Some(choice)) => (
            fields.text("interactive.name", choice.name),
            fields.text("interactive.body", choice.body),
        ),
        (ReplyKind::CallPermission, Some(choice)) => {
            (None, fields.text("interactive.response", choice.response))
        }
    };
    Ok(What::Reply(Box::new(Reply {
        id: needed("id", told.id, json::word)?,
        time_ms: needed("timestamp", told.timestamp, json::seconds)?,
        from: fields.word("from", told.from),
        from_user_id: fields.word("from_user_id", told.from_user_id),
        kind,
        choice,
        title,
        context_id: context_id(&mut fields, told),
        unread: fields.unread,
    })))
}

#[derive(Deserialize)]
struct RawAction<'a> {
    #[serde(borrow)]
    action_type: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    marketing_messages_link_click_data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawClick<'a> {
    #[serde(borrow)]
    click_id: Option<&'a RawValue>,
    tracking_token: Option<&'a RawValue>,
    click_component: Option<&'a RawValue>,
    product_id: Option<&'a RawValue>,
}

/// Reads one element of `user_actions`.
pub(super) fn read_action(raw: &RawValue) -> Result<What, Defect> {
    let told: RawAction<'_> = json::object(raw)?;
    let kind = needed("action_type", told.action_type, json::word)?.to_ascii_lowercase();
    if kind != "marketing_messages_link_click" {
        return Ok(nothing(&["landing_page_view"], &kind, "user action"));
    }
    let data = "marketing_messages_link_click_data";
    let click: RawClick<'_> =
        json::object(told.marketing_messages_link_click_data.ok_or(Defect::Missing(data))?)
            .map_err(|_| Defect::Unreadable(data))?;
    let mut fields = Fields::default();
    Ok(What::UrlClick(UrlClick {
        click_id: needed("click_id", click.click_id, json::word)?,
        time_ms: needed("timestamp", told.timestamp, json::seconds)?,
        tracking_token: fields.word("tracking_token", click.tracking_token),
        component: fields
            .word("click_component", click.click_component)
            .map(|component| component.to_ascii_lowercase()),
        product_id: fields.word("product_id", click.product_id),
        unread: fields.unread,
    }))
}
