//! One zone at one secondary: NOTIFY until it is acknowledged, SOA until the new serial is served,
//! then a look now and then.
//!
//! ```text
//!            new serial                 acknowledged               serves it
//!   idle ---------------> notifying --------------------> watching ----------> idle
//!    ^  <- - - - - - - - -  |  ^ back-off, without end       | PATIENCE over: notify again
//!    +-- serves it already -+  +-----------------------------+
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::serve::sys::random::Random;
use crate::table::transfer::stream;

use super::exchange::{self, ExchangeError, exchange};
use super::{Notified, Notify, Place, Seen, Transfers, View, lock};

/// After the first NOTIFY that was in vain; doubled with each one more.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(300);
/// The first look whether the new serial is served; the time doubles with each look more.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LAST: Duration = Duration::from_secs(10);
/// One who has acknowledged and does not serve the serial after this time is told again.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often one who is up to date is looked at.
const IDLE: Duration = Duration::from_secs(60);

pub(super) struct Task {
    pub transfers: Arc<Transfers>,
    pub place: Place,
    pub notify: Notify,
}

/// What the next step is.
enum Next {
    /// Wait so long, or for a new serial.
    Wait(Duration),
    At(Step),
}

#[derive(Clone, Copy)]
enum Step {
    Notify,
    Look { since: Instant, after: Duration },
}

impl Task {
    pub async fn run(self, mut serials: watch::Receiver<Option<u32>>) {
        let mut wanted = *serials.borrow_and_update();
        let mut step = Step::Notify;
        loop {
            let next = match wanted {
                // Nothing is decided yet.
                None => Next::Wait(IDLE),
                Some(serial) => self.step(serial, &mut step).await,
            };
            let wait = match next {
                Next::At(then) => {
                    step = then;
                    Duration::ZERO
                }
                Next::Wait(wait) => wait,
            };
            // A new serial ends every wait.
            match timeout(wait, serials.changed()).await {
                Ok(Ok(())) => {
                    wanted = *serials.borrow_and_update();
                    step = Step::Notify;
                }
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
    }

    async fn step(&self, serial: u32, step: &mut Step) -> Next {
        match *step {
            Step::Notify => match self.tell(serial).await {
                true => Next::At(Step::Look { since: Instant::now(), after: LOOK_FIRST }),
                false => {
                    // It may have found out by itself.
                    if self.look(serial).await {
                        *step = Step::Look { since: Instant::now(), after: IDLE };
                        return Next::Wait(IDLE);
                    }
                    Next::Wait(backoff(self.view(|view| view.failures)))
                }
            },
            Step::Look { since, after } => match self.look(serial).await {
                true => {
                    *step = Step::Look { since: Instant::now(), after: IDLE };
                    Next::Wait(IDLE)
                }
                false if since.elapsed() > PATIENCE => Next::At(Step::Notify),
                false => {
                    let after = if after == IDLE { LOOK_FIRST } else { after };
                    *step = Step::Look { since, after: (after * 2).min(LOOK_LAST) };
                    Next::Wait(after)
                }
            },
        }
    }

    /// NOTIFY. True: acknowledged.
    async fn tell(&self, serial: u32) -> bool {
        let told = self.send_notify().await;
        let origin = &self.place.0;
        match told {
            Ok(()) => {
                self.transfers.totals.notified(Notified::Acknowledged);
                let before = self.view(|view| {
                    view.acknowledged = Some(serial);
                    view.problem.clear();
                    std::mem::take(&mut view.failures)
                });
                if before > 0 {
                    tracing::info!("{origin} NOTIFY to {}: acknowledged after {before} failures", self.notify.address);
                }
                true
            }
            Err(error) => {
                self.transfers.totals.notified(Notified::Failed);
                let failures = self.view(|view| {
                    view.failures = view.failures.saturating_add(1);
                    view.problem = format!("NOTIFY: {error}");
                    view.failures
                });
                let next = backoff(failures);
                tracing::warn!(
                    "{origin} NOTIFY to {}: {error} ({failures} in a row); again in {} s",
                    self.notify.address,
                    next.as_secs()
                );
                self.changed(None);
                false
            }
        }
    }

    async fn send_notify(&self) -> Result<(), ExchangeError> {
        let permit = self.transfers.exchanges.acquire().await;
        let _permit = permit.map_err(|closed| ExchangeError::Io(std::io::Error::other(closed)))?;
        let id = Random::new()?.next_u16()?;
        let message = {
            let table = self.transfers.live.load();
            let index = table.catalog().zone_at(&self.place.0).ok_or(ExchangeError::NoZone)?;
            stream::notify(&table, index, id)
        };
        let rules = self.transfers.rules.load_full();
        let (message, asked) = match &self.notify.key {
            None => (message, None),
            Some(key) => {
                let signed = rules.keys.sign_request(key, message);
                let (message, asked) = signed.ok_or(ExchangeError::Tsig(format!("there is no key {key}")))?;
                (message, Some(asked))
            }
        };
        exchange(&rules.sources, self.notify.address, &message, asked).await.map(drop)
    }

    /// Asks for its serial. True: it is the wanted one.
    async fn look(&self, serial: u32) -> bool {
        let found = self.ask_serial().await;
        let before = self.view(|view| view.serial);
        match found {
            Ok(found) => {
                self.view(|view| {
                    view.serial = Some(found);
                    if view.failures == 0 {
                        view.problem.clear();
                    }
                });
                if before != Some(found) || found != serial {
                    self.changed(Some(found).filter(|found| *found != serial));
                }
                found == serial
            }
            Err(error) => {
                self.view(|view| {
                    if view.failures == 0 {
                        view.problem = format!("SOA: {error}");
                    }
                });
                self.changed(None);
                false
            }
        }
    }

    async fn ask_serial(&self) -> Result<u32, ExchangeError> {
        let permit = self.transfers.exchanges.acquire().await;
        let _permit = permit.map_err(|closed| ExchangeError::Io(std::io::Error::other(closed)))?;
        let query = exchange::soa_query(&self.place.0, Random::new()?.next_u16()?);
        let rules = self.transfers.rules.load_full();
        let reply = exchange(&rules.sources, self.notify.address, &query, None).await?;
        exchange::serial_in(&reply)
    }

    fn view<T: Default>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        let mut secondaries = lock(&self.transfers.secondaries);
        secondaries.get_mut(&self.place).map(|secondary| change(&mut secondary.view)).unwrap_or_default()
    }

    fn changed(&self, other_serial: Option<u32>) {
        // Full: the one who reads it is busy, and the next look brings it again.
        let _ = self.transfers.seen.try_send(Seen { origin: self.place.0.clone(), other_serial });
    }
}

/// How long to wait after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(BACKOFF_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_to_a_bound() {
        let seconds: Vec<u64> = [1, 2, 3, 9, 10, u32::MAX].map(|failures| backoff(failures).as_secs()).to_vec();
        assert_eq!(seconds, [1, 2, 4, 256, 300, 300]);
    }
}
