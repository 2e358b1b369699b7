//! What a check is: data only. `config` makes it, `probe` carries it out.

use std::path::PathBuf;
use std::str::FromStr;

use domain::base::iana::{OptRcode, Rtype};

use crate::dns::name::Name;

use super::family::Family;

/// Most memory that a compiled `expect-regex` may take, in octets.
pub const PATTERN_MAX: usize = 1 << 20;

/// How one node is tested over one address family.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Check {
    pub name: String,
    pub kind: Kind,
    /// Time between two probes of one target, in milliseconds.
    pub interval_ms: u64,
    /// The same after a first failure (or success, when down), until the verdict is reached.
    pub fast_interval_ms: u64,
    /// Total deadline of one probe, in milliseconds.
    pub timeout_ms: u64,
    /// Successes in a row that make a node up.
    pub rise: u32,
    /// Failures that make a node down.
    pub fall: u32,
    /// The families that are probed; a node without an address of a family is not probed over it.
    pub families: Vec<Family>,
}

/// The protocol of a check and what it expects. In texts `{node}` is the node's name, `{ip}` its
/// address of the probed family (IPv6 in brackets where a port or path may follow), `{family}` is
/// `ipv4` or `ipv6`. Every connection goes to the node's configured address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Kind {
    Http(Http),
    Tls(Tls),
    Tcp(Tcp),
    Gemini(Gemini),
    Smtp(Smtp),
    Dns(Dns),
    Exec(Exec),
    File(StateFile),
}

impl Kind {
    /// The key of the configuration that asks for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Kind::Http(_) => "http",
            Kind::Tls(_) => "tls",
            Kind::Tcp(_) => "tcp",
            Kind::Gemini(_) => "gemini",
            Kind::Smtp(_) => "smtp",
            Kind::Dns(_) => "dns",
            Kind::Exec(_) => "exec",
            Kind::File(_) => "file",
        }
    }

    /// Whose certificates it accepts, where it is shown any.
    pub fn certificates(&self) -> Option<&Certificates> {
        match self {
            Kind::Http(http) => Some(&http.certificates),
            Kind::Tls(tls) => Some(&tls.certificates),
            Kind::Gemini(gemini) => Some(&gemini.certificates),
            Kind::Smtp(smtp) => Some(&smtp.certificates),
            Kind::Tcp(_) | Kind::Dns(_) | Kind::Exec(_) | Kind::File(_) => None,
        }
    }
}

/// Whose certificates a check accepts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificates {
    /// PEM file of the only certificates to trust: authorities, or the very certificate that the
    /// server shows; default: the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
    /// A certificate with fewer whole days left is as bad as none.
    pub min_days: Option<u32>,
}

/// HTTP or HTTPS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Http {
    /// `http://` or `https://`; the host is `{node}`, `{ip}` or any name, which is never looked up.
    pub url: String,
    /// `GET`, `HEAD` or `OPTIONS`; empty: `GET`.
    pub method: String,
    /// More request headers, name and value.
    pub headers: Vec<(String, Header)>,
    /// Text that the body must contain; `{node}` is replaced.
    pub expect: Option<String>,
    /// The same as a regular expression of the regex crate, taken as it is.
    pub expect_regex: Option<String>,
    /// Status codes that count as good; default 200.
    pub status: Vec<u16>,
    /// Redirects that are followed at the most, all of them at the node itself.
    pub redirects: u8,
    /// Another port than the URL's.
    pub port: Option<u16>,
    pub certificates: Certificates,
}

/// What a request header says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Header {
    /// This; `{node}` and `{ip}` are replaced.
    Text(String),
    /// The first line of a file, as it is: a secret.
    File(PathBuf),
}

/// A TLS handshake, and nothing more.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tls {
    pub port: u16,
    /// Each of these must be shown a good certificate for itself.
    pub names: Names,
    pub certificates: Certificates,
}

/// The server names that a TLS check asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Names {
    /// These; `{node}` and `{ip}` are replaced.
    List(Vec<String>),
    /// The names that follow the primary of the pools that use the check. The daemon turns it into
    /// a list when it has loaded the zones.
    Pool,
}

impl Default for Names {
    fn default() -> Names {
        Names::List(vec!["{node}".to_owned()])
    }
}

/// A TCP connection, and a text either way if wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tcp {
    pub port: u16,
    /// Sent once the connection stands.
    pub send: Option<String>,
    /// Text that the answer must contain.
    pub expect: Option<String>,
    pub expect_regex: Option<String>,
}

/// One Gemini request (gemini://geminiprotocol.net/docs/protocol-specification.gmi).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Gemini {
    pub url: String,
    /// Status codes that count as good; default 20.
    pub status: Vec<u16>,
    pub expect: Option<String>,
    pub expect_regex: Option<String>,
    pub certificates: Certificates,
}

/// Greeting and EHLO of a mail server (RFC 5321), and STARTTLS (RFC 3207) if wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Smtp {
    pub port: u16,
    /// STARTTLS must be offered, work, and show a good certificate for the node's name.
    pub starttls: bool,
    pub certificates: Certificates,
}

/// One question to a name server, over UDP, and over TCP when the answer is truncated.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Dns {
    pub port: u16,
    /// Name and type, as "example.org SOA".
    pub query: String,
    /// The wanted code by name, as "NOERROR".
    pub rcode: String,
    /// RDATA in presentation format that must be among the answers.
    pub expect: Option<String>,
    /// A server whose SOA serial must not be ahead of the node's.
    pub serial_of: Option<std::net::SocketAddr>,
}

impl Dns {
    /// Reads a question as in `query`: a name and a type, the SOA without one. The error says what
    /// is wrong with it.
    pub fn question(text: &str) -> Result<(Name, Rtype), String> {
        let mut words = text.split_whitespace();
        let (Some(name), rtype, None) = (words.next(), words.next(), words.next()) else {
            return Err(format!("`{text}` is no question: write a name and a type, as \"example.org SOA\""));
        };
        let parsed = name.parse().map_err(|error| format!("`{name}` is no domain name: {error}"))?;
        let rtype = rtype.unwrap_or("SOA");
        let known = Rtype::from_str(&rtype.to_ascii_uppercase());
        Ok((parsed, known.map_err(|_| format!("`{rtype}` is no record type"))?))
    }

    /// Whether there is a response code of this name, in capitals: "NXDOMAIN".
    pub fn is_rcode(name: &str) -> bool {
        (0..=23).any(|code| OptRcode::masked_from_int(code).to_string() == name)
    }
}

/// A Nagios plugin.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Exec {
    /// Program and arguments; no shell sees them. `{ip}` comes without brackets.
    pub argv: Vec<String>,
    /// How many must run at a time so that nobody is late even if all of them hang; counted by the
    /// daemon, which knows the nodes.
    pub places: usize,
}

/// A file that another program writes: its first word is the state.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StateFile {
    /// `{node}`, `{ip}` and `{family}` are replaced.
    pub path: PathBuf,
    /// An older file says nothing, in milliseconds.
    pub max_age_ms: u64,
}

/// What one probe found.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Outcome {
    /// `Some(true)` good, `Some(false)` bad, `None`: the probe could not say (counts for nothing).
    pub success: Option<bool>,
    /// A result word as HAProxy's: L4TOUT, L4CON, L6RSP, L6TOUT, L7OK, L7STS, L7RSP, L7TOUT, ...
    pub word: String,
    /// One line for people: what was seen.
    pub detail: String,
    /// How long the probe took, in milliseconds.
    pub duration_ms: u64,
    /// End of validity of the certificate that was shown, in Unix seconds; of several the first.
    pub cert_expiry_unix_s: Option<i64>,
    /// What a plugin measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<Measure>,
}

/// One value of a plugin's performance data.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Measure {
    pub label: String,
    /// The number as it was written, with its unit: "0.21s", "80%", "3".
    pub value: String,
}

impl Measure {
    /// The number in the base unit, and that unit: seconds ("s"), octets ("B"), and what else the
    /// plugin wrote ("%", "c", none). `None`: it is no number.
    pub fn number(&self) -> Option<(f64, &str)> {
        let end = self.value.find(|letter: char| !letter.is_ascii_digit() && !"+-.".contains(letter));
        let (number, unit) = self.value.split_at(end.unwrap_or(self.value.len()));
        let number: f64 = number.parse().ok()?;
        let (factor, unit) = match unit {
            "ms" => (1e-3, "s"),
            "us" => (1e-6, "s"),
            "KB" | "kB" => (1e3, "B"),
            "MB" => (1e6, "B"),
            "GB" => (1e9, "B"),
            "TB" => (1e12, "B"),
            unit => (1.0, unit),
        };
        Some((number * factor, unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        assert_eq!(Dns::question("example.org").map(|(_, rtype)| rtype), Ok(Rtype::SOA));
        assert_eq!(Dns::question("_sip._udp.example.org. srv").map(|(_, rtype)| rtype), Ok(Rtype::SRV));
        for text in ["", "example.org SOA IN", "exa..mple SOA", "example.org NONSENSE"] {
            assert!(Dns::question(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn measures_in_base_units() {
        let number = |value: &str| {
            let measure = Measure { label: "x".to_owned(), value: value.to_owned() };
            measure.number().map(|(number, unit)| format!("{number} {unit}"))
        };
        for (value, expected) in [
            ("0.21s", "0.21 s"),
            ("250ms", "0.25 s"),
            ("-3", "-3 "),
            ("80%", "80 %"),
            ("2MB", "2000000 B"),
            ("17c", "17 c"),
            ("1 tree", "1  tree"),
        ] {
            assert_eq!(number(value).as_deref(), Some(expected));
        }
        for value in ["", "U", "-", "1.2.3", "1-2"] {
            assert_eq!(number(value), None, "{value:?}");
        }
    }

    #[test]
    fn rcodes() {
        assert!(Dns::is_rcode("NOERROR") && Dns::is_rcode("NXDOMAIN") && Dns::is_rcode("REFUSED"));
        assert!(!Dns::is_rcode("OK"));
    }
}
