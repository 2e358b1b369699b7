//! What goes wrong between us and a secondary, and between two lives of the daemon.

use std::fs;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::support::*;
use crate::support::daemon::wait_for;
use crate::support::nsd::free_address;

/// A secondary in name only: takes the next NOTIFY and answers with this code.
fn answer_notify(socket: &UdpSocket, rcode: Option<u8>) -> (Vec<u8>, Instant) {
    let mut buffer = [0; 1024];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).expect("a NOTIFY in time");
        let mut message = buffer[..len].to_vec();
        let is_notify = message[2] & 0x78 == 0x20;
        if let Some(rcode) = rcode.filter(|_| is_notify) {
            let mut reply = message.clone();
            reply[2] |= 0x80;
            reply[3] = rcode;
            socket.send_to(&reply, from).unwrap();
        }
        if is_notify {
            message.truncate(len);
            return (message, Instant::now());
        }
    }
}

#[test]
fn a_notify_is_sent_until_it_is_acknowledged() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let at = socket.local_addr().unwrap();
    let primary = Primary::start(ZONE, &format!("notify = [\"{at}\"]"));
    let (message, first) = answer_notify(&socket, Some(5));
    assert_eq!(message[4..12], [0, 1, 0, 1, 0, 0, 0, 0], "one question, the new SOA");
    assert_eq!(message[2] & 0x7c, 0x24, "opcode NOTIFY, AA");
    let (_, second) = answer_notify(&socket, Some(5));
    assert!(second - first > Duration::from_millis(900), "not at once");
    let problem = wait_for("the refusal in the status", || {
        primary.secondary(at)["problem"].as_str().filter(|problem| !problem.is_empty()).map(str::to_owned)
    });
    assert_eq!(problem, "NOTIFY: answers REFUSED");
    let (_, third) = answer_notify(&socket, Some(0));
    assert!(third - second > Duration::from_millis(1_900), "ever more patiently");
    wait_for("the acknowledgement", || (primary.secondary(at)["acknowledged"] == 100).then_some(()));
    // A new serial does not wait for the minute in which an up-to-date secondary is looked at; a
    // datagram that is lost is sent again, which is not another try: its ID is the same.
    let asked = Instant::now();
    primary.switch("blowfish");
    let (lost, at_once) = answer_notify(&socket, None);
    assert!(at_once - asked < Duration::from_secs(20), "{:?}", at_once - asked);
    let (again, _) = answer_notify(&socket, Some(0));
    assert_eq!(again, lost);
    wait_for("the acknowledgement", || (primary.secondary(at)["acknowledged"] == 101).then_some(()));
    let log = primary.daemon.log();
    assert!(log.contains("answers REFUSED (2 in a row); again in 2 s"), "{log}");
    let text = String::from_utf8(primary.daemon.verb(&["status"]).stdout).unwrap();
    assert!(text.contains(&format!("not seen at {at}")), "{text}");
}

/// It holds one place until its deadline; the others are served.
#[test]
fn a_secondary_that_never_reads_is_cut_off() {
    let strings: String = (0..60).map(|_| format!(" \"{}\"", "x".repeat(250))).collect();
    let large: String = (0..1_500).map(|number| format!("txt{number} IN TXT \"{number}\"{strings}\n")).collect();
    let primary = Primary::start(&format!("{ZONE}{large}"), "allow-transfer = [\"127.0.0.1\"]");
    let silent: Vec<std::net::TcpStream> = (0..9)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(4_096).unwrap();
            socket.connect(&primary.address.into()).unwrap();
            let mut stream = std::net::TcpStream::from(socket);
            let query = b"\0\x1d\0\x01\0\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\xfc\0\x01";
            stream.write_all(query).unwrap();
            stream
        })
        .collect();
    // All places of this client are taken, the tenth waits for its turn; queries are answered.
    assert_eq!(primary.serial(), Some(100));
    let log = wait_for("the deadline", || {
        let log = primary.daemon.log();
        log.contains("transfer to 127.0.0.1 broke off").then_some(log)
    });
    assert!(log.contains("it does not read"), "{log}");
    wait_for("a place", || (transfer(primary.address, &["example.org", "AXFR"]).len() > 1_500).then_some(()));
    let mut rest = Vec::new();
    let mut first = &silent[0];
    first.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = first.read_to_end(&mut rest);
    assert!(rest.len() < 20_000_000);
}

/// Whatever happens to us, the secondary never sees an older serial, and has the newest zone.
#[test]
fn the_serial_never_falls() {
    let at = free_address();
    let mut primary = Primary::start(ZONE, &format!("notify = [\"{at}\"]"));
    let secondary = nsd(at, primary.address, false);
    let served = |primary: &Primary, what: &str| {
        let serial = primary.serial();
        wait_for(what, || (serial.is_some() && super::support::serial(at, "example.org") == serial).then_some(()));
        serial.unwrap()
    };
    served(&primary, "first transfer");
    primary.switch("blowfish");
    let before = served(&primary, "a swap");

    primary.daemon.kill();
    primary.daemon.start_again();
    wait_for("the zone", || primary.serial());
    let after_crash = served(&primary, "a crash");
    assert!(after_crash > before, "{after_crash} after {before}");

    assert_eq!(primary.daemon.stop().code(), Some(0));
    primary.daemon.start_again();
    wait_for("the zone", || primary.serial());
    assert_eq!(served(&primary, "a restart"), after_crash, "nothing has changed");

    // The state is gone: the file says 100 again, and the secondary will not have it.
    primary.daemon.kill();
    fs::remove_dir_all(primary.folder.path().join("state")).unwrap();
    primary.daemon.start_again();
    let after_loss =
        wait_for("a serial beyond the secondary's", || primary.serial().filter(|serial| *serial > after_crash));
    assert_eq!(served(&primary, "a lost state"), after_loss);
    drop(secondary);
}

/// An edit of the file is a new version, with or without a new serial in it.
#[test]
fn an_edit_reaches_the_secondary() {
    let at = free_address();
    let primary = Primary::start(ZONE, &format!("notify = [\"{at}\"]\nallow-transfer = [\"127.0.0.1\"]"));
    let secondary = knot(at, primary.address, false, false);
    let txt = |wanted: &str| {
        let found = || crate::support::nsd::dig(secondary.address, &["txt.example.org", "TXT"]);
        wait_for(wanted, || (found() == [format!("\"{wanted}\"")]).then_some(()));
        assert_eq!(zone_at(at, &["example.org", "AXFR"]), zone_at(primary.address, &["example.org", "AXFR"]));
    };
    txt("hello");
    let file = primary.folder.path().join("example.org.zone");
    for (text, words) in [
        (ZONE.replace("hello", "edited"), "edited"),
        (ZONE.replace("hello", "and again").replace("hostmaster 100", "hostmaster 900"), "and again"),
    ] {
        fs::write(&file, text).unwrap();
        assert_eq!(primary.daemon.verb(&["reload"]).status.code(), Some(0));
        txt(words);
        // SOA twice, the old text, SOA, the new text, SOA.
        let log = primary.daemon.log();
        assert!(log.trim_end().lines().any(|line| line.contains(": changes, 6 records")), "{log}");
    }
    assert_eq!(primary.serial(), Some(900));
    // A reload that changes nothing keeps the journal: the next swap goes as its difference.
    assert_eq!(primary.daemon.verb(&["reload"]).status.code(), Some(0));
    assert_eq!(primary.serial(), Some(900));
    primary.switch("blowfish");
    wait_for("the swap", || (serial(at, "example.org") == Some(901)).then_some(()));
    let log = primary.daemon.log();
    assert!(log.trim_end().lines().any(|line| line.contains(": changes, 8 records")), "{log}");
}

/// RFC 9432: the members are found in the catalog, and taken.
#[test]
fn knot_takes_the_members_of_the_catalog() {
    let at = free_address();
    let more = format!("[catalog]\nzone = \"catalog.example\"\nnotify = [\"{at}\"]\n");
    let primary = Primary::start_with(ZONE, &format!("notify = [\"{at}\"]"), &more);
    let secondary = knot(at, primary.address, false, true);
    wait_for("the member", || serial(secondary.address, "example.org"));
    // It answers nobody for the catalog: what it has fetched is known all the same, and nothing is wrong.
    let member = |name: &str| {
        let zones = primary.daemon.status()["zones"].as_array().unwrap().clone();
        let zone = zones.into_iter().find(|zone| zone["name"] == name).unwrap();
        (zone["serial"] == zone["secondaries"][0]["serial"]).then(|| zone["secondaries"][0]["problem"].clone())
    };
    assert_eq!(wait_for("the catalog", || member("catalog.example.")), "");
    // It is told of the member again, which it did not know before.
    wait_for("the member", || member("example.org.").filter(|problem| problem == ""));
    let alarms = primary.metrics();
    assert!(!alarms.lines().any(|line| line.contains("kind=\"behind\"") && line.ends_with(" 1")), "{alarms}");
    // A catalog has no parent, and the parent of the member delegates it to the secondary.
    let checked = String::from_utf8(primary.daemon.verb(&["check"]).stdout).unwrap();
    assert!(checked.contains(": ok: ") && !checked.contains("must hold"), "{checked}");
    let found = zone_at(primary.address, &["catalog.example", "AXFR"]);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().any(|line| line == "version.catalog.example. 0 IN TXT \"2\""), "{found:?}");
    assert!(found.iter().any(|line| line.ends_with(".zones.catalog.example. 0 IN PTR example.org.")), "{found:?}");
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("k.key");
    let config = folder.path().join("c.toml");
    fs::write(&config, "listen = [\"127.0.0.1:5353\"]\n[key.k]\nsecret-file = \"k.key\"\n").unwrap();
    let check = |text: &str, mode: u32| {
        fs::write(&key, text).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let output = crate::support::daemon::program(&config).arg("check").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains(SECRET) && !said.contains("c2Vjc"), "{said}");
        (output.status.code(), said)
    };
    assert_eq!(check(SECRET, 0o640).0, Some(0));
    assert_eq!(check(&format!("{SECRET}\n"), 0o600).0, Some(0));
    let shown = key.display();
    for (text, mode, words) in [
        (SECRET, 0o644, "the secret is open to everybody (mode 644); chmod 640"),
        ("not base64!", 0o600, "there is no base64 text in it; make one: openssl rand -base64 32"),
        ("c2VjcmV0", 0o600, "the secret has fewer than 16 octets; make one"),
    ] {
        let (code, said) = check(text, mode);
        assert_eq!(code, Some(2));
        assert!(said.contains(&format!("{shown}: error: key k.: {words}")), "{said}");
    }
}
