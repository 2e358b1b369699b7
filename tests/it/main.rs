//! All integration tests in one binary: one link, one list.

mod floors;
mod zone_text;
