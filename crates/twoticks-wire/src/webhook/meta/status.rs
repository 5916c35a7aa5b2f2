//! `statuses[]`: what happened to a message.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Defect;
use super::super::json::{self, Fields, needed};
use super::{Conversation, Cost, Pricing, Status, StatusError, StatusWord, What};

#[derive(Deserialize)]
struct RawStatus<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    #[serde(rename = "type")]
    kind: Option<&'a RawValue>,
    recipient_type: Option<&'a RawValue>,
    recipient_id: Option<&'a RawValue>,
    recipient_user_id: Option<&'a RawValue>,
    recipient_participant_id: Option<&'a RawValue>,
    recipient_participant_user_id: Option<&'a RawValue>,
    biz_opaque_callback_data: Option<&'a RawValue>,
    pricing: Option<&'a RawValue>,
    conversation: Option<&'a RawValue>,
    errors: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawPricing<'a> {
    #[serde(borrow)]
    billable: Option<&'a RawValue>,
    pricing_model: Option<&'a RawValue>,
    #[serde(rename = "type")]
    kind: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
    cost: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawCost<'a> {
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    currency: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawConversation<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    expiration_timestamp: Option<&'a RawValue>,
    origin: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawOrigin<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawError<'a> {
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    title: Option<&'a RawValue>,
    error_data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawErrorData<'a> {
    #[serde(borrow)]
    details: Option<&'a RawValue>,
}

/// Reads one element of `statuses`.
pub(super) fn read(raw: &RawValue) -> Result<What, Defect> {
    let told: RawStatus<'_> = json::object(raw)?;
    let mut fields = Fields::default();
    let kind = fields.word("type", told.kind);
    if kind.is_some_and(|kind| kind.eq_ignore_ascii_case("call")) {
        return Ok(What::Nothing { kind: "call status" });
    }
    let word = needed("status", told.status, json::word)?;
    let wamid = needed("id", told.id, json::word)?;
    let time_ms = needed("timestamp", told.timestamp, json::seconds)?;
    let recipient_type = fields.word("recipient_type", told.recipient_type);
    let pricing = pricing(&mut fields, told.pricing);
    let conversation = conversation(&mut fields, told.conversation);
    let (error, errors) = errors(&mut fields, told.errors);
    Ok(What::Status(Box::new(Status {
        wamid,
        status: status_word(&word),
        word,
        time_ms,
        group: recipient_type.is_some_and(|kind| kind.eq_ignore_ascii_case("group")),
        recipient_id: fields.word("recipient_id", told.recipient_id),
        recipient_user_id: fields.word("recipient_user_id", told.recipient_user_id),
        recipient_participant_id: fields
            .word("recipient_participant_id", told.recipient_participant_id),
        recipient_participant_user_id: fields
            .word("recipient_participant_user_id", told.recipient_participant_user_id),
        biz_opaque_callback_data: fields
            .word("biz_opaque_callback_data", told.biz_opaque_callback_data),
        pricing,
        conversation,
        error,
        errors,
        unread: fields.unread,
    })))
}

pub(super) fn status_word(word: &str) -> StatusWord {
    let known = [
        ("sent", StatusWord::Sent),
        ("delivered", StatusWord::Delivered),
        ("read", StatusWord::Read),
        ("played", StatusWord::Played),
        ("failed", StatusWord::Failed),
        ("deleted", StatusWord::Deleted),
        ("warning", StatusWord::Warning),
    ];
    known
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map_or(StatusWord::Other, |(_, known)| known)
}

fn pricing(fields: &mut Fields, raw: Option<&RawValue>) -> Option<Pricing> {
    let told: RawPricing<'_> = fields.object("pricing", raw)?;
    let cost = fields.object("pricing.cost", told.cost).and_then(|told: RawCost<'_>| {
        let micros = fields.micros("pricing.cost.amount", told.amount);
        let currency = fields.word("pricing.cost.currency", told.currency);
        match (micros, currency) {
            (Some(micros), Some(currency)) => Some(Cost { micros, currency }),
            (None, None) => None,
            // Half an amount is none.
            (Some(_), None) | (None, Some(_)) => {
                fields.unread.push("pricing.cost");
                None
            }
        }
    });
    Some(Pricing {
        billable: fields.flag("pricing.billable", told.billable),
        model: fields.word("pricing.pricing_model", told.pricing_model),
        kind: fields.word("pricing.type", told.kind),
        category: fields.word("pricing.category", told.category),
        cost,
    })
}

fn conversation(fields: &mut Fields, raw: Option<&RawValue>) -> Option<Conversation> {
    let told: RawConversation<'_> = fields.object("conversation", raw)?;
    let origin: Option<RawOrigin<'_>> = fields.object("conversation.origin", told.origin);
    Some(Conversation {
        id: fields.word("conversation.id", told.id),
        origin: origin.and_then(|origin| fields.word("conversation.origin.type", origin.kind)),
        expires_ms: fields.seconds("conversation.expiration_timestamp", told.expiration_timestamp),
    })
}

/// The first of the errors, and how many there are.
fn errors(fields: &mut Fields, raw: Option<&RawValue>) -> (Option<StatusError>, u32) {
    let (mut first, mut count) = (None, 0_u32);
    let Some(raw) = raw else { return (None, 0) };
    json::elements(raw, &mut |error| {
        if count == 0 {
            first = one_error(fields, error);
        }
        count = count.saturating_add(1);
        true
    });
    (first, count)
}

fn one_error(fields: &mut Fields, raw: &RawValue) -> Option<StatusError> {
    let told: RawError<'_> = fields.object("errors", Some(raw))?;
    let data: Option<RawErrorData<'_>> = fields.object("errors.error_data", told.error_data);
    Some(StatusError {
        code: fields.integer("errors.code", told.code),
        title: fields.text("errors.title", told.title),
        details: data.and_then(|data| fields.text("errors.error_data.details", data.details)),
    })
}
