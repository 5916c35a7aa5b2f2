//! What the Cloud API tells of a number, in the words of CAMS: receipts as the platform pushes them.
//!
//! The other direction of [`super::parse`], which reads what is made here. What always holds: each
//! status and each message stands alone, and what has no id or no time is left out; the sign that
//! we put before a payload is taken off again.

use serde_json::{Map, Value, json};

use super::super::sign::SignView;

/// Whose number it is that something is told of.
#[derive(Clone, Copy, Debug)]
pub struct Number<'a> {
    /// The channel: `CustSpaceId`.
    pub channel: &'a str,
    /// The WhatsApp Business account.
    pub waba_id: &'a str,
    /// The number, digits.
    pub number: &'a str,
}

/// `ChatAppStatus` for each status in the `value` of a change. `name_of` gives the name of a
/// template by its code and language.
pub fn statuses(
    value: &Value,
    of: Number<'_>,
    name_of: impl Fn(&str, &str) -> Option<String>,
) -> Vec<Value> {
    list(value, "statuses").filter_map(|told| status(value, told, of, &name_of)).collect()
}

/// `ChatAppInbound` for each message in the `value` of a change.
#[must_use]
pub fn inbound(value: &Value, of: Number<'_>) -> Vec<Value> {
    list(value, "messages").filter_map(|told| message(value, told, of)).collect()
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// A text, or a number as one; not an empty one.
fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Seconds, as milliseconds.
fn time(told: &Value) -> Option<i64> {
    word(told.get("timestamp"))?.parse::<i64>().ok()?.checked_mul(1_000)
}

/// What is there, under its name.
fn put(
    out: &mut Map<String, Value>,
    fields: impl IntoIterator<Item = (&'static str, Option<String>)>,
) {
    for (name, text) in fields {
        if let Some(text) = text {
            out.insert(name.to_owned(), text.into());
        }
    }
}

fn status(
    value: &Value,
    told: &Value,
    of: Number<'_>,
    name_of: &impl Fn(&str, &str) -> Option<String>,
) -> Option<Value> {
    // A call's status has another meaning.
    if word(told.get("type")).is_some_and(|kind| kind.eq_ignore_ascii_case("call")) {
        return None;
    }
    let said = match word(told.get("status"))?.to_ascii_lowercase().as_str() {
        "sent" => "Sent",
        "delivered" => "Delivered",
        // A voice message that was played was read; CAMS has no word of its own.
        "read" | "played" => "Read",
        "failed" => "Failed",
        _ => return None,
    };
    let id = word(told.get("id"))?;
    let user_id = word(told.get("recipient_user_id"));
    let person = word(told.get("recipient_id")).or_else(|| user_id.clone());
    let data = word(told.get("biz_opaque_callback_data"));
    let sign = data.as_deref().and_then(SignView::parse);
    let kind = conversation_type(told);
    // What is not known is not said: a free-form message is known by its category only.
    let frame = match (&sign, kind) {
        (Some(_), _) => Some("template"),
        (None, Some("service")) => Some("message"),
        (None, kind) => kind.map(|_| "template"),
    };
    let mut out = Map::new();
    out.insert("MessageId".to_owned(), id.clone().into());
    out.insert("Timestamp".to_owned(), time(told)?.into());
    let profile = contact(value, person.as_deref(), user_id.as_deref());
    put(
        &mut out,
        [
            ("Status", Some(said.to_owned())),
            ("From", Some(of.number.to_owned())),
            ("To", person),
            ("FromUserId", user_id),
            ("FromParentUserId", word(told.get("recipient_parent_user_id"))),
            ("FromUserName", profile.and_then(|it| word(it.pointer("/profile/username")))),
            ("MsgFrameType", frame.map(str::to_owned)),
            ("TaskId", Some(id)),
            ("ConversationType", kind.map(str::to_owned)),
            ("ConversationId", word(told.pointer("/conversation/id"))),
        ],
    );
    if let Some(sign) = sign {
        let name = name_of(&sign.code, &sign.language);
        let (code, language) = (sign.code.into_owned(), sign.language.into_owned());
        let template = [("TemplateCode", code), ("Language", language)];
        put(&mut out, template.map(|(field, text)| (field, Some(text))));
        put(&mut out, [("TemplateName", name)]);
    }
    if let Some(error) = list(told, "errors").next().filter(|_| said == "Failed") {
        put(&mut out, failure(error));
    }
    Some(out.into())
}

/// Why a message failed.
fn failure(error: &Value) -> [(&'static str, Option<String>); 3] {
    let title = word(error.get("title"));
    let details = word(error.pointer("/error_data/details"));
    let message = word(error.get("message")).or_else(|| title.clone());
    [
        ("StatusDescription", title),
        ("ErrorCode", word(error.get("code"))),
        ("ErrorDescription", details.or(message)),
    ]
}

/// What kind of conversation it is charged as: `service`, `utility`, `marketing` or
/// `authentication`.
fn conversation_type(told: &Value) -> Option<&'static str> {
    let category = word(told.pointer("/pricing/category"));
    let category = category.or_else(|| word(told.pointer("/conversation/origin/type")))?;
    let begins = |known: &&&str| category.to_ascii_lowercase().starts_with(**known);
    let known = ["service", "utility", "marketing", "authentication", "referral_conversion"];
    match *known.iter().find(begins)? {
        "referral_conversion" => Some("service"),
        known => Some(known),
    }
}

/// The contact that is this person.
fn contact<'a>(value: &'a Value, number: Option<&str>, user_id: Option<&str>) -> Option<&'a Value> {
    let is = |contact: &&Value, field: &str, who: Option<&str>| {
        who.is_some() && word(contact.get(field)).as_deref() == who
    };
    let mut known = list(value, "contacts");
    known.find(|it| is(it, "wa_id", number) || is(it, "user_id", user_id))
}

fn message(value: &Value, told: &Value, of: Number<'_>) -> Option<Value> {
    let user_id = word(told.get("from_user_id"));
    let person = word(told.get("from")).or_else(|| user_id.clone());
    let (kind, content) = content(told)?;
    let name = contact(value, person.as_deref(), user_id.as_deref());
    let name = name.and_then(|it| word(it.pointer("/profile/name")));
    let mut out = Map::new();
    out.insert("MessageId".to_owned(), word(told.get("id"))?.into());
    out.insert("Timestamp".to_owned(), time(told)?.into());
    put(
        &mut out,
        [
            ("CustSpaceId", Some(of.channel.to_owned())),
            ("WabaId", Some(of.waba_id.to_owned())),
            ("From", person),
            ("To", Some(of.number.to_owned())),
            ("DisplayName", name.clone()),
            ("Name", name),
            ("NoticeType", Some("inbound".to_owned())),
            ("Type", Some(kind)),
            ("Message", Some(content)),
        ],
    );
    Some(out.into())
}

/// `Type` and `Message`: a text as it is, anything else as JSON in a text. Nothing of a reply that
/// does not say what was tapped.
fn content(told: &Value) -> Option<(String, String)> {
    let kind = word(told.get("type")).unwrap_or_else(|| "unknown".to_owned());
    let reply = |text: Option<String>, payload: Option<String>| {
        let is_told = text.is_some() || payload.is_some();
        is_told.then(|| ("REPLY".to_owned(), json!({"text": text, "payload": payload}).to_string()))
    };
    Some(match kind.as_str() {
        "text" => ("TEXT".to_owned(), word(told.pointer("/text/body")).unwrap_or_default()),
        "button" => {
            let text = word(told.pointer("/button/text"));
            let payload = word(told.pointer("/button/payload"));
            let signed = payload.as_deref().and_then(SignView::parse_payload);
            let own = signed.map(|(_, own)| own.map(str::to_owned));
            // Without a payload of the caller's own it is the text, as WhatsApp has it.
            let payload = own.map_or(payload, |own| own.or_else(|| text.clone()));
            reply(text, payload)?
        }
        "interactive" => {
            let of = |kind: &str| told.pointer(&format!("/interactive/{kind}"));
            match of("button_reply").or_else(|| of("list_reply")) {
                Some(chosen) => reply(word(chosen.get("title")), word(chosen.get("id")))?,
                None => ("INTERACTIVE".to_owned(), as_text(told.get("interactive"))),
            }
        }
        "voice" => ("AUDIO".to_owned(), as_text(told.get("voice"))),
        _ => (kind.to_ascii_uppercase(), as_text(told.get(&kind).or_else(|| told.get("errors")))),
    })
}

fn as_text(value: Option<&Value>) -> String {
    value.map_or_else(|| "{}".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use super::super::{StatusWord, What, parse};
    use super::*;

    const OF: Number<'_> = Number { channel: "cams-1", waba_id: "3000", number: "15550783881" };

    fn name_of(code: &str, language: &str) -> Option<String> {
        (code == "1001" && language == "en").then(|| "spring".to_owned())
    }

    fn told(status: Value) -> Value {
        let value = json!({"statuses": [status], "contacts": [
            {"wa_id": "15550001", "profile": {"name": "Ada", "username": "@ada"}}]});
        statuses(&value, OF, name_of).pop().unwrap_or_default()
    }

    fn heard(message: Value) -> Value {
        let value = json!({"messages": [message], "contacts": [
            {"wa_id": "15550001", "profile": {"name": "Ada"}}]});
        inbound(&value, OF).pop().unwrap_or_default()
    }

    #[test]
    fn a_status_of_a_template_names_it() {
        let status =
            told(json!({"id": "wamid.1", "status": "delivered", "timestamp": "1790900000",
            "recipient_id": "15550001", "biz_opaque_callback_data": "tt1:1001:en",
            "pricing": {"category": "marketing_lite"}, "conversation": {"id": "c1"}}));
        assert_eq!(
            status,
            json!({"MessageId": "wamid.1", "Status": "Delivered", "Timestamp": 1_790_900_000_000_i64,
                "From": "15550783881", "To": "15550001", "FromUserName": "@ada",
                "MsgFrameType": "template", "TaskId": "wamid.1", "ConversationType": "marketing",
                "ConversationId": "c1", "TemplateCode": "1001", "TemplateName": "spring",
                "Language": "en"})
        );
    }

    #[test]
    fn a_failed_message_has_its_error() {
        let status = told(json!({"id": "wamid.1", "status": "failed", "timestamp": 1_790_900_000,
            "recipient_user_id": "US.1", "errors": [
                {"code": 131_026, "title": "Message undeliverable", "message": "m",
                 "error_data": {"details": "not on WhatsApp"}}, {"code": 1}]}));
        assert_eq!(
            status,
            json!({"MessageId": "wamid.1", "Status": "Failed", "Timestamp": 1_790_900_000_000_i64,
                "From": "15550783881", "To": "US.1", "FromUserId": "US.1",
                "TaskId": "wamid.1", "ErrorCode": "131026",
                "StatusDescription": "Message undeliverable", "ErrorDescription": "not on WhatsApp"})
        );
    }

    #[test]
    fn what_is_no_receipt_is_left_out() {
        for status in [
            json!({"id": "x", "status": "deleted", "timestamp": "1"}),
            json!({"id": "x", "status": "sent", "timestamp": "soon"}),
            json!({"id": "x", "status": "sent", "timestamp": i64::MAX}),
            json!({"status": "sent", "timestamp": "1"}),
            json!({"id": "x", "status": "ACCEPTED", "timestamp": "1", "type": "call"}),
            json!(5),
        ] {
            assert_eq!(told(status.clone()), Value::Null, "{status}");
        }
        assert_eq!(heard(json!({"id": "x", "type": "text"})), Value::Null);
        assert_eq!(statuses(&json!({"statuses": {"0": {}}}), OF, name_of), Vec::<Value>::new());
    }

    #[test]
    fn a_message_is_told_by_its_kind() {
        let of = |kind: &str, content: Value| {
            let mut message =
                json!({"id": "wamid.2", "from": "15550001", "timestamp": "1790900000"});
            message["type"] = kind.into();
            if !content.is_null() {
                message[kind] = content;
            }
            let heard = heard(message);
            for (field, expected) in [
                ("CustSpaceId", "cams-1"),
                ("WabaId", "3000"),
                ("From", "15550001"),
                ("To", "15550783881"),
                ("NoticeType", "inbound"),
                ("Name", "Ada"),
            ] {
                assert_eq!(heard[field], expected, "{kind}");
            }
            let text = |field: &str| heard[field].as_str().unwrap().to_owned();
            (text("Type"), text("Message"))
        };
        let expect = |kind: &str, message: &str| (kind.to_owned(), message.to_owned());
        assert_eq!(of("text", json!({"body": "hello"})), expect("TEXT", "hello"));
        let image = of("image", json!({"id": "4711", "mime_type": "image/jpeg"}));
        assert_eq!(image, expect("IMAGE", r#"{"id":"4711","mime_type":"image/jpeg"}"#));
        let reply = |payload: &str| {
            let (kind, message) = of("button", json!({"text": "Yes", "payload": payload}));
            assert_eq!(kind, "REPLY");
            let message: Value = serde_json::from_str(&message).unwrap();
            assert_eq!(message["text"], "Yes");
            message["payload"].as_str().unwrap().to_owned()
        };
        assert_eq!(reply("tt1:1001:en|more"), "more");
        assert_eq!(reply("tt1:1001:en"), "Yes");
        assert_eq!(reply("mine"), "mine");
        let list = json!({"type": "list_reply", "list_reply": {"id": "row-1", "title": "Row"}});
        assert_eq!(of("interactive", list), expect("REPLY", r#"{"payload":"row-1","text":"Row"}"#));
        let form = json!({"type": "nfm_reply", "nfm_reply": {"name": "flow"}});
        assert_eq!(of("interactive", form).0, "INTERACTIVE");
        assert_eq!(of("voice", json!({"id": "1"})), expect("AUDIO", r#"{"id":"1"}"#));
        assert_eq!(of("reaction", json!({"emoji": "x"})).0, "REACTION");
        assert_eq!(of("unsupported", Value::Null), expect("UNSUPPORTED", "{}"));
    }

    /// Every file of the Cloud API that is in the tests: what is made of it is read again.
    #[test]
    fn what_is_told_is_read_again() {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/webhook");
        let (mut reports, mut statuses_read) = (Vec::new(), 0);
        for folder in ["statuses", "messages", "taps", "replies"] {
            for file in std::fs::read_dir(format!("{data}/{folder}")).unwrap() {
                let body = std::fs::read(file.unwrap().path()).unwrap();
                let Ok(body) = serde_json::from_slice::<Value>(&body) else { continue };
                let values = list(&body, "entry").flat_map(|entry| list(entry, "changes"));
                for value in values.filter_map(|change| change.get("value")) {
                    reports.extend(statuses(value, OF, name_of));
                    reports.extend(inbound(value, OF));
                }
            }
        }
        let body = Value::from(reports.clone()).to_string();
        let read = parse(body.as_bytes()).unwrap();
        assert_eq!(read.len(), reports.len());
        assert!(read.len() > 50, "{}", read.len());
        for (read, report) in read.iter().zip(&reports) {
            match &read.what {
                What::Status(status) => {
                    statuses_read += 1;
                    assert!(status.status != StatusWord::Other && status.unread.is_empty());
                    assert_eq!(status.from.as_deref(), Some(OF.number));
                    assert_eq!(report["MessageId"], status.message_id.as_str());
                    assert_eq!(report["Timestamp"], status.time_ms);
                }
                What::Inbound(inbound) => {
                    assert_eq!(inbound.to.as_deref(), Some(OF.number));
                    assert_eq!(inbound.reply.is_some(), report["Type"] == "REPLY");
                }
                other => panic!("{other:?} of {report}"),
            }
        }
        assert!(statuses_read > 20, "{statuses_read}");
    }
}
