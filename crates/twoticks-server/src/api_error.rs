//! What an operation or a check says instead of an answer: what the caller is told, and what only
//! the log is told.
//!
//! A new failure is a row in the wire's table of codes and a `From` here if a seam has a new
//! error. What always holds: the text of a cause never leaves the process; `edge::refuse` turns
//! an [`ApiError`] into a response and logs it, once.

use std::error::Error;

use twoticks_store::error::Error as LedgerError;
use twoticks_wire::code::{Code, Refusal};
use twoticks_wire::envelope::{AccessDeniedDetail, Throttled};

use crate::tasks::Panicked;

/// A failure of a call.
#[derive(Debug)]
pub struct ApiError(Box<Failure>);

/// What is known of a failure.
#[derive(Debug)]
pub struct Failure {
    /// What the caller is told.
    pub refusal: Refusal,
    /// With a denial by policy: why.
    pub access_denied_detail: Option<AccessDeniedDetail>,
    /// With throttling: when to come back.
    pub throttled: Option<Throttled>,
    /// What the log is told besides.
    pub cause: Option<Box<dyn Error + Send + Sync>>,
}

impl ApiError {
    /// A failure with a cause for the log.
    pub fn caused(
        refusal: impl Into<Refusal>,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let mut error = Self::from(refusal.into());
        error.0.cause = Some(cause.into());
        error
    }

    /// A denial by policy.
    pub fn denied(code: Code, detail: AccessDeniedDetail) -> Self {
        let mut error = Self::from(code);
        error.0.access_denied_detail = Some(detail);
        error
    }

    /// A refusal of a caller who comes too often.
    pub fn throttled(code: Code, throttled: Throttled) -> Self {
        let mut error = Self::from(code);
        error.0.throttled = Some(throttled);
        error
    }

    /// What is known of it.
    pub fn failure(&self) -> &Failure {
        &self.0
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(Failure {
            refusal,
            access_denied_detail: None,
            throttled: None,
            cause: None,
        }))
    }
}

impl From<Code> for ApiError {
    fn from(code: Code) -> Self {
        Refusal::from(code).into()
    }
}

impl From<LedgerError> for ApiError {
    fn from(error: LedgerError) -> Self {
        Self::caused(code_of(&error), error)
    }
}

impl From<Panicked> for ApiError {
    fn from(panicked: Panicked) -> Self {
        Self::caused(Code::InternalError, panicked)
    }
}

/// What a caller is told of a ledger that did not do as asked.
fn code_of(error: &LedgerError) -> Code {
    match error {
        LedgerError::Busy { .. } => Code::SystemLimitControl,
        LedgerError::Full { .. }
        | LedgerError::Unavailable { .. }
        | LedgerError::Failed { .. }
        | LedgerError::Closed => Code::ServiceUnavailable,
        LedgerError::TooLarge { .. }
        | LedgerError::Impossible { .. }
        | LedgerError::Corrupt { .. }
        | LedgerError::Locked { .. }
        | LedgerError::NewerVersion { .. }
        | LedgerError::WrongKey { .. } => Code::InternalError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_is_flow_control_and_a_full_disk_comes_back_later() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        for (error, code) in [
            (LedgerError::Busy { what: "a queue is", limit: 1 }, "System.LimitControl"),
            (LedgerError::Full { source: full }, "ServiceUnavailable"),
            (LedgerError::Closed, "ServiceUnavailable"),
            (LedgerError::Failed { source: std::io::Error::other("EIO") }, "ServiceUnavailable"),
            (LedgerError::Impossible { index: 0 }, "InternalError"),
        ] {
            let error = ApiError::from(error);
            assert_eq!(error.failure().refusal.name(), code);
            assert!(error.failure().cause.is_some(), "{code}");
        }
    }
}
