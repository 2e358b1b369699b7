//! From one query to its reply, for all transports on which queries come one by one: what is ours by
//! `respond()`, signed if it was asked signed; what is not by nsd.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::dns::cookie::COOKIE_LEN;
use crate::dns::message::{MESSAGE_MAX, Query};
use crate::table::Live;
use crate::table::respond::{Client, Limits, Response, cookie_of, failure, respond};

use super::counters::{Relayed, Request, Tally};
use super::relay::tcp::Relay;
use super::relay::{UNANSWERED, cookie};
use super::transfer::Transfers;
use super::udp::now_s;

/// Room for one answer; the rare larger one is made again in a larger buffer.
pub const REPLY_ROOM: usize = 4_096;

/// What answers are made of.
#[derive(Clone)]
pub struct Answerer {
    live: Arc<Live>,
    relay: Option<Arc<Relay>>,
    transfers: Option<Arc<Transfers>>,
    limits: Limits,
}

/// What becomes of a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The first so many octets of the room.
    Reply(usize),
    /// Nsd is to be asked: [`Answerer::relayed`].
    Relay,
    /// It was no query.
    Drop,
}

impl Answerer {
    /// Without `relay`, questions that are not ours are refused; without `transfers`, nobody judges
    /// signatures.
    pub fn new(
        live: Arc<Live>,
        relay: Option<Arc<Relay>>,
        transfers: Option<Arc<Transfers>>,
        limits: Limits,
    ) -> Answerer {
        let limits = Limits { relay: relay.is_some(), ..limits };
        Answerer { live, relay, transfers, limits }
    }

    /// The same on a transport that has other limits.
    pub fn with(&self, change: impl FnOnce(Limits) -> Limits) -> Answerer {
        Answerer { limits: change(self.limits), ..self.clone() }
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn transfers(&self) -> Option<&Arc<Transfers>> {
        self.transfers.as_ref()
    }

    /// Answers from the table, and counts the query. `room` is as large as it has to be afterwards.
    pub fn respond(&self, query: &[u8], client: IpAddr, room: &mut Vec<u8>, tally: &mut Tally) -> Outcome {
        let outcome = self.outcome(query, client, room);
        tally.request(match outcome {
            Outcome::Reply(_) => Request::Answered,
            Outcome::Relay => Request::Relayed,
            Outcome::Drop => Request::Dropped,
        });
        outcome
    }

    fn outcome(&self, query: &[u8], client: IpAddr, room: &mut Vec<u8>) -> Outcome {
        let table = self.live.load();
        let keys = self.transfers.as_ref().is_some_and(|transfers| transfers.has_keys());
        let limits = Limits { keys, ..self.limits };
        let client = Client { address: client, now_s: now_s() };
        room.resize(REPLY_ROOM, 0);
        let mut response = respond(&table, query, &limits, &client, room);
        if matches!(response, Response::Reply(_)) && room[2] & 0x02 != 0 {
            room.resize(MESSAGE_MAX, 0);
            response = respond(&table, query, &limits, &client, room);
        }
        match (response, &self.transfers) {
            (Response::Reply(answer), _) => Outcome::Reply(answer.len),
            (Response::Verify(max), Some(transfers)) => {
                room.clear();
                match transfers.answer_signed(&table, query, &limits, &client, max, room) {
                    Some(_) => Outcome::Reply(room.len()),
                    None => Outcome::Drop,
                }
            }
            (Response::Relay, _) if self.relay.is_some() => Outcome::Relay,
            (Response::Relay | Response::Verify(_) | Response::Drop, _) => Outcome::Drop,
        }
    }

    /// Nsd's reply, or what we can say without it; and what is to be counted. `None`: there is none.
    pub async fn relayed(&self, query: &[u8], client: SocketAddr) -> (Option<Vec<u8>>, Relayed) {
        let Some(relay) = &self.relay else { return (None, Relayed::Unreachable) };
        let (asked, own_cookie) = self.without_cookie(query, client);
        match relay.ask(&asked, client).await {
            Ok(reply) => (Some(with_cookie(reply, own_cookie)), Relayed::Answered),
            Err(why) => {
                let client = Client { address: client.ip(), now_s: now_s() };
                let mut room = vec![0; MESSAGE_MAX];
                match failure(&self.live.load(), query, UNANSWERED, &self.limits, &client, &mut room) {
                    Response::Reply(answer) => (Some(room[..answer.len].to_vec()), why),
                    _ => (None, why),
                }
            }
        }
    }

    /// What nsd is asked, and the cookie that belongs into the reply.
    fn without_cookie<'q>(&self, query: &'q [u8], client: SocketAddr) -> (Cow<'q, [u8]>, Option<[u8; COOKIE_LEN]>) {
        let read = Query::read(query).ok();
        let Some((read, edns)) = read.and_then(|read| Some((read, read.edns?))) else { return (query.into(), None) };
        let client = Client { address: client.ip(), now_s: now_s() };
        let (_, Some(own)) = cookie_of(&self.live.load(), &read, &self.limits, &client) else {
            return (query.into(), None);
        };
        let mut asked = query.to_vec();
        let len = cookie::take_out(&mut asked, &edns);
        asked.truncate(len);
        (asked.into(), Some(own))
    }

    /// All of it, for a query that has a task of its own. `None`: it was no query.
    pub async fn answer(&self, query: &[u8], client: SocketAddr, tally: &mut Tally) -> Option<Vec<u8>> {
        let mut room = Vec::new();
        let reply = match self.respond(query, client.ip(), &mut room, tally) {
            Outcome::Reply(len) => {
                room.truncate(len);
                room
            }
            Outcome::Relay => {
                let (reply, relayed) = self.relayed(query, client).await;
                tally.relayed(relayed);
                reply?
            }
            Outcome::Drop => return None,
        };
        tally.reply(&reply);
        Some(reply)
    }
}

/// nsd's reply with a cookie of ours, if there is to be one, and room for it.
fn with_cookie(mut reply: Vec<u8>, cookie: Option<[u8; COOKIE_LEN]>) -> Vec<u8> {
    if let Some(cookie) = cookie {
        let len = reply.len();
        reply.resize((len + cookie::OPTION_LEN).min(MESSAGE_MAX), 0);
        let whole = cookie::put_in(&mut reply, len, &cookie);
        reply.truncate(if whole > MESSAGE_MAX { len } else { whole });
    }
    reply
}
