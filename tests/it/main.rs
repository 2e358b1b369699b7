//! All integration tests in one binary: one link, one list.
// A test may panic: that is its message.
#![allow(clippy::unwrap_used)]

mod answers;
mod config;
mod floors;
mod publish;
mod support;
mod zone_text;
