//! Everything that people are told of, by mail to a real SMTP server; what a restart must not forget;
//! and `notify test`.

use std::fs;
use std::path::Path;

use super::notify::{Hook, Reply, write_secret};
use super::support::authority::Authority;
use super::support::daemon::{Daemon, program, wait_for};
use super::support::host::Host;
use super::support::nsd::{Nsd, free_address};
use super::support::smtp::{PASSWORD, Smtp, USER};
use super::support::terminal::Terminal;

/// The table of a destination at this server.
fn mail(smtp: &Smtp, folder: &Path, authority: &Authority) -> String {
    write_secret(&folder.join("password"), PASSWORD);
    let (port, ca) = (smtp.port(), authority.write_ca(folder));
    format!(
        "[notify.mail]\nmail = \"ops@example.org\"\nsmtp = \"localhost:{port}\"\nuser = \"{USER}\"\n\
         password-file = \"password\"\nca-file = {ca:?}\n"
    )
}

/// The text of a mail, soft line ends taken back.
fn text(mail: &str) -> String {
    mail.replace("=\r\n", "").replace("=\n", "").replace("=3D", "=").replace('\r', "")
}

/// One after the other: a certificate that ends soon, a failover that nsd does not hear of, nsd
/// again, nobody left, somebody back, an order. Each is one mail that says it all.
#[test]
fn each_kind_arrives_by_mail() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let smtp = Smtp::start(folder.path(), &authority);
    let zone = "$TTL 1h\n@ IN SOA ns hostmaster 1 1h 30m 7d 5m\n IN NS ns\nns IN A 192.0.2.1\n\
                www 300 IN A 127.0.0.11 ; Enable failover\n";
    let nsd = Nsd::start(&[("example.org", zone.as_bytes())]);
    let broken = folder.path().join("broken");
    let check = format!("test ! -e {} && exec nsd-checkzone \"$@\"", broken.display());
    let mut fishfinger = Host::with_tls("127.0.0.11:0", "fishfinger", authority.server_for_days(&["fishfinger"], 20));
    let port = fishfinger.port();
    let mut blowfish = Host::https(&format!("127.0.0.12:{port}"), "blowfish", &authority);
    let config = format!(
        "cert-warning-days = 30\ncert-critical-days = 7\n\
         [nsd]\naddress = \"{nsd_address}\"\ncontrol = {control:?}\ncheckzone = [\"sh\", \"-c\", {check:?}, \"sh\"]\n\
         [node.fishfinger]\nipv4 = \"127.0.0.11\"\n[node.blowfish]\nipv4 = \"127.0.0.12\"\n\
         [check.web]\nhttp = \"https://{{node}}/index.txt\"\nport = {port}\nca-file = \"ca.pem\"\n\
         interval = \"500ms\"\nfast-interval = \"200ms\"\n\
         [pool.web]\nnodes = [\"fishfinger\", \"blowfish\"]\nchecks = [\"web\"]\npreempt = \"never\"\n\
         [zone.\"example.org\"]\nfile = {file:?}\npool = \"web\"\n{mail}",
        nsd_address = nsd.address(),
        control = nsd.control_argv(),
        file = nsd.zone_path("example.org"),
        mail = mail(&smtp, folder.path(), &authority),
    );
    let daemon = Daemon::start(folder.path(), &config);
    let mut seen = 0;
    let mut next = |what: &str, subject: &str, words: &[&str]| {
        let mail = text(&wait_for(what, || smtp.mails().get(seen).cloned()));
        seen += 1;
        let line = mail.lines().find(|line| line.starts_with("Subject: ")).unwrap_or_default();
        assert!(line.contains(subject), "{what}: {line}\n{mail}");
        for words in words {
            assert!(mail.contains(words), "{what}: no `{words}` in {mail}");
        }
        mail
    };
    next("the certificate", "WARNING: fishfinger: the certificate that web sees ends in", &["\nExpires  2"]);
    wait_for("first round of probes", || (daemon.status()["ready"] == true).then_some(()));

    fs::write(&broken, "").unwrap();
    fishfinger.stop();
    let failed = ["Export   example.org. serial ", "Caches   go on receiving the old answer: nsd does not have"];
    let moved =
        ["Probes   fishfinger ipv4 web: L4CON", "Answers  www.example.org. A (TTL 300 s): 127.0.0.11 -> 127.0.0.12"];
    next("the failed export", "WARNING: web: fishfinger -> blowfish: ", &[&failed[..], &moved].concat());
    fs::remove_file(&broken).unwrap();
    let _ = daemon.verb(&["export", "example.org"]);
    next("nsd again", "OK: example.org. nsd has the decision again", &["Export   example.org. serial "]);

    blowfish.stop();
    next("all down", "CRITICAL: web: ", &["nobody is up", "\nWhen     "]);
    blowfish.start();
    next("recovery", "OK: web: ", &["\nWhen     "]);
    assert!(daemon.verb(&["switch", "web", "fishfinger", "--reason", "a test"]).status.success());
    next("the order", "NOTICE: web: blowfish -> fishfinger: ", &["a test", "Caches   may hold an old answer until 2"]);
}

/// A record that could not be delivered is delivered after a restart, be it a crash: the same one.
#[test]
fn what_is_not_delivered_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("zone"),
        "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.1 ; Enable failover\n",
    )
    .unwrap();
    // It will be there after the restart only: until then nobody listens.
    let late = free_address();
    let refused = Hook::start(&[Reply::Status(404)]);
    let config = format!(
        "listen = [\"{dns}\"]\n[node.a]\nipv4 = \"192.0.2.1\"\n[node.b]\nipv4 = \"192.0.2.2\"\n\
         [pool.web]\nnodes = [\"a\", \"b\"]\n[zone.\"example.org\"]\nfile = \"zone\"\npool = \"web\"\n\
         [notify.late]\nexec = [\"sh\", \"-c\", \"test -e {go} && cat > {out}.new && mv {out}.new {out}\"]\n\
         [notify.refused]\nwebhook = \"http://{refused}/\"\n[notify.gone]\nwebhook = \"http://{late}/\"\n",
        dns = free_address(),
        go = folder.path().join("go").display(),
        out = folder.path().join("out").display(),
        refused = refused.address,
    );
    let mut daemon = Daemon::start(folder.path(), &config);
    wait_for("first decision", || (daemon.status()["ready"] == true).then_some(()));
    assert!(daemon.verb(&["switch", "web", "b"]).status.success());
    let store = folder.path().join("state/undelivered.json");
    let kept: serde_json::Value = wait_for("the record on disk", || {
        let text = fs::read_to_string(&store).ok()?;
        let kept: serde_json::Value = serde_json::from_str(&text).unwrap();
        // The one that was refused for good does not wait.
        (refused.got().len() == 1 && kept.get("refused").is_none()).then_some(kept)
    });
    let names: Vec<&String> = kept.as_object().unwrap().keys().collect();
    assert_eq!(names, ["gone", "late"]);
    daemon.kill();
    // One of them is not to be told any more.
    let file = folder.path().join("nsd-failover.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.split("[notify.gone]").next().unwrap()).unwrap();
    fs::write(folder.path().join("go"), "").unwrap();
    daemon.start_again();
    let told = wait_for("the record", || fs::read_to_string(folder.path().join("out")).ok());
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, kept["late"][0]);
    wait_for("an empty store", || (!store.exists()).then_some(()));
    assert_eq!(refused.got().len(), 1, "what was refused for good is not sent again");
    assert!(daemon.log().contains("notify gone is no longer configured: 1 undelivered"), "{}", daemon.log());
    // A clean end with something undelivered keeps it, too.
    fs::remove_file(folder.path().join("go")).unwrap();
    assert!(daemon.verb(&["switch", "web", "a"]).status.success());
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(store.exists() && daemon.log().contains("the next start goes on"), "{}", daemon.log());
}

/// nsd takes no order: nobody would notice before the first failover. That is told on the day, once,
/// also over a restart, and when it is mended.
#[test]
fn an_export_that_would_fail_is_told_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::start(&[Reply::Status(200)]);
    let zone = "$TTL 60\n@ SOA ns h 1000 2 3 4 5\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.1 ; Enable failover\n";
    let nsd = Nsd::start(&[("example.org", zone.as_bytes()), ("example.net", zone.as_bytes())]);
    let socket = folder.path().join("nsd.sock");
    let zones = ["example.org", "example.net"]
        .map(|zone| format!("[zone.\"{zone}\"]\nfile = \"{}\"\npool = \"web\"\n", nsd.zone_path(zone).display()));
    let config = format!(
        "[nsd]\naddress = \"{}\"\ncontrol-socket = \"{}\"\n[node.a]\nipv4 = \"192.0.2.1\"\n[node.b]\nipv4 = \"192.0.2.2\"\n\
         [pool.web]\nnodes = [\"a\", \"b\"]\n{}[notify.hook]\nwebhook = \"http://{}/\"\nevents = [\"next-export\", \"recovery\"]\n",
        nsd.address(),
        socket.display(),
        zones.concat(),
        hook.address,
    );
    let mut daemon = Daemon::start(folder.path(), &config);
    let told = |count: usize| wait_for("the record", || hook.got().get(count - 1).cloned()).body;
    let first = told(1);
    assert_eq!((&first["kinds"][0], &first["severity"]), (&"next-export".into(), &"critical".into()), "{first}");
    let words = format!(
        "example.net. and 1 more: the next failover would be refused: nsd takes no order: nsd's control socket {}: ",
        socket.display()
    );
    assert!(first["summary"].as_str().unwrap().starts_with(&words), "{first}");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("the next failover would be refused")).unwrap();
    assert!(line.contains("ERROR") && line.contains("example.net. and 1 more"), "{line}");
    let refused =
        || daemon.status()["zones"].as_array().unwrap().iter().filter(|zone| zone["next_refused"].is_string()).count();
    assert_eq!(refused(), 2);

    let store = folder.path().join("state/told.json");
    wait_for("told.json", || fs::read_to_string(&store).ok().filter(|text| text.contains("next-export")));
    // What was delivered in the moment of the crash would be sent again.
    wait_for("nothing undelivered", || (!store.with_file_name("undelivered.json").exists()).then_some(()));
    daemon.kill();
    daemon.start_again();
    let again = || daemon.log().matches("the next failover would be refused").count();
    wait_for("the second rehearsal", || (again() == 2).then_some(()));
    std::os::unix::fs::symlink(nsd.folder().join("nsd.sock"), &socket).unwrap();
    assert!(daemon.verb(&["reload"]).status.success());
    let second = told(2);
    assert_eq!(second["kinds"], serde_json::json!(["recovery"]), "told once before the restart: {second}");
    assert!(second["summary"].as_str().unwrap().ends_with("the next failover would be exported again"), "{second}");
    wait_for("an empty store", || (!store.exists()).then_some(()));
}

#[test]
fn notify_test_says_what_became_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let smtp = Smtp::start(folder.path(), &authority);
    let (good, bad, silent) =
        (Hook::start(&[Reply::Status(200)]), Hook::start(&[Reply::Status(500)]), Hook::start(&[Reply::Never]));
    let mail = mail(&smtp, folder.path(), &authority);
    let config = format!(
        "version = 1\n{mail}[notify.bad]\nwebhook = \"http://{}/\"\n[notify.good]\nwebhook = \"http://{}/\"\n\
         [notify.silent]\nwebhook = \"http://{}/\"\ntimeout = \"300ms\"\n\
         [notify.own]\nexec = [\"sh\", \"-c\", \"echo no such pager >&2; exit 3\"]\nevents = [\"certificate\"]\n",
        bad.address, good.address, silent.address
    );
    let file = folder.path().join("c.toml");
    fs::write(&file, config).unwrap();
    let run = |words: &[&str]| {
        let output = program(&file).args(["notify", "test"]).args(words).output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, err) = run(&[]);
    assert_eq!((code, err.as_str()), (Some(1), "3 of 5 not delivered\n"), "{out}");
    for wanted in [
        "ok      mail delivered [",
        "ok      good delivered [",
        "failed  bad HTTP 500",
        "failed  silent not done within 300 ms",
        "failed  own sh: exit status: 3: no such pager",
    ] {
        assert!(out.lines().any(|line| line.starts_with(wanted)), "`{wanted}`: {out}");
    }
    assert_eq!(good.got()[0].body["kinds"], serde_json::json!(["test"]));
    let mail = &smtp.mails()[0];
    assert!(mail.contains("NOTICE: this is a test: what it tells of has not happened"), "{mail}");
    let (code, out, _) = run(&["good"]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{out}");
    let (code, _, err) = run(&["god"]);
    assert_eq!((code, err.as_str()), (Some(2), "notify `god` is not configured; did you mean `good`?\n"));
}

/// On a terminal one sees whom it still waits for, and no line gets in the way of another.
#[test]
fn a_notify_test_that_takes_long_shows_that_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (good, silent) = (Hook::start(&[Reply::Status(200)]), Hook::start(&[Reply::Never]));
    let config = format!(
        "version = 1\n[notify.good]\nwebhook = \"http://{}/\"\n[notify.silent]\nwebhook = \"http://{}/\"\ntimeout = \"6s\"\n",
        good.address, silent.address
    );
    let file = folder.path().join("c.toml");
    fs::write(&file, config).unwrap();
    let program = format!("{} --config {}", env!("CARGO_BIN_EXE_nsd-failover"), file.display());
    let terminal = Terminal::run(&format!("{program} notify test; echo ended with $?; sleep 100"), 110, 20);
    wait_for("that it waits", || terminal.screen().contains("sending: silent (").then_some(()));
    wait_for("its end", || terminal.screen().contains("ended with 1").then_some(()));
    let screen = terminal.screen();
    let lines: Vec<&str> = screen.lines().collect();
    assert!(lines[0].starts_with("ok      good delivered [") && lines[0].ends_with(" ms]"), "{screen}");
    assert!(lines[1].starts_with("failed  silent not done within 6000 ms ["), "{screen}");
    assert_eq!(lines[2..4], ["1 of 2 not delivered", "ended with 1"], "{screen}");
}
