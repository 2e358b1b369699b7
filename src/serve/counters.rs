//! What the servers count. Each thread counts a batch for itself ([`Tally`]) and adds it to its own
//! [`Block`] when the batch is done; whoever wants to know reads all blocks. Nobody waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::dns::message::HEADER_LEN;
use crate::dns::name::wire_len;
use crate::health::family::Family;

/// Response codes that are told apart: up to BADCOOKIE, the last one that DNS itself has (RFC 6895 section
/// 2.3). Higher ones count by what the header holds of them.
const RCODES: usize = 24;
/// Upper bounds of the buckets of response sizes, in octets; one more bucket has no bound.
pub const BOUNDS_OCTETS: [usize; 7] = [64, 128, 256, 512, 1_232, 4_096, 16_384];
/// Upper bounds of the buckets of durations, in nanoseconds; one more bucket has no bound.
pub const BOUNDS_NS: [u64; 14] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    100_000_000,
];
/// Of so many batches, one is timed: two looks at the clock do not show then.
const SAMPLE_EVERY: u64 = 64;

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
    Https,
    Quic,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Request {
    /// We answered, with whatever code.
    Answered,
    /// It went to nsd; see [`Relayed`] for what came of it.
    Relayed,
    /// No reply: it was no query, or too long to be one.
    Dropped,
    /// No reply: too many alike ones to that network.
    Limited,
    /// Only TC instead of an answer, for the same reason.
    Slipped,
}

/// What became of a relayed request, or of what looked like a reply to one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Relayed {
    Answered,
    /// nsd did not answer in time: we did, from our own copy of the zone or with SERVFAIL.
    Timeout,
    /// nsd does not listen, or the connection failed: the same.
    Unreachable,
    /// Too many requests were waiting: the same.
    Full,
    /// A datagram that answers nothing that was asked: thrown away.
    Stray,
}

impl Transport {
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Https => "https",
            Transport::Quic => "quic",
        }
    }
}

impl Request {
    pub const ALL: [Request; 5] =
        [Request::Answered, Request::Relayed, Request::Dropped, Request::Limited, Request::Slipped];

    pub fn as_str(self) -> &'static str {
        match self {
            Request::Answered => "answered",
            Request::Relayed => "relayed",
            Request::Dropped => "dropped",
            Request::Limited => "limited",
            Request::Slipped => "slipped",
        }
    }
}

impl Relayed {
    pub const ALL: [Relayed; 5] =
        [Relayed::Answered, Relayed::Timeout, Relayed::Unreachable, Relayed::Full, Relayed::Stray];

    pub fn as_str(self) -> &'static str {
        match self {
            Relayed::Answered => "answered",
            Relayed::Timeout => "timeout",
            Relayed::Unreachable => "unreachable",
            Relayed::Full => "full",
            Relayed::Stray => "stray",
        }
    }
}

/// Every block there is, and the durations of swaps.
#[derive(Default)]
pub struct Counters {
    blocks: Mutex<Vec<Arc<Block>>>,
    swaps: Histogram,
}

/// Durations, by bucket.
#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_NS.len() + 1],
    sum_ns: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Durations {
    /// By [`BOUNDS_NS`], not cumulative.
    pub buckets: [u64; BOUNDS_NS.len() + 1],
    pub sum_ns: u64,
}

/// Sizes of responses at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sizes {
    /// By [`BOUNDS_OCTETS`], not cumulative.
    pub buckets: [u64; SIZES],
    pub sum_octets: u64,
}

/// The counters of one thread or listener, on cache lines of its own.
#[repr(align(128))]
pub struct Block {
    transport: Transport,
    family: Family,
    totals: [AtomicU64; TALLIES],
    batches: AtomicU64,
    answered: Histogram,
}

const SIZES: usize = BOUNDS_OCTETS.len() + 1;
const TALLIES: usize = OCTETS_AT + 1;
const RELAYED_AT: usize = Request::ALL.len();
const RCODES_AT: usize = RELAYED_AT + Relayed::ALL.len();
const TRUNCATED_AT: usize = RCODES_AT + RCODES;
const SIZES_AT: usize = TRUNCATED_AT + 1;
const OCTETS_AT: usize = SIZES_AT + SIZES;

/// Counts of one batch.
pub struct Tally([u64; TALLIES]);

impl Default for Tally {
    fn default() -> Tally {
        Tally([0; TALLIES])
    }
}

impl Tally {
    pub fn request(&mut self, result: Request) {
        self.0[result as usize] += 1;
    }

    pub fn relayed(&mut self, result: Relayed) {
        self.0[RELAYED_AT + result as usize] += 1;
    }

    /// Counts code, truncation and size of a reply that leaves.
    pub fn reply(&mut self, message: &[u8]) {
        let [_, _, high, low, ..] = message else { return };
        let rcode = usize::from(low & 0x0f);
        let whole = rcode | usize::from(rcode_high(message)) << 4;
        self.0[RCODES_AT + if whole < RCODES { whole } else { rcode }] += 1;
        self.0[TRUNCATED_AT] += u64::from(high & 0x02 != 0);
        let bucket = BOUNDS_OCTETS.iter().position(|bound| message.len() <= *bound).unwrap_or(BOUNDS_OCTETS.len());
        self.0[SIZES_AT + bucket] += 1;
        self.0[OCTETS_AT] += message.len() as u64;
    }
}

/// The bits of the response code that OPT holds (RFC 6891 section 6.1.3). Only replies with nothing but an OPT
/// record are looked at: those with a code that needs it have nothing else.
fn rcode_high(message: &[u8]) -> u8 {
    let Some([0, questions @ 0..=1, 0, 0, 0, 0, 0, 1]) = message.get(4..HEADER_LEN) else { return 0 };
    let question_len = match questions {
        0 => 0,
        _ => wire_len(&message[HEADER_LEN..]).map_or(usize::MAX, |name_len| name_len + 4),
    };
    let opt = message.get(HEADER_LEN..).and_then(|rest| rest.get(question_len..));
    // Root label, type 41, payload size; then the code's high bits.
    match opt {
        Some([0, 0, 41, _, _, high, ..]) => *high,
        _ => 0,
    }
}

impl Histogram {
    fn add(&self, took_ns: u64) {
        let bucket = BOUNDS_NS.iter().position(|bound| took_ns <= *bound).unwrap_or(BOUNDS_NS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(took_ns, Ordering::Relaxed);
    }

    fn read(&self) -> Durations {
        Durations {
            buckets: std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed)),
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
        }
    }
}

impl Durations {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn add(&mut self, other: &Durations) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, count)| *sum += count);
        self.sum_ns += other.sum_ns;
    }
}

impl Sizes {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Block {
    /// Starts the clock for every so many batches: they stand for all. Hand it to
    /// [`Block::batch_sent`].
    pub fn batch_received(&self) -> Option<Instant> {
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        number.is_multiple_of(SAMPLE_EVERY).then(Instant::now)
    }

    /// The answers to the batch are with the system.
    pub fn batch_sent(&self, received: Option<Instant>) {
        if let Some(received) = received {
            self.answered.add(u64::try_from(received.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Adds a tally and empties it.
    pub fn add(&self, tally: &mut Tally) {
        for (total, count) in self.totals.iter().zip(&mut tally.0) {
            if *count != 0 {
                total.fetch_add(*count, Ordering::Relaxed);
                *count = 0;
            }
        }
    }
}

impl Counters {
    /// A new block that is read along with the others from now on.
    pub fn block(&self, transport: Transport, family: Family) -> Arc<Block> {
        let totals = std::array::from_fn(|_| AtomicU64::new(0));
        let block =
            Arc::new(Block { transport, family, totals, batches: AtomicU64::new(0), answered: Histogram::default() });
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).push(block.clone());
        block
    }

    /// Counts a swap of the table.
    pub fn swapped(&self, took_ns: u64) {
        self.swaps.add(took_ns);
    }

    /// All counts as of now.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot { swaps: self.swaps.read(), ..Snapshot::default() };
        for block in self.blocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let total = |at: usize| block.totals[at].load(Ordering::Relaxed);
            for result in Request::ALL {
                let key = (block.transport, block.family, result);
                let count = total(result as usize);
                match snapshot.requests.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, sum)) => *sum += count,
                    None => snapshot.requests.push((key, count)),
                }
            }
            for (sum, result) in snapshot.relayed.iter_mut().zip(Relayed::ALL) {
                *sum += total(RELAYED_AT + result as usize);
            }
            for (rcode, sum) in snapshot.rcodes.iter_mut().enumerate() {
                *sum += total(RCODES_AT + rcode);
            }
            snapshot.truncated += total(TRUNCATED_AT);
            let sizes = of_transport(&mut snapshot.sizes, block.transport);
            for (bucket, sum) in sizes.buckets.iter_mut().enumerate() {
                *sum += total(SIZES_AT + bucket);
            }
            sizes.sum_octets += total(OCTETS_AT);
            of_transport(&mut snapshot.answered, block.transport).add(&block.answered.read());
        }
        snapshot
    }
}

/// The entry of a transport; made if it is not there.
fn of_transport<T: Default>(all: &mut Vec<(Transport, T)>, wanted: Transport) -> &mut T {
    let at = all.iter().position(|(transport, _)| *transport == wanted).unwrap_or_else(|| {
        all.push((wanted, T::default()));
        all.len() - 1
    });
    &mut all[at].1
}

/// All counts at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    pub requests: Vec<((Transport, Family, Request), u64)>,
    /// In the order of [`Relayed::ALL`].
    pub relayed: [u64; Relayed::ALL.len()],
    /// By response code, the bits in OPT included.
    pub rcodes: [u64; RCODES],
    /// Replies with TC.
    pub truncated: u64,
    pub sizes: Vec<(Transport, Sizes)>,
    pub swaps: Durations,
    /// From the arrival of queries to their answers' departure, of a sample.
    pub answered: Vec<(Transport, Durations)>,
}

impl Snapshot {
    pub fn relayed(&self, result: Relayed) -> u64 {
        self.relayed[result as usize]
    }

    /// Over all transports and families.
    pub fn requests(&self, result: Request) -> u64 {
        self.requests.iter().filter(|((.., other), _)| *other == result).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_add_up() {
        let counters = Counters::default();
        let mut tally = Tally::default();
        for _ in 0..3 {
            tally.request(Request::Answered);
            tally.reply(&[0, 0, 0x86, 3, 0]);
        }
        tally.request(Request::Relayed);
        tally.relayed(Relayed::Timeout);
        for family in [Family::Ipv4, Family::Ipv4, Family::Ipv6] {
            let block = counters.block(Transport::Udp, family);
            block.add(&mut tally);
            tally.request(Request::Answered);
        }
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.requests(Request::Answered), 5);
        assert!(snapshot.requests.contains(&((Transport::Udp, Family::Ipv4, Request::Answered), 4)));
        assert_eq!((snapshot.rcodes[3], snapshot.truncated, snapshot.relayed(Relayed::Timeout)), (3, 3, 1));
    }

    #[test]
    fn sizes_and_codes_of_replies() {
        let counters = Counters::default();
        let block = counters.block(Transport::Udp, Family::Ipv4);
        let mut tally = Tally::default();
        let opt = |rcode_high: u8| [&[0, 0, 41, 4, 208, rcode_high][..], &[0; 5]].concat();
        let header = |low: u8, questions: u8| [0, 0, 0x80, low, 0, questions, 0, 0, 0, 0, 0, 1];
        let question = b"\x03www\0\0\x01\0\x01";
        let badvers = [&header(0, 1)[..], question, &opt(1)].concat();
        tally.reply(&badvers);
        tally.reply(&[&header(7, 0)[..], &opt(1)].concat());
        // A code that nobody has heard of counts by its lower half, as does an OPT cut off.
        tally.reply(&[&header(5, 1)[..], question, &opt(9)].concat());
        tally.reply(&badvers[..badvers.len() - 7]);
        tally.reply(&header(0, 1));
        tally.reply(&[&[0; 12][..], &[0; 1_220]].concat());
        tally.reply(&[0; 20_000]);
        block.add(&mut tally);
        let snapshot = counters.snapshot();
        assert_eq!([0, 5, 16, 23].map(|rcode| snapshot.rcodes[rcode]), [4, 1, 1, 1]);
        let (transport, sizes) = snapshot.sizes[0];
        assert_eq!((transport, sizes.count(), sizes.buckets), (Transport::Udp, 7, [5, 0, 0, 0, 1, 0, 0, 1]));
        assert_eq!(sizes.sum_octets, (32 + 23 + 32 + 25 + 12 + 1_232 + 20_000) as u64);
    }

    #[test]
    fn swaps_fall_into_buckets() {
        let counters = Counters::default();
        for took_ns in [0, 1_000, 1_001, u64::from(u32::MAX)] {
            counters.swapped(took_ns);
        }
        let snapshot = counters.snapshot();
        let buckets = snapshot.swaps.buckets;
        assert_eq!((buckets[0], buckets[1], buckets.last()), (2, 1, Some(&1)));
        assert_eq!(snapshot.swaps.count(), 4);
    }

    #[test]
    fn one_batch_of_many_is_timed() {
        let counters = Counters::default();
        let block = counters.block(Transport::Udp, Family::Ipv4);
        for _ in 0..3 * SAMPLE_EVERY {
            let received = block.batch_received();
            block.batch_sent(received);
        }
        let snapshot = counters.snapshot();
        let (transport, durations) = snapshot.answered[0];
        assert_eq!((transport, durations.count()), (Transport::Udp, 3));
    }
}
