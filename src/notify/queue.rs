//! The incidents that wait for one courier: bounded, and the newest matter most.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Counts;
use super::incident::Incident;

/// Incidents that wait for one destination; of more the oldest go.
pub const WAITING_MAX: usize = 64;

#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
    /// Told of each change: what waits is kept on disk.
    changed: Arc<Notify>,
    pub delivered: AtomicU64,
    pub failed: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Arc<Incident>>,
    /// The one that is being delivered.
    busy: Option<Arc<Incident>>,
    closed: bool,
}

impl Queue {
    pub fn new(changed: Arc<Notify>) -> Queue {
        Queue {
            inner: Mutex::default(),
            wake: Notify::new(),
            changed,
            delivered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    pub fn push(&self, incident: Arc<Incident>) {
        let mut inner = self.lock();
        if inner.waiting.len() == WAITING_MAX {
            inner.waiting.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        inner.waiting.push_back(incident);
        self.wake.notify_one();
        self.changed.notify_one();
    }

    /// No more will come.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// The next to deliver; `None`: all is delivered, and no more will come.
    pub async fn next(&self) -> Option<Arc<Incident>> {
        loop {
            {
                let mut inner = self.lock();
                let next = inner.waiting.pop_front();
                inner.busy = next.clone();
                self.changed.notify_one();
                if next.is_some() || inner.closed {
                    return next;
                }
            }
            self.wake.notified().await;
        }
    }

    /// All that is not delivered, the oldest first.
    pub fn undelivered(&self) -> Vec<Arc<Incident>> {
        let inner = self.lock();
        inner.busy.iter().chain(&inner.waiting).cloned().collect()
    }

    pub fn counts(&self, name: &str) -> Counts {
        let inner = self.lock();
        Counts {
            name: name.to_owned(),
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            waiting: inner.waiting.len() + usize::from(inner.busy.is_some()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(incident: &Incident) -> i64 {
        incident.unix_ms
    }

    #[tokio::test]
    async fn the_oldest_go_and_what_is_under_way_counts() {
        let queue = Queue::new(Arc::default());
        let more = 6;
        let all = i64::try_from(WAITING_MAX + more).unwrap();
        (0..all).for_each(|number| queue.push(Arc::new(Incident::test("here", number))));
        let counts = queue.counts("x");
        assert_eq!((counts.waiting, counts.dropped), (WAITING_MAX, more as u64));
        assert_eq!(id(&queue.next().await.unwrap()), more as i64);
        let undelivered: Vec<i64> = queue.undelivered().iter().map(|incident| id(incident)).collect();
        assert_eq!(undelivered, (more as i64..all).collect::<Vec<_>>(), "the one under way is not delivered yet");
        queue.close();
        while queue.next().await.is_some() {}
        assert!(queue.undelivered().is_empty());
    }
}
