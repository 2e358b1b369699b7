//! What operators order, and what becomes of it.

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::oneshot;

use crate::config::Config;
use crate::config::dns::Dns;
use crate::control::api::{Answer, Command, Kept, Request};
use crate::control::text;
use crate::director::event::{Event, ExportResult, Order};
use crate::dns::name::Name;
use crate::probe::Prober;
use crate::publish::Publisher;
use crate::publish::generations::Generation;

use super::super::failure::Failure;
use super::super::ground::Ground;
use super::super::load::{self, Loaded};
use super::super::waiters::{Until, Words};
use super::super::{exports, notices, shadow, transfers};
use super::{Back, Daemon, blocking, publishing};

/// What all orders wait for at the start that have to do with zone files.
const RECOVERING: &str = "what a crash has cut off is put right first";

impl Daemon {
    pub(super) fn obey(&mut self, command: Command) {
        let Command { request, reply } = command;
        let is_harmless = matches!(request, Request::Explain { .. } | Request::Reload | Request::Alive);
        if self.shadow.is_some() && !is_harmless {
            // Whoever asked may be gone; the same for the other replies.
            let _ = reply.send(Answer::refused(shadow::REFUSAL));
            return;
        }
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
            Request::Alive => {
                let details = if self.recovery.is_finished() { Vec::new() } else { vec![RECOVERING.to_owned()] };
                drop(reply.send(Answer { details, ..Answer::done("it turns") }));
            }
            Request::Export { zone } => self.export_now(zone.as_deref(), reply),
            Request::Rollback { zone, to } => self.roll_back(&zone, to, reply),
            Request::Generations { zone } => self.generations(&zone, reply),
        }
    }

    fn order(&mut self, order: Order, reply: oneshot::Sender<Answer>) {
        if let Err(error) = self.director.order(&order) {
            let _ = reply.send(Answer::refused(error.to_string()));
            return;
        }
        let words = text::order_words(&order);
        self.journal.note(format!("ordered: {words}"));
        let before = self.director.decision().generation;
        self.recorder.ordered(&order, self.clock.now().unix_ms);
        self.handle(Event::Ordered(order));
        let generation = self.director.decision().generation;
        let exported: BTreeSet<String> = self.director.unpublished().map(str::to_owned).collect();
        let done = if generation == before { "nothing moves" } else { "served" };
        let words = Words {
            done: format!("{words}: {done} (generation {generation})"),
            not_done: format!("{words}: obeyed (generation {generation}), but nsd does not have all of it"),
        };
        self.waiters.wait(Until { exported, generation, saved: self.saver.newest() }, words, reply);
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
        let exported = zones.iter().map(|zone| self.loaded.zones[*zone].config.origin.to_string()).collect();
        let until = Until { exported, generation: decision.generation, saved: 0 };
        let words = Words { done: "exported".to_owned(), not_done: "not exported".to_owned() };
        self.waiters.wait(until, words, reply);
        for zone in zones {
            self.holds.released(&self.loaded.zones[zone].config.origin);
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
                    generations: kept.iter().map(told).collect(),
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
        let origin = self.loaded.zones[index].config.origin.clone();
        // From now on: an export that is due meanwhile would overwrite what is put back.
        self.holds.ordered(&origin, self.director.is_held(index));
        self.handle(Event::ExportHeld { zone: index, held: true });
        let asked = Rollback { origin, to, publisher, reply };
        match self.director.is_exporting(index) {
            true => self.rollbacks.push(asked),
            false => self.start_rollback(asked),
        }
    }

    /// Those that waited until an export of their zone had ended.
    pub(super) fn start_rollbacks(&mut self) {
        for asked in std::mem::take(&mut self.rollbacks) {
            match self.zone(&asked.origin) {
                Some(zone) if self.director.is_exporting(zone) => self.rollbacks.push(asked),
                _ => self.start_rollback(asked),
            }
        }
    }

    /// At the end: those that still wait will put nothing back.
    pub(super) fn drop_rollbacks(&mut self) {
        for asked in std::mem::take(&mut self.rollbacks) {
            let held = self.holds.ended(&asked.origin, false);
            if let Some(zone) = self.zone(&asked.origin) {
                // What is to be exported now is the next daemon's.
                self.director.handle(Event::ExportHeld { zone, held }, self.clock.now());
            }
        }
    }

    fn start_rollback(&mut self, asked: Rollback) {
        let Rollback { origin, to, publisher, reply } = asked;
        let order = self.zone(&origin).and_then(|zone| {
            let serial = self.director.decision().serials.get(zone).copied().unwrap_or(0);
            self.export_order(zone, serial)
        });
        let Some(order) = order else {
            // With the export the hold has gone, too.
            self.holds.ended(&origin, false);
            return drop(reply.send(Answer::refused(format!("zone {origin} is no longer exported"))));
        };
        let until = Until { exported: [origin.to_string()].into(), generation: order.decision.generation, saved: 0 };
        let words = Words {
            done: format!("rolled back; nsd hears of no decision until `export {origin}`"),
            not_done: "not rolled back".to_owned(),
        };
        self.waiters.wait(until, words, reply);
        let back = self.back.clone();
        tokio::spawn(async move {
            let done = match publishing::put_right(&publisher, &origin, &back).await {
                Err(reason) => exports::Done::early(&order, ExportResult::Refused, reason, None),
                Ok(()) => exports::roll_back(&publisher, order, to).await,
            };
            let _ = back.send(Back::Rolled { origin, done }).await;
        });
    }

    /// Reads everything again, beside the loop; the old stays in service until the new is complete.
    pub(super) fn reload(&mut self, reply: Option<oneshot::Sender<Answer>>) {
        let (file, back, in_shadow) = (self.config.file.clone(), self.back.clone(), self.shadow.is_some());
        let confined = Arc::clone(&self.confined);
        tokio::spawn(async move {
            let read = move || {
                let config = Config::load(&file).map_err(|problems| confined.explain(problems.into()))?;
                let config = Ground::muted(config, in_shadow);
                let loaded = load::load(&config).map_err(|failure| confined.explain(failure))?;
                confined.suffices(&config, &loaded)?;
                let prober = Prober::new(&loaded.settings.checks).map_err(|error| Failure::usage(error.to_string()))?;
                Ok((config, loaded, prober))
            };
            let outcome = Box::new(blocking(read).await.and_then(|outcome| outcome));
            let _ = back.send(Back::Loaded { outcome, reply }).await;
        });
    }

    pub(super) fn loaded(
        &mut self,
        outcome: Result<(Config, Loaded, Prober), Failure>,
        reply: Option<oneshot::Sender<Answer>>,
    ) {
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
                let words = format!("loaded: {}", load::size(&loaded));
                self.pools = loaded.settings.pools.clone().into();
                self.prober = Arc::new(prober.instead_of(&self.prober));
                let settings = Box::new(loaded.settings.clone());
                self.loaded = loaded;
                let loaded: HashSet<String> =
                    self.loaded.zones.iter().map(|zone| zone.config.origin.to_string()).collect();
                self.servers.retain(|origin| loaded.contains(origin));
                self.notifier.replace(notices::destinations(&config.notify));
                if let (Some(shown), Some(certified)) = (&self.certificate, &self.loaded.certificate) {
                    shown.replace(Arc::clone(certified));
                }
                self.config = Config { listen: self.config.listen.clone(), ..config };
                self.transfers.configure(transfers::settings(&self.config, &self.loaded));
                self.handle(Event::Reloaded(settings));
                self.rehearse();
                self.journal.note(words.clone());
                Answer { details, ..Answer::done(words) }
            }
        };
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }
}

fn told(kept: &Generation) -> Kept {
    let Generation { hash, included, serial, generation, unix_ms } = kept.clone();
    Kept { serial, unix_ms, generation, hash, included: included.into_iter().map(|file| file.path).collect() }
}

/// One kept generation for people.
fn kept_line(kept: &Generation) -> String {
    let from = kept.generation.map_or("found in the file".to_owned(), |number| format!("from generation {number}"));
    let included = match kept.included.len() {
        0 => String::new(),
        1 => "  and an included file".to_owned(),
        count => format!("  and {count} included files"),
    };
    format!(
        "serial {:<10}  {}  {from}  {}{included}",
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
        ("user, group, [confine] or log", old.process != new.process),
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

/// An ordered rollback.
pub(super) struct Rollback {
    origin: Name,
    to: Option<u32>,
    publisher: Arc<Publisher>,
    reply: oneshot::Sender<Answer>,
}

/// The part of `[dns]` that is fixed with the listeners; the rest is of the table.
fn fixed_dns(dns: &Dns) -> ([u32; 5], &[IpNet]) {
    let tcp = [dns.tcp_connections, dns.tcp_per_client, dns.tcp_queries, dns.tcp_timeout_ms];
    let [connections, per_client, queries, timeout_ms] = tcp;
    ([u32::from(dns.edns_size), connections, per_client, queries, timeout_ms], &dns.proxy_from)
}
