//! `ListChatappMessage`: what went out, what became of it, and what came in.

use twoticks_core::clock::Clock as _;

use super::*;

const BOB: &str = "8613900000001";

async fn list(server: &Server, params: &[(&str, &str)]) -> Vec<Value> {
    let mut all = vec![
        ("BusinessNumber", NUMBER),
        ("ChannelType", "whatsapp"),
        ("Page", r#"{"Index":1,"Size":100}"#),
    ];
    all.extend(params);
    let reply = server.call(Who::Root, "ListChatappMessage", &all).await;
    assert_eq!(reply.code(), "OK", "{}", reply.text());
    reply.json()["Data"].as_array().unwrap().clone()
}

fn told(row: &Value, names: &[&str]) -> Vec<String> {
    names.iter().map(|name| row[*name].as_str().unwrap().to_owned()).collect()
}

/// What a webhook tells of a number.
fn of_number(id: &str, member: &str, told: &Value) -> Value {
    let metadata = json!({"phone_number_id": id, "display_phone_number": "1"});
    json!({"messaging_product": "whatsapp", "metadata": metadata, member: [told]})
}

fn status(wamid: &str, status: &str, to: &str, seconds: i64) -> Value {
    json!({"id": wamid, "status": status, "recipient_id": to,
        "timestamp": (NOON.0 / 1_000 + seconds).to_string()})
}

#[tokio::test]
async fn a_mass_send_is_listed_with_what_became_of_each() {
    let (server, double) = start().await;
    double.say([Answer::Take, Answer::Say(400, error(131_026, "undeliverable")), Answer::Take]);
    let group = mass(&server, 3).await;
    settled(&server).await;
    let of_number = |told: &Value| of_number(&format!("id{NUMBER}"), "statuses", told);
    tell(&server, "messages", &of_number(&status("wamid.0", "read", "861390000000", 5))).await;
    let by_group = [("GroupMessageId", group.as_str())];
    let rows = list(&server, &by_group).await;
    let names = ["UserNumber", "MessageStatus", "ClientReadStatus", "FailReason", "MessageId"];
    let mut shown: Vec<_> = rows.iter().map(|row| told(row, &names).join(" ")).collect();
    shown.sort();
    assert_eq!(shown.len(), 3);
    assert_eq!(shown[0], "8613900000000 Read Y  wamid.0");
    assert!(shown[1].starts_with("8613900000001 Failed N") && shown[1].contains("131026"));
    assert_eq!(shown[2], "8613900000002 Accepted N  wamid.2");
    let row = &rows[0];
    let named = told(row, &["TemplateCode", "LanguageCode", "Type", "Message", "EventAction"]);
    assert_eq!(named, [TEMPLATE, "en", "template", r#"{"1":"Ada"}"#, "DOWN"]);
    assert_eq!(told(row, &["SendTime", "Month"]), ["2026-11-23T12:00:00Z", "2026-11"]);
    // The same by time, filtered and in pages; nothing of another number or another tenant.
    assert_eq!(list(&server, &[]).await, rows);
    for (filter, count) in [
        (("MessageStatus", "failed"), 1),
        (("MessageStatus", "Sent"), 0),
        (("UserNumber", "+86 139 0000 0002"), 1),
        (("TemplateCode", TEMPLATE), 3),
        (("TemplateCode", "nothing"), 0),
        (("EventAction", "UP"), 0),
        (("EventAction", "down"), 3),
        (("StartTimeStr", "2026-11-23 12:00:00"), 3),
        (("StartTimeStr", "2026-11-23 12:00:01"), 0),
        (("EndTime", "1795435200000"), 0),
        (("EndTime", "1795435200001"), 3),
        (("Page", r#"{"Index":2,"Size":2}"#), 1),
        (("BusinessNumber", crate::tenants::SECOND_NUMBER), 0),
        (("BusinessNumber", crate::tenants::OTHER_NUMBER), 0),
    ] {
        let known = [("BusinessNumber", NUMBER), ("Page", r#"{"Index":1,"Size":100}"#)];
        let mut all: Vec<_> = known.into_iter().filter(|(name, _)| *name != filter.0).collect();
        all.extend([("ChannelType", "whatsapp"), filter]);
        server.clock.set(server.clock.now().plus(200));
        let reply = server.call(Who::Root, "ListChatappMessage", &all).await.json();
        assert_eq!(reply["Data"].as_array().map(Vec::len), Some(count), "{filter:?}: {reply}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_others_sent_and_what_came_in_is_listed() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let id = format!("id{NUMBER}");
    let sent = of_number(&id, "statuses", &status("wamid.out", "sent", BOB, -5));
    tell(&server, "messages", &sent).await;
    let text = json!({"id": "wamid.in", "from": BOB, "type": "text", "text": {"body": "Hello?"},
        "timestamp": (NOON.0 / 1_000 - 2).to_string()});
    tell(&server, "messages", &of_number(&id, "messages", &text)).await;
    tell(&server, "messages", &of_number(&id, "messages", &text)).await;
    // Under one's own valid signature, of a number of somebody else: it is theirs to tell.
    let foreign = format!("id{}", crate::tenants::OTHER_NUMBER);
    let forged = of_number(&foreign, "statuses", &status("wamid.forged", "sent", BOB, -1));
    tell(&server, "messages", &forged).await;
    // What we sent earlier is listed where it was asked for.
    let taken = json!({"recipients": [{"place": 0, "to": BOB, "message_id": "wamid.late"}]});
    server.app.ledger.record(entry(Kind::Accepted, vec![], &taken)).await.unwrap();
    let late = of_number(&id, "statuses", &status("wamid.late", "sent", BOB, -1));
    tell(&server, "messages", &late).await;
    let names = ["EventAction", "MessageId", "UserNumber", "MessageStatus", "Message", "SendTime"];
    let rows: Vec<_> = list(&server, &[]).await.iter().map(|row| told(row, &names)).collect();
    let [one, other] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!(one[..], ["UP", "wamid.in", BOB, "Received", "Hello?", "2026-11-23T11:59:58Z"]);
    assert_eq!(other[..], ["DOWN", "wamid.out", BOB, "Sent", "", "2026-11-23T11:59:55Z"]);
    let theirs = [
        ("BusinessNumber", crate::tenants::OTHER_NUMBER),
        ("ChannelType", "whatsapp"),
        ("Page", r#"{"Index":1,"Size":9}"#),
    ];
    let theirs = server.call(Who::Other, "ListChatappMessage", &theirs).await;
    assert_eq!(theirs.json()["Data"], json!([]), "{}", theirs.text());
    server.stop().await;
}

#[tokio::test]
async fn pages_of_one_second_fit_together() {
    let (server, _double) = start().await;
    let id = format!("id{NUMBER}");
    let told: Vec<Value> =
        (0..30).map(|n| status(&format!("wamid.{n:02}"), "sent", BOB, -5)).collect();
    let metadata = json!({"phone_number_id": id, "display_phone_number": "1"});
    let body = json!({"messaging_product": "whatsapp", "metadata": metadata, "statuses": told});
    tell(&server, "messages", &body).await;
    let mut seen = Vec::new();
    for index in 1..=3 {
        let page = json!({"Index": index, "Size": 10}).to_string();
        let asked = [("BusinessNumber", NUMBER), ("ChannelType", "whatsapp"), ("Page", &page)];
        server.clock.set(server.clock.now().plus(200));
        let reply = server.call(Who::Root, "ListChatappMessage", &asked).await.json();
        let rows = reply["Data"].as_array().unwrap_or_else(|| panic!("{reply}"));
        seen.extend(rows.iter().map(|row| row["MessageId"].as_str().unwrap().to_owned()));
    }
    seen.sort();
    let all: Vec<String> = (0..30).map(|n| format!("wamid.{n:02}")).collect();
    assert_eq!(seen, all);
    server.stop().await;
}
