//! What many messages have in common, in memory once.
//!
//! A message names its template and what it was charged as, and so do thousands of others with the
//! same words. Equal ones can be one: they take memory once and are compared at a glance.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use crate::event::{Claim, Pricing};
use crate::message::Message;

/// How many of each kind are remembered; beyond them all are forgotten, and found again as they
/// come.
const SHARED_MAX: usize = 10_000;
/// What so many share already is not looked up.
const SHARED_WIDELY: usize = 16;

/// Claims and pricings that messages share.
#[derive(Debug, Default)]
pub struct Shared {
    claims: HashSet<Arc<Claim>>,
    pricings: HashSet<Arc<Pricing>>,
}

impl Shared {
    /// Has `message`, which stays equal to what it was, share what it has in common with those
    /// before it.
    pub fn share(&mut self, message: &mut Message) {
        let (claim, pricings) = message.parts();
        if let Some(claim) = claim {
            one_of(&mut self.claims, claim);
        }
        pricings.for_each(|pricing| one_of(&mut self.pricings, pricing));
    }
}

fn one_of<T: Eq + Hash>(all: &mut HashSet<Arc<T>>, this: &mut Arc<T>) {
    if Arc::strong_count(this) >= SHARED_WIDELY {
        return;
    }
    if let Some(known) = all.get(this) {
        *this = Arc::clone(known);
        return;
    }
    if all.len() >= SHARED_MAX {
        all.clear();
    }
    all.insert(Arc::clone(this));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_equal_becomes_one_and_little_is_remembered() {
        let mut all = HashSet::new();
        let (mut one, mut two) = (Arc::new("a".to_owned()), Arc::new("a".to_owned()));
        one_of(&mut all, &mut one);
        one_of(&mut all, &mut two);
        assert!(Arc::ptr_eq(&one, &two));
        for n in 0..=SHARED_MAX {
            one_of(&mut all, &mut Arc::new(n.to_string()));
            assert!(all.len() <= SHARED_MAX);
        }
        let mut again = Arc::new("a".to_owned());
        one_of(&mut all, &mut again);
        assert!(!Arc::ptr_eq(&one, &again) && one == again, "forgotten, and found again");
    }
}
