//! What all transports have in common, at the program as it is run: the same octets in give the same
//! octets out, nobody waits for somebody else's answer, and the limits on connections are shared.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};

use nsd_failover::serve::proxy;

use super::encrypted::{certificate, quic, tls, tls_over};
use super::support::{eventually, framed, query, type_of};
use crate::support::daemon::Daemon;
use crate::support::nsd::{dig, free_address};

const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon that listens on everything.
struct All {
    daemon: Daemon,
    folder: tempfile::TempDir,
    plain: SocketAddr,
    tls: SocketAddr,
    https: SocketAddr,
    quic: SocketAddr,
    runtime: Runtime,
}

impl All {
    /// `dns` stands in `[dns]`, and tables of its own may follow in it.
    fn start(dns: &str) -> All {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path());
        let zone =
            "@ 300 SOA ns h 1 2 3 400000 5\n@ 300 NS ns\nns 300 A 192.0.2.53\nwww 300 A 192.0.2.10 ; Enable failover\n";
        fs::write(folder.path().join("zone"), zone).unwrap();
        let [plain, tls, https, quic] = [(); 4].map(|()| free_address());
        let config = format!(
            "listen = [\"{plain}\"]\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
             listen-tls = [\"{tls}\"]\nlisten-https = [\"{https}\"]\nlisten-quic = [\"{quic}\"]\n[dns]\n{dns}\n\
             [node.one]\nipv4 = \"192.0.2.10\"\n[pool.web]\nnodes = [\"one\"]\n\
             [zone.\"example.org\"]\nfile = \"zone\"\npool = \"web\"\n"
        );
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let daemon = Daemon::start(folder.path(), &config);
        eventually("it serves", || dig(plain, &["www.example.org", "A"]) == ["192.0.2.10"]);
        All { daemon, folder, plain, tls, https, quic, runtime }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The reply to one message, over each transport in turn.
    fn replies(&self, message: &[u8]) -> Vec<(&'static str, Option<Vec<u8>>)> {
        let framed = framed(message);
        let mut tcp = TcpStream::connect(self.plain).unwrap();
        tcp.write_all(&framed).unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        let mut encrypted = tls(self.tls, &self.ca(), "dot").unwrap();
        encrypted.write_all(&framed).unwrap();
        encrypted.conn.send_close_notify();
        encrypted.flush().unwrap();
        vec![
            ("udp", over_udp(self.plain, message)),
            ("tcp", read_frame(&mut tcp)),
            ("tls", read_frame(&mut encrypted)),
            ("https", over_https(self.https, self.folder.path(), message)),
            ("quic", self.runtime.block_on(over_quic(self.quic, &self.ca(), &framed))),
        ]
    }
}

/// `None`: the other side has closed without one.
fn read_frame(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut len = [0; 2];
    stream.read_exact(&mut len).ok()?;
    let mut reply = vec![0; u16::from_be_bytes(len).into()];
    stream.read_exact(&mut reply).ok()?;
    Some(reply)
}

fn over_udp(server: SocketAddr, message: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // Answered one after the other by one thread: what follows the reply tells that there was none.
    let marker = [&[0xff, 0xff][..], &query("www", 1).to_vec().unwrap()[2..]].concat();
    socket.send(message).unwrap();
    socket.send(&marker).unwrap();
    let mut reply = [0; 4_096];
    let len = socket.recv(&mut reply).unwrap();
    (reply[..2] != marker[..2]).then(|| reply[..len].to_vec())
}

fn over_https(server: SocketAddr, folder: &Path, message: &[u8]) -> Option<Vec<u8>> {
    let (body, reply) = (folder.join("body"), folder.join("reply"));
    fs::write(&body, message).unwrap();
    let mut command = Command::new("curl");
    command.args(["-s", "-k", "--http2", "-H", "content-type: application/dns-message", "-w", "%{http_code}"]);
    command.arg("--data-binary").arg(format!("@{}", body.display())).arg("-o").arg(&reply);
    let output = command.arg(format!("https://{server}/dns-query")).output().expect("curl is installed");
    (output.stdout == b"200").then(|| fs::read(&reply).unwrap())
}

async fn over_quic(server: SocketAddr, ca: &Path, framed: &[u8]) -> Option<Vec<u8>> {
    let connection = quic(server, ca).await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(framed).await.unwrap();
    send.finish().unwrap();
    let reply = receive.read_to_end(65_537).await.ok()?;
    Some(reply.get(2..)?.to_vec())
}

/// Queries with something odd about them, all with the ID 0.
fn odd_queries() -> Vec<(&'static str, Vec<u8>)> {
    let octets = |owner: &str, rtype: &str| {
        let mut octets = query(owner, type_of(rtype)).to_vec().unwrap();
        octets[..2].fill(0);
        octets
    };
    let www = octets("www", "A");
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut query = www.clone();
        change(&mut query);
        query
    };
    // OPT comes last, and its length of options is the last thing in it.
    let with_option = |option: &[u8]| {
        changed(&|query| {
            let at = query.len() - 2;
            query[at..].copy_from_slice(&(option.len() as u16).to_be_bytes());
            query.extend(option);
        })
    };
    let opt_at = www.len() - 11;
    let ecs = [0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2];
    vec![
        ("plain", www.clone()),
        ("nothing there", octets("nothere", "A")),
        ("apex", octets("@", "SOA")),
        ("ANY", octets("www", "ANY")),
        ("transfer", octets("@", "AXFR")),
        ("NOTIFY", changed(&|query| query[2] |= 4 << 3)),
        ("UPDATE", changed(&|query| query[2] |= 5 << 3)),
        ("opcode 15", changed(&|query| query[2] |= 15 << 3)),
        ("all flags of a query", changed(&|query| query[3] |= 0x30)),
        ("a reply", changed(&|query| query[2] |= 0x80)),
        ("client subnet", with_option(&ecs)),
        ("client subnet of three octets", with_option(&[0, 8, 0, 3, 0, 1, 24])),
        ("client subnet of an unknown family", with_option(&[0, 8, 0, 4, 0, 9, 0, 0])),
        ("option that is cut off", with_option(&[0, 3, 0, 9, 1])),
        ("unknown option", with_option(&[0xff, 0xf0, 0, 2, 1, 2])),
        ("NSID", with_option(&[0, 3, 0, 0])),
        ("EDNS version 9", changed(&|query| query[opt_at + 6] = 9)),
        ("OPT not at the root", changed(&|query| query.insert(opt_at, 1))),
        (
            "two OPT",
            changed(&|query| {
                query[11] = 2;
                let opt = query[opt_at..].to_vec();
                query.extend(opt);
            }),
        ),
        ("no question", changed(&|query| query[5] = 0)),
        ("two questions", changed(&|query| query[5] = 2)),
        ("answers in it", changed(&|query| query[7] = 1)),
        ("a tail", changed(&|query| query.extend(b"tail"))),
        ("a name that is cut off", www[..20].to_vec()),
        ("a header alone", www[..12].to_vec()),
        ("less than a header", www[..11].to_vec()),
        ("class CH", changed(&|query| query[opt_at - 1] = 3)),
        ("class 255", changed(&|query| query[opt_at - 1] = 255)),
    ]
}

/// One `respond()` answers for every transport.
#[test]
fn the_same_octets_in_the_same_octets_out() {
    let all = All::start("nsid = \"ns-a\"");
    for (what, query) in odd_queries() {
        let replies = all.replies(&query);
        let (_, expected) = &replies[0];
        match what {
            "plain" => assert_eq!(expected.as_ref().unwrap()[6..8], [0, 1]),
            "client subnet of three octets" => assert_eq!(expected.as_ref().unwrap()[3] & 0x0f, 0),
            "a reply" | "less than a header" => assert_eq!(*expected, None),
            _ => assert!(expected.is_some(), "{what}"),
        }
        for (transport, reply) in &replies {
            assert_eq!(reply, expected, "{what} over {transport}");
        }
    }
}

/// RFC 7766 section 6.2.1.1, RFC 7858 section 3.3, RFC 9250 section 4.2: a silent nsd holds up nobody.
#[test]
fn the_quick_do_not_wait_for_the_slow() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nsd = silent.local_addr().unwrap();
    let all =
        All::start(&format!("[nsd]\naddress = \"{nsd}\"\nrelay = true\ncontrol = [\"true\"]\ncheckzone = [\"true\"]"));
    let with_id = |id: u8, owner: &str, rtype: &str| {
        let mut octets = query(owner, type_of(rtype)).to_vec().unwrap();
        octets[..2].copy_from_slice(&[0, id]);
        octets
    };
    let mut stream = tls(all.tls, &all.ca(), "dot").unwrap();
    let began = Instant::now();
    let mut queries = framed(&with_id(1, "@", "MX"));
    (2..20).for_each(|id| queries.extend(framed(&with_id(id, "www", "A"))));
    stream.write_all(&queries).unwrap();
    let ids: Vec<u8> = (1..20).map(|_| read_frame(&mut stream).unwrap()[1]).collect();
    assert_eq!(ids[..18], (2..20).collect::<Vec<u8>>(), "ours come first");
    assert_eq!(ids[18], 1, "and nsd's in the end, from our own copy");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    // The same on one QUIC connection.
    all.runtime.block_on(async {
        let connection = quic(all.quic, &all.ca()).await.unwrap();
        let ask = async |message: &[u8]| {
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            send.write_all(&framed(message)).await.unwrap();
            send.finish().unwrap();
            receive.read_to_end(65_537).await.unwrap()
        };
        let (slow, quick) = (with_id(0, "@", "MX"), with_id(0, "www", "A"));
        let slow = ask(&slow);
        tokio::pin!(slow);
        // The slow one is on its way before the quick one is asked.
        let quick = async {
            tokio::task::yield_now().await;
            ask(&quick).await
        };
        tokio::select! {
            biased;
            reply = &mut slow => panic!("{reply:?} comes first"),
            reply = quick => assert_eq!(reply[2 + 3] & 0x0f, 0),
        }
        assert!(slow.await.len() > 2 + 12);
    });
}

fn metric(daemon: &Daemon, name: &str, transport: &str) -> f64 {
    let start = format!("nsd_failover_dns_connections_{name}{{transport=\"{transport}\"}} ");
    let metrics = daemon.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}")).parse().unwrap()
}

#[test]
fn all_transports_share_the_places() {
    let all = All::start("tcp-per-client = 4");
    let framed = framed(&query("www", 1).to_vec().unwrap());
    let mut inside: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(all.plain).unwrap()).collect();
    for stream in &mut inside {
        stream.write_all(&framed).unwrap();
        read_frame(stream).unwrap();
    }
    let mut over_tls = tls(all.tls, &all.ca(), "dot").unwrap();
    over_tls.write_all(&framed).unwrap();
    read_frame(&mut over_tls).unwrap();
    let over_https_ = tls(all.https, &all.ca(), "http/1.1").unwrap();
    for (transport, open) in [("tcp", 2.0), ("tls", 1.0), ("https", 1.0), ("quic", 0.0)] {
        assert_eq!(metric(&all.daemon, "open", transport), open, "{transport}");
    }
    // The fifth is one too many, whatever it speaks.
    assert!(tls(all.https, &all.ca(), "http/1.1").is_err());
    assert!(tls(all.tls, &all.ca(), "dot").is_err());
    all.runtime.block_on(async {
        let connection = quic(all.quic, &all.ca()).await;
        if let Ok(connection) = connection {
            tokio::time::timeout(PATIENCE, connection.closed()).await.expect("closed at once");
        }
    });
    for transport in ["tls", "https", "quic"] {
        assert_eq!(metric(&all.daemon, "refused_total", transport), 1.0, "{transport}");
    }
    drop((inside, over_tls, over_https_));
    eventually("places are free again", || tls(all.https, &all.ca(), "http/1.1").is_ok());
    assert!(metric(&all.daemon, "accepted_total", "tcp") >= 2.0);
}

/// In front of TLS, a load balancer says for whom it comes before the handshake.
#[test]
fn a_load_balancer_in_front_of_tls() {
    let all = All::start("proxy-from = [\"127.0.0.77\"]\ntcp-per-client = 1");
    let framed = framed(&query("www", 1).to_vec().unwrap());
    let connect = |client: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.77:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.connect(&all.tls.into()).unwrap();
        let mut socket = TcpStream::from(socket);
        let mut header = [0; proxy::WRITTEN_MAX];
        let len = proxy::write(client.parse().unwrap(), proxy::Transport::Stream, &mut header);
        socket.write_all(&header[..len]).unwrap();
        tls_over(socket, &all.ca(), "dot")
    };
    let mut inside = ["198.51.100.1:53", "[2001:db8::1]:53"].map(|client| connect(client).unwrap());
    for stream in &mut inside {
        stream.write_all(&framed).unwrap();
        assert_eq!(read_frame(stream).unwrap()[6..8], [0, 1]);
    }
    assert!(connect("[2001:db8::2]:53").is_err(), "that client has its share");
}

/// Whoever has its turn, the client that is silent for `tcp-timeout` is sent away.
#[test]
fn the_silent_are_sent_away_over_each_transport() {
    let all = All::start("tcp-timeout = \"1s\"");
    let framed = framed(&query("www", 1).to_vec().unwrap());
    let mut over_tls = tls(all.tls, &all.ca(), "dot").unwrap();
    over_tls.write_all(&framed).unwrap();
    read_frame(&mut over_tls).unwrap();
    let mut over_http = tls(all.https, &all.ca(), "http/1.1").unwrap();
    let request = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    over_http.write_all(request.as_bytes()).unwrap();
    let mut status = [0; 12];
    over_http.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 404");
    let mut http2 = tls(all.https, &all.ca(), "h2").unwrap();
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    assert!(matches!(over_tls.read(&mut [0; 1]), Ok(0)), "with a word of farewell");
    over_http.read_to_end(&mut rest).unwrap();
    let _ = http2.read_to_end(&mut rest);
    all.runtime.block_on(async {
        let connection = quic(all.quic, &all.ca()).await.unwrap();
        tokio::time::timeout(PATIENCE, connection.closed()).await.expect("closed");
    });
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    for transport in ["tls", "https", "quic"] {
        eventually(transport, || metric(&all.daemon, "open", transport) == 0.0);
    }
}

/// `tcp-timeout` is for the silence between two queries, and longer than a query may take to arrive (5 s).
#[test]
fn a_connection_may_be_silent_for_as_long_as_it_says() {
    let all = All::start("tcp-timeout = \"30s\"");
    let mut over_http = tls(all.https, &all.ca(), "http/1.1").unwrap();
    let mut ask = || {
        over_http.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        over_http.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut status = [0; 12];
        over_http.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 404");
        // The rest of the response, and then silence: nothing may come, no farewell either.
        over_http.sock.set_read_timeout(Some(Duration::from_millis(5_500))).unwrap();
        let rest = over_http.read_to_end(&mut Vec::new());
        assert_eq!(rest.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    };
    ask();
    ask();
}

/// HTTP/2 takes back a query that waits for nsd (RST_STREAM): nothing is under way any more, and the silence counts.
#[test]
fn a_query_taken_back_keeps_no_connection_open() {
    let nsd = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nsd.local_addr().unwrap();
    let all = All::start(&format!("tcp-timeout = \"1s\"\n[nsd]\naddress = \"{address}\"\nrelay = true"));
    let mut http2 = tls(all.https, &all.ca(), "h2").unwrap();
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream][..], payload].concat()
    };
    let path = format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(query("ns", 1).to_vec().unwrap()));
    // RFC 7541: GET and https by their index, path and authority as they are.
    let headers = [&[0x82, 0x87, 0x04, path.len() as u8][..], path.as_bytes(), &[0x01, 1, b'x']].concat();
    let opening = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, &[]), frame(1, 5, 1, &headers)];
    http2.write_all(&opening.concat()).unwrap();
    let (mut upstream, _) = nsd.accept().unwrap();
    assert!(read_frame(&mut upstream).is_some());
    // CANCEL.
    http2.write_all(&frame(3, 0, 1, &[0, 0, 0, 8])).unwrap();
    http2.sock.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    let ended = http2.read_to_end(&mut rest);
    assert!(
        !ended.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
        "still open: {ended:?}"
    );
}

/// Slow, but in time.
#[test]
fn an_octet_at_a_time_over_each_transport() {
    let all = All::start("");
    let mut message = query("www", 1).to_vec().unwrap();
    message[..2].fill(0);
    let framed = framed(&message);
    let mut stream = tls(all.tls, &all.ca(), "dot").unwrap();
    for octet in &framed {
        stream.write_all(&[*octet]).unwrap();
        stream.flush().unwrap();
    }
    let expected = read_frame(&mut stream).unwrap();
    assert_eq!(expected[6..8], [0, 1]);
    let mut stream = tls(all.https, &all.ca(), "http/1.1").unwrap();
    let head = format!(
        "POST /dns-query HTTP/1.1\r\nhost: x\r\ncontent-type: application/dns-message\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        message.len()
    );
    for octet in [head.as_bytes(), &message].concat() {
        stream.write_all(&[octet]).unwrap();
        stream.flush().unwrap();
    }
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 200") && reply.ends_with(&expected));
    all.runtime.block_on(async {
        let connection = quic(all.quic, &all.ca()).await.unwrap();
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        for octet in &framed {
            send.write_all(&[*octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        send.finish().unwrap();
        assert_eq!(receive.read_to_end(65_537).await.unwrap()[2..], expected);
    });
}
