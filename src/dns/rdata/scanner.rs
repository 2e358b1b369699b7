//! Our fields as input for the RDATA scanners of `domain`.

use std::borrow::Cow;

use domain::base::charstr::CharStr;
use domain::base::name::Name as WireName;
use domain::base::scan::{ConvertSymbols, EntrySymbol, Scanner, ScannerError, Symbol};
use domain::dep::octseq::str::Str;

use super::{Field, STRING_MAX};
use crate::dns::name::{Name, NameError, octet_from_text};

/// Hands the fields of one RDATA to `domain`, relative names completed with the origin.
pub(super) struct FieldScanner<'a> {
    fields: &'a [Field<'a>],
    origin: &'a Name,
    next: usize,
}

impl<'a> FieldScanner<'a> {
    pub(super) fn new(fields: &'a [Field<'a>], origin: &'a Name) -> FieldScanner<'a> {
        FieldScanner { fields, origin, next: 0 }
    }

    /// How many fields have been asked for: one more than there are, where one was missing.
    pub(super) fn position(&self) -> usize {
        self.next
    }

    fn take(&mut self) -> Result<Field<'a>, ScanError> {
        let field = self.fields.get(self.next).copied();
        self.next += 1;
        field.ok_or_else(ScanError::end_of_entry)
    }

    /// The octets of a field, escapes resolved.
    fn unescaped(field: Field<'_>, into: &mut Vec<u8>) -> Result<(), ScanError> {
        let mut at = 0;
        while at < field.text.len() {
            into.push(octet_from_text(field.text, &mut at)?);
        }
        Ok(())
    }

    /// The symbols of a field. Octets that are not printable count as escaped: `domain` speaks
    /// UTF-8, zone files need not.
    fn symbols(field: Field<'_>, mut each: impl FnMut(Symbol) -> Result<(), ScanError>) -> Result<(), ScanError> {
        let mut at = 0;
        while at < field.text.len() {
            let first = field.text[at];
            let octet = octet_from_text(field.text, &mut at)?;
            each(match (first, octet) {
                (b'\\', 0x20..=0x7e) => Symbol::SimpleEscape(octet),
                (b'\\', _) => Symbol::DecimalEscape(octet),
                (_, 0x20..=0x7e) => Symbol::Char(char::from(octet)),
                _ => Symbol::DecimalEscape(octet),
            })?;
        }
        Ok(())
    }

    fn convert<S: From<Symbol>>(
        field: Field<'_>,
        convert: &mut impl ConvertSymbols<S, ScanError>,
        into: &mut Vec<u8>,
    ) -> Result<(), ScanError> {
        Self::symbols(field, |symbol| {
            if let Some(octets) = convert.process_symbol(symbol.into())? {
                into.extend_from_slice(octets);
            }
            Ok(())
        })
    }
}

impl Scanner for FieldScanner<'_> {
    type Octets = Vec<u8>;
    type OctetsBuilder = Vec<u8>;
    type Name = WireName<Vec<u8>>;
    type Error = ScanError;

    fn has_space(&self) -> bool {
        self.fields.get(self.next).is_some_and(|field| !field.glued)
    }

    fn continues(&mut self) -> bool {
        self.next < self.fields.len()
    }

    fn scan_symbols<F>(&mut self, op: F) -> Result<(), ScanError>
    where
        F: FnMut(Symbol) -> Result<(), ScanError>,
    {
        Self::symbols(self.take()?, op)
    }

    fn scan_entry_symbols<F>(&mut self, mut op: F) -> Result<(), ScanError>
    where
        F: FnMut(EntrySymbol) -> Result<(), ScanError>,
    {
        while self.continues() {
            Self::symbols(self.take()?, |symbol| op(symbol.into()))?;
            op(EntrySymbol::EndOfToken)?;
        }
        Ok(())
    }

    fn convert_token<C: ConvertSymbols<Symbol, ScanError>>(&mut self, mut convert: C) -> Result<Vec<u8>, ScanError> {
        let mut octets = Vec::new();
        Self::convert(self.take()?, &mut convert, &mut octets)?;
        if let Some(tail) = convert.process_tail()? {
            octets.extend_from_slice(tail);
        }
        Ok(octets)
    }

    fn convert_entry<C: ConvertSymbols<EntrySymbol, ScanError>>(
        &mut self,
        mut convert: C,
    ) -> Result<Vec<u8>, ScanError> {
        let mut octets = Vec::new();
        while self.continues() {
            Self::convert(self.take()?, &mut convert, &mut octets)?;
        }
        if let Some(tail) = convert.process_tail()? {
            octets.extend_from_slice(tail);
        }
        Ok(octets)
    }

    fn scan_octets(&mut self) -> Result<Vec<u8>, ScanError> {
        let mut octets = Vec::new();
        Self::unescaped(self.take()?, &mut octets)?;
        Ok(octets)
    }

    fn scan_svcb_octets(&mut self) -> Result<Vec<u8>, ScanError> {
        let mut octets = self.scan_octets()?;
        if self.fields.get(self.next).is_some_and(|field| field.quoted && field.glued) {
            Self::unescaped(self.take()?, &mut octets)?;
        }
        Ok(octets)
    }

    fn scan_ascii_str<F, T>(&mut self, op: F) -> Result<T, ScanError>
    where
        F: FnOnce(&str) -> Result<T, ScanError>,
    {
        let octets = self.scan_octets()?;
        match std::str::from_utf8(&octets) {
            Ok(text) if text.is_ascii() => op(text),
            _ => Err(ScanError::custom("only ASCII is allowed here")),
        }
    }

    fn scan_name(&mut self) -> Result<WireName<Vec<u8>>, ScanError> {
        let name = Name::from_text(self.take()?.text, Some(self.origin))?;
        WireName::from_octets(name.wire().to_vec()).map_err(|_| ScanError::custom("not a domain name"))
    }

    fn scan_charstr(&mut self) -> Result<CharStr<Vec<u8>>, ScanError> {
        CharStr::from_octets(self.scan_octets()?)
            .map_err(|_| ScanError::custom("a single text is longer than 255 octets"))
    }

    fn scan_string(&mut self) -> Result<Str<Vec<u8>>, ScanError> {
        Str::from_utf8(self.scan_octets()?).map_err(|_| ScanError::custom("only UTF-8 is allowed here"))
    }

    fn scan_charstr_entry(&mut self) -> Result<Vec<u8>, ScanError> {
        let mut octets = Vec::new();
        while self.continues() {
            let length_at = octets.len();
            octets.push(0);
            Self::unescaped(self.take()?, &mut octets)?;
            let length = octets.len() - length_at - 1;
            if length > STRING_MAX {
                return Err(ScanError::custom("a single text is longer than 255 octets"));
            }
            octets[length_at] = length as u8;
        }
        Ok(octets)
    }

    fn scan_opt_unknown_marker(&mut self) -> Result<bool, ScanError> {
        let marked = self.fields.get(self.next).is_some_and(|field| !field.quoted && field.text == br"\#");
        self.next += usize::from(marked);
        Ok(marked)
    }

    fn octets_builder(&mut self) -> Result<Vec<u8>, ScanError> {
        Ok(Vec::new())
    }
}

/// Why `domain` did not take the fields: its message, or that of our own name and escape reader.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ScanError(Cow<'static, str>);

impl ScanError {
    pub(super) fn message(self) -> Cow<'static, str> {
        self.0
    }
}

impl From<NameError> for ScanError {
    fn from(error: NameError) -> ScanError {
        ScanError(error.to_string().into())
    }
}

impl ScannerError for ScanError {
    fn custom(message: &'static str) -> ScanError {
        ScanError(match message {
            "unknown record type with concrete data" => {
                r"this type's text format is not known; write the RDATA as `\# LENGTH HEX` (RFC 3597)".into()
            }
            other => other.into(),
        })
    }

    fn end_of_entry() -> ScanError {
        ScanError("more fields are expected".into())
    }

    fn short_buf() -> ScanError {
        ScanError("more fields are expected".into())
    }

    fn trailing_tokens() -> ScanError {
        ScanError("nothing more is expected here".into())
    }
}
