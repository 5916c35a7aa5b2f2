//! The server as its callers see it, over real connections.
//!
//! `harness` knows how a server is made and `tenants` who there is; `calls` runs what is recorded
//! in `tests/data/calls`, the rest is one file per part.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod access;
mod calls;
mod facts;
mod graph;
mod harness;
mod ingest;
mod moody;
mod pass_on;
mod protocol;
mod receiver;
mod sending;
mod tenants;
mod told;
mod ui;
