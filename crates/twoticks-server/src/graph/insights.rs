//! Enabling Meta's own statistics together with ours, so that they can be compared.

use std::sync::Arc;

use tracing::{info, warn};
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory::PROBLEMS_MAX;
use twoticks_store::directory::model::Connection;

use super::{CallError, connect};
use crate::app::App;

/// How a problem with it begins: a later one takes its place.
const PROBLEM: &str = "Meta's insights are not enabled";

/// Enables them for a channel that is connected, in the background. What goes wrong is seen in the
/// channel's problems; our own opt-in stands whatever comes of it.
pub(crate) fn enable(app: &Arc<App>, channel: &ChannelId) {
    let snapshot = app.directory.snapshot();
    if snapshot.channel(channel).is_none_or(|known| known.connection.is_none()) {
        return;
    }
    let (of, channel) = (Arc::clone(app), channel.clone());
    app.tasks.spawn(move |stop| async move {
        tokio::select! {
            () = ask_and_note(&of, &channel) => {}
            () = stop.cancelled() => {}
        }
    });
}

async fn ask_and_note(app: &App, channel: &ChannelId) {
    let problem = match ask(app, channel).await {
        Ok(()) => {
            info!(channel.id = %channel, "Meta's insights are enabled");
            None
        }
        Err(why) => {
            let error = &why as &dyn std::error::Error;
            warn!(error, channel.id = %channel, "Meta's insights could not be enabled");
            Some(Text::lossy(&format!("{PROBLEM}: {why}; our own statistics are, all the same")))
        }
    };
    let snapshot = app.directory.snapshot();
    let known = snapshot.channel(channel).and_then(|known| known.connection.as_ref());
    let Some(token) = known.map(|connection| connection.access_token.clone()) else { return };
    let note = |connection: &mut Connection| {
        connection.told.retain(|known| !known.as_str().starts_with(PROBLEM));
        connection.told.extend(problem);
        connection.told.truncate(PROBLEMS_MAX);
    };
    connect::change(app, channel, &token, note).await;
}

async fn ask(app: &App, channel: &ChannelId) -> Result<(), CallError> {
    let snapshot = app.directory.snapshot();
    let known = snapshot.channel(channel);
    let connection = known.and_then(|known| known.connection.as_ref());
    let waba_id = known.and_then(|known| known.waba_id.as_ref());
    let (Some(connection), Some(waba_id)) = (connection, waba_id) else { return Ok(()) };
    let graph = app.dispatcher.graph(app)?;
    let enabled = [("is_enabled_for_insights", "true")];
    graph.post(&connection.access_token, waba_id.as_str(), &enabled, None).await.map(drop)
}
