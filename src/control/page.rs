//! The status page: rendered here, works without JavaScript, in a text browser and in the dark.
//! Every text that goes in is escaped.

use std::fmt::{self, Display, Write};

use crate::director::status::{NodeStatus, PoolStatus, Status, ZoneStatus};

use super::log::{Entry, result_word};
use super::text;

/// `/style.css`.
pub const STYLE: &str = include_str!("style.css");

/// The page. `log`: the newest entries, oldest first.
pub fn render(status: &Status, log: &[Entry], now_unix_ms: i64) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    page.add(format_args!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"refresh\" content=\"5\"><title>nsd-failover</title>\
         <link rel=\"stylesheet\" href=\"style.css\"></head><body>\n<h1>nsd-failover</h1>\n\
         <p>Generation {}, as of {}, up {}.</p>\n",
        status.generation,
        text::utc(status.unix_ms),
        text::span(now_unix_ms.saturating_sub(status.started_unix_ms)),
    ));
    if !status.ready {
        page.add(format_args!("<p class=\"bad\">! The first round of probes is not done yet.</p>\n"));
    }
    page.pools(&status.pools, now_unix_ms);
    page.nodes(&status.nodes, now_unix_ms);
    page.zones(&status.zones);
    page.log(log);
    page.add(format_args!("<p>Version {}.</p>\n</body></html>\n", Escaped(&status.version)));
    page.0
}

struct Page(String);

impl Page {
    fn add(&mut self, piece: fmt::Arguments<'_>) {
        self.0.write_fmt(piece).expect("a String takes every write");
    }

    /// A table with its head; rows follow, then [`Page::end`].
    fn table(&mut self, title: &str, head: &[&str]) {
        self.add(format_args!("<h2>{title}</h2>\n<table><thead><tr>"));
        for cell in head {
            self.add(format_args!("<th>{cell}</th>"));
        }
        self.add(format_args!("</tr></thead><tbody>\n"));
    }

    fn row(&mut self, bad: bool, cells: &[&dyn Display]) {
        self.add(format_args!("<tr{}>", if bad { " class=\"bad\"" } else { "" }));
        for (index, cell) in cells.iter().enumerate() {
            // Never by colour alone.
            let mark = if bad && index == 0 { "! " } else { "" };
            self.add(format_args!("<td>{mark}{}</td>", Escaped(cell)));
        }
        self.add(format_args!("</tr>\n"));
    }

    fn end(&mut self) {
        self.add(format_args!("</tbody></table>\n"));
    }

    fn pools(&mut self, pools: &[PoolStatus], now_unix_ms: i64) {
        self.table("Pools", &["Pool", "Who", "Since", "Why", "Next rotation", "Hold"]);
        for pool in pools {
            let holders: Vec<String> =
                text::holders(pool).into_iter().map(|(role, node)| format!("{role}: {node}")).collect();
            let since = pool.since_unix_ms.map(|unix_ms| text::since(unix_ms, now_unix_ms)).unwrap_or_default();
            let rotation = pool.next_rotation_unix_ms.map(text::utc).unwrap_or_default();
            let hold = pool
                .hold
                .as_ref()
                .map(|held| format!("{} {}", held.node.as_deref().unwrap_or_default(), text::override_words(held)));
            let why = format!("{} [{}]", pool.reason, pool.rule);
            let hold = hold.unwrap_or_default();
            self.row(!hold.is_empty(), &[&pool.name, &holders.join(", "), &since, &why, &rotation, &hold]);
        }
        self.end();
    }

    fn nodes(&mut self, nodes: &[NodeStatus], now_unix_ms: i64) {
        self.table("Nodes", &["Node", "Check", "Verdict", "Last probe", "When", "Progress"]);
        for node in nodes {
            if let Some(drain) = &node.drain {
                self.row(true, &[&node.name, &"", &"drained", &text::override_words(drain), &"", &""]);
            }
            for check in &node.checks {
                let name = format!("{} {}", check.check, check.family);
                let seen = format!("{} {}", check.word, check.detail);
                let ago = check.last_probe_unix_ms.map(|unix_ms| text::span(now_unix_ms.saturating_sub(unix_ms)));
                let ago = ago.map(|ago| format!("{ago} ago")).unwrap_or_default();
                let bad = check.verdict != "up";
                self.row(bad, &[&node.name, &name, &check.verdict, &seen, &ago, &text::progress(check)]);
            }
        }
        self.end();
    }

    fn zones(&mut self, zones: &[ZoneStatus]) {
        self.table("Zones", &["Zone", "Serial here", "Serial at nsd", "Last export"]);
        for zone in zones {
            let at_nsd = zone.serial_at_nsd.map(|serial| serial.to_string()).unwrap_or_else(|| "not seen".to_owned());
            let export = zone.last_export.as_ref().map(|report| {
                format!("{} {}: {}", text::utc(report.unix_ms), result_word(report.result), report.detail)
            });
            let behind = zone.export && zone.serial_at_nsd != Some(zone.serial);
            self.row(behind, &[&zone.name, &zone.serial, &at_nsd, &export.unwrap_or_default()]);
        }
        self.end();
    }

    fn log(&mut self, log: &[Entry]) {
        self.add(format_args!("<h2>Log</h2>\n<ol class=\"log\">\n"));
        for entry in log.iter().rev() {
            self.add(format_args!("<li>{}</li>\n", Escaped(&text::log_line(entry))));
        }
        self.add(format_args!("</ol>\n"));
    }
}

/// Text that is nothing but text, in an element as in an attribute.
struct Escaped<T>(T);

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
