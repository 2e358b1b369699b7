//! `check-zone`: everything there is to say about one zone file, as text.

use super::Zone;
use super::diagnostic::{Diagnostic, Severity};
use super::source::Source;
use crate::dns::name::Name;

/// What `check-zone` found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Diagnostics with underlined excerpts, and a line that sums up.
    pub text: String,
    /// Errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether the zone can be taken.
    pub ok: bool,
    /// The zone, if it can be taken.
    pub zone: Option<Zone>,
}

/// Reads a zone and says what is wrong with it. What it includes is asked of `source`.
pub fn check(origin: &Name, file: &str, bytes: Vec<u8>, source: &mut dyn Source) -> Checked {
    match Zone::load(origin, file, bytes, source) {
        Ok(zone) => {
            let failover = zone.document().entries().iter().filter(|entry| entry.is_tagged()).count();
            let records = zone.document().entries().len();
            let serial = zone.serial();
            let diagnostics = zone.warnings().to_vec();
            let mut text = rendered(&diagnostics);
            text +=
                &format!("{file}: zone {origin} serial {serial}: {records} records, {failover} of them failover: ok\n");
            Checked { text, diagnostics, ok: true, zone: Some(zone) }
        }
        Err(diagnostics) => {
            let count = |severity| diagnostics.iter().filter(|found| found.severity == severity).count();
            let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
            let mut text = rendered(&diagnostics);
            text += &format!("{file}: zone {origin}: {}, {}\n", plural(errors, "error"), plural(warnings, "warning"));
            Checked { text, diagnostics, ok: false, zone: None }
        }
    }
}

fn rendered(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::rendered).collect()
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::source::NoSource;

    fn checked(text: &str) -> Checked {
        check(&"example.org".parse().unwrap(), "f.zone", text.as_bytes().to_vec(), &mut NoSource)
    }

    #[test]
    fn a_good_zone() {
        let text = "$TTL 60\n@ SOA ns h 7 2 3 4 5\n@ NS ns.example.net.\nwww A 192.0.2.1 ; Enable failover\n";
        let good = checked(text);
        assert_eq!(good.text, "f.zone: zone example.org. serial 7: 3 records, 1 of them failover: ok\n");
        assert!(good.ok && good.zone.is_some());
    }

    #[test]
    fn a_bad_zone() {
        let bad = checked("$TTL 60\n@ SOA ns h 7 2 3 4 5\n@ NS ns.example.net.\nwww A 192.0.2 ; Enabel failover\n");
        let expected = "\
f.zone:4:7: error: bad A record: `192.0.2` is not an IPv4 address
  |
4 | www A 192.0.2 ; Enabel failover
  |       ^^^^^^^
  = write it as `A 192.0.2.1`
f.zone:4:17: warning: this looks like a mistyped failover tag
  |
4 | www A 192.0.2 ; Enabel failover
  |                 ^^^^^^^^^^^^^^^
  = write `; Enable failover` to make this a failover record
f.zone: zone example.org.: 1 error, 1 warning
";
        assert_eq!(bad.text, expected);
        assert!(!bad.ok);
    }
}
