//! EDNS options: what a query asks for, and what the reply's OPT record carries.

use domain::base::iana::{ExtendedErrorCode, OptionCode};

use crate::dns::cookie::{CLIENT_LEN, COOKIE_LEN, SERVER_LEN};
use crate::dns::message::Edns;

use super::policy::Policy;
use super::respond::{Client, Limits};

/// Code and length in front of an option's data (RFC 6891 section 6.1.2).
const HEAD_LEN: usize = 4;
/// Longest server cookie that a client may send, be it of other servers' making (RFC 7873 section 4).
const SERVER_COOKIE_MAX: usize = 32;
/// Replies over encrypted transports are padded to a multiple of this (RFC 8467 section 4.1).
const PADDING_BLOCK: usize = 468;

/// The options of a reply.
#[derive(Clone, Copy)]
pub(super) struct Options<'p> {
    /// The identifier, if it was asked for; else empty.
    nsid: &'p [u8],
    /// The one of the reply.
    pub cookie: Option<[u8; COOKIE_LEN]>,
    /// The query carried a server cookie of ours: its sender is who it says it is.
    pub known_client: bool,
    /// How long a stream may be idle, in units of 100 ms (RFC 7828).
    keepalive: Option<u16>,
    /// To be padded, counting so many octets that will be added behind the message.
    padding: Option<usize>,
    extended_error: Option<ExtendedErrorCode>,
}

/// An option that cannot be: FORMERR.
#[derive(Debug)]
pub(super) struct Malformed;

impl<'p> Options<'p> {
    pub const NONE: Options<'static> =
        Options { nsid: &[], cookie: None, known_client: false, keepalive: None, padding: None, extended_error: None };

    /// Reads what is asked for. Options that we do not know are passed over, and of one that is
    /// given twice the last counts.
    pub fn read(
        edns: &Edns<'_>,
        policy: &'p Policy,
        limits: &Limits,
        client: &Client,
    ) -> Result<Options<'p>, Malformed> {
        let mut options = Options::NONE;
        if edns.options.is_empty() {
            return Ok(options);
        }
        for (code, data) in edns.options() {
            match OptionCode::from_int(code) {
                OptionCode::NSID => options.nsid = &policy.nsid,
                OptionCode::COOKIE => options.cookie(data, policy, client)?,
                // RFC 7828 section 3.2.1: a client sends no timeout; over UDP it means nothing.
                OptionCode::TCP_KEEPALIVE => match (limits.idle_ds, data.len()) {
                    (None, _) => {}
                    (idle_ds, 0) => options.keepalive = idle_ds,
                    _ => return Err(Malformed),
                },
                // RFC 7830 section 4: only where an observer sees nothing but the length.
                OptionCode::PADDING => options.padding = limits.encrypted.then_some(limits.signature_len),
                _ => {}
            }
        }
        Ok(options)
    }

    /// The same with a reason (RFC 8914).
    pub fn with_error(self, why: ExtendedErrorCode) -> Options<'p> {
        Options { extended_error: Some(why), ..self }
    }

    /// RFC 7873 section 5.2: 8 octets from the client, with 8 to 32 from a server behind them if it
    /// has spoken to one.
    fn cookie(&mut self, data: &[u8], policy: &Policy, client: &Client) -> Result<(), Malformed> {
        let (from_client, from_server) = data.split_first_chunk::<CLIENT_LEN>().ok_or(Malformed)?;
        if !from_server.is_empty() && !(CLIENT_LEN..=SERVER_COOKIE_MAX).contains(&from_server.len()) {
            return Err(Malformed);
        }
        let Some(secrets) = &policy.cookies else { return Ok(()) };
        self.known_client =
            from_server.len() == SERVER_LEN && secrets.accept(from_client, from_server, client.address, client.now_s);
        self.cookie = Some(secrets.answer(from_client, client.address, client.now_s));
        Ok(())
    }

    /// Room that the options take at most without padding: an extended error may still come.
    pub fn len_max(&self) -> usize {
        let nsid = if self.nsid.is_empty() { 0 } else { HEAD_LEN + self.nsid.len() };
        let cookie = if self.cookie.is_some() { HEAD_LEN + COOKIE_LEN } else { 0 };
        let keepalive = if self.keepalive.is_some() { HEAD_LEN + 2 } else { 0 };
        nsid + cookie + keepalive + HEAD_LEN + 2
    }

    /// Writes them to `out` (at least [`Options::len_max`] octets), which stands at `at` in the
    /// message, and returns how many octets they take.
    pub fn write(&self, at: usize, out: &mut [u8]) -> usize {
        let mut writer = Writer { out, len: 0 };
        if !self.nsid.is_empty() {
            writer.option(OptionCode::NSID, self.nsid);
        }
        if let Some(cookie) = &self.cookie {
            writer.option(OptionCode::COOKIE, cookie);
        }
        if let Some(idle_ds) = self.keepalive {
            writer.option(OptionCode::TCP_KEEPALIVE, &idle_ds.to_be_bytes());
        }
        if let Some(code) = self.extended_error {
            writer.option(OptionCode::EXTENDED_ERROR, &code.to_int().to_be_bytes());
        }
        if let Some(behind) = self.padding {
            let end = at + writer.len + HEAD_LEN + behind;
            let wanted = end.next_multiple_of(PADDING_BLOCK) - end;
            // A message that is full has no room for it, and needs none.
            if let Some(room) = writer.out.len().checked_sub(writer.len + HEAD_LEN) {
                writer.padding(wanted.min(room));
            }
        }
        writer.len
    }
}

struct Writer<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn option(&mut self, code: OptionCode, data: &[u8]) {
        self.head(code, data.len());
        self.out[self.len..self.len + data.len()].copy_from_slice(data);
        self.len += data.len();
    }

    fn padding(&mut self, len: usize) {
        self.head(OptionCode::PADDING, len);
        self.out[self.len..self.len + len].fill(0);
        self.len += len;
    }

    fn head(&mut self, code: OptionCode, len: usize) {
        let words = [code.to_int(), len as u16].map(u16::to_be_bytes);
        self.out[self.len..self.len + HEAD_LEN].copy_from_slice(words.as_flattened());
        self.len += HEAD_LEN;
    }
}
