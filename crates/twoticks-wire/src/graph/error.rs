//! What the Graph API answers when it does not do what was asked, and what then can be done.
//!
//! An answer is judged by its body before its status: an envelope with an error is one under a 200
//! as well, and an answer that is none of Graph's own, such as a proxy's, says nothing about what
//! became of the request.

use serde_json::Value;

/// The longest text of an error that is kept, in characters.
pub const TEXT_CHARS_MAX: usize = 512;

/// An error as the Graph API words it. Codes are an open list; [`meaning`] knows some.
///
/// `Display` is the code and its meaning: safe to log. What Meta said itself may repeat a part of
/// the request, such as the access token, and is in [`GraphError::said`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GraphError {
    /// The code, by which errors are told apart.
    pub code: i64,
    /// The code below it, where there is one.
    pub subcode: Option<i64>,
    /// What it says, cut after [`TEXT_CHARS_MAX`] characters.
    pub message: String,
    /// What it says in detail (`error_data.details`), cut as well.
    pub details: Option<String>,
    /// By what Meta finds the request again.
    pub trace: Option<String>,
}

impl std::fmt::Display for GraphError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match meaning(self.code) {
            Some(meaning) => write!(f, "Meta {}: {meaning}", self.code),
            None => write!(f, "Meta {}", self.code),
        }
    }
}

/// What can be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing was done; the same request may work later.
    Later,
    /// The number sends too fast: all of it has to wait.
    SlowerNumber,
    /// This recipient gets too much from this number: only that pair has to wait.
    SlowerPair,
    /// The token, the app or the account has to be put right first; nothing of the channel works.
    Connection,
    /// The same request never works.
    Never,
}

/// A code that is known.
struct Known {
    code: i64,
    remedy: Remedy,
    meaning: &'static str,
}

const fn known(code: i64, remedy: Remedy, meaning: &'static str) -> Known {
    Known { code, remedy, meaning }
}

/// The codes that are known (whatsapp.md section 4; Meta's page of error codes), sorted.
const KNOWN: &[Known] = &[
    known(0, Remedy::Connection, "the access token is not valid; make a new one"),
    known(1, Remedy::Later, "Meta says that something is wrong with the API"),
    known(2, Remedy::Later, "Meta says that the service is down for a moment"),
    known(3, Remedy::Connection, "the app may not use this API"),
    known(4, Remedy::SlowerNumber, "the app makes too many calls"),
    known(10, Remedy::Connection, "a permission is missing or was taken back"),
    known(100, Remedy::Never, "a parameter is wrong"),
    known(190, Remedy::Connection, "the access token has expired or was revoked; make a new one"),
    known(368, Remedy::Connection, "the account is blocked for a breach of policy"),
    known(80_007, Remedy::SlowerNumber, "the WhatsApp account makes too many calls"),
    known(130_429, Remedy::SlowerNumber, "the number sends faster than it may"),
    known(130_472, Remedy::Never, "the recipient is part of an experiment of Meta's"),
    known(131_000, Remedy::Later, "Meta says that something went wrong"),
    known(131_005, Remedy::Connection, "a permission is missing or was taken back"),
    known(131_008, Remedy::Never, "a parameter is missing"),
    known(131_009, Remedy::Never, "a parameter's value is wrong"),
    known(131_016, Remedy::Later, "Meta says that the service is overloaded"),
    known(131_021, Remedy::Never, "recipient and sender are the same number"),
    known(131_026, Remedy::Never, "the message cannot be delivered to this recipient"),
    known(131_031, Remedy::Connection, "the account is locked"),
    known(131_042, Remedy::Connection, "there is a problem with the payment method"),
    known(131_045, Remedy::Connection, "the number is not registered"),
    known(131_047, Remedy::Never, "the recipient wrote more than 24 hours ago: send a template"),
    known(131_048, Remedy::SlowerNumber, "too many messages of the number were blocked as spam"),
    known(
        131_049,
        Remedy::Never,
        "Meta declined, to keep its ecosystem healthy; not to be repeated",
    ),
    known(131_050, Remedy::Never, "the recipient does not want marketing messages"),
    known(131_051, Remedy::Never, "the type of message is not supported"),
    known(131_052, Remedy::Never, "the media could not be fetched"),
    known(131_053, Remedy::Never, "the media could not be uploaded"),
    known(131_056, Remedy::SlowerPair, "too many messages from this number to this recipient"),
    known(131_057, Remedy::Later, "the account is under maintenance"),
    known(131_062, Remedy::Never, "authentication templates cannot be sent to a BSUID"),
    known(132_000, Remedy::Never, "the number of template parameters is wrong"),
    known(
        132_001,
        Remedy::Never,
        "there is no such template in this language, or not approved yet",
    ),
    known(132_005, Remedy::Never, "the text of the template is too long with its parameters"),
    known(132_007, Remedy::Never, "the template breaks a policy"),
    known(132_012, Remedy::Never, "a template parameter has the wrong format"),
    known(132_015, Remedy::Never, "the template is paused"),
    known(132_016, Remedy::Never, "the template is disabled"),
    known(132_068, Remedy::Never, "the flow is blocked"),
    known(132_069, Remedy::Later, "the flow is throttled"),
    known(133_004, Remedy::Later, "Meta says that the server is not available for a moment"),
    known(133_010, Remedy::Connection, "the number is not registered"),
    known(134_100, Remedy::Never, "only marketing templates go through the Marketing Messages API"),
    known(
        134_101,
        Remedy::Later,
        "the template is still being synced to the Marketing Messages API",
    ),
    known(134_102, Remedy::Never, "the template is not available to the Marketing Messages API"),
    known(135_000, Remedy::Never, "something is wrong with the parameters"),
    known(200_005, Remedy::Never, "template insights are not available for this account"),
    known(200_006, Remedy::Never, "template insights cannot be disabled once enabled"),
    known(200_007, Remedy::Never, "template insights are not enabled"),
];

fn find(code: i64) -> Option<&'static Known> {
    KNOWN.binary_search_by_key(&code, |known| known.code).ok().and_then(|index| KNOWN.get(index))
}

/// What a code means, as a phrase; `None` if it is not known.
#[must_use]
pub fn meaning(code: i64) -> Option<&'static str> {
    find(code).map(|known| known.meaning)
}

impl GraphError {
    /// The error in `body`, if it is an envelope with one. Numbers may be texts. One without a code
    /// is not of Graph's.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        Self::of(&body)
    }

    /// As [`GraphError::read`], of what was parsed.
    #[must_use]
    pub fn of(body: &Value) -> Option<Self> {
        let error = body.get("error")?.as_object()?;
        let number = |name: &str| {
            let value = error.get(name)?;
            value.as_i64().or_else(|| value.as_str()?.parse().ok())
        };
        let text = |value: Option<&Value>| {
            let text = value?.as_str().filter(|text| !text.is_empty())?;
            Some(text.chars().take(TEXT_CHARS_MAX).collect::<String>())
        };
        let data = error.get("error_data").and_then(|data| data.get("details"));
        Some(Self {
            code: number("code")?,
            subcode: number("error_subcode"),
            message: text(error.get("message")).unwrap_or_default(),
            details: text(data),
            trace: text(error.get("fbtrace_id")),
        })
    }

    /// Whether the code is one of those that are known here.
    #[must_use]
    pub fn is_known(&self) -> bool {
        find(self.code).is_some()
    }

    /// What is said to whoever asked: the code and, where it is about the request, Meta's own
    /// words. Where it is about the connection those may have the token in them.
    #[must_use]
    pub fn said(&self) -> String {
        let said = self.details.as_deref().unwrap_or(&self.message);
        match self.remedy() {
            Remedy::Never if !said.is_empty() => format!("Meta {}: {said}", self.code),
            _ => self.to_string(),
        }
    }

    /// What can be done about it. A code that is not known never works, but for those of
    /// permissions (200 to 299).
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match (find(self.code), self.code) {
            (Some(known), _) => known.remedy,
            (None, 200..=299) => Remedy::Connection,
            (None, _) => Remedy::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_meanings_are_phrases() {
        assert!(KNOWN.is_sorted_by(|one, next| one.code < next.code));
        for Known { code, meaning, .. } in KNOWN {
            assert!(!meaning.ends_with('.') && meaning.len() > 10, "{code}");
        }
    }

    #[test]
    fn an_envelope_is_read_whatever_is_in_it() {
        let body = br#"{"error":{"message":"(#131056) Pair rate limit hit","type":"OAuthException",
            "code":131056,"error_data":{"messaging_product":"whatsapp","details":"Too many"},
            "error_subcode":"2494055","fbtrace_id":"Ab1"}}"#;
        let error = GraphError::read(body).unwrap();
        assert_eq!((error.code, error.subcode), (131_056, Some(2_494_055)));
        let meaning = "Meta 131056: too many messages from this number to this recipient";
        assert_eq!((error.to_string(), error.said()), (meaning.to_owned(), meaning.to_owned()));
        assert_eq!(error.remedy(), Remedy::SlowerPair);
        for (body, code) in [
            (&b"{\"error\":{}}"[..], None),
            (b"{\"error\":{\"message\":\"upstream timeout\"}}", None),
            (b"{\"error\":{\"code\":\"190\",\"message\":7}}", Some(190)),
            (b"{\"error\":\"no\"}", None),
            (b"{\"error\":null}", None),
            (b"[]", None),
            (b"<html>bad gateway</html>", None),
            (b"", None),
        ] {
            assert_eq!(GraphError::read(body).map(|error| error.code), code);
        }
        let long = format!("{{\"error\":{{\"code\":1,\"message\":\"{}\"}}}}", "é".repeat(600));
        let message = GraphError::read(long.as_bytes()).unwrap().message;
        assert_eq!(message.chars().count(), TEXT_CHARS_MAX);
    }

    #[test]
    fn what_may_have_a_token_in_it_is_not_said() {
        let message = "Malformed access token EAAB".to_owned();
        let error = GraphError { code: 190, message, ..GraphError::default() };
        assert!(!error.said().contains("EAAB") && !error.to_string().contains("EAAB"));
        let details = Some("body: number of localizable_params (0) does not match".to_owned());
        let error = GraphError { code: 132_000, details, ..GraphError::default() };
        assert!(error.said().ends_with("does not match") && !error.to_string().contains("body:"));
        let error = GraphError { code: 7, ..GraphError::default() };
        assert_eq!((error.said(), error.to_string()), ("Meta 7".to_owned(), "Meta 7".to_owned()));
    }

    #[test]
    fn what_is_not_known_is_not_repeated() {
        let remedy = |code| GraphError { code, ..GraphError::default() }.remedy();
        assert_eq!(remedy(999_999), Remedy::Never);
        assert_eq!(remedy(-1), Remedy::Never);
        assert_eq!(remedy(200), Remedy::Connection);
        assert_eq!(remedy(299), Remedy::Connection);
        assert_eq!(remedy(300), Remedy::Never);
        assert_eq!(remedy(131_049), Remedy::Never);
        assert_eq!(remedy(130_429), Remedy::SlowerNumber);
    }
}
