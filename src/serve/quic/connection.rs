//! One connection: a stream for each query, answered as soon as its answer is there.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use domain::base::iana::OptionCode;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::dns::message::Query;

use super::super::door::Place;
use super::super::service::Service;

/// Why a stream or a connection ends (RFC 9250 section 4.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Code(u32);

impl Code {
    pub const NO_ERROR: Code = Code(0);
    pub const INTERNAL_ERROR: Code = Code(1);
    pub const PROTOCOL_ERROR: Code = Code(2);
    pub const EXCESSIVE_LOAD: Code = Code(4);
    pub const UNSPECIFIED_ERROR: Code = Code(5);
}

impl From<Code> for VarInt {
    fn from(code: Code) -> VarInt {
        VarInt::from_u32(code.0)
    }
}

/// How a connection ends, and a word about it for the client's log.
struct End(Code, &'static str);

/// Until the client leaves, says nothing for too long, breaks a rule or has to make room, or until the
/// server stops: then the answers that are owed go out first.
pub(super) async fn serve(
    connection: Connection,
    place: Place,
    service: Arc<Service>,
    mut stopping: watch::Receiver<()>,
) {
    let evicted = place.evicted();
    let client = connection.remote_address();
    let session = Arc::new(Session { connection, client, place, service });
    let mut queries = JoinSet::new();
    let End(code, why) = tokio::select! {
        end = session.converse(&mut queries, &mut stopping) => end,
        () = evicted => End(Code::EXCESSIVE_LOAD, "somebody else needs the place"),
    };
    // Before the queries that nobody waits for are dropped: their streams would end as if answered.
    session.connection.close(code.into(), why.as_bytes());
}

/// What the queries of a connection share.
struct Session {
    connection: Connection,
    client: SocketAddr,
    place: Place,
    service: Arc<Service>,
}

/// Why there is no answer.
enum Failure {
    /// The client does not keep to this rule (RFC 9250 section 4.3.3): its connection ends.
    Violation(&'static str),
    /// The stream is given up; the others go on.
    Abandoned(Code),
}

impl Session {
    async fn converse(self: &Arc<Session>, queries: &mut JoinSet<()>, stopping: &mut watch::Receiver<()>) -> End {
        let (settings, mut asked) = (self.service.settings, 0_u32);
        let mut last_word = None;
        loop {
            if settings.is_enough(asked) {
                last_word = Some("as many queries as may be");
            }
            if let Some(why) = last_word.filter(|_| queries.is_empty()) {
                return End(Code::NO_ERROR, why);
            }
            tokio::select! {
                Some(done) = queries.join_next(), if !queries.is_empty() => match done {
                    Ok(()) => {}
                    // It has panicked, and said so itself.
                    Err(_) => return End(Code::INTERNAL_ERROR, ""),
                },
                _ = stopping.changed(), if last_word.is_none() => last_word = Some("the server stops"),
                next = timeout(settings.idle(), self.connection.accept_bi()), if last_word.is_none() => match next {
                    Ok(Ok((send, receive))) => {
                        asked = asked.saturating_add(1);
                        queries.spawn(self.clone().exchange(send, receive));
                    }
                    // Somebody has closed it: nobody waits for an answer.
                    Ok(Err(_)) => return End(Code::NO_ERROR, ""),
                    // Who waits for nsd is not idle.
                    Err(_) if !queries.is_empty() => {}
                    Err(_) => return End(Code::NO_ERROR, "idle"),
                },
            }
        }
    }

    /// One query and its answer, until the client has that, or does not want it any more.
    async fn exchange(self: Arc<Session>, mut send: SendStream, mut receive: RecvStream) {
        // Ready when the client cancels the query by STOP_SENDING (RFC 9250 section 4.3.1), when it has
        // everything up to our FIN, and when the connection ends.
        let mut stopped = pin!(send.stopped());
        let reply = tokio::select! {
            reply = self.reply(&mut receive) => reply,
            // quinn resets the stream with the client's own code (RFC 9000 section 3.5).
            _ = &mut stopped => return,
        };
        let (reply, received) = match reply {
            Ok(reply) => reply,
            Err(Failure::Violation(rule)) => {
                return self.connection.close(Code::PROTOCOL_ERROR.into(), rule.as_bytes());
            }
            Err(Failure::Abandoned(code)) => {
                // Where the client has ended a direction itself, nothing more is said about that.
                let _ = receive.stop(code.into());
                let _ = send.reset(code.into());
                return;
            }
        };
        // No answer is longer than MESSAGE_MAX.
        let framed = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
        let taken = async {
            if send.write_all(&framed).await.is_ok() && send.finish().is_ok() {
                self.service.block.batch_sent(received);
                // Until then it may have to be sent again, which no closed connection does.
                let _ = stopped.await;
            }
        };
        if timeout(self.service.settings.write(), taken).await.is_err() {
            let _ = send.reset(Code::UNSPECIFIED_ERROR.into());
        }
    }

    /// The reply to the query on a stream, and when that had arrived.
    async fn reply(&self, receive: &mut RecvStream) -> Result<(Vec<u8>, Option<Instant>), Failure> {
        let query = self.query(receive).await?;
        self.place.asked();
        let _busy = self.place.busy();
        let received = self.service.block.batch_received();
        let reply = self.service.answer(&query, self.client).await;
        // It was no query.
        Ok((reply.ok_or(Failure::Abandoned(Code::PROTOCOL_ERROR))?, received))
    }

    /// The message on a stream, without its length. Nothing is answered before the FIN, which RFC 9250
    /// section 4.2 leaves to the server: until then the client may still break a rule.
    async fn query(&self, receive: &mut RecvStream) -> Result<Vec<u8>, Failure> {
        let mut frame = Vec::new();
        match timeout(self.service.settings.read(), read(receive, &mut frame)).await {
            Ok(read) => read?,
            Err(_) if missing(&frame) == Some(0) => return broken("no FIN after the query"),
            Err(_) => return Err(Failure::Abandoned(Code::UNSPECIFIED_ERROR)),
        }
        match missing(&frame) {
            Some(0) => Ok(frame.split_off(2)),
            _ => broken("FIN before the end of the query"),
        }
    }
}

fn broken<T>(rule: &'static str) -> Result<T, Failure> {
    Err(Failure::Violation(rule))
}

/// Reads up to the FIN, or to what is wrong.
async fn read(receive: &mut RecvStream, frame: &mut Vec<u8>) -> Result<(), Failure> {
    loop {
        match receive.read_chunk(usize::MAX, true).await {
            Ok(Some(chunk)) => frame.extend_from_slice(&chunk.bytes),
            Ok(None) => return Ok(()),
            // The client has reset it, or is gone.
            Err(_) => return Err(Failure::Abandoned(Code::NO_ERROR)),
        }
        match missing(frame) {
            Some(0) => judge(&frame[2..])?,
            Some(_) => {}
            None if frame.len() < 2 => {}
            // RFC 9250 section 4.2: one query on a stream.
            None => return broken("data after the query"),
        }
    }
}

/// What RFC 9250 forbids in a message.
fn judge(query: &[u8]) -> Result<(), Failure> {
    // Section 4.2.1.
    if query.first_chunk::<2>().is_some_and(|id| *id != [0, 0]) {
        return broken("the ID of a query is 0");
    }
    // Section 5.5.2: RFC 7828 is about TCP.
    if let Ok(Query { edns: Some(edns), .. }) = Query::read(query)
        && edns.options().any(|(code, _)| code == OptionCode::TCP_KEEPALIVE.to_int())
    {
        return broken("edns-tcp-keepalive is for TCP");
    }
    Ok(())
}

/// How many octets are still to come. `None`: there are too many, or not even a length.
fn missing(frame: &[u8]) -> Option<usize> {
    let len = frame.first_chunk()?;
    (2 + usize::from(u16::from_be_bytes(*len))).checked_sub(frame.len())
}
