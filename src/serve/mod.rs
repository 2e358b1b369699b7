//! The sockets in front of `respond()`: UDP threads, TCP, and the relay to nsd.

pub mod sys;
