//! What stands around a server that is not meant in earnest: a demo, an emulator, a test.
//!
//! `serve` has none of it. The server knows only this seam: what is invented, which doors there are
//! besides its own, and who may call without having been told of. Everything behind it is a crate
//! of its own.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;

use crate::app::App;

/// The surroundings of a server that is not meant in earnest.
#[async_trait]
pub trait Rehearsal: Send + Sync {
    /// What every page says of its figures, such as `demo data`. Pages need no ticket.
    fn label(&self) -> &'static str;

    /// The server's doors, with others beside them and an eye on all. The fallback is the
    /// server's.
    fn doors(self: Arc<Self>, app: &Arc<App>, doors: Router) -> Router {
        let _ = app;
        doors
    }

    /// Called before a caller is looked up, with the access key id that the request claims: whoever
    /// takes any key makes it known now.
    async fn introduce(&self, app: &App, access_key_id: &str) {
        let _ = (app, access_key_id);
    }

    /// Whether callers are who they say they are: nothing about their signature is checked then.
    fn believes_callers(&self) -> bool {
        false
    }
}
