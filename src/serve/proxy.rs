//! The PROXY protocol, version 2 (haproxy's doc/proxy-protocol.txt, section 2.2): a load balancer in
//! front tells us who asks, and we tell nsd (4.8 and later). Over UDP the header stands in front of
//! each datagram, over TCP at the start of the connection; replies carry none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const HEAD_LEN: usize = 16;
/// Longest header that we read: additional fields (TLVs) are passed over.
pub const HEADER_MAX: usize = 536;
/// The header that we write for IPv6.
pub const WRITTEN_MAX: usize = HEAD_LEN + 36;
const VERSION_LOCAL: u8 = 0x20;
const VERSION_PROXY: u8 = 0x21;
const INET: u8 = 0x10;
const INET6: u8 = 0x20;
/// What our header names as the destination's port; nsd looks at the source only.
const DNS_PORT: u16 = 53;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    Stream = 1,
    Datagram = 2,
}

/// What a message begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Header {
    /// So many octets, and the client they name; `None`: the load balancer itself asks (a health
    /// check), or the client has no IP address.
    Whole { len: usize, client: Option<SocketAddr> },
    /// The start of a header: more has to come.
    Partial,
    /// No header.
    Invalid,
}

/// Reads the header at the start of `octets`.
pub fn read(octets: &[u8]) -> Header {
    let seen = octets.len().min(SIGNATURE.len());
    if octets[..seen] != SIGNATURE[..seen] {
        return Header::Invalid;
    }
    let Some(head) = octets.first_chunk::<HEAD_LEN>() else { return Header::Partial };
    let [.., command, family, l0, l1] = *head;
    let len = HEAD_LEN + usize::from(u16::from_be_bytes([l0, l1]));
    if len > HEADER_MAX || !matches!(command, VERSION_LOCAL | VERSION_PROXY) {
        return Header::Invalid;
    }
    let Some(body) = octets.get(HEAD_LEN..len) else { return Header::Partial };
    let client = match (command, family & 0xf0) {
        (VERSION_LOCAL, _) => None,
        (_, INET) => match body.first_chunk::<12>() {
            Some([a, b, c, d, _, _, _, _, p0, p1, ..]) => {
                Some(SocketAddr::new([*a, *b, *c, *d].into(), u16::from_be_bytes([*p0, *p1])))
            }
            None => return Header::Invalid,
        },
        (_, INET6) => match (body.first_chunk::<16>(), body.get(32..34)) {
            (Some(address), Some([p0, p1])) if body.len() >= 36 => {
                // A load balancer that listens for both families on one socket calls IPv4 clients ::ffff:a.b.c.d.
                let address = IpAddr::from(*address).to_canonical();
                Some(SocketAddr::new(address, u16::from_be_bytes([*p0, *p1])))
            }
            _ => return Header::Invalid,
        },
        _ => None,
    };
    Header::Whole { len, client }
}

/// How many octets more a header needs that [`read`] calls partial, as far as one can tell: to read
/// it, and nothing behind it.
pub fn missing(octets: &[u8]) -> usize {
    match octets.first_chunk::<HEAD_LEN>() {
        None => HEAD_LEN - octets.len(),
        Some([.., l0, l1]) => (HEAD_LEN + usize::from(u16::from_be_bytes([*l0, *l1]))).saturating_sub(octets.len()),
    }
}

/// Writes a header that names `client` to `out` (at least [`WRITTEN_MAX`] octets); returns its length.
pub fn write(client: SocketAddr, transport: Transport, out: &mut [u8]) -> usize {
    let mut header = [0; WRITTEN_MAX];
    header[..12].copy_from_slice(SIGNATURE);
    header[12] = VERSION_PROXY;
    let (family, len) = match client.ip() {
        IpAddr::V4(address) => {
            header[16..20].copy_from_slice(&address.octets());
            header[20..24].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
            header[24..26].copy_from_slice(&client.port().to_be_bytes());
            header[26..28].copy_from_slice(&DNS_PORT.to_be_bytes());
            (INET, 12)
        }
        IpAddr::V6(address) => {
            header[16..32].copy_from_slice(&address.octets());
            header[32..48].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
            header[48..50].copy_from_slice(&client.port().to_be_bytes());
            header[50..52].copy_from_slice(&DNS_PORT.to_be_bytes());
            (INET6, 36)
        }
    };
    header[13] = family | transport as u8;
    header[15] = len;
    let len = HEAD_LEN + usize::from(len);
    out[..len].copy_from_slice(&header[..len]);
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(client: &str, transport: Transport) -> Vec<u8> {
        let mut out = [0; WRITTEN_MAX];
        let len = write(client.parse().unwrap(), transport, &mut out);
        out[..len].to_vec()
    }

    #[test]
    fn the_octets_of_the_specification() {
        let header = written("192.0.2.1:4711", Transport::Datagram);
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\x12\x67\0\x35";
        assert_eq!(header, expected);
        let header = written("[2001:db8::1]:4711", Transport::Stream);
        assert_eq!((header[13], header[14], header[15], header.len()), (0x21, 0, 36, 52));
    }

    #[test]
    fn what_is_written_is_read() {
        for client in ["192.0.2.1:4711", "[2001:db8::1]:53"] {
            let mut message = written(client, Transport::Stream);
            let len = message.len();
            for cut in 0..len {
                assert_eq!(read(&message[..cut]), Header::Partial, "{cut}");
                assert!((1..=len - cut).contains(&missing(&message[..cut])), "{cut}");
            }
            message.extend(b"query");
            assert_eq!(read(&message), Header::Whole { len, client: Some(client.parse().unwrap()) });
        }
    }

    #[test]
    fn an_ipv4_client_is_one_however_it_is_written() {
        let header = written("[::ffff:192.0.2.1]:4711", Transport::Stream);
        assert_eq!(read(&header), Header::Whole { len: 52, client: Some("192.0.2.1:4711".parse().unwrap()) });
    }

    #[test]
    fn additional_fields_health_checks_and_others() {
        let mut with_fields = written("192.0.2.1:1", Transport::Stream);
        with_fields[15] += 5;
        with_fields.extend(b"\x04\0\x02ab");
        assert_eq!(read(&with_fields), Header::Whole { len: 33, client: Some("192.0.2.1:1".parse().unwrap()) });
        let mut local = written("192.0.2.1:1", Transport::Stream);
        local[12] = 0x20;
        assert_eq!(read(&local), Header::Whole { len: 28, client: None });
        local[12] = 0x11;
        assert_eq!(read(&local), Header::Invalid, "version 1");
        let mut short = written("192.0.2.1:1", Transport::Stream);
        short[15] = 11;
        assert_eq!(read(&short), Header::Invalid);
        let mut long = written("192.0.2.1:1", Transport::Stream);
        long[14] = 3;
        assert_eq!(read(&long), Header::Invalid);
        assert_eq!(read(b"\x12\x34\0\0"), Header::Invalid);
        assert_eq!(read(b""), Header::Partial);
    }
}
