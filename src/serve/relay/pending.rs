//! The requests that wait for nsd: a fixed number of places, found by key, ended in the order in
//! which they began. Knows no socket and no clock.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::dns::message::HEADER_LEN;

use super::super::sys::batch::Envelope;

/// What identifies a reply: the socket it comes in on, and its ID.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    pub socket: usize,
    pub id: u16,
}

/// Requests that wait. A place keeps its buffer when it is emptied, so that a busy relay soon stops
/// allocating.
pub struct Pending {
    places: Vec<Place>,
    by_key: HashMap<Key, usize, RandomState>,
    /// Head of the list of empty places.
    free: usize,
    /// Ends of the list of waiting requests, in the order of their deadlines.
    oldest: usize,
    newest: usize,
}

/// A request that waits, or waited until a moment ago.
pub struct Waiting {
    pub envelope: Envelope,
    /// The whole query as the client sent it.
    pub query: Vec<u8>,
    /// Length of its question, in octets.
    pub question_len: usize,
    deadline_ms: u64,
    key: Key,
}

impl Waiting {
    /// The question as the client sent it; empty if it was none.
    pub fn question(&self) -> &[u8] {
        self.query.get(HEADER_LEN..HEADER_LEN + self.question_len).unwrap_or_default()
    }
}

struct Place {
    waiting: Waiting,
    before: usize,
    after: usize,
}

/// No place.
const NONE: usize = usize::MAX;

impl Pending {
    pub fn new(places: usize) -> Pending {
        let empty = |at: usize| Place {
            waiting: Waiting {
                envelope: Envelope::NONE,
                query: Vec::new(),
                question_len: 0,
                deadline_ms: 0,
                key: Key { socket: 0, id: 0 },
            },
            before: NONE,
            after: if at + 1 < places { at + 1 } else { NONE },
        };
        Pending {
            places: (0..places).map(empty).collect(),
            by_key: HashMap::with_capacity_and_hasher(places, RandomState::default()),
            free: if places > 0 { 0 } else { NONE },
            oldest: NONE,
            newest: NONE,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.oldest == NONE
    }

    pub fn is_full(&self) -> bool {
        self.free == NONE
    }

    pub fn contains(&self, key: Key) -> bool {
        self.by_key.contains_key(&key)
    }

    /// When the oldest request ends.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.places.get(self.oldest).map(|place| place.waiting.deadline_ms)
    }

    /// Lets a request, with its question's length, wait under a key that is not in use. Deadlines must not
    /// fall. False: full.
    pub fn insert(
        &mut self,
        key: Key,
        query: &[u8],
        question_len: usize,
        envelope: &Envelope,
        deadline_ms: u64,
    ) -> bool {
        let at = self.free;
        let Some(place) = self.places.get_mut(at) else { return false };
        debug_assert!(!self.by_key.contains_key(&key));
        self.free = place.after;
        place.waiting.envelope = *envelope;
        place.waiting.query.clear();
        place.waiting.query.extend_from_slice(query);
        place.waiting.question_len = question_len;
        place.waiting.deadline_ms = deadline_ms;
        place.waiting.key = key;
        (place.before, place.after) = (self.newest, NONE);
        match self.places.get_mut(self.newest) {
            Some(newest) => newest.after = at,
            None => self.oldest = at,
        }
        self.newest = at;
        self.by_key.insert(key, at);
        true
    }

    /// The request under this key, if `is_answer` says that it is the one.
    pub fn take(&mut self, key: Key, is_answer: impl FnOnce(&Waiting) -> bool) -> Option<&Waiting> {
        let at = *self.by_key.get(&key)?;
        is_answer(&self.places[at].waiting).then(|| self.end(at))
    }

    /// A request whose time has come.
    pub fn take_expired(&mut self, now_ms: u64) -> Option<&Waiting> {
        let due = self.next_deadline_ms()? <= now_ms;
        due.then(|| self.end(self.oldest))
    }

    /// A request that waits on this socket.
    pub fn take_any_of(&mut self, socket: usize) -> Option<&Waiting> {
        let mut at = self.oldest;
        while let Some(place) = self.places.get(at) {
            if place.waiting.key.socket == socket {
                return Some(self.end(at));
            }
            at = place.after;
        }
        None
    }

    fn end(&mut self, at: usize) -> &Waiting {
        let place = &mut self.places[at];
        let (before, after) = (place.before, place.after);
        self.by_key.remove(&place.waiting.key);
        place.after = self.free;
        self.free = at;
        match self.places.get_mut(before) {
            Some(place) => place.after = after,
            None => self.oldest = after,
        }
        match self.places.get_mut(after) {
            Some(place) => place.before = before,
            None => self.newest = before,
        }
        &self.places[at].waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u16) -> Key {
        Key { socket: usize::from(id % 2), id }
    }

    fn ids(pending: &mut Pending, mut next: impl FnMut(&mut Pending) -> Option<&Waiting>) -> Vec<u8> {
        std::iter::from_fn(|| next(pending).map(|waiting| waiting.query[0])).collect()
    }

    fn filled(count: u8) -> Pending {
        let mut pending = Pending::new(4);
        for id in 0..count {
            assert!(pending.insert(key(id.into()), &[id, 9], 0, &Envelope::NONE, 100 + u64::from(id)));
        }
        pending
    }

    #[test]
    fn places_are_bounded_and_used_again() {
        let mut pending = filled(4);
        assert!(pending.is_full() && !pending.insert(key(9), &[9], 0, &Envelope::NONE, 200));
        assert_eq!(pending.take(key(2), |_| true).unwrap().query, [2, 9]);
        assert!(pending.take(key(2), |_| true).is_none(), "once");
        assert!(pending.insert(key(9), &[9], 0, &Envelope::NONE, 200));
        assert_eq!(ids(&mut pending, |pending| pending.take_expired(1000)), [0, 1, 3, 9]);
        assert!(pending.is_empty() && pending.next_deadline_ms().is_none());
    }

    #[test]
    fn what_is_no_answer_leaves_the_request_waiting() {
        let mut pending = filled(1);
        assert!(pending.take(key(0), |_| false).is_none());
        assert!(pending.contains(key(0)));
        assert!(pending.take(key(0), |waiting| waiting.query == [0, 9]).is_some());
    }

    #[test]
    fn the_oldest_ends_first_and_not_too_early() {
        let mut pending = filled(4);
        assert_eq!(pending.next_deadline_ms(), Some(100));
        assert_eq!(ids(&mut pending, |pending| pending.take_expired(101)), [0, 1]);
        assert_eq!(pending.next_deadline_ms(), Some(102));
    }

    #[test]
    fn one_socket_fails_alone() {
        let mut pending = filled(4);
        assert_eq!(ids(&mut pending, |pending| pending.take_any_of(1)), [1, 3]);
        assert_eq!(ids(&mut pending, |pending| pending.take_expired(1000)), [0, 2]);
    }
}
