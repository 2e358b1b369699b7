//! TSIG (RFC 8945) over messages that are in wire form already. The algorithm, its order of checks
//! and its comparison in constant time are `domain`'s; this adapts them, and mends two of its error
//! replies.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use domain::base::iana::TsigRcode;
use domain::base::wire::Composer;
use domain::base::{Message, MessageBuilder};
use domain::rdata::tsig::{Time48, Tsig};
use domain::tsig::{self, ClientTransaction, KeyName, ServerError, ServerSequence};
use octseq::array::Array;
use octseq::builder::{OctetsBuilder, Truncate};
use ring::hmac;

use crate::dns::access::{Algorithm, Key};
use crate::dns::message::HEADER_LEN;
use crate::dns::name::Name;

/// The last moment that fits in 48 bits.
const TIME_MAX: u64 = (1 << 48) - 1;
/// How far clocks may be apart, in seconds (RFC 8945 section 10).
const FUDGE_S: u16 = 300;

/// All keys that we know.
#[derive(Default)]
pub struct Keys {
    store: HashMap<(KeyName, Algorithm), Arc<tsig::Key>>,
    keys: Vec<(Key, Arc<tsig::Key>)>,
}

/// A request as it was before it was signed.
pub struct Verified {
    /// The message without its TSIG record.
    pub message: Vec<u8>,
    /// The key's name.
    pub key: Name,
    signer: Signer,
}

/// Signs the replies to one request, as many as there are, in their order.
pub struct Signer(ServerSequence<Arc<tsig::Key>>);

impl Keys {
    pub fn new(keys: &[Key]) -> Keys {
        let mut all = Keys::default();
        for key in keys {
            let name = key_name(&key.name);
            let made = tsig::Key::new(key.algorithm, key.secret.octets(), name.clone(), None, None);
            let made = Arc::new(made.expect("without bounds of its own, every length is good"));
            all.store.insert((name, key.algorithm), made.clone());
            all.keys.push((key.clone(), made));
        }
        all
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks the TSIG of a request. `Ok(None)`: it has none. The error is the reply to send: FORMERR,
    /// or NOTAUTH with what was wrong in its TSIG.
    pub fn verify(&self, request: &[u8]) -> Result<Option<Verified>, Vec<u8>> {
        let parse = |octets: &[u8]| Message::from_octets(octets.to_vec());
        let Ok(mut message) = parse(request) else { return Ok(None) };
        match ServerSequence::request(&self.store, &mut message, now()) {
            Ok(None) => Ok(None),
            Ok(Some(sequence)) => {
                let key = self.keys.iter().find(|(_, made)| Arc::ptr_eq(made, sequence.wrapped_key()));
                let (key, _) = key.expect("the store has nothing but these");
                let end = end(&message).unwrap_or(request.len());
                let mut octets = message.into_octets();
                octets.truncate(end);
                Ok(Some(Verified { message: octets, key: key.name.clone(), signer: Signer(sequence) }))
            }
            Err(error) => Err(self.refusal(&message, error)),
        }
    }

    /// Signs a request of ours, and gives what is needed to check the reply. `None`: no such key.
    pub fn sign_request(&self, key: &Name, message: Vec<u8>) -> Option<(Vec<u8>, Asked)> {
        let (_, key) = self.keys.iter().find(|(known, _)| known.name == *key)?;
        let mut builder = Written::builder(message);
        let asked = ClientTransaction::request(key.clone(), &mut builder, now()).ok()?;
        Some((builder.finish().octets, Asked(asked)))
    }

    fn refusal(&self, request: &Message<Vec<u8>>, error: ServerError<Arc<tsig::Key>>) -> Vec<u8> {
        let code = error.error();
        let reply = error.build_message(request, MessageBuilder::new_vec());
        let mut reply = reply.map(|reply| reply.finish()).unwrap_or_default();
        let has_tsig = reply.get(10..12) == Some(&[0, 1]);
        match code {
            // domain 0.12 says FORMERR there where the MAC is wrong; RFC 8945 section 5.2.2: BADSIG.
            // An unsigned TSIG ends in its error and the two octets of an empty other field.
            TsigRcode::FORMERR if has_tsig && reply.len() >= 4 => {
                let at = reply.len() - 4;
                reply[at..at + 2].copy_from_slice(&TsigRcode::BADSIG.to_int().to_be_bytes());
            }
            // domain 0.12 digests eight octets of the time in place of the six that are sent.
            TsigRcode::BADTIME => drop(self.sign_bad_time(request, &mut reply)),
            _ => {}
        }
        reply
    }

    /// Writes the right MAC over that of a BADTIME reply (RFC 8945 sections 4.3 and 5.2.3).
    fn sign_bad_time(&self, request: &Message<Vec<u8>>, reply: &mut [u8]) -> Option<()> {
        let (asked, _) = last_tsig(request)?;
        let message = Message::from_octets(reply.to_vec()).ok()?;
        let (tsig, start) = last_tsig(&message)?;
        let wanted = key_name_of(tsig.owner())?;
        let (key, _) = self.keys.iter().find(|(key, _)| key_name(&key.name) == wanted)?;
        let tsig = tsig.data();
        let mut digest = hmac::Context::with_key(&hmac::Key::new(hmac_algorithm(key.algorithm), key.secret.octets()));
        let mac: &[u8] = asked.data().mac();
        digest.update(&u16::try_from(mac.len()).ok()?.to_be_bytes());
        digest.update(mac);
        // The message as it was before its TSIG was added.
        digest.update(&reply[..10]);
        digest.update(&[0, 0]);
        digest.update(reply.get(HEADER_LEN..start)?);
        digest.update(&key.name.wire().to_ascii_lowercase());
        digest.update(&[0, 255, 0, 0, 0, 0]);
        let algorithm: Vec<u8> = key.algorithm.to_name().as_octets().to_ascii_lowercase();
        digest.update(&algorithm);
        digest.update(&tsig.time_signed().into_octets());
        digest.update(&tsig.fudge().to_be_bytes());
        digest.update(&tsig.error().to_int().to_be_bytes());
        let other: &[u8] = tsig.other();
        digest.update(&u16::try_from(other.len()).ok()?.to_be_bytes());
        digest.update(other);
        let tag = digest.sign();
        // From the end: other and its length, error, original ID, MAC.
        let mac_end = reply.len().checked_sub(other.len() + 6)?;
        let mac_start = mac_end.checked_sub(tsig.mac().len())?;
        reply.get_mut(mac_start..mac_end)?.copy_from_slice(tag.as_ref().get(..mac_end - mac_start)?);
        Some(())
    }
}

impl Verified {
    /// Takes apart what is read from what signs the replies.
    pub fn split(self) -> (Vec<u8>, Name, Signer) {
        (self.message, self.key, self.signer)
    }
}

impl Signer {
    /// Octets of the record that [`Signer::sign`] adds to a reply that reports no error (RFC 8945
    /// section 4.2): two names, nothing of them compressed, the MAC, and 26 octets of fixed fields.
    pub fn record_len(&self) -> usize {
        let key = self.0.wrapped_key();
        let names = key.name().len() + key.algorithm().to_name().as_octets().len();
        names + key.signing_len() + 26
    }

    /// Adds a TSIG record to the next reply. False: it does not fit into a message.
    pub fn sign(&mut self, reply: &mut Vec<u8>) -> bool {
        let mut builder = Written::builder(std::mem::take(reply));
        let signed = self.0.answer_with_fudge(&mut builder, now(), FUDGE_S).is_ok();
        *reply = builder.finish().octets;
        signed && reply.len() <= usize::from(u16::MAX)
    }
}

/// A request of ours that waits for its reply.
pub struct Asked(ClientTransaction<Arc<tsig::Key>>);

impl Asked {
    /// Whether the reply is signed as it should be; else what is wrong.
    pub fn check(&self, reply: &[u8]) -> Result<(), String> {
        let mut message = Message::from_octets(reply.to_vec()).map_err(|error| error.to_string())?;
        self.0.answer(&mut message, now()).map_err(|error| error.to_string())
    }
}

/// A message that is written already, in the clothes of one that `domain` builds: the empty header
/// that a builder begins with is thrown away, what is added goes to the end.
struct Written {
    octets: Vec<u8>,
    is_begun: bool,
}

impl Written {
    fn builder(octets: Vec<u8>) -> domain::base::message_builder::AdditionalBuilder<Written> {
        let begun = MessageBuilder::from_target(Written { octets, is_begun: false });
        begun.expect("a Vec takes every write").additional()
    }
}

impl OctetsBuilder for Written {
    type AppendError = std::convert::Infallible;

    fn append_slice(&mut self, slice: &[u8]) -> Result<(), Self::AppendError> {
        if self.is_begun {
            self.octets.extend_from_slice(slice);
        }
        self.is_begun = true;
        Ok(())
    }
}

impl Truncate for Written {
    fn truncate(&mut self, len: usize) {
        if self.is_begun {
            self.octets.truncate(len);
        }
    }
}

impl AsRef<[u8]> for Written {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

impl AsMut<[u8]> for Written {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.octets
    }
}

impl Composer for Written {}

/// The moment, for signatures; a clock that is set to nonsense gives a moment that nobody accepts.
fn now() -> Time48 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time48::from_u64(since.as_secs().min(TIME_MAX))
}

fn key_name(name: &Name) -> KeyName {
    let octets = Array::try_from(name.wire()).expect("a name has at most 255 octets");
    KeyName::from_octets(octets).expect("a checked name is one to domain, too")
}

fn key_name_of(name: &impl domain::base::ToName) -> Option<KeyName> {
    name.try_to_name().ok()
}

fn hmac_algorithm(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::Sha256 => hmac::HMAC_SHA256,
        Algorithm::Sha384 => hmac::HMAC_SHA384,
        Algorithm::Sha512 => hmac::HMAC_SHA512,
    }
}

/// Where the last record ends.
fn end(message: &Message<Vec<u8>>) -> Option<usize> {
    let mut section = message.additional().ok()?;
    while section.next().is_some() {}
    Some(section.pos())
}

type TsigRecord<'a> =
    domain::base::Record<domain::base::ParsedName<&'a [u8]>, Tsig<&'a [u8], domain::base::ParsedName<&'a [u8]>>>;

/// The TSIG record of a message, and where it starts.
fn last_tsig(message: &Message<Vec<u8>>) -> Option<(TsigRecord<'_>, usize)> {
    let mut section = message.additional().ok()?;
    loop {
        let start = section.pos();
        let record = section.next()?.ok()?;
        if let Some(tsig) = record.into_record::<Tsig<_, _>>().ok()? {
            return Some((tsig, start));
        }
    }
}
