//! Streams: what a client may do on a connection, what it may not, and what becomes of its queries.

use std::io::{Read, Write};
use std::net::TcpListener;

use futures_util::FutureExt;
use nsd_failover::serve::counters::Request;
use quinn::{ReadError, VarInt};

use super::*;

/// RFC 9250 section 4.3.3.
#[test]
fn who_breaks_a_rule_is_told_and_sent_away() {
    let server = Server::start_with(None, |settings| settings.read_ms = 300);
    let www = www();
    let whole = framed(&www);
    let with_id = framed(&[&[0, 1], &www[2..]].concat());
    // OPT comes last, and its length of options is the last thing in it.
    let mut keepalive = www.clone();
    let at = keepalive.len() - 2;
    keepalive.splice(at.., [0, 4, 0, 11, 0, 0]);
    let long = [&[0xff, 0xff][..], &[0; 65_536]].concat();
    let wrong: [(&str, &[u8], bool); 10] = [
        ("an ID", &with_id, true),
        ("an ID, and no FIN", &with_id, false),
        ("edns-tcp-keepalive", &framed(&keepalive), true),
        ("nothing", &[], true),
        ("half a length", &[0], true),
        ("half a query", &whole[..20], true),
        ("no FIN", &whole, false),
        ("an octet more", &[&whole[..], &[0]].concat(), true),
        ("two queries", &[&whole[..], &whole].concat(), false),
        ("more than a length can say", &long, false),
    ];
    server.runtime.block_on(async {
        for (what, octets, finish) in wrong {
            let connection = server.connect().await;
            ask(&connection).await;
            let (mut send, mut receive) = connection.open_bi().await.unwrap();
            // It may be over before all is written.
            let _ = send.write_all(octets).await;
            if finish {
                let _ = send.finish();
            }
            assert_eq!(closed(&connection).await, PROTOCOL_ERROR, "{what}");
            let reply = receive.read_to_end(65_537).await;
            assert!(reply.is_err(), "{what} is not answered: {reply:?}");
        }
    });
}

/// One stream can fail alone.
#[test]
fn a_query_that_does_not_come_costs_its_stream_and_no_other() {
    let server = Server::start_with(None, |settings| settings.read_ms = 300);
    let reset = |code: u32| ReadToEndError::Read(ReadError::Reset(code.into()));
    server.runtime.block_on(async {
        let connection = server.connect().await;
        let (mut slow, mut from_slow) = connection.open_bi().await.unwrap();
        slow.write_all(&framed(&www())[..20]).await.unwrap();
        let (mut undecided, mut from_undecided) = connection.open_bi().await.unwrap();
        undecided.write_all(&framed(&www())[..20]).await.unwrap();
        undecided.reset(REQUEST_CANCELLED.into()).unwrap();
        ask(&connection).await;
        assert_eq!(within(from_undecided.read_to_end(65_537)).await, Err(reset(NO_ERROR)));
        assert_eq!(within(from_slow.read_to_end(65_537)).await, Err(reset(UNSPECIFIED_ERROR)));
        assert_eq!(within(slow.stopped()).await.unwrap(), Some(VarInt::from_u32(UNSPECIFIED_ERROR)));
        // What is no query.
        let response = [&www()[..2], &[0x80], &www()[3..]].concat();
        for message in [&[][..], &[0], &www()[..11], &response] {
            assert_eq!(exchange(&connection, &framed(message)).await, Err(reset(PROTOCOL_ERROR)));
        }
        ask(&connection).await;
    });
}

/// As a quarter of a query a datagram, the FIN alone in the last.
#[test]
fn a_query_may_come_in_pieces() {
    let server = Server::start();
    server.runtime.block_on(async {
        let connection = server.connect().await;
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        for piece in framed(&www()).chunks(16) {
            let sent = connection.stats().udp_tx.datagrams;
            send.write_all(piece).await.unwrap();
            while connection.stats().udp_tx.datagrams == sent {
                tokio::task::yield_now().await;
            }
        }
        send.finish().unwrap();
        assert_eq!(within(receive.read_to_end(65_537)).await.unwrap()[2 + 6..2 + 8], [0, 1]);
    });
}

#[test]
fn so_many_streams_and_no_more() {
    let server = Server::start();
    server.runtime.block_on(async {
        let connection = server.connect().await;
        assert_eq!(connection.max_datagram_size(), None);
        assert!(connection.open_uni().now_or_never().is_none(), "none of that kind");
        let mut open = Vec::new();
        while let Some(stream) = connection.open_bi().now_or_never() {
            open.push(stream.unwrap());
        }
        assert_eq!(open.len(), 100);
        for (send, _) in &mut open {
            send.write_all(&framed(&www())[..2]).await.unwrap();
        }
        // Those that are done with make room for others; quinn says so when it is worth a word, after an
        // eighth of them.
        for (mut send, mut receive) in open.drain(80..) {
            send.write_all(&www()).await.unwrap();
            send.finish().unwrap();
            within(receive.read_to_end(65_537)).await.unwrap();
        }
        within(connection.open_bi()).await.unwrap();
    });
    let short = Server::start_with(None, |settings| settings.queries_max = 3);
    short.runtime.block_on(async {
        let connection = short.connect().await;
        for _ in 0..3 {
            ask(&connection).await;
        }
        assert_eq!(closed(&connection).await, NO_ERROR);
    });
}

/// Somebody in nsd's place, who has been asked and thinks.
fn asked(listener: &TcpListener) -> (std::net::TcpStream, Vec<u8>) {
    let (mut connection, _) = listener.accept().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut len = [0; 2];
    connection.read_exact(&mut len).unwrap();
    let mut query = vec![0; u16::from_be_bytes(len).into()];
    connection.read_exact(&mut query).unwrap();
    (connection, query)
}

fn behind_nsd(adjust: impl Fn(&mut Settings)) -> (TcpListener, Server) {
    let nsd = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = relay::Settings { timeout_ms: 60_000, ..relay::Settings::new(nsd.local_addr().unwrap()) };
    (nsd, Server::start_with(Some(relay), adjust))
}

/// RFC 9250 section 4.3.1: STOP_SENDING, and nsd is not waited for any more.
#[test]
fn a_query_can_be_cancelled() {
    let (nsd, server) = behind_nsd(|_| {});
    let mail = framed(&ours(&query("mail", 15).to_vec().unwrap()));
    server.runtime.block_on(async {
        let connection = server.connect().await;
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(&mail).await.unwrap();
        send.finish().unwrap();
        let (mut upstream, _) = asked(&nsd);
        receive.stop(REQUEST_CANCELLED.into()).unwrap();
        assert_eq!(upstream.read(&mut [0; 1]).unwrap(), 0, "given up, a minute before the deadline");
        ask(&connection).await;
        assert_eq!(server.counters.snapshot().requests(Request::Relayed), 1, "it is counted");
    });
}

/// A client that asks and waits is not idle, however short `tcp-timeout` is.
#[test]
fn who_waits_for_nsd_is_not_idle() {
    let (nsd, server) = behind_nsd(|settings| settings.idle_ms = 200);
    let mail = framed(&ours(&query("mail", 15).to_vec().unwrap()));
    server.runtime.block_on(async {
        let connection = server.connect().await;
        let reply = exchange(&connection, &mail);
        let answering = tokio::task::spawn_blocking(move || {
            let (mut upstream, mut query) = asked(&nsd);
            // Five times as long as silence may be.
            std::thread::sleep(Duration::from_millis(1_000));
            query[2] |= 0x80;
            upstream.write_all(&framed(&query)).unwrap();
        });
        assert_eq!(reply.await.unwrap().len(), mail.len());
        answering.await.unwrap();
        assert_eq!(closed(&connection).await, NO_ERROR, "now it is");
    });
}

/// What is owed goes out, then the connection is closed in order; meanwhile nobody is let in.
#[test]
fn the_end_comes_after_the_last_answer() {
    let (nsd, mut server) = behind_nsd(|_| {});
    let mail = ours(&query("mail", 15).to_vec().unwrap());
    let handle = server.runtime.handle().clone();
    handle.block_on(async {
        let [waiting, idle] = [server.connect().await, server.connect().await];
        let (mut send, mut receive) = waiting.open_bi().await.unwrap();
        send.write_all(&framed(&mail)).await.unwrap();
        send.finish().unwrap();
        let (mut upstream, mut query) = asked(&nsd);
        server.stop();
        assert_eq!(closed(&idle).await, NO_ERROR);
        let refused = within(encrypted::quic(server.address, &server.ca())).await.unwrap_err();
        assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
        assert!(!server.task.as_ref().unwrap().is_finished(), "it waits for nsd");
        query[2] |= 0x80;
        upstream.write_all(&framed(&query)).unwrap();
        assert_eq!(within(receive.read_to_end(65_537)).await.unwrap().len(), 2 + mail.len());
        assert_eq!(closed(&waiting).await, NO_ERROR);
        server.stopped().await;
    });
}
