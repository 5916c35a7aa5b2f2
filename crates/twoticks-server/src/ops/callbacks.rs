//! What `UpdateAccountWebhook` and `UpdatePhoneWebhook` have in common: where receipts go.
//!
//! What a call leaves out stays as it was; an address alone turns callbacks on. Queues are not
//! offered, and asking for one is refused: whoever asks would wait for receipts that do not come.

use twoticks_core::ids::PhoneNumber;
use twoticks_store::directory::names::Secret;
use twoticks_store::directory::pass_on::{PassOn, Step, Wanted};
use twoticks_store::directory::{self, Change};
use twoticks_wire::code::{Code, Refusal};

use super::arguments::text;
use super::{Answer, Context, Parameter, optional};
use crate::api_error::ApiError;

pub(super) const STATUS_CALLBACK_URL: Parameter =
    optional("StatusCallbackUrl", "string", "Where receipts of statuses are posted to.");
pub(super) const UP_CALLBACK_URL: Parameter =
    optional("UpCallbackUrl", "string", "Where receipts of inbound messages are posted to.");
pub(super) const HTTP_FLAG: Parameter =
    optional("HttpFlag", "string", "Whether receipts are posted: `Y` or `N`.");
pub(super) const QUEUE_FLAG: Parameter = optional(
    "QueueFlag",
    "string",
    "Whether receipts go into a queue; there is none, so that only `N` is taken.",
);

/// What is to be different about callbacks.
pub(super) struct Update {
    number: Option<PhoneNumber>,
    wanted: Wanted,
}

/// Reads a call about the channel, or about one of its numbers.
///
/// # Errors
/// `InvalidQueueFlag` and so on; `MissingStatusCallbackUrl` if callbacks are to be on and there is
/// no address.
pub(super) fn decode(
    context: &Context<'_>,
    number: Option<PhoneNumber>,
) -> Result<Update, ApiError> {
    let params = context.params;
    let flag = |name: &str| match text(params, name) {
        None => Ok(None),
        Some(said) if said.eq_ignore_ascii_case("Y") => Ok(Some(true)),
        Some(said) if said.eq_ignore_ascii_case("N") => Ok(Some(false)),
        Some(_) => Err(Refusal::invalid(name)),
    };
    if flag("QueueFlag")? == Some(true) {
        let said = "Queues are not offered here; receive receipts over HTTP with HttpFlag=Y.";
        return Err(Refusal::invalid("QueueFlag").saying(said.to_owned()).into());
    }
    let url = |name: &str| {
        let Some(given) = text(params, name) else { return Ok(None) };
        let unfit = |why: String| {
            let said = format!("Specified parameter {name} is not valid: {why}.");
            Refusal::invalid(name).saying(said)
        };
        context.app.pass_on.guard().url(given).map_err(|why| unfit(why.to_string()))?;
        Secret::new(given).map(Some).map_err(|_| Refusal::invalid(name))
    };
    let (status_url, inbound_url) = (url("StatusCallbackUrl")?, url("UpCallbackUrl")?);
    let wanted = Wanted { enabled: flag("HttpFlag")?, status_url, inbound_url };
    let snapshot = context.app.directory.snapshot();
    let none = PassOn::default();
    let known = snapshot.pass_on(context.channel()).map_or(&none, AsRef::as_ref);
    let wanted_so = known.wanted(number.as_ref(), wanted.clone());
    wanted_so.ok_or_else(|| Refusal::missing("StatusCallbackUrl"))?;
    Ok(Update { number, wanted })
}

impl Update {
    /// Has it be so; durable when it returns, and what is acknowledged from then on is passed on.
    pub(super) async fn make(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        // The directory puts it together, so that two calls at the same time both hold.
        let step = Step::Change(self.number, self.wanted);
        let change = Change::PassOn(context.channel().clone(), step);
        context.app.directory.change(vec![change]).await.map_err(|why| match why {
            directory::Error::Unavailable { .. } => ApiError::caused(Code::ServiceUnavailable, why),
            // Such as an address that another call has taken away since this one was read.
            directory::Error::Refused(why) => {
                let said = format!("The callbacks cannot be so: {why}.");
                Refusal::invalid("StatusCallbackUrl").saying(said).into()
            }
            _ => ApiError::caused(Code::InternalError, why),
        })?;
        context.app.pass_on.changed(context.app).await;
        Ok(Answer::new())
    }
}
