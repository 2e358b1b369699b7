//! The control plane as one pure state machine: an event goes in, effects come out. Knows no
//! socket, no file, no clock: the daemon reads the clock, carries the effects out, and sends what
//! became of them back as events.

pub mod effect;
pub mod event;
pub mod settings;
pub mod status;
