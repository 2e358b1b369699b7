//! DNS over HTTPS (RFC 8484): GET and POST at one path, over HTTP/2 and HTTP/1.1. hyper does HTTP.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::base::iana::Rcode;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::dns::message::MESSAGE_MAX;
use crate::table::respond::Limits;

use super::door::Place;
use super::encrypted::Acceptor;
use super::listener::{self, Gate, Guest};
use super::service::Service;

/// Where queries are taken (RFC 8484 section 4.1 leaves it open; everybody uses this one).
const ENDPOINT: &str = "/dns-query";
const MEDIA_TYPE: &str = "application/dns-message";
/// Requests of one connection under way at a time.
const STREAMS_MAX: u32 = 100;
/// Longest header of a request, address included, in octets: room for a GET of 12 KiB.
const HEADER_MAX: usize = 16 * 1024;
/// What a client may send unasked, in octets: for one request, and for all of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// So much of a body is read, wanted or not, in octets; then the request is cut off.
const BODY_MAX: usize = 2 * MESSAGE_MAX;
/// What may wait for a client to read it, in octets, for one request.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves until `shutdown` is ready; then no connection is accepted any more, and each ends after
/// the answers that it is owed.
pub async fn run(
    listener: TcpListener,
    gate: Gate,
    acceptor: Acceptor,
    service: Service,
    shutdown: impl Future<Output = ()>,
) {
    let service = Arc::new(service.with(|limits| Limits { encrypted: true, idle_ds: None, ..limits }));
    listener::run(listener, gate, move |guest| serve(service.clone(), guest, acceptor.clone()), shutdown).await;
}

/// One client's connection, which its requests share.
struct Connection {
    service: Arc<Service>,
    client: SocketAddr,
    place: Place,
    requests: Mutex<Requests>,
    /// The client has asked as often as it may.
    is_enough: Notify,
}

struct Requests {
    begun: u32,
    under_way: u32,
    last_ended: Instant,
}

/// A request, until it is answered or the client has taken it back.
struct UnderWay<'c>(&'c Connection);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.under_way -= 1;
        requests.last_ended = Instant::now();
    }
}

/// What is wrong with a request, and what to do.
type Refusal = (StatusCode, &'static str);

async fn serve(service: Arc<Service>, guest: Guest, acceptor: Acceptor) {
    let Guest { stream, client, place, mut stopping } = guest;
    let Some(stream) = acceptor.accept(stream).await else { return };
    let settings = service.settings;
    let requests = Mutex::new(Requests { begun: 0, under_way: 0, last_ended: Instant::now() });
    let connection = Arc::new(Connection { service, client, place, requests, is_enough: Notify::new() });
    let builder = builder();
    let answering = service_fn(|request| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(connection.answer(request).await) }
    });
    let mut http = pin!(builder.serve_connection(TokioIo::new(stream), answering));
    // The end begins with a word to the client, who may still take what it is owed.
    let (mut is_ending, mut deadline) = (false, connection.silence_ends());
    loop {
        let end = tokio::select! {
            // A client that breaks off is no event.
            _ = http.as_mut() => return,
            _ = stopping.changed(), if !is_ending => true,
            () = connection.is_enough.notified(), if !is_ending => true,
            () = sleep_until(deadline) => {
                let silence_ends = connection.silence_ends();
                if is_ending && connection.requests().under_way == 0 {
                    return;
                }
                deadline = silence_ends;
                silence_ends <= Instant::now()
            }
        };
        if end || is_ending {
            deadline = Instant::now() + settings.write();
        }
        if end && !is_ending {
            is_ending = true;
            http.as_mut().graceful_shutdown();
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    // hyper's deadline for a header begins with the silence in front of it: ours for silence is enough.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEADER_MAX);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
    http2.max_header_list_size(HEADER_MAX as u32).max_send_buf_size(SEND_BUFFER);
    http2.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let _under_way = self.begin();
        let reply = match self.query(request).await {
            Ok(query) => self.reply(&query).await,
            Err(refusal) => Err(refusal),
        };
        reply.map_or_else(refused, found)
    }

    async fn reply(&self, query: &[u8]) -> Result<Vec<u8>, Refusal> {
        let _busy = self.place.busy();
        let received = self.service.block.batch_received();
        let reply = self.service.answer(query, self.client).await;
        self.service.block.batch_sent(received);
        reply.ok_or((StatusCode::BAD_REQUEST, "this is no DNS query"))
    }

    /// The DNS message in a request. The body is read even where it is not wanted: a client that is
    /// told to stop in the middle of it may miss why.
    async fn query(&self, request: Request<Incoming>) -> Result<Bytes, Refusal> {
        let (head, body) = request.into_parts();
        let body = timeout(self.service.settings.read(), in_body(body)).await;
        let body = body.unwrap_or(Err((StatusCode::REQUEST_TIMEOUT, "the query did not arrive in time")));
        if head.uri.path() != ENDPOINT {
            return Err((StatusCode::NOT_FOUND, "DNS queries are taken at /dns-query"));
        }
        match head.method {
            Method::GET => in_address(head.uri.query().unwrap_or_default()),
            Method::POST if !is_dns(head.headers.get(CONTENT_TYPE)) => {
                Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is to be application/dns-message"))
            }
            Method::POST => body,
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "use GET or POST")),
        }
    }

    fn begin(&self) -> UnderWay<'_> {
        self.place.asked();
        let mut requests = self.requests();
        requests.under_way += 1;
        requests.begun = requests.begun.saturating_add(1);
        if self.service.settings.is_enough(requests.begun) {
            self.is_enough.notify_one();
        }
        UnderWay(self)
    }

    /// When the client will have been silent for too long, if it says nothing from now on.
    fn silence_ends(&self) -> Instant {
        let requests = self.requests();
        let since = if requests.under_way == 0 { requests.last_ended } else { Instant::now() };
        since + self.service.settings.idle()
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The query of a GET (RFC 8484 section 4.1): `dns=` and base64url without padding.
fn in_address(query: &str) -> Result<Bytes, Refusal> {
    let encoded = query.split('&').find_map(|pair| pair.strip_prefix("dns="));
    let encoded = encoded.ok_or((StatusCode::BAD_REQUEST, "the query belongs into ?dns="))?;
    let decoded = URL_SAFE_NO_PAD.decode(encoded);
    decoded.map(Bytes::from).map_err(|_| (StatusCode::BAD_REQUEST, "?dns= is base64url without padding"))
}

fn is_dns(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(MEDIA_TYPE)
}

/// The query of a POST.
async fn in_body(body: Incoming) -> Result<Bytes, Refusal> {
    const TOO_LARGE: Refusal = (StatusCode::PAYLOAD_TOO_LARGE, "a DNS message has 65535 octets at most");
    match Limited::new(body, BODY_MAX).collect().await.map(|body| body.to_bytes()) {
        Ok(body) if body.len() > MESSAGE_MAX => Err(TOO_LARGE),
        Ok(body) => Ok(body),
        Err(error) if error.is::<LengthLimitError>() => Err(TOO_LARGE),
        Err(_) => Err((StatusCode::BAD_REQUEST, "the query is cut off")),
    }
}

/// A reply, whatever its code is in DNS (RFC 8484 section 4.2.1).
fn found(reply: Vec<u8>) -> Response<Full<Bytes>> {
    let age = format!("max-age={}", freshness_s(&reply));
    let mut response = Response::new(Full::new(Bytes::from(reply)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_str(&age).expect("a number is visible ASCII"));
    response
}

fn refused((status, why): Refusal) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{why}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
    }
    response
}

/// How long a cache may keep a reply, in seconds (RFC 8484 section 5.1): the lowest TTL of its answer
/// and authority, of a SOA not more than its MINIMUM (RFC 2308 section 5). Errors are not kept.
fn freshness_s(reply: &[u8]) -> u32 {
    lowest_ttl_s(reply).unwrap_or(0)
}

fn lowest_ttl_s(reply: &[u8]) -> Option<u32> {
    let message = domain::base::Message::from_octets(reply).ok()?;
    if !matches!(message.header().rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) {
        return None;
    }
    let mut lowest: Option<u32> = None;
    for section in [message.answer().ok()?, message.authority().ok()?] {
        for record in section {
            let record = record.ok()?;
            let mut ttl_s = record.ttl().as_secs();
            if let Ok(Some(soa)) = record.to_record::<domain::rdata::Soa<_>>() {
                ttl_s = ttl_s.min(soa.data().minimum().as_secs());
            }
            lowest = Some(lowest.map_or(ttl_s, |lowest| lowest.min(ttl_s)));
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_a_get() {
        assert_eq!(in_address("dns=AAE").unwrap(), &[0, 1][..]);
        assert_eq!(in_address("ct=x&dns=_-8").unwrap(), &[0xff, 0xef][..]);
        for wrong in ["", "dns", "dns=AAE=", "dns=A", "dns=+/8", "DNS=AAE", "dns=%41"] {
            assert_eq!(in_address(wrong).unwrap_err().0, StatusCode::BAD_REQUEST, "{wrong}");
        }
    }

    #[test]
    fn how_long_a_reply_may_be_kept() {
        use hickory_proto::op::{Message, ResponseCode};
        use hickory_proto::rr::rdata::{A, SOA};
        use hickory_proto::rr::{Name, RData, Record};
        let name: Name = "example.org.".parse().unwrap();
        let address = |ttl_s| Record::from_rdata(name.clone(), ttl_s, RData::A(A::new(192, 0, 2, 1)));
        let soa = |ttl_s, minimum| SOA::new(name.clone(), name.clone(), 1, 2, 3, ttl_s, minimum);
        let mut message = Message::query();
        let kept = |message: &Message| freshness_s(&message.to_vec().unwrap());
        assert_eq!(kept(&message), 0, "nothing in it");
        message.add_answer(address(300));
        message.add_answer(address(60));
        message.additionals.push(address(5));
        assert_eq!(kept(&message), 60);
        message.metadata.response_code = ResponseCode::ServFail;
        assert_eq!(kept(&message), 0);
        let mut message = Message::query();
        message.metadata.response_code = ResponseCode::NXDomain;
        message.authorities.push(Record::from_rdata(name.clone(), 3600, RData::SOA(soa(9, 30))));
        assert_eq!(kept(&message), 30);
        let octets = message.to_vec().unwrap();
        (0..octets.len()).for_each(|len| assert_eq!(freshness_s(&octets[..len]), 0, "{len}"));
    }
}
