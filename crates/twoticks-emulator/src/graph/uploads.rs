//! The resumable upload, which gives the handles that headers of templates need: a session is begun
//! at the app, and the bytes are posted to the session in one piece.
//!
//! Nothing is kept of it: a session says itself what it is for, under a signature, and the bytes are
//! looked at and dropped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use twoticks_store::directory::model::Channel;
use twoticks_store::directory::names::Secret;

use super::refusal::Refusal;
use super::tokens::{access_token, app_id};
use super::{Asked, Here};
use crate::meta::signature;

/// What the path of a session begins with.
pub(super) const SESSION: &str = "upload:";
/// The longest body of an upload, in bytes: a document (Meta).
pub(super) const BYTES_MAX: usize = 100 << 20;
/// What can be uploaded (Meta).
const TYPES: [&str; 5] = ["application/pdf", "image/jpeg", "image/jpg", "image/png", "video/mp4"];

/// The hexadecimal digits by which a channel's sessions and handles are known again.
fn signed(channel: &Channel, what: &str) -> Result<String, Refusal> {
    let secret = Secret::new(&access_token(channel));
    let secret = secret.map_err(|why| Refusal::of(2, why.to_string()))?;
    let header = signature(secret.expose().as_bytes(), what.as_bytes());
    Ok(header.trim_start_matches("sha256=").to_owned())
}

/// `POST /{app}/uploads`: begins one.
pub(super) fn begin(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    let given = |name: &str| asked.given.text(name).ok_or_else(|| Refusal::missing(name));
    let (kind, length) = (given("file_type")?, given("file_length")?);
    if !TYPES.contains(&kind.as_str()) {
        let types = TYPES.join(", ");
        return Err(Refusal::parameter(format!("Param file_type must be one of {{{types}}}")));
    }
    let is_length = |length: &usize| (1..=BYTES_MAX).contains(length);
    let length: usize =
        length.parse().ok().filter(is_length).ok_or_else(|| {
            Refusal::parameter(format!("Param file_length must be 1 to {BYTES_MAX}"))
        })?;
    let what = URL_SAFE_NO_PAD.encode(format!("{length} {kind}"));
    let sig = signed(&here.channel, &what)?;
    Ok(json!({"id": format!("{SESSION}{what}?sig={sig}")}))
}

/// `POST /upload:…?sig=…`: takes the bytes, and gives the handle.
pub(super) fn take(here: &Here, asked: &Asked) -> Result<Value, Refusal> {
    let unknown = || Refusal::no_object(asked.method.as_str(), &asked.place.id);
    let what = asked.place.id.strip_prefix(SESSION).ok_or_else(unknown)?;
    if asked.given.text("sig") != Some(signed(&here.channel, what)?) {
        return Err(unknown());
    }
    let described = URL_SAFE_NO_PAD.decode(what).ok().and_then(|it| String::from_utf8(it).ok());
    let described = described.ok_or_else(unknown)?;
    let (length, kind) = described.split_once(' ').ok_or_else(unknown)?;
    let (bytes, offset) = asked.upload.as_ref().ok_or_else(unknown)?;
    if offset.as_deref() != Some("0") {
        return Err(Refusal::parameter("the header file_offset must be 0"));
    }
    if bytes.len().to_string() != length {
        let rule = format!("{} bytes came, the session is for {length}", bytes.len());
        return Err(Refusal::parameter(rule));
    }
    let kind = URL_SAFE_NO_PAD.encode(kind);
    let of = format!("4::{kind}:{length}:e:{}:{}", here.now.second(), app_id(&here.channel));
    let proof = signed(&here.channel, &of)?;
    Ok(json!({"h": format!("{of}:{proof}")}))
}

/// Whether a handle was given to that channel.
pub(super) fn is_handle(channel: &Channel, handle: &str) -> bool {
    let Some((of, proof)) = handle.rsplit_once(':') else { return false };
    signed(channel, of).is_ok_and(|known| known == proof)
}
