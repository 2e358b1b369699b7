//! The daemon's loop: events into the director, effects out of it. One task owns the director; all
//! others send it what they have found.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::config::Config;
use crate::config::dns::Dns;
use crate::control::api::{Answer, Command, Handle, Request};
use crate::control::log::Entry;
use crate::control::text;
use crate::director::Director;
use crate::director::effect::{Decision, Effect, Transition};
use crate::director::event::{Event, ExportReport, ExportResult, Order, Target};
use crate::director::state::State;
use crate::director::status::Status;
use crate::dns::name::Name;
use crate::failover::pool::Pool;
use crate::notify::Notifier;
use crate::probe::Prober;
use crate::publish::generations::Generation;
use crate::publish::{Control, Limits, NsdSettings, Publisher};
use crate::serve::encrypted::Certificate;
use crate::serve::transfer::{Seen, Transfers};
use crate::table::{Live, Table};

use super::clock::Clock;
use super::exports;
use super::failure::Failure;
use super::journal::Journal;
use super::load::{self, Loaded};
use super::notices;
use super::persist::StateDir;
use super::recorder::Recorder;
use super::serving::{Counted, Serving};
use super::shadow;
use super::transfers;
use super::waiters::Waiters;

/// Events that may wait for the loop; senders wait beyond.
const EVENTS_MAX: usize = 4_096;
/// Orders that may wait for the loop.
const COMMANDS_MAX: usize = 64;
/// Probes under way at a time; more wait their turn.
const PROBES_MAX: usize = 1_024;
/// Exports under way at a time; more wait their turn. Most of them wait for nsd, which brings what
/// was asked for while it reloads into service with its next reload, in one go.
const EXPORTS_MAX: usize = 64;
/// Rehearsals that may wait; more are left out.
const REHEARSALS_MAX: usize = 4_096;
/// How often a rehearsal looks whether the exports are through, which come first.
const REHEARSAL_PAUSE: Duration = Duration::from_millis(200);
/// Questions for serials under way at a time.
const SERIALS_MAX: usize = 64;
/// How long the start may wait for the serials that nsd serves.
const SERIALS_PATIENCE: Duration = Duration::from_secs(3);
/// The snapshot that the status page and API show is at most this old while only probes come in.
const STATUS_AGE: Duration = Duration::from_secs(1);
/// How long notifications may still take then.
const NOTIFY_PATIENCE: Duration = Duration::from_secs(5);
/// A daemon with nothing to do still turns this often; its snapshot counts as stale after
/// [`crate::director::alarm::STALE_MS`].
const IDLE: Duration = Duration::from_secs(9);
/// How often nsd is asked which serials it serves.
const SERIALS_INTERVAL: Duration = Duration::from_secs(30);
/// How long exports that are under way may still take when the daemon is told to stop; what is cut
/// off is cleaned up at the next start.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Runs until `shutdown`. `ready` is called once everything is bound and loaded. With `in_shadow`
/// nothing is published; see `shadow`.
pub async fn run(
    config: Config,
    in_shadow: bool,
    shutdown: impl Future<Output = ()>,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    let config = if in_shadow { shadow::mute(config) } else { config };
    let mut serving = Serving::bind(&config)?;
    let state_dir = StateDir::open(&config.state_dir)?;
    let journal = Arc::new(Journal::open(state_dir.path()));
    let publisher = publisher(&config).map(Arc::new);
    // In shadow an export that was cut off is somebody else's to clean up.
    if let Some(publisher) = publisher.as_ref().filter(|_| !in_shadow) {
        for report in publisher.recover().await {
            journal.record(Entry::Export(report));
        }
    }
    let loading = config.clone();
    let loaded = blocking(move || load::load(&loading)).await??;
    for line in &loaded.warnings {
        tracing::warn!("{line}");
    }
    let clock = Clock::start();
    let mut saved: Option<State> = state_dir.load();
    if let Some(publisher) = &publisher {
        for (origin, serial) in serials_at(publisher, &loaded).await {
            saved = Some(State::with_serial_at_nsd(saved.take(), &origin, serial));
        }
    }
    let director = Director::new(loaded.settings.clone(), saved, clock.now());
    let (back, events) = mpsc::channel(EVENTS_MAX);
    let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
    let (status_in, status) = watch::channel(Arc::new(director.status(clock.now())));
    // Nothing is answered from a decision that was not made: until then the table has no zones.
    let live = Arc::new(Live::new(Table::new(load::no_zones(), 0, &[], &[], &[])));
    let (seen_in, seen) = mpsc::channel(transfers::SEEN_MAX);
    let transfers = Transfers::new(Arc::clone(&live), seen_in);
    transfers.configure(transfers::settings(&config, &loaded));
    let counted = serving.start(&live, &transfers, &config, loaded.certificate.clone())?;
    let notifier = Notifier::start(&super::host(), notices::destinations(&config.notify), status.clone());
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
    let mut daemon = Daemon {
        rehearsals: rehearsals(publisher.clone(), Arc::clone(&exports), back.clone()),
        prober: prober(&loaded)?,
        pools: loaded.settings.pools.clone().into(),
        recorder: Recorder::start(state_dir.path()),
        saver: Saver::start(state_dir),
        probes: Arc::new(Semaphore::new(PROBES_MAX)),
        exports,
        waiters: Waiters::default(),
        status_due: None,
        rehearsed: false,
        config,
        loaded,
        clock,
        director,
        publisher,
        live,
        transfers,
        certificate: serving.certificate(),
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
    };
    daemon.journal.note(format!("started: {} zones, {} pools", daemon.loaded.zones.len(), daemon.pools.len()));
    ready();
    super::notify::ready();
    daemon.run(events, commands, seen, shutdown).await;
    super::notify::stopping();
    daemon.transfers.stop();
    serving.stop().await;
    daemon.stop().await;
    Ok(())
}

/// Ends when somebody interrupts or terminates the process.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        }
        // Without handlers the signals end the process by themselves.
        _ => std::future::pending().await,
    }
}

/// What the tasks send back to the loop.
enum Back {
    Event(Event),
    Exported { origin: Name, done: exports::Done },
    Rolled { origin: Name, done: exports::Done },
    Rehearsed(String),
    SerialSeen { origin: Name, serial: u32 },
    Loaded { outcome: Box<Result<(Config, Loaded, Prober), Failure>>, reply: Option<oneshot::Sender<Answer>> },
}

struct Daemon {
    config: Config,
    loaded: Loaded,
    pools: Arc<[Pool]>,
    clock: Clock,
    director: Director,
    prober: Arc<Prober>,
    publisher: Option<Arc<Publisher>>,
    live: Arc<Live>,
    transfers: Arc<Transfers>,
    certificate: Option<Arc<Certificate>>,
    counted: Counted,
    journal: Arc<Journal>,
    /// What is compared with the zone files, if nothing is published.
    shadow: Option<watch::Sender<Option<shadow::Seen>>>,
    saver: Saver,
    notifier: Notifier,
    recorder: Recorder,
    status: watch::Sender<Arc<Status>>,
    /// When the snapshot must be renewed, if it is stale.
    status_due: Option<Instant>,
    /// Whether the zones as they are loaded were sent to a rehearsal.
    rehearsed: bool,
    waiters: Waiters,
    probes: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    rehearsals: mpsc::Sender<exports::Order>,
    back: mpsc::Sender<Back>,
}

impl Daemon {
    async fn run(
        &mut self,
        mut events: mpsc::Receiver<Back>,
        mut commands: mpsc::Receiver<Command>,
        mut seen: mpsc::Receiver<Seen>,
        shutdown: impl Future<Output = ()>,
    ) {
        let mut shutdown = pin!(shutdown);
        let mut hangup = super::notify::hangups();
        let serials = self.poll_serials();
        self.handle(Event::Tick);
        loop {
            let wakeup = self.wakeup();
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(back) = events.recv() => self.take(back),
                Some(command) = commands.recv() => self.obey(command),
                Some(seen) = seen.recv() => self.seen(&seen),
                () = hangup.recv() => self.reload(None),
                () = tokio::time::sleep_until(wakeup.into()) => {
                    if self.status_due.is_some_and(|due| due <= Instant::now()) {
                        self.publish_status();
                    }
                    self.handle(Event::Tick);
                }
            }
        }
        serials.abort();
    }

    fn wakeup(&self) -> Instant {
        let director = self.director.next_wakeup_ms().map(|at_ms| self.clock.instant(at_ms));
        // An idle daemon shows that it is alive.
        let idle = Instant::now() + IDLE;
        [director, self.status_due].into_iter().flatten().fold(idle, Instant::min)
    }

    fn take(&mut self, back: Back) {
        match back {
            Back::Event(event) => self.handle(event),
            Back::SerialSeen { origin, serial } => {
                if let Some(zone) = self.zone(&origin) {
                    self.handle(Event::SerialSeen { zone, serial });
                }
            }
            Back::Exported { origin, done } => self.exported(&origin, done),
            Back::Rolled { origin, done } => self.rolled_back(&origin, done),
            Back::Rehearsed(refused) => self.journal.note(refused),
            Back::Loaded { outcome, reply } => self.loaded(*outcome, reply),
        }
    }

    /// A secondary has said something.
    fn seen(&mut self, seen: &Seen) {
        match (self.zone(&seen.origin), seen.other_serial) {
            (Some(zone), Some(serial)) => self.handle(Event::SerialSeen { zone, serial }),
            _ => drop(self.status_due.get_or_insert_with(|| Instant::now() + STATUS_AGE)),
        }
    }

    fn handle(&mut self, event: Event) {
        if let Event::Probed { target, outcome } = &event {
            self.recorder.observe(target, outcome, super::clock::unix_ms());
        }
        let routine = matches!(event, Event::Tick | Event::Probed { .. } | Event::SerialSeen { .. });
        let effects = self.director.handle(event, self.clock.now());
        let quiet = effects.iter().all(|effect| matches!(effect, Effect::Probe(_) | Effect::Persist));
        for effect in effects {
            self.carry_out(effect);
        }
        if !self.rehearsed && !self.director.decision().serials.is_empty() {
            self.rehearsed = true;
            (0..self.loaded.zones.len()).for_each(|zone| self.rehearse(zone));
        }
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

    fn export(&self, zone: usize, serial: u32) {
        let order = self.export_order(zone, serial);
        let origin = order.zone.origin.clone();
        let (permits, back) = (Arc::clone(&self.exports), self.back.clone());
        let publisher = self.publisher.clone().expect("the configuration refuses an export without [nsd]");
        tokio::spawn(async move {
            let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            let done = exports::run(&publisher, order).await;
            let _ = back.send(Back::Exported { origin, done }).await;
        });
    }

    fn export_order(&self, zone: usize, serial: u32) -> exports::Order {
        let (zone, pools) = (self.loaded.zones[zone].config.clone(), Arc::clone(&self.pools));
        exports::Order { zone, pools, decision: Arc::clone(self.director.decision()), serial }
    }

    /// Tries the next move of a zone's pools beforehand.
    fn rehearse(&self, zone: usize) {
        let decided = self.director.decision().serials.get(zone);
        if let Some(serial) = decided.filter(|_| self.loaded.zones[zone].config.export_file.is_some()) {
            // Full: the export will find out itself.
            let _ = self.rehearsals.try_send(self.export_order(zone, *serial));
        }
    }

    fn exported(&mut self, origin: &Name, done: exports::Done) {
        let mut edited = false;
        if let Some(zone) = self.zone(origin) {
            self.rehearse(zone);
            let known = &mut self.loaded.zones[zone].held;
            edited = done.read.as_ref().is_some_and(|read| read != known);
            if let Some(written) = done.written {
                *known = written;
            }
        }
        self.report(done.report);
        if edited {
            self.journal.note(format!("{origin}: the zone file was edited; loading it"));
            self.reload(None);
        }
    }

    fn report(&mut self, report: ExportReport) {
        if report.result != ExportResult::Unchanged {
            self.journal.record(Entry::Export(report.clone()));
        }
        if self.notifier.is_wanted() {
            self.notifier.exported(report.clone());
        }
        self.handle(Event::Exported(report.clone()));
        self.waiters.exported(&report);
    }

    /// What was put back must not be overwritten by the next move of a pool: the operator says when.
    fn rolled_back(&mut self, origin: &Name, done: exports::Done) {
        if done.report.result == ExportResult::Served
            && let Some(zone) = self.zone(origin)
        {
            self.handle(Event::ExportHeld { zone, held: true });
            self.journal.note(format!("{origin}: exports are held; `export {origin}` ends that"));
        }
        self.report(done.report);
        // The file is another one now.
        self.reload(None);
    }

    fn tell(&self, transition: Arc<Transition>) {
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

    fn obey(&mut self, command: Command) {
        let Command { request, reply } = command;
        match request {
            Request::Order(order) => self.order(order, reply),
            Request::Reload => self.reload(Some(reply)),
            Request::Explain { pool } => {
                let told = self.director.explain(&pool, self.clock.now()).map(Box::new);
                let answer = match told {
                    Some(told) => Answer { explanation: Some(told), ..Answer::done(pool) },
                    None => Answer::refused(format!("pool `{pool}` is not configured")),
                };
                drop(reply.send(answer));
            }
            Request::Export { zone } => self.export_now(zone.as_deref(), reply),
            Request::Rollback { zone, to } => self.roll_back(&zone, to, reply),
            Request::Generations { zone } => self.generations(&zone, reply),
        }
    }

    fn order(&mut self, order: Order, reply: oneshot::Sender<Answer>) {
        if let Err(error) = self.director.order(&order) {
            // Whoever asked may be gone; the same for the other replies.
            let _ = reply.send(Answer::refused(error.to_string()));
            return;
        }
        let words = text::order_words(&order);
        self.journal.note(format!("ordered: {words}"));
        let before = self.director.decision().generation;
        self.handle(Event::Ordered(order));
        let generation = self.director.decision().generation;
        let pending: BTreeSet<String> = self.director.unpublished().map(str::to_owned).collect();
        let message = match generation == before {
            true => format!("{words}: nothing moves (generation {generation})"),
            false => format!("{words}: served (generation {generation})"),
        };
        self.waiters.wait(generation, pending, message, reply);
    }

    fn export_now(&mut self, zone: Option<&str>, reply: oneshot::Sender<Answer>) {
        let zones = match self.chosen(zone) {
            Ok(zones) => zones,
            Err(answer) => return drop(reply.send(answer)),
        };
        let decision = Arc::clone(self.director.decision());
        if decision.pools.len() != self.pools.len() {
            return drop(reply.send(Answer::failed("nothing is decided yet: the first round of probes is under way")));
        }
        let names = zones.iter().map(|zone| self.loaded.zones[*zone].config.origin.to_string()).collect();
        self.waiters.wait(decision.generation, names, "exported".to_owned(), reply);
        for zone in zones {
            self.handle(Event::ExportHeld { zone, held: false });
            // One that is under way is as new as this one would be, or is followed by one that is.
            if !self.director.is_exporting(zone) {
                self.export(zone, decision.serials[zone]);
            }
        }
    }

    /// The zones that an operator names: those with an export, or the one, which must have it.
    fn chosen(&self, zone: Option<&str>) -> Result<Vec<usize>, Answer> {
        let exported = |index: &usize| self.loaded.zones[*index].config.export_file.is_some();
        let Some(text) = zone else { return Ok((0..self.loaded.zones.len()).filter(exported).collect()) };
        let origin: Name =
            text.parse().map_err(|error| Answer::refused(format!("`{text}` is no zone name: {error}")))?;
        match self.zone(&origin) {
            None => Err(Answer::refused(format!("zone {origin} is not configured"))),
            Some(index) if !exported(&index) => Err(Answer::refused(format!("zone {origin} has export = \"off\""))),
            Some(index) => Ok(vec![index]),
        }
    }

    /// The zone that an operator names, and who writes its file.
    fn exported_zone(&self, zone: &str) -> Result<(usize, Arc<Publisher>), Answer> {
        let zones = self.chosen(Some(zone))?;
        let publisher =
            self.publisher.clone().ok_or_else(|| Answer::refused("there is no [nsd] in the configuration"))?;
        Ok((zones[0], publisher))
    }

    fn generations(&self, zone: &str, reply: oneshot::Sender<Answer>) {
        let (index, publisher) = match self.exported_zone(zone) {
            Ok(found) => found,
            Err(answer) => return drop(reply.send(answer)),
        };
        let origin = self.loaded.zones[index].config.origin.clone();
        tokio::spawn(async move {
            let answer = match publisher.kept(&origin).await {
                Ok(kept) => Answer {
                    details: kept.iter().map(kept_line).collect(),
                    ..Answer::done(format!("{} generations of {origin} are kept, newest first", kept.len()))
                },
                Err(problem) => Answer::failed(problem),
            };
            let _ = reply.send(answer);
        });
    }

    fn roll_back(&mut self, zone: &str, to: Option<u32>, reply: oneshot::Sender<Answer>) {
        let (index, publisher) = match self.exported_zone(zone) {
            Ok(found) => found,
            Err(answer) => return drop(reply.send(answer)),
        };
        let zone = self.loaded.zones[index].config.clone();
        let origin = zone.origin.clone();
        let decision = Arc::clone(self.director.decision());
        let order = exports::Order {
            serial: decision.serials.get(index).copied().unwrap_or(0),
            pools: Arc::clone(&self.pools),
            zone,
            decision,
        };
        self.waiters.wait(order.decision.generation, [origin.to_string()].into(), "rolled back".to_owned(), reply);
        let back = self.back.clone();
        tokio::spawn(async move {
            let done = exports::roll_back(&publisher, order, to).await;
            let _ = back.send(Back::Rolled { origin, done }).await;
        });
    }

    /// Reads everything again, beside the loop; the old stays in service until the new is complete.
    fn reload(&mut self, reply: Option<oneshot::Sender<Answer>>) {
        let (file, back, in_shadow) = (self.config.file.clone(), self.back.clone(), self.shadow.is_some());
        tokio::spawn(async move {
            let read = move || {
                let config = Config::load(&file)?;
                let config = if in_shadow { shadow::mute(config) } else { config };
                let loaded = load::load(&config)?;
                let prober = Prober::new(&loaded.settings.checks).map_err(|error| Failure::usage(error.to_string()))?;
                Ok((config, loaded, prober))
            };
            let outcome = Box::new(blocking(read).await.and_then(|outcome| outcome));
            let _ = back.send(Back::Loaded { outcome, reply }).await;
        });
    }

    fn loaded(&mut self, outcome: Result<(Config, Loaded, Prober), Failure>, reply: Option<oneshot::Sender<Answer>>) {
        let answer = match outcome {
            Err(failure) => {
                let details: Vec<String> = failure.lines().to_vec();
                details.iter().for_each(|line| tracing::error!("{line}"));
                self.journal.note("reload refused: the old configuration and zones stay in service".to_owned());
                Answer { details, ..Answer::refused("refused: the old configuration and zones stay in service") }
            }
            Ok((config, loaded, prober)) => {
                let mut details = loaded.warnings.clone();
                details.extend(fixed_at_start(&self.config, &config));
                details.iter().for_each(|line| tracing::warn!("{line}"));
                let words = format!("loaded: {} zones, {} pools", loaded.zones.len(), loaded.settings.pools.len());
                self.pools = loaded.settings.pools.clone().into();
                self.prober = Arc::new(prober);
                let settings = Box::new(loaded.settings.clone());
                self.loaded = loaded;
                self.notifier.replace(notices::destinations(&config.notify));
                if let (Some(shown), Some(certified)) = (&self.certificate, &self.loaded.certificate) {
                    shown.replace(Arc::clone(certified));
                }
                self.config = Config { listen: self.config.listen.clone(), ..config };
                self.transfers.configure(transfers::settings(&self.config, &self.loaded));
                self.rehearsed = false;
                self.handle(Event::Reloaded(settings));
                self.journal.note(words.clone());
                Answer { details, ..Answer::done(words) }
            }
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    fn zone(&self, origin: &Name) -> Option<usize> {
        self.loaded.zones.iter().position(|zone| zone.config.origin == *origin)
    }

    fn publish_status(&mut self) {
        self.status_due = None;
        let mut status = self.director.status(self.clock.now());
        transfers::show(&self.transfers, &mut status);
        self.status.send_replace(Arc::new(status));
    }

    /// Asks nsd for the serial of each zone, over and over.
    fn poll_serials(&self) -> tokio::task::JoinHandle<()> {
        let (publisher, back) = (self.publisher.clone(), self.back.clone());
        let mut names = self.status.subscribe();
        tokio::spawn(async move {
            let Some(publisher) = publisher else { return };
            loop {
                let zones: Vec<String> = names.borrow_and_update().zones.iter().map(|zone| zone.name.clone()).collect();
                for zone in zones {
                    let Ok(origin) = zone.parse::<Name>() else { continue };
                    // A zone that nsd does not serve, or an nsd that is gone: the status shows no serial.
                    let Ok(serial) = publisher.serial_at(&origin).await else { continue };
                    if back.send(Back::SerialSeen { origin, serial }).await.is_err() {
                        return;
                    }
                }
                tokio::time::sleep(SERIALS_INTERVAL).await;
            }
        })
    }

    async fn stop(self) {
        self.journal.note("stopping".to_owned());
        let running = self.exports.acquire_many(u32::try_from(EXPORTS_MAX).expect("a small number"));
        if tokio::time::timeout(STOP_PATIENCE, running).await.is_err() {
            tracing::warn!("an export did not end in time; it is cleaned up at the next start");
        }
        self.saver.save(self.director.final_state());
        self.saver.finish().await;
        self.notifier.stop(NOTIFY_PATIENCE).await;
    }
}

/// Carries out rehearsals, one after the other, while no export is under way. What is refused comes
/// back as a line for people.
fn rehearsals(
    publisher: Option<Arc<Publisher>>,
    exports: Arc<Semaphore>,
    back: mpsc::Sender<Back>,
) -> mpsc::Sender<exports::Order> {
    let (sender, mut orders) = mpsc::channel::<exports::Order>(REHEARSALS_MAX);
    tokio::spawn(async move {
        while let Some(order) = orders.recv().await {
            while exports.available_permits() < EXPORTS_MAX {
                tokio::time::sleep(REHEARSAL_PAUSE).await;
            }
            let Some(publisher) = &publisher else { continue };
            if let Err(refused) = exports::rehearse(publisher, &order).await {
                let _ = back.send(Back::Rehearsed(refused)).await;
            }
        }
    });
    sender
}

/// The serials that nsd serves now, as far as it answers in time: what was published by others
/// while we were away counts too (RFC 1982).
async fn serials_at(publisher: &Arc<Publisher>, loaded: &Loaded) -> Vec<(Name, u32)> {
    let permits = Arc::new(Semaphore::new(SERIALS_MAX));
    let mut asked = tokio::task::JoinSet::new();
    for zone in loaded.zones.iter().filter(|zone| zone.config.export_file.is_some()) {
        let (publisher, permits, origin) = (Arc::clone(publisher), Arc::clone(&permits), zone.config.origin.clone());
        asked.spawn(async move {
            let _permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            let serial = publisher.serial_at(&origin).await.ok()?;
            Some((origin, serial))
        });
    }
    let mut seen = Vec::new();
    let all = async {
        while let Some(answer) = asked.join_next().await {
            seen.extend(answer.ok().flatten());
        }
    };
    if tokio::time::timeout(SERIALS_PATIENCE, all).await.is_err() {
        tracing::warn!("nsd does not answer for all zones; their serials are asked for again before each export");
    }
    seen
}

/// One kept generation for people.
fn kept_line(kept: &Generation) -> String {
    let from = kept.generation.map_or("found in the file".to_owned(), |number| format!("from generation {number}"));
    format!(
        "serial {:<10}  {}  {from}  {}",
        kept.serial,
        text::utc(kept.unix_ms),
        &kept.hash[..12.min(kept.hash.len())]
    )
}

/// What a reload cannot change, a line for each that differs.
fn fixed_at_start(old: &Config, new: &Config) -> Vec<String> {
    let differs = [
        ("listen", old.listen != new.listen),
        ("http", old.http != new.http),
        ("control", old.control != new.control),
        ("state-dir", old.state_dir != new.state_dir),
        ("[nsd]", old.nsd != new.nsd),
        ("[dns]", fixed_dns(&old.dns) != fixed_dns(&new.dns)),
        ("[rrl]", old.rrl != new.rrl),
        ("[tls]", old.tls.is_some() != new.tls.is_some() || listeners(old) != listeners(new)),
    ];
    let named = differs.into_iter().filter(|(_, differs)| *differs);
    named.map(|(key, _)| format!("{}: {key} has changed: restart to bring it into force", new.file.display())).collect()
}

fn listeners(config: &Config) -> Option<[&[SocketAddr]; 3]> {
    config.tls.as_ref().map(|tls| [&tls.listen_tls[..], &tls.listen_quic, &tls.listen_https])
}

/// The part of `[dns]` that is fixed with the listeners; the rest is of the table.
fn fixed_dns(dns: &Dns) -> ([u32; 5], &[IpNet]) {
    let tcp = [dns.tcp_connections, dns.tcp_per_client, dns.tcp_queries, dns.tcp_timeout_ms];
    let [connections, per_client, queries, timeout_ms] = tcp;
    ([u32::from(dns.edns_size), connections, per_client, queries, timeout_ms], &dns.proxy_from)
}

pub fn publisher(config: &Config) -> Option<Publisher> {
    let nsd = config.nsd.as_ref()?;
    Some(Publisher::new(NsdSettings {
        address: nsd.address,
        verify: nsd.verify.clone(),
        control: match &nsd.control_socket {
            Some(path) => Control::Socket(path.clone()),
            None => Control::Program(nsd.control.clone()),
        },
        checkzone: nsd.checkzone.clone(),
        state_dir: config.state_dir.clone(),
        limits: Limits::default(),
    }))
}

fn prober(loaded: &Loaded) -> Result<Arc<Prober>, Failure> {
    Prober::new(&loaded.settings.checks).map(Arc::new).map_err(|error| Failure::usage(error.to_string()))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Failure::failed(panic.to_string()))
}

/// Writes the state beside the loop; of several that come quickly only the newest.
struct Saver {
    states: Option<watch::Sender<Option<State>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Saver {
    fn start(state_dir: StateDir) -> Saver {
        let (states, mut newest) = watch::channel(None::<State>);
        let state_dir = Arc::new(state_dir);
        let task = tokio::spawn(async move {
            // The last state is written even when the sender is gone already.
            while newest.changed().await.is_ok() {
                let Some(state) = newest.borrow_and_update().clone() else { continue };
                let state_dir = Arc::clone(&state_dir);
                match blocking(move || state_dir.save(&state)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!("cannot write the state: {error}; make room in state-dir"),
                    Err(failure) => tracing::error!("cannot write the state: {failure}"),
                }
            }
        });
        Saver { states: Some(states), task }
    }

    fn save(&self, state: State) {
        if let Some(states) = &self.states {
            states.send_replace(Some(state));
        }
    }

    async fn finish(mut self) {
        self.states = None;
        if let Err(panic) = self.task.await {
            tracing::error!("the state was not written: {panic}");
        }
    }
}
