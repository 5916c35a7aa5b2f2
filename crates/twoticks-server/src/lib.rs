//! The server: the CAMS door, the webhook doors, the pages, and what the command line asks of a
//! running one.
//!
//! Where things are: `edge` answers signed calls and turns every failure into a response, `ops`
//! has one file per operation, `access` decides who may do what, `ingest` takes webhooks in,
//! `sending` hands messages to WhatsApp through `graph`, `links` counts who opens the links of
//! templates, `reconcile` puts what WhatsApp counted beside ours, `api` is who calls our own doors,
//! `control` does what the command line asks, `ui` has one file per page, `http` frames
//! connections, `outside` reaches what others name, `pass_on` posts to them, `run` starts and stops
//! it all. Everything gets its surroundings from an
//! [`app::App`]; [`reference`](mod@reference) writes the generated pages of `docs/reference`.

pub mod access;
mod api;
mod api_error;
pub mod app;
pub mod carrier;
pub mod control;
mod edge;
pub mod graph;
mod http;
pub mod ingest;
pub mod links;
pub mod ops;
pub mod outside;
pub mod pass_on;
mod reconcile;
pub mod reference;
pub mod rehearsal;
pub mod run;
pub mod sending;
pub mod settings;
pub mod tasks;
pub mod telemetry;
pub mod ui;
