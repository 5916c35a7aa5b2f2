//! `GET /api/v1/reconciliation`: ours beside Meta's, for programs.
//!
//! The caller is an access key, by HTTP's Basic scheme, that may call `GetChatappTemplateMetric`; it
//! asks for a channel of its account. Parameters: `channel` (may be left out where there is one),
//! `start` and `end` (days of UTC, both included), `isv_code` for users who are scoped.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;
use tracing::{error, info};

use super::{Days, Uncompared, report};
use crate::access::isv::{self, IsvCodeUse};
use crate::api::{self, answer};
use crate::app::App;
use crate::http::Peer;

/// What the caller has to be allowed to do.
const ACTION: &str = "GetChatappTemplateMetric";

/// The route.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/v1/reconciliation", get(ask))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    channel: Option<String>,
    start: Option<String>,
    end: Option<String>,
    isv_code: Option<String>,
}

async fn ask(
    State(app): State<Arc<App>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let peer = peer.map(|Extension(Peer(address))| address.ip().to_canonical());
    let principal = match api::caller(&app, &headers, peer, ACTION) {
        Ok(principal) => principal,
        Err(refused) => return refused.answer(),
    };
    let refuse = |status: StatusCode, why: String| {
        info!(http.status = status.as_u16(), "a reconciliation was refused");
        answer(status, &json!({ "error": why }))
    };
    let Ok(Query(asked)) = asked else {
        let why = "each of `channel`, `start`, `end` and `isv_code` can be given once";
        return refuse(StatusCode::BAD_REQUEST, why.to_owned());
    };
    let snapshot = app.directory.snapshot();
    let named = isv::Named {
        about: isv::About::Space,
        id: asked.channel.as_deref(),
        isv_code: asked.isv_code.as_deref(),
        code_use: IsvCodeUse::Checked,
    };
    let channel = match isv::enter(&snapshot, &principal, &named) {
        Ok(isv::Reach::Channel(channel)) => channel,
        Ok(isv::Reach::Account(_)) | Err(isv::Refusal::SpaceMissing { .. }) => {
            let why = "the account has no channel or several; name one with `channel`";
            return refuse(StatusCode::BAD_REQUEST, why.to_owned());
        }
        Err(isv::Refusal::SpaceForeign) => {
            return refuse(StatusCode::NOT_FOUND, "the account has no such channel".to_owned());
        }
        Err(isv::Refusal::Unsubscribed | isv::Refusal::CodeWrong { .. }) => {
            let why = "the user needs the code of this channel; give it as `isv_code`";
            return refuse(StatusCode::FORBIDDEN, why.to_owned());
        }
    };
    let days = Days::chosen(asked.start.as_deref(), asked.end.as_deref(), app.clock.now());
    let days = match days {
        Ok(days) => days,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    match report(&app, &channel.id, days).await {
        Ok(report) => answer(StatusCode::OK, &report.json()),
        Err(why @ Uncompared::TooMuch) => refuse(StatusCode::BAD_REQUEST, why.to_string()),
        Err(why) => {
            error!(error = &why as &dyn std::error::Error, "ours and Meta's were not compared");
            let why = "the ledger does not answer just now; try again".to_owned();
            refuse(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}
