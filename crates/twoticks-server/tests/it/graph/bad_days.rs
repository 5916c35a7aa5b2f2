//! What comes too late, too early, or is gone by the time it is needed.

use super::*;

fn statuses(statuses: &Value) -> Value {
    json!({"messaging_product": "whatsapp",
        "metadata": {"display_phone_number": NUMBER, "phone_number_id": format!("id{NUMBER}")},
        "statuses": statuses})
}

fn delivered(wamid: &str) -> Value {
    let seconds = (NOON.0 / 1_000).to_string();
    statuses(&json!([{"id": wamid, "status": "delivered", "timestamp": seconds}]))
}

#[tokio::test]
async fn a_status_that_comes_before_the_answer_counts_for_its_template() {
    let (server, mut double) = start().await;
    answer_connect(&double);
    // From now on the template's category is known, and with it that it is marketing.
    execute(&server.app, connect(TOKEN)).await.unwrap();
    let opt_in = Event::OptIn { channel: channel_id(CHANNEL), time: NOON };
    server.app.ledger.record(entry(Kind::OptIn, vec![opt_in], &Value::Null)).await.unwrap();
    double.say([Answer::Hold]);
    let (held, before) = (Arc::clone(&double.held), double.got().len());
    let wamid = format!("wamid.{before}");
    let meanwhile = async {
        double.wait_for(before + 1).await;
        tell(&server, "messages", &delivered(&wamid)).await;
        held.add_permits(1);
    };
    let (reply, ()) = tokio::join!(single(&server, "8613900000001"), meanwhile);
    assert_eq!(reply.json()["MessageId"], wamid, "{}", reply.text());
    settled(&server).await;
    let day = 86_400_000;
    let (start, end) = ((NOON.0 - day).to_string(), (NOON.0 + day).to_string());
    let asked = [("TemplateCode", TEMPLATE), ("Start", &start), ("End", &end)];
    let metric = server.call(Who::Root, "GetChatappTemplateMetric", &asked).await.json();
    let row = &metric["Data"][0];
    assert_eq!((&row["SentCount"], &row["DeliveredCount"]), (&json!(1), &json!(1)), "{metric}");
    server.stop().await;
}

#[tokio::test]
async fn what_was_taken_and_not_answered_in_time_is_not_sent_again() {
    let (server, double) = start_with(|settings| settings.graph.timeout_seconds = 1).await;
    double.say([Answer::Hold]);
    let reply = single(&server, "8613900000001").await;
    settled(&server).await;
    let group = last_group(&server).await;
    assert_eq!(reply.json()["MessageId"], group, "{}", reply.text());
    let listed = listed(&server, &group).await;
    assert!(listed[0]["unknown"].as_str().unwrap().contains("too long"), "{listed:?}");
    assert_eq!(double.got().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_template_that_is_gone_before_its_turn_is_refused_to_each_recipient() {
    let (server, mut double) = start().await;
    double.say((0..64).map(|_| Answer::Say(401, error(190, "Session has expired"))));
    let group = mass(&server, 3).await;
    double.wait_for(1).await;
    let (code, english) = (Text::new(TEMPLATE).unwrap(), Text::new("en").unwrap());
    let gone = Change::RemoveTemplate(channel_id(CHANNEL), code, english);
    server.app.directory.change(vec![gone]).await.unwrap();
    double.script.lock().unwrap().answers.clear();
    let before = double.got().len();
    answer_connect(&double);
    execute(&server.app, connect("EAAB-another")).await.unwrap();
    settled(&server).await;
    for recipient in listed(&server, &group).await {
        let why = recipient["refused"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains("the template is not there any more"), "{recipient}");
    }
    let sent = double.got().into_iter().skip(before).filter(|it| it.line.contains("/messages "));
    assert_eq!(sent.count(), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_slow_graph_api_holds_up_who_passes_through_and_no_webhook() {
    let (server, mut double) = start().await;
    double.say([Answer::Hold]);
    let held = Arc::clone(&double.held);
    let passing = async {
        let path = format!("GET /graph/v24.0/id{NUMBER} HTTP/1.1\r\nhost: x\r\n\r\n");
        server.raw(path.as_bytes()).await.remove(0)
    };
    let meanwhile = async {
        double.wait_for(1).await;
        for number in 0..20 {
            tell(&server, "messages", &delivered(&format!("wamid.x{number}"))).await;
        }
        held.add_permits(1);
    };
    let (reply, ()) = tokio::join!(passing, meanwhile);
    assert_eq!(reply.status, 200);
    assert_eq!(server.app.ledger.counters().events, 20);
    server.stop().await;
}
