//! What lives for as long as the daemon: who of them ends before that is missed, and the daemon ends too, for the
//! service manager to start it again. Half a server (no UDP, no control socket) would look like a whole one.

use std::collections::HashMap;
use std::future::{Future, pending};

use tokio::task::{AbortHandle, Id, JoinSet};

/// Tasks that end when they are told to, and not by themselves.
#[derive(Default)]
pub struct Lasting {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Lasting {
    /// `what` is what people call it. Must be called within a runtime.
    pub fn spawn(&mut self, what: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let task = self.tasks.spawn(task);
        self.names.insert(task.id(), what);
        task
    }

    /// Ready when one has ended although nobody has told it to: says which, and how.
    pub async fn missed(&mut self) -> String {
        let (id, how) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, "has ended by itself"),
            Some(Err(error)) => (error.id(), "has panicked"),
            None => return pending().await,
        };
        let what = self.names.get(&id).copied().unwrap_or("a task");
        format!("{what} {how}; this is a bug: please report it with the log")
    }

    /// Waits until all have ended.
    pub async fn finish(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Ends those that are left.
    pub async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn who_ends_too_early_is_missed_by_name() {
        let mut lasting = Lasting::default();
        assert!(timeout(Duration::from_millis(10), lasting.missed()).await.is_err(), "nobody is there");
        lasting.spawn("the one that stays", pending());
        assert!(timeout(Duration::from_millis(10), lasting.missed()).await.is_err(), "nobody is missed");
        lasting.spawn("the page", async {});
        assert!(lasting.missed().await.starts_with("the page has ended by itself; "));
        lasting.spawn("DNS over TCP", async { panic!("a test") });
        assert!(lasting.missed().await.starts_with("DNS over TCP has panicked; "));
        lasting.abort().await;
        lasting.finish().await;
    }
}
