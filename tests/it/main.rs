//! All integration tests in one binary: one link, one list.
#![allow(clippy::unwrap_used)]

mod answers;
mod command_line;
mod config;
mod control;
mod director;
mod failover;
mod floors;
mod monitoring;
mod notify;
mod page;
mod probes;
mod publish;
mod simulation;
mod support;
mod zone_text;
