//! A real nsd with the zone of these tests.

use crate::support::nsd::Nsd;

use super::support::*;

pub fn start() -> Nsd {
    Nsd::start(&[("example.org", zone_text().as_bytes())])
}

/// [`ZONE`] as nsd reads it.
pub fn zone_text() -> String {
    let mut text = String::from("$ORIGIN example.org.\n");
    for line in ZONE.lines().filter(|line| !line.is_empty() && !line.contains("occluded")) {
        let line = line.strip_suffix("primary").unwrap_or(line);
        let line = if line.contains(" A ") { line.strip_suffix("standby").unwrap_or(line) } else { line };
        let line = line.replace("8 2 00", &format!("8 2 {}", "00".repeat(32)));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for number in 0..20 {
        text.push_str(&format!("big 3600 TXT {number:->100}\n"));
    }
    text
}
