//! The overview page as a browser sees it: who may look, what it shows, and that every figure is
//! the ledger's. A page is read by its tables ([`Page::table`]) and cards ([`Page::card`]).

use twoticks_core::clock::{DAY, SECOND, Time};
use twoticks_core::event::Category;
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory::Change;
use twoticks_store::directory::model::{Account, TemplateRecord};
use twoticks_store::directory::names::Uid;

use crate::facts::{Fact, record};
use crate::harness::{Made, NOON, Reply, Server};
use crate::tenants::{
    CHANNEL, NUMBER, ONE, OTHER, OTHER_CHANNEL, OTHER_NUMBER, SECOND_NUMBER, SEVERAL, TEMPLATE,
    UTILITY,
};

/// A link is good for so long.
const LINK_KEPT: i64 = 15 * 60 * SECOND;
/// A cookie is good for so long.
const COOKIE_KEPT: i64 = 7 * DAY;

struct Page(String);

impl Page {
    fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        // Thin and hard spaces are how it looks, not what it says.
        Self(reply.text().replace(['\u{202f}', '\u{a0}'], " "))
    }

    fn between<'a>(&'a self, from: &str, to: &str) -> &'a str {
        let (_, rest) =
            self.0.split_once(from).unwrap_or_else(|| panic!("no `{from}`: {}", self.0));
        rest.split_once(to).unwrap().0
    }

    /// The count and the note of a card.
    fn card(&self, name: &str) -> (String, String) {
        let card = self.between(&format!("<div class=\"card\"><h2>{name}</h2>"), "</div>");
        let mut texts = card.split("</p>").map(without_tags);
        (texts.next().unwrap(), texts.next().unwrap())
    }

    /// The rows of a table: `name | sent | delivered | read | clicked | failed`.
    fn table(&self, title: &str) -> Vec<String> {
        let table = self.between(&format!("<h2>{title}</h2>"), "</table>");
        let (_, body) = table.split_once("<tbody>").unwrap();
        let rows = body.replace("</th><td>", " | ").replace("</td><td>", " | ");
        rows.split("<tr").skip(1).map(|row| without_tags(&format!("<tr{row}"))).collect()
    }
}

fn without_tags(html: &str) -> String {
    let text: String =
        html.split('<').map(|piece| piece.split_once('>').map_or("", |(_, text)| text)).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn status(status: &str, message: &str, at: i64, code: Option<&str>) -> Fact {
    Fact::Status {
        status: status.to_owned(),
        message: message.to_owned(),
        at,
        template: code.map(|code| (code.to_owned(), "en".to_owned())),
        number: None,
        channel: None,
    }
}

fn tap(kind: &str, id: &str, message: Option<&str>, at: i64) -> Fact {
    Fact::Tap {
        kind: kind.to_owned(),
        text: "Yes".to_owned(),
        id: id.to_owned(),
        message: message.map(ToOwned::to_owned),
        at,
    }
}

fn link(server: &Server, account: &str) -> String {
    let uid = Uid::new(account).unwrap();
    format!("/ui/?{}", twoticks_server::ui::link(&server.app.keys, server.app.clock.now(), &uid))
}

/// The page of the tenant of [`CHANNEL`], with more in its address.
async fn ask(server: &Server, more: &str) -> Reply {
    server.get(&format!("{}&{more}", link(server, ONE)), &[]).await
}

/// What a browser sends back.
fn cookie(reply: &Reply) -> String {
    let set = reply.header("set-cookie").unwrap();
    for attribute in ["Path=/ui/", "Max-Age=604800", "HttpOnly", "SameSite=Lax"] {
        assert!(set.contains(&format!("; {attribute}")), "{set}");
    }
    set.split(';').next().unwrap().to_owned()
}

/// 21 to 24 November, with the opt-in on the 22nd.
fn two_tenants_over_four_days() -> Vec<Fact> {
    let day = |day: u32, time: &str| at(&format!("2026-11-{day}T{time}Z"));
    vec![
        Fact::OptIn { at: day(22, "06:00:00"), channel: None },
        // Before the opt-in.
        status("sent", "early", day(21, "10:00:00"), Some(TEMPLATE)),
        // One message over two days, told twice.
        status("sent", "one", day(22, "10:00:00"), Some(TEMPLATE)),
        status("sent", "one", day(22, "10:00:00"), Some(TEMPLATE)),
        status("delivered", "one", day(22, "23:59:59"), None),
        status("read", "one", day(23, "00:00:00"), None),
        tap("quick_reply_button", "tap-1", Some("one"), day(23, "08:00:00")),
        tap("quick_reply_button", "tap-2", Some("one"), day(23, "08:01:00")),
        // Read tells sent and delivered too.
        status("read", "two", day(23, "09:00:00"), Some(UTILITY)),
        status("failed", "three", day(23, "09:30:00"), Some(TEMPLATE)),
        // Another number, and nobody knows which template.
        Fact::Status {
            status: "delivered".to_owned(),
            message: "four".to_owned(),
            at: day(23, "10:00:00"),
            template: None,
            number: Some(SECOND_NUMBER.to_owned()),
            channel: None,
        },
        // Of the other tenant.
        Fact::Status {
            status: "read".to_owned(),
            message: "theirs".to_owned(),
            at: day(23, "10:00:00"),
            template: Some((TEMPLATE.to_owned(), "en".to_owned())),
            number: Some(OTHER_NUMBER.to_owned()),
            channel: Some(OTHER_CHANNEL.to_owned()),
        },
        // The last half second of the period, and the last millisecond before it.
        status("sent", "last", day(24, "23:59:59.500"), Some(UTILITY)),
        status("sent", "outside", day(20, "23:59:59.999"), Some(TEMPLATE)),
    ]
}

#[tokio::test]
async fn every_figure_is_the_ledgers() {
    let server = Server::start().await;
    let facts = two_tenants_over_four_days();
    server.clock.set(Time(at("2026-11-25T12:00:00Z")));
    record(&server, &facts).await;
    server.clock.set(NOON);

    let page = Page::of(&ask(&server, "from=2026-11-21&to=2026-11-24").await);
    let card = |name| page.card(name);
    assert_eq!(card("Sent"), ("5".into(), "told or implied".into()));
    assert_eq!(card("Delivered"), ("3".into(), "60.0 % of 5 sent".into()));
    assert_eq!(card("Read"), ("2".into(), "66.7 % of 3 delivered".into()));
    assert_eq!(card("Clicked"), ("1".into(), "33.3 % of 3 delivered".into()));
    assert_eq!(card("Failed"), ("1".into(), "and never delivered".into()));
    assert_eq!(
        page.table("By day"),
        [
            "Sat 21 Nov 2026 before the opt-in | 1 | 0 | 0 | 0 | 0",
            "Sun 22 Nov 2026 opt-in at 06:00 | 1 | 1 | 0 | 0 | 0",
            "Mon 23 Nov 2026 until now | 2 | 2 | 2 | 1 | 1",
            "Tue 24 Nov 2026 to come | 1 | 0 | 0 | 0 | 0",
        ]
    );
    assert_eq!(
        page.table("By number"),
        [format!("+{NUMBER} | 4 | 2 | 2 | 1 | 1"), format!("+{SECOND_NUMBER} | 1 | 1 | 0 | 0 | 0"),]
    );
    assert_eq!(
        page.table("By template"),
        [
            format!("template_{TEMPLATE} (marketing) · en | 2 | 1 | 1 | 1 | 1"),
            format!("template_{UTILITY} (utility) · en | 2 | 1 | 1 | 0 | 0"),
            "unattributed | 1 | 1 | 0 | 0 | 0".to_owned(),
        ]
    );
    assert!(page.0.contains("Counted up to 23 Nov 2026 12:00:00 UTC. "));
    assert!(page.0.contains(
        "ROI statistics enabled 22 Nov 2026 06:00. 1 of the messages shown were sent before"
    ));
    // The chart says the same, to the pointer too, and ends today.
    assert!(page.0.contains("<title>23 Nov: 2 delivered</title>"));
    assert!(!page.0.contains("<title>24 Nov:"));

    let theirs = Page::of(&server.get(&link(&server, OTHER), &[]).await);
    assert_eq!(theirs.table("By number"), [format!("+{OTHER_NUMBER} | 1 | 1 | 1 | 0 | 0")]);
    assert!(!theirs.0.contains(NUMBER));
    server.stop().await;
}

#[tokio::test]
async fn a_share_says_of_how_many_and_thousands_are_apart() {
    let server = Server::start().await;
    let facts: Vec<Fact> = (0..1_288)
        .map(|index| (if index < 1_213 { "delivered" } else { "sent" }, format!("m{index}")))
        .map(|(word, message)| status(word, &message, NOON.0 - 1, Some(TEMPLATE)))
        .collect();
    record(&server, &facts).await;
    let page = Page::of(&ask(&server, "").await);
    assert_eq!(page.card("Sent").0, "1 288");
    assert_eq!(page.card("Delivered"), ("1 213".into(), "94.2 % of 1 288 sent".into()));
    assert_eq!(page.card("Read"), ("0".into(), "0.0 % of 1 213 delivered".into()));
    assert!(page.0.contains("ROI statistics are not enabled for this channel"));
    server.stop().await;
}

#[tokio::test]
async fn days_are_those_of_the_zone_also_where_the_clock_is_turned() {
    for (zone, first, last, remark) in [
        ("UTC", "2026-10-25T00:00:00Z", "2026-10-25T23:59:59.999Z", ""),
        ("Asia/Kathmandu", "2026-10-24T18:15:00Z", "2026-10-25T18:14:59.999Z", ""),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59.999Z", " 25 h"),
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T21:59:59.999Z", " 23 h"),
        ("Australia/Lord_Howe", "2026-10-03T13:30:00Z", "2026-10-04T12:59:59.999Z", " 23 h 30 min"),
    ] {
        let server = Server::start().await;
        let (first, last) = (at(first), at(last));
        let times = [("before", first - 1), ("first", first), ("last", last), ("behind", last + 1)];
        let facts = times.map(|(message, at)| status("sent", message, at, Some(TEMPLATE)));
        record(&server, &facts).await;
        let day = jiff::Timestamp::from_millisecond(first).unwrap().in_tz(zone).unwrap().date();
        let (from, to) = (day.yesterday().unwrap(), day.tomorrow().unwrap());
        let page = Page::of(&ask(&server, &format!("from={from}&to={to}&zone={zone}")).await);
        let name = |day: jiff::civil::Date| day.strftime("%a %-d %b %Y").to_string();
        assert_eq!(
            page.table("By day"),
            [
                format!("{} | 1 | 0 | 0 | 0 | 0", name(from)),
                format!("{}{remark} | 2 | 0 | 0 | 0 | 0", name(day)),
                format!("{} | 1 | 0 | 0 | 0 | 0", name(to)),
            ],
            "{zone}"
        );
        server.stop().await;
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_answered_is_refused_and_says_what_would_do() {
    let server = Server::start().await;
    for (address, says) in [
        ("from=2025-11-22&to=2026-11-23", "2025-11-22 to 2026-11-23 is no period of 1 to 366 days"),
        ("from=2026-11-24&to=2026-11-23", "is no period of 1 to 366 days"),
        ("from=yesterday", "<code>yesterday</code> is no date; write year, month and day"),
        ("to=2026-13-01", "<code>2026-13-01</code> is no date"),
        ("from=9999-12-31&to=9999-12-31", "outside of the calendar"),
        ("zone=Mars%3Cb%3E", "<code>Mars&#60;b&#62;</code> is no time zone; write an IANA name"),
        ("channel=cams-nobody", "There is no channel <code>cams-nobody</code> in this account."),
        ("from=2026-11-01&from=2026-11-02", "can be given once"),
    ] {
        let reply = ask(&server, address).await;
        assert_eq!(reply.status, 400, "{address}");
        assert!(reply.text().contains(says), "{address}: {}", reply.text());
        assert!(reply.text().contains("href=\"/ui/\""), "a way back");
    }
    for address in [
        "from=2025-11-23&to=2026-11-23",
        "from=2026-11-23&to=2026-11-23",
        "from=&to=&zone=&channel=",
        "from=2027-01-01&to=2027-01-02",
        "unknown=parameter",
    ] {
        Page::of(&ask(&server, address).await);
    }
    server.stop().await;
}

#[tokio::test]
async fn another_accounts_channel_is_as_unknown_as_one_that_is_not() {
    let server = Server::start().await;
    let theirs = ask(&server, &format!("channel={OTHER_CHANNEL}")).await;
    let nobodys = ask(&server, "channel=cams-nobody").await;
    assert_eq!(theirs.status, 400);
    assert_eq!(theirs.text().replace(OTHER_CHANNEL, "cams-nobody"), nobodys.text());
    assert_eq!(theirs.header("set-cookie"), None);
    let several = Page::of(&server.get(&link(&server, SEVERAL), &[]).await);
    for channel in ["cams-several-1\" selected", "cams-several-2\""] {
        assert!(several.0.contains(&format!("<option value=\"{channel}>a channel</option>")));
    }
    assert!(!several.0.contains(CHANNEL) && !several.0.contains(OTHER_CHANNEL));
    server.stop().await;
}

#[tokio::test]
async fn a_page_needs_a_link_which_gives_a_cookie_for_a_week() {
    let server = Server::start().await;
    let link_of_one = link(&server, ONE);
    let refused = async |target: &str, cookies: &[(&str, &str)]| {
        let reply = server.get(target, cookies).await;
        assert_eq!(reply.status, 403, "{target}");
        assert!(reply.text().contains("<code>twoticks key dashboard</code>"));
        assert_eq!(reply.header("set-cookie"), None);
    };
    refused("/ui/", &[]).await;
    refused("/ui/?t=", &[]).await;
    refused("/ui/?t=AAAA", &[]).await;
    refused(&format!("{link_of_one}A"), &[]).await;
    refused("/ui/", &[("cookie", "twoticks=AAAA")]).await;
    // What is refused says nothing about the rest of the address.
    refused("/ui/?channel=cams-nobody", &[]).await;

    let first = server.get(&link_of_one, &[]).await;
    Page::of(&first);
    let kept = cookie(&first);
    // It lets in once, and another one until it has expired.
    refused(&link_of_one, &[]).await;
    let (last, late) = (link(&server, ONE), link(&server, ONE));
    server.clock.set(NOON.plus(LINK_KEPT - 1));
    Page::of(&server.get(&last, &[]).await);
    server.clock.set(NOON.plus(LINK_KEPT));
    refused(&late, &[]).await;
    let sent = [("cookie", kept.as_str())];
    let again = server.get(&link_of_one, &sent).await;
    Page::of(&again);
    assert_eq!(again.header("set-cookie"), None, "a used link gives no new cookie");
    // A link is for its account, whoever was here before.
    let other = Page::of(&server.get(&link(&server, OTHER), &sent).await);
    assert!(other.0.contains(OTHER_CHANNEL) && !other.0.contains(&format!("\"{CHANNEL}\"")));

    server.clock.set(NOON.plus(COOKIE_KEPT - 1));
    Page::of(&server.get("/ui/", &sent).await);
    server.clock.set(NOON.plus(COOKIE_KEPT));
    refused("/ui/", &sent).await;
    server.stop().await;
}

#[tokio::test]
async fn a_link_of_an_account_that_is_gone_is_none() {
    let server = Server::start().await;
    let uid = Uid::new("1000000000000009").unwrap();
    let account = Account { uid: uid.clone(), name: Text::new("gone").unwrap(), subscribed: true };
    server.app.directory.change(vec![Change::AddAccount(account)]).await.unwrap();
    let link = link(&server, uid.as_str());
    let reply = server.get(&link, &[]).await;
    assert!(Page::of(&reply).0.contains("This account has no channel yet."));
    let kept = cookie(&reply);
    server.app.directory.change(vec![Change::RemoveAccount(uid)]).await.unwrap();
    assert_eq!(server.get(&link, &[]).await.status, 403);
    assert_eq!(server.get("/ui/", &[("cookie", &kept)]).await.status, 403);
    server.stop().await;
}

#[tokio::test]
async fn the_demo_shows_its_first_account_to_everybody_and_says_that_it_is_one() {
    let server = Server::start_with(Made { is_demo: true, ..Made::default() }).await;
    let reply = server.get("/ui/", &[]).await;
    assert!(Page::of(&reply).0.contains("demo data"));
    assert_eq!(reply.header("set-cookie"), None);
    server.stop().await;
    let server = Server::start().await;
    assert!(!Page::of(&ask(&server, "").await).0.contains("demo data"));
    server.stop().await;
}

#[tokio::test]
async fn nothing_on_a_page_comes_from_elsewhere_or_runs() {
    let server = Server::start().await;
    record(&server, &[status("read", "one", NOON.0 - 1, Some(TEMPLATE))]).await;
    let kept = cookie(&server.get(&link(&server, ONE), &[]).await);
    for target in [link(&server, ONE), "/ui/".to_owned(), "/ui/style.css".to_owned()] {
        let reply = server.get(&target, &[]).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{target}");
        }
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self';"));
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        let text = reply.text();
        for sign in
            ["<script", " style=", " onload=", "<style", "http:", "https:", "data:", "@import"]
        {
            assert!(!text.contains(sign), "{target} has {sign}");
        }
        for attribute in ["href=\"", "src=\"", "action=\""] {
            for rest in text.split(attribute).skip(1) {
                let to = rest.split('"').next().unwrap();
                let status = server.get(to, &[("cookie", &kept)]).await.status;
                assert_eq!(status, 200, "{to}");
            }
        }
        assert!(!target.contains("?t=") || text.contains("<title>Overview · twoticks</title>"));
    }
    let icon = server.get("/ui/icon.svg", &[]).await;
    assert_eq!(icon.header("content-type"), Some("image/svg+xml"));
    let moved = server.get("/ui", &[]).await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("/ui/")));
    server.stop().await;
}

/// The pages that the navigation of `page` leads to, and the one that it says it is.
fn navigation(page: &str) -> (Vec<String>, Vec<String>) {
    let (_, nav) = page.split_once("<nav aria-label=\"Pages\">").expect("a navigation");
    let links = nav.split("</nav>").next().unwrap().split("<a href=\"").skip(1);
    let links: Vec<(String, bool)> = links
        .map(|rest| {
            let (to, rest) = rest.split_once('"').unwrap();
            (to.to_owned(), rest.starts_with(" aria-current=\"page\""))
        })
        .collect();
    let here = links.iter().filter(|(_, is_here)| *is_here).map(|(to, _)| to.clone()).collect();
    (links.into_iter().map(|(to, _)| to).collect(), here)
}

#[tokio::test]
async fn every_page_leads_to_every_other_on_an_empty_and_on_a_full_ledger() {
    let server = Server::start().await;
    let uid = Uid::new("1000000000000009").unwrap();
    let account = Account { uid: uid.clone(), name: Text::new("empty").unwrap(), subscribed: true };
    server.app.directory.change(vec![Change::AddAccount(account)]).await.unwrap();
    record(&server, &[status("read", "one", NOON.0 - 1, Some(TEMPLATE))]).await;
    for account in [uid.as_str(), ONE, OTHER, SEVERAL] {
        let first = server.get(&link(&server, account), &[]).await;
        let kept = cookie(&first);
        let (all, _) = navigation(&Page::of(&first).0);
        assert!(all.iter().any(|path| path == "/ui/setup"), "{all:?}");
        for path in &all {
            let reply = server.get(path, &[("cookie", &kept)]).await;
            let page = Page::of(&reply).0;
            let title = page.split_once("<title>").unwrap().1.split(" · twoticks</title>").next();
            assert!(title.is_some_and(|title| !title.is_empty()), "{path} of {account}");
            assert_eq!(navigation(&page), (all.clone(), vec![path.clone()]), "{account}");
            let policy = reply.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none';") && !page.contains("<script"));
            assert!(account == OTHER || !page.contains(OTHER_CHANNEL), "{path} of {account}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn names_are_text_and_never_markup() {
    let server = Server::start().await;
    let name = "<script>alert(1)</script>\"'&";
    let template = TemplateRecord {
        channel: ChannelId::new(CHANNEL).unwrap(),
        code: Text::new("1100000000000009").unwrap(),
        language: Text::new("en").unwrap(),
        name: Text::new(name).unwrap(),
        meta_id: None,
        category: Category::Marketing,
        buttons: Vec::new(),
        graph: None,
        links: Vec::new(),
    };
    let account =
        Account { uid: Uid::new(ONE).unwrap(), name: Text::new(name).unwrap(), subscribed: true };
    let changes = vec![Change::PutTemplate(template), Change::UpdateAccount(account)];
    server.app.directory.change(changes).await.unwrap();
    record(&server, &[status("sent", "one", NOON.0 - 1, Some("1100000000000009"))]).await;
    let page = Page::of(&ask(&server, "zone=UTC").await);
    assert!(!page.0.contains("<script"));
    let escaped = "&#60;script&#62;alert(1)&#60;/script&#62;&#34;&#39;&#38;";
    assert_eq!(page.0.matches(escaped).count(), 2);
    assert_eq!(page.table("By template").len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_channel_where_nothing_was_counted_says_what_would_do() {
    let server = Server::start().await;
    let page = Page::of(&ask(&server, "").await);
    assert!(page.0.contains("Nothing was counted in these days."));
    assert!(page.0.contains("<code>/webhooks/whatsapp</code>"));
    assert!(!page.0.contains("<table"));
    assert_eq!(page.card("Delivered"), ("0".into(), "— of 0 sent".into()));
    server.stop().await;
}
