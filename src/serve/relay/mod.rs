//! What is not ours goes to nsd and comes back: over UDP within each server thread ([`udp`]), over
//! TCP on a few connections that all clients share ([`tcp`]).
//!
//! The client's ID is replaced by one that nobody can foresee, the source port is random, and a
//! reply counts only if it comes from nsd, to that port, with that ID and the question as it was
//! asked. No reply in time: our own copy of the zone answers, or SERVFAIL with an extended error (RFC 8914).

use std::net::SocketAddr;

use domain::base::iana::ExtendedErrorCode;

pub mod cookie;
pub mod pending;
pub mod tcp;
pub mod udp;

/// How to reach nsd.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where nsd answers, over UDP and TCP.
    pub address: SocketAddr,
    /// How long a client may wait for nsd, in milliseconds.
    pub timeout_ms: u32,
    /// Most requests that may wait at the same time: in each UDP thread, and in all of TCP.
    pub pending_max: usize,
    /// Whether nsd is told who asks, by the PROXY protocol (nsd 4.8 and later).
    pub proxy: bool,
}

impl Settings {
    /// Shorter than the patience of resolvers, so that they hear of the failure.
    pub const TIMEOUT_MS: u32 = 1_500;
    pub const PENDING_MAX: usize = 4_096;

    pub fn new(address: SocketAddr) -> Settings {
        Settings { address, timeout_ms: Settings::TIMEOUT_MS, pending_max: Settings::PENDING_MAX, proxy: false }
    }
}

/// The extended error of a query that nsd did not answer (RFC 8914 section 4.23).
pub const UNANSWERED: ExtendedErrorCode = ExtendedErrorCode::NO_REACHABLE_AUTHORITY;
