//! Cookies (RFC 7873) on the way through the relay. A client gets ours with every answer, whoever has made it: once
//! it has seen one, it takes an answer without for a forgery (section 5.3). nsd sees none: it would make its own, for
//! the address that we ask from.

use domain::base::iana::{OptionCode, Rtype};

use crate::dns::cookie::COOKIE_LEN;
use crate::dns::message::{Edns, HEADER_LEN, owner_len};

/// Octets that a cookie of ours adds to a reply: code, length, cookie.
pub const OPTION_LEN: usize = 4 + COOKIE_LEN;

/// Whether there is a COOKIE option.
pub fn is_in(edns: &Edns<'_>) -> bool {
    edns.options().any(|(code, _)| code == OptionCode::COOKIE.to_int())
}

/// Takes the COOKIE options out of a copy of the query that `edns` was read from. Returns how many octets are left.
pub fn take_out(copy: &mut [u8], edns: &Edns<'_>) -> usize {
    // Payload size, the extended flags, and the length of the options (RFC 6891 section 6.1.2).
    let start = edns.payload_at + 8;
    let (mut from, mut to) = (start, start);
    for (code, data) in edns.options() {
        let next = from + 4 + data.len();
        if code != OptionCode::COOKIE.to_int() {
            copy.copy_within(from..next, to);
            to += next - from;
        }
        from = next;
    }
    copy.copy_within(from.., to);
    // No longer than they were.
    copy[start - 2..start].copy_from_slice(&((to - start) as u16).to_be_bytes());
    copy.len() - (from - to)
}

/// Adds a cookie to the reply in the first `len` octets of `room`, if it has an OPT record. Returns its length then:
/// if that is more than the room, nothing was written.
pub fn put_in(room: &mut [u8], len: usize, cookie: &[u8; COOKIE_LEN]) -> usize {
    let Some((length_at, options_len)) = options_at(&room[..len]) else { return len };
    let (end, longer) = (length_at + 2 + usize::from(options_len), options_len.checked_add(OPTION_LEN as u16));
    let (Some(longer), true) = (longer, len + OPTION_LEN <= room.len()) else { return len + OPTION_LEN };
    room.copy_within(end..len, end + OPTION_LEN);
    room[length_at..length_at + 2].copy_from_slice(&longer.to_be_bytes());
    let option = &mut room[end..end + OPTION_LEN];
    option[..2].copy_from_slice(&OptionCode::COOKIE.to_int().to_be_bytes());
    option[2..4].copy_from_slice(&(COOKIE_LEN as u16).to_be_bytes());
    option[4..].copy_from_slice(cookie);
    len + OPTION_LEN
}

/// Where the length of a reply's EDNS options stands, and what it says. `None`: no OPT record, or no sound reply.
fn options_at(reply: &[u8]) -> Option<(usize, u16)> {
    let word = |at: usize| Some(u16::from_be_bytes(*reply.get(at..)?.first_chunk()?));
    let mut at = HEADER_LEN;
    for _ in 0..word(4)? {
        at += owner_len(reply.get(at..)?)? + 4;
    }
    let others = u32::from(word(6)?) + u32::from(word(8)?);
    for number in 0..others + u32::from(word(10)?) {
        at += owner_len(reply.get(at..)?)?;
        let len = word(at + 8)?;
        let end = at + 10 + usize::from(len);
        reply.get(..end)?;
        if number >= others && word(at)? == Rtype::OPT.to_int() {
            return Some((at + 8, len));
        }
        at = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::message::Query;

    const HEAD: &[u8] = b"\xab\xcd\0\0\0\x01\0\0\0\0\0\x01\x03www\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0";
    const OURS: [u8; COOKIE_LEN] = [7; COOKIE_LEN];

    fn with_options(options: &[u8]) -> Vec<u8> {
        [HEAD, &(options.len() as u16).to_be_bytes(), options].concat()
    }

    #[test]
    fn every_cookie_goes_and_nothing_else() {
        let cookie = b"\0\x0a\0\x0812345678".as_slice();
        let nsid = b"\0\x03\0\0".as_slice();
        let padding = b"\0\x0c\0\x03\0\0\0".as_slice();
        for (options, left) in [
            (cookie.to_vec(), vec![]),
            ([nsid, cookie, padding].concat(), [nsid, padding].concat()),
            ([cookie, cookie, nsid].concat(), nsid.to_vec()),
            (nsid.to_vec(), nsid.to_vec()),
            (vec![], vec![]),
        ] {
            let query = with_options(&options);
            let edns = Query::read(&query).unwrap().edns.unwrap();
            assert_eq!(is_in(&edns), options != left);
            let mut copy = query.clone();
            let len = take_out(&mut copy, &edns);
            assert_eq!(copy[..len], with_options(&left));
        }
    }

    #[test]
    fn ours_comes_behind_what_nsd_says() {
        let mut reply = with_options(b"\0\x03\0\x01x");
        reply[2] = 0x84;
        // An answer in front of OPT, and a signature behind it.
        let answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04\xc0\0\x02\x01";
        reply.splice(21..21, answer.iter().copied());
        (reply[7], reply[11]) = (1, 2);
        let tsig = b"\0\0\xfa\0\xff\0\0\0\0\0\0";
        let len = reply.len();
        let expected = [&reply[..len - 7], &[0, 33], &reply[len - 5..], b"\0\x0a\0\x18", &OURS, tsig].concat();
        reply.extend(tsig);
        let len = reply.len();
        let mut short = reply.clone();
        assert_eq!(put_in(&mut short, len, &OURS), len + OPTION_LEN);
        assert_eq!(short, reply, "no room");
        reply.resize(len + OPTION_LEN, 0xff);
        assert_eq!(put_in(&mut reply, len, &OURS), expected.len());
        assert_eq!(reply, expected);
    }

    #[test]
    fn a_reply_without_options_or_cut_off_stays_as_it_is() {
        let reply = with_options(b"\0\x03\0\x01x");
        for len in 0..reply.len() {
            let mut room = reply.clone();
            room.resize(100, 0xff);
            let before = room.clone();
            assert_eq!((put_in(&mut room, len, &OURS), &room), (len, &before), "{len}");
        }
        let mut plain = reply.clone();
        plain[11] = 0;
        assert_eq!(put_in(&mut plain, reply.len(), &OURS), reply.len());
    }
}
