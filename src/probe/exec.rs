//! The plugin check: a Nagios plugin, run without a shell, in a process group of its own that is
//! killed as a whole when the probe ends, by the deadline at the latest.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use crate::health::check::{Exec, Measure};

use super::stream::shown;
use super::trace::{Step, note, reach};
use super::{Aim, Finding};

/// So much of a plugin's output is kept, in octets; the rest is read and forgotten.
const OUTPUT_MAX: usize = 8 * 1024;

/// A plugin that has ended may have left a child that holds its output open: so long is waited.
const LEFTOVER: Duration = Duration::from_millis(100);

/// Values of performance data that are kept.
const MEASURES_MAX: usize = 32;

/// Longest name of a value, in characters.
const LABEL_MAX: usize = 64;

/// Longest line for people, in characters.
const DETAIL_MAX: usize = 200;

pub(super) async fn look(check: &Exec, aim: &Aim<'_>) -> Finding {
    reach(Step::Plugin);
    let argv: Vec<String> = check.argv.iter().map(|word| aim.fill_bare(word)).collect();
    let Some((program, arguments)) = argv.split_first() else { return Finding::cannot_say("no program is named") };
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Whoever starts us may be told that we are ready; a plugin has nothing to say there.
        .env_remove("NOTIFY_SOCKET")
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return Finding::cannot_say(format!("cannot run {program}: {error}")),
    };
    let _group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut said = Vec::new();
    let status = tokio::select! {
        status = child.wait() => status,
        () = read(&mut stdout, &mut said) => child.wait().await,
    };
    // What it said last may still be in the pipe.
    let _ = tokio::time::timeout(LEFTOVER, read(&mut stdout, &mut said)).await;
    note(format!("{program} ended"));
    match status {
        Ok(status) => judge(status, &String::from_utf8_lossy(&said)),
        Err(error) => Finding::cannot_say(format!("{program}: {error}")),
    }
}

/// A process group that is killed on drop: at the deadline the plugin with all that it started,
/// after its end what it left behind. The number cannot be another group's: while there are
/// members it is taken, and without members it was free for the blink of an eye only.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Mostly nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Reads to the end and keeps the start.
async fn read(pipe: &mut (impl AsyncRead + Unpin), kept: &mut Vec<u8>) {
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut piece).await {
        let room = OUTPUT_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
}

/// Exit codes of the Nagios plugin guidelines: 0 ok and 1 warning are up, 2 critical is down, all
/// else says nothing.
fn judge(status: ExitStatus, said: &str) -> Finding {
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let (text, data) = line.split_once('|').unwrap_or((line, ""));
    let text: String = text.trim().chars().take(DETAIL_MAX).collect();
    let detail = match (text.as_str(), status.code()) {
        ("", Some(code)) => format!("exit code {code}, and it said nothing"),
        (text, Some(0..=3)) => text.to_owned(),
        (text, Some(code)) => format!("exit code {code}: {}", shown(text)),
        (_, None) => format!("{status}"),
    };
    let finding = match status.code() {
        Some(0 | 1) => Finding::good("PROCOK", detail),
        Some(2) => Finding::bad("PROCERR", detail),
        _ => Finding::cannot_say(detail),
    };
    Finding { measures: measures(data), ..finding }
}

/// Performance data: `'label'=value[UOM];[warn];[crit];[min];[max]`, separated by blanks. A label
/// with blanks is quoted, a quote in it is doubled. What is wrong is passed over.
fn measures(data: &str) -> Vec<Measure> {
    let mut found = Vec::new();
    let mut rest = data.trim_start();
    while !rest.is_empty() && found.len() < MEASURES_MAX {
        let Some((label, after)) = label(rest) else { break };
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let value = after[..end].split(';').next().unwrap_or_default();
        if value.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) && value.len() <= 64 {
            found.push(Measure { label, value: value.to_owned() });
        }
        rest = after[end..].trim_start();
    }
    found
}

/// The label, and what follows its `=`.
fn label(text: &str) -> Option<(String, &str)> {
    if !text.starts_with('\'') {
        let (label, after) = text.split_once('=')?;
        return Some((clean(label), after));
    }
    let mut label = String::new();
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if letters.next_if(|(_, next)| *next == '\'').is_some() => label.push('\''),
            '\'' => return Some((clean(&label), text[at + 1..].strip_prefix('=')?)),
            letter => label.push(letter),
        }
    }
    None
}

/// Fit to be shown and to be a label: short, and without what moves a terminal's cursor.
fn clean(label: &str) -> String {
    label.chars().take(LABEL_MAX).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn performance_data() {
        let said = |data: &str| {
            measures(data).iter().map(|found| format!("{}={}", found.label, found.value)).collect::<Vec<_>>()
        };
        assert_eq!(said("time=0.21s;1;2;0 size=1024B"), ["time=0.21s", "size=1024B"]);
        assert_eq!(said("'used on /'=80%;90;95 'it''s'=1c"), ["used on /=80%", "it's=1c"]);
        assert_eq!(said("nonsense"), [""; 0]);
        assert_eq!(said("'open"), [""; 0]);
        assert_eq!(said("a=U b=-3.5"), ["b=-3.5"], "U: the plugin could not say");
        assert_eq!(said(&"a=1 ".repeat(100)).len(), MEASURES_MAX);
        assert_eq!(said("'a\u{1b}[2J\tb'=1"), ["a [2J b=1"], "nothing reaches a terminal but text");
        assert_eq!(said(&format!("{}=1", "x".repeat(100))), [format!("{}=1", "x".repeat(LABEL_MAX))]);
    }
}
