//! Dead letters get a second chance, once.

use serde_json::json;
use twoticks_core::clock::Time;
use twoticks_server::ingest::replay::{self, Replayed};
use twoticks_server::ingest::translate::Speaks;
use twoticks_store::directory::Change;
use twoticks_store::directory::model::{Channel, Number};
use twoticks_store::directory::names::Secret;
use twoticks_store::ledger::{Kind, Ledger as _};

use crate::ingest::harness::{
    NOW, SECONDS, Server, body, change, channel, channel_record, number, promo,
};
use crate::ingest::harness::{status, text};

async fn replayed(server: &Server, speaks: Option<Speaks<'_>>, dry_run: bool) -> Vec<Replayed> {
    let mut told = Vec::new();
    let tell = &mut |replayed| told.push(replayed);
    replay::dead_letters(&server.app, speaks, 1, dry_run, tell).await.unwrap();
    told
}

/// Position, events, whether it was resolved, and how many parts are still dead.
fn short(told: &[Replayed]) -> Vec<(u64, usize, bool, usize)> {
    told.iter().map(|it| (it.position, it.events, it.resolved, it.dead.len())).collect()
}

#[tokio::test]
async fn a_dead_letter_counts_once_its_number_is_known_and_only_once() {
    let server = Server::new().await;
    server.change(Change::RemoveNumber(number("a"))).await;
    let told = json!({"entry": [
        change("a", "statuses", &[status("M1", "sent"), status("M2", "read")]),
        change("b", "statuses", &[status("M3", "sent")]),
        change("z", "statuses", &[status("M4", "sent")]),
    ]});
    server.tell("shared-secret", &told).await;
    assert_eq!((server.last().await.0, server.last().await.1.len()), (1, 3));
    assert_eq!(short(&replayed(&server, None, false).await), [(1, 0, false, 3)]);
    assert_eq!(server.entries().await.len(), 1);

    let back = Number {
        phone_number: number("a"),
        phone_number_id: text("id-a"),
        channel: channel("a"),
        graph: None,
    };
    server.change(Change::PutNumber(back)).await;
    server.clock.set(Time(NOW.0 + 1));
    assert_eq!(short(&replayed(&server, None, true).await), [(1, 2, true, 1)]);
    assert_eq!(server.entries().await.len(), 1);
    assert_eq!(short(&replayed(&server, None, false).await), [(1, 2, true, 1)]);
    let entries = server.entries().await;
    let batch = &entries[1].batch;
    assert_eq!((batch.kind, batch.resolves, batch.accepted), (Kind::Replay, Some(1), NOW));
    assert_eq!(batch.body, entries[0].batch.body);

    let digest = server.ledger.digest().await.unwrap();
    // Another tenant's number stays dead, in the entry that took over.
    assert_eq!(short(&replayed(&server, None, false).await), [(2, 0, false, 1)]);
    assert_eq!(server.ledger.digest().await.unwrap(), digest);
    let counters = server.ledger.counters();
    assert_eq!((counters.events, counters.duplicates), (3, 0));
}

#[tokio::test]
async fn what_was_counted_is_not_read_again_when_a_number_has_moved() {
    let server = Server::new().await;
    server.tell("shared-secret", &body("a", "statuses", &[status("M1", "sent"), json!(1)])).await;
    let moved = Number {
        phone_number: number("a"),
        phone_number_id: text("id-a"),
        channel: channel("b"),
        graph: None,
    };
    server.change(Change::PutNumber(moved)).await;
    assert_eq!(short(&replayed(&server, None, false).await), [(1, 0, false, 1)]);
    assert_eq!(server.ledger.counters().events, 1);
}

#[tokio::test]
async fn a_change_of_category_counts_once_its_template_is_known() {
    let server = Server::new().await;
    let unknown = promo("a");
    let (code, language) = (unknown.code.clone(), unknown.language.clone());
    server.change(Change::RemoveTemplate(channel("a"), code, language)).await;
    let told = json!({"entry": [{"id": "waba-a", "time": SECONDS, "changes": [
        {"field": "template_category_update", "value": {"message_template_id": 4711,
            "new_category": "UTILITY"}}]}]});
    server.tell("shared-secret", &told).await;
    assert_eq!(server.last().await.1.len(), 1);
    server.change(Change::PutTemplate(unknown)).await;
    assert_eq!(short(&replayed(&server, None, false).await), [(1, 1, true, 0)]);
    assert!(replayed(&server, None, false).await.is_empty());
    let known = server.ledger.channel(&channel("a")).await.unwrap();
    assert_eq!(known.categories().count(), 1);
}

#[tokio::test]
async fn a_dead_letter_speaks_only_for_the_channels_that_have_its_secret_today() {
    let server = Server::new().await;
    server.tell("old-secret", &body("z", "statuses", &[status("M1", "sent")])).await;
    server.tell("old-secret", &body("c", "statuses", &[status("M1", "in_orbit")])).await;
    let secret = |text: &str| vec![Secret::new(text).unwrap()];
    // Its secret goes to nobody: the number of another tenant stays out of reach.
    let without = Channel { app_secrets: secret("new-secret"), ..channel_record("c") };
    server.change(Change::UpdateChannel(without)).await;
    assert_eq!(short(&replayed(&server, None, true).await), [(1, 0, false, 1)]);
    // The other tenant has it now.
    let with = Channel { app_secrets: secret("old-secret"), ..channel_record("z") };
    server.change(Change::UpdateChannel(with)).await;
    assert_eq!(short(&replayed(&server, None, true).await), [(1, 1, true, 0)]);
    // The operator may say for whom it speaks.
    let nobody: &[_] = &[];
    let told = replayed(&server, Some(Speaks::Channels(nobody)), true).await;
    assert_eq!(short(&told), [(1, 0, false, 1)]);
    assert_eq!(short(&replayed(&server, Some(Speaks::All), false).await), [(1, 1, true, 0)]);
}

#[tokio::test]
async fn receipts_are_replayed_for_their_channel() {
    let server = Server::new().await;
    server.change(Change::RemoveNumber(number("r"))).await;
    let told = json!([{"MessageId": "M1", "From": "15550000003", "To": "49151", "Status": "Read",
        "Timestamp": NOW.0}]);
    let answer = server.post("/webhooks/cams/receipts-secret-r", told.to_string()).await;
    assert_eq!(answer.status, 200);
    let back = Number {
        phone_number: number("r"),
        phone_number_id: text("id-r"),
        channel: channel("r"),
        graph: None,
    };
    server.change(Change::PutNumber(back)).await;
    assert_eq!(short(&replayed(&server, None, false).await), [(1, 1, true, 0)]);
    assert_eq!(server.ledger.counters().events, 1);
}

#[tokio::test]
async fn what_could_not_have_happened_then_cannot_have_happened_later() {
    let server = Server::new().await;
    let day = 24 * 3_600;
    let mut early = status("M1", "read");
    early["timestamp"] = json!(SECONDS + day + 1);
    server.tell("shared-secret", &body("a", "statuses", &[early])).await;
    server.clock.set(Time(NOW.0 + 2 * day * 1_000));
    assert_eq!(short(&replayed(&server, None, false).await), [(1, 0, false, 1)]);
}
