//! Where a check is aimed: `{node}`, `{ip}` and `{family}` in its texts, and whether a node of some
//! name can be put there.

use domain::base::iana::Rtype;
use reqwest::Url;
use rustls::pki_types::ServerName;

use crate::dns::rdata;
use crate::health::check::{Check, Dns, Kind, Names, Tls};

/// Stands for a node and its address where a template is tried.
pub(super) const SOME_NODE: &str = "node.example";
const SOME_IP: &str = "192.0.2.1";

/// Whether a server can be asked for it in a handshake: a name, a wildcard, `{ip}`.
pub(super) fn is_server_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name).trim_end_matches('.');
    name == "{ip}" || ServerName::try_from(name.to_owned()).is_ok()
}

/// Whether a check can be aimed at a node of this name.
pub(super) fn fits(check: &Check, node: &str) -> Result<(), String> {
    let server_name = |template: &String| match is_server_name(&template.replace("{node}", node)) {
        true => Ok(()),
        false => Err(format!("`{node}` is no name of a server")),
    };
    match &check.kind {
        Kind::Http(http) => fits_url(&http.url, node, &["http", "https"]).map_err(|(message, _)| message),
        Kind::Gemini(gemini) => fits_url(&gemini.url, node, &["gemini"]).map_err(|(message, _)| message),
        Kind::Tls(Tls { names: Names::List(names), .. }) => names.iter().try_for_each(server_name),
        Kind::Smtp(smtp) if smtp.starttls => server_name(&"{node}".to_owned()),
        Kind::Dns(dns) => Dns::question(&dns.query.replace("{node}", node).replace("{ip}", SOME_IP)).map(drop),
        _ => Ok(()),
    }
}

/// A URL that leads to the node, whose name is `node`. The error: what is wrong, and what to do.
pub(super) fn fits_url(written: &str, node: &str, schemes: &[&str]) -> Result<(), (String, String)> {
    let filled = written.replace("{node}", node).replace("{ip}", SOME_IP).replace("{family}", "ipv4");
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
    let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host.is_empty() || (host != SOME_IP && host.parse::<std::net::IpAddr>().is_ok()) {
        let hint = "write {node}, {ip} or a name as the host: the connection goes to the node";
        return Err(("the host is an address that is not the node's".to_owned(), hint.to_owned()));
    }
    Ok(())
}

pub(super) fn fill(text: &str) -> String {
    text.replace("{node}", SOME_NODE).replace("{ip}", SOME_IP).replace("{family}", "ipv4")
}

/// The same for RDATA, which may hold an address of either family.
pub(super) fn fill_rdata(text: &str, rtype: Rtype) -> String {
    let ip = if rtype == Rtype::AAAA { "2001:db8::1" } else { SOME_IP };
    fill(&text.replace("{ip}", ip))
}
