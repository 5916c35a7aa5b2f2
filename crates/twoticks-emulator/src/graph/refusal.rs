//! How the Graph API says no: an envelope of its own, a code to build on, and a status that fits.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: u32,
    pub(super) subcode: Option<u32>,
    /// Without the `(#code)` in front.
    pub(super) message: String,
    /// `error_data.details`: what to build on beside the code.
    pub(super) details: Option<String>,
}

/// What is the matter with a token.
pub(super) const TOKEN: u32 = 190;
/// A parameter will not do.
pub(super) const PARAMETER: u32 = 100;
/// Beside [`PARAMETER`]: the object is not there, or is somebody else's.
pub(super) const NO_OBJECT: u32 = 33;
/// Beside [`TOKEN`]: it was good once.
pub(super) const REVOKED: u32 = 460;

impl Refusal {
    /// A refusal with a code; its status is what fits the code.
    pub(super) fn of(code: u32, message: impl Into<String>) -> Self {
        let status = match code {
            TOKEN => StatusCode::UNAUTHORIZED,
            10 | 200..=299 => StatusCode::FORBIDDEN,
            2 | 131_000 => StatusCode::INTERNAL_SERVER_ERROR,
            131_016 => StatusCode::SERVICE_UNAVAILABLE,
            132_001 => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, code, subcode: None, message: message.into(), details: None }
    }

    /// A parameter that will not do; `details` says what would.
    pub(super) fn parameter(details: impl Into<String>) -> Self {
        Self::of(PARAMETER, "Invalid parameter").with(details)
    }

    /// A parameter that is not there.
    pub(super) fn missing(name: &str) -> Self {
        Self::of(PARAMETER, format!("The parameter {name} is required."))
    }

    /// A field that a node does not have.
    pub(super) fn no_field(field: &str, node: &str) -> Self {
        let field: String = field.chars().take(64).collect();
        let text = format!("Tried accessing nonexisting field ({field}) on node type ({node})");
        Self::of(PARAMETER, text)
    }

    /// There is no such object, or nothing is known of it under this token.
    pub(super) fn no_object(method: &str, id: &str) -> Self {
        let (method, id) = (method.to_lowercase(), id.chars().take(64).collect::<String>());
        let text = format!(
            "Unsupported {method} request. Object with ID '{id}' does not exist, cannot be loaded \
             due to missing permissions, or does not support this operation"
        );
        Self { subcode: Some(NO_OBJECT), ..Self::of(PARAMETER, text) }
    }

    /// A token that nobody was given.
    pub(super) fn token() -> Self {
        Self::of(TOKEN, "Invalid OAuth access token - Cannot parse access token")
    }

    pub(super) fn with(self, details: impl Into<String>) -> Self {
        Self { details: Some(details.into()), ..self }
    }

    /// The envelope.
    pub(super) fn envelope(&self, trace: &str) -> Value {
        let Self { status: _, code, subcode, message, details } = self;
        // Codes of the platform itself stand alone, those of an operation in front of the words.
        let is_bare = matches!(*code, TOKEN | 2) || *subcode == Some(NO_OBJECT);
        let message = if is_bare { message.clone() } else { format!("(#{code}) {message}") };
        let mut error = Map::new();
        error.insert("message".to_owned(), message.into());
        error.insert("type".to_owned(), "OAuthException".into());
        error.insert("code".to_owned(), (*code).into());
        if let Some(subcode) = subcode {
            error.insert("error_subcode".to_owned(), (*subcode).into());
        }
        if let Some(details) = details {
            let data = json!({"messaging_product": "whatsapp", "details": details});
            error.insert("error_data".to_owned(), data);
        }
        error.insert("fbtrace_id".to_owned(), trace.into());
        json!({ "error": error })
    }
}
