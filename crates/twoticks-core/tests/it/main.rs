//! The counting rules, by example and by property, against the simplest possible model.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod facts;
mod ledger;
mod properties;
mod rules;
mod rules_of_clicks;
mod rules_of_time;
mod series;
mod totals;
mod windows;
