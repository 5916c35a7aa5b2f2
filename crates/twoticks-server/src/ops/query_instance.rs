//! `QueryInstance`: one channel, by its `InstanceId`.

use twoticks_wire::code::Code;

use super::list_instance::{STATE, shown};
use super::required as needed;
use super::{Answer, Context, Field, Operation, Parameter, field};
use crate::access::isv::{About, IsvCodeUse};
use crate::api_error::ApiError;

pub(super) struct Get;

impl Operation for Get {
    const NAME: &'static str = "QueryInstance";
    const SUMMARY: &'static str = "Says what is known of a channel.";
    const PARAMETERS: &'static [Parameter] =
        &[needed("InstanceId", "string", "The channel, the same as `CustSpaceId` elsewhere.")];
    const RETURNS: &'static [Field] = &[
        field("Data.InstanceId", "string", "The channel."),
        field("Data.CustSpaceId", "string", "The same, as the other operations call it."),
        field("Data.InstanceName", "string", "Its name."),
        field("Data.ChannelType", "string", "`whatsapp`."),
        field("Data.State", "string", STATE),
    ];
    const QPS: u32 = 10;
    const ABOUT: About = About::Instance;
    const ISV_CODE: IsvCodeUse = IsvCodeUse::Issued;

    /// The instance was found on the way here.
    fn decode(_: &Context<'_>) -> Result<Self, ApiError> {
        Ok(Self)
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let directory = context.app.directory.snapshot();
        // It may have been taken away since.
        let channel = directory.channel(context.channel());
        let channel = channel.ok_or(Code::UnknownResourceOwnerId)?;
        Ok(Answer::from_iter([
            ("Success".to_owned(), true.into()),
            ("Data".to_owned(), shown(context.app, channel)),
        ]))
    }
}
