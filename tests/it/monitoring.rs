//! What monitoring sees: metrics that promtool accepts, alerts that fire when they should, a
//! dashboard that asks for what there is, and a Nagios plugin.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use nsd_failover::config::Config;

use crate::support::daemon::{Daemon, program, wait_for};
use crate::support::host::Host;
use crate::support::nsd::free_address;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(root()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed (Debian's prometheus)");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}\n{input}", String::from_utf8_lossy(&said));
}

struct Site {
    daemon: Daemon,
    hosts: [Host; 2],
    http: String,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Site {
        let fishfinger = Host::http("127.0.0.11:0", "fishfinger");
        let port = fishfinger.port();
        let blowfish = Host::http(&format!("127.0.0.12:{port}"), "blowfish");
        let folder = tempfile::tempdir().unwrap();
        let zone = "$TTL 1h\n@ IN SOA ns hostmaster 1 1h 30m 7d 5m\n IN NS ns\nns IN A 192.0.2.1\n\
                    www 300 IN A 127.0.0.11 ; Enable failover\n";
        fs::write(folder.path().join("zone"), zone).unwrap();
        let (dns, http) = (free_address(), free_address());
        let config = format!(
            r#"
            listen = ["{dns}"]
            http = "{http}"
            [node.fishfinger]
            ipv4 = "127.0.0.11"
            [node.blowfish]
            ipv4 = "127.0.0.12"
            [check.web]
            http = "http://{{node}}/index.txt"
            port = {port}
            interval = "500ms"
            fast-interval = "200ms"
            [pool.web]
            nodes = ["fishfinger", "blowfish"]
            checks = ["web"]
            [zone."example.org"]
            file = "zone"
            pool = "web"
            [notify.none]
            exec = ["true"]
            "#
        );
        let daemon = Daemon::start(folder.path(), &config);
        let site = Site { daemon, hosts: [fishfinger, blowfish], http: format!("http://{http}"), folder };
        wait_for("first round of probes", || (site.daemon.status()["ready"] == true).then_some(()));
        site
    }

    fn get(&self, path: &str, arguments: &[&str]) -> String {
        let url = format!("{}{path}", self.http);
        let output = Command::new("curl").args(["-sS", "--noproxy", "*"]).args(arguments).arg(&url).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// `status --nagios`: exit status and line.
    fn nagios(&self) -> (i32, String) {
        let output = self.daemon.verb(&["status", "--nagios"]);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }
}

/// Every name of ours in a text, as samples are named.
fn names(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("nsd_failover_").map(|(at, _)| &text[at..]);
    starts.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()).collect()
}

#[test]
fn metrics_alerts_and_dashboard_fit_together() {
    let site = Site::start();
    let text = site.get("/metrics", &[]);
    promtool(&["check", "metrics"], &text);
    let open = site.get("/metrics", &["-H", "Accept: application/openmetrics-text"]);
    assert!(open.ends_with("# EOF\n") && open.contains("# TYPE nsd_failover_dns_requests counter\n"), "{open}");
    let described: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect();
    let known = |name: &String| {
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        described.contains(family)
    };
    for file in ["conf/prometheus-alerts.yml", "conf/grafana-dashboard.json", "docs/monitoring.md"] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let unknown: Vec<String> = names(&text).into_iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{file} asks for what there is not: {unknown:?}");
    }
    // And all there is stands in the documentation.
    let documented = names(&fs::read_to_string(root().join("docs/monitoring.md")).unwrap());
    let forgotten: Vec<&String> = described.difference(&documented).collect();
    assert!(forgotten.is_empty(), "not in docs/monitoring.md: {forgotten:?}");
    let dashboard = fs::read_to_string(root().join("conf/grafana-dashboard.json")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&dashboard).unwrap()["panels"].is_array());
}

#[test]
fn alerts_fire_when_they_should() {
    promtool(&["check", "rules", "conf/prometheus-alerts.yml"], "");
    promtool(&["test", "rules", "tests/data/prometheus-alerts-test.yml"], "");
    // Each is explained.
    let docs = fs::read_to_string(root().join("docs/monitoring.md")).unwrap();
    let alerts = fs::read_to_string(root().join("conf/prometheus-alerts.yml")).unwrap();
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(docs.contains(&format!("`{name}`")), "{name} is not in docs/monitoring.md");
    }
}

#[test]
fn nagios_gets_a_line_in_every_case() {
    let mut site = Site::start();
    let (code, line) = site.nagios();
    assert_eq!(code, 0, "{line}");
    assert!(line.starts_with("NSD-FAILOVER OK - web: fishfinger | pools=1;;;0 pools_all_down=0;;0;0;1 checks_up=2"));
    assert_eq!(line.lines().count(), 1);
    site.hosts[1].stop();
    let (_, line) = wait_for("a warning", || Some(site.nagios()).filter(|(code, _)| *code == 1));
    assert!(line.starts_with("NSD-FAILOVER WARNING - blowfish: down: web over ipv4: L4CON"), "{line}");
    site.hosts[0].stop();
    let (_, line) = wait_for("critical", || Some(site.nagios()).filter(|(code, _)| *code == 2));
    assert!(line.starts_with("NSD-FAILOVER CRITICAL - web: nobody is up"), "{line}");
    site.daemon.stop();
    let (code, line) = site.nagios();
    assert!(code == 2 && line.starts_with("NSD-FAILOVER CRITICAL - no daemon answers at"), "{code} {line}");
    let output = program(&site.folder.path().join("missing.toml")).args(["status", "--nagios"]).output().unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(3) && line.starts_with("NSD-FAILOVER UNKNOWN - "), "{line}");
}

/// `/readyz` waits for the first round; `/healthz` does not.
#[test]
fn ready_is_not_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::http("127.0.0.11:0", "fishfinger");
    host.behave(crate::support::host::Behaviour::Silent);
    let http = free_address();
    let config = format!(
        "http = \"{http}\"\n[node.fishfinger]\nipv4 = \"127.0.0.11\"\n[check.web]\nhttp = \"http://{{node}}/\"\n\
         port = {}\ninterval = \"30s\"\n[pool.web]\nnodes = [\"fishfinger\"]\nchecks = [\"web\"]\n",
        host.port()
    );
    let _daemon = Daemon::start(folder.path(), &config);
    let code = |path: &str| {
        let url = format!("http://{http}{path}");
        let arguments = ["-s", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"];
        let output = Command::new("curl").args(arguments).arg(url).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!((code("/readyz"), code("/healthz")), ("503".to_owned(), "200".to_owned()));
}

/// The examples of the documentation are configurations; only their secrets are not there.
#[test]
fn the_examples_are_right() {
    let docs = fs::read_to_string(root().join("docs/notifications.md")).unwrap();
    let blocks: Vec<&str> = docs.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() > 3);
    for block in blocks {
        let problems = Config::parse(Path::new("/nowhere/example.toml"), block).err().unwrap_or_default();
        let wrong: Vec<String> =
            problems.iter().map(ToString::to_string).filter(|line| !line.contains("No such file")).collect();
        assert!(wrong.is_empty(), "{wrong:?} in\n{block}");
    }
}
