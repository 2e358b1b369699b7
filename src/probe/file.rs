//! The file check: another program writes a state, its first word says which.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OwnedMutexGuard;

use crate::failover::reason::duration;
use crate::health::check::StateFile;

use super::stream::shown;
use super::trace::{Step, reach};
use super::{Aim, Finding};

/// Of a state file no more than this is read, in octets.
const READ_MAX: u64 = 4_096;

/// Whose turn it is to read a file. A read on a file system that hangs takes a thread with it; so there
/// is at most one of each file, and who waits for it takes none.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads(Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>);

impl Reads {
    /// Waits until nobody reads the file.
    pub(super) async fn turn(&self, path: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(path.to_owned()).or_default())
        };
        turn.lock_owned().await
    }
}

pub(super) async fn look(reads: &Reads, check: &StateFile, aim: &Aim<'_>) -> Finding {
    reach(Step::Reading);
    let path = aim.fill_bare(&check.path.to_string_lossy());
    let turn = reads.turn(&path).await;
    let max_age = Duration::from_millis(check.max_age_ms);
    let read = tokio::task::spawn_blocking(move || {
        let found = read(Path::new(&path));
        drop(turn);
        (found, path)
    });
    let read = read.await;
    let Ok((found, path)) = read else { return Finding::cannot_say("reading was cut off") };
    match found {
        Err(error) => Finding::cannot_say(format!("{path}: {error}")),
        Ok((_, Age::Back(age))) if age > max_age => {
            let age = duration(age.as_secs().saturating_mul(1_000));
            let max_age = duration(check.max_age_ms);
            Finding::cannot_say(format!("{path} was written {age} ago, max-age = {max_age}: its writer has stopped"))
        }
        Ok((_, Age::Ahead(by))) if by > max_age => {
            let by = duration(by.as_secs().saturating_mul(1_000));
            Finding::cannot_say(format!("{path} was written {by} from now: its writer's clock or ours is wrong"))
        }
        Ok((text, _)) => judge(&path, &text),
    }
}

/// How far the writing of a file lies back, or ahead of our clock.
enum Age {
    Back(Duration),
    Ahead(Duration),
}

/// The text and the age. Not a FIFO: it would keep us waiting.
fn read(path: &Path) -> io::Result<(String, Age)> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(READ_MAX).read_to_end(&mut bytes)?;
    // A little ahead is new; far ahead it would seem new for ever.
    let age = match SystemTime::now().duration_since(metadata.modified()?) {
        Ok(age) => Age::Back(age),
        Err(ahead) => Age::Ahead(ahead.duration()),
    };
    Ok((String::from_utf8_lossy(&bytes).into_owned(), age))
}

/// The first word in any case: up, ok, 0, warning, 1; down, critical, 2; unknown, 3.
fn judge(path: &str, text: &str) -> Finding {
    let line = text.lines().next().unwrap_or_default().trim();
    let word = line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase();
    match word.as_str() {
        "up" | "ok" | "0" | "warning" | "1" => Finding::good("L7OK", line),
        "down" | "critical" | "2" => Finding::bad("L7STS", line),
        "unknown" | "3" => Finding::cannot_say(line),
        _ => Finding::cannot_say(format!("{path}: no state (up, down, unknown) in {}", shown(line))),
    }
}

#[cfg(test)]
mod tests {
    use crate::failover::pool::Node;
    use crate::health::check::{Check, Kind};
    use crate::health::family::Family;
    use crate::probe::Prober;

    use super::*;

    /// One that hangs is a read whose turn does not end.
    #[test]
    fn a_read_that_hangs_says_nothing_and_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::write(&path, "up").unwrap();
        let check = Check {
            name: "state".to_owned(),
            kind: Kind::File(StateFile { path: path.clone(), max_age_ms: 60_000 }),
            interval_ms: 1_000,
            fast_interval_ms: 1_000,
            timeout_ms: 50,
            rise: 1,
            fall: 1,
            families: Family::ALL.to_vec(),
        };
        let node = Node { name: "a".to_owned(), ipv4: Some(std::net::Ipv4Addr::LOCALHOST), ipv6: None };
        let prober = Prober::new([&check]).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let hangs = prober.reads.turn(path.to_str().unwrap()).await;
            for _ in 0..3 {
                let outcome = prober.probe(&check, &node, Family::Ipv4).await;
                assert_eq!((outcome.success, outcome.word.as_str()), (None, "UNK"));
                assert_eq!(outcome.detail, "not read after 50ms: does its file system hang?");
            }
            drop(hangs);
            assert_eq!(prober.probe(&check, &node, Family::Ipv4).await.success, Some(true));
        });
    }

    #[test]
    fn words() {
        let says = |text: &str| judge("f", text).success;
        assert_eq!((says("up\n"), says("OK - all well"), says("1")), (Some(true), Some(true), Some(true)));
        assert_eq!((says("DOWN: disk\nmore"), says("critical"), says("2")), (Some(false), Some(false), Some(false)));
        assert_eq!((says("unknown"), says("3"), says(""), says("perhaps")), (None, None, None, None));
    }
}
