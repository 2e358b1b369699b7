//! Incidents as text for people and as JSON for services. Pure.

use std::fmt::Write;

use serde_json::{Value, json};

use super::incident::{Change, Incident, Move, Severity, rfc3339};

/// How a webhook wants it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Template {
    /// The whole record as JSON.
    Generic,
    /// A message for ntfy's JSON endpoint.
    Ntfy,
    /// A message for Slack, and for what understands Slack's webhooks (Mattermost, Discord's /slack).
    Slack,
}

/// Longest message that ntfy shows as text rather than as a file (4,096 octets), with room to spare.
const NTFY_MAX: usize = 3_500;
/// Longest message that Slack does not cut by itself, in characters.
const SLACK_MAX: usize = 3_000;
/// Longest subject, in characters: mail programs show less anyway.
const SUBJECT_MAX: usize = 200;

/// One line: how bad, where, what.
pub fn subject(incident: &Incident) -> String {
    let line = format!("[{}] {}: {}", incident.host, incident.severity.as_str(), incident.summary);
    one_line(&clip(&line, SUBJECT_MAX))
}

/// Everything for people, as plain text. What came from outside cannot make lines of its own.
pub fn text(incident: &Incident) -> String {
    let mut text = Text(String::new());
    text.line("", &incident.summary);
    text.0.push('\n');
    let generation = incident.generation.map(|generation| format!(", generation {generation}")).unwrap_or_default();
    text.line("When", &format!("{}{generation}, seen by {}", incident.time, incident.host));
    for told in &incident.moves {
        text.moved(told, incident.moves.len() > 1);
    }
    if incident.moves_left_out > 0 {
        text.line("", &format!("and {} more", incident.moves_left_out));
    }
    for report in &incident.exports {
        let took = report.duration_ms;
        text.line("Export", &format!("{} serial {}: {} [{took} ms]", report.zone, report.serial, report.detail));
    }
    for zone in &incident.exports_pending {
        text.line("Export", &format!("{zone} had not ended when this was sent"));
    }
    for (index, zone) in incident.zones.iter().enumerate() {
        match incident.reasons.get(index) {
            Some(reason) => text.line("Zone", &format!("{zone}: {reason}")),
            None => text.line("Zone", zone),
        }
    }
    if incident.zones_left_out > 0 {
        text.line("", &format!("and {} more", incident.zones_left_out));
    }
    if let Some(certificate) = &incident.certificate {
        text.line("Expires", &certificate.expires);
    }
    match incident.caches_until_unix_ms {
        Some(unix_ms) => text.line("Caches", &format!("may hold an old answer until {}", rfc3339(unix_ms))),
        None if incident.moves.iter().any(|told| !told.families.is_empty() && told.names > 0) => {
            text.line("Caches", "go on receiving the old answer: nsd does not have the new one yet");
        }
        None => {}
    }
    text.line("Version", &incident.version);
    text.0
}

/// The body of a webhook. `topic` is for ntfy.
pub fn body(template: Template, incident: &Incident, topic: &str) -> Value {
    match template {
        Template::Generic => serde_json::to_value(incident).expect("an incident is plain data"),
        Template::Ntfy => {
            let (priority, tag) = match incident.severity {
                Severity::Good => (3, "white_check_mark"),
                Severity::Notice => (2, "information_source"),
                Severity::Warning => (4, "warning"),
                Severity::Critical => (5, "rotating_light"),
            };
            json!({
                "topic": topic,
                "title": subject(incident),
                "message": clip_octets(&text(incident), NTFY_MAX),
                "priority": priority,
                "tags": [tag],
            })
        }
        Template::Slack => {
            let mark = match incident.severity {
                Severity::Good => ":white_check_mark:",
                Severity::Notice => ":information_source:",
                Severity::Warning => ":warning:",
                Severity::Critical => ":rotating_light:",
            };
            let (head, rest) = (slack(&subject(incident)), slack(&clip(&text(incident), SLACK_MAX)));
            json!({ "text": format!("{mark} *{head}*\n```{rest}```") })
        }
    }
}

/// The URL that ntfy takes JSON at, and the topic: the last segment of the URL that its page shows.
/// `None`: there is no such segment.
pub fn ntfy_topic(url: &str) -> Option<(String, String)> {
    let mut parsed = reqwest::Url::parse(url).ok()?;
    let topic = parsed.path_segments()?.next_back().filter(|topic| !topic.is_empty())?.to_owned();
    parsed.path_segments_mut().ok()?.pop().push("");
    Some((parsed.to_string(), topic))
}

/// Slack's own three, and the end of a code block.
fn slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "'")
}

struct Text(String);

impl Text {
    fn line(&mut self, label: &str, words: &str) {
        let words = one_line(words);
        match label {
            "" => writeln!(self.0, "{words}"),
            label => writeln!(self.0, "{label:<9}{words}"),
        }
        .expect("a String takes every write");
    }

    fn moved(&mut self, told: &Move, several: bool) {
        if several {
            self.0.push('\n');
        }
        let name = |node: &Option<String>| node.clone().unwrap_or_else(|| "nobody".to_owned());
        let families: Vec<&str> = told.families.iter().map(|family| family.as_str()).collect();
        let what = match families.as_slice() {
            [] => format!("{}: primary stays {}", told.pool, name(&told.to)),
            _ => format!("{} {}: {} -> {}", told.pool, families.join("+"), name(&told.from), name(&told.to)),
        };
        self.line("Pool", &what);
        self.line("Why", &format!("{} [{}]", told.reason, told.rule));
        for (index, probe) in told.probes.iter().enumerate() {
            self.line(if index == 0 { "Probes" } else { " " }, probe);
        }
        for (index, change) in told.answers.iter().enumerate() {
            self.line(if index == 0 { "Answers" } else { " " }, &changed(change));
        }
        let more = told.names.saturating_sub(told.answers.len());
        if more > 0 && !told.answers.is_empty() {
            self.line(" ", &format!("and {more} more"));
        }
    }
}

fn changed(change: &Change) -> String {
    let or_none = |address: &Option<String>| address.clone().unwrap_or_else(|| "no data".to_owned());
    let Change { name, rtype, ttl_s, before, after } = change;
    format!("{name} {rtype} (TTL {ttl_s} s): {} -> {}", or_none(before), or_none(after))
}

/// Without anything that ends a line, a header or obeys a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn clip(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}\u{2026}", &text[..at]),
    }
}

fn clip_octets(text: &str, octets: usize) -> String {
    if text.len() <= octets {
        return text.to_owned();
    }
    let end = (0..=octets).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}\u{2026}", &text[..end])
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
