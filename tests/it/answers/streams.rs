//! TCP: framing, pipelining, limits and deadlines.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};

use nsd_failover::serve::counters::{Request, Transport};
use nsd_failover::serve::service::Settings;
use nsd_failover::serve::sys::Calls;
use nsd_failover::table::zone_table::Mode;

use super::support::*;

fn servers(adjust: impl Fn(&mut Settings)) -> Servers {
    Servers::start_with(table(Mode::Whole), None, Calls::Native, adjust)
}

fn connect(servers: &Servers) -> TcpStream {
    let stream = TcpStream::connect(servers.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn framed(id: u16, owner: &str, rtype: &str) -> Vec<u8> {
    let mut message = query(owner, type_of(rtype));
    message.metadata.id = id;
    let octets = message.to_vec().unwrap();
    super::support::framed(&octets)
}

fn read(stream: &mut TcpStream) -> Message {
    Message::from_vec(&read_frame(stream)).unwrap()
}

/// The other side has closed, in an orderly way or not.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn pipelined_queries_are_all_answered() {
    let servers = servers(|_| {});
    let mut stream = connect(&servers);
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for id in 0..2_000 {
            writer.write_all(&framed(id, if id % 5 == 0 { "big" } else { "www" }, "TXT")).unwrap();
        }
        // Half closed: what was asked is still answered.
        writer.shutdown(Shutdown::Write).unwrap();
    });
    for id in 0..2_000 {
        let reply = read(&mut stream);
        assert_eq!(reply.metadata.id, id);
        assert_eq!(reply.answers.len(), if id % 5 == 0 { 21 } else { 0 });
        assert!(!reply.metadata.truncation);
    }
    writing.join().unwrap();
    assert!(is_closed(&mut stream));
    servers.stop();
}

#[test]
fn an_octet_at_a_time_is_answered_in_time_and_cut_off_later() {
    let servers = servers(|settings| settings.read_ms = 1_000);
    let mut stream = connect(&servers);
    for octet in framed(1, "www", "A") {
        stream.write_all(&[octet]).unwrap();
    }
    assert_eq!(read(&mut stream).answers.len(), 1);
    let began = Instant::now();
    let slow = framed(2, "www", "A");
    let cut_off = slow.iter().cycle().take(1_000).any(|octet| {
        std::thread::sleep(Duration::from_millis(100));
        // Never a whole query: the length promises more than comes.
        stream.write_all(&[octet | 0x40]).is_err()
    });
    assert!(cut_off);
    let took = began.elapsed();
    assert!((900..5_000).contains(&took.as_millis()), "{took:?}");
    servers.stop();
}

/// The histogram is of answers: the start of a query is not one.
#[test]
fn half_a_query_is_no_sample_of_how_long_an_answer_takes() {
    let servers = servers(|_| {});
    let sampled = || -> u64 {
        let snapshot = servers.counters.snapshot();
        snapshot.answered.iter().filter(|(at, _)| *at == Transport::Tcp).map(|(_, durations)| durations.count()).sum()
    };
    let mut stream = connect(&servers);
    stream.write_all(&framed(1, "www", "A")[..20]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(is_closed(&mut stream), "it has been read, and the end behind it");
    assert_eq!(sampled(), 0);
    let mut stream = connect(&servers);
    stream.write_all(&framed(2, "www", "A")).unwrap();
    read(&mut stream);
    eventually("the first answer is sampled", || sampled() == 1);
    servers.stop();
}

#[test]
fn the_silent_are_sent_away() {
    let servers = servers(|settings| settings.idle_ms = 300);
    let mut silent = connect(&servers);
    let began = Instant::now();
    assert!(is_closed(&mut silent));
    assert!((250..5_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    servers.stop();
}

#[test]
fn a_client_that_never_reads_holds_nothing_for_long() {
    let servers = servers(|settings| {
        settings.write_ms = 300;
        settings.connections_max = 1;
    });
    let mut deaf = connect(&servers);
    deaf.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let query = framed(1, "big", "TXT");
    let began = Instant::now();
    while deaf.write_all(&query).is_ok() {
        assert!(began.elapsed() < Duration::from_secs(30), "the server reads without end");
    }
    // Its place is free again.
    eventually("the next client is served", || {
        let mut next = connect(&servers);
        next.write_all(&framed(2, "www", "A")).is_ok() && next.read(&mut [0; 2]).is_ok_and(|read| read > 0)
    });
    servers.stop();
}

#[test]
fn places_are_limited_in_all_and_for_each_client() {
    for (in_all, each) in [(3, 10), (10, 3)] {
        let servers = servers(|settings| {
            settings.connections_max = in_all;
            settings.connections_per_client = each;
        });
        let served = |stream: &mut TcpStream| {
            let mut length = [0; 2];
            stream.write_all(&framed(1, "www", "A")).is_ok() && stream.read_exact(&mut length).is_ok()
        };
        let mut inside: Vec<TcpStream> = (0..3).map(|_| connect(&servers)).collect();
        assert!(inside.iter_mut().all(served));
        assert!(!served(&mut connect(&servers)), "the fourth is one too many");
        inside.pop();
        eventually("a place is free again", || served(&mut connect(&servers)));
        servers.stop();
    }
}

#[test]
fn what_is_no_query_does_not_end_the_others() {
    let servers = servers(|_| {});
    let mut stream = connect(&servers);
    // Nothing, too little, a reply, noise; then a question.
    let mut reply = framed(3, "www", "A");
    reply[4] |= 0x80;
    let noise = [vec![0, 20], vec![7; 20]].concat();
    for octets in [vec![0, 0], vec![0, 5, 1, 2, 3, 4, 5], reply, noise, framed(9, "www", "A")] {
        stream.write_all(&octets).unwrap();
    }
    let first = read(&mut stream);
    assert_eq!(first.metadata.response_code, ResponseCode::FormErr, "the noise");
    assert_eq!(read(&mut stream).metadata.id, 9);
    eventually("the others are counted", || servers.counters.snapshot().requests(Request::Dropped) == 3);
    servers.stop();
}

#[test]
fn connections_that_break_off_at_any_point() {
    let servers = servers(|_| {});
    let query = framed(1, "big", "TXT");
    for length in 0..=query.len() {
        let mut stream = connect(&servers);
        stream.write_all(&query[..length]).unwrap();
        // With something unread or unsent the close is a reset.
        drop(stream);
    }
    let mut stream = connect(&servers);
    stream.write_all(&query).unwrap();
    assert_eq!(read(&mut stream).answers.len(), 21);
    servers.stop();
}

#[test]
fn the_longest_silent_makes_room() {
    let servers = servers(|settings| settings.connections_max = 3);
    let answered = |stream: &mut TcpStream, id: u16| {
        let mut length = [0; 2];
        let asked = stream.write_all(&framed(id, "www", "A")).and_then(|()| stream.read_exact(&mut length));
        asked.is_ok() && stream.read_exact(&mut vec![0; u16::from_be_bytes(length).into()]).is_ok()
    };
    let mut inside: Vec<TcpStream> = (0..3).map(|_| connect(&servers)).collect();
    // Who has just come is not sent away; nor is the first, who keeps asking.
    eventually("room is made", || {
        assert!(answered(&mut inside[0], 1), "the first has asked something");
        answered(&mut connect(&servers), 2)
    });
    assert!(is_closed(&mut inside[1]), "by the one who has asked nothing for the longest time");
    assert!(answered(&mut inside[2], 3) && inside[0].write_all(&framed(4, "www", "A")).is_ok());
    servers.stop();
}

#[test]
fn so_many_queries_on_a_connection() {
    let servers = servers(|settings| settings.queries_max = 3);
    let mut stream = connect(&servers);
    // At once: after the third, the server closes.
    let five: Vec<u8> = (0..5).flat_map(|id| framed(id, "www", "A")).collect();
    stream.write_all(&five).unwrap();
    (0..3).for_each(|id| assert_eq!(read(&mut stream).metadata.id, id));
    assert!(is_closed(&mut stream));
    servers.stop();
}

/// A daemon that may open 64 files, and 200 clients over each transport in turn: it waits instead of
/// spinning, UDP is served meanwhile, and when the clients go, all are.
#[test]
fn out_of_descriptors() {
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let address = crate::support::nsd::free_address();
    std::fs::write(path("zone"), "$ORIGIN example.org.\n@ 300 SOA a b 1 2 3 4 5\n@ 300 NS a\na 300 A 192.0.2.1\n")
        .unwrap();
    super::encrypted::certificate(folder.path());
    let [tls, https] = [(); 2].map(|()| crate::support::nsd::free_address());
    let config = format!(
        "listen = [\"{address}\"]\ncontrol = \"control\"\nstate-dir = \"state\"\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
         listen-tls = [\"{tls}\"]\nlisten-https = [\"{https}\"]\n[dns]\n\
         tcp-per-client = 1000\ntcp-timeout = \"60s\"\n[zone.\"example.org\"]\nfile = \"zone\"\n"
    );
    std::fs::write(path("c.toml"), config).unwrap();
    let program = env!("CARGO_BIN_EXE_nsd-failover");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" run --config \"$1\"", program]).arg(path("c.toml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut daemon = command.spawn().unwrap();
    let dig = |transport: &str| {
        let text = crate::support::nsd::dig(address, &["a.example.org", "A", transport, "+time=1", "+tries=1"]);
        text == ["192.0.2.1"]
    };
    eventually("it serves", || dig("+notcp"));
    let cpu_ticks = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let served = |transport: &str, server| match transport {
        "+tcp" => dig("+tcp"),
        _ => super::encrypted::kdig(server, transport, &path("cert.pem"), "a.example.org A").contains("192.0.2.1"),
    };
    for (transport, server) in [("+tcp", address), ("+tls", tls), ("+https", https)] {
        let clients: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(server).unwrap()).collect();
        // Long enough for a spin to show: it would take every tick of the two seconds.
        std::thread::sleep(Duration::from_millis(200));
        let before = cpu_ticks();
        std::thread::sleep(Duration::from_secs(2));
        let spent = cpu_ticks() - before;
        assert!(spent < 50, "{transport}: {spent} ticks of 200");
        assert!(dig("+notcp"), "UDP is served all the same");
        drop(clients);
        eventually(transport, || served(transport, server));
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
