use proptest::prelude::*;

use super::*;
use crate::webhook::Defect;

const DAY_ONE: i64 = 1_790_899_200;

fn group(points: &str) -> String {
    format!(r#"{{"granularity":"DAILY","product_type":"cloud_api","data_points":[{points}]}}"#)
}

const NEWER: &str = r#"{"template_id":770011,"start":1790985600,"end":1791072000,"sent":5,
    "delivered":4,"read":"3","clicked":2}"#;
const OLDER: &str = r#"{"template_id":"770011","start":1790899200,"end":1790985600,"sent":9,
    "delivered":8,"read":7,
    "clicked":[{"type":"quick_reply_button","button_content":"More, please","count":4},
               {"type":"unique_url_button","button_content":"Our shop","count":2},
               {"type":"url_button","button_content":"Our shop","count":3}],
    "cost":[{"type":"amount_spent","value":0.35},{"type":"cost_per_delivered","value":0.04375},
            {"type":"cost_per_something_new","value":1}],"replied":1}"#;

#[test]
fn all_shapes_of_an_answer_say_the_same() {
    let groups = group(&format!("{NEWER},{OLDER}"));
    let points = format!("{NEWER},{OLDER}");
    let mut told = Vec::new();
    for answer in [
        format!(r#"{{"template_analytics":{{"data":[{groups}]}},"id":"41"}}"#),
        format!(
            r#"{{"template_analytics":{{"product_type":"CLOUD_API","data_points":[{points}]}},"id":41}}"#
        ),
        format!(r#"{{"data":[{groups}],"paging":{{"cursors":{{"before":"a","after":"b"}}}}}}"#),
        format!("[{groups}]"),
        format!(r#"{{"template_analytics":[{groups}],"id":"41"}}"#),
    ] {
        let page = read_templates(answer.as_bytes()).unwrap();
        assert_eq!(page.bad, [], "{answer}");
        assert_eq!(page.points.len(), 2, "{answer}");
        told.push(page.points);
    }
    assert!(told.windows(2).all(|two| two[0] == two[1]), "{told:#?}");
    // Without a group, nobody says of which product they are.
    let bare = read_templates(format!("[{points}]").as_bytes()).unwrap().points;
    assert!(bare.iter().all(|day| day.product.is_none()));
    assert_eq!(bare.len(), 2);
}

#[test]
fn a_day_is_read_to_the_last_micro() {
    let page = read_templates(format!("[{NEWER},{OLDER}]").as_bytes()).unwrap();
    let [older, newer] = page.points.as_slice() else { panic!("{page:?}") };
    assert_eq!((older.start_seconds, older.template_id.as_str()), (DAY_ONE, "770011"));
    assert_eq!((older.sent, older.delivered, older.read), (Some(9), Some(8), Some(7)));
    let cost = older.cost.as_ref().unwrap();
    assert_eq!(cost.spent_micros, Some(350_000));
    assert_eq!(cost.per_delivered_micros, Some(43_750));
    assert_eq!(cost.per_url_click_micros, None);
    let clicks = older.clicks.as_ref().unwrap();
    let counts: Vec<_> =
        clicks.buttons.iter().map(|(button, count)| (button.kind.as_str(), *count)).collect();
    assert_eq!(counts, [("quick_reply_button", 4), ("unique_url_button", 2), ("url_button", 3)]);
    assert_eq!(clicks.total, None);
    // The old form: a number, and no cost at all.
    assert_eq!(newer.read, Some(3));
    assert_eq!(newer.clicks, Some(Clicks { total: Some(2), ..Clicks::default() }));
    assert_eq!(newer.cost, None);
}

#[test]
fn a_cost_that_is_not_told_is_unknown() {
    for (cost, spent) in [
        ("", None),
        (r#","cost":null"#, None),
        (r#","cost":[]"#, None),
        (r#","cost":[{"type":"amount_spent"}]"#, None),
        (r#","cost":[{"type":"amount_spent","value":"x"}]"#, None),
        (r#","cost":[{"type":"amount_spent","value":0}]"#, Some(0)),
        (r#","cost":[{"type":"amount_spent","value":"1.000001"}]"#, Some(1_000_001)),
    ] {
        let answer = format!(r#"[{{"template_id":"1","start":0{cost}}}]"#);
        let page = read_templates(answer.as_bytes()).unwrap();
        let told = page.points[0].cost.as_ref().and_then(|cost| cost.spent_micros);
        assert_eq!(told, spent, "{cost}");
    }
}

#[test]
fn a_bad_point_spoils_nothing_around_it() {
    let answer = format!(
        r#"{{"data":[{}]}}"#,
        group(&format!(r#"7,{{"start":1}},{{"template_id":"1","start":"soon"}},{OLDER}"#))
    );
    let page = read_templates(answer.as_bytes()).unwrap();
    assert_eq!(page.points.len(), 1);
    assert_eq!(
        page.bad,
        [Defect::NotAnObject, Defect::Missing("template_id"), Defect::Unreadable("start")]
    );
    let odd = r#"[{"template_id":"1","start":0,"sent":-1,"read":1.5,"clicked":[{"count":1},7]}]"#;
    let page = read_templates(odd.as_bytes()).unwrap();
    assert_eq!(page.points[0].unread, ["clicked", "read", "sent"]);
}

#[test]
fn where_an_answer_goes_on_is_told_at_either_depth() {
    let paging = r#""paging":{"next":"https://graph.example.com/next","cursors":{"after":"Zm9v"}}"#;
    for answer in [
        format!(r#"{{"template_analytics":{{"data":[],{paging}}},"id":"1"}}"#),
        format!(r#"{{"data":[],{paging}}}"#),
    ] {
        let page = read_templates(answer.as_bytes()).unwrap();
        assert_eq!(page.next.as_deref(), Some("https://graph.example.com/next"));
        assert_eq!(page.after.as_deref(), Some("Zm9v"));
    }
    let last = read_templates(br#"{"data":[],"paging":{"cursors":{"after":"x"}}}"#).unwrap();
    assert_eq!((last.next, last.after.as_deref()), (None, Some("x")));
}

#[test]
fn nothing_to_tell_is_no_failure_and_something_else_is() {
    for empty in [r#"{"id":"1"}"#, "[]", r#"{"data":[]}"#, r#"{"analytics":{},"id":1}"#] {
        assert_eq!(read_messages(empty.as_bytes()).unwrap().points, [], "{empty}");
    }
    for (answer, expected) in [
        ("{}", Unread::NoPoints { field: "analytics" }),
        ("7", Unread::NoPoints { field: "analytics" }),
        (r#"{"error":{"code":190}}"#, Unread::NoPoints { field: "analytics" }),
        ("{", Unread::NotJson),
        ("", Unread::NotJson),
    ] {
        assert_eq!(read_messages(answer.as_bytes()), Err(expected), "{answer}");
    }
}

#[test]
fn answers_have_their_limits() {
    let points = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
    assert_eq!(read_messages(points(POINTS_MAX).as_bytes()).unwrap().bad.len(), POINTS_MAX);
    assert_eq!(read_messages(points(POINTS_MAX + 1).as_bytes()), Err(Unread::TooMany));
    let padded = |bytes: usize| format!("[]{}", " ".repeat(bytes - 2));
    assert!(read_messages(padded(ANSWER_BYTES_MAX).as_bytes()).is_ok());
    let bytes = ANSWER_BYTES_MAX + 1;
    assert_eq!(read_messages(padded(bytes).as_bytes()), Err(Unread::TooLong { bytes }));
}

#[test]
fn messages_and_prices_are_read_oldest_first() {
    let answer = r#"{"analytics":{"phone_numbers":["15550100"],"granularity":"DAY","data_points":[
        {"start":200,"end":300,"sent":2,"delivered":1},{"start":"100","end":200,"sent":0}]},"id":"5"}"#;
    let points = read_messages(answer.as_bytes()).unwrap().points;
    assert_eq!(
        (points[0].start_seconds, points[0].sent, points[0].delivered),
        (100, Some(0), None)
    );
    assert_eq!(
        (points[1].start_seconds, points[1].sent, points[1].delivered),
        (200, Some(2), Some(1))
    );
    let answer = r#"{"pricing_analytics":{"data":[{"data_points":[
        {"start":200,"end":300,"country":"BR","phone_number":15550100,"tier":"0:MAX",
         "pricing_type":"REGULAR","pricing_category":"MARKETING","volume":3,"cost":0.1875},
        {"start":100,"end":200,"volume":1}]}]},"id":"5"}"#;
    let points = read_pricing(answer.as_bytes()).unwrap().points;
    assert_eq!((points[0].volume, points[0].cost_micros), (Some(1), None));
    assert_eq!(points[1].cost_micros, Some(187_500));
    assert_eq!(points[1].phone_number.as_deref(), Some("15550100"));
    assert_eq!(points[1].tier.as_deref(), Some("0:MAX"));
}

#[test]
fn the_questions_are_put_as_the_graph_api_wants_them() {
    let days = window(DAY_ONE + 8 * DAY_SECONDS + 1);
    let ask = templates("41", &["1", "2"], days, Product::CloudApi).unwrap();
    assert_eq!(ask.path, "41/template_analytics");
    assert_eq!(
        ask.parameters,
        [
            ("start", "1790899200".to_owned()),
            ("end", (DAY_ONE + 9 * DAY_SECONDS - 1).to_string()),
            ("granularity", "DAILY".to_owned()),
            ("template_ids", "[1,2]".to_owned()),
            ("product_type", "CLOUD_API".to_owned()),
        ]
    );
    for (granularity, word, other) in [
        (Granularity::HalfHour, "HALF_HOUR", "HALF_HOUR"),
        (Granularity::Day, "DAY", "DAILY"),
        (Granularity::Month, "MONTH", "MONTHLY"),
    ] {
        let ask = messages("41", "15550100", (100, 200), granularity).unwrap();
        let expected = format!(
            "analytics.start(100).end(200).granularity({word}).phone_numbers([\"15550100\"])"
        );
        assert_eq!((ask.path.as_str(), ask.parameters), ("41", vec![("fields", expected)]));
        let dimensions = [Dimension::Tier, Dimension::Country, Dimension::Tier];
        let ask = pricing("41", (100, 200), granularity, &dimensions).unwrap();
        let expected = format!(
            "pricing_analytics.start(100).end(200).granularity({other})\
             .metric_types([\"COST\",\"VOLUME\"]).dimensions([\"COUNTRY\",\"TIER\"])"
        );
        assert_eq!(ask.parameters, [("fields", expected)]);
    }
    let ask = pricing("41", (100, 200), Granularity::Day, &[]).unwrap();
    assert!(ask.parameters[0].1.ends_with("\"VOLUME\"])"));
}

#[test]
fn a_question_has_its_limits() {
    let days = window(0);
    let product = Product::CloudApi;
    let ids = vec!["1"; TEMPLATES_MAX + 1];
    assert!(templates("1", &ids[1..], days, product).is_ok());
    assert_eq!(templates("1", &ids, days, product), Err(Unasked::Templates(11)));
    assert_eq!(templates::<&str>("1", &[], days, product), Err(Unasked::Templates(0)));
    let backwards = Days { first: Day(1), last: Day(0) };
    assert!(matches!(templates("1", &["1"], backwards, product), Err(Unasked::Span { .. })));
    let long = "1".repeat(ID_MAX);
    assert!(templates(&long, &["1"], days, product).is_ok());
    let id = |id: &str| Err(Unasked::Id(id.to_owned()));
    assert_eq!(templates(&format!("{long}1"), &["1"], days, product), id(&long));
    assert_eq!(templates("1/2", &["1"], days, product), id("1/2"));
    assert_eq!(templates("1", &["1", ""], days, product), id(""));
    let span = (0, 1);
    let ask = |phone: &str| messages("1", phone, span, Granularity::Day);
    assert!(ask(&"1".repeat(20)).is_ok() && ask("123").is_ok());
    for phone in ["12", "+15550100", &"1".repeat(21), "1\"])"] {
        assert_eq!(ask(phone), Err(Unasked::Phone(phone.to_owned())));
    }
    let empty = Unasked::Span { start_seconds: 1, end_seconds: 1 };
    assert_eq!(messages("1", "123", (1, 1), Granularity::Day), Err(empty.clone()));
    assert_eq!(pricing("1", (1, 1), Granularity::Day, &[]), Err(empty));
}

#[test]
fn a_product_that_is_refused_has_another_name() {
    let other = Product::MarketingMessages.fallback();
    assert_eq!(other.map(Product::word), Some("MARKETING_MESSAGES_LITE_API"));
    assert_eq!(Product::MarketingMessagesLite.fallback(), None);
    assert_eq!(Product::CloudApi.fallback(), None);
}

#[test]
fn the_window_is_today_and_eight_days_before() {
    for (now, last) in [(0, 0), (86_399, 0), (86_400, 1), (-1, -1)] {
        assert_eq!(window(now), Days { first: Day(last - 8), last: Day(last) }, "{now}");
    }
    assert_eq!(first_window(0).first, Day(-89));
    // A clock that shows anything at all is no reason to panic.
    for now in [i64::MIN, i64::MAX] {
        assert!(templates("1", &["1"], window(now), Product::CloudApi).is_ok());
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(answer in "[\\[\\]{}:,\"0-9a-z_. -]{0,60}") {
        let wrapped = format!(r#"{{"data":[{{"data_points":[{answer}]}}]}}"#);
        for answer in [answer.as_bytes(), wrapped.as_bytes()] {
            drop(read_templates(answer));
            drop(read_messages(answer));
            drop(read_pricing(answer));
        }
    }
}
