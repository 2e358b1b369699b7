//! The configuration file as it is written: TOML, kebab-case, unknown keys refused. Nothing here
//! is checked beyond its type; `super::checked` does that. What stands here about a key is what
//! docs/configuration.md says about it.

use std::collections::BTreeMap;

use toml::Spanned;

use super::keys::{Table, table};

mod answers;
mod check;
mod notify;

pub use answers::{Dns, Rrl, Tls};
pub use check::Check;
pub use notify::Notify;

pub type Text = Spanned<String>;
/// Tables by their names: `[node.NAME]`.
pub type Named<T> = BTreeMap<Text, T>;
pub type Tables<T> = Option<Named<T>>;

/// Every table of the file, in the order of the reference.
pub const TABLES: [Table; 14] = [
    File::TABLE,
    Nsd::TABLE,
    Node::TABLE,
    Check::TABLE,
    Pool::TABLE,
    Zone::TABLE,
    DEFAULTS,
    Notify::TABLE,
    Dns::TABLE,
    Rrl::TABLE,
    Tls::TABLE,
    Key::TABLE,
    Catalog::TABLE,
    Confine::TABLE,
];

table! {
    File at "" {
        /// Version of this format.
        version: Spanned<u32> => "number", Is("1"), "1";
        /// More files, merged into this one: patterns, in order of the names that they match. A key that
        /// is given twice is an error. Included files include nothing themselves.
        include: Vec<Text> => "list of patterns", Is("[]"), r#"["conf.d/*.toml"]"#;
        /// Where DNS is answered over UDP and TCP; port 53 may be left out.
        listen: Spanned<Vec<Text>> => "list of addresses", Says("no DNS is served"), r#"["0.0.0.0:53", "[::]:53"]"#;
        /// Where status page, JSON and metrics are shown, read-only (docs/monitoring.md).
        http: Text => "address with port", Says("off"), r#""127.0.0.1:8053""#;
        /// The unix socket that the verbs use; owner and group may use it.
        control: Text => "path", Is(r#""/run/nsd-failover/control.sock""#), r#""/run/nsd-failover/control.sock""#;
        /// What is kept over restarts: roles, orders, log, generations of zone files.
        state_dir: Text => "path", Is(r#""/var/lib/nsd-failover""#), r#""/var/lib/nsd-failover""#;
        /// The user that a daemon started by root becomes once it has bound its addresses.
        user: Text => "user", Says("whoever starts it"), r#""nsd-failover""#;
        /// The group; only together with `user`.
        group: Text => "group", Says("the user's own"), r#""nsd""#;
        /// What the system keeps the daemon from: `[confine]`.
        confine: Spanned<Confine> => "table", Says("its defaults"), "";
        /// Where the log goes.
        log: Text => r#""stderr" or "syslog""#, Is(r#""stderr""#), r#""syslog""#;
        /// Lines for people, or a JSON object each.
        log_format: Text => r#""text" or "json""#, Is(r#""text""#), r#""json""#;
        /// From how many days before its end on a certificate is a warning...
        cert_warning_days: Spanned<u32> => "number", Is("14"), "21";
        /// ...and from how many on it is urgent.
        cert_critical_days: Spanned<u32> => "number", Is("3"), "7";
        /// The nsd beside us: `[nsd]`.
        nsd: Spanned<Nsd> => "table", Says("no nsd: nothing is exported or relayed"), "";
        /// How questions are answered: `[dns]`.
        dns: Spanned<Dns> => "table", Says("its defaults"), "";
        /// Response rate limits: `[rrl]`.
        rrl: Spanned<Rrl> => "table", Says("its defaults"), "";
        /// Encrypted transports: `[tls]`.
        tls: Spanned<Tls> => "table", Says("none"), "";
        /// The hosts: `[node.NAME]`.
        node: Named<Node> => "tables", Unset, "";
        /// How hosts are tested: `[check.NAME]`.
        check: Named<Check> => "tables", Unset, "";
        /// What moves together: `[pool.NAME]`.
        pool: Named<Pool> => "tables", Unset, "";
        /// The zones: `[zone."ORIGIN"]`.
        zone: Named<Zone> => "tables", Unset, "";
        /// A pattern of zone files: each is a zone, unless `[zone]` has it. The origin comes from its
        /// `$ORIGIN`, the owner of its SOA, or its name.
        zone_files: Text => "pattern", Unset, r#""/var/nsd/zones/master/*.zone""#;
        /// An nsd.conf whose primary zones are looked after, unless `[zone]` has them.
        nsd_conf: Text => "path", Unset, r#""/var/nsd/etc/nsd.conf""#;
        /// What zones have that do not say otherwise: `[zone-defaults]`.
        zone_defaults: Spanned<Zone> => "table", Unset, "";
        /// TSIG keys: `[key.NAME]`.
        key: Named<Key> => "tables", Unset, "";
        /// The catalog zone: `[catalog]`.
        catalog: Spanned<Catalog> => "table", Says("none"), "";
        /// Who is told what happens: `[notify.NAME]`.
        notify: Named<Notify> => "tables", Unset, "";
    }
}

table! {
    /// The nsd beside us. With this table zones are exported to it; without it nsd is left alone.
    Nsd at "[nsd]" {
        /// Where nsd answers: every export is verified there, and with `relay` questions go there.
        address: Text => "address", Is(r#""127.0.0.1:53""#), r#""127.0.0.1:5300""#;
        /// Whether nsd is asked what is not ours (placement "front", docs/placements.md).
        relay: Spanned<bool> => "true or false", Is("false"), "true";
        /// More addresses at which nsd must serve an export before it counts.
        verify: Spanned<Vec<Text>> => "list of addresses", Is("[]"), r#"["192.0.2.53", "[2001:db8::53]:53"]"#;
        /// Tell nsd who asks, by the PROXY protocol; nsd 4.8 and later, with `proxy-protocol-port:`.
        proxy_protocol: bool => "true or false", Is("false"), "true";
        /// The program that makes nsd reload a zone, with its arguments.
        control: Spanned<Vec<String>> => "list of words", Is(r#"["nsd-control"]"#), r#"["nsd-control", "-c", "/etc/nsd/nsd.conf"]"#;
        /// nsd's control socket, used in place of the program: faster. Not together with `control`.
        control_socket: Text => "path", Unset, r#""/run/nsd/nsd.sock""#;
        /// The program that checks each zone file before nsd sees it; `[]`: our own parser only.
        checkzone: Spanned<Vec<String>> => "list of words", Is(r#"["nsd-checkzone"]"#), r#"["/usr/sbin/nsd-checkzone"]"#;
        /// nsd's `zonesdir`: relative `$INCLUDE` names count from there.
        zonesdir: Text => "path", Says("that of `nsd-conf`, else the folder of the zone file"), r#""/var/nsd/zones""#;
    }
}

table! {
    /// A host that serves the content. NAME is its host name, without blanks. It needs one address at least.
    Node at "[node.NAME]" {
        /// Its IPv4 address: what is probed, and what A records get.
        ipv4: Text => "IPv4 address", Unset, r#""192.0.2.10""#;
        /// Its IPv6 address: what is probed, and what AAAA records get.
        ipv6: Text => "IPv6 address", Unset, r#""2001:db8::10""#;
    }
}

table! {
    /// Nodes that stand in for each other, and the names that move between them. docs/decision.md
    /// has the rules.
    Pool at "[pool.NAME]" {
        /// The nodes, in order of preference.
        nodes: Spanned<Vec<Text>> => "list of nodes", Needed, r#"["fishfinger", "blowfish"]"#;
        /// How each of them is tested; without checks only orders and the rotation move the pool.
        checks: Vec<Text> => "list of checks", Is("[]"), r#"["web"]"#;
        /// `"weekly"` turns the order of preference by one each week (Monday 00:00 UTC).
        rotate: Text => r#""weekly" or "never""#, Is(r#""never""#), r#""weekly""#;
        /// How long a preferred node must be up again before it takes over; `"never"`: it waits for
        /// the next failover.
        preempt: Text => r#"duration or "never""#, Is(r#""5m""#), r#""never""#;
        /// Least time between two moves that were neither ordered nor planned.
        min_hold: Text => "duration", Says("none"), r#""10m""#;
        /// What is answered while nobody is up: as before, the first node, or nothing (NODATA).
        when_all_down: Text => r#""keep", "first" or "withdraw""#, Is(r#""keep""#), r#""first""#;
        /// Whether a node must be up over both families, each has a primary of its own, or a family
        /// in which the primary is down is answered with nothing.
        families: Text => r#""together", "independent" or "withdraw""#, Is(r#""together""#), r#""independent""#;
        /// No answer of ours lives longer than until it may change, and not shorter than this; whole
        /// seconds. Exported files keep their TTLs.
        ttl_min: Text => "duration", Says("answers have the TTL of their records"), r#""30s""#;
        /// DNS servers beyond your own network, asked when nobody is up: if none answers, we are cut
        /// off, and nothing moves.
        anchors: Spanned<Vec<Text>> => "list of addresses", Is("[]"), r#"["9.9.9.9:53", "[2620:fe::fe]:53"]"#;
    }
}

table! {
    /// A zone. It has a `file`, or was found by `zone-files` or `nsd-conf`, or is declared here with
    /// `names` (docs/placements.md). docs/zone-files.md says what is read and what is changed in a
    /// file.
    Zone at "[zone.\"ORIGIN\"]" {
        /// The zone file.
        file: Text => "path", Says("what `zone-files` or `nsd-conf` found"), r#""/var/nsd/zones/master/example.org.zone""#;
        /// In place of a file: the failover names of a small zone that stands here alone.
        names: Spanned<Vec<Text>> => "list of names", Unset, r#"["www", "standby", "@"]"#;
        /// Name servers of a declared zone with their addresses; `[]` for one outside the zone.
        ns: Named<Vec<Text>> => "table of lists of addresses", Says("`ns`, at the addresses of `listen`"), r#"{ ns1 = ["192.0.2.53"] }"#;
        /// Hostmaster in the SOA of a declared zone.
        hostmaster: Text => "name", Is(r#""hostmaster""#), r#""admin.example.net.""#;
        /// TTL of the names of a declared zone.
        ttl: Text => "duration", Is(r#""60s""#), r#""30s""#;
        /// The pool of tags without `pool=`.
        pool: Text => "pool", Says("no tag may be without `pool=`"), r#""web""#;
        /// What is answered: the failover names, the whole zone, or nothing.
        serve: Text => r#""overlay", "zone" or "off""#, Says(r#""overlay" with `relay`, else "zone" with `listen`, else "off""#), r#""zone""#;
        /// Whether nsd gets the zone as a file.
        export: Text => r#""file" or "off""#, Says(r#""file" with `[nsd]`, else "off"; "off" where there are secondaries"#), r#""off""#;
        /// The file that nsd loads, where that is another than `file`.
        export_file: Text => "path", Says("`file`"), r#""/var/nsd/zones/live/example.org.zone""#;
        /// How the serial grows: seconds since 1970, by one, or YYYYMMDDnn. Never back (RFC 1982).
        serial: Text => r#""unixtime", "increment" or "date""#, Is(r#""unixtime""#), r#""increment""#;
        /// Who may fetch the zone: addresses, prefixes, names of keys, or an address and a key.
        allow_transfer: Spanned<Vec<Text>> => "list", Says("those of `notify`"), r#"["192.0.2.53", "2001:db8:53::/48 sidecar"]"#;
        /// Who is told of changes: addresses, each with a key where it wants one (docs/transfer.md).
        notify: Spanned<Vec<Text>> => "list of addresses", Says("nobody"), r#"["127.0.0.1:53", "192.0.2.53 sidecar"]"#;
        /// The TSIG key of entries without one.
        key: Text => "key", Unset, r#""sidecar""#;
    }
}

/// `[zone-defaults]` has the type of a zone; what it may hold is told in words.
const DEFAULTS: Table = Table {
    place: "[zone-defaults]",
    about: &[
        " `pool`, `serve`, `export`, `serial`, `allow-transfer`, `notify` and `key` of zones that do not",
        " have them themselves, with the same meaning as in `[zone]`.",
    ],
    keys: &[],
};

table! {
    /// A TSIG key (RFC 8945). NAME is its name, as the other side has it.
    Key at "[key.NAME]" {
        /// How messages are signed.
        algorithm: Text => r#""hmac-sha256", "hmac-sha384", "hmac-sha512" or "hmac-sha1""#, Is(r#""hmac-sha256""#), r#""hmac-sha512""#;
        /// The file that holds the secret in base64, 16 octets at least; not readable for everybody.
        secret_file: Text => "path", Needed, r#""/etc/nsd-failover/sidecar.key""#;
    }
}

table! {
    /// A catalog zone (RFC 9432) of all zones with secondaries.
    Catalog at "[catalog]" {
        /// Its name.
        zone: Text => "name", Needed, r#""catalog.example""#;
        /// As in `[zone]`; one of this and `notify` is needed.
        allow_transfer: Spanned<Vec<Text>> => "list", Says("those of `notify`"), r#"["192.0.2.53"]"#;
        /// As in `[zone]`.
        notify: Spanned<Vec<Text>> => "list of addresses", Is("[]"), r#"["127.0.0.1:53"]"#;
        /// As in `[zone]`.
        key: Text => "key", Unset, r#""sidecar""#;
    }
}

table! {
    /// What the system keeps the daemon from, beside the rights of its user: landlock on Linux, pledge
    /// and unveil on OpenBSD (docs/security.md).
    Confine at "[confine]" {
        /// Whether it is confined.
        enabled: bool => "true or false", Says("true, unless programs of your own are run, which would be confined too"), "false";
        /// More that may be read.
        read: Vec<Text> => "list of paths", Is("[]"), r#"["/srv/zones"]"#;
        /// More that may be written to.
        write: Vec<Text> => "list of paths", Is("[]"), r#"["/srv/zones/live"]"#;
    }
}
