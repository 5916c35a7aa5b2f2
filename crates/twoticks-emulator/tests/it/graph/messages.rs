//! Messages, and where their webhooks go.

use twoticks_emulator::chaos::{Chaos, Profile};

use super::*;

#[tokio::test]
async fn what_is_sent_lives_and_its_webhooks_are_counted_by_its_sign() {
    for chaos in [Chaos::NONE, Chaos::of(&Profile::ALL)] {
        let config = Config { chaos, ..Config::default() };
        are_counted(Calling::of(Emulated::start(config).await).await).await;
    }
}

async fn are_counted(mut calling: Calling) {
    calling.emulated.opt_in("cams-shop").await;
    let send = "/v24.0/id-1/messages";
    let answer = calling.post(send, &signed("+62 811-0000-0001", PROMO)).await;
    assert_eq!(answer["messaging_product"], "whatsapp");
    let contact = &answer["contacts"][0];
    assert_eq!(contact["input"], "+62 811-0000-0001");
    assert_eq!(contact["wa_id"], "6281100000001");
    assert_eq!(answer["messages"][0]["message_status"], "accepted");
    let wamid = answer["messages"][0]["id"].as_str().unwrap().to_owned();
    assert!(wamid.starts_with("wamid."));
    for index in 0..400 {
        let to = format!("6281100001{index:03}");
        match index % 4 {
            0 => calling.post(send, &message(&to, PROMO)).await,
            1 => calling.post("/v24.0/id-2/messages", &signed(&to, SHIPPED)).await,
            2 => {
                let mut lite = signed(&to, PROMO);
                lite["product_policy"] = "STRICT".into();
                calling.post("/v24.0/id-1/marketing_messages", &lite).await
            }
            _ => calling.post(send, &signed(&to, PROMO)).await,
        };
    }
    calling.emulated.whatsapp.flush().await.unwrap();
    let sent = calling.emulated.compare("sends through the Graph API").await;
    assert!(sent > 300, "{sent}");
    let sends = calling.emulated.get("inspect/sends?limit=1000").await;
    assert!(sends["sends"].as_array().unwrap().iter().any(|it| it["message_id"] == *wamid));
    let told = calling.emulated.get("inspect/webhooks?limit=1000").await.to_string();
    assert!(told.contains("marketing_lite"), "the Marketing Messages API has its own price");
    let row = calling.emulated.get("inspect/book?channel=cams-shop").await;
    let rows = row["channels"][0]["rows"].as_array().unwrap();
    let promo = rows.iter().filter(|row| row["template"]["code"] == "promo");
    let promo: i64 = promo.map(|row| row["sent"].as_i64().unwrap()).sum();
    assert!((150..=201).contains(&promo), "those without a sign are nobody's: {promo}");
    calling.stop().await;
}

#[tokio::test]
async fn what_the_caller_says_of_a_message_comes_back_as_it_was() {
    let mut calling = Calling::start().await;
    calling.emulated.post("config?outcome=tapped", "").await;
    let mut first = message("628110000101", PROMO);
    first["biz_opaque_callback_data"] = "order 7 \u{1f600}".into();
    first["template"]["components"] = json!([
        {"type": "button", "sub_type": "quick_reply", "index": "2",
         "parameters": [{"type": "payload", "payload": "later"}]},
        {"type": "button", "sub_type": "quick_reply", "index": 0,
         "parameters": [{"type": "payload", "payload": "now"}]},
    ]);
    calling.post("/v24.0/id-1/messages", &first).await;
    calling.post("/v24.0/id-1/messages", &message("628110000102", PROMO)).await;
    calling.emulated.whatsapp.flush().await.unwrap();
    let webhooks = calling.emulated.get("inspect/webhooks?limit=1000").await;
    let changes = |list: &str, person: &str| -> Vec<Value> {
        let bodies = webhooks["webhooks"].as_array().unwrap().iter();
        let values = bodies.flat_map(|it| it["body"]["entry"].as_array().unwrap().clone());
        let values = values.map(|entry| entry["changes"][0]["value"][list].clone());
        let rows = values.flat_map(|rows| rows.as_array().cloned().unwrap_or_default());
        rows.filter(|row| row["recipient_id"] == person || row["from"] == person).collect()
    };
    for (person, data, payload) in
        [("628110000101", json!("order 7 \u{1f600}"), "now"), ("628110000102", Value::Null, "Beli")]
    {
        let statuses = changes("statuses", person);
        assert!(statuses.len() >= 2, "{person}");
        assert!(statuses.iter().all(|it| it["biz_opaque_callback_data"] == data), "{person}");
        let taps = changes("messages", person);
        assert_eq!(taps[0]["button"], json!({"payload": payload, "text": "Beli"}));
    }
    calling.stop().await;
}

#[tokio::test]
async fn who_gets_a_message_may_be_a_user_or_a_group_and_a_user_in_to_gets_nothing() {
    let calling = Calling::start().await;
    let send = "/v24.0/id-1/messages";
    let user = "DE.13491208655302741918";
    let mut by_id = message("", PROMO);
    by_id["recipient"] = user.into();
    let answer = calling.post(send, &by_id).await;
    assert_eq!(answer["contacts"][0], json!({"input": user, "user_id": user}));
    let mut group = message("a-group", PROMO);
    group["recipient_type"] = "group".into();
    let answer = calling.post(send, &group).await;
    assert_eq!(answer["contacts"][0]["group_id"], "a-group");
    let pending = calling.emulated.whatsapp.pending().0;
    let answer = calling.post(send, &message(user, PROMO)).await;
    assert!(answer["messages"][0]["id"].as_str().unwrap().starts_with("wamid."));
    assert_eq!(calling.emulated.whatsapp.pending().0, pending, "nothing comes of it");
    calling.stop().await;
}

#[tokio::test]
async fn a_message_that_will_not_do_is_refused_as_meta_does() {
    let calling = Calling::start().await;
    let body = json!([
        {"type": "HEADER", "format": "TEXT", "text": "{{1}}"},
        {"type": "BODY", "text": "Hi {{1}} and {{2}}"},
        {"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Go", "url": "https://r/{{1}}"}]},
    ]);
    calling.approved("two", "MARKETING", &body).await;
    let shop = channel("cams-shop");
    let whatsapp = &calling.emulated.whatsapp;
    whatsapp.stand(&shop, &template(("moved", "id")), Standing::Paused);
    let text = json!({"type": "text", "text": "x"});
    let filled = |body: usize, button: &Value| {
        let mut message = message("62811000001", ("two", "en"));
        message["template"]["components"] = json!([
            {"type": "header", "parameters": [text]},
            {"type": "body", "parameters": vec![text.clone(); body]}, button,
        ]);
        message
    };
    let link = json!({"type": "button", "sub_type": "url", "index": "0", "parameters": [text]});
    let with = |field: &str, value: Value| {
        let mut message = message("62811000001", PROMO);
        message[field] = value;
        message
    };
    let free = |kind: &str, content: Value| json!({"messaging_product": "whatsapp", "to": "62811000001", "type": kind, kind: content});
    assert_eq!(calling.ask("POST", "/v24.0/id-1/messages", &filled(2, &link)).await.0, 200);
    for (edge, message, status, code, part) in [
        ("messages", with("messaging_product", json!(null)), 400, 100, "messaging_product"),
        ("messages", with("to", json!(null)), 400, 100, "parameter to"),
        ("messages", with("to", json!("nobody")), 400, 131_009, "to"),
        ("messages", with("to", json!("1234")), 400, 131_009, "to"),
        ("messages", with("to", json!("x".repeat(141))), 400, 131_009, "to"),
        ("messages", with("recipient_type", json!("crowd")), 400, 100, "INDIVIDUAL"),
        ("messages", with("type", json!("smell")), 400, 100, "TEMPLATE"),
        ("messages", with("type", json!("text")), 400, 100, "text"),
        ("messages", with("template", json!({"name": "promo"})), 400, 100, "['language']"),
        ("messages", with("template", json!({})), 400, 100, "['name']"),
        (
            "messages",
            with("biz_opaque_callback_data", json!("x".repeat(513))),
            400,
            100,
            "512 characters",
        ),
        ("messages", message("62811000001", ("nothing", "id")), 404, 132_001, "nothing"),
        ("messages", message("62811000001", ("promo", "en")), 404, 132_001, "in en"),
        ("messages", message("62811000001", ("moved", "id")), 400, 132_015, "paused"),
        ("messages", filled(1, &link), 400, 132_000, "(1)"),
        ("messages", filled(3, &link), 400, 132_000, "(3)"),
        (
            "messages",
            filled(2, &json!({"type": "button", "sub_type": "quick_reply", "index": "0"})),
            400,
            132_012,
            "index 0",
        ),
        (
            "messages",
            filled(2, &json!({"type": "button", "sub_type": "url", "index": "1"})),
            400,
            132_012,
            "index 1",
        ),
        ("messages", filled(2, &json!({"type": "button", "sub_type": "url"})), 400, 100, "index"),
        ("messages", free("text", json!({"body": " "})), 400, 100, "text['body']"),
        ("marketing_messages", free("text", json!({"body": "x"})), 400, 100, "TEMPLATE"),
        ("marketing_messages", message("62811000001", SHIPPED), 400, 134_100, "MARKETING"),
    ] {
        let target = format!("/v24.0/id-1/{edge}");
        let (found, found_code, _, told) = calling.refused("POST", &target, &message).await;
        assert_eq!((found, found_code), (status, code), "{message}: {told}");
        assert!(told.contains(part), "{message}: {told}");
    }
    let seen = json!({"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.1"});
    assert_eq!(calling.post("/v24.0/id-1/messages", &seen).await, json!({"success": true}));
    let longest = with("biz_opaque_callback_data", json!("x".repeat(512)));
    calling.post("/v24.0/id-1/messages", &longest).await;
    calling.post("/v24.0/id-1/messages", &free("text", json!({"body": "x"}))).await;
    whatsapp.stand(&shop, &template(("moved", "id")), Standing::Disabled);
    let disabled = message("62811000001", ("moved", "id"));
    let (_, code, ..) = calling.refused("POST", "/v24.0/id-1/messages", &disabled).await;
    assert_eq!(code, 132_016);
    let mut user = message("", ("code", "id"));
    user["recipient"] = "DE.13491208655302741918".into();
    let (_, code, ..) = calling.refused("POST", "/v24.0/id-1/messages", &user).await;
    assert_eq!(code, 131_062);
    calling.stop().await;
}

#[tokio::test]
async fn named_variables_are_filled_by_their_names() {
    let calling = Calling::start().await;
    let new = json!({
        "name": "named", "language": "en", "category": "MARKETING", "parameter_format": "NAMED",
        "components": [{"type": "BODY", "text": "Hi {{first_name}}"}],
    });
    calling.post(&format!("/v24.0/{SHOP}/message_templates"), &new).await;
    let of = template(("named", "en"));
    calling.emulated.whatsapp.stand(&channel("cams-shop"), &of, Standing::Approved);
    for (name, status) in [(json!("first_name"), 200), (json!("name"), 400), (json!(null), 400)] {
        let mut message = message("62811000001", ("named", "en"));
        let parameter = json!({"type": "text", "parameter_name": name, "text": "Ada"});
        message["template"]["components"] = json!([{"type": "body", "parameters": [parameter]}]);
        let (found, answer) = calling.ask("POST", "/v24.0/id-1/messages", &message).await;
        assert_eq!(found, status, "{answer}");
    }
    calling.stop().await;
}

#[tokio::test]
async fn whoever_asks_to_be_called_back_hears_of_that_channel_and_the_own_server_does_not() {
    let mut calling = Calling::start().await;
    let listening = Emulated::start(Config::default()).await;
    let apps = format!("/v24.0/{SHOP}/subscribed_apps");
    let listed = calling.get(&apps).await;
    let app = &listed["data"][0]["whatsapp_business_api_data"];
    assert!(app["id"].is_string() && app["link"].is_string());
    assert!(listed["data"][0].get("override_callback_uri").is_none());
    let url = format!("http://{}/webhooks/whatsapp/cams-shop", listening.lane.host());
    let order =
        |url: &str, token: &str| json!({"override_callback_uri": url, "verify_token": token});
    for (body, code, part) in [
        (order(&url, "another-token"), 2200, "403"),
        (order(&url.replace("cams-shop", "cams-bank"), "verify-token-0"), 2200, "403"),
        (order(&url.replace("http:", "https:"), "verify-token-0"), 100, "over http"),
        (order("http://192.0.2.1/hook", "verify-token-0"), 100, "this machine"),
        (order("nonsense", "verify-token-0"), 100, "override_callback_uri"),
        (order(&format!("{url}?{}", "x".repeat(200)), "verify-token-0"), 100, "200 characters"),
        (json!({"override_callback_uri": url}), 100, "verify_token"),
        (json!({"verify_token": "verify-token-0"}), 100, "override_callback_uri"),
    ] {
        let (status, found, _, told) = calling.refused("POST", &apps, &body).await;
        assert_eq!((status, found), (400, code), "{body}: {told}");
        assert!(told.contains(part), "{body}: {told}");
    }
    let done = calling.post(&apps, &order(&url, "verify-token-0")).await;
    assert_eq!(done, json!({"success": true}));
    assert_eq!(calling.get(&apps).await["data"][0]["override_callback_uri"], *url);

    for index in 0..20 {
        let to = format!("6281100002{index:03}");
        calling.post("/v24.0/id-1/messages", &signed(&to, PROMO)).await;
    }
    calling.emulated.send("cams-bank", 0, PROMO, 1, 5).await;
    calling.emulated.whatsapp.flush().await.unwrap();
    assert!(calling.emulated.counted("cams-shop").await.is_empty(), "the own server hears nothing");
    assert_eq!(calling.emulated.counted("cams-bank").await, calling.emulated.booked("cams-bank"));
    let counted = listening.counted("cams-shop").await;
    assert_eq!(counted, calling.emulated.booked("cams-shop"), "the other one hears everything");
    assert!(!counted.is_empty());
    let webhooks = calling.emulated.get("inspect/webhooks?channel=cams-shop").await;
    assert_eq!(webhooks["webhooks"][0]["callback"], *url);

    let (status, _) = calling.ask("DELETE", &apps, &Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(calling.get(&apps).await, json!({"data": []}));
    calling.post("/v24.0/id-1/messages", &signed("62811000099", PROMO)).await;
    calling.emulated.whatsapp.flush().await.unwrap();
    assert!(!calling.emulated.counted("cams-shop").await.is_empty());
    calling.post(&apps, &Value::Null).await;
    assert_eq!(calling.get(&apps).await["data"].as_array().unwrap().len(), 1);
    calling.stop().await;
    listening.stop().await;
}
