//! The sockets in front of `respond()`: UDP threads, TCP, and the relay to nsd. They differ in
//! framing and limits, and in nothing that is answered. And zone transfers to secondaries.

pub mod answerer;
pub mod counters;
pub mod door;
pub mod encrypted;
pub mod https;
pub mod listener;
pub mod proxy;
pub mod quic;
pub mod relay;
pub mod rrl;
pub mod service;
pub mod sys;
pub mod tcp;
pub mod transfer;
pub mod udp;
