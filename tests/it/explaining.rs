//! `explain`, `probe`, `plan` and `replay`: the verbs that answer "why" and "what if".

use std::fs;
use std::path::Path;
use std::process::Output;

use super::support::daemon::{Daemon, program, wait_for};
use super::support::host::{Behaviour, Host};

const ZONE: &str = "\
$TTL 1h
@ IN SOA ns hostmaster 1 1h 30m 7d 5m
  IN NS ns
ns IN A 192.0.2.1
www 300 IN A 127.0.0.1 ; Enable failover
standby 300 IN A 127.0.0.2 ; Enable failover
";

fn config(port: u16, fall: u32) -> String {
    format!(
        r#"
[node.fishfinger]
ipv4 = "127.0.0.1"
[node.blowfish]
ipv4 = "127.0.0.2"
[check.web]
http = "http://{{node}}:{port}/index.txt"
expect = "Welcome to {{node}}"
interval = "300ms"
fast-interval = "50ms"
fall = {fall}
[pool.web]
nodes = ["fishfinger", "blowfish"]
checks = ["web"]
ttl-min = "5s"
[zone."example.org"]
file = "example.org.zone"
pool = "web"
"#
    )
}

/// Both hosts at the same port.
fn hosts() -> (Host, Host) {
    let first = Host::http("127.0.0.1:0", "fishfinger");
    let second = Host::http(&format!("127.0.0.2:{}", first.port()), "blowfish");
    (first, second)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    program(&folder.join("nsd-failover.toml")).args(arguments).output().unwrap()
}

#[track_caller]
fn says(output: &Output, code: i32, parts: &[&str]) -> String {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    text
}

#[test]
fn why_and_what_if() {
    let (first, _second) = hosts();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("example.org.zone"), ZONE).unwrap();
    let mut daemon = Daemon::start(folder.path(), &config(first.port(), 3));
    wait_for("the first round", || daemon.status()["ready"].as_bool().filter(|ready| *ready));
    let calm = daemon.verb(&["explain", "web"]);
    says(
        &calm,
        0,
        &[
            "primary        fishfinger",
            "fishfinger ipv4 web: up",
            "L7OK",
            "if fishfinger goes down: blowfish becomes primary over ipv4 [failover]",
            "if blowfish goes down: nothing moves [steady]",
            "TTL            at most 5 s",
        ],
    );
    first.behave(Behaviour::WrongBody);
    wait_for("the failover", || {
        let status = daemon.status();
        (status["pools"][0]["families"][0]["primary"] == "blowfish").then_some(())
    });
    says(
        &daemon.verb(&["explain", "web"]),
        0,
        &[
            "primary        blowfish",
            "probes that led to it\n  fishfinger ipv4 web: L7RSP",
            "L7RSP    3 times",
            "if fishfinger is up again: after preempt = 5m, fishfinger becomes primary over ipv4 [preempt]",
            "if blowfish goes down: nothing moves [all-down-keep]",
        ],
    );
    let json: serde_json::Value = serde_json::from_slice(&daemon.verb(&["explain", "web", "--json"]).stdout).unwrap();
    assert_eq!(json["pool"]["rule"], "failover");
    says(&daemon.verb(&["explain", "wbe"]), 2, &["pool `wbe` is not configured"]);

    // The same record through other thresholds: with fall = 1000 nothing would have moved.
    assert!(daemon.stop().success());
    let record = folder.path().join("state/probes.jsonl");
    let record = record.to_str().unwrap();
    says(&run(folder.path(), &["replay", "--log", record]), 0, &["\n= 20", "web ipv4: fishfinger -> blowfish"]);
    let text = fs::read_to_string(folder.path().join("nsd-failover.toml")).unwrap();
    fs::write(folder.path().join("nsd-failover.toml"), text.replace("fall = 3", "fall = 1000")).unwrap();
    let other = says(&run(folder.path(), &["replay", "--log", record]), 0, &["\n- 20", "of 2 targets"]);
    assert!(!other.contains("\n+ 20") && !other.contains("\n= 20"), "{other}");
    says(&run(folder.path(), &["replay", "--log", "/no/such/file"]), 2, &["name the daemon's probes.jsonl"]);
}

#[test]
fn a_probe_step_by_step_and_a_plan() {
    let (first, second) = hosts();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("example.org.zone"), ZONE).unwrap();
    let text = format!("control = \"control.sock\"\nstate-dir = \"state\"\n{}", config(first.port(), 2));
    fs::write(folder.path().join("nsd-failover.toml"), text).unwrap();
    let run = |arguments: &[&str]| run(folder.path(), arguments);
    says(
        &run(&["probe", "fishfinger"]),
        0,
        &["fishfinger web http, ipv4 127.0.0.1", "connected", "good: L7OK HTTP 200"],
    );
    says(&run(&["plan"]), 0, &["pool web: stays fishfinger"]);
    first.behave(Behaviour::Status(500));
    says(&run(&["probe", "fishfinger", "web"]), 1, &["bad: L7STS HTTP 500", "1 probes were not good"]);
    says(&run(&["probe", "fishfinger", "wbe"]), 2, &["no pool looks at fishfinger with `wbe`; it has web"]);
    says(&run(&["probe", "nobody"]), 2, &["no pool with checks has a node `nobody`; there are blowfish, fishfinger"]);
    let plan = says(
        &run(&["plan"]),
        0,
        &[
            "! pool web: fishfinger -> blowfish: fishfinger is down over ipv4 (web: L7STS HTTP 500",
            "-www 300 IN A 127.0.0.1 ; Enable failover\n+www 300 IN A 127.0.0.2 ; Enable failover",
        ],
    );
    assert!(!plan.contains("-ns IN"), "{plan}");
    assert_eq!(fs::read_to_string(folder.path().join("example.org.zone")).unwrap(), ZONE, "nothing is changed");
    assert!(!folder.path().join("state").exists());
    second.behave(Behaviour::Status(500));
    says(&run(&["plan"]), 0, &["pool web: stays fishfinger: nobody is up"]);
}
