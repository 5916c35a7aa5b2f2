use std::collections::BTreeMap;

use serde_json::{Value, json};
use twoticks_core::event::{Button, ButtonKind, Category};
use twoticks_store::directory::memory::MemoryDirectory;
use twoticks_store::directory::model::{Account, Number, TemplateRecord};
use twoticks_store::directory::names::Secret;
use twoticks_store::directory::{Change, Directory as _};

use super::*;

/// Accepted a minute after most of what is told.
const ACCEPTED: Time = Time(1_790_900_060_000);
const SECONDS: i64 = 1_790_900_000;

fn text(text: &str) -> Text {
    Text::new(text).unwrap()
}

fn channel(id: &str) -> ChannelId {
    ChannelId::new(id).unwrap()
}

/// Accounts 1 and 2. Channels `a`, `b` and `r` (which takes receipts) are of 1, `z` is of 2.
async fn directory() -> MemoryDirectory {
    let directory = MemoryDirectory::new();
    let uid = |n| Uid::new(&format!("100000000000000{n}")).unwrap();
    let mut changes: Vec<Change> = [1, 2]
        .into_iter()
        .map(|n| Change::AddAccount(Account { uid: uid(n), name: text("x"), subscribed: true }))
        .collect();
    for (index, (id, account)) in [("a", 1), ("b", 1), ("r", 1), ("z", 2)].into_iter().enumerate() {
        let secret = |what| Secret::new(&format!("{what}-of-channel-{id}")).unwrap();
        changes.push(Change::AddChannel(Channel {
            id: channel(id),
            account: uid(account),
            name: text(id),
            waba_id: Some(text(&format!("waba-{id}"))),
            app_secrets: vec![secret("app-secret")],
            verify_token: secret("verify-token"),
            receipts_secret: secret("receipts-secret"),
            status_source: match id {
                "r" => StatusSource::Receipts,
                _ => StatusSource::CloudApi,
            },
            connection: None,
        }));
        changes.push(Change::PutNumber(Number {
            phone_number: PhoneNumber::new(&format!("1555000000{index}")).unwrap(),
            phone_number_id: text(&format!("id-{id}")),
            channel: channel(id),
            graph: None,
        }));
        changes.push(Change::PutTemplate(TemplateRecord {
            channel: channel(id),
            code: text("promo"),
            language: text("en"),
            name: text("summer"),
            meta_id: Some(text("4711")),
            category: Category::Marketing,
            buttons: vec![Button { kind: ButtonKind::QuickReply, text: text("Yes") }],
            graph: None,
            links: Vec::new(),
        }));
    }
    directory.change(changes).await.unwrap();
    directory
}

/// Everything that a body becomes, in words. Hashes of the ids below are shown as those.
struct Reader {
    snapshot: std::sync::Arc<Snapshot>,
    keys: Keys,
    names: BTreeMap<Hash, String>,
}

impl Reader {
    async fn new() -> Self {
        let keys = Keys::from_bytes([3; 32]);
        let mut names = BTreeMap::new();
        for id in ["a", "b", "r", "z"] {
            for (kind, texts) in [
                (HashOf::Message, ["M1", "M2", "M3"].as_slice()),
                (HashOf::Inbound, &["I1", "I2", "C1 marketing_messages_link_click"]),
                (HashOf::Recipient, &["4915112345678", "DE.12ab"]),
            ] {
                for text in texts {
                    let hash = keys.hash(kind, &channel(id), text.as_bytes());
                    names.insert(hash, (*text).to_owned());
                }
            }
        }
        Self { snapshot: directory().await.snapshot(), keys, names }
    }

    fn context<'a>(&'a self, channels: &'a [ChannelId]) -> Context<'a> {
        Context {
            snapshot: &self.snapshot,
            keys: &self.keys,
            speaks: Speaks::Channels(channels),
            accepted: ACCEPTED,
            only: None,
        }
    }

    fn meta(&self, body: &Value) -> Vec<String> {
        let channels = [channel("a"), channel("b"), channel("r")];
        self.shown(&meta(&self.context(&channels), body.to_string().as_bytes()))
    }

    fn receipts(&self, body: &Value) -> Vec<String> {
        let channels = [channel("r"), channel("a")];
        self.shown(&receipts(&self.context(&channels), body.to_string().as_bytes()))
    }

    fn name(&self, hash: Hash) -> &str {
        self.names.get(&hash).map_or("?", String::as_str)
    }

    fn shown(&self, translated: &Translated) -> Vec<String> {
        let Translated { events, dead, nothing, unknown, notices: _, partly } = translated;
        let mut lines: Vec<String> = events.iter().map(|event| self.event(event)).collect();
        let dead = dead.iter().map(|it| format!("dead {}: {}", it.path, it.why));
        lines.extend(dead);
        for (word, asides) in [("nothing", nothing), ("unknown", unknown), ("partly", partly)] {
            lines.extend(asides.iter().map(|it| format!("{word} {}: {}", it.path, it.kind)));
        }
        lines
    }

    fn event(&self, event: &Event) -> String {
        match event {
            Event::Message(it) => {
                let mut line = format!(
                    "{} {} +{} {} {}",
                    it.status.map_or("-", twoticks_core::event::Status::as_str),
                    self.name(it.message),
                    it.time.0 - SECONDS * 1_000,
                    it.channel,
                    it.number,
                );
                for who in &it.participant {
                    line += &format!(" to {}", self.name(*who));
                }
                if let Some(code) = it.error {
                    line += &format!(" error {code}");
                }
                if let Some(it) = &it.pricing {
                    line += &format!(" price {}/{}/{}", it.category, it.kind, it.model);
                    if let Some(cost) = &it.cost {
                        line += &format!(" {}{}", cost.micros(), cost.currency());
                    }
                }
                if let Some(claim) = &it.claim {
                    line += &format!(" by {:?}", claim.source);
                    match &claim.template {
                        Some(it) => line += &format!(" {}/{}", it.code, it.language),
                        None => line += " free-form",
                    }
                    if let Some(campaign) = &claim.campaign {
                        line += &format!("/{campaign}");
                    }
                }
                line
            }
            Event::Tap(it) => {
                let mut line = format!(
                    "{} `{}` {} +{} {} {}",
                    it.button.kind.as_str(),
                    it.button.text,
                    self.name(it.id),
                    it.time.0 - SECONDS * 1_000,
                    it.channel,
                    it.number,
                );
                if let Some(message) = it.message {
                    line += &format!(" on {}", self.name(message));
                }
                if let Some(sign) = &it.sign {
                    line += &format!(" sign {}/{}", sign.template.code, sign.template.language);
                }
                line
            }
            Event::OptIn { .. } => "opt-in".to_owned(),
            Event::Category(it) => format!(
                "{} {}/{} {} +{} before {:?}",
                it.channel,
                it.template.code,
                it.template.language,
                it.category.as_str(),
                it.effective.0 - SECONDS * 1_000,
                it.previous.map(Category::as_str),
            ),
        }
    }
}

fn body(number: &str, list: &str, elements: Value) -> Value {
    json!({"object": "whatsapp_business_account", "entry": [{"id": "waba", "changes": [
        {"field": "messages", "value": {"messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "+1 555", "phone_number_id": number},
            list: elements}}]}]})
}

fn status(extra: Value) -> Value {
    let mut status = json!({"id": "M1", "status": "delivered", "timestamp": SECONDS.to_string(),
        "recipient_id": "4915112345678"});
    for (name, value) in extra.as_object().unwrap() {
        status[name] = value.clone();
    }
    status
}

#[tokio::test]
async fn a_status_becomes_what_it_says() {
    let reader = Reader::new().await;
    let at = "M1 +0 a 15550000000";
    for (extra, expected) in [
        (json!({}), vec![format!("delivered {at}")]),
        (json!({"status": "sent"}), vec![format!("sent {at}")]),
        (json!({"status": "READ"}), vec![format!("read {at}")]),
        (json!({"status": "played"}), vec![format!("played {at}")]),
        (
            json!({"status": "failed", "errors": [{"code": 131_026}, {"code": 1}]}),
            vec![format!("failed {at} error 131026")],
        ),
        // An error beside another status is not why anything failed.
        (json!({"errors": [{"code": 131_026}]}), vec![format!("delivered {at}")]),
        // A participant means something in groups only, and is known by both names.
        (json!({"recipient_participant_id": "4915112345678"}), vec![format!("delivered {at}")]),
        (
            json!({"recipient_type": "group", "recipient_participant_id": "+49 151 12345678"}),
            vec![format!("delivered {at} to 4915112345678")],
        ),
        (json!({"recipient_type": "group"}), vec![format!("delivered {at}")]),
        (
            json!({"pricing": {"category": "marketing", "type": "regular", "pricing_model": "PMP",
                "cost": {"amount": 0.035, "currency": "USD"}}}),
            vec![format!("delivered {at} price marketing/regular/PMP 35000USD")],
        ),
        // On `sent` the price is a forecast.
        (
            json!({"status": "sent", "pricing": {"category": "marketing"}}),
            vec![format!("sent {at}")],
        ),
        // A cost that cannot be is left out and named; the status and its price count.
        (
            json!({"pricing": {"category": "marketing", "cost": {"amount": -1, "currency": "USD"}}}),
            vec![
                format!("delivered {at} price marketing//"),
                "partly entry 0, change 0, statuses 0: `pricing.cost` is out of bounds".to_owned(),
            ],
        ),
        (
            json!({"biz_opaque_callback_data": "tt1:promo:en:spring%3A1"}),
            vec![format!("delivered {at} by Sign promo/en/spring:1")],
        ),
        (json!({"biz_opaque_callback_data": "tt2:promo"}), vec![format!("delivered {at}")]),
        (
            json!({"biz_opaque_callback_data": "tt1:pro%0Amo:en"}),
            vec![
                format!("delivered {at}"),
                "partly entry 0, change 0, statuses 0: the sign in `biz_opaque_callback_data` \
                 cannot be read"
                    .to_owned(),
            ],
        ),
        (
            json!({"status": "deleted"}),
            vec!["nothing entry 0, change 0, statuses 0: status deleted".to_owned()],
        ),
        (
            json!({"status": "in_orbit"}),
            vec!["unknown entry 0, change 0, statuses 0: status in_orbit".to_owned()],
        ),
    ] {
        let body = body("id-a", "statuses", json!([status(extra.clone())]));
        assert_eq!(reader.meta(&body), expected, "{extra}");
    }
}

#[tokio::test]
async fn two_names_of_one_participant_are_both_kept() {
    let reader = Reader::new().await;
    let told = status(json!({"recipient_type": "group",
        "recipient_participant_id": "4915112345678", "recipient_participant_user_id": "DE.12ab"}));
    let [line] = reader.meta(&body("id-a", "statuses", json!([told]))).try_into().unwrap();
    assert!(line.contains(" to 4915112345678") && line.contains(" to DE.12ab"), "{line}");
}

#[tokio::test]
async fn taps_replies_and_opened_links_become_clicks() {
    let reader = Reader::new().await;
    let seconds = SECONDS.to_string();
    let button = |payload: &str, context: Value| {
        json!({"id": "I1", "type": "button", "timestamp": &seconds, "from": "4915112345678",
            "button": {"text": "Yes", "payload": payload}, "context": context})
    };
    let at = "I1 +0 a 15550000000";
    for (list, told, expected) in [
        (
            "messages",
            button("Yes", json!({"id": "M2", "from": "15550000000"})),
            format!("quick_reply_button `Yes` {at} on M2"),
        ),
        ("messages", button("Yes", json!(null)), format!("quick_reply_button `Yes` {at}")),
        (
            "messages",
            button("tt1:promo:en|mine", json!({"id": "M2"})),
            format!("quick_reply_button `Yes` {at} on M2 sign promo/en"),
        ),
        (
            "messages",
            json!({"id": "I1", "type": "button", "timestamp": &seconds,
                "button": {"payload": "tt1:promo:en|mine"}}),
            format!("quick_reply_button `mine` {at} sign promo/en"),
        ),
        (
            "messages",
            json!({"id": "I1", "type": "interactive", "timestamp": &seconds,
                "context": {"id": "M2"}, "interactive": {"type": "button_reply",
                "button_reply": {"id": "tt1:promo:en", "title": "A\nB"}}}),
            format!("interactive_reply `A B` {at}"),
        ),
        (
            "user_actions",
            json!({"action_type": "marketing_messages_link_click", "timestamp": &seconds,
                "marketing_messages_link_click_data": {"click_id": "C1", "click_component": "CTA"}}),
            "url_button `cta` C1 marketing_messages_link_click +0 a 15550000000".to_owned(),
        ),
        (
            "messages",
            json!({"id": "I1", "type": "text", "timestamp": &seconds, "text": {"body": "hi"}}),
            "nothing entry 0, change 0, messages 0: text".to_owned(),
        ),
    ] {
        let lines = reader.meta(&body("id-a", list, json!([told.clone()])));
        assert_eq!(lines, [expected], "{told}");
    }
}

#[tokio::test]
async fn what_cannot_be_counted_is_dead_and_its_neighbours_count() {
    let reader = Reader::new().await;
    let good = status(json!({"id": "M2", "status": "read"}));
    let counted = "read M2 +0 a 15550000000";
    for (bad, why) in [
        (json!(7), "it is not an object"),
        (status(json!({"id": null})), "`id` is missing"),
        (status(json!({"timestamp": "soon"})), "`timestamp` cannot be read"),
        (status(json!({"timestamp": "1230767999"})), "its time is before 2009"),
        (status(json!({"timestamp": SECONDS + 86_461})), "its time is before 2009"),
    ] {
        let lines = reader.meta(&body("id-a", "statuses", json!([bad.clone(), good.clone()])));
        assert_eq!(lines.len(), 2, "{bad}: {lines:?}");
        assert_eq!(lines[0], counted, "{bad}");
        let dead = format!("dead entry 0, change 0, statuses 0: {why}");
        assert!(lines[1].starts_with(&dead), "{bad}: {lines:?}");
    }
    // At the edge of what can have happened, it counts.
    for edge in [json!("1230768000"), json!(SECONDS + 86_460)] {
        let told = body("id-a", "statuses", json!([status(json!({"timestamp": edge}))]));
        assert!(reader.meta(&told)[0].starts_with("delivered"), "{told}");
    }
}

#[tokio::test]
async fn a_body_speaks_only_for_its_channels_and_only_for_their_source() {
    let reader = Reader::new().await;
    let mut shown = Vec::new();
    for id in ["id-z", "id-nobody", "id-r", "15550000000"] {
        shown.push(reader.meta(&body(id, "statuses", json!([status(json!({}))]))));
    }
    let at = "dead entry 0, change 0, statuses 0: ";
    for (index, start) in [
        "the phone_number_id `id-z` is of no channel that",
        "the phone_number_id `id-nobody` is of no channel that",
        "the channel `r` takes its statuses from CAMS receipts",
        "the phone_number_id `15550000000` is of no channel that",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(shown[index].len(), 1);
        assert!(shown[index][0].starts_with(&format!("{at}{start}")), "{:?}", shown[index]);
    }
    let mut without = body("id-a", "statuses", json!([status(json!({}))]));
    without["entry"][0]["changes"][0]["value"]["metadata"] = json!({"display_phone_number": "1"});
    assert!(reader.meta(&without)[0].contains("`phone_number_id` is missing"));
    // Taps follow the source of the statuses; opened links and categories are told here only.
    let click = json!([{"action_type": "marketing_messages_link_click", "timestamp": SECONDS,
        "marketing_messages_link_click_data": {"click_id": "C1"}}]);
    assert!(reader.meta(&body("id-r", "user_actions", click))[0].starts_with("url_button"));
    let tap =
        json!([{"id": "I1", "type": "button", "timestamp": SECONDS, "button": {"text": "Y"}}]);
    assert!(reader.meta(&body("id-r", "messages", tap))[0].starts_with("dead"));
}

#[tokio::test]
async fn a_change_of_category_is_found_by_account_and_template() {
    let reader = Reader::new().await;
    let update = |waba: &str, value: Value| {
        json!({"entry": [{"id": waba, "time": SECONDS,
            "changes": [{"field": "template_category_update", "value": value}]}]})
    };
    let place = "entry 0, change 0";
    for (waba, value, expected) in [
        (
            "waba-a",
            json!({"message_template_id": 4711, "previous_category": "UTILITY",
                "new_category": "MARKETING"}),
            r#"a promo/en marketing +0 before Some("utility")"#.to_owned(),
        ),
        (
            "waba-a",
            json!({"message_template_id": 4711, "new_category": "MARKETING",
                "correct_category": "UTILITY", "category_update_timestamp": SECONDS + 60}),
            r#"a promo/en utility +60000 before Some("marketing")"#.to_owned(),
        ),
        (
            "waba-a",
            json!({"message_template_id": 99, "message_template_name": "summer",
                "message_template_language": "en", "new_category": "UTILITY"}),
            "a promo/en utility +0 before None".to_owned(),
        ),
        (
            "waba-a",
            json!({"message_template_id": 99, "new_category": "UTILITY"}),
            format!("dead {place}: the template is not known; add it, then replay"),
        ),
        (
            "waba-a",
            json!({"message_template_id": 4711, "new_category": "SERVICE"}),
            format!("dead {place}: `SERVICE` is no category; `MARKETING`"),
        ),
        (
            "waba-z",
            json!({"message_template_id": 4711, "new_category": "UTILITY"}),
            format!("dead {place}: its WhatsApp Business account is of no channel that"),
        ),
    ] {
        let [line] = reader.meta(&update(waba, value.clone())).try_into().unwrap();
        assert!(line.starts_with(&expected), "{waba} {value}: {line}");
    }
    let mut timeless = update(
        "waba-a",
        json!({"message_template_id": 4711,
        "new_category": "UTILITY"}),
    );
    timeless["entry"][0]["time"] = json!(null);
    assert!(reader.meta(&timeless)[0].contains("says from when on"));
}

fn receipt(extra: Value) -> Value {
    let mut receipt = json!({"MessageId": "M1", "From": "+1 5550000002", "To": "4915112345678",
        "Timestamp": SECONDS * 1_000 + 7, "Status": "Delivered", "TaskId": "x"});
    for (name, value) in extra.as_object().unwrap() {
        receipt[name] = value.clone();
    }
    receipt
}

#[tokio::test]
async fn a_receipt_becomes_what_it_says() {
    let reader = Reader::new().await;
    let at = "M1 +7 r 15550000002";
    let place = "receipt 0";
    for (told, expected) in [
        (receipt(json!({})), format!("delivered {at}")),
        (receipt(json!({"Status": "Sent"})), format!("sent {at}")),
        (receipt(json!({"Status": "Read"})), format!("read {at}")),
        (
            receipt(json!({"Status": "Failed", "ErrorCode": "131026"})),
            format!("failed {at} error 131026"),
        ),
        (
            receipt(json!({"MsgFrameType": "template", "TemplateCode": "c9", "Language": "pt_BR"})),
            format!("delivered {at} by Receipt c9/pt_BR"),
        ),
        (
            receipt(json!({"MsgFrameType": "template", "TemplateName": "summer",
                "Language": "en"})),
            format!("delivered {at} by Receipt promo/en"),
        ),
        (
            receipt(json!({"MsgFrameType": "message", "TemplateCode": ""})),
            format!("delivered {at} by Receipt free-form"),
        ),
        (receipt(json!({"Status": "Deleted"})), format!("nothing {place}: status Deleted")),
        (
            receipt(json!({"Status": "unsubscribe"})),
            format!("nothing {place}: status of a subscription"),
        ),
        (receipt(json!({"Status": "Melted"})), format!("unknown {place}: status Melted")),
        (
            json!({"MessageId": "I1", "To": "15550000002", "From": "4915112345678",
                "Timestamp ": SECONDS * 1_000, "NoticeType": "inbound", "Type": "REPLY",
                "Message": "{\"text\":\"Yes\",\"payload\":\"tt1:promo:en|x\"}"}),
            "quick_reply_button `Yes` I1 +0 r 15550000002 sign promo/en".to_owned(),
        ),
        (
            json!({"MessageId": "I1", "To": "15550000002", "Timestamp": SECONDS * 1_000,
                "NoticeType": "inbound", "Type": "TEXT", "Message": "hi"}),
            format!("nothing {place}: ChatAppInbound"),
        ),
        (
            json!({"WabaId": "1", "TemplateCode": "c", "Language": "en", "AuditStatus": "pass"}),
            format!("nothing {place}: ChatAppAudit"),
        ),
        (json!({"Hello": 1}), format!("unknown {place}: receipt")),
        (receipt(json!({"MessageId": ""})), format!("dead {place}: `MessageId` is missing")),
        (
            receipt(json!({"From": null})),
            format!("dead {place}: `From` is missing, so that it belongs to no number"),
        ),
        // Another tenant's, and nobody's: told alike, and without the digits.
        (
            receipt(json!({"From": "15550000003"})),
            format!("dead {place}: the From `…03` is of no channel that this body"),
        ),
        (
            receipt(json!({"From": "15550000009"})),
            format!("dead {place}: the From `…09` is of no channel that this body"),
        ),
        // A channel of the body's own that takes its statuses from webhooks.
        (
            receipt(json!({"From": "15550000000"})),
            format!("dead {place}: the channel `a` takes its statuses from webhooks"),
        ),
    ] {
        let [line] = reader.receipts(&json!([told.clone()])).try_into().unwrap();
        assert!(line.starts_with(&expected), "{told}: {line}");
    }
    let half = receipt(json!({"MsgFrameType": "template", "TemplateCode": "c9"}));
    assert_eq!(
        reader.receipts(&json!([half])),
        [
            format!("delivered {at}"),
            format!("partly {place}: `TemplateCode` and `Language` do not name a template"),
        ]
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_dead_as_a_whole() {
    let reader = Reader::new().await;
    let channels = [channel("a")];
    let context = reader.context(&channels);
    for raw in ["", "{", "nonsense", "\u{0}"] {
        for out in [meta(&context, raw.as_bytes()), receipts(&context, raw.as_bytes())] {
            assert_eq!(out.dead.len(), 1, "{raw:?}");
            assert_eq!((out.dead[0].path.as_str(), out.events.len()), ("body", 0), "{raw:?}");
        }
    }
    let many = |n| {
        let told: Vec<Value> =
            (0..n).map(|index| status(json!({"id": format!("m{index}")}))).collect();
        let out = meta(&context, body("id-a", "statuses", json!(told)).to_string().as_bytes());
        (out.events.len(), out.dead.len())
    };
    assert_eq!(many(1_000), (1_000, 0));
    assert_eq!(many(1_001), (0, 1));
}

#[tokio::test]
async fn only_the_named_parts_are_read_again() {
    let reader = Reader::new().await;
    let channels = [channel("a")];
    let told = json!([status(json!({})), status(json!({"id": "M2"}))]);
    let bytes = body("id-a", "statuses", told).to_string();
    for (path, count) in
        [("entry 0, change 0, statuses 1", 1), ("body", 2), ("entry 0, change 0, statuses 9", 0)]
    {
        let only = [Dead { path: path.to_owned(), why: String::new() }];
        let context = Context { only: Some(&only), ..reader.context(&channels) };
        assert_eq!(meta(&context, bytes.as_bytes()).events.len(), count, "{path}");
    }
}
