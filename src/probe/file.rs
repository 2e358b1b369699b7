//! The file check: another program writes a state, its first word says which. And how a probe reads a
//! file, which a secret for a request header is, too.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OwnedMutexGuard;

use crate::failover::reason::duration;
use crate::health::check::StateFile;

use super::stream::shown;
use super::trace::{Step, reach};
use super::{Aim, Finding};

/// Of a file no more than this is read, in octets.
pub(super) const READ_MAX: usize = 16 * 1024;

/// Whose turn it is to read a file. A read on a file system that hangs takes a thread with it; so there
/// is at most one of each file, and who waits for it takes none.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads(Arc<Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>>);

impl Reads {
    /// Reads a file when nobody else does.
    pub(super) async fn read(&self, path: PathBuf) -> io::Result<Written> {
        let turn = self.turn(&path).await;
        let read = tokio::task::spawn_blocking(move || {
            let written = Written::read(&path);
            drop(turn);
            written
        });
        read.await.unwrap_or_else(|_| Err(io::Error::other("reading was cut off")))
    }

    /// Waits until nobody reads the file.
    pub(super) async fn turn(&self, path: &Path) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(path.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// Forgets the files that nobody reads or waits for.
    pub(super) fn forget_idle(&self) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    }
}

/// What stands in a file, up to [`READ_MAX`], and when it was written.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    age: Age,
}

/// How far the writing of a file lies back, or ahead of our clock.
enum Age {
    Back(Duration),
    Ahead(Duration),
}

impl Written {
    /// Not from a FIFO: it would keep us waiting.
    fn read(path: &Path) -> io::Result<Written> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut bytes = Vec::new();
        file.take(READ_MAX as u64).read_to_end(&mut bytes)?;
        // A little ahead is new; far ahead it would seem new for ever.
        let age = match SystemTime::now().duration_since(metadata.modified()?) {
            Ok(age) => Age::Back(age),
            Err(ahead) => Age::Ahead(ahead.duration()),
        };
        Ok(Written { bytes, age })
    }
}

pub(super) async fn look(reads: &Reads, check: &StateFile, aim: &Aim<'_>) -> Finding {
    reach(Step::Reading);
    let path = aim.fill_bare(&check.path.to_string_lossy());
    let max_age = Duration::from_millis(check.max_age_ms);
    match reads.read(PathBuf::from(&path)).await {
        Err(error) => Finding::cannot_say(format!("{path}: {error}")),
        Ok(Written { age: Age::Back(age), .. }) if age > max_age => {
            let age = duration(age.as_secs().saturating_mul(1_000));
            let max_age = duration(check.max_age_ms);
            Finding::cannot_say(format!("{path} was written {age} ago, max-age = {max_age}: its writer has stopped"))
        }
        Ok(Written { age: Age::Ahead(by), .. }) if by > max_age => {
            let by = duration(by.as_secs().saturating_mul(1_000));
            Finding::cannot_say(format!("{path} was written {by} from now: its writer's clock or ours is wrong"))
        }
        Ok(Written { bytes, .. }) => judge(&path, &String::from_utf8_lossy(&bytes)),
    }
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
    use crate::health::check::{Check, Header, Http, Kind};
    use crate::health::family::Family;
    use crate::probe::Prober;

    use super::*;

    fn check(name: &str, kind: Kind, timeout_ms: u64) -> Check {
        Check {
            name: name.to_owned(),
            kind,
            interval_ms: 10_000,
            fast_interval_ms: 1_000,
            timeout_ms,
            rise: 1,
            fall: 1,
            families: Family::ALL.to_vec(),
        }
    }

    /// One that hangs is a read whose turn does not end.
    #[test]
    fn a_read_that_hangs_says_nothing_and_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::write(&path, "up").unwrap();
        let state =
            |timeout_ms| check("state", Kind::File(StateFile { path: path.clone(), max_age_ms: 60_000 }), timeout_ms);
        let (hasty, patient) = (state(50), state(10_000));
        // The node is not asked, and is not to blame either.
        let headers = vec![("X-Secret".to_owned(), Header::File(path.clone()))];
        let web = check("web", Kind::Http(Http { url: "http://{ip}/".to_owned(), headers, ..Http::default() }), 400);
        let node = Node { name: "a".to_owned(), ipv4: Some(std::net::Ipv4Addr::LOCALHOST), ipv6: None };
        let prober = Prober::new([&hasty, &web]).unwrap();
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let hangs = prober.reads.turn(&path).await;
            // A reload in between changes nothing.
            let new = Prober::new([&hasty, &web]).unwrap().instead_of(&prober);
            for prober in [&prober, &new, &prober] {
                let outcome = prober.probe(&hasty, &node, Family::Ipv4).await;
                assert_eq!((outcome.success, outcome.word.as_str()), (None, "UNK"));
                assert_eq!(outcome.detail, "not read after 50ms: does its file system hang?");
                let outcome = prober.probe(&web, &node, Family::Ipv4).await;
                assert_eq!((outcome.success, outcome.word.as_str()), (None, "UNK"), "{}", outcome.detail);
                let wanted = "the secrets for the headers: not read after 100ms: does their file system hang?";
                assert_eq!(outcome.detail, wanted);
            }
            drop(hangs);
            assert_eq!(prober.probe(&patient, &node, Family::Ipv4).await.success, Some(true));
            new.reads.forget_idle();
            assert!(new.reads.0.lock().unwrap().is_empty());
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
