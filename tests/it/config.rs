//! The configuration: every problem is one line with its place and the way out; the examples in
//! `conf/` are right.

use std::fs;
use std::path::{Path, PathBuf};

use nsd_failover::config::{Config, Serve};
use nsd_failover::failover::pool::{Preempt, Rotate};
use proptest::prelude::*;

const GOOD: &str = r#"
version = 1
listen = ["127.0.0.1:5353", "::1"]
http = "127.0.0.1:8053"

[nsd]
address = "127.0.0.1:5300"
relay = true

[node.fishfinger]
ipv4 = "192.0.2.10"
ipv6 = "2001:db8::10"

[node.blowfish]
ipv4 = "198.51.100.20"

[check.web]
http = "https://{node}/index.txt"
expect = "Welcome to {node}"
interval = "2s"

[pool.web]
nodes = ["fishfinger", "blowfish"]
checks = ["web"]
rotate = "weekly"

[zone."example.org"]
file = "example.org.zone"
pool = "web"
"#;

fn problems(text: &str) -> Vec<String> {
    match Config::parse(Path::new("c.toml"), text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_good_one_with_its_defaults() {
    let config = Config::parse(Path::new("/etc/x/c.toml"), GOOD).unwrap();
    assert_eq!(config.listen[1], "[::1]:53".parse().unwrap());
    assert_eq!(config.control, Path::new("/run/nsd-failover/control.sock"));
    let zone = &config.zones[0];
    assert_eq!(zone.file, Path::new("/etc/x/example.org.zone"), "relative to the configuration's folder");
    assert_eq!((zone.serve, zone.pool), (Serve::Overlay, Some(0)), "relay is on");
    assert_eq!(zone.export_file.as_ref(), Some(&zone.file), "there is an [nsd]");
    let check = &config.checks[0];
    assert_eq!((check.interval_ms, check.fast_interval_ms, check.timeout_ms), (2000, 1000, 2000));
    assert_eq!((check.rise, check.fall), (2, 3));
    let pool = &config.pools[0];
    assert_eq!(pool.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["fishfinger", "blowfish"]);
    assert_eq!((pool.rotate, pool.preempt), (Rotate::Weekly, Preempt::After(300_000)));
}

#[test]
fn serve_and_export_depend() {
    let serve = |text: &str| {
        let zone = Config::parse(Path::new("c.toml"), text).unwrap().zones.remove(0);
        (zone.serve, zone.export_file.is_some())
    };
    assert_eq!(serve(&GOOD.replace("relay = true", "relay = false")), (Serve::Zone, true));
    let listen = "listen = [\"127.0.0.1:5353\", \"::1\"]\n";
    assert_eq!(serve(&GOOD.replace(listen, "")), (Serve::Off, true));
    let nsd = "[nsd]\naddress = \"127.0.0.1:5300\"\nrelay = true\n";
    assert_eq!(serve(&GOOD.replace(nsd, "")), (Serve::Zone, false));
}

/// (what stands in the file instead of what, the one line it gives)
const BAD: &[(&str, &str, &str)] = &[
    ("version = 1", "version = 2", "c.toml:2:11: error: version 2 is not known; write `version = 1`"),
    ("http = \"127", "htpt = \"127", "c.toml:4:1: error: unknown key `htpt`; did you mean `http`?"),
    ("interval =", "intervall =", "c.toml:20:1: error: unknown key `intervall`; did you mean `interval`?"),
    ("relay = true", "relay = \"yes\"", "c.toml:8:9: error: invalid type: string \"yes\", expected a boolean"),
    ("192.0.2.10", "192.0.2.300", "c.toml:11:8: error: `192.0.2.300` is not an IPv4 address"),
    ("ipv4 = \"198.51.100.20\"", "", "c.toml:14:7: error: node `blowfish` has no address; give it ipv4, ipv6 or both"),
    (
        "\"::1\"]",
        "\"::1:x\"]",
        "c.toml:3:29: error: `::1:x` is no ADDRESS:PORT: write for example \"127.0.0.1:53\" or \"[::1]:53\"",
    ),
    (
        "\"blowfish\"]",
        "\"blowfihs\"]",
        "c.toml:23:24: error: node `blowfihs` is not configured; did you mean `blowfish`?",
    ),
    (
        "checks = [\"web\"]",
        "checks = [\"wbe\"]",
        "c.toml:24:11: error: check `wbe` is not configured; did you mean `web`?",
    ),
    ("pool = \"web\"", "pool = \"mail\"", "c.toml:29:8: error: pool `mail` is not configured; add [pool.\"mail\"]"),
    ("rotate = \"weekly\"", "rotate = \"daily\"", "c.toml:25:10: error: `daily` is none of \"weekly\", \"never\""),
    ("interval = \"2s\"", "interval = 2", "c.toml:20:12: error: invalid type: integer `2`, expected a string"),
    (
        "\"2s\"",
        "\"2 parsecs\"",
        "c.toml:20:12: error: `2 parsecs` is no duration: write for example \"500ms\", \"10s\", \"5m\", \"2h\" or \"1d\"",
    ),
    (
        "interval = \"2s\"",
        "timeout = \"11s\"",
        "c.toml:20:11: error: timeout is longer than the interval of 10000 ms; a probe must end before the next begins",
    ),
    ("https://{node}/", "ftp://{node}/", "c.toml:18:8: error: `ftp` is no scheme for http; write http:// or https://"),
    ("https://{node}/", "https://www.example.org/", ""),
    (
        "https://{node}/",
        "https://198.51.100.7/",
        "c.toml:18:8: error: the host is an address that is not the node's; write {node}, {ip} or a name as the host: the connection goes to the node",
    ),
    ("expect = ", "ca-file = ", "c.toml:19:11: error: Welcome to {node}: No such file or directory (os error 2)"),
    (
        "file = \"example.org.zone\"\n",
        "",
        "c.toml:27:7: error: zone example.org. has no file; write file = \"/path/to/zone\", or names = [\"www\", \"@\"] for a zone without a file",
    ),
    (
        "relay = true",
        "control = [\"nsd-control\"]\ncontrol-socket = \"/run/nsd.sock\"",
        "c.toml:9:18: error: control is set as well; keep one of control and control-socket",
    ),
    ("relay = true", "control = []", "c.toml:8:11: error: no program is named; write [\"nsd-control\"]"),
    (
        "relay = true",
        "verify = [\"::1:x\"]",
        "c.toml:8:11: error: `::1:x` is no ADDRESS:PORT: write for example \"127.0.0.1:53\" or \"[::1]:53\"",
    ),
    ("relay = true", "checkzone = []\nverify = [\"192.0.2.1\"]\nzonesdir = \"/etc/nsd\"", ""),
    (
        "\"example.org\"",
        "\"exa..mple\"",
        "c.toml:27:7: error: `exa..mple` is no zone name: empty label; write [zone.\"example.org\"]",
    ),
    (
        "pool = \"web\"\n",
        "pool = \"web\"\n[zone.\"EXAMPLE.org.\"]\nfile = \"x\"\n",
        "c.toml:27:7: error: zone EXAMPLE.org. is configured twice; remove one (a final dot or upper case makes no other zone)",
    ),
    ("relay = true", "", ""),
    (
        "ipv6 = \"2001:db8::10\"\n\n[node.blowfish]\nipv4 = \"198.51.100.20\"\n\n[check.web]\n",
        "\n[node.blowfish]\nipv4 = \"198.51.100.20\"\n\n[check.web]\nfamilies = [\"ipv6\"]\n",
        "c.toml:24:11: error: check `web` looks at nobody: no node of the pool has an ipv6 address; give the nodes one, or leave the check out",
    ),
];

#[test]
fn each_mistake_is_one_line() {
    for (from, to, expected) in BAD {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from} is not in the file");
        let got = problems(&text);
        let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(got, expected, "{from} -> {to}");
    }
}

/// A file that holds no certificates is no `ca-file`: found at `check`, not at the first probe.
#[test]
fn a_certificate_file_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let says = |text: &str| {
        fs::write(&file, text).unwrap();
        let config = GOOD.replace("expect = ", &format!("ca-file = \"{}\" #", file.display()));
        problems(&config)
    };
    let pem = |base64: &str| format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    for (text, why) in [
        (String::new(), "there is no certificate in it"),
        ("nonsense".to_owned(), "there is no certificate in it"),
        (pem("AAAA"), "what is in it is no certificate"),
        (pem("****"), ""),
    ] {
        let got = says(&text);
        assert_eq!(got.len(), 1, "{text}: {got:?}");
        assert!(got[0].starts_with("c.toml:19:11: error: ") && got[0].contains("ca.pem: no PEM file"), "{got:?}");
        assert!(got[0].contains(why) && got[0].ends_with("BEGIN CERTIFICATE lines"), "{got:?}");
    }
    assert_eq!(says(&crate::support::authority::Authority::new().ca_pem()), [""; 0]);
}

/// A hidden primary: (what stands in the zone's table or behind it, the one line it gives).
const TRANSFERS: &[(&str, &str)] = &[
    ("notify = [\"192.0.2.53\"]\nallow-transfer = [\"192.0.2.0/24 side\", \"side\", \"::/0\"]", ""),
    ("key = \"side\"\nnotify = [\"192.0.2.53:5353\", \"[2001:db8::53]:53 SIDE.\"]", ""),
    ("notify = [\"192.0.2.53\"]\n[catalog]\nzone = \"catalog.example\"\nnotify = [\"192.0.2.53\"]", ""),
    (
        "notify = [\"ns1\"]",
        "c.toml:8:11: error: `ns1` is no ADDRESS:PORT: write for example \"127.0.0.1:53\" or \"[::1]:53\"",
    ),
    ("notify = [\"192.0.2.53 sied\"]", "c.toml:8:11: error: key `sied` is not configured; did you mean `side`?"),
    ("notify = [\"192.0.2.53 side x\"]", "c.toml:8:11: error: `x` is one word too many: an address and a key are all"),
    (
        "allow-transfer = [\"192.0.2.1/24\"]",
        "c.toml:8:19: error: `192.0.2.1/24`: the address has bits behind its prefix; write an address, ADDRESS/BITS, the name of a key, or an address and a key",
    ),
    ("allow-transfer = [\"any\"]", "c.toml:8:19: error: key `any` is not configured; add [key.\"any\"]"),
    ("key = \"side\"", "c.toml:8:7: error: nothing is signed with this key; add allow-transfer or notify"),
    (
        "serve = \"off\"\nnotify = [\"192.0.2.53\"]",
        "c.toml:8:9: error: a transfer hands out the whole zone, and this serves less; write serve = \"zone\", or remove allow-transfer and notify",
    ),
    (
        "[key.two]",
        "c.toml:8:6: error: key two. has no secret-file; write secret-file = \"/path/to/secret\", with the secret in base64",
    ),
    (
        "[key.two]\nsecret-file = \"x\"\nalgorithm = \"hmac-md5\"",
        "c.toml:10:13: error: `hmac-md5` is none of \"hmac-sha256\", \"hmac-sha384\", \"hmac-sha512\", \"hmac-sha1\"",
    ),
    (
        "notify = [\"192.0.2.53\"]\n[catalog]\nzone = \"example.org.\"\nnotify = [\"192.0.2.53\"]",
        "c.toml:10:8: error: example.org. is a zone of its own; give the catalog a name of its own",
    ),
    (
        "[catalog]\nzone = \"catalog.example\"\nnotify = [\"192.0.2.53\"]",
        "c.toml:8:1: error: the catalog has no member; give a zone allow-transfer or notify",
    ),
];

#[test]
fn transfers_are_checked() {
    for (text, expected) in TRANSFERS {
        let text = format!(
            "version = 1\nlisten = [\"127.0.0.1:5353\"]\n\n[key.side]\nsecret-file = \"side.key\"\n[zone.\"example.org\"]\nfile = \"z\"\n{text}\n"
        );
        let expected: Vec<&str> = if expected.is_empty() { vec![] } else { vec![expected] };
        assert_eq!(problems(&text), expected, "{text}");
    }
    let nsd = GOOD.replace("pool = \"web\"\n", "pool = \"web\"\nnotify = [\"192.0.2.53\"]\n");
    let zone = Config::parse(Path::new("c.toml"), &nsd).unwrap().zones.remove(0);
    assert_eq!((zone.serve, zone.export_file), (Serve::Zone, None), "a relay and an [nsd] change nothing");
    let allow = zone.transfer.unwrap().allow;
    assert!(allow[0].lets("192.0.2.53".parse().unwrap(), None), "who is told may come");
    assert!(!allow[0].lets("192.0.2.54".parse().unwrap(), None));
}

/// Neither the start nor a reload may wait for somebody to write into it.
#[test]
fn a_key_that_is_a_fifo_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("side.key");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&secret).status().unwrap().success());
    let text = GOOD.replace("[zone.", "[key.side]\nsecret-file = \"side.key\"\n[zone.");
    let text = text.replace("pool = \"web\"\n", "pool = \"web\"\nallow-transfer = [\"side\"]\n");
    let key = Config::parse(&folder.path().join("c.toml"), &text).unwrap().keys.remove(0);
    let (told, tells) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(key.read_secret().err()));
    let wrong = tells.recv_timeout(std::time::Duration::from_secs(30)).expect("it does not wait").unwrap();
    assert!(wrong.contains("this is no file"), "{wrong}");
}

/// (the inside of `[check.web]`, the one line it gives). The table's name stands in line 19.
const CHECKS: &[(&str, &str)] = &[
    ("tls = \"{node}:443\"\nnames = \"pool\"\ncert-min-days = 7", ""),
    ("tls = \"{ip}:443\"\nnames = [\"foo.zone\", \"*.foo.zone\", \"{node}\"]", ""),
    ("tcp = \"{ip}:6379\"\nsend = \"PING\\r\\n\"\nexpect = \"+PONG\"", ""),
    ("gemini = \"gemini://{node}/\"\nstatus = [20, 30]\ninsecure = true", ""),
    ("smtp = \"{ip}:25\"\nstarttls = true", ""),
    ("dns = \"{ip}:53\"\nquery = \"example.org SOA\"\nserial-of = \"127.0.0.1\"", ""),
    ("dns = \"{ip}:53\"\nquery = \"nothing.example.org A\"\nrcode = \"nxdomain\"", ""),
    ("exec = [\"check_ping\", \"-H\", \"{ip}\"]", ""),
    ("file = \"/run/{node}.state\"\nmax-age = \"1m\"", ""),
    ("http = \"https://{node}/\"\nmethod = \"HEAD\"\nredirects = 3\nheaders = { Accept = \"text/*\" }", ""),
    ("http = \"https://{node}/\"\nexpect-regex = \"^(Welcome|Hello)\"", ""),
    (
        "interval = \"5s\"",
        "19:8: error: check `web` does not say what to test; give it http = \"https://{node}/\", or one of tls, tcp, gemini, smtp, dns, exec, file",
    ),
    (
        "http = \"https://{node}/\"\ntcp = \"{ip}:25\"",
        "21:7: error: check `web` has both http and tcp; make two checks of it: a pool can use many",
    ),
    (
        "tcp = \"{ip}:25\"\nstarttls = true",
        "21:12: error: `starttls` means nothing to a check with tcp; it belongs to smtp",
    ),
    (
        "tcp = \"mail.example.org:25\"",
        "20:7: error: `mail.example.org:25` does not name the node; write {ip} or {node} as the host: the connection goes to the node",
    ),
    ("smtp = \"{ip}\"", "20:8: error: `{ip}` has no port; write for example \"{ip}:25\""),
    ("smtp = \"{ip}:0\"", "20:8: error: `{ip}:0` has no port; write for example \"{ip}:25\""),
    ("tls = \"{node}:443\"\nnames = \"pol\"", "21:9: error: `pol` is no list of names; did you mean `pool`?"),
    (
        "tls = \"{node}:443\"\nnames = [\"foo zone\"]",
        "21:9: error: `foo zone` is no server name; write names = \"pool\" or names = [\"foo.zone\", \"www.foo.zone\"]",
    ),
    ("dns = \"{ip}:53\"", "19:8: error: check `web` does not say what to ask; give it query = \"example.org SOA\""),
    ("dns = \"{ip}:53\"\nquery = \"example.org SOAP\"", "21:9: error: `SOAP` is no record type"),
    (
        "dns = \"{ip}:53\"\nquery = \"example.org A\"\nserial-of = \"127.0.0.1:53\"",
        "22:13: error: serial-of needs the SOA; write query = \"ZONE SOA\"",
    ),
    (
        "dns = \"{ip}:53\"\nquery = \"example.org A\"\nrcode = \"OK\"",
        "22:9: error: `OK` is no rcode; write NOERROR, NXDOMAIN, REFUSED, ...",
    ),
    ("exec = []", "20:8: error: no program is named; write [\"/path/to/check_x\", \"-H\", \"{ip}\"]"),
    (
        "exec = [\"check_ping\"]",
        "20:8: error: the command names no node: all nodes would look alike; write {ip} or {node} where the plugin takes the host",
    ),
    (
        "http = \"https://{nod}/{ip}\"",
        "20:8: error: `{nod}` stands for nothing; write {node}, {ip} or {family}; a brace in a path as %7B and %7D",
    ),
    ("http = \"https://{node}/\"\nexpect-regex = \"a(b\"", "21:16: error: `a(b` is no pattern: unclosed group"),
    (
        "http = \"https://{node}/\"\nexpect-regex = \"(a{1000}){1000}\"",
        "21:16: error: `(a{1000}){1000}` is no pattern: Compiled regex exceeds size limit of 1048576 bytes.",
    ),
    (
        "http = \"https://{node}/\"\nexpect-regex = \"Welcome to {node}\"",
        "21:16: error: expect-regex knows no {node} and {ip}; use expect for them",
    ),
    (
        "http = \"https://{node}/\"\nheaders = { X-Evil = \"a\\r\\nb\" }",
        "21:22: error: the value of X-Evil cannot be sent: it has a line break or worse; write one line of plain text",
    ),
    (
        "http = \"https://{node}/\"\nheaders = { \"X Y\" = \"a\" }",
        "21:13: error: \"X Y\" is no header name; letters, digits and `-`",
    ),
    ("http = \"https://{node}/\"\nmethod = \"POST\"", "21:10: error: `POST` is none of \"GET\", \"HEAD\", \"OPTIONS\""),
    (
        "http = \"https://{node}/\"\nmethod = \"HEAD\"\nexpect = \"x\"",
        "22:10: error: `expect` needs a body, HEAD has none; use GET",
    ),
    ("http = \"https://{node}/\"\nredirects = 50", "21:13: error: 50 redirects are too many; write 0 to 10"),
    (
        "http = \"https://{node}/\"\nheaders = { X-Api-Key = { path = \"x\" } }",
        "21:25: error: this is neither a text nor a file; write NAME = \"text\" or NAME = { file = \"/path/to/secret\" }",
    ),
    (
        "http = \"https://{node}/\"\nheaders = { X-Api-Key = { file = \"/no/such/file\" } }",
        "21:25: error: /no/such/file: No such file or directory (os error 2)",
    ),
    (
        "tcp = \"{ip}:25\"\nexpect = \"\"",
        "21:10: error: an empty text is in every answer; write what must be there, or leave it out",
    ),
    ("dns = \"{ip}:53\"\nquery = \"example.org TXT\"\nexpect = \"\\\"v=spf1 -all\\\" {node}\"", ""),
    ("dns = \"{ip}:53\"\nquery = \"{node} AAAA\"\nexpect = \"{ip}\"\nfamilies = [\"ipv6\"]", ""),
    ("dns = \"{ip}:53\"\nquery = \"{node} A\"\nexpect = \"{ip}\"\nfamilies = [\"ipv4\"]", ""),
    (
        "dns = \"{ip}:53\"\nquery = \"{node} A\"\nexpect = \"{ip}\"",
        "19:8: error: check `web` cannot be made over ipv6: `{ip}` is no RDATA of type A: `2001:db8::1` is not an IPv4 address; write families = [\"ipv4\"], and for ipv6 a check of its own",
    ),
    (
        "dns = \"{ip}:53\"\nquery = \"{node} AAAA\"\nexpect = \"{ip}\"",
        "19:8: error: check `web` cannot be made over ipv4: `{ip}` is no RDATA of type AAAA: `192.0.2.1` is not an IPv6 address; write families = [\"ipv6\"], and for ipv4 a check of its own",
    ),
    (
        "dns = \"{ip}:53\"\nquery = \"{node} MX\"\nexpect = \"{ip}\"",
        "22:10: error: `{ip}` is no RDATA of type MX: `192.0.2.1` is not a preference (0 to 65535); write it as in a zone file, TXT in quotes",
    ),
    (
        "http = \"http://{ip}.example.org/\"",
        "19:8: error: check `web` cannot be made over ipv6: `http://{ip}.example.org/` is no URL: invalid IPv6 address; write families = [\"ipv4\"], and for ipv6 a check of its own",
    ),
    ("tls = \"{node}:443\"\nnames = [\"{family}.example.org\", \"{ip}\", \"*.{node}\"]", ""),
    (
        "tls = \"{node}:443\"\nnames = [\"{famly}.example.org\"]",
        "21:9: error: `{famly}.example.org` is no server name; write names = \"pool\" or names = [\"foo.zone\", \"www.foo.zone\"]",
    ),
    (
        "http = \"https://admin:s3cret@{node}/\"",
        "20:8: error: a login stands in the URL; write headers = { Authorization = { file = \"/path/to/secret\" } }: it is shown nowhere",
    ),
    ("gemini = \"gemini://admin@{node}/\"", "20:10: error: a login stands in the URL; remove it: Gemini has none"),
    (
        "dns = \"{ip}:53\"\nquery = \"example.org A\"\nexpect = \"192.0.2\"",
        "22:10: error: `192.0.2` is no RDATA of type A: `192.0.2` is not an IPv4 address; write it as in a zone file, TXT in quotes",
    ),
    ("gemini = \"https://{node}/\"", "20:10: error: `https` is no scheme for gemini; write gemini://"),
];

#[test]
fn each_kind_of_check_and_its_mistakes() {
    let (before, rest) = GOOD.split_once("[check.web]\n").unwrap();
    let after = &rest[rest.find("[pool.").unwrap()..];
    // `before` ends in line 16; two more, so that the table always stands in line 19.
    let before = format!("{before}\n\n");
    for (inside, expected) in CHECKS {
        let got = problems(&format!("{before}[check.web]\n{inside}\n{after}"));
        let expected: Vec<String> = expected.lines().map(|line| format!("c.toml:{line}")).collect();
        assert_eq!(got, expected, "{inside}");
    }
}

/// Over a family that no node has nothing is asked.
#[test]
fn a_check_is_tried_over_the_families_that_there_are() {
    let before = "http = \"https://{node}/index.txt\"\nexpect = \"Welcome to {node}\"";
    let text = GOOD.replace(before, "dns = \"{ip}:53\"\nquery = \"{node} A\"\nexpect = \"{ip}\"");
    assert_eq!(problems(&text).len(), 1);
    assert_eq!(problems(&text.replace("ipv6 = \"2001:db8::10\"\n", "")), [""; 0]);
}

/// What is right by itself, and cannot be aimed at a node that is called so; and anchors that are none.
#[test]
fn checks_that_do_not_fit_their_nodes() {
    let named = |name: &str, check: &str| {
        let before = "http = \"https://{node}/index.txt\"\nexpect = \"Welcome to {node}\"";
        let text = GOOD.replace("[node.fishfinger]", &format!("[node.\"{name}\"]")).replace(before, check);
        let found = problems(&text.replace("\"fishfinger\"", &format!("\"{name}\"")));
        found.into_iter().map(|line| line.split_once("error: ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    let hint = "name the node by its host name, or write a fixed name in the check";
    for (name, check, wrong) in [
        ("10", "http = \"http://{node}/\"", "the host is an address that is not the node's"),
        ("10", "tls = \"{node}:443\"", "`10` is no name of a server"),
        ("10.0", "smtp = \"{ip}:25\"\nstarttls = true", "`10.0` is no name of a server"),
        ("a..b", "dns = \"{ip}:53\"\nquery = \"{node} A\"", "`a..b` is no domain name: empty label"),
    ] {
        assert_eq!(named(name, check), [format!("check `web` cannot be aimed at node `{name}`: {wrong}; {hint}")]);
    }
    assert_eq!(named("10", "http = \"http://{ip}/\""), [""; 0]);
    for anchor in ["0.0.0.0:53", "9.9.9.9:0", "255.255.255.255:53", "[::]:53", "224.0.0.1:53"] {
        let text = GOOD.replace("[pool.web]\n", &format!("[pool.web]\nanchors = [\"{anchor}\"]\n"));
        let wanted = format!(
            "{anchor} is no server that could answer; name a server beyond your own network, as \"9.9.9.9:53\""
        );
        assert!(problems(&text)[0].ends_with(&wanted), "{:?}", problems(&text));
    }
}

#[test]
fn a_missing_file_and_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: PathBuf| Config::load(&path).unwrap_err().remove(0).to_string();
    let missing = folder.path().join("none.toml");
    assert_eq!(
        load(missing.clone()),
        format!(
            "{}: error: cannot read the configuration: No such file or directory (os error 2); name the file with --config FILE or NSD_FAILOVER_CONFIG",
            missing.display()
        )
    );
    assert!(load(folder.path().to_owned()).contains("cannot read the configuration: Is a directory"));
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, b"version = 1\n\xff").unwrap();
    assert_eq!(
        load(binary.clone()),
        format!("{}:2:1: error: not UTF-8 text; save the file as UTF-8", binary.display())
    );
}

#[test]
fn includes_are_merged_and_clashes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("conf.d")).unwrap();
    let (main, zones) = GOOD.split_at(GOOD.find("[zone.").unwrap());
    std::fs::write(path("main.toml"), format!("include = [\"conf.d/*.toml\"]\n{main}")).unwrap();
    std::fs::write(path("conf.d/zones.toml"), zones).unwrap();
    assert_eq!(Config::load(&path("main.toml")).unwrap().zones.len(), 1);

    std::fs::write(path("conf.d/more.toml"), "http = \"127.0.0.1:1\"\n[node.blowfish]\nipv4 = \"192.0.2.1\"\n")
        .unwrap();
    let problems = Config::load(&path("main.toml")).unwrap_err();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let more = path("conf.d/more.toml").display().to_string();
    let main = path("main.toml").display().to_string();
    assert_eq!(
        lines,
        [
            format!("{more}:2:7: error: node `blowfish` is also in {main}; remove one"),
            format!("{more}:1:8: error: this is also set in {main}; remove one"),
        ]
    );
}

#[test]
fn the_examples_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            let config = Config::load(&path).unwrap_or_else(|problems| panic!("{problems:#?}"));
            assert!(!config.zones.is_empty(), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "one for each placement, and only {seen} were found");
}

/// Every example of the manual, with the lines that are commented out, too, where they can stand.
#[test]
fn the_manual_s_checks_are_right() {
    let manual = include_str!("../../docs/checks.md");
    let (before, rest) = GOOD.split_once("[check.web]\n").unwrap();
    let after = &rest[rest.find("[pool.").unwrap()..];
    let blocks: Vec<&str> = manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 8, "one for each kind");
    for block in blocks {
        let name = block.split(['.', ']']).nth(1).unwrap();
        let text = format!("{before}{block}{}", after.replace("[\"web\"]", &format!("[\"{name}\"]")));
        assert_eq!(problems(&text), [""; 0], "{block}");
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_or_read(text in "\\PC{0,200}") {
        let _ = Config::parse(Path::new("c.toml"), &text);
    }

    /// A good file with a piece cut out or doubled: close enough to be half right.
    #[test]
    fn damaged_files_never_panic(start in 0..GOOD.len(), length in 0usize..80, double in any::<bool>()) {
        let end = (start + length).min(GOOD.len());
        let text = match double {
            true => format!("{}{}", &GOOD[..end], &GOOD[start..]),
            false => format!("{}{}", &GOOD[..start], &GOOD[end..]),
        };
        for problem in problems(&text) {
            prop_assert!(!problem.contains('\n'));
        }
    }
}

const DECLARED: &str = "
listen = [\"192.0.2.53:53\", \"[2001:db8::53]:53\"]
[node.a]
ipv4 = \"192.0.2.10\"
[node.b]
ipv4 = \"192.0.2.20\"
ipv6 = \"2001:db8::20\"
[pool.web]
nodes = [\"a\", \"b\"]
[zone.\"fo.example.org\"]
pool = \"web\"
names = [\"www\", \"@\"]
";

#[test]
fn a_zone_that_the_configuration_declares() {
    let text = |config: &str| {
        let zone = Config::parse(Path::new("c.toml"), config).unwrap().zones.remove(0);
        assert_eq!((zone.serve, zone.export_file), (Serve::Zone, None));
        zone.text.unwrap().to_string()
    };
    let expected = "\
; Made from c.toml
$ORIGIN fo.example.org.
fo.example.org. 3600 IN SOA ns.fo.example.org. hostmaster.fo.example.org. 1 3600 600 1209600 60
fo.example.org. 3600 IN NS ns.fo.example.org.
ns.fo.example.org. 3600 IN A 192.0.2.53
ns.fo.example.org. 3600 IN AAAA 2001:db8::53
fo.example.org. 60 IN A 192.0.2.10 ; Enable failover
fo.example.org. 60 IN AAAA 2001:db8::20 ; Enable failover
www.fo.example.org. 60 IN A 192.0.2.10 ; Enable failover
www.fo.example.org. 60 IN AAAA 2001:db8::20 ; Enable failover
";
    assert_eq!(text(DECLARED), expected);
    let more =
        "ns = { ns1 = [\"192.0.2.1\"], \"ns.example.net.\" = [] }\nttl = \"30s\"\nhostmaster = \"dns.example.org.\"\n";
    let more = text(&format!("{DECLARED}{more}"));
    assert!(more.contains("SOA ns.example.net. dns.example.org. 1 "), "{more}");
    assert!(more.contains("fo.example.org. 3600 IN NS ns.example.net.\n") && !more.contains("\nns.example.net. "));
    assert!(more.contains("ns1.fo.example.org. 3600 IN A 192.0.2.1\n"));
    assert!(more.contains("www.fo.example.org. 30 IN A 192.0.2.10 ; Enable failover\n"));

    for (from, to, expected) in [
        ("pool = \"web\"\n", "", "c.toml:11:9: error: a declared zone needs a pool; write pool = \"NAME\""),
        (
            "\"@\"]",
            "\"www.fo.example.org.\"]",
            "c.toml:12:17: error: `www.fo.example.org.` is listed twice; remove one",
        ),
        ("\"@\"]", "\"x..y\"]", "c.toml:12:17: error: `x..y` is no domain name: empty label"),
        ("[\"www\", \"@\"]", "[]", "c.toml:12:9: error: no name is listed; write names = [\"www\", \"@\"]"),
        (
            "\"@\"]",
            "\"www.example.net.\"]",
            "c.toml:12:17: error: www.example.net. lies outside the zone fo.example.org.; leave out the final dot",
        ),
        (
            "192.0.2.53:53",
            "0.0.0.0:53",
            "c.toml:12:9: error: it is not known at which address the name servers of fo.example.org. answer; write ns = { ns1 = [\"ADDRESS\"] }",
        ),
        (
            "pool = \"web\"\n",
            "pool = \"web\"\nfile = \"x\"\n",
            "c.toml:10:7: error: zone fo.example.org. has a file and names; write file = \"/path/to/zone\", or names = [\"www\", \"@\"] for a zone without a file",
        ),
        (
            "\"@\"]",
            "\"@\"]\nns = { ns1 = [] }",
            "c.toml:13:8: error: ns1.fo.example.org. has no address; list at least one: it becomes glue",
        ),
    ] {
        let bad = DECLARED.replacen(from, to, 1);
        assert_eq!(problems(&bad), [expected], "{from} -> {to}");
    }
}

/// Zones that are declared, and what is found or said for all of them.
#[test]
fn declared_zones_beside_found_ones() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("other.zone"), "$ORIGIN other.example.\n@ SOA a b 1 2 3 4 5\n").unwrap();
    fs::write(folder.path().join("fo.zone"), "$ORIGIN fo.example.org.\n@ SOA a b 1 2 3 4 5\n").unwrap();
    let top = |pattern: &str| format!("zone-files = \"{}\"\n", folder.path().join(pattern).display());
    let nsd = "[nsd]\naddress = \"127.0.0.1\"\nzonesdir = \"/var/nsd/zones\"\n";
    let defaults = "[zone-defaults]\npool = \"web\"\nexport = \"file\"\n";
    let declared = DECLARED.replacen("pool = \"web\"\n", "", 1);
    let text = format!("{}{declared}{defaults}{nsd}", top("other.*"));
    let zones = Config::parse(Path::new("c.toml"), &text).unwrap().zones;
    assert_eq!(zones.len(), 2);
    assert!(zones[0].text.as_ref().unwrap().contains("192.0.2.10 ; Enable failover"), "the pool of the defaults");
    assert_eq!(zones[0].export_file, None, "a default is for the zones that have a file");
    assert_eq!(zones[1].text, None);
    assert_eq!(zones[1].export_file, Some(folder.path().join("other.zone")));
    assert_eq!(zones[1].include_dir, Path::new("/var/nsd/zones"));

    let both = problems(&format!("{}{DECLARED}", top("fo.*")));
    let expected = format!("zone fo.example.org. has names, and a file ({})", folder.path().join("fo.zone").display());
    assert!(both.len() == 1 && both[0].contains(&expected), "{both:?}");
    let everywhere = problems(&format!("{DECLARED}[zone-defaults]\nttl = \"30s\"\n"));
    assert!(everywhere[0].ends_with("only a zone that is declared has this; write it in [zone.\"NAME\"]"));
}
