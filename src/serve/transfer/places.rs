//! How many transfers run at a time, in all and for one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::lock;

/// Transfers under way at a time.
pub const TRANSFERS_MAX: usize = 64;
/// Of these, transfers to one address.
pub const TRANSFERS_PER_CLIENT: usize = 8;

pub(super) struct Places {
    all: Arc<Semaphore>,
    clients: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// Given back when it is dropped.
pub(super) struct Place {
    _client: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Default for Places {
    fn default() -> Places {
        Places { all: Arc::new(Semaphore::new(TRANSFERS_MAX)), clients: Mutex::default() }
    }
}

impl Places {
    /// `None`: it was not its turn for so long.
    pub async fn enter(&self, client: IpAddr, patience: Duration) -> Option<Place> {
        let own = {
            let mut clients = lock(&self.clients);
            // Whoever has no transfer and waits for none is forgotten.
            clients.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            let new = || Arc::new(Semaphore::new(TRANSFERS_PER_CLIENT));
            clients.entry(client.to_canonical()).or_insert_with(new).clone()
        };
        let both = async {
            let client = own.acquire_owned().await.ok()?;
            let all = self.all.clone().acquire_owned().await.ok()?;
            Some(Place { _client: client, _all: all })
        };
        timeout(patience, both).await.ok().flatten()
    }
}
