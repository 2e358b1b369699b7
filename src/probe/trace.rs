//! How far a probe came. reqwest tells that a request failed, not whether it was the connection,
//! the handshake or the server; and it resolves names, where a probe is pinned to an address.
//!
//! Both are settled through one value that travels with the probe's task: the resolver takes the
//! address from it, and the connector, the TLS session store and the certificate verifier leave
//! their marks in it. This works because a client without a connection pool connects within the
//! task of the request; and it fails closed: without a value there is no address to connect to.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tower_layer::Layer;
use tower_service::Service;

use crate::failover::reason::duration;

use super::{Finding, told};

tokio::task_local! {
    static CURRENT: Arc<Trace>;
}

/// One probe on its way.
#[derive(Debug)]
pub(super) struct Trace {
    address: IpAddr,
    started: Instant,
    steps: Mutex<Steps>,
}

#[derive(Debug, Default)]
struct Steps {
    reached: Step,
    cert_expiry_unix_s: Option<i64>,
    marks: Vec<(String, Duration)>,
}

/// Steps of one probe that are kept for people.
const MARKS_MAX: usize = 64;

/// The layer that a probe works on.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Step {
    #[default]
    Connecting,
    Handshake,
    Exchange,
    /// A program of ours runs.
    Plugin,
    /// A file of ours is read.
    Reading,
}

/// Runs a probe with its trace.
pub(super) async fn within<T>(trace: Arc<Trace>, probe: impl Future<Output = T>) -> T {
    CURRENT.scope(trace, probe).await
}

/// The trace of this task's probe, for who keeps a deadline of its own: it says where the probe was.
pub(super) fn current() -> Option<Arc<Trace>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Marks that the probe of this task has reached a step.
pub(super) fn reach(step: Step) {
    with(|trace| {
        let mut steps = trace.steps();
        if step > steps.reached {
            steps.reached = step;
        }
    });
}

/// Notes for people what has been done by now.
pub(super) fn note(what: impl Into<String>) {
    with(|trace| {
        let after = trace.started.elapsed();
        let mut steps = trace.steps();
        if steps.marks.len() < MARKS_MAX {
            steps.marks.push((told(what.into()), after));
        }
    });
}

/// Notes when a certificate ends that the probe of this task was shown; of several the first counts.
pub(super) fn note_cert_expiry(unix_s: i64) {
    with(|trace| {
        let mut steps = trace.steps();
        steps.cert_expiry_unix_s = Some(steps.cert_expiry_unix_s.map_or(unix_s, |known| known.min(unix_s)));
    });
}

pub(super) fn reached() -> Step {
    CURRENT.try_with(|trace| trace.steps().reached).unwrap_or_default()
}

fn with(mark: impl FnOnce(&Trace)) {
    // Outside a probe there is nobody to tell.
    let _ = CURRENT.try_with(|trace| mark(trace));
}

impl Trace {
    pub(super) fn new(address: IpAddr) -> Trace {
        Trace { address, started: Instant::now(), steps: Mutex::default() }
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done, and how long after the start.
    pub(super) fn marks(&self) -> Vec<(String, Duration)> {
        self.steps().marks.clone()
    }

    pub(super) fn cert_expiry_unix_s(&self) -> Option<i64> {
        self.steps().cert_expiry_unix_s
    }

    /// The deadline has passed: where was the probe?
    pub(super) fn timed_out(&self, deadline: Duration) -> Finding {
        let after = duration(u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX));
        match self.steps().reached {
            Step::Connecting => Finding::bad("L4TOUT", format!("no connection after {after}")),
            Step::Handshake => Finding::bad("L6TOUT", format!("TLS handshake not done after {after}")),
            Step::Exchange => Finding::bad("L7TOUT", format!("no complete answer after {after}")),
            Step::Plugin => Finding::bad("PROCTOUT", format!("not done after {after}, killed")),
            Step::Reading => Finding::cannot_say(format!("not read after {after}: does its file system hang?")),
        }
    }
}

/// Resolves every name to the address of the probe that asks.
#[derive(Debug)]
pub(super) struct Pinned;

impl Resolve for Pinned {
    fn resolve(&self, _: Name) -> Resolving {
        let pinned = CURRENT.try_with(|trace| trace.address);
        Box::pin(std::future::ready(match pinned {
            // The port of the URL takes the place of 0.
            Ok(address) => Ok(Box::new(std::iter::once(SocketAddr::new(address, 0))) as Addrs),
            Err(_) => Err(Box::new(io::Error::other("a name was looked up outside a probe")) as _),
        }))
    }
}

/// Marks the end of connecting, TLS included.
#[derive(Clone, Debug)]
pub(super) struct MarkConnected;

impl<S> Layer<S> for MarkConnected {
    type Service = Marked<S>;

    fn layer(&self, inner: S) -> Marked<S> {
        Marked { inner }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Marked<S> {
    inner: S,
}

impl<S, R> Service<R> for Marked<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.inner.call(request);
        Box::pin(async move {
            let connected = connecting.await?;
            note("connected");
            reach(Step::Exchange);
            Ok(connected)
        })
    }
}
