//! What nsd-checkzone has said yes to: a text that differs from such a one in nothing but the digits
//! of its serial need not wait for the same verdict again when it matters.
//!
//! The verdict belongs to the text *and* to the program that gave it: another nsd-checkzone (an
//! upgrade) judges anew. Texts that include other files are always judged anew.

use std::collections::{HashMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ring::digest::{Context, SHA256};

use crate::dns::name::Name;

/// Verdicts kept for each zone: every outcome that it may have, in a usual setup.
const KEPT_MAX: usize = 16;

#[derive(Debug, Default)]
pub struct Judged(Mutex<HashMap<Name, VecDeque<Key>>>);

/// Stands for a text without its serial, and the program that judged it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key([u8; 32]);

impl Judged {
    pub fn contains(&self, origin: &Name, key: Key) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(origin).is_some_and(|keys| keys.contains(&key))
    }

    pub fn insert(&self, origin: &Name, key: Key) {
        let mut zones = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = zones.entry(origin.clone()).or_default();
        keys.retain(|known| *known != key);
        keys.push_front(key);
        keys.truncate(KEPT_MAX);
    }
}

/// The key of a text that holds `serial`; `None` where each text has to be judged: it includes
/// others, or the program is not nsd-checkzone itself.
pub fn key(argv: &[String], folder: Option<&Path>, origin: &Name, text: &[u8], serial: u32) -> Option<Key> {
    let program = argv.first()?;
    if Path::new(program).file_name()? != "nsd-checkzone" || includes(text) {
        return None;
    }
    let metadata = std::fs::metadata(find(program)?).ok()?;
    let (before, after) = around(text, serial.to_string().as_bytes())?;
    let mut context = Context::new(&SHA256);
    let place = format!("{argv:?} {folder:?} {origin}");
    let identity =
        [metadata.dev(), metadata.ino(), metadata.size(), metadata.mtime() as u64, metadata.mtime_nsec() as u64];
    for part in [place.as_bytes(), format!("{identity:?} {}\0", before.len()).as_bytes(), before, after] {
        context.update(part);
    }
    Some(Key(context.finish().as_ref().try_into().expect("SHA-256 has 32 octets")))
}

/// What stands before and after the first token that reads like this. That need not be the serial:
/// two texts that agree in all the rest have theirs in the same place.
fn around<'a>(text: &'a [u8], token: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let ends = |octet: Option<&u8>| octet.is_none_or(|octet| !octet.is_ascii_alphanumeric());
    let mut from = 0;
    while let Some(found) = find_bytes(&text[from..], token) {
        let (start, end) = (from + found, from + found + token.len());
        let alone = ends(start.checked_sub(1).and_then(|before| text.get(before))) && ends(text.get(end));
        if alone {
            return Some((&text[..start], &text[end..]));
        }
        from = start + 1;
    }
    None
}

fn find_bytes(text: &[u8], token: &[u8]) -> Option<usize> {
    text.windows(token.len()).position(|window| window == token)
}

/// A directive stands at the start of a line.
fn includes(text: &[u8]) -> bool {
    let word = b"$include";
    text.split(|&octet| octet == b'\n')
        .any(|line| line.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word)))
}

/// Where the system finds a program.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(program: &Path, text: &str, serial: u32) -> Option<Key> {
        key(&[program.display().to_string()], None, &"foo.zone.".parse().unwrap(), text.as_bytes(), serial)
    }

    #[test]
    fn only_the_serial_may_differ() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("nsd-checkzone");
        std::fs::write(&program, "one").unwrap();
        let text = |serial: u32, address: &str| format!("@ SOA a b ( {serial} ; serial\n 1 2 3 4 )\nwww A {address}\n");
        let first = of(&program, &text(1_000, "192.0.2.1"), 1_000);
        assert!(first.is_some());
        assert_eq!(first, of(&program, &text(70_001, "192.0.2.1"), 70_001));
        assert_ne!(first, of(&program, &text(1_001, "192.0.2.2"), 1_001));
        assert_eq!(of(&program, &text(1_000, "192.0.2.1"), 7), None, "no such serial in it");
        assert_eq!(of(&program, &(text(1_000, "192.0.2.1") + "$Include x\n"), 1_000), None);
        assert!(of(&program, &(text(1_000, "192.0.2.1") + "; $INCLUDE x\n"), 1_000).is_some(), "a comment");
        // The same digits elsewhere are not the serial, and two serials are not one.
        assert_ne!(of(&program, "1000 A ::1\n@ SOA 1000", 1_000), of(&program, "1001 A ::1\n@ SOA 1000", 1_000));
        std::fs::write(&program, "another").unwrap();
        assert_ne!(first, of(&program, &text(1_000, "192.0.2.1"), 1_000), "an upgrade judges anew");
        assert_eq!(of(Path::new("/bin/sh"), &text(1_000, "192.0.2.1"), 1_000), None);
    }

    #[test]
    fn the_oldest_verdict_is_forgotten() {
        let (judged, origin) = (Judged::default(), "foo.zone.".parse().unwrap());
        for n in 0..=KEPT_MAX as u8 {
            judged.insert(&origin, Key([n; 32]));
        }
        assert!(!judged.contains(&origin, Key([0; 32])) && judged.contains(&origin, Key([1; 32])));
    }
}
