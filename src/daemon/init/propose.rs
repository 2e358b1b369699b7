//! From tagged zones to nodes and pools: who the hosts are is read off the addresses in the tagged
//! records, and their names off the other records with the same addresses. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use domain::base::iana::Rtype;

use crate::dns::name::Name;
use crate::zone::tag::Role;
use crate::zone::{Zone, ZoneRecord};

/// What `init` writes down.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proposal {
    /// In order of preference: the primary first.
    pub nodes: Vec<Node>,
    pub zones: Vec<(Name, PathBuf)>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    pub name: String,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
}

impl Node {
    pub fn new(name: String, addresses: &[IpAddr]) -> Node {
        let mut node = Node { name, ..Node::default() };
        for address in addresses {
            match address {
                IpAddr::V4(ipv4) => node.ipv4 = Some(*ipv4),
                IpAddr::V6(ipv6) => node.ipv6 = Some(*ipv6),
            }
        }
        node
    }

    pub fn has(&self, address: IpAddr) -> bool {
        self.ipv4.map(IpAddr::V4) == Some(address) || self.ipv6.map(IpAddr::V6) == Some(address)
    }
}

/// Proposes from the zones with tags; `given` are nodes that the operator has named. The error says
/// what cannot be known and which flag tells.
pub fn propose(zones: &[(Zone, PathBuf)], given: &[Node]) -> Result<Proposal, String> {
    let tagged: Vec<&(Zone, PathBuf)> = zones.iter().filter(|(zone, _)| published(zone).next().is_some()).collect();
    if tagged.is_empty() {
        return Err(
            "no zone has a record with the comment `; Enable failover`: tag the records that shall move".to_owned()
        );
    }
    let mut nodes: Vec<Node> = given.to_vec();
    for role in [Role::Primary, Role::Standby] {
        for address in addresses(&tagged, role)? {
            if !nodes.iter().any(|node| node.has(address)) {
                take_in(&mut nodes, given.len(), role, address);
            }
        }
    }
    let names = names(zones);
    for (index, node) in nodes.iter_mut().enumerate().filter(|(_, node)| node.name.is_empty()) {
        node.name = name_of(node, &names).unwrap_or_else(|| format!("node{}", index + 1));
    }
    if nodes.len() < 2 {
        let only = &nodes[0];
        return Err(format!(
            "the tagged records name one host only ({}): tell the other with --node NAME=IPV4,IPV6, and the first with --node {}=...",
            only.name, only.name
        ));
    }
    let zones = tagged.iter().map(|(zone, file)| (zone.origin().clone(), file.clone())).collect();
    Ok(Proposal { nodes, zones })
}

/// Failover records that are answered now: the address of a withdrawn one means nothing.
fn published(zone: &Zone) -> impl Iterator<Item = ZoneRecord> + '_ {
    zone.failover_records().filter(|found| found.tag.is_some() && !found.withdrawn)
}

/// The addresses of a role over all zones: one for each family, or it is not one pool.
fn addresses(zones: &[&(Zone, PathBuf)], role: Role) -> Result<Vec<IpAddr>, String> {
    let mut seen: BTreeMap<bool, (IpAddr, String)> = BTreeMap::new();
    for (zone, file) in zones.iter().map(|(zone, file)| (zone, file)) {
        for found in published(zone).filter(|found| found.tag.as_ref().is_some_and(|tag| tag.role == role)) {
            let Some(address) = address(&found.record.rdata) else { continue };
            let owner = &found.record.owner;
            match seen.get(&address.is_ipv6()) {
                Some((other, first)) if *other != address => {
                    return Err(format!(
                        "two hosts are {role}: {other} for {first} and {address} for {owner} in {}; these are two pools: write the configuration by hand, with pool= in the tags",
                        file.display()
                    ));
                }
                Some(_) => {}
                None => drop(seen.insert(address.is_ipv6(), (address, owner.to_string()))),
            }
        }
    }
    Ok(seen.into_values().map(|(address, _)| address).collect())
}

/// The first address of a role makes a node, the other family's joins it.
fn take_in(nodes: &mut Vec<Node>, given: usize, role: Role, address: IpAddr) {
    let own = given + usize::from(role == Role::Standby && nodes.len() > given);
    while nodes.len() <= own {
        nodes.push(Node::default());
    }
    let node = &mut nodes[own];
    match address {
        IpAddr::V4(ipv4) => node.ipv4 = Some(ipv4),
        IpAddr::V6(ipv6) => node.ipv6 = Some(ipv6),
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
        let nodes = propose(&zones, &given).unwrap().nodes;
        assert_eq!(nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["mine", "node2"]);
        assert_eq!(nodes[1].ipv4, Some(Ipv4Addr::new(192, 0, 2, 1)));
    }

    #[test]
    fn what_cannot_be_known_is_said() {
        let none = [zone("a.example", "ns1 A 192.0.2.1\n")];
        assert!(propose(&none, &[]).unwrap_err().contains("no zone has a record with the comment"));
        let one = [zone("a.example", "ns1 A 192.0.2.1\nwww A 192.0.2.1 ; Enable failover\n")];
        assert!(propose(&one, &[]).unwrap_err().contains("one host only (ns1.a.example)"));
        let three = [zone("a.example", &format!("{TAGGED}ns1 A 192.0.2.1\npaul A 192.0.2.3 ; Enable failover\n"))];
        assert!(propose(&three, &[]).unwrap_err().starts_with("two hosts are primary: 192.0.2.1 for www.a.example."));
    }
}
