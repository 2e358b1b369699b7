//! `[dns]`, `[rrl]` and `[tls]`: how questions are answered, whatever the zone.

use toml::Spanned;

use super::Text;
use crate::config::keys::table;

table! {
    /// How questions are answered (docs/dns.md).
    Dns at "[dns]" {
        /// NSID, told to who asks for it (RFC 5001); up to 128 octets.
        nsid: Text => "text", Unset, r#""ns-a""#;
        /// The answer to `id.server` and `hostname.bind` of class CH; up to 128 octets.
        identity: Text => "text", Says("REFUSED"), r#""ns-a""#;
        /// The answer to `version.bind` and `version.server` of class CH; up to 128 octets.
        version: Text => "text", Says("name and version of this program"), r#""2026""#;
        /// Refuse to tell the version.
        hide_version: Spanned<bool> => "true or false", Is("false"), "true";
        /// Load balancers: who sends from these networks must speak the PROXY protocol, version 2, over UDP, TCP, TLS and HTTPS.
        proxy_from: Spanned<Vec<Text>> => "list of networks", Is("[]"), r#"["192.0.2.0/24"]"#;
        /// DNS cookies (RFC 7873), in relayed answers too.
        cookies: Spanned<bool> => "true or false", Is("true"), "false";
        /// Secrets of the cookies, 32 hexadecimal digits a line, the one in use first; for servers that
        /// share an address.
        cookie_secret_file: Text => "path", Says("a secret of our own"), r#""/etc/nsd-failover/cookie.secret""#;
        /// Largest UDP answer, in octets: 512 to 4096.
        edns_size: Spanned<u16> => "number", Is("1232"), "1400";
        /// The order of several addresses of one name: as in the zone file, or beginning with another one each
        /// time.
        rrset_order: Text => r#""fixed" or "rotate""#, Is(r#""fixed""#), r#""rotate""#;
        /// Connections at a time, over TCP, TLS, HTTPS and QUIC together; then the one that has asked nothing for the longest time goes.
        tcp_connections: Spanned<u32> => "number", Is("1000"), "5000";
        /// Connections of one IPv4 address or IPv6 /64, over TCP, TLS, HTTPS and QUIC together.
        tcp_per_client: Spanned<u32> => "number", Is("50"), "10";
        /// Questions on one connection; 0: any number.
        tcp_queries: Spanned<u32> => "number", Is("0"), "1000";
        /// Longest silence on a connection, 100 ms to 6553 s; told to who asks over TCP or TLS (RFC 7828).
        tcp_timeout: Text => "duration", Is(r#""10s""#), r#""30s""#;
    }
}

table! {
    /// Response rate limits, against the use of this server to flood others. Relayed answers count, too.
    Rrl at "[rrl]" {
        /// Alike answers to one network, in one second; 0: no limits.
        rate: Spanned<u32> => "number", Is("200"), "100";
        /// Every so many limited answers one goes out empty with TC; 0: none, 1: all.
        slip: Spanned<u32> => "number", Is("2"), "1";
        /// How much of an IPv4 address is the network, in bits.
        ipv4_prefix: Spanned<u8> => "number", Is("24"), "32";
        /// The same for IPv6.
        ipv6_prefix: Spanned<u8> => "number", Is("64"), "56";
        /// How many kinds of answers to networks are remembered, 8 octets each.
        size: Spanned<u32> => "number", Is("1000000"), "100000";
        /// Networks without a limit.
        exempt: Spanned<Vec<Text>> => "list of networks", Is(r#"["127.0.0.0/8", "::1/128"]"#), r#"["192.0.2.0/24"]"#;
    }
}

table! {
    /// DNS over TLS, QUIC and HTTPS. One address at least is needed.
    Tls at "[tls]" {
        /// The certificate and those above it, PEM.
        cert: Text => "path", Needed, r#""/etc/ssl/fullchain.pem""#;
        /// Its private key, PEM.
        key: Text => "path", Needed, r#""/etc/ssl/private/key.pem""#;
        /// DNS over TLS; port 853 may be left out.
        listen_tls: Spanned<Vec<Text>> => "list of addresses", Is("[]"), r#"["[::]:853"]"#;
        /// DNS over QUIC; port 853 may be left out.
        listen_quic: Spanned<Vec<Text>> => "list of addresses", Is("[]"), r#"["[::]:853"]"#;
        /// DNS over HTTPS, at `/dns-query`; port 443 may be left out.
        listen_https: Spanned<Vec<Text>> => "list of addresses", Is("[]"), r#"["[::]:443"]"#;
    }
}
