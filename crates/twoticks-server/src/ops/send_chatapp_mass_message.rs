//! `SendChatappMassMessage`: one template to up to 1,000 recipients.

use std::sync::Arc;

use serde_json::Value;
use twoticks_wire::code::{Code, Refusal};

use super::arguments::required;
use super::dispatch::{Asked, Dispatched, dispatch, refused};
use super::message::{self, check_channel_type, handed_on, recipient, sender};
use super::required as needed;
use super::{Answer, CUST_SPACE_ID, Context, Field, Operation, Parameter, field};
use crate::access::isv::IsvCodeUse;
use crate::api_error::ApiError;
use crate::carrier::Refused;
use crate::sending::{Outcome, Recipient};

/// How many recipients one call may have.
const RECIPIENTS_MAX: usize = 1_000;

pub(super) struct Send(Asked);

impl Operation for Send {
    const NAME: &'static str = "SendChatappMassMessage";
    const SUMMARY: &'static str = "Sends a template to up to 1,000 recipients.";
    const PARAMETERS: &'static [Parameter] = &[
        needed("ChannelType", "string", message::CHANNEL_TYPE),
        needed("From", "string", message::FROM),
        needed("Language", "string", "The language of the template."),
        needed(
            "SenderList",
            "array",
            "The recipients, 1 to 1,000, each with `To`, `RecipientType`, `TemplateParams`, \
             `Payload`, `ProductAction` and `FlowAction` as in `SendChatappMessage`.",
        ),
        message::TEMPLATE_CODE,
        message::TEMPLATE_NAME,
        message::TASK_ID,
        message::TAG,
        message::LABEL,
        message::TTL,
        message::FALL_BACK_ID,
        message::FALL_BACK_CONTENT,
        message::FALL_BACK_RULE,
        message::FALL_BACK_DURATION,
        CUST_SPACE_ID,
        message::CUST_WABA_ID,
        message::IGNORED_ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[field(
        "GroupMessageId",
        "string",
        "The id of the send; the recipients are listed by `twoticks message list --group ID`.",
    )];
    const QPS: u32 = 10;
    const ISV_CODE: IsvCodeUse = IsvCodeUse::Ignored;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        let params = context.params;
        check_channel_type(params)?;
        let from = sender(context)?;
        required(params, "Language")?;
        let template = message::template(context)?;
        let call = handed_on(params)?;
        let list = match params.json("SenderList")? {
            None | Some(Value::Null) => return Err(Refusal::missing("SenderList").into()),
            Some(Value::Array(list)) if (1..=RECIPIENTS_MAX).contains(&list.len()) => list,
            Some(_) => return Err(Refusal::invalid("SenderList").into()),
        };
        let recipients: Result<Vec<Recipient>, Refusal> = list
            .iter()
            .map(|item| match item {
                Value::Object(item) => recipient(item, Some(&template)),
                _ => Err(Refusal::invalid("SenderList")),
            })
            .collect();
        Ok(Self(Asked {
            operation: Self::NAME,
            from,
            template: Some(template.identity()),
            recipients: recipients?,
            call: Arc::new(call),
            waits: false,
        }))
    }

    /// Recipients that the carrier refused are in the listing; only if it refused all of them is
    /// the call itself refused.
    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let Dispatched { group, outcomes } = dispatch(context, self.0).await?;
        let refusals = outcomes.into_iter().map(|outcome| match outcome {
            Some(Outcome::Refused(why)) => Some(why),
            Some(Outcome::Taken(_) | Outcome::Unknown(_) | Outcome::Done) | None => None,
        });
        let all_refused: Option<Vec<Refused>> = refusals.collect();
        match all_refused.map(|all| all.into_iter().next()) {
            Some(Some(why)) => Err(refused(why)),
            Some(None) => Err(Code::InternalError.into()),
            None => {
                let id = Value::from(group);
                Ok(Answer::from_iter([("GroupMessageId".to_owned(), id)]))
            }
        }
    }
}
