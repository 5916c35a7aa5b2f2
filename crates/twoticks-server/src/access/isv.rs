//! What a call is about, and whether its caller may work with it: spaces and `IsvCode`s.
//!
//! `CustSpaceId` (or `InstanceId`, see [`About`]) names a channel of the caller's account, the
//! tenant boundary. A channel of somebody else is answered exactly as one that does not exist. A
//! user that is ISV-scoped needs besides, for each channel, the code that was issued for this user
//! and this channel; where an operation takes no code, it has to have been issued; on the sends the
//! code is out of use and ignored. These checks come after the policies and before the parameters:
//! subscription, ownership of the space, `IsvCode`.

use std::sync::Arc;

use twoticks_core::ids::ChannelId;
use twoticks_store::directory::model::Channel;
use twoticks_store::directory::snapshot::{OnlyChannel, Principal, Snapshot};
use twoticks_wire::code::{Code, Refusal as WireRefusal};

use super::decision::{Decision, Reason, Verdict};

/// Whether an operation looks at `IsvCode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsvCodeUse {
    /// It does.
    Checked,
    /// It takes none; to a scoped user the channels are there that a code was issued for.
    Issued,
    /// It does not: the sends.
    Ignored,
}

/// What the calls of an operation are about, and which parameter says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A channel, by its `CustSpaceId`; an account that has one need not name it.
    Space,
    /// A channel, by its `InstanceId`.
    Instance,
    /// The account of the caller, and of it what the caller may see.
    Account,
}

impl About {
    /// The parameter that names it.
    #[must_use]
    pub fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Space => Some("CustSpaceId"),
            Self::Instance => Some("InstanceId"),
            Self::Account => None,
        }
    }
}

/// What a call says of what it is about.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// What it can name.
    pub about: About,
    /// The value of [`About::parameter`].
    pub id: Option<&'a str>,
    /// The `IsvCode`.
    pub isv_code: Option<&'a str>,
    /// Whether that is looked at.
    pub code_use: IsvCodeUse,
}

/// What a call is about, of what is its caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A channel.
    Channel(Arc<Channel>),
    /// The channels of the account that the caller may see, by id.
    Account(Vec<Arc<Channel>>),
}

/// Why a caller does not get to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The account has not subscribed: `Product.Unsubscript`.
    Unsubscribed,
    /// No space is named, and the account has several, or none: `Missing` and the parameter.
    SpaceMissing {
        /// [`About::parameter`].
        parameter: &'static str,
    },
    /// The space is unknown or somebody else's: `Unknown.ResourceOwnerId`.
    SpaceForeign,
    /// The user is ISV-scoped and the code is missing or wrong: denied as by a policy.
    CodeWrong {
        /// The channel that was asked for.
        channel: ChannelId,
    },
}

impl Refusal {
    /// The refusal as the caller is told; for [`Refusal::CodeWrong`] `denied` is the code of a
    /// denial (`cams.deny_code`).
    #[must_use]
    pub fn told(&self, denied: Code) -> WireRefusal {
        match self {
            Self::Unsubscribed => Code::ProductUnsubscript.into(),
            Self::SpaceMissing { parameter } => WireRefusal::missing(parameter),
            Self::SpaceForeign => Code::UnknownResourceOwnerId.into(),
            Self::CodeWrong { .. } => denied.into(),
        }
    }

    /// For [`Refusal::CodeWrong`]: the decision that its `AccessDeniedDetail` is made of.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        let Self::CodeWrong { channel } = self else { return None };
        let reasons = vec![Reason::IsvCode { channel: channel.to_string() }];
        Some(Decision { verdict: Verdict::ImplicitDeny, reasons })
    }
}

/// What a call is about, once its caller may work with it. Empty parameters count as not given.
///
/// # Errors
/// The first [`Refusal`], in their order.
pub fn enter(
    snapshot: &Snapshot,
    principal: &Principal,
    named: &Named<'_>,
) -> Result<Reach, Refusal> {
    let account = principal.account();
    if !account.subscribed {
        return Err(Refusal::Unsubscribed);
    }
    let Some(parameter) = named.about.parameter() else {
        let all = snapshot.channels_of(&account.uid).iter();
        let own = all.filter(|channel| check_code(snapshot, principal, channel, named).is_ok());
        return Ok(Reach::Account(own.cloned().collect()));
    };
    let channel = resolve_channel(snapshot, principal, named, parameter)?;
    check_code(snapshot, principal, &channel, named)?;
    Ok(Reach::Channel(channel))
}

/// The channel of the caller's account that is named; for a space that is not, its only one.
///
/// # Errors
/// [`Refusal::SpaceMissing`], [`Refusal::SpaceForeign`].
fn resolve_channel(
    snapshot: &Snapshot,
    principal: &Principal,
    named: &Named<'_>,
    parameter: &'static str,
) -> Result<Arc<Channel>, Refusal> {
    let account = &principal.account().uid;
    let Some(text) = named.id.filter(|text| !text.is_empty()) else {
        return match snapshot.only_channel(account) {
            OnlyChannel::One(channel) if named.about == About::Space => Ok(channel),
            _ => Err(Refusal::SpaceMissing { parameter }),
        };
    };
    let channel = ChannelId::new(text).ok().and_then(|id| snapshot.channel(&id));
    match channel {
        Some(channel) if channel.account == *account => Ok(Arc::clone(channel)),
        _ => Err(Refusal::SpaceForeign),
    }
}

/// Whether the caller may work with a channel of its account: root, sessions and users that are
/// not ISV-scoped may; a scoped user needs its code.
///
/// # Errors
/// [`Refusal::CodeWrong`].
fn check_code(
    snapshot: &Snapshot,
    principal: &Principal,
    channel: &Channel,
    named: &Named<'_>,
) -> Result<(), Refusal> {
    let user = match principal {
        Principal::User(_, user) if user.isv_scoped => user,
        Principal::Root(_) | Principal::User(..) | Principal::Session(..) => return Ok(()),
    };
    let issued = snapshot.isv_code(&user.id, &channel.id);
    let is_right = match named.code_use {
        IsvCodeUse::Ignored => true,
        IsvCodeUse::Issued => issued.is_some(),
        IsvCodeUse::Checked => {
            issued.zip(named.isv_code).is_some_and(|(issued, given)| issued.code.is(given))
        }
    };
    if is_right { Ok(()) } else { Err(Refusal::CodeWrong { channel: channel.id.clone() }) }
}
