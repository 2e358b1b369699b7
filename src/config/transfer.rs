//! Keys, secondaries, and the catalog zone.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use domain::utils::base64;
use toml::Spanned;

use crate::dns::access::{Algorithm, Allow, Prefix, PrefixError, Secret};
use crate::dns::name::Name;

use super::checked::{Checker, Entry};
use super::file::{self, Text};
use super::load::{Source, beside};
use super::process::{SECRET_HINT, is_private};
use super::value::socket_addr;
use super::{Catalog, Key, Notify, Transfer, Zone};

/// Shortest secret, in octets: what HMAC-MD5 used to have, and nobody should have less.
const SECRET_MIN: usize = 16;
/// Largest secret file, in octets.
const SECRET_FILE_MAX: u64 = 4_096;

impl Checker {
    pub(super) fn read_keys(&mut self, sources: &[Source]) -> Vec<Key> {
        let mut keys: Vec<Key> = Vec::new();
        for entry in self.entries(sources, "key", |tables| &tables.key) {
            let Some(key) = self.one_key(&entry) else { continue };
            if keys.iter().any(|other| other.name == key.name) {
                let message = format!("key {} is configured twice", key.name);
                let hint = "remove one (a final dot or upper case makes no other key)";
                self.at(entry.source, entry.name.span(), message, hint);
            } else {
                keys.push(key);
            }
        }
        keys
    }

    fn one_key(&mut self, entry: &Entry<'_, file::Key>) -> Option<Key> {
        let (source, table, text) = (entry.source, entry.table, entry.name.get_ref());
        let name: Name = match text.parse() {
            Ok(name) => name,
            Err(error) => {
                let message = format!("`{text}` is no name of a key: {error}");
                self.at(source, entry.name.span(), message, "write [key.sidecar], as the secondary names it");
                return None;
            }
        };
        let algorithms = [
            ("hmac-sha256", Algorithm::Sha256),
            ("hmac-sha384", Algorithm::Sha384),
            ("hmac-sha512", Algorithm::Sha512),
            ("hmac-sha1", Algorithm::Sha1),
        ];
        let algorithm = match &table.algorithm {
            None => Algorithm::Sha256,
            text => self.choice(source, text.as_ref(), &algorithms)?,
        };
        let Some(file) = &table.secret_file else {
            let message = format!("key {name} has no secret-file");
            self.at(
                source,
                entry.name.span(),
                message,
                "write secret-file = \"/path/to/secret\", with the secret in base64",
            );
            return None;
        };
        Some(Key { name, algorithm, secret_file: beside(&source.file, file.get_ref()) })
    }

    /// What `allow-transfer`, `notify` and `key` say together. `None`: none of the first two is there.
    pub(super) fn transfer(
        &mut self,
        source: &Source,
        allow: Option<&Spanned<Vec<Text>>>,
        notify: Option<&Spanned<Vec<Text>>>,
        key: Option<&Text>,
    ) -> Option<Transfer> {
        let usual = key.and_then(|key| self.known_key(source, key, key.get_ref()));
        if allow.is_none() && notify.is_none() {
            if let Some(key) = key {
                self.at(source, key.span(), "nothing is signed with this key", "add allow-transfer or notify");
            }
            return None;
        }
        let mut transfer = Transfer::default();
        for text in notify.iter().flat_map(|list| list.get_ref()) {
            let mut words = text.get_ref().split_whitespace();
            let address = socket_addr(words.next().unwrap_or_default(), Some(53));
            let address = address.map_err(|message| self.wrong(source, text, message)).ok();
            let key = match words.next() {
                Some(word) => self.known_key(source, text, word),
                None => usual.clone(),
            };
            self.no_more(source, text, words.next());
            transfer.notify.extend(address.map(|address| Notify { address, key }));
        }
        match allow {
            Some(list) => {
                let entries = list.get_ref().iter();
                transfer.allow = entries.filter_map(|text| self.allow(source, text, usual.as_ref())).collect();
            }
            // Who is told may come.
            None => {
                let told = transfer.notify.iter();
                let allow =
                    |told: &Notify| Allow { prefix: Some(Prefix::host(told.address.ip())), key: told.key.clone() };
                transfer.allow = told.map(allow).collect();
            }
        }
        Some(transfer)
    }

    /// An address or prefix, the name of a key, or both.
    fn allow(&mut self, source: &Source, text: &Text, usual: Option<&Name>) -> Option<Allow> {
        let mut words = text.get_ref().split_whitespace();
        let first = words.next().unwrap_or_default();
        let allow = match first.parse::<Prefix>() {
            Ok(prefix) => {
                let key = match words.next() {
                    Some(word) => Some(self.known_key(source, text, word)?),
                    None => usual.cloned(),
                };
                Allow { prefix: Some(prefix), key }
            }
            Err(PrefixError::Address) if !first.contains(['/', ':']) => {
                Allow { prefix: None, key: Some(self.known_key(source, text, first)?) }
            }
            Err(error) => {
                let hint = "write an address, ADDRESS/BITS, the name of a key, or an address and a key";
                self.at(source, text.span(), format!("`{first}`: {error}"), hint);
                return None;
            }
        };
        self.no_more(source, text, words.next());
        Some(allow)
    }

    fn no_more(&mut self, source: &Source, text: &Text, word: Option<&str>) {
        if let Some(word) = word {
            self.wrong(source, text, format!("`{word}` is one word too many: an address and a key are all"));
        }
    }

    /// The name of a configured key; a problem at `text` if there is none of this name.
    fn known_key(&mut self, source: &Source, text: &Text, word: &str) -> Option<Name> {
        let name: Option<Name> = word.parse().ok();
        if let Some(key) = self.keys.iter().find(|key| Some(&key.name) == name.as_ref()) {
            return Some(key.name.clone());
        }
        // Broken in itself: that problem is enough.
        if source.tables.key.iter().flatten().any(|(key, _)| key.get_ref() == word) {
            return None;
        }
        let known: Vec<String> =
            self.keys.iter().map(|key| key.name.to_string().trim_end_matches('.').to_owned()).collect();
        let hint = super::problem::did_you_mean(word, known.iter().map(String::as_str))
            .unwrap_or_else(|| format!("add [key.\"{word}\"]"));
        self.at(source, text.span(), format!("key `{word}` is not configured"), hint);
        None
    }

    pub(super) fn catalog(&mut self, sources: &[Source], zones: &[Zone]) -> Option<Catalog> {
        let (source, table) = self.single(sources, |tables| tables.catalog.as_ref())?;
        let span = table.span();
        let table = table.get_ref();
        let transfer = self.transfer(source, table.allow_transfer.as_ref(), table.notify.as_ref(), table.key.as_ref());
        let Some(text) = &table.zone else {
            self.at(source, span, "the catalog has no zone", "write zone = \"catalog.example\"");
            return None;
        };
        let origin: Name = match text.get_ref().parse() {
            Ok(origin) => origin,
            Err(error) => {
                self.wrong(source, text, format!("`{}` is no zone name: {error}", text.get_ref()));
                return None;
            }
        };
        if zones.iter().any(|zone| zone.origin == origin) {
            self.at(
                source,
                text.span(),
                format!("{origin} is a zone of its own"),
                "give the catalog a name of its own",
            );
        }
        let Some(transfer) = transfer else {
            self.at(source, span, "nobody may take the catalog", "add allow-transfer or notify");
            return None;
        };
        if zones.iter().all(|zone| zone.transfer.is_none()) {
            self.at(source, span, "the catalog has no member", "give a zone allow-transfer or notify");
        }
        Some(Catalog { origin, transfer })
    }
}

impl Key {
    /// Reads the secret. The error is one line with the place and the way out; never anything of the
    /// secret. Not part of [`super::Config::load`]: whoever asks the daemon something reads the
    /// configuration, and has no business with secrets.
    pub fn read_secret(&self) -> Result<Secret, String> {
        let failed = |what: String, hint: &str| {
            format!("{}: error: key {}: {what}; {hint}", self.secret_file.display(), self.name)
        };
        let unreadable = |error: io::Error| failed(error.to_string(), "make it readable for the user who runs this");
        let make = "make one: openssl rand -base64 32, and give the secondary the same";
        // A FIFO must not keep us waiting.
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&self.secret_file);
        let file = file.map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(failed("this is no file".to_owned(), "name a file with the secret in base64"));
        }
        is_private(metadata.mode()).map_err(|what| failed(what, SECRET_HINT))?;
        let mut text = String::new();
        file.take(SECRET_FILE_MAX).read_to_string(&mut text).map_err(unreadable)?;
        let secret: Vec<u8> =
            base64::decode(text.trim()).map_err(|_| failed("there is no base64 text in it".to_owned(), make))?;
        if secret.len() < SECRET_MIN {
            return Err(failed(format!("the secret has fewer than {SECRET_MIN} octets"), make));
        }
        Ok(Secret::new(&secret))
    }
}
