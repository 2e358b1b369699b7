//! RDATA in text and on the wire, and what is refused.

use super::*;

fn read(rtype: Rtype, text: &str) -> Result<Vec<u8>, RdataError> {
    let fields: Vec<Field<'_>> = text
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
            Some(inner) => Field { text: inner.as_bytes(), at: 0, quoted: true, glued: false },
            None => Field { text: word.as_bytes(), at: 0, quoted: false, glued: false },
        })
        .collect();
    let mut out = Vec::new();
    from_text(rtype, &fields, &"example.org".parse().unwrap(), &mut out).map(|()| out)
}

#[test]
fn what_is_written_is_what_was_read() {
    for (rtype, text, back) in [
        (Rtype::A, "192.0.2.1", "192.0.2.1"),
        (Rtype::AAAA, "2001:DB8::1", "2001:db8::1"),
        (Rtype::NS, "ns1", "ns1.example.org."),
        (Rtype::CNAME, "@", "example.org."),
        (Rtype::MX, "10 mail.example.net.", "10 mail.example.net."),
        (Rtype::SRV, "1 2 443 www", "1 2 443 www.example.org."),
        (Rtype::TXT, r#"a "b\"\065""#, r#""a" "b\"A""#),
        (Rtype::SOA, "ns h 7 1h 30m 1w2d 5", "ns.example.org. h.example.org. 7 3600 1800 777600 5"),
        (Rtype::CAA, r#"0 issue "ca.example""#, r#"0 issue "ca.example""#),
        (Rtype::DS, "1 13 2 AABB CCDD", "1 13 2 AABBCCDD"),
        (Rtype::DNAME, "x", "x.example.org."),
        (Rtype::A, r"\# 4 C0000201", "192.0.2.1"),
        (Rtype::from_int(65_280), r"\# 2 AB CD", r"\# 2 ABCD"),
        (Rtype::from_int(65_280), r"\# 0", r"\# 0"),
    ] {
        let wire = read(rtype, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
        let written = to_text(rtype, &wire);
        assert_eq!(written.replace(' ', ""), back.replace(' ', ""), "{rtype} {text}");
    }
}

/// Wire form as nsd 4.6 and BIND 9.18 have it, and the text of it.
#[test]
fn types_that_domain_does_not_know() {
    for (rtype, text, octets, back) in [
        (
            Rtype::LOC,
            "60 9 0.000 N 24 39 0.000 E 10.00m 20m 2000m 20m",
            r"\# 16 002325238CE82360854A10A000989A68",
            "60 9 0.000 N 24 39 0.000 E 10.00m 20.00m 2000.00m 20.00m",
        ),
        (
            Rtype::LOC,
            "52 22 23 N 4 53 32 E -2m 0m",
            r"\# 16 000016138B3CF018810CBCE0009895B8",
            "52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000.00m 10.00m",
        ),
        (
            Rtype::LOC,
            "52 N 4 E 1 1 1 1",
            r"\# 16 001212128B28720080DBBA00009896E4",
            "52 0 0.000 N 4 0 0.000 E 1.00m 1.00m 1.00m 1.00m",
        ),
        (
            Rtype::LOC,
            "90 N 180 W 42849672.95m 90000000m",
            r"\# 16 00991613934FD90059604E00FFFFFFFF",
            "90 0 0.000 N 180 0 0.000 W 42849672.95m 90000000.00m 10000.00m 10.00m",
        ),
        (Rtype::APL, "1:192.0.2.0/24 !2:ff00::/8", r"\# 12 00011803C0000200020881FF", "1:192.0.2.0/24 !2:ff00::/8"),
        (Rtype::APL, "", r"\# 0", ""),
        (Rtype::CERT, "PKIX 1 RSASHA1 AAAA", r"\# 8 0001000105000000", "1 1 5 AAAA"),
        (Rtype::CSYNC, "66 3 A NS AAAA", r"\# 12 000000420003000460000008", "66 3 A NS AAAA"),
        (Rtype::NID, "10 14:4fff:ff20:ee64", r"\# 10 000A00144FFFFF20EE64", "10 0014:4fff:ff20:ee64"),
        (Rtype::L32, "10 10.1.2.0", r"\# 6 000A0A010200", "10 10.1.2.0"),
        (Rtype::EUI48, "0-00-5e-00-53-2a", r"\# 6 00005E00532A", "00-00-5e-00-53-2a"),
        (Rtype::EUI64, "00-00-5e-ef-10-00-00-2a", r"\# 8 00005EEF1000002A", "00-00-5e-ef-10-00-00-2a"),
        (Rtype::URI, r#"1 2 "a:b""#, r"\# 7 00010002613A62", r#"1 2 "a:b""#),
        (Rtype::WKS, "10.0.0.1 TCP 25 http", r"\# 16 0A000001060000004000000000000080", "10.0.0.1 6 25 80"),
        (Rtype::NSAP, "0x47.0005.80", r"\# 4 47000580", "0x47000580"),
        (Rtype::NXT, "a. A NS SOA", r"\# 4 01610062", "a. A NS SOA"),
        (Rtype::SMIMEA, "3 1 1 d2ab de", r"\# 6 030101D2ABDE", "3 1 1 D2ABDE"),
        (Rtype::X25, "311061700956", r"\# 13 0C333131303631373030393536", r#""311061700956""#),
        (
            Rtype::SIG,
            "A 5 1 60 2147483647 0 7 . AAAA",
            r"\# 22 000105010000003C7FFFFFFF00000000000700000000",
            "A 5 1 60 20380119031407 19700101000000 7 . AAAA",
        ),
        (Rtype::KX, "1 a", r"\# 17 00010161076578616D706C65036F726700", "1 a.example.org."),
        (Rtype::NS, r#"a\"b."#, r"\# 5 0361226200", r#"a\"b."#),
    ] {
        let wire = read(rtype, text).unwrap_or_else(|error| panic!("{rtype} {text}: {error}"));
        assert_eq!((generic(&wire), to_text(rtype, &wire)), (octets.to_owned(), back.to_owned()), "{rtype} {text}");
    }
    // What `domain` would print so that it means something else.
    for (rtype, octets) in [(Rtype::MINFO, r"\# 7 04612262610000"), (Rtype::IPSECKEY, r"\# 6 0A0002010203")] {
        let wire = read(rtype, octets).unwrap();
        assert_eq!(to_text(rtype, &wire), octets, "{rtype}");
    }
    // What does not fit its type to the last octet.
    for (rtype, octets) in [
        (Rtype::LOC, r"\# 16 01000000800000008000000000989680"),
        (Rtype::LOC, r"\# 16 00A0000080000000800000000098968000"),
        (Rtype::APL, r"\# 5 0001180100"),
        (Rtype::APL, r"\# 4 00032000"),
        (Rtype::CSYNC, r"\# 8 0000004200030000"),
        (Rtype::EUI48, r"\# 5 0000000000"),
        (Rtype::X25, r"\# 2 0241"),
        (Rtype::SMIMEA, r"\# 3 030101"),
    ] {
        let digits = octets.rsplit(' ').next().unwrap();
        let wire: Vec<u8> =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
        assert!(to_text(rtype, &wire).starts_with(r"\# "), "{rtype} {octets}");
    }
}

#[test]
fn what_is_no_rdata_names_the_field() {
    for (rtype, text, field, part) in [
        (Rtype::A, "", 0, "an IPv4 address is missing"),
        (Rtype::A, "192.0.2", 0, "`192.0.2` is not an IPv4 address"),
        (Rtype::A, "01.2.3.4", 0, "not an IPv4 address"),
        (Rtype::A, "192.0.2.1 x", 1, "nothing more"),
        (Rtype::AAAA, "192.0.2.1", 0, "not an IPv6 address"),
        (Rtype::MX, "65536 x", 0, "a preference (0 to 65535)"),
        (Rtype::MX, "+1 x", 0, "a preference (0 to 65535)"),
        (Rtype::MX, "1", 1, "missing"),
        (Rtype::NS, "a..b", 0, "empty label"),
        (Rtype::SOA, "a b 4294967296 1 1 1 1", 2, "a serial"),
        (Rtype::SOA, "a b 1h 1 1 1 1", 2, "a serial"),
        (Rtype::SOA, "a b 1 1 1 x 1", 5, "an expire time"),
        (Rtype::A, r"\# 4 C00002", 2, "length"),
        (Rtype::A, r"\# 3 C00002", 0, "no valid RDATA of type A"),
        (Rtype::NS, r"\# 2 C000", 0, "no valid RDATA of type NS"),
        (Rtype::TXT, r"\25", 0, "bad escape"),
        (Rtype::CAA, "0 issue", 2, "more fields are expected"),
        (Rtype::LOC, "91 N 4 E 0", 0, "is not a latitude"),
        (Rtype::LOC, "90 0 1 N 4 E 0", 3, "more than 90 degrees"),
        (Rtype::LOC, "52 22 23.1234 N 4 E 0", 2, "is not a latitude"),
        (Rtype::LOC, "52 N 4 E", 4, "missing"),
        (Rtype::APL, "1:10.0.0.0/33", 0, "is not a prefix"),
        (Rtype::EUI48, "00-00-5e-00-53", 0, "6 octets"),
        (Rtype::L64, "1 ::1", 1, "four groups"),
        (Rtype::NXT, "a. CAA", 1, "below 128"),
        (Rtype::KEY, "0 3 3", 3, "missing"),
        (Rtype::DLV, "1 1 1 A", 3, "hexadecimal"),
        (Rtype::DHCID, "A", 0, "Base64"),
        (Rtype::CERT, "1 1 300 AAAA", 2, "an algorithm"),
        (Rtype::ISDN, "a b c", 2, "nothing more"),
    ] {
        let error = read(rtype, text).expect_err(text);
        assert!(error.message.contains(part), "{rtype} {text}: {error}");
        assert_eq!(error.field, field, "{rtype} {text}: {error}");
    }
    let long = format!("\"{}\"", "x".repeat(256));
    assert!(read(Rtype::TXT, &long).unwrap_err().message.contains("255"));
}

#[test]
fn units_in_any_order() {
    for (text, seconds) in [
        ("0", Some(0)),
        ("1h30m", Some(5_400)),
        ("30M1H", Some(5_400)),
        ("1w1d1h1m1s", Some(694_861)),
        ("1h30", Some(3_630)),
        ("4294967295", Some(u32::MAX)),
        ("4294967296", None),
        ("99999999w", None),
        ("", None),
        ("h", None),
        ("1x", None),
        ("-1", None),
    ] {
        assert_eq!(seconds_from_text(text.as_bytes()), seconds, "{text}");
    }
}
