//! Which serial nsd serves at each of its addresses, where it has several (`verify`): an export counts
//! when all of them show it, and so does what people are told.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::director::event::{ExportReport, ExportResult};
use crate::director::status::{ServerStatus, Status};

/// What was seen last at each address.
#[derive(Debug, Default)]
pub struct Servers {
    addresses: Vec<SocketAddr>,
    /// For each zone that was asked for, in the order of the addresses; absent: no answer.
    seen: HashMap<String, Vec<Option<u32>>>,
}

impl Servers {
    pub fn new(addresses: Vec<SocketAddr>) -> Servers {
        Servers { addresses, seen: HashMap::new() }
    }

    /// Somebody has asked all of them. With one address it is what the director knows.
    pub fn seen(&mut self, origin: String, serials: Vec<Option<u32>>) {
        if self.addresses.len() > 1 {
            self.seen.insert(origin, serials);
        }
    }

    /// Forgets the zones that a reload has taken away.
    pub fn retain(&mut self, is_loaded: impl Fn(&str) -> bool) {
        self.seen.retain(|origin, _| is_loaded(origin));
    }

    /// An export that is served was seen at all of them.
    pub fn exported(&mut self, report: &ExportReport) {
        if report.result == ExportResult::Served {
            self.seen(report.zone.clone(), vec![Some(report.serial); self.addresses.len()]);
        }
    }

    /// Writes it into a status. Where nsd has one address there is nothing to add.
    pub fn show(&self, status: &mut Status) {
        for zone in &mut status.zones {
            let Some(serials) = self.seen.get(&zone.name) else { continue };
            // A zone of ours alone is nowhere else.
            if zone.export || serials.iter().any(Option::is_some) {
                let servers = self.addresses.iter().zip(serials);
                zone.servers = servers
                    .map(|(address, serial)| ServerStatus { server: address.to_string(), serial: *serial })
                    .collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::status::ZoneStatus;

    fn shown(servers: &Servers, export: bool) -> Vec<Option<u32>> {
        let zone = ZoneStatus { name: "example.org.".into(), export, ..ZoneStatus::default() };
        let mut status = Status { zones: vec![zone], ..Status::default() };
        servers.show(&mut status);
        status.zones[0].servers.iter().map(|server| server.serial).collect()
    }

    #[test]
    fn several_addresses_are_shown_as_they_were_seen() {
        let addresses =
            |count: usize| ["192.0.2.1:53", "192.0.2.2:53"][..count].iter().map(|text| text.parse().unwrap());
        let mut servers = Servers::new(addresses(2).collect());
        assert_eq!(shown(&servers, true), [], "not asked yet");
        servers.seen("example.org.".into(), vec![Some(1), None]);
        assert_eq!((shown(&servers, true), shown(&servers, false)), (vec![Some(1), None], vec![Some(1), None]));
        servers.seen("example.org.".into(), vec![None, None]);
        assert_eq!((shown(&servers, true), shown(&servers, false)), (vec![None, None], vec![]));
        let report = |result| ExportReport {
            zone: "example.org.".into(),
            generation: 1,
            serial: 7,
            result,
            detail: String::new(),
            unix_ms: 0,
            duration_ms: 0,
        };
        servers.exported(&report(ExportResult::Refused));
        assert_eq!(shown(&servers, true), [None, None]);
        servers.exported(&report(ExportResult::Served));
        assert_eq!(shown(&servers, true), [Some(7), Some(7)]);
        let mut one = Servers::new(addresses(1).collect());
        one.seen("example.org.".into(), vec![Some(1)]);
        assert_eq!((shown(&one, true), one.seen.len()), (vec![], 0));
        servers.retain(|origin| origin == "example.net.");
        assert_eq!((shown(&servers, true), servers.seen.len()), (vec![], 0));
    }
}
