//! What WhatsApp counts by itself: asked for, kept, and put beside ours.

mod rounds;
mod sides;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use twoticks_core::ids::Template;
use twoticks_server::control::reconcile::Request;
use twoticks_store::directory::model::{StatusSource, TemplateRecord};
use twoticks_store::figures::Figures;

use super::*;
use crate::facts::{Fact, record};
use crate::tenants::{ISV_CODE, OTHER_CHANNEL, OTHER_NUMBER, SECOND_NUMBER, UTILITY};

const WABA: &str = "3000";
const OTHER_WABA: &str = "4000";
const DAY: i64 = 86_400;
/// The midnight before NOON, in seconds.
const TODAY: i64 = NOON.0 / 1_000 - DAY / 2;

/// The channel with its account and its templates, connected; the other tenant's likewise.
fn both_connected() -> Vec<Change> {
    let mut changes = Vec::new();
    for change in crate::tenants::everything() {
        match change {
            Change::AddChannel(mut channel)
                if [CHANNEL, OTHER_CHANNEL].contains(&channel.id.as_str()) =>
            {
                let is_first = channel.id.as_str() == CHANNEL;
                let (token, waba) =
                    if is_first { (TOKEN, WABA) } else { ("the-others-token", OTHER_WABA) };
                assert_eq!(channel.status_source, StatusSource::CloudApi);
                channel.waba_id = Some(Text::new(waba).unwrap());
                channel.connection = Some(Connection {
                    access_token: Secret::new(token).unwrap(),
                    app_id: None,
                    marketing_messages: false,
                    checked: None,
                    problems: Vec::new(),
                    told: Vec::new(),
                });
                changes.push(Change::UpdateChannel(channel));
            }
            Change::PutTemplate(template) if template.language.as_str() == "en" => {
                changes.push(Change::PutTemplate(with_meta_id(template)));
            }
            _ => {}
        }
    }
    changes
}

/// Meta's id of a template is the end of its code here, with 9 in front.
fn with_meta_id(template: TemplateRecord) -> TemplateRecord {
    let number: u64 = template.code.as_str().parse().unwrap();
    let meta_id = Some(Text::new(&format!("9{:03}", number % 1_000)).unwrap());
    TemplateRecord { meta_id, ..template }
}

async fn start_connected(change: impl FnOnce(&mut Settings)) -> (Server, Double) {
    start_keeping(None, change).await
}

async fn start_keeping(
    figures: Option<Figures>,
    change: impl FnOnce(&mut Settings),
) -> (Server, Double) {
    let double = Double::start().await;
    let mut settings = settings(&double);
    change(&mut settings);
    let made = Made { settings, figures, changes: both_connected(), ..Made::default() };
    for waba in ["/v24.0/3000?", "/v24.0/4000?"] {
        let account = json!({"id": "1", "currency": "USD", "is_enabled_for_insights": true});
        double.fix(waba, 200, &account);
    }
    double.fix("template_analytics", 200, &json!({"data": []}));
    double.fix("fields=analytics", 200, &json!({"id": "1"}));
    double.fix("fields=pricing_analytics", 200, &json!({"id": "1"}));
    (Server::start_with(made).await, double)
}

/// A day of a template in Meta's words.
fn point(id: &str, start: i64, counts: [i64; 3], clicks: i64) -> Value {
    let [sent, delivered, read] = counts;
    let clicked = json!([
        {"type": "quick_reply_button", "button_content": "Yes", "count": clicks},
        {"type": "phone_number_button", "button_content": "Call", "count": 2},
    ]);
    json!({"template_id": id, "start": start, "end": start + DAY, "sent": sent,
        "delivered": delivered, "read": read, "clicked": clicked,
        "cost": [{"type": "amount_spent", "value": 0.07}]})
}

fn templates(points: &Value) -> Value {
    json!({"data": [{"granularity": "DAILY", "product_type": "cloud_api", "data_points": points}]})
}

fn request(sync: bool) -> Request {
    Request { channel: Some(channel_id(CHANNEL)), start: None, end: None, sync }
}

async fn compared(server: &Server, request: Request) -> Value {
    execute(&server.app, Command::Reconcile(request)).await.unwrap()
}

async fn refused(server: &Server, request: Request) -> String {
    execute(&server.app, Command::Reconcile(request)).await.unwrap_err().to_string()
}

/// Ours, Meta's and the reasons of the rows of a figure today, by what they are of.
fn found(answer: &Value, figure: &str) -> Vec<(String, Value, Value, Value)> {
    let rows = answer["rows"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["figure"] == figure && row["day"] == "2026-11-23");
    rows.map(|row| {
        let name = row["name"].as_str().unwrap().to_owned();
        (name, row["ours"].clone(), row["meta"].clone(), row["reasons"].clone())
    })
    .collect()
}

fn problems(server: &Server, channel: &str) -> Vec<Text> {
    let snapshot = server.app.directory.snapshot();
    let channel = snapshot.channel(&channel_id(channel)).unwrap();
    channel.connection.as_ref().unwrap().told.clone()
}

fn said(status: &str, message: &str, at: i64, template: Option<&str>) -> Fact {
    Fact::Status {
        status: status.to_owned(),
        message: message.to_owned(),
        at: at * 1_000,
        template: template.map(|code| (code.to_owned(), "en".to_owned())),
        number: None,
        channel: None,
    }
}

#[tokio::test]
async fn a_figure_that_is_set_back_to_zero_is_kept_and_ours_are_never_changed() {
    let (server, double) = start_connected(|_| ()).await;
    let facts = [
        Fact::OptIn { at: (TODAY - 9 * DAY) * 1_000, channel: None },
        said("read", "one", TODAY + 60, Some(TEMPLATE)),
        said("sent", "two", TODAY + 61, None),
    ];
    record(&server, &facts).await;
    let before = server.app.ledger.digest().await.unwrap();
    double.fix("template_analytics", 200, &templates(&json!([point("9001", TODAY, [3, 2, 2], 1)])));
    let first = compared(&server, request(true)).await;
    let name = "template_1100000000000001 · en".to_owned();
    let not_over = json!(["day_not_over"]);
    assert_eq!(
        found(&first, "read"),
        [(name.clone(), json!(1), json!(2), not_over.clone())],
        "{first}"
    );
    assert_eq!(found(&first, "cost_micros")[0].2, json!(70_000));
    // What only Meta sees is marked as such; a quick reply is not.
    let buttons = found(&first, "button_clicked");
    assert_eq!(buttons[0].3, json!(["only_meta"]), "{buttons:?}");
    assert_eq!((&buttons[1].2, &buttons[1].3), (&json!(1), &not_over), "{buttons:?}");
    // A second reading changes nothing, nor does one in which reads and clicks are gone.
    let again = compared(&server, request(true)).await;
    assert_eq!((&again["rows"], &again["sums"]), (&first["rows"], &first["sums"]));
    double.fix("template_analytics", 200, &templates(&json!([point("9001", TODAY, [3, 2, 0], 0)])));
    let reset = compared(&server, request(true)).await;
    assert_eq!((&reset["rows"], &reset["sums"]), (&first["rows"], &first["sums"]));
    assert_eq!(server.app.ledger.digest().await.unwrap(), before);
    assert_eq!(reset["meta_read"], json!(NOON.0));
    server.stop().await;
}

#[tokio::test]
async fn reasons_come_from_what_is_known() {
    let (server, double) = start_connected(|_| ()).await;
    let yesterday = TODAY - DAY;
    let facts = [
        Fact::OptIn { at: (yesterday - 2 * DAY) * 1_000, channel: None },
        // Before the opt-in; on another day than Meta; without a template; a late read.
        said("sent", "old", yesterday - 2 * DAY - 60, Some(TEMPLATE)),
        said("sent", "a", yesterday - 60, Some(TEMPLATE)),
        said("sent", "b", yesterday + 60, None),
        said("read", "c", yesterday - 60, Some(UTILITY)),
    ];
    record(&server, &facts).await;
    let mut utility = point("9003", yesterday - DAY, [1, 1, 0], 0);
    utility.as_object_mut().unwrap().remove("clicked");
    let mut other_day = point("9001", yesterday, [3, 0, 0], 0);
    other_day.as_object_mut().unwrap().remove("clicked");
    double.fix("template_analytics", 200, &templates(&json!([utility, other_day])));
    let half = |sent: i64| json!({"start": yesterday, "end": yesterday + 1_800, "sent": sent});
    double.fix("fields=analytics", 200, &json!({"analytics": {"data_points": [half(4)]}}));
    let answer = compared(&server, request(true)).await;
    let why = |day: &str, name: &str, figure: &str| {
        let rows = answer["rows"].as_array().unwrap().iter();
        let mut rows = rows.filter(|row| row["day"] == day && row["figure"] == figure);
        let row = rows.find(|row| row["name"].as_str().unwrap().starts_with(name));
        row.unwrap_or_else(|| panic!("{day} {name} {figure}: {answer}"))["reasons"].clone()
    };
    let template = "template_1100000000000001";
    assert_eq!(why("2026-11-19", template, "sent"), json!(["before_opt_in"]));
    // None of those of Meta's are known here, and one is that is of no template.
    assert_eq!(why("2026-11-22", template, "sent"), json!(["unattributed"]));
    assert_eq!(why("2026-11-21", template, "sent"), json!(["unknown"]));
    let utility = "template_1100000000000003";
    assert_eq!(why("2026-11-21", utility, "read"), json!(["later_than_seven_days"]));
    assert_eq!(why("2026-11-21", utility, "sent"), json!([]));
    let number = format!("+{NUMBER}");
    assert_eq!(why("2026-11-22", &number, "sent"), json!(["other_day"]));
    assert_eq!(why("2026-11-21", &number, "sent"), json!(["other_day"]));
    // A day later than it was asked for last, and one that was never asked for.
    let first = json!(["not_read"]);
    server.clock.set(NOON.plus(2 * DAY * 1_000));
    record(&server, &[said("sent", "d", TODAY + DAY + 60, Some(TEMPLATE))]).await;
    let answer = compared(&server, request(false)).await;
    let rows = answer["rows"].as_array().unwrap().iter();
    let unread = rows.filter(|row| row["day"] == "2026-11-24" && row["figure"] == "sent");
    let unread: Vec<_> = unread.map(|row| (&row["meta"], &row["reasons"])).collect();
    assert_eq!(unread, [(&Value::Null, &first); 2], "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn more_templates_than_a_request_takes_and_one_that_meta_does_not_know() {
    let (server, double) = start_connected(|_| ()).await;
    let record = with_meta_id({
        let snapshot = server.app.directory.snapshot();
        let (code, language) = (Text::new(TEMPLATE).unwrap(), Text::new("en").unwrap());
        TemplateRecord::clone(snapshot.template(&channel_id(CHANNEL), &code, &language).unwrap())
    });
    let more = (100..123).map(|number| {
        let text = |text: String| Text::new(&text).unwrap();
        Change::PutTemplate(TemplateRecord {
            code: text(format!("t{number}")),
            name: text(format!("t{number}")),
            meta_id: Some(text(format!("8{number}"))),
            ..record.clone()
        })
    });
    server.app.directory.change(more.collect()).await.unwrap();
    // 8111 spoils every answer that asks for it.
    let wrong = serde_json::from_str(&error(100, "no such template")).unwrap();
    double.fix("template_ids=%5B8111%5D", 400, &wrong);
    double.fix("8111", 400, &wrong);
    compared(&server, request(true)).await;
    let lines: Vec<String> = double.got().into_iter().map(|got| got.line).collect();
    let asked: Vec<&String> = lines.iter().filter(|it| it.contains("template_analytics")).collect();
    let ids = |line: &String| {
        let ids = line.split("template_ids=%5B").nth(1).unwrap().split("%5D").next().unwrap();
        ids.split("%2C").map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert!(asked.iter().all(|line| ids(line).len() <= 10), "{asked:?}");
    // Every template was in an answer that did not fail, but for the one.
    let good: std::collections::BTreeSet<String> = asked
        .iter()
        .map(|line| ids(line))
        .filter(|ids| !ids.contains(&"8111".to_owned()))
        .flatten()
        .collect();
    assert_eq!(good.len(), 22 + 3, "{good:?}");
    // Ten, ten, six; and halves of the ten that fail: 5 5, 2 3 (of the five), 1 2 or 1 1.
    assert!((3..=11).contains(&asked.len()), "{}", asked.len());
    assert_eq!(problems(&server, CHANNEL), []);
    let of_unknown = Fact::Status {
        status: "sent".to_owned(),
        message: "x".to_owned(),
        at: NOON.0,
        template: Some(("t111".to_owned(), "en".to_owned())),
        number: None,
        channel: None,
    };
    crate::facts::record(&server, &[of_unknown]).await;
    let answer = compared(&server, request(false)).await;
    let sent = found(&answer, "sent");
    // It was asked for with the others; nothing was told of it.
    assert!(
        sent.iter().any(|(name, ours, ..)| name == "t111 · en" && *ours == json!(1)),
        "{sent:?}"
    );
    let template =
        Template { code: Text::new("t111").unwrap(), language: Text::new("en").unwrap() };
    let row = sent.iter().find(|(name, ..)| name.starts_with(template.code.as_str())).unwrap();
    assert_eq!((&row.2, &row.3), (&Value::Null, &json!(["unknown_to_meta"])), "{row:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_meta_does_not_answer_is_a_problem_of_the_channel_and_the_rest_is_kept() {
    let (server, double) = start_connected(|_| ()).await;
    let points = templates(&json!([point("9001", TODAY, [3, 2, 1], 1)]));
    double.fix("template_analytics", 200, &points);
    let good = compared(&server, request(true)).await;
    let envelope = |code: i64| serde_json::from_str::<Value>(&error(code, "EAAB no")).unwrap();
    for (path, status, answer, part, runs_on) in [
        // An envelope under a 200, one number alone, and what ends the run.
        ("fields=analytics", 200, envelope(100), "of the number", true),
        ("fields=analytics", 200, json!([{"data_points": 7}]), "could not be read", true),
        ("fields=analytics", 400, envelope(190), "Meta 190", false),
        ("/v24.0/3000?", 400, envelope(80_007), "Meta 80007", false),
        ("/v24.0/3000?", 500, json!("<html>"), "did not answer", false),
        ("fields=pricing_analytics", 200, json!("no"), "neither", true),
        ("template_analytics", 500, envelope(2), "Meta 2", true),
    ] {
        let before = double.got().len();
        double.fix(path, status, &answer);
        let said = refused(&server, request(true)).await;
        assert!(said.contains(part) && said.contains("Meta's figures"), "{path}: {said}");
        let problems = problems(&server, CHANNEL);
        assert!(problems.len() == 1 && problems[0].as_str().contains(part), "{problems:?}");
        // A token may be in what Meta says of the connection.
        assert!(runs_on || !problems[0].as_str().contains("EAAB"), "{problems:?}");
        let asked: Vec<Got> = double.got().split_off(before);
        let is_last = asked.iter().any(|got| got.line.contains("template_analytics"));
        assert_eq!(is_last, runs_on, "{path} {status}");
        double.script.lock().unwrap().fixed.remove(0);
    }
    // Nothing that was known is forgotten, and what works again says so.
    assert_eq!(compared(&server, request(false)).await["rows"], good["rows"]);
    compared(&server, request(true)).await;
    assert_eq!(problems(&server, CHANNEL), []);
    assert!(!server.log.all().contains(TOKEN) && !server.log.all().contains("http://"));
    for (start, part) in [("2026-08-25", "is too long ago"), ("2026-08-20", "1 to 92 days")] {
        let wanted = Request { start: Some(start.to_owned()), ..request(true) };
        let said = refused(&server, wanted).await;
        assert!(said.contains(part), "{said}");
    }
    let oldest = Request { start: Some("2026-08-26".to_owned()), ..request(true) };
    compared(&server, oldest).await;
    let asked = double.got().into_iter().rev().find(|got| got.line.contains("template_analytics"));
    let start = format!("start={}", TODAY - 89 * DAY);
    assert!(asked.unwrap().line.contains(&start));
    server.stop().await;
}

#[tokio::test]
async fn an_account_without_insights_is_no_failure_and_says_why_nothing_is_told() {
    let (server, double) = start_connected(|_| ()).await;
    record(&server, &[said("sent", "a", TODAY + 60, Some(TEMPLATE))]).await;
    for (code, reason) in [(200_007, "insights_off"), (200_005, "unsupported")] {
        let answer = serde_json::from_str(&error(code, "no")).unwrap();
        double.fix("template_analytics", 400, &answer);
        let answer = compared(&server, request(true)).await;
        let sent = found(&answer, "sent");
        let of_template = sent.iter().find(|(name, ..)| name.starts_with("template")).unwrap();
        assert_eq!(of_template.3, json!([reason]), "{answer}");
        assert_eq!(problems(&server, CHANNEL), []);
    }
    server.stop().await;
}

#[tokio::test]
async fn answers_of_several_pages_are_read_to_the_end_and_at_our_own_address() {
    let (server, double) = start_connected(|_| ()).await;
    let next = |after: &str| {
        format!(
            "https://graph.facebook.com/v24.0/3000/template_analytics?access_token=EAAB-theirs&\
             after={after}&template_ids=%5B9001%5D"
        )
    };
    let page = |id: &str, paging: Value| {
        let mut page = templates(&json!([point(id, TODAY, [1, 1, 1], 1)]));
        page["paging"] = paging;
        page
    };
    double.fix("template_analytics", 200, &page("9001", json!({"next": next("two")})));
    double.fix("after=two", 200, &page("9002", json!({"next": next("three")})));
    double.fix("after=three", 200, &page("9003", json!({"cursors": {"after": "x"}})));
    let answer = compared(&server, request(true)).await;
    let sent: Vec<_> =
        found(&answer, "sent").into_iter().map(|(name, _, meta, _)| (name, meta)).collect();
    assert_eq!(sent.len(), 3, "{sent:?}");
    let told = double.got().iter().any(|got| got.line.contains("EAAB"));
    assert!(!told, "a token in an address");
    // One that leads back is no list without an end.
    double.fix("after=three", 200, &page("9003", json!({"next": next("three")})));
    let said = refused(&server, request(true)).await;
    assert!(said.contains("goes on where it cannot"), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn every_channel_is_read_by_itself_when_it_is_due_whatever_becomes_of_another() {
    let (server, double) = start_connected(|settings| settings.graph.figures_hours = 1).await;
    let revoked = serde_json::from_str(&error(190, "revoked")).unwrap();
    // The first look is at the start; the fixed answers of both are there by then.
    double.fix("/v24.0/3000?fields=id", 400, &revoked);
    let standing = |channel: &'static str, waba: &'static str| {
        let account = twoticks_store::figures::Account {
            channel: channel_id(channel),
            waba_id: Text::new(waba).unwrap(),
        };
        let app = Arc::clone(&server.app);
        async move { app.figures.kept().standing(&account).await.unwrap() }
    };
    let other = loop {
        match standing(OTHER_CHANNEL, OTHER_WABA).await {
            Some(standing) => break standing,
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(other.read, Some(NOON));
    assert_eq!(problems(&server, OTHER_CHANNEL), []);
    // Each with its own token, and nothing of the other's.
    for got in double.got() {
        let is_first = got.line.contains("/3000");
        let token = if is_first { TOKEN } else { "the-others-token" };
        assert_eq!(got.authorization, format!("Bearer {token}"));
        assert!(!is_first || !got.line.contains(OTHER_NUMBER), "{}", got.line);
    }
    server.stop().await;
}

async fn door(server: &Server, who: Who, query: &str) -> Reply {
    let known = who.credentials();
    let basic = STANDARD.encode(format!("{}:{}", known.id, known.secret));
    let authorization = format!("Basic {basic}");
    let target = format!("/api/v1/reconciliation{query}");
    server.get(&target, &[("authorization", authorization.as_str())]).await
}

#[tokio::test]
async fn the_door_answers_whoever_may_read_for_the_channels_of_their_account() {
    let (server, double) = start_connected(|_| ()).await;
    record(&server, &[said("read", "one", TODAY + 60, Some(TEMPLATE))]).await;
    double.fix("template_analytics", 200, &templates(&json!([point("9001", TODAY, [1, 1, 1], 0)])));
    let compared = compared(&server, request(true)).await;
    let answer = door(&server, Who::Root, "").await;
    assert_eq!((answer.status, &answer.json()), (200, &compared));
    assert_eq!(door(&server, Who::Reader, "?channel=cams-one").await.json(), compared);
    // Two tenants see nothing of each other.
    let theirs = door(&server, Who::Other, "").await;
    assert_eq!((theirs.status, &theirs.json()["rows"]), (200, &json!([])), "{}", theirs.text());
    let code = format!("?channel=cams-one&isv_code={ISV_CODE}");
    for (who, query, status) in [
        (Who::Other, "?channel=cams-one", 404),
        (Who::Other, "?channel=nobodys", 404),
        (Who::Several, "", 400),
        (Who::Several, "?channel=cams-several-1", 200),
        (Who::Scoped, "", 403),
        (Who::Scoped, "?isv_code=wrong", 403),
        (Who::Scoped, &code, 200),
        (Who::Denied, "", 403),
        (Who::Forger, "", 401),
        (Who::Inactive, "", 401),
        (Who::Unsubscribed, "", 403),
        (Who::Root, "?start=2026-11-23&end=2026-11-23", 200),
        (Who::Root, "?start=2026-11-24", 400),
        (Who::Root, "?start=yesterday", 400),
        (Who::Root, "?sync=true", 400),
        (Who::Root, "?start=2026-11-23&start=2026-11-22", 400),
    ] {
        let reply = door(&server, who, query).await;
        assert_eq!(reply.status, status, "{who:?} {query}: {}", reply.text());
        assert!(status == 200 || reply.json()["error"].is_string());
    }
    assert_eq!(server.get("/api/v1/reconciliation", &[]).await.status, 401);
    server.stop().await;
}

#[tokio::test]
async fn the_page_shows_both_sides_of_ones_own_channels() {
    let (server, double) = start_connected(|_| ()).await;
    record(&server, &[said("read", "one", TODAY + 60, Some(TEMPLATE))]).await;
    let page = |account: &str, more: &str| {
        let uid = twoticks_store::directory::names::Uid::new(account).unwrap();
        let link = twoticks_server::ui::link(&server.app.keys, NOON, &uid);
        let target = format!("/ui/reconcile?{link}{more}");
        let server = &server;
        async move { server.get(&target, &[]).await }
    };
    let (one, other) = (crate::tenants::ONE, crate::tenants::OTHER);
    let empty = page(one, "").await.text();
    assert!(empty.contains("Meta has not been asked yet"), "{empty}");
    double.fix("template_analytics", 200, &templates(&json!([point("9001", TODAY, [3, 1, 1], 0)])));
    compared(&server, request(true)).await;
    let shown = page(one, "&of=template+1100000000000001+en").await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    let shown = shown.text();
    for part in [
        "<h2>By day: template_1100000000000001 · en</h2>",
        "<td>1</td><td>3</td><td class=\"differs\">\u{2212}2</td>",
        "the day is not over",
        "only Meta sees these taps: no webhook tells them",
        "0.07\u{a0}USD",
        "Meta&#39;s figures were read to the end 23 Nov 2026 12:00 UTC.",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let theirs = page(other, "").await.text();
    assert!(theirs.contains("Neither side counted anything"), "{theirs}");
    assert!(!theirs.contains("1100000000000001"));
    for (more, part) in [
        ("&channel=cams-one", "There is no channel"),
        ("&from=2026-11-30&to=2026-11-30", "is to come"),
        ("&from=x", "is no day"),
        ("&from=x&from=y", "can be given once"),
    ] {
        let refused = page(other, more).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains(part), "{more}: {}", refused.text());
    }
    assert_eq!(server.get("/ui/reconcile", &[]).await.status, 403);
    let alone = page(crate::tenants::SEVERAL, "").await.text();
    assert!(alone.contains("is not connected with WhatsApp"), "{alone}");
    server.stop().await;
}

#[tokio::test]
async fn a_channel_that_is_taken_away_leaves_nothing_for_the_next_of_its_name() {
    let (server, double) = start_connected(|_| ()).await;
    double.fix("template_analytics", 200, &templates(&json!([point("9001", TODAY, [3, 1, 1], 0)])));
    compared(&server, request(true)).await;
    let kept = |app: Arc<twoticks_server::app::App>| async move {
        let account = twoticks_store::figures::Account {
            channel: channel_id(CHANNEL),
            waba_id: Text::new(WABA).unwrap(),
        };
        app.figures.kept().standing(&account).await.unwrap().is_some()
    };
    assert!(kept(Arc::clone(&server.app)).await);
    take_away(&server).await;
    assert!(!kept(Arc::clone(&server.app)).await);
    server.stop().await;
}

/// Takes the channel away, with its numbers and its templates.
async fn take_away(server: &Server) {
    for command in [
        Channels::RemoveNumber { phone_number: crate::tenants::number(NUMBER) },
        Channels::RemoveNumber { phone_number: crate::tenants::number(SECOND_NUMBER) },
    ] {
        execute(&server.app, Command::Channels(command)).await.unwrap();
    }
    let templates: Vec<_> = {
        let snapshot = server.app.directory.snapshot();
        snapshot.templates_of(&channel_id(CHANNEL)).cloned().collect()
    };
    for template in templates {
        let (code, language) = (template.code.clone(), template.language.clone());
        let channel = channel_id(CHANNEL);
        let remove = Channels::RemoveTemplate { channel, code, language };
        execute(&server.app, Command::Channels(remove)).await.unwrap();
    }
    let remove = Channels::Remove { channel: channel_id(CHANNEL) };
    execute(&server.app, Command::Channels(remove)).await.unwrap();
}
