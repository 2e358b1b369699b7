//! The control API: over a real unix socket with our client and with curl, over TCP for reading
//! only; texts for people and for Prometheus.
// Helpers of tests, where a panic is the message.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nsd_failover::control::api::{self, Answer, Handle, Outcome, Request};
use nsd_failover::control::client::{self, Client, SILENT};
use nsd_failover::control::listen::{self, CONNECTIONS_MAX, ControlSocket, SocketError};
use nsd_failover::control::log::{Entry, Log};
use nsd_failover::control::metrics::{Family as MetricFamily, Value};
use nsd_failover::control::{Exit, report, text};
use nsd_failover::director::effect::Transition;
use nsd_failover::director::event::{Action, ExportReport, ExportResult, Order};
use nsd_failover::director::status::{
    CertDays, CheckStatus, NodeStatus, OverrideStatus, PoolFamilyStatus, PoolStatus, ServerStatus, Status, ZoneStatus,
};
use nsd_failover::health::family::Family;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

const NOW: i64 = 1_700_000_000_000;
/// In every text that comes from outside.
const EVIL: &str = "<script>alert('x')</script>&\"\u{1b}[2J";

/// Both listeners with a daemon behind them that answers every request in its own way.
struct Bench {
    folder: tempfile::TempDir,
    http: SocketAddr,
    log: Arc<Log>,
    status: watch::Sender<Arc<Status>>,
    stop: Option<oneshot::Sender<()>>,
    served: tokio::task::JoinHandle<()>,
}

impl Bench {
    async fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let (status, receiver) = watch::channel(Arc::new(a_status("")));
        let (commands, mut inbox) = mpsc::channel::<api::Command>(8);
        let log = Arc::new(Log::default());
        let counters = || {
            let mut requests = MetricFamily::counter("dns_requests", "Queries");
            requests.add(&[("transport", "udp"), ("family", "ipv4"), ("result", "answered")], Value::Count(12));
            vec![requests]
        };
        let handle =
            Handle { status: receiver, log: log.clone(), host: "here".into(), commands, counters: Arc::new(counters) };
        tokio::spawn(async move {
            while let Some(command) = inbox.recv().await {
                let _ = command.reply.send(reply_to(command.request));
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = listener.local_addr().unwrap();
        let socket = ControlSocket::bind(&folder.path().join("run/control.sock"), None).unwrap();
        tokio::spawn(listen::serve_http(listener.into_std().unwrap(), handle.clone(), std::future::pending()));
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            listen::serve_socket(socket, handle, stopped).await.unwrap();
        });
        Bench { folder, http, log, status, stop: Some(stop), served }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("run/control.sock")
    }

    fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    /// `curl --unix-socket`: status code and body.
    async fn curl(&self, arguments: &[&str], path: &str) -> (String, String) {
        curl(&[&["--unix-socket", self.socket().to_str().unwrap()], arguments].concat(), &format!("http://x{path}"))
            .await
    }

    /// The same over TCP.
    async fn get(&self, path: &str) -> (String, String) {
        curl(&[], &format!("http://{}{path}", self.http)).await
    }
}

async fn curl(arguments: &[&str], url: &str) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_code}"]).args(arguments).arg(url);
    let output = tokio::task::spawn_blocking(move || command.output().expect("curl is installed")).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.to_owned(), body.to_owned())
}

fn reply_to(request: Request) -> Answer {
    match request {
        Request::Order(Order { action: Action::Switch { pool, node }, reason, for_s }) => {
            Answer::done(format!("{pool} -> {node}, {reason:?}, {for_s:?}"))
        }
        Request::Order(Order { action: Action::Drain { node }, .. }) => Answer::refused(format!("no node {node}")),
        Request::Order(order) => Answer::failed(format!("{order:?}")),
        Request::Export { zone } => {
            Answer { exports: vec![a_report(ExportResult::Served, "x")], ..Answer::done(format!("{zone:?}")) }
        }
        Request::Rollback { zone, .. } | Request::Generations { zone } => Answer::done(zone),
        Request::Alive => Answer::done("it turns"),
        Request::Explain { pool } => Answer::refused(format!("pool `{pool}` is not configured")),
        Request::Reload => Answer { details: vec!["zone:1:1: bad".into()], ..Answer::refused("nothing changed") },
    }
}

fn a_report(result: ExportResult, detail: &str) -> ExportReport {
    let zone = "foo.zone.".to_owned();
    ExportReport { zone, generation: 7, serial: 42, result, detail: detail.into(), unix_ms: NOW, duration_ms: 80 }
}

/// Two nodes, one of them down; `evil` is added to every text that comes from outside.
fn a_status(evil: &str) -> Status {
    let node = |name: &str| format!("{name}{evil}");
    let check = |verdict: &str, against: u32| CheckStatus {
        check: "web".into(),
        family: Family::Ipv4,
        verdict: verdict.into(),
        against,
        needed: 3,
        word: "L4CON".into(),
        detail: format!("refused{evil}"),
        duration_ms: Some(12),
        last_probe_unix_ms: Some(NOW - 2_000),
        since_unix_ms: Some(NOW - 60_000),
        cert_expiry_unix_s: Some(1_800_000_000),
        measures: Vec::new(),
        history: "+++--".into(),
        blind: false,
    };
    let order = vec![node("fishfinger"), node("blowfish")];
    let holders =
        PoolFamilyStatus { family: Family::Ipv4, primary: Some(order[0].clone()), standby: Some(order[1].clone()) };
    let six = PoolFamilyStatus { family: Family::Ipv6, ..holders.clone() };
    Status {
        version: "0.1.0".into(),
        generation: 7,
        unix_ms: NOW,
        started_unix_ms: NOW - 3_600_000,
        ready: true,
        shadow: false,
        cert_days: CertDays::default(),
        pools: vec![PoolStatus {
            name: "web".into(),
            families: vec![holders, six],
            since_unix_ms: Some(NOW - 60_000),
            rule: "primary-down".into(),
            reason: format!("blowfish is down{evil}"),
            next_rotation_unix_ms: Some(NOW + 86_400_000),
            hold: Some(OverrideStatus {
                node: Some(order[0].clone()),
                reason: Some(format!("works{evil}")),
                since_unix_ms: NOW,
                until_unix_ms: None,
            }),
            alarms: Vec::new(),
            order: order.clone(),
        }],
        nodes: vec![
            NodeStatus { name: order[0].clone(), checks: vec![check("up", 2)], ..NodeStatus::default() },
            NodeStatus { name: order[1].clone(), checks: vec![check("down", 0)], ..NodeStatus::default() },
        ],
        zones: vec![ZoneStatus {
            name: "foo.zone.".into(),
            pools: vec!["web".into()],
            serial: 43,
            serial_at_nsd: Some(42),
            servers: Vec::new(),
            export: true,
            export_held: false,
            next_refused: None,
            last_export: Some(a_report(ExportResult::RolledBack, &format!("no{evil}"))),
            secondaries: Vec::new(),
        }],
    }
}

fn a_transition() -> Transition {
    Transition {
        generation: 7,
        unix_ms: NOW,
        pool: "web".into(),
        families: vec![Family::Ipv4, Family::Ipv6],
        from: Some("blowfish".into()),
        to: None,
        rule: "primary-down".into(),
        reason: format!("it is down{EVIL}"),
        zones: vec!["foo.zone.".into()],
        probes: vec![],
        shadow: false,
    }
}

#[tokio::test]
async fn the_client_reads_and_orders_over_the_socket() {
    let bench = Bench::new().await;
    let client = bench.client();
    assert_eq!(client.status().await.unwrap(), a_status(""));
    bench.log.push(Entry::Transition(a_transition()));
    bench.log.push(Entry::Export(a_report(ExportResult::Served, "x")));
    assert_eq!(client.log(1).await.unwrap(), [Entry::Export(a_report(ExportResult::Served, "x"))]);
    assert_eq!(client.log(50).await.unwrap().len(), 2);
    let switch = Action::Switch { pool: "web".into(), node: "blowfish".into() };
    let answer =
        client.order(&Order { action: switch, reason: Some("test".into()), for_s: Some(60) }, SILENT).await.unwrap();
    assert_eq!(answer, Answer::done("web -> blowfish, Some(\"test\"), Some(60)"));
    assert_eq!(client::exit(&answer), Exit::Ok);
    let drain = Order { action: Action::Drain { node: "nobody".into() }, reason: None, for_s: None };
    let answer = client.order(&drain, SILENT).await.unwrap();
    assert_eq!((answer.outcome, client::exit(&answer)), (Outcome::Refused, Exit::Usage));
    let hold = Order { action: Action::Hold { pool: "web".into() }, reason: None, for_s: None };
    assert_eq!(client::exit(&client.order(&hold, SILENT).await.unwrap()), Exit::Failed);
    let answer = client.export(None, SILENT).await.unwrap();
    assert_eq!((answer.message.as_str(), answer.exports.len()), ("None", 1));
    assert_eq!(text::answer(&answer).lines().nth(1), Some("foo.zone. export served: x [80 ms]"));
    assert_eq!(client.export(Some("foo.zone"), SILENT).await.unwrap().message, "Some(\"foo.zone\")");
    assert_eq!(client.rollback("foo.zone", None, SILENT).await.unwrap().message, "foo.zone");
    assert_eq!(text::answer(&client.reload().await.unwrap()), "nothing changed\nzone:1:1: bad\n");
}

#[tokio::test]
async fn curl_orders_over_the_socket_and_nobody_over_tcp() {
    let bench = Bench::new().await;
    let order = r#"{"action":{"switch":{"pool":"web","node":"blowfish"}},"reason":"curl"}"#;
    let json = ["-H", "content-type: application/json", "-d", order];
    let (code, body) = bench.curl(&json, "/api/v1/order").await;
    assert_eq!(code, "200");
    assert!(body.contains(r#""outcome":"done""#) && body.contains("web -> blowfish"), "{body}");
    for (arguments, path) in [
        (vec!["-H", "content-type: application/json", "-d", "{"], "/api/v1/order"),
        (vec!["-H", "content-type: application/json", "-d", r#"{"action":{"explode":{}}}"#], "/api/v1/order"),
        (vec!["-H", "content-type: application/json", "-d", r#"{"zone":"a","zoen":"b"}"#], "/api/v1/export"),
        (vec!["-H", "content-type: application/json", "-d", "{}"], "/api/v1/rollback"),
        (vec!["-d", order], "/api/v1/order"),
    ] {
        let (code, body) = bench.curl(&arguments, path).await;
        assert_eq!(code, "422", "{body}");
        assert!(body.contains(r#""outcome":"refused""#), "{body}");
    }
    let huge = bench.folder.path().join("huge");
    fs::write(&huge, vec![b' '; 100_000]).unwrap();
    let body = format!("@{}", huge.display());
    let (_, body) = bench.curl(&["-H", "content-type: application/json", "-d", &body], "/api/v1/order").await;
    assert!(body.contains("length limit exceeded"), "{body}");
    for path in ["order", "export", "rollback", "reload"] {
        let url = format!("http://{}/api/v1/{path}", bench.http);
        assert_eq!(curl(&["-d", order], &url).await.0, "404", "{path}");
    }
}

#[tokio::test]
async fn reading_over_tcp() {
    let bench = Bench::new().await;
    let (code, body) = bench.get("/api/v1/status").await;
    assert_eq!((code.as_str(), serde_json::from_str::<Status>(&body).unwrap()), ("200", a_status("")));
    assert_eq!(bench.get("/api/v1/log?n=5").await, ("200".into(), "[]".into()));
    assert_eq!(bench.get("/api/v1/log?n=x").await.0, "400");
    assert_eq!(bench.get("/readyz").await.0, "200");
    // The snapshot of this bench is years old: the daemon behind it hangs.
    let (code, body) = bench.get("/healthz").await;
    assert!(code == "503" && body.starts_with("the daemon has not renewed its state for "), "{code} {body}");
    assert_eq!(bench.get("/nothing").await.0, "404");
    assert_eq!(bench.get("/style.css").await.0, "200");
    bench.status.send_replace(Arc::new(Status { ready: false, unix_ms: now_unix_ms(), ..a_status("") }));
    assert_eq!(bench.get("/readyz").await.0, "503");
    assert_eq!(bench.get("/healthz").await, ("200".into(), "ok\n".into()));
}

fn now_unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn the_page_escapes_everything() {
    let bench = Bench::new().await;
    bench.status.send_replace(Arc::new(a_status(EVIL)));
    bench.log.push(Entry::Transition(a_transition()));
    let url = format!("http://{}/", bench.http);
    let (code, page) = curl(&["-i"], &url).await;
    assert_eq!(code, "200");
    assert!(
        page.contains("content-security-policy: default-src 'none'; style-src 'self'; script-src 'self';"),
        "{page}"
    );
    assert_eq!(page.matches("<script").count(), 1, "our own: {page}");
    assert!(!page.contains("alert('") && !page.contains('\u{1b}'), "{page}");
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;"), "{page}");
    assert!(page.contains("blowfish -&gt; nobody"), "{page}");
    // Problems are marked with more than a colour.
    assert!(page.contains("<tr class=\"bad\"><td>blowfish") && page.contains("<td>\u{2716} down"), "{page}");
}

/// Line by line as a scraper reads it.
#[tokio::test]
async fn the_metrics_parse() {
    let bench = Bench::new().await;
    bench.status.send_replace(Arc::new(a_status("\"\\\n")));
    bench.log.push(Entry::Transition(a_transition()));
    bench.log.push(Entry::Export(a_report(ExportResult::RolledBack, "")));
    bench.log.push(Entry::Export(a_report(ExportResult::Served, "")));
    let url = format!("http://{}/metrics", bench.http);
    let (code, text) = curl(&["-H", "Accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1"], &url).await;
    assert_eq!(code, "200");
    assert!(text.trim_end().ends_with("# EOF"));
    let mut described = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            if words.next() == Some("TYPE") {
                assert!(described.insert(words.next().unwrap().to_owned()), "twice: {line}");
            }
            continue;
        }
        let (name_and_labels, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = name_and_labels.split('{').next().unwrap();
        assert!(name.starts_with("nsd_failover_"), "{line}");
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert!(described.contains(family), "no TYPE before {line}");
    }
    for line in [
        r#"nsd_failover_build_info{version="0.1.0"} 1.0"#,
        r#"nsd_failover_generation 7"#,
        r#"nsd_failover_role{pool="web",node="blowfish\"\\\n",family="ipv6",role="standby"} 1.0"#,
        r#"nsd_failover_role{pool="web",node="blowfish\"\\\n",family="ipv6",role="primary"} 0.0"#,
        r#"nsd_failover_check_up{node="fishfinger\"\\\n",check="web",family="ipv4"} 1.0"#,
        r#"nsd_failover_probe_success{node="fishfinger\"\\\n",check="web",family="ipv4"} 0.0"#,
        r#"nsd_failover_probe_duration_seconds{node="blowfish\"\\\n",check="web",family="ipv4"} 0.012"#,
        r#"nsd_failover_transitions_total{pool="web",reason="primary-down"} 1"#,
        r#"nsd_failover_export_total{zone="foo.zone.",result="rolled-back"} 1"#,
        r#"nsd_failover_zone_serial{zone="foo.zone.",server="nsd"} 42.0"#,
        r#"nsd_failover_dns_requests_total{transport="udp",family="ipv4",result="answered"} 12"#,
    ] {
        assert!(text.lines().any(|got| got == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn the_socket_is_guarded_and_goes_with_the_daemon() {
    let mut bench = Bench::new().await;
    let socket = bench.socket();
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    // A second daemon is turned away, and does no harm.
    let error = ControlSocket::bind(&socket, None).unwrap_err();
    assert!(matches!(error, SocketError::InUse(_)) && error.to_string().contains("answers there already"), "{error}");
    bench.client().status().await.unwrap();
    bench.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), bench.served).await.unwrap().unwrap();
    assert!(!socket.exists());
    let error = Client::new(&socket).status().await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.to_string().contains(socket.to_str().unwrap()), "{error}");
}

#[test]
fn only_our_own_stale_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    // A dead daemon's socket: bound, and nobody there.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(ControlSocket::bind(&path, None).unwrap());
    assert!(!path.exists(), "removed on drop");
    fs::write(&path, "precious").unwrap();
    assert!(matches!(ControlSocket::bind(&path, None), Err(SocketError::NoSocket(_))));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/nowhere", &path).unwrap();
    assert!(matches!(ControlSocket::bind(&path, None), Err(SocketError::NoSocket(_))), "links are not followed");
    fs::remove_file(&path).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    // Only root can give a file away; the others' case is the same code.
    if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
        let error = ControlSocket::bind(&path, None).unwrap_err();
        assert!(error.to_string().contains("belongs to user 12345"), "{error}");
    }
    let long = folder.path().join("x".repeat(120));
    assert!(ControlSocket::bind(&long, None).unwrap_err().to_string().contains("cannot use control socket"));
}

#[tokio::test]
async fn a_socket_taken_over_by_another_daemon_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    let first = ControlSocket::bind(&path, None).unwrap();
    fs::remove_file(&path).unwrap();
    let second = ControlSocket::bind(&path, None).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
}

/// Clients that connect and say nothing fill the places; the others wait, and get theirs.
#[tokio::test]
async fn connections_are_bounded() {
    let bench = Bench::new().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(bench.http).await.unwrap());
    }
    let mut late = TcpStream::connect(bench.http).await.unwrap();
    late.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut buffer = Vec::new();
    let early = tokio::time::timeout(Duration::from_millis(300), late.read_to_end(&mut buffer)).await;
    assert!(early.is_err(), "served beyond the bound: {}", String::from_utf8_lossy(&buffer));
    silent.pop();
    tokio::time::timeout(Duration::from_secs(10), late.read_to_end(&mut buffer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&buffer).starts_with("HTTP/1.1 200"));
}

#[test]
fn the_status_as_text() {
    let shown = report::status(&a_status(""), NOW);
    let expected = "\
nsd-failover 0.1.0, generation 7, up 1 h 0 min
! 3 warnings: 1 pool, 2 nodes, 1 zone
! warning   blowfish: down: web over ipv4: L4CON refused
! warning   foo.zone.: export failed: no
! warning   web: held on fishfinger by order, until somebody takes it back: works

! pool web
  primary        fishfinger
  standby        blowfish
  changed        since 2023-11-14 22:12:20 UTC (1 min 0 s ago)
  why            blowfish is down [primary-down]
! held on        fishfinger until released: works
  next rotation  2023-11-15 22:13:20 UTC (in 1 d 0 h)

! node blowfish    web ipv4  down    L4CON  refused (12 ms, 2 s ago) certificate ends in 1157 days
  node fishfinger  web ipv4  up      L4CON  refused (12 ms, 2 s ago) 2/3 to down, certificate ends in 1157 days

! zone foo.zone.  serial 43 here, 42 at nsd; export rolled-back 0 s ago: no
";
    assert_eq!(shown, expected);
    let evil = report::status(&a_status(EVIL), NOW);
    assert!(!evil.contains('\u{1b}'));
    let line = text::log_line(&Entry::Transition(Transition { reason: "down".into(), ..a_transition() }));
    let expected = "2023-11-14 22:13:20 UTC  web ipv4+ipv6: blowfish -> nobody: down [primary-down, generation 7]";
    assert_eq!(line, expected);
}

#[test]
fn families_that_disagree_are_shown_apart() {
    let mut status = a_status("");
    status.pools[0].families[1].primary = None;
    let shown = report::status(&status, NOW);
    assert!(shown.contains("  primary ipv4   fishfinger\n") && shown.contains("  primary ipv6   nobody\n"), "{shown}");
}

/// What is wrong stands at the top, and is marked where it stands.
#[test]
fn what_is_wrong_comes_first_and_is_marked() {
    let mut status = a_status("");
    status.ready = false;
    status.nodes[0].checks[0].cert_expiry_unix_s = Some(NOW / 1_000 + 2 * 86_400 + 60);
    status.zones[0].serial_at_nsd = Some(43);
    status.zones[0].servers = [("192.0.2.1:53", Some(43)), ("192.0.2.2:53", None)]
        .map(|(server, serial)| ServerStatus { server: server.into(), serial })
        .to_vec();
    let well = PoolStatus { name: "a".into(), rule: "start".into(), reason: "x".into(), ..PoolStatus::default() };
    let down = PoolStatus { name: "z".into(), rule: "all-down-keep".into(), ..well.clone() };
    let withdrawn = PoolStatus {
        families: vec![PoolFamilyStatus { family: Family::Ipv6, primary: None, standby: None }],
        name: "y".into(),
        ..well.clone()
    };
    status.pools.splice(0..0, [well, down, withdrawn]);
    let shown = report::status(&status, NOW);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[1], "! 2 critical, 5 warnings: 4 pools, 2 nodes, 1 zone");
    assert_eq!(lines[2], "! critical  z: x");
    assert_eq!(lines[3], "! critical  fishfinger: the certificate that web sees ends in 2 days");
    assert_eq!(lines[4], "! warning   the first round of probes is not done yet: nothing moves by itself");
    let pools: Vec<&&str> = lines.iter().filter(|line| line.contains("pool ")).collect();
    assert_eq!(pools, [&"! pool z", &"! pool web", &"! pool y", &"pool a"]);
    assert!(
        lines.iter().any(|line| line.starts_with("! node fishfinger") && line.ends_with("ends in 2 days")),
        "{shown}"
    );
    let zones: Vec<&&str> = lines.iter().skip_while(|line| !line.starts_with("! zone")).collect();
    assert_eq!(*zones[0], "! zone foo.zone.  serial 43 here; export rolled-back 0 s ago: no");
    assert_eq!(*zones[1], "                  serial 43 at nsd 192.0.2.1:53");
    assert_eq!(*zones[2], "!                 not seen at nsd 192.0.2.2:53");

    status = Status { ready: true, unix_ms: NOW, ..Status::default() };
    assert_eq!(report::status(&status, NOW).lines().nth(1), Some("All is well: 0 pools, 0 nodes, 0 zones"));
    status.nodes = (0..20)
        .map(|number| NodeStatus {
            name: format!("n{number}"),
            drain: Some(OverrideStatus::default()),
            ..NodeStatus::default()
        })
        .collect();
    let shown = report::status(&status, NOW);
    assert!(shown.contains("\n! and 5 more: see what is marked below\n"), "{shown}");
}
