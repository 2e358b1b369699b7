//! What is looked at before nsd may see what an export has written, and while nsd loads it.
//!
//! Nothing comes into service that was not looked at whole. Most exports exchange addresses and the
//! serial: that everything else is as it was, and they are as they were meant, is proved by comparing
//! octets (`zone::values`), before. That the text reads as it was meant, record by record, is then seen a
//! second time, by our parser and while nsd is busy with its own; the export is undone if not. All
//! other exports are read record by record before nsd may see them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use domain::base::iana::Rtype;

use crate::dns::name::Name;
use crate::export::Draft;
use crate::export::skeleton::Skeleton;
use crate::failover::binding::Binding;
use crate::publish::{Expected, ReadBack};
use crate::zone::{Zone, ZoneRecord};

use super::exports::Order;
use super::load::{self, Parsed};

/// Who looks, and with what it is compared.
pub struct Looks {
    pub order: Order,
    /// The zone before the export, and what was to change; absent: the bytes are others altogether.
    pub edited: Option<(Arc<Parsed>, Draft)>,
    /// The serial that must stand there; absent: any.
    pub serial: Option<u32>,
    /// The zone as it was read; set when it is known what nsd must answer.
    pub written: OnceLock<Arc<Parsed>>,
}

impl Looks {
    /// Judges what lies on disk. The error is one line.
    pub fn judge(self: &Arc<Looks>, bytes: &[u8]) -> Result<ReadBack, String> {
        let (looks, bytes) = (Arc::clone(self), bytes.to_vec());
        if let Some(known) = self.proved(&bytes) {
            let second = move || looks.look_again(bytes, known);
            return Ok(ReadBack { expect: Box::new(second), skeleton: Some(known) });
        }
        let zone = self.read(bytes)?;
        let skeleton = Skeleton::of(&zone);
        Ok(ReadBack { expect: Box::new(move || Ok(looks.expected(zone, skeleton))), skeleton })
    }

    /// The skeleton that the zone has before and after, where the octets prove that.
    fn proved(&self, bytes: &[u8]) -> Option<Skeleton> {
        let (before, draft) = self.edited.as_ref()?;
        let known = before.skeleton()?;
        draft.is_proved_by(&before.zone, bytes).then_some(known)
    }

    /// What nsd must answer, from a text that was proved to have this skeleton.
    fn look_again(&self, bytes: Vec<u8>, known: Skeleton) -> Result<Vec<Expected>, String> {
        let failed = |reason| format!("the new zone does not read as intended: {reason}");
        let zone = self.read(bytes).map_err(failed)?;
        match Skeleton::of(&zone) == Some(known) {
            true => Ok(self.expected(zone, Some(known))),
            false => Err(failed("more than addresses and the serial has changed".to_owned())),
        }
    }

    /// Reads the text, and compares it record by record with what was meant.
    fn read(&self, bytes: Vec<u8>) -> Result<Zone, String> {
        let first = |lines: Vec<String>| lines.into_iter().next().unwrap_or_else(|| "unreadable".to_owned());
        let zone = load::read_bytes(&self.order.zone, bytes).map_err(first)?;
        if let Some((before, draft)) = &self.edited {
            draft.verify(&before.zone, &zone).map_err(|error| error.to_string())?;
        }
        match self.serial {
            Some(serial) if zone.serial() != serial => Err(format!("it has serial {}, not {serial}", zone.serial())),
            _ => Ok(zone),
        }
    }

    /// What nsd must answer.
    fn expected(&self, zone: Zone, skeleton: Option<Skeleton>) -> Vec<Expected> {
        let (parsed, _) = load::bind(&self.order.zone, &self.order.pools, zone);
        let expected = failover_rrsets(&parsed.zone, &parsed.binding);
        // The first reading is the one that counts.
        let _ = self.written.set(Arc::new(parsed.with_skeleton(skeleton)));
        expected
    }
}

/// The RRsets that a tag belongs to, with all their addresses, untagged ones too.
fn failover_rrsets(zone: &Zone, binding: &Binding) -> Vec<Expected> {
    let mut places: HashMap<(Name, Rtype), usize> = HashMap::new();
    let mut rrsets: Vec<Expected> = Vec::new();
    for ZoneRecord { record, tag, .. } in zone.failover_records() {
        if tag.is_some_and(|tag| binding.slot(&tag).is_some()) {
            let (owner, rtype) = (record.owner, record.rtype);
            places.entry((owner.clone(), rtype)).or_insert_with(|| {
                rrsets.push(Expected { owner, rtype, addresses: Vec::new() });
                rrsets.len() - 1
            });
        }
    }
    let addresses = zone.records_of(&[Rtype::A, Rtype::AAAA]).filter(|found| !found.withdrawn);
    for ZoneRecord { record, .. } in addresses {
        if let Some(place) = places.get(&(record.owner, record.rtype)) {
            rrsets[*place].addresses.extend(address(&record.rdata));
        }
    }
    rrsets
}

fn address(rdata: &[u8]) -> Option<IpAddr> {
    match rdata.len() {
        4 => <[u8; 4]>::try_from(rdata).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(rdata).ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::director::effect::Decision;
    use crate::export::{self, OnlySerial};
    use crate::failover::pool::{PoolRoles, Roles};
    use crate::health::family::PerFamily;

    const TEXT: &str = "$TTL 60\n@ SOA ns h 1000 2 3 4 5\n NS ns\nns A 192.0.2.1\n\
        www A 192.0.2.10 ; Enable failover\nftp A 192.0.2.10 ; Enable failover\n";

    /// The export that moves everything to node `b`, or withdraws it, and what it writes.
    fn moved(to: Option<usize>) -> (Looks, Vec<u8>) {
        let text = "state-dir = \"s\"\n[nsd]\naddress = \"127.0.0.1:5300\"\n\
            [node.a]\nipv4 = \"192.0.2.10\"\n[node.b]\nipv4 = \"192.0.2.20\"\n[pool.web]\nnodes = [\"a\", \"b\"]\n\
            [zone.\"example.org\"]\nfile = \"z\"\npool = \"web\"\n";
        let config = Config::parse(Path::new("/none/c.toml"), text).unwrap();
        let (zone, pools) = (config.zones[0].clone(), config.pools);
        let read = load::read_bytes(&zone, TEXT.as_bytes().to_vec()).unwrap();
        let before = Arc::new(load::bind(&zone, &pools, read).0);
        let roles: PoolRoles = PerFamily::from_fn(|_| Roles { primary: to, standby: Some(0) });
        let draft = export::draft(&before.zone, &before.binding, &pools, &[roles], 1001, OnlySerial::Leave);
        let draft = draft.unwrap().unwrap();
        let bytes = draft.edited.zone.clone().unwrap();
        let order = Order {
            zone,
            loaded: Arc::clone(&before),
            pools: pools.into(),
            decision: Arc::new(Decision::default()),
            serial: 1001,
        };
        (Looks { order, edited: Some((before, draft)), serial: Some(1001), written: OnceLock::new() }, bytes)
    }

    fn expected(addresses: &[&str]) -> Vec<Expected> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let one =
            |owner: &str| Expected { owner: owner.parse().unwrap(), rtype: Rtype::A, addresses: addresses.clone() };
        ["www.example.org.", "ftp.example.org."].map(one).to_vec()
    }

    #[test]
    fn other_addresses_are_proved_and_read_later() {
        let (looks, bytes) = moved(Some(1));
        let looks = Arc::new(looks);
        let found = looks.judge(&bytes).unwrap();
        let before = looks.edited.as_ref().unwrap().0.skeleton();
        assert!(before.is_some() && found.skeleton == before);
        assert!(looks.written.get().is_none(), "not read yet");
        assert_eq!((found.expect)().unwrap(), expected(&["192.0.2.20"]));
        let written = looks.written.get().unwrap();
        assert_eq!((written.zone.serial(), written.skeleton()), (1001, before));
    }

    #[test]
    fn a_line_that_goes_is_read_at_once() {
        let (looks, bytes) = moved(None);
        let looks = Arc::new(looks);
        let found = looks.judge(&bytes).unwrap();
        assert!(found.skeleton.is_some() && found.skeleton != looks.edited.as_ref().unwrap().0.skeleton());
        assert_eq!((found.expect)().unwrap(), expected(&[]));
    }

    /// Where the octets prove nothing, what reads otherwise than meant never comes near nsd.
    #[test]
    fn anything_else_that_differs_is_refused_at_once() {
        for (from, to) in
            [("ns A 192.0.2.1\n", "ns A 192.0.2.2\n"), ("1001", "1002"), ("ftp", "fto"), ("www A", "www AAAA")]
        {
            let (looks, bytes) = moved(Some(1));
            let text = String::from_utf8(bytes).unwrap().replacen(from, to, 1);
            assert!(Arc::new(looks).judge(text.as_bytes()).is_err(), "{from} {to}");
        }
    }

    /// The second look is a look of its own: whatever made the first one like it.
    #[test]
    fn the_second_look_reads_it_all() {
        let (mut looks, bytes) = moved(Some(1));
        looks.order.zone.origin = "example.net.".parse().unwrap();
        let found = Arc::new(looks).judge(&bytes).unwrap();
        let refused = (found.expect)().unwrap_err();
        assert!(refused.starts_with("the new zone does not read as intended: "), "{refused}");
        let (mut looks, bytes) = moved(Some(1));
        looks.serial = Some(7);
        let found = Arc::new(looks).judge(&bytes).unwrap();
        assert!((found.expect)().unwrap_err().ends_with("it has serial 1001, not 7"));
    }
}
