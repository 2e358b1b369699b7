//! Notifications as their receivers get them: a real SMTP server with STARTTLS and a login, webhooks
//! that fail or hang, programs. And what never happens: that anything waits for them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::authority::Authority;
use crate::support::daemon::{Daemon, address, program, wait_for};
use crate::support::host::Host;
use crate::support::nsd::{Nsd, free_address};
use crate::support::smtp::{PASSWORD, Smtp, USER};

/// What a hook does with the next requests; the last one stays.
#[derive(Clone, Copy, PartialEq)]
pub enum Reply {
    Status(u16),
    Never,
}

/// A webhook of the test's own, over HTTP.
pub struct Hook {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

#[derive(Clone, Debug)]
pub struct Got {
    path: String,
    header: String,
    pub body: Value,
}

impl Hook {
    pub fn start(replies: &[Reply]) -> Hook {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut replies) = (got.clone(), replies.to_vec());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let reply = if replies.len() > 1 { replies.remove(0) } else { replies[0] };
                let kept: Arc<Mutex<Vec<Got>>> = kept.clone();
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    let mut header = String::new();
                    while !header.ends_with("\r\n\r\n") && reader.read_line(&mut header).unwrap_or(0) > 0 {}
                    let length = header.lines().find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length: ").map(|text| text.parse().unwrap())
                    });
                    let mut body = vec![0; length.unwrap_or(0)];
                    reader.read_exact(&mut body).unwrap();
                    let path = header.split(' ').nth(1).unwrap_or_default().to_owned();
                    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                    kept.lock().unwrap().push(Got { path, header, body });
                    match reply {
                        Reply::Never => drop(reader.read(&mut [0])),
                        Reply::Status(status) => {
                            let text = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                            reader.get_mut().write_all(text.as_bytes()).unwrap();
                        }
                    }
                });
            }
        });
        Hook { address, got }
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

/// The daemon with two hosts and the destinations of a test.
struct Site {
    daemon: Daemon,
    fishfinger: Host,
    blowfish: Host,
    dns: SocketAddr,
    http: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Site {
    fn start(folder: tempfile::TempDir, destinations: &str) -> Site {
        let fishfinger = Host::http("127.0.0.11:0", "fishfinger.example.org");
        let port = fishfinger.port();
        let blowfish = Host::http(&format!("127.0.0.12:{port}"), "blowfish.example.org");
        let zone = "$TTL 1h\n@ IN SOA ns hostmaster 1 1h 30m 7d 5m\n IN NS ns\nns IN A 192.0.2.1\n\
                    www 300 IN A 127.0.0.11 ; Enable failover\nftp 600 IN A 127.0.0.11 ; Enable failover\n";
        fs::write(folder.path().join("zone"), zone).unwrap();
        let (dns, http) = (free_address(), free_address());
        let config = format!(
            r#"
            listen = ["{dns}"]
            http = "{http}"
            [node."fishfinger.example.org"]
            ipv4 = "127.0.0.11"
            [node."blowfish.example.org"]
            ipv4 = "127.0.0.12"
            [check.web]
            http = "http://{{node}}/index.txt"
            expect = "Welcome to {{node}}"
            port = {port}
            interval = "500ms"
            fast-interval = "200ms"
            [pool.web]
            nodes = ["fishfinger.example.org", "blowfish.example.org"]
            checks = ["web"]
            preempt = "never"
            [zone."example.org"]
            file = "zone"
            pool = "web"
            {destinations}
            "#
        );
        let daemon = Daemon::start(folder.path(), &config);
        let site = Site { daemon, fishfinger, blowfish, dns, http, _folder: folder };
        wait_for("first round of probes", || (site.daemon.status()["ready"] == true).then_some(()));
        site
    }

    fn wait_for_primary(&self, wanted: &str) {
        wait_for(wanted, || (address(self.dns, "www.example.org", "A").as_deref() == Some(wanted)).then_some(()));
    }
}

pub fn write_secret(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// One failover, told by every way at once; one of them fails twice, one never answers.
#[test]
fn a_failover_is_told_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let smtp = Smtp::start(folder.path(), &authority);
    let ca = authority.write_ca(folder.path());
    write_secret(&folder.path().join("password"), PASSWORD);
    write_secret(&folder.path().join("token"), "tk_1234\n");
    let flaky = Hook::start(&[Reply::Status(503), Reply::Status(500), Reply::Status(200)]);
    let silent = Hook::start(&[Reply::Never]);
    let ntfy = Hook::start(&[Reply::Status(200)]);
    let slack = Hook::start(&[Reply::Status(200)]);
    write_secret(&folder.path().join("slack-url"), &format!("http://{}/services/T0/S3CRET\n", slack.address));
    let destinations = format!(
        r#"
        [notify.mail]
        mail = "ops@example.org, Night Watch <night@example.org>"
        from = "failover@example.org"
        smtp = "localhost:{port}"
        user = "{USER}"
        password-file = "password"
        ca-file = "{ca}"
        [notify.sendmail]
        mail = "ops@example.org"
        sendmail = ["sh", "-c", "cat > {folder}/sendmail.new && mv {folder}/sendmail.new {folder}/sendmail.out"]
        [notify.flaky]
        webhook = "http://{flaky}/hook"
        [notify.silent]
        webhook = "http://{silent}/hook"
        timeout = "300ms"
        [notify.ntfy]
        webhook = "http://{ntfy}/alerts"
        template = "ntfy"
        token-file = "token"
        [notify.slack]
        webhook-file = "slack-url"
        template = "slack"
        [notify.program]
        exec = ["sh", "-c", "cat > {folder}/exec.new; echo $NSD_FAILOVER_POOL $NSD_FAILOVER_TO >> {folder}/exec.new; mv {folder}/exec.new {folder}/exec.out"]
        events = ["transition"]
        [notify.other]
        exec = ["touch", "{folder}/other"]
        events = ["certificate"]
        "#,
        port = smtp.port(),
        ca = ca.display(),
        folder = folder.path().display(),
        flaky = flaky.address,
        silent = silent.address,
        ntfy = ntfy.address,
    );
    let path = folder.path().to_owned();
    let mut site = Site::start(folder, &destinations);
    site.fishfinger.stop();
    site.wait_for_primary("127.0.0.12");

    let mail = wait_for("the mail", || smtp.mails().first().cloned());
    assert!(mail.starts_with("RCPT: ops@example.org\nRCPT: night@example.org\n"), "{mail}");
    assert!(mail.contains("From: failover@example.org") && mail.contains("Auto-Submitted: auto-generated"), "{mail}");
    assert!(mail.contains("Subject: [") && mail.contains("WARNING: web: fishfinger.example.org ->"), "{mail}");
    for words in [
        "Pool     web ipv4: fishfinger.example.org -> blowfish.example.org",
        "Probes   ",
        "Answers  www.example.org. A (TTL 300 s): 127.0.0.11 -> 127.0.0.12",
        "ftp.example.org. A (TTL 600 s): 127.0.0.11 -> 127.0.0.12",
        "Caches   may hold an old answer until ",
    ] {
        assert!(mail.contains(words), "no `{words}` in {mail}");
    }
    let out = wait_for("sendmail", || fs::read_to_string(path.join("sendmail.out")).ok());
    assert!(out.contains("To: ops@example.org"), "{out}");

    let told = wait_for("the third attempt", || flaky.got().get(2).cloned());
    assert!(flaky.got().iter().all(|got| got.body["id"] == told.body["id"]), "one incident keeps its id");
    let incident = &told.body;
    assert_eq!((&incident["kinds"][0], &incident["severity"]), (&"transition".into(), &"warning".into()));
    assert_eq!(incident["moves"][0]["to"], "blowfish.example.org");
    // The largest TTL of the names that moved.
    let held_ms = incident["caches_until_unix_ms"].as_i64().unwrap() - incident["unix_ms"].as_i64().unwrap();
    assert_eq!(held_ms, 600_000);

    let told = wait_for("ntfy", || ntfy.got().first().cloned());
    assert_eq!((told.path.as_str(), &told.body["topic"]), ("/", &"alerts".into()));
    assert!(told.header.to_lowercase().contains("authorization: bearer tk_1234\r\n"), "{}", told.header);
    let told = wait_for("slack", || slack.got().first().cloned());
    assert_eq!(told.path, "/services/T0/S3CRET");
    assert!(told.body["text"].as_str().unwrap().starts_with(":warning: *["), "{}", told.body);
    let out = wait_for("the program", || fs::read_to_string(path.join("exec.out")).ok());
    let (json, words) = out.trim_end().rsplit_once('}').unwrap();
    assert!(serde_json::from_str::<Value>(&format!("{json}}}")).is_ok(), "{out}");
    assert_eq!(words, "web blowfish.example.org");
    assert!(!path.join("other").exists(), "told of what it did not want");

    // The one that never answers: tried again, counted, and nobody has waited for it.
    wait_for("another attempt", || (silent.got().len() > 1).then_some(()));
    let metrics = wait_for("the counters", || {
        let text = metrics(site.http);
        text.contains(r#"nsd_failover_notifications_total{name="flaky",result="delivered"} 1"#).then_some(text)
    });
    assert!(metrics.contains(r#"nsd_failover_notifications_waiting{name="silent"} 1"#), "{metrics}");
    let started = Instant::now();
    assert_eq!(site.daemon.stop().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(9), "the silent one holds up the end");
    let log = site.daemon.log();
    for secret in [PASSWORD, "tk_1234", "S3CRET"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    assert!(log.contains("notify flaky: HTTP 503") && log.contains("notify silent: "), "{log}");
}

/// Nobody is up, and somebody is again: one record each.
#[test]
fn all_down_and_recovery() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::start(&[Reply::Status(204)]);
    let url = format!("[notify.hook]\nwebhook = \"http://{}/\"\nevents = [\"all-down\", \"recovery\"]", hook.address);
    let mut site = Site::start(folder, &url);
    site.blowfish.stop();
    wait_for("the standby's end", || {
        let nodes = site.daemon.status()["nodes"].as_array().unwrap().clone();
        nodes.iter().any(|node| node["checks"][0]["verdict"] == "down").then_some(())
    });
    site.fishfinger.stop();
    let down = wait_for("all down", || hook.got().first().cloned()).body;
    assert_eq!((&down["kinds"][0], &down["severity"]), (&"all-down".into(), &"critical".into()), "{down}");
    assert!(down["summary"].as_str().unwrap().contains("nobody is up"), "{down}");
    site.blowfish.start();
    let up = wait_for("recovery", || hook.got().get(1).cloned()).body;
    assert_eq!((&up["kinds"][0], &up["severity"]), (&"recovery".into(), &"good".into()), "{up}");
    let metrics = metrics(site.http);
    assert!(metrics.contains(r#"nsd_failover_pool_all_down{pool="web"} 0"#), "{metrics}");
}

/// Where nsd alone answers: the record tells of the export, and the caches' time counts from its end.
#[test]
fn exports_and_their_failures_are_part_of_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let hook = Hook::start(&[Reply::Status(200)]);
    let zone = "$TTL 1h\n@ IN SOA ns hostmaster 1 1h 30m 7d 5m\n IN NS ns\nns IN A 192.0.2.1\n\
                www 300 IN A 127.0.0.11 ; Enable failover\n";
    let nsd = Nsd::start(&[("example.org", zone.as_bytes())]);
    let broken = folder.path().join("broken");
    fs::write(&broken, "").unwrap();
    let check = format!("test ! -e {} && exec nsd-checkzone \"$@\"", broken.display());
    let mut fishfinger = Host::http("127.0.0.11:0", "fishfinger");
    let port = fishfinger.port();
    let _blowfish = Host::http(&format!("127.0.0.12:{port}"), "blowfish");
    let config = format!(
        r#"
        [nsd]
        address = "{address}"
        control = {control:?}
        checkzone = ["sh", "-c", {check:?}, "sh"]
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
        preempt = "never"
        [zone."example.org"]
        file = "{file}"
        pool = "web"
        [notify.hook]
        webhook = "http://{hook}/"
        events = ["transition", "export-failed", "recovery"]
        "#,
        address = nsd.address(),
        control = nsd.control_argv(),
        file = nsd.zone_path("example.org").display(),
        hook = hook.address,
    );
    let daemon = Daemon::start(folder.path(), &config);
    wait_for("first round of probes", || (daemon.status()["ready"] == true).then_some(()));
    fishfinger.stop();
    let told = |kind: &str| {
        let found = |got: &Got| got.body["kinds"].as_array().unwrap().contains(&kind.into());
        wait_for(kind, || hook.got().into_iter().find(found)).body
    };
    let failed = told("export-failed");
    assert_eq!((&failed["kinds"][0], &failed["exports"][0]["result"]), (&"transition".into(), &"refused".into()));
    assert_eq!(failed["caches_until_unix_ms"], Value::Null, "nsd still gives the old answer");
    fs::remove_file(&broken).unwrap();
    let _ = daemon.verb(&["export", "example.org"]);
    let over = told("recovery");
    assert_eq!(over["exports"][0]["result"], "served", "{over}");
    let all = hook.got().len();
    assert!(daemon.verb(&["switch", "web", "fishfinger"]).status.success());
    let moved = wait_for("the move back", || hook.got().get(all).cloned()).body;
    let served_ms = moved["exports"][0]["unix_ms"].as_i64().unwrap();
    assert_eq!((&moved["severity"], &moved["exports"][0]["result"]), (&"notice".into(), &"served".into()), "{moved}");
    assert_eq!(moved["caches_until_unix_ms"].as_i64().unwrap(), served_ms + 300_000);
}

/// (table, the line): exit 2, and no secret in what is said.
#[test]
fn each_mistake_is_one_line() {
    let cases = [
        ("mail = \"ops\"", "c.toml:3:8: error: `ops` is no mail address"),
        ("mail = \"a@b\"\nwebhook = \"http://x/\"", "c.toml:2:9: error: notify `x` must have exactly one of"),
        ("events = [\"transition\"]", "must have exactly one of mail, webhook, webhook-file and exec"),
        ("mail = \"a@b\"\nevents = [\"transitoin\"]", "did you mean `transition`?"),
        ("mail = \"a@b\"\nsmtp = \"h:0\"", "c.toml:4:8: error: `h:0` is no HOST:PORT"),
        ("mail = \"a@b\"\nsmtp = \"h\"\nuser = \"u\"", "user and password-file go together"),
        ("mail = \"a@b\"\nsmtp = \"h\"\ntls = \"off\"\nuser = \"u\"\npassword-file = \"c.toml\"", "in the clear"),
        ("mail = \"a@b\"\ntemplate = \"slack\"", "c.toml:4:12: error: template means nothing here; remove it"),
        ("webhook = \"ftp://x/S3CRET\"", "`ftp` is no scheme for a webhook"),
        ("webhook = \"https://u:S3CRET@x/\"", "secrets come from files"),
        ("webhook = \"https://ntfy.sh/\"\ntemplate = \"ntfy\"", "the URL ends in no topic"),
        ("webhook-file = \"missing\"", "No such file"),
        ("webhook-file = \"open\"", "open: the secret is open to everybody (mode 644); chmod 640, and give it"),
        ("webhook = \"http://x/\"\ntoken-file = \"open\"", "c.toml:4:14: error: "),
        ("mail = \"a@b\"\nsmtp = \"h\"\nuser = \"u\"\npassword-file = \"open\"", "open to everybody"),
        ("exec = []", "no program is named"),
        ("exec = [\"x\"]\ntimeout = \"0s\"", "too short"),
    ];
    for (table, wanted) in cases {
        let folder = tempfile::tempdir().unwrap();
        write_secret(&folder.path().join("c.toml"), &format!("version = 1\n[notify.x]\n{table}\n"));
        fs::write(folder.path().join("open"), "S3CRET").unwrap();
        fs::set_permissions(folder.path().join("open"), fs::Permissions::from_mode(0o644)).unwrap();
        let output = program(&folder.path().join("c.toml")).arg("check").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{table}: {said}");
        assert!(said.contains(wanted) && !said.contains("S3CRET"), "{table}: {said}");
    }
}

fn metrics(http: SocketAddr) -> String {
    let url = format!("http://{http}/metrics");
    let output = std::process::Command::new("curl").args(["-sS", "--noproxy", "*", &url]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What goes without TLS would be a proxy's to read: it goes straight. And a secret that is none is told.
#[test]
fn a_secret_is_told_no_proxy() {
    let (hook, proxy) = (Hook::start(&[Reply::Status(200)]), Hook::start(&[Reply::Status(200)]));
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let path = folder.path().join("c.toml");
    let config = format!(
        "version = 1\n[notify.hook]\nwebhook = \"http://{}/hook\"\ntoken-file = \"{}\"\n",
        hook.address,
        token.display()
    );
    fs::write(&path, config).unwrap();
    let test = || {
        let mut program = program(&path);
        for key in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            program.env(key, format!("http://{}", proxy.address));
        }
        program.env_remove("no_proxy").env_remove("NO_PROXY").args(["notify", "test"]).output().unwrap()
    };
    let output = test();
    assert!(output.status.success(), "{output:?}");
    let got = hook.got();
    assert!(got[0].header.to_ascii_lowercase().contains("authorization: bearer s3cret\r\n"), "{got:?}");
    assert!(proxy.got().is_empty(), "{:?}", proxy.got());
}

#[test]
fn a_secret_that_is_a_fifo_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&token).status().unwrap().success());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let read = nsd_failover::notify::courier::secret(&token);
    let read = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), read).await });
    assert!(read.unwrap().unwrap_err().reason.ends_with("token: it is no regular file"));
}
