//! The Graph API: bodies of requests, and what answers say. No I/O.
//!
//! [`message`] makes the body of a message from what the CAMS door was given, by what the template
//! says ([`definition`]); [`error`] reads refusals and says what can be done about them.

pub mod definition;
pub mod error;
pub mod message;
#[cfg(test)]
mod tests;
