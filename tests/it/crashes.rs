//! A daemon that was killed in the middle of exports, and starts again: it answers first, and cleans
//! up beside that.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nsd_failover::publish::{Control, Cut, Job, Limits, NsdSettings, Publisher, ReadBack, Step};

use super::support::daemon::{Daemon, address, program, wait_for};
use super::support::nsd::{Nsd, free_address};
use super::support::terminal::Terminal;

const A: &str = "127.0.0.11";
const B: &str = "127.0.0.12";
const ZONE: &str = "\
$TTL 300
@        IN SOA ns hostmaster 1000 3600 600 604800 60
         IN NS  ns
ns       IN A   127.0.0.1
www      IN A   127.0.0.11 ; Enable failover
standby  IN A   127.0.0.12 ; Enable failover
";
const ZONES: usize = 12;

fn origin(number: usize) -> String {
    format!("z{number}.example")
}

/// nsd with many zones, a daemon in front of it that has died, and its configuration.
fn dead_front(control: &str) -> (Nsd, tempfile::TempDir, Daemon, std::net::SocketAddr) {
    let origins: Vec<String> = (0..ZONES).map(origin).collect();
    let zones: Vec<(&str, &[u8])> = origins.iter().map(|origin| (origin.as_str(), ZONE.as_bytes())).collect();
    let nsd = Nsd::start(&zones);
    let (folder, front) = (tempfile::tempdir().unwrap(), free_address());
    let zone = |origin: &String| format!("[zone.{origin:?}]\nfile = {:?}\npool = \"web\"\n", nsd.zone_path(origin));
    let zones: String = origins.iter().map(zone).collect();
    let config = format!(
        "listen = [\"{front}\"]\n[nsd]\naddress = \"{}\"\nrelay = true\n{}\n\
         [node.a]\nipv4 = \"{A}\"\n[node.b]\nipv4 = \"{B}\"\n[pool.web]\nnodes = [\"a\", \"b\"]\n{zones}",
        nsd.address(),
        control.replace("DIR", &nsd.folder().display().to_string())
    );
    let mut daemon = Daemon::start(folder.path(), &config);
    wait_for("first decision", || (daemon.status()["ready"] == true).then_some(()));
    daemon.kill();
    (nsd, folder, daemon, front)
}

/// An export of a zone, as the daemon does it, that ends right after this step.
async fn cut_off(nsd: &Nsd, state_dir: &Path, origin: &str, at: Step) {
    let settings = NsdSettings {
        address: nsd.address(),
        verify: Vec::new(),
        control: Control::Socket(nsd.folder().join("nsd.sock")),
        checkzone: Vec::new(),
        state_dir: state_dir.to_owned(),
        limits: Limits::default(),
    };
    let target = nsd.zone_path(origin);
    let job = Job {
        origin: origin.parse().unwrap(),
        source: Some(target.clone()),
        source_bytes: fs::read(&target).unwrap().into(),
        source_serial: 1000,
        target,
        bytes: ZONE.replace(A, "#").replace(B, A).replace('#', B).replace("1000", "1001").into_bytes().into(),
        serial: 1001,
        generation: 2,
        included: Arc::new([]),
        include_dir: None,
    };
    let verify = |_: &[u8]| Ok(ReadBack { expect: Box::new(|| Ok(Vec::new())), skeleton: None });
    let cut = |done: Step| if done == at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert_eq!(Publisher::new(settings).export_stepwise(job, verify, &cut).await, Err(Cut));
}

fn journals(state_dir: &Path) -> usize {
    fs::read_dir(state_dir.join("journal")).map_or(0, Iterator::count)
}

async fn cut_off_all(nsd: &Nsd, state_dir: &Path) {
    for number in 0..ZONES {
        cut_off(nsd, state_dir, &origin(number), Step::Swapped).await;
    }
    assert_eq!(journals(state_dir), ZONES);
}

/// Twelve times the deadline of one question would be twelve seconds without an answer.
#[tokio::test]
async fn with_nsd_hung_what_is_in_memory_is_answered_first() {
    let (nsd, folder, mut daemon, front) = dead_front("control-socket = \"DIR/nsd.sock\"");
    let state_dir = folder.path().join("state");
    cut_off_all(&nsd, &state_dir).await;
    nsd.pause();
    let began = Instant::now();
    daemon.start_again();
    wait_for("an answer", || address(front, "www.z0.example", "A"));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    wait_for("the end of the deadlines", || {
        (daemon.log().matches("after a crash: the new file is in place, but nsd: ").count() >= ZONES).then_some(())
    });
    nsd.resume();
    let exported = daemon.verb(&["export", "--all"]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    assert_eq!(journals(&state_dir), 0);
    for number in 0..ZONES {
        let name = format!("www.{}", origin(number));
        assert_eq!(address(nsd.address(), &name, "A"), address(front, &name, "A"), "{name}");
    }
}

/// Each zone costs nsd-control's deadline of 10 s: side by side, and nobody waits for it.
#[tokio::test]
async fn with_nsd_control_hanging_what_is_in_memory_is_answered_first() {
    let (nsd, folder, mut daemon, front) = dead_front("control = [\"sleep\", \"60\"]");
    cut_off_all(&nsd, &folder.path().join("state")).await;
    let began = Instant::now();
    daemon.start_again();
    wait_for("an answer", || address(front, "www.z0.example", "A"));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

/// What the crash left is put right without anybody's order; what memory says, the files say, too.
#[tokio::test]
async fn a_start_cleans_up_beside_the_answers() {
    let (nsd, folder, mut daemon, front) = dead_front("control-socket = \"DIR/nsd.sock\"");
    let state_dir = folder.path().join("state");
    let steps = [Step::Journaled, Step::Written, Step::Checked, Step::Swapped, Step::Reloaded, Step::Compared];
    for (number, step) in steps.into_iter().enumerate() {
        cut_off(&nsd, &state_dir, &origin(number), step).await;
    }
    let begin = ".nsd-failover-";
    daemon.start_again();
    wait_for("the end of the journals", || (journals(&state_dir) == 0).then_some(()));
    let zones = nsd.folder().join("zones");
    let temps = || {
        fs::read_dir(&zones)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(begin))
            .count()
    };
    wait_for("the end of the temp files", || (temps() == 0).then_some(()));
    let exported = daemon.verb(&["export", "--all"]);
    assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    for number in 0..ZONES {
        let name = format!("www.{}", origin(number));
        let served = wait_for("one answer", || {
            let (ours, theirs) = (address(front, &name, "A"), address(nsd.address(), &name, "A"));
            (ours == theirs).then_some(ours)?
        });
        let text = fs::read_to_string(nsd.zone_path(&origin(number))).unwrap();
        let line = format!("www      IN A   {served} ; Enable failover\n");
        assert!(text.contains(&line), "{name}: {served}, and the file says:\n{text}");
    }
}

/// Whoever repeats a rollback that a crash has cut off waits until that is put right, and sees it: the
/// files that he would be refused for are not those that he means.
#[test]
fn a_rollback_waits_for_what_a_crash_has_cut_off() {
    let nsd = Nsd::start(&[("foo.zone", ZONE.as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    let stuck = folder.path().join("stuck");
    let held_up = format!("if test -e {0}; then while test -e {0}; do sleep 0.05; done; exit 1; fi", stuck.display());
    let script = format!("{held_up}; exec {} \"$@\"", nsd.control_argv().join(" "));
    let config = format!(
        "[nsd]\naddress = \"{}\"\ncontrol = [\"sh\", \"-c\", {script:?}, \"sh\"]\n\
         [node.a]\nipv4 = \"{A}\"\n[node.b]\nipv4 = \"{B}\"\n[pool.web]\nnodes = [\"a\", \"b\"]\n\
         [zone.\"foo.zone\"]\nfile = {:?}\npool = \"web\"\n",
        nsd.address(),
        nsd.zone_path("foo.zone")
    );
    let mut daemon = Daemon::start(folder.path(), &config);
    wait_for("first decision", || (daemon.status()["ready"] == true).then_some(()));
    assert!(daemon.verb(&["switch", "web", "b"]).status.success());

    fs::write(&stuck, "").unwrap();
    let file = folder.path().join("nsd-failover.toml");
    let mut first = program(&file);
    let mut first = first.args(["rollback", "foo.zone"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let primary = format!("www      IN A   {A} ;");
    wait_for("the file of before", || {
        fs::read_to_string(nsd.zone_path("foo.zone")).unwrap().contains(&primary).then_some(())
    });
    daemon.kill();
    assert_eq!(first.wait().unwrap().code(), Some(1));
    daemon.start_again();

    let program = format!("{} --config {}", env!("CARGO_BIN_EXE_nsd-failover"), file.display());
    let terminal = Terminal::run(&format!("{program} rollback foo.zone; echo ended with $?; sleep 100"), 110, 20);
    let shows = |words: &str| wait_for(words, || terminal.screen().contains(words).then_some(()));
    shows("rolling foo.zone back: what a crash has cut off is put right first (");
    fs::remove_file(&stuck).unwrap();
    shows("ended with ");
    let screen = terminal.screen();
    assert!(screen.contains("ended with 0") && screen.contains("generation with serial 1000"), "{screen}");
    assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(A));
    assert_eq!(journals(&folder.path().join("state")), 0);
}
