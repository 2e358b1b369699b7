//! What the connections of one listener share, over every transport that has connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::table::respond::Limits;

use super::answerer::Answerer;
use super::counters::{Block, Tally};

/// What answers are made of, what clients may do, and where both are counted.
#[derive(Clone)]
pub struct Service {
    pub answerer: Answerer,
    pub settings: Settings,
    pub block: Arc<Block>,
}

impl Service {
    /// The same on a transport that has other limits.
    pub(super) fn with(self, change: impl FnOnce(Limits) -> Limits) -> Service {
        Service { answerer: self.answerer.with(change), ..self }
    }

    /// The answer to a query that has a task of its own. `None`: it was no query. It is counted, also
    /// where nobody waits for the answer any more.
    pub(super) async fn answer(&self, query: &[u8], client: SocketAddr) -> Option<Vec<u8>> {
        let mut counted = Counted { tally: Tally::default(), block: &self.block };
        self.answerer.answer(query, client, &mut counted.tally).await
    }
}

/// What clients may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections in all; when a further one comes, the one that has asked nothing for the longest
    /// time has to go.
    pub connections_max: usize,
    /// Connections of one IPv4 address, or of one IPv6 /64.
    pub connections_per_client: usize,
    /// Queries on one connection, after which it is closed; 0: any number.
    pub queries_max: u32,
    /// Longest silence between two queries, in milliseconds.
    pub idle_ms: u32,
    /// Longest time from the first octet of a query to its last, in milliseconds.
    pub read_ms: u32,
    /// Longest time until the client has taken what is written, in milliseconds.
    pub write_ms: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            connections_max: 1_000,
            connections_per_client: 50,
            queries_max: 0,
            idle_ms: 10_000,
            read_ms: 5_000,
            write_ms: 5_000,
        }
    }
}

impl Settings {
    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle_ms.into())
    }

    pub(super) fn read(&self) -> Duration {
        Duration::from_millis(self.read_ms.into())
    }

    pub(super) fn write(&self) -> Duration {
        Duration::from_millis(self.write_ms.into())
    }

    pub(super) fn is_enough(&self, asked: u32) -> bool {
        self.queries_max != 0 && asked >= self.queries_max
    }
}

/// Added to the rest when it is dropped.
struct Counted<'b> {
    tally: Tally,
    block: &'b Block,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.block.add(&mut self.tally);
    }
}
