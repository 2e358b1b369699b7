//! Any bytes as a zone file: nothing panics, not one byte is lost, every record of a zone that was
//! taken can be made, and what an edit writes is a zone with as many records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nsd_failover::dns::name::Name;
use nsd_failover::zone::Zone;
use nsd_failover::zone::document::Document;
use nsd_failover::zone::edit::{Edit, apply};

fuzz_target!(|bytes: &[u8]| {
    let origin: Name = "example.org".parse().expect("a name");
    let document = Document::parse("fuzz", &origin, bytes.to_vec());
    assert_eq!(document.to_bytes(), bytes);
    let Ok(zone) = Zone::from_document(document) else { return };
    let mut edits = vec![Edit::Serial(zone.serial().wrapping_add(1))];
    for found in zone.records() {
        let entry = found.entry;
        match (found.tag, found.withdrawn) {
            (Some(_), true) => edits.push(Edit::Restore { entry }),
            (Some(_), false) => edits.push(Edit::Withdraw { entry }),
            (None, _) => {}
        }
    }
    if let Ok(written) = apply(&zone, &edits) {
        let again = Document::parse("fuzz", &origin, written);
        assert_eq!(again.entries().len(), zone.document().entries().len());
    }
});
