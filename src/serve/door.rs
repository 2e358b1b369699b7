//! Who may have a connection: so many in all, so many for each client; when all places are taken, the
//! one who has asked nothing for the longest time goes.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Nobody is sent away so soon after a query, or after coming in: in a crowd of new clients each
/// gets the time for one question.
const GRACE: Duration = Duration::from_millis(500);

/// The places of one listener.
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
}

struct Guest {
    client: IpAddr,
    last_asked: Instant,
    evict: Arc<Notify>,
}

/// A connection's place; given back when it is dropped.
pub struct Place {
    door: Arc<Door>,
    number: u64,
    evict: Arc<Notify>,
}

impl Door {
    pub fn new(places_max: usize, per_client_max: usize) -> Arc<Door> {
        Arc::new(Door { places_max, per_client_max, inside: Mutex::default() })
    }

    /// `None`: all places of this client are taken, or all places by clients that have just asked.
    pub fn enter(self: &Arc<Door>, address: IpAddr) -> Option<Place> {
        let client = client_of(address);
        let mut inside = self.lock();
        if inside.by_client.get(&client).is_some_and(|own| *own >= self.per_client_max) {
            return None;
        }
        if inside.guests.len() >= self.places_max {
            let longest = inside.guests.iter().min_by_key(|(_, guest)| guest.last_asked);
            let longest =
                longest.filter(|(_, guest)| guest.last_asked.elapsed() >= GRACE).map(|(number, _)| *number)?;
            if let Some(guest) = inside.leave(longest) {
                guest.evict.notify_one();
            }
        }
        let (number, evict) = (inside.next, Arc::new(Notify::new()));
        inside.next += 1;
        *inside.by_client.entry(client).or_default() += 1;
        inside.guests.insert(number, Guest { client, last_asked: Instant::now(), evict: evict.clone() });
        Some(Place { door: self.clone(), number, evict })
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn leave(&mut self, number: u64) -> Option<Guest> {
        let guest = self.guests.remove(&number)?;
        match self.by_client.get_mut(&guest.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(self.by_client.remove(&guest.client)),
        }
        Some(guest)
    }
}

impl Place {
    /// The client has asked something.
    pub fn asked(&self) {
        if let Some(guest) = self.door.lock().guests.get_mut(&self.number) {
            guest.last_asked = Instant::now();
        }
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

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_its_share() {
        let door = Door::new(10, 2);
        let places: Vec<Place> = (0..2).filter_map(|_| door.enter(address("2001:db8::1"))).collect();
        assert_eq!(places.len(), 2);
        assert!(door.enter(address("2001:db8::2")).is_none(), "the same /64");
        assert!(door.enter(address("2001:db8:0:1::1")).is_some());
        drop(places);
        assert!(door.enter(address("2001:db8::2")).is_some());
        assert_eq!(door.lock().guests.len(), 0);
    }

    #[test]
    fn the_longest_silent_goes_but_nobody_who_has_just_asked() {
        let door = Door::new(2, 10);
        let (first, second) = (door.enter(address("192.0.2.1")).unwrap(), door.enter(address("192.0.2.2")).unwrap());
        assert!(door.enter(address("192.0.2.3")).is_none(), "both have just come");
        std::thread::sleep(GRACE);
        first.asked();
        let third = door.enter(address("192.0.2.3")).expect("the second has to go");
        assert_eq!(door.lock().guests.len(), 2);
        drop(second);
        assert_eq!(door.lock().guests.len(), 2, "its place was taken already");
        drop((first, third));
        assert_eq!(door.lock().guests.len(), 0);
    }
}
