//! Words for people: log lines, answers, alarms, times. What comes from outside (a probe saw
//! it, a file said it) cannot move the cursor: control characters are replaced.

use crate::director::alarm::{Alarm, Severity};
use crate::director::effect::Transition;
use crate::director::event::{Action, ExportReport, Order};
use crate::director::status::{CheckStatus, OverrideStatus, PoolFamilyStatus, PoolStatus, Status};

use super::api::Answer;
use super::log::{Entry, result_word};

/// One line for one entry of the log, with its time.
pub fn log_line(entry: &Entry) -> String {
    format!("{}  {}", utc(entry.unix_ms()), entry_words(entry))
}

/// One line for one entry of the log, for where its time stands already.
pub fn entry_words(entry: &Entry) -> String {
    match entry {
        Entry::Transition(transition) => transition_line(transition),
        Entry::Export(report) => export_line(report),
        Entry::Note { text, .. } => clean(text),
    }
}

/// An order in words: `switch web blowfish for 2 h 0 min (kernel update)`.
pub fn order_words(order: &Order) -> String {
    let mut words = match &order.action {
        Action::Switch { pool, node } => format!("switch {pool} {node}"),
        Action::Hold { pool } => format!("hold {pool}"),
        Action::Release { pool } => format!("release {pool}"),
        Action::Drain { node } => format!("drain {node}"),
        Action::Ready { node } => format!("ready {node}"),
    };
    if let Some(for_s) = order.for_s {
        let ms = i64::try_from(for_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
        words.push_str(&format!(" for {}", span(ms)));
    }
    if let Some(reason) = &order.reason {
        words.push_str(&format!(" ({reason})"));
    }
    clean(&words)
}

/// A transition in one line: what moved, and why.
pub fn transition_line(transition: &Transition) -> String {
    let words = transition_words(transition, &format!("{}, generation {}", transition.rule, transition.generation));
    if transition.shadow { format!("shadow: {words}") } else { words }
}

/// One that was not made: it has no generation.
pub fn unmade_transition_line(transition: &Transition) -> String {
    transition_words(transition, &transition.rule)
}

fn transition_words(transition: &Transition, led: &str) -> String {
    let families: Vec<&str> = transition.families.iter().map(|family| family.as_str()).collect();
    if families.is_empty() {
        return clean(&format!("{}: {} [{led}]", transition.pool, transition.reason));
    }
    clean(&format!(
        "{} {}: {} -> {}: {} [{led}]",
        transition.pool,
        families.join("+"),
        transition.from.as_deref().unwrap_or("nobody"),
        transition.to.as_deref().unwrap_or("nobody"),
        transition.reason,
    ))
}

/// An export in one line.
pub fn export_line(report: &ExportReport) -> String {
    let word = result_word(report.result);
    clean(&format!("{} export {word}: {} [{} ms]", report.zone, report.detail, report.duration_ms))
}

/// What became of an order, line by line.
pub fn answer(answer: &Answer) -> String {
    let exports = answer.exports.iter().map(export_line);
    let lines = std::iter::once(answer.message.clone()).chain(answer.details.iter().cloned()).chain(exports);
    lines.map(|line| clean(&line) + "\n").collect()
}

/// A moment, as `2026-11-22 10:20:00 UTC`.
pub fn utc(unix_ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(unix_ms) {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{unix_ms} ms"),
    }
}

/// A length of time in its two largest units: `3 s`, `2 min 10 s`, `4 h 5 min`, `9 d 3 h`.
pub fn span(ms: i64) -> String {
    let s = ms.max(0) / 1_000;
    let (d, h, min) = (s / 86_400, s / 3_600 % 24, s / 60 % 60);
    match (d, h, min) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{min} min {} s", s % 60),
        (0, _, _) => format!("{h} h {min} min"),
        _ => format!("{d} d {h} h"),
    }
}

/// "1 pool", "2 pools".
pub fn count_of(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Text without anything that a terminal would obey, in one line; a tab is a blank.
pub fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// `since 2026-... (3 s ago)`.
pub fn since(unix_ms: i64, now_unix_ms: i64) -> String {
    format!("since {} ({} ago)", utc(unix_ms), span(now_unix_ms.saturating_sub(unix_ms)))
}

/// An override's end and reason.
pub fn override_words(held: &OverrideStatus) -> String {
    let mut words = match held.until_unix_ms {
        Some(until) => format!("until {}", utc(until)),
        None => "until released".to_owned(),
    };
    if let Some(reason) = &held.reason {
        words.push_str(": ");
        words.push_str(reason);
    }
    words
}

/// Who holds a role, over which families: one entry if all agree.
pub fn holders(pool: &PoolStatus) -> Vec<(String, String)> {
    let of = |holder: &Option<String>| holder.clone().unwrap_or_else(|| "nobody".to_owned());
    let (Some(first), rest) = (pool.families.first(), pool.families.get(1..).unwrap_or_default()) else {
        return Vec::new();
    };
    let agree = rest.iter().all(|family| (&family.primary, &family.standby) == (&first.primary, &first.standby));
    if agree {
        return vec![("primary".to_owned(), of(&first.primary)), ("standby".to_owned(), of(&first.standby))];
    }
    let each = |family: &PoolFamilyStatus| {
        [
            (format!("primary {}", family.family), of(&family.primary)),
            (format!("standby {}", family.family), of(&family.standby)),
        ]
    };
    pool.families.iter().flat_map(each).collect()
}

/// `2/3 to down`, or nothing.
pub fn progress(check: &CheckStatus) -> String {
    if check.against == 0 {
        return String::new();
    }
    let other = if check.verdict == "down" { "up" } else { "down" };
    format!("{}/{} to {other}", check.against, check.needed)
}

/// An alarm in one line, without its severity.
pub fn alarm_words(alarm: &Alarm) -> String {
    let colon = if alarm.subject.is_empty() { "" } else { ": " };
    format!("{}{colon}{}", alarm.subject, alarm.text)
}

/// How it is all in all: "All is well", "1 critical, 2 warnings".
pub fn tally(alarms: &[Alarm]) -> String {
    let count = |severity| alarms.iter().filter(|alarm| alarm.severity == severity).count();
    match (count(Severity::Critical), count(Severity::Warning)) {
        (0, 0) => "All is well".to_owned(),
        (0, warnings) => count_of(warnings, "warning"),
        (critical, 0) => format!("{critical} critical"),
        (critical, warnings) => format!("{critical} critical, {}", count_of(warnings, "warning")),
    }
}

/// What a status is about: "1 pool, 2 nodes, 1 zone".
pub fn counted(status: &Status) -> String {
    let (pools, nodes, zones) = (status.pools.len(), status.nodes.len(), status.zones.len());
    [count_of(pools, "pool"), count_of(nodes, "node"), count_of(zones, "zone")].join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units() {
        for (s, text) in [(0, "0 s"), (-5, "0 s"), (59, "59 s"), (130, "2 min 10 s"), (14_700, "4 h 5 min")] {
            assert_eq!(span(s * 1_000), text);
        }
        assert_eq!(span(9 * 86_400_000 + 3 * 3_600_000), "9 d 3 h");
    }

    #[test]
    fn moments_beyond_the_calendar_are_shown_all_the_same() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(i64::MAX), format!("{} ms", i64::MAX));
    }

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        let line = log_line(&Entry::Note { unix_ms: 0, text: "a\u{1b}[2Jb\r\nc".into() });
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
