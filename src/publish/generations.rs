//! The last good generations of each zone, its files named by content: what a rollback goes back to.
//!
//! `generations/ZONE/HASH.zone` holds the bytes of a file, `generations/ZONE/index.json` the order.
//! Both are written all or nothing; a file that the index does not name is a leftover and is removed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dns::name::Name;

use super::files;
use super::make_state_folder;

/// The store. Plain blocking calls; the caller holds the zone's lock while it writes.
#[derive(Clone, Debug)]
pub struct Generations {
    root: PathBuf,
    keep: usize,
}

/// One kept zone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Generation {
    /// SHA-256 of the zone file's bytes, in hex.
    pub hash: String,
    /// The included files that exports change, as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included: Vec<KeptFile>,
    /// The serial in it.
    pub serial: u32,
    /// The decision it came from; absent: it was found in the file, written by somebody else.
    pub generation: Option<u64>,
    /// When it was kept.
    pub unix_ms: i64,
}

impl Generation {
    /// Whether both hold the same texts.
    fn is_like(&self, other: &Generation) -> bool {
        (&self.hash, &self.included) == (&other.hash, &other.included)
    }

    /// The hashes of its files.
    fn hashes(&self) -> impl Iterator<Item = &String> {
        [&self.hash].into_iter().chain(self.included.iter().map(|file| &file.hash))
    }
}

/// An included file, and what it held.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeptFile {
    /// Links resolved.
    pub path: PathBuf,
    /// SHA-256 in hex.
    pub hash: String,
}

/// The file format of `index.json`.
#[derive(Default, Deserialize, Serialize)]
struct Index {
    /// Newest first.
    generations: Vec<Generation>,
}

impl Generations {
    /// Keeps the newest `keep` of each zone, at least 2: what is served and what was.
    pub fn new(root: PathBuf, keep: usize) -> Generations {
        Generations { root, keep: keep.max(2) }
    }

    /// What is kept for a zone, newest first.
    pub fn list(&self, origin: &Name) -> Result<Vec<Generation>, String> {
        let path = self.folder(origin).join("index.json");
        let Some(found) = files::read(&path)? else { return Ok(Vec::new()) };
        let index: Index = serde_json::from_slice(&found.bytes)
            .map_err(|error| format!("{}: {error}; remove it to start anew", path.display()))?;
        Ok(index.generations)
    }

    /// The bytes of one file of a generation, checked against their name.
    pub fn load(&self, origin: &Name, hash: &str) -> Result<Vec<u8>, String> {
        let path = self.file(origin, hash);
        let found = files::read(&path)?.ok_or_else(|| format!("{} is gone", path.display()))?;
        if self::hash(&found.bytes) != hash {
            return Err(format!("{} does not hold what its name says", path.display()));
        }
        Ok(found.bytes)
    }

    /// Keeps these texts, the zone file's and those of [`Generation::included`], as the newest
    /// generation and forgets the oldest. Texts that are kept already only move to the front.
    pub fn keep(
        &self,
        origin: &Name,
        bytes: &[u8],
        included: &[Arc<Vec<u8>>],
        generation: Generation,
    ) -> Result<(), String> {
        let folder = self.folder(origin);
        make_state_folder(&folder)?;
        let mut index = Index { generations: self.list(origin)? };
        if index.generations.first().is_some_and(|newest| newest.is_like(&generation)) {
            return Ok(());
        }
        let texts = [bytes].into_iter().chain(included.iter().map(|text| text.as_slice()));
        for (hash, text) in generation.hashes().zip(texts) {
            if self.load(origin, hash).is_err() {
                files::write_state(&self.file(origin, hash), text)?;
            }
        }
        index.generations.retain(|kept| !kept.is_like(&generation));
        index.generations.insert(0, generation);
        index.generations.truncate(self.keep);
        self.write(origin, &index)
    }

    /// Forgets the one before the newest.
    pub fn forget_previous(&self, origin: &Name) -> Result<(), String> {
        let mut index = Index { generations: self.list(origin)? };
        if index.generations.len() < 2 {
            return Ok(());
        }
        index.generations.remove(1);
        self.write(origin, &index)
    }

    fn write(&self, origin: &Name, index: &Index) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(index).expect("numbers and strings become JSON");
        files::write_state(&self.folder(origin).join("index.json"), &text)?;
        self.prune(origin, index)
    }

    /// Removes every file of a zone that the index does not name.
    fn prune(&self, origin: &Name, index: &Index) -> Result<(), String> {
        let folder = self.folder(origin);
        let say = |error| format!("cannot list {}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(say)? {
            let path = entry.map_err(say)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let hash = name.strip_suffix(".zone");
            let named = index.generations.iter().flat_map(Generation::hashes).any(|kept| Some(kept.as_str()) == hash);
            if !named && name != "index.json" {
                files::remove(&path)?;
            }
        }
        Ok(())
    }

    fn folder(&self, origin: &Name) -> PathBuf {
        self.root.join(zone_key(origin))
    }

    fn file(&self, origin: &Name, hash: &str) -> PathBuf {
        self.folder(origin).join(format!("{hash}.zone"))
    }
}

/// SHA-256 in hex.
pub fn hash(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

/// Two lower-case digits an octet.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Longest name that [`zone_key`] spells out, in octets; file systems take 255.
const KEY_MAX: usize = 200;

/// A file name for a zone: its name in lower case where that is a harmless file name, else a hash.
pub fn zone_key(origin: &Name) -> String {
    let text = origin.to_lowercase().to_string();
    let bare = text.trim_end_matches('.');
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if !bare.is_empty() && bare.len() <= KEY_MAX && bare.bytes().all(plain) {
        bare.to_owned()
    } else {
        // No zone is spelt like this: "=" is not plain.
        format!("={}", hash(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(keep: usize) -> (tempfile::TempDir, Generations, Name) {
        let folder = tempfile::tempdir().unwrap();
        let store = Generations::new(folder.path().join("generations"), keep);
        (folder, store, "foo.zone.".parse().unwrap())
    }

    fn keep(store: &Generations, origin: &Name, text: &str, serial: u32) {
        keep_with(store, origin, text, &[], serial);
    }

    /// The same with included files: path and text.
    fn keep_with(store: &Generations, origin: &Name, text: &str, included: &[(&str, &str)], serial: u32) {
        let file = |&(path, text): &(&str, &str)| KeptFile { path: path.into(), hash: hash(text.as_bytes()) };
        let generation = Generation {
            hash: hash(text.as_bytes()),
            included: included.iter().map(file).collect(),
            serial,
            generation: Some(u64::from(serial)),
            unix_ms: 0,
        };
        let texts: Vec<_> = included.iter().map(|(_, text)| Arc::new(text.as_bytes().to_vec())).collect();
        store.keep(origin, text.as_bytes(), &texts, generation).unwrap();
    }

    /// The zone's own file may be the same in all of them; what two of them share is stored once.
    #[test]
    fn included_files_are_a_part_of_a_generation() {
        let (_folder, store, origin) = store(2);
        for serial in 1..=3 {
            let text = format!("soa {serial}");
            keep_with(&store, &origin, "zone", &[("/soa", &text), ("/names", "names")], serial);
        }
        keep_with(&store, &origin, "zone", &[("/soa", "soa 3"), ("/names", "names")], 9);
        let kept = store.list(&origin).unwrap();
        assert_eq!(kept.iter().map(|kept| kept.serial).collect::<Vec<_>>(), [3, 2], "the last one was known");
        assert_eq!(store.load(&origin, &kept[1].included[0].hash).unwrap(), b"soa 2");
        assert_eq!(fs::read_dir(store.folder(&origin)).unwrap().count(), 5, "the index, zone, names and two soa");
    }

    #[test]
    fn the_newest_are_kept_and_the_rest_is_pruned() {
        let (_folder, store, origin) = store(3);
        assert_eq!(store.list(&origin).unwrap(), []);
        for serial in 1..=5 {
            keep(&store, &origin, &format!("zone {serial}"), serial);
        }
        // Seen again: to the front, not twice.
        keep(&store, &origin, "zone 4", 4);
        let kept = store.list(&origin).unwrap();
        assert_eq!(kept.iter().map(|kept| kept.serial).collect::<Vec<_>>(), [4, 5, 3]);
        assert_eq!(store.load(&origin, &kept[2].hash).unwrap(), b"zone 3");
        assert_eq!(fs::read_dir(store.folder(&origin)).unwrap().count(), 4);
    }

    #[test]
    fn the_one_before_the_newest_is_forgotten() {
        let (_folder, store, origin) = store(4);
        store.forget_previous(&origin).unwrap();
        (1..=3).for_each(|serial| keep(&store, &origin, &format!("zone {serial}"), serial));
        store.forget_previous(&origin).unwrap();
        let kept = store.list(&origin).unwrap();
        assert_eq!(kept.iter().map(|kept| kept.serial).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(fs::read_dir(store.folder(&origin)).unwrap().count(), 3, "the index and two texts");
    }

    #[test]
    fn damage_is_noticed_and_repaired_by_the_next_keep() {
        let (_folder, store, origin) = store(3);
        keep(&store, &origin, "one", 1);
        keep(&store, &origin, "two", 2);
        let one = hash(b"one");
        fs::write(store.file(&origin, &one), "bad").unwrap();
        assert!(store.load(&origin, &one).is_err());
        keep(&store, &origin, "one", 1);
        assert_eq!(store.load(&origin, &one).unwrap(), b"one");
    }

    #[test]
    fn no_zone_name_leaves_the_folder() {
        for text in [".", "..", "\\/etc\\/passwd.", "a\\.b.", "\\000.", "\\.\\."] {
            let Ok(origin) = text.parse::<Name>() else { continue };
            let key = zone_key(&origin);
            assert!(!key.contains('/') && key != ".." && key != "." && !key.is_empty(), "{text} {key}");
        }
        assert_eq!(zone_key(&"Foo.ZONE.".parse().unwrap()), "foo.zone");
        assert_ne!(zone_key(&"a\\.b.".parse().unwrap()), zone_key(&"a.b.".parse().unwrap()));
    }
}
