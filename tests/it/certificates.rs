//! The examples for certificate clients, run as they are against a real daemon: the client is called
//! on the host whose turn it is, and nowhere else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::support::daemon::{Daemon, wait_for};
use super::support::nsd::free_address;

const EXAMPLES: [&str; 4] = ["acme-client.sh", "certbot.sh", "lego.sh", "dehydrated.sh"];

#[test]
fn a_certificate_is_renewed_on_the_host_whose_turn_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(env!("CARGO_BIN_EXE_nsd-failover"), bin.join("nsd-failover")).unwrap();
    let calls = folder.path().join("calls");
    for client in ["acme-client", "certbot", "lego", "dehydrated", "rcctl", "systemctl"] {
        let script = format!("#!/bin/sh\necho \"{client} $*\" >> {}\n", calls.display());
        fs::write(bin.join(client), script).unwrap();
        fs::set_permissions(bin.join(client), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let zone = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.1 ; Enable failover\n";
    fs::write(folder.path().join("zone"), zone).unwrap();
    let config = format!(
        "listen = [\"{}\"]\n[node.a]\nipv4 = \"192.0.2.1\"\n[node.b]\nipv4 = \"192.0.2.2\"\n\
         [pool.web]\nnodes = [\"a\", \"b\"]\n[zone.\"foo.zone\"]\nfile = \"zone\"\npool = \"web\"\n",
        free_address()
    );
    let mut daemon = Daemon::start(folder.path(), &config);
    wait_for("first decision", || (daemon.status()["ready"] == true).then_some(()));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // Exit status, and who was called with the name.
    let run = |example: &str, node: &str, name: &str| {
        let _ = fs::remove_file(&calls);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/certificates").join(example);
        let syntax = Command::new("sh").arg("-n").arg(&script).output().unwrap();
        assert!(syntax.status.success(), "{example}: {}", String::from_utf8_lossy(&syntax.stderr));
        let mut command = Command::new("sh");
        command.arg(&script).env("PATH", &path).env("NODE", node).env("NAMES", name).env("NAME", name);
        let output = command.env("NSD_FAILOVER_CONFIG", folder.path().join("nsd-failover.toml")).output().unwrap();
        let called = fs::read_to_string(&calls).unwrap_or_default();
        (output.status.code(), called, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for example in EXAMPLES {
        let client = example.trim_end_matches(".sh");
        let (code, called, said) = run(example, "a", "www.foo.zone");
        assert_eq!((code, said.as_str()), (Some(0), ""), "{example}");
        assert!(called.starts_with(client) && called.contains("www.foo.zone"), "{example}: {called}");
        assert_eq!(run(example, "b", "www.foo.zone"), (Some(0), String::new(), String::new()), "{example}");
        let (code, called, said) = run(example, "a", "ns.foo.zone");
        assert_eq!((code, called.as_str()), (Some(1), ""), "{example}: no failover name");
        assert!(said.contains("nsd-failover cannot say who serves ns.foo.zone"), "{example}: {said}");
        // What `hostname` gives without a domain, say: it would never have its turn.
        let (code, called, said) = run(example, "vm", "www.foo.zone");
        assert_eq!((code, called.as_str()), (Some(1), ""), "{example}: no node");
        assert!(said.contains("no pool has a node `vm`; nodes: a, b"), "{example}: {said}");
    }
    assert!(daemon.verb(&["switch", "web", "b"]).status.success());
    for example in EXAMPLES {
        assert_eq!(run(example, "a", "www.foo.zone").1, "", "{example}");
        assert!(run(example, "b", "www.foo.zone").1.contains("www.foo.zone"), "{example}");
    }
    daemon.stop();
    for example in EXAMPLES {
        let (code, called, _) = run(example, "b", "www.foo.zone");
        assert_eq!((code, called.as_str()), (Some(1), ""), "{example}: nobody to ask");
    }
}
