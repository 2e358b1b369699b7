//! Who may have a connection, over TCP, TLS, HTTPS or QUIC: so many in all, so many for each client;
//! when all places are taken, the one who has asked nothing for the longest time goes, but nobody who
//! waits for an answer.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::counters::Transport;

/// Nobody is sent away so soon after a query, or after coming in: in a crowd of new clients each
/// gets the time for one question.
const GRACE: Duration = Duration::from_millis(500);

/// The places of all listeners.
pub struct Door {
    places_max: usize,
    per_client_max: usize,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    guests: HashMap<u64, Guest>,
    by_client: HashMap<IpAddr, usize>,
    next: u64,
    counts: HashMap<Transport, Counts>,
}

struct Guest {
    /// `None`: a load balancer that has not said yet for whom it comes.
    client: Option<IpAddr>,
    transport: Transport,
    last_asked: Instant,
    /// What the client waits for that it does not get at once; see [`Place::busy`].
    under_way: usize,
    evict: Arc<Notify>,
}

/// What became of the connections over one transport.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    pub open: u64,
    /// Given a place; a load balancer's before it is known whose it is.
    pub accepted: u64,
    /// Closed at once: all places were taken, or all of that client.
    pub refused: u64,
    /// Closed, having asked nothing for the longest time, for one that came later.
    pub evicted: u64,
}

/// A connection's place; given back when it is dropped.
pub struct Place {
    door: Arc<Door>,
    number: u64,
    evict: Arc<Notify>,
}

/// While it lives, its place is nobody else's.
pub struct Busy {
    door: Arc<Door>,
    number: u64,
}

impl Door {
    pub fn new(places_max: usize, per_client_max: usize) -> Arc<Door> {
        Arc::new(Door { places_max, per_client_max, inside: Mutex::default() })
    }

    /// A place for a client. `None`: all of its places are taken, or all places by clients that have
    /// just asked.
    pub fn enter(self: &Arc<Door>, address: IpAddr, transport: Transport) -> Option<Place> {
        self.admit(Some(client_of(address)), transport)
    }

    /// A place for whoever a load balancer is going to name: see [`Place::name`].
    pub fn enter_unnamed(self: &Arc<Door>, transport: Transport) -> Option<Place> {
        self.admit(None, transport)
    }

    fn admit(self: &Arc<Door>, client: Option<IpAddr>, transport: Transport) -> Option<Place> {
        let mut inside = self.lock();
        // Who has its share already sends nobody away.
        let has_share = client.is_some_and(|client| inside.places_of(client) >= self.per_client_max);
        if has_share || (inside.guests.len() >= self.places_max && !inside.make_room()) {
            inside.counts(transport).refused += 1;
            return None;
        }
        let (number, evict) = (inside.next, Arc::new(Notify::new()));
        inside.next += 1;
        if let Some(client) = client {
            *inside.by_client.entry(client).or_default() += 1;
        }
        let guest = Guest { client, transport, last_asked: Instant::now(), under_way: 0, evict: evict.clone() };
        inside.guests.insert(number, guest);
        let counts = inside.counts(transport);
        counts.accepted += 1;
        counts.open += 1;
        Some(Place { door: self.clone(), number, evict })
    }

    /// By transport, of all that have connections.
    pub fn counts(&self) -> [(Transport, Counts); 4] {
        let inside = self.lock();
        let counts = |transport| inside.counts.get(&transport).copied().unwrap_or_default();
        [Transport::Tcp, Transport::Tls, Transport::Https, Transport::Quic]
            .map(|transport| (transport, counts(transport)))
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// Sends away who has asked nothing for the longest time. False: everybody has just asked, or waits.
    fn make_room(&mut self) -> bool {
        let idle = self.guests.iter().filter(|(_, guest)| guest.under_way == 0);
        let longest = idle.min_by_key(|(_, guest)| guest.last_asked);
        let longest = longest.filter(|(_, guest)| guest.last_asked.elapsed() >= GRACE).map(|(number, _)| *number);
        let Some(guest) = longest.and_then(|number| self.leave(number)) else { return false };
        self.counts(guest.transport).evicted += 1;
        guest.evict.notify_one();
        true
    }

    fn leave(&mut self, number: u64) -> Option<Guest> {
        let guest = self.guests.remove(&number)?;
        self.counts(guest.transport).open -= 1;
        if let Some(client) = guest.client {
            match self.by_client.get_mut(&client) {
                Some(own) if *own > 1 => *own -= 1,
                _ => drop(self.by_client.remove(&client)),
            }
        }
        Some(guest)
    }

    fn places_of(&self, client: IpAddr) -> usize {
        self.by_client.get(&client).copied().unwrap_or(0)
    }

    fn counts(&mut self, transport: Transport) -> &mut Counts {
        self.counts.entry(transport).or_default()
    }
}

impl Place {
    /// Says for whom the place is. False: that client has all that it may have, or the place is
    /// somebody else's.
    pub fn name(&self, address: IpAddr) -> bool {
        let client = client_of(address);
        let mut inside = self.door.lock();
        let has_share = inside.places_of(client) >= self.door.per_client_max;
        let Some(guest) = inside.guests.get_mut(&self.number) else { return false };
        let transport = guest.transport;
        if has_share {
            inside.counts(transport).refused += 1;
            return false;
        }
        guest.client = Some(client);
        *inside.by_client.entry(client).or_default() += 1;
        true
    }

    /// The client has asked something.
    pub fn asked(&self) {
        if let Some(guest) = self.door.lock().guests.get_mut(&self.number) {
            guest.last_asked = Instant::now();
        }
    }

    /// The client waits for something that takes its time and has a deadline of its own: a zone, or what nsd
    /// says. Until that is done nobody else gets its place.
    pub fn busy(&self) -> Busy {
        if let Some(guest) = self.door.lock().guests.get_mut(&self.number) {
            guest.under_way += 1;
        }
        Busy { door: self.door.clone(), number: self.number }
    }

    /// Ready when the place is somebody else's.
    pub fn evicted(&self) -> impl Future<Output = ()> + Send + use<> {
        let evict = self.evict.clone();
        async move { evict.notified().await }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.lock().leave(self.number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // A number is never given twice: if the place is gone, there is nothing to do.
        if let Some(guest) = self.door.lock().guests.get_mut(&self.number) {
            guest.under_way -= 1;
            guest.last_asked = Instant::now();
        }
    }
}

/// One client has one IPv4 address, but a whole IPv6 /64.
fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: Transport = Transport::Tcp;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn counts(door: &Door, transport: Transport) -> Counts {
        door.counts().into_iter().find(|(known, _)| *known == transport).unwrap().1
    }

    #[test]
    fn a_client_has_its_share_over_all_transports() {
        let door = Door::new(10, 2);
        let places = [TCP, Transport::Tls].map(|transport| door.enter(address("2001:db8::1"), transport).unwrap());
        assert!(door.enter(address("2001:db8::2"), Transport::Https).is_none(), "the same /64");
        assert!(door.enter(address("2001:db8:0:1::1"), TCP).is_some());
        drop(places);
        assert!(door.enter(address("2001:db8::2"), TCP).is_some());
        assert_eq!(door.lock().guests.len(), 0);
        assert_eq!(door.lock().by_client.len(), 0);
        assert_eq!(counts(&door, TCP), Counts { open: 0, accepted: 3, refused: 0, evicted: 0 });
        assert_eq!(counts(&door, Transport::Https), Counts { open: 0, accepted: 0, refused: 1, evicted: 0 });
    }

    #[test]
    fn a_load_balancer_is_counted_for_whom_it_comes() {
        let door = Door::new(4, 1);
        let [first, second, third] = [(); 3].map(|()| door.enter_unnamed(TCP).unwrap());
        assert!(first.name(address("192.0.2.1")) && second.name(address("192.0.2.2")));
        assert!(!third.name(address("192.0.2.2")), "that one is here already");
        drop(second);
        assert!(third.name(address("192.0.2.2")));
        assert!(door.enter(address("192.0.2.1"), TCP).is_none());
        drop((first, third));
        assert_eq!(door.lock().by_client.len(), 0);
    }

    #[test]
    fn the_longest_silent_goes_but_nobody_who_has_just_asked() {
        let door = Door::new(2, 10);
        let enter = |client| door.enter(address(client), TCP);
        let (first, second) = (enter("192.0.2.1").unwrap(), enter("192.0.2.2").unwrap());
        assert!(enter("192.0.2.3").is_none(), "both have just come");
        std::thread::sleep(GRACE);
        first.asked();
        let third = enter("192.0.2.3").expect("the second has to go");
        assert!(!second.name(address("192.0.2.2")), "its place is gone");
        assert_eq!(door.lock().guests.len(), 2);
        drop(second);
        assert_eq!(door.lock().guests.len(), 2, "its place was taken already");
        assert_eq!(counts(&door, TCP), Counts { open: 2, accepted: 3, refused: 1, evicted: 1 });
        drop((first, third));
        assert_eq!(door.lock().guests.len(), 0);
    }

    #[test]
    fn nobody_goes_who_waits_for_an_answer() {
        let door = Door::new(1, 10);
        let enter = || door.enter(address("192.0.2.1"), TCP);
        let first = enter().unwrap();
        let (one, two) = (first.busy(), first.busy());
        std::thread::sleep(GRACE);
        assert!(enter().is_none());
        drop(one);
        assert!(enter().is_none());
        drop(two);
        assert!(enter().is_none(), "it has its answer just now");
        let late = first.busy();
        drop(first);
        let second = enter().expect("it is gone");
        drop(late);
        assert_eq!(door.lock().guests.len(), 1);
        drop(second);
    }
}
