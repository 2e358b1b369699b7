//! What the simulated sidecars look after: two pools that share nodes, two checks, two zones, the
//! policies that they live under, and how an operator bends all of that while they run.

use nsd_failover::director::settings::{Settings, ZoneSettings};
use nsd_failover::export::serial::SerialScheme;
use nsd_failover::failover::pool::{
    Families, Node, Pool, PoolToldRoles, Preempt, Rotate, Told, ToldRoles, WhenAllDown,
};
use nsd_failover::health::check::{Check, Http, Kind};
use nsd_failover::health::family::Family;

use super::truth::{CHECKS, NODES, Random};
use super::{HOUR_MS, MINUTE_MS, SECOND_MS};

const INTERVAL_MS: u64 = HOUR_MS;

pub fn node(name: &str, last: u8) -> Node {
    let ipv6 = [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)];
    Node { name: name.to_owned(), ipv4: Some([192, 0, 2, last].into()), ipv6: Some(ipv6.into()) }
}

pub fn pool(name: &str, nodes: &[Node], checks: &[&str]) -> Pool {
    Pool {
        name: name.to_owned(),
        nodes: nodes.to_vec(),
        checks: checks.iter().map(|check| (*check).to_owned()).collect(),
        rotate: Rotate::Weekly,
        preempt: Preempt::After(30 * MINUTE_MS),
        when_all_down: WhenAllDown::Keep,
        families: Families::Together,
        min_hold_ms: 0,
        ttl_min_s: Some(300),
        anchors: Vec::new(),
    }
}

pub fn check(name: &str, interval_ms: u64, rise: u32, fall: u32) -> Check {
    let http = Http { url: "https://{node}/".to_owned(), ..Http::default() };
    Check {
        name: name.to_owned(),
        kind: Kind::Http(http),
        interval_ms,
        fast_interval_ms: interval_ms / 10,
        timeout_ms: interval_ms / 40,
        rise,
        fall,
        families: Family::ALL.to_vec(),
    }
}

fn zone(name: &str, indexes: &[usize], pools: &[Pool]) -> ZoneSettings {
    // The first node is primary; where it has no address there is no record.
    let told =
        |pool: &Pool, node: usize, family| if pool.nodes[node].has(family) { Told::Node(node) } else { Told::Nothing };
    let roles = |index: &usize| {
        let pool = &pools[*index];
        let of = |family| ToldRoles { primary: told(pool, 0, family), standby: told(pool, 1, family) };
        Some(PoolToldRoles::from_fn(of))
    };
    ZoneSettings {
        origin: name.parse().unwrap(),
        pools: indexes.to_vec(),
        scheme: SerialScheme::Unixtime,
        serial_in_file: 1_700_000_000,
        roles_in_file: indexes.iter().map(roles).collect(),
        export: true,
        content: None,
        is_signed: false,
    }
}

/// Two pools that share nodes and a check, two zones; `alter` makes the policies.
pub fn settings(alter: impl Fn(&mut Pool)) -> Settings {
    let [a, b, c] = [1, 2, 3].map(|last| node(NODES[usize::from(last) - 1], last));
    let mut pools = vec![pool("web", &[a.clone(), b.clone()], &CHECKS), pool("mail", &[b, c, a], &CHECKS[..1])];
    pools.iter_mut().for_each(alter);
    let zones = vec![zone("one.example", &[0], &pools), zone("all.example", &[0, 1], &pools)];
    let checks = vec![check(CHECKS[0], INTERVAL_MS, 2, 3), check(CHECKS[1], 2 * INTERVAL_MS, 1, 2)];
    Settings { pools, checks, zones, ..Settings::default() }
}

pub fn policies() -> Vec<(&'static str, Settings)> {
    let anchored = |policy| {
        settings(move |pool| {
            pool.when_all_down = policy;
            pool.anchors = anchors();
        })
    };
    let patient = |families| {
        settings(move |pool| {
            pool.families = families;
            pool.min_hold_ms = 5 * HOUR_MS;
        })
    };
    vec![
        ("default", settings(|_| {})),
        ("one-way", settings(|pool| pool.preempt = Preempt::Never)),
        ("min-hold", patient(Families::Together)),
        ("min-hold-independent", patient(Families::Independent)),
        ("min-hold-withdraw", patient(Families::Withdraw)),
        ("withdraw", settings(|pool| pool.when_all_down = WhenAllDown::Withdraw)),
        ("first", settings(|pool| pool.when_all_down = WhenAllDown::First)),
        ("independent", settings(|pool| pool.families = Families::Independent)),
        ("families-withdraw", settings(|pool| pool.families = Families::Withdraw)),
        ("no-rotation", settings(|pool| pool.rotate = Rotate::Never)),
        ("no-ipv6", settings(|pool| pool.nodes.iter_mut().filter(|node| node.name == "c").for_each(|c| c.ipv6 = None))),
        ("anchors-withdraw", anchored(WhenAllDown::Withdraw)),
        ("anchors-first", anchored(WhenAllDown::First)),
    ]
}

fn anchors() -> Vec<std::net::SocketAddr> {
    vec!["9.9.9.9:53".parse().unwrap(), "[2620:fe::fe]:53".parse().unwrap()]
}

/// What an operator makes of the settings of a policy: mostly a few keys are others, and pools and
/// zones are the same by name.
pub fn bent(policy: &Settings, random: &mut Random) -> Settings {
    let mut settings = policy.clone();
    for check in &mut settings.checks {
        bend_check(check, random);
    }
    for pool in &mut settings.pools {
        bend_policy(pool, random);
        bend_nodes(pool, random);
        bend_checks(pool, random);
    }
    if random.chance(15) {
        let one = *random.pick(&NODES);
        settings.pools.iter_mut().for_each(|pool| lose_ipv6(pool, one));
    }
    // A host is the same in all pools.
    let lacking =
        |pool: &Pool| pool.nodes.iter().filter(|node| node.ipv6.is_none()).map(|node| node.name.clone()).collect();
    let lacking: Vec<Vec<String>> = policy.pools.iter().map(lacking).collect();
    for name in lacking.iter().flatten() {
        settings.pools.iter_mut().for_each(|pool| lose_ipv6(pool, name));
    }
    // Nobody asks for it any more.
    let pools = &settings.pools;
    settings.checks.retain(|check| pools.iter().any(|pool| pool.checks.contains(&check.name)));
    settings
}

fn bend_check(check: &mut Check, random: &mut Random) {
    if random.chance(30) {
        check.rise = 1 + random.below(3) as u32;
    }
    if random.chance(30) {
        check.fall = 1 + random.below(4) as u32;
    }
    if random.chance(20) {
        check.interval_ms = *random.pick(&[INTERVAL_MS / 2, INTERVAL_MS, 2 * INTERVAL_MS]);
        check.fast_interval_ms = check.interval_ms / *random.pick(&[2, 10, 20]);
        check.timeout_ms = check.interval_ms / 40;
    }
    if random.chance(10) {
        check.families = vec![*random.pick(&Family::ALL)];
    }
}

fn bend_policy(pool: &mut Pool, random: &mut Random) {
    if random.chance(25) {
        let delays_ms = [Some(0), Some(30 * MINUTE_MS), Some(3 * HOUR_MS), None];
        pool.preempt = random.pick(&delays_ms).map_or(Preempt::Never, Preempt::After);
    }
    if random.chance(25) {
        pool.min_hold_ms = *random.pick(&[0, 90 * SECOND_MS, HOUR_MS, 5 * HOUR_MS]);
    }
    if random.chance(10) {
        pool.families = *random.pick(&[Families::Together, Families::Independent, Families::Withdraw]);
    }
    if random.chance(10) {
        pool.when_all_down = *random.pick(&[WhenAllDown::Keep, WhenAllDown::First, WhenAllDown::Withdraw]);
    }
    if random.chance(10) {
        pool.rotate = *random.pick(&[Rotate::Never, Rotate::Weekly]);
    }
    if random.chance(10) {
        pool.anchors = if pool.anchors.is_empty() { anchors() } else { Vec::new() };
    }
}

fn bend_nodes(pool: &mut Pool, random: &mut Random) {
    if random.chance(25) {
        pool.nodes.rotate_left(1);
    }
    if random.chance(25) && pool.nodes.len() > 1 {
        let gone = random.below(pool.nodes.len() as u64) as usize;
        pool.nodes.remove(gone);
    }
    if random.chance(25) {
        let new = 1 + random.below(3) as u8;
        let new = node(NODES[usize::from(new) - 1], new);
        if pool.nodes.iter().all(|known| known.name != new.name) {
            let place = random.below(pool.nodes.len() as u64 + 1) as usize;
            pool.nodes.insert(place, new);
        }
    }
}

fn lose_ipv6(pool: &mut Pool, name: &str) {
    pool.nodes.iter_mut().filter(|node| node.name == name).for_each(|node| node.ipv6 = None);
}

fn bend_checks(pool: &mut Pool, random: &mut Random) {
    if random.chance(25) {
        let check = *random.pick(&CHECKS);
        match pool.checks.iter().position(|known| known == check) {
            Some(place) if pool.checks.len() > 1 => drop(pool.checks.remove(place)),
            Some(_) => {}
            None => pool.checks.push(check.to_owned()),
        }
    }
    // Nobody looks: it is moved by orders and the rotation alone.
    if random.chance(4) {
        pool.checks.clear();
    }
}
