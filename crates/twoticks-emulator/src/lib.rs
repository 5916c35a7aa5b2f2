//! A WhatsApp to talk to: takes messages, lives out what becomes of them, and tells it by signed
//! webhooks through the real door.
//!
//! `dice` is chance, `habits` every assumption, `life` what becomes of a message, `meta` how it is
//! worded, `chaos` what goes wrong on the way, `book` what has to be counted, [`whatsapp`] all of
//! it together as it runs, [`stream`] all of it without a server, [`clock`] the time that can be
//! turned. [`emulator`] stands around a server: `doors` are `/_twoticks/…`, [`graph`] are Meta's, `fixtures` what a test
//! wants to be there, `tenants` who is there from the start, `renewable` what begins anew.
//!
//! To add a habit, a market or a failure, see `habits`; something that goes wrong, `chaos`; a door,
//! `doors`.
#![warn(missing_docs)]

pub mod book;
pub mod caller;
pub mod chaos;
pub mod clock;
pub mod dice;
mod doors;
pub mod emulator;
pub mod fixtures;
pub mod graph;
pub mod habits;
pub mod life;
pub mod meta;
mod parameters;
pub mod post;
pub mod renewable;
pub mod stream;
pub mod tenants;
mod wamid;
pub mod whatsapp;
