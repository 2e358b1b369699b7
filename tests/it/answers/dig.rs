//! A real dig against the servers, over both transports and both ways to move datagrams.

use std::net::SocketAddr;
use std::process::Command;

use nsd_failover::serve::counters::Request;
use nsd_failover::serve::sys::Calls;
use nsd_failover::table::zone_table::Mode;

use super::support::*;

/// What dig prints; it must not have complained.
pub fn dig(server: SocketAddr, arguments: &str) -> String {
    let output = Command::new("dig")
        .args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "+norec", "+tries=1", "+time=5"])
        .args(arguments.split_whitespace())
        .output()
        .expect("dig is installed (bind9-dnsutils)");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("WARNING") && !text.contains("malformed"), "{text}");
    text
}

#[test]
fn dig_over_udp_and_tcp() {
    for calls in [Calls::Native, Calls::Plain] {
        let servers = Servers::start(table(Mode::Whole), None, calls);
        for transport in ["+notcp +ignore", "+tcp"] {
            let ask =
                |question: &str| dig(servers.address, &format!("{question} {transport} +noall +answer +comments"));
            assert!(ask("wWw.example.org A").contains("wWw.example.org.\t300\tIN\tA\t192.0.2.10\n"));
            assert!(ask("nothere.example.org A").contains("status: NXDOMAIN"));
            assert!(ask("www.elsewhere.test A").contains("status: REFUSED"));
            assert!(ask("example.org A +edns=1 +noednsneg").contains("status: BADVERS"));
            assert!(ask("example.org A +header-only +noedns").contains("status: FORMERR"));
            assert!(ask("example.org A +opcode=UPDATE +noedns").contains("status: NOTIMP"));
            assert!(ask("example.org SOA +dnssec +nsid +subnet=192.0.2.0/24").contains("flags: do; udp: 1232"));
        }
        let truncated = dig(servers.address, "big.example.org TXT +notcp +ignore");
        assert!(truncated.contains("flags: qr aa tc"), "{truncated}");
        // On its own dig asks again over TCP.
        let whole = dig(servers.address, "big.example.org TXT");
        assert!(whole.contains("(TCP)") && whole.contains("ANSWER: 21"), "{whole}");
        let counters = servers.counters.clone();
        servers.stop();
        assert_eq!(counters.snapshot().requests(Request::Answered), 17);
    }
}
