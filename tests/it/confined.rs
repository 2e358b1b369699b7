//! A confined daemon: it does all that it is for, and reaches nothing else; not even as root.
//!
//! On a kernel without landlock the log must say so, and there is nothing more to see.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use super::support::daemon::{Daemon, address, wait_for};
use super::support::nsd::{Nsd, free_address};

const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";
const ZONE: &str = "$TTL 300\n@ SOA ns h 1000 3600 600 604800 60\n@ NS ns\nns A 192.0.2.53\n\
                    www A 192.0.2.1 ; Enable failover\nstandby A 192.0.2.2 ; Enable failover\n";

fn config(nsd: &Nsd, more: &str) -> String {
    format!(
        "[nsd]\naddress = \"{}\"\ncontrol-socket = \"{}\"\n[node.a]\nipv4 = \"{A}\"\n[node.b]\nipv4 = \"{B}\"\n\
         [pool.web]\nnodes = [\"a\", \"b\"]\n[zone.\"foo.zone\"]\nfile = {:?}\npool = \"web\"\n{more}",
        nsd.address(),
        nsd.folder().join("nsd.sock").display(),
        nsd.zone_path("foo.zone"),
    )
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

fn is_ready(daemon: &Daemon) {
    wait_for("first decision", || (daemon.status()["ready"] == true).then_some(()));
}

/// `false`: this kernel cannot, and the log says it.
fn is_confined(daemon: &Daemon) -> bool {
    let log = wait_for("a word on it", || Some(daemon.log()).filter(|log| log.contains("confined")));
    assert!(log.contains(" confined (landlock V") || log.contains("not confined: "), "{log}");
    assert!(log.contains(" confined (landlock V") || log.contains("landlock"), "{log}");
    log.contains(" confined (landlock V")
}

/// Exports by nsd's own checkzone, reloads with a new name, and edits of an included file go on. What
/// was not there at the start is out of reach, whoever runs us.
#[test]
fn failover_export_and_reload_go_on_and_the_rest_is_out_of_reach() {
    let nsd = Nsd::start(&[("foo.zone", ZONE.as_bytes())]);
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path(), &config(&nsd, ""));
    is_ready(&daemon);
    let confined = is_confined(&daemon);
    let order = |node: &str| daemon.verb(&["switch", "web", node]);
    assert!(order("b").status.success(), "{}", daemon.log());
    assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(B));
    let text = fs::read_to_string(nsd.zone_path("foo.zone")).unwrap() + "new A 192.0.2.7\n";
    fs::write(nsd.zone_path("foo.zone"), text).unwrap();
    let reloaded = daemon.verb(&["reload"]);
    assert!(reloaded.status.success(), "{}", said(&reloaded));
    assert!(order("a").status.success(), "{}", daemon.log());
    assert_eq!(address(nsd.address(), "new.foo.zone", "A").as_deref(), Some("192.0.2.7"));
    if !confined {
        return;
    }
    // The same names, but another folder: nobody has let it write there.
    let zones = nsd.folder().join("zones");
    fs::rename(&zones, nsd.folder().join("old")).unwrap();
    fs::create_dir(&zones).unwrap();
    fs::set_permissions(&zones, fs::Permissions::from_mode(0o777)).unwrap();
    fs::copy(nsd.folder().join("old/foo.zone.zone"), zones.join("foo.zone.zone")).unwrap();
    let refused = order("b");
    assert!(!refused.status.success() && said(&refused).contains("Permission denied"), "{}", said(&refused));
    let names: Vec<_> = fs::read_dir(&zones).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["foo.zone.zone"]);
    // The folder that it was started for is still its own.
    fs::remove_dir_all(&zones).unwrap();
    fs::rename(nsd.folder().join("old"), &zones).unwrap();
    let exported = daemon.verb(&["export", "foo.zone"]);
    assert!(exported.status.success(), "{}", said(&exported));
    assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(B));
}

/// A reload that needs more than the start did is refused as a whole, and says what to do.
#[test]
fn a_reload_with_new_paths_is_refused_until_a_restart() {
    let nsd = Nsd::start(&[("foo.zone", ZONE.as_bytes())]);
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(other.path().join("bar.zone"), ZONE).unwrap();
    let mut daemon = Daemon::start(folder.path(), &config(&nsd, ""));
    is_ready(&daemon);
    let file = folder.path().join("nsd-failover.toml");
    let before = fs::read_to_string(&file).unwrap();
    let more = format!("[zone.\"bar.zone\"]\nfile = {:?}\npool = \"web\"\n", other.path().join("bar.zone"));
    fs::write(&file, before + &more).unwrap();
    let reload = daemon.verb(&["reload"]);
    if !is_confined(&daemon) {
        assert!(reload.status.success(), "{}", said(&reload));
        return;
    }
    let words = said(&reload);
    assert_eq!(reload.status.code(), Some(2), "{words}");
    assert!(words.contains("confined to what its configuration needed when it started: restart it"), "{words}");
    assert_eq!(daemon.status()["zones"].as_array().unwrap().len(), 1, "the old stays in service");
    assert_eq!(daemon.stop().code(), Some(0));
    daemon.start_again();
    assert_eq!(daemon.status()["zones"].as_array().unwrap().len(), 2);
}

fn exec_check(script: &str) -> String {
    format!(
        "[check.own]\nexec = [\"sh\", \"-c\", {script:?}, \"{{ip}}\"]\ninterval = \"200ms\"\nfast-interval = \"200ms\"\n"
    )
}

/// Programs of the operator's own inherit it: without a word nothing is confined then; with `enabled`
/// they write where `write` says and nowhere else.
#[test]
fn programs_of_the_operator_s_own() {
    let nsd = Nsd::start(&[("foo.zone", ZONE.as_bytes())]);
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| other.path().join(name);
    fs::create_dir(path("allowed")).unwrap();
    let script =
        format!("echo x > {}; echo x > {}; exit 0", path("allowed/file").display(), path("elsewhere").display());
    let with_check = |more: &str| {
        let text = config(&nsd, &format!("{}{more}", exec_check(&script)));
        text.replace("nodes = [\"a\", \"b\"]", "nodes = [\"a\", \"b\"]\nchecks = [\"own\"]")
    };
    let mut daemon = Daemon::start(folder.path(), &with_check(""));
    wait_for("a file of an unconfined check", || path("elsewhere").exists().then_some(()));
    let log = daemon.log();
    assert!(log.contains("not confined: the configuration runs check `own`: they would inherit it"), "{log}");
    assert_eq!(daemon.stop().code(), Some(0));
    drop(daemon);
    ["allowed/file", "elsewhere"].iter().for_each(|name| fs::remove_file(path(name)).unwrap());
    fs::remove_file(folder.path().join("daemon.log")).unwrap();

    let confine = format!("[confine]\nenabled = true\nwrite = [{:?}]\n", path("allowed"));
    let daemon = Daemon::start(folder.path(), &with_check(&confine));
    wait_for("a file of a confined check", || path("allowed/file").exists().then_some(()));
    is_ready(&daemon);
    let confined = is_confined(&daemon);
    wait_for("the next run", || {
        fs::remove_file(path("allowed/file")).ok();
        wait_for("it again", || path("allowed/file").exists().then_some(()));
        Some(())
    });
    assert_eq!(path("elsewhere").exists(), !confined);
    assert!(daemon.verb(&["switch", "web", "b"]).status.success(), "{}", daemon.log());
    assert_eq!(address(nsd.address(), "www.foo.zone", "A").as_deref(), Some(B));
}

/// What belongs to everybody can be read, what the configuration does not name cannot.
#[test]
fn only_what_is_named_can_be_read() {
    let nsd = Nsd::start(&[("foo.zone", ZONE.as_bytes())]);
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let included = other.path().join("hosts");
    fs::write(&included, "h A 192.0.2.9\n").unwrap();
    let dns = free_address();
    let text = format!("listen = [\"{dns}\"]\n{}", config(&nsd, "serve = \"zone\"\n"));
    let daemon = Daemon::start(folder.path(), &text);
    is_ready(&daemon);
    include(&nsd.zone_path("foo.zone"), &included);
    let reload = daemon.verb(&["reload"]);
    match is_confined(&daemon) {
        false => assert!(reload.status.success(), "{}", said(&reload)),
        true => {
            let words = said(&reload);
            assert_eq!(reload.status.code(), Some(2), "{words}");
            assert!(words.contains("Permission denied") && words.contains("restart it"), "{words}");
            assert_eq!(address(dns, "www.foo.zone", "A").as_deref(), Some(A));
        }
    }
}

fn include(zone: &Path, file: &Path) {
    let text = fs::read_to_string(zone).unwrap() + &format!("$INCLUDE {}\n", file.display());
    fs::write(zone, text).unwrap();
}
