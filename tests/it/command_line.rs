//! The verbs as a shell sees them: what they print, their exit status, and one clear line for each
//! thing that is wrong.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Output;

use super::support::browser::Browser;
use super::support::daemon::{Daemon, program, wait_for};
use super::support::host::Host;
use super::support::nsd::free_address;

const ZONE: &str = "\
$TTL 1h
@ IN SOA ns hostmaster 1 1h 30m 7d 5m
  IN NS ns
ns IN A 192.0.2.1
www 300 IN A 192.0.2.10 ; Enable failover
standby 300 IN A 198.51.100.20 ; Enable failover
";

const CONFIG: &str = r#"
[node.fishfinger]
ipv4 = "192.0.2.10"
[node.blowfish]
ipv4 = "198.51.100.20"
[pool.web]
nodes = ["fishfinger", "blowfish"]
[zone."example.org"]
file = "example.org.zone"
pool = "web"
"#;

/// A folder with the configuration and zone above.
struct Files(tempfile::TempDir);

impl Files {
    fn new(config: &str, zone: &str) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let config = format!("control = \"control.sock\"\nstate-dir = \"state\"\n{config}");
        fs::write(folder.path().join("c.toml"), config).unwrap();
        fs::write(folder.path().join("example.org.zone"), zone).unwrap();
        Files(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        program(&self.path().join("c.toml")).args(arguments).current_dir(self.path()).output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_says_what_it_found() {
    let files = Files::new(CONFIG, ZONE);
    let output = files.run(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stdout(&output).ends_with("ok: 1 zone with 5 records, 2 of them failover; 1 pool, 0 checks; 0 warnings\n"),
        "{}",
        stdout(&output)
    );
}

/// Links that lead out of the zone's folder are followed, and told.
#[test]
fn check_tells_of_links() {
    let files = Files::new(CONFIG, "");
    let (zone, elsewhere) = (files.path().join("example.org.zone"), tempfile::tempdir().unwrap());
    fs::remove_file(&zone).unwrap();
    fs::write(elsewhere.path().join("real"), format!("{ZONE}$INCLUDE more\n")).unwrap();
    fs::write(elsewhere.path().join("names"), "more A 192.0.2.3\n").unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("real"), &zone).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("names"), files.path().join("more")).unwrap();
    let output = files.run(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("with 6 records"), "{}", stdout(&output));
    let words = stderr(&output);
    assert_eq!(words.matches("` is a link to ").count(), 2, "{words}");
    assert!(words.contains("example.org.zone:7:10: warning: ") && words.contains("real"), "{words}");
}

/// What is no mistake, but hardly meant; and a state that a start could not use.
#[test]
fn check_warns() {
    let config = CONFIG.replace(
        "[pool.web]\nnodes = [\"fishfinger\", \"blowfish\"]",
        "[check.idle]\nhttp = \"http://{node}/\"\n[check.six]\nhttp = \"http://{node}/\"\nfamilies = [\"ipv6\"]\n\
         [pool.web]\nnodes = [\"fishfinger\", \"blowfish\"]\nchecks = [\"six\"]",
    );
    let files = Files::new(&config.replacen("[node.blowfish]", "ipv6 = \"2001:db8::1\"\n[node.blowfish]", 1), ZONE);
    fs::create_dir(files.path().join("state")).unwrap();
    fs::write(files.path().join("state/state.json"), "{\"version\":2}").unwrap();
    let output = files.run(&["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    for line in [
        "check `idle`: warning: no pool uses it\n",
        "pool `web`: warning: no check looks at blowfish, which has no address of their families",
        "state/state.json: warning: written by another version (format 2, this one reads 1); a start would set it aside",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(stdout(&output).ends_with("; 3 warnings\n"), "{}", stdout(&output));
}

/// (configuration, zone, the line on stderr): exit 2, exactly one line, nothing else.
#[test]
fn each_mistake_is_one_line_and_exit_2() {
    let folder = "FOLDER/";
    let zone = |from: &str, to: &str| ZONE.replacen(from, to, 1);
    let config = |from: &str, to: &str| CONFIG.replacen(from, to, 1);
    let cases = [
        (
            config("pool = \"web\"", "pool = \"wed\""),
            zone("", ""),
            "c.toml:12:8: error: pool `wed` is not configured; did you mean `web`?",
        ),
        (
            config("example.org.zone", "missing.zone"),
            zone("", ""),
            "missing.zone: error: cannot read the file of zone example.org.: No such file or directory (os error 2); mend the path or its permissions",
        ),
        (
            config("example.org.zone", "."),
            zone("", ""),
            ".: error: cannot read the file of zone example.org.: it is not a regular file; mend the path or its permissions",
        ),
    ];
    for (config, zone, expected) in cases {
        let files = Files::new(&config, &zone);
        let output = files.run(&["check"]);
        assert_eq!(output.status.code(), Some(2), "{expected}");
        let said = stderr(&output).replace(&format!("{}/", files.path().display()), folder);
        assert_eq!(said, format!("{folder}{expected}\n"));
        assert_eq!(stdout(&output), "");
    }
    for (from, to, place) in [
        ("192.0.2.1\n", "192.0.2.256\n", "example.org.zone:4:"),
        ("ns IN A 192.0.2.1\n", "ns IN A 192.0.2.1\nns IN MX 10 ns ; Enable failover\n", "example.org.zone:5:"),
        (
            "300 IN A 192.0.2.10 ; Enable failover",
            "300 IN A 192.0.2.10 ; Enable failover pool=mail",
            "example.org.zone:5:",
        ),
        ("@ IN SOA", "@ IN SAO", "example.org.zone:2:"),
    ] {
        let files = Files::new(CONFIG, &zone(from, to));
        for verb in ["check", "run"] {
            let output = files.run(&[verb]);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{verb}: {said}");
            assert!(said.lines().any(|line| line.contains(place) && line.contains("error: ")), "{to}: {said}");
        }
    }
}

/// An edit that a failover will ask for and that cannot be made is told by `check`, not by the failover.
#[test]
fn check_tells_what_no_export_could_edit() {
    let with_nsd = format!("{CONFIG}[nsd]\n");
    let six = with_nsd.replacen("[node.blowfish]", "ipv6 = \"2001:db8::1\"\n[node.blowfish]", 1);
    let leans = "www 300 IN AAAA 2001:db8::1 ; Enable failover\n    300 IN A 192.0.2.10 ; Enable failover\n";
    let spans = "www 300 IN AAAA ( 2001:db8::1\n) ; Enable failover\n";
    let generic = "www 300 IN A \\# 4 C000020A ; Enable failover\n";
    for (config, record, expected) in [
        (
            &six,
            leans,
            Some(":6:1: error: record without an owner behind a failover record that is withdrawn at times; "),
        ),
        (&six, spans, Some(":5:1: error: a record that spans lines cannot be withdrawn; write it on one line")),
        (&six, generic, Some(":5:1: error: RFC 3597 RDATA (`\\#`) is not edited; write the record in its own format")),
        // Both nodes have IPv4, and there is no [nsd] to export to.
        (&with_nsd, &leans.replace("AAAA 2001:db8::1", "TXT x").replacen("; Enable failover", "", 1), None),
        (&CONFIG.to_owned(), generic, None),
    ] {
        let zone = ZONE.replacen("www 300 IN A 192.0.2.10 ; Enable failover\n", record, 1);
        let files = Files::new(config, &zone);
        let output = files.run(&["check"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(if expected.is_some() { 2 } else { 0 }), "{record}: {said}");
        let errors: Vec<&str> = said.lines().filter(|line| line.contains("example.org.zone:")).collect();
        match expected {
            None => assert!(errors.is_empty(), "{said}"),
            Some(expected) => {
                assert!(
                    matches!(errors.as_slice(), [one] if one.contains(&format!("example.org.zone{expected}"))),
                    "{said}"
                );
            }
        }
    }
}

#[test]
fn check_zone_exits_0_or_1_and_prints_byte_for_byte() {
    let files = Files::new(CONFIG, &ZONE.replace('\n', "\r\n"));
    let output = files.run(&["check-zone", "example.org", "example.org.zone"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("5 records, 2 of them failover: ok"), "{}", stdout(&output));
    let printed = files.run(&["check-zone", "example.org", "example.org.zone", "--print"]);
    assert_eq!(printed.stdout, fs::read(files.path().join("example.org.zone")).unwrap());

    fs::write(files.path().join("example.org.zone"), ZONE.replace("IN NS", "IN SN")).unwrap();
    let output = files.run(&["check-zone", "example.org", "example.org.zone"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("example.org.zone:3:6: error: `SN` is no record type"), "{}", stderr(&output));
    assert_eq!(files.run(&["check-zone", "exa..mple", "x"]).status.code(), Some(2), "usage");
}

#[test]
fn an_origin_from_the_file_s_name_is_told() {
    let files = Files::new(&format!("zone-files = \"one.zone\"\n{CONFIG}"), ZONE);
    let one = files.path().join("one.zone");
    fs::write(&one, "$TTL 5\na.example. NS ns\n").unwrap();
    let output = files.run(&["check"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("one.zone:2:1: error: `a.example.` lies outside the zone one.; "), "{said}");
    assert!(said.contains("(the origin one. is from the file's name; another one is told by $ORIGIN)"), "{said}");
}

/// A link is told, and included files are looked for where `check` does.
#[test]
fn check_zone_finds_what_check_finds() {
    let config = format!("{CONFIG}[nsd]\nzonesdir = \"elsewhere\"\n").replace("example.org.zone", "zones/z");
    let files = Files::new(&config, ZONE);
    for folder in ["zones", "elsewhere"] {
        fs::create_dir(files.path().join(folder)).unwrap();
    }
    fs::write(files.path().join("real"), format!("{ZONE}$INCLUDE inc\n")).unwrap();
    std::os::unix::fs::symlink("../real", files.path().join("zones/z")).unwrap();
    fs::write(files.path().join("elsewhere/inc"), "inc TXT x\n").unwrap();
    for arguments in [
        &["check-zone", "example.org", "zones/z"][..],
        &["check-zone", "example.org", "real", "--include-dir", "elsewhere"],
        &["check"],
    ] {
        let output = files.run(arguments);
        let said = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert_eq!(said.contains("zones/z` is a link to "), arguments[arguments.len() - 1] != "elsewhere", "{said}");
    }
    fs::copy(files.path().join("real"), files.path().join("copy")).unwrap();
    let output = files.run(&["check-zone", "example.org", "copy"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot include `inc`") && stderr(&output).contains("--include-dir"));
    let listed = files.run(&["check-zone", "example.org", "zones/z", "--json"]);
    assert!(stdout(&listed).contains("zones/z: warning: `zones/z` is a link to "), "{}", stdout(&listed));
}

#[test]
fn render_writes_the_file_as_it_would_be() {
    let files = Files::new(CONFIG, ZONE);
    let output = files.run(&["render", "--zone", "example.org", "--primary", "blowfish", "--serial", "7"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = ZONE
        .replace("hostmaster 1 ", "hostmaster 7 ")
        .replace("www 300 IN A 192.0.2.10", "www 300 IN A 198.51.100.20")
        .replace("standby 300 IN A 198.51.100.20", "standby 300 IN A 192.0.2.10");
    assert_eq!(stdout(&output), expected);
    let same = files.run(&["render", "--zone", "example.org", "--primary", "fishfinger"]);
    assert_eq!(stdout(&same), ZONE, "nothing but the serial would change: left alone");
    for arguments in [
        ["render", "--zone", "example.net", "--primary", "blowfish"],
        ["render", "--zone", "example.org", "--primary", "squid"],
    ] {
        let output = files.run(&arguments);
        assert_eq!((output.status.code(), stderr(&output).lines().count()), (Some(2), 1), "{}", stderr(&output));
    }
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definition() {
    let files = Files::new(CONFIG, ZONE);
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&files.run(&["completions", shell])).contains("is-primary"), "{shell}");
    }
    assert!(stdout(&files.run(&["man"])).contains(".TH nsd-failover 1"));
    assert_eq!(files.run(&["man", "--folder", "man"]).status.code(), Some(0));
    let page = fs::read_to_string(files.path().join("man/nsd-failover-switch.1")).unwrap();
    assert!(page.contains("kernel update"), "with its example: {page}");
}

#[test]
fn a_port_in_use_is_named() {
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let listen = |address| format!("listen = [\"{address}\"]\n{CONFIG}");
    for (address, what) in [(udp.local_addr().unwrap(), "DNS over UDP"), (tcp.local_addr().unwrap(), "DNS over TCP")] {
        let output = Files::new(&listen(address), ZONE).run(&["run"]);
        assert_eq!(output.status.code(), Some(2));
        let said = stderr(&output);
        assert!(said.starts_with(&format!("cannot listen on {address} ({what}): Address already in use")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn two_daemons_do_not_share_a_state_dir() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("example.org.zone"), ZONE).unwrap();
    let daemon = Daemon::start(folder.path(), CONFIG);
    let second = folder.path().join("second.toml");
    fs::write(&second, format!("control = \"second.sock\"\nstate-dir = \"state\"\n{CONFIG}")).unwrap();
    let output = program(&second).arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("another daemon uses state-dir"), "{}", stderr(&output));
    assert!(daemon.verb(&["status"]).status.success(), "the first goes on");
}

/// `demo`, `demo break`, `demo mend`: the promise of the README, on ports of the test's own.
#[test]
fn the_demo_moves_and_comes_back() {
    let (dns, http) = (free_address().to_string(), free_address().to_string());
    let mut command = program(Path::new("/nonexistent"));
    let log = tempfile::NamedTempFile::new().unwrap();
    let appended = || fs::OpenOptions::new().append(true).open(log.path()).unwrap();
    command.args(["demo", "--dns", &dns, "--http", &http]).stdout(appended()).stderr(appended());
    let demo = Running(command.spawn().unwrap());
    let server = dns.parse().unwrap();
    let address = |name: &str| super::support::daemon::address(server, name, "A");
    let text = || fs::read_to_string(log.path()).unwrap();
    wait_for("instructions", || text().contains("Stop:   Ctrl-C").then_some(()));
    wait_for("an answer", || (address("www.demo.example")? == "127.0.0.11").then_some(()));

    let verb = |action: &str, node: &str| {
        let output = program(Path::new("/nonexistent")).args(["demo", "--dns", &dns, action, node]).output().unwrap();
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    let (code, said) = verb("break", "fishfinger");
    assert_eq!((code, said.as_str()), (Some(0), "fishfinger refuses connections now; watch the answers move\n"));
    wait_for("the failover", || (address("www.demo.example")? == "127.0.0.12").then_some(()));
    assert_eq!(address("standby.demo.example").as_deref(), Some("127.0.0.11"), "in one step");
    assert_eq!(
        verb("break", "squid"),
        (Some(1), "there is no node `squid`; there are fishfinger and blowfish\n".to_owned())
    );

    let folder = std::env::temp_dir().join(format!("nsd-failover-demo-{}", dns.replace(':', "-")));
    let status = program(&folder.join("nsd-failover.toml")).arg("status").output().unwrap();
    picture(&http);
    assert_eq!(verb("mend", "fishfinger").0, Some(0));
    wait_for("the way back", || (address("www.demo.example")? == "127.0.0.11").then_some(()));
    // What the README shows is what it prints.
    let own = |text: &str| {
        let text = text.replace(&format!(" --dns {dns}"), "").replace(&folder.display().to_string(), "FOLDER");
        text.replace(&format!("-p {}", server_port(&dns)), "-p 5353").replace(&http, "127.0.0.1:8053")
    };
    let readme = include_str!("../../README.md").replace("/tmp/nsd-failover-demo-127.0.0.1-5353", "FOLDER");
    let block = |start: &str| readme.split(start).nth(1).unwrap().split("```").next().unwrap();
    let told = wait_for("both moves", || Some(text()).filter(|text| text.contains("[preempt, generation 3]")));
    assert_eq!(own(&told), block("$ cargo run --release -- demo\n"));
    assert_eq!(
        timeless(&own(&stdout(&status))),
        timeless(block("$ nsd-failover status --config FOLDER/nsd-failover.toml\n"))
    );

    // A second one on the same ports is told so, and leaves the first alone.
    let second = program(Path::new("/nonexistent")).args(["demo", "--dns", &dns, "--http", &http]).output().unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(stderr(&second).starts_with(&format!("a demo is already running on {dns}")), "{}", stderr(&second));
    assert_eq!(address("www.demo.example").as_deref(), Some("127.0.0.11"));
    drop(demo);
    assert_eq!(verb("mend", "fishfinger").0, Some(3), "nobody is there any more");
}

/// docs/status-page.png is this, copied from the target folder (`tmp/page`).
fn picture(http: &str) {
    let browser = Browser::open(1280, 800);
    browser.go(&format!("http://{http}/"));
    wait_for("the failover on the page", || browser.text("#pools").contains("[failover]").then_some(()));
    browser.screenshot(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("page/demo.png"));
}

fn server_port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

/// Without what is another at each run.
fn timeless(text: &str) -> String {
    let words =
        [(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME"), (r"\b\d+ (ms|s)\b", "SPAN"), (r"serial \d+", "SERIAL")];
    words.iter().fold(text.to_owned(), |text, (pattern, word)| {
        regex::Regex::new(pattern).unwrap().replace_all(&text, *word).into_owned()
    })
}

/// What stands on the wrong addresses is not harmed, and a busy host port is another's.
#[test]
fn a_demo_on_a_busy_port_is_told() {
    let busy = Host::http("127.0.0.1:0", "somebody");
    let output = program(Path::new("/nonexistent"))
        .args(["demo", "--dns", &free_address().to_string(), "--http", &busy.addr().to_string()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains(&format!("cannot listen on {} (http): Address already in use", busy.addr())), "{said}");
}

/// A child process that is ended with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Interrupted as by Ctrl-C, so that it takes its folder away.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::INT);
        let _ = self.0.wait();
    }
}
