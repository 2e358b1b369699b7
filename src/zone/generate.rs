//! BIND's `$GENERATE`: from a line to the text of the records that it stands for. The text is
//! then read like any other.

use super::parser::{Attribute, attribute};
use crate::dns::rdata::{Field, quoted};

/// Longest text of one made record, in octets; also bounds a width.
const MADE_MAX: usize = 65_536;
/// The largest number in a range, as in BIND.
const NUMBER_MAX: u32 = i32::MAX as u32;

/// `$GENERATE START-STOP[/STEP] LHS [TTL] [CLASS] TYPE RHS`.
#[derive(Debug)]
pub(super) struct Generate<'a> {
    start: u32,
    stop: u32,
    step: u32,
    owner: Vec<Piece<'a>>,
    /// TTL, class and type, as they stand there.
    middle: &'a [Field<'a>],
    rdata: Vec<Piece<'a>>,
}

/// A part of a side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Piece<'a> {
    /// As it is, escapes still in it.
    Text(&'a [u8]),
    /// `$`, or `${offset,width,base}`: the number.
    Number { offset: i32, width: usize, base: Base },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Base {
    Decimal,
    Octal,
    Hex {
        upper: bool,
    },
    /// Hexadecimal digits as labels, the last one first (for ip6.arpa).
    Nibbles {
        upper: bool,
    },
}

/// Which field, what is wrong with it, and what to do.
type Problem = (usize, String, &'static str);

const FORM: &str = "write $GENERATE 1-9 host$ [TTL] [IN] A 192.0.2.$";
const ONE_FIELD: &str = "RDATA of several words stands in quotes: MX \"10 mail$\"";
const NUMBER: &str = "write $ or ${offset,width,base}; base is d, o, x, X, n or N; a dollar sign is \\$";

impl<'a> Generate<'a> {
    /// Reads the fields behind `$GENERATE`.
    pub(super) fn parse(fields: &'a [Field<'a>]) -> Result<Generate<'a>, Problem> {
        let missing = |what: &str| (fields.len(), format!("$GENERATE without {what}"), FORM);
        let first = fields.first().ok_or_else(|| missing("a range"))?;
        let (start, stop, step) =
            range(first.text).ok_or_else(|| (0, format!("`{}` is no range", quoted(first.text)), FORM))?;
        let lhs = fields.get(1).ok_or_else(|| missing("an owner"))?;
        if lhs.quoted {
            return Err((1, "the owner stands in quotes".to_owned(), "write it without quotes"));
        }
        let typed = fields.iter().skip(2).position(|field| matches!(attribute(field), Some(Attribute::Type(_))));
        let rhs = 2 + typed.ok_or_else(|| missing("a type"))? + 1;
        let rdata = fields.get(rhs).ok_or_else(|| missing("RDATA"))?;
        if rhs + 1 < fields.len() {
            return Err((rhs + 1, "nothing more is expected here".to_owned(), ONE_FIELD));
        }
        if rdata.text.contains(&b'\n') || rdata.text.contains(&b'\r') {
            return Err((rhs, "the RDATA spans lines".to_owned(), "write it on one line"));
        }
        let side = |at: usize| {
            let text = fields[at].text;
            pieces(text, fields[at].quoted)
                .ok_or_else(|| (at, format!("`{}` counts in a way that is not known", quoted(text)), NUMBER))
        };
        Ok(Generate { start, stop, step, owner: side(1)?, middle: &fields[2..rhs], rdata: side(rhs)? })
    }

    /// How many records it makes.
    pub(super) fn count(&self) -> usize {
        1 + ((self.stop - self.start) / self.step) as usize
    }

    /// One line for each record; `None` if they take more than `limit` octets.
    pub(super) fn text(&self, limit: usize) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        for number in (self.start..=self.stop).step_by(self.step as usize) {
            side(&self.owner, number, &mut text)?;
            for field in self.middle {
                text.push(b' ');
                text.extend_from_slice(field.text);
            }
            text.push(b' ');
            side(&self.rdata, number, &mut text)?;
            text.push(b'\n');
            if text.len() > limit {
                return None;
            }
        }
        Some(text)
    }
}

/// `START-STOP[/STEP]`.
fn range(text: &[u8]) -> Option<(u32, u32, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let number = |text: &str| {
        let digits = text.bytes().all(|octet| octet.is_ascii_digit());
        text.parse::<u32>().ok().filter(|&number| digits && number <= NUMBER_MAX)
    };
    let (ends, step) = text.split_once('/').unwrap_or((text, "1"));
    let (start, stop) = ends.split_once('-')?;
    let (start, stop, step) = (number(start)?, number(stop)?, number(step)?);
    (start <= stop && step > 0).then_some((start, stop, step))
}

/// Cuts a side at its dollar signs; `None` where braces hold no number's form. Inside quotes `\"` is
/// a quote of the RDATA itself.
fn pieces(text: &[u8], quoted: bool) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < text.len() {
        match text[at] {
            b'\\' if quoted && text.get(at + 1) == Some(&b'"') => {
                pieces.push(Piece::Text(&text[from..at]));
                from = at + 1;
                at += 2;
            }
            b'\\' => at += 2,
            b'$' if text.get(at + 1) == Some(&b'$') => {
                // A doubled one stands for itself.
                pieces.push(Piece::Text(&text[from..=at]));
                at += 2;
                from = at;
            }
            b'$' => {
                pieces.push(Piece::Text(&text[from..at]));
                at += 1;
                let (piece, length) = match text[at..].strip_prefix(b"{") {
                    Some(rest) => {
                        let end = rest.iter().position(|&octet| octet == b'}')?;
                        (number(&rest[..end])?, end + 2)
                    }
                    None => (Piece::Number { offset: 0, width: 0, base: Base::Decimal }, 0),
                };
                pieces.push(piece);
                at += length;
                from = at;
            }
            _ => at += 1,
        }
    }
    pieces.push(Piece::Text(&text[from.min(text.len())..]));
    Some(pieces)
}

/// `offset[,width[,base]]`.
fn number(text: &[u8]) -> Option<Piece<'static>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split(',');
    let offset = parts.next()?.parse().ok()?;
    let width = parts.next().map_or(Some(0), |width| width.parse().ok()).filter(|&width| width < MADE_MAX)?;
    let base = match parts.next() {
        None | Some("d") => Base::Decimal,
        Some("o") => Base::Octal,
        Some("x") => Base::Hex { upper: false },
        Some("X") => Base::Hex { upper: true },
        Some("n") => Base::Nibbles { upper: false },
        Some("N") => Base::Nibbles { upper: true },
        Some(_) => return None,
    };
    parts.next().is_none().then_some(Piece::Number { offset, width, base })
}

/// Appends one side for one number; `None` if it gets too long.
fn side(pieces: &[Piece<'_>], number: u32, text: &mut Vec<u8>) -> Option<()> {
    let start = text.len();
    for piece in pieces {
        match *piece {
            Piece::Text(piece) => text.extend_from_slice(piece),
            Piece::Number { offset, width, base } => {
                // Like C's printf with an int: it wraps, and hexadecimal shows the two's complement.
                let value = (number as i32).wrapping_add(offset);
                let digits = match base {
                    Base::Decimal => format!("{value:0width$}"),
                    Base::Octal => format!("{value:0width$o}"),
                    Base::Hex { upper: false } => format!("{value:0width$x}"),
                    Base::Hex { upper: true } => format!("{value:0width$X}"),
                    Base::Nibbles { upper } => nibbles(value as u32, width, upper),
                };
                text.extend_from_slice(digits.as_bytes());
            }
        }
        if text.len() - start > MADE_MAX {
            return None;
        }
    }
    Some(())
}

/// Digits from the last to the first, dots between them, at least `width` characters: dots count,
/// and an even width ends in one.
fn nibbles(mut value: u32, mut width: usize, upper: bool) -> String {
    let digits: &[u8; 16] = if upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut text = String::new();
    loop {
        text.push(char::from(digits[(value & 0xf) as usize]));
        value >>= 4;
        width = width.saturating_sub(1);
        if width > 0 || value != 0 {
            text.push('.');
            width = width.saturating_sub(1);
        }
        if width == 0 && value == 0 {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(line: &str) -> Result<String, String> {
        let fields: Vec<Field<'_>> = line
            .split(' ')
            .map(|word| match word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
                Some(inner) => Field { text: inner.as_bytes(), at: 0, quoted: true, glued: false },
                None => Field { text: word.as_bytes(), at: 0, quoted: false, glued: false },
            })
            .collect();
        let generate = Generate::parse(&fields).map_err(|(at, message, _)| format!("{at}: {message}"))?;
        let text = generate.text(1_000).ok_or("too long")?;
        assert_eq!(text.iter().filter(|&&octet| octet == b'\n').count(), generate.count());
        Ok(String::from_utf8(text).unwrap())
    }

    /// As BIND 9.18 prints them.
    #[test]
    fn what_it_makes() {
        for (line, text) in [
            ("1-2 h$ A 192.0.2.$", "h1 A 192.0.2.1\nh2 A 192.0.2.2\n"),
            ("0-255/200 ${0,2,x}.r 7 IN PTR h${1,3,d}", "00.r 7 IN PTR h001\nc8.r 7 IN PTR h201\n"),
            ("16-16 ${0,5,n}.n CNAME a\\$b$$c${-16}", "0.1.0.n CNAME a\\$b$c0\n"),
            ("10-10 w${0,4,N}t A 192.0.2.1", "wA.0.t A 192.0.2.1\n"),
            ("10-10 w${-20,4} A 192.0.2.1", "w-010 A 192.0.2.1\n"),
            (r#"9-9 q TXT "\"a$\"b\$""#, "q TXT \"a9\"b\\$\n"),
            ("10-10 w${-20,4,x} A 192.0.2.1", "wfffffff6 A 192.0.2.1\n"),
            ("1-2147483647/2147483646 $ A 192.0.2.1", "1 A 192.0.2.1\n2147483647 A 192.0.2.1\n"),
        ] {
            assert_eq!(made(line).as_deref(), Ok(text), "{line}");
        }
    }

    #[test]
    fn what_it_does_not_take() {
        for (line, message) in [
            ("3-1 a$ A 192.0.2.1", "0: `3-1` is no range"),
            ("1-2/0 a$ A 192.0.2.1", "0: `1-2/0` is no range"),
            ("1-2147483648 a$ A 192.0.2.1", "0: `1-2147483648` is no range"),
            ("1-2 a$ MX 10 b", "4: nothing more is expected here"),
            ("1-2 a${ A 192.0.2.1", "1: `a${` counts in a way that is not known"),
            ("1-2 a${0,3,z} A 192.0.2.1", "1: `a${0,3,z}` counts in a way that is not known"),
            ("1-2 a$", "2: $GENERATE without a type"),
            ("1-2 a$ A", "3: $GENERATE without RDATA"),
            ("1-2 \"a$\" A 192.0.2.1", "1: the owner stands in quotes"),
            ("1-2 a${0,60000} A 192.0.2.1", "too long"),
        ] {
            assert_eq!(made(line).unwrap_err(), message, "{line}");
        }
    }
}
