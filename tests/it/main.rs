//! All integration tests in one binary: one link, one list.

mod answers;
mod config;
mod control;
mod floors;
mod probes;
mod publish;
mod support;
mod zone_text;
