//! The daemon's loop: events into the director, effects out of it. One task owns the director; all
//! others send it what they have found.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::control::api::{Answer, Command, Handle};
use crate::control::log::Entry;
use crate::director::Director;
use crate::director::effect::{Decision, Effect, Transition};
use crate::director::event::{Event, ExportReport, Target};
use crate::director::state::State;
use crate::director::status::Status;
use crate::dns::name::Name;
use crate::failover::pool::Pool;
use crate::notify::Notifier;
use crate::probe::Prober;
use crate::publish::Publisher;
use crate::serve::encrypted::Certificate;
use crate::serve::transfer::{News, Seen, Transfers};
use crate::table::{Live, Table};

use super::clock::Clock;
use super::confine::Confined;
use super::descriptors;
use super::exports;
use super::failure::Failure;
use super::ground::Ground;
use super::holds::Holds;
use super::journal::Journal;
use super::load::{self, Loaded};
use super::manager::Watchdog;
use super::notices;
use super::recorder::Recorder;
use super::saver::{Saved, Saver};
use super::servers::Servers;
use super::serving::Counted;
use super::shadow;
use super::transfers;
use super::waiters::Waiters;

mod commands;
mod publishing;

pub use publishing::publisher;

/// Events that may wait for the loop; senders wait beyond.
const EVENTS_MAX: usize = 4_096;
/// Orders that may wait for the loop.
const COMMANDS_MAX: usize = 64;
/// Exports under way at a time; more wait their turn. Most of them wait for nsd, which brings what
/// was asked for while it reloads into service with its next reload, in one go.
const EXPORTS_MAX: usize = 64;
/// The snapshot that the status page and API show is at most this old while only probes come in.
const STATUS_AGE: Duration = Duration::from_secs(1);
/// How long notifications may still take then.
const NOTIFY_PATIENCE: Duration = Duration::from_secs(5);
/// A daemon with nothing to do still turns this often; its snapshot counts as stale after
/// [`crate::director::alarm::STALE_MS`].
const IDLE: Duration = Duration::from_secs(9);
/// How long exports that are under way may still take when the daemon is told to stop; what is cut
/// off is cleaned up at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Runs until `shutdown`. `ready` is called once everything is in service.
pub async fn run(
    ground: Ground,
    confined: Confined,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    let Ground { config, loaded, mut serving, state_dir, journal, publisher, mut saved, in_shadow, .. } = ground;
    match &confined {
        Confined::To(_, words) => tracing::info!("{words}"),
        Confined::No(why) => tracing::info!("not confined: {why}"),
    }
    let clock = Clock::start();
    if let Some(publisher) = &publisher {
        for (origin, serial) in publishing::serials_at(publisher, &loaded).await {
            saved = Some(State::with_serial_at_nsd(saved.take(), &origin, serial));
        }
    }
    let director = Director::new(loaded.settings.clone(), saved, clock.now());
    let (back, events) = mpsc::channel(EVENTS_MAX);
    let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
    let first = Status { shadow: in_shadow, ..director.status(clock.now()) };
    let (status_in, status) = watch::channel(Arc::new(first));
    // Nothing is answered from a decision that was not made: until then the table has no zones.
    let live = Arc::new(Live::new(Table::new(load::no_zones(), 0, &[], &[], &[])));
    let (seen_in, seen) = mpsc::channel(transfers::SEEN_MAX);
    let transfers = Transfers::new(Arc::clone(&live), seen_in);
    transfers.configure(transfers::settings(&config, &loaded));
    let counted = serving.counted(&transfers);
    let destinations = notices::destinations(&config.notify);
    let notifier = Notifier::start(&super::host(), destinations, status.clone(), state_dir.path());
    let handle = Handle {
        status,
        log: Arc::clone(&journal.log),
        host: super::host().into(),
        commands: commands_in,
        counters: {
            let (counted, told) = (counted.families(), notices::families(&notifier));
            Arc::new(move || counted().into_iter().chain(told()).collect())
        },
    };
    serving.start_control(handle);
    let exports = Arc::new(Semaphore::new(EXPORTS_MAX));
    let recorder = Recorder::start(state_dir.path());
    let (saver, saved) = Saver::start(state_dir);
    let mut daemon = Daemon {
        rehearsal: tokio::spawn(async {}),
        recovery: tokio::spawn(async {}),
        prober: prober(&loaded)?,
        pools: loaded.settings.pools.clone().into(),
        recorder,
        saver,
        probes: Arc::new(Semaphore::new(descriptors::probes_max())),
        exports,
        waiters: Waiters::default(),
        rollbacks: Vec::new(),
        holds: Holds::default(),
        status_due: None,
        config,
        loaded,
        clock,
        director,
        servers: Servers::new(publisher.iter().flat_map(|publisher| publisher.addresses()).collect()),
        publisher,
        live,
        transfers,
        certificate: None,
        shadow: in_shadow.then(|| {
            let (seen_in, seen) = watch::channel(None);
            tokio::spawn(shadow::watch(seen, Arc::clone(&journal)));
            seen_in
        }),
        journal,
        status: status_in,
        back,
        counted,
        notifier,
        confined: Arc::new(confined),
        watchdog: Watchdog::from_env(),
    };
    // The roles that are known from before are in the table when the first query is answered: some have
    // waited in the sockets while one daemon followed another.
    daemon.handle(Event::Tick);
    serving.start(&daemon.live, &daemon.transfers, &daemon.config, daemon.loaded.certificate.clone())?;
    daemon.certificate = serving.certificate();
    daemon.journal.note(format!("started: {}", load::size(&daemon.loaded)));
    ready();
    super::manager::ready();
    let ended = async {
        tokio::select! {
            () = shutdown => None,
            missed = serving.missed() => Some(missed),
        }
    };
    let missed = daemon.run(Inbox { events, commands, seen, saved }, ended).await;
    super::manager::stopping();
    if let Some(missed) = &missed {
        daemon.journal.note(missed.clone());
    }
    daemon.transfers.stop();
    serving.stop().await;
    daemon.stop().await;
    missed.map_or(Ok(()), |missed| Err(Failure::failed(missed)))
}

/// Ends when somebody interrupts or terminates the process, from the call on; to be called in a runtime.
pub fn interrupted() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    // Here and not at the first poll: a signal in between would end the process on the spot.
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async {
        match signals {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            }
            // Without handlers the signals end the process by themselves.
            _ => std::future::pending().await,
        }
    }
}

/// What the tasks send back to the loop. Serials are those at each address of nsd; absent: no answer.
enum Back {
    Event(Event),
    Exported {
        origin: Name,
        done: exports::Done,
    },
    Rolled {
        origin: Name,
        done: exports::Done,
    },
    /// A rehearsal asks for a zone as it is loaded now.
    Rehearsing {
        origin: Name,
        reply: oneshot::Sender<publishing::Exported>,
    },
    Rehearsed {
        zones: Vec<Name>,
        refused: Option<String>,
    },
    Recovered {
        reports: Vec<ExportReport>,
    },
    SerialsSeen {
        origin: Name,
        serials: Vec<Option<u32>>,
    },
    Loaded {
        outcome: Box<Result<(Config, Loaded, Prober), Failure>>,
        reply: Option<oneshot::Sender<Answer>>,
    },
}

/// What the loop listens to.
struct Inbox {
    events: mpsc::Receiver<Back>,
    commands: mpsc::Receiver<Command>,
    seen: mpsc::Receiver<Seen>,
    saved: mpsc::Receiver<Saved>,
}

struct Daemon {
    config: Config,
    loaded: Loaded,
    pools: Arc<[Pool]>,
    clock: Clock,
    director: Director,
    prober: Arc<Prober>,
    publisher: Option<Arc<Publisher>>,
    servers: Servers,
    live: Arc<Live>,
    transfers: Arc<Transfers>,
    certificate: Option<Arc<Certificate>>,
    counted: Counted,
    journal: Arc<Journal>,
    /// What is compared with the zone files, if nothing is published.
    shadow: Option<watch::Sender<Option<shadow::Seen>>>,
    saver: Saver,
    notifier: Notifier,
    /// What the process can still reach; a reload that needs more is refused.
    confined: Arc<Confined>,
    watchdog: Watchdog,
    recorder: Recorder,
    status: watch::Sender<Arc<Status>>,
    /// When the snapshot must be renewed, if it is stale.
    status_due: Option<Instant>,
    waiters: Waiters,
    /// Rollbacks that wait until an export of their zone has ended.
    rollbacks: Vec<commands::Rollback>,
    /// What becomes of exports when rollbacks have ended, those under way too.
    holds: Holds,
    probes: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    /// Tries the next export of every zone.
    rehearsal: JoinHandle<()>,
    /// Puts right what a crash has cut off.
    recovery: JoinHandle<()>,
    back: mpsc::Sender<Back>,
}

impl Daemon {
    /// Until `ended` is ready, or something that the loop needs is missed: says what.
    async fn run(&mut self, mut inbox: Inbox, ended: impl Future<Output = Option<String>>) -> Option<String> {
        let mut ended = pin!(ended);
        let mut hangup = super::manager::hangups();
        let serials = self.poll_serials();
        self.recover();
        self.rehearse();
        self.handle(Event::Tick);
        let missed = loop {
            self.watchdog.turned();
            let wakeup = self.wakeup();
            tokio::select! {
                biased;
                missed = &mut ended => break missed,
                Some(back) = inbox.events.recv() => self.take(back),
                Some(command) = inbox.commands.recv() => self.obey(command),
                Some(seen) = inbox.seen.recv() => self.seen(&seen),
                saved = inbox.saved.recv() => match saved {
                    Some(saved) => self.waiters.saved(saved),
                    None => break Some("the writer of the state has panicked; this is a bug".to_owned()),
                },
                () = hangup.recv() => self.reload(None),
                () = tokio::time::sleep_until(wakeup.into()) => {
                    if self.status_due.is_some_and(|due| due <= Instant::now()) {
                        self.publish_status();
                    }
                    self.handle(Event::Tick);
                }
            }
        };
        serials.abort();
        missed
    }

    fn wakeup(&self) -> Instant {
        let director = self.director.next_wakeup_ms().map(|at_ms| self.clock.instant(at_ms));
        // An idle daemon shows that it is alive.
        let idle = Instant::now() + IDLE;
        [director, self.status_due, self.watchdog.due()].into_iter().flatten().fold(idle, Instant::min)
    }

    fn take(&mut self, back: Back) {
        match back {
            Back::Event(event) => self.handle(event),
            Back::SerialsSeen { origin, serials } => self.serials_seen(&origin, serials),
            Back::Exported { origin, done } => self.exported(&origin, done),
            Back::Rolled { origin, done } => self.rolled_back(&origin, done),
            Back::Rehearsing { origin, reply } => self.rehearsing(&origin, reply),
            Back::Rehearsed { zones, refused } => self.rehearsed(&zones, refused),
            Back::Recovered { reports } => self.recovered(reports),
            Back::Loaded { outcome, reply } => self.loaded(*outcome, reply),
        }
    }

    /// A secondary has said something.
    fn seen(&mut self, seen: &Seen) {
        match (self.zone(&seen.origin), seen.news) {
            (Some(zone), News::OtherSerial(serial)) => self.handle(Event::SecondarySeen { zone, serial }),
            (Some(zone), News::Behind) => self.handle(Event::SecondaryBehind { zone }),
            _ => drop(self.status_due.get_or_insert_with(|| Instant::now() + STATUS_AGE)),
        }
    }

    fn handle(&mut self, event: Event) {
        if let Event::Probed { target, outcome } = &event {
            self.recorder.observe(target, outcome, super::clock::unix_ms());
        }
        let is_reload = matches!(event, Event::Reloaded(_));
        let routine = matches!(
            event,
            Event::Tick
                | Event::Probed { .. }
                | Event::SerialSeen { .. }
                | Event::SecondarySeen { .. }
                | Event::SecondaryBehind { .. }
                | Event::Rehearsed { .. }
        );
        let effects = self.director.handle(event, self.clock.now());
        let quiet = effects.iter().all(|effect| matches!(effect, Effect::Probe(_) | Effect::Persist));
        let mut effects = effects.into_iter().peekable();
        // Before anything else: what is recorded, told and written down wakes other threads.
        while let Some(swap) = effects.next_if(|effect| matches!(effect, Effect::Swap(_))) {
            self.carry_out(swap);
        }
        if is_reload || self.recorder.is_new() {
            self.recorder.begin(self.director.state());
        }
        for effect in effects {
            self.carry_out(effect);
        }
        self.recorder.send();
        if routine && quiet {
            self.status_due.get_or_insert_with(|| Instant::now() + STATUS_AGE);
        } else {
            self.publish_status();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Swap(decision) => self.swap(&decision),
            Effect::Probe(target) => self.probe(target),
            Effect::Export { zone, serial, .. } => self.export(zone, serial),
            Effect::Notify(transition) => self.tell(transition),
            Effect::Persist => self.saver.save(self.director.state()),
        }
    }

    fn swap(&mut self, decision: &Decision) {
        let started = Instant::now();
        let serials: Vec<u32> = self.loaded.served.iter().map(|zone| decision.serials[*zone]).collect();
        let catalog = Arc::clone(&self.loaded.catalog);
        let table = Table::new(catalog, decision.generation, &decision.pools, &decision.ttl_max_s, &serials)
            .with_policy(Arc::clone(&self.loaded.policy));
        let old = self.live.swap(table);
        self.counted.swapped(started.elapsed());
        self.transfers.published();
        self.show_shadow(decision);
        // The last holder of a large catalog frees it: not here, where the next event waits.
        if !Arc::ptr_eq(old.catalog(), &self.loaded.catalog) {
            tokio::task::spawn_blocking(move || drop(old));
        }
    }

    fn show_shadow(&self, decision: &Decision) {
        let Some(shadow) = &self.shadow else { return };
        let zones = self.loaded.zones.iter().map(|zone| zone.config.clone()).collect();
        let decision = Arc::new(decision.clone());
        shadow.send_replace(Some(shadow::Seen { zones, pools: Arc::clone(&self.pools), decision }));
    }

    fn probe(&self, target: Target) {
        let Some(looked) = self.loaded.targets.get(&target).cloned() else { return };
        let (prober, permits, back) = (Arc::clone(&self.prober), Arc::clone(&self.probes), self.back.clone());
        tokio::spawn(async move {
            let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            let outcome = prober.probe(&looked.check, &looked.node, target.family).await;
            // Nobody listens any more when the daemon stops.
            let _ = back.send(Back::Event(Event::Probed { target, outcome })).await;
        });
    }

    fn tell(&mut self, transition: Arc<Transition>) {
        self.recorder.told(&transition, &self.pools);
        if self.shadow.is_some() {
            // Nobody has moved.
            return self
                .journal
                .record(Entry::Transition(Transition { shadow: true, ..Transition::clone(&transition) }));
        }
        self.journal.record(Entry::Transition(Transition::clone(&transition)));
        let zones = self.loaded.zones.iter().enumerate();
        for (index, zone) in zones.filter(|(index, _)| self.director.is_held(*index)) {
            let origin = &zone.config.origin;
            if self.loaded.settings.zones[index].pools.iter().any(|pool| self.pools[*pool].name == transition.pool) {
                let words =
                    format!("{origin}: nsd does not hear of this: held since a rollback, `export {origin}` ends that");
                self.journal.note(words);
            }
        }
        if self.notifier.is_wanted() {
            self.notifier
                .moved(notices::moved(transition, &self.pools, &self.loaded, |zone| self.director.is_held(zone)));
        }
    }

    fn zone(&self, origin: &Name) -> Option<usize> {
        self.loaded.zones.iter().position(|zone| zone.config.origin == *origin)
    }

    fn publish_status(&mut self) {
        self.status_due = None;
        let mut status = Status { shadow: self.shadow.is_some(), ..self.director.status(self.clock.now()) };
        self.servers.show(&mut status);
        transfers::show(&self.transfers, &mut status);
        self.status.send_replace(Arc::new(status));
    }

    async fn stop(mut self) {
        self.journal.note("stopping".to_owned());
        let running = self.exports.acquire_many(u32::try_from(EXPORTS_MAX).expect("a small number"));
        if tokio::time::timeout(STOP_PATIENCE, running).await.is_err() {
            tracing::warn!("an export did not end in time; it is cleaned up at the next start");
        }
        self.drop_rollbacks();
        self.saver.save(self.director.final_state());
        self.saver.finish().await;
        self.notifier.stop(NOTIFY_PATIENCE).await;
    }
}

fn prober(loaded: &Loaded) -> Result<Arc<Prober>, Failure> {
    Prober::new(&loaded.settings.checks).map(Arc::new).map_err(|error| Failure::usage(error.to_string()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Failure::failed(panic.to_string()))
}
