//! Which pool and role each failover record of a zone follows, and what the addresses in the file
//! tell of the last decision.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use domain::base::iana::Rtype;

use super::pool::{Families, Node, Pool, PoolToldRoles, Slot, Told, ToldRoles};
use crate::dns::rdata::quoted;
use crate::health::family::{Family, PerFamily};
use crate::zone::cursor::Seen;
use crate::zone::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::zone::tag::{Role, Tag};
use crate::zone::{Part, Zone};

/// The tags of one zone, resolved to pools.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    default_pool: Option<usize>,
    by_name: BTreeMap<String, usize>,
    /// Pools that failover records of the zone follow, sorted.
    pools: Vec<usize>,
    /// Which node's address the records of each slot and family carry.
    votes: BTreeMap<Place, Votes>,
}

impl Binding {
    /// Resolves the tags of a zone. `default_pool` is the zone's pool, an index into `pools`. The
    /// diagnostics say what cannot work (errors) and what looks wrong (warnings).
    pub fn new(zone: &Zone, default_pool: Option<usize>, pools: &[Pool]) -> (Binding, Vec<Diagnostic>) {
        let by_name = pools.iter().enumerate().map(|(index, pool)| (pool.name.clone(), index)).collect();
        let mut binding = Binding { default_pool, by_name, pools: Vec::new(), votes: BTreeMap::new() };
        let mut diagnostics = Diagnostics::default();
        let mut ballots = Vec::with_capacity(zone.failover_count());
        let mut cursor = zone.cursor();
        while let Some(seen) = cursor.next_failover() {
            let Some(tag) = &seen.tag else { continue };
            match binding.slot(tag).and_then(|slot| Some((slot, pools.get(slot.pool)?))) {
                Some((slot, pool)) => ballots.extend(binding.count(&seen, slot, pool)),
                None => unknown_pool(zone, seen.entry, tag, pools, &mut diagnostics),
            }
        }
        binding.pools =
            binding.votes.keys().map(|place| place.slot.pool).collect::<BTreeSet<_>>().into_iter().collect();
        let mut told = BTreeSet::new();
        for ballot in &ballots {
            look_at_address(zone, ballot, pools, &binding.votes, &mut diagnostics);
            look_at_families(zone, ballot, pools, &mut told, &mut diagnostics);
        }
        (binding, diagnostics.into_sorted())
    }

    /// Notes which node's address a record of this slot carries.
    fn count(&mut self, seen: &Seen<'_>, slot: Slot, pool: &Pool) -> Option<Ballot> {
        let place = Place { slot, family: family_of(seen.record.rtype)? };
        let votes = self.votes.entry(place).or_insert_with(|| Votes::new(pool));
        let held = match holder(pool, place.family, seen.record.rdata) {
            _ if seen.withdrawn => {
                votes.withdrawn += 1;
                Held::Withdrawn
            }
            Some(node) => {
                votes.nodes[node] += 1;
                Held::Node(node)
            }
            None => {
                votes.foreign += 1;
                Held::Foreign
            }
        };
        Some(Ballot { entry: seen.entry, place, held })
    }

    /// What a record with this tag follows; `None` if its pool does not exist.
    pub fn slot(&self, tag: &Tag) -> Option<Slot> {
        let pool = match &tag.pool {
            Some(name) => *self.by_name.get(name)?,
            None => self.default_pool?,
        };
        Some(Slot { pool, role: tag.role })
    }

    /// The pools that failover records of this zone follow: indexes, sorted, each once.
    pub fn pools(&self) -> &[usize] {
        &self.pools
    }

    /// Who holds the roles according to the addresses in the failover records, for each of
    /// [`Binding::pools`]. `None` where addresses belong to no node or contradict each other, and
    /// where the two families do although the pool moves them together.
    ///
    /// A role whose records are all withdrawn is held by nobody. One that has no records is held by
    /// the first other node, if the other role is held by one.
    pub fn roles_in_file(&self, pools: &[Pool]) -> Vec<Option<PoolToldRoles>> {
        self.pools
            .iter()
            .map(|&index| {
                let pool = pools.get(index)?;
                let seen = |family, role| self.votes.get(&Place { slot: Slot { pool: index, role }, family });
                let families = PerFamily::from_fn(|family| {
                    family_roles(pool, family, seen(family, Role::Primary), seen(family, Role::Standby))
                });
                agreed(pool, families)
            })
            .collect()
    }
}

/// The address family of a record type.
pub fn family_of(rtype: Rtype) -> Option<Family> {
    match rtype {
        Rtype::A => Some(Family::Ipv4),
        Rtype::AAAA => Some(Family::Ipv6),
        _ => None,
    }
}

/// A slot in one address family.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place {
    slot: Slot,
    family: Family,
}

/// A failover record, and whose address it carries.
struct Ballot {
    entry: usize,
    place: Place,
    held: Held,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Held {
    /// By this node of the pool.
    Node(usize),
    /// By none of them.
    Foreign,
    /// The record is not published.
    Withdrawn,
}

/// What the records of one place carry.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Votes {
    /// How many carry the address of each node of the pool.
    nodes: Vec<usize>,
    /// How many carry an address of no node.
    foreign: usize,
    withdrawn: usize,
}

impl Votes {
    fn new(pool: &Pool) -> Votes {
        Votes { nodes: vec![0; pool.nodes.len()], foreign: 0, withdrawn: 0 }
    }

    /// The node that most records carry, the first of equals.
    fn most(&self) -> Option<usize> {
        let most = self.nodes.iter().copied().max().filter(|&most| most > 0)?;
        self.nodes.iter().position(|&count| count == most)
    }

    /// What all records agree on; `Err` if they do not.
    fn verdict(&self) -> Result<Told, Contradiction> {
        let carried = self.nodes.iter().filter(|&&count| count > 0).count();
        match (carried, self.foreign, self.withdrawn) {
            (1, 0, 0) => Ok(self.most().map_or(Told::Nothing, Told::Node)),
            (0, 0, 1..) => Ok(Told::Withdrawn),
            _ => Err(Contradiction),
        }
    }
}

/// The records of one place carry different addresses, or one of no node.
#[derive(Clone, Copy, Debug)]
struct Contradiction;

/// Who holds the roles of one family; nothing is told where the zone has no records of it.
fn family_roles(
    pool: &Pool,
    family: Family,
    primary: Option<&Votes>,
    standby: Option<&Votes>,
) -> Result<ToldRoles, Contradiction> {
    let other = |than: Told| {
        let other = |than| (0..pool.nodes.len()).find(|&node| node != than && pool.nodes[node].has(family));
        than.node().and_then(other).map_or(Told::Nothing, Told::Node)
    };
    let told = |votes: Option<&Votes>| votes.map(Votes::verdict).transpose();
    let roles = match (told(primary)?, told(standby)?) {
        (None, None) => ToldRoles::default(),
        (Some(primary), Some(standby)) => ToldRoles { primary, standby },
        (Some(primary), None) => ToldRoles { primary, standby: other(primary) },
        (None, Some(standby)) => ToldRoles { primary: other(standby), standby },
    };
    match roles {
        ToldRoles { primary: Told::Node(primary), standby: Told::Node(standby) } if primary == standby => {
            Err(Contradiction)
        }
        _ => Ok(roles),
    }
}

/// Puts the families together: one without records goes with the other.
fn agreed(pool: &Pool, families: PerFamily<Result<ToldRoles, Contradiction>>) -> Option<PoolToldRoles> {
    let told = PerFamily { ipv4: families.ipv4.ok()?, ipv6: families.ipv6.ok()? };
    let copied = |told: Told, family: Family| {
        let node = told.node().filter(|node| pool.nodes[*node].has(family));
        node.map_or(Told::Nothing, Told::Node)
    };
    let roles = PerFamily::from_fn(|family| {
        let sister = if family == Family::Ipv4 { told.ipv6 } else { told.ipv4 };
        match told[family] == ToldRoles::default() {
            true => ToldRoles { primary: copied(sister.primary, family), standby: copied(sister.standby, family) },
            false => told[family],
        }
    });
    let differ = |a: Told, b: Told| a.node().zip(b.node()).is_some_and(|(a, b)| a != b);
    let contradiction = pool.families != Families::Independent
        && (differ(roles.ipv4.primary, roles.ipv6.primary) || differ(roles.ipv4.standby, roles.ipv6.standby));
    let is_told = Family::ALL.into_iter().any(|family| roles[family].primary != Told::Nothing);
    (!contradiction && is_told).then_some(roles)
}

/// The node of the pool whose address this is.
fn holder(pool: &Pool, family: Family, rdata: &[u8]) -> Option<usize> {
    pool.nodes.iter().position(|node| match family {
        Family::Ipv4 => node.ipv4.is_some_and(|address| *rdata == address.octets()),
        Family::Ipv6 => node.ipv6.is_some_and(|address| *rdata == address.octets()),
    })
}

fn unknown_pool(zone: &Zone, entry: usize, tag: &Tag, pools: &[Pool], diagnostics: &mut Diagnostics) {
    let known = match pools {
        [] => "none".to_owned(),
        pools => pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", "),
    };
    let (message, hint) = match &tag.pool {
        Some(name) => (format!("unknown pool `{}`", quoted(name.as_bytes())), format!("the pools are: {known}")),
        None => (
            "failover tag without `pool=` in a zone without a pool".to_owned(),
            format!("give the zone a pool in the configuration, or the tag `pool=`; the pools are: {known}"),
        ),
    };
    diagnostics.push(Severity::Error, || zone.diagnostic(Severity::Error, entry, Part::Comment, message, hint));
}

/// An address of no node, and one that tells another story than the record's role.
fn look_at_address(
    zone: &Zone,
    ballot: &Ballot,
    pools: &[Pool],
    votes: &BTreeMap<Place, Votes>,
    diagnostics: &mut Diagnostics,
) {
    let place = ballot.place;
    let Some(pool) = pools.get(place.slot.pool) else { return };
    let most = |role| votes.get(&Place { slot: Slot { role, ..place.slot }, ..place }).and_then(Votes::most);
    let role = place.slot.role;
    let (message, hint) = match ballot.held {
        Held::Withdrawn => return,
        Held::Foreign => (
            format!("address of no node in pool `{}`", pool.name),
            format!("its nodes have {}", addresses(pool, place.family)),
        ),
        Held::Node(node) => {
            let other_role = if role == Role::Primary { Role::Standby } else { Role::Primary };
            // Two records, one for each role, with one address: the standby is the odd one.
            let odd = most(role) != Some(node) || (role == Role::Standby && most(other_role) == Some(node));
            if !odd {
                return;
            }
            let owner = zone.record(ballot.entry).record.owner;
            (
                format!(
                    "`{owner}` follows the {role}, but carries the address of {}, which others give to the {}",
                    pool.nodes[node].name,
                    if most(other_role) == Some(node) { other_role } else { role }
                ),
                format!(
                    "the name decides: without role= a first label `standby` follows the standby; it gets the {role}'s address with the next export"
                ),
            )
        }
    };
    diagnostics
        .push(Severity::Warning, || zone.diagnostic(Severity::Warning, ballot.entry, Part::Rdata, message, hint));
}

/// Once for each slot and family: a node without an address there means NODATA while it holds the role.
fn look_at_families(
    zone: &Zone,
    ballot: &Ballot,
    pools: &[Pool],
    told: &mut BTreeSet<Place>,
    diagnostics: &mut Diagnostics,
) {
    let place = ballot.place;
    if told.contains(&place) {
        return;
    }
    let Some(pool) = pools.get(place.slot.pool) else { return };
    told.insert(place);
    let without: Vec<&str> =
        pool.nodes.iter().filter(|node| !node.has(place.family)).map(|node| node.name.as_str()).collect();
    if without.is_empty() {
        return;
    }
    let (family, role) = (place.family, place.slot.role);
    let message = format!("{} of pool `{}` has no {family} address", without.join(", "), pool.name);
    let hint = format!("while it is {role}, these records are withdrawn (NODATA)");
    diagnostics
        .push(Severity::Warning, || zone.diagnostic(Severity::Warning, ballot.entry, Part::Comment, message, hint));
}

fn addresses(pool: &Pool, family: Family) -> String {
    let address = |node: &Node| match family {
        Family::Ipv4 => node.ipv4.map(IpAddr::V4),
        Family::Ipv6 => node.ipv6.map(IpAddr::V6),
    };
    let list: Vec<String> = pool.nodes.iter().filter_map(address).map(|address| address.to_string()).collect();
    if list.is_empty() { format!("no {family} address") } else { list.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a` has 192.0.2.1 and 2001:db8::1, `b` the same with 2, `c` only IPv4.
    fn pool(name: &str, nodes: &str) -> Pool {
        let node = |letter: char| {
            let number = letter as u32 - 'a' as u32 + 1;
            Node {
                name: letter.to_string(),
                ipv4: Some(format!("192.0.2.{number}").parse().unwrap()),
                ipv6: (letter != 'c').then(|| format!("2001:db8::{number}").parse().unwrap()),
            }
        };
        Pool { name: name.to_owned(), nodes: nodes.chars().map(node).collect(), ..Pool::default() }
    }

    /// A zone with these failover records: "owner 4|6|-4|-6 number keys", `-` for withdrawn.
    fn zone(records: &[&str]) -> Zone {
        let mut text = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\n".to_owned();
        for record in records {
            let words: Vec<&str> = record.split(' ').collect();
            let address = match words[1].trim_start_matches('-') {
                "4" => format!("A 192.0.2.{}", words[2]),
                _ => format!("AAAA 2001:db8::{}", words[2]),
            };
            if words[1].starts_with('-') {
                text += ";nsd-failover:withdrawn ";
            }
            text += &format!("{} {address} ; Enable failover {}\n", words[0], words[3..].join(" "));
        }
        Zone::parse(&"example.org".parse().unwrap(), "z", text.into_bytes()).unwrap()
    }

    /// "primary/standby" for IPv4 and IPv6, by the nodes' names.
    fn roles(pool: &Pool, records: &[&str]) -> Option<String> {
        let zone = zone(records);
        let pools = [pool.clone()];
        let (binding, _) = Binding::new(&zone, Some(0), &pools);
        let name = |told: Told| match told {
            Told::Nothing => "?",
            Told::Withdrawn => "-",
            Told::Node(node) => pool.nodes[node].name.as_str(),
        };
        let shown = |roles: ToldRoles| format!("{}/{}", name(roles.primary), name(roles.standby));
        let found = binding.roles_in_file(&pools).remove(0)?;
        Some(format!("{} {}", shown(found.ipv4), shown(found.ipv6)))
    }

    #[test]
    fn the_file_tells_the_last_decision() {
        let two = pool("p", "ab");
        let mixed = pool("p", "ac");
        let independent = Pool { families: Families::Independent, ..pool("p", "ab") };
        for (pool, records, expected) in [
            (&two, vec!["www 4 1", "www 6 1", "standby 4 2", "standby 6 2"], Some("a/b a/b")),
            (&two, vec!["www 4 2", "www 6 2", "standby 4 1", "standby 6 1"], Some("b/a b/a")),
            (&two, vec!["www 4 2"], Some("b/a b/a")),
            (&two, vec!["standby 6 2"], Some("a/b a/b")),
            (&two, vec!["www 4 1", "x 4 2"], None),
            (&two, vec!["www 4 9"], None),
            (&two, vec!["www 4 1", "standby 4 1"], None),
            (&two, vec!["www 4 1", "www 6 2"], None),
            (&independent, vec!["www 4 1", "www 6 2"], Some("a/b b/a")),
            (&two, vec!["www 4 1", "www -6 1"], Some("a/b -/?")),
            (&two, vec!["www 4 1", "www -6 1", "standby 6 2"], Some("a/b -/b")),
            (&two, vec!["www -4 1", "www -6 1"], Some("-/? -/?")),
            (&two, vec!["www -4 1", "standby 4 2"], Some("-/b ?/b")),
            (&two, vec!["www 4 1", "x -4 1"], None),
            (&mixed, vec!["www 4 3", "www -6 1"], Some("c/a -/?")),
            (&mixed, vec!["www 4 3"], Some("c/a ?/a")),
        ] {
            assert_eq!(roles(pool, &records).as_deref(), expected, "{records:?}");
        }
    }

    /// What is said about the records, which stand from line 4 on.
    fn said(default_pool: Option<usize>, pools: &[Pool], records: &[&str]) -> Vec<String> {
        let (_, list) = Binding::new(&zone(records), default_pool, pools);
        list.iter().map(|found| format!("{}: {}: {}", found.line - 3, found.severity, found.message)).collect()
    }

    #[test]
    fn what_cannot_work_and_what_looks_wrong() {
        let pools = [pool("p", "ab"), pool("eu", "ac")];
        assert_eq!(said(Some(0), &pools, &["www 4 1", "standby 4 2", "x 4 3 pool=eu"]), Vec::<String>::new());
        assert_eq!(said(Some(0), &pools, &["www 4 1 pool=us"]), ["1: error: unknown pool `us`"]);
        assert_eq!(
            said(None, &pools, &["www 4 1 pool=p", "x 4 1"]),
            ["2: error: failover tag without `pool=` in a zone without a pool"]
        );
        assert_eq!(said(Some(0), &pools, &["www 4 7"]), ["1: warning: address of no node in pool `p`"]);
        assert_eq!(
            said(Some(0), &pools, &["www 4 1", "ftp 4 1", "x 4 2", "standby 4 2"]),
            [
                "3: warning: `x.example.org.` follows the primary, but carries the address of b, which others give to the standby"
            ]
        );
        assert_eq!(said(Some(0), &pools, &["www 4 1", "standby 4 1"]).len(), 1);
        assert_eq!(said(Some(1), &pools, &["www 6 1", "x 6 1"]), ["1: warning: c of pool `eu` has no ipv6 address"]);
    }

    #[test]
    fn slots() {
        let pools = [pool("p", "ab"), pool("eu", "ab"), pool("us", "ab")];
        let zone = zone(&["www 4 1 pool=us", "standby 4 2"]);
        let (binding, _) = Binding::new(&zone, Some(0), &pools);
        assert_eq!(binding.pools(), [0, 2]);
        let slot = |pool: Option<&str>| binding.slot(&Tag { pool: pool.map(str::to_owned), role: Role::Standby });
        assert_eq!(slot(Some("eu")), Some(Slot { pool: 1, role: Role::Standby }));
        assert_eq!(slot(None), Some(Slot { pool: 0, role: Role::Standby }));
        assert_eq!(slot(Some("EU")), None);
    }
}
