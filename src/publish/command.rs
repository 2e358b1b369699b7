//! Runs nsd's tools: bounded output, a deadline, and nothing left running behind it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// So much is kept of each output; the rest is read and forgotten, in bytes.
const OUTPUT_MAX_BYTES: usize = 64 * 1024;

/// What a program said that ended well.
#[derive(Debug)]
pub struct Said {
    pub stdout: String,
}

/// Runs `argv` with `more` arguments, in `folder` if one is given, and waits for its end. Any other
/// end than exit code 0 is an error, with the first line of what it said. At the deadline its whole
/// process group is killed.
pub async fn run(argv: &[String], more: &[&str], folder: Option<&Path>, limit_ms: u64) -> Result<Said, String> {
    let (program, first) = argv.split_first().ok_or("no program is configured")?;
    let mut command = Command::new(program);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let mut child = command
        .args(first)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    // Killed when the caller gives up, too: a grandchild must not outlive the transaction.
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let whole = async { tokio::join!(child.wait(), start_of(stdout), start_of(stderr)) };
    let ended = tokio::time::timeout(Duration::from_millis(limit_ms), whole).await;
    let Ok((status, stdout, stderr)) = ended else {
        drop(group);
        let _ = child.wait().await;
        return Err(format!("{program} was not done within {limit_ms} ms, killed"));
    };
    group.forget();
    let status = status.map_err(|error| format!("{program}: {error}"))?;
    if status.success() {
        return Ok(Said { stdout });
    }
    let line = first_line(&stderr).or_else(|| first_line(&stdout)).unwrap_or("it said nothing");
    Err(format!("{program}: {status}: {line}"))
}

/// A process group that is killed on drop.
struct Group(Option<Pid>);

impl Group {
    /// Its leader has ended and its pipes are closed: the number may be somebody else's soon.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended on its own in this moment.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Reads to the end and keeps the start, as text.
async fn start_of(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let room = OUTPUT_MAX_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The first line that says something.
pub fn first_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn argv(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn the_end_of_a_program_and_its_words() {
        assert_eq!(run(&argv("echo ok; echo noise >&2"), &[], None, 5_000).await.unwrap().stdout, "ok\n");
        let failed = run(&argv("echo; echo why not >&2; exit 3"), &[], None, 5_000).await.unwrap_err();
        assert!(failed.contains("3") && failed.ends_with("why not"), "{failed}");
        let missing = run(&["/no/such/program".to_owned()], &[], None, 5_000).await.unwrap_err();
        assert!(missing.starts_with("cannot run /no/such/program"), "{missing}");
        assert!(run(&[], &[], None, 5_000).await.is_err());
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pid_file = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        let started = Instant::now();
        let failed = run(&argv(&script), &[], None, 300).await.unwrap_err();
        assert!(failed.contains("within 300 ms"), "{failed}");
        assert!(started.elapsed() < Duration::from_secs(5));
        let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.trim_start().starts_with('Z'))
        };
        while !gone() {
            assert!(started.elapsed() < Duration::from_secs(5), "the grandchild lives on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn endless_output_is_bounded() {
        let failed = run(&argv("yes"), &[], None, 200).await.unwrap_err();
        assert!(failed.contains("within 200 ms"), "{failed}");
        let said = run(&argv("yes | head -c 1000000"), &[], None, 10_000).await.unwrap();
        assert_eq!(said.stdout.len(), OUTPUT_MAX_BYTES);
    }
}
