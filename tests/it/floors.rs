//! The floors: a file imports only from lower floors or from its own folder. Pure rooms know no
//! clock, no socket, no file, no thread and no `async`. `unsafe` lives in one module.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first; rooms on one floor do not see each other.
const FLOORS: &[&[&str]] = &[
    &["dns"],
    &["zone", "health"],
    &["failover"],
    &["table", "export"],
    &["director"],
    &["config", "probe", "serve", "publish", "control", "notify"],
    &["daemon"],
];

/// Law 1: rooms that are tested by plain calls.
const PURE: &[&str] = &["dns", "zone", "health", "failover", "table", "export", "director"];

/// What no pure room may mention outside its tests.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net::Udp",
    "std::net::Tcp",
    "std::thread",
    "std::process",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "tokio::",
    "async fn",
    "async move",
    ".await",
    "std::os::unix",
    "socket2::",
    "libc::",
    "reqwest::",
    "File::open",
    "std::env",
];

/// The one module of system calls.
const UNSAFE: &str = "src/serve/sys";

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                into.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
}

/// The room a file belongs to: `src/zone/tag.rs` is in `zone`.
fn room(path: &Path) -> Option<String> {
    let relative = relative(path);
    let (room, _) = relative.strip_prefix("src/")?.split_once('/')?;
    Some(room.to_owned())
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The code of a file with line numbers: no comments, nothing from the tests on, and a `use` that
/// spans lines joined into one.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open_use = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim() == "#[cfg(test)]" {
            break;
        }
        let line = line.split("//").next().unwrap_or_default();
        match lines.last_mut() {
            Some((_, statement)) if open_use => statement.push_str(line.trim()),
            _ => lines.push((index + 1, line.to_owned())),
        }
        let statement = lines.last().map_or("", |(_, statement)| statement.trim_start());
        open_use = (statement.starts_with("use ") || statement.starts_with("pub use ")) && !statement.contains(';');
    }
    lines
}

/// Whether a line climbs by `super::` out of its room: `super` of a file is its folder.
fn climbs_out(file: &str, line: &str) -> bool {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    let folders = inside.matches('/').count();
    // In `mod.rs`, `super` is the folder above already.
    let allowed = if inside.ends_with("/mod.rs") { folders - 1 } else { folders };
    let longest = line
        .split(|c: char| !(c.is_alphanumeric() || c == ':' || c == '_'))
        .map(|path| path.split("::").take_while(|part| *part == "super").count());
    longest.max().unwrap_or(0) > allowed
}

/// Names of rooms that a line reaches by `crate::ROOM`, also in `use crate::{a::.., b::..}`.
fn reached(line: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => rooms.push(word(rest)),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (index, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && depth == 0 && c.is_alphanumeric() => {
                            rooms.push(word(&list[index..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

/// Every breach of the floors in one file, as "file:line: which law".
fn breaches(file: &str, room: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Some(own) = floor(room) else {
        return vec![format!("{file}: room `{room}` stands on no floor: add it to FLOORS and ARCHITECTURE.md")];
    };
    for (number, line) in code(text) {
        let line = line.as_str();
        if climbs_out(file, line) {
            found.push(format!("{file}:{number}: floors: `super` leads out of room `{room}`: say `crate::ROOM`"));
        }
        for other in reached(line) {
            match floor(&other) {
                None => found.push(format!("{file}:{number}: `crate::{other}` is no room")),
                Some(theirs) if other != room && theirs >= own => found
                    .push(format!("{file}:{number}: floors: `{room}` (F{own}) must not import `{other}` (F{theirs})")),
                Some(_) => {}
            }
        }
        if PURE.contains(&room) {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{file}:{number}: law 1: pure room `{room}` mentions `{word}`"));
            }
        }
        let is_unsafe =
            line.contains("allow(unsafe_code)") || (line.contains("unsafe ") && !line.contains("unsafe_code"));
        if is_unsafe && !file.starts_with(UNSAFE) {
            found.push(format!("{file}:{number}: `unsafe` outside {UNSAFE}"));
        }
    }
    found
}

#[test]
fn every_file_keeps_to_its_floor() {
    let mut found = Vec::new();
    let mut seen = 0;
    for path in sources() {
        let Some(room) = room(&path) else { continue };
        found.extend(breaches(&relative(&path), &room, &fs::read_to_string(&path).unwrap()));
        seen += 1;
    }
    assert!(seen > FLOORS.len(), "the walk found only {seen} files");
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

/// The checker itself can fail.
#[test]
fn a_breach_is_named() {
    let check = |room: &str, text: &str| breaches(&format!("src/{room}/f.rs"), room, text);
    assert_eq!(check("zone", "use crate::table::Live;").len(), 1);
    assert_eq!(check("zone", "use crate::health::family::Family;").len(), 1, "same floor");
    assert_eq!(check("table", "use crate::{dns::name::Name, director::{A, B}};").len(), 1);
    assert_eq!(check("table", "use crate::{dns::name::Name, zone::{tag, Zone}};").len(), 0);
    assert_eq!(check("director", "let now = std::time::Instant::now();").len(), 2);
    assert_eq!(check("serve", "let x = unsafe { f() };").len(), 1);
    assert_eq!(
        check("table", "use crate::{\n    dns::name::Name,\n    director::A,\n};").len(),
        1,
        "over several lines"
    );
    assert_eq!(check("zone", "use super::super::table::Live;").len(), 1);
    assert_eq!(check("zone", "use super::tag::Tag;").len(), 0);
    assert_eq!(breaches("src/zone/mod.rs", "zone", "use super::table::Live;").len(), 1);
    assert_eq!(check("cellar", "").len(), 1);
    assert_eq!(check("zone", "// use crate::table::Live;").len(), 0);
}
