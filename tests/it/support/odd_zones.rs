//! Odd but valid zones from a seed: every legal spelling that the master file format has.

/// A zone of origin `example.org` and the file that it includes.
pub struct OddZone {
    /// Name and text, the zone's own first.
    pub files: Vec<(&'static str, Vec<u8>)>,
}

/// Types with RDATA that nsd and BIND both take. Blanks may become any blanks.
pub const RDATA: &[&str] = &[
    "A 192.0.2.1",
    "AAAA 2001:DB8::1",
    "AAAA ::ffff:192.0.2.1",
    "TXT plain \"two words\" \"\" a\\;b",
    "TXT \"semi;colon ( paren\" \\\"quoted\\\" \\065\\000\\255",
    "TXT \"a\"\"b\" c\"d\"",
    "SPF v=spf1",
    "MX 10 mail",
    "MX 0 .",
    "NS sub\\.dot",
    "PTR @",
    "SRV 1 2 443 *.www",
    "NAPTR 100 50 \"s\" \"z3950+I2L+I2C\" \"\" _z._tcp",
    "HINFO \"PC DOS\" x",
    "RP mbox\\.dot txt",
    "MB a",
    "MG a",
    "MR a",
    "MINFO a b.",
    "AFSDB 1 a",
    "RT 1 a",
    "KX 1 a",
    "X25 311061700956",
    "ISDN 150862028003217 004",
    "ISDN 150862028003217",
    "NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00",
    "PX 10 net2. it",
    "WKS 10.0.0.1 tcp smtp domain",
    "LOC 52 22 23.123 N 4 53 32 E -2.55m 1000m 10m 3m",
    "LOC 60 N 24 39 W 10",
    "CERT PKIX 1 RSASHA1 MxFcby9k",
    "CERT 65534 65535 254 MxFc by9k",
    "APL 1:10.0.0.0/32 !1:10.1.0.0/16 2:ff00::/8",
    "APL",
    "DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    "SMIMEA 0 0 1 d2abde240d7cd3ee6b4b28c54df034b9",
    "TLSA 3 1 1 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971",
    "SSHFP 2 1 123456789abcdef67890123456789abcdef67890",
    "DS 60485 8 1 2BB183AF5F225881 79A53B0A98631FAD1A292118",
    "CDS 0 0 0 00",
    "CDS 60485 RSASHA256 2 2BB183AF5F22588179A53B0A98631FAD1A2921182BB183AF5F225881AABBCCDD",
    "CDNSKEY 0 3 0 AA==",
    "CDNSKEY 257 3 ECDSAP256SHA256 AQPSKmynfzW4",
    "ZONEMD 2024010101 1 241 2BB183AF5F22588179A53B0A98631FAD 1A292118",
    "DNSKEY 256 3 5 AQPSKmynfzW4kyBv 015MUG2D",
    "DNSKEY 257 3 RSASHA1 AQPSKmynfzW4",
    "KEY 512 255 1 AQMFD5raczCJ",
    "CSYNC 66 3 A NS TYPE1234",
    "NID 10 0014:4fff:ff20:ee64",
    "L32 10 10.1.2.0",
    "L64 10 2001:0DB8:1140:1000",
    "LP 10 l64",
    "EUI48 00-00-5E-00-53-2a",
    "EUI64 00-00-5e-ef-10-00-00-2a",
    "URI 10 1 \"ftp://ftp1.example.com/a b\"",
    "CAA 128 issue \"ca.example; x=y\"",
    "CAA 0 iodef mailto:x@example.org",
    "IPSECKEY 10 1 2 192.0.2.38 AQNRU3mG7TVT O2BkR47usntb",
    "IPSECKEY 10 0 2 . AQNRU3mG",
    "IPSECKEY 10 3 2 gw AQNRU3mG",
    "OPENPGPKEY mQENBFVHm5sB",
    "NSEC a A MX RRSIG NSEC TYPE1234",
    "NSEC3PARAM 1 0 12 aabbccdd",
    "NSEC3PARAM 1 0 0 -",
    "NSEC3 1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY",
    "RRSIG A 8 2 300 20380101000000 20200101000000 38519 example.ORG. OMK8rAZlepfzLWW7 5Dxd63jy",
    "SVCB 1 foo alpn=h2,h3 port=53 ipv4hint=192.0.2.1 key667=\"x\\210y\"",
    "SVCB 0 .",
    "HTTPS 1 . alpn=\"h2\" ipv6hint=2001:db8::1",
    "AVC \"app-name:x|y\"",
    "A \\# 4 C0 00 0201",
    "TYPE731 \\# 6 abcd EF 012345",
    "TYPE65280 \\# 0",
    "TYPE16 \\# 3 026162",
];

/// Spellings of owners, all different names; `@` would be the apex.
const OWNERS: &[&str] = &[
    "www",
    "WWW2",
    "a.b.c",
    "*.wild",
    "_sip._tcp",
    "x\\.y",
    "\\097b",
    "sp\\032ace",
    "under_score",
    "dash-",
    "1",
    "in",
    "A",
    "ns3.example.org.",
    "Up.Example.ORG.",
    "\\@",
    "\\$x",
    "se\\;mi",
    "\\\"q",
    "IN.in",
    "300",
    "1h",
    "\\(",
    "e\\200",
    "TYPE1",
    "ch",
    "soa",
    "xn--nxasmq6b",
    "very.long.owner.name.that.goes.on.and.on",
];

impl OddZone {
    pub fn new(seed: u64) -> OddZone {
        let mut odd = Odd { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, text: Vec::new() };
        odd.head();
        odd.records(0);
        odd.line("$ORIGIN sub.example.org.");
        odd.records(1);
        // nsd 4.6 wants a newline at the end of a file that includes another, or is included.
        let includes = seed % 4 != 3;
        if includes {
            odd.line(odd_include(seed));
        }
        odd.line("$ORIGIN example.org.");
        odd.records(2);
        let zone = odd.finish(!includes);
        let mut inner = Odd { state: odd.state, text: Vec::new() };
        inner.records(3);
        let inner = inner.finish(false);
        OddZone { files: vec![("zone", zone), ("included", inner)] }
    }
}

/// Lines of `$GENERATE` from a seed, behind the head of a zone.
pub fn generates(seed: u64) -> Vec<u8> {
    let mut odd = Odd { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, text: Vec::new() };
    odd.head();
    for number in 0..8 {
        let start = odd.below(300);
        let range = match odd.below(3) {
            0 => format!("{start}-{}", start + odd.below(20)),
            1 => format!("{start}-{}/{}", start + odd.below(200), 1 + odd.below(40)),
            _ => format!("0-{}", odd.below(17)),
        };
        let counted = |odd: &mut Odd| {
            let base = odd.pick(&["d", "o", "x", "X", "n", "N"]);
            let (offset, width) = (odd.below(40), odd.below(9));
            match odd.below(4) {
                0 => "$".to_owned(),
                1 => format!("${{{offset}}}"),
                2 => format!("${{{offset},{width}}}"),
                _ => format!("${{{offset},{width},{base}}}"),
            }
        };
        let (owner, name) = (counted(&mut odd), counted(&mut odd));
        let attributes = odd.pick(&["", "300 ", "IN ", "5 IN "]);
        let rdata = match odd.below(5) {
            0 => "A 192.0.2.1".to_owned(),
            1 => format!("CNAME h-{name}.example.net."),
            2 => format!("PTR x{name}y"),
            3 => format!("TXT \"a {name} \\$ b\""),
            _ => format!("MX \"10 m{name}\""),
        };
        odd.line(&format!("$GENERATE {range} g{number}-{owner}-x {attributes}{rdata}"));
    }
    odd.finish(false)
}

fn odd_include(seed: u64) -> &'static str {
    match seed % 3 {
        0 => "$INCLUDE included inc.example.org.",
        1 => "$include included inc.Example.org. ; with a comment",
        _ => "$ORIGIN inc.example.org.\n$INCLUDE\tincluded",
    }
}

struct Odd {
    state: u64,
    text: Vec<u8>,
}

impl Odd {
    /// A number below `most` (xorshift64).
    fn below(&mut self, most: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) as usize % most
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    fn line(&mut self, text: &str) {
        self.push(text);
        self.push("\n");
    }

    fn head(&mut self) {
        let ttl = self.pick(&["$TTL 1h30m", "$ttl\t3600", "; a comment\n\n$TTL 2D ; why", "$TTL 1w1s"]);
        self.line(ttl);
        let soa = self.pick(&[
            "@ IN SOA ns1 hostmaster\\.x 2024010101 1h 30M 1w2d 5",
            "example.org. 300 soa ns1.example.org. h ( 1 ; serial\n\t2 3\n 4 5 ) ; end",
            "@ IN 60 SOA ( ns1 h\n; nothing but a comment\n\n7 8 9 10 11 )",
            "@ SOA ns1 h (4294967295 1 1 1 1)",
        ]);
        self.line(soa);
        self.line("@ NS ns1\n  NS ns2.example.net.\nns1 A 192.0.2.53");
    }

    /// Each owner once, most with several types; every type at most once for an owner.
    fn records(&mut self, part: usize) {
        for number in 0..10 {
            let owner = OWNERS[(number + part * 10 + self.below(3)) % OWNERS.len()];
            // Absolute owners, and those that another part has had, would meet again.
            let absolute = owner.ends_with('.') && !owner.ends_with("\\.");
            let owner =
                if absolute { format!("p{part}n{number}.{owner}") } else { format!("{owner}.p{part}n{number}") };
            let mut types = Vec::new();
            for record in 0..1 + self.below(3) {
                let rdata = self.pick(RDATA);
                let rtype = rdata.split(' ').next().unwrap_or(rdata);
                // BIND takes neither at a wildcard.
                if matches!(rtype, "NS" | "NSEC3") && owner.starts_with('*') {
                    continue;
                }
                let alias = |rtype: &str| matches!(rtype, "A" | "TYPE16" | "TXT" | "NS");
                if types.iter().any(|known: &&str| *known == rtype || (alias(known) && alias(rtype))) {
                    continue;
                }
                types.push(rtype);
                let first = types.len() == 1;
                if first {
                    self.push(&owner);
                } else if self.below(3) == 0 && record > 0 {
                    let other_case = owner.to_ascii_lowercase();
                    self.push(&other_case);
                }
                self.record(rdata);
            }
        }
    }

    /// TTL and class in any order, then type and RDATA with any blanks, in parentheses or not.
    fn record(&mut self, rdata: &str) {
        let mut text = self.pick(&["", "300", "1h", "IN", "in 5", "5 IN", "CLASS1", "0 In"]).to_owned();
        let lower = self.below(4) == 0;
        let (rtype, rest) = rdata.split_once(' ').unwrap_or((rdata, ""));
        text.push(' ');
        text.push_str(&if lower { rtype.to_ascii_lowercase() } else { rtype.to_owned() });
        let grouped = self.below(4) == 0 && !rest.is_empty();
        self.blank();
        let stated = text.trim().to_owned();
        for (index, word) in stated.split(' ').enumerate() {
            if index > 0 {
                self.blank();
            }
            self.push(word);
        }
        if grouped {
            self.blank();
            self.push("(");
        }
        let mut quoted = false;
        if !rest.is_empty() {
            self.blank();
        }
        let mut previous = ' ';
        for c in rest.chars() {
            quoted ^= c == '"' && previous != '\\';
            match c {
                ' ' if quoted || previous == '\\' => self.push(" "),
                ' ' if grouped => self.wide_blank(),
                ' ' => self.blank(),
                c => self.push(&c.to_string()),
            }
            previous = c;
        }
        if grouped {
            self.wide_blank();
            self.push(")");
        }
        let end = self.pick(&[
            "\n",
            "\n",
            "\n",
            "\r\n",
            " ; comment\n",
            "\t;(\" odd\r\n",
            "\n\n",
            "   \n",
            "\n; Enable\n \t\n",
        ]);
        self.push(end);
    }

    fn blank(&mut self) {
        let blank = self.pick(&[" ", " ", "\t", "  \t "]);
        self.push(blank);
    }

    fn wide_blank(&mut self) {
        let blank = self.pick(&[" ", "\t", "\n", " ; a ) comment\n", "\r\n\t", "\n\n "]);
        self.push(blank);
    }

    /// The text; it may end in the middle of a line.
    fn finish(&mut self, cut: bool) -> Vec<u8> {
        let mut text = std::mem::take(&mut self.text);
        if cut {
            while text.last().is_some_and(|octet| matches!(octet, b'\n' | b'\r')) {
                text.pop();
            }
        }
        text
    }
}
