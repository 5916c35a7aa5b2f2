//! Connecting, and what WhatsApp says of numbers and templates.

use super::*;

#[tokio::test]
async fn connecting_reads_numbers_and_templates_and_says_what_is_missing() {
    let (server, double) = start().await;
    answer_connect(&double);
    let connected = execute(&server.app, connect(TOKEN)).await.unwrap();
    assert_eq!(connected["missing"], json!([]), "{connected}");
    assert_eq!((&connected["numbers"], &connected["templates"]), (&json!(1), &json!(3)));
    let snapshot = server.app.directory.snapshot();
    let (channel, english) = (channel_id(CHANNEL), Text::new("en").unwrap());
    // One that is known keeps its code; languages of one name share theirs.
    let known = snapshot.template(&channel, &Text::new(TEMPLATE).unwrap(), &english).unwrap();
    assert_eq!(known.meta_id, Some(Text::new("9001").unwrap()));
    let spring = snapshot.template_languages(&channel, &Text::new("9002").unwrap());
    assert_eq!(spring.len(), 2);
    let history = server.app.ledger.channel(&channel).await.unwrap();
    assert!(history.category(&spring[0].identity(), NOON).is_some());
    let found = double
        .got()
        .iter()
        .any(|got| got.line.contains(TOKEN) && !got.line.contains("input_token"));
    assert!(!found, "a token in an address");
    server.stop().await;
}

#[tokio::test]
async fn what_whatsapp_tells_of_templates_is_seen_in_the_directory() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let status = || {
        let (channel, english) = (channel_id(CHANNEL), Text::new("en").unwrap());
        let snapshot = server.app.directory.snapshot();
        let known = snapshot.template(&channel, &Text::new(TEMPLATE).unwrap(), &english).unwrap();
        known.graph.as_ref().unwrap().status.as_str().to_owned()
    };
    for (event, seen) in [("PAUSED", "PAUSED"), ("FLAGGED", "PAUSED"), ("REINSTATED", "APPROVED")] {
        let told = json!({"event": event, "message_template_id": 9001, "reason": "NONE"});
        tell(&server, "message_template_status_update", &told).await;
        while status() != seen {
            tokio::task::yield_now().await;
        }
    }
    // What a notice does not say, WhatsApp is asked.
    let asked = || double.got().iter().filter(|it| it.line.contains("/message_templates")).count();
    let before = asked();
    let quality = json!({"message_template_id": 9001, "previous_quality_score": "GREEN",
        "new_quality_score": "RED"});
    tell(&server, "message_template_quality_update", &quality).await;
    while asked() == before {
        tokio::task::yield_now().await;
    }
    // A template that is not there any more is not listed any more; what it counted stays.
    {
        let mut script = double.script.lock().unwrap();
        for (path, answer) in &mut script.fixed {
            if *path == "/message_templates" {
                *answer = Answer::Say(200, json!({"data": []}).to_string());
            }
        }
    }
    let unknown = json!({"event": "APPROVED", "message_template_id": 77, "reason": "NONE"});
    tell(&server, "message_template_status_update", &unknown).await;
    while status() != "DELETED" {
        tokio::task::yield_now().await;
    }
    let listed = server.call(Who::Root, "ListChatappTemplate", &[("Code", TEMPLATE)]).await;
    assert_eq!(listed.json()["Total"], 0, "{}", listed.text());
    server.stop().await;
}

#[tokio::test]
async fn enabling_our_statistics_enables_metas_and_says_if_that_fails() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let problems = || {
        let snapshot = server.app.directory.snapshot();
        let channel = snapshot.channel(&channel_id(CHANNEL)).unwrap();
        channel.connection.as_ref().unwrap().told.clone()
    };
    let refused: Value = serde_json::from_str(&error(200_005, "not in your country")).unwrap();
    double.fix("is_enabled_for_insights", 400, &refused);
    let reply = server.call(Who::Root, "EnableWhatsappROIMetric", &[]).await;
    assert_eq!(reply.code(), "OK", "{}", reply.text());
    while problems().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(problems()[0].as_str().contains("Meta 200005"), "{:?}", problems());
    let opted_in = server.app.ledger.channel(&channel_id(CHANNEL)).await.unwrap().opted_in();
    assert_eq!(opted_in, Some(NOON));
    double.script.lock().unwrap().fixed.retain(|(path, _)| *path != "is_enabled_for_insights");
    double.fix("is_enabled_for_insights", 200, &json!({"id": 3000}));
    server.call(Who::Root, "EnableWhatsappROIMetric", &[]).await;
    while !problems().is_empty() {
        tokio::task::yield_now().await;
    }
    let asked = double.got().into_iter().rev().find(|got| got.line.contains("insights")).unwrap();
    assert_eq!(asked.line, "POST /v24.0/3000?is_enabled_for_insights=true HTTP/1.1");
    server.stop().await;
}

#[tokio::test]
async fn templates_are_made_changed_and_taken_away_at_whatsapp() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let made = json!({"id": "7001", "status": "PENDING", "category": "UTILITY"});
    double.fix("POST /v24.0/3000/message_templates", 200, &made);
    double.fix("POST /v24.0/7001", 200, &json!({"success": true}));
    double.fix("DELETE /v24.0/3000/message_templates", 200, &json!({"success": true}));
    let components = json!([
        {"Type": "BODY", "Text": "Hello $(name)"},
        {"Type": "BUTTONS", "Buttons": [{"Type": "URL", "Text": "Shop", "UrlType": "dynamic",
            "Url": "https://shop.example/$(path)"}]},
    ])
    .to_string();
    let example = r#"{"name": "Ada", "path": "https://shop.example/x"}"#;
    let create = [
        ("Name", "spring_sale"),
        ("Language", "en"),
        ("Category", "MARKETING"),
        ("TemplateType", "WHATSAPP"),
        ("Components", components.as_str()),
        ("Example", example),
        ("AllowCategoryChange", "true"),
    ];
    let reply = server.call(Who::Root, "CreateChatappTemplate", &create).await;
    assert_eq!(reply.json()["Data"]["TemplateCode"], "7001", "{}", reply.text());
    let asked = double.got().into_iter().next_back().unwrap();
    assert_eq!(asked.line, "POST /v24.0/3000/message_templates HTTP/1.1");
    let body = &asked.body;
    assert_eq!((&body["name"], &body["category"]), (&json!("spring_sale"), &json!("MARKETING")));
    assert_eq!(body["parameter_format"], "NAMED");
    assert_eq!(body["components"][0]["text"], "Hello {{name}}");
    assert_eq!(body["components"][1]["buttons"][0]["url"], "https://shop.example/{{1}}");

    let listed = [("Code", "7001")];
    let listed = server.call(Who::Root, "ListChatappTemplate", &listed).await.json();
    let row = &listed["ListTemplate"][0];
    assert_eq!((&row["AuditStatus"], &row["Category"]), (&json!("auditing"), &json!("UTILITY")));
    let detail = [("TemplateCode", "7001"), ("Language", "en")];
    let detail = server.call(Who::Root, "GetChatappTemplateDetail", &detail).await.json();
    assert_eq!(detail["Data"]["Components"][0]["Text"], "Hello $(name)", "{detail}");
    // The caller's own name of the link's variable is the one to be filled in.
    let send = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("From", NUMBER),
        ("To", "8613900000001"),
        ("TemplateCode", "7001"),
        ("Language", "en"),
        ("TemplateParams", r#"{"name": "Ada", "path": "a/b"}"#),
    ];
    let reply = server.call(Who::Root, "SendChatappMessage", &send).await;
    assert!(reply.json()["MessageId"].as_str().unwrap().starts_with("wamid."), "{}", reply.text());
    let asked = double.got().into_iter().next_back().unwrap();
    let button = &asked.body["template"]["components"][1];
    assert_eq!(button["parameters"][0]["text"], "a/b", "{}", asked.body);

    let components = r#"[{"Type": "BODY", "Text": "Bye $(name)"}]"#;
    let modify = [
        ("TemplateCode", "7001"),
        ("Language", "en"),
        ("Components", components),
        ("Example", example),
    ];
    let reply = server.call(Who::Root, "ModifyChatappTemplate", &modify).await;
    assert_eq!(reply.code(), "OK", "{}", reply.text());
    let asked = double.got().into_iter().next_back().unwrap();
    assert_eq!(asked.line, "POST /v24.0/7001 HTTP/1.1");
    assert_eq!(asked.body["components"][0]["text"], "Bye {{name}}");
    let gone = server.call(Who::Root, "DeleteChatappTemplate", &[("TemplateCode", "7001")]).await;
    assert_eq!(gone.code(), "OK", "{}", gone.text());
    let asked = double.got().into_iter().next_back().unwrap();
    let line = "DELETE /v24.0/3000/message_templates?name=spring_sale HTTP/1.1";
    assert_eq!(asked.line, line);
    let listed = server.call(Who::Root, "ListChatappTemplate", &[("Code", "7001")]).await;
    assert_eq!(listed.json()["Total"], 0);
    // What Meta says no to is told with its code, and nothing has changed here.
    double.fix(
        "POST /v24.0/3000/message_templates",
        400,
        &serde_json::from_str(&error(100, "no")).unwrap(),
    );
    let reply = server.call(Who::Root, "CreateChatappTemplate", &create).await;
    assert_eq!(reply.code(), "InvalidParameter.CreateError");
    assert!(reply.json()["Message"].as_str().unwrap().contains("Meta 100: no"), "{}", reply.text());
    settled(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn what_a_connection_lacks_is_said_in_plain_words() {
    let (server, double) = start().await;
    answer_connect(&double);
    let check = || async {
        let check = Channels::Check { channel: Some(channel_id(CHANNEL)) };
        let checked = execute(&server.app, Command::Channels(check)).await.unwrap();
        checked["connections"][0]["problems"].to_string()
    };
    execute(&server.app, connect(TOKEN)).await.unwrap();
    assert_eq!(check().await, "[]");
    let token = |fields: &Value| {
        let mut data = json!({"app_id": "4711", "is_valid": true, "expires_at": 0});
        data.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "data": data })
    };
    let soon = NOON.0 / 1_000 + 3 * 86_400;
    for (path, status, answer, said) in [
        ("/debug_token", 200, token(&json!({"is_valid": false})), "not valid any more"),
        ("/debug_token", 200, token(&json!({"expires_at": soon})), "ends in 3 days"),
        (
            "/debug_token",
            200,
            token(&json!({"scopes": ["whatsapp_business_management"]})),
            "lacks `whatsapp_business_messaging`",
        ),
        ("/subscribed_apps", 200, json!({"data": []}), "not subscribed"),
        ("/subscribed_apps", 400, serde_json::from_str(&error(10, "no")).unwrap(), "Meta 10"),
    ] {
        double.fix(path, status, &answer);
        let problems = check().await;
        assert!(problems.contains(said), "{said}: {problems}");
        double.script.lock().unwrap().fixed.remove(0);
    }
    // Twelve minutes behind NOON, which is when the server's clock stands.
    double.script.lock().unwrap().date = "date: Mon, 23 Nov 2026 11:48:00 GMT\r\n".to_owned();
    let problems = check().await;
    assert!(problems.contains("720 s ahead"), "{problems}");
    server.stop().await;
}

#[tokio::test]
async fn a_channel_that_sends_and_hears_nothing_is_told_what_may_be_wrong() {
    let (server, double) = start().await;
    answer_connect(&double);
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let problems = || async {
        let check = Channels::Check { channel: None };
        let checked = execute(&server.app, Command::Channels(check)).await.unwrap();
        checked["connections"][0]["problems"].to_string()
    };
    let reply = single(&server, "8613900000001").await;
    let wamid = reply.json()["MessageId"].as_str().unwrap().to_owned();
    settled(&server).await;
    assert_eq!(problems().await, "[]", "it may still come");
    server.clock.set(NOON.plus(46 * 60 * 1_000));
    let silent = problems().await;
    assert!(silent.contains("1 messages") && silent.contains("in development mode"), "{silent}");
    let told = |wamid: &str| {
        let seconds = (NOON.0 / 1_000).to_string();
        json!({"messaging_product": "whatsapp",
            "metadata": {"display_phone_number": NUMBER, "phone_number_id": format!("id{NUMBER}")},
            "statuses": [{"id": wamid, "status": "sent", "timestamp": seconds}]})
    };
    tell(&server, "messages", &told(&wamid)).await;
    assert_eq!(problems().await, "[]");
    // A day later it is silent about nothing.
    server.clock.set(NOON.plus(86_400_000 + 46 * 60 * 1_000));
    assert_eq!(problems().await, "[]");
    server.stop().await;
}

#[tokio::test]
async fn an_app_secret_that_is_not_the_apps_is_not_kept() {
    let (server, double) = start().await;
    answer_connect(&double);
    let secrets = || {
        let snapshot = server.app.directory.snapshot();
        snapshot.channel(&channel_id(CHANNEL)).unwrap().app_secrets.len()
    };
    let before = secrets();
    double.fix("Bearer 4711|", 400, &serde_json::from_str(&error(190, "no")).unwrap());
    let with_secret = || {
        let Command::Channels(Channels::Connect(known)) = connect(TOKEN) else { panic!() };
        let app_secret = serde_json::from_value(json!("mistyped")).unwrap();
        Command::Channels(Channels::Connect(Connect { app_secret: Some(app_secret), ..known }))
    };
    let why = execute(&server.app, with_secret()).await.unwrap_err().to_string();
    assert!(why.contains("not that of the app 4711"), "{why}");
    assert_eq!(secrets(), before);
    double.script.lock().unwrap().fixed.remove(0);
    execute(&server.app, with_secret()).await.unwrap();
    assert_eq!(secrets(), before + 1);
    server.stop().await;
}

#[tokio::test]
async fn a_number_of_another_account_is_left_there_and_nothing_is_said_of_whose() {
    use crate::tenants::{OTHER_CHANNEL, OTHER_NUMBER};
    let (server, double) = start().await;
    answer_connect(&double);
    let shown = json!({"id": "77", "display_phone_number": format!("+{OTHER_NUMBER}")});
    double.fix("/phone_numbers", 200, &json!({"data": [shown]}));
    let missing = execute(&server.app, connect(TOKEN)).await.unwrap()["missing"].to_string();
    assert!(missing.contains(&format!("{OTHER_NUMBER} is with another channel")), "{missing}");
    assert!(!missing.contains(OTHER_CHANNEL), "{missing}");
    server.stop().await;
}
