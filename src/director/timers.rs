//! Deadlines by number (of a pool, of a zone), each at most once.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(super) struct Timers {
    by_key: BTreeMap<usize, u64>,
    queue: BTreeSet<(u64, usize)>,
}

impl Timers {
    /// Sets, moves or (with `None`) clears the deadline of a key, in monotonic milliseconds.
    pub(super) fn set(&mut self, key: usize, due_ms: Option<u64>) {
        let before = match due_ms {
            Some(due_ms) => self.by_key.insert(key, due_ms),
            None => self.by_key.remove(&key),
        };
        if let Some(before_ms) = before {
            self.queue.remove(&(before_ms, key));
        }
        if let Some(due_ms) = due_ms {
            self.queue.insert((due_ms, key));
        }
    }

    /// Takes the next key whose deadline is reached.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<usize> {
        let (due_ms, key) = *self.queue.first()?;
        if due_ms > now_ms {
            return None;
        }
        self.set(key, None);
        Some(key)
    }

    pub(super) fn next_ms(&self) -> Option<u64> {
        self.queue.first().map(|(due_ms, _)| *due_ms)
    }

    pub(super) fn is_set(&self, key: usize) -> bool {
        self.by_key.contains_key(&key)
    }
}
