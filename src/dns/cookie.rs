//! Server cookies (RFC 7873), made so that several servers with the same secrets accept each
//! other's (RFC 9018).

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher24;

/// Length of a client cookie, in octets.
pub const CLIENT_LEN: usize = 8;
/// Length of the server cookies that we make, in octets.
pub const SERVER_LEN: usize = 16;
/// Client and server cookie together.
pub const COOKIE_LEN: usize = CLIENT_LEN + SERVER_LEN;
/// Length of a secret, in octets.
pub const SECRET_LEN: usize = 16;
/// Most secrets in force at a time: the one that makes cookies, and those of a rollover.
pub const SECRETS_MAX: usize = 4;
/// How old a cookie may be, and how far ahead its maker's clock, in seconds (RFC 9018 section 4.3).
const AGE_MAX_S: u32 = 3_600;
const AHEAD_MAX_S: u32 = 300;

/// Octets 0 to 3 of a server cookie: version 1, three reserved octets (RFC 9018 section 4).
const VERSION: [u8; 4] = [1, 0, 0, 0];

/// The secrets in force; never shown. The first makes cookies, each of them is accepted.
#[derive(Clone)]
pub struct Secrets(Vec<[u8; SECRET_LEN]>);

impl Secrets {
    /// `None`: no secret, or more than [`SECRETS_MAX`].
    pub fn new(secrets: Vec<[u8; SECRET_LEN]>) -> Option<Secrets> {
        (1..=SECRETS_MAX).contains(&secrets.len()).then_some(Secrets(secrets))
    }

    /// Reads a file of secrets: 32 hexadecimal digits a line, the one that makes cookies first, as
    /// nsd's cookie-secret-file. Empty lines and lines that start with `#` say nothing. The error
    /// has the number of the line, and never the line.
    pub fn from_text(text: &str) -> Result<Secrets, SecretsError> {
        let mut secrets = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                secrets.push(secret(line).ok_or(SecretsError::Line(number))?);
            }
        }
        Secrets::new(secrets).ok_or(SecretsError::Count)
    }

    /// What the COOKIE option of a reply holds.
    pub fn answer(&self, client: &[u8; CLIENT_LEN], address: IpAddr, now_s: u32) -> [u8; COOKIE_LEN] {
        let mut cookie = [0; COOKIE_LEN];
        cookie[..CLIENT_LEN].copy_from_slice(client);
        cookie[CLIENT_LEN..].copy_from_slice(&server_cookie(&self.0[0], client, now_s, address));
        cookie
    }

    /// Whether a server cookie is one of ours for this client, and neither old nor from the future.
    pub fn accept(&self, client: &[u8; CLIENT_LEN], server: &[u8], address: IpAddr, now_s: u32) -> bool {
        let Some((head, _)) = server.split_first_chunk::<8>() else { return false };
        let [v0, v1, v2, v3, t0, t1, t2, t3] = *head;
        if server.len() != SERVER_LEN || [v0, v1, v2, v3] != VERSION {
            return false;
        }
        let made_s = u32::from_be_bytes([t0, t1, t2, t3]);
        // Serial arithmetic, so that 2106 is a year like any other (RFC 9018 section 4.3).
        let age_s = now_s.wrapping_sub(made_s);
        let timely = age_s <= AGE_MAX_S || age_s.wrapping_neg() <= AHEAD_MAX_S;
        // All are compared, and every octet of each: the time taken says nothing.
        let matches = self.0.iter().fold(false, |matches, secret| {
            let own = server_cookie(secret, client, made_s, address);
            matches | (own.iter().zip(server).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0)
        });
        timely && matches
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// RFC 9018 section 4: version, reserved, time, SipHash-2-4 of client cookie, those, and address.
fn server_cookie(
    secret: &[u8; SECRET_LEN],
    client: &[u8; CLIENT_LEN],
    now_s: u32,
    address: IpAddr,
) -> [u8; SERVER_LEN] {
    let mut cookie = [0; SERVER_LEN];
    cookie[..4].copy_from_slice(&VERSION);
    cookie[4..8].copy_from_slice(&now_s.to_be_bytes());
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(client);
    hasher.write(&cookie[..8]);
    match address {
        IpAddr::V4(address) => hasher.write(&address.octets()),
        IpAddr::V6(address) => hasher.write(&address.octets()),
    }
    cookie[8..].copy_from_slice(&hasher.finish().to_le_bytes());
    cookie
}

fn secret(text: &str) -> Option<[u8; SECRET_LEN]> {
    if text.len() != 2 * SECRET_LEN || !text.is_ascii() {
        return None;
    }
    let mut secret = [0; SECRET_LEN];
    for (at, octet) in secret.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(secret)
}

/// Why a file of secrets is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SecretsError {
    #[error("line {0} is no secret: write 32 hexadecimal digits")]
    Line(usize),
    #[error("it must hold 1 to {SECRETS_MAX} secrets, a line each")]
    Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: [u8; 8] = [0x24, 0x64, 0xc4, 0xab, 0xcf, 0x10, 0xc9, 0x57];
    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";

    fn address() -> IpAddr {
        "198.51.100.100".parse().unwrap()
    }

    #[test]
    fn the_example_of_rfc9018() {
        // Appendix A.1.
        let secrets = Secrets::from_text(SECRET).unwrap();
        let cookie = secrets.answer(&CLIENT, address(), 1_559_731_985);
        assert_eq!(cookie[..8], CLIENT);
        let server = [0x01, 0, 0, 0, 0x5c, 0xf7, 0x9f, 0x11, 0x1f, 0x81, 0x30, 0xc3, 0xee, 0xe2, 0x94, 0x80];
        assert_eq!(cookie[8..], server);
        assert!(secrets.accept(&CLIENT, &server, address(), 1_559_731_985));
    }

    #[test]
    fn the_ipv6_example_of_rfc9018() {
        // Appendix A.4: made with the old secret, accepted during the rollover.
        let client = [0x22, 0x68, 0x1a, 0xb9, 0x7d, 0x52, 0xc2, 0x98];
        let old = [0x01, 0, 0, 0, 0x5c, 0xf7, 0xc5, 0x79, 0x26, 0x55, 0x6b, 0xd0, 0x93, 0x4c, 0x72, 0xf8];
        let address: IpAddr = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let text = "445536bcd2513298075a5d379663c962\n# the last one\n\ndd3bdf9344b678b185a6f5cb60fca715\n";
        let both = Secrets::from_text(text).unwrap();
        assert!(both.accept(&client, &old, address, 1_559_741_961));
        let only_new = Secrets::from_text("445536bcd2513298075a5d379663c962").unwrap();
        assert!(!only_new.accept(&client, &old, address, 1_559_741_961));
    }

    #[test]
    fn age_client_address_and_form_count() {
        let secrets = Secrets::from_text(SECRET).unwrap();
        let made_s = 1_000_000;
        let cookie = secrets.answer(&CLIENT, address(), made_s);
        let accept = |server: &[u8], client: &[u8; 8], from: IpAddr, now_s| secrets.accept(client, server, from, now_s);
        let server = &cookie[8..];
        assert!(accept(server, &CLIENT, address(), made_s + AGE_MAX_S));
        assert!(!accept(server, &CLIENT, address(), made_s + AGE_MAX_S + 1));
        assert!(accept(server, &CLIENT, address(), made_s - AHEAD_MAX_S));
        assert!(!accept(server, &CLIENT, address(), made_s - AHEAD_MAX_S - 1));
        assert!(!accept(server, &[0; 8], address(), made_s));
        assert!(!accept(server, &CLIENT, "198.51.100.101".parse().unwrap(), made_s));
        assert!(!accept(&server[..15], &CLIENT, address(), made_s));
        assert!(!accept(&[server, &[0]].concat(), &CLIENT, address(), made_s));
        for at in 0..SERVER_LEN {
            let mut forged = server.to_vec();
            forged[at] ^= 1;
            assert!(!accept(&forged, &CLIENT, address(), made_s), "octet {at}");
        }
    }

    #[test]
    fn files_of_secrets() {
        for (text, error) in [
            ("", SecretsError::Count),
            ("# nothing\n", SecretsError::Count),
            (&format!("{SECRET}\n").repeat(5), SecretsError::Count),
            (&format!("{SECRET}\n12"), SecretsError::Line(2)),
            (&"g".repeat(32), SecretsError::Line(1)),
            (&"é".repeat(16), SecretsError::Line(1)),
        ] {
            assert_eq!(Secrets::from_text(text).map(|_| ()), Err(error), "{text:?}");
        }
        assert_eq!(format!("{:?}", Secrets::from_text(SECRET).unwrap()), "1 secrets", "a secret is never shown");
    }
}
