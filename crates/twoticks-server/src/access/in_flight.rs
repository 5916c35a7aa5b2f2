//! How many calls are answered at the same time: per operation and in all.
//!
//! A call holds a [`Guard`] while it is answered; dropping it, however that comes about, makes
//! room again. Beyond a limit the answer is `System.LimitControl`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The calls being answered.
pub struct InFlight {
    calls: Mutex<Calls>,
    in_all_max: usize,
}

#[derive(Default)]
struct Calls {
    in_all: usize,
    per_operation: HashMap<&'static str, usize>,
}

/// A call being answered; it counts until this is dropped.
#[must_use = "the call counts only while this is held"]
pub struct Guard {
    within: Arc<InFlight>,
    operation: &'static str,
}

impl InFlight {
    /// With room for so many calls in all (`limits.in_flight_max`).
    #[must_use]
    pub fn new(in_all_max: usize) -> Self {
        Self { calls: Mutex::default(), in_all_max }
    }

    /// Begins a call of an operation that may be answered `operation_max` times at once; `None` if
    /// there is no room.
    pub fn enter(self: &Arc<Self>, operation: &'static str, operation_max: usize) -> Option<Guard> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.in_all >= self.in_all_max {
            return None;
        }
        let of_operation = calls.per_operation.entry(operation).or_default();
        if *of_operation >= operation_max {
            return None;
        }
        *of_operation += 1;
        calls.in_all += 1;
        Some(Guard { within: Arc::clone(self), operation })
    }

    /// How many calls are being answered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).in_all
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut calls = self.within.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.in_all = calls.in_all.saturating_sub(1);
        if let Some(count) = calls.per_operation.get_mut(self.operation) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_make_room_for_each_other() {
        let calls = Arc::new(InFlight::new(3));
        let first = calls.enter("Enable", 2);
        let second = calls.enter("Enable", 2);
        assert!(first.is_some() && second.is_some());
        assert!(calls.enter("Enable", 2).is_none(), "per operation");
        let third = calls.enter("Send", 2);
        assert!(third.is_some());
        assert!(calls.enter("Send", 2).is_none(), "in all");
        assert_eq!(calls.count(), 3);
        drop(first);
        assert!(calls.enter("Enable", 2).is_some());
        drop((second, third));
        assert_eq!(calls.count(), 0);
    }
}
