//! The whole program with real nsd, real dig and HTTPS hosts: the first user's zones, a host that
//! dies, and what everybody must see then.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::support::authority::Authority;
use super::support::daemon::{Daemon, address, wait_for};
use super::support::host::Host;
use super::support::nsd::{Nsd, dig, free_address};

const FOO: &str = include_str!("../data/reference/foo.zone.zone");
const BUETOW: &str = include_str!("../data/reference/buetow.org.zone");
const FISHFINGER: &str = "127.0.0.11";
const BLOWFISH: &str = "127.0.0.12";

/// The reference zone with loopback addresses in place of the real IPv4 ones. IPv6 stays: it is
/// answered, never connected to.
fn on_loopback(zone: &str) -> String {
    zone.replace("46.23.94.99", FISHFINGER).replace("23.88.35.144", BLOWFISH)
}

/// The same zone with the two roles exchanged in the tagged lines and another serial: what an
/// export has to write, made by plain text replacement.
fn exchanged(zone: &str, serial: u32) -> String {
    let swap = |line: &str, a: &str, b: &str| line.replace(a, "\0").replace(b, a).replace('\0', b);
    let line = |line: &str| match line.contains("Enable failover") {
        true => swap(&swap(line, FISHFINGER, BLOWFISH), "2a03:6000:6f67:624::99", "2a01:4f8:c17:20f1::42"),
        false => line.replace("1711829573", &serial.to_string()),
    };
    zone.split_inclusive('\n').map(line).collect()
}

/// Every tagged A name of the reference zones with whether it follows the standby.
const TAGGED: &[(&str, bool)] = &[
    ("foo.zone", false),
    ("www.foo.zone", false),
    ("standby.foo.zone", true),
    ("buetow.org", false),
    ("www.buetow.org", false),
    ("standby.buetow.org", true),
    ("paul.buetow.org", false),
    ("www.paul.buetow.org", false),
    ("standby.paul.buetow.org", true),
];

struct Site {
    daemon: Daemon,
    nsd: Nsd,
    fishfinger: Host,
    blowfish: Host,
    sidecar: SocketAddr,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Site {
        Site::start_with(|nsd| (nsd.control_argv(), nsd.checkzone_argv()))
    }

    /// `tools` gives `nsd-control` and `nsd-checkzone`, each with arguments.
    fn start_with(tools: impl Fn(&Nsd) -> (Vec<String>, Vec<String>)) -> Site {
        Site::start_as(&[], tools)
    }

    /// With more arguments for `run`.
    fn start_as(arguments: &[&'static str], tools: impl Fn(&Nsd) -> (Vec<String>, Vec<String>)) -> Site {
        let zones = [("foo.zone", on_loopback(FOO)), ("buetow.org", on_loopback(BUETOW))];
        let nsd = Nsd::start(&zones.each_ref().map(|(origin, text)| (*origin, text.as_bytes())));
        let authority = Authority::new();
        let fishfinger = Host::https(&format!("{FISHFINGER}:0"), "fishfinger.buetow.org", &authority);
        let port = fishfinger.port();
        let blowfish = Host::https(&format!("{BLOWFISH}:{port}"), "blowfish.buetow.org", &authority);
        let folder = tempfile::tempdir().unwrap();
        let ca = authority.write_ca(folder.path());
        let sidecar = free_address();
        let (control, checkzone) = tools(&nsd);
        let config = format!(
            r#"
            listen = ["{sidecar}"]
            [nsd]
            address = "{nsd}"
            relay = true
            control = {control:?}
            checkzone = {checkzone:?}
            [node."fishfinger.buetow.org"]
            ipv4 = "{FISHFINGER}"
            ipv6 = "2a03:6000:6f67:624::99"
            [node."blowfish.buetow.org"]
            ipv4 = "{BLOWFISH}"
            ipv6 = "2a01:4f8:c17:20f1::42"
            [check.web]
            http = "https://{{node}}/index.txt"
            expect = "Welcome to {{node}}"
            port = {port}
            ca-file = "{ca}"
            families = ["ipv4"]
            interval = "500ms"
            fast-interval = "200ms"
            rise = 2
            fall = 3
            [pool.web]
            nodes = ["fishfinger.buetow.org", "blowfish.buetow.org"]
            checks = ["web"]
            preempt = "2s"
            [zone."foo.zone"]
            file = "{foo}"
            pool = "web"
            [zone."buetow.org"]
            file = "{buetow}"
            pool = "web"
            "#,
            nsd = nsd.address(),
            ca = ca.display(),
            foo = nsd.zone_path("foo.zone").display(),
            buetow = nsd.zone_path("buetow.org").display(),
        );
        let daemon = Daemon::start_with(folder.path(), &config, arguments);
        let site = Site { daemon, nsd, fishfinger, blowfish, sidecar, folder };
        wait_for("first round of probes", || (site.daemon.status()["ready"] == true).then_some(()));
        site
    }

    fn zone_file(&self, origin: &str) -> String {
        fs::read_to_string(self.nsd.zone_path(origin)).unwrap()
    }

    /// Each tagged name of both zones, and both families, as this server answers.
    fn assert_primary(&self, server: SocketAddr, fishfinger_is_primary: bool) {
        for (name, follows_standby) in TAGGED {
            let (ipv4, ipv6) = match fishfinger_is_primary != *follows_standby {
                true => (FISHFINGER, "2a03:6000:6f67:624::99"),
                false => (BLOWFISH, "2a01:4f8:c17:20f1::42"),
            };
            assert_eq!(address(server, name, "A").as_deref(), Some(ipv4), "{name} A at {server}");
            assert_eq!(address(server, name, "AAAA").as_deref(), Some(ipv6), "{name} AAAA at {server}");
        }
    }

    fn wait_for_address(&self, server: SocketAddr, wanted: &str) {
        wait_for(wanted, || (address(server, "www.foo.zone", "A").as_deref() == Some(wanted)).then_some(()));
    }

    /// Waits until nsd serves both zones as decided, and gives their serials.
    fn wait_for_nsd(&self, wanted: &str) -> [u32; 2] {
        for name in ["www.foo.zone", "www.buetow.org"] {
            wait_for(wanted, || (address(self.nsd.address(), name, "A").as_deref() == Some(wanted)).then_some(()));
        }
        ["foo.zone", "buetow.org"].map(|origin| self.nsd.serial(origin).unwrap())
    }
}

/// The main journey of the first user.
#[test]
fn the_reference_zones_fail_over_and_come_back() {
    let mut site = Site::start();
    site.assert_primary(site.sidecar, true);
    site.assert_primary(site.nsd.address(), true);
    let relayed = dig(site.sidecar, &["foo.zone", "MX", "+short"]);
    assert_eq!(relayed, ["10 fishfinger.buetow.org.", "20 blowfish.buetow.org."], "what is not ours comes from nsd");
    let over_tcp = dig(site.sidecar, &["_dmarc.buetow.org", "TXT", "+short", "+tcp"]);
    assert_eq!(over_tcp, ["\"v=DMARC1; p=none; rua=mailto:postmaster@buetow.org\""]);

    site.fishfinger.stop();
    let died = Instant::now();
    site.wait_for_address(site.sidecar, BLOWFISH);
    // The last good probe may be an interval old; then three failures, a fast interval apart, with jitter.
    assert!(died.elapsed() < Duration::from_secs(3), "took {:?}", died.elapsed());
    site.assert_primary(site.sidecar, false);
    let [foo, buetow] = site.wait_for_nsd(BLOWFISH);
    site.assert_primary(site.nsd.address(), false);
    assert!(foo > 1_711_829_573 && buetow > 1_711_829_573, "{foo} {buetow}");
    assert_eq!(site.zone_file("foo.zone"), exchanged(&on_loopback(FOO), foo));
    assert_eq!(site.zone_file("buetow.org"), exchanged(&on_loopback(BUETOW), buetow));
    let log = site.daemon.log();
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains("fishfinger.buetow.org -> blowfish.buetow.org")).collect();
    assert_eq!(told.len(), 1, "one clear line:\n{log}");
    assert!(told[0].contains("L4CON") && told[0].contains("3/3 failures"), "with its reason: {}", told[0]);

    site.fishfinger.start();
    site.wait_for_address(site.sidecar, FISHFINGER);
    let [foo_back, _] = site.wait_for_nsd(FISHFINGER);
    assert!(foo_back > foo);
    let original = on_loopback(FOO).replace("1711829573", &foo_back.to_string());
    assert_eq!(site.zone_file("foo.zone"), original, "as it was, but for the serial");
    assert_eq!(site.daemon.stop().code(), Some(0));
}

#[test]
fn nothing_moves_to_a_dead_standby() {
    let mut site = Site::start();
    let before = site.zone_file("foo.zone");
    site.blowfish.stop();
    let down = |site: &Site, node: &str| {
        let status = site.daemon.status();
        let nodes = status["nodes"].as_array().unwrap();
        let found = nodes.iter().find(|found| found["name"] == node).unwrap();
        (found["checks"][0]["verdict"] == "down").then_some(())
    };
    wait_for("blowfish to be down", || down(&site, "blowfish.buetow.org"));
    site.fishfinger.stop();
    wait_for("fishfinger to be down", || down(&site, "fishfinger.buetow.org"));
    site.assert_primary(site.sidecar, true);
    assert_eq!(site.zone_file("foo.zone"), before);
    assert!(site.daemon.status()["pools"][0]["rule"].as_str().unwrap().starts_with("all-down"));

    // The first that comes back takes over.
    site.blowfish.start();
    site.wait_for_address(site.sidecar, BLOWFISH);
}

/// nsd-checkzone says no: the answer moves, the file is never touched, and it is told.
#[test]
fn a_refused_export_leaves_the_file_alone() {
    let mut site = Site::start_with(|nsd| (nsd.control_argv(), vec!["false".to_owned()]));
    let before = site.zone_file("foo.zone");
    site.fishfinger.stop();
    site.wait_for_address(site.sidecar, BLOWFISH);
    let refused = wait_for("refused export", || {
        let log = site.daemon.log();
        log.lines().find(|line| line.contains("foo.zone. export refused")).map(str::to_owned)
    });
    assert!(refused.contains("ERROR"), "{refused}");
    assert_eq!(site.zone_file("foo.zone"), before);
    assert_eq!(address(site.nsd.address(), "www.foo.zone", "A").as_deref(), Some(FISHFINGER));
}

/// `ok` means served: by the time the verb returns, nsd answers the same.
#[test]
fn switch_returns_when_it_is_served() {
    let mut site = Site::start();
    let done = site.daemon.verb(&["switch", "web", "blowfish.buetow.org", "--reason", "kernel update"]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    site.assert_primary(site.sidecar, false);
    site.assert_primary(site.nsd.address(), false);
    let hold = &site.daemon.status()["pools"][0]["hold"];
    assert_eq!(hold["reason"], "kernel update");
    for (node, name, exit) in [
        ("blowfish.buetow.org", "www.foo.zone", 0),
        ("fishfinger.buetow.org", "www.foo.zone", 1),
        ("fishfinger.buetow.org", "standby.paul.buetow.org", 0),
        ("fishfinger.buetow.org", "github.buetow.org", 2),
        ("fishfinger.buetow.org", "www.example.net", 2),
    ] {
        let output = site.daemon.verb(&["is-primary", node, name]);
        assert_eq!(output.status.code(), Some(exit), "{node} {name}: {}", String::from_utf8_lossy(&output.stderr));
    }

    // The order outlives the process, and the decision does.
    site.daemon.kill();
    site.daemon.start_again();
    wait_for("first round of probes", || (site.daemon.status()["ready"] == true).then_some(()));
    site.assert_primary(site.sidecar, false);
    assert_eq!(site.daemon.status()["pools"][0]["hold"]["reason"], "kernel update");

    assert_eq!(site.daemon.verb(&["release", "web"]).status.code(), Some(0));
    site.wait_for_address(site.sidecar, FISHFINGER);
    let unknown = site.daemon.verb(&["switch", "web", "blowfihs"]);
    assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
    let log = String::from_utf8(site.daemon.verb(&["log", "-n", "50"]).stdout).unwrap();
    assert!(log.contains("switch web blowfish.buetow.org (kernel update)"), "{log}");
    assert_eq!(site.daemon.stop().code(), Some(0));
    assert_eq!(site.daemon.verb(&["status"]).status.code(), Some(3), "nobody answers");
}

/// A reload with one bad zone keeps all the old ones; a mended one is taken.
#[test]
fn a_bad_reload_changes_nothing() {
    let site = Site::start();
    let path = site.nsd.zone_path("buetow.org");
    let good = site.zone_file("buetow.org");
    fs::write(&path, good.replace("github   86400 IN CNAME", "github   86400 IN CNAMED")).unwrap();
    let refused = site.daemon.verb(&["reload"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("buetow.org.zone:37:19: error: "), "file, line and column: {words}");
    site.assert_primary(site.sidecar, true);

    fs::write(&path, good.replace("standby.paul  300", "backup.paul  300")).unwrap();
    site.daemon.hangup();
    wait_for("the new zone", || {
        // Its name follows the primary: it no longer says standby.
        (address(site.sidecar, "backup.paul.buetow.org", "A").as_deref() == Some(FISHFINGER)).then_some(())
    });
}

/// In shadow nothing is published, and the log says where the file and our own decision differ.
#[test]
fn a_shadow_decides_and_publishes_nothing() {
    let mut site = Site::start_as(&["--shadow"], |nsd| (nsd.control_argv(), nsd.checkzone_argv()));
    let before = site.zone_file("foo.zone");
    std::net::UdpSocket::bind(site.sidecar).expect("nobody listens for DNS");
    site.fishfinger.stop();
    let told = wait_for("the difference", || {
        let log = site.daemon.log();
        log.lines().find(|line| line.contains("shadow: foo.zone.")).map(str::to_owned)
    });
    assert!(told.contains(&format!("the file says `300 IN A {FISHFINGER} ; Enable failover`")), "{told}");
    assert!(told.contains(&format!("we would say `300 IN A {BLOWFISH} ; Enable failover` (and 5 more)")), "{told}");
    assert_eq!(site.zone_file("foo.zone"), before);
    assert_eq!(address(site.nsd.address(), "www.foo.zone", "A").as_deref(), Some(FISHFINGER));

    // Somebody else moves the file: we agree again.
    let moved = exchanged(&before, 1_711_829_574);
    fs::write(site.nsd.zone_path("foo.zone"), moved).unwrap();
    wait_for("agreement", || {
        site.daemon.log().contains("shadow: foo.zone. the file and our decision agree again").then_some(())
    });
}

/// What a shadow has decided is said to be a shadow's, wherever one looks; it takes no orders, tells
/// nobody, and the `run` after it starts as if it had never been.
#[test]
fn a_shadow_is_known_as_one_and_leaves_nothing_behind() {
    let mut site = Site::start_as(&["--shadow"], |nsd| (nsd.control_argv(), nsd.checkzone_argv()));
    let told = site.folder.path().join("told");
    let file = site.folder.path().join("nsd-failover.toml");
    let notify = format!("\n[notify.hook]\nexec = [\"sh\", \"-c\", \"cat >> {}\"]\n", told.display());
    fs::write(&file, fs::read_to_string(&file).unwrap() + &notify).unwrap();
    assert!(site.daemon.verb(&["reload"]).status.success(), "a shadow may be reloaded");
    let before = site.zone_file("foo.zone");
    site.fishfinger.stop();
    let primary = |site: &Site| site.daemon.status()["pools"][0]["families"][0]["primary"].clone();
    wait_for("the shadow's move", || (primary(&site) == "blowfish.buetow.org").then_some(()));

    let said = |site: &Site, words: &[&str]| {
        let output = site.daemon.verb(words);
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    assert_eq!(site.daemon.status()["shadow"], true);
    assert!(said(&site, &["status"]).1.lines().nth(2).unwrap().starts_with("! warning   in shadow: "));
    let (code, line) = said(&site, &["status", "--nagios"]);
    assert!(code == Some(1) && line.contains("WARNING - in shadow: "), "{line}");
    assert!(
        site.daemon.metrics().contains("\nnsd_failover_shadow 1\n")
            || site.daemon.metrics().contains("\nnsd_failover_shadow 1.0\n")
    );
    let (_, log) = said(&site, &["log"]);
    assert!(log.contains("  shadow: web ipv4+ipv6: fishfinger.buetow.org -> blowfish.buetow.org: "), "{log}");
    assert!(site.daemon.log().contains("WARN shadow: web ipv4+ipv6: "), "{}", site.daemon.log());
    for words in [
        &["switch", "web", "fishfinger.buetow.org"][..],
        &["hold", "web"],
        &["drain", "fishfinger.buetow.org"],
        &["export"],
        &["rollback", "foo.zone"],
        &["generations", "foo.zone"],
    ] {
        let (code, line) = said(&site, words);
        assert!(code == Some(2) && line.starts_with("the daemon is in shadow (`run --shadow`)"), "{words:?}: {line}");
    }
    let (code, line) = said(&site, &["is-primary", "blowfish.buetow.org", "www.foo.zone"]);
    assert!(code == Some(3) && line.starts_with("the daemon is in shadow"), "{code:?}: {line}");
    assert_eq!(said(&site, &["explain", "web"]).0, Some(0));

    // The next `run` hears nothing of that: not when it starts, and not after its own round of probes.
    assert_eq!(site.daemon.stop().code(), Some(0));
    assert!(!told.exists(), "a shadow notifies nobody");
    assert!(!site.folder.path().join("state/state.json").exists());
    site.fishfinger.start();
    site.daemon.start_again_with(&[]);
    wait_for("the first decision", || (site.daemon.status()["ready"] == true).then_some(()));
    assert_eq!((primary(&site), &site.daemon.status()["shadow"]), ("fishfinger.buetow.org".into(), &false.into()));
    assert_eq!(site.daemon.status()["generation"], 1, "nothing but what was found has been decided");
    assert_eq!(site.zone_file("foo.zone"), before);
    let (_, log) = said(&site, &["log"]);
    assert!(!log.contains("shadow") && !log.contains("->") && !log.contains("export"), "{log}");
}
