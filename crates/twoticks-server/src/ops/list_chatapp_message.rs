//! `ListChatappMessage`: each message that a business number sent or got, a page of them.

use jiff::civil::DateTime;
use serde_json::{Value, json};
use twoticks_core::clock::{DAY, Time};
use twoticks_core::ids::{PhoneNumber, Text};
use twoticks_core::message::Message;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::params::Params;

use super::arguments::{integer, object, required, text};
use super::exchange::{Asked, Item, gather, stands, states};
use super::message::{self, check_channel_type};
use super::required as needed;
use super::{Answer, CUST_SPACE_ID, Context, Field, Operation, Parameter, field, optional};
use crate::access::isv::IsvCodeUse;
use crate::api_error::ApiError;

/// How many messages a page may have.
const PAGE_SIZE_MAX: i64 = 100;
/// The longest time that is read at once, in milliseconds.
const SPAN_MAX: i64 = 7 * DAY;
/// The time before `EndTime` that is listed if nobody says.
const SPAN: i64 = DAY;
/// How many calls read the journal at the same time.
const AT_ONCE_MAX: usize = 2;
/// How a message can stand, in our words.
const STATUSES: [&str; 8] =
    ["Waiting", "Accepted", "Sent", "Delivered", "Read", "Failed", "Unknown", "Received"];

pub(super) struct List {
    number: Option<PhoneNumber>,
    span: Option<(Time, Time)>,
    group: Option<String>,
    is_inbound: Option<bool>,
    status: Option<&'static str>,
    template: Option<Text>,
    user: Option<String>,
    index: usize,
    size: usize,
}

impl Operation for List {
    const NAME: &'static str = "ListChatappMessage";
    const SUMMARY: &'static str = "Lists the messages that a business number sent and got.";
    const PARAMETERS: &'static [Parameter] = &[
        needed("BusinessNumber", "string", "The business number, digits only."),
        needed("ChannelType", "string", message::CHANNEL_TYPE),
        needed("Page", "object", "`Index`, from 1, and `Size`, 1 to 100."),
        optional("StartTime", "integer", "From when on, in ms; a day before `EndTime`."),
        optional("EndTime", "integer", "Until before when, in ms; now. At most 7 days later."),
        optional(
            "StartTimeStr",
            "string",
            "The same as `2026-11-30 00:00:00`, in `cams.day_zone`.",
        ),
        optional("EndTimeStr", "string", "The same as `2026-11-30 00:00:00`, in `cams.day_zone`."),
        optional("EventAction", "string", "`DOWN`: sent; `UP`: got."),
        optional(
            "GroupMessageId",
            "string",
            "The mass send; whenever it was, if no time is given.",
        ),
        optional("MessageStatus", "string", STATUS),
        optional("TemplateCode", "string", "The code of the template."),
        optional("UserNumber", "string", "Whom it was sent to or came from."),
        optional("ClientAcceptStatus", "string", "Ignored: see `MessageStatus`."),
        CUST_SPACE_ID,
    ];
    const RETURNS: &'static [Field] = &[
        field("Data[].BusinessNumber", "string", "The business number."),
        field("Data[].UserNumber", "string", "Whom it was sent to or came from."),
        field("Data[].EventAction", "string", "`DOWN` or `UP`."),
        field("Data[].MessageId", "string", "WhatsApp's id; empty while there is none."),
        field("Data[].UniqueMessageId", "string", "The same; without one, send and place."),
        field(
            "Data[].GroupMessageId",
            "string",
            "The send it belongs to, if it went through here.",
        ),
        field("Data[].MessageStatus", "string", STATUS),
        field("Data[].ClientReadStatus", "string", "`Y` if it was read, else `N`."),
        field("Data[].FailReason", "string", "Why it failed, with Meta's code."),
        field("Data[].FailBackFlag", "string", "`N`: nothing falls back to another channel here."),
        field("Data[].SendTime", "string", "When, by ISO 8601, UTC."),
        field("Data[].Month", "string", "The month of that, such as `2026-11`."),
        field("Data[].Type", "string", "`template` or `message`."),
        field("Data[].MessageType", "string", "`text` and so on, of a message."),
        field("Data[].Message", "string", "What it says, or the template's parameters; as JSON."),
        field("Data[].TemplateCode", "string", "The code of the template."),
        field("Data[].TemplateName", "string", "Its name."),
        field("Data[].LanguageCode", "string", "Its language."),
        field("Data[].ChannelType", "string", "`whatsapp`."),
    ];
    const QPS: u32 = 10;
    /// It takes no code, and shows who is written to.
    const ISV_CODE: IsvCodeUse = IsvCodeUse::Issued;

    fn decode(context: &Context<'_>) -> Result<Self, ApiError> {
        let params = context.params;
        let number = required(params, "BusinessNumber")?;
        let number = PhoneNumber::new(number).map_err(|_| Refusal::invalid("BusinessNumber"))?;
        required(params, "ChannelType")?;
        check_channel_type(params)?;
        let directory = context.app.directory.snapshot();
        let known = directory.number(&number).filter(|it| it.channel == *context.channel());
        let number = known.map(|known| known.phone_number.clone());
        let group = text(params, "GroupMessageId").map(str::to_owned);
        let is_inbound = match text(params, "EventAction").map(str::to_ascii_uppercase).as_deref() {
            None => None,
            Some("UP") => Some(true),
            Some("DOWN") => Some(false),
            Some(_) => return Err(Refusal::invalid("EventAction").into()),
        };
        let status = text(params, "MessageStatus").map(|word| {
            let known = STATUSES.into_iter().find(|known| known.eq_ignore_ascii_case(word));
            known.ok_or_else(|| Refusal::invalid("MessageStatus"))
        });
        let template = text(params, "TemplateCode").map(Text::new).transpose();
        let (index, size) = page(params)?;
        Ok(Self {
            number,
            span: span(context, group.is_some())?,
            group,
            is_inbound,
            status: status.transpose()?,
            template: template.map_err(|_| Refusal::invalid("TemplateCode"))?,
            user: text(params, "UserNumber").map(who),
            index,
            size,
        })
    }

    async fn call(self, context: &Context<'_>) -> Result<Answer, ApiError> {
        let directory = context.app.directory.snapshot();
        let number = self.number.as_ref().and_then(|number| directory.number(number));
        let answer = |rows: Vec<Value>| {
            Answer::from_iter([
                ("Success".to_owned(), true.into()),
                ("Data".to_owned(), rows.into()),
            ])
        };
        // A number that is not the channel's has no messages.
        let Some(number) = number else { return Ok(answer(Vec::new())) };
        let _held = context
            .app
            .gate
            .in_flight
            .enter("reading the journal", AT_ONCE_MAX)
            .ok_or_else(|| ApiError::from(Code::SystemLimitControl))?;
        let asked = Asked { number, span: self.span, group: self.group.as_deref() };
        let mut items = gather(context, &asked).await?;
        items.retain(|item| self.wants(item));
        if let Some(status) = self.status {
            let states = states(context, number, &items).await?;
            let mut states = states.iter();
            items.retain(|item| stands(item, states.next().and_then(Option::as_ref)).0 == status);
        }
        let skipped = self.index.saturating_mul(self.size);
        let page: Vec<Item> = items.into_iter().skip(skipped).take(self.size).collect();
        let states = states(context, number, &page).await?;
        let rows = page.iter().zip(&states).map(|(item, state)| {
            let named = item.template.as_ref().and_then(|template| {
                directory.template(context.channel(), &template.code, &template.language)
            });
            let name = named.map_or("", |named| named.name.as_str());
            shown(item, state.as_ref(), &number.phone_number, name)
        });
        Ok(answer(rows.collect()))
    }
}

const STATUS: &str = "`Waiting`, `Accepted`, `Sent`, `Delivered`, `Read`, `Failed`, `Unknown` or \
                      `Received`; words of ours.";

impl List {
    fn wants(&self, item: &Item) -> bool {
        let Self { is_inbound, template, user, .. } = self;
        let code = item.template.as_ref().map(|template| &template.code);
        is_inbound.is_none_or(|is_inbound| is_inbound == item.is_inbound)
            && template.as_ref().is_none_or(|template| code == Some(template))
            && user.as_ref().is_none_or(|user| who(&item.user) == *user)
    }
}

/// A number however it is written; a BSUID or a group as it is.
fn who(text: &str) -> String {
    let number = PhoneNumber::new(text);
    number.map_or_else(|_| text.to_owned(), |number| number.as_str().to_owned())
}

fn page(params: &Params) -> Result<(usize, usize), Refusal> {
    let invalid = || Refusal::from(Code::PageInvalid);
    let page = object(params, "Page").map_err(|_| invalid())?;
    let page = page.ok_or_else(|| Refusal::missing("Page"))?;
    let whole = |name: &str, most: i64| {
        let value = page.get(name)?;
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        number.filter(|number| (1..=most).contains(number)).and_then(|it| usize::try_from(it).ok())
    };
    let index = whole("Index", i64::from(u32::MAX)).ok_or_else(invalid)?;
    Ok((index - 1, whole("Size", PAGE_SIZE_MAX).ok_or_else(invalid)?))
}

/// The time that is asked for; a mass send is found without.
fn span(context: &Context<'_>, has_group: bool) -> Result<Option<(Time, Time)>, Refusal> {
    let start = instant(context, "StartTime", "StartTimeStr")?;
    let end = instant(context, "EndTime", "EndTimeStr")?;
    if has_group && start.is_none() && end.is_none() {
        return Ok(None);
    }
    // What is accepted in this very millisecond is listed too.
    let until = end.unwrap_or(context.now.plus(1));
    let from = start.unwrap_or(until.plus(-SPAN));
    if until < from {
        return Err(Refusal::invalid("EndTime"));
    }
    if !has_group && until.0 - from.0 > SPAN_MAX {
        let said = format!(
            "StartTime and EndTime are more than {} days apart; bring them closer together.",
            SPAN_MAX / DAY
        );
        return Err(Refusal::invalid("StartTime").saying(said));
    }
    Ok(Some((from, until)))
}

/// An instant of the calendar, in one of the two ways; milliseconds win.
fn instant(
    context: &Context<'_>,
    name: &'static str,
    as_text: &'static str,
) -> Result<Option<Time>, Refusal> {
    if let Some(time) = integer(context.params, name)? {
        let is_instant = jiff::Timestamp::from_millisecond(time).is_ok();
        return if is_instant { Ok(Some(Time(time))) } else { Err(Refusal::invalid(name)) };
    }
    let Some(text) = text(context.params, as_text) else { return Ok(None) };
    let invalid = || Refusal::invalid(as_text);
    let civil: DateTime = text.parse().map_err(|_| invalid())?;
    let zone = context.app.settings.cams.day_zone.0.clone();
    let zoned = civil.to_zoned(zone).map_err(|_| invalid())?;
    Ok(Some(Time(zoned.timestamp().as_millisecond())))
}

fn shown(item: &Item, state: Option<&Message>, number: &PhoneNumber, template_name: &str) -> Value {
    let (status, why) = stands(item, state);
    let action = if item.is_inbound { "UP" } else { "DOWN" };
    let time = jiff::Timestamp::from_millisecond(item.time.0).unwrap_or_default();
    let (group, place) = match &item.group {
        Some((group, place)) => (&**group, *place),
        None => ("", 0),
    };
    let wamid = item.wamid.as_deref().unwrap_or_default();
    let unique = if wamid.is_empty() { format!("{group}-{place}") } else { wamid.to_owned() };
    let read = if status == "Read" { "Y" } else { "N" };
    let template = item.template.as_ref();
    let kind = item.kind.as_deref().unwrap_or_default();
    json!({
        "BusinessNumber": number, "ChannelType": "whatsapp", "EventAction": action, "EventActionName": action,
        "UserNumber": item.user, "MessageId": wamid, "UniqueMessageId": unique,
        "GroupMessageId": group, "MessageStatus": status, "MessageStatusName": status,
        "ClientReadStatus": read, "FailReason": why.unwrap_or_default(), "FailBackFlag": "N",
        "SendTime": time.to_string(), "Month": time.strftime("%Y-%m").to_string(),
        "Type": if template.is_some() { "template" } else { "message" },
        "MessageType": kind, "Message": item.content,
        "TemplateCode": template.map_or("", |it| it.code.as_str()),
        "TemplateName": template_name,
        "LanguageCode": template.map_or("", |it| it.language.as_str()),
    })
}
