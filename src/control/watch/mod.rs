//! `watch`: the status as a screen that stays true. What is drawn is a pure function of what was
//! heard, the time and the size of the terminal; who asks the daemon and reads the keys is
//! somebody else's business.

mod body;
mod flow;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::director::alarm::{self, Severity};
use crate::director::status::Status;

use super::client::ClientError;
use super::log::Entry;
use super::text;

/// Entries of the log that are on the screen.
pub const LOG_MAX: usize = 10;
/// The daemon is asked every second: when nothing was heard for so long, the banner stands. One that
/// hangs is known by this long before its answer counts as late.
const SILENCE_MS: i64 = 3_000;
const KEYS: &str = "q quit   \u{2191} \u{2193} PgUp PgDn Home scroll";

/// What the screen shows.
#[derive(Debug)]
pub struct Screen {
    /// The name of this host: with two of them one wants to know which screen this is.
    host: String,
    heard: Option<Heard>,
    /// What was the matter when it was asked since.
    problem: Option<String>,
    /// Lines of the body above the screen.
    above: usize,
    /// Lines that the body had room for when it was drawn last.
    room: usize,
    colours: bool,
}

#[derive(Debug)]
struct Heard {
    /// By our clock.
    unix_ms: i64,
    status: Status,
    /// Oldest first.
    log: Vec<Entry>,
}

impl Screen {
    /// Nothing is heard yet. Without `colours` words and symbols have to do, which they do.
    pub fn new(host: &str, colours: bool) -> Screen {
        Screen { host: text::clean(host), heard: None, problem: None, above: 0, room: 1, colours }
    }

    /// The daemon has answered.
    pub fn hear(&mut self, status: Status, log: Vec<Entry>, now_unix_ms: i64) {
        self.heard = Some(Heard { unix_ms: now_unix_ms, status, log });
        self.problem = None;
    }

    /// It has not.
    pub fn miss(&mut self, error: &ClientError) {
        self.problem = Some(text::clean(&error.to_string()));
    }

    /// Moves the body by so many lines; see [`Screen::page`].
    pub fn scroll(&mut self, lines: isize) {
        self.above = self.above.saturating_add_signed(lines);
    }

    pub fn to_top(&mut self) {
        self.above = 0;
    }

    /// Lines that a page up or down moves by.
    pub fn page(&self) -> isize {
        isize::try_from(self.room.saturating_sub(1).max(1)).unwrap_or(1)
    }

    pub fn draw(&mut self, frame: &mut Frame<'_>, now_unix_ms: i64) {
        let width = frame.area().width;
        let head = self.head(width, now_unix_ms);
        let head_height = u16::try_from(head.len()).unwrap_or(u16::MAX);
        // On a screen of a few lines what is said first counts more than the keys.
        let foot_height = u16::from(frame.area().height > head_height + 3);
        let [top, middle, bottom] =
            Layout::vertical([Constraint::Length(head_height), Constraint::Fill(1), Constraint::Length(foot_height)])
                .areas(frame.area());
        let body = match &self.heard {
            Some(heard) => body::lines(&heard.status, &heard.log, now_unix_ms, usize::from(width)),
            None => Vec::new(),
        };
        self.room = usize::from(middle.height);
        self.above = self.above.min(body.len().saturating_sub(self.room));
        let below = body.len().saturating_sub(self.above + self.room);
        self.put(frame, top, head);
        self.put(frame, middle, body.into_iter().skip(self.above).take(self.room).collect());
        let more = if below > 0 { format!("{below} more lines below   {KEYS}") } else { KEYS.to_owned() };
        self.put(frame, bottom, vec![Line::styled(more, Modifier::DIM)]);
    }

    /// Who speaks, and how it is all in all, or a banner where what is shown is old.
    fn head(&self, width: u16, now_unix_ms: i64) -> Vec<Line<'static>> {
        let width = usize::from(width);
        let mut facts = vec![format!("nsd-failover on {}", self.host)];
        if let Some(Heard { status, .. }) = &self.heard {
            let age = text::span(now_unix_ms.saturating_sub(status.unix_ms));
            facts.extend([format!("updated {age} ago"), format!("generation {}", status.generation)]);
        }
        let title = flow::pieces(facts, ", ", "", width);
        let mut lines: Vec<Line<'static>> = title.into_iter().map(|line| Line::styled(line, Modifier::BOLD)).collect();
        match (self.stale(now_unix_ms), &self.heard) {
            (Some(words), _) => {
                let style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD | Modifier::REVERSED);
                lines.extend(flow::wrapped(&words, "", width).into_iter().map(|line| Line::styled(line, style)));
            }
            (None, Some(Heard { status, .. })) => {
                if status.shadow {
                    let style = Style::new().fg(Color::Yellow).add_modifier(Modifier::BOLD);
                    let words = flow::wrapped(&format!("! {}", alarm::SHADOW), "", width);
                    lines.extend(words.into_iter().map(|line| Line::styled(line, style)));
                }
                lines.push(headline(status, now_unix_ms));
            }
            (None, None) => lines.push(Line::raw("asking the daemon ...")),
        }
        lines
    }

    fn stale(&self, now_unix_ms: i64) -> Option<String> {
        let again = self.problem.as_ref().map(|problem| format!("Trying again: {problem}"));
        let Some(heard) = &self.heard else { return again.map(|again| format!("\u{2716} {again}")) };
        let silent_ms = now_unix_ms.saturating_sub(heard.unix_ms);
        (silent_ms >= SILENCE_MS).then(|| {
            let silent = text::span(silent_ms);
            let again = again.map_or_else(String::new, |again| format!(" {again}"));
            format!("\u{2716} No word from the daemon for {silent}: what you see is old.{again}")
        })
    }

    fn put(&self, frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>) {
        let plain = |style: Style| Style { fg: None, bg: None, ..style };
        let shown = lines.into_iter().map(|line| match self.colours {
            true => line,
            false => {
                let style = plain(line.style);
                let spans = line.spans.into_iter().map(|span| Span::styled(span.content, plain(span.style)));
                Line::from(spans.collect::<Vec<_>>()).style(style)
            }
        });
        frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()), area);
    }
}

fn headline(status: &Status, now_unix_ms: i64) -> Line<'static> {
    let alarms = alarm::alarms(status, now_unix_ms);
    let (mark, colour) = match alarm::worst(&alarms) {
        Some(Severity::Critical) => ('\u{2716}', Color::Red),
        Some(Severity::Warning) => ('!', Color::Yellow),
        Some(Severity::Notice) | None => ('\u{2714}', Color::Green),
    };
    let words = format!("{mark} {}", text::tally(&alarms));
    Line::from(vec![
        Span::styled(words, Style::new().fg(colour).add_modifier(Modifier::BOLD)),
        Span::raw(format!(": {}", text::counted(status))),
    ])
}

#[cfg(test)]
mod tests;
