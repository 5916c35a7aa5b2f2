//! Sends: what is asked, what is answered, and what comes of it on bad days.

use super::*;

#[tokio::test]
async fn a_send_is_what_the_graph_api_asks_for_and_its_wamid_is_the_answer() {
    let (server, double) = start().await;
    let reply = single(&server, "8613900000001").await;
    assert_eq!(reply.json()["MessageId"], "wamid.0", "{}", reply.text());
    let got = double.got();
    assert_eq!(got.len(), 1);
    let id = format!("id{NUMBER}");
    assert_eq!(got[0].line, format!("POST /v24.0/{id}/messages HTTP/1.1"));
    assert_eq!(got[0].authorization, format!("Bearer {TOKEN}"));
    let parameters = json!([{"type": "text", "text": "Ada"}, {"type": "text", "text": "Friday"}]);
    let sign = "tt1:1100000000000001:en";
    let expected = json!({
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": "8613900000001",
        "biz_opaque_callback_data": sign, "type": "template",
        "template": {
            "name": "template_1100000000000001",
            "language": {"code": "en", "policy": "deterministic"},
            "components": [
                {"type": "body", "parameters": parameters},
                {"type": "button", "sub_type": "quick_reply", "index": "0",
                 "parameters": [{"type": "payload", "payload": format!("{sign}|more")}]},
            ],
        },
    });
    assert_eq!(got[0].body, expected);
    let entries = server.app.ledger.entries(1, 10).await.unwrap();
    let kinds: Vec<Kind> = entries.iter().map(|entry| entry.batch.kind).collect();
    assert_eq!(kinds, [Kind::Send, Kind::Accepted]);
    let [Event::Message(event)] = entries[1].batch.events.as_slice() else { panic!("one event") };
    assert_eq!(event.claim.as_ref().unwrap().source, Source::Send);
    settled(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_is_made_again_with_its_key_sends_nothing_again() {
    let (server, double) = start().await;
    let call = |action: &'static str, key: &'static str| {
        let params = [
            ("ChannelType", "whatsapp"),
            ("Type", "template"),
            ("From", NUMBER),
            ("To", "8613900000001"),
            ("TemplateCode", TEMPLATE),
            ("Language", "en"),
            ("SenderList", r#"[{"To": "8613900000001"}]"#),
            ("ClientToken", key),
        ];
        let server = &server;
        async move { server.call(Who::Root, action, &params).await }
    };
    let first = call("SendChatappMessage", "order-1").await;
    assert_eq!(first.json()["MessageId"], "wamid.0", "{}", first.text());
    settled(&server).await;
    let again = call("SendChatappMessage", "order-1").await;
    assert_eq!(again.json()["MessageId"], "wamid.0", "{}", again.text());
    let other = call("SendChatappMessage", "order-2").await;
    assert_eq!(other.json()["MessageId"], "wamid.1");
    // A key is of an operation.
    let mass = call("SendChatappMassMessage", "order-1").await.json();
    let once_more = call("SendChatappMassMessage", "order-1").await.json();
    assert_eq!(mass["GroupMessageId"], once_more["GroupMessageId"], "{mass}");
    settled(&server).await;
    assert_eq!(double.got().len(), 3);
    double.say([Answer::Say(400, error(131_026, "Message undeliverable"))]);
    let refused = call("SendChatappMessage", "order-3").await;
    settled(&server).await;
    let again = call("SendChatappMessage", "order-3").await;
    assert_eq!((refused.code(), again.code()), (again.code(), refused.code()));
    let long = Box::leak("k".repeat(129).into_boxed_str());
    assert_eq!(call("SendChatappMessage", long).await.code(), "InvalidIdempotencyKey");
    assert_eq!(call("SendChatappMessage", "two words").await.code(), "InvalidIdempotencyKey");
    assert_eq!(double.got().len(), 4);
    server.stop().await;
}

#[tokio::test]
async fn a_call_that_was_never_accepted_is_accepted_when_it_is_made_again_with_its_key() {
    let (server, double) = start().await;
    // It serves, so that what waits from now on is not resumed.
    server.call(Who::Root, "QueryChatappPhoneNumbers", &[]).await;
    let outbox = server.app.dispatcher.outbox();
    // There is no room for one more.
    let groups: Vec<String> = (0..20).map(|number| format!("full-{number}")).collect();
    for group in &groups {
        outbox.queue(&channel_id(CHANNEL), group, 1_000, NOON).await.unwrap();
    }
    let params = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("From", NUMBER),
        ("To", "8613900000001"),
        ("TemplateCode", TEMPLATE),
        ("ClientToken", "order-1"),
    ];
    let refused = server.call(Who::Root, "SendChatappMessage", &params).await;
    assert_eq!(refused.code(), "System.LimitControl", "{}", refused.text());
    for group in &groups {
        outbox.end(&channel_id(CHANNEL), group, (0..1_000).collect()).await.unwrap();
    }
    let taken = server.call(Who::Root, "SendChatappMessage", &params).await;
    assert_eq!(taken.json()["MessageId"], "wamid.0", "{}", taken.text());
    settled(&server).await;
    let again = server.call(Who::Root, "SendChatappMessage", &params).await;
    assert_eq!(again.json()["MessageId"], "wamid.0", "{}", again.text());
    assert_eq!(double.got().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn what_meta_refuses_is_refused_with_its_code_and_not_repeated() {
    let (server, double) = start().await;
    for (status, code, answer, name) in [
        (400, 131_026, error(131_026, "Message undeliverable"), "InvalidParameter.MessageInvalid"),
        (400, 131_049, error(131_049, "declined"), "InvalidParameter.MessageInvalid"),
        // An envelope under a 200 is one nevertheless.
        (200, 132_001, error(132_001, "no such template"), "InvalidParameter.MessageInvalid"),
        (400, 999_999, error(999_999, "something new"), "InvalidParameter.MessageInvalid"),
    ] {
        double.say([Answer::Say(status, answer)]);
        let reply = single(&server, "8613900000001").await;
        assert_eq!((reply.status, reply.code()), (400, name.to_owned()), "{code}");
        let message = reply.json()["Message"].as_str().unwrap().to_owned();
        assert!(message.contains(&format!("Meta {code}")), "{message}");
        settled(&server).await;
        let listed = listed(&server, &last_group(&server).await).await;
        assert_eq!(listed[0]["code"], code);
    }
    assert_eq!(double.got().len(), 4);
    server.stop().await;
}

#[tokio::test]
async fn what_may_work_later_is_tried_again() {
    let (server, double) = start().await;
    for (status, code) in [(500, 2), (400, 131_016), (400, 80_007), (400, 130_429), (400, 131_056)]
    {
        double.say([Answer::Say(status, error(code, "later")), Answer::Take]);
        let before = double.got().len();
        let reply = single(&server, "8613900000001").await;
        assert_eq!(reply.json()["MessageId"], format!("wamid.{}", before + 1), "{code}");
        assert_eq!(double.got().len(), before + 2, "{code}");
    }
    settled(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn what_became_of_it_is_not_known_and_it_is_not_sent_twice() {
    let (server, double) = start().await;
    for answer in [
        Answer::HangUp,
        Answer::Say(502, "<html>bad gateway</html>".to_owned()),
        Answer::Say(200, "{}".to_owned()),
        // A gateway's own words for it.
        Answer::Say(502, r#"{"error":{"message":"upstream timeout"}}"#.to_owned()),
    ] {
        let before = double.got().len();
        double.say([answer]);
        let reply = single(&server, "8613900000001").await;
        settled(&server).await;
        let group = last_group(&server).await;
        // Whoever asked gets our id: the message may be out.
        assert_eq!(reply.json()["MessageId"], group, "{}", reply.text());
        let listed = listed(&server, &group).await;
        assert!(listed[0]["unknown"].is_string(), "{listed:?}");
        assert_eq!(double.got().len(), before + 1);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_mass_send_goes_on_by_itself_and_each_recipient_is_listed() {
    let (server, mut double) = start().await;
    double.say([Answer::Take, Answer::Say(400, error(131_050, "opted out"))]);
    let group = mass(&server, 200).await;
    double.wait_for(200).await;
    settled(&server).await;
    let listed = listed(&server, &group).await;
    assert_eq!(listed.len(), 200);
    let refused = listed.iter().filter(|it| it["code"] == 131_050).count();
    let taken = listed.iter().filter(|it| it["message_id"].is_string()).count();
    assert_eq!((refused, taken), (1, 199));
    let to: Vec<String> = listed.iter().map(|it| it["to"].as_str().unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..200).map(|place| format!("861390000{place:04}")).collect();
    assert_eq!(to, expected);
    server.stop().await;
}

#[tokio::test]
async fn sends_wait_while_the_token_is_revoked_and_go_on_with_a_new_one() {
    let (server, mut double) = start().await;
    double.say([Answer::Take, Answer::Say(401, error(190, "Session has expired"))]);
    // What is with the Graph API at the same time meets the same token.
    double.say((0..62).map(|_| Answer::Say(401, error(190, "Session has expired"))));
    let group = mass(&server, 30).await;
    double.wait_for(2).await;
    let problems = || {
        let snapshot = server.app.directory.snapshot();
        let channel = snapshot.channel(&channel_id(CHANNEL)).unwrap();
        channel.connection.as_ref().unwrap().told.clone()
    };
    while problems().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(problems()[0].as_str().contains("Meta 190"), "{:?}", problems());
    let waits = listed(&server, &group).await.iter().filter(|it| it["waits"] == true).count();
    assert!(waits >= 14, "{waits} wait");
    {
        let mut script = double.script.lock().unwrap();
        script.answers.clear();
    }
    answer_connect(&double);
    execute(&server.app, connect("EAAB-another")).await.unwrap();
    settled(&server).await;
    let listed = listed(&server, &group).await;
    assert!(listed.iter().all(|it| it["message_id"].is_string()), "{listed:?}");
    assert!(problems().is_empty());
    let warned = server.log.of(Level::WARN).join("\n");
    assert!(warned.contains("wait until its connection"), "{warned}");
    server.stop().await;
}

#[tokio::test]
async fn what_waited_goes_on_after_a_restart_and_what_was_begun_is_not_sent_twice() {
    let double = Double::start().await;
    let (folder, ledger) = (tempfile::tempdir().unwrap(), Arc::new(MemoryLedger::new()));
    let channel = channel_id(CHANNEL);
    let asked = json!({
        "operation": "SendChatappMassMessage", "request_id": "r", "channel": CHANNEL,
        "from": NUMBER, "template": {"code": TEMPLATE, "language": "en"}, "sign": null, "call": {},
        "recipients": [
            {"to": "8613900000001", "parameters": {}}, {"to": "8613900000002", "parameters": {}},
            {"to": "8613900000003", "parameters": {}}, {"to": "8613900000004", "parameters": {}},
        ],
    });
    ledger.record(entry(Kind::Send, Vec::new(), &asked)).await.unwrap();
    let told =
        json!({"recipients": [{"place": 2, "to": "8613900000003", "message_id": "wamid.x"}]});
    ledger.record(entry(Kind::Accepted, Vec::new(), &told)).await.unwrap();
    {
        let outbox = Outbox::open(folder.path()).unwrap();
        outbox.queue(&channel, "g", 4, NOON).await.unwrap();
        // The first was with the Graph API when the process ended; what became of the third is in
        // the journal already.
        outbox.begin(&channel, "g", vec![0, 2]).await.unwrap();
    }
    let outbox = Some(Outbox::open(folder.path()).unwrap());
    let (settings, changes) = (settings(&double), vec![connected()]);
    let made = Made { settings, ledger, outbox, changes, ..Made::default() };
    let server = Server::start_with(made).await;
    settled(&server).await;
    let listed = listed(&server, "g").await;
    assert!(listed[0]["unknown"].is_string(), "{listed:?}");
    assert_eq!(listed[2]["message_id"], "wamid.x");
    assert!(listed[1]["message_id"].is_string() && listed[3]["message_id"].is_string());
    let to: Vec<Value> = double.got().iter().map(|got| got.body["to"].clone()).collect();
    assert_eq!(to.len(), 2);
    assert!(to.contains(&json!("8613900000002")) && to.contains(&json!("8613900000004")));
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_points_here_sends_as_before_and_its_template_is_known() {
    let (server, double) = start().await;
    let body = json!({
        "messaging_product": "whatsapp", "to": "8613900000001", "type": "template",
        "template": {"name": "template_1100000000000001", "language": {"code": "en"}},
    });
    let post = |path: &str, body: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer own\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let path = format!("/graph/v23.0/id{NUMBER}/messages?x=1");
    let reply = server.raw(post(&path, &body.to_string()).as_bytes()).await.remove(0);
    assert_eq!(reply.json()["messages"][0]["id"], "wamid.0", "{}", reply.text());
    let got = double.got();
    assert_eq!(got[0].line, format!("POST /v23.0/id{NUMBER}/messages?x=1 HTTP/1.1"));
    assert_eq!((got[0].authorization.as_str(), &got[0].body), ("Bearer own", &body));
    let entries = server.app.ledger.entries(1, 10).await.unwrap();
    let [Event::Message(event)] = entries[0].batch.events.as_slice() else { panic!("one event") };
    let claim = event.claim.as_ref().unwrap();
    assert_eq!(claim.template.as_ref().unwrap().code.as_str(), TEMPLATE);

    // As Meta's own SDKs write it: a form, with JSON in its fields.
    let form = "messaging_product=whatsapp&to=8613900000001&type=template&template=%7B%22name%22%3A\
        %22template_1100000000000001%22%2C%22language%22%3A%7B%22code%22%3A%22en%22%7D%7D";
    let reply = server.raw(post(&path, form).as_bytes()).await.remove(0);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let entries = server.app.ledger.entries(2, 10).await.unwrap();
    let [Event::Message(event)] = entries[0].batch.events.as_slice() else { panic!("one event") };
    let claim = event.claim.as_ref().unwrap();
    assert_eq!(claim.template.as_ref().unwrap().code.as_str(), TEMPLATE);
    // Nobody is told to try again what may have been done.
    double.say([Answer::HangUp]);
    let reply = server.raw(post(&path, form).as_bytes()).await.remove(0);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (504, &json!(504)));

    // A refusal, and a number that is not ours, go past and are nobody's.
    double.say([Answer::Say(400, error(131_026, "no")), Answer::Take]);
    let reply = server.raw(post(&path, &body.to_string()).as_bytes()).await.remove(0);
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!(131_026)));
    let foreign = "/graph/v23.0/999/messages";
    let reply = server.raw(post(foreign, &body.to_string()).as_bytes()).await.remove(0);
    assert_eq!(reply.status, 200);
    // What reads is handed on as well; another host is not.
    double.fix("/v23.0/3000", 200, &json!({"id": "3000"}));
    let reply = server.get("/graph/v23.0/3000?fields=id", &[]).await;
    assert_eq!(reply.json()["id"], "3000");
    let reply = server.get("/graph/http://127.0.0.1:1/x", &[]).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert_eq!(server.app.ledger.entries(1, 10).await.unwrap().len(), 2);
    server.stop().await;
}
