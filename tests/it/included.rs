//! The whole program beside a real nsd, with zones that include other files: exports in place and to
//! an export-file, rollback, and the operator's edits.

use std::fs;
use std::path::Path;

use super::support::daemon::{Daemon, address, wait_for};
use super::support::nsd::Nsd;

const ORIGIN: &str = "foo.zone";
const A: &str = "192.0.2.1";
const B: &str = "192.0.2.2";

const OWN: &str =
    "$INCLUDE inc/soa\n@ NS ns.example.net.\n$INCLUDE inc/names eu.foo.zone. ; the names\nplain A 192.0.2.9\n";
const SOA: &str = "; one for all\r\n$TTL 60\r\n@ SOA ns h ( 1000 ; serial\r\n 2 3 4 5 )\r\n";
const NAMES: &str = "www\tA 192.0.2.1   ; Enable failover\nstandby A 192.0.2.2 ; Enable failover\n";

/// nsd with the zone, whose included files lie below nsd's zonesdir.
fn nsd() -> Nsd {
    // The folder is known only when nsd runs: it starts without the included files.
    let nsd = Nsd::start(&[(ORIGIN, OWN.as_bytes())]);
    let folder = nsd.folder().join("zones/inc");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("soa"), SOA).unwrap();
    fs::write(folder.join("names"), NAMES).unwrap();
    nsd.control(&["reload", ORIGIN]);
    wait_for("the zone at nsd", || (nsd.serial(ORIGIN) == Some(1000)).then_some(()));
    nsd
}

fn config(nsd: &Nsd, zone: &str) -> String {
    format!(
        "[nsd]\naddress = \"{}\"\ncontrol-socket = \"{}\"\n[node.a]\nipv4 = \"{A}\"\n[node.b]\nipv4 = \"{B}\"\n\
         [pool.web]\nnodes = [\"a\", \"b\"]\n[zone.\"{ORIGIN}\"]\npool = \"web\"\nserial = \"increment\"\n{zone}",
        nsd.address(),
        nsd.folder().join("nsd.sock").display()
    )
}

fn started(folder: &Path, config: &str) -> Daemon {
    let daemon = Daemon::start(folder, config);
    wait_for("first decision", || (daemon.status()["ready"] == true).then_some(()));
    daemon
}

fn done(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.verb(arguments);
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {words}{}", String::from_utf8_lossy(&output.stderr));
    words
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

fn served(nsd: &Nsd, name: &str) -> Option<String> {
    address(nsd.address(), name, "A")
}

/// The address of the first name in the included text, and the others exchanged with it.
fn moved(text: &str) -> String {
    text.replace(A, "@").replace(B, A).replace('@', B)
}

#[test]
fn in_place_soa_and_failover_records_are_edited_where_they_stand() {
    let nsd = nsd();
    let zones = nsd.folder().join("zones");
    let folder = tempfile::tempdir().unwrap();
    let daemon = started(folder.path(), &config(&nsd, &format!("file = {:?}\n", nsd.zone_path(ORIGIN))));
    let texts = || [nsd.zone_path(ORIGIN), zones.join("inc/soa"), zones.join("inc/names")].map(read);

    done(&daemon, &["switch", "web", "b"]);
    assert_eq!(texts(), [OWN.to_owned(), SOA.replace("1000", "1001"), moved(NAMES)]);
    assert_eq!(nsd.serial(ORIGIN), Some(1001));
    assert_eq!(served(&nsd, "www.eu.foo.zone").as_deref(), Some(B));
    assert_eq!(served(&nsd, "standby.eu.foo.zone").as_deref(), Some(A));
    assert_eq!(served(&nsd, "plain.foo.zone").as_deref(), Some("192.0.2.9"));

    // The operator adds a name where the failover records are; the next move keeps it. The content
    // tells, not the time of the file.
    let edit = moved(NAMES) + "new A 192.0.2.7\n";
    let modified = fs::metadata(zones.join("inc/names")).unwrap().modified().unwrap();
    fs::write(zones.join("inc/names"), &edit).unwrap();
    fs::File::options().append(true).open(zones.join("inc/names")).unwrap().set_modified(modified).unwrap();
    done(&daemon, &["switch", "web", "a"]);
    assert_eq!(texts(), [OWN.to_owned(), SOA.replace("1000", "1002"), moved(&edit)]);
    assert_eq!(served(&nsd, "new.eu.foo.zone").as_deref(), Some("192.0.2.7"));

    // The generation before, every file of it.
    let kept = done(&daemon, &["generations", ORIGIN]);
    assert!(kept.contains("serial 1001 ") && kept.contains("  and 2 included files\n"), "{kept}");
    let words = done(&daemon, &["rollback", ORIGIN]);
    assert!(words.contains("generation with serial 1001"), "{words}");
    assert_eq!(nsd.serial(ORIGIN), Some(1003));
    assert_eq!(served(&nsd, "www.eu.foo.zone").as_deref(), Some(B));
    assert_eq!(texts()[1], SOA.replace("1000", "1003"));
    for folder in [&zones, &zones.join("inc")] {
        let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }
}

#[test]
fn an_export_file_holds_what_is_included() {
    let nsd = nsd();
    let folder = tempfile::tempdir().unwrap();
    // The operator's own copy, elsewhere; nsd never sees it.
    fs::create_dir(folder.path().join("inc")).unwrap();
    for (name, text) in [("source.zone", OWN), ("inc/soa", SOA), ("inc/names", NAMES)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let target = nsd.zone_path(ORIGIN);
    let zone = format!("file = \"source.zone\"\nexport-file = {target:?}\n");
    let daemon = started(folder.path(), &config(&nsd, &zone));
    // nsd's own included files are gone from now on.
    fs::remove_dir_all(nsd.folder().join("zones/inc")).unwrap();
    let complete = |soa: &str, names: &str| {
        format!(
            "; $INCLUDE inc/soa\n{soa}@ NS ns.example.net.\n; $INCLUDE inc/names eu.foo.zone. ; the names\n\
             $ORIGIN eu.foo.zone.\n{names}$ORIGIN foo.zone.\nplain A 192.0.2.9\n"
        )
    };
    let serial = |serial: &str| SOA.replace("1000", serial);

    done(&daemon, &["switch", "web", "b"]);
    let first = nsd.serial(ORIGIN).unwrap();
    assert_eq!(read(&target), complete(&serial(&first.to_string()), &moved(NAMES)));
    assert_eq!(served(&nsd, "www.eu.foo.zone").as_deref(), Some(B));
    assert_eq!(served(&nsd, "plain.foo.zone").as_deref(), Some("192.0.2.9"));
    assert_eq!([read(folder.path().join("inc/soa")), read(folder.path().join("inc/names"))], [SOA, NAMES]);
    let rendered = done(&daemon, &["render", "--zone", ORIGIN, "--primary", "b", "--serial", "2000"]);
    assert_eq!(rendered, complete(&serial("2000"), &moved(NAMES)));

    // An edit of an included file is published with the next move.
    fs::write(folder.path().join("inc/names"), NAMES.to_owned() + "new A 192.0.2.7").unwrap();
    done(&daemon, &["switch", "web", "a"]);
    // It is loaded then, too, and served under a serial of its own.
    done(&daemon, &["reload"]);
    done(&daemon, &["export", ORIGIN]);
    let second = nsd.serial(ORIGIN).unwrap();
    assert!(second > first, "{second} after {first}");
    assert_eq!(read(&target), complete(&serial(&second.to_string()), &(NAMES.to_owned() + "new A 192.0.2.7\n")));
    assert_eq!(served(&nsd, "new.eu.foo.zone").as_deref(), Some("192.0.2.7"));

    // The file says so already: nothing is written for it.
    let written = fs::metadata(&target).unwrap().modified().unwrap();
    done(&daemon, &["export", ORIGIN]);
    assert_eq!((nsd.serial(ORIGIN), fs::metadata(&target).unwrap().modified().unwrap()), (Some(second), written));

    // One file, so it comes back as one.
    done(&daemon, &["rollback", ORIGIN]);
    let third = nsd.serial(ORIGIN).unwrap();
    assert_eq!(read(&target), complete(&serial(&third.to_string()), &moved(NAMES)));
    assert_eq!(served(&nsd, "www.eu.foo.zone").as_deref(), Some(B));
}
