//! What the operator does to channels and to data, and what goes on meanwhile.

use serde_json::{Value, json};
use twoticks_core::clock::Time;
use twoticks_core::event::Category;
use twoticks_server::control::channels::{self, NewTemplate};
use twoticks_server::control::feed::{self, Lines, SpeaksFor};
use twoticks_server::control::{Command, ControlError, execute};
use twoticks_store::error::Error;
use twoticks_store::ledger::Ledger as _;

use crate::ingest::harness::{NOW, SECONDS, Server, channel, promo};

async fn put(server: &Server, category: Category) -> Result<Value, ControlError> {
    let known = promo("a");
    let new = NewTemplate {
        channel: known.channel,
        code: known.code,
        language: known.language,
        name: Some(known.name),
        meta_id: known.meta_id,
        category,
        buttons: known.buttons,
    };
    execute(&server.app, Command::Channels(channels::Command::PutTemplate(new))).await
}

async fn listed(server: &Server) -> Value {
    let list = channels::Command::ListTemplates { channel: Some(channel("a")), history: false };
    execute(&server.app, Command::Channels(list)).await.unwrap()[0]["category"].clone()
}

#[tokio::test]
async fn a_category_that_whatsapp_changed_is_shown_and_can_be_put_back() {
    let server = Server::new().await;
    put(&server, Category::Marketing).await.unwrap();
    let told = json!({"entry": [{"id": "waba-a", "time": SECONDS + 5, "changes": [
        {"field": "template_category_update", "value": {"message_template_id": 4711,
            "new_category": "UTILITY"}}]}]});
    server.tell("shared-secret", &told).await;
    assert_eq!(listed(&server).await, "marketing", "it does not hold yet");
    server.clock.set(Time(NOW.0 + 10_000));
    assert_eq!(listed(&server).await, "utility");
    put(&server, Category::Marketing).await.unwrap();
    assert_eq!(listed(&server).await, "marketing");
    let history = server.ledger.channel(&channel("a")).await.unwrap();
    let category = history.category(&promo("a").identity(), Time(NOW.0 + 10_000));
    assert_eq!(category, Some(Category::Marketing));
    let before = server.entries().await.len();
    put(&server, Category::Marketing).await.unwrap();
    assert_eq!(server.entries().await.len(), before, "what holds already is not journalled again");
}

#[tokio::test]
async fn a_category_that_could_not_be_kept_is_kept_when_it_is_put_again() {
    let server = Server::new().await;
    server.ledger.refuse(Some(|| Error::Busy { what: "the queue is", limit: 1 }));
    assert!(put(&server, Category::Utility).await.is_err());
    server.ledger.refuse(None);
    put(&server, Category::Utility).await.unwrap();
    let history = server.ledger.channel(&channel("a")).await.unwrap();
    assert_eq!(history.category(&promo("a").identity(), NOW), Some(Category::Utility));
}

#[tokio::test]
async fn an_import_waits_for_a_busy_ledger() {
    let server = Server::new().await;
    let line = json!({"send": {"phone_number_id": "id-a", "wamid": "M1", "time": NOW.0}});
    let lines =
        Lines { lines: vec![(1, line.to_string())], dry_run: false, speaks_for: SpeaksFor::All };
    server.ledger.refuse(Some(|| Error::Busy { what: "the queue is", limit: 1 }));
    let import = execute(&server.app, Command::Data(feed::Command::Import(lines)));
    let room = async {
        tokio::task::yield_now().await;
        server.ledger.refuse(None);
    };
    let (imported, ()) = tokio::join!(Box::pin(import), room);
    assert_eq!(imported.unwrap()["events"], 1);
    assert_eq!(server.entries().await.len(), 1);
}
