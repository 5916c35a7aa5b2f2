//! A WhatsApp to talk to: takes messages, lives out what becomes of them, and tells it by signed
//! webhooks through the real door.
//!
//! `dice` is chance, `habits` every assumption, `life` what becomes of a message, `meta` how it is
//! worded, `chaos` what goes wrong on the way, `book` what has to be counted, [`whatsapp`] all of
//! it together as it runs, [`stream`] all of it without a server, [`clock`] the time that can be
//! turned.
#![warn(missing_docs)]

pub mod book;
pub mod caller;
pub mod chaos;
pub mod clock;
pub mod dice;
pub mod habits;
pub mod life;
pub mod meta;
pub mod post;
pub mod stream;
mod wamid;
pub mod whatsapp;
