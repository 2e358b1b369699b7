//! The listeners: bound before anything else happens, started when there is a table, stopped last.

use std::future::Future;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::OptRcode;
use ipnet::IpNet;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::config::dns::Rrl;
use crate::config::{Config, Nsd};
use crate::control::api::Handle;
use crate::control::listen::{ControlSocket, serve_http, serve_socket};
use crate::control::metrics;
use crate::health::family::Family;
use crate::serve::answerer::Answerer;
use crate::serve::counters::{BOUNDS_NS, BOUNDS_OCTETS, Counters, Durations, Relayed, Snapshot, Transport};
use crate::serve::door::{Counts, Door};
use crate::serve::encrypted::{Acceptor, Certificate, Sockets};
use crate::serve::listener::{self, Gate};
use crate::serve::rrl::{self, Limiter};
use crate::serve::service::{self, Service};
use crate::serve::sys::Calls;
use crate::serve::transfer::Transfers;
use crate::serve::{https, quic, relay, tcp, udp};
use crate::table::Live;
use crate::table::respond::{self, Limits};

use super::failure::Failure;
use super::inherit::Inherited;
use super::lasting::Lasting;
use super::listen::explain;
use super::transfers;

/// How long connections may still take when the daemon stops.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// Everything that listens.
pub struct Serving {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    encrypted: Sockets,
    certificate: Option<Arc<Certificate>>,
    counters: Arc<Counters>,
    door: Arc<Door>,
    http: Option<TcpListener>,
    control: Option<ControlSocket>,
    servers: Vec<udp::Server>,
    tasks: Lasting,
    stop: watch::Sender<bool>,
}

impl Serving {
    /// Binds every address of the configuration that is not `inherited`. The control socket goes to
    /// `owner` (user and group), whom we are about to become.
    pub fn bind(config: &Config, inherited: &mut Inherited, owner: Option<(u32, u32)>) -> Result<Serving, Failure> {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for address in &config.listen {
            let sockets = match inherited.udp(*address) {
                none if none.is_empty() => udp::bind(*address, threads),
                given => udp::adopt(given, threads),
            };
            let sockets = sockets.map_err(|error| explain("DNS over UDP", *address, &error))?;
            // With port 0 the system has chosen: TCP gets the same.
            let address = sockets[0].local_addr()?;
            udp.extend(sockets);
            tcp.push(listen("DNS over TCP", address, inherited)?);
        }
        let encrypted = bind_encrypted(config, inherited)?;
        let http = config.http.map(|address| listen("http", address, inherited));
        let control = ControlSocket::bind(&config.control, owner).map_err(|error| Failure::usage(error.to_string()))?;
        let limits = connection_settings(config);
        Ok(Serving {
            udp,
            tcp,
            encrypted,
            certificate: None,
            counters: Arc::default(),
            door: Door::new(limits.connections_max, limits.connections_per_client),
            http: http.transpose()?,
            control: Some(control),
            servers: Vec::new(),
            tasks: Lasting::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// Starts to answer DNS. What has arrived before is answered first.
    pub fn start(
        &mut self,
        live: &Arc<Live>,
        transfers: &Arc<Transfers>,
        config: &Config,
        certificate: Option<Arc<CertifiedKey>>,
    ) -> Result<(), Failure> {
        let counters = Arc::clone(&self.counters);
        let relay = config.nsd.as_ref().filter(|nsd| nsd.relay).map(relay_settings);
        let proxies: Arc<[IpNet]> = config.dns.proxy_from.as_slice().into();
        let limits =
            |transport| Limits { payload_max: config.dns.edns_size, ..Limits::new(transport, relay.is_some()) };
        let limiter = config.rrl.as_ref().map(|rrl| Arc::new(Limiter::new(limiter_settings(rrl))));
        let calls = Calls::default();
        if let Some(octets) = udp::scarce_buffer(&self.udp) {
            tracing::warn!(
                "the system gives {octets} octets to receive queries over UDP where {} were asked for: what does not fit \
                 in a burst is lost; raise `sysctl net.core.rmem_max` (FreeBSD: kern.ipc.maxsockbuf) and start again",
                udp::RECEIVE_BUFFER
            );
        }
        let settings =
            udp::Settings { limits: limits(respond::Transport::Udp), relay, limiter, proxies: proxies.clone(), calls };
        let started = udp::Server::start(std::mem::take(&mut self.udp), live, &settings, Some(transfers), &counters);
        let server = started.map_err(|error| Failure::failed(format!("cannot serve UDP: {error}")))?;
        // There may be no thread that could end: where no DNS is served.
        let (ended, stopped) = (server.ended(), self.stopped());
        self.tasks.spawn("DNS over UDP", async {
            tokio::select! { () = ended => {}, () = stopped => {} }
        });
        self.servers.push(server);

        let upstream = relay.map(|relay| Arc::new(relay::tcp::Relay::new(&relay)));
        let limits = limits(respond::Transport::Stream);
        let answerer = Answerer::new(live.clone(), upstream, Some(transfers.clone()), limits);
        let settings = connection_settings(config);
        let gate =
            Gate { transport: Transport::Tcp, door: Arc::clone(&self.door), proxies, header_ms: settings.read_ms };
        for listener in std::mem::take(&mut self.tcp) {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let block = counters.block(gate.transport, family_of(listener.local_addr()?));
            let service = Service { answerer: answerer.clone(), settings, block };
            let serving = tcp::run(listener, gate.clone(), service, self.stopped());
            self.tasks.spawn("DNS over TCP", serving);
        }
        if let Some(certificate) = certificate.map(|certified| Arc::new(Certificate::new(certified))) {
            self.certificate = Some(Arc::clone(&certificate));
            self.start_encrypted(&certificate, &gate, &answerer, settings, &counters)?;
        }
        Ok(())
    }

    /// What is counted on the query path, from the start on.
    pub fn counted(&self, transfers: &Arc<Transfers>) -> Counted {
        Counted { counters: Arc::clone(&self.counters), door: Arc::clone(&self.door), transfers: Arc::clone(transfers) }
    }

    fn start_encrypted(
        &mut self,
        certificate: &Arc<Certificate>,
        gate: &Gate,
        answerer: &Answerer,
        settings: service::Settings,
        counters: &Counters,
    ) -> Result<(), Failure> {
        let Sockets { tls, https, quic } = std::mem::take(&mut self.encrypted);
        for listener in tls {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let gate = Gate { transport: Transport::Tls, ..gate.clone() };
            let block = counters.block(gate.transport, family_of(listener.local_addr()?));
            let service = Service { answerer: answerer.clone(), settings, block };
            let acceptor = Acceptor::for_dns(certificate);
            let serving = tcp::run_tls(listener, gate, acceptor, service, self.stopped());
            self.tasks.spawn("DNS over TLS", serving);
        }
        for listener in https {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let gate = Gate { transport: Transport::Https, ..gate.clone() };
            let block = counters.block(gate.transport, family_of(listener.local_addr()?));
            let service = Service { answerer: answerer.clone(), settings, block };
            let acceptor = Acceptor::for_http(certificate);
            let serving = https::run(listener, gate, acceptor, service, self.stopped());
            self.tasks.spawn("DNS over HTTPS", serving);
        }
        for socket in quic {
            let address = socket.local_addr()?;
            let block = counters.block(Transport::Quic, family_of(address));
            let service = Service { answerer: answerer.clone(), settings, block };
            let listener = quic::Listener::new(socket, certificate, &settings);
            let listener = listener.map_err(|error| explain("DNS over QUIC", address, &error))?;
            self.tasks.spawn("DNS over QUIC", listener.run(gate.door.clone(), service, self.stopped()));
        }
        Ok(())
    }

    /// What a reload may replace the certificate of.
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.clone()
    }

    /// Starts the status page and the control socket.
    pub fn start_control(&mut self, handle: Handle) {
        let failed = |what: &'static str| {
            move |ended: std::io::Result<()>| {
                if let Err(error) = ended {
                    tracing::error!("{what} has ended: {error}");
                }
            }
        };
        if let Some(listener) = self.http.take() {
            let serving = serve_http(listener, handle.clone(), self.stopped());
            self.tasks.spawn("the HTTP listener", async move { failed("the HTTP listener")(serving.await) });
        }
        if let Some(socket) = self.control.take() {
            let serving = serve_socket(socket, handle, self.stopped());
            self.tasks.spawn("the control socket", async move { failed("the control socket")(serving.await) });
        }
    }

    /// Ready when something of it has ended although nobody has stopped it: says what.
    pub async fn missed(&mut self) -> String {
        self.tasks.missed().await
    }

    /// Answers what has arrived, and closes everything.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let servers = std::mem::take(&mut self.servers);
        let threads = tokio::task::spawn_blocking(move || servers.into_iter().for_each(udp::Server::stop));
        if tokio::time::timeout(STOP_PATIENCE, self.tasks.finish()).await.is_err() {
            tracing::warn!("closing connections that did not end in time");
        }
        self.tasks.abort().await;
        if threads.await.is_err() {
            tracing::error!("a UDP thread has panicked");
        }
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        // An error means that we are gone ourselves: that is a stop too.
        async move { drop(stop.wait_for(|stop| *stop).await) }
    }
}

/// A listener for TCP: the one that was handed over, or one of our own.
fn listen(what: &str, address: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener, Failure> {
    let bound = inherited.tcp(address).map_or_else(|| listener::bind(address), Ok);
    bound.map_err(|error| explain(what, address, &error))
}

fn bind_encrypted(config: &Config, inherited: &mut Inherited) -> Result<Sockets, Failure> {
    let mut sockets = Sockets::default();
    let Some(tls) = &config.tls else { return Ok(sockets) };
    for address in &tls.listen_tls {
        sockets.tls.push(listen("DNS over TLS", *address, inherited)?);
    }
    for address in &tls.listen_https {
        sockets.https.push(listen("DNS over HTTPS", *address, inherited)?);
    }
    for address in &tls.listen_quic {
        let bound = inherited.udp(*address).pop().map_or_else(|| quic::bind(*address), Ok);
        sockets.quic.push(bound.map_err(|error| explain("DNS over QUIC", *address, &error))?);
    }
    Ok(sockets)
}

fn relay_settings(nsd: &Nsd) -> relay::Settings {
    relay::Settings { proxy: nsd.proxy_protocol, ..relay::Settings::new(nsd.address) }
}

fn connection_settings(config: &Config) -> service::Settings {
    let dns = &config.dns;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    service::Settings {
        connections_max: count(dns.tcp_connections),
        connections_per_client: count(dns.tcp_per_client),
        queries_max: dns.tcp_queries,
        idle_ms: dns.tcp_timeout_ms,
        ..service::Settings::default()
    }
}

fn limiter_settings(rrl: &Rrl) -> rrl::Settings {
    rrl::Settings {
        rate: rrl.rate,
        slip: rrl.slip,
        ipv4_prefix: rrl.ipv4_prefix,
        ipv6_prefix: rrl.ipv6_prefix,
        buckets: usize::try_from(rrl.size).unwrap_or(usize::MAX),
        exempt: rrl.exempt.clone(),
    }
}

/// What is counted on the query path, for the metrics.
pub struct Counted {
    counters: Arc<Counters>,
    door: Arc<Door>,
    transfers: Arc<Transfers>,
}

impl Counted {
    pub fn swapped(&self, took: Duration) {
        self.counters.swapped(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The counters as metric families, read at each call.
    pub fn families(&self) -> crate::control::api::Counters {
        let (counters, transfers) = (Arc::clone(&self.counters), Arc::clone(&self.transfers));
        let door = Arc::clone(&self.door);
        Arc::new(move || {
            let mut all = families(&counters.snapshot());
            all.extend(connections(&door.counts()));
            all.extend(transfers::families(&transfers));
            all
        })
    }
}

fn family_of(address: SocketAddr) -> Family {
    if address.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 }
}

fn families(snapshot: &Snapshot) -> Vec<metrics::Family> {
    let count = metrics::Value::Count;
    let mut requests = metrics::Family::counter("dns_requests", "DNS requests by what became of them");
    for ((transport, family, result), number) in &snapshot.requests {
        let labels = [("transport", transport.as_str()), ("family", family.as_str()), ("result", result.as_str())];
        requests.add(&labels, count(*number));
    }
    let mut rcodes = metrics::Family::counter("dns_response_rcode", "DNS responses by response code");
    for (rcode, number) in (0u8..).zip(&snapshot.rcodes).filter(|(_, number)| **number > 0) {
        // As IANA calls it: what no table knows has its number.
        let code = OptRcode::masked_from_int(rcode.into()).to_string();
        rcodes.add(&[("rcode", code.as_str())], count(*number));
    }
    let mut truncated = metrics::Family::counter("dns_truncated", "DNS responses with TC set");
    truncated.add(&[], count(snapshot.truncated));
    let mut sizes = metrics::Family::histogram("dns_response_size_bytes", "Sizes of DNS responses");
    for (transport, sizes_of) in &snapshot.sizes {
        let bounds = BOUNDS_OCTETS.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
        let buckets = bounds.zip(sizes_of.buckets).collect();
        let value = metrics::Value::Histogram { sum: sizes_of.sum_octets as f64, count: sizes_of.count(), buckets };
        sizes.add(&[("transport", transport.as_str())], value);
    }
    let mut relayed = metrics::Family::counter("relay_requests", "Requests relayed to nsd by what became of them");
    for result in Relayed::ALL {
        relayed.add(&[("result", result.as_str())], count(snapshot.relayed(result)));
    }
    let mut swaps = metrics::Family::histogram("swap_duration_seconds", "Time to put a decision in service");
    swaps.add(&[], histogram(&snapshot.swaps));
    let help = "Time from the arrival of queries to the departure of their answers, of a sample";
    let mut answered = metrics::Family::histogram("dns_answer_duration_seconds", help);
    for (transport, durations) in &snapshot.answered {
        answered.add(&[("transport", transport.as_str())], histogram(durations));
    }
    vec![requests, rcodes, truncated, sizes, relayed, swaps, answered]
}

fn connections(counts: &[(Transport, Counts)]) -> Vec<metrics::Family> {
    let mut open = metrics::Family::gauge("dns_connections_open", "DNS connections that are open");
    let mut accepted = metrics::Family::counter("dns_connections_accepted", "DNS connections that were accepted");
    let help = "DNS connections that were closed at once, as all places were taken";
    let mut refused = metrics::Family::counter("dns_connections_refused", help);
    let help = "DNS connections that were closed to make room for others";
    let mut evicted = metrics::Family::counter("dns_connections_evicted", help);
    for (transport, counts) in counts {
        let labels = [("transport", transport.as_str())];
        open.add(&labels, metrics::Value::Number(counts.open as f64));
        accepted.add(&labels, metrics::Value::Count(counts.accepted));
        refused.add(&labels, metrics::Value::Count(counts.refused));
        evicted.add(&labels, metrics::Value::Count(counts.evicted));
    }
    vec![open, accepted, refused, evicted]
}

fn histogram(durations: &Durations) -> metrics::Value {
    let bounds = BOUNDS_NS.iter().map(|bound| *bound as f64 / 1e9).chain([f64::INFINITY]);
    let buckets = bounds.zip(durations.buckets).collect();
    metrics::Value::Histogram { sum: durations.sum_ns as f64 / 1e9, count: durations.count(), buckets }
}
