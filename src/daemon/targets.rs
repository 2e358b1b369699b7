//! What is probed: every check of every node of a pool, over each family, and the anchors; and what
//! there is to be said about checks that are aimed at nothing, or cannot be done in their time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::director::event::Target;
use crate::director::settings::{Settings, anchor};
use crate::failover::pool::{Node, Pool};
use crate::failover::reason::duration;
use crate::health::check::{Check, Header, Kind, Names};
use crate::health::family::Family;
use crate::probe::{NAMES_AT_A_TIME, PLUGINS_MAX};

/// So long a handshake may take, as a guess, in milliseconds.
const HANDSHAKE_MS: u64 = 100;
/// Request headers whose value is mostly a secret.
const SECRET_HEADERS: [&str; 5] = ["authorization", "cookie", "proxy-authorization", "x-api-key", "x-auth-token"];

/// What is looked at, and how.
pub struct Looked {
    /// One for all nodes that are looked at alike.
    pub check: Arc<Check>,
    pub node: Node,
}

/// Whether a check asks for the names that follow its pools.
pub fn asks_for_names(check: &Check) -> bool {
    matches!(&check.kind, Kind::Tls(tls) if tls.names == Names::Pool)
}

/// Every target of the director. `names` are those that follow the primary of each pool, for the checks
/// that ask for them: of a node, those of the pools that it is in.
pub fn targets(settings: &Settings, names: &[BTreeSet<String>]) -> HashMap<Target, Arc<Looked>> {
    let mut targets = HashMap::new();
    for check in &settings.checks {
        let mut made: HashMap<Vec<usize>, Arc<Check>> = HashMap::new();
        for (node, pools) in looked_at(check, &settings.pools) {
            let pools = if asks_for_names(check) { pools } else { Vec::new() };
            let made = made.entry(pools).or_insert_with_key(|pools| Arc::new(naming(check, pools, names)));
            let looked = Arc::new(Looked { check: Arc::clone(made), node: node.clone() });
            for family in &check.families {
                let target = Target { check: check.name.clone(), node: node.name.clone(), family: *family };
                targets.insert(target, Arc::clone(&looked));
            }
        }
    }
    for address in settings.pools.iter().flat_map(|pool| &pool.anchors) {
        let (target, check, node) = anchor(*address);
        targets.entry(target).or_insert_with(|| Arc::new(Looked { check: Arc::new(check), node }));
    }
    targets
}

/// The nodes that a check looks at, each with the pools (by index) for which it does.
fn looked_at<'a>(check: &Check, pools: &'a [Pool]) -> impl Iterator<Item = (&'a Node, Vec<usize>)> {
    let mut found: BTreeMap<&str, (&Node, Vec<usize>)> = BTreeMap::new();
    for (index, pool) in pools.iter().enumerate().filter(|(_, pool)| pool.checks.contains(&check.name)) {
        for node in &pool.nodes {
            found.entry(&node.name).or_insert_with(|| (node, Vec::new())).1.push(index);
        }
    }
    found.into_values()
}

/// The check with the names that follow these pools; with the node's own, where there are none.
fn naming(check: &Check, pools: &[usize], names: &[BTreeSet<String>]) -> Check {
    let mut check = check.clone();
    if let Kind::Tls(tls) = &mut check.kind
        && tls.names == Names::Pool
    {
        let found: BTreeSet<&String> = pools.iter().flat_map(|pool| &names[*pool]).collect();
        let list: Vec<String> = found.into_iter().cloned().collect();
        tls.names = if list.is_empty() { Names::default() } else { Names::List(list) };
    }
    check
}

/// Counts for each plugin how many must run at a time, so that nobody is late even if all hang.
pub fn give_places(settings: &mut Settings) {
    for check in &mut settings.checks {
        let places = places(check, &settings.pools);
        if let Kind::Exec(exec) = &mut check.kind {
            exec.places = places;
        }
    }
}

fn places(check: &Check, pools: &[Pool]) -> usize {
    let over = |node: &Node| check.families.iter().filter(|family| node.has(**family)).count() as u64;
    let targets: u64 = looked_at(check, pools).map(|(node, _)| over(node)).sum();
    let places = targets.saturating_mul(check.timeout_ms).div_ceil(check.interval_ms.max(1));
    usize::try_from(places).unwrap_or(usize::MAX)
}

/// What `check` shows about the checks, though it stops nothing.
pub fn remarks(settings: &Settings, targets: &HashMap<Target, Arc<Looked>>) -> Vec<String> {
    let mut lines = unwatched(settings);
    for check in &settings.checks {
        let nodes: Vec<&Node> = looked_at(check, &settings.pools).map(|(node, _)| node).collect();
        let found = match &check.kind {
            Kind::Exec(exec) => [program(&exec.argv), crowd(check, exec.places)].into_iter().flatten().collect(),
            Kind::File(file) => folders(&file.path, &nodes, &check.families).into_iter().collect(),
            Kind::Http(http) => http.headers.iter().filter_map(|(name, value)| open_secret(name, value)).collect(),
            Kind::Tls(_) if asks_for_names(check) => many_names(check, targets),
            _ => Vec::new(),
        };
        lines.extend(found.into_iter().map(|words| format!("check `{}`: warning: {words}", check.name)));
    }
    lines
}

/// Checks that nobody uses, and nodes that no check of their pool looks at.
fn unwatched(settings: &Settings) -> Vec<String> {
    let pools = &settings.pools;
    let used = |check: &&Check| pools.iter().any(|pool| pool.checks.contains(&check.name));
    let unused = settings.checks.iter().filter(|check| !used(check));
    let mut lines: Vec<String> =
        unused.map(|check| format!("check `{}`: warning: no pool uses it", check.name)).collect();
    for pool in pools.iter().filter(|pool| !pool.checks.is_empty()) {
        let checks = || settings.checks.iter().filter(|check| pool.checks.contains(&check.name));
        let is_watched = |node: &Node| checks().any(|check| check.families.iter().any(|family| node.has(*family)));
        lines.extend(pool.nodes.iter().filter(|node| !is_watched(node)).map(|node| {
            let (pool, node) = (&pool.name, &node.name);
            format!("pool `{pool}`: warning: no check looks at {node}, which has no address of their families; by itself it never becomes primary")
        }));
    }
    lines
}

/// A plugin that is not there, or that nobody may run.
fn program(argv: &[String]) -> Option<String> {
    let program = argv.first()?;
    if program.contains('{') {
        return None;
    }
    let runs =
        |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = match program.contains('/') {
        true => runs(Path::new(program)),
        false => std::env::split_paths(OsStr::new(&path)).any(|folder| runs(&folder.join(program))),
    };
    (!found)
        .then(|| format!("{program} is no program that can be run here; until it is, nothing is known of the nodes"))
}

/// More plugins than may run at a time would be needed.
fn crowd(check: &Check, places: usize) -> Option<String> {
    let (interval, timeout) = (duration(check.interval_ms), duration(check.timeout_ms));
    (places > PLUGINS_MAX).then(|| {
        format!(
            "if all its plugins took their timeout = {timeout}, {places} would run at a time, and {PLUGINS_MAX} may: \
             the nodes would be looked at less often than every {interval}; make interval longer or timeout shorter"
        )
    })
}

/// A folder of state files that is not there.
fn folders(path: &Path, nodes: &[&Node], families: &[Family]) -> Option<String> {
    let filled = |node: &Node, family: Family| -> Option<PathBuf> {
        let ip = match family {
            Family::Ipv4 => node.ipv4?.to_string(),
            Family::Ipv6 => node.ipv6?.to_string(),
        };
        let text = path.to_string_lossy();
        Some(text.replace("{node}", &node.name).replace("{ip}", &ip).replace("{family}", family.as_str()).into())
    };
    let files = nodes.iter().flat_map(|node| families.iter().filter_map(|family| filled(node, *family)));
    let missing = files.filter_map(|file| file.parent().map(Path::to_owned)).find(|folder| !folder.is_dir())?;
    Some(format!(
        "there is no folder {}; until its writer has made it, nothing is known of the nodes",
        missing.display()
    ))
}

fn open_secret(name: &str, value: &Header) -> Option<String> {
    let is_secret = matches!(value, Header::Text(_)) && SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str());
    is_secret.then(|| {
        format!("the value of {name} stands in the configuration for everybody who reads it; write {name} = {{ file = \"/path\" }}")
    })
}

/// No names, or so many that it may take too long.
fn many_names(check: &Check, targets: &HashMap<Target, Arc<Looked>>) -> Vec<String> {
    let own = targets.iter().filter(|(target, _)| target.check == check.name).map(|(_, looked)| looked);
    let count = |looked: &Arc<Looked>| match &looked.check.kind {
        Kind::Tls(tls) if tls.names != Names::default() => match &tls.names {
            Names::List(list) => list.len(),
            Names::Pool => 0,
        },
        _ => 0,
    };
    let counts: BTreeMap<&str, usize> = own.map(|looked| (looked.node.name.as_str(), count(looked))).collect();
    let mut lines = Vec::new();
    if let Some((node, _)) = counts.iter().find(|(_, count)| **count == 0) {
        lines.push(format!("no names follow the pools of {node}; its own name is asked for"));
    }
    let most = counts.iter().max_by_key(|(_, count)| **count);
    if let Some((node, count)) = most.filter(|(_, count)| takes_ms(**count) > check.timeout_ms) {
        let timeout = duration(check.timeout_ms);
        lines.push(format!(
            "{count} names are asked for at {node}: unless a certificate covers many of them, that cannot be done in timeout = {timeout}; make it longer"
        ));
    }
    lines
}

fn takes_ms(names: usize) -> u64 {
    (names.div_ceil(NAMES_AT_A_TIME) as u64).saturating_mul(HANDSHAKE_MS)
}

#[cfg(test)]
mod tests {

    use crate::health::check::{Exec, Http, StateFile, Tls};

    use super::*;

    fn check(name: &str, kind: Kind) -> Check {
        Check {
            name: name.to_owned(),
            kind,
            interval_ms: 5_000,
            fast_interval_ms: 1_000,
            timeout_ms: 2_000,
            rise: 2,
            fall: 3,
            families: vec![Family::Ipv4],
        }
    }

    fn pool(name: &str, nodes: &[&str], check: &str) -> Pool {
        let ipv4 = Some(std::net::Ipv4Addr::LOCALHOST);
        Pool {
            name: name.to_owned(),
            nodes: nodes.iter().map(|name| Node { name: (*name).to_owned(), ipv4, ipv6: None }).collect(),
            checks: vec![check.to_owned()],
            ..Pool::default()
        }
    }

    fn settings(pools: Vec<Pool>, check: Check) -> Settings {
        let mut settings = Settings { pools, checks: vec![check], ..Settings::default() };
        give_places(&mut settings);
        settings
    }

    /// Two pools that share a check: a node is asked for the names of its own pools, not of others.
    #[test]
    fn the_names_of_a_node_are_those_of_its_pools() {
        let tls = check("certs", Kind::Tls(Tls { port: 443, names: Names::Pool, ..Tls::default() }));
        let pools = vec![pool("x", &["a", "b"], "certs"), pool("y", &["b", "c"], "certs"), pool("z", &["d"], "certs")];
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let settings = settings(pools, tls);
        let targets = targets(&settings, &[set(&["www.x", "x"]), set(&["y"]), set(&[])]);
        let names = |node: &str| {
            let target = Target { check: "certs".into(), node: node.into(), family: Family::Ipv4 };
            match &targets[&target].check.kind {
                Kind::Tls(Tls { names: Names::List(list), .. }) => list.join(" "),
                kind => panic!("{kind:?}"),
            }
        };
        assert_eq!((names("a"), names("b"), names("c")), ("www.x x".into(), "www.x x y".into(), "y".into()));
        assert_eq!(names("d"), "{node}");
        let remarks = remarks(&settings, &targets);
        assert_eq!(remarks, ["check `certs`: warning: no names follow the pools of d; its own name is asked for"]);
    }

    #[test]
    fn what_is_aimed_at_nothing() {
        let remarks = |kind| {
            let settings = settings(vec![pool("x", &["a", "b"], "it")], check("it", kind));
            remarks(&settings, &targets(&settings, &[BTreeSet::new()])).join("\n")
        };
        let exec = |program: &str| Kind::Exec(Exec { argv: vec![program.to_owned(), "{ip}".to_owned()], places: 0 });
        assert!(remarks(exec("/no/such/plugin")).contains("`it`: warning: /no/such/plugin is no program"));
        assert!(remarks(exec("/etc/passwd")).contains("is no program that can be run"));
        assert!(remarks(exec("no-such-plugin")).contains("is no program"));
        assert_eq!((remarks(exec("/bin/sh")), remarks(exec("sh"))), (String::new(), String::new()));
        let file = |path: &str| Kind::File(StateFile { path: path.into(), max_age_ms: 1_000 });
        assert!(remarks(file("/no/such/{node}/state")).contains("there is no folder /no/such/a;"));
        assert_eq!(remarks(file("/tmp/{node}.state")), "");
        let http = |name: &str, value| Kind::Http(Http { headers: vec![(name.to_owned(), value)], ..Http::default() });
        let text = || Header::Text("Basic eDp5".to_owned());
        assert!(remarks(http("Authorization", text())).contains("write Authorization = { file = \"/path\" }"));
        assert!(!remarks(http("Authorization", text())).contains("eDp5"), "it is not told further");
        assert_eq!(remarks(http("X-Probe", text())), "");
        assert_eq!(remarks(http("authorization", Header::File("/x".into()))), "");
    }

    #[test]
    fn places_for_plugins_that_hang() {
        let nodes: Vec<String> = (0..500).map(|number| format!("n{number}")).collect();
        let exec = || check("it", Kind::Exec(Exec { argv: vec!["sh".to_owned()], places: 0 }));
        let told = |count: usize| {
            let nodes: Vec<&str> = nodes[..count].iter().map(String::as_str).collect();
            let settings = settings(vec![pool("x", &nodes, "it"), pool("y", &nodes[..1], "it")], exec());
            let Kind::Exec(exec) = &settings.checks[0].kind else { unreachable!() };
            (exec.places, remarks(&settings, &HashMap::new()).join("\n"))
        };
        // 26 that take 2 s, every 5 s.
        assert_eq!(told(26), (11, String::new()));
        let (places, remark) = told(500);
        assert!(places == 200 && remark.contains("200 would run at a time, and 64 may"), "{remark}");
    }
}
