//! The status page: rendered here, works without JavaScript, in a text browser, in the dark and on
//! a phone. Every text that goes in is escaped, and every length is bounded: a page of a thousand
//! pools is as small as that of two, with the problems first and the rest a search away.

mod html;
mod live;

use std::fmt::Display;

use crate::director::alarm::{self, Alarm, Severity};
use crate::director::status::{
    CertDays, CheckStatus, NodeStatus, PoolFamilyStatus, PoolStatus, SecondaryStatus, Status, ZoneStatus,
};

use super::log::{Entry, result_word};
use super::text;
pub use super::view::Asked;
use super::view::{Shown, Urgency, View};
use html::{Ago, Escaped, Html, clip};
pub use live::{Viewers, events};

/// `/style.css`.
pub const STYLE: &str = include_str!("style.css");
/// `/live.js`.
pub const SCRIPT: &str = include_str!("live.js");
/// `/icon.svg`.
pub const ICON: &str = include_str!("icon.svg");

/// Entries of the log on the page.
pub const LOG_MAX: usize = 15;
/// Longest sentence and longest name on the page, in characters; the log and the JSON have them whole.
const SENTENCE_MAX: usize = 300;
const NAME_MAX: usize = 100;
/// Secondaries of a zone that are listed; `status` has them all.
const SECONDARIES_MAX: usize = 4;

/// Over the whole page: whoever overlooks it believes the rest.
const SHADOW: &str = "nothing of this is published. The primaries are those that would be, no name moves, nobody is notified, \
                      orders are refused. It is meant to run beside what publishes today.";

/// What a page is made from.
pub struct Source<'a> {
    pub status: &'a Status,
    /// The newest entries, oldest first.
    pub log: &'a [Entry],
    pub host: &'a str,
    pub now_unix_ms: i64,
}

/// The whole page.
pub fn render(source: &Source<'_>, asked: &Asked) -> String {
    let mut html = Html::new();
    let alarms = alarm::alarms(source.status, source.now_unix_ms);
    html.add(format_args!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><link rel=\"stylesheet\" href=\"style.css\"><link rel=\"icon\" href=\"icon.svg\">\
         <noscript><meta http-equiv=\"refresh\" content=\"10\"></noscript>\
         <script src=\"live.js\" defer></script></head><body>\n\
         <header><h1>nsd-failover <span>on {host}</span></h1>\
         <p id=\"age\">updated {age}</p></header>\n\
         <p id=\"stale\" role=\"alert\" hidden></p>\n\
         <form role=\"search\"><label for=\"q\">Pool, node or zone</label> \
         <input id=\"q\" name=\"q\" type=\"search\" value=\"{query}\"> <button>Search</button></form>\n\
         <main id=\"live\" data-title=\"{title}\">\n",
        title = Escaped(title(source, &alarms)),
        host = Escaped(source.host),
        age = Ago { unix_ms: source.status.unix_ms, now_unix_ms: source.now_unix_ms },
        query = Escaped(asked.query()),
    ));
    body(&mut html, source, asked, &alarms);
    html.add(format_args!("</main></body></html>\n"));
    html.finish()
}

/// What changes on the page, for its script: the inside of `<main>`, the title, the daemon's clock
/// and how old the snapshot is by it.
pub fn news(source: &Source<'_>, asked: &Asked) -> serde_json::Value {
    let mut html = Html::new();
    let alarms = alarm::alarms(source.status, source.now_unix_ms);
    body(&mut html, source, asked, &alarms);
    serde_json::json!({
        "title": title(source, &alarms),
        "html": html.finish(),
        "now_ms": source.now_unix_ms,
        "age_ms": source.now_unix_ms.saturating_sub(source.status.unix_ms),
    })
}

fn title(source: &Source<'_>, alarms: &[Alarm]) -> String {
    let word = match alarm::worst(alarms) {
        Some(Severity::Critical) => "\u{2716} CRITICAL",
        Some(Severity::Warning) => "! WARNING",
        Some(Severity::Notice) | None => "\u{2714} OK",
    };
    let shadow = if source.status.shadow { " (in shadow)" } else { "" };
    format!("{word}: nsd-failover on {}{shadow}", clip(source.host, NAME_MAX))
}

/// In the order of an operator's questions: who is primary since when and why; is something wrong;
/// what do the probes say; what does nsd serve; what has happened.
fn body(html: &mut Html, source: &Source<'_>, asked: &Asked, alarms: &[Alarm]) {
    let status = source.status;
    let view = View::new(status, asked, alarms);
    let page = Page { html, asked, cert_days: status.cert_days, now_unix_ms: source.now_unix_ms };
    page.all(source, alarms, &view);
}

struct Page<'a> {
    html: &'a mut Html,
    asked: &'a Asked,
    cert_days: CertDays,
    now_unix_ms: i64,
}

impl Page<'_> {
    fn all(mut self, source: &Source<'_>, alarms: &[Alarm], view: &View<'_>) {
        let status = source.status;
        if status.shadow {
            self.html.add(format_args!("<p id=\"shadow\" role=\"note\"><strong>In shadow:</strong> {SHADOW}</p>\n"));
        }
        self.headline(status, alarms);
        self.pools(&view.pools);
        self.alarms(&view.alarms);
        self.nodes(&view.checks);
        self.zones(&view.zones, &view.urgency);
        self.log(source.log);
        self.html.add(format_args!(
            "<footer>Version {}, generation {}, up {}. <a href=\"api/v1/status\">JSON</a> \
             <a href=\"api/v1/log\">log</a> <a href=\"metrics\">metrics</a></footer>\n",
            Escaped(&status.version),
            status.generation,
            text::span(self.now_unix_ms.saturating_sub(status.started_unix_ms)),
        ));
    }

    fn headline(&mut self, status: &Status, alarms: &[Alarm]) {
        let (class, mark) = match alarm::worst(alarms) {
            Some(Severity::Critical) => ("bad", '\u{2716}'),
            Some(Severity::Warning) => ("warn", '!'),
            Some(Severity::Notice) | None => ("good", '\u{2714}'),
        };
        self.html.add(format_args!(
            "<p id=\"headline\" class=\"{class}\"><a href=\"#alarms\"><strong>{mark} {}</strong></a>: {}</p>\n",
            text::tally(alarms),
            text::counted(status)
        ));
    }

    /// A title with a table under it. Without rows: a line that says so.
    fn table<T>(&mut self, id: &str, title: &str, head: &[&str], shown: &Shown<T>, mut row: impl FnMut(&mut Self, &T)) {
        self.html.add(format_args!("<section id=\"{id}\"><h2>{title}</h2>\n"));
        if shown.rows.is_empty() {
            let words = if shown.total == 0 { "None." } else { "None matches." };
            self.html.add(format_args!("<p>{words}</p></section>\n"));
            return;
        }
        self.html.add(format_args!("<table><thead><tr>"));
        for cell in head {
            self.html.add(format_args!("<th>{cell}"));
        }
        self.html.add(format_args!("</thead><tbody>\n"));
        for found in &shown.rows {
            row(self, found);
        }
        self.html.add(format_args!("</tbody></table>\n"));
        if shown.rows.len() < shown.matching {
            self.html.add(format_args!(
                "<p>{} of {}, problems first. <a href=\"{}\">Show more</a></p>\n",
                shown.rows.len(),
                shown.matching,
                Escaped(self.asked.more_link())
            ));
        }
        self.html.add(format_args!("</section>\n"));
    }

    fn cell(&mut self, text: impl Display) {
        self.html.add(format_args!("<td>{}", Escaped(text)));
    }

    fn pools(&mut self, pools: &Shown<&PoolStatus>) {
        // Where nothing is planned, there is more room for the reasons.
        let turns = pools.rows.iter().any(|pool| pool.next_rotation_unix_ms.is_some());
        let head = ["Pool", "Primary", "Standby", "Since", "Why", "Next rotation"];
        let head = &head[..head.len() - usize::from(!turns)];
        let mut above: Option<&PoolStatus> = None;
        self.table("pools", "Who is primary", head, pools, |page, pool| {
            let bad = alarm::is_all_down(&pool.rule);
            page.html.add(format_args!("<tr{}>", if bad { " class=\"bad\"" } else { "" }));
            let mark = if bad { "\u{2716} " } else { "" };
            let held = if pool.hold.is_some() { " (held)" } else { "" };
            page.cell(format_args!("{mark}{}{held}", clip(&pool.name, NAME_MAX)));
            page.cell(holder(pool, |family| family.primary.as_deref()));
            page.cell(holder(pool, |family| family.standby.as_deref()));
            match pool.since_unix_ms {
                None => page.cell("the beginning"),
                Some(unix_ms) => page.moment(unix_ms),
            }
            match above.filter(|above| (&above.reason, &above.rule) == (&pool.reason, &pool.rule)) {
                // One cause moves many pools: it is told once.
                Some(above) => page.cell(format_args!("as {}", clip(&above.name, NAME_MAX))),
                None => {
                    above = Some(pool);
                    page.cell(format_args!("{} [{}]", clip(&pool.reason, SENTENCE_MAX), pool.rule));
                }
            }
            match pool.next_rotation_unix_ms.filter(|_| turns) {
                Some(unix_ms) => page.moment(unix_ms),
                None if turns => page.cell("none planned"),
                None => {}
            }
            page.html.add(format_args!("\n"));
        });
    }

    /// How far away a moment is, and when that is.
    fn moment(&mut self, unix_ms: i64) {
        let ago = Ago { unix_ms, now_unix_ms: self.now_unix_ms };
        self.html.add(format_args!("<td>{ago} <small>{}</small>", minute(unix_ms)));
    }

    fn alarms(&mut self, alarms: &Shown<&Alarm>) {
        self.html.add(format_args!("<section id=\"alarms\"><h2>Holds and alarms</h2>\n"));
        if alarms.rows.is_empty() {
            self.html.add(format_args!("<p>None.</p></section>\n"));
            return;
        }
        self.html.add(format_args!("<ul>\n"));
        for alarm in &alarms.rows {
            let (class, mark) = match alarm.severity {
                Severity::Critical => ("bad", "\u{2716} Critical"),
                Severity::Warning => ("warn", "! Warning"),
                Severity::Notice => ("note", "\u{2139} Notice"),
            };
            let words = text::alarm_words(&Alarm {
                subject: clip(&alarm.subject, NAME_MAX),
                text: clip(&alarm.text, SENTENCE_MAX),
                ..Alarm::clone(alarm)
            });
            self.html.add(format_args!("<li class=\"{class}\"><b>{mark}</b> {}\n", Escaped(words)));
        }
        self.html.add(format_args!("</ul>\n"));
        let hidden = alarms.matching.saturating_sub(alarms.rows.len());
        if hidden > 0 {
            let link = self.asked.more_link();
            self.html.add(format_args!("<p><a href=\"{}#alarms\">And {hidden} more</a></p>\n", Escaped(link)));
        }
        self.html.add(format_args!("</section>\n"));
    }

    fn nodes(&mut self, checks: &Shown<(&NodeStatus, &CheckStatus)>) {
        let head = ["Node", "Check", "State", "Last probe", "History", "Certificate"];
        self.table("nodes", "Nodes and checks", &head, checks, |page, (node, check)| {
            let (class, state) = match check.verdict.as_str() {
                "up" if check.against == 0 => ("", "\u{2714} up"),
                "up" => (" class=\"warn\"", "! up"),
                "down" => (" class=\"bad\"", "\u{2716} down"),
                _ => (" class=\"warn\"", "? unknown"),
            };
            let drained = if node.drain.is_some() { " (drained)" } else { "" };
            page.html.add(format_args!("<tr{class}>"));
            page.cell(format_args!("{}{drained}", clip(&node.name, NAME_MAX)));
            page.cell(format_args!("{} {}", clip(&check.check, NAME_MAX), check.family));
            let progress = text::progress(check);
            page.cell(format_args!("{state}{}{progress}", if progress.is_empty() { "" } else { ", " }));
            match check.last_probe_unix_ms {
                None => page.cell("not probed yet"),
                Some(unix_ms) => {
                    let took = check.duration_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
                    let seen = clip(&format!("{} {}", check.word, check.detail), SENTENCE_MAX / 2);
                    let ago = Ago { unix_ms, now_unix_ms: page.now_unix_ms };
                    page.html.add(format_args!("<td>{}{took}, {ago}", Escaped(seen.trim_end())));
                }
            }
            page.history(&check.history);
            match check.cert_expiry_unix_s {
                None => page.cell(""),
                Some(unix_s) => {
                    let (class, mark) = match alarm::cert_severity(unix_s, page.cert_days, page.now_unix_ms) {
                        Some(Severity::Critical) => (" class=\"bad\"", "\u{2716} "),
                        Some(_) => (" class=\"warn\"", "! "),
                        None => ("", ""),
                    };
                    let words = alarm::cert_words(unix_s, page.now_unix_ms);
                    page.html.add(format_args!("<td{class}>{mark}{words}"));
                }
            }
            page.html.add(format_args!("\n"));
        });
    }

    /// A bar of the last probes, told in words to those who cannot see it.
    fn history(&mut self, history: &str) {
        let count = |wanted: char| history.chars().filter(|mark| *mark == wanted).count();
        let (good, bad) = (count('+'), count('-'));
        self.html.add(format_args!("<td><span class=\"bar\" role=\"img\" aria-label=\"{good} good, {bad} bad\">"));
        for mark in history.chars() {
            match mark {
                '+' => self.html.add(format_args!("\u{25ae}")),
                '-' => self.html.add(format_args!("<b>\u{25af}</b>")),
                _ => self.html.add(format_args!("\u{b7}")),
            }
        }
        self.html.add(format_args!("</span>"));
    }

    fn zones(&mut self, zones: &Shown<&ZoneStatus>, urgency: &Urgency<'_>) {
        let head = ["Zone", "Serial here", "Serial at nsd", "Pools", "Last export"];
        self.table("zones", "Zones", &head, zones, |page, zone| {
            let failed = zone.last_export.as_ref().is_some_and(|report| alarm::has_failed(report.result));
            let class = if urgency.is_wrong(&zone.name) { " class=\"warn\"" } else { "" };
            page.html.add(format_args!("<tr{class}>"));
            page.cell(clip(&zone.name, NAME_MAX));
            page.cell(zone.serial);
            page.cell(serials(zone));
            page.cell(clip(&zone.pools.join(", "), NAME_MAX));
            match &zone.last_export {
                None => page.cell(if zone.export { "none since the start" } else { "off" }),
                Some(report) => {
                    let (class, mark) = if failed { (" class=\"bad\"", "\u{2716} ") } else { ("", "") };
                    let ago = Ago { unix_ms: report.unix_ms, now_unix_ms: page.now_unix_ms };
                    let detail = clip(&report.detail, SENTENCE_MAX / 2);
                    let word = result_word(report.result);
                    page.html.add(format_args!("<td{class}>{mark}{word}, {ago}: {}", Escaped(detail)));
                }
            }
            page.html.add(format_args!("\n"));
        });
    }

    fn log(&mut self, log: &[Entry]) {
        self.html.add(format_args!("<section id=\"log\"><h2>Last transitions</h2>\n<ol>\n"));
        for entry in log.iter().rev() {
            let words = text::entry_words(entry);
            if !self.asked.matches(&words) {
                continue;
            }
            let ago = Ago { unix_ms: entry.unix_ms(), now_unix_ms: self.now_unix_ms };
            let at = minute(entry.unix_ms());
            self.html.add(format_args!("<li><b>{at} ({ago})</b> {}\n", Escaped(clip(&words, SENTENCE_MAX))));
        }
        self.html.add(format_args!("</ol></section>\n"));
    }
}

/// Who holds a role: one name where the families agree, else one for each.
fn holder(pool: &PoolStatus, of: impl Fn(&PoolFamilyStatus) -> Option<&str>) -> String {
    let name = |family: &PoolFamilyStatus| clip(of(family).unwrap_or("nobody"), NAME_MAX);
    match pool.families.as_slice() {
        [] => "nobody".to_owned(),
        [first, rest @ ..] if rest.iter().all(|family| of(family) == of(first)) => name(first),
        families => {
            let each: Vec<String> =
                families.iter().map(|family| format!("{} over {}", name(family), family.family)).collect();
            each.join(", ")
        }
    }
}

/// What nsd and each secondary serve of a zone, marked where it is not what was decided.
fn serials(zone: &ZoneStatus) -> String {
    let mark = |is_right: bool| if is_right { '\u{2714}' } else { '!' };
    let mut words: Vec<String> = Vec::new();
    match zone.serial_at_nsd {
        _ if !zone.servers.is_empty() => {}
        Some(serial) if zone.export => words.push(format!("{} {serial}", mark(serial == zone.serial))),
        Some(serial) => words.push(serial.to_string()),
        None if zone.export => words.push("not seen".to_owned()),
        None if zone.secondaries.is_empty() => words.push("not exported".to_owned()),
        None => {}
    }
    for server in &zone.servers {
        let serial = server.serial.map_or("not seen".to_owned(), |serial| serial.to_string());
        words.push(format!("{} {serial} at {}", mark(server.serial == Some(zone.serial)), server.server));
    }
    // Those that lag behind first.
    let mut secondaries: Vec<&SecondaryStatus> = zone.secondaries.iter().collect();
    secondaries.sort_by_key(|secondary| secondary.serial == Some(zone.serial));
    for secondary in secondaries.iter().take(SECONDARIES_MAX) {
        let serial = secondary.serial.map_or("not seen".to_owned(), |serial| serial.to_string());
        words.push(format!("{} {serial} at {}", mark(secondary.serial == Some(zone.serial)), secondary.server));
    }
    if secondaries.len() > SECONDARIES_MAX {
        words.push(format!("and {} more", secondaries.len() - SECONDARIES_MAX));
    }
    words.join(", ")
}

/// A moment as people read it; seconds would only be noise here.
fn minute(unix_ms: i64) -> String {
    let text = text::utc(unix_ms);
    match text.rsplit_once(':') {
        Some((minute, _)) if text.ends_with("UTC") => format!("{minute} UTC"),
        _ => text,
    }
}
