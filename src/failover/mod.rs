//! Who is primary, and why: pools, verdicts, overrides, schedule and `now` to a decision. Pure.

pub mod binding;
pub mod decide;
pub mod pool;
pub mod reason;
pub mod rotation;
pub mod rule;

#[cfg(test)]
mod decide_tests;
