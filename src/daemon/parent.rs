//! What has to stand in the parent of a zone that we answer ourselves: its delegation.

use domain::base::iana::Rtype;

use crate::dns::rdata;
use crate::zone::Zone;

/// The NS records of a zone and the glue for them, as lines of its parent's zone file: absolute
/// names, so that they may stand anywhere in it. Glue is what no resolver could find without it:
/// addresses of name servers inside the zone (RFC 1034 section 4.2.1).
pub fn records(zone: &Zone) -> Vec<String> {
    let line = |found: &crate::zone::ZoneRecord| {
        let record = &found.record;
        format!("{} {} IN {} {}", record.owner, record.ttl, record.rtype, rdata::to_text(record.rtype, &record.rdata))
    };
    let apex: Vec<_> = zone.records().filter(|found| found.record.owner == *zone.origin()).collect();
    let delegation: Vec<_> = apex.iter().filter(|found| found.record.rtype == Rtype::NS).collect();
    let servers: Vec<&[u8]> = delegation.iter().map(|found| &*found.record.rdata).collect();
    let is_server = |wire: &[u8]| servers.iter().any(|server| server.eq_ignore_ascii_case(wire));
    let glue = zone.records().filter(|found| matches!(found.record.rtype, Rtype::A | Rtype::AAAA));
    let glue = glue.filter(|found| is_server(found.record.owner.wire()));
    delegation.iter().map(|found| line(found)).chain(glue.map(|found| line(&found))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_and_their_glue_and_nothing_else() {
        let text = "$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS NS1\n@ NS ns.example.net.\nns1 A 192.0.2.53\nns1 AAAA ::1\nwww A 192.0.2.1\n";
        let zone = Zone::parse(&"fo.example.org".parse().unwrap(), "z", text.as_bytes().to_vec()).unwrap();
        assert_eq!(
            records(&zone),
            [
                "fo.example.org. 60 IN NS NS1.fo.example.org.",
                "fo.example.org. 60 IN NS ns.example.net.",
                "ns1.fo.example.org. 60 IN A 192.0.2.53",
                "ns1.fo.example.org. 60 IN AAAA ::1",
            ]
        );
    }
}
