//! Links of templates that lead over us: wrapped, sent, opened, counted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use twoticks_core::event::{ButtonKind, TapEvent};
use twoticks_core::query::{Query, Select};
use twoticks_core::totals::{Atom, Clicks, Totals};
use twoticks_core::window::Window;
use twoticks_server::links::wrap::Wrap;
use twoticks_store::error::Error;
use twoticks_store::ledger::Ledger;

use super::*;
use crate::moody::Moody;

const BROWSER: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/130.0 Mobile";
const PREFIX: &str = "https://l.example.com/r/";

fn full() -> Error {
    Error::Full { source: std::io::ErrorKind::StorageFull.into() }
}

/// A server whose template has two links, both of which lead over it, on `ledger`.
async fn wrapped_on(ledger: Arc<dyn Ledger>) -> (Server, Double) {
    let double = Double::start().await;
    answer_connect(&double);
    let buttons = json!([
        {"type": "URL", "text": "Shop", "url": "https://shop.example/spring"},
        {"type": "URL", "text": "Yours", "url": "https://shop.example/of/{{1}}", "example": ["ada"]},
    ]);
    let components = json!([
        {"type": "BODY", "text": "Hello"}, {"type": "BUTTONS", "buttons": buttons},
    ]);
    let template = json!({"id": "9001", "name": format!("template_{TEMPLATE}"), "language": "en",
        "status": "APPROVED", "category": "MARKETING", "components": components});
    double.fix("/message_templates", 200, &json!({"data": [template]}));
    double.fix("/v24.0/9001 ", 200, &json!({"success": true}));
    let mut settings = settings(&double);
    settings.links.url = "https://l.example.com/".to_owned().try_into().unwrap();
    let made = Made { settings, ledger, changes: vec![connected()], ..Made::default() };
    let server = Server::start_with(made).await;
    let told = execute(&server.app, connect(TOKEN)).await.unwrap();
    assert_eq!(told["links_to_wrap"], 1, "{told}");
    let opt_in = Event::OptIn { channel: channel_id(CHANNEL), time: NOON };
    server.app.ledger.record(entry(Kind::OptIn, vec![opt_in], &Value::Null)).await.unwrap();
    let told = execute(&server.app, wrap(None, None)).await.unwrap();
    assert_eq!(told["reviewed_again"], true, "{told}");
    (server, double)
}

async fn wrapped() -> (Server, Double) {
    wrapped_on(Arc::new(MemoryLedger::new())).await
}

fn wrap(button: Option<u8>, target: Option<&str>) -> Command {
    Command::Channels(Channels::WrapTemplate(Wrap {
        channel: Some(channel_id(CHANNEL)),
        code: Text::new(TEMPLATE).unwrap(),
        language: Text::new("en").unwrap(),
        button,
        target: target.map(str::to_owned),
    }))
}

/// Sends the template; what its links take, and the message's wamid.
async fn send(server: &Server, double: &Double) -> ([String; 2], String) {
    let params = [
        ("ChannelType", "whatsapp"),
        ("Type", "template"),
        ("From", NUMBER),
        ("To", "8613900000001"),
        ("TemplateCode", TEMPLATE),
        ("TemplateParams", r#"{"button_1":"ada?a=b&c#d"}"#),
    ];
    let reply = server.call(Who::Root, "SendChatappMessage", &params).await;
    let wamid = reply.json()["MessageId"].as_str().unwrap().to_owned();
    settled(server).await;
    let body = double.got().pop().unwrap().body;
    let components = body["template"]["components"].as_array().unwrap().clone();
    let of = |index: &str| {
        let is_its = |it: &&Value| it["sub_type"] == "url" && it["index"] == index;
        let component = components.iter().find(is_its).unwrap_or_else(|| panic!("{body}"));
        component["parameters"][0]["text"].as_str().unwrap().to_owned()
    };
    ([of("0"), of("1")], wamid)
}

async fn open(server: &Server, token: &str) -> Reply {
    server.get(&format!("/r/{token}"), &[("user-agent", BROWSER)]).await
}

/// Waits until everything that was opened is counted.
async fn counted(server: &Server) {
    while server.app.clicks.waiting() > 0 {
        tokio::task::yield_now().await;
    }
}

async fn totals(ledger: &dyn Ledger) -> Totals {
    let query = Query {
        channel: channel_id(CHANNEL),
        select: Select::Templates { code: None, language: None, category: None },
        side: None,
        windows: vec![Window { from: Atom(0), to: Atom(i32::MAX) }],
    };
    let mut points = ledger.series(query).await.unwrap();
    assert!(points.len() < 2);
    points.pop().map(|point| point.totals).unwrap_or_default()
}

/// The clicks on a button: all, and those that were the first of their message.
fn clicks(totals: &Totals, kind: ButtonKind, text: &str) -> (i64, i64) {
    let its = totals.clicks.iter().find(|(it, _)| it.kind == kind && it.text.as_str() == text);
    its.map_or((0, 0), |(_, Clicks { all, unique })| (*all, *unique))
}

async fn taps(server: &Server) -> Vec<TapEvent> {
    let entries = server.app.ledger.entries(1, 1_000).await.unwrap();
    let events = entries.into_iter().flat_map(|entry| entry.batch.events);
    events
        .filter_map(|event| match event {
            Event::Tap(tap) => Some(tap),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn who_opens_a_link_is_led_on_and_counted_for_the_message() {
    let (server, double) = wrapped().await;
    let edit = double.got().into_iter().find(|got| got.line.starts_with("POST /v24.0/9001 "));
    let told = edit.unwrap().body;
    for button in told["components"][1]["buttons"].as_array().unwrap() {
        assert_eq!(button["url"], format!("{PREFIX}{{{{1}}}}"), "{told}");
        assert_eq!(button["example"], json!([format!("{PREFIX}example")]));
    }
    let (tokens, wamid) = send(&server, &double).await;
    assert_eq!(tokens[0].len(), 48, "{tokens:?}");
    let seconds = (NOON.0 / 1_000).to_string();
    let status = json!({"messaging_product": "whatsapp",
        "metadata": {"display_phone_number": NUMBER, "phone_number_id": format!("id{NUMBER}")},
        "statuses": [{"id": wamid, "status": "read", "timestamp": seconds}]});
    tell(&server, "messages", &status).await;
    for (token, to) in [
        (&tokens[0], "https://shop.example/spring"),
        (&tokens[0], "https://shop.example/spring"),
        (&tokens[1], "https://shop.example/of/ada?a=b&c#d"),
    ] {
        let reply = open(&server, token).await;
        assert_eq!((reply.status, reply.header("location")), (302, Some(to)), "{token}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("x-robots-tag", "noindex, nofollow"),
        ] {
            assert_eq!(reply.header(name), Some(value));
        }
    }
    counted(&server).await;
    let whole = totals(&*server.app.ledger).await;
    assert_eq!(clicks(&whole, ButtonKind::Url, "Shop"), (2, 1));
    assert_eq!(clicks(&whole, ButtonKind::Url, "Yours"), (1, 1));
    let day = 86_400_000;
    let (start, end) = ((NOON.0 - day).to_string(), (NOON.0 + day).to_string());
    let asked = [("TemplateCode", TEMPLATE), ("Start", &start), ("End", &end)];
    let metric = server.call(Who::Root, "GetChatappTemplateMetric", &asked).await.json();
    let clicked = json!([
        {"Type": "url_button", "ButtonContent": "Shop", "Count": 2},
        {"Type": "url_button", "ButtonContent": "Yours", "Count": 1},
    ]);
    assert_eq!(metric["Data"][0]["Cliented"], clicked, "{metric}");
    // No log knows a token or where it leads.
    let log = server.log.all();
    assert!(!log.contains(&tokens[0]) && !log.contains("shop.example"), "{log}");
    server.stop().await;
}

#[tokio::test]
async fn callers_go_on_seeing_where_the_links_lead_and_nothing_is_wrapped_twice() {
    let (server, double) = wrapped().await;
    let detail = [("TemplateCode", TEMPLATE), ("Language", "en")];
    let seen = server.call(Who::Root, "GetChatappTemplateDetail", &detail).await.text();
    assert!(seen.contains("https://shop.example/spring") && !seen.contains(PREFIX), "{seen}");
    let (tokens, _) = send(&server, &double).await;
    // Again, and after a reading that shows our address.
    let again = execute(&server.app, wrap(None, None)).await.unwrap();
    assert_eq!(again["reviewed_again"], false, "{again}");
    let mut edits =
        double.got().into_iter().filter(|got| got.line.starts_with("POST /v24.0/9001 "));
    let told = edits.next_back().unwrap().body["components"].clone();
    let template = json!({"id": "9001", "name": format!("template_{TEMPLATE}"), "language": "en",
        "status": "APPROVED", "category": "MARKETING", "components": told});
    double.fix("/message_templates", 200, &json!({"data": [template]}));
    let read = execute(&server.app, connect(TOKEN)).await.unwrap();
    assert_eq!(read["links_to_wrap"], 0, "{read}");
    let components = r#"[{"Type":"BODY","Text":"Hi"},{"Type":"BUTTONS","Buttons":[
        {"Type":"URL","Text":"Shop","Url":"https://shop.example/spring"}]}]"#;
    let modify = [("TemplateCode", TEMPLATE), ("Language", "en"), ("Components", components)];
    let reply = server.call(Who::Root, "ModifyChatappTemplate", &modify).await;
    assert_eq!(reply.json()["Code"], "OK", "{}", reply.text());
    let edit = double.got().pop().unwrap().body;
    assert_eq!(edit["components"][1]["buttons"][0]["url"], format!("{PREFIX}{{{{1}}}}"), "{edit}");
    // What was sent leads where it led, also by the button that is gone.
    for (token, to) in [(&tokens[0], "/spring"), (&tokens[1], "/of/ada?a=b&c#d")] {
        let reply = open(&server, token).await;
        assert_eq!(reply.header("location"), Some(format!("https://shop.example{to}").as_str()));
    }
    // Another target holds for what was sent as well.
    let target = "https://shop.example/summer";
    let told = execute(&server.app, wrap(Some(0), Some(target))).await.unwrap();
    assert_eq!(
        (&told["reviewed_again"], &told["links"][0]["target"]),
        (&json!(false), &json!(target))
    );
    assert_eq!(open(&server, &tokens[0]).await.header("location"), Some(target));
    for target in ["javascript:alert(1)", "https://l.example.com/r/x", "https://x.example{{1}}"] {
        let refused = execute(&server.app, wrap(Some(0), Some(target))).await.unwrap_err();
        assert!(refused.to_string().contains(target), "{refused}");
    }
    counted(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn what_we_did_not_send_leads_nowhere() {
    let (server, double) = wrapped().await;
    let (tokens, _) = send(&server, &double).await;
    let (others, _) = send(&server, &double).await;
    let mut forged = Vec::new();
    for token in &tokens {
        for (at, byte) in token.bytes().enumerate() {
            let other = if byte == b'A' { "B" } else { "A" };
            let (before, behind) = token.split_at(at);
            forged.push(format!("{before}{other}{}", behind.split_at(1).1));
            forged.push(before.to_owned());
        }
    }
    // The link of one with the message of another, and what another has behind it.
    let bytes = |token: &str| URL_SAFE_NO_PAD.decode(token.split_at(48).0).unwrap();
    let (mut first, second) = (bytes(&tokens[0]), bytes(&tokens[1]));
    first[1..7].copy_from_slice(&second[1..7]);
    forged.push(URL_SAFE_NO_PAD.encode(first));
    let suffix = tokens[1].split_once('.').unwrap().1;
    forged.push(format!("{}.{suffix}", tokens[0]));
    forged.push(format!("{}.{}", tokens[1].split_at(48).0, URL_SAFE_NO_PAD.encode("evil")));
    forged.push(format!("{}.", tokens[0]));
    forged.push(format!("{}A", tokens[0]));
    forged.push("%ff".to_owned());
    forged.push("a".repeat(4_000));
    for token in &forged {
        let reply = open(&server, token).await;
        assert_eq!((reply.status, reply.header("location")), (404, None), "{token}");
        assert_eq!(reply.header("cache-control").is_some(), !token.is_empty());
    }
    // One that another server made for a link of its own, under the same key file.
    let (elsewhere, its_double) = wrapped().await;
    let (foreign, _) = send(&elsewhere, &its_double).await;
    assert_eq!(open(&server, &foreign[0]).await.status, 404);
    counted(&elsewhere).await;
    elsewhere.stop().await;
    assert_eq!(taps(&server).await, []);
    assert_ne!(tokens, others, "each message has its own");
    let post = format!("POST /r/{} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", tokens[0]);
    assert_eq!(server.raw(post.as_bytes()).await.remove(0).status, 405);
    server.stop().await;
}

#[tokio::test]
async fn machines_are_led_on_and_kept_apart() {
    let (server, double) = wrapped().await;
    let (tokens, _) = send(&server, &double).await;
    let target = format!("/r/{}", tokens[0]);
    for headers in [
        [("user-agent", "WhatsApp/2.24.20.89 A"), ("accept", "*/*")],
        [("user-agent", BROWSER), ("sec-purpose", "prefetch;prerender")],
    ] {
        assert_eq!(server.get(&target, &headers).await.status, 302);
    }
    let head = format!("HEAD {target} HTTP/1.1\r\nhost: x\r\nuser-agent: {BROWSER}\r\n\r\n");
    let reply = server.raw(head.as_bytes()).await.remove(0);
    assert_eq!((reply.status, reply.header("location").is_some()), (302, true));
    open(&server, &tokens[0]).await;
    counted(&server).await;
    let whole = totals(&*server.app.ledger).await;
    assert_eq!(clicks(&whole, ButtonKind::Url, "Shop"), (1, 1));
    assert_eq!(clicks(&whole, ButtonKind::UrlMachine, "Shop"), (3, 1));
    assert_eq!((whole.all_clicks(), whole.unique_clicks(), whole.machine_clicks()), (1, 1, 3));
    let metrics = server.get("/metrics", &[]).await.text();
    assert!(metrics.contains(r#"twoticks_links_total{outcome="machine"} 3"#), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn a_full_disk_holds_up_nobody_and_the_clicks_are_counted_later() {
    let ledger = Arc::new(Moody::default());
    let (server, double) = wrapped_on(Arc::clone(&ledger) as Arc<dyn Ledger>).await;
    let (tokens, _) = send(&server, &double).await;
    ledger.refuse(Some(full));
    for _ in 0..3 {
        assert_eq!(open(&server, &tokens[0]).await.status, 302);
    }
    while server.log.of(Level::WARN).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.app.clicks.waiting(), 3);
    assert_eq!(clicks(&totals(&*ledger).await, ButtonKind::Url, "Shop"), (0, 0));
    ledger.refuse(None);
    // What waits at the stop is counted as well.
    server.stop().await;
    assert_eq!(clicks(&totals(&*ledger).await, ButtonKind::Url, "Shop"), (3, 1));
}

#[tokio::test]
async fn what_the_ledger_does_not_take_before_the_stop_is_lost_and_said() {
    let ledger = Arc::new(Moody::default());
    let (mut server, double) = wrapped_on(Arc::clone(&ledger) as Arc<dyn Ledger>).await;
    let (tokens, _) = send(&server, &double).await;
    ledger.refuse(Some(full));
    for _ in 0..3 {
        assert_eq!(open(&server, &tokens[0]).await.status, 302);
    }
    server.expect_errors();
    let (app, log) = (Arc::clone(&server.app), server.log.clone());
    server.stop().await;
    assert_eq!(app.telemetry.links_with("lost"), 3);
    assert_eq!(log.of(Level::ERROR).len(), 1, "{:?}", log.of(Level::ERROR));
}

#[tokio::test]
async fn a_click_that_meta_tells_of_as_well_is_one_whoever_says_it_first() {
    let seconds = (NOON.0 / 1_000 - 1).to_string();
    let told = json!({"messaging_product": "whatsapp",
        "metadata": {"display_phone_number": NUMBER, "phone_number_id": format!("id{NUMBER}")},
        "user_actions": [{"action_type": "marketing_messages_link_click", "timestamp": seconds,
            "marketing_messages_link_click_data": {"click_component": "cta", "click_id": "IwAR1"}}]});
    let mut seen = Vec::new();
    for is_told_first in [true, false] {
        let (server, double) = wrapped().await;
        let (tokens, _) = send(&server, &double).await;
        if is_told_first {
            tell(&server, "messages", &told).await;
        }
        let reply = open(&server, &format!("{}?fbclid=IwAR1", tokens[0])).await;
        assert_eq!(reply.header("location"), Some("https://shop.example/spring?fbclid=IwAR1"));
        counted(&server).await;
        if !is_told_first {
            tell(&server, "messages", &told).await;
        }
        let whole = totals(&*server.app.ledger).await;
        assert_eq!(clicks(&whole, ButtonKind::Url, "Shop"), (1, 1), "{whole:?}");
        assert_eq!(whole.all_clicks(), 1);
        let taps = taps(&server).await;
        assert!(taps.len() == 2 && taps[0].id == taps[1].id, "{taps:?}");
        seen.push(whole);
        server.stop().await;
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_link_of_the_template_as_a_whole_counts_for_the_template() {
    let (server, _double) = wrapped().await;
    let told = execute(&server.app, wrap(None, None)).await.unwrap();
    let tokens = told["links"][0]["template_tokens"].as_array().unwrap();
    let of = tokens.iter().find(|it| it["phone_number"] == NUMBER).unwrap();
    // What follows the target is each message's own: there is no such link for all of them.
    assert_eq!(told["links"][1]["template_tokens"], json!([]));
    open(&server, of["token"].as_str().unwrap()).await;
    counted(&server).await;
    let taps = taps(&server).await;
    assert_eq!((taps[0].message, taps[0].number.as_str()), (None, NUMBER));
    assert_eq!(clicks(&totals(&*server.app.ledger).await, ButtonKind::Url, "Shop"), (1, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_link_of_a_message_is_counted_so_often_in_a_minute_and_leads_on_all_the_same() {
    const MOST: i64 = 30;
    let (server, double) = wrapped().await;
    let (tokens, _) = send(&server, &double).await;
    for minute in 1..=2 {
        for _ in 0..MOST + 5 {
            assert_eq!(open(&server, &tokens[0]).await.status, 302);
        }
        assert_eq!(open(&server, &tokens[1]).await.status, 302);
        counted(&server).await;
        let whole = totals(&*server.app.ledger).await;
        assert_eq!(clicks(&whole, ButtonKind::Url, "Shop").0, MOST * minute);
        assert_eq!(clicks(&whole, ButtonKind::Url, "Yours").0, minute);
        assert_eq!(server.app.telemetry.links_with("repeated"), 5 * minute.cast_unsigned());
        server.clock.set(NOON.plus(60_000));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_send_that_cannot_be_read_leaves_its_click_to_the_template_and_holds_up_no_other() {
    let ledger = Arc::new(Moody::default());
    let (server, double) = wrapped_on(Arc::clone(&ledger) as Arc<dyn Ledger>).await;
    let (damaged, _) = send(&server, &double).await;
    ledger.damage(1..=ledger.newest());
    let (tokens, _) = send(&server, &double).await;
    open(&server, &damaged[0]).await;
    open(&server, &tokens[0]).await;
    counted(&server).await;
    let whole = totals(&*ledger).await;
    assert_eq!(clicks(&whole, ButtonKind::Url, "Shop"), (2, 1));
    server.stop().await;
}
