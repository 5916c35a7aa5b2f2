//! `GetChatappPhoneNumberMetric`: what a business number sent, of all categories, attributed or
//! not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use twoticks_core::channel::Side;
use twoticks_core::ids::PhoneNumber;
use twoticks_core::query::{Query, Select, Subject};
use twoticks_core::totals::Totals;
use twoticks_core::window::Window;
use twoticks_wire::code::Refusal;

use super::arguments::text;
use super::range::{self, Range, filled};
use super::{Answer, CUST_SPACE_ID, Context, Field, ISV_CODE, Operation, Parameter};
use super::{field, optional};
use crate::api_error::ApiError;

pub(super) struct Get {
    range: Range,
    number: Option<PhoneNumber>,
}

impl Operation for Get {
    const NAME: &'static str = "GetChatappPhoneNumberMetric";
    const SUMMARY: &'static str =
        "Says how many messages a channel's business numbers sent, and how many were delivered.";
    const PARAMETERS: &'static [Parameter] = &[
        range::START,
        range::END,
        range::GRANULARITY,
        optional("PhoneNumber", "string", "The business number. Without it, a row per number."),
        CUST_SPACE_ID,
        ISV_CODE,
    ];
    const RETURNS: &'static [Field] = &[
        field("Data[].PhoneNumber", "string", "The business number, digits only."),
        field("Data[].Granularity", "string", "As asked for."),
        range::ROW_START,
        range::ROW_END,
        field("Data[].SentCount", "integer", "Messages sent, told or implied."),
        field("Data[].DeliveredCount", "integer", "Messages delivered, told or implied."),
    ];
    const QPS: u32 = 50;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        let range = Range::decode(context)?;
        let number = text(context.params, "PhoneNumber")
            .map(PhoneNumber::new)
            .transpose()
            .map_err(|_| Refusal::invalid("PhoneNumber"))?;
        Ok(Self { range, number })
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let rows = self.rows(context).await?;
        let granularity = self.range.granularity.as_str();
        let row = |((window, number), totals): (&(Window, PhoneNumber), &Totals)| {
            json!({
                "PhoneNumber": number.as_str(),
                "Granularity": granularity,
                "Start": window.start().0,
                "End": window.end().0,
                "SentCount": totals.sent,
                "DeliveredCount": totals.delivered,
            })
        };
        let data: Vec<Value> = rows.iter().map(row).collect();
        Ok(Answer::from_iter([("Data".to_owned(), Value::Array(data))]))
    }
}

impl Get {
    /// The rows in their order: by start, then number.
    async fn rows(
        &self,
        context: &Context<'_>,
    ) -> Result<BTreeMap<(Window, PhoneNumber), Totals>, ApiError> {
        let (app, channel) = (context.app, context.channel());
        let mut rows = BTreeMap::new();
        let Some(opt_in) = app.ledger.channel(channel).await?.opted_in() else { return Ok(rows) };
        let cams = &app.settings.cams;
        let windows = self.range.visible(cams, opt_in, context.now);
        if cams.fill_empty {
            let numbers = self.numbers(context);
            for window in filled(&windows, opt_in, context.now) {
                let empty = |number: &PhoneNumber| ((window, number.clone()), Totals::default());
                rows.extend(numbers.iter().map(empty));
            }
        }
        let query = Query {
            channel: channel.clone(),
            select: Select::Numbers { number: self.number.clone(), attribution: None },
            side: Some(Side::After),
            windows,
        };
        for point in app.ledger.series(query).await? {
            if let Subject::Number(number) = point.subject {
                rows.insert((point.window, number), point.totals);
            }
        }
        // Cells of statuses beside sent and delivered are no rows of their own.
        rows.retain(|_, totals| cams.fill_empty || totals.sent != 0 || totals.delivered != 0);
        Ok(rows)
    }

    /// The numbers of the channel that are asked for.
    fn numbers(&self, context: &Context<'_>) -> BTreeSet<PhoneNumber> {
        let asked = |number: &PhoneNumber| self.number.as_ref().is_none_or(|one| one == number);
        let directory = context.app.directory.snapshot();
        let numbers = directory.numbers_of(context.channel()).iter();
        numbers.map(|number| number.phone_number.clone()).filter(asked).collect()
    }
}
