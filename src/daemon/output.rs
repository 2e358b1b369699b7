//! What a verb prints: text, with colours on a terminal, or JSON.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// Writes to stdout. A reader that goes away (`| head`) is no failure.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Text for people: lines that begin with `!` in red, those that name a pool bold. Colour only adds
/// to what is there.
pub fn text(text: &str) -> Result<(), Failure> {
    match colours(&io::stdout()) {
        true => bytes(painted(text).as_bytes()),
        false => bytes(text.as_bytes()),
    }
}

/// One JSON value, indented, with a final line break.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))?;
    bytes((text + "\n").as_bytes())
}

/// Whether a stream shows colours: a terminal, unless `NO_COLOR` is set (no-color.org) or the
/// terminal is a dumb one.
pub fn colours(stream: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb
}

fn painted(text: &str) -> String {
    let paint = |line: &str| {
        let colour = match line {
            line if line.starts_with('!') => RED,
            line if line.starts_with("pool ") => BOLD,
            _ => return line.to_owned(),
        };
        match line.strip_suffix('\n') {
            Some(line) => format!("{colour}{line}{RESET}\n"),
            None => format!("{colour}{line}{RESET}"),
        }
    };
    text.split_inclusive('\n').map(paint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_adds_and_takes_nothing_away() {
        let text = "pool web\n  primary a\n! node a down";
        assert_eq!(painted(text), "\x1b[1mpool web\x1b[0m\n  primary a\n\x1b[31m! node a down\x1b[0m");
        assert_eq!(painted(""), "");
    }
}
