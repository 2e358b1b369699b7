//! Every kind of check but HTTP (see `probes`) against real servers on loopback, good and bad.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, MX, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record};

use nsd_failover::failover::pool::Node;
use nsd_failover::health::check::{
    Certificates, Check, Dns, Exec, Gemini, Header, Http, Kind, Names, Outcome, Smtp, StateFile, Tcp, Tls,
};
use nsd_failover::health::family::Family;
use nsd_failover::probe::Prober;

use crate::support::authority::Authority;
use crate::support::host::{Behaviour, Host};
use crate::support::scripted::{Line, Scripted, line, secured};

const NODE: &str = "fishfinger.example.org";

fn check(kind: Kind) -> Check {
    Check {
        name: "it".to_owned(),
        kind,
        interval_ms: 10_000,
        fast_interval_ms: 1_000,
        timeout_ms: 5_000,
        rise: 2,
        fall: 3,
        families: Family::ALL.to_vec(),
    }
}

fn quick(kind: Kind) -> Check {
    Check { timeout_ms: 300, ..check(kind) }
}

fn node() -> Node {
    Node { name: NODE.to_owned(), ipv4: Some(Ipv4Addr::LOCALHOST), ipv6: Some(Ipv6Addr::LOCALHOST) }
}

/// Probes over IPv4; the word and a part of the detail must be as said.
#[track_caller]
fn expect(check: &Check, success: Option<bool>, word: &str, detail: &str) -> Outcome {
    expect_over(Family::Ipv4, check, success, word, detail)
}

/// The same over IPv6, and then over IPv4.
#[track_caller]
fn expect_both(check: &Check, success: Option<bool>, word: &str, detail: &str) -> Outcome {
    expect_over(Family::Ipv6, check, success, word, detail);
    expect_over(Family::Ipv4, check, success, word, detail)
}

#[track_caller]
fn expect_over(family: Family, check: &Check, success: Option<bool>, word: &str, detail: &str) -> Outcome {
    let prober = Prober::new([check]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let outcome = runtime.block_on(prober.probe(check, &node(), family));
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

    fn certificates(&self) -> Certificates {
        let ca_file = Some(self.authority.write_ca(self.folder.path()));
        Certificates { ca_file, ..Certificates::default() }
    }
}

/// A port that nobody listens on.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Accepts, and that is all.
fn silent() -> Scripted {
    Scripted::tcp(|mut stream| stream.read_to_end(&mut Vec::new()).map(drop))
}

#[test]
fn tcp() {
    let echo = Scripted::tcp(|mut stream| {
        let asked = line(&mut stream)?;
        stream.write_all(format!("you said {asked}").as_bytes())
    });
    let tcp = |port, send: Option<&str>, wanted: Option<&str>| {
        let (send, expect) = (send.map(str::to_owned), wanted.map(str::to_owned));
        check(Kind::Tcp(Tcp { port, send, expect, ..Tcp::default() }))
    };
    expect_both(&tcp(echo.port(), None, None), Some(true), "L4OK", "connected");
    expect_both(&tcp(echo.port(), Some("{node}\n"), Some("said {node}")), Some(true), "L7OK", "as expected");
    expect_both(
        &tcp(echo.port(), Some("a\n"), Some("b")),
        Some(false),
        "L7RSP",
        "\"b\" is not in the body \"you said a\\n\"",
    );
    expect_both(&tcp(closed_port(), None, None), Some(false), "L4CON", "refused");
    let pattern =
        Tcp { port: echo.port(), send: Some("a\n".into()), expect_regex: Some("^you .* a$".into()), ..Tcp::default() };
    expect_both(
        &check(Kind::Tcp(Tcp { expect_regex: Some("(?m)^you .* a$".into()), ..pattern.clone() })),
        Some(true),
        "L7OK",
        "",
    );
    expect_both(&check(Kind::Tcp(pattern)), Some(false), "L7RSP", "/^you .* a$/ is not in");
    let silent = silent();
    let slow = quick(Kind::Tcp(Tcp { port: silent.port(), expect: Some("x".into()), ..Tcp::default() }));
    expect_both(&slow, Some(false), "L7TOUT", "after 300ms");
    let endless = Scripted::tcp(|mut stream| {
        loop {
            stream.write_all(&[b'z'; 4096])?;
        }
    });
    expect_both(&tcp(endless.port(), None, Some("needle")), Some(false), "L7RSP", "the first 64 KiB");
}

#[test]
fn tls_for_every_name() {
    let site = Site::new();
    let server = site.authority.server(&[NODE, "foo.zone", "*.foo.zone"]);
    let host = Host::with_tls("127.0.0.1:0", NODE, server);
    let tls = |names: &[&str], certificates: Certificates| {
        let names = Names::List(names.iter().map(|name| (*name).to_owned()).collect());
        check(Kind::Tls(Tls { port: host.port(), names, certificates }))
    };
    let outcome = expect(&tls(&["{node}"], site.certificates()), Some(true), "L6OK", "good certificate for fishfinger");
    assert_eq!(outcome.cert_expiry_unix_s, Some(32_472_144_000));
    expect(&tls(&["foo.zone", "*.foo.zone", "{node}."], site.certificates()), Some(true), "L6OK", "for 3 names");
    // A standby without a certificate for the pool's names is not promoted.
    let detail = "2 of 3 names fail: bar.zone: TLS: invalid peer certificate";
    expect(&tls(&["foo.zone", "bar.zone", "a.b.foo.zone"], site.certificates()), Some(false), "L6RSP", detail);
    let many: Vec<String> = (0..300).map(|index| format!("name{index}.foo.zone")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    let before = host.connections();
    expect(&tls(&many[..30], site.certificates()), Some(true), "L6OK", "good certificates for 30 names");
    assert_eq!(host.connections() - before, 30);
    // Of many, those that a certificate covers are not asked for one by one; the others are.
    let outcome = expect(&tls(&many, site.certificates()), Some(true), "L6OK", "certificates for 300 names, ");
    assert!(host.connections() - before < 60, "{} connections: {}", host.connections(), outcome.detail);
    many.push("bar.zone");
    let detail = "1 of 301 names fail: bar.zone: TLS: invalid peer certificate";
    expect(&tls(&many, site.certificates()), Some(false), "L6RSP", detail);
    let six = Host::with_tls("[::1]:0", NODE, site.authority.server(&[NODE, "foo.zone"]));
    for (names, good) in [(["{node}", "foo.zone"], true), (["{node}", "bar.zone"], false)] {
        let names = Names::List(names.map(str::to_owned).to_vec());
        let check = check(Kind::Tls(Tls { port: six.port(), names, certificates: site.certificates() }));
        expect_over(Family::Ipv6, &check, Some(good), if good { "L6OK" } else { "L6RSP" }, "2 names");
    }
    expect(
        &tls(&["foo.zone"], Certificates::default()),
        Some(false),
        "L6RSP",
        "TLS: invalid peer certificate: UnknownIssuer",
    );
    expect(&tls(&["bar.zone"], Certificates { insecure: true, ..Certificates::default() }), Some(true), "L6OK", "");
}

/// More handshakes than there is time for are nobody's fault, as long as they come about one after the
/// other; a node that hangs in one is down.
#[test]
fn more_names_than_there_is_time_for() {
    let site = Site::new();
    let names: Vec<String> = (0..64).map(|index| format!("name{index}.zone")).collect();
    let servers: Vec<_> = names.iter().map(|name| site.authority.server(&[name])).collect();
    let by_name = Arc::new(names.iter().cloned().zip(servers).collect::<HashMap<_, _>>());
    let tls = |port| {
        let names = Names::List(names.clone());
        let kind = Kind::Tls(Tls { port, names, certificates: site.certificates() });
        Check { timeout_ms: 1_000, ..check(kind) }
    };
    let server = |delay: fn(&str) -> Duration| {
        let by_name = Arc::clone(&by_name);
        Scripted::tcp(move |mut stream| {
            let mut acceptor = rustls::server::Acceptor::default();
            let accepted = loop {
                acceptor.read_tls(&mut stream)?;
                if let Some(accepted) = acceptor.accept().map_err(|_| io::ErrorKind::InvalidData)? {
                    break accepted;
                }
            };
            let name = accepted.client_hello().server_name().unwrap_or_default().to_owned();
            thread::sleep(delay(&name));
            let server =
                accepted.into_connection(Arc::clone(&by_name[&name])).map_err(|_| io::ErrorKind::InvalidData)?;
            io::copy(&mut rustls::StreamOwned::new(server, stream), &mut io::sink()).map(drop)
        })
    };
    let slow = server(|_| Duration::from_millis(250));
    let outcome = expect(&tls(slow.port()), None, "UNK", "timeout = 1s is too short for so many handshakes; ");
    assert!(outcome.detail.contains(" of 64 names done"), "{}", outcome.detail);
    let hangs = server(|name| Duration::from_millis(if name == "name7.zone" { 3_000 } else { 0 }));
    expect(&tls(hangs.port()), Some(false), "L6TOUT", "TLS handshake not done after 1s; 63 of 64 names done");
}

#[test]
fn tls_that_does_not_come_about() {
    let site = Site::new();
    let tls = |port| Kind::Tls(Tls { port, names: Names::default(), certificates: site.certificates() });
    expect(&check(tls(closed_port())), Some(false), "L4CON", "refused");
    let silent = silent();
    expect(&quick(tls(silent.port())), Some(false), "L6TOUT", "after 300ms");
    let plain = Host::http("127.0.0.1:0", NODE);
    expect(&check(tls(plain.port())), Some(false), "L6RSP", "TLS: ");
    let expired = Host::with_tls("127.0.0.1:0", NODE, site.authority.expired_server(&[NODE]));
    expect(&check(tls(expired.port())), Some(false), "L6RSP", "xpired");
}

#[test]
fn certificates_that_end_soon() {
    let site = Site::new();
    let host = Host::with_tls("127.0.0.1:0", NODE, site.authority.server_for_days(&[NODE], 10));
    let tls = |min_days| {
        let certificates = Certificates { min_days: Some(min_days), ..site.certificates() };
        check(Kind::Tls(Tls { port: host.port(), names: Names::default(), certificates }))
    };
    expect(&tls(7), Some(true), "L6OK", "");
    expect(&tls(30), Some(false), "L6RSP", "days, wanted are 30");
    let http = |min_days| {
        let certificates = Certificates { min_days: Some(min_days), ..site.certificates() };
        let url = format!("https://{{node}}:{}/index.txt", host.port());
        check(Kind::Http(Http { url, certificates, ..Http::default() }))
    };
    expect(&http(7), Some(true), "L7OK", "");
    expect(&http(30), Some(false), "L6RSP", "days, wanted are 30");
}

/// The certificate itself as the `ca-file`: no authority is needed, but name and time must be right.
#[test]
fn a_self_signed_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (server, pem) = Authority::self_signed(&[NODE]);
    let file = folder.path().join("self.pem");
    std::fs::write(&file, pem).unwrap();
    let host = Host::with_tls("127.0.0.1:0", NODE, server);
    let tls = |name: &str| {
        let certificates = Certificates { ca_file: Some(file.clone()), ..Certificates::default() };
        check(Kind::Tls(Tls { port: host.port(), names: Names::List(vec![name.to_owned()]), certificates }))
    };
    expect(&tls("{node}"), Some(true), "L6OK", "");
    expect(&tls("other.example.org"), Some(false), "L6RSP", "invalid peer certificate");
    let other = Host::with_tls("127.0.0.1:0", NODE, Authority::self_signed(&[NODE]).0);
    let mut check = tls("{node}");
    let Kind::Tls(tls) = &mut check.kind else { unreachable!() };
    tls.port = other.port();
    expect(&check, Some(false), "L6RSP", "invalid peer certificate");
}

#[test]
fn gemini() {
    let site = Site::new();
    let capsule = |answer: &'static str| {
        Scripted::tls(site.authority.server(&[NODE]), move |stream: &mut dyn Line| {
            let asked = line(stream)?;
            assert_eq!(asked.split(':').next(), Some("gemini"));
            assert!(asked.ends_with("/\r\n"), "{asked}");
            stream.write_all(answer.as_bytes())?;
            stream.flush()
        })
    };
    let gemini = |server: &Scripted, wanted: Option<&str>| {
        let url = format!("gemini://{{node}}:{}/", server.port());
        let wanted = wanted.map(str::to_owned);
        check(Kind::Gemini(Gemini { url, expect: wanted, certificates: site.certificates(), ..Gemini::default() }))
    };
    let good = capsule("20 text/gemini\r\n# Welcome to fishfinger.example.org\n");
    expect_both(&gemini(&good, Some("Welcome to {node}")), Some(true), "L7OK", "Gemini 20");
    expect_both(&gemini(&good, Some("Welcome home")), Some(false), "L7RSP", "is not in the body");
    expect_both(
        &gemini(&capsule("51 Not found\r\n"), None),
        Some(false),
        "L7STS",
        "status \"51 Not found\", wanted 20",
    );
    expect_both(&gemini(&capsule("30 gemini://evil/\r\n"), None), Some(false), "L7STS", "wanted 20");
    expect_both(&gemini(&capsule("HTTP/1.1 200 OK\r\n\r\n"), None), Some(false), "L7RSP", "no Gemini header");
    expect_both(&gemini(&capsule("2"), None), Some(false), "L7RSP", "closed early");
    let stranger = Scripted::tls(Authority::new().server(&[NODE]), |stream| line(stream).map(drop));
    expect_both(&gemini(&stranger, None), Some(false), "L6RSP", "UnknownIssuer");
}

/// A mail server with a part for everything after the greeting.
fn mail_server(greeting: &'static str, offers: &'static str, tls: Option<Arc<rustls::ServerConfig>>) -> Scripted {
    Scripted::tcp(move |mut stream| {
        stream.write_all(greeting.as_bytes())?;
        let talk = |stream: &mut dyn Line, offers: &str| -> io::Result<String> {
            let ehlo = line(stream)?;
            assert!(ehlo.starts_with("EHLO ["), "{ehlo}");
            stream.write_all(format!("250-mail greets you\r\n{offers}250 HELP\r\n").as_bytes())?;
            stream.flush()?;
            line(stream)
        };
        if talk(&mut stream, offers)?.starts_with("STARTTLS") {
            stream.write_all(b"220 go ahead\r\n")?;
            let config = tls.clone().unwrap();
            talk(&mut secured(stream, &config)?, "")?;
        }
        Ok(())
    })
}

#[test]
fn smtp() {
    let site = Site::new();
    let smtp = |server: &Scripted, starttls| {
        check(Kind::Smtp(Smtp { port: server.port(), starttls, certificates: site.certificates() }))
    };
    let good = site.authority.server(&[NODE]);
    let server = mail_server("220 mail.example.org ESMTP\r\n", "250-STARTTLS\r\n", Some(Arc::clone(&good)));
    expect_both(&smtp(&server, false), Some(true), "L7OK", "greets \"mail.example.org ESMTP\"");
    let outcome = expect_both(&smtp(&server, true), Some(true), "L7OK", "STARTTLS works");
    assert!(outcome.cert_expiry_unix_s.is_some());
    let wordy = mail_server("220-hello\r\n220-this is\r\n220 mail\r\n", "250-starttls\r\n", Some(good));
    expect_both(&smtp(&wordy, true), Some(true), "L7OK", "STARTTLS works");
    expect_both(&smtp(&mail_server("220 mail\r\n", "", None), true), Some(false), "L7RSP", "STARTTLS is not offered");
    expect_both(
        &smtp(&mail_server("554 no\r\n", "", None), false),
        Some(false),
        "L7STS",
        "greeting: \"554 no\", wanted 220",
    );
    expect_both(&smtp(&mail_server("SSH-2.0-x\r\n", "", None), false), Some(false), "L7RSP", "no SMTP");
    let wrong = mail_server("220 mail\r\n", "250-STARTTLS\r\n", Some(site.authority.server(&["other.example.org"])));
    expect_both(&smtp(&wrong, true), Some(false), "L6RSP", "after STARTTLS: TLS: invalid peer certificate");
    let silent = silent();
    let slow = quick(Kind::Smtp(Smtp { port: silent.port(), ..Smtp::default() }));
    expect_both(&slow, Some(false), "L7TOUT", "");
    let endless = Scripted::tcp(|mut stream| {
        loop {
            stream.write_all(b"220-and more\r\n")?;
        }
    });
    expect_both(&smtp(&endless, false), Some(false), "L7RSP", "more than 100 lines");
}

/// A name server that answers every question by `part`, over IPv4 and IPv6, until `drop`. Over UDP an
/// answer of more than 512 octets is cut.
struct NameServer {
    port: u16,
    _tcp: Scripted,
    stop: Vec<UdpSocket>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl NameServer {
    fn new(part: impl Fn(&mut Message) -> bool + Send + Sync + 'static) -> NameServer {
        let part = Arc::new(part);
        let answer = move |query: &[u8]| -> Option<Message> {
            let mut answer = Message::from_vec(query).ok()?;
            answer.metadata.message_type = MessageType::Response;
            part(&mut answer).then_some(answer)
        };
        let over_tcp = answer.clone();
        let tcp = Scripted::tcp(move |mut stream| {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query)?;
            let Some(answer) = over_tcp(&query) else { return Ok(()) };
            let wire = answer.to_vec().unwrap();
            stream.write_all(&(wire.len() as u16).to_be_bytes())?;
            stream.write_all(&wire)
        });
        let (mut stop, mut threads) = (Vec::new(), Vec::new());
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            // Whoever has the port over UDP gives it back soon.
            let socket =
                std::iter::repeat_with(|| UdpSocket::bind((address, tcp.port()))).find_map(Result::ok).unwrap();
            let stopper = UdpSocket::bind((address, 0)).unwrap();
            stopper.connect(socket.local_addr().unwrap()).unwrap();
            stop.push(stopper);
            let answer = answer.clone();
            threads.push(thread::spawn(move || serve_udp(&socket, &answer)));
        }
        NameServer { port: tcp.port(), _tcp: tcp, stop, threads }
    }

    fn with_serial(serial: u32) -> NameServer {
        NameServer::new(move |answer| {
            let name = answer.queries[0].name.clone();
            let soa = SOA::new(Name::root(), Name::root(), serial, 1, 1, 1, 1);
            answer.answers.push(Record::from_rdata(name, 60, RData::SOA(soa)));
            true
        })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.iter().for_each(|stop| assert_eq!(stop.send(&[]).unwrap(), 0));
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Until an empty datagram comes.
fn serve_udp(socket: &UdpSocket, answer: &dyn Fn(&[u8]) -> Option<Message>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        if length == 0 {
            return;
        }
        let Some(mut answer) = answer(&buffer[..length]) else { continue };
        if answer.to_vec().unwrap().len() > 512 {
            answer.answers.clear();
            answer.metadata.truncation = true;
        }
        socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
    }
}

#[test]
fn dns() {
    let dns =
        |port: u16, query: &str| Dns { port, query: query.to_owned(), rcode: "NOERROR".to_owned(), ..Dns::default() };
    let soa = NameServer::with_serial(7);
    expect_both(&check(Kind::Dns(dns(soa.port, "example.org SOA"))), Some(true), "L7OK", "NOERROR, 1 answers");
    let address = NameServer::new(|answer| {
        let name = answer.queries[0].name.clone();
        answer.answers.push(Record::from_rdata(name, 60, RData::A(A::new(127, 0, 0, 1))));
        true
    });
    let a = Dns { expect: Some("{ip}".to_owned()), ..dns(address.port, "www.example.org A") };
    expect(&check(Kind::Dns(a.clone())), Some(true), "L7OK", "");
    expect_over(
        Family::Ipv6,
        &check(Kind::Dns(a.clone())),
        None,
        "UNK",
        "expect = \"::1\": `::1` is not an IPv4 address",
    );
    let a = Dns { expect: Some("192.0.2.1".to_owned()), ..a };
    expect_both(&check(Kind::Dns(a)), Some(false), "L7RSP", "www.example.org A is \"127.0.0.1\", wanted 192.0.2.1");
    let lame = NameServer::new(|answer| {
        answer.metadata.response_code = ResponseCode::Refused;
        answer.queries.clear();
        true
    });
    expect_both(&check(Kind::Dns(dns(lame.port, "example.org SOA"))), Some(false), "L7STS", "REFUSED, wanted NOERROR");
    let refused = Dns { rcode: "REFUSED".to_owned(), ..dns(lame.port, "example.org SOA") };
    expect_both(&check(Kind::Dns(refused)), Some(true), "L7OK", "REFUSED");
    // Replies to other questions, or with another id, are noise.
    let noise = NameServer::new(|answer| {
        answer.metadata.id = answer.metadata.id.wrapping_add(1);
        true
    });
    expect_both(&quick(Kind::Dns(dns(noise.port, "example.org SOA"))), Some(false), "L7TOUT", "after 300ms");
    expect_both(&quick(Kind::Dns(dns(closed_port(), "example.org SOA"))), Some(false), "L4CON", "refused");
}

/// `expect` is RDATA as in a zone file, and is compared as such.
#[test]
fn dns_answers_in_presentation_format() {
    let server = |rdata: fn() -> RData| {
        NameServer::new(move |answer| {
            answer.answers.push(Record::from_rdata(answer.queries[0].name.clone(), 60, rdata()));
            true
        })
    };
    let says = |server: &NameServer, query: &str, wanted: &str, good: bool| {
        let (query, expect) = (format!("example.org {query}"), Some(wanted.to_owned()));
        let dns = Dns { port: server.port, query, expect, rcode: "NOERROR".to_owned(), ..Dns::default() };
        let word = if good { "L7OK" } else { "L7RSP" };
        expect_both(&check(Kind::Dns(dns)), Some(good), word, "")
    };
    let txt = server(|| RData::TXT(TXT::new(vec!["v=spf1 -all".to_owned(), "b".to_owned()])));
    says(&txt, "TXT", "\"v=spf1 -all\" b", true);
    let wrong = says(&txt, "TXT", "v=spf1 -allb", false);
    assert!(wrong.detail.contains("\\\"v=spf1 -all\\\" \\\"b\\\""), "as in a zone file: {}", wrong.detail);
    let aaaa = server(|| RData::AAAA("2001:db8::1".parse().unwrap()));
    says(&aaaa, "AAAA", "2001:DB8:0:0::0:1", true);
    says(&aaaa, "AAAA", "\\# 16 20010db8000000000000000000000001", true);
    let mx = server(|| RData::MX(MX::new(10, Name::from_ascii("Mail.Example.org.").unwrap())));
    says(&mx, "MX", "10 mail.example.org", true);
    says(&mx, "MX", "20 mail.example.org", false);
}

/// What does not fit into a datagram is asked for again over TCP.
#[test]
fn dns_answers_that_are_cut() {
    let server = NameServer::new(|answer| {
        let name = answer.queries[0].name.clone();
        for last in 0..100 {
            answer.answers.push(Record::from_rdata(name.clone(), 60, RData::A(A::new(192, 0, 2, last))));
        }
        true
    });
    let query = "example.org A".to_owned();
    let dns = Dns { port: server.port, query, rcode: "NOERROR".to_owned(), ..Dns::default() };
    expect_both(&check(Kind::Dns(dns.clone())), Some(true), "L7OK", "100 answers");
    let last = Dns { expect: Some("192.0.2.99".to_owned()), ..dns };
    expect_both(&check(Kind::Dns(last)), Some(true), "L7OK", "");
}

#[test]
fn serials_of_two_servers() {
    let dns = |here: &NameServer, there: u16| {
        let serial_of = Some(([127, 0, 0, 1], there).into());
        let query = "example.org".to_owned();
        check(Kind::Dns(Dns { port: here.port, query, rcode: "NOERROR".to_owned(), serial_of, expect: None }))
    };
    let (old, new, wrapped) =
        (NameServer::with_serial(u32::MAX - 1), NameServer::with_serial(u32::MAX), NameServer::with_serial(3));
    expect_both(&dns(&new, old.port), Some(true), "L7OK", "serial 4294967295");
    expect_both(&dns(&old, new.port), Some(false), "L7RSP", "serial 4294967294, but 4294967295 at 127.0.0.1");
    expect_both(&dns(&wrapped, new.port), Some(true), "L7OK", "serial 3");
    // The other server is no node of ours: its silence says nothing of this one.
    expect_both(&dns(&new, closed_port()), None, "UNK", "serial-of 127.0.0.1");
    let silent = NameServer::new(|_| false);
    let impatient = |here, there| Check { timeout_ms: 1_000, ..dns(here, there) };
    expect_both(&impatient(&new, silent.port), None, "UNK", "no answer");
    // The node's own silence does, whatever the other server does.
    expect(&impatient(&silent, silent.port), Some(false), "L7TOUT", "after 1s");
    expect(&impatient(&silent, new.port), Some(false), "L7TOUT", "after 1s");
}

fn script(folder: &Path, text: &str) -> String {
    let path = folder.join("plugin");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn plugins() {
    let run = |line: &str| {
        let argv = ["sh", "-c", line, "plugin", "{ip}", "{node}", "{family}"].map(str::to_owned).to_vec();
        check(Kind::Exec(Exec { argv, places: 0 }))
    };
    let outcome = expect(&run("echo \"OK $1 $2 $3|time=0.21s;1;2 'used on /'=80%\""), Some(true), "PROCOK", "");
    assert_eq!(outcome.detail, "OK 127.0.0.1 fishfinger.example.org ipv4");
    let six = expect_over(Family::Ipv6, &run("echo \"OK $1 $2 $3\""), Some(true), "PROCOK", "");
    assert_eq!(six.detail, "OK ::1 fishfinger.example.org ipv6");
    let measures: Vec<String> = outcome.measures.iter().map(|m| format!("{}={}", m.label, m.value)).collect();
    assert_eq!(measures, ["time=0.21s", "used on /=80%"]);
    expect(&run("echo WARNING slow; exit 1"), Some(true), "PROCOK", "WARNING slow");
    expect(&run("echo CRITICAL gone; exit 2"), Some(false), "PROCERR", "CRITICAL gone");
    expect(&run("echo no idea; exit 3"), None, "UNK", "no idea");
    expect(&run("exit 127"), None, "UNK", "exit code 127, and it said nothing");
    expect(&run("kill -9 $$"), None, "UNK", "signal: 9");
    expect(&run("yes | head -c 10000000; exit 2"), Some(false), "PROCERR", "y");
    // No shell looks at the arguments.
    let argv = vec!["echo".to_owned(), "$HOME;exit 2".to_owned(), "{ip}".to_owned()];
    expect(&check(Kind::Exec(Exec { argv, places: 0 })), Some(true), "PROCOK", "$HOME;exit 2 127.0.0.1");
    let argv = vec!["/no/such/plugin".to_owned()];
    expect(&check(Kind::Exec(Exec { argv, places: 0 })), None, "UNK", "cannot run /no/such/plugin");
}

/// Whether a process is there, and no zombie.
fn is_running(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[track_caller]
fn wait_for_end(pid_file: &Path) {
    let started = Instant::now();
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    while is_running(pid) {
        assert!(started.elapsed() < Duration::from_secs(5), "it lives on");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_plugin_that_hangs_or_forks_leaves_nobody_behind() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let exec = |text: &str| Kind::Exec(Exec { argv: vec![script(folder.path(), text), "{ip}".to_owned()], places: 0 });
    let started = Instant::now();
    let hangs = exec(&format!("sleep 600 & echo $! > {}; wait", pid_file.display()));
    expect(&quick(hangs), Some(false), "PROCTOUT", "not done after 300ms, killed");
    wait_for_end(&pid_file);
    // It ends well, but a child of it lives on and holds its output open.
    let forks = exec(&format!("sleep 600 & echo $! > {}; echo OK; exit 0", pid_file.display()));
    expect(&check(forks), Some(true), "PROCOK", "OK");
    wait_for_end(&pid_file);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// A check whose plugins hang delays no other.
#[test]
fn plugins_that_hang_delay_no_other_check() {
    let exec = |name: &str, seconds: &str| {
        let argv = vec!["sleep".to_owned(), seconds.to_owned()];
        Check { name: name.to_owned(), ..check(Kind::Exec(Exec { argv, places: 0 })) }
    };
    let (hangs, good) = (exec("hangs", "3"), exec("good", "0"));
    let prober = Prober::new([&hangs, &good]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut probes = tokio::task::JoinSet::new();
        for _ in 0..24 {
            let (prober, check) = (prober.clone(), hangs.clone());
            probes.spawn(async move { prober.probe(&check, &node(), Family::Ipv4).await });
        }
        tokio::task::yield_now().await;
        let outcome = prober.probe(&good, &node(), Family::Ipv4).await;
        assert_eq!((outcome.word.as_str(), probes.try_join_next().is_none()), ("PROCOK", true), "{outcome:?}");
    });
}

#[test]
fn few_plugins_at_a_time() {
    let check = check(Kind::Exec(Exec { argv: vec!["sleep".to_owned(), "0.1".to_owned()], places: 0 }));
    let prober = Prober::new([&check]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = Instant::now();
    let outcomes = runtime.block_on(async {
        let mut probes = tokio::task::JoinSet::new();
        for _ in 0..24 {
            let (prober, check) = (prober.clone(), check.clone());
            probes.spawn(async move { prober.probe(&check, &node(), Family::Ipv4).await });
        }
        probes.join_all().await
    });
    // Eight at a time, where nobody has counted: three rounds; and the waiting is nobody's fault.
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    assert!(outcomes.iter().all(|outcome| outcome.word == "PROCOK" && outcome.duration_ms < 3_000), "{outcomes:?}");
}

#[test]
fn state_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("{NODE}.ipv4"));
    let check = check(Kind::File(StateFile { path: folder.path().join("{node}.{family}"), max_age_ms: 60_000 }));
    expect(&check, None, "UNK", "No such file");
    let says = |text: &str, success, word| {
        std::fs::write(&path, text).unwrap();
        expect(&check, success, word, text.lines().next().unwrap_or_default());
    };
    says("up\n", Some(true), "L7OK");
    expect_over(Family::Ipv6, &check, None, "UNK", "fishfinger.example.org.ipv6: No such file");
    std::fs::write(folder.path().join(format!("{NODE}.ipv6")), "down\n").unwrap();
    expect_over(Family::Ipv6, &check, Some(false), "L7STS", "down");
    says("OK - 3 workers\nmore", Some(true), "L7OK");
    says("down: no workers", Some(false), "L7STS");
    says("unknown", None, "UNK");
    says("", None, "UNK");
    std::fs::write(&path, "up\n").unwrap();
    let old = std::time::SystemTime::now() - Duration::from_secs(90);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    expect(&check, None, "UNK", "max-age = 1m: its writer has stopped");
    let dated = |time| std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    dated(std::time::SystemTime::now() + Duration::from_secs(30));
    expect(&check, Some(true), "L7OK", "up");
    dated(std::time::SystemTime::now() + Duration::from_secs(7_210));
    expect(&check, None, "UNK", "was written 2h");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    expect(&check, None, "UNK", "no regular file");
}

fn header(name: &str, text: &str) -> (String, Header) {
    (name.to_owned(), Header::Text(text.to_owned()))
}

#[test]
fn http_with_everything() {
    let host = Host::http("127.0.0.1:0", NODE);
    let base = Http { url: format!("http://{{node}}:{}/index.txt", host.port()), ..Http::default() };
    let pattern = |text: &str| check(Kind::Http(Http { expect_regex: Some(text.to_owned()), ..base.clone() }));
    expect(&pattern("^Welcome to [a-z.]+\n$"), Some(true), "L7OK", "");
    expect(&pattern("^Hello"), Some(false), "L7RSP", "/^Hello/ is not in the body");
    // A pattern that explodes elsewhere takes linear time here.
    host.behave(Behaviour::EndlessBody);
    expect(&pattern("(z+)+$y"), Some(false), "L7RSP", "the first 64 KiB");
    host.behave(Behaviour::Good);
    let echoes = Scripted::tcp(|mut stream| {
        request(&mut stream)?;
        let peer = stream.local_addr()?.ip().to_string();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{peer}", peer.len())
    });
    // A body has no reason to put an address in brackets.
    let (url, ip) = (format!("http://{{ip}}:{}/", echoes.port()), Some("{ip}".to_owned()));
    expect_both(&check(Kind::Http(Http { url, expect: ip, ..Http::default() })), Some(true), "L7OK", "");
    let named = Http { url: base.url.replace("{node}", "www.foo.zone"), ..base.clone() };
    expect(&check(Kind::Http(named)), Some(true), "L7OK", "HTTP 200");
    let seen = Scripted::tcp(|mut stream| {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.extend_from_slice(line(&mut stream)?.as_bytes());
        }
        let body = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let length = if body.starts_with("head") { 0 } else { body.len() };
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", &body[..length])
    });
    let mut asks = Http {
        url: format!("http://{{node}}:{}/", seen.port()),
        headers: vec![header("X-Node", "{node}"), header("Accept", "text/*")],
        method: "OPTIONS".to_owned(),
        ..Http::default()
    };
    // Header lines come in any order.
    asks.expect_regex = Some("^options / http/1.1\r\n".to_owned());
    expect(&check(Kind::Http(asks.clone())), Some(true), "L7OK", "");
    asks.expect_regex = Some("x-node: fishfinger.example.org\r\n".to_owned());
    expect(&check(Kind::Http(asks.clone())), Some(true), "L7OK", "");
    // A secret is read anew each time.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    asks.headers.push(("Authorization".to_owned(), Header::File(file.clone())));
    expect(&check(Kind::Http(asks.clone())), None, "UNK", "secret: No such file");
    for secret in ["basic one", "basic {node}"] {
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        asks.expect_regex = Some(format!("authorization: {}\r\n", secret.replace(['{', '}'], ".")));
        expect(&check(Kind::Http(asks.clone())), Some(true), "L7OK", "");
    }
    // What is no secret, or cannot be read, is not the node's fault.
    std::fs::write(&file, "x".repeat(20_000)).unwrap();
    expect(&check(Kind::Http(asks.clone())), None, "UNK", "its first line is longer than a header may be");
    std::fs::write(&file, "\nsecond").unwrap();
    expect(&check(Kind::Http(asks.clone())), None, "UNK", "secret is empty");
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    expect(&check(Kind::Http(asks.clone())), None, "UNK", "secret: it is no regular file");
    asks.headers.pop();
    expect(&check(Kind::Http(Http { method: "HEAD".to_owned(), expect_regex: None, ..asks })), Some(true), "L7OK", "");
}

#[test]
fn redirects_stay_with_the_node() {
    let (here, there) = (Host::http("127.0.0.1:0", NODE), Host::http("127.0.0.1:0", NODE));
    let follow = |redirects| {
        let url = format!("http://{{node}}:{}/index.txt", here.port());
        check(Kind::Http(Http {
            url,
            redirects,
            certificates: Certificates { insecure: true, ..Default::default() },
            ..Http::default()
        }))
    };
    // Another name and port: asked at the node's own address.
    here.behave(Behaviour::Redirect(format!("http://www.example.com:{}/index.txt", there.port())));
    expect(&follow(0), Some(false), "L7STS", "HTTP 302");
    expect(&follow(1), Some(true), "L7OK", "HTTP 200");
    assert_eq!(there.connections(), 1);
    // Another address: never.
    here.behave(Behaviour::Redirect(format!("http://127.0.0.2:{}/index.txt", there.port())));
    expect(&follow(5), Some(false), "L7STS", "another address than the node's");
    here.behave(Behaviour::Redirect("file:///etc/passwd".to_owned()));
    expect(&follow(5), Some(false), "L7STS", "neither http nor https");
    // A circle ends.
    here.behave(Behaviour::Redirect("/index.txt".to_owned()));
    expect(&follow(3), Some(false), "L7STS", "HTTP 302");
    assert_eq!(there.connections(), 1);
}

/// Reads a request up to its empty line.
fn request(stream: &mut (impl Read + ?Sized)) -> io::Result<String> {
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        match line(stream)? {
            line if line.is_empty() => break,
            line => request += &line,
        }
    }
    Ok(request)
}

/// Says 200 where it was told the secret, 403 where not; `/to=URL` sends on.
fn gate(stream: &mut dyn Line) -> io::Result<()> {
    let request = request(stream)?;
    let path = request.split(' ').nth(1).unwrap_or_default();
    let location = match path.trim_start_matches('/').split_once('=') {
        Some(("to", url)) => url,
        _ if request.to_ascii_lowercase().contains("\r\nx-secret: s3cret\r\n") => {
            return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
        _ => return stream.write_all(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
    };
    write!(stream, "HTTP/1.1 302 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn a_secret_is_told_only_the_server_that_it_is_for() {
    let site = Site::new();
    let secure = Scripted::tls(site.authority.server(&[NODE, "www.foo.zone"]), gate);
    let other = Scripted::tls(site.authority.server(&[NODE]), gate);
    let plain = Scripted::tcp(|mut stream| gate(&mut stream));
    let file = site.folder.path().join("secret");
    std::fs::write(&file, "s3cret\n").unwrap();
    let (secure, other, plain) = (secure.port(), other.port(), plain.port());
    let here = format!("https://{NODE}:{secure}");
    let asked = |path: &str, status| {
        check(Kind::Http(Http {
            url: format!("https://{{node}}:{secure}{path}"),
            headers: vec![("X-Secret".to_owned(), Header::File(file.clone()))],
            redirects: 5,
            status: vec![status],
            certificates: site.certificates(),
            ..Http::default()
        }))
    };
    let is_told = |path: &str| drop(expect(&asked(path, 200), Some(true), "L7OK", "HTTP 200"));
    let is_not_told = |path: &str| drop(expect(&asked(path, 403), Some(true), "L7OK", "HTTP 403"));
    is_told("/");
    is_told("/to=/to=/there");
    is_told(&format!("/to={here}/there"));
    is_not_told(&format!("/to=http://{NODE}:{plain}/"));
    is_not_told(&format!("/to=https://{NODE}:{other}/"));
    is_not_told(&format!("/to=https://www.foo.zone:{secure}/"));
    // Nor does another server choose what is asked for with it.
    is_not_told(&format!("/to=https://{NODE}:{other}/to={here}/delete"));
}

/// A server cannot fill the status page.
#[test]
fn of_the_words_of_a_server_a_part_is_told() {
    let host = Host::http("127.0.0.1:0", NODE);
    let follow = |redirects| {
        let url = format!("http://{{node}}:{}/index.txt", host.port());
        check(Kind::Http(Http { url, redirects, ..Http::default() }))
    };
    for to in ["/", "http://192.0.2.1/", "ftp://x/"] {
        host.behave(Behaviour::Redirect(to.to_owned() + &"x".repeat(50_000)));
        for redirects in [0, 1] {
            let prober = Prober::new([&follow(redirects)]).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let examined = runtime.block_on(prober.examine(&follow(redirects), &node(), Family::Ipv4));
            let longest = examined.steps.iter().map(|(step, _)| step.len()).max().unwrap_or(0);
            assert!(examined.outcome.detail.len().max(longest) < 1_010, "{to}: {examined:?}");
        }
    }
}
