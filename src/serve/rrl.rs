//! Response rate limiting, as nsd's: a forger who has us answer to a victim gets no more than so
//! many alike answers a second out of us for the victim's whole network.
//!
//! Answers are alike if they go to the same network (an IPv4 /24, an IPv6 /64), are of the same kind,
//! and are about the same thing ([`Subject`]): the name, but the zone for names that do not exist and
//! the name above a wildcard, so that random names are no way around. Beyond the limit an answer is
//! dropped, or now and then (slip) replaced by an empty one with TC, with which an honest client
//! comes back over TCP. Who shows a valid cookie is not limited: its address is its own.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use foldhash::fast::RandomState;
use ipnet::IpNet;

use crate::dns::message::{HEADER_LEN, flags};
use crate::dns::name::wire_len;
use crate::table::respond::{Kind, Subject};

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Alike answers a second to one network.
    pub rate: u32,
    /// Every so many limited answers, one is sent with TC; 0: all are dropped, 1: none.
    pub slip: u32,
    pub ipv4_prefix: u8,
    pub ipv6_prefix: u8,
    /// What is remembered takes 8 octets each, all at start.
    pub buckets: usize,
    /// Networks that are not limited.
    pub exempt: Vec<IpNet>,
}

impl Settings {
    /// The highest rate: twice as much must fit a bucket.
    pub const RATE_MAX: u32 = 1 << 22;
    pub const RATE: u32 = 200;
    pub const SLIP: u32 = 2;
    pub const IPV4_PREFIX: u8 = 24;
    pub const IPV6_PREFIX: u8 = 64;
    pub const BUCKETS: usize = 1_000_000;
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Judgement {
    Send,
    Drop,
    Slip,
}

/// Shared by all threads, without a lock: a count that two threads make at once may get lost, which
/// lets an answer more through.
pub struct Limiter {
    settings: Settings,
    buckets: Box<[AtomicU64]>,
    hasher: RandomState,
    limited: AtomicU32,
}

/// A bucket: who it counts for (24 bits of the hash), when it was last counted (16 bits of the
/// second), how full it is (24 bits). It drains by `rate` each second.
#[derive(Clone, Copy)]
struct Bucket {
    owner: u32,
    second: u16,
    level: u32,
}

const OWNER_BITS: u32 = 24;
const LEVEL_BITS: u32 = 24;

impl Limiter {
    pub fn new(settings: Settings) -> Limiter {
        let buckets = (0..settings.buckets.max(1)).map(|_| AtomicU64::new(0)).collect();
        Limiter { settings, buckets, hasher: RandomState::default(), limited: AtomicU32::new(0) }
    }

    /// Counts an answer to this client and says what becomes of it.
    pub fn judge(&self, client: IpAddr, reply: &[u8], subject: Subject, now_s: u32) -> Judgement {
        if self.settings.exempt.iter().any(|network| network.contains(&client)) {
            return Judgement::Send;
        }
        let hash = self.hash(client, reply, subject);
        // The low bits choose the bucket, the high ones say whose it is.
        let owner = (hash >> (64 - OWNER_BITS)) as u32;
        let cell = &self.buckets[(hash % self.buckets.len() as u64) as usize];
        let (rate, second) = (self.settings.rate, now_s as u16);
        let mut bucket = Bucket::unpack(cell.load(Ordering::Relaxed));
        if bucket.owner != owner {
            bucket = Bucket { owner, second, level: 0 };
        }
        let passed = u32::from(second.wrapping_sub(bucket.second));
        let drained = bucket.level.saturating_sub(passed.saturating_mul(rate));
        // Not fuller than it drains in two seconds: who stops is soon free again.
        bucket = Bucket { owner, second, level: (drained + 1).min(2 * rate) };
        cell.store(bucket.pack(), Ordering::Relaxed);
        if bucket.level <= rate {
            return Judgement::Send;
        }
        match self.settings.slip {
            0 => Judgement::Drop,
            slip if self.limited.fetch_add(1, Ordering::Relaxed).is_multiple_of(slip) => Judgement::Slip,
            _ => Judgement::Drop,
        }
    }

    fn hash(&self, client: IpAddr, reply: &[u8], subject: Subject) -> u64 {
        let mut state = self.hasher.build_hasher();
        match client {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.settings.ipv4_prefix)).unwrap_or(0);
                state.write_u32(address.to_bits() & mask);
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.settings.ipv6_prefix)).unwrap_or(0);
                state.write_u128(address.to_bits() & mask);
            }
        }
        state.write_u8(subject.kind as u8);
        let name = reply.get(subject.name_at..).unwrap_or_default();
        let name = wire_len(name).map_or(&[][..], |len| &name[..len]);
        // Eight octets at a time, in lower case: 0x20 is set in what may be a letter, which at worst
        // makes two names one.
        for chunk in name.chunks(8) {
            let mut octets = [0; 8];
            octets[..chunk.len()].copy_from_slice(chunk);
            state.write_u64(u64::from_ne_bytes(octets) | 0x2020_2020_2020_2020);
        }
        state.finish()
    }
}

impl Bucket {
    fn unpack(bits: u64) -> Bucket {
        let level = bits as u32 & ((1 << LEVEL_BITS) - 1);
        Bucket { owner: (bits >> 40) as u32, second: (bits >> LEVEL_BITS) as u16, level }
    }

    fn pack(self) -> u64 {
        u64::from(self.owner) << 40 | u64::from(self.second) << LEVEL_BITS | u64::from(self.level)
    }
}

/// What a reply that nsd has made is about. `encloser_at`: where in it the name stands that has answered for the
/// one in question, if that one is not there.
pub fn subject_of(reply: &[u8], encloser_at: impl FnOnce() -> Option<usize>) -> Subject {
    let Some(header) = reply.first_chunk::<HEADER_LEN>() else { return Subject::ERROR };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (flags_word, answers, authorities) = (word(2), word(6), word(8));
    let question = Subject { kind: Kind::Positive, name_at: HEADER_LEN };
    let question_len = wire_len(&reply[HEADER_LEN..]).unwrap_or(0);
    match (flags_word & flags::RCODE, answers) {
        (0, answers) if answers > 0 || flags_word & flags::AA != 0 => match encloser_at() {
            Some(name_at) => Subject { kind: Kind::Wildcard, name_at },
            None if answers > 0 => question,
            None => Subject { kind: Kind::Nodata, ..question },
        },
        // The owner of the first record of the authority section is a pointer to the end of the
        // question that names the zone.
        (0 | 3, 0) if authorities > 0 => {
            let kind = if flags_word & flags::RCODE == 3 { Kind::Nxdomain } else { Kind::Referral };
            let owner = reply.get(HEADER_LEN + question_len + 4..).and_then(|rest| rest.first_chunk::<2>());
            let owner = owner.map_or(0, |pointer| u16::from_be_bytes(*pointer));
            let name_at = usize::from(owner & 0x3fff);
            let within = owner >= 0xc000 && (HEADER_LEN..HEADER_LEN + question_len).contains(&name_at);
            Subject { kind, name_at: if within { name_at } else { usize::MAX } }
        }
        _ => Subject::ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Subject = Subject { kind: Kind::Positive, name_at: 12 };

    fn limiter(rate: u32, slip: u32) -> Limiter {
        Limiter::new(Settings {
            rate,
            slip,
            ipv4_prefix: 24,
            ipv6_prefix: 64,
            buckets: 10_000,
            exempt: vec!["203.0.113.0/25".parse().unwrap()],
        })
    }

    fn reply(name: &[u8]) -> Vec<u8> {
        [&[0; 12], name].concat()
    }

    fn sent(limiter: &Limiter, client: &str, name: &[u8], subject: Subject, now_s: u32, count: usize) -> usize {
        let client = client.parse().unwrap();
        let judge = |_: &usize| limiter.judge(client, &reply(name), subject, now_s) == Judgement::Send;
        (0..count).filter(judge).count()
    }

    #[test]
    fn a_network_gets_its_rate_and_not_more() {
        let limiter = limiter(10, 0);
        assert_eq!(sent(&limiter, "192.0.2.1", b"\x03www\0", NAME, 100, 25), 10);
        assert_eq!(sent(&limiter, "192.0.2.200", b"\x03WWW\0", NAME, 100, 5), 0, "the same network and name");
        assert_eq!(sent(&limiter, "192.0.3.1", b"\x03www\0", NAME, 100, 5), 5, "another network");
        assert_eq!(sent(&limiter, "192.0.2.1", b"\x03ftp\0", NAME, 100, 5), 5, "another name");
        let nodata = Subject { kind: Kind::Nodata, ..NAME };
        assert_eq!(sent(&limiter, "192.0.2.1", b"\x03www\0", nodata, 100, 5), 5, "another kind");
        assert_eq!(sent(&limiter, "192.0.2.1", b"\x03www\0", NAME, 102, 25), 10, "two seconds later");
        assert_eq!(sent(&limiter, "2001:db8::1", b"\x03www\0", NAME, 100, 25), 10);
        assert_eq!(sent(&limiter, "2001:db8::ffff:1", b"\x03www\0", NAME, 100, 5), 0, "the same /64");
        assert_eq!(sent(&limiter, "2001:db8:0:1::1", b"\x03www\0", NAME, 100, 5), 5, "another /64");
    }

    #[test]
    fn a_steady_flood_gets_its_rate_each_second() {
        let limiter = limiter(10, 0);
        let each: Vec<usize> = (0..10).map(|s| sent(&limiter, "192.0.2.1", b"\0", NAME, 65_530 + s, 1_000)).collect();
        assert_eq!(each[0], 10);
        assert!(each[1..].iter().all(|sent| *sent <= 10), "{each:?}");
    }

    #[test]
    fn random_names_below_one_zone_are_alike() {
        let limiter = limiter(10, 0);
        let client = "192.0.2.1".parse().unwrap();
        let judge = |number: &u8| {
            let name = [&[2, b'a' + number / 26, b'a' + number % 26][..], b"\x03org\0"].concat();
            let subject = Subject { kind: Kind::Nxdomain, name_at: 12 + 3 };
            limiter.judge(client, &reply(&name), subject, 7) == Judgement::Send
        };
        assert_eq!((0..100).filter(judge).count(), 10);
    }

    #[test]
    fn slips_and_exemptions() {
        for (slip, expected) in [(0, 0), (1, 20), (2, 10), (4, 5)] {
            let limiter = limiter(10, slip);
            let client = "192.0.2.1".parse().unwrap();
            let slips = (0..30).filter(|_| limiter.judge(client, &reply(b"\0"), NAME, 9) == Judgement::Slip).count();
            assert_eq!(slips, expected, "slip {slip}");
        }
        assert_eq!(sent(&limiter(10, 0), "203.0.113.100", b"\0", NAME, 1, 1_000), 1_000);
        assert_eq!(sent(&limiter(10, 0), "203.0.113.200", b"\0", NAME, 1, 1_000), 10);
    }

    #[test]
    fn replies_of_others_are_understood() {
        let message = |flags: u16, answers: u8, authorities: u8, rest: &[u8]| {
            let mut message = vec![0, 0];
            message.extend(flags.to_be_bytes());
            message.extend([0, 1, 0, answers, 0, authorities, 0, 0]);
            message.extend(b"\x03www\x03org\0\0\x01\0\x01");
            message.extend(rest);
            subject_of(&message, || None)
        };
        let of = |kind, name_at| Subject { kind, name_at };
        assert_eq!(message(0x8400, 1, 0, b"\xc0\x0c"), of(Kind::Positive, 12));
        assert_eq!(message(0x8400, 0, 1, b"\xc0\x10"), of(Kind::Nodata, 12));
        assert_eq!(message(0x8403, 0, 1, b"\xc0\x10"), of(Kind::Nxdomain, 16));
        assert_eq!(message(0x8000, 0, 1, b"\xc0\x10"), of(Kind::Referral, 16));
        assert_eq!(message(0x8403, 0, 1, b"\xff\xff"), of(Kind::Nxdomain, usize::MAX));
        assert_eq!(message(0x8403, 0, 1, b""), of(Kind::Nxdomain, usize::MAX));
        assert_eq!(message(0x8005, 0, 0, b""), Subject::ERROR);
        assert_eq!(subject_of(b"short", || None), Subject::ERROR);
        // From a wildcard, with data or without.
        let from_wildcard = |answers: u8| {
            let mut message =
                [&[0, 0, 0x84, 0, 0, 1, 0, answers, 0, 0, 0, 0][..], b"\x03www\x03org\0\0\x01\0\x01"].concat();
            message.resize(64, 0);
            subject_of(&message, || Some(16))
        };
        assert_eq!([0, 1].map(from_wildcard), [of(Kind::Wildcard, 16); 2]);
    }
}
