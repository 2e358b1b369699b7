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
/// For orders: a little more than the daemon allows itself.
const LIMIT: Duration = Duration::from_secs(REPLY_LIMIT.as_secs() + 5);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

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
        self.change(self.http.get(url).timeout(READ_LIMIT)).await
    }

    pub async fn order(&self, order: &Order) -> Result<Answer, ClientError> {
        self.change(self.http.post(url("order")).json(order)).await
    }

    /// Exports one zone, or all.
    pub async fn export(&self, zone: Option<&str>) -> Result<Answer, ClientError> {
        self.change(self.http.post(url("export")).json(&ZoneBody { zone: zone.map(str::to_owned), to: None })).await
    }

    /// Back to the last good generation of a zone, or to the one with the serial `to`.
    pub async fn rollback(&self, zone: &str, to: Option<u32>) -> Result<Answer, ClientError> {
        self.change(self.http.post(url("rollback")).json(&ZoneBody { zone: Some(zone.to_owned()), to })).await
    }

    /// Which generations of a zone are kept.
    pub async fn generations(&self, zone: &str) -> Result<Answer, ClientError> {
        let body = ZoneBody { zone: Some(zone.to_owned()), to: None };
        self.change(self.http.post(url("generations")).json(&body)).await
    }

    pub async fn reload(&self) -> Result<Answer, ClientError> {
        self.change(self.http.post(url("reload"))).await
    }

    /// Sends a request whose good answer is of type `T`.
    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let (status, body) = self.exchange(request.timeout(READ_LIMIT)).await?;
        if !status.is_success() {
            return Err(ClientError::Answer(format!("{status}: {}", String::from_utf8_lossy(&body).trim())));
        }
        self.parse(&body)
    }

    /// Sends a request that is answered with an [`Answer`], whatever the status code.
    async fn change(&self, request: RequestBuilder) -> Result<Answer, ClientError> {
        let (_, body) = self.exchange(request).await?;
        self.parse(&body)
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
                ClientError::Late(self.socket.clone(), limit)
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
        "connected to {path}, but no answer in {s} s: the daemon hangs, or is stopped; answers to DNS may go on; its log says more, a restart helps",
        path = .0.display(), s = .1.as_secs()
    )]
    Late(PathBuf, Duration),
    #[error("{0}")]
    Answer(String),
}

impl ClientError {
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::Unreachable(..) | ClientError::Late(..) => Exit::Unreachable,
            ClientError::Answer(_) => Exit::Failed,
        }
    }
}
