//! Keeping events and totals exactly once: the seams, the backends, one suite.
//!
//! Two seams, each with a suite that every backend passes: [`ledger::Ledger`] (events and totals)
//! and [`directory::Directory`] (accounts, keys, channels, templates); beside them [`outbox`], which
//! sends wait, [`figures`], what WhatsApp counted itself, and [`cursors`], how far what is passed on
//! has come. [`embedded`] is the ledger
//! of one machine, [`memory`] that of demonstrations and tests. To add a backend, implement the
//! seam and add a line with `store_suite!` to `suite.rs`. What always holds: what is acknowledged
//! survives a crash and is counted exactly once; what is stored says its version; secrets and
//! bodies are sealed under the key file ([`keys`]).
#![warn(missing_docs)]

pub mod backup;
pub mod cursors;
mod day;
mod digest;
pub mod directory;
pub mod embedded;
mod entry;
pub mod error;
mod facts;
pub mod figures;
pub mod journal;
pub mod keys;
mod layout;
pub mod ledger;
pub mod lock;
pub mod memory;
pub mod outbox;
pub mod scan;
mod snapshot;
mod steps;
#[cfg(test)]
mod suite;
mod threads;
mod varint;
pub mod verify;
