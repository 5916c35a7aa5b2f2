//! What is compared with what, and the reasons that come from more than one day.

use twoticks_store::ledger::Dead;

use super::rounds::put_templates;
use super::*;

/// Ours, Meta's and the reasons of a figure of a day, where there is one.
fn row(answer: &Value, day: &str, name: &str, figure: &str) -> Option<(Value, Value, Value)> {
    let rows = answer["rows"].as_array().unwrap().iter();
    let mut rows = rows.filter(|row| row["day"] == day && row["figure"] == figure);
    let row = rows.find(|row| row["name"].as_str().unwrap().starts_with(name))?;
    Some((row["ours"].clone(), row["meta"].clone(), row["reasons"].clone()))
}

fn price(number: &str, kind: &str, volume: i64, cost: Option<f64>) -> Value {
    let mut point = json!({"start": TODAY, "end": TODAY + 1_800, "phone_number": number,
        "pricing_category": "MARKETING", "pricing_type": kind, "volume": volume});
    point.as_object_mut().unwrap().extend(cost.map(|cost| ("cost".to_owned(), json!(cost))));
    point
}

#[tokio::test]
async fn prices_are_those_of_the_channels_own_numbers_and_one_that_is_told_no_more_costs_nothing() {
    let (server, double) = start_connected(|_| ()).await;
    let told = |points: Value| json!({"data": [{"data_points": points}]});
    // The account has a number that another tenant's channel sends with.
    let points = json!([
        price(NUMBER, "REGULAR", 2, Some(0.2)),
        price(SECOND_NUMBER, "REGULAR", 3, Some(0.3)),
        price(OTHER_NUMBER, "REGULAR", 100, Some(10.0)),
        price(NUMBER, "FREE_ENTRY_POINT", 1, Some(0.05)),
    ]);
    double.fix("fields=pricing_analytics", 200, &told(points));
    let answer = compared(&server, request(true)).await;
    let asked = double.got().into_iter().find(|got| got.line.contains("pricing_analytics"));
    assert!(asked.unwrap().line.contains("PHONE"));
    let meta = |answer: &Value, name: &str, figure: &str| {
        row(answer, "2026-11-23", name, figure).map(|(_, meta, _)| meta)
    };
    assert_eq!(meta(&answer, "MARKETING REGULAR", "volume"), Some(json!(5)));
    assert_eq!(meta(&answer, "MARKETING REGULAR", "cost_micros"), Some(json!(500_000)));
    assert_eq!(meta(&answer, "all numbers", "cost_micros"), Some(json!(550_000)));
    // What was charged as one thing is charged as another.
    server.clock.set(NOON.plus(1_000));
    let points = json!([price(NUMBER, "REGULAR", 6, Some(0.6))]);
    double.fix("fields=pricing_analytics", 200, &told(points));
    let answer = compared(&server, request(true)).await;
    assert_eq!(meta(&answer, "MARKETING FREE", "cost_micros"), Some(json!(0)));
    assert_eq!(meta(&answer, "all numbers", "cost_micros"), Some(json!(600_000)));
    // Of nobody's number: unknown whose they are, and said so.
    let mut nobodys = price(NUMBER, "REGULAR", 200, None);
    nobodys.as_object_mut().unwrap().remove("phone_number");
    double.fix("fields=pricing_analytics", 200, &told(json!([nobodys])));
    let said = refused(&server, request(true)).await;
    assert!(said.contains("or no number"), "{said}");
    let again = compared(&server, request(false)).await;
    assert_eq!(again["rows"], answer["rows"]);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_about_prices_that_is_too_long_is_asked_for_in_halves() {
    let (server, double) = start_connected(|_| ()).await;
    let many = vec![json!({}); twoticks_wire::graph::analytics::POINTS_MAX + 1];
    // All that begins ninety days ago and ends after today; then the halves.
    let end = format!(
        "start%28{}%29.end%28{}%29.granularity%28HALF_HOUR%29.metric",
        TODAY - 89 * DAY,
        TODAY + DAY
    );
    double.fix(end.leak(), 200, &json!([{"data_points": many}]));
    compared(&server, request(true)).await;
    let got = double.got();
    let asked = got.iter().filter(|got| got.line.contains("=pricing_analytics"));
    assert_eq!(asked.count(), 3);
    server.stop().await;
}

#[tokio::test]
async fn figures_of_the_marketing_messages_api_count_once_whatever_it_is_called() {
    let (server, double) = start_connected(|_| ()).await;
    let snapshot = server.app.directory.snapshot();
    let mut channel = Channel::clone(snapshot.channel(&channel_id(CHANNEL)).unwrap());
    channel.connection.as_mut().unwrap().marketing_messages = true;
    server.app.directory.change(vec![Change::UpdateChannel(channel)]).await.unwrap();
    let of = |product: &str, sent: i64| {
        let mut answer = templates(&json!([point("9001", TODAY, [sent, 0, 0], 0)]));
        answer["data"][0]["product_type"] = json!(product);
        answer
    };
    let names = ["MARKETING_MESSAGES_API_FOR_WHATSAPP", "MARKETING_MESSAGES_LITE_API"];
    let mut unpriced = of(names[1], 5);
    unpriced["data"][0]["data_points"][0].as_object_mut().unwrap().remove("cost");
    let wrong = serde_json::from_str(&error(100, "no such product")).unwrap();
    double.fix("product_type=CLOUD_API", 200, &of("cloud_api", 3));
    double.fix(names[0], 400, &wrong);
    double.fix(names[1], 200, &unpriced);
    let first = compared(&server, request(true)).await;
    let meta = |answer: &Value, figure| found(answer, figure).remove(0).2;
    assert_eq!(meta(&first, "sent"), json!(8));
    // Of a part no cost was told.
    assert!(found(&first, "cost_micros").is_empty(), "{first}");
    double.fix(names[0], 200, &of(names[0], 5));
    let again = compared(&server, request(true)).await;
    assert_eq!(meta(&again, "sent"), json!(8));
    assert_eq!(meta(&again, "cost_micros"), json!(140_000));
    // One of the last request's is wrong: the name has been answered by then.
    double.fix(names[1], 200, &json!({"data": []}));
    put_templates(&server, (9_100..9_120).map(|id| id.to_string())).await;
    let before = double.got().len();
    double.fix("9119%5D&product_type=MARKETING", 400, &wrong);
    let said = refused(&server, request(true)).await;
    assert!(said.contains("of the Marketing Messages API"), "{said}");
    let asked = double.got().split_off(before);
    assert!(asked.iter().all(|got| !got.line.contains(names[1])), "{asked:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_button_that_meta_does_not_tell_of_is_unknown_and_machines_do_not_click() {
    let told = |clicked: Value| {
        let mut point = point("9001", TODAY, [3, 3, 3], 0);
        point["clicked"] = clicked;
        templates(&json!([point]))
    };
    let button = |kind: &str, text: &str, count: i64| json!({"type": kind, "button_content": text, "count": count});
    let (url, people, reply) = ("url_button", "unique_url_button", "quick_reply_button");
    for (clicked, all, rows) in [
        // As Meta's own sample has it: people, and no clicks on the link.
        (
            json!([button(people, "Shop", 1), button(reply, "Yes", 1)]),
            json!(null),
            vec![(reply, 1, json!(1)), (people, 2, json!(1)), (url, 3, json!(null))],
        ),
        (
            json!([button(people, "Shop", 1), button(url, "Shop", 4)]),
            json!(4),
            vec![(reply, 1, json!(null)), (people, 2, json!(1)), (url, 3, json!(4))],
        ),
        (json!(5), json!(5), vec![(reply, 1, json!(null)), (url, 3, json!(null))]),
        (json!([]), json!(0), vec![(reply, 1, json!(0)), (url, 3, json!(0))]),
    ] {
        let (server, double) = start_connected(|_| ()).await;
        let tap = |kind: &str, text: &str, message: &str, id: &str| Fact::Tap {
            kind: kind.to_owned(),
            text: text.to_owned(),
            id: id.to_owned(),
            message: Some(message.to_owned()),
            at: (TODAY + 120) * 1_000,
        };
        let facts = [
            said("read", "one", TODAY + 60, Some(TEMPLATE)),
            said("read", "two", TODAY + 60, Some(TEMPLATE)),
            tap(reply, "Yes", "one", "a"),
            tap(url, "Shop", "one", "b"),
            tap(url, "Shop", "one", "c"),
            tap(url, "Shop", "two", "d"),
            tap("url_machine", "Shop", "two", "e"),
        ];
        record(&server, &facts).await;
        double.fix("template_analytics", 200, &told(clicked));
        let answer = compared(&server, request(true)).await;
        let clicks = found(&answer, "clicked").remove(0);
        assert_eq!((clicks.1, &clicks.2), (json!(4), &all), "{answer}");
        let buttons = answer["rows"].as_array().unwrap().iter();
        let buttons = buttons.filter(|row| row["figure"] == "button_clicked");
        let buttons: Vec<(&str, i64, Value)> = buttons
            .map(|row| {
                let kind = row["button_type"].as_str().unwrap();
                (kind, row["ours"].as_i64().unwrap(), row["meta"].clone())
            })
            .collect();
        assert_eq!(buttons, rows, "{answer}");
        server.stop().await;
    }
}

#[tokio::test]
async fn reads_may_be_of_another_day_and_today_says_nothing_of_them() {
    let (server, double) = start_connected(|_| ()).await;
    let day = |back: i64| TODAY - back * DAY;
    let facts = [
        // Read the day after; as often as Meta tells, and less often.
        said("read", "a", day(2) + 60, Some(TEMPLATE)),
        said("read", "b", day(2) + 60, Some(UTILITY)),
        // Today nobody knows yet.
        said("read", "c", day(0) + 60, Some(TEMPLATE)),
    ];
    record(&server, &facts).await;
    let points = [point("9001", day(3), [1, 1, 1], 0), point("9003", day(3), [1, 1, 2], 0)];
    double.fix("template_analytics", 200, &templates(&json!(points)));
    let answer = compared(&server, request(true)).await;
    for (template, reason) in [(TEMPLATE, "other_day"), (UTILITY, "day_of_send")] {
        for day in ["2026-11-20", "2026-11-21"] {
            let name = format!("template_{template}");
            let (.., reasons) = row(&answer, day, &name, "read").unwrap();
            assert_eq!(reasons, json!([reason]), "{day} {template}");
        }
    }
    let (.., today) = row(&answer, "2026-11-23", "template_", "read").unwrap();
    assert_eq!(today, json!(["day_not_over"]));
    server.stop().await;
}

#[tokio::test]
async fn dead_parts_are_found_behind_those_of_others_and_of_long_ago() {
    let (server, double) = start_connected(|_| ()).await;
    let dead = |channel: &str, at: i64| Batch {
        accepted: twoticks_core::clock::Time(at * 1_000),
        channel: Some(channel_id(channel)),
        dead: vec![Dead { path: "x".to_owned(), why: "y".to_owned() }],
        ..entry(Kind::Webhook, Vec::new(), &json!({}))
    };
    for _ in 0..1_001 {
        server.app.ledger.record(dead(CHANNEL, TODAY - 30 * DAY)).await.unwrap();
    }
    for _ in 0..1_001 {
        server.app.ledger.record(dead(OTHER_CHANNEL, TODAY - DAY)).await.unwrap();
    }
    server.app.ledger.record(dead(CHANNEL, TODAY - DAY + 60)).await.unwrap();
    record(&server, &[said("sent", "a", TODAY - DAY + 60, Some(TEMPLATE))]).await;
    double.fix(
        "template_analytics",
        200,
        &templates(&json!([point("9001", TODAY - DAY, [2, 0, 0], 0)])),
    );
    let answer = compared(&server, request(true)).await;
    let rows = answer["rows"].as_array().unwrap().iter();
    let mut rows = rows.filter(|row| row["day"] == "2026-11-22" && row["figure"] == "sent");
    let row = rows.find(|row| row["of"] == "template").unwrap();
    assert_eq!(row["reasons"], json!(["dead_letters"]));
    assert!(row["why"].as_str().unwrap().starts_with("1 part of webhooks"), "{row}");
    server.stop().await;
}
