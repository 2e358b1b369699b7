//! Values that are written as text: durations, addresses, names of choices.

use std::net::SocketAddr;

use jiff::{Span, SpanRelativeTo};

use super::problem::did_you_mean;

/// Longest duration that a setting may have: a year.
const DURATION_MAX_MS: u64 = 366 * 24 * 3600 * 1000;

/// Reads "500ms", "10s", "5m", "2h", "1d" or a sum of them ("1h 30m"), in milliseconds, above zero.
/// The error says what to write.
pub fn duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no duration: write for example \"500ms\", \"10s\", \"5m\", \"2h\" or \"1d\"");
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    let milliseconds = u64::try_from(duration.as_millis()).map_err(|_| wrong())?;
    if milliseconds == 0 {
        return Err(format!("`{text}` is too short: write at least \"1ms\""));
    }
    if milliseconds > DURATION_MAX_MS {
        return Err(format!("`{text}` is too long: a year is the most"));
    }
    Ok(milliseconds)
}

/// Reads `ADDRESS:PORT`, or an address alone where there is a usual port.
pub fn socket_addr(text: &str, usual_port: Option<u16>) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let (Some(port), Ok(ip)) = (usual_port, text.trim_matches(['[', ']']).parse()) {
        return Ok(SocketAddr::new(ip, port));
    }
    Err(format!("`{text}` is no ADDRESS:PORT: write for example \"127.0.0.1:53\" or \"[::1]:53\""))
}

/// Finds a word among those that are allowed; the error lists them.
pub fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let list = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let near =
        did_you_mean(text, words.iter().map(|(word, _)| *word)).map_or(String::new(), |near| format!("; {near}"));
    Err(format!("`{text}` is none of {list}{near}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration_ms(text), Ok(milliseconds), "{text}");
        }
        for text in ["", "10", "ten", "-5s", "0s", "400d", "1mo", "99999999999999999999s"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(socket_addr("127.0.0.1:53", None), Ok("127.0.0.1:53".parse().unwrap()));
        assert_eq!(socket_addr("127.0.0.1", Some(53)), Ok("127.0.0.1:53".parse().unwrap()));
        assert_eq!(socket_addr("::1", Some(53)), Ok("[::1]:53".parse().unwrap()));
        assert_eq!(socket_addr("[::1]:5353", Some(53)), Ok("[::1]:5353".parse().unwrap()));
        assert!(socket_addr("localhost:53", Some(53)).is_err());
        assert!(socket_addr("127.0.0.1", None).is_err());
    }

    #[test]
    fn choices_suggest() {
        let words = [("overlay", 1), ("zone", 2)];
        assert_eq!(choice("zone", &words), Ok(2));
        assert!(choice("overly", &words).unwrap_err().contains("did you mean `overlay`?"));
    }
}
