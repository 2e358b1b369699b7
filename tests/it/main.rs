//! All integration tests in one binary: one link, one list.

mod floors;
mod probes;
mod simulation;
mod support;
