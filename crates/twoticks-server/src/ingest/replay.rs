//! Replaying dead letters: what could not be counted then is read again, as the directory is now.
//!
//! Only the dead parts of an entry are read again, with its own acceptance time, and only for the
//! channels that its secret speaks for today. When fewer parts are dead than before, an entry
//! that resolves the old one keeps what counts now and what is still dead. What always holds: a
//! second replay finds nothing to do; what was counted once is not read again, so a number that
//! moved meanwhile is not counted for two channels. An exported journal is re-fed by
//! [`super::import`], whose lines it has.

use std::sync::LazyLock;

use serde::Serialize;
use twoticks_core::ids::{ChannelId, Hash};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::names::Secret;
use twoticks_store::error::Error;
use twoticks_store::keys::{HashOf, Keys};
use twoticks_store::ledger::{Batch, Dead, Entry, Kind};

use super::translate::{self, Context, Speaks, Translated};
use crate::app::App;

/// The origin of what came through the door of the Cloud API; behind it `#` and which app secret
/// signed, as a keyed hash.
const WHATSAPP: &str = "/webhooks/whatsapp";
/// The origin of receipts; their entry names the channel.
pub(super) const CAMS: &str = "/webhooks/cams";
/// How many dead letters are read at once.
const PAGE: usize = 100;

/// What became of one dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Where it is in the journal.
    pub position: u64,
    /// How many events count that did not before.
    pub events: usize,
    /// Whether the entry was resolved (or would be, in a dry run).
    pub resolved: bool,
    /// What is still dead, and why.
    pub dead: Vec<StillDead>,
}

/// A part that is still dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StillDead {
    /// Where in the body it is.
    pub path: String,
    /// Why, and what would do.
    pub why: String,
}

/// The origin of a webhook that `secret` signed.
pub(super) fn signed_origin(keys: &Keys, secret: &Secret) -> String {
    // Every webhook has one, so it is written digit by digit.
    let Hash(fingerprint) = fingerprint(keys, secret);
    let mut origin = String::with_capacity(WHATSAPP.len() + 1 + 2 * fingerprint.len());
    origin.push_str(WHATSAPP);
    origin.push('#');
    for half in fingerprint.into_iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        origin.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
    }
    origin
}

/// An app secret is of no one channel, so its hashes are under a name that stands for all.
static ALL: LazyLock<ChannelId> =
    LazyLock::new(|| ChannelId::new("*").expect("a star is a visible character"));

fn fingerprint(keys: &Keys, secret: &Secret) -> Hash {
    keys.hash(HashOf::AppSecret, &ALL, secret.expose().as_bytes())
}

/// Replays every dead letter from the position `from` on and tells of each.
///
/// `speaks` overrides for which channels they may speak: that is for the operator, when the secret
/// that let them in is no longer there. A dry run keeps nothing.
///
/// # Errors
/// As the ledger's; what was told before has been done.
pub async fn dead_letters(
    app: &App,
    speaks: Option<Speaks<'_>>,
    mut from: u64,
    dry_run: bool,
    tell: &mut (dyn FnMut(Replayed) + Send),
) -> Result<(), Error> {
    // What is still dead after this has a later position, and is not looked at a second time.
    let mut newer = u64::MAX;
    loop {
        let page = app.ledger.dead_letters(from, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        from = last.position + 1;
        for entry in &page {
            if entry.position >= newer {
                return Ok(());
            }
            let (replayed, batch) = again(app, speaks, entry);
            if let Some(batch) = batch.filter(|_| !dry_run) {
                newer = newer.min(app.ledger.record(batch).await?.position);
            }
            tell(replayed);
        }
    }
}

/// Reads the dead parts of `entry` again. There is a batch to record if some came to life.
#[must_use]
fn again(app: &App, speaks: Option<Speaks<'_>>, entry: &Entry) -> (Replayed, Option<Batch>) {
    let Entry { position, batch: old } = entry;
    let snapshot = app.directory.snapshot();
    let channels = signed(&snapshot, &app.keys, old).channels;
    let context = Context {
        snapshot: &snapshot,
        keys: &app.keys,
        speaks: speaks.unwrap_or(Speaks::Channels(&channels)),
        accepted: old.accepted,
        only: Some(&old.dead),
    };
    let Translated { events, dead, .. } = if old.origin == CAMS {
        translate::receipts(&context, &old.body)
    } else {
        translate::meta(&context, &old.body)
    };
    let still = |it: &Dead| StillDead { path: it.path.clone(), why: it.why.clone() };
    let resolved = dead.len() < old.dead.len() || !events.is_empty();
    let replayed = Replayed {
        position: *position,
        events: events.len(),
        resolved,
        dead: dead.iter().map(still).collect(),
    };
    let batch = resolved.then(|| Batch {
        kind: Kind::Replay,
        accepted: old.accepted,
        origin: old.origin.clone(),
        channel: old.channel.clone().or_else(|| super::one_channel(&events)),
        group: None,
        events,
        dead,
        resolves: Some(*position),
        body: old.body.clone(),
    });
    (replayed, batch)
}

/// What is known today of whoever signed an entry.
pub(crate) struct Signed {
    /// The secret that let it in, if that is still there.
    pub(crate) secret: Option<Secret>,
    /// The channels that it may speak for: those that have the secret, and the one that it is of.
    pub(crate) channels: Vec<ChannelId>,
}

/// Who signed the entry.
pub(crate) fn signed(snapshot: &Snapshot, keys: &Keys, entry: &Batch) -> Signed {
    let mut channels: Vec<ChannelId> = entry.channel.iter().cloned().collect();
    let mut secret = None;
    if let Some((WHATSAPP, print)) = entry.origin.split_once('#') {
        let mut secrets = snapshot.app_secrets().iter();
        let known = secrets.find(|known| fingerprint(keys, &known.secret).to_string() == print);
        if let Some(known) = known {
            secret = Some(known.secret.clone());
            let new = known.channels.iter().filter(|it| entry.channel.as_ref() != Some(*it));
            channels.extend(new.cloned());
        }
    }
    Signed { secret, channels }
}
