//! The sidecar as hidden primary: dig, nsd and Knot take its zones.

mod journal;
mod requests;
mod secondaries;
mod support;
