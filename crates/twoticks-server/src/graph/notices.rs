//! What WhatsApp tells of templates and numbers by webhook, put where people and operations look.
//!
//! Counts hang on none of it: categories are facts of the journal. A template's status is taken
//! from the notice; for anything else WhatsApp is asked how things are now, once for all notices
//! that come meanwhile. What always holds: a webhook never waits for it, and loses nothing by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use twoticks_core::clock::DAY;
use twoticks_core::ids::{ChannelId, Template, Text};
use twoticks_store::directory::Change;
use twoticks_store::directory::model::{GraphTemplate, TemplateRecord};

use super::{CallError, connect, sync};
use crate::app::App;
use crate::control::ControlError;

/// How old what is known of numbers and templates may get, in milliseconds.
const READ_EVERY: i64 = DAY;
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// What a webhook told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// How a template stands now.
    Template {
        /// Its channel.
        channel: ChannelId,
        /// Which one.
        template: Template,
        /// `APPROVED` and so on.
        status: Text,
        /// Why, if it is said.
        reason: Option<Text>,
    },
    /// Something about numbers or templates of a channel has changed.
    Stale(ChannelId),
}

/// Which channels are being read again, and whether once more afterwards.
#[derive(Debug, Default)]
pub(crate) struct Reading(Mutex<HashMap<ChannelId, bool>>);

impl Reading {
    /// Whether to begin; a reading that is under way goes round once more instead.
    fn begin(&self, channel: &ChannelId) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(channel) {
            Some(again) => {
                *again = true;
                false
            }
            None => {
                all.insert(channel.clone(), false);
                true
            }
        }
    }

    /// Whether to go round once more; else it has ended.
    fn goes_on(&self, channel: &ChannelId) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(channel) {
            Some(again) if *again => {
                *again = false;
                true
            }
            _ => {
                all.remove(channel);
                false
            }
        }
    }
}

/// Has what was told seen to, in the background.
pub(crate) fn hear(app: &Arc<App>, notices: Vec<Notice>) {
    if notices.is_empty() {
        return;
    }
    let of = Arc::clone(app);
    app.tasks.spawn(move |_| async move {
        for notice in notices {
            match notice {
                Notice::Template { channel, template, status, reason } => {
                    put_status(&of, &channel, &template, status, reason).await;
                }
                Notice::Stale(channel) => read_again(&of, channel),
            }
        }
    });
}

async fn put_status(
    app: &App,
    channel: &ChannelId,
    template: &Template,
    status: Text,
    reason: Option<Text>,
) {
    let status = match status.as_str() {
        "REINSTATED" | "UNARCHIVED" => Text::lossy("APPROVED"),
        // A warning: it is sent as before.
        "FLAGGED" => return,
        _ => status,
    };
    let snapshot = app.directory.snapshot();
    let Some(known) = snapshot.template(channel, &template.code, &template.language) else {
        return;
    };
    // Where what it says is not known, it is shown as it was put here.
    let Some(graph) = known.graph.clone() else { return };
    let graph = GraphTemplate { status, reason, updated: app.clock.now(), ..graph };
    let record = TemplateRecord { graph: Some(graph), ..TemplateRecord::clone(known) };
    if let Err(why) = app.directory.change(vec![Change::PutTemplate(record)]).await {
        let error = &why as &dyn std::error::Error;
        warn!(error, "how a template stands could not be kept");
    }
}

/// Reads numbers and templates of a channel again, in the background, if it is connected.
pub(crate) fn read_again(app: &Arc<App>, channel: ChannelId) {
    let is_connected = |app: &App| {
        let snapshot = app.directory.snapshot();
        snapshot.channel(&channel).is_some_and(|it| it.connection.is_some())
    };
    if !is_connected(app) || !app.dispatcher.reading().begin(&channel) {
        return;
    }
    let of = Arc::clone(app);
    app.tasks.spawn(move |stop| async move {
        loop {
            let read = tokio::select! {
                read = read(&of, &channel) => read,
                () = stop.cancelled() => return,
            };
            match read {
                Ok(()) => info!(channel.id = %channel, "numbers and templates were read again"),
                Err(why) => warn!(
                    error = &why as &dyn std::error::Error,
                    channel.id = %channel,
                    "numbers and templates could not be read again"
                ),
            }
            if !of.dispatcher.reading().goes_on(&channel) {
                return;
            }
        }
    });
}

async fn read(app: &App, id: &ChannelId) -> Result<(), ControlError> {
    let snapshot = app.directory.snapshot();
    let channel = snapshot.channel(id);
    let connection = channel.and_then(|channel| channel.connection.as_ref());
    let waba_id = channel.and_then(|channel| channel.waba_id.as_ref());
    let (Some(connection), Some(waba_id)) = (connection, waba_id) else { return Ok(()) };
    let refused = |why: CallError| ControlError::Graph { what: "numbers and templates", why };
    let graph = app.dispatcher.graph(app).map_err(refused)?;
    let (token, of) = (&connection.access_token, (id, waba_id.as_str()));
    let now = app.clock.now();
    let read = sync::read(graph, token, of, &snapshot, now).await.map_err(refused)?;
    sync::take_over(app, id, read).await?;
    connect::change(app, id, token, |connection| connection.checked = Some(now)).await;
    Ok(())
}

/// Reads the numbers and templates of every connected channel again that was not read for
/// [`READ_EVERY`], until the server stops.
pub(crate) async fn keep_reading(app: Arc<App>, stop: CancellationToken) {
    loop {
        let now = app.clock.now();
        let snapshot = app.directory.snapshot();
        for channel in snapshot.channels() {
            let checked = channel.connection.as_ref().and_then(|it| it.checked);
            if checked.is_some_and(|checked| now.0.saturating_sub(checked.0) > READ_EVERY) {
                read_again(&app, channel.id.clone());
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
