//! HTML as text: the one place where anything is escaped.

use std::fmt::{self, Display, Write};

use crate::control::text;

/// A page, or a part of one, that grows.
pub struct Html(String);

impl Html {
    pub fn new() -> Html {
        Html(String::with_capacity(32 * 1024))
    }

    /// Adds markup. Whatever comes from outside must be wrapped in [`Escaped`].
    pub fn add(&mut self, piece: fmt::Arguments<'_>) {
        self.0.write_fmt(piece).expect("a String takes every write");
    }

    pub fn finish(self) -> String {
        self.0
    }
}

/// Text that is nothing but text, in an element as in a quoted attribute.
pub struct Escaped<T>(pub T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Filter(f), "{}", self.0)
    }
}

struct Filter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Filter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                c if c.is_control() => self.0.write_char('\u{fffd}')?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The start of a text, of at most so many characters.
pub fn clip(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}\u{2026}", text[..at].trim_end()),
    }
}

/// A moment as a `<time>` that says how far away it is; the script keeps it true.
pub struct Ago {
    pub unix_ms: i64,
    pub now_unix_ms: i64,
}

impl Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let away_ms = self.now_unix_ms.saturating_sub(self.unix_ms);
        let words = match away_ms {
            0.. => format!("{} ago", text::span(away_ms)),
            _ => format!("in {}", text::span(away_ms.saturating_neg())),
        };
        // "2026-11-22 10:20:00 UTC" is for people, HTML wants "2026-11-22T10:20:00Z".
        let machine = text::utc(self.unix_ms).replacen(' ', "T", 1).replace(" UTC", "Z");
        write!(f, "<time datetime=\"{machine}\">{words}</time>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_escapes_the_escaping() {
        assert_eq!(Escaped("<a href='\"'>&\u{1b}").to_string(), "&lt;a href=&#39;&quot;&#39;&gt;&amp;\u{fffd}");
    }

    #[test]
    fn long_texts_are_clipped_between_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äö üx", 3), "äö\u{2026}");
    }

    #[test]
    fn moments_before_and_after_now() {
        let ago = |unix_ms| Ago { unix_ms, now_unix_ms: 10_000 }.to_string();
        assert_eq!(ago(7_000), "<time datetime=\"1970-01-01T00:00:07Z\">3 s ago</time>");
        assert_eq!(ago(75_000), "<time datetime=\"1970-01-01T00:01:15Z\">in 1 min 5 s</time>");
    }
}
