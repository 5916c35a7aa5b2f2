//! Tokens, the node of a business account, and its numbers.

use super::*;

#[tokio::test]
async fn a_token_sees_its_own_channel_and_nothing_else() {
    let calling = Calling::start().await;
    assert_eq!(calling.tokens.len(), CHANNELS.len());
    let shop = calling.token("cams-shop");
    let promo = calling.get(&format!("/v24.0/{SHOP}/message_templates?name=promo")).await;
    let promo = promo["data"][0]["id"].as_str().unwrap().to_owned();
    for target in [SHOP, "id-1", "id-2", &promo] {
        let node = calling.get(&format!("/v24.0/{target}")).await;
        assert_eq!(node["id"], *target);
        let bank = format!("Bearer {}", calling.token("cams-bank"));
        let path = format!("/v24.0/{target}");
        let answered =
            calling.with("GET", &path, &Value::Null, &[("authorization", &bank)]).await.unwrap();
        let answer: Value = serde_json::from_slice(&answered.body).unwrap();
        assert_eq!(answered.status, 400, "{target}");
        let error = &answer["error"];
        assert_eq!((&error["code"], &error["error_subcode"]), (&json!(100), &json!(33)));
    }
    for (method, target) in [
        ("GET", BANK),
        ("GET", "id-3"),
        ("GET", "12345"),
        ("POST", "id-3/messages"),
        ("DELETE", SHOP),
        ("POST", "300000000000/phone_numbers"),
    ] {
        let (status, code, subcode, told) =
            calling.refused(method, &format!("/v24.0/{target}"), &Value::Null).await;
        assert_eq!((status, code, subcode), (400, 100, 33), "{target}");
        let id = target.split('/').next().unwrap();
        assert!(told.contains(id) && told.contains("does not exist"), "{told}");
    }
    // The token may stand in the header, the query or a form; without a version digits are enough.
    let node = format!("/{SHOP}");
    let query = format!("/{SHOP}?access_token={shop}");
    let enable = json!(format!("access_token={shop}&is_enabled_for_insights=true"));
    for (method, target, body, headers, status) in [
        ("GET", &node, &Value::Null, [("authorization", format!("Bearer {shop}"))], 200),
        ("GET", &node, &Value::Null, [("authorization", format!("OAuth {shop}"))], 200),
        ("GET", &query, &Value::Null, [("x-nothing", String::new())], 200),
        ("POST", &node, &enable, [("x-nothing", String::new())], 200),
        ("GET", &node, &Value::Null, [("x-nothing", String::new())], 401),
        ("GET", &node, &Value::Null, [("authorization", format!("Bearer {shop}0"))], 401),
        ("GET", &node, &Value::Null, [("authorization", format!("Basic {shop}"))], 401),
    ] {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answered = calling.with(method, target, body, &headers).await.unwrap();
        assert_eq!(answered.status, status, "{method} {target} {headers:?}");
        if status == 401 {
            let answer: Value = serde_json::from_slice(&answered.body).unwrap();
            assert_eq!(answer["error"]["code"], 190);
        }
    }
    // What the emulator remembers of refusals has them, without a token.
    let mut calling = calling;
    let errors = calling.emulated.get("inspect/errors").await;
    assert_eq!(errors["errors"][0]["code"], "190");
    assert!(!errors.to_string().contains(&shop));
    calling.stop().await;
}

#[tokio::test]
async fn tokens_are_the_same_each_time_and_say_what_they_are() {
    let calling = Calling::start().await;
    let again = Calling::start().await;
    assert_eq!(calling.tokens, again.tokens);
    again.stop().await;
    let shop = calling.token("cams-shop");
    let told = calling.get(&format!("/v24.0/debug_token?input_token={shop}")).await;
    let data = &told["data"];
    assert_eq!((&data["is_valid"], &data["type"]), (&json!(true), &json!("SYSTEM_USER")));
    assert_eq!(data["expires_at"], 0);
    let scopes = json!(["whatsapp_business_management", "whatsapp_business_messaging"]);
    assert_eq!(data["scopes"], scopes);
    assert_eq!(data["granular_scopes"][0]["target_ids"], json!([SHOP]));
    let other = calling.get("/debug_token?input_token=EAAnobody").await;
    assert_eq!(other["data"]["is_valid"], false);
    let app = format!("{}|app-one", data["app_id"].as_str().unwrap());
    for (token, status) in [(app.as_str(), 200), ("1|app-one", 401)] {
        let target = format!("/debug_token?input_token={shop}");
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let answered = calling.with("GET", &target, &Value::Null, &headers).await.unwrap();
        assert_eq!(answered.status, status, "{token}");
    }
    calling.stop().await;
}

#[tokio::test]
async fn with_any_key_every_account_has_tokens_of_its_own() {
    let any_key = Some(AnyKey { secret: None });
    let emulated = Emulated::start_with(Config::default(), Settings::default(), any_key);
    let mut emulated = emulated.await;
    let one = emulated.post("fixtures?key=test-one", "{}").await;
    emulated.post("fixtures?key=test-two", "{}").await;
    let tokens = emulated.get("graph?key=test-one").await;
    let tokens = tokens["access_tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0]["channel"], one["channel"]);
    assert_eq!(tokens[0]["access_token"], one["channels"][0]["access_token"]);
    let all = emulated.get("graph").await["access_tokens"].as_array().unwrap().len();
    assert_eq!(all, CHANNELS.len() + 2);
    let mut calling = Calling::of(emulated).await;
    let id = one["channel"].as_str().unwrap();
    calling.tokens.insert("cams-shop".to_owned(), calling.token(id));
    let (waba, number) = (&tokens[0]["waba_id"], &one["numbers"][0]["phone_number_id"]);
    let numbers = calling.get(&format!("/{}/phone_numbers", waba.as_str().unwrap())).await;
    assert_eq!(numbers["data"][0]["id"], *number);
    calling.stop().await;
}

#[tokio::test]
async fn a_business_account_has_its_fields_and_insights_that_stay_enabled() {
    let calling = Calling::start().await;
    let node = calling.get(&format!("/v24.0/{SHOP}")).await;
    assert_eq!(
        node,
        json!({"id": SHOP, "name": "cams-shop", "currency": "USD", "timezone_id": "0"})
    );
    let fields = format!("/v24.0/{SHOP}?fields=name,is_enabled_for_insights,country");
    let before = calling.get(&fields).await;
    assert_eq!(before, json!({"id": SHOP, "name": "cams-shop", "is_enabled_for_insights": false}));
    let off = format!("/v24.0/{SHOP}?is_enabled_for_insights=false");
    let (_, code, ..) = calling.refused("POST", &off, &Value::Null).await;
    assert_eq!(code, 200_006);
    let on = format!("/v24.0/{SHOP}?is_enabled_for_insights=true");
    let (_, answer) = calling.ask("POST", &on, &Value::Null).await;
    assert_eq!(answer, json!({"id": 300_000_000_000_u64}));
    assert_eq!(calling.get(&fields).await["is_enabled_for_insights"], true);
    let row = calling.emulated.app.ledger.channel(&channel("cams-shop")).await.unwrap();
    assert_eq!(row.opted_in(), None, "the server's own opt-in is another thing");
    for (target, part) in [
        (format!("/v24.0/{SHOP}?fields=nonsense"), "nonexisting field (nonsense)"),
        (format!("/v24.0/{SHOP}/nonsense"), "nonexisting field (nonsense)"),
        (format!("/v24.0/{SHOP}/a/b"), "nonexisting field"),
        (format!("/v24.0/{SHOP}?fields=a("), "Syntax error"),
        (format!("/v24.0/{SHOP}?fields=id&fields=id"), "there twice"),
    ] {
        let (status, code, _, told) = calling.refused("GET", &target, &Value::Null).await;
        assert_eq!((status, code), (400, 100), "{target}");
        assert!(told.contains(part), "{target}: {told}");
    }
    let (_, _, _, told) = calling.refused("POST", &format!("/{SHOP}"), &json!("{")).await;
    assert!(told.contains("no JSON object"), "{told}");
    calling.stop().await;
}

#[tokio::test]
async fn numbers_come_in_pages_and_with_their_quality() {
    let mut calling = Calling::start().await;
    let first = calling.get(&format!("/v24.0/{SHOP}/phone_numbers?limit=1&fields=id")).await;
    assert_eq!(first["data"], json!([{"id": "id-1"}]));
    assert!(first["paging"].get("previous").is_none());
    let next = first["paging"]["next"].as_str().unwrap();
    assert!(next.contains("access_token=") && next.contains("fields=id"), "{next}");
    let host = format!("http://{}", calling.emulated.lane.host());
    let target = next.strip_prefix(&host).unwrap();
    let answered = calling.with("GET", target, &Value::Null, &[]).await.unwrap();
    let second: Value = serde_json::from_slice(&answered.body).unwrap();
    assert_eq!(second["data"], json!([{"id": "id-2"}]));
    assert!(second["paging"].get("next").is_none());
    let back = second["paging"]["previous"].as_str().unwrap().strip_prefix(&host).unwrap();
    let answered = calling.with("GET", back, &Value::Null, &[]).await.unwrap();
    let again: Value = serde_json::from_slice(&answered.body).unwrap();
    assert_eq!(again["data"], first["data"]);
    let cursor = second["paging"]["cursors"]["after"].as_str().unwrap();
    let end = calling.get(&format!("/v24.0/{SHOP}/phone_numbers?after={cursor}")).await;
    assert_eq!(end, json!({"data": []}));
    for bad in ["limit=0", "limit=many", "after=nonsense"] {
        let target = format!("/v24.0/{SHOP}/phone_numbers?{bad}");
        let (_, code, ..) = calling.refused("GET", &target, &Value::Null).await;
        assert_eq!(code, 100, "{bad}");
    }
    let fields = "display_phone_number,verified_name,quality_rating,messaging_limit_tier,status,\
                  code_verification_status,platform_type";
    let target = format!("/v24.0/id-1?fields={fields}");
    let expected = json!({
        "id": "id-1", "display_phone_number": "+62 811-000-0001", "verified_name": "cams-shop",
        "quality_rating": "GREEN", "messaging_limit_tier": "TIER_100K", "status": "CONNECTED",
        "code_verification_status": "VERIFIED", "platform_type": "CLOUD_API",
    });
    assert_eq!(calling.get(&target).await, expected);
    let red = r#"{"numbers": [{"channel": "cams-shop", "phone_number": "628110000001",
                               "quality": "red"}]}"#;
    calling.emulated.post("fixtures", red).await;
    let node = calling.get(&target).await;
    assert_eq!(
        (&node["quality_rating"], &node["messaging_limit_tier"], &node["status"]),
        (&json!("RED"), &json!("TIER_1K"), &json!("FLAGGED"))
    );
    calling.stop().await;
}
