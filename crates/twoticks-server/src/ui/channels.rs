//! The channels of a visitor's account, as pages let them be chosen: one of another account is as
//! unknown as one that is not there.

use std::sync::Arc;

use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::Channel;
use twoticks_store::directory::names::Uid;

use super::Refusal;

/// A channel in a list to choose from.
pub(super) struct Choosable<'a> {
    pub(super) value: &'a str,
    pub(super) text: &'a str,
    pub(super) chosen: bool,
}

/// The account's channel with this id.
pub(super) fn own(snapshot: &Snapshot, account: &Uid, id: &str) -> Result<Arc<Channel>, Refusal> {
    let channels = snapshot.channels_of(account);
    let known = channels.iter().find(|channel| channel.id.as_str() == id).cloned();
    known.ok_or_else(|| Refusal::Address(format!("There is no channel `{id}` in this account.")))
}

/// The channel that the address names; else the account's first, if it has one.
pub(super) fn chosen(
    snapshot: &Snapshot,
    account: &Uid,
    asked: Option<&str>,
) -> Result<Option<Arc<Channel>>, Refusal> {
    match asked.filter(|asked| !asked.is_empty()) {
        Some(asked) => own(snapshot, account, asked).map(Some),
        None => Ok(snapshot.channels_of(account).first().cloned()),
    }
}

/// The account's channels, to choose from.
pub(super) fn choosable<'a>(
    snapshot: &'a Snapshot,
    account: &Uid,
    chosen: Option<&Channel>,
) -> Vec<Choosable<'a>> {
    let channel = |channel: &'a Arc<Channel>| Choosable {
        value: channel.id.as_str(),
        text: channel.name.as_str(),
        chosen: chosen.is_some_and(|chosen| chosen.id == channel.id),
    };
    snapshot.channels_of(account).iter().map(channel).collect()
}
