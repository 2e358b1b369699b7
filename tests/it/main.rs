//! All integration tests in one binary: one link, one list.

// In a test a panic is the message.
#![allow(clippy::unwrap_used)]

mod director;
mod floors;
mod probes;
mod simulation;
mod support;
