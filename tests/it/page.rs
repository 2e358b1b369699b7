//! The status page as people see it: in Debian's chromium, driven by the test, and in lynx.
//! The pictures are left in the target folder (`tmp/page`) to be looked at.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nsd_failover::control::api::Handle;
use nsd_failover::control::listen;
use nsd_failover::control::log::{Entry, Log};
use nsd_failover::director::effect::Transition;
use nsd_failover::director::event::{ExportReport, ExportResult};
use nsd_failover::director::status::{
    CheckStatus, NodeStatus, OverrideStatus, PoolFamilyStatus, PoolStatus, SecondaryStatus, ServerStatus, Status,
    ZoneStatus,
};
use nsd_failover::health::family::Family;
use tokio::sync::{mpsc, watch};

use crate::support::browser::Browser;
use crate::support::daemon::{Daemon, wait_for};
use crate::support::host::Host;
use crate::support::nsd::free_address;

const EVIL: &str = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'";

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("page").join(name)
}

fn now_unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// The real daemon with two hosts that can be broken.
struct Site {
    daemon: Daemon,
    fishfinger: Host,
    _blowfish: Host,
    http: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Site {
        let fishfinger = Host::http("127.0.0.11:0", "fishfinger.example.org");
        let port = fishfinger.port();
        let blowfish = Host::http(&format!("127.0.0.12:{port}"), "blowfish.example.org");
        let folder = tempfile::tempdir().unwrap();
        let zone = "$TTL 1h\n@ IN SOA ns hostmaster 1 1h 30m 7d 5m\n IN NS ns\nns IN A 192.0.2.1\n\
                    www 300 IN A 127.0.0.11 ; Enable failover\nstandby 300 IN A 127.0.0.12 ; Enable failover\n";
        std::fs::write(folder.path().join("zone"), zone).unwrap();
        let (http, dns) = (free_address(), free_address());
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
            "#
        );
        let daemon = Daemon::start(folder.path(), &config);
        let site = Site { daemon, fishfinger, _blowfish: blowfish, http, _folder: folder };
        wait_for("first round of probes", || (site.daemon.status()["ready"] == true).then_some(()));
        site
    }

    fn url(&self) -> String {
        format!("http://{}/", self.http)
    }
}

/// A page that is open during a failover shows it, without a reload and without a word of complaint.
#[test]
fn a_failover_is_seen_live() {
    let mut site = Site::start();
    let browser = Browser::open(1280, 900);
    browser.go(&site.url());
    wait_for("a primary", || browser.text("#pools tbody tr").contains("fishfinger").then_some(()));
    browser.run("window.mark = 'the same page'");
    browser.screenshot(&picture("live-before.png"));

    site.fishfinger.stop();
    let moved = || browser.text("#pools tbody tr td:nth-child(2)").contains("blowfish").then_some(());
    wait_for("the failover on the page", moved);
    assert_eq!(browser.run("return window.mark"), "the same page");
    let why = browser.text("#pools tbody tr");
    assert!(why.contains("fishfinger.example.org is down over ipv4") && why.contains("L4CON"), "{why}");
    assert!(browser.text("#headline").contains("warning"), "{}", browser.text("#headline"));
    assert!(browser.text("#alarms").contains("fishfinger.example.org: down: web over ipv4"));
    assert!(browser.text("#log").contains("fishfinger.example.org -> blowfish.example.org"));
    assert!(browser.text("#nodes").contains('\u{25af}'), "{}", browser.text("#nodes"));
    assert!(browser.run("return document.title").as_str().unwrap().starts_with("! WARNING"));
    browser.screenshot(&picture("live-after.png"));

    // The ages go on, and the daemon's end is told.
    wait_for("an age", || browser.text("#age").contains("updated 0 s ago").then_some(()));
    assert_eq!(browser.text("#stale"), "");
    let started = Instant::now();
    assert_eq!(site.daemon.stop().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(3), "an open page holds up the daemon's end");
    let stale = wait_for("the banner", || Some(browser.text("#stale")).filter(|text| !text.is_empty()));
    assert!(stale.contains("No word from the daemon for"), "{stale}");
    browser.screenshot(&picture("live-stale.png"));
    let complaints: Vec<String> =
        browser.complaints().into_iter().filter(|line| !line.contains("ERR_CONNECTION_REFUSED")).collect();
    let gone = |line: &String| line.contains("/live") && line.contains("net::");
    assert!(complaints.iter().all(gone), "{complaints:?}");
}

/// Without JavaScript the page is whole, and renews itself.
#[test]
fn without_javascript() {
    let mut site = Site::start();
    let browser = Browser::open(1280, 900);
    browser.without_javascript();
    browser.go(&site.url());
    assert!(browser.text("#pools").contains("fishfinger"));
    site.fishfinger.stop();
    wait_for("the failover after a refresh", || {
        browser.text("#pools tbody tr td:nth-child(2)").contains("blowfish").then_some(())
    });
    browser.screenshot(&picture("no-javascript.png"));
    // The search is a form.
    browser.go(&format!("{}?q=nobody", site.url()));
    assert!(browser.text("#pools").contains("None matches."), "{}", browser.text("#pools"));

    let lynx = Command::new("lynx").args(["-dump", "-nolist", "-width=120"]).arg(site.url()).output();
    let text = String::from_utf8(lynx.expect("lynx is installed").stdout).unwrap();
    let order = ["warning", "Who is primary", "Holds and alarms", "Nodes and checks", "Zones", "Last transitions"];
    let places: Vec<usize> = order.iter().map(|words| text.find(words).unwrap_or_else(|| panic!("{text}"))).collect();
    assert!(places.is_sorted(), "{text}");
}

/// A listener with a status of this test's own making, which is renewed as the daemon does: on a
/// loaded machine a browser may take longer to start than a status is fresh.
struct Bench {
    http: SocketAddr,
    status: watch::Sender<Arc<Status>>,
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn start(status: Status, log: Vec<Entry>) -> Bench {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (sender, status) = watch::channel(Arc::new(status));
        let kept = Arc::new(Log::default());
        log.into_iter().for_each(|entry| kept.push(entry));
        let handle = Handle {
            status,
            log: kept,
            host: "fishfinger.example.org".into(),
            commands: mpsc::channel(1).0,
            counters: Arc::new(Vec::new),
        };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let http = listener.local_addr().unwrap();
        runtime.spawn(listen::serve_http(listener.into_std().unwrap(), handle, std::future::pending()));
        let renewed = sender.clone();
        runtime.spawn(async move {
            let mut clock = tokio::time::interval(Duration::from_secs(5));
            while !renewed.is_closed() {
                clock.tick().await;
                renewed.send_modify(|status| Arc::make_mut(status).unix_ms = now_unix_ms());
            }
        });
        Bench { http, status: sender, _runtime: runtime }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.http)
    }

    /// Something has happened.
    fn change(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(|status| change(Arc::make_mut(status)));
    }
}

fn check(name: &str, family: Family, verdict: &str, now: i64) -> CheckStatus {
    let up = verdict == "up";
    CheckStatus {
        check: name.into(),
        family,
        verdict: verdict.into(),
        against: u32::from(!up),
        needed: if up { 3 } else { 2 },
        word: if up { "L7OK" } else { "L4TOUT" }.into(),
        detail: if up { "HTTP 200" } else { "no answer within 5000 ms" }.into(),
        duration_ms: Some(if up { 23 } else { 5_000 }),
        last_probe_unix_ms: Some(now - 3_000),
        since_unix_ms: Some(now - 86_400_000),
        cert_expiry_unix_s: Some(now / 1_000 + 86_400 * 61),
        measures: Vec::new(),
        history: if up { "+".repeat(30) } else { format!("{}-+---?---", "+".repeat(20)) },
        blind: false,
    }
}

fn pool(number: usize, evil: &str, now: i64) -> PoolStatus {
    let order = vec![format!("fishfinger{number}.example.org{evil}"), format!("blowfish{number}.example.org{evil}")];
    let holds = |family| PoolFamilyStatus { family, primary: Some(order[0].clone()), standby: Some(order[1].clone()) };
    PoolStatus {
        name: format!("pool{number}{evil}"),
        families: Family::ALL.map(holds).to_vec(),
        since_unix_ms: Some(now - 3_600_000),
        rule: "rotation".into(),
        reason: format!("weekly rotation: {} is up; {} is up{evil}", order[0], order[1]),
        next_rotation_unix_ms: Some(now + 3 * 86_400_000),
        hold: None,
        order,
        alarms: Vec::new(),
    }
}

/// So many pools, each with two nodes, two checks over both families, and a zone. Number 700 has
/// nobody who is up, 800 is held.
fn a_site(pools: usize, evil: &str) -> Status {
    let now = now_unix_ms();
    let mut status = Status {
        version: "0.1.0".into(),
        generation: 7,
        unix_ms: now,
        started_unix_ms: now - 90_000_000,
        ready: true,
        pools: (0..pools).map(|number| pool(number, evil, now)).collect(),
        ..Status::default()
    };
    for (number, pool) in status.pools.iter_mut().enumerate() {
        if number == 700 {
            pool.rule = "all-down-keep".into();
            pool.reason = format!("nobody is up: {} is down; {} is down", pool.order[0], pool.order[1]);
        }
        if number == 800 {
            let reason = Some("kernel update".to_owned());
            let node = Some(pool.order[0].clone());
            pool.hold = Some(OverrideStatus { node, reason, since_unix_ms: now, until_unix_ms: None });
        }
        for name in &pool.order {
            let verdict = if number == 700 { "down" } else { "up" };
            let checks = Family::ALL.map(|family| check("web", family, verdict, now)).to_vec();
            status.nodes.push(NodeStatus { name: name.clone(), checks, ..NodeStatus::default() });
        }
        status.zones.push(ZoneStatus {
            name: format!("zone{number}.example.org."),
            pools: vec![pool.name.clone()],
            serial: 1_700_000_000,
            serial_at_nsd: Some(1_700_000_000),
            export: true,
            last_export: Some(ExportReport {
                zone: format!("zone{number}.example.org."),
                generation: 7,
                serial: 1_700_000_000,
                result: ExportResult::Served,
                detail: format!("nsd serves serial 1700000000{evil}"),
                unix_ms: now - 3_600_000,
                duration_ms: 80,
            }),
            ..ZoneStatus::default()
        });
    }
    status
}

fn a_log(entries: usize, evil: &str) -> Vec<Entry> {
    let transition = |number: usize| Transition {
        generation: 7,
        unix_ms: now_unix_ms() - 60_000,
        pool: format!("pool{number}"),
        families: Family::ALL.to_vec(),
        from: Some("fishfinger.example.org".into()),
        to: Some("blowfish.example.org".into()),
        rule: "failover".into(),
        reason: format!("fishfinger.example.org is down over ipv4 (web: L4TOUT){evil}; blowfish.example.org is up"),
        zones: vec!["example.org.".into()],
        probes: Vec::new(),
        shadow: false,
    };
    (0..entries).map(|number| Entry::Transition(transition(number))).collect()
}

/// Octets, and the quickest of ten in milliseconds: the others measure our neighbours.
fn fetch(url: &str) -> (usize, f64) {
    let once = || {
        let arguments =
            ["-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code} %{size_download} %{time_total}"];
        let output = Command::new("curl").args(arguments).arg(url).output().expect("curl is installed");
        let text = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = text.split(' ').collect();
        assert_eq!(words[0], "200");
        (words[1].parse::<usize>().unwrap(), words[2].parse::<f64>().unwrap() * 1_000.0)
    };
    let tries: Vec<(usize, f64)> = (0..10).map(|_| once()).collect();
    (tries[0].0, tries.iter().map(|(_, ms)| *ms).fold(f64::INFINITY, f64::min))
}

/// A thousand pools stay usable: small, quick, problems first, found by a search.
#[test]
fn a_thousand_pools() {
    let bench = Bench::start(a_site(1_000, ""), a_log(100, ""));
    let (octets, ms) = fetch(&bench.url(""));
    println!("1,000 pools: {octets} octets, {ms:.1} ms");
    assert!(octets < 50_000, "{octets} octets");
    assert!(ms < 100.0, "{ms} ms");
    let (all, all_ms) = fetch(&bench.url("?more=1"));
    println!("1,000 pools with all rows: {all} octets, {all_ms:.1} ms");

    let browser = Browser::open(1280, 900);
    browser.go(&bench.url(""));
    assert!(browser.text("#pools tbody tr").contains("pool700"), "{}", browser.text("#pools tbody tr"));
    let headline = browser.text("#headline");
    assert!(headline.contains("1 critical"), "{headline}");
    assert!(browser.text("#alarms").contains("pool800: held on fishfinger800.example.org"));
    assert!(browser.text("#pools").contains("of 1000, problems first"));
    browser.screenshot(&picture("thousand.png"));
    // Live as one types.
    browser.write("#q", "blowfish421");
    wait_for("the search", || {
        let text = browser.text("#pools tbody");
        (text.contains("pool421") && !text.contains("pool700")).then_some(())
    });
    assert!(browser.text("#zones").contains("zone421.example.org."));
    browser.screenshot(&picture("thousand-search.png"));
    browser.go(&bench.url("?q=zone99&more=1"));
    assert_eq!(browser.run("return document.querySelectorAll('#pools tbody tr').length"), 11);
    browser.go(&bench.url("?more=1"));
    assert_eq!(browser.run("return document.querySelectorAll('#pools tbody tr').length"), 1_000);
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// While somebody selects text on it, the page stands still and says so; how it is all in all is true
/// all the same, and after a while all of it.
#[test]
fn selected_text_stays_for_a_while() {
    let bench = Bench::start(a_site(2, ""), a_log(3, ""));
    let browser = Browser::open(1280, 900);
    browser.go(&bench.url(""));
    wait_for("the script", || (browser.text("#age").starts_with("updated")).then_some(()));
    // At one moment: age, headline and title, and the pools.
    let shown = || {
        let words = browser.run(
            "const text = (id) => document.getElementById(id).textContent; \
             return [text('age'), `${text('headline')} ${document.title}`, text('pools')]",
        );
        serde_json::from_value::<[String; 3]>(words).unwrap()
    };
    browser.run("getSelection().selectAllChildren(document.querySelector('#pools tbody td'))");
    bench.change(|status| {
        status.pools[0].rule = "all-down-keep".into();
        status.pools[0].reason = "nobody is up: all is lost".into();
    });
    let [_, _, pools] = wait_for("the pause", || {
        let now = shown();
        let is_told = now[1].contains("\u{2716} 1 critical") && now[1].contains("\u{2716} CRITICAL: nsd-failover");
        (now[0].starts_with("paused: text is selected; updated ") && is_told).then_some(now)
    });
    assert!(!pools.contains("all is lost") && pools.contains("pool0"), "{pools}");
    assert_eq!(browser.run("return getSelection().toString()"), "pool0", "what was selected is there");
    // Ten seconds later, by the browser's clock, it is older by that.
    browser.run("window.shift = 10000; const now = Date.now; Date.now = () => now() + window.shift");
    wait_for("its true age", || {
        let [age, _, pools] = shown();
        let age_s: u64 =
            age.strip_prefix("paused: text is selected; updated ")?.strip_suffix(" s ago")?.parse().ok()?;
        assert!(!pools.contains("all is lost"));
        (age_s >= 10).then_some(())
    });
    browser.run("window.shift = 20000");
    let [age, ..] = wait_for("the end of the pause", || Some(shown()).filter(|now| now[2].contains("all is lost")));
    assert!(!age.starts_with("paused"), "{age}");

    // And at once when nothing is selected any more.
    browser.run("getSelection().selectAllChildren(document.querySelector('#pools tbody td'))");
    bench.change(|status| status.pools[0].reason = "nobody is up: still".into());
    wait_for("the second pause", || shown()[0].starts_with("paused").then_some(()));
    browser.run("getSelection().removeAllRanges()");
    wait_for("the news", || shown()[2].contains("nobody is up: still").then_some(()));
    // What is selected elsewhere is in nobody's way.
    browser.run("getSelection().selectAllChildren(document.querySelector('h1'))");
    bench.change(|status| status.pools[0].reason = "nobody is up: for ever".into());
    wait_for("more news", || shown()[2].contains("nobody is up: for ever").then_some(()));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// A bad night: one cause moves many pools, an order ends soon, nsd answers at two addresses, and all
/// of it in shadow.
#[test]
fn a_bad_night() {
    let mut status = a_site(60, "");
    let now = status.unix_ms;
    status.shadow = true;
    for pool in status.pools.iter_mut().take(30) {
        pool.rule = "all-down-keep".into();
        pool.reason = "nobody is up: fishfinger is down; blowfish is down".into();
    }
    status.pools.iter_mut().for_each(|pool| pool.next_rotation_unix_ms = None);
    let node = Some(status.pools[40].order[0].clone());
    let until_unix_ms = Some(now + 2 * 3_600_000 + 30_000);
    status.pools[40].hold =
        Some(OverrideStatus { node, until_unix_ms, since_unix_ms: now, ..OverrideStatus::default() });
    status.pools[50].since_unix_ms = Some(now - 60_000);
    let server = |server: &str, serial| ServerStatus { server: server.into(), serial };
    status.zones[0].servers =
        vec![server("192.0.2.53:53", Some(1_700_000_000)), server("[2001:db8::53]:53", Some(1_699_999_999))];
    let bench = Bench::start(status, a_log(3, ""));
    let browser = Browser::open(1280, 900);
    browser.go(&bench.url(""));
    wait_for("the script", || (browser.text("#age").starts_with("updated")).then_some(()));
    assert!(browser.text("#shadow").contains("nothing of this is published"), "{}", browser.text("#shadow"));
    let title = browser.run("return document.title");
    assert!(title.as_str().unwrap().ends_with(" (in shadow)"), "{title}");
    // Told once, in lines that one can read.
    let whys = "[...document.querySelectorAll('#pools tbody td:nth-child(5)')].map(td => td.textContent.trim())";
    let whys: Vec<String> = serde_json::from_value(browser.run(&format!("return {whys}"))).unwrap();
    assert_eq!(whys[0], "nobody is up: fishfinger is down; blowfish is down [all-down-keep]");
    assert!(whys[1..].iter().all(|why| why == "as pool0"), "{whys:?}");
    let width = browser.run("return document.querySelector('#pools td:nth-child(5)').getBoundingClientRect().width");
    assert!(width.as_f64().unwrap() > 350.0, "{width} px for the reasons");
    assert!(!browser.text("#pools thead").contains("rotation"), "nothing is planned");
    browser.screenshot(&picture("bad-night.png"));

    // The rest of the alarms is behind a link.
    assert!(!browser.text("#alarms").contains("pool29"));
    browser.run("document.querySelector('#alarms p a').click()");
    let alarms = wait_for("all alarms", || Some(browser.text("#alarms")).filter(|text| text.contains("pool29: ")));
    let until = "pool40: held on fishfinger40.example.org by order, until ";
    let line = alarms.lines().find(|line| line.contains(until)).unwrap_or_else(|| panic!("{alarms}"));
    assert!(line.ends_with("UTC (in 2 h 0 min)"), "{line}");
    assert!(alarms.contains("zone0.example.org.: nsd at [2001:db8::53]:53 serves serial 1699999999"), "{alarms}");
    assert!(browser.run("return location.search").as_str().unwrap().ends_with("&more=1"));
    let names = "[...document.querySelectorAll('#pools tbody td:nth-child(1)')].map(td => td.textContent.trim())";
    let names: Vec<String> = serde_json::from_value(browser.run(&format!("return {names}"))).unwrap();
    assert_eq!(names[29..33], ["\u{2716} pool29", "pool40 (held)", "pool50", "pool30"], "problems, orders, news");
    let zone = browser.text("#zones tbody tr");
    assert!(zone.contains("\u{2714} 1700000000 at 192.0.2.53:53, ! 1699999999 at [2001:db8::53]:53"), "{zone}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// On a phone nothing needs to be scrolled sideways; in the dark it is dark. Every problem is told by
/// a word or a sign.
#[test]
fn on_a_phone_and_in_the_dark() {
    let mut status = a_site(2, "");
    status.nodes[1].checks[0] = check("web", Family::Ipv4, "down", status.unix_ms);
    status.nodes[2].checks[0].cert_expiry_unix_s = Some(status.unix_ms / 1_000 + 5 * 86_400 + 60);
    status.zones[0].serial_at_nsd = Some(1);
    let secondary =
        |server: &str, serial| SecondaryStatus { server: server.into(), serial, ..SecondaryStatus::default() };
    status.zones[1].secondaries =
        vec![secondary("192.0.2.53:53", Some(1_700_000_000)), secondary("[2001:db8::53]:53", None)];
    let long = "a".repeat(63);
    status.pools[1].order[0] = format!("{long}.{long}.{long}.example.org");
    status.pools[1].families[0].primary = Some(status.pools[1].order[0].clone());
    let bench = Bench::start(status, a_log(3, ""));
    for (name, width, scheme) in [
        ("phone", 360, "light"),
        ("phone-dark", 360, "dark"),
        ("narrow", 1160, "light"),
        ("dark", 1280, "dark"),
        ("light", 1280, "light"),
    ] {
        let browser = Browser::open(width, 900);
        browser.prefer(scheme);
        browser.go(&bench.url(""));
        wait_for("the script", || (browser.text("#age").starts_with("updated")).then_some(()));
        let wide = browser.run("return document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= u64::from(width), "{name}: {wide} px wide");
        let ground = browser.run("return getComputedStyle(document.documentElement).backgroundColor");
        let brightness: u32 = ground
            .as_str()
            .unwrap()
            .trim_matches(|c: char| !c.is_ascii_digit())
            .split(", ")
            .map(|part| part.parse::<u32>().unwrap())
            .sum();
        assert_eq!(brightness < 384, scheme == "dark", "{name}: {ground}");
        let text = browser.text("body");
        for words in [
            "\u{2716} down",
            "L4TOUT",
            "! ends in 5 days",
            "! 1",
            "nsd serves serial 1, decided is 1700000000",
            "\u{2714} 1700000000 at 192.0.2.53:53",
            "! not seen at [2001:db8::53]:53",
        ] {
            assert!(text.contains(words), "{name}: no `{words}` in {text}");
        }
        browser.screenshot(&picture(&format!("{name}.png")));
    }
}

/// What comes from outside is text, in every place, also when the script puts it in.
#[test]
fn hostile_names_are_only_names() {
    let bench = Bench::start(a_site(3, EVIL), a_log(3, EVIL));
    let browser = Browser::open(1280, 900);
    browser.go(&format!("{}?q=%22%3E%3Cscript%3E", bench.url("")));
    assert!(browser.text("body").contains("None matches."));
    browser.go(&bench.url(""));
    wait_for("the script", || {
        (browser.run("return document.querySelectorAll('#pools tbody tr').length") == 3).then_some(())
    });
    let tags = browser.run("return [...new Set([...document.querySelectorAll('*')].map(e => e.localName))].join(' ')");
    let tags: BTreeSet<&str> = tags.as_str().unwrap().split(' ').collect();
    assert!(!tags.contains("img"), "{tags:?}");
    assert_eq!(browser.run("return document.scripts.length"), 1);
    assert!(browser.run("return document.title").as_str().unwrap().contains("OK: nsd-failover on"));
    assert!(browser.text("#pools").contains("<script>document.title='owned'</script>"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
