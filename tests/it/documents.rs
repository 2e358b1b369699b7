//! The documents say what there is: every verb, every alarm, every link.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use nsd_failover::daemon::cli::Cli;
use nsd_failover::director::alarm::Kind;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The rows of the first table below a heading: the text of their first cell.
fn first_cells<'a>(document: &'a str, heading: &str) -> BTreeSet<&'a str> {
    let (_, section) = document.split_once(&format!("{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    rows.skip(2).filter_map(|row| row.split('|').nth(1)).map(|cell| cell.trim().trim_matches('`')).collect()
}

/// What an operator is told at three in the morning, he finds; and nothing that is never told.
#[test]
fn every_alarm_is_explained() {
    let operations = read("docs/operations.md");
    let explained = first_cells(&operations, "## Alarms");
    let told: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(explained, told);
}

#[test]
fn every_verb_is_in_the_readme_and_every_verb_there_is_one() {
    let readme = read("README.md");
    let (_, verbs) = readme.split_once("## Verbs\n").unwrap();
    let (verbs, _) = verbs.split_once("\n## ").unwrap();
    let cells = verbs.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter_map(|code| code.split(' ').next());
    let told: BTreeSet<String> = words.map(str::to_owned).collect();
    let known: BTreeSet<String> = Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    assert_eq!(told, known);
}

/// Links between the documents lead somewhere, and every document is reached from the README.
#[test]
fn links_lead_somewhere() {
    let mut documents: Vec<PathBuf> =
        fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    documents.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    documents.push(root().join("README.md"));
    let mut linked = BTreeSet::new();
    for document in &documents {
        let text = fs::read_to_string(document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, _) = target.split_once('#').unwrap_or((target, ""));
            if file.is_empty() || file.starts_with("http") {
                continue;
            }
            let path = document.parent().unwrap().join(file);
            let path =
                fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {target}: {error}", document.display()));
            if document.ends_with("README.md") {
                linked.insert(path);
            }
        }
    }
    for document in documents.iter().filter(|path| !path.ends_with("README.md")) {
        assert!(linked.contains(&fs::canonicalize(document).unwrap()), "{} is not in the README", document.display());
    }
}

/// Who installs as the README says has the program where the unit and the script look for it, and the
/// user that they run it as.
#[test]
fn the_readme_s_installation_fits_the_units() {
    let readme = read("README.md");
    let folders: BTreeSet<&str> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("install -m 755 target/release/nsd-failover "))
        .map(|folder| folder.trim_end_matches('/'))
        .collect();
    assert_eq!(folders.len(), 1, "one folder for every system: {folders:?}");
    let folder = folders.first().unwrap();
    // systemd.service(5): where it looks for a command without a path; the package's /usr/bin is one, too.
    assert!(["/usr/local/sbin", "/usr/local/bin"].contains(folder), "{folder}");
    let unit = read("conf/nsd-failover.service");
    let commands: Vec<&str> = unit
        .lines()
        .filter(|line| line.starts_with("Exec"))
        .filter_map(|line| line.split_once('='))
        .map(|(_, command)| command)
        .collect();
    assert_eq!(commands, ["nsd-failover check", "nsd-failover run", "nsd-failover reload"]);
    assert!(read("conf/nsd_failover.rc").contains(&format!("daemon=\"{folder}/nsd-failover\"")), "{folder}");
    let user = unit.lines().find_map(|line| line.strip_prefix("User=")).unwrap();
    let made = read("conf/nsd-failover.sysusers");
    assert!(made.contains(&format!("\nu {user} ")) && made.contains(&format!("\nm {user} nsd\n")), "{made}");
    assert!(readme.contains(&format!("chown {user}:nsd ")), "{user}");
    let script = read("conf/nsd_failover.rc");
    let line = script.lines().find_map(|line| line.strip_prefix("# useradd ")).unwrap();
    assert!(readme.contains(&format!("useradd {line}\n")), "{line}");
    for script in ["acme-client", "certbot", "dehydrated", "lego"] {
        assert!(read(&format!("conf/certificates/{script}.sh")).contains(&format!(":{folder}:")), "{script} from cron");
    }
}
