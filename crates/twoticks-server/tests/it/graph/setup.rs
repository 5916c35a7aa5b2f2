//! The page that sets channels up, as a browser drives it: who may, what forms are taken, and what
//! they do.

use std::fmt::Write as _;

use twoticks_core::clock::SECOND;
use twoticks_server::ui;
use twoticks_store::directory::names::Uid;
use twoticks_wire::params::encode_pairs;

use super::*;
use crate::tenants::{ONE, OTHER_CHANNEL, SEVERAL};

/// A link is good for so long, and the right to set up.
const SESSION_KEPT: i64 = 60 * 60 * SECOND;
const SECRETS: [&str; 3] = ["EAAB-the-token", "the-app-secret-of-4711", "the-verify-token"];

/// A server with a Graph API behind it and nothing connected.
async fn unconnected(change: impl FnOnce(&mut Settings)) -> (Server, Double) {
    let double = Double::start().await;
    answer_connect(&double);
    let mut settings = settings(&double);
    change(&mut settings);
    (Server::start_with(Made { settings, ..Made::default() }).await, double)
}

fn setup_link(server: &Server, account: &str) -> String {
    let uid = Uid::new(account).unwrap();
    format!("/ui/setup?{}", ui::setup_link(&server.app.keys, server.app.clock.now(), &uid))
}

fn view_link(server: &Server, account: &str) -> String {
    let uid = Uid::new(account).unwrap();
    format!("/ui/setup?{}", ui::link(&server.app.keys, server.app.clock.now(), &uid))
}

/// The cookies that an answer sets, as a browser sends them back.
fn cookies(reply: &Reply) -> String {
    let set = reply.header("set-cookie").unwrap_or_default();
    let pairs = set.split(", ").map(|cookie| cookie.split(';').next().unwrap());
    pairs.collect::<Vec<_>>().join("; ")
}

/// Somebody who was let in.
struct Visit<'a> {
    server: &'a Server,
    cookies: String,
    page: String,
}

impl<'a> Visit<'a> {
    async fn by(server: &'a Server, link: &str) -> Self {
        let reply = server.get(link, &[]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        Self { server, cookies: cookies(&reply), page: reply.text() }
    }

    async fn to_set_up(server: &'a Server) -> Self {
        Self::by(server, &setup_link(server, ONE)).await
    }

    async fn get(&self, target: &str) -> Reply {
        self.server.get(target, &[("cookie", &self.cookies)]).await
    }

    /// What every form of the page carries.
    fn token(&self) -> &str {
        let (_, rest) = self.page.split_once("name=\"token\" value=\"").unwrap();
        rest.split('"').next().unwrap()
    }

    async fn post_with(&self, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut head = format!("POST /ui/setup HTTP/1.1\r\nhost: {}\r\n", self.server.address);
        write!(head, "cookie: {}\r\ncontent-length: {}\r\n", self.cookies, body.len()).unwrap();
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let request = format!("{head}\r\n{body}");
        self.server.raw(request.as_bytes()).await.remove(0)
    }

    /// Sends a form as the page has it.
    async fn post(&self, fields: &[(&str, &str)]) -> Reply {
        let own = format!("http://{}", self.server.address);
        let body = encode_pairs(
            [("token", self.token()), ("channel", CHANNEL)]
                .into_iter()
                .filter(|(name, _)| fields.iter().all(|(given, _)| given != name))
                .chain(fields.iter().copied()),
        );
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.post_with(&[("origin", &own), kind], &body).await
    }

    /// Does something that works, and the page that shows it.
    async fn done(&self, fields: &[(&str, &str)]) -> String {
        let reply = self.post(fields).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        let to = reply.header("location").unwrap();
        assert_eq!(to, format!("/ui/setup?channel={CHANNEL}"));
        let page = self.get(to).await;
        assert_eq!(page.status, 200);
        page.text()
    }
}

fn connecting() -> Vec<(&'static str, &'static str)> {
    let [token, app, verify] = SECRETS;
    vec![
        ("action", "connect"),
        ("waba_id", "3000"),
        ("access_token", token),
        ("app_secret", app),
        ("verify_token", verify),
        ("callback_url", "https://metrics.example.com"),
        ("marketing_messages", "yes"),
    ]
}

fn connection(server: &Server) -> Option<Connection> {
    server.app.directory.snapshot().channel(&channel_id(CHANNEL)).unwrap().connection.clone()
}

#[tokio::test]
async fn who_may_look_sees_no_form_and_may_not_send_one() {
    let (server, double) = unconnected(|_| ()).await;
    let nobody = server.get("/ui/setup", &[]).await;
    assert_eq!(nobody.status, 403);
    assert!(!nobody.text().contains(CHANNEL) && nobody.text().contains("twoticks key dashboard"));

    let looks = Visit::by(&server, &view_link(&server, ONE)).await;
    assert!(looks.page.contains("You may look at this page, and not change anything."));
    assert!(looks.page.contains("This channel is not connected with WhatsApp"));
    assert!(!looks.page.contains("<form") && !looks.page.contains("verify-token-of"));
    // A form of somebody who may does not help.
    let may = Visit::to_set_up(&server).await;
    let with = Visit { page: may.page.clone(), ..looks };
    let refused = with.post(&connecting()).await;
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("<code>twoticks key dashboard --setup</code>"));
    let nobody = Visit { cookies: "a=b".to_owned(), page: may.page, server: &server };
    assert_eq!(nobody.post(&connecting()).await.status, 403);
    assert!(double.got().is_empty() && connection(&server).is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_link_that_may_set_up_lets_in_once_and_for_an_hour() {
    let (server, _double) = unconnected(|_| ()).await;
    let link = setup_link(&server, ONE);
    let first = server.get(&link, &[]).await;
    let set = first.header("set-cookie").unwrap();
    assert!(set.contains("twoticks=") && set.contains("SameSite=Lax"), "{set}");
    let strict = "; Path=/ui/; Max-Age=3600; HttpOnly; SameSite=Strict";
    assert!(set.ends_with(strict), "{set}");
    let over_tls = setup_link(&server, ONE);
    let over_tls = server.get(&over_tls, &[("x-forwarded-proto", "https")]).await;
    assert!(over_tls.header("set-cookie").unwrap().ends_with("; SameSite=Strict; Secure"));
    assert_eq!(server.get(&link, &[]).await.status, 403, "a second time");
    // It is for that page; to look somewhere else there is the cookie.
    let elsewhere = setup_link(&server, ONE).replace("/ui/setup", "/ui/");
    assert_eq!(server.get(&elsewhere, &[]).await.status, 403);
    let visit = Visit { server: &server, cookies: cookies(&first), page: first.text() };
    assert_eq!(visit.get("/ui/").await.status, 200);
    // Somebody else's pages are looked at with the same browser.
    let others = server.get(&view_link(&server, SEVERAL), &[("cookie", &visit.cookies)]).await;
    assert!(others.text().contains("cams-several-1") && !others.text().contains("<form"));
    // Who was let in anew has new forms.
    let again = Visit::to_set_up(&server).await;
    let old = Visit { page: visit.page.clone(), ..again };
    assert_eq!(old.post(&[("action", "sync")]).await.status, 403);
    server.clock.set(NOON.plus(SESSION_KEPT - 1));
    assert!(visit.get("/ui/setup").await.text().contains("<form"));
    server.clock.set(NOON.plus(SESSION_KEPT));
    let later = visit.get("/ui/setup").await;
    assert!(later.status == 200 && !later.text().contains("<form"));
    assert_eq!(visit.post(&connecting()).await.status, 403);
    server.stop().await;
}

#[tokio::test]
async fn a_form_of_another_page_is_not_taken() {
    let (server, double) = unconnected(|_| ()).await;
    let visit = Visit::to_set_up(&server).await;
    for wrong in ["", "AAAA", "not base64!"] {
        let fields = [("action", "connect"), ("token", wrong), ("waba_id", "3000")];
        assert_eq!(visit.post(&fields).await.status, 403, "{wrong}");
    }
    let mut fields = vec![("token", visit.token()), ("channel", CHANNEL)];
    fields.extend(connecting());
    let body = encode_pairs(fields);
    let own = format!("http://{}", server.address);
    let kind = ("content-type", "application/x-www-form-urlencoded");
    for headers in [
        &[kind][..],
        &[kind, ("origin", "https://evil.example")],
        &[kind, ("origin", "null")],
        &[kind, ("origin", &own), ("sec-fetch-site", "cross-site")],
    ] {
        let reply = visit.post_with(headers, &body).await;
        assert_eq!(reply.status, 403, "{headers:?}");
        assert!(reply.text().contains("Nothing was changed"));
    }
    // A browser sends another site's forms without the cookies anyhow.
    let without = Visit { cookies: "a=b".to_owned(), page: visit.page.clone(), server: &server };
    assert_eq!(without.post_with(&[kind, ("origin", &own)], &body).await.status, 403);
    assert!(double.got().is_empty() && connection(&server).is_none());
    // The same is taken when nothing is wrong with it.
    assert_eq!(visit.post_with(&[kind, ("origin", &own)], &body).await.status, 303);
    assert!(connection(&server).is_some());
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_form_or_too_much_is_refused_and_says_why() {
    let (server, double) = unconnected(|_| ()).await;
    let visit = Visit::to_set_up(&server).await;
    let own = format!("http://{}", server.address);
    let origin = ("origin", own.as_str());
    let form = ("content-type", "application/x-www-form-urlencoded");
    let json = visit.post_with(&[origin, ("content-type", "application/json")], "{}").await;
    assert_eq!(json.status, 415, "{}", json.text());
    // The longest form, and one byte more.
    let token = encode_pairs([("token", visit.token()), ("channel", CHANNEL), ("action", "look")]);
    let padded = |bytes: usize| format!("{token}&x={}", "x".repeat(bytes - token.len() - 3));
    assert_eq!(visit.post_with(&[origin, form], &padded(64 * 1024)).await.status, 303);
    assert_eq!(visit.post_with(&[origin, form], &padded(64 * 1024 + 1)).await.status, 413);
    for body in ["", "token=a", "token=a&channel=b&action=erase", "token=a&token=b"] {
        assert_eq!(visit.post_with(&[origin, form], body).await.status, 400, "{body}");
    }
    // Another account's channel is as unknown as one that is not there.
    let theirs = visit.post(&[("action", "disconnect"), ("channel", OTHER_CHANNEL)]).await;
    let nobodys = visit.post(&[("action", "disconnect"), ("channel", "cams-nobody")]).await;
    assert_eq!((theirs.status, nobodys.status), (400, 400));
    assert_eq!(theirs.text().replace(OTHER_CHANNEL, "cams-nobody"), nobodys.text());
    assert_eq!(visit.get(&format!("/ui/setup?channel={OTHER_CHANNEL}")).await.status, 400);
    // One was taken above; twenty are in a minute.
    for _ in 1..20 {
        assert_eq!(visit.post(&[("action", "connect")]).await.status, 422);
    }
    assert_eq!(visit.post(&[("action", "connect")]).await.status, 429);
    server.clock.set(NOON.plus(60 * SECOND));
    assert_eq!(visit.post(&[("action", "connect")]).await.status, 422);
    assert!(double.got().is_empty());
    server.stop().await;
}

/// The part of a page with one field.
fn field<'a>(page: &'a str, id: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("<input id=\"{id}\"")).unwrap();
    rest.split("</div>").next().unwrap()
}

#[tokio::test]
async fn what_is_wrong_stands_with_its_field_and_what_was_typed_stays_but_for_secrets() {
    let (server, double) = unconnected(|_| ()).await;
    let visit = Visit::to_set_up(&server).await;
    let reply = visit
        .post(&[
            ("action", "connect"),
            ("waba_id", "//evil.example/<b>"),
            ("app_secret", SECRETS[1]),
            ("callback_url", "metrics.example.com\"><script>"),
            ("marketing_messages", "yes"),
        ])
        .await;
    assert_eq!(reply.status, 422);
    let page = reply.text();
    assert!(page.contains("<title>Not connected · Setup · twoticks</title>"));
    for (id, typed, says) in [
        ("waba_id", "//evil.example/&#60;b&#62;", "1 to 32 digits"),
        ("access_token", "", "the first time it has to be given"),
        ("callback_url", "metrics.example.com&#34;&#62;&#60;script&#62;", "metrics.example.com"),
    ] {
        let field = field(&page, id);
        assert!(field.contains(&format!("value=\"{typed}\"")), "{field}");
        let (_, error) =
            field.split_once(&format!("<p class=\"error\" id=\"{id}-error\">")).unwrap();
        assert!(error.contains(says), "{error}");
        assert!(field.contains(&format!("{id}-error\" aria-invalid=\"true\"")), "{field}");
        assert!(page.contains(&format!("<a href=\"#{id}\">")), "{id}");
    }
    assert!(field(&page, "app_secret").contains("value=\"\"") && !page.contains(SECRETS[1]));
    assert!(!page.contains("<script") && page.contains("value=\"yes\" checked"));
    assert!(double.got().is_empty());

    // What Graph refuses: the token, or the account.
    for (code, id, says) in [
        (190, "access_token", "Meta 190: the access token has expired or was revoked"),
        (100, "waba_id", "Meta 100: a parameter is wrong"),
    ] {
        double.fix("/v24.0/3000?", 400, &json!({"error": {"code": code, "message": SECRETS[0]}}));
        let reply = visit.post(&connecting()).await;
        assert_eq!(reply.status, 422);
        let page = reply.text();
        assert!(field(&page, id).contains(says), "{page}");
        assert!(field(&page, "waba_id").contains("value=\"3000\""));
        assert!(field(&page, "callback_url").contains("value=\"https://metrics.example.com\""));
        assert!(SECRETS.iter().all(|secret| !page.contains(secret)));
    }
    assert!(connection(&server).is_none());
    // It was told, and is not told again.
    assert!(!visit.get("/ui/setup").await.text().contains("Meta 100"));
    server.stop().await;
}

#[tokio::test]
async fn a_channel_is_connected_read_looked_at_and_disconnected_and_no_page_has_a_secret() {
    let (server, double) = unconnected(|_| ()).await;
    let visit = Visit::to_set_up(&server).await;
    let mut pages = vec![visit.done(&connecting()).await];
    let known = connection(&server).unwrap();
    assert!(known.access_token.is(SECRETS[0]) && known.marketing_messages);
    let page = &pages[0];
    assert!(page.contains("1 number and 3 templates of the account <code>Shop</code> were read."));
    assert!(page.contains("<dt>Looked at last</dt><dd>23 Nov 2026 12:00:00 UTC</dd>"), "{page}");
    assert!(page.contains("Nothing that is known of."));
    let row = format!("<th scope=\"row\">+{NUMBER}</th><td>—</td><td>GREEN</td><td>—</td>");
    assert!(page.contains(&format!("{row}<td>CONNECTED</td>")), "{page}");
    assert!(page.contains("<dt>APPROVED</dt><dd>3</dd>"));
    // The handshake's token and the address are to be pasted, for whoever may set up.
    let webhook = format!("http://{}/webhooks/whatsapp/{CHANNEL}", server.address);
    assert!(page.contains(&format!("value=\"{webhook}\"")) && page.contains(SECRETS[2]));
    let asked = double.got().into_iter().find(|got| got.line.contains("POST")).unwrap();
    let callback = format!("https://metrics.example.com/webhooks/whatsapp/{CHANNEL}");
    assert_eq!(asked.body["override_callback_uri"], callback);

    double.fix("/debug_token", 500, &json!({}));
    let unasked = visit.post(&[("action", "look")]).await;
    assert_eq!(unasked.status, 422);
    let unasked = unasked.text();
    assert!(unasked.contains("<h3>Not looked at</h3>"), "{unasked}");
    assert!(
        unasked.contains("the Graph API did not answer") && unasked.contains("that is known of")
    );
    double.script.lock().unwrap().fixed.remove(0);
    double.fix("/subscribed_apps", 200, &json!({"data": []}));
    server.clock.set(NOON.plus(SECOND));
    pages.push(visit.done(&[("action", "look")]).await);
    assert!(pages[1].contains("the app is not subscribed"), "{}", pages[1]);
    assert!(pages[1].contains("<dd>23 Nov 2026 12:00:01 UTC</dd>"));
    assert_eq!(connection(&server).unwrap().wrong().count(), 0, "looking changes nothing");
    double.fix("/message_templates", 200, &json!({"data": []}));
    pages.push(visit.done(&[("action", "sync")]).await);
    assert!(pages[2].contains("<dt>DELETED</dt><dd>3</dd>"), "{}", pages[2]);
    let wrong = visit.post(&[("action", "connect"), ("waba_id", "shop")]).await;
    assert!(wrong.status == 422 && wrong.text().contains("<h3>Not changed</h3>"));
    // Left out: the secrets stay; the tick is gone.
    let again = [("action", "connect"), ("waba_id", "3000")];
    pages.push(visit.done(&again).await);
    let known = connection(&server).unwrap();
    assert!(known.access_token.is(SECRETS[0]) && !known.marketing_messages);

    let ask = format!("/ui/setup?channel={CHANNEL}&disconnect=ask");
    assert!(pages[3].contains(&ask.replace('&', "&amp;")));
    let ask = visit.get(&ask).await.text();
    assert!(ask.contains("Disconnect a channel?") && ask.contains("Keep it connected"));
    assert!(connection(&server).is_some(), "asking changes nothing");
    pages.push(ask);
    pages.push(visit.done(&[("action", "disconnect")]).await);
    assert!(connection(&server).is_none());
    assert!(pages[5].contains("The channel is disconnected, and its token forgotten."));
    pages.push(visit.get("/ui/").await.text());
    let looks = Visit::by(&server, &view_link(&server, ONE)).await;
    assert!(!looks.page.contains(SECRETS[2]));
    pages.push(looks.page);
    for page in &pages {
        let shown = [SECRETS[0], SECRETS[1], "app-secret-of-cams", "receipts-secret-of-cams"];
        assert!(shown.iter().all(|secret| !page.contains(secret)), "{page}");
    }
    let log = server.log.all();
    assert!(SECRETS.iter().all(|secret| !log.contains(secret)), "{log}");
    assert!(log.contains("set up from the dashboard"));
    server.stop().await;
}

#[tokio::test]
async fn a_graph_api_that_hangs_is_told_of_and_one_that_is_slow_goes_on_by_itself() {
    let (server, double) = unconnected(|settings| settings.graph.timeout_seconds = 1).await;
    let visit = Visit::to_set_up(&server).await;
    double.script.lock().unwrap().fixed.insert(0, ("/v24.0/3000?", Answer::Hold));
    let reply = visit.post(&connecting()).await;
    assert_eq!(reply.status, 422);
    assert!(reply.text().contains("did not answer: it took too long"), "{}", reply.text());
    assert!(connection(&server).is_none());
    double.held.add_permits(1);
    server.stop().await;

    let (server, double) = unconnected(|settings| settings.limits.request_seconds_max = 2).await;
    let visit = Visit::to_set_up(&server).await;
    double.script.lock().unwrap().fixed.insert(0, ("/v24.0/3000?", Answer::Hold));
    let page = visit.done(&connecting()).await;
    assert!(page.contains("Begun 23 Nov 2026 12:00:00 UTC, and not done yet"), "{page}");
    // Meanwhile nothing else is done to the channel.
    let meanwhile = visit.post(&[("action", "sync")]).await;
    assert_eq!(meanwhile.status, 429);
    assert!(meanwhile.text().contains("Something is being done to this channel already"));
    double.held.add_permits(1);
    while !visit.get("/ui/setup").await.text().contains("Done, ") {
        tokio::task::yield_now().await;
    }
    assert!(connection(&server).is_some());
    // One that fails when nobody waits any more is told of later.
    double.script.lock().unwrap().fixed[0].1 = Answer::Hold;
    let page = visit.done(&[("action", "sync")]).await;
    assert!(page.contains("not done yet"));
    double.fix("/debug_token", 500, &json!({}));
    double.held.add_permits(1);
    let mut page = visit.get("/ui/setup").await.text();
    while page.contains("not done yet") {
        page = visit.get("/ui/setup").await.text();
    }
    assert!(page.contains("Not done, ") && page.contains("the connection could not be had"));
    server.stop().await;
}

#[tokio::test]
async fn an_account_with_several_channels_chooses_one() {
    let (server, _double) = unconnected(|_| ()).await;
    let visit = Visit::by(&server, &setup_link(&server, SEVERAL)).await;
    for id in ["cams-several-1", "cams-several-2"] {
        assert!(visit.page.contains(&format!("<a href=\"/ui/setup?channel={id}\"")));
        let page = visit.get(&format!("/ui/setup?channel={id}")).await.text();
        let chosen = format!("<a href=\"/ui/setup?channel={id}\" aria-current=\"true\">");
        assert!(page.contains(&chosen), "{page}");
        assert!(page.contains(&format!("name=\"channel\" value=\"{id}\"")));
    }
    server.stop().await;
}

#[tokio::test]
async fn the_overview_of_a_channel_that_is_not_connected_leads_to_the_page() {
    let (server, _double) = unconnected(|_| ()).await;
    let visit = Visit::to_set_up(&server).await;
    let overview = visit.get("/ui/").await.text();
    let link = format!("<a href=\"/ui/setup?channel={CHANNEL}\">Connect it</a>");
    assert!(overview.contains(&link), "{overview}");
    let looks = Visit::by(&server, &view_link(&server, ONE)).await;
    let overview = looks.get("/ui/").await.text();
    assert!(!overview.contains("Connect it"));
    assert!(overview.contains("<code>twoticks key dashboard --setup</code>"));
    visit.done(&connecting()).await;
    assert!(!visit.get("/ui/").await.text().contains("is not connected"));
    server.stop().await;
}
