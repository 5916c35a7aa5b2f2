//! What a form of the page says, what is to be done by it, and what is wrong with it.

use axum::Form;
use axum::extract::{FromRequest as _, Request};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tracing::error;
use twoticks_core::ids::{ChannelId, Text};
use twoticks_store::directory;
use twoticks_store::directory::model::Channel;
use twoticks_store::directory::names::Secret;

use crate::control::channels::Command;
use crate::control::{ControlError, SecretText};
use crate::graph::CallError;
use crate::graph::connect::{self, Connect};
use crate::ui::Refusal;

/// The longest form, in bytes: three secrets of the longest, each byte as `%XX`, and the rest.
pub(crate) const FORM_BYTES_MAX: usize = 64 * 1024;
/// The longest id of a WhatsApp Business account, in digits.
const WABA_DIGITS_MAX: usize = 32;
/// What is said of a field that may be left out only later.
const NEEDED: &str = "the first time it has to be given";

/// What a form asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Connect,
    Sync,
    Look,
    Disconnect,
}

impl Action {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Sync => "sync",
            Self::Look => "look",
            Self::Disconnect => "disconnect",
        }
    }
}

/// A form as it came. It has secrets in it, so it has no `Debug`.
#[derive(Deserialize)]
pub(super) struct Sent {
    pub(super) token: String,
    pub(super) channel: String,
    pub(super) action: Action,
    #[serde(default)]
    pub(super) waba_id: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    app_secret: String,
    #[serde(default)]
    verify_token: String,
    #[serde(default)]
    pub(super) callback_url: String,
    /// There if it is ticked.
    pub(super) marketing_messages: Option<String>,
}

/// A field of the form that connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    WabaId,
    AccessToken,
    AppSecret,
    VerifyToken,
    CallbackUrl,
}

/// What is wrong, and with which field; with all of it if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) field: Option<Field>,
    pub(super) text: String,
}

impl Wrong {
    pub(super) fn all(text: impl Into<String>) -> Self {
        Self { field: None, text: text.into() }
    }

    /// What is wrong with what was done: looking is, if WhatsApp could not be asked.
    pub(super) fn with(done: &Value) -> Option<Self> {
        done.pointer("/connections/0/asked").filter(|asked| **asked == false)?;
        done.pointer("/connections/0/problems/0")?.as_str().map(Self::all)
    }

    /// What a failed command says to whoever asked for it by `action`.
    pub(super) fn of(failed: &ControlError, action: Action, channel: &ChannelId) -> Self {
        match failed {
            ControlError::Graph { why, .. } => {
                let field = if action == Action::Connect { field_of(why) } else { None };
                Self { field, text: failed.to_string() }
            }
            ControlError::Unfit { what: connect::APP_SECRET, .. } => {
                Self { field: Some(Field::AppSecret), text: failed.to_string() }
            }
            ControlError::Missing { .. }
            | ControlError::Unfit { .. }
            | ControlError::Invalid(_)
            | ControlError::Directory(directory::Error::Refused(_)) => {
                Self::all(failed.to_string())
            }
            other => {
                let error = other as &dyn std::error::Error;
                error!(error, channel.id = %channel, "a channel could not be set up");
                Self::all("it could not be kept just now; the log says why")
            }
        }
    }
}

/// The field that what Graph refuses is about, by its code (whatsapp.md 4).
fn field_of(why: &CallError) -> Option<Field> {
    match why.graph()?.code {
        // The token, or what it is allowed.
        0 | 3 | 10 | 190 | 200..=299 => Some(Field::AccessToken),
        // There is no such object, or not for this token.
        100 | 803 => Some(Field::WabaId),
        _ => None,
    }
}

/// Reads a form of at most [`FORM_BYTES_MAX`] bytes, which the route sees to.
pub(super) async fn read(request: Request) -> Result<Sent, Refusal> {
    let read = Form::<Sent>::from_request(request, &()).await;
    read.map(|Form(sent)| sent).map_err(|why| match why.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => Refusal::Form(
            status,
            format!("A form of this page has at most {FORM_BYTES_MAX} bytes."),
        ),
        status @ StatusCode::UNSUPPORTED_MEDIA_TYPE => Refusal::Form(
            status,
            "This page takes forms: `application/x-www-form-urlencoded`.".to_owned(),
        ),
        _ => Refusal::Form(StatusCode::BAD_REQUEST, "That is no form of this page.".to_owned()),
    })
}

impl Sent {
    /// What is to be done to `channel`.
    pub(super) fn command(self, channel: &Channel) -> Result<Command, Vec<Wrong>> {
        let id = channel.id.clone();
        Ok(match self.action {
            Action::Connect => Command::Connect(self.connect(channel)?),
            Action::Sync => Command::Sync { channel: id },
            Action::Look => Command::Check { channel: Some(id) },
            Action::Disconnect => Command::Disconnect { channel: id },
        })
    }

    fn connect(self, channel: &Channel) -> Result<Connect, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut refuse = |field, why: String| wrong.push(Wrong { field: Some(field), text: why });
        let is_connected = channel.connection.is_some();
        let [access_token, app_secret, verify_token] = [
            (Field::AccessToken, &self.access_token, is_connected),
            (Field::AppSecret, &self.app_secret, true),
            (Field::VerifyToken, &self.verify_token, true),
        ]
        .map(|(field, typed, may_be_left_out)| {
            let taken = match secret(typed) {
                Ok(None) if !may_be_left_out => Err(NEEDED.to_owned()),
                taken => taken,
            };
            taken.unwrap_or_else(|why| {
                refuse(field, why);
                None
            })
        });
        let waba_id = match waba_id(&self.waba_id) {
            Ok(None) if channel.waba_id.is_none() => Err(NEEDED.to_owned()),
            taken => taken,
        };
        let waba_id = waba_id.unwrap_or_else(|why| {
            refuse(Field::WabaId, why);
            None
        });
        let callback_url = Some(self.callback_url.trim().to_owned()).filter(|it| !it.is_empty());
        if let Some(Err(why)) = callback_url.as_ref().map(|url| connect::callback(url, &channel.id))
        {
            refuse(
                Field::CallbackUrl,
                match why {
                    ControlError::Unfit { why, .. } => why,
                    other => other.to_string(),
                },
            );
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Connect {
            channel: channel.id.clone(),
            waba_id,
            access_token,
            app_secret,
            verify_token,
            callback_url,
            marketing_messages: Some(self.marketing_messages.is_some()),
        })
    }
}

/// A secret that was typed or pasted; nothing if none was.
fn secret(typed: &str) -> Result<Option<SecretText>, String> {
    let typed = typed.trim();
    if typed.is_empty() {
        return Ok(None);
    }
    Secret::new(typed).map_err(|why| why.to_string())?;
    Ok(Some(SecretText(typed.to_owned())))
}

fn waba_id(typed: &str) -> Result<Option<Text>, String> {
    let typed = typed.trim();
    if typed.len() > WABA_DIGITS_MAX || !typed.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "the id of an account is 1 to {WABA_DIGITS_MAX} digits, such as `102290129340398`; \
             it is in the WhatsApp manager's settings"
        ));
    }
    Ok(Some(typed).filter(|it| !it.is_empty()).map(Text::lossy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_digits_and_a_secret_loses_what_was_pasted_around_it() {
        let longest = "1".repeat(WABA_DIGITS_MAX);
        for (typed, is) in [
            ("", Ok(None)),
            (" 102290129340398\t", Ok(Some("102290129340398"))),
            (longest.as_str(), Ok(Some(longest.as_str()))),
            (&format!("{longest}1"), Err(())),
            ("//evil.example/1", Err(())),
            ("1?a=b", Err(())),
        ] {
            let read = waba_id(typed);
            let read = read.as_ref().map(|id| id.as_ref().map(Text::as_str)).map_err(|_| ());
            assert_eq!(read, is, "{typed}");
        }
        assert_eq!(secret(" EAAB \n").unwrap().unwrap().0, "EAAB");
        assert!(secret("  ").unwrap().is_none());
        let long = "x".repeat(Secret::BYTES_MAX);
        assert!(secret(&long).is_ok());
        let why = secret(&format!("{long}x")).unwrap_err();
        assert!(!why.contains("xx"), "a secret in an error: {why}");
    }
}
