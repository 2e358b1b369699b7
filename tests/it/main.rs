//! All integration tests in one binary: one link, one list.
#![allow(clippy::unwrap_used)]

mod answers;
mod certificates;
mod checks;
mod command_line;
mod config;
mod config_zones;
mod confined;
mod control;
mod crashes;
mod director;
mod documents;
mod examples;
mod explaining;
mod failover;
mod floors;
// What the fuzz targets do, tried here too.
#[path = "../../fuzz/bodies/mod.rs"]
mod fuzz;
mod fuzz_bodies;
mod included;
mod init;
mod monitoring;
mod network;
mod notify;
mod outages;
mod page;
mod placements;
mod probes;
mod publish;
mod publish_included;
mod reference;
mod sequences;
mod service;
mod simulation;
mod support;
mod told;
mod transfer;
mod verbs;
mod zone_limits;
mod zone_peers;
mod zone_text;
