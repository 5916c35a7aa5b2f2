//! `SendChatappMessage`: one message to one recipient, with a template or free-form.

use std::sync::Arc;

use serde_json::{Map, Value};
use twoticks_store::directory::model::TemplateRecord;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::params::Params;

use super::arguments::{bounded, object, required, text};
use super::dispatch::{Asked, Dispatched, dispatch, refused};
use super::message::{self, check_channel_type, handed_on, recipient, sender};
use super::required as needed;
use super::{Answer, CUST_SPACE_ID, Context, Field, Operation, Parameter, field, optional};
use crate::access::isv::IsvCodeUse;
use crate::api_error::ApiError;
use crate::sending::Outcome;

/// What a free-form message can be, and the member that its `Content` has to have.
///
/// `pin` and `carousel` are the newest; `typing_indicator` needs no content.
const MESSAGE_TYPES: &[(&str, Option<(&str, Code)>)] = &[
    ("text", Some(("text", Code::TextNotEmpty))),
    ("image", Some(("link", Code::LinkNotEmpty))),
    ("video", Some(("link", Code::LinkNotEmpty))),
    ("audio", Some(("link", Code::LinkNotEmpty))),
    ("document", Some(("link", Code::LinkNotEmpty))),
    ("sticker", Some(("link", Code::LinkNotEmpty))),
    ("interactive", None),
    ("location", None),
    ("contacts", None),
    ("reaction", None),
    ("pin", None),
    ("carousel", None),
    (TYPING_INDICATOR, None),
];
/// The longest `Content`, in bytes: all that WhatsApp takes, and what a message that waits may take
/// of memory.
const CONTENT_BYTES_MAX: usize = 16 * 1024;
const TYPING_INDICATOR: &str = "typing_indicator";

pub(super) struct Send(Asked);

impl Operation for Send {
    const NAME: &'static str = "SendChatappMessage";
    const SUMMARY: &'static str =
        "Sends one message, with a template or, within a conversation, free-form.";
    const PARAMETERS: &'static [Parameter] = &[
        needed("ChannelType", "string", message::CHANNEL_TYPE),
        needed("Type", "string", "`template` or `message`."),
        needed("From", "string", message::FROM),
        needed("To", "string", "The recipient: a phone number, a BSUID, or a group."),
        optional("RecipientType", "string", "`individual`, `group` or `userId` (a BSUID)."),
        message::TEMPLATE_CODE,
        message::TEMPLATE_NAME,
        optional("Language", "string", "The language; needed if the template has several."),
        optional("TemplateParams", "object", "Texts by the names of the template's variables."),
        optional("Payload", "array", "Payloads of the template's quick replies, in their order."),
        optional("MessageType", "string", "Needed for `message`: `text`, `image`, and so on."),
        optional("Content", "object", "Needed for `message`: what its type asks for."),
        optional("ProductAction", "object", "Products: at most 10 sections with 30 products."),
        optional("FlowAction", "object", "`FlowToken` and `FlowActionData` of a flow."),
        optional("ContextMessageId", "string", "The message that is replied to; handed on."),
        message::TASK_ID,
        optional("TrackingData", "string", "For Viber; handed on."),
        message::TAG,
        message::LABEL,
        message::TTL,
        message::FALL_BACK_ID,
        message::FALL_BACK_CONTENT,
        message::FALL_BACK_RULE,
        message::FALL_BACK_DURATION,
        optional("Category", "string", "For customers that Meta invited; handed on."),
        CUST_SPACE_ID,
        message::CUST_WABA_ID,
        message::IGNORED_ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[field(
        "MessageId",
        "string",
        "The id under which the message's statuses come: its wamid; ours if WhatsApp has not \
         said it yet, and then `twoticks message list --group ID` has the wamid later.",
    )];
    const QPS: u32 = 250;
    const ISV_CODE: IsvCodeUse = IsvCodeUse::Ignored;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        let params = context.params;
        check_channel_type(params)?;
        let kind = required(params, "Type")?;
        let from = sender(context)?;
        required(params, "To")?;
        let mut call = handed_on(params)?;
        call.insert("Type".to_owned(), kind.into());
        for name in ["ContextMessageId", "Category"] {
            if let Some(text) = bounded(params, name, message::TEXT_CHARS_MAX)? {
                call.insert(name.to_owned(), text.into());
            }
        }
        let template = match kind {
            "template" => Some(message::template(context)?),
            "message" => {
                call.append(&mut free_form(params)?);
                None
            }
            _ => return Err(Refusal::invalid("Type").into()),
        };
        let recipient = recipient(&members(params)?, template.as_deref())?;
        Ok(Self(Asked {
            operation: Self::NAME,
            from,
            template: template.as_deref().map(TemplateRecord::identity),
            recipients: vec![recipient],
            call: Arc::new(call),
            waits: true,
        }))
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let Dispatched { group, outcomes } = dispatch(context, self.0).await?;
        let id = match outcomes.into_iter().next().flatten() {
            Some(Outcome::Taken(wamid)) => wamid,
            Some(Outcome::Refused(why)) => return Err(refused(why)),
            // It goes on by itself, or nobody knows: whoever sent it again might send it twice.
            Some(Outcome::Unknown(_) | Outcome::Done) | None => group,
        };
        Ok(Answer::from_iter([("MessageId".to_owned(), id.into())]))
    }
}

/// What a mass send has per recipient, from the call's own parameters.
fn members(params: &Params) -> Result<Map<String, Value>, Refusal> {
    let mut members = Map::new();
    for name in ["To", "RecipientType"] {
        if let Some(text) = text(params, name) {
            members.insert(name.to_owned(), text.into());
        }
    }
    for name in ["TemplateParams", "Payload", "ProductAction", "FlowAction"] {
        if let Some(value) = params.json(name)? {
            members.insert(name.to_owned(), value);
        }
    }
    Ok(members)
}

/// `MessageType` and `Content`.
fn free_form(params: &Params) -> Result<Map<String, Value>, Refusal> {
    let kind = text(params, "MessageType").ok_or(Code::MessageTypeNotEmpty)?;
    let (_, needs) =
        MESSAGE_TYPES.iter().find(|(name, _)| *name == kind).ok_or(Code::MessageTypeNotSupport)?;
    if text(params, "Content").is_some_and(|content| content.len() > CONTENT_BYTES_MAX) {
        return Err(Code::ContentError.into());
    }
    let content = object(params, "Content").map_err(|_| Refusal::from(Code::ContentError))?;
    let content = match content {
        Some(content) => content,
        None if kind == TYPING_INDICATOR => Map::new(),
        None => return Err(Code::ContentNotEmpty.into()),
    };
    if let Some((member, code)) = needs {
        let told = content.get(*member).and_then(Value::as_str);
        if told.is_none_or(str::is_empty) {
            return Err((*code).into());
        }
    }
    Ok(Map::from_iter([
        ("MessageType".to_owned(), kind.into()),
        ("Content".to_owned(), content.into()),
    ]))
}

#[cfg(test)]
mod tests {
    use twoticks_wire::params::encode;

    use super::*;

    #[test]
    fn free_form_content_is_what_its_type_asks_for() {
        let long = |bytes: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11));
        let (fits, too_long) = (long(CONTENT_BYTES_MAX), long(CONTENT_BYTES_MAX + 1));
        for (kind, content, code) in [
            ("text", r#"{"text":"hello"}"#, None),
            ("text", r#"{"text":""}"#, Some("InvalidParameter.TextNotEmpty")),
            ("text", "{}", Some("InvalidParameter.TextNotEmpty")),
            ("text", "hello", Some("InvalidParameter.ContentError")),
            ("text", "[1]", Some("InvalidParameter.ContentError")),
            ("text", "", Some("InvalidParameter.ContentNotEmpty")),
            ("image", r#"{"link":"https://example.com/a.png"}"#, None),
            ("image", r#"{"text":"x"}"#, Some("InvalidParameter.LinkNotEmpty")),
            ("reaction", "{}", None),
            ("typing_indicator", "", None),
            ("text", &fits, None),
            ("text", &too_long, Some("InvalidParameter.ContentError")),
            ("smell", "{}", Some("InvalidParameter.MessageTypeNotSupport")),
            ("", "{}", Some("InvalidParameter.MessageTypeNotEmpty")),
        ] {
            let query = format!("MessageType={kind}&Content={}", encode(content));
            let refused = free_form(&Params::parse(query.as_bytes(), None).unwrap()).err();
            assert_eq!(refused.as_ref().map(Refusal::name), code, "{kind} {content}");
        }
    }
}
