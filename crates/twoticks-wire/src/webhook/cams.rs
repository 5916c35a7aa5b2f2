//! CAMS receipts: statuses, uplink messages and audits, as the platform pushes them.
//!
//! A body is a JSON array of reports (a lone report is read, too); a report is told by its keys.
//! To add a kind: a variant of [`What`], a struct of its raw fields, an arm in `read`. What always
//! holds: each report stands alone, texts may be numbers and numbers texts, blanks around a key
//! (the documentation's own sample has `"Timestamp "`) are not part of it.

pub mod tell;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{self, Fields, needed};
use super::sign::Sign;
use super::{BODY_MAX, Defect, Unreadable};

/// How many reports one body may carry.
pub const RECEIPTS_MAX: usize = 10_000;

/// One report, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the array, from 0.
    pub index: u32,
    /// What it tells.
    pub what: What,
}

/// What a report tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `ChatAppStatus`: something happened to a message.
    Status(Box<Status>),
    /// `ChatAppInbound`: somebody wrote, or tapped a quick reply.
    Inbound(Box<Inbound>),
    /// `ChatAppAudit`: a template was audited; version 2 tells of numbers and accounts, too.
    Audit(Box<Audit>),
    /// None of the three: kept, not counted.
    Unknown,
    /// Broken: a dead letter.
    Bad {
        /// What is wrong with it.
        why: Defect,
    },
}

/// `ChatAppStatus`. What is not described is as CAMS documents it, and as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The message. Never empty.
    pub message_id: String,
    /// What happened.
    pub status: StatusWord,
    /// The word for it as told. Never empty.
    pub word: String,
    /// When, in milliseconds of Unix time.
    pub time_ms: i64,
    /// `From`.
    pub from: Option<String>,
    /// `To`.
    pub to: Option<String>,
    /// `FromUserId`: a BSUID.
    pub from_user_id: Option<String>,
    /// `StatusDescription`.
    pub status_description: Option<String>,
    /// `ErrorCode`: Meta's, such as `131026`.
    pub error_code: Option<String>,
    /// `ErrorDescription`.
    pub error_description: Option<String>,
    /// `ConversationType`: `service`, `utility`, `marketing`, `authentication`.
    pub conversation_type: Option<String>,
    /// `ConversationId`.
    pub conversation_id: Option<String>,
    /// `MsgFrameType`: `template` or `message`.
    pub msg_frame_type: Option<String>,
    /// `TaskId`: the sender's own mark; the message's id if none was given.
    pub task_id: Option<String>,
    /// `OriginPhoneNumber`.
    pub origin_phone_number: Option<String>,
    /// `TemplateCode`.
    pub template_code: Option<String>,
    /// `TemplateName`.
    pub template_name: Option<String>,
    /// `Language` of the template.
    pub language: Option<String>,
    /// Optional fields that are there but could not be read, and so are absent above.
    pub unread: Vec<&'static str>,
}

/// The words for statuses that are known, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StatusWord {
    /// `Sent`.
    Sent,
    /// `Delivered`.
    Delivered,
    /// `Read`.
    Read,
    /// `Failed`.
    Failed,
    /// `Deleted`: documented, never pushed.
    Deleted,
    /// `subscribe`: Viber.
    Subscribe,
    /// `unsubscribe`: Viber.
    Unsubscribe,
    /// Another word: see [`Status::word`].
    Other,
}

/// `ChatAppInbound`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// The inbound message. Never empty.
    pub message_id: String,
    /// When, in milliseconds of Unix time.
    pub time_ms: i64,
    /// `CustSpaceId`: the channel.
    pub cust_space_id: Option<String>,
    /// `WabaId`.
    pub waba_id: Option<String>,
    /// `From`: who wrote.
    pub from: Option<String>,
    /// `To`: the business number.
    pub to: Option<String>,
    /// `Type` in upper case, such as `TEXT` or `REPLY`.
    pub kind: Option<String>,
    /// What was tapped, if the type is `REPLY`.
    pub reply: Option<Reply>,
    /// Optional fields that are there but could not be read, and so are absent above.
    pub unread: Vec<&'static str>,
}

/// The quick reply that was tapped; its text or its payload is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The button's text.
    pub text: Option<String>,
    /// The button's payload.
    pub payload: Option<String>,
}

impl Reply {
    /// Our sign, where the payload carries one.
    #[must_use]
    pub fn sign(&self) -> Option<Sign> {
        Sign::parse_payload(self.payload.as_deref()?).map(|(sign, _)| sign)
    }
}

/// `ChatAppAudit`, both versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// `WabaId`.
    pub waba_id: Option<String>,
    /// `TemplateCode`.
    pub template_code: Option<String>,
    /// `Language` of the template.
    pub language: Option<String>,
    /// `AuditStatus`: `pass`, `fail`, `auditing`, `unaudit`, `disabled`, `paused`.
    pub audit_status: Option<String>,
    /// `Reason`.
    pub reason: Option<String>,
    /// `Type`: version 2 only.
    pub kind: Option<String>,
}

/// The reports of a body, in its order; an empty array has none.
///
/// # Errors
///
/// If the body as a whole is too long, no JSON, or has more than [`RECEIPTS_MAX`] reports. All
/// that is wrong with one report is a [`What::Bad`] in its place.
pub fn parse(raw: &[u8]) -> Result<Vec<Receipt>, Unreadable> {
    if raw.len() > BODY_MAX {
        return Err(Unreadable::TooLong { bytes: raw.len() });
    }
    let text = String::from_utf8_lossy(raw);
    let is_utf8 = matches!(text, Cow::Borrowed(_));
    let body: &RawValue = serde_json::from_str(&text)
        .map_err(|error| Unreadable::NotJson { line: error.line(), column: error.column() })?;
    let (mut receipts, mut over) = (Vec::new(), false);
    json::elements(body, &mut |report| {
        over = receipts.len() == RECEIPTS_MAX;
        if !over {
            let is_spoilt = !is_utf8 && report.get().contains(char::REPLACEMENT_CHARACTER);
            let what = if is_spoilt { Err(Defect::NotUtf8) } else { read(report) };
            let what = what.unwrap_or_else(|why| What::Bad { why });
            let index = u32::try_from(receipts.len()).unwrap_or(u32::MAX);
            receipts.push(Receipt { index, what });
        }
        !over
    });
    if over { Err(Unreadable::TooMany { max: RECEIPTS_MAX }) } else { Ok(receipts) }
}

/// The fields of one report by their names, without blanks around them.
#[derive(Default)]
struct Told<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Told<'a> {
    fn read(raw: &'a RawValue) -> Result<Self, Defect> {
        let mut told = Self::default();
        for (key, value) in json::members(raw).ok_or(Defect::NotAnObject)? {
            let key = match key {
                Cow::Borrowed(key) => Cow::Borrowed(key.trim()),
                Cow::Owned(key) => Cow::Owned(key.trim().to_owned()),
            };
            if told.0.insert(key, value).is_some() {
                return Err(Defect::Keys);
            }
        }
        Ok(told)
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }
}

fn read(raw: &RawValue) -> Result<What, Defect> {
    let told = Told::read(raw)?;
    if told.get("AuditStatus").is_some() {
        Ok(What::Audit(Box::new(audit(&told))))
    } else if told.get("Status").is_some() {
        status(&told)
    } else if told.get("NoticeType").is_some() || told.get("Message").is_some() {
        inbound(&told)
    } else if told.get("MessageId").is_none()
        && told.get("WabaId").is_some()
        && told.get("Type").is_some()
    {
        Ok(What::Audit(Box::new(audit(&told))))
    } else {
        Ok(What::Unknown)
    }
}

fn status(told: &Told<'_>) -> Result<What, Defect> {
    let mut fields = Fields::default();
    let mut optional = |name| fields.text(name, told.get(name));
    let word = needed("Status", told.get("Status"), json::word)?;
    let status = Status {
        message_id: needed("MessageId", told.get("MessageId"), json::word)?,
        status: status_word(&word),
        word,
        time_ms: needed("Timestamp", told.get("Timestamp"), json::integer)?,
        from: optional("From"),
        to: optional("To"),
        from_user_id: optional("FromUserId"),
        status_description: optional("StatusDescription"),
        error_code: optional("ErrorCode"),
        error_description: optional("ErrorDescription"),
        conversation_type: optional("ConversationType"),
        conversation_id: optional("ConversationId"),
        msg_frame_type: optional("MsgFrameType"),
        task_id: optional("TaskId"),
        origin_phone_number: optional("OriginPhoneNumber"),
        template_code: optional("TemplateCode"),
        template_name: optional("TemplateName"),
        language: optional("Language"),
        unread: fields.unread,
    };
    Ok(What::Status(Box::new(status)))
}

fn status_word(word: &str) -> StatusWord {
    let known = [
        ("sent", StatusWord::Sent),
        ("delivered", StatusWord::Delivered),
        ("read", StatusWord::Read),
        ("failed", StatusWord::Failed),
        ("deleted", StatusWord::Deleted),
        ("subscribe", StatusWord::Subscribe),
        ("unsubscribe", StatusWord::Unsubscribe),
    ];
    known
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map_or(StatusWord::Other, |(_, known)| known)
}

fn inbound(told: &Told<'_>) -> Result<What, Defect> {
    let mut fields = Fields::default();
    let kind = fields.word("Type", told.get("Type")).map(|kind| kind.to_ascii_uppercase());
    let reply = match kind.as_deref() {
        Some("REPLY") => Some(reply(told.get("Message"))?),
        _ => None,
    };
    let mut optional = |name| fields.text(name, told.get(name));
    let inbound = Inbound {
        message_id: needed("MessageId", told.get("MessageId"), json::word)?,
        time_ms: needed("Timestamp", told.get("Timestamp"), json::integer)?,
        cust_space_id: optional("CustSpaceId"),
        waba_id: optional("WabaId"),
        from: optional("From"),
        to: optional("To"),
        kind,
        reply,
        unread: fields.unread,
    };
    Ok(What::Inbound(Box::new(inbound)))
}

#[derive(Deserialize)]
struct RawReply<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

/// `Message` of a `REPLY`: JSON in a text, or as an object; any other text is the button's own.
fn reply(message: Option<&RawValue>) -> Result<Reply, Defect> {
    let message = message.ok_or(Defect::Missing("Message"))?;
    let text = match message.get().starts_with('{') {
        true => message.get().to_owned(),
        false => needed("Message", Some(message), json::text)?,
    };
    let reply = match RawValue::from_string(text.clone()) {
        Ok(inner) if inner.get().starts_with('{') => {
            let RawReply { text, payload } =
                json::object(&inner).map_err(|_| Defect::Unreadable("Message"))?;
            Reply { text: text.and_then(json::text), payload: payload.and_then(json::text) }
        }
        _ => Reply { text: Some(text), payload: None },
    };
    match reply {
        Reply { text: None, payload: None } => Err(Defect::Missing("Message.text")),
        reply => Ok(reply),
    }
}

fn audit(told: &Told<'_>) -> Audit {
    let text = |name| told.get(name).and_then(json::text);
    Audit {
        waba_id: text("WabaId"),
        template_code: text("TemplateCode"),
        language: text("Language"),
        audit_status: text("AuditStatus"),
        reason: text("Reason"),
        kind: text("Type"),
    }
}
