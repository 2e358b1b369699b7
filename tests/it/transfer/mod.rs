//! The sidecar as hidden primary: dig, nsd and Knot take its zones.

mod failures;
mod journal;
mod patience;
mod requests;
mod restarts;
mod secondaries;
mod serials;
mod signed;
pub mod support;
