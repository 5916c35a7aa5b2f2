//! The operations of the CAMS door: one file each, and one line in [`OPERATIONS`].
//!
//! To add one, implement [`Operation`] in a file of its own, add its line, and record a call in
//! `tests/data/calls/<Action>/`. Dispatch, checks, throttle, reference page and the tests over all
//! operations read the list. What always holds: everything that can be wrong with a request is
//! found in `decode`; `call` does not fail for bad input.

pub(crate) mod arguments;
mod callbacks;
mod create_chatapp_template;
mod delete_chatapp_template;
mod dispatch;
mod enable_whatsapp_roi_metric;
mod exchange;
mod get_chatapp_phone_number_metric;
mod get_chatapp_template_detail;
mod get_chatapp_template_metric;
mod list_chatapp_message;
mod list_chatapp_template;
mod list_instance;
mod message;
mod modify_chatapp_template;
mod query_chatapp_phone_numbers;
mod query_instance;
mod range;
mod send_chatapp_mass_message;
mod send_chatapp_message;
mod template;
mod update_account_webhook;
mod update_phone_webhook;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Map, Value};
use twoticks_core::clock::Time;
use twoticks_core::ids::ChannelId;
use twoticks_store::directory::model::Channel;
use twoticks_wire::code::Code;
use twoticks_wire::params::Params;

use crate::access::isv::{About, IsvCodeUse, Reach};
use crate::api_error::ApiError;
use crate::app::App;

/// The version of the API.
pub const VERSION: &str = "2020-06-06";

/// Every operation, in the order of the reference page.
pub const OPERATIONS: &[Entry] = &[
    entry::<enable_whatsapp_roi_metric::Enable>(),
    entry::<get_chatapp_phone_number_metric::Get>(),
    entry::<get_chatapp_template_metric::Get>(),
    entry::<list_chatapp_template::List>(),
    entry::<get_chatapp_template_detail::Get>(),
    entry::<create_chatapp_template::Create>(),
    entry::<modify_chatapp_template::Modify>(),
    entry::<delete_chatapp_template::Delete>(),
    entry::<query_chatapp_phone_numbers::Get>(),
    entry::<update_account_webhook::Update>(),
    entry::<update_phone_webhook::Update>(),
    entry_of::<list_instance::List, Channels>(),
    entry::<query_instance::Get>(),
    entry::<send_chatapp_message::Send>(),
    entry::<send_chatapp_mass_message::Send>(),
    entry::<list_chatapp_message::List>(),
];

/// One operation: what it is called, what it takes, what it does. `Of` is what its calls are about.
pub trait Operation<Of: Subject = ChannelId>: Sized + Send {
    /// Its name, the action of a request.
    const NAME: &'static str;
    /// What it does, as a sentence.
    const SUMMARY: &'static str;
    /// What it takes, in the order of the reference page.
    const PARAMETERS: &'static [Parameter];
    /// What it answers beside `RequestId`, `Code`, `Message` and `AccessDeniedDetail`.
    const RETURNS: &'static [Field];
    /// How many calls a second one user may make.
    const QPS: u32;
    /// What its calls are about, and by which parameter they say so; fits `Of`.
    const ABOUT: About = About::Space;
    /// Whether a user who is scoped by the ISV has to show the `IsvCode` of the channel. On the
    /// sends it is deprecated and ignored.
    const ISV_CODE: IsvCodeUse = IsvCodeUse::Checked;

    /// Turns the parameters into what is to be done.
    ///
    /// # Errors
    /// What is wrong with them, in the words of the wire.
    fn decode(context: &Context<'_, Of>) -> Result<Self, ApiError>;

    /// Does it.
    fn call(
        self,
        context: &Context<'_, Of>,
    ) -> impl Future<Output = Result<Answer, ApiError>> + Send;
}

/// What calls can be about.
pub trait Subject: Sync + Sized {
    /// Itself, if that is what a call is about.
    fn of(reach: &Reach) -> Option<&Self>;
}

impl Subject for ChannelId {
    fn of(reach: &Reach) -> Option<&Self> {
        match reach {
            Reach::Channel(channel) => Some(&channel.id),
            Reach::Account(_) => None,
        }
    }
}

/// The channels of an account that the caller may see.
pub type Channels = Vec<Arc<Channel>>;

impl Subject for Channels {
    fn of(reach: &Reach) -> Option<&Self> {
        match reach {
            Reach::Account(channels) => Some(channels),
            Reach::Channel(_) => None,
        }
    }
}

/// A parameter, for the reference page.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its type: `string`, `integer`, `object`, `array`.
    pub kind: &'static str,
    /// Whether a call without it is refused.
    pub required: bool,
    /// What it is, as sentences.
    pub doc: &'static str,
}

/// A field of an answer, for the reference page.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its path, such as `Data[].Start`.
    pub name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// What it is, as sentences.
    pub doc: &'static str,
}

/// What an operation answers beside the fields that all answers have.
pub type Answer = Map<String, Value>;

/// What an operation may know of the call.
pub struct Context<'a, Of = ChannelId> {
    /// The server's surroundings.
    pub app: &'a Arc<App>,
    /// What it is about, of the caller's account.
    pub of: &'a Of,
    /// The parameters.
    pub params: &'a Params,
    /// The id of the request.
    pub request_id: &'a str,
    /// When the call came.
    pub now: Time,
    /// The caller's key for this call, by which a second one is known: the header
    /// [`IDEMPOTENCY_KEY`], or the parameter `ClientToken` that other products of the original
    /// have.
    pub idempotency_key: Option<&'a str>,
}

impl<'a> Context<'a> {
    /// The channel that the call is about.
    pub fn channel(&self) -> &'a ChannelId {
        self.of
    }
}

/// The header by which a call that is made again is known.
pub const IDEMPOTENCY_KEY: &str = "x-twoticks-idempotency-key";

/// A future that an operation returns.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Result<Answer, ApiError>> + Send + 'a>>;

/// An operation in the list.
#[derive(Clone, Copy)]
pub struct Entry {
    /// [`Operation::NAME`].
    pub name: &'static str,
    /// [`Operation::SUMMARY`].
    pub summary: &'static str,
    /// [`Operation::PARAMETERS`].
    pub parameters: &'static [Parameter],
    /// [`Operation::RETURNS`].
    pub returns: &'static [Field],
    /// [`Operation::QPS`].
    pub qps: u32,
    /// [`Operation::ABOUT`].
    pub about: About,
    /// [`Operation::ISV_CODE`].
    pub isv_code: IsvCodeUse,
    /// Decodes and does it.
    pub run: for<'a> fn(&'a Context<'a, Reach>) -> Answering<'a>,
}

/// An operation whose calls are about a channel.
const fn entry<O: Operation>() -> Entry {
    entry_of::<O, ChannelId>()
}

const fn entry_of<O: Operation<Of>, Of: Subject>() -> Entry {
    Entry {
        name: O::NAME,
        summary: O::SUMMARY,
        parameters: O::PARAMETERS,
        returns: O::RETURNS,
        qps: O::QPS,
        about: O::ABOUT,
        isv_code: O::ISV_CODE,
        run: run::<O, Of>,
    }
}

fn run<'a, O: Operation<Of>, Of: Subject>(context: &'a Context<'a, Reach>) -> Answering<'a> {
    Box::pin(async move {
        let Context { app, of, params, request_id, now, idempotency_key } = *context;
        let of = Of::of(of).ok_or_else(|| {
            ApiError::caused(Code::InternalError, "the operation is about something else")
        })?;
        let context = Context { app, of, params, request_id, now, idempotency_key };
        O::decode(&context)?.call(&context).await
    })
}

/// The operation of that name; names are case-sensitive.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    OPERATIONS.iter().find(|operation| operation.name == name)
}

/// The channel, for all operations.
const CUST_SPACE_ID: Parameter = Parameter {
    name: "CustSpaceId",
    kind: "string",
    required: false,
    doc: "The channel. It may be left out by an account that has exactly one.",
};

/// The ISV's code, for the operations that check it.
const ISV_CODE: Parameter = Parameter {
    name: "IsvCode",
    kind: "string",
    required: false,
    doc: "The code that the ISV gave this user for this channel; needed by users who are scoped.",
};

const fn required(name: &'static str, kind: &'static str, doc: &'static str) -> Parameter {
    Parameter { name, kind, required: true, doc }
}

const fn optional(name: &'static str, kind: &'static str, doc: &'static str) -> Parameter {
    Parameter { name, kind, required: false, doc }
}

const fn field(name: &'static str, kind: &'static str, doc: &'static str) -> Field {
    Field { name, kind, doc }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sentence(text: &str) -> bool {
        text.ends_with('.') && text.starts_with(|c: char| c.is_uppercase() || c == '`')
    }

    #[test]
    fn every_operation_says_what_it_is() {
        for (index, operation) in OPERATIONS.iter().enumerate() {
            let name = operation.name;
            assert!(OPERATIONS.iter().skip(index + 1).all(|other| other.name != name), "{name}");
            assert!(is_sentence(operation.summary), "{name}");
            assert!(operation.qps > 0, "{name}");
            for (index, parameter) in operation.parameters.iter().enumerate() {
                let rest = &operation.parameters[index + 1..];
                let named = format!("{name}.{}", parameter.name);
                assert!(rest.iter().all(|other| other.name != parameter.name), "{named}");
                assert!(is_sentence(parameter.doc), "{named}");
                let kinds = ["string", "integer", "object", "array"];
                assert!(kinds.contains(&parameter.kind), "{named}");
            }
            for field in operation.returns {
                assert!(is_sentence(field.doc), "{name}.{}", field.name);
            }
            assert_eq!(
                operation.isv_code == IsvCodeUse::Checked,
                operation.parameters.iter().any(|parameter| parameter.doc == ISV_CODE.doc),
                "{name}",
            );
        }
    }

    #[test]
    fn an_operation_is_found_by_its_exact_name() {
        assert!(by_name("SendChatappMessage").is_some());
        assert!(by_name("sendChatappMessage").is_none());
        assert!(by_name("").is_none());
    }
}
