//! What hostile clients do, to the program as it is run: octets of all kinds over each transport,
//! thousands of idle connections, resets at every state. It lives, its memory is bounded, and others
//! are served meanwhile.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::encrypted::{self, certificate};
use super::support::{eventually, framed, query, type_of};
use crate::support::daemon::Daemon;
use crate::support::nsd::{dig, free_address};

/// Idle connections at a time, where the system lets one process have so many.
const IDLE: usize = 10_000;
/// With fewer the test says nothing.
const IDLE_MIN: usize = 3_000;
/// Descriptors that are left to everything else.
const OTHER_DESCRIPTORS: usize = 1_000;
/// What an idle connection may add to the daemon's memory, and what all of them may, in KiB.
const IDLE_KIB: usize = 16;
const ALLOCATOR_KIB: usize = 32 * 1024;

/// A daemon with `www.example.org A 192.0.2.10`, and a large RRset at `big`.
fn daemon(folder: &Path, address: SocketAddr, more: &str) -> Daemon {
    let mut zone = "@ 300 SOA ns h 1 2 3 400000 5\n@ 300 NS ns\nns 300 A 192.0.2.53\nwww 300 A 192.0.2.10\n".to_owned();
    for number in 0..300 {
        zone.push_str(&format!("big 300 TXT \"{number:->150}\"\n"));
    }
    fs::write(folder.join("zone"), zone).unwrap();
    let config = format!("listen = [\"{address}\"]\n{more}\n[zone.\"example.org\"]\nfile = \"zone\"\n");
    Daemon::start(folder, &config)
}

fn is_served(server: SocketAddr, transport: &str) -> bool {
    dig(server, &["www.example.org", "A", transport]) == ["192.0.2.10"]
}

/// Octets of all kinds and lengths up to `max`: nothing, headers, queries with something wrong, noise.
fn messages(max: usize) -> Vec<Vec<u8>> {
    let sound = query("www", type_of("A")).to_vec().unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = move |len: usize| -> Vec<u8> {
        let octet = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..len).map(octet).collect()
    };
    let lengths = [12, 13, 17, 40, 255, 256, 511, 512, 513, 1_231, 1_233, 4_095, 4_096, 4_097, 9_000, 32_768, max];
    let mut all: Vec<Vec<u8>> = (0..=sound.len()).map(|len| sound[..len].to_vec()).collect();
    for len in lengths {
        all.extend([vec![0; len], vec![0xff; len], vec![0xc0; len], noise(len)]);
        // A header that promises what it likes, and noise behind it.
        all.push([&sound[..4], &noise(len)[4..]].concat());
        // A sound query with a tail; as many pointers as fit.
        let mut tail = noise(len);
        tail.splice(..sound.len().min(len), sound.iter().copied().take(len));
        all.push(tail);
    }
    for at in 0..sound.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut changed = sound.clone();
            changed[at] ^= flip;
            all.push(changed);
        }
    }
    all
}

fn no_panic(daemon: &Daemon) {
    let log = daemon.log();
    assert!(!log.contains("panicked at"), "{log}");
}

/// Queries over a transport, whatever became of them.
fn requests(daemon: &Daemon, transport: &str) -> u64 {
    let start = format!("nsd_failover_dns_requests_total{{transport=\"{transport}\"");
    let metrics = daemon.metrics();
    let lines = metrics.lines().filter(|line| line.starts_with(&start));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// All that comes until the other side closes.
fn drain(stream: &mut impl Read) {
    let mut sink = [0; 65_535];
    while stream.read(&mut sink).is_ok_and(|len| len > 0) {}
}

#[test]
fn any_octets_over_each_transport() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let ca = folder.path().join("cert.pem");
    let [plain, tls, https, quic] = [(); 4].map(|()| free_address());
    let more = format!(
        "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nlisten-tls = [\"{tls}\"]\nlisten-https = [\"{https}\"]\n\
         listen-quic = [\"{quic}\"]\n[dns]\ntcp-per-client = 1000"
    );
    let daemon = daemon(folder.path(), plain, &more);
    let alive = |what: &str| {
        eventually(what, || is_served(plain, "+notcp") && is_served(plain, "+tcp"));
    };
    // UDP, in datagrams as long as they can be.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for message in messages(65_507) {
        socket.send_to(&message, plain).unwrap();
    }
    alive("after UDP");
    // TCP: each on a connection of its own, whole and cut off; and all behind each other.
    for message in messages(65_535) {
        let mut stream = TcpStream::connect(plain).unwrap();
        // The server may have closed by then.
        let _ = stream.write_all(&framed(&message)).and_then(|()| stream.write_all(&message));
    }
    let mut stream = TcpStream::connect(plain).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut reading = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || drain(&mut reading));
    for message in messages(65_535) {
        stream.write_all(&framed(&message)).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    reader.join().unwrap();
    alive("after TCP");
    let all = messages(65_535);
    over_tls(tls, &ca, &all);
    over_https(https, &folder.path().join("body"), &all);
    over_quic(quic, &ca, &all);
    alive("after the encrypted transports");
    // Each has come as far as `respond()`.
    for transport in ["tls", "https", "quic"] {
        let by_get = all.iter().filter(|message| transport == "https" && message.len() <= 9_000).count();
        eventually(transport, || requests(&daemon, transport) >= (all.len() + by_get) as u64);
    }
    for (transport, server) in [("+tls", tls), ("+https", https)] {
        let answer = encrypted::kdig(server, transport, &ca, "www.example.org A");
        assert!(answer.contains("192.0.2.10"), "{transport}: {answer}");
    }
    assert_eq!(encrypted::doq(quic, &ca, "www.example.org.").answers.len(), 1);
    no_panic(&daemon);
}

fn over_tls(server: SocketAddr, ca: &Path, messages: &[Vec<u8>]) {
    for message in messages {
        let mut stream = encrypted::tls(server, ca, "dot").unwrap();
        stream.write_all(&framed(message)).and_then(|()| stream.flush()).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        drain(&mut stream);
        // And in place of a handshake.
        let _ = TcpStream::connect(server).unwrap().write_all(message);
    }
}

/// All over one connection, if curl can: a body each, and in the address those that fit there.
fn over_https(server: SocketAddr, body: &Path, messages: &[Vec<u8>]) {
    let mut command = Command::new("curl");
    command.args(["-s", "-k", "--http2", "--max-time", "60"]);
    for (number, message) in messages.iter().enumerate() {
        let path = body.with_extension(number.to_string());
        fs::write(&path, message).unwrap();
        if number > 0 {
            command.arg("--next").args(["-s", "-k", "--http2", "--max-time", "60"]);
        }
        command.args(["-o", "/dev/null", "-H", "content-type: application/dns-message", "--data-binary"]);
        command.arg(format!("@{}", path.display())).arg(format!("https://{server}/dns-query"));
        if message.len() <= 9_000 {
            command.args(["--next", "-s", "-k", "--http2", "--max-time", "60", "-o", "/dev/null"]);
            command.arg(format!("https://{server}/dns-query?dns={}", URL_SAFE_NO_PAD.encode(message)));
        }
    }
    // What becomes of each is the server's to say; that it goes on is looked at afterwards.
    command.stdin(Stdio::null()).output().expect("curl is installed");
}

/// A stream each. With the ID 0 that QUIC wants, each is answered or reset; with another one, the
/// connection ends.
fn over_quic(server: SocketAddr, ca: &Path, messages: &[Vec<u8>]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = encrypted::quic(server, ca).await.unwrap();
        for message in messages {
            let mut message = message.clone();
            message.iter_mut().take(2).for_each(|octet| *octet = 0);
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.write_all(&framed(&message)).await.unwrap();
            send.finish().unwrap();
            let reply = tokio::time::timeout(Duration::from_secs(10), receive.read_to_end(65_537)).await;
            let _ = reply.expect("a reply or a reset");
        }
        for message in messages.iter().filter(|message| message.len() >= 2 && message[..2] != [0, 0]).step_by(20) {
            let connection = encrypted::quic(server, ca).await.unwrap();
            let (mut send, _receive) = connection.open_bi().await.unwrap();
            send.write_all(&framed(message)).await.unwrap();
            let end = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await;
            end.expect("a message with an ID is a violation");
        }
    });
}

/// Resident memory, in KiB.
fn memory_kib(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How many descriptors a process may have from now on, the daemon included.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    limit.maximum.map_or(usize::MAX, |maximum| maximum as usize)
}

#[test]
fn thousands_of_idle_connections() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let connections = IDLE.min(descriptors().saturating_sub(OTHER_DESCRIPTORS));
    assert!(connections >= IDLE_MIN, "for {connections} connections this says nothing: raise `ulimit -Hn`");
    let more = format!("[dns]\ntcp-connections = {connections}\ntcp-per-client = 20000\ntcp-timeout = \"120s\"");
    let daemon = daemon(folder.path(), address, &more);
    assert!(is_served(address, "+tcp"));
    let before = memory_kib(daemon.id());
    let query = framed(&query("www", type_of("A")).to_vec().unwrap());
    let mut idle: Vec<TcpStream> = Vec::new();
    for number in 0..connections {
        let mut stream = TcpStream::connect(address).unwrap();
        // Some are silent from the start, others have asked.
        if number % 2 == 0 {
            stream.write_all(&query).unwrap();
        }
        idle.push(stream);
        if number % 1_000 == 0 {
            assert!(is_served(address, "+notcp"), "UDP beside {number} connections");
        }
    }
    // Now more than there is room for: the longest idle make it.
    let late: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    eventually("TCP beside them", || is_served(address, "+tcp"));
    assert!(is_served(address, "+notcp"));
    let more = memory_kib(daemon.id()).saturating_sub(before) as usize;
    assert!(more < connections * IDLE_KIB + ALLOCATOR_KIB, "{more} KiB for {connections} connections");
    // The first to come was the first to go; who came late is still there.
    idle[1].set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let ended = idle[1].read(&mut [0; 1]).map_err(|error| error.kind());
    assert!(matches!(ended, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{ended:?}");
    let last = idle.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    last.write_all(&query).unwrap();
    last.read_exact(&mut [0; 12]).expect("an answer");
    drop(late);
}

/// Brings a connection into some state, with a framed query for a small and for a big answer.
type Reach = fn(&mut TcpStream, &[u8], &[u8]);

/// How far a client gets before it resets the connection.
const STATES: [Reach; 8] = [
    |_, _, _| {},
    |stream, small, _| drop(stream.write_all(&small[..1])),
    |stream, small, _| drop(stream.write_all(&small[..2])),
    |stream, small, _| drop(stream.write_all(&small[..small.len() - 1])),
    |stream, small, _| drop(stream.write_all(small)),
    |stream, small, _| drop(stream.write_all(small).and_then(|()| stream.read_exact(&mut [0; 1]))),
    |stream, _, big| drop(stream.write_all(&big.repeat(200))),
    |stream, _, big| drop(stream.write_all(&big.repeat(20)).and_then(|()| stream.read_exact(&mut [0; 10_000]))),
];

#[test]
fn resets_at_every_state() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    certificate(folder.path());
    let ca = folder.path().join("cert.pem");
    let [tls, https] = [(); 2].map(|()| free_address());
    // So few places that one which is not given back would be missed.
    let more = format!(
        "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nlisten-tls = [\"{tls}\"]\nlisten-https = [\"{https}\"]\n\
         [dns]\ntcp-connections = 3\ntcp-per-client = 3"
    );
    let daemon = daemon(folder.path(), address, &more);
    let octets = |owner: &str, rtype: &str| framed(&query(owner, type_of(rtype)).to_vec().unwrap());
    let (small, big) = (octets("www", "A"), octets("big", "TXT"));
    for state in STATES {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            state(&mut stream, &small, &big);
            // RST in place of FIN.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        eventually("UDP is served", || is_served(address, "+notcp"));
        eventually("TCP is served", || is_served(address, "+tcp"));
    }
    for (server, protocol) in [(tls, "dot"), (https, "http/1.1")] {
        for state in STATES {
            // In place of a handshake, and behind one.
            let mut raw = TcpStream::connect(server).unwrap();
            raw.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            raw.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
            state(&mut raw, &small, &big);
            socket2::SockRef::from(&raw).set_linger(Some(Duration::ZERO)).unwrap();
            drop(raw);
            eventually("a place", || {
                let Ok(mut stream) = encrypted::tls(server, &ca, protocol) else { return false };
                let _ = stream.write_all(&small);
                socket2::SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO)).unwrap();
                true
            });
        }
    }
    for (transport, server) in [("+tls", tls), ("+https", https)] {
        eventually(transport, || encrypted::kdig(server, transport, &ca, "www.example.org A").contains("192.0.2.10"));
    }
    no_panic(&daemon);
}

/// Several secrets, and a rollover by the file, as docs/dns.md describes it.
#[test]
fn cookie_secrets_roll_over_by_their_file() {
    let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
    let [old, new] = ["e5e973e5a6b2a43f48e7dc849e37bfcf", "00112233445566778899aabbccddeeff"];
    let secrets = folder.path().join("secrets");
    let write = |lines: &[&str]| {
        use std::os::unix::fs::PermissionsExt;
        fs::write(&secrets, lines.join("\n")).unwrap();
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&[old]);
    let daemon = daemon(folder.path(), address, "[dns]\ncookie-secret-file = \"secrets\"");
    let reload = || assert!(daemon.verb(&["reload"]).status.success());
    // The server's part of the answer to a client cookie: its hash tells the secret.
    let cookie = |sent: &str| -> String {
        let mut command = Command::new("dig");
        command.args([&format!("@{}", address.ip()), "-p", &address.port().to_string()]);
        let output = command.args(["www.example.org", "A", &format!("+cookie={sent}"), "+qr"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().rfind(|line| line.starts_with("; COOKIE: "));
        line.unwrap_or_else(|| panic!("{text}")).split(' ').nth(2).unwrap().to_owned()
    };
    let first = cookie("0123456789abcdef");
    assert!(first.starts_with("0123456789abcdef01000000") && first.len() == 48, "{first}");
    let made_by = |secret: &str, cookie: &str| {
        use nsd_failover::dns::cookie::Secrets;
        let octets = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let octets = octets(cookie);
        let (client, server) = octets.split_first_chunk().unwrap();
        let made_s = u32::from_be_bytes(server[4..8].try_into().unwrap());
        Secrets::from_text(secret).unwrap().accept(client, server, address.ip(), made_s)
    };
    assert!(made_by(old, &first) && !made_by(new, &first));
    write(&[old, new]);
    reload();
    assert!(made_by(old, &cookie("0123456789abcdef")), "known everywhere first");
    write(&[new, old]);
    reload();
    assert!(made_by(new, &cookie(&first)), "then in use");
    // A file that cannot be read changes nothing.
    write(&["not a secret"]);
    assert!(!daemon.verb(&["reload"]).status.success());
    assert!(made_by(new, &cookie(&first)));
}
