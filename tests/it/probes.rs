//! Probes against real servers on loopback, good and bad.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nsd_failover::failover::pool::Node;
use nsd_failover::health::check::{Check, Http, Kind, Outcome};
use nsd_failover::health::family::Family;
use nsd_failover::probe::Prober;

use crate::support::authority::Authority;
use crate::support::host::{Behaviour, Host};

const NODE: &str = "fishfinger.example.org";

fn node() -> Node {
    Node { name: NODE.to_owned(), ipv4: Some(Ipv4Addr::LOCALHOST), ipv6: Some("::1".parse().unwrap()) }
}

fn check(scheme: &str, port: u16) -> Check {
    Check {
        name: "web".to_owned(),
        kind: Kind::Http(Http {
            url: format!("{scheme}://{{node}}/index.txt"),
            expect: Some("Welcome to {node}".to_owned()),
            status: vec![200],
            port: Some(port),
            ..Http::default()
        }),
        interval_ms: 10_000,
        fast_interval_ms: 1_000,
        timeout_ms: 5_000,
        rise: 2,
        fall: 3,
        families: Family::ALL.to_vec(),
    }
}

fn http(check: &mut Check) -> &mut Http {
    let Kind::Http(http) = &mut check.kind else { panic!("no HTTP check") };
    http
}

fn probe(check: &Check, family: Family) -> Outcome {
    let prober = Prober::new([check]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(prober.probe(check, &node(), family))
}

/// Probes over IPv4; the word and a part of the detail must be as said.
#[track_caller]
fn expect(check: &Check, success: Option<bool>, word: &str, detail: &str) -> Outcome {
    let outcome = probe(check, Family::Ipv4);
    let wanted = (success, word, true);
    assert_eq!((outcome.success, outcome.word.as_str(), outcome.detail.contains(detail)), wanted, "{outcome:?}");
    outcome
}

struct Site {
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        Site { authority: Authority::new(), folder: tempfile::tempdir().unwrap() }
    }

    fn https_check(&self, host: &Host) -> Check {
        let mut check = check("https", host.port());
        http(&mut check).certificates.ca_file = Some(self.authority.write_ca(self.folder.path()));
        check
    }
}

#[test]
fn good() {
    let site = Site::new();
    let host = Host::https("127.0.0.1:0", NODE, &site.authority);
    let outcome = expect(&site.https_check(&host), Some(true), "L7OK", "HTTP 200");
    // 2999-01-01 00:00:00 UTC
    assert_eq!(outcome.cert_expiry_unix_s, Some(32_472_144_000));
    let host = Host::http("127.0.0.1:0", NODE);
    let outcome = expect(&check("http", host.port()), Some(true), "L7OK", "HTTP 200");
    assert_eq!(outcome.cert_expiry_unix_s, None);
}

#[test]
fn wrong_answers() {
    let site = Site::new();
    let plain = Host::http("127.0.0.1:0", NODE);
    let secure = Host::https("127.0.0.1:0", NODE, &site.authority);
    for (host, mut check) in [(&plain, check("http", plain.port())), (&secure, site.https_check(&secure))] {
        let sees = |behaviour, word, detail| {
            host.behave(behaviour);
            expect(&check, Some(false), word, detail);
        };
        sees(
            Behaviour::WrongBody,
            "L7RSP",
            "\"Welcome to fishfinger.example.org\" is not in the body \"It works!\\n\"",
        );
        sees(Behaviour::Status(500), "L7STS", "HTTP 500, wanted 200");
        sees(Behaviour::Redirect("http://127.0.0.1:1/".to_owned()), "L7STS", "HTTP 302 to \"http://127.0.0.1:1/\"");
        sees(Behaviour::EndlessBody, "L7RSP", "is not in the first 64 KiB");
        sees(Behaviour::LateText, "L7RSP", "is not in the first 64 KiB");
        sees(Behaviour::CutBody, "L7RSP", "");
        sees(Behaviour::Garbage, "L7RSP", "");
        sees(Behaviour::EndlessHeader, "L7RSP", "");
        sees(Behaviour::Reset, "L7RSP", "reset");
        host.behave(Behaviour::Status(503));
        http(&mut check).status = vec![200, 503];
        expect(&check, Some(true), "L7OK", "HTTP 503");
    }
}

#[test]
fn a_deadline_for_everything() {
    let site = Site::new();
    let plain = Host::http("127.0.0.1:0", NODE);
    let secure = Host::https("127.0.0.1:0", NODE, &site.authority);
    let quick = |mut check: Check| {
        check.timeout_ms = 300;
        check
    };
    let slow = |check: &Check, word: &str| {
        let started = Instant::now();
        expect(check, Some(false), word, "after 300ms");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(3), "{took:?}");
    };
    plain.behave(Behaviour::SlowHeader);
    slow(&quick(check("http", plain.port())), "L7TOUT");
    plain.behave(Behaviour::Silent);
    slow(&quick(check("http", plain.port())), "L7TOUT");
    secure.behave(Behaviour::SlowHeader);
    slow(&quick(site.https_check(&secure)), "L7TOUT");
    secure.behave(Behaviour::Silent);
    slow(&quick(site.https_check(&secure)), "L6TOUT");
}

/// A full backlog lets no connection in: the first packet is lost, again and again.
#[test]
#[cfg(target_os = "linux")]
fn no_connection_by_the_deadline() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let _fill: Vec<_> =
        (0..3).map(|_| std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200))).collect();
    for scheme in ["http", "https"] {
        let mut check = check(scheme, addr.port());
        http(&mut check).certificates.insecure = true;
        check.timeout_ms = 300;
        expect(&check, Some(false), "L4TOUT", "no connection after 300ms");
    }
}

#[test]
fn refused() {
    let mut host = Host::http("127.0.0.1:0", NODE);
    let check = check("http", host.port());
    host.stop();
    expect(&check, Some(false), "L4CON", "refused");
    host.start();
    expect(&check, Some(true), "L7OK", "");
}

#[test]
fn certificates() {
    let site = Site::new();
    let host = Host::with_tls("127.0.0.1:0", NODE, site.authority.server(&["other.example.org"]));
    expect(&site.https_check(&host), Some(false), "L6RSP", "not valid for name \"fishfinger.example.org\"");

    let host = Host::with_tls("127.0.0.1:0", NODE, site.authority.expired_server(&[NODE]));
    let outcome = expect(&site.https_check(&host), Some(false), "L6RSP", "expired");
    assert_eq!(outcome.cert_expiry_unix_s, Some(978_307_200), "2001-01-01 00:00:00 UTC");

    let host = Host::https("127.0.0.1:0", NODE, &Authority::new());
    let mut unknown = site.https_check(&host);
    expect(&unknown, Some(false), "L6RSP", "UnknownIssuer");
    http(&mut unknown).certificates.insecure = true;
    expect(&unknown, Some(true), "L7OK", "");

    let host = Host::http("127.0.0.1:0", NODE);
    expect(&site.https_check(&host), Some(false), "L6RSP", "");
}

#[test]
fn the_connection_goes_to_the_configured_address() {
    let here = Host::http("127.0.0.1:0", NODE);
    let elsewhere = Host::http("127.0.0.2:0", "elsewhere");
    let mut check = check("http", here.port());
    // A name that resolves elsewhere, or nowhere, is looked up nowhere.
    http(&mut check).url = "http://localhost/index.txt".to_owned();
    expect(&check, Some(true), "L7OK", "");
    // A redirect is not followed.
    here.behave(Behaviour::Redirect(format!("http://{}/index.txt", elsewhere.addr())));
    expect(&check, Some(false), "L7STS", "HTTP 302");
    // Another address in the URL is a mistake, not a node that is down.
    http(&mut check).url = "http://127.0.0.2/index.txt".to_owned();
    expect(&check, None, "UNK", "another address than the node's 127.0.0.1");
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn each_probe_makes_a_new_connection() {
    let host = Host::http("127.0.0.1:0", NODE);
    let check = check("http", host.port());
    let prober = Prober::new([&check]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..3 {
        assert_eq!(runtime.block_on(prober.probe(&check, &node(), Family::Ipv4)).word, "L7OK");
    }
    assert_eq!(host.connections(), 3);
}

#[test]
fn families_apart() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("no IPv6 on loopback: families_apart has nothing to show");
        return;
    }
    let six = Host::http("[::1]:0", NODE);
    let mut four = Host::new(&format!("127.0.0.1:{}", six.port()), NODE, None).unwrap();
    let check = check("http", six.port());
    let words = || Family::ALL.map(|family| probe(&check, family).word);
    assert_eq!(words(), ["L7OK", "L7OK"]);
    six.behave(Behaviour::Status(500));
    assert_eq!(words(), ["L7OK", "L7STS"]);
    six.behave(Behaviour::Good);
    four.stop();
    assert_eq!(words(), ["L4CON", "L7OK"]);
    assert_eq!((four.connections(), six.connections()), (2, 3));
}

#[test]
fn many_at_once_keep_their_own_address_and_deadline() {
    let hosts: Vec<Host> = (1..=20)
        .map(|index| {
            let host = Host::http(&format!("127.0.0.{index}:0"), &format!("node{index}"));
            if index % 2 == 0 {
                host.behave(Behaviour::Status(500));
            }
            host
        })
        .collect();
    let checks: Vec<Check> = hosts.iter().map(|host| check("http", host.port())).collect();
    let prober = Prober::new(&checks).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcomes = runtime.block_on(async {
        let probes = (1..=20_u8).zip(checks).map(|(index, check)| {
            let prober = prober.clone();
            tokio::spawn(async move {
                let node = Node { name: format!("node{index}"), ipv4: Some([127, 0, 0, index].into()), ipv6: None };
                prober.probe(&check, &node, Family::Ipv4).await
            })
        });
        let mut outcomes = Vec::new();
        for probe in probes.collect::<Vec<_>>() {
            outcomes.push(probe.await.unwrap());
        }
        outcomes
    });
    for (index, outcome) in (1..).zip(outcomes) {
        assert_eq!(outcome.word, if index % 2 == 0 { "L7STS" } else { "L7OK" }, "node{index}: {outcome:?}");
    }
    assert!(hosts.iter().all(|host| host.connections() == 1));
}

#[test]
fn a_ca_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let mut check = check("https", 1);
    let mut fails = |file: PathBuf| {
        http(&mut check).certificates.ca_file = Some(file);
        Prober::new([&check]).unwrap_err().to_string()
    };
    assert!(fails(file.clone()).contains("ca-file"));
    for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, text).unwrap();
        let error = fails(file.clone());
        assert!(error.contains("check `web`") && error.contains("ca.pem") && error.contains("PEM"), "{error}");
    }
}
