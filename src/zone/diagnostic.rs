//! What is wrong with a zone file, where, and what to do about it.

use std::fmt;
use std::ops::Range;

/// How many errors, and how many warnings, are kept of one file; the rest is only counted.
pub const DIAGNOSTICS_MAX: usize = 100;
/// Stands for whatever could move the cursor, or end the one line of a message.
const SIGN: &str = "\u{fffd}";
/// How much of a long line is shown around the place, in characters.
const EXCERPT_MAX: usize = 160;
/// Longest message, and longest hint, in characters: words of a file, or of a configuration, may be in them.
const TEXT_MAX: usize = 400;

/// One thing to say about a place in a zone file. `Display` is one line,
/// `file:line:col: error: message; hint`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The offending line, or the part of it around the place.
    pub excerpt: Excerpt,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The zone is not taken.
    Error,
    /// The zone is taken; somebody should look.
    Warning,
}

/// A line of the file with the part that is meant, counted in characters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Excerpt {
    pub text: String,
    pub underline: Range<usize>,
}

impl Diagnostic {
    /// Builds a diagnostic for a span of bytes. The span may be empty and may lie at the end.
    pub fn new(severity: Severity, file: &str, bytes: &[u8], span: Range<usize>, message: impl Into<String>) -> Self {
        let place = Place::of(bytes, span);
        Diagnostic {
            severity,
            file: file.replace(char::is_control, SIGN),
            line: place.line,
            column: place.column,
            message: told(message.into()),
            hint: None,
            excerpt: place.excerpt,
        }
    }

    /// The same with a hint; an empty one is none.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(told(hint.into())).filter(|hint| !hint.is_empty());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Several lines for people: the message, the offending line with the place underlined, the hint.
    pub fn rendered(&self) -> String {
        use fmt::Write;
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let Excerpt { text, underline } = &self.excerpt;
        // Tabs stay tabs, so that the marks stand under what they mean.
        let pad: String = text.chars().take(underline.start).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let marks = "^".repeat(underline.len().max(1));
        let mut out = format!("{}:{}:{}: {}: {}\n", self.file, self.line, self.column, self.severity, self.message);
        let _ = writeln!(out, "{margin} |\n{number} | {text}\n{margin} | {pad}{marks}");
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "{margin} = {hint}");
        }
        out
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}: {}", self.file, self.line, self.column, self.severity, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One line of a bounded length.
fn told(text: String) -> String {
    let mut text = text.replace(char::is_control, SIGN);
    if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// Where a span of bytes lies for people.
struct Place {
    line: u32,
    column: u32,
    excerpt: Excerpt,
}

impl Place {
    fn of(bytes: &[u8], span: Range<usize>) -> Place {
        let start = span.start.min(bytes.len());
        let newlines = bytes[..start].iter().filter(|&&octet| octet == b'\n').count();
        let line_start = bytes[..start].iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
        let line_end = bytes[start..].iter().position(|&octet| octet == b'\n').map_or(bytes.len(), |at| start + at);
        let end = span.end.clamp(start, line_end);
        let column = characters(&bytes[line_start..start]);
        let within = shown(head(&bytes[start..end]));
        let behind = shown(head(&bytes[end..line_end]));
        let before = shown(tail(&bytes[line_start..start]));
        // A long line is cut on both sides, so that the place stays in the picture.
        let (marked, length) = (before.chars().count(), within.chars().count());
        let from = if marked + length > EXCERPT_MAX { marked.saturating_sub(EXCERPT_MAX / 4) } else { 0 };
        let marked = marked - from;
        let length = length.min(EXCERPT_MAX - marked.min(EXCERPT_MAX));
        let text: String =
            before.chars().chain(within.chars()).chain(behind.chars()).skip(from).take(EXCERPT_MAX).collect();
        Place {
            line: u32::try_from(newlines + 1).unwrap_or(u32::MAX),
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
            excerpt: Excerpt { text: text.trim_end().to_owned(), underline: marked..marked + length },
        }
    }
}

/// The characters of UTF-8 text: the octets that do not continue one.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&octet| octet & 0xc0 != 0x80).count()
}

/// As much of the start as an excerpt can show; characters have up to four octets.
fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(4 * EXCERPT_MAX)]
}

/// As much of the end as an excerpt can show.
fn tail(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(4 * EXCERPT_MAX)..]
}

/// Text of a file for a terminal: whatever could move the cursor becomes a visible sign.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// The diagnostics of one file, as many as are worth reading.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
}

impl Diagnostics {
    /// Notes one; `build` is only called while there is room.
    pub fn push(&mut self, severity: Severity, build: impl FnOnce() -> Diagnostic) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count += 1;
        if *count <= DIAGNOSTICS_MAX {
            self.list.push(build());
        }
    }

    pub fn errors(&self) -> usize {
        self.errors
    }

    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Those that were kept, file by file in the order of their lines, and one that counts the rest.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        let mut files: Vec<String> = Vec::new();
        for diagnostic in &self.list {
            if !files.contains(&diagnostic.file) {
                files.push(diagnostic.file.clone());
            }
        }
        let file = |diagnostic: &Diagnostic| files.iter().position(|file| *file == diagnostic.file);
        self.list.sort_by_key(|diagnostic| (file(diagnostic), diagnostic.line, diagnostic.column));
        let dropped = (self.errors + self.warnings).saturating_sub(self.list.len());
        if let Some(last) = self.list.last().filter(|_| dropped > 0) {
            let severity = if self.errors > DIAGNOSTICS_MAX { Severity::Error } else { Severity::Warning };
            let message = format!("{dropped} more errors and warnings are not shown");
            self.list.push(Diagnostic { severity, message, hint: None, ..last.clone() });
        }
        self.list
    }

    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, span: Range<usize>) -> Diagnostic {
        Diagnostic::new(Severity::Error, "f.zone", text.as_bytes(), span, "no")
    }

    #[test]
    fn one_line() {
        let diagnostic = at("a\nwww A 1.2.3\n", 8..13).hint("write four numbers");
        assert_eq!(diagnostic.to_string(), "f.zone:2:7: error: no; write four numbers");
    }

    #[test]
    fn the_place_is_underlined() {
        let diagnostic = at("a\n\twww\tA 1.2.3 ; x\n", 9..14).hint("four");
        let expected = "f.zone:2:8: error: no\n  |\n2 | \twww\tA 1.2.3 ; x\n  | \t   \t  ^^^^^\n  = four\n";
        assert_eq!(diagnostic.rendered(), expected);
    }

    #[test]
    fn one_line_whatever_the_names() {
        let odd = Diagnostic::new(Severity::Error, "a\nb", b"", 0..0, "x\ry\x1b").hint("z\n");
        assert_eq!(odd.to_string(), "a\u{fffd}b:1:1: error: x\u{fffd}y\u{fffd}; z\u{fffd}");
    }

    #[test]
    fn however_long_the_words_a_line_is_short() {
        let long = "\u{fc}".repeat(1 << 20);
        let told = Diagnostic::new(Severity::Error, "f", b"", 0..0, long.clone()).hint(long).to_string();
        assert!(told.chars().count() < 2 * TEXT_MAX + 40, "{}", told.len());
    }

    #[test]
    fn odd_places() {
        assert_eq!(at("", 0..0).to_string(), "f.zone:1:1: error: no");
        assert_eq!(at("ab", 9..12).column, 3);
        assert_eq!(at("\u{fc}b", 2..3).column, 2, "characters, not bytes");
        assert_eq!(at("a(\nb\nc", 1..6).excerpt, Excerpt { text: "a(".to_owned(), underline: 1..2 });
        assert!(at("\x1b[31m", 0..1).rendered().contains('\u{fffd}'));
        let long = "x".repeat(10_000);
        let excerpt = at(&long, 5_000..5_003).excerpt;
        assert_eq!((excerpt.text.len(), excerpt.underline), (EXCERPT_MAX, 40..43));
        assert_eq!(at(&long, 0..10_000).excerpt.underline, 0..EXCERPT_MAX);
    }
}
