//! The sidecar as hidden primary: dig, nsd and Knot take its zones.

mod failures;
mod journal;
mod requests;
mod secondaries;
mod serials;
mod signed;
mod support;
