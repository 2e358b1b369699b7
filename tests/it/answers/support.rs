//! A zone in a few lines, queries, and replies read by hickory.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::base::iana::{Class, Rtype};
use hickory_proto::op::{Edns, Message, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name as HickoryName, RData, RecordType};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use nsd_failover::dns::name::Name;
use nsd_failover::dns::record::Record;
use nsd_failover::failover::pool::{Node, Pool, PoolRoles, Roles, Slot};
use nsd_failover::health::family::{Family, PerFamily};
use nsd_failover::serve::answerer::Answerer;
use nsd_failover::serve::counters::{self, Counters};
use nsd_failover::serve::door::Door;
use nsd_failover::serve::listener::{self, Gate};
use nsd_failover::serve::rrl::Limiter;
use nsd_failover::serve::service::{self, Service};
use nsd_failover::serve::sys::Calls;
use nsd_failover::serve::transfer::Transfers;
use nsd_failover::serve::{relay, tcp, udp};
use nsd_failover::table::respond::{Answer, Client, Limits, Response, Transport, respond};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Live, Table};
use nsd_failover::zone::tag::Role;

/// One zone with everything in it that a question can meet. In the last column: `primary`,
/// `standby` of the pool 0, for failover records.
pub const ZONE: &str = "
@               3600 SOA   ns1 hostmaster 7 3600 600 86400 300
@               3600 NS    ns1
@               3600 NS    ns2.elsewhere.test.
@               300  A     192.0.2.10        primary
@               300  AAAA  2001:db8::10      primary
@               3600 MX    10 mail
@               3600 MX    20 mail
@               3600 MX    30 mx.elsewhere.test.
ns1             3600 A     192.0.2.53
ns1             3600 AAAA  2001:db8::53
mail            600  A     192.0.2.25
www             300  A     192.0.2.10        primary
www             60   AAAA  2001:db8::10      primary
standby         300  A     198.51.100.20     standby
v4only          300  A     192.0.2.10        primary
both            300  A     192.0.2.10        primary
both            200  A     198.51.100.20     standby
both            300  A     203.0.113.1
alias           3600 CNAME www
alias2          3600 CNAME Alias
out             3600 CNAME www.elsewhere.test.
dangling        3600 CNAME nothere
loop1           3600 CNAME loop2
loop2           3600 CNAME loop1
self            3600 CNAME self
toboth          3600 CNAME both
a.b.ent         3600 TXT   deep
*.wild          3600 TXT   star
*.wild          3600 A     192.0.2.99
x.y.wild        3600 TXT   blocks
*.walias        3600 CNAME www
*.*.double      3600 TXT   stars
sub             3600 NS    ns.sub
sub             3600 NS    ns1
sub             3600 NS    ns.sibling
sub             3600 NS    ns.elsewhere.test.
sub             3600 DS    12345 8 2 00
ns.sub          3600 A     192.0.2.77
ns.sub          3600 AAAA  2001:db8::77
hidden.sub      3600 TXT   occluded
tosub           3600 CNAME x.sub
sibling         3600 NS    ns.sibling
ns.sibling      3600 A     192.0.2.78
moved           3600 DNAME target.ent
under.moved     3600 TXT   occluded
a.target.ent    3600 TXT   found
big             3600 TXT   big
srv             3600 SRV   1 2 443 www
";

pub fn name(text: &str) -> Name {
    Name::from_text(text.as_bytes(), Some(&"example.org".parse().unwrap())).unwrap()
}

/// The records of [`ZONE`] and a TXT RRset of more than 1232 octets at `big`.
pub fn records() -> Vec<(Record, Option<Slot>)> {
    let mut records: Vec<_> = ZONE.lines().filter(|line| !line.is_empty()).map(record).collect();
    for number in 0..20 {
        let text = format!("{number:->100}");
        records.push(record(&format!("big 3600 TXT {text}")));
    }
    records
}

/// One line: owner, TTL, type, RDATA, role.
pub fn record(line: &str) -> (Record, Option<Slot>) {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let role = match (words[2], words.last()) {
        ("A" | "AAAA", Some(&"primary")) => Some(Role::Primary),
        ("A" | "AAAA", Some(&"standby")) => Some(Role::Standby),
        _ => None,
    };
    if role.is_some() {
        words.pop();
    }
    let [owner, ttl, rtype, rdata @ ..] = &words[..] else { panic!("{line}") };
    let rtype: Rtype = rtype.parse().unwrap();
    let wire = |text: &str| name(text).wire().to_vec();
    let word16 = |text: &str| text.parse::<u16>().unwrap().to_be_bytes().to_vec();
    let rdata: Vec<u8> = match rtype {
        Rtype::A => rdata[0].parse::<Ipv4Addr>().unwrap().octets().to_vec(),
        Rtype::AAAA => rdata[0].parse::<Ipv6Addr>().unwrap().octets().to_vec(),
        Rtype::NS | Rtype::CNAME | Rtype::DNAME => wire(rdata[0]),
        Rtype::MX => [word16(rdata[0]), wire(rdata[1])].concat(),
        Rtype::SRV => [word16(rdata[0]), word16(rdata[1]), word16(rdata[2]), wire(rdata[3])].concat(),
        Rtype::TXT => [vec![rdata[0].len() as u8], rdata[0].as_bytes().to_vec()].concat(),
        Rtype::DS => [word16(rdata[0]), vec![8, 2], vec![0; 32]].concat(),
        Rtype::SOA => {
            let numbers = rdata[2..].iter().flat_map(|number| number.parse::<u32>().unwrap().to_be_bytes());
            [wire(rdata[0]), wire(rdata[1]), numbers.collect()].concat()
        }
        other => panic!("no {other} in these tests"),
    };
    let record = Record { owner: name(owner), rtype, class: Class::IN, ttl: ttl.parse().unwrap(), rdata: rdata.into() };
    (record, role.map(|role| Slot { pool: 0, role }))
}

/// Nodes fishfinger (0), blowfish (1), and inky (2), which has IPv4 only.
pub fn pool() -> Pool {
    let node = |name: &str, ipv4: &str, ipv6: Option<&str>| Node {
        name: name.to_owned(),
        ipv4: Some(ipv4.parse().unwrap()),
        ipv6: ipv6.map(|address| address.parse().unwrap()),
    };
    Pool {
        name: "web".to_owned(),
        nodes: vec![
            node("fishfinger", "192.0.2.10", Some("2001:db8::10")),
            node("blowfish", "198.51.100.20", Some("2001:db8:1::20")),
            node("inky", "203.0.113.30", None),
        ],
        ..Pool::default()
    }
}

/// The same holders in both families.
pub fn held(primary: Option<usize>, standby: Option<usize>) -> PoolRoles {
    let roles = Roles { primary, standby };
    PerFamily { ipv4: roles, ipv6: roles }
}

pub fn catalog(mode: Mode) -> Arc<Catalog> {
    let zone = ZoneTable::compile(&"Example.ORG".parse().unwrap(), records().into_iter(), &[pool()], mode).unwrap();
    Arc::new(Catalog::new(vec![Arc::new(zone)]).unwrap())
}

/// Generation 1: fishfinger primary, blowfish standby, serial 1000.
pub fn table(mode: Mode) -> Table {
    Table::new(catalog(mode), 1, &[held(Some(0), Some(1))], &[None], &[1000])
}

/// A query with an OPT record that allows 1232 octets.
pub fn query(owner: &str, rtype: u16) -> Message {
    let mut message = plain_query(owner, rtype);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.edns = Some(edns);
    message
}

/// A query without EDNS.
pub fn plain_query(owner: &str, rtype: u16) -> Message {
    let mut message = Message::query();
    message.metadata.id = 0xbeef;
    message.metadata.op_code = OpCode::Query;
    let owner = HickoryName::from_labels(name(owner).labels()).unwrap();
    let mut question = Query::query(owner, RecordType::from(rtype));
    question.set_query_class(DNSClass::IN);
    message.add_query(question);
    message
}

pub fn type_of(text: &str) -> u16 {
    text.parse::<Rtype>().unwrap().to_int()
}

/// Who asks, and when, where it does not matter.
pub const CLIENT: Client = Client { address: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 100)), now_s: 1_800_000_000 };

pub fn limits() -> Limits {
    Limits::new(Transport::Udp, false)
}

/// The reply in octets; panics unless there is one.
pub fn reply_octets(table: &Table, query: &[u8], limits: &Limits) -> Vec<u8> {
    let mut out = vec![0; 65_535];
    match respond(table, query, limits, &CLIENT, &mut out) {
        Response::Reply(Answer { len, .. }) => out[..len].to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Asks and reads the reply with hickory: it must parse to the last octet, and repeat ID and question.
pub fn ask(table: &Table, query: &Message, limits: &Limits) -> Message {
    let octets = query.to_vec().unwrap();
    let reply = reply_octets(table, &octets, limits);
    let message = Message::from_vec(&reply).unwrap();
    assert_eq!(message.metadata.id, query.metadata.id);
    // The question in every bit, case included.
    let question_len = octets.len() - if query.edns.is_some() { 11 } else { 0 };
    assert_eq!(reply[12..question_len], octets[12..question_len]);
    message
}

/// RDATA as text, also of types that hickory leaves to its DNSSEC feature.
fn data(data: &RData) -> String {
    let RData::Unknown { code, rdata } = data else { return data.to_string() };
    match u16::from(*code) {
        39 => Name::from_wire(&rdata.anything).unwrap().to_string(),
        _ => format!("{} octets", rdata.anything.len()),
    }
}

/// A reply in a line or more: `RCODE FLAGS`, then for each section its records, sorted as sent.
pub fn show(message: &Message) -> String {
    let meta = &message.metadata;
    let mut text = format!("{:?}", meta.response_code).to_uppercase();
    for (set, flag) in [
        (meta.authoritative, "aa"),
        (meta.truncation, "tc"),
        (meta.recursion_desired, "rd"),
        (meta.recursion_available, "ra"),
        (meta.authentic_data, "ad"),
        (meta.checking_disabled, "cd"),
    ] {
        if set {
            text.push(' ');
            text.push_str(flag);
        }
    }
    for (section, records) in
        [("", &message.answers), ("authority ", &message.authorities), ("additional ", &message.additionals)]
    {
        for record in records {
            let owner = record.name.to_ascii();
            let owner = owner.strip_suffix("example.org.").map_or(owner.as_str(), |relative| match relative {
                "" => "@",
                relative => relative.trim_end_matches('.'),
            });
            let data = data(&record.data).replace(".example.org.", "").replace("example.org.", "@");
            text.push_str(&format!("\n{section}{owner} {} {} {data}", record.ttl, record.record_type()));
        }
    }
    text
}

/// Set where this process runs one test and nothing else.
pub const ALONE: &str = "NSD_FAILOVER_TEST_ALONE";

/// What a server of the tests may have besides its table.
#[derive(Default)]
pub struct Beside {
    pub limiter: Option<Arc<Limiter>>,
    pub transfers: Option<Arc<Transfers>>,
}

/// The UDP and TCP servers on one port of 127.0.0.1, as the daemon runs them.
pub struct Servers {
    pub address: SocketAddr,
    pub live: Arc<Live>,
    pub counters: Arc<Counters>,
    pub door: Arc<Door>,
    udp: Option<udp::Server>,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    tcp: Option<JoinHandle<()>>,
}

impl Servers {
    pub fn start(table: Table, relay: Option<relay::Settings>, calls: Calls) -> Servers {
        Servers::start_with(table, relay, calls, |_| {})
    }

    /// With limits on answers over UDP.
    pub fn start_limited(table: Table, limiter: Arc<Limiter>) -> Servers {
        Servers::start_all(table, None, Calls::Native, Beside { limiter: Some(limiter), transfers: None }, |_| {})
    }

    /// With whatever stands beside the answers.
    pub fn start_beside(table: Table, relay: Option<relay::Settings>, calls: Calls, beside: Beside) -> Servers {
        Servers::start_all(table, relay, calls, beside, |_| {})
    }

    /// `adjust` changes the TCP settings.
    pub fn start_with(
        table: Table,
        relay: Option<relay::Settings>,
        calls: Calls,
        adjust: impl Fn(&mut service::Settings),
    ) -> Servers {
        Servers::start_all(table, relay, calls, Beside::default(), adjust)
    }

    fn start_all(
        table: Table,
        relay: Option<relay::Settings>,
        calls: Calls,
        Beside { limiter, transfers }: Beside,
        adjust: impl Fn(&mut service::Settings),
    ) -> Servers {
        // No other test speaks from there.
        let proxies: Arc<[IpNet]> = [IpNet::from(IpAddr::from([127, 0, 0, 77]))].into();
        let (live, counters) = (Arc::new(Live::new(table)), Arc::new(Counters::default()));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, sockets, listener) = bind_both(&runtime);
        let limits = Limits::new(Transport::Udp, relay.is_some());
        let udp = udp::Server::start(
            sockets,
            &live,
            &udp::Settings { limits, relay, limiter, proxies: proxies.clone(), calls },
            transfers.as_ref(),
            &counters,
        )
        .unwrap();
        let mut settings = service::Settings::default();
        adjust(&mut settings);
        let block = counters.block(counters::Transport::Tcp, Family::Ipv4);
        let relay = relay.map(|relay| Arc::new(relay::tcp::Relay::new(&relay)));
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let door = Door::new(settings.connections_max, settings.connections_per_client);
        let transport = counters::Transport::Tcp;
        let gate = Gate { transport, door: door.clone(), proxies, header_ms: settings.read_ms };
        let answerer = Answerer::new(live.clone(), relay, transfers, Limits::new(Transport::Stream, false));
        let service = Service { answerer, settings, block };
        let tcp = runtime.spawn(tcp::run(listener, gate, service, shutdown));
        Servers {
            address,
            live,
            counters,
            door,
            udp: Some(udp),
            runtime: Some(runtime),
            stop: Some(stop),
            tcp: Some(tcp),
        }
    }

    /// Stops both and waits for them.
    pub fn stop(mut self) {
        drop(self.stop.take());
        self.udp.take().unwrap().stop();
        self.runtime.as_ref().unwrap().block_on(self.tcp.take().unwrap()).unwrap();
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The same free port for both transports: another test may take it between the two binds.
fn bind_both(runtime: &Runtime) -> (SocketAddr, Vec<UdpSocket>, TcpListener) {
    for _ in 0..100 {
        let sockets = udp::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let listener = runtime.block_on(async { listener::bind(address).and_then(TcpListener::from_std) });
        if let Ok(listener) = listener {
            return (address, sockets, listener);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

/// A message as it travels over TCP.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// The next message from a stream; panics if it ends.
pub fn read_frame(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut octets = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut octets).unwrap();
    octets
}

/// Waits for something that happens elsewhere.
pub fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
