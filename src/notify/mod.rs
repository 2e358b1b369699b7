//! Tells people: mail, webhooks, programs. One incident is one self-contained record.
//!
//! `incident`, `desk`, `memory`, `template` and `schedule` are pure: what happened and the time come in as
//! arguments. The desk makes incidents, each destination has a courier with a bounded queue of its
//! own; nothing else ever waits for either. What is not delivered yet, and what people know and is not
//! over yet, is kept in the state directory, so that a restart forgets nobody and tells nobody twice.

pub mod courier;
pub mod desk;
pub mod destination;
pub mod incident;
mod mail;
pub mod memory;
mod program;
mod queue;
pub mod schedule;
mod store;
pub mod template;
mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use crate::director::event::ExportReport;
use crate::director::status::Status;
use crate::health::time::Now;

use desk::{Desk, Moved};
use destination::Destination;
use incident::Incident;
use memory::Memory;
use queue::Queue;
use store::{Keeper, Store, Undelivered};

/// Happenings that may wait for the desk: every pool of a large site may move at once.
const HAPPENINGS_MAX: usize = 8_192;
/// How often certificates are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Until the first round of probes has ended, more often.
const FIRST_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The way in for the daemon. No call waits for anything.
pub struct Notifier {
    happenings: mpsc::Sender<Happening>,
    couriers: Arc<Couriers>,
    /// Happenings that found the desk full.
    overlooked: AtomicU64,
    task: JoinHandle<()>,
    keeper: Keeper,
}

enum Happening {
    Moved(Moved),
    Exported(ExportReport),
    Rehearsed { zones: Vec<String>, refused: Option<String> },
    Destinations(Vec<Destination>),
    Stop,
}

/// What became of the incidents for one destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Counts {
    pub name: String,
    pub delivered: u64,
    /// Given up after all retries, or refused for good.
    pub failed: u64,
    /// Crowded out of a full queue.
    pub dropped: u64,
    pub waiting: usize,
}

impl Notifier {
    /// Starts the desk and a courier for each destination, and goes on with what the last run has not
    /// delivered. `host` is this host's name, `folder` the state directory.
    pub fn start(
        host: &str,
        destinations: Vec<Destination>,
        status: watch::Receiver<Arc<Status>>,
        folder: &Path,
    ) -> Notifier {
        let (happenings, inbox) = mpsc::channel(HAPPENINGS_MAX);
        let couriers = Arc::new(Couriers::default());
        couriers.replace(destinations);
        let store = Store::new(folder);
        couriers.take_up(store.load(Front::unix_ms()));
        let memory = store.memory();
        couriers.remember(&memory);
        let keeper = Keeper::start(store, couriers.clone());
        let front =
            Front { desk: Desk::new(host, memory), couriers: couriers.clone(), status, started: Instant::now() };
        let task = tokio::spawn(front.run(inbox));
        Notifier { happenings, couriers, overlooked: AtomicU64::new(0), task, keeper }
    }

    /// Whether anybody is told anything: where nobody is, nothing needs to be put together.
    pub fn is_wanted(&self) -> bool {
        self.couriers.wanted.load(Ordering::Relaxed)
    }

    /// A pool has moved, or people shall know something about it.
    pub fn moved(&self, moved: Moved) {
        self.tell(Happening::Moved(moved));
    }

    /// An export has ended.
    pub fn exported(&self, report: ExportReport) {
        self.tell(Happening::Exported(report));
    }

    /// The next export of some zones was tried beforehand.
    pub fn rehearsed(&self, zones: Vec<String>, refused: Option<String>) {
        self.tell(Happening::Rehearsed { zones, refused });
    }

    /// After a reload: who stays keeps its queue.
    pub fn replace(&self, destinations: Vec<Destination>) {
        self.couriers.wanted.store(!destinations.is_empty(), Ordering::Relaxed);
        self.tell(Happening::Destinations(destinations));
    }

    /// A number for each destination.
    pub fn counts(&self) -> impl Fn() -> Vec<Counts> + Send + Sync + use<> {
        let couriers = self.couriers.clone();
        move || couriers.counts()
    }

    /// Sends what there is, for at most `patience`.
    pub async fn stop(self, patience: Duration) {
        self.tell(Happening::Stop);
        let all = async {
            // It ends after it has handed over what it had.
            if let Err(panic) = self.task.await {
                tracing::error!("the notifications have ended: {panic}");
            }
            self.couriers.finish().await;
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            for counts in self.couriers.counts().iter().filter(|counts| counts.waiting > 0) {
                let (name, waiting) = (&counts.name, counts.waiting);
                tracing::error!("notify {name}: {waiting} notifications are not delivered yet; the next start goes on");
            }
        }
        self.keeper.finish(&self.couriers).await;
    }

    fn tell(&self, happening: Happening) {
        if self.happenings.try_send(happening).is_err() {
            let count = self.overlooked.fetch_add(1, Ordering::Relaxed);
            if count.is_power_of_two() || count == 0 {
                tracing::error!("more happens than can be told: {} happenings were left out so far", count + 1);
            }
        }
    }
}

/// The task that puts incidents together.
struct Front {
    desk: Desk,
    couriers: Arc<Couriers>,
    status: watch::Receiver<Arc<Status>>,
    started: Instant,
}

impl Front {
    async fn run(mut self, mut inbox: mpsc::Receiver<Happening>) {
        let mut look = tokio::time::Instant::now() + FIRST_LOOK_INTERVAL;
        loop {
            let due = self.desk.next_ms().map(|at_ms| self.started + Duration::from_millis(at_ms));
            let wake = due.map_or(look, |due| look.min(due.into()));
            tokio::select! {
                happening = inbox.recv() => match happening {
                    None | Some(Happening::Stop) => break,
                    Some(happening) => self.take(happening),
                },
                () = tokio::time::sleep_until(wake) => {
                    if look <= tokio::time::Instant::now() {
                        let status = self.status.borrow().clone();
                        // Where nobody is told, nobody knows.
                        if self.couriers.wanted.load(Ordering::Relaxed) {
                            self.desk.look(&status, self.now());
                        }
                        let interval = if status.ready { LOOK_INTERVAL } else { FIRST_LOOK_INTERVAL };
                        look = tokio::time::Instant::now() + interval;
                    }
                }
            }
            let due = self.desk.take_due(self.now());
            self.couriers.give(due);
            if let Some(memory) = self.desk.memory() {
                self.couriers.remember(memory);
            }
        }
        self.couriers.give(self.desk.take_all());
        self.couriers.remember(self.desk.memory().expect("nothing waits any more"));
        self.couriers.close();
    }

    fn take(&mut self, happening: Happening) {
        let now = self.now();
        match happening {
            Happening::Moved(moved) => self.desk.moved(moved, now),
            Happening::Exported(report) => self.desk.exported(&report, now),
            Happening::Rehearsed { zones, refused } => self.desk.rehearsed(zones, refused.as_deref(), now),
            Happening::Destinations(destinations) => self.couriers.replace(destinations),
            Happening::Stop => {}
        }
    }

    fn now(&self) -> Now {
        let monotonic_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { monotonic_ms, unix_ms: Front::unix_ms() }
    }

    fn unix_ms() -> i64 {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)
    }
}

/// One courier for each destination, by name.
#[derive(Default)]
struct Couriers {
    wanted: AtomicBool,
    /// Told of each change in any queue.
    changed: Arc<Notify>,
    list: Mutex<BTreeMap<String, Courier>>,
    /// What people know, now that all that tells of it waits in the queues.
    memory: Mutex<Memory>,
}

struct Courier {
    destination: Destination,
    queue: Arc<Queue>,
    task: Option<JoinHandle<()>>,
}

impl Couriers {
    fn replace(&self, destinations: Vec<Destination>) {
        self.wanted.store(!destinations.is_empty(), Ordering::Relaxed);
        let mut list = self.lock();
        let mut old = std::mem::take(&mut *list);
        for destination in destinations {
            let name = destination.name.clone();
            let courier = match old.remove(&name) {
                Some(courier) if courier.destination == destination => courier,
                _ => Courier::start(destination, self.changed.clone()),
            };
            list.insert(name, courier);
        }
        // Who is no longer there still delivers what it has.
        old.values().for_each(|courier| courier.queue.close());
    }

    fn give(&self, incidents: Vec<Incident>) {
        for incident in incidents {
            let incident = Arc::new(incident);
            for courier in self.lock().values() {
                if incident.kinds.iter().any(|kind| courier.destination.events.contains(kind)) {
                    courier.queue.push(incident.clone());
                }
            }
        }
    }

    /// What the last run has left.
    fn take_up(&self, left: Undelivered) {
        for (name, incidents) in left {
            match self.lock().get(&name) {
                Some(courier) => incidents.into_iter().for_each(|incident| courier.queue.push(incident)),
                None => {
                    let count = incidents.len();
                    tracing::warn!(
                        "notify {name} is no longer configured: {count} undelivered notifications are dropped"
                    );
                }
            }
        }
    }

    fn undelivered(&self) -> Undelivered {
        let all = self.lock().iter().map(|(name, courier)| (name.clone(), courier.queue.undelivered())).collect();
        store::without_empty(all)
    }

    fn remember(&self, memory: &Memory) {
        let mut known = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if *known != *memory {
            known.clone_from(memory);
            self.changed.notify_one();
        }
    }

    fn memory(&self) -> Memory {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn close(&self) {
        self.lock().values().for_each(|courier| courier.queue.close());
    }

    async fn finish(&self) {
        let tasks: Vec<JoinHandle<()>> = self.lock().values_mut().filter_map(|courier| courier.task.take()).collect();
        for task in tasks {
            // One that has panicked has nothing left to deliver.
            let _ = task.await;
        }
    }

    fn counts(&self) -> Vec<Counts> {
        self.lock().iter().map(|(name, courier)| courier.queue.counts(name)).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Courier>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Courier {
    fn start(destination: Destination, changed: Arc<Notify>) -> Courier {
        let queue = Arc::new(Queue::new(changed));
        let task = tokio::spawn(courier::run(destination.clone(), queue.clone()));
        Courier { destination, queue, task: Some(task) }
    }
}
