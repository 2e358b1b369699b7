//! Binds, loads, spawns, carries out effects, shuts down.

pub mod cli;
