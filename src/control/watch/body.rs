//! The lines of the screen, in the order of an operator's questions: who is primary since when and
//! why; is something wrong; what do the probes say; what does nsd serve; what has happened. What is
//! shown of a thousand pools is what the page shows: problems first.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::control::log::{Entry, result_word};
use crate::control::text;
use crate::control::view::{Asked, Shown, View};
use crate::director::alarm::{self, Alarm, Severity};
use crate::director::status::{CertDays, CheckStatus, NodeStatus, PoolStatus, Status, ZoneStatus};

use super::{LOG_MAX, flow};

const INDENT: &str = "    ";
/// Narrower than this, the bars of the last probes are left out.
const BAR_WIDTH_MIN: usize = 80;
/// Last probes in a bar.
const BAR: usize = 20;
/// Longest name that others are aligned with.
const ALIGNED_MAX: usize = 40;

pub fn lines(status: &Status, log: &[Entry], now_unix_ms: i64, width: usize) -> Vec<Line<'static>> {
    let alarms = alarm::alarms(status, now_unix_ms);
    let view = View::new(status, &Asked::default(), &alarms);
    let mut body = Body { lines: Vec::new(), cert_days: status.cert_days, now_unix_ms, width };
    body.section("Who is primary", &view.pools, |body, pool| body.pool(pool));
    body.section("Holds and alarms", &view.alarms, |body, alarm| body.alarm(alarm));
    let longest = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0).min(ALIGNED_MAX);
    let node_width = longest(&mut view.checks.rows.iter().map(|(node, _)| node.name.chars().count()));
    let check_width = longest(&mut view.checks.rows.iter().map(|(_, check)| check.check.chars().count()));
    body.section("Nodes and checks", &view.checks, |body, (node, check)| {
        body.check(node, check, node_width, check_width);
    });
    body.section("Zones", &view.zones, |body, zone| body.zone(zone, view.urgency.is_wrong(&zone.name)));
    body.heading("Last transitions");
    for entry in log.iter().rev().take(LOG_MAX) {
        body.wrapped(&text::log_line(entry), Style::new());
    }
    body.lines
}

struct Body {
    lines: Vec<Line<'static>>,
    cert_days: CertDays,
    now_unix_ms: i64,
    width: usize,
}

impl Body {
    fn heading(&mut self, words: &str) {
        self.lines.push(Line::raw(""));
        self.lines.push(Line::styled(words.to_owned(), Modifier::BOLD | Modifier::UNDERLINED));
    }

    fn section<T>(&mut self, title: &str, shown: &Shown<T>, mut row: impl FnMut(&mut Body, &T)) {
        self.heading(title);
        if shown.rows.is_empty() {
            self.lines.push(Line::raw("None."));
        }
        for one in &shown.rows {
            row(self, one);
        }
        if shown.rows.len() < shown.matching {
            self.lines.push(Line::raw(format!("{} of {}, problems first.", shown.rows.len(), shown.matching)));
        }
    }

    fn wrapped(&mut self, words: &str, style: Style) {
        let lines = flow::wrapped(&text::clean(words), INDENT, self.width);
        self.lines.extend(lines.into_iter().map(|line| Line::styled(line, style)));
    }

    /// A head that stands out, and facts that follow it as far as there is room.
    fn facts(&mut self, head: String, style: Style, facts: impl IntoIterator<Item = String>) {
        let head = text::clean(&head);
        let length = head.chars().count();
        let facts = facts.into_iter().filter(|fact| !fact.is_empty()).map(|fact| text::clean(&fact));
        let mut lines = flow::pieces(std::iter::once(head).chain(facts), "   ", INDENT, self.width).into_iter();
        let first = lines.next().unwrap_or_default();
        let at = first.char_indices().nth(length).map_or(first.len(), |(at, _)| at);
        self.lines
            .push(Line::from(vec![Span::styled(first[..at].to_owned(), style), Span::raw(first[at..].to_owned())]));
        self.lines.extend(lines.map(Line::raw));
    }

    fn ago(&self, unix_ms: i64) -> String {
        format!("{} ago", text::span(self.now_unix_ms.saturating_sub(unix_ms)))
    }

    fn pool(&mut self, pool: &PoolStatus) {
        let holders = text::holders(pool);
        let is_bad = alarm::is_all_down(&pool.rule);
        let has_primary = holders.iter().any(|(role, node)| role.starts_with("primary") && node != "nobody");
        let (mark, style) = match (is_bad, has_primary) {
            (true, _) => ('\u{2716}', bold(Color::Red)),
            (false, false) => ('!', bold(Color::Yellow)),
            (false, true) => ('\u{2714}', Style::new().add_modifier(Modifier::BOLD)),
        };
        let mut facts: Vec<String> = holders.iter().map(|(role, node)| format!("{role} {node}")).collect();
        facts.extend(pool.hold.is_some().then(|| "held".to_owned()));
        if let Some(unix_ms) = pool.since_unix_ms {
            facts.push(text::since(unix_ms, self.now_unix_ms));
        }
        if let Some(unix_ms) = pool.next_rotation_unix_ms {
            facts.push(format!("next rotation in {}", text::span(unix_ms.saturating_sub(self.now_unix_ms))));
        }
        self.facts(format!("{mark} {}", pool.name), style, facts);
        self.wrapped(&format!("{INDENT}{} [{}]", pool.reason, pool.rule), Style::new());
    }

    fn alarm(&mut self, alarm: &Alarm) {
        let (mark, colour) = match alarm.severity {
            Severity::Critical => ("\u{2716} Critical", Color::Red),
            Severity::Warning => ("! Warning", Color::Yellow),
            Severity::Notice => ("\u{2139} Notice", Color::Blue),
        };
        self.wrapped(&format!("{mark} {}", text::alarm_words(alarm)), Style::new().fg(colour));
    }

    fn check(&mut self, node: &NodeStatus, check: &CheckStatus, node_width: usize, check_width: usize) {
        let (mark, style) = match check.verdict.as_str() {
            "up" if check.against == 0 => ('\u{2714}', Style::new().fg(Color::Green)),
            "up" => ('!', Style::new().fg(Color::Yellow)),
            "down" => ('\u{2716}', bold(Color::Red)),
            _ => ('?', Style::new().fg(Color::Yellow)),
        };
        let head = format!(
            "{mark} {:<7} {:<node_width$}  {:<check_width$} {}",
            check.verdict, node.name, check.check, check.family
        );
        let bar = if self.width < BAR_WIDTH_MIN { String::new() } else { bar(&check.history) };
        let drained = if node.drain.is_some() { "drained" } else { "" };
        let seen = match (check.last_probe_unix_ms, check.duration_ms) {
            (None, _) => "not probed yet".to_owned(),
            (Some(unix_ms), took) => {
                let took = took.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
                format!("{} {}{took}, {}", check.word, check.detail, self.ago(unix_ms))
            }
        };
        let expiry = check.cert_expiry_unix_s.map(|unix_s| {
            match alarm::cert_severity(unix_s, self.cert_days, self.now_unix_ms) {
                Some(_) => format!("! certificate {}", alarm::cert_words(unix_s, self.now_unix_ms)),
                None => format!("cert {} d", alarm::days_left(unix_s, self.now_unix_ms)),
            }
        });
        let facts = [bar, text::progress(check), drained.to_owned(), seen, expiry.unwrap_or_default()];
        self.facts(head, style, facts);
    }

    fn zone(&mut self, zone: &ZoneStatus, is_wrong: bool) {
        let (mark, style) = match is_wrong {
            true => ('!', bold(Color::Yellow)),
            false => ('\u{2714}', Style::new().fg(Color::Green)),
        };
        let serial = |serial: &Option<u32>| serial.map_or("not seen".to_owned(), |serial| serial.to_string());
        let mut facts = vec![format!("serial {} here", zone.serial)];
        if zone.servers.is_empty() && (zone.serial_at_nsd.is_some() || zone.export) {
            facts.push(format!("{} at nsd", serial(&zone.serial_at_nsd)));
        }
        facts.extend(zone.servers.iter().map(|nsd| format!("{} at nsd {}", serial(&nsd.serial), nsd.server)));
        facts.extend(zone.secondaries.iter().map(|other| format!("{} at {}", serial(&other.serial), other.server)));
        if zone.export_held {
            facts.push("held since a rollback".to_owned());
        }
        if let Some(report) = &zone.last_export {
            let word = result_word(report.result);
            facts.push(format!("export {word} {}: {}", self.ago(report.unix_ms), report.detail));
        }
        self.facts(format!("{mark} {}", zone.name), style, facts);
    }
}

fn bold(colour: Color) -> Style {
    Style::new().fg(colour).add_modifier(Modifier::BOLD)
}

/// The last probes, the newest on the right.
fn bar(history: &str) -> String {
    let skip = history.chars().count().saturating_sub(BAR);
    let mark = |mark| match mark {
        '+' => '\u{25ae}',
        '-' => '\u{25af}',
        _ => '\u{b7}',
    };
    format!("{:>BAR$}", history.chars().skip(skip).map(mark).collect::<String>())
}
