//! nsd-failover: a sidecar for nsd that moves the failover names of a zone from one host to
//! another in one atomic step.
//!
//! The modules in floor order. A file imports only from lower floors or from its own folder;
//! `tests/it/floors.rs` holds that. ARCHITECTURE.md is the guide.
#![deny(unsafe_code)]

// F0: names, records and questions in wire form.
pub mod dns;

// F1: zone text as a lossless document: bytes to spanned entries to records, edits, diagnostics.
pub mod zone;

// F1: counters to verdicts, and when the next probe is due. Pure.
pub mod health;

// F2: who is primary, and why. Pure.
pub mod failover;

// F3: compiled zones, the answer table of one generation, and `respond()`.
pub mod table;

// F3: document and decision to the bytes that nsd shall load. Pure.
pub mod export;

// F4: the control plane as one state machine: event to effects. Pure.
pub mod director;

// F5: the configuration file, checked.
pub mod config;

// F5: the sockets behind the checks.
pub mod probe;

// F5: UDP, TCP and the relay to nsd.
pub mod serve;

// F5: the export transaction: check, rename, reload, verify, roll back.
pub mod publish;

// F5: the control socket, its client, and the read-only HTTP listener.
pub mod control;

// F5: incidents, and the mail, webhooks and programs that tell of them.
pub mod notify;

// F6: binds, loads, spawns, carries out effects, shuts down; and the demo.
pub mod daemon;
