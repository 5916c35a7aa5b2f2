//! Answers as the clients read them: JSON or XML, success or failure, with the headers they use.
//!
//! [`success`] and [`failure`] give a whole [`Answer`]. What always holds: keys are `PascalCase`, the
//! body is one JSON object (or XML document) whatever happens, `AccessDeniedDetail` is a text in a
//! success and an object in a failure (some clients throw otherwise), and the retry headers are
//! there only when the caller is throttled (the newest client takes any answer that has them for
//! throttling).

use serde::Serialize;
use serde_json::{Map, Value};

use crate::code::{Code, Refusal};

/// Content type of JSON answers.
pub const JSON_TYPE: &str = "application/json;charset=utf-8";

/// Content type of XML answers: clients parse XML under exactly this one.
pub const XML_TYPE: &str = "text/xml;charset=utf-8";

/// What the answer is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The default, unlike the original's: a client that asks for nothing can read it.
    #[default]
    Json,
    /// Only when it is asked for.
    Xml,
}

impl Format {
    /// Reads the parameter `Format`, in any case. Absent, empty and the literal `None` (which an
    /// old client sends when its user sets nothing) are JSON.
    ///
    /// # Errors
    /// `InvalidParameter.Format`; answer it in JSON.
    pub fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let text = text.unwrap_or_default();
        let is = |name: &str| text.eq_ignore_ascii_case(name);
        if is("xml") {
            Ok(Self::Xml)
        } else if is("json") || is("") || text == "None" {
            Ok(Self::Json)
        } else {
            Err(Code::InvalidParameterFormat.into())
        }
    }
}

/// An HTTP answer, without the HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, or the status of the code.
    pub status: u16,
    /// Value of `content-type`.
    pub content_type: &'static str,
    /// Further headers: `x-acs-request-id` always, the retry headers when throttled.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// When a throttled caller may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttled {
    /// Calls in a window.
    pub limit: u32,
    /// Milliseconds to wait; 0 is told as 1, since clients take 0 for no throttling at all.
    pub time_left_ms: u64,
    /// When there is room again, epoch milliseconds.
    pub reset_ms: i64,
}

impl Throttled {
    /// Each of the two serves another generation of clients.
    fn headers(self) -> [(&'static str, String); 2] {
        let Self { limit, time_left_ms, reset_ms } = self;
        let wait = time_left_ms.max(1);
        [
            ("x-acs-retry-after", wait.to_string()),
            (
                "x-ratelimit-user-api",
                format!("Limit:{limit},Remain:0,TimeLeft:{wait},Reset:{reset_ms}"),
            ),
        ]
    }
}

/// Why a policy denied a call: the object in the body of a denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessDeniedDetail {
    /// `AccountLevelIdentityBasedPolicy`, `SessionPolicy`, …
    pub policy_type: String,
    /// Uid of the account.
    pub auth_principal_owner_id: String,
    /// Opaque to the caller; the operator can decode it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoded_diagnostic_message: Option<String>,
    /// `SubUser`, `AssumedRoleUser`, `Federated`.
    pub auth_principal_type: String,
    /// Who was denied, e.g. the user's id or role:session.
    pub auth_principal_display_name: String,
    /// `ImplicitDeny` or `ExplicitDeny`.
    pub no_permission_type: String,
    /// E.g. `cams:GetChatappTemplateMetric`.
    pub auth_action: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Success<'a> {
    request_id: &'a str,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_denied_detail: Option<&'a str>,
    #[serde(flatten)]
    fields: &'a Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure<'a> {
    request_id: &'a str,
    host_id: &'a str,
    code: &'a str,
    message: &'a str,
    recommend: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_denied_detail: Option<&'a AccessDeniedDetail>,
}

/// The answer of an operation that did what it was asked.
///
/// `fields` are the operation's own, in `PascalCase`; its lists are JSON arrays, its counts and
/// times JSON integers. `action` names the root of an XML answer.
pub fn success(
    format: Format,
    action: &str,
    request_id: &str,
    message: &str,
    access_denied_detail: Option<&str>,
    fields: &Map<String, Value>,
) -> Answer {
    let body = Success { request_id, code: "OK", message, access_denied_detail, fields };
    answer(200, format, &format!("{action}Response"), request_id, &body)
}

/// What goes into a failure beside the refusal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    /// What the caller asked to be answered in.
    pub format: Format,
    /// Id of the request, an upper-case UUID.
    pub request_id: &'a str,
    /// `Host` of the request; empty if there was none.
    pub host_id: &'a str,
    /// With a denial: why.
    pub access_denied_detail: Option<&'a AccessDeniedDetail>,
    /// With throttling, and with nothing else: when to come back.
    pub throttled: Option<Throttled>,
}

/// The answer to a request that is refused, or that failed.
pub fn failure(refusal: &Refusal, circumstances: &Circumstances<'_>) -> Answer {
    let Circumstances { format, request_id, host_id, access_denied_detail, throttled } =
        *circumstances;
    let recommend = format!(
        "https://api.aliyun.com/troubleshoot?q={}&product=cams&requestId={request_id}",
        refusal.name()
    );
    let body = Failure {
        request_id,
        host_id,
        code: refusal.name(),
        message: &refusal.message(),
        recommend: &recommend,
        access_denied_detail,
    };
    let mut answer = answer(refusal.status(), format, "Error", request_id, &body);
    answer.headers.extend(throttled.into_iter().flat_map(Throttled::headers));
    answer
}

fn answer<T: Serialize>(
    status: u16,
    format: Format,
    root: &str,
    request_id: &str,
    body: &T,
) -> Answer {
    const WRITABLE: &str = "texts, numbers and lists of them can be written as JSON";
    let (content_type, body) = match format {
        Format::Json => (JSON_TYPE, serde_json::to_vec(body).expect(WRITABLE)),
        Format::Xml => {
            let value = serde_json::to_value(body).expect(WRITABLE);
            let mut out = String::from("<?xml version='1.0' encoding='UTF-8'?>");
            element(root, &value, &mut out);
            (XML_TYPE, out.into_bytes())
        }
    };
    let headers = vec![("x-acs-request-id", request_id.to_owned())];
    Answer { status, content_type, headers, body }
}

/// Writes one element. A list repeats its element, once for each item, which is a guess: the
/// original documents XML for texts and objects, and JSON alone for lists that have no singular.
fn element(name: &str, value: &Value, out: &mut String) {
    let name = element_name(name);
    let mut wrapped = |content: &dyn Fn(&mut String)| {
        out.extend(["<", &name, ">"]);
        content(out);
        out.extend(["</", &name, ">"]);
    };
    match value {
        Value::Null => wrapped(&|_| {}),
        Value::Bool(flag) => wrapped(&|out| out.push_str(if *flag { "true" } else { "false" })),
        Value::Number(number) => wrapped(&|out| out.push_str(&number.to_string())),
        Value::String(text) => wrapped(&|out| escape(text, out)),
        Value::Object(members) => wrapped(&|out| {
            for (name, value) in members {
                element(name, value, out);
            }
        }),
        Value::Array(items) if items.is_empty() => wrapped(&|_| {}),
        Value::Array(items) => {
            for item in items {
                element(&name, item, out);
            }
        }
    }
}

/// Letters, digits, `_`, `-` and `.`, not beginning with a digit, `-` or `.`; what else there is
/// becomes `_`, since an element cannot be called so.
fn element_name(name: &str) -> String {
    let held = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut out: String = name.chars().map(|c| if held(c) { c } else { '_' }).collect();
    if !out.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        out.insert(0, '_');
    }
    out
}

/// Escapes a text; characters that XML 1.0 cannot hold become U+FFFD.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // A parser would turn a bare one into a line feed.
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' => out.push(c),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text(answer: &Answer) -> &str {
        std::str::from_utf8(&answer.body).unwrap()
    }

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn xml_is_answered_only_when_it_is_asked_for() {
        for (given, format) in [
            (None, Format::Json),
            (Some(""), Format::Json),
            (Some("None"), Format::Json),
            (Some("JSON"), Format::Json),
            (Some("json"), Format::Json),
            (Some("XML"), Format::Xml),
            (Some("xml"), Format::Xml),
        ] {
            assert_eq!(Format::parse(given).unwrap(), format, "{given:?}");
        }
        for given in ["none", "yaml", "JSON ", "undefined"] {
            let refusal = Format::parse(Some(given)).unwrap_err();
            assert_eq!(refusal.name(), "InvalidParameter.Format", "{given}");
        }
    }

    #[test]
    fn a_success_is_one_json_object() {
        let data = fields(json!({"Data": [{"SentCount": 10, "Start": 1_693_107_714_687_i64}]}));
        let answer = success(Format::Json, "Get", "ID-1", "None", Some("None"), &data);
        insta::assert_snapshot!(text(&answer), @r#"{"RequestId":"ID-1","Code":"OK","Message":"None","AccessDeniedDetail":"None","Data":[{"SentCount":10,"Start":1693107714687}]}"#);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.content_type, "application/json;charset=utf-8");
        assert_eq!(answer.headers, [("x-acs-request-id", "ID-1".to_owned())]);
    }

    #[test]
    fn a_success_in_xml_repeats_the_element_of_a_list() {
        let data = fields(json!({"Data": [
            {"Language": "en", "Cliented": [{"Type": "url_button", "Count": 2}]},
            {"Language": "zh_CN", "Cliented": []},
        ]}));
        let answer = success(Format::Xml, "GetIt", "ID-1", "OK", None, &data);
        insta::assert_snapshot!(text(&answer), @"<?xml version='1.0' encoding='UTF-8'?><GetItResponse><Code>OK</Code><Data><Cliented><Count>2</Count><Type>url_button</Type></Cliented><Language>en</Language></Data><Data><Cliented></Cliented><Language>zh_CN</Language></Data><Message>OK</Message><RequestId>ID-1</RequestId></GetItResponse>");
        assert_eq!(answer.content_type, "text/xml;charset=utf-8");
    }

    #[test]
    fn a_failure_names_code_message_host_and_where_to_read_on() {
        let circumstances =
            Circumstances { request_id: "ID-1", host_id: "127.0.0.1:8080", ..Default::default() };
        let answer = failure(&Refusal::missing("Start"), &circumstances);
        insta::assert_snapshot!(text(&answer), @r#"{"RequestId":"ID-1","HostId":"127.0.0.1:8080","Code":"MissingStart","Message":"Start is mandatory for this action.","Recommend":"https://api.aliyun.com/troubleshoot?q=MissingStart&product=cams&requestId=ID-1"}"#);
        assert_eq!(answer.status, 400);
        let xml = Circumstances { format: Format::Xml, ..circumstances };
        let answer = failure(&Code::InvalidActionNotFound.into(), &xml);
        insta::assert_snapshot!(text(&answer), @"<?xml version='1.0' encoding='UTF-8'?><Error><Code>InvalidAction.NotFound</Code><HostId>127.0.0.1:8080</HostId><Message>Specified api is not found, please check your url and method.</Message><Recommend>https://api.aliyun.com/troubleshoot?q=InvalidAction.NotFound&amp;product=cams&amp;requestId=ID-1</Recommend><RequestId>ID-1</RequestId></Error>");
        assert_eq!(answer.status, 404);
    }

    #[test]
    fn a_denial_says_why_in_an_object() {
        let detail = AccessDeniedDetail {
            policy_type: "AccountLevelIdentityBasedPolicy".into(),
            auth_principal_owner_id: "1234567890123456".into(),
            encoded_diagnostic_message: None,
            auth_principal_type: "SubUser".into(),
            auth_principal_display_name: "288774427437".into(),
            no_permission_type: "ImplicitDeny".into(),
            auth_action: "cams:GetChatappTemplateMetric".into(),
        };
        let circumstances =
            Circumstances { access_denied_detail: Some(&detail), ..Default::default() };
        let answer = failure(&Code::RamPermissionDeny.into(), &circumstances);
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["AccessDeniedDetail"]["NoPermissionType"], "ImplicitDeny");
        assert_eq!(body["AccessDeniedDetail"]["AuthAction"], "cams:GetChatappTemplateMetric");
        assert!(body["AccessDeniedDetail"].get("EncodedDiagnosticMessage").is_none());
    }

    #[test]
    fn a_throttled_caller_is_told_when_to_come_back_for_each_generation_of_clients() {
        let throttled = Throttled { limit: 5, time_left_ms: 0, reset_ms: 1_795_402_052_000 };
        let circumstances = Circumstances { throttled: Some(throttled), ..Default::default() };
        let answer = failure(&Code::ThrottlingUser.into(), &circumstances);
        let headers = &answer.headers[1..];
        assert_eq!(headers[0], ("x-acs-retry-after", "1".to_owned()));
        assert_eq!(headers[1].0, "x-ratelimit-user-api");
        assert_eq!(headers[1].1, "Limit:5,Remain:0,TimeLeft:1,Reset:1795402052000");
        let answer = failure(&Code::SystemLimitControl.into(), &Circumstances::default());
        assert_eq!(answer.headers.len(), 1, "not on anything but throttling");
    }

    #[test]
    fn what_xml_cannot_hold_is_replaced() {
        let data = fields(json!({"1 a<b": "<&>\"'\r\u{0}\u{ffff}\t\n"}));
        let answer = success(Format::Xml, "A", "i", "m", None, &data);
        assert!(
            text(&answer)
                .contains("<_1_a_b>&lt;&amp;&gt;&quot;&apos;&#13;\u{fffd}\u{fffd}\t\n</_1_a_b>"),
            "{}",
            text(&answer)
        );
    }

    proptest! {
        #[test]
        fn any_text_gives_balanced_xml(text in any::<String>(), name in any::<String>()) {
            let mut data = Map::new();
            data.insert(name, Value::String(text));
            let answer = success(Format::Xml, "A", "i", "m", None, &data);
            let body = std::str::from_utf8(&answer.body).unwrap();
            prop_assert_eq!(body.matches('<').count(), body.matches('>').count());
            prop_assert!(body.ends_with("</AResponse>"));
        }
    }
}
