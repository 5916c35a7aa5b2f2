//! Bytes to values and back: signatures, parameters, answers, request heads, webhooks.
//!
//! Sans-I/O: nothing here reads a socket, a clock or a file, so that the server, the command line,
//! the tests and the fuzzer run the very same code. Values are those of the wire, spelt as the
//! provider spells them; the server converts them into the product's own.
//!
//! A new error code is a row in [`code`]; a new kind of webhook is a file below [`webhook`].
//! What always holds: no parser panics, whatever the bytes, and no secret, expected signature or
//! parameter value appears in the `Debug` or `Display` of an error.
#![warn(missing_docs)]

pub mod code;
pub mod envelope;
pub mod graph;
pub mod head;
pub mod params;
pub mod request;
pub mod signature;
pub mod transcript;
pub mod webhook;
