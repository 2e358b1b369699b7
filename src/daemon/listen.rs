//! Binds the addresses of the configuration, and says what to do where that fails.

use std::io;
use std::net::SocketAddr;

use super::failure::Failure;

/// Explains why an address could not be bound.
pub fn explain(what: &str, address: SocketAddr, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "something else answers there: stop it, or choose another address (nsd binds every address unless its ip-address lines say otherwise)"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => {
            "this host does not have that address: add it to an interface, or choose another"
        }
        _ => "choose another address",
    };
    Failure::usage(format!("cannot listen on {address} ({what}): {error}; {advice}"))
}
