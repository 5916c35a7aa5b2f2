//! Who may do what, and how often: everything between a signed request and its operation.
//!
//! In this order: [`principal`] (key, time, signature, token, [`nonce`]), [`throttle`] and
//! [`in_flight`], [`decision`] over [`policy`] documents, [`isv`] (subscription, space, `IsvCode`).
//! What always holds: nothing here does I/O or reads a clock, and what is unknown, unreadable or
//! full is refused. To add a condition operator or key, add a row in [`condition`].

pub mod condition;
pub mod decision;
pub mod in_flight;
pub mod isv;
mod json;
pub mod nonce;
mod pattern;
pub mod policy;
pub mod principal;
pub mod sessions;
#[cfg(test)]
mod tests;
pub mod throttle;

use std::sync::Arc;

use in_flight::InFlight;
use nonce::NonceMemory;
use policy::Documents;
use throttle::Throttle;

/// What all calls share: used nonces, rates, calls in flight, parsed policies.
pub struct Gate {
    /// Used nonces.
    pub nonces: NonceMemory,
    /// Rates per user and operation.
    pub throttle: Throttle,
    /// Calls being answered.
    pub in_flight: Arc<InFlight>,
    /// Policies that were parsed already.
    pub documents: Documents,
}

impl Gate {
    /// One that answers at most so many calls at the same time (`limits.in_flight_max`).
    #[must_use]
    pub fn new(in_flight_max: usize) -> Self {
        Self {
            nonces: NonceMemory::default(),
            throttle: Throttle::default(),
            in_flight: Arc::new(InFlight::new(in_flight_max)),
            documents: Documents::default(),
        }
    }
}
