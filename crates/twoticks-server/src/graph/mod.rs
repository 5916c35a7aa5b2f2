//! WhatsApp's Graph API, as a client of it: calls, and what connecting a channel takes.
//!
//! [`client`] makes the calls; bodies and answers are the wire's (`twoticks_wire::graph`). What is
//! sent goes through [`crate::sending`]. [`connect`] connects a channel, [`check`] says what is
//! missing, [`insights`] enables Meta's statistics beside ours, [`figures`] reads them now and then,
//! [`sync`] reads numbers and templates, [`notices`] hears that they have changed, [`pass`] hands on
//! what a client of its own sends, [`upload`] hands over the media of templates. To add a call, put
//! it where its subject is; what
//! is read of an answer is read with open lists and optional fields (whatsapp.md 0.11).

pub mod check;
pub mod client;
pub mod connect;
pub mod figures;
pub(crate) mod insights;
pub mod notices;
pub(crate) mod pass;
pub(crate) mod sync;
pub(crate) mod upload;

pub use client::{CallError, Graph, Unusable};
