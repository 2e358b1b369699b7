//! What several tests stand on: real servers on loopback, in folders of their own.

pub mod authority;
pub mod browser;
pub mod daemon;
pub mod host;
pub mod nsd;
pub mod odd_zones;
pub mod scripted;
pub mod signed;
pub mod smtp;
pub mod terminal;
pub mod world;
