//! A record of each common type as it is written, for whoever has written another thing.

use domain::base::iana::Rtype;

/// Type and RDATA as they stand in a zone file; `None` for types that hardly anybody writes by hand.
pub fn example(rtype: Rtype) -> Option<&'static str> {
    EXAMPLES.iter().find(|(known, _)| *known == rtype).map(|(_, text)| *text)
}

const EXAMPLES: &[(Rtype, &str)] = &[
    (Rtype::A, "A 192.0.2.1"),
    (Rtype::AAAA, "AAAA 2001:db8::1"),
    (Rtype::AFSDB, "AFSDB 1 afs.example.org."),
    (Rtype::APL, "APL 1:192.0.2.0/24 !2:2001:db8::/32"),
    (Rtype::CAA, "CAA 0 issue \"ca.example.net\""),
    (Rtype::CDNSKEY, "CDNSKEY 257 3 13 BASE64"),
    (Rtype::CDS, "CDS 60485 13 2 HEX"),
    (Rtype::CERT, "CERT PKIX 1 RSASHA256 BASE64"),
    (Rtype::CNAME, "CNAME www.example.org."),
    (Rtype::CSYNC, "CSYNC 66 3 A NS AAAA"),
    (Rtype::DNAME, "DNAME example.net."),
    (Rtype::DNSKEY, "DNSKEY 257 3 13 BASE64"),
    (Rtype::DS, "DS 60485 13 2 HEX"),
    (Rtype::HINFO, "HINFO \"PC\" \"OpenBSD\""),
    (Rtype::HTTPS, "HTTPS 1 . alpn=h2,h3"),
    (Rtype::LOC, "LOC 52 22 23.5 N 4 53 32 E 10m"),
    (Rtype::MX, "MX 10 mail.example.org."),
    (Rtype::NAPTR, "NAPTR 100 50 \"s\" \"SIP+D2U\" \"\" _sip._udp.example.org."),
    (Rtype::NS, "NS ns1.example.org."),
    (Rtype::NSEC, "NSEC b.example.org. A RRSIG NSEC"),
    (Rtype::NSEC3PARAM, "NSEC3PARAM 1 0 0 -"),
    (Rtype::OPENPGPKEY, "OPENPGPKEY BASE64"),
    (Rtype::PTR, "PTR www.example.org."),
    (Rtype::RP, "RP hostmaster.example.org. ."),
    (Rtype::RRSIG, "RRSIG A 13 3 3600 20300101000000 20291201000000 60485 example.org. BASE64"),
    (Rtype::SMIMEA, "SMIMEA 3 1 1 HEX"),
    (Rtype::SOA, "SOA ns1.example.org. hostmaster.example.org. 1 1h 30m 7d 5m"),
    (Rtype::SPF, "SPF \"v=spf1 -all\""),
    (Rtype::SRV, "SRV 10 5 443 www.example.org."),
    (Rtype::SSHFP, "SSHFP 4 2 HEX"),
    (Rtype::SVCB, "SVCB 1 svc.example.org. alpn=h2 port=8443"),
    (Rtype::TLSA, "TLSA 3 1 1 HEX"),
    (Rtype::TXT, "TXT \"one text\" \"another\""),
    (Rtype::URI, "URI 10 1 \"https://www.example.org/\""),
    (Rtype::ZONEMD, "ZONEMD 1 1 1 HEX"),
];

#[cfg(test)]
mod tests {
    use super::super::{Field, from_text};
    use super::*;
    use crate::dns::name::Name;

    #[test]
    fn every_example_is_taken() {
        for (rtype, text) in EXAMPLES {
            let text = text.replace("HEX", &"AB".repeat(48)).replace("BASE64", "AwEAAQ==");
            let (named, rdata) = text.split_once(' ').unwrap();
            assert_eq!(named.parse::<Rtype>().ok(), Some(*rtype), "{text}");
            let mut fields = Vec::new();
            for (number, part) in rdata.split('"').enumerate() {
                let field = |text: &'static str| Field { text: text.as_bytes(), at: 0, quoted: false, glued: false };
                let part: &'static str = part.to_owned().leak();
                match number % 2 {
                    0 => fields.extend(part.split_whitespace().map(field)),
                    _ => fields.push(Field { quoted: true, ..field(part) }),
                }
            }
            let read = from_text(*rtype, &fields, &Name::root(), &mut Vec::new());
            assert_eq!(read, Ok(()), "{text}");
        }
    }
}
