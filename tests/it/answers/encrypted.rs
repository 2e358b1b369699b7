//! DNS over TLS, HTTPS and QUIC by the daemon, as kdig and hickory's client see it.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{DnsRequest, DnsResponse, Edns, Message, Query};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_server::net::quic::QuicClientStreamBuilder;
use hickory_server::net::xfer::{DnsRequestSender, FirstAnswer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use nsd_failover::dns::access::{Algorithm, Key, Secret};
use nsd_failover::serve::transfer::tsig::Keys;

use crate::support::daemon::Daemon;
use crate::support::nsd::free_address;

/// A certificate for `ns.test` that is its own authority.
pub fn certificate(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(vec!["ns.test".to_owned()]).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    crate::notify::write_secret(&folder.join("key.pem"), &made.signing_key.serialize_pem());
}

/// What kdig prints; it trusts `ca` and nobody else.
pub fn kdig(server: SocketAddr, transport: &str, ca: &Path, question: &str) -> String {
    let ca = format!("+tls-ca={}", ca.display());
    let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut command = Command::new("kdig");
    // In this order: what is said of TLS behind it switches QUIC off.
    command.args([&at, "-p", &port, &ca, "+tls-hostname=ns.test", transport, "+retry=0", "+time=5"]);
    let output = command.args(question.split(' ')).output().expect("kdig is installed (knot-dnsutils)");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Whether kdig can be asked to speak this: Debian's 3.2.6 can, others were built without.
pub fn kdig_speaks(transport: &str) -> bool {
    let output = Command::new("kdig").arg("-h").output().expect("kdig is installed (knot-dnsutils)");
    String::from_utf8_lossy(&output.stdout).contains(&transport.replace('+', "+[no]"))
}

/// A TLS connection that is open when it is returned.
pub fn tls(server: SocketAddr, ca: &Path, protocol: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    tls_over(TcpStream::connect(server)?, ca, protocol)
}

/// The same over a connection that there is.
pub fn tls_over(
    mut socket: TcpStream,
    ca: &Path,
    protocol: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut config = trusting(ca);
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let name = ServerName::try_from("ns.test").unwrap();
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// QUIC for DNS; must be called within a runtime.
pub async fn quic(server: SocketAddr, ca: &Path) -> Result<quinn::Connection, quinn::ConnectionError> {
    let mut tls = trusting(ca);
    tls.alpn_protocols = vec![b"doq".to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.connect_with(quinn::ClientConfig::new(Arc::new(config)), server, "ns.test").unwrap().await
}

/// The reply over QUIC to a question for an A record, padded, as hickory's client sees it.
pub fn doq(server: SocketAddr, ca: &Path, owner: &str) -> DnsResponse {
    doq_message(server, ca, &padded_query(owner))
}

/// TLS that trusts `ca` and nobody else.
pub fn trusting(ca: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_root_certificates(roots).with_no_client_auth()
}

fn padded_query(owner: &str) -> Message {
    let mut message = Message::query();
    message.metadata.id = 0;
    message.add_query(Query::query(Name::from_ascii(owner).unwrap(), RecordType::A));
    let mut edns = Edns::new();
    edns.options_mut().insert(EdnsOption::Unknown(12, vec![0; 8]));
    message.edns = Some(edns);
    message
}

fn doq_message(server: SocketAddr, ca: &Path, message: &Message) -> DnsResponse {
    let config = trusting(ca);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let builder = QuicClientStreamBuilder::default().crypto_config(config);
        let mut stream = builder.build(server, Arc::from("ns.test")).await.unwrap();
        stream.send_message(DnsRequest::from(message.clone())).first_answer().await.unwrap()
    })
}

#[test]
fn tls_https_and_quic() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let mut zone = "$ORIGIN example.org.\n@ 300 SOA ns h 1 2 3 400000 5\n@ 300 NS ns\nns 300 A 192.0.2.53\n\
                    www 300 A 192.0.2.10 ; Enable failover\n"
        .to_owned();
    for number in 0..100 {
        zone.push_str(&format!("big 300 TXT \"{number:->100}\"\n"));
    }
    fs::write(folder.path().join("zone"), zone).unwrap();
    let [plain, tls, https, quic] = [(); 4].map(|()| free_address());
    let config = format!(
        "version = 1\nlisten = [\"{plain}\"]\n[dns]\nnsid = \"ns-a\"\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
         listen-tls = [\"{tls}\"]\nlisten-https = [\"{https}\"]\nlisten-quic = [\"{quic}\"]\n\
         [node.one]\nipv4 = \"192.0.2.10\"\n[pool.web]\nnodes = [\"one\"]\n\
         [zone.\"example.org\"]\nfile = \"zone\"\npool = \"web\"\n"
    );
    let daemon = Daemon::start(folder.path(), &config);
    let first = folder.path().join("first.pem");
    fs::copy(folder.path().join("cert.pem"), &first).unwrap();
    let mut transports = vec![("+tls", tls), ("+https", https), ("+https-get", https), ("+quic", quic)];
    transports.retain(|(transport, _)| kdig_speaks(transport));
    assert!(transports.len() >= 2, "{transports:?}");
    let reply = doq(quic, &first, "wWw.example.org.");
    let message: &Message = &reply;
    assert!(message.metadata.authoritative && reply.as_buffer().len() == 468, "{message}");
    assert_eq!(message.answers[0].to_string(), "wWw.example.org. 300 IN A 192.0.2.10");
    for (transport, server) in &transports {
        let ask = |question: &str| kdig(*server, transport, &first, question);
        let answer = ask("wWw.example.org A +nsid +padding=64");
        assert!(answer.contains("status: NOERROR") && answer.contains("192.0.2.10"), "{transport}: {answer}");
        assert!(answer.contains("Flags: qr aa") && answer.contains("ns-a"), "{transport}: {answer}");
        assert!(answer.contains("PADDING"), "{transport}: {answer}");
        assert!(answer.contains("Received 468 B"), "{transport}: {answer}");
        let large = ask("big.example.org TXT");
        assert_eq!(large.matches("-99\"").count(), 1, "{transport}: {large}");
        assert!(!large.contains("Flags: qr aa tc"), "{transport}: {large}");
        let missing = ask("nothere.example.org A");
        assert!(missing.contains("status: NXDOMAIN") && missing.contains("SOA"), "{transport}: {missing}");
        let foreign = ask("www.elsewhere.test A");
        assert!(foreign.contains("status: REFUSED"), "{transport}: {foreign}");
    }
    // A renewed certificate is shown after a reload; a broken one keeps the last.
    certificate(folder.path());
    let second = folder.path().join("cert.pem");
    assert!(!kdig(tls, "+tls", &second, "www.example.org A").contains("NOERROR"));
    assert!(daemon.verb(&["reload"]).status.success());
    for (transport, server) in &transports {
        assert!(kdig(*server, transport, &second, "www.example.org A").contains("NOERROR"), "{transport}");
    }
    assert_eq!(doq(quic, &second, "www.example.org.").answers.len(), 1);
    let kept = folder.path().join("kept.pem");
    fs::copy(&second, &kept).unwrap();
    fs::write(&second, "no certificate").unwrap();
    assert!(!daemon.verb(&["reload"]).status.success());
    assert!(kdig(tls, "+tls", &kept, "www.example.org A").contains("NOERROR"));
    assert!(!daemon.log().contains("www.example.org"), "no query is logged");
}

/// RFC 8945 over each transport: a good signature is answered with one that kdig and `domain` accept,
/// a wrong one is told what is wrong.
#[test]
fn signed_queries() {
    const SECRET: &str = "c2Vuc2VsZXNzIHNlY3JldCBmb3IgdGVzdHMgb25seQ==";
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    fs::write(folder.path().join("key"), SECRET).unwrap();
    fs::set_permissions(folder.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.path().join("zone"), "@ 300 SOA ns h 1 2 3 400000 5\n@ 300 NS ns\nns 300 A 192.0.2.53\n").unwrap();
    let [plain, tls, https, quic] = [(); 4].map(|()| free_address());
    let config = format!(
        "version = 1\nlisten = [\"{plain}\"]\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
         listen-tls = [\"{tls}\"]\nlisten-https = [\"{https}\"]\nlisten-quic = [\"{quic}\"]\n\
         [key.\"key.example.org\"]\nsecret-file = \"key\"\n[zone.\"example.org\"]\nfile = \"zone\"\n\
         allow-transfer = [\"key.example.org\"]\n"
    );
    let _daemon = Daemon::start(folder.path(), &config);
    let ca = folder.path().join("cert.pem");
    let transports = [("+tls", tls), ("+https", https), ("+quic", quic)];
    for (transport, server) in transports.into_iter().filter(|(transport, _)| kdig_speaks(transport)) {
        let ask = |key: &str, more: &str| kdig(server, transport, &ca, &format!("-y hmac-sha256:{key} {more}"));
        for more in ["ns.example.org A", "ns.example.org A +padding=64", "nothere.example.org A +dnssec"] {
            let answer = ask(&format!("key.example.org:{SECRET}"), more);
            assert!(
                answer.contains("TSIG PSEUDOSECTION") && answer.contains("NOERROR"),
                "{transport} {more}: {answer}"
            );
            assert!(!answer.contains("WARNING") && !answer.contains("BAD"), "{transport} {more}: {answer}");
            if more.contains("padding") {
                assert!(answer.contains("Received 468 B"), "{transport}: {answer}");
            }
        }
        let other = "YW5vdGhlciBzZWNyZXQgdGhhdCBub2JvZHkga25vd3M=";
        for (key, words) in [(format!("key.example.org:{other}"), "BADSIG"), (format!("who.test:{SECRET}"), "BADKEY")] {
            let answer = ask(&key, "ns.example.org A");
            // kdig shows the error of the TSIG record in place of NOTAUTH.
            assert!(answer.contains(&format!("status: {words}")), "{transport}: {answer}");
            assert!(!answer.contains("192.0.2.53"), "{transport}: {answer}");
        }
    }
    let secret = Secret::new(b"senseless secret for tests only");
    let name: nsd_failover::dns::name::Name = "key.example.org".parse().unwrap();
    let keys = Keys::new(&[Key { name: name.clone(), algorithm: Algorithm::Sha256, secret }]);
    let (octets, asked) = keys.sign_request(&name, padded_query("ns.example.org.").to_vec().unwrap()).unwrap();
    // hickory reads the TSIG as a record like others, and would write it in front of OPT.
    let mut message = Message::from_vec(&octets).unwrap();
    let tsig = message.additionals.pop().unwrap().map(|data| match data {
        RData::TSIG(tsig) => Some(tsig),
        _ => None,
    });
    message.signature = tsig.map(Box::new);
    let reply = doq_message(quic, &ca, &message);
    assert_eq!(reply.answers.len(), 1);
    asked.check(reply.as_buffer()).expect("a good signature");
    assert_eq!(reply.as_buffer().len() % 468, 0);
}
