//! From tagged zones to nodes and pools: who the hosts are is read off the addresses in the tagged
//! records, and their names off the other records with the same addresses. `pool=` in a tag names its
//! pool; without it, records that name the same hosts in the same roles are one pool. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use domain::base::iana::Rtype;

use crate::dns::name::Name;
use crate::zone::tag::Role;
use crate::zone::{Zone, ZoneRecord};

/// What `init` writes down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proposal {
    pub nodes: Vec<Node>,
    /// At least one.
    pub pools: Vec<Pool>,
    pub zones: Vec<Placed>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    pub name: String,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pool {
    pub name: String,
    /// Indexes into [`Proposal::nodes`] in order of preference: the primary first.
    pub nodes: Vec<usize>,
}

/// A zone with tags.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Placed {
    pub origin: Name,
    pub file: PathBuf,
    /// The pool of its tags without `pool=`; absent: it has none of those.
    pub pool: Option<String>,
}

impl Node {
    pub fn new(name: String, addresses: &[IpAddr]) -> Node {
        let mut node = Node { name, ..Node::default() };
        addresses.iter().for_each(|address| node.give(*address));
        node
    }

    fn has(&self, address: IpAddr) -> bool {
        self.of_family(address) == Some(address)
    }

    /// Its address of the same family.
    fn of_family(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(_) => self.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => self.ipv6.map(IpAddr::V6),
        }
    }

    fn give(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(ipv4) => self.ipv4 = Some(ipv4),
            IpAddr::V6(ipv6) => self.ipv6 = Some(ipv6),
        }
    }
}

/// Proposes from the zones with tags; `given` are nodes that the operator has named. The error says
/// what cannot be known and which flag tells.
pub fn propose(zones: &[(Zone, PathBuf)], given: &[Node]) -> Result<Proposal, String> {
    let (groups, placed) = grouped(zones)?;
    if placed.is_empty() {
        return Err(
            "no zone has a record with the comment `; Enable failover`: tag the records that shall move".to_owned()
        );
    }
    let mut nodes: Vec<Node> = given.to_vec();
    let mut pools = Vec::new();
    for Group { name, hosts } in groups {
        let mut members: Vec<usize> = Vec::new();
        for slot in &hosts.0 {
            for node in take_in(&mut nodes, slot)? {
                if !members.contains(&node) {
                    members.push(node);
                }
            }
        }
        pools.push(Pool { name, nodes: members });
    }
    fill_up(&mut pools, nodes.len(), given.len());
    let names = names(zones);
    for (index, node) in nodes.iter_mut().enumerate().filter(|(_, node)| node.name.is_empty()) {
        node.name = name_of(node, &names).unwrap_or_else(|| format!("node{}", index + 1));
    }
    if let Some(pool) = pools.iter().find(|pool| pool.nodes.len() < 2) {
        let only = &nodes[pool.nodes[0]].name;
        let of_pool = if pools.len() > 1 { format!(" of pool {}", pool.name) } else { String::new() };
        return Err(format!(
            "the tagged records{of_pool} name one host only ({only}): tell the other with --node NAME=IPV4,IPV6, and the first with --node {only}=..."
        ));
    }
    Ok(Proposal { nodes, pools, zones: placed })
}

/// Tagged records that follow the same hosts.
struct Group {
    name: String,
    hosts: Hosts,
}

/// Who a group's records name: the address of each role and family, and who has it.
#[derive(Clone, Debug, Default)]
struct Hosts([[Option<(IpAddr, Name)>; 2]; 2]);

impl Hosts {
    fn slot(&mut self, role: Role, address: IpAddr) -> &mut Option<(IpAddr, Name)> {
        &mut self.0[usize::from(role == Role::Standby)][usize::from(address.is_ipv6())]
    }

    /// Takes an address in; one host for each role, or it is not one pool.
    fn take(&mut self, role: Role, address: IpAddr, owner: Name, file: &Path) -> Result<(), String> {
        let slot = self.slot(role, address);
        match slot {
            Some((other, first)) if *other != address => Err(format!(
                "two hosts are {role}: {other} for {first} and {address} for {owner} in {}; these are two pools: tell them apart by pool=NAME in the tags",
                file.display()
            )),
            Some(_) => Ok(()),
            None => {
                *slot = Some((address, owner));
                Ok(())
            }
        }
    }

    fn both<'a>(&'a self, other: &'a Hosts) -> impl Iterator<Item = (Option<IpAddr>, Option<IpAddr>)> + 'a {
        let address = |slot: &Option<(IpAddr, Name)>| slot.as_ref().map(|(address, _)| *address);
        self.0.iter().flatten().zip(other.0.iter().flatten()).map(move |(a, b)| (address(a), address(b)))
    }

    fn contradicts(&self, other: &Hosts) -> bool {
        self.both(other).any(|(a, b)| a.is_some() && b.is_some() && a != b)
    }

    fn meets(&self, other: &Hosts) -> bool {
        self.both(other).any(|(a, b)| a.is_some() && a == b)
    }

    fn join(&mut self, other: Hosts) {
        for (own, other) in self.0.iter_mut().flatten().zip(other.0.into_iter().flatten()) {
            *own = own.take().or(other);
        }
    }
}

/// The groups of all tagged zones: those of `pool=` under its name; the others zone by zone, joined
/// where they name the same hosts in the same roles.
fn grouped(zones: &[(Zone, PathBuf)]) -> Result<(Vec<Group>, Vec<Placed>), String> {
    let mut named: BTreeMap<String, Hosts> = BTreeMap::new();
    let mut unnamed: Vec<Hosts> = Vec::new();
    let mut placed: Vec<(&Name, &PathBuf, Option<usize>)> = Vec::new();
    for (zone, file) in zones {
        let mut own: Option<Hosts> = None;
        let mut is_tagged = false;
        for found in published(zone) {
            is_tagged = true;
            let (Some(tag), Some(address)) = (&found.tag, address(&found.record.rdata)) else { continue };
            let hosts = match &tag.pool {
                Some(pool) => named.entry(pool.clone()).or_default(),
                None => own.get_or_insert_default(),
            };
            hosts.take(tag.role, address, found.record.owner.clone(), file)?;
        }
        if is_tagged {
            let pool = own.map(|own| joined(&mut unnamed, own));
            placed.push((zone.origin(), file, pool));
        }
    }
    let mut free = (1..).map(|number| if number == 1 { USUAL.to_owned() } else { format!("{USUAL}{number}") });
    let names: Vec<String> =
        unnamed.iter().map(|_| free.find(|name| !named.contains_key(name)).expect("there is no last one")).collect();
    let zone = |(origin, file, pool): (&Name, &PathBuf, Option<usize>)| Placed {
        origin: origin.clone(),
        file: file.clone(),
        pool: pool.map(|pool| names[pool].clone()),
    };
    let placed = placed.into_iter().map(zone).collect();
    let unnamed = names.iter().cloned().zip(unnamed);
    let groups = unnamed.chain(named).map(|(name, hosts)| Group { name, hosts }).collect();
    Ok((groups, placed))
}

/// What pools without a name are called.
const USUAL: &str = "web";

/// Joins the hosts of a zone to those that they belong to; which these are.
fn joined(groups: &mut Vec<Hosts>, own: Hosts) -> usize {
    let fits: Vec<usize> = (0..groups.len()).filter(|index| !groups[*index].contradicts(&own)).collect();
    let meets = fits.iter().copied().find(|index| groups[*index].meets(&own));
    // Over another family than all others before: with one pool there is no doubt.
    let only = || fits.first().copied().filter(|_| groups.len() == 1);
    match meets.or_else(only) {
        Some(index) => {
            groups[index].join(own);
            index
        }
        None => {
            groups.push(own);
            groups.len() - 1
        }
    }
}

/// Failover records that are answered now: the address of a withdrawn one means nothing.
fn published(zone: &Zone) -> impl Iterator<Item = ZoneRecord> + '_ {
    zone.failover_records().filter(|found| found.tag.is_some() && !found.withdrawn)
}

/// The nodes of one role: who has its addresses already, or else one node with both.
fn take_in(nodes: &mut Vec<Node>, slot: &[Option<(IpAddr, Name)>; 2]) -> Result<Vec<usize>, String> {
    let addresses: Vec<IpAddr> = slot.iter().flatten().map(|(address, _)| *address).collect();
    let known = |nodes: &[Node], address: IpAddr| nodes.iter().position(|node| node.has(address));
    let mut own: Vec<usize> = addresses.iter().filter_map(|address| known(nodes, *address)).collect();
    for address in addresses {
        if known(nodes, address).is_some() {
            continue;
        }
        let index = *own.first().unwrap_or(&nodes.len());
        if own.is_empty() {
            nodes.push(Node::default());
            own.push(index);
        }
        if let Some(other) = nodes[index].of_family(address) {
            return Err(format!(
                "{other} and {address} seem to be one host: tell which address is whose with --node NAME=IPV4,IPV6 for each"
            ));
        }
        nodes[index].give(address);
    }
    own.dedup();
    Ok(own)
}

/// Gives pools their other hosts: nodes that the operator has named and no tag tells of; and to a pool
/// whose tags name one host only the hosts of another one that has it too.
fn fill_up(pools: &mut [Pool], nodes: usize, given: usize) {
    let used: BTreeSet<usize> = pools.iter().flat_map(|pool| pool.nodes.clone()).collect();
    let spare = (0..nodes.min(given)).filter(|node| !used.contains(node));
    let only_one = pools.len() == 1;
    for node in spare {
        pools.iter_mut().filter(|pool| only_one || pool.nodes.len() < 2).for_each(|pool| pool.nodes.push(node));
    }
    let whole: Vec<Vec<usize>> =
        pools.iter().map(|pool| pool.nodes.clone()).filter(|members| members.len() > 1).collect();
    for pool in pools.iter_mut().filter(|pool| pool.nodes.len() < 2) {
        let other = whole.iter().find(|members| pool.nodes.iter().all(|node| members.contains(node)));
        let more: Vec<usize> = other.into_iter().flatten().copied().filter(|node| !pool.nodes.contains(node)).collect();
        pool.nodes.extend(more);
    }
}

/// The untagged names of each address; those that a zone has as its name server first.
fn names(zones: &[(Zone, PathBuf)]) -> BTreeMap<IpAddr, Vec<(bool, Name)>> {
    let mut servers = Vec::new();
    for found in zones.iter().flat_map(|(zone, _)| zone.records()).filter(|found| found.record.rtype == Rtype::NS) {
        servers.extend(Name::from_wire(&found.record.rdata).ok());
    }
    let mut names: BTreeMap<IpAddr, Vec<(bool, Name)>> = BTreeMap::new();
    for found in zones.iter().flat_map(|(zone, _)| zone.records()) {
        let is_address = matches!(found.record.rtype, Rtype::A | Rtype::AAAA);
        if let (true, None, Some(address)) = (is_address, &found.tag, address(&found.record.rdata)) {
            let owner = found.record.owner;
            names.entry(address).or_default().push((!servers.contains(&owner), owner));
        }
    }
    names.values_mut().for_each(|list| list.sort());
    names
}

fn name_of(node: &Node, names: &BTreeMap<IpAddr, Vec<(bool, Name)>>) -> Option<String> {
    let addresses = [node.ipv4.map(IpAddr::V4), node.ipv6.map(IpAddr::V6)];
    let candidates = addresses.into_iter().flatten().filter_map(|address| names.get(&address)).flatten();
    let (_, best) = candidates.min()?;
    let text = best.to_string();
    Some(text.trim_end_matches('.').to_owned())
}

fn address(rdata: &[u8]) -> Option<IpAddr> {
    match rdata.len() {
        4 => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(origin: &str, text: &str) -> (Zone, PathBuf) {
        let soa = "$TTL 1h\n@ IN SOA ns1 hostmaster 1 1h 30m 7d 5m\n IN NS ns1\n";
        let zone = Zone::parse(&origin.parse().unwrap(), "f", format!("{soa}{text}").into_bytes()).unwrap();
        (zone, PathBuf::from("f"))
    }

    /// "pool: nodes" of each pool, then "zone -> pool" of each zone that is in another than `web`.
    fn said(proposal: &Proposal) -> Vec<String> {
        let pool = |pool: &Pool| {
            let nodes: Vec<&str> = pool.nodes.iter().map(|node| proposal.nodes[*node].name.as_str()).collect();
            format!("{}: {}", pool.name, nodes.join(" "))
        };
        let others = proposal.zones.iter().filter(|zone| zone.pool.as_deref() != Some("web"));
        let zone = |zone: &Placed| format!("{} -> {}", zone.origin, zone.pool.as_deref().unwrap_or("-"));
        proposal.pools.iter().map(pool).chain(others.map(zone)).collect()
    }

    /// Names for four hosts.
    const HOSTS: &str = "a A 192.0.2.1\nb A 192.0.2.2\nc A 192.0.2.3\nd A 192.0.2.4\n";

    /// Two records with these hosts; `key` is more for their tags.
    fn tagged(primary: u8, standby: u8, key: &str) -> String {
        let below = key.replace("pool=", ".");
        format!(
            "www{below} A 192.0.2.{primary} ; Enable failover {key}\nstandby{below} A 192.0.2.{standby} ; Enable failover {key}\n"
        )
    }

    #[test]
    fn pools_come_from_the_tags_and_else_from_the_addresses() {
        let h = "h.example";
        // The example of the manual: one host with a tag of its own has the other one's company.
        let example = "www A 192.0.2.1 ; Enable failover\nstandby A 192.0.2.2 ; Enable failover\n\
                       www.eu A 192.0.2.1 ; Enable failover pool=eu role=primary\n";
        let zones = [zone(h, &format!("{HOSTS}{example}"))];
        assert_eq!(
            said(&propose(&zones, &[]).unwrap()),
            ["web: a.h.example b.h.example", "eu: a.h.example b.h.example"]
        );

        let zones = [
            zone(h, HOSTS),
            zone("one.example", &tagged(1, 2, "")),
            zone("two.example", &tagged(3, 4, "")),
            zone("three.example", &tagged(1, 2, "")),
            zone("turned.example", &tagged(2, 1, "")),
            zone("four.example", "www A 192.0.2.3 ; Enable failover\n"),
            zone("us.example", &tagged(4, 3, "pool=us")),
            zone("both.example", &(tagged(1, 2, "") + &tagged(4, 3, "pool=us"))),
        ];
        assert_eq!(
            said(&propose(&zones, &[]).unwrap()),
            [
                "web: a.h.example b.h.example",
                "web2: c.h.example d.h.example",
                "web3: b.h.example a.h.example",
                "us: d.h.example c.h.example",
                "two.example. -> web2",
                "turned.example. -> web3",
                "four.example. -> web2",
                "us.example. -> -",
            ]
        );
        // Whoever calls a pool `web` means another one than those without a name.
        let zones = [zone(h, HOSTS), zone("a.example", &(tagged(1, 2, "pool=web") + &tagged(3, 4, "")))];
        let pools = said(&propose(&zones, &[]).unwrap());
        assert_eq!(pools, ["web2: c.h.example d.h.example", "web: a.h.example b.h.example", "a.example. -> web2"]);
    }

    const TAGGED: &str = "www A 192.0.2.1 ; Enable failover\nwww AAAA 2001:db8::1 ; Enable failover\n\
                          standby A 192.0.2.2 ; Enable failover\nstandby AAAA 2001:db8::2 ; Enable failover\n";

    #[test]
    fn names_come_from_the_other_records() {
        let zones =
            [zone("a.example", &format!("{TAGGED}alpha A 192.0.2.1\nns1 A 192.0.2.1\nother AAAA 2001:db8::2\n"))];
        let proposal = propose(&zones, &[]).unwrap();
        let names: Vec<&str> = proposal.nodes.iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["ns1.a.example", "other.a.example"], "a name server before another name");
        assert_eq!(proposal.nodes[1].ipv4, Some(Ipv4Addr::new(192, 0, 2, 2)));
        assert_eq!(proposal.nodes[0].ipv6, Some("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn without_names_they_are_numbered_and_flags_win() {
        let zones = [zone("a.example", &format!("{TAGGED}ns1 A 192.0.2.99\n"))];
        assert_eq!(propose(&zones, &[]).unwrap().nodes[1].name, "node2");
        let given = [Node::new("mine".to_owned(), &["192.0.2.2".parse().unwrap(), "2001:db8::2".parse().unwrap()])];
        let proposal = propose(&zones, &given).unwrap();
        assert_eq!(said(&proposal), ["web: node2 mine"], "the primary first");
        assert_eq!(proposal.nodes[1].ipv4, Some(Ipv4Addr::new(192, 0, 2, 1)));
        let third = Node::new("third".to_owned(), &["192.0.2.9".parse().unwrap()]);
        assert_eq!(said(&propose(&zones, &[third]).unwrap()), ["web: node2 node3 third"]);
    }

    #[test]
    fn what_cannot_be_known_is_said() {
        let none = [zone("a.example", "ns1 A 192.0.2.1\n")];
        assert!(propose(&none, &[]).unwrap_err().contains("no zone has a record with the comment"));
        let one = [zone("a.example", "ns1 A 192.0.2.1\nwww A 192.0.2.1 ; Enable failover\n")];
        assert!(propose(&one, &[]).unwrap_err().contains("one host only (ns1.a.example)"));
        let three = [zone("a.example", &format!("{TAGGED}ns1 A 192.0.2.1\npaul A 192.0.2.3 ; Enable failover\n"))];
        let words = propose(&three, &[]).unwrap_err();
        assert!(words.starts_with("two hosts are primary: 192.0.2.1 for www.a.example."), "{words}");
        assert!(words.ends_with("tell them apart by pool=NAME in the tags"), "{words}");
        let alone = [zone("a.example", &format!("{HOSTS}{TAGGED}x A 192.0.2.3 ; Enable failover pool=eu\n"))];
        let words = propose(&alone, &[]).unwrap_err();
        assert!(words.starts_with("the tagged records of pool eu name one host only (c.a.example)"), "{words}");
        let crossed = [zone("a.example", TAGGED), zone("b.example", &TAGGED.replace("db8::1", "db8::3"))];
        let words = propose(&crossed, &[]).unwrap_err();
        assert!(words.starts_with("2001:db8::1 and 2001:db8::3 seem to be one host: tell"), "{words}");
    }
}
