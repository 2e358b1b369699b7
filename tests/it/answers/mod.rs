//! The answers: `respond()`, the table, and the servers in front of them.
// Helpers of tests: there a panic is the message.
#![allow(clippy::unwrap_used)]

mod allocation;
mod any_bytes;
mod dig;
mod nsd;
mod relaying;
mod rows;
mod streams;
mod support;
mod swaps;
