//! Zone transfers: this server as the (hidden) primary of secondaries.
//!
//! ```text
//!  swap --> published() --> journals        (what each version was)
//!                  |------> secondary tasks (NOTIFY, then SOA until they serve it)
//!  TCP query, AXFR or IXFR --> serve()  --> stream of messages, signed
//!  any query with a TSIG -----> answer_signed()
//! ```

pub mod tsig;

mod exchange;
mod outgoing;
mod places;
mod secondary;
mod totals;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

use crate::dns::access::{Allow, Key};
use crate::dns::name::Name;
use crate::table::respond::{Client, Limits, Response, respond};
use crate::table::transfer::journal::Journal;
use crate::table::{Live, Table};

use places::Places;
use totals::Totals;
pub use totals::{Notified, Outcome, Snapshot};
use tsig::{Keys, Verified};

/// NOTIFY and SOA queries under way at a time; more wait their turn.
const EXCHANGES_MAX: usize = 64;

/// Which zones are handed out, to whom.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub keys: Vec<Key>,
    pub zones: Vec<ZoneSettings>,
    /// Addresses that NOTIFY leaves from, the first of the right family: a secondary knows its
    /// primary by its address. None of a family: the system chooses.
    pub sources: Vec<IpAddr>,
    pub pace: Pace,
}

/// How long things are waited for; tests are in a hurry.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often a secondary that is up to date is looked at.
    pub idle: Duration,
    /// One that has acknowledged a serial and does not serve it after this time stays behind.
    pub patience: Duration,
    /// How long a request waits for its turn; then SERVFAIL, and the secondary tries again by itself.
    pub turn: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { idle: Duration::from_secs(60), patience: Duration::from_secs(60), turn: Duration::from_secs(10) }
    }
}

#[derive(Clone, Debug)]
pub struct ZoneSettings {
    pub origin: Name,
    /// A catalog (RFC 9432): those who read it need not answer for it.
    pub is_catalog: bool,
    /// Whoever one of them lets in may take the zone.
    pub allow: Vec<Allow>,
    pub notify: Vec<Notify>,
}

/// A secondary that is told of changes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Notify {
    pub address: SocketAddr,
    /// Name of the key that signs.
    pub key: Option<Name>,
}

/// What is known of a secondary.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// The serial that it served when it was asked last; `None`: never seen, or it no longer answers.
    pub serial: Option<u32>,
    /// The serial that it has fetched last, as far as it comes from the address where it is told.
    pub fetched: Option<u32>,
    /// The serial of the last NOTIFY that it has acknowledged.
    pub acknowledged: Option<u32>,
    /// NOTIFY in vain, in a row.
    pub failures: u32,
    /// Looks in a row that found nobody.
    pub unanswered: u32,
    /// What was wrong with the last exchange; empty: nothing.
    pub problem: String,
}

/// Something has become known of a secondary.
#[derive(Clone, Debug)]
pub struct Seen {
    pub origin: Name,
    pub news: News,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum News {
    /// Something for the status.
    Shown,
    /// It serves this serial, which is not the current one.
    OtherSerial(u32),
    /// It has acknowledged the current serial, and serves an older one after [`Pace::patience`].
    Behind,
}

/// The state that all transfers share.
pub struct Transfers {
    live: Arc<Live>,
    rules: ArcSwap<Rules>,
    journals: Mutex<HashMap<Name, Journal>>,
    secondaries: Mutex<HashMap<Place, Secondary>>,
    exchanges: Arc<Semaphore>,
    places: Places,
    totals: Totals,
    quiet: Quiet,
    seen: mpsc::Sender<Seen>,
}

/// The settings in the form in which they are asked.
#[derive(Default)]
struct Rules {
    keys: Keys,
    zones: HashMap<Name, ZoneSettings>,
    sources: Vec<IpAddr>,
    pace: Pace,
}

/// A zone at a secondary.
type Place = (Name, SocketAddr);

struct Secondary {
    notify: Notify,
    /// The serial to be served.
    serial: watch::Sender<Option<u32>>,
    view: View,
    task: AbortHandle,
}

impl Transfers {
    /// `seen` is told when something has changed for the status; what does not fit is dropped.
    pub fn new(live: Arc<Live>, seen: mpsc::Sender<Seen>) -> Arc<Transfers> {
        Arc::new(Transfers {
            live,
            rules: ArcSwap::default(),
            journals: Mutex::default(),
            secondaries: Mutex::default(),
            exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)),
            places: Places::default(),
            totals: Totals::default(),
            quiet: Quiet::default(),
            seen,
        })
    }

    /// Takes new settings. Transfers under way go on by the old ones. Must be called within the
    /// runtime.
    pub fn configure(self: &Arc<Transfers>, settings: Settings) {
        let keys = Keys::new(&settings.keys);
        let mut wanted: HashMap<Place, Notify> = HashMap::new();
        for zone in &settings.zones {
            for notify in &zone.notify {
                wanted.insert((zone.origin.clone(), notify.address), notify.clone());
            }
        }
        let zones: HashMap<Name, ZoneSettings> =
            settings.zones.into_iter().map(|zone| (zone.origin.clone(), zone)).collect();
        lock(&self.journals).retain(|origin, _| zones.contains_key(origin));
        self.rules.store(Arc::new(Rules { keys, zones, sources: settings.sources, pace: settings.pace }));
        let mut secondaries = lock(&self.secondaries);
        secondaries.retain(|place, secondary| {
            let stays = wanted.get(place) == Some(&secondary.notify);
            if !stays {
                secondary.task.abort();
            }
            stays
        });
        for (place, notify) in wanted {
            secondaries.entry(place).or_insert_with_key(|place| {
                let (serial, changes) = watch::channel(None);
                let task = secondary::Task { transfers: self.clone(), place: place.clone(), notify: notify.clone() };
                let task = tokio::spawn(task.run(changes)).abort_handle();
                Secondary { notify, serial, view: View::default(), task }
            });
        }
    }

    /// The table in service is a new one: remembers its versions and tells the secondaries.
    pub fn published(&self) {
        let (table, rules) = (self.live.load(), self.rules.load());
        let mut serials: HashMap<&Name, u32> = HashMap::new();
        let mut journals = lock(&self.journals);
        for origin in rules.zones.keys() {
            let Some(index) = table.catalog().zone_at(origin) else { continue };
            serials.insert(origin, table.serial(index));
            match journals.get_mut(origin) {
                Some(journal) => drop(journal.record(&table, index)),
                None => drop(journals.insert(origin.clone(), Journal::new(&table, index))),
            }
        }
        drop(journals);
        for ((origin, _), secondary) in lock(&self.secondaries).iter() {
            let serial = serials.get(origin).copied();
            secondary.serial.send_if_modified(|known| std::mem::replace(known, serial) != serial);
        }
    }

    /// Whether there is a key, so that signed queries can be judged.
    pub fn has_keys(&self) -> bool {
        !self.rules.load().keys.is_empty()
    }

    /// Checks the TSIG of a query; see [`Keys::verify`].
    pub fn verify(&self, query: &[u8]) -> Result<Option<Verified>, Vec<u8>> {
        self.rules.load().keys.verify(query)
    }

    /// Answers a signed query (RFC 8945 section 5.3) at the end of `out`. `max` is what a reply may
    /// have, in octets. `None`: nothing is to be sent; else whether the signature was good.
    pub fn answer_signed(
        &self,
        table: &Table,
        query: &[u8],
        limits: &Limits,
        client: &Client,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Option<bool> {
        let verified = match self.verify(query) {
            Ok(Some(verified)) => verified,
            Ok(None) => return None,
            Err(refusal) => {
                out.extend_from_slice(&refusal);
                return (!refusal.is_empty()).then_some(false);
            }
        };
        let (message, _, mut signer) = verified.split();
        let signature_len = signer.record_len();
        let mut reply = vec![0; max.saturating_sub(signature_len)];
        let limits = Limits { keys: false, signature_len, ..*limits };
        match respond(table, &message, &limits, client, &mut reply) {
            Response::Reply(answer) => reply.truncate(answer.len),
            Response::Drop | Response::Relay | Response::Verify(_) => return None,
        }
        if !signer.sign(&mut reply) {
            return None;
        }
        out.extend_from_slice(&reply);
        Some(true)
    }

    /// What is known of the secondaries of a zone, by address.
    pub fn secondaries(&self) -> BTreeMap<(String, SocketAddr), View> {
        let secondaries = lock(&self.secondaries);
        secondaries
            .iter()
            .map(|((origin, at), secondary)| ((origin.to_string(), *at), secondary.view.clone()))
            .collect()
    }

    /// Everything counted so far.
    pub fn totals(&self) -> Snapshot {
        self.totals.snapshot()
    }

    /// Ends the tasks that look after secondaries.
    pub fn stop(&self) {
        lock(&self.secondaries).drain().for_each(|(_, secondary)| secondary.task.abort());
    }
}

/// What a panic left behind is still whole: every change is made in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets one line a second into the log, of what strangers can cause.
#[derive(Default)]
struct Quiet(Mutex<Option<Instant>>);

impl Quiet {
    fn pass(&self) -> bool {
        let (now, mut last) = (Instant::now(), lock(&self.0));
        let is_quiet = last.is_none_or(|last| now.duration_since(last) >= Duration::from_secs(1));
        if is_quiet {
            *last = Some(now);
        }
        is_quiet
    }
}
