//! `EnableWhatsappROIMetric`: from now on the channel's messages count in the metric operations.

use twoticks_core::event::Event;
use twoticks_store::ledger::{Batch, Kind};

use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter};
use crate::api_error::ApiError;
use crate::graph::insights;

pub(super) struct Enable;

impl Operation for Enable {
    const NAME: &'static str = "EnableWhatsappROIMetric";
    const SUMMARY: &'static str =
        "Enables the ROI statistics of a channel; what was sent before does not count.";
    const PARAMETERS: &'static [Parameter] = &[CUST_SPACE_ID, ISV_CODE];
    const RETURNS: &'static [Field] = &[];
    const QPS: u32 = 5;

    fn decode(_: &Context<'_>) -> Result<Self, ApiError> {
        Ok(Self)
    }

    /// Of several opt-ins the earliest stands, so a second one changes nothing and is not kept.
    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let app = context.app;
        let known = app.ledger.channel(context.channel()).await?.opted_in();
        if known.is_none_or(|time| context.now < time) {
            let event = Event::OptIn { channel: context.channel().clone(), time: context.now };
            let batch = Batch {
                kind: Kind::OptIn,
                accepted: context.now,
                origin: Self::NAME.to_owned(),
                channel: Some(context.channel().clone()),
                group: None,
                events: vec![event],
                dead: Vec::new(),
                resolves: None,
                body: Vec::new(),
            };
            app.ledger.record(batch).await?;
        }
        insights::enable(app, context.channel());
        Ok(Answer::new())
    }
}
