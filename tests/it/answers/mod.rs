//! The answers: `respond()`, the table, and the servers in front of them.
// Helpers of tests: there a panic is the message.
#![allow(clippy::unwrap_used)]

mod alike;
mod allocation;
mod any_bytes;
mod differential;
mod dig;
mod encrypted;
mod floods;
mod https;
mod limited;
mod musts;
mod nsd;
mod proxied;
mod quic;
mod relaying;
mod rows;
mod signed;
mod stopping;
mod streams;
pub mod support;
mod swaps;
