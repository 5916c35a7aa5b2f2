//! The webhook doors, imports and replays, from bytes to answers and sums.
//!
//! [`harness`] is the one place that makes a server; a test gives it bodies and looks at answers,
//! journal entries and sums. [`totals`] compares sums with the core's model.

mod control;
mod doors;
mod export;
mod fixtures;
mod harness;
mod import;
mod replay;
mod totals;
