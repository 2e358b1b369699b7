//! Bytes of a master file to entries and fields (RFC 1035 section 5.1): blanks, newlines, quotes,
//! escapes, parentheses and comments, and no meaning yet.

use std::ops::Range;

use crate::dns::rdata::Field;

/// Most fields of one entry. RDATA has at most 65,535 octets and a text in it takes at least one.
pub const FIELDS_MAX: usize = 65_552;

/// Cuts a text into entries. An entry ends at a newline outside parentheses and quotes.
pub(super) struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    grouped: Vec<Range<usize>>,
}

/// The outline of one entry; its fields are in the list that was handed in.
#[derive(Debug)]
pub(super) struct Outline {
    pub start: usize,
    /// A blank stands in the first column: the owner is inherited.
    pub indented: bool,
    /// Behind the last field or the closing parenthesis.
    pub end: usize,
    /// The comment at the end of the entry's last line, from its semicolon.
    pub comment: Option<Range<usize>>,
    pub fault: Option<(Fault, Range<usize>)>,
}

/// What can be wrong with an entry before its fields mean anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the parenthesis that opens here is never closed")]
    OpenParenthesis,
    #[error("closing parenthesis without an opening one")]
    StrayParenthesis,
    #[error("parenthesis inside parentheses")]
    NestedParenthesis,
    #[error("the quote that opens here is never closed")]
    OpenQuote,
    #[error("carriage return in the middle of a line")]
    LoneCarriageReturn,
    #[error("record with more than 65,552 fields")]
    TooManyFields,
}

impl Fault {
    pub(super) fn hint(self) -> &'static str {
        match self {
            Fault::OpenParenthesis => "close it behind the record's last field",
            Fault::StrayParenthesis => "remove it, or open it where the record starts to span lines",
            Fault::NestedParenthesis => "nsd takes one pair for a record",
            Fault::OpenQuote => "close it, or write \\\" for a quote in a text",
            Fault::LoneCarriageReturn => "end lines with LF or CRLF",
            Fault::TooManyFields => "RDATA has at most 65,535 octets",
        }
    }
}

impl<'a> Lexer<'a> {
    pub(super) fn new(bytes: &'a [u8], range: Range<usize>) -> Lexer<'a> {
        Lexer { bytes, at: range.start, end: range.end, grouped: Vec::new() }
    }

    /// The comments inside the parentheses of the last entry.
    pub(super) fn grouped(&self) -> &[Range<usize>] {
        &self.grouped
    }

    /// The next entry, blank and comment lines too; `None` at the end. Its fields replace those in
    /// `fields`.
    #[inline]
    pub(super) fn entry(&mut self, fields: &mut Vec<Field<'a>>) -> Option<Outline> {
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        let indented = matches!(self.bytes[start], b' ' | b'\t');
        let mut outline = Outline { start, indented, end: start, comment: None, fault: None };
        self.run(&mut outline, fields, false);
        Some(outline)
    }

    /// The fields of a span inside one entry; newlines there are inside its parentheses.
    pub(super) fn fields_within(bytes: &'a [u8], span: Range<usize>, fields: &mut Vec<Field<'a>>) {
        let mut outline = Outline { start: span.start, indented: false, end: span.start, comment: None, fault: None };
        Lexer::new(bytes, span).run(&mut outline, fields, true);
    }

    fn run(&mut self, outline: &mut Outline, fields: &mut Vec<Field<'a>>, within: bool) {
        fields.clear();
        self.grouped.clear();
        let bytes = &self.bytes[..self.end];
        let mut fault = None;
        let mut open: Option<usize> = None;
        let mut glued = false;
        let mut at = self.at;
        while at < bytes.len() {
            let start = at;
            match CLASSES[usize::from(bytes[at])] {
                Octet::Word => {
                    at = word_end(bytes, at);
                    fields.push(Field { text: &bytes[start..at], at: start, quoted: false, glued });
                    outline.end = at;
                    glued = true;
                    if fields.len() > FIELDS_MAX {
                        fields.pop();
                        fault.get_or_insert((Fault::TooManyFields, start..at));
                    }
                    continue;
                }
                Octet::Quote => {
                    let (text, closed) = quote_end(bytes, at + 1);
                    fields.push(Field { text: &bytes[start + 1..text], at: start + 1, quoted: true, glued });
                    if closed {
                        at = text + 1;
                    } else {
                        at = bytes.len();
                        fault.get_or_insert((Fault::OpenQuote, start..start + 1));
                    }
                    outline.end = at;
                    glued = true;
                    if fields.len() > FIELDS_MAX {
                        fields.pop();
                        fault.get_or_insert((Fault::TooManyFields, start..at));
                    }
                    continue;
                }
                Octet::Blank => at += 1,
                Octet::Return => {
                    at += 1;
                    if bytes.get(at).is_some_and(|&next| next != b'\n') {
                        fault.get_or_insert((Fault::LoneCarriageReturn, start..at));
                    }
                }
                Octet::Newline => {
                    at += 1;
                    if open.is_none() && !within {
                        break;
                    }
                }
                Octet::Semicolon => {
                    let comment = comment_end(bytes, at);
                    at = comment.line_end;
                    if let Some(lone) = comment.lone_return {
                        fault.get_or_insert((Fault::LoneCarriageReturn, lone..lone + 1));
                    }
                    match open {
                        None => outline.comment = Some(start..comment.text_end),
                        Some(_) => self.grouped.push(start..comment.text_end),
                    }
                }
                Octet::Open => {
                    at += 1;
                    outline.end = at;
                    if open.replace(start).is_some() {
                        fault.get_or_insert((Fault::NestedParenthesis, start..at));
                    }
                }
                Octet::Close => {
                    at += 1;
                    outline.end = at;
                    if open.take().is_none() && !within {
                        fault.get_or_insert((Fault::StrayParenthesis, start..at));
                    }
                }
            }
            glued = false;
        }
        if let Some(start) = open {
            fault.get_or_insert((Fault::OpenParenthesis, start..start + 1));
        }
        self.at = at;
        outline.fault = fault;
    }
}

/// What an octet outside quotes and comments is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Octet {
    Word,
    Blank,
    Newline,
    Return,
    Semicolon,
    Open,
    Close,
    Quote,
}

static CLASSES: [Octet; 256] = {
    let mut classes = [Octet::Word; 256];
    classes[b' ' as usize] = Octet::Blank;
    classes[b'\t' as usize] = Octet::Blank;
    classes[b'\n' as usize] = Octet::Newline;
    classes[b'\r' as usize] = Octet::Return;
    classes[b';' as usize] = Octet::Semicolon;
    classes[b'(' as usize] = Octet::Open;
    classes[b')' as usize] = Octet::Close;
    classes[b'"' as usize] = Octet::Quote;
    classes
};

/// Behind the word that starts at `at`. A backslash takes the next octet with it, whatever it is.
#[inline]
fn word_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&octet) = bytes.get(at) {
        if CLASSES[usize::from(octet)] != Octet::Word {
            break;
        }
        at += if octet == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// The closing quote for a text that starts at `at`, and whether there is one. Newlines belong to
/// the text, as in nsd.
fn quote_end(bytes: &[u8], mut at: usize) -> (usize, bool) {
    while let Some(&octet) = bytes.get(at) {
        match octet {
            b'"' => return (at, true),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (bytes.len(), false)
}

struct CommentEnd {
    /// Behind the comment's text, the CR of a CRLF left out.
    text_end: usize,
    /// At the newline, or the end.
    line_end: usize,
    /// A carriage return elsewhere: some versions of nsd end the line there.
    lone_return: Option<usize>,
}

#[inline]
fn comment_end(bytes: &[u8], start: usize) -> CommentEnd {
    let line_end = bytes[start..].iter().position(|&octet| octet == b'\n').map_or(bytes.len(), |at| start + at);
    let text_end = if bytes[start..line_end].ends_with(b"\r") { line_end - 1 } else { line_end };
    let lone_return = bytes[start..text_end].iter().position(|&octet| octet == b'\r').map(|at| start + at);
    CommentEnd { text_end, line_end, lone_return }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as "indented|field|field...;comment!fault".
    fn cut(text: &str) -> Vec<String> {
        let bytes = text.as_bytes();
        let mut lexer = Lexer::new(bytes, 0..bytes.len());
        let mut fields = Vec::new();
        let mut entries = Vec::new();
        while let Some(outline) = lexer.entry(&mut fields) {
            let mut shown = String::from(if outline.indented { ">" } else { "" });
            for field in &fields {
                let text = String::from_utf8_lossy(field.text);
                let glue = if field.glued { "+" } else { "|" };
                shown += &if field.quoted { format!("{glue}\"{text}\"") } else { format!("{glue}{text}") };
            }
            if let Some(comment) = outline.comment {
                shown += &text[comment];
            }
            if let Some((fault, span)) = outline.fault {
                shown += &format!("!{fault:?}@{}", span.start);
            }
            entries.push(shown);
        }
        entries
    }

    #[test]
    fn entries_and_fields() {
        for (text, entries) in [
            ("", vec![]),
            ("a b", vec!["|a|b"]),
            ("a b\n", vec!["|a|b"]),
            ("\ta\r\n\r\nb;c\r\n", vec![">|a", "", "|b;c"]),
            ("; only\n  ; too\n", vec!["; only", ">; too"]),
            ("a ( b ; in\n c ) d ; out\n", vec!["|a|b|c|d; out"]),
            ("a ( b\n ) ; out", vec!["|a|b; out"]),
            ("a \"b ; ( c\" d", vec!["|a|\"b ; ( c\"|d"]),
            ("a \"b\nc\" d", vec!["|a|\"b\nc\"|d"]),
            ("a \"b\\\"c\"", vec!["|a|\"b\\\"c\""]),
            ("a\\;b c\\ d", vec!["|a\\;b|c\\ d"]),
            ("a k=\"v\"x", vec!["|a|k=+\"v\"+x"]),
            ("a\\\nb", vec!["|a\\\nb"]),
            ("a\\", vec!["|a\\"]),
        ] {
            assert_eq!(cut(text), entries, "{text:?}");
        }
    }

    #[test]
    fn faults() {
        for (text, fault) in [
            ("a ( b\nc\n", "!OpenParenthesis@2"),
            ("a ) b", "!StrayParenthesis@2"),
            ("a ( b ( c ) d", "!NestedParenthesis@6"),
            ("a \"b\nc", "!OpenQuote@2"),
            ("a \"b\\", "!OpenQuote@2"),
            ("a \r b", "!LoneCarriageReturn@2"),
            ("a ; x\ry\n", "!LoneCarriageReturn@5"),
        ] {
            assert!(cut(text)[0].ends_with(fault), "{text:?}: {:?}", cut(text));
        }
        assert_eq!(cut("a ) b\nc d")[1], "|c|d", "the next line is not touched");
        assert!(cut(&"x ".repeat(FIELDS_MAX + 5))[0].contains("TooManyFields"));
    }
}
