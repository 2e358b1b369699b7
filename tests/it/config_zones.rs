//! Zones that the configuration finds: `zone-files`, `nsd-conf`, and what they get by default.

use std::fs;
use std::path::Path;

use nsd_failover::config::{Config, Serve};
use nsd_failover::export::serial::SerialScheme;

/// A folder with these files, and the configuration `c.toml` among them, loaded.
fn load(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Config, Vec<String>>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let config = Config::load(&folder.path().join("c.toml"));
    let prefix = format!("{}/", folder.path().display());
    let config = config.map_err(|list| list.iter().map(|one| one.to_string().replace(&prefix, "")).collect());
    (folder, config)
}

const HEAD: &str = "version = 1\n[node.a]\nipv4 = \"192.0.2.1\"\n[pool.web]\nnodes = [\"a\"]\n";
const SOA: &str = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns.example.net.\n";

/// "origin file" of each zone, the file without its folder.
fn zones(config: &Config, folder: &Path) -> Vec<String> {
    let bare = |file: &Path| file.strip_prefix(folder).unwrap_or(file).display().to_string();
    config.zones.iter().map(|zone| format!("{} {}", zone.origin, bare(&zone.file))).collect()
}

#[test]
fn zones_of_a_folder_and_their_defaults() {
    let toml = format!(
        "zone-files = \"z/*.zone\"\n{HEAD}[zone-defaults]\npool = \"web\"\nserial = \"date\"\n[zone.\"b.example\"]\nserial = \"increment\"\n"
    );
    let text = format!("$ORIGIN b.example.\n{SOA}");
    let files = [("c.toml", toml.as_str()), ("z/a.example.zone", SOA), ("z/other.zone", &text), ("z/readme", "x")];
    let (folder, config) = load(&files);
    let config = config.unwrap();
    assert_eq!(zones(&config, folder.path()), ["b.example. z/other.zone", "a.example. z/a.example.zone"]);
    assert_eq!(config.zones[0].serial, SerialScheme::Increment);
    assert_eq!(config.zones[1].serial, SerialScheme::Date);
    for zone in &config.zones {
        assert_eq!((zone.pool, zone.serve, &zone.export_file), (Some(0), Serve::Off, &None));
        assert_eq!(zone.include_dir, folder.path().join("z"));
    }
}

#[test]
fn the_primary_zones_of_an_nsd_conf() {
    let toml = format!("nsd-conf = \"nsd.conf\"\n{HEAD}[zone.\"own.example\"]\nfile = \"own\"\n[nsd]\n");
    let conf = "server:\n zonesdir: \"zones\"\npattern:\n name: m\n zonefile: master/%s.zone\nzone:\n name: a.example\n include-pattern: m\n\
                zone:\n name: s.example\n zonefile: s\n request-xfr: 192.0.2.1 NOKEY\nzone:\n name: own.example\n zonefile: theirs\n";
    let (folder, config) = load(&[("c.toml", &toml), ("nsd.conf", conf)]);
    let config = config.unwrap();
    assert_eq!(zones(&config, folder.path()), ["own.example. own", "a.example. zones/master/a.example.zone"]);
    assert!(config.zones.iter().all(|zone| zone.include_dir == folder.path().join("zones")));
    assert_eq!(config.zones[1].export_file.as_ref(), Some(&config.zones[1].file), "there is an [nsd]");
}

#[test]
fn what_cannot_be_told_apart_or_found() {
    let same = format!("$ORIGIN a.example.\n{SOA}");
    let named = SOA.replace('@', "a.example.");
    for (toml, files, part) in [
        ("zone-files = \"z/*\"\n", vec![("z/a.example", SOA), ("z/x", same.as_str())], "are both zone a.example."),
        (
            "zone-files = \"z/*\"\n",
            vec![("z/a.example.zone", SOA), ("z/x", &named)],
            "are both zone a.example. (the first from its name, the second from the owner of its SOA)",
        ),
        ("zone-files = \"none/*\"\n", vec![], "c.toml:1:14: error: no file matches"),
        ("zone-files = \"z/*\"\n", vec![("z/a..b", "")], "z/a..b: no $ORIGIN, SOA or file name tells its origin"),
        ("zone-files = \"[\"\n", vec![], "c.toml:1:14: error: bad pattern"),
        (
            "zone-files = \"/dev/nul*\"\n",
            vec![],
            "/dev/null: it is not a regular file; mend it or its permissions, or write a pattern without it",
        ),
        (
            "nsd-conf = \"n.conf\"\n",
            vec![("n.conf", "zone:\n name: a\n zonefile: x\nzone:\n name: A.\n zonefile: y\n")],
            "are both zone A. (the first from nsd.conf, the second from nsd.conf); remove one of the two zone: clauses",
        ),
        ("nsd-conf = \"no.conf\"\n", vec![], "no.conf: error: cannot read the nsd.conf"),
        ("zone-defaults = { file = \"x\" }\n", vec![], "a default cannot name one file"),
        ("zone-defaults = { pool = \"x\" }\nzone-files = \"z/*\"\n", vec![("z/a", SOA)], "pool `x` is not configured"),
        ("zone-file = \"x\"\n", vec![], "did you mean `zone-files`?"),
    ] {
        let toml = format!("{toml}{HEAD}");
        let files: Vec<(&str, &str)> = files.into_iter().chain([("c.toml", toml.as_str())]).collect();
        let (_folder, config) = load(&files);
        let problems = config.err().unwrap_or_default();
        assert!(problems.iter().any(|problem| problem.contains(part)), "{toml}: {problems:?}");
    }
}
