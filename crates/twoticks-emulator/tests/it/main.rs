//! The emulator in front of a real server: what it tells, what is counted of it, what it can be
//! asked.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "these are tests"
)]

mod chaos;
mod doors;
mod graph;
mod harness;
mod lives;
mod page;
