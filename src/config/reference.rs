//! docs/configuration.md, written from the tables that the parser is made of.

use std::fmt::Write;

use super::file::TABLES;
use super::keys::{Key, Table, Usual};

const HEAD: &str = "\
# Configuration

One file in [TOML](https://toml.io): `--config FILE`, else `NSD_FAILOVER_CONFIG`, else
`/etc/nsd-failover/nsd-failover.toml`. `nsd-failover check` says whether it is right, or what is wrong and where;
`nsd-failover init` writes one; `conf/` has one for each placement. A key that is not known is refused.

This page is written from the tables that the program itself reads by, and a test holds the two together:
every default here was tried, and every example.

| what may be written | for example |
|---|---|
| duration | `\"500ms\"`, `\"10s\"`, `\"5m\"`, `\"1h 30m\"`, `\"7d\"`; a year at most |
| address | `\"192.0.2.53:53\"`, `\"[2001:db8::53]:53\"`; where there is a usual port, also without it |
| network | `\"192.0.2.0/24\"`, `\"2001:db8::/48\"`, or an address |
| path | absolute, or from the folder of the file that it stands in |
| node, check, pool, key | the NAME of a table |
| name | a domain name; from the zone's origin unless it ends with a dot |

A reload (`nsd-failover reload`, SIGHUP) takes up everything but `listen`, `http`, `control`, `state-dir`,
`[nsd]`, `[rrl]`, sizes and limits in `[dns]`, and the addresses in `[tls]`: those want a restart, and the
reload says so.
";

/// The whole page.
pub fn render() -> String {
    let mut page = HEAD.to_owned();
    TABLES.iter().for_each(|table| section(&mut page, table));
    page
}

fn section(page: &mut String, table: &Table) {
    let title = if table.place.is_empty() { "Top level".to_owned() } else { format!("`{}`", table.place) };
    let _ = write!(page, "\n## {title}\n\n");
    if !table.about.is_empty() {
        let _ = writeln!(page, "{}\n", table.about.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n"));
    }
    if table.keys.is_empty() {
        page.truncate(page.trim_end().len());
        page.push('\n');
        return;
    }
    page.push_str("| key | what | default | means |\n|---|---|---|---|\n");
    table.keys.iter().for_each(|key| row(page, key));
}

fn row(page: &mut String, key: &Key) {
    let usual = match key.usual {
        Usual::Is(value) => format!("`{value}`"),
        Usual::Says(words) => words.to_owned(),
        Usual::Unset => "none".to_owned(),
        Usual::Needed => "**needed**".to_owned(),
    };
    let meaning = key.meaning.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    let example = match key.example {
        "" => String::new(),
        value => format!("<br>`{} = {value}`", key.name()),
    };
    let _ = writeln!(page, "| `{}` | {} | {usual} | {meaning}{example} |", key.name(), key.kind);
}
