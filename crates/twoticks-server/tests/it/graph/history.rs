//! How what WhatsApp says of numbers and templates has changed.

use twoticks_core::clock::Time;

use super::*;

async fn connected_server() -> (Server, Double) {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    (server, double)
}

async fn rows(server: &Server, list: Channels) -> Vec<Value> {
    let rows = execute(&server.app, Command::Channels(list)).await.unwrap();
    rows.as_array().unwrap().clone()
}

fn of_channel() -> Option<twoticks_core::ids::ChannelId> {
    Some(channel_id(CHANNEL))
}

async fn of_numbers(server: &Server) -> Vec<Value> {
    rows(server, Channels::ListNumbers { channel: of_channel(), history: true }).await
}

async fn of_templates(server: &Server) -> Vec<Value> {
    rows(server, Channels::ListTemplates { channel: of_channel(), history: true }).await
}

/// From now on WhatsApp says this of the number.
fn say(double: &Double, quality: &str, limit: &str) {
    let number = json!({"id": format!("id{NUMBER}"), "display_phone_number": format!("+{NUMBER}"),
        "quality_rating": quality, "messaging_limit_tier": limit, "status": "CONNECTED"});
    double.fix("/phone_numbers", 200, &json!({"data": [number]}));
}

async fn sync(server: &Server) {
    let sync = Channels::Sync { channel: channel_id(CHANNEL) };
    execute(&server.app, Command::Channels(sync)).await.unwrap();
}

#[tokio::test]
async fn a_quality_that_was_read_changed_is_one_entry() {
    let (server, double) = connected_server().await;
    say(&double, "GREEN", "TIER_1K");
    sync(&server).await;
    let before = of_numbers(&server).await;
    assert_eq!(before.len(), 1, "the limit was not said before: {before:?}");
    assert_eq!(
        (&before[0]["field"], &before[0]["to"]),
        (&json!("messaging_limit"), &json!("TIER_1K"))
    );
    say(&double, "RED", "TIER_1K");
    let later = Time(NOON.0 + 60_000);
    server.clock.set(later);
    sync(&server).await;
    server.clock.set(Time(NOON.0 + 120_000));
    sync(&server).await;
    let rows_now = of_numbers(&server).await;
    let red = json!({"time": later, "phone_number": NUMBER, "field": "quality_rating",
        "from": "GREEN", "to": "RED", "channel": CHANNEL});
    assert_eq!(rows_now[1..], [red]);
    let list = Channels::ListNumbers { channel: of_channel(), history: false };
    let listed = rows(&server, list).await;
    let shown = listed.iter().find(|it| it["phone_number"] == NUMBER).unwrap();
    let said = (&shown["quality_rating"], &shown["messaging_limit"], &shown["status"]);
    assert_eq!(said, (&json!("RED"), &json!("TIER_1K"), &json!("CONNECTED")));
    server.stop().await;
}

#[tokio::test]
async fn a_template_that_is_paused_is_one_entry_with_its_reason() {
    let (server, _double) = connected_server().await;
    let updated = || {
        let (channel, english) = (channel_id(CHANNEL), Text::new("en").unwrap());
        let snapshot = server.app.directory.snapshot();
        let known = snapshot.template(&channel, &Text::new(TEMPLATE).unwrap(), &english).unwrap();
        known.graph.as_ref().unwrap().updated
    };
    let told = json!({"event": "PAUSED", "message_template_id": 9001, "reason": "low quality"});
    let first = Time(NOON.0 + 60_000);
    // The second time nothing is new, other than when it was heard.
    for heard in [first, Time(NOON.0 + 120_000)] {
        server.clock.set(heard);
        tell(&server, "message_template_status_update", &told).await;
        while updated() != heard {
            tokio::task::yield_now().await;
        }
    }
    let paused = json!({"time": first, "code": TEMPLATE, "language": "en",
        "name": "template_1100000000000001", "field": "status", "from": "APPROVED",
        "to": "PAUSED", "reason": "low quality", "channel": CHANNEL});
    let mut history = of_templates(&server).await;
    history.retain(|row| row["field"] != "category");
    assert_eq!(history, [paused]);
    server.stop().await;
}

#[tokio::test]
async fn a_category_that_changed_is_in_the_history_as_the_journal_has_it() {
    let (server, double) = connected_server().await;
    let said = |category: &str| {
        let template = json!({"id": "9002", "name": "spring", "language": "en",
            "status": "APPROVED", "category": category, "components": []});
        double.fix("/message_templates", 200, &json!({"data": [template]}));
    };
    let later = Time(NOON.0 + 60_000);
    server.clock.set(later);
    said("UTILITY");
    sync(&server).await;
    sync(&server).await;
    let mut history = of_templates(&server).await;
    history.retain(|row| row["code"] == "9002" && row["language"] == "en");
    let changed = json!({"time": later, "code": "9002", "language": "en", "name": "spring",
        "field": "category", "from": "marketing", "to": "utility", "reason": null,
        "channel": CHANNEL});
    assert_eq!(history, [changed]);
    server.stop().await;
}

#[tokio::test]
async fn a_template_that_is_modified_keeps_its_quality() {
    let (server, double) = connected_server().await;
    let template = json!({"id": "9002", "name": "spring", "language": "en", "status": "APPROVED",
        "category": "MARKETING", "components": [], "quality_score": {"score": "GREEN"}});
    double.fix("/message_templates", 200, &json!({"data": [template]}));
    sync(&server).await;
    let modify = [
        ("TemplateCode", "9002"),
        ("Language", "en"),
        ("TemplateType", "WHATSAPP"),
        ("Components", r#"[{"Type": "BODY", "Text": "Hello"}]"#),
    ];
    let reply = server.call(Who::Root, "ModifyChatappTemplate", &modify).await;
    assert_eq!(reply.code(), "OK", "{}", reply.text());
    sync(&server).await;
    let mut history = of_templates(&server).await;
    history.retain(|row| row["code"] == "9002" && row["field"] == "quality");
    assert_eq!(history.len(), 1, "it was GREEN all the time: {history:?}");
    server.stop().await;
}

#[tokio::test]
async fn every_webhook_about_numbers_and_templates_has_them_read_again() {
    let (server, double) = connected_server().await;
    let fields = [
        "account_update",
        "business_capability_update",
        "message_template_components_update",
        "message_template_quality_update",
        "phone_number_name_update",
        "phone_number_quality_update",
        "template_category_update",
    ];
    for (index, field) in fields.into_iter().enumerate() {
        let limit = format!("TIER_{index}");
        say(&double, "GREEN", &limit);
        // What each says of itself is not looked at, besides a category's.
        let told = json!({"message_template_id": 9001, "new_category": "MARKETING"});
        tell(&server, field, &told).await;
        while of_numbers(&server).await.last().is_none_or(|row| row["to"] != limit) {
            tokio::task::yield_now().await;
        }
        assert_eq!(of_numbers(&server).await.len(), index + 1, "{field}");
    }
    server.stop().await;
}
