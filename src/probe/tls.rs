//! The TLS check: the node must show a good certificate for each name.
//!
//! A few names are asked for one by one. Of many, a handshake vouches for all that the certificate
//! covers that was shown in it, and only the rest is asked for: ten thousand names behind a dozen
//! certificates are a dozen handshakes.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rustls::ClientConfig;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::failover::reason::duration;
use crate::health::check::{Names, Tls};

use super::stream::{connect, shake_hands};
use super::{Aim, Finding, NAMES_AT_A_TIME, trace};

/// Up to so many names are asked for one by one, whatever else a certificate covers.
const ASKED_MAX: usize = 32;

/// So many of the names that fail are told.
const TOLD_MAX: usize = 3;

/// Names that may be passed over in one go before others have their turn.
const PASSED_MAX: usize = 1_000;

/// Part of the deadline, in percent, after which it is told how far we came.
const PATIENCE_PART: u32 = 90;

/// `deadline` is that of the whole probe.
pub(super) async fn look(config: &Arc<ClientConfig>, check: &Tls, aim: &Aim<'_>, deadline: Duration) -> Finding {
    let own = [aim.node.name.clone()];
    let names = match &check.names {
        Names::List(names) => names.as_slice(),
        // No zone is loaded that would tell of others.
        Names::Pool => &own,
    };
    let round = Round::new(names, check.certificates.insecure);
    let lanes = (0..NAMES_AT_A_TIME.min(names.len())).map(|_| round.lane(config, check.port, aim));
    if names.len() == 1 {
        join_all(lanes).await;
        return round.judge(aim);
    }
    let patience = deadline * PATIENCE_PART / 100;
    match tokio::time::timeout(patience, join_all(lanes)).await {
        Ok(_) => round.judge(aim),
        Err(_) => round.cut_off(aim, deadline),
    }
}

/// The names of one probe, and what became of them.
struct Round<'a> {
    names: &'a [String],
    /// Whether a certificate vouches for the other names that it covers.
    vouches: bool,
    /// Any certificate is good, for any name.
    insecure: bool,
    state: Mutex<State>,
}

struct State {
    next: usize,
    done: usize,
    asked: usize,
    /// By index.
    failed: Vec<(usize, Finding)>,
    shown: Shown,
    /// The port is closed to all names alike.
    is_closed: bool,
    last_done: Instant,
}

enum Next {
    Ask(usize),
    Rest,
    Done,
}

impl<'a> Round<'a> {
    fn new(names: &'a [String], insecure: bool) -> Round<'a> {
        let state = State {
            next: 0,
            done: 0,
            asked: 0,
            failed: Vec::new(),
            shown: Shown::default(),
            is_closed: false,
            last_done: Instant::now(),
        };
        Round { names, vouches: names.len() > ASKED_MAX, insecure, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One handshake after the other until nothing is left to ask for.
    async fn lane(&self, config: &Arc<ClientConfig>, port: u16, aim: &Aim<'_>) {
        loop {
            let index = match self.next(aim) {
                Next::Ask(index) => index,
                Next::Rest => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Next::Done => return,
            };
            let name = server_name(&aim.fill(&self.names[index]));
            let tried = async {
                let stream = connect(aim.address, port).await?;
                shake_hands(config, &name, stream).await
            };
            let ended = tried.await;
            let mut state = self.state();
            (state.done, state.asked, state.last_done) = (state.done + 1, state.asked + 1, Instant::now());
            match ended {
                Ok(stream) => {
                    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    if let Some(certificate) = shown.filter(|_| self.vouches) {
                        state.shown.add(certificate);
                    }
                }
                Err(finding) => {
                    state.is_closed |= finding.word.starts_with("L4") || finding.success.is_none();
                    state.failed.push((index, finding));
                }
            }
        }
    }

    fn next(&self, aim: &Aim<'_>) -> Next {
        let mut state = self.state();
        for _ in 0..PASSED_MAX {
            if state.is_closed || state.next == self.names.len() {
                return Next::Done;
            }
            let index = state.next;
            state.next += 1;
            let is_vouched = self.vouches
                && match self.insecure {
                    true => state.asked > state.failed.len(),
                    false => state.shown.covers(&server_name(&aim.fill(&self.names[index]))),
                };
            if !is_vouched {
                return Next::Ask(index);
            }
            state.done += 1;
        }
        Next::Rest
    }

    fn judge(&self, aim: &Aim<'_>) -> Finding {
        let mut state = self.state();
        let State { asked, failed, .. } = &mut *state;
        let total = self.names.len();
        if failed.is_empty() {
            return Finding::good(
                "L6OK",
                match self.names {
                    [name] => format!("good certificate for {}", server_name(&aim.fill(name))),
                    _ if *asked == total => format!("good certificates for {total} names"),
                    _ => format!("good certificates for {total} names, {asked} of them asked for"),
                },
            );
        }
        failed.sort_by_key(|(index, _)| *index);
        // What says something of the node counts before what does not.
        let first = failed.iter().position(|(_, finding)| finding.success == Some(false)).unwrap_or(0);
        if total == 1 || failed[first].1.word.starts_with("L4") {
            return failed.swap_remove(first).1;
        }
        let name = |index: usize| server_name(&aim.fill(&self.names[index]));
        let told = failed.iter().take(TOLD_MAX).map(|(index, finding)| format!("{}: {}", name(*index), finding.detail));
        let told = told.collect::<Vec<_>>().join("; ");
        let detail = format!("{} of {total} names fail: {told}", failed.len());
        Finding { detail, ..failed.swap_remove(first).1 }
    }

    /// The time is over. A node that went on answering is not to blame for the number of names; one
    /// that has shown nothing for half of the time is.
    fn cut_off(&self, aim: &Aim<'_>, deadline: Duration) -> Finding {
        let (done, is_silent, has_failed) = {
            let state = self.state();
            (state.done, state.last_done.elapsed() >= deadline / 2, !state.failed.is_empty())
        };
        let how_far = format!("{done} of {} names done", self.names.len());
        let mut finding = match trace::current() {
            _ if has_failed => self.judge(aim),
            Some(trace) if is_silent => trace.timed_out(deadline),
            _ => {
                let deadline = duration(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
                Finding::cannot_say(format!("timeout = {deadline} is too short for so many handshakes"))
            }
        };
        finding.detail = format!("{}; {how_far}", finding.detail);
        finding
    }
}

/// The names of all certificates that were shown and found good.
#[derive(Default)]
struct Shown {
    names: HashSet<String>,
    /// Of `*.example.org` the part behind the wildcard, which stands for one label.
    parents: HashSet<String>,
}

impl Shown {
    fn add(&mut self, certificate: &[u8]) {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return };
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return };
        for name in &names.value.general_names {
            let GeneralName::DNSName(name) = name else { continue };
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("*.") {
                Some(parent) => self.parents.insert(parent.to_owned()),
                None => self.names.insert(name),
            };
        }
    }

    fn covers(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        self.names.contains(&name) || name.split_once('.').is_some_and(|(_, parent)| self.parents.contains(parent))
    }
}

/// A wildcard is asked for by a name that it covers.
fn server_name(name: &str) -> String {
    let name = name.trim_end_matches('.');
    match name.strip_prefix("*.") {
        Some(rest) => format!("any-name.{rest}"),
        None => name.to_owned(),
    }
}
