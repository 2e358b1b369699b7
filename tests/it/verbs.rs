//! What the verbs print, against a running daemon and a real nsd: the snapshots beside this file are
//! what people and programs get. What is another at each run (times, ports, serials) is a word there.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Output;
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::Value;

use crate::support::daemon::{Daemon, program, wait_for};
use crate::support::host::Host;
use crate::support::nsd::Nsd;
use crate::support::terminal::Terminal;

const ZONE: &str = "\
$TTL 1h
@ IN SOA ns hostmaster 1 1h 30m 7d 5m
  IN NS ns
ns IN A 192.0.2.1
www 300 IN A 127.0.0.11 ; Enable failover
standby 300 IN A 127.0.0.12 ; Enable failover
";

struct Site {
    daemon: Daemon,
    nsd: Nsd,
    hosts: [Host; 2],
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Site {
        let nsd = Nsd::start(&[("example.org", ZONE.as_bytes())]);
        let fishfinger = Host::http("127.0.0.11:0", "fishfinger");
        let port = fishfinger.port();
        let blowfish = Host::http(&format!("127.0.0.12:{port}"), "blowfish");
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            r#"
            [nsd]
            address = "{}"
            control = {:?}
            [node.fishfinger]
            ipv4 = "127.0.0.11"
            [node.blowfish]
            ipv4 = "127.0.0.12"
            [check.web]
            http = "http://{{node}}/index.txt"
            expect = "Welcome to {{node}}"
            port = {port}
            interval = "500ms"
            [pool.web]
            nodes = ["fishfinger", "blowfish"]
            checks = ["web"]
            [zone."example.org"]
            file = {:?}
            pool = "web"
            "#,
            nsd.address(),
            nsd.control_argv(),
            nsd.zone_path("example.org"),
        );
        let daemon = Daemon::start(folder.path(), &config);
        let site = Site { daemon, nsd, hosts: [fishfinger, blowfish], folder };
        // Everything there is to know is known: nothing changes by itself from now on.
        wait_for("first round of probes", || {
            let status = site.daemon.status();
            (status["ready"] == true && status["zones"][0]["serial_at_nsd"].is_u64()).then_some(())
        });
        site
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.daemon.verb(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{text}"))
    }

    /// What a verb prints, as a snapshot.
    fn show(&self, arguments: &[&str]) -> String {
        self.shown(arguments, &self.daemon.verb(arguments))
    }

    fn shown(&self, arguments: &[&str], output: &Output) -> String {
        let said = [&output.stdout[..], &output.stderr].concat();
        let code = output.status.code().unwrap();
        let text = format!("$ nsd-failover {}\n{}exit {code}\n", arguments.join(" "), String::from_utf8(said).unwrap());
        let folders = [(self.nsd.folder(), "NSD"), (self.folder.path(), "FOLDER")];
        let text = folders.iter().fold(text, |text, (path, name)| text.replace(&path.display().to_string(), name));
        redacted(&text)
    }
}

/// The words for what is another at each run.
fn redacted(text: &str) -> String {
    let words = [
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[time]"),
        (r"until (\d{4}-\d\d-\d\d )?\d\d:\d\d UTC", "until [time]"),
        (r#"("\w*unix_m?s"): -?\d+"#, "$1: 0"),
        (r#"("(?:after|duration)_ms"): [\d.]+"#, "$1: 0"),
        (r#""hash": "\w+""#, r#""hash": "[hash]""#),
        (r#""history": "[-+?]*""#, r#""history": "[history]""#),
        (r"(\[time\].*)  [0-9a-f]{12}\n", "$1  [hash]\n"),
        (r"\b(?:\d+ (?:d|h|min) )?\d+ (?:s|min|h)\b", "[span]"),
        (r" +[\d.]+ ms\b", " [ms]"),
        (r"([(\[])[\d.]+ ms\b", "$1[ms]"),
        (r"(http://\w+):\d+", "$1:PORT"),
        (r"\d+ times in", "[n] times in"),
        (r"once, ", "[n] times in [span], "),
        (r"\[n\] times in \[span\], \[ms\]", "[runs]"),
        (r"\b(1\d{9})\b", "[serial]"),
        (r"(127\.0\.0\.\d+):\d+", "$1:PORT"),
        (r"\d+ probes of", "[n] probes of"),
        (r#""probes": \d+"#, r#""probes": 0"#),
        (r"up \[span\]|(\d+) [mu]?s ago", "up [span]"),
        (r"(ipv4 web: up) \(.*\)", "$1 (...)"),
        (r"( +)\[span\] ago", " [span] ago"),
    ];
    words.iter().fold(text.to_owned(), |text, (pattern, word)| {
        Regex::new(pattern).unwrap().replace_all(&text, *word).into_owned()
    })
}

/// Every key in a JSON value, in whatever depth.
fn keys(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            into.push(key.clone());
            keys(value, into);
        }),
        Value::Array(list) => list.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn what_people_read() {
    let site = Site::start();
    let mut session = String::new();
    for arguments in [
        &["status"][..],
        &["explain", "web"],
        &["explain", "wbe"],
        &["plan"],
        &["probe", "fishfinger", "web"],
        &["probe", "fishfinger", "wbe"],
        &["check"],
        &["is-primary", "fishfinger", "www.example.org"],
        &["is-primary", "blowfish", "www.example.org"],
        &["is-primary", "blowfish", "ns.example.org"],
        &["switch", "web", "blowfish", "--for", "2h", "--reason", "kernel update"],
        &["status"],
        &["switch", "web", "squid"],
        &["release", "web"],
        &["drain", "fishfinger", "--reason", "disk swap"],
        &["ready", "fishfinger"],
        &["hold", "web"],
        &["release", "web"],
        &["export", "example.org"],
        &["generations", "example.org"],
        &["rollback", "example.net"],
        &["reload"],
        &["log", "-n", "3"],
    ] {
        session += &site.show(arguments);
        session += "\n";
    }
    insta::assert_snapshot!("session", session);
}

#[test]
fn what_programs_read() {
    let site = Site::start();
    let zone = site.nsd.zone_path("example.org");
    assert!(site.daemon.verb(&["export"]).status.success());
    let verbs: Vec<Vec<&str>> = vec![
        vec!["status"],
        vec!["explain", "web"],
        vec!["plan"],
        vec!["probe", "fishfinger"],
        vec!["check"],
        vec!["check-zone", "example.org", zone.to_str().unwrap()],
        vec!["is-primary", "fishfinger", "www.example.org"],
        vec!["drain", "blowfish"],
        vec!["export"],
        vec!["generations", "example.org"],
    ];
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/json.md")).unwrap();
    let mut session = String::new();
    for verb in verbs {
        let value = site.json(&verb);
        let arguments = [&verb[..], &["--json"]].concat();
        session += &site.show(&arguments);
        session += "\n";
        let mut told = Vec::new();
        keys(&value, &mut told);
        // Each has its section, and in it each key.
        let section =
            docs.split("\n## ").find(|section| section.lines().next().unwrap().contains(&format!("`{}", verb[0])));
        let section = section.unwrap_or_else(|| panic!("docs/json.md has no section for {}", verb[0]));
        for key in told {
            assert!(section.contains(&format!("`{key}`")), "docs/json.md: {}: `{key}` is missing", verb[0]);
        }
    }
    insta::assert_snapshot!("json", session);
    for line in
        site.daemon.verb(&["log", "--json"]).stdout.split(|octet| *octet == b'\n').filter(|line| !line.is_empty())
    {
        let entry: Value = serde_json::from_slice(line).unwrap();
        assert!(["transition", "export", "note"].iter().any(|kind| entry[kind].is_object()), "{entry}");
    }
}

/// The recorded probes as JSON, and a mistake as JSON.
#[test]
fn programs_hear_of_mistakes_too() {
    let mut site = Site::start();
    let refused = site.daemon.verb(&["switch", "web", "squid", "--json"]);
    let answer: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((refused.status.code(), answer["outcome"].as_str()), (Some(2), Some("refused")));
    assert!(refused.stderr.is_empty());
    site.daemon.stop();
    let record = site.folder.path().join("state/probes.jsonl");
    let replayed = site.json(&["replay", "--log", record.to_str().unwrap()]);
    assert_eq!(replayed["targets"], 2);
    assert!(replayed["moves"].as_array().unwrap().is_empty());

    let config = site.folder.path().join("nsd-failover.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("interval", "intreval")).unwrap();
    let output = site.daemon.verb(&["check", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["ok"]), (Some(2), &Value::Bool(false)));
    let problem = report["problems"][0].as_str().unwrap();
    assert!(problem.contains("unknown key `intreval`; did you mean `interval`?"), "{problem}");
    fs::write(site.nsd.zone_path("example.org"), ZONE.replace("IN NS", "IN SN")).unwrap();
    let zone = site.nsd.zone_path("example.org");
    let output = site.daemon.verb(&["check-zone", "example.org", zone.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["ok"]), (Some(1), &Value::Bool(false)));
    assert!(report["diagnostics"][0].as_str().unwrap().contains(":3:6: error: `SN` is no record type"));
}

/// Exit status 3, and one line that says what to look at.
#[test]
fn without_a_daemon_every_verb_that_asks_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("z"), ZONE).unwrap();
    let config = folder.path().join("c.toml");
    let text = "control = \"none.sock\"\n[node.a]\nipv4 = \"127.0.0.11\"\n[node.b]\nipv4 = \"127.0.0.12\"\n\
                [pool.web]\nnodes = [\"a\", \"b\"]\n[zone.\"example.org\"]\nfile = \"z\"\npool = \"web\"\n";
    fs::write(&config, text).unwrap();
    for verb in [
        &["status"][..],
        &["status", "--json"],
        &["log"],
        &["explain", "web"],
        &["switch", "web", "b"],
        &["hold", "web"],
        &["release", "web"],
        &["drain", "a"],
        &["ready", "a"],
        &["export"],
        &["rollback", "example.org"],
        &["generations", "example.org"],
        &["reload"],
        &["is-primary", "a", "www.example.org"],
    ] {
        let output = program(&config).args(verb).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(3), 1), "{verb:?}: {said}");
        assert!(said.starts_with("no daemon answers at ") && output.stdout.is_empty(), "{verb:?}: {said}");
    }
    // A screen needs a terminal.
    let output = program(&config).arg("watch").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("watch needs a terminal"));
}

/// Where nobody sees a bar the daemon is asked for nothing that the bar alone needs, and that could fail.
#[test]
fn an_export_without_a_terminal_asks_for_no_status() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("c.toml");
    fs::write(&config, "control = \"control.sock\"\n").unwrap();
    let listener = UnixListener::bind(folder.path().join("control.sock")).unwrap();
    let (asked_in, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let first = lines.next().unwrap_or_default();
            // To the end of the head.
            lines.find(String::is_empty);
            let _ = asked_in.send(first);
            let body = "{\"outcome\":\"done\",\"message\":\"exported\"}";
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    let output = program(&config).arg("export").output().unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"exported\n"[..]), "{output:?}");
    let asked: Vec<String> = asked.try_iter().collect();
    assert!(asked.iter().any(|line| line.starts_with("POST /api/v1/export ")), "{asked:?}");
    assert!(asked.iter().all(|line| !line.contains("/status")), "{asked:?}");
}

/// `watch` in a real terminal: a failover is seen, it fits another size, the daemon's end is told
/// and its return seen, and q gives the terminal back.
#[test]
fn the_live_screen_in_a_terminal() {
    let mut site = Site::start();
    let config = site.folder.path().join("nsd-failover.toml");
    let command = format!(
        "{} --config {} watch; echo ended with $?; sleep 100",
        env!("CARGO_BIN_EXE_nsd-failover"),
        config.display()
    );
    let terminal = Terminal::run(&command, 110, 30);
    let shows = |what: &str, words: &str| {
        wait_for(what, || terminal.screen().contains(words).then_some(()));
    };
    shows("the primary", "\u{2714} web   primary fishfinger");
    assert!(terminal.screen().contains("All is well: 1 pool, 2 nodes, 1 zone"), "{}", terminal.screen());
    site.hosts[0].stop();
    shows("the failover", "web   primary blowfish");
    shows("the verdict", "\u{2716} down    fishfinger");
    terminal.tmux(&["resize-window", "-x", "50", "-y", "15"]);
    shows("what is below", "more lines below");
    wait_for("the other size", || terminal.screen().lines().all(|line| line.chars().count() <= 50).then_some(()));
    terminal.tmux(&["send-keys", "End"]);
    shows("the end of the log", "started: 1 zone");
    terminal.tmux(&["send-keys", "Home"]);
    shows("the start", "Who is primary");
    site.daemon.stop();
    shows("the banner", "No word from the daemon");
    site.daemon.start_again();
    wait_for("its return", || (!terminal.screen().contains("No word from the daemon")).then_some(()));
    terminal.tmux(&["send-keys", "q"]);
    shows("the end", "ended with 0");
    assert!(!terminal.screen().contains("Who is primary"), "the shell's own screen is back: {}", terminal.screen());
}

/// On a terminal problems are red, unless somebody does not want colours; into a pipe never.
#[test]
fn colours_are_for_terminals_and_can_be_switched_off() {
    let site = Site::start();
    let config = site.folder.path().join("nsd-failover.toml");
    let program = format!("{} --config {}", env!("CARGO_BIN_EXE_nsd-failover"), config.display());
    let terminal =
        Terminal::run(&format!("{program} status; NO_COLOR=1 {program} status; echo done; sleep 100"), 100, 50);
    wait_for("both", || terminal.screen().contains("done").then_some(()));
    let painted = terminal.tmux(&["capture-pane", "-p", "-e"]);
    assert_eq!(painted.matches("pool web").count(), 2, "{painted}");
    assert_eq!(painted.matches("\u{1b}[1mpool web").count(), 1, "{painted:?}");
    assert!(!String::from_utf8(site.daemon.verb(&["status"]).stdout).unwrap().contains('\u{1b}'));
}

/// Who waits for nsd sees that something waits, and for how long; what is over leaves nothing behind.
#[test]
fn an_order_that_takes_long_shows_that_it_lives() {
    let site = Site::start();
    let config = site.folder.path().join("nsd-failover.toml");
    let program = format!("{} --config {}", env!("CARGO_BIN_EXE_nsd-failover"), config.display());
    site.nsd.pause();
    let terminal = Terminal::run(&format!("{program} switch web blowfish; echo ended with $?; sleep 100"), 100, 20);
    wait_for("that it waits", || terminal.screen().contains(": waiting until it is served (").then_some(()));
    assert!(!terminal.screen().contains("ended"), "{}", terminal.screen());
    site.nsd.resume();
    wait_for("its end", || terminal.screen().contains("ended with 0").then_some(()));
    let screen = terminal.screen();
    assert!(screen.contains("switch web blowfish: served") && !screen.contains("waiting"), "{screen}");
}

/// At night somebody must know within seconds that nobody obeys. What is ordered of a daemon that hangs
/// does not lie in its socket, to be obeyed when it goes on.
#[test]
fn who_orders_is_told_in_time_that_the_daemon_hangs() {
    let site = Site::start();
    let late = |words: &[&str]| {
        let started = Instant::now();
        let output = site.daemon.verb(words);
        // The limit is 5 s, or a second more; the rest is for a machine that does other things too.
        assert!(started.elapsed() < Duration::from_secs(30), "{words:?}: {:?}", started.elapsed());
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(3), 1), "{words:?}: {said}");
        assert!(said.contains("no answer in 5 s: the daemon hangs, or is stopped; "), "{words:?}: {said}");
        said
    };
    let before = site.daemon.status();
    site.daemon.suspend();
    std::thread::scope(|scope| {
        for words in [
            &["switch", "web", "blowfish"][..],
            &["hold", "web"],
            &["drain", "blowfish"],
            &["export", "example.org"],
            &["rollback", "example.org"],
            &["generations", "example.org"],
            &["reload"],
        ] {
            scope.spawn(move || assert!(late(words).contains("; nothing was ordered; "), "{words:?}"));
        }
    });
    site.daemon.resume();
    let after = wait_for("its answer", || site.daemon.verb(&["status"]).status.success().then(|| site.daemon.status()));
    assert_eq!((&after["generation"], &after["pools"][0]["hold"]), (&before["generation"], &Value::Null));
    let log = String::from_utf8(site.daemon.verb(&["log"]).stdout).unwrap();
    assert!(!log.contains("ordered:") && !log.contains("loaded:"), "{log}");

    // One that comes to hang while it waits for nsd.
    site.nsd.pause();
    std::thread::scope(|scope| {
        let order = scope.spawn(|| late(&["switch", "web", "blowfish"]));
        wait_for("the order", || {
            (site.daemon.status()["pools"][0]["families"][0]["primary"] == "blowfish").then_some(())
        });
        site.daemon.suspend();
        let said = order.join().unwrap();
        assert!(said.contains("; whether it still obeys, `log` says when it answers again; "), "{said}");
    });
    site.daemon.resume();
    site.nsd.resume();
}
