//! Text in a given width: what does not fit goes on in the next line, indented.

/// Words of a text, in lines of at most `width` characters; all but the first begin with `indent`.
/// A word that is longer than a line is cut into pieces.
pub fn wrapped(text: &str, indent: &str, width: usize) -> Vec<String> {
    pieces(text.split(' ').map(str::to_owned), " ", indent, width)
}

/// The same for pieces: each stays in one line if a line can hold it.
pub fn pieces(pieces: impl IntoIterator<Item = String>, between: &str, indent: &str, width: usize) -> Vec<String> {
    let indent_width = indent.chars().count();
    // Narrower than this nothing can be read, and nothing may loop.
    let width = width.max(indent_width + 8);
    let mut flow = Flow { lines: vec![String::new()], used: 0, is_empty: true, indent, indent_width, width };
    for piece in pieces {
        if piece.chars().count() + indent_width <= width {
            flow.put(between, &piece);
            continue;
        }
        let mut gap = between;
        for word in piece.split(' ') {
            flow.put(gap, word);
            gap = " ";
        }
    }
    flow.lines
}

struct Flow<'a> {
    /// Never empty.
    lines: Vec<String>,
    /// Characters in the last line.
    used: usize,
    /// Whether there is nothing in the last line but the indent.
    is_empty: bool,
    indent: &'a str,
    indent_width: usize,
    width: usize,
}

impl Flow<'_> {
    fn put(&mut self, gap: &str, piece: &str) {
        let (gap_width, length) = (gap.chars().count(), piece.chars().count());
        if !self.is_empty && self.used + gap_width + length > self.width {
            self.next_line();
        } else if !self.is_empty {
            self.push(gap, gap_width);
        }
        let mut rest = piece;
        while self.used + rest.chars().count() > self.width {
            let room = self.width - self.used;
            let (start, end) = rest.split_at(rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at));
            self.push(start, room);
            self.next_line();
            rest = end;
        }
        self.push(rest, rest.chars().count());
        self.is_empty = false;
    }

    fn push(&mut self, text: &str, length: usize) {
        self.lines.last_mut().expect("there is always one").push_str(text);
        self.used += length;
    }

    fn next_line(&mut self) {
        self.lines.push(self.indent.to_owned());
        self.used = self.indent_width;
        self.is_empty = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_on_in_the_next_line() {
        assert_eq!(wrapped("one two three four", "  ", 10), ["one two", "  three", "  four"]);
        assert_eq!(wrapped("", "  ", 10), [""]);
        assert_eq!(wrapped("abcdefghijklmnop", "  ", 10), ["abcdefghij", "  klmnop"]);
        assert_eq!(wrapped("äöüäöüäöüäöü x", "", 10), ["äöüäöüäöüä", "öü x"]);
    }

    #[test]
    fn no_width_is_too_small() {
        for width in 0..12 {
            let lines = wrapped("a bb ccc abcdefghijklmnopqrstuvwxyz", "    ", width);
            assert!(lines.iter().all(|line| line.chars().count() <= width.max(12)), "{width}: {lines:?}");
            assert_eq!(lines.concat().replace(' ', ""), "abbcccabcdefghijklmnopqrstuvwxyz");
        }
    }
}
