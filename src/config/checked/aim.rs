//! Where a check is aimed: `{node}`, `{ip}` and `{family}` in its texts, and whether a node of some
//! name can be put there.

use std::net::IpAddr;

use reqwest::Url;
use rustls::pki_types::ServerName;

use crate::dns::rdata;
use crate::health::check::{Check, Dns, Kind, Names, Tls};
use crate::health::family::Family;

/// Stands for a node and its address where a template is tried.
pub(super) const SOME_NODE: &str = "node.example";
const SOME_IPV4: &str = "192.0.2.1";
const SOME_IPV6: &str = "2001:db8::1";

/// A text as the probe of a node fills it in: an IPv6 address stands in brackets.
pub(super) fn fill(text: &str, node: &str, family: Family) -> String {
    match family {
        Family::Ipv4 => filled(text, node, family, SOME_IPV4),
        Family::Ipv6 => filled(text, node, family, &format!("[{SOME_IPV6}]")),
    }
}

fn filled(text: &str, node: &str, family: Family, ip: &str) -> String {
    text.replace("{node}", node).replace("{ip}", ip).replace("{family}", family.as_str())
}

/// What is wrong over all of these families, as it is over the first of them.
pub(super) fn over_any<E>(families: &[Family], tried: impl Fn(Family) -> Result<(), E>) -> Result<(), E> {
    let mut wrong = families.iter().map(|family| tried(*family));
    let first = wrong.next().unwrap_or(Ok(()));
    if first.is_err() && wrong.any(|tried| tried.is_ok()) { Ok(()) } else { first }
}

/// Whether a check can be aimed at a node of this name over a family.
pub(super) fn fits(check: &Check, node: &str, family: Family) -> Result<(), String> {
    match &check.kind {
        Kind::Http(http) => fits_url(&http.url, node, family, &["http", "https"]).map_err(|(message, _)| message),
        Kind::Gemini(gemini) => fits_url(&gemini.url, node, family, &["gemini"]).map_err(|(message, _)| message),
        Kind::Tls(Tls { names: Names::List(names), .. }) => {
            names.iter().try_for_each(|name| fits_handshake(name, node, family))
        }
        Kind::Smtp(smtp) if smtp.starttls => fits_handshake("{node}", node, family),
        Kind::Dns(dns) => {
            fits_question(&dns.query, node, family)?;
            fits_rdata(&dns.query, dns.expect.as_deref(), node, family)
        }
        _ => Ok(()),
    }
}

/// A server must be able to have it as its name in a handshake: a name, a wildcard, an address.
pub(super) fn fits_handshake(written: &str, node: &str, family: Family) -> Result<(), String> {
    let filled = fill(written, node, family);
    let name = filled.strip_prefix("*.").unwrap_or(&filled).trim_end_matches('.').trim_matches(['[', ']']);
    match ServerName::try_from(name.to_owned()) {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("`{}` is no name of a server", if written == "{node}" { node } else { written })),
    }
}

/// A question must have a name and a type.
pub(super) fn fits_question(query: &str, node: &str, family: Family) -> Result<(), String> {
    Dns::question(&fill(query, node, family)).map(drop)
}

/// What is expected must be RDATA of the type that is asked for. What is wrong with the question is told
/// by itself.
pub(super) fn fits_rdata(query: &str, expect: Option<&str>, node: &str, family: Family) -> Result<(), String> {
    let (Some(expect), Ok((_, rtype))) = (expect, Dns::question(&fill(query, node, family))) else { return Ok(()) };
    let bare = match family {
        Family::Ipv4 => filled(expect, node, family, SOME_IPV4),
        Family::Ipv6 => filled(expect, node, family, SOME_IPV6),
    };
    match rdata::from_line(rtype, &bare) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("`{expect}` is no RDATA of type {rtype}: {}", error.message)),
    }
}

/// A URL that leads to the node, whose name is `node`. The error: what is wrong, and what to do.
pub(super) fn fits_url(written: &str, node: &str, family: Family, schemes: &[&str]) -> Result<(), (String, String)> {
    let filled = fill(written, node, family);
    if let Some(at) = filled.find(['{', '}']) {
        let end = filled[at..].find('}').map_or(filled.len(), |length| at + length + 1);
        let hint = "write {node}, {ip} or {family}; a brace in a path as %7B and %7D";
        return Err((format!("`{}` stands for nothing", rdata::quoted(&filled.as_bytes()[at..end])), hint.to_owned()));
    }
    let parsed = Url::parse(&filled).map_err(|error| {
        (format!("`{written}` is no URL: {error}"), format!("write {}://{{node}}/path", schemes[0]))
    })?;
    if !schemes.contains(&parsed.scheme()) {
        let hint = schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(" or ");
        return Err((format!("`{}` is no scheme for {}", parsed.scheme(), schemes[0]), format!("write {hint}")));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let hint = match schemes {
            ["gemini"] => "remove it: Gemini has none",
            _ => "write headers = { Authorization = { file = \"/path/to/secret\" } }: it is shown nowhere",
        };
        return Err(("a login stands in the URL".to_owned(), hint.to_owned()));
    }
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host.is_empty() || (![SOME_IPV4, SOME_IPV6].contains(&host) && host.parse::<IpAddr>().is_ok()) {
        let hint = "write {node}, {ip} or a name as the host: the connection goes to the node";
        return Err(("the host is an address that is not the node's".to_owned(), hint.to_owned()));
    }
    Ok(())
}
