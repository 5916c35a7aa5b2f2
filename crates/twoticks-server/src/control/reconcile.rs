//! Ours beside Meta's, for the command line.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use twoticks_core::ids::ChannelId;

use super::ControlError;
use crate::app::App;
use crate::graph::figures;
use crate::reconcile::{Days, Uncompared, report};

/// What is to be compared.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The channel; may be left out where there is one.
    pub channel: Option<ChannelId>,
    /// The first day, such as `2026-11-03`; else eight days before the last.
    pub start: Option<String>,
    /// The last day; else today.
    pub end: Option<String>,
    /// Ask Meta first.
    pub sync: bool,
}

/// Compares, after asking Meta if that is wanted.
pub(super) async fn execute(app: &App, request: Request) -> Result<Value, ControlError> {
    let Request { channel, start, end, sync } = request;
    let channel = match channel {
        Some(channel) => channel,
        None => only(app)?,
    };
    if app.directory.snapshot().channel(&channel).is_none() {
        let remedy = "`twoticks channel list` lists them";
        return Err(ControlError::Missing { what: "channel", name: channel.to_string(), remedy });
    }
    let unfit = |why| ControlError::Unfit { what: "the days", why };
    let days = Days::chosen(start.as_deref(), end.as_deref(), app.clock.now()).map_err(unfit)?;
    if sync {
        let first = start.is_some().then_some(days.first);
        figures::read(app, &channel, first).await?;
    }
    match report(app, &channel, days).await {
        Ok(report) => Ok(report.json()),
        Err(Uncompared::Store(why)) => Err(why.into()),
        Err(why) => Err(unfit(why.to_string())),
    }
}

fn only(app: &App) -> Result<ChannelId, ControlError> {
    let snapshot = app.directory.snapshot();
    let mut channels = snapshot.channels();
    match (channels.next(), channels.next()) {
        (Some(only), None) => Ok(only.id.clone()),
        (first, _) => {
            let why = match first {
                Some(_) => "there are several; name one",
                None => "there is none yet; `twoticks init` or `twoticks channel add` makes one",
            };
            Err(ControlError::Unfit { what: "--channel", why: why.to_owned() })
        }
    }
}
