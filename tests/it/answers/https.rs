//! DNS over HTTPS as RFC 8484 has it: both methods, both versions of HTTP, and what is said to who
//! asks in another way.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hickory_proto::op::Message;

use super::encrypted::certificate;
use super::support::{query, type_of};
use crate::support::daemon::Daemon;
use crate::support::nsd::free_address;

/// Status, head in small letters, and body of what curl is told.
fn curl(
    server: SocketAddr,
    path: &str,
    arguments: &[&str],
    body: Option<&[u8]>,
    folder: &Path,
) -> (u16, String, Vec<u8>) {
    let (sent, received) = (folder.join("sent"), folder.join("received"));
    let mut command = Command::new("curl");
    command.args(["-s", "-k", "--max-time", "20", "-D", "-", "-o"]).arg(&received).args(arguments);
    if let Some(body) = body {
        fs::write(&sent, body).unwrap();
        command.arg("--data-binary").arg(format!("@{}", sent.display()));
    }
    let _ = fs::remove_file(&received);
    let output =
        command.arg(format!("https://{server}{path}")).stdin(Stdio::null()).output().expect("curl is installed");
    let head = String::from_utf8(output.stdout).unwrap().to_ascii_lowercase();
    let status = head.lines().rfind(|line| line.starts_with("http/")).unwrap_or_else(|| panic!("{path} {arguments:?}"));
    let status = status.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, fs::read(&received).unwrap_or_default())
}

/// The status that is expected, the path, what curl is told besides, the body.
type Case<'a> = (u16, &'a str, &'a [&'a str], Option<&'a [u8]>);

#[test]
fn get_post_and_everything_else() {
    const DNS: [&str; 2] = ["-H", "content-type: application/dns-message"];
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let zone = "@ 3600 SOA ns h 1 2 3 400000 7\n@ 300 NS ns\nns 300 A 192.0.2.53\nwww 42 A 192.0.2.10\n";
    fs::write(folder.path().join("zone"), zone).unwrap();
    let [plain, https] = [(); 2].map(|()| free_address());
    let config = format!(
        "listen = [\"{plain}\"]\n[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\nlisten-https = [\"{https}\"]\n\
         [zone.\"example.org\"]\nfile = \"zone\"\n"
    );
    let daemon = Daemon::start(folder.path(), &config);
    let ask = |path: &str, arguments: &[&str], body: Option<&[u8]>| curl(https, path, arguments, body, folder.path());
    let octets = |owner: &str| query(owner, type_of("A")).to_vec().unwrap();
    let get = |owner: &str| format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(octets(owner)));

    for version in ["--http2", "--http1.1"] {
        let post = ask("/dns-query", &[&DNS[..], &[version]].concat(), Some(&octets("www")));
        let by_get = ask(&get("www"), &[version], None);
        for (status, head, body) in [post, by_get] {
            assert_eq!(status, 200, "{head}");
            assert!(head.starts_with(if version == "--http2" { "http/2" } else { "http/1.1" }), "{head}");
            assert!(head.contains("content-type: application/dns-message"), "{head}");
            assert!(head.contains("cache-control: max-age=42\r"), "{head}");
            assert_eq!(Message::from_vec(&body).unwrap().answers.len(), 1);
        }
    }
    // RFC 8484 section 4.2.1: what DNS says is no concern of HTTP; RFC 2308 says how long it is kept.
    let (status, head, _) = ask(&get("nothere"), &[], None);
    assert!(status == 200 && head.contains("cache-control: max-age=7\r"), "{head}");
    let (status, head, body) = ask(&get("www.elsewhere.test."), &[], None);
    assert!(status == 200 && head.contains("cache-control: max-age=0\r"), "{head}");
    assert_eq!(body[3] & 0x0f, 5, "REFUSED");

    let mut reply = octets("www");
    reply[2] |= 0x80;
    let www = octets("www");
    let (sound, too_long) = (Some(&www[..]), vec![0; 65_536]);
    let cases: &[Case<'_>] = &[
        (404, "/", &[], None),
        (404, "/dns-query/", &DNS, sound),
        (405, "/dns-query", &["-X", "PUT", DNS[0], DNS[1]], sound),
        (405, "/dns-query", &["-X", "DELETE"], None),
        (415, "/dns-query", &[], sound),
        (415, "/dns-query", &["-H", "content-type:"], sound),
        (413, "/dns-query", &DNS, Some(&too_long)),
        (413, "/dns-query", &[DNS[0], DNS[1], "-H", "transfer-encoding: chunked", "--http1.1"], Some(&too_long)),
        (400, "/dns-query", &[], None),
        (400, "/dns-query?dns=AAAB=", &[], None),
        (400, "/dns-query?dns=", &[], None),
        (400, "/dns-query", &DNS, Some(&reply)),
        (400, "/dns-query", &DNS, Some(b"")),
        (200, "/dns-query", &["-H", "content-type: Application/DNS-Message; x=y", "-H", "accept: text/html"], sound),
    ];
    for (expected, path, arguments, body) in cases {
        let (status, head, said) = ask(path, arguments, *body);
        assert_eq!(status, *expected, "{path} {arguments:?}: {head}");
        if *expected == 405 {
            assert!(head.contains("allow: get, post"), "{head}");
        } else if *expected != 200 {
            assert!(said.ends_with(b"\n") && head.contains("content-type: text/plain"), "{head}");
        }
    }
    // More than a header may have: no answer, but no end either.
    let long = format!("x-long: {}", "x".repeat(20_000));
    for version in ["--http2", "--http1.1"] {
        let (status, _, _) = ask(&get("www"), &[version, "-H", &long], None);
        assert_eq!(status, 431, "{version}");
    }
    assert_eq!(ask(&get("www"), &[], None).0, 200);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
