//! The HTTP check: one request over a new connection, pinned to the node's address.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use regex::bytes::Regex;
use reqwest::header::HeaderValue;
use reqwest::{Client, Method, Response, StatusCode, Url};
use rustls::ClientConfig;

use crate::failover::reason::duration;
use crate::health::check::{Header, Http};

use super::file::{READ_MAX, Reads};
use super::stream::{self, Answer, Progress, Wanted, shown};
use super::trace::{MarkConnected, Pinned, note, reached};
use super::{Aim, Finding};

/// Reading the secrets for the headers may take this part of the deadline, in percent: the rest is the
/// node's, which is not to blame for a file system of ours that hangs.
const SECRETS_PART: u32 = 25;

/// A client that keeps no connection (each probe makes its own), follows no redirect by itself,
/// knows no proxy and looks up no name.
pub(super) fn client(mut tls: ClientConfig) -> reqwest::Result<Client> {
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
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

/// One look. The caller holds the deadline, which is that of the whole probe.
pub(super) async fn look(
    client: &Client,
    check: &Http,
    pattern: Option<&Regex>,
    aim: &Aim<'_>,
    reads: &Reads,
    deadline: Duration,
) -> Finding {
    let mut url = match url(check, aim) {
        Ok(url) => url,
        Err(reason) => return Finding::cannot_say(reason),
    };
    let patience = deadline * SECRETS_PART / 100;
    let mut headers = match tokio::time::timeout(patience, headers(check, aim, reads)).await {
        Ok(Ok(headers)) => headers,
        Ok(Err(reason)) => return Finding::cannot_say(reason),
        Err(_) => {
            let after = duration(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
            let what = "the secrets for the headers: not read after";
            return Finding::cannot_say(format!("{what} {after}: does their file system hang?"));
        }
    };
    let mut hops = 0;
    let mut answer = loop {
        let answer = match ask(client, check, &headers, &url).await {
            Ok(answer) => answer,
            Err(error) => return failed(&error),
        };
        note(format!("HTTP {} from {url}", answer.status().as_u16()));
        let Some(to) = redirect(&answer, &url).filter(|_| hops < check.redirects) else { break answer };
        hops += 1;
        if let Err(reason) = leads_astray(&to, aim.address) {
            return Finding::bad("L7STS", format!("redirected to {reason}"));
        }
        // What is meant for one server (a password, say) is told no other: not to another name or port,
        // not without the TLS around it, and not where another server then sends us.
        if to.origin() != url.origin() {
            headers.clear();
        }
        url = to;
    };
    let status = answer.status();
    if !is_wanted(status, check) {
        return Finding::bad("L7STS", wrong_status(&answer, check));
    }
    let expect = check.expect.as_ref().map(|text| aim.fill_bare(text));
    match read(&mut answer, Wanted::new(expect.as_deref(), pattern)).await {
        Ok(Ok(())) => Finding::good("L7OK", format!("HTTP {}", status.as_u16())),
        Ok(Err(missing)) => Finding::bad("L7RSP", format!("HTTP {}, but {missing}", status.as_u16())),
        Err(error) => failed(&error),
    }
}

async fn ask(client: &Client, check: &Http, headers: &[(&str, HeaderValue)], url: &Url) -> reqwest::Result<Response> {
    let method = Method::from_bytes(check.method.as_bytes()).unwrap_or(Method::GET);
    let mut request = client.request(method, url.clone()).header("connection", "close");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
        request = request.header("accept", "*/*");
    }
    for (name, value) in headers {
        request = request.header(*name, value.clone());
    }
    request.send().await
}

/// The request headers of the check. A file is read each time: what it holds may be renewed.
async fn headers<'a>(check: &'a Http, aim: &Aim<'_>, reads: &Reads) -> Result<Vec<(&'a str, HeaderValue)>, String> {
    let mut headers = Vec::new();
    for (name, value) in &check.headers {
        let unfit = || format!("the header {name} cannot be sent: it has a line break or worse");
        let value = match value {
            Header::Text(text) => HeaderValue::from_str(&aim.fill(text)).map_err(|_| unfit())?,
            Header::File(file) => {
                let mut value = HeaderValue::from_bytes(&secret(file, reads).await?).map_err(|_| unfit())?;
                value.set_sensitive(true);
                value
            }
        };
        headers.push((name.as_str(), value));
    }
    Ok(headers)
}

/// The first line of a file.
async fn secret(file: &Path, reads: &Reads) -> Result<Vec<u8>, String> {
    let written = reads.read(file.to_owned()).await;
    let bytes = written.map_err(|error| format!("cannot read {}: {error}", file.display()))?.bytes;
    let line = bytes.split(|&octet| octet == b'\n').next().unwrap_or_default();
    if line.len() == READ_MAX {
        return Err(format!("{}: its first line is longer than a header may be", file.display()));
    }
    match line.trim_ascii() {
        [] => Err(format!("{} is empty", file.display())),
        line => Ok(line.to_vec()),
    }
}

/// The URL to ask for. Its host is a name, whose address is the node's, or the node's address.
fn url(check: &Http, aim: &Aim<'_>) -> Result<Url, String> {
    let text = aim.fill(&check.url);
    let mut url = Url::parse(&text).map_err(|error| format!("{text}: {error}"))?;
    if let Some(port) = check.port {
        url.set_port(Some(port)).map_err(|()| format!("{text}: cannot have a port"))?;
    }
    leads_astray(&url, aim.address).map(|()| url)
}

/// A host that is an address must be the node's: it would not go through our resolver.
fn leads_astray(url: &Url, address: IpAddr) -> Result<(), String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(host) if host != address => Err(format!("{url}: another address than the node's {address}")),
        _ if !matches!(url.scheme(), "http" | "https") => Err(format!("{url}: neither http nor https")),
        _ => Ok(()),
    }
}

/// Where an answer sends us.
fn redirect(answer: &Response, from: &Url) -> Option<Url> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    from.join(answer.headers().get("location")?.to_str().ok()?).ok()
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
    let to = location.map(|to| format!(" to {}", shown(&String::from_utf8_lossy(to.as_bytes())))).unwrap_or_default();
    format!("HTTP {}{to}, wanted {wanted}", answer.status().as_u16())
}

/// Reads until what is wanted is found, the body ends or the cap is reached. Without a wanted text
/// any body will do, but it must come whole, up to the cap.
async fn read(answer: &mut Response, wanted: Wanted<'_>) -> reqwest::Result<Result<(), String>> {
    let mut body = Answer::new(wanted);
    while let Some(chunk) = answer.chunk().await? {
        match body.take(&chunk) {
            Progress::Matched => return Ok(Ok(())),
            Progress::Full => break,
            Progress::More => {}
        }
    }
    note("body read");
    Ok(body.judge())
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
    if let Some(io) = causes().filter_map(|cause| cause.downcast_ref::<io::Error>()).last() {
        return stream::failed(reached(), io);
    }
    let detail = causes().last().map_or_else(|| error.to_string(), |cause| cause.to_string());
    stream::failed(reached(), &io::Error::other(detail))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::pool::Node;
    use crate::health::family::Family;

    #[test]
    fn urls() {
        let (ipv4, ipv6) = (Some([192, 0, 2, 10].into()), Some("2001:db8::10".parse().unwrap()));
        let node = Node { name: "fishfinger.example.org".to_owned(), ipv4, ipv6 };
        let url = |text: &str, port, family| {
            let check = Http { url: text.to_owned(), port, ..Http::default() };
            url(&check, &Aim::new(&node, family).unwrap()).map(|url| url.to_string())
        };
        let named = url("https://{node}/index.txt", None, Family::Ipv4);
        assert_eq!(named.as_deref(), Ok("https://fishfinger.example.org/index.txt"));
        let six = url("http://{ip}:80/", Some(8080), Family::Ipv6);
        assert_eq!(six.as_deref(), Ok("http://[2001:db8::10]:8080/"));
        assert_eq!(url("http://{ip}/", None, Family::Ipv4).as_deref(), Ok("http://192.0.2.10/"));
        assert!(url("http://198.51.100.1/", None, Family::Ipv4).unwrap_err().contains("another address"));
        assert!(url("not a url", None, Family::Ipv4).is_err());
    }
}
