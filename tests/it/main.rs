//! All integration tests in one binary: one link, one list.
// A test may panic: that is its message.
#![allow(clippy::unwrap_used)]

mod floors;
mod zone_text;
