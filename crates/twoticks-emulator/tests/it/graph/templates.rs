//! Templates: listed, handed in, changed, taken away.

use super::*;

#[tokio::test]
async fn templates_are_listed_composed_and_filtered() {
    let calling = Calling::start().await;
    let list = format!("/v24.0/{SHOP}/message_templates");
    let all = calling.get(&list).await;
    let names: Vec<&str> =
        all["data"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["code", "moved", "promo", "shipped"]);
    let promo = &all["data"][2];
    assert_eq!((&promo["category"], &promo["status"]), (&json!("MARKETING"), &json!("APPROVED")));
    assert_eq!(
        promo["components"],
        json!([
            {"type": "BODY", "text": "promo"},
            {"type": "BUTTONS", "buttons": [
                {"type": "QUICK_REPLY", "text": "Beli"},
                {"type": "URL", "text": "Toko", "url": "https://example.com/"},
                {"type": "QUICK_REPLY", "text": "Nanti"},
            ]},
        ])
    );
    calling.emulated.whatsapp.stand(&channel("cams-shop"), &template(PROMO), Standing::Paused);
    for (filter, expected) in [
        ("name=promo", vec!["promo"]),
        ("name=prom", vec![]),
        ("status=PAUSED", vec!["promo"]),
        ("category=UTILITY", vec!["moved", "shipped"]),
        ("language=id&category=AUTHENTICATION", vec!["code"]),
        ("language=en", vec![]),
        ("limit=3", vec!["code", "moved", "promo"]),
    ] {
        let page = calling.get(&format!("{list}?fields=name,quality_score&{filter}")).await;
        let rows = page["data"].as_array().unwrap();
        let names: Vec<&str> = rows.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{filter}");
    }
    for (summary, expected) in [
        ("true", json!({"total_count": 2})),
        (
            "total_count,message_template_count",
            json!({"total_count": 2, "message_template_count": 4}),
        ),
    ] {
        let page = calling.get(&format!("{list}?category=UTILITY&summary={summary}")).await;
        assert_eq!(page["summary"], expected);
    }
    let id = promo["id"].as_str().unwrap();
    assert!(id.bytes().all(|byte| byte.is_ascii_digit()));
    let node = calling.get(&format!("/{id}?fields=name,status,rejected_reason")).await;
    let expected =
        json!({"id": id, "name": "promo", "status": "PAUSED", "rejected_reason": "NONE"});
    assert_eq!(node, expected);
    calling.emulated.whatsapp.flush().await.unwrap();
    let mut calling = calling;
    let webhooks = calling.emulated.get("inspect/webhooks").await;
    let notice = &webhooks["webhooks"][0]["body"]["entry"][0]["changes"][0]["value"];
    assert_eq!(notice["message_template_id"].to_string(), id, "webhooks have the same id");
    calling.stop().await;
}

#[tokio::test]
async fn a_template_is_handed_in_reviewed_changed_and_taken_away() {
    let mut calling = Calling::start().await;
    let list = format!("/v24.0/{SHOP}/message_templates");
    let body = "Hai {{1}}, diskon 20% \u{1f600}";
    let components = json!([
        {"type": "BODY", "text": body, "example": {"body_text": [["Ada"]]}},
        {"type": "BUTTONS", "buttons": [
            {"type": "COPY_CODE", "example": "X1"}, {"type": "QUICK_REPLY", "text": "Ya"},
        ]},
    ]);
    let new = json!({
        "name": "sale_20", "language": "id", "category": "MARKETING", "components": components,
    });
    let made = calling.post(&list, &new).await;
    let id = made["id"].as_str().unwrap().to_owned();
    assert_eq!((&made["status"], &made["category"]), (&json!("PENDING"), &json!("MARKETING")));
    let (status, code, subcode, _) = calling.refused("POST", &list, &new).await;
    assert_eq!((status, code, subcode), (400, 100, 2_388_024));
    let (_, code, ..) =
        calling.refused("POST", "/v24.0/id-1/messages", &message("62811", ("sale_20", "id"))).await;
    assert_eq!(code, 132_000, "it has a variable");
    // Whatever the review says is told.
    calling.emulated.whatsapp.flush().await.unwrap();
    let webhooks = calling.emulated.get("inspect/webhooks").await;
    let change = &webhooks["webhooks"][0]["body"]["entry"][0]["changes"][0];
    assert_eq!(change["field"], "message_template_status_update");
    assert_eq!(change["value"]["message_template_id"].to_string(), id);
    let node = calling.get(&format!("/v24.0/{id}")).await;
    assert_eq!(node["status"], change["value"]["event"]);
    assert_eq!(node["components"], components);
    let row = calling.emulated.app.ledger.channel(&channel("cams-shop")).await.unwrap();
    let now = calling.emulated.whatsapp.clock().now();
    let category = row.category(&template(("sale_20", "id")), now);
    assert_eq!(category.map(twoticks_core::event::Category::as_str), Some("marketing"));

    // It is edited by its id, and reviewed again.
    let same = json!({"category": "MARKETING", "cta_url_link_tracking_opted_out": true});
    assert_eq!(calling.post(&format!("/v24.0/{id}"), &same).await, json!({"success": true}));
    assert_ne!(calling.get(&format!("/v24.0/{id}")).await["status"], "PENDING");
    let edited = json!({"components": [{"type": "BODY", "text": "Hai"}]});
    assert_eq!(calling.post(&format!("/v24.0/{id}"), &edited).await, json!({"success": true}));
    let node = calling.get(&format!("/v24.0/{id}")).await;
    assert_eq!((&node["status"], &node["components"]), (&json!("PENDING"), &edited["components"]));

    // It goes by name and id, or by name in all languages.
    let english = json!({
        "name": "sale_20", "language": "en_US", "category": "UTILITY",
        "components": json!([{"type": "BODY", "text": "Hi {{name}}"}]).to_string(),
        "parameter_format": "named",
    });
    let other = calling.post(&list, &english).await["id"].as_str().unwrap().to_owned();
    let node = calling.get(&format!("/v24.0/{other}")).await;
    assert_eq!(node["parameter_format"], "NAMED");
    for (query, status) in [
        ("name=sale_2", 400),
        (&format!("name=sale_20&hsm_id={}", "1"), 400),
        ("hsm_id=1", 400),
        (&format!("name=sale_20&hsm_id={other}"), 200),
        ("name=sale_20", 200),
        ("name=sale_20", 400),
    ] {
        let target = format!("{list}?{query}");
        let (found, answer) = calling.ask("DELETE", &target, &Value::Null).await;
        assert_eq!(found, status, "{query}: {answer}");
    }
    let (_, _, subcode, _) = calling.refused("GET", &format!("/v24.0/{id}"), &Value::Null).await;
    assert_eq!(subcode, 33);
    calling.stop().await;
}

#[tokio::test]
async fn a_template_that_will_not_do_is_refused() {
    let calling = Calling::start().await;
    let list = format!("/v24.0/{SHOP}/message_templates");
    let good = json!({
        "name": "good", "language": "en", "category": "UTILITY",
        "components": [{"type": "BODY", "text": "x"}],
    });
    for (field, value, part) in [
        ("name", json!(null), "name"),
        ("name", json!("Upper"), "lowercase"),
        ("name", json!("a-b"), "lowercase"),
        ("name", json!("x".repeat(513)), "512"),
        ("language", json!(null), "language"),
        ("language", json!("english"), "locale"),
        ("category", json!(null), "category"),
        ("category", json!("SPAM"), "MARKETING"),
        ("components", json!(null), "components"),
        ("components", json!({}), "array"),
        ("components", json!([]), "BODY"),
        ("components", json!("["), "no JSON"),
        ("parameter_format", json!("odd"), "POSITIONAL"),
    ] {
        let mut new = good.clone();
        new[field] = value.clone();
        let (status, code, _, told) = calling.refused("POST", &list, &new).await;
        assert_eq!((status, code), (400, 100), "{field} {value}");
        assert!(told.contains(part), "{field} {value}: {told}");
    }
    let mut longest = good.clone();
    longest["name"] = "x".repeat(512).into();
    assert_eq!(calling.post(&list, &longest).await["status"], "PENDING");
    calling.stop().await;
}

#[tokio::test]
async fn a_medium_is_uploaded_before_a_header_can_have_it() {
    let calling = Calling::start().await;
    let debug = format!("/debug_token?input_token={}", calling.token("cams-shop"));
    let app = calling.get(&debug).await["data"]["app_id"].as_str().unwrap().to_owned();
    let begin = |length: &str, kind: &str| {
        format!("/v24.0/{app}/uploads?file_name=a.png&file_length={length}&file_type={kind}")
    };
    for (length, kind) in [("0", "image/png"), ("104857601", "image/png"), ("5", "image/gif")] {
        let (_, code, ..) = calling.refused("POST", &begin(length, kind), &Value::Null).await;
        assert_eq!(code, 100, "{length} {kind}");
    }
    let begun = calling.post(&begin("5", "image/png"), &Value::Null).await;
    let session = format!("/v24.0/{}", begun["id"].as_str().unwrap());
    let oauth = format!("OAuth {}", calling.token("cams-shop"));
    let put = async |target: &str, bytes: &str, headers: &[(&str, &str)]| {
        let mut all = vec![("authorization", oauth.as_str()), ("content-type", "image/png")];
        all.extend(headers);
        let answered = calling.with("POST", target, &json!(bytes), &all).await.unwrap();
        let said: Value = serde_json::from_slice(&answered.body).unwrap();
        (answered.status.as_u16(), said)
    };
    let first = [("file_offset", "0")];
    for (target, bytes, headers) in [
        (session.as_str(), "12345", &[][..]),
        (&session, "12345", &[("file_offset", "1")]),
        (&session, "123456", &first),
        (&format!("{session}0"), "12345", &first),
        (session.split_once('?').unwrap().0, "12345", &first),
    ] {
        assert_eq!(put(target, bytes, headers).await.0, 400, "{target} {bytes} {headers:?}");
    }
    let (status, said) = put(&session, "12345", &first).await;
    assert_eq!(status, 200, "{said}");
    let list = format!("/v24.0/{SHOP}/message_templates");
    let with = |handle: &str| {
        let example = json!({"header_handle": [handle]});
        let header = json!({"type": "HEADER", "format": "IMAGE", "example": example});
        let components = json!([header, {"type": "BODY", "text": "Hai"}]);
        json!({"name": "pic", "language": "id", "category": "MARKETING", "components": components})
    };
    let handle = said["h"].as_str().unwrap();
    let (_, code, _, told) = calling.refused("POST", &list, &with(&format!("{handle}0"))).await;
    assert!(code == 100 && told.contains("header_handle"), "{told}");
    let made = calling.post(&list, &with(handle)).await;
    let node = calling.get(&format!("/{}?fields=components", made["id"].as_str().unwrap())).await;
    assert_eq!(node["components"][0]["example"]["header_handle"][0], handle);
    calling.stop().await;
}
