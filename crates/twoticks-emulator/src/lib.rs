//! A WhatsApp to talk to: takes messages, lives out what becomes of them, and tells it by signed
//! webhooks through the real door.
//!
//! `dice` is chance, `habits` every assumption, `life` what becomes of a message, `meta` how it is
//! worded, `stream` all of that without a server.
#![warn(missing_docs)]

pub mod dice;
pub mod habits;
pub mod life;
pub mod meta;
pub mod stream;
mod wamid;
