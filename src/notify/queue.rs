//! The incidents that wait for one courier: bounded, and the newest matter most.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::Counts;
use super::incident::Incident;

/// Incidents that wait for one destination; of more the oldest go.
pub const WAITING_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
    pub delivered: AtomicU64,
    pub failed: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Arc<Incident>>,
    /// One is being delivered.
    busy: bool,
    closed: bool,
}

impl Queue {
    pub fn push(&self, incident: Arc<Incident>) {
        let mut inner = self.lock();
        if inner.waiting.len() == WAITING_MAX {
            inner.waiting.pop_front();
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        inner.waiting.push_back(incident);
        self.wake.notify_one();
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
                inner.busy = next.is_some();
                if next.is_some() || inner.closed {
                    return next;
                }
            }
            self.wake.notified().await;
        }
    }

    pub fn counts(&self, name: &str) -> Counts {
        let inner = self.lock();
        Counts {
            name: name.to_owned(),
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            waiting: inner.waiting.len() + usize::from(inner.busy),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
