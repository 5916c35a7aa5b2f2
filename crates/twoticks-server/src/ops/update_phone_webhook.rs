//! `UpdatePhoneWebhook`: where the receipts of one number go, if not where its channel's do.

use twoticks_core::ids::PhoneNumber;
use twoticks_wire::code::Refusal;

use super::arguments::required;
use super::callbacks::{self, HTTP_FLAG, QUEUE_FLAG, STATUS_CALLBACK_URL, UP_CALLBACK_URL};
use super::{Answer, CUST_SPACE_ID, Context, Field, Operation, Parameter, required as needed};
use crate::access::isv::IsvCodeUse;
use crate::api_error::ApiError;

pub(super) struct Update(callbacks::Update);

impl Operation for Update {
    const NAME: &'static str = "UpdatePhoneWebhook";
    const SUMMARY: &'static str = "Says where the receipts of one number are posted to.";
    const PARAMETERS: &'static [Parameter] = &[
        needed("PhoneNumber", "string", "The number; one of the channel."),
        STATUS_CALLBACK_URL,
        UP_CALLBACK_URL,
        HTTP_FLAG,
        QUEUE_FLAG,
        CUST_SPACE_ID,
    ];
    const RETURNS: &'static [Field] = &[];
    const QPS: u32 = 10;
    const ISV_CODE: IsvCodeUse = IsvCodeUse::Issued;

    /// A number of another channel is answered as one that does not exist.
    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        let given = required(context.params, "PhoneNumber")?;
        let invalid = || Refusal::invalid("PhoneNumber");
        let number = PhoneNumber::new(given).map_err(|_| invalid())?;
        let snapshot = context.app.directory.snapshot();
        let known = snapshot.number(&number).filter(|known| known.channel == *context.channel());
        known.ok_or_else(invalid)?;
        callbacks::decode(context, Some(number)).map(Self)
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        self.0.make(context).await
    }
}
