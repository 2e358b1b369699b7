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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_do() {
        let address = "127.0.0.1:53".parse().unwrap();
        let line = |kind: io::ErrorKind| explain("DNS over UDP", address, &kind.into()).to_string();
        assert_eq!(
            line(io::ErrorKind::PermissionDenied),
            "cannot listen on 127.0.0.1:53 (DNS over UDP): permission denied; ports below 1024 need root, or the capability CAP_NET_BIND_SERVICE"
        );
        assert!(line(io::ErrorKind::AddrInUse).contains("something else answers there"));
        assert!(line(io::ErrorKind::AddrNotAvailable).contains("does not have that address"));
    }
}
