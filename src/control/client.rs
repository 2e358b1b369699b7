//! The client of the control socket, for the verbs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;

use crate::director::event::Order;
use crate::director::status::Status;

use super::Exit;
use super::api::{Answer, Outcome, REPLY_LIMIT, ZoneBody};
use super::log::Entry;

/// For what is only read. A daemon that turns answers in milliseconds; who asks is a person in a hurry,
/// or a monitor with a limit of its own.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// For orders: a little more than the daemon allows itself. That it hangs is known much sooner: it is
/// asked before, and while it is waited for.
const LIMIT: Duration = Duration::from_secs(REPLY_LIMIT.as_secs() + 5);
/// How long after one answer it is asked again.
const ALIVE_PAUSE: Duration = Duration::from_secs(1);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Hears what an order waits for, whenever the daemon was asked.
pub type Tell<'a> = &'a dyn Fn(&str);

/// Nobody wants to know.
pub const SILENT: Tell<'static> = &|_| ();

/// Speaks to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    http: reqwest::Client,
}

impl Client {
    /// Does not connect yet.
    pub fn new(socket: &Path) -> Client {
        // Never used on a unix socket, but reqwest wants one; an empty one spares us the system's.
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_LIMIT)
            .timeout(LIMIT)
            .build()
            .expect("these settings fit together");
        Client { socket: socket.to_owned(), http }
    }

    pub async fn status(&self) -> Result<Status, ClientError> {
        self.read(self.http.get(url("status"))).await
    }

    /// The newest `n` entries, oldest first.
    pub async fn log(&self, n: usize) -> Result<Vec<Entry>, ClientError> {
        self.read(self.http.get(url(&format!("log?n={n}")))).await
    }

    /// Why a pool is as it is.
    pub async fn explain(&self, pool: &str) -> Result<Answer, ClientError> {
        let mut url = reqwest::Url::parse(&url("explain")).expect("it is written above");
        url.query_pairs_mut().append_pair("pool", pool);
        let (_, body) = self.exchange(self.http.get(url).timeout(READ_LIMIT)).await?;
        self.parse(&body)
    }

    pub async fn order(&self, order: &Order, tell: Tell<'_>) -> Result<Answer, ClientError> {
        self.change(self.http.post(url("order")).json(order), tell).await
    }

    /// Exports one zone, or all.
    pub async fn export(&self, zone: Option<&str>, tell: Tell<'_>) -> Result<Answer, ClientError> {
        let body = ZoneBody { zone: zone.map(str::to_owned), to: None };
        self.change(self.http.post(url("export")).json(&body), tell).await
    }

    /// Back to the last good generation of a zone, or to the one with the serial `to`.
    pub async fn rollback(&self, zone: &str, to: Option<u32>, tell: Tell<'_>) -> Result<Answer, ClientError> {
        let body = ZoneBody { zone: Some(zone.to_owned()), to };
        self.change(self.http.post(url("rollback")).json(&body), tell).await
    }

    /// Which generations of a zone are kept.
    pub async fn generations(&self, zone: &str) -> Result<Answer, ClientError> {
        let body = ZoneBody { zone: Some(zone.to_owned()), to: None };
        self.change(self.http.post(url("generations")).json(&body), SILENT).await
    }

    pub async fn reload(&self) -> Result<Answer, ClientError> {
        self.change(self.http.post(url("reload")), SILENT).await
    }

    /// Sends a request whose good answer is of type `T`.
    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let (status, body) = self.exchange(request.timeout(READ_LIMIT)).await?;
        if !status.is_success() {
            return Err(ClientError::Answer(format!("{status}: {}", String::from_utf8_lossy(&body).trim())));
        }
        self.parse(&body)
    }

    /// Sends a request that is answered with an [`Answer`], whatever the status code, and may take long.
    /// Nothing is sent to a daemon that hangs: it would lie in the socket, to be obeyed whenever it goes
    /// on. One that comes to hang meanwhile is not waited for.
    async fn change(&self, request: RequestBuilder, tell: Tell<'_>) -> Result<Answer, ClientError> {
        self.ask_alive(tell).await.map_err(|error| error.of_order("nothing was ordered"))?;
        let lost = async {
            loop {
                tokio::time::sleep(ALIVE_PAUSE).await;
                // One that is being stopped answers what it was asked before.
                if let Err(error @ ClientError::Late { .. }) = self.ask_alive(tell).await {
                    return error.of_order("whether it still obeys, `log` says when it answers again");
                }
            }
        };
        tokio::select! {
            biased;
            answered = self.exchange(request) => self.parse(&answered?.1),
            error = lost => Err(error),
        }
    }

    /// Asks the loop that obeys orders. Any answer is a good one: an older daemon does not know the
    /// question. The connection is given back at once, they are few.
    async fn ask_alive(&self, tell: Tell<'_>) -> Result<(), ClientError> {
        let request = self.http.get(url("alive")).header(reqwest::header::CONNECTION, "close").timeout(READ_LIMIT);
        let (_, body) = self.exchange(request).await?;
        if let Ok(answer) = serde_json::from_slice::<Answer>(&body) {
            tell(&answer.details.join(", "));
        }
        Ok(())
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body)
            .map_err(|error| ClientError::Answer(format!("unexpected answer at {}: {error}", self.socket.display())))
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<(reqwest::StatusCode, Vec<u8>), ClientError> {
        let request = request.build().expect("the address is written here, and the body is plain data");
        let limit = request.timeout().copied().unwrap_or(LIMIT);
        let failed = |error: reqwest::Error| {
            if error.is_connect() {
                ClientError::Unreachable(self.socket.clone(), root_cause(&error))
            } else if error.is_timeout() {
                ClientError::Late { socket: self.socket.clone(), limit, order: None }
            } else {
                ClientError::Answer(root_cause(&error))
            }
        };
        let response = self.http.execute(request).await.map_err(failed)?;
        let status = response.status();
        let body = response.bytes().await.map_err(failed)?;
        Ok((status, body.to_vec()))
    }
}

/// The host is not looked up: the connection goes to the socket.
fn url(path: &str) -> String {
    format!("http://nsd-failover/api/v1/{path}")
}

/// The innermost error: what the system said.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The exit code for an answer.
pub fn exit(answer: &Answer) -> Exit {
    match answer.outcome {
        Outcome::Done => Exit::Ok,
        Outcome::Failed => Exit::Failed,
        Outcome::Refused => Exit::Usage,
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers at {path}: {1}; is it running, and may you open the socket?", path = .0.display())]
    Unreachable(PathBuf, String),
    #[error(
        "connected to {path}, but no answer in {s} s: the daemon hangs, or is stopped; {order}answers to DNS may go on; its log says more, a restart helps",
        path = socket.display(), s = limit.as_secs(), order = order.map(|words| format!("{words}; ")).unwrap_or_default()
    )]
    Late {
        socket: PathBuf,
        limit: Duration,
        /// What became of an order, as far as that can be known.
        order: Option<&'static str>,
    },
    #[error("{0}")]
    Answer(String),
}

impl ClientError {
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::Unreachable(..) | ClientError::Late { .. } => Exit::Unreachable,
            ClientError::Answer(_) => Exit::Failed,
        }
    }

    /// The same, and what it means for an order.
    fn of_order(self, words: &'static str) -> ClientError {
        match self {
            ClientError::Late { socket, limit, .. } => ClientError::Late { socket, limit, order: Some(words) },
            other => other,
        }
    }
}
