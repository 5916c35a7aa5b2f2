//! Analytics against the book.

use twoticks_emulator::book::Subject;

use super::*;

fn sum(points: &[Value], name: &str) -> i64 {
    points.iter().map(|it| it[name].as_i64().unwrap_or(0)).sum()
}

/// What the book has of a number or a template of the shop, all cells together.
fn booked(calling: &Calling, field: impl Fn(&Subject) -> bool) -> [i64; 3] {
    let cells = calling.emulated.booked("cams-shop");
    let wanted = cells.iter().filter(|(cell, _)| field(&cell.subject));
    wanted.fold([0; 3], |[sent, delivered, read], (_, sums)| {
        [sent + sums.sent, delivered + sums.delivered, read + sums.read]
    })
}

#[tokio::test]
async fn analytics_are_those_of_the_book() {
    let mut calling = Calling::start().await;
    calling.post(&format!("/{SHOP}?is_enabled_for_insights=true"), &Value::Null).await;
    let list = calling.get(&format!("/v24.0/{SHOP}/message_templates?name=promo")).await;
    let id = list["data"][0]["id"].as_str().unwrap().to_owned();
    calling.emulated.send("cams-shop", 0, PROMO, 1, 200).await;
    // Read and clicked until a week has passed since, and by then most of it has.
    calling.emulated.advance(6 * DAY).await;
    let start = calling.emulated.source.now().second() - 3_600;
    let end = start + 8 * DAY / SECOND;
    let query = format!("start={start}&end={end}&granularity=DAILY&template_ids=[{id}]");
    let told = calling.get(&format!("/v24.0/{SHOP}/template_analytics?{query}")).await;
    let points = told["data"][0]["data_points"].as_array().unwrap().clone();
    assert_eq!(told["data"][0]["granularity"], "DAILY");
    assert_eq!(told["data"][0]["product_type"], "cloud_api");
    let is_promo = |it: &Subject| matches!(it, Subject::Template(of, _) if *of == template(PROMO));
    let [sent, delivered, read] = booked(&calling, is_promo);
    assert!(sent > 100 && read > 50);
    assert_eq!(["sent", "delivered", "read"].map(|it| sum(&points, it)), [sent, delivered, read]);
    for point in &points {
        assert_eq!(point["template_id"], *id);
        let (from, to) = (point["start"].as_i64().unwrap(), point["end"].as_i64().unwrap());
        assert_eq!((from % 86_400, to - from), (0, 86_400), "days are those of UTC");
    }
    let clicks: Vec<&Value> =
        points.iter().filter_map(|it| it["clicked"].as_array()).flatten().collect();
    assert!(clicks.iter().any(|it| it["type"] == "quick_reply_button"
        && it["button_content"] == "Beli"
        && it["count"].as_i64().unwrap() > 0));
    let costs: Vec<&Value> =
        points.iter().filter_map(|it| it["cost"].as_array()).flatten().collect();
    let spent = costs.iter().filter(|it| it["type"] == "amount_spent");
    let spent: f64 = spent.map(|it| it["value"].as_f64().unwrap()).sum();
    let expected: f64 = format!("{delivered}").parse::<f64>().unwrap() * 0.0411;
    assert!((spent - expected).abs() < 0.01, "{spent} for {expected}");

    // The same as a field, with some of it.
    let field = format!(
        "template_analytics.start({start}).end({end}).granularity(daily).template_ids([%22{id}%22])\
         .metric_types([SENT,CLICKED])"
    );
    let node = calling.get(&format!("/v24.0/{SHOP}?fields={field}")).await;
    let of_field = node["template_analytics"]["data"][0]["data_points"].as_array().unwrap();
    assert_eq!(sum(of_field, "sent"), sent);
    assert!(of_field.iter().all(|it| it.get("read").is_none() && it.get("cost").is_none()));
    // Nothing of it went through the other product.
    let lite = format!("{query}&product_type=MARKETING_MESSAGES_LITE_API");
    let lite = calling.get(&format!("/v24.0/{SHOP}/template_analytics?{lite}")).await;
    assert_eq!(lite["data"][0]["data_points"], json!([]));
    let dates = "start=2026-10-02&end=2026-10-03&granularity=DAILY&use_waba_timezone=true";
    let target = format!("/v24.0/{SHOP}/template_analytics?{dates}&template_ids={id}");
    let day = calling.get(&target).await;
    assert_eq!(day["waba_timezone"], "UTC");
    assert_eq!(day["data"][0]["data_points"].as_array().unwrap().len(), 1);

    // A week after the send reads and clicks are nothing any more.
    calling.emulated.advance(2 * DAY).await;
    let told = calling.get(&format!("/v24.0/{SHOP}/template_analytics?{query}")).await;
    let points = told["data"][0]["data_points"].as_array().unwrap();
    assert_eq!(sum(points, "read"), 0);
    assert!(sum(points, "sent") > 100 && points.iter().all(|it| it.get("clicked").is_none()));
    calling.stop().await;
}

#[tokio::test]
async fn numbers_and_prices_are_those_of_the_book() {
    let mut calling = Calling::start().await;
    calling.emulated.send("cams-shop", 0, PROMO, 1, 50).await;
    calling.emulated.send("cams-shop", 1, SHIPPED, 1, 50).await;
    calling.emulated.advance(6 * DAY).await;
    let start = calling.emulated.source.now().second() - 3_600;
    let end = start + 8 * DAY / SECOND;
    let number = "628110000002";
    let is_number = |it: &Subject| matches!(it, Subject::Number(of) if of.as_str() == number);
    let [sent, delivered, _] = booked(&calling, is_number);
    for (grain, seconds) in [("HALF_HOUR", 1_800), ("DAY", 86_400)] {
        let field = format!(
            "analytics.start({start}).end({end}).granularity({grain}).phone_numbers([%22{number}%22])"
        );
        let node = calling.get(&format!("/v24.0/{SHOP}?fields={field}")).await;
        assert_eq!(node["id"], SHOP);
        let told = &node["analytics"];
        assert_eq!(
            (&told["granularity"], &told["phone_numbers"]),
            (&json!(grain), &json!([number]))
        );
        let points = told["data_points"].as_array().unwrap();
        assert_eq!(["sent", "delivered"].map(|it| sum(points, it)), [sent, delivered]);
        assert!(points.iter().all(|it| it["start"].as_i64().unwrap() % seconds == 0));
    }
    let pricing = format!(
        "start={start}&end={end}&granularity=DAILY&dimensions=[PRICING_CATEGORY,PRICING_TYPE,PHONE]"
    );
    let told = calling.get(&format!("/v24.0/{SHOP}/pricing_analytics?{pricing}")).await;
    let points = told["data"][0]["data_points"].as_array().unwrap();
    let of = |category: &str| -> Vec<Value> {
        points.iter().filter(|it| it["pricing_category"] == category).cloned().collect()
    };
    assert_eq!(sum(&of("UTILITY"), "volume"), delivered);
    assert!(of("UTILITY").iter().all(|it| it.get("cost").is_none()), "no rate is played for it");
    assert!(of("MARKETING").iter().all(|it| it["cost"].as_f64().unwrap() > 0.0));
    assert!(points.iter().all(|it| it["pricing_type"] == "REGULAR"));
    calling.stop().await;
}

#[tokio::test]
async fn analytics_that_cannot_be_told_are_refused() {
    let calling = Calling::start().await;
    let list = calling.get(&format!("/v24.0/{SHOP}/message_templates")).await;
    let id = list["data"][0]["id"].as_str().unwrap();
    let good = format!("start=1&end=2&granularity=DAILY&template_ids=[{id}]");
    let target = format!("/v24.0/{SHOP}/template_analytics?");
    let (_, code, ..) = calling.refused("GET", &format!("{target}{good}"), &Value::Null).await;
    assert_eq!(code, 200_007, "it has to be enabled first");
    calling.post(&format!("/{SHOP}?is_enabled_for_insights=true"), &Value::Null).await;
    calling.get(&format!("{target}{good}")).await;
    let many = |count: usize| vec![id; count].join(",");
    calling
        .get(&format!("{target}start=1&end=2&granularity=DAILY&template_ids=[{}]", many(10)))
        .await;
    for (target, part) in [
        (format!("{target}end=2&granularity=DAILY&template_ids=[{id}]"), "start"),
        (format!("{target}start=1&end=now&granularity=DAILY&template_ids=[{id}]"), "end"),
        (format!("{target}start=3&end=2&granularity=DAILY&template_ids=[{id}]"), "before start"),
        (format!("{target}start=1&end=2&granularity=HALF_HOUR&template_ids=[{id}]"), "DAILY"),
        (format!("{target}start=1&end=2&granularity=DAILY"), "template_ids"),
        (format!("{target}start=1&end=2&granularity=DAILY&template_ids=[]"), "1 to 10"),
        (format!("{target}start=1&end=2&granularity=DAILY&template_ids=[{}]", many(11)), "1 to 10"),
        (
            format!("{target}start=1&end=2&granularity=DAILY&template_ids=[1]"),
            "not of this account",
        ),
        (format!("{target}{good}&metric_types=[LIKED]"), "CLICKED"),
        (format!("{target}{good}&product_type=SMS"), "CLOUD_API"),
        (
            format!("/{SHOP}/analytics?start=1&end=2&granularity=DAILY"),
            "granularity must be one of {HALF_HOUR, DAY, MONTH}",
        ),
        (
            format!(
                "/{SHOP}/analytics?start=1&end=2&granularity=DAY&phone_numbers=[5511900000001]"
            ),
            "not of this account",
        ),
        (
            format!("/{SHOP}/analytics?start=1&end=2&granularity=DAY&country_codes=[US]"),
            "not played",
        ),
        (
            format!(
                "/{SHOP}/pricing_analytics?start=1&end=2&granularity=DAILY&dimensions=[COUNTRY]"
            ),
            "dimensions",
        ),
    ] {
        let (status, code, _, told) = calling.refused("GET", &target, &Value::Null).await;
        assert_eq!((status, code), (400, 100), "{target}");
        assert!(told.contains(part), "{target}: {told}");
    }
    calling.stop().await;
}
