//! The Graph API: what is asked of it and what it answers, as values.
//!
//! [`template`] turns templates between CAMS's words and the Graph API's and says what a send has
//! to fill in, [`message`] makes the body of a send, [`analytics`] asks for its figures and reads
//! them, [`error`] reads refusals and says what can be done about them. To add an edge: a module
//! here. What always holds: enumerations are open, ids may be texts or numbers, money is never a
//! float, and no answer makes it panic.

pub mod analytics;
pub mod error;
pub mod message;
pub mod template;
#[cfg(test)]
mod tests;
