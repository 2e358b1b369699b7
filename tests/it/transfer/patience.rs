//! What is waited for, and for how long: [`Transfers`] with a quicker pace than in life, and
//! secondaries that are a socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::Rcode;
use nsd_failover::dns::access::{Allow, Prefix};
use nsd_failover::dns::name::Name;
use nsd_failover::serve::transfer::{News, Notify, Pace, Seen, Settings, Transfers, View, ZoneSettings};
use nsd_failover::table::zone_table::{Mode, ZoneTable};
use nsd_failover::table::{Catalog, Live, Table};
use nsd_failover::zone::Zone;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(20);
const PACE: Pace =
    Pace { idle: Duration::from_millis(100), patience: Duration::from_millis(300), turn: Duration::from_millis(300) };
const AXFR: &[u8] = b"\0\x1d\0\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\xfc\0\x01";

fn origin() -> Name {
    "example.org".parse().unwrap()
}

/// Hands example.org out with this serial, in the runtime of the caller.
struct Primary {
    live: Arc<Live>,
    transfers: Arc<Transfers>,
    seen: mpsc::Receiver<Seen>,
}

impl Primary {
    /// `records` are besides SOA and NS.
    fn start(records: &str, serial: u32, notify: &[SocketAddr], is_catalog: bool) -> Primary {
        let text = format!("@ 300 IN SOA ns h 1 2 3 4 5\n@ 300 IN NS ns\n{records}");
        let zone = Zone::parse(&origin(), "z", text.into_bytes()).unwrap();
        let records = zone.records().map(|found| (found.record, None));
        let table = Arc::new(ZoneTable::compile(&origin(), records, &[], Mode::Whole).unwrap());
        let catalog = Arc::new(Catalog::new(vec![table]).unwrap());
        let live = Arc::new(Live::new(Table::new(catalog, 1, &[], &[], &[serial])));
        let (seen_in, seen) = mpsc::channel(1_000);
        let transfers = Transfers::new(Arc::clone(&live), seen_in);
        let hosts = (1..=9).map(|last| Allow { prefix: Some(Prefix::host([127, 0, 0, last].into())), key: None });
        let zone = ZoneSettings {
            origin: origin(),
            is_catalog,
            allow: hosts.collect(),
            notify: notify.iter().map(|address| Notify { address: *address, key: None }).collect(),
        };
        transfers.configure(Settings { zones: vec![zone], pace: PACE, ..Settings::default() });
        transfers.published();
        Primary { live, transfers, seen }
    }

    fn move_to(&self, serial: u32) {
        let catalog = Arc::clone(self.live.load().catalog());
        self.live.swap(Table::new(catalog, u64::from(serial), &[], &[], &[serial]));
        self.transfers.published();
    }

    /// What is known of the only secondary, as soon as it is so.
    async fn view(&self, what: &str, wanted: impl Fn(&View) -> bool) -> View {
        let found = async {
            loop {
                let view = self.transfers.secondaries().into_values().next().unwrap();
                if wanted(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, found)
            .await
            .unwrap_or_else(|_| panic!("not in time: {what}: {:?}", self.transfers.secondaries()))
    }

    async fn news(&mut self, wanted: News) {
        let found = async { while self.seen.recv().await.is_none_or(|seen| seen.news != wanted) {} };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {wanted:?} in time"));
    }

    async fn fetch(&self, peer: [u8; 4]) -> DuplexStream {
        let (mut ours, theirs) = tokio::io::duplex(4_096);
        let transfers = Arc::clone(&self.transfers);
        tokio::spawn(async move { transfers.serve(&mut ours, IpAddr::from(peer), AXFR).await });
        theirs
    }
}

/// What a secondary says: to NOTIFY, and to a question for its serial.
#[derive(Clone, Copy)]
struct Says {
    notify: Rcode,
    soa: Result<u32, Rcode>,
}

/// A secondary in name only, on a thread of its own; silent when it is told so.
struct Secondary {
    address: SocketAddr,
    says: Arc<std::sync::Mutex<Option<Says>>>,
}

impl Secondary {
    fn start(says: Says) -> Secondary {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let says = Arc::new(std::sync::Mutex::new(Some(says)));
        let shared = Arc::downgrade(&says);
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        std::thread::spawn(move || {
            while let Some(says) = shared.upgrade() {
                let mut buffer = [0; 512];
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(says) = *says.lock().unwrap() {
                    let _ = socket.send_to(&reply(&buffer[..len], says), from);
                }
            }
        });
        Secondary { address, says }
    }

    fn says(&self, says: Option<Says>) {
        *self.says.lock().unwrap() = says;
    }
}

fn reply(query: &[u8], says: Says) -> Vec<u8> {
    // The header, and the question: a NOTIFY says more.
    let mut reply = query[..12 + 13 + 4].to_vec();
    reply[2] |= 0x84;
    reply[6..12].fill(0);
    let is_notify = query[2] & 0x78 == 0x20;
    match (is_notify, says.soa) {
        (true, _) => reply[3] = says.notify.to_int(),
        (false, Err(rcode)) => reply[3] = rcode.to_int(),
        (false, Ok(serial)) => {
            reply[7] = 1;
            reply.extend_from_slice(b"\xc0\x0c\0\x06\0\x01\0\0\x01\x2c\0\x18\xc0\x0c\xc0\x0c");
            reply.extend_from_slice(&serial.to_be_bytes());
            reply.extend_from_slice(&[0; 16]);
        }
    }
    reply
}

const fn serves(serial: u32) -> Says {
    Says { notify: Rcode::NOERROR, soa: Ok(serial) }
}

#[tokio::test]
async fn one_that_acknowledges_and_stays_behind_is_told_of() {
    let secondary = Secondary::start(serves(6));
    let mut primary = Primary::start("", 7, &[secondary.address], false);
    primary.news(News::OtherSerial(6)).await;
    primary.news(News::Behind).await;
    // The director gives the zone a new serial, and it comes for that.
    primary.move_to(8);
    secondary.says(Some(serves(8)));
    primary.view("healed", |view| view.serial == Some(8) && view.acknowledged == Some(8)).await;
    // It has forgotten (a restart): that is seen at the next look.
    secondary.says(Some(serves(6)));
    primary.news(News::Behind).await;
    // One that is ahead is not behind.
    secondary.says(Some(serves(9)));
    primary.news(News::OtherSerial(9)).await;
    while primary.seen.try_recv().is_ok() {}
    tokio::time::sleep(PACE.patience * 3).await;
    while let Ok(seen) = primary.seen.try_recv() {
        assert_ne!(seen.news, News::Behind);
    }
}

/// Between two moves nobody asks it for anything else.
#[tokio::test]
async fn one_that_has_died_does_not_keep_its_serial() {
    let secondary = Secondary::start(serves(7));
    let primary = Primary::start("", 7, &[secondary.address], false);
    primary.view("current", |view| view.serial == Some(7) && view.problem.is_empty()).await;
    secondary.says(None);
    let view = primary.view("no serial", |view| view.serial.is_none()).await;
    assert_eq!(view.problem, "NOTIFY: no answer");
    secondary.says(Some(serves(7)));
    primary.view("back", |view| view.serial == Some(7) && view.problem.is_empty()).await;
}

/// That it does not listen is wrong as long as it is so, and no longer.
#[tokio::test]
async fn a_notify_that_was_refused_is_tried_again_also_where_nothing_is_lacking() {
    let deaf = Says { notify: Rcode::NOTAUTH, soa: Ok(7) };
    let secondary = Secondary::start(deaf);
    let primary = Primary::start("", 7, &[secondary.address], false);
    let view = primary.view("the refusal", |view| view.failures > 1).await;
    assert_eq!((view.serial, view.problem.as_str()), (Some(7), "NOTIFY: answers NOTAUTH"));
    secondary.says(Some(serves(7)));
    primary.view("its end", |view| view.problem.is_empty() && view.acknowledged == Some(7)).await;
}

/// Knot reads a catalog and does not answer for it.
#[tokio::test]
async fn of_a_catalog_what_was_fetched_or_acknowledged_counts() {
    let secondary = Secondary::start(Says { notify: Rcode::NOERROR, soa: Err(Rcode::REFUSED) });
    let primary = Primary::start("", 7, &[secondary.address], true);
    primary.view("acknowledged", |view| view.serial == Some(7) && view.problem.is_empty()).await;
    let mut all = Vec::new();
    primary.fetch([127, 0, 0, 1]).await.read_to_end(&mut all).await.unwrap();
    primary.view("fetched", |view| view.fetched == Some(7)).await;
    // It acknowledges the next one, and does not come.
    primary.move_to(8);
    primary.view("behind", |view| view.serial == Some(7) && view.acknowledged == Some(8)).await;
    primary.fetch([127, 0, 0, 1]).await.read_to_end(&mut all).await.unwrap();
    primary.view("current", |view| view.serial == Some(8)).await;
}

/// 64 in all and 8 of one address; who waits too long for a place is told so.
#[tokio::test]
async fn places_are_limited_and_waited_for() {
    let records: String = (0..100).map(|n| format!("t{n} 300 IN TXT \"{}\"\n", "x".repeat(250))).collect();
    let primary = Primary::start(&records, 7, &[], false);
    let mut stalled = Vec::new();
    for client in 1..=8 {
        for _ in 0..8 {
            let mut stream = primary.fetch([127, 0, 0, client]).await;
            // It has begun, and so has its place.
            stream.read_u8().await.unwrap();
            stalled.push(stream);
        }
    }
    let rcode = async |client: u8| -> io::Result<(u8, u16)> {
        let mut stream = primary.fetch([127, 0, 0, client]).await;
        let mut start = [0; 2 + 12];
        timeout(PATIENCE, stream.read_exact(&mut start)).await??;
        Ok((start[2 + 3] & 0xf, u16::from_be_bytes([start[2 + 6], start[2 + 7]])))
    };
    assert_eq!(rcode(9).await.unwrap(), (Rcode::SERVFAIL.to_int(), 0), "no place is free");
    drop(stalled.pop());
    let (code, answers) = rcode(9).await.unwrap();
    assert!(code == 0 && answers > 0, "the one that went has left its place");
    // Of one address: the ninth waits although places are free.
    stalled.truncate(8);
    assert_eq!(rcode(1).await.unwrap().0, Rcode::SERVFAIL.to_int());
    assert_eq!(rcode(2).await.unwrap().0, 0);
    drop(stalled);
    assert_eq!(rcode(1).await.unwrap().0, 0);
}
