//! `/webhooks/whatsapp` and `/webhooks/whatsapp/{channel}`: the webhooks of the Cloud API.
//!
//! The signature is that of the raw bytes, checked before anything is parsed. It speaks for every
//! channel that has its secret, whatever the path says; the path only says whose secrets to try.
//! A channel that does not exist is answered as one whose secret does not fit, in the same time.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use twoticks_core::clock::Time;
use twoticks_core::ids::ChannelId;
use twoticks_store::directory::Snapshot;
use twoticks_store::directory::model::Channel;
use twoticks_store::directory::names::Secret;
use twoticks_wire::webhook::meta as wire;
use twoticks_wire::webhook::meta::SignatureRefusal;

use super::{
    Believed, Door, Named, Refusal, named, off_the_runtime, read, record, replay, translated,
};
use crate::app::App;

/// The header with the signature.
const SIGNATURE: &str = "x-hub-signature-256";

pub(super) async fn handshake(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Response {
    let snapshot = app.directory.snapshot();
    let tokens = snapshot.channels().map(|channel| token(channel)).collect::<Vec<_>>();
    answer_handshake(&app, query.as_deref(), &tokens)
}

pub(super) async fn handshake_of(
    State(app): State<Arc<App>>,
    channel: Named,
    RawQuery(query): RawQuery,
) -> Response {
    let snapshot = app.directory.snapshot();
    let tokens = known(&snapshot, &named(channel)).map(token);
    answer_handshake(&app, query.as_deref(), tokens.as_slice())
}

fn token(channel: &Channel) -> &[u8] {
    channel.verify_token.expose().as_bytes()
}

fn answer_handshake(app: &App, query: Option<&str>, tokens: &[&[u8]]) -> Response {
    match wire::handshake(query.unwrap_or_default(), tokens) {
        Ok(challenge) => {
            let plain =
                [(header::CONTENT_TYPE, "text/plain"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
            (plain, challenge).into_response()
        }
        Err(why) => Refusal::Handshake(why).answer(app, Door::WhatsApp),
    }
}

pub(super) async fn take(State(app): State<Arc<App>>, request: Request) -> Response {
    answer(&app, take_in(&app, None, request).await)
}

pub(super) async fn take_of(
    State(app): State<Arc<App>>,
    channel: Named,
    request: Request,
) -> Response {
    answer(&app, take_in(&app, Some(named(channel)), request).await)
}

fn answer(app: &App, taken: Result<(), Refusal>) -> Response {
    match taken {
        Ok(()) => "ok".into_response(),
        Err(refusal) => refusal.answer(app, Door::WhatsApp),
    }
}

async fn take_in(app: &Arc<App>, channel: Option<String>, request: Request) -> Result<(), Refusal> {
    let _place = app.webhooks.enter(app.settings.limits.webhooks_in_flight_max)?;
    let Some(signature) = request.headers().get(SIGNATURE).cloned() else {
        return Err(Refusal::Signature(SignatureRefusal::Missing));
    };
    let body = read(request.into_body()).await?;
    let accepted = app.clock.now();
    let work = {
        let (app, body) = (Arc::clone(app), body.clone());
        move || believe(&app, channel.as_deref(), signature.as_bytes(), accepted, &body)
    };
    let believed = off_the_runtime(body.len(), work).await??;
    record(app, Door::WhatsApp, accepted, believed, body).await
}

/// Verifies, then translates.
fn believe(
    app: &App,
    channel: Option<&str>,
    signature: &[u8],
    accepted: Time,
    body: &Bytes,
) -> Result<Believed, Refusal> {
    let snapshot = app.directory.snapshot();
    let secret = verified(&snapshot, channel, signature, body).map_err(Refusal::Signature)?;
    let all = snapshot.app_secrets();
    let channels =
        all.iter().find(|known| known.secret == *secret).map_or(&[][..], |known| &known.channels);
    let translated = translated(app, &snapshot, Door::WhatsApp, channels, accepted, body);
    let channel = match channels {
        [channel] => Some(channel.clone()),
        _ => None,
    };
    Ok(Believed { translated, channel, origin: replay::signed_origin(&app.keys, secret) })
}

/// The secret that the signature was made with.
fn verified<'a>(
    snapshot: &'a Snapshot,
    channel: Option<&str>,
    signature: &[u8],
    body: &[u8],
) -> Result<&'a Secret, SignatureRefusal> {
    let secrets: Vec<&Secret> = match channel {
        None => snapshot.app_secrets().iter().map(|known| &known.secret).collect(),
        Some(text) => {
            known(snapshot, text).into_iter().flat_map(|channel| &channel.app_secrets).collect()
        }
    };
    if secrets.is_empty() {
        // It takes as long as with one that does not fit, and a fit would be none.
        let fits = wire::verify(&[b"nobody has this secret"], body, Some(signature));
        return Err(fits.err().unwrap_or(SignatureRefusal::NoneFits));
    }
    let texts: Vec<&[u8]> = secrets.iter().map(|secret| secret.expose().as_bytes()).collect();
    let index = wire::verify(&texts, body, Some(signature))?;
    secrets.get(index).copied().ok_or(SignatureRefusal::NoneFits)
}

fn known<'a>(snapshot: &'a Snapshot, channel: &str) -> Option<&'a Channel> {
    let channel = ChannelId::new(channel).ok()?;
    snapshot.channel(&channel).map(AsRef::as_ref)
}
