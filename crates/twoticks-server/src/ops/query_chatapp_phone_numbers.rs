//! `QueryChatappPhoneNumbers`: the business numbers of a channel, and what WhatsApp says of them.

use serde_json::{Value, json};
use twoticks_core::ids::Text;
use twoticks_store::directory::model::Number;
use twoticks_store::directory::names::Secret;
use twoticks_store::directory::pass_on::Callbacks;

use super::arguments::text;
use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter};
use super::{field, optional};
use crate::api_error::ApiError;

pub(super) struct Get {
    status: Option<String>,
}

impl Operation for Get {
    const NAME: &'static str = "QueryChatappPhoneNumbers";
    const SUMMARY: &'static str = "Lists the business numbers of a channel.";
    const PARAMETERS: &'static [Parameter] = &[
        optional("Status", "string", "Only numbers of this status, such as `CONNECTED`."),
        CUST_SPACE_ID,
        ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[
        field("PhoneNumbers[].PhoneNumber", "string", "The number, digits only."),
        field("PhoneNumbers[].Status", "string", "`CONNECTED` and so on, as WhatsApp says it."),
        field("PhoneNumbers[].QualityRating", "string", "`GREEN`, `YELLOW`, `RED` or `UNKNOWN`."),
        field("PhoneNumbers[].MessagingLimitTier", "string", "Such as `TIER_10K`, if it is known."),
        field("PhoneNumbers[].VerifiedName", "string", "The name that recipients see."),
        field("PhoneNumbers[].StatusCallbackUrl", "string", "Where receipts of statuses go."),
        field("PhoneNumbers[].UpCallbackUrl", "string", "Where those of inbound messages go."),
    ];
    const QPS: u32 = 10;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        Ok(Self { status: text(context.params, "Status").map(str::to_owned) })
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let directory = context.app.directory.snapshot();
        let numbers = directory.numbers_of(context.channel()).iter();
        let wanted = numbers.filter(|number| {
            self.status.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(status(number)))
        });
        let pass_on = directory.pass_on(context.channel());
        let callbacks = |number: &Number| {
            let of = pass_on.map(|of| of.callbacks_of(&number.phone_number));
            of.filter(|of| of.enabled).unwrap_or_default()
        };
        let shown: Vec<Value> = wanted.map(|number| shown(number, &callbacks(number))).collect();
        Ok(Answer::from_iter([
            ("Success".to_owned(), true.into()),
            ("PhoneNumbers".to_owned(), shown.into()),
        ]))
    }
}

/// A number that nobody asked WhatsApp about is one that is used.
fn status(number: &Number) -> &str {
    let status = number.graph.as_ref().and_then(|graph| graph.status.as_ref());
    status.map_or("CONNECTED", Text::as_str)
}

fn shown(number: &Number, callbacks: &Callbacks) -> Value {
    let graph = number.graph.as_ref();
    let text = |text: Option<&Text>| text.map_or_else(String::new, |text| text.as_str().to_owned());
    let url =
        |url: &Option<Secret>| url.as_ref().map_or(String::new(), |it| it.expose().to_owned());
    let quality = graph.and_then(|graph| graph.quality_rating.as_ref());
    json!({
        "PhoneNumber": number.phone_number, "Status": status(number),
        "QualityRating": quality.map_or("UNKNOWN", Text::as_str),
        "MessagingLimitTier": text(graph.and_then(|graph| graph.messaging_limit.as_ref())),
        "VerifiedName": text(graph.and_then(|graph| graph.verified_name.as_ref())),
        "StatusCallbackUrl": url(&callbacks.status_url),
        "UpCallbackUrl": url(&callbacks.inbound_url),
    })
}
