//! `ListInstance`: the channels of an account, as far as the caller may see them, a page of them.

use std::sync::Arc;

use serde_json::{Value, json};
use twoticks_store::directory::model::Channel;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::params::Params;

use super::arguments::{integer_in, text};
use super::{Answer, Channels, Context, Field, Operation, Parameter, field, optional};
use crate::access::isv::{About, IsvCodeUse};
use crate::api_error::ApiError;
use crate::app::App;

/// How many instances a page may have.
const PAGE_SIZE_MAX: i64 = 100;
/// How many it has if nobody says.
const PAGE_SIZE: i64 = 10;
/// The only kind that there is here; the others of the original have no instances.
const WHATSAPP: &str = "whatsapp";
const OTHER_KINDS: [&str; 3] = ["messenger", "instagram", "viber"];

const IGNORED: &str = "Ignored: instances have nothing of the kind here.";

pub(super) struct List {
    index: usize,
    size: usize,
    is_whatsapp: bool,
    id: Option<String>,
    name: Option<String>,
    part: Option<String>,
}

impl Operation<Channels> for List {
    const NAME: &'static str = "ListInstance";
    const SUMMARY: &'static str = "Lists the channels of the account that the caller may see.";
    const PARAMETERS: &'static [Parameter] = &[
        optional("ChannelType", "string", "`whatsapp`; there are none of another type."),
        optional("InstanceId", "string", "The channel."),
        optional("InstanceName", "string", "A part of its name."),
        optional("FilterStr", "string", "A part of its id or of its name."),
        optional("PageIndex", "integer", "The page, from 1 (1)."),
        optional("PageSize", "integer", "How many a page has, 1 to 100 (10)."),
        optional("BindId", "string", IGNORED),
        optional("IsBind", "string", IGNORED),
        optional("ResourceGroupId", "string", IGNORED),
        optional("SubmitTime", "string", IGNORED),
    ];
    const RETURNS: &'static [Field] = &[
        field("Data[].InstanceId", "string", "The channel."),
        field("Data[].CustSpaceId", "string", "The same, as the other operations call it."),
        field("Data[].InstanceName", "string", "Its name."),
        field("Data[].ChannelType", "string", "`whatsapp`."),
        field("Data[].State", "string", STATE),
        field("TotalCount", "integer", "How many there are on all pages."),
    ];
    const QPS: u32 = 10;
    const ABOUT: About = About::Account;
    const ISV_CODE: IsvCodeUse = IsvCodeUse::Issued;

    fn decode(context: &Context<'_, Channels>) -> Result<Self, ApiError> {
        let params = context.params;
        let given = |name: &str| text(params, name).map(str::to_owned);
        let whole = |name: &str, usual: i64, most: i64| {
            let number = integer_in(params, name, 1, most)?.unwrap_or(usual);
            Ok::<_, Refusal>(usize::try_from(number).unwrap_or(usize::MAX))
        };
        Ok(Self {
            index: whole("PageIndex", 1, i64::from(u32::MAX))?.saturating_sub(1),
            size: whole("PageSize", PAGE_SIZE, PAGE_SIZE_MAX)?,
            is_whatsapp: is_whatsapp(params)?,
            id: given("InstanceId"),
            name: given("InstanceName"),
            part: given("FilterStr"),
        })
    }

    async fn call(self, context: &Context<'_, Channels>) -> Result<Answer, ApiError> {
        let found: Vec<&Arc<Channel>> =
            context.of.iter().filter(|channel| self.wants(channel)).collect();
        let page = found.iter().skip(self.index.saturating_mul(self.size)).take(self.size);
        let page: Vec<Value> = page.map(|channel| shown(context.app, channel)).collect();
        Ok(Answer::from_iter([
            ("Success".to_owned(), true.into()),
            ("TotalCount".to_owned(), found.len().into()),
            ("Data".to_owned(), page.into()),
        ]))
    }
}

impl List {
    fn wants(&self, channel: &Channel) -> bool {
        let Self { index: _, size: _, is_whatsapp, id, name, part } = self;
        let (own, called) = (channel.id.as_str(), channel.name.as_str());
        *is_whatsapp
            && id.as_deref().is_none_or(|id| own == id)
            && name.as_deref().is_none_or(|name| called.contains(name))
            && part.as_deref().is_none_or(|part| own.contains(part) || called.contains(part))
    }
}

/// Whether instances of WhatsApp are asked for.
fn is_whatsapp(params: &Params) -> Result<bool, Refusal> {
    match text(params, "ChannelType").map(str::to_ascii_lowercase).as_deref() {
        None | Some(WHATSAPP) => Ok(true),
        Some(other) if OTHER_KINDS.contains(&other) => Ok(false),
        Some(_) => Err(Code::ChannelTypeNotSupport.into()),
    }
}

pub(super) const STATE: &str =
    "`CONNECTED` if messages of it go to WhatsApp, else `UNCONNECTED`; words of ours.";

/// A channel as an instance: what is known of it, and no secret.
pub(super) fn shown(app: &App, channel: &Channel) -> Value {
    // In a demo or an emulator WhatsApp is there for all of them.
    let is_connected = channel.connection.is_some() || app.rehearsal.is_some();
    json!({
        "InstanceId": channel.id, "CustSpaceId": channel.id, "InstanceName": channel.name,
        "ChannelType": WHATSAPP, "State": if is_connected { "CONNECTED" } else { "UNCONNECTED" },
    })
}
