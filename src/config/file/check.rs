//! `[check.NAME]`: how one node is tested.

use std::collections::BTreeMap;

use toml::Spanned;

use super::Text;
use crate::config::keys::table;

table! {
    /// How one node is tested: exactly one of `http`, `tls`, `tcp`, `gemini`, `smtp`, `dns`, `exec` and
    /// `file`, and what belongs to it (docs/checks.md). In texts `{node}` is the node's name, `{ip}` its
    /// address, `{family}` is `ipv4` or `ipv6`. The connection always goes to the node's address.
    Check at "[check.NAME]" {
        /// A page that must be served: an `http` or `https` URL.
        http: Text => "URL", Unset, r#""https://{node}/index.txt""#;
        /// A TLS handshake.
        tls: Text => "`{node}:PORT` or `{ip}:PORT`", Unset, r#""{node}:443""#;
        /// A TCP connection.
        tcp: Text => "`{ip}:PORT`", Unset, r#""{ip}:25""#;
        /// A Gemini page.
        gemini: Text => "URL", Unset, r#""gemini://{node}/""#;
        /// A mail server's greeting.
        smtp: Text => "`{ip}:PORT`", Unset, r#""{ip}:25""#;
        /// A name server; with `query`.
        dns: Text => "`{ip}:PORT`", Unset, r#""{ip}:53""#;
        /// A Nagios plugin with its arguments, without a shell.
        exec: Spanned<Vec<String>> => "list of words", Unset, r#"["/usr/lib/nagios/plugins/check_ping", "-H", "{ip}"]"#;
        /// A file in which another program writes the state: `up`, `down`, ...
        file: Text => "path", Unset, r#""/run/cluster/{node}.state""#;
        /// For `http`: the method.
        method: Text => r#""GET", "HEAD" or "OPTIONS""#, Is(r#""GET""#), r#""HEAD""#;
        /// For `http`: more header lines; a secret from the first line of a file.
        headers: Spanned<BTreeMap<Text, Spanned<toml::Value>>> => "table of texts, or of files with one", Is("{}"), r#"{ X-Probe = "{node}", Authorization = { file = "web.secret" } }"#;
        /// For `http`, `tcp`, `gemini`: text that the answer must contain. For `dns`: RDATA that must be
        /// among the answers.
        expect: Text => "text", Unset, r#""Welcome to {node}""#;
        /// For `http`, `tcp`, `gemini`: a regular expression in its place; knows no `{node}`.
        expect_regex: Text => "pattern", Unset, r#""^Welcome""#;
        /// For `http` and `gemini`: the status codes that are good.
        status: Spanned<Vec<Spanned<u16>>> => "list of numbers", Says("`[200]`; for `gemini` `[20]`"), "[200, 204]";
        /// For `http`: how many redirects are followed, all at the node; 0 to 10.
        redirects: Spanned<u8> => "number", Is("0"), "3";
        /// For `http`: another port than the URL's.
        port: Spanned<u16> => "number", Says("the URL's"), "8443";
        /// For `http`, `tls`, `gemini`, `smtp`: trust only these authorities, or this certificate, PEM.
        ca_file: Text => "path", Says("the system's authorities"), r#""/etc/ssl/own-ca.pem""#;
        /// For the same: accept any certificate.
        insecure: Spanned<bool> => "true or false", Is("false"), "true";
        /// For the same: a certificate with fewer days left is bad.
        cert_min_days: Spanned<u32> => "number, in days", Says("until it ends"), "7";
        /// For `tls`: a handshake for each of these names, or for all that follow the pool's primary.
        names: Spanned<toml::Value> => r#""pool" or list of names"#, Says("the host as written"), r#""pool""#;
        /// For `tcp`: what is sent first.
        send: Text => "text", Unset, r#""PING\r\n""#;
        /// For `smtp`: STARTTLS must work, with a good certificate.
        starttls: Spanned<bool> => "true or false", Is("false"), "true";
        /// For `dns`: name and type to ask for; needed there.
        query: Text => "text", Unset, r#""example.org SOA""#;
        /// For `dns`: the code that the answer must have.
        rcode: Text => "text", Is(r#""NOERROR""#), r#""NXDOMAIN""#;
        /// For `dns`: the SOA serial must not be older than that of this server.
        serial_of: Text => "address", Unset, r#""127.0.0.1:53""#;
        /// For `file`: an older one says nothing.
        max_age: Text => "duration", Says("three intervals"), r#""1m""#;
        /// Time between two probes.
        interval: Text => "duration", Is(r#""10s""#), r#""30s""#;
        /// The same while the last probe speaks against the verdict; not longer than `interval`.
        fast_interval: Text => "duration", Is(r#""1s""#), r#""500ms""#;
        /// Total deadline of one probe; not longer than `interval`.
        timeout: Text => "duration", Is(r#""5s""#), r#""2s""#;
        /// Good probes in a row that make a node up; 1 to 1000.
        rise: Spanned<u32> => "number", Is("2"), "3";
        /// Bad probes that make it down; 1 to 1000.
        fall: Spanned<u32> => "number", Is("3"), "5";
        /// The families that are probed.
        families: Spanned<Vec<Text>> => r#"list of "ipv4", "ipv6""#, Is(r#"["ipv4", "ipv6"]"#), r#"["ipv4"]"#;
    }
}
