//! Access tokens: one for each channel, made from its secrets, so that the same seed or folder has
//! the same tokens and nobody else can make them.

use std::sync::Arc;

use serde_json::{Value, json};
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::Channel;
use twoticks_store::directory::names::Secret;

use super::Asked;
use super::refusal::{Refusal, TOKEN};
use crate::meta::{Version, signature};

/// When every token was issued, in seconds of Unix time.
const ISSUED: i64 = 1_750_000_000;
/// What every token may do.
const SCOPES: [&str; 2] = ["whatsapp_business_management", "whatsapp_business_messaging"];
/// Ids of apps have 15 digits.
const APP_IDS: (u64, u64) = (100_000_000_000_000, 900_000_000_000_000);

/// The hexadecimal digits of an HMAC of `what` under a secret.
fn digits(secret: &Secret, what: &str) -> String {
    let header = signature(secret.expose().as_bytes(), what.as_bytes());
    header.trim_start_matches("sha256=").to_owned()
}

/// The access token of a channel.
#[must_use]
pub(crate) fn access_token(channel: &Channel) -> String {
    let what = format!("access token of {}", channel.id);
    format!("EAA{}", digits(&channel.receipts_secret, &what))
}

/// The app that serves a channel: one for all that share an app secret.
#[must_use]
pub(crate) fn app_id(channel: &Channel) -> String {
    let secret = channel.app_secrets.last().unwrap_or(&channel.receipts_secret);
    let digits = digits(secret, "app id");
    let number = digits.get(..12).and_then(|it| u64::from_str_radix(it, 16).ok()).unwrap_or(0);
    let (first, count) = APP_IDS;
    (first + number % count).to_string()
}

/// What whoever calls the Graph doors for a channel needs.
#[must_use]
pub(super) fn shown(channel: &Channel, url: &str, version: Version) -> Value {
    json!({
        "url": url, "version": version.to_string(), "channel": channel.id,
        "waba_id": channel.waba_id, "app_id": app_id(channel),
        "access_token": access_token(channel),
    })
}

/// The channel that a token is of.
pub(super) fn channel_of(snapshot: &Snapshot, token: &str) -> Option<Arc<Channel>> {
    let token = Secret::new(token).ok()?;
    snapshot.channels().find(|channel| token.is(&access_token(channel))).cloned()
}

/// Whether it is the token of an app: its id, `|`, and the secret that it signs with.
pub(super) fn is_of_app(snapshot: &Snapshot, token: &str) -> bool {
    let Some((id, secret)) = token.split_once('|') else { return false };
    let is_it = |channel: &Channel| {
        let known = channel.app_secrets.last();
        known.is_some_and(|known| known.is(secret)) && app_id(channel) == id
    };
    snapshot.channels().any(|channel| is_it(channel))
}

/// `GET /debug_token?input_token=…`.
pub(super) fn debug(
    snapshot: &Snapshot,
    asked: &Asked,
    is_revoked: impl Fn(&Channel) -> bool,
) -> Result<Value, Refusal> {
    let token = asked.given.text("input_token").ok_or_else(|| Refusal::missing("input_token"))?;
    let Some(channel) = channel_of(snapshot, &token).filter(|it| !is_revoked(it)) else {
        let message = "Invalid OAuth access token data.";
        let error = json!({"code": TOKEN, "message": message});
        return Ok(json!({"data": {"error": error, "is_valid": false, "scopes": []}}));
    };
    let granular = SCOPES.map(|scope| json!({"scope": scope, "target_ids": [channel.waba_id]}));
    let app_id = app_id(&channel);
    Ok(json!({"data": {
        "app_id": app_id, "type": "SYSTEM_USER", "application": "Emulated app",
        "is_valid": true, "expires_at": 0, "data_access_expires_at": 0, "issued_at": ISSUED,
        "scopes": SCOPES, "granular_scopes": granular, "user_id": format!("12{app_id}"),
    }}))
}
