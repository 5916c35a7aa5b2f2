//! `/webhooks/cams/{secret}`: the receipts of CAMS.
//!
//! They are not signed: the secret in the path is all that lets them in, and it says for which
//! channel they speak. It is looked up by a keyed hash, so that the time it takes tells nothing
//! about those that are known. The sender repeats what is not answered with `"code":0`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::{
    Believed, Door, Named, Refusal, named, off_the_runtime, read, record, replay, translated,
};
use crate::app::App;

/// What the sender takes for an acknowledgement.
const TAKEN: &str = r#"{"code":0,"msg":"ok"}"#;

pub(super) async fn take(State(app): State<Arc<App>>, secret: Named, body: Body) -> Response {
    match take_in(&app, &named(secret), body).await {
        Ok(()) => ([(header::CONTENT_TYPE, "application/json")], TAKEN).into_response(),
        Err(refusal) => refusal.answer(&app, Door::Cams),
    }
}

async fn take_in(app: &Arc<App>, secret: &str, body: Body) -> Result<(), Refusal> {
    let _place = app.webhooks.enter(app.settings.limits.webhooks_in_flight_max)?;
    let snapshot = app.directory.snapshot();
    let channel = snapshot.channel_by_receipts_secret(secret).ok_or(Refusal::Path)?.id.clone();
    let body = read(body).await?;
    let accepted = app.clock.now();
    let work = {
        let (app, body, channels) = (Arc::clone(app), body.clone(), [channel.clone()]);
        move || translated(&app, &snapshot, Door::Cams, &channels, accepted, &body)
    };
    let translated = off_the_runtime(body.len(), work).await?;
    let believed = Believed { translated, channel: Some(channel), origin: replay::CAMS.to_owned() };
    record(app, Door::Cams, accepted, believed, body).await
}
