//! One zone at one secondary: NOTIFY until it is acknowledged, SOA until the new serial is served,
//! then a look now and then.
//!
//! ```text
//!            new serial                 acknowledged               serves it
//!   idle ---------------> notifying --------------------> watching ----------> idle
//!    |                      |  ^ back-off, without end       |
//!    |                      +--+                             | patience over: say so, and notify again
//!    +-- does not serve it --> notifying <-------------------+
//! ```

use std::sync::Arc;
use std::time::Duration;

use domain::base::Serial;
use domain::base::iana::Rcode;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::serve::sys::random::Random;
use crate::table::transfer::stream;

use super::exchange::{self, ExchangeError, exchange};
use super::{News, Notified, Notify, Pace, Place, Seen, Transfers, View, lock};

/// After the first NOTIFY that was in vain; doubled with each one more.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(300);
/// The first look whether the new serial is served; the time doubles with each look more.
const LOOK_FIRST: Duration = Duration::from_millis(100);
const LOOK_LAST: Duration = Duration::from_secs(10);
/// After so many looks in a row that found nobody, what was seen before says nothing any more.
const UNANSWERED_MAX: u32 = 3;

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
    Watch { since: Instant, after: Duration },
    Idle,
}

impl Task {
    pub async fn run(self, mut serials: watch::Receiver<Option<u32>>) {
        let mut wanted = *serials.borrow_and_update();
        let mut step = Step::Notify;
        loop {
            let next = match wanted {
                // Nothing is decided yet.
                None => Next::Wait(self.pace().idle),
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
                true => Next::At(Step::Watch { since: Instant::now(), after: LOOK_FIRST }),
                false => {
                    // It may have found out by itself; that it does not listen stays wrong.
                    self.look(serial).await;
                    Next::Wait(backoff(self.view(|view| view.failures)))
                }
            },
            Step::Watch { since, after } => match self.look(serial).await {
                true => Next::At(Step::Idle),
                false if since.elapsed() > self.pace().patience => {
                    let served = self.view(|view| view.serial);
                    if served.is_some_and(|served| Serial(serial) > Serial(served)) {
                        self.changed(News::Behind);
                    }
                    Next::At(Step::Notify)
                }
                false => {
                    *step = Step::Watch { since, after: (after * 2).min(LOOK_LAST) };
                    Next::Wait(after)
                }
            },
            Step::Idle => match self.look(serial).await {
                true => Next::Wait(self.pace().idle),
                false => Next::At(Step::Notify),
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
                self.changed(News::Shown);
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
        let found = match self.ask_serial().await {
            // Who reads a catalog may keep it to itself (Knot does, RFC 9432 section 7): what it has
            // fetched is all that can be known, or, where that was before our time, acknowledged.
            Err(refused @ ExchangeError::Rcode(Rcode::REFUSED)) if self.is_catalog() => {
                self.view(|view| view.fetched.or(view.acknowledged)).ok_or(refused)
            }
            found => found,
        };
        let before = self.view(|view| view.serial);
        match found {
            Ok(found) => {
                self.view(|view| {
                    view.serial = Some(found);
                    view.unanswered = 0;
                    if view.failures == 0 {
                        view.problem.clear();
                    }
                });
                match found == serial {
                    true if before == Some(found) => {}
                    true => self.changed(News::Shown),
                    false => self.changed(News::OtherSerial(found)),
                }
                found == serial
            }
            Err(error) => {
                self.view(|view| {
                    view.unanswered = view.unanswered.saturating_add(1);
                    if view.unanswered >= UNANSWERED_MAX {
                        view.serial = None;
                    }
                    if view.failures == 0 {
                        view.problem = format!("SOA: {error}");
                    }
                });
                self.changed(News::Shown);
                false
            }
        }
    }

    fn pace(&self) -> Pace {
        self.transfers.rules.load().pace
    }

    fn is_catalog(&self) -> bool {
        self.transfers.rules.load().zones.get(&self.place.0).is_some_and(|zone| zone.is_catalog)
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

    fn changed(&self, news: News) {
        // Full: the one who reads it is busy, and the next look brings it again.
        let _ = self.transfers.seen.try_send(Seen { origin: self.place.0.clone(), news });
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
