//! `UpdateAccountWebhook`: where the receipts of a channel go.

use super::callbacks::{self, HTTP_FLAG, QUEUE_FLAG, STATUS_CALLBACK_URL, UP_CALLBACK_URL};
use super::{Answer, CUST_SPACE_ID, Context, Field, Operation, Parameter};
use crate::access::isv::IsvCodeUse;
use crate::api_error::ApiError;

pub(super) struct Update(callbacks::Update);

impl Operation for Update {
    const NAME: &'static str = "UpdateAccountWebhook";
    const SUMMARY: &'static str = "Says where the receipts of a channel's numbers are posted to.";
    const PARAMETERS: &'static [Parameter] =
        &[STATUS_CALLBACK_URL, UP_CALLBACK_URL, HTTP_FLAG, QUEUE_FLAG, CUST_SPACE_ID];
    const RETURNS: &'static [Field] = &[];
    const QPS: u32 = 10;
    const ISV_CODE: IsvCodeUse = IsvCodeUse::Issued;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        callbacks::decode(context, None).map(Self)
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        self.0.make(context).await
    }
}
