//! Which channel a call is about, and whether its caller may work with it: spaces and `IsvCode`s.
//!
//! `CustSpaceId` names a channel of the caller's account, the tenant boundary. A channel of
//! somebody else is answered exactly as one that does not exist. A user that is ISV-scoped needs
//! besides, for each channel, the code that was issued for this user and this channel, except on
//! the sends, where the code is out of use and ignored. These checks come after the policies and
//! before the parameters: subscription, ownership of the space, `IsvCode`.

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
    /// It does not: the sends.
    Ignored,
}

/// Why a caller does not get to a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The account has not subscribed: `Product.Unsubscript`.
    Unsubscribed,
    /// No space is named, and the account has several, or none: `MissingCustSpaceId`.
    SpaceMissing,
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
            Self::SpaceMissing => WireRefusal::missing("CustSpaceId"),
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

/// The channel a call is about, once its caller may work with it. Empty parameters count as not
/// given.
///
/// # Errors
/// The first [`Refusal`], in their order.
pub fn enter(
    snapshot: &Snapshot,
    principal: &Principal,
    cust_space_id: Option<&str>,
    isv_code: Option<&str>,
    code_use: IsvCodeUse,
) -> Result<Arc<Channel>, Refusal> {
    if !principal.account().subscribed {
        return Err(Refusal::Unsubscribed);
    }
    let channel = resolve_channel(snapshot, principal, cust_space_id)?;
    if code_use == IsvCodeUse::Checked {
        check_code(snapshot, principal, &channel, isv_code)?;
    }
    Ok(channel)
}

/// The channel of the caller's account that `CustSpaceId` names, or its only one.
///
/// # Errors
/// [`Refusal::SpaceMissing`], [`Refusal::SpaceForeign`].
fn resolve_channel(
    snapshot: &Snapshot,
    principal: &Principal,
    cust_space_id: Option<&str>,
) -> Result<Arc<Channel>, Refusal> {
    let account = &principal.account().uid;
    let Some(text) = cust_space_id.filter(|text| !text.is_empty()) else {
        return match snapshot.only_channel(account) {
            OnlyChannel::One(channel) => Ok(channel),
            OnlyChannel::None | OnlyChannel::Several => Err(Refusal::SpaceMissing),
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
    isv_code: Option<&str>,
) -> Result<(), Refusal> {
    let user = match principal {
        Principal::User(_, user) if user.isv_scoped => user,
        Principal::Root(_) | Principal::User(..) | Principal::Session(..) => return Ok(()),
    };
    let issued = snapshot.isv_code(&user.id, &channel.id);
    match (issued, isv_code) {
        (Some(issued), Some(given)) if issued.code.is(given) => Ok(()),
        _ => Err(Refusal::CodeWrong { channel: channel.id.clone() }),
    }
}
