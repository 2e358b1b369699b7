//! `explain`, `probe`, `plan` and `replay`: the verbs that answer "why" and "what if".

use std::fs;
use std::path::Path;
use std::process::Output;

use super::support::authority::Authority;
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
            "if fishfinger goes down: blowfish becomes primary [failover]",
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
            "if fishfinger is up again: after preempt = 5m, fishfinger becomes primary [preempt]",
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
    let json = run(folder.path(), &["replay", "--log", record, "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        (&json["moves"][0]["which"], &json["moves"][0]["transition"]["to"]),
        (&"recorded".into(), &"blowfish".into())
    );
    assert!(json["targets"] == 2 && json["probes"].as_u64() > Some(4), "{json}");
    says(&run(folder.path(), &["replay", "--log", "/no/such/file"]), 2, &["name the daemon's probes.jsonl"]);
}

/// What happened just now, while the daemon goes on: with the same configuration it is what it was, the
/// orders too, and without any other file.
#[test]
fn a_replay_of_a_running_daemon_with_orders() {
    let (_first, mut second) = hosts();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("example.org.zone"), ZONE).unwrap();
    let daemon = Daemon::start(folder.path(), &config(second.port(), 3));
    wait_for("first round", || (daemon.status()["ready"] == true).then_some(()));
    let primary = || daemon.status()["pools"][0]["families"][0]["primary"].clone();
    says(&daemon.verb(&["switch", "web", "blowfish", "--reason", "a try"]), 0, &["served"]);
    says(&daemon.verb(&["release", "web"]), 0, &[]);
    second.stop();
    wait_for("failover", || (primary() == "fishfinger").then_some(()));
    fs::remove_file(folder.path().join("state/log.jsonl")).unwrap();
    let record = folder.path().join("state/probes.jsonl");
    // The record is written beside the loop.
    let is_there = || fs::read_to_string(&record).ok().filter(|text| text.contains("\"rule\":\"failover\""));
    wait_for("record of it", is_there);
    let told = says(&run(folder.path(), &["replay", "--log", record.to_str().unwrap()]), 0, &[]);
    let moves: Vec<&str> = told.lines().filter(|line| line.contains(" -> ")).collect();
    assert!(moves.len() == 2 && moves.iter().all(|line| line.starts_with("= ")), "{told}");
    assert!(moves[0].contains("fishfinger -> blowfish: the operator holds blowfish (a try)"), "{told}");
    assert!(moves[1].contains("[failover, generation "), "{told}");
    assert!(!told.contains("\n!"), "{told}");
    // A record of nobody knows what is told, or refused.
    let text = fs::read_to_string(&record).unwrap();
    let without: String =
        text.lines().filter(|line| !line.starts_with("{\"start\"")).map(|line| format!("{line}\n")).collect();
    let other = folder.path().join("other.jsonl");
    fs::write(&other, &without).unwrap();
    let other = other.to_str().unwrap();
    says(
        &run(folder.path(), &["replay", "--log", other]),
        0,
        &["\n! it does not say how everything stood at its start"],
    );
    fs::write(other, "{\"check\":\"web\",\"node\":\"a\",\"family\":\"ipv4\",\"first_unix_ms\":1,\"last_unix_ms\":2,\"count\":1,\"success\":true,\"word\":\"\",\"detail\":\"\",\"duration_ms\":1}\n").unwrap();
    says(&run(folder.path(), &["replay", "--log", other]), 2, &["other.jsonl:1: the time 1 ms is not of this century"]);
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
    says(&run(&["probe", "fishfinger", "web"]), 1, &["bad: L7STS HTTP 500", "not good: 1 of 1 probes"]);
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
    says(&run(&["plan"]), 0, &["! pool web: stays fishfinger: nobody is up"]);
    // The same for programs.
    let json = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let output = run(arguments).stdout;
        serde_json::Deserializer::from_slice(&output).into_iter().map(Result::unwrap).collect()
    };
    second.behave(Behaviour::Good);
    let plan = json(&["plan", "--json"]).remove(0);
    let pool = &plan["pools"][0];
    assert_eq!((&plan["sure"], &pool["from"], &pool["to"]), (&true.into(), &"fishfinger".into(), &"blowfish".into()));
    assert_eq!(pool["rule"], "failover");
    let line = &plan["zones"][0]["lines"][1];
    assert_eq!((&line["line"], &line["planned"]), (&5.into(), &"www 300 IN A 127.0.0.2 ; Enable failover".into()));
    let probes = json(&["probe", "fishfinger", "--json"]).remove(0);
    let probe = &probes[0];
    assert_eq!(
        (&probe["check"], &probe["kind"], &probe["address"]),
        (&"web".into(), &"http".into(), &"127.0.0.1".into())
    );
    assert_eq!((&probe["success"], &probe["word"]), (&false.into(), &"L7STS".into()));
    assert!(probe["steps"][0]["step"] == "connected" && probe["steps"][0]["after_ms"].is_f64(), "{probe}");
}

/// `names = "pool"`: a standby that cannot show a certificate for every name of the pool is not up,
/// and so is not promoted.
#[test]
fn a_standby_without_the_pool_s_certificates() {
    let authority = Authority::new();
    let (both, one) = (["www.example.org", "foo.example.org"], ["www.example.org"]);
    let mut first = Host::with_tls("127.0.0.1:0", "fishfinger", authority.server(&both));
    let address = format!("127.0.0.2:{}", first.port());
    let second = Host::with_tls(&address, "blowfish", authority.server(&one));
    let folder = tempfile::tempdir().unwrap();
    authority.write_ca(folder.path());
    fs::write(folder.path().join("example.org.zone"), format!("{ZONE}foo 300 IN A 127.0.0.1 ; Enable failover\n"))
        .unwrap();
    let text = config(first.port(), 1);
    let (before, rest) = text.split_once("[check.web]\n").unwrap();
    let after = &rest[rest.find("interval").unwrap()..];
    let port = first.port();
    let check = format!("[check.web]\ntls = \"{{node}}:{port}\"\nnames = \"pool\"\nca-file = \"ca.pem\"\n");
    let text = format!("control = \"control.sock\"\nstate-dir = \"state\"\n{before}{check}{after}");
    fs::write(folder.path().join("nsd-failover.toml"), text).unwrap();
    let run = |arguments: &[&str]| run(folder.path(), arguments);
    says(&run(&["probe", "fishfinger"]), 0, &["good: L6OK good certificates for 2 names", "certificate until"]);
    says(
        &run(&["probe", "blowfish"]),
        1,
        &["bad: L6RSP 1 of 2 names fail: foo.example.org: TLS: invalid peer certificate"],
    );
    first.stop();
    says(&run(&["plan"]), 0, &["pool web: stays fishfinger: nobody is up"]);
    drop(second);
    let _second = Host::with_tls(&address, "blowfish", authority.server(&both));
    says(&run(&["plan"]), 0, &["! pool web: fishfinger -> blowfish"]);
}
