//! The HTTP API: what is read is the same on the TCP listener and the unix socket; what changes
//! something is on the unix socket only.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::director::alarm::STALE_MS;
use crate::director::event::{ExportReport, Order};
use crate::director::explain::Explanation;
use crate::director::status::Status;

use super::log::{Entry, Log};
use super::page::{Asked, Viewers};
use super::{metrics, page};

/// How long an order may take until it is served, the export included.
pub const REPLY_LIMIT: Duration = Duration::from_secs(120);
/// Largest body of a request, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// Entries of the log that are shown unless somebody asks for another number.
const LOG_DEFAULT: usize = 50;

/// What the listeners know of the daemon: snapshots to show, and a way to order.
#[derive(Clone)]
pub struct Handle {
    pub status: watch::Receiver<Arc<Status>>,
    pub log: Arc<Log>,
    /// The name of this host: with two of them one wants to know which page this is.
    pub host: Arc<str>,
    pub commands: mpsc::Sender<Command>,
    /// Metrics that are counted elsewhere (DNS requests, relay, swaps), asked at each scrape.
    pub counters: Counters,
}

/// See [`Handle::counters`].
pub type Counters = Arc<dyn Fn() -> Vec<metrics::Family> + Send + Sync>;

/// What somebody wants done. The reply is sent when it is done and served.
#[derive(Debug)]
pub struct Command {
    pub request: Request,
    pub reply: oneshot::Sender<Answer>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    Order(Order),
    /// Export this zone (origin as typed), or all.
    Export {
        zone: Option<String>,
    },
    /// Put the last good generation of this zone back, or the one with this serial.
    Rollback {
        zone: String,
        to: Option<u32>,
    },
    /// Which generations of this zone are kept.
    Generations {
        zone: String,
    },
    /// Read configuration and zones again.
    Reload,
    /// Whether the daemon still turns, and what orders wait for; changes nothing.
    Alive,
    /// Why this pool is as it is; changes nothing.
    Explain {
        pool: String,
    },
}

/// What became of a request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    pub outcome: Outcome,
    /// One line for people.
    pub message: String,
    /// More lines: warnings, diagnostics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The exports that it led to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<ExportReport>,
    /// What was asked about a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Box<Explanation>>,
    /// What was asked about a zone, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generations: Vec<Kept>,
}

/// A kept generation of a zone file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Kept {
    /// The serial in it.
    pub serial: u32,
    /// When it was kept.
    pub unix_ms: i64,
    /// The decision it came from; absent: it was found in the file, written by somebody else.
    pub generation: Option<u64>,
    /// SHA-256 of its bytes, in hex.
    pub hash: String,
    /// The included files that it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done and served.
    Done,
    /// Tried, and failed.
    Failed,
    /// Not tried: it makes no sense (unknown pool or node, a mistake in the configuration).
    Refused,
}

impl Answer {
    pub fn new(outcome: Outcome, message: impl Into<String>) -> Answer {
        Answer {
            outcome,
            message: message.into(),
            details: Vec::new(),
            exports: Vec::new(),
            explanation: None,
            generations: Vec::new(),
        }
    }

    pub fn done(message: impl Into<String>) -> Answer {
        Answer::new(Outcome::Done, message)
    }

    pub fn failed(message: impl Into<String>) -> Answer {
        Answer::new(Outcome::Failed, message)
    }

    pub fn refused(message: impl Into<String>) -> Answer {
        Answer::new(Outcome::Refused, message)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = match self.outcome {
            Outcome::Done => StatusCode::OK,
            Outcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Outcome::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        };
        (status, Json(self)).into_response()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("log", &self.log).finish_non_exhaustive()
    }
}

/// The body of `POST /api/v1/export`, `rollback` and `generations`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneBody {
    /// The origin; absent: all zones (`export` only).
    #[serde(default)]
    pub zone: Option<String>,
    /// The serial of the generation to go back to (`rollback` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u32>,
}

/// What may be read by whoever reaches the listener: no secrets in it.
/// Pages that are kept live end when `ended` becomes true.
pub fn read_only(handle: Handle, ended: watch::Receiver<bool>) -> Router {
    routes(ended).with_state(handle).layer(middleware::map_response(harden))
}

/// The same and the orders, for the unix socket.
pub fn full(handle: Handle, ended: watch::Receiver<bool>) -> Router {
    let orders = Router::new()
        .route("/api/v1/alive", get(alive))
        .route("/api/v1/order", post(order))
        .route("/api/v1/export", post(export))
        .route("/api/v1/rollback", post(rollback))
        .route("/api/v1/generations", post(generations))
        .route("/api/v1/reload", post(reload))
        .layer(DefaultBodyLimit::max(BODY_MAX));
    routes(ended).merge(orders).with_state(handle).layer(middleware::map_response(harden))
}

fn routes(ended: watch::Receiver<bool>) -> Router<Handle> {
    Router::new()
        .route("/", get(show_page))
        .route("/live", get(live))
        .route("/live.json", get(live_once))
        .route("/style.css", get(async || asset("text/css; charset=utf-8", page::STYLE)))
        .route("/live.js", get(async || asset("text/javascript; charset=utf-8", page::SCRIPT)))
        .route("/icon.svg", get(async || asset("image/svg+xml", page::ICON)))
        .route("/api/v1/status", get(status))
        .route("/api/v1/log", get(log))
        .route("/api/v1/explain", get(explain))
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .layer(Extension(Viewers::new(ended)))
}

/// Nothing is cached, framed or guessed at, and the page loads from here only.
async fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The newest snapshot; the lock on it is held for the length of a pointer's copy.
fn snapshot(handle: &Handle) -> Arc<Status> {
    handle.status.borrow().clone()
}

async fn show_page(State(handle): State<Handle>, Query(asked): Query<Asked>) -> Response {
    let (status, log) = (snapshot(&handle), handle.log.last(page::LOG_MAX));
    let source = page::Source { status: &status, log: &log, host: &handle.host, now_unix_ms: unix_ms() };
    asset("text/html; charset=utf-8", page::render(&source, &asked))
}

/// The page's changes as they come.
async fn live(
    State(handle): State<Handle>,
    Extension(viewers): Extension<Viewers>,
    Query(asked): Query<Asked>,
) -> Response {
    match page::events(handle, &viewers, asked) {
        Some(events) => events.into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "too many pages are kept live; ask for live.json now and then\n")
            .into_response(),
    }
}

/// The same once.
async fn live_once(State(handle): State<Handle>, Query(asked): Query<Asked>) -> Response {
    let (status, log) = (snapshot(&handle), handle.log.last(page::LOG_MAX));
    let source = page::Source { status: &status, log: &log, host: &handle.host, now_unix_ms: unix_ms() };
    Json(page::news(&source, &asked)).into_response()
}

fn asset(media_type: &'static str, text: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

async fn status(State(handle): State<Handle>) -> Response {
    Json(&*snapshot(&handle)).into_response()
}

#[derive(Deserialize)]
struct LogQuery {
    n: Option<usize>,
}

async fn log(State(handle): State<Handle>, Query(query): Query<LogQuery>) -> Json<Vec<Entry>> {
    Json(handle.log.last(query.n.unwrap_or(LOG_DEFAULT)))
}

#[derive(Deserialize)]
struct PoolQuery {
    pool: String,
}

async fn explain(State(handle): State<Handle>, Query(query): Query<PoolQuery>) -> Answer {
    pass_on(&handle, Request::Explain { pool: query.pool }).await
}

/// In the format that the scraper asks for: Prometheus names OpenMetrics, everything else reads the
/// older text format.
async fn show_metrics(State(handle): State<Handle>, headers: HeaderMap) -> Response {
    let mut families = metrics::of_status(&snapshot(&handle), &handle.log.totals(), unix_ms());
    families.extend((handle.counters)());
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = match accepted.into_iter().any(|value| value.contains("application/openmetrics-text")) {
        true => metrics::Format::OpenMetrics,
        false => metrics::Format::Text,
    };
    asset(format.media_type(), metrics::encode(families, format))
}

/// Whether the daemon still turns.
async fn healthy(State(handle): State<Handle>) -> Response {
    let age_ms = unix_ms().saturating_sub(snapshot(&handle).unix_ms);
    if age_ms > STALE_MS {
        let words = format!("the daemon has not renewed its state for {} s\n", age_ms / 1_000);
        return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
    }
    "ok\n".into_response()
}

async fn ready(State(handle): State<Handle>) -> Response {
    if snapshot(&handle).ready {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the first round of probes is not done yet\n").into_response()
    }
}

/// Asked of the loop that obeys, which `healthz` only looks at from afar.
async fn alive(State(handle): State<Handle>) -> Answer {
    pass_on(&handle, Request::Alive).await
}

async fn order(State(handle): State<Handle>, body: Result<Json<Order>, JsonRejection>) -> Answer {
    match body {
        Ok(Json(order)) => pass_on(&handle, Request::Order(order)).await,
        Err(rejection) => Answer::refused(rejection.body_text()),
    }
}

async fn export(State(handle): State<Handle>, body: Result<Json<ZoneBody>, JsonRejection>) -> Answer {
    match body {
        Ok(Json(body)) => pass_on(&handle, Request::Export { zone: body.zone }).await,
        Err(rejection) => Answer::refused(rejection.body_text()),
    }
}

async fn rollback(State(handle): State<Handle>, body: Result<Json<ZoneBody>, JsonRejection>) -> Answer {
    match body {
        Ok(Json(ZoneBody { zone: Some(zone), to })) => pass_on(&handle, Request::Rollback { zone, to }).await,
        Ok(Json(ZoneBody { zone: None, .. })) => Answer::refused("name the zone to roll back"),
        Err(rejection) => Answer::refused(rejection.body_text()),
    }
}

async fn generations(State(handle): State<Handle>, body: Result<Json<ZoneBody>, JsonRejection>) -> Answer {
    match body {
        Ok(Json(ZoneBody { zone: Some(zone), .. })) => pass_on(&handle, Request::Generations { zone }).await,
        Ok(Json(ZoneBody { zone: None, .. })) => Answer::refused("name the zone"),
        Err(rejection) => Answer::refused(rejection.body_text()),
    }
}

async fn reload(State(handle): State<Handle>) -> Answer {
    pass_on(&handle, Request::Reload).await
}

/// Hands a request to the daemon and waits for what became of it. The request goes on if the one
/// who asked hangs up.
async fn pass_on(handle: &Handle, request: Request) -> Answer {
    let (reply, answer) = oneshot::channel();
    let whole = async {
        let sent = handle.commands.send(Command { request, reply }).await;
        match sent {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        }
    };
    match tokio::time::timeout(REPLY_LIMIT, whole).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Answer::failed("the daemon is shutting down"),
        Err(_) => Answer::failed(format!("not done within {} s; it goes on: see status", REPLY_LIMIT.as_secs())),
    }
}

pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
