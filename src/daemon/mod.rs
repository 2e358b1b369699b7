//! Binds, loads, spawns, carries out effects, shuts down.

pub mod cli;
mod clock;
mod exports;
pub mod failure;
pub mod listen;
mod load;
mod persist;
