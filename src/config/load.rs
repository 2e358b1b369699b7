//! From files to parsed tables: reading, TOML, `include`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::file::File;
use super::problem::{Problem, did_you_mean};

/// Largest configuration file, in octets: a fleet's worth of zone tables fits.
const FILE_MAX: u64 = 64 << 20;
/// Most files that `include` may bring.
const INCLUDES_MAX: usize = 10_000;

/// One file with its text, to which the spans in `tables` point.
pub struct Source {
    pub file: PathBuf,
    pub text: String,
    pub tables: File,
}

/// Reads `file` and the files it includes. Included files include nothing themselves.
pub fn sources(file: &Path) -> Result<Vec<Source>, Vec<Problem>> {
    let main = read(file).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut included = Vec::new();
    for pattern in main.tables.include.iter().flatten() {
        match matching(file, pattern.get_ref()) {
            Ok(files) => included.extend(files),
            Err(message) => problems.push(Problem::at(file, &main.text, pattern.span(), message)),
        }
    }
    if included.len() > INCLUDES_MAX {
        problems.push(Problem::of_file(
            file,
            format!("include brings {} files, {INCLUDES_MAX} is the most", included.len()),
        ));
        included.clear();
    }
    let mut sources = vec![main];
    for path in included {
        match read(&path) {
            Ok(source) => {
                for pattern in source.tables.include.iter().flatten().take(1) {
                    let message = "an included file cannot include another";
                    problems.push(
                        Problem::at(&path, &source.text, pattern.span(), message).hint("list it in the main file"),
                    );
                }
                sources.push(source);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(sources) } else { Err(problems) }
}

/// Parses one file's text.
pub fn parse(file: &Path, text: String) -> Result<Source, Problem> {
    match toml::from_str::<File>(&text) {
        Ok(tables) => Ok(Source { file: file.to_owned(), text, tables }),
        Err(error) => Err(explain(file, &text, &error)),
    }
}

fn read(file: &Path) -> Result<Source, Problem> {
    let failed = |error: std::io::Error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "name the file with --config FILE or NSD_FAILOVER_CONFIG",
            std::io::ErrorKind::PermissionDenied => "run as a user who may read it",
            _ => "it must be a readable text file",
        };
        Problem::of_file(file, format!("cannot read the configuration: {error}")).hint(hint)
    };
    let mut bytes = Vec::new();
    // A bound, so that a device or a runaway file cannot eat the memory.
    fs::File::open(file).and_then(|open| open.take(FILE_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(Problem::of_file(file, format!("larger than {} MiB", FILE_MAX >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
        Problem::at(file, &before, before.len()..before.len(), "not UTF-8 text").hint("save the file as UTF-8")
    })?;
    parse(file, text)
}

/// The parser's message with a "did you mean" where it lists what it expected.
fn explain(file: &Path, text: &str, error: &toml::de::Error) -> Problem {
    let message = error.message();
    let problem = match error.span() {
        Some(span) => Problem::at(file, text, span, message),
        None => Problem::of_file(file, message),
    };
    let mut quoted = message.split('`').skip(1).step_by(2);
    match (message.starts_with("unknown field"), quoted.next()) {
        (true, Some(unknown)) => {
            let problem = Problem { message: format!("unknown key `{unknown}`"), ..problem };
            let known: Vec<&str> = quoted.collect();
            match did_you_mean(unknown, known.iter().copied()) {
                Some(hint) => problem.hint(hint),
                None => problem.hint(format!("known here: {}", known.join(", "))),
            }
        }
        _ => problem,
    }
}

/// The files that an `include` pattern matches, sorted. Relative to the folder of the including
/// file; a pattern that matches nothing is fine (an empty conf.d), a plain name must exist.
fn matching(file: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = beside(file, pattern);
    if !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path]);
    }
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let text = path.to_str().ok_or("not UTF-8 text")?;
    let found = glob::glob_with(text, options).map_err(|error| format!("bad pattern: {error}"))?;
    found.map(|entry| entry.map_err(|error| error.to_string())).collect()
}

/// A path as written in `file`: relative ones count from that file's folder.
pub fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new(".")).join(path)
}
