//! The HTTP check: one GET over a new connection, pinned to the node's address.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use reqwest::{Client, Response, StatusCode, Url};
use rustls::ClientConfig;

use crate::failover::pool::Node;
use crate::health::check::Http;

use super::Finding;
use super::trace::{MarkConnected, Pinned, Step, reached};

/// Of a body no more than this is read, in octets.
const BODY_MAX: usize = 64 * 1024;

/// So much of a wrong body is shown, in characters.
const SHOWN_MAX: usize = 40;

/// A client that keeps no connection (each probe makes its own), follows no redirect, knows no
/// proxy and looks up no name.
pub(super) fn client(tls: ClientConfig) -> reqwest::Result<Client> {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(Pinned))
        .connector_layer(MarkConnected)
        .pool_max_idle_per_host(0)
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .user_agent(concat!("nsd-failover/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// One look. The caller holds the deadline.
pub(super) async fn look(client: &Client, check: &Http, node: &Node, address: IpAddr) -> Finding {
    let url = match url(check, node, address) {
        Ok(url) => url,
        Err(reason) => return Finding::cannot_say(reason),
    };
    let answer = client.get(url).header("connection", "close").header("accept", "*/*").send().await;
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => return failed(&error),
    };
    let status = answer.status();
    if !is_wanted(status, check) {
        return Finding::bad("L7STS", wrong_status(&answer, check));
    }
    let expect = check.expect.as_ref().map(|text| fill(text, node, address));
    match read(&mut answer, expect.as_deref()).await {
        Ok(Body::Matched) => Finding::good("L7OK", format!("HTTP {}", status.as_u16())),
        Ok(Body::Unmatched { start, is_cut }) => {
            let expect = expect.unwrap_or_default();
            let place = if is_cut { "the first 64 KiB of the body" } else { "the body" };
            Finding::bad("L7RSP", format!("HTTP {}, but {expect:?} is not in {place} {start:?}", status.as_u16()))
        }
        Err(error) => failed(&error),
    }
}

/// The URL to ask for. Its host is a name, whose address is the node's, or the node's address.
fn url(check: &Http, node: &Node, address: IpAddr) -> Result<Url, String> {
    let text = fill(&check.url, node, address);
    let mut url = Url::parse(&text).map_err(|error| format!("{text}: {error}"))?;
    if let Some(port) = check.port {
        url.set_port(Some(port)).map_err(|()| format!("{text}: cannot have a port"))?;
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host.parse::<IpAddr>().is_ok_and(|host| host != address) {
        return Err(format!("{text}: another address than the node's {address}"));
    }
    Ok(url)
}

/// `{node}` and `{ip}` replaced; an IPv6 address in brackets.
fn fill(text: &str, node: &Node, address: IpAddr) -> String {
    let ip = match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    text.replace("{node}", &node.name).replace("{ip}", &ip)
}

fn is_wanted(status: StatusCode, check: &Http) -> bool {
    if check.status.is_empty() { status == StatusCode::OK } else { check.status.contains(&status.as_u16()) }
}

fn wrong_status(answer: &Response, check: &Http) -> String {
    let wanted = match check.status.as_slice() {
        [] => "200".to_owned(),
        wanted => wanted.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
    };
    let location = answer.headers().get("location").filter(|_| answer.status().is_redirection());
    let to = location.map(|to| format!(" to {:?}", String::from_utf8_lossy(to.as_bytes()))).unwrap_or_default();
    format!("HTTP {}{to}, wanted {wanted}", answer.status().as_u16())
}

enum Body {
    Matched,
    Unmatched { start: String, is_cut: bool },
}

/// Reads until the wanted text is found, the body ends or the cap is reached. Without a wanted
/// text any body will do, but it must come whole, up to the cap.
async fn read(answer: &mut Response, expect: Option<&str>) -> reqwest::Result<Body> {
    let mut body: Vec<u8> = Vec::new();
    let mut searched = 0;
    let is_cut = loop {
        let Some(chunk) = answer.chunk().await? else { break false };
        body.extend_from_slice(&chunk[..chunk.len().min(BODY_MAX - body.len())]);
        if let Some(expect) = expect {
            if contains(&body[searched..], expect.as_bytes()) {
                return Ok(Body::Matched);
            }
            // The text may begin here and end in the next chunk.
            searched = body.len().saturating_sub(expect.len());
        }
        if body.len() == BODY_MAX {
            break true;
        }
    };
    if expect.is_none_or(str::is_empty) {
        return Ok(Body::Matched);
    }
    let start = String::from_utf8_lossy(&body).chars().take(SHOWN_MAX).collect();
    Ok(Body::Unmatched { start, is_cut })
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || text.windows(wanted.len()).any(|window| window == wanted)
}

/// The result word and the one line for a request that came to no answer, or half of one.
fn failed(error: &reqwest::Error) -> Finding {
    let causes = || causes(error);
    // A rustls error travels inside an io::Error, which does not name it as its source.
    let tls = causes().find_map(|cause| {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause.downcast_ref().or_else(|| inner?.downcast_ref::<rustls::Error>())
    });
    if let Some(tls) = tls {
        return Finding::bad("L6RSP", format!("TLS: {tls}"));
    }
    let io = causes().filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
    if let Some(io) = io.filter(|io| is_ours(io)) {
        return Finding { success: None, word: "SOCKERR", detail: plain(io) };
    }
    let detail = io.map(plain).or_else(|| causes().last().map(|cause| cause.to_string()));
    let detail = detail.unwrap_or_else(|| error.to_string());
    match reached() {
        Step::Connecting => Finding::bad("L4CON", detail),
        Step::Handshake => Finding::bad("L6RSP", format!("TLS: {detail}")),
        Step::Exchange => Finding::bad("L7RSP", detail),
    }
}

/// What lies behind an error, the nearest first.
fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause: &'a (dyn Error + 'static) = next?;
        next = cause.source();
        Some(cause)
    })
}

/// Whether an error is about our own host, and says nothing of the node: no descriptors or memory
/// left, no such address family, a local firewall.
fn is_ours(error: &io::Error) -> bool {
    let Some(number) = error.raw_os_error() else { return false };
    [
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EACCES,
        libc::EPERM,
        libc::EADDRNOTAVAIL,
        libc::EAFNOSUPPORT,
    ]
    .contains(&number)
}

fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset".to_owned(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => "closed early".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let (ipv4, ipv6) = (Some([192, 0, 2, 10].into()), Some("2001:db8::10".parse().unwrap()));
        Node { name: "fishfinger.example.org".to_owned(), ipv4, ipv6 }
    }

    fn check(url: &str, port: Option<u16>) -> Http {
        Http { url: url.to_owned(), expect: None, status: Vec::new(), port, ca_file: None, insecure: false }
    }

    #[test]
    fn urls() {
        let node = node();
        let (ipv4, ipv6) = (node.ipv4.unwrap().into(), node.ipv6.unwrap().into());
        let url = |text, port, address| url(&check(text, port), &node, address).map(|url| url.to_string());
        let named = url("https://{node}/index.txt", None, ipv4);
        assert_eq!(named.as_deref(), Ok("https://fishfinger.example.org/index.txt"));
        assert_eq!(url("http://{ip}:80/", Some(8080), ipv6).as_deref(), Ok("http://[2001:db8::10]:8080/"));
        assert_eq!(url("http://{ip}/", None, ipv4).as_deref(), Ok("http://192.0.2.10/"));
        assert!(url("http://198.51.100.1/", None, ipv4).unwrap_err().contains("another address"));
        assert!(url("not a url", None, ipv4).is_err());
    }

    #[test]
    fn search() {
        assert!(contains(b"Welcome to x\n", b"Welcome to x"));
        assert!(!contains(b"Welcome", b"Welcome to x"));
        assert!(contains(b"", b""));
    }
}
