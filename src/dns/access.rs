//! Who may ask for what: address prefixes, and TSIG keys (RFC 8945) by name.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

pub use domain::tsig::Algorithm;

use super::name::Name;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// An IPv4 address that came over an IPv6 socket (RFC 4291 section 2.5.5.2) counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u32::from(own) ^ u32::from(other);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = u128::from(own) ^ u128::from(other);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }

    /// The prefix of one address.
    pub fn host(address: IpAddr) -> Prefix {
        Prefix { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }
}

/// `ADDRESS` or `ADDRESS/BITS`. Bits set behind the prefix are a mistake.
impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Prefix, PrefixError> {
        let (address, bits) = match text.split_once('/') {
            None => return text.parse().map(Prefix::host).map_err(|_| PrefixError::Address),
            Some((address, bits)) => (address, bits),
        };
        let whole = address.parse().map(Prefix::host).map_err(|_| PrefixError::Address)?;
        let bits: u8 = bits.parse().map_err(|_| PrefixError::Bits)?;
        if bits > whole.bits {
            return Err(PrefixError::Bits);
        }
        let behind = match whole.address {
            IpAddr::V4(address) => u32::from(address).checked_shl(bits.into()).unwrap_or(0) != 0,
            IpAddr::V6(address) => u128::from(address).checked_shl(bits.into()).unwrap_or(0) != 0,
        };
        if behind { Err(PrefixError::Behind) } else { Ok(Prefix { bits, ..whole }) }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PrefixError {
    #[error("no address")]
    Address,
    #[error("the number behind the slash is no length of a prefix")]
    Bits,
    #[error("the address has bits behind its prefix")]
    Behind,
}

/// Who may take a zone: whoever satisfies both, each if it is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Allow {
    pub prefix: Option<Prefix>,
    /// Name of the key that must have signed the request.
    pub key: Option<Name>,
}

impl Allow {
    /// Whether this lets a request in that came from `address`, signed (and verified) with `key`.
    pub fn lets(&self, address: IpAddr, key: Option<&Name>) -> bool {
        self.prefix.is_none_or(|prefix| prefix.contains(address))
            && self.key.as_ref().is_none_or(|wanted| key == Some(wanted))
    }
}

/// A TSIG key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Key {
    pub name: Name,
    pub algorithm: Algorithm,
    pub secret: Secret,
}

/// Octets that are never shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    pub fn new(octets: &[u8]) -> Secret {
        Secret(octets.into())
    }

    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn contains(text: &str, address: &str) -> bool {
        prefix(text).contains(address.parse().unwrap())
    }

    #[test]
    fn prefixes_contain() {
        assert!(contains("192.0.2.9", "192.0.2.9") && !contains("192.0.2.9", "192.0.2.8"));
        assert!(contains("192.0.2.0/24", "192.0.2.255") && !contains("192.0.2.0/24", "192.0.3.0"));
        assert!(contains("0.0.0.0/0", "255.255.255.255") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("2001:db8::/33", "2001:db8:7fff::1") && !contains("2001:db8::/33", "2001:db8:8000::"));
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "192.0.2.1"));
        assert!(contains("127.0.0.1", "::ffff:127.0.0.1"), "IPv4 over an IPv6 socket");
    }

    #[test]
    fn what_is_no_prefix() {
        for (text, error) in [
            ("", PrefixError::Address),
            ("localhost", PrefixError::Address),
            ("192.0.2.0/33", PrefixError::Bits),
            ("192.0.2.0/", PrefixError::Bits),
            ("::/129", PrefixError::Bits),
            ("192.0.2.1/24", PrefixError::Behind),
            ("2001:db8::1/64", PrefixError::Behind),
            ("1.0.0.0/0", PrefixError::Behind),
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(error), "{text}");
        }
    }

    #[test]
    fn both_conditions_hold_together() {
        let (own, other): (Name, Name) = ("a.".parse().unwrap(), "b.".parse().unwrap());
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let there: IpAddr = "192.0.2.1".parse().unwrap();
        let allow =
            |address: Option<&str>, key: Option<&Name>| Allow { prefix: address.map(prefix), key: key.cloned() };
        let both = allow(Some("127.0.0.1"), Some(&own));
        assert!(both.lets(here, Some(&own)));
        assert!(!both.lets(here, None) && !both.lets(here, Some(&other)) && !both.lets(there, Some(&own)));
        assert!(allow(Some("127.0.0.1"), None).lets(here, Some(&other)), "a key more does no harm");
        assert!(allow(None, Some(&own)).lets(there, Some(&own)));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let key = Key { name: Name::root(), algorithm: Algorithm::Sha256, secret: Secret::new(b"abcd") };
        assert!(!format!("{key:?}").contains("97"), "{key:?}");
    }
}
