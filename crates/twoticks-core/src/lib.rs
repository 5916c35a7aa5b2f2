//! What the numbers mean: events, message state, totals, atoms, days.
//!
//! Everything here is a pure function of its arguments: no I/O, no async, no clock, no logging.
//! A wrong figure is wrong here, and a test of it needs no set-up. The counting rules have a
//! version, [`RULES_VERSION`], that is stored with what they produced.
//!
//! To add a measured quantity, add a field to [`totals::Totals`]: nothing compiles until it is
//! merged. To add a metric, add an entry to [`metric::METRICS`].
#![warn(missing_docs)]

pub mod channel;
pub mod clock;
pub mod event;
pub mod fold;
pub mod ids;
pub mod message;
pub mod metric;
#[cfg(feature = "model")]
pub mod model;
pub mod query;
mod recipient;
pub mod share;
pub mod tap;
pub mod totals;
pub mod window;

/// The version of the counting rules, stored with everything they produced.
///
/// It changes whenever the same facts would give other totals.
pub const RULES_VERSION: &str = "rules@1";
